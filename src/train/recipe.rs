//! How to train what: every number that nobody has to know.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;

use super::Trainer;
use super::config::{ConsistencyTuning, Length, Loss, TrainConfig};
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::dataset::{Augment, Dataset, Report, ScanOptions};
use crate::diffusion::Target;
use crate::diffusion::objective::Objective;
use crate::error::{Error, Result};
use crate::network::{self, NetworkConfig, UNetConfig};
use crate::optim::{AdamConfig, LearningRate};
use crate::render::RenderSettings;
use crate::representation::{ClipLengths, Crop, Format, RepresentationConfig};

/// Minutes that a training takes where nobody says.
const MINUTES: f64 = 30.0;

/// Rate and greatest length of one-shots: 2.97 s.
const ONE_SHOT: Format = Format {
    sample_rate: 44_100,
    channels: 1,
    len_frames: 131_072,
};

/// Highest learning rates: from nothing, the same of the largest preset, on another's weights, for a consistency
/// function. Models that are preconditioned by a modulation spectrum go on at the first: at a fifth of it ten minutes
/// are not enough for new classes.
const FRESH_RATE: f64 = 1e-3;
const BASE_RATE: f64 = 4e-4;
const FINE_TUNING_RATE: f64 = 2e-4;
const DISTILLING_RATE: f64 = 1e-4;

/// Validations in a row without a better one that end a training which may have nothing to gain.
const PATIENCE: Option<NonZeroU64> = NonZeroU64::new(6);

/// Clips a step where there is room for them: small batches learn the most from each clip, and on many cores larger
/// ones cost no time.
const BATCHES: (NonZeroUsize, NonZeroUsize) = (
    NonZeroUsize::new(16).expect("not zero"),
    NonZeroUsize::new(64).expect("not zero"),
);

/// Lengths of a clip, seconds.
const SECONDS: std::ops::RangeInclusive<f64> = 0.01..=60.0;

impl TrainConfig {
    /// A training from nothing of mono one-shots of up to 2.97 s, for 30 minutes.
    #[must_use]
    pub fn from_scratch(
        representation: RepresentationConfig,
        target: Target,
        network: NetworkConfig,
    ) -> Self {
        let mut config = Self::plain(representation, target, network, 1.0);
        if config.modulation_bands().is_some()
            && let NetworkConfig::UNet(sizes) = &mut config.network
        {
            sizes.film_skips = true;
        }
        config
    }

    /// A training from nothing over frames of the standard deviation `sigma_data`.
    fn plain(
        representation: RepresentationConfig,
        target: Target,
        network: NetworkConfig,
        sigma_data: f64,
    ) -> Self {
        let is_base = UNetConfig::preset("base")
            .is_ok_and(|base| network.has_sizes_of(&NetworkConfig::UNet(base)));
        let (p_mean, p_std) = representation.p_mean_and_std();
        Self {
            name: "sounds".to_owned(),
            format: ONE_SHOT,
            loss: Loss::Denoising(Objective {
                p_mean,
                p_std,
                ..Objective::new(target, sigma_data)
            }),
            representation,
            network,
            target,
            batch: None,
            length: Length::Minutes(MINUTES),
            learning_rate: LearningRate {
                peak: if is_base { BASE_RATE } else { FRESH_RATE },
                warmup: 300,
                decay: 0.4,
            },
            precision: network::ComputeType::F32,
            adam: AdamConfig::default(),
            ema_gamma: 6.94,
            class_dropout: 0.12,
            augment: Some(Augment::default()),
            attributes: true,
            clip_lengths: true,
            licence: None,
            seed: 0,
            validate_every: 250,
            patience: None,
            save_every_s: 240.0,
        }
    }

    /// A training that goes on from a model with other sounds, until these teach it nothing more: in its format, with
    /// its network. A model that needs few steps learns them in the way that keeps them few.
    #[must_use]
    pub fn fine_tune(from: &Checkpoint) -> Self {
        let model = &from.config;
        let plain = Self::like(model);
        Self {
            loss: match model.is_few_step() {
                true => Loss::Consistency(ConsistencyTuning::again(model)),
                false => plain.loss,
            },
            learning_rate: LearningRate {
                peak: match (&model.modulation, model.is_few_step()) {
                    (Some(_), false) => plain.learning_rate.peak,
                    _ => FINE_TUNING_RATE,
                },
                warmup: 50,
                decay: 0.4,
            },
            clip_lengths: !model.ends.is_empty(),
            validate_every: 100,
            patience: PATIENCE,
            ..plain
        }
    }

