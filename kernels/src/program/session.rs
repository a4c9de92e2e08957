//! A program with its memory: runs forward and back without allocating.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::plan::{Backward, Gradient, Kind, Place, Plan};
use super::{Conv, Indices, Map, Norm, Op, Parameter, Program};
use crate::conv::{self, Packed, Source};
use crate::isa::Isa;
use crate::real::{Real, zeros};
use crate::{attention, norm, resample};

/// Values of a map that one task works on.
const PIECE: usize = 1 << 14;

/// The numbers a program gets from outside.
pub(super) struct Numbers<'a, T> {
    pub parameters: Vec<&'a [T]>,
    pub inputs: Vec<&'a [T]>,
    pub indices: Vec<&'a [u32]>,
}

impl<'a, T: Real> Numbers<'a, T> {
    fn parameter(&self, parameter: Parameter) -> &'a [T] {
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

/// What a way back found, for each input and each parameter that it concerns.
pub(super) struct Gradients<T> {
    pub inputs: Vec<Option<Vec<T>>>,
    pub parameters: Vec<Option<Vec<T>>>,
}

impl<T: Real> Gradients<T> {
    /// The gradient of a parameter as it stands, zero at first, and whether there were shares in it.
    fn take(&mut self, parameter: Parameter, len: usize) -> (Vec<T>, bool) {
        match self.parameters[parameter.0].take() {
            Some(gradient) => (gradient, true),
            None => (zeros(len), false),
        }
    }

    fn put(&mut self, parameter: Parameter, gradient: Vec<T>) {
        self.parameters[parameter.0] = Some(gradient);
    }
}

/// One program, planned for one [`Kind`] of run, and the memory of its runs.
///
/// Between a forward run and its way back the memory belongs to that pair: it holds the maps that the
/// gradients are computed from. Slots are written by taking them out, so that the others can be read;
/// their lengths never change.
pub(super) struct Session<T> {
    program: Program,
    plan: Plan,
    isa: Isa,
    slots: Vec<Vec<T>>,
    weights: Weights<T>,
}

/// Weights in the order that convolutions use them in.
struct Weights<T> {
    /// Those of one op at a time, packed anew whenever it runs.
    passing: Packed<T>,
    /// Those that change no more, and the one in use.
    frozen: Option<Arc<Packs<T>>>,
    current: Arc<Packed<T>>,
}

/// Weights packed once for all sessions of an engine.
pub(super) struct Packs<T>(Mutex<BTreeMap<Form, Arc<Packed<T>>>>);

/// A parameter, and whether its convolution takes Winograd's form.
type Form = (usize, bool);

impl<T> Default for Packs<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Real> Packs<T> {
    fn get(&self, conv: &Conv, isa: Isa, weight: &[T]) -> Arc<Packed<T>> {
        let d = conv.dims();
        let mut packs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pack = || {
            let mut packed = Packed::default();
            packed.forward(isa, weight, d);
            Arc::new(packed)
        };
        let packed = packs.entry((conv.weight.0, d.is_winograd(isa)));
        Arc::clone(packed.or_insert_with(pack))
    }
}

impl<T: Real> Session<T> {
    /// With `frozen` the parameters are the same in all runs, and their packed form is shared.
    pub fn new(program: Program, kind: &Kind, frozen: Option<Arc<Packs<T>>>) -> Result<Self> {
        let plan = Plan::new(&program, kind);
        let weights = Weights {
            passing: Packed::default(),
            frozen,
            current: Arc::default(),
        };
        Ok(Self {
            isa: Isa::current()?,
            slots: plan.slots.iter().map(|&len| zeros(len)).collect(),
            plan,
            program,
            weights,
        })
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The output; `proceed` is asked before each op.
    pub fn forward(
        &mut self,
        numbers: &Numbers<'_, T>,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Vec<T>> {
        let memory = &mut Memory {
            slots: &mut self.slots,
            plan: &self.plan,
            numbers,
            isa: self.isa,
        };
        for (i, op) in self.program.ops.iter().enumerate() {
            proceed()?;
            match *op {
                Op::Conv(ref conv) => {
                    let weight = numbers.parameter(conv.weight);
                    let weight = self.weights.forward(conv, self.isa, weight);
                    memory.conv(i, conv, weight);
                }
                Op::Normed {
                    x,
                    norm,
                    residual,
                    y,
                    ..
                } => {
                    memory.prepare_norm(i, x, &norm);
                    memory.write(y, |memory, to| {
                        let residual = residual.map(|residual| memory.read(residual));
                        let source = memory.source(i, x, Some(&norm));
                        norm::apply(memory.isa, source, y.dims(), residual, to);
                    });
                }
                Op::Resample { x, way, y } => memory.write(y, |memory, to| {
                    resample::forward(memory.isa, way, memory.read(x), x.dims(), to);
                }),
                Op::Attention { qkv, heads, y } => memory.write(y, |memory, to| {
                    attention::forward(memory.isa, memory.read(qkv), y.dims(), heads, to);
                }),
                Op::Silu { x, y } => memory.write(y, |memory, to| {
                    for (to, &x) in to.iter_mut().zip(memory.read(x)) {
                        *to = x * x.sigmoid();
                    }
                }),
                Op::Lookup {
                    table,
                    rows,
                    residual,
                    y,
                } => {
                    let rows = checked_rows(numbers, table, rows, y.c)?;
                    memory.write(y, |memory, to| {
                        to.copy_from_slice(memory.read(residual));
                        let table = numbers.parameter(table);
                        for (to, &row) in to.chunks_exact_mut(y.c).zip(rows) {
                            add(to, &table[row as usize * y.c..][..y.c]);
                        }
                    });
                }
                Op::Mix { a, b, scale, y } => memory.write(y, |memory, to| {
                    let scale = T::from_f64(scale);
                    to.par_chunks_mut(PIECE)
                        .zip(memory.read(a).par_chunks(PIECE))
                        .zip(memory.read(b).par_chunks(PIECE))
                        .for_each(|((to, a), b)| {
                            for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
                                *to = (a + b) * scale;
                            }
                        });
                }),
            }
        }
        Ok(memory.read(self.program.output).to_vec())
    }

