//! Convolution as one matrix product over overlapping rows: row `r` reads `K·Ci` values in a row from `r·Ci`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::epilogue::Epilogue;
use super::partition::{Partition, WeightGradient};
use super::shape::Shape;
use crate::bf16::{self, Pairs};
use crate::compute_type::ComputeType;
use crate::disjoint::DisjointSlice;
use crate::gemm::{add_transposed_product, pack_panel, product};
use crate::isa::Isa;
use crate::norm::Prologue;
use crate::real::Real;

/// `y = epilogue(conv(x))`; `weight` is packed.
pub(super) fn convolve<T: Real>(
    isa: Isa,
    s: Shape,
    x: Prologue<'_, T>,
    weight: &[T],
    epilogue: Epilogue<'_, T>,
    y: &DisjointSlice<'_, T>,
) {
    // Without taps, a norm or a residual that ties rows to their clip, all clips are one.
    let one_clip = epilogue
        .residual
        .is_some_and(|residual| residual.len() == s.t * s.co);
    let s = if s.kernel == 1 && x.norm.is_none() && !one_clip {
        s.joined()
    } else {
        s
    };
    const ROWS: usize = 48;
    let width = isa.panel::<T>();
    let partition = Partition::new(s.b, s.t, ROWS, s.co.div_ceil(width));
    partition.for_each_task(|clip, frames, panels| {
        let copied = if lays_out(s, &x) {
            (frames.len() + 2 * s.pad()) * s.ci
        } else {
            0
        };
        let pairs = s.pairs::<T>(isa);
        let joined = if pairs.is_some() { copied / 2 } else { 0 };
        T::with_scratch(copied + joined + frames.len() * width, |scratch| {
            let (rows, scratch) = scratch.split_at_mut(copied);
            let (joined, products) = scratch.split_at_mut(joined);
            isa.run(Direct {
                s,
                pairs,
                x,
                weight,
                epilogue,
                y,
                clip,
                frames,
                panels,
                rows,
                joined,
                products,
            });
        });
    });
}

/// Whether rows must be copied: padded, normalised or rounded.
#[inline(always)]
fn lays_out<T>(s: Shape, x: &Prologue<'_, T>) -> bool {
    s.kernel > 1 || x.norm.is_some() || s.compute_type == ComputeType::Bf16
}

/// One task of a convolution that is a plain product.
struct Direct<'a, T> {
    s: Shape,
    pairs: Option<Pairs>,
    x: Prologue<'a, T>,
    weight: &'a [T],
    epilogue: Epilogue<'a, T>,
    y: &'a DisjointSlice<'a, T>,
    clip: usize,
    frames: Range<usize>,
    panels: Range<usize>,
    rows: &'a mut [T],
    /// The rows as pairs, half as long.
    joined: &'a mut [T],
    products: &'a mut [T],
}

impl<T: Real> WithSimd for Direct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            s, x, clip, frames, ..
        } = self;
        let width = 2 * T::lanes::<S>();
        let depth = s.kernel * s.ci;
        let rows = if lays_out(s, &x) {
            let wanted = (frames.clone(), 0..s.ci);
            x.read_padded((s.t, s.ci), s.pad(), clip, wanted, self.rows);
            if s.compute_type == ComputeType::Bf16 {
                bf16::round(self.rows);
            }
            if let Some(pairs) = self.pairs {
                pairs.join_columns(self.rows, self.joined);
            }
            &*self.rows
        } else {
            &x.x[(clip * s.t + frames.start) * s.ci..]
        };
        for panel in self.panels {
            let weight = |held: usize| &self.weight[panel * held * width..][..held * width];
            match self.pairs {
                None => {
                    let weight = weight(depth);
                    product(simd, frames.len(), (rows, s.ci), weight, self.products);
                }
                Some(pairs) => {
                    let (rows, weight) = ((&*self.joined, s.ci / 2), weight(depth / 2));
                    pairs.product(frames.len(), rows, weight, self.products);
                }
            }
            let channel = panel * width;
            let inside = width.min(s.co - channel);
            for (frame, values) in frames.clone().zip(self.products.chunks_exact(width)) {
                let row = clip * s.t + frame;
                let at = row * s.co + channel;
                // SAFETY: tasks have different frames or different panels, and this one looks at one part
                // at a time.
                let y = unsafe { self.y.part(at..at + inside) };
                self.epilogue
                    .put(simd, (row, s.t, s.co), channel, values, y);
            }
        }
    }
}

/// Frames that a product of the weight gradient sums over at once.
const DEPTH: usize = 192;

/// Lengths of `rows` and `columns` of a [`WeightGradient`] over `channels` input channels.
pub(super) fn backward_scratch(s: Shape, channels: usize, width: usize) -> (usize, usize) {
    ((DEPTH + 2 * s.pad()) * channels, DEPTH * width)
}

/// Adds the gradients of the taps to the task's sums.
pub(super) fn weight_gradient<T: Real>(isa: Isa, task: WeightGradient<'_, T>) {
    isa.run(task);
}

impl<T: Real> WithSimd for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            s,
            x,
            dy,
            channels,
            sums,
            rows,
            columns,
        } = self;
        let (width, c) = (2 * T::lanes::<S>(), channels.len());
        for clip in 0..s.b {
            for first in (0..s.t).step_by(DEPTH) {
                let frames = first..s.t.min(first + DEPTH);
                let n = frames.len();
                let wanted = (frames.clone(), channels.clone());
                x.read_padded((s.t, s.ci), s.pad(), clip, wanted, rows);
                let dy = &dy[(clip * s.t + first) * s.co..][..n * s.co];
                for panel in 0..s.co.div_ceil(width) {
                    let column = &mut columns[..n * width];
                    pack_panel(dy, (n, s.co), (s.co, 1), panel * width, width, column);
                    for tap in 0..s.kernel {
                        let sums = &mut sums[(panel * s.kernel + tap) * c * width..][..c * width];
                        add_transposed_product(simd, c, (&rows[tap * c..], c), column, sums);
                    }
                }
            }
        }
    }
}
