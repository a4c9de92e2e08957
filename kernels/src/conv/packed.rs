//! A weight in the order in which products read it.

use super::shape::{Order, Shape};
use super::winograd;
use crate::bf16;
use crate::compute_type::ComputeType;
use crate::gemm::pack_panel;
use crate::isa::Isa;
use crate::real::{Real, aligned, aligned_start};
use crate::team;

/// A convolution's weight: packed taps, or their Winograd transform, rounded to bf16 and joined in pairs where wanted.
#[derive(Debug)]
pub(crate) struct PackedWeight<T>(Vec<T>);

impl<T> Default for PackedWeight<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Real> PackedWeight<T> {
    /// Packs for [`forward`](super::forward).
    pub fn forward(&mut self, isa: Isa, weight: &[T], s: Shape) {
        self.pack(isa, weight, s, Order { forwards: true });
    }

    /// Packs for [`backward_input`](super::backward_input): taps in reverse, each transposed.
    pub fn backward(&mut self, isa: Isa, weight: &[T], s: Shape) {
        self.pack(isa, weight, s.mirrored(), Order { forwards: false });
    }

    fn pack(&mut self, isa: Isa, weight: &[T], s: Shape, order: Order) {
        let width = isa.panel::<T>();
        let is_winograd = winograd::is_winograd(isa, s);
        let (planes, each) = if is_winograd {
            (winograd::points(s), s.ci)
        } else {
            (1, s.kernel * s.ci)
        };
        let make = |first: usize, out: &mut [T]| {
            if is_winograd {
                winograd::pack(isa, s, weight, order, first, out);
                return;
            }
            for (k, out) in out.chunks_exact_mut(s.ci * width).enumerate() {
                let (tap, strides) = order.matrix(weight, s, k);
                pack_panel(tap, (s.ci, s.co), strides, first, width, out);
            }
            if s.compute_type == ComputeType::Bf16 {
                isa.run(bf16::Round(out));
            }
        };
        let panel = planes * each * width;
        let held = s.held::<T>(isa, panel);
        let out = aligned(&mut self.0, s.co.div_ceil(width) * held);
        team::for_each_chunk(out, held, |i, out| match s.pairs::<T>(isa) {
            None => make(i * width, out),
            Some(pairs) => T::with_scratch(panel, |made| {
                make(i * width, made);
                let planes = made.chunks_exact(each * width);
                for (made, out) in planes.zip(out.chunks_exact_mut(each * width / 2)) {
                    pairs.join_rows(made, width, out);
                }
            }),
        });
    }

    /// The packed values, which begin on a cache line.
    pub fn values(&self) -> &[T] {
        &self.0[aligned_start(&self.0)..]
    }
}
