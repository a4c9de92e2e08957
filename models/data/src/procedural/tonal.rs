//! Basses and synthesizers: sounds with a note.

use super::gestures::keyed;
use crate::dsp::{Dice, Osc, RATE, Svf, decay, key_hz, pluck, render, saturate};

// Bass.

/// A low note and how long it lasts.
pub(super) fn bass_note(dice: &mut Dice) -> (f64, f64) {
    (key_hz(dice.lin(26.0, 50.0).round()), dice.log(0.35, 1.4))
}

pub(super) fn bass_sub(dice: &mut Dice) -> Vec<f64> {
    let (hz, t60) = bass_note(dice);
    let gate = dice.lin(0.3, 1.0);
    let drive = dice.log(0.3, 5.0);
    let bend = dice.lin(0.0, 0.5);
    let mut osc = Osc::default();
    render(1.2, |t| {
        let level = keyed(t, 0.003, t60, gate);
        saturate(
            osc.sine(hz * (1.0 + bend * (-t / 0.02).exp()), 0.0) * level,
            drive,
        )
    })
}

pub(super) fn bass_saw(dice: &mut Dice) -> Vec<f64> {
    let (hz, t60) = bass_note(dice);
    let gate = dice.lin(0.2, 0.9);
    let (base, peak) = (hz * dice.log(1.5, 8.0), dice.log(800.0, 9_000.0));
    let (glide, q) = (dice.log(0.03, 0.25), dice.log(0.7, 7.0));
    let drive = dice.log(0.5, 3.0);
    let detune = dice.lin(1.0, 1.008);
    let (mut one, mut two, mut sub) = (Osc::anywhere(dice), Osc::anywhere(dice), Osc::default());
    let (mut first, mut second) = (Svf::default(), Svf::default());
    render(1.2, |t| {
        let cutoff = base + peak * (-t / glide).exp();
        let x = one.saw(hz) + 0.7 * two.saw(hz * detune) + 0.4 * sub.sine(hz, 0.0);
        let x = second.low(first.low(x, cutoff, q), cutoff, 0.6);
        saturate(0.5 * x, drive) * keyed(t, 0.002, t60, gate)
    })
}

pub(super) fn bass_fm(dice: &mut Dice) -> Vec<f64> {
    let (hz, t60) = bass_note(dice);
    let gate = dice.lin(0.3, 0.9);
    let ratio = dice.pick(&[0.5, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 1.414]);
    let (index, fall) = (dice.log(0.8, 7.0), dice.log(0.08, 0.6));
    let floor = dice.lin(0.0, 0.8);
    let (mut carrier, mut modulator) = (Osc::default(), Osc::default());
    render(1.2, |t| {
        let bend = (floor + index * decay(t, fall)) * modulator.sine(hz * ratio, 0.0);
        carrier.sine(hz, bend) * keyed(t, 0.002, t60, gate)
    })
}

pub(super) fn bass_square(dice: &mut Dice) -> Vec<f64> {
    let (hz, t60) = bass_note(dice);
    let gate = dice.lin(0.2, 0.9);
    let (base, peak, glide) = (
        hz * dice.log(2.0, 10.0),
        dice.log(300.0, 6_000.0),
        dice.log(0.04, 0.3),
    );
    let (width, sway) = (dice.lin(0.15, 0.5), dice.lin(0.0, 0.1));
    let q = dice.log(0.7, 4.0);
    let (mut osc, mut sub, mut filter) = (Osc::anywhere(dice), Osc::anywhere(dice), Svf::default());
    render(1.2, |t| {
        let x = osc.pulse(hz, width + sway * (6.0 * t).sin()) + 0.5 * sub.pulse(0.5 * hz, 0.5);
        filter.low(x, base + peak * (-t / glide).exp(), q) * keyed(t, 0.002, t60, gate)
    })
}

pub(super) fn bass_reese(dice: &mut Dice) -> Vec<f64> {
    let hz = key_hz(dice.lin(26.0, 43.0).round());
    let gate = dice.lin(0.5, 1.0);
    let spread = dice.log(0.003, 0.02);
    let mut voices = [-1.0, 0.0, 1.0].map(|side| (Osc::anywhere(dice), hz * (1.0 + side * spread)));
    let (cutoff, sway, sway_hz) = (
        dice.log(250.0, 2_500.0),
        dice.lin(0.0, 0.8),
        dice.log(0.5, 6.0),
    );
    let mut filter = Svf::default();
    render(1.2, |t| {
        let x: f64 = voices.iter_mut().map(|(osc, hz)| osc.saw(*hz)).sum();
        let cutoff = cutoff * (1.0 + sway * (std::f64::consts::TAU * sway_hz * t).sin());
        saturate(0.4 * filter.low(x, cutoff, 1.2), 1.5) * keyed(t, 0.005, 3.0, gate)
    })
}

pub(super) fn bass_string(dice: &mut Dice) -> Vec<f64> {
    let hz = key_hz(dice.lin(28.0, 48.0).round());
    let (t60, dark) = (dice.log(0.8, 3.0), dice.lin(0.2, 0.95));
    let gate = dice.lin(0.3, 1.0);
    let mut sound = pluck(dice, 1.2, hz, t60, dark);
    for (n, x) in sound.iter_mut().enumerate() {
        *x *= keyed(n as f64 / RATE, 0.001, 20.0, gate);
    }
    sound
}

// Synth.

pub(super) fn synth_note(dice: &mut Dice) -> f64 {
    key_hz(dice.lin(45.0, 84.0).round())
}

