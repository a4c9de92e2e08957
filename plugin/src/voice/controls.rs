//! The values that voices follow: those of their pad, and their own offsets from them.

use serde::{Deserialize, Serialize};

use super::{FilterKind, Takes};

/// The most octaves that velocity takes a cutoff down.
const MOST_OCTAVES: f32 = 8.0;

/// How long a note plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// To the end of the sound, whatever its key does.
    #[default]
    OneShot,
    /// Until its key is let go.
    Gate,
    /// Over and over, until its key is let go.
    Loop,
}

/// How many notes of a pad sound at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polyphony {
    /// As many as there are.
    #[default]
    Poly,
    /// The newest. When its key is let go and the mode is [`Mode::Gate`] or [`Mode::Loop`], the newest one whose key is
    /// still held begins anew.
    Mono,
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
    /// Fraction of the sound that is left out at its beginning, `0..1`. As all fractions of the sound it counts in the
    /// order in which the sound is heard: backwards where that is reversed.
    pub start: f32,
    /// Fraction of the sound at which it ends, `0..=1`; before the end of the sound it ends softly.
    pub end: f32,
    /// Time in which a note fades in, ms, linear, besides its envelope.
    pub fade_in_ms: f32,
    /// Time in which the sound fades out towards its end, or to where the note is cut, ms, linear.
    pub fade_out_ms: f32,
    /// Fraction of the sound to which a loop goes back, where that lies after `start`.
    pub loop_start: f32,
    /// Fraction of the sound from which a loop goes back, where that lies before `end`.
    pub loop_end: f32,
    /// Seconds after which a note is cut, or in [`Mode::Loop`] begins anew; 0 for never. Then a loop is silent from the
    /// end of the sound on until it begins anew.
    pub cut_seconds: f32,
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
    /// The curve of velocity, which everything that depends on it follows, `-1..=1`: 0 a line, 1 its fourth root, so that
    /// soft notes are harder, -1 its fourth power, so that they are softer.
    pub velocity_curve: f32,
    /// Octaves by which the filter's cutoff falls from full velocity to none, `0..=8`.
    pub velocity_cutoff: f32,
    /// Fraction of the sound by which a note without velocity begins later than one at full velocity, `0..=1`.
    pub velocity_start: f32,
    /// How many notes sound at once.
    pub voices: Polyphony,
    /// Time in which a note of a monophonic pad slides from the key of the last one to its own, ms.
    pub glide_ms: f32,
    /// Which of the pad's sounds a note plays.
    pub take: Takes,
    /// How far the sound is saturated, `0..=1`; 0 not at all.
    pub drive: f32,
    /// -1 dark, 0 as it is, 1 bright.
    pub tone: f32,
}

impl PadControls {
    /// The sound as it is.
    pub const PLAIN: Self = Self {
        gain: 1.0,
        pan: 0.0,
        pitch: 0.0,
        start: 0.0,
        end: 1.0,
        fade_in_ms: 0.0,
        fade_out_ms: 0.0,
        loop_start: 0.0,
        loop_end: 1.0,
        cut_seconds: 0.0,
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
        velocity_curve: 0.0,
        velocity_cutoff: 0.0,
        velocity_start: 0.0,
        voices: Polyphony::Poly,
        glide_ms: 0.0,
        take: Takes::First,
        drive: 0.0,
        tone: 0.0,
    };

    /// The fractions of the sound that a loop goes between.
    pub(super) fn looped_between(&self) -> [f32; 2] {
        let start = bounded(self.start, 0.0, 1.0);
        [start.max(self.loop_start), self.loop_end.min(self.end)]
    }

    /// A note's velocity after the curve.
    pub(crate) fn curved(&self, velocity: f32) -> f32 {
        let curve = bounded(self.velocity_curve, -1.0, 1.0);
        if curve == 0.0 {
            return velocity;
        }
        velocity.powf((-2.0 * curve).exp2())
    }

    /// The factor of the level at a velocity.
    pub(super) fn velocity_gain(&self, velocity: f32) -> f32 {
        1.0 - self.velocity * (1.0 - self.curved(velocity))
    }

    /// Octaves by which the cutoff is lower at a velocity.
    pub(super) fn velocity_octaves(&self, velocity: f32) -> f32 {
        bounded(self.velocity_cutoff, 0.0, MOST_OCTAVES) * (1.0 - self.curved(velocity))
    }

    /// Fraction of the sound by which a note begins later at a velocity.
    pub(super) fn velocity_late(&self, velocity: f32) -> f32 {
        bounded(self.velocity_start, 0.0, 1.0) * (1.0 - self.curved(velocity))
    }
}

/// `x` within these bounds; 0 if it is not a number.
pub(super) fn bounded(x: f32, least: f32, most: f32) -> f32 {
    if x.is_nan() {
        0.0
    } else {
        x.clamp(least, most)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_a_power_of_velocity_that_keeps_its_ends() {
        let curved = |velocity_curve: f32, velocity: f32| {
            let controls = PadControls {
                velocity_curve,
                ..PadControls::PLAIN
            };
            controls.curved(velocity)
        };
        for (curve, wanted) in [
            (0.0, 0.5),
            (1.0, 0.840_896_4),
            (0.5, std::f32::consts::FRAC_1_SQRT_2),
            (-0.5, 0.25),
            (-1.0, 0.0625),
            (9.0, 0.840_896_4),
        ] {
            let found = curved(curve, 0.5);
            assert!((found - wanted).abs() < 1e-6, "{curve}: {found}");
            assert_eq!((curved(curve, 0.0), curved(curve, 1.0)), (0.0, 1.0));
        }
        for velocity in [0.1, 0.3, 0.7] {
            assert_eq!(curved(0.0, velocity), velocity);
            assert_eq!(curved(f32::NAN, velocity), velocity);
        }
    }

    #[test]
    fn stored_names_are_those_of_released_projects() {
        fn names<T: Serialize>(values: &[T]) -> Vec<String> {
            let text = |value| serde_json::to_string(value).unwrap();
            let names = values.iter().map(text);
            names
                .map(|text| text.trim_matches('"').to_owned())
                .collect()
        }
        let modes = names(&[Mode::OneShot, Mode::Gate, Mode::Loop]);
        assert_eq!(modes, ["one-shot", "gate", "loop"]);
        let filters = [FilterKind::Off, FilterKind::Lowpass, FilterKind::Highpass];
        assert_eq!(names(&filters), ["off", "low", "high"]);
        assert_eq!(names(&[Polyphony::Poly, Polyphony::Mono]), ["poly", "mono"]);
        let takes = [Takes::First, Takes::RoundRobin, Takes::Velocity];
        assert_eq!(names(&takes), ["first", "round-robin", "velocity"]);
    }
}
