//! The parts our drum machine is soldered from: dice, oscillators, filters, modes, and the way out.
//!
//! Everything runs at four times the final rate, so that saturation and frequency modulation fold back
//! where the decimator removes them.

use std::f64::consts::{PI, TAU};

use audiodiff::noise::Noise;

/// Rate of finished sounds, Hz.
pub const SAMPLE_RATE: u32 = 44_100;
/// How much faster recipes run.
const OVERSAMPLING: usize = 4;
/// Rate of recipes, Hz.
pub const RATE: f64 = SAMPLE_RATE as f64 * OVERSAMPLING as f64;

/// The random choices of one sound.
#[derive(Debug)]
pub struct Dice(Noise);

impl Dice {
    /// The dice of sound `index` of class `class`; the same whatever else is rendered.
    pub fn new(seed: u64, class: usize, index: usize) -> Self {
        Self(Noise::at(seed, &[class as u64, index as u64]))
    }

    /// Uniform between the bounds.
    pub fn lin(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.0.uniform())
    }

    /// Uniform in the logarithm, as pitches and times want it.
    pub fn log(&mut self, low: f64, high: f64) -> f64 {
        self.lin(low.ln(), high.ln()).exp()
    }

    /// One of the items.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.0.below(items.len())]
    }

    /// White noise, one normal draw.
    pub fn white(&mut self) -> f64 {
        f64::from(self.0.normal())
    }
}

/// Amplitude after `t` seconds of a decay that takes `t60` seconds for 60 dB; zero before its start.
pub fn decay(t: f64, t60: f64) -> f64 {
    if t < 0.0 {
        0.0
    } else {
        (-6.907_755 * t / t60).exp()
    }
}

/// Soft clipping that keeps full scale at full scale.
pub fn saturate(x: f64, drive: f64) -> f64 {
    (x * drive).tanh() / drive.tanh()
}

/// `seconds` of a sound given by its value at time `t`.
pub fn render(seconds: f64, mut value: impl FnMut(f64) -> f64) -> Vec<f64> {
    (0..(seconds * RATE) as usize)
        .map(|n| value(n as f64 / RATE))
        .collect()
}

/// Adds `gain * layer` to `sound`, lengthening it as needed.
pub fn mix(sound: &mut Vec<f64>, layer: &[f64], gain: f64) {
    if sound.len() < layer.len() {
        sound.resize(layer.len(), 0.0);
    }
    for (sum, x) in sound.iter_mut().zip(layer) {
        *sum += gain * x;
    }
}

/// Scales to a peak of one, so that layers can be balanced by gains.
pub fn unit(mut sound: Vec<f64>) -> Vec<f64> {
    let peak = sound.iter().fold(1e-9_f64, |peak, x| peak.max(x.abs()));
    sound.iter_mut().for_each(|x| *x /= peak);
    sound
}

/// A phase that runs at whatever frequency each step asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Osc {
    /// In cycles, `0..1`.
    phase: f64,
}

impl Osc {
    /// An oscillator somewhere in its cycle.
    pub fn anywhere(dice: &mut Dice) -> Self {
        Self {
            phase: dice.lin(0.0, 1.0),
        }
    }

    fn advance(&mut self, hz: f64) -> f64 {
        let phase = self.phase;
        self.phase = (phase + hz / RATE).rem_euclid(1.0);
        phase
    }

    /// Sine, its phase bent by `bend` radians (frequency modulation in the usual synthesizer sense).
    pub fn sine(&mut self, hz: f64, bend: f64) -> f64 {
        (TAU * self.advance(hz) + bend).sin()
    }

    /// Pulse that is high for `width` of its cycle, both steps rounded.
    pub fn pulse(&mut self, hz: f64, width: f64) -> f64 {
        let step = hz / RATE;
        let phase = self.advance(hz);
        let level = if phase < width { 1.0 } else { -1.0 };
        level + blep(phase, step)
            - blep((phase - width).rem_euclid(1.0), step)
            - (2.0 * width - 1.0)
    }
}

