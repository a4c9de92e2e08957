//! The transforms of Winograd's algorithms F(m, r): m output frames from r taps [Lavin & Gray 2016, Sec. 4.1]. `Bᵀ`
//! transforms the input, `G` the taps, `Aᵀ` the products: `y = Aᵀ[(G·g) ⊙ (Bᵀ·d)]`.

use crate::real::Value;

/// A linear map from `I` values to `O`, applied channel by channel.
pub(super) trait Transform<const I: usize, const O: usize> {
    fn apply<V: Value>(x: [V; I]) -> [V; O];
}

/// `Bᵀ` of F(4, 3), whose points are 0, ±1, ±2 and infinity.
pub(super) struct F43Input;

impl Transform<6, 6> for F43Input {
    #[inline(always)]
    fn apply<V: Value>([d0, d1, d2, d3, d4, d5]: [V; 6]) -> [V; 6] {
        let (a, b) = (d4 - d2.times(4.0), d3 - d1.times(4.0));
        let (c, e) = (d4 - d2, (d3 - d1).times(2.0));
        [
            d0.times(4.0) - d2.times(5.0) + d4,
            a + b,
            a - b,
            c + e,
            c - e,
            d1.times(4.0) - d3.times(5.0) + d5,
        ]
    }
}

/// `G` of F(4, 3).
pub(super) struct F43Taps;

impl Transform<3, 6> for F43Taps {
    #[inline(always)]
    fn apply<V: Value>([g0, g1, g2]: [V; 3]) -> [V; 6] {
        let (even, odd) = ((g0 + g2).times(-1.0 / 6.0), g1.times(-1.0 / 6.0));
        let (far, mid) = (
            g0.times(1.0 / 24.0) + g2.times(1.0 / 6.0),
            g1.times(1.0 / 12.0),
        );
        [
            g0.times(0.25),
            even + odd,
            even - odd,
            far + mid,
            far - mid,
            g2,
        ]
    }
}

/// `Gᵀ` of F(4, 3).
pub(super) struct F43TapsAdjoint;

impl Transform<6, 3> for F43TapsAdjoint {
    #[inline(always)]
    fn apply<V: Value>([u0, u1, u2, u3, u4, u5]: [V; 6]) -> [V; 3] {
        let (near, far) = ((u1 + u2).times(-1.0 / 6.0), u3 + u4);
        [
            u0.times(0.25) + near + far.times(1.0 / 24.0),
            (u2 - u1).times(1.0 / 6.0) + (u3 - u4).times(1.0 / 12.0),
            near + far.times(1.0 / 6.0) + u5,
        ]
    }
}

/// `Aᵀ` of F(4, 3).
pub(super) struct F43Output;

impl Transform<6, 4> for F43Output {
    #[inline(always)]
    fn apply<V: Value>([m0, m1, m2, m3, m4, m5]: [V; 6]) -> [V; 4] {
        let (a, b, c, e) = (m1 + m2, m1 - m2, m3 + m4, m3 - m4);
        [
            m0 + a + c,
            b + e.times(2.0),
            a + c.times(4.0),
            b + e.times(8.0) + m5,
        ]
    }
}

/// `A` of F(4, 3).
pub(super) struct F43OutputAdjoint;

impl Transform<4, 6> for F43OutputAdjoint {
    #[inline(always)]
    fn apply<V: Value>([y0, y1, y2, y3]: [V; 4]) -> [V; 6] {
        let (even, odd) = (y0 + y2, y1 + y3);
        let (far_even, far_odd) = (y0 + y2.times(4.0), y1.times(2.0) + y3.times(8.0));
        [
            y0,
            even + odd,
            even - odd,
            far_even + far_odd,
            far_even - far_odd,
            y3,
        ]
    }
}

/// `Bᵀ` of F(4, 5), whose points are 0, ±1, ±2, ±1/2 and infinity.
pub(super) struct F45Input;

