//! Dance Diffusion's network: a deep U-Net over the samples themselves.

use audiodiff_kernels::{Activation, Engine, Map, Norm, Parameter, Program};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::layers::{Conv, Scope, SelfAttention, norm};
use super::{Conditioning, Initializer, Network, NetworkDims, Weights};
use crate::error::{Error, Result};

/// Residual blocks of a level on each way.
const BLOCKS: usize = 3;

/// Frames that the lowest level needs at least: its filters mirror two of them.
const LEAST: usize = 3;

/// Sizes of a [`Dance1d`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DanceConfig {
    /// Channels from the full rate to the lowest; each level halves the number of frames.
    pub widths: Vec<usize>,
    /// First level, counted from 0, where attention follows each block; as many as there are levels for none.
    pub attention_from: usize,
    /// Width of an attention head.
    pub head_width: usize,
    /// Frames that a convolution sees; odd.
    pub kernel: usize,
    /// Frequencies that describe the noise level.
    pub frequencies: usize,
}

impl Default for DanceConfig {
    /// The sizes of the published models: 221 million parameters.
    fn default() -> Self {
        let mut widths = vec![128, 128, 256, 256];
        widths.extend([512; 10]);
        Self {
            widths,
            attention_from: 8,
            head_width: 32,
            kernel: 5,
            frequencies: 8,
        }
    }
}

impl DanceConfig {
    pub(super) fn validate(&self) -> Result<()> {
        let fail = |what: String| Err(Error::setting(format!("network: {what}")));
        let depth = self.widths.len();
        if !(2..=20).contains(&depth) {
            return fail(format!("expected 2 to 20 levels, found {depth}"));
        }
        if let Some(width) = self.widths.iter().find(|w| !(4..=4096).contains(*w)) {
            return fail(format!("expected widths of 4 to 4096, found {width}"));
        }
        if !(1..=31).contains(&self.kernel) || self.kernel.is_multiple_of(2) {
            return fail(format!(
                "expected an odd kernel of 1 to 31, found {}",
                self.kernel
            ));
        }
        if !(1..=1024).contains(&self.frequencies) {
            return fail(format!(
                "expected 1 to 1024 frequencies, found {}",
                self.frequencies
            ));
        }
        if !(1..=depth).contains(&self.attention_from) {
            return fail(format!(
                "expected attention from level 1 to {depth} on, found {}",
                self.attention_from
            ));
        }
        // The last block of a level on the way up has the width of the level above.
        let attending = &self.widths[self.attention_from - 1..];
        let uneven = |w: &&usize| self.head_width == 0 || !w.is_multiple_of(self.head_width);
        if self.attention_from < depth
            && let Some(width) = attending.iter().find(uneven)
        {
            return fail(format!(
                "expected a head width that divides {width}, found {}",
                self.head_width
            ));
        }
        Ok(())
    }

    pub(super) fn check_frames(&self, frames: usize) -> Result<()> {
        let least = LEAST * self.frames_multiple();
        if frames < least {
            return Err(Error::setting(format!(
                "clip length: expected at least {least} frames, found {frames}"
            )));
        }
        let level = |(i, width): (usize, &usize)| (frames >> i).saturating_mul(*width);
        let map = self.widths.iter().enumerate().map(level).max();
        let attending = match self.attention_from {
            from if from < self.widths.len() => frames >> from,
            _ => 0,
        };
        super::check_memory(frames, map.unwrap_or(0), attending)
    }

    pub(super) fn training_bytes(&self, frames: usize) -> u64 {
        // A block keeps three maps for its way back; gradients and temporaries come to a third of that.
        const MAPS: usize = 4;
        let level = |(i, width): (usize, &usize)| 2 * BLOCKS * width * (frames >> i);
        (4 * MAPS * self.widths.iter().enumerate().map(level).sum::<usize>()) as u64
    }

    pub(super) fn frames_multiple(&self) -> usize {
        1 << (self.widths.len() - 1)
    }

    fn attends(&self, level: usize) -> bool {
        level >= self.attention_from
    }
}

