//! The optimizer, its learning-rate curve, and the slow average of the weights.

use std::collections::BTreeMap;

use audiodiff_kernels::{AdamStep, adam_step, follow, sum_of_squares};
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::Parameters;

/// AdamW's numbers [Loshchilov & Hutter 2019].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second.
    pub epsilon: f64,
    /// Shrinks the weights by this times the learning rate at each step.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient, in running means of it; longer ones are scaled down to that. Steps are the
    /// same whatever a loss is multiplied by, so a bound in its own units would mean another thing for each: it would
    /// level all steps of one that is large, and none of one that is small.
    #[serde(alias = "clip_ratio")]
    pub max_grad_norm_ratio: f64,
}

/// How much of the running mean of the norm's logarithm is new in each step, once there were as many.
const NORM_RATE: f64 = 0.02;

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm_ratio: 2.0,
        }
    }
}

/// AdamW whose moments can be saved, so that a resumed run goes on exactly.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use audiodiff::Device;
/// use audiodiff::network::Parameters;
/// use audiodiff::optim::{Adam, AdamConfig};
/// use candle_core::Tensor;
///
/// let weights = BTreeMap::from([("w".to_owned(), Tensor::new(&[5f32], &Device::Cpu)?)]);
/// let parameters = Parameters::from_weights(&weights, &Device::Cpu)?;
/// let mut adam = Adam::new(&parameters, AdamConfig::default())?;
/// for _ in 0..300 {
///     let (_, w) = parameters.iter().next().expect("one parameter");
///     let loss = (w.as_tensor() - 2.0)?.sqr()?.sum_all()?;
///     adam.step(&parameters, &loss.backward()?, 0.1)?;
/// }
/// let w = parameters.snapshot()?["w"].to_vec1::<f32>()?[0];
/// assert!((w - 2.0).abs() < 0.02);
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    steps: u64,
    /// Running geometric mean of the gradient's norm; 0 before there was one.
    norm: f64,
    moments: BTreeMap<String, (Tensor, Tensor)>,
}

impl Adam {
    /// Moments of zero for every parameter.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn new(parameters: &Parameters, config: AdamConfig) -> Result<Self> {
        let zeros = |tensor: &Tensor| Tensor::zeros(tensor.shape(), DType::F32, tensor.device());
        let pair = |(name, var): (&str, &candle_core::Var)| {
            Ok((name.to_owned(), (zeros(var)?, zeros(var)?)))
        };
        Ok(Self {
            config,
            steps: 0,
            norm: 0.0,
            moments: parameters.iter().map(pair).collect::<Result<_>>()?,
        })
    }

    /// One step at `learning_rate`; returns the gradient's norm before clipping. A norm that is not
    /// finite changes nothing.
    ///
    /// # Errors
    /// When a gradient has another shape than its parameter.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &GradStore,
        learning_rate: f64,
    ) -> Result<f64> {
        let mut square = 0f64;
        for (_, var) in parameters.iter() {
            if let Some(gradient) = gradients.get(var) {
                square += sum_of_squares(gradient)?;
            }
        }
        let norm = square.sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.steps += 1;
        let AdamConfig {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            max_grad_norm_ratio,
        } = self.config;
        if norm > 0.0 {
            let usual = if self.norm > 0.0 { self.norm } else { norm };
            let rate = NORM_RATE.max(1.0 / self.steps as f64);
            self.norm = (usual.ln() + rate * (norm / usual).ln()).exp();
        }
        let longest = max_grad_norm_ratio * self.norm;
        let power = |beta: f64| beta.powf(self.steps as f64);
        let step = AdamStep {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            step_size: (learning_rate / (1.0 - power(beta1))) as f32,
            root_correction: (1.0 / (1.0 - power(beta2)).sqrt()) as f32,
            epsilon: epsilon as f32,
            decay: (learning_rate * weight_decay) as f32,
            gradient_scale: if norm > longest {
                (longest / norm) as f32
            } else {
                1.0
            },
        };
        for (name, var) in parameters.iter() {
            let (m, v) = &self.moments[name];
            if let Some(gradient) = gradients.get(var) {
                adam_step(var, gradient, m, v, step)?;
            }
        }
        Ok(norm)
    }

    /// Steps taken, the running mean of the gradient's norm, and the moments, named `m.…` and `v.…`: to be saved.
    #[must_use]
    pub fn state(&self) -> (u64, f64, BTreeMap<String, Tensor>) {
        let named = |(name, (m, v)): (&String, &(Tensor, Tensor))| {
            [
                (format!("m.{name}"), m.clone()),
                (format!("v.{name}"), v.clone()),
            ]
        };
        let moments = self.moments.iter().flat_map(named).collect();
        (self.steps, self.norm, moments)
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`Error::Setting`] when a tensor is missing or of another shape.
    pub fn restore(
        &mut self,
        steps: u64,
        norm: f64,
        state: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        if !(norm >= 0.0 && norm.is_finite()) {
            return Err(Error::setting(format!(
                "the training state's norm of the gradient: expected 0 or more, found {norm}"
            )));
        }
        for (name, (m, v)) in &self.moments {
            copy_named(state, "m", name, m)?;
            copy_named(state, "v", name, v)?;
        }
        (self.steps, self.norm) = (steps, norm);
        Ok(())
    }
}

