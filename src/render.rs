//! From settings and a seed to a sound.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::attributes::{Attribute, Attributes};
use crate::audio::{Clip, Ending, Level, Measures, fade_end, finish, onset};
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::diffusion::guidance::Guided;
use crate::diffusion::inpaint::Inpainted;
use crate::diffusion::sampler::{Sampler, Step, unit_noise};
use crate::diffusion::schedule::{NoiseSchedule, Schedule};
use crate::diffusion::{Denoiser, Preconditioned};
use crate::error::{Error, Result};
use crate::network::{Conditioning, Engine, Network};
use crate::noise::Noise;
use crate::representation::{Crop, Decoding, Format, Frames, Representation};

mod conditions;
mod mend;

use conditions::{Asked, Conditions};
pub use mend::Remark;

/// First number of the place ([`Noise::at`]) that rendering draws from.
const PLACE: u64 = 0x2000;

/// How far the mixture of two sounds is varied half-way between them, where their noises cannot be found.
const MORPH_STRENGTH: f64 = 0.6;

/// Longest sound that is rendered, in seconds.
const MAX_SECONDS: f64 = 60.0;

/// Most steps that a model which was tuned to few is taken through: 16 are no finer, and 64 spoil the sound.
pub const MOST_FEW_STEPS: usize = 8;

/// A sound that is to be played faster is made longer first, but not by more than this factor.
const MOST_LONGER: f64 = 4.0;

/// A length that is asked for takes this much of a sound, for its attack and what follows its last hundredth.
const ROOM: f64 = 1.25;

/// How often a sound is made that misses what is asked, each time like another learnt sound; the best is taken.
const ATTEMPTS: u64 = 4;

/// What lies before the onset of a sound to begin with is remarked on from so many seconds on.
const LEFT_OUT: f64 = 0.01;

/// What to render, all but the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderSettings {
    /// One of the model's classes, or none for any sound: the class of a learnt sound is drawn, in the proportions of the
    /// data, where the model knows what its sounds were like ([`ModelConfig::attributes`]); others are given no class.
    pub class: Option<String>,
    /// Steps from noise to sound. A model that was tuned to few takes at most [`MOST_FEW_STEPS`].
    pub steps: usize,
    /// The sampler.
    pub sampler: Sampler,
    /// How the steps are spread.
    pub schedule: Schedule,
    /// Highest noise level, where sampling begins.
    pub sigma_max: f64,
    /// Lowest noise level before zero.
    pub sigma_min: f64,
    /// How strongly to insist on the class; 1 does not.
    pub guidance: f64,
    /// Noise levels at which guidance acts, `(low, high)`.
    pub guidance_interval: (f64, f64),
    /// Length in seconds, exactly; or the model's own, of which only what sounds is kept.
    pub seconds: Option<f64>,
    /// Whether a one-shot of the model's own length ends where it falls below -72 dB of its peak. Models that do not
    /// say that they learnt one-shots trim nothing.
    pub trim: bool,
    /// What to begin with instead of pure noise.
    pub init: Option<Init>,
    /// The model's descriptors by name; those not named are neutral. The [`Attribute`]s that
    /// are not named are those of a learnt sound which is like those that are. Pitch, length and brightness are measured
    /// in what was made, and mended; `varispeed` plays what was made faster, by two semitones for 1.
    pub descriptors: Vec<(String, f32)>,
    /// How loud the result is made.
    pub level: Level,
}

/// A beginning other than pure noise.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// A sound to vary.
    Vary {
        /// In any format.
        clip: Clip,
        /// How far to go from it: 0 keeps it, 1 forgets it and makes the sound that the seed makes without it.
        strength: f64,
    },
    /// A sound of which parts are kept and the rest is varied, to go with them. Over waveforms what is kept comes out
    /// as it was but for its level; over frames of a spectrum its neighbours reach into it by half a window.
    Inpaint {
        /// In any format.
        clip: Clip,
        /// From when to when, in seconds of the clip.
        kept: Vec<(f64, f64)>,
        /// How far to go from the rest: 1 forgets it.
        strength: f64,
    },
    /// Two sounds to find one between: the noises that sampling turns into each are found by inverting
    /// back, and mixed along the arc between them [DDIM, Sec. 5.3]. Guidance does not act.
    ///
    /// A sampler that draws noise cannot be inverted: with it the frames of the sounds are mixed, and the mixture
    /// is varied, the more the farther it is from both (with a strength of 0.6 half-way).
    Morph {
        /// In any format.
        clips: [Clip; 2],
        /// How far from the first to the second, 0 to 1.
        fraction: f64,
    },
}

