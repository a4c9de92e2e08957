//! The binary itself: what it writes, what it says, how it ends.

mod fixture;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use fixture::{audiodiff, done, fails, said, small_network, sounds, text};
use serde_json::Value;

/// The JSON that a command prints.
fn json(args: &[&str]) -> Value {
    serde_json::from_slice(&done(args)).unwrap()
}

/// The flags of a training of this many steps, from nothing, of a network of this size, over sounds of 0.1 s.
fn small<'a>(preset: &'a str, steps: &'a str) -> [&'a str; 12] {
    let more = ["--batch", "4", "--steps", steps];
    let flags = [&small_network(preset)[..], &more].concat();
    flags.try_into().unwrap()
}

/// A folder of sounds, `wavs`, in `folder`, and a model that learnt them for six steps in the run folder `run`.
fn trained(folder: &Path) -> (PathBuf, PathBuf) {
    let (wavs, run) = (folder.join("wavs"), folder.join("run"));
    sounds(&wavs, 4);
    let train = ["train", text(&wavs), "--out", text(&run)];
    done(&[&train[..], &small("16x1,16x1", "6")].concat());
    (wavs, run.join("model.safetensors"))
}

#[test]
fn a_training_fills_its_run_folder_and_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, model) = trained(folder.path());
    let run = folder.path().join("run");
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
    let train = |steps| {
        let train = ["train", text(&wavs), "--out", text(&run)];
        let output = audiodiff(&[&train[..], &small("16x1,16x1", steps)].concat());
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(train("6").contains("nothing left to do: the run in"));
    // A folder of sounds that holds the run itself does not learn from its demo sounds.
    let report = json(&["check", text(folder.path()), "--labels", "none", "--json"]);
    assert_eq!(report["total"]["files"], 8);
    assert!(train("9").contains("going on after step 6"));
    let stats = std::fs::read_to_string(run.join("stats.jsonl")).unwrap();
    assert_eq!(stats.lines().count(), 9);
    let info = json(&["info", text(&model), "--json"]);
    assert_eq!(info["labels"], serde_json::json!(["a", "b"]));
    assert_eq!(info["training"]["steps"], 9);
}

#[test]
fn a_model_is_packed_and_makes_the_same_bytes_of_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = trained(folder.path());
    let packed = folder.path().join("packed.safetensors");
    let pack = ["pack", text(&model), "-o", text(&packed), "--f16"];
    done(&[&pack[..], &["--licence", "CC0-1.0"]].concat());
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&packed) < size(&model) * 3 / 5);
    assert!(said(&["info", text(&packed)]).contains("CC0-1.0"));
    let out = folder.path().join("out.wav");
    let render = ["render", "-o", text(&out), "--model", text(&packed)];
    let several = ["--class", "b", "-n", "3", "--seed", "5", "--plot", "--json"];
    let several = [&render[..], &several].concat();
    assert_eq!(json(&several)["sounds"][2]["seed"], 7);
    let read = || std::fs::read(folder.path().join("out-03.wav")).unwrap();
    let wav = read();
    assert!(folder.path().join("out.png").is_file() && wav.starts_with(b"RIFF"));
    done(&several);
    assert_eq!(read(), wav, "the same command makes the same bytes");
    // What it is rendered with where nothing is asked for goes with it.
    let own = folder.path().join("own.safetensors");
    let defaults = ["--steps", "3", "--guidance", "2.5"];
    let pack = ["pack", text(&packed), "-o", text(&own), "--f16"];
    done(&[&pack[..], &defaults].concat());
    assert!(said(&["info", text(&own)]).contains("3 steps, sampler dpmpp-2m, guidance 2.5"));
    let render = |model, more: &[&str]| {
        let render = ["render", "-o", text(&out), "--model", text(model)];
        done(&[&render[..], &["--class", "b", "--seed", "5"], more].concat());
        std::fs::read(&out).unwrap()
    };
    let sound = render(&own, &[]);
    assert_eq!(sound, render(&packed, &defaults));
    assert_ne!(sound, render(&packed, &[]));
    let error = fails(2, &[&pack[..], &["--steps", "0"]].concat());
    assert!(error.contains("1 to 1000 steps"), "{error}");
}

