//! [`Init`]: sounds to begin with, and what sampling makes of them.

use std::ops::ControlFlow;
use std::sync::{Mutex, OnceLock};

use candle_core::Tensor;

use super::batch::Group;
use super::{Progress, Renderer, lock};
use crate::attributes::Attributes;
use crate::audio::effect::align_onset;
use crate::audio::{Clip, Measures, fade_end, onset};
use crate::checkpoint::ModelConfig;
use crate::diffusion::sampler::Step;
use crate::diffusion::schedule::NoiseSchedule;
use crate::diffusion::values;
use crate::error::{Error, Result};
use crate::network::Conditioning;
use crate::noise::{Noise, unit_noise};
use crate::representation::{Crop, Format, PEAK};

/// How far the mixture of two sounds is varied half-way between them, where their noises cannot be found.
const MORPH_STRENGTH: f64 = 0.6;

/// Level against the peak below which nothing more of a sound to begin with is heard, -60 dB, as of training sounds.
const INAUDIBLE: f32 = 1e-3;

/// A beginning other than pure noise.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// Two sounds to find one between: both are inverted to the noises that sampling turns into them, and the noises
    /// are interpolated by slerp [DDIM, Sec. 5.3]. Guidance does not act.
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

impl Init {
    /// Its sounds, one or two.
    pub(super) fn clips(&self) -> &[Clip] {
        match self {
            Self::Vary { clip, .. } | Self::Inpaint { clip, .. } => std::slice::from_ref(clip),
            Self::Morph { clips, .. } => clips,
        }
    }

    /// How far it goes from its sounds, 0 to 1; a morph lies between them.
    pub(super) fn strength(&self) -> f64 {
        match self {
            Self::Vary { strength, .. } | Self::Inpaint { strength, .. } => *strength,
            Self::Morph { .. } => 0.0,
        }
    }

    /// Whether anything of its sounds is left in the end.
    pub(super) fn is_kept(&self) -> bool {
        match self {
            Self::Vary { strength, .. } => *strength < 1.0,
            Self::Inpaint { .. } | Self::Morph { .. } => true,
        }
    }
}

/// A clip to begin with, in a model's rate and channels.
pub(super) struct Given {
    /// As it was given, where that is another.
    before: Option<Clip>,
    clip: Clip,
    onset: usize,
    heard: OnceLock<Heard>,
    /// The frames of the length that was asked for last.
    encoded: Mutex<Option<Encoded>>,
}

/// As much of a clip as a model makes at most.
#[derive(Clone, Copy)]
pub(super) struct Heard {
    /// See [`Beginning::start`].
    pub start: f64,
    pub attributes: Attributes,
}

#[derive(Clone)]
struct Encoded {
    len_frames: usize,
    /// `[1, T, C]`.
    frames: Tensor,
    /// See [`Beginning::start`].
    start: f64,
}

/// As much of a clip as is sampled.
pub(super) struct Beginning {
    pub clip: Clip,
    /// Seconds of the clip as it was given that lie before this one; below zero where silence was put in front.
    pub start: f64,
}

impl Given {
    /// A clip in any format in the model's rate and channels.
    ///
    /// # Errors
    /// [`Error::Setting`] for silence, and for values that are not numbers.
    pub fn new(clip: &Clip, format: &Format) -> Result<Self> {
        if !clip.is_finite() {
            return Err(Error::setting(
                "the sound to begin with: expected numbers, found NaN or infinity",
            ));
        }
        let given = clip;
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
        Ok(Self {
            before: (clip != *given).then(|| given.clone()),
            clip,
            onset,
            heard: OnceLock::new(),
            encoded: Mutex::default(),
        })
    }

    /// Whether it is this clip.
    pub fn is_of(&self, clip: &Clip) -> bool {
        self.before.as_ref().unwrap_or(&self.clip) == clip
    }

    /// What is heard of it in a clip of the model's.
    ///
    /// # Errors
    /// As [`Given::beginning`].
    pub fn heard(&self, config: &ModelConfig) -> Result<Heard> {
        if let Some(heard) = self.heard.get() {
            return Ok(*heard);
        }
        let Beginning { clip, start } = self.beginning(&config.format, config.training_crop())?;
        let attributes = Attributes::of(&Measures::of(&clip));
        Ok(*self.heard.get_or_init(|| Heard { start, attributes }))
    }

    /// For how many frames it sounds in a clip that begins as training sounds do, where those were cut at their onset:
    /// what follows stays 60 dB below its peak.
    pub fn end(&self, format: &Format) -> usize {
        let least = INAUDIBLE * self.clip.peak();
        let last = |channel: &Vec<f32>| channel.iter().rposition(|x| x.abs() > least);
        let last = self.clip.channels().iter().filter_map(last).max();
        let sounding = last.map_or(0, |last| (last + 1).saturating_sub(self.onset));
        format.lead_in() + sounding
    }

