//! Claps and hand percussion.

use super::gestures::{drop_sine, metal, noise_burst, noise_high, skin};
use crate::dsp::{
    Dice, Mode, Osc, RATE, Svf, decay, highpass, mix, render, saturate, strike, unit,
};

// Claps.

/// The circuit: one noise source, a saw-like envelope retriggered a few times, then a reverberant tail.
pub(super) fn clap_bursts(dice: &mut Dice) -> Vec<f64> {
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
pub(super) fn clap_hands(dice: &mut Dice) -> Vec<f64> {
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

/// A finger snap: one dry, high, resonant click.
pub(super) fn clap_snap(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(1_600.0, 3_200.0);
    let (t60, q) = (dice.log(0.02, 0.06), dice.lin(2.0, 6.0));
    let mut sound = noise_burst(dice, 0.2, t60, hz, q);
    let brush = noise_burst(dice, 0.1, 0.015, 5_000.0, 0.7);
    mix(&mut sound, &brush, dice.lin(0.2, 0.6));
    let t60 = dice.log(0.08, 0.3);
    let room = noise_burst(dice, 0.5, t60, 1_800.0, 0.6);
    mix(&mut sound, &room, dice.log(0.02, 0.15));
    highpass(&mut sound, 500.0);
    sound
}

// Percussion.

pub(super) fn perc_cowbell(dice: &mut Dice) -> Vec<f64> {
    let tune = dice.log(0.7, 1.5);
    let ratio = dice.lin(1.4, 1.55);
    let (mut one, mut two, mut band) = (Osc::anywhere(dice), Osc::anywhere(dice), Svf::default());
    let t60 = dice.log(0.15, 0.7);
    let centre = 900.0 * tune * dice.lin(0.9, 1.8);
    let mut sound = render(0.9, |t| {
        let x = one.pulse(540.0 * tune, 0.5) + two.pulse(540.0 * tune * ratio, 0.5);
        band.band(x, centre, 1.2) * (decay(t, t60) + 0.8 * decay(t, 0.04))
    });
    highpass(&mut sound, 300.0);
    sound
}

pub(super) fn perc_clave(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(1_200.0, 3_200.0);
    let t60 = dice.log(0.04, 0.16);
    let overtone = Mode {
        hz: hz * dice.lin(2.2, 2.9),
        gain: dice.log(0.03, 0.4),
        t60: t60 * 0.4,
    };
    let mut sound = strike(dice, 0.3, &[Mode { hz, gain: 1.0, t60 }, overtone], false);
    let click = noise_high(dice, 0.01, 0.004, 3_000.0);
    mix(&mut sound, &click, dice.log(0.02, 0.3));
    sound
}

pub(super) fn perc_shaker(dice: &mut Dice) -> Vec<f64> {
    let edge = dice.log(3_000.0, 7_000.0);
    let centre = dice.log(5_000.0, 10_000.0);
    let (attack, t60) = (dice.log(0.004, 0.06), dice.log(0.06, 0.25));
    let back = dice.chance(0.5);
    let later = attack + dice.lin(0.06, 0.13);
    let mut band = Svf::default();
    // Beads: noise whose density wavers.
    let mut rattle = 0.0;
    let mut sound = render(0.55, |t| {
        let swell = |t: f64| {
            if t < 0.0 {
                0.0
            } else if t < attack {
                (t / attack).powi(2)
            } else {
                decay(t - attack, t60)
            }
        };
        let level = swell(t) + if back { 0.6 * swell(t - later) } else { 0.0 };
        rattle += 0.004 * (dice.white().abs() - rattle);
        band.band(dice.white(), centre, 0.7) * level * (0.4 + rattle)
    });
    highpass(&mut sound, edge);
    sound
}

pub(super) fn perc_conga(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(160.0, 480.0);
    let t60 = dice.log(0.12, 0.5);
    let mut sound = drop_sine(
        0.7,
        hz * dice.lin(1.02, 1.25),
        hz,
        dice.log(0.01, 0.04),
        t60,
    );
    let open = dice.lin(0.1, 0.6);
    let shell = skin(dice, 0.5, hz, t60 * 0.5, open);
    mix(&mut sound, &shell, dice.lin(0.1, 0.7));
    let (slap_hz, slap_t60) = (dice.log(1_200.0, 4_000.0), dice.log(0.008, 0.04));
    let slap = noise_burst(dice, 0.08, slap_t60, slap_hz, 0.8);
    mix(&mut sound, &slap, dice.log(0.05, 0.6));
    sound
}

pub(super) fn perc_block(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(400.0, 1_400.0);
    let t60 = dice.log(0.04, 0.2);
    // Wooden bar ratios, or two bells of an agogo.
    let metal = dice.chance(0.4);
    let ratios: &[f64] = if metal {
        &[1.0, 2.03, 3.17, 4.22, 5.9]
    } else {
        &[1.0, 2.76, 4.1, 5.4]
    };
    let length = if metal { 4.0 } else { 1.0 };
    let modes: Vec<Mode> = ratios
        .iter()
        .enumerate()
        .map(|(n, ratio)| Mode {
            hz: hz * ratio * dice.lin(0.97, 1.03),
            gain: dice.log(0.3, 1.0) / (1.0 + n as f64),
            t60: length * t60 / (1.0 + 0.6 * n as f64),
        })
        .collect();
    let mut sound = unit(strike(dice, 0.9, &modes, false));
    let click = noise_burst(dice, 0.02, 0.007, 3_500.0, 0.6);
    mix(&mut sound, &click, dice.log(0.05, 0.4));
    sound
}

pub(super) fn perc_tambourine(dice: &mut Dice) -> Vec<f64> {
    let mut sound = vec![0.0; (0.8 * RATE) as usize];
    for _ in 0..dice.pick(&[4, 6, 9, 12]) {
        let start = (dice.lin(0.0, 1.0).powi(2) * 0.09 * RATE) as usize;
        let (low, t60, gain) = (
            dice.log(3_500.0, 5_500.0),
            dice.log(0.15, 0.5),
            dice.log(0.2, 1.0),
        );
        let jingle = metal(dice, 0.6, 14, low, 15_000.0, t60, 0.1);
        for (n, x) in jingle.iter().enumerate() {
            sound[start + n] += gain * x;
        }
    }
    let mut sound = unit(sound);
    let hiss = noise_high(dice, 0.5, 0.12, 6_000.0);
    mix(&mut sound, &hiss, dice.log(0.05, 0.4));
    highpass(&mut sound, 2_500.0);
    sound
}

pub(super) fn perc_triangle(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(1_100.0, 2_200.0);
    let t60 = if dice.chance(0.4) {
        dice.log(0.08, 0.2)
    } else {
        dice.log(0.5, 1.5)
    };
    let modes: Vec<Mode> = [1.0, 2.34, 3.07, 4.21, 5.32, 6.43]
        .iter()
        .map(|ratio| Mode {
            hz: hz * ratio * dice.lin(0.98, 1.02),
            gain: dice.log(0.15, 1.0),
            t60: t60 * dice.lin(0.6, 1.1),
        })
        .collect();
    let mut sound = unit(strike(dice, 1.2, &modes, false));
    let tick = noise_high(dice, 0.02, 0.008, 6_000.0);
    mix(&mut sound, &tick, dice.lin(0.1, 0.5));
    sound
}

pub(super) fn perc_guiro(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(1_200.0, 3_500.0);
    let seconds = dice.lin(0.12, 0.5);
    let (rate, bend) = (dice.log(35.0, 110.0), dice.lin(0.7, 1.6));
    let q = dice.lin(2.0, 6.0);
    let mut sound = vec![0.0; ((seconds + 0.1) * RATE) as usize];
    let mut t = 0.0;
    while t < seconds {
        let tooth = noise_burst(dice, 0.03, 0.02, hz, q);
        let gain = dice.lin(0.5, 1.0) * (0.3 + t / seconds);
        let start = (t * RATE) as usize;
        for (n, x) in tooth.iter().enumerate() {
            sound[start + n] += gain * x;
        }
        t += dice.lin(0.85, 1.15) / (rate * bend.powf(t / seconds));
    }
    highpass(&mut sound, 400.0);
    sound
}
