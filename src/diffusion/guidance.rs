//! Classifier-free guidance: more of what makes a class that class.

use candle_core::Tensor;

use crate::diffusion::{Denoiser, values};
use crate::error::{Error, Result};
use crate::network::Conditioning;

/// A denoiser pushed away from the classless guess: `D_none + weight · (D_class - D_none)`
/// [Ho & Salimans 2022, Eq. 6, with their `w` being `weight - 1`].
///
/// Only for `sigma` in `(low, high]`, the plain class guess elsewhere: guidance at high noise takes
/// variety, at low noise it does nothing but cost [Kynkäänniemi et al. 2024].
pub struct Guided<'a> {
    denoiser: &'a dyn Denoiser,
    weight: f64,
    interval: (f64, f64),
}

impl std::fmt::Debug for Guided<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guided")
            .field("weight", &self.weight)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl<'a> Guided<'a> {
    /// Guides `denoiser` by `weight` for noise levels above `interval.0` up to `interval.1`.
    ///
    /// Weight 1 changes nothing, 0 ignores the class, 1.5 to 2 is usual. `(0, f64::INFINITY)` is
    /// guidance everywhere.
    ///
    /// # Errors
    /// [`Error::Setting`] when the weight is not finite, or the interval is not `0 <= low <= high`.
    pub fn new(denoiser: &'a dyn Denoiser, weight: f64, interval: (f64, f64)) -> Result<Self> {
        if !weight.is_finite() {
            return Err(Error::setting(format!(
                "the guidance weight must be a finite number, not {weight}"
            )));
        }
        if !(interval.0 >= 0.0 && interval.0 <= interval.1) {
            return Err(Error::setting(format!(
                "the guidance interval must run from a noise level of at least 0 to a higher one, \
                 not from {} to {}",
                interval.0, interval.1
            )));
        }
        Ok(Self {
            denoiser,
            weight,
            interval,
        })
    }

    /// The weight of each item, 1 where the two guesses do not differ in a way that counts: at its noise level,
    /// for its class.
    fn weights(&self, sigma: &Tensor, cond: &Conditioning) -> Result<Vec<f32>> {
        let sigmas = sigma.to_vec1::<f32>()?;
        let classes = cond.classes.to_vec1::<u32>()?;
        let weight = |(&sigma, &class): (&f32, &u32)| {
            let inside = f64::from(sigma) > self.interval.0 && f64::from(sigma) <= self.interval.1;
            if inside && class != 0 {
                self.weight as f32
            } else {
                1.0
            }
        };
        Ok(sigmas.iter().zip(&classes).map(weight).collect())
    }
}

impl Denoiser for Guided<'_> {
    /// As the denoiser inside, which sees both halves in one batch of `2B` where guidance applies to any item.
    fn denoise(&self, x: &Tensor, sigma: &Tensor, cond: &Conditioning) -> Result<Tensor> {
        let weights = self.weights(sigma, cond)?;
        if weights.iter().all(|&weight| weight == 1.0) {
            return self.denoiser.denoise(x, sigma, cond);
        }
        let batch = x.dims3()?.0;
        let none = cond.without_class()?;
        let both = Conditioning {
            classes: Tensor::cat(&[&cond.classes, &none.classes], 0)?,
            descriptors: Tensor::cat(&[&cond.descriptors, &none.descriptors], 0)?,
            attributes: cond.attributes,
        };
        let x = Tensor::cat(&[x, x], 0)?; // [2B, T, C]
        let sigma = Tensor::cat(&[sigma, sigma], 0)?; // [2B]
        let guesses = self.denoiser.denoise(&x, &sigma, &both)?;
        let class = guesses.narrow(0, 0, batch)?;
        let none = guesses.narrow(0, batch, batch)?;
        let weights = Tensor::from_vec(weights, (batch, 1, 1), x.device())?;
        // In this form an item without a class gets its one guess to the bit, guided or not.
        let apart = values::difference(&class, &none)?;
        values::sum(&none, &values::product(&apart, &weights)?)
    }
}
