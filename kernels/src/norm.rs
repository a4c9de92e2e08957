//! Group normalisation, FiLM and SiLU in one pass.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::isa::vectorised;
use crate::real::{Real, slice, with_values, zeros};
use crate::{expect_shape, fused};

const EPSILON: f64 = 1e-5;

/// Normalises groups of channels over all frames of a clip, then modulates, then activates:
/// `silu((x̂·gain + bias)·(1 + scale) + shift)` [Wu & He 2018; Perez et al. 2018].
///
/// `x: [B, T, C]`, `affine: [2, C]` (gain, bias), `film: [B, 2·C]` (scale, shift; zeros are neutral).
/// With `activate` false the SiLU is left out. `groups` divides `C`.
///
/// # Errors
/// When the shapes disagree; the message says both sides.
pub fn group_norm_film_silu(
    x: &Tensor,
    affine: &Tensor,
    film: &Tensor,
    groups: usize,
    activate: bool,
) -> Result<Tensor> {
    let (b, _, c) = x.dims3()?;
    if groups == 0 || c % groups != 0 {
        bail!("group norm: {c} channels do not divide into {groups} groups");
    }
    expect_shape("group norm", "affine", affine, &[2, c])?;
    expect_shape("group norm", "film", film, &[b, 2 * c])?;
    if fused(x) {
        let op = GroupNorm { groups, activate };
        x.contiguous()?.apply_op3(affine, &film.contiguous()?, op)
    } else {
        composed(x, affine, film, groups, activate)
    }
}

/// The definition, in plain operations.
fn composed(
    x: &Tensor,
    affine: &Tensor,
    film: &Tensor,
    groups: usize,
    activate: bool,
) -> Result<Tensor> {
    let (b, t, c) = x.dims3()?;
    let grouped = x
        .reshape((b, t, groups, c / groups))?
        .transpose(1, 2)?
        .reshape((b, groups, t * (c / groups)))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(2)? + EPSILON)?.sqrt()?;
    let normed = centred.broadcast_div(&deviation)?;
    let normed = normed
        .reshape((b, groups, t, c / groups))?
        .transpose(1, 2)?
        .reshape((b, t, c))?;
    let z = normed
        .broadcast_mul(&affine.narrow(0, 0, 1)?)?
        .broadcast_add(&affine.narrow(0, 1, 1)?)?;
    let film = film.unsqueeze(1)?;
    let z = z
        .broadcast_mul(&(film.narrow(2, 0, c)? + 1.0)?)?
        .broadcast_add(&film.narrow(2, c, c)?)?;
    if activate { z.silu() } else { Ok(z) }
}

struct GroupNorm {
    groups: usize,
    activate: bool,
}

/// What one clip needs: `z = slope·x + offset` per channel, and the group statistics.
struct Coefficients<T> {
    slope: Vec<T>,
    offset: Vec<T>,
    mean: Vec<T>,
    rstd: Vec<T>,
}

