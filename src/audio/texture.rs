//! [`Texture`]: how a sound's noise, attack and silence are made, which averages over bands and rows cannot tell.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

use super::Clip;
use super::stft::Stft;

/// Windows of the spectrograms whose roughness is measured, samples.
pub const WINDOWS: [usize; 3] = [256, 1024, 4096];
/// Levels below the loudest cell that the dynamic range is told at, dB.
pub const DEPTHS: [f32; 4] = [20.0, 40.0, 60.0, 80.0];
/// Lines that are sought in the envelope, in times the hop rate.
pub const LINES: [f32; 3] = [1.0, 0.5, 0.25];

/// The onset is the first sample above this part of the peak: -40 dB.
const ONSET: f32 = 0.01;
/// Band in which noise is told from clicks, Hz.
const BAND: (f32, f32) = (3_000.0, 14_000.0);
/// The band is measured where its peak is above this part of the sound's: -80 dB.
const AUDIBLE: f32 = 1e-4;
/// Seconds after the onset that belong to the attack.
const ATTACK_SECONDS: f32 = 0.02;
/// Seconds over which the band is levelled for its kurtosis, and for the lines in its envelope.
const KURTOSIS_SECONDS: f32 = 0.1;
const LINE_SECONDS: f32 = 0.186;
/// The band counts down to this part of its highest local power: -30 dB for its kurtosis, -40 dB for lines.
const KURTOSIS_DEPTH: f32 = 1e-3;
const LINE_DEPTH: f32 = 1e-4;
/// Shortest stretches that are measured, seconds.
const SHORTEST_KURTOSIS: f32 = 0.03;
const SHORTEST_LINE: f32 = 0.15;
/// Cells down to this level against the loudest one are told rough or smooth, dB; those below this frequency, in
/// which a few bins hold all there is, are not.
const ROUGH_DEPTH: f32 = 55.0;
const ROUGH_HZ: f32 = 300.0;
/// Cells on each side over which a spectrogram is smoothed to measure its roughness.
const AROUND: usize = 4;
/// Cells below this against the loudest one count as this: no roughness is made by digital silence, dB.
const DEEPEST_DB: f32 = -100.0;
/// Fewest cells that have a roughness.
const FEWEST_CELLS: usize = 50;

/// Measures of the noise, the attack and the silence of a sound, of all its channels mixed to one.
///
/// A generated sound can have every band's energy right at every moment and be a train of clicks where a real one
/// hisses: then these differ. Each is `None` where a sound has too little of what is measured.
///
/// ```
/// use audiodiff::audio::{Clip, Texture};
/// use audiodiff::noise::Noise;
///
/// let hiss = Clip::new(44_100, vec![Noise::new(1).normals(44_100)]);
/// let texture = Texture::of(&hiss, 256);
/// let kurtosis = texture.kurtosis.expect("it is long enough");
/// assert!((kurtosis - 3.0).abs() < 0.2);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Texture {
    /// Kurtosis of the band from 3 to 14 kHz after its attack, levelled over 100 ms: 3 for Gaussian noise, 1.5 for a
    /// tone, far more for clicks.
    pub kurtosis: Option<f32>,
    /// Lines in the envelope of that band, at the hop rate, at half and at a quarter of it: the highest power within
    /// 2 Hz over the median of those 6 to 25 Hz away, dB. Chance alone gives some dB.
    pub lines: [Option<f32>; 3],
    /// Standard deviation of the log-magnitude spectrogram about its mean over nine by nine cells, dB, at windows of
    /// 256, 1024 and 4096 samples: 5 to 6 for Gaussian noise.
    pub roughness: [Option<f32>; 3],
    /// Energy of the first millisecond after the onset over that of the first 20 ms, dB.
    pub first_ms: Option<f32>,
    /// RMS of the first 100 ms after the onset over the peak, dB.
    pub level: Option<f32>,
    /// Fraction of the cells of a spectrogram that lie above -20, -40, -60 and -80 dB of the loudest.
    pub range: [Option<f32>; 4],
}

