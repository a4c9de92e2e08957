//! Models of other programs, read as ours: those of Dance Diffusion.
//!
//! Users own files of several programs, all with the same network in them: checkpoints of its trainer
//! (`sample-generator`), whole or trimmed; those that `sample-diffusion` converted; of `stable-audio-tools`, wrapped or
//! not; and folders of `diffusers`. Which one it is, and how deep and wide the network, is told from the names and
//! shapes of the tensors. A pickle is read as data (the `pickle` module): nothing in a file is ever executed.

mod dance;
mod pickle;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Deserialize;

use crate::attributes::AttributeKnots;
use crate::checkpoint::{
    Checkpoint, FORMAT_VERSION, ModelConfig, Rendering, StorageType, TrainingRecord, write_tensors,
};
use crate::diffusion::Target;
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::Schedule;
use crate::error::{Error, Result};
use crate::file::write_whole_by;
use crate::network::NetworkConfig;
use crate::representation::{Crop, Format, RepresentationConfig, Statistics, WaveConfig};
use dance::Dance;
use source::TensorFile;

/// Steps of a sound where nothing else is asked for.
const STEPS: usize = 50;

/// Noise level in which every sound drowns: of audio between -1 and 1, a hundredth of it is left.
const SIGMA_MAX: f64 = 100.0;

/// Facts that a file may lack.
#[derive(Debug, Clone, Default)]
pub struct ImportSettings {
    /// Hz.
    pub sample_rate: Option<u32>,
    /// Length of a sound in samples.
    pub length: Option<usize>,
    /// Name of the model.
    pub name: Option<String>,
}

/// A model of another program, still in its file.
#[derive(Debug)]
pub struct Import {
    source: TensorFile,
    dance: Dance,
    config: ModelConfig,
    /// The findings, for people: names and values.
    pub found: Vec<(&'static str, String)>,
}

/// `model_index.json`, `config.json` and `model_config.json`, as far as anything is read of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Note {
    #[serde(rename = "_class_name")]
    class: Option<String>,
    model_type: Option<String>,
    sample_rate: Option<u32>,
    sample_size: Option<usize>,
    model: Option<NoteModel>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NoteModel {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Rate and length of the models that were published without a note of them, by how their files are called.
const PUBLISHED: [(&str, u32, usize); 6] = [
    ("glitch", 48_000, 65_536),
    ("gwf-440k", 48_000, 65_536),
    ("honk-140k", 16_000, 65_536),
    ("jmann-large", 48_000, 131_072),
    ("jmann-small", 48_000, 65_536),
    ("maestro", 16_000, 65_536),
];

/// Longest note that is read, in bytes.
const LONGEST_NOTE: u64 = 1 << 20;

/// Reads a model, ours or another program's: a file, a folder of another program's, or a run folder.
///
/// # Errors
/// As [`Checkpoint::load`] and [`Import::open`].
pub fn load(path: &Path) -> Result<Checkpoint> {
    let run = path.join("model.safetensors");
    if path.is_dir() && TensorFile::open(&run).is_ok_and(|source| source.is_ours) {
        return Checkpoint::load(&run);
    }
    if path.is_dir() || TensorFile::open(path).is_ok_and(|source| !source.is_ours) {
        return Import::open(path, &ImportSettings::default())?.checkpoint();
    }
    Checkpoint::load(path)
}

impl Import {
    /// Finds out what is in a file or folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] that says what it is instead, or what is missing or damaged; and
    /// [`Error::Setting`] when the rate is said nowhere.
    pub fn open(path: &Path, settings: &ImportSettings) -> Result<Self> {
        let (file, notes) = if path.is_dir() {
            folder(path)?
        } else {
            (path.to_owned(), beside(path)?)
        };
        let source = TensorFile::open(&file)?;
        if source.is_ours {
            let what = "a model of audiodiff already: expected one of another program";
            return Err(Error::checkpoint(&file, what));
        }
        let dance = Dance::of(&source)?;
        let network = NetworkConfig::Dance(dance.config.clone());
        let format = Format {
            channels: dance.channels,
            ..sound_format(path, settings, &notes, &source, network.frames_multiple())?
        };
        let stem = stem(path);
        // `stable-audio-tools` trains and samples at times that are spread evenly.
        let schedule = match notes.model_type.as_deref() {
            Some("diffusion_uncond") => Schedule::Linear,
            _ => Schedule::Crash,
        };
        let name = settings.name.clone().unwrap_or(stem);
        let config = config_of(name, format, network, schedule);
        config.validate().map_err(|error| match error {
            Error::Setting(reason) => Error::checkpoint(path, reason),
            other => other,
        })?;
        let mut found = dance.described(&source);
        found.push((
            "sound",
            format!(
                "{} at {} Hz, {} samples ({:.2} s)",
                if format.channels == 1 {
                    "mono"
                } else {
                    "stereo"
                },
                format.sample_rate,
                format.len_frames,
                format.len_frames as f64 / f64::from(format.sample_rate)
            ),
        ));
        let import = Self {
            source,
            dance,
            config,
            found,
        };
        // Before any is read.
        import.dance.check(&import.source, &import.shapes()?)?;
        Ok(import)
    }

    /// Everything about the model but its weights.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Names and shapes of its tensors, ours, in the order of their names.
    fn shapes(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let shapes = self.config.network.parameter_shapes(self.config.dims());
        Ok(shapes?.into_iter().collect())
    }

    /// The model, its weights in memory.
    ///
    /// # Errors
    /// As for [`Import::save`], but for writing.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let read = |(name, shape): (String, Vec<usize>)| {
            let values = self.dance.read(&self.source, &name, &shape)?;
            Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
        };
        Ok(Checkpoint {
            config: self.config.clone(),
            weights: self
                .shapes()?
                .into_iter()
                .map(read)
                .collect::<Result<_>>()?,
        })
    }

