//! Each op forwards and backwards, on the memory of a run.

use std::mem;

use candle_core::{Result, bail};

use super::memory::{Gradients, Memory, Numbers, PIECE, add};
use super::plan::{Backward, Gradient};
use super::weights::Weights;
use super::{Conv, Indices, Map, Norm, Parameter};
use crate::conv::{self, PackedWeight};
use crate::real::Real;
use crate::resample::Direction;
use crate::{attention, norm, resample, team};

/// Forwards.
impl<T: Real> Memory<'_, T> {
    /// Op `i`, a convolution.
    pub fn conv(&mut self, i: usize, conv: &Conv, weight: &PackedWeight<T>) {
        if let Some(norm) = &conv.norm {
            self.prepare_norm(i, conv.x, norm);
        }
        self.write(conv.y, |memory, y| {
            let bias = conv.bias.map(|bias| memory.numbers.parameter(bias));
            let residual = conv.residual.map(|residual| memory.read(residual));
            let x = memory.prologue(i, conv.x, conv.norm.as_ref());
            conv::forward(memory.isa, conv.shape(), x, weight, bias, residual, y);
        });
    }

    /// Op `i`, a norm on its own.
    pub fn normed(&mut self, i: usize, x: Map, norm: &Norm, residual: Option<Map>, y: Map) {
        self.prepare_norm(i, x, norm);
        self.write(y, |memory, to| {
            let residual = residual.map(|residual| memory.read(residual));
            let prologue = memory.prologue(i, x, Some(norm));
            norm::apply(memory.isa, prologue, y.dims(), residual, to);
        });
    }

    pub fn resample(&mut self, x: Map, direction: Direction, y: Map) {
        self.write(y, |memory, to| {
            resample::forward(memory.isa, direction, memory.read(x), x.dims(), to);
        });
    }

    pub fn attention(&mut self, qkv: Map, heads: usize, y: Map) {
        self.write(y, |memory, to| {
            attention::forward(memory.isa, memory.read(qkv), y.dims(), heads, to);
        });
    }

    pub fn silu(&mut self, x: Map, y: Map) {
        self.write(y, |memory, to| {
            for (to, &x) in to.iter_mut().zip(memory.read(x)) {
                *to = x * x.sigmoid();
            }
        });
    }

    pub fn lookup(&mut self, table: Parameter, rows: Indices, residual: Map, y: Map) -> Result<()> {
        let rows = checked_rows(self.numbers, table, rows, y.c)?;
        self.write(y, |memory, to| {
            to.copy_from_slice(memory.read(residual));
            let table = memory.numbers.parameter(table);
            for (to, &row) in to.chunks_exact_mut(y.c).zip(rows) {
                add(to, &table[row as usize * y.c..][..y.c]);
            }
        });
        Ok(())
    }

    pub fn add_scaled(&mut self, a: Map, b: Map, scale: f64, y: Map) {
        self.write(y, |memory, to| {
            let scale = T::from_f64(scale);
            let (a, b) = (memory.read(a), memory.read(b));
            team::for_each_chunk(to, PIECE, |i, to| {
                let (a, b) = (&a[i * PIECE..], &b[i * PIECE..]);
                for ((to, &a), &b) in to.iter_mut().zip(a).zip(b) {
                    *to = (a + b) * scale;
                }
            });
        });
    }
}

/// Backwards: every method adds or writes its op's contributions to gradients.
impl<T: Real> Memory<'_, T> {
    /// All contributions of a convolution but the residual's.
    pub fn conv_back(
        &mut self,
        step: &Backward,
        conv: &Conv,
        weights: &mut Weights<T>,
        gradients: &mut Gradients<T>,
    ) {
        let (isa, d) = (self.isa, conv.shape());
        let weight = self.numbers.parameter(conv.weight);

        // The weight and the bias.
        let (mut dw, add_w) = gradients.take(conv.weight, weight.len());
        let mut bias = conv.bias.map(|bias| (bias, gradients.take(bias, conv.y.c)));
        let add_b = bias.as_ref().is_some_and(|(_, (_, add))| *add);
        let db = bias.as_mut().map(|(_, (db, _))| &mut db[..]);
        let x = self.prologue(step.op, conv.x, conv.norm.as_ref());
        let dy = self.slot(step.dy, conv.y);
        conv::backward_weight(isa, d, x, dy, &mut dw, db, add_w || add_b); // gradients without contributions are zero
        gradients.put(conv.weight, dw);
        if let Some((bias, (db, _))) = bias {
            gradients.put(bias, db);
        }

        // The input.
        let [of_x, ..] = step.gradients;
        let Some(norm) = &conv.norm else {
            if let Some(of_x) = of_x {
                let weight = weights.backward(conv, isa, weight);
                self.accumulate(of_x, conv.x, |memory, dx| {
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

    /// All contributions of a norm of `x`, given the gradient of its output in `step.dh`, which is overwritten.
    pub fn norm_back(
        &mut self,
        step: &Backward,
        x: Map,
        norm: &Norm,
        gradients: &mut Gradients<T>,
    ) {
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

    /// All contributions of a norm on its own but the residual's.
    pub fn normed_back(
        &mut self,
        step: &Backward,
        (x, y): (Map, Map),
        norm: &Norm,
        gradients: &mut Gradients<T>,
    ) {
        let dh = step.dh.expect("a norm has a place for this");
        self.lend(dh, x.len(), |memory, dh| {
            dh.copy_from_slice(memory.slot(step.dy, y));
        });
        self.norm_back(step, x, norm, gradients);
    }

    pub fn resample_back(&mut self, dy: usize, of: Gradient, x: Map, direction: Direction, y: Map) {
        self.accumulate(of, x, |memory, dx| {
            let dy = memory.slot(dy, y);
            resample::backward(memory.isa, direction, dy, x.dims(), of.add, dx);
        });
    }

    pub fn attention_back(&mut self, dy: usize, of: Gradient, qkv: Map, heads: usize, y: Map) {
        self.accumulate(of, qkv, |memory, dqkv| {
            let (x, dy) = (memory.read(qkv), memory.slot(dy, y));
            attention::backward(memory.isa, x, y.dims(), heads, dy, dqkv);
        });
    }

    pub fn silu_back(&mut self, dy: usize, of: Gradient, x: Map, y: Map) {
        self.accumulate(of, x, |memory, dx| {
            let (x, dy) = (memory.read(x), memory.slot(dy, y));
            for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                let s = x.sigmoid();
                let term = dy * s * (T::one() + x * (T::one() - s));
                *dx = if of.add { *dx + term } else { term };
            }
        });
    }

    /// The contribution to a lookup's table.
    pub fn lookup_back(
        &mut self,
        dy: usize,
        table: Parameter,
        rows: Indices,
        y: Map,
        gradients: &mut Gradients<T>,
    ) {
        let rows = self.numbers.indices[rows.index];
        let (mut dtable, _) = gradients.take(table, self.numbers.parameter(table).len());
        for (&row, dy) in rows.iter().zip(self.slot(dy, y).chunks_exact(y.c)) {
            add(&mut dtable[row as usize * y.c..][..y.c], dy);
        }
        gradients.put(table, dtable);
    }
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
