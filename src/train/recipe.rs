//! How to train what: every number that nobody has to know.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;

use super::Trainer;
use super::config::{Distillation, Length, Loss, MOST_CLIPS, TrainConfig};
use super::memory::Room;
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::dataset::{Augment, Dataset, Report, ScanOptions};
use crate::diffusion::Target;
use crate::diffusion::objective::Objective;
use crate::error::{Error, Result};
use crate::group::Group;
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

/// Highest learning rates: from nothing, the same of the largest preset, on another's weights, of a distillation.
/// Models that are preconditioned by a modulation spectrum go on at the first: at a fifth of it ten minutes are not
/// enough for new classes.
const FRESH_RATE: f64 = 1e-3;
const BASE_RATE: f64 = 4e-4;
const FINE_TUNING_RATE: f64 = 2e-4;
const DISTILLING_RATE: f64 = 5e-4;

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
    /// its network. A distilled model becomes an ordinary one again.
    #[must_use]
    pub fn fine_tune(from: &Checkpoint) -> Self {
        let model = &from.config;
        let plain = Self::like(model);
        Self {
            learning_rate: LearningRate {
                peak: match model.modulation {
                    Some(_) => plain.learning_rate.peak,
                    None => FINE_TUNING_RATE,
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

    /// A training in which a model learns to say at once what it says when it is guided, and then needs few steps.
    /// `guidance` is how strongly it insists on the class as the teacher; none is its own, or
    /// [`RenderSettings::GUIDANCE`].
    ///
    /// # Errors
    /// When the model is distilled already, has no classes to insist on, or the guidance is no number or 1, at which
    /// there is nothing to learn.
    pub fn distill(from: &Checkpoint, guidance: Option<f64>) -> Result<Self> {
        let model = &from.config;
        let refuse = |what: &str| {
            let name = &model.name;
            Err(Error::setting(format!("distilling `{name}`: {what}")))
        };
        if model.is_distilled() {
            return refuse("it is distilled already, expected a model as it was trained");
        }
        if model.labels.is_empty() || !model.network.is_conditional() {
            return refuse(
                "expected a model with classes, whose guidance can be learnt, found none",
            );
        }
        let own = RenderSettings::of(model);
        let guidance = guidance.unwrap_or(match own.guidance {
            1.0 => RenderSettings::GUIDANCE,
            guidance => guidance,
        });
        if !guidance.is_finite() || guidance == 1.0 {
            let what =
                "guidance: expected a number other than 1, at which there is nothing to learn";
            return refuse(&format!("{what}, found {guidance}"));
        }
        let plain = Self::like(model);
        Ok(Self {
            loss: Loss::Distillation(Distillation {
                objective: *plain.loss.objective(),
                guidance,
                guidance_interval: own.guidance_interval,
            }),
            batch: Some(BATCHES.0),
            learning_rate: LearningRate {
                peak: DISTILLING_RATE,
                warmup: 50,
                decay: 0.4,
            },
            clip_lengths: !model.ends.is_empty(),
            ..plain
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

    /// As many clips a step as half of the memory that is free has room for, so that other programs stay in memory; as
    /// many for each rank.
    pub(super) fn fitting_batch(&self, room: Room, group: &Group, device: &Device) -> NonZeroUsize {
        let (least, most) = BATCHES;
        let mut each = most.get();
        if device.is_cpu() {
            let most = rayon::current_num_threads().clamp(least.get(), most.get());
            let room = room.free / 2 / group.on_machine() as u64;
            let fitting = usize::try_from(room / self.clip_bytes().max(1)).unwrap_or(most);
            each = fitting.clamp(1, most);
        }
        NonZeroUsize::new((each * group.size()).min(MOST_CLIPS)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Memory that each clip of a batch takes, about.
    pub(super) fn clip_bytes(&self) -> u64 {
        let frames = self.representation.frames(self.format.len_frames);
        self.network.training_bytes(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "embedded-model")]
    use crate::checkpoint::Rendering;
    #[cfg(feature = "embedded-model")]
    use crate::diffusion::{sampler::Sampler, schedule::Schedule};

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
            let batch = config.fitting_batch(Room::now(), &Group::alone(), &Device::Cpu);
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
    fn a_model_is_distilled_once_and_fine_tuned_as_it_was() {
        let mut model = Checkpoint::embedded().unwrap();
        let tuned = TrainConfig::fine_tune(&model);
        let is_denoising = matches!(tuned.loss, Loss::Denoising(_));
        assert!(is_denoising && tuned.patience.is_some());
        assert_eq!(
            (tuned.format, tuned.learning_rate.peak),
            (model.config.format, 1e-3)
        );
        let refusal = |model: &Checkpoint, guidance| {
            let refused = TrainConfig::distill(model, guidance);
            refused.unwrap_err().to_string()
        };
        let own = Rendering::new(Sampler::DpmPp2m, Schedule::LogSnr, 10, 3.0);
        model.config.rendering = Some(own.distilled());
        assert!(refusal(&model, None).contains("distilled already"));
        model.config.rendering = own.distilled().undistilled();
        assert_eq!(model.config.rendering, Some(own));
        let guidance = |guidance: Option<f64>| {
            let config = TrainConfig::distill(&model, guidance).unwrap();
            assert_eq!(
                (config.patience, config.batch),
                (None, NonZeroUsize::new(16))
            );
            let Loss::Distillation(own) = config.loss else {
                panic!("expected a distillation, found {:?}", config.loss)
            };
            own.guidance
        };
        assert_eq!([guidance(None), guidance(Some(2.0))], [3.0, 2.0]);
        for nothing in [1.0, f64::NAN, f64::INFINITY] {
            assert!(refusal(&model, Some(nothing)).contains("other than 1"));
        }
        // One that insists on nothing where nobody asks.
        model.config.rendering = Some(Rendering::new(Sampler::Euler, Schedule::LogSnr, 10, 1.0));
        let config = TrainConfig::distill(&model, None).unwrap();
        assert!(matches!(config.loss, Loss::Distillation(own) if own.guidance == 1.5));
        model.config.labels.clear();
        assert!(refusal(&model, None).contains("with classes"));
        model.config.modulation = None;
        assert_eq!(TrainConfig::fine_tune(&model).learning_rate.peak, 2e-4);
    }
}
