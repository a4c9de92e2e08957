//! Random changes to clips, on which the model is conditioned.

use serde::{Deserialize, Serialize};

use crate::attributes::{Attribute, Attributes};
use crate::audio::{Clip, effect};
use crate::noise::Noise;
use crate::representation::RepresentationConfig;

/// A change of a clip that models can be conditioned on: a knob of the finished model.
///
/// The conditioning value is 0 for an untouched clip. Units are fixed whatever an [`Augment`] allows, so that a value
/// means the same for every model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Descriptor {
    /// 1 for a waveform turned over.
    Polarity,
    /// 1 for two semitones up.
    Varispeed,
    /// 1 for 3 dB more at 10 kHz against 100 Hz.
    Tilt,
    /// 1 for a decay of 60 dB in [`SHORTEST_T60`] seconds on top of the sound's own.
    Decay,
    /// -1 for 6 dB less.
    Gain,
}

impl Descriptor {
    /// Every descriptor.
    pub const ALL: [Self; 5] = [
        Self::Polarity,
        Self::Varispeed,
        Self::Tilt,
        Self::Decay,
        Self::Gain,
    ];

    /// Its name in files and flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Polarity => "polarity",
            Self::Varispeed => "varispeed",
            Self::Tilt => "tilt",
            Self::Decay => "decay",
            Self::Gain => "gain",
        }
    }

    /// The descriptor of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }

    /// Whether the change reaches the frames of a representation. Those of a spectrogram hold neither the level of a
    /// clip nor the sign of its wave.
    #[must_use]
    pub fn is_heard_in(self, representation: &RepresentationConfig) -> bool {
        !matches!(self, Self::Polarity | Self::Gain) || representation.holds_level_and_sign()
    }
}

/// Seconds in which the strongest decay shortening falls by 60 dB.
pub const SHORTEST_T60: f32 = 0.25;

pub(crate) const SEMITONES_PER_UNIT: f32 = 2.0;
const TILT_DB_PER_UNIT: f32 = 3.0;
const GAIN_DB_PER_UNIT: f32 = 6.0;

/// Which changes training makes to its clips, and how strong they are. 0 switches any of them off.
///
/// Clips change before they are encoded; the model is conditioned on what happened by
/// [`Descriptor`]s, and plain sounds are asked for with zeros. The default is the recipe's for small data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Probability of turning the waveform over.
    pub polarity: f32,
    /// Largest change of speed, in semitones up or down.
    pub varispeed_st: f32,
    /// The same of a one-shot that [is a note](Attributes::is_note).
    pub note_varispeed_st: f32,
    /// Largest change of the level of 10 kHz against that of 100 Hz, in dB up or down.
    pub tilt_db: f32,
    /// Probability of a shorter decay.
    pub decay: f32,
    /// Lowest gain in dB, not above 0.
    pub gain_db: f32,
    /// Probability with which varispeed, tilt and gain each leave a clip alone, so that the neutral
    /// sound, the one that is asked for, is common.
    pub neutral: f32,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            polarity: 0.5,
            varispeed_st: 2.0,
            note_varispeed_st: 6.0,
            tilt_db: 3.0,
            decay: 0.3,
            gain_db: -6.0,
            neutral: 0.5,
        }
    }
}

impl Augment {
    /// No change at all; random windows of long files are still drawn.
    pub const NONE: Augment = Augment {
        polarity: 0.0,
        varispeed_st: 0.0,
        note_varispeed_st: 0.0,
        tilt_db: 0.0,
        decay: 0.0,
        gain_db: 0.0,
        neutral: 1.0,
    };

    /// The same without the changes that leave the frames of a representation as they are.
    #[must_use]
    pub fn heard_in(self, representation: &RepresentationConfig) -> Self {
        let if_heard = |descriptor: Descriptor, amount: f32| {
            if descriptor.is_heard_in(representation) {
                amount
            } else {
                0.0
            }
        };
        Self {
            polarity: if_heard(Descriptor::Polarity, self.polarity),
            varispeed_st: if_heard(Descriptor::Varispeed, self.varispeed_st),
            note_varispeed_st: if_heard(Descriptor::Varispeed, self.note_varispeed_st),
            tilt_db: if_heard(Descriptor::Tilt, self.tilt_db),
            decay: if_heard(Descriptor::Decay, self.decay),
            gain_db: if_heard(Descriptor::Gain, self.gain_db),
            neutral: self.neutral,
        }
    }

