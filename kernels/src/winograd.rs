//! Convolution by Winograd's F(4, 3) and F(4, 5): four frames from six or eight products a channel pair,
//! where the definition takes twelve or twenty [Winograd 1980; Lavin & Gray 2016].
//!
//! A tile of input frames `d` and the taps `g` become `Bᵀd` and `Gg`; their products, summed over input
//! channels, become four output frames through `Aᵀ`. The sums are a matrix product over all tiles for each
//! product. In f32 the result is within about `3e-6` of the definition, relative to its largest value. In
//! bf16 factors must stay small, since they enlarge its rounding: three taps go by F(2, 3), two frames from
//! four products, and five by F(2, 3) of pairs of frames, each pair by F(2, 2), four frames from eleven.

mod forms;

use std::marker::PhantomData;
use std::ops::{Add, Range, Sub};

use pulp::{Simd, WithSimd};

use crate::conv::{Dims, Finish, Order, Precision, Source, WeightGradient, Work};
use crate::gemm::{add_transposed_product, product};
use crate::isa::Isa;
use crate::pairs::Pairs;
use crate::real::Real;
use crate::shared::Shared;
pub(crate) use forms::Value;
use forms::{Form, FormBack, Four, Nested, Transform, Two, Wide};

/// The most frames that a tile makes, and the most taps.
const LONGEST: usize = 4;
const MOST_TAPS: usize = 5;
/// The most products.
const MOST_POINTS: usize = 11;
/// Values of a task's transformed input: they stay in the second-level cache.
const CACHED: usize = 1 << 16;
/// Tiles whose frames are normalised together.
const RUN: usize = 8;
/// The widest panel there is.
const WIDEST: usize = 32;

/// A register of numbers.
#[derive(Clone, Copy)]
struct Lanes<S: Simd, T: Real>(S, T::Vector<S>);

impl<S: Simd, T: Real> Add for Lanes<S, T> {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0, T::sum_of(self.0, self.1, other.1))
    }
}

impl<S: Simd, T: Real> Sub for Lanes<S, T> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0, T::difference(self.0, self.1, other.1))
    }
}

impl<S: Simd, T: Real> Value for Lanes<S, T> {
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        let factor = T::splat(self.0, T::from_f64(factor));
        Self(self.0, T::product(self.0, self.1, factor))
    }
}

/// Applies `M` to rows of equal width; result `k` is written from `y[k · stride]` on.
#[inline(always)]
fn transform_rows<S: Simd, T: Real, M: Transform<I, O>, const I: usize, const O: usize>(
    simd: S,
    x: [&[T]; I],
    (y, stride): (&mut [T], usize),
) {
    // Plain loops: a closure might be compiled for another instruction set than the code around it.
    let (width, lanes) = (x[0].len(), T::lanes::<S>());
    let mut vectors: [&[T::Vector<S>]; I] = [&[]; I];
    for k in 0..I {
        vectors[k] = T::vectors::<S>(&x[k][..width]).0;
    }
    for i in 0..width / lanes {
        let mut from = [Lanes::<S, T>(simd, vectors[0][i]); I];
        for k in 1..I {
            from[k] = Lanes(simd, vectors[k][i]);
        }
        let to = M::apply(from);
        for k in 0..O {
            T::vectors_mut::<S>(&mut y[k * stride + i * lanes..][..lanes]).0[0] = to[k].1;
        }
    }
    for i in width - width % lanes..width {
        let mut from = [x[0][i]; I];
        for k in 1..I {
            from[k] = x[k][i];
        }
        let to = M::apply(from);
        for k in 0..O {
            y[k * stride + i] = to[k];
        }
    }
}

/// Row `i` of each of `N` planes of `rows` rows of `width` values.
#[inline(always)]
fn rows_of<T, const N: usize>(planes: &[T], rows: usize, i: usize, width: usize) -> [&[T]; N] {
    let mut all: [&[T]; N] = [&[]; N];
    for (k, row) in all.iter_mut().enumerate() {
        *row = &planes[(k * rows + i) * width..][..width];
    }
    all
}

