//! Monophonic pads: which note sounds, and how it glides there.

use super::*;

const GATE: PadControls = PadControls {
    mode: Mode::Gate,
    voices: Polyphony::Mono,
    release_ms: 20.0,
    ..PLAIN
};

/// Frames of the sound, so few that its playhead is exact to a hundredth of a frame.
const LEN: usize = 96_000;

/// The pitch of the newest voice over the next strides, in semitones, by how fast its playhead moves.
fn pitch(voices: &mut Voices, controls: &PadControls, strides: usize) -> f64 {
    let before = voices.playhead(0).expect("it sounds");
    let frames = strides * STRIDE;
    voices.left(frames, controls);
    let moved = f64::from(voices.playhead(0).expect("it sounds") - before) * LEN as f64;
    12.0 * (moved / frames as f64).log2()
}

/// The key that sounds, where it does not glide; none in silence.
fn key(voices: &mut Voices, controls: &PadControls) -> Option<u8> {
    // The rest of what was let go of.
    voices.left(2 * STRIDE, controls);
    voices.playhead(0)?;
    Some((60.0 + pitch(voices, controls, 8)).round() as u8)
}

fn press(voices: &mut Voices, key: u8, controls: &PadControls) -> Vec<NoteAddress> {
    let begin = Begin {
        pad: 0,
        key: Some(f32::from(key) - 60.0),
        velocity: 1.0,
    };
    let mut ended = Vec::new();
    voices.note_on(note(key), begin, controls, &mut |note| ended.push(note));
    ended
}

#[test]
fn the_newest_note_takes_the_place_of_the_last_one_without_a_click() {
    let mono = PadControls {
        voices: Polyphony::Mono,
        ..PLAIN
    };
    let mut voices = voices(&level(0.5, LEN));
    voices.set_sound(1, Some(alone(PlayableSound::new(&level(0.25, LEN)))));
    let other = Begin {
        pad: 1,
        key: None,
        velocity: 1.0,
    };
    voices.note_on(note(40), other, &mono, &mut |_| {});
    assert_eq!(press(&mut voices, 60, &mono), []);
    assert_eq!(voices.left(320, &mono)[319], 0.75);
    assert_eq!(press(&mut voices, 60, &mono), [note(60)]);
    let begin = Begin {
        pad: 0,
        key: None,
        velocity: 1.0,
    };
    let mut ended = Vec::new();
    voices.note_on(note(62), begin, &mono, &mut |note| ended.push(note));
    assert_eq!(ended, [note(60)]);
    let out = voices.left(320, &mono);
    // Two fade by 0.5 within 192 frames, the new one is as it is.
    let jump = largest_jump(&out);
    assert!(jump < 0.006 && out[0] > 1.2, "{jump}, {}", out[0]);
    assert_eq!(out[193..], [0.75; 127], "the other pad's sounds on");

    let poly = PLAIN;
    assert_eq!(press(&mut voices, 64, &poly), []);
    assert_eq!(voices.left(32, &poly)[31], 1.25);
}

#[test]
fn it_goes_back_to_the_newest_key_that_is_held() {
    for mode in [Mode::Gate, Mode::Loop] {
        let controls = PadControls { mode, ..GATE };
        let mut voices = voices(&level(0.5, LEN));
        for key in [60, 64, 67] {
            press(&mut voices, key, &controls);
        }
        assert_eq!(key(&mut voices, &controls), Some(67));
        voices.note_off(note(64));
        assert_eq!(key(&mut voices, &controls), Some(67));
        voices.note_off(note(67));
        assert!(voices.is_pad_active(0));
        assert_eq!(key(&mut voices, &controls), Some(60));
        assert_eq!(voices.left(32, &controls)[31], 0.5, "one voice");
        voices.note_off(note(60));
        voices.left(9600, &controls);
        assert!(!voices.is_active());
    }
    // Not where notes play to their end, or where more than one may sound.
    for controls in [
        PadControls {
            mode: Mode::OneShot,
            ..GATE
        },
        PadControls {
            voices: Polyphony::Poly,
            ..GATE
        },
    ] {
        let mut voices = voices(&level(0.5, LEN));
        press(&mut voices, 60, &controls);
        press(&mut voices, 64, &controls);
        let before = voices.notes;
        voices.note_off(note(64));
        voices.left(320, &controls);
        assert_eq!(voices.notes, before);
    }
}

#[test]
fn a_note_at_the_same_frame_comes_before_going_back() {
    let mut voices = voices(&level(0.5, LEN));
    press(&mut voices, 60, &GATE);
    press(&mut voices, 64, &GATE);
    voices.left(320, &GATE);
    voices.note_off(note(64));
    assert_eq!(press(&mut voices, 67, &GATE), [note(64)]);
    let notes = voices.notes;
    assert_eq!(key(&mut voices, &GATE), Some(67));
    assert_eq!(voices.notes, notes);
    voices.note_off(note(67));
    assert_eq!(key(&mut voices, &GATE), Some(60));
    // The same key again is one key.
    press(&mut voices, 60, &GATE);
    voices.note_off(note(60));
    voices.left(9600, &GATE);
    assert!(!voices.is_active());
}

#[test]
fn it_goes_back_even_when_the_newest_has_ended_by_itself() {
    let mut voices = voices(&level(0.5, 4000));
    press(&mut voices, 60, &GATE);
    press(&mut voices, 64, &GATE);
    voices.left(9600, &GATE);
    assert!(!voices.is_active());
    voices.note_off(note(64));
    assert!(voices.is_pad_active(0));
    assert_eq!(voices.left(100, &GATE)[99], 0.5);
    voices.note_off(note(60));
    assert!(!voices.held[0].returns());
}

