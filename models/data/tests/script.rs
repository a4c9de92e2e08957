//! The script that fetches what the sounds are made of, from a repository of this machine and without packages.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Files of the repository: two that are wanted, with signs that patterns know, and one that is not.
const FILES: [(&str, &str); 3] = [
    ("kit/f#3 [1]!.wav", "one"),
    ("kit/b*.wav", "two"),
    ("kit/unwanted.wav", "three"),
];

fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let mut git = Command::new("git");
    let output = git.current_dir(folder).args(identity).args(arguments);
    let output = output.output().expect("git runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("git writes text")
}

fn sum(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    fs::write(&path, text).expect("a file");
    let output = Command::new("sha256sum").arg(path).output();
    let output = output.expect("sha256sum runs");
    String::from_utf8(output.stdout).expect("text")[..64].to_owned()
}

/// The script beside tables of one repository, in a world where no package can be fetched.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        for path in ["github/someone/kit/kit", "models/data", "bin"] {
            fs::create_dir_all(at(path)).expect("a folder");
        }
        for (file, text) in FILES {
            fs::write(at("github/someone/kit").join(file), text).expect("a file");
        }
        let repository = at("github/someone/kit");
        git(&repository, &["init", "--quiet"]);
        git(&repository, &["add", "."]);
        git(&repository, &["commit", "--quiet", "-m", "kit"]);
        let commit = git(&repository, &["rev-parse", "HEAD"]);

        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build-data.sh");
        fs::copy(script, at("models/build-data.sh")).expect("the script");
        let table = format!("source\trepository\tcommit\nkit\tsomeone/kit\t{commit}");
        fs::write(at("models/data/repositories.tsv"), table).expect("a table");
        let sums = FILES[..2].iter().map(|(file, text)| {
            let sum = sum(text);
            format!("{sum}  github.com/someone/kit/{file}\n")
        });
        fs::write(at("models/data/SHA256SUMS"), sums.collect::<String>()).expect("sums");
        // What stands in for github.com, and programs that fetch nothing. Cargo shows what it is asked for.
        let config = format!(
            "[url \"file://{}/\"]\n\tinsteadOf = https://github.com/\n",
            at("github").display()
        );
        fs::write(at("gitconfig"), config).expect("a configuration");
        for (name, text) in [
            ("apt-get", "exit 100"),
            ("npm", "exit 1"),
            ("cargo", "echo \"$@\""),
        ] {
            let path = at("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a program");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(path, mode).expect("a program that runs");
        }
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let folder = self.folder.path();
        let path = std::env::var("PATH").expect("a path");
        Command::new("sh")
            .arg("models/build-data.sh")
            .args(arguments)
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .env("GIT_CONFIG_GLOBAL", folder.join("gitconfig"))
            .output()
            .expect("the script runs")
    }
}

#[test]
fn wanted_files_of_the_commit_are_fetched_and_no_others() {
    let world = World::new();
    let output = world.run(&["out", "packages"]);
    assert!(output.status.success(), "{output:?}");
    let asked = String::from_utf8_lossy(&output.stdout);
    assert!(asked.contains("collect --unpacked"), "{asked}");
    assert!(asked.contains("--held-out out-held-out"), "{asked}");
    assert!(!asked.contains("--partial"), "{asked}");
    let kit = world
        .folder
        .path()
        .join("packages/github.com/someone/kit/kit");
    let mut names: Vec<_> = fs::read_dir(kit)
        .expect("the files")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["b*.wav", "f#3 [1]!.wav"]);

    // Fetched before, they are not asked for again.
    fs::remove_dir_all(world.folder.path().join("github")).expect("no more repository");
    let output = world.run(&["again", "packages"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_cannot_be_fetched_is_named_and_nothing_is_made() {
    let world = World::new();
    let wrong = "0000000000000000000000000000000000000000";
    let table = world.folder.path().join("models/data/repositories.tsv");
    let text = fs::read_to_string(&table).expect("the table");
    fs::write(&table, format!("{text}other\tsomeone/other\t{wrong}\n")).expect("a table");
    let sums = world.folder.path().join("models/data/SHA256SUMS");
    let text = fs::read_to_string(&sums).expect("sums");
    let lost = format!("{}  github.com/someone/other/a.wav\n", sum("lost"));
    fs::write(&sums, text + &lost).expect("sums");

    let output = world.run(&["out", "packages"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("cannot fetch someone/other"), "{said}");
    assert!(said.contains("github.com/someone/other/a.wav"), "{said}");
    assert!(output.stdout.is_empty());

    let output = world.run(&["--partial", "out", "packages"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("collect --partial"));
}

#[test]
fn another_content_than_the_sum_tells_is_refused_even_of_a_part() {
    let world = World::new();
    assert!(world.run(&["out", "packages"]).status.success());
    let file = "packages/github.com/someone/kit/kit/b*.wav";
    fs::write(world.folder.path().join(file), "changed").expect("a file");
    for arguments in [&["out", "packages"][..], &["--partial", "out", "packages"]] {
        let output = world.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(said.contains("b*.wav"), "{said}");
    }
}
