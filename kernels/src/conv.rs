//! "Same" convolution over frames, stride 1, odd kernel; a kernel of one is a linear layer.
//!
//! What it reads may be normalised and activated on the way in ([`Source`]), what it writes gets bias and
//! residual on the way out. Three or five taps between wide maps go by Winograd's form, everything else as
//! one product over overlapping rows: row `r` reads `K·Ci` values in a row from `r·Ci`.

use std::ops::Range;

use candle_core::DType;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::gemm::{add_transposed_product, pack_panel, packed_len, product};
use crate::isa::Isa;
use crate::norm::{Applied, activated};
use crate::pairs::Pairs;
use crate::real::{Real, aligned, aligned_start};
use crate::shared::Shared;
use crate::winograd::{self, Value as _};

/// The digits that products are made of; their sums always have 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 binary digits.
    #[default]
    F32,
    /// 8 binary digits: operands are rounded to bf16 just before they are multiplied.
    Bf16,
}

impl Precision {
    /// The one whose products take the least time: bf16 where the processor has instructions for it,
    /// else f32.
    pub fn fastest() -> Self {
        if Isa::current().is_ok_and(Isa::has_bf16) {
            Self::Bf16
        } else {
            Self::F32
        }
    }
}

/// Sizes of one convolution: `x: [B, T, Ci]`, `weight: [K·Ci, Co]`, `y: [B, T, Co]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dims {
    pub b: usize,
    pub t: usize,
    pub ci: usize,
    pub co: usize,
    pub kernel: usize,
    /// Of the result and of the input's gradient; that of the weight is always made in full.
    pub precision: Precision,
}

impl Dims {
    /// Sizes of the way back: what was written is read.
    fn mirrored(self) -> Self {
        Self {
            ci: self.co,
            co: self.ci,
            ..self
        }
    }

    /// Whether Winograd's form is the faster one.
    pub fn is_winograd(self, isa: Isa) -> bool {
        winograd::fits(isa, self)
    }

    pub fn pad(self) -> usize {
        self.kernel / 2
    }

    /// How bf16 numbers are multiplied, if there are instructions for it that fit.
    pub fn pairs<T: Real>(self, isa: Isa) -> Option<Pairs> {
        let fits = self.precision == Precision::Bf16 && self.ci.is_multiple_of(2);
        isa.pairs().filter(|_| fits && T::DTYPE == DType::F32)
    }

    /// Values that hold `n` operands of a product, an even number where they may be pairs.
    pub fn held<T: Real>(self, isa: Isa, n: usize) -> usize {
        match self.pairs::<T>(isa) {
            Some(_) => n / 2,
            None => n,
        }
    }
}

/// What a convolution reads: a map `[B, T, C]`, or what a norm makes of it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub x: &'a [T],
    pub norm: Option<Applied<'a, T>>,
}

impl<'a, T: Real> Source<'a, T> {
    pub fn plain(x: &'a [T]) -> Self {
        Self { x, norm: None }
    }

    /// Writes channels `channels` of frames `frames` of a clip into rows of `out`.
    #[inline(always)]
    pub fn read(
        &self,
        (t, c): (usize, usize),
        clip: usize,
        frames: Range<usize>,
        channels: Range<usize>,
        out: &mut [T],
    ) {
        let x = &self.x[(clip * t + frames.start) * c..(clip * t + frames.end) * c];
        let rows = x.chunks_exact(c).zip(out.chunks_exact_mut(channels.len()));
        match self.norm {
            None => {
                for (x, out) in rows {
                    out.copy_from_slice(&x[channels.clone()]);
                }
            }
            Some(norm) => {
                let (slope, offset) = norm.line(c, clip);
                let (slope, offset) = (&slope[channels.clone()], &offset[channels.clone()]);
                for (x, out) in rows {
                    activated(norm.activation, &x[channels.clone()], slope, offset, out);
                }
            }
        }
    }
}

