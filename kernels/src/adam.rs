//! The optimizer's element-wise updates, in place.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor, Var, bail};

use crate::isa::Isa;
use crate::team;

/// One step of AdamW [Loshchilov & Hutter 2019], its numbers already corrected for the step's index.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Learning rate divided by `1 - beta1^t`.
    pub step_size: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    pub root_correction: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Learning rate times weight decay.
    pub decay: f32,
    /// Multiplies the gradient first (clipping).
    pub gradient_scale: f32,
}

/// The sum of the squares of one tensor's values.
///
/// Candle makes the squares of a large tensor on threads of its own, which spin until all are done: beside programs that
/// keep a core busy that was a twentieth of a training step.
fn sum_of_squares(values: &Tensor) -> Result<f64> {
    let values = values.contiguous()?;
    let (storage, layout) = values.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        let sum = values.sqr()?.sum_all()?.to_scalar::<f32>()?;
        return Ok(f64::from(sum));
    };
    const STRANDS: usize = 16;
    let values = crate::real::slice::<f32>(storage, layout)?;
    let (strands, rest) = values.as_chunks::<STRANDS>();
    let square = |x: f32| f64::from(x) * f64::from(x);
    let mut sums = [0f64; STRANDS];
    Isa::current()?.run(|| {
        for values in strands {
            for (sum, &x) in sums.iter_mut().zip(values) {
                *sum += square(x);
            }
        }
    });
    Ok(sums.iter().sum::<f64>() + rest.iter().map(|&x| square(x)).sum::<f64>())
}

/// The tensors of one parameter's step: all f32, contiguous and of one shape.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// The parameter.
    pub parameter: &'a Var,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// The first moment.
    pub m: &'a Tensor,
    /// The second moment.
    pub v: &'a Tensor,
    /// The average that follows the parameter afterwards, if there is one.
    pub average: Option<&'a Tensor>,
}

/// Updates the moments with the gradients, then the parameters with the moments, then the averages: `average += (1 -
/// keep)·(parameter - average)`. On an NVIDIA GPU it is one kernel for all of them.
///
/// # Errors
/// When the shapes differ, or the state is not contiguous f32.
pub fn adam_steps(updates: &[Update<'_>], step: AdamStep, keep: f32) -> Result<()> {
    for update in updates {
        let expected = update.parameter.shape();
        let rest = [update.gradient, update.m, update.v].into_iter();
        if let Some(other) = rest.chain(update.average).find(|x| x.shape() != expected) {
            bail!(
                "a parameter's step: expected {expected:?}, found {:?}",
                other.shape()
            );
        }
    }
    #[cfg(feature = "cuda")]
    if let Some(Update { parameter, .. }) = updates.first()
        && let candle_core::Device::Cuda(device) = parameter.device()
    {
        return crate::program::gpu::adam_steps(device, updates, step, keep);
    }
    for update in updates {
        let Update {
            parameter,
            gradient,
            m,
            v,
            average,
        } = *update;
        adam_step(parameter, gradient, m, v, step)?;
        if let Some(average) = average {
            follow(average, parameter, keep)?;
        }
    }
    Ok(())
}

/// The sum of the squares of all values. On an NVIDIA GPU it is one kernel for all tensors.
///
/// # Errors
/// When a tensor is not f32.
pub fn square_sum(tensors: &[&Tensor]) -> Result<f64> {
    #[cfg(feature = "cuda")]
    if let Some(tensor) = tensors.first()
        && let candle_core::Device::Cuda(device) = tensor.device()
    {
        return crate::program::gpu::square_sum(device, tensors);
    }
    tensors.iter().map(|tensor| sum_of_squares(tensor)).sum()
}

fn adam_step(
    parameter: &Var,
    gradient: &Tensor,
    m: &Tensor,
    v: &Tensor,
    step: AdamStep,
) -> Result<()> {
    let gradient = gradient.contiguous()?;
    if parameter.device().is_cpu() {
        m.inplace_op2(
            &gradient,
            &Blend {
                keep: step.beta1,
                gain: step.gradient_scale,
                square: false,
            },
        )?;
        v.inplace_op2(
            &gradient,
            &Blend {
                keep: step.beta2,
                gain: step.gradient_scale,
                square: true,
            },
        )?;
        parameter.inplace_op3(m, v, &Descend(step))
    } else {
        reference_step(parameter, &gradient, m, v, step)
    }
}

/// The definition, in plain operations.
fn reference_step(
    parameter: &Var,
    gradient: &Tensor,
    m: &Tensor,
    v: &Tensor,
    step: AdamStep,
) -> Result<()> {
    let g = (gradient * step.gradient_scale as f64)?;
    reference_follow(m, &g, step.beta1)?;
    reference_follow(v, &g.sqr()?, step.beta2)?;
    let root = ((v.sqrt()? * step.root_correction as f64)? + step.epsilon as f64)?;
    let kept = (parameter.as_tensor() * (1.0 - step.decay as f64))?;
    parameter.set(&(kept - ((m / root)? * step.step_size as f64)?)?)
}

/// `average += (1 - keep)·(value - average)`: an exponential moving average, in place.
///
/// # Errors
/// When the shapes differ, or the average is not contiguous f32.
pub fn follow(average: &Tensor, value: &Tensor, keep: f32) -> Result<()> {
    if average.device().is_cpu() {
        average.inplace_op2(
            value,
            &Blend {
                keep,
                gain: 1.0,
                square: false,
            },
        )
    } else {
        reference_follow(average, value, keep)
    }
}

fn reference_follow(average: &Tensor, value: &Tensor, keep: f32) -> Result<()> {
    let blended = ((average * keep as f64)? + (value * (1.0 - keep as f64))?)?;
    average.slice_set(&blended, 0, 0)
}

/// Values that one task updates: most parameters are updated by the thread that asks.
const CHUNK: usize = 1 << 18;

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("optimizer state should be contiguous f32"),
    }
}

