//! A program with its memory: it runs forward and backward without allocating.

use std::sync::Arc;

use candle_core::Result;

use super::memory::{Gradients, Memory, Numbers};
use super::plan::{Kind, Plan};
use super::weights::{PackedWeights, Weights};
use super::{Map, Op, Parameter, Program};
use crate::isa::Isa;
use crate::real::{Real, zeros};

/// One program, planned for one [`Kind`] of run, and the memory of its runs.
///
/// Between a forward run and its backward run the memory belongs to that pair: it holds the maps that the gradients are
/// computed from. Slots are written by taking them out, so that the others can be read; their lengths never change.
pub(super) struct Session<T> {
    program: Program,
    plan: Plan,
    isa: Isa,
    slots: Vec<Vec<T>>,
    weights: Weights<T>,
}

impl<T: Real> Session<T> {
    /// With `frozen` the parameters are the same in all runs, and their packed form is shared.
    pub fn new(
        program: Program,
        kind: &Kind,
        frozen: Option<Arc<PackedWeights<T>>>,
    ) -> Result<Self> {
        let plan = Plan::new(&program, kind);
        Ok(Self {
            isa: Isa::current()?,
            slots: plan.slots.iter().map(|&len| zeros(len)).collect(),
            plan,
            program,
            weights: Weights::new(frozen),
        })
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The output; `proceed` is called before each op.
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
                    memory.conv(i, conv, self.weights.forward(conv, self.isa, weight));
                }
                Op::Normed {
                    x,
                    ref norm,
                    residual,
                    y,
                } => memory.normed(i, x, norm, residual, y),
                Op::Resample { x, direction, y } => memory.resample(x, direction, y),
                Op::Attention { qkv, heads, y } => memory.attention(qkv, heads, y),
                Op::Silu { x, y } => memory.silu(x, y),
                Op::Lookup {
                    table,
                    rows,
                    residual,
                    y,
                } => memory.lookup(table, rows, residual, y)?,
                Op::AddScaled { a, b, scale, y } => memory.add_scaled(a, b, scale, y),
            }
        }
        Ok(memory.read(self.program.output).to_vec())
    }

    /// The gradients, given the output's; `numbers` are those of the forward run, which was the last
    /// one. Its maps are overwritten on the way. `on_gradient` is called with each parameter's as soon as it is complete.
    pub fn backward(
        &mut self,
        numbers: &Numbers<'_, T>,
        dy: &[T],
        proceed: impl Fn() -> Result<()>,
        on_gradient: impl Fn(Parameter, &[T]),
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
            let ([of_x, _, of_residual], dy) = (step.gradients, step.dy);
            // The residual's contribution comes last: it may take over the slot of `dy`.
            match (&self.program.ops[step.op], of_x) {
                (Op::Conv(conv), _) => {
                    memory.conv_back(step, conv, &mut self.weights, &mut gradients);
                }
                (&Op::Normed { x, ref norm, y, .. }, _) => {
                    memory.normed_back(step, (x, y), norm, &mut gradients);
                }
                (&Op::Lookup { table, rows, y, .. }, _) => {
                    memory.lookup_back(dy, table, rows, y, &mut gradients);
                }
                (&Op::Resample { x, direction, y }, Some(of)) => {
                    memory.resample_back(dy, of, x, direction, y)
                }
                (&Op::Attention { qkv, heads, y }, Some(of)) => {
                    memory.attention_back(dy, of, qkv, heads, y);
                }
                (&Op::Silu { x, y }, Some(of)) => memory.silu_back(dy, of, x, y),
                (&Op::AddScaled { b, scale, y, .. }, Some(of)) => {
                    memory.pass_back(dy, y, of, b, scale);
                }
                (_, None) => {}
            }
            let op = &self.program.ops[step.op];
            if let ([_, _, Some(residual)], Some(of)) = (op.reads(), of_residual) {
                memory.pass_back(dy, op.y(), of, residual, op.scale());
            }
            for &parameter in &step.complete {
                if let Some(gradient) = &gradients.parameters[parameter.0] {
                    on_gradient(parameter, gradient);
                }
            }
        }
        let input = |(&slot, &x): (&Option<usize>, &Map)| Some(memory.slot(slot?, x).to_vec());
        let inputs = self.plan.input_gradients.iter().zip(&self.program.inputs);
        gradients.inputs = inputs.map(input).collect();
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Norm;
    use super::*;
    use crate::activation::Activation;
    use crate::compute_type::ComputeType;

    /// Norms, taps of both forms, attention, a residual of all clips, and a skip.
    fn many_tasks(p: &mut Program) -> Result<Map> {
        let norm = Norm {
            affine: Parameter(0),
            film: None,
            groups: 4,
            activation: Activation::Silu,
        };
        let (x, place) = (p.input(3, 203, 36), p.input(1, 203, 36));
        let h = p.conv(x, Some(norm), Parameter(1), Some(Parameter(2)), Some(place))?;
        let qkv = p.conv(h, Some(norm), Parameter(3), None, None)?;
        let h = p.attention(qkv, 2)?;
        let h = p.conv(h, Some(norm), Parameter(1), Some(Parameter(2)), Some(x))?;
        let h = p.normed(h, norm, Some(x))?;
        p.add_scaled(h, x, 0.5)
    }

    /// The output and all gradients, in bits, on so many threads, one of which may hang.
    fn bits(threads: usize, hangs: bool) -> Result<Vec<Vec<u32>>> {
        let draw = |n: usize, seed| -> Vec<f32> {
            crate::testing::draws(seed)
                .take(n)
                .map(|x| x as f32)
                .collect()
        };
        let shapes = [vec![2, 36], vec![108, 36], vec![36], vec![36, 108]];
        let (x, place) = (draw(3 * 203 * 36, 1), draw(203 * 36, 2));
        let parameters: Vec<_> = (3..)
            .zip(&shapes)
            .map(|(seed, shape)| draw(shape.iter().product(), seed))
            .collect();
        let numbers = Numbers {
            parameters: parameters.iter().map(|values| &values[..]).collect(),
            inputs: vec![&x, &place],
            indices: vec![],
        };
        let program = Program::describe(shapes.to_vec(), ComputeType::F32, many_tasks)?;
        let kind = Kind::Training(vec![true, true]);
        let mut session = Session::<f32>::new(program, &kind, None)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("threads can be had");
        pool.install(|| {
            if hangs {
                rayon::spawn(|| std::thread::sleep(std::time::Duration::from_millis(50)));
            }
            crate::team::lead(|| {
                let output = session.forward(&numbers, || Ok(()))?;
                let gradients = session.backward(&numbers, &output, || Ok(()), |_, _| ())?;
                let found = gradients.inputs.into_iter().chain(gradients.parameters);
                let all = found.map(|found| found.expect("all have an influence"));
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
                Ok(std::iter::once(output).chain(all).map(bits).collect())
            })
        })
    }

    #[test]
    #[cfg_attr(miri, ignore)] // minutes
    fn no_number_of_threads_changes_a_bit() -> Result<()> {
        let expected = bits(1, false)?;
        for (threads, hangs) in [(2, false), (3, false), (8, false), (2, true), (3, true)] {
            assert!(bits(threads, hangs)? == expected, "{threads} {hangs}");
        }
        Ok(())
    }

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
            p.add_scaled(x, y, 0.5)
        };
        let program = Program::describe(vec![vec![2, 4], vec![12, 4]], ComputeType::F32, describe)?;
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
            session.backward(&numbers, &[1.0; 48], || Ok(()), |_, _| ())?;
            assert_eq!(places(&session), before);
        }
        Ok(())
    }
}
