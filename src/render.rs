//! From settings and a seed to a [`Clip`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::audio::{Clip, Level, Measures, finish};
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::diffusion::guidance::Guided;
use crate::diffusion::inpaint::Inpainted;
use crate::diffusion::sampler::{Sampler, Step, unit_noise};
use crate::diffusion::schedule::{NoiseSchedule, Schedule};
use crate::diffusion::{Denoiser, Preconditioned};
use crate::error::{Error, Result};
use crate::network::{Conditioning, Engine, Network};
use crate::noise::Noise;
use crate::portrait::{Portrait, Quality};
use crate::representation::{Decoding, Format, Frames, Representation};

/// First number of the place ([`Noise::at`]) that rendering draws from.
const PLACE: u64 = 0x2000;

/// How far the mixture of two sounds is varied half-way between them, where their noises cannot be found.
const MORPH_STRENGTH: f64 = 0.6;

/// Longest sound that is rendered, in seconds.
const MAX_SECONDS: f64 = 60.0;

/// What to render, all but the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderSettings {
    /// One of the model's classes, or none for any sound.
    pub class: Option<String>,
    /// Steps from noise to sound.
    pub steps: usize,
    /// How to walk.
    pub sampler: Sampler,
    /// How the steps are spread.
    pub schedule: Schedule,
    /// Highest noise level; the walk begins there.
    pub sigma_max: f64,
    /// Lowest noise level before zero.
    pub sigma_min: f64,
    /// How strongly to insist on the class; 1 does not.
    pub guidance: f64,
    /// Noise levels at which guidance acts, `(low, high)`.
    pub guidance_interval: (f64, f64),
    /// Length in seconds, or the model's own.
    pub seconds: Option<f64>,
    /// What to begin with instead of pure noise.
    pub init: Option<Init>,
    /// The model's descriptors by name; those not named are neutral. Of the [`Quality`]s, if any is named, the others
    /// are left to the model; if none is, they are those of a learnt sound.
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
        /// How far to go from it: 0 keeps it, 1 forgets it.
        strength: f64,
    },
    /// A sound of which parts are kept and the rest is varied, to go with them. Over waveforms what is kept comes out
    /// as it was but for its level; over frames of a spectrum its neighbours reach into it by half a window.
    Inpaint {
        /// In any format.
        clip: Clip,
        /// From when to when, in seconds.
        kept: Vec<(f64, f64)>,
        /// How far to go from the rest: 1 forgets it.
        strength: f64,
    },
    /// Two sounds to find one between: the noises that the walk turns into each are found by walking
    /// back, and mixed along the arc between them [DDIM, Sec. 5.3]. Guidance does not act.
    ///
    /// A sampler that draws noise cannot be walked back: with it the frames of the sounds are mixed, and the mixture
    /// is varied, the more the farther it is from both (with a strength of 0.6 half-way).
    Morph {
        /// In any format.
        clips: [Clip; 2],
        /// How far from the first to the second, 0 to 1.
        share: f64,
    },
}

impl Default for RenderSettings {
    fn default() -> Self {
        Self {
            class: None,
            steps: 16,
            sampler: Sampler::DpmPp2m,
            schedule: Schedule::LogSnr,
            sigma_max: 20.0,
            sigma_min: 0.01,
            guidance: 1.5,
            guidance_interval: (0.2, 5.0),
            seconds: None,
            init: None,
            descriptors: Vec::new(),
            level: Level::default(),
        }
    }
}

impl RenderSettings {
    /// The settings that suit a model.
    pub fn of(config: &ModelConfig) -> Self {
        let plain = Self {
            sigma_max: config.sigma_max,
            guidance_interval: config.representation.guidance_interval(),
            ..Self::default()
        };
        match &config.rendering {
            None => plain,
            Some(own) => Self {
                sampler: own.sampler,
                schedule: own.schedule,
                guidance: own.guidance,
                steps: own.steps,
                ..plain
            },
        }
    }
}

/// How far a rendering has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
}

