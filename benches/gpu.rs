//! Our side of `benches/gpu.sh`: what a GPU computes, against the processor, and how fast.
//!
//! `gpu PART [--device cpu|cuda] [--precision f32|tf32|bf16] [--quick] [--model MODEL] [--batch N,…]` writes a line of
//! JSON to standard output for each result. Parts: `ops`, `network`, `training` (parity, with verdicts), `render`,
//! `train` (times and memory), `profile`, `memory` (batches that cannot fit), `model FILE` (writes `--model`), and `serve`,
//! which answers the commands of `benches/gpu.py`. `MODEL` is `built-in`, or a preset with weights drawn at random. With
//! `--device cpu` the processor takes the GPU's place: a test of this program, not of a GPU.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use audiodiff::checkpoint::{Checkpoint, StorageType};
use audiodiff::diffusion::Denoiser;
use audiodiff::network::{
    ComputeType, Conditioning, Engine, Network, NetworkConfig, Parameters, UNetConfig, Weights,
};
use audiodiff::noise::Noise;
use audiodiff::optim::{Adam, AdamConfig, Ema};
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff_kernels::{Activation, Map, Norm, Parameter, Program};
use candle_core::{DType, Device, Tensor, Var};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Values by name, on the host.
type Named = BTreeMap<String, Vec<f64>>;

struct Options {
    part: String,
    device: Device,
    precision: String,
    quick: bool,
    model: Option<String>,
    batches: Vec<usize>,
    /// Cases of `ops` that are left out.
    skip: usize,
}

/// Opens a GPU.
#[cfg(feature = "cuda")]
fn cuda() -> Result<Device> {
    Ok(audiodiff_kernels::cuda::device(0)?)
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Device> {
    Err("device: this build has no CUDA, see benches/gpu.sh".into())
}

/// Free and total bytes of the device's memory, if it is a GPU.
fn memory(device: &Device) -> Result<Option<(usize, usize)>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => Ok(Some(audiodiff_kernels::cuda::memory(device)?)),
        _ => Ok(None),
    }
}

/// Lets products in f32 round their operands to TF32.
fn allow_tf32() {
    #[cfg(feature = "cuda")]
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
}

impl Options {
    fn parse() -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value = |flag: &str| {
            let at = arguments.iter().position(|argument| argument == flag)?;
            arguments.get(at + 1).map(String::as_str)
        };
        let numbers = |flag: &str, default: &str| {
            let numbers = value(flag).unwrap_or(default).split(',');
            numbers
                .map(str::parse)
                .collect::<std::result::Result<_, _>>()
        };
        let quick = arguments.iter().any(|argument| argument == "--quick");
        let precision = value("--precision").unwrap_or("f32").to_owned();
        if !["f32", "tf32", "bf16"].contains(&precision.as_str()) {
            return Err(format!("precision: expected f32, tf32 or bf16, found {precision}").into());
        }
        if precision == "tf32" {
            allow_tf32(); // before there are sessions
        }
        Ok(Self {
            part: arguments.first().cloned().unwrap_or_default(),
            device: match value("--device").unwrap_or("cpu") {
                "cpu" => Device::Cpu,
                "cuda" => cuda()?,
                other => return Err(format!("device: expected cpu or cuda, found {other}").into()),
            },
            precision,
            quick,
            model: value("--model").map(str::to_owned),
            batches: numbers("--batch", if quick { "1,2" } else { "1,16,256" })?,
            skip: numbers("--skip", "0")?.first().copied().unwrap_or(0),
        })
    }

    fn compute_type(&self) -> ComputeType {
        match self.precision.as_str() {
            "bf16" => ComputeType::Bf16,
            _ => ComputeType::F32,
        }
    }

    /// The largest error that an op, or a whole network, may make.
    fn bound(&self) -> f64 {
        match self.precision.as_str() {
            "bf16" => 5e-2,
            "tf32" => 2e-2,
            _ => 1e-4,
        }
    }

    fn models(&self, all: &[&str]) -> Vec<String> {
        let all = all.iter().map(|&name| name.to_owned()).collect();
        self.model.clone().map_or(all, |model| vec![model])
    }

    /// Writes a result at once, so that it outlives whatever comes next.
    fn say(&self, mut result: Value) {
        let fields = result.as_object_mut().expect("results are objects");
        fields.insert("part".to_owned(), json!(self.part));
        fields.insert("precision".to_owned(), json!(self.precision));
        println!("{result}");
        std::io::stdout().flush().expect("standard output is open");
    }

    fn rounds(&self) -> usize {
        if self.quick { 2 } else { 9 }
    }
}

