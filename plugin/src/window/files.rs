//! Files that the user picks, in the system's own dialog, which the host must not wait for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rfd::{AsyncFileDialog, FileHandle};

use crate::kits::EXTENSION;
use crate::kits::export::Format;
use crate::stored::SoundRecipe;

/// No person leaves a dialog sooner.
const FASTEST: Duration = Duration::from_millis(250);

/// The purpose that a file is picked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A model to make sounds with.
    Model,
    /// A sound for a pad, to be varied.
    Sound(usize),
    /// A file to write a pad's sound to.
    Export(usize),
    /// A folder of sounds for the map.
    MapFolder,
    /// A folder of sounds to learn.
    Learn,
    /// A kit to open.
    Kit,
    /// A folder to write the kit to for another instrument.
    Kits(Format),
}

/// A dialog that is open.
pub(super) struct Picking {
    pub purpose: Purpose,
    begun: Instant,
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
    /// Opens a dialog. `name` is the first name of a new file.
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
            Purpose::MapFolder => Box::pin(
                dialog
                    .set_title("Add a folder of sounds to the map")
                    .pick_folder(),
            ),
            Purpose::Learn => Box::pin(dialog.set_title("Learn a folder of sounds").pick_folder()),
            Purpose::Kits(_) => Box::pin(dialog.set_title("Export the kit into").pick_folder()),
            Purpose::Kit => Box::pin(
                dialog
                    .set_title("Open a kit")
                    .add_filter("audiodiff kits", &[EXTENSION])
                    .pick_file(),
            ),
            Purpose::Export(_) => Box::pin(
                dialog
                    .set_title("Export the pad")
                    .set_file_name(name)
                    .add_filter("WAV, FLAC or AIFF", &["wav", "flac", "aiff"])
                    .save_file(),
            ),
        };
        Self {
            purpose,
            begun: Instant::now(),
            answer,
        }
    }

    /// Whether there is no dialog to answer, if it has answered with no file: nobody leaves one so fast. On Linux it is
    /// another program's, which may not be there; then an answer may take long on a busy machine.
    pub fn is_dialog_missing(&self) -> bool {
        cfg!(target_os = "linux") && (self.begun.elapsed() < FASTEST || !is_there_a_dialog())
    }

    /// The path that was picked, or none if the dialog was left; not ready while it is open.
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

/// Whether a program may be there that shows dialogs: zenity, or a portal on the session's bus.
fn is_there_a_dialog() -> bool {
    let is_in = |folder: PathBuf, name: &str| folder.join(name).exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let zenity = std::env::split_paths(&path).any(|folder| is_in(folder, "zenity"));
    let bus = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| is_in(folder.into(), "bus"));
    zenity || bus || std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The name of an exported sound, unless the user says otherwise.
pub(super) fn export_name(recipe: &SoundRecipe) -> String {
    let name = match (&recipe.file, &recipe.class) {
        (Some(file), _) => file_name(&Path::new(file).with_extension("")),
        (None, Some(class)) => format!("{class}-{}", recipe.seed),
        (None, None) => format!("sound-{}", recipe.seed),
    };
    // A class may be called anything; a file may not.
    let plain = |c: char| {
        if c.is_alphanumeric() || "-_ .".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).chain(".wav".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::recipe;

    #[test]
    fn an_exported_sound_is_called_after_what_it_is() {
        let mut recipe = recipe(7);
        assert_eq!(export_name(&recipe), "kick-7.wav");
        recipe.class = Some("../a:b".into());
        assert_eq!(export_name(&recipe), ".._a_b-7.wav");
        recipe.class = None;
        assert_eq!(export_name(&recipe), "sound-7.wav");
        let file = SoundRecipe::of_file(Path::new("/x/door slam.flac"));
        assert_eq!(export_name(&file), "door slam.wav");
    }
}
