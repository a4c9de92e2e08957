//! The values that voices follow: those of their pad, and their own offsets from them.

use serde::{Deserialize, Serialize};

use super::FilterKind;

/// How long a note plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// To the end of the sound, whatever its key does.
    OneShot,
    /// Until its key is let go.
    Gate,
    /// Over and over, until its key is let go.
    Loop,
}

/// The values that the voices of one pad follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PadControls {
    /// Linear, not dB.
    pub gain: f32,
    /// -1 left, 0 as it is, 1 right: the other side is turned down.
    pub pan: f32,
    /// Semitones.
    pub pitch: f32,
    /// Fraction of the sound that is left out at its beginning, `0..1`.
    pub start: f32,
    /// How long a note plays.
    pub mode: Mode,
    /// Whether the sound is played backwards.
    pub reverse: bool,
    /// Time from silence to full level, ms, linear.
    pub attack_ms: f32,
    /// Time at full level, ms.
    pub hold_ms: f32,
    /// Time in which the distance from full level to `sustain` shrinks by 60 dB, ms.
    pub decay_ms: f32,
    /// Linear level after the decay, `0..=1`.
    pub sustain: f32,
    /// Time to fall by 60 dB once the key is let go, ms.
    pub release_ms: f32,
    /// Which frequencies pass.
    pub filter: FilterKind,
    /// Where the filter begins, Hz.
    pub cutoff: f32,
    /// 0 flat, 1 close to ringing.
    pub resonance: f32,
    /// Notes of a group silence each other; 0 is none.
    pub choke: u8,
    /// How much of the level depends on velocity, `0..=1`.
    pub velocity: f32,
}

impl PadControls {
    /// The sound as it is.
    pub const PLAIN: Self = Self {
        gain: 1.0,
        pan: 0.0,
        pitch: 0.0,
        start: 0.0,
        mode: Mode::OneShot,
        reverse: false,
        attack_ms: 0.0,
        hold_ms: 0.0,
        decay_ms: 1000.0,
        sustain: 1.0,
        release_ms: 200.0,
        filter: FilterKind::Off,
        cutoff: 20_000.0,
        resonance: 0.0,
        choke: 0,
        velocity: 1.0,
    };
}

/// The changes to one voice of a pad: note expressions, or polyphonic modulation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offsets {
    /// A factor.
    pub gain: f32,
    /// Added to the pad's.
    pub pan: f32,
    /// Semitones, added.
    pub pitch: f32,
    /// Octaves, added to the cutoff.
    pub cutoff: f32,
}

impl Offsets {
    pub(super) const NONE: Self = Self {
        gain: 1.0,
        pan: 0.0,
        pitch: 0.0,
        cutoff: 0.0,
    };
}