pub(super) fn synth_pluck(dice: &mut Dice) -> Vec<f64> {
    let hz = synth_note(dice);
    let t60 = dice.log(0.15, 1.0);
    let (base, peak, glide) = (
        hz * dice.log(0.8, 2.5),
        dice.log(2_000.0, 12_000.0),
        dice.log(0.015, 0.12),
    );
    let q = dice.log(0.7, 5.0);
    let square = dice.chance(0.4);
    let detune = dice.lin(1.0, 1.01);
    let (mut one, mut two) = (Osc::anywhere(dice), Osc::anywhere(dice));
    let (mut first, mut second) = (Svf::default(), Svf::default());
    render(1.1, |t| {
        let cutoff = base + peak * (-t / glide).exp();
        let x = if square {
            one.pulse(hz, 0.4) + two.pulse(hz * detune, 0.5)
        } else {
            one.saw(hz) + two.saw(hz * detune)
        };
        second.low(first.low(x, cutoff, q), cutoff, 0.6) * keyed(t, 0.001, t60, 9.0)
    })
}

pub(super) fn synth_stab(dice: &mut Dice) -> Vec<f64> {
    let root = dice.lin(45.0, 64.0).round();
    let chord: &[f64] = dice.pick(&[
        &[0.0, 3.0, 7.0][..],
        &[0.0, 4.0, 7.0],
        &[0.0, 3.0, 7.0, 10.0],
        &[0.0, 3.0, 7.0, 14.0],
        &[0.0, 7.0, 12.0],
        &[0.0, 5.0, 10.0],
    ]);
    let spread = dice.log(0.001, 0.008);
    let mut voices = Vec::new();
    for note in chord {
        for side in [-1.0, 0.4, 1.0] {
            voices.push((
                Osc::anywhere(dice),
                key_hz(root + note) * (1.0 + side * spread),
            ));
        }
    }
    let (base, peak, glide, q) = (
        dice.log(300.0, 2_500.0),
        dice.log(1_000.0, 9_000.0),
        dice.log(0.04, 0.3),
        dice.log(0.7, 3.0),
    );
    let (t60, gate) = (dice.log(0.3, 1.5), dice.lin(0.1, 0.6));
    let mut filter = Svf::default();
    render(1.1, |t| {
        let x: f64 = voices.iter_mut().map(|(osc, hz)| osc.saw(*hz)).sum();
        filter.low(x, base + peak * (-t / glide).exp(), q) * keyed(t, 0.002, t60, gate)
    })
}

pub(super) fn synth_bell(dice: &mut Dice) -> Vec<f64> {
    let hz = synth_note(dice);
    let ratio = dice.pick(&[1.0, 1.414, 2.0, 2.76, 3.0, 3.5, 4.0, 7.0]) * dice.lin(0.998, 1.002);
    let (index, fall) = (dice.log(0.5, 4.0), dice.log(0.2, 1.2));
    let t60 = dice.log(0.4, 1.8);
    let (mut carrier, mut modulator, mut tine) = (Osc::default(), Osc::default(), Osc::default());
    let tine_gain = dice.lin(0.0, 0.25);
    render(1.2, |t| {
        let bend = index * decay(t, fall) * modulator.sine(hz * ratio, 0.0);
        let ping = tine_gain * tine.sine(hz * 9.03, 0.0) * decay(t, 0.12);
        (carrier.sine(hz, bend) + ping) * keyed(t, 0.001, t60, 9.0)
    })
}

pub(super) fn synth_string(dice: &mut Dice) -> Vec<f64> {
    let hz = synth_note(dice);
    let (t60, dark) = (dice.log(0.4, 1.8), dice.lin(0.0, 0.8));
    pluck(dice, 1.2, hz, t60, dark)
}

pub(super) fn synth_organ(dice: &mut Dice) -> Vec<f64> {
    let hz = synth_note(dice).min(900.0);
    let bars: Vec<f64> = (0..8)
        .map(|_| {
            if dice.chance(0.6) {
                dice.lin(0.1, 1.0)
            } else {
                0.0
            }
        })
        .collect();
    let ratios = [1.0, 0.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0];
    let mut voices = [Osc::default(); 8];
    let (t60, gate) = (dice.log(0.4, 3.0), dice.lin(0.1, 0.7));
    let click = dice.lin(0.0, 0.3);
    let drive = dice.log(0.3, 2.0);
    render(1.1, |t| {
        let x: f64 = voices
            .iter_mut()
            .zip(&ratios)
            .zip(&bars)
            .map(|((osc, ratio), bar)| bar * osc.sine(hz * ratio, 0.0))
            .sum();
        // The fundamental always sounds; the key's contact adds a short chirp.
        let x = x
            + 0.5 * (std::f64::consts::TAU * hz * t).sin()
            + click * (26.0 * hz * t).sin() * decay(t, 0.03);
        saturate(0.4 * x, drive) * keyed(t, 0.002, t60, gate)
    })
}

/// A lead whose saw restarts at its master's pitch while its own pitch falls.
pub(super) fn synth_sync(dice: &mut Dice) -> Vec<f64> {
    let hz = synth_note(dice).min(700.0);
    let (ratio, fall, glide) = (dice.lin(1.1, 2.0), dice.lin(0.5, 5.0), dice.log(0.05, 0.4));
    let (t60, gate) = (dice.log(0.3, 1.5), dice.lin(0.15, 0.7));
    let mut master = 0.0;
    let mut tone = Svf::default();
    let edge = dice.log(3_000.0, 14_000.0);
    render(1.0, |t| {
        master = (master + hz / RATE).fract();
        let slave = (master * (ratio + fall * (-t / glide).exp())).fract();
        // A raised-cosine window over the master's cycle hides the restart, hence no aliasing from it.
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * master).cos();
        let x = (std::f64::consts::TAU * slave).sin()
            + 0.5 * (2.0 * std::f64::consts::TAU * slave).sin();
        tone.low(x * window, edge, 0.8) * keyed(t, 0.002, t60, gate)
    })
}
