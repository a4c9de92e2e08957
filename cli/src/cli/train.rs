//! `train`: from a folder of sounds to a model, with progress, demo sounds and pictures.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{self, Crop, Dataset, ScanOptions};
use audiodiff::diffusion::Target;
use audiodiff::error::printable;
use audiodiff::network::{NetworkConfig, UNetConfig};
use audiodiff::representation::{Format, RepresentationConfig};
use audiodiff::train::{self, Event, Length, Loss, Outcome, StepReport, TrainConfig, Trainer};
use candle_core::Device;
use clap::{Args, ValueEnum};

use super::{
    Bar, DeviceChoice, Global, PrecisionChoice, SoundArgs, catch_interrupts, keep_going, usage,
};

/// Folders up to this many sounds are tuned from the built-in model unless told otherwise.
const SMALL_SET: usize = 2000;
/// Of a training's time, demo sounds take at most one part in this many, its end apart.
const DEMO_SHARE: u32 = 10;

#[derive(Args)]
#[command(
    after_help = "The run folder holds the model (model.safetensors), all that resuming needs
(state.safetensors), the loss of every step (stats.jsonl, loss.png) and demo sounds with pictures.
Ctrl-C finishes the step and saves; the same command goes on.

Examples:
  audiodiff train ./wavs                                tune the built-in model for 30 minutes
  audiodiff train ./wavs --minutes 120 --from none      begin from nothing
  audiodiff train ./loops --crop anywhere --seconds 3 --labels none"
)]
pub struct TrainArgs {
    #[command(flatten)]
    sounds: SoundArgs,
    /// Run folder
    #[arg(long, short, default_value = "run", value_name = "DIR")]
    out: PathBuf,
    /// Train this long in minutes of wall-clock time [default: 30]
    #[arg(long, conflicts_with = "steps", value_name = "M")]
    minutes: Option<f64>,
    /// Train for this many steps instead: every run gives the same result
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Model to go on from, in another length, rate or number of channels too: a file, `none` to begin from nothing, or
    /// `auto` for the built-in model where the folder is small and no setting asks for another network
    #[arg(long, default_value = "auto", value_name = "MODEL")]
    from: String,
    /// Size of a fresh network: nano, tiny, base, or levels such as 128x1,192x2,256x2 [default: nano]
    #[arg(long, value_name = "SIZE")]
    preset: Option<String>,
    /// How sound is represented: mdct, wave or mel, or with settings mdct:BINS:COMPANDING:EMPHASIS,
    /// wave:PATCH, mel:WINDOW:HOP:BANDS:FLOOR [default: mel]
    #[arg(long, value_name = "KIND")]
    representation: Option<Wanted>,
    /// What the network learns to say: x, edm or v [default: x]
    #[arg(long)]
    target: Option<Target>,
    /// Sample rate in Hz [default: that of the model it begins from, else 44100]
    #[arg(long, value_name = "HZ")]
    sample_rate: Option<u32>,
    /// 1 for mono, 2 for stereo [default: those of the model it begins from, else 1]
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// Length of a sound in seconds, rounded up to whole frames [default: that of the model it begins from, else 1.11]
    #[arg(long, value_name = "T")]
    seconds: Option<f64>,
    /// Where a clip begins in its sound: at its onset, or anywhere for loops and textures [default: as the model it
    /// begins from, else onset]
    #[arg(long)]
    crop: Option<CropChoice>,
    /// Clips a step; `auto` fits memory and cores
    #[arg(long, default_value = "auto", value_name = "N")]
    batch: BatchSize,
    /// Highest learning rate [default: 1e-3, base 4e-4, tuning 2e-4]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Mean of ln sigma, the noise levels to learn; higher learns more of a sound's outline [default: 0.3,
    /// mel 1.3]
    #[arg(
        long,
        value_name = "X",
        allow_negative_numbers = true,
        alias = "sigma-mean"
    )]
    p_mean: Option<f64>,
    /// Standard deviation of ln sigma [default: 1.4, mel 1.8]
    #[arg(long, value_name = "X", alias = "sigma-deviation")]
    p_std: Option<f64>,
    /// Largest weight of the loss, which grows towards low noise (Min-SNR weighting) [default: 12 for target x, else none]
    #[arg(long, value_name = "GAMMA", alias = "weight-clip")]
    min_snr_gamma: Option<f64>,
    /// Learn the sounds as they are, without changed copies of them
    #[arg(long)]
    no_augment: bool,
    /// Do not condition the network on what each sound is like (attack, length, brightness, pitch, noisiness). A fresh network
    /// whose clips begin anywhere never is
    #[arg(long, alias = "no-portraits")]
    no_attributes: bool,
    /// Part of the sounds to hold back for validation
    #[arg(long, default_value_t = 0.1, value_name = "0..0.5")]
    validation: f32,
    /// Memory for decoded sounds in MiB; the rest is decoded again at each use
    #[arg(long, default_value_t = dataset::CACHE_MB, value_name = "MIB")]
    cache_mb: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Name of the model [default: the name of the folder of sounds]
    #[arg(long)]
    name: Option<String>,
    /// Licence of the model, as `info` shows it: what your sounds allow [default: none is stated]
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Steps between measurements of the validation loss [default: 250, tuning 100]
    #[arg(long, value_name = "N")]
    validate_every: Option<u64>,
    /// Measurements in a row without a lower validation loss after which to stop, and to keep the best model rather
    /// than the last (the one that it began from, where none is better); 0 for never [default: 0, tuning 6]
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Minutes between checkpoints
    #[arg(long, default_value_t = 4.0, value_name = "M")]
    save_every: f64,
    /// Where to compute
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the products
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CropChoice {
    /// One-shots
    Onset,
    /// Loops and textures
    Anywhere,
}

