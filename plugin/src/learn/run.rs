//! The folder of a learning: the library's run folder, and a note on what is learnt there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use audiodiff::file::{FolderLock, write_whole};
use audiodiff::train::Length;
use audiodiff::{Error, Result, TrainConfig};
use serde::{Deserialize, Serialize};

use super::LearningOptions;

/// The note in a run folder.
const NOTE: &str = "learning.json";

/// How many folders there may be of one name.
const MOST_ALIKE: usize = 10_000;

/// What is learnt in a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Name of the model.
    pub name: String,
    /// Folder of the sounds.
    pub sounds: PathBuf,
    /// File of the model that it began from; none for the library's choice.
    pub from: Option<PathBuf>,
    pub length: Length,
    /// The part that was done when it was last saved, 0 to 1.
    pub progress: f64,
    /// Nobody is to go on with it.
    pub ended: bool,
}

impl Note {
    /// On a learning that is to begin.
    ///
    /// # Errors
    /// When `folder` is no folder, or a path cannot be written down.
    pub fn new(folder: &Path, length: Length, options: LearningOptions) -> Result<Self> {
        let sounds = std::path::absolute(folder).map_err(Error::io(folder))?;
        let metadata = fs::metadata(&sounds).map_err(Error::io(&sounds))?;
        if !metadata.is_dir() {
            return Err(Error::setting(format!(
                "{}: expected a folder of sounds, found a file",
                sounds.display()
            )));
        }
        let LearningOptions { from, name } = options;
        for path in [Some(&sounds), from.as_ref()].into_iter().flatten() {
            if path.to_str().is_none() {
                return Err(Error::setting(format!(
                    "{}: expected a path in Unicode, found another, which cannot be kept for later",
                    path.display()
                )));
            }
        }
        let name = name.unwrap_or_else(|| {
            let mut config = TrainConfig::fresh();
            config.name_after(&sounds);
            config.name
        });
        Ok(Self {
            name,
            sounds,
            from,
            length,
            progress: 0.0,
            ended: false,
        })
    }

    pub fn minutes(&self) -> Option<f64> {
        match self.length {
            Length::Minutes(minutes) => Some(minutes),
            Length::Steps(_) => None,
        }
    }
}

/// A run folder with its note.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub path: PathBuf,
    pub note: Note,
}

