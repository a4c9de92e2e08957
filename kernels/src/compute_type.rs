//! The number type that products are computed in.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::isa::Isa;

/// The type of a product's operands. Sums are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComputeType {
    /// A significand of 24 binary digits.
    #[default]
    F32,
    /// A significand of 8 binary digits: operands are rounded to bf16 just before they are multiplied.
    Bf16,
}

impl ComputeType {
    /// The type whose products take the least time there: bf16 on NVIDIA's GPUs, and on processors that have
    /// instructions for it; else f32.
    pub fn fastest(device: &Device) -> Self {
        match device {
            Device::Cuda(_) => Self::Bf16,
            Device::Cpu if Isa::current().is_ok_and(Isa::has_bf16) => Self::Bf16,
            _ => Self::F32,
        }
    }
}
