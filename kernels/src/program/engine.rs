//! Parameters, and what is needed to run programs over them: memory, candle's graph, a way to stop.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, StorageRef,
    Tensor, WithDType, bail,
};

use super::plan::Kind;
use super::session::{Gradients, Numbers, Packs, Session};
use super::{Map, Program};
use crate::conv::Precision;
use crate::real::{Real, slice};

/// Sessions an engine keeps for later: one or two sizes of training batch, validation, guidance.
const KEPT: usize = 4;

/// Runs programs over its parameters.
///
/// Runs take place on the current rayon pool: a caller that wants threads of its own installs one.
///
/// On the CPU, in f32 and f64, a program's memory is planned when its key is first met, and used again
/// in every later run with that key: a forward run then allocates its output only, a way back the
/// gradients it returns. Runs may happen at the same time; each has its own memory. Elsewhere a run is
/// [`Engine::compose`].
pub struct Engine {
    parameters: Arc<[Tensor]>,
    precision: Precision,
    frozen: bool,
    stop: Arc<AtomicBool>,
    singles: Arc<Shelf<f32>>,
    doubles: Arc<Shelf<f64>>,
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
            precision: Precision::F32,
            frozen: false,
            stop: Arc::default(),
            singles: Arc::default(),
            doubles: Arc::default(),
        }
    }

    /// Promises that the parameters change no more, so that work on them is done once.
    pub fn freeze(&mut self) {
        self.frozen = true;
        (self.singles, self.doubles) = (Arc::default(), Arc::default());
    }

    /// Multiplies in this precision from now on; sums, and all that lies between products, stay in f32.
    pub fn use_precision(&mut self, precision: Precision) {
        self.precision = precision;
        (self.singles, self.doubles) = (Arc::default(), Arc::default());
    }

    /// Makes every run end with an error, between two ops, as soon as `stop` is true.
    pub fn stop_with(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Whether runs are told to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs the program that `describe` writes down; the map it returns is the output, `[B, T, C]`.
    ///
    /// `key` stands for the program: with equal keys `describe` must do the same, and is asked only once
    /// in a while. `inputs` and `indices` come in the order in which the program declares them. If
    /// a parameter or an input tracks gradients, so does the output, for one backward pass, before
    /// which the parameters must not change.
    ///
    /// # Errors
    /// When the program or the inputs have wrong shapes, an input is not finite (here, not in
    /// [`Engine::compose`]), a row does not exist, or the engine was told to stop.
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
            _ => self.compose(describe, inputs, indices),
        }
    }

    /// The definition of [`Engine::run`], made of plain candle operations.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn compose(
        &self,
        describe: impl FnOnce(&mut Program) -> Result<Map>,
        inputs: &[Tensor],
        indices: &[Tensor],
    ) -> Result<Tensor> {
        let program = self.program(describe)?;
        program.check(inputs, indices)?;
        program.compose(&self.parameters, inputs, indices, || proceed(&self.stop))
    }

    fn program(&self, describe: impl FnOnce(&mut Program) -> Result<Map>) -> Result<Program> {
        let shapes = self.parameters.iter().map(|p| p.dims().to_vec());
        Program::describe(shapes.collect(), self.precision, describe)
    }

    fn fused<T: Real>(
        &self,
        shelf: &Arc<Shelf<T>>,
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
        let mut lease = shelf.lease((key, kind), |kind| {
            let packs = self.frozen.then(|| Arc::clone(&shelf.packs));
            Session::new(self.program(describe)?, kind, packs)
        })?;
        lease.program().check(inputs, indices)?;
        let held = Held {
            parameters: self.parameters.clone(),
            inputs: contiguous(inputs)?,
            indices: contiguous(indices)?,
        };
        let dims = lease.program().output.dims();
        let run = || {
            held.read(|numbers| {
                numbers.check()?;
                lease.forward(numbers, || proceed(&self.stop))
            })
        };
        let output = in_pool(run)?;
        if lease.key.1 == Kind::Inference {
            return Tensor::from_vec(output, dims, &Device::Cpu);
        }

        // In candle's graph the run is one op. It has one input, the end of a chain that all tracked
        // tensors hang on, since candle's ops have few.
        let found = Found::default();
        let mut chain = Tensor::zeros(1, T::DTYPE, &Device::Cpu)?;
        for (index, tensor) in tracked().filter(|(_, tensor)| tensor.track_op()) {
            let found = Arc::clone(&found);
            chain = tensor.apply_op2(&chain, Link { index, found })?;
        }
        chain.apply_op1(Run {
            output: Mutex::new(Some((output, dims.into()))),
            way_back: Mutex::new(Some((lease, held))),
            stop: self.stop.clone(),
            found,
        })
    }
}

