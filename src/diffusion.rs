//! The diffusion core: what a denoiser is, how it is trained, how it is sampled from.

pub mod guidance;
pub mod inpaint;
mod modulation;
pub mod objective;
pub mod sampler;
pub mod schedule;
pub(crate) mod values;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::{Conditioning, Network};
pub use modulation::{Modulation, ModulationSpectrum};

/// `D`: the best guess of the clean clip, given a noisy one and how noisy it is.
///
/// The seam between *how to sample* (samplers) and *what to believe* (networks): whatever denoises can be sampled
/// from, guided and inpainted.
///
/// ```
/// use audiodiff::Result;
/// use audiodiff::diffusion::Denoiser;
/// use audiodiff::network::Conditioning;
/// use candle_core::{Device, Tensor};
///
/// /// The best denoiser of data drawn from N(0, 1): `x / (1 + sigma²)`.
/// struct Gaussian;
///
/// impl Denoiser for Gaussian {
///     fn denoise(&self, x: &Tensor, sigma: &Tensor, _: &Conditioning) -> Result<Tensor> {
///         let gain = (sigma.sqr()? + 1.0)?.recip()?.reshape((sigma.dims()[0], 1, 1))?;
///         Ok(x.broadcast_mul(&gain)?)
///     }
/// }
///
/// // Two clips of one value, at noise levels 1 and 3.
/// let x = Tensor::new(&[[[4f32]], [[5.0]]], &Device::Cpu)?;
/// let sigma = Tensor::new(&[1f32, 3.0], &Device::Cpu)?;
/// let cond = Conditioning::new(&[None, None], &[], &Device::Cpu)?;
/// let guess = Gaussian.denoise(&x, &sigma, &cond)?;
/// assert_eq!(guess.flatten_all()?.to_vec1::<f32>()?, [2.0, 0.5]);
/// # Ok::<(), audiodiff::Error>(())
/// ```
pub trait Denoiser {
    /// `x: [B, T, C]` is a clean clip plus `sigma: [B]` times unit noise; returns `[B, T, C]`.
    ///
    /// `sigma` is on the CPU, wherever `x` is: its caller knows it, and no GPU need be waited for to read it.
    ///
    /// # Errors
    /// When the shapes disagree.
    fn denoise(&self, x: &Tensor, sigma: &Tensor, cond: &Conditioning) -> Result<Tensor>;
}

/// The quantity that the raw network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Target {
    /// The clean clip itself [Salimans & Ho 2022, §4]. Best where most frames are silence.
    #[default]
    X,
    /// The mixture of clip and noise that has unit variance at every sigma [EDM, Eq. 7-8].
    Edm,
    /// The velocity `v = alpha·noise - s·clip` with `alpha = 1/√(1+sigma²)`, `s = sigma·alpha`
    /// [Salimans & Ho 2022]. In these coordinates it is [`Target::Edm`] with the sign turned.
    V,
}

impl Target {
    /// Every target, in the order help shows them.
    pub const ALL: [Self; 3] = [Self::X, Self::Edm, Self::V];
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::X => "x",
            Self::Edm => "edm",
            Self::V => "v",
        })
    }
}

impl std::str::FromStr for Target {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL
            .into_iter()
            .find(|target| target.to_string() == name);
        known.ok_or_else(|| Error::setting(format!("target: expected x, edm or v, found `{name}`")))
    }
}

/// The four numbers around a raw network `F` at one noise level [EDM, Eq. 7]:
/// `D = c_skip·x + c_out·F(c_in·x, c_noise)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scalings {
    /// How much of the noisy clip passes by the network.
    pub c_skip: f64,
    /// Scales the network's output.
    pub c_out: f64,
    /// Scales the noisy clip to unit variance.
    pub c_in: f64,
    /// The network's noise level for sigma.
    pub c_noise: f64,
}

impl Scalings {
    /// The scalings at `sigma` for data of standard deviation `sigma_data` [EDM, Table 1].
    #[must_use]
    pub fn at(sigma: f64, sigma_data: f64, target: Target) -> Self {
        let total = sigma.hypot(sigma_data);
        let edm = (
            sigma_data * sigma_data / (total * total),
            sigma * sigma_data / total,
        );
        let (c_skip, c_out) = match target {
            Target::X => (0.0, sigma_data),
            Target::Edm => edm,
            Target::V => (edm.0, -edm.1),
        };
        Self {
            c_skip,
            c_out,
            c_in: 1.0 / total,
            c_noise: noise_level(sigma),
        }
    }
}

