//! The file that a project is kept in, for one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use audiodiff::file::write_whole;
use audiodiff::{Error, Result};
use nice_plug::prelude::PluginState;
use serde_json::error::Category;

use crate::state;

/// A project's file, which no other process writes to while this lives.
#[derive(Debug)]
pub struct ProjectFile {
    path: PathBuf,
    /// Whether the user has named it: what is no project is theirs then, and stays as it is.
    is_named: bool,
    /// Beside it: the file itself is replaced whenever it is saved.
    _lock: File,
    /// A hash of what is in it; 0 while that is not known.
    saved: AtomicU64,
}

impl ProjectFile {
    /// Takes the file that the user has named, which need not be there yet.
    ///
    /// # Errors
    /// [`Error::Setting`] when it is no project, before anything is written, or when another process has it;
    /// [`Error::Io`] when it cannot be read, or when nothing can be written beside it.
    pub fn take(path: &Path) -> Result<Self> {
        read(path)?
            .transpose()
            .map_err(|found| refusal(path, &found))?;
        Self::try_take(path, true)?.ok_or_else(|| is_in_use(path))
    }

    /// Takes the program's own file at `path`, or where another process has that, the first free one of `name 2` and
    /// so on.
    ///
    /// # Errors
    /// [`Error::Setting`] when other processes have all of them; [`Error::Io`] when nothing can be written there.
    pub fn take_free(path: &Path) -> Result<Self> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let others = (2..100).map(|number| path.with_file_name(format!("{stem} {number}.json")));
        for path in std::iter::once(path.to_owned()).chain(others) {
            if let Some(file) = Self::try_take(&path, false)? {
                return Ok(file);
            }
        }
        Err(is_in_use(path))
    }

    fn try_take(path: &Path, is_named: bool) -> Result<Option<Self>> {
        if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            audiodiff::file::make_folder(folder)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&beside)
            .map_err(Error::io(&beside))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                path: path.to_owned(),
                is_named,
                _lock: lock,
                saved: AtomicU64::new(0),
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(Error::io(&beside)(cause)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The project that is there; none if there is no file. What is no project is put aside under another name, but
    /// for a file that the user has named.
    ///
    /// # Errors
    /// [`Error::Setting`] when the file that was named is no project by now; [`Error::Io`] when it cannot be read, or
    /// not be put aside. Then it must not be written over.
    pub fn open(&self) -> Result<Opened> {
        match read(&self.path)? {
            None => Ok(Opened::New),
            Some(Ok((state, text))) => {
                self.saved.store(hash(&text), Ordering::Relaxed);
                Ok(Opened::Project(Box::new(state)))
            }
            Some(Err(found)) if self.is_named => Err(refusal(&self.path, &found)),
            Some(Err(found)) => {
                let aside = self.aside();
                fs::rename(&self.path, &aside).map_err(Error::io(&self.path))?;
                Ok(Opened::Damaged(format!(
                    "{}: expected a project, found {found}; it is now called {}",
                    self.path.display(),
                    aside.display()
                )))
            }
        }
    }

    /// A name beside it that no file has.
    fn aside(&self) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut names = (1u32..).map(|number| {
            self.path
                .with_file_name(format!("{stem} damaged {number}.json"))
        });
        let free = names.find(|path| fs::symlink_metadata(path).is_err());
        free.expect("no folder has so many files")
    }

    /// Writes the project, whole or not at all, unless it is as it was. Returns whether it was written.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn save(&self, state: &PluginState) -> Result<bool> {
        let text = serde_json::to_vec(state).expect("a project can be written");
        let now = hash(&text);
        if self.saved.load(Ordering::Relaxed) == now {
            return Ok(false);
        }
        write_whole(&self.path, &text)?;
        self.saved.store(now, Ordering::Relaxed);
        Ok(true)
    }
}

/// What is in a project's file.
#[derive(Debug)]
pub enum Opened {
    /// There is none yet.
    New,
    /// A project.
    Project(Box<PluginState>),
    /// Something else, which was put aside: a sentence for the user.
    Damaged(String),
}

/// A project with its bytes, or in words what a file holds instead.
type Found = Result<(PluginState, Vec<u8>), String>;

/// What a file holds; none if there is no file.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
fn read(path: &Path) -> Result<Option<Found>> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    if meta.is_dir() {
        return Ok(Some(Err("a folder".into())));
    }
    if !meta.is_file() {
        return Ok(Some(Err("what is no file of bytes".into())));
    }
    let mut file = File::open(path).map_err(Error::io(path))?;
    // Only what may be a project is read whole: a recording may be larger than memory.
    let mut text = vec![0; 64];
    let begun = file.read(&mut text).map_err(Error::io(path))?;
    text.truncate(begun);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if text.is_empty() {
        return Ok(Some(Err("an empty file".into())));
    }
    if first != Some(&b'{') {
        return Ok(Some(Err("a file of another kind".into())));
    }
    file.read_to_end(&mut text).map_err(Error::io(path))?;
    Ok(Some(parse(&text).map(|state| (state, text))))
}

