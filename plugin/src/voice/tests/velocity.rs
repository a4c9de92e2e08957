//! What velocity does to a note.

use super::*;

/// What a note of this velocity sounds like, and the notes that ended in it.
fn played(sound: &Clip, velocity: f32, controls: &PadControls) -> (Vec<f32>, bool) {
    let mut voices = voices(sound);
    let begin = Begin {
        pad: 0,
        key: Some(0.0),
        velocity,
    };
    voices.note_on(note(60), begin, controls, &mut |_| {});
    let out = voices.left(3200, controls);
    (out, voices.is_active())
}

#[test]
fn the_curve_bends_the_level_between_none_and_full() {
    for (velocity_curve, wanted) in [(0.0, 0.5), (1.0, 0.840_896_4), (-0.5, 0.25)] {
        let controls = PadControls {
            velocity_curve,
            ..PLAIN
        };
        let at = |velocity| played(&level(1.0, 4000), velocity, &controls).0[100];
        assert!((at(0.5) - wanted).abs() < 1e-6, "{velocity_curve}");
        assert_eq!((at(0.0), at(1.0)), (0.0, 1.0));
        let half = PadControls {
            velocity: 0.5,
            ..controls
        };
        let found = played(&level(1.0, 4000), 0.5, &half).0[100];
        assert!((found - 0.5 * (1.0 + wanted)).abs() < 1e-6);
    }
}

#[test]
fn soft_notes_are_filtered_lower_where_there_is_a_filter() {
    let controls = PadControls {
        filter: FilterKind::Lowpass,
        cutoff: 4000.0,
        velocity: 0.0,
        velocity_cutoff: 4.0,
        ..PLAIN
    };
    let clip = sine(1500.0, 4000);
    for (velocity, cutoff) in [(1.0, 4000.0), (0.5, 1000.0), (0.0, 250.0)] {
        let plain = PadControls {
            cutoff,
            velocity_cutoff: 0.0,
            ..controls
        };
        assert_eq!(
            played(&clip, velocity, &controls),
            played(&clip, 1.0, &plain)
        );
    }
    let off = PadControls {
        filter: FilterKind::Off,
        ..controls
    };
    assert_eq!(
        played(&clip, 0.3, &off).0[..3200],
        clip.channels()[0][..3200]
    );
}

#[test]
fn soft_notes_begin_later_in_the_sound() {
    let controls = PadControls {
        start: 0.125,
        velocity: 0.0,
        velocity_start: 0.5,
        ..PLAIN
    };
    let ramp: Vec<f32> = (0..4096).map(|i| i as f32 / 4096.0).collect();
    let clip = Clip::new(RATE, vec![ramp.clone()]);
    for (velocity, first) in [(1.0, 512), (0.5, 1536), (0.0, 2560)] {
        let (out, _) = played(&clip, velocity, &controls);
        // After the millisecond in which it rises.
        assert_eq!(out[48..1500], ramp[first + 48..first + 1500]);
        assert!(largest_jump(&out[..1500]) < 0.016);
    }
    let reverse = PadControls {
        reverse: true,
        ..controls
    };
    let (out, _) = played(&clip, 0.5, &reverse);
    assert_eq!(out[100], ramp[4095 - 1536 - 100]);
}

#[test]
fn a_note_that_begins_at_the_end_is_over_at_once() {
    for mode in [Mode::OneShot, Mode::Gate, Mode::Loop] {
        for start in [0.0, 0.7, 1.0] {
            let controls = PadControls {
                mode,
                start,
                velocity: 0.0,
                velocity_start: 1.0,
                ..PLAIN
            };
            let (out, goes_on) = played(&level(0.5, 4000), 0.0, &controls);
            if mode == Mode::Loop && start < 1.0 {
                assert!(goes_on && out[3199] == 0.5, "it goes round from the start");
                assert!(largest_jump(&out) < 0.011);
            } else {
                assert!(!goes_on);
                assert_eq!(out, [0.0; 3200]);
            }
        }
    }
}
