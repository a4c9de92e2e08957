//! Files that the user picks, in the system's own dialog, which the host must not wait for.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rfd::{AsyncFileDialog, FileHandle};

/// What a file is picked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To make sounds with.
    Model,
    /// To be a pad's sound, and varied.
    Sound(usize),
    /// To hold a pad's sound.
    Export(usize),
}

/// A dialog that is open.
pub(super) struct Picking {
    pub purpose: Purpose,
    answer: Pin<Box<dyn Future<Output = Option<FileHandle>> + Send>>,
}

impl fmt::Debug for Picking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picking")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl Picking {
    /// Opens a dialog. `name` is what a new file is called at first.
    pub fn begin(purpose: Purpose, name: &str) -> Self {
        let dialog = AsyncFileDialog::new();
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = match purpose {
            Purpose::Model => Box::pin(
                dialog
                    .set_title("Open a model")
                    .add_filter(
                        "audiodiff and Dance Diffusion models",
                        &["safetensors", "ckpt", "bin"],
                    )
                    .pick_file(),
            ),
            Purpose::Sound(_) => Box::pin(
                dialog
                    .set_title("Open a sound to vary")
                    .add_filter("Sounds", audiodiff::audio::extensions())
                    .pick_file(),
            ),
            Purpose::Export(_) => Box::pin(
                dialog
                    .set_title("Export the pad")
                    .set_file_name(name)
                    .add_filter("WAV", &["wav"])
                    .save_file(),
            ),
        };
        Self { purpose, answer }
    }

    /// What was picked, or nothing if the dialog was left; not ready while it is open.
    ///
    /// The window asks at each frame, so nobody need wake it.
    pub fn poll(&mut self) -> Poll<Option<PathBuf>> {
        let answer = self
            .answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        answer.map(|file| file.map(|file| file.path().to_owned()))
    }
}
