//! One safetensors file is one model: weights, and everything needed to render with them.
//!
//! The file's metadata holds a single key, `audiodiff`, with the [`ModelConfig`] as JSON. Reading
//! trusts nothing: every length is checked against the bytes at hand before memory is taken for it,
//! every tensor against the shape that the configuration implies, every number for being one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::dataset::{Descriptor, MAX_LABELS, MAX_NAME};
use crate::diffusion::Target;
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::{NoiseSchedule, Schedule};
use crate::error::{Error, Result};
use crate::file::write_whole_by;
use crate::network::{NetworkConfig, Surroundings};
use crate::portrait::{COLUMNS, Portrait, Quality};
use crate::representation::{Crop, Format, RepresentationConfig, Statistics};

/// The newest format this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Longest header that is read, in bytes.
const MAX_HEADER: u64 = 16 << 20;
/// Most portraits that a model carries; a larger training keeps those of every n-th sound of each class.
pub const MAX_PORTRAITS: usize = 4096;
const MAX_RANK: usize = 8;
pub(crate) const KEY: &str = "audiodiff";

/// Everything about a model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Version of the file format, [`FORMAT_VERSION`] when written by this build.
    pub format_version: u32,
    /// A short name for people.
    pub name: String,
    /// Rate, channels and length of its clips.
    pub format: Format,
    /// Where its clips begin in the sounds that it learnt. Absent in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// How clips become frames.
    pub representation: RepresentationConfig,
    /// What the representation measured on the training set.
    pub statistics: Statistics,
    /// Class names, in the order of the network's table; empty for an unconditional model.
    pub labels: Vec<String>,
    /// Descriptor names, in the order of the network's inputs.
    pub descriptors: Vec<String>,
    /// Portraits of the sounds learnt from, each with its label's place in `labels`; empty for a network that is
    /// not told any. Absent in older files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub portraits: Vec<(Option<u32>, Portrait)>,
    /// Deviation of the clean frames.
    pub sigma_data: f64,
    /// Noise level at which sounds are begun: all of them drown in it. Absent in older files, which mean 20.
    #[serde(default = "old_sigma_max")]
    pub sigma_max: f64,
    /// What the raw network says.
    pub target: Target,
    /// The raw network's sizes.
    pub network: NetworkConfig,
    /// How it is best rendered; absent for an ordinary denoiser, which suits every sampler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<Rendering>,
    /// How the weights came to be.
    #[serde(default)]
    pub training: TrainingRecord,
}

fn old_sigma_max() -> f64 {
    NoiseSchedule::default().sigma_max
}

/// How a model is best rendered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendering {
    /// How to walk.
    pub sampler: Sampler,
    /// How the steps are spread.
    pub schedule: Schedule,
    /// How strongly to insist on the class.
    pub guidance: f64,
    /// Steps where nothing else is asked for.
    pub steps: usize,
    /// What older files say instead of `excess`: numbers of steps, with the Fréchet distance to real sounds over that
    /// of the model's teacher, measured once, without an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<(usize, f64)>,
    /// How much farther from real sounds than its teacher the model was at some numbers of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excess: Vec<Excess>,
}

/// A difference between Fréchet distances to real sounds, dB².
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Excess {
    /// Steps of the model.
    pub steps: usize,
    /// Its distance less that of its teacher: negative where it is nearer.
    pub value: f64,
    /// Standard error over the rounds that it was measured in.
    pub error: f64,
}

/// Facts about a training, for `info` and model cards. Nothing is computed from them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingRecord {
    /// Version of audiodiff that wrote the file.
    pub audiodiff_version: String,
    /// Optimizer steps, the ones of earlier models it was tuned from not counted.
    pub steps: u64,
    /// Clips seen.
    pub windows: u64,
    /// Wall-clock seconds of training.
    pub seconds: f64,
    /// Validation loss of the averaged weights, when there was something to validate on.
    pub validation_loss: Option<f32>,
    /// Sounds learnt from.
    pub sounds: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the model it was tuned from.
    pub tuned_from: Option<String>,
    /// All that was learnt before: by that model, and by those that it was tuned from in turn, as far as their files
    /// tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Learnt>,
    /// Licence of the weights.
    pub licence: Option<String>,
}

