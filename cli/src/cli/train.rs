//! `train`: from a folder of sounds to a model.

mod start;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use audiodiff::Device;
use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::Crop;
use audiodiff::error::printable;
use audiodiff::train::{Loss, TrainConfig};
use clap::Args;

use super::Global;
use super::flags::{CropChoice, positive, within};
use super::ranks::Ranks;
use super::training::{self, TrainingArgs};
use start::StartArgs;

#[derive(Args)]
#[command(
    after_help = "The run folder holds the model (model.safetensors), all that resuming needs (state.safetensors), \
the loss of every step (stats.jsonl, loss.png) and demo sounds with pictures. Ctrl-C finishes the step and saves; the \
same command goes on. A build with the `mpi` feature that mpirun starts several times trains one model with all of them \
(docs/cluster.md).

Examples:
  audiodiff train ./wavs                                fine-tune the built-in model for 30 minutes
  audiodiff train ./wavs --minutes 120 --from none      begin from nothing
  audiodiff train ./loops --crop anywhere --seconds 3 --labels none"
)]
pub struct TrainArgs {
    /// Folder of sounds; its folders name the classes (--labels)
    #[arg(value_name = "SOUNDS")]
    folder: PathBuf,
    /// Run folder
    #[arg(long, short, default_value = "run", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    training: TrainingArgs,
    /// Sample rate in Hz [default: that of the model it begins from, else 44100]
    #[arg(long, value_name = "HZ")]
    sample_rate: Option<u32>,
    /// 1 for mono, 2 for stereo [default: those of the model it begins from, else 1]
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// Length of a sound in seconds, rounded up to whole frames [default: that of the model it begins from, else 2.97]
    #[arg(long, value_name = "T")]
    seconds: Option<f64>,
    /// Where a clip begins in its sound: at its onset, or anywhere for loops and textures [default: as the model it
    /// begins from, else onset]
    #[arg(long)]
    crop: Option<CropChoice>,
    /// Mean of ln sigma, the noise levels to learn; higher learns more of a sound's outline [default: 0.3,
    /// mel 1.3]
    #[arg(
        long, value_name = "X", allow_negative_numbers = true, alias = "sigma-mean",
        value_parser = within::<f64>(-10.0..=10.0)
    )]
    p_mean: Option<f64>,
    /// Standard deviation of ln sigma [default: 1.4, mel 1.8]
    #[arg(long, value_name = "X", alias = "sigma-deviation", value_parser = within::<f64>(0.0..=10.0))]
    p_std: Option<f64>,
    /// Largest weight of the loss, which grows towards low noise (Min-SNR weighting) [default: 12 for target x, else
    /// none]
    #[arg(long, value_name = "GAMMA", alias = "weight-clip", value_parser = positive)]
    min_snr_gamma: Option<f64>,
    /// Learn the sounds as they are, without changed copies of them
    #[arg(long)]
    no_augment: bool,
    /// Do not condition the network on what each sound is like (attack, length, brightness, pitch, noisiness). A fresh
    /// network whose clips begin anywhere never is
    #[arg(long, alias = "no-portraits")]
    no_attributes: bool,
    /// Steps between measurements of the validation loss [default: 250, fine-tuning 100]
    #[arg(long, value_name = "N")]
    validate_every: Option<u64>,
    /// Measurements in a row without a lower validation loss, while the learning rate falls, after which to stop. The
    /// model is then the last that is not shown to be worse than the best (the one that it began from, where all
    /// are); 0 for never, and the last whatever it is
    /// [default: 0, fine-tuning 6]
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Minutes between checkpoints
    #[arg(long, default_value_t = 4.0, value_name = "M")]
    save_every: f64,
}

impl TrainArgs {
    /// Where clips begin.
    fn crop(&self, from: Option<&Checkpoint>) -> Crop {
        let own = || from.and_then(|model| model.config.training_crop());
        self.crop.map(Crop::from).or_else(own).unwrap_or_default()
    }

    /// The recipe, changed where a flag says so.
    fn config(&self, from: Option<&Checkpoint>, device: &Device) -> anyhow::Result<TrainConfig> {
        let mut config = self.start.recipe(from)?;
        config.set_format(self.sample_rate, self.channels, self.seconds)?;
        config.name_after(&self.folder);
        self.training.apply(&mut config, device);
        self.set_objective(&mut config.loss);
        if self.no_augment {
            config.augment = None;
        }
        // Of what begins anywhere, attack and length say little: a fresh network learns without.
        if self.no_attributes || (from.is_none() && self.crop(from) == Crop::Anywhere) {
            config.attributes = false;
        }
        config.validate_every = self.validate_every.unwrap_or(config.validate_every);
        if let Some(patience) = self.patience {
            config.patience = NonZeroU64::new(patience);
        }
        config.save_every_s = 60.0 * self.save_every;
        Ok(config)
    }

    /// The noise levels and weights of the loss, where a flag says so.
    fn set_objective(&self, loss: &mut Loss) {
        if let Loss::Denoising(objective) = loss {
            objective.p_mean = self.p_mean.unwrap_or(objective.p_mean);
            objective.p_std = self.p_std.unwrap_or(objective.p_std);
            objective.min_snr_gamma = self.min_snr_gamma.unwrap_or(objective.min_snr_gamma);
        }
    }
}

pub fn train(args: &TrainArgs, ranks: &Ranks, global: &Global) -> anyhow::Result<()> {
    let device = args.training.compute.device.open(ranks.gpu())?;
    let group = Arc::new(ranks.group());
    let counted = args.training.scan_options(Crop::default());
    let (from, why_none) = args.start.open(&args.folder, &counted)?;
    let (from, config) = (from.as_ref(), args.config(from.as_ref(), &device)?);
    if let (Some(why), false) = (why_none, global.quiet) {
        eprintln!("{}: training from nothing", printable(&why));
    }
    let (sounds, crop) = (&args.folder, args.crop(from));
    let options = args
        .training
        .scan_options_of_run(crop, sounds, &args.out, global)?;
    let dataset = training::open_sounds(sounds, config.format, &options, global)?;
    let begin = match from {
        Some(model) => format!("fine-tuning `{}`", model.config.name),
        None => "training from nothing".to_owned(),
    };
    let begin = match group.size() {
        1 => begin,
        size => format!("{begin} by {size} ranks together"),
    };
    let out = &args.out;
    let mut trainer = training::open_run(group, config, &dataset, out, from, &device, global)?;
    training::run(&mut trainer, &dataset, out, &begin, &device, global)?;
    Ok(())
}