/// Runs all of `f` on a thread of the current rayon pool: going there takes longer than most ops.
fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

fn proceed(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) {
        bail!("stopped");
    }
    Ok(())
}

fn contiguous(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let plain = |tensor: &Tensor| tensor.detach().contiguous();
    tensors.iter().map(plain).collect()
}

impl Program {
    /// Fails unless the inputs are what was declared.
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

/// The tensors a run reads.
struct Held {
    parameters: Arc<[Tensor]>,
    inputs: Vec<Tensor>,
    indices: Vec<Tensor>,
}

impl Held {
    /// Runs `f` on their numbers.
    fn read<T: Real, R>(&self, f: impl FnOnce(&Numbers<'_, T>) -> Result<R>) -> Result<R> {
        let [parameters, inputs, indices] = [&*self.parameters, &self.inputs, &self.indices]
            .map(|tensors| Vec::from_iter(tensors.iter().map(Tensor::storage_and_layout)));
        f(&Numbers {
            parameters: parameters.iter().map(values).collect::<Result<_>>()?,
            inputs: inputs.iter().map(values).collect::<Result<_>>()?,
            indices: indices.iter().map(values).collect::<Result<_>>()?,
        })
    }
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
    way_back: Mutex<Option<(Lease<T>, Held)>>,
    stop: Arc<AtomicBool>,
    found: Found,
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
        let Some((mut lease, held)) = lock(&self.way_back).take() else {
            bail!("a program goes back once: its maps were overwritten on the way");
        };
        let dy = dy.contiguous()?;
        let Gradients { inputs, parameters } = in_pool(|| {
            let dy = (dy.storage_and_layout(),);
            held.read(|numbers| lease.backward(numbers, values(&dy.0)?, || proceed(&self.stop)))
        })?;
        let tensors = held.inputs.iter().chain(&*held.parameters);
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

/// What a session is kept for.
type Key = ((usize, usize), Kind);

/// What is kept between runs.
struct Shelf<T> {
    /// Sessions that wait for their next run, the one used last at the end.
    sessions: Mutex<Vec<(Key, Session<T>)>>,
    /// Frozen weights, once for all of them.
    packs: Arc<Packs<T>>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            packs: Arc::default(),
        }
    }
}

impl<T: Real> Shelf<T> {
    fn lease(
        self: &Arc<Self>,
        key: Key,
        make: impl FnOnce(&Kind) -> Result<Session<T>>,
    ) -> Result<Lease<T>> {
        let waiting = {
            let mut sessions = lock(&self.sessions);
            let at = sessions.iter().rposition(|(found, _)| *found == key);
            at.map(|at| sessions.remove(at).1)
        };
        let session = match waiting {
            Some(session) => session,
            None => make(&key.1)?,
        };
        Ok(Lease {
            key,
            session: Some(session),
            shelf: Arc::clone(self),
        })
    }
}

/// A session that goes back to its shelf when dropped.
struct Lease<T: Real> {
    key: Key,
    /// Always there, until the drop.
    session: Option<Session<T>>,
    shelf: Arc<Shelf<T>>,
}

impl<T: Real> Deref for Lease<T> {
    type Target = Session<T>;

    fn deref(&self) -> &Session<T> {
        self.session.as_ref().expect("there until the drop")
    }
}

impl<T: Real> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut Session<T> {
        self.session.as_mut().expect("there until the drop")
    }
}

