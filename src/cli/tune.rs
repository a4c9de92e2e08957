//! `tune`: a finished model taught to need one to four steps.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use audiodiff::checkpoint::{Checkpoint, Precision, Rendering};
use audiodiff::dataset::{self, Augment, ScanOptions};
use audiodiff::diffusion::objective::Objective;
use audiodiff::eval::{FEWEST, Part, Reference, Sounds};
use audiodiff::optim::{AdamConfig, LearningRate};
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff::representation::Format;
use audiodiff::train::{Length, Outcome, TrainConfig, Tuning};
use candle_core::Device;
use clap::Args;

use super::train::{open_run, open_sounds};
use super::{Bar, DeviceChoice, Global, PrecisionChoice, interrupted, usage};

/// Numbers of steps that are measured, and the most that each may lose against the teacher to be called good.
const MEASURED: [(usize, f64); 3] = [(1, 2.5), (2, 1.25), (4, 1.15)];
/// Steps of the teacher that they are measured against.
const TEACHER_STEPS: usize = 32;
/// Sounds a measurement is made of, at most.
const SOUNDS: usize = 400;

#[derive(Args)]
#[command(
    after_help = "The run folder is like that of `train`; Ctrl-C saves, and the same command goes on. At the end the
distance to the real sounds is measured at 1, 2 and 4 steps and beside it that of the model it began from at
32; the finished model remembers which numbers are good and is rendered with them.

A model that needs few steps already, as every one that was tuned from the built-in model, is tuned further on these
sounds until that no longer brings it nearer to those held back; where nothing does, it stays as it is.

Examples:
  audiodiff tune run/model.safetensors --data ./wavs --minutes 60"
)]
pub struct TuneArgs {
    /// The model to tune
    model: PathBuf,
    /// Folder of sounds; its first level of folders names the classes
    #[arg(long, value_name = "SOUNDS")]
    data: PathBuf,
    /// Run folder
    #[arg(long, short, default_value = "tuned", value_name = "DIR")]
    out: PathBuf,
    /// Tune this long in minutes of wall-clock time [default: 30]
    #[arg(long, conflicts_with = "steps", value_name = "M")]
    minutes: Option<f64>,
    /// Tune for this many steps instead: every run gives the same result
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Where classes come from: `folders`, `none`, or a CSV file with the columns path and label
    #[arg(long, default_value = "folders", value_name = "SOURCE")]
    labels: String,
    /// Use only these classes
    #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
    include: Vec<String>,
    /// Part of the sounds to hold back for validation and measuring
    #[arg(long, default_value_t = 0.1, value_name = "0..0.5")]
    validation: f32,
    /// Memory for decoded sounds in MiB; the rest is decoded again at each use
    #[arg(long, default_value_t = dataset::CACHE_MB, value_name = "MIB")]
    cache_mb: u64,
    /// Clips a step
    #[arg(long, default_value_t = 16, value_name = "N")]
    batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-4, value_name = "RATE")]
    learning_rate: f64,
    /// How strongly the model it begins from insists on the class while it teaches: this becomes part of the
    /// tuned model. 1 learns from the sounds alone, in less time [default: 1.5; 1 for a model that needs few steps
    /// already]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Name of the model [default: that of the model it begins from]
    #[arg(long)]
    name: Option<String>,
    /// Licence of the model, as `info` shows it: what your sounds allow [default: none is stated]
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Where to compute
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the products
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,
}

impl TuneArgs {
    /// How strongly the teacher insists on the class. One that needs few steps already does so as it is.
    fn guidance(&self, from: &Checkpoint) -> f64 {
        let usual = match from.config.is_few_step() {
            true => 1.0,
            false => RenderSettings::default().guidance,
        };
        self.guidance.unwrap_or(usual)
    }

    fn config(&self, from: &Checkpoint) -> TrainConfig {
        let model = &from.config;
        let again = model.is_few_step();
        TrainConfig {
            name: self.name.clone().unwrap_or_else(|| model.name.clone()),
            format: model.format,
            representation: model.representation.clone(),
            network: model.network.clone(),
            target: model.target,
            objective: Objective::new(model.target, model.sigma_data),
            tuning: Some(match again {
                true => Tuning::again(model),
                false => Tuning::of(model, self.guidance(from)),
            }),
            batch: self.batch,
            length: self
                .steps
                .map_or(Length::Minutes(self.minutes.unwrap_or(30.0)), Length::Steps),
            learning_rate: LearningRate {
                peak: self.learning_rate,
                warmup: 50,
                decay: 0.4,
            },
            precision: self.precision.into(),
            adam: AdamConfig::default(),
            ema_gamma: 6.94,
            class_dropout: 0.12,
            augment: Some(Augment::default()),
            portraits: true,
            licence: self.licence.clone(),
            seed: self.seed,
            validate_every: if again { 100 } else { 250 },
            // A denoiser first has to learn another walk; what has learnt it may have nothing left to gain.
            patience: if again { 6 } else { 0 },
            save_every_s: 240.0,
        }
    }

    fn options(&self) -> ScanOptions {
        ScanOptions {
            validation: self.validation,
            ..super::scan_options(&self.labels, &self.include)
        }
    }

    /// How the model that it began from is rendered beside it: at its best.
    fn teacher_settings(&self, teacher: &Checkpoint) -> RenderSettings {
        let own = RenderSettings::of(&teacher.config);
        if teacher.config.is_few_step() {
            return own;
        }
        RenderSettings {
            steps: TEACHER_STEPS,
            guidance: self.guidance(teacher),
            ..own
        }
    }

