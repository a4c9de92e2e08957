//! The training loop: batches in, a model out, resumable at any step.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};

mod begin;
mod claim;
mod classes;
mod conditioning;
mod config;
mod demo;
mod fine_tune;
mod gradients;
mod memory;
mod recipe;
mod start;
mod state;
mod stats;
mod validation;

pub use classes::ClassMatch;
pub use config::{Distillation, Length, Loss, TrainConfig};
pub use demo::{DEMO_TIME, Demo, DemoPace, demos, illustrate};
pub use memory::free_memory;
pub use start::enough_for_fresh;
pub use stats::{StepReport, read_stats};

use begin::{OnProgress, fresh};
use conditioning::{BatchConditions, BatchSource, Prepared};
use fine_tune::{adapted, fine_tuned};
use gradients::GradientSums;
use memory::Room;
use state::{Run, SavedState, State, model_in, path_in};
use stats::Stats;

use crate::checkpoint::{Checkpoint, ModelConfig, TrainingRecord};
use crate::dataset::{Batch, Dataset};
use crate::diffusion::{Denoiser, Preconditioned};
use crate::error::{Error, Result};
use crate::file::{FolderLock, write_whole};
use crate::group::Group;
use crate::network::{Conditioning, Network, on_device};
use crate::noise::Noise;
use crate::representation::Representation;

/// First number of the places ([`Noise::at`]) that training draws from.
mod place {
    pub const INIT: u64 = 0x1000;
    pub const DRAW: u64 = 0x1001;
    pub const LEVEL: u64 = 0x1002;
    pub const NOISE: u64 = 0x1003;
    pub const VALIDATION: u64 = 0x1004;
    pub const ATTRIBUTES: u64 = 0x1005;
    pub const KEPT: u64 = 0x1006;
}

/// News of the trainer at work.
#[derive(Debug)]
#[non_exhaustive]
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

/// A training in a run folder.
///
/// The folder holds `config.json`, `stats.jsonl`, `model.safetensors` (averaged weights: all that
/// rendering needs) and `state.safetensors` (all that resuming needs). A batch, its noise and its
/// noise levels depend only on the seed and the step, so a run that was interrupted ends with the same
/// weights, to the bit, as one that was not. Until it is dropped, no other trainer opens the folder.
///
/// Ranks of a [`Group`] train one model together ([`Trainer::open_in`]): each learns from its part of every batch, and
/// the gradients are added up. The batch, its noise and its noise levels are those of one process, so the losses are
/// the same but for rounding; with the same number of ranks all is the same to the bit.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use audiodiff::diffusion::Target;
/// use audiodiff::network::{NetworkConfig, UNetConfig};
/// use audiodiff::representation::{RepresentationConfig, WaveConfig};
/// use audiodiff::train::Outcome;
/// use audiodiff::{Dataset, Device, ScanOptions, TrainConfig, Trainer};
/// # use audiodiff::audio::{BitDepth, Clip, write_wav};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let (wavs, run) = (folder.path().join("wavs"), folder.path().join("run"));
/// # std::fs::create_dir(&wavs).expect("a folder");
/// # for hz in [200.0, 300.0, 400.0] {
/// #     let tone = (0..4000).map(|t| (hz * t as f32 / 1300.0).sin()).collect();
/// #     write_wav(&wavs.join(format!("{hz}.wav")), &Clip::new(8000, vec![tone]), BitDepth::Int16)?;
/// # }
///
/// let network = NetworkConfig::UNet(UNetConfig::preset("16x1,16x1")?);
/// let representation = RepresentationConfig::Wave(WaveConfig { patch: 64 });
/// let mut config = TrainConfig::from_scratch(representation, Target::X, network).steps(1);
/// config.set_format(Some(8000), None, Some(0.25))?;
/// let (sounds, _) = Dataset::open(&wavs, config.format, &ScanOptions::default(), &mut |_, _| ())?;
/// let mut trainer = Trainer::open(config, &sounds, &run, None, &Device::Cpu, &mut |_, _| ())?;
/// assert_eq!(trainer.run(&mut |_| ControlFlow::Continue(()))?, Outcome::Finished);
/// assert_eq!(trainer.step(), 1);
/// assert!(run.join("model.safetensors").exists());
/// # Ok::<(), audiodiff::Error>(())
/// ```
pub struct Trainer<'d> {
    config: TrainConfig,
    group: Arc<Group>,
    /// Clips a step, of all ranks together.
    batch: usize,
    /// Where there are several ranks.
    sums: Option<Arc<GradientSums>>,
    model: ModelConfig,
    run: Run<'d>,
    representation: Box<dyn Representation>,
    device: Device,
    /// The old classes that the new labels were taken for, right after a fine-tuning was begun.
    matched: Vec<ClassMatch>,
    denoiser: Preconditioned<Box<dyn Network>>,
    averaged: Preconditioned<Box<dyn Network>>,
    /// The teacher of a distillation: the model that it began from.
    teacher: Option<Preconditioned<Box<dyn Network>>>,
    state: State,
    /// Ends a run within a step.
    stop: Arc<AtomicBool>,
    /// While it is held, no other training writes into the folder. Only rank 0 does.
    _lock: Option<FolderLock>,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("folder", &self.run.folder)
            .field("step", &self.step())
            .finish_non_exhaustive()
    }
}

