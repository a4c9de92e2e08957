//! One function a sampler: each takes `x` from the first noise level to the last.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor};

use super::Step;
use crate::diffusion::Denoiser;
use crate::diffusion::schedule::PURE_NOISE;
use crate::diffusion::values;
use crate::error::{Error, Result};
use crate::network::Conditioning;
use crate::noise::{Noise, unit_noise};

/// Every sampler's inputs: a denoiser with its conditioning, the noise levels, generators of noise and a listener.
pub(super) struct Sampling<'a> {
    pub denoiser: &'a dyn Denoiser,
    pub cond: &'a Conditioning,
    pub sigmas: &'a [f64],
    pub noises: &'a mut [Noise],
    pub on_step: &'a mut dyn FnMut(&Step) -> ControlFlow<()>,
}

/// The start of a step from level `sigma` to level `next`: what the denoiser guesses there.
struct Guess {
    sigma: f64,
    next: f64,
    denoised: Tensor,
}

impl Sampling<'_> {
    /// `D(x, sigma)` for a batch at one level.
    fn denoise(&self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let sigma = Tensor::full(sigma as f32, self.cond.batch(), &Device::Cpu)?;
        // Where weights are being trained, every guess drags its graph along: sampling needs none.
        Ok(self.denoiser.denoise(x, &sigma, self.cond)?.detach())
    }

    /// `[B, T, C]` of fresh noise, shaped as `x`.
    fn noise(&mut self, x: &Tensor) -> Result<Tensor> {
        let (_, frames, width) = x.dims3()?;
        unit_noise(self.noises, frames, width, x.device())
    }

    /// Tells the listener of step `index` from `x` by the guess `denoised`.
    fn report(&mut self, index: usize, x: &Tensor, denoised: &Tensor) -> Result<()> {
        let step = Step {
            index,
            of: self.sigmas.len() - 1,
            sigma: self.sigmas[index],
            x,
            denoised,
        };
        match (self.on_step)(&step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }

    /// Takes `step` from each level to the next; a step to zero ends in the guess itself, whatever the sampler: of all
    /// orders, the first is the one that is stable there, and that is where its step ends.
    fn follow(
        &mut self,
        x: Tensor,
        step: impl FnMut(&mut Self, &Tensor, Guess) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.follow_guesses(x, Self::denoise, step)
    }

    /// [`Sampling::follow`] with another `guess` than the denoiser's.
    fn follow_guesses(
        &mut self,
        mut x: Tensor,
        guess: impl Fn(&Self, &Tensor, f64) -> Result<Tensor>,
        mut step: impl FnMut(&mut Self, &Tensor, Guess) -> Result<Tensor>,
    ) -> Result<Tensor> {
        for index in 0..self.sigmas.len() - 1 {
            let (sigma, next) = (self.sigmas[index], self.sigmas[index + 1]);
            let denoised = guess(self, &x, sigma)?;
            self.report(index, &x, &denoised)?;
            if next == 0.0 {
                return Ok(denoised);
            }
            let guess = Guess {
                sigma,
                next,
                denoised,
            };
            x = step(self, &x, guess)?;
        }
        Ok(x)
    }
}

/// [`Sampler::Euler`](super::Sampler::Euler): `x ← x + (sigma' - sigma) d`, with the slope `d` at `sigma`.
pub(super) fn euler(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    sampling.follow(x, |_, x, at| {
        // The slope is the difference of two numbers as large as pure noise, which has no digit left.
        if at.sigma >= PURE_NOISE {
            return at.towards(x, &at.denoised);
        }
        let d = at.slope(x)?;
        weighted_sum(&[(1.0, x), (at.next - at.sigma, &d)])
    })
}

/// [`Sampler::Heun`](super::Sampler::Heun): Euler's step, then again with the mean of the slopes at both its ends.
pub(super) fn heun(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    sampling.follow(x, |sampling, x, at| {
        if at.sigma >= PURE_NOISE {
            return at.towards(x, &at.denoised);
        }
        let h = at.next - at.sigma;
        let d = at.slope(x)?;
        let euler = weighted_sum(&[(1.0, x), (h, &d)])?;
        let d_end = slope(&euler, &sampling.denoise(&euler, at.next)?, at.next)?;
        weighted_sum(&[(1.0, x), (h / 2.0, &d), (h / 2.0, &d_end)])
    })
}

/// [`Sampler::Ddim`](super::Sampler::Ddim): `x ← r x + (1 - r) D` with `r = sigma' / sigma`.
pub(super) fn ddim(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    sampling.follow(x, |_, x, at| at.towards(x, &at.denoised))
}

/// [`Sampler::Ancestral`](super::Sampler::Ancestral).
pub(super) fn ancestral(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    sampling.follow(x, |sampling, x, at| {
        at.towards_with_noise(x, &at.denoised, &sampling.noise(x)?)
    })
}

/// [`Sampler::DpmPp2m`](super::Sampler::DpmPp2m).
pub(super) fn dpmpp_2m(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    let mut previous = None;
    sampling.follow(x, |_, x, at| {
        let guess = at.extrapolated(previous.as_ref())?;
        let x = at.towards(x, &guess)?;
        previous = Some(at);
        Ok(x)
    })
}

/// [`Sampler::DpmPp2mSde`](super::Sampler::DpmPp2mSde).
pub(super) fn dpmpp_2m_sde(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    let mut previous = None;
    sampling.follow(x, |sampling, x, at| {
        let guess = at.extrapolated(previous.as_ref())?;
        let x = at.towards_with_noise(x, &guess, &sampling.noise(x)?)?;
        previous = Some(at);
        Ok(x)
    })
}

