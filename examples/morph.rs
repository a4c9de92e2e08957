//! Nine sounds on the way from a kick to a snare, `morph-0.wav` to `morph-8.wav`:
//! `cargo run --release --example morph`.

use audiodiff::audio::{BitDepth, write_wav};
use audiodiff::render::{Init, RenderSettings};
use audiodiff::{Checkpoint, Device, Renderer};

fn main() -> audiodiff::Result<()> {
    let renderer = Renderer::new(&Checkpoint::embedded()?, &Device::Cpu)?;
    let of_class = |class: &str| {
        let class = Some(class.to_owned());
        let settings = RenderSettings {
            class,
            ..renderer.settings()
        };
        renderer.render(&settings, 7)
    };
    let (kick, snare) = (of_class("kick")?.clip, of_class("snare")?.clip);
    for n in 0..9 {
        let settings = RenderSettings {
            init: Some(Init::Morph {
                clips: [kick.clone(), snare.clone()],
                fraction: f64::from(n) / 8.0,
            }),
            ..renderer.settings()
        };
        let between = renderer.render(&settings, 7)?;
        let path = format!("morph-{n}.wav");
        write_wav(path.as_ref(), &between.clip, BitDepth::Int24)?;
    }
    Ok(())
}