impl Transform<8, 8> for F45Input {
    #[inline(always)]
    fn apply<V: Value>([d0, d1, d2, d3, d4, d5, d6, d7]: [V; 8]) -> [V; 8] {
        let (a, b) = (d6 + d2 - d4.times(4.25), d5 + d1 - d3.times(4.25));
        let c = d6 + d2.times(0.25) - d4.times(1.25);
        let e = d5.times(2.0) + d1.times(0.5) - d3.times(2.5);
        let f = d6 + d2.times(4.0) - d4.times(5.0);
        let g = d5.times(0.5) + d1.times(2.0) - d3.times(2.5);
        [
            d0 - d6 + (d4 - d2).times(5.25),
            a + b,
            a - b,
            c + e,
            c - e,
            f + g,
            f - g,
            d7 - d1 + (d3 - d5).times(5.25),
        ]
    }
}

/// `G` of F(4, 5).
pub(super) struct F45Taps;

impl Transform<5, 8> for F45Taps {
    #[inline(always)]
    fn apply<V: Value>([g0, g1, g2, g3, g4]: [V; 5]) -> [V; 8] {
        let one = -2.0 / 9.0;
        let (a, b) = ((g0 + g2 + g4).times(one), (g1 + g3).times(one));
        let c = (g0 + g2.times(4.0) + g4.times(16.0)).times(1.0 / 90.0);
        let e = (g1 + g3.times(4.0)).times(1.0 / 45.0);
        let f = (g0.times(16.0) + g2.times(4.0) + g4).times(2.0 / 45.0);
        let g = (g1.times(4.0) + g3).times(4.0 / 45.0);
        [g0, a + b, a - b, c + e, c - e, f + g, f - g, g4]
    }
}

/// `Gᵀ` of F(4, 5).
pub(super) struct F45TapsAdjoint;

impl Transform<8, 5> for F45TapsAdjoint {
    #[inline(always)]
    fn apply<V: Value>([u0, u1, u2, u3, u4, u5, u6, u7]: [V; 8]) -> [V; 5] {
        let one = -2.0 / 9.0;
        let (a, b) = ((u1 + u2).times(one), (u1 - u2).times(one));
        let (c, e) = ((u3 + u4).times(1.0 / 90.0), (u3 - u4).times(1.0 / 45.0));
        let (f, g) = ((u5 + u6).times(2.0 / 45.0), (u5 - u6).times(4.0 / 45.0));
        [
            u0 + a + c + f.times(16.0),
            b + e + g.times(4.0),
            a + (c + f).times(4.0),
            b + e.times(4.0) + g,
            a + c.times(16.0) + f + u7,
        ]
    }
}

/// `Aᵀ` of F(4, 5).
pub(super) struct F45Output;

impl Transform<8, 4> for F45Output {
    #[inline(always)]
    fn apply<V: Value>([m0, m1, m2, m3, m4, m5, m6, m7]: [V; 8]) -> [V; 4] {
        let (a, b) = (m1 + m2, m1 - m2);
        let (c, e) = (m3 + m4, m3 - m4);
        let (f, g) = (m5 + m6, m5 - m6);
        [
            m0 + a + c + f,
            b + e.times(2.0) + g.times(0.5),
            a + c.times(4.0) + f.times(0.25),
            b + e.times(8.0) + g.times(0.125) + m7,
        ]
    }
}

/// `A` of F(4, 5).
pub(super) struct F45OutputAdjoint;

impl Transform<4, 8> for F45OutputAdjoint {
    #[inline(always)]
    fn apply<V: Value>([y0, y1, y2, y3]: [V; 4]) -> [V; 8] {
        let (even, odd) = (y0 + y2, y1 + y3);
        let (far_even, far_odd) = (y0 + y2.times(4.0), y1.times(2.0) + y3.times(8.0));
        let (near_even, near_odd) = (y0 + y2.times(0.25), y1.times(0.5) + y3.times(0.125));
        [
            y0,
            even + odd,
            even - odd,
            far_even + far_odd,
            far_even - far_odd,
            near_even + near_odd,
            near_even - near_odd,
            y3,
        ]
    }
}

/// One algorithm F(`STEP`, `TAPS`): `STEP` output frames from `READ` input frames by `POINTS` products.
pub(super) trait Form<const TAPS: usize, const READ: usize, const POINTS: usize, const STEP: usize>:
    Copy + Send + Sync
{
    type Input: Transform<READ, POINTS>;
    type Taps: Transform<TAPS, POINTS>;
    type Output: Transform<POINTS, STEP>;
}

/// The adjoints `Gᵀ` and `A`, for the gradient of the weight.
pub(super) trait FormAdjoint<
    const TAPS: usize,
    const READ: usize,
    const POINTS: usize,
    const STEP: usize,