/// Where the tiles of a batch of clips lie; tiles are counted through all clips.
#[derive(Clone, Copy)]
struct Tiles {
    step: usize,
    each: usize,
}

impl Tiles {
    /// Tiles that make `step` frames each.
    fn of(d: Dims, step: usize) -> Self {
        Self {
            step,
            each: d.t.div_ceil(step),
        }
    }

    /// Clip and first output frame of a tile.
    #[inline(always)]
    fn place(self, tile: usize) -> (usize, usize) {
        (tile / self.each, tile % self.each * self.step)
    }
}

/// Frames of one clip, laid out in rows; zeros before and after.
#[derive(Clone, Copy)]
struct Frames<'a, T> {
    rows: &'a [T],
    /// Values from one row to the next, and where the wanted ones begin.
    stride: usize,
    skip: usize,
    /// The clip's frames that the rows hold.
    first: usize,
    count: usize,
    zeros: &'a [T],
}

impl<'a, T> Frames<'a, T> {
    /// `count` frames from `frame` on, of which some may lie before the clip (wrapped around).
    #[inline(always)]
    fn from<const I: usize>(&self, frame: usize) -> [&'a [T]; I] {
        let mut all = [self.zeros; I];
        for (k, row) in all.iter_mut().enumerate() {
            let at = frame.wrapping_add(k).wrapping_sub(self.first);
            if at < self.count {
                *row = &self.rows[at * self.stride + self.skip..][..self.zeros.len()];
            }
        }
        all
    }
}

/// Memory for [`gather`]: normalised rows of one run, a row of zeros, and a tile whose values are yet to be joined.
const fn gather_scratch(channels: usize) -> usize {
    (RUN * LONGEST + MOST_TAPS + MOST_POINTS) * channels
}

/// Transforms what tiles `tiles` read of channels `channels`, into planes of a row a tile; rows of pairs are half as
/// long.
#[inline(always)]
fn gather<
    S: Simd,
    T: Real,
    F: Form<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
>(
    simd: S,
    x: &Source<'_, T>,
    d: Dims,
    tiles: Range<usize>,
    channels: Range<usize>,
    scratch: &mut [T],
    (planes, pairs): (&mut [T], Option<Pairs>),
) {
    let (c, place) = (channels.len(), Tiles::of(d, STEP));
    let (zeros, scratch) = scratch.split_at_mut(c);
    let (made, normed) = scratch.split_at_mut(N * c);
    zeros.fill(T::zero());
    let mut tile = tiles.start;
    while tile < tiles.end {
        let (clip, frame) = place.place(tile);
        let run = RUN.min(tiles.end - tile).min(place.each - frame / STEP);
        let frames = match x.norm {
            None => Frames {
                rows: &x.x[clip * d.t * d.ci..][..d.t * d.ci],
                stride: d.ci,
                skip: channels.start,
                first: 0,
                count: d.t,
                zeros,
            },
            Some(_) => {
                let inside = frame.saturating_sub(d.pad())..d.t.min(frame + run * STEP + d.pad());
                x.read((d.t, d.ci), clip, inside.clone(), channels.clone(), normed);
                Frames {
                    rows: normed,
                    stride: c,
                    skip: 0,
                    first: inside.start,
                    count: inside.len(),
                    zeros,
                }
            }
        };
        for i in 0..run {
            let from = frames.from::<READ>((frame + i * STEP).wrapping_sub(d.pad()));
            let row = tile + i - tiles.start;
            let Some(pairs) = pairs else {
                let to = (&mut planes[row * c..], tiles.len() * c);
                transform_rows::<S, T, F::Input, READ, N>(simd, from, to);
                continue;
            };
            transform_rows::<S, T, F::Input, READ, N>(simd, from, (&mut *made, c));
            for (k, made) in made.chunks_exact(c).enumerate() {
                let to = &mut planes[(k * tiles.len() + row) * (c / 2)..][..c / 2];
                pairs.join_columns(made, to);
            }
        }
        tile += run;
    }
}

