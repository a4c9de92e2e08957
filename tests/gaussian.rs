//! Laws of sampling, on data whose best denoiser is a formula: no network is involved.
//!
//! For data drawn from `N(0, sigma_data²)`, noised to level `sigma`, the variance is
//! `v(sigma) = sigma_data² + sigma²`. The deterministic path from level `a` to `b` multiplies `x` by
//! `sqrt(v(b) / v(a))`; the stochastic path has the conditional mean `x · v(b) / v(a)`, which is the
//! regression of the less noisy clip on the noisier one, and both arrive with variance `v(b)`.

use std::cell::RefCell;
use std::ops::ControlFlow;

use audiodiff::diffusion::Denoiser;
use audiodiff::diffusion::guidance::Guided;
use audiodiff::diffusion::sampler::{Sampler, Step};
use audiodiff::diffusion::schedule::{NoiseSchedule, Schedule};
use audiodiff::network::Conditioning;
use audiodiff::noise::{Noise, unit_noise};
use audiodiff::{Error, Result};
use candle_core::{DType, Device, Tensor};

const CPU: Device = Device::Cpu;

/// Denoises element by element with a formula of `x`, `sigma` and the class, in double precision.
struct Formula<F>(F);

impl<F: Fn(f64, f64, u32) -> f64> Denoiser for Formula<F> {
    fn denoise(&self, x: &Tensor, sigma: &Tensor, cond: &Conditioning) -> Result<Tensor> {
        let (batch, frames, width) = x.dims3()?;
        assert_eq!(sigma.dims(), [batch]);
        assert_eq!(cond.batch(), batch);
        let sigma = sigma.to_vec1::<f32>()?;
        let classes = cond.classes.to_vec1::<u32>()?;
        let item = |i: usize| i / (frames * width);
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        let values = values.into_iter().enumerate();
        let values: Vec<f32> = values
            .map(|(i, x)| {
                (self.0)(f64::from(x), f64::from(sigma[item(i)]), classes[item(i)]) as f32
            })
            .collect();
        Ok(Tensor::from_vec(values, x.shape(), &CPU)?)
    }
}

/// The best denoiser for `N(0, sigma_data²)`.
fn gaussian(sigma_data: f64) -> impl Denoiser {
    Formula(move |x: f64, sigma: f64, _| {
        x * sigma_data.powi(2) / (sigma_data.powi(2) + sigma.powi(2))
    })
}

const MODES: [(f64, f64); 2] = [(0.3, -1.0), (0.7, 0.6)];
const MODE_WIDTH: f64 = 0.15;

/// The best denoiser for two Gaussian modes of `(weight, mean)` [`MODES`]: the posterior mean.
fn two_modes() -> impl Denoiser {
    Formula(|x: f64, sigma: f64, _| {
        let (s2, v) = (MODE_WIDTH.powi(2), MODE_WIDTH.powi(2) + sigma.powi(2));
        let log_density = |mean: f64| -(x - mean).powi(2) / (2.0 * v);
        let highest = MODES
            .iter()
            .fold(f64::MIN, |top, m| top.max(log_density(m.1)));
        let (mut sum, mut total) = (0.0, 0.0);
        for (weight, mean) in MODES {
            let weight = weight * (log_density(mean) - highest).exp();
            sum += weight * (mean * sigma.powi(2) + x * s2) / v;
            total += weight;
        }
        sum / total
    })
}

/// Levels from 20 down to 0.01.
fn schedule(kind: Schedule) -> NoiseSchedule {
    NoiseSchedule {
        kind,
        sigma_min: 0.01,
        sigma_max: 20.0,
    }
}

fn no_conditioning(batch: usize) -> Conditioning {
    Conditioning::new(&vec![None; batch], &[], &CPU).unwrap()
}

fn generators(seed: u64, batch: usize) -> Vec<Noise> {
    (0..batch as u64).map(|b| Noise::at(seed, &[b])).collect()
}