>: Form<TAPS, READ, POINTS, STEP>
{
    type TapsAdjoint: Transform<POINTS, TAPS>;
    type OutputAdjoint: Transform<STEP, POINTS>;
}

/// F(4, 3) in f32.
#[derive(Clone, Copy)]
pub(super) struct F43;

impl Form<3, 6, 6, 4> for F43 {
    type Input = F43Input;
    type Taps = F43Taps;
    type Output = F43Output;
}

impl FormAdjoint<3, 6, 6, 4> for F43 {
    type TapsAdjoint = F43TapsAdjoint;
    type OutputAdjoint = F43OutputAdjoint;
}

/// F(4, 5) in f32.
#[derive(Clone, Copy)]
pub(super) struct F45;

impl Form<5, 8, 8, 4> for F45 {
    type Input = F45Input;
    type Taps = F45Taps;
    type Output = F45Output;
}

impl FormAdjoint<5, 8, 8, 4> for F45 {
    type TapsAdjoint = F45TapsAdjoint;
    type OutputAdjoint = F45OutputAdjoint;
}

/// F(2, 3) with operands rounded to bf16. F(4, 3) would enlarge their rounding errors too much.
#[derive(Clone, Copy)]
pub(super) struct F23;

impl Form<3, 4, 4, 2> for F23 {
    type Input = Rounded<F23Input>;
    type Taps = Rounded<F23Taps>;
    type Output = F23Output;
}

/// F(4, 5) as F(2, 3) over pairs of frames, each pair by F(2, 2), with operands rounded to bf16.
#[derive(Clone, Copy)]
pub(super) struct F23ByF22;

impl Form<5, 8, 11, 4> for F23ByF22 {
    type Input = Rounded<F23ByF22Input>;
    type Taps = Rounded<F23ByF22Taps>;
    type Output = F23ByF22Output;
}

/// `M`, its results rounded to bf16.
pub(super) struct Rounded<M>(M);

impl<M: Transform<I, O>, const I: usize, const O: usize> Transform<I, O> for Rounded<M> {
    #[inline(always)]
    fn apply<V: Value>(x: [V; I]) -> [V; O] {
        let mut y = M::apply(x);
        for value in &mut y {
            *value = value.rounded();
        }
        y
    }
}

/// `Bᵀ` of F(2, 3).
pub(super) struct F23Input;

impl Transform<4, 4> for F23Input {
    #[inline(always)]
    fn apply<V: Value>([d0, d1, d2, d3]: [V; 4]) -> [V; 4] {
        [d0 - d2, d1 + d2, d2 - d1, d1 - d3]
    }
}

/// `G` of F(2, 3).
pub(super) struct F23Taps;

impl Transform<3, 4> for F23Taps {
    #[inline(always)]
    fn apply<V: Value>([g0, g1, g2]: [V; 3]) -> [V; 4] {
        let (even, odd) = ((g0 + g2).times(0.5), g1.times(0.5));
        [g0, even + odd, even - odd, g2]
    }
}

/// `Aᵀ` of F(2, 3).
pub(super) struct F23Output;

impl Transform<4, 2> for F23Output {
    #[inline(always)]
    fn apply<V: Value>([m0, m1, m2, m3]: [V; 4]) -> [V; 2] {
        [m0 + m1 + m2, m1 - m2 - m3]
    }
}

/// `Bᵀ` of F(2, 3) over pairs of frames, each by F(2, 2), whose points are 0, 1 and infinity. The fifth tap has no
/// partner: its pair takes two products instead of three.
pub(super) struct F23ByF22Input;

impl Transform<8, 11> for F23ByF22Input {
    #[inline(always)]
    fn apply<V: Value>([d0, d1, d2, d3, d4, d5, d6, d7]: [V; 8]) -> [V; 11] {
        let [a0, a1, a2] = pair_input([d0 - d4, d1 - d5, d2 - d6]);
        let [b0, b1, b2] = pair_input([d2 + d4, d3 + d5, d4 + d6]);
        let [c0, c1, c2] = pair_input([d4 - d2, d5 - d3, d6 - d4]);
        [a0, a1, a2, b0, b1, b2, c0, c1, c2, d2 - d6, d3 - d7]
    }
}

