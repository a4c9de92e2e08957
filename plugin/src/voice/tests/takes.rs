//! Pads with several takes.

use super::*;

/// Three takes that are told by their first frame; the second is the darkest, the third the brightest.
fn three() -> Voices {
    let take = |value: f32, hz: f32| {
        let at = |i: usize| value * (i as f32 * hz / 48_000.0 * std::f32::consts::TAU).cos();
        PlayableSound::new(&Clip::new(RATE, vec![(0..4800).map(at).collect()]))
    };
    let others = [take(0.25, 100.0), take(0.125, 5000.0)];
    let mut voices = Voices::default();
    let sounds = PadSounds::new(take(0.5, 1000.0), others);
    voices.set_sound(0, Some(Arc::new(sounds)));
    voices
}

/// The take of a note of this velocity, from 0 on.
fn played(voices: &mut Voices, velocity: f32, controls: &PadControls) -> usize {
    let begin = Begin {
        pad: 0,
        key: None,
        velocity,
    };
    voices.choke_pads(|_| true, &mut |_| {});
    voices.left(320, controls);
    voices.note_on(note(60), begin, controls, &mut |_| {});
    let first = voices.left(STRIDE, controls)[0];
    let takes = [0.5, 0.25, 0.125];
    takes.iter().position(|&take| take == first).expect("whole")
}

fn controls(take: Takes) -> PadControls {
    PadControls {
        take,
        velocity: 0.0,
        ..PLAIN
    }
}

#[test]
fn round_robin_goes_through_them_and_a_reset_begins_anew() {
    let mut voices = three();
    let controls = controls(Takes::RoundRobin);
    let four = |voices: &mut Voices| [0.3; 4].map(|soft| played(voices, soft, &controls));
    assert_eq!(four(&mut voices), [0, 1, 2, 0]);
    assert_eq!(four(&mut voices), [1, 2, 0, 1]);
    voices.reset();
    assert_eq!(four(&mut voices), [0, 1, 2, 0]);
    // Another pad has a turn of its own, and a pad with fewer takes goes on among those.
    voices.set_sound(1, Some(alone(PlayableSound::new(&level(1.0, 100)))));
    let other = Begin {
        pad: 1,
        key: None,
        velocity: 1.0,
    };
    voices.note_on(note(37), other, &controls, &mut |_| {});
    assert_eq!(four(&mut voices), [1, 2, 0, 1]);
}

#[test]
fn a_rendering_repeats_itself_bit_for_bit_after_a_reset() {
    let mut voices = three();
    let controls = PadControls {
        drive: 0.4,
        tone: 0.3,
        voices: Polyphony::Mono,
        glide_ms: 7.0,
        mode: Mode::Loop,
        ..controls(Takes::RoundRobin)
    };
    let mut render = || {
        voices.reset();
        let mut out = Vec::new();
        for key in [60, 64, 50, 72, 61] {
            voices.begin(key, &controls);
            out.extend(voices.left(777, &controls));
            voices.note_off(note(key));
        }
        out
    };
    assert_eq!(render(), render());
}

#[test]
fn by_velocity_the_softest_is_the_darkest() {
    let mut voices = three();
    let by_velocity = controls(Takes::Velocity);
    let mut at = |velocity: f32, controls: &PadControls| played(&mut voices, velocity, controls);
    assert_eq!([0.0, 0.3].map(|v| at(v, &by_velocity)), [1, 1]);
    assert_eq!([0.4, 0.6].map(|v| at(v, &by_velocity)), [0, 0]);
    assert_eq!([0.7, 1.0].map(|v| at(v, &by_velocity)), [2, 2]);
    // The curve is that of all that velocity does: 0.3 is played as 0.74.
    let curved = PadControls {
        velocity_curve: 1.0,
        ..by_velocity
    };
    assert_eq!(at(0.3, &curved), 2);
    assert_eq!(
        [0.0, 0.3, 1.0].map(|v| at(v, &controls(Takes::First))),
        [0; 3]
    );
}

#[test]
fn of_one_take_all_ways_are_the_same() {
    let outs = [Takes::First, Takes::RoundRobin, Takes::Velocity].map(|take| {
        let controls = controls(take);
        let mut voices = voices(&sine(300.0, 4800));
        let mut out = Vec::new();
        for velocity in [0.1, 0.5, 0.9] {
            let begin = Begin {
                pad: 0,
                key: None,
                velocity,
            };
            voices.note_on(note(60), begin, &controls, &mut |_| {});
            out.extend(voices.left(500, &controls));
        }
        out
    });
    assert!(outs[0] == outs[1] && outs[1] == outs[2]);
}

#[test]
fn a_take_is_played_in_its_own_tune_and_the_tail_is_the_longest_one_s() {
    let sound = |hz: f64, len: usize| PlayableSound::new(&sine(hz, len)).tuned(Some(hz as f32));
    let mut voices = Voices::default();
    let sounds = PadSounds::new(sound(430.0, 24_000), [sound(450.0, 48_000)]);
    voices.set_sound(0, Some(Arc::new(sounds)));
    let controls = controls(Takes::RoundRobin);
    for _ in 0..2 {
        voices.begin(57, &controls);
        let heard = voices.left(12_000, &controls);
        let found = frequency(&heard[1000..], 440.0);
        assert!((found - 440.0).abs() < 0.3, "{found}");
        voices.choke_pads(|_| true, &mut |_| {});
        voices.left(320, &controls);
    }
    let fade = (FADE_MS * 48.0) as u32;
    assert!(voices.tail(48_000.0, |_| PLAIN).abs_diff(48_000 + fade) <= 1);
}
