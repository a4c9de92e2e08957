//! What the voices promise, heard at their output.

use audiodiff::audio::Clip;

use super::*;

mod edges;
mod mono;
mod takes;
mod timbre;
mod velocity;
mod wheels;

const RATE: u32 = 48_000;

const PLAIN: PadControls = PadControls::PLAIN;

fn sine(hz: f64, len: usize) -> Clip {
    let at = |i: usize| (std::f64::consts::TAU * hz * i as f64 / f64::from(RATE)).sin() as f32;
    Clip::new(RATE, vec![(0..len).map(at).collect()])
}

fn level(value: f32, len: usize) -> Clip {
    Clip::new(RATE, vec![vec![value; len]])
}

/// A pad's own sound, without further takes.
fn alone(sound: PlayableSound) -> Arc<PadSounds> {
    Arc::new(PadSounds::from(sound))
}

fn voices(clip: &Clip) -> Voices {
    let mut voices = Voices::default();
    voices.set_sound(0, Some(alone(PlayableSound::new(clip))));
    voices
}

fn note(key: u8) -> NoteAddress {
    NoteAddress {
        id: None,
        channel: Some(0),
        key: Some(key),
    }
}

impl Voices {
    fn begin(&mut self, key: u8, controls: &PadControls) {
        let begin = Begin {
            pad: 0,
            key: Some(f32::from(key) - 60.0),
            velocity: 1.0,
        };
        self.note_on(note(key), begin, controls, &mut |_| {});
    }

    fn play(&mut self, len: usize, controls: &PadControls) -> [Vec<f32>; 2] {
        let mut out = [vec![0.0; len], vec![0.0; len]];
        let [left, right] = &mut out;
        for (l, r) in left.chunks_mut(STRIDE).zip(right.chunks_mut(STRIDE)) {
            let (all, len) = ([*controls; PADS], l.len());
            let mut mix = |_: usize, from_l: &[f32], from_r: &[f32]| {
                l.iter_mut().zip(from_l).for_each(|(to, x)| *to += x);
                r.iter_mut().zip(from_r).for_each(|(to, x)| *to += x);
            };
            self.render(len, RATE as f32, &all, &mut mix, &mut |_| {});
        }
        out
    }

    fn left(&mut self, len: usize, controls: &PadControls) -> Vec<f32> {
        let [left, _] = self.play(len, controls);
        left
    }
}

#[test]
fn a_sound_with_a_pitch_is_played_in_tune_by_keys_alone() {
    // 20 cents above the A over middle C.
    let hz = 440.0 * 2f64.powf(0.2 / 12.0);
    let mut voices = Voices::default();
    let clip = sine(hz, 48_000);
    let sound = PlayableSound::new(&clip).tuned(Some(hz as f32));
    voices.set_sound(0, Some(alone(sound)));
    for (key, wanted) in [
        (Some(0.0), 523.251),
        (Some(-3.0), 440.0),
        (Some(9.0), 880.0),
        (None, hz),
    ] {
        let begin = Begin {
            pad: 0,
            key,
            velocity: 1.0,
        };
        voices.note_on(note(60), begin, &PLAIN, &mut |_| {});
        let heard = voices.left(12_000, &PLAIN);
        let found = frequency(&heard[1000..], wanted);
        assert!((found - wanted).abs() < 0.3, "{key:?}: {found}");
        voices.reset();
    }
}

#[test]
fn a_tail_is_as_long_as_the_longest_note() {
    let mut voices = voices(&level(0.5, 48_000));
    let of = |voices: &Voices, controls: PadControls| voices.tail(48_000.0, |_| controls);
    let fade = (FADE_MS * 48.0) as u32;
    assert_eq!(Voices::default().tail(48_000.0, |_| PLAIN), 0, "no sound");
    assert!(of(&voices, PLAIN).abs_diff(48_000 + fade) <= 1);
    let low = PadControls {
        pitch: -12.0,
        ..PLAIN
    };
    assert!(of(&voices, low).abs_diff(96_000 + fade) <= 1);
    voices.begin(60, &low);
    voices.note_off(note(60));
    voices.left(of(&voices, low) as usize, &low);
    assert!(!voices.is_active());
}

fn largest_jump(samples: &[f32]) -> f32 {
    let jumps = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    jumps.fold(0.0, f32::max)
}