/// A convolution's weights, in the order in which its products read them.
#[derive(Debug)]
pub(crate) struct Packed<T>(Vec<T>);

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Real> Packed<T> {
    /// For [`forward`].
    pub fn forward(&mut self, isa: Isa, weight: &[T], d: Dims) {
        self.pack(isa, weight, d, Order { forwards: true });
    }

    /// For [`backward_input`]: taps in reverse, each transposed.
    pub fn backward(&mut self, isa: Isa, weight: &[T], d: Dims) {
        self.pack(isa, weight, d.mirrored(), Order { forwards: false });
    }

    fn pack(&mut self, isa: Isa, weight: &[T], d: Dims, order: Order) {
        let width = isa.panel::<T>();
        let is_winograd = d.is_winograd(isa);
        let (planes, each) = if is_winograd {
            (winograd::points(d), d.ci)
        } else {
            (1, d.kernel * d.ci)
        };
        let make = |first: usize, out: &mut [T]| {
            if is_winograd {
                winograd::pack(isa, d, weight, order, first, out);
                return;
            }
            for (k, out) in out.chunks_exact_mut(d.ci * width).enumerate() {
                let (tap, strides) = order.matrix(weight, d, k);
                pack_panel(tap, (d.ci, d.co), strides, first, width, out);
            }
            if d.precision == Precision::Bf16 {
                isa.run(Round(out));
            }
        };
        let panel = planes * each * width;
        let held = d.held::<T>(isa, panel);
        let out = aligned(&mut self.0, d.co.div_ceil(width) * held);
        out.par_chunks_exact_mut(held)
            .enumerate()
            .for_each(|(i, out)| match d.pairs::<T>(isa) {
                None => make(i * width, out),
                Some(pairs) => T::with_scratch(panel, |made| {
                    make(i * width, made);
                    let planes = made.chunks_exact(each * width);
                    for (made, out) in planes.zip(out.chunks_exact_mut(each * width / 2)) {
                        pairs.join_rows(made, width, out);
                    }
                }),
            });
    }

    /// The values, on a cache line's start as they were when packed.
    fn values(&self) -> &[T] {
        &self.0[aligned_start(&self.0)..]
    }
}

/// The direction in which taps are read.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    forwards: bool,
}

impl Order {
    /// Tap `k` of a convolution of sizes `d`, `[Ci, Co]`, and its strides.
    #[inline(always)]
    pub fn matrix<T>(self, weight: &[T], d: Dims, k: usize) -> (&[T], (usize, usize)) {
        let size = d.ci * d.co;
        if self.forwards {
            (&weight[k * size..][..size], (d.co, 1))
        } else {
            (&weight[(d.kernel - 1 - k) * size..][..size], (1, d.ci))
        }
    }
}

/// What becomes of a product's values.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a, T> {
    pub bias: Option<&'a [T]>,
    /// As large as the result, or one clip of it, the same for all.
    pub residual: Option<&'a [T]>,
    /// Whether the result is added to what is there.
    pub add: bool,
}

