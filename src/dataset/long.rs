//! Long recordings, cut into sounds: at their onsets, or into pieces of equal length.

use std::ops::Range;
use std::path::Path;

use crate::audio::{self, Clip};
use crate::error::Result;
use crate::representation::Crop;

/// Files longer than this are cut. One-shots are never so long; of loops this much is kept as one.
pub(super) fn longest_seconds(crop: Crop) -> f64 {
    match crop {
        Crop::Onset => 30.0,
        Crop::Anywhere => 120.0,
    }
}

/// What is read at once of a long file, and how long the pieces are that are not cut at onsets.
pub(super) const PIECE_SECONDS: f64 = 30.0;

/// Where in its file a sound lies: its first frame, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub start: u64,
    pub frames: u64,
}

/// The sound of a file, or of a part of it.
pub(super) fn read(path: &Path, stretch: Option<Stretch>) -> Result<Clip> {
    match stretch {
        None => audio::read(path),
        Some(Stretch { start, frames }) => audio::decode_part(path, start, frames),
    }
}

/// The envelope has a value for each of these.
const BLOCK_SECONDS: f64 = 0.005;

/// An onset is louder by so much, in dB, than what was before it, on average over so many blocks.
const RISE_DB: f32 = 9.0;
const BEFORE: usize = 6;

/// Onsets lie at most so far below the loudest block, dB.
const RANGE_DB: f32 = 45.0;

/// Below this the envelope is silence, dB of full scale.
const FLOOR_DB: f32 = -90.0;

/// Hits are at least so long, and begin so long before the block that is louder.
const SHORTEST_SECONDS: f64 = 0.06;
const LEAD_SECONDS: f64 = 0.005;

/// The sounds of a piece of a recording; `is_first` where nothing was before it.
pub(super) fn cut(piece: &Clip, crop: Crop, is_first: bool) -> Vec<Range<usize>> {
    match crop {
        Crop::Anywhere => std::iter::once(0..piece.len_frames()).collect(),
        Crop::Onset => hits(piece, is_first),
    }
}

/// From each onset to the next one.
///
/// An onset is a block that is louder by [`RISE_DB`] than those before it: what fades or swells slowly has none.
fn hits(clip: &Clip, is_first: bool) -> Vec<Range<usize>> {
    let rate = f64::from(clip.sample_rate());
    let block = ((BLOCK_SECONDS * rate) as usize).max(1);
    let blocks = clip.len_frames() / block;
    let level = |n: usize| {
        let range = n * block..(n + 1) * block;
        let channels = clip.channels().iter();
        let peak = channels.flat_map(|channel| &channel[range.clone()]);
        let peak = peak.fold(0f32, |peak, x| peak.max(x.abs()));
        (20.0 * peak.log10()).max(FLOOR_DB)
    };
    let levels: Vec<f32> = (0..blocks).map(level).collect();
    let loudest = levels.iter().copied().fold(FLOOR_DB, f32::max);
    let least = (loudest - RANGE_DB).max(FLOOR_DB + RISE_DB);
    // What was before a later piece is not known: not less than what it begins with.
    let front = match (is_first, levels.first()) {
        (false, Some(&level)) => level,
        _ => FLOOR_DB,
    };
    let apart = ((SHORTEST_SECONDS * rate) as usize).max(1);
    let lead = (LEAD_SECONDS * rate) as usize;
    let mut starts: Vec<usize> = Vec::new();
    for n in 0..blocks {
        let before = &levels[n.saturating_sub(BEFORE)..n];
        let sum: f32 = before.iter().sum();
        let before = (sum + front * (BEFORE - before.len()) as f32) / BEFORE as f32;
        let start = (n * block).saturating_sub(lead);
        let is_onset = levels[n] > least && levels[n] > before + RISE_DB;
        if is_onset && starts.last().is_none_or(|last| start >= last + apart) {
            starts.push(start);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([clip.len_frames()]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(a, b)| a..b)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hits that die away at these frames, 60 dB in a fifth of a second.
    fn recording(at: &[usize], frames: usize) -> Clip {
        let mut channel = vec![0f32; frames];
        for (i, &start) in at.iter().enumerate() {
            for (n, x) in channel[start..].iter_mut().enumerate() {
                let fall = 10f32.powf(-3.0 * n as f32 / 8820.0);
                *x += 0.8 * fall * (0.05 * (i + 1) as f32 * n as f32).cos();
            }
        }
        Clip::new(44_100, vec![channel])
    }

    #[test]
    fn a_recording_is_cut_at_its_onsets_and_nowhere_else() {
        let at = [0, 12_000, 30_000, 44_100, 70_000];
        let found = hits(&recording(&at, 100_000), true);
        assert_eq!(found.len(), at.len(), "{found:?}");
        for (range, &onset) in found.iter().zip(&at) {
            // At most the lead and a block before it, never behind it.
            assert!(
                range.start <= onset && onset - range.start <= 441,
                "{range:?}"
            );
        }
        assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(found[4].end, 100_000);
        // Of a sound that goes on from the piece before, this is no beginning.
        let later = hits(&recording(&at, 100_000), false);
        assert_eq!(later, found[1..]);
    }

    #[test]
    fn what_swells_or_is_silent_has_no_onset_but_its_first() {
        let swell = |n: usize| (n as f32 / 90_000.0) * (0.05 * n as f32).sin();
        let clip = Clip::new(44_100, vec![(0..90_000).map(swell).collect()]);
        let found = hits(&clip, true);
        assert!(found.len() <= 1, "{found:?}");
        assert!(hits(&Clip::new(44_100, vec![vec![0.0; 90_000]]), true).is_empty());
        assert_eq!(cut(&clip, Crop::Anywhere, true), vec![0..90_000; 1]);
    }
}
