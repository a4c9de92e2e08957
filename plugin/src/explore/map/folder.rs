//! The sounds of a folder of the user's, as far as there is room for them.

use std::path::{Path, PathBuf};

use audiodiff::{Error, Result, audio};

use crate::pad::words;
use crate::stored::{SoundRecipe, StoredSound};

/// Files of all folders of a map at most.
pub const FOLDER_FILES: usize = 500;

/// Seconds of a file that are read for a map.
pub const FOLDER_SECONDS: f64 = 4.0;

/// Bytes of the samples of all folders of a map at most.
pub const FOLDER_BYTES: usize = 96 << 20;

/// Folders within each other that are looked into.
const DEPTH: usize = 8;

/// Entries of folders that are looked at.
const ENTRIES: usize = 20_000;

/// Bad files that are named.
const NAMED: usize = 5;

/// What became of a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FolderReport {
    /// The folder.
    pub folder: PathBuf,
    /// Files that are on the map.
    pub read: usize,
    /// Files that could not be read.
    pub bad: usize,
    /// Why, of the first few: each sentence names its file.
    pub reasons: Vec<String>,
    /// Sound files for which there was no room.
    pub left_out: usize,
}

impl FolderReport {
    fn refuse(&mut self, error: &Error) {
        self.bad += 1;
        if self.reasons.len() < NAMED {
            self.reasons.push(error.to_string());
        }
    }
}

/// Reads the sound files of a folder, in the order of their names, beside so many `files` and so many bytes that are
/// there. `each` is given one after another, and says whether to go on.
pub(super) fn read(
    folder: &Path,
    files: usize,
    bytes: usize,
    each: &mut dyn FnMut(&Path, StoredSound) -> Result<bool>,
) -> FolderReport {
    let mut report = FolderReport {
        folder: folder.to_owned(),
        ..FolderReport::default()
    };
    let (mut paths, mut entries) = (Vec::new(), ENTRIES);
    if let Err(error) = walk(folder, DEPTH, &mut entries, &mut paths) {
        report.refuse(&error);
    }
    let mut left = FOLDER_BYTES.saturating_sub(bytes);
    for path in &paths {
        if files + report.read >= FOLDER_FILES || left == 0 {
            report.left_out += 1;
            continue;
        }
        let sound = audio::decode(path, Some(FOLDER_SECONDS)).and_then(|decoded| {
            let clip = &decoded.clip;
            if clip.peak() <= 0.0 || !clip.is_finite() {
                let reason = "expected a sound, found silence or values that are not numbers";
                return Err(Error::setting(format!("{}: {reason}", path.display())));
            }
            Ok(StoredSound::new(SoundRecipe::of_file(path), clip))
        });
        let taken = sound.and_then(|sound| {
            let bytes = sound.bytes();
            each(path, sound).map(|goes_on| (goes_on, bytes))
        });
        match taken {
            Ok((goes_on, bytes)) => {
                report.read += 1;
                left = left.saturating_sub(bytes);
                if !goes_on {
                    break;
                }
            }
            Err(error) => report.refuse(&error),
        }
    }
    report
}

/// Finds the sound files, folder after folder; links to folders are not followed.
fn walk(folder: &Path, depth: usize, entries: &mut usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let listed = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = Vec::new();
    for entry in listed {
        let Some(left) = entries.checked_sub(1) else {
            break;
        };
        *entries = left;
        let entry = entry.map_err(Error::io(folder))?;
        let kind = entry.file_type().map_err(Error::io(folder))?;
        paths.push((entry.path(), kind));
    }
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    let is_sound = |path: &Path| {
        let extension = path.extension().and_then(|it| it.to_str());
        extension.is_some_and(|it| {
            let known = audio::extensions().iter();
            known
                .into_iter()
                .any(|known| known.eq_ignore_ascii_case(it))
        })
    };
    for (path, kind) in paths {
        if kind.is_dir() && depth > 0 {
            // A folder that may not be read does not hide the others.
            let _ = walk(&path, depth - 1, entries, found);
        } else if !kind.is_dir() && is_sound(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// The class of a model that a file's name, or else its folder's, has a word of.
pub(super) fn class<'a>(path: &Path, labels: &'a [String]) -> Option<&'a str> {
    let folder = path.parent().and_then(Path::file_name);
    let names = [path.file_stem(), folder].into_iter().flatten();
    let mut names = names.map(|name| words(&name.to_string_lossy()));
    names.find_map(|name| {
        let own = |label: &&String| {
            let label = words(label);
            // Open hats are `hat_open` to one, and `open hat` to another.
            let turned = label.strip_prefix("hat").map(|rest| format!("{rest}hat"));
            !label.is_empty()
                && (name.contains(&label) || turned.is_some_and(|it| name.contains(&it)))
        };
        labels.iter().find(own).map(String::as_str)
    })
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::{BitDepth, Clip, write_wav};

    use super::*;

    #[test]
    fn what_can_be_read_is_and_what_cannot_is_counted_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("b").join("c");
        std::fs::create_dir_all(&within).unwrap();
        let clip = Clip::new(8000, vec![vec![0.5; 80_000]]);
        for path in [folder.path().join("z.wav"), within.join("a.WAV")] {
            write_wav(&path, &clip, BitDepth::Int16).unwrap();
        }
        let silence = Clip::new(8000, vec![vec![0.0; 100]]);
        write_wav(
            &folder.path().join("nothing.wav"),
            &silence,
            BitDepth::Int16,
        )
        .unwrap();
        std::fs::write(folder.path().join("bad.wav"), "RIFF no").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no sound").unwrap();
        let read_beside = |files: usize, bytes: usize| {
            let mut names = Vec::new();
            let report = read(folder.path(), files, bytes, &mut |path, sound| {
                assert_eq!(sound.seconds(), FOLDER_SECONDS as f32);
                names.push(path.file_name().unwrap().to_string_lossy().into_owned());
                Ok(true)
            });
            (report, names)
        };
        let (report, names) = read_beside(0, 0);
        assert_eq!(names, ["a.WAV", "z.wav"]);
        assert_eq!((report.read, report.bad, report.left_out), (2, 2, 0));
        let reasons = report.reasons.join("\n");
        assert!(
            reasons.contains("bad.wav") && reasons.contains("nothing.wav"),
            "{reasons}"
        );
        assert_eq!(read_beside(FOLDER_FILES - 1, 0).0.left_out, 3);
        assert_eq!(read_beside(0, FOLDER_BYTES).0.left_out, 4);
        let report = read(&folder.path().join("gone"), 0, 0, &mut |_, _| Ok(true));
        assert!(report.bad == 1 && report.reasons[0].contains("gone"));
    }

    #[test]
    fn a_class_is_told_by_a_name_or_its_folder() {
        let labels = ["kick", "hat_open", "snare"].map(str::to_owned);
        for (path, expected) in [
            ("/x/Kick 01.wav", Some("kick")),
            ("/x/Open-Hats/01.wav", Some("hat_open")),
            ("/x/snares/kick on snare.wav", Some("kick")),
            ("/snare/other/a.wav", None),
        ] {
            assert_eq!(class(Path::new(path), &labels), expected, "{path}");
        }
    }
}
