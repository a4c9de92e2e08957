//! The file that a project is kept in, for one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use audiodiff::file::write_whole;
use audiodiff::{Error, Result};
use nice_plug::prelude::PluginState;

/// A project's file, which no other process writes to while this lives.
#[derive(Debug)]
pub struct ProjectFile {
    path: PathBuf,
    /// Beside it: the file itself is replaced whenever it is saved.
    _lock: File,
    /// A hash of what is in it; 0 while that is not known.
    saved: AtomicU64,
}

impl ProjectFile {
    /// Takes the file at `path`, which need not be there yet.
    ///
    /// # Errors
    /// [`Error::Setting`] when another process has it; [`Error::Io`] when nothing can be written beside it.
    pub fn take(path: &Path) -> Result<Self> {
        match Self::try_take(path)? {
            Some(file) => Ok(file),
            None => Err(Error::setting(format!(
                "{}: this project is open in another window",
                path.display()
            ))),
        }
    }

    /// Takes the file at `path`, or where another process has that, the first free one of `name 2` and so on.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_free(path: &Path) -> Result<Self> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let others = (2..100).map(|number| path.with_file_name(format!("{stem} {number}.json")));
        for path in std::iter::once(path.to_owned()).chain(others) {
            if let Some(file) = Self::try_take(&path)? {
                return Ok(file);
            }
        }
        Self::take(path)
    }

    fn try_take(path: &Path) -> Result<Option<Self>> {
        if let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
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

    /// The project that is there; none if there is no file. One that is damaged is put aside under another name.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, or not be put aside: it must not be written over.
    pub fn open(&self) -> Result<Opened> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Opened::New),
            Err(error) => return Err(Error::io(&self.path)(error)),
        };
        match serde_json::from_slice(&text) {
            Ok(state) => {
                self.saved.store(hash(&text), Ordering::Relaxed);
                Ok(Opened::Project(Box::new(state)))
            }
            Err(error) => {
                let aside = self.aside();
                fs::rename(&self.path, &aside).map_err(Error::io(&self.path))?;
                Ok(Opened::Damaged(format!(
                    "{} is no project: {error}; it is now called {}",
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
            fields: Default::default(),
        }
    }

    #[test]
    fn a_project_is_kept_and_damage_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("my.json");
        let file = ProjectFile::take(&path).unwrap();
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
