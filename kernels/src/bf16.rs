//! Products of bf16 numbers, two at once where f32 has one, by AVX512-BF16 or AMX.
//!
//! Operands are rounded to bf16 beforehand. Two neighbours in `k` share the four bytes of an f32, the earlier one in
//! the lower half: a buffer of pairs is a buffer of f32 with half the rows, or half the values a row. Sums stay in f32.
//! AMX multiplies 16 rows by 16 columns at once. Tests run the same packing with an emulation in plain loops.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_set1_epi32, _mm512_setzero_ps,
};
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use crate::real::{Real, Value as _};

/// Rounds values to bf16.
pub(crate) struct Round<'a, T>(pub &'a mut [T]);

impl<T: Real> WithSimd for Round<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        round(self.0);
    }
}

/// [`Round`] within a task.
#[inline(always)]
pub(crate) fn round<T: Real>(values: &mut [T]) {
    for value in values {
        *value = value.rounded();
    }
}

/// A unit that multiplies pairs. A value exists only where its instructions do.
#[derive(Clone, Copy)]
pub(crate) struct Pairs(Unit);

#[derive(Clone, Copy)]
enum Unit {
    /// AVX512-BF16, and AMX where there are tiles.
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        #[cfg(target_os = "linux")]
        tiles: Option<tiles::Tiles>,
    },
    /// Plain loops over panels of this width.
    #[cfg(test)]
    Emulated { width: usize },
}

impl Pairs {
    /// AVX512-BF16, if this processor has it.
    #[cfg(target_arch = "x86_64")]
    pub fn try_new() -> Option<Self> {
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bf16")
        {
            return Some(Self(Unit::Avx512 {
                #[cfg(target_os = "linux")]
                tiles: None,
            }));
        }
        None
    }

    /// AMX, if this processor has it and the system lets this process use it.
    #[cfg(target_arch = "x86_64")]
    pub fn with_tiles(self) -> Option<Self> {
        #[cfg(target_os = "linux")]
        return match self.0 {
            Unit::Avx512 { .. } => tiles::Tiles::try_new().map(|tiles| {
                let tiles = Some(tiles);
                Self(Unit::Avx512 { tiles })
            }),
            #[cfg(test)]
            Unit::Emulated { .. } => None,
        };
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// The same products in plain loops, on any processor.
    #[cfg(test)]
    pub fn emulated(width: usize) -> Self {
        Self(Unit::Emulated { width })
    }

    /// Joins neighbours: `to` is half as long as `from`, whose values are rounded.
    pub fn join_columns<T: Real>(self, from: &[T], to: &mut [T]) {
        let (from, to) = (cast_slice(from), cast_slice_mut(to));
        #[cfg(not(any(test, target_arch = "x86_64")))]
        let _: (&[f32], &mut [f32]) = (from, to);
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant exists only where the processor has AVX-512F and AVX512-BF16.
            Unit::Avx512 { .. } => unsafe { join_columns(from, to) },
            #[cfg(test)]
            Unit::Emulated { .. } => join_plainly(from, to),
        }
    }

    /// Joins each row of `width` values with the next: `to` is half as long as `from`, whose values are rounded.
    pub fn join_rows<T: Real>(self, from: &[T], width: usize, to: &mut [T]) {
        let (from, to) = (cast_slice::<T, f32>(from), cast_slice_mut::<T, f32>(to));
        let both = from.chunks_exact(2 * width).zip(to.chunks_exact_mut(width));
        for (from, to) in both {
            let (low, high) = from.split_at(width);
            for ((to, &low), &high) in to.iter_mut().zip(low).zip(high) {
                *to = join(low, high);
            }
        }
    }

    /// [`product`](crate::gemm::product) of pairs: all lengths but `out`'s count these.
    pub fn product<T: Real>(
        self,
        m: usize,
        (a, stride): (&[T], usize),
        panel: &[T],
        out: &mut [T],
    ) {
        let (a, panel) = (cast_slice(a), cast_slice(panel));
        let out = cast_slice_mut(out);
        #[cfg(not(any(test, target_arch = "x86_64")))]
        let _: (usize, &[f32], usize, &[f32], &mut [f32]) = (m, a, stride, panel, out);
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Avx512 { tiles: Some(tiles) } if panel.len().is_multiple_of(tiles::STEP) => {
                tiles.product(m, (a, stride), panel, out);
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant exists only where the processor has AVX-512F and AVX512-BF16.
            Unit::Avx512 { .. } => unsafe { product(m, (a, stride), panel, out) },
            #[cfg(test)]
            Unit::Emulated { width } => emulated_product(m, (a, stride), panel, width, out),
        }
    }
}

