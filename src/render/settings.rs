//! [`RenderSettings`]: what to render, all but the seed.

use super::Init;
use crate::audio::Level;
use crate::checkpoint::ModelConfig;
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::{NoiseSchedule, Schedule};

/// Most steps that a model which was tuned to few, as earlier editions did, is sampled with: 16 are no finer, and 64
/// spoil the sound.
pub const MOST_FEW_STEPS: usize = 8;

/// Fewest steps by which sounds are inverted to their noise, and a morph is sampled: at four the ends of a morph were as
/// far from the two sounds as others are.
const FEWEST_OF_A_MORPH: usize = 10;

/// Lowest noise level before zero of models that are preconditioned by a modulation spectrum. The last guess is made
/// there, a mean over what is below: the finest texture of noise is left to the decoder, which has it right, where
/// frames of a network have it Gaussian, louder and rougher than that of a spectrum.
const SIGMA_MIN_OF_TEXTURE: f64 = 0.1;

/// Settings of a rendering, all but the seed.
///
/// Begin with those that suit the model:
///
/// ```
/// # #[cfg(feature = "embedded-model")] {
/// use audiodiff::render::RenderSettings;
/// use audiodiff::{Checkpoint, Device, Renderer};
///
/// let renderer = Renderer::new(&Checkpoint::embedded()?, &Device::Cpu)?;
/// let settings = RenderSettings {
///     class: Some("tom".into()),
///     steps: 2,
///     descriptors: vec![("pitch".into(), 110.0), ("length".into(), 0.3)],
///     ..renderer.settings()
/// };
/// let tom = renderer.render(&settings, 1)?;
/// assert_eq!((tom.steps, tom.clip.sample_rate()), (2, 44_100));
/// # }
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RenderSettings {
    /// One of the model's classes, or none for any sound: the class of a training sound is drawn, in the proportions of
    /// the data, where the model knows what its training sounds were like ([`ModelConfig::attributes`]); others are
    /// given no class.
    pub class: Option<String>,
    /// Steps from noise to sound. A morph by a sampler that draws no noise takes at least ten; a model that was tuned to
    /// few by an earlier edition at most [`MOST_FEW_STEPS`].
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
    /// say that they were trained on one-shots trim nothing.
    pub trim: bool,
    /// A sound to begin with instead of pure noise.
    pub init: Option<Init>,
    /// The model's descriptors by name; those not named are neutral. The [`Attribute`](crate::attributes::Attribute)s
    /// that are not named are those of a training sound which is like those that are. Pitch, length and brightness are
    /// measured in the generated sound, and mended; `varispeed` plays it faster, by two semitones for 1.
    pub descriptors: Vec<(String, f32)>,
    /// How loud the result is made.
    pub level: Level,
}

impl RenderSettings {
    /// How strongly an ordinary model insists on the class.
    pub const GUIDANCE: f64 = 1.5;

    /// The settings that suit a model.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        let own = config.rendering.as_ref();
        Self {
            class: None,
            steps: own.map_or(16, |own| own.steps),
            sampler: own.map_or(Sampler::DpmPp2m, |own| own.sampler),
            schedule: own.map_or(Schedule::LogSnr, |own| own.schedule),
            sigma_max: config.sigma_max,
            sigma_min: match config.modulation.is_some() {
                true => SIGMA_MIN_OF_TEXTURE,
                false => 0.01,
            },
            guidance: own.map_or(Self::GUIDANCE, |own| own.guidance),
            guidance_interval: config.representation.guidance_interval(),
            seconds: None,
            trim: true,
            init: None,
            descriptors: Vec::new(),
            level: Level::default(),
        }
    }

    /// How many of the steps are taken with a model.
    pub(super) fn steps_taken(&self, config: &ModelConfig) -> usize {
        if config.is_few_step() && self.sampler == Sampler::Consistency {
            return self.steps.min(MOST_FEW_STEPS);
        }
        match self.init {
            Some(Init::Morph { .. }) if !self.sampler.is_stochastic() => {
                self.steps.max(FEWEST_OF_A_MORPH)
            }
            _ => self.steps,
        }
    }

    /// The noise levels that sampling goes through.
    pub(super) fn noise_schedule(&self) -> NoiseSchedule {
        NoiseSchedule {
            kind: self.schedule,
            sigma_min: self.sigma_min,
            sigma_max: self.sigma_max,
        }
    }
}
