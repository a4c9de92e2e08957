//! A ring: eight variations around a sound, from which one goes on to the next.

use std::sync::{Arc, Mutex};

use audiodiff::noise::Noise;

use super::{Basis, Series, Slots, Wanted, lock};
use crate::emergence::{Emergence, Emerging};
use crate::stored::{Asked, StoredSound};

/// Sounds of a ring.
pub const RING: usize = 8;

/// How far each sound of a ring goes, relative to what is chosen: near and far ones take turns.
const DISTANCES: [f32; RING] = [0.6, 1.2, 0.8, 1.4, 0.6, 1.2, 0.8, 1.4];

/// The weakest variation; a weaker one could not be told from its centre.
const LEAST_STRENGTH: f32 = 0.02;

/// The strongest: at 1, nothing would be left of the centre.
const MOST_STRENGTH: f32 = 0.95;

/// Rings on the way back, and how many of the last keep their sounds; those of others are made again, bit by bit the same.
const REMEMBERED: usize = 64;
const KEPT: usize = 8;

/// First number of the place ([`Noise::at`]) that the seeds of rings are drawn from.
const PLACE: u64 = 0x5000;

/// A ring as it is at some time.
#[derive(Debug, Clone)]
pub struct RingView {
    /// The pad that it was opened for.
    pub pad: usize,
    /// The sound that it goes around.
    pub centre: Arc<StoredSound>,
    /// The variations, as far as they are made.
    pub sounds: [Option<Arc<StoredSound>>; RING],
    /// How far they go, as it was chosen, 0 to 1.
    pub strength: f32,
    /// How far each of them goes, 0 to 1.
    pub strengths: [f32; RING],
    /// The fraction of each that is done, 0 to 1.
    pub done: [f32; RING],
    /// The steps in which each emerged, where somebody looked on ([`Status::watch`](crate::status::Status::watch)).
    pub emergences: [Option<Arc<Emergence>>; RING],
    /// How many rings one can go back.
    pub back: usize,
    /// Why no more of them come.
    pub trouble: Option<String>,
}

/// The ring of one instance, open or not.
///
/// Its sounds depend on the centre, on how often another ring of it was asked for, on the strength and on the settings of
/// the pad alone: asked for again, they are the same bit by bit. Every call is cheap enough for each frame of a window.
#[derive(Debug, Default)]
pub struct Ring(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    open: Option<Open>,
    tickets: u64,
}

#[derive(Debug)]
struct Open {
    pad: usize,
    asked: Asked,
    /// The present one last; never empty.
    path: Vec<Around>,
}

/// A ring around one sound.
#[derive(Debug)]
struct Around {
    centre: Arc<StoredSound>,
    /// Which ring of this centre, from 0 on.
    number: u64,
    strength: f32,
    slots: Slots<RING>,
}

impl Around {
    fn strength(&self, index: usize) -> f32 {
        (self.strength * DISTANCES[index]).clamp(LEAST_STRENGTH, MOST_STRENGTH)
    }

    /// The seeds of a ring follow one another.
    fn seed(&self, index: usize) -> u64 {
        let mut noise = Noise::at(self.centre.recipe().seed, &[PLACE, self.number]);
        (noise.below(1 << 20) * RING + index) as u64
    }
}

impl Open {
    /// What is asked is this now. All rings on the way back are others then.
    fn follow(&mut self, asked: Asked, ticket: u64) {
        let seed = asked.seed;
        let before = std::mem::replace(&mut self.asked, asked);
        if (Asked { seed, ..before }) != self.asked {
            for around in &mut self.path {
                around.slots = Slots::new(ticket);
            }
        }
    }

    fn now(&self) -> &Around {
        self.path.last().expect("there is always one")
    }

    fn now_mut(&mut self) -> &mut Around {
        self.path.last_mut().expect("there is always one")
    }
}

impl Held {
    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Goes on to another ring.
    fn push(&mut self, centre: Arc<StoredSound>, number: u64, strength: f32) {
        let ticket = self.ticket();
        let Some(open) = &mut self.open else {
            return;
        };
        open.path.push(Around {
            centre,
            number,
            strength,
            slots: Slots::new(ticket),
        });
        if open.path.len() > REMEMBERED {
            open.path.remove(0);
        }
        if let Some(last) = open.path.len().checked_sub(KEPT + 1) {
            let ticket = open.path[last].slots.ticket;
            open.path[last].slots = Slots::new(ticket);
        }
    }

    /// The ring that `wanted` is of, while that is the present one.
    fn of(&mut self, wanted: &Wanted) -> Option<&mut Around> {
        let now = self.open.as_mut()?.now_mut();
        (now.slots.ticket == wanted.ticket).then_some(now)
    }
}