/// Samples to the end, with noise from `seed`.
fn sample(
    sampler: Sampler,
    denoiser: &dyn Denoiser,
    x: &Tensor,
    sigmas: &[f64],
    seed: u64,
) -> Vec<f64> {
    let batch = x.dims()[0];
    let (cond, mut noises) = (no_conditioning(batch), generators(seed, batch));
    let go_on = &mut |_: &Step| ControlFlow::Continue(());
    let end = sampler
        .run(denoiser, &cond, x.clone(), sigmas, &mut noises, go_on)
        .unwrap();
    assert_eq!(end.dims(), x.dims());
    assert_eq!(end.dtype(), DType::F32);
    let end = end.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    end.into_iter().map(f64::from).collect()
}

/// `steps` steps from `high` to `low`, which is not zero.
fn between(kind: Schedule, high: f64, low: f64, steps: usize) -> Vec<f64> {
    let schedule = NoiseSchedule {
        kind,
        sigma_min: low,
        sigma_max: high,
    };
    let mut sigmas = schedule.sigmas(steps + 1).unwrap();
    assert_eq!(sigmas.pop(), Some(0.0));
    sigmas
}

/// The factor by which a sampling multiplies `x`, its noise left out of account.
fn gain(sampler: Sampler, denoiser: &dyn Denoiser, sigmas: &[f64]) -> f64 {
    // The Gaussian denoiser is linear, so two samplings under the same noise differ by the gain.
    let x = Tensor::new(&[[[3f32, -5.0]]], &CPU).unwrap();
    let shifted = (&x + 8.0).unwrap();
    let a = sample(sampler, denoiser, &x, sigmas, 1);
    let b = sample(sampler, denoiser, &shifted, sigmas, 1);
    let gains = [(b[0] - a[0]) / 8.0, (b[1] - a[1]) / 8.0];
    assert!((gains[0] - gains[1]).abs() < 1e-5, "{sampler}: {gains:?}");
    gains[0]
}

/// The variance that a sampling's own noise adds up to, for a fixed start.
fn added_variance(sampler: Sampler, denoiser: &dyn Denoiser, sigmas: &[f64]) -> f64 {
    // From x = 0 every element ends at Σ c_k n_k, its own draws n_k weighted alike. As many elements
    // as steps make that a square system for the weights.
    let steps = sigmas.len() - 1;
    let x = Tensor::zeros((1, steps, 1), DType::F32, &CPU).unwrap();
    let ends = sample(sampler, denoiser, &x, sigmas, 1);
    let mut noise = Noise::at(1, &[0]);
    let draws: Vec<Vec<f32>> = (0..steps).map(|_| noise.normals(steps)).collect();
    let mut rows: Vec<Vec<f64>> = (0..steps)
        .map(|i| {
            draws
                .iter()
                .map(|d| f64::from(d[i]))
                .chain([ends[i]])
                .collect()
        })
        .collect();
    // Gauss-Jordan elimination with row pivots.
    for k in 0..steps {
        let pivot = (k..steps).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs()));
        rows.swap(k, pivot.unwrap());
        let pivot: Vec<f64> = rows[k].iter().map(|value| value / rows[k][k]).collect();
        for row in &mut rows {
            let factor = row[k];
            row.iter_mut()
                .zip(&pivot)
                .for_each(|(value, p)| *value -= factor * p);
        }
        rows[k] = pivot;
    }
    rows.iter().map(|row| row[steps] * row[steps]).sum()
}

/// Measured orders of convergence over two halvings of the steps: of the gain, or with noise of the
/// variance.
fn orders(sampler: Sampler, kind: Schedule, steps: usize) -> [f64; 2] {
    let (sigma_data, a, b) = (0.7, 5.0, 0.2);
    let v = |sigma: f64| sigma_data * sigma_data + sigma * sigma;
    let error = |steps| {
        let sigmas = between(kind, a, b, steps);
        assert_eq!(sigmas.len(), steps + 1);
        let denoiser = gaussian(sigma_data);
        let gain = gain(sampler, &denoiser, &sigmas);
        if sampler.is_stochastic() {
            // The guess for a fixed start stays the same on average, so the mean has no error at all.
            assert!(
                (gain / (v(b) / v(a)) - 1.0).abs() < 3e-5,
                "{sampler}: {gain}"
            );
            let variance = gain * gain * v(a) + added_variance(sampler, &denoiser, &sigmas);
            (variance / v(b) - 1.0).abs()
        } else {
            (gain / (v(b) / v(a)).sqrt() - 1.0).abs()
        }
    };
    let errors = [error(steps), error(2 * steps), error(4 * steps)];
    eprintln!("{sampler} {kind} from {steps}: errors {errors:?}");
    [
        (errors[0] / errors[1]).log2(),
        (errors[1] / errors[2]).log2(),
    ]
}

