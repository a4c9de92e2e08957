//! Every parameter of the plugin: id, unit, range, smoothing. They are what a host automates; everything else is in the
//! project ([`crate::kit`]).
//!
//! An id never changes once released: projects and automation name parameters by it. Those of pads end
//! in the pad's number, `gain_1` to `gain_16`.

use std::sync::{Arc, OnceLock};

use nice_plug::prelude::*;

use crate::kit::{Making, Playing, beats_to_seconds};
use crate::pad::{FIRST_SEEDS, PADS};
use crate::requests::Task;
use crate::store::{ProjectField, Store};
use crate::stored::Asked;
use crate::voice::PadControls;

mod macros;
mod modulation;
mod text;
mod values;

pub use macros::{MACROS, MacroValues, Macros};
use modulation::Modulated;
pub(crate) use text::quantity;
use text::{gain, hertz_text, pan_text};

/// The highest seed that can be asked for.
pub const MAX_SEED: i32 = 9999;

/// The ids of a pad's knobs, without its number.
const PAD_KNOBS: [&str; 11] = [
    "morph_amount",
    "gain",
    "pan",
    "pitch",
    "start",
    "attack",
    "decay",
    "sustain",
    "release",
    "cutoff",
    "resonance",
];

/// The knobs that are no pad's, which come before those that are.
const BEFORE_PADS: usize = 1 + MACROS.len();

/// How many knobs there are ([`PluginParams::knobs`]).
pub const KNOBS: usize = first_knob(PADS);

/// The first knob of a pad.
const fn first_knob(pad: usize) -> usize {
    BEFORE_PADS + pad * PAD_KNOBS.len()
}

/// The pad of a knob, and which of [`PAD_KNOBS`] it is there; none if it is no pad's.
fn pad_of(knob: usize) -> Option<(usize, usize)> {
    let it = knob.checked_sub(BEFORE_PADS)?;
    Some((it / PAD_KNOBS.len(), it % PAD_KNOBS.len()))
}

/// The id of a knob's parameter; the knobs are those of [`PluginParams::knobs`].
///
/// # Panics
/// When there is no such knob.
#[must_use]
pub fn knob_id(knob: usize) -> String {
    match pad_of(knob) {
        Some((pad, which)) => {
            assert!(pad < PADS, "there is no knob {knob}");
            format!("{}_{}", PAD_KNOBS[which], pad + 1)
        }
        None if knob == 0 => "gain".to_owned(),
        None => MACROS[knob - 1].to_owned(),
    }
}

/// The knob of the parameter that has this id, if it is one of a knob.
#[must_use]
pub fn knob_of(id: &str) -> Option<usize> {
    (0..KNOBS).find(|&knob| knob_id(knob) == id)
}

/// The parameters of one pad: how its sound is made, and how it is played.
#[derive(Debug, Params)]
pub struct PadParams {
    /// The seed of the noise: the same seed and settings make the same sound.
    #[id = "seed"]
    pub seed: IntParam,
    /// Switching it on makes the sound that the seed and the settings describe, unless the pad's came of the same ones:
    /// then it stays, however it was varied since.
    #[id = "generate"]
    pub generate: BoolParam,
    /// Switching it on makes a variation of the pad's sound.
    #[id = "vary"]
    pub vary: BoolParam,
    /// How far a morph goes towards the other pad's sound, 0 to 1.
    #[id = "morph_amount"]
    pub morph_amount: FloatParam,
    /// Switching it on makes a sound between the pad's and the other's.
    #[id = "morph"]
    pub morph: BoolParam,

    /// Linear, not dB.
    #[id = "gain"]
    pub gain: FloatParam,
    /// -1 left, 1 right.
    #[id = "pan"]
    pub pan: FloatParam,
    /// Semitones.
    #[id = "pitch"]
    pub pitch: FloatParam,
    /// Fraction of the sound that is left out at its beginning.
    #[id = "start"]
    pub start: FloatParam,
    /// Milliseconds.
    #[id = "attack"]
    pub attack: FloatParam,
    /// Milliseconds.
    #[id = "decay"]
    pub decay: FloatParam,
    /// Linear level after the decay, 0 to 1.
    #[id = "sustain"]
    pub sustain: FloatParam,
    /// Milliseconds.
    #[id = "release"]
    pub release: FloatParam,
    /// Hz.
    #[id = "cutoff"]
    pub cutoff: FloatParam,
    /// 0 flat, 1 close to ringing.
    #[id = "resonance"]
    pub resonance: FloatParam,
}