/// How much was learnt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// Optimizer steps.
    pub steps: u64,
    /// Clips seen.
    pub windows: u64,
    /// Wall-clock seconds of training.
    pub seconds: f64,
}

impl TrainingRecord {
    /// All that a model with this record has learnt.
    pub fn whole(&self) -> Learnt {
        let before = self.before.unwrap_or_default();
        Learnt {
            steps: before.steps.saturating_add(self.steps),
            windows: before.windows.saturating_add(self.windows),
            seconds: before.seconds + self.seconds,
        }
    }
}

impl ModelConfig {
    /// Checks every number and name, so that the rest of the library can trust them.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Shape`] with what was expected and found.
    pub fn validate(&self) -> Result<()> {
        let fail = |what: String| Err(Error::Setting(what));
        check_version(self.format_version)?;
        self.representation.validate(&self.format)?;
        self.network.validate()?;
        let record = &self.training;
        let names = self
            .labels
            .iter()
            .chain(&self.descriptors)
            .chain([&self.name, &record.audiodiff_version])
            .chain(&record.tuned_from)
            .chain(&record.licence);
        for name in names {
            if name.len() > MAX_NAME {
                return fail(format!(
                    "names: expected at most {MAX_NAME} bytes, found one of {}",
                    name.len()
                ));
            }
            // They are printed to terminals.
            if name.chars().any(char::is_control) {
                return fail(format!(
                    "names: expected no control characters, found {name:?}"
                ));
            }
        }
        if self.labels.len() > MAX_LABELS || self.descriptors.len() > MAX_LABELS {
            let (labels, descriptors) = (self.labels.len(), self.descriptors.len());
            return fail(format!(
                "expected at most {MAX_LABELS} labels and descriptors, found {labels} and {descriptors}"
            ));
        }
        if self.portraits.len() > MAX_PORTRAITS {
            return fail(format!(
                "expected at most {MAX_PORTRAITS} portraits, found {}",
                self.portraits.len()
            ));
        }
        for (label, portrait) in &self.portraits {
            if label.is_some_and(|label| label as usize >= self.labels.len())
                || !portrait.is_plausible()
            {
                return fail(format!(
                    "portraits: expected measures of a sound and one of {} labels, found {label:?}, {:?}",
                    self.labels.len(),
                    portrait.0
                ));
            }
        }
        if !(1e-3..=1e3).contains(&self.sigma_data) {
            return fail(format!(
                "sigma_data: expected 0.001 to 1000, found {}",
                self.sigma_data
            ));
        }
        if let Some(rendering) = &self.rendering {
            let Rendering {
                guidance,
                steps,
                measured,
                excess,
                ..
            } = rendering;
            let told = |excess: &Excess| {
                (1..=NoiseSchedule::MAX_STEPS).contains(&excess.steps)
                    && excess.value.is_finite()
                    && excess.error.is_finite()
                    && excess.error >= 0.0
            };
            let bounded = |&(steps, ratio): &(usize, f64)| {
                (1..=NoiseSchedule::MAX_STEPS).contains(&steps) && ratio.is_finite()
            };
            if !guidance.is_finite()
                || !(1..=NoiseSchedule::MAX_STEPS).contains(steps)
                || measured.len() > MAX_LABELS
                || !measured.iter().all(bounded)
                || excess.len() > MAX_LABELS
                || !excess.iter().all(told)
            {
                return fail(format!(
                    "rendering: expected numbers and 1 to {} steps, found {rendering:?}",
                    NoiseSchedule::MAX_STEPS
                ));
            }
        }
        if !(1.0..=1e4).contains(&self.sigma_max) {
            return fail(format!(
                "sigma_max: expected 1 to 10000, found {}",
                self.sigma_max
            ));
        }
        let (frames, multiple) = (self.frames(), self.network.frames_multiple());
        if frames == 0 || frames % multiple != 0 {
            return fail(format!(
                "clip length: expected a multiple of {multiple} frames, found {frames}"
            ));
        }
        self.network.check_frames(frames)?;
        // Builds the transform: this checks the statistics.
        self.representation
            .build(&self.format, &self.statistics)
            .map(drop)
    }