    /// The clip brought to `format` as training sounds are: at their level; and where those were cut at their onset,
    /// with its own onset where theirs lies. Otherwise only silence that is longer than the format is left out.
    ///
    /// # Errors
    /// [`Error::Setting`] when nothing sounds within the format's length.
    pub fn beginning(&self, format: &Format, crop: Option<Crop>) -> Result<Beginning> {
        let (len, lead_in) = (format.len_frames, format.lead_in());
        let is_one_shot = crop == Some(Crop::Onset);
        let start = match is_one_shot || self.onset >= len {
            true => self.onset as isize - lead_in as isize,
            false => 0,
        };
        let mut clip = match is_one_shot {
            true => align_onset(&self.clip, self.onset, lead_in, len).slice(0, len),
            false => self.clip.slice(start.max(0) as usize, len),
        };
        let goes_on = self.clip.len_frames() as isize - start > len as isize;
        if is_one_shot && goes_on {
            fade_end(&mut clip);
        }
        let rate = f64::from(format.sample_rate);
        let peak = clip.peak();
        if peak <= 0.0 {
            return Err(Error::setting(format!(
                "the sound to begin with: expected something in its first {:.2} s, found silence",
                len as f64 / rate
            )));
        }
        clip.scale(PEAK / peak);
        Ok(Beginning {
            clip,
            start: start as f64 / rate,
        })
    }
}

/// Where the sampling of a group of sounds begins.
pub(super) struct Start {
    /// `[B, T, C]` at the first of the noise levels.
    pub x: Tensor,
    /// The noise levels.
    pub sigmas: Vec<f64>,
    /// How many steps were taken to find `x`.
    pub before: usize,
    /// `[1, T, C]`, and which of the frames are known to be these.
    pub known: Option<(Tensor, Vec<bool>)>,
}

