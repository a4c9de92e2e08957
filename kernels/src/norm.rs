//! Group normalisation, FiLM and SiLU, on slices.

use crate::isa::Isa;
use crate::real::{Real, zeros};

pub(crate) const EPSILON: f64 = 1e-5;

/// A norm whose statistics are known: `z = slope·x + offset`, then SiLU where it activates.
#[derive(Clone, Copy)]
pub(crate) struct Applied<'a, T> {
    /// `[B, 4, C]`: mean, reciprocal deviation, slope, offset.
    pub coefficients: &'a [T],
    pub activate: bool,
}

impl<T: Real> Applied<'_, T> {
    /// Norms `[B, T, C]` in place.
    pub fn apply(&self, x: &mut [T], (_, t, c): (usize, usize, usize)) {
        let clips = x
            .chunks_exact_mut(t * c)
            .zip(self.coefficients.chunks_exact(4 * c));
        for (x, k) in clips {
            for row in x.chunks_exact_mut(c) {
                for ch in 0..c {
                    let z = k[2 * c + ch] * row[ch] + k[3 * c + ch];
                    row[ch] = if self.activate { z * z.sigmoid() } else { z };
                }
            }
        }
    }
}

/// Statistics in double precision from per-channel sums about the first frame, whose values stand in
/// for the mean so that a large common offset costs no digits.
pub(crate) fn coefficients<T: Real>(
    _isa: Isa,
    x: &[T],
    (_, t, c): (usize, usize, usize),
    affine: &[T],
    film: Option<&[T]>,
    groups: usize,
    out: &mut [T],
) {
    let per_group = c / groups;
    let (gain, bias) = affine.split_at(c);
    for (i, (x, out)) in x
        .chunks_exact(t * c)
        .zip(out.chunks_exact_mut(4 * c))
        .enumerate()
    {
        let (scale, shift) = clip_film(film, i, c);
        let pivot = &x[..c];
        let (mut sums, mut squares) = (zeros::<T>(c), zeros::<T>(c));
        for row in x.chunks_exact(c) {
            for ch in 0..c {
                let x = row[ch] - pivot[ch];
                sums[ch] += x;
                squares[ch] += x * x;
            }
        }
        let frames = t as f64;
        for group in 0..groups {
            let channels = group * per_group..(group + 1) * per_group;
            let n = frames * per_group as f64;
            let channel_mean = |ch: usize| pivot[ch].to_double() + sums[ch].to_double() / frames;
            let mean = channels.clone().map(channel_mean).sum::<f64>() / per_group as f64;
            // Sum of squares about the group's mean, from sums about each channel's pivot.
            let spread = |ch: usize| {
                let gap = pivot[ch].to_double() - mean;
                squares[ch].to_double() + 2.0 * gap * sums[ch].to_double() + frames * gap * gap
            };
            let variance = channels.clone().map(spread).sum::<f64>() / n;
            let rstd = T::from_f64(1.0 / (variance.max(0.0) + EPSILON).sqrt());
            let mean = T::from_f64(mean);
            for ch in channels {
                let film = T::one() + scale.map_or(T::zero(), |s| s[ch]);
                let shift = shift.map_or(T::zero(), |s| s[ch]);
                out[ch] = mean;
                out[c + ch] = rstd;
                out[2 * c + ch] = rstd * gain[ch] * film;
                out[3 * c + ch] = (bias[ch] - mean * rstd * gain[ch]) * film + shift;
            }
        }
    }
}

/// Scale and shift of clip `i`.
fn clip_film<T>(film: Option<&[T]>, i: usize, c: usize) -> (Option<&[T]>, Option<&[T]>) {
    let part = |from: usize| film.map(|film| &film[(2 * i + from) * c..][..c]);
    (part(0), part(1))
}

/// What the backward pass of a norm reads.
pub(crate) struct Backward<'a, T> {
    pub x: &'a [T],
    pub dims: (usize, usize, usize),
    pub coefficients: &'a [T],
    pub affine: &'a [T],
    pub film: Option<&'a [T]>,
    pub groups: usize,
    pub activate: bool,
}

/// From the gradient `dh` of what the norm made, which is overwritten, to those of its inputs; that of
/// `film` is assigned, the others are assigned or added.
#[allow(clippy::too_many_arguments)] // three gradients and whether to add them
pub(crate) fn backward<T: Real>(
    _isa: Isa,
    of: &Backward<'_, T>,
    dh: &mut [T],
    mut dx: Option<&mut [T]>,
    add: bool,
    daffine: &mut [T],
    add_affine: bool,
    mut dfilm: Option<&mut [T]>,
) {
    let (b, t, c) = of.dims;
    let per_group = c / of.groups;
    if !add_affine {
        daffine.fill(T::zero());
    }
    for i in 0..b {
        let x = &of.x[i * t * c..][..t * c];
        let dh = &mut dh[i * t * c..][..t * c];
        let k = &of.coefficients[i * 4 * c..][..4 * c];
        let (mean, rstd) = (&k[..c], &k[c..2 * c]);
        let (mut sum_dz, mut sum_dz_xhat) = (zeros::<T>(c), zeros::<T>(c));
        for (x, dh) in x.chunks_exact(c).zip(dh.chunks_exact_mut(c)) {
            for ch in 0..c {
                if of.activate {
                    let z = k[2 * c + ch] * x[ch] + k[3 * c + ch];
                    let s = z.sigmoid();
                    dh[ch] *= s * (T::one() + z * (T::one() - s));
                }
                sum_dz[ch] += dh[ch];
                sum_dz_xhat[ch] += dh[ch] * (x[ch] - mean[ch]) * rstd[ch];
            }
        }
        let scale = clip_film(of.film, i, c).0;
        let n = T::from_f64((t * per_group) as f64);
        let (mut direct, mut constant, mut linear) = (zeros::<T>(c), zeros::<T>(c), zeros::<T>(c));
        for group in 0..of.groups {
            let channels = group * per_group..(group + 1) * per_group;
            let (mut mean_d, mut mean_d_xhat) = (T::zero(), T::zero());
            for ch in channels.clone() {
                let (gain, bias) = (of.affine[ch], of.affine[c + ch]);
                let film = T::one() + scale.map_or(T::zero(), |s| s[ch]);
                daffine[ch] += film * sum_dz_xhat[ch];
                daffine[c + ch] += film * sum_dz[ch];
                if let Some(dfilm) = &mut dfilm {
                    dfilm[2 * i * c + ch] = gain * sum_dz_xhat[ch] + bias * sum_dz[ch];
                    dfilm[(2 * i + 1) * c + ch] = sum_dz[ch];
                }
                direct[ch] = gain * film;
                mean_d += direct[ch] * sum_dz[ch];
                mean_d_xhat += direct[ch] * sum_dz_xhat[ch];
            }
            for ch in channels {
                constant[ch] = mean_d / n;
                linear[ch] = mean_d_xhat / n;
            }
        }
        let Some(dx) = &mut dx else { continue };
        let dx = &mut dx[i * t * c..][..t * c];
        let rows = x.chunks_exact(c).zip(dh.chunks_exact(c));
        for ((x, dh), dx) in rows.zip(dx.chunks_exact_mut(c)) {
            for ch in 0..c {
                let xhat = (x[ch] - mean[ch]) * rstd[ch];
                let value = rstd[ch] * (direct[ch] * dh[ch] - constant[ch] - xhat * linear[ch]);
                dx[ch] = if add { dx[ch] + value } else { value };
            }
        }
    }
}