    /// Writes the model as one of ours, a tensor at a time: the largest is all that is held in memory. The file appears
    /// whole or not at all. `on_tensor` is told how many are done, and of how many.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Checkpoint`] for tensors that are cut off, or hold what is not a number.
    pub fn save(
        &self,
        path: &Path,
        precision: StorageType,
        on_tensor: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let shapes = self.shapes()?;
        let by_name: BTreeMap<_, _> = shapes.iter().cloned().collect();
        let note = serde_json::to_string(&self.config).expect("the configuration is plain data");
        let mut done = 0;
        write_whole_by(path, |out| {
            write_tensors(out, &shapes, &note, precision, &mut |name| {
                let values = self.dance.read(&self.source, name, &by_name[name])?;
                done += 1;
                on_tensor(done, shapes.len());
                Ok(values)
            })
        })
    }
}

/// What a file or folder is called.
fn stem(path: &Path) -> String {
    // `.` and `..` have no names of their own.
    let full = std::fs::canonicalize(path);
    let path = match &full {
        Ok(full) if path.file_name().is_none() => full,
        _ => path,
    };
    let name = match path.is_dir() {
        true => path.file_name(),
        false => path.file_stem(),
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// Rate and length of the sounds, in mono: as the settings, the notes or the file say, or as is known of a published
/// model. The length is a multiple of `unit`.
fn sound_format(
    path: &Path,
    settings: &ImportSettings,
    notes: &Note,
    source: &TensorFile,
    unit: usize,
) -> Result<Format> {
    let fact = |key: &str| {
        let facts = source.facts.iter();
        let found = facts.filter(|(path, _)| path.rsplit('.').next() == Some(key));
        found
            .map(|(_, value)| *value)
            .find(|x| *x >= 1.0 && *x < 1e9)
    };
    let stem = stem(path);
    let published = PUBLISHED
        .iter()
        .find(|(name, ..)| stem.to_lowercase().contains(name));
    let rate = settings
        .sample_rate
        .or(notes.sample_rate)
        .or(fact("sample_rate").map(|x| x as u32))
        .or(published.map(|(_, rate, _)| *rate));
    let sample_rate = rate.ok_or_else(|| {
        Error::setting(format!(
            "{0}: says nothing of its sample rate; tell it once: audiodiff import {0} --sample-rate 44100",
            path.display()
        ))
    })?;
    let length = settings
        .length
        .or(notes.sample_size)
        .or(fact("native_chunk_size").map(|x| x as usize))
        .or(published.map(|(.., length)| *length))
        .unwrap_or(65_536);
    Ok(Format {
        sample_rate,
        channels: 1,
        // The lowest level mirrors two frames and needs a third.
        len_frames: length.div_ceil(unit).max(3) * unit,
    })
}

/// Everything about an imported model but its weights.
fn config_of(
    name: String,
    format: Format,
    network: NetworkConfig,
    schedule: Schedule,
) -> ModelConfig {
    ModelConfig {
        format_version: FORMAT_VERSION,
        name,
        format,
        // Its programs cut sounds at random places.
        crop: Some(Crop::Anywhere),
        representation: RepresentationConfig::Wave(WaveConfig { patch: 1 }),
        statistics: Statistics::scaling(vec![1.0; format.channels]),
        labels: Vec::new(),
        descriptors: Vec::new(),
        attributes: Vec::new(),
        attribute_knots: AttributeKnots::default(),
        modulation: None,
        ends: Vec::new(),
        sigma_data: 1.0,
        sigma_max: SIGMA_MAX,
        target: Target::V,
        network,
        rendering: Some(Rendering::new(Sampler::Ipndm, schedule, STEPS, 1.0)),
        training: TrainingRecord {
            audiodiff_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..TrainingRecord::default()
        },
    }
}

/// Reads a note, where there is one.
fn note(path: &Path) -> Result<Option<Note>> {
    let Ok(meta) = std::fs::metadata(path) else {
        return Ok(None);
    };
    if meta.len() > LONGEST_NOTE {
        return Err(Error::checkpoint(
            path,
            format!(
                "expected at most {LONGEST_NOTE} bytes, found {}",
                meta.len()
            ),
        ));
    }
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let note = serde_json::from_slice(&text);
    note.map(Some)
        .map_err(|e| Error::checkpoint(path, format!("cannot be understood: {e}")))
}

/// The notes beside a file of weights.
fn beside(path: &Path) -> Result<Note> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let own = note(&path.with_extension("json"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let found = match own {
        Some(note) => Some(note),
        None if name.starts_with("diffusion_pytorch_model") => note(&folder.join("config.json"))?,
        None => note(&folder.join("model_config.json"))?,
    };
    let found = found.unwrap_or_default();
    if let Some(kind) = found.model.as_ref().and_then(|model| model.kind.as_deref())
        && kind != "DAU1d"
    {
        return Err(Error::checkpoint(
            path,
            format!("a stable-audio-tools model of the type `{kind}`: expected `DAU1d`"),
        ));
    }
    Ok(found)
}

/// The weights in a folder, and their notes: one of `diffusers`, or one that a checkpoint lies in, as those of
/// `stable-audio-tools` with their `model_config.json`.
fn folder(path: &Path) -> Result<(PathBuf, Note)> {
    let fail = |what: String| Error::checkpoint(path, what);
    if let Some(index) = note(&path.join("model_index.json"))? {
        let class = index.class.unwrap_or_default();
        if class != "DanceDiffusionPipeline" {
            return Err(fail(format!(
                "a diffusers folder of a `{class}`: expected `DanceDiffusionPipeline`"
            )));
        }
    }
    let inner = path.join("unet");
    let place = if inner.is_dir() {
        inner
    } else {
        path.to_owned()
    };
    for name in [
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.bin",
    ] {
        let file = place.join(name);
        if file.exists() {
            let notes = note(&place.join("config.json"))?.unwrap_or_default();
            return Ok((file, notes));
        }
    }
    let file = checkpoint_in(path)?;
    let notes = beside(&file)?;
    Ok((file, notes))
}

/// The one checkpoint that lies in a folder; of `model.safetensors` and `model.ckpt`, which hold the same, the former.
fn checkpoint_in(folder: &Path) -> Result<PathBuf> {
    let fail = |what: String| Err(Error::checkpoint(folder, what));
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let is_checkpoint = |path: &PathBuf| {
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        path.is_file() && ["ckpt", "safetensors", "pt", "pth"].contains(&&*ending)
    };
    let mut found: Vec<PathBuf> = (entries.flatten().map(|entry| entry.path()))
        .filter(is_checkpoint)
        .collect();
    found.sort();
    let usual = ["model.safetensors", "model.ckpt"].map(|name| folder.join(name));
    if let Some(usual) = usual.into_iter().find(|usual| found.contains(usual)) {
        return Ok(usual);
    }
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => fail(
            "a folder without a model: expected one of diffusers with unet/diffusion_pytorch_model.safetensors or .bin, \
             or one with a checkpoint (.ckpt, .safetensors, .pt) and its model_config.json"
                .into(),
        ),
        several => {
            let names = several.iter().filter_map(|path| path.file_name());
            let names: Vec<_> = names.take(4).map(|name| name.to_string_lossy()).collect();
            fail(format!(
                "expected one checkpoint in the folder, found {}, such as {}: name the file itself",
                several.len(),
                names.join(", ")
            ))
        }
    }
}
