//! The work of a learning, from the folder to the model.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{Action, CACHE_MB, Dataset, Issue, Report, ScanOptions};
use audiodiff::error::printable;
use audiodiff::group::Group;
use audiodiff::import;
use audiodiff::network::ComputeType;
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff::train::{
    DEMO_TIME, Demo, DemoPace, Event, Length, Outcome, StepReport, TrainConfig, Trainer, demos,
    enough_for_fresh, free_memory, read_stats,
};
use audiodiff::{Error, Result};
use candle_core::Device;
use nice_plug::prelude::nice_warn;
use serde_json::Map;

use super::curve::Curve;
use super::run::Run;
use super::{LearningClass, LearningState, LeftOut, Shared};
use crate::model::shown_name;
use crate::placing::place;
use crate::settings::Settings;
use crate::stored::{SoundRecipe, StoredSound};
use crate::workers::{Rank, Workers};

/// Fewer sounds than this teach nothing but themselves, and none of them can be held back.
const LEAST_SOUNDS: usize = 3;

/// Files that are left out, of which the reasons are told.
const MOST_REASONS: usize = 32;

/// Seconds between two checkpoints.
const SAVE_EVERY_S: f64 = 60.0;

/// Files on the disk take so many bytes for each weight: weights, their average, two moments and the best so far, and the
/// model twice, of 4 bytes each, and as much again while they are written.
const DISK_BYTES: u64 = 2 * 7 * 4;

/// The work of a learning.
pub(super) struct Lesson<'a> {
    pub shared: &'a Shared,
    pub run: &'a Run,
}