/// The parameters that the host shows and automates, and the project that it stores besides.
#[derive(Debug, Params)]
pub struct PluginParams {
    /// Gain of the whole, as a factor. Smoothed logarithmically because it is heard so.
    #[id = "gain"]
    pub gain: FloatParam,
    /// Switching it on makes all sounds that their pads describe, as [`PadParams::generate`] does.
    #[id = "generate_all"]
    pub generate_all: BoolParam,
    /// The same control of all pads at once.
    #[nested(group = "All pads")]
    pub macros: Macros,
    /// Changes with the sounds: the one way to tell a host that there is something to save.
    #[id = "revision"]
    pub revision: IntParam,
    /// The pads.
    #[nested(array, group = "Pad")]
    pub pads: [PadParams; PADS],

    /// What a kit holds of them, once that was asked for.
    kept: OnceLock<Vec<values::Kept>>,

    /// The sounds, how they were made, and the settings of the pads.
    #[persist = "project"]
    pub project: ProjectField,
}

impl PluginParams {
    /// The parameters of one instance, whose sounds are in `store`.
    pub fn new(store: &Arc<Store>) -> Self {
        let asked = store.clone();
        Self {
            gain: gain("Gain", -6.0).with_smoother(SmoothingStyle::Logarithmic(10.0)),
            // Parameters are set from any thread, the audio thread included; asking is made for it.
            generate_all: BoolParam::new("Generate all", false).with_callback(Arc::new(
                move |on| {
                    if on {
                        asked.ask_all(0..PADS, Task::Follow);
                    }
                },
            )),
            macros: Macros::default(),
            revision: IntParam::new("Revision", 0, IntRange::Linear { min: 0, max: 999 })
                .hide()
                .non_automatable(),
            pads: std::array::from_fn(|pad| PadParams::new(pad, store)),
            kept: OnceLock::new(),
            project: ProjectField(store.clone()),
        }
    }

    /// Everything that a knob turns, always in the same order: [`KNOBS`] of them.
    pub fn knobs(&self) -> impl Iterator<Item = &FloatParam> {
        let of_pads = self.pads.iter().flat_map(PadParams::knobs);
        std::iter::once(&self.gain)
            .chain(self.macros.all())
            .chain(of_pads)
    }

    /// The values of knobs that follow one another from `first` on, in their own units: as hosts and hands have set them,
    /// or controllers have turned them since.
    fn values<const N: usize>(&self, first: usize, knobs: [&FloatParam; N]) -> [f32; N] {
        let turning = self.project.0.turning();
        std::array::from_fn(|i| turning.value(first + i, knobs[i]))
    }

    fn values_of(&self, pad: usize) -> [f32; PAD_KNOBS.len()] {
        self.values(first_knob(pad), self.pads[pad].knobs())
    }

    /// The gain of the whole now, as a factor.
    ///
    /// Real-time safe: reads atomics.
    pub fn main_gain(&self) -> f32 {
        self.values(0, [&self.gain])[0]
    }

    /// The values of all macros now.
    ///
    /// Real-time safe: reads atomics.
    pub fn macro_values(&self) -> MacroValues {
        MacroValues::of(self.values(1, self.macros.all()))
    }

    /// How far a morph of a pad goes now, 0 to 1.
    ///
    /// Real-time safe: reads atomics.
    pub fn morph_amount(&self, pad: usize) -> f32 {
        self.values_of(pad)[0]
    }