impl Run {
    /// Makes a new folder below `learned`, called like the model. Another of that name stays as it is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(learned: &Path, note: Note) -> Result<Self> {
        audiodiff::file::make_folder(learned)?;
        let name = file_name(&note.name);
        for i in 1..MOST_ALIKE {
            let path = match i {
                1 => learned.join(&name),
                i => learned.join(format!("{name} {i}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => {
                    let run = Self { path, note };
                    return match run.write(&run.note) {
                        Ok(()) => Ok(run),
                        Err(error) => {
                            run.remove_unbegun();
                            Err(error)
                        }
                    };
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path)(error)),
            }
        }
        Err(Error::setting(format!(
            "{}: expected fewer than {MOST_ALIKE} models called {name}, found as many",
            learned.display()
        )))
    }

    /// The run in a folder.
    ///
    /// # Errors
    /// When its note cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join(NOTE);
        let text = fs::read(&file).map_err(Error::io(&file))?;
        let note = serde_json::from_slice(&text).map_err(|error| {
            Error::setting(format!(
                "{}: expected a note on what is learnt, found another file ({error})",
                file.display()
            ))
        })?;
        let path = path.to_owned();
        Ok(Self { path, note })
    }

    fn write(&self, note: &Note) -> Result<()> {
        let text = serde_json::to_vec_pretty(note).expect("its paths are Unicode");
        write_whole(&self.path.join(NOTE), &text)
    }

    /// Notes how much is done.
    pub fn reach(&self, progress: f64) -> Result<()> {
        self.write(&Note {
            progress,
            ..self.note.clone()
        })
    }

    /// The model as the trainer writes it.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    pub fn has_model(&self) -> bool {
        self.model().is_file()
    }

    fn state(&self) -> PathBuf {
        self.path.join("state.safetensors")
    }

    pub fn has_state(&self) -> bool {
        self.state().is_file()
    }

    /// Puts a copy of the model beside it that has the model's name, and that no later training changes.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn publish(&self) -> Result<PathBuf> {
        let model = self.model();
        let bytes = fs::read(&model).map_err(Error::io(&model))?;
        let own = self
            .path
            .join(format!("{}.safetensors", file_name(&self.note.name)));
        write_whole(&own, &bytes)?;
        Ok(own)
    }

    /// [`publish`](Self::publish)es the model of a learning that is over, and lets go of what only going on would need.
    ///
    /// # Errors
    /// As there.
    pub fn finish(&self) -> Result<PathBuf> {
        let model = self.publish()?;
        self.write(&Note {
            progress: 1.0,
            ended: true,
            ..self.note.clone()
        })?;
        // Five times as large as the model. Where it stays, it does no harm.
        let _ = fs::remove_file(self.state());
        Ok(model)
    }

    /// Removes the folder of a run that came to nothing: the files that are known, and the folder if it is empty then.
    pub fn remove_unbegun(&self) {
        if self.has_state() || self.has_model() {
            return;
        }
        for name in [NOTE, "config.json", "stats.jsonl", ".lock"] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// A learning that was broken off, and can go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfinished {
    /// Its run folder.
    pub run: PathBuf,
    /// The name of its model.
    pub name: String,
    /// The folder of its sounds.
    pub folder: PathBuf,
    /// Minutes that it takes in all.
    pub minutes: Option<f64>,
    /// The part that is done, 0 to 1.
    pub progress: f32,
}

impl Unfinished {
    /// Never goes on with it. Its model stays, if it has one.
    ///
    /// # Errors
    /// When its note cannot be written.
    pub fn give_up(self) -> Result<()> {
        let run = Run::open(&self.run)?;
        if !run.has_model() {
            run.remove_unbegun();
            return Ok(());
        }
        run.write(&Note {
            ended: true,
            ..run.note.clone()
        })
    }
}

/// The runs below `learned` that nobody is at work in and that are not over, the last saved first. This process is at
/// work in the folder `at_work`.
pub(super) fn unfinished(learned: &Path, at_work: Option<&Path>) -> Vec<Unfinished> {
    let Ok(entries) = fs::read_dir(learned) else {
        return Vec::new();
    };
    let mut found: Vec<(SystemTime, Unfinished)> = entries
        .flatten()
        .filter_map(|entry| {
            let run = Run::open(&entry.path()).ok()?;
            if run.note.ended || at_work == Some(&*run.path) {
                return None;
            }
            // Another process may be at work there.
            FolderLock::take(&run.path).ok()??;
            let saved = fs::metadata(run.path.join(NOTE)).ok()?.modified().ok()?;
            let minutes = run.note.minutes();
            let unfinished = Unfinished {
                run: run.path,
                name: run.note.name,
                folder: run.note.sounds,
                minutes,
                progress: run.note.progress as f32,
            };
            Some((saved, unfinished))
        })
        .collect();
    found.sort_by_key(|(saved, _)| std::cmp::Reverse(*saved));
    found
        .into_iter()
        .map(|(_, unfinished)| unfinished)
        .collect()
}

/// A model's name as that of a file or folder on every system.
fn file_name(name: &str) -> String {
    let name = audiodiff::file::name_for(name);
    match &*name.to_lowercase() {
        "" => "sounds".into(),
        // Other files of a run are called so.
        "model" | "state" => format!("{name} sounds"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_harmless_and_never_those_of_a_run() {
        for (name, expected) in [
            ("My Kicks", "My Kicks"),
            ("..", "sounds"),
            ("State", "State sounds"),
            ("aux", "aux_"),
        ] {
            assert_eq!(file_name(name), expected);
        }
    }
}
