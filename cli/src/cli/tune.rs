//! `tune`: a finished model taught to need one to four steps.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use audiodiff::checkpoint::{Checkpoint, Excess, StorageType};
use audiodiff::dataset::{self, ScanOptions};
use audiodiff::distill::{Comparison, MEASURED, StepCounts};
use audiodiff::error::printable;
use audiodiff::eval::Estimate;
use audiodiff::train::{Outcome, TrainConfig};
use clap::Args;

use super::train::{length, open_run, open_sounds};
use super::{Bar, DeviceChoice, Global, PrecisionChoice, keep_going};

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
    /// The recipe, changed where a flag says so.
    fn config(&self, from: &Checkpoint) -> audiodiff::Result<TrainConfig> {
        let mut config = TrainConfig::distill(from, self.guidance)?;
        if let Some(name) = &self.name {
            config.name.clone_from(name);
        }
        if let Some(length) = length(self.steps, self.minutes) {
            config.length = length;
        }
        config.learning_rate.peak = self.learning_rate;
        Ok(TrainConfig {
            batch: NonZeroUsize::new(self.batch),
            precision: self.precision.into(),
            licence: self.licence.clone(),
            seed: self.seed,
            ..config
        })
    }

    fn options(&self) -> ScanOptions {
        ScanOptions {
            validation: self.validation,
            ..super::scan_options(&self.labels, &self.include)
        }
    }
}

pub fn tune(args: &TuneArgs, global: &Global) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let teacher = super::load_model(Some(&args.model))?;
    let again = teacher.config.is_few_step();
    let config = args.config(&teacher)?;
    let guidance = config.loss.tuning().map_or(1.0, |tuning| tuning.guidance);
    let options = ScanOptions {
        crop: teacher.config.training_crop().unwrap_or_default(),
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
        model.save(&path, StorageType::F32)?;
        if !global.quiet {
            eprintln!(
                "`{}` needs no tuning on these sounds: it is kept as it was",
                teacher.config.name
            );
        }
        return Ok(());
    }
    let bar = Bar::new("measuring", global);
    let comparison = Comparison {
        student: &model,
        teacher: &teacher,
        guidance,
        sounds: &args.data,
        options: &args.options(),
        seed: args.seed,
    };
    let measured = comparison.measure(&device, &mut |done, all| {
        bar.set(done, all);
        keep_going()
    });
    bar.finish();
    let counts = match measured {
        Ok(counts) => counts,
        // The tuned model is safe: what cannot be measured of it is no reason to hide that.
        Err(error) => {
            eprintln!(
                "warning: not measured at 1, 2 and 4 steps: {}",
                printable(&format!("{error:#}"))
            );
            return Ok(());
        }
    };
    counts.settle(&mut model.config);
    model.save(&path, StorageType::F32)?;
    print(&counts, &teacher.config.name)
}

/// The distances as a table.
fn print(counts: &StepCounts, teacher: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let shown = |Estimate { value, error }: Estimate| format!("{value:.2} ± {error:.2}");
    writeln!(out, "steps  Fréchet distance, dB²  beyond the teacher's")?;
    let measured = MEASURED.iter().zip(&counts.student).zip(counts.excess());
    for ((steps, own), Excess { value, error, .. }) in measured {
        let own = shown(Estimate::of(own));
        let beyond = shown(Estimate { value, error });
        writeln!(out, "{steps:>5}  {own:>21}  {beyond:>20}")?;
    }
    let own = shown(Estimate::of(&counts.teacher));
    let steps = counts.teacher_steps;
    writeln!(
        out,
        "{steps:>5}  {own:>21}  the model it began from, `{teacher}`"
    )?;
    Ok(())
}
