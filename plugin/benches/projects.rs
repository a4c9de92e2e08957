//! A project as large as can be, 16 sounds of 30 s of stereo: how long it takes to make, save and open, and its size.
//!
//! It is made of the sounds in the folder that an argument names, one after the other on each side; or of tones and noise
//! that die away: `cargo bench -p audiodiff-plugin --bench projects -- FOLDER`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use audiodiff::audio::{self, Clip};
use audiodiff::noise::Noise;
use audiodiff_plugin::pad::PADS;
use audiodiff_plugin::project::Project;
use audiodiff_plugin::stored::{SoundRecipe, StoredSound};

const RATE: u32 = 44_100;
const FRAMES: usize = 30 * RATE as usize;

/// Sounds of two sides.
fn sounds(folder: Option<PathBuf>) -> Vec<[Vec<f32>; 2]> {
    let Some(folder) = folder else {
        let mut noise = Noise::new(1);
        return (0..64).map(|_| drum(&mut noise)).collect();
    };
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    let clips = paths.iter().filter_map(|path| audio::read(path).ok());
    clips
        .map(|clip| {
            let clip = clip.with_channels(2);
            [0, 1].map(|side| clip.channels()[side].clone())
        })
        .collect()
}

/// A tone and noise that die away, a little different on both sides.
fn drum(noise: &mut Noise) -> [Vec<f32>; 2] {
    let (hz, seconds) = (noise.between(60.0, 600.0), noise.between(0.05, 0.5));
    let hiss = noise.between(0.001, 0.1);
    let len = (RATE as f32 * 4.0 * seconds) as usize;
    [0.0, 0.2].map(|phase| {
        let draws = noise.normals(len);
        let sample = |(i, x): (usize, &f32)| {
            let t = i as f32 / RATE as f32;
            let tone = (std::f32::consts::TAU * hz * t + phase).sin();
            (-t / seconds).exp() * (tone + hiss * x)
        };
        draws.iter().enumerate().map(sample).collect()
    })
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let sounds = sounds(folder.map(PathBuf::from));
    let clip = |pad: usize| {
        let mut sides = [Vec::new(), Vec::new()];
        for sound in sounds.iter().cycle().skip(pad * sounds.len() / PADS) {
            if sides[0].len() >= FRAMES {
                break;
            }
            for (side, more) in sides.iter_mut().zip(sound) {
                side.extend(more);
            }
        }
        sides.iter_mut().for_each(|side| side.truncate(FRAMES));
        Clip::new(RATE, sides.into())
    };
    let clips: Vec<Clip> = (0..PADS).map(clip).collect();
    let timed = |what: &str, start: Instant| {
        println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
    };

    let start = Instant::now();
    let recipe = SoundRecipe::of_file(Path::new("a.wav"));
    let sound = |clip| {
        let sound = StoredSound::new(recipe.clone(), clip);
        sound.pack();
        Some(sound.into())
    };
    let project = Project {
        pads: clips.iter().map(sound).collect(),
        ..Project::default()
    };
    timed("made", start);

    // As the framework saves: a text within a text, compressed.
    let start = Instant::now();
    let field = serde_json::to_string(&project).expect("a project is text");
    let state = serde_json::to_vec(&[field]).expect("so is its state");
    let state = zstd::encode_all(&state[..], zstd::DEFAULT_COMPRESSION_LEVEL).expect("memory");
    timed("saved", start);
    println!("{:.1} MB", state.len() as f64 / 1e6);

    let start = Instant::now();
    let state = zstd::decode_all(&state[..]).expect("what was written");
    let [field]: [String; 1] = serde_json::from_slice(&state).expect("what was written");
    let opened: Project = serde_json::from_str(&field).expect("what was written");
    timed("opened", start);

    assert_eq!(opened.damaged, 0);
    let start = Instant::now();
    assert!(opened.pads == project.pads);
    timed("compared", start);
}
