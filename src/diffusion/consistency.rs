//! Where a path ends, as models say that were distilled by consistency tuning [Geng et al. 2024]: none are made any
//! more, but those that were play.

use candle_core::Tensor;

use super::Denoiser;
use crate::error::Result;
use crate::network::Conditioning;

/// The level at which half of the noisy clip is kept.
const HALF_KEPT: f64 = 0.05;

/// `f(x, t) = k·x + (1 - k)·D(x, t)` with `k = 1/(1 + (t/0.05)²)`: where the path through `x` at level `t` ends
/// [in the form of Song et al. 2023, Eq. 5].
///
/// It is the denoiser `D`, but at low levels more and more the noisy clip itself, and at level 0 that alone. This ties
/// the chain of levels to the sounds, where a denoiser alone could agree with itself on anything; at the levels that
/// are sampled at, `f` and `D` differ by a hundredth at most.
pub struct ConsistencyFunction<'a> {
    denoiser: &'a dyn Denoiser,
    lowest: f64,
}

impl std::fmt::Debug for ConsistencyFunction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsistencyFunction")
            .field("lowest", &self.lowest)
            .finish_non_exhaustive()
    }
}

impl<'a> ConsistencyFunction<'a> {
    /// That of `denoiser`, which is evaluated at no level below `lowest`: what is at level zero is clean already.
    pub fn new(denoiser: &'a dyn Denoiser, lowest: f64) -> Self {
        Self { denoiser, lowest }
    }

    /// `f` of `x: [B, T, C]`, a noise level for each item; returns `[B, T, C]`.
    ///
    /// The levels are f64, not a tensor of f32 as a [`Denoiser`] takes them: `k` is their square.
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn at(&self, x: &Tensor, levels: &[f64], cond: &Conditioning) -> Result<Tensor> {
        let column = |value: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = levels.iter().map(|&t| value(t) as f32).collect();
            Tensor::from_vec(values, (levels.len(), 1, 1), x.device())
        };
        let sigma = column(&|t| t.max(self.lowest))?.reshape(levels.len())?;
        let guess = self.denoiser.denoise(x, &sigma, cond)?;
        let (kept, rest) = (column(&kept)?, column(&|t| 1.0 - kept(t))?);
        Ok((x.broadcast_mul(&kept)? + guess.broadcast_mul(&rest)?)?)
    }
}

/// The fraction `k` of the noisy clip that is kept at level `t`.
fn kept(t: f64) -> f64 {
    1.0 / (1.0 + (t / HALF_KEPT).powi(2))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Scales `x` at level `t` by a power of `1 + t²`.
    struct Power(f64);

    impl Denoiser for Power {
        fn denoise(&self, x: &Tensor, sigma: &Tensor, _: &Conditioning) -> Result<Tensor> {
            let gain = (sigma.sqr()? + 1.0)?
                .powf(self.0)?
                .reshape((sigma.dims()[0], 1, 1))?;
            Ok(x.broadcast_mul(&gain)?)
        }
    }

    #[test]
    fn the_function_is_the_clip_at_level_zero_and_the_denoiser_at_high_levels() -> Result<()> {
        let x = Tensor::ones((3, 2, 1), candle_core::DType::F32, &Device::Cpu)?;
        let cond = Conditioning::new(&[None; 3], &[], &Device::Cpu)?;
        // This denoiser says 0 of noise, so `f` is `k·x`; at level zero it is asked for level 0.005.
        let f = ConsistencyFunction::new(&Power(f64::NEG_INFINITY), 0.005);
        let ends = f.at(&x, &[0.0, 0.05, 5.0], &cond)?;
        let ends = ends.flatten_all()?.to_vec1::<f32>()?;
        let expected = [1.0, 0.5, 1.0 / 10_001.0];
        for (pair, expected) in ends.chunks(2).zip(expected) {
            assert!((pair[0] - expected).abs() < 1e-7, "{ends:?}");
        }
        Ok(())
    }
}