    /// `T`, the number of encoded frames of one clip.
    pub fn frames(&self) -> usize {
        self.representation.frames(self.format.len_frames)
    }

    /// Where its clips begin in the sounds that it learnt, as far as the file tells: older ones do not say it, but only
    /// clips cut at their onset had portraits.
    pub fn learnt_crop(&self) -> Option<Crop> {
        let by_portraits = (!self.portraits.is_empty()).then_some(Crop::Onset);
        self.crop.or(by_portraits)
    }

    /// The sizes the network is built into.
    pub fn surroundings(&self) -> Surroundings {
        Surroundings {
            width: self.representation.width(self.format.channels),
            labels: self.labels.len(),
            descriptors: self.descriptors.len() + self.portrait_columns(),
        }
    }

    /// Names of everything that can be set beside the class and changes what is heard: older models are told of changes
    /// that their representation does not hold.
    pub fn descriptor_names(&self) -> Vec<String> {
        let mut names = self.descriptors.clone();
        names.retain(|name| !self.is_unheard(name));
        if !self.portraits.is_empty() {
            names.extend(Quality::ALL.map(|quality| quality.name().to_owned()));
        }
        names
    }

    /// Whether a descriptor is of a change that the representation does not hold.
    fn is_unheard(&self, name: &str) -> bool {
        Descriptor::named(name).is_some_and(|known| !known.is_heard_in(&self.representation))
    }

    /// Place in `descriptors` of the one called `name`.
    ///
    /// # Errors
    /// When there is none, or it changes nothing: the sentence lists those that do.
    pub fn descriptor(&self, name: &str) -> Result<usize> {
        let known = self.descriptor_names().join(", ");
        if self.is_unheard(name) {
            return Err(Error::setting(format!(
                "descriptor {name}: expected one of {known}; over {} frames, which hold neither the level of a sound nor \
                 the sign of its wave, it changes nothing",
                self.representation.name()
            )));
        }
        let found = self.descriptors.iter().position(|own| own == name);
        found.ok_or_else(|| {
            Error::setting(format!(
                "descriptor: expected one of {known}, found `{name}`"
            ))
        })
    }

    /// How many numbers tell the network what a sound is like: [`COLUMNS`], or none.
    pub fn portrait_columns(&self) -> usize {
        if self.portraits.is_empty() {
            0
        } else {
            COLUMNS
        }
    }

    /// Whether it was tuned to need few steps, which a sampler of its own takes.
    pub fn is_few_step(&self) -> bool {
        let own = self.rendering.as_ref();
        own.is_some_and(|own| own.sampler == Sampler::Consistency)
    }

    /// The class index of `label`; the error lists what there is.
    ///
    /// # Errors
    /// When the model has no such class.
    pub fn class(&self, label: &str) -> Result<u32> {
        let found = self.labels.iter().position(|known| known == label);
        found.map(|index| index as u32).ok_or_else(|| {
            let known = if self.labels.is_empty() {
                "none".to_owned()
            } else {
                self.labels.join(", ")
            };
            Error::setting(format!(
                "class: expected one of the model's classes ({known}), found `{label}`"
            ))
        })
    }
}

/// The one part of a configuration that every version has.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

fn check_version(version: u32) -> Result<()> {
    if (1..=FORMAT_VERSION).contains(&version) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "format version: expected 1 to {FORMAT_VERSION}, found {version} (made by a newer audiodiff?)"
    )))
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As trained.
    #[default]
    F32,
    /// Half the size, for shipping.
    F16,
}

