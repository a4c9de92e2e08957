//! Names as people have them, through the binary: labels of folders and files, classes that are asked for, run folders
//! that are somebody's already.

mod fixture;

use std::fs;
use std::path::Path;

use audiodiff::audio::{self, BitDepth, Clip};
use audiodiff::file::FolderLock;
use fixture::{audiodiff, done, fails, said, small_network, sounds, text};

/// A short sound of its own at each of these paths.
fn put(root: &Path, paths: &[&str]) {
    for (i, path) in paths.iter().enumerate() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let wave = |t: usize| {
            let t = t as f32 / 8000.0;
            (std::f32::consts::TAU * (150.0 + 70.0 * i as f32) * t).sin() * (-20.0 * t).exp()
        };
        let clip = Clip::new(8000, vec![(0..800).map(wave).collect()]);
        audio::write_wav(&path, &clip, BitDepth::Float32).unwrap();
    }
}

/// A training of a tiny network from nothing.
fn small<'a>(wavs: &'a Path, run: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let train = ["train", text(wavs), "--out", text(run)];
    let mut all = [&train[..], &small_network("16x1"), more].concat();
    for (flag, value) in [("--batch", "2"), ("--steps", "1")] {
        if !more.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    all
}

fn labels(args: &[&str]) -> Vec<String> {
    let found: serde_json::Value =
        serde_json::from_slice(&done(&[args, &["--json"]].concat())).unwrap();
    let labels = found["labels"].as_object().unwrap();
    labels.keys().cloned().collect()
}

#[test]
fn packs_within_packs_and_flat_folders_are_understood_and_it_is_said_how() {
    let folder = tempfile::tempdir().unwrap();
    let (packs, flat) = (folder.path().join("packs"), folder.path().join("flat"));
    put(
        &packs,
        &[
            "VENDOR Pack Vol 1/One Shots/Kicks/Kick_0.wav",
            "VENDOR Pack Vol 1/One Shots/Closed Hats/Closed Hat_0.wav",
            "Other Pack/One Shots/BD/1.wav",
            "Other Pack/One Shots/Snares/Snare_1.wav",
        ],
    );
    put(
        &flat,
        &["Kick_01.wav", "Kick_02.wav", "HH Open 3.wav", "Caja 1.wav"],
    );
    let [packs, flat] = [text(&packs), text(&flat)];
    assert_eq!(labels(&["check", packs]), ["hat_closed", "kick", "snare"]);
    assert_eq!(labels(&["check", flat]), ["hat_open", "kick", "snare"]);
    let vendors = ["Other Pack", "VENDOR Pack Vol 1"];
    assert_eq!(labels(&["check", packs, "--labels", "folders"]), vendors);
    let innermost = ["BD", "Closed Hats", "Kicks", "Snares"];
    assert_eq!(
        labels(&["check", packs, "--labels", "innermost"]),
        innermost
    );
    assert_eq!(
        labels(&["check", flat, "--labels", "names"]),
        ["hat_open", "kick", "snare"]
    );
    assert!(labels(&["check", flat, "--labels", "folders"]).is_empty());
    let report = said(&["check", packs]);
    let told = "labels by     kinds: the folders below the first level (Other Pack, VENDOR Pack Vol 1) tell";
    assert!(report.contains(told), "{report}");
    let error = fails(1, &["check", packs, "--include", "Kik"]);
    assert!(error.contains("by kinds: the folders below"), "{error}");
    assert!(error.contains("did you mean `kick`?"), "{error}");
}

#[test]
fn a_run_of_before_keeps_the_first_level_of_folders_as_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (packs, run) = (folder.path().join("packs"), folder.path().join("run"));
    put(
        &packs,
        &[
            "A/Kicks/1.wav",
            "A/Snares/2.wav",
            "B/Kicks/3.wav",
            "B/Snares/4.wav",
        ],
    );
    done(&small(&packs, &run, &["--labels", "folders"]));
    let output = audiodiff(&small(&packs, &run, &["--steps", "2"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("--labels folders") && said.contains("going on after step 1"),
        "{said}"
    );
    let error = fails(
        2,
        &small(&packs, &run, &["--steps", "2", "--labels", "kinds"]),
    );
    assert!(
        error.contains("the classes A, B, the sounds now have kick, snare (by kinds)"),
        "{error}"
    );
}

#[test]
fn any_printable_class_is_chosen_by_whole_names_however_they_are_composed() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
    let decomposed = "Bombe\u{301}";
    let folders = [
        decomposed, "a,b", "a", "Kick", "100%", "#1 kicks", "none", "any",
    ];
    let files: Vec<String> = (folders.iter())
        .flat_map(|label| (0..2).map(move |i| format!("{label}/{i}.wav")))
        .collect();
    put(&wavs, &files.iter().map(String::as_str).collect::<Vec<_>>());
    let chosen = |include: &[&str]| {
        let flags = include.iter().flat_map(|label| ["--include", *label]);
        labels(&[&["check", text(&wavs)], &flags.collect::<Vec<_>>()[..]].concat())
    };
    assert_eq!(chosen(&["a,b"]), ["a,b"]);
    assert_eq!(chosen(&["a,b", "a"]), ["a", "a,b"]);
    assert_eq!(chosen(&["a,none", "any"]), ["a", "any", "none"]);
    assert_eq!(chosen(&["KICK"]), ["Kick"]);
    assert_eq!(chosen(&[decomposed]), ["Bomb\u{e9}"]);
    assert_eq!(
        chosen(&["Bomb\u{e9}", "100%,#1 kicks"]),
        ["#1 kicks", "100%", "Bomb\u{e9}"]
    );
    done(&small(
        &wavs,
        &run,
        &["--include", "Bomb\u{e9}", "--include", "Kick", "-q"],
    ));
    let (model, out) = (run.join("model.safetensors"), folder.path().join("x.wav"));
    let render = [
        "render",
        "-m",
        text(&model),
        "-o",
        text(&out),
        "--steps",
        "2",
        "--class",
    ];
    for class in ["Bomb\u{e9}", decomposed, "bomb\u{e9}", "kick"] {
        done(&[&render[..], &[class]].concat());
    }
    let error = fails(2, &[&render[..], &["kicks"]].concat());
    assert!(error.contains("did you mean `Kick`?"), "{error}");
    let error = fails(2, &[&render[..], &["kick", "--sampler", "eular"]].concat());
    assert!(error.contains("did you mean `euler`?"), "{error}");
}

