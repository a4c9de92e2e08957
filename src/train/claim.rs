//! The run folder before anything is written into it: it is ours, and nobody else is at work there.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::state::path_in;
use crate::error::{Error, Result};
use crate::file::FolderLock;

/// Longest configuration of a run that is read, in bytes.
const LONGEST_CONFIG: u64 = 16 << 20;

/// What the configuration of every run has, whatever edition began it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether they are there counts")]
struct Ours {
    representation: IgnoredAny,
    network: IgnoredAny,
    learning_rate: IgnoredAny,
}

/// Claims a run folder for as long as the lock is held; none where the folder is not there yet.
///
/// # Errors
/// When another training is at work in it, or what a new run would write over is another program's.
pub(super) fn claim(folder: &Path) -> Result<Option<FolderLock>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    if !path_in(folder).exists() {
        check_ours(folder)?;
    }
    lock(folder).map(Some)
}

/// The lock of a folder that is there.
pub(super) fn lock(folder: &Path) -> Result<FolderLock> {
    FolderLock::take(folder)?.ok_or_else(|| {
        Error::setting(format!(
            "{}: another training is at work in this run folder; wait for its end, or choose another --out",
            folder.display()
        ))
    })
}

/// Refuses a folder whose `config.json` or `stats.jsonl` is none of a run's.
fn check_ours(folder: &Path) -> Result<()> {
    let refuse = |path: &Path, expected: &str, found: &str| {
        Err(Error::setting(format!(
            "{}: expected {expected}, found {found}, which is not written over; choose another --out",
            path.display()
        )))
    };
    let (config, stats) = (folder.join("config.json"), folder.join("stats.jsonl"));
    let Ok(metadata) = fs::metadata(&config) else {
        return match stats.exists() {
            true => refuse(
                &stats,
                "a run's statistics beside its config.json",
                "them alone",
            ),
            false => Ok(()),
        };
    };
    let is_ours = metadata.is_file()
        && metadata.len() <= LONGEST_CONFIG
        && serde_json::from_slice::<Ours>(&fs::read(&config).map_err(Error::io(&config))?).is_ok();
    match is_ours {
        true => Ok(()),
        false => refuse(&config, "the settings of a run", "another program's file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once_until_it_is_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(
            claim(&folder.path().join("new"))
                .expect("nothing there")
                .is_none()
        );
        let first = claim(folder.path()).expect("claimed");
        let second = claim(folder.path()).expect_err("claimed twice");
        assert!(
            second.to_string().contains("another training is at work"),
            "{second}"
        );
        drop(first);
        claim(folder.path()).expect("let go");
    }

    #[test]
    fn files_of_other_programs_are_refused_and_stay_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, stats) = (
            folder.path().join("config.json"),
            folder.path().join("stats.jsonl"),
        );
        let refusal = || claim(folder.path()).expect_err("not ours").to_string();
        fs::write(&stats, "{}").expect("written");
        assert!(
            refusal().contains("stats.jsonl: expected a run's statistics"),
            "{}",
            refusal()
        );
        for foreign in [
            "",
            "[]",
            r#"{"name": "other"}"#,
            r#"{"representation": 1, "network": 2}"#,
        ] {
            fs::write(&config, foreign).expect("written");
            assert!(
                refusal().contains("config.json: expected the settings of a run"),
                "{foreign}"
            );
            assert_eq!(fs::read_to_string(&config).expect("there"), foreign);
        }
        let ours = r#"{"representation": {}, "network": {}, "learning_rate": {}, "more": 1}"#;
        fs::write(&config, ours).expect("written");
        claim(folder.path()).expect("a run that saved nothing yet");
    }
}