/// Frequency from the phase between two places of a steady sine, in Hz.
fn frequency(samples: &[f32], near: f64) -> f64 {
    let phase = |from: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for i in 0..4096 {
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / 4096.0).cos();
            let angle = std::f64::consts::TAU * near * (from + i) as f64 / f64::from(RATE);
            let x = window * f64::from(samples[from + i]);
            (re, im) = (re + x * angle.cos(), im - x * angle.sin());
        }
        im.atan2(re)
    };
    let apart = 4000;
    let turn = std::f64::consts::TAU;
    let moved = (phase(1000 + apart) - phase(1000)).rem_euclid(turn);
    let moved = if moved > turn / 2.0 {
        moved - turn
    } else {
        moved
    };
    near + moved / turn * f64::from(RATE) / apart as f64
}

#[test]
fn a_plain_pad_plays_the_clip_bit_for_bit_and_then_silence() {
    let clip = sine(440.0, 1000);
    let mut voices = voices(&clip);
    voices.begin(60, &PLAIN);
    let out = voices.left(1200, &PLAIN);
    assert_eq!(out[..1000], clip.channels()[0]);
    assert!(out[1000..].iter().all(|&x| x == 0.0));
    assert!(!voices.is_active());
}

#[test]
fn pitch_is_right_within_a_tenth_of_a_cent() {
    for (key, pitch) in [(60, 0.37), (72, 0.0), (60, -24.0), (48, 5.5), (67, 12.0)] {
        let controls = PadControls { pitch, ..PLAIN };
        let mut voices = voices(&sine(220.0, 96_000));
        voices.begin(key, &controls);
        let out = voices.left(12_000, &controls);
        let semitones = f64::from(key) - 60.0 + f64::from(pitch);
        let wanted = 220.0 * (semitones / 12.0).exp2();
        let cents = 1200.0 * (frequency(&out, wanted) / wanted).log2();
        assert!(cents.abs() < 0.1, "key {key}, pitch {pitch}: {cents} cents");
    }
}

#[test]
fn a_clip_keeps_its_pitch_at_another_rate() {
    let mut clip = sine(300.0, 48_000).channels().to_vec();
    let clip = Clip::new(24_000, vec![clip.remove(0)]);
    let mut voices = voices(&clip);
    voices.begin(60, &PLAIN);
    let out = voices.left(12_000, &PLAIN);
    assert!((frequency(&out, 150.0) - 150.0).abs() < 0.01);
}

#[test]
fn reversed_it_is_the_same_from_the_end() {
    let clip = sine(440.0, 1000);
    let controls = PadControls {
        reverse: true,
        ..PLAIN
    };
    let mut voices = voices(&clip);
    voices.begin(60, &controls);
    let mut out = voices.left(1000, &controls);
    out.reverse();
    assert_eq!(out, clip.channels()[0]);
}

#[test]
fn a_late_start_leaves_out_its_part_softly() {
    let controls = PadControls {
        start: 0.25,
        ..PLAIN
    };
    let mut voices = voices(&level(1.0, 4000));
    voices.begin(60, &controls);
    let out = voices.left(4000, &controls);
    assert!(largest_jump(&out[..2000]) < 0.03);
    assert_eq!((out[100], out[2999], out[3000]), (1.0, 1.0, 0.0));
}

#[test]
fn loops_go_on_without_a_click_until_the_key_is_let_go() {
    let controls = PadControls {
        mode: Mode::Loop,
        release_ms: 50.0,
        ..PLAIN
    };
    // 100.3 periods: end and beginning do not fit.
    let mut voices = voices(&sine(100.3, 48_000));
    voices.begin(60, &controls);
    let out = voices.left(300_000, &controls);
    assert!(largest_jump(&out) < 0.016, "{}", largest_jump(&out));
    let late = out[290_000..]
        .iter()
        .fold(0f32, |peak, x| peak.max(x.abs()));
    assert!(late > 0.99);
    voices.note_off(note(60));
    let out = voices.left(10_000, &controls);
    assert!(largest_jump(&out) < 0.016);
    assert!(!voices.is_active());
    // A sound of no length cannot be looped, and ends.
    let mut none = self::voices(&level(1.0, 1));
    none.begin(60, &controls);
    none.left(64, &controls);
    assert!(!none.is_active());
}