/// The difference of a band-limited step from −1 to 1 to a naive one, near the wrap of `phase`.
fn blep(phase: f64, step: f64) -> f64 {
    if phase < step {
        let x = phase / step - 1.0;
        -x * x
    } else if phase > 1.0 - step {
        let x = (phase - 1.0) / step + 1.0;
        x * x
    } else {
        0.0
    }
}

/// State-variable filter in trapezoidal form: stays in tune and stable while its cutoff moves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Svf {
    s1: f64,
    s2: f64,
}

impl Svf {
    /// Low-passed, band-passed (unit gain at the centre) and high-passed `x`.
    pub fn step(&mut self, x: f64, hz: f64, q: f64) -> (f64, f64, f64) {
        let g = (PI * hz.clamp(5.0, 0.45 * RATE) / RATE).tan();
        let k = 1.0 / q;
        let band = (self.s1 + g * (x - self.s2)) / (1.0 + g * (g + k));
        let low = self.s2 + g * band;
        self.s1 = 2.0 * band - self.s1;
        self.s2 = 2.0 * low - self.s2;
        (low, k * band, x - k * band - low)
    }

    /// The low-passed part.
    pub fn low(&mut self, x: f64, hz: f64, q: f64) -> f64 {
        self.step(x, hz, q).0
    }

    /// The band-passed part.
    pub fn band(&mut self, x: f64, hz: f64, q: f64) -> f64 {
        self.step(x, hz, q).1
    }

    /// The high-passed part.
    pub fn high(&mut self, x: f64, hz: f64, q: f64) -> f64 {
        self.step(x, hz, q).2
    }
}

/// Fourth-order Butterworth high-pass over a whole sound.
pub fn highpass(sound: &mut [f64], hz: f64) {
    for q in [0.541_196_1, 1.306_563] {
        let mut filter = Svf::default();
        sound.iter_mut().for_each(|x| *x = filter.high(*x, hz, q));
    }
}

/// A decaying sine of a struck body.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// Pitch.
    pub hz: f64,
    /// Amplitude at the strike.
    pub gain: f64,
    /// Seconds to fall by 60 dB.
    pub t60: f64,
}

/// The sum of `modes`, struck together; each begins at a random phase when `scattered`.
pub fn strike(dice: &mut Dice, seconds: f64, modes: &[Mode], scattered: bool) -> Vec<f64> {
    let mut sound = vec![0.0; (seconds * RATE) as usize];
    for mode in modes {
        // One complex multiplication per sample turns and shrinks the phasor.
        let radius = decay(1.0 / RATE, mode.t60);
        let (sin, cos) = (TAU * mode.hz / RATE).sin_cos();
        let (turn_re, turn_im) = (radius * cos, radius * sin);
        let start = if scattered { dice.lin(0.0, TAU) } else { 0.0 };
        let (mut re, mut im) = (mode.gain * start.cos(), mode.gain * start.sin());
        for x in &mut sound {
            *x += im;
            (re, im) = (re * turn_re - im * turn_im, re * turn_im + im * turn_re);
        }
    }
    sound
}

/// Brings a recipe's sound to 44.1 kHz: decimated, freed of DC, trimmed, faded out, peak at 0.95.
pub fn finish(sound: &[f64]) -> Vec<f32> {
    let mut sound = decimate(sound);

    // Second-order Butterworth high-pass below hearing; the filter thinks in the fast rate.
    let mut dc = Svf::default();
    sound
        .iter_mut()
        .for_each(|x| *x = dc.high(*x, 18.0 * OVERSAMPLING as f64, 0.707));

    // Keep until 66 dB below the peak, and a little more for the fade.
    let peak = sound.iter().fold(1e-9_f64, |peak, x| peak.max(x.abs()));
    let last = sound
        .iter()
        .rposition(|x| x.abs() > 5e-4 * peak)
        .unwrap_or(0);
    sound.truncate(last + SAMPLE_RATE as usize / 100);

    let fade_in = 6.min(sound.len());
    for (n, x) in sound[..fade_in].iter_mut().enumerate() {
        *x *= n as f64 / fade_in as f64;
    }
    let len = sound.len();
    let fade_out = (len / 4).min(SAMPLE_RATE as usize * 60 / 1000);
    for (n, x) in sound[len - fade_out..].iter_mut().enumerate() {
        *x *= 0.5 + 0.5 * (PI * (n + 1) as f64 / fade_out as f64).cos();
    }
    let peak = sound.iter().fold(1e-9_f64, |peak, x| peak.max(x.abs()));
    sound.iter().map(|x| (0.95 * x / peak) as f32).collect()
}

