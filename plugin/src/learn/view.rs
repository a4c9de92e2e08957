//! How a learning goes, as a window shows it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::run::Run;
use crate::stored::StoredSound;

/// What a learning does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearningState {
    /// It reads and measures the sounds: so many of how many.
    Reading {
        /// Sounds that are done.
        done: usize,
        /// All of them; 0 before they are counted.
        all: usize,
    },
    /// It learns.
    Learning,
    /// It rests until it is resumed.
    Paused,
    /// Its time is over, or the sounds that were held back taught that there is nothing more to learn.
    Finished,
    /// It was ended before, and can go on later.
    Stopped,
    /// It cannot go on, and why.
    Failed(String),
}

impl LearningState {
    /// Whether nothing more will come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::Stopped | Self::Failed(_))
    }
}

/// A file that is not learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The file, relative to the folder.
    pub file: PathBuf,
    /// Why, in words.
    pub reason: String,
}

/// A class of the folder's sounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearningClass {
    /// Its name.
    pub name: String,
    /// How many files have it.
    pub files: usize,
    /// The classes of the model that it began from which it was taken for; empty where it is new, and after a run went on.
    pub taken_for: Vec<String>,
}

/// How a learning goes.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningView {
    /// What it does.
    pub state: LearningState,
    /// The folder of sounds.
    pub folder: PathBuf,
    /// The name of the model that it comes to.
    pub name: String,
    /// Minutes that it takes in all; none in tests.
    pub minutes: Option<f64>,
    /// Sounds that can be learnt, the pieces of long recordings one by one; 0 while it reads.
    pub sounds: usize,
    /// Those of them that are held back to see whether what is new is guessed better.
    pub held_back: usize,
    /// How many files are not learnt.
    pub left_out: usize,
    /// The first of these, and why.
    pub reasons: Vec<LeftOut>,
    /// The classes of the sounds; empty while it reads, and where they have none.
    pub classes: Vec<LearningClass>,
    /// The part of its time that is over, 0 to 1.
    pub progress: f32,
    /// Steps done.
    pub step: u64,
    /// The loss of the last step.
    pub loss: Option<f32>,
    /// The last loss on the sounds that are held back.
    pub validation: Option<f32>,
    /// The loss over the steps, `[step, loss]`: means of neighbours where steps are many.
    pub losses: Vec<[f32; 2]>,
    /// The loss on the sounds that are held back, likewise.
    pub validations: Vec<[f32; 2]>,
    /// Time that it takes from now on, at most; none where nobody knows.
    pub time_left: Option<Duration>,
    /// Sounds that the model makes, the newest of each: always of the same classes and seeds.
    pub demos: Vec<Arc<StoredSound>>,
    /// How many demo sounds were made so far: another number where one of `demos` is new.
    pub demos_made: usize,
    /// The file of the model, once there is one. A later one takes its place until the learning is over.
    pub model: Option<PathBuf>,
}

impl LearningView {
    /// Before it is begun, or gone on with.
    pub(super) fn of(run: &Run) -> Self {
        Self {
            state: LearningState::Reading { done: 0, all: 0 },
            folder: run.note.sounds.clone(),
            name: run.note.name.clone(),
            minutes: run.note.minutes(),
            sounds: 0,
            held_back: 0,
            left_out: 0,
            reasons: Vec::new(),
            classes: Vec::new(),
            progress: run.note.progress as f32,
            step: 0,
            loss: None,
            validation: None,
            losses: Vec::new(),
            validations: Vec::new(),
            time_left: None,
            demos: Vec::new(),
            demos_made: 0,
            model: run.has_model().then(|| run.model()),
        }
    }
}
