//! Every parameter of the plugin: id, unit, range, smoothing.
//!
//! An id never changes once released: projects and automation name parameters by it. Those of pads end
//! in the pad's number, `gain_1` to `gain_16`.

use std::sync::Arc;

use audiodiff::render::Init;
use audiodiff::{Error, Result};
use nice_plug::prelude::*;

use crate::generator::{Job, Names, Status};
use crate::state::{PADS, Project, ProjectField, Recipe, Request, Store, Task};
use crate::voice::{FilterKind, Mode, Offsets, PadControls};

/// Choices for a class: the pad's own, any, and 62 of the model's. The range must not depend on the
/// model, for automation is stored as a share of it.
const MOST_CLASSES: i32 = 63;

/// What a parameter says that leaves the choice to the pad or the model.
const AUTO: &str = "Auto";

/// Longest length that can be asked for, seconds.
const MAX_SECONDS: f32 = 8.0;

/// The MIDI key of the first pad: C1, where General MIDI has its bass drum.
pub const FIRST_KEY: u8 = 36;

/// The key that plays a sound as it is in keys mode: middle C.
pub const ROOT_KEY: u8 = 60;

/// What each pad makes unless it is told otherwise, in the order of General MIDI's drums: words of which
/// a class's name should have one, the first above all.
const DRUMS: [&[&str]; PADS] = [
    &["kick", "bassdrum", "bd", "808"],
    &["rim", "sidestick", "stick", "perc"],
    &["snare", "sd", "snr"],
    &["clap", "clp", "snap"],
    &["snare", "sd", "snr"],
    &["tom"],
    &["hatclosed", "closedhat", "hihat", "hat", "ch"],
    &["tom"],
    &["hatclosed", "closedhat", "hihat", "hat", "ch"],
    &["tom"],
    &["hatopen", "openhat", "oh", "hat"],
    &["tom"],
    &["perc", "conga", "bongo", "tom"],
    &["cymbal", "crash", "ride"],
    &["perc", "conga", "bongo", "tom"],
    &["cymbal", "ride", "crash"],
];

/// Hats silence each other.
const HATS: [usize; 3] = [6, 8, 10];

/// What of a pad can be modulated voice by voice; the index is part of the id that hosts use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Modulated {
    Gain,
    Pan,
    Pitch,
    Cutoff,
}

impl Modulated {
    const ALL: [Self; 4] = [Self::Gain, Self::Pan, Self::Pitch, Self::Cutoff];

    fn id(self, pad: usize) -> u32 {
        (pad * 8 + self as usize) as u32
    }

    fn parse(id: u32) -> Option<(usize, Self)> {
        let (pad, which) = (id as usize / 8, id as usize % 8);
        (pad < PADS).then_some((pad, *Self::ALL.get(which)?))
    }
}

/// What one pad makes and how it plays.
#[derive(Debug, Params)]
pub struct PadParams {
    /// 0 for the pad's own, 1 for any, else one of the model's classes, from 2 on.
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
    /// Seconds; 0 is the model's own length.
    #[id = "length"]
    pub length: FloatParam,
    /// How far a variation goes from the sound it begins with.
    #[id = "variation"]
    pub variation: FloatParam,
    /// Switching it, either way, makes the sound that the parameters above describe. Either way,
    /// because a host's own window has a switch for it and no button; a button's second edge asks
    /// for what is being made already, which changes nothing.
    #[id = "generate"]
    pub generate: BoolParam,
    /// Switching it on makes a variation of the pad's sound.
    #[id = "vary"]
    pub vary: BoolParam,
    /// The other pad of a morph, from 1 on.
    #[id = "morph_with"]
    pub morph_with: IntParam,
    /// How far a morph goes towards the other pad's sound.
    #[id = "morph_amount"]
    pub morph_amount: FloatParam,
    /// Switching it on makes a sound between the pad's and the other's.
    #[id = "morph"]
    pub morph: BoolParam,
    /// Whether the pad keeps its sound whatever is asked.
    #[id = "lock"]
    pub lock: BoolParam,

