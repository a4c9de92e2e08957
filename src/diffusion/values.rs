//! Sums, differences and products of tensors, value by value.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::error::Result;

/// From so many values on, the tensor library works on threads of its own: these are no one's to end, and they wait for
/// each other by going round in circles.
const MANY: usize = 1 << 16;

/// The fewest values that are worth a task.
const FEWEST: usize = 1 << 12;

/// The sum of two tensors, of which the second is as large or is repeated.
///
/// # Errors
/// When it cannot be repeated so.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match on_our_threads(a, b) {
        true => by_value(a, b, |a, b| a + b),
        false => Ok(a.broadcast_add(b)?),
    }
}

/// The first of two tensors less the second, which is as large or is repeated.
///
/// # Errors
/// When it cannot be repeated so.
pub(crate) fn difference(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match on_our_threads(a, b) {
        true => by_value(a, b, |a, b| a - b),
        false => Ok(a.broadcast_sub(b)?),
    }
}

/// The product of two tensors, of which the second is as large or is repeated.
///
/// # Errors
/// When it cannot be repeated so.
pub(crate) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match on_our_threads(a, b) {
        true => by_value(a, b, |a, b| a * b),
        false => Ok(a.broadcast_mul(b)?),
    }
}

/// Whether the library would start its threads for what no gradient is wanted of.
fn on_our_threads(a: &Tensor, b: &Tensor) -> bool {
    let is_plain = |x: &Tensor| x.device().is_cpu() && x.dtype() == DType::F32 && !x.track_op();
    a.elem_count() >= MANY && is_plain(a) && is_plain(b)
}

fn by_value(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    let values = |x: &Tensor| x.broadcast_as(a.shape())?.flatten_all()?.to_vec1::<f32>();
    let (mut values, others) = (values(a)?, values(b)?);
    let pairs = values.par_iter_mut().zip(others).with_min_len(FEWEST);
    pairs.for_each(|(value, other)| *value = f(*value, other));
    Ok(Tensor::from_vec(values, a.shape(), a.device())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::noise::Noise;

    #[test]
    fn they_are_the_librarys_and_gradients_go_through() -> Result<()> {
        let mut noise = Noise::new(1);
        let mut drawn = |shape: (usize, usize, usize)| noise.normal_tensor(shape, &Device::Cpu);
        let a = drawn((2, 260, 128))?;
        for b in [
            drawn((2, 260, 128))?,
            drawn((2, 1, 128))?,
            drawn((1, 1, 1))?,
        ] {
            assert!(on_our_threads(&a, &b));
            let bits = |x: &Tensor| -> Result<Vec<f32>> { Ok(x.flatten_all()?.to_vec1()?) };
            assert_eq!(bits(&sum(&a, &b)?)?, bits(&a.broadcast_add(&b)?)?);
            assert_eq!(bits(&difference(&a, &b)?)?, bits(&a.broadcast_sub(&b)?)?);
            assert_eq!(bits(&product(&a, &b)?)?, bits(&a.broadcast_mul(&b)?)?);
        }
        let var = Var::from_tensor(&a)?;
        let product = product(var.as_tensor(), &a)?;
        let gradient = product.sum_all()?.backward()?.get(&var).cloned();
        assert!(gradient.is_some());
        assert!(sum(&a, &drawn((3, 1, 128))?).is_err());
        Ok(())
    }
}
