//! Two classes of tones, and small models of them.

use std::f64::consts::TAU;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use audiodiff::audio::{BitDepth, Clip, write_wav};
use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{Dataset, ScanOptions};
use audiodiff::diffusion::Target;
use audiodiff::diffusion::objective::Objective;
use audiodiff::network::{ComputeType, NetworkConfig, UNetConfig};
use audiodiff::optim::{AdamConfig, LearningRate};
use audiodiff::representation::{Format, MdctConfig, MelConfig, RepresentationConfig, Stereo};
use audiodiff::train::{Event, Length, Loss, Outcome, TrainConfig, Trainer};
use candle_core::{Device, Tensor};

pub const RATE: u32 = 8000;
pub const LEN: usize = 1024;

/// Two classes of decaying tones: `low` at 300 Hz, `high` at 2200 Hz. Which of them are held back goes by their bits,
/// which are rounded so coarsely that no library's sine makes others. The thresholds of tests are for what is held back of
/// these: with some other roundings it is half of a class.
fn sounds(root: &Path) {
    for (label, hz) in [("low", 300.0), ("high", 2200.0)] {
        for i in 0..6 {
            let tone = |t: usize| {
                let t = t as f64 / f64::from(RATE);
                let value = (TAU * hz * (1.0 + 0.01 * f64::from(i)) * t).sin() * (-12.0 * t).exp();
                ((value * 30_000.0).round() / 30_000.0) as f32
            };
            let folder = root.join(label);
            std::fs::create_dir_all(&folder).unwrap();
            let clip = Clip::new(RATE, vec![(0..LEN).map(tone).collect()]);
            write_wav(&folder.join(format!("{i}.wav")), &clip, BitDepth::Float32).unwrap();
        }
    }
}

pub fn config(representation: RepresentationConfig, steps: u64) -> TrainConfig {
    TrainConfig {
        precision: ComputeType::F32,
        name: "tones".into(),
        format: Format {
            sample_rate: RATE,
            channels: 1,
            len_frames: LEN,
        },
        representation,
        network: NetworkConfig::UNet(UNetConfig::preset("32x1,32x1").unwrap()),
        target: Target::X,
        loss: Loss::Denoising(Objective::new(Target::X, 1.0)),
        batch: NonZeroUsize::new(8),
        length: Length::Steps(steps),
        learning_rate: LearningRate {
            peak: 4e-3,
            warmup: 10,
            decay: 0.4,
        },
        adam: AdamConfig::default(),
        ema_gamma: 6.94,
        class_dropout: 0.1,
        augment: None,
        attributes: true,
        clip_lengths: false,
        licence: None,
        seed: 3,
        validate_every: 50,
        patience: None,
        save_every_s: 1e9,
    }
}

pub fn mdct() -> RepresentationConfig {
    RepresentationConfig::Mdct(MdctConfig {
        bins: 32,
        companding: 0.5,
        emphasis: 0.0,
    })
}

pub fn mel() -> RepresentationConfig {
    RepresentationConfig::Mel(MelConfig {
        n_fft: 256,
        hop: 64,
        mels: 24,
        floor_db: -60.0,
        stereo: Stereo::Image,
    })
}

pub fn open(root: &Path) -> Dataset {
    open_as(root, config(mdct(), 1).format, &ScanOptions::default())
}

/// The sounds of a folder in a format of their own.
pub fn open_as(root: &Path, format: Format, options: &ScanOptions) -> Dataset {
    Dataset::open(root, format, options, &mut |_, _| ())
        .unwrap()
        .0
}

/// A folder whose `sounds` are the tones, and these as a data set.
pub fn tones() -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    sounds(&folder.path().join("sounds"));
    let set = open(&folder.path().join("sounds"));
    (folder, set)
}

/// Opens a run in `folder`, which begins with `from` if there is one.
pub fn begin<'a>(
    config: TrainConfig,
    sounds: &'a Dataset,
    folder: &Path,
    from: Option<&Checkpoint>,
) -> audiodiff::Result<Trainer<'a>> {
    Trainer::open(config, sounds, folder, from, &Device::Cpu, &mut |_, _| ())
}

/// Trains in `folder`, stopping after the step `stop_at` if it comes.
pub fn train(
    config: TrainConfig,
    sounds: &Dataset,
    folder: &Path,
    stop_at: u64,
) -> (Outcome, Checkpoint) {
    train_from(None, config, sounds, folder, stop_at)
}

/// [`train`], beginning with the weights of `from` if there is one.
pub fn train_from(
    from: Option<&Checkpoint>,
    config: TrainConfig,
    sounds: &Dataset,
    folder: &Path,
    stop_at: u64,
) -> (Outcome, Checkpoint) {
    let mut trainer = begin(config, sounds, folder, from).unwrap();
    let outcome = trainer.run(&mut |event| match event {
        Event::Step(report) if report.step == stop_at => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    (
        outcome.unwrap(),
        Checkpoint::load(&folder.join("model.safetensors")).unwrap(),
    )
}

/// The model of a whole run in `folder`'s `run`.
pub fn trained(config: TrainConfig, sounds: &Dataset, folder: &Path) -> Checkpoint {
    train(config, sounds, &folder.join("run"), u64::MAX).1
}

pub fn bits(model: &Checkpoint) -> Vec<u32> {
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    model
        .weights
        .values()
        .flat_map(flat)
        .map(f32::to_bits)
        .collect()
}

/// One row of a table of weights.
pub fn row(table: &str, model: &Checkpoint, i: usize) -> Vec<f32> {
    model.weights[table].get(i).unwrap().to_vec1().unwrap()
}
