//! A buffer that several threads write at once.

use std::marker::PhantomData;
use std::ops::Range;

/// Hands out parts of a slice that the borrow checker cannot tell apart: blocks of a matrix.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: it is only a slice borrowed mutably; who takes parts of it promises that they do not overlap,
// and values that may be sent may be written from another thread.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
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