/// A model: its configuration and its weights, in f32 on the CPU.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Everything but the weights.
    pub config: ModelConfig,
    /// Weights by name.
    pub weights: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads and checks a model.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, else [`Error::Checkpoint`] that tells what the file
    /// is or what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_bytes(&read(path)?, path)
    }

    /// [`Checkpoint::load`] from memory; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn from_bytes(bytes: &[u8], name: &Path) -> Result<Self> {
        let named = |error: Error| match error {
            Error::Setting(_) | Error::Shape { .. } => Error::checkpoint(name, error.to_string()),
            other => other,
        };
        let (weights, config) = parse(bytes, name)?;
        let obscure = |e: serde_json::Error| {
            Error::checkpoint(name, format!("its configuration cannot be understood: {e}"))
        };
        // The version first: a newer file may say things for which this build has no words.
        let version: Version = serde_json::from_str(&config).map_err(obscure)?;
        check_version(version.format_version).map_err(named)?;
        let config: ModelConfig = serde_json::from_str(&config).map_err(obscure)?;
        config.validate().map_err(named)?;
        let expected = config
            .network
            .parameter_shapes(config.surroundings())
            .map_err(named)?;
        for (parameter, shape) in &expected {
            let Some(tensor) = weights.get(parameter) else {
                return Err(Error::checkpoint(
                    name,
                    format!("expected a tensor `{parameter}`, found none"),
                ));
            };
            if tensor.dims() != shape {
                let found = tensor.dims();
                let reason =
                    format!("tensor `{parameter}`: expected shape {shape:?}, found {found:?}");
                return Err(Error::checkpoint(name, reason));
            }
        }
        if let Some(extra) = weights.keys().find(|key| !expected.contains_key(*key)) {
            let reason = format!("expected only the network's tensors, found `{extra}` too");
            return Err(Error::checkpoint(name, reason));
        }
        Ok(Self { config, weights })
    }

    /// The model that ships inside the library: drums, percussion, bass and effects.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Self> {
        Self::from_bytes(audiodiff_drums::BYTES, Path::new("built-in model"))
    }

    /// Writes the model; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Setting`] for a configuration or weights that could not be read back:
    /// not finite, or beyond 65504 in half precision.
    pub fn save(&self, path: &Path, precision: Precision) -> Result<()> {
        write_whole_by(path, |out| self.write_to(out, precision))
    }

    /// Stands for the model, its name and training record included: a hash in hexadecimal digits.
    ///
    /// # Errors
    /// As [`Checkpoint::save`].
    pub fn fingerprint(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        self.write_to(&mut hasher, Precision::F32)?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The model's file as bytes; the same model gives the same bytes.
    ///
    /// # Errors
    /// As [`Checkpoint::save`], files apart.
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, precision)?;
        Ok(bytes)
    }

    fn write_to(&self, out: &mut dyn Write, precision: Precision) -> Result<()> {
        self.config.validate()?;
        let config = serde_json::to_string(&self.config).expect("the configuration is plain data");
        write_all_tensors(out, &self.weights, &config, precision)
    }
}

/// Saves named f32 tensors with a JSON note, whole or not at all: the state of a training.
///
/// # Errors
/// As [`Checkpoint::save`].
pub fn save_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, note: &str) -> Result<()> {
    write_whole_by(path, |out| {
        write_all_tensors(out, tensors, note, Precision::F32)
    })
}

/// Loads what [`save_tensors`] saved, as checked as a model.
///
/// # Errors
/// As [`Checkpoint::load`].
pub fn load_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    parse(&read(path)?, path)
}

fn write_all_tensors(
    out: &mut dyn Write,
    tensors: &BTreeMap<String, Tensor>,
    note: &str,
    precision: Precision,
) -> Result<()> {
    let shape = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.dims().to_vec());
    let shapes: Vec<_> = tensors.iter().map(shape).collect();
    write_tensors(out, &shapes, note, precision, &mut |name| {
        let tensor = tensors[name].to_dtype(DType::F32)?;
        Ok(tensor.flatten_all()?.to_vec1()?)
    })
}

