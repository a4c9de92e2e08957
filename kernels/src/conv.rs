//! "Same" convolution over frames, stride 1, odd kernel; a kernel of one is a linear layer.
//!
//! The input may be normalised and activated as it is read ([`Prologue`]); bias and residual are added as the output is
//! stored ([`Epilogue`]). Three or five taps between wide maps take Winograd's algorithm, everything else one product
//! over overlapping rows.

mod direct;
mod epilogue;
mod packed;
mod partition;
mod shape;
mod weight_gradient;
mod winograd;

use crate::disjoint::DisjointSlice;
use crate::isa::Isa;
use crate::norm::Prologue;
use crate::real::Real;
use epilogue::Epilogue;
pub(crate) use packed::PackedWeight;
pub(crate) use shape::Shape;
pub(crate) use weight_gradient::backward_weight;
pub(crate) use winograd::is_winograd;

/// `y = conv(x) + bias + residual`; `weight` is packed for it.
pub(crate) fn forward<T: Real>(
    isa: Isa,
    s: Shape,
    x: Prologue<'_, T>,
    weight: &PackedWeight<T>,
    bias: Option<&[T]>,
    residual: Option<&[T]>,
    y: &mut [T],
) {
    let epilogue = Epilogue {
        bias,
        residual,
        add: false,
    };
    convolve(isa, s, x, weight, epilogue, y);
}

/// The gradient of the input, given that of the output; `weight` is packed for it. It overwrites `dx`, or is added to
/// it.
pub(crate) fn backward_input<T: Real>(
    isa: Isa,
    s: Shape,
    dy: &[T],
    weight: &PackedWeight<T>,
    dx: &mut [T],
    add: bool,
) {
    let epilogue = Epilogue::plain(add);
    convolve(isa, s.mirrored(), Prologue::plain(dy), weight, epilogue, dx);
}

