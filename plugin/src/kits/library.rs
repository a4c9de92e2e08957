//! All kits that there are to browse: those of the instrument, and those in the user's folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use audiodiff::{Error, Result};

use super::{EXTENSION, Place, factory_kits, file_name, head, read, write};
use crate::project::Project;

/// Folders within folders that are looked into.
const DEPTH: usize = 4;

/// Files that are listed at most.
const MOST: usize = 10_000;

/// A kit in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Who made it; empty if it does not say.
    pub author: String,
    /// Words for what it is like.
    pub tags: Vec<String>,
    /// Where it is.
    pub place: Place,
}

impl Entry {
    /// Whether it comes with the instrument.
    #[must_use]
    pub fn is_factory(&self) -> bool {
        matches!(self.place, Place::Factory(_))
    }

    /// Whether its name, author or tags have each word of `text` in them, in capitals or not.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let own = format!("{} {} {}", self.name, self.author, self.tags.join(" ")).to_lowercase();
        let text = text.to_lowercase();
        text.split_whitespace().all(|word| own.contains(word))
    }
}

/// A file's length and when it was changed last: what tells that its head need not be read again.
type Print = (u64, Option<SystemTime>);

/// All kits, those of the instrument first, then the user's by name. Looking for files takes its time on a thread of its
/// own; asking what was found takes none.
#[derive(Debug)]
pub struct Library {
    folder: Option<PathBuf>,
    entries: Mutex<Arc<[Entry]>>,
    heads: Mutex<HashMap<PathBuf, (Print, Option<Entry>)>>,
    is_looking: AtomicBool,
}