impl<T: Real> Finish<'_, T> {
    pub const fn plain(add: bool) -> Self {
        Self {
            bias: None,
            residual: None,
            add,
        }
    }

    /// Puts one panel's `values` where row `row` of the result has its channels from `channel` on; `y`
    /// is that place, `clip` rows make a clip.
    #[inline(always)]
    pub fn put<S: Simd>(
        &self,
        simd: S,
        (row, clip, channels): (usize, usize, usize),
        channel: usize,
        values: &[T],
        y: &mut [T],
    ) {
        let n = y.len();
        let none: &[T] = &[];
        let bias = match self.bias {
            Some(bias) => &bias[channel..][..n],
            None => none,
        };
        let residual = match self.residual {
            Some(residual) => {
                let each = residual.len() == clip * channels;
                let row = if each { row % clip } else { row };
                &residual[row * channels + channel..][..n]
            }
            None => none,
        };
        if n == 2 * T::lanes::<S>() {
            let (bias, residual) = (T::vectors::<S>(bias).0, T::vectors::<S>(residual).0);
            let (values, y) = (T::vectors::<S>(values).0, T::vectors_mut::<S>(y).0);
            for i in 0..2 {
                let mut value = values[i];
                if self.add {
                    value = T::sum_of(simd, value, y[i]);
                }
                if i < bias.len() {
                    value = T::sum_of(simd, value, bias[i]);
                }
                if i < residual.len() {
                    value = T::sum_of(simd, value, residual[i]);
                }
                y[i] = value;
            }
            return;
        }
        for i in 0..y.len() {
            let mut value = values[i];
            if self.add {
                value += y[i];
            }
            if i < bias.len() {
                value += bias[i];
            }
            if i < residual.len() {
                value += residual[i];
            }
            y[i] = value;
        }
    }
}

/// `y = conv(x) + bias + residual`; `weight` is packed for it.
pub(crate) fn forward<T: Real>(
    isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    weight: &Packed<T>,
    bias: Option<&[T]>,
    residual: Option<&[T]>,
    y: &mut [T],
) {
    let finish = Finish {
        bias,
        residual,
        add: false,
    };
    convolve(isa, d, x, weight, finish, y);
}

/// The gradient of the input, given that of the output; `weight` is packed for it. It overwrites `dx`, or
/// is added to it.
pub(crate) fn backward_input<T: Real>(
    isa: Isa,
    d: Dims,
    dy: &[T],
    weight: &Packed<T>,
    dx: &mut [T],
    add: bool,
) {
    let finish = Finish::plain(add);
    convolve(isa, d.mirrored(), Source::plain(dy), weight, finish, dx);
}

