//! From noise to sound: the samplers.
//!
//! Everything is said in sigma: `x` is a clip plus `sigma` times unit noise, and the path along which
//! noise turns into sound obeys `dx/dsigma = (x - D(x, sigma)) / sigma` [EDM, Eq. 1 and 3]. Samplers
//! differ in what they make of the guesses `D` so far, and in whether they put some fresh noise back.

mod solvers;

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::diffusion::Denoiser;
use crate::error::{Error, Result};
use crate::names::meant;
use crate::network::Conditioning;
use crate::noise::Noise;
use solvers::Sampling;

/// A way to follow the noise levels down to a sound.
///
/// Files and flags write the names that [`Sampler::name`] gives; `v-ddim`, `v-ddpm` and `iplms`, as users of Dance
/// Diffusion know them, are `ddim`, `ancestral` and `ipndm`: said in sigma, they are the same steps. All samplers take
/// their step to zero the same way, but for [`Sampler::IplmsReference`]: they land on the denoiser's guess.
///
/// ```
/// use std::ops::ControlFlow;
///
/// use audiodiff::diffusion::Denoiser;
/// use audiodiff::diffusion::sampler::Sampler;
/// use audiodiff::diffusion::schedule::{NoiseSchedule, Schedule};
/// use audiodiff::network::Conditioning;
/// use audiodiff::noise::{Noise, unit_noise};
/// use candle_core::{Device, Tensor};
///
/// /// The best denoiser of clips that are all 3.
/// struct Three;
///
/// impl Denoiser for Three {
///     fn denoise(&self, x: &Tensor, _: &Tensor, _: &Conditioning) -> audiodiff::Result<Tensor> {
///         Ok(Tensor::full(3f32, x.shape(), x.device())?)
///     }
/// }
///
/// let schedule = NoiseSchedule { kind: Schedule::LogSnr, sigma_min: 0.01, sigma_max: 20.0 };
/// let sigmas = schedule.sigmas(8)?;
/// // One clip of 4 frames of 2 values, and what it is conditioned on: nothing.
/// let mut noises = [Noise::new(7)];
/// let x = (unit_noise(&mut noises, 4, 2, &Device::Cpu)? * sigmas[0])?;
/// let cond = Conditioning::new(&[None], &[], &Device::Cpu)?;
/// let end = Sampler::DpmPp2m.run(&Three, &cond, x, &sigmas, &mut noises, &mut |step| {
///     println!("step {} of {}, from noise level {}", step.index + 1, step.of, step.sigma);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(end.flatten_all()?.to_vec1::<f32>()?, [3.0; 8]);
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
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
    /// [PNDM, the linear multistep method; begun as iPNDM of Zhang & Chen 2023].
    Ipndm,
    /// [`Sampler::Ipndm`] as `v-diffusion` and `diffusers` have it, to the digit: they cannot tell what pure noise
    /// hides and take it for silence in the first step, and extrapolate the last. To compare with them; worse to hear.
    IplmsReference,
    /// To the guess, and back to the next level with fresh noise: for models distilled to say where a path ends, in one
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

    /// Samplers as users of Dance Diffusion know them by other names.
    const OF_DANCE_DIFFUSION: [(&'static str, Sampler); 3] = [
        ("v-ddim", Sampler::Ddim),
        ("v-ddpm", Sampler::Ancestral),
        ("iplms", Sampler::Ipndm),
    ];

    /// The name in files and flags.
    #[must_use]
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

    /// How often the denoiser is evaluated in `steps` steps that end in zero.
    #[must_use]
    pub fn evaluations(self, steps: usize) -> usize {
        match self {
            Sampler::Heun => (2 * steps).saturating_sub(1),
            _ => steps,
        }
    }

    /// Whether sampling itself draws noise, so that one starting point has many ends.
    #[must_use]
    pub fn is_stochastic(self) -> bool {
        matches!(
            self,
            Sampler::Ancestral | Sampler::DpmPp2mSde | Sampler::Consistency
        )
    }

    /// Samples: takes `x: [B, T, C]`, which is at noise level `sigmas[0]`, down to the last level, and returns it.
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
        let sampling = Sampling {
            denoiser,
            cond,
            sigmas,
            noises,
            on_step,
        };
        self.sample(sampling, x)
    }

    /// Inverts: takes `x: [B, T, C]`, sounds without noise, up to `sigmas[0]`: from there, the same sampler comes
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
        let sampling = Sampling {
            denoiser,
            cond,
            sigmas: &rising,
            noises: &mut [],
            on_step,
        };
        self.sample(sampling, x)
    }

    fn sample(self, mut sampling: Sampling, x: Tensor) -> Result<Tensor> {
        let batch = x.dims3()?.0;
        expect_batch("conditioning of a batch", batch, sampling.cond.batch())?;
        if self.is_stochastic() {
            let found = sampling.noises.len();
            expect_batch("noise generators of a batch", batch, found)?;
        }
        let solver = match self {
            Sampler::Euler => solvers::euler,
            Sampler::Heun => solvers::heun,
            Sampler::Ddim => solvers::ddim,
            Sampler::Ancestral => solvers::ancestral,
            Sampler::DpmPp2m => solvers::dpmpp_2m,
            Sampler::DpmPp2mSde => solvers::dpmpp_2m_sde,
            Sampler::Ipndm => solvers::ipndm,
            Sampler::IplmsReference => solvers::iplms_reference,
            Sampler::Consistency => solvers::consistency,
        };
        solver(&mut sampling, x)
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
        let named = Self::ALL.map(|sampler| (sampler.name(), sampler));
        let mut known = named.into_iter().chain(Self::OF_DANCE_DIFFUSION);
        let found = known.find(|(name, _)| *name == text);
        found.map(|(_, sampler)| sampler).ok_or_else(|| {
            let others = Self::OF_DANCE_DIFFUSION.map(|(name, _)| name);
            let names = [&Self::ALL.map(Sampler::name)[..], &others].concat();
            Error::setting(format!(
                "unknown sampler {text:?}: expected one of {}{}",
                names.join(", "),
                meant(text, &names)
            ))
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
