//! The sizes of a convolution, and how its weight is indexed.

use candle_core::DType;

use crate::bf16::Pairs;
use crate::compute_type::ComputeType;
use crate::isa::Isa;
use crate::real::Real;

/// Sizes of one convolution: `x: [B, T, Ci]`, `weight: [K·Ci, Co]`, `y: [B, T, Co]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub b: usize,
    pub t: usize,
    pub ci: usize,
    pub co: usize,
    pub kernel: usize,
    /// For the result and the input's gradient; the weight's gradient is always computed in f32.
    pub compute_type: ComputeType,
}

impl Shape {
    /// The shape of the backward convolution, which reads `dy` and writes `dx`.
    pub fn mirrored(self) -> Self {
        Self {
            ci: self.co,
            co: self.ci,
            ..self
        }
    }

    /// All clips as one, whose frames follow each other: for a kernel of one.
    pub fn joined(self) -> Self {
        Self {
            b: 1,
            t: self.b * self.t,
            ..self
        }
    }

    /// Frames that the taps reach before and after a frame.
    pub fn pad(self) -> usize {
        self.kernel / 2
    }

    /// The unit that multiplies pairs of bf16 numbers, if the instruction set has one and the shape fits it.
    pub fn pairs<T: Real>(self, isa: Isa) -> Option<Pairs> {
        let fits = self.compute_type == ComputeType::Bf16 && self.ci.is_multiple_of(2);
        isa.pairs().filter(|_| fits && T::DTYPE == DType::F32)
    }

    /// The number of values that hold `n` operands of a product; `n` is even where they may be pairs.
    pub fn held<T: Real>(self, isa: Isa, n: usize) -> usize {
        match self.pairs::<T>(isa) {
            Some(_) => n / 2,
            None => n,
        }
    }
}

/// The order in which taps are read.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub forwards: bool,
}

impl Order {
    /// Tap `k` of a convolution of shape `s`, `[Ci, Co]`, and its strides.
    #[inline(always)]
    pub fn matrix<T>(self, weight: &[T], s: Shape, k: usize) -> (&[T], (usize, usize)) {
        let size = s.ci * s.co;
        if self.forwards {
            (&weight[k * size..][..size], (s.co, 1))
        } else {
            (&weight[(s.kernel - 1 - k) * size..][..size], (1, s.ci))
        }
    }
}
