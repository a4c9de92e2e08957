//! The two number types the CPU ops are written for.

use candle_core::{CpuStorage, Layout, Result, WithDType, bail};

/// f32, and f64 so that gradients can be checked exactly.
pub(crate) trait Real: WithDType + std::ops::Neg<Output = Self> + std::iter::Sum {
    /// Logistic function; the f32 form vectorises.
    fn sigmoid(self) -> Self;
    fn exp(self) -> Self;
    fn to_double(self) -> f64;
}

impl Real for f32 {
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + Real::exp(-self))
    }

    /// `e^x` within 2 ulp, free of branches and calls: range reduction by `ln 2` in two parts, then
    /// the degree-6 polynomial of Cephes' `expf`.
    #[inline(always)]
    fn exp(self) -> Self {
        const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer
        let x = self.clamp(-87.0, 88.0);
        let shifted = x * std::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
        let p = 1.987_569_1e-4;
        let p = p * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let p = p * r * r + r + 1.0;
        let power = shifted
            .to_bits()
            .wrapping_sub(MAGIC.to_bits())
            .wrapping_add(127)
            << 23;
        p * f32::from_bits(power)
    }

    #[inline(always)]
    fn to_double(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + Real::exp(-self))
    }

    fn exp(self) -> Self {
        self.exp()
    }

    fn to_double(self) -> f64 {
        self
    }
}

/// The values of a contiguous storage.
pub(crate) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "expected contiguous values, found strides {:?} for {:?}",
            layout.stride(),
            layout.shape()
        );
    };
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

/// Zeroed values.
pub(crate) fn zeros<T: Real>(n: usize) -> Vec<T> {
    vec![T::zero(); n]
}

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn exp_is_within_two_ulp_over_its_range() {
        for i in -86_000..88_000 {
            let x = i as f32 * 1e-3;
            let exact = (x as f64).exp();
            let error = (Real::exp(x) as f64 - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!(Real::sigmoid(0f32), 0.5);
        assert!(Real::sigmoid(-200f32) < 1e-37 && Real::sigmoid(200f32) == 1.0);
    }
}
