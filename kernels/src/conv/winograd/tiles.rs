//! Tiles: their place in a batch of clips, and the transform of their input.

use std::ops::Range;

use pulp::Simd;

use super::forms::{Form, Transform};
use crate::bf16::Pairs;
use crate::conv::shape::Shape;
use crate::norm::Prologue;
use crate::real::{Lanes, Real};

/// The largest number of output frames of a tile, and of taps.
pub(super) const LONGEST: usize = 4;
pub(super) const MOST_TAPS: usize = 5;
/// The largest number of products.
pub(super) const MOST_POINTS: usize = 11;
/// Tiles whose frames are normalised together.
pub(super) const RUN: usize = 8;
/// The largest width of a panel.
pub(super) const WIDEST: usize = 32;

/// Applies `M` to rows of equal width; result `k` is written from `y[k · stride]` on.
#[inline(always)]
pub(super) fn transform_rows<
    S: Simd,
    T: Real,
    M: Transform<I, O>,
    const I: usize,
    const O: usize,
>(
    simd: S,
    x: [&[T]; I],
    (y, stride): (&mut [T], usize),
) {
    // Plain loops: a closure may be compiled for another instruction set than the code around it.
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
pub(super) fn rows_of<T, const N: usize>(
    planes: &[T],
    rows: usize,
    i: usize,
    width: usize,
) -> [&[T]; N] {
    let mut all: [&[T]; N] = [&[]; N];
    for (k, row) in all.iter_mut().enumerate() {
        *row = &planes[(k * rows + i) * width..][..width];
    }
    all
}

/// The tiles of a batch of clips, counted through all clips.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub step: usize,
    pub each: usize,
}

impl Tiles {
    /// Tiles that make `step` frames each.
    pub fn of(s: Shape, step: usize) -> Self {
        Self {
            step,
            each: s.t.div_ceil(step),
        }
    }

    /// Clip and first output frame of a tile.
    #[inline(always)]
    pub fn place(self, tile: usize) -> (usize, usize) {
        (tile / self.each, tile % self.each * self.step)
    }
}

/// Frames of one clip, laid out in rows; zeros before and after.
#[derive(Clone, Copy)]
pub(super) struct Frames<'a, T> {
    pub rows: &'a [T],
    /// Values from one row to the next, and where the wanted ones begin.
    pub stride: usize,
    pub skip: usize,
    /// The clip's frames that the rows hold.
    pub first: usize,
    pub count: usize,
    pub zeros: &'a [T],
}

impl<'a, T> Frames<'a, T> {
    /// `count` frames from `frame` on, of which some may lie before the clip (wrapped around).
    #[inline(always)]
    pub fn from<const I: usize>(&self, frame: usize) -> [&'a [T]; I] {
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

/// Length of [`gather`]'s scratch: normalised rows of one run, a row of zeros, and one tile before its values are
/// joined.
pub(super) const fn gather_scratch(channels: usize) -> usize {
    (RUN * LONGEST + MOST_TAPS + MOST_POINTS) * channels
}

/// Transforms channels `channels` of the input of tiles `tiles` into `N` planes of a row a tile. Rows of pairs are half
/// as long.
#[inline(always)]
pub(super) fn gather<
    S: Simd,
    T: Real,
    F: Form<TAPS, READ, N, STEP>,
    const TAPS: usize,
    const READ: usize,
    const N: usize,
    const STEP: usize,
>(
    simd: S,
    x: &Prologue<'_, T>,
    s: Shape,
    tiles: Range<usize>,
    channels: Range<usize>,
    scratch: &mut [T],
    (planes, pairs): (&mut [T], Option<Pairs>),
) {
    let (c, place) = (channels.len(), Tiles::of(s, STEP));
    let (zeros, scratch) = scratch.split_at_mut(c);
    let (made, normed) = scratch.split_at_mut(N * c);
    zeros.fill(T::zero());
    let mut tile = tiles.start;
    while tile < tiles.end {
        let (clip, frame) = place.place(tile);
        let run = RUN.min(tiles.end - tile).min(place.each - frame / STEP);
        let frames = match x.norm {
            None => Frames {
                rows: &x.x[clip * s.t * s.ci..][..s.t * s.ci],
                stride: s.ci,
                skip: channels.start,
                first: 0,
                count: s.t,
                zeros,
            },
            Some(_) => {
                let inside = frame.saturating_sub(s.pad())..s.t.min(frame + run * STEP + s.pad());
                x.read((s.t, s.ci), clip, inside.clone(), channels.clone(), normed);
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
            let from = frames.from::<READ>((frame + i * STEP).wrapping_sub(s.pad()));
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
