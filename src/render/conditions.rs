//! Conditions of the network for a sound: its class and its attributes, asked for, measured or drawn.

use super::{Init, PLACE, RenderSettings};
use crate::attributes::{Attribute, Attributes};
use crate::checkpoint::ModelConfig;
use crate::dataset::{Descriptor, SEMITONES_PER_UNIT};
use crate::error::{Error, Result};
use crate::noise::Noise;

/// Training sounds, nearest to what is asked, among which a class is drawn.
const NEAREST: usize = 12;

/// Training sounds, nearest to what is asked, by the longest of which a sound's length is chosen.
const LIKE: usize = 3;

/// Training sounds with pitches within so many semitones of one another are many; others are alone.
const BESIDE: f32 = 1.0;

/// How many semitones farther away a pitch may lie for which there are many training sounds, rather than one.
const LONELY: f32 = 8.0;

/// Noisiness up to which a training sound has a clear pitch.
const CLEAR: f32 = 0.08;

/// Below this pitch, in Hz, the harmonics of a note are nearer to one another than a window tells apart, if it has
/// any: if its brightness is more than so many times its pitch.
const RESOLVED: f32 = 100.0;
const OVERTONES: f32 = 1.8;

/// By how many semitones farther a pitch may lie whose harmonics are told apart.
const BLURRED: f32 = 14.0;

/// The attempt from which on every low pitch is taken for blurred.
const DOUBT: u64 = 2;

/// The requests of the settings to every sound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub class: Option<u32>,
    /// A value for each of the model's descriptors.
    pub row: Vec<f32>,
    /// The attributes that the sound shall have in the end.
    pub attributes: Attributes,
    /// By how many semitones it is played faster.
    pub varispeed: f32,
}

/// Conditions of the network for one sound, and their consequences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Conditions {
    pub class: Option<u32>,
    pub attributes: Attributes,
    /// How much faster than it is generated it is likely to be played, as a factor.
    pub speed: f64,
    /// Whether its attributes are those of a training sound that another draw may replace.
    pub like: bool,
}

impl Conditions {
    /// Until when the training sounds are heard that are most like one under these conditions, in seconds, where the
    /// model knows.
    pub fn end(&self, config: &ModelConfig) -> Option<f64> {
        if self.attributes == Attributes::default() {
            return None;
        }
        let known = config.attributes.iter().zip(&config.ends);
        let own = known.filter(|((label, _), _)| self.class.is_none() || *label == self.class);
        let far = own.map(|((_, other), &end)| (self.attributes.distance(other), end));
        let mut ends: Vec<(f32, f32)> = far.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let like = ends.iter().take(LIKE).map(|&(_, end)| f64::from(end));
        like.reduce(f64::max)
    }
}

impl Asked {
    /// # Errors
    /// When there is no such class or descriptor, or a value is out of its range.
    pub fn new(settings: &RenderSettings, config: &ModelConfig) -> Result<Self> {
        let class = settings.class.as_deref();
        let mut asked = Self {
            class: class.map(|label| config.class(label)).transpose()?,
            row: vec![0.0; config.descriptors.len()],
            attributes: Attributes::default(),
            varispeed: 0.0,
        };
        for (name, value) in &settings.descriptors {
            let attribute = Attribute::ALL
                .into_iter()
                .find(|q| !config.attributes.is_empty() && q.name() == name);
            if let Some(attribute) = attribute {
                let (low, high) = config.attribute_knots.range(attribute);
                if !(low..=high).contains(value) {
                    let [low, high] = [low, high].map(|it| (1e4 * f64::from(it)).round() / 1e4);
                    return Err(Error::setting(format!(
                        "attribute {name}: expected {low} to {high} {}, found {value}",
                        attribute.unit()
                    )));
                }
                asked.attributes.set(attribute, Some(*value));
                continue;
            }
            let index = config.descriptor(name)?;
            if !(-3.0..=3.0).contains(value) {
                return Err(Error::setting(format!(
                    "descriptor {name}: expected -3 to 3, found {value}"
                )));
            }
            if Descriptor::named(name) == Some(Descriptor::Varispeed) {
                asked.varispeed = SEMITONES_PER_UNIT * value;
            } else {
                asked.row[index] = *value;
            }
        }
        Ok(asked)
    }

