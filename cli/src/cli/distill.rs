//! `distill`: a finished model taught to need one to four steps.

use std::io::Write;
use std::path::PathBuf;

use audiodiff::checkpoint::{Checkpoint, Excess, StorageType};
use audiodiff::distill::{Comparison, MEASURED, StepCounts};
use audiodiff::error::printable;
use audiodiff::eval::Estimate;
use audiodiff::train::{Outcome, TrainConfig};
use clap::Args;

use super::Global;
use super::progress::{Bar, keep_going};
use super::training::{self, TrainingArgs};

#[derive(Args)]
#[command(
    after_help = "Consistency tuning: a denoiser learns to jump to the sound. The run folder is like that of `train`; \
Ctrl-C saves, and the same command goes on. At the end the distance to the real sounds is measured at 1, 2 and 4 \
steps, in rounds, and beside it that of the model it began from at 32. The finished model is rendered with 4 steps \
unless fewer are nearer by more than chance.

A model that needs few steps already, as every one that was fine-tuned from the built-in model, learns these sounds \
further until that no longer brings it nearer to those held back; where nothing does, it stays as it is.

Examples:
  audiodiff distill run/model.safetensors --data ./wavs --minutes 60"
)]
pub struct DistillArgs {
    /// The model to distill
    model: PathBuf,
    /// Folder of sounds; its first level of folders names the classes
    #[arg(long, value_name = "SOUNDS")]
    data: PathBuf,
    /// Run folder
    #[arg(long, short, default_value = "distilled", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    training: TrainingArgs,
    /// Guidance scale of the model it begins from while it teaches: how strongly it insists on the class, which becomes
    /// part of the distilled model. 1 learns from the sounds alone, in less time [default: 1.5; 1 for a model that
    /// needs few steps already]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
}

impl DistillArgs {
    /// The recipe, changed where a flag says so.
    fn config(&self, from: &Checkpoint) -> audiodiff::Result<TrainConfig> {
        let mut config = TrainConfig::distill(from, self.guidance)?;
        self.training.apply(&mut config);
        Ok(config)
    }
}

pub fn distill(args: &DistillArgs, global: &Global) -> anyhow::Result<()> {
    let device = args.training.compute.device.open()?;
    let teacher = super::load_model(Some(&args.model))?;
    let again = teacher.config.is_few_step();
    let config = args.config(&teacher)?;
    let guidance = config.loss.tuning().map_or(1.0, |tuning| tuning.guidance);
    let crop = teacher.config.training_crop().unwrap_or_default();
    let options = args.training.scan_options(crop);
    let dataset = training::open_sounds(&args.data, config.format, &options, global)?;
    let (out, from) = (&args.out, Some(&teacher));
    let mut trainer = training::open_run(config, &dataset, out, from, &device, global)?;
    let name = printable(&teacher.config.name);
    let begin = match again {
        true => format!("`{name}` needs few steps already; distilling it further on these sounds"),
        false => format!("distilling `{name}`"),
    };
    let outcome = training::run(&mut trainer, &dataset, out, &begin, &device, global)?;
    if outcome == Outcome::Stopped {
        return Ok(());
    }
    let mut model = trainer.checkpoint()?;
    let path = out.join("model.safetensors");
    if again && trainer.best_step() == Some(0) {
        // Its weights are those that were measured before.
        model.config.rendering.clone_from(&teacher.config.rendering);
        model.save(&path, StorageType::F32)?;
        if !global.quiet {
            eprintln!("`{name}` gains nothing from these sounds: it is kept as it was");
        }
        return Ok(());
    }
    let bar = Bar::new("measuring", global);
    let comparison = Comparison {
        student: &model,
        teacher: &teacher,
        guidance,
        sounds: &args.data,
        options: &options,
        seed: args.training.seed,
    };
    let measured = comparison.measure(&device, &mut |done, all| {
        bar.set(done, all);
        keep_going()
    });
    bar.finish();
    let counts = match measured {
        Ok(counts) => counts,
        // The distilled model is saved: that it cannot be measured is no reason to fail.
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
    print(&counts, &name)
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