    /// The values that a pad's voices follow at a tempo, in beats per minute.
    ///
    /// Real-time safe: reads atomics.
    pub fn controls(
        &self,
        pad: usize,
        playing: &Playing,
        macros: MacroValues,
        tempo: Option<f32>,
    ) -> PadControls {
        let [
            _,
            gain,
            pan,
            pitch,
            start,
            attack_ms,
            decay_ms,
            sustain,
            release_ms,
            cutoff,
            resonance,
        ] = self.values_of(pad);
        macros.turn(PadControls {
            gain,
            pan,
            pitch: pitch + playing.fine / 100.0,
            start,
            end: playing.end,
            fade_in_ms: playing.fade_in,
            fade_out_ms: playing.fade_out,
            loop_start: playing.loop_start,
            loop_end: playing.loop_end,
            cut_seconds: beats_to_seconds(playing.beats, tempo),
            mode: playing.mode,
            reverse: playing.reverse,
            attack_ms,
            hold_ms: playing.hold,
            decay_ms,
            sustain,
            release_ms,
            filter: playing.filter,
            cutoff,
            resonance,
            choke: playing.choke,
            velocity: playing.velocity,
            velocity_curve: playing.velocity_curve,
            velocity_cutoff: playing.velocity_cutoff,
            velocity_start: playing.velocity_start,
            voices: playing.voices,
            glide_ms: playing.glide,
            take: playing.take,
            drive: playing.drive,
            tone: playing.tone,
        })
    }
}

impl PadParams {
    fn new(pad: usize, store: &Arc<Store>) -> Self {
        // Many hosts list names without their groups.
        let name = |name: &str| format!("Pad {} {name}", pad + 1);
        let float = |what, default, min, max| {
            FloatParam::new(name(what), default, FloatRange::Linear { min, max })
        };
        let skewed = |what, default, min, max, skew| {
            let factor = FloatRange::skew_factor(skew);
            FloatParam::new(name(what), default, FloatRange::Skewed { min, max, factor })
        };
        let percent = |what, default, decimals| {
            float(what, default, 0.0, 1.0)
                .with_unit(" %")
                .with_value_to_string(formatters::v2s_f32_percentage(decimals))
                .with_string_to_value(formatters::s2v_f32_percentage())
        };
        let ms = |what, default, min, max| {
            skewed(what, default, min, max, -2.0)
                .with_unit(" ms")
                .with_step_size(0.1)
        };
        let ask = |what, task: Task| {
            let store = store.clone();
            BoolParam::new(name(what), false).with_callback(Arc::new(move |on: bool| {
                if on {
                    store.ask(pad, task);
                }
            }))
        };
        let seeds = IntRange::Linear {
            min: 0,
            max: MAX_SEED,
        };
        Self {
            seed: IntParam::new(name("Seed"), FIRST_SEEDS[pad], seeds),
            generate: ask("Generate", Task::Follow),
            vary: ask("Vary", Task::Vary),
            morph_amount: percent("Morph amount", 0.5, 0),
            morph: ask("Morph", Task::Morph),

            gain: gain(&name("Gain"), 0.0).with_poly_modulation_id(Modulated::Gain.id(pad)),
            pan: pan_text(float("Pan", 0.0, -1.0, 1.0))
                .with_poly_modulation_id(Modulated::Pan.id(pad)),
            pitch: float("Pitch", 0.0, -24.0, 24.0)
                .with_unit(" st")
                .with_step_size(0.01)
                .with_poly_modulation_id(Modulated::Pitch.id(pad)),
            start: percent("Start", 0.0, 1),
            attack: ms("Attack", 0.0, 0.0, 2000.0),
            decay: ms("Decay", 1000.0, 5.0, 10_000.0),
            sustain: percent("Sustain", 1.0, 0),
            release: ms("Release", 200.0, 5.0, 5000.0),
            cutoff: hertz_text(skewed("Cutoff", 2000.0, 20.0, 20_000.0, -2.5))
                .with_poly_modulation_id(Modulated::Cutoff.id(pad)),
            resonance: percent("Resonance", 0.0, 0),
        }
    }

    /// Those of [`PAD_KNOBS`].
    fn knobs(&self) -> [&FloatParam; PAD_KNOBS.len()] {
        [
            &self.morph_amount,
            &self.gain,
            &self.pan,
            &self.pitch,
            &self.start,
            &self.attack,
            &self.decay,
            &self.sustain,
            &self.release,
            &self.cutoff,
            &self.resonance,
        ]
    }

