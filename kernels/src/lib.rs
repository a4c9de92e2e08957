//! audiodiff's network on candle, channels last, with exact gradients.
//!
//! A network is a [`Program`]: a list of few fused ops over maps `[B, T, C]` (batch, frames, channels), which an
//! [`Engine`] runs. On the CPU, in f32 and f64, it uses the kernels of this crate: memory is planned ahead, a run of a
//! known size allocates its output only, and the backward run is one op in candle's graph. On NVIDIA's GPUs it makes of
//! the same plan a list of kernels and products, which tests run on the CPU. On other devices, and as the definition that
//! the tests compare with, it uses plain candle operations. Tests check the gradients of the first and the last against
//! finite differences in f64, at batch > 1 and odd lengths.
//!
//! Stock candle 0.11 cannot be trained with here: its `conv1d` weight gradient is wrong for batch > 1, and
//! `softmax_last_dim`, `rms_norm` and biased `LayerNorm` cut the graph.
//!
//! # Papers
//!
//! | Short name | Reference |
//! |---|---|
//! | Abramowitz & Stegun 1964 | Handbook of Mathematical Functions |
//! | Chan et al. 1983 | Algorithms for Computing the Sample Variance: Analysis and Recommendations, The American Statistician 37 |
//! | Dao et al. 2022 | FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness |
//! | Dekker 1971 | A Floating-Point Technique for Extending the Available Precision, Numerische Mathematik 18 |
//! | Elfwing et al. 2018 | Sigmoid-Weighted Linear Units for Neural Network Function Approximation |
//! | Hendrycks & Gimpel 2016 | Gaussian Error Linear Units |
//! | Lavin & Gray 2016 | Fast Algorithms for Convolutional Neural Networks |
//! | Loshchilov & Hutter 2019 | Decoupled Weight Decay Regularization |
//! | Perez et al. 2018 | FiLM: Visual Reasoning with a General Conditioning Layer |
//! | Vaswani et al. 2017 | Attention Is All You Need |
//! | Winograd 1980 | Arithmetic Complexity of Computations |
//! | Wu & He 2018 | Group Normalization |

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
mod team;

pub use activation::Activation;
pub use adam::{AdamStep, Update, adam_steps, follow, square_sum};
pub use compute_type::ComputeType;
pub use isa::Isa;
/// NVIDIA's GPUs.
#[cfg(feature = "cuda")]
pub mod cuda {
    pub use crate::program::gpu::{count, device, memory, profile};
}
pub use program::{Engine, Indices, Map, Norm, OnGradient, Parameter, Program};

#[cfg(test)]
mod testing;