/// Writes a safetensors file with our note, its tensors in the order of `shapes`, each asked of `values` when its turn
/// comes.
///
/// # Errors
/// [`Error::Setting`] for values that could not be read back, [`Error::Io`] without a path when `out` fails, and what
/// `values` reports.
pub(crate) fn write_tensors(
    out: &mut dyn Write,
    shapes: &[(String, Vec<usize>)],
    note: &str,
    precision: Precision,
    values: &mut dyn FnMut(&str) -> Result<Vec<f32>>,
) -> Result<()> {
    let (dtype, width) = match precision {
        Precision::F32 => (Dtype::F32, 4),
        Precision::F16 => (Dtype::F16, 2),
    };
    // The metadata has one key only, and comes first.
    let text = |s: &str| serde_json::to_string(s).expect("text is plain data");
    let mut header = format!("{{\"__metadata__\":{{{}:{}}}", text(KEY), text(note));
    let mut end = 0;
    for (name, shape) in shapes {
        let data_offsets = (end, end + width * shape.iter().product::<usize>());
        end = data_offsets.1;
        let place = Place {
            dtype,
            shape: shape.clone(),
            data_offsets,
        };
        let place = serde_json::to_string(&place).expect("a place is plain data");
        header.push_str(&format!(",{}:{place}", text(name)));
    }
    header.push('}');
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let put = |out: &mut dyn Write, bytes: &[u8]| out.write_all(bytes).map_err(Error::io(""));
    put(out, &(header.len() as u64).to_le_bytes())?;
    put(out, header.as_bytes())?;
    for (name, _) in shapes {
        let values = values(name)?;
        // What could not be read back must not replace a file that can.
        let fits = |&x: &f32| match precision {
            Precision::F32 => x.is_finite(),
            Precision::F16 => f16::from_f32(x).is_finite(),
        };
        if let Some(bad) = values.iter().copied().find(|x| !fits(x)) {
            return Err(Error::setting(format!(
                "tensor `{name}`: expected finite values within {precision:?}, found {bad}"
            )));
        }
        let bytes: Vec<u8> = match precision {
            Precision::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Precision::F16 => {
                let halves = values.iter().map(|&x| f16::from_f32(x).to_le_bytes());
                halves.flatten().collect()
            }
        };
        put(out, &bytes)?;
    }
    Ok(())
}

/// The whole file, read on only if it begins like one of ours: a long recording is not.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let len = file.metadata().map_err(Error::io(path))?.len();
    let mut bytes = Vec::new();
    let start = (&mut file).take(256).read_to_end(&mut bytes);
    start.map_err(Error::io(path))?;
    if header_len(&bytes).is_none() {
        return Err(Error::checkpoint(path, stranger(&bytes, len)));
    }
    file.read_to_end(&mut bytes).map_err(Error::io(path))?;
    Ok(bytes)
}

/// Length of the header of what begins like a safetensors file.
pub(crate) fn header_len(start: &[u8]) -> Option<usize> {
    let n = u64::from_le_bytes(*start.first_chunk()?);
    (n <= MAX_HEADER && start.get(8) == Some(&b'{')).then_some(n as usize)
}

/// A safetensors header. We read it ourselves: the safetensors crate first holds it in a general form
/// of more than thirty times its size, if a hostile file so wishes.
#[derive(Default)]
pub(crate) struct Header {
    pub metadata: BTreeMap<String, String>,
    pub tensors: BTreeMap<String, Place>,
}

