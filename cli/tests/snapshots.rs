//! Pins the help of every verb, and the keys and types of every JSON output: people and programs rely on them.
//!
//! `SNAPSHOTS=write cargo test --workspace --test snapshots` writes `cli/tests/snapshots/` anew; the difference is then
//! to be read.

#![cfg(feature = "play")]

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fixture::{said, sounds, text};
use serde_json::Value;

/// Every verb, in the order of the help.
const VERBS: [&str; 11] = [
    "train",
    "distill",
    "render",
    "play",
    "eval",
    "info",
    "check",
    "pack",
    "import",
    "completions",
    "man",
];

/// Holds `found` to the file `name`, or writes it.
fn hold(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    // On Windows the binary's name ends in .exe, and Git may write other ends of lines.
    let found = found.replace("audiodiff.exe", "audiodiff");
    if std::env::var("SNAPSHOTS").is_ok_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &found).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let (expected, mut line) = (expected.replace("\r\n", "\n"), 1);
    if expected != found {
        for (a, b) in expected.lines().zip(found.lines()) {
            if a != b {
                break;
            }
            line += 1;
        }
        let at = |text: &str| text.lines().nth(line - 1).unwrap_or("(the end)").to_owned();
        panic!(
            "{}, line {line}:\nexpected {}\nfound    {}\nIf that is meant: \
             SNAPSHOTS=write cargo test --workspace --test snapshots",
            path.display(),
            at(&expected),
            at(&found)
        );
    }
}

#[test]
fn help_is_as_it_was() {
    let help = said(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let verbs: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|verb| *verb != "help")
        .collect();
    assert_eq!(verbs, VERBS);
    hold("help/audiodiff.txt", &help);
    for verb in VERBS {
        hold(&format!("help/{verb}.txt"), &said(&[verb, "--help"]));
    }
}

/// A line for each place in a value: its path, with `[]` for any element, and its types.
fn shape(value: &Value, path: &str, lines: &mut BTreeMap<String, Vec<&'static str>>) {
    let mut note = |kind: &'static str| {
        let kinds = lines.entry(path.to_owned()).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
            kinds.sort_unstable();
        }
    };
    match value {
        Value::Null => note("null"),
        Value::Bool(_) => note("bool"),
        Value::Number(_) => note("number"),
        Value::String(_) => note("string"),
        Value::Array(items) => {
            note("array");
            for item in items {
                shape(item, &format!("{path}[]"), lines);
            }
        }
        Value::Object(entries) => {
            note("object");
            for (key, item) in entries {
                shape(item, &format!("{path}.{key}"), lines);
            }
        }
    }
}

/// Keys and types of what a command prints.
fn keys(printed: &str) -> String {
    let mut lines = BTreeMap::new();
    shape(&serde_json::from_str(printed).unwrap(), "", &mut lines);
    let lines = lines.iter().filter(|(path, _)| !path.is_empty());
    lines
        .map(|(path, kinds)| format!("{path}: {}\n", kinds.join(" | ")))
        .collect()
}

#[test]
fn json_of_sounds_has_the_keys_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let wavs = folder.path().join("wavs");
    sounds(&wavs, 10);
    fs::write(wavs.join("a/broken.wav"), "no sound").unwrap();
    let printed = said(&["check", text(&wavs), "--json"]);
    hold("json/check.txt", &keys(&printed));
    let printed = said(&[
        "eval",
        text(&wavs),
        "--reference",
        text(&wavs),
        "--seconds",
        "0.1",
        "--rounds",
        "1",
        "--json",
        "-q",
    ]);
    hold("json/eval.txt", &keys(&printed));
}

#[test]
fn json_of_imported_models_has_the_keys_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/dance/folder");
    let model = folder.path().join("model.safetensors");
    let printed = said(&["import", text(&source), "-o", text(&model), "--json"]);
    hold("json/import.txt", &keys(&printed));
}

#[cfg(feature = "embedded-model")]
#[test]
fn json_of_models_and_of_what_they_make_has_the_keys_it_had() {
    hold("json/info.txt", &keys(&said(&["info", "--json"])));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("kick.wav");
    let mut command = vec!["render", "-o", text(&out), "--class", "kick", "--seed", "4"];
    command.extend(["--set", "brightness=12000", "--json"]);
    hold("json/render.txt", &keys(&said(&command)));
}