fn assert_order(sampler: Sampler, steps: usize, expected: std::ops::Range<f64>) {
    for kind in [Schedule::KARRAS, Schedule::LogSnr] {
        let orders = orders(sampler, kind, steps);
        assert!(
            orders.iter().all(|o| expected.contains(o)),
            "{sampler} on {kind}: {orders:?}"
        );
    }
}

#[test]
fn euler_ddim_and_ancestral_are_first_order() {
    assert_order(Sampler::Euler, 32, 0.9..1.1);
    assert_order(Sampler::Ddim, 32, 0.9..1.1);
    assert_order(Sampler::Ancestral, 32, 0.9..1.1);
}

#[test]
fn heun_and_the_2m_solvers_are_second_order() {
    assert_order(Sampler::Heun, 16, 1.8..2.2);
    assert_order(Sampler::DpmPp2m, 32, 1.8..2.2);
    assert_order(Sampler::DpmPp2mSde, 32, 1.8..2.2);
}

#[test]
fn ipndm_is_at_least_second_order() {
    assert_order(Sampler::Ipndm, 24, 1.75..4.5);
}

#[test]
fn ipndm_follows_cubic_slopes_exactly_on_equal_steps() {
    // dx/dsigma = p(sigma), whatever x. The first three steps are of lower order; from the fourth on a
    // fourth-order method integrates a cubic without error, which pins every coefficient.
    let p = |s: f64| 1.0 - 2.0 * s + 0.5 * s * s + 0.25 * s * s * s;
    let integral = |s: f64| s - s * s + 0.5 * s.powi(3) / 3.0 + 0.25 * s.powi(4) / 4.0;
    let denoiser = Formula(move |x, sigma, _| x - sigma * p(sigma));
    let sigmas: Vec<f64> = (0..8).map(|i| 4.0 - 0.5 * f64::from(i)).collect();
    let seen = RefCell::new(Vec::new());
    let record = &mut |step: &Step| {
        seen.borrow_mut().push(f64::from(
            step.x.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0],
        ));
        ControlFlow::Continue(())
    };
    let x = Tensor::zeros((1, 1, 1), DType::F32, &CPU).unwrap();
    Sampler::Ipndm
        .run(&denoiser, &no_conditioning(1), x, &sigmas, &mut [], record)
        .unwrap();
    let seen = seen.into_inner();
    assert!(
        (seen[1] + 0.5 * p(4.0)).abs() < 1e-5,
        "the first step is Euler's: {seen:?}"
    );
    for i in 3..6 {
        let exact = integral(sigmas[i + 1]) - integral(sigmas[i]);
        let error = seen[i + 1] - seen[i] - exact;
        assert!(error.abs() < 1e-5, "step {i}: {error}");
    }
}

