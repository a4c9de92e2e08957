//! Our own drum machine and small synthesizer: one-shots that nobody else holds rights in.
//!
//! Every class is a row of styles, every style a recipe that draws its parameters widely. Circuits that
//! became genres (the clap made of noise bursts, the hat made of six square waves) are rebuilt from how
//! they work, acoustic drums from the mode ratios of membranes and from clouds of inharmonic partials.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::dsp::{Dice, Mode, Osc, RATE, SAMPLE_RATE, Svf};
use crate::dsp::{decay, finish, highpass, key_hz, mix, pluck, render, saturate, strike, unit};

type Recipe = fn(&mut Dice) -> Vec<f64>;

/// One label and how its sounds are made.
struct Class {
    label: &'static str,
    /// Sounds made unless told otherwise, balanced against the recorded sounds of the same label.
    count: usize,
    /// Taken in turn. New classes go last: the place in the table seeds the sound. A new style changes
    /// its class from the sound on that is its first.
    styles: &'static [(&'static str, Recipe)],
}

const CLASSES: &[Class] = &[
    Class {
        label: "kick",
        count: 32,
        styles: &[
            ("808", kick_long),
            ("909", kick_punch),
            ("acoustic", kick_acoustic),
            ("hard", kick_hard),
        ],
    },
    Class {
        label: "snare",
        count: 32,
        styles: &[
            ("808", snare_808),
            ("909", snare_909),
            ("acoustic", snare_acoustic),
            ("noise", snare_noise),
        ],
    },
    Class {
        label: "clap",
        count: 60,
        styles: &[
            ("burst", clap_bursts),
            ("hands", clap_hands),
            ("burst", clap_bursts),
            ("hands", clap_hands),
            ("snap", clap_snap),
        ],
    },
    Class {
        label: "rim",
        count: 24,
        styles: &[("808", rim_808), ("stick", rim_stick)],
    },
    Class {
        label: "hat_closed",
        count: 30,
        styles: &[
            ("squares", |d| hat_squares(d, false)),
            ("metal", |d| hat_metal(d, false)),
            ("fm", |d| hat_fm(d, false)),
        ],
    },
    Class {
        label: "hat_open",
        count: 60,
        styles: &[
            ("squares", |d| hat_squares(d, true)),
            ("metal", |d| hat_metal(d, true)),
            ("fm", |d| hat_fm(d, true)),
        ],
    },
    Class {
        label: "tom",
        count: 32,
        styles: &[
            ("808", tom_analog),
            ("skin", tom_skin),
            ("disco", tom_disco),
            ("skin", tom_skin),
        ],
    },
    Class {
        label: "cymbal",
        count: 24,
        styles: &[
            ("crash", cymbal_crash),
            ("ride", cymbal_ride),
            ("808", cymbal_808),
            ("fm", cymbal_fm),
        ],
    },
    Class {
        label: "perc",
        count: 40,
        styles: &[
            ("cowbell", perc_cowbell),
            ("clave", perc_clave),
            ("shaker", perc_shaker),
            ("conga", perc_conga),
            ("block", perc_block),
            ("tambourine", perc_tambourine),
            ("triangle", perc_triangle),
            ("guiro", perc_guiro),
        ],
    },
    Class {
        label: "bass",
        count: 36,
        styles: &[
            ("sub", bass_sub),
            ("saw", bass_saw),
            ("fm", bass_fm),
            ("square", bass_square),
            ("reese", bass_reese),
            ("string", bass_string),
        ],
    },
    Class {
        label: "synth",
        count: 40,
        styles: &[
            ("pluck", synth_pluck),
            ("stab", synth_stab),
            ("bell", synth_bell),
            ("string", synth_string),
            ("organ", synth_organ),
            ("sync", synth_sync),
        ],
    },
    Class {
        label: "fx",
        count: 32,
        styles: &[
            ("zap", fx_zap),
            ("sweep", fx_sweep),
            ("blips", fx_blips),
            ("impact", fx_impact),
        ],
    },
];

/// One finished sound of `CLASSES[class]`: mono, 44.1 kHz, peak 0.95. Same seed and index, same sound.
fn sound(seed: u64, class: usize, index: usize) -> Vec<f32> {
    let styles = CLASSES[class].styles;
    let (_, recipe) = styles[index % styles.len()];
    finish(&recipe(&mut Dice::new(seed, class, index)))
}

