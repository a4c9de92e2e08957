//! Every parameter of the plugin: id, unit, range, smoothing.
//!
//! An id never changes once released: projects and automation name parameters by it.

use std::sync::Arc;

use audiodiff::{Error, Result};
use nice_plug::prelude::*;

use crate::generator::{Names, Status};
use crate::state::{ProjectField, Recipe, Store};
use crate::voice::Controls;

/// Classes that can be chosen from. The range must not depend on the model, for automation is
/// stored as a share of it.
const MOST_CLASSES: i32 = 63;

/// Longest decay; here it is off and the sound keeps its own.
const DECAY_OFF_MS: f32 = 10_000.0;

/// What the host shows and automates, and what it stores besides.
#[derive(Debug, Params)]
pub struct PluginParams {
    /// 0 for any, else the number of one of the model's classes.
    #[id = "class"]
    pub class: IntParam,
    /// Names the sound: the same seed and settings make the same sound.
    #[id = "seed"]
    pub seed: IntParam,
    /// Steps from noise to sound: more take longer and are cleaner.
    #[id = "steps"]
    pub steps: IntParam,
    /// How strongly to insist on the class.
    #[id = "guidance"]
    pub guidance: FloatParam,
    /// Switching it, either way, makes the sound that the parameters above describe. Either way,
    /// because a host's own window has a switch for it and no button; a button's second edge asks
    /// for what is being made already, which changes nothing.
    #[id = "generate"]
    pub generate: BoolParam,

    /// Gain of the whole, as a factor. Smoothed logarithmically because it is heard so.
    #[id = "gain"]
    pub gain: FloatParam,
    /// Transposition in semitones. Smoothed so that automation glides.
    #[id = "pitch"]
    pub pitch: FloatParam,
    /// Whether keys change the pitch; middle C plays a sound as it is.
    #[id = "keys"]
    pub track_keys: BoolParam,
    /// Time in which a note falls by 60 dB, on top of the sound's own; the longest is off. Not
    /// smoothed: it bends a curve and makes no jump.
    #[id = "decay"]
    pub decay_ms: FloatParam,
    /// Whether a note plays to its end after its key is let go.
    #[id = "oneshot"]
    pub one_shot: BoolParam,
    /// Time in which a note falls by 60 dB after its key is let go, if it is not a one-shot.
    #[id = "release"]
    pub release_ms: FloatParam,

    /// The sound, and how it was made.
    #[persist = "project"]
    pub project: ProjectField,
}

impl PluginParams {
    /// The parameters of one instance, whose sound is in `store`. Class names are shown once
    /// `status` knows them.
    pub fn new(store: &Arc<Store>, status: &Arc<Status>) -> Self {
        let milliseconds = |name: &str, default: f32, min: f32, max: f32| {
            let range = FloatRange::Skewed {
                min,
                max,
                factor: FloatRange::skew_factor(-2.0),
            };
            FloatParam::new(name, default, range)
                .with_unit(" ms")
                .with_step_size(0.1)
        };
        let (shown, typed, asked) = (status.clone(), status.clone(), store.clone());
        Self {
            class: IntParam::new(
                "Class",
                0,
                IntRange::Linear {
                    min: 0,
                    max: MOST_CLASSES,
                },
            )
            .with_value_to_string(Arc::new(move |class| {
                class_to_string(shown.names.get(), class)
            }))
            .with_string_to_value(Arc::new(move |text| {
                string_to_class(typed.names.get(), text)
            })),
            seed: IntParam::new("Seed", 1, IntRange::Linear { min: 0, max: 9999 }),
            steps: IntParam::new("Steps", 16, IntRange::Linear { min: 2, max: 64 }),
            guidance: FloatParam::new("Guidance", 1.5, FloatRange::Linear { min: 0.0, max: 5.0 })
                .with_step_size(0.01),
            // The parameter is set from any thread, the audio thread included; asking is made for it.
            generate: BoolParam::new("Generate", false)
                .with_callback(Arc::new(move |_| asked.ask())),
            gain: FloatParam::new(
                "Gain",
                util::db_to_gain(-6.0),
                FloatRange::gain_range(-60.0, 6.0),
            )
            .with_smoother(SmoothingStyle::Logarithmic(10.0))
            .with_unit(" dB")
            .with_value_to_string(formatters::v2s_f32_gain_to_db(1))
            .with_string_to_value(formatters::s2v_f32_gain_to_db()),
            pitch: FloatParam::new(
                "Pitch",
                0.0,
                FloatRange::Linear {
                    min: -24.0,
                    max: 24.0,
                },
            )
            .with_smoother(SmoothingStyle::Linear(20.0))
            .with_unit(" st")
            .with_step_size(0.01),
            track_keys: BoolParam::new("Key tracking", true),
            decay_ms: milliseconds("Decay", DECAY_OFF_MS, 20.0, DECAY_OFF_MS)
                .with_value_to_string(Arc::new(|ms| match ms {
                    ms if ms >= DECAY_OFF_MS => "Off".to_owned(),
                    ms => format!("{ms:.1}"),
                }))
                .with_string_to_value(Arc::new(|text| match text.trim() {
                    text if text.eq_ignore_ascii_case("off") => Some(DECAY_OFF_MS),
                    text => text.trim_end_matches("ms").trim().parse().ok(),
                })),
            one_shot: BoolParam::new("One-shot", true),
            release_ms: milliseconds("Release", 200.0, 5.0, 5000.0),
            project: ProjectField(store.clone()),
        }
    }