/// `s = keep·s + (1 - keep)·(gain·x)`, or of its square.
struct Blend {
    keep: f32,
    gain: f32,
    square: bool,
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "blend"
    }

    fn cpu_fwd(&self, s: &mut CpuStorage, sl: &Layout, x: &CpuStorage, xl: &Layout) -> Result<()> {
        let (s, x) = (values_mut(s, sl)?, crate::real::slice::<f32>(x, xl)?);
        let (rest, isa) = (1.0 - self.keep, Isa::current()?);
        team::for_each_chunk(s, CHUNK, |i, s| {
            isa.run(|| {
                for (s, &x) in s.iter_mut().zip(&x[i * CHUNK..]) {
                    let x = x * self.gain;
                    *s = self.keep * *s + rest * if self.square { x * x } else { x };
                }
            });
        });
        Ok(())
    }
}

struct Descend(AdamStep);

impl InplaceOp3 for Descend {
    fn name(&self) -> &'static str {
        "adam-descend"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        pl: &Layout,
        m: &CpuStorage,
        ml: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<()> {
        let (p, m, v) = (
            values_mut(p, pl)?,
            crate::real::slice::<f32>(m, ml)?,
            crate::real::slice::<f32>(v, vl)?,
        );
        let (step, isa) = (self.0, Isa::current()?);
        team::for_each_chunk(p, CHUNK, |i, p| {
            isa.run(|| {
                let (m, v) = (&m[i * CHUNK..], &v[i * CHUNK..]);
                for ((p, &m), &v) in p.iter_mut().zip(m).zip(v) {
                    let root = v.sqrt() * step.root_correction + step.epsilon;
                    *p = *p * (1.0 - step.decay) - step.step_size * m / root;
                }
            });
        });
        Ok(())
    }
}

