//! What the network is told of a sound: its class and its portrait, asked for, measured or drawn.

use super::{Init, PLACE, RenderSettings};
use crate::checkpoint::ModelConfig;
use crate::dataset::{Descriptor, SEMITONES_PER_UNIT};
use crate::error::{Error, Result};
use crate::noise::Noise;
use crate::portrait::{Portrait, Quality};

/// Learnt sounds, nearest to what is asked, among which a class is drawn.
const NEAREST: usize = 12;

/// Learnt pitches within so many semitones bear one another out.
const BESIDE: f32 = 1.0;

/// How many semitones farther away a pitch may lie for which there are many learnt sounds, rather than one.
const LONELY: f32 = 8.0;

/// Noisiness up to which a learnt sound has a clear pitch.
const CLEAR: f32 = 0.08;

/// Below this pitch, in Hz, the harmonics of a note are nearer to one another than a window tells apart, if it has
/// any: if its brightness is more than so many times its pitch.
const RESOLVED: f32 = 100.0;
const OVERTONES: f32 = 1.8;

/// By how many semitones farther a pitch may lie whose harmonics are told apart.
const BLURRED: f32 = 14.0;

/// The attempt from which on every low pitch is taken for blurred.
const DOUBT: u64 = 2;

/// What the settings ask of every sound.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    class: Option<u32>,
    /// A value for each of the model's descriptors.
    pub row: Vec<f32>,
    /// The qualities that the sound shall have in the end.
    pub qualities: Portrait,
    /// By how many semitones it is played faster.
    pub varispeed: f32,
}

/// What the network is told of one sound, and what that means for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    pub class: Option<u32>,
    pub portrait: Portrait,
    /// How much faster than it is made it is likely to be played, as a factor.
    pub speed: f64,
    /// Whether it was told to be like a learnt sound that another draw may replace.
    pub like: bool,
}

