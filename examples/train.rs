//! The built-in model with the sounds of the folder `wavs`, in `mine.safetensors`:
//! `cargo run --release --example train`.

use std::ops::ControlFlow;

use audiodiff::checkpoint::Precision;
use audiodiff::{Checkpoint, Dataset, Device, ScanOptions, TrainConfig, Trainer};

fn main() -> audiodiff::Result<()> {
    let model = Checkpoint::embedded()?;
    let config = TrainConfig::fine_tune(&model).steps(20);
    let (sounds, report) = Dataset::open(
        "wavs".as_ref(),
        config.format,
        &ScanOptions::default(),
        &mut |_, _| (),
    )?;
    println!("{report}");
    let mut run = Trainer::open(
        config,
        &sounds,
        "run".as_ref(),
        Some(&model),
        &Device::Cpu,
        &mut |_, _| (),
    )?;
    run.run(&mut |_| ControlFlow::Continue(()))?;
    run.checkpoint()?
        .save("mine.safetensors".as_ref(), Precision::F16)
}
