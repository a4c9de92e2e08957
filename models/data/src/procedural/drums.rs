//! Drums: kicks, snares, rims and toms.

use super::gestures::{drop_sine, metal, noise_burst, noise_high, skin};
use crate::dsp::{
    Dice, Mode, Osc, RATE, Svf, decay, highpass, mix, render, saturate, strike, unit,
};

// Kicks.

pub(super) fn kick_long(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(36.0, 58.0);
    let t60 = dice.log(0.5, 1.6);
    let seconds = 1.1;
    let mut osc = Osc::default();
    let sweep = dice.lin(1.0, 4.0);
    let glide = dice.log(0.008, 0.03);
    let sag = dice.lin(0.0, 0.15);
    let drive = dice.log(0.3, 2.5);
    let mut body = render(seconds, |t| {
        let pitch = hz * (1.0 + sweep * (-t / glide).exp() + sag * (-t / 0.2).exp());
        saturate(osc.sine(pitch, 0.0) * decay(t, t60), drive)
    });
    let click = noise_burst(dice, 0.02, 0.008, 1_800.0, 0.7);
    mix(&mut body, &click, dice.log(0.02, 0.2));
    body
}

pub(super) fn kick_punch(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(42.0, 64.0);
    let t60 = dice.log(0.25, 0.7);
    let hold = dice.lin(0.01, 0.07);
    let (sweep, glide) = (dice.log(2.0, 7.0), dice.log(0.012, 0.045));
    let (snap, snap_glide) = (dice.log(4.0, 30.0), dice.log(0.001, 0.004));
    let drive = dice.log(0.8, 4.0);
    let mut osc = Osc::default();
    let mut body = render(0.8, |t| {
        let pitch = hz * (1.0 + sweep * (-t / glide).exp() + snap * (-t / snap_glide).exp());
        saturate(
            osc.sine(pitch, 0.0) * decay((t - hold).max(0.0), t60),
            drive,
        )
    });
    let (hz, t60) = (dice.log(2_000.0, 7_000.0), dice.log(0.006, 0.03));
    let click = noise_burst(dice, 0.05, t60, hz, 0.8);
    mix(&mut body, &click, dice.log(0.04, 0.35));
    body
}

pub(super) fn kick_acoustic(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(48.0, 82.0);
    let t60 = dice.log(0.18, 0.55);
    let mut body = drop_sine(0.7, hz * dice.lin(1.3, 2.2), hz, dice.log(0.01, 0.03), t60);
    let shell = skin(dice, 0.4, hz * 1.7, t60 * 0.5, 0.5);
    mix(&mut body, &shell, dice.lin(0.1, 0.4));
    // The beater: felt to wood.
    let (beater, length) = (dice.log(900.0, 4_500.0), dice.log(0.01, 0.035));
    let slap = noise_burst(dice, 0.06, length, beater, 1.0);
    mix(&mut body, &slap, dice.log(0.06, 0.45));
    let mut room = Svf::default();
    let (room_hz, room_t60) = (dice.log(150.0, 600.0), dice.log(0.1, 0.3));
    let air = unit(render(0.4, |t| {
        room.low(dice.white(), room_hz, 0.7) * decay(t, room_t60)
    }));
    mix(&mut body, &air, dice.lin(0.02, 0.12));
    body
}

pub(super) fn kick_hard(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(40.0, 60.0);
    let t60 = dice.log(0.3, 1.0);
    let (sweep, glide) = (dice.log(3.0, 9.0), dice.log(0.02, 0.06));
    let drive = dice.log(3.0, 14.0);
    let bias = dice.lin(0.0, 0.3);
    let mut osc = Osc::default();
    let mut tone = Svf::default();
    let edge = dice.log(900.0, 6_000.0);
    render(0.9, |t| {
        let pitch = hz * (1.0 + sweep * (-t / glide).exp());
        let level = decay(t, t60);
        // A touch of bias makes even harmonics; scaled by the level it decays with the sound.
        tone.low(
            saturate(osc.sine(pitch, 0.0) * level + bias * level, drive) * level.powf(0.3),
            edge,
            0.7,
        )
    })
}

// Snares.