#[test]
fn ddim_takes_eulers_path() {
    let x = Noise::new(5).normal_tensor((2, 8, 4), &CPU).unwrap();
    let x = (x * 20.0).unwrap();
    let sigmas = schedule(Schedule::KARRAS).sigmas(9).unwrap();
    let euler = sample(Sampler::Euler, &two_modes(), &x, &sigmas, 0);
    let ddim = sample(Sampler::Ddim, &two_modes(), &x, &sigmas, 0);
    for (a, b) in euler.iter().zip(&ddim) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn every_sampler_arrives_at_the_variance_of_the_data() {
    let (batch, frames, width, sigma_data) = (4, 64, 32, 0.6);
    let n = (batch * frames * width) as f64;
    let schedule = NoiseSchedule {
        sigma_max: 20.0,
        sigma_min: 0.005,
        kind: Schedule::LogSnr,
    };
    let start = (schedule.sigma_max.powi(2) + sigma_data * sigma_data).sqrt();
    for sampler in Sampler::ALL
        .into_iter()
        .filter(|&s| s != Sampler::Consistency)
    {
        let steps = if sampler.is_stochastic() { 150 } else { 100 };
        let x = unit_noise(&mut generators(11, batch), frames, width, &CPU).unwrap();
        let x = (x * start).unwrap();
        let end = sample(
            sampler,
            &gaussian(sigma_data),
            &x,
            &schedule.sigmas(steps).unwrap(),
            12,
        );
        let mean = end.iter().sum::<f64>() / n;
        let std = (end.iter().map(|x| x * x).sum::<f64>() / n).sqrt() / sigma_data;
        eprintln!("{sampler}: mean {mean:.5}, std {std:.4} of the data's");
        // At n = 8192 the standard errors are 0.0066 and 0.0078; the rest is the solver's own error.
        let bias = match sampler {
            Sampler::Euler | Sampler::Ddim | Sampler::Ancestral => 0.03,
            _ => 0.005,
        };
        assert!(mean.abs() < 0.027, "{sampler}: {mean}");
        assert!((std - 1.0).abs() < 0.032 + bias, "{sampler}: {std}");
    }
}

/// The consistency function of Gaussian data, `x·sigma_data/√(sigma_data² + sigma²)`, where the path through `x` ends:
/// with it any number of steps arrives at the data, where with the mean of all ends none does.
#[test]
fn the_consistency_sampler_arrives_in_any_number_of_steps() {
    let (batch, frames, width, sigma_data) = (4, 64, 32, 0.6f64);
    let n = (batch * frames * width) as f64;
    let ends = Formula(|x: f64, sigma: f64, _| x * sigma_data / sigma_data.hypot(sigma));
    let few = schedule(Schedule::Consistency);
    for steps in [1, 2, 4] {
        let sigmas = few.sigmas(steps).unwrap();
        let x = unit_noise(&mut generators(11, batch), frames, width, &CPU).unwrap();
        let x = (x * sigma_data.hypot(sigmas[0])).unwrap();
        let spread = |denoiser: &dyn Denoiser| {
            let end = sample(Sampler::Consistency, denoiser, &x, &sigmas, 12);
            (end.iter().map(|x| x * x).sum::<f64>() / n).sqrt() / sigma_data
        };
        let (consistent, mean) = (spread(&ends), spread(&gaussian(sigma_data)));
        assert!((consistent - 1.0).abs() < 0.03, "{steps}: {consistent}");
        assert!(mean < 0.85, "{steps}: {mean}");
    }
}

#[test]
fn a_few_steps_have_the_levels_that_consistency_models_are_sampled_with() {
    let few = schedule(Schedule::Consistency);
    for (steps, levels) in [
        (1, vec![20.0, 0.0]),
        (2, vec![20.0, 1.612, 0.0]),
        (4, vec![20.0, 5.679, 1.612, 0.4578, 0.0]),
    ] {
        let sigmas = few.sigmas(steps).unwrap();
        assert_eq!(sigmas.len(), levels.len());
        for (a, b) in sigmas.iter().zip(levels) {
            assert!((a - b).abs() < 1e-3, "{sigmas:?}");
        }
    }
    assert_eq!(few.sigmas_from(1, 0.02).unwrap(), [0.02, 0.0]);
}

#[test]
fn every_sampler_keeps_the_weights_means_and_widths_of_two_modes() {
    let schedule = NoiseSchedule {
        sigma_max: 10.0,
        sigma_min: 0.005,
        kind: Schedule::LogSnr,
    };
    let n = 6000;
    // Exactly distributed at the start, so that whatever is wrong at the end is the sampler's doing.
    let mut noise = Noise::new(21);
    let spread = (MODE_WIDTH.powi(2) + schedule.sigma_max.powi(2)).sqrt();
    let start: Vec<f32> = (0..n)
        .map(|_| {
            let mode = MODES[usize::from(!noise.chance(MODES[0].0 as f32))];
            (mode.1 + spread * f64::from(noise.normal())) as f32
        })
        .collect();
    let x = Tensor::from_vec(start, (2, n / 4, 2), &CPU).unwrap();
    for sampler in Sampler::ALL
        .into_iter()
        .filter(|&s| s != Sampler::Consistency)
    {
        let end = sample(
            sampler,
            &two_modes(),
            &x,
            &schedule.sigmas(100).unwrap(),
            22,
        );
        let (left, right): (Vec<f64>, Vec<f64>) = end.into_iter().partition(|&x| x < -0.2);
        for ((weight, mean), found) in MODES.into_iter().zip([left, right]) {
            let count = found.len() as f64;
            let found_mean = found.iter().sum::<f64>() / count;
            let variance = found.iter().map(|x| (x - found_mean).powi(2)).sum::<f64>() / count;
            let (fraction, width) = (count / n as f64, variance.sqrt());
            eprintln!("{sampler}: {fraction:.3} at {found_mean:.3}, width {width:.4}");
            // Standard errors: 0.006, 0.0035 and 0.0025; first order adds about a percent.
            assert!((fraction - weight).abs() < 0.025, "{sampler}: {fraction}");
            assert!((found_mean - mean).abs() < 0.02, "{sampler}: {found_mean}");
            assert!((width / MODE_WIDTH - 1.0).abs() < 0.1, "{sampler}: {width}");
        }
    }
}

#[test]
fn an_item_does_not_depend_on_its_batch() {
    let (batch, frames, width) = (3, 5, 3); // An odd count: a spare normal is left over each step.
    let inner =
        Formula(|x: f64, sigma: f64, class: u32| (x + f64::from(class)) / (1.0 + sigma * sigma));
    let guided = Guided::new(&inner, 1.7, (0.05, 3.0)).unwrap();
    let sigmas = schedule(Schedule::KARRAS).sigmas(7).unwrap();
    let x = unit_noise(&mut generators(31, batch), frames, width, &CPU).unwrap();
    let x = (x * 20.0).unwrap();
    let labels = [Some(4), None, Some(0)];
    let go_on = &mut |_: &Step| ControlFlow::Continue(());
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for sampler in Sampler::ALL {
        let cond = Conditioning::new(&labels, &[], &CPU).unwrap();
        let noises = &mut generators(32, batch);
        let together = sampler
            .run(&guided, &cond, x.clone(), &sigmas, noises, go_on)
            .unwrap();
        for b in 0..batch {
            let cond = Conditioning::new(&labels[b..=b], &[], &CPU).unwrap();
            let noises = &mut generators(32, batch)[b..=b];
            let x = x.narrow(0, b, 1).unwrap();
            let apart = sampler
                .run(&guided, &cond, x, &sigmas, noises, go_on)
                .unwrap();
            let together = together.narrow(0, b, 1).unwrap();
            assert_eq!(values(&apart), values(&together), "{sampler}, item {b}");
        }
    }
}

#[test]
fn a_sampling_reports_each_step_counts_its_evaluations_and_can_be_stopped() {
    let x = Tensor::ones((1, 2, 2), DType::F32, &CPU).unwrap();
    let sigmas = schedule(Schedule::KARRAS).sigmas(6).unwrap();
    let asked = RefCell::new(0);
    let denoiser = Formula(|x: f64, _, _| {
        *asked.borrow_mut() += 1;
        x / 2.0
    });
    for sampler in Sampler::ALL {
        let mut steps = Vec::new();
        let mut run = |stop_at: usize| {
            steps.clear();
            let on_step = &mut |step: &Step| {
                steps.push((step.index, step.of, step.sigma));
                assert_eq!(step.x.dims(), step.denoised.dims());
                match step.index == stop_at {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let noises = &mut generators(1, 1);
            let result = sampler.run(
                &denoiser,
                &no_conditioning(1),
                x.clone(),
                &sigmas,
                noises,
                on_step,
            );
            (result, steps.clone())
        };
        asked.replace(0);
        let (end, steps) = run(usize::MAX);
        assert!(end.is_ok());
        assert_eq!(asked.replace(0), 4 * sampler.evaluations(6), "{sampler}");
        let expected: Vec<_> = (0..6).map(|i| (i, 6, sigmas[i])).collect();
        assert_eq!(steps, expected, "{sampler}");
        let (end, steps) = run(2);
        assert!(matches!(end, Err(Error::Stopped)), "{sampler}: {end:?}");
        assert_eq!(steps.len(), 3);
    }
}

#[test]
fn samplings_that_make_no_sense_are_refused() {
    let x = Tensor::ones((2, 2, 2), DType::F32, &CPU).unwrap();
    let denoiser = gaussian(1.0);
    let run = |sampler: Sampler, cond: usize, sigmas: &[f64], noises: usize| {
        let go_on = &mut |_: &Step| ControlFlow::Continue(());
        let (cond, noises) = (no_conditioning(cond), &mut generators(0, noises));
        sampler.run(&denoiser, &cond, x.clone(), sigmas, noises, go_on)
    };
    for sigmas in [
        &[][..],
        &[1.0],
        &[1.0, 1.0],
        &[1.0, 2.0],
        &[1.0, 0.0, -1.0],
        &[f64::NAN, 1.0],
        &[f64::INFINITY, 1.0],
        &[2.0, f64::NAN, 0.0],
    ] {
        let result = run(Sampler::Euler, 2, sigmas, 0);
        assert!(
            matches!(result, Err(Error::Setting(_))),
            "{sigmas:?}: {result:?}"
        );
    }
    assert!(matches!(
        run(Sampler::Euler, 3, &[1.0, 0.0], 0),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        run(Sampler::Ancestral, 2, &[1.0, 0.0], 1),
        Err(Error::Shape { .. })
    ));
    assert!(run(Sampler::Ancestral, 2, &[1.0, 0.0], 2).is_ok());
    assert!(run(Sampler::Euler, 2, &[1.0, 0.0], 0).is_ok());
}

#[test]
fn guidance_is_linear_in_its_weight_and_confined_to_its_interval() {
    // Class 2 guesses 5, no class guesses 1; `asked` sees how many items each evaluation holds.
    let asked = RefCell::new(0);
    let inner = Formula(|_, _, class: u32| {
        *asked.borrow_mut() += 1;
        if class == 0 { 1.0 } else { 5.0 }
    });
    let x = Tensor::zeros((2, 1, 1), DType::F32, &CPU).unwrap();
    let cond = Conditioning::new(&[Some(1), None], &[], &CPU).unwrap();
    let guess = |weight: f64, interval: (f64, f64), sigma: f32, cond: &Conditioning| {
        asked.replace(0);
        let guided = Guided::new(&inner, weight, interval).unwrap();
        let sigma = Tensor::full(sigma, 2, &CPU).unwrap();
        let guess = guided.denoise(&x, &sigma, cond).unwrap();
        assert_eq!(guess.dims(), [2, 1, 1]);
        (
            guess.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            asked.replace(0),
        )
    };
    let everywhere = (0.0, f64::INFINITY);
    assert_eq!(guess(0.0, everywhere, 1.0, &cond), (vec![1.0, 1.0], 4));
    assert_eq!(guess(1.0, everywhere, 1.0, &cond), (vec![5.0, 1.0], 2));
    assert_eq!(guess(1.5, everywhere, 1.0, &cond), (vec![7.0, 1.0], 4));
    assert_eq!(guess(3.0, everywhere, 1.0, &cond), (vec![13.0, 1.0], 4));
    // The interval is open below and closed above.
    assert_eq!(guess(3.0, (0.5, 2.0), 0.5, &cond), (vec![5.0, 1.0], 2));
    assert_eq!(guess(3.0, (0.5, 2.0), 0.75, &cond), (vec![13.0, 1.0], 4));
    assert_eq!(guess(3.0, (0.5, 2.0), 2.0, &cond), (vec![13.0, 1.0], 4));
    assert_eq!(guess(3.0, (0.5, 2.0), 2.5, &cond), (vec![5.0, 1.0], 2));
    // Without any class both guesses are the same one.
    assert_eq!(
        guess(3.0, everywhere, 1.0, &no_conditioning(2)),
        (vec![1.0, 1.0], 2)
    );

    for (weight, interval) in [
        (f64::NAN, everywhere),
        (1.5, (2.0, 1.0)),
        (1.5, (-1.0, 1.0)),
        (1.5, (f64::NAN, 1.0)),
    ] {
        assert!(matches!(
            Guided::new(&inner, weight, interval),
            Err(Error::Setting(_))
        ));
    }
    // Items of one batch may lie on either side of the interval.
    let guided = Guided::new(&inner, 3.0, (0.5, 2.0)).unwrap();
    let cond = Conditioning::new(&[Some(4), Some(4)], &[], &CPU).unwrap();
    let unequal = Tensor::new(&[1f32, 2.5], &CPU).unwrap();
    let guess = guided.denoise(&x, &unequal, &cond).unwrap();
    let guess = guess.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(guess, [13.0, 5.0]);
}

#[test]
fn noise_schedules_have_known_values_fall_and_end_in_exact_zero() {
    // python: [(a**(1/7) + i/4*(b**(1/7) - a**(1/7)))**7 for i in range(5)]
    let karras = |a, b| NoiseSchedule {
        kind: Schedule::Karras { rho: 7.0 },
        sigma_min: b,
        sigma_max: a,
    };
    let expect = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-12 * b, "{found:?}");
        }
    };
    expect(
        karras(20.0, 0.01).sigmas(5).unwrap(),
        &[
            20.0,
            5.632037447437539,
            1.1971331248295811,
            0.163414797196974,
            0.01,
            0.0,
        ],
    );
    // EDM's own levels.
    expect(
        karras(80.0, 0.002).sigmas(5).unwrap(),
        &[
            80.0,
            17.52783196464411,
            2.515218976147159,
            0.16975275626876413,
            0.002,
            0.0,
        ],
    );
    // A variation's, begun at 3.
    expect(
        karras(20.0, 0.01).sigmas_from(4, 3.0).unwrap(),
        &[3.0, 0.711842172103039, 0.11618488447837326, 0.01, 0.0],
    );
    // python: [20*(.01/20)**(i/4) for i in range(5)]
    let log_snr = schedule(Schedule::LogSnr);
    expect(
        log_snr.sigmas(5).unwrap(),
        &[
            20.0,
            2.990697562442441,
            0.4472135954999579,
            0.0668740304976422,
            0.01,
            0.0,
        ],
    );
    assert_eq!(schedule(Schedule::KARRAS), karras(20.0, 0.01));
    assert_eq!(log_snr.sigmas(1).unwrap(), [20.0, 0.0]);
    assert_eq!(log_snr.sigmas(2).unwrap(), [20.0, 0.01, 0.0]);

    for kind in [
        Schedule::Karras { rho: 1.0 },
        Schedule::Karras { rho: 100.0 },
        Schedule::LogSnr,
    ] {
        for steps in [1, 2, 3, 64, 1000] {
            let sigmas = schedule(kind).sigmas(steps).unwrap();
            assert_eq!(sigmas.len(), steps + 1);
            assert!(
                sigmas.windows(2).all(|pair| pair[0] > pair[1]),
                "{kind} {steps}"
            );
            assert_eq!((sigmas[0], sigmas[steps]), (20.0, 0.0));
        }
    }
}

