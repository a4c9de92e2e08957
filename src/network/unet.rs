//! One-dimensional U-Net with additive skips and FiLM conditioning.

mod adapt;

use audiodiff_kernels::{Activation, Engine, Map, Norm, Parameter, Program};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::layers::{Conv, ResBlock, Scope, norm};
use super::{Conditioning, Initializer, Network, NetworkDims, Weights};
use crate::error::{Error, Result};
use crate::names::meant;
pub(super) use adapt::retell;

/// Sines and cosines that describe `c_noise`.
const NOISE_FEATURES: usize = 32;

/// Time constants, in frames, of the decays that tell a frame how long ago the sound began: a clip
/// starts at its onset, and convolutions alone cannot tell its start from its end.
const POSITION_DECAYS: [f32; 8] = [2.0, 5.0, 12.5, 31.25, 78.0, 195.0, 488.0, 1220.0];

/// One resolution of the U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Channels.
    pub width: usize,
    /// Residual blocks on the way down, and as many on the way up.
    pub blocks: usize,
}

/// Sizes of a [`UNet1d`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UNetConfig {
    /// From the full frame rate to the lowest; each level halves the number of frames.
    pub levels: Vec<Resolution>,
    /// Width of the vector that carries noise level, class and descriptors.
    pub embedding: usize,
    /// Groups of the normalisation; divides every width.
    pub groups: usize,
    /// Width of an attention head; attention ends the last level, once on each way. 0 leaves it out.
    pub head_width: usize,
    /// Whether noise level, class and descriptors decide, by FiLM [Perez et al. 2018], how much of each skip and of the
    /// last map goes on. Absent in older files, which add skips as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub film_skips: bool,
}

impl UNetConfig {
    /// Sizes by name: `nano`, `tiny` and `base`, or free widths as `WIDTHxBLOCKS` a level, e.g.
    /// `128x1,192x2,256x2`.
    ///
    /// # Errors
    /// When `name` is none of these, or a size is out of bounds.
    pub fn preset(name: &str) -> Result<Self> {
        let levels: Vec<(usize, usize)> = match name {
            "nano" => vec![(192, 1), (192, 1), (256, 2)],
            "tiny" => vec![(256, 1), (256, 1), (384, 2)],
            "base" => vec![(256, 2), (448, 3), (640, 4)],
            free => {
                let level = |s: &str| {
                    let (width, blocks) = s.trim().split_once('x')?;
                    Some((width.parse().ok()?, blocks.parse().ok()?))
                };
                free.split(',').map(level).collect::<Option<_>>().ok_or_else(|| {
                    Error::setting(format!(
                        "preset: expected nano, tiny, base or levels such as 128x1,192x2,256x2, found `{free}`{}",
                        meant(free, &["nano", "tiny", "base"])
                    ))
                })?
            }
        };
        let levels: Vec<Resolution> = levels
            .into_iter()
            .map(|(width, blocks)| Resolution { width, blocks })
            .collect();
        let last = levels.last().map_or(0, |level| level.width);
        let head_width = if last.is_multiple_of(64) { 64 } else { last };
        let config = Self {
            levels,
            embedding: 128,
            groups: 8,
            head_width,
            film_skips: false,
        };
        config.validate()?;
        Ok(config)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let fail = |what: String| Err(Error::setting(format!("network: {what}")));
        if self.levels.is_empty() || self.levels.len() > 8 {
            return fail(format!(
                "expected 1 to 8 levels, found {}",
                self.levels.len()
            ));
        }
        if self.groups == 0 || self.groups > 256 {
            return fail(format!("expected 1 to 256 groups, found {}", self.groups));
        }
        if !(8..=4096).contains(&self.embedding) {
            return fail(format!(
                "expected an embedding of 8 to 4096, found {}",
                self.embedding
            ));
        }
        for level in &self.levels {
            if !(8..=4096).contains(&level.width) || level.width % self.groups != 0 {
                return fail(format!(
                    "expected widths of 8 to 4096 in multiples of {}, found {}",
                    self.groups, level.width
                ));
            }
            if !(1..=32).contains(&level.blocks) {
                return fail(format!(
                    "expected 1 to 32 blocks a level, found {}",
                    level.blocks
                ));
            }
        }
        let last = self.levels[self.levels.len() - 1].width;
        if self.head_width != 0 && !last.is_multiple_of(self.head_width) {
            return fail(format!(
                "expected a head width that divides {last}, found {}",
                self.head_width
            ));
        }
        Ok(())
    }

