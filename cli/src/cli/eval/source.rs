//! Where the sounds come from that are evaluated, and the format that all are heard in.

use std::path::PathBuf;

use audiodiff::checkpoint::Checkpoint;
use audiodiff::eval::Ear;
use audiodiff::representation::Format;

use super::super::{Global, load_model, usage};

/// Where sounds come from.
pub enum SoundsFrom {
    Model(Box<Checkpoint>),
    Folder(PathBuf),
}

impl SoundsFrom {
    /// A folder of sounds, a model file, or the built-in model.
    pub fn open(path: Option<&PathBuf>) -> anyhow::Result<Self> {
        Ok(match path {
            Some(path) if path.is_dir() => Self::Folder(path.clone()),
            path => Self::Model(Box::new(load_model(path)?)),
        })
    }
}

/// How all sounds are heard: in the models' format, with lines sought at their hop; those of folders alone at that
/// of the built-in model.
pub fn ear(sources: &[SoundsFrom], seconds: Option<f64>, global: &Global) -> anyhow::Result<Ear> {
    let format = format(sources, seconds)?;
    let mut hops = sources.iter().filter_map(|source| match source {
        SoundsFrom::Model(model) => Some(model.config.representation.hop()),
        SoundsFrom::Folder(_) => None,
    });
    let usual = (256.0 * f64::from(format.sample_rate) / 44_100.0).round() as usize;
    let hop = hops.next().unwrap_or(usual);
    if let Some(other) = hops.find(|other| *other != hop)
        && !global.quiet
    {
        eprintln!(
            "lines in the envelope are sought at a hop of {hop}; those of the other model's, {other}, are not"
        );
    }
    Ok(Ear::new(format, hop)?)
}

/// The format of the models among `sources`, or of folders alone: this long, or as the built-in model.
fn format(sources: &[SoundsFrom], seconds: Option<f64>) -> anyhow::Result<Format> {
    let mut format: Option<Format> = None;
    for source in sources {
        let SoundsFrom::Model(model) = source else {
            continue;
        };
        let own = Format {
            channels: 1,
            ..model.config.format
        };
        if format.is_some_and(|other| other != own) {
            return Err(usage(
                "--baseline: expected a model of the same rate and length; render both to folders to compare them",
            ));
        }
        format = Some(own);
    }
    let rate = format.map_or(44_100, |f| f.sample_rate);
    let own = format.map_or(49_152, |f| f.len_frames);
    let len_frames = match seconds {
        None => own,
        Some(seconds) if format.is_none() => (seconds * f64::from(rate)).round() as usize,
        Some(_) => {
            return Err(usage(
                "--seconds: expected only with folders; a model has its own length",
            ));
        }
    };
    Ok(Format {
        sample_rate: rate,
        channels: 1,
        len_frames,
    })
}