impl<'d> Trainer<'d> {
    /// [`Trainer::open_in`] a group of one.
    ///
    /// # Errors
    /// As [`Trainer::open_in`].
    pub fn open(
        config: TrainConfig,
        dataset: &'d Dataset,
        folder: &Path,
        from: Option<&Checkpoint>,
        device: &Device,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let group = Arc::new(Group::alone());
        let mut on_progress = |done, all| {
            on_progress(done, all);
            ControlFlow::Continue(())
        };
        let on_progress = &mut on_progress;
        Self::open_in(group, config, dataset, folder, from, device, on_progress)
    }

    /// Goes on with the run in `folder` if there is one, else begins it: from `from`'s weights (then its
    /// representation, statistics and network are kept, and fitted to another length, rate or number of channels), or
    /// from fresh ones. `on_progress` hears how many sounds of how many are measured, where a beginning needs it, and may
    /// break that off: then the folder holds no run.
    ///
    /// All ranks of the group are given the same. Rank 0 alone reads and writes the folder, and tells the others how the
    /// run stands; a batch that is left open is chosen by its memory and cores, times the number of ranks.
    ///
    /// # Errors
    /// [`Error::Rank`] when a rank was given something else than rank 0, or has ended. [`Error::Stopped`] when
    /// `on_progress` broke off.
    /// When settings make no sense or take more memory than there is, when `folder` holds a run with other settings,
    /// other sounds or another beginning, a model without the state to go on from or files of another program, when
    /// another training is at work in it, or when `from` does not fit.
    pub fn open_in(
        group: Arc<Group>,
        mut config: TrainConfig,
        dataset: &'d Dataset,
        folder: &Path,
        from: Option<&Checkpoint>,
        device: &Device,
        on_progress: OnProgress<'_>,
    ) -> Result<Self> {
        let run = Run {
            folder: folder.to_owned(),
            dataset,
            from: from.map(Checkpoint::fingerprint).transpose()?,
        };
        if !group.is_first() {
            return Self::follow(group, config, run, from, device);
        }
        let lock = claim::claim(folder)?;
        let saved = SavedState::read(folder)?;
        let before = saved.as_ref().map(SavedState::config);
        config.batch = config.batch.or(before.and_then(|before| before.batch));
        if config.licence.is_none() {
            config.licence = before.and_then(|before| before.licence.clone());
        }
        let room = Room::now();
        let batch = config
            .batch
            .unwrap_or_else(|| config.fitting_batch(room, &group, device));
        config.batch = Some(batch);
        config.validate()?;
        if batch.get() < group.size() {
            return Err(Error::setting(format!(
                "batch: expected at least a clip a step for each of the {} ranks, found {batch}",
                group.size()
            )));
        }
        room.check(&config, batch, &group, device)?;
        let trainer = match saved {
            Some(saved) => {
                saved.check(&config, &run)?;
                let (model, state) = saved.restore(&config, device)?;
                let lock = lock.map_or_else(|| claim::lock(folder), Ok)?;
                let trainer =
                    Self::assemble(group, config, model, run, from, state, (device, Some(lock)))?;
                Stats::truncate(folder, trainer.step())?;
                trainer
            }
            None => Self::begin(group, config, run, from, device, lock, on_progress)?,
        };
        trainer.tell()?;
        Ok(trainer)
    }