impl Texture {
    /// Measures `clip`; lines are sought at its sample rate over `hop` samples, and below.
    #[must_use]
    pub fn of(clip: &Clip, hop: usize) -> Self {
        let mono = clip.with_channels(1);
        let (samples, rate) = (&mono.channels()[0][..], clip.sample_rate() as f32);
        let peak = mono.peak();
        if !mono.is_finite() || peak <= 0.0 {
            return Self::default();
        }
        let onset = samples.iter().position(|x| x.abs() > ONSET * peak);
        let onset = onset.unwrap_or(0);
        let mut texture = Self {
            first_ms: first_ms(&samples[onset..], rate),
            level: level(&samples[onset..], rate, peak),
            ..Self::default()
        };
        for (window, roughness) in WINDOWS.into_iter().zip(&mut texture.roughness) {
            let spectrogram = Spectrogram::of(samples, window);
            *roughness = spectrogram.roughness(rate);
            if window == WINDOWS[1] {
                texture.range = DEPTHS.map(|depth| spectrogram.fraction(depth));
            }
        }
        if let Some(band) = Band::of(samples, rate)
            && band.peak > AUDIBLE * peak
        {
            let from = onset + (ATTACK_SECONDS * rate) as usize;
            texture.kurtosis = band.kurtosis(from, rate);
            texture.lines = band.lines(from, rate, rate / hop.max(1) as f32);
        }
        texture
    }
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&x| f64::from(x).powi(2)).sum()
}

/// The first `seconds` of `samples`, as far as they go.
fn first(samples: &[f32], seconds: f32, rate: f32) -> &[f32] {
    &samples[..((seconds * rate) as usize)
        .clamp(1, samples.len().max(1))
        .min(samples.len())]
}

fn first_ms(from_onset: &[f32], rate: f32) -> Option<f32> {
    let all = energy(first(from_onset, 0.02, rate));
    let own = energy(first(from_onset, 0.001, rate));
    (all > 0.0).then(|| (10.0 * (own / all).max(1e-12).log10()) as f32)
}

/// Of a sound that is shorter the whole 100 ms count all the same: its silence is heard.
fn level(from_onset: &[f32], rate: f32, peak: f32) -> Option<f32> {
    let length = f64::from((0.1 * rate).round().max(1.0));
    let power = energy(first(from_onset, 0.1, rate)) / length;
    Some((10.0 * (power / f64::from(peak).powi(2)).max(1e-12).log10()) as f32)
}

/// Magnitudes in dB against the loudest cell, `rows × bins`, at a hop of a quarter of the window (Hann).
struct Spectrogram {
    bins: usize,
    cells: Vec<f32>,
}

impl Spectrogram {
    fn of(samples: &[f32], window: usize) -> Self {
        let hop = window / 4;
        // In single precision: the roughness of sounds that were measured before stays comparable to the bit.
        let hann = (0..window)
            .map(|n| 0.5 - 0.5 * (std::f32::consts::TAU * n as f32 / window as f32).cos())
            .collect();
        let transform = Stft::new(hann, hop, 0);
        let bins = transform.bins();
        let spectra = transform.analyse(samples, samples.len() / hop + 1);
        let mut cells: Vec<f32> = spectra.iter().map(|x| x.norm_sqr()).collect();
        let loudest = cells.iter().fold(f32::MIN_POSITIVE, |m, &x| m.max(x));
        for x in &mut cells {
            *x = (10.0 * (*x / loudest).max(1e-18).log10()).max(DEEPEST_DB);
        }
        Self { bins, cells }
    }

    /// Share of the cells less than `depth` dB below the loudest.
    fn fraction(&self, depth: f32) -> Option<f32> {
        let above = self.cells.iter().filter(|&&x| x > -depth).count();
        Some(above as f32 / self.cells.len() as f32)
    }

