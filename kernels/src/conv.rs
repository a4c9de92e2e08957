//! "Same" convolution over frames, stride 1, odd kernel.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::matmul::{Threads, View, matmul};
use crate::real::{Real, slice, with_values, zeros};
use crate::winograd;
use crate::{expect_shape, fused};

/// Convolves over `T` with zero padding: `x: [B, T, Ci]` → `[B, T, Co]`.
///
/// `weight: [K·Ci, Co]` holds the taps from the earliest frame to the latest, `bias: [Co]`. `K` is odd
/// and follows from the shapes; `K = 1` is a linear layer. Strided layers are this one around a reshape.
///
/// # Errors
/// When the shapes disagree; the message says both sides.
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let dims = Dims::of(x, weight)?;
    expect_shape("conv1d", "bias", bias, &[dims.co])?;
    if fused(x) {
        x.contiguous()?.apply_op3(weight, bias, Conv)
    } else {
        composed(x, weight, bias, dims)
    }
}

/// The definition: taps as shifted copies side by side, then one matrix product.
fn composed(x: &Tensor, weight: &Tensor, bias: &Tensor, d: Dims) -> Result<Tensor> {
    let columns = if d.kernel == 1 {
        x.clone()
    } else {
        let padded = x.pad_with_zeros(1, d.pad(), d.pad())?;
        let taps = (0..d.kernel)
            .map(|k| padded.narrow(1, k, d.t))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&taps, 2)?
    };
    let rows = columns.reshape((d.b * d.t, d.kernel * d.ci))?;
    rows.matmul(weight)?
        .broadcast_add(bias)?
        .reshape((d.b, d.t, d.co))
}

#[derive(Clone, Copy)]
struct Dims {
    b: usize,
    t: usize,
    ci: usize,
    co: usize,
    kernel: usize,
}

impl Dims {
    fn of(x: &Tensor, weight: &Tensor) -> Result<Self> {
        Self::new(x.shape(), weight.shape())
    }

