//! The portrait of a sound: five knobs that say what it shall be like, each within what the sounds of its class are.
//!
//! A model knows the attributes of the sounds that it learnt ([`ModelConfig::attributes`]). A knob goes from the lowest
//! that it met in a class to the highest, by how many of its sounds lie below: half-way up are as many as between.

use std::collections::BTreeMap;

use audiodiff::attributes::Attribute;
use audiodiff::checkpoint::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::keymap::NOTES;
use crate::params::quantity;

/// Points of a range: of so many equal parts of a class's sounds the ends.
const POINTS: usize = 17;

/// The part of a class's sounds beyond each end of a range: single sounds are far away.
const BEYOND: f32 = 0.02;

/// Fewer sounds than that tell nothing of their class.
const FEWEST: usize = 8;

/// Ends that are nearer to each other than this factor are one.
const APART: f32 = 1.05;

/// The distance between two places of a knob.
pub const STEP: f32 = 0.01;

/// Places on either side that are looked at for a text.
const BESIDE: u8 = 3;

/// What a knob says that leaves its attribute to the model.
pub const ANY: &str = "Any";

/// What a pad's sounds shall be like: each -1 for the least that its class knows, 1 for the most, and 0 for whatever the
/// model makes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Portrait {
    /// From its beginning to its full level.
    pub attack: f32,
    /// Until it has died away.
    pub length: f32,
    /// Where its energy lies.
    pub brightness: f32,
    /// The pitch, of classes that have one.
    pub pitch: f32,
    /// From a tone to noise.
    pub noisiness: f32,
}

impl Portrait {
    /// Whether all is left to the model.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// The knob of an attribute; none for one that a later version of the library knows.
    #[must_use]
    pub fn get(&self, attribute: Attribute) -> f32 {
        let mut copy = *self;
        copy.knob(attribute).copied().unwrap_or(0.0)
    }

    /// The same with another value for one attribute.
    #[must_use]
    pub fn with(mut self, attribute: Attribute, value: f32) -> Self {
        if let Some(knob) = self.knob(attribute) {
            *knob = value;
        }
        self
    }

    fn knob(&mut self, attribute: Attribute) -> Option<&mut f32> {
        match attribute {
            Attribute::Attack => Some(&mut self.attack),
            Attribute::Length => Some(&mut self.length),
            Attribute::Brightness => Some(&mut self.brightness),
            Attribute::Pitch => Some(&mut self.pitch),
            Attribute::Noisiness => Some(&mut self.noisiness),
            _ => None,
        }
    }

    /// The same, each knob in its range: projects are edited by others.
    #[must_use]
    pub(crate) fn in_range(self) -> Self {
        Attribute::ALL
            .into_iter()
            .fold(self, |portrait, attribute| {
                let value = self.get(attribute);
                let within = if value.is_finite() {
                    value.clamp(-1.0, 1.0)
                } else {
                    0.0
                };
                portrait.with(attribute, within)
            })
    }
}

/// What the sounds of one class are like in one attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    attribute: Attribute,
    /// Rising.
    points: [f32; POINTS],
}

impl Range {
    /// Of the values that some sounds have; none where they are few or all alike. The ends stay within `limits`.
    fn of(attribute: Attribute, mut values: Vec<f32>, (low, high): (f32, f32)) -> Option<Self> {
        if values.len() < FEWEST {
            return None;
        }
        values.sort_by(f32::total_cmp);
        let points: [f32; POINTS] = std::array::from_fn(|i| {
            let part = BEYOND + (1.0 - 2.0 * BEYOND) * i as f32 / (POINTS - 1) as f32;
            between(attribute, &values, part).clamp(low, high)
        });
        let (first, last) = (points[0], points[POINTS - 1]);
        let is_one = match attribute {
            Attribute::Noisiness => last - first < APART - 1.0,
            _ => last < first * APART,
        };
        (!is_one).then_some(Self { attribute, points })
    }

    /// The value that a knob stands for, from -1 to 1, in the attribute's unit.
    #[must_use]
    pub fn at(&self, knob: f32) -> f32 {
        let value = between(
            self.attribute,
            &self.points,
            (knob.clamp(-1.0, 1.0) + 1.0) / 2.0,
        );
        // Three digits: recipes hold it as text.
        format!("{value:.2e}").parse().unwrap_or(value)
    }

