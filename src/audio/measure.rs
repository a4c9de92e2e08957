//! Measures of a sound: levels, envelope, spectrum and pitch.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use super::Clip;

/// Frequencies among which a pitch is sought, Hz.
pub(super) const PITCHES: (f32, f32) = (40.0, 2000.0);

/// Height of the first peak of the normalised autocorrelation, relative to the highest, that is taken for
/// the period [McLeod & Wyvill 2005, who recommend 0.8 to 1].
const PEAK_SHARE: f32 = 0.93;

/// Clarity from which a frame counts as pitched.
const CLEAR: f32 = 0.8;

/// The onset is where the level first comes within this of the peak: -40 dB.
const ONSET_LEVEL: f32 = 0.01;

/// The frame at which a sound whose peak is `peak` begins: the first at the onset's level in the first half millisecond
/// that has this level on average; 0 of silence.
pub(crate) fn onset(clip: &Clip, peak: f32) -> usize {
    let block = (clip.sample_rate() as usize / 2000).max(1);
    let threshold = ONSET_LEVEL * peak;
    let begins = |channel: &Vec<f32>| {
        let loud = |part: &[f32]| {
            part.iter().map(|x| x * x).sum::<f32>() >= threshold * threshold * part.len() as f32
        };
        let start = channel.chunks(block).position(loud)? * block;
        // Half the level already counts: the mean lies above some values of an attack.
        let first = channel[start..]
            .iter()
            .position(|x| x.abs() >= 0.5 * threshold)?;
        Some(start + first)
    };
    clip.channels().iter().filter_map(begins).min().unwrap_or(0)
}

/// Measures of one sound, of all its channels mixed to one.
///
/// Silence measures zero everywhere and has no pitch.
///
/// ```
/// use audiodiff::audio::{Clip, Measures};
///
/// let seconds = (0..44_100).map(|n| n as f32 / 44_100.0);
/// let tone = seconds.map(|t| (-t / 0.1).exp() * (std::f32::consts::TAU * 220.0 * t).sin());
/// let clip = Clip::new(44_100, vec![tone.collect()]);
/// let pitch = Measures::of(&clip).pitch.expect("a tone has a pitch");
/// assert!((pitch - 220.0).abs() < 0.5);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Highest absolute amplitude.
    pub peak: f32,
    /// Mean amplitude over the peak, without its sign.
    pub offset: f32,
    /// The larger of the first and the last amplitude over the peak: a click where the sound is cut.
    pub edge: f32,
    /// Loudest 10 ms of the last tenth of the sound against its loudest 10 ms, dB; at least -120.
    pub tail_db: f32,
    /// Seconds from the first envelope of a tenth of the peak to the first of nine tenths.
    pub attack: f32,
    /// Seconds from the envelope's peak until a hundredth of the energy is left.
    pub decay: f32,
    /// Frequency around which the energy lies, Hz: the mean of its logarithm, weighted by power.
    pub brightness: f32,
    /// Frequency below which 99% of the energy lies, Hz.
    pub bandwidth: f32,
    /// 0 for a periodic sound to 1 for noise: one less the clarity of the frames, weighted by energy.
    pub noisiness: f32,
    /// Fundamental frequency in Hz, where half of the energy or more is pitched: the median of its frames.
    pub pitch: Option<f32>,
    /// Median distance between the pitches of successive pitched frames, cents.
    pub warble: Option<f32>,
}

/// The faults of a sound as it came, whatever it is levelled and trimmed to afterwards: the same numbers as in
/// [`Measures`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// [`Measures::peak`].
    pub peak: f32,
    /// [`Measures::offset`].
    pub offset: f32,
    /// [`Measures::edge`].
    pub edge: f32,
}

impl Faults {
    /// Measures `clip`.
    #[must_use]
    pub fn of(clip: &Clip) -> Self {
        let mono = clip.with_channels(1);
        let samples = &mono.channels()[0][..];
        let peak = mono.peak();
        if samples.is_empty() || !mono.is_finite() || peak <= 0.0 {
            return Self::default();
        }
        let mean = samples.iter().map(|&x| f64::from(x)).sum::<f64>() / samples.len() as f64;
        let edge = samples[0].abs().max(samples[samples.len() - 1].abs());
        Self {
            peak,
            offset: mean.abs() as f32 / peak,
            edge: edge / peak,
        }
    }
}

