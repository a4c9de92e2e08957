//! The shared part of `train` and `distill`: flags, run folder, the run itself with progress, demo sounds, pictures.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{self, Crop, Dataset, Labels, ScanOptions};
use audiodiff::error::{counted, printable};
use audiodiff::group::Group;
use audiodiff::names::composed;
use audiodiff::representation::Format;
use audiodiff::train::{self, DemoPace, Event, Length, Outcome, TrainConfig, Trainer};
use candle_core::Device;
use clap::Args;

use super::Global;
use super::flags::{ComputeArgs, LabelArgs};
use super::progress::{Bar, Monitor, catch_interrupts, keep_going};

/// Flags of every training.
#[derive(Args)]
pub struct TrainingArgs {
    #[command(flatten)]
    labels: LabelArgs,
    /// Train this long in minutes of wall-clock time [default: 30]
    #[arg(long, conflicts_with = "steps", value_name = "M")]
    minutes: Option<f64>,
    /// Train for this many steps instead: every run gives the same result
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Part of the sounds to hold back for validation
    #[arg(long, default_value_t = 0.1, value_name = "0..0.5")]
    validation: f32,
    /// Memory for decoded sounds in MiB; the rest is decoded again at each use
    #[arg(long, default_value_t = dataset::CACHE_MB, value_name = "MIB")]
    cache_mb: u64,
    /// Clips a step; `auto` fits memory and cores [default: auto; where a model is distilled, 16]
    #[arg(long, value_name = "N")]
    batch: Option<BatchSize>,
    /// Highest learning rate [default: 1e-3, base 4e-4; fine-tuning the same, older models 2e-4; distilling 5e-4]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
    /// Name of the model [default: that of the folder of sounds; where a model is distilled, its own]
    #[arg(long)]
    name: Option<String>,
    /// Licence of the model, as `info` shows it: what your sounds allow [default: unknown, whatever that of the model
    /// it begins from]
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Clips a step.
#[derive(Debug, Clone, Copy)]
enum BatchSize {
    Auto,
    Clips(usize),
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let size = text.parse().ok().filter(|&size| size > 0);
        size.map(Self::Clips)
            .ok_or_else(|| "expected a number above 0, or auto".to_owned())
    }
}

impl TrainingArgs {
    /// Which sounds are used, and how.
    pub fn scan_options(&self, crop: Crop) -> ScanOptions {
        ScanOptions {
            validation: self.validation,
            crop,
            cache_mb: self.cache_mb,
            ..self.labels.scan_options()
        }
    }

    /// The same for the run in `out`: where nobody says where classes come from, that run says it, for runs of earlier
    /// versions took the first level of folders whatever it is called.
    pub fn scan_options_of_run(
        &self,
        crop: Crop,
        sounds: &Path,
        out: &Path,
        global: &Global,
    ) -> anyhow::Result<ScanOptions> {
        let options = self.scan_options(crop);
        let is_run = options.labels == Labels::Auto && out.join("state.safetensors").is_file();
        // What is wrong with it is told when the run is opened.
        let model = is_run.then(|| Checkpoint::load(&out.join("model.safetensors")));
        let Some(Ok(model)) = model else {
            return Ok(options);
        };
        let own: BTreeSet<String> = model
            .config
            .labels
            .iter()
            .map(|own| composed(own))
            .collect();
        let of = |labels: Labels| {
            // All of them: which are used is seen when they are opened.
            let include = Vec::new();
            let options = ScanOptions {
                labels,
                include,
                ..options.clone()
            };
            Ok::<BTreeSet<String>, audiodiff::Error>(
                dataset::labels(sounds, &options)?.into_iter().collect(),
            )
        };
        let is_of =
            |known: &BTreeSet<String>| own.is_subset(known) && own.is_empty() == known.is_empty();
        if is_of(&of(Labels::Auto)?) || !is_of(&of(Labels::Folders)?) {
            return Ok(options);
        }
        if !global.quiet {
            eprintln!(
                "the run in {} has the first level of folders as its classes: --labels folders",
                out.display()
            );
        }
        let labels = Labels::Folders;
        Ok(ScanOptions { labels, ..options })
    }

    /// Changes of a recipe what a flag says.
    pub fn apply(&self, config: &mut TrainConfig, device: &Device) {
        if let Some(name) = &self.name {
            config.name.clone_from(name);
        }
        let length = self.minutes.map(Length::Minutes);
        if let Some(length) = self.steps.map(Length::Steps).or(length) {
            config.length = length;
        }
        match self.batch {
            Some(BatchSize::Clips(clips)) => config.batch = NonZeroUsize::new(clips),
            Some(BatchSize::Auto) => config.batch = None,
            None => {}
        }
        if let Some(peak) = self.learning_rate {
            config.learning_rate.peak = peak;
        }
        config.precision = self.compute.precision.on(device);
        config.licence.clone_from(&self.licence);
        config.seed = self.seed;
    }
}

