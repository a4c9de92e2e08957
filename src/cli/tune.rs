//! `tune`: a finished model taught to need one to four steps.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use audiodiff::checkpoint::{Checkpoint, Excess, Precision, Rendering};
use audiodiff::dataset::{self, Augment, ScanOptions};
use audiodiff::diffusion::objective::Objective;
use audiodiff::eval::{Ear, Estimate, FEWEST, Reference, Sounds};
use audiodiff::optim::{AdamConfig, LearningRate};
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff::train::{Length, Outcome, TrainConfig, Tuning};
use candle_core::Device;
use clap::Args;

use super::train::{open_run, open_sounds};
use super::{Bar, DeviceChoice, Global, PrecisionChoice, interrupted, usage};

/// Numbers of steps that are measured. The last is taken unless another one is shown to be nearer to real sounds: none
/// of them takes long, and variety grows with them.
const MEASURED: [usize; 3] = [1, 2, 4];
/// Steps of the teacher that they are measured against.
const TEACHER_STEPS: usize = 32;
/// Rounds that each is measured in, with seeds of their own.
const ROUNDS: usize = 6;
/// Sounds of all rounds together, about; no round has fewer than distances need.
const SOUNDS: usize = 400;
/// Student's t with five degrees of freedom that chance exceeds once in a hundred times, on one side. Two numbers of
/// steps are tried against the last.
const SHOWN: f64 = 3.365;

#[derive(Args)]
#[command(
    after_help = "The run folder is like that of `train`; Ctrl-C saves, and the same command goes on. At the end the
distance to the real sounds is measured at 1, 2 and 4 steps, in rounds, and beside it that of the model it began
from at 32. The finished model is rendered with 4 steps unless fewer are nearer by more than chance.

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
            false => RenderSettings::GUIDANCE,
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

    /// Distances to the held-back sounds, or to all where too few are, in [`ROUNDS`] rounds: of each number of steps,
    /// and last of the teacher. Rounds have the same seeds for all.
    fn measure(
        &self,
        tuned: &Checkpoint,
        teacher: &Checkpoint,
        device: &Device,
        global: &Global,
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let bar = Bar::new("measuring", global);
        let ear = Ear::new(tuned.config.format, tuned.config.representation.hop())?;
        let (held, mut rest) =
            Sounds::both_parts(&self.data, &self.options(), &ear, &mut |_, _| ())?;
        // What was learnt spans the space; where little was held back all sounds judge.
        let (real, learnt) = if held.sounds.len() >= 4 * FEWEST && rest.sounds.len() >= FEWEST {
            (held, Some(rest))
        } else {
            rest.sounds.extend(held.sounds);
            (rest, None)
        };
        let mut wanted = real.labels();
        let all = real.sounds.len() as f64;
        let share = (SOUNDS / ROUNDS).max(FEWEST) as f64 / all;
        for count in wanted.values_mut() {
            *count = (*count as f64 * share).ceil() as usize;
        }
        let each: usize = wanted.values().sum();
        let reference = Reference::new(real, learnt, self.seed)?;
        let runs = MEASURED.len() + 1;
        let distances = |model: &Checkpoint, settings: RenderSettings, run: usize| {
            let renderer = Renderer::new(model, device)?;
            let rounds = (0..ROUNDS).map(|round| {
                let seed = self.seed.wrapping_add((round * each) as u64);
                let done_before = (run * ROUNDS + round) * each;
                let mut heard = |done, _| {
                    bar.set(done_before + done, runs * ROUNDS * each);
                    match interrupted() {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                };
                let made = Sounds::rendered(&renderer, &settings, &wanted, seed, &ear, &mut heard)?;
                let frechet = reference.judge(&[made])?.scores.frechet;
                let frechet = frechet.ok_or_else(|| usage("too few sounds to measure with"))?;
                Ok(frechet.value)
            });
            rounds.collect::<anyhow::Result<Vec<f64>>>()
        };
        let mut found = Vec::new();
        for (run, steps) in MEASURED.into_iter().enumerate() {
            let settings = RenderSettings {
                steps,
                ..RenderSettings::of(&tuned.config)
            };
            found.push(distances(tuned, settings, run)?);
        }
        let settings = self.teacher_settings(teacher);
        found.push(distances(teacher, settings, runs - 1)?);
        bar.finish();
        Ok(found)
    }
}