impl Measures {
    /// Measures `clip`.
    #[must_use]
    pub fn of(clip: &Clip) -> Self {
        let rate = clip.sample_rate() as f32;
        let Some(mono) = heard(clip) else {
            return Self::default();
        };
        let samples = &mono.channels()[0][..];
        let Faults { peak, offset, edge } = Faults::of(&mono);
        let tail = &samples[samples.len() * 9 / 10..];
        let (attack, decay) = shape(samples, rate);
        let (brightness, bandwidth) = spectrum(samples, rate);
        let Pitch {
            noisiness,
            pitch,
            warble,
        } = pitch(samples, rate);
        Self {
            peak,
            offset,
            edge,
            tail_db: (20.0 * (loudest(tail, rate) / loudest(samples, rate)).log10()).max(-120.0),
            attack,
            decay,
            brightness,
            bandwidth,
            noisiness,
            pitch,
            warble,
        }
    }

    /// [`Measures::pitch`] of `clip` alone.
    #[must_use]
    pub fn pitch_of(clip: &Clip) -> Option<f32> {
        pitch(&heard(clip)?.channels()[0], clip.sample_rate() as f32).pitch
    }

    /// [`Measures::brightness`] of `clip` alone.
    #[must_use]
    pub(crate) fn brightness_of(clip: &Clip) -> f32 {
        let rate = clip.sample_rate() as f32;
        heard(clip).map_or(0.0, |mono| spectrum(&mono.channels()[0], rate).0)
    }

    /// [`Measures::decay`] of `clip` alone.
    #[must_use]
    pub(crate) fn decay_of(clip: &Clip) -> f32 {
        let rate = clip.sample_rate() as f32;
        heard(clip).map_or(0.0, |mono| shape(&mono.channels()[0], rate).1)
    }
}

/// All channels of a clip mixed to one, unless that is silence or no sound.
fn heard(clip: &Clip) -> Option<Clip> {
    let mono = clip.with_channels(1);
    (mono.is_finite() && mono.peak() > 0.0).then_some(mono)
}

/// Highest RMS over blocks of 10 ms.
fn loudest(samples: &[f32], rate: f32) -> f32 {
    let block = ((0.01 * rate) as usize).max(1);
    let rms =
        |block: &[f32]| (block.iter().map(|x| x * x).sum::<f32>() / block.len() as f32).sqrt();
    samples.chunks(block).map(rms).fold(0.0, f32::max)
}

/// Attack and decay.
fn shape(samples: &[f32], rate: f32) -> (f32, f32) {
    // Peaks over 2 ms follow a waveform of 500 Hz and more; below, the mean over four of them does.
    let block = ((0.002 * rate) as usize).max(1);
    let peaks: Vec<f32> = samples
        .chunks(block)
        .map(|block| block.iter().fold(0.0f32, |m, x| m.max(x.abs())))
        .collect();
    let held: Vec<f32> = (0..peaks.len())
        .map(|i| {
            peaks[i..(i + 4).min(peaks.len())]
                .iter()
                .fold(0.0f32, |m, &x| m.max(x))
        })
        .collect();
    let top = held.iter().fold(0.0f32, |m, &x| m.max(x));
    let first = |fraction: f32| held.iter().position(|&x| x >= fraction * top).unwrap_or(0);
    let seconds = block as f32 / rate;
    let attack = (first(0.9) - first(0.1)) as f32 * seconds;

    let highest = held.iter().position(|&x| x >= top).unwrap_or(0) * block;
    let energy = |part: &[f32]| part.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let after = &samples[highest..];
    let all = energy(after);
    let mut gone = 0.0;
    let last = after.chunks(block).position(|part| {
        gone += energy(part);
        gone >= 0.99 * all
    });
    (attack, (last.unwrap_or(0) + 1) as f32 * seconds)
}

/// Brightness and bandwidth.
fn spectrum(samples: &[f32], rate: f32) -> (f32, f32) {
    let n = samples.len().next_power_of_two();
    let mut padded = vec![0.0; n];
    padded[..samples.len()].copy_from_slice(samples);
    let mut bins = vec![Complex32::default(); n / 2 + 1];
    let transform = RealFftPlanner::new().plan_fft_forward(n);
    transform
        .process(&mut padded, &mut bins)
        .expect("the lengths are the plan's");
    let power: Vec<f64> = bins.iter().map(|x| f64::from(x.norm_sqr())).collect();
    let hz = |bin: usize| bin as f64 * f64::from(rate) / n as f64;
    // Below 20 Hz nothing is heard.
    let audible = (20.0 * n as f64 / f64::from(rate)).ceil() as usize;
    let all: f64 = power.iter().skip(audible).sum();
    if all <= 0.0 {
        return (0.0, 0.0);
    }
    let (mut logs, mut sum, mut bandwidth) = (0.0, 0.0, 0.0);
    for (bin, p) in power.iter().enumerate().skip(audible.max(1)) {
        logs += p * hz(bin).ln();
        if sum < 0.99 * all {
            bandwidth = hz(bin);
        }
        sum += p;
    }
    ((logs / all).exp() as f32, bandwidth as f32)
}