/// The numbers of a step in tests.
#[cfg(test)]
pub(crate) const NUMBERS: AdamStep = AdamStep {
    beta1: 0.9,
    beta2: 0.99,
    step_size: 0.3,
    root_correction: 1.4,
    epsilon: 1e-3,
    decay: 0.02,
    gradient_scale: 0.5,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values};
    use candle_core::{DType, Device};

    /// Against torch.optim.AdamW's definition, by hand for one weight: p=1, g=0.5, lr=0.1, wd=0.01,
    /// betas (.9, .99), eps=1e-8. m̂ = 0.5, v̂ = 0.25, so p = 1·(1 - 0.001) - 0.1·0.5/0.5 = 0.899;
    /// the second step with g = -1: m = .9·.05 - .1 = -.055, m̂ = -.055/.19; v = .99·.0025 + .01 = .012475,
    /// v̂ = .012475/.0199; p = .899·.999 + .1·(.055/.19)/sqrt(.012475/.0199) = .934661...
    #[test]
    fn adam_follows_its_definition() -> Result<()> {
        let device = Device::Cpu;
        let p = Var::new(&[1f32], &device)?;
        let (m, v) = (Tensor::zeros(1, DType::F32, &device)?, p.zeros_like()?);
        let numbers = |t: i32| AdamStep {
            beta1: 0.9,
            beta2: 0.99,
            step_size: 0.1 / (1.0 - 0.9f32.powi(t)),
            root_correction: 1.0 / (1.0 - 0.99f32.powi(t)).sqrt(),
            epsilon: 1e-8,
            decay: 0.001,
            gradient_scale: 0.5,
        };
        adam_step(&p, &Tensor::new(&[1f32], &device)?, &m, &v, numbers(1))?;
        assert!((p.to_vec1::<f32>()?[0] - 0.899).abs() < 1e-6);
        adam_step(&p, &Tensor::new(&[-2f32], &device)?, &m, &v, numbers(2))?;
        let expected = 0.899 * 0.999 + 0.1 * (0.055 / 0.19) / f64::sqrt(0.012475 / 0.0199);
        assert!((p.to_vec1::<f32>()?[0] as f64 - expected).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn both_forms_agree() -> Result<()> {
        let draw = |seed| values(&[3, 5], seed).to_dtype(DType::F32);
        let start =
            || -> Result<_> { Ok((Var::from_tensor(&draw(1)?)?, draw(2)?, draw(3)?.sqr()?)) };
        let numbers = NUMBERS;
        let (fused, reference) = (start()?, start()?);
        adam_step(&fused.0, &draw(4)?, &fused.1, &fused.2, numbers)?;
        reference_step(&reference.0, &draw(4)?, &reference.1, &reference.2, numbers)?;
        follow(&fused.1, &draw(5)?, 0.7)?;
        reference_follow(&reference.1, &draw(5)?, 0.7)?;
        for (a, b) in [
            (fused.0.as_tensor(), reference.0.as_tensor()),
            (&fused.1, &reference.1),
            (&fused.2, &reference.2),
        ] {
            assert_close(&a.to_dtype(DType::F64)?, &b.to_dtype(DType::F64)?, 1e-6);
        }
        Ok(())
    }

    #[test]
    fn squares_are_summed_in_double_precision() -> Result<()> {
        for n in [0, 1, 15, 16, 50] {
            let numbers = Tensor::arange(0f32, n as f32, &Device::Cpu)?;
            let exact = (0..n).map(|i| i * i).sum::<i32>();
            assert_eq!(sum_of_squares(&numbers)?, f64::from(exact));
        }
        // Each alone is lost in f32 beside the first.
        let mut numbers = vec![1f32; 1000];
        numbers[0] = 1e5;
        let columns = Tensor::from_vec(numbers, (100, 10), &Device::Cpu)?.t()?;
        assert_eq!(sum_of_squares(&columns)?, 1e10 + 999.0);
        Ok(())
    }

    #[test]
    fn follow_is_an_exponential_average() -> Result<()> {
        let average = Tensor::new(&[0f32, 2.0], &Device::Cpu)?;
        follow(&average, &Tensor::new(&[1f32, 1.0], &Device::Cpu)?, 0.75)?;
        assert_eq!(average.to_vec1::<f32>()?, [0.25, 1.75]);
        Ok(())
    }
}
