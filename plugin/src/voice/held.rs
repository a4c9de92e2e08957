//! The keys that are held on a monophonic pad.

use super::{Begin, NoteAddress};

/// Keys of one pad that are remembered; of more, the oldest are forgotten.
const MOST: usize = 16;

/// The notes of a pad whose keys are down, so that the pad can go back to an earlier one.
#[derive(Debug, Default)]
pub(super) struct HeldKeys {
    /// Newest first, without gaps.
    notes: [Option<(NoteAddress, Begin)>; MOST],
    /// Whether the newest of them is to begin anew, because a newer one was let go of.
    returns: bool,
}

impl HeldKeys {
    /// Takes the newest note. A note without any name is not remembered: no event could let go of it.
    pub(super) fn press(&mut self, note: NoteAddress, begin: Begin) {
        self.returns = false;
        if note == NoteAddress::NONE {
            return;
        }
        self.remove(|held| *held == note);
        self.notes.rotate_right(1);
        self.notes[0] = Some((note, begin));
    }

    /// Forgets the notes that `which` says; returns the newest of all, if it was one of them.
    pub(super) fn remove(&mut self, which: impl Fn(&NoteAddress) -> bool) -> Option<NoteAddress> {
        let newest = self.notes[0].map(|(note, _)| note);
        let mut kept = 0;
        for i in 0..MOST {
            if let Some((note, _)) = self.notes[i]
                && !which(&note)
            {
                self.notes[kept] = self.notes[i];
                kept += 1;
            }
        }
        self.notes[kept..].fill(None);
        newest.filter(which)
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Says whether the newest note, if there is one, is to begin anew.
    pub(super) fn set_returns(&mut self, returns: bool) {
        self.returns = returns;
    }

    /// Whether a note is to begin anew.
    pub(super) fn returns(&self) -> bool {
        self.returns && self.notes[0].is_some()
    }

    /// The note that is to begin anew, once.
    pub(super) fn take_return(&mut self) -> Option<(NoteAddress, Begin)> {
        let newest = self.notes[0].filter(|_| self.returns);
        self.returns = false;
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(key: u8) -> (NoteAddress, Begin) {
        let note = NoteAddress {
            key: Some(key),
            ..NoteAddress::NONE
        };
        let begin = Begin {
            pad: 0,
            key: Some(f32::from(key)),
            velocity: 1.0,
        };
        (note, begin)
    }

    fn held(keys: &[u8]) -> HeldKeys {
        let mut held = HeldKeys::default();
        for &key in keys {
            let (note, begin) = named(key);
            held.press(note, begin);
        }
        held
    }

    fn keys(held: &HeldKeys) -> Vec<u8> {
        let notes = held.notes.iter().flatten();
        notes.filter_map(|(note, _)| note.key).collect()
    }

    #[test]
    fn the_newest_comes_first_and_the_oldest_are_forgotten() {
        assert_eq!(keys(&held(&[1, 2, 3, 1])), [1, 3, 2]);
        let many: Vec<u8> = (0..40).collect();
        let newest: Vec<u8> = (24..40).rev().collect();
        assert_eq!(keys(&held(&many)), newest);
        let mut none = held(&[]);
        none.press(NoteAddress::NONE, named(0).1);
        assert_eq!(none.take_return(), None);
    }

    #[test]
    fn it_returns_once_to_the_newest_that_is_left() {
        let mut held = held(&[1, 2, 3]);
        assert_eq!(held.take_return(), None);
        assert_eq!(held.remove(|note| note.key == Some(2)), None);
        assert_eq!(
            held.remove(|note| note.key == Some(3)),
            Some(named(3).0),
            "the newest"
        );
        held.set_returns(true);
        assert_eq!(held.take_return(), Some(named(1)));
        assert_eq!(held.take_return(), None);
        held.set_returns(true);
        held.clear();
        assert_eq!(held.take_return(), None);
    }
}
