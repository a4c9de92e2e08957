//! Kits: sixteen pads as a file, as a list to browse, and as the files of other instruments.
//!
//! A kit is a [`Project`]: with its sounds where a user has saved it, without them where the model that is built in makes
//! them from their seeds. Either is brought onto the pads by [`Store::load_kit`](crate::store::Store::load_kit).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audiodiff::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::project::Project;

pub mod export;
mod factory;
mod head;
mod library;

pub use factory::factory_kits;
pub use library::{Entry, Library};

/// What the names of files of kits end in.
pub const EXTENSION: &str = "audiodiff-kit";

/// The largest file that is read: sixteen pads of eight sounds of 30 s in stereo take less.
const MOST_BYTES: u64 = 1 << 30;

/// Where a kit is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Among those that come with the instrument, under this name.
    Factory(String),
    /// In this file.
    File(PathBuf),
}

/// What a kit says of itself; and in a project, which kit that came of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KitInfo {
    /// Its name.
    pub name: String,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Words for what it is like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// In a project, where the kit is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// In a project that was saved, whether its sounds or settings were others than those of the kit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Values of the parameters that a host automates, normalized, by id. In a project, those that the kit had left when
    /// it was loaded or saved.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, f32>,
    /// What a later version knows of.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
    /// In a project, the pads that the kit had left.
    #[serde(skip)]
    pub(crate) whole: Option<Arc<Project>>,
    /// The first and the last of the gestures that asked for its sounds.
    #[serde(skip)]
    pub(crate) asked: [u64; 2],
}

impl KitInfo {
    /// Whether this gesture is one of those that asked for its sounds.
    pub(crate) fn has_asked(&self, gesture: u64) -> bool {
        let [first, last] = self.asked;
        (first..=last).contains(&gesture)
    }
}

/// Reads a kit, or a project as one. Its name is the file's if it brings none.
///
/// # Errors
/// When the file cannot be read, is larger than 1 GiB, or is no kit. A damaged sound is left out and counted in
/// [`Project::damaged`].
pub fn read(path: &Path) -> Result<Project> {
    let file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    let too_large = |found: u64| {
        Error::setting(format!(
            "{}: expected a kit of at most {MOST_BYTES} bytes, found {found}",
            path.display()
        ))
    };
    if bytes > MOST_BYTES {
        return Err(too_large(bytes));
    }
    let mut text = Vec::new();
    // It may grow, and a pipe has no length.
    let mut file = BufReader::new(file).take(MOST_BYTES + 1);
    file.read_to_end(&mut text).map_err(Error::io(path))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(too_large(text.len() as u64));
    }
    let is_kit = |project: &Project| {
        let has_sounds = project.pads.iter().any(Option::is_some);
        has_sounds || project.damaged == 0 || project.kit.is_some()
    };
    let parsed = serde_json::from_slice::<Project>(&text).map_err(|error| error.to_string());
    let found = match parsed {
        Ok(project) if is_kit(&project) => Ok(project),
        Ok(_) => Err("no pads".to_owned()),
        Err(error) => Err(error),
    };
    let mut project = found.map_err(|found| {
        Error::setting(format!(
            "{}: expected a kit of audiodiff, found {found}",
            path.display()
        ))
    })?;
    let info = project.kit.get_or_insert_default();
    if info.name.trim().is_empty() {
        info.name = stem(path);
    }
    info.place = Some(Place::File(path.to_owned()));
    info.changed = false;
    Ok(project)
}

/// Writes a kit: the file appears whole or not at all. Its folder is made.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, kit: &Project) -> Result<()> {
    if let Some(folder) = path.parent() {
        audiodiff::file::make_folder(folder)?;
    }
    let text = serde_json::to_vec(kit)
        .map_err(|error| Error::setting(format!("{}: {error}", path.display())))?;
    audiodiff::file::write_whole(path, &text)
}

/// The name of a file without what it ends in.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    stem.to_string_lossy().into_owned()
}

/// A name as a file may have it on any system.
#[must_use]
pub fn file_name(name: &str) -> String {
    match audiodiff::file::name_for(name) {
        nothing if nothing.is_empty() => "kit".to_owned(),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::StoredSound;
    use crate::stored::tests::{clip, recipe};

    fn kit(name: &str) -> Project {
        let mut kit = Project::default();
        for pad in [0, 3] {
            let sound = StoredSound::new(recipe(pad as u64), &clip(44_100, 0.3));
            kit.set_sound(pad, Some(Arc::new(sound)));
        }
        kit.kit = Some(KitInfo {
            name: name.to_owned(),
            tags: vec!["dry".into()],
            params: BTreeMap::from([("gain_1".to_owned(), 0.3)]),
            ..KitInfo::default()
        });
        kit
    }

    #[test]
    fn a_kit_is_read_as_it_was_written_and_knows_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("My kit.audiodiff-kit");
        let mut kit = kit("Mine");
        write(&path, &kit).unwrap();
        let read_again = read(&path).unwrap();
        kit.kit.as_mut().unwrap().place = Some(Place::File(path.clone()));
        assert_eq!(read_again, kit);
        // Any project is one.
        write(&path, &Project::default()).unwrap();
        assert_eq!(read(&path).unwrap().kit.unwrap().name, "My kit");
    }

    #[test]
    fn what_is_no_kit_is_refused_by_name_and_damage_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.audiodiff-kit");
        for text in ["", "{", "7", "[]", "{}", "{\"pads\":3}", "nonsense"] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(
                error.contains("x.audiodiff-kit") && error.contains("expected a kit"),
                "{text}: {error}"
            );
        }
        let error = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
        let text = serde_json::to_string(&kit("Mine")).unwrap();
        std::fs::write(&path, text.replacen("\"flac\":\"", "\"flac\":\"*", 1)).unwrap();
        let read = read(&path).unwrap();
        assert_eq!((read.damaged, read.pads.iter().flatten().count()), (1, 1));
    }

    #[test]
    fn a_kit_can_be_called_anything_and_a_file_can_not() {
        for (name, file) in [
            ("Deep 1", "Deep 1"),
            ("../a:b", "_a_b"),
            (" ..", "kit"),
            ("nul", "nul_"),
        ] {
            assert_eq!(file_name(name), file);
        }
    }
}
