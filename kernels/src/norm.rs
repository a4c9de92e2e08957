//! Group normalisation, FiLM and an activation: the prologue of a convolution.
//!
//! A channel of a clip becomes `f(slope·x + offset)`, with coefficients from its group's statistics, the norm's gain
//! and bias, and FiLM's scale and shift. The reader of a map applies them as it reads ([`Prologue::read`]), so that the
//! normalised map is never stored.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::activation::{Activation, activate, activate_backward};
use crate::disjoint::DisjointSlice;
use crate::isa::Isa;
use crate::real::Real;
use crate::team;

/// Added to a variance.
pub(crate) const EPSILON: f64 = 1e-5;

/// Coefficients of a clip's channel, each a row of `C`: mean and reciprocal standard deviation of its group, slope,
/// offset.
pub(crate) const COEFFICIENTS: usize = 4;

/// A norm, ready to be applied to a map `[B, T, C]`.
#[derive(Clone, Copy)]
pub(crate) struct Applied<'a, T> {
    /// `[B, 4, C]`, from [`coefficients`].
    pub coefficients: &'a [T],
    /// Applied after slope and offset.
    pub activation: Activation,
}

impl<'a, T> Applied<'a, T> {
    /// Slope and offset of a clip's channels.
    #[inline(always)]
    pub fn line(&self, c: usize, clip: usize) -> (&'a [T], &'a [T]) {
        self.coefficients[(COEFFICIENTS * clip + 2) * c..][..2 * c].split_at(c)
    }
}

/// The input of an op: a map `[B, T, C]`, normalised and activated as it is read where `norm` is given.
#[derive(Clone, Copy)]
pub(crate) struct Prologue<'a, T> {
    pub x: &'a [T],
    pub norm: Option<Applied<'a, T>>,
}

impl<'a, T: Real> Prologue<'a, T> {
    /// The map as it is.
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
                    activate(norm.activation, &x[channels.clone()], slope, offset, out);
                }
            }
        }
    }

    /// As [`Prologue::read`], with `pad` frames more at both ends, zeros where these lie outside the clip.
    #[inline(always)]
    pub fn read_padded(
        &self,
        (t, c): (usize, usize),
        pad: usize,
        clip: usize,
        (frames, channels): (Range<usize>, Range<usize>),
        out: &mut [T],
    ) {
        let width = channels.len();
        let before = pad.saturating_sub(frames.start);
        let inside = (frames.start + before - pad)..(frames.end + pad).min(t);
        let end = before + inside.len();
        out[..before * width].fill(T::zero());
        let rows = &mut out[before * width..end * width];
        self.read((t, c), clip, inside, channels, rows);
        out[end * width..(frames.len() + 2 * pad) * width].fill(T::zero());
    }
}

/// Values of a map that one task works on.
const PIECE: usize = 1 << 16;

/// `y = prologue(x) + residual`, all `[B, T, C]`.
pub(crate) fn apply<T: Real>(
    isa: Isa,
    x: Prologue<'_, T>,
    (b, t, c): (usize, usize, usize),
    residual: Option<&[T]>,
    y: &mut [T],
) {
    assert!(y.len() == b * t * c);
    let frames = (PIECE / c).max(1);
    let pieces = t.div_ceil(frames);
    let y = DisjointSlice::new(y);
    team::for_each(b * pieces, |i| {
        let (clip, first) = (i / pieces, i % pieces * frames);
        let frames = first..t.min(first + frames);
        let range = (clip * t + frames.start) * c..(clip * t + frames.end) * c;
        isa.run(Apply {
            x: &x,
            dims: (t, c),
            clip,
            frames,
            residual: residual.map(|residual| &residual[range.clone()]),
            // SAFETY: each clip and piece of it is another range.
            y: unsafe { y.part(range) },
        });
    });
}

struct Apply<'a, T> {
    x: &'a Prologue<'a, T>,
    dims: (usize, usize),
    clip: usize,
    frames: Range<usize>,
    residual: Option<&'a [T]>,
    y: &'a mut [T],
}

impl<T: Real> WithSimd for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = 0..self.dims.1;
        self.x
            .read(self.dims, self.clip, self.frames, channels, self.y);
        if let Some(residual) = self.residual {
            self.y.iter_mut().zip(residual).for_each(|(y, &r)| *y += r);
        }
    }
}