impl Ring {
    /// Opens it around a sound. `asked` describes the sounds of `pad`, to which one of them may come
    /// ([`PadParams::asked`](crate::params::PadParams::asked)); `strength` is 0 to 1. Where a ring of the same pad is open
    /// that has this centre now, it stays, with its way back: its sounds are made anew where something else is asked but
    /// the seed, or another strength.
    pub fn open(&self, pad: usize, centre: Arc<StoredSound>, asked: Asked, strength: f32) {
        let mut held = lock(&self.0);
        let ticket = held.ticket();
        let same = held
            .open
            .as_mut()
            .filter(|open| open.pad == pad && Arc::ptr_eq(&open.now().centre, &centre));
        if let Some(open) = same {
            open.follow(asked, ticket);
        } else {
            held.open = Some(Open {
                pad,
                asked,
                path: Vec::new(),
            });
            held.push(centre, 0, strength);
        }
        drop(held);
        self.set_strength(strength);
    }

    /// Closes it: what is being made for it is given up.
    pub fn close(&self) {
        lock(&self.0).open = None;
    }

    /// As it is now; none while it is closed.
    pub fn view(&self) -> Option<RingView> {
        let held = lock(&self.0);
        let open = held.open.as_ref()?;
        let now = open.now();
        Some(RingView {
            pad: open.pad,
            centre: now.centre.clone(),
            sounds: now.slots.sounds.clone(),
            strength: now.strength,
            strengths: std::array::from_fn(|index| now.strength(index)),
            done: now.slots.done,
            emergences: now.slots.emergences.clone(),
            back: open.path.len() - 1,
            trouble: now.slots.trouble.clone(),
        })
    }

    /// More like this: the sound of this number becomes the centre of a ring of its own, if it is made. Returns whether
    /// it is.
    pub fn recentre(&self, index: usize) -> bool {
        let mut held = lock(&self.0);
        let chosen = held.open.as_ref().and_then(|open| {
            let now = open.now();
            let sound = now.slots.sounds.get(index)?.clone()?;
            Some((sound, now.strength))
        });
        if let Some((sound, strength)) = &chosen {
            held.push(sound.clone(), 0, *strength);
        }
        chosen.is_some()
    }

    /// Another eight around the same sound.
    pub fn reroll(&self) {
        let mut held = lock(&self.0);
        let Some(now) = held.open.as_ref().map(Open::now) else {
            return;
        };
        let (centre, number, strength) = (now.centre.clone(), now.number + 1, now.strength);
        held.push(centre, number, strength);
    }

    /// The ring before the present one, if there is one. Returns whether there was.
    pub fn back(&self) -> bool {
        let mut held = lock(&self.0);
        // What is being made is for another ring, whatever comes next.
        let ticket = held.ticket();
        let Some(open) = held.open.as_mut().filter(|open| open.path.len() > 1) else {
            return false;
        };
        open.path.pop();
        let now = open.now_mut();
        now.slots.ticket = ticket;
        for (done, sound) in now.slots.done.iter_mut().zip(&now.slots.sounds) {
            *done = if sound.is_some() { 1.0 } else { 0.0 };
        }
        true
    }

    /// How far the sounds go from the centre, 0 to 1. Those of another strength are made anew.
    pub fn set_strength(&self, strength: f32) {
        let mut held = lock(&self.0);
        let strength = match strength.is_finite() {
            true => strength.clamp(0.0, 1.0),
            false => 0.0,
        };
        let ticket = held.ticket();
        if let Some(open) = &mut held.open
            && open.now().strength != strength
        {
            let now = open.now_mut();
            now.strength = strength;
            now.slots = Slots::new(ticket);
        }
    }
}

impl Series for Ring {
    fn next(&self) -> Option<Wanted> {
        let held = lock(&self.0);
        let open = held.open.as_ref()?;
        let now = open.now();
        let index = now.slots.missing(0..RING)?;
        let basis = Basis::Around(now.centre.clone(), now.strength(index), now.seed(index));
        Some(Wanted {
            ticket: now.slots.ticket,
            index,
            pad: open.pad,
            asked: open.asked.clone(),
            basis,
        })
    }

    fn is_wanted(&self, wanted: &Wanted) -> bool {
        lock(&self.0).of(wanted).is_some()
    }

    fn set_done(&self, wanted: &Wanted, done: f32) {
        if let Some(now) = lock(&self.0).of(wanted) {
            now.slots.set_done(wanted.index, done);
        }
    }

    fn emerge(&self, wanted: &Wanted, step: Emerging) {
        if let Some(now) = lock(&self.0).of(wanted) {
            now.slots.emerge(wanted.index, step);
        }
    }

    fn finish(&self, wanted: &Wanted, sound: StoredSound) {
        if let Some(now) = lock(&self.0).of(wanted) {
            now.slots.put(wanted.index, Arc::new(sound));
        }
    }