    /// Draws the change of one clip, a note or not. Takes the same number of values from `noise` whatever the settings.
    pub(super) fn draw(&self, is_note: bool, noise: &mut Noise) -> Change {
        let flip = noise.chance(self.polarity);
        let mut unless_neutral = |low, high| {
            let (neutral, value) = (noise.chance(self.neutral), noise.between(low, high));
            if neutral { 0.0 } else { value }
        };
        let most_st = match is_note {
            true => self.note_varispeed_st,
            false => self.varispeed_st,
        };
        let varispeed_st = unless_neutral(-most_st, most_st);
        let tilt_db = unless_neutral(-self.tilt_db, self.tilt_db);
        let gain_db = unless_neutral(self.gain_db, 0.0);
        let (shorter, amount) = (noise.chance(self.decay), noise.uniform());
        Change {
            flip,
            varispeed_st,
            tilt_db,
            decay: if shorter { amount } else { 0.0 },
            gain_db,
        }
    }
}

/// One draw of an [`Augment`]: what was done to one clip.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// Whether the waveform was turned over.
    pub flip: bool,
    /// Semitones up.
    pub varispeed_st: f32,
    /// Level of 10 kHz against that of 100 Hz, dB.
    pub tilt_db: f32,
    /// 0 to 1, as [`Descriptor::Decay`] counts it.
    pub decay: f32,
    /// dB.
    pub gain_db: f32,
}

impl Change {
    /// The conditioning value of one descriptor.
    #[must_use]
    pub fn value(&self, descriptor: Descriptor) -> f32 {
        match descriptor {
            Descriptor::Polarity => f32::from(u8::from(self.flip)),
            Descriptor::Varispeed => self.varispeed_st / SEMITONES_PER_UNIT,
            Descriptor::Tilt => self.tilt_db / TILT_DB_PER_UNIT,
            Descriptor::Decay => self.decay,
            Descriptor::Gain => self.gain_db / GAIN_DB_PER_UNIT,
        }
    }

    /// The attributes, as a model is conditioned on them, of a sound that had these before its decay was shortened and
    /// its treble tilted, which are told apart: of a shortened decay, the length is not known.
    pub(super) fn known_of(&self, mut attributes: Attributes) -> Attributes {
        if self.decay > 0.0 {
            attributes.set(Attribute::Length, None);
        }
        attributes
    }
}

/// Playback speed of a transposition by `semitones`.
pub(super) fn ratio(semitones: f32) -> f32 {
    (semitones / 12.0).exp2()
}

/// The clip played faster (`semitones` above 0, and shorter) or slower, `len_frames` long. Frame `pivot` stays where it
/// is; past either end there is silence.
pub(super) fn varispeed(clip: &Clip, semitones: f32, pivot: usize, len_frames: usize) -> Clip {
    let step = f64::from(ratio(semitones));
    let origin = pivot as f64 * (1.0 - step);
    effect::varispeed(clip, step, len_frames, |n| origin + n as f64 * step)
}

