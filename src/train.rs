//! The training loop: batches in, a model out, resumable at any step.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::audio::Measures;
use crate::checkpoint::{
    Checkpoint, FORMAT_VERSION, ModelConfig, Precision, Rendering, TrainingRecord,
};
use crate::checkpoint::{MAX_PORTRAITS, load_tensors, save_tensors};
use crate::dataset::{Augment, Batch, DESCRIPTORS, Dataset, SEMITONES_PER_UNIT};
use crate::diffusion::consistency::Consistency;
use crate::diffusion::guidance::Guided;
use crate::diffusion::objective::Objective;
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::Schedule;
use crate::diffusion::{Denoiser, Preconditioned, Target};
use crate::error::{Error, Result};
use crate::file::write_whole;
use crate::network::{self, Conditioning, Network, NetworkConfig, Parameters};
use crate::noise::Noise;
use crate::optim::{Adam, AdamConfig, Ema, LearningRate};
use crate::portrait::{COLUMNS, Portrait, Quality};
use crate::representation::{Format, Representation, RepresentationConfig};

/// First number of the places ([`Noise::at`]) that training draws from.
mod place {
    pub const INIT: u64 = 0x1000;
    pub const DRAW: u64 = 0x1001;
    pub const LEVEL: u64 = 0x1002;
    pub const NOISE: u64 = 0x1003;
    pub const VALIDATION: u64 = 0x1004;
    pub const PORTRAIT: u64 = 0x1005;
}

/// Where the validation loss is measured, in deviations of the noise levels that are learnt: in the middle of each
/// quarter of them.
const VALIDATION_SCORES: [f64; 4] = [-1.1503, -0.3186, 0.3186, 1.1503];
/// At most this many sounds are validated on, and at most one for as many as these that are learnt between two validations,
/// or looking would take as long as learning.
const VALIDATION_SOUNDS: usize = 48;
const LEARNT_FOR_EACH: u64 = 10;
/// But no fewer, where there are any.
const LEAST_VALIDATION_SOUNDS: usize = 4;

/// Probability with which a whole portrait is hidden, beside those whose class is.
const HIDDEN_PORTRAIT: f32 = 0.25;
/// Probability with which each quality of another is.
const HIDDEN_QUALITY: f32 = 0.2;

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Optimizer steps: the same result on every run.
    Steps(u64),
    /// Minutes of wall-clock time, interruptions not counted.
    Minutes(f64),
}

/// How a finished model is taught to need few steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Levels and stages.
    pub consistency: Consistency,
    /// Guidance of the teacher, the model that it begins from; 1 learns from the sounds alone.
    pub guidance: f64,
    /// Noise levels at which the teacher's guidance acts, `(low, high)`.
    pub guidance_interval: (f64, f64),
}

impl Tuning {
    /// For a denoiser that has no few-step ability yet.
    pub fn of(model: &ModelConfig, guidance: f64) -> Self {
        Self {
            consistency: Consistency {
                levels: (0.005, 2.0 * model.sigma_max),
                log_level_mean: model.representation.log_sigma().0,
                ..Consistency::default()
            },
            guidance,
            guidance_interval: model.representation.guidance_interval(),
        }
    }

    /// For a model that needs few steps already, on other sounds: from these alone, and with levels near each other
    /// from the beginning.
    pub fn again(model: &ModelConfig) -> Self {
        let first = Self::of(model, 1.0);
        Self {
            consistency: Consistency {
                first_stage: 3,
                ..first.consistency
            },
            ..first
        }
    }
}

/// How a tuned model is rendered, before anything was measured of it.
const FEW_STEPS: Rendering = Rendering {
    sampler: Sampler::Consistency,
    schedule: Schedule::Few,
    guidance: 1.0,
    steps: 4,
    measured: Vec::new(),
    excess: Vec::new(),
};

/// Everything that decides a training besides the sounds and how they are cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// A short name for the model.
    pub name: String,
    /// Rate, channels and length of the clips.
    pub format: Format,
    /// How clips become frames.
    pub representation: RepresentationConfig,
    /// The network's sizes.
    pub network: NetworkConfig,
    /// What the network learns to say.
    pub target: Target,
    /// Noise levels and weights of the loss.
    pub objective: Objective,
    /// Consistency tuning in place of that loss; needs a model to begin from.
    #[serde(default)]
    pub tuning: Option<Tuning>,
    /// Clips a step; 0 takes over the batch of the run that is resumed.
    pub batch: usize,
    /// When to end.
    pub length: Length,
    /// The learning rate over time.
    pub learning_rate: LearningRate,
    /// Of the products on the way forward and back to the maps; weights, their gradients and validation
    /// are in f32.
    #[serde(default)]
    pub precision: network::Precision,
    /// The optimizer's numbers.
    pub adam: AdamConfig,
    /// Profile of the averaged weights, see [`Ema::new`].
    pub ema_gamma: f64,
    /// Part of the clips whose class is hidden, so that guidance has an unconditional half.
    pub class_dropout: f32,
    /// Changes made to the sounds, none for the sounds as they are.
    pub augment: Option<Augment>,
    /// Whether a fresh network is told what the sounds are like; one that is tuned keeps its ways.
    #[serde(default)]
    pub portraits: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Validations in a row without a better one after which the run ends; 0 for never. With it, the model is
    /// the one that was best at a validation, not the last.
    #[serde(default)]
    pub patience: u64,
    /// Seconds between checkpoints.
    pub save_every_s: f64,
}

