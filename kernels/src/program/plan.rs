//! Memory planning: every value of a program gets its place before any is computed.

use super::{Map, Norm, Op, Parameter, Program};

/// The kind of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only its output.
    Inference,
    /// Its output, then the gradients of its parameters and of the inputs marked here.
    Training(Vec<bool>),
}

/// The slot of a value, or the input that it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueSlot {
    Slot(usize),
    Input(usize),
}

/// The destination of one op's contribution to a gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gradient {
    /// The gradient's slot. If it is that of `dy`, the gradient takes over `dy` in place.
    pub slot: usize,
    /// Whether the slot holds other contributions already.
    pub add: bool,
    /// A slot to write this contribution to first, if its kernel cannot add.
    pub via: Option<usize>,
}

/// One op's step of the backward run.
#[derive(Debug)]
pub(super) struct Backward {
    pub op: usize,
    /// Slot of the gradient of its output.
    pub dy: usize,
    /// For each of [`Op::reads`], in this order, if it is needed.
    pub gradients: [Option<Gradient>; 3],
    /// Slot for the gradient of a norm's output.
    pub dh: Option<usize>,
    /// The parameters that no later step contributes to.
    pub complete: Vec<Parameter>,
}

/// A static assignment of values, gradients and temporaries to slots: no two that live at the same
/// time share one.
#[derive(Debug)]
pub(super) struct Plan {
    /// Lengths.
    pub slots: Vec<usize>,
    /// For each value.
    pub values: Vec<ValueSlot>,
    /// For each op with a norm, the slot of its coefficients.
    pub coefficients: Vec<Option<usize>>,
    /// The backward run, last op first.
    pub backward: Vec<Backward>,
    /// Slot of the output's gradient at the beginning of the backward run, if anything depends on it.
    pub seed: Option<usize>,
    /// For each input, the slot of its gradient at the end of the backward run, if it is wanted and not zero.
    pub input_gradients: Vec<Option<usize>>,
}

impl Plan {
    /// Follows the program as it will run. Op `i` of `n` runs forward at time `i` and backward at time `2n - i`; at
    /// time `n` the output is returned and its gradient arrives.
    pub fn new(program: &Program, kind: &Kind) -> Self {
        let n = program.ops.len();
        let wanted = match kind {
            Kind::Inference => None,
            Kind::Training(inputs) => Some(inputs),
        };
        let mut ends: Vec<Vec<usize>> = vec![Vec::new(); 2 * n + 1];
        for (value, end) in ends_of_life(program, wanted.is_some())
            .into_iter()
            .enumerate()
        {
            ends[end].push(value);
        }

        let mut slots = Slots::default();
        let mut values = vec![ValueSlot::Input(0); program.values.len()];
        for (i, input) in program.inputs.iter().enumerate() {
            values[input.value] = ValueSlot::Input(i);
        }
        let drop_values = |slots: &mut Slots, values: &[ValueSlot], time: usize| {
            for &value in &ends[time] {
                if let ValueSlot::Slot(slot) = values[value] {
                    slots.give(slot);
                }
            }
        };

        let mut coefficients = Vec::with_capacity(n);
        for (i, op) in program.ops.iter().enumerate() {
            values[op.y().value] = ValueSlot::Slot(slots.take(op.y().len()));
            let norm = op.norm().map(|(x, _)| slots.take(Norm::coefficients(x)));
            coefficients.push(norm);
            if wanted.is_none() {
                norm.into_iter().for_each(|slot| slots.give(slot));
            }
            drop_values(&mut slots, &values, i);
        }
        drop_values(&mut slots, &values, n);

        let mut backward: Vec<Backward> = Vec::new();
        let mut gradients: Vec<Option<usize>> = vec![None; program.values.len()];
        let mut seed = None;
        if let Some(wanted) = wanted {
            let needed = needed(program, wanted);
            if needed[program.output.value] {
                seed = Some(slots.take(program.output.len()));
                gradients[program.output.value] = seed;
            }
            for (i, op) in program.ops.iter().enumerate().rev() {
                if let Some(dy) = gradients[op.y().value].take() {
                    let step = Backward::new((i, op), dy, &needed, &mut gradients, &mut slots);
                    step.temporaries().for_each(|slot| slots.give(slot));
                    if !step.passes_on() {
                        slots.give(dy);
                    }
                    backward.push(step);
                }
                coefficients[i]
                    .into_iter()
                    .for_each(|slot| slots.give(slot));
                drop_values(&mut slots, &values, 2 * n - i);
            }
        }
        let mut later: Vec<Parameter> = Vec::new();
        for step in backward.iter_mut().rev() {
            for parameter in program.ops[step.op].parameters().into_iter().flatten() {
                if !later.contains(&parameter) {
                    later.push(parameter);
                    step.complete.push(parameter);
                }
            }
        }
        let input_gradients = program.inputs.iter().map(|x| gradients[x.value]).collect();
        Self {
            slots: slots.lengths,
            values,
            coefficients,
            backward,
            seed,
            input_gradients,
        }
    }
}

impl Backward {
    /// Shares are computed in the order of [`Op::reads`]: the one that takes over `dy` comes last, when all others have
    /// read it.
    fn new(
        (i, op): (usize, &Op),
        dy: usize,
        needed: &[bool],
        gradients: &mut [Option<usize>],
        slots: &mut Slots,
    ) -> Self {
        let dh = op.norm().map(|(x, _)| slots.take(x.len()));
        let mut contribution = |which: usize, map: Map| {
            let passes = which == 2 && map.len() == op.y().len();
            let assigns = which == 1 || matches!(op, Op::Attention { .. });
            match &mut gradients[map.value] {
                Some(slot) => Gradient {
                    slot: *slot,
                    add: true,
                    via: assigns.then(|| slots.take(map.len())),
                },
                none => Gradient {
                    slot: *none.insert(if passes { dy } else { slots.take(map.len()) }),
                    add: false,
                    via: None,
                },
            }
        };
        let mut gradients = [None; 3];
        for (which, map) in op.reads().into_iter().enumerate() {
            gradients[which] = map
                .filter(|map| needed[map.value])
                .map(|map| contribution(which, map));
        }
        Self {
            op: i,
            dy,
            gradients,
            dh,
            complete: Vec::new(),
        }
    }

