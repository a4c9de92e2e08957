//! What a sound is like, in the few numbers that a model can be told, and asked for.
//!
//! A training measures every sound; its network is told these [`Quality`]s beside the class, sometimes some of
//! them, sometimes none. So they are knobs of the finished model. A sound that is rendered without any of them set
//! takes those of a sound of its class that was learnt, a little changed: the model then need not find out by
//! itself that a drum is either low and long or high and short.

use serde::{Deserialize, Serialize};

use crate::audio::Measures;
use crate::noise::Noise;

/// Numbers by which one quality is told to the network.
const KNOTS: usize = 8;

/// Numbers by which a whole portrait is told to the network.
pub const COLUMNS: usize = KNOTS * Quality::ALL.len();

/// How far a portrait is changed before it is rendered, as a share of each quality's range.
const JITTER: f32 = 0.02;

/// One measure that models are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quality {
    /// [`Measures::attack`], seconds.
    Attack,
    /// [`Measures::decay`], seconds.
    Length,
    /// [`Measures::brightness`], Hz.
    Brightness,
    /// [`Measures::pitch`], Hz; a sound without a pitch has none.
    Pitch,
    /// [`Measures::noisiness`], 0 to 1.
    Noisiness,
}

impl Quality {
    /// Every quality, in the order of a [`Portrait`].
    pub const ALL: [Self; 5] = [
        Self::Attack,
        Self::Length,
        Self::Brightness,
        Self::Pitch,
        Self::Noisiness,
    ];

    /// What flags and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attack => "attack",
            Self::Length => "length",
            Self::Brightness => "brightness",
            Self::Pitch => "pitch",
            Self::Noisiness => "noisiness",
        }
    }

    /// Unit of its values; empty for a share.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Attack | Self::Length => "s",
            Self::Brightness | Self::Pitch => "Hz",
            Self::Noisiness => "",
        }
    }

    /// Lowest and highest value that are told apart; what lies beyond is told as these.
    pub fn range(self) -> (f32, f32) {
        match self {
            Self::Attack => (0.002, 0.5),
            Self::Length => (0.01, 1.2),
            Self::Brightness => (40.0, 14_000.0),
            Self::Pitch => (40.0, 2_000.0),
            Self::Noisiness => (0.0, 1.0),
        }
    }

    fn of(self, measures: &Measures) -> Option<f32> {
        match self {
            Self::Attack => Some(measures.attack),
            Self::Length => Some(measures.decay),
            Self::Brightness => Some(measures.brightness),
            Self::Pitch => measures.pitch,
            Self::Noisiness => Some(measures.noisiness),
        }
    }

    /// Place of `value` in the range, 0 to 1: in proportion for a share, by the logarithm for the others.
    fn place(self, value: f32) -> f32 {
        let (low, high) = self.range();
        let place = if self == Self::Noisiness {
            (value - low) / (high - low)
        } else {
            (value.max(low) / low).ln() / (high / low).ln()
        };
        place.clamp(0.0, 1.0)
    }

    /// The inverse of [`Quality::place`].
    fn at(self, place: f32) -> f32 {
        let (low, high) = self.range();
        if self == Self::Noisiness {
            low + place * (high - low)
        } else {
            low * (high / low).powf(place)
        }
    }
}

/// A value for each of [`Quality::ALL`], or none where it is not known, or not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Portrait(pub [Option<f32>; Quality::ALL.len()]);

impl Portrait {
    /// Whether a sound could have these qualities: nothing that a file says may play it a million times as fast.
    pub(crate) fn is_plausible(&self) -> bool {
        Quality::ALL.into_iter().all(|quality| {
            let range = match quality {
                Quality::Pitch => 10.0..=20_000.0,
                Quality::Noisiness => 0.0..=1.0,
                Quality::Attack | Quality::Length | Quality::Brightness => 0.0..=1e6,
            };
            self.get(quality).is_none_or(|value| range.contains(&value))
        })
    }

    /// The portrait of a sound with these measures; of silence, nothing is known.
    pub fn of(measures: &Measures) -> Self {
        if measures.peak <= 0.0 {
            return Self::default();
        }
        // Three digits: they travel in the checkpoint as text.
        let short = |x: f32| format!("{x:.2e}").parse().unwrap_or(x);
        Self(Quality::ALL.map(|quality| quality.of(measures).map(short)))
    }

    /// Value of one quality.
    pub fn get(&self, quality: Quality) -> Option<f32> {
        self.0[quality as usize]
    }

    /// Sets or clears one quality.
    pub fn set(&mut self, quality: Quality, value: Option<f32>) {
        self.0[quality as usize] = value;
    }

    /// The portrait with what another knows where this one knows nothing.
    pub(crate) fn or(mut self, other: &Self) -> Self {
        for quality in Quality::ALL {
            self.set(quality, self.get(quality).or(other.get(quality)));
        }
        self
    }

    /// The same sound played faster by `semitones`.
    pub(crate) fn varispeed(mut self, semitones: f32) -> Self {
        let ratio = (semitones / 12.0).exp2();
        for (quality, factor) in [
            (Quality::Attack, 1.0 / ratio),
            (Quality::Length, 1.0 / ratio),
            (Quality::Brightness, ratio),
            (Quality::Pitch, ratio),
        ] {
            self.set(quality, self.get(quality).map(|value| value * factor));
        }
        self
    }

