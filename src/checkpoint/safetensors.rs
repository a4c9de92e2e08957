//! Files of named tensors with a note: safetensors, read without trust.

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

use crate::dataset::MAX_NAME;
use crate::error::{Error, Result};
use crate::file::write_whole_by;

/// Longest header that is read, in bytes.
const MAX_HEADER: u64 = 16 << 20;

/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Key of our note in a file's metadata.
pub(crate) const KEY: &str = "audiodiff";

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StorageType {
    /// As trained.
    #[default]
    F32,
    /// Half the size, for shipping.
    F16,
}

/// Saves named f32 tensors with a JSON note, whole or not at all: the state of a training.
///
/// # Errors
/// As [`Checkpoint::save`](super::Checkpoint::save).
pub fn save_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, note: &str) -> Result<()> {
    write_whole_by(path, |out| {
        write_all_tensors(out, tensors, note, StorageType::F32)
    })
}

/// Loads what [`save_tensors`] saved, as checked as a model.
///
/// # Errors
/// As [`Checkpoint::load`](super::Checkpoint::load).
pub fn load_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    parse(&read(path)?, path)
}

/// What [`save_tensors`] would write.
///
/// # Errors
/// When a tensor cannot be copied from its device.
pub fn tensor_bytes(tensors: &BTreeMap<String, Tensor>, note: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_all_tensors(&mut bytes, tensors, note, StorageType::F32)?;
    Ok(bytes)
}

/// Reads [`tensor_bytes`]; errors name `path`.
///
/// # Errors
/// As [`load_tensors`].
pub fn tensors_of(bytes: &[u8], path: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    parse(bytes, path)
}

pub(super) fn write_all_tensors(
    out: &mut dyn Write,
    tensors: &BTreeMap<String, Tensor>,
    note: &str,
    precision: StorageType,
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
    precision: StorageType,
    values: &mut dyn FnMut(&str) -> Result<Vec<f32>>,
) -> Result<()> {
    let (dtype, width) = match precision {
        StorageType::F32 => (Dtype::F32, 4),
        StorageType::F16 => (Dtype::F16, 2),
    };
    // The metadata has one key only, and comes first.
    let text = |s: &str| serde_json::to_string(s).expect("text is plain data");
    let mut header = format!("{{\"__metadata__\":{{{}:{}}}", text(KEY), text(note));
    let mut end = 0;
    for (name, shape) in shapes {
        let data_offsets = (end, end + width * shape.iter().product::<usize>());
        end = data_offsets.1;
        let place = TensorInfo {
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
        // A file that could not be read back must not replace one that can.
        let fits = |&x: &f32| match precision {
            StorageType::F32 => x.is_finite(),
            StorageType::F16 => f16::from_f32(x).is_finite(),
        };
        if let Some(bad) = values.iter().copied().find(|x| !fits(x)) {
            return Err(Error::setting(format!(
                "tensor `{name}`: expected finite values within {precision:?}, found {bad}"
            )));
        }
        let bytes: Vec<u8> = match precision {
            StorageType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            StorageType::F16 => {
                let halves = values.iter().map(|&x| f16::from_f32(x).to_le_bytes());
                halves.flatten().collect()
            }
        };
        put(out, &bytes)?;
    }
    Ok(())
}

/// The whole file, read on only if it begins like one of ours: a long recording is not.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let len = file.metadata().map_err(Error::io(path))?.len();
    let mut bytes = Vec::new();
    let start = (&mut file).take(256).read_to_end(&mut bytes);
    start.map_err(Error::io(path))?;
    if header_len(&bytes).is_none() {
        return Err(Error::checkpoint(path, foreign_content(&bytes, len)));
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
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// One tensor's entry in the header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TensorInfo {
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
pub(super) fn parse(bytes: &[u8], name: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    let fail = |reason: String| Error::checkpoint(name, reason);
    let damaged = |what: String| fail(format!("a damaged safetensors file: {what}"));
    let (header, data) = header_len(bytes)
        .and_then(|n| bytes[8..].split_at_checked(n))
        .ok_or_else(|| fail(foreign_content(bytes, bytes.len() as u64)))?;
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
        let size = float_width(place.dtype).filter(|_| place.dtype != Dtype::F64);
        let size = size.ok_or_else(|| {
            let found = place.dtype;
            fail(format!(
                "tensor `{key}`: expected F32, F16 or BF16, found {found:?}"
            ))
        })?;
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
        let values = decode_floats(place.dtype, data)
            .map_err(|reason| fail(format!("tensor `{key}`: {reason}")))?;
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

/// Bytes of one float; `None` of what is no float.
pub(crate) fn float_width(kind: Dtype) -> Option<usize> {
    match kind {
        Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::F32 => Some(4),
        Dtype::F64 => Some(8),
        _ => None,
    }
}

/// Little-endian floats as f32, rounded to the nearest; what is left of an incomplete last one is left out.
///
/// # Errors
/// A sentence with the first value that is not finite, or the kind that is no float.
pub(crate) fn decode_floats(kind: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    fn all<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|&b| of(b)).collect()
    }
    let values = match kind {
        Dtype::F16 => all(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => all(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F32 => all(bytes, f32::from_le_bytes),
        Dtype::F64 => all(bytes, |b| f64::from_le_bytes(b) as f32),
        other => return Err(format!("expected floats, found {other:?}")),
    };
    match values.iter().find(|x| !x.is_finite()) {
        Some(bad) => Err(format!("expected finite weights, found {bad}")),
        None => Ok(values),
    }
}

/// The sentence for a file of `len` bytes that is no safetensors file, but begins with `start`.
pub(crate) fn foreign_content(start: &[u8], len: u64) -> String {
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
