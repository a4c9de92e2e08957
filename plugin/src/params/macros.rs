//! Macros: the same control of all pads at once.

use nice_plug::prelude::*;

use crate::voice::PadControls;

/// Milliseconds that the attack macro adds at its end.
const MOST_ATTACK_MS: f32 = 500.0;

/// Octaves by which the decay macro makes decays longer or shorter.
const DECAY_OCTAVES: f32 = 3.0;

/// Octaves by which the cutoff macro moves cutoffs.
const CUTOFF_OCTAVES: f32 = 4.0;

/// The ids of all macros, each of which rests at 0.
pub const MACROS: &[&str; 8] = &[
    "all_tune",
    "all_attack",
    "all_decay",
    "all_start",
    "all_tone",
    "all_drive",
    "all_cutoff",
    "all_width",
];

/// The same control of all pads at once; each leaves them as they are by default.
#[derive(Debug, Params)]
pub struct Macros {
    /// Semitones.
    #[id = "all_tune"]
    pub tune: FloatParam,
    /// Up to half a second more.
    #[id = "all_attack"]
    pub attack: FloatParam,
    /// -1 to 1. Below 0 sounds die sooner, above it later.
    #[id = "all_decay"]
    pub decay: FloatParam,
    /// Fraction of what is left of the sounds that is left out at their beginning.
    #[id = "all_start"]
    pub start: FloatParam,
    /// -1 darker, 1 brighter.
    #[id = "all_tone"]
    pub tone: FloatParam,
    /// 0 to 1.
    #[id = "all_drive"]
    pub drive: FloatParam,
    /// Octaves, of pads that have a filter.
    #[id = "all_cutoff"]
    pub cutoff: FloatParam,
    /// -1 all pads in the middle, 1 twice as far from it.
    #[id = "all_width"]
    pub width: FloatParam,
}

impl Default for Macros {
    fn default() -> Self {
        let range = |min, max| FloatRange::Linear { min, max };
        let of = |name, min, max| FloatParam::new(format!("All {name}"), 0.0, range(min, max));
        let percent = |name, min| {
            of(name, min, 1.0)
                .with_unit(" %")
                .with_value_to_string(formatters::v2s_f32_percentage(1))
                .with_string_to_value(formatters::s2v_f32_percentage())
        };
        Self {
            tune: of("Tune", -12.0, 12.0)
                .with_unit(" st")
                .with_step_size(0.01),
            attack: percent("Attack", 0.0),
            decay: percent("Decay", -1.0),
            start: percent("Start", 0.0),
            tone: percent("Tone", -1.0),
            drive: percent("Drive", 0.0),
            cutoff: of("Cutoff", -CUTOFF_OCTAVES, CUTOFF_OCTAVES)
                .with_unit(" oct")
                .with_step_size(0.01),
            width: percent("Width", -1.0),
        }
    }
}

impl Macros {
    /// All of them, in their order.
    #[must_use]
    pub fn all(&self) -> [&FloatParam; MACROS.len()] {
        [
            &self.tune,
            &self.attack,
            &self.decay,
            &self.start,
            &self.tone,
            &self.drive,
            &self.cutoff,
            &self.width,
        ]
    }
}

/// The values of all macros at one moment, in the units of [`Macros`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MacroValues {
    tune: f32,
    attack: f32,
    decay: f32,
    start: f32,
    tone: f32,
    drive: f32,
    cutoff: f32,
    width: f32,
}

impl MacroValues {
    /// Those of [`Macros::all`], in that order.
    pub(super) fn of(values: [f32; MACROS.len()]) -> Self {
        let [tune, attack, decay, start, tone, drive, cutoff, width] = values;
        Self {
            tune,
            attack,
            decay,
            start,
            tone,
            drive,
            cutoff,
            width,
        }
    }

    /// What they make of a pad's controls.
    pub(super) fn turn(self, mut pad: PadControls) -> PadControls {
        pad.pitch += self.tune;
        // Finer where it is short.
        pad.attack_ms += MOST_ATTACK_MS * self.attack.powi(2);
        let longer = (DECAY_OCTAVES * self.decay).exp2();
        pad.decay_ms *= longer;
        pad.release_ms *= longer;
        // A sound that is held at full level would not die at all.
        pad.sustain *= 1.0 + self.decay.min(0.0);
        pad.start += (1.0 - pad.start) * self.start;
        pad.cutoff *= self.cutoff.exp2();
        pad.tone = (pad.tone + self.tone).clamp(-1.0, 1.0);
        pad.drive += (1.0 - pad.drive) * self.drive;
        pad.pan = (pad.pan * (1.0 + self.width)).clamp(-1.0, 1.0);
        pad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_macro_moves_its_own_control_and_none_by_default() {
        let none = MacroValues::of(Macros::default().all().map(FloatParam::value));
        assert_eq!(none, MacroValues::default());
        let pad = PadControls {
            pan: 0.25,
            start: 0.5,
            cutoff: 1000.0,
            drive: 0.5,
            tone: -0.5,
            ..PadControls::PLAIN
        };
        assert_eq!(none.turn(pad), pad);
        let expected = [
            (
                MacroValues { tune: 12.0, ..none },
                PadControls { pitch: 12.0, ..pad },
            ),
            (
                MacroValues {
                    attack: 1.0,
                    ..none
                },
                PadControls {
                    attack_ms: 500.0,
                    ..pad
                },
            ),
            (
                MacroValues {
                    decay: -1.0,
                    ..none
                },
                PadControls {
                    decay_ms: 125.0,
                    release_ms: 25.0,
                    sustain: 0.0,
                    ..pad
                },
            ),
            (
                MacroValues { decay: 1.0, ..none },
                PadControls {
                    decay_ms: 8000.0,
                    release_ms: 1600.0,
                    ..pad
                },
            ),
            (
                MacroValues { start: 0.5, ..none },
                PadControls { start: 0.75, ..pad },
            ),
            (
                MacroValues { tone: 1.0, ..none },
                PadControls { tone: 0.5, ..pad },
            ),
            (
                MacroValues { tone: -1.0, ..none },
                PadControls { tone: -1.0, ..pad },
            ),
            (
                MacroValues { drive: 0.5, ..none },
                PadControls { drive: 0.75, ..pad },
            ),
            (
                MacroValues {
                    cutoff: -4.0,
                    ..none
                },
                PadControls {
                    cutoff: 62.5,
                    ..pad
                },
            ),
            (
                MacroValues {
                    width: -1.0,
                    ..none
                },
                PadControls { pan: 0.0, ..pad },
            ),
            (
                MacroValues { width: 1.0, ..none },
                PadControls { pan: 0.5, ..pad },
            ),
        ];
        for (macros, expected) in expected {
            assert_eq!(macros.turn(pad), expected, "{macros:?}");
        }
    }
}
