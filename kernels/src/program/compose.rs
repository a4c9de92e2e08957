//! The definition of every op, in plain candle operations that carry gradients on any device.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::{Embedding, Module};

use super::{Conv, Norm, Op, Program};
use crate::conv::Precision;
use crate::norm::EPSILON;

impl Program {
    /// Its output for these numbers; `proceed` is asked before each op.
    pub(super) fn compose(
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
                Op::Mix { a, b, scale, .. } => ((read(a)? + read(b)?)? * scale)?,
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
    let d = conv.dims();
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
    let products = match d.precision {
        Precision::F32 => rows.matmul(weight)?,
        Precision::Bf16 => {
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
    if norm.activate { z.silu() } else { Ok(z) }
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