struct Pitch {
    noisiness: f32,
    pitch: Option<f32>,
    warble: Option<f32>,
}

/// The normalised autocorrelation of frames of 50 ms, half overlapping [McLeod & Wyvill 2005].
fn pitch(samples: &[f32], rate: f32) -> Pitch {
    let window = ((2.0 * rate / PITCHES.0) as usize).max(8);
    let hop = window / 2;
    let n = (2 * window).next_power_of_two();
    let mut planner = RealFftPlanner::new();
    let (forward, inverse) = (planner.plan_fft_forward(n), planner.plan_fft_inverse(n));
    let mut bins = vec![Complex32::default(); n / 2 + 1];
    let mut wave = vec![0.0f32; n];
    // Energy, and clarity and frequency of each frame.
    let mut frames: Vec<(f64, f32, f32)> = Vec::new();
    for start in (0..samples.len()).step_by(hop) {
        let frame = &samples[start..(start + window).min(samples.len())];
        if frame.len() < window / 2 {
            break;
        }
        let energy: f64 = frame.iter().map(|&x| f64::from(x).powi(2)).sum();
        wave.fill(0.0);
        wave[..frame.len()].copy_from_slice(frame);
        forward
            .process(&mut wave, &mut bins)
            .expect("the lengths are the plan's");
        bins.iter_mut()
            .for_each(|x| *x = Complex32::new(x.norm_sqr() / n as f32, 0.0));
        inverse
            .process(&mut bins, &mut wave)
            .expect("the lengths are the plan's");
        // m(lag): the energy of both overlapping parts.
        let (mut head, mut tail) = (energy, energy);
        let lags = ((rate / PITCHES.0) as usize).min(frame.len() - 2);
        let mut curve = Vec::with_capacity(lags + 1);
        for lag in 0..=lags {
            let m = head + tail;
            curve.push(if m > 0.0 {
                2.0 * wave[lag] / m as f32
            } else {
                0.0
            });
            head -= f64::from(frame[frame.len() - 1 - lag]).powi(2);
            tail -= f64::from(frame[lag]).powi(2);
        }
        let (clarity, lag) = period(&curve, (rate / PITCHES.1) as usize);
        frames.push((energy, clarity, if lag > 0.0 { rate / lag } else { 0.0 }));
    }
    let all: f64 = frames.iter().map(|f| f.0).sum();
    if all <= 0.0 {
        return Pitch {
            noisiness: 0.0,
            pitch: None,
            warble: None,
        };
    }
    let clear = frames.iter().map(|f| f.0 * f64::from(f.1)).sum::<f64>() / all;
    let loudest = frames.iter().fold(0.0, |m: f64, f| m.max(f.0));
    // Frames 40 dB below the loudest do not count.
    let pitched = |f: &&(f64, f32, f32)| f.1 >= CLEAR && f.0 > 1e-4 * loudest;
    let voiced: Vec<f32> = frames.iter().filter(pitched).map(|f| f.2).collect();
    let fraction = frames.iter().filter(pitched).map(|f| f.0).sum::<f64>() / all;
    let steps: Vec<f32> = frames
        .windows(2)
        .filter(|pair| pair.iter().all(|f| pitched(&f)))
        .map(|pair| (1200.0 * (pair[1].2 / pair[0].2).log2()).abs())
        .collect();
    Pitch {
        noisiness: (1.0 - clear).clamp(0.0, 1.0) as f32,
        pitch: (fraction >= 0.5).then(|| median(voiced)).flatten(),
        warble: (fraction >= 0.5).then(|| median(steps)).flatten(),
    }
}