/// Fills `target` from the saved tensor `prefix.name`.
fn copy_named(
    state: &BTreeMap<String, Tensor>,
    prefix: &str,
    name: &str,
    target: &Tensor,
) -> Result<()> {
    let key = format!("{prefix}.{name}");
    let saved = state
        .get(&key)
        .ok_or_else(|| Error::setting(format!("the training state lacks `{key}`")))?;
    if saved.dims() != target.dims() {
        let (expected, found) = (target.dims(), saved.dims());
        return Err(Error::setting(format!(
            "the training state's `{key}`: expected {expected:?}, found {found:?}"
        )));
    }
    if target.rank() == 0 {
        return Err(Error::setting(format!(
            "the training state's `{key}` is a scalar"
        )));
    }
    Ok(target.slice_set(&saved.to_device(target.device())?.contiguous()?, 0, 0)?)
}

/// Power-function average of the weights: its profile keeps its shape as training grows
/// [EDM2, Eq. 4].
///
/// ```
/// # use std::collections::BTreeMap;
/// # use audiodiff::Device;
/// # use audiodiff::network::Parameters;
/// # use candle_core::Tensor;
/// use audiodiff::optim::Ema;
///
/// # let weights = BTreeMap::from([("w".to_owned(), Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)?)]);
/// # let parameters = Parameters::from_weights(&weights, &Device::Cpu)?;
/// let mut ema = Ema::new(&parameters, 6.94)?;
/// for step in 1..=100u64 {
///     let (_, w) = parameters.iter().next().expect("one parameter");
///     w.set(&Tensor::new(&[step as f32], &Device::Cpu)?)?;
///     ema.update(&parameters, step)?;
/// }
/// // The average of a ramp lags by (gamma + 1)/(gamma + 2).
/// let average = ema.weights()["w"].to_vec1::<f32>()?[0];
/// assert!((average / 100.0 - 7.94 / 8.94).abs() < 0.01);
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug)]
pub struct Ema {
    gamma: f64,
    average: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Follows from the present weights; `gamma` 6.94 averages over about 10% of the training, 16.97
    /// over 5%.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn new(parameters: &Parameters, gamma: f64) -> Result<Self> {
        Ok(Self {
            gamma,
            average: parameters.snapshot()?,
        })
    }

    /// Takes in the weights after step `t`, counted from 1: `beta = (1 - 1/t)^(gamma + 1)`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn update(&mut self, parameters: &Parameters, t: u64) -> Result<()> {
        let keep = (1.0 - 1.0 / t as f64).powf(self.gamma + 1.0);
        for (name, var) in parameters.iter() {
            follow(&self.average[name], var, keep as f32)?;
        }
        Ok(())
    }

    /// The averaged weights.
    #[must_use]
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.average
    }

    /// Goes on from saved averages, named `ema.…`.
    ///
    /// # Errors
    /// [`Error::Setting`] when a tensor is missing or of another shape.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.average
            .iter()
            .try_for_each(|(name, average)| copy_named(state, "ema", name, average))
    }
}

/// Warm-up, plateau, and a straight line to zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// Height of the plateau.
    pub peak: f64,
    /// Steps from zero to the peak.
    pub warmup: u64,
    /// Fraction of the training, at its end, that decays to zero.
    pub decay: f64,
}

