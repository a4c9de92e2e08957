//! The sounds of a model's map in a file, so that they are made once.

use std::path::PathBuf;
use std::time::SystemTime;

use audiodiff::Result;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::pad::words;
use crate::stored::StoredSound;

/// The version of the file; others are not read.
const VERSION: u32 = 1;

/// Files of models that are kept, about 5 MB each.
const KEPT: usize = 4;

/// Where the sounds of one model are.
#[derive(Debug)]
pub(super) struct Cache {
    pub path: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    sounds: Vec<&'a StoredSound>,
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
    Whole(Box<StoredSound>),
    Damaged(IgnoredAny),
}

impl Cache {
    /// In this user's folder of caches; none where there is no such folder. The name of a model ends in a fingerprint.
    pub fn of_user(model: &str) -> Option<Self> {
        let folder = dirs::cache_dir()?.join("audiodiff");
        let path = folder.join(format!("map-{}.json", words(model)));
        Some(Self { path })
    }

    /// The sounds; none where there is no such file, or another one of that name. Whoever reads them checks what they are.
    pub fn read(&self) -> Vec<StoredSound> {
        let read = std::fs::read(&self.path).ok();
        let read: Option<Read> = read.and_then(|text| serde_json::from_slice(&text).ok());
        let sounds = read
            .filter(|read| read.version == VERSION)
            .map(|read| read.sounds);
        let whole = sounds
            .into_iter()
            .flatten()
            .filter_map(|sound| match sound {
                Perhaps::Whole(sound) => Some(*sound),
                Perhaps::Damaged(_) => None,
            });
        whole.collect()
    }

    /// Writes them, and removes the files of models that were not used for longest.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write<'a>(&self, sounds: impl Iterator<Item = &'a StoredSound>) -> Result<()> {
        let written = Written {
            version: VERSION,
            sounds: sounds.collect(),
        };
        let text = serde_json::to_vec(&written).expect("sounds can be written");
        let Some(folder) = self.path.parent() else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).map_err(audiodiff::Error::io(folder))?;
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