#[test]
fn a_sound_goes_to_stdout_and_a_variation_is_as_long_as_the_model_s_sounds() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, model) = trained(folder.path());
    let info = json(&["info", text(&model), "--json"]);
    let frames = info["format"]["len_frames"].as_u64().unwrap() as usize;
    let render = ["render", "--model", text(&model), "--no-trim", "-o"];
    let bits = ["-", "--seed", "7", "--bits", "16"];
    let wav = done(&[&render[..], &bits].concat());
    assert!(wav.starts_with(b"RIFF") && wav.len() > 44 + 2 * frames);
    let data = u32::from_le_bytes(wav[40..44].try_into().unwrap());
    assert_eq!((&wav[36..40], data as usize), (&b"data"[..], 2 * frames));
    let (out, init) = (folder.path().join("out.wav"), wavs.join("a/0.wav"));
    let vary = [text(&out), "--init", text(&init), "--strength", "0.3"];
    done(&[&render[..], &vary].concat());
    let variation = audiodiff::audio::read(&out).unwrap();
    assert_eq!(variation.len_frames(), frames);
}

#[cfg(feature = "embedded-model")]
#[test]
fn a_variation_is_of_the_class_that_the_file_s_name_tells() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let class = |args: &[&str]| {
        let out = path("out.wav");
        let render = ["render", "-o", text(&out), "--steps", "1", "--json"];
        json(&[&render[..], args].concat())["sounds"][0]["class"].clone()
    };
    let names = ["Old_Kick 03.wav", "tom.wav", "it.wav"].map(path);
    let [kick, tom, unnamed] = names.each_ref().map(|path| text(path));
    done(&["render", "-o", kick, "--class", "kick", "--seed", "1", "-q"]);
    for copy in [tom, unnamed] {
        std::fs::copy(kick, copy).unwrap();
    }
    for seed in ["0", "1", "2"] {
        let seed = ["--seed", seed];
        assert_eq!(class(&[&["--init", kick], &seed[..]].concat()), "kick");
        assert_eq!(class(&[&["--init", tom], &seed[..]].concat()), "tom");
        // What is asked for goes first.
        let asked = ["--init", kick, "--class", "snare"];
        assert_eq!(class(&[&asked[..], &seed].concat()), "snare");
    }
    // A name that tells nothing leaves it to the seed, and a morph has no class.
    let drawn = ["0", "1", "2", "3"].map(|seed| class(&["--init", unnamed, "--seed", seed]));
    assert!(drawn.iter().any(|class| *class != drawn[0]), "{drawn:?}");
    assert_eq!(class(&["--init", kick, "--morph-to", tom]), Value::Null);
}

#[test]
fn a_model_takes_the_place_of_no_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, model) = trained(folder.path());
    let sound = wavs.join("a/0.wav");
    let before = std::fs::read(&sound).unwrap();
    for verb in ["pack", "import"] {
        let error = fails(2, &[verb, text(&model), "-o", text(&sound)]);
        assert!(error.contains("ends with .safetensors"), "{error}");
    }
    let train = ["train", text(&wavs), "--out", text(&sound)];
    let error = fails(1, &[&train[..], &small("16x1,16x1", "6")].concat());
    assert!(
        error.contains("0.wav: expected a folder, found a file"),
        "{error}"
    );
    assert_eq!(std::fs::read(&sound).unwrap(), before);
}

