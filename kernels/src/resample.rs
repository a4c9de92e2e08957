//! Half as many frames, or twice as many, by a fixed cubic filter: channels stay apart, nothing is learnt.
//!
//! The filter is that of Dance Diffusion's network: eight taps of a cubic kernel, over frames that are mirrored at
//! both ends (the outermost one not repeated). Going up takes twice the same taps, which split into two phases of
//! five frames each.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::disjoint::DisjointSlice;
use crate::isa::Isa;
use crate::real::Real;
use crate::team;

/// Taps of downsampling: output frame `j` is their sum over input frames `2j - 3` to `2j + 4`.
pub(crate) const DOWN: [f64; 8] = [
    -0.011_718_75,
    -0.035_156_25,
    0.113_281_25,
    0.433_593_75,
    0.433_593_75,
    0.113_281_25,
    -0.035_156_25,
    -0.011_718_75,
];

/// Taps of upsampling, for even and odd output frames: `2j` and `2j + 1` are their sums over input frames `j - 2` to `j
/// + 2`.
pub(crate) const UP: [[f64; 5]; 2] = [
    [-0.023_437_5, 0.226_562_5, 0.867_187_5, -0.070_312_5, 0.0],
    [0.0, -0.070_312_5, 0.867_187_5, 0.226_562_5, -0.023_437_5],
];

/// The direction of resampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Down,
    Up,
}

impl Direction {
    /// The number of output frames for `t` input frames.
    pub fn frames(self, t: usize) -> usize {
        match self {
            Self::Down => t / 2,
            Self::Up => 2 * t,
        }
    }

    /// Frames mirrored at each end.
    pub fn pad(self) -> usize {
        match self {
            Self::Down => 3,
            Self::Up => 2,
        }
    }

    /// The input frames of output frame `j`, with weights; `t` is the number of input frames.
    fn taps(self, j: usize, t: usize) -> Taps {
        let mut taps = Taps::default();
        match self {
            Self::Down => {
                for (k, &weight) in DOWN.iter().enumerate() {
                    taps.push(mirrored(2 * j + k, 3, t), weight);
                }
            }
            Self::Up => {
                for (m, &weight) in UP[j % 2].iter().enumerate() {
                    taps.push(mirrored(j / 2 + m, 2, t), weight);
                }
            }
        }
        taps
    }

    /// The adjoint of [`Direction::taps`]: the output frames that input frame `i` contributes to.
    fn scatter_taps(self, i: usize, t: usize) -> Taps {
        let pad = self.pad();
        // The frame's positions among the mirrored ones: one in the middle, and perhaps one at either end.
        let places = [
            Some(i + pad),
            (1..=pad).contains(&i).then(|| pad - i),
            (i + 1 < t && i + 1 + pad >= t).then(|| 2 * (t - 1) - i + pad),
        ];
        let mut taps = Taps::default();
        for place in places.into_iter().flatten() {
            match self {
                Self::Down => {
                    for (k, &weight) in DOWN.iter().enumerate().skip(place % 2).step_by(2) {
                        if place >= k && (place - k) / 2 < t / 2 {
                            taps.push((place - k) / 2, weight);
                        }
                    }
                }
                Self::Up => {
                    for (m, (&even, &odd)) in UP[0].iter().zip(&UP[1]).enumerate() {
                        if place >= m && place - m < t {
                            taps.push(2 * (place - m), even);
                            taps.push(2 * (place - m) + 1, odd);
                        }
                    }
                }
            }
        }
        taps
    }
}

/// Frames with their weights: at most ten for each place of a frame.
#[derive(Default)]
struct Taps {
    len: usize,
    each: [(usize, f64); 30],
}

impl Taps {
    fn push(&mut self, frame: usize, weight: f64) {
        self.each[self.len] = (frame, weight);
        self.len += 1;
    }
}

