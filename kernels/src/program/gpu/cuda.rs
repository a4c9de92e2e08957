//! Commands on an NVIDIA GPU, through candle's device, its stream and cuBLASLt.
//!
//! All work of a process goes to the one stream of its device, in the order in which it is asked for; so no command
//! waits for the host, and memory is free for others as soon as the tensor that held it is dropped.

use std::ffi::c_void;
use std::fmt;
use std::mem::size_of;
use std::sync::{Arc, Mutex};

use candle_core::cuda::cudarc::cublaslt::{result as blaslt, sys};
use candle_core::cuda::cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, LaunchArgs, LaunchConfig,
    PushKernelArg,
};
use candle_core::cuda::gemm_reduced_precision_f32;
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Result, Shape, Storage, Tensor, bail, op::BackpropOp,
};

use super::super::Program;
use super::super::graph::RunTensors;
use super::super::plan::Kind;
use super::commands::{Argument, Buffer, Cell, Command, Commands, Element, Matrix, Place, Product};
use super::lower::{BLOCK, PIECE, lower};
use super::profile::{ELSEWHERE, mark};
use crate::adam::{AdamStep, Update};
use crate::team::lock;

/// `kernels.cu`, compiled by `build.rs`.
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Places from outside begin at multiples of this many bytes, as kernels that move several numbers at once want.
const ALIGNMENT: u64 = 16;

/// How many GPUs there are; 1 where the driver shows none, which opening it then tells.
pub fn count() -> usize {
    // The bindings panic where the driver's library cannot be loaded.
    let counted = std::panic::catch_unwind(CudaContext::device_count);
    let count = counted.ok().and_then(|count| count.ok());
    count
        .and_then(|count| usize::try_from(count).ok())
        .map_or(1, |count| count.max(1))
}

/// The GPU `ordinal` of this machine, with a stream of its own.
///
/// # Errors
/// When there is no such GPU, or no driver; a missing driver is found without a panic.
pub fn device(ordinal: usize) -> Result<Device> {
    // The bindings panic where the driver's library cannot be loaded.
    let opened = std::panic::catch_unwind(|| Device::new_cuda_with_stream(ordinal));
    let device = match opened {
        Ok(device) => device?,
        Err(_) => bail!("no driver of NVIDIA's was found"),
    };
    if let Device::Cuda(device) = &device {
        // SAFETY: all work goes to one stream, so nothing is left that events would have to order.
        unsafe { device.disable_event_tracking() };
    }
    Ok(device)
}

/// Free and total bytes of a GPU's memory.
///
/// # Errors
/// When the driver does not say.
pub fn memory(device: &CudaDevice) -> Result<(usize, usize)> {
    let info = device.cuda_stream().context().mem_get_info();
    info.map_err(candle_core::Error::wrap)
}

/// cuBLASLt of one device, and the memory that its products may use.
struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
}

// SAFETY: a handle of cuBLASLt may be used by several threads at once; the workspace is used in the stream's order.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: the handle was created, and is destroyed once.
        let _ = unsafe { blaslt::destroy_handle(self.handle) };
    }
}

impl Blas {
    /// Bytes that cuBLAS recommends for the newest GPUs; older ones use less of it.
    const WORKSPACE: usize = 32 << 20;

    /// That of a device, made once.
    fn of(device: &CudaDevice) -> Result<Arc<Self>> {
        type Known = Vec<(candle_core::cuda_backend::DeviceId, Arc<Blas>)>;
        static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
        let mut known = lock(&KNOWN);
        if let Some((_, blas)) = known.iter().find(|(id, _)| *id == device.id()) {
            return Ok(Arc::clone(blas));
        }
        let handle = blaslt::create_handle().map_err(candle_core::Error::wrap)?;
        let workspace = device.alloc_zeros(Self::WORKSPACE)?;
        let blas = Arc::new(Self { handle, workspace });
        known.push((device.id(), Arc::clone(&blas)));
        Ok(blas)
    }
}

/// A command, as far as it can be made ready ahead.
enum Ready {
    Launch(CudaFunction, LaunchConfig, Vec<Argument>),
    Product(Box<ReadyProduct>),
}

