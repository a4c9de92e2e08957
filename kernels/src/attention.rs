//! Multi-head self-attention over frames; the backward pass computes the scores anew.

use pulp::{Simd, WithSimd};

use crate::disjoint::DisjointSlice;
use crate::gemm::{add_transposed_product, pack, packed_len, product};
use crate::isa::Isa;
use crate::real::Real;
use crate::team;

/// Sizes: `qkv: [B, T, 3·C]` holds queries, keys and values side by side, each with its heads side by side;
/// the result is `[B, T, C]`. `heads` divides `C`.
#[derive(Clone, Copy)]
struct Dims {
    b: usize,
    t: usize,
    c: usize,
    heads: usize,
}

impl Dims {
    fn depth(self) -> usize {
        self.c / self.heads
    }
}

/// `y = softmax(Q·Kᵀ/√d)·V` for each head [Vaswani et al. 2017]: `qkv: [B, T, 3·C]` → `[B, T, C]`.
pub(crate) fn forward<T: Real>(
    isa: Isa,
    qkv: &[T],
    (b, t, c): (usize, usize, usize),
    heads: usize,
    y: &mut [T],
) {
    let d = Dims { b, t, c, heads };
    assert!(qkv.len() == 3 * b * t * c && y.len() == b * t * c);
    let y = DisjointSlice::new(y);
    each_head(d, scratch_len::<T>(isa, d, 1), |index, scratch| {
        isa.run(Head {
            d,
            qkv,
            index,
            scratch,
            y: &y,
            dout: None,
        });
    });
}

/// The gradient of `qkv`, given that of the result.
pub(crate) fn backward<T: Real>(
    isa: Isa,
    qkv: &[T],
    (b, t, c): (usize, usize, usize),
    heads: usize,
    dy: &[T],
    dqkv: &mut [T],
) {
    let d = Dims { b, t, c, heads };
    assert!(qkv.len() == 3 * b * t * c && dqkv.len() == qkv.len() && dy.len() == b * t * c);
    let dqkv = DisjointSlice::new(dqkv);
    each_head(d, scratch_len::<T>(isa, d, 2), |index, scratch| {
        isa.run(Head {
            d,
            qkv,
            index,
            scratch,
            y: &dqkv,
            dout: Some(dy),
        });
    });
}

/// Runs `task` for each head of each clip, with some memory.
fn each_head<T: Real>(d: Dims, scratch: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    team::for_each(d.b * d.heads, |i| {
        T::with_scratch(scratch, |scratch| task(i, scratch));
    });
}

/// `maps` of `[T, T]`, one packed operand, and a panel of results.
fn scratch_len<T: Real>(isa: Isa, d: Dims, maps: usize) -> usize {
    let (t, depth, width) = (d.t, d.depth(), isa.panel::<T>());
    let packed = packed_len(depth, t, width).max(packed_len(t, depth, width));
    maps * t * t + packed + t.max(depth) * width
}

struct Head<'a, T> {
    d: Dims,
    qkv: &'a [T],
    /// Of all heads of all clips.
    index: usize,
    scratch: &'a mut [T],
    /// The result, or the gradient of `qkv` where `dout` is given.
    y: &'a DisjointSlice<'a, T>,
    dout: Option<&'a [T]>,
}

