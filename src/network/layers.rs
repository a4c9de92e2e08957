//! Layers over frames, `[B, T, C]`, made of the ops whose gradients are proved.

use audiodiff_kernels::{attention, conv1d, group_norm_film_silu};
use candle_core::{DType, Tensor};

use super::{Init, Weights};
use crate::error::Result;

/// Names below a prefix.
pub(super) struct Scope<'a> {
    pub weights: &'a mut dyn Weights,
    pub prefix: String,
}

impl Scope<'_> {
    pub fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.weights
            .get(&format!("{}{name}", self.prefix), shape, init)
    }

    pub fn below(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        let prefix = format!("{}{name}.", self.prefix);
        Scope {
            weights: self.weights,
            prefix,
        }
    }
}

/// Convolution over frames with odd kernel; a kernel of 1 is a linear layer.
pub(super) struct Conv {
    weight: Tensor,
    bias: Tensor,
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
            Init::Zeros
        } else {
            Init::Normal(gain / (fan_in as f64).sqrt())
        };
        Ok(Self {
            weight: at.get("weight", &[fan_in, to], init)?,
            bias: at.get("bias", &[to], Init::Zeros)?,
        })
    }

    /// `[B, T, from]` → `[B, T, to]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(conv1d(x, &self.weight, &self.bias)?)
    }

    /// For vectors: `[B, from]` → `[B, to]`.
    pub fn vector(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.matmul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

/// Group normalisation with optional FiLM and SiLU.
pub(super) struct Norm {
    affine: Tensor,
    groups: usize,
    activate: bool,
}

impl Norm {
    pub fn new(mut at: Scope<'_>, width: usize, groups: usize, activate: bool) -> Result<Self> {
        Ok(Self {
            affine: at.get("affine", &[2, width], Init::Affine)?,
            groups,
            activate,
        })
    }

    /// `film: [B, 2·C]`, or none for a neutral one.
    pub fn forward(&self, x: &Tensor, film: Option<&Tensor>) -> Result<Tensor> {
        let neutral;
        let film = match film {
            Some(film) => film,
            None => {
                let (b, _, c) = x.dims3()?;
                neutral = Tensor::zeros((b, 2 * c), DType::F32, x.device())?;
                &neutral
            }
        };
        Ok(group_norm_film_silu(
            x,
            &self.affine,
            film,
            self.groups,
            self.activate,
        )?)
    }
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
            norm1: Norm::new(at.below("norm1"), width, groups, true)?,
            conv1: Conv::new(at.below("conv1"), 3, width, width, 1.0)?,
            film: Conv::new(at.below("film"), 1, embedding, 2 * width, 0.0)?,
            norm2: Norm::new(at.below("norm2"), width, groups, true)?,
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

    /// `x: [B, T, C]`, `embedding: [B, E]`, already activated.
    pub fn forward(&self, x: &Tensor, embedding: &Tensor) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward(x, None)?)?;
        let film = self.film.vector(embedding)?; // [B, 2·C]
        let h = self.conv2.forward(&self.norm2.forward(&h, Some(&film))?)?;
        let x = (x + h)?;
        match &self.attention {
            Some(attention) => attention.forward(&x),
            None => Ok(x),
        }
    }
}

/// Residual multi-head self-attention over frames.
struct SelfAttention {
    norm: Norm,
    qkv: Conv,
    out: Conv,
    heads: usize,
}

impl SelfAttention {
    fn new(mut at: Scope<'_>, width: usize, groups: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            norm: Norm::new(at.below("norm"), width, groups, false)?,
            qkv: Conv::new(at.below("qkv"), 1, width, 3 * width, 1.0)?,
            out: Conv::new(at.below("out"), 1, width, width, 0.0)?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm.forward(x, None)?)?; // [B, T, 3·C]
        Ok((x + self.out.forward(&attention(&qkv, self.heads)?)?)?)
    }
}
