//! Strided matrix products by the `gemm` crate, with their bounds checked.

use gemm::Parallelism;

/// A read-only matrix view: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
///
/// Rows may overlap, which is how a convolution becomes one product without copies.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// Rows of `width` values, one after another.
    pub fn rows(data: &'a [T], width: usize) -> Self {
        Self {
            data,
            row_stride: width,
            col_stride: 1,
        }
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Self {
        Self {
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// Whether a product may use the current rayon pool.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    One,
    Pool,
}

/// `out = a · b`, or `out += a · b`; `a` is `m × k`, `b` is `k × n`, and row `i` of `out` begins at
/// `i * out_stride`.
#[allow(clippy::too_many_arguments)] // the parameters of a matrix product
pub(crate) fn matmul<T: crate::real::Real>(
    (m, k, n): (usize, usize, usize),
    a: View<'_, T>,
    b: View<'_, T>,
    out: &mut [T],
    out_stride: usize,
    accumulate: bool,
    threads: Threads,
) {
    assert!(
        a.holds(m, k) && b.holds(k, n),
        "matrix operands hold what their shapes claim"
    );
    assert!(
        View {
            data: out,
            row_stride: out_stride,
            col_stride: 1
        }
        .holds(m, n)
            && out_stride >= n
    );
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::Pool => Parallelism::Rayon(0),
    };
    // SAFETY: the assertions above prove that every element the three strided views reach lies inside
    // its slice; `out` is borrowed mutably, its rows do not overlap (`out_stride >= n`), and the
    // strides of slices in memory fit `isize`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}