/// A product with cuBLASLt's descriptions, and the algorithm that it chose.
struct ReadyProduct {
    product: Product,
    description: sys::cublasLtMatmulDesc_t,
    /// Of `b`, `a`, `c` and `d`: cuBLAS counts by columns, so that it sees all matrices transposed.
    layouts: [sys::cublasLtMatrixLayout_t; 4],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: descriptions are plain memory of cuBLASLt, and only read after they were made.
unsafe impl Send for ReadyProduct {}
// SAFETY: as above.
unsafe impl Sync for ReadyProduct {}

impl Drop for ReadyProduct {
    fn drop(&mut self) {
        // SAFETY: all were created, and each is destroyed once.
        unsafe {
            let _ = blaslt::destroy_matmul_desc(self.description);
            for layout in self.layouts {
                let _ = blaslt::destroy_matrix_layout(layout);
            }
        }
    }
}

/// The addresses of a run's buffers.
struct Addresses<'a> {
    session: &'a [u64; 2],
    tables: &'a [u64],
    parameters: &'a [u64],
    inputs: Vec<u64>,
    rows: Vec<u64>,
    output: u64,
    seed: u64,
    gradients: u64,
    input_gradients: Vec<u64>,
}

impl Addresses<'_> {
    fn of(&self, place: Place) -> u64 {
        let start = match place.buffer {
            Buffer::Arena => self.session[0],
            Buffer::Constants => self.session[1],
            Buffer::Table(i) => self.tables[i],
            Buffer::Parameter(i) => self.parameters[i],
            Buffer::Input(i) => self.inputs[i],
            Buffer::Rows(i) => self.rows[i],
            Buffer::Output => self.output,
            Buffer::Seed => self.seed,
            Buffer::Gradients => self.gradients,
            Buffer::InputGradient(i) => self.input_gradients[i],
        };
        start + place.byte as u64
    }
}

/// A program with its memory on a GPU, and its commands made ready.
///
/// Between a forward run and its backward run the memory belongs to that pair.
pub(in crate::program) struct CudaSession {
    program: Program,
    device: CudaDevice,
    stream: Arc<CudaStream>,
    blas: Arc<Blas>,
    commands: Commands,
    forward: Vec<Ready>,
    backward: Vec<Ready>,
    /// Held for their addresses.
    _memory: (CudaSlice<u8>, CudaSlice<f32>, Vec<CudaSlice<u64>>),
    /// Arena and constants.
    own: [u64; 2],
    tables: Vec<u64>,
    parameters: Vec<u64>,
}

impl fmt::Debug for CudaSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaSession")
            .field("arena", &self.commands.arena)
            .finish_non_exhaustive()
    }
}

