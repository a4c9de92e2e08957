//! The training loop: batches in, a model out, resumable at any step.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

mod begin;
mod classes;
mod conditioning;
mod config;
mod demo;
mod recipe;

pub use classes::ClassMatch;
pub use config::{ConsistencyTuning, Length, TrainConfig};
pub use demo::illustrate;

use begin::{adapted, fine_tuned, fresh};
use conditioning::{BatchConditions, BatchSource};

use crate::checkpoint::{Checkpoint, ModelConfig, StorageType, TrainingRecord};
use crate::checkpoint::{load_tensors, save_tensors};
use crate::dataset::{Batch, Dataset};
use crate::diffusion::guidance::Guided;
use crate::diffusion::{Denoiser, Preconditioned};
use crate::error::{Error, Result};
use crate::file::write_whole;
use crate::network::{Network, Parameters};
use crate::noise::Noise;
use crate::optim::{Adam, Ema};
use crate::representation::Representation;

/// First number of the places ([`Noise::at`]) that training draws from.
mod place {
    pub const INIT: u64 = 0x1000;
    pub const DRAW: u64 = 0x1001;
    pub const LEVEL: u64 = 0x1002;
    pub const NOISE: u64 = 0x1003;
    pub const VALIDATION: u64 = 0x1004;
    pub const PORTRAIT: u64 = 0x1005;
    pub const KEPT: u64 = 0x1006;
}

/// At most this many sounds are validated on, and at most one for as many as these that are learnt between two
/// validations, or looking would take as long as learning.
const VALIDATION_SOUNDS: usize = 48;
const LEARNT_FOR_EACH: u64 = 10;
/// But no fewer, where there are any.
const LEAST_VALIDATION_SOUNDS: usize = 4;
/// Fewer sounds than this are each met with so many noises that together there are as many: one guess at each level
/// would be a toss of a coin.
const LEAST_GUESSES: usize = 16;

/// One optimizer step, as reported and as a line of `stats.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Clips seen.
    #[serde(alias = "windows")]
    pub clips: u64,
    /// Weighted loss of this batch.
    pub loss: f32,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    #[serde(alias = "gradient_norm")]
    pub grad_norm: f64,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Part of the training that is done, 0 to 1.
    pub progress: f64,
    /// Validation loss of the averaged weights, at the steps that measure it: see [`Trainer::validate`].
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
    #[serde(alias = "windows")]
    clips: u64,
    seconds: f64,
    adam_steps: u64,
    #[serde(alias = "gradient_norm")]
    grad_norm: f64,
    validation: Option<f32>,
    /// Validation loss and step of the best weights, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<(f32, u64)>,
    /// Clips and seconds until then.
    #[serde(default)]
    until_best: (u64, f64),
    #[serde(default)]
    misses: u64,
}

