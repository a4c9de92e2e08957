//! Programs against their definition, gradients against finite differences, and the life of sessions.

use candle_core::Var;

use super::super::pool::KEPT;
use super::*;
use crate::activation::Activation;
use crate::isa::on_each;
use crate::program::gpu::emulator::{self, Given};
use crate::program::{Norm, Parameter};
use crate::team::lock;
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
            engine.reference(&describe, inputs, rows)
        }
    };
    let tensors = [drawn(inputs, 1), drawn(parameters, 20)].concat();
    let defined = run(&tensors, false)?;
    check_gpu(inputs.len(), &tensors, rows, &describe, |tensors| {
        run(tensors, false)
    })?;
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

/// What a GPU would make of the program, forwards and backwards, equals the definition to the digits of its numbers.
fn check_gpu(
    inputs: usize,
    tensors: &[Tensor],
    rows: &[Tensor],
    describe: impl Fn(&mut Program) -> Result<Map>,
    define: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    // Another program, whose threads change places as those of Linux can.
    if cfg!(miri) || !cfg!(target_os = "linux") {
        return Ok(());
    }
    let variables = tensors
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let output = define(&tracked)?;
    let seed = values(output.dims(), 99);
    let gradients = (&output * &seed)?.sum_all()?.backward()?;
    let single = |x: &Tensor| x.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>();
    let singles = tensors.iter().map(single).collect::<Result<Vec<_>>>()?;
    let rows = rows
        .iter()
        .map(|rows| rows.to_vec1::<u32>())
        .collect::<Result<Vec<_>>>()?;
    let given = Given {
        inputs: &singles[..inputs],
        parameters: &singles[inputs..],
        rows: &rows,
        seed: &single(&seed)?,
    };
    for (compute_type, bound) in [(ComputeType::F32, 2e-5), (ComputeType::Bf16, 3e-2)] {
        let shapes = tensors[inputs..].iter().map(|p| p.dims().to_vec());
        let program = Program::describe(shapes.collect(), compute_type, &describe)?;
        let made = emulator::run(&program, &given)?;
        let close = |found: &[f32], of: &Tensor, what: &str| -> Result<()> {
            let exact = single(of)?;
            assert_eq!(found.len(), exact.len());
            let size = exact.iter().map(|x| x.powi(2)).sum::<f32>().sqrt();
            let gap = found
                .iter()
                .zip(&exact)
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f32>()
                .sqrt();
            assert!(
                gap <= bound * size.max(1e-3),
                "{what}, {compute_type:?}: {gap:e} of {size:e}"
            );
            Ok(())
        };
        close(&made.output, &output, "output")?;
        let found = made.input_gradients.iter().chain(&made.parameter_gradients);
        for (i, (found, variable)) in found.zip(&variables).enumerate() {
            match (found, gradients.get(variable)) {
                (Some(found), Some(exact)) => close(found, exact, &format!("gradient {i}"))?,
                (found, exact) => assert_eq!(found.is_some(), exact.is_some(), "gradient {i}"),
            }
        }
    }
    Ok(())
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
            p.add_scaled(y, x[0], 0.5)
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
            engine.reference(describe, std::slice::from_ref(x), &[])
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
        check(&[&[b, t, c]], &[], &[], |p, x| p.downsample(x[0]))?;
        check(&[&[b, t, c]], &[], &[], |p, x| p.upsample(x[0]))?;
        // Several readers: their gradients add up.
        check(&[&[b, 2 * t, c]], &[], &[], |p, x| {
            let down = p.downsample(x[0])?;
            let up = p.upsample(down)?;
            p.add_scaled(up, x[0], 0.5)
        })?;
    }
    check(&[&[2, 3, 2]], &[], &[], |p, x| p.upsample(x[0]))
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
        p.add_scaled(one, two, 0.5)
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
        p.add_scaled(z, y, 0.7)
    })
}

#[test]
fn scaled_sums_equal_their_definition() -> Result<()> {
    check(&[&[2, 3, 5], &[2, 3, 5]], &[], &[], |p, x| {
        let y = p.add_scaled(x[0], x[1], 0.7)?;
        let y = p.add_scaled(y, y, 0.6)?;
        p.add_scaled(x[1], y, -1.0)
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
    let h = p.add_scaled(up, skip, 0.5)?;
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
        assert_eq!(lock(&engine.doubles.pool.sessions).len(), 2);
    }
    Ok(())
}

#[test]
fn sessions_return_after_a_backward_pass_or_without_one() -> Result<()> {
    let (engine, _, inputs) = trained()?;
    let waiting = || lock(&engine.doubles.pool.sessions).len();
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
            .reference(describe(&INPUTS, small_network), &inputs, &[])
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
        engine.reference(describe, &x, &[])
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
    assert!(message(&[x], &[], &|p, x| p.downsample(x[0])).contains("found 5"));
    assert!(message(&[&[1, 2, 3]], &[], &|p, x| p.upsample(x[0])).contains("found 2"));

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
