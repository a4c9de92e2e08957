//! The gradients of weight and bias.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::partition::{WeightGradient, part};
use super::shape::Shape;
use super::{direct, winograd};
use crate::compute_type::ComputeType;
use crate::disjoint::DisjointSlice;
use crate::gemm::packed_len;
use crate::isa::Isa;
use crate::norm::Prologue;
use crate::real::Real;
use crate::team;

/// The gradients of weight and bias, which overwrite `dw` and `db` or are added to them.
#[allow(clippy::too_many_arguments)] // two inputs, two results, and how
pub(crate) fn backward_weight<T: Real>(
    isa: Isa,
    s: Shape,
    x: Prologue<'_, T>,
    dy: &[T],
    dw: &mut [T],
    db: Option<&mut [T]>,
    add: bool,
) {
    assert!(x.x.len() == s.b * s.t * s.ci && dy.len() == s.b * s.t * s.co);
    assert!(dw.len() == s.kernel * s.ci * s.co);
    let s = Shape {
        compute_type: ComputeType::F32,
        ..s
    };
    if let Some(db) = db {
        if !add {
            db.fill(T::zero());
        }
        isa.run(AddRows { rows: dy, sums: db });
    }
    let s = if s.kernel == 1 && x.norm.is_none() {
        s.joined()
    } else {
        s
    };
    let tap_gradients = TapGradients {
        isa,
        s,
        x,
        dy,
        dw: &DisjointSlice::new(dw),
        add,
    };
    // Each task computes all columns of some input channels.
    let tasks = rayon::current_num_threads().min(s.ci.div_ceil(12));
    team::for_each(tasks, |task| {
        let channels = part(s.ci.div_ceil(6), tasks, task);
        tap_gradients.compute(channels.start * 6..s.ci.min(channels.end * 6));
    });
}

/// The inputs and the result of [`backward_weight`], shared by its tasks.
struct TapGradients<'a, T> {
    isa: Isa,
    s: Shape,
    x: Prologue<'a, T>,
    dy: &'a [T],
    dw: &'a DisjointSlice<'a, T>,
    add: bool,
}

impl<T: Real> TapGradients<'_, T> {
    /// All taps' rows of input channels `channels`. No two calls may share a channel.
    fn compute(&self, channels: Range<usize>) {
        let (isa, s, n) = (self.isa, self.s, channels.len());
        let width = isa.panel::<T>();
        let is_winograd = winograd::is_winograd(isa, s);
        let (planes, (rows, columns)) = if is_winograd {
            (winograd::points(s), winograd::backward_scratch(s, n, width))
        } else {
            (s.kernel, direct::backward_scratch(s, n, width))
        };
        let sums = planes * packed_len(n, s.co, width);
        T::with_scratch(sums + rows + columns, |scratch| {
            let (sums, scratch) = scratch.split_at_mut(sums);
            let (rows, columns) = scratch.split_at_mut(rows);
            sums.fill(T::zero());
            let task = WeightGradient {
                s,
                x: self.x,
                dy: self.dy,
                channels: channels.clone(),
                sums,
                rows,
                columns,
            };
            if is_winograd {
                winograd::weight_gradient(isa, task);
            } else {
                direct::weight_gradient(isa, task);
            }
            for (panel, sums) in sums.chunks_exact_mut(planes * n * width).enumerate() {
                if is_winograd {
                    winograd::unpack(isa, s, sums);
                }
                let taps = sums.chunks_exact(n * width).take(s.kernel);
                for (tap, sums) in taps.enumerate() {
                    for (channel, values) in channels.clone().zip(sums.chunks_exact(width)) {
                        self.store(tap * s.ci + channel, panel * width, values);
                    }
                }
            }
        });
    }

    /// Stores one panel's `values` to row `row` of the result, from column `first` on.
    fn store(&self, row: usize, first: usize, values: &[T]) {
        let at = row * self.s.co + first;
        let inside = values.len().min(self.s.co - first);
        // SAFETY: tasks have different input channels, thus different rows, and this one looks at one part at a time.
        let dw = unsafe { self.dw.part(at..at + inside) };
        for (dw, &value) in dw.iter_mut().zip(values) {
            *dw = if self.add { *dw + value } else { value };
        }
    }
}

/// Adds every row of `rows` to `sums`.
struct AddRows<'a, T> {
    rows: &'a [T],
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for AddRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact(self.sums.len()) {
            for (sum, &x) in self.sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}