pub(super) fn snare_body(dice: &mut Dice, hz: f64, t60: f64, bend: f64) -> Vec<f64> {
    let ratio = dice.lin(1.45, 1.95);
    let glide = dice.log(0.005, 0.02);
    let mut body = drop_sine(0.5, hz * (1.0 + bend), hz, glide, t60);
    let upper = drop_sine(0.5, hz * ratio * (1.0 + bend), hz * ratio, glide, t60 * 0.7);
    mix(&mut body, &upper, dice.lin(0.3, 0.9));
    unit(body)
}

pub(super) fn snare_808(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(165.0, 240.0);
    let t60 = dice.log(0.08, 0.3);
    let bend = dice.lin(0.0, 0.3);
    let mut sound = snare_body(dice, hz, t60, bend);
    let (t60, edge) = (dice.log(0.1, 0.5), dice.log(1_200.0, 3_500.0));
    let snappy = noise_high(dice, 0.7, t60, edge);
    mix(&mut sound, &snappy, dice.log(0.4, 1.4));
    sound
}

pub(super) fn snare_909(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(150.0, 260.0);
    let t60 = dice.log(0.1, 0.35);
    let bend = dice.lin(0.4, 1.6);
    let mut sound = snare_body(dice, hz, t60, bend);
    let (t60, edge) = (dice.log(0.15, 0.6), dice.log(500.0, 2_500.0));
    let wires = noise_high(dice, 0.8, t60, edge);
    mix(&mut sound, &wires, dice.log(0.5, 1.2));
    let crack_hz = dice.log(2_000.0, 5_000.0);
    let crack = noise_burst(dice, 0.05, 0.02, crack_hz, 0.8);
    mix(&mut sound, &crack, dice.lin(0.2, 0.8));
    let drive = dice.log(0.5, 3.0);
    unit(sound)
        .into_iter()
        .map(|x| saturate(x, drive))
        .collect()
}

pub(super) fn snare_acoustic(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(160.0, 320.0);
    let t60 = dice.log(0.1, 0.45);
    let mut sound = skin(dice, 0.7, hz, t60, 0.9);
    // Wires answer the skin a moment later and rattle in the band of the shell.
    let t60 = dice.log(0.15, 0.5);
    let centre = dice.log(2_500.0, 6_000.0);
    let mut band = Svf::default();
    let wires = unit(render(0.8, |t| {
        let answer = 1.0 - (-t / 0.002).exp();
        band.band(dice.white(), centre, 0.5)
            * answer
            * (0.75 * decay(t, t60) + 0.25 * decay(t, 0.35 * t60))
    }));
    mix(&mut sound, &wires, dice.log(0.6, 1.6));
    let stick = noise_burst(dice, 0.03, 0.012, 3_500.0, 0.6);
    mix(&mut sound, &stick, dice.lin(0.2, 0.8));
    let ring = metal(dice, 0.5, 12, 500.0, 3_000.0, 0.25, -0.3);
    mix(&mut sound, &ring, dice.lin(0.0, 0.15));
    sound
}

pub(super) fn snare_noise(dice: &mut Dice) -> Vec<f64> {
    let centre = dice.log(900.0, 3_500.0);
    let t60 = dice.log(0.12, 0.45);
    let q = dice.lin(0.4, 1.2);
    let mut sound = noise_burst(dice, 0.7, t60, centre, q);
    let hz = dice.log(140.0, 220.0);
    let body = drop_sine(0.4, hz * dice.lin(1.5, 4.0), hz, 0.012, dice.log(0.06, 0.2));
    mix(&mut sound, &body, dice.lin(0.3, 0.8));
    // Some are gated, as in the eighties.
    if dice.chance(0.4) {
        let gate = dice.lin(0.08, 0.25);
        for (n, x) in sound.iter_mut().enumerate() {
            let late = (n as f64 / RATE - gate).max(0.0);
            *x *= decay(late, 0.03);
        }
    }
    sound
}

// Rims.

