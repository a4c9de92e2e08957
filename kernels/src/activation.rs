//! The nonlinearities that follow a norm.

use crate::real::Real;

/// A function applied to each value of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// The identity.
    None,
    /// `x·σ(x)` [Elfwing et al. 2018].
    Silu,
    /// `x·Φ(x)`, with the normal distribution function itself rather than a fit to it [Hendrycks & Gimpel 2016].
    Gelu,
}

/// `y = f(z)` for the channels of one frame, `z = slope·x + offset`.
#[inline(always)]
pub(crate) fn activate<T: Real>(f: Activation, x: &[T], slope: &[T], offset: &[T], y: &mut [T]) {
    let n = slope.len();
    let (x, offset, y) = (&x[..n], &offset[..n], &mut y[..n]);
    match f {
        Activation::None => {
            for i in 0..n {
                y[i] = slope[i] * x[i] + offset[i];
            }
        }
        Activation::Silu => {
            for i in 0..n {
                let z = slope[i] * x[i] + offset[i];
                y[i] = z * z.sigmoid();
            }
        }
        Activation::Gelu => {
            for i in 0..n {
                let z = slope[i] * x[i] + offset[i];
                y[i] = z * z.normal().0;
            }
        }
    }
}

/// Multiplies the gradient `dz` of one frame by `f'(z)`, `z = slope·x + offset`.
#[inline(always)]
pub(crate) fn activate_backward<T: Real>(
    f: Activation,
    x: &[T],
    slope: &[T],
    offset: &[T],
    dz: &mut [T],
) {
    let n = slope.len();
    let (x, offset, dz) = (&x[..n], &offset[..n], &mut dz[..n]);
    match f {
        Activation::None => {}
        Activation::Silu => {
            for i in 0..n {
                let z = slope[i] * x[i] + offset[i];
                let s = z.sigmoid();
                dz[i] *= s * (T::one() + z * (T::one() - s));
            }
        }
        Activation::Gelu => {
            for i in 0..n {
                let z = slope[i] * x[i] + offset[i];
                let (p, density) = z.normal();
                dz[i] *= p + z * density;
            }
        }
    }
}
