//! Where the tensors of another program's file lie, and their numbers on demand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Pickle, Value};
use crate::checkpoint::{Header, KEY, decode_floats, float_width, foreign_content, header_len};
use crate::error::{Error, Result};

/// Longest safetensors header that is read, in bytes.
const LONGEST_HEADER: u64 = 64 << 20;

/// Longest name of a tensor or path of a fact, in bytes.
const LONGEST_NAME: usize = 1024;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorLocation {
    kind: Dtype,
    /// First byte.
    offset: u64,
    pub shape: Vec<usize>,
}

/// Tensors by name, still in their file.
#[derive(Debug)]
pub(super) struct TensorFile {
    pub path: PathBuf,
    file: File,
    tensors: BTreeMap<String, TensorLocation>,
    /// The kind of file.
    pub container: &'static str,
    /// Numbers that the file says of itself, by their path in it, such as `model_config.sample_rate`.
    pub facts: BTreeMap<String, f64>,
    /// Whether it holds more than a model: the optimizer's state.
    pub with_optimizer: bool,
    /// Whether it is a model of our own.
    pub is_ours: bool,
}

impl TensorFile {
    /// Finds the tensors of a PyTorch or safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Checkpoint`] that says what the file is instead.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut start = Vec::new();
        let read = file.by_ref().take(16).read_to_end(&mut start);
        read.map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        match start[..] {
            [b'P', b'K', 3, 4, ..] => Self::zip(path, file),
            [0x80, 2..=5, ..] => Err(Error::checkpoint(
                path,
                "a pickle without its zip archive: expected a file that PyTorch 1.6 or newer saved; load and save it there",
            )),
            _ if header_len(&start).is_some() => Self::safetensors(path, file, len),
            _ => Err(Error::checkpoint(path, foreign_content(&start, len))),
        }
    }

    fn safetensors(path: &Path, mut file: File, len: u64) -> Result<Self> {
        let damaged =
            |what: String| Error::checkpoint(path, format!("a damaged safetensors file: {what}"));
        let mut first = [0; 8];
        let read = file.seek(SeekFrom::Start(0));
        read.and_then(|_| file.read_exact(&mut first))
            .map_err(Error::io(path))?;
        let header = u64::from_le_bytes(first);
        if header > LONGEST_HEADER || header > len - 8 {
            return Err(damaged(format!(
                "expected a header of at most {} bytes, found {header}",
                LONGEST_HEADER.min(len - 8)
            )));
        }
        let mut bytes = vec![0; header as usize];
        file.read_exact(&mut bytes).map_err(Error::io(path))?;
        let header_end = 8 + header;
        let header: Header = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, place) in header.tensors {
            let (from, to) = place.data_offsets;
            let claim = bytes_of(place.dtype, &place.shape);
            let fits = from <= to && to as u64 <= len - header_end;
            // Of other kinds nothing is read.
            if !fits || claim.is_some_and(|claim| claim != (to - from) as u64) {
                return Err(damaged(format!(
                    "tensor `{name}` of shape {:?}: found its data from byte {from} to {to} of {}",
                    place.shape,
                    len - header_end
                )));
            }
            let place = TensorLocation {
                kind: place.dtype,
                offset: header_end + from as u64,
                shape: place.shape,
            };
            tensors.insert(name, place);
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            tensors,
            container: "safetensors",
            facts: BTreeMap::new(),
            with_optimizer: false,
            is_ours: header.metadata.contains_key(KEY),
        })
    }

    fn zip(path: &Path, file: File) -> Result<Self> {
        let fail = |what: String| Error::checkpoint(path, what);
        let reader = file.try_clone().map_err(Error::io(path))?;
        let mut archive = ZipArchive::new(BufReader::new(reader)).map_err(|e| {
            fail(format!(
                "a zip archive that is damaged or not complete ({e}); fetch or copy it again"
            ))
        })?;
        let mut names = archive.file_names().flatten();
        let root = names.find_map(|name| name.strip_suffix("data.pkl").map(str::to_owned));
        drop(names);
        let Some(root) = root else {
            return Err(fail(
                "a zip archive, but not of PyTorch: expected `data.pkl` in it, found none".into(),
            ));
        };
        let pickle = Pickle::read(&pickle_bytes(path, &mut archive, &root)?).map_err(&fail)?;
        let mut found = Found::default();
        found.collect(&pickle, pickle.root());
        let mut tensors = BTreeMap::new();
        for (name, tensor) in found.tensors {
            let location = located(&mut archive, &root, &tensor)
                .map_err(|what| fail(format!("tensor `{name}`: {what}")))?;
            if let Some(location) = location {
                tensors.insert(name, location);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            tensors,
            container: "PyTorch",
            facts: found.facts,
            with_optimizer: pickle.entry(pickle.root(), "optimizer_states").is_some(),
            is_ours: false,
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|place| &place.shape[..])
    }

    /// The numbers of a tensor, in row-major order.
    ///
    /// # Errors
    /// When there is none of that name, the file ends early, or a number is not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let fail = |what: String| Error::checkpoint(&self.path, format!("tensor `{name}`: {what}"));
        let place = self
            .tensors
            .get(name)
            .ok_or_else(|| fail("expected, found none".into()))?;
        let len = bytes_of(place.kind, &place.shape);
        let len = len.ok_or_else(|| fail(format!("expected floats, found {:?}", place.kind)))?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(place.offset))
            .map_err(Error::io(&self.path))?;
        // Read before it is believed: a truncated file takes no memory that it does not fill.
        let mut bytes = Vec::new();
        let read = file.take(len).read_to_end(&mut bytes);
        read.map_err(Error::io(&self.path))?;
        if bytes.len() as u64 != len {
            return Err(fail(format!(
                "expected {len} bytes, found {}; the file is not complete",
                bytes.len()
            )));
        }
        decode_floats(place.kind, &bytes).map_err(fail)
    }
}

