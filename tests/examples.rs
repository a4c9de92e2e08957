//! The examples, run: what a program has to say to render and to train.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use audiodiff::audio::{self, BitDepth, write_wav};
use audiodiff::{Checkpoint, Device, Renderer};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An example as it was built with the tests.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    // `cargo test` without the name of a test builds them.
    profile
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The command's stdout, run in `folder`.
fn said(command: &mut Command, folder: &Path) -> String {
    let output = command.current_dir(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Kicks and snares of the built-in model in `wavs`.
fn make_wavs(folder: &Path) {
    let renderer = Renderer::new(&Checkpoint::embedded().unwrap(), &Device::Cpu).unwrap();
    let mut settings = renderer.settings();
    for class in ["kick", "snare"] {
        settings.class = Some(class.to_owned());
        fs::create_dir_all(folder.join("wavs").join(class)).unwrap();
        for seed in 0..4 {
            let clip = renderer.render(&settings, seed).unwrap().clip;
            let path = folder.join(format!("wavs/{class}/{seed}.wav"));
            write_wav(&path, &clip, BitDepth::Int16).unwrap();
        }
    }
}

#[test]
fn a_morph_goes_from_one_sound_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    said(&mut Command::new(built("morph")), folder.path());
    let brightness: Vec<f32> = (0..9)
        .map(|n| {
            let clip = audio::read(&folder.path().join(format!("morph-{n}.wav"))).unwrap();
            audio::Measures::of(&clip).brightness
        })
        .collect();
    let between = brightness[0] < brightness[4] && brightness[4] < brightness[8];
    assert!(
        between && brightness[8] > 1.5 * brightness[0],
        "{brightness:?}"
    );
}

#[test]
fn the_live_example_plays_or_says_that_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let said = said(Command::new(built("live")).arg("2"), folder.path());
    assert!(
        said.contains("hit 1: ") || said == "no sound card\n",
        "{said}"
    );
}

/// Programs of their own, outside of the workspace, with the library as their only dependency.
#[test]
fn a_program_of_ten_lines_renders_and_one_trains() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         audiodiff = {{ path = {:?}, features = [\"embedded-model\"] }}\n\n{}",
        root(),
        profiles()
    );
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    fs::create_dir_all(folder.path().join("src/bin")).unwrap();
    for name in ["render", "train"] {
        let text = fs::read_to_string(root().join(format!("examples/{name}.rs"))).unwrap();
        let (_, body) = text.split_once("fn main").unwrap();
        assert!(body.lines().count() <= 10, "{name}");
        fs::write(folder.path().join(format!("src/bin/{name}.rs")), text).unwrap();
    }
    // Dependencies that the workspace's own build has compiled are taken from there.
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    make_wavs(folder.path());
    let run = |name: &str| {
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "--offline", "--bin", name]);
        said(command.env("CARGO_TARGET_DIR", target), folder.path())
    };
    run("render");
    let kick = audio::read(&folder.path().join("kick.wav")).unwrap();
    assert!(audio::Measures::of(&kick).brightness < 300.0);
    let report = run("train");
    assert!(report.contains("8 usable sounds"), "{report}");
    let mine = Checkpoint::load(&folder.path().join("mine.safetensors")).unwrap();
    assert_eq!(mine.config.labels, ["kick", "snare"]);
    assert_eq!(mine.config.training.sounds, 7, "one is held back");
}

/// How the workspace builds its tests, so that the program outside is built alike.
fn profiles() -> String {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, profiles) = manifest.split_once("[profile.dev]").unwrap();
    format!("[profile.dev]{profiles}")
}
