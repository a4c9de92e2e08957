//! Three-tap convolution by Winograd's F(4, 3): four frames from six products a channel pair, where the
//! definition takes twelve [Winograd 1980; Lavin & Gray 2016].
//!
//! A tile of six input frames `d` and the taps `g` become `Bᵀd` and `Gg`; their products, summed over
//! input channels, become four output frames through `Aᵀ`. The sums are six matrix products over all
//! tiles. In f32 the result is within about `3e-6` of the definition, relative to its largest value.

use std::array;
use std::ops::{Add, Sub};

use rayon::prelude::*;

use crate::isa::vectorised;
use crate::matmul::{Threads, View, matmul};
use crate::real::{Real, zeros};

/// Frames a tile makes.
const STEP: usize = 4;
/// Products a tile takes, and frames it reads.
const POINTS: usize = 6;
/// Tiles a task works on: their two planes of six stay in the second-level cache.
const BLOCK: usize = 96;

/// Sizes of one convolution.
#[derive(Clone, Copy)]
pub(crate) struct Dims {
    pub b: usize,
    pub t: usize,
    pub ci: usize,
    pub co: usize,
}

impl Dims {
    fn tiles_a_clip(self) -> usize {
        self.t.div_ceil(STEP)
    }

    fn tiles(self) -> usize {
        self.b * self.tiles_a_clip()
    }

    /// Clip and first output frame of a tile.
    fn place(self, tile: usize) -> (usize, usize) {
        let each = self.tiles_a_clip();
        (tile / each, tile % each * STEP)
    }

    /// Row of `[B·T, C]` at which a tile's output begins.
    fn row(self, tile: usize) -> usize {
        let (clip, frame) = self.place(tile);
        clip * self.t + frame
    }
}

/// One number, or several that go the same way.
trait Value: Copy + Add<Output = Self> + Sub<Output = Self> {
    fn times(self, factor: f64) -> Self;
}

impl<T: Real> Value for T {
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        self * T::from_f64(factor)
    }
}

const LANES: usize = 8;

#[derive(Clone, Copy)]
struct Lanes<T>([T; LANES]);

impl<T: Real> Add for Lanes<T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl<T: Real> Sub for Lanes<T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(array::from_fn(|i| self.0[i] - other.0[i]))
    }
}

impl<T: Real> Value for Lanes<T> {
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        let factor = T::from_f64(factor);
        Self(self.0.map(|x| x * factor))
    }
}

/// A linear map from `I` values to `O`, applied channel by channel.
trait Transform<const I: usize, const O: usize> {
    fn apply<V: Value>(x: [V; I]) -> [V; O];
}

/// `Bᵀ`: what a tile reads.
struct Input;

impl Transform<POINTS, POINTS> for Input {
    #[inline(always)]
    fn apply<V: Value>([d0, d1, d2, d3, d4, d5]: [V; POINTS]) -> [V; POINTS] {
        let (a, b) = (d4 - d2.times(4.0), d3 - d1.times(4.0));
        let (c, e) = (d4 - d2, (d3 - d1).times(2.0));
        [
            d0.times(4.0) - d2.times(5.0) + d4,
            a + b,
            a - b,
            c + e,
            c - e,
            d1.times(4.0) - d3.times(5.0) + d5,
        ]
    }
}

/// `G`: the taps.
struct Taps;

impl Transform<3, POINTS> for Taps {
    #[inline(always)]
    fn apply<V: Value>([g0, g1, g2]: [V; 3]) -> [V; POINTS] {
        let (even, odd) = ((g0 + g2).times(-1.0 / 6.0), g1.times(-1.0 / 6.0));
        let (far, mid) = (
            g0.times(1.0 / 24.0) + g2.times(1.0 / 6.0),
            g1.times(1.0 / 12.0),
        );
        [
            g0.times(0.25),
            even + odd,
            even - odd,
            far + mid,
            far - mid,
            g2,
        ]
    }
}

/// `Gᵀ`: the gradient of the taps.
struct TapsBack;

impl Transform<POINTS, 3> for TapsBack {
    #[inline(always)]
    fn apply<V: Value>([u0, u1, u2, u3, u4, u5]: [V; POINTS]) -> [V; 3] {
        let (near, far) = ((u1 + u2).times(-1.0 / 6.0), u3 + u4);
        [
            u0.times(0.25) + near + far.times(1.0 / 24.0),
            (u2 - u1).times(1.0 / 6.0) + (u3 - u4).times(1.0 / 12.0),
            near + far.times(1.0 / 6.0) + u5,
        ]
    }
}