    /// The gradients, given the output's; `numbers` are those of the forward run, which was the last
    /// one. Its maps are overwritten on the way.
    pub fn backward(
        &mut self,
        numbers: &Numbers<'_, T>,
        dy: &[T],
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Gradients<T>> {
        if let Some(seed) = self.plan.seed {
            self.slots[seed][..dy.len()].copy_from_slice(dy);
        }
        let mut gradients = Gradients {
            inputs: Vec::new(),
            parameters: vec![None; numbers.parameters.len()],
        };
        let memory = &mut Memory {
            slots: &mut self.slots,
            plan: &self.plan,
            numbers,
            isa: self.isa,
        };
        for step in &self.plan.backward {
            proceed()?;
            let [of_x, _, of_residual] = step.gradients;
            match self.program.ops[step.op] {
                Op::Conv(ref conv) => {
                    memory.conv_back(step, conv, &mut self.weights, &mut gradients);
                    if let (Some(gradient), Some(residual)) = (of_residual, conv.residual) {
                        memory.pass_back(step.dy, conv.y, gradient, residual, 1.0);
                    }
                }
                Op::Normed {
                    x,
                    ref norm,
                    residual,
                    y,
                } => {
                    let dh = step.dh.expect("a norm has a place for this");
                    memory.lend(dh, x.len(), |memory, dh| {
                        dh.copy_from_slice(memory.slot(step.dy, y));
                    });
                    memory.norm_back(step, x, norm, &mut gradients);
                    if let (Some(gradient), Some(residual)) = (of_residual, residual) {
                        memory.pass_back(step.dy, y, gradient, residual, 1.0);
                    }
                }
                Op::Resample { x, way, y } => {
                    if let Some(gradient) = of_x {
                        memory.share(gradient, x, |memory, dx| {
                            let dy = memory.slot(step.dy, y);
                            resample::backward(memory.isa, way, dy, x.dims(), gradient.add, dx);
                        });
                    }
                }
                Op::Attention { qkv, heads, y } => {
                    if let Some(gradient) = of_x {
                        memory.share(gradient, qkv, |memory, dqkv| {
                            let (x, dy) = (memory.read(qkv), memory.slot(step.dy, y));
                            attention::backward(memory.isa, x, y.dims(), heads, dy, dqkv);
                        });
                    }
                }
                Op::Silu { x, y } => {
                    if let Some(gradient) = of_x {
                        memory.share(gradient, x, |memory, dx| {
                            let (x, dy) = (memory.read(x), memory.slot(step.dy, y));
                            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                                let s = x.sigmoid();
                                let share = dy * s * (T::one() + x * (T::one() - s));
                                *dx = if gradient.add { *dx + share } else { share };
                            }
                        });
                    }
                }
                Op::Lookup {
                    table,
                    rows,
                    residual,
                    y,
                } => {
                    let rows = numbers.indices[rows.index];
                    let (mut dtable, _) = gradients.take(table, numbers.parameter(table).len());
                    for (&row, dy) in rows.iter().zip(memory.slot(step.dy, y).chunks_exact(y.c)) {
                        add(&mut dtable[row as usize * y.c..][..y.c], dy);
                    }
                    gradients.put(table, dtable);
                    if let Some(gradient) = of_residual {
                        memory.pass_back(step.dy, y, gradient, residual, 1.0);
                    }
                }
                Op::Mix { a, b, scale, y } => {
                    if let Some(gradient) = of_x {
                        memory.pass_back(step.dy, y, gradient, b, scale);
                    }
                    if let Some(gradient) = of_residual {
                        memory.pass_back(step.dy, y, gradient, a, scale);
                    }
                }
            }
        }
        let input = |(&slot, &x): (&Option<usize>, &Map)| Some(memory.slot(slot?, x).to_vec());
        let inputs = self.plan.input_gradients.iter().zip(&self.program.inputs);
        gradients.inputs = inputs.map(input).collect();
        Ok(gradients)
    }
}

impl<T: Real> Weights<T> {
    fn forward(&mut self, conv: &Conv, isa: Isa, weight: &[T]) -> &Packed<T> {
        let Some(frozen) = &self.frozen else {
            self.passing.forward(isa, weight, conv.dims());
            return &self.passing;
        };
        self.current = frozen.get(conv, isa, weight);
        &self.current
    }