    /// The conditions of the sound of `seed`; `own` are the attributes of the sound that it varies. Another `attempt`
    /// draws anew.
    ///
    /// Where no attributes are asked for, they are those of some training sound, and the class is that sound's. Where
    /// some are asked for, those are given, and the others are those of a training sound which is much like them; so is
    /// the class, if none is asked for. A variation is conditioned on its sound's own attributes, with what is asked
    /// for in their place, the less the farther it goes. A sound of which a part is kept is conditioned on nothing but
    /// its class and what is asked for: nobody knows what the whole will be. Nor is a morph: the more a sampling is
    /// conditioned, the less it can be inverted.
    pub fn conditions(
        &self,
        config: &ModelConfig,
        init: Option<&Init>,
        own: Option<Attributes>,
        seed: u64,
        attempt: u64,
    ) -> Conditions {
        let mut conditions = Conditions {
            class: self.class,
            attributes: Attributes::default(),
            speed: ratio(self.varispeed),
            like: false,
        };
        let is_conditional = match init {
            Some(Init::Inpaint { .. } | Init::Morph { .. }) => {
                self.attributes != conditions.attributes
            }
            Some(Init::Vary { .. }) | None => true,
        };
        if config.attributes.is_empty() || !is_conditional {
            return conditions;
        }
        let mut noise = match attempt {
            0 => Noise::at(seed, &[PLACE, 1]),
            n => Noise::at(seed, &[PLACE, 1, n]),
        };
        let strength = match init {
            Some(Init::Vary { strength, .. }) => *strength as f32,
            _ => 1.0,
        };
        let varied = own
            .filter(|_| strength < 1.0)
            .map(|own| Varied { own, strength });
        let training_set = &config.attributes;
        match self.attributes == Attributes::default() {
            true => drawn(&mut conditions, training_set, varied, &mut noise),
            false => self.met(&mut conditions, training_set, varied, attempt, &mut noise),
        }
        conditions
    }

    /// Conditions under which a sound comes near to the attributes that are asked for.
    fn met(
        &self,
        conditions: &mut Conditions,
        training_set: &[(Option<u32>, Attributes)],
        varied: Option<Varied>,
        attempt: u64,
        noise: &mut Noise,
    ) {
        let own = varied.map(|varied| varied.own);
        let wanted = self.attributes.or(&own.unwrap_or_default());
        conditions.class = self.class.or_else(|| near(training_set, &wanted, noise));
        let class = conditions.class;
        let hz = self.attributes.get(Attribute::Pitch);
        let like = match (varied, hz) {
            (Some(varied), _) => varied.towards(&like(training_set, class, &wanted, noise)),
            (None, Some(hz)) => {
                let hz = hz * ratio(-self.varispeed) as f32;
                pitched(training_set, class, hz, attempt, noise).unwrap_or_default()
            }
            (None, None) => like(training_set, class, &self.attributes, noise),
        };
        // A sound that is there has a pitch already.
        let own_pitch = own.and_then(|own| own.get(Attribute::Pitch));
        let pitch = own_pitch.or(like.get(Attribute::Pitch));
        if let Some((known, hz)) = pitch.zip(hz) {
            conditions.speed = f64::from(hz / known);
        }
        // Of a class that has no pitch, no draw has one.
        conditions.like = own.is_none() && (hz.is_none() || like.get(Attribute::Pitch).is_some());
        let semitones = -12.0 * (conditions.speed as f32).log2();
        conditions.attributes = self.attributes.varispeed(semitones).or(&like);
    }
}

/// The attributes of a sound that is varied, and how far to go from it.
#[derive(Clone, Copy)]
struct Varied {
    own: Attributes,
    strength: f32,
}

impl Varied {
    fn towards(&self, other: &Attributes) -> Attributes {
        self.own.towards(other, self.strength)
    }
}

/// Conditions of a sound like some training sound of its class, or of any.
fn drawn(
    conditions: &mut Conditions,
    training_set: &[(Option<u32>, Attributes)],
    varied: Option<Varied>,
    noise: &mut Noise,
) {
    if let Some(Varied { own, .. }) = &varied {
        conditions.class = conditions.class.or_else(|| near(training_set, own, noise));
    }
    let of_class: Vec<&(Option<u32>, Attributes)> = training_set
        .iter()
        .filter(|(label, _)| conditions.class.is_none() || *label == conditions.class)
        .collect();
    let drawn = match of_class.len() {
        0 => Attributes::default(),
        n => {
            let (label, attributes) = of_class[noise.below(n)];
            conditions.class = conditions.class.or(*label);
            attributes.jittered(noise)
        }
    };
    conditions.attributes = varied.map_or(drawn, |varied| varied.towards(&drawn));
}

/// The factor on the speed of a transposition by `semitones`.
fn ratio(semitones: f32) -> f64 {
    (f64::from(semitones) / 12.0).exp2()
}

/// The class of one of the training sounds that are most like these attributes, drawn.
fn near(
    attributes: &[(Option<u32>, Attributes)],
    like: &Attributes,
    noise: &mut Noise,
) -> Option<u32> {
    nearest(attributes.iter(), like, noise).and_then(|(label, _)| label)
}

/// The attributes of one of the training sounds of a class that are most like another, drawn.
fn like(
    attributes: &[(Option<u32>, Attributes)],
    class: Option<u32>,
    like: &Attributes,
    noise: &mut Noise,
) -> Attributes {
    let own = attributes
        .iter()
        .filter(|p| class.is_none() || p.0 == class);
    nearest(own, like, noise).map_or_else(Attributes::default, |(_, attributes)| attributes)
}