    pub(super) fn check_frames(&self, frames: usize) -> Result<()> {
        let widest = self.levels.iter().map(|level| level.width).max();
        let map = frames.saturating_mul(widest.unwrap_or(1));
        let attending = match self.head_width {
            0 => 0,
            _ => frames / self.frames_multiple(),
        };
        super::check_memory(frames, map, attending)
    }

    pub(super) fn training_bytes(&self, frames: usize) -> u64 {
        // A block keeps two maps for its way back. Gradients, attention and the two ends come to as much
        // again, and what surrounds the network and its kernels' temporaries to about twice that.
        const MAPS: usize = 8;
        let level =
            |(i, level): (usize, &Resolution)| 2 * level.blocks * level.width * (frames >> i);
        (4 * MAPS * self.levels.iter().enumerate().map(level).sum::<usize>()) as u64
    }

    pub(super) fn frames_multiple(&self) -> usize {
        1 << (self.levels.len() - 1)
    }
}

/// U-Net over frames [Ronneberger et al. 2015, in the manner of Dhariwal & Nichol 2021].
///
/// Half the frames and a matrix of two frames' values make each step down, its mirror each step up;
/// every block on the way up begins by adding what its mirror on the way down ended with: through a norm with FiLM and
/// a matrix, or as it is in older networks.
pub struct UNet1d {
    layers: Layers,
    engine: Engine,
}

/// The layers of the network.
struct Layers {
    noise1: Conv,
    noise2: Conv,
    classes: Option<Parameter>,
    /// The table, and how many descriptors it takes.
    descriptors: Option<(Parameter, usize)>,
    stem: Conv,
    position: Parameter,
    down: Vec<Vec<ResBlock>>,
    shrink: Vec<Conv>,
    grow: Vec<Conv>,
    up: Vec<Vec<ResBlock>>,
    /// As `up`; empty where skips are added as they are.
    skips: Vec<Vec<Skip>>,
    /// Of the last norm, with `skips`.
    film: Option<Conv>,
    norm: Norm,
    out: Conv,
}

/// The way of a map from the down side to the up side: a norm with FiLM, and a matrix.
///
/// How much of what came in is to be believed depends on the noise level, which a sum with fixed weights cannot know.
struct Skip {
    norm: Norm,
    film: Conv,
    out: Conv,
}

impl Skip {
    fn new(mut at: Scope<'_>, width: usize, embedding: usize, groups: usize) -> Result<Self> {
        Ok(Self {
            norm: norm(at.below("norm"), width, groups, Activation::None)?,
            film: Conv::new(at.below("film"), 1, embedding, 2 * width, 0.0)?,
            out: Conv::new(at.below("out"), 1, width, width, 1.0)?,
        })
    }

    /// `h` with what comes of `skip`; both `[B, T, C]`, `e` is the embedding.
    fn add(&self, p: &mut Program, skip: Map, e: Map, h: Map) -> candle_core::Result<Map> {
        let film = self.film.forward(p, e, None, None)?;
        let norm = Norm {
            film: Some(film),
            ..self.norm
        };
        self.out.forward(p, skip, Some(norm), Some(h))
    }
}

impl std::fmt::Debug for UNet1d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UNet1d")
            .field("levels", &self.layers.down.len())
            .finish_non_exhaustive()
    }
}

impl UNet1d {
    /// Builds the network; `config` must be valid.
    ///
    /// # Errors
    /// When `weights` lacks a parameter of the right shape.
    pub fn new(config: &UNetConfig, dims: NetworkDims, weights: &mut dyn Weights) -> Result<Self> {
        let mut parameters = Vec::new();
        let root = Scope {
            weights,
            parameters: &mut parameters,
            prefix: String::new(),
        };
        let layers = Layers::new(config, dims, root)?;
        Ok(Self {
            layers,
            engine: Engine::new(parameters),
        })
    }
}

