//! Claps.

use super::gestures::{noise_burst, noise_high};
use crate::dsp::{Dice, RATE, Svf, decay, highpass, mix, render, saturate, unit};

/// The circuit: one noise source, a saw-like envelope retriggered a few times, then a reverberant tail.
pub(super) fn bursts(dice: &mut Dice) -> Vec<f64> {
    let count = dice.pick(&[3, 3, 4, 4, 5]);
    let gap = dice.lin(0.007, 0.013);
    let mut starts = vec![0.0];
    for n in 1..count {
        starts.push(n as f64 * gap * dice.lin(0.9, 1.1));
    }
    let last = starts[count - 1];
    let burst = dice.log(0.012, 0.035);
    let tail = dice.log(0.12, 0.7);
    let tail_gain = dice.log(0.25, 0.8);
    let centre = dice.log(850.0, 2_100.0);
    let q = dice.lin(0.7, 2.5);
    let (mut band, mut bright, mut floor) = (Svf::default(), Svf::default(), Svf::default());
    let sheen = dice.log(0.05, 0.5);
    let sound = render(1.1, |t| {
        let hits: f64 = starts
            .iter()
            .filter(|&&s| t >= s)
            .map(|s| decay(t - s, burst))
            .fold(0.0, f64::max);
        let level = hits + tail_gain * if t < last { 0.0 } else { decay(t - last, tail) };
        let white = dice.white();
        let x = band.band(white, centre, q) + sheen * bright.high(white, 4_000.0, 0.7) * 0.3;
        floor.high(x, 350.0, 0.7) * level
    });
    let drive = dice.log(0.5, 3.0);
    unit(sound)
        .into_iter()
        .map(|x| saturate(x, drive))
        .collect()
}

/// Several people: every pair of hands has its own pitch, moment and place in a small room.
pub(super) fn hands(dice: &mut Dice) -> Vec<f64> {
    let people = dice.pick(&[2, 3, 4, 6, 8]);
    let spread = dice.log(0.008, 0.035);
    let mut sound = vec![0.0; (0.9 * RATE) as usize];
    for _ in 0..people {
        let start = (dice.lin(0.0, spread) * RATE) as usize;
        let (hz, q, t60) = (
            dice.log(700.0, 2_800.0),
            dice.lin(1.0, 4.0),
            dice.log(0.015, 0.06),
        );
        let gain = dice.lin(0.4, 1.0);
        let hand = noise_burst(dice, 0.15, t60, hz, q);
        let slap = noise_high(dice, 0.03, 0.01, 2_500.0);
        for (n, x) in hand.iter().enumerate() {
            sound[start + n] += gain * (x + 0.35 * slap.get(n).copied().unwrap_or(0.0));
        }
    }
    let mut sound = unit(sound);
    let (t60, hz) = (dice.log(0.1, 0.6), dice.log(900.0, 2_500.0));
    let mut filter = Svf::default();
    let room = unit(render(0.9, |t| {
        filter.band(dice.white(), hz, 0.6) * (1.0 - (-t / (0.5 * spread)).exp()) * decay(t, t60)
    }));
    mix(&mut sound, &room, dice.log(0.05, 0.45));
    highpass(&mut sound, dice.log(200.0, 500.0));
    sound
}
