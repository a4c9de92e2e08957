//! Which instructions the loops of this crate are compiled for.

use std::sync::OnceLock;

use candle_core::Result;
use pulp::Arch;

/// Proof that this processor has the instructions the kernels need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Isa;

/// What this processor offers.
///
/// # Errors
/// When that is too little.
pub(crate) fn current() -> Result<Isa> {
    Ok(Isa)
}

/// Runs `f` in the version compiled for the widest vectors this processor has, chosen once.
///
/// What `f` calls must be `#[inline(always)]`, or it stays compiled for the oldest processor.
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    ARCH.get_or_init(Arch::new).dispatch(f)
}
