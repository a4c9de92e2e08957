//! Every parameter of the plugin: id, unit, range, smoothing.
//!
//! An id never changes once released: projects and automation name parameters by it. Those of pads end
//! in the pad's number, `gain_1` to `gain_16`.

use std::sync::Arc;

use nice_plug::prelude::*;

use crate::pad::{FIRST_KEY, HATS, PADS, ROOT_KEY};
use crate::status::Status;
use crate::store::{ProjectField, Store, Task};
use crate::stored::Asked;
use crate::voice::{FilterKind, Mode, PadControls};

mod modulation;
mod text;

use modulation::Modulated;
use text::{
    MOST_CLASSES, class_text, gain, group_text, guidance_text, hertz_text, length_text, pan_text,
    steps_text,
};

/// Longest length that can be asked for, seconds.
const MAX_LENGTH_SECONDS: f32 = 8.0;

/// The parameters of one pad: how its sound is made, and how it is played.
#[derive(Debug, Params)]
pub struct PadParams {
    /// 0 for the pad's own, 1 for any, else one of the model's classes, from 2 on.
    #[id = "class"]
    pub class: IntParam,
    /// The seed of the noise: the same seed and settings make the same sound.
    #[id = "seed"]
    pub seed: IntParam,
    /// Steps from noise to sound: more take longer and are cleaner, up to as many as the model takes.
    #[id = "steps"]
    pub steps: IntParam,
    /// The weight of classifier-free guidance; 0 is the model's own.
    #[id = "guidance"]
    pub guidance: FloatParam,
    /// Seconds; 0 is the model's own length.
    #[id = "length"]
    pub length: FloatParam,
    /// How far a variation goes from the sound that it begins with, 0 to 1.
    #[id = "variation"]
    pub variation: FloatParam,
    /// Switching it on makes the sound that the parameters above describe, unless the pad's came of the same ones:
    /// then it stays, however it was varied since.
    #[id = "generate"]
    pub generate: BoolParam,
    /// Switching it on makes a variation of the pad's sound.
    #[id = "vary"]
    pub vary: BoolParam,
    /// The other pad of a morph, from 1 on.
    #[id = "morph_with"]
    pub morph_with: IntParam,
    /// How far a morph goes towards the other pad's sound, 0 to 1.
    #[id = "morph_amount"]
    pub morph_amount: FloatParam,
    /// Switching it on makes a sound between the pad's and the other's.
    #[id = "morph"]
    pub morph: BoolParam,
    /// Whether the pad keeps its sound whatever is asked.
    #[id = "lock"]
    pub lock: BoolParam,

    /// Linear, not dB.
    #[id = "gain"]
    pub gain: FloatParam,
    /// -1 left, 1 right.
    #[id = "pan"]
    pub pan: FloatParam,
    /// Semitones.
    #[id = "pitch"]
    pub pitch: FloatParam,
    /// Cents.
    #[id = "fine"]
    pub fine: FloatParam,
    /// Fraction of the sound that is left out at its beginning.
    #[id = "start"]
    pub start: FloatParam,
    /// How long a note plays.
    #[id = "mode"]
    pub mode: EnumParam<Mode>,
    /// Whether it is played backwards.
    #[id = "reverse"]
    pub reverse: BoolParam,
    /// Milliseconds.
    #[id = "attack"]
    pub attack: FloatParam,
    /// Milliseconds.
    #[id = "hold"]
    pub hold: FloatParam,
    /// Milliseconds.
    #[id = "decay"]
    pub decay: FloatParam,
    /// Linear level after the decay, 0 to 1.
    #[id = "sustain"]
    pub sustain: FloatParam,
    /// Milliseconds.
    #[id = "release"]
    pub release: FloatParam,
    /// Which frequencies pass.
    #[id = "filter"]
    pub filter: EnumParam<FilterKind>,
    /// Hz.
    #[id = "cutoff"]
    pub cutoff: FloatParam,
    /// 0 flat, 1 close to ringing.
    #[id = "resonance"]
    pub resonance: FloatParam,
    /// Notes of a group silence each other; 0 is none.
    #[id = "choke"]
    pub choke: IntParam,
    /// How much of the level depends on velocity.
    #[id = "velocity"]
    pub velocity: FloatParam,
    /// The output it goes to, if the plugin has more than one output.
    #[id = "output"]
    pub output: EnumParam<Route>,
}