impl CudaSession {
    /// A session whose parameters keep their places in memory.
    pub fn new(
        program: Program,
        kind: &Kind,
        device: &CudaDevice,
        parameters: &[Tensor],
    ) -> Result<Self> {
        let commands = lower(&program, kind)?;
        let stream = device.cuda_stream();
        let parameters = parameters.iter().map(address).collect::<Result<Vec<_>>>()?;
        // SAFETY: every place is written before it is read, as tests with memory full of rubbish show.
        let arena = unsafe { device.alloc::<u8>(commands.arena.max(1)) };
        let arena = match arena {
            Ok(arena) => arena,
            Err(error) => return Err(does_not_fit(device, &program, &commands, error)),
        };
        let constants = match commands.constants.as_slice() {
            [] => device.alloc_zeros::<f32>(1)?,
            constants => device.clone_htod(constants)?,
        };
        let own = [arena.device_ptr(&stream).0, constants.device_ptr(&stream).0];
        let cell = |cell: &Cell| match *cell {
            Cell::Place(place) => match place.buffer {
                Buffer::Arena => Ok(own[0] + place.byte as u64),
                Buffer::Parameter(i) => Ok(parameters[i] + place.byte as u64),
                other => bail!("a table of {other:?}"),
            },
            Cell::Number(n) => Ok(n as u64),
        };
        let upload = |cells: &Vec<Cell>| {
            device.clone_htod(&cells.iter().map(cell).collect::<Result<Vec<u64>>>()?)
        };
        let tables = commands
            .tables
            .iter()
            .map(upload)
            .collect::<Result<Vec<_>>>()?;
        let mut session = Self {
            blas: Blas::of(device)?,
            device: device.clone(),
            own,
            tables: tables
                .iter()
                .map(|table| table.device_ptr(&stream).0)
                .collect(),
            parameters,
            _memory: (arena, constants, tables),
            stream,
            program,
            forward: Vec::new(),
            backward: Vec::new(),
            commands,
        };
        let ready = |list: &[Command]| list.iter().map(|command| session.ready(command)).collect();
        let lists: [Result<Vec<_>>; 2] =
            [&session.commands.forward, &session.commands.backward].map(|list| ready(list));
        let [forward, backward] = lists;
        (session.forward, session.backward) = (forward?, backward?);
        Ok(session)
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    fn ready(&self, command: &Command) -> Result<Ready> {
        match command {
            Command::Launch(launch) => {
                let function =
                    self.device
                        .get_or_load_custom_func(&launch.kernel, "audiodiff", PTX)?;
                let [x, y, z] = launch.grid.map(|n| n as u32);
                let config = LaunchConfig {
                    grid_dim: (x, y, z),
                    block_dim: (launch.block as u32, 1, 1),
                    shared_mem_bytes: 0,
                };
                let arguments = launch.arguments.clone();
                Ok(Ready::Launch(
                    function.into_cuda_function(),
                    config,
                    arguments,
                ))
            }
            Command::Product(product) => {
                let ready = self.ready_product(product)?;
                Ok(Ready::Product(Box::new(ready)))
            }
        }
    }

    /// Describes a product to cuBLASLt and lets it choose an algorithm.
    ///
    /// It counts by columns: what lies in memory row by row is to it the transpose. So it is asked for `dᵀ = bᵀ·aᵀ`,
    /// with `bᵀ` as its first operand.
    fn ready_product(&self, product: &Product) -> Result<ReadyProduct> {
        let Product { m, n, k, .. } = *product;
        let kind = |element: Element| match element {
            Element::F32 => sys::cudaDataType_t::CUDA_R_32F,
            Element::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        };
        let compute = match product.element {
            Element::F32 if gemm_reduced_precision_f32() => {
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
            }
            _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        // Rows and columns as they lie in memory.
        let lying = |matrix: Matrix, rows: usize, columns: usize| {
            if matrix.transposed {
                (columns, rows)
            } else {
                (rows, columns)
            }
        };
        let layout = |element: Element, (rows, columns): (usize, usize)| {
            let made = blaslt::create_matrix_layout(
                kind(element),
                columns as u64,
                rows as u64,
                columns as i64,
            );
            made.map_err(candle_core::Error::wrap)
        };
        let out = layout(product.out, (m, n));
        let mut ready = ReadyProduct {
            description: blaslt::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F)
                .map_err(candle_core::Error::wrap)?,
            layouts: [
                layout(product.element, lying(product.b, k, n))?,
                layout(product.element, lying(product.a, m, k))?,
                layout(product.out, (m, n))?,
                out?,
            ],
            // SAFETY: plain numbers, overwritten below.
            algorithm: unsafe { std::mem::zeroed() },
            product: product.clone(),
        };
        let transpose = |is: bool| i32::from(is); // CUBLAS_OP_N, CUBLAS_OP_T
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        set(
            &ready,
            Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
            &transpose(product.b.transposed),
        )?;
        set(
            &ready,
            Attribute::CUBLASLT_MATMUL_DESC_TRANSB,
            &transpose(product.a.transposed),
        )?;
        if let Some(bias) = product.bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            set(&ready, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            let bias = self.fixed(bias)?;
            set(&ready, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }

        // What the places' addresses are multiples of, so that no wider access is chosen.
        let alignment = |place: Place| match place.buffer {
            Buffer::Arena | Buffer::Gradients => 256u32,
            Buffer::Parameter(i) => 1 << self.parameters[i].trailing_zeros().min(8),
            _ => ALIGNMENT as u32,
        };
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let c = product.c.unwrap_or(product.d);
        let wishes = [
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                product.b.place,
            ),
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                product.a.place,
            ),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                product.d,
            ),
        ];
        let preference = blaslt::create_matmul_pref().map_err(candle_core::Error::wrap)?;
        let wish = |attribute, value: *const c_void, len| {
            // SAFETY: the preference was created, and `value` points to `len` bytes.
            unsafe { blaslt::set_matmul_pref_attribute(preference, attribute, value, len) }
        };
        let workspace = Blas::WORKSPACE;
        let mut wished = wish(
            Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const workspace).cast(),
            size_of::<usize>(),
        );
        for (attribute, place) in wishes {
            let bytes = alignment(place);
            wished =
                wished.and_then(|()| wish(attribute, (&raw const bytes).cast(), size_of::<u32>()));
        }
        let [b, a, c, d] = ready.layouts;
        let chosen = wished.and_then(|()| {
            // SAFETY: handle, description, layouts and preference were created above and live.
            unsafe {
                blaslt::get_matmul_algo_heuristic(
                    self.blas.handle,
                    ready.description,
                    b,
                    a,
                    c,
                    d,
                    preference,
                )
            }
        });
        // SAFETY: it was created above, and is destroyed once.
        let _ = unsafe { blaslt::destroy_matmul_pref(preference) };
        ready.algorithm = chosen.map_err(candle_core::Error::wrap)?.algo;
        Ok(ready)
    }

    /// The address of a place that is the same in every run.
    fn fixed(&self, place: Place) -> Result<u64> {
        match place.buffer {
            Buffer::Arena => Ok(self.own[0] + place.byte as u64),
            Buffer::Parameter(i) => Ok(self.parameters[i] + place.byte as u64),
            other => bail!("a bias in {other:?}"),
        }
    }

    fn run(
        &self,
        (list, commands): (&[Ready], &[Command]),
        addresses: &Addresses<'_>,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<()> {
        for (ready, command) in list.iter().zip(commands) {
            proceed()?;
            mark(&self.stream, || name(command))?;
            match ready {
                Ready::Launch(function, config, arguments) => {
                    self.launch(function, *config, arguments, addresses)?;
                }
                Ready::Product(product) => self.multiply(product, addresses)?,
            }
        }
        mark(&self.stream, || ELSEWHERE.to_owned())
    }

    fn launch(
        &self,
        function: &CudaFunction,
        config: LaunchConfig,
        arguments: &[Argument],
        addresses: &Addresses<'_>,
    ) -> Result<()> {
        let values: Vec<Value> = arguments
            .iter()
            .map(|argument| match *argument {
                Argument::Place(place) => Value::Address(addresses.of(place)),
                Argument::Null => Value::Address(0),
                Argument::U32(n) => Value::U32(n),
                Argument::F32(x) => Value::F32(x),
            })
            .collect();
        let mut launch = self.stream.launch_builder(function);
        push(&mut launch, &values);
        // SAFETY: `lower` gives each kernel the arguments that it declares, and places that hold what it reads and
        // writes, as the tests check in an emulator that ends at the first access elsewhere.
        unsafe { launch.launch(config) }.map_err(candle_core::Error::wrap)?;
        Ok(())
    }

    fn multiply(&self, ready: &ReadyProduct, addresses: &Addresses<'_>) -> Result<()> {
        let product = &ready.product;
        let (alpha, beta) = (1f32, if product.c.is_some() { 1f32 } else { 0.0 });
        let address = |place: Place| addresses.of(place) as *mut c_void;
        let c = address(product.c.unwrap_or(product.d));
        let [b_layout, a_layout, c_layout, d_layout] = ready.layouts;
        // SAFETY: the descriptions were made for these operands, whose places hold matrices of these sizes; handle and
        // workspace live as long as the session.
        let done = unsafe {
            blaslt::matmul(
                self.blas.handle,
                ready.description,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                address(product.b.place),
                b_layout,
                address(product.a.place),
                a_layout,
                c,
                c_layout,
                address(product.d),
                d_layout,
                &raw const ready.algorithm,
                self.blas.workspace.device_ptr(&self.stream).0 as *mut c_void,
                Blas::WORKSPACE,
                self.stream.cu_stream().cast(),
            )
        };
        done.map_err(candle_core::Error::wrap)
    }

    /// The addresses that are the same in every run, and those of what it reads.
    fn addresses(&self, tensors: &RunTensors) -> Result<Addresses<'_>> {
        let each = |tensors: &[Tensor]| tensors.iter().map(address).collect::<Result<Vec<_>>>();
        Ok(Addresses {
            session: &self.own,
            tables: &self.tables,
            parameters: &self.parameters,
            inputs: each(tensors.inputs())?,
            rows: each(tensors.indices())?,
            output: 0,
            seed: 0,
            gradients: 0,
            input_gradients: Vec::new(),
        })
    }

    /// An array of f32 on the device; `len` may be zero.
    fn array(&self, len: usize) -> Result<(CudaSlice<f32>, u64)> {
        // SAFETY: the run that it is for writes all of it before anybody reads it.
        let array = unsafe { self.device.alloc::<f32>(len.max(1))? };
        let address = array.device_ptr(&self.stream).0;
        Ok((array, address))
    }

    /// The output, `[B, T, C]`; nothing waits for it.
    pub fn forward(
        &self,
        tensors: &RunTensors,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Storage> {
        let (output, address) = self.array(self.program.output.len())?;
        let addresses = Addresses {
            output: address,
            ..self.addresses(tensors)?
        };
        self.run((&self.forward, &self.commands.forward), &addresses, proceed)?;
        let output = CudaStorage::wrap_cuda_slice(output, self.device.clone());
        Ok(Storage::Cuda(output))
    }

    /// The gradients of inputs, then of parameters, given that of the output; views of one tensor, parameters' at
    /// least.
    pub fn backward(
        &self,
        tensors: &RunTensors,
        dy: &Tensor,
        proceed: impl Fn() -> Result<()>,
    ) -> Result<Vec<Option<Tensor>>> {
        // Gaps between gradients are zero, for sums over all of them.
        let gradients = self
            .device
            .alloc_zeros::<f32>(self.commands.gradients.max(1))?;
        let made = self
            .program
            .inputs
            .iter()
            .zip(&self.commands.input_gradients);
        let arrays = made.map(|(x, &is_made)| self.array(if is_made { x.len() } else { 0 }));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let addresses = Addresses {
            seed: address(dy)?,
            gradients: gradients.device_ptr(&self.stream).0,
            input_gradients: arrays.iter().map(|(_, address)| *address).collect(),
            ..self.addresses(tensors)?
        };
        self.run(
            (&self.backward, &self.commands.backward),
            &addresses,
            proceed,
        )?;
        let tensor = |array, shape: Shape| {
            let storage = CudaStorage::wrap_cuda_slice(array, self.device.clone());
            Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
        };
        let inputs = arrays
            .into_iter()
            .zip(&self.program.inputs)
            .zip(&self.commands.input_gradients);
        let mut found: Vec<Option<Tensor>> = inputs
            .map(|(((array, _), x), is_made)| is_made.then(|| tensor(array, x.dims().into())))
            .collect();
        let all = tensor(gradients, self.commands.gradients.max(1).into());
        for (start, shape) in self
            .commands
            .parameter_gradients
            .iter()
            .zip(&self.program.parameters)
        {
            let view = |start: usize| {
                all.narrow(0, start, shape.iter().product())?
                    .reshape(shape.as_slice())
            };
            found.push(start.map(view).transpose()?);
        }
        Ok(found)
    }
}