impl TrainConfig {
    fn validate(&self) -> Result<()> {
        let fail = |what: &str, expected: &str, found: &dyn std::fmt::Display| {
            Err(Error::setting(format!(
                "{what}: expected {expected}, found {found}"
            )))
        };
        if self.batch == 0 || self.batch > 4096 {
            return fail("batch", "1 to 4096", &self.batch);
        }
        let LearningRate { peak, decay, .. } = self.learning_rate;
        if !(peak > 0.0 && peak <= 1.0) {
            return fail("learning rate", "more than 0, at most 1", &peak);
        }
        let AdamConfig {
            beta1, beta2, clip, ..
        } = self.adam;
        for (what, share) in [
            ("decay", decay),
            ("class dropout", self.class_dropout as f64),
            ("beta1", beta1),
            ("beta2", beta2),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return fail(what, "0 to 1", &share);
            }
        }
        if clip.is_nan() || clip <= 0.0 {
            return fail("gradient clip", "more than 0", &clip);
        }
        if !(0.0..=1e3).contains(&self.ema_gamma) {
            return fail("EMA gamma", "0 to 1000", &self.ema_gamma);
        }
        if self.save_every_s.is_nan() || self.save_every_s < 0.0 {
            return fail("time between checkpoints", "0 or more", &self.save_every_s);
        }
        match self.length {
            Length::Minutes(m) if !(m > 0.0 && m.is_finite()) => fail("minutes", "more than 0", &m),
            Length::Steps(0) => fail("steps", "at least 1", &0),
            _ => Ok(()),
        }
    }

    /// Noise levels that the validation loss is measured at.
    fn validation_levels(&self) -> [f64; 4] {
        let level = |mean: f64, deviation: f64, score: f64| (mean + deviation * score).exp();
        VALIDATION_SCORES.map(|score| match &self.tuning {
            None => {
                let objective = &self.objective;
                level(
                    objective.log_sigma_mean,
                    objective.log_sigma_deviation,
                    score,
                )
            }
            Some(Tuning { consistency, .. }) => {
                let (low, high) = consistency.levels;
                level(
                    consistency.log_level_mean,
                    consistency.log_level_deviation,
                    score,
                )
                .clamp(low, high)
            }
        })
    }

    /// What must agree for a run to be resumed: all but its name, its length and its pace of reporting.
    fn resumable_as(&self, other: &Self) -> bool {
        let (length, validate_every) = (self.length, self.validate_every);
        let (save_every_s, patience) = (self.save_every_s, self.patience);
        let other = Self {
            length,
            validate_every,
            save_every_s,
            patience,
            name: self.name.clone(),
            ..other.clone()
        };
        *self == other
    }
}

/// One optimizer step, as reported and as a line of `stats.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Clips seen.
    pub windows: u64,
    /// Weighted loss of this batch.
    pub loss: f32,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Part of the training that is done, 0 to 1.
    pub progress: f64,
    /// Validation loss of the averaged weights, at the steps that measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<f32>,
}