/// [`Sampler::Ipndm`](super::Sampler::Ipndm).
pub(super) fn ipndm(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    let mut slopes = VecDeque::new();
    sampling.follow(x, |_, x, at| {
        slopes.push_front(at.slope(x)?);
        match at.sigma >= PURE_NOISE {
            true => at.towards(x, &at.denoised),
            false => multistep(x, &mut slopes, at.next - at.sigma),
        }
    })
}

/// [`Sampler::IplmsReference`](super::Sampler::IplmsReference): the step to zero is one like the others.
pub(super) fn iplms_reference(sampling: &mut Sampling, mut x: Tensor) -> Result<Tensor> {
    let mut slopes = VecDeque::new();
    for (index, pair) in sampling.sigmas.windows(2).enumerate() {
        let (sigma, next) = (pair[0], pair[1]);
        let denoised = sampling.denoise(&x, sigma)?;
        sampling.report(index, &x, &denoised)?;
        slopes.push_front(slope(&x, &denoised, sigma)?);
        x = match sigma >= PURE_NOISE {
            true => towards(&x, &denoised.zeros_like()?, next / sigma)?,
            false => multistep(&x, &mut slopes, next - sigma)?,
        };
    }
    Ok(x)
}

/// The level at which [`consistency`] keeps half of the noisy clip.
const HALF_KEPT: f64 = 0.05;

/// [`Sampler::Consistency`](super::Sampler::Consistency): `x ← f(x, sigma) + sigma' z` with fresh noise `z`.
///
/// `f = k·x + (1 - k)·D(x, sigma)` with `k = 1/(1 + (sigma/0.05)²)` is where a path ends, as models say that were
/// distilled by consistency tuning [Song et al. 2023, Eq. 5; Geng et al. 2024]: none are made any more.
pub(super) fn consistency(sampling: &mut Sampling, x: Tensor) -> Result<Tensor> {
    let end = |sampling: &Sampling, x: &Tensor, sigma: f64| {
        let kept = 1.0 / (1.0 + (sigma / HALF_KEPT).powi(2));
        weighted_sum(&[(kept, x), (1.0 - kept, &sampling.denoise(x, sigma)?)])
    };
    sampling.follow_guesses(x, end, |sampling, x, at| {
        weighted_sum(&[(1.0, &at.denoised), (at.next, &sampling.noise(x)?)])
    })
}

impl Guess {
    /// The slope at the start of the step.
    fn slope(&self, x: &Tensor) -> Result<Tensor> {
        slope(x, &self.denoised, self.sigma)
    }

    /// [`towards`] the guess over this step.
    fn towards(&self, x: &Tensor, guess: &Tensor) -> Result<Tensor> {
        towards(x, guess, self.next / self.sigma)
    }

    /// The same for the stochastic path: twice as far towards the guess in `log sigma`, and back up to level `next`
    /// with fresh noise.
    ///
    /// In the terms of ancestral sampling, `sigma_down = next² / sigma`, `sigma_up² = next² - sigma_down²`.
    fn towards_with_noise(&self, x: &Tensor, guess: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let keep = (self.next / self.sigma).powi(2);
        let sigma_up = self.next * (1.0 - keep).sqrt();
        weighted_sum(&[(keep, x), (1.0 - keep, guess), (sigma_up, noise)])
    }

    /// The guess to use over this step: the line through the last two in `log sigma`, taken at the step's middle
    /// [DPM-Solver++, Alg. 2]. Of the first step, there is one only.
    fn extrapolated(&self, previous: Option<&Guess>) -> Result<Tensor> {
        let Some(previous) = previous else {
            return Ok(self.denoised.clone());
        };
        let h_previous = (previous.sigma / self.sigma).ln();
        let h = (self.sigma / self.next).ln();
        let excess = h / (2.0 * h_previous);
        let terms = [
            (1.0 + excess, &self.denoised),
            (-excess, &previous.denoised),
        ];
        weighted_sum(&terms)
    }
}

/// `dx/dsigma` [EDM, Alg. 1, line 4].
fn slope(x: &Tensor, denoised: &Tensor, sigma: f64) -> Result<Tensor> {
    // Subtracted before scaled: at low noise the two are close, and their difference is then exact.
    Ok((values::difference(x, denoised)? * (1.0 / sigma))?)
}

/// `keep · x + (1 - keep) · guess`: the exact step if the guess stayed what it is.
fn towards(x: &Tensor, guess: &Tensor, keep: f64) -> Result<Tensor> {
    weighted_sum(&[(keep, x), (1.0 - keep, guess)])
}

/// Weights of the newest to oldest slope in linear multistep methods of order 1 to 4, for equal steps.
///
/// iPNDM uses them on unequal steps as they are: on a smooth noise schedule that costs order, not stability.
const ADAMS_BASHFORTH: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// A step of length `h` along up to four `slopes`, newest first; older ones are forgotten.
fn multistep(x: &Tensor, slopes: &mut VecDeque<Tensor>, h: f64) -> Result<Tensor> {
    slopes.truncate(ADAMS_BASHFORTH.len());
    let weights = ADAMS_BASHFORTH[slopes.len() - 1];
    let mut terms = vec![(1.0, x)];
    terms.extend(weights.iter().zip(&*slopes).map(|(w, d)| (w * h, d)));
    weighted_sum(&terms)
}

/// `Σ weight · tensor`, in as few passes as the tensor library has; never empty.
fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let scaled = |&(weight, tensor): &(f64, &Tensor)| -> Result<Tensor> {
        match weight {
            1.0 => Ok(tensor.clone()),
            _ => Ok(tensor.affine(weight, 0.0)?),
        }
    };
    let (first, rest) = terms.split_first().expect("a sum has a term");
    rest.iter().try_fold(scaled(first)?, |sum, term| {
        values::sum(&sum, &scaled(term)?)
    })
}