impl Lesson<'_> {
    /// Learns to the end, on threads of its own, which are gone when this returns. This one only waits for them, and
    /// saves.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it was told to end: all is saved then; else why it cannot go on.
    pub fn learn(&self) -> Result<()> {
        let workers = Workers::new(Settings::load().threads(), Rank::Learner)?;
        let Run { path, note } = self.run;
        let is_begun = self.run.has_state();
        let options = ScanOptions {
            cache_mb: CACHE_MB.min(free_memory() / 8 / (1 << 20)),
            ..ScanOptions::default()
        };
        let from = workers.run(|| self.from(&options))?;
        let crop = from.as_ref().and_then(|model| model.config.training_crop());
        let options = ScanOptions {
            crop: crop.unwrap_or_default(),
            ..options
        };
        let config = self.config(from.as_ref());
        self.check_disk(from.as_ref())?;

        let shared = self.shared;
        let mut on_progress = |done, all| {
            shared.show(|view| view.state = LearningState::Reading { done, all });
            shared.rest()
        };
        let (dataset, report) = workers
            .run(|| Dataset::open_while(&note.sounds, config.format, &options, &mut on_progress))?;
        self.tell(&dataset, &report);
        if dataset.len() < LEAST_SOUNDS {
            return Err(Error::setting(format!(
                "{}: expected at least {LEAST_SOUNDS} different sounds to learn what they have in common, found {}",
                note.sounds.display(),
                dataset.len()
            )));
        }
        let (group, cpu) = (Arc::new(Group::alone()), Device::Cpu);
        let opened = workers.run(|| {
            let (from, on_progress) = (from.as_ref(), &mut on_progress);
            Trainer::open_in(group, config, &dataset, path, from, &cpu, on_progress)
        });
        let mut trainer = opened.map_err(|error| match error {
            Error::Setting(reason) if is_begun => {
                let name = printable(&note.name);
                Error::setting(format!("`{name}` cannot go on as it began: {reason}"))
            }
            error => error,
        })?;
        // Its weights are the trainer's now.
        drop(from);
        trainer.stop_with(shared.stop.clone());
        shared.show(|view| {
            for class in &mut view.classes {
                let mut matched = trainer.matched_classes().iter();
                if let Some(found) = matched.find(|found| found.label == class.name) {
                    class.taken_for.clone_from(&found.classes);
                }
            }
        });
        let mut reports = Reports::of(self, &trainer)?;
        let mut pace = DemoPace::default();
        loop {
            shared.set_off();
            shared.show(|view| view.state = LearningState::Learning);
            let run = || trainer.run(&mut |event| self.hear(&event, &mut reports, &mut pace));
            let outcome = workers.run(run)?;
            if outcome == Outcome::Finished {
                return Ok(());
            }
            // Here, on a thread of usual priority: where all cores are busy somebody waits for it.
            if reports.are_unsaved {
                trainer.save()?;
                self.saved(&mut reports);
            }
            if shared.rest().is_break() {
                return Err(Error::Stopped);
            }
        }
    }

    /// Hears the trainer, and makes demo sounds where it is time to.
    fn hear(
        &self,
        event: &Event<'_>,
        reports: &mut Reports,
        pace: &mut DemoPace,
    ) -> ControlFlow<()> {
        match event {
            Event::Step(report) => {
                reports.step(self, report);
                reports.are_unsaved = true;
            }
            Event::Saved(model) => {
                self.saved(reports);
                let is_due = pace.is_due() || reports.progress >= 1.0;
                if is_due && self.shared.flow().is_continue() {
                    let begun = Instant::now();
                    match self.demonstrate(model) {
                        Ok(()) | Err(Error::Stopped) => {}
                        // The model is safe; its demo sounds are not worth ending the run.
                        Err(error) => nice_warn!("demo sounds: {error}"),
                    }
                    pace.made(begun);
                }
                return self.shared.flow();
            }
            _ => {}
        }
        // Told to end, it breaks off by itself.
        ControlFlow::Continue(())
    }

    /// The model to begin from, chosen as `audiodiff train` does; none for nothing.
    fn from(&self, options: &ScanOptions) -> Result<Option<Checkpoint>> {
        let note = &self.run.note;
        if let Some(path) = &note.from {
            return import::load(path).map(Some);
        }
        match enough_for_fresh(&note.sounds, options)? {
            Some(_) => Ok(None),
            None => Checkpoint::built_in(),
        }
    }

    fn config(&self, from: Option<&Checkpoint>) -> TrainConfig {
        let recipe = from.map_or_else(TrainConfig::fresh, TrainConfig::fine_tune);
        let note = &self.run.note;
        TrainConfig {
            name: note.name.clone(),
            length: note.length,
            precision: ComputeType::fastest(&Device::Cpu),
            save_every_s: SAVE_EVERY_S,
            ..recipe
        }
    }

    /// Refuses a disk on which the run would not fit.
    fn check_disk(&self, from: Option<&Checkpoint>) -> Result<()> {
        // A fresh network is about as large as the built-in model.
        const FRESH: u64 = 4 << 20;
        let weights = from.map_or(FRESH, |model| {
            let counts = model
                .weights
                .values()
                .map(|weight| weight.elem_count() as u64);
            counts.sum()
        });
        let path = &self.run.path;
        let free = fs4::available_space(path).map_err(Error::io(path))?;
        enough(path, DISK_BYTES * weights, free)
    }

    /// Shows what was found in the folder.
    fn tell(&self, dataset: &Dataset, report: &Report) {
        let skipped = |issue: &&Issue| issue.action == Action::Skipped;
        let reasons = report.issues.iter().filter(skipped).take(MOST_REASONS);
        let reasons: Vec<LeftOut> = reasons
            .map(|issue| LeftOut {
                file: issue.path.clone(),
                reason: printable(&issue.detail),
            })
            .collect();
        let classes = dataset.labels().iter().map(|label| LearningClass {
            name: label.clone(),
            files: report.labels.get(label).map_or(0, |amount| amount.files),
            taken_for: Vec::new(),
        });
        let classes: Vec<LearningClass> = classes.collect();
        self.shared.show(|view| {
            view.sounds = dataset.len();
            view.held_back = dataset.validation().len();
            view.left_out = report.skipped();
            view.reasons = reasons;
            view.classes = classes;
        });
    }

    /// A checkpoint is written.
    fn saved(&self, reports: &mut Reports) {
        reports.are_unsaved = false;
        let model = self.run.model();
        self.shared.show(|view| view.model = Some(model));
        // Of no weight but for the list of what is unfinished.
        if let Err(error) = self.run.reach(reports.progress) {
            nice_warn!("{error}");
        }
    }

    /// Makes the demo sounds of the model in a file.
    fn demonstrate(&self, model: &Path) -> Result<()> {
        let checkpoint = Checkpoint::load(model)?;
        let name = shown_name(&checkpoint.config.name, &checkpoint.fingerprint()?);
        let mut renderer = Renderer::new(&checkpoint, &Device::Cpu)?;
        drop(checkpoint);
        renderer.engine().stop_with(self.shared.stop.clone());
        let begun = Instant::now();
        let wanted = demos(&renderer.config().labels);
        for (i, Demo { class, seed, .. }) in wanted.into_iter().enumerate() {
            if begun.elapsed() > DEMO_TIME {
                break;
            }
            let settings = RenderSettings {
                class: class.clone(),
                ..renderer.settings()
            };
            let mut on_step = |_| self.shared.flow();
            let mut rendered = renderer.render_with(&settings, seed, &mut on_step)?;
            place(&mut rendered.clip, rendered.class.as_deref());
            let recipe = SoundRecipe {
                model: name.clone(),
                class,
                seed,
                steps: 0,
                guidance: 0.0,
                seconds: None,
                variation: None,
                morph: None,
                file: None,
                attributes: Default::default(),
                unknown: Map::new(),
            };
            let sound = Arc::new(StoredSound::rendered(recipe, &rendered).measured());
            self.shared.show(|view| {
                match view.demos.get_mut(i) {
                    Some(older) => *older = sound,
                    None => view.demos.push(sound),
                }
                view.demos_made += 1;
            });
        }
        Ok(())
    }
}