/// What a command is called in a profile.
fn name(command: &Command) -> String {
    match command {
        Command::Launch(launch) => launch.kernel.clone(),
        Command::Product(Product { m, n, k, .. }) => format!("product {m} × {n} × {k}"),
    }
}

/// Why a program got no memory, in numbers.
fn does_not_fit(
    device: &CudaDevice,
    program: &Program,
    commands: &Commands,
    error: candle_core::Error,
) -> candle_core::Error {
    let Ok((free, total)) = memory(device) else {
        return error;
    };
    let (batch, needed) = (program.output.b, commands.arena);
    // A tenth for what stands around the network.
    let fitting = (batch as f64 * 0.9 * free as f64 / needed as f64) as usize;
    let gb = |bytes: usize| bytes as f64 / 1e9;
    candle_core::Error::Msg(format!(
        "out of the GPU's memory: a batch of {batch} takes {:.1} GB for the network alone, found {:.1} GB free of \
         {:.1}; a batch of {fitting} fits",
        gb(needed),
        gb(free),
        gb(total)
    ))
}

/// Sets an attribute of a product's description.
fn set<T>(
    ready: &ReadyProduct,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Result<()> {
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: the description was created, and `value` is of the attribute's type.
    let done = unsafe {
        blaslt::set_matmul_desc_attribute(ready.description, attribute, value, size_of::<T>())
    };
    done.map_err(candle_core::Error::wrap)
}

/// Where a contiguous tensor's numbers, f32 or u32, begin on its GPU.
fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((start, _))) = (&*storage, layout.contiguous_offsets())
    else {
        bail!(
            "expected contiguous values on an NVIDIA GPU for {:?}",
            tensor.shape()
        );
    };
    let stream = storage.device.cuda_stream();
    let base = match tensor.dtype() {
        DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
        DType::U32 => storage.as_cuda_slice::<u32>()?.device_ptr(&stream).0,
        other => bail!("expected f32 or u32 on the GPU, found {other:?}"),
    };
    Ok(base + 4 * start as u64)
}