    /// A training in which a model learns to need one to four steps; one that does so already learns the sounds
    /// further, until these teach it nothing more. `guidance` is how strongly the model, as the teacher, insists on the
    /// class: 1 learns from the sounds alone, in less time; none is [`RenderSettings::GUIDANCE`], or 1 for a model that
    /// needs few steps already.
    ///
    /// # Errors
    /// When the guidance is no number, or another than 1 for a model that needs few steps already.
    pub fn distill(from: &Checkpoint, guidance: Option<f64>) -> Result<Self> {
        let model = &from.config;
        let again = model.is_few_step();
        let tuning = match (again, guidance) {
            (_, Some(guidance)) if !guidance.is_finite() => {
                return Err(Error::setting(format!(
                    "guidance: expected a number, found {guidance}"
                )));
            }
            (true, Some(guidance)) if guidance != 1.0 => {
                return Err(Error::setting(format!(
                    "guidance: `{}` needs few steps already and is distilled further by the sounds alone, expected 1, \
                     found {guidance}",
                    model.name
                )));
            }
            (true, _) => ConsistencyTuning::again(model),
            (false, guidance) => {
                ConsistencyTuning::of(model, guidance.unwrap_or(RenderSettings::GUIDANCE))
            }
        };
        Ok(Self {
            loss: Loss::Consistency(tuning),
            batch: Some(BATCHES.0),
            learning_rate: LearningRate {
                peak: DISTILLING_RATE,
                warmup: 50,
                decay: 0.4,
            },
            clip_lengths: !model.ends.is_empty(),
            validate_every: if again { 100 } else { 250 },
            // A denoiser first has to learn the consistency function; what has learnt it may have nothing left to gain.
            patience: PATIENCE.filter(|_| again),
            ..Self::like(model)
        })
    }

    /// The same for so many steps, whatever time they take: every run gives the same result.
    #[must_use]
    pub fn steps(self, steps: u64) -> Self {
        let length = Length::Steps(steps);
        Self { length, ..self }
    }

    /// The whole training, in one call: of the sounds of the folder `sounds`, whose first level of folders names the
    /// classes, in the run folder `run`, from `from`'s weights if there are any. Returns the model, and what was found
    /// in the folder of sounds.
    ///
    /// [`Dataset::open`] and [`Trainer`] do the same in steps that can be watched and stopped.
    ///
    /// # Errors
    /// As those of [`Dataset::open`], [`Trainer::open`] and [`Trainer::run`].
    pub fn train(
        self,
        from: Option<&Checkpoint>,
        sounds: &Path,
        run: &Path,
        device: &Device,
    ) -> Result<(Checkpoint, Report)> {
        let crop = from.and_then(|model| model.config.training_crop());
        let options = ScanOptions {
            crop: crop.unwrap_or_default(),
            ..ScanOptions::default()
        };
        let (sounds, report) = Dataset::open(sounds, self.format, &options, &mut |_, _| ())?;
        let mut trainer = Trainer::open(self, &sounds, run, from, device, &mut |_, _| ())?;
        trainer.run(&mut |_| ControlFlow::Continue(()))?;
        Ok((trainer.checkpoint()?, report))
    }

    /// The bands of the modulation spectrum that a network is preconditioned by, where it can be: one that predicts the
    /// clean clip over frames that are smooth.
    pub(super) fn modulation_bands(&self) -> Option<usize> {
        let is_possible = self.target == Target::X && self.network.is_conditional();
        self.representation.smooth_columns().filter(|_| is_possible)
    }

    /// The lengths of the clips of sounds that are cut as `crop` says.
    pub(super) fn lengths(&self, crop: Crop) -> ClipLengths {
        let unit = self.representation.hop() * self.network.frames_multiple();
        match self.clip_lengths && self.attributes && crop == Crop::Onset {
            true => ClipLengths::halved(&self.format, unit),
            false => ClipLengths::one(self.format.len_frames),
        }
    }

    /// A training of a model's network in its format.
    fn like(model: &ModelConfig) -> Self {
        Self {
            name: model.name.clone(),
            format: model.format,
            ..Self::plain(
                model.representation.clone(),
                model.target,
                model.network.clone(),
                model.sigma_data,
            )
        }
    }

    /// Changes the clips to another rate in Hz, number of channels and length in seconds, each where it is given.
    /// Lengths are rounded up to what frames and network take. At another rate alone a clip has as many samples as
    /// before.
    ///
    /// # Errors
    /// When the representation cannot hold such clips.
    pub fn set_format(
        &mut self,
        sample_rate: Option<u32>,
        channels: Option<usize>,
        seconds: Option<f64>,
    ) -> Result<()> {
        let own = self.format;
        let sample_rate = sample_rate.unwrap_or(own.sample_rate);
        let unit = self.representation.hop() * self.network.frames_multiple();
        let whole = |frames: usize| frames.div_ceil(unit) * unit;
        let len_frames = match seconds {
            None => own.len_frames,
            Some(seconds) if !SECONDS.contains(&seconds) => {
                return Err(Error::setting(format!(
                    "seconds: expected {} to {}, found {seconds}",
                    SECONDS.start(),
                    SECONDS.end()
                )));
            }
            Some(seconds) => {
                let frames = seconds * f64::from(sample_rate);
                // Its own length may be known by rounded seconds.
                let is_own = (frames / own.len_frames as f64 - 1.0).abs() < 0.005;
                if is_own {
                    own.len_frames
                } else {
                    frames.round() as usize
                }
            }
        };
        let format = Format {
            sample_rate,
            channels: channels.unwrap_or(own.channels),
            len_frames: whole(len_frames),
        };
        self.representation.validate(&format)?;
        self.format = format;
        Ok(())
    }