#[test]
fn noise_schedules_that_make_no_sense_are_refused() {
    let good = schedule(Schedule::KARRAS);
    let refused =
        |result: Result<Vec<f64>>| assert!(matches!(result, Err(Error::Setting(_))), "{result:?}");
    refused(good.sigmas(0));
    refused(good.sigmas(1001));
    for start in [0.0, 0.01, 20.1, f64::NAN, -1.0] {
        refused(good.sigmas_from(4, start));
    }
    for (low, high) in [
        (0.0, 1.0),
        (1.0, 1.0),
        (2.0, 1.0),
        (f64::NAN, 1.0),
        (0.1, f64::INFINITY),
    ] {
        refused(
            NoiseSchedule {
                sigma_min: low,
                sigma_max: high,
                ..good
            }
            .sigmas(4),
        );
    }
    for rho in [0.0, 0.5, 101.0, f64::NAN] {
        refused(
            NoiseSchedule {
                kind: Schedule::Karras { rho },
                ..good
            }
            .sigmas(4),
        );
    }
}

#[test]
fn names_are_read_back_as_they_are_written() {
    for sampler in Sampler::ALL {
        assert_eq!(sampler.to_string().parse::<Sampler>().unwrap(), sampler);
        assert_eq!(
            serde_json::to_string(&sampler).unwrap(),
            format!("\"{sampler}\"")
        );
        assert_eq!(
            serde_json::from_str::<Sampler>(&format!("\"{sampler}\"")).unwrap(),
            sampler
        );
    }
    let sentence = "plms".parse::<Sampler>().unwrap_err().to_string();
    assert!(
        sentence.contains("\"plms\"") && sentence.contains("dpmpp-2m-sde"),
        "{sentence}"
    );

    for (text, schedule) in [
        ("karras", Schedule::Karras { rho: 7.0 }),
        ("karras:4.5", Schedule::Karras { rho: 4.5 }),
        ("logsnr", Schedule::LogSnr),
        ("consistency", Schedule::Consistency),
        ("crash", Schedule::Crash),
        ("linear", Schedule::Linear),
    ] {
        assert_eq!(text.parse::<Schedule>().unwrap(), schedule);
        assert_eq!(schedule.to_string(), text);
        assert_eq!(
            serde_json::from_str::<Schedule>(&format!("\"{text}\"")).unwrap(),
            schedule
        );
    }
    for text in [
        "",
        "uniform",
        "karras:",
        "karras:x",
        "karras:0.5",
        "karras:NaN",
        "logsnr:3",
    ] {
        assert!(text.parse::<Schedule>().is_err(), "{text}");
    }
    // Older files say it so.
    assert_eq!("few".parse::<Schedule>().unwrap(), Schedule::Consistency);
}