/// The built-in model, where this build has one.
fn built_in() -> anyhow::Result<Option<Checkpoint>> {
    #[cfg(feature = "embedded-model")]
    return Ok(Some(Checkpoint::embedded()?));
    #[cfg(not(feature = "embedded-model"))]
    Ok(None)
}

/// A representation as flags name it: what is not said is left to the model that is tuned.
#[derive(Debug, Clone)]
struct Wanted {
    config: RepresentationConfig,
    /// How many of its settings were given.
    settings: usize,
}

impl FromStr for Wanted {
    type Err = audiodiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            config: text.parse()?,
            settings: text.split(':').count() - 1,
        })
    }
}

impl Wanted {
    /// Whether a model over `own` frames is what was asked for.
    fn is(&self, own: &RepresentationConfig) -> bool {
        let written = own.to_string();
        let own_said: Vec<&str> = written.split(':').take(self.settings + 1).collect();
        let written = self.config.to_string();
        let said: Vec<&str> = written.split(':').take(self.settings + 1).collect();
        said == own_said
    }
}

impl TrainArgs {
    /// The model to begin from. Only with `auto` may what the user asked for send it away; then a sentence says why.
    fn start(&self) -> anyhow::Result<(Option<Checkpoint>, Option<String>)> {
        match self.from.as_str() {
            "none" => Ok((None, None)),
            "auto" => {
                let Some(model) = built_in()? else {
                    return Ok((None, None));
                };
                if let Some(flag) = self.sends_away(&model) {
                    let why = format!("{flag} asks for another network than the built-in model's");
                    return Ok((None, Some(why)));
                }
                // Counted before anything is opened: opening takes a while, and depends on the model.
                let sounds = dataset::count(&self.sounds.folder, &self.sounds.options())?;
                if sounds > SMALL_SET {
                    let why =
                        format!("{sounds} files are enough to begin from nothing (--from auto)");
                    return Ok((None, Some(why)));
                }
                Ok((Some(model), None))
            }
            path => {
                let model = audiodiff::import::load(Path::new(path))?;
                if let Some(flag) = self.sends_away(&model) {
                    return Err(usage(format!(
                        "--from {path}: {flag} asks for another network than its own; leave that out, or use \
                         --from none"
                    )));
                }
                Ok((Some(model), None))
            }
        }
    }