    fn backward(&mut self, conv: &Conv, isa: Isa, weight: &[T]) -> &Packed<T> {
        self.passing.backward(isa, weight, conv.dims());
        &self.passing
    }
}

/// The memory of a session while it runs.
struct Memory<'a, T> {
    slots: &'a mut [Vec<T>],
    plan: &'a Plan,
    numbers: &'a Numbers<'a, T>,
    isa: Isa,
}

impl<'a, T: Real> Memory<'a, T> {
    fn read(&self, map: Map) -> &[T] {
        match self.plan.values[map.value] {
            Place::Slot(slot) => self.slot(slot, map),
            Place::Input(input) => self.numbers.inputs[input],
        }
    }

    /// What a slot holds of a map.
    fn slot(&self, slot: usize, map: Map) -> &[T] {
        &self.slots[slot][..map.len()]
    }

    /// Lends the first `len` values of a slot to `f`, and all other slots to be read meanwhile.
    fn lend(&mut self, slot: usize, len: usize, f: impl FnOnce(&Self, &mut [T])) {
        let mut values = mem::take(&mut self.slots[slot]);
        f(self, &mut values[..len]);
        self.slots[slot] = values;
    }

    fn write(&mut self, map: Map, f: impl FnOnce(&Self, &mut [T])) {
        let Place::Slot(slot) = self.plan.values[map.value] else {
            unreachable!("ops write to slots");
        };
        self.lend(slot, map.len(), f);
    }

    /// Lets `f` write a share of the gradient of `map`, or add it if the gradient says so and there is
    /// no detour.
    fn share(&mut self, of: Gradient, map: Map, f: impl FnOnce(&Self, &mut [T])) {
        self.lend(of.via.unwrap_or(of.slot), map.len(), f);
        self.arrive(of, map);
    }

    /// Adds a share that made a detour.
    fn arrive(&mut self, of: Gradient, map: Map) {
        if let Some(via) = of.via {
            self.lend(of.slot, map.len(), |memory, to| {
                add(to, memory.slot(via, map))
            });
        }
    }

