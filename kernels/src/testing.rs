//! Finite differences and seeded values for the tests.

use candle_core::{Device, Result, Tensor, Var};

/// Numbers of about unit size, fixed by `seed`.
pub fn draws(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    })
}

/// A tensor of [`draws`].
pub fn values(shape: &[usize], seed: u64) -> Tensor {
    let data: Vec<f64> = draws(seed).take(shape.iter().product()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).expect("the shape holds its product of values")
}

fn flat(x: &Tensor) -> Vec<f64> {
    x.flatten_all()
        .and_then(|x| x.to_vec1())
        .expect("f64 values on the CPU")
}

/// Largest difference below `bound`, relative to the largest value.
pub fn assert_close(a: &Tensor, b: &Tensor, bound: f64) {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (flat(a), flat(b));
    let size = a.iter().fold(1e-12f64, |m, x| m.max(x.abs()));
    let error = a
        .iter()
        .zip(&b)
        .fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(error <= bound * size, "difference {error:e} of {size:e}");
}

/// Every input's gradient of a weighted sum of `f`'s output, against central differences.
pub fn check_gradients(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let vars = inputs
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tracked)?;
    let weights = values(y.dims(), 99);
    let loss = |y: &Tensor| (y * &weights)?.sum_all();
    let gradients = loss(&y)?.backward()?;
    for (i, input) in inputs.iter().enumerate() {
        let exact = flat(gradients.get(&vars[i]).expect("every input has a gradient"));
        let step = 1e-5;
        let base = flat(input);
        // In an interpreter a few elements must do.
        let stride = if cfg!(miri) { base.len() / 2 + 1 } else { 1 };
        let numeric: Vec<f64> = (0..base.len())
            .step_by(stride)
            .map(|j| {
                let at = |delta: f64| {
                    let mut moved = base.clone();
                    moved[j] += delta;
                    let mut inputs = inputs.to_vec();
                    inputs[i] = Tensor::from_vec(moved, input.shape(), &Device::Cpu)?;
                    loss(&f(&inputs)?)?.to_scalar::<f64>()
                };
                Ok((at(step)? - at(-step)?) / (2.0 * step))
            })
            .collect::<Result<_>>()?;
        let size = numeric.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
        let exact = exact.iter().step_by(stride);
        for (j, (exact, numeric)) in exact.zip(&numeric).enumerate() {
            assert!(
                (exact - numeric).abs() < 1e-7 * size,
                "input {i}, element {}: {exact} against {numeric}",
                j * stride
            );
        }
    }
    Ok(())
}
