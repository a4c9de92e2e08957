//! [`Stereo`]: two channels as level, pan and coherence, or as mid and side.

use rustfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use super::bank::Bank;

/// How log-mel frames hold two channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stereo {
    /// Level, pan and coherence of each band: three columns a band, and the image comes back.
    #[default]
    Image,
    /// Magnitudes of mid and side: two columns a band, which do not tell left from right.
    MidSide,
}

impl Stereo {
    /// The layout of files that name none.
    pub(super) fn old() -> Self {
        Self::MidSide
    }

    /// Columns a band, for so many channels.
    #[must_use]
    pub fn parts(self, channels: usize) -> usize {
        match (self, channels) {
            (Self::Image, 2) => 3,
            _ => channels,
        }
    }
}

/// One row of two channels, band by band.
pub struct Row {
    /// Weighted sum of the root mean squares of both sides.
    pub levels: Vec<f32>,
    /// Part of the power that is on the left, 0 to 1.
    lefts: Vec<f32>,
    /// Real part of the normalised cross-spectrum: 1 for what both sides share, 0 for sides that have nothing to do
    /// with each other, -1 for opposite polarities.
    coherences: Vec<f32>,
}

impl Row {
    /// Measures the bins of both sides.
    pub fn new(bank: &Bank, left: &[Complex32], right: &[Complex32]) -> Self {
        let gather = |value: &dyn Fn(&Complex32, &Complex32) -> f32| {
            let values: Vec<f32> = left.iter().zip(right).map(|(l, r)| value(l, r)).collect();
            bank.gather(&values)
        };
        let levels = gather(&|l, r| (0.5 * (l.norm_sqr() + r.norm_sqr())).sqrt());
        let powers = [gather(&|l, _| l.norm_sqr()), gather(&|_, r| r.norm_sqr())];
        let cross = gather(&|l, r| l.re * r.re + l.im * r.im);
        let over = |a: f32, b: f32, nothing: f32| if b > 0.0 { a / b } else { nothing };
        let pairs = || powers[0].iter().zip(&powers[1]);
        Self {
            lefts: pairs().map(|(l, r)| over(*l, l + r, 0.5)).collect(),
            coherences: pairs()
                .zip(cross)
                .map(|((l, r), c)| over(c, (l * r).sqrt(), 0.0))
                .collect(),
            levels,
        }
    }

    /// The row's columns, with levels multiplied by `gain`: `log10(level + floor)`,
    /// `log10((left + floor) / (right + floor))`,
    /// and coherence, which fades to nothing below the floor.
    pub fn columns(&self, gain: f32, floor: f32) -> Vec<f32> {
        let level = |x: &f32| x * gain;
        let sides = self.levels.iter().zip(&self.lefts);
        let sides: Vec<(f32, f32)> = sides
            .map(|(x, fraction)| {
                let side = |fraction: f32| level(x) * (2.0 * fraction).sqrt();
                (side(*fraction), side(1.0 - fraction))
            })
            .collect();
        let mut columns: Vec<f32> = self
            .levels
            .iter()
            .map(|x| (level(x) + floor).log10())
            .collect();
        columns.extend(
            sides
                .iter()
                .map(|(l, r)| ((l + floor) / (r + floor)).log10()),
        );
        let coherence = |((l, r), c): (&(f32, f32), &f32)| {
            let power = l * r;
            c * power / (power + floor * floor)
        };
        columns.extend(sides.iter().zip(&self.coherences).map(coherence));
        columns
    }
}

/// Factors of the left and the right on a band's level, from its pan.
///
/// With `l` and `r` for the sides, `(l + floor) / (r + floor)` is the pan's ratio and `(l² + r²) / 2` the level's
/// square: a quadratic equation.
pub fn gains(level: f32, pan: f32, floor: f32) -> [f32; 2] {
    let (level, floor) = (f64::from(level), f64::from(floor));
    if level <= 0.0 || pan.is_nan() {
        return [1.0; 2];
    }
    let ratio = 10f64.powf(f64::from(pan).clamp(-6.0, 6.0));
    let square = 2.0 * level * level;
    // Of the softer side, whose root is the well-conditioned one.
    let softer = |ratio: f64| {
        let (a, b) = (ratio * ratio + 1.0, ratio * floor * (ratio - 1.0));
        let c = (floor * (ratio - 1.0)).powi(2) - square;
        ((-b + (b * b - a * c).max(0.0).sqrt()) / a).clamp(0.0, square.sqrt())
    };
    let soft = softer(ratio.max(1.0 / ratio));
    let loud = (square - soft * soft).max(0.0).sqrt();
    let [soft, loud] = [(soft / level) as f32, (loud / level) as f32];
    if ratio >= 1.0 {
        [loud, soft]
    } else {
        [soft, loud]
    }
}

/// Two cells with this coherence from one that they share and one that sets them apart, which are independent and
/// equally loud. Where opposite polarities prevail they share the opposite of each other.
pub fn mixed(shared: Complex32, apart: Complex32, coherence: f32) -> [Complex32; 2] {
    let same = (0.5 * (1.0 + coherence.abs())).sqrt();
    let other = (0.5 * (1.0 - coherence.abs())).sqrt();
    let sign = if coherence < 0.0 { -1.0 } else { 1.0 };
    [
        shared * same + apart * other,
        (shared * same - apart * other) * sign,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_undo_the_pan() {
        for floor in [1e-3f32, 1e-4] {
            for (left, right) in [
                (0.5f32, 0.5f32),
                (0.8, 0.04),
                (0.003, 0.2),
                (1.0, 0.0),
                (2e-4, 1e-4),
            ] {
                let level = (0.5 * (left * left + right * right)).sqrt();
                let pan = ((left + floor) / (right + floor)).log10();
                let [l, r] = gains(level, pan, floor).map(|gain| gain * level);
                assert!(
                    (l - left).abs() < 1e-3 * left.max(floor),
                    "{left} {right}: {l}"
                );
                assert!(
                    (r - right).abs() < 1e-3 * left.max(floor),
                    "{left} {right}: {r}"
                );
            }
        }
        assert_eq!(gains(0.0, 1.0, 1e-3), [1.0; 2]);
        assert!(gains(0.5, f32::NAN, 1e-3).iter().all(|g| g.is_finite()));
    }

    #[test]
    fn mixed_cells_have_their_coherence() {
        for coherence in [-1.0f32, -0.4, 0.0, 0.3, 1.0] {
            // The cross terms of independent cells vanish in the mean.
            let [a, b] = [
                mixed(Complex32::ONE, Complex32::ZERO, coherence),
                mixed(Complex32::ZERO, Complex32::ONE, coherence),
            ];
            let power = |i: usize| a[i].norm_sqr() + b[i].norm_sqr();
            let cross = (a[0] * a[1].conj() + b[0] * b[1].conj()).re;
            assert!((power(0) - 1.0).abs() < 1e-6 && (power(1) - 1.0).abs() < 1e-6);
            assert!((cross - coherence).abs() < 1e-6, "{coherence}: {cross}");
        }
    }
}
