//! A morph that is heard while its slider moves: a row of sounds from one to another.

use std::sync::{Arc, Mutex};

use super::{Basis, Series, Slots, Wanted, lock};
use crate::emergence::Emerging;
use crate::stored::{Asked, StoredSound};

/// Sounds of a row, its two ends included.
pub const MORPHS: usize = 9;

/// How far each of them goes from the one end to the other.
pub const FRACTIONS: [f32; MORPHS] = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0];

/// The order in which they are made: the middle first, so that a slider soon has something to play everywhere.
const ORDER: [usize; MORPHS - 2] = [4, 2, 6, 3, 5, 1, 7];

/// A row as it is at some time.
#[derive(Debug, Clone)]
pub struct MorphView {
    /// The pad that it was opened for.
    pub pad: usize,
    /// The sounds at [`FRACTIONS`], as far as they are made; the ends are the two sounds themselves.
    pub sounds: [Option<Arc<StoredSound>>; MORPHS],
    /// The fraction of each that is done, 0 to 1.
    pub done: [f32; MORPHS],
    /// Why no more of them come.
    pub trouble: Option<String>,
}

impl MorphView {
    /// The place in the row of the sound that is nearest to `fraction` of those that are made.
    #[must_use]
    pub fn nearest(&self, fraction: f32) -> usize {
        let made = (0..MORPHS).filter(|&index| self.sounds[index].is_some());
        let away = |index: &usize| (FRACTIONS[*index] - fraction).abs();
        made.min_by(|a, b| away(a).total_cmp(&away(b)))
            .expect("the ends are there")
    }
}

/// The morph of one instance, open or not. Every call is cheap enough for each frame of a window.
#[derive(Debug, Default)]
pub struct Morphing(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    open: Option<Row>,
    tickets: u64,
}

#[derive(Debug)]
struct Row {
    pad: usize,
    asked: Asked,
    ends: [Arc<StoredSound>; 2],
    slots: Slots<MORPHS>,
}

impl Morphing {
    /// Opens it between two sounds. `asked` describes the sounds of `pad`, to which one of them may come. Where the same is
    /// open already, that stays.
    pub fn open(&self, pad: usize, ends: [Arc<StoredSound>; 2], asked: Asked) {
        let mut held = lock(&self.0);
        let is_same = held.open.as_ref().is_some_and(|row| {
            let mut pairs = row.ends.iter().zip(&ends);
            row.pad == pad && row.asked == asked && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
        });
        if is_same {
            return;
        }
        held.tickets += 1;
        let mut slots = Slots::new(held.tickets);
        slots.put(0, ends[0].clone());
        slots.put(MORPHS - 1, ends[1].clone());
        held.open = Some(Row {
            pad,
            asked,
            ends,
            slots,
        });
    }

    /// Closes it: what is being made for it is given up.
    pub fn close(&self) {
        lock(&self.0).open = None;
    }

    /// As it is now; none while it is closed.
    pub fn view(&self) -> Option<MorphView> {
        let held = lock(&self.0);
        let row = held.open.as_ref()?;
        Some(MorphView {
            pad: row.pad,
            sounds: row.slots.sounds.clone(),
            done: row.slots.done,
            trouble: row.slots.trouble.clone(),
        })
    }

    fn with<R>(&self, wanted: &Wanted, change: impl FnOnce(&mut Slots<MORPHS>) -> R) -> Option<R> {
        let mut held = lock(&self.0);
        let slots = &mut held.open.as_mut()?.slots;
        (slots.ticket == wanted.ticket).then(|| change(slots))
    }
}

impl Series for Morphing {
    fn next(&self) -> Option<Wanted> {
        let held = lock(&self.0);
        let row = held.open.as_ref()?;
        let index = row.slots.missing(ORDER)?;
        Some(Wanted {
            ticket: row.slots.ticket,
            index,
            pad: row.pad,
            asked: row.asked.clone(),
            basis: Basis::Between(row.ends.clone(), FRACTIONS[index]),
        })
    }

    fn is_wanted(&self, wanted: &Wanted) -> bool {
        self.with(wanted, |_| ()).is_some()
    }

    fn set_done(&self, wanted: &Wanted, done: f32) {
        self.with(wanted, |slots| slots.set_done(wanted.index, done));
    }

    fn emerge(&self, wanted: &Wanted, step: Emerging) {
        self.with(wanted, |slots| slots.emerge(wanted.index, step));
    }

    fn finish(&self, wanted: &Wanted, sound: StoredSound) {
        self.with(wanted, |slots| slots.put(wanted.index, Arc::new(sound)));
    }

    fn fail(&self, wanted: &Wanted, why: String) {
        self.with(wanted, |slots| slots.trouble = Some(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{asked, clip, recipe};

    fn sound(seed: u64) -> Arc<StoredSound> {
        Arc::new(StoredSound::new(recipe(seed), &clip(100, 0.5)))
    }

    #[test]
    fn the_ends_are_there_at_once_and_the_nearest_that_is_made_is_found() {
        let morphing = Morphing::default();
        assert!(morphing.view().is_none() && morphing.next().is_none());
        let ends = [sound(1), sound(2)];
        morphing.open(4, ends.clone(), asked(1));
        let view = morphing.view().unwrap();
        assert_eq!(
            [0.0, 0.49, 0.51, 1.0].map(|at| view.nearest(at)),
            [0, 0, 8, 8]
        );
        assert!(Arc::ptr_eq(view.sounds[0].as_ref().unwrap(), &ends[0]));
        let mut fractions = Vec::new();
        while let Some(wanted) = morphing.next() {
            let Basis::Between(_, fraction) = wanted.basis else {
                panic!("a morph lies between two");
            };
            fractions.push(fraction);
            morphing.finish(&wanted, (*sound(3)).clone());
            morphing.open(4, ends.clone(), asked(1));
        }
        assert_eq!(fractions, [0.5, 0.25, 0.75, 0.375, 0.625, 0.125, 0.875]);
        let view = morphing.view().unwrap();
        assert_eq!(
            [0.05, 0.07, 0.44, 0.9].map(|at| view.nearest(at)),
            [0, 1, 4, 7]
        );
        // Other ends, another row.
        morphing.open(4, [ends[0].clone(), sound(2)], asked(1));
        let old = morphing.next().unwrap();
        morphing.open(4, ends, asked(1));
        assert!(!morphing.is_wanted(&old));
        morphing.finish(&old, (*sound(3)).clone());
        morphing.fail(&old, "no".to_owned());
        let view = morphing.view().unwrap();
        assert_eq!((view.nearest(0.4), view.trouble), (0, None));
        morphing.close();
        assert!(morphing.view().is_none() && morphing.next().is_none());
    }
}
