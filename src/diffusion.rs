//! The diffusion core: what a denoiser is, how it is trained, how noise is walked down.

pub mod guidance;
pub mod sampler;
pub mod schedule;

use candle_core::Tensor;

use crate::error::Result;
use crate::network::Conditioning;

/// `D`: the best guess of the clean clip, given a noisy one and how noisy it is.
///
/// The seam between *how to walk* (samplers) and *what to believe* (networks).
pub trait Denoiser {
    /// `x: [B, T, C]` is a clean clip plus `sigma: [B]` times unit noise; returns `[B, T, C]`.
    fn denoise(&self, x: &Tensor, sigma: &Tensor, cond: &Conditioning) -> Result<Tensor>;
}