/// `DiffusionAttnUnet1D` [Evans 2022], as the programs of Dance Diffusion's time have it: two samples in, the velocity
/// of both out.
///
/// A level halves the frames by a fixed cubic filter, has three blocks of two convolutions on each way, and hands what
/// came into it, beside what it made, to the level above. Blocks normalise after their convolutions, over all channels
/// together.
pub struct Dance1d {
    layers: Layers,
    /// `[1, F]`, frequencies of the time.
    frequencies: Tensor,
    engine: Engine,
}

impl std::fmt::Debug for Dance1d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dance1d")
            .field("levels", &self.layers.levels.len())
            .finish_non_exhaustive()
    }
}

struct Layers {
    /// From the full rate down.
    levels: Vec<[Vec<Layer>; 2]>,
}

/// A block, and the attention behind it.
struct Layer {
    block: Block,
    attention: Option<SelfAttention>,
}

impl Dance1d {
    /// Builds the network; `config` must be valid.
    ///
    /// # Errors
    /// When `weights` lacks a parameter of the right shape, or the model has classes or descriptors, which this
    /// network is not given.
    pub fn new(config: &DanceConfig, dims: NetworkDims, weights: &mut dyn Weights) -> Result<Self> {
        if dims.labels + dims.descriptors > 0 {
            return Err(Error::setting(format!(
                "network: Dance Diffusion's takes no classes and descriptors, found {} and {}",
                dims.labels, dims.descriptors
            )));
        }
        if dims.gates {
            return Err(Error::setting(
                "network: Dance Diffusion's gives frames alone, found one that gives gates too",
            ));
        }
        let shape = [1, config.frequencies];
        let frequencies = weights.get("time", &shape, Initializer::Normal(1.0))?;
        let mut parameters = Vec::new();
        let root = Scope {
            weights,
            parameters: &mut parameters,
            prefix: String::new(),
        };
        let layers = Layers::new(config, dims.width, root)?;
        Ok(Self {
            layers,
            frequencies,
            engine: Engine::new(parameters),
        })
    }

    /// The samples, and beside each the noise level as sines and cosines: `[B, T, C + 2·F]`.
    fn input(&self, x: &Tensor, c_noise: &Tensor) -> Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        // c_noise is ln(sigma)/4; the time is 0 without noise and 1 with nothing else.
        let time =
            |&c: &f32| ((4.0 * f64::from(c)).exp().atan() * std::f64::consts::FRAC_2_PI) as f32;
        let times: Vec<f32> = c_noise.to_vec1::<f32>()?.iter().map(time).collect();
        let times = Tensor::from_vec(times, (b, 1), x.device())?;
        let angles = (times.matmul(&self.frequencies)? * std::f64::consts::TAU)?; // [B, F]
        let features = Tensor::cat(&[angles.cos()?, angles.sin()?], 1)?.unsqueeze(1)?;
        let features = features.broadcast_as((b, t, features.dims()[2]))?;
        Ok(Tensor::cat(&[x, &features], 2)?)
    }
}