/// Writes `out/label/procedural__style_000.wav` (24-bit) for every class; returns their paths.
///
/// `per_class` overrides the balanced counts.
pub fn write(out: &Path, seed: u64, per_class: Option<usize>) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (number, class) in CLASSES.iter().enumerate() {
        let folder = out.join(class.label);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        for index in 0..per_class.unwrap_or(class.count) {
            let style = class.styles[index % class.styles.len()].0;
            let path = folder.join(format!("procedural__{style}_{index:03}.wav"));
            write_wav(&path, &sound(seed, number, index))
                .with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}

fn write_wav(path: &Path, sound: &[f32]) -> Result<(), hound::Error> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec)?;
    for x in sound {
        writer.write_sample((x * 8_388_607.0).round() as i32)?;
    }
    writer.finalize()
}

// Shared gestures.

/// White noise through a band-pass, decaying at once.
fn noise_burst(dice: &mut Dice, seconds: f64, t60: f64, hz: f64, q: f64) -> Vec<f64> {
    let mut filter = Svf::default();
    unit(render(seconds, |t| {
        filter.band(dice.white(), hz, q) * decay(t, t60)
    }))
}

/// White noise above `hz`, decaying at once.
fn noise_high(dice: &mut Dice, seconds: f64, t60: f64, hz: f64) -> Vec<f64> {
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
fn drop_sine(seconds: f64, from: f64, to: f64, glide: f64, t60: f64) -> Vec<f64> {
    let mut osc = Osc::default();
    render(seconds, |t| {
        osc.sine(to + (from - to) * (-t / glide).exp(), 0.0) * decay(t, t60)
    })
}

/// First mode frequencies of an ideal circular membrane over its fundamental (zeros of Bessel functions).
const MEMBRANE: [f64; 8] = [1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501];

/// A struck skin: membrane modes around `hz`, the higher the shorter, `brightness` in `0..1`.
fn skin(dice: &mut Dice, seconds: f64, hz: f64, t60: f64, brightness: f64) -> Vec<f64> {
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
fn metal(
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

// Kicks.

fn kick_long(dice: &mut Dice) -> Vec<f64> {
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

fn kick_punch(dice: &mut Dice) -> Vec<f64> {
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

fn kick_acoustic(dice: &mut Dice) -> Vec<f64> {
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

fn kick_hard(dice: &mut Dice) -> Vec<f64> {
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

fn snare_body(dice: &mut Dice, hz: f64, t60: f64, bend: f64) -> Vec<f64> {
    let ratio = dice.lin(1.45, 1.95);
    let glide = dice.log(0.005, 0.02);
    let mut body = drop_sine(0.5, hz * (1.0 + bend), hz, glide, t60);
    let upper = drop_sine(0.5, hz * ratio * (1.0 + bend), hz * ratio, glide, t60 * 0.7);
    mix(&mut body, &upper, dice.lin(0.3, 0.9));
    unit(body)
}

fn snare_808(dice: &mut Dice) -> Vec<f64> {
    let hz = dice.log(165.0, 240.0);
    let t60 = dice.log(0.08, 0.3);
    let bend = dice.lin(0.0, 0.3);
    let mut sound = snare_body(dice, hz, t60, bend);
    let (t60, edge) = (dice.log(0.1, 0.5), dice.log(1_200.0, 3_500.0));
    let snappy = noise_high(dice, 0.7, t60, edge);
    mix(&mut sound, &snappy, dice.log(0.4, 1.4));
    sound
}

fn snare_909(dice: &mut Dice) -> Vec<f64> {
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

fn snare_acoustic(dice: &mut Dice) -> Vec<f64> {
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

fn snare_noise(dice: &mut Dice) -> Vec<f64> {
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

// Claps.

/// The circuit: one noise source, a saw-like envelope retriggered a few times, then a reverberant tail.
fn clap_bursts(dice: &mut Dice) -> Vec<f64> {
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
fn clap_hands(dice: &mut Dice) -> Vec<f64> {
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
fn clap_snap(dice: &mut Dice) -> Vec<f64> {
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

// Rims.

fn rim_808(dice: &mut Dice) -> Vec<f64> {
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

fn rim_stick(dice: &mut Dice) -> Vec<f64> {
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

// Hats.

fn hat_t60(dice: &mut Dice, open: bool) -> f64 {
    if open {
        dice.log(0.35, 1.1)
    } else {
        dice.log(0.035, 0.14)
    }
}

/// The envelope of a hat: a crisp start, the body, for open ones a slower shimmer.
fn hat_shape(sound: &mut [f64], t60: f64, snap: f64) {
    for (n, x) in sound.iter_mut().enumerate() {
        let t = n as f64 / RATE;
        *x *= decay(t, t60) + snap * decay(t, 0.02);
    }
}

fn hat_seconds(t60: f64) -> f64 {
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

fn hat_squares(dice: &mut Dice, open: bool) -> Vec<f64> {
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

fn hat_metal(dice: &mut Dice, open: bool) -> Vec<f64> {
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

fn hat_fm(dice: &mut Dice, open: bool) -> Vec<f64> {
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

// Toms.

fn tom_analog(dice: &mut Dice) -> Vec<f64> {
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

fn tom_skin(dice: &mut Dice) -> Vec<f64> {
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
fn tom_disco(dice: &mut Dice) -> Vec<f64> {
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

// Cymbals.

fn cymbal_crash(dice: &mut Dice) -> Vec<f64> {
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

fn cymbal_ride(dice: &mut Dice) -> Vec<f64> {
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

fn cymbal_808(dice: &mut Dice) -> Vec<f64> {
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

fn cymbal_fm(dice: &mut Dice) -> Vec<f64> {
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

// Percussion.

fn perc_cowbell(dice: &mut Dice) -> Vec<f64> {
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

fn perc_clave(dice: &mut Dice) -> Vec<f64> {
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

fn perc_shaker(dice: &mut Dice) -> Vec<f64> {
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

fn perc_conga(dice: &mut Dice) -> Vec<f64> {
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

fn perc_block(dice: &mut Dice) -> Vec<f64> {
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

fn perc_tambourine(dice: &mut Dice) -> Vec<f64> {
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

fn perc_triangle(dice: &mut Dice) -> Vec<f64> {
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

fn perc_guiro(dice: &mut Dice) -> Vec<f64> {
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

// Bass.

/// A low note and how long it lasts.
fn bass_note(dice: &mut Dice) -> (f64, f64) {
    (key_hz(dice.lin(26.0, 50.0).round()), dice.log(0.35, 1.4))
}

/// The envelope of a keyed note: a short attack, a decay, a release at `gate` seconds.
fn keyed(t: f64, attack: f64, t60: f64, gate: f64) -> f64 {
    (1.0 - (-t / attack).exp()) * decay(t, t60) * decay((t - gate).max(0.0), 0.12)
}

fn bass_sub(dice: &mut Dice) -> Vec<f64> {
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

fn bass_saw(dice: &mut Dice) -> Vec<f64> {
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

fn bass_fm(dice: &mut Dice) -> Vec<f64> {
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

fn bass_square(dice: &mut Dice) -> Vec<f64> {
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

fn bass_reese(dice: &mut Dice) -> Vec<f64> {
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

fn bass_string(dice: &mut Dice) -> Vec<f64> {
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

fn synth_note(dice: &mut Dice) -> f64 {
    key_hz(dice.lin(45.0, 84.0).round())
}

fn synth_pluck(dice: &mut Dice) -> Vec<f64> {
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

fn synth_stab(dice: &mut Dice) -> Vec<f64> {
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

fn synth_bell(dice: &mut Dice) -> Vec<f64> {
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

fn synth_string(dice: &mut Dice) -> Vec<f64> {
    let hz = synth_note(dice);
    let (t60, dark) = (dice.log(0.4, 1.8), dice.lin(0.0, 0.8));
    pluck(dice, 1.2, hz, t60, dark)
}

fn synth_organ(dice: &mut Dice) -> Vec<f64> {
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
fn synth_sync(dice: &mut Dice) -> Vec<f64> {
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

// Effects.

fn fx_zap(dice: &mut Dice) -> Vec<f64> {
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

fn fx_sweep(dice: &mut Dice) -> Vec<f64> {
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
fn fx_blips(dice: &mut Dice) -> Vec<f64> {
    let count = dice.pick(&[1, 2, 3, 4, 6, 8]);
    let step = dice.log(0.03, 0.14);
    let length = step * dice.lin(0.4, 1.1);
    let mut sound = vec![0.0; ((step * count as f64 + 0.3) * RATE) as usize];
    let wave = dice.pick(&[0, 1, 2]);
    for n in 0..count {
        let hz = dice.log(200.0, 4_000.0);
        let slide = dice.log(0.5, 2.0);
        let (mut osc, mut modulator) = (Osc::default(), Osc::default());
        let start = (n as f64 * step * RATE) as usize;
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
fn fx_impact(dice: &mut Dice) -> Vec<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn class(label: &str) -> usize {
        CLASSES
            .iter()
            .position(|class| class.label == label)
            .unwrap()
    }

    /// Share of a sound's energy below `hz`, by a sharp low-pass.
    fn share_below(sound: &[f32], hz: f64) -> f64 {
        // The filters think in RATE.
        let scaled = hz * RATE / f64::from(SAMPLE_RATE);
        let mut low: Vec<f64> = sound.iter().map(|&x| f64::from(x)).collect();
        let total: f64 = low.iter().map(|x| x * x).sum();
        for q in [0.509_795_6, 0.601_344_9, 0.899_976_2, 2.562_915_4] {
            let mut filter = Svf::default();
            low.iter_mut().for_each(|x| *x = filter.low(*x, scaled, q));
        }
        low.iter().map(|x| x * x).sum::<f64>() / total
    }

    #[test]
    fn every_style_is_finite_full_scale_free_of_dc_and_fades_to_silence() {
        for (number, class) in CLASSES.iter().enumerate() {
            for index in 0..class.styles.len() {
                let what = format!("{} {}", class.label, class.styles[index].0);
                let sound = sound(0, number, index);
                let seconds = sound.len() as f64 / f64::from(SAMPLE_RATE);
                let longest = if class.label == "cymbal" { 2.01 } else { 1.21 };
                assert!((0.01..longest).contains(&seconds), "{what}: {seconds} s");
                assert!(sound.iter().all(|x| x.is_finite()), "{what}");
                let peak = sound.iter().fold(0f32, |peak, x| peak.max(x.abs()));
                assert!((peak - 0.95).abs() < 1e-4, "{what}: {peak}");
                let mean = sound.iter().map(|&x| f64::from(x)).sum::<f64>() / sound.len() as f64;
                assert!(mean.abs() < 0.004, "{what}: mean {mean}");
                assert!(
                    sound[0].abs() < 0.05 && sound[sound.len() - 1].abs() < 1e-4,
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn energy_lies_where_each_drum_has_it() {
        // Label, band edge in Hz, bounds of the share of energy below it.
        let claims = [
            ("kick", 220.0, 0.6..1.01),
            ("hat_closed", 4_500.0, 0.0..0.2),
            ("hat_open", 4_500.0, 0.0..0.2),
            ("clap", 300.0, 0.0..0.1),
            ("clap", 6_000.0, 0.6..1.01),
            ("snare", 5_500.0, 0.25..1.01),
            ("tom", 500.0, 0.6..1.01),
            ("cymbal", 400.0, 0.0..0.1),
            ("rim", 250.0, 0.0..0.35),
        ];
        for (label, hz, bounds) in claims {
            for index in 0..4 {
                let fraction = share_below(&sound(0, class(label), index), hz);
                assert!(
                    bounds.contains(&fraction),
                    "{label} {index}: {fraction} below {hz} Hz"
                );
            }
        }
    }

    #[test]
    fn open_hats_ring_longer_than_closed_ones() {
        // Seconds until all but a hundredth of the energy has passed.
        let length = |label, index| {
            let sound = sound(3, class(label), index);
            let total: f32 = sound.iter().map(|x| x * x).sum();
            let mut sum = 0.0;
            let at = sound.iter().position(|x| {
                sum += x * x;
                sum > 0.99 * total
            });
            at.unwrap() as f64 / f64::from(SAMPLE_RATE)
        };
        for index in 0..6 {
            assert!(
                length("hat_closed", index) < 0.12,
                "{}",
                length("hat_closed", index)
            );
            assert!(
                length("hat_open", index) > 0.1,
                "{}",
                length("hat_open", index)
            );
        }
    }

    #[test]
    fn a_seed_names_its_sounds_and_other_seeds_make_others() {
        let snare = class("snare");
        assert_eq!(sound(1, snare, 2), sound(1, snare, 2));
        assert_ne!(sound(1, snare, 2), sound(2, snare, 2));
        assert_ne!(sound(1, snare, 2), sound(1, snare, 6));
    }
}
