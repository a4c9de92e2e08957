//! Sounds as files for other programs to take: what is dragged out of the window, or copied for a file manager.
//!
//! Hosts read such a file late, or refer to it in their projects for good. So the files are the user's: they are not in
//! a temporary folder, and nothing here deletes one. A sound that is taken again is the same file.

use std::fs;
use std::path::{Path, PathBuf};

use audiodiff::audio::{Container, bytes};
use audiodiff::file::write_whole;
use audiodiff::{Error, Result};

use crate::stored::{StoredSound, depth_of};

/// The folder that they are in.
///
/// # Errors
/// [`Error::Setting`] where the system names no folder for the user's data.
pub fn folder() -> Result<PathBuf> {
    let data = dirs::data_local_dir();
    let data = data.ok_or_else(|| Error::setting("there is no folder for the user's data"))?;
    Ok(data.join("audiodiff").join("dragged"))
}

/// Makes a WAV file of a sound, unless there is one, and returns its absolute path. `name` is a file's name without its
/// ending; one that another sound has already is given a number. Not for the audio thread.
///
/// # Errors
/// [`Error::Io`] when it cannot be written; [`Error::Setting`] as of [`folder`].
pub fn file(sound: &StoredSound, name: &str) -> Result<PathBuf> {
    file_in(&folder()?, sound, name)
}

fn file_in(folder: &Path, sound: &StoredSound, name: &str) -> Result<PathBuf> {
    let clip = sound.clip();
    let (depth, tags) = (depth_of(&clip), sound.tags());
    let wav = bytes(&clip, Container::Wav, depth, &tags)?;
    audiodiff::file::make_folder(folder)?;
    // The name may be that of a file of another system.
    let name = &crate::kits::file_name(name);
    let numbers = (2..).map(|number| format!("{name} {number}.wav"));
    let mut names = std::iter::once(format!("{name}.wav")).chain(numbers);
    let mut is_there = false;
    let path = names.find_map(|name| {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(other) => {
                is_there = other == wav;
                is_there.then_some(path)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(path),
            Err(_) => None,
        }
    });
    let path = path.expect("no folder has so many files");
    if !is_there {
        write_whole(&path, &wav)?;
    }
    std::path::absolute(&path).map_err(Error::io(&path))
}

#[cfg(test)]
mod tests {
    use audiodiff::audio;

    use super::*;
    use crate::stored::tests::{clip, recipe};

    #[test]
    fn a_sound_is_one_file_however_often_it_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("new");
        let sound = |level| StoredSound::new(recipe(7), &clip(44_100, level));
        let path = |level| {
            let path = file_in(&inside, &sound(level), "kick-7").unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(path(0.5), "kick-7.wav");
        assert_eq!(path(0.25), "kick-7 2.wav");
        assert_eq!(path(0.5), "kick-7.wav");
        assert_eq!(path(0.25), "kick-7 2.wav");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 2);
        let back = audio::read(&inside.join("kick-7.wav")).unwrap();
        let wanted = sound(0.5).clip();
        assert_eq!(back.sample_rate(), 44_100);
        for (a, b) in back.channels()[0].iter().zip(&wanted.channels()[0]) {
            assert!((a - b).abs() < 1.0 / f32::from(1u16 << 15) / 100.0);
        }
        // Louder than full scale, nothing is clipped.
        let loud = file_in(&inside, &sound(2.0), "loud").unwrap();
        assert!(audio::read(&loud).unwrap().peak() > 1.9);
    }
}
