//! Which instructions the loops of this crate are compiled for.

use std::sync::OnceLock;

use pulp::Arch;

/// Runs `f` in the version compiled for the widest vectors this processor has, chosen once.
///
/// What `f` calls must be `#[inline(always)]`, or it stays compiled for the oldest processor.
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    ARCH.get_or_init(Arch::new).dispatch(f)
}