impl<T: Real> Drop for Lease<T> {
    fn drop(&mut self) {
        // A panic may have come while a slot was taken out.
        if std::thread::panicking() {
            return;
        }
        let mut sessions = lock(&self.shelf.sessions);
        let session = self.session.take().expect("there until the drop");
        sessions.push((self.key.clone(), session));
        if sessions.len() > KEPT {
            sessions.remove(0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::isa::on_each;
    use crate::program::{Activation, Norm, Parameter};
    use crate::testing::{assert_close, check_gradients, values};

    const KEY: (usize, usize) = (0, 0);

    fn drawn(shapes: &[&[usize]], seed: u64) -> Vec<Tensor> {
        let shapes = shapes.iter().zip(seed..);
        shapes.map(|(shape, seed)| values(shape, seed)).collect()
    }

    /// Declares the inputs, then asks for the rest.
    fn describe<'a>(
        inputs: &'a [&[usize]],
        f: impl Fn(&mut Program, &[Map]) -> Result<Map> + 'a,
    ) -> impl Fn(&mut Program) -> Result<Map> + 'a {
        move |p| {
            let maps: Vec<Map> = inputs
                .iter()
                .map(|shape| p.input(shape[0], shape[1], shape[2]))
                .collect();
            f(p, &maps)
        }
    }

    /// The engine's output equals the definition's, and the gradients of both, of inputs and parameters,
    /// equal finite differences.
    fn check(
        inputs: &[&[usize]],
        parameters: &[&[usize]],
        rows: &[Tensor],
        f: impl Fn(&mut Program, &[Map]) -> Result<Map>,
    ) -> Result<()> {
        let describe = describe(inputs, f);
        let run = |tensors: &[Tensor], fused: bool| {
            let (inputs, parameters) = tensors.split_at(inputs.len());
            let engine = Engine::new(parameters.to_vec());
            if fused {
                engine.run(KEY, &describe, inputs, rows)
            } else {
                engine.compose(&describe, inputs, rows)
            }
        };
        let tensors = [drawn(inputs, 1), drawn(parameters, 20)].concat();
        let defined = run(&tensors, false)?;
        check_gradients(&tensors, |tensors| run(tensors, false))?;
        on_each(|_| {
            assert_close(&run(&tensors, true)?, &defined, 1e-11);
            check_gradients(&tensors, |tensors| run(tensors, true))?;
            // Inputs that are not tracked change nothing for the parameters.
            let (fixed, free) = tensors.split_at(inputs.len());
            if free.is_empty() {
                return Ok(());
            }
            check_gradients(free, |free| run(&[fixed, free].concat(), true))
        })
    }

    #[test]
    fn convolutions_equal_their_definition() -> Result<()> {
        for (b, t, ci, co, k) in [
            (1, 1, 1, 1, 1),
            (3, 7, 5, 6, 3),
            (2, 1, 3, 4, 3),
            (2, 9, 4, 3, 5),
            (4, 13, 7, 9, 1),
            (2, 9, 33, 32, 3), // Winograd's form
        ] {
            let (weight, bias) = ([k * ci, co], [co]);
            check(&[&[b, t, ci]], &[&weight, &bias], &[], |p, x| {
                p.conv(x[0], None, Parameter(0), Some(Parameter(1)), None)
            })?;
        }
        check(&[&[2, 5, 3]], &[&[9, 4]], &[], |p, x| {
            p.conv(x[0], None, Parameter(0), None, None)
        })
    }

    #[test]
    fn norms_before_convolutions_equal_their_definition() -> Result<()> {
        use Activation::{Gelu, None as Plain, Silu};
        for (b, t, c, groups, activation, k) in [
            (1, 3, 4, 2, Silu, 1),
            (3, 7, 6, 3, Silu, 3),
            (2, 5, 4, 1, Plain, 5),
            (2, 6, 4, 1, Gelu, 5),
        ] {
            let norm = |film| Norm {
                affine: Parameter(0),
                film,
                groups,
                activation,
            };
            let parameters: [&[usize]; 2] = [&[2, c], &[k * c, 5]];
            check(&[&[b, t, c]], &parameters, &[], |p, x| {
                p.conv(x[0], Some(norm(None)), Parameter(1), None, None)
            })?;
            check(&[&[b, t, c], &[b, 1, 2 * c]], &parameters, &[], |p, x| {
                p.conv(x[0], Some(norm(Some(x[1]))), Parameter(1), None, None)
            })?;
            check(&[&[b, t, c], &[b, 1, 2 * c]], &[&[2, c]], &[], |p, x| {
                let y = p.normed(x[0], norm(Some(x[1])), None)?;
                p.mix(y, x[0], 0.5)
            })?;
            check(&[&[b, t, c]], &[&[2, c]], &[], |p, x| {
                p.normed(x[0], norm(None), Some(x[0]))
            })?;
        }
        Ok(())
    }

    #[test]
    fn long_maps_are_normed_as_their_definition_says() -> Result<()> {
        let (x, affine) = (values(&[2, 5000, 3], 1), values(&[2, 3], 2));
        let run = |x: &Tensor, affine: &Tensor, fused: bool| {
            let engine = Engine::new(vec![affine.clone()]);
            let describe = |p: &mut Program| {
                let x = p.input(2, 5000, 3);
                let norm = Norm {
                    affine: Parameter(0),
                    film: None,
                    groups: 1,
                    activation: Activation::Gelu,
                };
                p.normed(x, norm, Some(x))
            };
            if fused {
                engine.run(KEY, describe, std::slice::from_ref(x), &[])
            } else {
                engine.compose(describe, std::slice::from_ref(x), &[])
            }
        };
        let exact = run(&x, &affine, false)?;
        assert_close(&run(&x, &affine, true)?, &exact, 1e-12);
        let rounded = run(
            &x.to_dtype(DType::F32)?,
            &affine.to_dtype(DType::F32)?,
            true,
        )?;
        assert_close(&rounded.to_dtype(DType::F64)?, &exact, 2e-6);
        Ok(())
    }

    #[test]
    fn resampled_maps_equal_their_definition() -> Result<()> {
        for (b, t, c) in [(1, 4, 1), (2, 6, 3), (3, 10, 5)] {
            check(&[&[b, t, c]], &[], &[], |p, x| p.halve(x[0]))?;
            check(&[&[b, t, c]], &[], &[], |p, x| p.double(x[0]))?;
            // Several readers: their gradients add up.
            check(&[&[b, 2 * t, c]], &[], &[], |p, x| {
                let down = p.halve(x[0])?;
                let up = p.double(down)?;
                p.mix(up, x[0], 0.5)
            })?;
        }
        check(&[&[2, 3, 2]], &[], &[], |p, x| p.double(x[0]))
    }

    #[test]
    fn residuals_are_of_a_clip_each_or_of_all() -> Result<()> {
        for (residual, rows) in [(3, 6), (1, 6), (3, 2), (1, 2)] {
            check(
                &[&[3, 5, 2], &[residual, 5, 4]],
                &[&[rows, 4]],
                &[],
                |p, x| p.conv(x[0], None, Parameter(0), None, Some(x[1])),
            )?;
        }
        // The input itself, and twice in a row.
        check(&[&[2, 5, 4]], &[&[12, 4]], &[], |p, x| {
            let y = p.conv(x[0], None, Parameter(0), None, Some(x[0]))?;
            p.conv(y, None, Parameter(0), None, Some(x[0]))
        })
    }

    #[test]
    fn attention_equals_its_definition() -> Result<()> {
        for (b, t, c, heads) in [(1, 1, 4, 2), (3, 7, 6, 3), (2, 5, 8, 1)] {
            check(&[&[b, t, 3 * c]], &[], &[], |p, x| p.attention(x[0], heads))?;
        }
        // Several readers: their gradients add up.
        check(&[&[2, 5, 12]], &[], &[], |p, x| {
            let (one, two) = (p.attention(x[0], 1)?, p.attention(x[0], 2)?);
            p.mix(one, two, 0.5)
        })
    }

    #[test]
    fn vectors_equal_their_definition() -> Result<()> {
        check(&[&[3, 1, 5]], &[], &[], |p, x| Ok(p.silu(x[0])))?;
        let rows = Tensor::new(&[2u32, 0, 2], &Device::Cpu)?;
        check(&[&[3, 1, 5]], &[&[4, 5]], &[rows], |p, x| {
            let rows = p.indices(3);
            let y = p.lookup(Parameter(0), rows, x[0])?;
            let z = p.silu(y);
            let y = p.lookup(Parameter(0), rows, y)?;
            p.mix(z, y, 0.7)
        })
    }

    #[test]
    fn mixes_equal_their_definition() -> Result<()> {
        check(&[&[2, 3, 5], &[2, 3, 5]], &[], &[], |p, x| {
            let y = p.mix(x[0], x[1], 0.7)?;
            let y = p.mix(y, y, 0.6)?;
            p.mix(x[1], y, -1.0)
        })
    }

    #[test]
    fn films_and_parameters_may_be_used_twice() -> Result<()> {
        let inputs: [&[usize]; 2] = [&[2, 6, 4], &[2, 1, 3]];
        let parameters: [&[usize]; 4] = [&[2, 4], &[12, 4], &[4], &[3, 8]];
        check(&inputs, &parameters, &[], |p, x| {
            let film = p.conv(x[1], None, Parameter(3), None, None)?;
            let norm = Norm {
                affine: Parameter(0),
                film: Some(film),
                groups: 2,
                activation: Activation::Silu,
            };
            let (weight, bias) = (Parameter(1), Some(Parameter(2)));
            let y = p.conv(x[0], Some(norm), weight, bias, Some(x[0]))?;
            p.conv(y, Some(norm), weight, None, Some(y))
        })
    }

    /// Down, attention, up: reshapes, skips and a value that is needed on two ways.
    fn small_network(p: &mut Program, x: &[Map]) -> Result<Map> {
        let (weight, affine) = (Parameter(0), Parameter(1));
        let norm = Norm {
            affine,
            film: None,
            groups: 2,
            activation: Activation::Silu,
        };
        let place = p.conv(x[1], None, Parameter(2), None, None)?;
        let top = p.conv(x[0], None, weight, None, Some(place))?;
        let skip = p.conv(top, Some(norm), weight, None, Some(top))?;
        let pairs = p.reshape(skip, 3, 8)?;
        let h = p.conv(pairs, None, Parameter(3), None, None)?; // [B, 3, 4]
        let qkv = p.conv(h, Some(norm), Parameter(4), None, None)?;
        let y = p.attention(qkv, 2)?;
        let h = p.conv(y, None, Parameter(5), None, Some(h))?;
        let pairs = p.conv(h, None, Parameter(6), None, None)?; // [B, 3, 8]
        let unused = p.reshape(pairs, 6, 4)?;
        p.silu(unused);
        let up = p.reshape(pairs, 6, 4)?;
        let h = p.mix(up, skip, 0.5)?;
        p.conv(h, Some(norm), weight, None, Some(h))
    }

    const INPUTS: [&[usize]; 2] = [&[2, 6, 4], &[1, 6, 3]];
    const PARAMETERS: [&[usize]; 7] = [
        &[12, 4],
        &[2, 4],
        &[3, 4],
        &[8, 4],
        &[4, 12],
        &[4, 4],
        &[4, 8],
    ];

    #[test]
    fn a_small_network_equals_its_definition() -> Result<()> {
        check(&INPUTS, &PARAMETERS, &[], small_network)
    }

    #[test]
    fn the_output_may_be_an_input_or_read_again() -> Result<()> {
        check(&[&[2, 3, 4]], &[], &[], |p, x| p.reshape(x[0], 6, 2))?;
        check(&[&[2, 3, 4]], &[&[4, 4]], &[], |p, x| {
            let y = p.conv(x[0], None, Parameter(0), None, None)?;
            p.conv(y, None, Parameter(0), None, None)?;
            Ok(y)
        })
    }

    /// A tracked engine of the small network, its variables, and an input.
    fn trained() -> Result<(Engine, Vec<Var>, Vec<Tensor>)> {
        let draw = |p: &Tensor| Var::from_tensor(p);
        let variables: Vec<Var> = drawn(&PARAMETERS, 20)
            .iter()
            .map(draw)
            .collect::<Result<_>>()?;
        let parameters = variables.iter().map(|v| v.as_tensor().clone()).collect();
        Ok((Engine::new(parameters), variables, drawn(&INPUTS, 1)))
    }

    fn run(engine: &Engine, inputs: &[Tensor]) -> Result<Tensor> {
        engine.run(KEY, describe(&INPUTS, small_network), inputs, &[])
    }

    #[test]
    fn graphs_that_live_at_the_same_time_keep_their_own_maps() -> Result<()> {
        let (engine, variables, first) = trained()?;
        let second = vec![values(INPUTS[0], 7), first[1].clone()];
        let alone = |inputs: &[Tensor]| run(&trained()?.0, inputs)?.sum_all();
        let gradient = |y: &Tensor, of: &Var| -> Result<Tensor> {
            Ok(y.backward()?
                .get(of)
                .expect("a variable is tracked")
                .clone())
        };
        let expected = |inputs: &[Tensor]| {
            let (engine, variables, _) = trained()?;
            gradient(&run(&engine, inputs)?.sum_all()?, &variables[0])
        };
        for _ in 0..2 {
            let (a, b) = (
                run(&engine, &first)?.sum_all()?,
                run(&engine, &second)?.sum_all()?,
            );
            assert_close(&a, &alone(&first)?, 0.0);
            assert_close(&b, &alone(&second)?, 0.0);
            assert_close(&gradient(&a, &variables[0])?, &expected(&first)?, 0.0);
            assert_close(&gradient(&b, &variables[0])?, &expected(&second)?, 0.0);
            assert_eq!(lock(&engine.doubles.sessions).len(), 2);
        }
        Ok(())
    }

    #[test]
    fn sessions_return_after_a_backward_pass_or_without_one() -> Result<()> {
        let (engine, _, inputs) = trained()?;
        let waiting = || lock(&engine.doubles.sessions).len();
        let y = run(&engine, &inputs)?;
        assert_eq!(waiting(), 0);
        drop(y);
        assert_eq!(waiting(), 1);
        let y = run(&engine, &inputs)?.sum_all()?;
        assert_eq!(waiting(), 0);
        y.backward()?;
        assert_eq!(waiting(), 1);
        let again = y.backward().expect_err("the maps were overwritten");
        assert!(again.to_string().contains("goes back once"), "{again}");
        for t in 0..2 * KEPT {
            let fixed: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
            engine.run((2, t), describe(&INPUTS, small_network), &fixed, &[])?;
        }
        assert_eq!(waiting(), KEPT);
        Ok(())
    }

    #[test]
    fn weights_are_read_anew_unless_frozen() -> Result<()> {
        let (mut engine, variables, inputs) = trained()?;
        let before = run(&engine, &inputs)?;
        let halved = (variables[0].as_tensor() * 0.5)?;
        variables[0].set(&halved.detach())?;
        let changed = run(&engine, &inputs)?;
        let difference = (&before - &changed)?.abs()?.max_all()?;
        assert!(difference.to_scalar::<f64>()? > 1e-3);
        engine.freeze();
        for _ in 0..2 {
            assert_close(&run(&engine, &inputs)?, &changed, 0.0);
        }
        Ok(())
    }

    #[test]
    fn a_run_ends_when_told_to() -> Result<()> {
        let (mut engine, _, inputs) = trained()?;
        let y = run(&engine, &inputs)?;
        let stop = Arc::new(AtomicBool::new(true));
        engine.stop_with(Arc::clone(&stop));
        assert!(engine.is_stopped() && run(&engine, &inputs).is_err());
        assert!(
            engine
                .compose(describe(&INPUTS, small_network), &inputs, &[])
                .is_err()
        );
        stop.store(false, Ordering::Relaxed);
        assert_close(&run(&engine, &inputs)?, &y, 0.0);
        Ok(())
    }

    /// `x`, normed, through a kernel of 3: fused, or as it is defined.
    fn block(x: &Tensor, parameters: &[Tensor], fused: bool) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let describe = |p: &mut Program| {
            let x = p.input(b, t, c);
            let norm = Norm {
                affine: Parameter(0),
                film: None,
                groups: 1,
                activation: Activation::Silu,
            };
            p.conv(x, Some(norm), Parameter(1), Some(Parameter(2)), None)
        };
        let (engine, x) = (Engine::new(parameters.to_vec()), [x.clone()]);
        if fused {
            engine.run(KEY, describe, &x, &[])
        } else {
            engine.compose(describe, &x, &[])
        }
    }

