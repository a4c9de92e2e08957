//! Attributes: the few numbers that describe a sound, and that a model is conditioned on.
//!
//! A training measures every sound; its network is conditioned on these [`Attribute`]s beside the class, sometimes on
//! some of them, sometimes none. So they are knobs of the finished model. A sound that is rendered without any of them
//! set takes those of a sound of its class that was learnt, a little changed: the model then need not find out by
//! itself that a drum is either low and long or high and short.

use serde::{Deserialize, Serialize};

use crate::audio::Measures;
use crate::noise::Noise;

/// Knots of an attribute from one end of its scale to the other.
const KNOTS: usize = 8;

/// Knots of a pitch, where they are fine: every one of [`KNOTS`], and nine between, 0.97 semitones apart.
const PITCH_KNOTS: usize = 10 * (KNOTS - 1) + 1;

/// Knots of a length, where they are fine: [`KNOTS`], and two beyond, for sounds that last longer.
const LENGTH_KNOTS: usize = KNOTS + 2;

/// How far attributes are changed before a sound is rendered with them, as a fraction of each attribute's range.
const JITTER: f32 = 0.02;

/// Noisiness up to which a sound that has a pitch is nothing but the harmonics of it, but for what lies high.
const MOST_NOISE: f32 = 0.2;

/// One measure that models are conditioned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
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

impl Attribute {
    /// Every attribute, in the order of [`Attributes`].
    pub const ALL: [Self; 5] = [
        Self::Attack,
        Self::Length,
        Self::Brightness,
        Self::Pitch,
        Self::Noisiness,
    ];

    /// Its name in flags and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attack => "attack",
            Self::Length => "length",
            Self::Brightness => "brightness",
            Self::Pitch => "pitch",
            Self::Noisiness => "noisiness",
        }
    }

    /// Unit of its values; empty for a fraction.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Attack | Self::Length => "s",
            Self::Brightness | Self::Pitch => "Hz",
            Self::Noisiness => "",
        }
    }

    /// The values at the two ends of its scale.
    fn scale(self) -> (f32, f32) {
        match self {
            Self::Attack => (0.002, 0.5),
            Self::Length => (0.01, 1.2),
            Self::Brightness => (40.0, 14_000.0),
            Self::Pitch => (40.0, 2_000.0),
            Self::Noisiness => (0.0, 1.0),
        }
    }

    /// The last place that is told apart: a length may lie beyond its scale.
    fn last_place(self) -> f32 {
        match self {
            Self::Length => (LENGTH_KNOTS - 1) as f32 / (KNOTS - 1) as f32,
            _ => 1.0,
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

    /// Place of `value` on the scale, whose ends are 0 and 1: in proportion for a fraction, by the logarithm for the
    /// others.
    #[must_use]
    pub fn place(self, value: f32) -> f32 {
        let (low, high) = self.scale();
        let place = if self == Self::Noisiness {
            (value - low) / (high - low)
        } else {
            (value.max(low) / low).ln() / (high / low).ln()
        };
        place.clamp(0.0, self.last_place())
    }

    /// The inverse of [`Attribute::place`].
    fn at(self, place: f32) -> f32 {
        let (low, high) = self.scale();
        if self == Self::Noisiness {
            low + place * (high - low)
        } else {
            low * (high / low).powf(place)
        }
    }
}

/// How attributes are given to a network: by the weights of the two knots between which each lies on its scale; zeros
/// where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeKnots {
    /// Eight knots for each, as in older files: those of a pitch are ten semitones apart, and all lengths from 1.2 s on
    /// are one.
    #[default]
    Coarse,
    /// Those, and more: of a pitch one for each semitone, since the partials of each lie elsewhere; of a length up to
    /// 4.7 s.
    Fine,
}