/// What the sound of one item is asked to be like.
#[derive(Clone, Copy)]
enum Told {
    /// Like a learnt sound, which this seed draws.
    Drawn(u64),
    Like(Portrait),
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
        let mut network = config.network.build(config.surroundings(), &mut weights)?;
        network.engine().freeze();
        let denoiser = Preconditioned {
            network,
            sigma_data: config.sigma_data,
            target: config.target,
        };
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

    /// One sound.
    ///
    /// # Errors
    /// As [`Renderer::render_batch`].
    pub fn render(
        &self,
        settings: &RenderSettings,
        seed: u64,
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Clip> {
        let mut clips = self.render_batch(settings, &[seed], on_step)?;
        Ok(clips.pop().expect("one seed gives one clip"))
    }

    /// One sound for each seed, together. A seed's noise is the same in any batch.
    ///
    /// # Errors
    /// When a setting makes no sense or does not fit the model; [`Error::Stopped`] when `on_step` broke
    /// off, or [`Engine::stop_with`]'s flag did.
    pub fn render_batch(
        &self,
        settings: &RenderSettings,
        seeds: &[u64],
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Clip>> {
        if seeds.is_empty() {
            return Ok(Vec::new());
        }
        let (format, wanted_frames) = self.format(settings)?;
        let representation = self
            .config
            .representation
            .build(&format, &self.config.statistics)?;
        let (t, c) = representation.shape();
        let told: Vec<Told> = match &settings.init {
            None => seeds.iter().map(|&seed| Told::Drawn(seed)).collect(),
            Some(Init::Vary { clip, .. } | Init::Inpaint { clip, .. }) => {
                let own = Portrait::of(&Measures::of(clip));
                vec![Told::Like(own); seeds.len()]
            }
            // The more a walk is told, the less it can be walked back.
            Some(Init::Morph { .. }) => vec![Told::Like(Portrait::default()); seeds.len()],
        };
        let cond = self.conditioning(settings, &told)?;
        let ladder = NoiseSchedule {
            kind: settings.schedule,
            sigma_min: settings.sigma_min,
            sigma_max: settings.sigma_max,
        };
        let mut noises: Vec<Noise> = seeds
            .iter()
            .map(|&seed| Noise::at(seed, &[PLACE]))
            .collect();
        let noise = |noises: &mut [Noise]| unit_noise(noises, t, c, &self.device);
        let class = settings.class.as_ref();
        let mut guidance = class.map_or(1.0, |_| settings.guidance);
        let (mut before, mut sigmas) = (0, ladder.sigmas(settings.steps)?);
        let mut known = None;
        let x = match &settings.init {
            None => (noise(&mut noises)? * sigmas[0])?,
            Some(Init::Vary { clip, strength }) => {
                let start = strength_to_sigma(&ladder, *strength)?;
                sigmas = ladder.sigmas_from(settings.steps, start)?;
                let clip = self.encode(clip, &format, &*representation)?;
                clip.broadcast_add(&(noise(&mut noises)? * sigmas[0])?)?
            }
            Some(Init::Inpaint {
                clip,
                kept,
                strength,
            }) => {
                let is_kept = self.kept_frames(&format, t, kept)?;
                let start = strength_to_sigma(&ladder, *strength)?;
                if *strength < 1.0 {
                    sigmas = ladder.sigmas_from(settings.steps, start)?;
                }
                let clip = self.encode(clip, &format, &*representation)?;
                let x = clip.broadcast_add(&(noise(&mut noises)? * sigmas[0])?)?;
                known = Some((clip, is_kept));
                x
            }
            Some(Init::Morph { clips, share }) if settings.sampler.is_stochastic() => {
                check_share(*share)?;
                guidance = 1.0;
                let strength = MORPH_STRENGTH * (std::f64::consts::PI * share).sin();
                sigmas =
                    ladder.sigmas_from(settings.steps, strength_to_sigma(&ladder, strength)?)?;
                let [from, to] =
                    [&clips[0], &clips[1]].map(|clip| self.encode(clip, &format, &*representation));
                let mixed = ((from? * (1.0 - share))? + (to? * *share)?)?;
                mixed.broadcast_add(&(noise(&mut noises)? * sigmas[0])?)?
            }
            Some(Init::Morph { clips, share }) => {
                check_share(*share)?;
                guidance = 1.0;
                // A walk that ends in zero has one step more than the way back.
                before = sigmas.len() - 2;
                let cond = self.conditioning(settings, &[Told::Like(Portrait::default()); 2])?;
                let clips =
                    [&clips[0], &clips[1]].map(|clip| self.encode(clip, &format, &*representation));
                let [from, to] = clips;
                let clips = Tensor::cat(&[from?, to?], 0)?;
                let back = &mut |step: &Step| {
                    on_step(Progress {
                        step: step.index + 1,
                        steps: 2 * step.of + 1,
                    })
                };
                let sampler = settings.sampler;
                let begun = sampler.invert(&self.denoiser, &cond, clips, &sigmas, back)?;
                let [from, to] = [begun.narrow(0, 0, 1)?, begun.narrow(0, 1, 1)?];
                along_arc(&from, &to, *share)?.repeat((seeds.len(), 1, 1))?
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
        let values = frames
            .to_device(&Device::Cpu)?
            .flatten_all()?
            .to_vec1::<f32>()?;
        let decode = |(data, &seed): (&[f32], &u64)| -> Result<Clip> {
            if data.iter().any(|x| !x.is_finite()) {
                return Err(self.damaged());
            }
            let frames = Frames {
                frames: t,
                width: c,
                data: data.to_vec(),
            };
            let crop = self.config.learnt_crop();
            let clip = representation.decode(&frames, &Decoding { seed, crop })?;
            if !clip.is_finite() {
                return Err(self.damaged());
            }
            let mut clip = clip.slice(0, wanted_frames);
            finish(&mut clip, settings.level);
            Ok(clip)
        };
        values.par_chunks(t * c).zip(seeds).map(decode).collect()
    }

    fn damaged(&self) -> Error {
        let reason = "the model is damaged: it renders values that are not numbers";
        Error::checkpoint(&self.config.name, reason)
    }

    /// The format to render in, and how much of it is wanted. A sound shorter than the model's is
    /// rendered whole and cut: the model knows sounds only from their onset.
    fn format(&self, settings: &RenderSettings) -> Result<(Format, usize)> {
        let own = self.config.format;
        let Some(seconds) = settings.seconds else {
            return Ok((own, own.len_frames));
        };
        if !(0.01..=MAX_SECONDS).contains(&seconds) {
            return Err(Error::setting(format!(
                "seconds: expected 0.01 to {MAX_SECONDS}, found {seconds}"
            )));
        }
        let wanted = (seconds * own.sample_rate as f64).round() as usize;
        let unit = self.config.representation.hop() * self.config.network.frames_multiple();
        let len_frames = wanted.max(own.len_frames).div_ceil(unit) * unit;
        let frames = self.config.representation.frames(len_frames);
        self.config.network.check_frames(frames)?;
        Ok((Format { len_frames, ..own }, wanted))
    }

    /// Which of `t` frames lie in what is kept, by their middles.
    fn kept_frames(&self, format: &Format, t: usize, kept: &[(f64, f64)]) -> Result<Vec<bool>> {
        let rate = f64::from(format.sample_rate);
        let seconds = format.len_frames as f64 / rate;
        for &(from, to) in kept {
            if !(0.0 <= from && from < to && from < seconds) {
                return Err(Error::setting(format!(
                    "what to keep: expected a part of the first {seconds:.3} s, found {from} to {to} s"
                )));
            }
        }
        let hop = self.config.representation.hop() as f64 / rate;
        let middle = |i: usize| (i as f64 + 0.5) * hop;
        let within = |at: f64| kept.iter().any(|&(from, to)| (from..to).contains(&at));
        let is_kept: Vec<bool> = (0..t).map(|i| within(middle(i))).collect();
        if is_kept.iter().all(|&kept| kept) || !is_kept.contains(&true) {
            return Err(Error::setting(format!(
                "what to keep: expected a part of {seconds:.3} s, found {}",
                if is_kept[0] { "all of it" } else { "nothing" }
            )));
        }
        Ok(is_kept)
    }

    /// Class, descriptors and portraits of a batch; a quality that is set goes before all of `of`.
    fn conditioning(&self, settings: &RenderSettings, of: &[Told]) -> Result<Conditioning> {
        let config = &self.config;
        let class = settings
            .class
            .as_deref()
            .map(|label| config.class(label))
            .transpose()?;
        let mut row = vec![0.0; config.descriptors.len()];
        let mut wanted = Portrait::default();
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
                wanted.set(quality, Some(*value));
                continue;
            }
            let index = config.descriptor(name)?;
            if !(-3.0..=3.0).contains(value) {
                return Err(Error::setting(format!(
                    "descriptor {name}: expected -3 to 3, found {value}"
                )));
            }
            row[index] = *value;
        }
        let cond = Conditioning::new(&vec![class; of.len()], &row.repeat(of.len()), &self.device)?;
        if config.portraits.is_empty() {
            return Ok(cond);
        }
        let told = |of: &Told| match *of {
            _ if wanted != Portrait::default() => wanted.columns(),
            Told::Drawn(seed) => self.drawn(class, seed).columns(),
            Told::Like(portrait) => portrait.columns(),
        };
        cond.with_portraits(of.iter().map(told).collect::<Vec<_>>().as_flattened())
    }

    /// What the sound of `seed` is asked to be like where nobody says: what some learnt sound of the class is.
    fn drawn(&self, class: Option<u32>, seed: u64) -> Portrait {
        let all = self.config.portraits.iter();
        let own: Vec<&Portrait> = all
            .filter(|(label, _)| class.is_none() || *label == class)
            .map(|(_, portrait)| portrait)
            .collect();
        let mut noise = Noise::at(seed, &[PLACE, 1]);
        match own.len() {
            0 => Portrait::default(),
            n => own[noise.below(n)].jittered(&mut noise),
        }
    }

    /// The clean frames of a clip in any format, `[1, T, C]`.
    fn encode(
        &self,
        clip: &Clip,
        format: &Format,
        representation: &dyn Representation,
    ) -> Result<Tensor> {
        if !clip.is_finite() {
            return Err(Error::setting(
                "the sound to begin with: expected numbers, found NaN or infinity",
            ));
        }
        let mut clip = clip
            .resampled(format.sample_rate)?
            .with_channels(format.channels)
            .slice(0, format.len_frames);
        let peak = clip.peak();
        if peak <= 0.0 {
            return Err(Error::setting(format!(
                "the sound to begin with: expected something in its first {:.2} s, found silence",
                format.len_frames as f64 / f64::from(format.sample_rate)
            )));
        }
        // The level that the model learnt sounds at.
        clip.scale(0.95 / peak);
        let frames = representation.encode(&clip)?;
        Ok(Tensor::from_vec(
            frames.data,
            (1, frames.frames, frames.width),
            &self.device,
        )?)
    }
}

fn check_share(share: f64) -> Result<()> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "share: expected 0 to 1, found {share}"
    )))
}

