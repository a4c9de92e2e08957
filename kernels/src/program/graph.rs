//! A run as one op of candle's graph.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Storage,
    StorageRef, Tensor, WithDType, bail,
};

use super::Parameter;
use super::engine::OnGradient;
use super::memory::{Gradients, Numbers};
use super::pool::PooledSession;
use super::session::Session;
use crate::real::{Real, slice};
use crate::team::{self, lock};

/// Fails when the engine was told to stop.
pub(super) fn proceed(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("stopped");
    }
    Ok(())
}

/// The tensors that a run reads.
pub(super) struct RunTensors {
    parameters: Arc<[Tensor]>,
    inputs: Vec<Tensor>,
    indices: Vec<Tensor>,
}

impl RunTensors {
    /// Detached and contiguous inputs beside the parameters.
    pub fn new(parameters: &Arc<[Tensor]>, inputs: &[Tensor], indices: &[Tensor]) -> Result<Self> {
        Ok(Self {
            parameters: Arc::clone(parameters),
            inputs: contiguous(inputs)?,
            indices: contiguous(indices)?,
        })
    }

    /// The inputs.
    #[cfg(feature = "cuda")]
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// The rows.
    #[cfg(feature = "cuda")]
    pub fn indices(&self) -> &[Tensor] {
        &self.indices
    }

    /// The same, at addresses that a GPU's kernels accept.
    #[cfg(feature = "cuda")]
    pub fn aligned(self) -> Result<Self> {
        let inputs = self.inputs.into_iter().map(super::gpu::aligned);
        Ok(Self {
            inputs: inputs.collect::<Result<_>>()?,
            ..self
        })
    }

    /// Calls `f` with their values.
    pub fn read<T: Real, R>(&self, f: impl FnOnce(&Numbers<'_, T>) -> Result<R>) -> Result<R> {
        let [parameters, inputs, indices] = [&*self.parameters, &self.inputs, &self.indices]
            .map(|tensors| Vec::from_iter(tensors.iter().map(Tensor::storage_and_layout)));
        f(&Numbers {
            parameters: parameters.iter().map(values).collect::<Result<_>>()?,
            inputs: inputs.iter().map(values).collect::<Result<_>>()?,
            indices: indices.iter().map(values).collect::<Result<_>>()?,
        })
    }
}

fn contiguous(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let plain = |tensor: &Tensor| tensor.detach().contiguous();
    tensors.iter().map(plain).collect()
}

fn values<'a, T: WithDType>((storage, layout): &'a (StorageRef<'_>, &Layout)) -> Result<&'a [T]> {
    match &**storage {
        Storage::Cpu(storage) => slice(storage, layout),
        _ => bail!("expected values on the CPU for {:?}", layout.shape()),
    }
}

/// The gradients of a run's tracked tensors, inputs before parameters, on their way to candle.
type Found = Arc<Mutex<Vec<Option<Tensor>>>>;

/// The other half of a run: the gradients of its inputs, then of its parameters, given that of its output.
pub(super) type Back = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + Send>;

/// A whole run as an op of candle's graph. The memory of the run is its own until the backward pass or,
/// without one, until the graph is dropped.
struct Run {
    output: Mutex<Option<(Storage, Shape)>>,
    /// Until it is done.
    back: Mutex<Option<Back>>,
    found: Found,
}

/// Those who look on at a run's way back.
pub(super) struct Watch<T> {
    /// The run ends as soon as it is true.
    pub stop: Arc<AtomicBool>,
    pub on_gradient: Option<OnGradient<T>>,
}

/// The output of a forward run, `[B, T, C]`, as a tensor that depends on `tracked`: the indices of those of the run's
/// inputs and parameters that track gradients, with the tensors.
///
/// The run has one input in the graph, the end of a chain that links all tracked tensors, since candle's ops have few.
pub(super) fn track<'a>(
    (output, shape): (Storage, Shape),
    back: Back,
    tracked: impl Iterator<Item = (usize, &'a Tensor)>,
) -> Result<Tensor> {
    let found = Found::default();
    let mut chain = Tensor::zeros(1, output.dtype(), &output.device())?;
    for (index, tensor) in tracked {
        let found = Arc::clone(&found);
        chain = tensor.apply_op2(&chain, Link { index, found })?;
    }
    chain.apply_op1(Run {
        output: Mutex::new(Some((output, shape))),
        back: Mutex::new(Some(back)),
        found,
    })
}

impl Run {
    fn output(&self) -> Result<(Storage, Shape)> {
        match lock(&self.output).take() {
            Some(output) => Ok(output),
            None => bail!("a program's output is handed out once"),
        }
    }
}

impl CustomOp1 for Run {
    fn name(&self) -> &'static str {
        "program"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.output()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => bail!("a program's output is on another device than its chain"),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.output()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => bail!("a program's output is on another device than its chain"),
        }
    }

    fn bwd(&self, chain: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Some(back) = lock(&self.back).take() else {
            bail!("a program goes back once: its maps were overwritten on the way");
        };
        *lock(&self.found) = back(&dy.contiguous()?)?;
        Ok(Some(chain.zeros_like()?))
    }
}

/// The backward run of a session on the CPU.
pub(super) fn back<T: Real>(
    mut session: PooledSession<Session<T>>,
    tensors: RunTensors,
    watch: Watch<T>,
) -> Back {
    Box::new(move |dy| {
        let Gradients { inputs, parameters } = team::lead(|| {
            let dy = (dy.storage_and_layout(),);
            let on_gradient = |parameter: Parameter, gradient: &[T]| {
                if let Some(on_gradient) = &watch.on_gradient {
                    on_gradient(&tensors.parameters[parameter.0], gradient);
                }
            };
            let go_on = || proceed(&watch.stop);
            tensors.read(|numbers| session.backward(numbers, values(&dy.0)?, go_on, on_gradient))
        })?;
        let tensors = tensors.inputs.iter().chain(&*tensors.parameters);
        let found = inputs.into_iter().chain(parameters).zip(tensors);
        found
            .map(|(gradient, of)| {
                let tensor = |gradient| Tensor::from_vec(gradient, of.shape(), &Device::Cpu);
                gradient.map(tensor).transpose()
            })
            .collect()
    })
}

/// One tracked tensor in the chain below a [`Run`], for candle to visit after it.
struct Link {
    index: usize,
    found: Found,
}

impl CustomOp2 for Link {
    fn name(&self) -> &'static str {
        "program-link"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        chain: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((chain.clone(), layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        chain: &CudaStorage,
        layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((chain.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = lock(&self.found).get_mut(self.index).and_then(Option::take);
        Ok((gradient, Some(grad.clone())))
    }
}
