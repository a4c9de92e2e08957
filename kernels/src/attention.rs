//! Multi-head self-attention over frames, scores recomputed in the backward pass.

use candle_core::{CpuStorage, CustomOp1, D, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::fused;
use crate::isa::vectorised;
use crate::matmul::{Threads, View, matmul};
use crate::real::{Real, slice, with_values, zeros};

/// `softmax(Q·Kᵀ/√d)·V` for each head [Vaswani et al. 2017].
///
/// `qkv: [B, T, 3·C]` holds queries, keys and values side by side, each with its heads side by side;
/// returns `[B, T, C]`. `heads` divides `C`.
///
/// # Errors
/// When the channels do not divide.
pub fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (_, _, width) = qkv.dims3()?;
    if heads == 0 || width % (3 * heads) != 0 {
        bail!("attention: {width} channels do not divide into 3 × {heads} heads");
    }
    if fused(qkv) {
        qkv.contiguous()?.apply_op1(Attention { heads })
    } else {
        composed(qkv, heads)
    }
}

/// The definition, in plain operations.
fn composed(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, t, width) = qkv.dims3()?;
    let depth = width / 3 / heads;
    let parts = qkv
        .reshape((b, t, 3, heads, depth))?
        .permute((2, 0, 3, 1, 4))?
        .contiguous()?; // [3, B, H, T, D]
    let [q, k, v] = [0, 1, 2].map(|i| parts.get(i));
    let scores = (q?.matmul(&k?.t()?.contiguous()?)? * (depth as f64).powf(-0.5))?;
    let weights = softmax(&scores)?;
    weights
        .matmul(&v?)?
        .transpose(1, 2)?
        .reshape((b, t, width / 3))
}

/// Softmax over the last dimension from operations that carry gradients.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x
        .broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?
        .exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

struct Attention {
    heads: usize,
}

/// One head of one clip: strided views into its `[T, 3·C]` rows.
struct Head<'a, T> {
    q: View<'a, T>,
    k: View<'a, T>,
    v: View<'a, T>,
    t: usize,
    depth: usize,
}

impl<'a, T: Real> Head<'a, T> {
    fn of(qkv: &'a [T], t: usize, width: usize, heads: usize, index: usize) -> Self {
        let depth = width / 3 / heads;
        let clip = &qkv[index / heads * t * width..][..t * width];
        let part = |i: usize| View::rows(&clip[i * width / 3 + index % heads * depth..], width);
        Self {
            q: part(0),
            k: part(1),
            v: part(2),
            t,
            depth,
        }
    }

    fn scale(&self) -> T {
        T::from_f64((self.depth as f64).powf(-0.5))
    }

    /// `softmax(Q·Kᵀ/√d)`, `[T, T]`.
    fn weights(&self) -> Vec<T> {
        let (t, depth) = (self.t, self.depth);
        let mut scores = zeros(t * t);
        matmul(
            (t, depth, t),
            self.q,
            self.k.transposed(),
            &mut scores,
            t,
            false,
            Threads::One,
        );
        let scale = self.scale();
        vectorised(|| {
            scores
                .chunks_exact_mut(t)
                .for_each(|row| softmax_row(row, scale));
        });
        scores
    }

    fn forward(&self) -> Vec<T> {
        let (t, depth) = (self.t, self.depth);
        let mut out = zeros(t * depth);
        let weights = self.weights();
        matmul(
            (t, t, depth),
            View::rows(&weights, t),
            self.v,
            &mut out,
            depth,
            false,
            Threads::One,
        );
        out
    }

    /// Gradients of q, k and v, each `[T, D]`, given that of the output.
    fn backward(&self, dout: View<'_, T>) -> [Vec<T>; 3] {
        let (t, depth) = (self.t, self.depth);
        let weights = self.weights();
        let mut dv = zeros(t * depth);
        matmul(
            (t, t, depth),
            View::rows(&weights, t).transposed(),
            dout,
            &mut dv,
            depth,
            false,
            Threads::One,
        );
        let mut ds = zeros(t * t);
        matmul(
            (t, depth, t),
            dout,
            self.v.transposed(),
            &mut ds,
            t,
            false,
            Threads::One,
        );
        let scale = self.scale();
        vectorised(|| {
            for (ds, w) in ds.chunks_exact_mut(t).zip(weights.chunks_exact(t)) {
                let mean = fold(ds, w, T::zero(), |sum, d, w| sum + d * w, |a, b| a + b);
                for (d, &w) in ds.iter_mut().zip(w) {
                    *d = w * (*d - mean) * scale;
                }
            }
        });
        let (mut dq, mut dk) = (zeros(t * depth), zeros(t * depth));
        let ds = View::rows(&ds, t);
        matmul(
            (t, t, depth),
            ds,
            self.k,
            &mut dq,
            depth,
            false,
            Threads::One,
        );
        matmul(
            (t, t, depth),
            ds.transposed(),
            self.q,
            &mut dk,
            depth,
            false,
            Threads::One,
        );
        [dq, dk, dv]
    }
}