/// The output of a pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Route {
    /// The main output.
    #[id = "main"]
    Main,
    /// The pad's own output; the main one where the host has not connected it.
    #[id = "own"]
    Own,
}

/// The parameters that the host shows and automates, and the project that it stores besides.
#[derive(Debug, Params)]
pub struct PluginParams {
    /// Gain of the whole, as a factor. Smoothed logarithmically because it is heard so.
    #[id = "gain"]
    pub gain: FloatParam,
    /// Whether all keys play the selected pad at their pitch.
    #[id = "keys"]
    pub keys: BoolParam,
    /// The selected pad, from 1 on.
    #[id = "pad"]
    pub pad: IntParam,
    /// Switching it on makes all sounds that their pads describe, as [`PadParams::generate`] does.
    #[id = "generate_all"]
    pub generate_all: BoolParam,
    /// Changes with the sounds: the one way to tell a host that there is something to save.
    #[id = "revision"]
    pub revision: IntParam,
    /// The pads.
    #[nested(array, group = "Pad")]
    pub pads: [PadParams; PADS],

    /// The sounds, and how they were made.
    #[persist = "project"]
    pub project: ProjectField,
}

impl PluginParams {
    /// The parameters of one instance, whose sounds are in `store`. Names of classes are shown once `status` knows
    /// them.
    pub fn new(store: &Arc<Store>, status: &Arc<Status>) -> Self {
        let asked = store.clone();
        Self {
            gain: gain("Gain", -6.0).with_smoother(SmoothingStyle::Logarithmic(10.0)),
            keys: BoolParam::new("Keys", false),
            pad: IntParam::new(
                "Selected pad",
                1,
                IntRange::Linear {
                    min: 1,
                    max: PADS as i32,
                },
            ),
            // Parameters are set from any thread, the audio thread included; asking is made for it.
            generate_all: BoolParam::new("Generate all", false).with_callback(Arc::new(
                move |on| {
                    if on {
                        (0..PADS).for_each(|pad| asked.ask(pad, Task::Follow));
                    }
                },
            )),
            revision: IntParam::new("Revision", 0, IntRange::Linear { min: 0, max: 999 })
                .hide()
                .non_automatable(),
            pads: std::array::from_fn(|pad| PadParams::new(pad, store, status)),
            project: ProjectField(store.clone()),
        }
    }

    /// The pad that a key plays; and, where it plays a pitch, how many semitones above middle C that is.
    pub fn route(&self, key: u8) -> Option<(usize, Option<f32>)> {
        if self.keys.value() {
            let pad = usize::try_from(self.pad.value() - 1).ok()?;
            let pitch = f32::from(key) - f32::from(ROOT_KEY);
            return Some((pad.min(PADS - 1), Some(pitch)));
        }
        let pad = usize::from(key.checked_sub(FIRST_KEY)?);
        (pad < PADS).then_some((pad, None))
    }
}