/// Reads a folder of sounds to learn from, with a bar, and says what it holds.
pub fn open_sounds(
    folder: &Path,
    format: Format,
    options: &ScanOptions,
    global: &Global,
) -> anyhow::Result<Dataset> {
    let bar = Bar::new("reading sounds", global);
    let (dataset, report) =
        Dataset::open(folder, format, options, &mut |done, all| bar.set(done, all))?;
    bar.finish();
    if !global.quiet {
        eprintln!("{report}");
        let rest = dataset.uncached();
        if rest > 0 {
            eprintln!(
                "{rest} of {} sounds do not fit into the {} MiB of --cache-mb, and are decoded again at each use",
                dataset.len(),
                options.cache_mb
            );
        }
    }
    Ok(dataset)
}

/// Begins a run or goes on with it, with a bar, and says which classes of `from` the labels were taken for.
pub fn open_run<'d>(
    group: Arc<Group>,
    config: TrainConfig,
    dataset: &'d Dataset,
    out: &Path,
    from: Option<&Checkpoint>,
    device: &Device,
    global: &Global,
) -> anyhow::Result<Trainer<'d>> {
    let bar = Bar::new("measuring sounds", global);
    let mut progress = |done, all| {
        bar.set(done, all);
        ControlFlow::Continue(())
    };
    let trainer = Trainer::open_in(group, config, dataset, out, from, device, &mut progress)?;
    bar.finish();
    let matched = trainer.matched_classes().iter();
    let (known, new): (Vec<_>, Vec<_>) = matched.partition(|found| !found.classes.is_empty());
    let renamed: Vec<String> = (known.iter())
        .filter(|found| found.classes != [found.label.as_str()])
        .map(|found| format!("{} as {}", found.label, found.classes.join(" and ")))
        .collect();
    let new: Vec<&str> = new.iter().map(|found| &*found.label).collect();
    for (what, names) in [
        (
            "classes that begin with what the model knows",
            renamed.join(", "),
        ),
        ("classes that are new to the model", new.join(", ")),
    ] {
        if !names.is_empty() && !global.quiet {
            eprintln!("{what}: {}", printable(&names));
        }
    }
    Ok(trainer)
}

/// Runs a training to its end or until Ctrl-C, with a bar, demo sounds and pictures. `begin` says what is begun.
pub fn run(
    trainer: &mut Trainer<'_>,
    dataset: &Dataset,
    out: &Path,
    begin: &str,
    device: &Device,
    global: &Global,
) -> anyhow::Result<Outcome> {
    let say = |text: String| {
        if !global.quiet {
            eprintln!("{}", printable(&text));
        }
    };
    if trainer.progress() >= 1.0 {
        say(format!(
            "nothing left to do: the run in {} has its {}; ask for more --minutes or --steps",
            out.display(),
            counted(trainer.step(), "step")
        ));
        return Ok(Outcome::Finished);
    }
    let begin = match trainer.step() {
        0 => begin.to_owned(),
        step => format!("going on after step {step}"),
    };
    say(format!(
        "{begin}: {:.1} million parameters, {}, {} held back, run folder {}",
        trainer.parameter_count() as f64 / 1e6,
        counted(dataset.train().len(), "sound"),
        dataset.validation().len(),
        out.display()
    ));
    say(end_of(trainer.config(), dataset.validation().len()));
    catch_interrupts()?;
    let mut monitor = Monitor::new(global);
    let (mut progress, mut pace) = (0.0, DemoPace::default());
    let outcome = trainer.run(&mut |event| {
        match event {
            Event::Step(report) => {
                progress = report.progress;
                monitor.step(report);
            }
            Event::Saved(_) if progress >= 1.0 || pace.is_due() => {
                let begun = Instant::now();
                if let Err(error) = train::illustrate(out, device, &mut keep_going) {
                    // The model is safe; its pictures are not worth ending the run.
                    eprintln!("warning: demo sounds: {}", printable(&format!("{error:#}")));
                }
                pace.made(begun);
            }
            _ => {}
        }
        keep_going()
    })?;
    monitor.finish();
    say(outcome_of(outcome, trainer, out.join("model.safetensors")));
    Ok(outcome)
}

/// Tells when a run ends of which `held` sounds are held back.
fn end_of(config: &TrainConfig, held: usize) -> String {
    let length = match config.length {
        Length::Steps(steps) => format!("after {}", counted(steps, "step")),
        Length::Minutes(minutes) => format!("after {minutes} min"),
    };
    match (config.patience, held) {
        (None, _) => format!("it ends {length}"),
        (_, 0) => {
            format!("it ends {length}, and not by patience: no sound is held back to measure it by")
        }
        (Some(patience), _) => format!(
            "it ends {length}, or before that when, while the learning rate falls, {patience} measurements in a row, one \
             every {} steps, are no better",
            config.validate_every
        ),
    }
}

/// Tells how a run ended.
fn outcome_of(outcome: Outcome, trainer: &Trainer<'_>, model: PathBuf) -> String {
    let (step, model) = (trainer.step(), model.display());
    let steps = counted(step, "step");
    if outcome == Outcome::Stopped {
        return format!("stopped after {steps}, saved: the same command goes on ({model})");
    }
    let kept = match trainer.kept_step() {
        Some(0) => ", none of which was better than the model it began from, which is kept".into(),
        Some(kept) if kept < step => format!(", kept as it was after {kept}"),
        _ => String::new(),
    };
    format!("finished after {steps}{kept}: {model}")
}
