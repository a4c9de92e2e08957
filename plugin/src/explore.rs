//! Sounds to choose from, which are no pad's yet: a ring of variations around a sound ([`Ring`]), a row of sounds between
//! two ([`Morphing`]), and a map of hundreds ([`Map`]).
//!
//! The window opens them, looks at them in every frame, and puts what is chosen on a pad
//! ([`Store::put_as`](crate::store::Store::put_as)). The generator makes their sounds when no pad waits for one,
//! breaks off when a pad does, and goes on afterwards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audiodiff::Result;

use crate::emergence::{Emergence, Emerging};
use crate::job::Job;
use crate::status::ModelInfo;
use crate::stored::{Asked, SoundRecipe, StoredSound};

mod layout;
pub mod map;
mod morphing;
mod ring;

pub use map::{Map, MapPoint, MapView};
pub use morphing::{FRACTIONS, MORPHS, MorphView, Morphing};
pub use ring::{RING, Ring, RingView};

/// What a sound begins with.
#[derive(Debug, Clone)]
pub(crate) enum Basis {
    /// A sound to vary, how far to go from it, and the seed.
    Around(Arc<StoredSound>, f32, u64),
    /// Two sounds, and how far to go from the first to the second.
    Between([Arc<StoredSound>; 2], f32),
    /// Noise alone.
    Nothing(SoundRecipe),
}

/// One sound that somebody wants to choose from.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Another where others are wanted by now.
    ticket: u64,
    index: usize,
    /// The pad that it may come to, and what describes that pad's sounds.
    pad: usize,
    asked: Asked,
    basis: Basis,
}

impl Wanted {
    /// How a model makes it.
    ///
    /// # Errors
    /// When the pad's class is not one of the model's.
    pub fn job(&self, model: &ModelInfo) -> Result<Job> {
        match &self.basis {
            Basis::Around(centre, strength, seed) => {
                Job::around(&self.asked, self.pad, model, centre, *strength, *seed)
            }
            Basis::Between([from, to], fraction) => {
                Job::between(&self.asked, self.pad, model, from, to, *fraction)
            }
            Basis::Nothing(recipe) => Ok(Job {
                recipe: recipe.clone(),
                init: None,
                asked: self.asked.clone(),
            }),
        }
    }
}

/// Sounds that the generator makes one after another for as long as they are wanted.
pub(crate) trait Series: Sync {
    /// The one to make now.
    fn next(&self) -> Option<Wanted>;

    /// Whether it is worth going on with this one.
    fn is_wanted(&self, wanted: &Wanted) -> bool;

    /// The fraction of it that is done.
    fn set_done(&self, wanted: &Wanted, done: f32);

    /// A step in which it emerged, where somebody looks on.
    fn emerge(&self, wanted: &Wanted, step: Emerging);

    /// It is there, unless others are wanted by now.
    fn finish(&self, wanted: &Wanted, sound: StoredSound);

    /// It cannot be made, nor can those after it.
    fn fail(&self, wanted: &Wanted, why: String);

    /// It was broken off, and may be begun again.
    fn give_up(&self, _wanted: &Wanted) {}
}

/// The sounds of one series, as far as they are there.
#[derive(Debug, Clone)]
struct Slots<const N: usize> {
    ticket: u64,
    sounds: [Option<Arc<StoredSound>>; N],
    done: [f32; N],
    emergences: [Option<Arc<Emergence>>; N],
    trouble: Option<String>,
}

impl<const N: usize> Slots<N> {
    fn new(ticket: u64) -> Self {
        Self {
            ticket,
            sounds: [const { None }; N],
            done: [0.0; N],
            emergences: [const { None }; N],
            trouble: None,
        }
    }

    fn set_done(&mut self, index: usize, done: f32) {
        self.done[index] = done;
    }

    fn emerge(&mut self, index: usize, step: Emerging) {
        let emergence = Arc::make_mut(self.emergences[index].get_or_insert_default());
        // One that was broken off began with more noise than it ended with.
        if emergence
            .last()
            .is_some_and(|last| last.noise <= step.noise)
        {
            emergence.clear();
        }
        emergence.push(step);
    }

    fn put(&mut self, index: usize, sound: Arc<StoredSound>) {
        self.sounds[index] = Some(sound);
        self.done[index] = 1.0;
    }

    /// The first in `order` that is not there.
    fn missing(&self, order: impl IntoIterator<Item = usize>) -> Option<usize> {
        let mut order = order.into_iter();
        let is_open = self.trouble.is_none();
        order.find(|&index| is_open && self.sounds[index].is_none())
    }
}

/// Every value behind these locks is valid after each change, so it is so even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