#[test]
fn an_inversion_ends_where_sampling_began() {
    let sigmas = schedule(Schedule::LogSnr).sigmas(200).unwrap();
    let x = Tensor::new(&[[[0.3f32, -0.5]], [[0.1, 0.2]]], &CPU).unwrap();
    let go_on = &mut |_: &Step| ControlFlow::Continue(());
    let cond = no_conditioning(2);
    // Along the path, a Gaussian's width is all that changes.
    let expected = ((0.5f64.powi(2) + 20f64.powi(2)) / (0.5f64.powi(2) + 0.01f64.powi(2))).sqrt();
    for sampler in Sampler::ALL {
        let up = sampler.invert(&gaussian(0.5), &cond, x.clone(), &sigmas, go_on);
        if sampler.is_stochastic() {
            let error = up.unwrap_err().to_string();
            assert!(error.contains(sampler.name()), "{error}");
            continue;
        }
        let up = up.unwrap();
        let tolerance = match sampler {
            Sampler::Euler | Sampler::Ddim => 0.05, // first order
            _ => 0.005,
        };
        let gain = (&up / &x).unwrap().flatten_all().unwrap();
        for gain in gain.to_vec1::<f32>().unwrap() {
            let error = f64::from(gain) / expected - 1.0;
            assert!(error.abs() < tolerance, "{sampler}: {error}");
        }
        let down = sample(sampler, &gaussian(0.5), &up, &sigmas, 1);
        for (down, x) in down.iter().zip([0.3, -0.5, 0.1, 0.2]) {
            assert!((down / x - 1.0).abs() < tolerance, "{sampler}: {down} {x}");
        }
    }
}