/// Clarity and lag of the first peak that is nearly as high as the highest; its place between the samples
/// is that of a parabola through it and its neighbours.
pub(super) fn period(curve: &[f32], least: usize) -> (f32, f32) {
    // Peaks count after the curve was first below zero.
    let start = curve.iter().position(|&x| x < 0.0).unwrap_or(curve.len());
    let peak = |&i: &usize| curve[i] > curve[i - 1] && curve[i] >= curve[i + 1];
    let peaks: Vec<usize> = (start.max(least).max(1)..curve.len().saturating_sub(1))
        .filter(peak)
        .collect();
    let highest = peaks.iter().fold(0.0f32, |m, &i| m.max(curve[i]));
    let Some(&i) = peaks.iter().find(|&&i| curve[i] >= PEAK_SHARE * highest) else {
        return (0.0, 0.0);
    };
    let (a, b, c) = (curve[i - 1], curve[i], curve[i + 1]);
    let bend = a - 2.0 * b + c;
    let shift = if bend < 0.0 {
        0.5 * (a - c) / bend
    } else {
        0.0
    };
    (b.clamp(0.0, 1.0), i as f32 + shift)
}

pub(super) fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const RATE: u32 = 44_100;

    fn sound(wave: impl Fn(f64) -> f64) -> Measures {
        let samples = (0..RATE).map(|n| wave(f64::from(n) / f64::from(RATE)) as f32);
        Measures::of(&Clip::new(RATE, vec![samples.collect()]))
    }

    fn sine(hz: f64, t: f64) -> f64 {
        (std::f64::consts::TAU * hz * t).sin()
    }

    #[test]
    fn pitch_of_tones_is_right_to_five_cents_and_steady() {
        for hz in [45.0, 110.0, 261.6, 880.0, 1500.0] {
            // Harmonics above a weak fundamental.
            let m =
                sound(|t| 0.2 * sine(hz, t) + 0.3 * sine(2.0 * hz, t) + 0.2 * sine(3.0 * hz, t));
            let cents = 1200.0 * (f64::from(m.pitch.expect("a tone")) / hz).log2();
            assert!(cents.abs() < 5.0, "{hz}: {cents}");
            assert!(
                m.warble.expect("a tone") < 2.0 && m.noisiness < 0.05,
                "{m:?}"
            );
        }
    }

    #[test]
    fn noise_has_no_pitch_and_a_warbling_tone_a_warble() {
        let noise = Noise::new(3).normals(RATE as usize);
        let m = Measures::of(&Clip::new(RATE, vec![noise]));
        assert!(m.pitch.is_none() && m.noisiness > 0.7, "{m:?}");
        // White noise: the mean of ln f up to 22050 Hz is ln(22050) - 1.
        assert!((m.brightness / (22_050.0 / std::f32::consts::E) - 1.0).abs() < 0.05);
        assert!((m.bandwidth / (0.99 * 22_050.0) - 1.0).abs() < 0.02);
        // 50 cents up and down, 3 times a second: 300 cents a second on average, twice 25 ms apart.
        let m = sound(|t| {
            sine(
                1.0,
                220.0 * t - 2.0 * (std::f64::consts::TAU * 3.0 * t).cos(),
            )
        });
        assert!(m.warble.expect("a tone") > 4.0, "{m:?}");
    }

    #[test]
    fn attack_and_decay_are_those_of_the_envelope() {
        // A decay of 60 dB in 0.6 s leaves 1% of the energy after 0.2 s.
        let m = sound(|t| 10f64.powf(-3.0 * t / 0.6) * sine(1000.0, t));
        assert!((m.decay - 0.2).abs() < 0.01 && m.attack < 0.005, "{m:?}");
        // A rise over 0.1 s takes 0.08 s from a tenth to nine tenths.
        let m = sound(|t| (10.0 * t).min(1.0) * sine(1000.0, t));
        assert!((m.attack - 0.08).abs() < 0.01, "{m:?}");
    }

    #[test]
    fn faults_are_seen() {
        let m = sound(|t| 0.5 * sine(100.0, t) + 0.1);
        assert!(
            (m.offset - 0.1 / 0.6).abs() < 0.002 && m.edge > 0.15,
            "{m:?}"
        );
        let m = sound(|t| {
            if t < 0.8 {
                sine(500.0, t)
            } else {
                1e-3 * sine(500.0, t)
            }
        });
        assert!((m.tail_db + 60.0).abs() < 0.5, "{m:?}");
        for silence in [vec![], vec![0.0; 3], vec![0.0; 5000], vec![f32::NAN; 9]] {
            assert_eq!(
                Measures::of(&Clip::new(RATE, vec![silence])),
                Measures::default()
            );
        }
    }
}
