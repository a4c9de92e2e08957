//! The memory for prepared sounds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Decides which prepared sounds stay in memory: where not all fit, those that take longest to decode again for the
/// memory that they need. The cache changes how long a batch takes, never what is in it.
pub(super) struct Cache {
    /// Bytes left.
    free: u64,
    /// The sounds kept: milliseconds of file for each KiB, and the index.
    held: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Cache {
    pub fn new(bytes: u64) -> Self {
        Self {
            free: bytes,
            held: BinaryHeap::new(),
        }
    }

    /// Whether to keep the sound `index`, of `bytes` in memory and a file of so many seconds. Adds to `dropped` the
    /// sounds that must go for it.
    pub fn keep(
        &mut self,
        index: usize,
        seconds: f64,
        bytes: u64,
        dropped: &mut Vec<usize>,
        size_of: impl Fn(usize) -> u64,
    ) -> bool {
        let worth = (1e3 * seconds * 1024.0 / bytes.max(1) as f64) as u64;
        let mut room = self.free;
        let mut out = Vec::new();
        while room < bytes {
            match self.held.peek() {
                Some(&Reverse((least, other))) if least < worth => {
                    self.held.pop();
                    room += size_of(other);
                    out.push(Reverse((least, other)));
                }
                _ => {
                    self.held.extend(out);
                    return false;
                }
            }
        }
        self.free = room - bytes;
        self.held.push(Reverse((worth, index)));
        dropped.extend(out.into_iter().map(|Reverse((_, other))| other));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_cache_too_small_keeps_what_takes_longest_to_read_again() {
        // Sounds of 100 bytes, of files of these seconds.
        let seconds = [1.0, 2.0, 2.0, 90.0, 1.0, 5.0, 5.0];
        let (mut cache, mut held) = (Cache::new(350), BTreeSet::new());
        for (index, &seconds) in seconds.iter().enumerate() {
            let mut dropped = Vec::new();
            if cache.keep(index, seconds, 100, &mut dropped, |_| 100) {
                held.insert(index);
            }
            dropped.iter().for_each(|index| assert!(held.remove(index)));
            assert_eq!(cache.free, 350 - 100 * held.len() as u64);
        }
        assert_eq!(held, BTreeSet::from([3, 5, 6]));
        // A value that does not fit at all drives nothing out.
        assert!(!cache.keep(7, 1e9, 351, &mut Vec::new(), |_| 100));
        assert_eq!((cache.free, cache.held.len()), (50, 3));
    }
}
