//! audiodiff's network on candle, channels last, with exact gradients.
//!
//! A network is a [`Program`]: a list of few fused ops over maps `[B, T, C]` (batch, frames, channels).
//! An [`Engine`] runs it, in two ways. On the CPU, in f32 and f64, by kernels of its own: memory is
//! planned ahead, a size that has been met before allocates its output only, and the way back is our own
//! too, one op in candle's graph. Everywhere else, and as the definition the tests compare against, by plain
//! candle operations. Gradients of both are checked against finite differences in f64, at batch > 1 and
//! odd lengths.
//!
//! Stock candle 0.11 cannot be trained with here: its `conv1d` weight gradient is wrong for batch > 1,
//! and `softmax_last_dim`, `rms_norm` and biased `LayerNorm` cut the graph.

mod activation;
mod adam;
mod attention;
mod bf16;
mod compute_type;
mod conv;
mod disjoint;
mod gemm;
mod isa;
mod norm;
mod program;
mod real;
mod resample;

pub use activation::Activation;
pub use adam::{AdamStep, adam_step, follow};
pub use compute_type::ComputeType;
pub use isa::Isa;
pub use program::{Engine, Indices, Map, Norm, Parameter, Program};

#[cfg(test)]
mod testing;
