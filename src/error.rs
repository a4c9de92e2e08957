//! One error type for the whole library.

use std::path::{Path, PathBuf};

/// The sentence about a sound file that holds no sound.
pub(crate) const NO_FRAME: &str = "expected at least one frame of sound, found none";

/// An error of this library. Each sentence names the file or setting, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read, written or renamed.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's sentence. Not the error's `source`: its sentence holds it already.
        cause: std::io::Error,
    },
    /// A sound file could not be understood, or holds nothing that can be used.
    #[error("{}: {reason}", path.display())]
    Sound {
        /// The sound file.
        path: PathBuf,
        /// Expected and found, in words.
        reason: String,
    },
    /// A sound file holds no sound at all.
    #[error("{}: {}", path.display(), NO_FRAME)]
    EmptySound {
        /// The sound file.
        path: PathBuf,
    },
    /// A checkpoint is damaged, of another format, or does not hold what its header promises.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint file.
        path: PathBuf,
        /// Expected and found, in words.
        reason: String,
    },
    /// A folder of sounds cannot be trained on.
    #[error("{}: {reason}", path.display())]
    Dataset {
        /// The folder.
        path: PathBuf,
        /// Expected and found, in words.
        reason: String,
    },
    /// A setting, or a combination of settings, makes no sense.
    #[error("{0}")]
    Setting(String),
    /// Data of one shape met a place for another.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which data.
        what: &'static str,
        /// The shape that was needed.
        expected: String,
        /// The shape that came.
        found: String,
    },
    /// Training met a loss or a gradient that is not a number. Nothing was written since.
    #[error("the {what} became {value} at step {step}{}", if *.saved { "; the last good checkpoint is kept" } else { "" })]
    Diverged {
        /// The quantity that stopped being a number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The optimizer step.
        step: u64,
        /// Whether the run folder holds an earlier checkpoint.
        saved: bool,
    },
    /// One of the ranks that work together cannot go on.
    #[error("rank {rank}: {reason}")]
    Rank {
        /// Its number in the [`Group`](crate::group::Group).
        rank: usize,
        /// Expected and found, in words.
        reason: String,
    },
    /// The caller asked to stop before the work was done.
    #[error("stopped before the work was done")]
    Stopped,
    /// The tensor library refused an operation.
    #[error("tensor operation failed: {0}")]
    Tensor(Box<candle_core::Error>),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(Box::new(error))
    }
}

/// Text that can be shown: names of files and classes come from strangers, so what could move a terminal's cursor is
/// spelt out.
#[must_use]
pub fn printable(text: &str) -> String {
    let spell = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    text.chars().map(spell).collect()
}

/// So many of a `thing`, a word whose plural is formed by an s: "1 sound", "2 sounds".
#[must_use]
pub fn counted(count: impl ToString, thing: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// Shorthand for results of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Adapter for `map_err` around file operations on `path`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |cause| Error::Io { path, cause }
    }

    /// A sound file that cannot be used, and why.
    pub fn sound(path: impl AsRef<Path>, reason: impl Into<String>) -> Error {
        Error::Sound {
            path: path.as_ref().to_owned(),
            reason: reason.into(),
        }
    }

    /// A checkpoint that cannot be used, and why.
    pub fn checkpoint(path: impl AsRef<Path>, reason: impl Into<String>) -> Error {
        Error::Checkpoint {
            path: path.as_ref().to_owned(),
            reason: reason.into(),
        }
    }

    /// A setting that makes no sense, and why.
    pub fn setting(reason: impl Into<String>) -> Error {
        Error::Setting(reason.into())
    }
}
