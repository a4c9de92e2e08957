//! Real sounds through a representation and back: how long it takes, and what of them comes back.
//!
//! `cargo bench --bench there_and_back -- DIR OUT [REPRESENTATION]` takes the sounds of the folders below DIR, as a
//! one-shot model would learn them, writes what comes back as OUT/<class>/<name>.wav, and prints medians of real sounds
//! beside those: the first millisecond over the first 20 (dB), kurtosis above 3 kHz, roughness at 1024 samples (dB),
//! level of the first 100 ms at equal peak (dB).

use std::path::{Path, PathBuf};
use std::time::Instant;

use audiodiff::audio::{self, BitDepth, Clip, Ending, Level, Texture, finish};
use audiodiff::dataset::prepare;
use audiodiff::representation::{
    Crop, Decoding, Format, Representation, RepresentationConfig, Statistics,
};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FORMAT: Format = Format {
    sample_rate: 44_100,
    channels: 1,
    len_frames: 49_152,
};

fn main() -> audiodiff::Result<()> {
    let args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let args: Vec<String> = args.collect();
    let (from, to, config) = match &args[..] {
        [from, to] => (from, to, RepresentationConfig::default()),
        [from, to, config] => (from, to, config.parse()?),
        _ => {
            println!(
                "there_and_back: expected a folder of sounds and one to write to, found {args:?}"
            );
            return Ok(());
        }
    };
    let width = config.width(FORMAT.channels);
    let as_it_is = Statistics {
        mean: vec![0.0; width],
        scale: vec![1.0; width],
    };
    let representation = config.build(&FORMAT, &as_it_is)?;
    println!(
        "{:16}{:>7}{:>16}{:>14}{:>14}{:>16}",
        "", "sounds", "first ms", "kurtosis", "roughness", "level"
    );
    let mut times = Vec::new();
    for folder in entries(Path::new(from))? {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !folder.is_dir() {
            continue;
        }
        let out = Path::new(to).join(&name);
        std::fs::create_dir_all(&out).map_err(audiodiff::Error::io(&out))?;
        let files = entries(&folder)?;
        let textures: Vec<[Texture; 2]> = files
            .par_iter()
            .enumerate()
            .filter_map(|(seed, path)| one(path, seed as u64, &*representation, &out).transpose())
            .collect::<audiodiff::Result<_>>()?;
        if let Some(path) = files.first() {
            times.push(time(path, &*representation)?);
        }
        let hop = |get: fn(&Texture) -> Option<f32>| {
            let [real, back] =
                [0, 1].map(|i| median(textures.iter().filter_map(|t| get(&t[i])).collect()));
            format!("{real:.1} {back:.1}")
        };
        println!(
            "{name:16}{:>7}{:>16}{:>14}{:>14}{:>16}",
            textures.len(),
            hop(|t| t.first_ms),
            hop(|t| t.kurtosis),
            hop(|t| t.roughness[1]),
            hop(|t| t.level)
        );
    }
    println!(
        "decoding: {:.1} ms a sound alone, median",
        median(times.into_iter().flatten().collect())
    );
    Ok(())
}

fn entries(folder: &Path) -> audiodiff::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(audiodiff::Error::io(folder))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    Ok(paths)
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f32::NAN)
}

/// The clip that a model would learn, if any.
fn clip(path: &Path) -> audiodiff::Result<Option<Clip>> {
    match audio::read(path) {
        Ok(clip) => prepare(clip, FORMAT),
        // Texts lie beside sounds.
        Err(_) => Ok(None),
    }
}

fn decode(clip: &Clip, seed: u64, representation: &dyn Representation) -> audiodiff::Result<Clip> {
    let crop = Some(Crop::Onset);
    let with = Decoding {
        seed,
        crop,
        ..Decoding::default()
    };
    representation.decode(&representation.encode(clip)?, &with)
}

fn one(
    path: &Path,
    seed: u64,
    representation: &dyn Representation,
    out: &Path,
) -> audiodiff::Result<Option<[Texture; 2]>> {
    let Some(real) = clip(path)? else {
        return Ok(None);
    };
    let mut back = decode(&real, seed, representation)?;
    let textures = [&real, &back].map(|clip| Texture::of(clip, 256));
    // A peak level can always be had.
    let _ = finish(&mut back, Level::default(), Ending::Trimmed);
    let name = path.file_stem().unwrap_or_default();
    let file = out.join(name).with_extension("wav");
    audio::write_wav(&file, &back, BitDepth::Int24)?;
    Ok(Some(textures))
}

/// Milliseconds of decodings one after the other.
fn time(path: &Path, representation: &dyn Representation) -> audiodiff::Result<Vec<f32>> {
    let Some(real) = clip(path)? else {
        return Ok(Vec::new());
    };
    let frames = representation.encode(&real)?;
    (0..3)
        .map(|seed| {
            let begun = Instant::now();
            let crop = Some(Crop::Onset);
            let with = Decoding {
                seed,
                crop,
                ..Decoding::default()
            };
            representation.decode(&frames, &with)?;
            Ok(begun.elapsed().as_secs_f32() * 1e3)
        })
        .collect()
}