impl PadParams {
    fn new(pad: usize, store: &Arc<Store>, status: &Arc<Status>) -> Self {
        // Many hosts list names without their groups.
        let name = |name: &str| format!("Pad {} {name}", pad + 1);
        let float = |what, default, min, max| {
            FloatParam::new(name(what), default, FloatRange::Linear { min, max })
        };
        let skewed = |what, default, min, max, skew| {
            let factor = FloatRange::skew_factor(skew);
            FloatParam::new(name(what), default, FloatRange::Skewed { min, max, factor })
        };
        let percent = |what, default| {
            float(what, default, 0.0, 1.0)
                .with_unit(" %")
                .with_value_to_string(formatters::v2s_f32_percentage(1))
                .with_string_to_value(formatters::s2v_f32_percentage())
        };
        let ms = |what, default, min, max| {
            skewed(what, default, min, max, -2.0)
                .with_unit(" ms")
                .with_step_size(0.1)
        };
        let int = |what, default, min, max| {
            IntParam::new(name(what), default, IntRange::Linear { min, max })
        };
        let switch = |what| BoolParam::new(name(what), false);
        let ask = |what, task: Task| {
            let store = store.clone();
            switch(what).with_callback(Arc::new(move |on: bool| {
                if on {
                    store.ask(pad, task);
                }
            }))
        };
        let (last, next) = (PADS as i32, (pad + 1) as i32 % PADS as i32 + 1);
        let hats = i32::from(HATS.contains(&pad));
        Self {
            class: class_text(int("Class", 0, 0, MOST_CLASSES), status),
            seed: int("Seed", pad as i32 + 1, 0, 9999),
            steps: steps_text(int("Steps", 0, 0, 64), status),
            guidance: guidance_text(float("Guidance", 0.0, 0.0, 5.0).with_step_size(0.01)),
            length: length_text(float("Length", 0.0, 0.0, MAX_LENGTH_SECONDS).with_step_size(0.01)),
            variation: percent("Variation", 0.3),
            generate: ask("Generate", Task::Follow),
            vary: ask("Vary", Task::Vary),
            morph_with: int("Morph with", next, 1, last),
            morph_amount: percent("Morph amount", 0.5),
            morph: ask("Morph", Task::Morph),
            lock: switch("Lock").with_callback({
                let store = store.clone();
                Arc::new(move |on| store.lock_pad(pad, on))
            }),

            gain: gain(&name("Gain"), 0.0).with_poly_modulation_id(Modulated::Gain.id(pad)),
            pan: pan_text(float("Pan", 0.0, -1.0, 1.0))
                .with_poly_modulation_id(Modulated::Pan.id(pad)),
            pitch: float("Pitch", 0.0, -24.0, 24.0)
                .with_unit(" st")
                .with_step_size(0.01)
                .with_poly_modulation_id(Modulated::Pitch.id(pad)),
            fine: float("Fine", 0.0, -100.0, 100.0)
                .with_unit(" ct")
                .with_step_size(0.1),
            start: percent("Start", 0.0),
            mode: EnumParam::new(name("Mode"), Mode::OneShot),
            reverse: switch("Reverse"),
            attack: ms("Attack", 0.0, 0.0, 2000.0),
            hold: ms("Hold", 0.0, 0.0, 2000.0),
            decay: ms("Decay", 1000.0, 5.0, 10_000.0),
            sustain: percent("Sustain", 1.0),
            release: ms("Release", 200.0, 5.0, 5000.0),
            filter: EnumParam::new(name("Filter"), FilterKind::Off),
            cutoff: hertz_text(skewed("Cutoff", 2000.0, 20.0, 20_000.0, -2.5))
                .with_poly_modulation_id(Modulated::Cutoff.id(pad)),
            resonance: percent("Resonance", 0.0),
            choke: group_text(int("Choke group", hats, 0, 8)),
            velocity: percent("Velocity", 1.0),
            // Not every host plays the outputs of the pads.
            output: EnumParam::new(name("Output"), Route::Main),
        }
    }

    /// Those that describe a sound.
    pub fn asked(&self) -> Asked {
        Asked {
            class: self.class.value(),
            seed: self.seed.value(),
            steps: self.steps.value(),
            guidance: self.guidance.value(),
            length: self.length.value(),
        }
    }

    /// The values that the pad's voices follow.
    ///
    /// Real-time safe: reads atomics.
    pub fn controls(&self) -> PadControls {
        PadControls {
            gain: self.gain.value(),
            pan: self.pan.value(),
            pitch: self.pitch.value() + self.fine.value() / 100.0,
            start: self.start.value(),
            mode: self.mode.value(),
            reverse: self.reverse.value(),
            attack_ms: self.attack.value(),
            hold_ms: self.hold.value(),
            decay_ms: self.decay.value(),
            sustain: self.sustain.value(),
            release_ms: self.release.value(),
            filter: self.filter.value(),
            cutoff: self.cutoff.value(),
            resonance: self.resonance.value(),
            choke: self.choke.value() as u8,
            velocity: self.velocity.value(),
        }
    }
}