    /// A factor.
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
    /// Share of the sound that is left out at its beginning.
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
    /// A factor.
    #[id = "sustain"]
    pub sustain: FloatParam,
    /// Milliseconds.
    #[id = "release"]
    pub release: FloatParam,
    /// What passes.
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
    /// Where it is heard, if the plugin has more than one output.
    #[id = "output"]
    pub output: EnumParam<Route>,
}

/// Where a pad is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Route {
    /// With the others.
    #[id = "main"]
    Main,
    /// On an output of its own; where the host has not connected it, with the others.
    #[id = "own"]
    Own,
}

/// What the host shows and automates, and what it stores besides.
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
    /// Switching it, either way, makes all sounds that their pads describe.
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
    /// The parameters of one instance, whose sounds are in `store`. Class names are shown once
    /// `status` knows them. `route` is where pads are heard at first.
    pub fn new(store: &Arc<Store>, status: &Arc<Status>, route: Route) -> Self {
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
                move |_| {
                    (0..PADS).for_each(|pad| asked.ask(pad, Task::Generate));
                },
            )),
            revision: IntParam::new("Revision", 0, IntRange::Linear { min: 0, max: 999 })
                .hide()
                .non_automatable(),
            pads: std::array::from_fn(|pad| PadParams::new(pad, store, status, route)),
            project: ProjectField(store.clone()),
        }
    }

    /// The pad that a key plays, and by how many semitones from its own pitch.
    pub fn route(&self, key: u8) -> Option<(usize, f32)> {
        if self.keys.value() {
            let pad = usize::try_from(self.pad.value() - 1).ok()?;
            return Some((pad.min(PADS - 1), f32::from(key) - f32::from(ROOT_KEY)));
        }
        let pad = usize::from(key.checked_sub(FIRST_KEY)?);
        (pad < PADS).then_some((pad, 0.0))
    }

    /// The pad that a host's modulation of one voice is for, and the change it makes.
    ///
    /// Real-time safe: reads atomics.
    pub fn modulation(&self, id: u32, offset: f32) -> Option<(usize, impl Fn(&mut Offsets))> {
        let (pad, which) = Modulated::parse(id)?;
        let params = &self.pads[pad];
        let param = match which {
            Modulated::Gain => &params.gain,
            Modulated::Pan => &params.pan,
            Modulated::Pitch => &params.pitch,
            Modulated::Cutoff => &params.cutoff,
        };
        let (now, then) = (param.value(), param.preview_modulated(offset));
        Some((pad, move |offsets: &mut Offsets| match which {
            Modulated::Gain => offsets.gain = then / now.max(f32::MIN_POSITIVE),
            Modulated::Pan => offsets.pan = then - now,
            Modulated::Pitch => offsets.pitch = then - now,
            Modulated::Cutoff => offsets.cutoff = (then / now).log2(),
        }))
    }
}