    /// Distance to the held-back sounds, or to all where too few are, by numbers of steps; the teacher's last.
    fn measure(
        &self,
        tuned: &Checkpoint,
        teacher: &Checkpoint,
        device: &Device,
        global: &Global,
    ) -> anyhow::Result<(Vec<(usize, f64)>, f64)> {
        let format = Format {
            channels: 1,
            ..tuned.config.format
        };
        let bar = Bar::new("measuring", global);
        let sounds =
            |part| Sounds::of_folder(&self.data, &self.options(), part, format, &mut |_, _| ());
        let held = sounds(Part::HeldBack)
            .ok()
            .filter(|s| s.sounds.len() >= 4 * FEWEST);
        let real = held.map_or_else(|| sounds(Part::All), Ok)?;
        let mut wanted = real.labels();
        let all: usize = wanted.values().sum();
        let share = (SOUNDS as f64 / all as f64).clamp(1.0, 4.0);
        for count in wanted.values_mut() {
            *count = (*count as f64 * share).round() as usize;
        }
        let reference = Reference::new(real, None, self.seed)?;
        let runs = MEASURED.len() + 1;
        let distance =
            |model: &Checkpoint, settings: RenderSettings, run: usize| -> anyhow::Result<f64> {
                let renderer = Renderer::new(model, device)?;
                let made = Sounds::rendered(
                    &renderer,
                    &settings,
                    &wanted,
                    self.seed,
                    &mut |done, all| {
                        bar.set(run * all + done, runs * all);
                        if interrupted() {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    },
                )?;
                Ok(reference.judge(&[made])?.scores.frechet.value)
            };
        let mut found = Vec::new();
        for (run, (steps, _)) in MEASURED.into_iter().enumerate() {
            let settings = RenderSettings {
                steps,
                ..RenderSettings::of(&tuned.config)
            };
            found.push((steps, distance(tuned, settings, run)?));
        }
        let settings = self.teacher_settings(teacher);
        let best = distance(teacher, settings, runs - 1)?;
        bar.finish();
        Ok((found, best))
    }
}

pub fn tune(args: &TuneArgs, global: &Global) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let teacher = super::load_model(Some(&args.model))?;
    let again = teacher.config.is_few_step();
    if let Some(guidance) = args.guidance {
        if !guidance.is_finite() {
            return Err(usage(format!(
                "--guidance: expected a number, found {guidance}"
            )));
        }
        if again && guidance != 1.0 {
            return Err(usage(format!(
                "--guidance: `{}` needs few steps already and is tuned further by the sounds alone, expected 1, found \
                 {guidance}",
                teacher.config.name
            )));
        }
    }
    let config = args.config(&teacher);
    let options = ScanOptions {
        crop: teacher.config.learnt_crop().unwrap_or_default(),
        cache_mb: args.cache_mb,
        ..args.options()
    };
    let dataset = open_sounds(&args.data, config.format, &options, global)?;
    let mut trainer = open_run(config, &dataset, &args.out, Some(&teacher), &device, global)?;
    let begin = match again {
        true => format!(
            "`{}` needs few steps already; tuning it further on these sounds",
            teacher.config.name
        ),
        false => format!("tuning `{}` to few steps", teacher.config.name),
    };
    if super::train::run(&mut trainer, &dataset, &args.out, &begin, &device, global)?
        == Outcome::Stopped
    {
        return Ok(());
    }
    let mut model = trainer.checkpoint()?;
    let path = args.out.join("model.safetensors");
    if again && trainer.best_step() == Some(0) {
        // Its weights are those that were measured before.
        model.config.rendering.clone_from(&teacher.config.rendering);
        model.save(&path, Precision::F32)?;
        if !global.quiet {
            eprintln!(
                "`{}` needs no tuning on these sounds: it is kept as it was",
                teacher.config.name
            );
        }
        return Ok(());
    }
    let (found, best) = match args.measure(&model, &teacher, &device, global) {
        Ok(measured) => measured,
        // The tuned model is safe: what cannot be measured of it is no reason to hide that.
        Err(error) => {
            eprintln!("warning: not measured at 1, 2 and 4 steps: {error:#}");
            return Ok(());
        }
    };
    let ratio = |distance: f64| distance / best.max(1e-6);
    let good = |&&(steps, distance): &&(usize, f64)| {
        MEASURED
            .iter()
            .any(|&(n, most)| n == steps && ratio(distance) <= most)
    };
    // The most that are good: none of them takes long, and variety grows with them.
    let steps = found.iter().rev().find(good).or(found.last());
    if let (Some(rendering), Some(&(steps, _))) = (&mut model.config.rendering, steps) {
        *rendering = Rendering {
            steps,
            measured: found.iter().map(|&(n, d)| (n, ratio(d))).collect(),
            ..rendering.clone()
        };
    }
    model.save(&path, Precision::F32)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "steps  Fréchet distance, dB²  of the teacher's")?;
    for (steps, distance) in &found {
        writeln!(
            out,
            "{steps:>5}  {distance:>21.2}  {:>16.2}",
            ratio(*distance)
        )?;
    }
    writeln!(
        out,
        "{:>5}  {best:>21.2}  the model it began from, `{}`",
        args.teacher_settings(&teacher).steps,
        teacher.config.name
    )?;
    Ok(())
}
