//! "Same" convolution over frames, stride 1, odd kernel, on slices.

use rayon::prelude::*;

use crate::isa::Isa;
use crate::matmul::{Threads, View, matmul};
use crate::norm;
use crate::real::{Real, zeros};
use crate::winograd;

/// Sizes of one convolution: `[B, T, Ci]` → `[B, T, Co]` with `weight: [K·Ci, Co]`, `K` odd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dims {
    pub b: usize,
    pub t: usize,
    pub ci: usize,
    pub co: usize,
    pub kernel: usize,
}

/// What a convolution reads: frames, or what a norm makes of them.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub x: &'a [T],
    pub norm: Option<norm::Applied<'a, T>>,
}

impl<T: Real> Source<'_, T> {
    fn values(&self, d: Dims) -> Vec<T> {
        let mut values = self.x.to_vec();
        if let Some(norm) = &self.norm {
            norm.apply(&mut values, (d.b, d.t, d.ci));
        }
        values
    }
}

/// Weights in the order of their use.
pub(crate) struct Packed<T>(Vec<T>);

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Real> Packed<T> {
    /// For [`forward`].
    pub fn forward(&mut self, _isa: Isa, weight: &[T], _d: Dims) {
        self.0.clear();
        self.0.extend_from_slice(weight);
    }

    /// For [`backward_input`]: taps reversed, each transposed.
    pub fn backward(&mut self, _isa: Isa, weight: &[T], d: Dims) {
        self.0.clear();
        for tap in weight.rchunks_exact(d.ci * d.co) {
            for o in 0..d.co {
                self.0.extend(tap[o..].iter().step_by(d.co));
            }
        }
    }
}

/// Convolves over `T` with zero padding, adds `bias: [Co]`, and `residual: [B, T, Co]`, or one clip's,
/// `[T, Co]`, the same for each clip. Overwrites `y`.
pub(crate) fn forward<T: Real>(
    _isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    weight: &Packed<T>,
    bias: Option<&[T]>,
    residual: Option<&[T]>,
    y: &mut [T],
) {
    y.copy_from_slice(&convolve(&x.values(d), &weight.0, bias, d));
    if let Some(residual) = residual {
        for y in y.chunks_exact_mut(residual.len()) {
            y.iter_mut().zip(residual).for_each(|(y, &r)| *y += r);
        }
    }
}

/// Writes, or adds, the gradient of the input.
pub(crate) fn backward_input<T: Real>(
    _isa: Isa,
    d: Dims,
    dy: &[T],
    weight: &Packed<T>,
    dx: &mut [T],
    add: bool,
) {
    let turned = Dims {
        ci: d.co,
        co: d.ci,
        ..d
    };
    store(&convolve(dy, &weight.0, None, turned), dx, add);
}

/// Writes, or adds, the gradients of the weight and the bias.
pub(crate) fn backward_weight<T: Real>(
    _isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    dy: &[T],
    dw: &mut [T],
    db: Option<&mut [T]>,
    add: bool,
) {
    store(&grad_weight(&x.values(d), dy, d), dw, add);
    if let Some(db) = db {
        store(&column_sums(dy, d.co), db, add);
    }
}

fn store<T: Real>(values: &[T], to: &mut [T], add: bool) {
    for (to, &value) in to.iter_mut().zip(values) {
        *to = if add { *to + value } else { value };
    }
}

impl Dims {
    fn pad(self) -> usize {
        self.kernel / 2
    }

    /// The sizes for Winograd's form where it is the faster one: its transforms cost as much as a few
    /// channels more.
    fn winograd(self) -> Option<winograd::Dims> {
        let Self { b, t, ci, co, .. } = self;
        let worth = self.kernel == 3 && ci.min(co) >= 32 && t >= 8;
        worth.then_some(winograd::Dims { b, t, ci, co })
    }

    /// Rows of one clip in the padded buffer.
    fn padded(self) -> usize {
        self.t + 2 * self.pad()
    }