    /// Both, in one precision.
    fn cast(x: &Tensor, parameters: &[Tensor], to: DType) -> Result<(Tensor, Vec<Tensor>)> {
        let parameters = parameters.iter().map(|p| p.to_dtype(to));
        Ok((x.to_dtype(to)?, parameters.collect::<Result<_>>()?))
    }

    #[test]
    fn wide_and_long_maps_equal_their_definition_and_round_below_five_millionths() -> Result<()> {
        for (b, t, ci, co) in [
            (4, 33, 17, 9),
            (3, 11, 32, 37),
            (2, 390, 35, 32),
            (2, 50, 256, 64),
        ] {
            let (x, parameters) = (
                values(&[b, t, ci], 1),
                drawn(&[&[2, ci], &[3 * ci, co], &[co]], 2),
            );
            let exact = block(&x, &parameters, false)?;
            assert_close(&block(&x, &parameters, true)?, &exact, 1e-11);
            let (x, parameters) = cast(&x, &parameters, DType::F32)?;
            let rounded = block(&x, &parameters, true)?;
            assert_close(&rounded.to_dtype(DType::F64)?, &exact, 5e-6);
        }
        Ok(())
    }

    #[test]
    fn a_common_offset_costs_no_precision_in_f32() -> Result<()> {
        let parameters = drawn(&[&[2, 8], &[24, 4], &[4]], 2);
        let (x, parameters) = cast(&values(&[2, 50, 8], 4), &parameters, DType::F32)?;
        let plain = block(&x, &parameters, true)?;
        let moved = block(&(x + 64.0)?, &parameters, true)?;
        let [plain, moved] = [plain, moved].map(|y| y.to_dtype(DType::F64));
        assert_close(&plain?, &moved?, 1e-4);
        Ok(())
    }