    /// As many clips a step as half of the memory that is free has room for, so that other programs stay in memory.
    pub(super) fn fitting_batch(&self, device: &Device) -> NonZeroUsize {
        if !device.is_cpu() {
            return BATCHES.1;
        }
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let room = system.available_memory() / 2;
        let frames = self.representation.frames(self.format.len_frames);
        let clip = self.network.training_bytes(frames);
        let (least, most) = BATCHES;
        let most = rayon::current_num_threads().clamp(least.get(), most.get());
        let fitting = usize::try_from(room / clip.max(1)).unwrap_or(most);
        NonZeroUsize::new(fitting.min(most)).unwrap_or(NonZeroUsize::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "embedded-model")]
    use crate::checkpoint::Rendering;

    fn nano() -> NetworkConfig {
        NetworkConfig::UNet(UNetConfig::preset("nano").unwrap())
    }

    #[test]
    fn lengths_are_rounded_up_to_what_frames_and_network_take() {
        let mut config = TrainConfig::from_scratch(RepresentationConfig::mel(), Target::X, nano());
        let unit = 256 * config.network.frames_multiple();
        for seconds in [0.05, 0.3, 1.0, 1.2, 4.0, 2.9722, 2.9721] {
            config.format = ONE_SHOT;
            config.set_format(None, Some(2), Some(seconds)).unwrap();
            let format = config.format;
            let asked = seconds * 44_100.0;
            assert_eq!((format.len_frames % unit, format.channels), (0, 2));
            let over = format.len_frames as f64 - asked;
            assert!((-250.0..unit as f64).contains(&over), "{seconds}: {over}");
        }
        config.format = ONE_SHOT;
        config.set_format(None, None, Some(2.97)).unwrap();
        assert_eq!(config.format, ONE_SHOT, "its own length, read off a table");
        config.set_format(Some(22_050), None, None).unwrap();
        assert_eq!(config.format.len_frames, ONE_SHOT.len_frames);
        for seconds in [f64::NAN, 0.0, -1.0, 61.0] {
            assert!(config.set_format(None, None, Some(seconds)).is_err());
        }
        assert!(config.set_format(Some(0), None, None).is_err());
    }

    #[test]
    fn the_numbers_of_each_kind_of_training() {
        let fresh = |representation| TrainConfig::from_scratch(representation, Target::X, nano());
        let mel = fresh(RepresentationConfig::mel());
        let levels = |config: &TrainConfig| {
            let Loss::Denoising(objective) = config.loss else {
                panic!("expected a denoiser, found {:?}", config.loss)
            };
            (objective.p_mean, objective.p_std)
        };
        assert_eq!(levels(&mel), (1.3, 1.8));
        assert_eq!(levels(&fresh(RepresentationConfig::wave())), (0.3, 1.4));
        assert_eq!((mel.learning_rate.peak, mel.patience), (1e-3, None));
        let base = NetworkConfig::UNet(UNetConfig::preset("base").unwrap());
        let base = TrainConfig::from_scratch(RepresentationConfig::mel(), Target::X, base);
        assert_eq!(base.learning_rate.peak, 4e-4);
        for config in [&mel, &base] {
            let batch = config.fitting_batch(&Device::Cpu);
            assert!(batch.get() <= 64, "{batch}");
            assert!(
                TrainConfig {
                    batch: Some(batch),
                    ..config.clone()
                }
                .validate()
                .is_ok()
            );
        }
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn a_model_that_needs_few_steps_goes_on_needing_few() {
        let denoiser = Checkpoint::embedded().unwrap();
        let mut model = denoiser.clone();
        model.config.rendering = Some(Rendering::FEW_STEPS);
        let tuned = TrainConfig::fine_tune(&model);
        assert_eq!(tuned.format, model.config.format);
        let again = Loss::Consistency(ConsistencyTuning::again(&model.config));
        assert_eq!(tuned.loss, again);
        assert_eq!((tuned.learning_rate.peak, tuned.patience), (2e-4, PATIENCE));
        let further = TrainConfig::distill(&model, None).unwrap();
        assert_eq!((further.loss, further.patience), (again, PATIENCE));
        let refused = TrainConfig::distill(&model, Some(2.0)).unwrap_err();
        assert!(refused.to_string().contains("expected 1, found 2"));
        assert!(TrainConfig::distill(&model, Some(f64::NAN)).is_err());
        let first = TrainConfig::distill(&denoiser, None).unwrap();
        let tuning = first.loss.tuning().unwrap();
        assert_eq!((tuning.guidance, first.patience), (1.5, None));
        assert_eq!(first.batch, NonZeroUsize::new(16));
        let tuned = TrainConfig::fine_tune(&denoiser);
        assert_eq!(
            (tuned.loss.tuning(), tuned.learning_rate.peak),
            (None, 1e-3)
        );
        model = denoiser;
        model.config.modulation = None;
        assert_eq!(TrainConfig::fine_tune(&model).learning_rate.peak, 2e-4);
    }
}