impl<T: Real> WithSimd for Head<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            d,
            qkv,
            index,
            scratch,
            y,
            dout,
        } = self;
        let (t, depth, width) = (d.t, d.depth(), 2 * T::lanes::<S>());
        let (clip, head) = (index / d.heads, index % d.heads);
        let stride = 3 * d.c;
        // The head's queries, keys and values begin here, and go on every `stride`.
        let at = |which: usize| clip * t * stride + which * d.c + head * depth;
        let [q, k, v] = [0, 1, 2].map(|which| &qkv[at(which)..]);
        let (weights, rest) = scratch.split_at_mut(t * t);
        let scale = T::from_f64((depth as f64).powf(-0.5));

        let Some(dout) = dout else {
            let (packed, products) = rest.split_at_mut(rest.len() - t.max(depth) * width);
            pack(k, (depth, t), (1, stride), width, packed);
            square(simd, (t, depth), (q, stride), packed, products, weights);
            for row in weights.chunks_exact_mut(t) {
                softmax_row(row, scale);
            }
            pack(v, (t, depth), (stride, 1), width, packed);
            let to = (clip * t * d.c + head * depth, d.c);
            multiply::<S, T, false>(simd, (t, depth), weights, packed, products, (y, to));
            return;
        };

        let (scores, rest) = rest.split_at_mut(t * t);
        let (packed, products) = rest.split_at_mut(rest.len() - t.max(depth) * width);
        let dout = (&dout[clip * t * d.c + head * depth..], d.c);
        pack(k, (depth, t), (1, stride), width, packed);
        square(simd, (t, depth), (q, stride), packed, products, weights);
        for row in weights.chunks_exact_mut(t) {
            softmax_row(row, scale);
        }
        pack(v, (depth, t), (1, stride), width, packed);
        square(simd, (t, depth), dout, packed, products, scores);
        // dV = Wᵀ·dO
        pack(dout.0, (t, depth), (dout.1, 1), width, packed);
        let to = (y, (at(2), stride));
        multiply::<S, T, true>(simd, (t, depth), weights, packed, products, to);
        for (ds, w) in scores.chunks_exact_mut(t).zip(weights.chunks_exact(t)) {
            let mean = fold(ds, w, T::zero(), |sum, d, w| sum + d * w, |a, b| a + b);
            for (d, &w) in ds.iter_mut().zip(w) {
                *d = w * (*d - mean) * scale;
            }
        }
        // dQ = dS·K
        pack(k, (t, depth), (stride, 1), width, packed);
        let to = (y, (at(0), stride));
        multiply::<S, T, false>(simd, (t, depth), scores, packed, products, to);
        // dK = dSᵀ·Q
        pack(q, (t, depth), (stride, 1), width, packed);
        let to = (y, (at(1), stride));
        multiply::<S, T, true>(simd, (t, depth), scores, packed, products, to);
    }
}

/// Writes `map · packed`, or `mapᵀ · packed`, `[T, depth]`, where a head's row `i` begins at
/// `start + i · stride`.
#[inline(always)]
fn multiply<S: Simd, T: Real, const TRANSPOSED: bool>(
    simd: S,
    (t, depth): (usize, usize),
    map: &[T],
    packed: &[T],
    products: &mut [T],
    (y, (start, stride)): (&DisjointSlice<'_, T>, (usize, usize)),
) {
    let width = 2 * T::lanes::<S>();
    let panels = packed.chunks_exact(t * width).take(depth.div_ceil(width));
    for (panel, packed) in panels.enumerate() {
        if TRANSPOSED {
            products.fill(T::zero());
            add_transposed_product(simd, t, (map, t), packed, products);
        } else {
            product(simd, t, (map, t), packed, products);
        }
        let first = panel * width;
        let inside = width.min(depth - first);
        for (frame, values) in products.chunks_exact(width).take(t).enumerate() {
            let at = start + frame * stride + first;
            // SAFETY: each task is one head of one clip, whose columns are its own, and looks at one part
            // at a time.
            unsafe { y.part(at..at + inside) }.copy_from_slice(&values[..inside]);
        }
    }
}

/// `out[T, T] = a[T, depth] · packed`.
#[inline(always)]
fn square<S: Simd, T: Real>(
    simd: S,
    (t, depth): (usize, usize),
    a: (&[T], usize),
    packed: &[T],
    products: &mut [T],
    out: &mut [T],
) {
    let width = 2 * T::lanes::<S>();
    for panel in 0..t.div_ceil(width) {
        product(
            simd,
            t,
            a,
            &packed[panel * depth * width..][..depth * width],
            products,
        );
        let inside = width.min(t - panel * width);
        for (row, values) in out.chunks_exact_mut(t).zip(products.chunks_exact(width)) {
            row[panel * width..][..inside].copy_from_slice(&values[..inside]);
        }
    }
}

/// Folds two equally long rows in eight strands, which vectorise where a single one would have to keep
/// its order.
#[inline(always)]
fn fold<T: Real>(
    a: &[T],
    b: &[T],
    start: T,
    take: impl Fn(T, T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    const STRANDS: usize = 8;
    let mut strands = [start; STRANDS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<STRANDS>(), b.as_chunks::<STRANDS>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..STRANDS {
            strands[i] = take(strands[i], a[i], b[i]);
        }
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        strands[0] = take(strands[0], a, b);
    }
    strands.into_iter().fold(start, join)
}

/// `softmax(scale · row)`, in place.
#[inline(always)]
fn softmax_row<T: Real>(row: &mut [T], scale: T) {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let max = fold(row, row, row[0], |max, x, _| larger(max, x), larger);
    for x in row.iter_mut() {
        *x = ((*x - max) * scale).exp();
    }
    let sum = fold(row, row, T::zero(), |sum, x, _| sum + x, |a, b| a + b);
    let norm = T::one() / sum;
    for x in row.iter_mut() {
        *x *= norm;
    }
}
