//! The edges of what a voice plays of its sound: where it ends, its fades, and the time after which it is cut.

use super::PadControls;
use super::controls::bounded;
use super::looping::frame_of;
use super::single::FADE_MS;

/// The shortest fade at an end in the middle of a sound, and the shortest time in which a handle that is moved is
/// followed.
const SOFT_MS: f32 = 1.0;

/// The longest fade, ms.
const MOST_FADE_MS: f32 = 60_000.0;

/// The shortest and the longest time after which a note is cut, seconds.
const CUT_SECONDS: [f32; 2] = [0.002, 3600.0];

/// What a pad's voices play of a sound, at one sample rate. Times are frames of the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The frame of the sound at which it ends, counted from the end that is heard first.
    pub end: f64,
    /// The time after which a note is cut, or a loop begins anew.
    pub cut: Option<f64>,
    fade_in: f64,
    /// At the end of the sound.
    fade_out: f64,
    /// At the cut.
    cut_fade: f64,
    /// The shortest fade.
    soft: f64,
    /// Whether it is all of the sound, as it is.
    is_whole: bool,
}

impl Span {
    /// Of a sound of `len` frames at the output's `rate`, Hz.
    pub fn new(controls: &PadControls, len: f64, rate: f32) -> Self {
        let whole = Self {
            end: len,
            cut: None,
            fade_in: 0.0,
            fade_out: 0.0,
            cut_fade: 0.0,
            soft: f64::from(SOFT_MS / 1000.0 * rate),
            is_whole: true,
        };
        // What is not a number leaves the sound whole.
        let has_cut = controls.cut_seconds > 0.0;
        let has_fade = controls.fade_in_ms > 0.0 || controls.fade_out_ms > 0.0;
        let ends_early = controls.end < 1.0;
        if !(has_cut || has_fade || ends_early) {
            return whole;
        }
        let frames = |ms: f32| f64::from(bounded(ms, 0.0, MOST_FADE_MS) / 1000.0 * rate);
        let fade_out = frames(controls.fade_out_ms);
        let [least, most] = CUT_SECONDS;
        let cut = controls.cut_seconds.clamp(least, most) * rate;
        Self {
            end: match ends_early {
                true => frame_of(controls.end, len),
                false => len,
            },
            cut: has_cut.then_some(f64::from(cut)),
            fade_in: frames(controls.fade_in_ms),
            fade_out: match ends_early {
                true => fade_out.max(whole.soft),
                false => fade_out,
            },
            cut_fade: fade_out.max(frames(FADE_MS)),
            is_whole: false,
            ..whole
        }
    }
}

/// How a voice goes on where the edges of its sound would have it end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ending {
    /// It ends.
    Ends,
    /// It has no end: it is in a loop.
    None,
    /// It falls silent in any case: the end of its loop was moved to before it.
    Strays,
}

/// How far a voice is between its edges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edges {
    /// Of the last frame.
    gain: f32,
    /// Frames of the output since the note, or its loop anew, began.
    played: f64,
    /// The fraction that has passed of the time to the cut.
    part: f64,
}

impl Edges {
    /// Those of a note that has not begun.
    pub const NEW: Self = Self {
        gain: 1.0,
        played: 0.0,
        part: 0.0,
    };

    /// Whether nothing is to be done for `span`.
    pub fn are_open(&self, span: &Span) -> bool {
        span.is_whole && self.gain == 1.0
    }

    /// Whether the last frame was silent.
    pub fn is_silent(&self) -> bool {
        self.gain <= 0.0
    }

    /// Whether the time to the cut has passed.
    pub fn is_cut(&self) -> bool {
        self.part >= 1.0
    }

    /// Of the next `count` frames, the one with which a loop begins anew, if it does.
    pub fn anew(&self, span: &Span, count: usize) -> Option<usize> {
        let at = ((1.0 - self.part) * span.cut?).ceil().max(0.0) as usize;
        (at < count).then_some(at)
    }

    /// Multiplies the factors of the next frames, at these positions of the sound and `step` of its frames apart. `anew`
    /// is the one with which a loop begins anew, softly if `is_cut_into`.
    pub fn shape(
        &mut self,
        factors: &mut [f32],
        span: &Span,
        (positions, step): (&[f64], f64),
        ending: Ending,
        (anew, is_cut_into): (Option<usize>, bool),
    ) {
        // A little faster than the shortest fade, which rounding must not hold up.
        let most = (1.01 / span.soft).min(1.0) as f32;
        let (mut played, mut left) = (self.played, span.cut.map(|cut| (1.0 - self.part) * cut));
        for (i, (factor, position)) in factors.iter_mut().zip(positions).enumerate() {
            let begins_anew = anew == Some(i);
            if begins_anew {
                (played, left) = (0.0, span.cut);
            }
            let mut target = ramp(played + 1.0, span.fade_in);
            if let Some(left) = &mut left {
                target *= ramp(*left, span.cut_fade);
                *left -= 1.0;
            }
            match ending {
                Ending::Ends => target *= ramp((span.end - position) / step, span.fade_out),
                Ending::None => {}
                Ending::Strays => target = 0.0,
            }
            let target = target as f32;
            self.gain = if begins_anew && is_cut_into {
                target.min(most)
            } else if played == 0.0 {
                target
            } else {
                target.clamp(self.gain - most, self.gain + most)
            };
            *factor *= self.gain;
            played += 1.0;
        }
    }

    /// Lets `count` frames pass; `anew` is the one with which a loop began anew.
    pub fn advance(&mut self, span: &Span, count: usize, anew: Option<usize>) {
        if let Some(cut) = span.cut {
            self.part += count as f64 / cut;
        }
        match anew {
            Some(at) => {
                self.played = (count - at) as f64;
                self.part = (self.part - 1.0).clamp(0.0, 1.0);
            }
            None => self.played += count as f64,
        }
    }
}

/// The height, 0 to 1, at a distance from the foot of a ramp of this length; a ramp of no length is a step.
fn ramp(distance: f64, length: f64) -> f64 {
    if distance <= 0.0 {
        0.0
    } else if distance < length {
        distance / length
    } else {
        1.0
    }
}