impl Network for Dance1d {
    fn forward(&self, x: &Tensor, c_noise: &Tensor, _: &Conditioning) -> Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        let input = self.input(x, c_noise)?;
        let dims = input.dims3()?;
        let describe = |p: &mut Program| self.layers.forward(p, dims);
        let y = self.engine.run((b, t), describe, &[input], &[]);
        y.map_err(|error| {
            if self.engine.is_stopped() {
                Error::Stopped
            } else {
                error.into()
            }
        })
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Layers {
    fn new(config: &DanceConfig, channels: usize, mut root: Scope<'_>) -> Result<Self> {
        let widths = &config.widths;
        let bottom = widths.len() - 1;
        let mut levels = Vec::new();
        for (i, &width) in widths.iter().enumerate() {
            let above = match i {
                0 => channels + 2 * config.frequencies,
                _ => widths[i - 1],
            };
            let out = if i == 0 { channels } else { above };
            let mut side = |name: &str| -> Result<Vec<Layer>> {
                let layer = |j: usize| {
                    let (down, last) = (name == "down", j + 1 == BLOCKS);
                    let from = if down && j == 0 { above } else { width };
                    let to = if !down && last { out } else { width };
                    let mut at = root.below(format_args!("{name}.{i}.{j}"));
                    let sizes = Sizes {
                        kernel: config.kernel,
                        from,
                        to,
                        joins: !down && j == 0 && i < bottom,
                        ends: i == 0 && !down && last,
                        width,
                    };
                    let block = Block::new(at.below("block"), sizes)?;
                    let heads = to / config.head_width.max(1);
                    let attention = config
                        .attends(i)
                        .then(|| SelfAttention::new(at.below("attention"), to, 1, heads));
                    Ok(Layer {
                        block,
                        attention: attention.transpose()?,
                    })
                };
                (0..BLOCKS).map(layer).collect()
            };
            levels.push([side("down")?, side("up")?]);
        }
        Ok(Self { levels })
    }

    /// The whole network for what [`Dance1d::input`] makes.
    fn forward(
        &self,
        p: &mut Program,
        (b, t, c): (usize, usize, usize),
    ) -> candle_core::Result<Map> {
        let mut h = p.input(b, t, c);
        let mut skips = Vec::new();
        for (i, [down, _]) in self.levels.iter().enumerate() {
            if i > 0 {
                skips.push(h);
                h = p.downsample(h)?;
            }
            for layer in down {
                h = layer.forward(p, &[h])?;
            }
        }
        // The input of the level below goes beside its output.
        let mut across = None;
        for (i, [_, up]) in self.levels.iter().enumerate().rev() {
            for layer in up {
                h = match across.take() {
                    Some(across) => layer.forward(p, &[h, across])?,
                    None => layer.forward(p, &[h])?,
                };
            }
            if i > 0 {
                h = p.upsample(h)?;
                across = skips.pop();
            }
        }
        Ok(h)
    }
}

impl Layer {
    fn forward(&self, p: &mut Program, x: &[Map]) -> candle_core::Result<Map> {
        let h = self.block.forward(p, x)?;
        match &self.attention {
            Some(attention) => attention.forward(p, h),
            None => Ok(h),
        }
    }
}

/// Sizes of a [`Block`].
struct Sizes {
    kernel: usize,
    from: usize,
    /// Between its convolutions.
    width: usize,
    to: usize,
    /// Whether it reads two maps of `from` channels side by side.
    joins: bool,
    /// Whether it is the last of all, whose second convolution has the last word.
    ends: bool,
}

/// Two convolutions, each normed and activated, beside a shortcut.
struct Block {
    /// One matrix for each map that is read.
    first: Vec<Parameter>,
    first_bias: Parameter,
    norm1: Norm,
    second: Conv,
    norm2: Option<Norm>,
    /// None where the map passes as it is.
    shortcut: Vec<Parameter>,
}

impl Block {
    fn new(mut at: Scope<'_>, sizes: Sizes) -> Result<Self> {
        let Sizes {
            kernel,
            from,
            width,
            to,
            joins,
            ends,
        } = sizes;
        let sources: &[&str] = if joins {
            &["deep", "across"]
        } else {
            &["weight"]
        };
        let mut matrices = |name: &str, kernel: usize, to: usize| {
            let rows = kernel * from;
            let init = Initializer::Normal(((rows * sources.len()) as f64).powf(-0.5));
            let one = |source: &&str| at.below(name).get(source, &[rows, to], init);
            sources.iter().map(one).collect::<Result<Vec<_>>>()
        };
        let first = matrices("conv1", kernel, width)?;
        let passes = !joins && from == to;
        let shortcut = if passes {
            Vec::new()
        } else {
            matrices("shortcut", 1, to)?
        };
        Ok(Self {
            first,
            first_bias: at
                .below("conv1")
                .get("bias", &[width], Initializer::Zeros)?,
            norm1: norm(at.below("norm1"), width, 1, Activation::Gelu)?,
            second: Conv::new(at.below("conv2"), kernel, width, to, 1.0)?,
            norm2: match ends {
                true => None,
                false => Some(norm(at.below("norm2"), to, 1, Activation::Gelu)?),
            },
            shortcut,
        })
    }

