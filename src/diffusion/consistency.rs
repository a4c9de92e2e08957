//! Consistency tuning: a model that needs one evaluation where it needed sixteen.
//!
//! [`ConsistencyFunction`] says where a path ends, [`Consistency`] trains a denoiser to say so.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::Denoiser;
use crate::error::Result;
use crate::network::Conditioning;
use crate::noise::{Noise, normal_quantile, unit_noise};

/// Easy Consistency Tuning [Geng et al. 2024]: from any noise level the network learns to say what it says at a
/// slightly lower one on the same path, down to the clean clip itself. It begins as an ordinary denoiser, for
/// which the lower level is zero, and the levels draw together as training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Consistency {
    /// `P_mean`: mean of `ln t`, the higher level.
    #[serde(alias = "log_level_mean")]
    pub p_mean: f64,
    /// `P_std`: standard deviation of `ln t`.
    #[serde(alias = "log_level_deviation")]
    pub p_std: f64,
    /// Lowest and highest level.
    pub levels: (f64, f64),
    /// Stages; each halves the distance between the levels.
    pub stages: u32,
    /// The stage to begin with; 0 for a network that is an ordinary denoiser.
    #[serde(default)]
    pub first_stage: u32,
}

impl Default for Consistency {
    fn default() -> Self {
        Self {
            p_mean: -0.4,
            p_std: 2.0,
            levels: (0.005, 40.0),
            stages: 8,
            first_stage: 0,
        }
    }
}

impl Consistency {
    /// A pair of levels `(t, r)` for each of `batch` items, `r < t`, after `progress` (0 to 1) of the training.
    ///
    /// `r = t·(1 - 2^-(s+1)·(1 + 8·sigmoid(-t/2)))`, not below zero, in stage `s`: at first zero for nearly all
    /// levels [Geng et al. 2024, their mapping with q 2, k 8, b 1].
    pub fn draw_levels(&self, batch: usize, progress: f64, noise: &mut Noise) -> Vec<(f64, f64)> {
        let (first, stages) = (f64::from(self.first_stage), f64::from(self.stages));
        let stage = (first + progress * (stages - first))
            .min(stages - 1.0)
            .floor();
        let pair = |i: usize| {
            let p = (i as f64 + f64::from(noise.uniform())) / batch as f64;
            let score = normal_quantile(p.clamp(1e-6, 1.0 - 1e-6));
            let t = (self.p_mean + self.p_std * score).exp();
            let t = t.clamp(self.levels.0, self.levels.1);
            (t, (t * (1.0 - gap(t, stage))).max(0.0))
        };
        (0..batch).map(pair).collect()
    }

    /// Mean over the items of `(√(‖f(x_t, t) - f(x_r, r)‖² + c²) - c) / (t - r)`, the second without a gradient, for
    /// the same clip with the same noise at both levels, and `c = 0.00054·√dimensions` [the pseudo-Huber distance of
    /// Song & Dhariwal 2023]. A scalar with a gradient.
    ///
    /// `f` is the [`ConsistencyFunction`] of `denoiser`. With a `guide` the point at level `r` is where one step along
    /// its path leads from `x_t`, so that the model learns the guide's sounds (those of a guided teacher, say) rather
    /// than the clips'.
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn loss(
        &self,
        denoiser: &dyn Denoiser,
        guide: Option<&dyn Denoiser>,
        clean: &Tensor,
        cond: &Conditioning,
        levels: &[(f64, f64)],
        noises: &mut [Noise],
    ) -> Result<Tensor> {
        let (b, frames, width) = clean.dims3()?;
        let device = clean.device();
        let column = |value: &dyn Fn(&(f64, f64)) -> f64| {
            let values: Vec<f32> = levels.iter().map(|pair| value(pair) as f32).collect();
            Tensor::from_vec(values, (b, 1, 1), device)
        };
        let (t, r) = (column(&|p| p.0)?, column(&|p| p.1)?);
        let noise = unit_noise(noises, frames, width, device)?;
        let upper = (clean + noise.broadcast_mul(&t)?)?;
        let lower = match guide {
            None => (clean + noise.broadcast_mul(&r)?)?,
            Some(guide) => {
                // x_r = (r/t)·x_t + (1 - r/t)·D(x_t, t): Euler's step.
                let guess = guide.denoise(&upper, &t.reshape(b)?, cond)?.detach();
                let keep = column(&|p| p.1 / p.0)?;
                let rest = column(&|p| 1.0 - p.1 / p.0)?;
                (upper.broadcast_mul(&keep)? + guess.broadcast_mul(&rest)?)?
            }
        };
        let f = ConsistencyFunction::new(denoiser, self.levels.0);
        let (upper_levels, lower_levels): (Vec<f64>, Vec<f64>) = levels.iter().copied().unzip();
        let wanted = f.at(&lower, &lower_levels, cond)?.detach();
        let guess = f.at(&upper, &upper_levels, cond)?;
        let c = 0.00054 * ((frames * width) as f64).sqrt();
        let squares = (guess - wanted)?.sqr()?.sum_keepdim((1, 2))?;
        let distance = ((squares + c * c)?.sqrt()? - c)?;
        let weight = column(&|p| 1.0 / (p.0 - p.1))?;
        Ok(distance.broadcast_mul(&weight)?.mean_all()?)
    }
}

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