/// `Bᵀ` of F(2, 2).
#[inline(always)]
fn pair_input<V: Value>([d0, d1, d2]: [V; 3]) -> [V; 3] {
    [d0 - d1, d1, d1 - d2]
}

/// `Aᵀ` of F(2, 2).
#[inline(always)]
fn pair_output<V: Value>([m0, m1, m2]: [V; 3]) -> [V; 2] {
    [m0 + m1, m1 - m2]
}

/// `G` of [`F23ByF22Input`]'s form.
pub(super) struct F23ByF22Taps;

impl Transform<5, 11> for F23ByF22Taps {
    #[inline(always)]
    fn apply<V: Value>([g0, g1, g2, g3, g4]: [V; 5]) -> [V; 11] {
        let (ends, odd) = (g0 + g4, (g1 + g3).times(0.5));
        let (sum, difference) = ((ends + g2).times(0.5), (ends - g2).times(0.5));
        let odd_difference = (g1 - g3).times(0.5);
        [
            g0,
            g0 + g1,
            g1,
            sum,
            sum + odd,
            odd,
            difference,
            difference + odd_difference,
            odd_difference,
            g4,
            g4,
        ]
    }
}

/// `Aᵀ` of [`F23ByF22Input`]'s form.
pub(super) struct F23ByF22Output;

impl Transform<11, 4> for F23ByF22Output {
    #[inline(always)]
    fn apply<V: Value>([a0, a1, a2, b0, b1, b2, c0, c1, c2, e0, e1]: [V; 11]) -> [V; 4] {
        let [a0, a1] = pair_output([a0, a1, a2]);
        let [b0, b1] = pair_output([b0, b1, b2]);
        let [c0, c1] = pair_output([c0, c1, c2]);
        [a0 + b0 + c0, a1 + b1 + c1, b0 - c0 - e0, b1 - c1 - e1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    fn draw<const N: usize>(seed: u64) -> [f64; N] {
        let mut draws = draws(seed);
        std::array::from_fn(|_| draws.next().expect("there is always another"))
    }

    /// `Aᵀ(Gg ∘ Bᵀd)` against the definition.
    fn is_a_convolution<
        I: Transform<READ, N>,
        G: Transform<TAPS, N>,
        A: Transform<N, STEP>,
        const TAPS: usize,
        const READ: usize,
        const N: usize,
        const STEP: usize,
    >() {
        assert_eq!(READ, STEP + TAPS - 1);
        for seed in 0..20 {
            let (d, g) = (draw::<READ>(seed), draw::<TAPS>(seed + 100));
            let (points, taps) = (I::apply(d), G::apply(g));
            let made = A::apply(std::array::from_fn(|k| points[k] * taps[k]));
            for (j, made) in made.into_iter().enumerate() {
                let defined: f64 = (0..TAPS).map(|k| g[k] * d[j + k]).sum();
                assert!(
                    (made - defined).abs() < 1e-13,
                    "{N} points, frame {j}: {made} {defined}"
                );
            }
        }
    }

    /// `<M x, y> = <x, Mᵀ y>`.
    fn is_adjoint<M: Transform<I, O>, B: Transform<O, I>, const I: usize, const O: usize>() {
        let (x, y) = (draw::<I>(1), draw::<O>(2));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (there, back) = (dot(&M::apply(x), &y), dot(&x, &B::apply(y)));
        assert!((there - back).abs() < 1e-13, "{I} to {O}: {there} {back}");
    }

    #[test]
    fn every_form_is_the_convolution_and_its_way_back_the_adjoint() {
        is_a_convolution::<F43Input, F43Taps, F43Output, 3, 6, 6, 4>();
        is_a_convolution::<F45Input, F45Taps, F45Output, 5, 8, 8, 4>();
        is_a_convolution::<F23Input, F23Taps, F23Output, 3, 4, 4, 2>();
        is_a_convolution::<F23ByF22Input, F23ByF22Taps, F23ByF22Output, 5, 8, 11, 4>();
        is_adjoint::<F43Taps, F43TapsAdjoint, 3, 6>();
        is_adjoint::<F43Output, F43OutputAdjoint, 6, 4>();
        is_adjoint::<F45Taps, F45TapsAdjoint, 5, 8>();
        is_adjoint::<F45Output, F45OutputAdjoint, 8, 4>();
    }
}