/// The project in the bytes of a file, or in words what they are instead.
fn parse(text: &[u8]) -> Result<PluginState, String> {
    let state: PluginState =
        serde_json::from_slice(text).map_err(|error| match error.classify() {
            // Of another program's JSON, or of a kit.
            Category::Data => format!("JSON of another kind ({error})"),
            _ => format!("damaged JSON ({error})"),
        })?;
    state::check(&state)?;
    Ok(state)
}

fn refusal(path: &Path, found: &str) -> Error {
    Error::setting(format!(
        "{}: expected a project of audiodiff or no file, found {found}; it stays as it is",
        path.display()
    ))
}

fn is_in_use(path: &Path) -> Error {
    Error::setting(format!(
        "{}: this project is open in another window",
        path.display()
    ))
}

/// Never 0.
fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn state(text: &str) -> PluginState {
        PluginState {
            version: text.into(),
            params: Default::default(),
            fields: [("project".to_owned(), "{}".to_owned())].into(),
        }
    }

    #[test]
    fn a_project_is_kept_and_damage_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("my.json");
        let file = ProjectFile::take_free(&path).unwrap();
        assert!(matches!(file.open().unwrap(), Opened::New));
        assert!(file.save(&state("1")).unwrap());
        assert!(!file.save(&state("1")).unwrap());
        assert!(file.save(&state("2")).unwrap());
        let Opened::Project(found) = file.open().unwrap() else {
            panic!("it is there");
        };
        assert_eq!(found.version, "2");
        assert!(!file.save(&found).unwrap(), "nothing has changed");
        for number in 1..3 {
            fs::write(&path, b"{\"version\":").unwrap();
            let Opened::Damaged(sentence) = file.open().unwrap() else {
                panic!("it is damaged");
            };
            assert!(
                sentence.contains(&format!("my damaged {number}.json")),
                "{sentence}"
            );
            assert!(matches!(file.open().unwrap(), Opened::New));
        }
    }

    /// The names and bytes of all files in a folder.
    fn all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
        let mut files: Vec<_> = entries.collect();
        files.sort();
        let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
        files.into_iter().map(read).collect()
    }

    #[test]
    fn what_the_user_names_and_is_no_project_is_refused_and_untouched() {
        let damaged = r#"{"version":"0.2.0","params":{},"fields":{"project":"{\"pads\":["}}"#;
        let foreign = r#"{"version":"1","params":{"gain":{"f32":1.0}},"fields":{}}"#;
        for (bytes, found) in [
            (&b"RIFF\x24\0\0\0WAVEfmt "[..], "a file of another kind"),
            (b"\x40\0\0\0\0\0\0\0{}", "a file of another kind"),
            (b"[1]", "a file of another kind"),
            (b"", "an empty file"),
            (b"{\"a\": 1}", "JSON of another kind"),
            (b"{\"version\":", "damaged JSON"),
            (damaged.as_bytes(), "damaged"),
            (foreign.as_bytes(), "another plugin"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("my.json");
            fs::write(&path, bytes).unwrap();
            let before = all(folder.path());
            let reason = ProjectFile::take(&path).unwrap_err().to_string();
            for word in ["my.json: expected a project", found] {
                assert!(reason.contains(word), "{reason}: {word}");
            }
            assert_eq!(all(folder.path()), before, "{reason}");
        }
        let folder = tempfile::tempdir().unwrap();
        let reason = ProjectFile::take(folder.path()).unwrap_err().to_string();
        assert!(reason.contains("found a folder"), "{reason}");
        // Nor is it put aside where it became something else since.
        let path = folder.path().join("my.json");
        let file = ProjectFile::take(&path).unwrap();
        assert!(matches!(file.open().unwrap(), Opened::New));
        fs::write(&path, "precious").unwrap();
        let reason = file.open().unwrap_err().to_string();
        assert!(reason.contains("expected a project"), "{reason}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn one_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.json");
        let first = ProjectFile::take_free(&path).unwrap();
        assert_eq!(first.path(), path);
        let refused = ProjectFile::take(&path).unwrap_err().to_string();
        assert!(
            refused.contains("my.json: this project is open"),
            "{refused}"
        );
        let second = ProjectFile::take_free(&path).unwrap();
        assert_eq!(second.path(), folder.path().join("my 2.json"));
        drop(first);
        assert_eq!(ProjectFile::take_free(&path).unwrap().path(), path);
    }
}