/// What the trainer tells while it works.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is done.
    Step(&'a StepReport),
    /// The model was written to this file.
    Saved(&'a Path),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole length is done.
    Finished,
    /// The caller stopped it; it can be resumed.
    Stopped,
}

/// What `state.safetensors` says besides its tensors.
#[derive(Debug, Serialize, Deserialize)]
struct StateNote {
    config: TrainConfig,
    model: ModelConfig,
    /// [`Dataset::fingerprint`].
    sounds: String,
    /// [`Checkpoint::fingerprint`] of the model it began from.
    from: Option<String>,
    step: u64,
    windows: u64,
    seconds: f64,
    adam_steps: u64,
    validation: Option<f32>,
    /// Validation loss and step of the best weights, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<(f32, u64)>,
    #[serde(default)]
    misses: u64,
}

/// The averaged weights that did best at a validation.
struct Best {
    validation: f32,
    step: u64,
    weights: BTreeMap<String, Tensor>,
}

/// A training in a run folder.
///
/// The folder holds `config.json`, `stats.jsonl`, `model.safetensors` (averaged weights: all that
/// rendering needs) and `state.safetensors` (all that resuming needs). A batch, its noise and its
/// noise levels depend only on the seed and the step, so a run that was interrupted ends with the same
/// weights, to the bit, as one that was not.
pub struct Trainer<'d> {
    config: TrainConfig,
    model: ModelConfig,
    dataset: &'d Dataset,
    /// Of each sound, where the network is told.
    portraits: Option<Vec<Portrait>>,
    representation: Box<dyn Representation>,
    folder: PathBuf,
    from: Option<String>,
    device: Device,
    parameters: Parameters,
    denoiser: Preconditioned<Box<dyn Network>>,
    averaged: Preconditioned<Box<dyn Network>>,
    /// What guides consistency tuning: the model that it began from.
    teacher: Option<Preconditioned<Box<dyn Network>>>,
    adam: Adam,
    ema: Ema,
    step: u64,
    windows: u64,
    seconds: f64,
    validation: Option<f32>,
    /// Kept where the run is to end by it.
    best: Option<Best>,
    /// Validations since the best.
    misses: u64,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("folder", &self.folder)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl<'d> Trainer<'d> {
    /// Goes on with the run in `folder` if there is one, else begins it: from `from`'s weights (then
    /// its representation, statistics and network are kept), or from fresh ones.
    ///
    /// # Errors
    /// When settings make no sense, when `folder` holds a run with other settings, other sounds or another
    /// beginning, or a model without the state to go on from, or when `from` does not fit.
    pub fn open(
        config: TrainConfig,
        dataset: &'d Dataset,
        folder: &Path,
        from: Option<&Checkpoint>,
        device: &Device,
    ) -> Result<Self> {
        let state = folder.join("state.safetensors");
        let print = from.map(Checkpoint::fingerprint).transpose()?;
        if state.exists() {
            let mut trainer = Self::resume(config, dataset, folder, print, &state, device)?;
            trainer.teacher = trainer.taught_by(from)?;
            return Ok(trainer);
        }
        config.validate()?;
        if folder.join("model.safetensors").exists() {
            return Err(Error::setting(format!(
                "{}: holds a model but no state.safetensors to go on from; choose another --out",
                folder.display()
            )));
        }
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let portraits = from.map_or(config.portraits, |from| !from.config.portraits.is_empty());
        let portraits = portraits.then(|| portraits_of(dataset)).transpose()?;
        let (model, parameters) = match from {
            Some(from) => tuned(&config, dataset, from, portraits.as_deref(), device)?,
            None => fresh(&config, dataset, portraits.as_deref(), device)?,
        };
        let mut trainer = Self::assemble(
            config, model, dataset, portraits, folder, parameters, device,
        )?;
        trainer.from = print;
        trainer.teacher = trainer.taught_by(from)?;
        let json =
            serde_json::to_string_pretty(&trainer.config).expect("the configuration is plain data");
        write_whole(&folder.join("config.json"), json.as_bytes())?;
        // A run that ended before its first checkpoint may have left its lines.
        write_whole(&folder.join("stats.jsonl"), b"")?;
        Ok(trainer)
    }

    fn assemble(
        config: TrainConfig,
        model: ModelConfig,
        dataset: &'d Dataset,
        portraits: Option<Vec<Portrait>>,
        folder: &Path,
        parameters: Parameters,
        device: &Device,
    ) -> Result<Self> {
        model.validate()?;
        let adam = Adam::new(&parameters, config.adam)?;
        let ema = Ema::new(&parameters, config.ema_gamma)?;
        let wrap = |network| Preconditioned {
            network,
            sigma_data: model.sigma_data,
            target: model.target,
        };
        let around = model.surroundings();
        // Both networks share storage with what they were built from, and so follow every update.
        let mut denoiser = wrap(model.network.build(around, &mut &parameters)?);
        denoiser.network.engine().use_precision(config.precision);
        let averaged = wrap(model.network.build(around, &mut ema.weights().clone())?);
        let representation = model
            .representation
            .build(&model.format, &model.statistics)?;
        Ok(Self {
            config,
            model,
            dataset,
            portraits,
            representation,
            folder: folder.to_owned(),
            from: None,
            device: device.clone(),
            parameters,
            denoiser,
            averaged,
            teacher: None,
            adam,
            ema,
            step: 0,
            windows: 0,
            seconds: 0.0,
            validation: None,
            best: None,
            misses: 0,
        })
    }

    fn resume(
        mut config: TrainConfig,
        dataset: &'d Dataset,
        folder: &Path,
        from: Option<String>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let (tensors, note) = load_tensors(path)?;
        let mut note: StateNote = serde_json::from_str(&note).map_err(|e| {
            Error::checkpoint(
                path,
                format!("its training state cannot be understood: {e}"),
            )
        })?;
        if config.batch == 0 {
            config.batch = note.config.batch;
        }
        config.validate()?;
        note.model.name.clone_from(&config.name);
        if !config.resumable_as(&note.config) {
            return Err(Error::setting(format!(
                "{}: holds a run with other settings (see its config.json); resume with those, or choose another --out",
                folder.display()
            )));
        }
        if note.model.network.is_told() && note.model.labels != dataset.labels() {
            return Err(Error::setting(format!(
                "{}: its run has the classes {}, the sounds now have {}",
                folder.display(),
                note.model.labels.join(", "),
                dataset.labels().join(", ")
            )));
        }
        if note.from != from {
            let began = |print: &Option<String>| match print {
                Some(print) => format!("the model {}", &print[..8.min(print.len())]),
                None => "nothing".to_owned(),
            };
            return Err(Error::setting(format!(
                "{}: its run began from {}, not from {}; choose another --out",
                folder.display(),
                began(&note.from),
                began(&from)
            )));
        }
        if note.sounds != dataset.fingerprint() {
            return Err(Error::setting(format!(
                "{}: its run learnt from other sounds, or took them apart otherwise; choose another --out \
                 (--from {} goes on from its weights)",
                folder.display(),
                folder.join("model.safetensors").display()
            )));
        }
        let shapes = note
            .model
            .network
            .parameter_shapes(note.model.surroundings())?;
        let mut weights = BTreeMap::new();
        for name in shapes.keys() {
            let tensor = tensors.get(&format!("weights.{name}")).ok_or_else(|| {
                Error::checkpoint(
                    path,
                    format!("expected a tensor `weights.{name}`, found none"),
                )
            })?;
            weights.insert(name.clone(), tensor.clone());
        }
        let parameters = Parameters::from_weights(&weights, device)?;
        let portraits = !note.model.portraits.is_empty();
        let portraits = portraits.then(|| portraits_of(dataset)).transpose()?;
        let mut trainer = Self::assemble(
            config, note.model, dataset, portraits, folder, parameters, device,
        )?;
        let restored = trainer.adam.restore(note.adam_steps, &tensors);
        restored
            .and_then(|()| trainer.ema.restore(&tensors))
            .map_err(|e| match e {
                Error::Setting(reason) => Error::checkpoint(path, reason),
                other => other,
            })?;
        (trainer.step, trainer.windows, trainer.seconds) = (note.step, note.windows, note.seconds);
        (trainer.validation, trainer.from) = (note.validation, from);
        trainer.misses = note.misses;
        if let Some((validation, step)) = note.best {
            let mut weights = BTreeMap::new();
            for (name, own) in trainer.ema.weights() {
                let found = tensors.get(&format!("best.{name}"));
                let found = found.filter(|found| found.dims() == own.dims());
                let found = found.ok_or_else(|| {
                    Error::checkpoint(
                        path,
                        format!("expected a tensor `best.{name}` of {:?}", own.dims()),
                    )
                })?;
                weights.insert(name.clone(), found.clone());
            }
            trainer.best = Some(Best {
                validation,
                step,
                weights,
            });
        }
        trainer.forget_later_stats()?;
        Ok(trainer)
    }

    /// The teacher, where the configuration wants one.
    fn taught_by(
        &self,
        from: Option<&Checkpoint>,
    ) -> Result<Option<Preconditioned<Box<dyn Network>>>> {
        let Some(tuning) = &self.config.tuning else {
            return Ok(None);
        };
        let Some(from) = from else {
            return Err(Error::setting(
                "tuning to few steps: expected a model to begin from, found none",
            ));
        };
        if tuning.guidance == 1.0 {
            return Ok(None);
        }
        let mut weights = from.weights.clone();
        relabel(&mut weights, &from.config.labels, &self.model.labels)?;
        for tensor in weights.values_mut() {
            *tensor = tensor.to_device(&self.device)?;
        }
        let around = self.model.surroundings();
        let mut network = self.model.network.build(around, &mut weights)?;
        network.engine().freeze();
        Ok(Some(Preconditioned {
            network,
            sigma_data: self.model.sigma_data,
            target: self.model.target,
        }))
    }

    /// Steps done so far; more than 0 right after opening means that a run was resumed.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Number of trainable values.
    pub fn parameter_count(&self) -> usize {
        self.parameters.count()
    }

    /// The model under training.
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// The step whose weights were best at a validation, where the run looks for it.
    pub fn best_step(&self) -> Option<u64> {
        self.best.as_ref().map(|best| best.step)
    }

    /// Part of the training that is done, 0 to 1; all of it when patience is at an end.
    pub fn progress(&self) -> f64 {
        if self.config.patience > 0 && self.misses >= self.config.patience {
            return 1.0;
        }
        match self.config.length {
            Length::Steps(steps) => self.step as f64 / steps as f64,
            Length::Minutes(minutes) => self.seconds / (60.0 * minutes),
        }
        .min(1.0)
    }

    /// Trains to the end of the configured length, reporting to `on_event`, whose `Break` ends the run
    /// after the present step. Either way the run is saved.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss or the gradient stops being a number: the files then still
    /// hold the last good state.
    pub fn run(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        let path = self.folder.join("stats.jsonl");
        let mut stats = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        let source = BatchSource {
            dataset: self.dataset,
            representation: self
                .model
                .representation
                .build(&self.model.format, &self.model.statistics)?,
            portraits: self.portraits.clone(),
            config: self.config.clone(),
        };
        let (send, receive) = crossbeam::channel::bounded(2);
        let first = self.step;
        std::thread::scope(|scope| {
            // Batches are prepared ahead; the channel closes when either side is done.
            scope.spawn(move || (first..).try_for_each(|step| send.send(source.batch(step)).ok()));
            let mut clock = Instant::now();
            let mut saved_at = self.seconds;
            let mut outcome = Outcome::Finished;
            while self.progress() < 1.0 {
                let batch = receive
                    .recv()
                    .expect("the source goes on as long as it is listened to")?;
                let mut report = self.learn(batch)?;
                self.seconds += clock.elapsed().as_secs_f64();
                clock = Instant::now();
                if self.progress() >= 1.0
                    || self.step.is_multiple_of(self.config.validate_every.max(1))
                {
                    self.validation = self.validate()?;
                    report.validation = self.validation;
                    self.keep_best()?;
                }
                let done = self.progress() >= 1.0;
                (report.seconds, report.progress) = (self.seconds, self.progress());
                let line = serde_json::to_string(&report).expect("a report is plain data");
                writeln!(stats, "{line}").map_err(Error::io(&path))?;
                let stop = on_event(Event::Step(&report)).is_break();
                let due = self.seconds - saved_at >= self.config.save_every_s;
                if stop || done || due {
                    saved_at = self.seconds;
                    let model = self.save()?;
                    if on_event(Event::Saved(&model)).is_break() || stop {
                        outcome = if done {
                            Outcome::Finished
                        } else {
                            Outcome::Stopped
                        };
                        break;
                    }
                }
            }
            drop(receive);
            Ok(outcome)
        })
    }

    /// One optimizer step.
    fn learn(&mut self, (batch, portraits): (Batch, Vec<Portrait>)) -> Result<StepReport> {
        let (b, t, c) = batch.shape;
        let seed = self.config.seed;
        let mut noise = Noise::at(seed, &[place::LEVEL, self.step]);
        let sigmas = self.config.objective.draw_sigmas(b, &mut noise);
        let hidden: Vec<bool> = (0..b)
            .map(|_| noise.chance(self.config.class_dropout))
            .collect();
        let labels: Vec<Option<u32>> = batch
            .labels
            .into_iter()
            .zip(&hidden)
            .map(|(label, hidden)| label.filter(|_| !hidden))
            .collect();
        let mut noises: Vec<Noise> = (0..b as u64)
            .map(|j| Noise::at(seed, &[place::NOISE, self.step, j]))
            .collect();
        let clean = Tensor::from_vec(batch.frames, (b, t, c), &self.device)?;
        let mut noise = Noise::at(seed, &[place::PORTRAIT, self.step]);
        let told = tell(&portraits, &hidden, &mut noise);
        let cond = Conditioning::new(&labels, &batch.descriptors, &self.device)?;
        let cond = cond.with_portraits(told.as_flattened())?;
        let loss = match &self.config.tuning {
            None => {
                let objective = &self.config.objective;
                objective.loss(&self.denoiser, &clean, &cond, &sigmas, &mut noises)?
            }
            Some(tuning) => {
                let mut noise = Noise::at(seed, &[place::LEVEL, self.step]);
                let progress = self.progress();
                let levels = tuning.consistency.draw_levels(b, progress, &mut noise);
                let teacher = self
                    .teacher
                    .as_ref()
                    .map(|teacher| Guided::new(teacher, tuning.guidance, tuning.guidance_interval));
                let teacher = teacher.transpose()?;
                tuning.consistency.loss(
                    &self.denoiser,
                    teacher.as_ref().map(|teacher| teacher as &dyn Denoiser),
                    &clean,
                    &cond,
                    &levels,
                    &mut noises,
                )?
            }
        };
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            return Err(self.diverged("loss", value as f64));
        }
        let learning_rate = self.config.learning_rate.at(self.step, self.progress());
        let gradient_norm = self
            .adam
            .step(&self.parameters, &loss.backward()?, learning_rate)?;
        if !gradient_norm.is_finite() {
            return Err(self.diverged("gradient's norm", gradient_norm));
        }
        self.step += 1;
        self.windows += b as u64;
        self.ema.update(&self.parameters, self.step)?;
        let (step, windows, seconds) = (self.step, self.windows, self.seconds);
        let progress = self.progress();
        Ok(StepReport {
            step,
            windows,
            loss: value,
            learning_rate,
            gradient_norm,
            seconds,
            progress,
            validation: None,
        })
    }

    /// Compares the validation just made to the best, where the run is to end by it.
    fn keep_best(&mut self) -> Result<()> {
        let (Some(validation), true) = (self.validation, self.config.patience > 0) else {
            return Ok(());
        };
        if self
            .best
            .as_ref()
            .is_some_and(|best| best.validation <= validation)
        {
            self.misses += 1;
            return Ok(());
        }
        // The average goes on in place.
        let copy = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.copy()?));
        self.misses = 0;
        self.best = Some(Best {
            validation,
            step: self.step,
            weights: self.ema.weights().iter().map(copy).collect::<Result<_>>()?,
        });
        Ok(())
    }

    fn diverged(&self, what: &'static str, value: f64) -> Error {
        Error::Diverged {
            what,
            value,
            step: self.step,
            saved: self.folder.join("state.safetensors").exists(),
        }
    }

    /// Mean weighted loss of the averaged weights on held-out sounds, at fixed noise levels with fixed
    /// noise; `None` when there is nothing to validate on.
    ///
    /// # Errors
    /// When a held-back sound can no longer be read.
    pub fn validate(&self) -> Result<Option<f32>> {
        let learnt = self
            .config
            .validate_every
            .saturating_mul(self.config.batch as u64);
        let sounds = validated(self.dataset.validation(), learnt);
        let levels = self.config.validation_levels();
        let mut total = 0f64;
        // No more at once than training takes, which is as much as there is memory for.
        let most = self.config.batch.min(16);
        for (i, chunk) in sounds.chunks(most).enumerate() {
            let batch = self.dataset.batch(chunk, &*self.representation, None)?;
            let (b, t, c) = batch.shape;
            let clean = Tensor::from_vec(batch.frames, (b, t, c), &self.device)?;
            let cond = Conditioning::new(&batch.labels, &batch.descriptors, &self.device)?;
            // As a sound is rendered: with its portrait.
            let told = self.portraits.iter().flat_map(|portraits| {
                let own = chunk.iter().map(|&index| portraits[index].columns());
                own.collect::<Vec<_>>()
            });
            let cond = cond.with_portraits(told.collect::<Vec<_>>().as_flattened())?;
            for (k, sigma) in levels.into_iter().enumerate() {
                let noise = |j| Noise::at(0, &[place::VALIDATION, (most * i + j) as u64, k as u64]);
                let mut noises: Vec<Noise> = (0..b).map(noise).collect();
                let sigmas = vec![sigma; b];
                let loss = match &self.config.tuning {
                    None => {
                        let objective = &self.config.objective;
                        objective.loss(&self.averaged, &clean, &cond, &sigmas, &mut noises)?
                    }
                    // All the way in one step, wherever the path begins.
                    Some(tuning) => {
                        let levels = vec![(sigma, 0.0); b];
                        let consistency = &tuning.consistency;
                        consistency.loss(
                            &self.averaged,
                            None,
                            &clean,
                            &cond,
                            &levels,
                            &mut noises,
                        )?
                    }
                };
                total += loss.to_scalar::<f32>()? as f64 * b as f64;
            }
        }
        let count = sounds.len() * levels.len();
        Ok((count > 0).then(|| (total / count as f64) as f32))
    }

    /// The model as it stands, with averaged weights; those that were best where the run is to end by it.
    ///
    /// # Errors
    /// When weights cannot be copied from the device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let best = self.best.as_ref();
        let weights = best.map_or(self.ema.weights(), |best| &best.weights);
        let validation_loss = best.map_or(self.validation, |best| Some(best.validation));
        let training = TrainingRecord {
            audiodiff_version: env!("CARGO_PKG_VERSION").to_owned(),
            steps: self.step,
            windows: self.windows,
            seconds: self.seconds,
            validation_loss,
            sounds: self.dataset.train().len() as u64,
            seed: self.config.seed,
            ..self.model.training.clone()
        };
        let config = ModelConfig {
            training,
            ..self.model.clone()
        };
        let host = |(name, tensor): (&String, &Tensor)| {
            Ok((name.clone(), tensor.to_device(&Device::Cpu)?))
        };
        Ok(Checkpoint {
            config,
            weights: weights.iter().map(host).collect::<Result<_>>()?,
        })
    }

    /// Writes `state.safetensors`, then `model.safetensors`, whose path it returns: whoever finds a model
    /// finds the state it belongs to.
    fn save(&self) -> Result<PathBuf> {
        let model = self.folder.join("model.safetensors");
        let (adam_steps, mut tensors) = self.adam.state();
        for (name, var) in self.parameters.iter() {
            tensors.insert(format!("weights.{name}"), var.as_tensor().clone());
        }
        for (name, tensor) in self.ema.weights() {
            tensors.insert(format!("ema.{name}"), tensor.clone());
        }
        for (name, tensor) in self.best.iter().flat_map(|best| &best.weights) {
            tensors.insert(format!("best.{name}"), tensor.clone());
        }
        let note = StateNote {
            config: self.config.clone(),
            model: self.model.clone(),
            sounds: self.dataset.fingerprint().to_owned(),
            from: self.from.clone(),
            step: self.step,
            windows: self.windows,
            seconds: self.seconds,
            adam_steps,
            validation: self.validation,
            best: self.best.as_ref().map(|best| (best.validation, best.step)),
            misses: self.misses,
        };
        let note = serde_json::to_string(&note).expect("the state is plain data");
        save_tensors(&self.folder.join("state.safetensors"), &tensors, &note)?;
        self.checkpoint()?.save(&model, Precision::F32)?;
        Ok(model)
    }

    /// Drops the lines of `stats.jsonl` that an interrupted run wrote after its last checkpoint.
    fn forget_later_stats(&self) -> Result<()> {
        let path = self.folder.join("stats.jsonl");
        let mut kept = String::new();
        for report in read_stats(&path)? {
            if report.step <= self.step {
                kept += &serde_json::to_string(&report).expect("a report is plain data");
                kept.push('\n');
            }
        }
        write_whole(&path, kept.as_bytes())
    }
}