    /// The first setting that `model` cannot be tuned to.
    fn sends_away(&self, model: &Checkpoint) -> Option<String> {
        let config = &model.config;
        let is_own = |name: &str| {
            UNetConfig::preset(name)
                .is_ok_and(|preset| NetworkConfig::UNet(preset) == config.network)
        };
        if let Some(name) = self.preset.as_ref().filter(|name| !is_own(name)) {
            return Some(format!("--preset {name}"));
        }
        let wanted = self.representation.as_ref();
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is(&config.representation)) {
            return Some(format!("--representation {}", wanted.config));
        }
        let target = self.target.filter(|&target| target != config.target);
        target.map(|target| format!("--target {target}"))
    }

    /// Where clips begin.
    fn crop(&self, from: Option<&Checkpoint>) -> Crop {
        match self.crop {
            Some(CropChoice::Onset) => Crop::Onset,
            Some(CropChoice::Anywhere) => Crop::Anywhere,
            None => from
                .and_then(|model| model.config.training_crop())
                .unwrap_or_default(),
        }
    }

    /// The recipe, changed where a flag says so.
    fn config(&self, from: Option<&Checkpoint>) -> anyhow::Result<TrainConfig> {
        let mut config = match from {
            Some(model) => TrainConfig::fine_tune(model),
            None => {
                let wanted = self.representation.as_ref();
                let preset = UNetConfig::preset(self.preset.as_deref().unwrap_or("nano"))?;
                TrainConfig::from_scratch(
                    wanted.map_or_else(Default::default, |wanted| wanted.config.clone()),
                    self.target.unwrap_or_default(),
                    NetworkConfig::UNet(preset),
                )
            }
        };
        config.set_format(self.sample_rate, self.channels, self.seconds)?;
        config.name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let folder = &self.sounds.folder;
                let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
                let name = folder.file_name();
                name.map_or("sounds".into(), |name| name.to_string_lossy().into_owned())
            }
        };
        self.set_objective(&mut config.loss)?;
        if let Some(length) = length(self.steps, self.minutes) {
            config.length = length;
        }
        if let Some(peak) = self.learning_rate {
            config.learning_rate.peak = peak;
        }
        if self.no_augment {
            config.augment = None;
        }
        // Of what begins anywhere, attack and length say little: a fresh network learns without.
        if self.no_attributes || (from.is_none() && self.crop(from) == Crop::Anywhere) {
            config.attributes = false;
        }
        if let Some(every) = self.validate_every {
            config.validate_every = every;
        }
        if let Some(patience) = self.patience {
            config.patience = NonZeroU64::new(patience);
        }
        Ok(TrainConfig {
            batch: NonZeroUsize::new(self.batch.0),
            precision: self.precision.into(),
            licence: self.licence.clone(),
            seed: self.seed,
            save_every_s: 60.0 * self.save_every,
            ..config
        })
    }

    /// The noise levels and weights of a denoiser's loss, where a flag says so.
    fn set_objective(&self, loss: &mut Loss) -> anyhow::Result<()> {
        let flags = [
            ("--p-mean", -10.0..=10.0, self.p_mean),
            ("--p-std", 0.0..=10.0, self.p_std),
            (
                "--min-snr-gamma",
                f64::MIN_POSITIVE..=f64::INFINITY,
                self.min_snr_gamma,
            ),
        ];
        for (i, (flag, range, value)) in flags.into_iter().enumerate() {
            let Some(value) = value else { continue };
            if !range.contains(&value) {
                let (from, to) = range.into_inner();
                let expected = match to.is_finite() {
                    true => format!("{from} to {to}"),
                    false => "more than 0".to_owned(),
                };
                return Err(usage(format!("{flag}: expected {expected}, found {value}")));
            }
            let Loss::Denoising(objective) = loss else {
                return Err(usage(format!(
                    "{flag}: the model needs few steps already and goes on by consistency tuning, which has no such \
                     number; --from none begins from nothing"
                )));
            };
            *[
                &mut objective.p_mean,
                &mut objective.p_std,
                &mut objective.min_snr_gamma,
            ][i] = value;
        }
        Ok(())
    }
}