/// The averaged weights that did best at a validation.
struct Best {
    validation: f32,
    step: u64,
    clips: u64,
    seconds: f64,
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
    /// What the new labels were taken for, right after a run that tunes a model was begun.
    matched: Vec<ClassMatch>,
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
    clips: u64,
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
    /// Goes on with the run in `folder` if there is one, else begins it: from `from`'s weights (then its
    /// representation, statistics and network are kept, and fitted to another length, rate or number of channels), or
    /// from fresh ones. `on_progress` hears how many sounds of how many are measured, where a beginning needs it.
    ///
    /// # Errors
    /// When settings make no sense, when `folder` holds a run with other settings, other sounds or another
    /// beginning, or a model without the state to go on from, or when `from` does not fit.
    pub fn open(
        mut config: TrainConfig,
        dataset: &'d Dataset,
        folder: &Path,
        from: Option<&Checkpoint>,
        device: &Device,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let state = folder.join("state.safetensors");
        let print = from.map(Checkpoint::fingerprint).transpose()?;
        if state.exists() {
            let mut trainer = Self::resume(config, dataset, folder, print, &state, device)?;
            trainer.teacher = trainer.taught_by(from)?;
            return Ok(trainer);
        }
        if config.batch == 0 {
            config.batch = config.fitting_batch(device);
        }
        config.validate()?;
        if folder.join("model.safetensors").exists() {
            return Err(Error::setting(format!(
                "{}: holds a model but no state.safetensors to go on from; choose another --out",
                folder.display()
            )));
        }
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let (model, parameters, matched) = match from {
            Some(from) => fine_tuned(&config, dataset, from, device, on_progress)?,
            None => {
                let (model, parameters) = fresh(&config, dataset, device, on_progress)?;
                (model, parameters, Vec::new())
            }
        };
        let mut trainer = Self::assemble(config, model, dataset, folder, parameters, device)?;
        trainer.matched = matched;
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
        folder: &Path,
        parameters: Parameters,
        device: &Device,
    ) -> Result<Self> {
        model.validate()?;
        let adam = Adam::new(&parameters, config.adam)?;
        let ema = Ema::new(&parameters, config.ema_gamma)?;
        // Both networks share storage with what they were built from, and so follow every update.
        let mut denoiser = model.denoiser(&mut &parameters)?;
        denoiser.network.engine().set_compute_type(config.precision);
        let averaged = model.denoiser(&mut ema.weights().clone())?;
        let representation = model
            .representation
            .build(&model.format, &model.statistics)?;
        Ok(Self {
            config,
            model,
            dataset,
            matched: Vec::new(),
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
            clips: 0,
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
                format!(
                    "its training state cannot be understood ({e}); another version of audiodiff may have written it. \
                     Choose another --out: --from {} goes on from its weights",
                    folder.join("model.safetensors").display()
                ),
            )
        })?;
        if config.batch == 0 {
            config.batch = note.config.batch;
        }
        config.validate()?;
        note.model.name.clone_from(&config.name);
        note.model.training.licence.clone_from(&config.licence);
        if !config.resumable_as(&note.config) {
            return Err(Error::setting(format!(
                "{}: holds a run with other settings (see its config.json); resume with those, or choose another --out",
                folder.display()
            )));
        }
        if note.model.network.is_conditional() && note.model.labels != dataset.labels() {
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
        let shapes = note.model.network.parameter_shapes(note.model.dims())?;
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
        let mut trainer = Self::assemble(config, note.model, dataset, folder, parameters, device)?;
        let restored = trainer
            .adam
            .restore(note.adam_steps, note.grad_norm, &tensors);
        restored
            .and_then(|()| trainer.ema.restore(&tensors))
            .map_err(|e| match e {
                Error::Setting(reason) => Error::checkpoint(path, reason),
                other => other,
            })?;
        (trainer.step, trainer.clips, trainer.seconds) = (note.step, note.clips, note.seconds);
        (trainer.validation, trainer.from) = (note.validation, from);
        trainer.misses = note.misses;
        // A run that is no longer to end by its validation saves what it comes to.
        if trainer.config.patience == 0 {
            trainer.misses = 0;
        } else if let Some((validation, step)) = note.best {
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
            let (clips, seconds) = note.until_best;
            trainer.best = Some(Best {
                validation,
                step,
                clips,
                seconds,
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
        let mut weights = adapted(from, &self.model)?;
        for tensor in weights.values_mut() {
            *tensor = tensor.to_device(&self.device)?;
        }
        let mut teacher = self.model.denoiser(&mut weights)?;
        teacher.network.engine().freeze();
        Ok(Some(teacher))
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

    /// What decides the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// What the sounds' labels were taken for among the classes of the model that the run began from; empty for a run
    /// that began from nothing, or was resumed.
    pub fn matched_classes(&self) -> &[ClassMatch] {
        &self.matched
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
            config: self.config.clone(),
            attributes: self.has_attributes(),
        };
        // A model that others would only spoil is the best of its tuning.
        if self.step == 0 && self.from.is_some() && self.config.patience > 0 {
            self.validation = self.validate()?;
            self.keep_best()?;
        }
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
    fn learn(&mut self, batch: Batch) -> Result<StepReport> {
        let (b, t, c) = batch.shape;
        let seed = self.config.seed;
        let mut noise = Noise::at(seed, &[place::LEVEL, self.step]);
        let sigmas = self.config.objective.draw_sigmas(b, &mut noise);
        let mut attributes = Noise::at(seed, &[place::PORTRAIT, self.step]);
        let conditions = BatchConditions::of(&batch, &self.model);
        let conditions = conditions.hide(self.config.class_dropout, &mut noise, &mut attributes);
        let cond = conditions.conditioning(&self.device)?;
        let mut noises: Vec<Noise> = (0..b as u64)
            .map(|j| Noise::at(seed, &[place::NOISE, self.step, j]))
            .collect();
        let clean = Tensor::from_vec(batch.frames, (b, t, c), &self.device)?;
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
        let grad_norm = self
            .adam
            .step(&self.parameters, &loss.backward()?, learning_rate)?;
        if !grad_norm.is_finite() {
            return Err(self.diverged("gradient's norm", grad_norm));
        }
        self.step += 1;
        self.clips += b as u64;
        self.ema.update(&self.parameters, self.step)?;
        let (step, clips, seconds) = (self.step, self.clips, self.seconds);
        let progress = self.progress();
        Ok(StepReport {
            step,
            clips,
            loss: value,
            learning_rate,
            grad_norm,
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
            clips: self.clips,
            seconds: self.seconds,
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

    fn has_attributes(&self) -> bool {
        !self.model.attributes.is_empty()
    }

    /// Weighted loss of the averaged weights on held-out sounds, with fixed noise: the mean over the sounds at each of
    /// four noise levels, and of these the geometric mean, so that what is gained or lost at any level counts alike,
    /// whatever the loss weighs it by. `None` when there is nothing to validate on.
    ///
    /// # Errors
    /// When a held-back sound can no longer be read.
    pub fn validate(&self) -> Result<Option<f32>> {
        let learnt = self
            .config
            .validate_every
            .saturating_mul(self.config.batch as u64);
        let guesses = validated(self.dataset.validation(), learnt);
        let levels = self.config.validation_levels();
        let mut totals = vec![0f64; levels.len()];
        // No more at once than training takes, which is as much as there is memory for.
        let most = self.config.batch.min(16);
        for chunk in guesses.chunks(most) {
            let sounds: Vec<usize> = chunk.iter().map(|guess| guess.0).collect();
            let has_attributes = self.has_attributes();
            let batch = self
                .dataset
                .batch(&sounds, &*self.representation, None, has_attributes)?;
            // As a sound is rendered: with its attributes.
            let cond = BatchConditions::of(&batch, &self.model).conditioning(&self.device)?;
            let (b, t, c) = batch.shape;
            let clean = Tensor::from_vec(batch.frames, (b, t, c), &self.device)?;
            for (k, (&sigma, total)) in levels.iter().zip(&mut totals).enumerate() {
                let noise =
                    |guess: &(usize, u64)| Noise::at(0, &[place::VALIDATION, guess.1, k as u64]);
                let mut noises: Vec<Noise> = chunk.iter().map(noise).collect();
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
                *total += loss.to_scalar::<f32>()? as f64 * b as f64;
            }
        }
        if guesses.is_empty() {
            return Ok(None);
        }
        // A loss of nothing at one level must not hide all others.
        let logarithm = |total: &f64| (total / guesses.len() as f64).max(1e-12).ln();
        let mean = totals.iter().map(logarithm).sum::<f64>() / levels.len() as f64;
        Ok(Some(mean.exp() as f32))
    }

    /// The model as it stands, with averaged weights; those that were best where the run is to end by it.
    ///
    /// # Errors
    /// When weights cannot be copied from the device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let best = self.best.as_ref();
        let weights = best.map_or(self.ema.weights(), |best| &best.weights);
        let validation_loss = best.map_or(self.validation, |best| Some(best.validation));
        let (steps, clips, seconds) = match best {
            Some(best) => (best.step, best.clips, best.seconds),
            None => (self.step, self.clips, self.seconds),
        };
        let training = TrainingRecord {
            audiodiff_version: env!("CARGO_PKG_VERSION").to_owned(),
            steps,
            clips,
            seconds,
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
        let (adam_steps, grad_norm, mut tensors) = self.adam.state();
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
            clips: self.clips,
            seconds: self.seconds,
            adam_steps,
            grad_norm,
            validation: self.validation,
            best: self.best.as_ref().map(|best| (best.validation, best.step)),
            until_best: self
                .best
                .as_ref()
                .map_or((0, 0.0), |best| (best.clips, best.seconds)),
            misses: self.misses,
        };
        let note = serde_json::to_string(&note).expect("the state is plain data");
        save_tensors(&self.folder.join("state.safetensors"), &tensors, &note)?;
        self.checkpoint()?.save(&model, StorageType::F32)?;
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

/// What to guess when validating: sounds of those that are `held` back, each with the number of its noise, where so
/// many are learnt between two validations. They are spread over all: sounds lie in the order of their classes.
fn validated(held: &[usize], learnt: u64) -> Vec<(usize, u64)> {
    let most = usize::try_from(learnt / LEARNT_FOR_EACH).unwrap_or(usize::MAX);
    let most = most.clamp(LEAST_VALIDATION_SOUNDS, VALIDATION_SOUNDS);
    let n = held.len().min(most);
    let noises = most.min(LEAST_GUESSES).div_ceil(n.max(1));
    (0..n * noises)
        .map(|i| (held[i % n * held.len() / n], i as u64))
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_validated_on_is_spread_over_all_and_costs_less_than_learning() {
        let held: Vec<usize> = (100..195).collect();
        let sounds = |held: &[usize], learnt| -> Vec<usize> {
            let guesses = validated(held, learnt);
            assert!(
                guesses
                    .iter()
                    .map(|guess| guess.1)
                    .eq(0..guesses.len() as u64)
            );
            guesses.into_iter().map(|guess| guess.0).collect()
        };
        // Two hundred steps of sixteen pay for all there may be, a hundred steps of one for ten.
        let all = sounds(&held, 3200);
        assert_eq!((all.len(), all[0]), (VALIDATION_SOUNDS, 100));
        let gaps = all.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| (1..=2).contains(&gap)));
        let few: Vec<usize> = (0..10).map(|i| 100 + i * 95 / 10).collect();
        assert_eq!(sounds(&held, 100), few);
        assert_eq!(sounds(&held, 0).len(), LEAST_VALIDATION_SOUNDS);
        // Where few are held back, each is guessed under several noises.
        assert_eq!(sounds(&held[..1], u64::MAX), [100; LEAST_GUESSES]);
        assert_eq!(sounds(&held[..3], u64::MAX), [100, 101, 102].repeat(6));
        assert_eq!(sounds(&held[..3], 100), [100, 101, 102].repeat(4));
        assert!(validated(&[], 3200).is_empty());
    }
}