/// An error without the traces that some of candle's carry.
fn sentence(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Four digits.
fn short(x: f64) -> f64 {
    format!("{x:.3e}").parse().expect("a number")
}

fn size(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The root mean square of the difference over that of `exact`; NaN where the lengths differ.
fn error(found: &[f64], exact: &[f64]) -> f64 {
    if found.len() != exact.len() {
        return f64::NAN;
    }
    let difference: Vec<f64> = found.iter().zip(exact).map(|(a, b)| a - b).collect();
    size(&difference) / size(exact).max(1e-12)
}

/// The error of all tensors together, and the worst of one that has a share in them, with its name.
fn errors(found: &Named, exact: &Named) -> (f64, f64, String) {
    let flat = |named: &Named| named.values().flatten().copied().collect::<Vec<f64>>();
    let all = size(&flat(exact));
    let mut worst = (0.0, String::new());
    for (name, exact) in exact {
        let error = found
            .get(name)
            .map_or(f64::NAN, |found| error(found, exact));
        let counts = size(exact) > 1e-3 * all || !error.is_finite();
        if counts && (error > worst.0 || error.is_nan()) {
            worst = (error, name.clone());
        }
    }
    (error(&flat(found), &flat(exact)), worst.0, worst.1)
}

fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.detach().to_device(&Device::Cpu)?;
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

/// Seconds of the first call, and of later ones: the median and the least. Later ones end after a few seconds.
fn timed(options: &Options, mut run: impl FnMut() -> Result<()>) -> Result<[f64; 3]> {
    let mut once = || -> Result<f64> {
        let start = Instant::now();
        run()?;
        options.device.synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (first, start) = (once()?, Instant::now());
    let mut times = vec![once()?];
    while times.len() < options.rounds() && start.elapsed() < Duration::from_secs(4) {
        times.push(once()?);
    }
    times.sort_by(f64::total_cmp);
    Ok([first, times[times.len() / 2], times[0]])
}

// ---- Parity of ops. ------------------------------------------------------------------------------------

type Describe = Box<dyn Fn(&mut Program, &[Map]) -> candle_core::Result<Map>>;

struct Case {
    name: String,
    inputs: Vec<[usize; 3]>,
    parameters: Vec<Vec<usize>>,
    describe: Describe,
}

/// Every op for clips of `b` × `t` × `c`, convolved to width `d`; in two groups, with two heads.
fn cases((b, t, c, d): (usize, usize, usize, usize)) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add =
        |name: &str, inputs: &[[usize; 3]], parameters: &[&[usize]], describe: Describe| {
            cases.push(Case {
                name: format!("{name}, {b} × {t} × {c}"),
                inputs: inputs.to_vec(),
                parameters: parameters.iter().map(|shape| shape.to_vec()).collect(),
                describe,
            });
        };
    const NONE: Activation = Activation::None;
    let norm = |affine, film, activation| Norm {
        affine: Parameter(affine),
        film,
        groups: 2,
        activation,
    };
    let (x, weight, bias) = ([b, t, c], Parameter(0), Some(Parameter(1)));
    for k in [1, 3, 5] {
        let of: [&[usize]; 2] = [&[k * c, d], &[d]];
        add(
            &format!("conv {k}"),
            &[x],
            &of,
            Box::new(move |p, x| p.conv(x[0], None, weight, bias, None)),
        );
        add(
            &format!("conv {k} with norm, film, silu, residual"),
            &[x, [b, 1, 2 * c], [b, t, d]],
            &[&[k * c, d], &[d], &[2, c]],
            Box::new(move |p, x| {
                let norm = norm(2, Some(x[1]), Activation::Silu);
                p.conv(x[0], Some(norm), weight, bias, Some(x[2]))
            }),
        );
    }
    for f in [NONE, Activation::Silu, Activation::Gelu] {
        let describe = move |p: &mut Program, x: &[Map]| {
            p.conv(x[0], Some(norm(1, None, f)), weight, None, None)
        };
        add(
            &format!("conv 3 with norm, {f:?}"),
            &[x],
            &[&[3 * c, d], &[2, c]],
            Box::new(describe),
        );
        let describe =
            move |p: &mut Program, x: &[Map]| p.normed(x[0], norm(0, Some(x[1]), f), Some(x[2]));
        add(
            &format!("normed with film, {f:?}"),
            &[x, [b, 1, 2 * c], x],
            &[&[2, c]],
            Box::new(describe),
        );
    }
    add(
        "normed",
        &[x],
        &[&[2, c]],
        Box::new(move |p, x| p.normed(x[0], norm(0, None, NONE), None)),
    );
    add(
        "conv 3 with a residual of one clip",
        &[x, [1, t, d]],
        &[&[3 * c, d], &[d]],
        Box::new(move |p, x| p.conv(x[0], None, weight, bias, Some(x[1]))),
    );
    add(
        "conv of vectors",
        &[[b, 1, c]],
        &[&[c, d], &[d]],
        Box::new(move |p, x| p.conv(x[0], None, weight, bias, None)),
    );
    for heads in [1, 2] {
        let describe = move |p: &mut Program, x: &[Map]| p.attention(x[0], heads);
        add(
            &format!("attention, {heads} heads"),
            &[[b, t, 3 * c]],
            &[],
            Box::new(describe),
        );
    }
    add(
        "downsample",
        &[[b, 2 * t, c]],
        &[],
        Box::new(|p, x| p.downsample(x[0])),
    );
    add("upsample", &[x], &[], Box::new(|p, x| p.upsample(x[0])));
    add("silu", &[[b, 1, c]], &[], Box::new(|p, x| Ok(p.silu(x[0]))));
    add(
        "lookup",
        &[[b, 1, c]],
        &[&[ROWS, c]],
        Box::new(move |p, x| {
            let rows = p.indices(b);
            p.lookup(Parameter(0), rows, x[0])
        }),
    );
    add(
        "add_scaled",
        &[x, x],
        &[],
        Box::new(|p, x| p.add_scaled(x[0], x[1], 0.7)),
    );
    add(
        "down by reshape, a block, up, a skip",
        &[[b, 2 * t, c]],
        &[&[2 * c, d], &[d], &[2, d], &[3 * d, d], &[d, 2 * c]],
        Box::new(move |p, x| {
            let pairs = p.reshape(x[0], t, 2 * c)?;
            let h = p.conv(pairs, None, weight, bias, None)?;
            let h = p.conv(
                h,
                Some(norm(2, None, Activation::Silu)),
                Parameter(3),
                None,
                Some(h),
            )?;
            let pairs = p.conv(h, None, Parameter(4), None, None)?;
            let up = p.reshape(pairs, 2 * t, c)?;
            p.add_scaled(up, x[0], std::f64::consts::FRAC_1_SQRT_2)
        }),
    );
    cases
}

/// Rows of the table that is looked up.
const ROWS: usize = 5;

/// How a case is run.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// [`Engine::run`] forwards and backwards.
    Run,
    /// The same with frozen parameters, forwards.
    Frozen,
    /// [`Engine::reference`].
    Reference,
}

/// Output and gradients of a case, whose values are the same on every device.
fn outcome(
    case: &Case,
    device: &Device,
    dtype: DType,
    compute: ComputeType,
    way: Way,
) -> Result<Named> {
    let mut noise = Noise::new(7);
    let mut draw = |shape: &[usize], scale: f64| -> Result<Var> {
        let x = (noise.normal_tensor(shape, &Device::Cpu)? * scale)?.to_dtype(dtype)?;
        Ok(Var::from_tensor(&x.to_device(device)?)?)
    };
    let inputs: Vec<Var> = case
        .inputs
        .iter()
        .map(|shape| draw(shape, 1.0))
        .collect::<Result<_>>()?;
    // Gains and rows of about one, and weights that keep the variance.
    let scale = |shape: &[usize]| {
        if shape[0] <= ROWS {
            1.0
        } else {
            (shape[0] as f64).powf(-0.5)
        }
    };
    let parameters = case
        .parameters
        .iter()
        .map(|shape| draw(shape, scale(shape)));
    let parameters: Vec<Var> = parameters.collect::<Result<_>>()?;
    let plain = |vars: &[Var]| -> Vec<Tensor> {
        let tensors = vars.iter().map(Var::as_tensor);
        tensors
            .map(|x| {
                if way == Way::Frozen {
                    x.detach()
                } else {
                    x.clone()
                }
            })
            .collect()
    };
    let mut engine = Engine::new(plain(&parameters));
    engine.set_compute_type(compute);
    if way == Way::Frozen {
        engine.freeze();
    }
    let looks_up = case.name.starts_with("lookup");
    let rows = (0..case.inputs[0][0])
        .map(|i| (i * 2 % ROWS) as u32)
        .collect::<Vec<_>>();
    let rows = if looks_up {
        vec![Tensor::new(rows, device)?]
    } else {
        vec![]
    };
    let describe = |p: &mut Program| {
        let maps: Vec<Map> = case
            .inputs
            .iter()
            .map(|&[b, t, c]| p.input(b, t, c))
            .collect();
        (case.describe)(p, &maps)
    };
    let output = match way {
        Way::Reference => engine.reference(describe, &plain(&inputs), &rows)?,
        _ => engine.run((0, 0), describe, &plain(&inputs), &rows)?,
    };
    let mut named = Named::from([("output".to_owned(), host(&output)?)]);
    if way != Way::Frozen {
        let seed = noise
            .normal_tensor(output.shape(), &Device::Cpu)?
            .to_dtype(dtype)?;
        let gradients = (&output * seed.to_device(device)?)?.sum_all()?.backward()?;
        for (kind, vars) in [("input", &inputs), ("parameter", &parameters)] {
            for (i, var) in vars.iter().enumerate() {
                let gradient = gradients
                    .get(var)
                    .ok_or(format!("no gradient of {kind} {i}"))?;
                named.insert(format!("{kind} {i}"), host(gradient)?);
            }
        }
    }
    Ok(named)
}

/// Compares each op, and Adam, with its definition on the processor in f64. After an error that leaves the GPU without
/// answers, another process does the rest.
fn ops(options: &Options) -> Result<()> {
    let large = if options.quick {
        (2, 12, 16, 24)
    } else {
        (4, 130, 192, 256)
    };
    let cases: Vec<Case> = [(3, 7, 6, 10), large].into_iter().flat_map(cases).collect();
    for (i, case) in cases.iter().enumerate().skip(options.skip) {
        let exact = outcome(
            case,
            &Device::Cpu,
            DType::F64,
            ComputeType::F32,
            Way::Reference,
        )?;
        let mut result = json!({"case": case.name, "bound": options.bound()});
        let (mut ok, mut failed) = (true, false);
        for (way, key) in [
            (Way::Run, "run"),
            (Way::Frozen, "frozen"),
            (Way::Reference, "reference"),
        ] {
            let found = outcome(
                case,
                &options.device,
                DType::F32,
                options.compute_type(),
                way,
            );
            failed |= found.is_err();
            result[key] = match found {
                Ok(found) => {
                    let errors = found.iter().map(|(name, x)| (name, error(x, &exact[name])));
                    let errors: Vec<(&String, f64)> = errors.collect();
                    ok &=
                        way == Way::Reference || errors.iter().all(|&(_, x)| x <= options.bound());
                    let shortened = errors.into_iter().map(|(name, x)| (name.clone(), short(x)));
                    shortened.collect()
                }
                Err(error) => {
                    ok &= way == Way::Reference;
                    json!({"error": sentence(error)})
                }
            };
        }
        result["ok"] = json!(ok);
        options.say(result);
        let answers = || host(&Tensor::ones(1, DType::F32, &options.device)?);
        if failed && answers().is_err() {
            let arguments = std::env::args()
                .skip(1)
                .take_while(|argument| argument != "--skip");
            let mut command = std::process::Command::new(std::env::current_exe()?);
            command
                .args(arguments)
                .args(["--skip", &(i + 1).to_string()]);
            let done = command.status()?.success();
            return if done {
                Ok(())
            } else {
                Err("a later case ended the program".into())
            };
        }
    }
    adam(options)
}

/// Three clipped steps with an average, on tensors of uneven sizes, against the processor.
fn adam(options: &Options) -> Result<()> {
    let run = |device: &Device| -> Result<[Named; 2]> {
        let mut noise = Noise::new(3);
        let shapes = [vec![1], vec![7, 3], vec![576, 192], vec![100_003]];
        let mut draws = || -> Result<BTreeMap<String, Tensor>> {
            let draw = |(i, shape): (usize, &Vec<usize>)| {
                Ok((
                    i.to_string(),
                    noise.normal_tensor(shape.as_slice(), &Device::Cpu)?,
                ))
            };
            shapes.iter().enumerate().map(draw).collect()
        };
        let parameters = Parameters::from_weights(&draws()?, device)?;
        let (mut adam, mut ema) = (
            Adam::new(&parameters, AdamConfig::default())?,
            Ema::new(&parameters, 6.94)?,
        );
        for step in 1..=3u32 {
            let slopes = draws()?;
            let mut loss = Tensor::zeros((), DType::F32, device)?;
            for (name, var) in parameters.iter() {
                // The last gradient stands out, and is clipped.
                let slope = (slopes[name].to_device(device)? * f64::from(step * step * step))?;
                loss = (loss + (var.as_tensor() * slope)?.sum_all()?)?;
            }
            adam.step_with(
                &parameters,
                &loss.backward()?,
                1e-2,
                (&mut ema, step.into()),
            )?;
        }
        Ok([hosted(&parameters.snapshot()?)?, hosted(ema.weights())?])
    };
    let [weights, average] = run(&options.device)?;
    let [exact, exact_average] = run(&Device::Cpu)?;
    let found = [
        errors(&weights, &exact).1,
        errors(&average, &exact_average).1,
    ];
    let [weights, average] = found.map(short);
    let ok = found.iter().all(|&x| x <= 1e-5);
    options.say(
        json!({"case": "adam", "weights": weights, "average": average, "bound": 1e-5, "ok": ok}),
    );
    Ok(())
}

// ---- Networks. -----------------------------------------------------------------------------------------

fn hosted(weights: &BTreeMap<String, Tensor>) -> Result<Named> {
    weights
        .iter()
        .map(|(name, x)| Ok((name.clone(), host(x)?)))
        .collect()
}

/// The built-in model; or it with the network of a preset instead, whose weights are drawn, those too that would begin
/// at zero and silence the gradients of others.
fn checkpoint(name: &str) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::embedded()?;
    if name != "built-in" {
        let network = NetworkConfig::UNet(UNetConfig::preset(name)?);
        let mut noise = Noise::new(5);
        let parameters = network.init(checkpoint.config.dims(), &mut noise, &Device::Cpu)?;
        checkpoint.config.network = network;
        checkpoint.weights = parameters.snapshot()?;
        for weight in checkpoint.weights.values_mut() {
            *weight = (&*weight + (noise.normal_tensor(weight.shape(), &Device::Cpu)? * 0.02)?)?;
        }
    }
    Ok(checkpoint)
}

