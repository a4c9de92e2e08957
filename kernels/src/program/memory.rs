//! The memory of a run: values from outside, slots, and gradients.

use std::mem;

use candle_core::{Result, bail};

use super::plan::{Gradient, Plan, ValueSlot};
use super::{Map, Norm, Parameter};
use crate::isa::Isa;
use crate::norm::{self, Prologue};
use crate::real::{Real, zeros};
use crate::team;

/// Values of a map that one task works on.
pub(super) const PIECE: usize = 1 << 14;

/// The values that a program gets from outside.
pub(super) struct Numbers<'a, T> {
    pub parameters: Vec<&'a [T]>,
    pub inputs: Vec<&'a [T]>,
    pub indices: Vec<&'a [u32]>,
}

impl<'a, T: Real> Numbers<'a, T> {
    /// The values of a parameter.
    pub fn parameter(&self, parameter: Parameter) -> &'a [T] {
        self.parameters[parameter.0]
    }

    /// Fails when an input has a number that is not finite.
    pub fn check(&self) -> Result<()> {
        for (i, input) in self.inputs.iter().enumerate() {
            let is_bad = |x: &T| !x.to_double().is_finite();
            if input.iter().fold(false, |any, x| any | is_bad(x)) {
                let bad = input.iter().position(is_bad).unwrap_or_default();
                bail!("input {i} should be finite, found {} at {bad}", input[bad]);
            }
        }
        Ok(())
    }
}

/// The gradients from a backward run, for each input and each parameter that the output depends on.
pub(super) struct Gradients<T> {
    pub inputs: Vec<Option<Vec<T>>>,
    pub parameters: Vec<Option<Vec<T>>>,
}

impl<T: Real> Gradients<T> {
    /// The gradient of a parameter as it stands, zero at first, and whether there were contributions to it.
    pub fn take(&mut self, parameter: Parameter, len: usize) -> (Vec<T>, bool) {
        match self.parameters[parameter.0].take() {
            Some(gradient) => (gradient, true),
            None => (zeros(len), false),
        }
    }

    /// Puts back the gradient of a parameter.
    pub fn put(&mut self, parameter: Parameter, gradient: Vec<T>) {
        self.parameters[parameter.0] = Some(gradient);
    }
}

/// The slots of a session while it runs, and the numbers of this run.
pub(super) struct Memory<'a, T> {
    pub slots: &'a mut [Vec<T>],
    pub plan: &'a Plan,
    pub numbers: &'a Numbers<'a, T>,
    pub isa: Isa,
}

impl<'a, T: Real> Memory<'a, T> {
    /// The values of a map.
    pub fn read(&self, map: Map) -> &[T] {
        match self.plan.values[map.value] {
            ValueSlot::Slot(slot) => self.slot(slot, map),
            ValueSlot::Input(input) => self.numbers.inputs[input],
        }
    }

    /// The values of a map in a slot.
    pub fn slot(&self, slot: usize, map: Map) -> &[T] {
        &self.slots[slot][..map.len()]
    }

    /// Lends the first `len` values of a slot to `f`, and all other slots to be read meanwhile.
    pub fn lend(&mut self, slot: usize, len: usize, f: impl FnOnce(&Self, &mut [T])) {
        let mut values = mem::take(&mut self.slots[slot]);
        f(self, &mut values[..len]);
        self.slots[slot] = values;
    }

    /// Lets `f` write a map.
    pub fn write(&mut self, map: Map, f: impl FnOnce(&Self, &mut [T])) {
        let ValueSlot::Slot(slot) = self.plan.values[map.value] else {
            unreachable!("ops write to slots");
        };
        self.lend(slot, map.len(), f);
    }

    /// Lets `f` write a contribution to the gradient of `map`: into its slot, which it adds to where `of.add`, or into
    /// `of.via`, which is then added to the slot.
    pub fn accumulate(&mut self, of: Gradient, map: Map, f: impl FnOnce(&Self, &mut [T])) {
        self.lend(of.via.unwrap_or(of.slot), map.len(), f);
        self.arrive(of, map);
    }

    /// Adds a contribution that was written to `of.via`.
    pub fn arrive(&mut self, of: Gradient, map: Map) {
        if let Some(via) = of.via {
            self.lend(of.slot, map.len(), |memory, to| {
                add(to, memory.slot(via, map))
            });
        }
    }

    /// The contribution of a map that passes through an op, `scale · dy`: all clips' gradients, or their sum for a map
    /// of one clip.
    pub fn pass_back(&mut self, dy: usize, y: Map, of: Gradient, to: Map, scale: f64) {
        let scale = T::from_f64(scale);
        if of.slot == dy {
            if scale != T::one() {
                self.lend(dy, y.len(), |_, dy| {
                    team::for_each_chunk(dy, PIECE, |_, dy| {
                        dy.iter_mut().for_each(|dy| *dy *= scale);
                    });
                });
            }
            return;
        }
        self.lend(of.slot, to.len(), |memory, dx| {
            let dy = memory.slot(dy, y);
            team::for_each_chunk(dx, PIECE, |i, dx| {
                if !of.add {
                    dx.fill(T::zero());
                }
                for clips in dy.chunks_exact(to.len()) {
                    for (dx, &dy) in dx.iter_mut().zip(&clips[i * PIECE..]) {
                        *dx += dy * scale;
                    }
                }
            });
        });
    }

    /// The input `x` of op `i`; its norm's coefficients must be known.
    pub fn prologue(&self, i: usize, x: Map, norm: Option<&Norm>) -> Prologue<'_, T> {
        let applied = |norm: &Norm| norm::Applied {
            coefficients: self.coefficients(i, x),
            activation: norm.activation,
        };
        Prologue {
            x: self.read(x),
            norm: norm.map(applied),
        }
    }

    /// The coefficients of op `i`'s norm of `x`.
    pub fn coefficients(&self, i: usize, x: Map) -> &[T] {
        let slot = self.plan.coefficients[i].expect("a norm has coefficients");
        &self.slots[slot][..Norm::coefficients(x)]
    }

    /// Computes the coefficients of op `i`'s norm of `x`.
    pub fn prepare_norm(&mut self, i: usize, x: Map, norm: &Norm) {
        let slot = self.plan.coefficients[i].expect("a norm has coefficients");
        self.lend(slot, Norm::coefficients(x), |memory, to| {
            let affine = memory.numbers.parameter(norm.affine);
            let film = norm.film.map(|film| memory.read(film));
            let (x, dims) = (memory.read(x), x.dims());
            norm::coefficients(memory.isa, x, dims, affine, film, norm.groups, to);
        });
    }
}

/// `to += values`.
pub(super) fn add<T: Real>(to: &mut [T], values: &[T]) {
    to.iter_mut().zip(values).for_each(|(to, &x)| *to += x);
}