/// Mean difference of `a` to `b`, round by round, with its error.
fn difference(a: &[f64], b: &[f64]) -> Estimate {
    Estimate::of(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>())
}

/// The place of the number of steps to render with, by the distances of each: the last, unless one before it is nearer
/// by more than chance; the nearest of those that are.
fn best(distances: &[Vec<f64>]) -> usize {
    let last = distances.len() - 1;
    let shown = (0..last).filter(|&k| {
        let Estimate { value, error } = difference(&distances[k], &distances[last]);
        value < 0.0 && -value > SHOWN * error
    });
    let mean = |k: &usize| distances[*k].iter().sum::<f64>();
    shown
        .min_by(|a, b| mean(a).total_cmp(&mean(b)))
        .unwrap_or(last)
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
    let mut found = match args.measure(&model, &teacher, &device, global) {
        Ok(measured) => measured,
        // The tuned model is safe: what cannot be measured of it is no reason to hide that.
        Err(error) => {
            eprintln!("warning: not measured at 1, 2 and 4 steps: {error:#}");
            return Ok(());
        }
    };
    let teachers = found.pop().unwrap_or_default();
    let excess: Vec<Excess> = (MEASURED.iter().zip(&found))
        .map(|(&steps, own)| {
            let Estimate { value, error } = difference(own, &teachers);
            Excess {
                steps,
                value,
                error,
            }
        })
        .collect();
    if let Some(rendering) = &mut model.config.rendering {
        *rendering = Rendering {
            steps: MEASURED[best(&found)],
            measured: Vec::new(),
            excess: excess.clone(),
            ..rendering.clone()
        };
    }
    model.save(&path, Precision::F32)?;
    let mut out = std::io::stdout().lock();
    let shown = |Estimate { value, error }: Estimate| format!("{value:.2} ± {error:.2}");
    writeln!(out, "steps  Fréchet distance, dB²  beyond the teacher's")?;
    for (
        own,
        Excess {
            steps,
            value,
            error,
        },
    ) in found.iter().zip(excess)
    {
        let own = shown(Estimate::of(own));
        let beyond = shown(Estimate { value, error });
        writeln!(out, "{steps:>5}  {own:>21}  {beyond:>20}")?;
    }
    let own = shown(Estimate::of(&teachers));
    let steps = args.teacher_settings(&teacher).steps;
    let name = &teacher.config.name;
    writeln!(
        out,
        "{steps:>5}  {own:>21}  the model it began from, `{name}`"
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use audiodiff::noise::Noise;

    #[test]
    fn noise_does_not_win_the_choice_of_steps_and_a_difference_does() {
        let mut noise = Noise::new(1);
        let mut rounds = |mean: f64| -> Vec<f64> {
            (0..ROUNDS)
                .map(|_| mean + 5.0 * f64::from(noise.normal()))
                .collect()
        };
        // Alike, near zero: the last is kept but for one time in fifty.
        let fewer = (0..500)
            .filter(|_| best(&[rounds(0.5), rounds(0.5), rounds(0.5)]) != 2)
            .count();
        assert!(fewer <= 20, "{fewer} of 500");
        // Worse ones are never taken, and far nearer ones are.
        let count = |a: f64, b: f64, place: usize, rounds: &mut dyn FnMut(f64) -> Vec<f64>| {
            (0..200)
                .filter(|_| best(&[rounds(a), rounds(b), rounds(30.0)]) == place)
                .count()
        };
        assert_eq!(count(60.0, 60.0, 2, &mut rounds), 200);
        assert!(count(60.0, -10.0, 1, &mut rounds) > 190);
    }
}