    fn fail(&self, wanted: &Wanted, why: String) {
        if let Some(now) = lock(&self.0).of(wanted) {
            now.slots.trouble = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{asked, clip, recipe};

    fn sound(seed: u64) -> Arc<StoredSound> {
        Arc::new(StoredSound::new(recipe(seed), &clip(100, 0.5)))
    }

    /// What is wanted of the present ring, by its seeds and strengths, and made.
    fn made(ring: &Ring) -> Vec<(u64, f32)> {
        let next = std::iter::from_fn(|| {
            let wanted = ring.next()?;
            let Basis::Around(_, strength, seed) = &wanted.basis else {
                panic!("a ring goes around a sound");
            };
            ring.finish(&wanted, (*sound(*seed)).clone());
            Some((*seed, *strength))
        });
        next.collect()
    }

    #[test]
    fn eight_sounds_of_their_own_seeds_lie_at_distances_around_the_chosen_one() {
        let ring = Ring::default();
        assert!(ring.view().is_none() && ring.next().is_none());
        ring.open(3, sound(7), asked(1), 0.5);
        let eight = made(&ring);
        let view = ring.view().unwrap();
        assert_eq!((eight.len(), view.pad, view.back), (RING, 3, 0));
        assert_eq!(view.done, [1.0; RING]);
        for (i, (seed, strength)) in eight.iter().enumerate() {
            assert_eq!(view.sounds[i].as_ref().unwrap().recipe().seed, *seed);
            assert_eq!(view.strengths[i], *strength);
            assert_eq!(*seed, eight[0].0 + i as u64);
        }
        let mean = view.strengths.iter().sum::<f32>() / RING as f32;
        assert!((mean - 0.5).abs() < 1e-6 && ring.next().is_none());
        for (chosen, lowest, highest) in
            [(0.0, 0.02, 0.02), (1.0, 0.6, 0.95), (f32::NAN, 0.02, 0.02)]
        {
            ring.set_strength(chosen);
            let strengths = ring.view().unwrap().strengths;
            let ends = [f32::min, f32::max].map(|end| strengths.into_iter().reduce(end).unwrap());
            assert_eq!(ends, [lowest, highest]);
        }
        ring.close();
        assert!(ring.view().is_none() && ring.next().is_none());
    }

    #[test]
    fn the_same_centre_has_the_same_rings_and_the_way_back_is_kept() {
        let ring = Ring::default();
        ring.open(0, sound(7), asked(1), 0.5);
        let first = made(&ring);
        ring.reroll();
        let second = made(&ring);
        assert_ne!(first[0].0, second[0].0);
        assert!(!ring.recentre(RING) && ring.recentre(2));
        let view = ring.view().unwrap();
        assert_eq!((view.centre.recipe().seed, view.back), (second[2].0, 2));
        assert!(view.sounds.iter().all(Option::is_none));
        assert!(!ring.recentre(2), "it is not made yet");
        let third = made(&ring);
        assert!(ring.back());
        assert_eq!(ring.view().unwrap().done, [1.0; RING]);
        assert!(ring.next().is_none(), "its sounds are still there");
        assert!(ring.recentre(2));
        assert_eq!(made(&ring), third);
        assert!(ring.back() && ring.back() && !ring.back());
        assert_eq!(ring.view().unwrap().centre.recipe().seed, 7);
        // Far back, they are made again.
        for _ in 0..REMEMBERED + 3 {
            made(&ring);
            ring.reroll();
        }
        assert_eq!(ring.view().unwrap().back, REMEMBERED - 1);
        let held = lock(&ring.0);
        let path = &held.open.as_ref().unwrap().path;
        let with_sounds = path.iter().filter(|it| it.slots.sounds[0].is_some());
        assert_eq!(with_sounds.count(), KEPT - 1);
        drop(held);
        ring.open(0, sound(7), asked(1), 0.5);
        assert_eq!(made(&ring), first);
    }

    #[test]
    fn what_is_no_longer_wanted_comes_to_nothing() {
        let ring = Ring::default();
        let centre = sound(7);
        ring.open(0, centre.clone(), asked(1), 0.5);
        let old = ring.next().unwrap();
        ring.set_done(&old, 0.5);
        assert_eq!(ring.view().unwrap().done[0], 0.5);
        // Opened as it is already, nothing changes; of the seed it does not depend.
        ring.open(0, centre.clone(), asked(2), 0.5);
        assert!(ring.is_wanted(&old));
        let longer = Asked {
            length: 2.0,
            ..asked(1)
        };
        let changes: [&dyn Fn(); 5] = [
            &|| ring.set_strength(0.25),
            &|| ring.reroll(),
            &|| assert!(ring.back()),
            &|| ring.open(0, centre.clone(), longer.clone(), 0.25),
            &|| ring.open(1, centre.clone(), longer.clone(), 0.25),
        ];
        for change in changes {
            let old = ring.next().unwrap();
            change();
            assert!(!ring.is_wanted(&old));
            ring.finish(&old, (*sound(1)).clone());
            ring.fail(&old, "no".to_owned());
            let view = ring.view().unwrap();
            assert!(view.sounds[0].is_none() && view.trouble.is_none());
        }
        let now = ring.next().unwrap();
        ring.fail(&now, "silence".to_owned());
        assert_eq!(ring.view().unwrap().trouble.as_deref(), Some("silence"));
        assert!(ring.next().is_none(), "it is not tried again and again");
        ring.reroll();
        assert!(ring.next().is_some());
    }
}
