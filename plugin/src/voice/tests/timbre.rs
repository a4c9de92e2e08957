//! Drive and tone.

use super::*;

fn stereo() -> Clip {
    let channel = |hz: f64| sine(hz, 9600).channels()[0].clone();
    Clip::new(RATE, vec![channel(300.0), channel(2000.0)])
}

#[test]
fn without_drive_and_tone_the_frames_are_the_same_to_the_bit() {
    for clip in [sine(440.0, 9600), stereo()] {
        let mut plain = voices(&clip);
        plain.begin(60, &PLAIN);
        let [left, right] = plain.play(9600, &PLAIN);
        assert_eq!(left, clip.channels()[0]);
        assert_eq!(right, *clip.channels().last().unwrap());
        for (drive, tone) in [(0.0, -0.0), (-1.0, f32::NAN), (f32::NAN, 0.0)] {
            let controls = PadControls {
                drive,
                tone,
                ..PLAIN
            };
            let mut voices = voices(&clip);
            voices.begin(60, &controls);
            assert_eq!(voices.play(9600, &controls), [&left[..], &right[..]]);
        }
    }
}

#[test]
fn drive_saturates_before_the_filter_and_tone_comes_after_it() {
    let driven = PadControls {
        drive: 1.0,
        ..PLAIN
    };
    let mut loud = voices(&level(1.0, 4000));
    loud.begin(60, &driven);
    let out = loud.left(100, &driven);
    assert!((out[99] - 0.30585).abs() < 1e-5, "{}", out[99]);
    // Of each channel of a stereo sound its own; and the level of a pad comes after it.
    let quiet = PadControls {
        gain: 0.5,
        ..driven
    };
    let mut wide = voices(&Clip::new(RATE, vec![vec![1.0; 4000], vec![-1e-3; 4000]]));
    wide.begin(60, &quiet);
    let [left, right] = wide.play(100, &quiet);
    assert!((left[99] - 0.152_925).abs() < 1e-5);
    assert!((right[99] + 0.5 * 4.903e-3).abs() < 1e-5, "{}", right[99]);
    // A low-pass makes of the saturated sine, nearly a square, a sine again.
    let filtered = PadControls {
        filter: FilterKind::Lowpass,
        cutoff: 200.0,
        ..driven
    };
    let thd = |controls: &PadControls| {
        let mut voices = voices(&sine(100.0, 48_000));
        voices.begin(60, controls);
        let out = voices.left(24_000, controls);
        let part = |hz: f64| {
            let angle = |i: usize| std::f64::consts::TAU * hz * i as f64 / f64::from(RATE);
            let (re, im) =
                out[4800..24_000]
                    .iter()
                    .enumerate()
                    .fold((0.0, 0.0), |(re, im), (i, &x)| {
                        let (sin, cos) = angle(i).sin_cos();
                        (re + f64::from(x) * cos, im + f64::from(x) * sin)
                    });
            re.hypot(im)
        };
        part(300.0) / part(100.0)
    };
    let (raw, smooth) = (thd(&driven), thd(&filtered));
    assert!((0.2..0.34).contains(&raw), "{raw}");
    assert!(smooth < raw / 2.0, "{smooth} of {raw}");
}

#[test]
fn they_move_without_a_click() {
    // The sine moves by 0.0065 a frame, times at most 4.9 by drive and 4 by tone where it is steepest.
    let mut voices = voices(&sine(50.0, 480_000));
    voices.begin(60, &PLAIN);
    let mut out = Vec::new();
    for i in 0..300 {
        let controls = PadControls {
            drive: [0.0, 1.0, 0.3, 0.0][i % 4],
            tone: [0.0, -1.0, 0.0, 1.0, 0.5][i % 5],
            ..PLAIN
        };
        out.extend(voices.left(90 + i % 7, &controls));
    }
    let jump = largest_jump(&out);
    assert!(jump < 0.05, "{jump}");
    assert!(out.iter().all(|x| x.abs() < 1.5));
}

#[test]
fn the_tone_turns_the_highs_and_leaves_the_lows() {
    let level = |hz: f64, tone: f32| {
        let controls = PadControls { tone, ..PLAIN };
        let mut voices = voices(&sine(hz, 48_000));
        voices.begin(60, &controls);
        let out = voices.left(24_000, &controls);
        let energy: f32 = out[4800..].iter().map(|x| x * x).sum();
        10.0 * (energy / 9600.0).log10()
    };
    for (tone, low, high) in [(-1.0, -0.17, -23.7), (1.0, 0.1, 10.9)] {
        let found = (level(100.0, tone), level(8000.0, tone));
        assert!((found.0 - low).abs() < 0.1, "{tone}: {found:?}");
        assert!((found.1 - high).abs() < 0.1, "{tone}: {found:?}");
    }
}
