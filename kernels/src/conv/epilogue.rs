//! Bias and residual, added to a convolution's products as they are stored.

use pulp::Simd;

use crate::real::Real;

/// The terms added to a product.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a, T> {
    pub bias: Option<&'a [T]>,
    /// As large as the result, or as one clip of it and then the same for all.
    pub residual: Option<&'a [T]>,
    /// Whether the result is added to the old values.
    pub add: bool,
}

impl<T: Real> Epilogue<'_, T> {
    pub const fn plain(add: bool) -> Self {
        Self {
            bias: None,
            residual: None,
            add,
        }
    }

    /// Stores one panel's `values` to `y`: row `row` of the result, channels from `channel` on. A clip has `clip` rows.
    #[inline(always)]
    pub fn put<S: Simd>(
        &self,
        simd: S,
        (row, clip, channels): (usize, usize, usize),
        channel: usize,
        values: &[T],
        y: &mut [T],
    ) {
        let n = y.len();
        let none: &[T] = &[];
        let bias = match self.bias {
            Some(bias) => &bias[channel..][..n],
            None => none,
        };
        let residual = match self.residual {
            Some(residual) => {
                let each = residual.len() == clip * channels;
                let row = if each { row % clip } else { row };
                &residual[row * channels + channel..][..n]
            }
            None => none,
        };
        if n == 2 * T::lanes::<S>() {
            let (bias, residual) = (T::vectors::<S>(bias).0, T::vectors::<S>(residual).0);
            let (values, y) = (T::vectors::<S>(values).0, T::vectors_mut::<S>(y).0);
            for i in 0..2 {
                let mut value = values[i];
                if self.add {
                    value = T::add_vectors(simd, value, y[i]);
                }
                if i < bias.len() {
                    value = T::add_vectors(simd, value, bias[i]);
                }
                if i < residual.len() {
                    value = T::add_vectors(simd, value, residual[i]);
                }
                y[i] = value;
            }
            return;
        }
        for i in 0..y.len() {
            let mut value = values[i];
            if self.add {
                value += y[i];
            }
            if i < bias.len() {
                value += bias[i];
            }
            if i < residual.len() {
                value += residual[i];
            }
            y[i] = value;
        }
    }
}