/// The coefficients of a map `x: [B, T, C]`: `(x̂·gain + bias)·(1 + scale) + shift`
/// [Wu & He 2018; Perez et al. 2018].
///
/// `affine: [2, C]` (gain, bias), `film: [B, 2·C]` (scale, shift), neutral where there is none. `groups`
/// divides `C`.
pub(crate) fn coefficients<T: Real>(
    isa: Isa,
    x: &[T],
    (b, t, c): (usize, usize, usize),
    affine: &[T],
    film: Option<&[T]>,
    groups: usize,
    out: &mut [T],
) {
    assert!(x.len() == b * t * c && out.len() == b * COEFFICIENTS * c);
    let clip = |clip: usize, out: &mut [T]| {
        let x = &x[clip * t * c..][..t * c];
        let film = film.map(|film| &film[clip * 2 * c..][..2 * c]);
        let pieces = x.len().div_ceil(SUMMED * c);
        T::with_scratch(pieces * 2 * c, |sums| {
            team::for_each_chunk(sums, 2 * c, |i, sums| {
                let first = i * SUMMED * c;
                isa.run(Sums {
                    x: &x[first..x.len().min(first + SUMMED * c)],
                    pivot: &x[..c],
                    sums,
                });
            });
            isa.run(ClipCoefficients {
                x,
                affine,
                film,
                groups,
                sums,
                out,
            })
        });
    };
    team::for_each_chunk(out, COEFFICIENTS * c, clip);
}

/// Frames whose sums one task makes.
const SUMMED: usize = 2048;

/// Per-channel sums, and those of squares, about a clip's first frame, whose values stand in for the mean so that a
/// large common offset costs no digits.
struct Sums<'a, T> {
    x: &'a [T],
    pivot: &'a [T],
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, pivot, sums } = self;
        let c = pivot.len();
        sums.fill(T::zero());
        let (sums, squares) = sums.split_at_mut(c);
        for row in x.chunks_exact(c) {
            for i in 0..c {
                let x = row[i] - pivot[i];
                sums[i] += x;
                squares[i] += x * x;
            }
        }
    }
}

/// Statistics in double precision from [`Sums`] of the clip's parts.
struct ClipCoefficients<'a, T> {
    x: &'a [T],
    affine: &'a [T],
    film: Option<&'a [T]>,
    groups: usize,
    sums: &'a mut [T],
    out: &'a mut [T],
}

impl<T: Real> WithSimd for ClipCoefficients<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            x,
            affine,
            film,
            groups,
            sums,
            out,
        } = self;
        let c = affine.len() / 2;
        let pivot = &x[..c];
        let (sums, parts) = sums.split_at_mut(2 * c);
        for part in parts.chunks_exact(2 * c) {
            for i in 0..2 * c {
                sums[i] += part[i];
            }
        }
        let (sums, squares) = sums.split_at(c);
        let (frames, each) = ((x.len() / c) as f64, c / groups);
        let (statistics, line) = out.split_at_mut(2 * c);
        let (means, rstds) = statistics.split_at_mut(c);
        let (slope, offset) = line.split_at_mut(c);
        let (gain, bias) = affine.split_at(c);
        for group in 0..groups {
            let channels = group * each..(group + 1) * each;
            let mean = channels
                .clone()
                .map(|i| pivot[i].to_double() + sums[i].to_double() / frames)
                .sum::<f64>()
                / each as f64;
            // Sum of squares about the group's mean, from sums about each channel's pivot.
            let spread = |i: usize| {
                let gap = pivot[i].to_double() - mean;
                squares[i].to_double() + 2.0 * gap * sums[i].to_double() + frames * gap * gap
            };
            let variance = channels.clone().map(spread).sum::<f64>() / (frames * each as f64);
            let rstd = T::from_f64(1.0 / (variance.max(0.0) + EPSILON).sqrt());
            let mean = T::from_f64(mean);
            for i in channels {
                let (scale, shift) = match film {
                    Some(film) => (T::one() + film[i], film[c + i]),
                    None => (T::one(), T::zero()),
                };
                means[i] = mean;
                rstds[i] = rstd;
                slope[i] = rstd * gain[i] * scale;
                offset[i] = (bias[i] - mean * rstd * gain[i]) * scale + shift;
            }
        }
    }
}

/// The inputs of a norm's backward pass.
pub(crate) struct Backward<'a, T> {
    pub x: &'a [T],
    pub dims: (usize, usize, usize),
    /// As [`coefficients`] made them.
    pub coefficients: &'a [T],
    pub affine: &'a [T],
    pub film: Option<&'a [T]>,
    pub groups: usize,
    pub activation: Activation,
}

impl<T: Real> Backward<'_, T> {
    /// FiLM's factor of a channel.
    #[inline(always)]
    fn scale(&self, clip: usize, channel: usize) -> T {
        match self.film {
            Some(film) => T::one() + film[clip * self.affine.len() + channel],
            None => T::one(),
        }
    }
}

