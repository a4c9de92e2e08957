//! From noise to sound: the samplers.
//!
//! Everything is said in sigma: `x` is a clip plus `sigma` times unit noise, and the path along which
//! noise turns into sound obeys `dx/dsigma = (x - D(x, sigma)) / sigma` [EDM, Eq. 1 and 3]. Samplers
//! differ in what they make of the guesses `D` so far, and in whether they put some fresh noise back.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::diffusion::Denoiser;
use crate::diffusion::consistency::Consistency;
use crate::diffusion::schedule::PURE_NOISE;
use crate::error::{Error, Result};
use crate::network::Conditioning;
use crate::noise::Noise;

/// A way to follow the noise levels down to a sound.
///
/// Files and flags write the names that [`Sampler::name`] gives; `v-ddim`, `v-ddpm` and `iplms`, as users of Dance
/// Diffusion know them, are `ddim`, `ancestral` and `ipndm`: said in sigma, they are the same steps. All samplers take their step to
/// zero the same way, but for [`Sampler::IplmsReference`]: they land on the denoiser's guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sampler {
    /// Along the slope at the start of each step; first order [EDM, Alg. 1 without lines 6 to 8].
    Euler,
    /// Along the mean of the slopes at both ends of each step; second order, at two evaluations
    /// a step [EDM, Alg. 1].
    Heun,
    /// Towards the guess, in proportion: `x ← r x + (1 - r) D` with `r = sigma' / sigma`
    /// [DDIM, Eq. 12 with no added noise].
    ///
    /// In sigma this is the same step as [`Sampler::Euler`], regrouped: both give the same sound up to
    /// rounding. It is here because that is the name by which many know it.
    Ddim,
    /// A first-order step to less noise than asked for, the rest filled up with fresh noise
    /// [DDPM; DDIM, Eq. 16 with eta 1].
    Ancestral,
    /// DPM-Solver++(2M): towards a guess extrapolated from the last two; second order at one evaluation a
    /// step, best on [`Schedule::LogSnr`](super::schedule::Schedule::LogSnr) [DPM-Solver++, Alg. 2].
    DpmPp2m,
    /// The same with fresh noise in every step, which corrects earlier errors and wants many steps
    /// [DPM-Solver++, SDE-DPM-Solver++(2M)].
    DpmPp2mSde,
    /// Along a slope extrapolated from up to four; the best of these at few steps
    /// [PNDM's linear multistep method, begun as DEIS's iPNDM does].
    Ipndm,
    /// [`Sampler::Ipndm`] as `v-diffusion` and `diffusers` have it, to the digit: they cannot tell what pure noise hides
    /// and take it for silence in the first step, and extrapolate the last. To compare with them; worse to hear.
    IplmsReference,
    /// To the guess, and back to the next level with fresh noise: for models tuned to say where a path ends, in one
    /// to four steps [Song et al. 2023, Alg. 1].
    Consistency,
}

impl Sampler {
    /// Every sampler, in the order of the help text.
    pub const ALL: [Sampler; 9] = [
        Sampler::Euler,
        Sampler::Heun,
        Sampler::Ddim,
        Sampler::Ancestral,
        Sampler::DpmPp2m,
        Sampler::DpmPp2mSde,
        Sampler::Ipndm,
        Sampler::IplmsReference,
        Sampler::Consistency,
    ];