/// `c_noise = ln(sigma)/4` [EDM, Table 1], finite even for the exact zero that no sampler evaluates.
fn noise_level(sigma: f64) -> f64 {
    sigma.max(1e-6).ln() / 4.0
}

/// What stands around a raw network.
#[derive(Debug)]
#[non_exhaustive]
pub enum Preconditioning {
    /// The same [`Scalings`] for every value.
    Uniform {
        /// Standard deviation of the clean frames; 1 after whitening.
        sigma_data: f64,
        /// The quantity that `F` predicts.
        target: Target,
    },
    /// Scalings for each coefficient of the modulation spectrum.
    Modulation(Modulation),
}

/// A network with what stands around it: a [`Denoiser`].
#[derive(Debug)]
pub struct Preconditioned<N> {
    /// The raw network `F`.
    pub network: N,
    /// How `D` is made of it.
    pub preconditioning: Preconditioning,
}

impl<N: Network> Denoiser for Preconditioned<N> {
    fn denoise(&self, x: &Tensor, sigma: &Tensor, cond: &Conditioning) -> Result<Tensor> {
        let (sigma_data, target) = match &self.preconditioning {
            &Preconditioning::Uniform { sigma_data, target } => (sigma_data, target),
            Preconditioning::Modulation(modulation) => {
                return modulation.denoise(&self.network, x, sigma, cond);
            }
        };
        let scalings: Vec<Scalings> = sigma
            .to_vec1::<f32>()?
            .iter()
            .map(|&s| Scalings::at(f64::from(s), sigma_data, target))
            .collect();
        let batch = scalings.len();
        let column = |f: fn(&Scalings) -> f64| -> Result<Tensor> {
            let values: Vec<f32> = scalings.iter().map(|s| f(s) as f32).collect();
            Ok(Tensor::from_vec(values, (batch, 1, 1), x.device())?)
        };
        let c_noise = column(|s| s.c_noise)?.reshape(batch)?;
        let f = self
            .network
            .forward(&values::product(x, &column(|s| s.c_in)?)?, &c_noise, cond)?;
        let guess = values::product(&f, &column(|s| s.c_out)?)?;
        if target == Target::X {
            return Ok(guess);
        }
        values::sum(&guess, &values::product(x, &column(|s| s.c_skip)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_inputs_and_targets_have_unit_variance() {
        for target in Target::ALL {
            for sigma in [0.01, 0.3, 1.0, 20.0] {
                let (sd, s) = (0.7, Scalings::at(sigma, 0.7, target));
                let input = s.c_in * s.c_in * (sd * sd + sigma * sigma);
                // F should predict (clip - c_skip·(clip + noise)) / c_out.
                let clip = (1.0 - s.c_skip) * sd;
                let noise = s.c_skip * sigma;
                let output = (clip * clip + noise * noise) / (s.c_out * s.c_out);
                assert!(
                    (input - 1.0).abs() < 1e-12 && (output - 1.0).abs() < 1e-12,
                    "{target} at {sigma}"
                );
            }
        }
    }

    #[test]
    fn v_is_the_velocity_of_the_angle() {
        // x_angle = cos·clip + sin·noise; v = cos·noise - sin·clip; clip = cos·x_angle - sin·v.
        let (sigma, clip, noise) = (0.8f64, 0.3, -1.1);
        let (cos, sin) = (1.0 / sigma.hypot(1.0), sigma / sigma.hypot(1.0));
        let s = Scalings::at(sigma, 1.0, Target::V);
        let v = cos * noise - sin * clip;
        assert!((s.c_skip * (clip + sigma * noise) + s.c_out * v - clip).abs() < 1e-12);
    }

    #[test]
    fn targets_parse_as_they_print() {
        for target in Target::ALL {
            assert_eq!(
                target.to_string().parse::<Target>().expect("its own name"),
                target
            );
        }
        assert!("eps".parse::<Target>().is_err());
    }
}
