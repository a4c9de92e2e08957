//! The computer's keyboard as an instrument: sixteen keys as pads, or two rows each as an octave and a half of a piano.
//!
//! Keys count by their place, whatever is printed on them, where the system tells it.

use egui::{Event, Key, Modifiers};

use crate::pad::{PADS, ROOT_KEY};

/// By pad: the block of four by four keys, the first at the bottom left as on the screen.
const PAD_KEYS: [Key; PADS] = [
    Key::Z,
    Key::X,
    Key::C,
    Key::V,
    Key::A,
    Key::S,
    Key::D,
    Key::F,
    Key::Q,
    Key::W,
    Key::E,
    Key::R,
    Key::Num1,
    Key::Num2,
    Key::Num3,
    Key::Num4,
];

/// Semitone by semitone: the lower rows, from an octave below the middle on.
const LOWER: [Key; 17] = [
    Key::Z,
    Key::S,
    Key::X,
    Key::D,
    Key::C,
    Key::V,
    Key::G,
    Key::B,
    Key::H,
    Key::N,
    Key::J,
    Key::M,
    Key::Comma,
    Key::L,
    Key::Period,
    Key::Semicolon,
    Key::Slash,
];

/// The upper rows, from the middle on.
const UPPER: [Key; 17] = [
    Key::Q,
    Key::Num2,
    Key::W,
    Key::Num3,
    Key::E,
    Key::R,
    Key::Num5,
    Key::T,
    Key::Num6,
    Key::Y,
    Key::Num7,
    Key::U,
    Key::I,
    Key::Num9,
    Key::O,
    Key::Num0,
    Key::P,
];

/// The pad that a key plays, from 0 on.
#[must_use]
pub fn pad(key: Key) -> Option<usize> {
    PAD_KEYS.iter().position(|&it| it == key)
}

/// The MIDI key that a key plays, `octaves` above where a sound has its own pitch at Q.
#[must_use]
pub fn midi_key(key: Key, octaves: i8) -> Option<u8> {
    let place = |keys: &[Key]| keys.iter().position(|&it| it == key);
    let semitones = match (place(&UPPER), place(&LOWER)) {
        (Some(n), _) => n as i32,
        (None, Some(n)) => n as i32 - 12,
        (None, None) => return None,
    };
    let played = i32::from(ROOT_KEY) + semitones + 12 * i32::from(octaves);
    u8::try_from(played).ok().filter(|&it| it <= 127)
}

/// What a key plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Played {
    /// A pad, from 0 on.
    Pad(usize),
    /// A MIDI key.
    Key(u8),
}

/// A key goes down or up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// What it plays begins.
    Press(Played),
    /// What was begun ends.
    Release(Played),
}

/// The keys that are held down.
#[derive(Debug, Default)]
pub struct Typing(Vec<(Key, Played)>);

impl Typing {
    /// The strokes of a frame's events. `plays` tells what a key plays now; whatever was pressed is released as what it
    /// was, also when the window is left. Keys with Ctrl, Alt or Cmd, and repetitions, play nothing.
    pub fn strokes(
        &mut self,
        events: &[Event],
        plays: impl Fn(Key) -> Option<Played>,
    ) -> Vec<Stroke> {
        let mut strokes = Vec::new();
        for event in events {
            match *event {
                Event::Key {
                    key,
                    physical_key,
                    pressed,
                    repeat,
                    modifiers,
                } => {
                    let key = physical_key.unwrap_or(key);
                    let held = self.0.iter().position(|(it, _)| *it == key);
                    let is_plain = modifiers.is_none() || modifiers == Modifiers::SHIFT;
                    match (pressed, held) {
                        (true, None) if is_plain && !repeat => {
                            if let Some(played) = plays(key) {
                                self.0.push((key, played));
                                strokes.push(Stroke::Press(played));
                            }
                        }
                        (false, Some(held)) => {
                            strokes.push(Stroke::Release(self.0.swap_remove(held).1));
                        }
                        _ => {}
                    }
                }
                Event::WindowFocused(false) => strokes.extend(self.release_all()),
                _ => {}
            }
        }
        strokes
    }

