//! Channels-last candle ops for audiodiff's network, with exact gradients.
//!
//! Tensors are `[B, T, C]` (batch, frames, channels). Each op has two forms of the same function: a
//! fused one for the CPU, in f32 and f64, and a composition of plain candle operations that serves
//! every other device and is the definition the tests compare against. Gradients of both are
//! checked against finite differences in f64, at batch > 1 and odd lengths.
//!
//! Stock candle 0.11 cannot be trained with here: its `conv1d` weight gradient is wrong for batch > 1,
//! and `softmax_last_dim`, `rms_norm` and biased `LayerNorm` cut the graph.

mod adam;
mod attention;
mod conv;
mod isa;
mod matmul;
mod norm;
mod real;
mod winograd;

pub use adam::{AdamStep, adam_step, follow};
pub use attention::attention;
pub use conv::conv1d;
pub use norm::group_norm_film_silu;

use candle_core::{DType, Result, Tensor, bail};

/// True when the fused form serves `x`.
fn fused(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
}

fn expect_shape(op: &str, what: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.dims() != expected {
        bail!(
            "{op}: {what} should be {expected:?}, found {:?}",
            tensor.dims()
        );
    }
    Ok(())
}

#[cfg(test)]
mod testing;
