//! Where a voice begins and ends within its sound.

use super::*;

/// A sound that tells where it is: each frame is its own number, over a million.
fn ruler(len: usize) -> Clip {
    let at = |i: usize| i as f32 * 1e-6;
    Clip::new(RATE, vec![(0..len).map(at).collect()])
}

/// The frame of the ruler that was heard.
fn frame(x: f32) -> usize {
    (x * 1e6).round() as usize
}

const LOOP: PadControls = PadControls {
    mode: Mode::Loop,
    ..PLAIN
};

#[test]
fn handles_at_the_ends_leave_every_bit_as_it_is() {
    let clip = sine(440.0, 20_000);
    let heard = |controls: &PadControls| {
        let mut voices = voices(&clip);
        voices.begin(67, controls);
        voices.left(30_000, controls)
    };
    for mode in [Mode::OneShot, Mode::Gate, Mode::Loop] {
        for reverse in [false, true] {
            let plain = PadControls {
                mode,
                reverse,
                start: 0.125,
                ..PLAIN
            };
            let handled = PadControls {
                end: 2.0,
                loop_start: 0.125,
                loop_end: 1.0,
                ..plain
            };
            assert_eq!(heard(&plain), heard(&handled), "{mode:?}");
        }
    }
}

#[test]
fn it_ends_at_its_end_softly_backwards_too() {
    let len = 10_000;
    for (reverse, first, last) in [(false, 2000, 7999), (true, 7999, 2000)] {
        let controls = PadControls {
            reverse,
            start: 0.2,
            end: 0.8,
            ..PLAIN
        };
        let mut voices = voices(&ruler(len));
        voices.begin(60, &controls);
        let out = voices.left(len, &controls);
        assert_eq!(
            frame(out[1000]),
            if reverse { first - 1000 } else { first + 1000 }
        );
        assert_eq!(
            frame(out[5900]),
            if reverse { last + 99 } else { last - 99 }
        );
        // One millisecond from as it is to nothing.
        let whole = [5951, 5975, 5999].map(|i| {
            let is = if reverse { first - i } else { first + i };
            out[i] / (is as f32 * 1e-6)
        });
        for (found, wanted) in whole.into_iter().zip([1.0, 25.0 / 48.0, 1.0 / 48.0]) {
            assert!((found - wanted).abs() < 1e-3, "{found}, not {wanted}");
        }
        assert!(out[6000..].iter().all(|x| *x == 0.0));
        assert!(!voices.is_active());
    }
    // Where it begins behind its end there is nothing to hear.
    let nothing = PadControls {
        start: 0.5,
        end: 0.5,
        ..PLAIN
    };
    let mut voices = voices(&ruler(len));
    voices.begin(60, &nothing);
    assert_eq!(voices.left(64, &nothing), [0.0; 64]);
    assert!(!voices.is_active());
}

#[test]
fn fades_last_as_long_as_is_said_at_any_pitch() {
    let controls = PadControls {
        fade_in_ms: 10.0,
        fade_out_ms: 20.0,
        ..PLAIN
    };
    for (key, len) in [(60, 9600), (72, 4800), (48, 19_200)] {
        let mut voices = voices(&level(1.0, 9600));
        voices.begin(key, &controls);
        let out = voices.left(len + 100, &controls);
        let near = |i: usize, wanted: f32| {
            assert!((out[i] - wanted).abs() < 0.01, "{key}: {i}: {}", out[i]);
        };
        near(0, 0.0);
        near(240, 0.5);
        near(480, 1.0);
        near(len - 960, 1.0);
        near(len - 480, 0.5);
        near(len - 10, 0.01);
        assert!(largest_jump(&out[..len - 16]) < 0.003, "{key}");
    }
}

#[test]
fn handles_that_are_moved_do_not_click() {
    let mut voices = voices(&level(1.0, 48_000));
    voices.begin(60, &PLAIN);
    let mut out = voices.left(9600, &PLAIN);
    for (end, fade_out_ms) in [
        (0.5, 0.0),
        (0.25, 200.0),
        (1.0, 0.0),
        (1.0, 900.0),
        (0.1, 0.0),
    ] {
        let controls = PadControls {
            end,
            fade_out_ms,
            ..PLAIN
        };
        out.extend(voices.left(960, &controls));
    }
    let jump = largest_jump(&out);
    assert!(jump < 1.02 / 48.0, "{jump}");
    assert!(!voices.is_active(), "its end is passed");
    // So does a loop that is moved before where it is.
    voices.begin(60, &LOOP);
    let mut out = voices.left(24_000, &LOOP);
    let early = PadControls {
        loop_end: 0.25,
        ..LOOP
    };
    out.extend(voices.left(24_000, &early));
    assert!(largest_jump(&out) < 1.02 / 48.0);
    assert!(voices.playhead(0).is_some_and(|at| at <= 0.25));
    assert!(out[25_000..].iter().all(|x| (x - 1.0).abs() < 1e-6));
}

