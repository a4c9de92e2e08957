//! A buffer that several threads write at once.

use std::marker::PhantomData;
use std::ops::Range;

/// A slice whose disjoint parts may be written at once, where the borrow checker cannot tell them apart: blocks of a
/// matrix.
pub(crate) struct DisjointSlice<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: this is a slice borrowed mutably; callers of `part` promise that parts do not overlap, and values that may be
// sent may be written from another thread.
unsafe impl<T: Send> Sync for DisjointSlice<'_, T> {}

impl<'a, T> DisjointSlice<'a, T> {
    pub fn new(values: &'a mut [T]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len: values.len(),
            owner: PhantomData,
        }
    }

    /// One part.
    ///
    /// # Safety
    /// No other part that overlaps this one is alive.
    ///
    /// # Panics
    /// When the range lies outside.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // the caller's promise keeps the parts apart
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: the range lies inside the slice, which stays borrowed for `'a`, and the caller promises
        // that nothing else refers to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