    fn new(x: &Shape, weight: &Shape) -> Result<Self> {
        let (b, t, ci) = x.dims3()?;
        let (rows, co) = weight.dims2()?;
        if b == 0 || t == 0 || ci == 0 || co == 0 || rows % ci != 0 || (rows / ci) % 2 == 0 {
            bail!(
                "conv1d: weight should have an odd multiple of {ci} rows for frames {x:?}, found {weight:?}"
            );
        }
        Ok(Self {
            b,
            t,
            ci,
            co,
            kernel: rows / ci,
        })
    }

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

/// `dx`: the same convolution with taps reversed and each tap transposed.
fn grad_x<T: Real>(dy: &[T], weight: &[T], d: Dims) -> Vec<T> {
    let mut flipped = zeros(d.kernel * d.co * d.ci);
    flipped
        .par_chunks_mut(d.co * d.ci)
        .enumerate()
        .for_each(|(k, tap)| {
            let source = &weight[(d.kernel - 1 - k) * d.ci * d.co..][..d.ci * d.co];
            for (i, row) in source.chunks(d.co).enumerate() {
                for (o, &w) in row.iter().enumerate() {
                    tap[o * d.ci + i] = w;
                }
            }
        });
    convolve(
        dy,
        &flipped,
        None,
        Dims {
            ci: d.co,
            co: d.ci,
            ..d
        },
    )
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

struct Conv;

impl Conv {
    fn forward<T: Real>(x: &[T], weight: &[T], bias: &[T], d: Dims) -> (CpuStorage, Shape) {
        let y = convolve(x, weight, Some(bias), d);
        (T::to_cpu_storage_owned(y), Shape::from((d.b, d.t, d.co)))
    }

    fn backward<T: Real>(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let d = Dims::of(x, weight)?;
        let device = x.device();
        with_values::<T, _>(dy, |dy| {
            // The first layer's input needs no gradient.
            let dx = if x.track_op() {
                let dx = with_values(weight, |w| Ok(grad_x(dy, w, d)))?;
                Some(Tensor::from_vec(dx, x.shape(), device)?)
            } else {
                None
            };
            let dw = with_values(x, |x| Ok(grad_weight(x, dy, d)))?;
            let dw = Tensor::from_vec(dw, weight.shape(), device)?;
            let db = Tensor::from_vec(column_sums(dy, d.co), d.co, device)?;
            Ok([dx, Some(dw), Some(db)])
        })
    }
}

impl CustomOp3 for Conv {
    fn name(&self) -> &'static str {
        "conv1d-channels-last"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let d = Dims::new(xl.shape(), wl.shape())?;
        Ok(match x {
            CpuStorage::F32(_) => {
                Self::forward::<f32>(slice(x, xl)?, slice(w, wl)?, slice(b, bl)?, d)
            }
            _ => Self::forward::<f64>(slice(x, xl)?, slice(w, wl)?, slice(b, bl)?, d),
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] = match x.dtype() {
            DType::F32 => Self::backward::<f32>(x, w, dy)?,
            _ => Self::backward::<f64>(x, w, dy)?,
        };
        Ok((dx, dw, db))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, check_gradients, values};

    #[test]
    fn conv_equals_its_definition() -> Result<()> {
        for (b, t, ci, co, k) in [
            (1, 1, 1, 1, 1),
            (3, 7, 5, 6, 3),
            (2, 1, 3, 4, 3),
            (2, 9, 4, 3, 5),
            (4, 33, 17, 9, 1),
            (3, 11, 32, 37, 3),
            (2, 390, 35, 32, 3),
        ] {
            let (x, w, bias) = (
                values(&[b, t, ci], 1),
                values(&[k * ci, co], 2),
                values(&[co], 3),
            );
            let d = Dims::of(&x, &w)?;
            assert_close(&conv1d(&x, &w, &bias)?, &composed(&x, &w, &bias, d)?, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn conv_gradients_equal_finite_differences() -> Result<()> {
        for (b, t, ci, co, k) in [
            (3, 7, 5, 4, 3),
            (2, 5, 3, 6, 1),
            (2, 1, 2, 3, 3),
            (2, 6, 2, 3, 5),
            (2, 9, 33, 32, 3),
        ] {
            let inputs = [
                values(&[b, t, ci], 1),
                values(&[k * ci, co], 2),
                values(&[co], 3),
            ];
            check_gradients(&inputs, |v| conv1d(&v[0], &v[1], &v[2]))?;
            check_gradients(&inputs, |v| {
                composed(&v[0], &v[1], &v[2], Dims::of(&v[0], &v[1])?)
            })?;
        }
        Ok(())
    }

    #[test]
    fn rounding_in_f32_stays_below_five_millionths() -> Result<()> {
        let (x, w, bias) = (
            values(&[2, 50, 256], 1),
            values(&[3 * 256, 64], 2),
            values(&[64], 3),
        );
        let single = |x: &Tensor| x.to_dtype(DType::F32);
        let y = conv1d(&single(&x)?, &single(&w)?, &single(&bias)?)?;
        let exact = composed(&x, &w, &bias, Dims::of(&x, &w)?)?;
        assert_close(&y.to_dtype(DType::F64)?, &exact, 5e-6);
        Ok(())
    }

    #[test]
    fn wrong_shapes_say_both_sides() {
        let message = |x: &[usize], w: &[usize], b: &[usize]| {
            conv1d(&values(x, 1), &values(w, 2), &values(b, 3))
                .expect_err("shapes disagree")
                .to_string()
        };
        assert!(message(&[2, 5, 3], &[6, 4], &[4]).contains("odd multiple of 3"));
        assert!(message(&[2, 5, 3], &[10, 4], &[4]).contains("[10, 4]"));
        assert!(message(&[2, 5, 3], &[9, 4], &[5]).contains("[4]"));
    }
}