    /// What the parameters ask of a model.
    ///
    /// # Errors
    /// When the class is not one of the model's.
    pub fn recipe(&self, names: &Names) -> Result<Recipe> {
        let class = match self.class.value() {
            0 => None,
            n => Some(names.labels.get(n as usize - 1).cloned().ok_or_else(|| {
                Error::setting(format!(
                    "class: expected 1 to {}, or 0 for any, found {n}",
                    names.labels.len()
                ))
            })?),
        };
        Ok(Recipe {
            model: names.model.clone(),
            class,
            seed: u64::from(self.seed.value().unsigned_abs()),
            steps: self.steps.value().unsigned_abs(),
            guidance: self.guidance.value(),
        })
    }

    /// What the voices obey for the next `frames`, and the smoothers' way through them.
    ///
    /// Real-time safe: reads atomics.
    pub fn controls(&self, sample_rate: f32, frames: u32) -> Controls {
        let decay_ms = self.decay_ms.value();
        Controls {
            sample_rate,
            pitch: self.pitch.smoothed.next_step(frames),
            track_keys: self.track_keys.value(),
            decay_ms: (decay_ms < DECAY_OFF_MS).then_some(decay_ms),
            release_ms: (!self.one_shot.value()).then(|| self.release_ms.value()),
        }
    }
}

fn class_to_string(names: Option<&Arc<Names>>, class: i32) -> String {
    let label = names.and_then(|names| {
        names
            .labels
            .get(usize::try_from(class).ok()?.checked_sub(1)?)
    });
    match (class, label) {
        (0, _) => "Any".to_owned(),
        (_, Some(label)) => label.clone(),
        (n, None) => format!("Class {n}"),
    }
}

fn string_to_class(names: Option<&Arc<Names>>, text: &str) -> Option<i32> {
    let text = text.trim();
    (0..=MOST_CLASSES)
        .find(|&class| class_to_string(names, class).eq_ignore_ascii_case(text))
        .or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            model: "drums".into(),
            labels: vec!["kick".into(), "snare".into()],
        }
    }

    #[test]
    fn ids_are_those_of_released_projects() {
        let params = Arc::new(PluginParams::new(&Arc::default(), &Arc::default()));
        let ids: Vec<String> = params
            .param_map()
            .into_iter()
            .map(|(id, _, _)| id)
            .collect();
        let released = [
            "class", "seed", "steps", "guidance", "generate", "gain", "pitch", "keys", "decay",
            "oneshot", "release",
        ];
        assert_eq!(ids, released);
    }

    #[test]
    fn defaults_describe_any_sound() {
        let params = PluginParams::new(&Arc::default(), &Arc::default());
        let recipe = params.recipe(&names()).unwrap();
        let wanted = Recipe {
            model: "drums".into(),
            class: None,
            seed: 1,
            steps: 16,
            guidance: 1.5,
        };
        assert_eq!(recipe, wanted);
        let controls = params.controls(48_000.0, 1);
        assert_eq!(
            (controls.pitch, controls.decay_ms, controls.release_ms),
            (0.0, None, None)
        );
    }

    #[test]
    fn classes_are_called_by_their_names_as_soon_as_these_are_known() {
        let names = Some(Arc::new(names()));
        assert_eq!(class_to_string(None, 2), "Class 2");
        assert_eq!(class_to_string(names.as_ref(), 2), "snare");
        assert_eq!(class_to_string(names.as_ref(), 0), "Any");
        assert_eq!(class_to_string(names.as_ref(), 3), "Class 3");
        for class in 0..=MOST_CLASSES {
            for names in [None, names.as_ref()] {
                assert_eq!(
                    string_to_class(names, &class_to_string(names, class)),
                    Some(class)
                );
            }
        }
        assert_eq!(string_to_class(names.as_ref(), " SNARE "), Some(2));
        assert_eq!(string_to_class(names.as_ref(), "oboe"), None);
    }
}
