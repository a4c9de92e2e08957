//! Inpainting: some frames are known, the others are sampled to go with them.

use candle_core::Tensor;

use crate::diffusion::{Denoiser, values};
use crate::error::Result;
use crate::network::Conditioning;

/// A denoiser that is sure of some frames [Song et al. 2021, Sec. 5; Lugmayr et al. 2022, without resampling].
///
/// Sampling that begins with these frames and noise holds them, at every level, at what they are plus the noise of that
/// level: that is what the denoiser inside sees beside the frames it is asked for.
pub struct Inpainted<'a> {
    denoiser: &'a dyn Denoiser,
    /// `[1, T, C]`.
    known: Tensor,
    /// `[1, T, 1]`, 1 where the guess is taken and 0 where it is known better.
    free: Tensor,
}

impl std::fmt::Debug for Inpainted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inpainted")
            .field("frames", &self.free.elem_count())
            .finish_non_exhaustive()
    }
}

impl<'a> Inpainted<'a> {
    /// `frames: [1, T, C]`, of which those that `is_kept` says are known.
    ///
    /// # Errors
    /// When `is_kept` is not as long as the frames.
    pub fn new(denoiser: &'a dyn Denoiser, frames: &Tensor, is_kept: &[bool]) -> Result<Self> {
        let free: Vec<f32> = is_kept.iter().map(|&kept| f32::from(!kept)).collect();
        let free = Tensor::from_vec(free, (1, frames.dims3()?.1, 1), frames.device())?;
        let kept = (1.0 - &free)?;
        Ok(Self {
            denoiser,
            known: values::product(frames, &kept)?,
            free,
        })
    }

    /// `x: [B, T, C]` with what is known in its place: the end of a sampling, of which samplers leave a trace there.
    ///
    /// # Errors
    /// When the shapes disagree.
    pub fn completed(&self, x: &Tensor) -> Result<Tensor> {
        values::sum(&values::product(x, &self.free)?, &self.known)
    }
}

impl Denoiser for Inpainted<'_> {
    fn denoise(&self, x: &Tensor, sigma: &Tensor, cond: &Conditioning) -> Result<Tensor> {
        self.completed(&self.denoiser.denoise(x, sigma, cond)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::diffusion::sampler::Sampler;
    use crate::diffusion::schedule::{NoiseSchedule, Schedule};
    use crate::noise::{Noise, unit_noise};
    use std::ops::ControlFlow;

    /// Pairs of neighbours, of unit variance each and covariance `RHO`: the best guess of both from both.
    struct Neighbours;

    const RHO: f32 = 0.9;

    impl Denoiser for Neighbours {
        fn denoise(&self, x: &Tensor, sigma: &Tensor, _: &Conditioning) -> Result<Tensor> {
            // C·(C + sigma²)⁻¹ has the same eigenvectors as C: sum and difference.
            let v = sigma.sqr()?.reshape(((), 1, 1))?;
            let [a, b] = [0, 1].map(|i| x.narrow(1, i, 1));
            let (a, b) = (a?, b?);
            let part = |x: Tensor, c: f64| -> Result<Tensor> {
                Ok(((x * (0.5 * c))?.broadcast_div(&(&v + c)?))?)
            };
            let sum = part((&a + &b)?, 1.0 + f64::from(RHO))?;
            let gap = part((&a - &b)?, 1.0 - f64::from(RHO))?;
            Ok(Tensor::cat(&[(&sum + &gap)?, (sum - gap)?], 1)?)
        }
    }

    #[test]
    fn what_is_kept_stays_and_the_rest_goes_with_it() -> Result<()> {
        const N: usize = 400;
        let schedule = NoiseSchedule {
            kind: Schedule::LogSnr,
            sigma_min: 0.01,
            sigma_max: 20.0,
        };
        let sigmas = schedule.sigmas(40)?;
        let cond = Conditioning::new(&[None; N], &[], &Device::Cpu)?;
        let known = Tensor::new(&[[[1.5f32], [7.0]]], &Device::Cpu)?;
        let denoiser = Inpainted::new(&Neighbours, &known, &[true, false])?;
        for sampler in Sampler::ALL {
            let mut noises: Vec<Noise> = (0..N as u64).map(|i| Noise::at(i, &[1])).collect();
            let x = (unit_noise(&mut noises, 2, 1, &Device::Cpu)? * sigmas[0])?;
            let begun = known.broadcast_mul(&Tensor::new(&[[[1f32], [0.0]]], &Device::Cpu)?)?;
            let x = x.broadcast_add(&begun)?;
            let made = sampler.run(&denoiser, &cond, x, &sigmas, &mut noises, &mut |_| {
                ControlFlow::Continue(())
            })?;
            let both = [made.clone(), denoiser.completed(&made)?];
            let [made, completed] = both.map(|x| x.flatten_all()?.to_vec1::<f32>());
            let (made, completed) = (made?, completed?);
            let (pairs, _) = made.as_chunks::<2>();
            let mean = pairs.iter().map(|[_, b]| b).sum::<f32>() / N as f32;
            // A consistency model's own steps end a little short of the guess.
            let near = if sampler == Sampler::Consistency {
                0.2
            } else {
                2e-2
            };
            for ([kept, free], completed) in pairs.iter().zip(completed.as_chunks::<2>().0) {
                assert!((kept - 1.5).abs() < near, "{sampler}: {kept}");
                assert_eq!(*completed, [1.5, *free]);
            }
            // Without regard to its neighbour, the mean would be 0; wholly conditioned, RHO · 1.5 = 1.35.
            assert!((0.6..1.7).contains(&mean), "{sampler}: {mean}");
        }
        Ok(())
    }
}