/// Pages of eight for hardware: the whole, then for each pad one for making its sound and one for playing it.
pub fn remote_controls(params: &PluginParams, context: &mut impl RemoteControlsContext) {
    context.add_section("Instrument", |section| {
        section.add_page("Main", |page| {
            page.add_param(&params.gain);
            page.add_param(&params.pad);
            page.add_param(&params.keys);
            page.add_param(&params.generate_all);
        });
    });
    for (i, pad) in params.pads.iter().enumerate() {
        context.add_section(format!("Pad {}", i + 1), |section| {
            section.add_page("Make", |page| {
                page.add_param(&pad.class);
                page.add_param(&pad.seed);
                page.add_param(&pad.steps);
                page.add_param(&pad.variation);
                page.add_param(&pad.generate);
                page.add_param(&pad.vary);
                page.add_param(&pad.morph);
                page.add_param(&pad.lock);
            });
            section.add_page("Play", |page| {
                page.add_param(&pad.gain);
                page.add_param(&pad.pan);
                page.add_param(&pad.pitch);
                page.add_param(&pad.start);
                page.add_param(&pad.decay);
                page.add_param(&pad.sustain);
                page.add_param(&pad.cutoff);
                page.add_param(&pad.resonance);
            });
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::job::Job;
    use crate::project::Project;
    use crate::status::ModelInfo;

    pub(crate) fn info() -> ModelInfo {
        ModelInfo {
            name: "drums".into(),
            labels: vec!["kick".into(), "snare".into()],
            most_steps: 8,
        }
    }

    pub(super) fn params() -> (PluginParams, Arc<Store>) {
        let (store, _) = Store::new();
        (PluginParams::new(&store, &Arc::default()), store)
    }

    #[test]
    fn ids_are_those_of_released_projects() {
        let params = Arc::new(params().0);
        let ids: Vec<String> = params
            .param_map()
            .into_iter()
            .map(|(id, _, _)| id)
            .collect();
        let of_pads = [
            "class",
            "seed",
            "steps",
            "guidance",
            "length",
            "variation",
            "generate",
            "vary",
            "morph_with",
            "morph_amount",
            "morph",
            "lock",
            "gain",
            "pan",
            "pitch",
            "fine",
            "start",
            "mode",
            "reverse",
            "attack",
            "hold",
            "decay",
            "sustain",
            "release",
            "filter",
            "cutoff",
            "resonance",
            "choke",
            "velocity",
            "output",
        ];
        let mut released: Vec<String> = ["gain", "keys", "pad", "generate_all", "revision"]
            .map(str::to_owned)
            .into();
        for pad in 1..=PADS {
            released.extend(of_pads.map(|id| format!("{id}_{pad}")));
        }
        assert_eq!(ids, released);
    }

    #[test]
    fn defaults_play_each_sound_as_it_is() {
        let (params, store) = params();
        for (pad, of_pad) in params.pads.iter().enumerate() {
            let choke = u8::from(HATS.contains(&pad));
            let (cutoff, found) = (2000.0, of_pad.controls());
            assert_eq!(
                found,
                PadControls {
                    choke,
                    cutoff,
                    ..PadControls::PLAIN
                }
            );
            store.ask(pad, Task::Generate);
            let request = store.pending(pad).unwrap();
            let job = Job::of(of_pad, &info(), request, &Project::default()).unwrap();
            assert_eq!((job.recipe.seed, job.init), (pad as u64 + 1, None));
        }
    }

    #[test]
    fn keys_play_pads_or_the_selected_one_at_their_pitch() {
        let (params, _) = params();
        assert_eq!(
            [35, 36, 51, 52].map(|key| params.route(key)),
            [None, Some((0, None)), Some((15, None)), None]
        );
    }
}