impl Layers {
    fn new(config: &UNetConfig, dims: NetworkDims, mut root: Scope<'_>) -> Result<Self> {
        let NetworkDims {
            width,
            labels,
            descriptors,
            ..
        } = dims;
        let (levels, e) = (&config.levels, config.embedding);
        let (top, bottom) = (levels[0].width, levels.len() - 1);
        let mut side = |name: &str| -> Result<Vec<Vec<ResBlock>>> {
            let level = |(i, level): (usize, &Resolution)| {
                let block = |j| {
                    let attends = config.head_width > 0 && i == bottom && j + 1 == level.blocks;
                    let heads = attends.then(|| level.width / config.head_width);
                    let mut at = root.below(format_args!("{name}.{i}"));
                    ResBlock::new(at.below(j), level.width, e, config.groups, heads)
                };
                (0..level.blocks).map(block).collect()
            };
            levels.iter().enumerate().map(level).collect()
        };
        let (down, up) = (side("down")?, side("up")?);
        let skips = |i: usize, level: &Resolution, root: &mut Scope<'_>| -> Result<Vec<Skip>> {
            let skip = |j: usize| {
                let mut at = root.below(format_args!("skip.{i}"));
                Skip::new(at.below(j), level.width, e, config.groups)
            };
            (0..level.blocks).map(skip).collect()
        };
        let filmed = levels.iter().enumerate().filter(|_| config.film_skips);
        let skips = filmed
            .map(|(i, level)| skips(i, level, &mut root))
            .collect::<Result<_>>()?;
        let mut step = |name: &str, i: usize| {
            let (upper, lower) = (levels[i].width, levels[i + 1].width);
            let (from, to) = if name == "shrink" {
                (2 * upper, lower)
            } else {
                (lower, 2 * upper)
            };
            Conv::new(root.below(format_args!("{name}.{i}")), 1, from, to, 1.0)
        };
        let shrink = (0..bottom)
            .map(|i| step("shrink", i))
            .collect::<Result<_>>()?;
        let grow = (0..bottom)
            .map(|i| step("grow", i))
            .collect::<Result<_>>()?;
        // The neutral class is row 0; a model without labels or descriptors has no such table.
        let table = |root: &mut Scope<'_>, name: &str, rows: usize, init| {
            (rows > 0)
                .then(|| root.get(name, &[rows, e], init))
                .transpose()
        };
        Ok(Self {
            noise1: Conv::new(root.below("noise1"), 1, NOISE_FEATURES, e, 1.0)?,
            noise2: Conv::new(root.below("noise2"), 1, e, e, 1.0)?,
            classes: table(
                &mut root,
                "classes",
                if labels > 0 { labels + 1 } else { 0 },
                Initializer::Normal(1.0),
            )?,
            descriptors: table(
                &mut root,
                "descriptors",
                descriptors,
                Initializer::Normal(0.5),
            )?
            .map(|table| (table, descriptors)),
            stem: Conv::new(root.below("stem"), 3, width, top, 1.0)?,
            position: root.get(
                "position",
                &[POSITION_DECAYS.len(), top],
                Initializer::Normal(0.35),
            )?,
            down,
            shrink,
            grow,
            up,
            skips,
            film: match config.film_skips {
                true => Some(Conv::new(root.below("film"), 1, e, 2 * top, 0.0)?),
                false => None,
            },
            norm: norm(root.below("norm"), top, config.groups, Activation::Silu)?,
            out: Conv::new(root.below("out"), 3, top, dims.outputs(), 0.0)?,
        })
    }

    /// The program's inputs: dense tensors and rows, in the order in which it declares them.
    fn inputs(
        &self,
        x: &Tensor,
        c_noise: &Tensor,
        cond: &Conditioning,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let decays = position_features(x.dims3()?.1, x.device())?;
        let mut dense = vec![x.clone(), noise_features(c_noise)?, decays];
        if self.descriptors.is_some() {
            dense.push(cond.descriptors.unsqueeze(1)?); // [B, 1, D]
        }
        let classes = self.classes.map(|_| cond.classes.clone());
        Ok((dense, classes.into_iter().collect()))
    }

    /// The whole network for frames `[B, T, C]`.
    fn forward(
        &self,
        p: &mut Program,
        (b, t, c): (usize, usize, usize),
    ) -> candle_core::Result<Map> {
        let x = p.input(b, t, c);
        let noise = p.input(b, 1, NOISE_FEATURES);
        let decays = p.input(1, t, POSITION_DECAYS.len());

        // Noise level, class and descriptors as one activated vector.
        let e = self.noise1.forward(p, noise, None, None)?; // [B, 1, E]
        let e = p.silu(e);
        let mut e = self.noise2.forward(p, e, None, None)?;
        if let Some(table) = self.classes {
            let classes = p.indices(b);
            e = p.lookup(table, classes, e)?;
        }
        if let Some((table, count)) = self.descriptors {
            let descriptors = p.input(b, 1, count);
            e = p.conv(descriptors, None, table, None, Some(e))?;
        }
        let e = p.silu(e);

        // Each frame's position, the same in every clip.
        let position = p.conv(decays, None, self.position, None, None)?; // [1, T, C0]
        let mut h = self.stem.forward(p, x, None, Some(position))?; // [B, T, C0]

        let bottom = self.down.len() - 1;
        let mut skips = Vec::new();
        for (i, blocks) in self.down.iter().enumerate() {
            for block in blocks {
                h = block.forward(p, h, e)?;
                skips.push(h);
            }
            if i < bottom {
                let (_, t, c) = h.dims();
                let pairs = p.reshape(h, t / 2, 2 * c)?;
                h = self.shrink[i].forward(p, pairs, None, None)?; // [B, T/2, C1]
            }
        }
        for (i, blocks) in self.up.iter().enumerate().rev() {
            for (j, block) in blocks.iter().enumerate().rev() {
                let skip = skips.pop().expect("as many blocks go up as went down");
                let mixed = match self.skips.get(i) {
                    Some(filmed) => filmed[j].add(p, skip, e, h)?,
                    None => p.add_scaled(h, skip, std::f64::consts::FRAC_1_SQRT_2)?,
                };
                h = block.forward(p, mixed, e)?;
            }
            if i > 0 {
                let grown = self.grow[i - 1].forward(p, h, None, None)?; // [B, T/2, 2·C0]
                let (_, t, c) = grown.dims();
                h = p.reshape(grown, 2 * t, c / 2)?;
            }
        }
        let film = match &self.film {
            Some(film) => Some(film.forward(p, e, None, None)?),
            None => None,
        };
        self.out
            .forward(p, h, Some(Norm { film, ..self.norm }), None)
    }
}