/// What the header says of one tensor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// First byte and the byte after the last, counted from the header's end.
    pub data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                    } else if name.len() > MAX_NAME || header.tensors.contains_key(&name) {
                        return Err(A::Error::custom(
                            "a tensor's name is too long, or comes twice",
                        ));
                    } else {
                        header.tensors.insert(name, map.next_value()?);
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Tensors as f32, and our note.
fn parse(bytes: &[u8], name: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    let fail = |reason: String| Error::checkpoint(name, reason);
    let damaged = |what: String| fail(format!("a damaged safetensors file: {what}"));
    let (header, data) = header_len(bytes)
        .and_then(|n| bytes[8..].split_at_checked(n))
        .ok_or_else(|| fail(stranger(bytes, bytes.len() as u64)))?;
    let mut header: Header = serde_json::from_slice(header).map_err(|e| damaged(e.to_string()))?;
    let note = header.metadata.remove(KEY).ok_or_else(|| {
        fail("a safetensors file of another program: expected the metadata key `audiodiff`, found none".into())
    })?;
    // In the order of their data, which they must cover without a gap or an overlap.
    let mut places: Vec<_> = header.tensors.into_iter().collect();
    places.sort_by_key(|(_, place)| place.data_offsets);
    let mut tensors = BTreeMap::new();
    let mut end = 0;
    for (key, place) in places {
        let size = match place.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => {
                return Err(fail(format!(
                    "tensor `{key}`: expected F32, F16 or BF16, found {other:?}"
                )));
            }
        };
        let (from, to) = place.data_offsets;
        if place.shape.len() > MAX_RANK {
            let rank = place.shape.len();
            return Err(damaged(format!(
                "tensor `{key}`: expected at most {MAX_RANK} dimensions, found {rank}"
            )));
        }
        let shape = place.shape;
        let claim = shape
            .iter()
            .try_fold(size, |n: usize, &dim| n.checked_mul(dim));
        let data = data
            .get(from..to)
            .filter(|data| from == end && Some(data.len()) == claim);
        let Some(data) = data else {
            return Err(damaged(format!(
                "tensor `{key}` of shape {shape:?}: expected its data from byte {end} on, \
                 found {from} to {to}"
            )));
        };
        end = to;
        let (halves, wholes) = (data.as_chunks::<2>().0, data.as_chunks::<4>().0);
        let values: Vec<f32> = match place.dtype {
            Dtype::F16 => halves
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            Dtype::BF16 => halves
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
            _ => wholes.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        };
        if let Some(bad) = values.iter().find(|x| !x.is_finite()) {
            return Err(fail(format!(
                "tensor `{key}`: expected finite weights, found {bad}"
            )));
        }
        let tensor = Tensor::from_vec(values, &shape[..], &Device::Cpu)
            .map_err(|e| fail(format!("tensor `{key}` of shape {shape:?}: {e}")))?;
        tensors.insert(key, tensor);
    }
    if end != data.len() {
        return Err(damaged(format!(
            "expected {end} bytes of tensors, found {}",
            data.len()
        )));
    }
    Ok((tensors, note))
}

