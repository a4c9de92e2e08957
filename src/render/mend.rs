//! Mends pitch, brightness and length of a decoded sound, and remarks on what it still misses.

use std::fmt;

use super::conditions::{Asked, Conditions};
use crate::attributes::Attribute;
use crate::audio::{Clip, Contour, Measures, effect, onset};
use crate::diffusion::sampler::Sampler;

/// A pitch is mended again where it is off by more, in cents.
const IN_TUNE: f64 = 1.0;

/// A pitch that is off by more, or that differs by more between the ways to tell it, is remarked on, in cents.
const OUT_OF_TUNE: f64 = 5.0;

/// A course of pitch is made steady where it spreads over less, in cents: beyond, it is a glide.
const WAVER: f64 = 120.0;

/// A pitch that is farther than this from the one that was conditioned on is not taken for it, in semitones.
const ASTRAY: f64 = 7.0;

/// Largest tilt by which brightness is mended, dB from a decade below to a decade above.
const MOST_TILT_DB: f32 = 18.0;

/// Largest gain by which a tail is raised, dB.
const MOST_SWELL_DB: f64 = 12.0;

/// Steepest fall by which a sound is shortened, dB/s.
const STEEPEST: f64 = 20_000.0;

/// A length or a brightness that is off by a larger factor is remarked on.
const NEAR: f32 = 1.1;

/// Something that a rendering says about itself: what was asked and could not be had.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Remark {
    /// More steps than the model is good for: they would spoil the sound.
    Steps {
        /// Steps asked for.
        asked: usize,
        /// Steps taken.
        taken: usize,
    },
    /// The model was distilled to few steps of another sampler.
    Sampler {
        /// The one asked for.
        asked: Sampler,
    },
    /// A pitch was asked for, and none was found in the sound.
    Unpitched {
        /// Hz.
        asked: f32,
    },
    /// An attribute came out otherwise than asked.
    Missed {
        /// Which.
        attribute: Attribute,
        /// In its unit.
        asked: f32,
        /// In its unit.
        found: f32,
    },
    /// The sound to begin with starts later: what lies before its onset is left out.
    LeftOut {
        /// Seconds of it.
        seconds: f64,
    },
    /// The peak kept the loudness below what was asked.
    Loudness {
        /// LUFS.
        asked: f32,
        /// LUFS; nothing where the sound is too quiet to have a loudness.
        reached: Option<f32>,
    },
}

impl Remark {
    /// By how much what was asked for is missed, in octaves; a pitch that is not there is missed by far.
    pub(super) fn miss(&self) -> f32 {
        match *self {
            Self::Unpitched { .. } => f32::MAX,
            Self::Missed { asked, found, .. } => (found / asked).log2().abs(),
            _ => 0.0,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Steps { asked, taken } => write!(
                f,
                "steps: {asked} asked, {taken} taken: the model was distilled to few, and more would spoil the sound"
            ),
            Self::Sampler { asked } => write!(
                f,
                "sampler: {asked} asked, and the model was distilled to few steps of {}: the sound may be spoilt",
                Sampler::Consistency
            ),
            Self::Unpitched { asked } => write!(
                f,
                "pitch: {asked} Hz asked, and the sound has none that could be found"
            ),
            Self::Missed {
                attribute,
                asked,
                found,
            } => {
                let (name, unit) = (attribute.name(), attribute.unit());
                write!(f, "{name}: {asked} {unit} asked, {found:.4} {unit} reached")
            }
            Self::LeftOut { seconds } => write!(
                f,
                "the sound to begin with: the {seconds:.3} s before its onset are left out"
            ),
            Self::Loudness { asked, reached } => match reached {
                Some(reached) => write!(
                    f,
                    "loudness: {asked} LUFS asked, {reached:.1} reached: the peak is at full scale"
                ),
                None => write!(
                    f,
                    "loudness: {asked} LUFS asked, and the sound is too quiet to have one"
                ),
            },
        }
    }
}

/// The sound with the speed and the attributes that were asked for, as nearly as there is one. `note` is the pitch, if
/// any, that it was conditioned on and is to hold.
pub(super) fn mended(
    clip: Clip,
    asked: &Asked,
    conditions: &Conditions,
    note: Option<f32>,
    remarks: &mut Vec<Remark>,
) -> Clip {
    let of = |attribute| asked.attributes.get(attribute);
    let peak = clip.peak();
    let mut clip = match of(Attribute::Pitch) {
        Some(hz) => tuned(&clip, hz, conditions.speed, remarks),
        None => {
            let speed = conditions.speed;
            match note.and_then(|hz| wavering(&clip, hz)) {
                Some(course) => {
                    let middle = course.hz();
                    let steady = |at: f64| speed * middle / course.hz_at(at);
                    played(&clip, speed * (WAVER / 1200.0).exp2(), steady)
                }
                None if speed == 1.0 => clip,
                None => played(&clip, speed, |_| speed),
            }
        }
    };
    if let Some(hz) = of(Attribute::Brightness) {
        brighten(&mut clip, hz);
    }
    if let Some(seconds) = of(Attribute::Length) {
        lengthen(&mut clip, seconds);
    }
    if of(Attribute::Brightness)
        .or(of(Attribute::Length))
        .is_some()
    {
        // A sound left at its own level is not to be cut at full scale.
        let raised = clip.peak() / peak;
        if raised > 1.0 {
            clip.channels_mut().flatten().for_each(|x| *x /= raised);
        }
    }
    clip
}

