//! How a snare comes out of noise, in `emergence.png`: `cargo run --release --example emergence`. Above, the snare under
//! the noise of levels at which the model is asked; below, what the model takes the noise for at each of them.

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
        guesses.extend(guess.map(|guess| Ok((guess.sigma(), guess.clip()?))));
        ControlFlow::Continue(())
    })?;
    let guesses = guesses.into_iter().collect::<audiodiff::Result<Vec<_>>>()?;

    // Of four steps the second is left out: its noise looks like that of the first.
    let [first, _, third, last] = &guesses[..] else {
        unreachable!("the built-in model takes four steps");
    };
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for (sigma, guess) in [first, third, last] {
        let noisy = hidden(&last.1, *sigma, &renderer)?;
        above.push((format!("noise {sigma:.1}"), beginning(&noisy)));
        below.push((format!("guess at noise {sigma:.1}"), beginning(guess)));
    }
    let cells = above.iter().chain(&below);
    let cells: Vec<(String, &Clip)> = cells.map(|(title, clip)| (title.clone(), clip)).collect();
    sound_sheet(&cells, "emergence.png".as_ref())
}

/// The first half second of a sound.
fn beginning(clip: &Clip) -> Clip {
    let half = clip.sample_rate() as usize / 2;
    clip.slice(0, half.min(clip.len_frames()))
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