impl Asked {
    /// # Errors
    /// When there is no such class or descriptor, or a value is out of its range.
    pub fn new(settings: &RenderSettings, config: &ModelConfig) -> Result<Self> {
        let class = settings.class.as_deref();
        let mut asked = Self {
            class: class.map(|label| config.class(label)).transpose()?,
            row: vec![0.0; config.descriptors.len()],
            qualities: Portrait::default(),
            varispeed: 0.0,
        };
        for (name, value) in &settings.descriptors {
            let quality = Quality::ALL
                .into_iter()
                .find(|q| !config.portraits.is_empty() && q.name() == name);
            if let Some(quality) = quality {
                let (low, high) = quality.range();
                if !(low..=high).contains(value) {
                    return Err(Error::setting(format!(
                        "descriptor {name}: expected {low} to {high} {}, found {value}",
                        quality.unit()
                    )));
                }
                asked.qualities.set(quality, Some(*value));
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

    /// What is told of the sound of `seed`; `own` is the portrait of the sound that it varies. Another `attempt` draws
    /// anew.
    ///
    /// Where nobody says what a sound shall be like, it is what some learnt sound is, and of the class of that one. Where
    /// qualities are asked for, those are told, and the others are those of a learnt sound which is much like them; so
    /// is the class, if none is asked for. A variation is told what its sound is like, with what is asked for in its
    /// place, the less the farther it goes. A sound of which a part is kept is told nothing but its class and what is
    /// asked for: nobody knows what the whole will be. Nor is a morph: the more a walk is told, the less it can be
    /// walked back.
    pub fn told(
        &self,
        config: &ModelConfig,
        init: Option<&Init>,
        own: Option<Portrait>,
        seed: u64,
        attempt: u64,
    ) -> Told {
        let mut told = Told {
            class: self.class,
            portrait: Portrait::default(),
            speed: ratio(self.varispeed),
            like: false,
        };
        let is_told = match init {
            Some(Init::Inpaint { .. } | Init::Morph { .. }) => self.qualities != told.portrait,
            Some(Init::Vary { .. }) | None => true,
        };
        if config.portraits.is_empty() || !is_told {
            return told;
        }
        let mut noise = match attempt {
            0 => Noise::at(seed, &[PLACE, 1]),
            n => Noise::at(seed, &[PLACE, 1, n]),
        };
        let portraits = &config.portraits;
        let strength = match init {
            Some(Init::Vary { strength, .. }) => *strength as f32,
            _ => 1.0,
        };
        let own = own.filter(|_| strength < 1.0);
        if self.qualities != Portrait::default() {
            let wanted = self.qualities.or(&own.unwrap_or_default());
            told.class = self.class.or_else(|| near(portraits, &wanted, &mut noise));
            let hz = self.qualities.get(Quality::Pitch);
            // A sound that is there has a pitch already.
            let own_pitch = own.and_then(|own| own.get(Quality::Pitch)).zip(hz);
            let like = match (own, hz) {
                (Some(own), _) => {
                    let drawn = like(portraits, told.class, &wanted, &mut noise);
                    own.towards(&drawn, strength)
                }
                (None, Some(hz)) => {
                    let played = ratio(-self.varispeed) as f32;
                    let pitched = pitched(portraits, told.class, hz * played, attempt, &mut noise);
                    pitched.unwrap_or_default()
                }
                (None, None) => like(portraits, told.class, &self.qualities, &mut noise),
            };
            if let Some((known, hz)) = own_pitch.or(like.get(Quality::Pitch).zip(hz)) {
                told.speed = f64::from(hz / known);
            }
            // Of a class that has no pitch, no draw has one.
            told.like = own.is_none() && (hz.is_none() || like.get(Quality::Pitch).is_some());
            let slower = self.qualities.varispeed(-12.0 * (told.speed as f32).log2());
            told.portrait = slower.or(&like);
            return told;
        }
        if let Some(own) = &own {
            told.class = self.class.or_else(|| near(portraits, own, &mut noise));
        }
        let of_class: Vec<&(Option<u32>, Portrait)> = portraits
            .iter()
            .filter(|(label, _)| told.class.is_none() || *label == told.class)
            .collect();
        let drawn = match of_class.len() {
            0 => Portrait::default(),
            n => {
                let (label, portrait) = of_class[noise.below(n)];
                told.class = told.class.or(*label);
                portrait.jittered(&mut noise)
            }
        };
        told.portrait = own.map_or(drawn, |own| own.towards(&drawn, strength));
        told
    }
}

/// The factor on the speed of a transposition by `semitones`.
fn ratio(semitones: f32) -> f64 {
    (f64::from(semitones) / 12.0).exp2()
}

/// The class of one of the learnt sounds that are most like a portrait, drawn.
fn near(portraits: &[(Option<u32>, Portrait)], like: &Portrait, noise: &mut Noise) -> Option<u32> {
    nearest(portraits.iter(), like, noise).and_then(|(label, _)| label)
}

/// The portrait of one of the learnt sounds of a class that are most like another, drawn.
fn like(
    portraits: &[(Option<u32>, Portrait)],
    class: Option<u32>,
    like: &Portrait,
    noise: &mut Noise,
) -> Portrait {
    let own = portraits.iter().filter(|p| class.is_none() || p.0 == class);
    nearest(own, like, noise).map_or_else(Portrait::default, |(_, portrait)| portrait)
}

fn nearest<'a>(
    portraits: impl Iterator<Item = &'a (Option<u32>, Portrait)>,
    like: &Portrait,
    noise: &mut Noise,
) -> Option<(Option<u32>, Portrait)> {
    let mut places: Vec<_> = portraits.map(|p| (like.distance(&p.1), *p)).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let among = places.len().min(NEAREST);
    (among > 0).then(|| places[noise.below(among)].1)
}

/// The portrait of a learnt sound with a pitch near `hz`, if its class has any, drawn: of those around the pitch that is
/// nearest, not that of one sound alone, and made well: low notes are better played slower than made low. With each
/// attempt, that weighs more.
fn pitched(
    portraits: &[(Option<u32>, Portrait)],
    class: Option<u32>,
    hz: f32,
    attempt: u64,
    noise: &mut Noise,
) -> Option<Portrait> {
    let care = (attempt + 1) as f32;
    let pitched: Vec<(f32, &Portrait)> = portraits
        .iter()
        .filter(|(label, _)| class.is_none() || *label == class)
        .filter_map(|(_, portrait)| Some((portrait.get(Quality::Pitch)?, portrait)))
        .collect();
    let semitones = |a: f32, b: f32| (12.0 * (a / b).log2()).abs();
    let value = |p: &Portrait, quality| p.get(quality).unwrap_or(0.0);
    let is_blurred = |(known, p): (f32, &Portrait)| {
        let overtones = value(p, Quality::Brightness) > OVERTONES * known;
        known < RESOLVED && (overtones || attempt >= DOUBT)
    };
    let beside = |at: (f32, &Portrait)| {
        let (known, blurred) = (at.0, is_blurred(at));
        let near = move |other: &&(f32, &Portrait)| {
            semitones(other.0, known) <= BESIDE && is_blurred(**other) == blurred
        };
        pitched.iter().filter(near)
    };
    let cost = |at: (f32, &Portrait)| {
        let blurred = if is_blurred(at) { BLURRED } else { 0.0 };
        semitones(hz, at.0) + care * (LONELY / beside(at).count() as f32 + blurred)
    };
    let costs = pitched.iter().map(|&at| (cost(at), at));
    let (_, known) = costs.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let around: Vec<&Portrait> = beside(known).map(|p| p.1).collect();
    let clear = |p: &&Portrait| value(p, Quality::Noisiness) <= CLEAR;
    let around: Vec<&Portrait> = match around.iter().any(clear) {
        true => around.into_iter().filter(clear).collect(),
        false => around,
    };
    Some(*around[noise.below(around.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portrait(pitch: Option<f32>, length: f32) -> Portrait {
        let mut portrait = Portrait::default();
        portrait.set(Quality::Pitch, pitch);
        portrait.set(Quality::Length, Some(length));
        portrait.set(Quality::Brightness, pitch.map(|hz| 3.0 * hz));
        portrait
    }

    #[test]
    fn a_known_pitch_is_near_and_not_alone() {
        let learnt: Vec<_> = [65.4, 65.0, 66.0, 300.0, 130.8, 131.0, 130.0]
            .map(|hz| (Some(0), portrait(Some(hz), 0.3)))
            .into_iter()
            .chain([
                (Some(1), portrait(Some(110.0), 0.3)),
                (Some(2), portrait(None, 0.3)),
            ])
            .collect();
        let known = |class, hz| {
            let drawn = |seed| pitched(&learnt, Some(class), hz, 0, &mut Noise::new(seed));
            let drawn: Vec<_> = (0..20).map(drawn).collect();
            let pitch = |p: &Option<Portrait>| p.and_then(|p| p.get(Quality::Pitch));
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
        let learnt: Vec<_> = (0..40)
            .map(|i| {
                (
                    Some(u32::from(i >= 20)),
                    portrait(None, if i < 20 { 0.05 } else { 0.8 }),
                )
            })
            .collect();
        let long = portrait(None, 0.7);
        for seed in 0..20 {
            let class = near(&learnt, &long, &mut Noise::new(seed));
            assert_eq!(class, Some(1));
        }
    }
}