/// Folds two equally long rows in eight strands, which vectorise where a single one would have to keep
/// its order.
#[inline(always)]
fn fold<T: Real>(
    a: &[T],
    b: &[T],
    start: T,
    take: impl Fn(T, T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    const STRANDS: usize = 8;
    let mut strands = [start; STRANDS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<STRANDS>(), b.as_chunks::<STRANDS>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..STRANDS {
            strands[i] = take(strands[i], a[i], b[i]);
        }
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        strands[0] = take(strands[0], a, b);
    }
    strands.into_iter().fold(start, join)
}

/// `softmax(scale · row)`, in place.
#[inline(always)]
fn softmax_row<T: Real>(row: &mut [T], scale: T) {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let max = fold(row, row, row[0], |max, x, _| larger(max, x), larger);
    for x in row.iter_mut() {
        *x = ((*x - max) * scale).exp();
    }
    let sum = fold(row, row, T::zero(), |sum, x, _| sum + x, |a, b| a + b);
    let norm = T::one() / sum;
    for x in row.iter_mut() {
        *x *= norm;
    }
}

/// Puts the heads of each clip side by side again: `parts` holds `[T, depth]` blocks, `columns` tells
/// where block `i` of a clip begins in its rows of `width`.
fn gather<T: Real>(parts: &[Vec<T>], t: usize, depth: usize, width: usize) -> Vec<T> {
    let per_clip = width / depth;
    let mut out = zeros(parts.len() / per_clip * t * width);
    out.par_chunks_mut(t * width)
        .zip(parts.par_chunks(per_clip))
        .for_each(|(out, blocks)| {
            for (i, block) in blocks.iter().enumerate() {
                for (row, source) in out.chunks_exact_mut(width).zip(block.chunks_exact(depth)) {
                    row[i * depth..(i + 1) * depth].copy_from_slice(source);
                }
            }
        });
    out
}

impl Attention {
    fn forward<T: Real>(&self, qkv: &[T], shape: &Shape) -> Result<(CpuStorage, Shape)> {
        let (b, t, width) = shape.dims3()?;
        let head = |i| Head::of(qkv, t, width, self.heads, i).forward();
        let parts: Vec<Vec<T>> = (0..b * self.heads).into_par_iter().map(head).collect();
        let out = gather(&parts, t, width / 3 / self.heads, width / 3);
        Ok((T::to_cpu_storage_owned(out), Shape::from((b, t, width / 3))))
    }

    fn backward<T: Real>(&self, qkv: &Tensor, dout: &Tensor) -> Result<Tensor> {
        let (b, t, width) = qkv.dims3()?;
        let (heads, c) = (self.heads, width / 3);
        let depth = c / heads;
        let parts: Vec<[Vec<T>; 3]> = with_values(qkv, |qkv| {
            with_values(dout, |dout| {
                let head = |i: usize| {
                    let clip = &dout[i / heads * t * c..][..t * c];
                    let dout = View::rows(&clip[i % heads * depth..], c);
                    Head::of(qkv, t, width, heads, i).backward(dout)
                };
                Ok((0..b * heads).into_par_iter().map(head).collect())
            })
        })?;
        // Per clip: all heads' dq, then dk, then dv.
        let mut blocks = Vec::with_capacity(3 * b * heads);
        let mut parts = parts;
        for clip in parts.chunks_exact_mut(heads) {
            for which in 0..3 {
                blocks.extend(
                    clip.iter_mut()
                        .map(|grads| std::mem::take(&mut grads[which])),
                );
            }
        }
        Tensor::from_vec(
            gather(&blocks, t, depth, width),
            (b, t, width),
            qkv.device(),
        )
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match qkv {
            CpuStorage::F32(_) => self.forward::<f32>(slice(qkv, layout)?, layout.shape()),
            _ => self.forward::<f64>(slice(qkv, layout)?, layout.shape()),
        }
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, dout: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(match qkv.dtype() {
            DType::F32 => self.backward::<f32>(qkv, dout)?,
            _ => self.backward::<f64>(qkv, dout)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, check_gradients, values};

    const CASES: [(usize, usize, usize, usize); 3] = [(1, 1, 4, 2), (3, 7, 6, 3), (2, 5, 8, 1)];

    #[test]
    fn attention_equals_its_definition() -> Result<()> {
        for (b, t, c, heads) in CASES {
            let qkv = values(&[b, t, 3 * c], 1);
            assert_close(&attention(&qkv, heads)?, &composed(&qkv, heads)?, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn attention_gradients_equal_finite_differences() -> Result<()> {
        for (b, t, c, heads) in CASES {
            let inputs = [values(&[b, t, 3 * c], 1)];
            check_gradients(&inputs, |v| attention(&v[0], heads))?;
            check_gradients(&inputs, |v| composed(&v[0], heads))?;
        }
        Ok(())
    }
}