impl Network for UNet1d {
    fn forward(&self, x: &Tensor, c_noise: &Tensor, cond: &Conditioning) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let (dense, rows) = self.layers.inputs(x, c_noise, cond)?;
        let describe = |p: &mut Program| self.layers.forward(p, (b, t, c));
        let y = self.engine.run((b, t), describe, &dense, &rows);
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

/// `c_noise: [B]` as sines and cosines, `[B, 1, 32]`.
fn noise_features(c_noise: &Tensor) -> Result<Tensor> {
    // Frequencies from 1/4 to 16 turns per unit of c_noise, which spans about -1.2 to 1.
    let half = NOISE_FEATURES / 2;
    let frequency = |i| std::f32::consts::TAU * 0.25 * 64f32.powf(i as f32 / (half - 1) as f32);
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, 1, half), c_noise.device())?;
    let angles = c_noise
        .to_dtype(DType::F32)?
        .reshape(((), 1, 1))?
        .broadcast_mul(&frequencies)?; // [B, 1, 16]
    Ok(Tensor::cat(&[angles.sin()?, angles.cos()?], 2)?)
}

/// How far the decays have come at each frame, `[1, T, 8]`.
fn position_features(frames: usize, device: &Device) -> Result<Tensor> {
    let decay = |t: usize| POSITION_DECAYS.map(|tau| (-(t as f32) / tau).exp());
    let features: Vec<f32> = (0..frames).flat_map(decay).collect();
    let shape = (1, frames, POSITION_DECAYS.len());
    Ok(Tensor::from_vec(features, shape, device)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::network::NetworkConfig;
    use crate::noise::Noise;

    const DIMS: NetworkDims = NetworkDims {
        width: 6,
        gates: true,
        labels: 3,
        descriptors: 2,
    };

    fn small() -> NetworkConfig {
        let level = |width, blocks| Resolution { width, blocks };
        let levels = vec![level(8, 1), level(16, 2)];
        NetworkConfig::UNet(UNetConfig {
            levels,
            embedding: 16,
            groups: 4,
            head_width: 8,
            film_skips: true,
        })
    }

    /// The same as older files have it.
    fn older() -> NetworkConfig {
        let NetworkConfig::UNet(config) = small() else {
            unreachable!("a U-Net");
        };
        NetworkConfig::UNet(UNetConfig {
            film_skips: false,
            ..config
        })
    }

    /// Every parameter drawn at random, so that no path is silent.
    fn lively(config: &NetworkConfig) -> Result<BTreeMap<String, Tensor>> {
        let mut noise = Noise::new(5);
        let shapes = config.parameter_shapes(DIMS)?;
        let draw = |(name, shape): (String, Vec<usize>)| {
            let scale = if name.ends_with("affine") { 1.0 } else { 0.4 };
            let tensor = (noise.normal_tensor(shape, &Device::Cpu)? * scale)?;
            Ok((name, tensor))
        };
        shapes.into_iter().map(draw).collect()
    }

    fn input(b: usize, t: usize) -> Result<(Tensor, Tensor, Conditioning)> {
        let mut noise = Noise::new(9);
        let labels: Vec<_> = (0..b).map(|i| (i > 0).then_some(i as u32 % 3)).collect();
        let cond = Conditioning::new(&labels, &noise.normals(2 * b), &Device::Cpu)?;
        Ok((
            noise.normal_tensor((b, t, 6), &Device::Cpu)?,
            noise.normal_tensor(b, &Device::Cpu)?,
            cond,
        ))
    }

    #[test]
    fn presets_have_the_stated_sizes() -> Result<()> {
        // Millions of parameters with 128-wide frames, 12 classes and 5 descriptors.
        for (name, millions) in [("nano", 3.99), ("tiny", 7.85), ("base", 35.9)] {
            let config = NetworkConfig::UNet(UNetConfig::preset(name)?);
            let shapes = config.parameter_shapes(NetworkDims {
                width: 128,
                gates: false,
                labels: 12,
                descriptors: 5,
            })?;
            let count = shapes
                .values()
                .map(|s| s.iter().product::<usize>())
                .sum::<usize>() as f64
                / 1e6;
            assert!(
                (count - millions).abs() < 0.02 * millions,
                "{name}: {count:.2} M"
            );
        }
        assert!(UNetConfig::preset("huge").is_err());
        assert_eq!(
            UNetConfig::preset("16x1,32x2")?.levels[1],
            Resolution {
                width: 32,
                blocks: 2
            }
        );
        Ok(())
    }

    #[test]
    fn a_fresh_network_says_zero() -> Result<()> {
        let config = small();
        let parameters = config.init(DIMS, &mut Noise::new(1), &Device::Cpu)?;
        let network = config.build(DIMS, &mut &parameters)?;
        let (x, c_noise, cond) = input(2, 8)?;
        let y = network.forward(&x, &c_noise, &cond)?;
        assert_eq!(y.dims(), [2, 8, DIMS.outputs()]);
        assert_eq!(y.abs()?.max_all()?.to_scalar::<f32>()?, 0.0);
        Ok(())
    }

    /// The largest difference, relative to the largest value of `b`.
    fn difference(a: &Tensor, b: &Tensor) -> Result<f32> {
        let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
        Ok(largest(&(a - b)?)? / largest(b)?)
    }

    #[test]
    fn the_engine_agrees_with_the_definition() -> Result<()> {
        agrees(&small())?;
        agrees(&older())
    }

    fn agrees(config: &NetworkConfig) -> Result<()> {
        let NetworkConfig::UNet(sizes) = config else {
            unreachable!("a U-Net");
        };
        let parameters = super::super::Parameters::from_weights(&lively(config)?, &Device::Cpu)?;
        let network = UNet1d::new(sizes, DIMS, &mut &parameters)?;
        let (x, c_noise, cond) = input(3, 12)?;
        let x = candle_core::Var::from_tensor(&x)?;
        let y = network.forward(&x, &c_noise, &cond)?;
        let (dense, rows) = network.layers.inputs(&x, &c_noise, &cond)?;
        let describe = |p: &mut Program| network.layers.forward(p, (3, 12, 6));
        let defined = network.engine.reference(describe, &dense, &rows)?;
        assert!(difference(&y, &defined)? < 1e-5);
        let probe = Noise::new(4).normal_tensor((3, 12, DIMS.outputs()), &Device::Cpu)?;
        let [found, expected] = [y, defined].map(|y| (y * &probe)?.sum_all()?.backward());
        let (found, expected) = (found?, expected?);
        for (name, var) in parameters.iter().chain([("x", &x)]) {
            let [found, expected] = [&found, &expected].map(|g| g.get(var).expect("tracked"));
            let error = difference(found, expected)?;
            assert!(error < 1e-4, "the gradient of {name} is {error} off");
        }
        Ok(())
    }

    #[test]
    fn a_frozen_network_says_the_same_and_stops_when_told_to() -> Result<()> {
        let config = small();
        let mut network = config.build(DIMS, &mut lively(&config)?)?;
        let (x, c_noise, cond) = input(2, 8)?;
        let y = network.forward(&x, &c_noise, &cond)?;
        network.engine().freeze();
        let stop = Arc::new(AtomicBool::new(false));
        network.engine().stop_with(Arc::clone(&stop));
        for _ in 0..2 {
            let frozen = network.forward(&x, &c_noise, &cond)?;
            assert_eq!(difference(&frozen, &y)?, 0.0);
        }
        stop.store(true, Ordering::Relaxed);
        let stopped = network.forward(&x, &c_noise, &cond);
        assert!(matches!(stopped, Err(Error::Stopped)));
        Ok(())
    }

    #[test]
    fn items_of_a_batch_do_not_mix() -> Result<()> {
        let config = small();
        let network = config.build(DIMS, &mut lively(&config)?)?;
        let (x, c_noise, cond) = input(3, 12)?;
        let together = network.forward(&x, &c_noise, &cond)?;
        for i in 0..3 {
            let alone = Conditioning {
                classes: cond.classes.narrow(0, i, 1)?,
                descriptors: cond.descriptors.narrow(0, i, 1)?,
                attributes: 0,
            };
            let alone = network.forward(&x.narrow(0, i, 1)?, &c_noise.narrow(0, i, 1)?, &alone)?;
            let error = (together.narrow(0, i, 1)? - alone)?
                .abs()?
                .max_all()?
                .to_scalar::<f32>()?;
            assert!(error < 1e-5, "item {i}: {error}");
        }
        Ok(())
    }

    #[test]
    fn noise_level_class_and_descriptors_each_matter() -> Result<()> {
        let config = small();
        let network = config.build(DIMS, &mut lively(&config)?)?;
        let (x, c_noise, cond) = input(2, 8)?;
        let base = network.forward(&x, &c_noise, &cond)?;
        let differs = |y: Tensor| -> Result<bool> {
            Ok((y - &base)?.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3)
        };
        assert!(differs(network.forward(&x, &(&c_noise + 0.3)?, &cond)?)?);
        assert!(differs(network.forward(
            &x,
            &c_noise,
            &cond.without_class()?
        )?)?);
        let moved = Conditioning {
            descriptors: (&cond.descriptors + 0.5)?,
            attributes: 0,
            ..cond.clone()
        };
        assert!(differs(network.forward(&x, &c_noise, &moved)?)?);
        Ok(())
    }

    #[test]
    fn every_parameter_learns_and_its_gradient_equals_a_finite_difference() -> Result<()> {
        let config = small();
        let parameters = super::super::Parameters::from_weights(&lively(&config)?, &Device::Cpu)?;
        let network = config.build(DIMS, &mut &parameters)?;
        let (x, c_noise, cond) = input(3, 8)?;
        let probe = Noise::new(4).normal_tensor((3, 8, DIMS.outputs()), &Device::Cpu)?;
        let loss = || -> Result<Tensor> {
            Ok((network.forward(&x, &c_noise, &cond)? * &probe)?.sum_all()?)
        };
        let gradients = loss()?.backward()?;
        for (name, var) in parameters.iter() {
            let gradient = gradients
                .get(var)
                .unwrap_or_else(|| panic!("{name} has no gradient"));
            // Along the gradient itself, so that f32 differences stand clear of rounding.
            let length = f64::from(gradient.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
            assert!(length > 1e-3, "{name} has no influence");
            let (base, step) = (var.as_tensor().copy()?, 2e-3);
            let at = |sign: f64| -> Result<f64> {
                var.set(&(&base + (gradient * (sign * step / length))?)?)?;
                Ok(f64::from(loss()?.to_scalar::<f32>()?))
            };
            let numeric = (at(1.0)? - at(-1.0)?) / (2.0 * step);
            var.set(&base)?;
            assert!(
                (numeric - length).abs() < 0.02 * length + 0.02,
                "{name}: {numeric} against {length}"
            );
        }
        Ok(())
    }
}