/// A task by one form.
struct By<F, P, const TAPS: usize, const READ: usize, const N: usize, const STEP: usize>(
    PhantomData<F>,
    P,
);

/// Columns `first..` of the taps, transformed: `[N, Ci, width]`, zeros past the edge.
struct PackTaps<'a, T> {
    weight: &'a [T],
    d: Dims,
    order: Order,
    first: usize,
    out: &'a mut [T],
}

impl<
    T: Real,
    F: Form<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
> WithSimd for By<F, PackTaps<'_, T>, TAPS, READ, N, STEP>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self(_, task) = self;
        let PackTaps { d, first, .. } = task;
        let width = 2 * T::lanes::<S>();
        let inside = width.min(d.co - first);
        let mut rows = [[T::zero(); WIDEST]; TAPS];
        for i in 0..d.ci {
            for (k, row) in rows.iter_mut().enumerate() {
                let (tap, (down, across)) = task.order.matrix(task.weight, d, k);
                for (j, value) in row[..inside].iter_mut().enumerate() {
                    *value = tap[i * down + (first + j) * across];
                }
            }
            let mut from: [&[T]; TAPS] = [&[]; TAPS];
            for (from, row) in from.iter_mut().zip(&rows) {
                *from = &row[..width];
            }
            let to = (&mut task.out[i * width..], d.ci * width);
            transform_rows::<S, T, F::Taps, TAPS, N>(simd, from, to);
        }
    }
}

/// Turns the gradients of the planes into those of the taps, which are left in the first of them.
struct UnpackTaps<'a, T>(&'a mut [T]);

impl<
    T: Real,
    F: FormBack<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
> WithSimd for By<F, UnpackTaps<'_, T>, TAPS, READ, N, STEP>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const PIECE: usize = 256;
        let Self(_, UnpackTaps(planes)) = self;
        let plane = planes.len() / N;
        let mut made = [T::zero(); MOST_TAPS * PIECE];
        for first in (0..plane).step_by(PIECE) {
            let n = PIECE.min(plane - first);
            let mut from: [&[T]; N] = [&[]; N];
            for (k, from) in from.iter_mut().enumerate() {
                *from = &planes[k * plane + first..][..n];
            }
            transform_rows::<S, T, F::TapsBack, N, TAPS>(simd, from, (&mut made, PIECE));
            for k in 0..TAPS {
                planes[k * plane + first..][..n].copy_from_slice(&made[k * PIECE..][..n]);
            }
        }
    }
}

/// Turns what [`weight_gradient`] left of one panel, in as many planes as [`points`] says, into the gradients of the
/// taps, which are left in the first of them.
pub(crate) fn unpack<T: Real>(isa: Isa, d: Dims, planes: &mut [T]) {
    let task = UnpackTaps(planes);
    match d.kernel {
        3 => isa.run(By(PhantomData::<Four>, task)),
        _ => isa.run(By(PhantomData::<Wide>, task)),
    }
}

/// Packs panel `panel` of the taps, as [`convolve`] reads them.
pub(crate) fn pack<T: Real>(
    isa: Isa,
    d: Dims,
    weight: &[T],
    order: Order,
    first: usize,
    out: &mut [T],
) {
    let task = PackTaps {
        weight,
        d,
        order,
        first,
        out,
    };
    match (d.kernel, d.precision) {
        (3, Precision::F32) => isa.run(By(PhantomData::<Four>, task)),
        (3, Precision::Bf16) => isa.run(By(PhantomData::<Two>, task)),
        (_, Precision::F32) => isa.run(By(PhantomData::<Wide>, task)),
        (_, Precision::Bf16) => isa.run(By(PhantomData::<Nested>, task)),
    }
}