#[test]
fn a_model_is_distilled_measured_and_fine_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (wavs, run) = (path("wavs"), path("run"));
    sounds(&wavs, 12);
    let train = ["train", text(&wavs), "--out", text(&run), "-q"];
    let flags = small("16x1", "300");
    done(&[&train[..], &flags, &["--validation", "0"]].concat());
    let (model, few) = (run.join("model.safetensors"), path("few"));
    let data = ["--data", text(&wavs), "--steps", "4", "--batch", "4"];
    let distill = ["distill", text(&model), "--out", text(&few), "-q"];
    let refused = fails(2, &[&distill[..], &data, &["--guidance", "1"]].concat());
    assert!(
        refused.contains("guidance: expected a number other than 1"),
        "{refused}"
    );
    let table = said(&[&distill[..], &data].concat());
    assert!(table.contains("the model it began from"), "{table}");
    let student = few.join("model.safetensors");
    let rendering = json(&["info", text(&student), "--json"])["rendering"].clone();
    assert_eq!(rendering["guidance"], 1.0);
    assert_eq!(rendering["undistilled"]["guidance"], 1.5);
    let excess = rendering["excess"].as_array().unwrap();
    assert_eq!(excess.len(), 3);
    let with_error = |e: &Value| e["error"].as_f64().is_some_and(|error| error >= 0.0);
    assert!(excess.iter().all(with_error));
    let words = said(&["info", text(&student)]);
    for part in [
        "guidance 1 (1.5 learnt by distillation)",
        "by steps, dB²: 2: ",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    // Not once more; but a fine-tuning of it is a model as it was trained.
    let out = path("again");
    let distill = ["distill", text(&student), "--out", text(&out)];
    let refused = fails(2, &[&distill[..], &data].concat());
    assert!(refused.contains("it is distilled already"), "{refused}");
    assert!(!out.exists(), "nothing was begun");
    let train = [
        "train",
        text(&wavs),
        "--out",
        text(&out),
        "--from",
        text(&student),
    ];
    done(&[&train[..], &["-q", "--steps", "2", "--p-mean", "1"]].concat());
    let info = json(&["info", text(&out.join("model.safetensors")), "--json"]);
    assert_eq!(info["rendering"]["guidance"], 1.5);
    assert_eq!(info["rendering"].get("undistilled"), None);
    assert_eq!(info["training"]["before"]["steps"], 304);
}

#[test]
fn a_model_is_evaluated_beside_a_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = trained(folder.path());
    let wavs = folder.path().join("reference");
    sounds(&wavs, 12);
    let page = folder.path().join("report.html");
    let eval = ["eval", text(&model), "--baseline", text(&wavs), "-q"];
    let flags = ["--reference", text(&wavs), "--rounds", "1", "--json"];
    let report = ["--report", text(&page)];
    let found = json(&[&eval[..], &flags, &report].concat());
    assert_eq!(found["reference_sounds"], 24);
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert!(results[0]["scores"]["coverage"]["value"].is_number());
    assert!(results[0]["verdicts"].is_array());
    // The reference covers itself.
    assert_eq!(results[1]["scores"]["coverage"]["value"], 1.0);
    let measures = results[0]["signals"].as_array().unwrap();
    assert!(
        measures
            .iter()
            .any(|m| m["measure"] == "level at equal peak, dB"
                && m["generated"]["value"].is_number())
    );
    assert!(page.exists());
}

#[test]
fn sounds_are_as_good_as_themselves_but_for_being_copies() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("wavs");
    sounds(&wavs, 12);
    let eval = ["eval", text(&wavs), "--reference", text(&wavs), "-q"];
    let same = said(&[&eval[..], &["--seconds", "0.1"]].concat());
    assert!(same.contains("100.0% ± 0.0"), "{same}");
    let (_, off) = same.split_once("off by more than chance\n").unwrap();
    let off: Vec<&str> = off.lines().collect();
    assert!(
        matches!(off[..], [line] if line.starts_with("  copies: 100% ")),
        "{same}"
    );
}

