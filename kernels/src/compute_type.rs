//! The number type that products are computed in.

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
    /// The type whose products take the least time: bf16 where the processor has instructions for it, else f32.
    pub fn fastest() -> Self {
        if Isa::current().is_ok_and(Isa::has_bf16) {
            Self::Bf16
        } else {
            Self::F32
        }
    }
}
