//! Our side of `benches/vs_torch.py`: a server that runs the shipped network at its client's word.
//!
//! Started as `peer --model FILE [--precision f32|bf16]`, it says `ready`, then answers each line on
//! standard input with one line: `forward BATCH` and `train BATCH` prepare a workload, `step TIMES` runs
//! it and says how many seconds each took, `memory` says the process's peak resident MiB, and
//! `compare IN OUT` writes output, loss and gradients for given inputs. What cannot be done is
//! answered with `error: …`. `RAYON_NUM_THREADS` sets the number of threads.

use std::collections::HashMap;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use audiodiff::checkpoint::Checkpoint;
use audiodiff::network::{ComputeType, Conditioning, Network, Parameters, Weights};
use audiodiff::noise::Noise;
use audiodiff::optim::{Adam, AdamConfig, Ema};
use candle_core::{Device, Tensor};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn precision(name: &str) -> Result<ComputeType> {
    match name {
        "f32" => Ok(ComputeType::F32),
        "bf16" => Ok(ComputeType::Bf16),
        other => Err(format!("precision: expected f32 or bf16, found `{other}`").into()),
    }
}

fn build(
    checkpoint: &Checkpoint,
    precision: ComputeType,
    weights: &mut dyn Weights,
) -> Result<Box<dyn Network>> {
    let config = &checkpoint.config;
    let mut network = config.network.build(config.dims(), weights)?;
    network.engine().set_compute_type(precision);
    Ok(network)
}

/// One batch for the raw network, and what it should say.
struct Batch {
    x: Tensor,
    c_noise: Tensor,
    cond: Conditioning,
    target: Tensor,
}

impl Batch {
    fn random(checkpoint: &Checkpoint, size: usize) -> Result<Self> {
        let (config, mut noise) = (&checkpoint.config, Noise::new(1));
        let dims = config.dims();
        let shape = |width| (size, config.frames(), width);
        let labels = vec![(dims.labels > 0).then_some(0); size];
        let descriptors = noise.normals(size * dims.descriptors);
        Ok(Self {
            x: noise.normal_tensor(shape(dims.width), &Device::Cpu)?,
            c_noise: noise.normal_tensor(size, &Device::Cpu)?,
            cond: Conditioning::new(&labels, &descriptors, &Device::Cpu)?,
            target: noise.normal_tensor(shape(dims.outputs()), &Device::Cpu)?,
        })
    }

    fn load(path: &Path) -> Result<Self> {
        let mut tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
        let mut take = |name: &str| {
            let tensor = tensors.remove(name);
            tensor.ok_or_else(|| format!("{}: no tensor `{name}`", path.display()))
        };
        Ok(Self {
            x: take("x")?,
            c_noise: take("c_noise")?,
            cond: Conditioning {
                classes: take("classes")?,
                descriptors: take("descriptors")?,
                attributes: 0,
            },
            target: take("target")?,
        })
    }

    fn forward(&self, network: &dyn Network) -> Result<Tensor> {
        Ok(network.forward(&self.x, &self.c_noise, &self.cond)?)
    }

    fn loss(&self, output: &Tensor) -> Result<Tensor> {
        Ok((output - &self.target)?.sqr()?.mean_all()?)
    }
}

/// Something to be timed.
type Workload = Box<dyn FnMut() -> Result<()>>;

fn forward(checkpoint: &Checkpoint, precision: ComputeType, size: usize) -> Result<Workload> {
    let mut network = build(checkpoint, precision, &mut checkpoint.weights.clone())?;
    network.engine().freeze();
    let batch = Batch::random(checkpoint, size)?;
    Ok(Box::new(move || {
        black_box(batch.forward(&*network)?);
        Ok(())
    }))
}

/// Forward, mean squared error, backward, clipped AdamW, and the average of the weights.
fn train(checkpoint: &Checkpoint, precision: ComputeType, size: usize) -> Result<Workload> {
    let parameters = Parameters::from_weights(&checkpoint.weights, &Device::Cpu)?;
    let network = build(checkpoint, precision, &mut &parameters)?;
    let batch = Batch::random(checkpoint, size)?;
    let mut adam = Adam::new(&parameters, AdamConfig::default())?;
    let (mut ema, mut steps) = (Ema::new(&parameters, 6.94)?, 0);
    Ok(Box::new(move || {
        let gradients = batch.loss(&batch.forward(&*network)?)?.backward()?;
        steps += 1;
        adam.step(&parameters, &gradients, 1e-6)?;
        Ok(ema.update(&parameters, steps)?)
    }))
}

/// Writes `output`, `loss` and `gradient.NAME` of every parameter.
fn compare(checkpoint: &Checkpoint, precision: ComputeType, from: &str, to: &str) -> Result<()> {
    let parameters = Parameters::from_weights(&checkpoint.weights, &Device::Cpu)?;
    let network = build(checkpoint, precision, &mut &parameters)?;
    let batch = Batch::load(Path::new(from))?;
    let output = batch.forward(&*network)?;
    let loss = batch.loss(&output)?;
    let gradients = loss.backward()?;
    let mut tensors = HashMap::from([("output".to_owned(), output), ("loss".to_owned(), loss)]);
    for (name, var) in parameters.iter() {
        let gradient = gradients.get(var).ok_or(format!("no gradient of {name}"))?;
        tensors.insert(format!("gradient.{name}"), gradient.clone());
    }
    Ok(candle_core::safetensors::save(&tensors, to)?)
}

/// Peak resident MiB of this process.
fn memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.ok_or("no VmHWM")?.parse::<f64>()? / 1024.0)
}

/// Answers one line on standard output, which the client waits for.
fn answer(answer: Result<String>) {
    println!("{}", answer.unwrap_or_else(|e| format!("error: {e}")));
    std::io::stdout().flush().expect("the client listens");
}

fn serve(model: &str, precision: &str) -> Result<()> {
    let precision = crate::precision(precision)?;
    let checkpoint = audiodiff::import::load(Path::new(model))?;
    answer(Ok("ready".to_owned()));
    let mut workload: Option<Workload> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut run = |words: &[&str]| -> Result<String> {
            match words {
                ["forward", size] => {
                    workload = Some(forward(&checkpoint, precision, size.parse()?)?);
                }
                ["train", size] => workload = Some(train(&checkpoint, precision, size.parse()?)?),
                ["compare", from, to] => compare(&checkpoint, precision, from, to)?,
                ["memory"] => return Ok(memory()?.to_string()),
                ["step", times] => {
                    let step = workload.as_mut().ok_or("nothing is prepared")?;
                    let (start, times) = (Instant::now(), times.parse::<u32>()?);
                    (0..times).try_for_each(|_| step())?;
                    return Ok((start.elapsed() / times).as_secs_f64().to_string());
                }
                other => return Err(format!("unknown command {other:?}").into()),
            }
            Ok("ready".to_owned())
        };
        answer(run(&line.split_whitespace().collect::<Vec<_>>()));
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).map(String::as_str)
    };
    match value("--model") {
        Some(model) => {
            if let Err(error) = serve(model, value("--precision").unwrap_or("f32")) {
                answer(Err(error));
            }
        }
        None => eprintln!("peer: nothing to time alone, run benches/vs_torch.py"),
    }
}
