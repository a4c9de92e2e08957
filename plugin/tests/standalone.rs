//! The program without a host, as it is run. Nothing here needs a screen or a sound card.
#![cfg(feature = "standalone")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program with a home of its own, and no screen.
fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_audiodiff-standalone"));
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    for (variable, folder) in [
        ("HOME", ""),
        ("XDG_DATA_HOME", "data"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
    ] {
        command.env(variable, home.join(folder));
    }
    command
}

/// Runs it to its end, which must come by itself.
fn output(command: &mut Command) -> Output {
    let (out, err) = (Stdio::piped(), Stdio::piped());
    let mut child = command.stdout(out).stderr(err).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{command:?} goes on for ever");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names and bytes of all files below a folder.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(path.clone(), std::fs::read(path).unwrap())),
            }
        }
    }
    files
}

#[test]
fn help_is_one_whole_that_begins_with_the_usage_and_touches_nothing() {
    let home = tempfile::tempdir().unwrap();
    for argument in ["--help", "-h"] {
        let output = output(program(home.path()).arg(argument));
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert_eq!(help.matches("Usage:").count(), 1, "{help}");
        let (head, options) = help.split_once("Options:\n").unwrap();
        assert!(head.contains("Usage: audiodiff-standalone"), "{help}");
        for option in ["--project", "--backend", "--version"] {
            assert!(options.contains(option), "{help}");
        }
    }
    let output = output(program(home.path()).arg("--version"));
    let expected = concat!("audiodiff-standalone ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(all(home.path()), BTreeMap::new());
}

#[test]
fn every_option_that_the_help_names_is_known() {
    let home = tempfile::tempdir().unwrap();
    let help = text(&output(program(home.path()).arg("--help")).stdout);
    let options = help.lines().filter_map(|line| {
        let names = line.trim_start();
        let rest = names.split_once("--")?.1;
        let is_option = line.starts_with("  ") && !line.starts_with("          ");
        is_option.then(|| rest.split([' ', '\n']).next().unwrap_or(rest).to_owned())
    });
    let options: Vec<_> = options.collect();
    assert!(options.len() > 10, "{options:?}");
    for option in options {
        if ["project", "help", "version"].contains(&&*option) {
            continue;
        }
        // No number and no backend: the wrapper says so of an option that it knows.
        let output = output(program(home.path()).args([
            format!("--{option}=neither"),
            "--timesig-denom=none".to_owned(),
        ]));
        assert_eq!(output.status.code(), Some(2), "--{option}");
        let reason = text(&output.stderr);
        assert!(!reason.contains("unexpected argument"), "{reason}");
        assert!(reason.contains("invalid value"), "{reason}");
    }
}

#[test]
fn a_file_that_is_no_project_is_refused_and_untouched() {
    let home = tempfile::tempdir().unwrap();
    for (name, bytes, found) in [
        ("mykick.wav", &b"RIFF\x24\0\0\0WAVE"[..], "another kind"),
        (
            "my-drums.safetensors",
            b"\x40\0\0\0\0\0\0\0{}",
            "another kind",
        ),
        ("j.json", b"{\"name\": 1}", "JSON of another kind"),
    ] {
        let path = home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let before = all(home.path());
        let output = output(program(home.path()).arg("--project").arg(&path));
        assert_eq!(output.status.code(), Some(1));
        let reason = text(&output.stderr);
        for word in [name, "expected a project", found] {
            assert!(reason.contains(word), "{reason}: {word}");
        }
        assert_eq!(all(home.path()), before);
    }
}

/// What it prints without a screen, beside `DISPLAY` set to this.
#[cfg(target_os = "linux")]
fn unseen(home: &Path, display: Option<&str>) -> String {
    let mut command = program(home);
    if let Some(display) = display {
        command.env("DISPLAY", display);
    }
    let output = output(command.args(["--backend", "dummy"]));
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_screen_it_says_so_and_ends() {
    let home = tempfile::tempdir().unwrap();
    let reason = unseen(home.path(), None);
    assert!(reason.contains("the window cannot be opened"), "{reason}");
    assert!(reason.contains("DISPLAY is not set"), "{reason}");
    let reason = unseen(home.path(), Some(":4711"));
    assert!(reason.contains("DISPLAY is :4711"), "{reason}");
    assert!(!home.path().join("data/audiodiff/standalone.json").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn where_the_project_is_open_another_one_is_named() {
    let home = tempfile::tempdir().unwrap();
    let project = home.path().join("data/audiodiff/standalone.json");
    let first = audiodiff_plugin::standalone::ProjectFile::take_free(&project).unwrap();
    let told = unseen(home.path(), None);
    let remark = told.lines().find(|line| line.contains("another window"));
    let remark = remark.unwrap_or_else(|| panic!("{told}"));
    for name in ["standalone.json is open", "standalone 2.json"] {
        assert!(remark.contains(name), "{remark}");
    }
    drop(first);
    assert!(!unseen(home.path(), None).contains("another window"));
}

#[cfg(target_os = "linux")]
#[test]
fn where_nothing_can_be_written_it_names_a_way() {
    let home = tempfile::tempdir().unwrap();
    // A file where a folder is to be made: root may write everywhere.
    std::fs::write(home.path().join("data"), "").unwrap();
    let mut command = program(home.path());
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let reason = text(&output.stderr);
    for word in ["data", "the project is kept there", "--project FILE"] {
        assert!(reason.contains(word), "{reason}: {word}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_taken_or_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"\xff.json");
    let refused = output(program(home.path()).arg(name));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("UTF-8"));
    let path = home.path().join(name);
    std::fs::write(&path, "no project").unwrap();
    let refused = output(program(home.path()).arg("--project").arg(&path));
    assert!(text(&refused.stderr).contains("expected a project"));
}