impl RenderSettings {
    /// The settings that suit a model.
    pub fn of(config: &ModelConfig) -> Self {
        let own = config.rendering.as_ref();
        Self {
            class: None,
            steps: own.map_or(16, |own| own.steps),
            sampler: own.map_or(Sampler::DpmPp2m, |own| own.sampler),
            schedule: own.map_or(Schedule::LogSnr, |own| own.schedule),
            sigma_max: config.sigma_max,
            sigma_min: 0.01,
            guidance: own.map_or(Self::GUIDANCE, |own| own.guidance),
            guidance_interval: config.representation.guidance_interval(),
            seconds: None,
            trim: true,
            init: None,
            descriptors: Vec::new(),
            level: Level::default(),
        }
    }

    /// How strongly an ordinary model insists on the class.
    pub const GUIDANCE: f64 = 1.5;
}

/// A sound, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The sound.
    pub clip: Clip,
    /// The class that it was made as: the one asked for, or the one drawn. None where the model was given none.
    pub class: Option<String>,
    /// Steps taken.
    pub steps: usize,
    /// What was asked and could not be had.
    pub remarks: Vec<Remark>,
}

/// How far a rendering has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
}

/// What is to be made of one seed.
#[derive(Debug, Clone, Copy)]
struct Item {
    seed: u64,
    conditions: Conditions,
    /// Frames of audio to make, at least the model's own, and how many of them, once mended, are wanted.
    made: usize,
    wanted: usize,
}

/// What the settings come to, for all seeds.
struct Order<'a> {
    settings: &'a RenderSettings,
    asked: Asked,
    /// The clips of [`RenderSettings::init`].
    given: Vec<Given>,
}

/// A clip to begin with, in a model's rate and channels.
struct Given {
    clip: Clip,
    onset: usize,
}

/// As much of it as is sampled, its onset where the model's sounds have theirs.
struct Beginning {
    clip: Clip,
    /// Seconds of the clip as it was given that lie before this one; below zero where silence was put in front.
    start: f64,
}