/// One batch for the raw network, and what it should say.
struct Batch {
    x: Tensor,
    c_noise: Tensor,
    cond: Conditioning,
    target: Tensor,
}

impl Batch {
    /// The same values on every device; beyond 16 clips they repeat.
    fn random(
        checkpoint: &Checkpoint,
        seed: u64,
        (size, frames): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let (dims, mut noise, few) = (checkpoint.config.dims(), Noise::new(seed), size.min(16));
        let mut draw = |shape: &[usize]| -> Result<Tensor> {
            let x = noise
                .normal_tensor([&[few], shape].concat(), &Device::Cpu)?
                .to_device(device)?;
            let copies = vec![x; size.div_ceil(few)];
            Ok(Tensor::cat(&copies, 0)?.narrow(0, 0, size)?.contiguous()?)
        };
        let classes = (0..size).map(|i| 1 + (i % dims.labels) as u32);
        Ok(Self {
            x: draw(&[frames, dims.width])?,
            c_noise: draw(&[])?,
            cond: Conditioning {
                classes: Tensor::from_iter(classes, device)?,
                descriptors: draw(&[dims.descriptors])?,
                attributes: 0,
            },
            target: draw(&[frames, dims.outputs()])?,
        })
    }

    fn forward(&self, network: &dyn Network) -> Result<Tensor> {
        Ok(network.forward(&self.x, &self.c_noise, &self.cond)?)
    }

