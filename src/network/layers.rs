//! Layers: which parameters they have, and what they add to a program over frames, `[B, T, C]`.

use audiodiff_kernels::{Activation, Map, Norm, Parameter, Program};
use candle_core::Tensor;

use super::{Initializer, Weights};
use crate::error::Result;

/// Names below a prefix.
pub(super) struct Scope<'a> {
    pub weights: &'a mut dyn Weights,
    /// All parameters so far.
    pub parameters: &'a mut Vec<Tensor>,
    pub prefix: String,
}

impl Scope<'_> {
    pub fn get(&mut self, name: &str, shape: &[usize], init: Initializer) -> Result<Parameter> {
        let name = format!("{}{name}", self.prefix);
        self.parameters.push(self.weights.get(&name, shape, init)?);
        Ok(Parameter(self.parameters.len() - 1))
    }

    pub fn below(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Scope {
            weights: self.weights,
            parameters: self.parameters,
            prefix,
        }
    }
}

/// Convolution over frames with odd kernel; a kernel of 1 is a linear layer.
pub(super) struct Conv {
    weight: Parameter,
    bias: Parameter,
}

impl Conv {
    /// `gain` scales the variance-keeping initialisation; 0 begins silent.
    pub fn new(
        mut at: Scope<'_>,
        kernel: usize,
        from: usize,
        to: usize,
        gain: f64,
    ) -> Result<Self> {
        let fan_in = kernel * from;
        let init = if gain == 0.0 {
            Initializer::Zeros
        } else {
            Initializer::Normal(gain / (fan_in as f64).sqrt())
        };
        Ok(Self {
            weight: at.get("weight", &[fan_in, to], init)?,
            bias: at.get("bias", &[to], Initializer::Zeros)?,
        })
    }

    /// `[B, T, from]`, normed if wanted, → `[B, T, to]`, plus `residual`.
    pub fn forward(
        &self,
        p: &mut Program,
        x: Map,
        norm: Option<Norm>,
        residual: Option<Map>,
    ) -> candle_core::Result<Map> {
        p.conv(x, norm, self.weight, Some(self.bias), residual)
    }
}

/// The group normalisation of width `C` before a convolution, without FiLM.
pub(super) fn norm(
    mut at: Scope<'_>,
    width: usize,
    groups: usize,
    activation: Activation,
) -> Result<Norm> {
    Ok(Norm {
        affine: at.get("affine", &[2, width], Initializer::Affine)?,
        film: None,
        groups,
        activation,
    })
}

/// Pre-activation residual block: norm, SiLU, k3, norm with FiLM, SiLU, k3 [He et al. 2016;
/// Dhariwal & Nichol 2021].
pub(super) struct ResBlock {
    norm1: Norm,
    conv1: Conv,
    film: Conv,
    norm2: Norm,
    conv2: Conv,
    attention: Option<SelfAttention>,
}

impl ResBlock {
    pub fn new(
        mut at: Scope<'_>,
        width: usize,
        embedding: usize,
        groups: usize,
        heads: Option<usize>,
    ) -> Result<Self> {
        Ok(Self {
            norm1: norm(at.below("norm1"), width, groups, Activation::Silu)?,
            conv1: Conv::new(at.below("conv1"), 3, width, width, 1.0)?,
            film: Conv::new(at.below("film"), 1, embedding, 2 * width, 0.0)?,
            norm2: norm(at.below("norm2"), width, groups, Activation::Silu)?,
            conv2: Conv::new(at.below("conv2"), 3, width, width, 0.0)?,
            attention: match heads {
                Some(heads) => Some(SelfAttention::new(
                    at.below("attention"),
                    width,
                    groups,
                    heads,
                )?),
                None => None,
            },
        })
    }

    /// `x: [B, T, C]`, `embedding: [B, 1, E]`, already activated.
    pub fn forward(&self, p: &mut Program, x: Map, embedding: Map) -> candle_core::Result<Map> {
        let h = self.conv1.forward(p, x, Some(self.norm1), None)?;
        let film = self.film.forward(p, embedding, None, None)?; // [B, 1, 2·C]
        let norm2 = Norm {
            film: Some(film),
            ..self.norm2
        };
        let x = self.conv2.forward(p, h, Some(norm2), Some(x))?;
        match &self.attention {
            Some(attention) => attention.forward(p, x),
            None => Ok(x),
        }
    }
}

/// Residual multi-head self-attention over frames.
pub(super) struct SelfAttention {
    norm: Norm,
    qkv: Conv,
    out: Conv,
    heads: usize,
}

impl SelfAttention {
    pub fn new(mut at: Scope<'_>, width: usize, groups: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            norm: norm(at.below("norm"), width, groups, Activation::None)?,
            qkv: Conv::new(at.below("qkv"), 1, width, 3 * width, 1.0)?,
            out: Conv::new(at.below("out"), 1, width, width, 0.0)?,
            heads,
        })
    }

    pub fn forward(&self, p: &mut Program, x: Map) -> candle_core::Result<Map> {
        let qkv = self.qkv.forward(p, x, Some(self.norm), None)?; // [B, T, 3·C]
        let h = p.attention(qkv, self.heads)?;
        self.out.forward(p, h, None, Some(x))
    }
}