#[test]
fn the_envelope_rises_holds_and_falls_by_60_db_in_the_stated_times() {
    let controls = PadControls {
        mode: Mode::Gate,
        attack_ms: 10.0,
        hold_ms: 5.0,
        decay_ms: 100.0,
        sustain: 0.25,
        release_ms: 50.0,
        ..PLAIN
    };
    let mut voices = voices(&level(1.0, 48_000));
    voices.begin(60, &controls);
    let out = voices.left(9600, &controls);
    assert!((out[239] - 0.5).abs() < 1e-3 && (out[479] - 1.0).abs() < 1e-3);
    assert_eq!(out[480..719], [1.0; 239]);
    assert!(
        (out[720 + 4800] - (0.25 + 0.75e-3)).abs() < 1e-4,
        "{}",
        out[5520]
    );
    assert!((out[9599] - 0.25).abs() < 3e-5);
    voices.note_off(note(61));
    assert!((voices.left(32, &controls)[31] - 0.25).abs() < 3e-5);
    voices.note_off(note(60));
    let out = voices.left(2400, &controls);
    assert!((out[2399] - 0.25e-3).abs() < 1e-5, "{}", out[2399]);
}

#[test]
fn a_one_shot_does_not_listen_to_its_key() {
    let mut voices = voices(&level(1.0, 9600));
    voices.begin(60, &PLAIN);
    voices.note_off(note(60));
    assert_eq!(voices.left(4800, &PLAIN), [1.0; 4800]);
}

#[test]
fn gain_pan_and_velocity_are_factors() {
    let controls = PadControls {
        gain: 0.5,
        pan: 0.5,
        ..PLAIN
    };
    let quiet = |controls: &PadControls| {
        let mut voices = voices(&level(1.0, 100));
        let begin = Begin {
            pad: 0,
            key: Some(0.0),
            velocity: 0.5,
        };
        voices.note_on(note(60), begin, controls, &mut |_| {});
        let [left, right] = voices.play(10, controls);
        (left[5], right[5])
    };
    assert_eq!(quiet(&controls), (0.125, 0.25));
    assert_eq!(
        quiet(&PadControls {
            velocity: 0.0,
            ..controls
        }),
        (0.25, 0.5)
    );
}

#[test]
fn expressions_and_modulation_change_one_voice() {
    let mut voices = voices(&level(1.0, 9600));
    let named = |id| NoteAddress {
        id: Some(id),
        channel: None,
        key: None,
    };
    for id in [1, 2] {
        let begin = Begin {
            pad: 0,
            key: Some(0.0),
            velocity: 1.0,
        };
        voices.note_on(named(id), begin, &PLAIN, &mut |_| {});
    }
    assert_eq!(voices.left(32, &PLAIN)[31], 2.0);
    voices.express(named(1), |voice| voice.gain = 0.5);
    voices.modulate(2, 0, |voice| voice.pan = 1.0);
    voices.modulate(2, 1, |voice| voice.gain = 9.0);
    let [left, right] = voices.play(64, &PLAIN);
    assert_eq!((left[63], right[63]), (0.5, 1.5));
    assert!(largest_jump(&left) < 0.06, "it glides there");
}

#[test]
fn stealing_does_not_click() {
    // A slow sine moves by at most 2π · 50 / 48000 = 0.0065 a frame; 64 of them, and a few that
    // fade by 1/192 a frame, mostly cancel. A cut would jump by up to 1.
    let mut voices = voices(&sine(50.0, 480_000));
    let mut out = Vec::new();
    for i in 0..400 {
        voices.begin(60, &PLAIN);
        out.extend(voices.left(90 + i % 7, &PLAIN));
    }
    assert!(out.iter().any(|x| x.abs() > 2.0));
    assert!(largest_jump(&out) < 0.05, "{}", largest_jump(&out));
}

#[test]
fn even_a_storm_of_notes_does_not_click() {
    // One note a frame, far more than there are places to fade in: up to 64 sines of equal phase,
    // fades, and the residuals of cut voices. Without these it would be 1.37.
    let mut voices = voices(&sine(50.0, 480_000));
    let mut out = Vec::new();
    for _ in 0..10 {
        out.extend(voices.left(700, &PLAIN));
        for _ in 0..200 {
            voices.begin(60, &PLAIN);
            out.extend(voices.left(1, &PLAIN));
        }
    }
    assert!(out.iter().any(|x| x.abs() > 50.0));
    assert!(largest_jump(&out) < 1.0, "{}", largest_jump(&out));
}

#[test]
fn the_oldest_of_64_makes_room_and_is_reported() {
    let mut voices = voices(&sine(100.0, 48_000));
    let mut ended = Vec::new();
    for key in 0..66 {
        let begin = Begin {
            pad: 0,
            key: Some(0.0),
            velocity: 1.0,
        };
        voices.note_on(note(key), begin, &PLAIN, &mut |note| ended.push(note));
    }
    assert_eq!(ended, [note(0), note(1)]);
}