    fn loss(&self, output: &Tensor) -> Result<Tensor> {
        Ok((output - &self.target)?.sqr()?.mean_all()?)
    }
}

/// A network that learns.
struct Trainee {
    parameters: Parameters,
    network: Box<dyn Network>,
    adam: Adam,
    ema: Ema,
    steps: u64,
}

impl Trainee {
    fn new(checkpoint: &Checkpoint, compute: ComputeType, device: &Device) -> Result<Self> {
        let parameters = Parameters::from_weights(&checkpoint.weights, device)?;
        let (config, mut weights) = (&checkpoint.config, &parameters);
        let mut network = config
            .network
            .build(config.dims(), &mut weights as &mut dyn Weights)?;
        network.engine().set_compute_type(compute);
        Ok(Self {
            network,
            adam: Adam::new(&parameters, AdamConfig::default())?,
            ema: Ema::new(&parameters, 6.94)?,
            steps: 0,
            parameters,
        })
    }

    /// Forward, mean squared error, backward, clipped AdamW and the average of the weights; the loss stays where it is.
    fn step(&mut self, batch: &Batch, rate: f64) -> Result<Tensor> {
        let loss = batch.loss(&batch.forward(&*self.network)?)?;
        let gradients = loss.backward()?;
        self.steps += 1;
        let average = (&mut self.ema, self.steps);
        self.adam
            .step_with(&self.parameters, &gradients, rate, average)?;
        Ok(loss)
    }

