//! The settings of the pads: what a project says of how their sounds are made and played, besides the parameters that a
//! host automates.

use audiodiff::{Error, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::controllers::Controllers;
use crate::keymap::KeyMap;
use crate::pad::{HATS, PADS, ROOT_KEY, default_class};
use crate::portrait::Portrait;
use crate::voice::{FilterKind, Mode, PadSounds, Polyphony, Takes};

/// Longest length that can be asked for, seconds.
pub const MAX_LENGTH_SECONDS: f32 = 8.0;

/// Most steps that can be asked for.
pub const MAX_STEPS: u32 = 64;

/// The highest weight of classifier-free guidance.
pub const MAX_GUIDANCE: f32 = 5.0;

/// The most octaves by which velocity moves a cutoff.
pub const MAX_VELOCITY_OCTAVES: f32 = 8.0;

/// The slowest glide, ms.
pub const MAX_GLIDE_MS: f32 = 2000.0;

/// The slowest fade at an edge of a sound, ms.
pub const MAX_FADE_MS: f32 = 10_000.0;

/// The most beats that a sound is made for, or a note plays.
pub const MAX_BEATS: f32 = 64.0;

/// The least distance between two handles, as a fraction of the sound.
pub const LEAST_SPAN: f32 = 0.001;

/// The most characters of a pad's name.
pub const MAX_NAME: usize = 64;

/// Beats per minute where the host tells no tempo.
pub const DEFAULT_TEMPO: f32 = 120.0;

/// The seconds that so many beats take at a tempo, in beats per minute; at [`DEFAULT_TEMPO`] where there is none.
#[must_use]
pub fn beats_to_seconds(beats: f32, tempo: Option<f32>) -> f32 {
    beats * 60.0 / tempo.unwrap_or(DEFAULT_TEMPO)
}

/// Groups in which notes silence each other.
pub const CHOKE_GROUPS: u8 = 8;

/// The class of a pad's sound.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "AnyClass")]
pub enum Class {
    /// The pad's own drum, as far as the model has it.
    #[default]
    Auto,
    /// Any.
    Any,
    /// The model's class of this name.
    Label(String),
    /// The model's class of this number, from 0 on: projects of before 0.2 have no name.
    Number(usize),
}

/// As any version stores it.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyClass {
    /// The parameter of before 0.2: 0 for the pad's own, 1 for any, else the model's class, from 2 on.
    Param(i32),
    Named(NamedClass),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum NamedClass {
    Auto,
    Any,
    Label(String),
    Number(usize),
}

impl From<AnyClass> for Class {
    fn from(class: AnyClass) -> Self {
        match class {
            AnyClass::Param(value) => Self::of_param(value),
            AnyClass::Named(NamedClass::Auto) => Self::Auto,
            AnyClass::Named(NamedClass::Any) => Self::Any,
            AnyClass::Named(NamedClass::Label(label)) => Self::Label(label),
            AnyClass::Named(NamedClass::Number(number)) => Self::Number(number),
        }
    }
}

impl Class {
    /// The class that a value of the parameter of before 0.2 means.
    #[must_use]
    pub fn of_param(value: i32) -> Self {
        match value {
            ..=0 => Self::Auto,
            1 => Self::Any,
            n => Self::Number(n as usize - 2),
        }
    }

    /// The model's class that this is for `pad`, none for any; `labels` are the model's classes.
    ///
    /// # Errors
    /// When the model has no such class.
    pub fn of_model(&self, pad: usize, labels: &[String]) -> Result<Option<String>> {
        let found = match self {
            Self::Auto => return Ok(default_class(pad, labels).cloned()),
            Self::Any => return Ok(None),
            Self::Label(label) => labels.contains(label).then(|| label.clone()),
            Self::Number(number) => labels.get(*number).cloned(),
        };
        found.map(Some).ok_or_else(|| {
            let found = match self {
                Self::Label(label) => label.clone(),
                other => other.name(&[]),
            };
            let expected = match labels {
                [] => "none, as the model has no classes".to_owned(),
                _ => format!("one of the model's ({})", labels.join(", ")),
            };
            Error::setting(format!(
                "pad {}: class: expected {expected}, found {found}",
                pad + 1
            ))
        })
    }

    /// The name that is shown for it.
    #[must_use]
    pub fn name(&self, labels: &[String]) -> String {
        match self {
            Self::Auto => "Auto".to_owned(),
            Self::Any => "Any".to_owned(),
            Self::Label(label) => label.clone(),
            Self::Number(number) => labels
                .get(*number)
                .cloned()
                .unwrap_or_else(|| format!("Class {}", number + 1)),
        }
    }
}

/// One of several choices; the first where it is one that a later version has added, so that nothing else of the pad is
/// lost by it.
fn known<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Choice<T> {
        Known(T),
        Other(IgnoredAny),
    }
    Ok(match Choice::deserialize(deserializer)? {
        Choice::Known(choice) => choice,
        Choice::Other(_) => T::default(),
    })
}

