//! Packed weights: anew for every run, or once where they are frozen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::Conv;
use crate::compute_type::ComputeType;
use crate::conv::{self, PackedWeight};
use crate::isa::Isa;
use crate::real::Real;
use crate::team::lock;

/// The packed weights of a session.
pub(super) struct Weights<T> {
    /// The weight of one op at a time, packed anew whenever the op runs.
    passing: PackedWeight<T>,
    /// Weights that change no more, and the one in use.
    frozen: Option<Arc<PackedWeights<T>>>,
    current: Arc<PackedWeight<T>>,
}

/// Weights packed once for all sessions of an engine.
pub(super) struct PackedWeights<T>(Mutex<BTreeMap<Form, Arc<PackedWeight<T>>>>);

/// A parameter, and the form its convolution packs it in: whether for Winograd's algorithm, whether in bf16.
type Form = (usize, bool, bool);

impl<T> Default for PackedWeights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Real> PackedWeights<T> {
    fn get(&self, conv: &Conv, isa: Isa, weight: &[T]) -> Arc<PackedWeight<T>> {
        let s = conv.shape();
        let mut packs = lock(&self.0);
        let pack = || {
            let mut packed = PackedWeight::default();
            packed.forward(isa, weight, s);
            Arc::new(packed)
        };
        let is_bf16 = s.compute_type == ComputeType::Bf16;
        let packed = packs.entry((conv.weight.0, conv::is_winograd(isa, s), is_bf16));
        Arc::clone(packed.or_insert_with(pack))
    }
}

impl<T: Real> Weights<T> {
    /// With `frozen` the parameters are the same in all runs, and their packed form is shared.
    pub fn new(frozen: Option<Arc<PackedWeights<T>>>) -> Self {
        Self {
            passing: PackedWeight::default(),
            frozen,
            current: Arc::default(),
        }
    }

    /// Packed for [`conv::forward`].
    pub fn forward(&mut self, conv: &Conv, isa: Isa, weight: &[T]) -> &PackedWeight<T> {
        let Some(frozen) = &self.frozen else {
            self.passing.forward(isa, weight, conv.shape());
            return &self.passing;
        };
        self.current = frozen.get(conv, isa, weight);
        &self.current
    }

    /// Packed for [`conv::backward_input`].
    pub fn backward(&mut self, conv: &Conv, isa: Isa, weight: &[T]) -> &PackedWeight<T> {
        self.passing.backward(isa, weight, conv.shape());
        &self.passing
    }
}
