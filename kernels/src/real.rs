//! The two element types of the CPU kernels, and vectors of them.

use std::any::TypeId;
use std::cell::RefCell;
use std::ops::{Add, Sub};

use candle_core::cpu::erf::erfc_f64;
use candle_core::{CpuStorage, Layout, Result, WithDType, bail};
use pulp::bytemuck::{Pod, cast};
use pulp::{Scalar128b, Simd};

/// The element types of the kernels: f32, and f64 for exact checks of gradients.
pub(crate) trait Real:
    WithDType + Pod + std::ops::Neg<Output = Self> + std::iter::Sum
{
    /// A register of `S`.
    type Vector<S: Simd>: Copy;

    fn lanes<S: Simd>() -> usize;
    /// The whole vectors from the start on, and the rest.
    fn vectors<S: Simd>(values: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    fn vectors_mut<S: Simd>(values: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    fn add_vectors<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn sub_vectors<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn mul_vectors<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a · b + c`, rounded once where the processor has a fused instruction.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// Lends `f` a buffer of `len` values that begins on a cache line. Its contents are unspecified.
    ///
    /// The thread keeps the memory, so that only its first use allocates.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;

    /// Logistic function; the f32 form vectorises.
    fn sigmoid(self) -> Self;
    fn exp(self) -> Self;
    /// Distribution function and density of the normal distribution; the f32 form vectorises.
    fn normal(self) -> (Self, Self);
    fn to_double(self) -> f64;
}

/// The methods that both types share, with `pulp`'s names as parameters.
macro_rules! vectors {
    ($real:ident, $vector:ident, $plain:literal, $lanes:ident, $as_vectors:ident, $as_vectors_mut:ident,
     $splat:ident, $add:ident, $sub:ident, $mul:ident, $mul_add:ident) => {
        type Vector<S: Simd> = S::$vector;

        #[inline(always)]
        fn lanes<S: Simd>() -> usize {
            S::$lanes
        }

        #[inline(always)]
        fn vectors<S: Simd>(values: &[Self]) -> (&[S::$vector], &[Self]) {
            S::$as_vectors(values)
        }

        #[inline(always)]
        fn vectors_mut<S: Simd>(values: &mut [Self]) -> (&mut [S::$vector], &mut [Self]) {
            S::$as_vectors_mut(values)
        }

        #[inline(always)]
        fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
            if is_plain::<S>() {
                return cast([value; $plain]);
            }
            simd.$splat(value)
        }

        #[inline(always)]
        fn add_vectors<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            if is_plain::<S>() {
                return each::<$real, [$real; $plain], _>(a, b, |a, b| a + b);
            }
            simd.$add(a, b)
        }

        #[inline(always)]
        fn sub_vectors<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            if is_plain::<S>() {
                return each::<$real, [$real; $plain], _>(a, b, |a, b| a - b);
            }
            simd.$sub(a, b)
        }

        #[inline(always)]
        fn mul_vectors<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
            if is_plain::<S>() {
                return each::<$real, [$real; $plain], _>(a, b, |a, b| a * b);
            }
            simd.$mul(a, b)
        }

        #[inline(always)]
        fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
            if is_plain::<S>() {
                return Self::add_vectors(simd, Self::mul_vectors(simd, a, b), c);
            }
            simd.$mul_add(a, b, c)
        }

        fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
            thread_local! {
                static KEPT: RefCell<Vec<$real>> = const { RefCell::new(Vec::new()) };
            }
            lend(&KEPT, len, f)
        }

        #[inline(always)]
        fn sigmoid(self) -> Self {
            1.0 / (1.0 + Real::exp(-self))
        }
    };
}

impl Real for f32 {
    vectors!(
        f32,
        f32s,
        4,
        F32_LANES,
        as_simd_f32s,
        as_mut_simd_f32s,
        splat_f32s,
        add_f32s,
        sub_f32s,
        mul_f32s,
        mul_add_e_f32s
    );

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

    /// Within 3e-7, by its rational approximation [Abramowitz & Stegun 1964, Eq. 26.2.17].
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let density = Real::exp(-0.5 * self * self) * 0.398_942_3;
        let t = 1.0 / (1.0 + 0.231_641_9 * self.abs());
        let p = 1.330_274_4;
        let p = p * t - 1.821_255_9;
        let p = p * t + 1.781_477_9;
        let p = p * t - 0.356_563_78;
        let p = p * t + 0.319_381_53;
        let tail = density * p * t;
        (if self < 0.0 { tail } else { 1.0 - tail }, density)
    }

    #[inline(always)]
    fn to_double(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    vectors!(
        f64,
        f64s,
        2,
        F64_LANES,
        as_simd_f64s,
        as_mut_simd_f64s,
        splat_f64s,
        add_f64s,
        sub_f64s,
        mul_f64s,
        mul_add_e_f64s
    );

    fn exp(self) -> Self {
        self.exp()
    }

    fn normal(self) -> (Self, Self) {
        let density = (-0.5 * self * self).exp() / (2.0 * std::f64::consts::PI).sqrt();
        (
            0.5 * erfc_f64(-self * std::f64::consts::FRAC_1_SQRT_2),
            density,
        )
    }

    fn to_double(self) -> f64 {
        self
    }
}

/// A number, or a vector of numbers that are transformed alike.
pub(crate) trait Value: Copy + Add<Output = Self> + Sub<Output = Self> {
    fn times(self, factor: f64) -> Self;

    /// Rounds to the 8 binary digits of bf16: the upper part of Veltkamp's splitting, `p - (p - x)` with `p = (2^16 +
    /// 1)·x` [Dekker 1971].
    #[inline(always)]
    fn rounded(self) -> Self {
        let scaled = self.times(65_537.0);
        scaled - (scaled - self)
    }
}

impl<T: Real> Value for T {
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        self * T::from_f64(factor)
    }
}

/// One register of `S`, with operators.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<S: Simd, T: Real>(pub S, pub T::Vector<S>);

impl<S: Simd, T: Real> Add for Lanes<S, T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0, T::add_vectors(self.0, self.1, other.1))
    }
}