impl AttributeKnots {
    /// How many knots an attribute has, and how far apart they are on its scale.
    fn of(self, attribute: Attribute) -> (usize, f32) {
        let knots = match (self, attribute) {
            (Self::Fine, Attribute::Pitch) => {
                return (PITCH_KNOTS, 1.0 / (PITCH_KNOTS - 1) as f32);
            }
            (Self::Fine, Attribute::Length) => LENGTH_KNOTS,
            _ => KNOTS,
        };
        (knots, 1.0 / (KNOTS - 1) as f32)
    }

    /// How many numbers the network is given.
    #[must_use]
    pub fn columns(self) -> usize {
        let knots = Attribute::ALL.map(|attribute| self.of(attribute).0);
        knots.into_iter().sum()
    }

    /// Lowest and highest value that are told apart; what lies beyond is given as these.
    #[must_use]
    pub fn range(self, attribute: Attribute) -> (f32, f32) {
        let (knots, apart) = self.of(attribute);
        (attribute.at(0.0), attribute.at((knots - 1) as f32 * apart))
    }

    /// The network's inputs, [`AttributeKnots::columns`] numbers.
    #[must_use]
    pub fn weights(self, attributes: &Attributes) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.columns());
        for attribute in Attribute::ALL {
            let (knots, apart) = self.of(attribute);
            let first = weights.len();
            weights.resize(first + knots, 0.0);
            if let Some(value) = attributes.get(attribute) {
                let last = (knots - 1) as f32;
                let place = (attribute.place(value) / apart).min(last);
                let below = (place as usize).min(knots - 2);
                weights[first + below + 1] = place - below as f32;
                weights[first + below] = 1.0 - weights[first + below + 1];
            }
        }
        weights
    }

    /// For each of the columns here what `other` gives of the value at its knot, row after row: a table of rows by
    /// `other`'s columns, multiplied by this, says the same by the columns here, where `other` tells no more.
    #[must_use]
    pub(crate) fn in_terms_of(self, other: Self) -> Vec<f32> {
        let rows = Attribute::ALL.into_iter().flat_map(|attribute| {
            let (knots, apart) = self.of(attribute);
            (0..knots).flat_map(move |knot| {
                let mut one = Attributes::default();
                one.set(attribute, Some(attribute.at(knot as f32 * apart)));
                other.weights(&one)
            })
        });
        rows.collect()
    }
}

/// A value for each of [`Attribute::ALL`], or none where it is not known, or not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Attributes(pub [Option<f32>; Attribute::ALL.len()]);

impl Attributes {
    /// Whether a sound could have these attributes: nothing that a file says may play it a million times as fast.
    pub(crate) fn is_plausible(&self) -> bool {
        Attribute::ALL.into_iter().all(|attribute| {
            let range = match attribute {
                Attribute::Pitch => 10.0..=20_000.0,
                Attribute::Noisiness => 0.0..=1.0,
                Attribute::Attack | Attribute::Length | Attribute::Brightness => 0.0..=1e6,
            };
            self.get(attribute)
                .is_none_or(|value| range.contains(&value))
        })
    }

    /// The attributes of a sound with these measures; of silence, nothing is known.
    #[must_use]
    pub fn of(measures: &Measures) -> Self {
        if measures.peak <= 0.0 {
            return Self::default();
        }
        // Three digits: they travel in the checkpoint as text.
        let short = |x: f32| format!("{x:.2e}").parse().unwrap_or(x);
        Self(Attribute::ALL.map(|attribute| attribute.of(measures).map(short)))
    }

    /// Value of one attribute.
    #[must_use]
    pub fn get(&self, attribute: Attribute) -> Option<f32> {
        self.0[attribute as usize]
    }

    /// Whether they are those of a note: a sound of one pitch, with little noise.
    #[must_use]
    pub fn is_note(&self) -> bool {
        let is_clear = |noisiness: f32| noisiness <= MOST_NOISE;
        self.get(Attribute::Pitch).is_some() && self.get(Attribute::Noisiness).is_some_and(is_clear)
    }

