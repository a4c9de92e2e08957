//! The partition of results into tasks.

use std::ops::Range;

use super::shape::Shape;
use crate::norm::Prologue;
use crate::team;

/// A partition of a result into tasks: blocks of rows within a clip, and where those are few, groups of panels too. No
/// partition changes a bit.
pub(crate) struct Partition {
    clips: usize,
    rows: usize,
    block: usize,
    blocks: usize,
    panels: usize,
    groups: usize,
}

impl Partition {
    /// `rows` a clip in blocks of at most `block`.
    pub fn new(clips: usize, rows: usize, block: usize, panels: usize) -> Self {
        let threads = rayon::current_num_threads();
        let blocks = rows.div_ceil(block);
        // Blocks of even length, in whole register blocks.
        let block = rows.div_ceil(blocks).next_multiple_of(6);
        let blocks = rows.div_ceil(block);
        let groups = threads.div_ceil(clips * blocks).min(panels);
        Self {
            clips,
            rows,
            block,
            blocks,
            panels,
            groups,
        }
    }

    /// Calls `task` once for each part: a clip, a range of its rows and a range of panels.
    pub fn for_each_task(&self, task: impl Fn(usize, Range<usize>, Range<usize>) + Sync) {
        let total = self.clips * self.blocks * self.groups;
        team::for_each(total, |i| {
            let (group, i) = (i % self.groups, i / self.groups);
            let (clip, block) = (i / self.blocks, i % self.blocks);
            let first = block * self.block;
            let rows = first..self.rows.min(first + self.block);
            task(clip, rows, part(self.panels, self.groups, group));
        });
    }
}

/// Part `i` of `0..n` in `parts` even parts.
pub(crate) fn part(n: usize, parts: usize, i: usize) -> Range<usize> {
    n * i / parts..n * (i + 1) / parts
}

/// One task: the gradient of all taps from some input channels.
pub(crate) struct WeightGradient<'a, T> {
    pub s: Shape,
    pub x: Prologue<'a, T>,
    pub dy: &'a [T],
    pub channels: Range<usize>,
    /// `[panels, planes, channels, width]`.
    pub sums: &'a mut [T],
    pub rows: &'a mut [T],
    pub columns: &'a mut [T],
}