#[test]
fn the_pedal_holds_the_newest_note_and_lifting_it_goes_back() {
    let mut voices = voices(&level(0.5, LEN));
    press(&mut voices, 60, &GATE);
    press(&mut voices, 64, &GATE);
    voices.sustain(0, true);
    voices.note_off(note(64));
    assert_eq!(key(&mut voices, &GATE), Some(64));
    voices.sustain(0, false);
    assert_eq!(key(&mut voices, &GATE), Some(60));
}

#[test]
fn what_was_silenced_does_not_come_back() {
    let silenced: [fn(&mut Voices); 4] = [
        |voices| voices.choke_pads(|pad| pad == 0, &mut |_| {}),
        |voices| voices.release_all(0),
        Voices::reset,
        |voices| {
            let all = NoteAddress {
                channel: Some(0),
                ..NoteAddress::NONE
            };
            voices.choke(all, &mut |_| {});
        },
    ];
    for silence in silenced {
        let mut voices = voices(&level(0.5, LEN));
        press(&mut voices, 60, &GATE);
        press(&mut voices, 64, &GATE);
        silence(&mut voices);
        voices.note_off(note(64));
        voices.left(9600, &GATE);
        assert!(!voices.is_active());
    }
    // A hit from the window is a note like others, which the host does not know.
    let mut voices = voices(&level(0.5, LEN));
    press(&mut voices, 60, &GATE);
    press(&mut voices, 64, &GATE);
    let begin = Begin {
        pad: 0,
        key: None,
        velocity: 1.0,
    };
    let hand = NoteAddress::of_pad(0);
    voices.note_on(hand, begin, &GATE, &mut |_| {});
    voices.note_off(note(64));
    assert!(voices.newest(0).is_some_and(|it| it.note == hand));
    voices.note_off(NoteAddress::of_pad(1));
    voices.left(9600, &GATE);
    assert!(voices.newest(0).is_some_and(|it| it.note == hand));
    voices.note_off(hand);
    assert_eq!(key(&mut voices, &GATE), Some(60));
}

#[test]
fn a_glide_passes_the_middle_and_arrives_in_time() {
    let controls = PadControls {
        glide_ms: 100.0,
        ..GATE
    };
    let near = |found: f64, wanted: f64, cents: f64| {
        let off = 100.0 * (found - wanted);
        assert!(off.abs() < cents, "{found} semitones, not {wanted}");
    };
    let mut voices = voices(&sine(220.0, LEN));
    press(&mut voices, 60, &controls);
    near(pitch(&mut voices, &controls, 20), 0.0, 0.1);
    press(&mut voices, 72, &controls);
    // 100 ms are 150 strides: 12 semitones at 8 cents a stride.
    near(pitch(&mut voices, &controls, 2), 0.08, 1.0);
    voices.left(72 * STRIDE, &controls);
    near(pitch(&mut voices, &controls, 2), 6.0, 1.0);
    voices.left(72 * STRIDE, &controls);
    near(pitch(&mut voices, &controls, 2), 11.92, 1.0);
    near(pitch(&mut voices, &controls, 20), 12.0, 0.1);
    let heard = voices.left(12_000, &controls);
    let found = frequency(&heard, 440.0);
    assert!((found - 440.0).abs() < 0.02, "{found}");

    // Back, and on from where that glide is in its middle: by 12 semitones and by 6 within 100 ms each.
    voices.note_off(note(72));
    voices.left(STRIDE, &controls);
    near(pitch(&mut voices, &controls, 2), 11.84, 1.0);
    voices.left(72 * STRIDE, &controls);
    press(&mut voices, 60, &controls);
    near(pitch(&mut voices, &controls, 2), 5.96, 1.0);
    voices.left(148 * STRIDE, &controls);
    near(pitch(&mut voices, &controls, 20), 0.0, 0.1);
}

#[test]
fn there_is_no_glide_from_silence_nor_of_a_pad_with_many_voices() {
    for controls in [
        PadControls {
            glide_ms: 500.0,
            ..GATE
        },
        PadControls {
            glide_ms: 500.0,
            voices: Polyphony::Poly,
            ..GATE
        },
    ] {
        let mut voices = voices(&sine(220.0, LEN));
        press(&mut voices, 60, &controls);
        voices.left(320, &controls);
        if controls.voices == Polyphony::Mono {
            voices.note_off(note(60));
            voices.left(9600, &controls);
        }
        press(&mut voices, 72, &controls);
        let found = pitch(&mut voices, &controls, 10);
        assert!((found - 12.0).abs() < 0.001, "{found}");
    }
}

#[test]
fn a_glide_does_not_click() {
    let controls = PadControls {
        mode: Mode::Loop,
        glide_ms: 30.0,
        ..GATE
    };
    let mut voices = voices(&sine(50.0, LEN));
    let mut out = Vec::new();
    for i in 0..200 {
        press(&mut voices, [48, 72, 60, 55][i % 4], &controls);
        out.extend(voices.left(1000 + i % 7, &controls));
    }
    // Up to an octave up: 0.0131 a frame; and one that fades by 1/192 a frame.
    let jump = largest_jump(&out);
    assert!(jump < 0.0131 + 0.0066 + 0.0053, "{jump}");
}
