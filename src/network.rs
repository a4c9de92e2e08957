//! The raw network `F`: frames, a number for the noise level, and conditioning in; frames out.
//!
//! Nothing here knows sigma. Tensors are channels last, `[B, T, C]`, throughout.

mod dance;
mod layers;
mod unet;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::noise::Noise;
pub use audiodiff_kernels::{ComputeType, Engine, Isa};
pub use dance::{Dance1d, DanceConfig};
pub use unet::{Resolution, UNet1d, UNetConfig};

/// The network's conditioning; each part may be absent.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// `[B]` of u32: 0 for "no class", `1 + i` for label `i`.
    pub classes: Tensor,
    /// `[B, D]` of f32 descriptors, zero where neutral.
    pub descriptors: Tensor,
    /// How many of them, the last ones, are attributes: what the sound is like, rather than what was done to it.
    pub attributes: usize,
}

impl Conditioning {
    /// Builds the conditioning of a batch from labels and `B × D` descriptor values, row-major.
    ///
    /// # Errors
    /// When the descriptors do not divide among the labels.
    pub fn new(labels: &[Option<u32>], descriptors: &[f32], device: &Device) -> Result<Self> {
        let classes: Vec<u32> = labels.iter().map(|l| l.map_or(0, |l| l + 1)).collect();
        let batch = labels.len();
        Ok(Self {
            classes: Tensor::from_vec(classes, batch, device)?,
            descriptors: Tensor::from_slice(
                descriptors,
                (batch, descriptors.len() / batch.max(1)),
                device,
            )?,
            attributes: 0,
        })
    }

    /// The same with `B × P` more descriptor values, row-major, that are attributes.
    ///
    /// # Errors
    /// When they do not divide among the items.
    pub fn with_attributes(self, columns: &[f32]) -> Result<Self> {
        if columns.is_empty() {
            return Ok(self);
        }
        let attributes = columns.len() / self.batch().max(1);
        let columns =
            Tensor::from_slice(columns, (self.batch(), attributes), self.classes.device())?;
        Ok(Self {
            classes: self.classes,
            descriptors: Tensor::cat(&[&self.descriptors, &columns], 1)?,
            attributes: self.attributes + attributes,
        })
    }

    /// `B`.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.classes.dims()[0]
    }

    /// The same conditioning with every class and attributes absent: the unconditional half of guidance.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn without_class(&self) -> Result<Self> {
        let plain = self.descriptors.dims()[1] - self.attributes;
        let kept = self.descriptors.narrow(1, 0, plain)?;
        Ok(Self {
            classes: self.classes.zeros_like()?,
            descriptors: kept.pad_with_zeros(1, 0, self.attributes)?,
            attributes: self.attributes,
        })
    }
}

/// A network `F` over frames.
pub trait Network: Send + Sync {
    /// `x: [B, T, C]`, `c_noise: [B]` → `[B, T, C]`, or `[B, T, 2·C]` with [`NetworkDims::gates`]. If the weights or `x` track gradients, the result
    /// is good for one backward pass.
    ///
    /// # Errors
    /// When the shapes disagree; [`Error::Stopped`] after [`Engine::stop_with`].
    fn forward(&self, x: &Tensor, c_noise: &Tensor, cond: &Conditioning) -> Result<Tensor>;

    /// The engine that runs it: precision, frozen weights, a way to stop.
    fn engine(&mut self) -> &mut Engine;
}

impl<N: Network + ?Sized> Network for Box<N> {
    fn forward(&self, x: &Tensor, c_noise: &Tensor, cond: &Conditioning) -> Result<Tensor> {
        (**self).forward(x, c_noise, cond)
    }

    fn engine(&mut self) -> &mut Engine {
        (**self).engine()
    }
}

/// The sizes of a network that the model, not the architecture, decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkDims {
    /// `C`, the width of the frames.
    pub width: usize,
    /// Whether the network gives a second number for each value of a frame, after the frame: `2·C` values a row.
    pub gates: bool,
    /// Number of classes; 0 makes an unconditional network.
    pub labels: usize,
    /// `D`, the number of descriptors.
    pub descriptors: usize,
}

impl NetworkDims {
    /// Values a row that the network gives.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.width * (1 + usize::from(self.gates))
    }
}

/// The same tensors on `device`.
///
/// # Errors
/// When the device refuses the memory.
pub(crate) fn on_device(
    weights: &BTreeMap<String, Tensor>,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>> {
    let moved = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(device)?));
    weights.iter().map(moved).collect()
}

/// Which network, with its own sizes: a closed set that files and flags name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum NetworkConfig {
    /// One-dimensional U-Net.
    UNet(UNetConfig),
    /// Dance Diffusion's.
    Dance(DanceConfig),
}