    /// The name in files and flags.
    pub fn name(self) -> &'static str {
        match self {
            Sampler::Euler => "euler",
            Sampler::Heun => "heun",
            Sampler::Ddim => "ddim",
            Sampler::Ancestral => "ancestral",
            Sampler::DpmPp2m => "dpmpp-2m",
            Sampler::DpmPp2mSde => "dpmpp-2m-sde",
            Sampler::Ipndm => "ipndm",
            Sampler::IplmsReference => "iplms-reference",
            Sampler::Consistency => "consistency",
        }
    }

    /// How often the denoiser is evaluated in `steps` steps that ends in zero.
    pub fn evaluations(self, steps: usize) -> usize {
        match self {
            Sampler::Heun => (2 * steps).saturating_sub(1),
            _ => steps,
        }
    }

    /// Whether sampling itself draws noise, so that one starting point has many ends.
    pub fn is_stochastic(self) -> bool {
        matches!(
            self,
            Sampler::Ancestral | Sampler::DpmPp2mSde | Sampler::Consistency
        )
    }

    /// Walks `x: [B, T, C]`, which is at noise level `sigmas[0]`, down to the last level, and returns it.
    ///
    /// `sigmas` falls strictly; its end is usually zero, but need not be. A stochastic sampler draws
    /// item `b`'s noise from `noises[b]`, so that an item's sound does not depend on its batch; the
    /// others leave `noises` alone, and it may be empty. `on_step` is called once a step, after the
    /// denoiser, and may end the sampling.
    ///
    /// # Errors
    /// [`Error::Stopped`] when `on_step` breaks; [`Error::Setting`] for fewer than two levels, or
    /// levels that do not fall; [`Error::Shape`] when `x`, `cond` and `noises` disagree on `B`; and
    /// whatever the denoiser reports.
    pub fn run(
        self,
        denoiser: &dyn Denoiser,
        cond: &Conditioning,
        x: Tensor,
        sigmas: &[f64],
        noises: &mut [Noise],
        on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Tensor> {
        check_sigmas(sigmas)?;
        self.sample(denoiser, cond, x, sigmas, noises, on_step)
    }

    /// Walks `x: [B, T, C]`, sounds without noise, up to `sigmas[0]`: from there, the same sampler comes
    /// back to them, as far as its steps are fine enough [DDIM, Sec. 5.4].
    ///
    /// `sigmas` falls, as for [`Sampler::run`]; a zero at its end is passed over.
    ///
    /// # Errors
    /// As for [`Sampler::run`]; and [`Error::Setting`] for a stochastic sampler, which comes back to
    /// another sound each time.
    pub fn invert(
        self,
        denoiser: &dyn Denoiser,
        cond: &Conditioning,
        x: Tensor,
        sigmas: &[f64],
        on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Tensor> {
        check_sigmas(sigmas)?;
        if self.is_stochastic() {
            return Err(Error::setting(format!(
                "sampler: expected one that draws no noise to find a sound's beginning, found {self}"
            )));
        }
        // At the lowest level, a sound is as good as one with that little noise.
        let mut rising: Vec<f64> = sigmas.iter().copied().filter(|&s| s > 0.0).collect();
        rising.reverse();
        self.sample(denoiser, cond, x, &rising, &mut [], on_step)
    }

    fn sample(
        self,
        denoiser: &dyn Denoiser,
        cond: &Conditioning,
        mut x: Tensor,
        sigmas: &[f64],
        noises: &mut [Noise],
        on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Tensor> {
        let (batch, frames, width) = x.dims3()?;
        expect_batch("conditioning of a batch", batch, cond.batch())?;
        if self.is_stochastic() {
            expect_batch("noise generators of a batch", batch, noises.len())?;
        }
        let denoise = |x: &Tensor, sigma: f64| -> Result<Tensor> {
            let sigma = Tensor::full(sigma as f32, batch, x.device())?;
            // Where weights are being trained, every guess drags its graph along: sampling needs none.
            Ok(denoiser.denoise(x, &sigma, cond)?.detach())
        };
        // What the multistep samplers remember: earlier guesses or slopes, newest first.
        let mut past: VecDeque<Tensor> = VecDeque::new();

        for index in 0..sigmas.len() - 1 {
            let (sigma, next) = (sigmas[index], sigmas[index + 1]);
            let mut denoised = denoise(&x, sigma)?;
            if self == Sampler::Consistency {
                let kept = Consistency::kept(sigma);
                denoised = weighted_sum(&[(kept, &x), (1.0 - kept, &denoised)])?;
            }
            let step = Step {
                index,
                of: sigmas.len() - 1,
                sigma,
                x: &x,
                denoised: &denoised,
            };
            if on_step(&step).is_break() {
                return Err(Error::Stopped);
            }
            if next == 0.0 && self != Sampler::IplmsReference {
                // Of all orders, the first is the one that is stable here: its step ends in D itself.
                x = denoised;
                continue;
            }
            x = match self {
                // Of two numbers as large as pure noise, the difference says nothing.
                Sampler::Euler | Sampler::Heun if sigma >= PURE_NOISE => {
                    towards(&x, &denoised, next / sigma)?
                }
                Sampler::Euler => {
                    let d = slope(&x, &denoised, sigma)?;
                    weighted_sum(&[(1.0, &x), (next - sigma, &d)])?
                }
                Sampler::Heun => {
                    let d = slope(&x, &denoised, sigma)?;
                    let h = next - sigma;
                    let euler = weighted_sum(&[(1.0, &x), (h, &d)])?;
                    let d_end = slope(&euler, &denoise(&euler, next)?, next)?;
                    weighted_sum(&[(1.0, &x), (h / 2.0, &d), (h / 2.0, &d_end)])?
                }
                Sampler::Ddim => towards(&x, &denoised, next / sigma)?,
                Sampler::Ancestral => {
                    let noise = unit_noise(noises, frames, width, x.device())?;
                    towards_with_noise(&x, &denoised, sigma, next, &noise)?
                }
                Sampler::DpmPp2m | Sampler::DpmPp2mSde => {
                    let guess = match past.front() {
                        Some(previous) => {
                            extrapolate(&denoised, previous, &sigmas[index - 1..index + 2])?
                        }
                        None => denoised.clone(),
                    };
                    past = VecDeque::from([denoised]);
                    if self.is_stochastic() {
                        let noise = unit_noise(noises, frames, width, x.device())?;
                        towards_with_noise(&x, &guess, sigma, next, &noise)?
                    } else {
                        towards(&x, &guess, next / sigma)?
                    }
                }
                Sampler::Consistency => {
                    let noise = unit_noise(noises, frames, width, x.device())?;
                    weighted_sum(&[(1.0, &denoised), (next, &noise)])?
                }
                Sampler::Ipndm | Sampler::IplmsReference => {
                    past.push_front(slope(&x, &denoised, sigma)?);
                    if sigma >= PURE_NOISE {
                        let guess = match self {
                            Sampler::Ipndm => denoised,
                            _ => denoised.zeros_like()?,
                        };
                        x = towards(&x, &guess, next / sigma)?;
                        continue;
                    }
                    past.truncate(ADAMS_BASHFORTH.len());
                    let weights = ADAMS_BASHFORTH[past.len() - 1];
                    let mut terms = vec![(1.0, &x)];
                    terms.extend(
                        weights
                            .iter()
                            .zip(&past)
                            .map(|(w, d)| (w * (next - sigma), d)),
                    );
                    weighted_sum(&terms)?
                }
            };
        }
        Ok(x)
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // What users of Dance Diffusion know the same steps as.
        let name = match text {
            "v-ddim" => "ddim",
            "v-ddpm" => "ancestral",
            "iplms" => "ipndm",
            other => other,
        };
        let found = Self::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Sampler::name).join(", ");
            Error::setting(format!("unknown sampler {text:?}: expected one of {names}"))
        })
    }
}