    /// A portrait at `share` of the way to another, each quality by its place in its range. A quality that only one of
    /// them has is that one's, on its half of the way.
    pub(crate) fn towards(&self, other: &Self, share: f32) -> Self {
        let mut between = Self::default();
        for quality in Quality::ALL {
            let nearer = if share < 0.5 { self } else { other };
            let value = match (self.get(quality), other.get(quality)) {
                (Some(from), Some(to)) => {
                    let (from, to) = (quality.place(from), quality.place(to));
                    Some(quality.at(from + share * (to - from)))
                }
                _ => nearer.get(quality),
            };
            between.set(quality, value);
        }
        between
    }

    /// How far another is away in the qualities that this one has, as shares of their ranges; one that the other lacks
    /// counts as a whole range.
    pub(crate) fn distance(&self, other: &Self) -> f32 {
        let apart = Quality::ALL.map(|quality| match (self.get(quality), other.get(quality)) {
            (Some(a), Some(b)) => (quality.place(a) - quality.place(b)).abs(),
            (Some(_), None) => 1.0,
            (None, _) => 0.0,
        });
        apart.iter().map(|x| x * x).sum::<f32>().sqrt()
    }

    /// A sound nearby.
    pub(crate) fn jittered(mut self, noise: &mut Noise) -> Self {
        for quality in Quality::ALL {
            let shift = JITTER * noise.normal();
            let moved = |value| quality.at((quality.place(value) + shift).clamp(0.0, 1.0));
            self.set(quality, self.get(quality).map(moved));
        }
        self
    }

    /// What the network is told, [`COLUMNS`] numbers: for each quality the weights of the two of its knots, spread
    /// evenly over its range, between which the value lies; zeros where there is none.
    pub fn columns(&self) -> [f32; COLUMNS] {
        let mut columns = [0.0; COLUMNS];
        for (quality, columns) in Quality::ALL
            .into_iter()
            .zip(columns.chunks_exact_mut(KNOTS))
        {
            if let Some(value) = self.get(quality) {
                let place = quality.place(value) * (KNOTS - 1) as f32;
                let below = (place as usize).min(KNOTS - 2);
                columns[below + 1] = place - below as f32;
                columns[below] = 1.0 - columns[below + 1];
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_weights_of_two_knots() {
        let mut portrait = Portrait::default();
        assert_eq!(portrait.columns(), [0.0; COLUMNS]);
        for (value, at) in [(0.0, 0.0), (1.0, 7.0), (0.5, 3.5), (-3.0, 0.0), (9.0, 7.0)] {
            portrait.set(Quality::Noisiness, Some(value));
            let columns = portrait.columns();
            let own = &columns[4 * KNOTS..];
            let place: f32 = own.iter().enumerate().map(|(i, w)| i as f32 * w).sum();
            assert!((own.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!((place - at).abs() < 1e-5, "{value}");
            assert!(columns[..4 * KNOTS].iter().all(|&w| w == 0.0));
        }
    }

    #[test]
    fn octaves_are_evenly_apart_and_varispeed_moves_along_them() {
        let pitch = |hz| {
            let mut portrait = Portrait::default();
            portrait.set(Quality::Pitch, Some(hz));
            portrait
        };
        let up = pitch(110.0).varispeed(12.0);
        assert!((up.get(Quality::Pitch).unwrap() - 220.0).abs() < 1e-3);
        let place = |hz: f32| Quality::Pitch.place(hz);
        assert!((place(220.0) - place(110.0) - place(880.0) + place(440.0)).abs() < 1e-6);
        for quality in Quality::ALL {
            let (low, high) = quality.range();
            assert!(
                (quality.at(quality.place(0.3 * low + 0.7 * high)) / (0.3 * low + 0.7 * high)
                    - 1.0)
                    .abs()
                    < 1e-4
            );
        }
    }

    #[test]
    fn between_two_portraits_lie_places_in_proportion_and_a_lack_is_far() {
        let portrait = |length, pitch| {
            let mut portrait = Portrait::default();
            portrait.set(Quality::Length, Some(length));
            portrait.set(Quality::Pitch, pitch);
            portrait
        };
        let (short, long) = (portrait(0.1, Some(100.0)), portrait(0.4, None));
        let length = |share| short.towards(&long, share).get(Quality::Length).unwrap();
        assert!((length(0.5) - 0.2).abs() < 1e-4 && (length(0.0) - 0.1).abs() < 1e-4);
        assert_eq!(short.towards(&long, 0.4).get(Quality::Pitch), Some(100.0));
        assert_eq!(short.towards(&long, 0.6).get(Quality::Pitch), None);
        assert_eq!(short.towards(&long, 0.6).get(Quality::Noisiness), None);
        assert!(short.distance(&long) > 1.0 && long.distance(&short) < 0.5);
        assert_eq!(Portrait::default().distance(&short), 0.0);
    }

    #[test]
    fn silence_has_no_portrait() {
        assert_eq!(Portrait::of(&Measures::default()), Portrait::default());
    }
}