    /// What describes the pad's sound, with its settings; the seed is the parameter's unless it is given.
    pub fn asked(&self, making: &Making, seed: Option<i32>) -> Asked {
        Asked {
            class: making.class.clone(),
            seed: seed.unwrap_or_else(|| self.seed.value()),
            steps: making.steps,
            guidance: making.guidance,
            length: making.length,
            portrait: making.portrait,
        }
    }
}

/// Pages of eight for hardware: the whole, then for each pad one for making its sound and two for playing it.
pub fn remote_controls(params: &PluginParams, context: &mut impl RemoteControlsContext) {
    context.add_section("Instrument", |section| {
        section.add_page("All pads", |page| {
            params
                .macros
                .all()
                .into_iter()
                .for_each(|it| page.add_param(it));
        });
        section.add_page("Main", |page| {
            page.add_param(&params.gain);
            page.add_param(&params.generate_all);
        });
    });
    for (i, pad) in params.pads.iter().enumerate() {
        context.add_section(format!("Pad {}", i + 1), |section| {
            section.add_page("Make", |page| {
                page.add_param(&pad.seed);
                page.add_param(&pad.generate);
                page.add_param(&pad.vary);
                page.add_param(&pad.morph_amount);
                page.add_param(&pad.morph);
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
            section.add_page("Envelope", |page| {
                page.add_param(&pad.attack);
                page.add_param(&pad.decay);
                page.add_param(&pad.sustain);
                page.add_param(&pad.release);
            });
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::job::Job;
    use crate::kit::Kit;
    use crate::pad::HATS;
    use crate::portrait::Ranges;
    use crate::project::Project;
    use crate::status::ModelInfo;

    pub(crate) fn info() -> ModelInfo {
        ModelInfo {
            name: "drums".into(),
            labels: vec!["kick".into(), "snare".into()],
            own_steps: 4,
            most_steps: 8,
            ranges: Ranges::default(),
        }
    }

    pub(super) fn params() -> (PluginParams, Arc<Store>) {
        let (store, _) = Store::new();
        (PluginParams::new(&store), store)
    }

    #[test]
    fn ids_are_those_of_released_projects_and_hosts_are_given_no_more() {
        let params = Arc::new(params().0);
        let ids: Vec<String> = params
            .param_map()
            .into_iter()
            .map(|(id, _, _)| id)
            .collect();
        let of_pads = [
            "seed",
            "generate",
            "vary",
            "morph_amount",
            "morph",
            "gain",
            "pan",
            "pitch",
            "start",
            "attack",
            "decay",
            "sustain",
            "release",
            "cutoff",
            "resonance",
        ];
        let mut released: Vec<String> = ["gain", "generate_all"].map(str::to_owned).into();
        released.extend(MACROS.map(str::to_owned));
        released.push("revision".to_owned());
        for pad in 1..=PADS {
            released.extend(of_pads.map(|id| format!("{id}_{pad}")));
        }
        assert_eq!(ids, released);
        assert_eq!(ids.len(), 251);
    }

    #[test]
    fn every_knob_has_the_id_of_its_parameter() {
        let params = Arc::new(params().0);
        let ids = params.param_map();
        assert_eq!(params.knobs().count(), KNOBS);
        for (knob, param) in params.knobs().enumerate() {
            let found = ids.iter().find(|(_, it, _)| *it == param.as_ptr());
            let id = &found.expect("hosts are given all").0;
            assert_eq!((id, knob_of(id)), (&knob_id(knob), Some(knob)));
        }
        assert_eq!((knob_of("seed_1"), knob_of("gain_17")), (None, None));
    }

    #[test]
    fn defaults_play_each_sound_as_it_is() {
        let (params, store) = params();
        let kit = Kit::default();
        for (pad, of_pad) in params.pads.iter().enumerate() {
            let choke = u8::from(HATS.contains(&pad));
            let (cutoff, found) = (
                2000.0,
                params.controls(pad, &kit.pads[pad], params.macro_values(), None),
            );
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
            let project = Project::default();
            let job = Job::of(of_pad, &info(), &request, &project).unwrap();
            let seed = FIRST_SEEDS[pad] as u64;
            assert_eq!((job.recipe.seed, job.init), (seed, None));
        }
    }
}
