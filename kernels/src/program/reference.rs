//! The definition of every op, in plain candle operations that carry gradients on any device.

use std::f64::consts::FRAC_1_SQRT_2;

use candle_core::{D, DType, Result, Tensor};
use candle_nn::{Embedding, Module};

use super::{Conv, Norm, Op, Program};
use crate::activation::Activation;
use crate::compute_type::ComputeType;
use crate::norm::EPSILON;
use crate::resample::{DOWN, Direction, UP};

impl Program {
    /// The output for these tensors; `proceed` is called before each op.
    pub(super) fn reference(
        &self,
        parameters: &[Tensor],
        inputs: &[Tensor],
        indices: &[Tensor],
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Tensor> {
        let last = self.last_reads();
        let mut values: Vec<Option<Tensor>> = vec![None; self.values.len()];
        for (map, input) in self.inputs.iter().zip(inputs) {
            values[map.value] = Some(input.clone());
        }
        for (i, op) in self.ops.iter().enumerate() {
            proceed()?;
            let read = |map: super::Map| {
                let value = values[map.value].as_ref();
                value
                    .expect("a value lives until it was read last")
                    .reshape(map.dims())
            };
            let y = match *op {
                Op::Conv(ref conv) => {
                    let mut x = read(conv.x)?;
                    if let Some(norm) = &conv.norm {
                        let film = norm.film.map(read).transpose()?;
                        x = normed(&x, norm, &parameters[norm.affine.0], film.as_ref())?;
                    }
                    let residual = conv.residual.map(read).transpose()?;
                    convolved(&x, conv, parameters, residual.as_ref())?
                }
                Op::Normed {
                    x, norm, residual, ..
                } => {
                    let film = norm.film.map(read).transpose()?;
                    let affine = &parameters[norm.affine.0];
                    let y = normed(&read(x)?, &norm, affine, film.as_ref())?;
                    match residual {
                        Some(residual) => (y + read(residual)?)?,
                        None => y,
                    }
                }
                Op::Resample { x, direction, .. } => resampled(&read(x)?, direction)?,
                Op::Attention { qkv, heads, .. } => attention(&read(qkv)?, heads)?,
                Op::Silu { x, .. } => read(x)?.silu()?,
                Op::Lookup {
                    table,
                    rows,
                    residual,
                    ..
                } => {
                    let (_, _, e) = residual.dims();
                    let table = Embedding::new(parameters[table.0].clone(), e);
                    let rows = table.forward(&indices[rows.index])?; // [B, E]
                    (read(residual)? + rows.unsqueeze(1)?)?
                }
                Op::AddScaled { a, b, scale, .. } => ((read(a)? + read(b)?)? * scale)?,
            };
            for map in op.reads().into_iter().flatten() {
                if last[map.value] == i && map.value != self.output.value {
                    values[map.value] = None;
                }
            }
            values[op.y().value] = Some(y);
        }
        let output = values[self.output.value].take();
        output
            .expect("the output is never dropped")
            .reshape(self.output.dims())
    }
}

/// Taps as shifted copies side by side, then one matrix product.
fn convolved(
    x: &Tensor,
    conv: &Conv,
    parameters: &[Tensor],
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let d = conv.shape();
    let columns = if d.kernel == 1 {
        x.clone()
    } else {
        let pad = d.kernel / 2;
        let padded = x.pad_with_zeros(1, pad, pad)?;
        let taps = (0..d.kernel)
            .map(|k| padded.narrow(1, k, d.t))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&taps, 2)?
    };
    let rows = columns.reshape((d.b * d.t, d.kernel * d.ci))?;
    let weight = &parameters[conv.weight.0];
    let products = match d.compute_type {
        ComputeType::F32 => rows.matmul(weight)?,
        ComputeType::Bf16 => {
            let (rows, weight) = (rows.to_dtype(DType::BF16)?, weight.to_dtype(DType::BF16)?);
            rows.matmul(&weight)?.to_dtype(x.dtype())?
        }
    };
    let mut y = products.reshape((d.b, d.t, d.co))?;
    if let Some(bias) = conv.bias {
        y = y.broadcast_add(&parameters[bias.0])?;
    }
    match residual {
        Some(residual) => y.broadcast_add(residual),
        None => Ok(y),
    }
}

fn normed(x: &Tensor, norm: &Norm, affine: &Tensor, film: Option<&Tensor>) -> Result<Tensor> {
    let (b, t, c) = x.dims3()?;
    let groups = norm.groups;
    let grouped = x
        .reshape((b, t, groups, c / groups))?
        .transpose(1, 2)?
        .reshape((b, groups, t * (c / groups)))?;
    let centred = grouped.broadcast_sub(&grouped.mean_keepdim(2)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(2)? + EPSILON)?.sqrt()?;
    let mut z = centred
        .broadcast_div(&deviation)?
        .reshape((b, groups, t, c / groups))?
        .transpose(1, 2)?
        .reshape((b, t, c))?
        .broadcast_mul(&affine.narrow(0, 0, 1)?)?
        .broadcast_add(&affine.narrow(0, 1, 1)?)?;
    if let Some(film) = film {
        z = z
            .broadcast_mul(&(film.narrow(2, 0, c)? + 1.0)?)?
            .broadcast_add(&film.narrow(2, c, c)?)?;
    }
    match norm.activation {
        Activation::None => Ok(z),
        Activation::Silu => z.silu(),
        // Candle's own has the right values, but its gradient only six digits.
        Activation::Gelu => (((&z * FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)? * z,
    }
}

/// Shifted copies of the mirrored frames, weighted.
fn resampled(x: &Tensor, direction: Direction) -> Result<Tensor> {
    let (b, t, c) = x.dims3()?;
    let pad = direction.pad() as i64;
    let last = t as i64 - 1;
    let mirrored = |i: i64| (last - (last - i.abs()).abs()) as u32;
    let places: Vec<u32> = (-pad..t as i64 + pad).map(mirrored).collect();
    let x = x.index_select(
        &Tensor::from_vec(places, t + 2 * direction.pad(), x.device())?,
        1,
    )?;
    let weighted = |taps: &[f64], at: &dyn Fn(usize) -> Result<Tensor>| {
        let first = at(0)? * taps[0];
        (1..taps.len()).try_fold(first?, |sum, k| sum + (at(k)? * taps[k])?)
    };
    match direction {
        Direction::Down => {
            let pairs = x.reshape((b, t / 2 + 3, 2, c))?;
            weighted(&DOWN, &|k| {
                let phase = pairs.narrow(2, k % 2, 1)?;
                phase.narrow(1, k / 2, t / 2)?.squeeze(2)
            })
        }
        Direction::Up => {
            let phase = |taps| weighted(taps, &|k| x.narrow(1, k, t));
            Tensor::stack(&[phase(&UP[0])?, phase(&UP[1])?], 2)?.reshape((b, 2 * t, c))
        }
    }
}

fn attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, t, width) = qkv.dims3()?;
    let depth = width / 3 / heads;
    let parts = qkv
        .reshape((b, t, 3, heads, depth))?
        .permute((2, 0, 3, 1, 4))?
        .contiguous()?; // [3, B, H, T, D]
    let [q, k, v] = [0, 1, 2].map(|i| parts.get(i));
    let scores = (q?.matmul(&k?.t()?.contiguous()?)? * (depth as f64).powf(-0.5))?;
    softmax(&scores)?
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