/// The sounds to validate on of those that are `held` back, where so many are learnt between two validations. They are
/// spread over all: sounds lie in the order of their classes.
fn validated(held: &[usize], learnt: u64) -> Vec<usize> {
    let most = usize::try_from(learnt / LEARNT_FOR_EACH).unwrap_or(usize::MAX);
    let most = most.clamp(LEAST_VALIDATION_SOUNDS, VALIDATION_SOUNDS);
    let n = held.len().min(most);
    (0..n).map(|i| held[i * held.len() / n]).collect()
}

/// The reports of a run, oldest first; none if the file does not exist. Lines that a crash left
/// unfinished are passed over.
///
/// # Errors
/// [`Error::Io`] when the file exists and cannot be read.
pub fn read_stats(path: &Path) -> Result<Vec<StepReport>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path)(e)),
    };
    let lines = BufReader::new(file)
        .lines()
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::io(path))?;
    Ok(lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// What prepares batches on its own thread.
struct BatchSource<'d> {
    dataset: &'d Dataset,
    portraits: Option<Vec<Portrait>>,
    representation: Box<dyn Representation>,
    config: TrainConfig,
}

impl BatchSource<'_> {
    /// A batch, and the portraits of its changed clips if the network is told them.
    fn batch(&self, step: u64) -> Result<(Batch, Vec<Portrait>)> {
        let TrainConfig { seed, batch, .. } = self.config;
        let indices = self
            .dataset
            .draw(batch, &mut Noise::at(seed, &[place::DRAW, step]));
        let augment = self.config.augment.unwrap_or(Augment::NONE);
        let batch = self.dataset.batch(
            &indices,
            &*self.representation,
            Some((&augment, seed, step)),
        )?;
        let told = self.portraits.iter().flat_map(|portraits| {
            let changes = batch.descriptors.chunks_exact(DESCRIPTORS.len());
            let changed = |(&index, change): (&usize, &[f32])| changed(portraits[index], change);
            indices.iter().zip(changes).map(changed)
        });
        let told = told.collect();
        Ok((batch, told))
    }
}