/// Every fourth sample behind a linear-phase low-pass: flat to 20 kHz, 90 dB down from 24.1 kHz.
fn decimate(sound: &[f64]) -> Vec<f64> {
    const HALF: isize = 128;
    // Windowed sinc, Kaiser beta for 90 dB.
    let beta = 8.96;
    let cutoff = 22_050.0 / RATE;
    let taps: Vec<f64> = (-HALF..=HALF)
        .map(|n| {
            let x = n as f64;
            let sinc = if n == 0 {
                2.0 * cutoff
            } else {
                (TAU * cutoff * x).sin() / (PI * x)
            };
            sinc * bessel_i0(beta * (1.0 - (x / HALF as f64).powi(2)).sqrt()) / bessel_i0(beta)
        })
        .collect();
    (0..sound.len() / OVERSAMPLING)
        .map(|n| {
            let first = (n * OVERSAMPLING) as isize - HALF;
            let skip = (-first).max(0) as usize;
            let from = first.max(0) as usize;
            taps[skip..]
                .iter()
                .zip(&sound[from..])
                .map(|(tap, x)| tap * x)
                .sum()
        })
        .collect()
}

/// Modified Bessel function of the first kind, order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rms(sound: &[f64]) -> f64 {
        (sound.iter().map(|x| x * x).sum::<f64>() / sound.len() as f64).sqrt()
    }

    #[test]
    fn decimation_passes_the_band_and_rejects_what_would_fold() {
        let level = |hz: f64| {
            let out = decimate(&render(0.07, |t| (TAU * hz * t).sin()));
            // Away from the ends, over 50 ms: whole cycles of every frequency asked for.
            rms(&out[300..300 + 2205]) * 2f64.sqrt()
        };
        for hz in [100.0, 10_000.0, 19_800.0] {
            assert!((level(hz) - 1.0).abs() < 1e-3, "{hz}: {}", level(hz));
        }
        for hz in [24_400.0, 44_100.0, 70_000.0] {
            assert!(level(hz) < 1e-4, "{hz}: {}", level(hz));
        }
    }

    #[test]
    fn filter_is_three_decibels_down_at_its_cutoff() {
        let mut filter = Svf::default();
        let out = render(0.5, |t| {
            filter.low((TAU * 1000.0 * t).sin(), 1000.0, 0.5f64.sqrt())
        });
        let level = rms(&out[out.len() / 2..]) * 2f64.sqrt();
        assert!((level - 0.5f64.sqrt()).abs() < 2e-3, "{level}");
    }

    #[test]
    fn blep_removes_most_of_the_aliasing_of_a_square() {
        // Harmonics are odd multiples of 7 kHz; whatever else is there folded.
        let naive = render(0.1, |t| match (t * 7001.0).rem_euclid(1.0) < 0.5 {
            true => 1.0,
            false => -1.0,
        });
        let mut osc = Osc::default();
        let rounded = render(0.1, |_| osc.pulse(7001.0, 0.5));
        // The first folded harmonic: 13 × 7001 Hz, seen from the other side of RATE.
        let folded = RATE - 13.0 * 7001.0;
        let at = |sound: &[f64], hz: f64| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, x) in sound.iter().enumerate() {
                let window = 0.5 - 0.5 * (TAU * n as f64 / sound.len() as f64).cos();
                let (sin, cos) = (TAU * hz * n as f64 / RATE).sin_cos();
                re += window * x * cos;
                im += window * x * sin;
            }
            re.hypot(im)
        };
        assert!(at(&rounded, folded) < 0.4 * at(&naive, folded));
        // And twenty times less where the fold reaches the audible band.
        let audible = RATE - 23.0 * 7001.0;
        assert!(at(&rounded, audible) < 0.05 * at(&naive, audible));
    }
}