    fn forward(&self, p: &mut Program, x: &[Map]) -> candle_core::Result<Map> {
        // A product with two maps side by side is the sum of two products.
        let sum = |p: &mut Program, weights: &[Parameter], bias: Option<Parameter>| {
            let first = p.conv(x[0], None, weights[0], bias, None)?;
            let rest = weights.iter().zip(x).skip(1);
            rest.into_iter().try_fold(first, |sum, (&weight, &x)| {
                p.conv(x, None, weight, None, Some(sum))
            })
        };
        let h = sum(p, &self.first, Some(self.first_bias))?;
        let shortcut = match self.shortcut.len() {
            0 => x[0],
            _ => sum(p, &self.shortcut, None)?,
        };
        let Some(norm2) = self.norm2 else {
            return self.second.forward(p, h, Some(self.norm1), Some(shortcut));
        };
        let h = self.second.forward(p, h, Some(self.norm1), None)?;
        p.normed(h, norm2, Some(shortcut))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::super::{NetworkConfig, Parameters};
    use super::*;
    use crate::noise::Noise;

    const DIMS: NetworkDims = NetworkDims {
        width: 2,
        gates: false,
        labels: 0,
        descriptors: 0,
    };

    fn small() -> DanceConfig {
        DanceConfig {
            widths: vec![6, 8, 8],
            attention_from: 1,
            head_width: 2,
            kernel: 5,
            frequencies: 3,
        }
    }

    /// Every parameter drawn at random, so that no path is silent.
    fn lively(config: &DanceConfig) -> Result<BTreeMap<String, Tensor>> {
        let mut noise = Noise::new(5);
        let shapes = NetworkConfig::Dance(config.clone()).parameter_shapes(DIMS)?;
        let draw = |(name, shape): (String, Vec<usize>)| {
            let scale = if name.ends_with("affine") || name == "time" {
                1.0
            } else {
                0.3
            };
            Ok((name, (noise.normal_tensor(shape, &Device::Cpu)? * scale)?))
        };
        shapes.into_iter().map(draw).collect()
    }

    fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
        let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
        Ok(largest(&(a - b)?)? / largest(b)?)
    }

    #[test]
    fn the_published_sizes_have_the_published_number_of_parameters() -> Result<()> {
        let shapes = NetworkConfig::Dance(DanceConfig::default()).parameter_shapes(DIMS)?;
        let count: usize = shapes.values().map(|s| s.iter().product::<usize>()).sum();
        assert_eq!(count, 221_389_322);
        Ok(())
    }

    #[test]
    fn the_engine_agrees_with_the_definition_and_every_parameter_learns() -> Result<()> {
        let config = small();
        let parameters = Parameters::from_weights(&lively(&config)?, &Device::Cpu)?;
        let network = Dance1d::new(&config, DIMS, &mut &parameters)?;
        let mut noise = Noise::new(9);
        let x = noise.normal_tensor((3, 16, 2), &Device::Cpu)?;
        let c_noise = Tensor::new(&[-1.0f32, 0.1, 0.6], &Device::Cpu)?;
        let cond = Conditioning::new(&[None; 3], &[], &Device::Cpu)?;
        let y = network.forward(&x, &c_noise, &cond)?;
        assert_eq!(y.dims(), x.dims());
        let input = network.input(&x, &c_noise)?;
        let describe = |p: &mut Program| network.layers.forward(p, (3, 16, 8));
        let defined = network.engine.reference(describe, &[input], &[])?;
        assert!(difference(&y, &defined)? < 1e-5);
        let probe = noise.normal_tensor((3, 16, 2), &Device::Cpu)?;
        let [found, expected] = [y, defined].map(|y| (y * &probe)?.sum_all()?.backward());
        let (found, expected) = (found?, expected?);
        for (name, var) in parameters.iter() {
            let [found, expected] = [&found, &expected].map(|g| g.get(var).expect("tracked"));
            let size = expected.abs()?.max_all()?.to_scalar::<f32>()?;
            let error = difference(found, expected)?;
            assert!(
                error < 1e-3 && size > 1e-4,
                "the gradient of {name} is {error} off {size}"
            );
        }
        Ok(())
    }

    #[test]
    fn classes_and_short_clips_are_refused() {
        let told = NetworkDims { labels: 2, ..DIMS };
        let error = NetworkConfig::Dance(small()).parameter_shapes(told);
        assert!(
            error
                .expect_err("classes")
                .to_string()
                .contains("found 2 and 0")
        );
        assert!(small().check_frames(8).is_err() && small().check_frames(12).is_ok());
    }
}
