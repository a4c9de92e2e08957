//! Signals between the audio thread and the window.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::pad::PADS;
use crate::voice::Voices;

/// Playheads, level and clicks, in atomics: a value or two may be late.
#[derive(Debug)]
pub struct Display {
    /// The position of each pad's newest voice, as a fraction of its sound; beyond 1 where there is none.
    playheads: [AtomicU32; PADS],
    /// The bits of the highest level since it was last taken.
    peak: AtomicU32,
    hits: [AtomicBool; PADS],
}

impl Default for Display {
    fn default() -> Self {
        Self {
            playheads: std::array::from_fn(|_| AtomicU32::new(2f32.to_bits())),
            peak: AtomicU32::new(0),
            hits: Default::default(),
        }
    }
}

impl Display {
    /// The position of a pad's newest voice, as a fraction of its sound; none where no voice plays.
    pub fn playhead(&self, pad: usize) -> Option<f32> {
        let position = f32::from_bits(self.playheads[pad].load(Ordering::Relaxed));
        (position <= 1.0).then_some(position)
    }

    /// The highest level since the last call.
    pub fn take_peak(&self) -> f32 {
        f32::from_bits(self.peak.swap(0, Ordering::Relaxed))
    }

    /// Plays a pad, as a click on it does.
    pub fn hit(&self, pad: usize) {
        self.hits[pad].store(true, Ordering::Relaxed);
    }

    /// Whether a pad was hit since the last call.
    pub fn take_hit(&self, pad: usize) -> bool {
        self.hits[pad].load(Ordering::Relaxed) && self.hits[pad].swap(false, Ordering::Relaxed)
    }

    /// Takes the positions of the voices, and the peak of the output.
    pub fn show(&self, voices: &Voices, peak: f32) {
        for (pad, playhead) in self.playheads.iter().enumerate() {
            let position = voices.playhead(pad).unwrap_or(2.0);
            playhead.store(position.to_bits(), Ordering::Relaxed);
        }
        // Of numbers that are not negative, the larger has the larger bits.
        self.peak
            .fetch_max(peak.max(0.0).to_bits(), Ordering::Relaxed);
    }
}
