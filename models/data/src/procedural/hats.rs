//! Open hats.

use super::gestures::{metal, noise_high};
use crate::dsp::{Dice, Osc, RATE, Svf, decay, highpass, mix, render, unit};

fn open_t60(dice: &mut Dice) -> f64 {
    dice.log(0.35, 1.1)
}

/// The envelope of an open hat: a crisp start and a slow shimmer.
fn shape(sound: &mut [f64], t60: f64, snap: f64) {
    for (n, x) in sound.iter_mut().enumerate() {
        let t = n as f64 / RATE;
        *x *= decay(t, t60) + snap * decay(t, 0.02);
    }
}

fn seconds_of(t60: f64) -> f64 {
    (1.15 * t60).min(1.15)
}

/// Six detuned square waves, the old way: their sum has no pitch, and the filters keep the top.
fn squares(dice: &mut Dice, seconds: f64) -> Vec<f64> {
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

pub(super) fn of_squares(dice: &mut Dice) -> Vec<f64> {
    let t60 = open_t60(dice);
    let seconds = seconds_of(t60);
    let mut sound = squares(dice, seconds);
    let (centre, q) = (dice.log(6_500.0, 11_000.0), dice.lin(0.6, 2.0));
    let mut band = Svf::default();
    sound.iter_mut().for_each(|x| *x = band.band(*x, centre, q));
    highpass(&mut sound, dice.log(5_500.0, 8_500.0));
    let mut sound = unit(sound);
    let hiss = noise_high(dice, seconds, 60.0, 7_000.0);
    mix(&mut sound, &hiss, dice.log(0.05, 0.8));
    shape(&mut sound, t60, dice.lin(0.0, 0.8));
    sound
}

pub(super) fn of_metal(dice: &mut Dice) -> Vec<f64> {
    let t60 = open_t60(dice);
    let seconds = seconds_of(t60);
    let low = dice.log(2_500.0, 4_500.0);
    let mut sound = metal(dice, seconds, 110, low, 17_000.0, 1.6, 0.2);
    let hiss = noise_high(dice, seconds, 60.0, 6_000.0);
    mix(&mut sound, &hiss, dice.log(0.15, 1.0));
    highpass(&mut sound, dice.log(3_800.0, 6_500.0));
    let sizzle_hz = dice.lin(18.0, 45.0);
    let sizzle = dice.lin(0.0, 0.25);
    for (n, x) in sound.iter_mut().enumerate() {
        let t = n as f64 / RATE;
        // Two plates touching now and then.
        *x *= 1.0
            - sizzle
                * (0.5 - 0.5 * (std::f64::consts::TAU * sizzle_hz * t).cos())
                * (-t / 0.15).exp();
    }
    shape(&mut sound, t60, dice.lin(0.0, 0.8));
    sound
}

pub(super) fn of_fm(dice: &mut Dice) -> Vec<f64> {
    let t60 = open_t60(dice);
    let seconds = seconds_of(t60);
    let mut sound = fm_metal(dice, seconds, |dice| {
        (dice.log(2_500.0, 6_000.0), dice.lin(1.31, 1.97))
    });
    highpass(&mut sound, dice.log(5_000.0, 8_500.0));
    let mut sound = unit(sound);
    let hiss = noise_high(dice, seconds, 60.0, 8_000.0);
    mix(&mut sound, &hiss, dice.log(0.1, 0.6));
    shape(&mut sound, t60, dice.lin(0.0, 0.6));
    sound
}

/// Four two-operator pairs at unrelated pitches, deep enough that the sidebands merge.
fn fm_metal(dice: &mut Dice, seconds: f64, place: fn(&mut Dice) -> (f64, f64)) -> Vec<f64> {
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