type Archive = ZipArchive<BufReader<File>>;

/// The pickle of PyTorch's archive below `root`.
fn pickle_bytes(path: &Path, archive: &mut Archive, root: &str) -> Result<Vec<u8>> {
    let fail = |what: String| Error::checkpoint(path, format!("data.pkl: {what}"));
    let entry = archive
        .by_name(&format!("{root}data.pkl"))
        .map_err(|e| fail(e.to_string()))?;
    if entry.size() > pickle::LONGEST {
        return Err(fail(format!(
            "expected at most {} bytes, found {}",
            pickle::LONGEST,
            entry.size()
        )));
    }
    let mut bytes = Vec::new();
    let read = entry.take(pickle::LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(Error::io(path))?;
    Ok(bytes)
}

/// Where a tensor of PyTorch's archive lies in the file; `None` of counters and flags, as no weight is one.
///
/// # Errors
/// A sentence with what is wrong with it.
fn located(
    archive: &mut Archive,
    root: &str,
    tensor: &pickle::Tensor,
) -> Result<Option<TensorLocation>, String> {
    let kind = match &*tensor.storage.kind {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        _ => return Ok(None),
    };
    let too_large = || "its shape is too large".to_owned();
    let shape = tensor.shape.iter().map(|&n| n.try_into().ok());
    let shape: Vec<usize> = shape.collect::<Option<_>>().ok_or_else(too_large)?;
    if !is_contiguous(&tensor.shape, &tensor.strides) {
        return Err(format!(
            "expected numbers that lie in order, found strides {:?} for {shape:?}",
            tensor.strides
        ));
    }
    let key = &tensor.storage.key;
    let entry = archive
        .by_name(&format!("{root}data/{key}"))
        .map_err(|e| format!("its data {key}: {e}"))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err("its data are compressed, which PyTorch does not do".to_owned());
    }
    let first = bytes_of(kind, &[1]).and_then(|width| tensor.offset.checked_mul(width));
    let end = bytes_of(kind, &shape).and_then(|n| n.checked_add(first?));
    let (first, end) = first.zip(end).ok_or_else(too_large)?;
    if end > entry.size() {
        return Err(format!(
            "expected {end} bytes of data, found {}",
            entry.size()
        ));
    }
    let start = entry.data_start().ok_or("its data cannot be found")?;
    let offset = start
        .checked_add(first)
        .ok_or("its data lie beyond the end of any file")?;
    Ok(Some(TensorLocation {
        kind,
        offset,
        shape,
    }))
}

/// Bytes of a tensor of floats.
fn bytes_of(kind: Dtype, shape: &[usize]) -> Option<u64> {
    let width = float_width(kind)? as u64;
    shape
        .iter()
        .try_fold(width, |n, &dim| n.checked_mul(dim as u64))
}

fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(&n, &stride)| {
            let fits = n <= 1 || stride == expected;
            expected = expected.saturating_mul(n);
            fits
        })
}

/// The useful contents of a checkpoint's pickle.
#[derive(Default)]
struct Found {
    tensors: BTreeMap<String, pickle::Tensor>,
    facts: BTreeMap<String, f64>,
    /// Entries looked at: one dictionary may lie in many tensors.
    seen: usize,
}

impl Found {
    /// Dictionaries of a checkpoint lie at most so deep in each other.
    const DEEPEST: usize = 4;
    /// More entries than the notes in a checkpoint have.
    const MOST: usize = 1 << 16;

    fn collect(&mut self, pickle: &Pickle, root: &Value) {
        // Lightning, and most others, put the weights under this name; some save them alone.
        let weights = pickle.entry(root, "state_dict").unwrap_or(root);
        for (name, value) in pickle.entries(weights) {
            if let Value::Tensor(tensor) = value
                && name.len() <= LONGEST_NAME
            {
                self.tensors.insert(name.to_owned(), tensor.clone());
            }
        }
        for name in ["model_config", "hyper_parameters"] {
            if let Some(value) = pickle.entry(root, name) {
                self.facts_below(pickle, name, value, Self::DEEPEST);
            }
        }
    }

    fn facts_below(&mut self, pickle: &Pickle, path: &str, value: &Value, depth: usize) {
        if depth == 0 {
            return;
        }
        for (name, value) in pickle.entries(value) {
            self.seen += 1;
            if self.seen > Self::MOST || path.len() + name.len() > LONGEST_NAME {
                return;
            }
            let path = format!("{path}.{name}");
            match *value {
                Value::Int(n) => drop(self.facts.insert(path, n as f64)),
                Value::Float(x) => drop(self.facts.insert(path, x)),
                ref below => self.facts_below(pickle, &path, below, depth - 1),
            }
        }
    }
}
