//! The takes of a pad: several sounds of one kind, of which each note plays one.

use serde::{Deserialize, Serialize};

use super::PlayableSound;

/// Which take of its pad a note plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takes {
    /// The pad's own sound.
    #[default]
    First,
    /// One after the other, from the pad's own on.
    RoundRobin,
    /// The softer the note, the darker the take.
    Velocity,
}

/// The sounds of a pad: its own, and further takes of it.
#[derive(Debug, PartialEq)]
pub struct PadSounds {
    /// The pad's own first, the others in the order in which they came; never empty.
    takes: Vec<PlayableSound>,
    /// Their indices, from the darkest to the brightest.
    by_brightness: Vec<usize>,
}

impl PadSounds {
    /// Takes that a pad may have, its own sound included.
    pub const MOST: usize = 8;

    /// Takes the pad's own sound and the others in the order of a round robin; those beyond [`MOST`](Self::MOST) are
    /// left out. Their brightness is measured here, so this is not for the audio thread.
    #[must_use]
    pub fn new(own: PlayableSound, others: impl IntoIterator<Item = PlayableSound>) -> Self {
        let others = others.into_iter().take(Self::MOST - 1);
        let takes: Vec<PlayableSound> = std::iter::once(own).chain(others).collect();
        let brightness: Vec<f32> = match takes.len() {
            1 => vec![0.0],
            _ => takes.iter().map(PlayableSound::brightness).collect(),
        };
        let mut by_brightness: Vec<usize> = (0..takes.len()).collect();
        by_brightness.sort_by(|&a, &b| brightness[a].total_cmp(&brightness[b]));
        Self {
            takes,
            by_brightness,
        }
    }

    /// How many there are, 1 to [`MOST`](Self::MOST).
    #[must_use]
    pub fn count(&self) -> usize {
        self.takes.len()
    }

    /// Length of the longest, seconds.
    pub(super) fn seconds(&self) -> f32 {
        let seconds = self.takes.iter().map(PlayableSound::seconds);
        seconds.fold(0.0, f32::max)
    }

    pub(super) fn take(&self, index: usize) -> &PlayableSound {
        &self.takes[index]
    }

    /// The index of the take for a velocity of `0..=1`: each take has an equal part of this range, the darkest the
    /// softest.
    pub(crate) fn for_velocity(&self, velocity: f32) -> usize {
        let last = self.takes.len() - 1;
        let part = (velocity * self.takes.len() as f32) as usize;
        self.by_brightness[part.min(last)]
    }
}

impl From<PlayableSound> for PadSounds {
    /// The pad's own sound alone.
    fn from(own: PlayableSound) -> Self {
        Self::new(own, [])
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;

    fn sine(hz: f32, rate: u32) -> PlayableSound {
        let at = |i: usize| (std::f32::consts::TAU * hz * i as f32 / rate as f32).sin();
        PlayableSound::new(&Clip::new(rate, vec![(0..4800).map(at).collect()]))
    }

    #[test]
    fn brightness_is_a_frequency_at_any_rate() {
        for rate in [22_050, 48_000] {
            let found = sine(1000.0, rate).brightness();
            assert!((found - 1000.0).abs() < 10.0, "{rate}: {found}");
        }
        for odd in [vec![], vec![0.0; 100], vec![f32::NAN; 100]] {
            let sound = PlayableSound::new(&Clip::new(48_000, vec![odd]));
            assert_eq!(sound.brightness(), 0.0);
        }
    }

    #[test]
    fn soft_notes_play_dark_takes_and_each_take_has_its_part() {
        // The third is the darkest though its rate is the lowest.
        let others = [sine(4000.0, 48_000), sine(200.0, 22_050)];
        let sounds = PadSounds::new(sine(1000.0, 48_000), others);
        let played = |velocity: f32| sounds.for_velocity(velocity);
        assert_eq!([0.0, 0.33].map(played), [2, 2]);
        assert_eq!([0.34, 0.66].map(played), [0, 0]);
        assert_eq!([0.67, 1.0].map(played), [1, 1]);
        let one = PadSounds::from(sine(1000.0, 48_000));
        assert_eq!((one.for_velocity(0.0), one.for_velocity(1.0)), (0, 0));
    }

    #[test]
    fn more_than_the_most_are_left_out() {
        let others = (0..20).map(|i| sine(100.0 * i as f32, 48_000));
        let sounds = PadSounds::new(sine(50.0, 48_000), others);
        assert_eq!(sounds.count(), PadSounds::MOST);
        assert!(sounds.take(7) == &sine(600.0, 48_000));
    }
}