#[test]
fn a_loop_stays_between_its_handles() {
    let controls = PadControls {
        start: 0.05,
        end: 0.9,
        loop_start: 0.25,
        loop_end: 0.5,
        ..LOOP
    };
    let mut voices = voices(&ruler(48_000));
    voices.begin(60, &controls);
    let out = voices.left(96_000, &controls);
    assert_eq!(frame(out[5000]), 7400);
    let looped = &out[24_000 - 2400..];
    let (low, high) = looped
        .iter()
        .fold((1f32, 0f32), |(low, high), x| (low.min(*x), high.max(*x)));
    // The crossfade of ten milliseconds takes a little off the top, and leads in from below.
    assert!((12_000..=12_480).contains(&frame(low)), "{}", frame(low));
    assert!((23_500..=24_000).contains(&frame(high)), "{}", frame(high));
    let period = 12_000 - 480;
    assert!((looped[1000] - looped[1000 + 3 * period]).abs() < 1e-6);
    // The start is the least to which it goes back, the end the most from which.
    for (start, end, loop_start, loop_end) in [(0.25, 0.5, 0.0, 1.0), (0.25, 0.5, 0.1, 0.8)] {
        let outer = PadControls {
            start,
            end,
            loop_start,
            loop_end,
            ..LOOP
        };
        let mut voices = self::voices(&ruler(48_000));
        voices.begin(60, &outer);
        let found = voices.left(60_000, &outer);
        assert!(
            found[100..]
                .iter()
                .all(|x| (12_000..24_000).contains(&frame(*x)))
        );
    }
}

#[test]
fn notes_are_cut_in_time_and_loops_begin_anew() {
    let cut = PadControls {
        cut_seconds: 0.1,
        ..PLAIN
    };
    let mut voices = voices(&level(1.0, 48_000));
    for fade_out_ms in [0.0, 20.0] {
        let controls = PadControls { fade_out_ms, ..cut };
        voices.begin(60, &controls);
        let out = voices.left(4900, &controls);
        let fade = (48.0 * f32::max(4.0, fade_out_ms)) as usize;
        assert_eq!(out[..4800 - fade], vec![1.0; 4800 - fade]);
        assert!((out[4800 - fade / 2] - 0.5).abs() < 0.01);
        assert!(largest_jump(&out) < 1.01 / fade as f32);
        assert!(out[4800..].iter().all(|x| *x == 0.0) && !voices.is_active());
    }
    // Shorter than its time: silence in between, and on the frame the same again, however often.
    let controls = PadControls {
        cut_seconds: 0.1,
        ..LOOP
    };
    let clip = sine(1000.0, 3000);
    let wave = &clip.channels()[0];
    let mut short = self::voices(&clip);
    short.begin(60, &controls);
    let out = short.left(48_000, &controls);
    for turn in out.chunks(4800) {
        assert_eq!(
            (&turn[..3000], &turn[3000..]),
            (&wave[..], &[0.0; 1800][..])
        );
    }
    assert!(short.is_active());
    short.note_off(note(60));
    short.left(40_000, &controls);
    assert!(!short.is_active(), "also while it is silent");
    // Longer: it is cut, and begins anew.
    voices.begin(60, &controls);
    let out = voices.left(9600, &controls);
    assert_eq!((out[4000], out[4801]), (1.0, 1.0));
    assert!(out[4799] < 0.01);
    // From the middle of the sound, softly.
    let controls = PadControls {
        start: 0.5,
        ..controls
    };
    voices.reset();
    voices.begin(60, &controls);
    let out = voices.left(9600, &controls);
    assert!(largest_jump(&out) < 1.02 / 48.0);
}

#[test]
fn a_time_that_is_no_whole_number_of_frames_does_not_drift() {
    let controls = PadControls {
        // A third of a beat at 127 per minute.
        cut_seconds: 60.0 / 127.0 / 3.0,
        ..LOOP
    };
    let mut clip = vec![0.0; 100];
    clip[0] = 1.0;
    let mut voices = voices(&Clip::new(RATE, vec![clip]));
    voices.begin(60, &controls);
    let out = voices.left(480_000, &controls);
    let begins: Vec<usize> = (0..out.len()).filter(|&i| out[i] == 1.0).collect();
    for (turn, begin) in begins.iter().enumerate() {
        let wanted = turn as f64 * f64::from(controls.cut_seconds) * 48_000.0;
        assert!((*begin as f64 - wanted).abs() <= 1.0, "{turn}");
    }
    assert_eq!(begins.len(), 64);
}
