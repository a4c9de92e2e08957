//! The raw network `F`: frames, a number that tells the noise level, and conditioning in; frames out.
//!
//! Nothing here knows sigma. Tensors are channels last, `[B, T, C]`, throughout.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// What the network is told besides the noisy frames; each part may be absent.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// `[B]` of u32: 0 for "no class", `1 + i` for label `i`.
    pub classes: Tensor,
    /// `[B, D]` of f32 descriptors, zero where neutral.
    pub descriptors: Tensor,
}

impl Conditioning {
    /// Builds the conditioning of a batch from labels and descriptor rows.
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
        })
    }

    /// `B`.
    pub fn batch(&self) -> usize {
        self.classes.dims()[0]
    }

    /// The same conditioning with every class absent: the unconditional half of guidance.
    pub fn without_class(&self) -> Result<Self> {
        Ok(Self {
            classes: self.classes.zeros_like()?,
            descriptors: self.descriptors.clone(),
        })
    }
}

/// A network `F` over frames.
pub trait Network: Send + Sync {
    /// `x: [B, T, C]`, `c_noise: [B]` → `[B, T, C]`.
    fn forward(&self, x: &Tensor, c_noise: &Tensor, cond: &Conditioning) -> Result<Tensor>;
}
