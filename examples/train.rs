//! The built-in model with the sounds of the folder `wavs`, in `mine.safetensors`:
//! `cargo run --release --example train`.

use audiodiff::checkpoint::StorageType;
use audiodiff::{Checkpoint, Device, TrainConfig};

fn main() -> audiodiff::Result<()> {
    let model = Checkpoint::embedded()?;
    let config = TrainConfig::fine_tune(&model).steps(20);
    let (sounds, run) = ("wavs".as_ref(), "run".as_ref());
    let (mine, report) = config.train(Some(&model), sounds, run, &Device::Cpu)?;
    println!("{report}");
    mine.save("mine.safetensors".as_ref(), StorageType::F16)
}