#[test]
#[cfg(unix)]
fn check_and_train_refuse_the_same_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
    put(&wavs, &["line\nbreak/1.wav", "kick/2.wav", "kick/3.wav"]);
    let output = audiodiff(&["check", text(&wavs)]);
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        report.contains("3 usable sounds"),
        "the report is whole: {report}"
    );
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("expected no control characters"), "{error}");
    let error = fails(1, &small(&wavs, &run, &[]));
    assert!(
        error.contains("expected no control characters") && !run.exists(),
        "{error}"
    );
    done(&["check", text(&wavs), "--include", "kick"]);
    done(&small(&wavs, &run, &["--include", "kick", "-q"]));
}

#[test]
fn a_run_folder_is_one_training_s_and_no_other_program_s() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
    sounds(&wavs, 3);
    fs::create_dir(&run).unwrap();
    let config = run.join("config.json");
    fs::write(&config, "{\"name\": \"of another program\"}").unwrap();
    let error = fails(2, &small(&wavs, &run, &[]));
    assert!(
        error.contains("config.json: expected the settings of a run"),
        "{error}"
    );
    assert!(
        fs::read_to_string(&config)
            .unwrap()
            .contains("of another program")
    );
    fs::remove_file(&config).unwrap();
    let held = FolderLock::take(&run).unwrap().unwrap();
    let error = fails(2, &small(&wavs, &run, &[]));
    assert!(
        error.contains("another training is at work in this run folder"),
        "{error}"
    );
    assert!(!config.exists());
    drop(held);
    done(&small(&wavs, &run, &["-q"]));
    let more = ["--batch", "3", "--seed", "7"];
    let error = fails(2, &small(&wavs, &run, &more));
    for part in [
        "batch (--batch) is 2 there, found 3",
        "seed (--seed) is 0 there, found 7",
        "another --out",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let model = run.join("model.safetensors");
    let other = small(&wavs, &run, &["--steps", "2"]);
    let none = other.iter().position(|word| *word == "none").unwrap();
    let sized = other.iter().position(|word| *word == "--preset").unwrap();
    let mut other = other.clone();
    other[none] = text(&model);
    other.drain(sized..sized + 2);
    let error = fails(2, &other);
    assert!(
        error.contains("its run began from nothing, not from the model"),
        "{error}"
    );
    let error = fails(
        1,
        &[
            "import",
            text(&run),
            "-o",
            text(&folder.path().join("y.safetensors")),
        ],
    );
    assert!(error.contains("a model of audiodiff already"), "{error}");
    let out = folder.path().join("y.wav");
    done(&["render", "-m", text(&run), "--steps", "2", "-o", text(&out)]);
    // Name, licence and length may differ.
    done(&small(&wavs, &run, &["--name", "x", "--steps", "2", "-q"]));
}

#[test]
#[cfg(target_os = "linux")]
fn a_batch_that_memory_cannot_hold_is_refused_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
    sounds(&wavs, 3);
    let limited = "ulimit -v 3000000; exec \"$0\" train \"$1\" --out \"$2\" --from none --steps 1 --batch 4000";
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            limited,
            env!("CARGO_BIN_EXE_audiodiff"),
            text(&wavs),
            text(&run),
        ])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("batch: 4000 clips a step take about"),
        "{error}"
    );
    assert!(
        error.contains("address space (ulimit -v); give --batch"),
        "{error}"
    );
    assert!(!run.exists(), "nothing was begun");
}

#[test]
#[cfg(feature = "embedded-model")]
fn a_licence_is_what_was_stated_of_the_sounds_and_never_that_of_the_model_before() {
    let folder = tempfile::tempdir().unwrap();
    let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
    sounds(&wavs, 3);
    let train = [
        "train",
        text(&wavs),
        "--out",
        text(&run),
        "--seconds",
        "0.2",
        "--batch",
        "1",
        "-q",
    ];
    done(&[&train[..], &["--steps", "1"]].concat());
    let (model, packed) = (
        run.join("model.safetensors"),
        folder.path().join("packed.safetensors"),
    );
    let info = |model: &Path| said(&["info", text(model)]);
    let unknown = "licence  unknown: none was stated for what it learnt";
    assert!(info(&model).contains(unknown), "{}", info(&model));
    assert!(
        info(&model).contains("licence of that: MIT OR Apache-2.0"),
        "{}",
        info(&model)
    );
    done(&["pack", text(&model), "-o", text(&packed)]);
    assert!(info(&packed).contains(unknown));
    // Stated, it stays where the run goes on without a word of it.
    done(&[&train[..], &["--steps", "2", "--licence", "CC0-1.0"]].concat());
    done(&[&train[..], &["--steps", "3"]].concat());
    assert!(
        info(&model).contains("licence  CC0-1.0"),
        "{}",
        info(&model)
    );
}