/// Portraits of all sounds.
fn portraits_of(dataset: &Dataset) -> Result<Vec<Portrait>> {
    let one = |index| Ok(Portrait::of(&Measures::of(&*dataset.clip(index)?)));
    (0..dataset.len()).into_par_iter().map(one).collect()
}

/// What is known of a sound after the change that the descriptors tell of.
fn changed(portrait: Portrait, change: &[f32]) -> Portrait {
    let [_, varispeed, _, decay, _] = *change else {
        return portrait;
    };
    let mut portrait = portrait.varispeed(SEMITONES_PER_UNIT * varispeed);
    if decay > 0.0 {
        portrait.set(Quality::Length, None);
    }
    portrait
}

/// What the network is told of each portrait: nothing beside a hidden class, so that guidance has an unconditional
/// half, else all, some or none of it.
fn tell(portraits: &[Portrait], hidden: &[bool], noise: &mut Noise) -> Vec<[f32; COLUMNS]> {
    let told = |(&portrait, &hidden): (&Portrait, &bool)| {
        let hidden = noise.chance(HIDDEN_PORTRAIT) || hidden;
        let mut told = portrait;
        for quality in Quality::ALL {
            if noise.chance(HIDDEN_QUALITY) || hidden {
                told.set(quality, None);
            }
        }
        told.columns()
    };
    portraits.iter().zip(hidden).map(told).collect()
}

