//! One denoiser evaluation and one whole training step of the two smaller presets, and a whole sound of the built-in
//! model, on the CPU, with the binary's allocator.

#![allow(missing_docs)] // criterion's macros define undocumented functions

use std::hint::black_box;

use audiodiff::diffusion::objective::Objective;
use audiodiff::diffusion::{
    Denoiser, Modulation, ModulationSpectrum, Preconditioned, Preconditioning, Target,
};
use audiodiff::network::{Conditioning, NetworkConfig, NetworkDims, UNetConfig, Weights};
use audiodiff::noise::Noise;
use audiodiff::optim::{Adam, AdamConfig, Ema};
use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DIMS: NetworkDims = NetworkDims {
    width: 128,
    gates: true,
    labels: 12,
    descriptors: 5,
};
const FRAMES: usize = 384;

/// That of noise: which numbers it holds costs no time.
fn spectrum() -> ModulationSpectrum {
    let clip = Noise::new(3).normal_tensor((FRAMES, DIMS.width), &Device::Cpu);
    let mut clips = std::iter::once(clip);
    ModulationSpectrum::measure(&mut clips, FRAMES, DIMS.width).expect("a clip")
}

fn bench(c: &mut Criterion) {
    let device = Device::Cpu;
    for preset in ["nano", "tiny"] {
        let config = NetworkConfig::UNet(UNetConfig::preset(preset).expect("a known preset"));
        let mut noise = Noise::new(1);
        let parameters = config.init(DIMS, &mut noise, &device).expect("valid sizes");
        let wrap = |weights: &mut dyn Weights| Preconditioned {
            network: config.build(DIMS, weights).expect("its own parameters"),
            preconditioning: Preconditioning::Modulation(Modulation::new(spectrum())),
        };
        let denoiser = wrap(&mut parameters.snapshot().expect("its own parameters"));
        for batch in [1, 16] {
            let x = noise
                .normal_tensor((batch, FRAMES, DIMS.width), &device)
                .expect("a batch");
            let cond = Conditioning::new(&vec![Some(0); batch], &vec![0.0; 5 * batch], &device)
                .expect("a batch");
            let sigma = Tensor::ones(batch, candle_core::DType::F32, &device).expect("a batch");
            c.bench_function(&format!("{preset}/denoise/{batch}"), |b| {
                b.iter(|| {
                    black_box(
                        denoiser
                            .denoise(&x, &sigma, &cond)
                            .expect("matching shapes"),
                    )
                });
            });
        }
        let clean = noise
            .normal_tensor((16, FRAMES, DIMS.width), &device)
            .expect("a batch");
        let cond = Conditioning::new(&[Some(0); 16], &[0.0; 80], &device).expect("a batch");
        let objective = Objective::new(Target::X, 1.0);
        let sigmas = objective.draw_sigmas(16, &mut noise);
        let unit = noise
            .normal_tensor(clean.shape(), &device)
            .expect("a batch");
        let trained = wrap(&mut &parameters);
        let mut adam = Adam::new(&parameters, AdamConfig::default()).expect("its own parameters");
        let mut ema = Ema::new(&parameters, 6.94).expect("its own parameters");
        let mut step = 0;
        c.bench_function(&format!("{preset}/training step/16"), |b| {
            b.iter(|| {
                let loss = objective
                    .losses(&trained, None, &clean, &cond, &sigmas, &unit)
                    .and_then(|losses| Ok(losses.mean_all()?))
                    .expect("matching shapes");
                let gradients = loss.backward().expect("every op has a gradient");
                step += 1;
                adam.step(&parameters, &gradients, 1e-6).expect("finite");
                ema.update(&parameters, step).expect("its own parameters");
            });
        });
    }
}

/// From a seed to a finished sound, of a short class and of a long one, in the model's own way.
#[cfg(feature = "embedded-model")]
fn render(c: &mut Criterion) {
    use audiodiff::checkpoint::Checkpoint;
    use audiodiff::render::{RenderSettings, Renderer};

    let model = Checkpoint::embedded().expect("the built-in model");
    let renderer = Renderer::new(&model, &Device::Cpu).expect("the built-in model");
    for name in ["kick", "cymbal"] {
        let settings = RenderSettings {
            class: Some(name.to_owned()),
            ..RenderSettings::of(&model.config)
        };
        let mut seed = 0;
        c.bench_function(&format!("render/{name}"), |b| {
            b.iter(|| {
                seed += 1;
                black_box(renderer.render(&settings, seed).expect("a sound"))
            });
        });
    }
}

#[cfg(not(feature = "embedded-model"))]
fn render(_: &mut Criterion) {}

criterion_group! {
    name = network;
    config = Criterion::default().sample_size(10);
    targets = bench, render
}
criterion_main!(network);