/// Says where the length or the brightness of the whole is not what was asked.
pub(super) fn missed(clip: &Clip, asked: &Asked, remarks: &mut Vec<Remark>) {
    let of = |attribute| asked.attributes.get(attribute);
    type Measure = fn(&Clip) -> f32;
    let measures: [(Attribute, Measure); 2] = [
        (Attribute::Length, Measures::decay_of),
        (Attribute::Brightness, Measures::brightness_of),
    ];
    for (attribute, found) in measures {
        let Some(asked) = of(attribute) else {
            continue;
        };
        let found = found(clip);
        if factor(asked, found) > NEAR {
            remarks.push(Remark::Missed {
                attribute,
                asked,
                found,
            });
        }
    }
}

/// The larger of two numbers over the smaller.
fn factor(a: f32, b: f32) -> f32 {
    (a / b).max(b / a)
}

/// The clip at the speed that `speed` says for each of its frames, at most `fastest`; its onset stays where it is.
fn played(clip: &Clip, fastest: f64, speed: impl Fn(f64) -> f64) -> Clip {
    let begin = onset(clip, clip.peak());
    let mut at = begin as f64 - begin as f64 * speed(begin as f64);
    let end = clip.len_frames() as f64;
    let mut places = Vec::with_capacity(clip.len_frames());
    while at < end {
        places.push(at);
        at += speed(at);
    }
    effect::varispeed(clip, fastest, places.len(), |n| places[n])
}

/// The course of a sound whose pitch is near `hz`. Farther, it is a partial that was found.
fn course(clip: &Clip, hz: f64) -> Option<Contour> {
    Contour::of(clip).filter(|course| 12.0 * (course.hz() / hz).log2().abs() <= ASTRAY)
}

/// Whether the pitch of a sound is near `hz`, and does not stay there.
pub(super) fn glides(clip: &Clip, hz: f32) -> bool {
    course(clip, f64::from(hz)).is_some_and(|course| course.spread() >= WAVER)
}

/// The course of a note whose pitch is near `hz`, if it wavers as the notes that were learnt did not: less than a glide
/// does.
fn wavering(clip: &Clip, hz: f32) -> Option<Contour> {
    course(clip, f64::from(hz)).filter(|course| course.spread() < WAVER)
}

/// The clip at a pitch of `hz`: played faster or slower as a whole, and what only wavers made steady. Without a pitch
/// it is played at the speed at which it was to be.
fn tuned(clip: &Clip, hz: f32, speed: f64, remarks: &mut Vec<Remark>) -> Clip {
    let wanted = f64::from(hz);
    let Some(contour) = course(clip, wanted / speed) else {
        remarks.push(Remark::Unpitched { asked: hz });
        return match speed == 1.0 {
            true => clip.clone(),
            false => played(clip, speed, |_| speed),
        };
    };
    let steady = contour.spread() < WAVER;
    let middle = contour.hz();
    let cents = |hz: f64| 1200.0 * (hz / wanted).log2();
    let (mut correction, mut found, mut best) = (1.0, None, clip.clone());
    for _ in 0..3 {
        let whole = correction * wanted / middle;
        let by_course = |at: f64| correction * wanted / contour.hz_at(at);
        best = match steady {
            // The course stays within its spread.
            true => played(clip, whole * (WAVER / 1200.0).exp2(), by_course),
            false => played(clip, whole, |_| whole),
        };
        found = Contour::of(&best);
        match found.as_ref().map(Contour::hz) {
            Some(hz) if cents(hz).abs() > IN_TUNE => correction *= wanted / hz,
            _ => break,
        }
    }
    let Some(found) = found else {
        remarks.push(Remark::Unpitched { asked: hz });
        return best;
    };
    // Where the ways to tell a pitch differ, none of them is it. A glide is told by the whole and by most of the time.
    let readings = match steady {
        true => found.readings(&best),
        false => vec![found.hz(), found.median_hz()],
    };
    let all = readings.iter().map(|&hz| cents(hz));
    let (low, high) = all.fold((0.0f64, 0.0f64), |(low, high), x| (low.min(x), high.max(x)));
    if high - low > OUT_OF_TUNE {
        let farthest = if high > -low { high } else { low };
        let worse = wanted * (farthest / 1200.0).exp2();
        remarks.push(Remark::Missed {
            attribute: Attribute::Pitch,
            asked: hz,
            found: worse as f32,
        });
    }
    best
}

