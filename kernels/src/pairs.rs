//! Products of bf16 numbers by instructions made for them: two at once, where f32 has one.
//!
//! Operands are rounded to bf16 already. Two that are neighbours in `k` share the four bytes of an f32,
//! the earlier in the lower half, so that a buffer of pairs is one of f32 with half the rows or half
//! the values a row. Sums stay in f32.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

use pulp::bytemuck::{cast_slice, cast_slice_mut};

use crate::real::Real;

/// Stands for a processor that multiplies pairs, which is where it comes from.
#[derive(Clone, Copy)]
pub(crate) struct Pairs(());

impl Pairs {
    /// Whether this processor has AVX512-BF16.
    pub fn try_new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bf16")
        {
            return Some(Self(()));
        }
        None
    }

    /// Joins neighbours in each row of `width` values, an even number: its first half holds the pairs.
    #[inline(always)]
    pub fn join_columns<T: Real>(self, values: &mut [T], width: usize) {
        for row in cast_slice_mut::<T, f32>(values).chunks_exact_mut(width) {
            // Blocks are read before they are written over.
            const BLOCK: usize = 32;
            let mut block = [0.0; BLOCK];
            for first in (0..width).step_by(BLOCK) {
                let n = BLOCK.min(width - first);
                block[..n].copy_from_slice(&row[first..][..n]);
                let (pairs, _) = block.as_chunks::<2>();
                for (to, &[low, high]) in row[first / 2..][..n / 2].iter_mut().zip(pairs) {
                    *to = join(low, high);
                }
            }
        }
    }

    /// Joins each row of `width` values with the next, an even number in all: the first half of the rows
    /// holds the pairs.
    #[inline(always)]
    pub fn join_rows<T: Real>(self, values: &mut [T], width: usize) {
        let values = cast_slice_mut::<T, f32>(values);
        for i in 0..values.len() / (2 * width) {
            let (done, rest) = values.split_at_mut(2 * i * width);
            let (low, high) = rest[..2 * width].split_at_mut(width);
            for (low, &high) in low.iter_mut().zip(&*high) {
                *low = join(*low, high);
            }
            if i > 0 {
                done[i * width..][..width].copy_from_slice(low);
            }
        }
    }

    /// [`product`](crate::gemm::product) of pairs: all lengths but `out`'s count these.
    pub fn product<T: Real>(
        self,
        m: usize,
        (a, stride): (&[T], usize),
        panel: &[T],
        out: &mut [T],
    ) {
        let (a, panel) = (cast_slice(a), cast_slice(panel));
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `self` exists only where the processor was found to have AVX-512F and AVX512-BF16.
        unsafe {
            product(m, (a, stride), panel, cast_slice_mut(out));
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _: (usize, &[f32], usize, &[f32], &mut [T]) = (m, a, stride, panel, out);
            unreachable!("no other processor multiplies pairs");
        }
    }
}

/// Two numbers of eight digits in one place.
#[inline(always)]
fn join(low: f32, high: f32) -> f32 {
    f32::from_bits(low.to_bits() >> 16 | high.to_bits() & 0xffff_0000)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn product(m: usize, (a, stride): (&[f32], usize), panel: &[f32], out: &mut [f32]) {
    let (panel, _) = panel.as_chunks::<16>();
    let (out, _) = out.as_chunks_mut::<16>();
    crate::gemm::in_blocks!(pulp::x86::V4, m, |ROWS, first| {
        block::<ROWS>((&a[first * stride..], stride), panel, &mut out[2 * first..]);
    });
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn block<const ROWS: usize>(
    (a, stride): (&[f32], usize),
    panel: &[[f32; 16]],
    out: &mut [[f32; 16]],
) {
    let (panel, _) = panel.as_chunks::<2>();
    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &a[i * stride..][..panel.len()];
    }
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (k, [left, right]) in panel.iter().enumerate() {
        // SAFETY: both are 64 bytes, and any bytes are 32 bf16 numbers.
        let left = unsafe { transmute::<[f32; 16], __m512bh>(*left) };
        // SAFETY: as above.
        let right = unsafe { transmute::<[f32; 16], __m512bh>(*right) };
        for i in 0..ROWS {
            let x = _mm512_set1_epi32(rows[i][k].to_bits().cast_signed());
            // SAFETY: as above.
            let x = unsafe { transmute::<__m512i, __m512bh>(x) };
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], x, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], x, right);
        }
    }
    for (out, sum) in out.iter_mut().zip(sums.as_flattened()) {
        // SAFETY: both are 64 bytes, which may be any numbers.
        *out = unsafe { transmute::<__m512, [f32; 16]>(*sum) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    /// Integers, whose sums are exact in any order.
    fn draw(n: usize, seed: u64) -> Vec<f32> {
        let small = draws(seed).map(|x| (x * 60.0).round() as f32);
        small.take(n).collect()
    }

    #[test]
    fn a_product_of_pairs_is_that_of_numbers() {
        let Some(pairs) = Pairs::try_new() else {
            return; // no such processor
        };
        const WIDTH: usize = 32;
        for (m, k, stride) in [(1, 2, 2), (27, 350, 70), (12, 6, 2), (37, 64, 64)] {
            let len = (m - 1) * stride + k;
            let (a, panel) = (draw(len, 1), draw(k * WIDTH, 2));
            let mut expected = vec![0.0; m * WIDTH];
            for (i, row) in expected.chunks_exact_mut(WIDTH).enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = (0..k)
                        .map(|k| a[i * stride + k] * panel[k * WIDTH + j])
                        .sum();
                }
            }
            let (mut a, mut panel) = (a, panel);
            pairs.join_columns(&mut a, len);
            pairs.join_rows(&mut panel, WIDTH);
            let mut found = vec![f32::NAN; m * WIDTH];
            pairs.product(
                m,
                (&a[..len / 2], stride / 2),
                &panel[..k / 2 * WIDTH],
                &mut found,
            );
            assert_eq!(found, expected, "{m} rows of {k}");
        }
    }
}