    /// The output for a batch, and the gradients of all parameters.
    fn gradients(&self, batch: &Batch) -> Result<(Tensor, BTreeMap<String, Tensor>)> {
        let output = batch.forward(&*self.network)?;
        let gradients = batch.loss(&output)?.backward()?;
        let of = |(name, var): (&str, &Var)| {
            let gradient = gradients.get(var).ok_or(format!("no gradient of {name}"))?;
            Ok((name.to_owned(), gradient.clone()))
        };
        Ok((
            output,
            self.parameters.iter().map(of).collect::<Result<_>>()?,
        ))
    }
}

/// Outputs and gradients of whole networks against the processor's in f32, and the processor's own in this precision.
fn network(options: &Options) -> Result<()> {
    for name in options.models(&["built-in", "nano", "tiny"]) {
        let checkpoint = checkpoint(&name)?;
        let frames = if options.quick {
            32
        } else {
            checkpoint.config.frames()
        };
        for size in [3, 4] {
            let run = |device: &Device, compute| -> Result<(Vec<f64>, Named)> {
                let batch = Batch::random(&checkpoint, 1, (size, frames), device)?;
                let (output, gradients) =
                    Trainee::new(&checkpoint, compute, device)?.gradients(&batch)?;
                Ok((host(&output)?, hosted(&gradients)?))
            };
            let exact = run(&Device::Cpu, ComputeType::F32)?;
            let measure = |(output, gradients): &(Vec<f64>, Named)| {
                (error(output, &exact.0), errors(gradients, &exact.1))
            };
            let (output, (all, worst, of)) =
                measure(&run(&options.device, options.compute_type())?);
            let mut result = json!({"model": name, "batch": size, "frames": frames, "output": short(output),
                "gradients": short(all), "worst_gradient": short(worst), "worst_gradient_of": of,
                "bound": options.bound(), "bound_of_gradients": 2.0 * options.bound(),
                "ok": output <= options.bound() && all <= 2.0 * options.bound()});
            if options.precision == "bf16" {
                let (output, (all, worst, _)) =
                    measure(&run(&Device::Cpu, options.compute_type())?);
                result["processor"] = json!({"output": short(output), "gradients": short(all), "worst_gradient": short(worst)});
            }
            options.say(result);
        }
    }
    Ok(())
}

