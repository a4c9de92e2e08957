//! The engine: parameters, and programs run over them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "cuda")]
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Result, Storage, Tensor, bail};

#[cfg(feature = "cuda")]
use super::gpu::{CudaSession, aligned};
#[cfg(feature = "cuda")]
use super::graph::Back;
use super::graph::{RunTensors, Watch, back, proceed, track};
use super::plan::Kind;
use super::pool::Pool;
use super::session::Session;
use super::weights::PackedWeights;
use super::{Map, Program};
use crate::compute_type::ComputeType;
use crate::real::Real;
use crate::team;

/// Hears a parameter and its gradient, row-major, as soon as it is complete in a backward run: on the way back others
/// are still computed.
pub type OnGradient<T> = Arc<dyn Fn(&Tensor, &[T]) + Send + Sync>;

/// Runs programs over its parameters.
///
/// Runs take place on the current rayon pool: a caller that wants threads of its own installs one.
///
/// On the CPU, in f32 and f64, a program's memory is planned when its key is first met, and used again in every later
/// run with that key: a forward run then allocates its output only, a backward run the gradients it returns. Runs may
/// happen at the same time; each has its own memory. On NVIDIA's GPUs, in f32, it is the same, with the feature `cuda`: a
/// run is a list of kernels and products, of which nothing is waited for. Elsewhere a run is [`Engine::reference`].
pub struct Engine {
    parameters: Arc<[Tensor]>,
    compute_type: ComputeType,
    frozen: bool,
    stop: Arc<AtomicBool>,
    on_gradient: Option<OnGradient<f32>>,
    singles: Sessions<f32>,
    doubles: Sessions<f64>,
    #[cfg(feature = "cuda")]
    cuda: Arc<Pool<CudaSession>>,
}

/// Sessions on the CPU, and the packed form of weights that are frozen.
struct Sessions<T> {
    pool: Arc<Pool<Session<T>>>,
    packs: Arc<PackedWeights<T>>,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self {
            pool: Arc::default(),
            packs: Arc::default(),
        }
    }
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
            on_gradient: None,
            singles: Sessions::default(),
            doubles: Sessions::default(),
            #[cfg(feature = "cuda")]
            cuda: Arc::default(),
        }
    }

    /// Forgets all sessions.
    fn clear(&mut self) {
        (self.singles, self.doubles) = (Sessions::default(), Sessions::default());
        #[cfg(feature = "cuda")]
        {
            self.cuda = Arc::default();
        }
    }

    /// Declares that the parameters change no more, so that they are packed once.
    pub fn freeze(&mut self) {
        self.frozen = true;
        self.clear();
    }

    /// Sets the type that products are computed in. Sums, and all values between products, stay in f32.
    pub fn set_compute_type(&mut self, compute_type: ComputeType) {
        self.compute_type = compute_type;
        self.clear();
    }

    /// Makes every run end with an error, between two ops, as soon as `stop` is true.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Calls `on_gradient` in every later backward run on the CPU in f32; elsewhere nobody calls it.
    pub fn on_gradient(&mut self, on_gradient: OnGradient<f32>) {
        self.on_gradient = Some(on_gradient);
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
    /// When the program or the inputs have wrong shapes, an input is not finite (on the CPU, not in
    /// [`Engine::reference`]), a row does not exist (an NVIDIA GPU gives numbers that are none instead), a GPU's memory
    /// does not suffice, or the engine was told to stop.
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
                let on_gradient = self.on_gradient.clone();
                self.fused(&self.singles, key, describe, (inputs, indices), on_gradient)
            }
            Some((Device::Cpu, DType::F64)) => {
                self.fused(&self.doubles, key, describe, (inputs, indices), None)
            }
            #[cfg(feature = "cuda")]
            Some((Device::Cuda(device), DType::F32)) => {
                self.on_gpu(device, key, describe, inputs, indices)
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
        Sessions { pool, packs }: &Sessions<T>,
        key: (usize, usize),
        describe: impl FnOnce(&mut Program) -> Result<Map>,
        (inputs, indices): (&[Tensor], &[Tensor]),
        on_gradient: Option<OnGradient<T>>,
    ) -> Result<Tensor> {
        let mut session = pool.take((key, self.kind(inputs)), |kind| {
            let packs = self.frozen.then(|| Arc::clone(packs));
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

        let output = (Storage::Cpu(T::to_cpu_storage_owned(output)), dims.into());
        let watch = Watch {
            stop: Arc::clone(&self.stop),
            on_gradient,
        };
        let back = back(session, tensors, watch);
        track(output, back, self.tracked(inputs))
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(
        &self,
        device: &candle_core::CudaDevice,
        key: (usize, usize),
        describe: impl FnOnce(&mut Program) -> Result<Map>,
        inputs: &[Tensor],
        indices: &[Tensor],
    ) -> Result<Tensor> {
        let session = self.cuda.take((key, self.kind(inputs)), |kind| {
            CudaSession::new(self.program(describe)?, kind, device, &self.parameters)
        })?;
        session.program().check(inputs, indices)?;
        let tensors = RunTensors::new(&self.parameters, inputs, indices)?.aligned()?;
        let dims = session.program().output.dims();
        let output = session.forward(&tensors, || proceed(&self.stop))?;
        if session.key.1 == Kind::Inference {
            return Ok(Tensor::from_storage(
                output,
                dims,
                BackpropOp::none(),
                false,
            ));
        }
        let stop = Arc::clone(&self.stop);
        let back: Back = Box::new(move |dy| {
            session.backward(&tensors, &aligned(dy.clone())?, || proceed(&stop))
        });
        track((output, dims.into()), back, self.tracked(inputs))
    }

    /// The tensors that track gradients, with their places among inputs and parameters.
    fn tracked<'a>(&'a self, inputs: &'a [Tensor]) -> impl Iterator<Item = (usize, &'a Tensor)> {
        let all = inputs.iter().chain(&*self.parameters).enumerate();
        all.filter(|(_, tensor)| tensor.track_op())
    }

    /// The kind of a run on these inputs.
    fn kind(&self, inputs: &[Tensor]) -> Kind {
        if self.tracked(inputs).next().is_some() {
            Kind::Training(inputs.iter().map(|x| x.track_op()).collect())
        } else {
            Kind::Inference
        }
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