/// Clips a step; `auto` is 0, which leaves them to the trainer.
#[derive(Debug, Clone, Copy)]
struct BatchSize(usize);

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self(0));
        }
        let size = text.parse().ok().filter(|&size| size > 0);
        size.map(Self)
            .ok_or_else(|| "expected a number above 0, or auto".to_owned())
    }
}

/// How long to train, where one of the two flags says so.
pub(super) fn length(steps: Option<u64>, minutes: Option<f64>) -> Option<Length> {
    steps.map(Length::Steps).or(minutes.map(Length::Minutes))
}

pub fn train(args: &TrainArgs, global: &Global) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let (from, why_none) = args.start()?;
    let config = args.config(from.as_ref())?;
    let mut options = args.sounds.options();
    options.validation = args.validation;
    options.cache_mb = args.cache_mb;
    options.crop = args.crop(from.as_ref());
    if let (Some(why), false) = (why_none, global.quiet) {
        eprintln!("{}: training from nothing", printable(&why));
    }
    let dataset = open_sounds(&args.sounds.folder, config.format, &options, global)?;
    let begin = match &from {
        Some(model) => format!("tuning `{}`", model.config.name),
        None => "training from nothing".to_owned(),
    };
    let mut trainer = open_run(config, &dataset, &args.out, from.as_ref(), &device, global)?;
    run(&mut trainer, &dataset, &args.out, &begin, &device, global)?;
    Ok(())
}

/// Reads a folder of sounds to learn from, with a bar, and says what it holds.
pub(super) fn open_sounds(
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
pub(super) fn open_run<'d>(
    config: TrainConfig,
    dataset: &'d Dataset,
    out: &Path,
    from: Option<&Checkpoint>,
    device: &Device,
    global: &Global,
) -> anyhow::Result<Trainer<'d>> {
    let bar = Bar::new("measuring sounds", global);
    let trainer = Trainer::open(config, dataset, out, from, device, &mut |done, all| {
        bar.set(done, all)
    })?;
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

/// What ends a run, in words.
fn end_of(trainer: &Trainer<'_>, held: usize) -> String {
    let config = trainer.config();
    let length = match config.length {
        Length::Steps(steps) => format!("after {steps} steps"),
        Length::Minutes(minutes) => format!("after {minutes} min"),
    };
    match (config.patience, held) {
        (None, _) => format!("it ends {length}"),
        (_, 0) => {
            format!("it ends {length}, and not by patience: no sound is held back to measure it by")
        }
        (Some(patience), _) => format!(
            "it ends {length}, or before that when {patience} measurements in a row, one every {} steps, are no better",
            config.validate_every
        ),
    }
}