/// A short training of the built-in network, against the processor's in f32: losses, and how far off the weights end,
/// in parts of the way that they went. Adam gives a gradient that is nearly zero the same step as a large one, so that
/// rounding alone turns some of the way.
fn training(options: &Options) -> Result<()> {
    let checkpoint = checkpoint(options.model.as_deref().unwrap_or("built-in"))?;
    let (size, frames, steps) = match options.quick {
        true => (2, 32, 5),
        false => (16, checkpoint.config.frames(), 20),
    };
    let run = |device: &Device, compute| -> Result<(Vec<f64>, [Named; 2])> {
        let batches = (0..4).map(|seed| Batch::random(&checkpoint, seed, (size, frames), device));
        let batches: Vec<Batch> = batches.collect::<Result<_>>()?;
        let mut trainee = Trainee::new(&checkpoint, compute, device)?;
        let losses = (0..steps).map(|i| Ok(host(&trainee.step(&batches[i % 4], 3e-4)?)?[0]));
        let losses = losses.collect::<Result<_>>()?;
        Ok((
            losses,
            [
                hosted(&trainee.parameters.snapshot()?)?,
                hosted(trainee.ema.weights())?,
            ],
        ))
    };
    let start = hosted(&checkpoint.weights)?;
    let way = |weights: &Named| -> Named {
        let gone = |(name, x): (&String, &Vec<f64>)| {
            (
                name.clone(),
                x.iter().zip(&start[name]).map(|(a, b)| a - b).collect(),
            )
        };
        weights.iter().map(gone).collect()
    };
    let (losses, weights) = run(&options.device, options.compute_type())?;
    let exact = run(&Device::Cpu, ComputeType::F32)?;
    let [gap, average_gap] = [0, 1].map(|i| errors(&way(&weights[i]), &way(&exact.1[i])).0);
    let off = losses
        .iter()
        .zip(&exact.0)
        .map(|(a, b)| (a / b - 1.0).abs());
    let off = off.fold(
        0.0,
        |most: f64, x| if x > most || x.is_nan() { x } else { most },
    );
    let (bound, bound_of_way) = match options.precision.as_str() {
        "bf16" => (2e-2, 0.25),
        "tf32" => (1e-2, 0.1),
        _ => (1e-3, 0.02),
    };
    let shortened = |losses: &[f64]| losses.iter().map(|&x| short(x)).collect::<Vec<_>>();
    options.say(json!({"batch": size, "frames": frames, "losses": shortened(&losses), "exact": shortened(&exact.0),
        "losses_off": short(off), "weights_off_way": short(gap), "average_off_way": short(average_gap),
        "bound": bound, "bound_of_way": bound_of_way, "ok": off <= bound && gap <= bound_of_way}));
    Ok(())
}

// ---- Times and memory. ---------------------------------------------------------------------------------

/// Milliseconds of whole sounds, and of the denoiser alone.
fn render(options: &Options) -> Result<()> {
    let (checkpoint, compute) = (Checkpoint::embedded()?, options.compute_type());
    let mut renderer = Renderer::new(&checkpoint, &options.device)?;
    renderer.engine().set_compute_type(compute);
    let config = &checkpoint.config;
    let mut denoiser = config.denoiser(
        &mut Parameters::from_weights(&checkpoint.weights, &options.device)?.snapshot()?,
    )?;
    denoiser.network.engine().freeze();
    denoiser.network.engine().set_compute_type(compute);
    let say = |what: &str, size: usize, times: [f64; 3]| {
        let [first, median, least] = times.map(|seconds| short(1e3 * seconds));
        options.say(json!({"what": what, "batch": size, "first_ms": first, "median_ms": median, "least_ms": least,
            "median_ms_each": short(median / size as f64)}));
    };
    for &size in &options.batches {
        let batch = Batch::random(&checkpoint, 1, (size, config.frames()), &options.device)?;
        let sigma = Tensor::ones(size, DType::F32, &options.device)?;
        let denoise = || {
            denoiser.denoise(&batch.x, &sigma, &batch.cond)?;
            Ok(())
        };
        say("denoiser", size, timed(options, denoise)?);
        for class in [Some("kick"), None] {
            let class = class.map(str::to_owned);
            let what = format!("sounds, {}", class.as_deref().unwrap_or("any class"));
            let settings = RenderSettings {
                class,
                ..renderer.settings()
            };
            let seeds: Vec<u64> = (0..size as u64).collect();
            let whole = || {
                let sounds =
                    renderer.render_batch(&settings, &seeds, &mut |_| ControlFlow::Continue(()))?;
                let sounding = |sound: &audiodiff::render::Rendered| {
                    sound
                        .clip
                        .channels()
                        .concat()
                        .iter()
                        .any(|x| x.abs() > 1e-3)
                };
                if sounds.len() == size && sounds.iter().all(sounding) {
                    Ok(())
                } else {
                    Err("expected a sound for each seed, found silence".into())
                }
            };
            say(&what, size, timed(options, whole)?);
        }
    }
    Ok(())
}