impl GroupNorm {
    /// Statistics in double precision from per-channel sums about the first frame, whose values stand in
    /// for the mean so that a large common offset costs no digits.
    fn coefficients<T: Real>(&self, x: &[T], affine: &[T], film: &[T]) -> Coefficients<T> {
        let c = affine.len() / 2;
        let pivot = &x[..c];
        let (mut sums, mut squares) = (zeros::<T>(c), zeros::<T>(c));
        vectorised(|| {
            for row in x.chunks_exact(c) {
                let sums = sums.iter_mut().zip(&mut squares);
                for (((sum, square), &x), &p) in sums.zip(row).zip(pivot) {
                    let x = x - p;
                    *sum += x;
                    *square += x * x;
                }
            }
        });
        let (frames, per_group) = ((x.len() / c) as f64, c / self.groups);
        let (gain, bias) = affine.split_at(c);
        let (scale, shift) = film.split_at(c);
        let mut k = Coefficients {
            slope: zeros(c),
            offset: zeros(c),
            mean: zeros(c),
            rstd: zeros(c),
        };
        for group in 0..self.groups {
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
                let film = T::one() + scale[ch];
                k.mean[ch] = mean;
                k.rstd[ch] = rstd;
                k.slope[ch] = rstd * gain[ch] * film;
                k.offset[ch] = (bias[ch] - mean * rstd * gain[ch]) * film + shift[ch];
            }
        }
        k
    }

    /// Some frames of a clip.
    #[inline(always)]
    fn apply<T: Real>(&self, k: &Coefficients<T>, x: &[T], y: &mut [T]) {
        let c = k.slope.len();
        for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
            for (((y, &x), &slope), &offset) in y.iter_mut().zip(x).zip(&k.slope).zip(&k.offset) {
                let z = slope * x + offset;
                *y = if self.activate { z * z.sigmoid() } else { z };
            }
        }
    }

    fn forward<T: Real>(
        &self,
        x: &[T],
        affine: &[T],
        film: &[T],
        shape: &Shape,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, t, c) = shape.dims3()?;
        let mut y = zeros(x.len());
        let clips = x
            .par_chunks(t * c)
            .zip(film.par_chunks(2 * c))
            .zip(y.par_chunks_mut(t * c));
        clips.for_each(|((x, film), y)| {
            let k = self.coefficients(x, affine, film);
            // The frames of a lone clip are shared out too.
            y.par_chunks_mut(64 * c)
                .zip(x.par_chunks(64 * c))
                .for_each(|(y, x)| vectorised(|| self.apply(&k, x, y)));
        });
        Ok((T::to_cpu_storage_owned(y), shape.clone()))
    }

    fn backward<T: Real>(
        &self,
        x: &Tensor,
        affine: &Tensor,
        film: &Tensor,
        dy: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let (b, t, c) = x.dims3()?;
        let (mut dx, mut dfilm) = (zeros::<T>(b * t * c), zeros::<T>(b * 2 * c));
        let mut daffine = zeros::<T>(b * 2 * c);
        with_values::<T, _>(x, |xs| {
            with_values::<T, _>(affine, |affine| {
                with_values::<T, _>(film, |films| {
                    with_values::<T, _>(dy, |dys| {
                        let inputs = xs
                            .par_chunks(t * c)
                            .zip(dys.par_chunks(t * c))
                            .zip(films.par_chunks(2 * c));
                        let outputs = dx
                            .par_chunks_mut(t * c)
                            .zip(dfilm.par_chunks_mut(2 * c))
                            .zip(daffine.par_chunks_mut(2 * c));
                        inputs.zip(outputs).for_each(
                            |(((x, dy), film), ((dx, dfilm), daffine))| {
                                self.clip_backward(x, affine, film, dy, dx, dfilm, daffine);
                            },
                        );
                        Ok(())
                    })
                })
            })
        })?;
        let mut total = zeros::<T>(2 * c);
        for clip in daffine.chunks(2 * c) {
            for (sum, &x) in total.iter_mut().zip(clip) {
                *sum += x;
            }
        }
        let device = x.device();
        Ok([
            Tensor::from_vec(dx, (b, t, c), device)?,
            Tensor::from_vec(total, (2, c), device)?,
            Tensor::from_vec(dfilm, (b, 2 * c), device)?,
        ])
    }

    #[allow(clippy::too_many_arguments)] // three inputs and their three gradients
    fn clip_backward<T: Real>(
        &self,
        x: &[T],
        affine: &[T],
        film: &[T],
        dy: &[T],
        dx: &mut [T],
        dfilm: &mut [T],
        daffine: &mut [T],
    ) {
        let c = affine.len() / 2;
        let k = self.coefficients(x, affine, film);
        // dz through the activation, with its sums: alone, and against x̂.
        let (mut sum_dz, mut sum_dz_xhat) = (zeros::<T>(c), zeros::<T>(c));
        vectorised(|| {
            let (slope, offset) = (&k.slope[..c], &k.offset[..c]);
            let (mean, rstd) = (&k.mean[..c], &k.rstd[..c]);
            let (sum_dz, sum_dz_xhat) = (&mut sum_dz[..c], &mut sum_dz_xhat[..c]);
            let rows = x.chunks_exact(c).zip(dy.chunks_exact(c));
            for ((x, dy), dz) in rows.zip(dx.chunks_exact_mut(c)) {
                for ch in 0..c {
                    let mut d = dy[ch];
                    if self.activate {
                        let z = slope[ch] * x[ch] + offset[ch];
                        let s = z.sigmoid();
                        d *= s * (T::one() + z * (T::one() - s));
                    }
                    dz[ch] = d;
                    sum_dz[ch] += d;
                    sum_dz_xhat[ch] += d * (x[ch] - mean[ch]) * rstd[ch];
                }
            }
        });
        let per_group = c / self.groups;
        let n = T::from_f64((x.len() / c * per_group) as f64);
        let (mut direct, mut constant, mut linear) = (zeros::<T>(c), zeros::<T>(c), zeros::<T>(c));
        for group in 0..self.groups {
            let channels = group * per_group..(group + 1) * per_group;
            let (mut mean_d, mut mean_d_xhat) = (T::zero(), T::zero());
            for ch in channels.clone() {
                let (gain, bias, film) = (affine[ch], affine[c + ch], T::one() + film[ch]);
                daffine[ch] = film * sum_dz_xhat[ch];
                daffine[c + ch] = film * sum_dz[ch];
                dfilm[ch] = gain * sum_dz_xhat[ch] + bias * sum_dz[ch];
                dfilm[c + ch] = sum_dz[ch];
                direct[ch] = gain * film;
                mean_d += direct[ch] * sum_dz[ch];
                mean_d_xhat += direct[ch] * sum_dz_xhat[ch];
            }
            for ch in channels {
                constant[ch] = mean_d / n;
                linear[ch] = mean_d_xhat / n;
            }
        }
        vectorised(|| {
            let (mean, rstd) = (&k.mean[..c], &k.rstd[..c]);
            let (direct, constant, linear) = (&direct[..c], &constant[..c], &linear[..c]);
            for (x, dx) in x.chunks_exact(c).zip(dx.chunks_exact_mut(c)) {
                for ch in 0..c {
                    let xhat = (x[ch] - mean[ch]) * rstd[ch];
                    dx[ch] = rstd[ch] * (direct[ch] * dx[ch] - constant[ch] - xhat * linear[ch]);
                }
            }
        });
    }
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group-norm-film-silu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        a: &CpuStorage,
        al: &Layout,
        f: &CpuStorage,
        fl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match x {
            CpuStorage::F32(_) => {
                self.forward::<f32>(slice(x, xl)?, slice(a, al)?, slice(f, fl)?, xl.shape())
            }
            _ => self.forward::<f64>(slice(x, xl)?, slice(a, al)?, slice(f, fl)?, xl.shape()),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        film: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, daffine, dfilm] = match x.dtype() {
            DType::F32 => self.backward::<f32>(x, affine, film, dy)?,
            _ => self.backward::<f64>(x, affine, film, dy)?,
        };
        Ok((Some(dx), Some(daffine), Some(dfilm)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, check_gradients, values};

    const CASES: [(usize, usize, usize, usize, bool); 4] = [
        (1, 1, 4, 2, true),
        (3, 7, 6, 3, true),
        (2, 65, 8, 2, true),
        (2, 5, 4, 1, false),
    ];

    #[test]
    fn norm_equals_its_definition() -> Result<()> {
        for (b, t, c, groups, activate) in CASES {
            let (x, affine, film) = (
                values(&[b, t, c], 1),
                values(&[2, c], 2),
                values(&[b, 2 * c], 3),
            );
            let fused = group_norm_film_silu(&x, &affine, &film, groups, activate)?;
            assert_close(
                &fused,
                &composed(&x, &affine, &film, groups, activate)?,
                1e-11,
            );
        }
        Ok(())
    }

    #[test]
    fn norm_gradients_equal_finite_differences() -> Result<()> {
        for (b, t, c, groups, activate) in CASES {
            let inputs = [
                values(&[b, t, c], 1),
                values(&[2, c], 2),
                values(&[b, 2 * c], 3),
            ];
            check_gradients(&inputs, |v| {
                group_norm_film_silu(&v[0], &v[1], &v[2], groups, activate)
            })?;
            check_gradients(&inputs, |v| composed(&v[0], &v[1], &v[2], groups, activate))?;
        }
        Ok(())
    }

    #[test]
    fn a_common_offset_costs_no_precision_in_f32() -> Result<()> {
        let x = values(&[2, 50, 8], 4).to_dtype(DType::F32)?;
        let (affine, film) = (
            values(&[2, 8], 2).to_dtype(DType::F32)?,
            values(&[2, 16], 3).to_dtype(DType::F32)?,
        );
        let plain = group_norm_film_silu(&x, &affine, &film, 2, true)?;
        let moved = group_norm_film_silu(&(x + 64.0)?, &affine, &film, 2, true)?;
        assert_close(
            &plain.to_dtype(DType::F64)?,
            &moved.to_dtype(DType::F64)?,
            1e-4,
        );
        Ok(())
    }
}
