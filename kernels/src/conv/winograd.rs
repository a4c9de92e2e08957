//! Convolution by Winograd's F(4, 3) and F(4, 5): four output frames from six or eight products per channel pair, where
//! the definition takes twelve or twenty [Winograd 1980; Lavin & Gray 2016].
//!
//! A tile of input frames `d` and the taps `g` become `Bᵀd` and `Gg`. Their products, summed over input channels,
//! become the output frames through `Aᵀ`. For each of the six or eight points the sums are one matrix product over all
//! tiles. In f32 the result is within about `3e-6` of the definition, relative to its largest value. In bf16 the
//! transforms' factors must stay small, since they enlarge the rounding error: three taps take F(2, 3), two frames from
//! four products; five taps take F(2, 3) over pairs of frames, each pair by F(2, 2), four frames from eleven products.

mod forms;
mod tiles;

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::epilogue::Epilogue;
use super::partition::{Partition, WeightGradient};
use super::shape::{Order, Shape};
use crate::bf16::Pairs;
use crate::compute_type::ComputeType;
use crate::disjoint::DisjointSlice;
use crate::gemm::{add_transposed_product, product};
use crate::isa::Isa;
use crate::norm::Prologue;
use crate::real::Real;
use forms::{F23, F23ByF22, F43, F45, Form, FormAdjoint};
use tiles::{
    Frames, LONGEST, MOST_TAPS, Tiles, WIDEST, gather, gather_scratch, rows_of, transform_rows,
};

/// Values of a task's transformed input: they stay in the second-level cache.
const CACHED: usize = 1 << 16;

/// A task by one algorithm.
struct By<F, P, const TAPS: usize, const READ: usize, const N: usize, const STEP: usize>(
    PhantomData<F>,
    P,
);

/// Columns `first..` of the taps, transformed: `[N, Ci, width]`, zeros past the edge.
struct PackTaps<'a, T> {
    weight: &'a [T],
    s: Shape,
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
        let PackTaps { s, first, .. } = task;
        let width = 2 * T::lanes::<S>();
        let inside = width.min(s.co - first);
        let mut rows = [[T::zero(); WIDEST]; TAPS];
        for i in 0..s.ci {
            for (k, row) in rows.iter_mut().enumerate() {
                let (tap, (down, across)) = task.order.matrix(task.weight, s, k);
                for (j, value) in row[..inside].iter_mut().enumerate() {
                    *value = tap[i * down + (first + j) * across];
                }
            }
            let mut from: [&[T]; TAPS] = [&[]; TAPS];
            for (from, row) in from.iter_mut().zip(&rows) {
                *from = &row[..width];
            }
            let to = (&mut task.out[i * width..], s.ci * width);
            transform_rows::<S, T, F::Taps, TAPS, N>(simd, from, to);
        }
    }
}

/// Turns the gradients of the planes into those of the taps, in place: they take the first planes.
struct UnpackTaps<'a, T>(&'a mut [T]);

impl<
    T: Real,
    F: FormAdjoint<TAPS, READ, N, STEP>,
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
            transform_rows::<S, T, F::TapsAdjoint, N, TAPS>(simd, from, (&mut made, PIECE));
            for k in 0..TAPS {
                planes[k * plane + first..][..n].copy_from_slice(&made[k * PIECE..][..n]);
            }
        }
    }
}

/// Turns the sums of [`weight_gradient`] for one panel, [`points`] planes, into the gradients of the taps, in place:
/// they take the first planes.
pub(crate) fn unpack<T: Real>(isa: Isa, s: Shape, planes: &mut [T]) {
    let task = UnpackTaps(planes);
    match s.kernel {
        3 => isa.run(By(PhantomData::<F43>, task)),
        _ => isa.run(By(PhantomData::<F45>, task)),
    }
}

/// Transforms and packs the panel of the taps from column `first` on, for [`convolve`].
pub(crate) fn pack<T: Real>(
    isa: Isa,
    s: Shape,
    weight: &[T],
    order: Order,
    first: usize,
    out: &mut [T],
) {
    let task = PackTaps {
        weight,
        s,
        order,
        first,
        out,
    };
    match (s.kernel, s.compute_type) {
        (3, ComputeType::F32) => isa.run(By(PhantomData::<F43>, task)),
        (3, ComputeType::Bf16) => isa.run(By(PhantomData::<F23>, task)),
        (_, ComputeType::F32) => isa.run(By(PhantomData::<F45>, task)),
        (_, ComputeType::Bf16) => isa.run(By(PhantomData::<F23ByF22>, task)),
    }
}

/// Whether Winograd's algorithm exists for this shape and is faster than the plain product. Transforms pay from 32
/// channels on. Five transformed taps take more memory, which pays from 512 frames on. AMX multiplies faster than five
/// taps are transformed.
pub(crate) fn is_winograd(isa: Isa, s: Shape) -> bool {
    s.ci.min(s.co) >= 32
        && match s.kernel {
            3 => s.t >= 8,
            5 => s.t >= 512 && !(s.compute_type == ComputeType::Bf16 && isa.has_tiles()),
            _ => false,
        }
}

/// The number of planes that [`pack`] makes of the taps: products per tile and channel pair.
pub(crate) fn points(s: Shape) -> usize {
    match (s.kernel, s.compute_type) {
        (3, ComputeType::F32) => 6,
        (3, ComputeType::Bf16) => 4,
        (_, ComputeType::F32) => 8,
        (_, ComputeType::Bf16) => 11,
    }
}