/// The most bytes that the GPU held while `run` ran, beyond those that are held already.
fn peak(
    options: &Options,
    before: usize,
    run: impl FnOnce() -> Result<()>,
) -> Result<Option<usize>> {
    let (done, least) = (AtomicBool::new(false), AtomicUsize::new(usize::MAX));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Ok(Some((free, _))) = memory(&options.device) {
                    least.fetch_min(free, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let ran = run();
        done.store(true, Ordering::Relaxed);
        ran
    })?;
    let is_gpu = memory(&options.device)?.is_some();
    Ok(is_gpu.then(|| before.saturating_sub(least.into_inner())))
}

/// Clips a second of training, and the memory that it takes.
fn train(options: &Options) -> Result<()> {
    let before = memory(&options.device)?.map_or(0, |(free, _)| free);
    for name in options.models(&["nano", "built-in"]) {
        let checkpoint = checkpoint(&name)?;
        for &size in &options.batches {
            options.device.synchronize()?; // what was freed is given back
            let batch = Batch::random(
                &checkpoint,
                1,
                (size, checkpoint.config.frames()),
                &options.device,
            )?;
            let mut trainee = Trainee::new(&checkpoint, options.compute_type(), &options.device)?;
            let mut step = || trainee.step(&batch, 1e-6).map(drop);
            let [first, median, least] = timed(options, &mut step)?;
            let peak = peak(options, before, || {
                (0..5).try_for_each(|_| step())?;
                Ok(options.device.synchronize()?)
            })?;
            options.say(
                json!({"model": name, "batch": size, "first_ms": short(1e3 * first),
                "median_ms": short(1e3 * median), "least_ms": short(1e3 * least),
                "clips_per_second": short(size as f64 / median),
                "peak_mib": peak.map(|bytes| bytes >> 20)}),
            );
        }
    }
    Ok(())
}

/// Which kernels a training step's time goes to: milliseconds a step.
#[cfg(feature = "cuda")]
fn profile(options: &Options) -> Result<()> {
    let Device::Cuda(device) = &options.device else {
        options.say(json!({"skipped": "only a GPU has kernels to time"}));
        return Ok(());
    };
    let checkpoint = checkpoint(options.model.as_deref().unwrap_or("built-in"))?;
    let size = if options.quick { 2 } else { 64 };
    let batch = Batch::random(
        &checkpoint,
        1,
        (size, checkpoint.config.frames()),
        &options.device,
    )?;
    let mut trainee = Trainee::new(&checkpoint, options.compute_type(), &options.device)?;
    let mut steps = |count: usize| -> candle_core::Result<()> {
        let mut step = || trainee.step(&batch, 1e-6).map(drop);
        let done = (0..count).try_for_each(|_| step());
        done.map_err(|error| candle_core::Error::Msg(sentence(error)))?;
        options.device.synchronize()
    };
    steps(3)?;
    let start = Instant::now();
    steps(5)?;
    let plain = start.elapsed().as_secs_f64() / 5.0;
    let kernels = audiodiff_kernels::cuda::profile(device, || steps(5))?;
    let total: f64 = kernels.iter().map(|(_, _, ms)| ms).sum();
    let launches: usize = kernels.iter().map(|(_, count, _)| count).sum();
    options.say(
        json!({"batch": size, "step_ms": short(1e3 * plain), "profiled_step_ms": short(total / 5.0),
        "marks": launches / 5}),
    );
    for (name, count, ms) in kernels.into_iter().take(40) {
        options.say(
            json!({"batch": size, "kernel": name, "ms": short(ms / 5.0), "share": short(ms / total),
            "count": count as f64 / 5.0}),
        );
    }
    Ok(())
}

#[cfg(not(feature = "cuda"))]
fn profile(options: &Options) -> Result<()> {
    options.say(json!({"skipped": "this build has no CUDA"}));
    Ok(())
}

