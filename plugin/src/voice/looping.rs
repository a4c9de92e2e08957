//! Positions in a sound, and loops over it.

/// Length of the crossfade from a loop's end to its beginning.
const LOOP_FADE_MS: f32 = 10.0;

/// The frame at a position of a sound, which may be played backwards.
pub(super) fn frame_at(position: f64, len: f64, reverse: bool) -> f64 {
    if reverse {
        len - 1.0 - position
    } else {
        position
    }
}

/// A loop over a sound from its start on, whose end fades into its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loop {
    /// Frames from one beginning to the next.
    pub(super) length: f64,
    /// Frames of the crossfade.
    fade: f64,
}

impl Loop {
    pub(super) fn new(len: f64, sample_rate: f32, start: f32) -> Option<Self> {
        let all = len - (f64::from(start.clamp(0.0, 1.0)) * len).floor();
        let fade = (f64::from(LOOP_FADE_MS / 1000.0 * sample_rate)).min(all / 2.0);
        (fade >= 1.0).then_some(Self {
            length: all - fade,
            fade,
        })
    }

    /// How far the beginning has faded in at `position`, 0 to 1; none before the crossfade.
    pub(super) fn fraction(self, position: f64, len: f64) -> Option<f32> {
        let into = position - (len - self.fade);
        (into > 0.0).then_some((into / self.fade) as f32)
    }
}
