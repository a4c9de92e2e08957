//! Which noise levels to learn, and the weighted loss.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Denoiser, Target};
use crate::error::Result;
use crate::network::Conditioning;
use crate::noise::{Noise, normal_quantile};

/// Denoising score matching over log-normal noise levels [EDM, Eq. 2 and Table 1].
///
/// Rectified flow with logit-normal times [Esser et al. 2024] draws the same levels: with
/// `sigma = t/(1-t)`, `logit t` is `ln sigma`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// `P_mean`: mean of `ln sigma` [EDM, Table 1].
    #[serde(alias = "log_sigma_mean")]
    pub p_mean: f64,
    /// `P_std`: standard deviation of `ln sigma` [EDM, Table 1].
    #[serde(alias = "log_sigma_deviation")]
    pub p_std: f64,
    /// Upper bound of the loss weight, infinite for none: Min-SNR weighting up to a constant, for with `sigma_data` 1
    /// the weight is the signal-to-noise ratio plus one [Hang et al. 2023, Eq. 5].
    #[serde(with = "maybe_infinite", alias = "weight_clip")]
    pub min_snr_gamma: f64,
    /// Standard deviation of the clean frames.
    pub sigma_data: f64,
}

impl Objective {
    /// The default for a target: the clean-clip target clips its weight, which is unbounded at low noise.
    ///
    /// The mean is above EDM's: levels around and above 1 decide which frames sound at all, and a
    /// training that spends itself on low noise makes polished sounds without an outline.
    #[must_use]
    pub fn new(target: Target, sigma_data: f64) -> Self {
        let min_snr_gamma = if target == Target::X {
            12.0
        } else {
            f64::INFINITY
        };
        Self {
            p_mean: 0.3,
            p_std: 1.4,
            min_snr_gamma,
            sigma_data,
        }
    }

    /// One noise level per item, stratified: each of `batch` equal slices of probability is met once.
    pub fn draw_sigmas(&self, batch: usize, noise: &mut Noise) -> Vec<f64> {
        let draw = |i: usize| {
            let p = (i as f64 + f64::from(noise.uniform())) / batch as f64;
            (self.p_mean + self.p_std * normal_quantile(p.clamp(1e-6, 1.0 - 1e-6))).exp()
        };
        (0..batch).map(draw).collect()
    }

    /// Weight of the squared error of `D` at `sigma`: `(sigma² + sigma_data²)/(sigma·sigma_data)²`
    /// [EDM, Table 1], clipped.
    #[must_use]
    pub fn weight(&self, sigma: f64) -> f64 {
        let product = sigma * self.sigma_data;
        ((sigma * sigma + self.sigma_data * self.sigma_data) / (product * product))
            .min(self.min_snr_gamma)
    }

    /// Weighted squared error of `denoiser` on each item of `clean: [B, T, C]` under `sigma` times its unit `noise: [B, T,
    /// C]`: against the clean clips, or, with a `teacher`, against what that says of the noisy ones
    /// [distillation: Meng et al. 2023, Eq. 4]. The result is `[B]` with a gradient; its mean is the loss.
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn losses(
        &self,
        denoiser: &dyn Denoiser,
        teacher: Option<&dyn Denoiser>,
        clean: &Tensor,
        cond: &Conditioning,
        sigmas: &[f64],
        noise: &Tensor,
    ) -> Result<Tensor> {
        let b = clean.dim(0)?;
        let device = clean.device();
        let column = |values: Vec<f32>| Tensor::from_vec(values, (b, 1, 1), device);
        let levels: Vec<f32> = sigmas.iter().map(|&s| s as f32).collect();
        let sigma = column(levels.clone())?;
        let noisy = (clean + noise.broadcast_mul(&sigma)?)?;
        let levels = Tensor::from_vec(levels, b, &Device::Cpu)?;
        let wanted = match teacher {
            Some(teacher) => teacher.denoise(&noisy, &levels, cond)?.detach(),
            None => clean.clone(),
        };
        let error = (denoiser.denoise(&noisy, &levels, cond)? - wanted)?;
        let weight = column(sigmas.iter().map(|&s| self.weight(s) as f32).collect())?;
        Ok(error
            .sqr()?
            .mean_keepdim((1, 2))?
            .broadcast_mul(&weight)?
            .reshape(b)?)
    }
}

/// JSON has no infinity: `null` stands for it.
mod maybe_infinite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Scalings;
    use crate::noise::unit_noise;

    #[test]
    fn sigmas_are_stratified_and_log_normal() {
        let objective = Objective::new(Target::X, 1.0);
        let mut noise = Noise::new(2);
        let sigmas = objective.draw_sigmas(8, &mut noise);
        let score = |s: &f64| (s.ln() - 0.3) / 1.4;
        // Eighths of the normal distribution: the median parts item 3 from item 4.
        assert!(sigmas.windows(2).all(|w| w[0] < w[1]));
        assert!(score(&sigmas[3]) < 0.0 && score(&sigmas[4]) > 0.0);
        let logs: Vec<f64> = (0..500)
            .flat_map(|_| objective.draw_sigmas(8, &mut noise))
            .map(|s| s.ln())
            .collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let deviation =
            (logs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / logs.len() as f64).sqrt();
        assert!(
            (mean - 0.3).abs() < 0.02 && (deviation - 1.4).abs() < 0.03,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn weight_times_c_out_squared_is_one() {
        for target in [Target::Edm, Target::V] {
            let objective = Objective::new(target, 0.5);
            for sigma in [0.01, 0.5, 7.0] {
                let c_out = Scalings::at(sigma, 0.5, target).c_out;
                assert!((objective.weight(sigma) * c_out * c_out - 1.0).abs() < 1e-9);
            }
        }
        assert_eq!(Objective::new(Target::X, 1.0).weight(0.001), 12.0);
    }

    /// The best denoiser of unit normal data errs by sigma²/(1+sigma²) in the mean: weighted, by one.
    #[test]
    fn the_best_denoiser_of_normal_data_has_unit_loss() -> Result<()> {
        struct Best;
        impl Denoiser for Best {
            fn denoise(&self, x: &Tensor, sigma: &Tensor, _: &Conditioning) -> Result<Tensor> {
                let gain = ((sigma.sqr()? + 1.0)?)
                    .recip()?
                    .reshape((sigma.dims()[0], 1, 1))?;
                Ok(x.broadcast_mul(&gain)?)
            }
        }
        let clean = Noise::new(1).normal_tensor((4, 100, 100), &Device::Cpu)?;
        let cond = Conditioning::new(&[None; 4], &[], &Device::Cpu)?;
        let mut noises: Vec<Noise> = (0..4).map(|i| Noise::at(7, &[i])).collect();
        let objective = Objective::new(Target::Edm, 1.0);
        let losses = objective.losses(
            &Best,
            None,
            &clean,
            &cond,
            &[0.2, 0.7, 2.0, 9.0],
            &unit_noise(&mut noises, 100, 100, &Device::Cpu)?,
        )?;
        assert_eq!(losses.dims(), [4]);
        let loss = losses.mean_all()?.to_scalar::<f32>()?;
        assert!((loss - 1.0).abs() < 0.02, "{loss}");
        Ok(())
    }

    #[test]
    fn an_infinite_clip_survives_json() {
        let objective = Objective::new(Target::V, 1.0);
        let json = serde_json::to_string(&objective).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Objective>(&json).expect("its own output"),
            objective
        );
    }
}
