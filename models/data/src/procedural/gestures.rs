//! Gestures that instruments of several families share: bursts of noise, falling tones, struck skins and metal.

use crate::dsp::{Dice, Mode, Osc, RATE, Svf, decay, highpass, render, strike, unit};

/// White noise through a band-pass, decaying at once.
pub(super) fn noise_burst(dice: &mut Dice, seconds: f64, t60: f64, hz: f64, q: f64) -> Vec<f64> {
    let mut filter = Svf::default();
    unit(render(seconds, |t| {
        filter.band(dice.white(), hz, q) * decay(t, t60)
    }))
}

/// White noise above `hz`, decaying at once.
pub(super) fn noise_high(dice: &mut Dice, seconds: f64, t60: f64, hz: f64) -> Vec<f64> {
    let mut sound = render(seconds, |_| dice.white());
    highpass(&mut sound, hz);
    // Real wires and shells have no energy far above hearing.
    let mut top = Svf::default();
    let edge = dice.log(11_000.0, 20_000.0);
    for (n, x) in sound.iter_mut().enumerate() {
        *x = top.low(*x, edge, 0.7) * decay(n as f64 / RATE, t60);
    }
    unit(sound)
}

/// A sine that falls from `from` to `to` Hz with time constant `glide` seconds.
pub(super) fn drop_sine(seconds: f64, from: f64, to: f64, glide: f64, t60: f64) -> Vec<f64> {
    let mut osc = Osc::default();
    render(seconds, |t| {
        osc.sine(to + (from - to) * (-t / glide).exp(), 0.0) * decay(t, t60)
    })
}

/// First mode frequencies of an ideal circular membrane over its fundamental (zeros of Bessel functions).
const MEMBRANE: [f64; 8] = [1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501];

/// A struck skin: membrane modes around `hz`, the higher the shorter, `brightness` in `0..1`.
pub(super) fn skin(dice: &mut Dice, seconds: f64, hz: f64, t60: f64, brightness: f64) -> Vec<f64> {
    let stretch = dice.lin(0.9, 1.05);
    let modes: Vec<Mode> = MEMBRANE
        .iter()
        .enumerate()
        .map(|(n, ratio)| Mode {
            hz: hz * (1.0 + (ratio - 1.0) * stretch) * dice.lin(0.985, 1.015),
            gain: if n == 0 {
                1.0
            } else {
                brightness * dice.lin(0.2, 1.0) / (n as f64).sqrt()
            },
            t60: t60 / (1.0 + 0.55 * n as f64 * dice.lin(0.7, 1.3)),
        })
        .collect();
    unit(strike(dice, seconds, &modes, false))
}

/// `count` inharmonic partials between `low` and `high` Hz, denser upwards, highs dying first.
pub(super) fn metal(
    dice: &mut Dice,
    seconds: f64,
    count: usize,
    low: f64,
    high: f64,
    t60: f64,
    tilt: f64,
) -> Vec<f64> {
    let modes: Vec<Mode> = (0..count)
        .map(|_| {
            let place = dice.lin(0.0, 1.0).powf(0.7);
            let hz = low * (high / low).powf(place);
            Mode {
                hz,
                gain: dice.log(0.1, 1.0) * (hz / low).powf(tilt),
                t60: t60 * dice.log(0.45, 1.3) * (low / hz).powf(0.25),
            }
        })
        .collect();
    unit(strike(dice, seconds, &modes, true))
}

/// The envelope of a keyed note: a short attack, a decay, a release at `gate` seconds.
pub(super) fn keyed(t: f64, attack: f64, t60: f64, gate: f64) -> f64 {
    (1.0 - (-t / attack).exp()) * decay(t, t60) * decay((t - gate).max(0.0), 0.12)
}