    /// The knob that stands for a value, or for the nearest that there is.
    #[must_use]
    pub fn knob(&self, value: f32) -> f32 {
        // Values rise with the knob.
        let (mut low, mut high) = (-1.0f32, 1.0f32);
        for _ in 0..24 {
            let middle = (low + high) / 2.0;
            let found = between(self.attribute, &self.points, (middle + 1.0) / 2.0);
            if found < value {
                low = middle;
            } else {
                high = middle;
            }
        }
        // 0 would leave it to the model.
        match at_place((low + high) / 2.0) {
            0.0 => STEP,
            knob => knob,
        }
    }

    /// What a knob says: the value that it stands for, or [`ANY`].
    #[must_use]
    pub fn text(&self, knob: f32) -> String {
        match knob {
            0.0 => ANY.to_owned(),
            _ => text(self.attribute, self.at(knob)),
        }
    }

    /// The knob that says a text, or what is nearest to that; a time without a unit is in seconds where the class has such,
    /// else in milliseconds, and a pitch may be a note. 0 for "any" and "auto"; none for what is no value.
    #[must_use]
    pub fn typed(&self, text: &str) -> Option<f32> {
        let text = text.trim().to_lowercase();
        if text == "auto" || text.eq_ignore_ascii_case(ANY) {
            return Some(0.0);
        }
        if let Some(hz) = pitch_of(&text).filter(|_| self.attribute == Attribute::Pitch) {
            return Some(self.knob(hz));
        }
        let (number, unit) = quantity(&text)?;
        let factor = match self.attribute {
            Attribute::Attack | Attribute::Length => {
                let is_long = unit.is_empty() && number > self.points[POINTS - 1];
                if is_long || unit.starts_with('m') {
                    1e-3
                } else {
                    1.0
                }
            }
            Attribute::Noisiness => 0.01,
            _ if unit.starts_with('k') => 1e3,
            _ => 1.0,
        };
        let value = number * factor;
        if !value.is_finite() {
            return None;
        }
        // A text is rounded: what stands nearest to it may say another.
        let near = self.knob(value);
        let beside =
            (0..=BESIDE).flat_map(|places| [1.0, -1.0].map(|sign| sign * f32::from(places)));
        let mut knobs = beside.map(|places| at_place(near + places * STEP));
        let says_it =
            |knob: &f32| knob.abs() <= 1.0 && self.text(*knob).eq_ignore_ascii_case(&text);
        Some(knobs.find(says_it).unwrap_or(near))
    }
}

/// The place of a knob that is nearest.
fn at_place(knob: f32) -> f32 {
    (knob / STEP).round() * STEP
}

/// The value at `part` of the way through rising values: in proportion for a fraction, by the logarithm for the others.
fn between(attribute: Attribute, values: &[f32], part: f32) -> f32 {
    let at = part * (values.len() - 1) as f32;
    let below = (at as usize).min(values.len() - 2);
    let (a, b, rest) = (values[below], values[below + 1], at - below as f32);
    match attribute {
        Attribute::Noisiness => a + rest * (b - a),
        _ if a > 0.0 => a * (b / a).powf(rest),
        _ => a + rest * (b - a),
    }
}

/// A value as it is shown.
#[must_use]
pub fn text(attribute: Attribute, value: f32) -> String {
    let hertz = || match value {
        ..1000.0 => format!("{value:.0} Hz"),
        _ => format!("{:.1} kHz", value / 1000.0),
    };
    match attribute {
        Attribute::Attack | Attribute::Length => match value {
            ..0.01 => format!("{:.1} ms", 1000.0 * value),
            0.01..1.0 => format!("{:.0} ms", 1000.0 * value),
            _ => format!("{value:.2} s"),
        },
        Attribute::Pitch => format!("{} {}", hertz(), note(value)),
        Attribute::Noisiness => format!("{:.0} %", 100.0 * value),
        _ => hertz(),
    }
}

/// The nearest note of a pitch, A4 being 440 Hz.
fn note(hz: f32) -> String {
    let key = (69.0 + 12.0 * (hz / 440.0).log2()).round() as i32;
    format!(
        "{}{}",
        NOTES[key.rem_euclid(12) as usize],
        key.div_euclid(12) - 1
    )
}

