//! Hats and cymbals.

use super::gestures::{metal, noise_high};
use crate::dsp::{Dice, Mode, Osc, RATE, Svf, decay, highpass, mix, render, strike, unit};

// Hats.

pub(super) fn hat_t60(dice: &mut Dice, open: bool) -> f64 {
    if open {
        dice.log(0.35, 1.1)
    } else {
        dice.log(0.035, 0.14)
    }
}

/// The envelope of a hat: a crisp start, the body, for open ones a slower shimmer.
pub(super) fn hat_shape(sound: &mut [f64], t60: f64, snap: f64) {
    for (n, x) in sound.iter_mut().enumerate() {
        let t = n as f64 / RATE;
        *x *= decay(t, t60) + snap * decay(t, 0.02);
    }
}

pub(super) fn hat_seconds(t60: f64) -> f64 {
    (1.15 * t60).min(1.15)
}

/// Six detuned square waves, the old way: their sum has no pitch, and the filters keep the top.
pub(super) fn squares(dice: &mut Dice, seconds: f64) -> Vec<f64> {
    let tune = dice.log(0.8, 2.6);
    let mut voices: Vec<(Osc, f64)> = [205.3, 304.4, 369.6, 522.7, 540.0, 800.0]
        .iter()
        .map(|hz| (Osc::anywhere(dice), hz * tune * dice.lin(0.94, 1.06)))
        .collect();
    // Multiplying two pulses, as later machines did, thickens the cloud.
    let ring = dice.lin(0.0, 1.0);
    render(seconds, |_| {
        let v: Vec<f64> = voices
            .iter_mut()
            .map(|(osc, hz)| osc.pulse(*hz, 0.5))
            .collect();
        v.iter().sum::<f64>() + ring * 2.0 * (v[0] * v[3] + v[1] * v[4] + v[2] * v[5])
    })
}

pub(super) fn hat_squares(dice: &mut Dice, open: bool) -> Vec<f64> {
    let t60 = hat_t60(dice, open);
    let seconds = hat_seconds(t60);
    let mut sound = squares(dice, seconds);
    let (centre, q) = (dice.log(6_500.0, 11_000.0), dice.lin(0.6, 2.0));
    let mut band = Svf::default();
    sound.iter_mut().for_each(|x| *x = band.band(*x, centre, q));
    highpass(&mut sound, dice.log(5_500.0, 8_500.0));
    let mut sound = unit(sound);
    let hiss = noise_high(dice, seconds, 60.0, 7_000.0);
    mix(&mut sound, &hiss, dice.log(0.05, 0.8));
    hat_shape(&mut sound, t60, dice.lin(0.0, 0.8));
    sound
}

pub(super) fn hat_metal(dice: &mut Dice, open: bool) -> Vec<f64> {
    let t60 = hat_t60(dice, open);
    let seconds = hat_seconds(t60);
    let low = dice.log(2_500.0, 4_500.0);
    let mut sound = metal(dice, seconds, 110, low, 17_000.0, 1.6, 0.2);
    let hiss = noise_high(dice, seconds, 60.0, 6_000.0);
    mix(&mut sound, &hiss, dice.log(0.15, 1.0));
    highpass(&mut sound, dice.log(3_800.0, 6_500.0));
    let sizzle_hz = dice.lin(18.0, 45.0);
    let sizzle = if open { dice.lin(0.0, 0.25) } else { 0.0 };
    for (n, x) in sound.iter_mut().enumerate() {
        let t = n as f64 / RATE;
        // Two plates touching now and then.
        *x *= 1.0
            - sizzle
                * (0.5 - 0.5 * (std::f64::consts::TAU * sizzle_hz * t).cos())
                * (-t / 0.15).exp();
    }
    hat_shape(&mut sound, t60, dice.lin(0.0, 0.8));
    sound
}

pub(super) fn hat_fm(dice: &mut Dice, open: bool) -> Vec<f64> {
    let t60 = hat_t60(dice, open);
    let seconds = hat_seconds(t60);
    let mut sound = fm_metal(dice, seconds, |dice| {
        (dice.log(2_500.0, 6_000.0), dice.lin(1.31, 1.97))
    });
    highpass(&mut sound, dice.log(5_000.0, 8_500.0));
    let mut sound = unit(sound);
    let hiss = noise_high(dice, seconds, 60.0, 8_000.0);
    mix(&mut sound, &hiss, dice.log(0.1, 0.6));
    hat_shape(&mut sound, t60, dice.lin(0.0, 0.6));
    sound
}