    /// The share of a map that an op passes on as it is, but for `scale`: all clips' gradients, or
    /// their sum for a map of one clip.
    fn pass_back(&mut self, dy: usize, y: Map, of: Gradient, to: Map, scale: f64) {
        let scale = T::from_f64(scale);
        if of.slot == dy {
            if scale != T::one() {
                self.lend(dy, y.len(), |_, dy| {
                    dy.par_chunks_mut(PIECE)
                        .for_each(|dy| dy.iter_mut().for_each(|dy| *dy *= scale));
                });
            }
            return;
        }
        self.lend(of.slot, to.len(), |memory, dx| {
            let dy = memory.slot(dy, y);
            dx.par_chunks_mut(PIECE).enumerate().for_each(|(i, dx)| {
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

    /// What op `i` reads of `x`; its norm's coefficients must be known.
    fn source(&self, i: usize, x: Map, norm: Option<&Norm>) -> Source<'_, T> {
        let applied = |norm: &Norm| norm::Applied {
            coefficients: self.coefficients(i, x),
            activation: norm.activation,
        };
        Source {
            x: self.read(x),
            norm: norm.map(applied),
        }
    }

    fn coefficients(&self, i: usize, x: Map) -> &[T] {
        let slot = self.plan.coefficients[i].expect("a norm has coefficients");
        &self.slots[slot][..Norm::coefficients(x)]
    }

    /// Finds the coefficients of op `i`'s norm of `x`.
    fn prepare_norm(&mut self, i: usize, x: Map, norm: &Norm) {
        let slot = self.plan.coefficients[i].expect("a norm has coefficients");
        self.lend(slot, Norm::coefficients(x), |memory, to| {
            let affine = memory.numbers.parameter(norm.affine);
            let film = norm.film.map(|film| memory.read(film));
            let (x, dims) = (memory.read(x), x.dims());
            norm::coefficients(memory.isa, x, dims, affine, film, norm.groups, to);
        });
    }

    fn conv(&mut self, i: usize, conv: &Conv, weight: &Packed<T>) {
        if let Some(norm) = &conv.norm {
            self.prepare_norm(i, conv.x, norm);
        }
        self.write(conv.y, |memory, y| {
            let bias = conv.bias.map(|bias| memory.numbers.parameter(bias));
            let residual = conv.residual.map(|residual| memory.read(residual));
            let x = memory.source(i, conv.x, conv.norm.as_ref());
            conv::forward(memory.isa, conv.dims(), x, weight, bias, residual, y);
        });
    }

    /// All shares of a convolution but the residual's.
    fn conv_back(
        &mut self,
        step: &Backward,
        conv: &Conv,
        weights: &mut Weights<T>,
        gradients: &mut Gradients<T>,
    ) {
        let (isa, d) = (self.isa, conv.dims());
        let weight = self.numbers.parameter(conv.weight);

        // The weight and the bias.
        let (mut dw, add_w) = gradients.take(conv.weight, weight.len());
        let mut bias = conv.bias.map(|bias| (bias, gradients.take(bias, conv.y.c)));
        let add_b = bias.as_ref().is_some_and(|(_, (_, add))| *add);
        let db = bias.as_mut().map(|(_, (db, _))| &mut db[..]);
        let x = self.source(step.op, conv.x, conv.norm.as_ref());
        let dy = self.slot(step.dy, conv.y);
        conv::backward_weight(isa, d, x, dy, &mut dw, db, add_w || add_b); // those without shares are zero
        gradients.put(conv.weight, dw);
        if let Some((bias, (db, _))) = bias {
            gradients.put(bias, db);
        }

        // The input.
        let [of_x, ..] = step.gradients;
        let Some(norm) = &conv.norm else {
            if let Some(of_x) = of_x {
                let weight = weights.backward(conv, isa, weight);
                self.share(of_x, conv.x, |memory, dx| {
                    let dy = memory.slot(step.dy, conv.y);
                    conv::backward_input(isa, d, dy, weight, dx, of_x.add);
                });
            }
            return;
        };

        // The input, through its norm.
        let weight = weights.backward(conv, isa, weight);
        let dh = step.dh.expect("a norm has a place for this");
        self.lend(dh, conv.x.len(), |memory, dh| {
            let dy = memory.slot(step.dy, conv.y);
            conv::backward_input(isa, d, dy, weight, dh, false);
        });
        self.norm_back(step, conv.x, norm, gradients);
    }

    /// All shares of a norm of `x`, given the gradient of what it makes, which is used up.
    fn norm_back(&mut self, step: &Backward, x: Map, norm: &Norm, gradients: &mut Gradients<T>) {
        let isa = self.isa;
        let [of_x, of_film, _] = step.gradients;
        let dh = step.dh.expect("a norm has a place for this");
        let mut take = |slot: usize| (slot, mem::take(&mut self.slots[slot]));
        let mut dh = take(dh);
        let mut dx = of_x.map(|of| take(of.slot));
        let mut dfilm = of_film.map(|of| take(of.via.unwrap_or(of.slot)));
        let affine = self.numbers.parameter(norm.affine);
        let (mut daffine, add_affine) = gradients.take(norm.affine, affine.len());
        let of = norm::Backward {
            x: self.read(x),
            dims: x.dims(),
            coefficients: self.coefficients(step.op, x),
            affine,
            film: norm.film.map(|film| self.read(film)),
            groups: norm.groups,
            activation: norm.activation,
        };
        norm::backward(
            isa,
            &of,
            &mut dh.1[..x.len()],
            dx.as_mut().map(|(_, dx)| &mut dx[..x.len()]),
            of_x.is_some_and(|of| of.add),
            &mut daffine,
            add_affine,
            dfilm.as_mut().map(|(_, dfilm)| &mut dfilm[..2 * x.b * x.c]),
        );
        gradients.put(norm.affine, daffine);
        for (slot, values) in [Some(dh), dx, dfilm].into_iter().flatten() {
            self.slots[slot] = values;
        }
        if let (Some(of), Some(film)) = (of_film, norm.film) {
            self.arrive(of, film);
        }
    }
}

fn add<T: Real>(to: &mut [T], values: &[T]) {
    to.iter_mut().zip(values).for_each(|(to, &x)| *to += x);
}

/// The rows to look up, if the table has them.
fn checked_rows<'a, T: Real>(
    numbers: &Numbers<'a, T>,
    table: Parameter,
    rows: Indices,
    width: usize,
) -> Result<&'a [u32]> {
    let known = numbers.parameter(table).len() / width;
    let rows = numbers.indices[rows.index];
    match rows.iter().find(|&&row| row as usize >= known) {
        Some(row) => bail!("lookup: expected a row below {known}, found {row}"),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Activation;
    use super::*;
    use crate::conv::Precision;

    #[test]
    fn runs_after_the_first_move_no_memory() -> Result<()> {
        let describe = |p: &mut Program| {
            let x = p.input(2, 6, 4);
            let norm = Norm {
                affine: Parameter(0),
                film: None,
                groups: 2,
                activation: Activation::Silu,
            };
            let y = p.conv(x, Some(norm), Parameter(1), None, Some(x))?;
            let y = p.conv(y, Some(norm), Parameter(1), None, Some(y))?;
            p.mix(x, y, 0.5)
        };
        let program = Program::describe(vec![vec![2, 4], vec![12, 4]], Precision::F32, describe)?;
        let mut session = Session::<f64>::new(program, &Kind::Training(vec![true]), None)?;
        let numbers = Numbers {
            parameters: vec![&[0.5; 8], &[0.1; 48]],
            inputs: vec![&[0.3; 48]],
            indices: vec![],
        };
        let places = |session: &Session<f64>| {
            let place = |slot: &Vec<f64>| (slot.as_ptr(), slot.capacity(), slot.len());
            session.slots.iter().map(place).collect::<Vec<_>>()
        };
        let before = places(&session);
        for _ in 0..2 {
            session.forward(&numbers, || Ok(()))?;
            session.backward(&numbers, &[1.0; 48], || Ok(()))?;
            assert_eq!(places(&session), before);
        }
        Ok(())
    }
}