impl PadParams {
    fn new(pad: usize, store: &Arc<Store>, status: &Arc<Status>, route: Route) -> Self {
        // Many hosts list names without their groups.
        let name = |name: &str| format!("Pad {} {name}", pad + 1);
        let share = |what: &str, default: f32| {
            FloatParam::new(
                name(what),
                default,
                FloatRange::Linear { min: 0.0, max: 1.0 },
            )
            .with_unit(" %")
            .with_value_to_string(formatters::v2s_f32_percentage(1))
            .with_string_to_value(formatters::s2v_f32_percentage())
        };
        let milliseconds = |what: &str, default: f32, min: f32, max: f32| {
            let factor = FloatRange::skew_factor(-2.0);
            FloatParam::new(name(what), default, FloatRange::Skewed { min, max, factor })
                .with_unit(" ms")
                .with_step_size(0.1)
        };
        let (shown, typed, taken) = (status.clone(), status.clone(), status.clone());
        let ask = |task: Task, both: bool| {
            let store = store.clone();
            Arc::new(move |on: bool| {
                if on || both {
                    store.ask(pad, task);
                }
            })
        };
        Self {
            class: IntParam::new(
                name("Class"),
                0,
                IntRange::Linear {
                    min: 0,
                    max: MOST_CLASSES,
                },
            )
            .with_value_to_string(Arc::new(move |class| {
                class_to_string(shown.names().as_ref(), class)
            }))
            .with_string_to_value(Arc::new(move |text| {
                string_to_class(typed.names().as_ref(), text)
            })),
            seed: IntParam::new(
                name("Seed"),
                pad as i32 + 1,
                IntRange::Linear { min: 0, max: 9999 },
            ),
            steps: IntParam::new(name("Steps"), 0, IntRange::Linear { min: 0, max: 64 })
                .with_value_to_string(Arc::new(move |steps| {
                    steps_to_string(taken.names().map(|names| names.most_steps), steps)
                }))
                .with_string_to_value(Arc::new(string_to_steps)),
            guidance: FloatParam::new(
                name("Guidance"),
                0.0,
                FloatRange::Linear { min: 0.0, max: 5.0 },
            )
            .with_step_size(0.01)
            .with_value_to_string(Arc::new(|weight| match weight {
                0.0 => AUTO.into(),
                weight => format!("{weight:.2}"),
            }))
            .with_string_to_value(Arc::new(|text| auto_or(text, str::parse))),
            length: FloatParam::new(
                name("Length"),
                0.0,
                FloatRange::Linear {
                    min: 0.0,
                    max: MAX_SECONDS,
                },
            )
            .with_step_size(0.01)
            .with_value_to_string(Arc::new(|seconds| {
                if seconds > 0.0 {
                    format!("{seconds:.2} s")
                } else {
                    AUTO.into()
                }
            }))
            .with_string_to_value(Arc::new(|text| {
                auto_or(text, |text| text.trim_end_matches('s').trim_end().parse())
            })),
            variation: share("Variation", 0.3),
            generate: BoolParam::new(name("Generate"), false)
                .with_callback(ask(Task::Generate, true)),
            vary: BoolParam::new(name("Vary"), false).with_callback(ask(Task::Vary, false)),
            morph_with: IntParam::new(
                name("Morph with"),
                (pad + 1) as i32 % PADS as i32 + 1,
                IntRange::Linear {
                    min: 1,
                    max: PADS as i32,
                },
            ),
            morph_amount: share("Morph amount", 0.5),
            morph: BoolParam::new(name("Morph"), false).with_callback(ask(Task::Morph, false)),
            lock: BoolParam::new(name("Lock"), false),

            gain: gain(&name("Gain"), 0.0).with_poly_modulation_id(Modulated::Gain.id(pad)),
            pan: FloatParam::new(
                name("Pan"),
                0.0,
                FloatRange::Linear {
                    min: -1.0,
                    max: 1.0,
                },
            )
            .with_value_to_string(formatters::v2s_f32_panning())
            .with_string_to_value(formatters::s2v_f32_panning())
            .with_poly_modulation_id(Modulated::Pan.id(pad)),
            pitch: FloatParam::new(
                name("Pitch"),
                0.0,
                FloatRange::Linear {
                    min: -24.0,
                    max: 24.0,
                },
            )
            .with_unit(" st")
            .with_step_size(0.01)
            .with_poly_modulation_id(Modulated::Pitch.id(pad)),
            fine: FloatParam::new(
                name("Fine"),
                0.0,
                FloatRange::Linear {
                    min: -100.0,
                    max: 100.0,
                },
            )
            .with_unit(" ct")
            .with_step_size(0.1),
            start: share("Start", 0.0),
            mode: EnumParam::new(name("Mode"), Mode::OneShot),
            reverse: BoolParam::new(name("Reverse"), false),
            attack: milliseconds("Attack", 0.0, 0.0, 2000.0),
            hold: milliseconds("Hold", 0.0, 0.0, 2000.0),
            decay: milliseconds("Decay", 1000.0, 5.0, 10_000.0),
            sustain: share("Sustain", 1.0),
            release: milliseconds("Release", 200.0, 5.0, 5000.0),
            filter: EnumParam::new(name("Filter"), FilterKind::Off),
            cutoff: FloatParam::new(
                name("Cutoff"),
                2000.0,
                FloatRange::Skewed {
                    min: 20.0,
                    max: 20_000.0,
                    factor: FloatRange::skew_factor(-2.5),
                },
            )
            .with_value_to_string(formatters::v2s_f32_hz_then_khz(1))
            .with_string_to_value(formatters::s2v_f32_hz_then_khz())
            .with_poly_modulation_id(Modulated::Cutoff.id(pad)),
            resonance: share("Resonance", 0.0),
            choke: IntParam::new(
                name("Choke group"),
                i32::from(HATS.contains(&pad)),
                IntRange::Linear { min: 0, max: 8 },
            )
            .with_value_to_string(Arc::new(|group| match group {
                0 => "None".to_owned(),
                group => group.to_string(),
            }))
            .with_string_to_value(Arc::new(|text| match text.trim() {
                text if text.eq_ignore_ascii_case("none") => Some(0),
                text => text.parse().ok(),
            })),
            velocity: share("Velocity", 1.0),
            output: EnumParam::new(name("Output"), route),
        }
    }

