//! Effects: zaps, sweeps, blips and impacts.

use super::gestures::{drop_sine, keyed, metal};
use crate::dsp::{Dice, Osc, RATE, Svf, decay, mix, render, saturate, unit};

pub(super) fn fx_zap(dice: &mut Dice) -> Vec<f64> {
    let (from, to) = (dice.log(2_000.0, 12_000.0), dice.log(60.0, 600.0));
    let glide = dice.log(0.01, 0.12);
    let t60 = dice.log(0.12, 0.9);
    let index = dice.lin(0.0, 3.0);
    let ratio = dice.log(0.25, 3.0);
    let square = dice.chance(0.3);
    let up = dice.chance(0.2);
    let (mut carrier, mut modulator) = (Osc::default(), Osc::default());
    render(1.0, |t| {
        let fall = (-t / glide).exp();
        let hz = if up {
            to + from * 0.5 * (1.0 - fall)
        } else {
            to + (from - to) * fall
        };
        let x = if square {
            carrier.pulse(hz, 0.5)
        } else {
            carrier.sine(hz, index * modulator.sine(hz * ratio, 0.0))
        };
        x * keyed(t, 0.0008, t60, 9.0)
    })
}

pub(super) fn fx_sweep(dice: &mut Dice) -> Vec<f64> {
    let (low, high) = (dice.log(150.0, 800.0), dice.log(3_000.0, 12_000.0));
    let q = dice.log(0.7, 8.0);
    let seconds = dice.lin(0.35, 1.15);
    let rise = dice.chance(0.5);
    let flutter_hz = dice.log(4.0, 40.0);
    let flutter = if dice.chance(0.4) {
        dice.lin(0.2, 0.9)
    } else {
        0.0
    };
    let mut filter = Svf::default();
    render(seconds, |t| {
        let place = t / seconds;
        let along = if rise { place } else { 1.0 - place };
        let level = if rise {
            place.powf(1.5) * (1.0 - place.powi(12))
        } else {
            (1.0 - place).powf(1.5) * (1.0 - (-t / 0.01).exp())
        };
        let shake = 1.0 - flutter * (0.5 - 0.5 * (std::f64::consts::TAU * flutter_hz * t).cos());
        filter.band(dice.white(), low * (high / low).powf(along), q) * level * shake
    })
}

/// A handful of short tones, each at its own pitch: a robot's remark.
pub(super) fn fx_blips(dice: &mut Dice) -> Vec<f64> {
    let count = dice.pick(&[1, 2, 3, 4, 6, 8]);
    let step = dice.log(0.03, 0.14);
    let length = step * dice.lin(0.4, 1.1);
    let mut sound = vec![0.0; ((step * f64::from(count) + 0.3) * RATE) as usize];
    let wave = dice.pick(&[0, 1, 2]);
    for n in 0..count {
        let hz = dice.log(200.0, 4_000.0);
        let slide = dice.log(0.5, 2.0);
        let (mut osc, mut modulator) = (Osc::default(), Osc::default());
        let start = (f64::from(n) * step * RATE) as usize;
        let blip = render(length + 0.1, |t| {
            let hz = hz * slide.powf((t / length).min(1.0));
            let x = match wave {
                0 => osc.sine(hz, 0.0),
                1 => osc.pulse(hz, 0.5),
                _ => osc.sine(hz, 2.0 * modulator.sine(hz * 1.5, 0.0)),
            };
            x * keyed(t, 0.001, 3.0 * length, 0.7 * length)
        });
        for (n, x) in blip.iter().enumerate().take(sound.len() - start) {
            sound[start + n] += x;
        }
    }
    sound
}

/// A deep blow with a cloud of debris.
pub(super) fn fx_impact(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(28.0, 60.0);
    let t60 = dice.log(0.6, 1.5);
    let mut sound = drop_sine(1.2, hz * dice.lin(2.0, 6.0), hz, dice.log(0.03, 0.12), t60);
    let mut filter = Svf::default();
    let (edge, fall) = (dice.log(1_500.0, 9_000.0), dice.log(0.08, 0.4));
    let cloud = unit(render(1.2, |t| {
        filter.low(dice.white(), 120.0 + edge * (-t / fall).exp(), 0.8) * decay(t, 0.9 * t60)
    }));
    mix(&mut sound, &cloud, dice.lin(0.4, 1.2));
    let clang = metal(dice, 1.0, 20, 120.0, 2_500.0, 0.7, -0.4);
    mix(&mut sound, &clang, dice.lin(0.0, 0.4));
    let drive = dice.log(0.7, 4.0);
    unit(sound)
        .into_iter()
        .map(|x| saturate(x, drive))
        .collect()
}