#[test]
fn eval_refuses_what_it_cannot_compare() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, model) = trained(folder.path());
    let [wavs, model] = [text(&wavs), text(&model)];
    for (code, args, words) in [
        (1, vec![wavs, "--reference", model], "model.safetensors"),
        (
            2,
            vec![model, "--reference", wavs, "--seconds", "1"],
            "--seconds",
        ),
        (
            2,
            vec![wavs, "--reference", wavs, "--seconds", "0"],
            "expected 0.05 to 60",
        ),
        (
            2,
            vec![wavs, "--reference", wavs, "--rounds", "0"],
            "expected 1 to 100",
        ),
        (
            1,
            vec![wavs, "--reference", wavs, "--report", wavs],
            "expected a file, found a folder",
        ),
    ] {
        let said = fails(code, &[&["eval"], &args[..]].concat());
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn what_eval_could_not_measure_is_not_called_good() {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = trained(folder.path());
    let few = folder.path().join("few");
    sounds(&few, 2);
    let page = folder.path().join("pages/of/it.html");
    let eval = ["eval", text(&model), "--reference", text(&few), "-q"];
    let few = ["-n", "2", "--rounds", "1", "--report", text(&page)];
    let told = said(&[&eval[..], &few].concat());
    assert!(
        told.ends_with("too few sounds to tell whether anything is off\n"),
        "{told}"
    );
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("too few sounds to tell whether anything is off"));
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
    assert_ne!(own, render(&model, &["--dance-diffusion"]));
    assert_ne!(own, render(&model, &["--sampler", "v-ddim"]));
    let kick = [
        "render",
        "--model",
        text(&model),
        "-o",
        text(&wav),
        "--class",
        "kick",
    ];
    assert!(fails(2, &kick).contains("the model has no classes, found `kick`"));
    sounds(&path("sounds"), 4);
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
    for name in ["x.png", "x.mp3", "x.flac.WMA"] {
        let path = folder.path().join(name);
        let said = fails(2, &["render", "-o", text(&path)]);
        assert!(said.contains("ending in .wav, .flac or .aiff"), "{said}");
    }
    let flac = folder.path().join("x.flac");
    let said = fails(2, &["render", "-o", text(&flac), "--bits", "32"]);
    assert!(said.contains("expected --bits 16 or 24"), "{said}");
    let said = fails(1, &["render", "-o", text(folder.path()), "-n", "2"]);
    assert!(said.contains("expected a file, found a folder"), "{said}");
    let out = folder.path().join("x.wav");
    for level in [["--peak", "nan"], ["--peak", "-500"], ["--loudness", "50"]] {
        let said = fails(2, &["render", "-o", text(&out), level[0], level[1]]);
        assert!(said.contains(level[0]) && said.contains(level[1]), "{said}");
    }
    let said = fails(2, &["render", "-o", text(&out), "-n", "1025", "--plot"]);
    assert!(said.contains("1024"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_sound_is_the_same_in_any_container_and_told_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        let path = folder.path().join(name);
        let mut args = vec!["render", "-o", text(&path), "--class", "kick"];
        args.extend(["--seed", "3", "-n", "2", "--jsonl"]);
        let said = String::from_utf8(done(&args)).unwrap();
        let lines: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!((lines.len(), &lines[1]["seed"]), (2, &Value::from(4)));
        assert_eq!(lines[1]["class"], "kick");
        let written = lines[1]["path"].as_str().unwrap();
        (
            audiodiff::audio::read(written.as_ref()).unwrap(),
            std::fs::read(written).unwrap(),
        )
    };
    let (wav, bytes) = read("new/folder/a.wav");
    // Mono of 24 bits, as integers: what every reader of WAV files knows.
    assert_eq!(bytes[20..24], [1, 0, 1, 0]);
    let comment = b"seed 4, model drums";
    assert!(bytes.windows(comment.len()).any(|it| it == comment));
    for name in ["b.flac", "new/c.aiff"] {
        let (other, bytes) = read(name);
        assert!(other == wav, "{name}");
        assert!(bytes.windows(comment.len()).any(|it| it == comment));
    }
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
    sounds(folder.path(), 4);
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
    let threads = ["render", "-o", "x.wav", "--threads", "9999"];
    assert!(fails(2, &threads).contains("9999 is not in 1..=1024"));
    assert!(fails(2, &["render", "-o", "x.wav", "--seed", "-1"]).contains("invalid value '-1'"));
    assert!(fails(2, &["render", "-o", "-", "-n", "2"]).contains("stdout"));
    assert!(fails(2, &["sing"]).contains("unrecognized"));
    assert!(!out.exists());
}

/// An error and the help name the same choices.
#[test]
fn what_an_error_offers_stands_in_the_help() {
    let help = String::from_utf8(done(&["render", "--help"])).unwrap();
    let help = help.replace(|c: char| c.is_whitespace() || c == ',', " ");
    for (flag, some) in [("--sampler", "v-ddim"), ("--schedule", "karras:RHO")] {
        let said = fails(2, &["render", "-o", "x.wav", flag, "magic"]);
        let (_, offered) = said.split_once("expected ").unwrap();
        let offered = offered.lines().next().unwrap().replace(" or ", ", ");
        let offered: Vec<&str> = offered.trim_start_matches("one of ").split(", ").collect();
        assert!(offered.contains(&some), "{said}");
        for name in offered {
            assert!(help.contains(&format!(" {name} ")), "{flag} {name}");
        }
    }
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
    let page = said(&["man"]);
    assert!(page.contains(".TH audiodiff"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("other.1"), b"\xff").unwrap();
    done(&["man", "--out", text(folder.path())]);
    assert_eq!(std::fs::read(path("other.1")).unwrap(), b"\xff");
    let page = std::fs::read_to_string(path("audiodiff-render.1")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(page.contains(&format!(
        ".TH audiodiff-render 1  \"audiodiff {version}\"\n"
    )));
    // Examples stand a line each, and what follows them does not.
    let (_, notes) = page.split_once(".SH NOTES\n").unwrap();
    let (_, examples) = notes.split_once(".nf\n").unwrap();
    let (examples, prose) = examples.split_once(".fi\n").unwrap();
    assert!(examples.lines().count() > 3);
    assert!(
        examples
            .lines()
            .all(|line| line.starts_with("  audiodiff render "))
    );
    assert!(prose.contains("mpirun") && !prose.contains(".nf"));
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_built_in_model_is_tuned_to_what_is_asked_and_says_when_it_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("wavs");
    sounds(&wavs, 4);
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
    assert!(said.contains("fine-tuning `drums`"), "{said}");
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
        info["representation"]["floor_db"], -80.0,
        "that of the model"
    );
    assert_eq!(info["training"]["licence"], "CC0-1.0");
    assert_eq!(info["training"]["before"]["steps"], 33_795);
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
    let made = json(&[
        "render",
        "-o",
        text(&out),
        "--seed",
        "4",
        "-n",
        "2",
        "--json",
    ]);
    for sound in made["sounds"].as_array().unwrap() {
        assert!(sound["class"].is_string());
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
        "--morph-to",
        text(&b),
        "-n",
        "2",
    ];
    done(&[&morph[..], &["--sampler", "dpmpp-2m-sde"]].concat());
    let read = |name| std::fs::read(folder.path().join(name)).unwrap();
    assert_ne!(read("x-01.wav"), read("x-02.wav"));
    let said = fails(2, &morph);
    assert!(said.contains("--morph-to: expected one sound"), "{said}");
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

/// Names that could move a terminal's cursor, in every output of eval.
#[cfg(unix)]
#[test]
fn names_are_shown_with_their_control_characters_spelt_out() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("w\u{9b}2J");
    sounds(&wavs, 4);
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

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        (
            path.file_name().unwrap().into(),
            std::fs::read(&path).unwrap(),
        )
    };
    paths.map(named).collect()
}

#[test]
fn shards_make_the_files_of_one_process_and_a_restart_only_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).join("s.wav");
    let render = |out: &Path, more: &[&str]| -> Vec<Value> {
        let args = [
            "render", "-n", "21", "--seed", "5", "--steps", "1", "--jsonl", "-o",
        ];
        let said = said(&[&args[..], &[text(out)], more].concat());
        said.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (alone, shared) = (out("alone"), out("shared"));
    assert_eq!(render(&alone, &[]).len(), 21);
    let whole = files(alone.parent().unwrap());
    // By eight: the first shard has eight and five, the second eight.
    let parts = ["1/2", "2/2"].map(|shard| render(&shared, &["--shard", shard]).len());
    assert_eq!(parts, [13, 8]);
    assert!(files(shared.parent().unwrap()) == whole);

    let file = |number: u32| shared.with_file_name(format!("s-{number:02}.wav"));
    std::fs::remove_file(file(2)).unwrap();
    let bytes = std::fs::read(file(11)).unwrap();
    std::fs::write(file(11), &bytes[..bytes.len() / 2]).unwrap();
    let made = |lines: &[Value]| -> Vec<u64> {
        let new = lines.iter().filter(|line| line.get("kept").is_none());
        new.map(|line| line["seed"].as_u64().unwrap()).collect()
    };
    let again = ["1/2", "2/2"].map(|shard| render(&shared, &["--shard", shard]));
    assert_eq!(
        again.each_ref().map(|lines| made(lines)),
        [vec![6], vec![15]]
    );
    assert_eq!(again.each_ref().map(Vec::len), parts);
    assert!(files(shared.parent().unwrap()) == whole);

    // Of other settings is made again, and then kept.
    let other = ["--resume", "--guidance", "3"];
    assert_eq!(made(&render(&shared, &other)).len(), 21);
    assert!(files(shared.parent().unwrap()) != whole);
    assert!(made(&render(&shared, &other)).is_empty());
    let seedless = ["render", "-o", text(&shared), "-n", "9", "--shard", "1/2"];
    assert!(fails(2, &seedless).contains("expected --seed, found none"));
    let beyond = fails(2, &[&seedless[..5], &["--shard", "3/2"]].concat());
    assert!(
        beyond.contains("expected I/N with I from 1 to N"),
        "{beyond}"
    );
}