impl LearningRate {
    /// The rate for step `step`, counted from 0, when `progress` in `[0, 1]` of the training is done.
    #[must_use]
    pub fn at(&self, step: u64, progress: f64) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let left = if self.decay > 0.0 {
            ((1.0 - progress) / self.decay).clamp(0.0, 1.0)
        } else {
            1.0
        };
        self.peak * warm * left
    }

    /// Whether the rate falls, or never does, when `progress` in `[0, 1]` of the training is done.
    #[must_use]
    pub fn falls(&self, progress: f64) -> bool {
        self.decay <= 0.0 || progress > 1.0 - self.decay
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn one_weight(value: f32) -> Result<Parameters> {
        let weights = BTreeMap::from([("w".to_owned(), Tensor::new(&[value, 0.0], &Device::Cpu)?)]);
        Parameters::from_weights(&weights, &Device::Cpu)
    }

    fn value(parameters: &Parameters) -> Result<f32> {
        Ok(parameters.snapshot()?["w"].to_vec1::<f32>()?[0])
    }

    #[test]
    fn adam_finds_the_minimum_of_a_parabola() -> Result<()> {
        let parameters = one_weight(5.0)?;
        let mut adam = Adam::new(&parameters, AdamConfig::default())?;
        let var = parameters.iter().next().expect("one parameter").1;
        let mut first = 0.0;
        for i in 0..300 {
            let loss = (var.as_tensor() - 2.0)?.narrow(0, 0, 1)?.sqr()?.sum_all()?;
            let norm = adam.step(&parameters, &loss.backward()?, 0.1)?;
            if i == 0 {
                first = norm;
            }
        }
        assert_eq!(first, 6.0);
        assert!((value(&parameters)? - 2.0).abs() < 0.02);
        Ok(())
    }

    /// One weight after steps along gradients of these sizes.
    fn stepped(gradients: &[f64], max_grad_norm_ratio: f64) -> Result<f32> {
        let parameters = one_weight(0.0)?;
        let config = AdamConfig {
            max_grad_norm_ratio,
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(&parameters, config)?;
        let var = parameters.iter().next().expect("one parameter").1;
        for &size in gradients {
            let loss = (var.as_tensor() * size)?.narrow(0, 0, 1)?.sum_all()?;
            adam.step(&parameters, &loss.backward()?, 0.1)?;
        }
        value(&parameters)
    }

    #[test]
    fn only_a_gradient_that_stands_out_is_clipped_whatever_its_unit() -> Result<()> {
        let usual = [1.0, 1.5, 0.7, 1.0, 1.9, 0.6, 1.0];
        let after = |last: f64, unit: f64, ratio: f64| {
            let gradients = usual.into_iter().chain([last]).map(|size| size * unit);
            stepped(&gradients.collect::<Vec<_>>(), ratio)
        };
        for last in [1.0, 1.8, 50.0] {
            let (one, large) = (after(last, 1.0, 2.0)?, after(last, 4096.0, 2.0)?);
            assert!((one - large).abs() < 1e-5, "{last}: {one} {large}");
        }
        assert_eq!(after(1.8, 1.0, 2.0)?, after(1.8, 1.0, 1e9)?);
        // A spike is cut to twice the mean of all, itself included.
        let mean = (usual.into_iter().chain([50.0]).map(f64::ln).sum::<f64>() / 8.0).exp();
        let (spike, cut) = (after(50.0, 1.0, 2.0)?, after(2.0 * mean, 1.0, 1e9)?);
        assert!((spike - cut).abs() < 1e-5, "{spike} {cut}");
        assert!((spike - after(50.0, 1.0, 1e9)?).abs() > 1e-2);
        Ok(())
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() -> Result<()> {
        let parameters = one_weight(5.0)?;
        let mut adam = Adam::new(&parameters, AdamConfig::default())?;
        let var = parameters.iter().next().expect("one parameter").1;
        let loss = (var.as_tensor() * f64::NAN)?.sum_all()?;
        assert!(adam.step(&parameters, &loss.backward()?, 0.1)?.is_nan());
        assert_eq!((value(&parameters)?, adam.state().0), (5.0, 0));
        Ok(())
    }

    #[test]
    fn power_average_of_a_ramp_lags_by_its_profile() -> Result<()> {
        // For beta_t = (1-1/t)^(g+1), the average of the ramp w_t = t tends to t·(g+1)/(g+2).
        let parameters = one_weight(0.0)?;
        let mut ema = Ema::new(&parameters, 6.94)?;
        for t in 1..=400u64 {
            let var = parameters.iter().next().expect("one parameter").1;
            var.set(&Tensor::new(&[t as f32, 0.0], &Device::Cpu)?)?;
            ema.update(&parameters, t)?;
        }
        let average = f64::from(ema.weights()["w"].to_vec1::<f32>()?[0]) / 400.0;
        assert!((average - 7.94 / 8.94).abs() < 0.003, "{average}");
        Ok(())
    }

    #[test]
    fn learning_rate_rises_holds_and_falls_to_zero() {
        let rate = LearningRate {
            peak: 2.0,
            warmup: 4,
            decay: 0.4,
        };
        assert_eq!(rate.at(0, 0.0), 0.5);
        assert_eq!(rate.at(100, 0.5), 2.0);
        assert!((rate.at(100, 0.8) - 1.0).abs() < 1e-12);
        assert_eq!(rate.at(100, 1.0), 0.0);
        assert!(!rate.falls(0.6) && rate.falls(0.601));
        assert!(LearningRate { decay: 0.0, ..rate }.falls(0.0));
    }
}
