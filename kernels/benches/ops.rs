//! The ops of the shipped network at its sizes, in both precisions, forward and with the way back.
//!
//! Throughput is in multiplications and additions of the definition, so that forms that need fewer are
//! seen to be faster than the processor.

#![allow(missing_docs)] // criterion's macros define undocumented functions

use std::hint::black_box;

use audiodiff_kernels::{Activation, ComputeType, Engine, Map, Norm, Parameter, Program};
use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Frames and channels of the three levels.
const LEVELS: [(usize, usize); 3] = [(384, 144), (192, 192), (96, 256)];
const HEADS: usize = 4;

/// Numbers of about half a unit.
fn numbers(shape: &[usize]) -> Result<Tensor> {
    let n = shape.iter().product::<usize>();
    Tensor::arange(0f32, n as f32, &Device::Cpu)?
        .sin()?
        .reshape(shape)
}

/// Times `describe` over one map, untracked, then with all gradients.
fn op(
    c: &mut Criterion,
    name: &str,
    flops: usize,
    (x, parameters): (&[usize], &[&[usize]]),
    compute_type: ComputeType,
    describe: impl Fn(&mut Program, Map) -> Result<Map> + Copy,
) -> Result<()> {
    let vars: Vec<Var> = parameters
        .iter()
        .map(|shape| Var::from_tensor(&numbers(shape)?))
        .collect::<Result<_>>()?;
    let whole = |p: &mut Program| {
        let map = p.input(x[0], x[1], x[2]);
        describe(p, map)
    };
    let engine = |tensors: Vec<Tensor>| {
        let mut engine = Engine::new(tensors);
        engine.set_compute_type(compute_type);
        engine
    };
    let mut group = c.benchmark_group(name);

    let mut fixed = engine(vars.iter().map(|v| v.as_detached_tensor()).collect());
    fixed.freeze();
    let input = numbers(x)?;
    group.throughput(Throughput::Elements(flops as u64));
    group.bench_function("forward", |b| {
        b.iter(|| {
            black_box(
                fixed
                    .run((0, 0), whole, std::slice::from_ref(&input), &[])
                    .unwrap(),
            )
        });
    });

    let free = engine(vars.iter().map(|v| v.as_tensor().clone()).collect());
    let input = Var::from_tensor(&input)?;
    let input = std::slice::from_ref(input.as_tensor());
    let dy = Tensor::ones(
        free.run((0, 0), whole, input, &[])?.dims(),
        DType::F32,
        &Device::Cpu,
    )?;
    group.throughput(Throughput::Elements(3 * flops as u64));
    group.bench_function("forward and back", |b| {
        b.iter(|| {
            let y = free.run((0, 0), whole, input, &[]).unwrap();
            black_box((y * &dy).unwrap().sum_all().unwrap().backward().unwrap())
        });
    });
    group.finish();
    Ok(())
}

fn bench(c: &mut Criterion) {
    for compute_type in [ComputeType::F32, ComputeType::Bf16] {
        for batch in [1, 16] {
            for (t, width) in LEVELS {
                for kernel in [1, 3] {
                    let norm = Norm {
                        affine: Parameter(1),
                        film: None,
                        groups: 8,
                        activation: Activation::Silu,
                    };
                    let name = format!("{compute_type:?}/conv {kernel} of {width}/batch {batch}");
                    let flops = 2 * batch * t * kernel * width * width;
                    let weight = [kernel * width, width];
                    let shapes: (&[usize], &[&[usize]]) =
                        (&[batch, t, width], &[&weight, &[2, width]]);
                    op(c, &name, flops, shapes, compute_type, |p, x| {
                        p.conv(x, Some(norm), Parameter(0), None, Some(x))
                    })
                    .expect("shapes agree");
                }
            }
        }
    }
    let (t, width) = LEVELS[2];
    for batch in [1, 16] {
        let name = format!("attention of {width}/batch {batch}");
        let shapes: (&[usize], &[&[usize]]) = (&[batch, t, 3 * width], &[]);
        op(
            c,
            &name,
            4 * batch * t * t * width,
            shapes,
            ComputeType::F32,
            |p, x| p.attention(x, HEADS),
        )
        .expect("shapes agree");
    }
}

criterion_group! {
    name = ops;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = bench
}
criterion_main!(ops);