/// How the sound of a pad is made, besides its seed and the fraction of its morph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Making {
    /// The class.
    #[serde(deserialize_with = "known")]
    pub class: Class,
    /// Steps from noise to sound: more take longer and are cleaner, up to as many as the model takes. 0 for as many as
    /// the model is best with.
    pub steps: u32,
    /// The weight of classifier-free guidance; 0 is the model's own.
    pub guidance: f32,
    /// Seconds; 0 is the model's own length.
    pub length: f32,
    /// What it shall be like.
    #[serde(deserialize_with = "known", skip_serializing_if = "Portrait::is_blank")]
    pub portrait: Portrait,
    /// How far a variation goes from the sound that it begins with, 0 to 1.
    pub variation: f32,
    /// How many takes of its sound a pad is given at a click, its own included.
    pub takes: usize,
    /// How far they go from it, 0 to 1.
    pub takes_variation: f32,
    /// The other pad of a morph, from 0 on; none for the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub morph_with: Option<usize>,
    /// Whether the pad keeps its sound whatever is asked.
    pub lock: bool,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            class: Class::Auto,
            steps: 0,
            guidance: 0.0,
            length: 0.0,
            portrait: Portrait::default(),
            variation: 0.3,
            takes: 4,
            takes_variation: 0.1,
            morph_with: None,
            lock: false,
        }
    }
}

impl Making {
    /// The other pad of a morph of `pad`.
    #[must_use]
    pub fn other(&self, pad: usize) -> usize {
        self.morph_with.unwrap_or((pad + 1) % PADS)
    }
}

/// The output of a pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// The main output: not every host plays the outputs of the pads.
    #[default]
    Main,
    /// The pad's own output; the main one where the host has not connected it.
    Own,
}

/// How a pad plays its sound, besides what is automated.
///
/// All fractions of the sound count in the order in which it is heard, those of the parameter for its start and of the
/// playheads too: where the sound is reversed, they count from its last frame. So one draws the wave from the end that is
/// played first, mirrored where it is reversed, and every handle and playhead at its fraction of the width. To reverse
/// the part between the handles, rather than to move it to the other end of the sound, there is
/// [`turned`](Playing::turned).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Playing {
    /// Cents.
    pub fine: f32,
    /// How long a note plays.
    #[serde(deserialize_with = "known")]
    pub mode: Mode,
    /// Whether the sound is played backwards.
    pub reverse: bool,
    /// Fraction of the sound at which it ends; it begins at the parameter for its start, and is silent where that is not
    /// before this.
    pub end: f32,
    /// Time in which a note fades in, ms.
    pub fade_in: f32,
    /// Time in which it fades out towards the end, ms; a loop has no end, unless it is cut by `beats`.
    pub fade_out: f32,
    /// Fraction of the sound to which a loop goes back; where this is before the start, that.
    pub loop_start: f32,
    /// Fraction of the sound from which a loop goes back; where this is behind the end, that.
    pub loop_end: f32,
    /// Beats after which a note is cut, or a loop begins anew: with silence in between, where the sound is shorter. 0
    /// for never.
    pub beats: f32,
    /// Whether it is not heard.
    pub mute: bool,
    /// Whether of all pads only those that say so are heard.
    pub solo: bool,
    /// Time at full level, ms.
    pub hold: f32,
    /// Which frequencies pass.
    #[serde(deserialize_with = "known")]
    pub filter: FilterKind,
    /// Notes of a group silence each other; 0 is none.
    pub choke: u8,
    /// How much of the level depends on velocity, 0 to 1.
    pub velocity: f32,
    /// The curve of velocity, -1 soft to 1 hard.
    pub velocity_curve: f32,
    /// Octaves by which the cutoff of a filter falls from full velocity to none.
    pub velocity_cutoff: f32,
    /// Fraction of the sound by which a note without velocity begins later.
    pub velocity_start: f32,
    /// How many notes sound at once.
    #[serde(deserialize_with = "known")]
    pub voices: Polyphony,
    /// Time in which a note of a monophonic pad slides to its key, ms.
    pub glide: f32,
    /// Which of the pad's takes a note plays.
    #[serde(deserialize_with = "known")]
    pub take: Takes,
    /// Saturation, 0 to 1.
    pub drive: f32,
    /// -1 dark, 1 bright.
    pub tone: f32,
    /// The output it goes to, if the plugin has more than one output.
    #[serde(deserialize_with = "known")]
    pub output: Route,
}