/// A model ready to render.
pub struct Renderer {
    config: ModelConfig,
    denoiser: Preconditioned<Box<dyn Network>>,
    device: Device,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Renderer {
    /// Puts a model on `device`.
    ///
    /// # Errors
    /// When a parameter is missing or of another shape, or the device refuses the memory.
    pub fn new(checkpoint: &Checkpoint, device: &Device) -> Result<Self> {
        let config = checkpoint.config.clone();
        let move_over =
            |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(device)?));
        let mut weights: BTreeMap<_, _> = checkpoint
            .weights
            .iter()
            .map(move_over)
            .collect::<Result<_>>()?;
        let mut denoiser = config.denoiser(&mut weights)?;
        denoiser.network.engine().freeze();
        Ok(Self {
            config,
            denoiser,
            device: device.clone(),
        })
    }

    /// What runs the network: its precision, and a way to break off a rendering in the middle of a step.
    pub fn engine(&mut self) -> &mut Engine {
        self.denoiser.network.engine()
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The settings that suit the model.
    pub fn settings(&self) -> RenderSettings {
        RenderSettings::of(&self.config)
    }

    /// One sound.
    ///
    /// # Errors
    /// When a setting makes no sense or does not fit the model.
    pub fn render(&self, settings: &RenderSettings, seed: u64) -> Result<Rendered> {
        self.render_with(settings, seed, &mut |_| ControlFlow::Continue(()))
    }

    /// One sound; `on_step` hears how far it has come, and may stop it.
    ///
    /// # Errors
    /// As [`Renderer::render_batch`].
    pub fn render_with(
        &self,
        settings: &RenderSettings,
        seed: u64,
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered> {
        let mut made = self.render_batch(settings, &[seed], on_step)?;
        Ok(made.pop().expect("one seed gives one sound"))
    }

    /// One sound for each seed, together. A seed's sound is the same in any batch.
    ///
    /// # Errors
    /// When a setting makes no sense or does not fit the model; [`Error::Stopped`] when `on_step` broke
    /// off, or [`Engine::stop_with`]'s flag did.
    pub fn render_batch(
        &self,
        settings: &RenderSettings,
        seeds: &[u64],
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Rendered>> {
        let asked = Asked::new(settings, &self.config)?;
        let (steps, mut shared) = (self.steps(settings), Vec::new());
        if steps < settings.steps {
            let asked = settings.steps;
            shared.push(Remark::Steps {
                asked,
                taken: steps,
            });
        }
        if self.config.is_few_step() && settings.sampler != Sampler::Consistency {
            let asked = settings.sampler;
            shared.push(Remark::Sampler { asked });
        }
        let clips = match &settings.init {
            Some(Init::Vary { clip, .. } | Init::Inpaint { clip, .. }) => {
                std::slice::from_ref(clip)
            }
            Some(Init::Morph { clips, .. }) => clips,
            None => &[],
        };
        let given = clips.iter().map(|clip| self.given(clip));
        let order = Order {
            settings,
            asked,
            given: given.collect::<Result<_>>()?,
        };
        let (asked, given) = (&order.asked, &order.given);
        let mut own = None;
        if let Some(Init::Vary { .. } | Init::Inpaint { .. }) = &settings.init {
            let beginning = self.beginning(&given[0], &self.config.format)?;
            if beginning.start > LEFT_OUT {
                let seconds = beginning.start;
                shared.push(Remark::LeftOut { seconds });
            }
            if matches!(settings.init, Some(Init::Vary { .. })) {
                own = Some(Attributes::of(&Measures::of(&beginning.clip)));
            }
        }
        let (mut end, mut at_end) = (Progress { step: 0, steps: 0 }, false);
        // A sound that is made anew is not begun anew for those who look on: what is left stays the last step.
        let mut on_step = |at: Progress| {
            if !at_end {
                end = at;
                at_end = at.step == at.steps;
            }
            on_step(end)
        };
        let mut rendered: Vec<Option<Rendered>> = seeds.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..seeds.len()).collect();
        for attempt in 0..ATTEMPTS {
            let conditions =
                |seed| asked.conditions(&self.config, settings.init.as_ref(), own, seed, attempt);
            let item = |&i: &usize| -> Result<Item> {
                let (seed, conditions) = (seeds[i], conditions(seeds[i]));
                let (made, wanted) = self.lengths(settings, asked, &conditions)?;
                Ok(Item {
                    seed,
                    conditions,
                    made,
                    wanted,
                })
            };
            let items: Vec<Item> = open.iter().map(item).collect::<Result<_>>()?;
            let sounds = self.render_items(&order, &items, &mut on_step)?;
            let mut failed = Vec::new();
            for ((i, item), mut sound) in open.into_iter().zip(items).zip(sounds) {
                let miss = |sound: &Rendered| {
                    let misses = sound.remarks.iter().map(Remark::miss);
                    misses.fold(0.0, f32::max)
                };
                let missed = miss(&sound);
                if missed > 0.0 && item.conditions.like {
                    failed.push(i);
                }
                sound.remarks.splice(0..0, shared.iter().copied());
                if rendered[i].as_ref().is_none_or(|last| missed < miss(last)) {
                    rendered[i] = Some(sound);
                }
            }
            open = failed;
            if open.is_empty() {
                break;
            }
        }
        Ok(rendered.into_iter().flatten().collect())
    }

    /// The sounds of these items.
    fn render_items(
        &self,
        order: &Order<'_>,
        items: &[Item],
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Rendered>> {
        let Order {
            settings, asked, ..
        } = order;
        // What is of one length, and has a class or none, is sampled together.
        let mut groups: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            let key = (item.made, item.conditions.class.is_some());
            groups.entry(key).or_default().push(i);
        }
        let (count, mut before) = (groups.len(), 0);
        let mut rendered: Vec<Option<Rendered>> = items.iter().map(|_| None).collect();
        for ((len_frames, _), members) in groups {
            let group: Vec<Item> = members.iter().map(|&i| items[i]).collect();
            let format = Format {
                len_frames,
                ..self.config.format
            };
            let representation = self
                .config
                .representation
                .build(&format, &self.config.statistics)?;
            let mut taken = 0;
            let mut step = |at: Progress| {
                taken = at.steps;
                on_step(Progress {
                    step: before + at.step,
                    steps: at.steps * count,
                })
            };
            let values = self.sample(order, &group, &format, &*representation, &mut step)?;
            before += taken;
            let (t, c) = representation.shape();
            let finished = |(data, item): (&[f32], &Item)| {
                let frames = Frames {
                    frames: t,
                    width: c,
                    data: data.to_vec(),
                };
                let clip = self.decoded(&frames, &*representation, item)?;
                let (clip, remarks) = self.finished(clip, settings, asked, item);
                let class = item.conditions.class;
                Ok(Rendered {
                    clip,
                    class: class.map(|class| self.config.labels[class as usize].clone()),
                    steps: self.steps(settings),
                    remarks,
                })
            };
            let finished: Vec<Rendered> = values
                .par_chunks(t * c)
                .zip(&group)
                .map(finished)
                .collect::<Result<_>>()?;
            for (i, made) in members.into_iter().zip(finished) {
                rendered[i] = Some(made);
            }
        }
        Ok(rendered.into_iter().flatten().collect())
    }

    /// How many of the steps that the settings ask for are taken.
    fn steps(&self, settings: &RenderSettings) -> usize {
        if self.config.is_few_step() && settings.sampler == Sampler::Consistency {
            settings.steps.min(MOST_FEW_STEPS)
        } else {
            settings.steps
        }
    }

    /// The frames of a group of one length, sampled from noise or from what the settings begin with.
    fn sample(
        &self,
        order: &Order<'_>,
        group: &[Item],
        format: &Format,
        representation: &dyn Representation,
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<f32>> {
        let Order {
            settings,
            asked,
            given,
        } = order;
        let (t, c) = representation.shape();
        let conditions: Vec<Conditions> = group.iter().map(|item| item.conditions).collect();
        let cond = self.conditioning(asked, &conditions)?;
        let schedule = NoiseSchedule {
            kind: settings.schedule,
            sigma_min: settings.sigma_min,
            sigma_max: settings.sigma_max,
        };
        let steps = self.steps(settings);
        let mut noises: Vec<Noise> = group
            .iter()
            .map(|item| Noise::at(item.seed, &[PLACE]))
            .collect();
        let noise = |noises: &mut [Noise]| unit_noise(noises, t, c, &self.device);
        let encode = |given: &Given| -> Result<(Tensor, f64)> {
            let beginning = self.beginning(given, format)?;
            let frames = representation.encode(&beginning.clip)?;
            let shape = (1, frames.frames, frames.width);
            let frames = Tensor::from_vec(frames.data, shape, &self.device)?;
            Ok((frames, beginning.start))
        };
        let has_class = conditions
            .iter()
            .all(|conditions| conditions.class.is_some());
        let mut guidance = if has_class { settings.guidance } else { 1.0 };
        let (mut before, mut sigmas) = (0, schedule.sigmas(steps)?);
        let mut known = None;
        let x = match &settings.init {
            None => (noise(&mut noises)? * sigmas[0])?,
            Some(Init::Vary { strength, .. }) => {
                let start = strength_to_sigma(&schedule, *strength)?;
                if *strength < 1.0 {
                    sigmas = schedule.sigmas_from(steps, start)?;
                    let (clip, _) = encode(&given[0])?;
                    clip.broadcast_add(&(noise(&mut noises)? * sigmas[0])?)?
                } else {
                    (noise(&mut noises)? * sigmas[0])?
                }
            }
            Some(Init::Inpaint { kept, strength, .. }) => {
                let start = strength_to_sigma(&schedule, *strength)?;
                if *strength < 1.0 {
                    sigmas = schedule.sigmas_from(steps, start)?;
                }
                let (clip, begin) = encode(&given[0])?;
                let is_kept = self.kept_frames(format, t, kept, begin)?;
                let noise = (noise(&mut noises)? * sigmas[0])?;
                let x = match *strength < 1.0 {
                    true => clip.broadcast_add(&noise)?,
                    false => noise,
                };
                known = Some((clip, is_kept));
                x
            }
            Some(Init::Morph { fraction, .. }) if settings.sampler.is_stochastic() => {
                check_fraction(*fraction)?;
                guidance = 1.0;
                let strength = MORPH_STRENGTH * (std::f64::consts::PI * fraction).sin();
                sigmas = schedule.sigmas_from(steps, strength_to_sigma(&schedule, strength)?)?;
                let ((from, _), (to, _)) = (encode(&given[0])?, encode(&given[1])?);
                let mixed = ((from * (1.0 - fraction))? + (to * *fraction)?)?;
                mixed.broadcast_add(&(noise(&mut noises)? * sigmas[0])?)?
            }
            Some(Init::Morph { fraction, .. }) => {
                check_fraction(*fraction)?;
                guidance = 1.0;
                // Sampling that ends in zero has one step more than inversion.
                before = sigmas.len() - 2;
                let n = group.len();
                let cond = self.conditioning(asked, &[&conditions[..], &conditions].concat())?;
                let ((from, _), (to, _)) = (encode(&given[0])?, encode(&given[1])?);
                let clips = Tensor::cat(&[from.repeat((n, 1, 1))?, to.repeat((n, 1, 1))?], 0)?;
                let back = &mut |step: &Step| {
                    on_step(Progress {
                        step: step.index + 1,
                        steps: 2 * step.of + 1,
                    })
                };
                let sampler = settings.sampler;
                let begun = sampler.invert(&self.denoiser, &cond, clips, &sigmas, back)?;
                let between = |i: usize| {
                    let (from, to) = (begun.narrow(0, i, 1)?, begun.narrow(0, n + i, 1)?);
                    slerp(&from, &to, *fraction)
                };
                Tensor::cat(&(0..n).map(between).collect::<Result<Vec<_>>>()?, 0)?
            }
        };
        let guided = Guided::new(&self.denoiser, guidance, settings.guidance_interval)?;
        let inpainted = known
            .map(|(clip, is_kept)| Inpainted::new(&guided, &clip, &is_kept))
            .transpose()?;
        let denoiser: &dyn Denoiser = match &inpainted {
            Some(inpainted) => inpainted,
            None => &guided,
        };
        let steps = before + sigmas.len() - 1;
        let frames =
            settings
                .sampler
                .run(denoiser, &cond, x, &sigmas, &mut noises, &mut |step| {
                    on_step(Progress {
                        step: before + step.index + 1,
                        steps,
                    })
                })?;
        let frames = match &inpainted {
            Some(inpainted) => inpainted.completed(&frames)?,
            None => frames,
        };
        Ok(frames
            .to_device(&Device::Cpu)?
            .flatten_all()?
            .to_vec1::<f32>()?)
    }

    /// The sound of these frames, as the network left it.
    fn decoded(
        &self,
        frames: &Frames,
        representation: &dyn Representation,
        item: &Item,
    ) -> Result<Clip> {
        if frames.data.iter().any(|x| !x.is_finite()) {
            return Err(self.damaged());
        }
        let with = Decoding {
            seed: item.seed,
            crop: self.config.training_crop(),
        };
        let clip = representation.decode(frames, &with)?;
        if clip.is_finite() {
            Ok(clip)
        } else {
            Err(self.damaged())
        }
    }

    /// The sound as it was asked for, ended and levelled.
    fn finished(
        &self,
        mut clip: Clip,
        settings: &RenderSettings,
        asked: &Asked,
        item: &Item,
    ) -> (Clip, Vec<Remark>) {
        let mut remarks = Vec::new();
        let is_one_shot = self.config.training_crop() == Some(Crop::Onset);
        if is_one_shot {
            mend::hold_tail(&mut clip, self.config.format.len_frames);
        }
        let mut clip = mend::mended(clip, asked, &item.conditions, &mut remarks);
        let end = clip.len_frames();
        if is_one_shot && end < item.wanted {
            fade_end(&mut clip);
        }
        let mut clip = clip.slice(0, item.wanted);
        mend::missed(&clip, asked, &mut remarks);
        let ending = match is_one_shot {
            true if settings.trim && settings.seconds.is_none() => Ending::Trimmed,
            true => Ending::Faded,
            false => Ending::Cut,
        };
        if let (Err(reached), Level::Loudness(asked)) =
            (finish(&mut clip, settings.level, ending), settings.level)
        {
            remarks.push(Remark::Loudness { asked, reached });
        }
        (clip, remarks)
    }

    fn damaged(&self) -> Error {
        let reason = "the model is damaged: it renders values that are not numbers";
        Error::checkpoint(&self.config.name, reason)
    }

    /// How many frames of audio are made, and how many of them are wanted once the sound was mended. A sound shorter than
    /// the model's is rendered whole and cut: the model knows sounds only from their onset.
    fn lengths(
        &self,
        settings: &RenderSettings,
        asked: &Asked,
        conditions: &Conditions,
    ) -> Result<(usize, usize)> {
        let own = self.config.format.len_frames;
        let rate = f64::from(self.config.format.sample_rate);
        if let Some(seconds) = settings
            .seconds
            .filter(|s| !(0.01..=MAX_SECONDS).contains(s))
        {
            return Err(Error::setting(format!(
                "seconds: expected 0.01 to {MAX_SECONDS}, found {seconds}"
            )));
        }
        let asked_length = asked.attributes.get(Attribute::Length);
        let wanted = match settings.seconds {
            Some(seconds) => (seconds * rate).round(),
            // What is played faster, and nothing else, is shorter.
            None if asked.attributes == Attributes::default() => {
                (own as f64 / conditions.speed).round()
            }
            None => {
                let room = asked_length.map_or(0.0, |seconds| ROOM * f64::from(seconds) * rate);
                room.max(own as f64)
            }
        };
        let longer = match settings.seconds.is_none() && asked.attributes == Attributes::default() {
            true => own as f64,
            false => (wanted * conditions.speed.clamp(1.0, MOST_LONGER)).min(MAX_SECONDS * rate),
        };
        let wanted = wanted as usize;
        if longer as usize <= own {
            return Ok((own, wanted));
        }
        let unit = self.config.representation.hop() * self.config.network.frames_multiple();
        let made = (longer as usize).div_ceil(unit) * unit;
        let frames = self.config.representation.frames(made);
        self.config.network.check_frames(frames)?;
        Ok((made, wanted))
    }

    /// Which of `t` frames lie in what is kept, by their middles; `kept` is in seconds of a clip of which they begin at
    /// `begin`.
    fn kept_frames(
        &self,
        format: &Format,
        t: usize,
        kept: &[(f64, f64)],
        begin: f64,
    ) -> Result<Vec<bool>> {
        let rate = f64::from(format.sample_rate);
        let first = begin.max(0.0);
        let last = begin + format.len_frames as f64 / rate;
        for &(from, to) in kept {
            if !(0.0 <= from && from < to && from < last && to > first) {
                return Err(Error::setting(format!(
                    "what to keep: expected a part of what lies from {first:.3} s, where the sound begins, to \
                     {last:.3} s, found {from} to {to} s"
                )));
            }
        }
        let hop = self.config.representation.hop() as f64 / rate;
        let middle = |i: usize| begin + (i as f64 + 0.5) * hop;
        // The silence put in front belongs to the first frame of the clip.
        let within = |at: f64| {
            let at = at.max(0.0);
            kept.iter().any(|&(from, to)| (from..to).contains(&at))
        };
        let is_kept: Vec<bool> = (0..t).map(|i| within(middle(i))).collect();
        if is_kept.iter().all(|&kept| kept) || !is_kept.contains(&true) {
            return Err(Error::setting(format!(
                "what to keep: expected a part of {first:.3} to {last:.3} s, found {}",
                if is_kept[0] { "all of it" } else { "nothing" }
            )));
        }
        Ok(is_kept)
    }

    /// Class, descriptors and attributes of a batch.
    fn conditioning(&self, asked: &Asked, conditions: &[Conditions]) -> Result<Conditioning> {
        let classes: Vec<Option<u32>> = conditions
            .iter()
            .map(|conditions| conditions.class)
            .collect();
        let cond = Conditioning::new(&classes, &asked.row.repeat(conditions.len()), &self.device)?;
        if self.config.attributes.is_empty() {
            return Ok(cond);
        }
        let columns: Vec<_> = conditions
            .iter()
            .map(|conditions| conditions.attributes.columns())
            .collect();
        cond.with_attributes(columns.as_flattened())
    }

    /// A clip in any format in the model's rate and channels.
    fn given(&self, clip: &Clip) -> Result<Given> {
        if !clip.is_finite() {
            return Err(Error::setting(
                "the sound to begin with: expected numbers, found NaN or infinity",
            ));
        }
        let format = &self.config.format;
        let clip = clip
            .resampled(format.sample_rate)?
            .with_channels(format.channels);
        let peak = clip.peak();
        if peak <= 0.0 {
            return Err(Error::setting(
                "the sound to begin with: expected something in it, found silence",
            ));
        }
        let onset = onset(&clip, peak);
        Ok(Given { clip, onset })
    }

    /// A clip as the model learnt its sounds: at its level, and where they were cut at their onset, with the onset where
    /// theirs lies. Elsewhere only silence that is longer than the model's sounds is left out.
    fn beginning(&self, given: &Given, format: &Format) -> Result<Beginning> {
        let &Given { ref clip, onset } = given;
        let is_one_shot = self.config.training_crop() == Some(Crop::Onset);
        let lead_in = format.lead_in();
        let start = match is_one_shot || onset >= format.len_frames {
            true => onset as isize - lead_in as isize,
            false => 0,
        };
        let pad = (-start).max(0) as usize;
        let from = start.max(0) as usize;
        let padded = match pad {
            0 => Cow::Borrowed(clip),
            _ => {
                let silence = vec![0.0; pad];
                let lead = |channel: &Vec<f32>| [&silence[..], channel].concat();
                let channels = clip.channels().iter().map(lead).collect();
                Cow::Owned(Clip::new(format.sample_rate, channels))
            }
        };
        let mut aligned = padded.slice(from, format.len_frames);
        if is_one_shot {
            // What precedes the onset fades in, and what is cut at the end out.
            for channel in aligned.channels_mut() {
                let before = &mut channel[pad..lead_in.max(pad)];
                let length = before.len() as f32;
                for (n, x) in before.iter_mut().enumerate() {
                    let place = (n as f32 + 0.5) / length;
                    *x *= 0.5 - 0.5 * (std::f32::consts::PI * place).cos();
                }
            }
            if padded.len_frames() > from + format.len_frames {
                fade_end(&mut aligned);
            }
        }
        let peak = aligned.peak();
        if peak <= 0.0 {
            return Err(Error::setting(format!(
                "the sound to begin with: expected something in its first {:.2} s, found silence",
                format.len_frames as f64 / f64::from(format.sample_rate)
            )));
        }
        // The level that the model learnt sounds at.
        aligned.scale(0.95 / peak);
        Ok(Beginning {
            clip: aligned,
            start: start as f64 / f64::from(format.sample_rate),
        })
    }
}

fn check_fraction(fraction: f64) -> Result<()> {
    if (0.0..=1.0).contains(&fraction) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "fraction: expected 0 to 1, found {fraction}"
    )))
}

