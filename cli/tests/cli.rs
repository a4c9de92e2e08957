//! The binary itself: what it writes, what it says, how it ends.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;

fn audiodiff(args: &[&str]) -> Output {
    Command::cargo_bin("audiodiff")
        .unwrap()
        .args(args)
        .output()
        .unwrap()
}

/// Runs and expects success; returns stdout.
fn done(args: &[&str]) -> Vec<u8> {
    let output = audiodiff(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Runs and expects this exit code; returns stderr.
fn fails(code: i32, args: &[&str]) -> String {
    let output = audiodiff(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with eight short sounds in two classes.
fn sounds(root: &Path) {
    for (label, hz) in [("a", 200.0), ("b", 900.0)] {
        std::fs::create_dir_all(root.join(label)).unwrap();
        for i in 0..4 {
            let spec = hound::WavSpec {
                channels: 1,
                sample_rate: 8000,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let mut writer =
                hound::WavWriter::create(root.join(label).join(format!("{i}.wav")), spec).unwrap();
            for t in 0..800 {
                let t = t as f32 / 8000.0;
                let x =
                    (std::f32::consts::TAU * (hz + 20.0 * i as f32) * t).sin() * (-20.0 * t).exp();
                writer.write_sample((20000.0 * x) as i16).unwrap();
            }
            writer.finalize().unwrap();
        }
    }
}

const SMALL: [&str; 12] = [
    "--preset",
    "16x1,16x1",
    "--sample-rate",
    "8000",
    "--seconds",
    "0.128",
    "--from",
    "none",
    "--batch",
    "4",
    "--steps",
    "6",
];

#[test]
fn train_resume_info_and_render_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
    sounds(&wavs);
    let train = [&["train", text(&wavs), "--out", text(&run)][..], &SMALL[..]].concat();
    done(&train);
    for file in [
        "config.json",
        "stats.jsonl",
        "model.safetensors",
        "state.safetensors",
        "loss.png",
        "demos/demos.png",
        "demos/a.wav",
    ] {
        assert!(run.join(file).is_file(), "{file} is in the run folder");
    }
    // The same command on a finished run has nothing to do; a longer one goes on.
    let again = audiodiff(&train);
    assert!(again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("nothing left to do: the run in"));
    // A folder of sounds that holds the run itself does not learn from its demo sounds.
    let report = done(&["check", text(folder.path()), "--labels", "none", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["total"]["files"], 8);
    let longer: Vec<&str> = train
        .iter()
        .map(|&arg| if arg == "6" { "9" } else { arg })
        .collect();
    let output = audiodiff(&longer);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("going on after step 6"));
    let stats = std::fs::read_to_string(run.join("stats.jsonl")).unwrap();
    assert_eq!(stats.lines().count(), 9);
    let model = run.join("model.safetensors");
    let info: serde_json::Value =
        serde_json::from_slice(&done(&["info", text(&model), "--json"])).unwrap();
    assert_eq!(info["labels"], serde_json::json!(["a", "b"]));
    assert_eq!(info["training"]["steps"], 9);
    let packed = folder.path().join("packed.safetensors");
    done(&[
        "pack",
        text(&model),
        "-o",
        text(&packed),
        "--f16",
        "--licence",
        "CC0-1.0",
    ]);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&packed) < size(&model) * 3 / 5);
    assert!(
        String::from_utf8(done(&["info", text(&packed)]))
            .unwrap()
            .contains("CC0-1.0")
    );
    let out = folder.path().join("out.wav");
    let render = [
        "render",
        "-o",
        text(&out),
        "--model",
        text(&packed),
        "--class",
        "b",
        "-n",
        "3",
        "--seed",
        "5",
        "--plot",
        "--json",
    ];
    let made: serde_json::Value = serde_json::from_slice(&done(&render)).unwrap();
    assert_eq!(made["sounds"][2]["seed"], 7);
    let wav = std::fs::read(folder.path().join("out-03.wav")).unwrap();
    assert!(folder.path().join("out.png").is_file() && wav.starts_with(b"RIFF"));
    done(&render);
    assert_eq!(
        std::fs::read(folder.path().join("out-03.wav")).unwrap(),
        wav,
        "the same command makes the same bytes"
    );
    let other = done(&[
        "render",
        "-o",
        "-",
        "--model",
        text(&packed),
        "--seed",
        "7",
        "--bits",
        "16",
        "--no-trim",
    ]);
    assert!(
        other.starts_with(b"RIFF") && other.len() == 44 + 2 * 1024,
        "{} bytes on stdout",
        other.len()
    );
    let init = wavs.join("a/0.wav");
    done(&[
        "render",
        "-o",
        text(&out),
        "--model",
        text(&packed),
        "--init",
        text(&init),
        "--strength",
        "0.3",
        "--no-trim",
    ]);
    assert_eq!(
        hound::WavReader::open(&out).unwrap().duration(),
        1024,
        "a variation is as long as the model's sounds"
    );
}

#[test]
fn a_model_is_tuned_to_few_steps_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("wavs");
    for copy in 0..3 {
        let part = folder.path().join(format!("part{copy}"));
        sounds(&part);
        for label in ["a", "b"] {
            std::fs::create_dir_all(wavs.join(label)).unwrap();
            for i in 0..4 {
                let from = part.join(label).join(format!("{i}.wav"));
                // Other lengths, so that no two are alike.
                let mut bytes = std::fs::read(&from).unwrap();
                bytes.truncate(bytes.len() - 100 * copy);
                std::fs::write(wavs.join(label).join(format!("{copy}{i}.wav")), bytes).unwrap();
            }
        }
    }
    let (run, fast) = (folder.path().join("run"), folder.path().join("fast"));
    done(&[
        "train",
        text(&wavs),
        "--out",
        text(&run),
        "--from",
        "none",
        "--preset",
        "16x1",
        "--sample-rate",
        "8000",
        "--seconds",
        "0.1",
        "--steps",
        "300",
        "--batch",
        "4",
        "--validation",
        "0",
        "-q",
    ]);
    let model = run.join("model.safetensors");
    let table = String::from_utf8(done(&[
        "tune",
        text(&model),
        "--data",
        text(&wavs),
        "--out",
        text(&fast),
        "--steps",
        "4",
        "--batch",
        "4",
        "-q",
    ]))
    .unwrap();
    assert!(table.contains("the model it began from"), "{table}");
    let tuned = fast.join("model.safetensors");
    let info: serde_json::Value =
        serde_json::from_slice(&done(&["info", text(&tuned), "--json"])).unwrap();
    assert_eq!(info["rendering"]["sampler"], "consistency");
    let excess = info["rendering"]["excess"].as_array().unwrap();
    assert_eq!(excess.len(), 3);
    assert!(
        excess
            .iter()
            .all(|e| e["error"].as_f64().is_some_and(|error| error >= 0.0))
    );
    let said = String::from_utf8(done(&["info", text(&tuned)])).unwrap();
    assert!(
        said.contains("beyond the teacher's by steps, dB²: 1: "),
        "{said}"
    );
    // Once more: it is tuned further, and says so.
    let again = folder.path().join("again");
    let mut command = vec!["tune", text(&tuned), "--data", text(&wavs)];
    command.extend(["--out", text(&again), "--steps", "4", "--batch", "4"]);
    let output = audiodiff(&command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("needs few steps already; tuning it further"),
        "{said}"
    );
    assert!(
        said.contains("it ends after 4 steps, or before that when 6 measurements"),
        "{said}"
    );
    let info: serde_json::Value = serde_json::from_slice(&done(&[
        "info",
        text(&again.join("model.safetensors")),
        "--json",
    ]))
    .unwrap();
    assert_eq!(info["rendering"]["sampler"], "consistency");
    assert_eq!(info["training"]["before"]["steps"], 304);
    command.extend(["--guidance", "2"]);
    assert!(fails(2, &command).contains("guidance: "));

    let page = folder.path().join("report.html");
    let judged: serde_json::Value = serde_json::from_slice(&done(&[
        "eval",
        text(&tuned),
        "--against",
        text(&model),
        "--reference",
        text(&wavs),
        "--rounds",
        "1",
        "--json",
        "--report",
        text(&page),
        "-q",
    ]))
    .unwrap();
    assert_eq!(judged["reference_sounds"], 24);
    assert_eq!(judged["results"].as_array().unwrap().len(), 2);
    assert!(judged["results"][0]["scores"]["coverage"]["value"].is_number());
    assert!(judged["results"][0]["verdicts"].is_array());
    let measures = judged["results"][0]["signals"].as_array().unwrap();
    assert!(
        measures
            .iter()
            .any(|m| m["measure"] == "level at equal peak, dB"
                && m["generated"]["value"].is_number())
    );
    assert!(page.exists());
    // Two folders, and no model: the sounds themselves are as good as they are.
    let same = String::from_utf8(done(&[
        "eval",
        text(&wavs),
        "--reference",
        text(&wavs),
        "--seconds",
        "0.1",
        "-q",
    ]))
    .unwrap();
    assert!(same.contains("100.0% ± 0.0"), "{same}");
    // They are all copies of themselves, and nothing else is wrong with them.
    let (_, off) = same.split_once("off by more than chance\n").unwrap();
    let off: Vec<&str> = off.lines().collect();
    assert!(
        matches!(off[..], [line] if line.starts_with("  copies: 100% ")),
        "{same}"
    );
    for (args, words) in [
        (
            vec!["eval", text(&wavs), "--reference", text(&model)],
            "model.safetensors",
        ),
        (
            vec!["eval", "--reference", text(&wavs), "--seconds", "1"],
            "--seconds",
        ),
        (
            vec![
                "eval",
                text(&wavs),
                "--reference",
                text(&wavs),
                "--rounds",
                "0",
            ],
            "--rounds",
        ),
    ] {
        let output = audiodiff(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(words),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_dance_diffusion_model_is_imported_played_and_learns_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let fixture = |name: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        root.join("../tests/reference/dance").join(name)
    };
    let (model, wav, run) = (path("model.safetensors"), path("out.wav"), path("run"));
    let unsaid = fixture("trimmed.ckpt");
    assert!(fails(2, &["import", text(&unsaid), "-o", text(&model)]).contains("--sample-rate"));
    assert!(!model.exists());
    let folder_form = fixture("folder");
    let said = done(&["import", text(&folder_form), "-o", text(&model), "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["config"]["format"]["sample_rate"], 44_100);
    // Where it is said in the file, the file alone is enough; the same seed gives the same bytes.
    let render = |model: &Path, more: &[&str]| {
        let mut args = vec![
            "render",
            "--model",
            text(model),
            "-o",
            text(&wav),
            "--seed",
            "1",
        ];
        args.extend(["--steps", "3"]);
        args.extend(more);
        done(&args);
        std::fs::read(&wav).unwrap()
    };
    let own = render(&model, &[]);
    assert_eq!(own, render(&folder_form, &[]));
    assert_ne!(own, render(&model, &["--reference"]));
    assert_ne!(own, render(&model, &["--sampler", "v-ddim"]));
    sounds(&path("sounds"));
    let train = [
        "train",
        text(&path("sounds")),
        "--from",
        text(&model),
        "--out",
        text(&run),
    ]
    .map(str::to_owned);
    let mut train: Vec<&str> = train.iter().map(String::as_str).collect();
    train.extend(["--steps", "2", "--batch", "2", "--validation", "0", "-q"]);
    done(&train);
    let learnt = run.join("model.safetensors");
    assert_ne!(own, render(&learnt, &[]));
}

#[test]
fn what_cannot_end_well_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no/x.wav");
    for name in ["x.png", "x.mp3", "x.WAVE.flac"] {
        let path = folder.path().join(name);
        let said = fails(2, &["render", "-o", text(&path)]);
        assert!(said.contains("ending in .wav or .wave"), "{said}");
    }
    let said = fails(1, &["render", "-o", text(&missing)]);
    let expected = format!(
        "error: {}: No such file or directory (os error 2)\n",
        missing.parent().unwrap().display()
    );
    assert_eq!(said, expected);
    let said = fails(2, &["render", "-o", text(folder.path()), "-n", "2"]);
    assert!(said.contains("expected a file, found a folder"), "{said}");
    let out = folder.path().join("x.wav");
    for level in [["--peak", "nan"], ["--peak", "-500"], ["--loudness", "50"]] {
        let said = fails(2, &["render", "-o", text(&out), level[0], level[1]]);
        assert!(said.contains(level[0]) && said.contains("found"), "{said}");
    }
    let said = fails(2, &["render", "-o", text(&out), "-n", "1025", "--plot"]);
    assert!(said.contains("1024"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for verb in ["man", "completions bash", "render -o OUT --steps 1"] {
        let folder = tempfile::tempdir().unwrap();
        let verb = verb.replace("OUT", text(&folder.path().join("x.wav")));
        let audiodiff = Command::cargo_bin("audiodiff").unwrap();
        let line = format!(
            "{} {verb} | true; exit ${{PIPESTATUS[0]}}",
            text(Path::new(audiodiff.get_program()))
        );
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
    }
}

#[test]
fn check_reports_what_a_folder_holds() {
    let folder = tempfile::tempdir().unwrap();
    sounds(folder.path());
    std::fs::write(folder.path().join("a/broken.wav"), b"not a sound").unwrap();
    std::fs::copy(
        folder.path().join("a/0.wav"),
        folder.path().join("b/again.WAV"),
    )
    .unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&done(&["check", text(folder.path()), "--json"])).unwrap();
    assert_eq!(report["total"]["files"], 8);
    let issues = report["issues"].as_array().unwrap();
    let kinds: Vec<&str> = issues.iter().map(|i| i["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["unreadable", "duplicate"]);
    let table = String::from_utf8(done(&["check", text(folder.path())])).unwrap();
    assert!(
        table.contains("8 usable sounds") && table.contains("broken.wav"),
        "{table}"
    );
}

#[test]
fn wrong_input_gives_a_sentence_and_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing"), folder.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    let run = folder.path().join("run");
    assert!(fails(1, &["train", text(&missing), "--out", text(&run)]).contains("missing"));
    assert!(fails(1, &["train", text(&empty), "--out", text(&run)]).contains("empty"));
    assert!(!run.exists(), "nothing is left behind");
    let not_a_model = folder.path().join("words.safetensors");
    std::fs::write(&not_a_model, "some words").unwrap();
    let out = folder.path().join("out.wav");
    let render = ["render", "-o", text(&out), "--model", text(&not_a_model)];
    assert!(fails(1, &render).contains("expected an audiodiff model"));
    assert!(fails(2, &["render"]).contains("--out"));
    assert!(fails(2, &["render", "-o", "x.wav", "--sampler", "magic"]).contains("dpmpp-2m"));
    assert!(fails(2, &["render", "-o", "-", "-n", "2"]).contains("stdout"));
    assert!(fails(2, &["sing"]).contains("unrecognized"));
    assert!(!out.exists());
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_that_was_not_built_in_is_named() {
    let said = fails(2, &["render", "-o", "x.wav", "--device", "cuda"]);
    assert!(said.contains("lacks the `cuda` feature"), "{said}");
}

#[test]
fn completions_and_the_manual_are_written() {
    assert!(
        String::from_utf8(done(&["completions", "bash"]))
            .unwrap()
            .contains("_audiodiff")
    );
    assert!(
        String::from_utf8(done(&["man"]))
            .unwrap()
            .contains(".TH audiodiff")
    );
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_built_in_model_is_tuned_to_what_is_asked_and_says_when_it_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("wavs");
    sounds(&wavs);
    std::fs::rename(wavs.join("a"), wavs.join("Kicks")).unwrap();
    let run = |name: &str, flags: &[&str]| {
        let out = folder.path().join(name);
        let mut args = vec!["train", text(&wavs), "--out", text(&out)];
        args.extend(["--steps", "1", "--batch", "2", "--validation", "0"]);
        args.extend(flags);
        let output = audiodiff(&args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let model = out.join("model.safetensors");
        let info = done(&["info", text(&model), "--json"]);
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        (said, info)
    };
    let asked = [
        "--seconds",
        "0.4",
        "--sample-rate",
        "22050",
        "--channels",
        "2",
    ];
    let mel = ["--representation", "mel", "--licence", "CC0-1.0"];
    let (said, info) = run("tuned", &[&asked[..], &mel[..]].concat());
    assert!(said.contains("tuning `drums`"), "{said}");
    assert!(
        said.contains("Kicks as kick\n") && said.contains("new to the model: b\n"),
        "{said}"
    );
    assert!(
        said.contains("and not by patience: no sound is held back"),
        "{said}"
    );
    assert_eq!(info["format"]["sample_rate"], 22050);
    assert_eq!(info["format"]["channels"], 2);
    // 0.4 s are 34.5 rows of 256, and the network halves them twice.
    assert_eq!(info["format"]["len_frames"], 36 * 256);
    assert_eq!(
        info["representation"]["floor_db"], -60.0,
        "that of the model"
    );
    assert_eq!(info["training"]["licence"], "CC0-1.0");
    assert_eq!(info["training"]["before"]["steps"], 3870);
    let small = ["--preset", "16x1,16x1", "--seconds", "0.1"];
    let (said, info) = run("fresh", &small);
    assert!(
        said.starts_with("--preset 16x1,16x1 asks for another network than the built-in model's: training from nothing"),
        "{said}"
    );
    assert!(info["training"]["licence"].is_null() && info["training"]["fine_tuned_from"].is_null());
    let model = folder.path().join("fresh/model.safetensors");
    let refused = fails(
        2,
        &[
            "train",
            text(&wavs),
            "--from",
            text(&model),
            "--target",
            "v",
        ],
    );
    assert!(
        refused.contains("--target v asks for another network than its own"),
        "{refused}"
    );
}

#[cfg(feature = "embedded-model")]
#[test]
fn what_was_drawn_and_what_was_missed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.wav");
    let output = audiodiff(&[
        "render",
        "-o",
        text(&out),
        "--seed",
        "4",
        "--steps",
        "64",
        "-n",
        "2",
        "--json",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("64 asked, 8 taken").count(), 1, "{said}");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["steps"], 8);
    for sound in made["sounds"].as_array().unwrap() {
        assert!(sound["class"].is_string() && sound["remarks"].as_array().unwrap().len() == 1);
    }
    let output = audiodiff(&[
        "render",
        "-o",
        text(&out),
        "--class",
        "hat_closed",
        "--set",
        "pitch=220",
        "--seed",
        "3",
    ]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("seed 3: pitch: 220 Hz asked"), "{said}");

    // Seeds of a morph differ where sampling draws noise; where it does not, there is one sound.
    let (a, b) = (folder.path().join("a.wav"), folder.path().join("b.wav"));
    for (path, class) in [(&a, "snare"), (&b, "tom")] {
        done(&["render", "-o", text(path), "--class", class, "--seed", "1"]);
    }
    let morph = [
        "render",
        "-o",
        text(&out),
        "--init",
        text(&a),
        "--to",
        text(&b),
        "-n",
        "2",
    ];
    done(&morph);
    let read = |name| std::fs::read(folder.path().join(name)).unwrap();
    assert_ne!(read("x-01.wav"), read("x-02.wav"));
    let said = fails(2, &[&morph[..], &["--sampler", "ddim"]].concat());
    assert!(said.contains("--to: expected one sound"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_class_that_is_no_text_is_answered_all_the_same() {
    use std::os::unix::ffi::OsStrExt;
    let output = Command::cargo_bin("audiodiff")
        .unwrap()
        .args(["render", "-o", "x.wav", "--class"])
        .arg(std::ffi::OsStr::from_bytes(b"kick\xff"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("found `kick\u{fffd}`"), "{said}");
}

/// What eval prints, writes and says of names that could move a terminal's cursor.
#[cfg(unix)]
#[test]
fn names_are_shown_with_their_control_characters_spelt_out() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("w\u{9b}2J");
    sounds(&wavs);
    let odd = "0\u{1b}[31m\u{7}.wav";
    std::fs::rename(wavs.join("a/0.wav"), wavs.join("a").join(odd)).unwrap();
    let page = folder.path().join("report.html");
    let args = [
        "eval",
        text(&wavs),
        "--reference",
        text(&wavs),
        "--seconds",
        "0.1",
    ];
    let output = audiodiff(&[&args[..], &["--report", text(&page)]].concat());
    assert!(output.status.success());
    let page = std::fs::read_to_string(&page).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let nothing = folder.path().join("none\u{1b}[2J");
    let error = fails(1, &["check", text(&nothing)]);
    let odd = "a/0\\u{1b}[31m\\u{7}.wav";
    for (text, name) in [(said, odd), (page, odd), (error, "none\\u{1b}[2J")] {
        assert!(text.contains(name), "{text}");
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}