impl Default for Playing {
    fn default() -> Self {
        Self {
            fine: 0.0,
            mode: Mode::OneShot,
            reverse: false,
            end: 1.0,
            fade_in: 0.0,
            fade_out: 0.0,
            loop_start: 0.0,
            loop_end: 1.0,
            beats: 0.0,
            mute: false,
            solo: false,
            hold: 0.0,
            filter: FilterKind::Off,
            choke: 0,
            velocity: 1.0,
            velocity_curve: 0.0,
            velocity_cutoff: 0.0,
            velocity_start: 0.0,
            voices: Polyphony::Poly,
            glide: 0.0,
            take: Takes::First,
            drive: 0.0,
            tone: 0.0,
            output: Route::Main,
        }
    }
}

impl Playing {
    /// The same, which plays the part between the handles in the other direction, and the start for that; `start` is the
    /// present one.
    #[must_use]
    pub fn turned(self, start: f32) -> (Self, f32) {
        let turned = Self {
            reverse: !self.reverse,
            end: 1.0 - start,
            loop_start: 1.0 - self.loop_end,
            loop_end: 1.0 - self.loop_start,
            ..self
        };
        (turned, 1.0 - self.end)
    }
}

/// The settings of one pad.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PadSettings {
    /// What its user calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How its sound is made.
    #[serde(flatten)]
    pub making: Making,
    /// How it is played.
    #[serde(flatten)]
    pub playing: Playing,
    /// What a later version knows of.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl PadSettings {
    /// Those that a pad has at first.
    #[must_use]
    pub fn of_pad(pad: usize) -> Self {
        let mut settings = Self::default();
        settings.playing.choke = u8::from(HATS.contains(&pad));
        settings
    }

    /// Takes over what belongs to the pad's place and not to what is on it: its lock and its output.
    pub(crate) fn stay_at(&mut self, place: &Self) {
        self.making.lock = place.making.lock;
        self.playing.output = place.playing.output;
    }

    /// The same, each number in its range: projects are edited by others.
    #[must_use]
    pub fn in_range(mut self) -> Self {
        let within = |x: &mut f32, least: f32, most: f32, otherwise: f32| {
            *x = if x.is_finite() {
                x.clamp(least, most)
            } else {
                otherwise
            };
        };
        let first = Self::default();
        let Self {
            name,
            making,
            playing,
            ..
        } = &mut self;
        if let Some(text) = name {
            let shown = text.trim().chars().filter(|c| !c.is_control());
            *text = shown.take(MAX_NAME).collect();
        }
        name.take_if(|text| text.is_empty());
        making.steps = making.steps.min(MAX_STEPS);
        within(&mut making.guidance, 0.0, MAX_GUIDANCE, 0.0);
        within(&mut making.length, 0.0, MAX_LENGTH_SECONDS, 0.0);
        making.portrait = making.portrait.in_range();
        within(&mut making.variation, 0.0, 1.0, first.making.variation);
        within(
            &mut making.takes_variation,
            0.0,
            1.0,
            first.making.takes_variation,
        );
        making.takes = making.takes.clamp(2, PadSounds::MOST);
        making.morph_with = making.morph_with.filter(|&other| other < PADS);
        within(&mut playing.fine, -100.0, 100.0, 0.0);
        within(&mut playing.end, LEAST_SPAN, 1.0, 1.0);
        within(&mut playing.fade_in, 0.0, MAX_FADE_MS, 0.0);
        within(&mut playing.fade_out, 0.0, MAX_FADE_MS, 0.0);
        within(&mut playing.loop_start, 0.0, 1.0 - LEAST_SPAN, 0.0);
        within(&mut playing.loop_end, 0.0, 1.0, 1.0);
        playing.loop_end = playing.loop_end.max(playing.loop_start + LEAST_SPAN);
        within(&mut playing.beats, 0.0, MAX_BEATS, 0.0);
        within(&mut playing.hold, 0.0, 2000.0, 0.0);
        within(&mut playing.velocity, 0.0, 1.0, 1.0);
        within(&mut playing.velocity_curve, -1.0, 1.0, 0.0);
        within(&mut playing.velocity_cutoff, 0.0, MAX_VELOCITY_OCTAVES, 0.0);
        within(&mut playing.velocity_start, 0.0, 1.0, 0.0);
        within(&mut playing.glide, 0.0, MAX_GLIDE_MS, 0.0);
        within(&mut playing.drive, 0.0, 1.0, 0.0);
        within(&mut playing.tone, -1.0, 1.0, 0.0);
        playing.choke = playing.choke.min(CHOKE_GROUPS);
        self
    }
}