/// How far below `t` the lower level of a pair lies, as a fraction of it: `2^-(stage + 1)·(1 + 8·sigmoid(-t/2))`
/// [Geng et al. 2024].
fn gap(t: f64, stage: f64) -> f64 {
    (-(stage + 1.0)).exp2() * (1.0 + 8.0 / (1.0 + (t / 2.0).exp()))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn levels_begin_apart_and_draw_together() {
        let consistency = Consistency::default();
        let gaps = |progress| {
            let mut noise = Noise::new(1);
            let pairs = consistency.draw_levels(64, progress, &mut noise);
            assert!(
                pairs
                    .iter()
                    .all(|&(t, r)| (0.0..t).contains(&r) && (0.005..=40.0).contains(&t))
            );
            pairs.iter().map(|(t, r)| 1.0 - r / t).sum::<f64>() / 64.0
        };
        assert!(
            gaps(0.0) > 0.9 && gaps(0.5) < 0.35 && gaps(1.0) < 0.03,
            "{} {} {}",
            gaps(0.0),
            gaps(0.5),
            gaps(1.0)
        );
        // The last stage: 2^-8·(1 + 8·sigmoid(-1/2)) at t = 1, and every pair of it is drawn so.
        assert!(
            (gap(1.0, 7.0) - 0.015_704).abs() < 1e-6,
            "{}",
            gap(1.0, 7.0)
        );
        for (t, r) in consistency.draw_levels(64, 1.0, &mut Noise::new(2)) {
            assert!((1.0 - r / t - gap(t, 7.0)).abs() < 1e-12);
        }
    }

    /// For unit normal data the path through `x` at level `t` ends in `x/√(1+t²)`: a denoiser that says so agrees
    /// with itself at all levels of a path, one that says the mean of all ends, `x/(1+t²)`, does not.
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
    fn along_the_true_path_the_consistent_denoiser_has_the_least_loss() -> Result<()> {
        let clean = Noise::new(1).normal_tensor((8, 60, 20), &Device::Cpu)?;
        let cond = Conditioning::new(&[None; 8], &[], &Device::Cpu)?;
        let consistency = Consistency::default();
        let levels = consistency.draw_levels(8, 1.0, &mut Noise::new(2));
        let loss = |power: f64| -> Result<f32> {
            let mut noises: Vec<Noise> = (0..8).map(|i| Noise::at(7, &[i])).collect();
            // The best denoiser of this data guides along the true path.
            let guide = Power(-1.0);
            let loss = consistency.loss(
                &Power(power),
                Some(&guide),
                &clean,
                &cond,
                &levels,
                &mut noises,
            )?;
            Ok(loss.to_scalar::<f32>()?)
        };
        let consistent = loss(-0.5)?;
        assert!(
            consistent < 0.1 * loss(-1.0)? && consistent < 0.1 * loss(-0.25)?,
            "{consistent}"
        );
        Ok(())
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

    #[test]
    fn at_level_zero_the_clip_itself_is_wanted() -> Result<()> {
        let clean = Noise::new(1).normal_tensor((2, 10, 4), &Device::Cpu)?;
        let cond = Conditioning::new(&[None; 2], &[], &Device::Cpu)?;
        struct Knows(Tensor);
        impl Denoiser for Knows {
            fn denoise(&self, _: &Tensor, _: &Tensor, _: &Conditioning) -> Result<Tensor> {
                Ok(self.0.clone())
            }
        }
        let loss = |answer: Tensor| -> Result<f32> {
            let mut noises = vec![Noise::new(3), Noise::new(4)];
            let levels = [(1.0, 0.0), (3.0, 0.0)];
            let loss = Consistency::default().loss(
                &Knows(answer),
                None,
                &clean,
                &cond,
                &levels,
                &mut noises,
            )?;
            Ok(loss.to_scalar::<f32>()?)
        };
        // At level 1 a little of the noise is kept.
        assert!(loss(clean.clone())? < 0.02);
        // Off by one everywhere: √40 less nearly nothing, over distances of 1 and 3.
        let off = loss((&clean + 1.0)?)?;
        assert!(
            (off / (40f32.sqrt() * (1.0 + 1.0 / 3.0) / 2.0) - 1.0).abs() < 1e-2,
            "{off}"
        );
        Ok(())
    }
}