impl NetworkConfig {
    /// Checks every size, so that inner code can trust them even when they come from a file.
    ///
    /// # Errors
    /// [`Error::Setting`] with the size that is out of bounds.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::UNet(config) => config.validate(),
            Self::Dance(config) => config.validate(),
        }
    }

    /// Whether it is of the sizes of another, however its maps are joined.
    #[must_use]
    pub fn has_sizes_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::UNet(own), Self::UNet(other)) => {
                let other = UNetConfig {
                    film_skips: own.film_skips,
                    ..other.clone()
                };
                *own == other
            }
            _ => self == other,
        }
    }

    /// Whether it can be conditioned on classes and descriptors.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        matches!(self, Self::UNet(_))
    }

    /// The number of frames `T` must be a multiple of this.
    #[must_use]
    pub fn frames_multiple(&self) -> usize {
        match self {
            Self::UNet(config) => config.frames_multiple(),
            Self::Dance(config) => config.frames_multiple(),
        }
    }

    /// Fails for more `frames` than the memory of a plain computer holds, so that a file cannot ask for it.
    ///
    /// # Errors
    /// [`Error::Setting`] with the bounds and what was found.
    pub fn check_frames(&self, frames: usize) -> Result<()> {
        match self {
            Self::UNet(config) => config.check_frames(frames),
            Self::Dance(config) => config.check_frames(frames),
        }
    }

    /// About how many bytes one clip of `frames` frames takes while training, activations and gradients
    /// together: for choosing a batch size, not a promise.
    #[must_use]
    pub fn training_bytes(&self, frames: usize) -> u64 {
        match self {
            Self::UNet(config) => config.training_bytes(frames),
            Self::Dance(config) => config.training_bytes(frames),
        }
    }

    /// Builds the network around `weights`.
    ///
    /// # Errors
    /// When a size is out of bounds, or `weights` lacks a parameter of the right shape.
    pub fn build(&self, dims: NetworkDims, weights: &mut dyn Weights) -> Result<Box<dyn Network>> {
        self.validate()?;
        Ok(match self {
            Self::UNet(config) => Box::new(UNet1d::new(config, dims, weights)?),
            Self::Dance(config) => Box::new(Dance1d::new(config, dims, weights)?),
        })
    }

    /// Changes trained `weights` of a network of the dimensions `from` into those of one of the dimensions `to`, with
    /// as many `classes`. Each lists the old classes, counted from 0, whose mean it begins as; an empty list means all
    /// of them, or zero where there were none. Columns beyond the known width begin with weights of zero, so that the
    /// network first says of the known ones what it said before; of fewer columns or descriptors the first are kept.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are more descriptors than before, a class is unknown, or the network cannot be
    /// changed; `weights` then stay as they were.
    pub fn adapt(
        &self,
        weights: &mut BTreeMap<String, Tensor>,
        from: NetworkDims,
        to: NetworkDims,
        classes: &[Vec<usize>],
    ) -> Result<()> {
        let fail = |what: String| Err(Error::setting(format!("network: {what}")));
        if classes.len() != to.labels {
            let (expected, found) = (to.labels, classes.len());
            return fail(format!("expected {expected} classes, found {found}"));
        }
        let mut known = classes.iter().flatten();
        if let Some(class) = known.find(|&&class| class >= from.labels) {
            return fail(format!(
                "expected one of {} classes, found {class}",
                from.labels
            ));
        }
        if to.descriptors > from.descriptors {
            return fail(format!(
                "expected at most {} descriptors, found {}",
                from.descriptors, to.descriptors
            ));
        }
        match self {
            Self::UNet(config) => config.adapt(weights, from, to, classes),
            Self::Dance(_) if from == to => Ok(()),
            Self::Dance(_) => fail(format!("it cannot be changed from {from:?} to {to:?}")),
        }
    }

    /// Changes weights to those of a network whose last descriptors are others: each of them stands for what its row of
    /// `terms`, which is `(new, old)`, says of the last that are there.
    ///
    /// # Errors
    /// When the network has fewer descriptors.
    pub(crate) fn retell(
        &self,
        weights: &mut BTreeMap<String, Tensor>,
        terms: &Tensor,
    ) -> Result<()> {
        match self {
            Self::UNet(_) => unet::retell(weights, terms),
            Self::Dance(_) => Err(Error::setting("network: it has no descriptors")),
        }
    }

    /// Names and shapes of all parameters, in name order; nothing is allocated for them.
    ///
    /// # Errors
    /// When a size is out of bounds.
    pub fn parameter_shapes(&self, dims: NetworkDims) -> Result<BTreeMap<String, Vec<usize>>> {
        let mut recorder = Recorder::default();
        self.build(dims, &mut recorder)?;
        Ok(recorder
            .0
            .into_iter()
            .map(|(name, (shape, _))| (name, shape))
            .collect())
    }

    /// Fresh parameters, drawn from `noise` in name order.
    ///
    /// # Errors
    /// When a size is out of bounds, or the device refuses the memory.
    pub fn init(
        &self,
        dims: NetworkDims,
        noise: &mut Noise,
        device: &Device,
    ) -> Result<Parameters> {
        let mut recorder = Recorder::default();
        self.build(dims, &mut recorder)?;
        let mut vars = BTreeMap::new();
        for (name, (shape, init)) in recorder.0 {
            vars.insert(
                name,
                Var::from_tensor(&init.tensor(&shape, noise, device)?)?,
            );
        }
        Ok(Parameters(vars))
    }
}

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initializer {
    /// All zero: the layer is silent until it has been trained.
    Zeros,
    /// Normal with this standard deviation.
    Normal(f64),
    /// `[2, C]`: gains of one, biases of zero.
    Affine,
}