fn nearest<'a>(
    attributes: impl Iterator<Item = &'a (Option<u32>, Attributes)>,
    like: &Attributes,
    noise: &mut Noise,
) -> Option<(Option<u32>, Attributes)> {
    let mut places: Vec<_> = attributes.map(|p| (like.distance(&p.1), *p)).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let among = places.len().min(NEAREST);
    (among > 0).then(|| places[noise.below(among)].1)
}

/// The attributes of a training sound with a pitch near `hz`, if its class has any, drawn from those around the nearest
/// pitch. A pitch counts as nearer where it is not that of one sound alone, and where its harmonics are told apart: low
/// notes are better played slower than generated low. With each attempt, that weighs more.
fn pitched(
    attributes: &[(Option<u32>, Attributes)],
    class: Option<u32>,
    hz: f32,
    attempt: u64,
    noise: &mut Noise,
) -> Option<Attributes> {
    let care = (attempt + 1) as f32;
    let pitched: Vec<(f32, &Attributes)> = attributes
        .iter()
        .filter(|(label, _)| class.is_none() || *label == class)
        .filter_map(|(_, attributes)| Some((attributes.get(Attribute::Pitch)?, attributes)))
        .collect();
    let semitones = |a: f32, b: f32| (12.0 * (a / b).log2()).abs();
    let value = |p: &Attributes, attribute| p.get(attribute).unwrap_or(0.0);
    let is_blurred = |(known, p): (f32, &Attributes)| {
        let overtones = value(p, Attribute::Brightness) > OVERTONES * known;
        known < RESOLVED && (overtones || attempt >= DOUBT)
    };
    let beside = |at: (f32, &Attributes)| {
        let (known, blurred) = (at.0, is_blurred(at));
        let near = move |other: &&(f32, &Attributes)| {
            semitones(other.0, known) <= BESIDE && is_blurred(**other) == blurred
        };
        pitched.iter().filter(near)
    };
    let cost = |at: (f32, &Attributes)| {
        let blurred = if is_blurred(at) { BLURRED } else { 0.0 };
        semitones(hz, at.0) + care * (LONELY / beside(at).count() as f32 + blurred)
    };
    let costs = pitched.iter().map(|&at| (cost(at), at));
    let (_, known) = costs.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let around: Vec<&Attributes> = beside(known).map(|p| p.1).collect();
    let clear = |p: &&Attributes| value(p, Attribute::Noisiness) <= CLEAR;
    let around: Vec<&Attributes> = match around.iter().any(clear) {
        true => around.into_iter().filter(clear).collect(),
        false => around,
    };
    Some(*around[noise.below(around.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pitch: Option<f32>, length: f32) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.set(Attribute::Pitch, pitch);
        attributes.set(Attribute::Length, Some(length));
        attributes.set(Attribute::Brightness, pitch.map(|hz| 3.0 * hz));
        attributes
    }

    #[test]
    fn a_known_pitch_is_near_and_not_alone() {
        let training_set: Vec<_> = [65.4, 65.0, 66.0, 300.0, 130.8, 131.0, 130.0]
            .map(|hz| (Some(0), attributes(Some(hz), 0.3)))
            .into_iter()
            .chain([
                (Some(1), attributes(Some(110.0), 0.3)),
                (Some(2), attributes(None, 0.3)),
            ])
            .collect();
        let known = |class, hz| {
            let drawn = |seed| pitched(&training_set, Some(class), hz, 0, &mut Noise::new(seed));
            let drawn: Vec<_> = (0..20).map(drawn).collect();
            let pitch = |p: &Option<Attributes>| p.and_then(|p| p.get(Attribute::Pitch));
            let mut pitches: Vec<_> = drawn.iter().filter_map(pitch).collect();
            pitches.sort_by(f32::total_cmp);
            pitches.dedup();
            pitches
        };
        // 300 Hz is nearer, and alone; 65 Hz is nearer, and blurred.
        assert_eq!(known(0, 200.0), [130.0, 130.8, 131.0]);
        assert_eq!(known(0, 80.0), [130.0, 130.8, 131.0]);
        assert_eq!(known(1, 2000.0), [110.0]);
        assert!(known(2, 110.0).is_empty());
    }

    #[test]
    fn a_class_is_drawn_among_what_is_near() {
        let training_set: Vec<_> = (0..40)
            .map(|i| {
                (
                    Some(u32::from(i >= 20)),
                    attributes(None, if i < 20 { 0.05 } else { 0.8 }),
                )
            })
            .collect();
        let long = attributes(None, 0.7);
        for seed in 0..20 {
            let class = near(&training_set, &long, &mut Noise::new(seed));
            assert_eq!(class, Some(1));
        }
    }
}
