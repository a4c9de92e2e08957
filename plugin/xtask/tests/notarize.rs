//! `notarize.sh` with programs in the place of Apple's, which write down what they are asked.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What `codesign --display --verbose=2` tells of a signature that Apple accepts.
const SIGNATURE: &str = "Executable=/packages/it
Identifier=org.example.it
Format=Mach-O universal (x86_64 arm64)
CodeDirectory v=20500 size=1234 flags=0x10000(runtime) hashes=28+7 location=embedded
Authority=Developer ID Application: M. Name (ABCDE12345)
Authority=Developer ID Certification Authority
Authority=Apple Root CA
Timestamp=29 Nov 2026 at 10:00:00
TeamIdentifier=ABCDE12345";

/// While one test writes a program, none starts another: no program runs that is open for writing.
static ALONE: Mutex<()> = Mutex::new(());

struct Mac {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Mac {
    /// Where `codesign` tells of this signature, and notarytool answers with this status.
    fn new(signature: &str, status: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("to pack");
        for bundle in ["it.clap", "it.vst3"] {
            fs::create_dir_all(packages.join(bundle).join("Contents")).unwrap();
        }
        fs::write(packages.join("it"), "code").unwrap();
        fs::write(folder.path().join("signature"), signature).unwrap();
        let answer = format!(
            "{{\"id\": \"1-2-3\",\n \"status\": \"{status}\",\n \"message\": \"Processing complete\"}}"
        );
        fs::write(folder.path().join("answer"), answer).unwrap();
        fs::write(folder.path().join("asked"), "").unwrap();
        let tell =
            r#"{ for it in "${0##*/}" "$@"; do printf '%s|' "$it"; done; echo; } >> "$MAC/asked""#;
        let programs = [
            (
                "codesign",
                "[ \"$1\" != --display ] || cat \"$MAC/signature\" >&2",
            ),
            ("ditto", "for last; do :; done; : > \"$last\""),
            ("xcrun", "[ \"$2\" != submit ] || cat \"$MAC/answer\""),
        ];
        for (name, does) in programs {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{tell}\n{does}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self {
            folder,
            _alone: alone,
        }
    }

    fn packages(&self) -> PathBuf {
        self.folder.path().join("to pack")
    }

    /// Runs the script as someone with a password, or none.
    fn notarize(&self, password: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        let own = self.folder.path().display();
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/notarize.sh"))
            .arg(self.packages())
            .env("PATH", format!("{own}:{path}"))
            .env("MAC", self.folder.path())
            .envs([
                ("APPLE_ID", "me@example.org"),
                ("APPLE_TEAM_ID", "ABCDE12345"),
            ])
            .env("APPLE_PASSWORD", password)
            .output()
            .unwrap()
    }

    /// What Apple's programs were asked, a line each, with `|` after each word.
    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.folder.path().join("asked")).unwrap();
        asked.lines().map(str::to_owned).collect()
    }
}

const CREDENTIALS: &str = "--apple-id|me@example.org|--team-id|ABCDE12345|--password|a b$c|";

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_apple_accepts_is_stapled_to_the_bundles_and_not_to_programs() {
    let mac = Mac::new(SIGNATURE, "Accepted");
    let output = mac.notarize("a b$c");
    assert!(output.status.success(), "{output:?}");
    let asked = mac.asked();
    let zip = |line: &String| {
        line.split('|')
            .find(|it| it.ends_with("/all.zip"))
            .map(str::to_owned)
    };
    let packed = asked
        .iter()
        .find(|line| line.starts_with("ditto|"))
        .unwrap();
    assert!(
        packed.contains(mac.packages().to_str().unwrap()),
        "{packed}"
    );
    let submitted = asked.iter().find(|line| line.contains("|submit|")).unwrap();
    assert_eq!(zip(submitted), zip(packed));
    assert!(
        submitted.contains("|--wait|") && submitted.ends_with(CREDENTIALS),
        "{submitted}"
    );
    let stapled: Vec<&String> = asked.iter().filter(|it| it.contains("staple|")).collect();
    let expected = ["it.clap", "it.vst3"].map(|bundle| {
        let place = mac.packages().join(bundle);
        format!("xcrun|stapler|staple|{}|", place.display())
    });
    assert_eq!(stapled, expected.iter().collect::<Vec<_>>());
    // What was sent is not left lying about.
    assert!(!PathBuf::from(zip(packed).unwrap()).exists());
}

#[test]
fn what_apple_refuses_is_an_error_with_its_reasons_though_notarytool_succeeds() {
    let mac = Mac::new(SIGNATURE, "Invalid");
    let output = mac.notarize("a b$c");
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("found Invalid"), "{output:?}");
    let asked = mac.asked();
    let reasons = format!("xcrun|notarytool|log|1-2-3|{CREDENTIALS}");
    assert_eq!(asked.last(), Some(&reasons));
    assert!(!asked.iter().any(|it| it.contains("staple|")), "{asked:?}");
}

#[test]
fn a_signature_that_apple_would_refuse_is_not_sent() {
    for (has, lacks, expected) in [
        ("0x10000(runtime)", "0x0(none)", "--options runtime"),
        ("Timestamp=", "Signed Time=", "--timestamp"),
        (
            "Authority=Developer ID App",
            "Authority=Apple Dev",
            "--sign",
        ),
    ] {
        let mac = Mac::new(&SIGNATURE.replace(has, lacks), "Accepted");
        let output = mac.notarize("a b$c");
        assert_eq!(output.status.code(), Some(1), "{lacks}");
        let complaint = complaint(&output);
        let names = complaint.contains("to pack/it: expected") && complaint.contains(expected);
        assert!(names, "{complaint}");
        let asked = mac.asked();
        assert!(
            asked.iter().all(|it| it.starts_with("codesign|")),
            "{asked:?}"
        );
    }
}

#[test]
fn a_missing_credential_is_named_before_anything_is_asked() {
    let mac = Mac::new(SIGNATURE, "Accepted");
    let output = mac.notarize("");
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("APPLE_PASSWORD"), "{output:?}");
    assert_eq!(mac.asked(), [""; 0]);
}