/// The gradients of a norm's inputs, given that of its output in `dh`, which is overwritten.
///
/// `dx` is overwritten, or added to where `add`; it is `None` where nothing before the norm has a gradient. `daffine:
/// [2, C]` likewise, by `add_affine`; `dfilm: [B, 2·C]` is overwritten.
#[allow(clippy::too_many_arguments)] // three results, and whether each is added to
pub(crate) fn backward<T: Real>(
    isa: Isa,
    of: &Backward<'_, T>,
    dh: &mut [T],
    dx: Option<&mut [T]>,
    add: bool,
    daffine: &mut [T],
    add_affine: bool,
    dfilm: Option<&mut [T]>,
) {
    let (b, t, c) = of.dims;
    // Each clip's contribution to the sums over clips: gain and bias, then scale and shift.
    T::with_scratch(b * 2 * c, |sums| {
        let dx = dx.map(DisjointSlice::new);
        let all_sums = DisjointSlice::new(sums);
        team::for_each_chunk(dh, t * c, |clip, dh| {
            T::with_scratch(3 * c, |scratch| {
                let range = clip * t * c..(clip + 1) * t * c;
                isa.run(BackwardClip {
                    of,
                    clip,
                    dh,
                    // SAFETY: each clip is another range, and comes once.
                    sums: unsafe { all_sums.part(2 * c * clip..2 * c * (clip + 1)) },
                    // SAFETY: likewise.
                    dx: dx.as_ref().map(|dx| unsafe { dx.part(range) }),
                    add,
                    scratch,
                });
            });
        });
        if !add_affine {
            daffine.fill(T::zero());
        }
        let mut dfilm = dfilm;
        for (clip, sums) in sums.chunks_exact(2 * c).enumerate() {
            let (sum_dz_xhat, sum_dz) = sums.split_at(c);
            for i in 0..c {
                let scale = of.scale(clip, i);
                daffine[i] += scale * sum_dz_xhat[i];
                daffine[c + i] += scale * sum_dz[i];
                if let Some(dfilm) = &mut dfilm {
                    dfilm[clip * 2 * c + i] =
                        of.affine[i] * sum_dz_xhat[i] + of.affine[c + i] * sum_dz[i];
                    dfilm[clip * 2 * c + c + i] = sum_dz[i];
                }
            }
        }
    });
}

/// The backward pass of one clip; leaves in `sums` the sums over frames of `dz·x̂` and of `dz`.
struct BackwardClip<'a, T> {
    of: &'a Backward<'a, T>,
    clip: usize,
    dh: &'a mut [T],
    sums: &'a mut [T],
    dx: Option<&'a mut [T]>,
    add: bool,
    scratch: &'a mut [T],
}

impl<T: Real> WithSimd for BackwardClip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            of,
            clip,
            dh,
            sums,
            dx,
            add,
            scratch,
        } = self;
        let (_, t, c) = of.dims;
        let x = &of.x[clip * t * c..][..t * c];
        let (statistics, line) =
            of.coefficients[COEFFICIENTS * clip * c..][..COEFFICIENTS * c].split_at(2 * c);
        let (mean, rstd) = statistics.split_at(c);
        let (slope, offset) = line.split_at(c);
        sums.fill(T::zero());
        let (sum_dz_xhat, sum_dz) = sums.split_at_mut(c);
        // dz: through the activation.
        for (x, dz) in x.chunks_exact(c).zip(dh.chunks_exact_mut(c)) {
            activate_backward(of.activation, x, slope, offset, dz);
            for i in 0..c {
                let d = dz[i];
                sum_dz[i] += d;
                sum_dz_xhat[i] += d * (x[i] - mean[i]) * rstd[i];
            }
        }
        let Some(dx) = dx else { return };
        // dx = direct·dz - constant - linear·x, the last two from the group's means of the gradient of x̂,
        // alone and against x̂.
        let (direct, rest) = scratch.split_at_mut(c);
        let (constant, linear) = rest.split_at_mut(c);
        let each = c / of.groups;
        let n = T::from_f64((t * each) as f64);
        for group in 0..of.groups {
            let channels = group * each..(group + 1) * each;
            let (mut mean_d, mut mean_d_xhat) = (T::zero(), T::zero());
            for i in channels.clone() {
                let gain = of.affine[i] * of.scale(clip, i);
                direct[i] = rstd[i] * gain;
                mean_d += gain * sum_dz[i] / n;
                mean_d_xhat += gain * sum_dz_xhat[i] / n;
            }
            for i in channels {
                linear[i] = rstd[i] * rstd[i] * mean_d_xhat;
                constant[i] = rstd[i] * mean_d - mean[i] * linear[i];
            }
        }
        let rows = x.chunks_exact(c).zip(dh.chunks_exact(c));
        for ((x, dz), dx) in rows.zip(dx.chunks_exact_mut(c)) {
            for i in 0..c {
                let d = direct[i] * dz[i] - constant[i] - linear[i] * x[i];
                dx[i] = if add { dx[i] + d } else { d };
            }
        }
    }
}