    /// Sets or clears one attribute.
    pub fn set(&mut self, attribute: Attribute, value: Option<f32>) {
        self.0[attribute as usize] = value;
    }

    /// The attributes with what another knows where this one knows nothing.
    pub(crate) fn or(mut self, other: &Self) -> Self {
        for attribute in Attribute::ALL {
            self.set(attribute, self.get(attribute).or(other.get(attribute)));
        }
        self
    }

    /// The same sound played faster by `semitones`.
    pub(crate) fn varispeed(mut self, semitones: f32) -> Self {
        let ratio = (semitones / 12.0).exp2();
        for (attribute, factor) in [
            (Attribute::Attack, 1.0 / ratio),
            (Attribute::Length, 1.0 / ratio),
            (Attribute::Brightness, ratio),
            (Attribute::Pitch, ratio),
        ] {
            self.set(attribute, self.get(attribute).map(|value| value * factor));
        }
        self
    }

    /// Attributes at `fraction` of the way to others, each attribute by its place in its range. An attribute that only
    /// one of them has is that one's, on its half of the way.
    pub(crate) fn towards(&self, other: &Self, fraction: f32) -> Self {
        let mut between = Self::default();
        for attribute in Attribute::ALL {
            let nearer = if fraction < 0.5 { self } else { other };
            let value = match (self.get(attribute), other.get(attribute)) {
                (Some(from), Some(to)) => {
                    let (from, to) = (attribute.place(from), attribute.place(to));
                    Some(attribute.at(from + fraction * (to - from)))
                }
                _ => nearer.get(attribute),
            };
            between.set(attribute, value);
        }
        between
    }

    /// How far another is away in the attributes that this one has, as fractions of their ranges; one that the other
    /// lacks counts as a whole range.
    pub(crate) fn distance(&self, other: &Self) -> f32 {
        let apart =
            Attribute::ALL.map(
                |attribute| match (self.get(attribute), other.get(attribute)) {
                    (Some(a), Some(b)) => (attribute.place(a) - attribute.place(b)).abs(),
                    (Some(_), None) => 1.0,
                    (None, _) => 0.0,
                },
            );
        apart.iter().map(|x| x * x).sum::<f32>().sqrt()
    }