/// The portraits that travel with a model.
fn kept(dataset: &Dataset, portraits: Option<&[Portrait]>) -> Vec<(Option<u32>, Portrait)> {
    let sounds = dataset.train().iter().take(MAX_PORTRAITS);
    let own = |portraits: &[Portrait]| {
        let pair = |&index: &usize| (dataset.label(index), portraits[index]);
        sounds.map(pair).collect()
    };
    portraits.map(own).unwrap_or_default()
}

/// A new model with fresh weights.
fn fresh(
    config: &TrainConfig,
    dataset: &Dataset,
    portraits: Option<&[Portrait]>,
    device: &Device,
) -> Result<(ModelConfig, Parameters)> {
    let mut clips = dataset.train().iter().map(|&index| dataset.clip(index));
    let statistics = config.representation.fit(&config.format, &mut clips)?;
    let model = ModelConfig {
        format_version: FORMAT_VERSION,
        name: config.name.clone(),
        format: config.format,
        crop: Some(dataset.crop()),
        representation: config.representation.clone(),
        statistics,
        labels: dataset.labels().to_vec(),
        descriptors: DESCRIPTORS.map(str::to_owned).to_vec(),
        portraits: kept(dataset, portraits),
        sigma_data: config.objective.sigma_data,
        sigma_max: config.representation.sigma_max(),
        target: config.target,
        network: config.network.clone(),
        rendering: None,
        training: TrainingRecord::default(),
    };
    model.validate()?;
    let mut noise = Noise::at(config.seed, &[place::INIT]);
    let parameters = model
        .network
        .init(model.surroundings(), &mut noise, device)?;
    Ok((model, parameters))
}

