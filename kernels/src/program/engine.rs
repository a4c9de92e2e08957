//! The engine: parameters, and programs run over them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Result, Tensor, bail};

use super::graph::{RunTensors, proceed, track};
use super::plan::Kind;
use super::pool::Pool;
use super::session::Session;
use super::{Map, Program};
use crate::compute_type::ComputeType;
use crate::real::Real;
use crate::team;

/// Runs programs over its parameters.
///
/// Runs take place on the current rayon pool: a caller that wants threads of its own installs one.
///
/// On the CPU, in f32 and f64, a program's memory is planned when its key is first met, and used again in every later
/// run with that key: a forward run then allocates its output only, a backward run the gradients it returns. Runs may
/// happen at the same time; each has its own memory. Elsewhere a run is [`Engine::reference`].
pub struct Engine {
    parameters: Arc<[Tensor]>,
    compute_type: ComputeType,
    frozen: bool,
    stop: Arc<AtomicBool>,
    singles: Arc<Pool<f32>>,
    doubles: Arc<Pool<f64>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("parameters", &self.parameters.len())
            .field("frozen", &self.frozen)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over `parameters`, whose storage may change between runs.
    pub fn new(parameters: Vec<Tensor>) -> Self {
        Self {
            parameters: parameters.into(),
            compute_type: ComputeType::F32,
            frozen: false,
            stop: Arc::default(),
            singles: Arc::default(),
            doubles: Arc::default(),
        }
    }

    /// Declares that the parameters change no more, so that they are packed once.
    pub fn freeze(&mut self) {
        self.frozen = true;
        (self.singles, self.doubles) = (Arc::default(), Arc::default());
    }

    /// Sets the type that products are computed in. Sums, and all values between products, stay in f32.
    pub fn set_compute_type(&mut self, compute_type: ComputeType) {
        self.compute_type = compute_type;
        (self.singles, self.doubles) = (Arc::default(), Arc::default());
    }

    /// Makes every run end with an error, between two ops, as soon as `stop` is true.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Whether `stop` is true.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs the program that `describe` writes down; the map it returns is the output, `[B, T, C]`.
    ///
    /// `key` identifies the program: with equal keys `describe` must describe the same one; it is called only when no
    /// session with this key is pooled. `inputs` and `indices` come in the order in which the program declares them. If
    /// a parameter or an input tracks gradients, so does the output, for one backward pass, before which the parameters
    /// must not change.
    ///
    /// # Errors
    /// When the program or the inputs have wrong shapes, an input is not finite (here, not in
    /// [`Engine::reference`]), a row does not exist, or the engine was told to stop.
    pub fn run(
        &self,
        key: (usize, usize),
        describe: impl FnOnce(&mut Program) -> Result<Map>,
        inputs: &[Tensor],
        indices: &[Tensor],
    ) -> Result<Tensor> {
        let place = inputs.first().map(|x| (x.device(), x.dtype()));
        match place {
            Some((Device::Cpu, DType::F32)) => {
                self.fused(&self.singles, key, describe, inputs, indices)
            }
            Some((Device::Cpu, DType::F64)) => {
                self.fused(&self.doubles, key, describe, inputs, indices)
            }
            _ => self.reference(describe, inputs, indices),
        }
    }

    /// The definition of [`Engine::run`], made of plain candle operations.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn reference(
        &self,
        describe: impl FnOnce(&mut Program) -> Result<Map>,
        inputs: &[Tensor],
        indices: &[Tensor],
    ) -> Result<Tensor> {
        let program = self.program(describe)?;
        program.check(inputs, indices)?;
        program.reference(&self.parameters, inputs, indices, || proceed(&self.stop))
    }

    fn program(&self, describe: impl FnOnce(&mut Program) -> Result<Map>) -> Result<Program> {
        let shapes = self.parameters.iter().map(|p| p.dims().to_vec());
        Program::describe(shapes.collect(), self.compute_type, describe)
    }

    fn fused<T: Real>(
        &self,
        pool: &Arc<Pool<T>>,
        key: (usize, usize),
        describe: impl FnOnce(&mut Program) -> Result<Map>,
        inputs: &[Tensor],
        indices: &[Tensor],
    ) -> Result<Tensor> {
        let tracked = || inputs.iter().chain(&*self.parameters).enumerate();
        let kind = if tracked().any(|(_, tensor)| tensor.track_op()) {
            Kind::Training(inputs.iter().map(|x| x.track_op()).collect())
        } else {
            Kind::Inference
        };
        let mut session = pool.take((key, kind), |kind| {
            let packs = self.frozen.then(|| Arc::clone(&pool.packs));
            Session::new(self.program(describe)?, kind, packs)
        })?;
        session.program().check(inputs, indices)?;
        let tensors = RunTensors::new(&self.parameters, inputs, indices)?;
        let dims = session.program().output.dims();
        let run = || {
            tensors.read(|numbers| {
                numbers.check()?;
                session.forward(numbers, || proceed(&self.stop))
            })
        };
        let output = team::lead(run)?;
        if session.key.1 == Kind::Inference {
            return Tensor::from_vec(output, dims, &Device::Cpu);
        }

        let tracked = tracked().filter(|(_, tensor)| tensor.track_op());
        let (output, stop) = ((output, dims.into()), Arc::clone(&self.stop));
        track(output, session, tensors, tracked, stop)
    }
}

impl Program {
    /// Fails unless the inputs have the declared shapes.
    fn check(&self, inputs: &[Tensor], indices: &[Tensor]) -> Result<()> {
        let expected = (self.inputs.len(), self.indices.len());
        if (inputs.len(), indices.len()) != expected {
            bail!(
                "expected {} inputs and {} of rows, found {} and {}",
                expected.0,
                expected.1,
                inputs.len(),
                indices.len()
            );
        }
        for (map, input) in self.inputs.iter().zip(inputs) {
            let (b, t, c) = map.dims();
            if input.dims() != [b, t, c] {
                bail!("input should be {:?}, found {:?}", [b, t, c], input.dims());
            }
        }
        for (rows, input) in self.indices.iter().zip(indices) {
            if input.dims() != [rows.b] {
                bail!("rows should be {:?}, found {:?}", [rows.b], input.dims());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
