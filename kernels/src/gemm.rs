//! Matrix products: a block of rows at a time, its sums in registers, against a panel two vectors wide.
//!
//! The right side is packed: panel after panel, each holding its columns' values row by row
//! ([`Isa::panel`](crate::isa::Isa::panel) wide, zeros past the edge). The left side is not copied; its rows begin
//! `stride` values apart, which may be less than a row: a convolution is a product over such overlapping rows. Sums run
//! over `k` in order, so that the partition into tasks changes no bits.

use pulp::Simd;

use crate::real::Real;

/// Splits `m` rows into the largest register blocks and hands `$block` each with its first row.
macro_rules! in_blocks {
    ($simd:ty, $m:expr, |$rows:ident, $first:ident| $block:expr) => {{
        let mut $first = 0;
        if <$simd as pulp::Simd>::REGISTER_COUNT >= 32 {
            const $rows: usize = 12;
            while $m - $first >= $rows {
                $block;
                $first += $rows;
            }
        }
        $crate::gemm::in_blocks!(@ $m, $rows, $first, $block, 6);
        $crate::gemm::in_blocks!(@ $m, $rows, $first, $block, 4);
        $crate::gemm::in_blocks!(@ $m, $rows, $first, $block, 2);
        $crate::gemm::in_blocks!(@ $m, $rows, $first, $block, 1);
    }};
    (@ $m:expr, $rows:ident, $first:ident, $block:expr, $n:literal) => {{
        const $rows: usize = $n;
        while $m - $first >= $rows {
            $block;
            $first += $rows;
        }
    }};
}

pub(crate) use in_blocks;

/// `out = a · panel`: row `i` of `a` begins at `i · stride`, `panel` is `[K, W]`, `out` is `[m, W]`.
#[inline(always)]
pub(crate) fn product<S: Simd, T: Real>(
    simd: S,
    m: usize,
    (a, stride): (&[T], usize),
    panel: &[T],
    out: &mut [T],
) {
    let width = 2 * T::lanes::<S>();
    in_blocks!(S, m, |ROWS, first| {
        let (a, out) = (&a[first * stride..], &mut out[first * width..]);
        block::<S, T, ROWS, false>(simd, (a, stride), panel, out);
    });
}

/// `out += aᵀ · panel`: `a` is `[K, ·]`, its row `k` begins at `k · stride` and gives `m` values;
/// `panel` is `[K, W]`, `out` is `[m, W]`.
#[inline(always)]
pub(crate) fn add_transposed_product<S: Simd, T: Real>(
    simd: S,
    m: usize,
    (a, stride): (&[T], usize),
    panel: &[T],
    out: &mut [T],
) {
    let width = 2 * T::lanes::<S>();
    in_blocks!(S, m, |ROWS, first| {
        let (a, out) = (&a[first..], &mut out[first * width..]);
        block::<S, T, ROWS, true>(simd, (a, stride), panel, out);
    });
}

/// One register block, `ROWS` rows, of [`product`] or of [`add_transposed_product`].
#[allow(clippy::manual_memcpy, clippy::needless_range_loop)] // such loops are unrolled, the sums in registers
#[inline(always)]
fn block<S: Simd, T: Real, const ROWS: usize, const TRANSPOSED: bool>(
    simd: S,
    (a, stride): (&[T], usize),
    panel: &[T],
    out: &mut [T],
) {
    let (panel, _) = T::vectors::<S>(panel).0.as_chunks::<2>();
    let (out, _) = T::vectors_mut::<S>(out).0.as_chunks_mut::<2>();
    // Bounds are checked here once: a check in the loop would be an exit, for which the compiler keeps the sums in
    // memory.
    let last = panel.len().saturating_sub(1);
    let needed = if TRANSPOSED {
        last * stride + ROWS
    } else {
        (ROWS - 1) * stride + panel.len()
    };
    assert!(a.len() >= needed && out.len() >= ROWS);
    let mut sums = [[T::splat(simd, T::zero()); 2]; ROWS];
    if TRANSPOSED {
        for i in 0..ROWS {
            sums[i] = out[i];
        }
    }
    for (k, [left, right]) in panel.iter().enumerate() {
        for i in 0..ROWS {
            let at = if TRANSPOSED {
                k * stride + i
            } else {
                i * stride + k
            };
            // SAFETY: k < panel.len() and i < ROWS, so that it is below `needed`.
            let x = T::splat(simd, unsafe { *a.get_unchecked(at) });
            sums[i][0] = T::mul_add(simd, x, *left, sums[i][0]);
            sums[i][1] = T::mul_add(simd, x, *right, sums[i][1]);
        }
    }
    for i in 0..ROWS {
        out[i] = sums[i];
    }
}

/// Packs `b`, whose element `(k, n)` is `b[k · row_stride + n · column_stride]`, into panels.
pub(crate) fn pack<T: Real>(
    b: &[T],
    (k, n): (usize, usize),
    (row_stride, column_stride): (usize, usize),
    width: usize,
    out: &mut [T],
) {
    for (panel, out) in out
        .chunks_exact_mut(k * width)
        .take(n.div_ceil(width))
        .enumerate()
    {
        pack_panel(
            b,
            (k, n),
            (row_stride, column_stride),
            panel * width,
            width,
            out,
        );
    }
}

/// One panel, from column `first` on.
pub(crate) fn pack_panel<T: Real>(
    b: &[T],
    (k, n): (usize, usize),
    (row_stride, column_stride): (usize, usize),
    first: usize,
    width: usize,
    out: &mut [T],
) {
    let inside = width.min(n - first);
    if column_stride == 1 {
        for (i, out) in out.chunks_exact_mut(width).take(k).enumerate() {
            let (out, past) = out.split_at_mut(inside);
            out.copy_from_slice(&b[i * row_stride + first..][..inside]);
            past.fill(T::zero());
        }
        return;
    }
    // Columns lie in rows of the source: sixteen at a time stay in the cache until they are used up.
    const DEPTH: usize = 16;
    for (block, out) in out[..k * width].chunks_mut(DEPTH * width).enumerate() {
        if inside < width {
            out.fill(T::zero());
        }
        let rows = out.len() / width;
        for j in 0..inside {
            let source = &b[(first + j) * column_stride + block * DEPTH * row_stride..];
            for i in 0..rows {
                out[i * width + j] = source[i * row_stride];
            }
        }
    }
}

/// The length of a packed matrix of `k × n`.
pub(crate) fn packed_len(k: usize, n: usize, width: usize) -> usize {
    k * n.next_multiple_of(width)
}