/// A model that goes on from another's weights, with the classes of the new sounds.
fn tuned(
    config: &TrainConfig,
    dataset: &Dataset,
    from: &Checkpoint,
    portraits: Option<&[Portrait]>,
    device: &Device,
) -> Result<(ModelConfig, Parameters)> {
    let old = &from.config;
    let agree = |what: &str, same: bool| {
        if same {
            Ok(())
        } else {
            Err(Error::setting(format!(
                "--from {}: its {what} differs from the run's",
                old.name
            )))
        }
    };
    agree("rate, channels or length", old.format == config.format)?;
    agree(
        "representation",
        old.representation == config.representation,
    )?;
    agree("network", old.network == config.network)?;
    agree("target", old.target == config.target)?;
    // A network that is told nothing learns all sounds as one kind.
    let told = old.network.is_told();
    agree(
        "set of descriptors",
        !told || old.descriptors == DESCRIPTORS,
    )?;
    agree("sigma_data", old.sigma_data == config.objective.sigma_data)?;
    let mut model = ModelConfig {
        name: config.name.clone(),
        crop: Some(dataset.crop()),
        labels: match told {
            true => dataset.labels().to_vec(),
            false => Vec::new(),
        },
        portraits: kept(dataset, portraits),
        // Files from before this was known mean too little for some representations.
        sigma_max: old.sigma_max.max(old.representation.sigma_max()),
        // A few-step model that is trained as a denoiser becomes one again.
        rendering: match (config.tuning, &old.rendering) {
            (Some(_), Some(own)) if old.is_few_step() => Some(Rendering {
                measured: Vec::new(),
                excess: Vec::new(),
                ..own.clone()
            }),
            (Some(_), _) => Some(FEW_STEPS),
            (None, own) => own.clone().filter(|_| !old.is_few_step()),
        },
        ..old.clone()
    };
    model.training = TrainingRecord {
        tuned_from: Some(old.name.clone()),
        licence: old.training.licence.clone(),
        ..TrainingRecord::default()
    };
    let mut weights = from.weights.clone();
    relabel(&mut weights, &old.labels, &model.labels)?;
    Ok((model, Parameters::from_weights(&weights, device)?))
}