impl Library {
    /// Of the user's own folder of kits, where the system has one for such things. Those of the instrument are there at
    /// once.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::of(dirs::data_dir().map(|data| data.join("audiodiff").join("kits")))
    }

    /// Of this folder, which need not be there.
    #[must_use]
    pub fn of(folder: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            folder,
            entries: Mutex::new(factory().into()),
            heads: Mutex::default(),
            is_looking: AtomicBool::new(false),
        })
    }

    /// The folder of the user's kits.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The file for a new kit of the user's, of a name that no other file has.
    #[must_use]
    pub fn place_for(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let name = file_name(name);
        let mut names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name} {n}")));
        names.find_map(|name| {
            let path = folder.join(format!("{name}.{EXTENSION}"));
            (!path.exists()).then_some(path)
        })
    }

    /// What was found when it was last looked.
    #[must_use]
    pub fn entries(&self) -> Arc<[Entry]> {
        lock(&self.entries).clone()
    }

    /// Looks for kits on a thread of its own, unless one is looking, and calls `done` there if others were found than
    /// before. Whoever may be unloaded with this code joins the thread first; none where the system has none to give.
    pub fn refresh(
        self: &Arc<Self>,
        done: impl FnOnce() + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        if self.is_looking.swap(true, Ordering::AcqRel) {
            return None;
        }
        let library = self.clone();
        let begun = std::thread::Builder::new()
            .name("audiodiff-kits".into())
            .spawn(move || {
                let is_new = library.look();
                library.is_looking.store(false, Ordering::Release);
                if is_new {
                    done();
                }
            });
        if begun.is_err() {
            // Without a thread, the list stays as it is.
            self.is_looking.store(false, Ordering::Release);
        }
        begun.ok()
    }

    /// Looks for kits, and says whether others were found than before. This reads files.
    pub fn look(&self) -> bool {
        let mut files = Vec::new();
        if let Some(folder) = &self.folder {
            gather(folder, DEPTH, &mut files);
        }
        let mut heads = std::mem::take(&mut *lock(&self.heads));
        let mut known = HashMap::with_capacity(files.len());
        let mut own = Vec::with_capacity(files.len());
        for (path, print) in files {
            let kept = heads.remove(&path).filter(|(kept, _)| *kept == print);
            let (_, entry) = kept.unwrap_or_else(|| {
                let info = head::read(&path).ok();
                let entry = info.map(|info| Entry {
                    name: info.name,
                    author: info.author,
                    tags: info.tags,
                    place: Place::File(path.clone()),
                });
                (print, entry)
            });
            own.extend(entry.clone());
            known.insert(path, (print, entry));
        }
        *lock(&self.heads) = known;
        own.sort_by_cached_key(|entry| (entry.name.to_lowercase(), entry.place.clone()));
        let found: Arc<[Entry]> = factory().into_iter().chain(own).collect();
        let mut entries = lock(&self.entries);
        let is_new = *entries != found;
        *entries = found;
        is_new
    }

    /// The kit `by` places after the one at `current` among those that `is_shown` lets pass, around the end; from none, the
    /// first or the last.
    #[must_use]
    pub fn neighbour(
        &self,
        current: Option<&Place>,
        by: isize,
        is_shown: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let entries = self.entries();
        let shown: Vec<&Entry> = entries.iter().filter(|entry| is_shown(entry)).collect();
        if shown.is_empty() {
            return None;
        }
        let at = current.and_then(|place| shown.iter().position(|entry| entry.place == *place));
        let at = match at {
            Some(at) => at as isize + by,
            // What is not shown stands where the whole list has it.
            None => {
                let whole =
                    current.and_then(|it| entries.iter().position(|entry| entry.place == *it));
                let before = whole.map_or(0, |at| {
                    entries[..at].iter().filter(|it| is_shown(it)).count()
                });
                before as isize + if by > 0 { by - 1 } else { by }
            }
        };
        Some(shown[at.rem_euclid(shown.len() as isize) as usize].clone())
    }

    /// The kit at a place, to be loaded. This reads its file.
    ///
    /// # Errors
    /// When the file is no kit, or the instrument has none of this name.
    pub fn open(&self, place: &Place) -> Result<Project> {
        match place {
            Place::File(path) => read(path),
            Place::Factory(name) => {
                let is_it =
                    |kit: &&Project| kit.kit.as_ref().is_some_and(|info| info.name == *name);
                let found = factory_kits().iter().find(is_it).cloned();
                found.ok_or_else(|| Error::setting(format!("there is no factory kit {name}")))
            }
        }
    }

    /// Deletes a kit of the user's.
    ///
    /// # Errors
    /// When it is none of those in the user's folder, or cannot be deleted.
    pub fn delete(&self, place: &Place) -> Result<()> {
        let path = self.expect_own(place)?;
        std::fs::remove_file(path).map_err(Error::io(path))?;
        self.look();
        Ok(())
    }

    /// Calls a kit of the user's otherwise, its file too, and returns where it is now. This reads and writes the file.
    ///
    /// # Errors
    /// When it is none of those in the user's folder, a file of that name is there, or the file cannot be read whole or
    /// written.
    pub fn rename(&self, place: &Place, name: &str) -> Result<Place> {
        let path = self.expect_own(place)?;
        let mut kit = read(path)?;
        if kit.damaged > 0 {
            // What is damaged would be lost.
            let parts = kit.damaged;
            let path = path.display();
            return Err(Error::setting(format!("{path}: {parts} parts are damaged")));
        }
        if let Some(info) = &mut kit.kit {
            name.trim().clone_into(&mut info.name);
            info.place = None;
        }
        let to = path.with_file_name(format!("{}.{EXTENSION}", file_name(name)));
        if to != *path && to.exists() {
            return Err(Error::setting(format!("{} is there already", to.display())));
        }
        write(&to, &kit)?;
        if to != *path {
            std::fs::remove_file(path).map_err(Error::io(path))?;
        }
        self.look();
        Ok(Place::File(to))
    }

    fn expect_own<'a>(&self, place: &'a Place) -> Result<&'a Path> {
        match (place, &self.folder) {
            (Place::File(path), Some(folder)) if path.starts_with(folder) => Ok(path),
            (Place::File(path), _) => Err(Error::setting(format!(
                "{} is not in the folder of kits",
                path.display()
            ))),
            (Place::Factory(name), _) => Err(Error::setting(format!(
                "{name} comes with the instrument and stays as it is"
            ))),
        }
    }
}

/// The kits of the instrument as entries.
fn factory() -> Vec<Entry> {
    let kits = factory_kits().iter().filter_map(|kit| kit.kit.as_ref());
    let entries = kits.map(|info| Entry {
        name: info.name.clone(),
        author: info.author.clone(),
        tags: info.tags.clone(),
        place: Place::Factory(info.name.clone()),
    });
    entries.collect()
}