fn convolve<T: Real>(
    isa: Isa,
    s: Shape,
    x: Prologue<'_, T>,
    weight: &PackedWeight<T>,
    epilogue: Epilogue<'_, T>,
    y: &mut [T],
) {
    assert!(x.x.len() == s.b * s.t * s.ci && y.len() == s.b * s.t * s.co);
    let y = DisjointSlice::new(y);
    if is_winograd(isa, s) {
        winograd::convolve(isa, s, x, weight.values(), epilogue, &y);
    } else {
        direct::convolve(isa, s, x, weight.values(), epilogue, &y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::compute_type::ComputeType;
    use crate::isa::on_each;
    use crate::norm::{Applied, COEFFICIENTS, coefficients};

    /// Values of about unit size, fixed by `seed`.
    fn draw<T: Real>(n: usize, seed: u64) -> Vec<T> {
        crate::testing::draws(seed)
            .take(n)
            .map(T::from_f64)
            .collect()
    }

    /// The definition, tap by tap, in double precision.
    fn defined<T: Real>(s: Shape, x: &[T], weight: &[T], bias: &[T], residual: &[T]) -> Vec<f64> {
        let mut y = Vec::with_capacity(s.b * s.t * s.co);
        for (clip, t, o) in
            (0..s.b).flat_map(|b| (0..s.t).flat_map(move |t| (0..s.co).map(move |o| (b, t, o))))
        {
            let mut sum = bias[o].to_double() + residual[(clip * s.t + t) * s.co + o].to_double();
            for k in 0..s.kernel {
                let frame = (t + k).wrapping_sub(s.pad());
                if frame < s.t {
                    for i in 0..s.ci {
                        sum += x[(clip * s.t + frame) * s.ci + i].to_double()
                            * weight[(k * s.ci + i) * s.co + o].to_double();
                    }
                }
            }
            y.push(sum);
        }
        y
    }

    /// Largest difference, relative to the largest value.
    fn error<T: Real>(found: &[T], expected: &[f64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let size = expected.iter().fold(1e-9f64, |m, x| m.max(x.abs()));
        let pairs = found.iter().zip(expected);
        pairs.fold(0f64, |m, (a, b)| m.max((a.to_double() - b).abs())) / size
    }

    const CASES: [(usize, usize, usize, usize, usize); 13] = [
        (1, 1, 1, 1, 1),
        (3, 7, 5, 6, 3),
        (2, 1, 3, 4, 3),
        (2, 9, 4, 3, 5),
        (1, 8, 32, 32, 3), // the smallest that takes Winograd's algorithm
        (4, 33, 17, 9, 1),
        (3, 11, 32, 37, 3),
        (2, 390, 35, 32, 3),
        (16, 1, 40, 70, 1),
        (2, 203, 50, 33, 3),
        (2, 27, 70, 40, 5),
        (2, 513, 33, 40, 5),
        (1, 1030, 40, 32, 5),
    ];

    fn cases() -> impl Iterator<Item = Shape> {
        CASES.into_iter().map(shape).filter(is_affordable)
    }

    /// Whether an interpreter finishes it in seconds.
    fn is_affordable(s: &Shape) -> bool {
        !cfg!(miri) || s.b * s.t * s.ci * s.co * s.kernel < 25_000
    }

    fn shape((b, t, ci, co, kernel): (usize, usize, usize, usize, usize)) -> Shape {
        Shape {
            b,
            t,
            ci,
            co,
            kernel,
            compute_type: ComputeType::F32,
        }
    }

    /// Any sizes: a few hundred thousand products at most.
    fn any_shape(seed: u64) -> Shape {
        let mut draws = crate::testing::draws(seed);
        let mut up_to = |n: usize| 1 + (draws.next().unwrap_or_default().abs() * n as f64) as usize;
        let (b, t, kernel) = (up_to(3), up_to(60), 2 * up_to(4) - 1);
        shape((
            b,
            t,
            up_to(50),
            up_to(50),
            if up_to(2) == 1 { 3 } else { kernel },
        ))
    }

    fn agrees<T: Real>(isa: Isa, bound: f64) {
        let random = (1..if cfg!(miri) { 4 } else { 40 }).map(any_shape);
        for s in cases().chain(random.filter(is_affordable)) {
            let (rows, cols) = (s.kernel * s.ci, s.co);
            let (x, w) = (draw::<T>(s.b * s.t * s.ci, 1), draw::<T>(rows * cols, 2));
            let (bias, residual) = (draw::<T>(s.co, 3), draw::<T>(s.b * s.t * s.co, 4));
            let expected = defined(s, &x, &w, &bias, &residual);
            let mut packed = PackedWeight::default();
            packed.forward(isa, &w, s);
            let mut y = vec![T::from_f64(7.0); expected.len()];
            forward(
                isa,
                s,
                Prologue::plain(&x),
                &packed,
                Some(&bias),
                Some(&residual),
                &mut y,
            );
            let found = error(&y, &expected);
            assert!(found < bound, "{isa:?} {s:?}: {found:e}");
        }
    }

    #[test]
    fn every_path_equals_the_definition() {
        on_each(|isa| {
            agrees::<f64>(isa, 1e-13);
            agrees::<f32>(isa, 4e-6);
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }

    /// Rounding operands to eight digits costs what it should: on the way and back, by either form.
    #[test]
    fn bf16_is_right_to_its_digits() {
        on_each(|isa| {
            for s in cases().map(|s| Shape {
                compute_type: ComputeType::Bf16,
                ..s
            }) {
                let (x, w) = (
                    draw::<f32>(s.b * s.t * s.ci, 1),
                    draw::<f32>(s.kernel * s.ci * s.co, 2),
                );
                let none = vec![0.0; s.b * s.t * s.co.max(s.ci)];
                let mut packed = PackedWeight::default();
                let found = |y: &[f32], exact: &[f64]| {
                    let size = exact.iter().map(|y| y * y).sum::<f64>();
                    let errors = y
                        .iter()
                        .zip(exact)
                        .map(|(&y, exact)| (y as f64 - exact).powi(2));
                    let relative = (errors.sum::<f64>() / size).sqrt();
                    assert!(
                        (1e-5..1e-2).contains(&relative),
                        "{isa:?} {s:?}: {relative:e}"
                    );
                };
                let mut made = |isa| {
                    packed.forward(isa, &w, s);
                    let mut y = vec![0.0; s.b * s.t * s.co];
                    forward(isa, s, Prologue::plain(&x), &packed, None, None, &mut y);
                    y
                };
                let y = made(isa);
                found(&y, &defined(s, &x, &w, &none[..s.co], &none[..y.len()]));
                // In the same form all round alike, so that they differ as little as in f32.
                let plain = Isa::available()[0];
                if is_winograd(isa, s) == is_winograd(plain, s) {
                    let plain = made(plain).into_iter().map(f64::from);
                    let apart = error(&y, &plain.collect::<Vec<_>>());
                    assert!(apart < 4e-6, "{isa:?} {s:?}: {apart:e}");
                }
            }
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }

    /// `<dy, conv(x)>` is linear in `x` and in the weight: its gradients are what it says of unit steps,
    /// and their products with the inputs give it back.
    #[test]
    fn gradients_are_the_adjoint_of_the_definition() {
        on_each(|isa| {
            for s in cases() {
                let (x, w) = (
                    draw::<f64>(s.b * s.t * s.ci, 1),
                    draw::<f64>(s.kernel * s.ci * s.co, 2),
                );
                let (zeros, dy) = (
                    vec![0.0; s.b * s.t * s.co],
                    draw::<f64>(s.b * s.t * s.co, 5),
                );
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let said =
                    |x: &[f64], w: &[f64], bias: &[f64]| dot(&defined(s, x, w, bias, &zeros), &dy);
                let mut packed = PackedWeight::default();
                packed.backward(isa, &w, s);
                let mut dx = vec![0.5; x.len()];
                backward_input(isa, s, &dy, &packed, &mut dx, true);
                let (mut dw, mut db) = (vec![0.25; w.len()], vec![0.25; s.co]);
                backward_weight(
                    isa,
                    s,
                    Prologue::plain(&x),
                    &dy,
                    &mut dw,
                    Some(&mut db),
                    true,
                );
                let none = vec![0.0; s.co];
                for seed in 6..9 {
                    let (vx, vw, vb) = (
                        draw(x.len(), seed),
                        draw(w.len(), seed + 3),
                        draw(s.co, seed + 6),
                    );
                    let near = |a: f64, b: f64| {
                        assert!(
                            (a - b).abs() < 1e-10 * (1.0 + a.abs()),
                            "{isa:?} {s:?}: {a} {b}"
                        )
                    };
                    let sum = |v: &[f64]| v.iter().sum::<f64>();
                    near(said(&vx, &w, &none), dot(&vx, &dx) - 0.5 * sum(&vx));
                    near(said(&x, &vw, &none), dot(&vw, &dw) - 0.25 * sum(&vw));
                    near(
                        said(&x, &vec![0.0; w.len()], &vb),
                        dot(&vb, &db) - 0.25 * sum(&vb),
                    );
                }
            }
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }

    #[test]
    fn reading_through_a_norm_equals_reading_what_it_makes() {
        on_each(|isa| {
            for s in cases().filter(|s| s.ci % 5 == 0) {
                let x = draw::<f64>(s.b * s.t * s.ci, 1);
                let (affine, film) = (draw(2 * s.ci, 2), draw::<f64>(s.b * 2 * s.ci, 3));
                let mut numbers = vec![0.0; s.b * COEFFICIENTS * s.ci];
                coefficients(
                    isa,
                    &x,
                    (s.b, s.t, s.ci),
                    &affine,
                    Some(&film),
                    5,
                    &mut numbers,
                );
                let norm = Applied {
                    coefficients: &numbers,
                    activation: Activation::Silu,
                };
                let source = Prologue {
                    x: &x,
                    norm: Some(norm),
                };
                let mut made = vec![0.0; x.len()];
                for (clip, made) in made.chunks_mut(s.t * s.ci).enumerate() {
                    source.read((s.t, s.ci), clip, 0..s.t, 0..s.ci, made);
                }
                let w = draw::<f64>(s.kernel * s.ci * s.co, 4);
                let mut packed = PackedWeight::default();
                packed.forward(isa, &w, s);
                let dy = draw::<f64>(s.b * s.t * s.co, 5);
                let both = [source, Prologue::plain(&made)].map(|source| {
                    let (mut y, mut dw) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
                    forward(isa, s, source, &packed, None, None, &mut y);
                    backward_weight(isa, s, source, &dy, &mut dw, None, false);
                    (y, dw)
                });
                assert!(error(&both[0].0, &both[1].0) < 1e-13, "{isa:?} {s:?}");
                assert!(error(&both[0].1, &both[1].1) < 1e-13, "{isa:?} {s:?}");
            }
            Ok::<_, ()>(())
        })
        .expect("nothing fails");
    }
}