    /// Releases what is held, as when a text is being typed from now on.
    pub fn release_all(&mut self) -> Vec<Stroke> {
        let held = self.0.drain(..);
        held.map(|(_, played)| Stroke::Release(played)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_keys_is_the_block_of_pads() {
        let row = |keys: [Key; 4]| keys.map(|key| pad(key).unwrap() + 1);
        assert_eq!(
            row([Key::Num1, Key::Num2, Key::Num3, Key::Num4]),
            [13, 14, 15, 16]
        );
        assert_eq!(row([Key::Q, Key::W, Key::E, Key::R]), [9, 10, 11, 12]);
        assert_eq!(row([Key::A, Key::S, Key::D, Key::F]), [5, 6, 7, 8]);
        assert_eq!(row([Key::Z, Key::X, Key::C, Key::V]), [1, 2, 3, 4]);
        assert_eq!(pad(Key::G), None);
    }

    #[test]
    fn white_keys_are_below_black_ones() {
        // C major.
        let major = [0, 2, 4, 5, 7, 9, 11, 12];
        let lower = [
            Key::Z,
            Key::X,
            Key::C,
            Key::V,
            Key::B,
            Key::N,
            Key::M,
            Key::Comma,
        ];
        let upper = [
            Key::Q,
            Key::W,
            Key::E,
            Key::R,
            Key::T,
            Key::Y,
            Key::U,
            Key::I,
        ];
        assert_eq!(
            lower.map(|key| midi_key(key, 0).unwrap()),
            major.map(|it| 48 + it)
        );
        assert_eq!(
            upper.map(|key| midi_key(key, 0).unwrap()),
            major.map(|it| ROOT_KEY + it)
        );
        let black = [Key::S, Key::D, Key::G, Key::H, Key::J];
        assert_eq!(
            black.map(|key| midi_key(key, -1).unwrap()),
            [37, 39, 42, 44, 46]
        );
        let black = [
            Key::Num2,
            Key::Num3,
            Key::Num5,
            Key::Num6,
            Key::Num7,
            Key::Num9,
        ];
        assert_eq!(
            black.map(|key| midi_key(key, 1).unwrap()),
            [73, 75, 78, 80, 82, 85]
        );
        for none in [
            Key::A,
            Key::F,
            Key::K,
            Key::Num1,
            Key::Num4,
            Key::Num8,
            Key::Space,
        ] {
            assert_eq!(midi_key(none, 0), None);
        }
        // Beyond MIDI's, there is none.
        assert_eq!(midi_key(Key::Z, -4), Some(0));
        assert_eq!(midi_key(Key::Z, -5), None);
        assert_eq!(midi_key(Key::Q, 6), None);
        assert_eq!(midi_key(Key::Q, i8::MAX), None);
    }

    #[test]
    fn every_press_has_its_release() {
        let event = |key, pressed| Event::Key {
            key,
            physical_key: None,
            pressed,
            repeat: false,
            modifiers: Modifiers::NONE,
        };
        let as_pads = |key| pad(key).map(Played::Pad);
        let as_keys = |key| midi_key(key, 0).map(Played::Key);
        let mut typing = Typing::default();
        let [z, x] = [Played::Pad(0), Played::Pad(1)];
        // Systems repeat keys, and not all say so.
        let down = [
            event(Key::Z, true),
            event(Key::Z, true),
            event(Key::X, true),
        ];
        assert_eq!(
            typing.strokes(&down, as_pads),
            [Stroke::Press(z), Stroke::Press(x)]
        );
        // Though the keys are a piano by now.
        let up = [
            event(Key::Z, false),
            event(Key::Z, false),
            event(Key::K, false),
        ];
        assert_eq!(typing.strokes(&up, as_keys), [Stroke::Release(z)]);
        let left = [Event::WindowFocused(false)];
        assert_eq!(typing.strokes(&left, as_keys), [Stroke::Release(x)]);
        let undo = Event::Key {
            key: Key::Z,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::CTRL,
        };
        assert_eq!(typing.strokes(&[undo], as_keys), []);
        // On another layout, the place counts.
        let placed = Event::Key {
            key: Key::Y,
            physical_key: Some(Key::Z),
            pressed: true,
            repeat: false,
            modifiers: Modifiers::SHIFT,
        };
        let press = Stroke::Press(Played::Key(48));
        assert_eq!(typing.strokes(&[placed], as_keys), [press]);
        assert_eq!(typing.release_all(), [Stroke::Release(Played::Key(48))]);
    }
}