    /// What `request`, which is for this pad, asks of a model whose names these are, given the sounds there
    /// are.
    ///
    /// # Errors
    /// When the class is not one of the model's, or there is nothing to vary or to morph with.
    pub fn job(&self, names: &Names, request: Request, project: &Project) -> Result<Job> {
        let class = match self.class.value() {
            0 => own_class(request.pad, &names.labels).cloned(),
            1 => None,
            n => Some(names.labels.get(n as usize - 2).cloned().ok_or_else(|| {
                Error::setting(format!(
                    "class: expected 2 to {}, 0 for the pad's own or 1 for any, found {n}",
                    names.labels.len() + 1
                ))
            })?),
        };
        let seed = u64::from(self.seed.value().unsigned_abs());
        let length = self.length.value();
        let mut recipe = Recipe {
            model: names.model.clone(),
            class,
            seed,
            steps: self.steps.value().unsigned_abs(),
            guidance: self.guidance.value(),
            seconds: (length > 0.0).then_some(length),
            variation: None,
            morph: None,
            file: None,
        };
        let sound = |pad: usize| {
            project.sound(pad).ok_or_else(|| {
                Error::setting(format!("pad {}: there is no sound to begin with", pad + 1))
            })
        };
        let init = match request.task {
            Task::Generate => None,
            Task::Vary => {
                let sound = sound(request.pad)?;
                // Asked again and again, it goes on from where it is.
                let last = sound.recipe();
                recipe.seed = last.variation.map_or(seed, |_| last.seed.wrapping_add(1));
                let amount = self.variation.value();
                recipe.variation = Some(amount);
                Some(Init::Vary {
                    clip: sound.clip(),
                    strength: f64::from(amount),
                })
            }
            Task::Morph => {
                let from = sound(request.pad)?;
                let to = sound((self.morph_with.value() - 1).clamp(0, PADS as i32 - 1) as usize)?;
                let last = from.recipe();
                recipe.seed = last.morph.map_or(seed, |_| last.seed.wrapping_add(1));
                // What the model was told about both.
                recipe.class = last
                    .class
                    .clone()
                    .filter(|_| last.class == to.recipe().class);
                let amount = self.morph_amount.value();
                recipe.morph = Some(amount);
                Some(Init::Morph {
                    clips: [from.clip(), to.clip()],
                    share: f64::from(amount),
                })
            }
        };
        Ok(Job { recipe, init })
    }