pub(super) fn rim_808(dice: &mut Dice) -> Vec<f64> {
    let tune = dice.log(0.7, 1.5);
    let t60 = dice.log(0.02, 0.09);
    let modes = [
        Mode {
            hz: 455.0 * tune * dice.lin(0.95, 1.05),
            gain: dice.lin(0.3, 1.0),
            t60,
        },
        Mode {
            hz: 1_667.0 * tune * dice.lin(0.95, 1.05),
            gain: 1.0,
            t60: t60 * dice.lin(0.6, 1.1),
        },
    ];
    let mut sound = unit(strike(dice, 0.25, &modes, false));
    let click = noise_high(dice, 0.02, 0.006, 3_000.0);
    mix(&mut sound, &click, dice.log(0.05, 0.5));
    let drive = dice.log(0.8, 5.0);
    let mut sound: Vec<f64> = sound.into_iter().map(|x| saturate(x, drive)).collect();
    highpass(&mut sound, 200.0);
    sound
}

pub(super) fn rim_stick(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(600.0, 1_300.0);
    let t60 = dice.log(0.025, 0.1);
    let modes: Vec<Mode> = [1.0, 1.52, 2.41, 2.93, 4.1, 5.4]
        .iter()
        .map(|ratio| Mode {
            hz: hz * ratio * dice.lin(0.94, 1.06),
            gain: dice.log(0.15, 1.0),
            t60: t60 * dice.lin(0.5, 1.0) / f64::sqrt(*ratio),
        })
        .collect();
    let mut sound = unit(strike(dice, 0.3, &modes, false));
    let click = noise_burst(dice, 0.02, 0.007, 4_500.0, 0.6);
    mix(&mut sound, &click, dice.lin(0.2, 0.9));
    let drum = drop_sine(
        0.2,
        260.0,
        dice.log(150.0, 230.0),
        0.01,
        dice.log(0.04, 0.12),
    );
    mix(&mut sound, &drum, dice.log(0.02, 0.25));
    sound
}

// Toms.

pub(super) fn tom_analog(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(70.0, 260.0);
    let t60 = dice.log(0.25, 0.9) * (120.0 / hz).powf(0.2);
    let (bend, glide) = (dice.lin(0.1, 0.8), dice.log(0.02, 0.09));
    let mut sound = drop_sine(1.1, hz * (1.0 + bend), hz, glide, t60);
    let mut filter = Svf::default();
    let edge = hz * dice.lin(2.0, 6.0);
    let air = unit(render(0.5, |t| {
        filter.low(dice.white(), edge, 0.7) * decay(t, 0.5 * t60)
    }));
    mix(&mut sound, &air, dice.log(0.01, 0.12));
    let click = noise_burst(dice, 0.02, 0.008, 2_500.0, 0.7);
    mix(&mut sound, &click, dice.log(0.02, 0.25));
    sound
}

pub(super) fn tom_skin(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(75.0, 230.0);
    let t60 = dice.log(0.3, 1.1);
    let bend = dice.lin(0.03, 0.3);
    let mut sound = drop_sine(1.1, hz * (1.0 + bend), hz, dice.log(0.03, 0.12), t60);
    let brightness = dice.lin(0.2, 0.8);
    let shell = skin(dice, 0.9, hz, t60 * 0.6, brightness);
    mix(&mut sound, &shell, dice.lin(0.3, 0.9));
    let (hz, t60) = (dice.log(1_500.0, 5_000.0), dice.log(0.01, 0.04));
    let stick = noise_burst(dice, 0.08, t60, hz, 0.7);
    mix(&mut sound, &stick, dice.log(0.08, 0.5));
    sound
}

/// The electronic tom of disco: a long fall, a little noise, an edge.
pub(super) fn tom_disco(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(60.0, 180.0);
    let t60 = dice.log(0.3, 0.9);
    let (fall, glide) = (dice.log(1.5, 5.0), dice.log(0.06, 0.2));
    let drive = dice.log(0.6, 4.0);
    let mut osc = Osc::default();
    let mut sound = render(1.1, |t| {
        saturate(osc.sine(hz * (1.0 + fall * (-t / glide).exp()), 0.0), drive) * decay(t, t60)
    });
    let noise = noise_burst(dice, 0.4, 0.12, 3_000.0, 0.5);
    mix(&mut sound, &noise, dice.log(0.05, 0.4));
    sound
}