/// The files of kits in a folder and in those within.
fn gather(folder: &Path, depth: usize, files: &mut Vec<(PathBuf, Print)>) {
    // What cannot be read has nothing to show.
    let Ok(found) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in found.flatten() {
        let path = entry.path();
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        let is_kit = path
            .extension()
            .is_some_and(|it| it.eq_ignore_ascii_case(EXTENSION));
        if metadata.is_dir() && depth > 1 {
            gather(&path, depth - 1, files);
        } else if metadata.is_file() && is_kit && files.len() < MOST {
            files.push((path, (metadata.len(), metadata.modified().ok())));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kits::KitInfo;

    fn put(folder: &Path, file: &str, name: &str) -> Place {
        let kit = Project {
            kit: Some(KitInfo {
                name: name.into(),
                author: "Me".into(),
                tags: vec!["dry".into()],
                ..KitInfo::default()
            }),
            ..Project::default()
        };
        let path = folder.join(format!("{file}.{EXTENSION}"));
        write(&path, &kit).unwrap();
        Place::File(path)
    }

    fn own(library: &Library) -> Vec<String> {
        let entries = library.entries();
        let own = entries.iter().filter(|entry| !entry.is_factory());
        own.map(|entry| entry.name.clone()).collect()
    }

    #[test]
    fn kits_are_found_renamed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::of(Some(folder.path().join("kits")));
        assert!(!library.look() && own(&library).is_empty() && library.entries().len() >= 12);
        let b = put(library.folder().unwrap(), "1", "b");
        put(&library.folder().unwrap().join("within"), "2", "A");
        std::fs::write(
            library.folder().unwrap().join("x.audiodiff-kit"),
            "nonsense",
        )
        .unwrap();
        std::fs::write(library.folder().unwrap().join("x.txt"), "{\"pads\":[]}").unwrap();
        assert!(library.look());
        assert_eq!(own(&library), ["A", "b"]);
        assert!(!library.look(), "nothing has changed");
        let c = library.rename(&b, "C/1").unwrap();
        assert_eq!(
            c,
            Place::File(library.folder().unwrap().join("C_1.audiodiff-kit"))
        );
        assert_eq!(own(&library), ["A", "C/1"]);
        assert_eq!(library.open(&c).unwrap().kit.unwrap().name, "C/1");
        let d = put(library.folder().unwrap(), "d", "d");
        assert!(
            library
                .rename(&d, "C/1")
                .unwrap_err()
                .to_string()
                .contains("already")
        );
        library.delete(&c).unwrap();
        assert_eq!(own(&library), ["A", "d"]);
        // Not what is elsewhere, or the instrument's.
        let elsewhere = put(folder.path(), "e", "e");
        assert!(library.delete(&elsewhere).is_err());
        let tight = library.entries()[0].place.clone();
        assert!(library.delete(&tight).is_err() && library.rename(&tight, "x").is_err());
        assert_eq!(
            library.open(&tight).unwrap().kit.unwrap().place,
            Some(tight)
        );
        assert!(library.open(&Place::Factory("none".into())).is_err());
        let free = library.place_for("d").unwrap();
        assert!(free.ends_with("d 2.audiodiff-kit"), "{}", free.display());
    }

    #[test]
    fn one_goes_from_kit_to_kit_around_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::of(Some(folder.path().to_owned()));
        let [a, b, c] = ["a", "b", "c"].map(|name| put(folder.path(), name, name));
        let (done, wait) = std::sync::mpsc::channel();
        library.refresh(move || done.send(()).unwrap());
        wait.recv().unwrap();
        let mine = |entry: &Entry| !entry.is_factory();
        let step = |from: Option<&Place>, by| library.neighbour(from, by, mine).unwrap().place;
        assert_eq!(
            [step(Some(&a), 1), step(Some(&a), -1), step(Some(&c), 1)],
            [b.clone(), c.clone(), a.clone()]
        );
        assert_eq!([step(None, 1), step(None, -1)], [a.clone(), c.clone()]);
        // From one that is not shown, the next that is.
        let first = library.entries()[0].place.clone();
        assert_eq!(
            [step(Some(&first), 1), step(Some(&first), -1)],
            [a.clone(), c]
        );
        let but_b = |entry: &Entry| mine(entry) && entry.place != b;
        assert_eq!(library.neighbour(Some(&b), -1, but_b).unwrap().place, a);
        assert_eq!(library.neighbour(None, 1, |_| false), None);
        let entry = library.neighbour(None, 1, mine).unwrap();
        assert!(entry.matches("ME dry a") && !entry.matches("wet"));
    }
}
