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

/// The frame at a fraction of a sound of `len` frames; the first where that is no number.
pub(super) fn frame_of(fraction: f32, len: f64) -> f64 {
    if fraction >= 1.0 {
        len
    } else if fraction > 0.0 {
        (f64::from(fraction) * len).floor()
    } else {
        0.0
    }
}

/// A loop over a part of a sound, whose end fades into its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loop {
    /// The frame at which it goes back.
    pub(super) end: f64,
    /// Frames from one beginning to the next.
    pub(super) length: f64,
    /// Frames of the crossfade.
    fade: f64,
}

impl Loop {
    /// Of a sound of `len` frames, between two fractions of it. None where there is nothing between them.
    pub(super) fn new(len: f64, sample_rate: f32, between: [f32; 2]) -> Option<Self> {
        let [begin, end] = between.map(|at| frame_of(at, len));
        let all = end - begin;
        let fade = (f64::from(LOOP_FADE_MS / 1000.0 * sample_rate)).min(all / 2.0);
        (fade >= 1.0).then_some(Self {
            end,
            length: all - fade,
            fade,
        })
    }

    /// Where it goes on when it has come to its end.
    pub(super) fn begin(self) -> f64 {
        self.end - self.length
    }

    /// How far the beginning has faded in at `position`, 0 to 1; none before the crossfade.
    pub(super) fn fraction(self, position: f64) -> Option<f32> {
        let into = position - (self.end - self.fade);
        (into > 0.0).then_some((into / self.fade) as f32)
    }
}