/// The point at `fraction` of the way between two tensors, along the arc between their directions, so that a
/// mixture of noises is as strong as they are.
fn slerp(from: &Tensor, to: &Tensor, fraction: f64) -> Result<Tensor> {
    let dot = |a: &Tensor, b: &Tensor| -> Result<f64> {
        Ok(f64::from((a * b)?.sum_all()?.to_scalar::<f32>()?))
    };
    let cosine = dot(from, to)? / (dot(from, from)? * dot(to, to)?).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    // Of directions that are the same or opposite, there is no one arc.
    let weights = if angle.sin() > 1e-3 {
        [1.0 - fraction, fraction].map(|fraction| (fraction * angle).sin() / angle.sin())
    } else {
        [1.0 - fraction, fraction]
    };
    Ok(((from * weights[0])? + (to * weights[1])?)?)
}

/// Noise level for a variation: from near the lowest at strength 0 to the highest at 1, evenly in `ln sigma`.
fn strength_to_sigma(schedule: &NoiseSchedule, strength: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&strength) {
        return Err(Error::setting(format!(
            "strength: expected 0 to 1, found {strength}"
        )));
    }
    let lowest = 1.5 * schedule.sigma_min;
    Ok(lowest * (schedule.sigma_max / lowest).powf(strength))
}
