//! A kick from the built-in model, in `kick.wav`: `cargo run --release --example render`.

use audiodiff::audio::{BitDepth, write_wav};
use audiodiff::{Checkpoint, Device, Renderer};

fn main() -> audiodiff::Result<()> {
    let renderer = Renderer::new(&Checkpoint::embedded()?, &Device::Cpu)?;
    let mut settings = renderer.settings();
    settings.class = Some("kick".into());
    let kick = renderer.render(&settings, 7)?;
    write_wav("kick.wav".as_ref(), &kick.clip, BitDepth::Int24)
}