/// Whether there is a form for it, and it is the faster one: transforms cost as much as a few channels more, taps take
/// more room by it, which five of them need many frames to make up for, and tiles multiply them faster than they are
/// transformed.
pub(crate) fn fits(isa: Isa, d: Dims) -> bool {
    d.ci.min(d.co) >= 32
        && match d.kernel {
            3 => d.t >= 8,
            5 => d.t >= 512 && !(d.precision == Precision::Bf16 && isa.has_tiles()),
            _ => false,
        }
}

/// Planes that the taps of [`pack`] take.
pub(crate) fn points(d: Dims) -> usize {
    match (d.kernel, d.precision) {
        (3, Precision::F32) => 6,
        (3, Precision::Bf16) => 4,
        (_, Precision::F32) => 8,
        (_, Precision::Bf16) => 11,
    }
}

/// `y = conv(x)` and what `finish` adds, with taps from [`pack`].
pub(crate) fn convolve<T: Real>(
    isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    taps: &[T],
    finish: Finish<'_, T>,
    y: &Shared<'_, T>,
) {
    match (d.kernel, d.precision) {
        (3, Precision::F32) => convolve_by::<T, Four, 3, 6, 6, 4>(isa, d, x, taps, finish, y),
        (3, Precision::Bf16) => convolve_by::<T, Two, 3, 4, 4, 2>(isa, d, x, taps, finish, y),
        (_, Precision::F32) => convolve_by::<T, Wide, 5, 8, 8, 4>(isa, d, x, taps, finish, y),
        (_, Precision::Bf16) => convolve_by::<T, Nested, 5, 8, 11, 4>(isa, d, x, taps, finish, y),
    }
}

fn convolve_by<
    T: Real,
    F: Form<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
>(
    isa: Isa,
    d: Dims,
    x: Source<'_, T>,
    taps: &[T],
    finish: Finish<'_, T>,
    y: &Shared<'_, T>,
) {
    let width = isa.panel::<T>();
    let pairs = d.pairs::<T>(isa);
    let held = d.held::<T>(isa, d.ci);
    let most = (CACHED / (N * held)).clamp(48, 96);
    let work = Work::new(1, d.b * Tiles::of(d, STEP).each, most, d.co.div_ceil(width));
    work.share(|_, tiles, panels| {
        let n = tiles.len();
        let (planes, products) = (N * n * held, N * n * width);
        T::with_scratch(planes + products + gather_scratch(d.ci), |scratch| {
            let (planes, scratch) = scratch.split_at_mut(planes);
            let (products, scratch) = scratch.split_at_mut(products);
            let task = Convolve {
                d,
                pairs,
                held,
                x,
                taps,
                finish,
                y,
                tiles,
                panels,
                planes,
                products,
                scratch,
            };
            isa.run(By::<F, _, TAPS, READ, N, STEP>(PhantomData, task));
        });
    });
}

/// One task: some tiles, some panels of output channels.
struct Convolve<'a, T> {
    d: Dims,
    pairs: Option<Pairs>,
    /// Values that a row of operands takes.
    held: usize,
    x: Source<'a, T>,
    taps: &'a [T],
    finish: Finish<'a, T>,
    y: &'a Shared<'a, T>,
    tiles: Range<usize>,
    panels: Range<usize>,
    planes: &'a mut [T],
    products: &'a mut [T],
    scratch: &'a mut [T],
}

impl<
    T: Real,
    F: Form<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