impl Initializer {
    fn tensor(self, shape: &[usize], noise: &mut Noise, device: &Device) -> Result<Tensor> {
        Ok(match self {
            Self::Zeros => Tensor::zeros(shape, DType::F32, device)?,
            Self::Normal(deviation) => (noise.normal_tensor(shape, device)? * deviation)?,
            Self::Affine => {
                let row = (1, shape[1]);
                let (gain, bias) = (
                    Tensor::ones(row, DType::F32, device)?,
                    Tensor::zeros(row, DType::F32, device)?,
                );
                Tensor::cat(&[gain, bias], 0)?
            }
        })
    }
}

/// Where a network under construction gets its parameters from.
pub trait Weights {
    /// The parameter `name` of exactly `shape`; `init` tells how a fresh one begins.
    ///
    /// # Errors
    /// When there is none, or of another shape.
    fn get(&mut self, name: &str, shape: &[usize], init: Initializer) -> Result<Tensor>;
}

/// Writes down what a network asks for.
#[derive(Default)]
struct Recorder(BTreeMap<String, (Vec<usize>, Initializer)>);

impl Weights for Recorder {
    fn get(&mut self, name: &str, shape: &[usize], init: Initializer) -> Result<Tensor> {
        self.0.insert(name.to_owned(), (shape.to_vec(), init));
        Ok(Tensor::zeros(0, DType::F32, &Device::Cpu)?)
    }
}

impl Weights for BTreeMap<String, Tensor> {
    fn get(&mut self, name: &str, shape: &[usize], _init: Initializer) -> Result<Tensor> {
        let tensor = BTreeMap::get(self, name).ok_or_else(|| missing(name))?;
        check_shape(name, tensor, shape)?;
        Ok(tensor.clone())
    }
}

/// Trainable tensors by name, in name order.
#[derive(Debug, Clone)]
pub struct Parameters(BTreeMap<String, Var>);

impl Parameters {
    /// Copies `weights` to `device` as trainable f32 tensors.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn from_weights(weights: &BTreeMap<String, Tensor>, device: &Device) -> Result<Self> {
        let copy = |(name, tensor): (&String, &Tensor)| {
            let tensor = tensor.to_dtype(DType::F32)?.to_device(device)?;
            Ok((name.clone(), Var::from_tensor(&tensor.copy()?)?))
        };
        Ok(Self(weights.iter().map(copy).collect::<Result<_>>()?))
    }

    /// Names and variables, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.0.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// A snapshot of the present values.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.0
            .iter()
            .map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?.detach())))
            .collect()
    }

    /// Number of trainable values.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.values().map(|var| var.elem_count()).sum()
    }
}

impl Weights for &Parameters {
    fn get(&mut self, name: &str, shape: &[usize], _init: Initializer) -> Result<Tensor> {
        let var = self.0.get(name).ok_or_else(|| missing(name))?;
        check_shape(name, var, shape)?;
        Ok(var.as_tensor().clone())
    }
}

/// Refuses clips of `frames` frames whose largest map has `map` values, and whose attention is over `attending` frames,
/// when no computer at hand could hold them.
fn check_memory(frames: usize, map: usize, attending: usize) -> Result<()> {
    const LARGEST_MAP: usize = 1 << 28; // values, 1 GiB
    const LARGEST_SCORES: usize = 1 << 26; // of one attention head, 256 MiB
    let scores = attending.saturating_mul(attending);
    if map > LARGEST_MAP || scores > LARGEST_SCORES {
        return Err(Error::setting(format!(
            "clip length: {frames} frames take too much memory, expected at most {LARGEST_MAP} values \
             a layer and {LARGEST_SCORES} attention scores, found {map} and {scores}"
        )));
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::setting(format!(
        "the network needs a parameter `{name}`, which is missing"
    ))
}

fn check_shape(name: &str, tensor: &Tensor, shape: &[usize]) -> Result<()> {
    if tensor.dims() == shape {
        return Ok(());
    }
    Err(Error::setting(format!(
        "parameter `{name}`: expected shape {shape:?}, found {:?}",
        tensor.dims()
    )))
}