/// Makes the class table fit new labels: a label that was known keeps its row, a new one begins as the
/// mean of the old ones, or at zero where there were none: the network first says what it said before.
/// Row 0 stands for "no class".
fn relabel(weights: &mut BTreeMap<String, Tensor>, old: &[String], new: &[String]) -> Result<()> {
    const TABLE: &str = "classes";
    let bias = "noise2.bias";
    match (weights.remove(TABLE), new.is_empty()) {
        (None, true) => {}
        // Nothing to tell apart any more: the row for "no class" is what the network always adds.
        (Some(table), true) => {
            let kept = weights
                .get(bias)
                .ok_or_else(|| Error::setting(format!("expected a parameter `{bias}`")))?;
            let folded = (kept + table.get(0)?)?;
            weights.insert(bias.to_owned(), folded);
        }
        (None, false) => {
            let width = weights.get(bias).map_or(0, |b| b.elem_count());
            let rows = (new.len() + 1, width);
            weights.insert(
                TABLE.to_owned(),
                Tensor::zeros(rows, DType::F32, &Device::Cpu)?,
            );
        }
        (Some(table), false) => {
            let mean = table.narrow(0, 1, old.len())?.mean_keepdim(0)?;
            let mut rows = vec![table.narrow(0, 0, 1)?];
            for label in new {
                rows.push(match old.iter().position(|known| known == label) {
                    Some(i) => table.narrow(0, i + 1, 1)?,
                    None => mean.clone(),
                });
            }
            weights.insert(TABLE.to_owned(), Tensor::cat(&rows, 0)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_validated_on_is_spread_over_all_and_costs_less_than_learning() {
        let held: Vec<usize> = (100..195).collect();
        // Two hundred steps of sixteen pay for all there may be, a hundred steps of one for ten.
        let sounds = validated(&held, 3200);
        assert_eq!((sounds.len(), sounds[0]), (VALIDATION_SOUNDS, 100));
        assert!(
            sounds
                .windows(2)
                .all(|pair| (1..=2).contains(&(pair[1] - pair[0])))
        );
        let few: Vec<usize> = (0..10).map(|i| 100 + i * 95 / 10).collect();
        assert_eq!(validated(&held, 100), few);
        assert_eq!(validated(&held, 0).len(), LEAST_VALIDATION_SOUNDS);
        assert_eq!(validated(&held[..3], u64::MAX), held[..3]);
        assert!(validated(&[], 3200).is_empty());
    }
}
