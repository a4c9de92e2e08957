//! Instruction sets that the loops of this crate are compiled for.

use std::fmt;
use std::sync::OnceLock;

use candle_core::{Error, Result};
use pulp::{Simd, WithSimd};

use crate::bf16::Pairs;

/// An instruction set that this processor has. Every loop is compiled once for each.
#[derive(Clone, Copy)]
pub struct Isa(Set);

#[derive(Clone, Copy)]
enum Set {
    Portable,
    /// With the products of [`Set::Avx512Bf16`] emulated, for tests.
    #[cfg(test)]
    PortableBf16(Pairs),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// With products of bf16 numbers by pairs.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(pulp::x86::V4, Pairs),
    /// With products of bf16 numbers by tiles.
    #[cfg(target_arch = "x86_64")]
    Amx(pulp::x86::V4, Pairs),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

/// The environment variable that forces an instruction set.
const VARIABLE: &str = "AUDIODIFF_ISA";

impl Isa {
    /// Every instruction set that this processor has, the plainest first.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(
            target_family = "wasm",
            expect(unused_mut, reason = "what the module may use was decided with it")
        )]
        let mut sets = vec![Set::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(pulp::x86::V3::try_new().map(Set::Avx2));
            let avx512 = pulp::x86::V4::try_new();
            sets.extend(avx512.map(Set::Avx512));
            let both = avx512.zip(Pairs::try_new());
            sets.extend(both.map(|(simd, pairs)| Set::Avx512Bf16(simd, pairs)));
            let tiles = both.and_then(|(simd, pairs)| Some((simd, pairs.with_tiles()?)));
            sets.extend(tiles.map(|(simd, pairs)| Set::Amx(simd, pairs)));
        }
        #[cfg(target_arch = "aarch64")]
        sets.extend(pulp::aarch64::Neon::try_new().map(Set::Neon));
        sets.into_iter().map(Self).collect()
    }

    /// The widest, or the one that the environment variable `AUDIODIFF_ISA` names: `portable`, `avx2`,
    /// `avx512`, `avx512bf16`, `amx` or `neon`. Decided once.
    ///
    /// # Errors
    /// When it names none that this processor has.
    pub fn current() -> Result<Self> {
        static CURRENT: OnceLock<std::result::Result<Isa, String>> = OnceLock::new();
        #[cfg(test)]
        if let Some(isa) = FORCED.get() {
            return Ok(isa);
        }
        match CURRENT.get_or_init(|| Self::choose(std::env::var(VARIABLE).ok().as_deref())) {
            Ok(isa) => Ok(*isa),
            Err(reason) => Err(Error::Msg(reason.clone())),
        }
    }

    fn choose(name: Option<&str>) -> std::result::Result<Self, String> {
        let available = Self::available();
        let Some(name) = name else {
            return Ok(available[available.len() - 1]);
        };
        let found = available.iter().find(|isa| isa.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            let names = names.join(", ");
            format!("{VARIABLE}: expected one this processor has, {names}, found `{name}`")
        })
    }

    /// Its name, as `AUDIODIFF_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(test)]
            Set::PortableBf16(_) => "portable with emulated pairs",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16(..) => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Set::Amx(..) => "amx",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
        }
    }

    /// Whether there are instructions for bf16 products, which then take less time than f32.
    pub fn has_bf16(self) -> bool {
        self.pairs().is_some()
    }

    /// Whether bf16 products are computed by AMX, so fast that fewer of them gain nothing.
    pub(crate) fn has_tiles(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx(..) => true,
            _ => false,
        }
    }

    /// The unit that multiplies pairs of bf16 numbers.
    pub(crate) fn pairs(self) -> Option<Pairs> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16(_, pairs) | Set::Amx(_, pairs) => Some(pairs),
            #[cfg(test)]
            Set::PortableBf16(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Runs `f` in the version compiled for this instruction set.
    ///
    /// Functions that `f` calls must be `#[inline(always)]`, else they stay compiled for the oldest processor.
    pub(crate) fn run<F: WithSimd>(self, f: F) -> F::Output {
        match self.0 {
            Set::Portable => f.with_simd(pulp::Scalar128b),
            #[cfg(test)]
            Set::PortableBf16(_) => f.with_simd(pulp::Scalar128b),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => Simd::vectorize(simd, f),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) | Set::Avx512Bf16(simd, _) | Set::Amx(simd, _) => {
                Simd::vectorize(simd, f)
            }
            #[cfg(target_arch = "aarch64")]
            Set::Neon(simd) => Simd::vectorize(simd, f),
        }
    }

    /// The width of a packed matrix's panel in values: two vectors.
    pub(crate) fn panel<T: crate::real::Real>(self) -> usize {
        struct Width<T>(std::marker::PhantomData<T>);
        impl<T: crate::real::Real> WithSimd for Width<T> {
            type Output = usize;
            fn with_simd<S: Simd>(self, _: S) -> usize {
                2 * T::lanes::<S>()
            }
        }
        self.run(Width::<T>(std::marker::PhantomData))
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// Runs `f` once with each instruction set of this processor, and once with bf16 products emulated, as the current
/// one of this thread.
#[cfg(test)]
pub(crate) fn on_each<E>(
    f: impl Fn(Isa) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let emulated = Pairs::emulated(Isa(Set::Portable).panel::<f32>());
    let emulated = Isa(Set::PortableBf16(emulated));
    Isa::available()
        .into_iter()
        .chain([emulated])
        .try_for_each(|isa| {
            FORCED.set(Some(isa));
            let result = f(isa);
            FORCED.set(None);
            result
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_chooses_and_an_unknown_one_is_refused() {
        assert_eq!(
            Isa::choose(Some("portable")).expect("everywhere").name(),
            "portable"
        );
        let reason = Isa::choose(Some("sse9")).expect_err("no such set");
        assert!(
            reason.contains("portable") && reason.contains("sse9"),
            "{reason}"
        );
    }
}
