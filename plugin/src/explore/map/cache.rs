//! The sounds of a model's map in a file, so that they are made once.

use std::path::PathBuf;
use std::time::SystemTime;

use audiodiff::Result;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::pad::words;
use crate::stored::StoredSound;

/// The version of the file, and of the features in it; others are not read.
const VERSION: u32 = 1;

/// Files of models that are kept, 16 MB of the built-in one.
const KEPT: usize = 4;

/// Where the sounds of one model are.
#[derive(Debug)]
pub(super) struct Cache {
    pub path: PathBuf,
}

/// A sound and its features: to measure all again takes seconds.
#[derive(Serialize, Deserialize)]
struct Heard<Sound, Row> {
    sound: Sound,
    features: Row,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    sounds: Vec<Heard<&'a StoredSound, &'a [f32]>>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    sounds: Vec<Perhaps>,
}

/// A damaged sound does not spoil the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum Perhaps {
    Whole(Box<Heard<StoredSound, Vec<f32>>>),
    Damaged(IgnoredAny),
}

impl Cache {
    /// In this user's folder of caches; none where there is no such folder. The name of a model ends in a fingerprint.
    pub fn of_user(model: &str) -> Option<Self> {
        let folder = dirs::cache_dir()?.join("audiodiff");
        let path = folder.join(format!("map-{}.json", words(model)));
        Some(Self { path })
    }

    /// The sounds with their features; none where there is no such file, or another one of that name. Whoever reads them
    /// checks what they are.
    pub fn read(&self) -> Vec<(StoredSound, Vec<f32>)> {
        let read = std::fs::read(&self.path).ok();
        let read: Option<Read> = read.and_then(|text| serde_json::from_slice(&text).ok());
        let sounds = read
            .filter(|read| read.version == VERSION)
            .map(|read| read.sounds);
        let whole = sounds
            .into_iter()
            .flatten()
            .filter_map(|sound| match sound {
                Perhaps::Whole(heard) => Some((heard.sound, heard.features)),
                Perhaps::Damaged(_) => None,
            });
        whole.collect()
    }

    /// Writes them, and removes the files of models that were not used for longest.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write<'a>(
        &self,
        sounds: impl Iterator<Item = (&'a StoredSound, &'a [f32])>,
    ) -> Result<()> {
        let heard = sounds.map(|(sound, features)| Heard { sound, features });
        let written = Written {
            version: VERSION,
            sounds: heard.collect(),
        };
        let text = serde_json::to_vec(&written).expect("sounds can be written");
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        audiodiff::file::make_folder(folder)?;
        audiodiff::file::write_whole(&self.path, &text)?;
        let age = |path: &PathBuf| {
            let written = std::fs::metadata(path).and_then(|it| it.modified());
            written.unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
        files.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("map-") && name.ends_with(".json") && *path != self.path
        });
        files.sort_by_key(age);
        for old in files.iter().rev().skip(KEPT - 1) {
            // It is a cache: what cannot be removed stays.
            let _ = std::fs::remove_file(old);
        }
        Ok(())
    }
}