/// The point at `share` of the way between two tensors, along the arc between their directions, so that a
/// mixture of noises is as strong as they are.
fn along_arc(from: &Tensor, to: &Tensor, share: f64) -> Result<Tensor> {
    let dot = |a: &Tensor, b: &Tensor| -> Result<f64> {
        Ok(f64::from((a * b)?.sum_all()?.to_scalar::<f32>()?))
    };
    let cosine = dot(from, to)? / (dot(from, from)? * dot(to, to)?).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    // Of directions that are the same or opposite, there is no one arc.
    let weights = if angle.sin() > 1e-3 {
        [1.0 - share, share].map(|share| (share * angle).sin() / angle.sin())
    } else {
        [1.0 - share, share]
    };
    Ok(((from * weights[0])? + (to * weights[1])?)?)
}

/// Noise level for a variation: from near the lowest at strength 0 to the highest at 1, evenly in `ln sigma`.
fn strength_to_sigma(ladder: &NoiseSchedule, strength: f64) -> Result<f64> {
    if !(0.0..=1.0).contains(&strength) {
        return Err(Error::setting(format!(
            "strength: expected 0 to 1, found {strength}"
        )));
    }
    let lowest = 1.5 * ladder.sigma_min;
    Ok(lowest * (ladder.sigma_max / lowest).powf(strength))
}
