//! A run as one op of candle's graph.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Storage, StorageRef, Tensor,
    WithDType, bail,
};

use super::memory::{Gradients, Numbers};
use super::pool::{PooledSession, lock};
use crate::real::{Real, slice};
use crate::team;

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

/// A whole run as an op of candle's graph. The memory of the run is its own until the backward pass or,
/// without one, until the graph is dropped.
struct Run<T: Real> {
    output: Mutex<Option<(Vec<T>, Shape)>>,
    /// The other half of the run, until it is done.
    pending: Mutex<Option<(PooledSession<T>, RunTensors)>>,
    stop: Arc<AtomicBool>,
    found: Found,
}

/// The output of a forward run, `[B, T, C]`, as a tensor that depends on `tracked`: the indices of those of the run's
/// inputs and parameters that track gradients, with the tensors.
///
/// The run has one input in the graph, the end of a chain that links all tracked tensors, since candle's ops have few.
pub(super) fn track<'a, T: Real>(
    output: (Vec<T>, Shape),
    session: PooledSession<T>,
    tensors: RunTensors,
    tracked: impl Iterator<Item = (usize, &'a Tensor)>,
    stop: Arc<AtomicBool>,
) -> Result<Tensor> {
    let found = Found::default();
    let mut chain = Tensor::zeros(1, T::DTYPE, &Device::Cpu)?;
    for (index, tensor) in tracked {
        let found = Arc::clone(&found);
        chain = tensor.apply_op2(&chain, Link { index, found })?;
    }
    chain.apply_op1(Run {
        output: Mutex::new(Some(output)),
        pending: Mutex::new(Some((session, tensors))),
        stop,
        found,
    })
}

impl<T: Real> CustomOp1 for Run<T> {
    fn name(&self) -> &'static str {
        "program"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match lock(&self.output).take() {
            Some((output, shape)) => Ok((T::to_cpu_storage_owned(output), shape)),
            None => bail!("a program's output is handed out once"),
        }
    }

    fn bwd(&self, chain: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Some((mut session, tensors)) = lock(&self.pending).take() else {
            bail!("a program goes back once: its maps were overwritten on the way");
        };
        let dy = dy.contiguous()?;
        let Gradients { inputs, parameters } = team::lead(|| {
            let dy = (dy.storage_and_layout(),);
            tensors
                .read(|numbers| session.backward(numbers, values(&dy.0)?, || proceed(&self.stop)))
        })?;
        let tensors = tensors.inputs.iter().chain(&*tensors.parameters);
        let found = inputs.into_iter().chain(parameters).zip(tensors);
        *lock(&self.found) = found
            .map(|(gradient, of)| {
                let tensor = |gradient| Tensor::from_vec(gradient, of.shape(), &Device::Cpu);
                gradient.map(tensor).transpose()
            })
            .collect::<Result<_>>()?;
        Ok(Some(chain.zeros_like()?))
    }
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