/// The same tensor, at an address that kernels accept.
pub(in crate::program) fn aligned(tensor: Tensor) -> Result<Tensor> {
    if address(&tensor)? % ALIGNMENT == 0 {
        Ok(tensor)
    } else {
        tensor.copy()
    }
}

/// A kernel's argument, as it lies in memory.
enum Value {
    Address(u64),
    U32(u32),
    F32(f32),
}

/// Runs a kernel over a table: a row for each of several tensors of these lengths.
fn over_table(
    device: &CudaDevice,
    kernel: &str,
    table: &[u64],
    lengths: impl ExactSizeIterator<Item = usize>,
    values: &[Value],
) -> Result<()> {
    let (rows, longest) = (lengths.len(), lengths.max().unwrap_or(0));
    let table = device.clone_htod(table)?;
    let function = device.get_or_load_custom_func(kernel, "audiodiff", PTX)?;
    let config = LaunchConfig {
        grid_dim: (longest.div_ceil(PIECE).max(1) as u32, rows as u32, 1),
        block_dim: (BLOCK as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    let first = Value::Address(table.device_ptr(&device.cuda_stream()).0);
    let mut launch = function.builder();
    push(&mut launch, std::slice::from_ref(&first));
    push(&mut launch, values);
    mark(&device.cuda_stream(), || kernel.to_owned())?;
    // SAFETY: the callers below give each kernel the arguments that it declares, and tables of tensors that live.
    unsafe { launch.launch(config) }.map_err(candle_core::Error::wrap)?;
    mark(&device.cuda_stream(), || ELSEWHERE.to_owned())
}

fn push<'a>(launch: &mut LaunchArgs<'a>, values: &'a [Value]) {
    for value in values {
        match value {
            Value::Address(address) => launch.arg(address),
            Value::U32(n) => launch.arg(n),
            Value::F32(x) => launch.arg(x),
        };
    }
}

/// One step of AdamW on all tensors at once, and their averages after it: what [`crate::adam_step`] and
/// [`crate::follow`] do one by one.
pub(crate) fn adam_steps(
    device: &CudaDevice,
    updates: &[Update<'_>],
    step: AdamStep,
    keep: f32,
) -> Result<()> {
    if updates.is_empty() {
        return Ok(());
    }
    let mut table = Vec::with_capacity(6 * updates.len());
    for update in updates {
        for tensor in [update.parameter, update.gradient, update.m, update.v] {
            table.push(address(tensor)?);
        }
        table.push(update.average.map_or(Ok(0), address)?);
        table.push(update.parameter.elem_count() as u64);
    }
    let AdamStep {
        beta1,
        beta2,
        step_size,
        root_correction,
        epsilon,
        decay,
        gradient_scale,
    } = step;
    let numbers = [
        beta1,
        beta2,
        step_size,
        root_correction,
        epsilon,
        decay,
        gradient_scale,
        keep,
    ]
    .map(Value::F32);
    let lengths = updates.iter().map(|update| update.parameter.elem_count());
    over_table(device, "adam_many", &table, lengths, &numbers)
}

/// The sum of the squares of all values of contiguous f32 tensors: one number comes back to the host.
pub(crate) fn square_sum(device: &CudaDevice, tensors: &[&Tensor]) -> Result<f64> {
    if tensors.is_empty() {
        return Ok(0.0);
    }
    let (mut table, mut pieces) = (Vec::with_capacity(3 * tensors.len()), 0);
    for tensor in tensors {
        let n = tensor.elem_count();
        table.extend([address(tensor)?, n as u64, pieces as u64]);
        pieces += n.div_ceil(PIECE);
    }
    let sums = device.alloc_zeros::<f32>(pieces.max(1))?;
    let to = Value::Address(sums.device_ptr(&device.cuda_stream()).0);
    let lengths = tensors.iter().map(|tensor| tensor.elem_count());
    over_table(device, "squares_many", &table, lengths, &[to])?;
    Ok(device.clone_dtoh(&sums)?.into_iter().map(f64::from).sum())
}
