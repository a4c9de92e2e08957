//! The commands of the book and of the README, run as they are written, each document in a folder of its own.
#![cfg(all(unix, feature = "embedded-model"))]

mod fixture;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use audiodiff::audio::{self, BitDepth};
use fixture::text;

/// Why a block is not run, as the comment above it says. A test of the command line reads its commands all the same.
const REASONS: [&str; 6] = [
    "builds",
    "is another program",
    "needs a GPU",
    "needs MPI",
    "needs Slurm",
    "needs a model of full size",
];

/// A block of commands.
struct Block {
    /// File and line of its first command.
    place: String,
    commands: String,
    is_run: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README, and the chapters of the book in its order.
fn documents() -> Vec<PathBuf> {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let chapters = summary.split("](").skip(1).filter_map(|rest| {
        let (path, _) = rest.split_once(')')?;
        Some(docs.join(path))
    });
    [root().join("README.md")]
        .into_iter()
        .chain(chapters)
        .collect()
}

/// The blocks of a document that are marked as commands of a shell.
fn blocks(path: &Path) -> Vec<Block> {
    let document = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let lines: Vec<&str> = document.lines().collect();
    let mut blocks = Vec::new();
    for (at, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| **line == "```sh")
    {
        let inside = lines[at + 1..].iter().take_while(|line| **line != "```");
        let commands = inside.copied().collect::<Vec<_>>().join("\n");
        let place = format!("{name}:{}", at + 2);
        let above = if at == 0 { "" } else { lines[at - 1] };
        let reason = above
            .strip_prefix("<!-- not run: ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(reason) = reason {
            assert!(
                REASONS.contains(&reason),
                "{place}: expected one of {REASONS:?}, found {reason:?}"
            );
        }
        // The set-up commands of the README: `.ci/run` runs the one, and people's first one is as long as a build.
        let sets_up = commands.starts_with("./setup.sh && ") && commands.lines().count() == 1;
        blocks.push(Block {
            place,
            commands,
            is_run: reason.is_none() && !sets_up,
        });
    }
    blocks
}

/// A folder of short sounds of three kinds, other sounds by the names that documents use, and a small checkpoint of
/// Dance Diffusion that is called like a published one.
fn lay_out(folder: &Path) {
    let made = folder.join("made.wav");
    for (class, seed) in [("kick", "1"), ("snare", "5"), ("hat_closed", "9")] {
        let of_class = folder.join("wavs").join(class);
        fs::create_dir_all(&of_class).unwrap();
        let args = [
            "render",
            "-q",
            "-o",
            text(&made),
            "--class",
            class,
            "-n",
            "4",
            "--seed",
            seed,
        ];
        fixture::done(&args);
        for number in 1..=4 {
            let from = folder.join(format!("made-{number:02}.wav"));
            let clip = audio::read(&from).unwrap();
            let short = clip.sample_rate() as usize / 4;
            let clip = clip.slice(0, short.min(clip.len_frames()));
            audio::write_wav(
                &of_class.join(format!("{number}.wav")),
                &clip,
                BitDepth::Int24,
            )
            .unwrap();
            fs::remove_file(from).unwrap();
        }
    }
    for (name, from) in [("old", "kick/1"), ("a", "kick/2"), ("b", "snare/1")] {
        let from = folder.join("wavs").join(from).with_extension("wav");
        fs::copy(from, folder.join(name).with_extension("wav")).unwrap();
    }
    // It says its rate and length itself: the published length would be too much for it.
    let checkpoint = root().join("tests/reference/dance/converted.ckpt");
    fs::copy(checkpoint, folder.join("glitch-440k.ckpt")).unwrap();
}

/// A model of a small network that learnt these sounds for a few steps; where it is.
fn small_model(wavs: &Path, run: &Path) -> PathBuf {
    let train = ["train", text(wavs), "--out", text(run), "-q"];
    let more = ["--batch", "4", "--steps", "4"];
    fixture::done(&[&train[..], &fixture::small_network("16x1,16x1"), &more].concat());
    run.join("model.safetensors")
}

/// Stands for `audiodiff` where documents call it. Trainings are over at once and of small networks over short sounds,
/// begun from `$SMALL` in place of the built-in model; nothing is played aloud.
const SHIM: &str = r#"#!/usr/bin/env bash
verb=${1-}
args=()
length= from= batch= seconds=
while [ $# -gt 0 ]; do
    case "$verb $1" in
        "train --minutes" | "distill --minutes") args+=("$1" 0.005) length=given; shift ;;
        "train --steps" | "distill --steps") args+=("$1" 2) length=given; shift ;;
        "train --seconds") args+=("$1" 0.1) seconds=given; shift ;;
        "train --from") args+=("$1" "$2") from=$2; shift ;;
        "train --batch" | "distill --batch") args+=("$1" "$2") batch=given; shift ;;
        *) args+=("$1") ;;
    esac
    shift
done
case "$verb" in
    train | distill)
        [ -n "$length" ] || args+=(--minutes 0.005)
        [ -n "$batch" ] || args+=(--batch 2)
        ;;
    play) args+=(--help) ;;
esac
case "$verb $from" in
    "train ") args+=(--from "$SMALL") ;;
    "train none") args+=(--preset 16x1,16x1) && [ -n "$seconds" ] || args+=(--seconds 0.1) ;;
esac
exec "$AUDIODIFF" "${args[@]}"
"#;

fn binary() -> PathBuf {
    Command::cargo_bin("audiodiff")
        .unwrap()
        .get_program()
        .into()
}

#[test]
fn what_documents_tell_to_type_does_what_it_says() {
    // All are read before any is run.
    let documents: Vec<Vec<Block>> = documents().iter().map(|path| blocks(path)).collect();
    let work = tempfile::tempdir().unwrap();
    let (bin, layout) = (work.path().join("bin"), work.path().join("layout"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("audiodiff"), SHIM).unwrap();
    fs::set_permissions(bin.join("audiodiff"), fs::Permissions::from_mode(0o755)).unwrap();
    lay_out(&layout);
    let small = small_model(&layout.join("wavs"), &work.path().join("small"));
    let path = format!("{}:{}", text(&bin), std::env::var("PATH").unwrap());
    let (mut wrong, mut run) = (String::new(), 0);
    for (number, blocks) in documents.iter().enumerate() {
        let folder = work.path().join(number.to_string());
        let copied = Command::new("cp")
            .args(["-r", text(&layout), text(&folder)])
            .output()
            .unwrap();
        assert!(copied.status.success());
        for block in blocks.iter().filter(|block| block.is_run) {
            let mut shell = Command::new("bash");
            shell
                .args(["-euo", "pipefail", "-c", &block.commands])
                .current_dir(&folder);
            let output = shell
                .env("PATH", &path)
                .env("AUDIODIFF", binary())
                .env("SMALL", &small)
                .output()
                .unwrap();
            run += 1;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                writeln!(
                    wrong,
                    "{}:\n{}\n{}: {said}",
                    block.place, block.commands, output.status
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(run > 30, "only {run} blocks were found");
}
