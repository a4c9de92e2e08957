//! How a snare comes out of noise, in `emergence.png`: `cargo run --release --example emergence`. Above, the snare under
//! the noise of each level at which the model is asked; below, what the model takes the noise for at that level.

use std::ops::ControlFlow;

use audiodiff::audio::Clip;
use audiodiff::noise::Noise;
use audiodiff::picture::sound_sheet;
use audiodiff::render::RenderSettings;
use audiodiff::representation::{Decoding, Format, Frames};
use audiodiff::{Checkpoint, Device, Renderer};

const SEED: u64 = 7;

fn main() -> audiodiff::Result<()> {
    let renderer = Renderer::new(&Checkpoint::embedded()?, &Device::Cpu)?;
    let settings = RenderSettings {
        class: Some("snare".into()),
        ..renderer.settings()
    };
    let mut guesses = Vec::new();
    renderer.render_watched(&settings, SEED, &mut |_, guess| {
        guesses.extend(guess.map(|guess| (guess.sigma(), guess.clip())));
        ControlFlow::Continue(())
    })?;
    let guesses: Vec<(f64, Clip)> = guesses
        .into_iter()
        .map(|(sigma, clip)| Ok((sigma, clip?)))
        .collect::<audiodiff::Result<_>>()?;

    let mut cells = Vec::new();
    if let Some((_, snare)) = guesses.last() {
        for (sigma, _) in &guesses {
            cells.push((
                format!("noise of sigma {sigma:.2}"),
                hidden(snare, *sigma, &renderer)?,
            ));
        }
    }
    for (sigma, guess) in guesses {
        cells.push((format!("guess at sigma {sigma:.2}"), guess));
    }
    let cells: Vec<(String, &Clip)> = cells
        .iter()
        .map(|(title, clip)| (title.clone(), clip))
        .collect();
    sound_sheet(&cells, "emergence.png".as_ref())
}

/// A sound whose frames have noise of this level added.
fn hidden(clip: &Clip, sigma: f64, renderer: &Renderer) -> audiodiff::Result<Clip> {
    let config = renderer.config();
    let format = Format {
        len_frames: clip.len_frames(),
        ..config.format
    };
    let representation = config.representation.build(&format, &config.statistics)?;
    let frames = representation.encode(clip)?;
    let mut noise = Noise::new(SEED);
    let data = frames
        .data
        .iter()
        .map(|x| x + sigma as f32 * noise.normal());
    let frames = Frames {
        data: data.collect(),
        ..frames
    };
    representation.decode(&frames, &Decoding::default())
}