impl TryFrom<String> for Sampler {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Sampler> for String {
    fn from(sampler: Sampler) -> Self {
        sampler.name().to_owned()
    }
}

/// One step of a sampling, as `on_step` sees it.
#[derive(Debug)]
pub struct Step<'a> {
    /// Which step, from 0.
    pub index: usize,
    /// How many steps there are.
    pub of: usize,
    /// The noise level of `x`.
    pub sigma: f64,
    /// `[B, T, C]`, the noisy clip before this step.
    pub x: &'a Tensor,
    /// `[B, T, C]`, the denoiser's guess from there.
    pub denoised: &'a Tensor,
}

/// Standard normal noise `[B, T, C]`, item `b` from `noises[b]`: the same for an item in any batch.
///
/// # Errors
/// When the device refuses the memory.
pub fn unit_noise(
    noises: &mut [Noise],
    frames: usize,
    width: usize,
    device: &Device,
) -> Result<Tensor> {
    let shape = (noises.len(), frames, width);
    let rows: Vec<Vec<f32>> = noises
        .par_iter_mut()
        .map(|noise| noise.normals(frames * width))
        .collect();
    Ok(Tensor::from_vec(rows.concat(), shape, device)?)
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

/// `dx/dsigma` [EDM, Alg. 1, line 4].
fn slope(x: &Tensor, denoised: &Tensor, sigma: f64) -> Result<Tensor> {
    // Subtracted before scaled: at low noise the two are close, and their difference is then exact.
    Ok(((x - denoised)? * (1.0 / sigma))?)
}

/// `keep · x + (1 - keep) · guess`: the exact step if the guess stayed what it is.
fn towards(x: &Tensor, guess: &Tensor, keep: f64) -> Result<Tensor> {
    weighted_sum(&[(keep, x), (1.0 - keep, guess)])
}

/// The same for the stochastic path: twice as far towards the guess in `log sigma`, and back up to
/// level `next` with fresh noise.
///
/// In the terms of ancestral sampling, `sigma_down = next² / sigma`, `sigma_up² = next² - sigma_down²`.
fn towards_with_noise(
    x: &Tensor,
    guess: &Tensor,
    sigma: f64,
    next: f64,
    noise: &Tensor,
) -> Result<Tensor> {
    let keep = (next / sigma).powi(2);
    let sigma_up = next * (1.0 - keep).sqrt();
    weighted_sum(&[(keep, x), (1.0 - keep, guess), (sigma_up, noise)])
}

/// The guess to use over the step from `sigmas[1]` to `sigmas[2]`: the line through the last two in
/// `log sigma`, taken at the step's middle. `previous` was made at `sigmas[0]`.
fn extrapolate(denoised: &Tensor, previous: &Tensor, sigmas: &[f64]) -> Result<Tensor> {
    let h_previous = (sigmas[0] / sigmas[1]).ln();
    let h = (sigmas[1] / sigmas[2]).ln();
    let excess = h / (2.0 * h_previous);
    weighted_sum(&[(1.0 + excess, denoised), (-excess, previous)])
}

/// `Σ weight · tensor`, in as few passes as the tensor library has; never empty.
fn weighted_sum(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let scaled = |&(weight, tensor): &(f64, &Tensor)| match weight {
        1.0 => Ok(tensor.clone()),
        _ => tensor.affine(weight, 0.0),
    };
    let (first, rest) = terms.split_first().expect("a sum has a term");
    let sum = rest
        .iter()
        .try_fold(scaled(first)?, |sum, term| sum + scaled(term)?)?;
    Ok(sum)
}

fn check_sigmas(sigmas: &[f64]) -> Result<()> {
    let falls = sigmas
        .windows(2)
        .all(|pair| pair[1] >= 0.0 && pair[0] > pair[1]);
    if sigmas.len() < 2 || !falls || !sigmas[0].is_finite() {
        return Err(Error::setting(format!(
            "sampling needs at least two noise levels, strictly falling and none below zero, not {}",
            match sigmas.len() {
                0 => "none".to_owned(),
                1..=12 => format!("{sigmas:?}"),
                n => format!("these {n}, which begin with {:?}", &sigmas[..12]),
            }
        )));
    }
    Ok(())
}

fn expect_batch(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Shape {
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}