#[test]
fn choked_pads_fade_within_four_milliseconds() {
    let mut voices = voices(&level(1.0, 48_000));
    voices.set_sound(7, Some(alone(PlayableSound::new(&level(0.5, 48_000)))));
    voices.begin(60, &PLAIN);
    let begin = Begin {
        pad: 7,
        key: Some(0.0),
        velocity: 1.0,
    };
    voices.note_on(note(43), begin, &PLAIN, &mut |_| {});
    voices.left(100, &PLAIN);
    let mut ended = Vec::new();
    voices.choke_pads(|pad| pad == 0, &mut |note| ended.push(note));
    assert_eq!(ended, [note(60)]);
    let out = voices.left(200, &PLAIN);
    assert!(
        largest_jump(&out) < 0.0053 && out[195] == 0.5,
        "{}",
        largest_jump(&out)
    );
    assert!(!voices.is_pad_active(0) && voices.is_pad_active(7));
}

#[test]
fn without_a_sound_there_is_silence_and_the_note_is_over() {
    let mut voices = Voices::default();
    let mut ended = Vec::new();
    let begin = Begin {
        pad: 3,
        key: Some(0.0),
        velocity: 1.0,
    };
    voices.note_on(note(60), begin, &PLAIN, &mut |note| ended.push(note));
    assert_eq!(ended, [note(60)]);
    assert_eq!(voices.left(500, &PLAIN), [0.0; 500]);
}

#[test]
fn a_note_keeps_the_sound_it_began_with() {
    let mut voices = voices(&level(0.25, 1000));
    voices.begin(60, &PLAIN);
    voices.set_sound(0, Some(alone(PlayableSound::new(&level(0.5, 1000)))));
    assert_eq!(voices.left(10, &PLAIN)[5], 0.25);
    assert!(
        voices
            .playhead(0)
            .is_some_and(|position| (position - 0.01).abs() < 1e-6)
    );
    voices.begin(60, &PLAIN);
    assert_eq!(voices.left(10, &PLAIN)[5], 0.75);
    voices.set_sound(0, None);
    assert_eq!(voices.left(10, &PLAIN)[5], 0.75);
}

#[test]
fn odd_sounds_and_settings_are_played_without_harm() {
    let numbers = [f32::NAN, f32::INFINITY, -1e30, 0.0, 1e30];
    for clip in [
        Clip::new(1, vec![vec![]]),
        Clip::new(RATE, vec![vec![1.0]]),
        Clip::new(RATE, vec![vec![f32::NAN, f32::INFINITY, 1.0]; 2]),
        sine(5000.0, 5000),
    ] {
        for mode in [Mode::OneShot, Mode::Gate, Mode::Loop] {
            for pitch in [-24.0, 0.0, 24.0] {
                let mut voices = voices(&clip);
                let controls = PadControls {
                    pitch,
                    mode,
                    filter: FilterKind::Lowpass,
                    cutoff: 20_000.0,
                    resonance: 1.0,
                    ..PLAIN
                };
                voices.begin(127, &controls);
                let out = voices.left(500, &controls);
                assert!(out.iter().all(|x| x.is_finite()));
            }
            for number in numbers {
                // Nothing to hear is asked of these, only that they come to an end.
                let mut voices = voices(&clip);
                let controls = PadControls {
                    start: number,
                    end: number,
                    fade_in_ms: number,
                    fade_out_ms: number,
                    loop_start: number,
                    loop_end: number,
                    cut_seconds: number,
                    attack_ms: number,
                    mode,
                    ..PLAIN
                };
                voices.begin(0, &controls);
                voices.left(500, &controls);
                let controls = PadControls {
                    mode,
                    fade_out_ms: number,
                    loop_end: number,
                    cut_seconds: number,
                    filter: FilterKind::Highpass,
                    cutoff: 500.0,
                    velocity_curve: number,
                    velocity_cutoff: number,
                    velocity_start: number,
                    voices: Polyphony::Mono,
                    glide_ms: number,
                    take: Takes::Velocity,
                    drive: number,
                    tone: number,
                    ..PLAIN
                };
                for velocity in [number, 0.0, 0.5] {
                    let begin = Begin {
                        pad: 0,
                        key: Some(7.0),
                        velocity,
                    };
                    voices.note_on(note(60), begin, &controls, &mut |_| {});
                    let out = voices.left(200, &controls);
                    assert!(out.iter().all(|x| x.is_finite()), "{number}");
                }
            }
        }
    }
}