fn convolve<T: Real>(
    isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    weight: &Packed<T>,
    finish: Finish<'_, T>,
    y: &mut [T],
) {
    assert!(x.x.len() == d.b * d.t * d.ci && y.len() == d.b * d.t * d.co);
    let y = Shared::new(y);
    if d.is_winograd(isa) {
        winograd::convolve(isa, d, x, weight.values(), finish, &y);
        return;
    }
    // Without a neighbour to look at, a clip's own norm or a residual for each, all clips are one.
    let each = finish
        .residual
        .is_some_and(|residual| residual.len() == d.t * d.co);
    let d = if d.kernel == 1 && x.norm.is_none() && !each {
        Dims {
            b: 1,
            t: d.b * d.t,
            ..d
        }
    } else {
        d
    };
    const ROWS: usize = 48;
    let width = isa.panel::<T>();
    let work = Work::new(d.b, d.t, ROWS, d.co.div_ceil(width));
    work.share(|clip, frames, panels| {
        let copied = if lays_out(d, &x) {
            (frames.len() + 2 * d.pad()) * d.ci
        } else {
            0
        };
        let pairs = d.pairs::<T>(isa);
        let joined = if pairs.is_some() { copied / 2 } else { 0 };
        T::with_scratch(copied + joined + frames.len() * width, |scratch| {
            let (rows, scratch) = scratch.split_at_mut(copied);
            let (joined, products) = scratch.split_at_mut(joined);
            let weight = weight.values();
            isa.run(Direct {
                d,
                pairs,
                x,
                weight,
                finish,
                y: &y,
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

/// Whether rows must be laid out anew: with zeros around a clip, or changed.
#[inline(always)]
fn lays_out<T>(d: Dims, x: &Source<'_, T>) -> bool {
    d.kernel > 1 || x.norm.is_some() || d.precision == Precision::Bf16
}

/// How a result is cut into tasks: blocks of rows within a clip, and where those are few, groups of
/// panels too. No cut changes a value.
pub(crate) struct Work {
    clips: usize,
    rows: usize,
    block: usize,
    blocks: usize,
    panels: usize,
    groups: usize,
}

impl Work {
    /// `rows` a clip in blocks of at most `block`.
    pub fn new(clips: usize, rows: usize, block: usize, panels: usize) -> Self {
        let threads = rayon::current_num_threads();
        let blocks = rows.div_ceil(block);
        // Evened out, in whole register blocks.
        let block = rows.div_ceil(blocks).next_multiple_of(6);
        let blocks = rows.div_ceil(block);
        let groups = threads.div_ceil(clips * blocks).min(panels);
        Self {
            clips,
            rows,
            block,
            blocks,
            panels,
            groups,
        }
    }

    /// Calls `task` with a clip, a range of its rows and a range of panels, until all is done.
    pub fn share(&self, task: impl Fn(usize, Range<usize>, Range<usize>) + Sync) {
        let total = self.clips * self.blocks * self.groups;
        let run = |i: usize| {
            let (group, i) = (i % self.groups, i / self.groups);
            let (clip, block) = (i / self.blocks, i % self.blocks);
            let first = block * self.block;
            let rows = first..self.rows.min(first + self.block);
            task(clip, rows, part(self.panels, self.groups, group));
        };
        if total == 1 {
            run(0);
        } else {
            (0..total).into_par_iter().with_max_len(1).for_each(run);
        }
    }
}

/// Part `i` of `parts` even ones of `0..n`.
pub(crate) fn part(n: usize, parts: usize, i: usize) -> Range<usize> {
    n * i / parts..n * (i + 1) / parts
}

/// One task of a convolution that is a plain product.
struct Direct<'a, T> {
    d: Dims,
    pairs: Option<Pairs>,
    x: Source<'a, T>,
    weight: &'a [T],
    finish: Finish<'a, T>,
    y: &'a Shared<'a, T>,
    clip: usize,
    frames: Range<usize>,
    panels: Range<usize>,
    rows: &'a mut [T],
    /// Half as long, for pairs.
    joined: &'a mut [T],
    products: &'a mut [T],
}

impl<T: Real> WithSimd for Direct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            d, x, clip, frames, ..
        } = self;
        let width = 2 * T::lanes::<S>();
        let depth = d.kernel * d.ci;
        let rows = if lays_out(d, &x) {
            padded(&x, d, clip, frames.clone(), 0..d.ci, self.rows);
            if d.precision == Precision::Bf16 {
                round(self.rows);
            }
            if let Some(pairs) = self.pairs {
                pairs.join_columns(self.rows, self.joined);
            }
            &*self.rows
        } else {
            &x.x[(clip * d.t + frames.start) * d.ci..]
        };
        for panel in self.panels {
            let weight = |held: usize| &self.weight[panel * held * width..][..held * width];
            match self.pairs {
                None => {
                    let weight = weight(depth);
                    product(simd, frames.len(), (rows, d.ci), weight, self.products);
                }
                Some(pairs) => {
                    let (rows, weight) = ((&*self.joined, d.ci / 2), weight(depth / 2));
                    pairs.product(frames.len(), rows, weight, self.products);
                }
            }
            let channel = panel * width;
            let inside = width.min(d.co - channel);
            for (frame, values) in frames.clone().zip(self.products.chunks_exact(width)) {
                let row = clip * d.t + frame;
                let at = row * d.co + channel;
                // SAFETY: tasks have different frames or different panels, and this one looks at one part
                // at a time.
                let y = unsafe { self.y.part(at..at + inside) };
                self.finish.put(simd, (row, d.t, d.co), channel, values, y);
            }
        }
    }
}

/// Frames `frames` of a clip with those that taps reach before and after them, zeros outside the clip.
#[inline(always)]
fn padded<T: Real>(
    x: &Source<'_, T>,
    d: Dims,
    clip: usize,
    frames: Range<usize>,
    channels: Range<usize>,
    out: &mut [T],
) {
    let (pad, c) = (d.pad(), channels.len());
    let before = pad.saturating_sub(frames.start);
    let inside = (frames.start + before - pad)..(frames.end + pad).min(d.t);
    let end = before + inside.len();
    out[..before * c].fill(T::zero());
    x.read(
        (d.t, d.ci),
        clip,
        inside,
        channels,
        &mut out[before * c..end * c],
    );
    out[end * c..(frames.len() + 2 * pad) * c].fill(T::zero());
}

/// The gradients of weight and bias, which overwrite `dw` and `db` or are added to them.
#[allow(clippy::too_many_arguments)] // two inputs, two results, and how
pub(crate) fn backward_weight<T: Real>(
    isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    dy: &[T],
    dw: &mut [T],
    db: Option<&mut [T]>,
    add: bool,
) {
    assert!(x.x.len() == d.b * d.t * d.ci && dy.len() == d.b * d.t * d.co);
    assert!(dw.len() == d.kernel * d.ci * d.co);
    let d = Dims {
        precision: Precision::F32,
        ..d
    };
    if let Some(db) = db {
        if !add {
            db.fill(T::zero());
        }
        isa.run(AddRows { rows: dy, sums: db });
    }
    let d = if d.kernel == 1 && x.norm.is_none() {
        Dims {
            b: 1,
            t: d.b * d.t,
            ..d
        }
    } else {
        d
    };
    let width = isa.panel::<T>();
    let is_winograd = d.is_winograd(isa);
    let dw = Shared::new(dw);
    // Each task makes all columns of some input channels.
    let tasks = rayon::current_num_threads().min(d.ci.div_ceil(12));
    let run = |task: usize| {
        let channels = part(d.ci.div_ceil(6), tasks, task);
        let channels = channels.start * 6..d.ci.min(channels.end * 6);
        let planes = if is_winograd {
            winograd::points(d)
        } else {
            d.kernel
        };
        let sums = planes * packed_len(channels.len(), d.co, width);
        let (rows, columns) = if is_winograd {
            winograd::backward_scratch(d, channels.len(), width)
        } else {
            ((DEPTH + 2 * d.pad()) * channels.len(), DEPTH * width)
        };
        T::with_scratch(sums + rows + columns, |scratch| {
            let (sums, scratch) = scratch.split_at_mut(sums);
            let (rows, columns) = scratch.split_at_mut(rows);
            sums.fill(T::zero());
            let task = WeightGradient {
                d,
                x,
                dy,
                channels: channels.clone(),
                sums,
                rows,
                columns,
            };
            if is_winograd {
                winograd::weight_gradient(isa, task);
            } else {
                isa.run(task);
            }
            let put = |tap: usize, i: usize, panel: usize, values: &[T]| {
                let at = (tap * d.ci + channels.start + i) * d.co + panel * width;
                let inside = width.min(d.co - panel * width);
                // SAFETY: tasks have different input channels, and this one looks at one part at a time.
                let dw = unsafe { dw.part(at..at + inside) };
                for (dw, &value) in dw.iter_mut().zip(values) {
                    *dw = if add { *dw + value } else { value };
                }
            };
            for (panel, sums) in sums
                .chunks_exact_mut(planes * channels.len() * width)
                .enumerate()
            {
                if is_winograd {
                    winograd::unpack(isa, d, sums);
                }
                let taps = sums.chunks_exact(channels.len() * width).take(d.kernel);
                for (tap, sums) in taps.enumerate() {
                    for (i, values) in sums.chunks_exact(width).enumerate() {
                        put(tap, i, panel, values);
                    }
                }
            }
        });
    };
    if tasks == 1 {
        run(0);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(run);
    }
}

/// Frames that a product of the weight gradient sums over at once.
const DEPTH: usize = 192;

/// One task: the gradient of all taps from some input channels.
pub(crate) struct WeightGradient<'a, T> {
    pub d: Dims,
    pub x: Source<'a, T>,
    pub dy: &'a [T],
    pub channels: Range<usize>,
    /// `[panels, planes, channels, width]`.
    pub sums: &'a mut [T],
    pub rows: &'a mut [T],
    pub columns: &'a mut [T],
}

impl<T: Real> WithSimd for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            d,
            x,
            dy,
            channels,
            sums,
            rows,
            columns,
        } = self;
        let (width, c) = (2 * T::lanes::<S>(), channels.len());
        for clip in 0..d.b {
            for first in (0..d.t).step_by(DEPTH) {
                let frames = first..d.t.min(first + DEPTH);
                let n = frames.len();
                padded(&x, d, clip, frames.clone(), channels.clone(), rows);
                let dy = &dy[(clip * d.t + first) * d.co..][..n * d.co];
                for panel in 0..d.co.div_ceil(width) {
                    let column = &mut columns[..n * width];
                    pack_panel(dy, (n, d.co), (d.co, 1), panel * width, width, column);
                    for tap in 0..d.kernel {
                        let sums = &mut sums[(panel * d.kernel + tap) * c * width..][..c * width];
                        add_transposed_product(simd, c, (&rows[tap * c..], c), column, sums);
                    }
                }
            }
        }
    }
}