/// The pitch of a note, whose name is in lower case.
fn pitch_of(note: &str) -> Option<f32> {
    let end = note.find(|c: char| c.is_ascii_digit() || c == '-')?;
    let (name, octave) = note.split_at(end);
    let place = NOTES.iter().position(|it| it.eq_ignore_ascii_case(name))?;
    let octave: i16 = octave.parse().ok()?;
    Some(440.0 * ((f32::from(octave) - 4.0) + (place as f32 - 9.0) / 12.0).exp2())
}

/// What a model knows of the attributes of its classes. Models that are not conditioned on any know nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranges {
    labels: Vec<String>,
    /// By class, and last of all sounds; none where a class has no such range.
    of: Vec<[Option<Range>; Attribute::ALL.len()]>,
}

impl Ranges {
    /// Those of a model.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        if config.attributes.is_empty() {
            return Self::default();
        }
        let classes = (0..config.labels.len()).map(|class| Some(class as u32));
        let of_class = |class: Option<u32>| {
            Attribute::ALL.map(|attribute| {
                let own = config.attributes.iter();
                let own = own.filter(|(label, _)| class.is_none() || *label == class);
                let values = own.filter_map(|(_, attributes)| attributes.get(attribute));
                let limits = config.attribute_knots.range(attribute);
                Range::of(attribute, values.collect(), limits)
            })
        };
        Self {
            labels: config.labels.clone(),
            of: classes.chain([None]).map(of_class).collect(),
        }
    }

    /// Whether the model knows anything of attributes: without, all five knobs are off.
    #[must_use]
    pub fn are_known(&self) -> bool {
        !self.of.is_empty()
    }

    /// The range of an attribute in a class of the model, or of any sound; none where the knob is off.
    #[must_use]
    pub fn range(&self, class: Option<&str>, attribute: Attribute) -> Option<&Range> {
        let index = match class {
            Some(class) => self.labels.iter().position(|label| label == class)?,
            None => self.labels.len(),
        };
        let at = Attribute::ALL.iter().position(|&it| it == attribute)?;
        self.of.get(index)?[at].as_ref()
    }

    /// The attributes that a portrait asks of a sound of a class, by their names, in their units.
    #[must_use]
    pub fn asked(&self, class: Option<&str>, portrait: &Portrait) -> BTreeMap<String, f32> {
        let value = |attribute: Attribute| {
            let range = self.range(class, attribute)?;
            let knob = portrait.get(attribute);
            (knob != 0.0).then(|| (attribute.name().to_owned(), range.at(knob)))
        };
        Attribute::ALL.into_iter().filter_map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(attribute: Attribute, values: impl IntoIterator<Item = f32>) -> Option<Range> {
        Range::of(attribute, values.into_iter().collect(), (0.0, 14_000.0))
    }

    #[test]
    fn a_knob_goes_through_a_classs_sounds_from_the_least_to_the_most() {
        // A hundred octaves' worth of steps, and one sound far away.
        let values = (0..101).map(|i| 100.0 * 2f32.powf(i as f32 / 25.0));
        let range = range(Attribute::Brightness, values.chain([9000.0])).unwrap();
        assert!(
            (range.at(0.0) / 400.0 - 1.0).abs() < 0.03,
            "{}",
            range.at(0.0)
        );
        assert!((range.at(-1.0) / 106.0 - 1.0).abs() < 0.03);
        assert!(range.at(1.0) < 1700.0 && range.at(7.0) == range.at(1.0));
        let mut last = 0.0;
        for i in 0..=20 {
            let knob = i as f32 / 10.0 - 1.0;
            let value = range.at(knob);
            assert!(value > last);
            last = value;
            assert!((range.knob(value) - knob).abs() < 0.02, "{knob}");
        }
        assert_eq!((range.knob(1.0), range.knob(1e6)), (-1.0, 1.0));
        assert_ne!(range.knob(range.at(0.0)), 0.0, "which would be the model's");
    }

    #[test]
    fn what_a_class_does_not_have_is_no_knob() {
        assert_eq!(range(Attribute::Pitch, [100.0; 7]), None);
        assert_eq!(range(Attribute::Attack, [0.002; 70]), None);
        let none = Ranges::default();
        assert!(!none.are_known() && none.range(None, Attribute::Pitch).is_none());
        let portrait = Portrait::default().with(Attribute::Pitch, 0.5);
        assert!(none.asked(None, &portrait).is_empty());
    }

    #[test]
    fn values_are_shown_in_their_units() {
        for (attribute, value, shown) in [
            (Attribute::Attack, 0.0032, "3.2 ms"),
            (Attribute::Length, 0.34, "340 ms"),
            (Attribute::Length, 1.5, "1.50 s"),
            (Attribute::Brightness, 640.0, "640 Hz"),
            (Attribute::Brightness, 6400.0, "6.4 kHz"),
            (Attribute::Pitch, 440.0, "440 Hz A4"),
            (Attribute::Pitch, 62.0, "62 Hz B1"),
            (Attribute::Noisiness, 0.305, "30 %"),
        ] {
            assert_eq!(text(attribute, value), shown);
        }
    }

    #[test]
    fn what_a_knob_says_is_typed_and_turns_it_there() {
        let even = |low: f32, high: f32| {
            let step = (high / low).ln() / 99.0;
            (0..100).map(move |i| low * (i as f32 * step).exp())
        };
        for (attribute, low, high) in [
            (Attribute::Attack, 0.002, 0.4),
            (Attribute::Length, 0.05, 3.0),
            (Attribute::Brightness, 300.0, 9000.0),
            (Attribute::Pitch, 40.0, 2000.0),
            (Attribute::Noisiness, 0.2, 0.95),
        ] {
            let range = range(attribute, even(low, high)).unwrap();
            for place in -100..=100 {
                let knob = place as f32 * STEP;
                let shown = range.text(knob);
                let found = range.typed(&shown).unwrap();
                assert_eq!(range.text(found), shown, "{attribute:?} at {knob}");
                // As far as two digits tell it.
                assert!((found - knob).abs() < 0.04, "{shown}: {knob}, {found}");
                assert_eq!(found == 0.0, place == 0, "{shown}");
            }
            assert_eq!([" any", "Auto "].map(|it| range.typed(it)), [Some(0.0); 2]);
            assert_eq!(["", "loud", "ms"].map(|it| range.typed(it)), [None; 3]);
            assert_eq!(
                ["-1e3", "99999"].map(|it| range.typed(it)),
                [Some(-1.0), Some(1.0)]
            );
        }
        let length = range(Attribute::Length, even(0.05, 3.0)).unwrap();
        for (typed, seconds) in [
            ("1.5", 1.5),
            ("0,2", 0.2),
            ("340", 0.34),
            ("340ms", 0.34),
            ("2 s", 2.0),
        ] {
            assert_eq!(length.typed(typed), Some(length.knob(seconds)), "{typed}");
        }
        let pitch = range(Attribute::Pitch, even(40.0, 2000.0)).unwrap();
        for (typed, hz) in [
            ("a4", 440.0),
            ("C#3", 138.59),
            ("1.2 kHz D6", 1200.0),
            ("220", 220.0),
        ] {
            assert_eq!(pitch.typed(typed), Some(pitch.knob(hz)), "{typed}");
        }
    }

    #[test]
    fn a_portrait_is_kept_and_old_settings_have_none() {
        use crate::kit::PadSettings;
        let old: PadSettings = serde_json::from_str("{}").unwrap();
        assert!(old.making.portrait.is_blank());
        let text = serde_json::to_string(&old).unwrap();
        assert!(!text.contains("portrait"), "{text}");
        let text = "{\"portrait\":{\"brightness\":7,\"pitch\":-0.5,\"later\":1}}";
        let new: PadSettings = serde_json::from_str(text).unwrap();
        let new = new.in_range();
        let expected = Portrait {
            brightness: 1.0,
            pitch: -0.5,
            ..Portrait::default()
        };
        assert_eq!(new.making.portrait, expected);
        let again = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<PadSettings>(&again).unwrap(), new);
        let damaged: PadSettings = serde_json::from_str("{\"portrait\":3,\"lock\":true}").unwrap();
        assert!(damaged.making.portrait.is_blank() && damaged.making.lock);
    }
}
