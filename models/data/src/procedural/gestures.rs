//! Gestures that instruments of several families share: bursts of noise and struck metal.

use crate::dsp::{Dice, Mode, RATE, Svf, decay, highpass, render, strike, unit};

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