/// A pair: two rounded numbers in the place of one.
#[inline(always)]
fn join(low: f32, high: f32) -> f32 {
    f32::from_bits(low.to_bits() >> 16 | high.to_bits() & 0xffff_0000)
}

/// [`Pairs::join_columns`], value by value.
#[cfg(any(test, target_arch = "x86_64"))]
fn join_plainly(from: &[f32], to: &mut [f32]) {
    for (&[low, high], to) in from.as_chunks::<2>().0.iter().zip(to) {
        *to = join(low, high);
    }
}

/// [`Pairs::product`] in plain loops.
#[cfg(test)]
fn emulated_product(
    m: usize,
    (a, stride): (&[f32], usize),
    panel: &[f32],
    width: usize,
    out: &mut [f32],
) {
    let split = |pair: f32| {
        let bits = pair.to_bits();
        [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
    };
    for (i, out) in out.chunks_exact_mut(width).take(m).enumerate() {
        out.fill(0.0);
        for (k, row) in panel.chunks_exact(width).enumerate() {
            let [a_low, a_high] = split(a[i * stride + k]);
            for (sum, &b) in out.iter_mut().zip(row) {
                let [b_low, b_high] = split(b);
                *sum += a_low * b_low + a_high * b_high;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn join_columns(from: &[f32], to: &mut [f32]) {
    let (vectors, rest) = from.as_chunks::<32>();
    let (joined, rest_joined) = to.as_chunks_mut::<16>();
    for (from, to) in vectors.iter().zip(&mut *joined) {
        // SAFETY: 32 values lie there.
        let (low, high) = unsafe {
            (
                _mm512_loadu_ps(from.as_ptr()),
                _mm512_loadu_ps(from.as_ptr().add(16)),
            )
        };
        // Of rounded values nothing is lost; the first operand becomes the upper half.
        let both = _mm512_cvtne2ps_pbh(high, low);
        // SAFETY: both are 64 bytes, which may be any numbers.
        *to = unsafe { transmute::<__m512bh, [f32; 16]>(both) };
    }
    join_plainly(rest, rest_joined);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn product(m: usize, (a, stride): (&[f32], usize), panel: &[f32], out: &mut [f32]) {
    let (panel, _) = panel.as_chunks::<16>();
    let (out, _) = out.as_chunks_mut::<16>();
    crate::gemm::in_blocks!(pulp::x86::V4, m, |ROWS, first| {
        block::<ROWS>((&a[first * stride..], stride), panel, &mut out[2 * first..]);
    });
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop)] // such loops are unrolled, the sums in registers
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn block<const ROWS: usize>(
    (a, stride): (&[f32], usize),
    panel: &[[f32; 16]],
    out: &mut [[f32; 16]],
) {
    let (panel, _) = panel.as_chunks::<2>();
    // Bounds are checked here once: a check in the loop would be an exit, for which the compiler keeps the sums in
    // memory.
    assert!(a.len() >= (ROWS - 1) * stride + panel.len() && out.len() >= 2 * ROWS);
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (k, [left, right]) in panel.iter().enumerate() {
        // SAFETY: both are 64 bytes, and any bytes are 32 bf16 numbers.
        let left = unsafe { transmute::<[f32; 16], __m512bh>(*left) };
        // SAFETY: as above.
        let right = unsafe { transmute::<[f32; 16], __m512bh>(*right) };
        for i in 0..ROWS {
            // SAFETY: i < ROWS and k < panel.len(), which was checked.
            let x = unsafe { a.get_unchecked(i * stride + k) };
            let x = _mm512_set1_epi32(x.to_bits().cast_signed());
            // SAFETY: as above.
            let x = unsafe { transmute::<__m512i, __m512bh>(x) };
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], x, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], x, right);
        }
    }
    for i in 0..ROWS {
        for j in 0..2 {
            // SAFETY: both are 64 bytes, which may be any numbers.
            out[2 * i + j] = unsafe { transmute::<__m512, [f32; 16]>(sums[i][j]) };
        }
    }
}

/// Products by AMX: eight registers of 16 rows of 64 bytes.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// Rows of a tile, and the numbers or pairs in each.
    const SIDE: usize = 16;
    /// Columns of a panel.
    const WIDTH: usize = 2 * SIDE;
    /// Values of a panel that are used up at once.
    pub const STEP: usize = SIDE * WIDTH;

    /// The right of this process to use tiles. A value exists only where it was granted.
    #[derive(Clone, Copy)]
    pub struct Tiles(());

    /// The operand of `ldtilecfg`.
    #[repr(C, align(64))]
    struct Shapes([u8; 64]);

    impl Shapes {
        /// Sums in tiles 0 to 3, two tiles of `rows` each; the left side in 4 and 5, the panel in 6 and 7.
        fn of(rows: [usize; 2]) -> Self {
            let mut bytes = [0; 64];
            bytes[0] = 1;
            let [upper, lower] = rows.map(|rows| rows as u8);
            let rows = [upper, upper, lower, lower, upper, lower, 16, 16];
            for (i, rows) in rows.into_iter().enumerate().filter(|(_, rows)| *rows > 0) {
                bytes[16 + 2 * i] = 64;
                bytes[48 + i] = rows;
            }
            Self(bytes)
        }
    }

    impl Tiles {
        /// Asks the processor whether it has tiles, then the system for leave to use them.
        pub fn try_new() -> Option<Self> {
            const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
            const ARCH_PRCTL: i64 = 158;
            const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
            const XFEATURE_XTILEDATA: i64 = 18;
            if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & BF16_AND_TILES != BF16_AND_TILES {
                return None;
            }
            let mut answer = ARCH_PRCTL;
            // SAFETY: the call reads its two numbers and changes what this process may use; it writes the
            // registers that are named here.
            unsafe {
                asm!("syscall", inlateout("rax") answer, in("rdi") ARCH_REQ_XCOMP_PERM,
                    in("rsi") XFEATURE_XTILEDATA, out("rcx") _, out("r11") _, options(nostack));
            }
            (answer == 0).then_some(Self(()))
        }

        /// `out = a · panel` in pairs; `panel` is a multiple of [`STEP`] long.
        pub fn product(
            self,
            m: usize,
            (a, stride): (&[f32], usize),
            panel: &[f32],
            out: &mut [f32],
        ) {
            let depth = panel.len() / WIDTH;
            if m == 0 || depth == 0 {
                out[..m * WIDTH].fill(0.0);
                return;
            }
            assert!(a.len() >= (m - 1) * stride + depth && out.len() >= m * WIDTH);
            let mut shaped = [0; 2];
            for first in (0..m).step_by(2 * SIDE) {
                let upper = SIDE.min(m - first);
                let rows = [upper, SIDE.min(m - first - upper)];
                if rows != shaped {
                    let shapes = Shapes::of(rows);
                    // SAFETY: `self` says that there are tiles; the shapes are within what they hold.
                    unsafe {
                        asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, readonly));
                    }
                    shaped = rows;
                }
                let a = &a[first * stride..];
                let out = &mut out[first * WIDTH..];
                // SAFETY: `rows` rows of `depth` values lie in `a` and as many of `WIDTH` in `out`, as was
                // checked; `panel` is whole steps.
                unsafe {
                    if rows[1] == 0 {
                        half(a.as_ptr(), stride, panel, out.as_mut_ptr());
                    } else {
                        whole(a.as_ptr(), stride, panel, out.as_mut_ptr());
                    }
                }
            }
            // SAFETY: `self` says that there are tiles; nothing of them is needed any more.
            unsafe {
                asm!("tilerelease", options(nostack, nomem));
            }
        }
    }

    /// Two tiles of rows against a panel.
    ///
    /// # Safety
    /// The tiles are configured. As many rows as configured lie at `a`, `stride` values apart, and there is room for
    /// their results at `out`.
    unsafe fn whole(a: *const f32, stride: usize, panel: &[f32], out: *mut f32) {
        // SAFETY: as above.
        unsafe {
            let lower = a.add(SIDE * stride);
            let out_lower = out.add(SIDE * WIDTH);
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{b} + {width}*1]",
                "tileloadd tmm4, [{a} + {stride}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{lower} + {stride}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm7, [{b} + {width}*1 + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {b}, 2048",
                "add {a}, 64",
                "add {lower}, 64",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{out} + {width}*1], tmm0",
                "tilestored [{out} + {width}*1 + 64], tmm1",
                "tilestored [{out_lower} + {width}*1], tmm2",
                "tilestored [{out_lower} + {width}*1 + 64], tmm3",
                a = inout(reg) a => _,
                lower = inout(reg) lower => _,
                b = inout(reg) panel.as_ptr() => _,
                steps = inout(reg) panel.len() / STEP => _,
                out = in(reg) out,
                out_lower = in(reg) out_lower,
                stride = in(reg) 4 * stride,
                width = in(reg) 4 * WIDTH,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    /// One tile of rows against a panel.
    ///
    /// # Safety
    /// As for [`whole`].
    unsafe fn half(a: *const f32, stride: usize, panel: &[f32], out: *mut f32) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "2:",
                "tileloadd tmm4, [{a} + {stride}*1]",
                "tileloadd tmm6, [{b} + {width}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {width}*1 + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {b}, 2048",
                "add {a}, 64",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{out} + {width}*1], tmm0",
                "tilestored [{out} + {width}*1 + 64], tmm1",
                a = inout(reg) a => _,
                b = inout(reg) panel.as_ptr() => _,
                steps = inout(reg) panel.len() / STEP => _,
                out = in(reg) out,
                stride = in(reg) 4 * stride,
                width = in(reg) 4 * WIDTH,
                out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draws;

    /// Integers, whose sums are exact in any order.
    fn draw(n: usize, seed: u64) -> Vec<f32> {
        let small = draws(seed).map(|x| (x * 60.0).round() as f32);
        small.take(n).collect()
    }

    #[test]
    fn a_product_of_pairs_is_that_of_numbers() {
        const WIDTH: usize = 32;
        #[cfg(target_arch = "x86_64")]
        let hardware = Pairs::try_new();
        #[cfg(not(target_arch = "x86_64"))]
        let hardware: Option<Pairs> = None;
        if hardware.is_none() {
            eprintln!("notice: no AVX512-BF16 here; only its emulation is tested");
        }
        let sizes = [
            (1, 2, 2),
            (27, 350, 70),
            (12, 6, 2),
            (37, 64, 64),
            (5, 32, 34),
            (48, 96, 32),
            (64, 320, 64),
        ];
        let mut units = vec![Pairs::emulated(WIDTH)];
        units.extend(hardware);
        #[cfg(target_arch = "x86_64")]
        units.extend(hardware.and_then(Pairs::with_tiles));
        for (pairs, (m, k, stride)) in units
            .into_iter()
            .flat_map(|pairs| sizes.map(|sizes| (pairs, sizes)))
            .filter(|(_, (m, k, _))| !cfg!(miri) || m * k < 3000)
        // an interpreter takes minutes for more
        {
            let len = (m - 1) * stride + k;
            let (a, panel) = (draw(len, 1), draw(k * WIDTH, 2));
            let mut expected = vec![0.0; m * WIDTH];
            for (i, row) in expected.chunks_exact_mut(WIDTH).enumerate() {
                for (j, sum) in row.iter_mut().enumerate() {
                    *sum = (0..k)
                        .map(|k| a[i * stride + k] * panel[k * WIDTH + j])
                        .sum();
                }
            }
            let (mut joined, mut joined_panel) = (vec![0.0; len / 2], vec![0.0; k / 2 * WIDTH]);
            pairs.join_columns(&a, &mut joined);
            pairs.join_rows(&panel, WIDTH, &mut joined_panel);
            let mut found = vec![f32::NAN; m * WIDTH];
            pairs.product(m, (&joined, stride / 2), &joined_panel, &mut found);
            assert_eq!(found, expected, "{m} rows of {k}");
        }
    }
}