/// `Aᵀ`: what a tile makes.
struct Output;

impl Transform<POINTS, STEP> for Output {
    #[inline(always)]
    fn apply<V: Value>([m0, m1, m2, m3, m4, m5]: [V; POINTS]) -> [V; STEP] {
        let (a, b, c, e) = (m1 + m2, m1 - m2, m3 + m4, m3 - m4);
        [
            m0 + a + c,
            b + e.times(2.0),
            a + c.times(4.0),
            b + e.times(8.0) + m5,
        ]
    }
}

/// `A`: the gradient of what a tile makes.
struct OutputBack;

impl Transform<STEP, POINTS> for OutputBack {
    #[inline(always)]
    fn apply<V: Value>([y0, y1, y2, y3]: [V; STEP]) -> [V; POINTS] {
        let (even, odd) = (y0 + y2, y1 + y3);
        let (far_even, far_odd) = (y0 + y2.times(4.0), y1.times(2.0) + y3.times(8.0));
        [
            y0,
            even + odd,
            even - odd,
            far_even + far_odd,
            far_even - far_odd,
            y3,
        ]
    }
}

/// Applies `M` to rows of equal width; `write` gets each result for one row.
#[inline(always)]
fn transform_rows<T: Real, M: Transform<I, O>, const I: usize, const O: usize>(
    x: [&[T]; I],
    y: [&mut [T]; O],
) {
    let width = x[0].len();
    let x = x.map(|row| &row[..width]);
    let mut y = y.map(|row| &mut row[..width]);
    let whole = width - width % LANES;
    for ch in (0..whole).step_by(LANES) {
        let values = M::apply(x.map(|row| Lanes(array::from_fn(|i| row[ch + i]))));
        for (row, value) in y.iter_mut().zip(values) {
            row[ch..ch + LANES].copy_from_slice(&value.0);
        }
    }
    for ch in whole..width {
        let values = M::apply(x.map(|row| row[ch]));
        for (row, value) in y.iter_mut().zip(values) {
            row[ch] = value;
        }
    }
}

/// `N` planes, one after another, cut alike into blocks of `block` values.
fn blocks<T, const N: usize>(planes: &mut [T], block: usize) -> Vec<[&mut [T]; N]> {
    let plane = planes.len() / N;
    let mut planes = planes.chunks_mut(plane);
    let mut planes: [_; N] = array::from_fn(|_| {
        let plane = planes.next().expect("N planes");
        plane.chunks_mut(block)
    });
    let next = |_| {
        planes
            .each_mut()
            .map(|plane| plane.next().expect("planes of equal length"))
    };
    (0..plane.div_ceil(block)).map(next).collect()
}

/// Writes `M` of `I` frames, from `before` frames ahead of each tile's first, into row `tile - first`
/// of six planes. Frames outside the clip are zero.
#[inline(always)]
fn gather<T: Real, M: Transform<I, POINTS>, const I: usize>(
    x: &[T],
    (d, width): (Dims, usize),
    before: usize,
    first: usize,
    planes: &mut [&mut [T]; POINTS],
) {
    let nothing = zeros(width);
    for i in 0..planes[0].len() / width {
        let (clip, frame) = d.place(first + i);
        let clip = &x[clip * d.t * width..][..d.t * width];
        let row = |k: usize| {
            let at = (frame + k).wrapping_sub(before);
            if at < d.t {
                &clip[at * width..][..width]
            } else {
                &nothing
            }
        };
        let to = planes
            .each_mut()
            .map(|plane| &mut plane[i * width..][..width]);
        transform_rows::<T, M, I, POINTS>(array::from_fn(row), to);
    }
}

/// Applies `M` to whole planes, in pieces shared out among threads.
fn transform_planes<T: Real, M: Transform<I, O>, const I: usize, const O: usize>(
    x: &[T],
) -> Vec<T> {
    const PIECE: usize = 8192;
    let plane = x.len() / I;
    let mut y = zeros(O * plane);
    let pieces = blocks::<T, O>(&mut y, PIECE);
    pieces.into_par_iter().enumerate().for_each(|(i, to)| {
        let from = array::from_fn(|k| &x[k * plane + i * PIECE..][..to[0].len()]);
        vectorised(|| transform_rows::<T, M, I, O>(from, to));
    });
    y
}