impl<S: Simd, T: Real> Sub for Lanes<S, T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0, T::sub_vectors(self.0, self.1, other.1))
    }
}

impl<S: Simd, T: Real> Value for Lanes<S, T> {
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        let factor = T::splat(self.0, T::from_f64(factor));
        Self(self.0, T::mul_vectors(self.0, self.1, factor))
    }
}

/// The values of a contiguous storage.
pub(crate) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
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

/// Whether `S` means plain loops. Pulp's own versions of these are calls, and its fused product is a library function;
/// ours compile to instructions.
#[inline(always)]
fn is_plain<S: Simd>() -> bool {
    TypeId::of::<S>() == TypeId::of::<Scalar128b>()
}

/// `f` of each pair of numbers in vectors that are arrays `A`.
#[inline(always)]
fn each<T: Copy, A: Pod + AsMut<[T]>, V: Pod>(a: V, b: V, f: impl Fn(T, T) -> T) -> V {
    let (mut a, mut b): (A, A) = (cast(a), cast(b));
    for (a, b) in a.as_mut().iter_mut().zip(b.as_mut()) {
        *a = f(*a, *b);
    }
    cast(a)
}

const CACHE_LINE: usize = 64;

/// The first `len` values from a cache line on; `values` grows if it is too short.
pub(crate) fn aligned<T: Real>(values: &mut Vec<T>, len: usize) -> &mut [T] {
    let room = len + CACHE_LINE / size_of::<T>();
    if values.len() < room {
        values.resize(room, T::zero());
    }
    let skipped = aligned_start(values);
    &mut values[skipped..][..len]
}

/// The index at which the values of [`aligned`] begin.
pub(crate) fn aligned_start<T>(values: &[T]) -> usize {
    match values.as_ptr().align_offset(CACHE_LINE) {
        usize::MAX => 0, // only an interpreter such as Miri does not know
        skipped => skipped,
    }
}

fn lend<T: Real, R>(
    kept: &'static std::thread::LocalKey<RefCell<Vec<T>>>,
    len: usize,
    f: impl FnOnce(&mut [T]) -> R,
) -> R {
    // The buffer is taken out while in use: a nested call allocates its own.
    let mut values = kept.take();
    let result = f(aligned(&mut values, len));
    kept.set(values);
    result
}

#[cfg(test)]
mod tests {
    use super::Real;

    /// Every thousandth of a unit; coarser in an interpreter.
    const STRIDE: usize = if cfg!(miri) { 997 } else { 1 };

    #[test]
    fn exp_is_within_two_ulp_over_its_range() {
        for i in (-86_000..88_000).step_by(STRIDE) {
            let x = i as f32 * 1e-3;
            let exact = (x as f64).exp();
            let error = (Real::exp(x) as f64 - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!(Real::sigmoid(0f32), 0.5);
        assert!(Real::sigmoid(-200f32) < 1e-37 && Real::sigmoid(200f32) == 1.0);
    }

    #[test]
    fn the_normal_distribution_in_f32_is_within_three_ten_millionths() {
        for i in (-12_000..12_000).step_by(STRIDE) {
            let x = i as f32 * 1e-3;
            let ((p, d), (exact_p, exact_d)) = (x.normal(), f64::from(x).normal());
            let error = (f64::from(p) - exact_p)
                .abs()
                .max((f64::from(d) - exact_d).abs());
            assert!(error < 3e-7, "at {x}: {error:e}");
        }
        assert_eq!(0f64.normal().0, 0.5);
        assert!((1f64.normal().0 - 0.841_344_746_068_542_9).abs() < 1e-12);
    }
}