    /// What the pad's voices obey.
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

/// Pages of eight for hardware: the whole, then for each pad what makes its sound and what plays it.
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

fn gain(name: &str, default_db: f32) -> FloatParam {
    let range = FloatRange::gain_range(-60.0, 6.0);
    FloatParam::new(name, util::db_to_gain(default_db), range)
        .with_unit(" dB")
        .with_value_to_string(formatters::v2s_f32_gain_to_db(1))
        .with_string_to_value(formatters::s2v_f32_gain_to_db())
}

/// The class that a pad makes of its own accord: that of its drum if the model has one, else one that
/// falls to it by turns.
fn own_class(pad: usize, labels: &[String]) -> Option<&String> {
    let plain = |label: &String| -> String {
        label
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let of_drum = DRUMS[pad].iter().find_map(|word| {
        let exact = labels.iter().find(|label| plain(label) == *word);
        exact.or_else(|| {
            labels
                .iter()
                .find(|label| word.len() > 2 && plain(label).contains(word))
        })
    });
    of_drum.or_else(|| labels.get(pad % labels.len().max(1)))
}

/// What a number was typed as, where zero leaves it to the model.
fn auto_or<T: Default, E>(
    text: &str,
    parse: impl Fn(&str) -> std::result::Result<T, E>,
) -> Option<T> {
    let text = text.trim();
    if text.eq_ignore_ascii_case(AUTO) {
        return Some(T::default());
    }
    parse(text).ok()
}

/// Steps that are asked for, and those that the model takes where these are fewer.
fn steps_to_string(most: Option<usize>, steps: i32) -> String {
    match (steps, most) {
        (0, _) => AUTO.to_owned(),
        (steps, Some(most)) if steps as usize > most => format!("{steps} ({most} taken)"),
        (steps, _) => steps.to_string(),
    }
}

fn string_to_steps(text: &str) -> Option<i32> {
    let asked = text.split_once('(').map_or(text, |(asked, _)| asked);
    auto_or(asked.trim(), str::parse)
}

fn class_to_string(names: Option<&Arc<Names>>, class: i32) -> String {
    let label = names.and_then(|names| {
        names
            .labels
            .get(usize::try_from(class).ok()?.checked_sub(2)?)
    });
    match (class, label) {
        (0, _) => AUTO.to_owned(),
        (1, _) => "Any".to_owned(),
        (_, Some(label)) => label.clone(),
        (n, None) => format!("Class {}", n - 1),
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
    use crate::state::StoredSound;
    use crate::state::tests::clip;

    fn names() -> Names {
        Names {
            model: "drums".into(),
            labels: vec!["kick".into(), "snare".into()],
            most_steps: 8,
        }
    }

    fn params() -> (PluginParams, Arc<Store>) {
        let (store, _) = Store::new();
        (
            PluginParams::new(&store, &Arc::default(), Route::Main),
            store,
        )
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
            let job = of_pad.job(&names(), request, &Project::default()).unwrap();
            assert_eq!((job.recipe.seed, job.init), (pad as u64 + 1, None));
        }
    }

    #[test]
    fn variations_and_morphs_go_on_from_where_they_are() {
        let (params, store) = params();
        let pad = &params.pads[2];
        let mut project = Project::default();
        project.pads.resize(PADS, None);
        for task in [Task::Vary, Task::Morph] {
            store.ask(2, task);
            let request = store.pending(2).unwrap();
            let error = pad.job(&names(), request, &project).unwrap_err();
            assert!(error.to_string().contains("pad 3"), "{error}");
        }
        let (begin, other) = (clip(100, 0.1), clip(100, 0.2));
        let sound = |recipe, clip| Some(StoredSound::new(recipe, clip));
        project.pads[2] = sound(crate::state::tests::recipe(77), &begin);
        let request = store.pending(2).unwrap();
        let error = pad.job(&names(), request, &project).unwrap_err();
        assert!(error.to_string().contains("pad 4"), "{error}");
        project.pads[3] = sound(crate::state::tests::recipe(78), &other);
        let clips = [2, 3].map(|pad| project.pads[pad].as_ref().unwrap().clip());

        let mut job = pad.job(&names(), request, &project).unwrap();
        assert_eq!((job.recipe.seed, job.recipe.morph), (3, Some(0.5)));
        assert_eq!(job.recipe.class.as_deref(), Some("kick"), "both are");
        let share = 0.5;
        assert_eq!(job.init, Some(Init::Morph { clips, share }));
        project.pads[2] = sound(job.recipe, &begin);
        project.pads[3] = sound(Recipe::of_file("x.wav".as_ref()), &other);
        job = pad.job(&names(), request, &project).unwrap();
        assert_eq!((job.recipe.seed, job.recipe.class), (4, None));

        store.ask(2, Task::Vary);
        let request = store.pending(2).unwrap();
        for seed in [3, 4, 5] {
            let job = pad.job(&names(), request, &project).unwrap();
            assert_eq!((job.recipe.seed, job.recipe.variation), (seed, Some(0.3)));
            assert!(matches!(job.init, Some(Init::Vary { .. })));
            project.pads[2] = sound(job.recipe, &begin);
        }
    }

    #[test]
    fn pads_take_the_drum_of_their_key_or_their_turn() {
        let labels = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let drums = labels("bass clap cymbal hat_closed hat_open kick rim snare tom");
        let own = |pad, labels: &[String]| own_class(pad, labels).cloned();
        for (pad, class) in [
            (0, "kick"),
            (2, "snare"),
            (3, "clap"),
            (6, "hat_closed"),
            (10, "hat_open"),
        ] {
            assert_eq!(own(pad, &drums).as_deref(), Some(class));
        }
        let packs = labels("My_Kicks Open-Hats Snares");
        assert_eq!(own(0, &packs).as_deref(), Some("My_Kicks"));
        assert_eq!(own(10, &packs).as_deref(), Some("Open-Hats"));
        assert_eq!(own(5, &labels("cat dog")).as_deref(), Some("dog"));
        assert_eq!(own(5, &[]), None);
    }

    #[test]
    fn keys_play_pads_or_the_selected_one_at_their_pitch() {
        let (params, _) = params();
        assert_eq!(
            [35, 36, 51, 52].map(|key| params.route(key)),
            [None, Some((0, 0.0)), Some((15, 0.0)), None]
        );
    }

    #[test]
    fn modulation_of_a_voice_is_relative_to_the_parameter() {
        let (params, _) = params();
        let change = |which: Modulated, offset: f32| {
            let (pad, change) = params.modulation(which.id(3), offset).unwrap();
            assert_eq!(pad, 3);
            let mut offsets = Offsets {
                gain: 1.0,
                pan: 0.0,
                pitch: 0.0,
                cutoff: 0.0,
            };
            change(&mut offsets);
            offsets
        };
        assert!((change(Modulated::Pitch, 0.25).pitch - 12.0).abs() < 1e-4);
        assert!((change(Modulated::Pan, -0.5).pan + 1.0).abs() < 1e-6);
        assert!((change(Modulated::Cutoff, 9.0).cutoff - 10f32.log2()).abs() < 1e-4);
        assert!((change(Modulated::Gain, 9.0).gain - util::db_to_gain(6.0)).abs() < 1e-4);
        assert!(params.modulation(4, 0.1).is_none() && params.modulation(128, 0.1).is_none());
    }

    #[test]
    fn steps_say_how_many_of_them_the_model_takes() {
        let texts = |most| [0, 1, 8, 9, 64].map(|steps| steps_to_string(most, steps));
        assert_eq!(texts(None), [AUTO, "1", "8", "9", "64"]);
        assert_eq!(texts(Some(1000)), texts(None));
        assert_eq!(
            texts(Some(8)),
            [AUTO, "1", "8", "9 (8 taken)", "64 (8 taken)"]
        );
        for steps in 0..=64 {
            for most in [None, Some(8)] {
                let text = steps_to_string(most, steps);
                assert_eq!(string_to_steps(&text), Some(steps), "{text}");
            }
        }
        assert_eq!(string_to_steps(" auto "), Some(0));
        assert_eq!(string_to_steps("many"), None);
    }

    #[test]
    fn classes_are_called_by_their_names_as_soon_as_these_are_known() {
        let names = Some(Arc::new(names()));
        assert_eq!(class_to_string(None, 3), "Class 2");
        assert_eq!(class_to_string(names.as_ref(), 3), "snare");
        assert_eq!(class_to_string(names.as_ref(), 0), AUTO);
        assert_eq!(class_to_string(names.as_ref(), 1), "Any");
        assert_eq!(class_to_string(names.as_ref(), 4), "Class 3");
        for class in 0..=MOST_CLASSES {
            for names in [None, names.as_ref()] {
                assert_eq!(
                    string_to_class(names, &class_to_string(names, class)),
                    Some(class)
                );
            }
        }
        assert_eq!(string_to_class(names.as_ref(), " SNARE "), Some(3));
        assert_eq!(string_to_class(names.as_ref(), "oboe"), None);
    }
}