    #[test]
    fn inputs_that_are_not_finite_are_refused() -> Result<()> {
        let engine = Engine::new(drawn(&[&[3, 4]], 1));
        let plain = |p: &mut Program| {
            let x = p.input(1, 2, 3);
            p.conv(x, None, Parameter(0), None, None)
        };
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let x = Tensor::new(&[[[1.0, 2.0, 3.0], [4.0, bad, 6.0]]], &Device::Cpu)?;
            let error = engine.run(KEY, plain, &[x], &[]).expect_err("not finite");
            let expected = format!("input 0 should be finite, found {bad} at 4");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        engine.run(
            KEY,
            plain,
            &[Tensor::ones((1, 2, 3), DType::F64, &Device::Cpu)?],
            &[],
        )?;
        Ok(())
    }

    #[test]
    fn wrong_shapes_say_both_sides() {
        let message = |inputs: &[&[usize]],
                       parameters: &[&[usize]],
                       f: &dyn Fn(&mut Program, &[Map]) -> Result<Map>| {
            let engine = Engine::new(drawn(parameters, 1));
            let (given, rows) = (drawn(inputs, 1), []);
            let error = engine.run(KEY, describe(inputs, f), &given, &rows);
            error.expect_err("shapes disagree").to_string()
        };
        let conv = |film: bool, residual: bool| {
            move |p: &mut Program, x: &[Map]| {
                let norm = film.then(|| Norm {
                    affine: Parameter(2),
                    film: Some(x[1]),
                    groups: 1,
                    activation: Activation::Silu,
                });
                let residual = residual.then(|| x[1]);
                p.conv(x[0], norm, Parameter(0), Some(Parameter(1)), residual)
            }
        };
        let x: &[usize] = &[2, 5, 3];
        let plain = |w: &[usize], b: &[usize]| message(&[x], &[w, b], &conv(false, false));
        assert!(plain(&[6, 4], &[4]).contains("odd multiple of 3"));
        assert!(plain(&[10, 4], &[4]).contains("[10, 4]"));
        assert!(plain(&[9, 4], &[5]).contains("[4], found [5]"));
        let parameters: [&[usize]; 3] = [&[9, 4], &[4], &[2, 3]];
        let film = message(&[x, &[2, 1, 5]], &parameters, &conv(true, false));
        assert!(film.contains("(2, 1, 6), found (2, 1, 5)"), "{film}");
        let residual = message(&[x, &[3, 5, 4]], &parameters, &conv(false, true));
        assert!(
            residual.contains("(2, 5, 4), found (3, 5, 4)"),
            "{residual}"
        );
        let heads = message(&[x], &[], &|p, x| p.attention(x[0], 2));
        assert!(heads.contains("3 channels do not divide into 3 × 2"));
        assert!(message(&[x], &[], &|p, x| p.reshape(x[0], 2, 7)).contains("(2, 5, 3)"));
        assert!(message(&[x], &[], &|p, x| p.halve(x[0])).contains("found 5"));
        assert!(message(&[&[1, 2, 3]], &[], &|p, x| p.double(x[0])).contains("found 2"));

        let engine = Engine::new(drawn(&[&[4, 5]], 1));
        let lookup = |p: &mut Program| {
            let x = p.input(2, 1, 5);
            let rows = p.indices(2);
            p.lookup(Parameter(0), rows, x)
        };
        let run = |x: &[usize], rows: &[u32]| {
            let rows = Tensor::new(rows, &Device::Cpu).expect("a vector");
            let error = engine.run(KEY, lookup, &[values(x, 1)], &[rows]);
            error.expect_err("shapes disagree").to_string()
        };
        assert!(run(&[2, 1, 5], &[1, 4]).contains("below 4, found 4"));
        assert!(run(&[2, 2, 5], &[1, 2]).contains("[2, 1, 5], found [2, 2, 5]"));
        assert!(run(&[2, 1, 5], &[1, 2, 3]).contains("[2], found [3]"));
    }
}