impl Renderer {
    /// Where the sampling of a group begins: pure noise, or what its settings begin with.
    pub(super) fn start(
        &self,
        group: &Group<'_>,
        noises: &mut [Noise],
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Start> {
        let settings = group.order.settings;
        let schedule = settings.noise_schedule();
        let steps = settings.steps_taken(&self.config);
        match &settings.init {
            None => {
                let sigmas = schedule.sigmas(steps)?;
                self.noised(group, None, sigmas, noises)
            }
            Some(init @ Init::Vary { strength, .. }) => {
                let sigmas = variation_sigmas(&schedule, steps, *strength)?;
                let clean = match init.is_kept() {
                    true => Some(self.encoded(group, 0)?.0),
                    false => None,
                };
                self.noised(group, clean.as_ref(), sigmas, noises)
            }
            Some(Init::Inpaint { kept, strength, .. }) => {
                let sigmas = variation_sigmas(&schedule, steps, *strength)?;
                let (clip, begin) = self.encoded(group, 0)?;
                let is_kept = self.kept_frames(group, kept, begin)?;
                let clean = (*strength < 1.0).then_some(&clip);
                Ok(Start {
                    known: Some((clip.clone(), is_kept)),
                    ..self.noised(group, clean, sigmas, noises)?
                })
            }
            Some(Init::Morph { fraction, .. }) => {
                check_fraction("fraction", *fraction)?;
                match settings.sampler.is_stochastic() {
                    true => self.mixed(group, *fraction, noises),
                    false => self.interpolated(group, *fraction, on_step),
                }
            }
        }
    }

    /// `clean: [1, T, C]`, if there is one, with noise of the first of the levels.
    fn noised(
        &self,
        group: &Group<'_>,
        clean: Option<&Tensor>,
        sigmas: Vec<f64>,
        noises: &mut [Noise],
    ) -> Result<Start> {
        let (t, c) = group.representation.shape();
        let noise = (unit_noise(noises, t, c, &self.device)? * sigmas[0])?;
        let x = match clean {
            Some(clean) => values::sum(&noise, clean)?,
            None => noise,
        };
        Ok(Start {
            x,
            sigmas,
            before: 0,
            known: None,
        })
    }

    /// A morph by a sampler that draws noise: the mixture of both sounds' frames, varied.
    fn mixed(&self, group: &Group<'_>, fraction: f64, noises: &mut [Noise]) -> Result<Start> {
        let settings = group.order.settings;
        let strength = MORPH_STRENGTH * (std::f64::consts::PI * fraction).sin();
        let steps = settings.steps_taken(&self.config);
        let sigmas = variation_sigmas(&settings.noise_schedule(), steps, strength)?;
        let ((from, _), (to, _)) = (self.encoded(group, 0)?, self.encoded(group, 1)?);
        let mixed = values::sum(&(from * (1.0 - fraction))?, &(to * fraction)?)?;
        self.noised(group, Some(&mixed), sigmas, noises)
    }

    /// A morph by a sampler that can be inverted: both sounds' noises, interpolated.
    fn interpolated(
        &self,
        group: &Group<'_>,
        fraction: f64,
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Start> {
        let settings = group.order.settings;
        let sigmas = settings
            .noise_schedule()
            .sigmas(settings.steps_taken(&self.config))?;
        let n = group.items.len();
        let conditions = group.conditions();
        let cond = self.conditioning(group, &[&conditions[..], &conditions].concat())?;
        let ((from, _), (to, _)) = (self.encoded(group, 0)?, self.encoded(group, 1)?);
        let clips = Tensor::cat(&[from.repeat((n, 1, 1))?, to.repeat((n, 1, 1))?], 0)?;
        let x = self.inverted(group, &cond, clips, &sigmas, on_step)?;
        let between = |i: usize| slerp(&x.narrow(0, i, 1)?, &x.narrow(0, n + i, 1)?, fraction);
        Ok(Start {
            x: Tensor::cat(&(0..n).map(between).collect::<Result<Vec<_>>>()?, 0)?,
            // Sampling that ends in zero has one step more than inversion.
            before: sigmas.len() - 2,
            sigmas,
            known: None,
        })
    }

    /// The noises that sampling turns into `clips: [2·B, T, C]`.
    fn inverted(
        &self,
        group: &Group<'_>,
        cond: &Conditioning,
        clips: Tensor,
        sigmas: &[f64],
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Tensor> {
        let sampler = group.order.settings.sampler;
        sampler.invert(&self.denoiser, cond, clips, sigmas, &mut |step: &Step| {
            on_step(Progress {
                step: step.index + 1,
                steps: 2 * step.of + 1,
            })
        })
    }

    /// The frames `[1, T, C]` of one of the clips to begin with, and [`Beginning::start`].
    fn encoded(&self, group: &Group<'_>, clip: usize) -> Result<(Tensor, f64)> {
        let (given, len_frames) = (&group.order.given[clip], group.format.len_frames);
        let last = lock(&given.encoded).clone();
        if let Some(last) = last.filter(|last| last.len_frames == len_frames) {
            return Ok((last.frames, last.start));
        }
        let Beginning { clip, start } =
            given.beginning(&group.format, self.config.training_crop())?;
        let frames = group.representation.encode(&clip)?;
        let shape = (1, frames.frames, frames.width);
        let frames = Tensor::from_vec(frames.data, shape, &self.device)?;
        *lock(&given.encoded) = Some(Encoded {
            len_frames,
            frames: frames.clone(),
            start,
        });
        Ok((frames, start))
    }

    /// Which of the frames lie in what is kept, by their middles; `kept` is in seconds of a clip of which they begin at
    /// `begin`.
    fn kept_frames(&self, group: &Group<'_>, kept: &[(f64, f64)], begin: f64) -> Result<Vec<bool>> {
        let format = &group.format;
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
        let (t, _) = group.representation.shape();
        let is_kept: Vec<bool> = (0..t).map(|i| within(middle(i))).collect();
        if is_kept.iter().all(|&kept| kept) || !is_kept.contains(&true) {
            return Err(Error::setting(format!(
                "what to keep: expected a part of {first:.3} to {last:.3} s, found {}",
                if is_kept[0] { "all of it" } else { "nothing" }
            )));
        }
        Ok(is_kept)
    }
}

fn check_fraction(what: &str, fraction: f64) -> Result<()> {
    if (0.0..=1.0).contains(&fraction) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{what}: expected 0 to 1, found {fraction}"
    )))
}

/// The noise levels of a variation: from near the lowest at strength 0 to all of them at 1, the first evenly in
/// `ln sigma`.
fn variation_sigmas(schedule: &NoiseSchedule, steps: usize, strength: f64) -> Result<Vec<f64>> {
    check_fraction("strength", strength)?;
    if strength == 1.0 {
        return schedule.sigmas(steps);
    }
    let lowest = 1.5 * schedule.sigma_min;
    let first = lowest * (schedule.sigma_max / lowest).powf(strength);
    schedule.sigmas_from(steps, first)
}

/// Spherical linear interpolation [Shoemake 1985]: the point at `fraction` of the arc between the directions of two
/// tensors, so that a mixture of noises is as strong as they are.
fn slerp(from: &Tensor, to: &Tensor, fraction: f64) -> Result<Tensor> {
    let dot = |a: &Tensor, b: &Tensor| -> Result<f64> {
        Ok(f64::from(
            values::product(a, b)?.sum_all()?.to_scalar::<f32>()?,
        ))
    };
    let cosine = dot(from, to)? / (dot(from, from)? * dot(to, to)?).sqrt();
    let angle = cosine.clamp(-1.0, 1.0).acos();
    // Of directions that are the same or opposite, there is no one arc.
    let weights = if angle.sin() > 1e-3 {
        [1.0 - fraction, fraction].map(|fraction| (fraction * angle).sin() / angle.sin())
    } else {
        [1.0 - fraction, fraction]
    };
    values::sum(&(from * weights[0])?, &(to * weights[1])?)
}