/// Tilts the clip until its brightness is `hz`, within bounds.
fn brighten(clip: &mut Clip, hz: f32) {
    let found = Measures::brightness_of(clip);
    if found <= 0.0 {
        return;
    }
    let pivot = (hz * found).sqrt();
    let tilted = |db: f32| {
        let mut tilted = clip.clone();
        effect::tilt(&mut tilted, db, pivot);
        tilted
    };
    let (mut low, mut high) = (-MOST_TILT_DB, MOST_TILT_DB);
    for _ in 0..10 {
        let middle = 0.5 * (low + high);
        if Measures::brightness_of(&tilted(middle)) < hz {
            low = middle;
        } else {
            high = middle;
        }
    }
    *clip = tilted(0.5 * (low + high));
}

/// Lets the clip fall faster from its peak on, or slower within bounds, until its length is `seconds`.
fn lengthen(clip: &mut Clip, seconds: f32) {
    let mono = clip.with_channels(1);
    let peak = mono.peak();
    let highest = mono.channels()[0].iter().position(|x| x.abs() >= peak);
    let from = highest.unwrap_or(0);
    let rate = f64::from(clip.sample_rate());
    let fallen = |db_per_second: f64| {
        let mut fallen = clip.clone();
        // A swell stays as loud as it has become.
        let turn = match db_per_second < 0.0 {
            true => (MOST_SWELL_DB / -db_per_second * rate) as usize,
            false => usize::MAX,
        };
        for channel in fallen.channels_mut() {
            for (n, x) in channel.iter_mut().skip(from).enumerate() {
                let db = db_per_second * n.min(turn) as f64 / rate;
                *x *= 10f64.powf(-db / 20.0) as f32;
            }
        }
        fallen
    };
    let length = |db_per_second: f64| Measures::decay_of(&fallen(db_per_second));
    // Steepness on a scale that is fine around zero.
    let (mut low, mut high) = match length(0.0) < seconds {
        true => (-(MOST_SWELL_DB / 0.02).cbrt(), 0.0),
        false => (0.0, STEEPEST.cbrt()),
    };
    for _ in 0..14 {
        let middle = 0.5 * (low + high);
        if length(middle.powi(3)) > seconds {
            low = middle;
        } else {
            high = middle;
        }
    }
    *clip = fallen((0.5 * (low + high)).powi(3));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Attributes;

    /// A tone of 220 Hz whose pitch goes up and down by so many cents, three times a second.
    fn tone(cents: f64) -> Clip {
        let rate = 44_100;
        let mut phase = 0.0;
        let samples = (0..rate).map(|n| {
            let t = f64::from(n) / f64::from(rate);
            let course = (std::f64::consts::TAU * 3.0 * t).sin();
            phase += 220.0 * (cents * course / 1200.0).exp2() / f64::from(rate);
            (std::f64::consts::TAU * phase).sin() as f32
        });
        Clip::new(44_100, vec![samples.collect()])
    }

    fn mended_as(clip: &Clip, note: Option<f32>, speed: f64) -> Clip {
        let asked = Asked {
            class: None,
            row: Vec::new(),
            attributes: Attributes::default(),
            varispeed: 0.0,
        };
        let conditions = Conditions {
            class: None,
            attributes: Attributes::default(),
            speed,
            like: false,
        };
        mended(clip.clone(), &asked, &conditions, note, &mut Vec::new())
    }

    #[test]
    fn a_note_holds_its_pitch_and_what_is_none_is_left_alone() {
        let wavering = tone(30.0);
        let spread = |clip: &Clip| Contour::of(clip).expect("a tone").spread();
        assert!(spread(&wavering) > 45.0);
        for speed in [1.0, 1.2] {
            let steady = mended_as(&wavering, Some(225.0), speed);
            assert!(spread(&steady) < 10.0, "{}", spread(&steady));
            let hz = Contour::of(&steady).expect("a tone").hz();
            assert!((1200.0 * (hz / (220.0 * speed)).log2()).abs() < 3.0, "{hz}");
        }
        // Another's pitch, no pitch that was meant, and a glide.
        assert_eq!(mended_as(&wavering, Some(110.0), 1.0), wavering);
        assert_eq!(mended_as(&wavering, None, 1.0), wavering);
        let glide = tone(200.0);
        assert_eq!(mended_as(&glide, Some(220.0), 1.0), glide);
    }
}
