//! Which noise levels to visit.

use std::f64::consts::FRAC_PI_2;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names::meant;

/// How the noise levels of a sampling are spread between the highest and the lowest.
///
/// Files and flags write `logsnr`, `consistency`, `crash`, `linear`, `karras`, or `karras:RHO` for a bend other than 7.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Schedule {
    /// Uniform in `sigma^(1/rho)` [EDM, Eq. 5].
    Karras {
        /// Exponent: 1 is linear in sigma, 7 spends most steps at low noise. 1 to 100.
        rho: f64,
    },
    /// Uniform in `log sigma`, hence in the logarithm of the signal-to-noise ratio
    /// [DPM-Solver]; the limit of [`Schedule::Karras`] for large `rho`.
    LogSnr,
    /// Uniform in `log sigma` down to 0.13, which itself is left out: 20; 20 and 1.6; 20, 5.7, 1.6 and 0.46. For
    /// the few steps of [`Sampler::Consistency`](super::sampler::Sampler::Consistency), whose last ends in the clip.
    /// The lowest noise level is not used.
    Consistency,
    /// Uniform in the angle of Dance Diffusion's CRASH schedule, `sigma = tan(asin(sin²(π t / 2)))` for `t` from 1 down
    /// [CRASH; Evans 2022]: begins at pure noise, which no finite highest level is; a variation begins with the first
    /// level below its start. Neither the highest nor the lowest level is used.
    Crash,
    /// Uniform in the angle itself, `sigma = tan(π t / 2)`; as [`Schedule::Crash`] else.
    Linear,
}

/// The level that stands for noise and nothing else: of a clip below it, no digit is left in f32.
pub(super) const PURE_NOISE: f64 = 1e8;

impl Schedule {
    /// Below the last level of [`Schedule::Consistency`].
    const CONSISTENCY_FLOOR: f64 = 0.13;

    /// The bend that EDM recommends [EDM, Sec. 3].
    const RHO: f64 = 7.0;

    /// [`Schedule::Karras`] as EDM recommends it.
    pub const KARRAS: Self = Self::Karras { rho: Self::RHO };

    /// The level at `fraction` (0 to 1) of the way down from `high` to `low`.
    fn between(self, high: f64, low: f64, fraction: f64) -> f64 {
        match self {
            Schedule::Karras { rho } => {
                let (high, low) = (high.powf(1.0 / rho), low.powf(1.0 / rho));
                (high + fraction * (low - high)).powf(rho)
            }
            _ => (high.ln() + fraction * (low.ln() - high.ln())).exp(),
        }
    }

    /// The level at time `t`, 1 for pure noise and 0 for none, of the schedules that are made of times.
    fn at_time(self, t: f64) -> f64 {
        let sine = (FRAC_PI_2 * t).sin();
        let (sine, cosine) = match self {
            // cos(asin(s²)) in a form that keeps its digits near 1.
            Schedule::Crash => {
                let squared = sine * sine;
                let cosine = (FRAC_PI_2 * t).cos();
                (squared, cosine * (1.0 + squared).sqrt())
            }
            _ => (sine, (FRAC_PI_2 * t).cos()),
        };
        (sine / cosine).min(PURE_NOISE)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Schedule::Karras { rho } if rho == Self::RHO => f.write_str("karras"),
            Schedule::Karras { rho } => write!(f, "karras:{rho}"),
            Schedule::LogSnr => f.write_str("logsnr"),
            Schedule::Consistency => f.write_str("consistency"),
            Schedule::Crash => f.write_str("crash"),
            Schedule::Linear => f.write_str("linear"),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let schedule = match text.split_once(':') {
            None if text == "karras" => Some(Schedule::KARRAS),
            None if text == "logsnr" => Some(Schedule::LogSnr),
            None if ["consistency", "few"].contains(&text) => Some(Schedule::Consistency),
            None if text == "crash" => Some(Schedule::Crash),
            None if text == "linear" => Some(Schedule::Linear),
            Some(("karras", rho)) => rho.parse().ok().map(|rho| Schedule::Karras { rho }),
            _ => None,
        };
        let schedule = schedule.ok_or_else(|| {
            Error::setting(format!(
                "unknown schedule {text:?}: expected karras, karras:RHO, logsnr, consistency, crash or linear{}",
                meant(text, &["karras", "logsnr", "consistency", "crash", "linear"])
            ))
        })?;
        check_rho(schedule)?;
        Ok(schedule)
    }
}

impl TryFrom<String> for Schedule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

