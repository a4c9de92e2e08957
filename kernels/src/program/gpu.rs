//! Programs on a GPU: what it does for a run is a list of commands, made from the program's plan.
//!
//! The list is plain data: launches of kernels of ours and matrix products, over one block of memory planned ahead. So
//! all of it but the driver's calls is tested without a GPU: tests run the same commands on the CPU, the kernels from
//! the very source that `nvcc` compiles.
//!
//! A convolution is one large product over the columns of all clips. One kernel writes the columns, and norms, modulates
//! and activates them on the way; bias and residual come with the product. With products in bf16, maps and columns are
//! bf16 too, while parameters, their gradients, statistics and vectors stay f32.

mod commands;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
pub(crate) mod emulator;
mod lower;
#[cfg(feature = "cuda")]
mod profile;

#[cfg(feature = "cuda")]
pub(super) use cuda::{CudaSession, aligned};
#[cfg(feature = "cuda")]
pub(crate) use cuda::{adam_steps, square_sum};
#[cfg(feature = "cuda")]
pub use cuda::{count, device, memory};
#[cfg(feature = "cuda")]
pub use profile::profile;
