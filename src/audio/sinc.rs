//! The windowed sinc by which sounds are read between their samples.

use realfft::num_traits::{Float, FloatConst};

/// Terms of the series of [`bessel_i0`]: all that count in an `f64`, up to an argument of 20.
const TERMS: usize = 40;

/// The ideal low-pass filter at `x` samples from its middle, under a Kaiser window [Kaiser 1974] that ends `reach`
/// samples from there: `sin(π c x) / (π c x) · I0(beta · sqrt(1 - (x / reach)²))`.
///
/// The `cutoff` `c` is a fraction of half the sample rate, `beta` trades side lobes against the width of the
/// transition, and `x` lies within `-reach ..= reach`. The weights of one point are yet to be divided by their sum.
///
/// ```
/// use audiodiff::audio::sinc::windowed_sinc;
///
/// // Halfway between two samples of a constant, sixteen samples make the constant.
/// let weights: Vec<f64> = (0..16).map(|n| windowed_sinc(f64::from(n) - 7.5, 1.0, 8.0, 8.0)).collect();
/// let middle = windowed_sinc(0.0, 1.0, 8.0, 8.0);
/// assert!((weights.iter().sum::<f64>() / middle - 1.0).abs() < 1e-3);
/// ```
pub fn windowed_sinc<T: Float + FloatConst>(x: T, cutoff: T, reach: T, beta: T) -> T {
    let angle = T::PI() * cutoff * x;
    let sinc = if angle == T::zero() {
        T::one()
    } else {
        angle.sin() / angle
    };
    let place = x / reach;
    sinc * bessel_i0(beta * (T::one() - place * place).max(T::zero()).sqrt())
}

/// The modified Bessel function of the first kind and order zero, by its power series `Σ ((x/2)ᵏ / k!)²`, for `|x|` up
/// to 20.
pub fn bessel_i0<T: Float>(x: T) -> T {
    let (mut term, mut sum, mut even) = (T::one(), T::one(), T::zero());
    for _ in 0..TERMS {
        even = even + T::one() + T::one();
        term = term * (x / even).powi(2);
        sum = sum + term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bessel_function_has_its_tabulated_values() {
        // scipy.special.i0
        for (x, expected) in [
            (0.0, 1.0),
            (1.0, 1.266_065_877_752_008_4),
            (8.0, 427.564_115_721_804_74),
            (20.0, 43_558_282.559_553_534),
        ] {
            let found: f64 = bessel_i0(x);
            assert!((found / expected - 1.0).abs() < 1e-14, "{x}: {found}");
            let found = f64::from(bessel_i0(x as f32));
            assert!((found / expected - 1.0).abs() < 1e-6, "{x}: {found}");
        }
    }

    #[test]
    fn filter_is_even_has_its_zeros_and_its_middle() {
        for reach in [8.0, 16.0] {
            assert_eq!(windowed_sinc(0.0, 0.5, reach, 7.0), bessel_i0(7.0));
            for n in 1..8 {
                let x = f64::from(n);
                assert!(windowed_sinc(x, 1.0, reach, 7.0).abs() < 1e-13, "{n}");
                assert_eq!(
                    windowed_sinc(x, 0.7, reach, 7.0),
                    windowed_sinc(-x, 0.7, reach, 7.0)
                );
            }
            // Halfway to its zero: 2/π under the window.
            let window = bessel_i0(7.0 * (1.0 - (0.5 / reach).powi(2)).sqrt());
            let found = windowed_sinc(0.5, 1.0, reach, 7.0) / window;
            assert!(
                (found - std::f64::consts::FRAC_2_PI).abs() < 1e-15,
                "{found}"
            );
        }
    }
}