    /// Rows of the product over the padded buffer: every start of `K` rows, those that straddle two
    /// clips included (they are computed and dropped).
    fn starts(self) -> usize {
        self.b * self.padded() - 2 * self.pad()
    }
}

/// Copies `[B, T, C]` into zero-padded rows `[B · (T + 2·pad), C]`.
fn padded_rows<T: Real>(x: &[T], b: usize, t: usize, c: usize, pad: usize) -> Vec<T> {
    let mut rows = zeros(b * (t + 2 * pad) * c);
    rows.par_chunks_mut((t + 2 * pad) * c)
        .zip(x.par_chunks(t * c))
        .for_each(|(rows, x)| rows[pad * c..(pad + t) * c].copy_from_slice(x));
    rows
}

/// Without bias, into `[B, T, Co]`; the transposed form of the backward pass uses it too.
fn convolve<T: Real>(x: &[T], weight: &[T], bias: Option<&[T]>, d: Dims) -> Vec<T> {
    if let Some(d) = d.winograd() {
        return winograd::convolve(x, &winograd::transform_taps(weight), bias, d);
    }
    let fill = |row: &mut [T]| {
        if let Some(bias) = bias {
            row.copy_from_slice(bias);
        }
    };
    let weight = View::rows(weight, d.co);
    if d.kernel == 1 {
        let mut y = zeros(d.b * d.t * d.co);
        y.par_chunks_mut(d.co).with_min_len(256).for_each(fill);
        let shape = (d.b * d.t, d.ci, d.co);
        matmul(
            shape,
            View::rows(x, d.ci),
            weight,
            &mut y,
            d.co,
            true,
            Threads::Pool,
        );
        return y;
    }
    // One product over overlapping rows: row r reads K·Ci consecutive values from r·Ci.
    let rows = padded_rows(x, d.b, d.t, d.ci, d.pad());
    let mut wide = zeros(d.starts() * d.co);
    wide.par_chunks_mut(d.co).with_min_len(256).for_each(fill);
    let shape = (d.starts(), d.kernel * d.ci, d.co);
    matmul(
        shape,
        View::rows(&rows, d.ci),
        weight,
        &mut wide,
        d.co,
        true,
        Threads::Pool,
    );
    if d.b == 1 {
        return wide;
    }
    let mut y = zeros(d.b * d.t * d.co);
    y.par_chunks_mut(d.t * d.co)
        .zip(wide.par_chunks(d.padded() * d.co))
        .for_each(|(y, wide)| y.copy_from_slice(&wide[..d.t * d.co]));
    y
}

/// `dW = columnsᵀ · dy`, again one product over overlapping rows.
fn grad_weight<T: Real>(x: &[T], dy: &[T], d: Dims) -> Vec<T> {
    if let Some(d) = d.winograd() {
        return winograd::grad_taps(x, dy, d);
    }
    let mut dw = zeros(d.kernel * d.ci * d.co);
    let shape = (d.kernel * d.ci, d.starts(), d.co);
    if d.kernel == 1 {
        let columns = View::rows(x, d.ci).transposed();
        matmul(
            shape,
            columns,
            View::rows(dy, d.co),
            &mut dw,
            d.co,
            false,
            Threads::Pool,
        );
        return dw;
    }
    let rows = padded_rows(x, d.b, d.t, d.ci, d.pad());
    // Padded like x, then read from its first true row: straddling starts meet zeros.
    let dy = padded_rows(dy, d.b, d.t, d.co, d.pad());
    let columns = View::rows(&rows, d.ci).transposed();
    let dy = View::rows(&dy[d.pad() * d.co..], d.co);
    matmul(shape, columns, dy, &mut dw, d.co, false, Threads::Pool);
    dw
}

fn column_sums<T: Real>(rows: &[T], width: usize) -> Vec<T> {
    let mut sums = zeros(width);
    for row in rows.chunks(width) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    sums
}