/// The frame that lies at `place` once `pad` frames are mirrored before the first of `t`.
#[inline(always)]
fn mirrored(place: usize, pad: usize, t: usize) -> usize {
    let from_first = place.abs_diff(pad);
    if from_first < t {
        from_first
    } else {
        2 * (t - 1) - from_first
    }
}

/// Values that one task works on.
const PIECE: usize = 1 << 15;

/// `[B, T, C]` → `[B, T', C]`.
pub(crate) fn forward<T: Real>(
    isa: Isa,
    direction: Direction,
    x: &[T],
    (b, t, c): (usize, usize, usize),
    y: &mut [T],
) {
    assert!(x.len() == b * t * c && y.len() == b * direction.frames(t) * c);
    rows(direction.frames(t), c, y, |clip, frames, y| {
        let x = &x[clip * t * c..][..t * c];
        isa.run(Rows::<T, false> {
            direction,
            x,
            t,
            c,
            frames,
            add: false,
            y,
        });
    });
}

/// The gradient of `x`, given that of the result; overwritten, or added to.
pub(crate) fn backward<T: Real>(
    isa: Isa,
    direction: Direction,
    dy: &[T],
    (b, t, c): (usize, usize, usize),
    add: bool,
    dx: &mut [T],
) {
    let made = direction.frames(t);
    assert!(dx.len() == b * t * c && dy.len() == b * made * c);
    rows(t, c, dx, |clip, frames, y| {
        let x = &dy[clip * made * c..][..made * c];
        isa.run(Rows::<T, true> {
            direction,
            x,
            t,
            c,
            frames,
            add,
            y,
        });
    });
}

/// Hands out pieces of `to: [B, T, C]` with their clip and frames.
fn rows<T: Real>(
    t: usize,
    c: usize,
    to: &mut [T],
    task: impl Fn(usize, Range<usize>, &mut [T]) + Sync,
) {
    let each = (PIECE / c).max(1);
    let pieces = t.div_ceil(each);
    let clips = to.len() / (t * c);
    let to = DisjointSlice::new(to);
    team::for_each(clips * pieces, |i| {
        let (clip, first) = (i / pieces, i % pieces * each);
        let frames = first..t.min(first + each);
        // SAFETY: each clip and piece of it is another range.
        let part = unsafe { to.part((clip * t + frames.start) * c..(clip * t + frames.end) * c) };
        task(clip, frames, part);
    });
}

/// Some frames of one clip's result, or of its gradient where `BACK`.
struct Rows<'a, T, const BACK: bool> {
    direction: Direction,
    /// All frames of the clip that is read.
    x: &'a [T],
    /// Number of input frames, `T`.
    t: usize,
    c: usize,
    frames: Range<usize>,
    add: bool,
    y: &'a mut [T],
}

impl<T: Real, const BACK: bool> WithSimd for Rows<'_, T, BACK> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            direction,
            x,
            t,
            c,
            frames,
            add,
            y,
        } = self;
        for (j, y) in frames.zip(y.chunks_exact_mut(c)) {
            if !add {
                y.fill(T::zero());
            }
            let taps = if BACK {
                direction.scatter_taps(j, t)
            } else {
                direction.taps(j, t)
            };
            for &(from, weight) in &taps.each[..taps.len] {
                accumulate(&x[from * c..][..c], T::from_f64(weight), y);
            }
        }
    }
}

#[inline(always)]
fn accumulate<T: Real>(x: &[T], weight: T, y: &mut [T]) {
    for i in 0..y.len() {
        y[i] += x[i] * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_stay_as_they_are_and_halves_are_even() {
        assert_eq!(DOWN.iter().sum::<f64>(), 1.0);
        for phase in UP {
            assert_eq!(phase.iter().sum::<f64>(), 1.0);
        }
        // Twice the taps of downsampling, every second one for each phase.
        for k in 0..4 {
            assert_eq!(UP[0][k], 2.0 * DOWN[[0, 2, 4, 6][k]]);
            assert_eq!(UP[1][k + 1], 2.0 * DOWN[[1, 3, 5, 7][k]]);
        }
    }
}