/// The sentence for a file of `len` bytes that is no safetensors file, but begins with `start`.
pub(crate) fn stranger(start: &[u8], len: u64) -> String {
    let kind = match start {
        [] => "an empty file",
        [b'P', b'K', 3, 4, ..] => "a zip archive (a PyTorch checkpoint?)",
        [0x80, 2..=5, ..] => "a Python pickle",
        [b'R', b'I', b'F', b'F', ..] => "a WAV file",
        [b'f', b'L', b'a', b'C', ..] => "a FLAC file",
        [_, _, _, _, _, _, _, _, b'{', ..] => "a truncated or damaged safetensors file",
        _ if start
            .iter()
            .take(256)
            .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) =>
        {
            "text"
        }
        _ => "something else",
    };
    format!("expected an audiodiff model (.safetensors), found {kind} of {len} bytes")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::network::{Level, UNetConfig};
    use crate::noise::Noise;

    /// A complete, very small model.
    pub(crate) fn small() -> Checkpoint {
        let level = |width| Level { width, blocks: 1 };
        let network = UNetConfig {
            levels: vec![level(8), level(8)],
            embedding: 8,
            groups: 2,
            head_width: 4,
        };
        let config = ModelConfig {
            format_version: FORMAT_VERSION,
            name: "small".into(),
            format: Format {
                sample_rate: 8000,
                channels: 1,
                len_frames: 64,
            },
            crop: Some(Crop::Onset),
            representation: RepresentationConfig::Mdct {
                bins: 8,
                companding: 0.5,
                emphasis: 0.0,
            },
            statistics: Statistics {
                mean: vec![0.0; 8],
                scale: vec![1.0; 8],
            },
            labels: vec!["kick".into(), "snare".into()],
            descriptors: vec!["tilt".into()],
            portraits: Vec::new(),
            rendering: None,
            sigma_data: 1.0,
            sigma_max: 20.0,
            target: Target::X,
            network: NetworkConfig::UNet(network),
            training: TrainingRecord::default(),
        };
        let parameters =
            config
                .network
                .init(config.surroundings(), &mut Noise::new(1), &Device::Cpu);
        let weights = parameters
            .and_then(|p| p.snapshot())
            .expect("a valid network");
        Checkpoint { config, weights }
    }

    fn values(checkpoint: &Checkpoint) -> Vec<u32> {
        let flat = |t: &Tensor| {
            t.flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32 weights")
        };
        checkpoint
            .weights
            .values()
            .flat_map(flat)
            .map(f32::to_bits)
            .collect()
    }

    #[test]
    fn saved_and_loaded_models_agree_to_the_bit() -> Result<()> {
        let model = small();
        let folder = tempfile::tempdir().map_err(Error::io("tmp"))?;
        let path = folder.path().join("model.safetensors");
        model.save(&path, Precision::F32)?;
        let loaded = Checkpoint::load(&path)?;
        assert_eq!(loaded.config, model.config);
        assert_eq!(values(&loaded), values(&model));
        assert_eq!(
            loaded.to_bytes(Precision::F32)?,
            model.to_bytes(Precision::F32)?
        );
        Ok(())
    }

    #[test]
    fn half_precision_rounds_to_nearest() -> Result<()> {
        let model = small();
        let loaded = Checkpoint::from_bytes(&model.to_bytes(Precision::F16)?, Path::new("half"))?;
        for (a, b) in values(&model).into_iter().zip(values(&loaded)) {
            let (a, b) = (f32::from_bits(a), f32::from_bits(b));
            assert!((a - b).abs() <= a.abs() / 2048.0 + 3e-8, "{a} became {b}");
        }
        Ok(())
    }

    #[test]
    fn weights_that_could_not_be_read_back_leave_the_old_file_alone() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("tmp"))?;
        let path = folder.path().join("model.safetensors");
        let mut model = small();
        model.save(&path, Precision::F16)?;
        let old = std::fs::read(&path).map_err(Error::io(&path))?;
        for (value, precision) in [
            (1e5, Precision::F16),
            (f32::NAN, Precision::F16),
            (f32::INFINITY, Precision::F32),
        ] {
            let bias = Tensor::full(value, 8, &Device::Cpu)?;
            model.weights.insert("out.bias".into(), bias);
            let sentence = model
                .save(&path, precision)
                .expect_err("bad weights")
                .to_string();
            assert!(sentence.contains("`out.bias`"), "{sentence}");
            assert_eq!(std::fs::read(&path).map_err(Error::io(&path))?, old);
        }
        Ok(())
    }

    #[test]
    fn the_file_is_what_the_safetensors_crate_reads() -> Result<()> {
        let model = small();
        let bytes = model.to_bytes(Precision::F32)?;
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
        assert_eq!(file.len(), model.weights.len());
        for (name, tensor) in &model.weights {
            assert_eq!(file.tensor(name).expect("a tensor").shape(), tensor.dims());
        }
        Ok(())
    }

    #[test]
    fn an_unknown_class_lists_the_known_ones() {
        let config = small().config;
        assert_eq!(config.class("snare").expect("a class"), 1);
        assert!(
            config
                .class("gong")
                .expect_err("no such class")
                .to_string()
                .contains("kick, snare")
        );
    }
}