/// Refuses a disk with fewer bytes free than are needed.
fn enough(path: &Path, needed: u64, free: u64) -> Result<()> {
    if free >= needed {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{}: expected {} MB of free disk for the model and its state, found {} MB",
        path.display(),
        needed.div_ceil(1_000_000),
        free / 1_000_000
    )))
}

/// What the steps told so far.
struct Reports {
    losses: Curve,
    validations: Curve,
    progress: f64,
    length: Length,
    /// Steps were done since the last checkpoint.
    are_unsaved: bool,
}

impl Reports {
    /// Those of the run so far.
    fn of(lesson: &Lesson<'_>, trainer: &Trainer<'_>) -> Result<Self> {
        let mut reports = Self {
            losses: Curve::default(),
            validations: Curve::default(),
            progress: trainer.progress(),
            length: lesson.run.note.length,
            are_unsaved: false,
        };
        for report in read_stats(&lesson.run.path.join("stats.jsonl"))? {
            reports.step(lesson, &report);
        }
        Ok(reports)
    }

    fn step(&mut self, lesson: &Lesson<'_>, report: &StepReport) {
        let step = report.step as f32;
        self.losses.push(step, report.loss);
        if let Some(validation) = report.validation {
            self.validations.push(step, validation);
        }
        self.progress = report.progress;
        let time_left = match self.length {
            Length::Minutes(minutes) => {
                Duration::try_from_secs_f64(60.0 * minutes - report.seconds).ok()
            }
            Length::Steps(_) => None,
        };
        lesson.shared.show(|view| {
            view.progress = report.progress as f32;
            view.step = report.step;
            view.loss = Some(report.loss);
            view.validation = report.validation.or(view.validation);
            for (shown, curve) in [
                (&mut view.losses, &self.losses),
                (&mut view.validations, &self.validations),
            ] {
                curve.points().clone_into(shown);
            }
            view.time_left = time_left;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_full_is_refused_with_numbers() {
        let path = Path::new("/learned/kicks");
        assert!(enough(path, 5, 5).is_ok());
        let error = enough(path, 300_000_001, 200_000_000)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/learned/kicks: expected 301 MB") && error.contains("found 200 MB")
        );
    }
}