    fn roughness(&self, rate: f32) -> Option<f32> {
        let rows = self.cells.len() / self.bins;
        // Sums over bins, then over rows; at the edges over the cells there are.
        let around = |i: usize, n: usize| i.saturating_sub(AROUND)..(i + AROUND + 1).min(n);
        let mut along = vec![0.0f64; self.cells.len()];
        for (row, sums) in self
            .cells
            .chunks_exact(self.bins)
            .zip(along.chunks_exact_mut(self.bins))
        {
            let mut prefix = Vec::with_capacity(self.bins + 1);
            prefix.push(0.0f64);
            for &x in row {
                prefix.push(prefix[prefix.len() - 1] + f64::from(x));
            }
            for (bin, sum) in sums.iter_mut().enumerate() {
                let range = around(bin, self.bins);
                *sum = (prefix[range.end] - prefix[range.start]) / range.len() as f64;
            }
        }
        let lowest = (ROUGH_HZ / rate * (2 * (self.bins - 1)) as f32) as usize + 1;
        let (mut count, mut sum, mut squares) = (0usize, 0.0, 0.0);
        let mut columns = vec![0.0f64; self.bins];
        let mut held = 0..0;
        for row in 0..rows {
            let range = around(row, rows);
            for gone in held.start..range.start {
                (columns.iter_mut().zip(&along[gone * self.bins..])).for_each(|(c, x)| *c -= x);
            }
            for new in held.end..range.end {
                (columns.iter_mut().zip(&along[new * self.bins..])).for_each(|(c, x)| *c += x);
            }
            held = range;
            for (bin, sum_of_means) in columns.iter().enumerate().skip(lowest) {
                let mean = sum_of_means / held.len() as f64;
                if mean > -f64::from(ROUGH_DEPTH) {
                    let away = f64::from(self.cells[row * self.bins + bin]) - mean;
                    count += 1;
                    sum += away;
                    squares += away * away;
                }
            }
        }
        let n = count as f64;
        (count >= FEWEST_CELLS).then(|| (squares / n - (sum / n).powi(2)).max(0.0).sqrt() as f32)
    }
}

/// The band in which noise is told from clicks, and its envelope.
struct Band {
    wave: Vec<f32>,
    envelope: Vec<f32>,
    peak: f32,
}

impl Band {
    /// The analytic signal in the band, by a Butterworth response of fourth order without phase. `None` where the
    /// sample rate leaves no band.
    fn of(samples: &[f32], rate: f32) -> Option<Self> {
        let (low, high) = (BAND.0, BAND.1.min(0.45 * rate));
        if high < 1.5 * low || samples.is_empty() {
            return None;
        }
        let n = (samples.len() + 1024).next_power_of_two();
        let mut planner = rustfft::FftPlanner::new();
        let mut bins: Vec<Complex32> = samples.iter().map(|&x| x.into()).collect();
        bins.resize(n, Complex32::default());
        planner.plan_fft_forward(n).process(&mut bins);
        for (bin, x) in bins.iter_mut().enumerate() {
            let hz = bin as f32 * rate / n as f32;
            let gain = if bin == 0 || bin >= n / 2 {
                0.0
            } else {
                let response = |ratio: f32| 1.0 / (1.0 + ratio.powi(8));
                2.0 * response(low / hz) * response(hz / high)
            };
            *x *= gain / n as f32;
        }
        planner.plan_fft_inverse(n).process(&mut bins);
        bins.truncate(samples.len());
        let wave: Vec<f32> = bins.iter().map(|x| x.re).collect();
        let envelope: Vec<f32> = bins.iter().map(|x| x.norm()).collect();
        let peak = wave.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        Some(Self {
            wave,
            envelope,
            peak,
        })
    }

    fn kurtosis(&self, from: usize, rate: f32) -> Option<f32> {
        let wave = self.wave.get(from..)?;
        let power: Vec<f32> = wave.iter().map(|x| x * x).collect();
        let local = smoothed(&power, (KURTOSIS_SECONDS * rate) as usize);
        let highest = local.iter().fold(0.0f32, |m, &x| m.max(x));
        let (mut n, mut second, mut fourth) = (0usize, 0.0f64, 0.0f64);
        for (p, l) in power.iter().zip(&local) {
            if *l > KURTOSIS_DEPTH * highest && *l > 0.0 {
                let x = f64::from(p / l);
                n += 1;
                second += x;
                fourth += x * x;
            }
        }
        let long = n as f32 >= SHORTEST_KURTOSIS * rate && second > 0.0;
        long.then(|| (fourth * n as f64 / (second * second)) as f32)
    }