/// Rounds to bf16.
struct Round<'a, T>(&'a mut [T]);

impl<T: Real> WithSimd for Round<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        round(self.0);
    }
}

#[inline(always)]
fn round<T: Real>(values: &mut [T]) {
    for value in values {
        *value = value.rounded();
    }
}

/// Adds every row of `rows` to `sums`.
pub(crate) struct AddRows<'a, T> {
    pub rows: &'a [T],
    pub sums: &'a mut [T],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::on_each;
    use crate::norm::{COEFFICIENTS, coefficients};
    use crate::program::Activation;

    /// Values of about unit size, fixed by `seed`.
    fn draw<T: Real>(n: usize, seed: u64) -> Vec<T> {
        crate::testing::draws(seed)
            .take(n)
            .map(T::from_f64)
            .collect()
    }

    /// The definition, tap by tap, in double precision.
    fn defined<T: Real>(d: Dims, x: &[T], weight: &[T], bias: &[T], residual: &[T]) -> Vec<f64> {
        let mut y = Vec::with_capacity(d.b * d.t * d.co);
        for (clip, t, o) in
            (0..d.b).flat_map(|b| (0..d.t).flat_map(move |t| (0..d.co).map(move |o| (b, t, o))))
        {
            let mut sum = bias[o].to_double() + residual[(clip * d.t + t) * d.co + o].to_double();
            for k in 0..d.kernel {
                let frame = (t + k).wrapping_sub(d.pad());
                if frame < d.t {
                    for i in 0..d.ci {
                        sum += x[(clip * d.t + frame) * d.ci + i].to_double()
                            * weight[(k * d.ci + i) * d.co + o].to_double();
                    }
                }
            }
            y.push(sum);
        }
        y
    }

    /// Largest difference, relative to the largest value.
    fn error<T: Real>(found: &[T], expected: &[f64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let size = expected.iter().fold(1e-9f64, |m, x| m.max(x.abs()));
        let pairs = found.iter().zip(expected);
        pairs.fold(0f64, |m, (a, b)| m.max((a.to_double() - b).abs())) / size
    }

    const CASES: [(usize, usize, usize, usize, usize); 12] = [
        (1, 1, 1, 1, 1),
        (3, 7, 5, 6, 3),
        (2, 1, 3, 4, 3),
        (2, 9, 4, 3, 5),
        (4, 33, 17, 9, 1),
        (3, 11, 32, 37, 3),
        (2, 390, 35, 32, 3),
        (16, 1, 40, 70, 1),
        (2, 203, 50, 33, 3),
        (2, 27, 70, 40, 5),
        (2, 513, 33, 40, 5),
        (1, 1030, 40, 32, 5),
    ];

    fn dims((b, t, ci, co, kernel): (usize, usize, usize, usize, usize)) -> Dims {
        Dims {
            b,
            t,
            ci,
            co,
            kernel,
            precision: Precision::F32,
        }
    }

    /// Any sizes: a few hundred thousand products at most.
    fn any_dims(seed: u64) -> Dims {
        let mut draws = crate::testing::draws(seed);
        let mut up_to = |n: usize| 1 + (draws.next().unwrap_or_default().abs() * n as f64) as usize;
        let (b, t, kernel) = (up_to(3), up_to(60), 2 * up_to(4) - 1);
        dims((
            b,
            t,
            up_to(50),
            up_to(50),
            if up_to(2) == 1 { 3 } else { kernel },
        ))
    }

    fn agrees<T: Real>(isa: Isa, bound: f64) {
        for d in CASES.map(dims).into_iter().chain((1..40).map(any_dims)) {
            let (rows, cols) = (d.kernel * d.ci, d.co);
            let (x, w) = (draw::<T>(d.b * d.t * d.ci, 1), draw::<T>(rows * cols, 2));
            let (bias, residual) = (draw::<T>(d.co, 3), draw::<T>(d.b * d.t * d.co, 4));
            let expected = defined(d, &x, &w, &bias, &residual);
            let mut packed = Packed::default();
            packed.forward(isa, &w, d);
            let mut y = vec![T::from_f64(7.0); expected.len()];
            forward(
                isa,
                d,
                Source::plain(&x),
                &packed,
                Some(&bias),
                Some(&residual),
                &mut y,
            );
            let found = error(&y, &expected);
            assert!(found < bound, "{isa:?} {d:?}: {found:e}");
        }
    }

    #[test]
    fn every_path_equals_the_definition() {
        on_each(|isa| {
            agrees::<f64>(isa, 1e-13);
            agrees::<f32>(isa, 4e-6);
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }

    /// Rounding operands to eight digits costs what it should: on the way and back, by either form.
    #[test]
    fn bf16_is_right_to_its_digits() {
        on_each(|isa| {
            for d in CASES.map(dims).map(|d| Dims {
                precision: Precision::Bf16,
                ..d
            }) {
                let (x, w) = (
                    draw::<f32>(d.b * d.t * d.ci, 1),
                    draw::<f32>(d.kernel * d.ci * d.co, 2),
                );
                let none = vec![0.0; d.b * d.t * d.co.max(d.ci)];
                let mut packed = Packed::default();
                let found = |y: &[f32], exact: &[f64]| {
                    let size = exact.iter().map(|y| y * y).sum::<f64>();
                    let errors = y
                        .iter()
                        .zip(exact)
                        .map(|(&y, exact)| (y as f64 - exact).powi(2));
                    let relative = (errors.sum::<f64>() / size).sqrt();
                    assert!(
                        (1e-5..1e-2).contains(&relative),
                        "{isa:?} {d:?}: {relative:e}"
                    );
                };
                let mut made = |isa| {
                    packed.forward(isa, &w, d);
                    let mut y = vec![0.0; d.b * d.t * d.co];
                    forward(isa, d, Source::plain(&x), &packed, None, None, &mut y);
                    y
                };
                let y = made(isa);
                found(&y, &defined(d, &x, &w, &none[..d.co], &none[..y.len()]));
                // In the same form all round alike, so that they differ as little as in f32.
                let plain = Isa::available()[0];
                if d.is_winograd(isa) == d.is_winograd(plain) {
                    let plain = made(plain).into_iter().map(f64::from);
                    let apart = error(&y, &plain.collect::<Vec<_>>());
                    assert!(apart < 4e-6, "{isa:?} {d:?}: {apart:e}");
                }
            }
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }

    /// `<dy, conv(x)>` is linear in `x` and in the weight: its gradients are what it says of unit steps,
    /// and their products with the inputs give it back.
    #[test]
    fn gradients_are_the_adjoint_of_the_definition() {
        on_each(|isa| {
            for d in CASES.map(dims) {
                let (x, w) = (
                    draw::<f64>(d.b * d.t * d.ci, 1),
                    draw::<f64>(d.kernel * d.ci * d.co, 2),
                );
                let (zeros, dy) = (
                    vec![0.0; d.b * d.t * d.co],
                    draw::<f64>(d.b * d.t * d.co, 5),
                );
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let said =
                    |x: &[f64], w: &[f64], bias: &[f64]| dot(&defined(d, x, w, bias, &zeros), &dy);
                let mut packed = Packed::default();
                packed.backward(isa, &w, d);
                let mut dx = vec![0.5; x.len()];
                backward_input(isa, d, &dy, &packed, &mut dx, true);
                let (mut dw, mut db) = (vec![0.25; w.len()], vec![0.25; d.co]);
                backward_weight(isa, d, Source::plain(&x), &dy, &mut dw, Some(&mut db), true);
                let none = vec![0.0; d.co];
                for seed in 6..9 {
                    let (vx, vw, vb) = (
                        draw(x.len(), seed),
                        draw(w.len(), seed + 3),
                        draw(d.co, seed + 6),
                    );
                    let near = |a: f64, b: f64| {
                        assert!(
                            (a - b).abs() < 1e-10 * (1.0 + a.abs()),
                            "{isa:?} {d:?}: {a} {b}"
                        )
                    };
                    let sum = |v: &[f64]| v.iter().sum::<f64>();
                    near(said(&vx, &w, &none), dot(&vx, &dx) - 0.5 * sum(&vx));
                    near(said(&x, &vw, &none), dot(&vw, &dw) - 0.25 * sum(&vw));
                    near(
                        said(&x, &vec![0.0; w.len()], &vb),
                        dot(&vb, &db) - 0.25 * sum(&vb),
                    );
                }
            }
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }

    #[test]
    fn reading_through_a_norm_equals_reading_what_it_makes() {
        on_each(|isa| {
            for d in CASES.map(dims).into_iter().filter(|d| d.ci % 5 == 0) {
                let x = draw::<f64>(d.b * d.t * d.ci, 1);
                let (affine, film) = (draw(2 * d.ci, 2), draw::<f64>(d.b * 2 * d.ci, 3));
                let mut numbers = vec![0.0; d.b * COEFFICIENTS * d.ci];
                coefficients(
                    isa,
                    &x,
                    (d.b, d.t, d.ci),
                    &affine,
                    Some(&film),
                    5,
                    &mut numbers,
                );
                let norm = Applied {
                    coefficients: &numbers,
                    activation: Activation::Silu,
                };
                let source = Source {
                    x: &x,
                    norm: Some(norm),
                };
                let mut made = vec![0.0; x.len()];
                for (clip, made) in made.chunks_mut(d.t * d.ci).enumerate() {
                    source.read((d.t, d.ci), clip, 0..d.t, 0..d.ci, made);
                }
                let w = draw::<f64>(d.kernel * d.ci * d.co, 4);
                let mut packed = Packed::default();
                packed.forward(isa, &w, d);
                let dy = draw::<f64>(d.b * d.t * d.co, 5);
                let both = [source, Source::plain(&made)].map(|source| {
                    let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
                    forward(isa, d, source, &packed, None, None, &mut y);
                    backward_weight(isa, d, source, &dy, &mut dw, None, false);
                    (y, dw)
                });
                assert!(error(&both[0].0, &both[1].0) < 1e-13, "{isa:?} {d:?}");
                assert!(error(&both[0].1, &both[1].1) < 1e-13, "{isa:?} {d:?}");
            }
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }
}