/// Four two-operator pairs at unrelated pitches, deep enough that the sidebands merge.
pub(super) fn fm_metal(
    dice: &mut Dice,
    seconds: f64,
    place: fn(&mut Dice) -> (f64, f64),
) -> Vec<f64> {
    let mut pairs: Vec<(Osc, Osc, f64, f64, f64)> = (0..4)
        .map(|_| {
            let (hz, ratio) = place(dice);
            (
                Osc::anywhere(dice),
                Osc::anywhere(dice),
                hz,
                hz * ratio,
                dice.lin(1.0, 4.0),
            )
        })
        .collect();
    render(seconds, |_| {
        pairs
            .iter_mut()
            .map(|(carrier, modulator, hz, mod_hz, index)| {
                carrier.sine(*hz, *index * modulator.sine(*mod_hz, 0.0))
            })
            .sum()
    })
}

// Cymbals.

pub(super) fn cymbal_crash(dice: &mut Dice) -> Vec<f64> {
    let t60 = dice.log(0.9, 2.4);
    let seconds = 2.0;
    let low = dice.log(280.0, 600.0);
    let mut sound = metal(dice, seconds, 180, low, 16_000.0, t60, 0.15);
    // The wash rises for some milliseconds: energy spreads from low modes to high ones.
    let rise = dice.log(0.003, 0.03);
    let mut top = Svf::default();
    let edge = dice.log(9_000.0, 18_000.0);
    let mut wash = render(seconds, |t| {
        let cutoff = edge * (0.35 + 0.65 * (-t / (0.4 * t60)).exp());
        top.low(dice.white(), cutoff, 0.7) * (1.0 - (-t / rise).exp()) * decay(t, 0.8 * t60)
    });
    highpass(&mut wash, dice.log(1_500.0, 4_000.0));
    mix(&mut sound, &unit(wash), dice.lin(0.5, 1.4));
    highpass(&mut sound, 250.0);
    sound
}

pub(super) fn cymbal_ride(dice: &mut Dice) -> Vec<f64> {
    let t60 = dice.log(1.2, 2.6);
    let low = dice.log(350.0, 700.0);
    let mut sound = metal(dice, 2.0, 120, low, 14_000.0, t60, -0.05);
    // The stick's ping, or the bell: a few strong partials.
    let bell = dice.log(700.0, 2_400.0);
    let ping: Vec<Mode> = [1.0, 1.48, 2.09, 2.57, 3.41, 4.2]
        .iter()
        .map(|ratio| Mode {
            hz: bell * ratio * dice.lin(0.97, 1.03),
            gain: dice.lin(0.2, 1.0),
            t60: dice.log(0.3, 1.6),
        })
        .collect();
    let ping = unit(strike(dice, 2.0, &ping, true));
    mix(&mut sound, &ping, dice.lin(0.2, 0.9));
    let stick = noise_high(dice, 0.05, 0.02, 4_000.0);
    mix(&mut sound, &stick, dice.lin(0.2, 0.7));
    highpass(&mut sound, 280.0);
    sound
}

pub(super) fn cymbal_808(dice: &mut Dice) -> Vec<f64> {
    let seconds = 2.0;
    let source = squares(dice, seconds);
    let long = dice.log(0.8, 2.2);
    let (low_hz, high_hz) = (dice.log(2_600.0, 4_200.0), dice.log(6_500.0, 9_500.0));
    let (mut low, mut high) = (Svf::default(), Svf::default());
    let short_gain = dice.lin(0.5, 1.5);
    let mut sound: Vec<f64> = source
        .iter()
        .enumerate()
        .map(|(n, &x)| {
            let t = n as f64 / RATE;
            low.band(x, low_hz, 1.5) * decay(t, 0.5 * long) * short_gain
                + high.band(x, high_hz, 1.2) * decay(t, long)
        })
        .collect();
    highpass(&mut sound, dice.log(1_800.0, 3_500.0));
    sound
}

pub(super) fn cymbal_fm(dice: &mut Dice) -> Vec<f64> {
    let t60 = dice.log(0.8, 2.2);
    let mut sound = fm_metal(dice, 2.0, |dice| {
        (dice.log(500.0, 4_000.0), dice.lin(1.21, 2.83))
    });
    let mut more = fm_metal(dice, 2.0, |dice| {
        (dice.log(2_000.0, 7_000.0), dice.lin(1.21, 1.83))
    });
    for (n, x) in more.iter_mut().enumerate() {
        *x *= decay(n as f64 / RATE, 0.6 * t60);
    }
    mix(&mut sound, &more, 1.0);
    let mut sound = unit(sound);
    let hiss = noise_high(dice, 2.0, 60.0, 6_000.0);
    mix(&mut sound, &hiss, dice.lin(0.1, 0.5));
    highpass(&mut sound, dice.log(500.0, 2_500.0));
    for (n, x) in sound.iter_mut().enumerate() {
        *x *= decay(n as f64 / RATE, t60);
    }
    sound
}
