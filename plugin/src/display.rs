//! Signals between the audio thread and the window.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nice_plug_egui::RepaintNotifier;

use crate::pad::PADS;
use crate::recorder::Recorder;
use crate::voice::Voices;

/// What the audio thread has not renewed for so long is no longer so: it stands still.
const STALE: Duration = Duration::from_millis(500);

/// A click that nobody took for so long is forgotten: the host was not playing, and would play it much too late.
const MISSED: Duration = Duration::from_millis(100);

/// Playheads, level and clicks, in atomics: a value or two may be late.
#[derive(Debug)]
pub struct Display {
    /// Times are milliseconds from here.
    epoch: Instant,
    /// When the audio thread was last here.
    shown: AtomicU64,
    /// The position of each pad's newest voice, as a fraction of its sound; beyond 1 where there is none.
    playheads: [AtomicU32; PADS],
    /// The bits of the highest level since it was last taken.
    peak: AtomicU32,
    /// When each pad was hit; 0 where it was not.
    hits: [AtomicU64; PADS],
    recorder: Recorder,
    /// The window's: set where there is something new to draw.
    repaint: RepaintNotifier,
}

impl Default for Display {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            shown: AtomicU64::new(0),
            playheads: std::array::from_fn(|_| AtomicU32::new(2f32.to_bits())),
            peak: AtomicU32::new(0),
            hits: Default::default(),
            recorder: Recorder::default(),
            repaint: RepaintNotifier::new(),
        }
    }
}

impl Display {
    /// Tells the window that there is something new to draw.
    #[must_use]
    pub fn repaint(&self) -> &RepaintNotifier {
        &self.repaint
    }

    /// Records what is played.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Whether the audio thread was here just now. It is not in a host that has stopped it, nor with a device that has
    /// gone.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let shown = self.shown.load(Ordering::Relaxed);
        shown != 0 && self.now().saturating_sub(shown) <= STALE.as_millis() as u64
    }

    /// Milliseconds, never 0.
    fn now(&self) -> u64 {
        1 + self.epoch.elapsed().as_millis() as u64
    }

    /// The position of a pad's newest voice, as a fraction of its sound; none where no voice plays, or the host does
    /// not.
    pub fn playhead(&self, pad: usize) -> Option<f32> {
        if !self.is_running() {
            return None;
        }
        let position = f32::from_bits(self.playheads[pad].load(Ordering::Relaxed));
        (position <= 1.0).then_some(position)
    }

    /// The highest level since the last call.
    pub fn take_peak(&self) -> f32 {
        f32::from_bits(self.peak.swap(0, Ordering::Relaxed))
    }

    /// Plays a pad, as a click on it does.
    pub fn hit(&self, pad: usize) {
        self.hits[pad].store(self.now(), Ordering::Relaxed);
    }

    /// Whether a pad was hit since the last call, and just now.
    pub fn take_hit(&self, pad: usize) -> bool {
        if self.hits[pad].load(Ordering::Relaxed) == 0 {
            return false;
        }
        let hit = self.hits[pad].swap(0, Ordering::Relaxed);
        self.now().saturating_sub(hit) <= MISSED.as_millis() as u64
    }

    /// Takes the positions of the voices, and the peak of the output.
    pub fn show(&self, voices: &Voices, peak: f32) {
        self.shown.store(self.now(), Ordering::Relaxed);
        let mut moves = peak > 0.0;
        for (pad, playhead) in self.playheads.iter().enumerate() {
            let position = voices.playhead(pad).unwrap_or(2.0).to_bits();
            moves |= playhead.swap(position, Ordering::Relaxed) != position;
        }
        // An atomic flag, which the window looks at.
        self.repaint.request_repaint_with(moves);
        // Of numbers that are not negative, the larger has the larger bits.
        self.peak
            .fetch_max(peak.max(0.0).to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_click_is_played_at_once_or_never() {
        let display = Display::default();
        assert!(!display.take_hit(3));
        display.hit(3);
        assert!(display.take_hit(3) && !display.take_hit(3));
        display.hit(3);
        std::thread::sleep(MISSED + Duration::from_millis(20));
        assert!(!display.take_hit(3) && !display.take_hit(3));
    }
}
