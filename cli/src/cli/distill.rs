//! `distill`: a finished model taught to need few evaluations.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use audiodiff::Device;
use audiodiff::checkpoint::{Checkpoint, Excess, StorageType};
use audiodiff::distill::{Comparison, MEASURED, StepCounts};
use audiodiff::error::printable;
use audiodiff::eval::Estimate;
use audiodiff::group::Group;
use audiodiff::train::{Outcome, TrainConfig};
use clap::Args;

use super::Global;
use super::progress::{Bar, keep_going};
use super::training::{self, TrainingArgs};

#[derive(Args)]
#[command(
    after_help = "A model that insists on the class is asked twice at every step, with the class and without. Distilled, \
it says at once what comes of both, and then needs few steps: four evaluations in place of twenty. The run \
folder is like that of `train`; Ctrl-C saves, and the same command goes on. At the end the distance to the real sounds \
is measured at 2, 3 and 4 steps, in rounds, and beside it that of the model it began from. The finished model is \
rendered with 4 steps unless fewer are nearer by more than chance.

A distilled model, as the built-in one, is not distilled again; one that is fine-tuned from it with `train` can be.

Examples:
  audiodiff distill run/model.safetensors --data ./wavs --minutes 60"
)]
pub struct DistillArgs {
    /// The model to distill
    model: PathBuf,
    /// Folder of sounds; its folders name the classes (--labels)
    #[arg(long, value_name = "SOUNDS")]
    data: PathBuf,
    /// Run folder
    #[arg(long, short, default_value = "distilled", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    training: TrainingArgs,
    /// Guidance scale of the model it begins from while it teaches: how strongly it insists on the class, which becomes
    /// part of the distilled model [default: the model's, else 1.5]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
}

impl DistillArgs {
    /// The recipe, changed where a flag says so.
    fn config(&self, from: &Checkpoint, device: &Device) -> audiodiff::Result<TrainConfig> {
        let mut config = TrainConfig::distill(from, self.guidance)?;
        self.training.apply(&mut config, device);
        Ok(config)
    }
}

pub fn distill(args: &DistillArgs, global: &Global) -> anyhow::Result<()> {
    let device = args.training.compute.device.open(0)?;
    let teacher = super::load_model(Some(&args.model))?;
    let config = args.config(&teacher, &device)?;
    let crop = teacher.config.training_crop().unwrap_or_default();
    let options = args
        .training
        .scan_options_of_run(crop, &args.data, &args.out, global)?;
    let dataset = training::open_sounds(&args.data, config.format, &options, global)?;
    let (out, from) = (&args.out, Some(&teacher));
    let group = Arc::new(Group::alone());
    let mut trainer = training::open_run(group, config, &dataset, out, from, &device, global)?;
    let name = printable(&teacher.config.name);
    let begin = format!("distilling `{name}`");
    let outcome = training::run(&mut trainer, &dataset, out, &begin, &device, global)?;
    if outcome == Outcome::Stopped {
        return Ok(());
    }
    let mut model = trainer.checkpoint()?;
    let path = out.join("model.safetensors");
    let bar = Bar::new("measuring", global);
    let comparison = Comparison {
        student: &model,
        teacher: &teacher,
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
                "warning: not measured at 2, 3 and 4 steps: {}",
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