fn check_rho(schedule: Schedule) -> Result<()> {
    match schedule {
        Schedule::Karras { rho } if !(1.0..=100.0).contains(&rho) => Err(Error::setting(format!(
            "the karras schedule's rho must be 1 to 100, not {rho}"
        ))),
        _ => Ok(()),
    }
}

/// The noise levels that a sampler visits, from the highest to zero.
///
/// It has no default: which levels suit depends on the data and on the sampler, as a model's
/// [`settings`](crate::render::Renderer::settings) know.
///
/// ```
/// use audiodiff::diffusion::schedule::{NoiseSchedule, Schedule};
///
/// let schedule = NoiseSchedule { kind: Schedule::KARRAS, sigma_min: 0.01, sigma_max: 20.0 };
/// let sigmas = schedule.sigmas(3)?;
/// assert_eq!(sigmas.len(), 4);
/// assert_eq!((sigmas[0], sigmas[2], sigmas[3]), (20.0, 0.01, 0.0));
/// assert!((sigmas[1] - 1.197).abs() < 1e-3);
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseSchedule {
    /// How the levels are spread.
    pub kind: Schedule,
    /// The lowest level above zero: what is left there is inaudible, and the last step removes it.
    pub sigma_min: f64,
    /// The highest level: the data must drown in it.
    pub sigma_max: f64,
}

impl NoiseSchedule {
    /// The most steps of a sampling.
    pub const MAX_STEPS: usize = 1000;

    /// Noise levels to visit, highest first, ending in an exact zero: `steps + 1` of them.
    ///
    /// The first is exactly `sigma_max` and the last but one, from two steps on, exactly
    /// `sigma_min`, [`Schedule::Consistency`] apart.
    ///
    /// # Errors
    /// [`Error::Setting`] for `steps` outside `1..=1000`, or levels that are not
    /// `0 < sigma_min < sigma_max`.
    pub fn sigmas(&self, steps: usize) -> Result<Vec<f64>> {
        self.sigmas_from(steps, self.sigma_max)
    }

    /// The same noise schedule, spread anew over `steps` steps from a lower start: for variations, which
    /// begin with a clip noised to `sigma_start` instead of pure noise.
    ///
    /// # Errors
    /// As [`NoiseSchedule::sigmas`], and when not `sigma_min < sigma_start <= sigma_max`.
    pub fn sigmas_from(&self, steps: usize, sigma_start: f64) -> Result<Vec<f64>> {
        check_rho(self.kind)?;
        let Self {
            kind,
            sigma_min,
            sigma_max,
        } = *self;
        if !(1..=Self::MAX_STEPS).contains(&steps) {
            return Err(Error::setting(format!(
                "sampling takes 1 to {} steps, not {steps}",
                Self::MAX_STEPS
            )));
        }
        if !(sigma_min > 0.0 && sigma_min < sigma_max && sigma_max.is_finite()) {
            return Err(Error::setting(format!(
                "noise levels must obey 0 < sigma_min < sigma_max, not sigma_min {sigma_min} and \
                 sigma_max {sigma_max}"
            )));
        }
        if !(sigma_start > sigma_min && sigma_start <= sigma_max) {
            return Err(Error::setting(format!(
                "the first noise level must be above {sigma_min} and at most {sigma_max}, \
                 not {sigma_start}"
            )));
        }
        if kind == Schedule::Consistency {
            // A start below the floor leaves one step to take.
            let low = Schedule::CONSISTENCY_FLOOR.min(0.5 * sigma_start);
            let level = |i: usize| kind.between(sigma_start, low, i as f64 / steps as f64);
            let mut sigmas: Vec<f64> = (0..steps).map(level).collect();
            sigmas[0] = sigma_start;
            sigmas.push(0.0);
            return Ok(sigmas);
        }
        if matches!(kind, Schedule::Crash | Schedule::Linear) {
            let level = |i: usize| kind.at_time(1.0 - i as f64 / steps as f64);
            let mut sigmas: Vec<f64> = (0..steps).map(level).collect();
            if sigma_start < sigma_max {
                sigmas.retain(|&sigma| sigma < sigma_start);
                sigmas.insert(0, sigma_start);
            }
            sigmas.push(0.0);
            return Ok(sigmas);
        }
        let last = steps - 1;
        let mut sigmas: Vec<f64> = (0..steps)
            .map(|i| kind.between(sigma_start, sigma_min, i as f64 / last.max(1) as f64))
            .collect();
        // Powers round: the ends are meant exactly.
        sigmas[last] = sigma_min;
        sigmas[0] = sigma_start;
        sigmas.push(0.0);
        Ok(sigmas)
    }
}