/// Larger and larger batches until one does not fit: that must be said in an error, and a small one must fit after it.
fn out_of_memory(options: &Options) -> Result<()> {
    let Some((_, total)) = memory(&options.device)? else {
        options.say(json!({"skipped": "only a GPU's memory is filled"}));
        return Ok(());
    };
    let checkpoint = checkpoint("built-in")?;
    let frames = checkpoint.config.frames();
    let step = |size: usize| -> Result<f64> {
        let batch = Batch::random(&checkpoint, 1, (size, frames), &options.device)?;
        let mut trainee = Trainee::new(&checkpoint, options.compute_type(), &options.device)?;
        Ok(host(&trainee.step(&batch, 1e-6)?)?[0])
    };
    let usual = total as u64 / checkpoint.config.network.training_bytes(frames);
    for factor in 1..=6 {
        let size = (usual as usize) << factor >> 2;
        match step(size) {
            Ok(loss) => {
                options.say(json!({"batch": size, "loss": short(loss), "ok": loss.is_finite()}));
            }
            Err(error) => {
                options.say(json!({"batch": size, "error": sentence(error), "ok": true}));
                break;
            }
        }
    }
    let after = step(16);
    options.say(json!({"batch": 16, "ok": after.is_ok(), "error": after.err().map(sentence)}));
    Ok(())
}

/// Answers `train MODEL BATCH`, `step TIMES` (seconds of each), `release` and `compare FILE MODEL` (writes a batch, what
/// the network makes of it, and the gradients), each with a line.
fn serve(options: &Options) -> Result<()> {
    let answer = |answer: Result<String>| {
        println!(
            "{}",
            answer.unwrap_or_else(|error| format!("error: {}", sentence(error)))
        );
        std::io::stdout().flush().expect("the client listens");
    };
    answer(Ok("ready".to_owned()));
    let mut workload: Option<(Trainee, Batch)> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let prepare = |name: &str, size: usize| -> Result<(Trainee, Batch)> {
            let checkpoint = checkpoint(name)?;
            let shape = (size, checkpoint.config.frames());
            let batch = Batch::random(&checkpoint, 1, shape, &options.device)?;
            Ok((
                Trainee::new(&checkpoint, options.compute_type(), &options.device)?,
                batch,
            ))
        };
        let mut run = |words: &[&str]| -> Result<String> {
            match words {
                ["train", name, size] => {
                    workload = None;
                    workload = Some(prepare(name, size.parse()?)?);
                }
                ["release"] => workload = None,
                ["step", times] => {
                    let (trainee, batch) = workload.as_mut().ok_or("nothing is prepared")?;
                    options.device.synchronize()?;
                    let (start, times) = (Instant::now(), times.parse::<u32>()?);
                    (0..times).try_for_each(|_| trainee.step(batch, 1e-6).map(drop))?;
                    options.device.synchronize()?;
                    return Ok((start.elapsed() / times).as_secs_f64().to_string());
                }
                ["compare", file, name] => {
                    let (trainee, batch) = prepare(name, 4)?;
                    let (output, gradients) = trainee.gradients(&batch)?;
                    let named = gradients
                        .into_iter()
                        .map(|(name, x)| (format!("gradient.{name}"), x));
                    let mut tensors: HashMap<String, Tensor> = named.collect();
                    let Batch {
                        x,
                        c_noise,
                        cond,
                        target,
                    } = batch;
                    let more = [
                        ("x", x),
                        ("c_noise", c_noise),
                        ("classes", cond.classes),
                        ("descriptors", cond.descriptors),
                        ("target", target),
                        ("output", output),
                    ];
                    tensors.extend(more.map(|(name, x)| (name.to_owned(), x)));
                    candle_core::safetensors::save(&tensors, file)?;
                }
                other => return Err(format!("unknown command {other:?}").into()),
            }
            Ok("ready".to_owned())
        };
        answer(run(&line.split_whitespace().collect::<Vec<_>>()));
    }
    Ok(())
}

fn run() -> Result<()> {
    let options = Options::parse()?;
    match options.part.as_str() {
        "ops" => ops(&options),
        "network" => network(&options),
        "training" => training(&options),
        "render" => render(&options),
        "train" => train(&options),
        "profile" => profile(&options),
        "memory" => out_of_memory(&options),
        "serve" => serve(&options),
        "model" => {
            let to = std::env::args()
                .nth(2)
                .ok_or("model: expected a file to write")?;
            let model = checkpoint(options.model.as_deref().unwrap_or("nano"))?;
            Ok(model.save(Path::new(&to), StorageType::F32)?)
        }
        _ => {
            eprintln!("gpu: nothing to time alone, run benches/gpu.sh");
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gpu: {}", sentence(error));
            ExitCode::FAILURE
        }
    }
}