    /// A sound nearby.
    pub(crate) fn jittered(mut self, noise: &mut Noise) -> Self {
        for attribute in Attribute::ALL {
            let shift = JITTER * noise.normal();
            let moved = |value| {
                attribute.at((attribute.place(value) + shift).clamp(0.0, attribute.last_place()))
            };
            self.set(attribute, self.get(attribute).map(moved));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [AttributeKnots; 2] = [AttributeKnots::Coarse, AttributeKnots::Fine];

    #[test]
    fn inputs_are_the_weights_of_two_knots() {
        let mut attributes = Attributes::default();
        for (knots, columns) in BOTH.into_iter().zip([40, 105]) {
            assert_eq!(knots.columns(), columns);
            assert_eq!(knots.weights(&attributes), vec![0.0; columns]);
        }
        for (value, at) in [(0.0, 0.0), (1.0, 7.0), (0.5, 3.5), (-3.0, 0.0), (9.0, 7.0)] {
            attributes.set(Attribute::Noisiness, Some(value));
            for knots in BOTH {
                let weights = knots.weights(&attributes);
                let (others, own) = weights.split_at(weights.len() - KNOTS);
                let place: f32 = own.iter().enumerate().map(|(i, w)| i as f32 * w).sum();
                assert!((own.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                assert!((place - at).abs() < 1e-5, "{value}");
                assert!(others.iter().all(|&w| w == 0.0));
            }
        }
        // A semitone is about one fine knot of pitch, and a tenth of a coarse one.
        let at = |knots: AttributeKnots, hz| {
            let mut attributes = Attributes::default();
            attributes.set(Attribute::Pitch, Some(hz));
            let weights = knots.weights(&attributes);
            let place = weights.iter().enumerate().map(|(i, w)| i as f32 * w);
            place.sum::<f32>()
        };
        for (knots, apart) in [
            (AttributeKnots::Coarse, 0.1034),
            (AttributeKnots::Fine, 1.034),
        ] {
            let semitone = at(knots, 440.0 * 2f32.powf(1.0 / 12.0)) - at(knots, 440.0);
            assert!((semitone - apart).abs() < 1e-3, "{semitone}");
        }
        let length = |knots: AttributeKnots| knots.range(Attribute::Length).1;
        assert!((length(AttributeKnots::Coarse) - 1.2).abs() < 1e-4);
        assert!((length(AttributeKnots::Fine) - 4.712).abs() < 1e-2);
    }

    #[test]
    fn fine_knots_say_what_coarse_ones_said() {
        let columns = AttributeKnots::Coarse.columns();
        let table = Noise::new(1).normals(columns);
        let fine = AttributeKnots::Fine.in_terms_of(AttributeKnots::Coarse);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let finer: Vec<f32> = fine.chunks(columns).map(|row| dot(row, &table)).collect();
        assert_eq!(finer.len(), AttributeKnots::Fine.columns());
        let mut noise = Noise::new(2);
        for _ in 0..200 {
            let values = [0.05, 0.9, 3000.0, 300.0, 0.5].map(|middle| {
                let is_known = noise.chance(0.8);
                is_known.then(|| middle * (1.5 * noise.normal()).exp())
            });
            let attributes = Attributes(values);
            let [coarse, fine] = BOTH.map(|knots| knots.weights(&attributes));
            let (before, after) = (dot(&coarse, &table), dot(&fine, &finer));
            assert!(
                (before - after).abs() < 1e-4,
                "{attributes:?}: {before}, {after}"
            );
        }
    }

    #[test]
    fn octaves_are_evenly_apart_and_varispeed_moves_along_them() {
        let pitch = |hz| {
            let mut attributes = Attributes::default();
            attributes.set(Attribute::Pitch, Some(hz));
            attributes
        };
        let up = pitch(110.0).varispeed(12.0);
        assert!((up.get(Attribute::Pitch).unwrap() - 220.0).abs() < 1e-3);
        let place = |hz: f32| Attribute::Pitch.place(hz);
        assert!((place(220.0) - place(110.0) - place(880.0) + place(440.0)).abs() < 1e-6);
        for attribute in Attribute::ALL {
            let (low, high) = attribute.scale();
            assert!(
                (attribute.at(attribute.place(0.3 * low + 0.7 * high)) / (0.3 * low + 0.7 * high)
                    - 1.0)
                    .abs()
                    < 1e-4
            );
        }
    }

    #[test]
    fn between_two_attributes_lie_places_in_proportion_and_a_lack_is_far() {
        let attributes = |length, pitch| {
            let mut attributes = Attributes::default();
            attributes.set(Attribute::Length, Some(length));
            attributes.set(Attribute::Pitch, pitch);
            attributes
        };
        let (short, long) = (attributes(0.1, Some(100.0)), attributes(0.4, None));
        let length = |fraction| {
            short
                .towards(&long, fraction)
                .get(Attribute::Length)
                .unwrap()
        };
        assert!((length(0.5) - 0.2).abs() < 1e-4 && (length(0.0) - 0.1).abs() < 1e-4);
        assert_eq!(short.towards(&long, 0.4).get(Attribute::Pitch), Some(100.0));
        assert_eq!(short.towards(&long, 0.6).get(Attribute::Pitch), None);
        assert_eq!(short.towards(&long, 0.6).get(Attribute::Noisiness), None);
        assert!(short.distance(&long) > 1.0 && long.distance(&short) < 0.5);
        assert_eq!(Attributes::default().distance(&short), 0.0);
    }

    #[test]
    fn silence_has_no_attributes() {
        assert_eq!(Attributes::of(&Measures::default()), Attributes::default());
    }
}