    /// The lines at [`LINES`] times `hop_rate`.
    fn lines(&self, from: usize, rate: f32, hop_rate: f32) -> [Option<f32>; 3] {
        let envelope = self.envelope.get(from..).unwrap_or_default();
        let local = smoothed(envelope, (LINE_SECONDS * rate) as usize);
        let highest = local.iter().fold(0.0f32, |m, &x| m.max(x));
        // Amplitudes, so the depth is the root of that of a power.
        let end = local
            .iter()
            .rposition(|&x| x > LINE_DEPTH.sqrt() * highest && x > 0.0);
        let length = end.map_or(0, |end| end + 1);
        if (length as f32) < SHORTEST_LINE * rate {
            return [None; 3];
        }
        let n = (2 * length).next_power_of_two();
        let mut wave = vec![0.0f32; n];
        for (i, x) in wave.iter_mut().take(length).enumerate() {
            let hann = 0.5 - 0.5 * (std::f32::consts::TAU * i as f32 / length as f32).cos();
            *x = hann * (envelope[i] / local[i].max(1e-9 * highest) - 1.0);
        }
        let mut bins = vec![Complex32::default(); n / 2 + 1];
        let transform = RealFftPlanner::new().plan_fft_forward(n);
        transform
            .process(&mut wave, &mut bins)
            .expect("the lengths are the plan's");
        let step = rate / n as f32;
        // A short stretch has wide lines.
        let width = rate / length as f32;
        let (near, far) = (2.0f32.max(0.5 * width), 6.0f32.max(2.5 * width));
        let farthest = 25.0f32.max(8.0 * width);
        LINES.map(|times| {
            let at = times * hop_rate;
            if at + near >= 0.5 * rate || at <= far {
                return None;
            }
            let powers = |low: f32, high: f32| {
                bins.iter().enumerate().filter_map(move |(bin, x)| {
                    let hz = bin as f32 * step;
                    let away = (hz - at).abs();
                    (away >= low && away <= high && hz > 8.0).then(|| x.norm_sqr())
                })
            };
            let line = powers(0.0, near).fold(0.0f32, f32::max);
            let around = super::measure::median(powers(far, farthest).collect())?;
            (around > 0.0).then(|| (10.0 * (line / around).max(1e-12).log10()).max(-60.0))
        })
    }
}