/// `y = epilogue(conv(x))`, with taps from [`pack`].
pub(crate) fn convolve<T: Real>(
    isa: Isa,
    s: Shape,
    x: Prologue<'_, T>,
    taps: &[T],
    epilogue: Epilogue<'_, T>,
    y: &DisjointSlice<'_, T>,
) {
    match (s.kernel, s.compute_type) {
        (3, ComputeType::F32) => convolve_by::<T, F43, 3, 6, 6, 4>(isa, s, x, taps, epilogue, y),
        (3, ComputeType::Bf16) => convolve_by::<T, F23, 3, 4, 4, 2>(isa, s, x, taps, epilogue, y),
        (_, ComputeType::F32) => convolve_by::<T, F45, 5, 8, 8, 4>(isa, s, x, taps, epilogue, y),
        (_, ComputeType::Bf16) => {
            convolve_by::<T, F23ByF22, 5, 8, 11, 4>(isa, s, x, taps, epilogue, y)
        }
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
    s: Shape,
    x: Prologue<'_, T>,
    taps: &[T],
    epilogue: Epilogue<'_, T>,
    y: &DisjointSlice<'_, T>,
) {
    let width = isa.panel::<T>();
    let pairs = s.pairs::<T>(isa);
    let held = s.held::<T>(isa, s.ci);
    let most = (CACHED / (N * held)).clamp(48, 96);
    let partition = Partition::new(1, s.b * Tiles::of(s, STEP).each, most, s.co.div_ceil(width));
    partition.for_each_task(|_, tiles, panels| {
        let n = tiles.len();
        let (planes, products) = (N * n * held, N * n * width);
        T::with_scratch(planes + products + gather_scratch(s.ci), |scratch| {
            let (planes, scratch) = scratch.split_at_mut(planes);
            let (products, scratch) = scratch.split_at_mut(products);
            let task = Convolve {
                s,
                pairs,
                held,
                x,
                taps,
                epilogue,
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
    s: Shape,
    pairs: Option<Pairs>,
    /// Length of a row of operands in f32 values.
    held: usize,
    x: Prologue<'a, T>,
    taps: &'a [T],
    epilogue: Epilogue<'a, T>,
    y: &'a DisjointSlice<'a, T>,
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
            s,
            held,
            x,
            tiles,
            planes,
            products,
            ..
        } = task;
        let (width, n, place) = (2 * T::lanes::<S>(), tiles.len(), Tiles::of(s, STEP));
        gather::<S, T, F, TAPS, READ, N, STEP>(
            simd,
            &x,
            s,
            tiles.clone(),
            0..s.ci,
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
            let inside = width.min(s.co - channel);
            for (i, tile) in tiles.clone().enumerate() {
                let from = rows_of(products, n, i, width);
                transform_rows::<S, T, F::Output, N, STEP>(simd, from, (&mut made, WIDEST));
                let (clip, frame) = place.place(tile);
                for (values, frame) in made.chunks_exact(WIDEST).take(STEP).zip(frame..s.t) {
                    let row = clip * s.t + frame;
                    let at = row * s.co + channel;
                    // SAFETY: tasks have different tiles or different panels, and this one looks at one
                    // part at a time.
                    let y = unsafe { task.y.part(at..at + inside) };
                    task.epilogue
                        .put(simd, (row, s.t, s.co), channel, values, y);
                }
            }
        }
    }
}

/// Tiles that a product of the weight gradient sums over at once.
fn depth(s: Shape, channels: usize) -> usize {
    (CACHED / (points(s) * channels)).clamp(24, 192)
}

/// Lengths of `rows` and `columns` of a [`WeightGradient`] over `channels` input channels.
pub(crate) fn backward_scratch(s: Shape, channels: usize, width: usize) -> (usize, usize) {
    let planes = points(s) * depth(s, channels);
    let larger = gather_scratch(channels).max(s.co.min(width));
    (planes * channels + larger, planes * width)
}

/// Adds the gradients of the planes, which [`unpack`] turns into those of the taps, to the task's sums.
pub(crate) fn weight_gradient<T: Real>(isa: Isa, task: WeightGradient<'_, T>) {
    match task.s.kernel {
        3 => isa.run(By(PhantomData::<F43>, task)),
        _ => isa.run(By(PhantomData::<F45>, task)),
    }
}

impl<
    T: Real,
    F: FormAdjoint<TAPS, READ, N, STEP>,
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
            s,
            x,
            dy,
            channels,
            sums,
            rows,
            columns,
        } = task;
        let (width, c, place) = (2 * T::lanes::<S>(), channels.len(), Tiles::of(s, STEP));
        let (total, depth) = (s.b * place.each, depth(s, c));
        let (planes, scratch) = rows.split_at_mut(N * depth * c);
        for first in (0..total).step_by(depth) {
            let tiles = first..total.min(first + depth);
            let n = tiles.len();
            gather::<S, T, F, TAPS, READ, N, STEP>(
                simd,
                &x,
                s,
                tiles.clone(),
                channels.clone(),
                scratch,
                (&mut *planes, None),
            );
            for panel in 0..s.co.div_ceil(width) {
                let inside = width.min(s.co - panel * width);
                let zeros = &mut scratch[..inside];
                zeros.fill(T::zero());
                columns[..N * n * width].fill(T::zero());
                for (i, tile) in tiles.clone().enumerate() {
                    let (clip, frame) = place.place(tile);
                    let frames = Frames {
                        rows: &dy[clip * s.t * s.co..][..s.t * s.co],
                        stride: s.co,
                        skip: panel * width,
                        first: 0,
                        count: s.t,
                        zeros,
                    };
                    let to = (&mut columns[i * width..], n * width);
                    let from = frames.from(frame);
                    transform_rows::<S, T, F::OutputAdjoint, STEP, N>(simd, from, to);
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