/// What the audio thread follows of a project's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kit {
    /// By pad.
    pub pads: [Playing; PADS],
    /// The pad that all keys play at their pitch; none where each key plays a pad.
    pub keys: Option<usize>,
    /// The key of each pad.
    pub keymap: KeyMap,
    /// What turns the knobs.
    pub controllers: Controllers,
}

impl Default for Kit {
    fn default() -> Self {
        Self {
            pads: std::array::from_fn(|pad| PadSettings::of_pad(pad).playing),
            keys: None,
            keymap: KeyMap::default(),
            controllers: Controllers::default(),
        }
    }
}

impl Kit {
    /// The pads that a key plays; and, where it plays a pitch, how many semitones above middle C that is.
    pub fn route(&self, key: u8) -> impl Iterator<Item = (usize, Option<f32>)> + Clone + use<> {
        let pitch = f32::from(key) - f32::from(ROOT_KEY);
        let pitched = self.keys.map(|pad| (pad.min(PADS - 1), Some(pitch)));
        let is_pitched = pitched.is_some();
        let pads = self.keymap.pads(key).filter(move |_| !is_pitched);
        pitched.into_iter().chain(pads.map(|pad| (pad, None)))
    }

    /// Which pads are heard: of those that are not muted the solo ones, or all where there is none.
    #[must_use]
    pub fn heard(&self) -> [bool; PADS] {
        let is_solo = self.pads.iter().any(|pad| pad.solo);
        let heard = |pad: &Playing| !pad.mute && (pad.solo || !is_solo);
        std::array::from_fn(|pad| heard(&self.pads[pad]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_play_pads_or_the_one_of_the_kit_at_their_pitch() {
        let mut kit = Kit::default();
        assert_eq!(
            [35, 36, 51, 52].map(|key| kit.route(key).next()),
            [None, Some((0, None)), Some((15, None)), None]
        );
        kit.keys = Some(3);
        assert_eq!(
            [0, 60, 67].map(|key| kit.route(key).next()),
            [-60.0, 0.0, 7.0].map(|pitch| Some((3, Some(pitch))))
        );
        assert_eq!(kit.route(36).count(), 1, "the pads have no keys then");
        kit.keys = None;
        kit.keymap.set(0, 60);
        kit.keymap.set(9, 60);
        assert_eq!(
            kit.route(60).collect::<Vec<_>>(),
            [(0, None), (9, None)],
            "they share it"
        );
        assert_eq!(kit.route(36).next(), None);
    }

    #[test]
    fn solo_silences_the_others_and_mute_the_pad() {
        let mut kit = Kit::default();
        let heard = |kit: &Kit| -> Vec<usize> {
            let heard = kit.heard();
            (0..PADS).filter(|&pad| heard[pad]).collect()
        };
        assert_eq!(heard(&kit).len(), PADS);
        kit.pads[2].mute = true;
        assert_eq!(heard(&kit).len(), PADS - 1);
        for pad in [1, 2, 7] {
            kit.pads[pad].solo = true;
        }
        assert_eq!(heard(&kit), [1, 7]);
    }

    #[test]
    fn handles_have_something_between_them_and_turn_around_with_the_sound() {
        let text = "{\"end\":0,\"fade_in\":-3,\"fade_out\":1e9,\"loop_start\":0.75,\"loop_end\":0.5,\"beats\":99,\
                    \"mute\":true,\"name\":\"  Big\\n kick \"}";
        let settings: PadSettings = serde_json::from_str(text).unwrap();
        let settings = settings.in_range();
        assert_eq!(settings.name.as_deref(), Some("Big kick"));
        let playing = settings.playing;
        assert_eq!((playing.end, playing.fade_in), (LEAST_SPAN, 0.0));
        assert_eq!((playing.fade_out, playing.beats), (MAX_FADE_MS, MAX_BEATS));
        assert_eq!(beats_to_seconds(3.0, Some(90.0)), 2.0);
        assert_eq!(beats_to_seconds(3.0, None), 1.5, "at 120");
        assert_eq!(
            (playing.loop_start, playing.loop_end),
            (0.75, 0.75 + LEAST_SPAN)
        );
        assert!(playing.mute && !playing.solo);
        let nameless: PadSettings = serde_json::from_str("{\"name\":\" \"}").unwrap();
        assert_eq!(nameless.in_range(), PadSettings::default());
        let playing = Playing {
            end: 0.75,
            loop_start: 0.25,
            loop_end: 0.5,
            ..Playing::default()
        };
        let (turned, start) = playing.turned(0.125);
        assert_eq!((turned.reverse, start), (true, 0.25));
        assert_eq!(
            (turned.end, turned.loop_start, turned.loop_end),
            (0.875, 0.5, 0.75)
        );
        assert_eq!(turned.turned(start), (playing, 0.125));
    }

    #[test]
    fn a_class_is_the_models_by_its_name_and_by_its_number_in_old_projects() {
        let labels = ["bass", "kick", "snare"].map(str::to_owned);
        let of = |text: &str| -> Class { serde_json::from_str(text).unwrap() };
        for (text, label) in [
            ("0", Some("kick")),
            ("\"auto\"", Some("kick")),
            ("1", None),
            ("\"any\"", None),
            ("4", Some("snare")),
            ("{\"number\":2}", Some("snare")),
            ("{\"label\":\"bass\"}", Some("bass")),
        ] {
            let class = of(text);
            let found = class.of_model(0, &labels).unwrap();
            assert_eq!(found.as_deref(), label, "{text}");
            let again = serde_json::to_string(&class).unwrap();
            assert_eq!(of(&again), class, "{again}");
        }
        for (class, found) in [
            (Class::Label("oboe".into()), "oboe"),
            (Class::Number(3), "Class 4"),
        ] {
            let error = class.of_model(4, &labels).unwrap_err().to_string();
            assert!(
                error.contains("pad 5") && error.contains("bass, kick, snare"),
                "{error}"
            );
            assert!(error.ends_with(found), "{error}");
        }
        let error = Class::Number(3).of_model(4, &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "pad 5: class: expected none, as the model has no classes, found Class 4"
        );
        // A model of other classes in another order changes no name.
        let other = ["snare", "kick"].map(str::to_owned);
        let snare = Class::Label("snare".into()).of_model(0, &other).unwrap();
        assert_eq!(snare.as_deref(), Some("snare"));
    }

    #[test]
    fn settings_of_any_version_are_read_and_what_is_unknown_is_kept() {
        let text = "{\"steps\":9,\"fine\":1e9,\"mode\":\"loop\",\"choke\":200,\"morph_with\":16,\"later\":[1,{\"a\":2}]}";
        let settings: PadSettings = serde_json::from_str(text).unwrap();
        let settings = settings.in_range();
        assert_eq!(settings.making.steps, 9);
        assert_eq!(settings.making.morph_with, None);
        assert_eq!(settings.playing.mode, Mode::Loop);
        assert_eq!((settings.playing.fine, settings.playing.choke), (100.0, 8));
        assert_eq!(settings.playing.velocity, 1.0);
        let again = serde_json::to_value(&settings).unwrap();
        assert_eq!(again["later"], serde_json::json!([1, {"a": 2}]));
        let back: PadSettings = serde_json::from_value(again).unwrap();
        assert_eq!(back, settings);
        // A choice that is not known takes nothing else with it.
        let text = "{\"filter\":\"band\",\"mode\":7,\"class\":\"x\",\"output\":null,\"lock\":true,\"take\":\"velocity\"}";
        let later: PadSettings = serde_json::from_str(text).unwrap();
        let mut expected = PadSettings::default();
        expected.making.lock = true;
        expected.playing.take = Takes::Velocity;
        assert_eq!(later, expected);
    }
}