/// Means over `window` values around each; silence lies beyond the ends.
fn smoothed(values: &[f32], window: usize) -> Vec<f32> {
    let window = window.max(1);
    let mut prefix = Vec::with_capacity(values.len() + 1);
    prefix.push(0.0f64);
    for &x in values {
        prefix.push(prefix[prefix.len() - 1] + f64::from(x));
    }
    (0..values.len())
        .map(|i| {
            let (low, high) = (i.saturating_sub(window / 2), i + window - window / 2);
            ((prefix[high.min(values.len())] - prefix[low]) / window as f64).max(0.0) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const RATE: u32 = 44_100;
    const HOP: usize = 256;

    fn texture(samples: Vec<f32>) -> Texture {
        Texture::of(&Clip::new(RATE, vec![samples]), HOP)
    }

    /// A second of noise that falls 60 dB in `t60` seconds.
    fn hiss(t60: f32, seed: u64) -> Vec<f32> {
        let fall = |n: usize| 10f32.powf(-3.0 * n as f32 / (t60 * RATE as f32));
        let noise = Noise::new(seed).normals(RATE as usize);
        noise
            .into_iter()
            .enumerate()
            .map(|(n, x)| 0.1 * x * fall(n))
            .collect()
    }

    #[test]
    fn gaussian_noise_has_a_kurtosis_of_three_no_line_and_the_roughness_of_rayleigh() {
        for t60 in [1e6, 3.0, 1.0] {
            let m = texture(hiss(t60, 1));
            assert!((m.kurtosis.unwrap() - 3.0).abs() < 0.35, "{t60}: {m:?}");
            // The logarithm of a Rayleigh deviate has a standard deviation of 5.57 dB; means over 81 cells take little
            // away.
            for roughness in m.roughness {
                assert!((4.8..5.7).contains(&roughness.unwrap()), "{t60}: {m:?}");
            }
            for line in m.lines {
                assert!(line.unwrap() < 12.0, "{t60}: {m:?}");
            }
        }
    }

    #[test]
    fn clicks_at_half_the_hop_rate_stand_out_in_every_way() {
        let fall = |n: usize| 10f32.powf(-3.0 * n as f32 / RATE as f32);
        let clicks = (0..RATE as usize).map(|n| if n % 512 == 7 { fall(n) } else { 0.0 });
        let m = texture(clicks.collect());
        let noise = texture(hiss(1.0, 1));
        assert!(m.kurtosis.unwrap() > 30.0, "{m:?}");
        // Half the hop rate and its double, not its half.
        assert!(
            m.lines[1].unwrap() > 30.0 && m.lines[0].unwrap() > 30.0,
            "{m:?}"
        );
        assert!(m.lines[2].unwrap() < 12.0, "{m:?}");
        assert!(
            m.roughness[1].unwrap() > noise.roughness[1].unwrap() + 1.0,
            "{m:?}"
        );
        assert!(
            m.level.unwrap() < noise.level.unwrap() - 8.0,
            "{m:?} {noise:?}"
        );
    }

    #[test]
    fn a_tone_is_smooth_and_its_kurtosis_that_of_a_sine() {
        let tone = |n: usize| (std::f32::consts::TAU * 5000.0 * n as f32 / RATE as f32).sin();
        let m = texture((0..RATE as usize).map(tone).collect());
        assert!((m.kurtosis.unwrap() - 1.5).abs() < 0.05, "{m:?}");
        assert!((m.level.unwrap() + 3.01).abs() < 0.05, "{m:?}");
        assert!((m.first_ms.unwrap() + 13.01).abs() < 0.1, "{m:?}");
    }

    #[test]
    fn a_smeared_attack_and_a_gate_are_told() {
        let sharp = texture(hiss(0.3, 2));
        let mut smeared = hiss(0.3, 2);
        for (n, x) in smeared.iter_mut().take(441).enumerate() {
            *x *= n as f32 / 441.0;
        }
        let smeared = texture(smeared);
        assert!(
            sharp.first_ms.unwrap() - smeared.first_ms.unwrap() > 8.0,
            "{smeared:?}"
        );
        let gated = hiss(0.3, 2).into_iter().enumerate();
        // Noise falls 60 dB in 0.3 s, and after that nothing is left.
        let gated = texture(
            gated
                .map(|(n, x)| if n < 13_230 { x } else { 0.0 })
                .collect(),
        );
        let [twenty, _, _, eighty] =
            [0, 1, 2, 3].map(|k| sharp.range[k].unwrap() - gated.range[k].unwrap());
        assert!(twenty.abs() < 1e-3 && eighty > 0.05, "{sharp:?} {gated:?}");
    }

    #[test]
    fn silence_and_what_is_too_short_measure_nothing() {
        for silence in [vec![], vec![0.0; 3], vec![0.0; 5000], vec![f32::NAN; 9]] {
            assert_eq!(texture(silence), Texture::default());
        }
        let m = texture(hiss(1.0, 3)[..900].to_vec());
        assert_eq!((m.kurtosis, m.lines), (None, [None; 3]));
        assert!(m.first_ms.is_some() && m.level.is_some());
        // No band lies between 3 kHz and half of 8 kHz.
        let m = Texture::of(&Clip::new(8000, vec![hiss(1.0, 3)]), HOP);
        assert_eq!((m.kurtosis, m.lines), (None, [None; 3]));
    }
}
