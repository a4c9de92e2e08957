//! The envelope: attack, hold, decay, sustain, release.

use super::{PadControls, SILENT};

/// Shortest attack of a sound that begins in its middle.
const SOFT_START_MS: f32 = 1.0;

/// The segment of its envelope that a voice is in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Attack,
    /// Frames so far.
    Hold(f32),
    Decay,
}

/// An AHDSR envelope at one sample rate: each value is per frame, the hold is in frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope {
    attack: f32,
    hold: f32,
    decay: f32,
    sustain: f32,
    release: f32,
}

impl Envelope {
    /// The envelope of a pad's voice at `rate`; `is_cut_into` says whether the voice begins in the middle of its sound,
    /// where it would click without an attack.
    pub(super) fn new(controls: &PadControls, rate: f32, is_cut_into: bool) -> Self {
        let frames = |ms: f32| (ms.max(0.0) * rate / 1000.0).max(1.0);
        let by_60_db = |ms: f32| (-3.0 * std::f32::consts::LN_10 / frames(ms)).exp();
        let soft = if is_cut_into { SOFT_START_MS } else { 0.0 };
        Self {
            attack: 1.0 / frames(controls.attack_ms.max(soft)),
            hold: controls.hold_ms.max(0.0) * rate / 1000.0,
            decay: by_60_db(controls.decay_ms),
            sustain: controls.sustain.clamp(0.0, 1.0),
            release: by_60_db(controls.release_ms),
        }
    }

    pub(super) fn advance(self, level: &mut f32, phase: &mut Phase, released: bool) {
        if released {
            *level *= self.release;
            return;
        }
        match phase {
            Phase::Attack => {
                *level += self.attack;
                if *level >= 1.0 {
                    *level = 1.0;
                    *phase = Phase::Hold(0.0);
                }
            }
            Phase::Hold(frames) => {
                *frames += 1.0;
                if *frames >= self.hold {
                    *phase = Phase::Decay;
                }
            }
            Phase::Decay => *level = self.sustain + (*level - self.sustain) * self.decay,
        }
    }

    pub(super) fn is_over(self, level: f32, phase: Phase, released: bool) -> bool {
        let falling = released || (phase == Phase::Decay && self.sustain < SILENT);
        falling && level < SILENT
    }
}
