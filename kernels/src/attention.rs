//! Multi-head self-attention over frames on slices, scores recomputed in the backward pass.

use rayon::prelude::*;

use crate::isa::{Isa, vectorised};
use crate::matmul::{Threads, View, matmul};
use crate::real::{Real, zeros};

/// `softmax(Q·Kᵀ/√d)·V` for each head [Vaswani et al. 2017]: `qkv: [B, T, 3·C]` → `y: [B, T, C]`.
pub(crate) fn forward<T: Real>(
    _isa: Isa,
    qkv: &[T],
    (b, t, c): (usize, usize, usize),
    heads: usize,
    y: &mut [T],
) {
    let head = |i| Head::of(qkv, t, 3 * c, heads, i).forward();
    let parts: Vec<Vec<T>> = (0..b * heads).into_par_iter().map(head).collect();
    gather(&parts, t, c / heads, c, y);
}

/// Assigns the gradient of `qkv`.
pub(crate) fn backward<T: Real>(
    _isa: Isa,
    qkv: &[T],
    (b, t, c): (usize, usize, usize),
    heads: usize,
    dy: &[T],
    dqkv: &mut [T],
) {
    let depth = c / heads;
    let head = |i: usize| {
        let clip = &dy[i / heads * t * c..][..t * c];
        let dy = View::rows(&clip[i % heads * depth..], c);
        Head::of(qkv, t, 3 * c, heads, i).backward(dy)
    };
    let mut parts: Vec<[Vec<T>; 3]> = (0..b * heads).into_par_iter().map(head).collect();
    // Per clip: all heads' dq, then dk, then dv.
    let mut blocks = Vec::with_capacity(3 * b * heads);
    for clip in parts.chunks_exact_mut(heads) {
        for which in 0..3 {
            blocks.extend(
                clip.iter_mut()
                    .map(|grads| std::mem::take(&mut grads[which])),
            );
        }
    }
    gather(&blocks, t, depth, 3 * c, dqkv);
}

/// One head of one clip: strided views into its `[T, 3·C]` rows.
struct Head<'a, T> {
    q: View<'a, T>,
    k: View<'a, T>,
    v: View<'a, T>,
    t: usize,
    depth: usize,
}

impl<'a, T: Real> Head<'a, T> {
    fn of(qkv: &'a [T], t: usize, width: usize, heads: usize, index: usize) -> Self {
        let depth = width / 3 / heads;
        let clip = &qkv[index / heads * t * width..][..t * width];
        let part = |i: usize| View::rows(&clip[i * width / 3 + index % heads * depth..], width);
        Self {
            q: part(0),
            k: part(1),
            v: part(2),
            t,
            depth,
        }
    }

    fn scale(&self) -> T {
        T::from_f64((self.depth as f64).powf(-0.5))
    }

    /// `softmax(Q·Kᵀ/√d)`, `[T, T]`.
    fn weights(&self) -> Vec<T> {
        let (t, depth) = (self.t, self.depth);
        let mut scores = zeros(t * t);
        matmul(
            (t, depth, t),
            self.q,
            self.k.transposed(),
            &mut scores,
            t,
            false,
            Threads::One,
        );
        let scale = self.scale();
        vectorised(|| {
            scores
                .chunks_exact_mut(t)
                .for_each(|row| softmax_row(row, scale));
        });
        scores
    }

    fn forward(&self) -> Vec<T> {
        let (t, depth) = (self.t, self.depth);
        let mut out = zeros(t * depth);
        let weights = self.weights();
        matmul(
            (t, t, depth),
            View::rows(&weights, t),
            self.v,
            &mut out,
            depth,
            false,
            Threads::One,
        );
        out
    }

    /// Gradients of q, k and v, each `[T, D]`, given that of the output.
    fn backward(&self, dout: View<'_, T>) -> [Vec<T>; 3] {
        let (t, depth) = (self.t, self.depth);
        let weights = self.weights();
        let mut dv = zeros(t * depth);
        matmul(
            (t, t, depth),
            View::rows(&weights, t).transposed(),
            dout,
            &mut dv,
            depth,
            false,
            Threads::One,
        );
        let mut ds = zeros(t * t);
        matmul(
            (t, depth, t),
            dout,
            self.v.transposed(),
            &mut ds,
            t,
            false,
            Threads::One,
        );
        let scale = self.scale();
        vectorised(|| {
            for (ds, w) in ds.chunks_exact_mut(t).zip(weights.chunks_exact(t)) {
                let mean = fold(ds, w, T::zero(), |sum, d, w| sum + d * w, |a, b| a + b);
                for (d, &w) in ds.iter_mut().zip(w) {
                    *d = w * (*d - mean) * scale;
                }
            }
        });
        let (mut dq, mut dk) = (zeros(t * depth), zeros(t * depth));
        let ds = View::rows(&ds, t);
        matmul(
            (t, t, depth),
            ds,
            self.k,
            &mut dq,
            depth,
            false,
            Threads::One,
        );
        matmul(
            (t, t, depth),
            ds.transposed(),
            self.q,
            &mut dk,
            depth,
            false,
            Threads::One,
        );
        [dq, dk, dv]
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

/// Puts the heads of each clip side by side again: `parts` holds `[T, depth]` blocks, `columns` tells
/// where block `i` of a clip begins in its rows of `width`.
fn gather<T: Real>(parts: &[Vec<T>], t: usize, depth: usize, width: usize, out: &mut [T]) {
    let per_clip = width / depth;
    out.par_chunks_mut(t * width)
        .zip(parts.par_chunks(per_clip))
        .for_each(|(out, blocks)| {
            for (i, block) in blocks.iter().enumerate() {
                for (row, source) in out.chunks_exact_mut(width).zip(block.chunks_exact(depth)) {
                    row[i * depth..(i + 1) * depth].copy_from_slice(source);
                }
            }
        });
}