    fn passes_on(&self) -> bool {
        self.gradients[2].is_some_and(|gradient| gradient.slot == self.dy)
    }

    fn temporaries(&self) -> impl Iterator<Item = usize> {
        let via = self.gradients.iter().flatten().filter_map(|g| g.via);
        via.chain(self.dh)
    }
}

/// The time at which each value is used last.
fn ends_of_life(program: &Program, training: bool) -> Vec<usize> {
    let n = program.ops.len();
    let mut ends = program.last_reads();
    for (i, op) in program.ops.iter().enumerate() {
        ends[op.y().value] = ends[op.y().value].max(i); // a value that nobody reads is computed all the same
    }
    ends[program.output.value] = n;
    if training {
        for (i, op) in program.ops.iter().enumerate().rev() {
            for map in op.keeps().into_iter().flatten() {
                ends[map.value] = 2 * n - i;
            }
        }
    }
    ends
}

/// The values that a parameter or a wanted input has an influence on.
fn needed(program: &Program, wanted: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; program.values.len()];
    for (input, &wanted) in program.inputs.iter().zip(wanted) {
        needed[input.value] = wanted;
    }
    for op in &program.ops {
        let mut reads = op.reads().into_iter().flatten();
        needed[op.y().value] = op.has_parameters() || reads.any(|map| needed[map.value]);
    }
    needed
}

/// Slots under construction.
#[derive(Default)]
struct Slots {
    lengths: Vec<usize>,
    free: Vec<usize>,
}

impl Slots {
    /// The smallest free slot that is large enough, else the largest free one, grown, else a new one.
    fn take(&mut self, len: usize) -> usize {
        let fit = |&(_, &slot): &(usize, &usize)| {
            let found = self.lengths[slot];
            (
                found < len,
                if found < len {
                    usize::MAX - found
                } else {
                    found
                },
            )
        };
        let Some((at, _)) = self.free.iter().enumerate().min_by_key(fit) else {
            self.lengths.push(len);
            return self.lengths.len() - 1;
        };
        let slot = self.free.swap_remove(at);
        self.lengths[slot] = self.lengths[slot].max(len);
        slot
    }

    fn give(&mut self, slot: usize) {
        debug_assert!(!self.free.contains(&slot), "a slot is given back once");
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Result;

    use super::*;
    use crate::activation::Activation;
    use crate::compute_type::ComputeType;

    /// Stem, `blocks` residual blocks down, as many up with skips: `4 · blocks + 1` convolutions.
    fn chain(blocks: usize) -> Result<Program> {
        let describe = |p: &mut Program| {
            let norm = Some(Norm {
                affine: Parameter(0),
                film: None,
                groups: 2,
                activation: Activation::Silu,
            });
            let weight = Parameter(1);
            let block = |p: &mut Program, x| {
                let h = p.conv(x, norm, weight, None, None)?;
                p.conv(h, norm, weight, None, Some(x))
            };
            let x = p.input(1, 16, 8);
            let mut h = p.conv(x, None, weight, None, None)?;
            let mut skips = Vec::new();
            for _ in 0..blocks {
                h = block(p, h)?;
                skips.push(h);
            }
            while let Some(skip) = skips.pop() {
                h = p.add_scaled(h, skip, 0.5)?;
                h = block(p, h)?;
            }
            Ok(h)
        };
        Program::describe(vec![vec![2, 8], vec![24, 8]], ComputeType::F32, describe)
    }

    /// The length of all slots, in maps.
    fn maps(plan: &Plan) -> f64 {
        plan.slots.iter().sum::<usize>() as f64 / (16.0 * 8.0)
    }

    #[test]
    fn inference_holds_the_skips_and_two_maps() -> Result<()> {
        for blocks in [1, 3, 8] {
            let program = chain(blocks)?;
            let plan = Plan::new(&program, &Kind::Inference);
            let coefficients = 0.25; // [B, 4, C], of one convolution
            assert_eq!(program.values.len(), 5 * blocks + 2);
            assert_eq!(maps(&plan), blocks as f64 + 2.0 + coefficients);
        }
        Ok(())
    }

    #[test]
    fn a_parameter_is_complete_once_after_the_last_op_that_has_it() -> Result<()> {
        let plan = Plan::new(&chain(2)?, &Kind::Training(vec![false]));
        let complete: Vec<&[Parameter]> = plan.backward.iter().map(|s| &*s.complete).collect();
        let n = complete.len();
        // The stem has the weight and no norm; the op after it is the last with the norm.
        assert_eq!(complete[n - 1], [Parameter(1)]);
        assert_eq!(complete[n - 2], [Parameter(0)]);
        assert!(complete[..n - 2].iter().all(|found| found.is_empty()));
        Ok(())
    }

    #[test]
    fn training_keeps_what_convolutions_read_and_three_maps() -> Result<()> {
        for blocks in [1, 3, 8] {
            let plan = Plan::new(&chain(blocks)?, &Kind::Training(vec![false]));
            let read = 4.0 * blocks as f64; // the stem reads an input
            let coefficients = 0.25 * read;
            assert_eq!(maps(&plan), read + coefficients + 3.0);
        }
        Ok(())
    }
}