/// The taps `[3·Ci, Co]` as six matrices `[Ci, Co]`.
pub(crate) fn transform_taps<T: Real>(weight: &[T]) -> Vec<T> {
    transform_planes::<T, Taps, 3, POINTS>(weight)
}

/// Combines the six products of each tile into the frames `y` that begin with tile `first`.
#[inline(always)]
fn scatter<T: Real>(products: &[T], d: Dims, first: usize, y: &mut [T]) {
    let tiles = products.len() / (POINTS * d.co);
    let mut beyond = zeros(STEP * d.co); // what the last tile of a clip makes past its end
    let mut rest = y;
    for i in 0..tiles {
        let from = array::from_fn(|k| &products[(k * tiles + i) * d.co..][..d.co]);
        let (_, frame) = d.place(first + i);
        let inside = STEP.min(d.t - frame);
        let (here, after) = rest.split_at_mut(inside * d.co);
        let mut rows = here
            .chunks_exact_mut(d.co)
            .chain(beyond.chunks_exact_mut(d.co));
        let to = array::from_fn(|_| rows.next().expect("four rows"));
        transform_rows::<T, Output, POINTS, STEP>(from, to);
        rest = after;
    }
}

/// `x: [B, T, Ci]` → `[B, T, Co]`, with taps from [`transform_taps`]; zeros stand around each clip.
pub(crate) fn convolve<T: Real>(x: &[T], taps: &[T], bias: Option<&[T]>, d: Dims) -> Vec<T> {
    let mut y = zeros(d.b * d.t * d.co);
    let mut pieces = Vec::new();
    let mut rest = &mut y[..];
    for first in (0..d.tiles()).step_by(BLOCK) {
        let tiles = BLOCK.min(d.tiles() - first);
        let rows = d.row(first + tiles) - d.row(first);
        let (piece, after) = rest.split_at_mut(rows * d.co);
        pieces.push((first, tiles, piece));
        rest = after;
    }
    pieces.into_par_iter().for_each(|(first, tiles, y)| {
        let mut from = zeros(POINTS * tiles * d.ci);
        let mut planes = blocks(&mut from, tiles * d.ci).remove(0);
        vectorised(|| gather::<T, Input, POINTS>(x, (d, d.ci), 1, first, &mut planes));
        let mut products = zeros(POINTS * tiles * d.co);
        products
            .par_chunks_mut(tiles * d.co)
            .zip(from.par_chunks(tiles * d.ci))
            .zip(taps.par_chunks(d.ci * d.co))
            .enumerate()
            .for_each(|(k, ((to, from), taps))| {
                // The second product counts once in each of the four frames: the bias rides on it.
                let bias = bias.filter(|_| k == 1);
                if let Some(bias) = bias {
                    to.chunks_exact_mut(d.co)
                        .for_each(|row| row.copy_from_slice(bias));
                }
                let (from, taps) = (View::rows(from, d.ci), View::rows(taps, d.co));
                let shape = (tiles, d.ci, d.co);
                matmul(shape, from, taps, to, d.co, bias.is_some(), Threads::One);
            });
        vectorised(|| scatter(&products, d, first, y));
    });
    y
}

/// The gradient of the taps, `[3·Ci, Co]`.
pub(crate) fn grad_taps<T: Real>(x: &[T], dy: &[T], d: Dims) -> Vec<T> {
    let (mut from, mut to) = (
        zeros(POINTS * d.tiles() * d.ci),
        zeros(POINTS * d.tiles() * d.co),
    );
    blocks(&mut from, BLOCK * d.ci)
        .into_par_iter()
        .zip(blocks(&mut to, BLOCK * d.co))
        .enumerate()
        .for_each(|(i, (mut from, mut to))| {
            vectorised(|| {
                gather::<T, Input, POINTS>(x, (d, d.ci), 1, i * BLOCK, &mut from);
                gather::<T, OutputBack, STEP>(dy, (d, d.co), 0, i * BLOCK, &mut to);
            });
        });
    let mut points = zeros(POINTS * d.ci * d.co);
    points
        .par_chunks_mut(d.ci * d.co)
        .zip(from.par_chunks(d.tiles() * d.ci))
        .zip(to.par_chunks(d.tiles() * d.co))
        .for_each(|((point, from), to)| {
            let (from, to) = (View::rows(from, d.ci).transposed(), View::rows(to, d.co));
            let shape = (d.ci, d.tiles(), d.co);
            matmul(shape, from, to, point, d.co, false, Threads::Pool);
        });
    transform_planes::<T, TapsBack, POINTS, 3>(&points)
}
