//! The seeded generator behind everything random.

use candle_core::{Device, Shape, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use crate::error::Result;

/// Seeded uniform and normal draws, made on the host; nothing else in audiodiff is random.
///
/// The bits come from ChaCha8, whose output is fixed by its definition, keyed by `rand_core`'s expansion
/// of a seed, which a test pins; the conversion to floats is ours. So a seed keeps its sound when a
/// dependency changes. A generator is named by a seed and a path of numbers ([`Noise::at`]): work that is split,
/// reordered or resumed draws the same values as long as it names its place the same way.
///
/// ```
/// use audiodiff::noise::Noise;
///
/// // Clip 3 of batch 12 draws the same noise whether or not the others are drawn before it.
/// let mut noise = Noise::at(7, &[12, 3]);
/// let drawn = noise.normals(1000);
/// assert_eq!(Noise::at(7, &[12, 3]).normals(1000), drawn);
/// assert_ne!(Noise::at(7, &[12, 4]).normals(1000), drawn);
/// ```
#[derive(Debug, Clone)]
pub struct Noise {
    rng: ChaCha8Rng,
    spare: Option<f32>,
}

impl Noise {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            spare: None,
        }
    }

    /// The generator at `place` below `seed`, independent of every other place.
    #[must_use]
    pub fn at(seed: u64, place: &[u64]) -> Self {
        let state = place
            .iter()
            .fold(splitmix(seed), |state, &n| splitmix(state ^ splitmix(n)));
        Self::new(state)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in `[0, 1)`, with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        (self.rng.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform from `low` to `high`; rounding may reach `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// Uniform among `0..n`; `n` must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.rng.next_u64()) * n as u128) >> 64) as usize
    }

    /// Puts `items` in a random order, each order as likely as any other [Durstenfeld 1964].
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Standard normal, by the polar-free Box-Muller transform in double precision.
    pub fn normal(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // 53 bits, in (0, 1], so that the logarithm is finite.
        let u = ((self.rng.next_u64() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
        let v = (self.rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        let radius = (-2.0 * u.ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        self.spare = Some((radius * sin) as f32);
        (radius * cos) as f32
    }

    /// `n` standard normal draws.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// A tensor of standard normal draws, in row-major order whatever the device.
    ///
    /// # Errors
    /// When the device refuses the memory.
    pub fn normal_tensor(&mut self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let values = self.normals(shape.elem_count());
        Ok(Tensor::from_vec(values, shape, device)?)
    }
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
    Ok(Tensor::from_vec(
        unit_normals(noises, frames * width),
        shape,
        device,
    )?)
}

/// `n` standard normal draws from each of `noises`, one after the other: made on all cores.
#[must_use]
pub fn unit_normals(noises: &mut [Noise], n: usize) -> Vec<f32> {
    let mut values = vec![0.0; noises.len() * n];
    let rows = values.par_chunks_mut(n.max(1)).zip(noises);
    rows.for_each(|(row, noise)| row.fill_with(|| noise.normal()));
    values
}

/// Inverse of the normal distribution function, relative error below 1.2e-9 [Acklam 2003].
pub(crate) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
    ];
    let polynomial =
        |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / (polynomial(&D, q) * q + 1.0)
    };
    if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        polynomial(&A, q * q) * q / (polynomial(&B, q * q) * q * q + 1.0)
    }
}

/// One round of SplitMix64: spreads neighbouring numbers over all 64 bits.
fn splitmix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_zero_mean_unit_variance_and_normal_tails() {
        let values = Noise::new(1).normals(200_000);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64;
        let moment = |k: i32| {
            values.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / values.len() as f64
        };
        // Standard errors at n = 200 000: 0.0022, 0.0032 and 0.022.
        assert!(mean.abs() < 0.009, "{mean}");
        assert!((moment(2) - 1.0).abs() < 0.013, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.09, "{}", moment(4));
    }

    /// Every sound ever rendered from a seed hangs on these.
    #[test]
    fn a_seed_keeps_its_values() {
        let mut noise = Noise::at(7, &[1, 2]);
        assert_eq!(noise.bits(), 4_368_998_654_108_767_079);
        assert_eq!(noise.uniform(), 0.809_123_93);
        let normals = noise.normals(2);
        assert!((normals[0] - 1.150_359).abs() < 1e-6 && (normals[1] - 1.577_619_1).abs() < 1e-6);
        assert_eq!(noise.below(1000), 279);
    }

    #[test]
    fn places_are_reproducible_and_distinct() {
        let draw = |seed, place: &[u64]| Noise::at(seed, place).bits();
        assert_eq!(draw(7, &[1, 2]), draw(7, &[1, 2]));
        assert_ne!(draw(7, &[1, 2]), draw(7, &[2, 1]));
        assert_ne!(draw(7, &[1]), draw(8, &[1]));
        assert_ne!(draw(7, &[]), draw(7, &[0]));
    }

    #[test]
    fn quantile_inverts_the_normal_distribution() {
        // Tabulated values of the normal distribution function.
        for (p, x) in [
            (0.5, 0.0),
            (0.975, 1.959963985),
            (0.001, -3.090232306),
            (0.99, 2.326347874),
        ] {
            assert!((normal_quantile(p) - x).abs() < 1e-7, "{p}");
        }
    }

    #[test]
    fn below_reaches_every_value() {
        let mut noise = Noise::new(3);
        let mut seen = [0; 5];
        for _ in 0..5000 {
            seen[noise.below(5)] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn every_order_is_as_likely_as_any_other() {
        let mut noise = Noise::new(4);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            noise.shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        // Five standard errors of 6000 throws of a die are 144.
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert!(seen.values().all(|&n| (856..1144).contains(&n)), "{seen:?}");
        // Nothing is drawn where there is nothing to order.
        let mut untouched = Noise::new(5);
        untouched.shuffle::<u8>(&mut []);
        untouched.shuffle(&mut [1]);
        assert_eq!(untouched.bits(), Noise::new(5).bits());
    }
}