    /// Goes on from where rank 0 is.
    fn follow(
        group: Arc<Group>,
        mut config: TrainConfig,
        run: Run<'d>,
        from: Option<&Checkpoint>,
        device: &Device,
    ) -> Result<Self> {
        let saved = SavedState::told(&run.folder, &group.broadcast(Vec::new())?)?;
        let first = saved.config();
        (config.batch, config.licence) = (first.batch, first.licence.clone());
        saved.check(&config, &run).map_err(|error| Error::Rank {
            rank: group.rank(),
            reason: format!("expected to be given the same as rank 0, found another run: {error}"),
        })?;
        let (model, state) = saved.restore(&config, device)?;
        Self::assemble(group, config, model, run, from, state, (device, None))
    }

    /// Begins a run in a folder that holds none.
    fn begin(
        group: Arc<Group>,
        config: TrainConfig,
        run: Run<'d>,
        from: Option<&Checkpoint>,
        device: &Device,
        lock: Option<FolderLock>,
        on_progress: OnProgress<'_>,
    ) -> Result<Self> {
        let folder = run.folder.clone();
        if model_in(&folder).exists() {
            return Err(Error::setting(format!(
                "{}: holds a model but no state.safetensors to go on from; choose another --out",
                folder.display()
            )));
        }
        crate::file::make_folder(&folder)?;
        let lock = lock.map_or_else(|| claim::lock(&folder), Ok)?;
        let (model, parameters, matched) = match from {
            Some(from) => fine_tuned(&config, run.dataset, from, device, on_progress)?,
            None => {
                let (model, parameters) = fresh(&config, run.dataset, device, on_progress)?;
                (model, parameters, Vec::new())
            }
        };
        let state = State::new(parameters, &config)?;
        let mut trainer =
            Self::assemble(group, config, model, run, from, state, (device, Some(lock)))?;
        trainer.matched = matched;
        let json =
            serde_json::to_string_pretty(&trainer.config).expect("the configuration is plain data");
        write_whole(&folder.join("config.json"), json.as_bytes())?;
        Stats::clear(&folder)?;
        Ok(trainer)
    }

    fn assemble(
        group: Arc<Group>,
        config: TrainConfig,
        model: ModelConfig,
        run: Run<'d>,
        from: Option<&Checkpoint>,
        state: State,
        (device, lock): (&Device, Option<FolderLock>),
    ) -> Result<Self> {
        model.validate()?;
        let batch = config
            .batch
            .ok_or_else(|| Error::setting("batch: expected a number, found none"))?;
        // Both networks share storage with the state's weights, and so follow every update.
        let mut denoiser = model.denoiser(&mut &state.parameters)?;
        let engine = denoiser.network.engine();
        engine.set_compute_type(config.precision);
        let sums = GradientSums::new(&group, &state.parameters);
        if let Some(sums) = &sums {
            let sums = Arc::clone(sums);
            engine.on_gradient(Arc::new(move |parameter, gradient| {
                sums.arrive(parameter, gradient);
            }));
        }
        let averaged = model.denoiser(&mut state.ema.weights().clone())?;
        let representation = model
            .representation
            .build(&model.format, &model.statistics)?;
        Ok(Self {
            teacher: teacher(&config, &model, from, device)?,
            batch: batch.get(),
            config,
            group,
            sums,
            model,
            run,
            representation,
            device: device.clone(),
            matched: Vec::new(),
            denoiser,
            averaged,
            state,
            stop: Arc::default(),
            _lock: lock,
        })
    }

