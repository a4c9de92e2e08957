//! Wheels and pedals.

use super::*;

#[test]
fn the_pedal_keeps_what_is_let_go_of_and_panic_does_not_ask_it() {
    let looped = PadControls {
        mode: Mode::Loop,
        release_ms: 10.0,
        ..PLAIN
    };
    let loudest = |samples: Vec<f32>| samples.iter().fold(0f32, |a, x| a.max(x.abs()));
    for panic in [false, true] {
        let mut voices = voices(&level(0.5, 4800));
        voices.sustain(0, true);
        voices.begin(60, &looped);
        voices.note_off(note(60));
        voices.left(48_000, &looped);
        assert!(loudest(voices.left(4800, &looped)) > 0.4, "kept");
        match panic {
            true => voices.release_all(0),
            false => voices.sustain(0, false),
        }
        voices.left(4800, &looped);
        assert!(!voices.is_active(), "{panic}");
    }
    // The pedal of another channel is none of its business, and a reset lifts them all.
    let mut voices = voices(&level(0.5, 4800));
    voices.sustain(1, true);
    voices.begin(60, &looped);
    voices.note_off(note(60));
    voices.left(4800, &looped);
    assert!(!voices.is_active());
    voices.sustain(0, true);
    voices.reset();
    voices.begin(60, &looped);
    voices.note_off(note(60));
    voices.left(4800, &looped);
    assert!(!voices.is_active());
}

#[test]
fn the_wheel_bends_the_notes_of_its_channel() {
    let mut voices = voices(&sine(1000.0, 48_000));
    for (semitones, hz) in [(0.0, 1000.0), (2.0, 1122.462), (-2.0, 890.899)] {
        voices.bend(0, semitones);
        voices.bend(1, 7.0);
        voices.begin(60, &PLAIN);
        let heard = voices.left(12_000, &PLAIN);
        let found = frequency(&heard[1000..], hz);
        assert!((found - hz).abs() < 0.5, "{semitones}: {found}");
        voices.reset();
    }
}