/// Runs a training to its end or until Ctrl-C, with a bar, demo sounds and pictures.
pub(super) fn run(
    trainer: &mut Trainer<'_>,
    dataset: &Dataset,
    out: &Path,
    begin: &str,
    device: &Device,
    global: &Global,
) -> anyhow::Result<Outcome> {
    let say = |text: std::fmt::Arguments<'_>| {
        if !global.quiet {
            eprintln!("{text}");
        }
    };
    if trainer.progress() >= 1.0 {
        say(format_args!(
            "nothing left to do: the run in {} has its {} steps; ask for more --minutes or --steps",
            out.display(),
            trainer.step()
        ));
        return Ok(Outcome::Finished);
    }
    let begin = match trainer.step() {
        0 => begin.to_owned(),
        step => format!("going on after step {step}"),
    };
    say(format_args!(
        "{begin}: {:.1} million parameters, {} sounds, {} held back, run folder {}",
        trainer.parameter_count() as f64 / 1e6,
        dataset.train().len(),
        dataset.validation().len(),
        out.display()
    ));
    say(format_args!(
        "{}",
        end_of(trainer, dataset.validation().len())
    ));
    catch_interrupts()?;
    let mut monitor = Monitor::new(global);
    let (mut progress, mut next_demos) = (0.0, Instant::now());
    let outcome = trainer.run(&mut |event| {
        match event {
            Event::Step(report) => {
                progress = report.progress;
                monitor.step(report);
            }
            Event::Saved(_) if progress >= 1.0 || Instant::now() >= next_demos => {
                let begun = Instant::now();
                if let Err(error) = train::illustrate(out, device, &mut keep_going) {
                    // The model is safe; its pictures are not worth ending the run.
                    eprintln!("warning: demo sounds: {}", printable(&format!("{error:#}")));
                }
                next_demos = Instant::now() + begun.elapsed() * (DEMO_SHARE - 1);
            }
            Event::Saved(_) => {}
        }
        keep_going()
    })?;
    monitor.bar.finish();
    let model = out.join("model.safetensors");
    match outcome {
        Outcome::Finished => {
            let best = match trainer.best_step() {
                Some(0) => {
                    ", none of which was better than the model it began from, which is kept".into()
                }
                Some(best) if best < trainer.step() => format!(", best after {best}"),
                _ => String::new(),
            };
            say(format_args!(
                "finished after {} steps{best}: {}",
                trainer.step(),
                model.display()
            ))
        }
        Outcome::Stopped => say(format_args!(
            "stopped after {} steps, saved: the same command goes on ({})",
            trainer.step(),
            model.display()
        )),
    }
    Ok(outcome)
}

/// Shows how a training goes: a bar on a terminal, else a line now and then.
struct Monitor {
    bar: Bar,
    quiet: bool,
    loss: Option<f32>,
    validation: Option<f32>,
    started: Instant,
    clips_before: Option<u64>,
    spoke: Instant,
}

impl Monitor {
    fn new(global: &Global) -> Self {
        let now = Instant::now();
        Self {
            bar: Bar::new("training", global),
            quiet: global.quiet,
            loss: None,
            validation: None,
            started: now,
            clips_before: None,
            spoke: now,
        }
    }

    fn step(&mut self, report: &StepReport) {
        // Smoothed over about fifty steps: noise levels differ from batch to batch.
        let loss = self
            .loss
            .map_or(report.loss, |old| old + 0.02 * (report.loss - old));
        self.loss = Some(loss);
        self.validation = report.validation.or(self.validation);
        let Some(before) = self.clips_before else {
            (self.started, self.clips_before) = (Instant::now(), Some(report.clips));
            return;
        };
        let rate = (report.clips - before) as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let validation = self
            .validation
            .map_or(String::new(), |v| format!(" validation {v:.4}"));
        self.bar.fraction(report.progress);
        self.bar.message(format!(
            "step {} loss {loss:.4}{validation} {rate:.1} clips/s",
            report.step
        ));
        if !self.quiet && !self.bar.shown() && self.spoke.elapsed() > Duration::from_secs(20) {
            self.spoke = Instant::now();
            let left = report.seconds * (1.0 / report.progress.max(1e-6) - 1.0) / 60.0;
            eprintln!(
                "step {} ({:.0}%) loss {loss:.4}{validation} {rate:.1} clips/s, {left:.0} min left",
                report.step,
                100.0 * report.progress
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_representation_only_what_was_said_must_be_the_model_s() {
        let own: RepresentationConfig = "mel:2048:256:128:-60".parse().unwrap();
        let is_own = |text: &str| text.parse::<Wanted>().unwrap().is(&own);
        for fits in ["mel", "mel:2048:256:128", "mel:2048:256:128:-60"] {
            assert!(is_own(fits), "{fits}");
        }
        for other in [
            "mdct",
            "mel:1024:256:128",
            "mel:2048:256:64",
            "mel:2048:256:128:-80",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