/// Multiplies by an exponential decay that begins at `onset`; `amount` 1 falls 60 dB in [`SHORTEST_T60`].
pub(super) fn shorten(clip: &mut Clip, amount: f32, onset: usize) {
    let fall = 10f64
        .powf(-3.0 * f64::from(amount) / (f64::from(SHORTEST_T60) * f64::from(clip.sample_rate())));
    for channel in clip.channels_mut() {
        let mut gain = 1.0;
        for x in channel.iter_mut().skip(onset) {
            *x *= gain as f32;
            gain *= fall;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::effect::tests::{level, sine};

    const RATE: u32 = 44_100;

    #[test]
    fn varispeed_moves_a_sine_by_its_semitones() {
        for (hz, bound_db) in [(100.0, -75.0), (1000.0, -75.0), (9000.0, -65.0)] {
            for semitones in [-2.0, -0.7, 0.3, 2.0] {
                let moved = varispeed(&sine(hz, 20_000), semitones, 0, 16_000);
                let wanted = sine(hz * f64::from(ratio(semitones)), 16_000);
                let error = moved.channels()[0]
                    .iter()
                    .zip(&wanted.channels()[0])
                    .map(|(a, b)| a - b)
                    .collect();
                let error = 20.0 * (level(&Clip::new(RATE, vec![error])) / level(&wanted)).log10();
                assert!(error < bound_db, "{hz} Hz, {semitones} st: {error} dB");
            }
        }
    }

    #[test]
    fn varispeed_up_does_not_fold_back_what_leaves_the_band() {
        let moved = varispeed(&sine(21_500.0, 20_000), 2.0, 0, 16_000);
        assert!(
            20.0 * level(&moved).log10() < -30.0,
            "{}",
            20.0 * level(&moved).log10()
        );
    }

    #[test]
    fn varispeed_shortens_and_pads_with_silence() {
        let faster = varispeed(&sine(1000.0, 10_000), 2.0, 0, 10_000);
        let end = (10_000.0 / ratio(2.0)) as usize;
        assert!(faster.channels()[0][end + 30..].iter().all(|&x| x == 0.0));
        assert!(
            faster.channels()[0][end - 100..end]
                .iter()
                .any(|&x| x.abs() > 0.5)
        );
    }

    #[test]
    fn strongest_decay_falls_60_db_in_its_t60() {
        let mut clip = Clip::new(RATE, vec![vec![1.0; 30_000]]);
        shorten(&mut clip, 1.0, 100);
        let channel = &clip.channels()[0];
        assert!(channel[..=100].iter().all(|&x| x == 1.0));
        let after = channel[100 + (SHORTEST_T60 * RATE as f32) as usize];
        assert!((20.0 * after.log10() + 60.0).abs() < 0.01, "{after}");
    }

    #[test]
    fn half_of_the_clips_are_neutral_in_each_respect_and_the_rest_spread_over_the_range() {
        let mut noise = Noise::new(1);
        let draws: Vec<_> = (0..4000)
            .map(|_| {
                let change = Augment::default().draw(false, &mut noise);
                Descriptor::ALL.map(|descriptor| change.value(descriptor))
            })
            .collect();
        let neutral: Vec<usize> = (0..5)
            .map(|k| draws.iter().filter(|d| d[k] == 0.0).count())
            .collect();
        // Three standard errors of 4000 coin tosses are 95; decay is left alone 70 times in a hundred.
        for (k, expected) in [(0, 2000), (1, 2000), (2, 2000), (3, 2800), (4, 2000)] {
            assert!(
                neutral[k].abs_diff(expected) < 100,
                "{}: {} neutral",
                Descriptor::ALL[k].name(),
                neutral[k]
            );
        }
        for (k, (low, high)) in [
            (0, (0.0, 1.0)),
            (1, (-1.0, 1.0)),
            (2, (-1.0, 1.0)),
            (3, (0.0, 1.0)),
            (4, (-1.0, 0.0)),
        ] {
            let least = draws.iter().map(|d| d[k]).fold(f32::MAX, f32::min);
            let most = draws.iter().map(|d| d[k]).fold(f32::MIN, f32::max);
            assert!(
                (least - low).abs() < 0.01 && (most - high).abs() < 0.01,
                "{}: {least} to {most}",
                Descriptor::ALL[k].name()
            );
        }
        // Notes are moved three times as far.
        let values: Vec<f32> = (0..4000)
            .map(|_| Augment::default().draw(true, &mut noise))
            .map(|change| change.value(Descriptor::Varispeed))
            .collect();
        let most = values.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!((2.99..=3.0).contains(&most), "{most}");
        assert!((0..500).all(|_| Augment::NONE.draw(true, &mut noise) == Change::default()));
    }

    #[test]
    fn what_a_spectrogram_cannot_hold_is_not_drawn_for_it_and_all_else_is_the_same() {
        let plain = Augment::default();
        let (mel, wave) = (RepresentationConfig::mel(), RepresentationConfig::wave());
        assert_eq!(plain.heard_in(&wave), plain);
        for seed in 0..500 {
            let draw = |augment: Augment| augment.draw(false, &mut Noise::new(seed));
            let (all, heard) = (draw(plain), draw(plain.heard_in(&mel)));
            let expected = Change {
                flip: false,
                gain_db: 0.0,
                ..all
            };
            assert_eq!(heard, expected);
        }
    }
}