#[cfg(not(feature = "mpi"))]
#[test]
fn processes_that_are_started_together_are_refused_where_the_build_cannot_share() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("s.wav");
    let together = |args: &[&str]| {
        let mut command = Command::cargo_bin("audiodiff").unwrap();
        let output = command
            .args(args)
            .env("OMPI_COMM_WORLD_SIZE", "2")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = together(&["train", text(folder.path()), "-o", text(&out)]);
    let expected =
        "train: 2 processes were started together, but this build lacks the `mpi` feature";
    assert!(code == Some(2) && said.contains(expected), "{said}");
    let render = ["render", "-o", text(&out), "--steps", "1", "--seed", "1"];
    let (code, said) = together(&render);
    assert!(
        code == Some(2) && said.contains("give each process its --shard"),
        "{said}"
    );
    assert!(!out.exists());
    assert_eq!(
        together(&[&render[..], &["--shard", "1/1"]].concat()).0,
        Some(0)
    );
    assert!(out.exists());
}

#[test]
fn the_version_tells_in_one_line_or_with_all_that_is_built_in() {
    let version = concat!("audiodiff ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(done(&["--version"]), version.as_bytes());
    for order in [["--version", "--verbose"], ["--verbose", "--version"]] {
        let told = said(&order);
        assert!(
            told.starts_with(version) && told.contains("\nmodel: "),
            "{told}"
        );
    }
    let said = fails(2, &["--verbose", "info"]);
    assert!(said.contains("--verbose: expected --version"), "{said}");
}