> WithSimd for By<F, Convolve<'_, T>, TAPS, READ, N, STEP>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self(_, task) = self;
        let Convolve {
            d,
            held,
            x,
            tiles,
            planes,
            products,
            ..
        } = task;
        let (width, n, place) = (2 * T::lanes::<S>(), tiles.len(), Tiles::of(d, STEP));
        gather::<S, T, F, TAPS, READ, N, STEP>(
            simd,
            &x,
            d,
            tiles.clone(),
            0..d.ci,
            task.scratch,
            (&mut *planes, task.pairs),
        );
        let mut made = [T::zero(); LONGEST * WIDEST];
        for panel in task.panels {
            let taps = &task.taps[panel * N * held * width..][..N * held * width];
            for k in 0..N {
                let (from, to) = (&planes[k * n * held..], &mut products[k * n * width..]);
                let taps = &taps[k * held * width..][..held * width];
                match task.pairs {
                    None => product(simd, n, (from, held), taps, to),
                    Some(pairs) => pairs.product(n, (from, held), taps, to),
                }
            }
            let channel = panel * width;
            let inside = width.min(d.co - channel);
            for (i, tile) in tiles.clone().enumerate() {
                let from = rows_of(products, n, i, width);
                transform_rows::<S, T, F::Output, N, STEP>(simd, from, (&mut made, WIDEST));
                let (clip, frame) = place.place(tile);
                for (values, frame) in made.chunks_exact(WIDEST).take(STEP).zip(frame..d.t) {
                    let row = clip * d.t + frame;
                    let at = row * d.co + channel;
                    // SAFETY: tasks have different tiles or different panels, and this one looks at one
                    // part at a time.
                    let y = unsafe { task.y.part(at..at + inside) };
                    task.finish.put(simd, (row, d.t, d.co), channel, values, y);
                }
            }
        }
    }
}

/// Tiles that a product of the weight gradient sums over at once.
fn depth(d: Dims, channels: usize) -> usize {
    (CACHED / (points(d) * channels)).clamp(24, 192)
}

/// Values of `rows` and `columns` that [`weight_gradient`] works in.
pub(crate) fn backward_scratch(d: Dims, channels: usize, width: usize) -> (usize, usize) {
    let planes = points(d) * depth(d, channels);
    let larger = gather_scratch(channels).max(d.co.min(width));
    (planes * channels + larger, planes * width)
}

/// The planes' gradients instead of the taps'.
pub(crate) fn weight_gradient<T: Real>(isa: Isa, task: WeightGradient<'_, T>) {
    match task.d.kernel {
        3 => isa.run(By(PhantomData::<Four>, task)),
        _ => isa.run(By(PhantomData::<Wide>, task)),
    }
}

impl<
    T: Real,
    F: FormBack<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
> WithSimd for By<F, WeightGradient<'_, T>, TAPS, READ, N, STEP>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self(_, task) = self;
        let WeightGradient {
            d,
            x,
            dy,
            channels,
            sums,
            rows,
            columns,
        } = task;
        let (width, c, place) = (2 * T::lanes::<S>(), channels.len(), Tiles::of(d, STEP));
        let (total, depth) = (d.b * place.each, depth(d, c));
        let (planes, scratch) = rows.split_at_mut(N * depth * c);
        for first in (0..total).step_by(depth) {
            let tiles = first..total.min(first + depth);
            let n = tiles.len();
            gather::<S, T, F, TAPS, READ, N, STEP>(
                simd,
                &x,
                d,
                tiles.clone(),
                channels.clone(),
                scratch,
                (&mut *planes, None),
            );
            for panel in 0..d.co.div_ceil(width) {
                let inside = width.min(d.co - panel * width);
                let zeros = &mut scratch[..inside];
                zeros.fill(T::zero());
                columns[..N * n * width].fill(T::zero());
                for (i, tile) in tiles.clone().enumerate() {
                    let (clip, frame) = place.place(tile);
                    let frames = Frames {
                        rows: &dy[clip * d.t * d.co..][..d.t * d.co],
                        stride: d.co,
                        skip: panel * width,
                        first: 0,
                        count: d.t,
                        zeros,
                    };
                    let to = (&mut columns[i * width..], n * width);
                    let from = frames.from(frame);
                    transform_rows::<S, T, F::OutputBack, STEP, N>(simd, from, to);
                }
                for k in 0..N {
                    let from = (&planes[k * n * c..], c);
                    let column = &columns[k * n * width..][..n * width];
                    let sums = &mut sums[(panel * N + k) * c * width..][..c * width];
                    add_transposed_product(simd, c, from, column, sums);
                }
            }
        }
    }
}