    /// Steps done so far; more than 0 right after opening means that a run was resumed.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.state.done.steps
    }

    /// Number of trainable values.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.state.parameters.count()
    }

    /// The model under training.
    #[must_use]
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// The settings of the run.
    #[must_use]
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The classes, of the model that the run began from, that the sounds' labels were taken for; empty for a run
    /// that began from nothing, or was resumed.
    #[must_use]
    pub fn matched_classes(&self) -> &[ClassMatch] {
        &self.matched
    }

    /// The step whose weights the model has, where the run looks for good ones by validation.
    #[must_use]
    pub fn kept_step(&self) -> Option<u64> {
        let kept = self.state.validations.kept.as_ref();
        kept.map(|kept| kept.done.steps)
    }

    /// Part of the training that is done, 0 to 1; all of it when patience is at an end.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let State {
            done, validations, ..
        } = &self.state;
        if validations.exhaust(self.config.patience) {
            return 1.0;
        }
        match self.config.length {
            Length::Steps(steps) => done.steps as f64 / steps as f64,
            Length::Minutes(minutes) => done.seconds / (60.0 * minutes),
        }
        .min(1.0)
    }

    /// Has runs end as soon as `stop` is true, in the middle of a step: as if they had been told to after the step
    /// before, so that nothing is lost but that part of a step. They do not save then: [`Trainer::save`] does, on a thread
    /// of the caller's choice. For a training without other ranks, which would wait for this one: it ends with an error.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        for network in [&mut self.denoiser, &mut self.averaged] {
            network.network.engine().stop_with(stop.clone());
        }
        if let Some(teacher) = &mut self.teacher {
            teacher.network.engine().stop_with(stop.clone());
        }
        self.stop = stop;
    }

    /// Trains to the end of the configured length, reporting to `on_event`, whose `Break`, on any rank, ends the run
    /// after the present step. Either way the run is saved, unless [`Trainer::stop_with`] ends it. Only rank 0 hears of
    /// files.
    ///
    /// Within a thread pool of rayon's, all work is done by its threads: batches are then prepared between the steps, and
    /// otherwise by a thread more and the global pool.
    ///
    /// # Errors
    /// [`Error::Rank`] when another rank has ended, or its weights are no longer those of rank 0.
    /// [`Error::Diverged`] when the loss or the gradient stops being a number: the files then still
    /// hold the last good state.
    pub fn run(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        let mut stats = match self.group.is_first() {
            true => Some(Stats::append(&self.run.folder)?),
            false => None,
        };
        let lengths = self.model.clip_lengths();
        let model = &self.model;
        let source = BatchSource {
            dataset: self.run.dataset,
            representations: model.representation.build_each(
                &model.format,
                &lengths,
                &model.statistics,
            )?,
            lengths,
            config: self.config.clone(),
            batch: self.batch,
            places: self.places(),
            attributes: self.has_attributes(),
            device: self.device.clone(),
        };
        // A model that others would only spoil is the best of its fine-tuning.
        if self.step() == 0 && self.run.from.is_some() && self.config.patience.is_some() {
            match self.push_validation() {
                Err(_) if self.is_stopped() => return Ok(Outcome::Stopped),
                pushed => pushed?,
            };
        }
        let first = self.step();
        std::thread::scope(|scope| {
            let source = &source;
            let ahead = rayon::current_thread_index().is_none().then(|| {
                // Batches are prepared, and copied to a GPU, ahead; the channel closes when either side is done.
                let (send, receive) = crossbeam::channel::bounded(2);
                scope.spawn(move || {
                    (first..).try_for_each(|step| send.send(source.prepare(step)).ok())
                });
                receive
            });
            let prepared = |step| match &ahead {
                Some(ahead) => ahead
                    .recv()
                    .expect("the source goes on as long as it is listened to"),
                None => source.prepare(step),
            };
            let mut clock = Instant::now();
            let mut saved_at = self.state.done.seconds;
            while self.state.unvalidated.is_some() || self.progress() < 1.0 {
                let report = match self.next_report(&prepared, &mut clock) {
                    Err(_) if self.is_stopped() => return Ok(Outcome::Stopped),
                    report => report?,
                };
                if let Some(stats) = &mut stats {
                    stats.write(&report)?;
                }
                let stop = on_event(Event::Step(&report)).is_break();
                if self.is_stopped() {
                    return Ok(Outcome::Stopped);
                }
                let stop = self.group.any(stop)?;
                let done = self.progress() >= 1.0;
                let seconds = self.state.done.seconds;
                let due = seconds - saved_at >= self.config.save_every_s;
                if stop || done || due {
                    saved_at = seconds;
                    self.check_alike()?;
                    let mut leave = stop;
                    if self.group.is_first() {
                        let model = self.save()?;
                        leave |= on_event(Event::Saved(&model)).is_break();
                    }
                    if self.group.any(leave)? && !done {
                        return Ok(Outcome::Stopped);
                    }
                }
            }
            Ok(Outcome::Finished)
        })
    }

    /// Learns from the next batch, and validates where it is time to. Of a step whose validation was broken off, that is
    /// what is left to do.
    fn next_report(
        &mut self,
        prepared: &dyn Fn(u64) -> Result<Prepared>,
        clock: &mut Instant,
    ) -> Result<StepReport> {
        let mut report = match self.state.unvalidated {
            Some(report) => report,
            None => {
                let prepared = prepared(self.step())?;
                let report =
                    (self.learn(prepared)).map_err(|error| memory::told(error, self.batch))?;
                let seconds = self.state.done.seconds + clock.elapsed().as_secs_f64();
                *clock = Instant::now();
                self.state.done.seconds = self.of_first(seconds)?;
                report
            }
        };
        if self.progress() >= 1.0 || self.step().is_multiple_of(self.config.validate_every) {
            self.state.unvalidated = Some(report);
            report.validation = self.push_validation()?;
            self.state.unvalidated = None;
        }
        (report.seconds, report.progress) = (self.state.done.seconds, self.progress());
        Ok(report)
    }

    /// Whether a run was told to end within a step, and can.
    fn is_stopped(&self) -> bool {
        self.group.size() == 1 && self.stop.load(Ordering::Relaxed)
    }

    /// The places of this rank's clips in every batch.
    fn places(&self) -> Range<usize> {
        self.group.share(self.batch)
    }

    /// Rank 0's number.
    fn of_first(&self, own: f64) -> Result<f64> {
        let bytes = self.group.broadcast(own.to_le_bytes().to_vec())?;
        Ok(bytes
            .first_chunk()
            .map_or(own, |&bytes| f64::from_le_bytes(bytes)))
    }

    /// Fails unless all ranks have the same weights.
    fn check_alike(&self) -> Result<()> {
        if self.group.size() == 1 {
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        for (_, var) in self.state.parameters.iter() {
            let values = var
                .flatten_all()?
                .to_device(&Device::Cpu)?
                .to_vec1::<f32>()?;
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
        let all = self.group.gather(hasher.finalize().as_bytes().to_vec())?;
        match all.iter().position(|weights| *weights != all[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::Rank {
                rank,
                reason: format!(
                    "after step {} its weights differ from those of rank 0; expected the same build on processors with the \
                     same instructions (AUDIODIFF_ISA sets them)",
                    self.step()
                ),
            }),
        }
    }

    /// One optimizer step.
    fn learn(&mut self, prepared: Prepared) -> Result<StepReport> {
        let clips = self.batch as u64;
        let loss = self.loss(prepared)?;
        // Ranks agree on the loss before the first gradients set out. Alone, a GPU is asked for the way back before it
        // is waited for.
        let agreed = match self.group.size() {
            1 => None,
            _ => Some(self.whole_loss(&loss)?),
        };
        let mut gradients = loss.backward()?;
        let value = agreed.map_or_else(|| self.whole_loss(&loss), Ok)?;
        let learning_rate = self.config.learning_rate.at(self.step(), self.progress());
        let state = &mut self.state;
        if let Some(sums) = &self.sums {
            sums.finish(&state.parameters, &mut gradients)?;
        }
        let average = (&mut state.ema, state.done.steps + 1);
        let grad_norm =
            state
                .adam
                .step_with(&state.parameters, &gradients, learning_rate, average)?;
        if !grad_norm.is_finite() {
            return Err(self.diverged("gradient's norm", grad_norm));
        }
        state.done.steps += 1;
        state.done.clips += clips;
        let done = state.done;
        Ok(StepReport {
            step: done.steps,
            clips: done.clips,
            loss: value,
            learning_rate,
            grad_norm,
            seconds: done.seconds,
            progress: self.progress(),
            validation: None,
        })
    }

    /// The loss of the whole batch. Where it is no number, all ranks end here.
    fn whole_loss(&self, part: &Tensor) -> Result<f32> {
        let value = self.group.sum(vec![part.to_scalar::<f32>()?])?[0];
        if !value.is_finite() {
            return Err(self.diverged("loss", f64::from(value)));
        }
        Ok(value)
    }

    /// What this rank's part of a batch adds to its loss at the noise levels of the present step: a scalar with a
    /// gradient.
    fn loss(&self, part: Prepared) -> Result<Tensor> {
        let (seed, step, places) = (self.config.seed, self.step(), self.places());
        let mut noise = Noise::at(seed, &[place::LEVEL, step]);
        let objective = self.config.loss.objective();
        let sigmas = &objective.draw_sigmas(self.batch, &mut noise)[places];
        let cond = self.conditions(&part.batch, &mut noise)?;
        let losses = self.losses_of(&self.denoiser, &part.clean, &cond, sigmas, &part.noise)?;
        Ok((losses.sum_all()? / self.batch as f64)?)
    }

    /// Losses `[B]` of a denoiser on clean frames under this unit noise at these noise levels.
    fn losses_of(
        &self,
        denoiser: &dyn Denoiser,
        clean: &Tensor,
        cond: &Conditioning,
        sigmas: &[f64],
        noise: &Tensor,
    ) -> Result<Tensor> {
        let guided = match (&self.config.loss, &self.teacher) {
            (Loss::Distillation(own), Some(teacher)) => Some(own.guided(teacher)?),
            _ => None,
        };
        let teacher = guided.as_ref().map(|guided| guided as &dyn Denoiser);
        let objective = self.config.loss.objective();
        objective.losses(denoiser, teacher, clean, cond, sigmas, noise)
    }

    /// The conditioning of a batch, with some of it hidden.
    fn conditions(&self, batch: &Batch, class_noise: &mut Noise) -> Result<Conditioning> {
        let place = [place::ATTRIBUTES, self.step()];
        let mut attribute_noise = Noise::at(self.config.seed, &place);
        BatchConditions::of(batch, &self.model)
            .hide(
                self.places().start,
                self.config.class_dropout,
                class_noise,
                &mut attribute_noise,
            )
            .conditioning(&self.device)
    }

    fn diverged(&self, what: &'static str, value: f64) -> Error {
        Error::Diverged {
            what,
            value,
            step: self.step(),
            saved: path_in(&self.run.folder).exists(),
        }
    }

    fn has_attributes(&self) -> bool {
        !self.model.attributes.is_empty()
    }

    /// The model as it stands, with averaged weights; those of the last good validation where the run may end by it.
    ///
    /// # Errors
    /// When weights cannot be copied from the device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let State {
            ema,
            done,
            validations,
            ..
        } = &self.state;
        let (weights, done, validation_loss) = match &validations.kept {
            Some(kept) => (&kept.weights, kept.done, Some(kept.loss)),
            None => (ema.weights(), *done, validations.last),
        };
        let training = TrainingRecord {
            audiodiff_version: env!("CARGO_PKG_VERSION").to_owned(),
            steps: done.steps,
            clips: done.clips,
            seconds: done.seconds,
            validation_loss,
            sounds: self.run.dataset.train().len() as u64,
            seed: self.config.seed,
            ..self.model.training.clone()
        };
        let config = ModelConfig {
            training,
            ..self.model.clone()
        };
        Ok(Checkpoint {
            config,
            weights: on_device(weights, &Device::Cpu)?,
        })
    }
}

/// The teacher of a distillation: the model that it began from, fitted to `model`.
fn teacher(
    config: &TrainConfig,
    model: &ModelConfig,
    from: Option<&Checkpoint>,
    device: &Device,
) -> Result<Option<Preconditioned<Box<dyn Network>>>> {
    let Loss::Distillation(_) = config.loss else {
        return Ok(None);
    };
    let from = from.ok_or_else(|| Error::setting(begin::NO_TEACHER))?;
    let mut weights = on_device(&adapted(from, model)?, device)?;
    let mut teacher = model.denoiser(&mut weights)?;
    teacher.network.engine().freeze();
    Ok(Some(teacher))
}
