//! Noise for the noisy parts of a spectrogram.

use std::ops::Range;

use rayon::prelude::*;
use rustfft::num_complex::Complex32;

use crate::audio::stft::Stft;
use crate::noise::Noise;
use crate::representation::Format;

/// Frames of audio over which an envelope is constant.
const GRAIN: usize = 64;

/// Lowest frequency with an envelope of its own, Hz; every octave above has another.
const LOWEST_HZ: f32 = 350.0;

/// Rounds of deconvolution of an envelope. More sharpen attacks, and turn the ripples of a noise into grains.
const ROUNDS: usize = 6;

/// Mean magnitude of a complex normal number whose mean square is 1: `sqrt(pi) / 2`.
const MEAN_MAGNITUDE: f32 = 0.886_226_9;

/// A spectrogram `[T, F]` of noise with a mean magnitude of 1 in every cell, from `onset` on, in frames of audio. Cells
/// farther than an octave below bin `from` are left empty.
///
/// It is the transform of one stretch of white noise under the envelope that `magnitudes` have in each octave. So its
/// phases agree from window to window, its magnitudes dip as a noise's do, and inside the windows that reach over an
/// attack its energy lies where the attack is: multiplied with `magnitudes` it is a spectrogram that has a signal.
pub fn carrier(
    transform: &Stft,
    magnitudes: &[f32],
    format: &Format,
    onset: usize,
    from: usize,
    noise: &mut Noise,
) -> Vec<Complex32> {
    let (bins, len) = (transform.bins(), format.len_frames);
    let sample_rate = format.sample_rate as f32;
    let white = noise.normals(len);
    let bin_hz = sample_rate / transform.n_fft() as f32;
    let octaves = (sample_rate / 2.0 / LOWEST_HZ).log2().ceil().max(1.0) as usize;
    // Place among the middles of the octaves.
    let place = |k: usize| {
        let octave = (k as f32 * bin_hz / LOWEST_HZ).max(1e-3).log2() - 0.5;
        octave.clamp(0.0, (octaves - 1) as f32)
    };
    let places: Vec<f32> = (0..bins).map(place).collect();
    let windows = Windows::new(transform, magnitudes.len() / bins, len, onset);
    let mut all = vec![Complex32::default(); magnitudes.len()];
    for octave in 0..octaves {
        let weight = |k: usize| (1.0 - (places[k] - octave as f32).abs()).max(0.0);
        let first = (0..bins).find(|&k| weight(k) > 0.0).unwrap_or(bins);
        let weights: Vec<f32> = (first..bins).map(weight).take_while(|&w| w > 0.0).collect();
        if first + weights.len() <= from {
            continue;
        }
        let energy: Vec<f32> = magnitudes
            .par_chunks_exact(bins)
            .map(|row| {
                row[first..]
                    .iter()
                    .zip(&weights)
                    .map(|(m, w)| m * m * w)
                    .sum()
            })
            .collect();
        if energy.iter().all(|&e| e <= 0.0) {
            continue;
        }
        let power = windows.deconvolve(&energy);
        let shaped = windows.shape(&white, &power);
        let expected = windows.gather(&power);
        transform.visit(&shaped, &mut all, |t, row, found| {
            let expected = expected[t];
            if expected > 0.0 {
                let scale = 1.0 / (MEAN_MAGNITUDE * expected.sqrt());
                let cells = row[first..].iter_mut().zip(&found[first..]);
                for ((cell, x), w) in cells.zip(&weights) {
                    *cell += x * (scale * w);
                }
            }
        });
    }
    all
}

/// How much of each grain of the audio from `onset` on each window sees: sums of the window's squares.
struct Windows {
    onset: usize,
    /// For each row the grains it reaches, and its weight for each.
    rows: Vec<(Range<usize>, Vec<f32>)>,
    /// Sum of each grain's weights over all rows.
    totals: Vec<f32>,
}

impl Windows {
    fn new(transform: &Stft, rows: usize, len: usize, onset: usize) -> Self {
        let grains = len.div_ceil(GRAIN);
        let n_fft = transform.n_fft() as isize;
        // Sums of the window's squares up to each frame of audio.
        let mut sums = vec![0.0f64];
        for w in transform.window() {
            sums.push(sums[sums.len() - 1] + f64::from(w * w));
        }
        let row = |t: usize| {
            let start = transform.start(t);
            let inside = |at: usize| (at.max(onset) as isize - start).clamp(0, n_fft) as usize;
            let end = (start + n_fft).max(0) as usize;
            let reach = start.max(0) as usize / GRAIN..end.div_ceil(GRAIN).min(grains);
            let weight =
                |g: usize| (sums[inside((g + 1) * GRAIN)] - sums[inside(g * GRAIN)]) as f32;
            (reach.clone(), reach.map(weight).collect())
        };
        let rows: Vec<(Range<usize>, Vec<f32>)> = (0..rows).map(row).collect();
        let mut totals = vec![0.0; grains];
        for (reach, weights) in &rows {
            for (total, w) in totals[reach.clone()].iter_mut().zip(weights) {
                *total += w;
            }
        }
        Self {
            onset,
            rows,
            totals,
        }
    }

    /// Power that each row sees of noise with this power in each grain.
    fn gather(&self, power: &[f32]) -> Vec<f32> {
        let sees = |(reach, weights): &(Range<usize>, Vec<f32>)| {
            let pairs = power[reach.clone()].iter().zip(weights);
            pairs.map(|(p, w)| p * w).sum()
        };
        self.rows.iter().map(sees).collect()
    }

    /// Mean of the rows' values over each grain.
    fn scatter(&self, values: impl Iterator<Item = f32>) -> Vec<f32> {
        let mut power = vec![0.0; self.totals.len()];
        for ((reach, weights), value) in self.rows.iter().zip(values) {
            for (p, w) in power[reach.clone()].iter_mut().zip(weights) {
                *p += w * value;
            }
        }
        for (p, total) in power.iter_mut().zip(&self.totals) {
            *p = if *total > 0.0 { *p / total } else { 0.0 };
        }
        power
    }

    /// Power of each grain of a noise whose rows have this energy [Richardson 1972, Lucy 1974]: it stays positive, is
    /// nothing before the onset, and, begun from a smooth one, is no rougher than the rows ask for.
    fn deconvolve(&self, energy: &[f32]) -> Vec<f32> {
        let reach = self
            .rows
            .iter()
            .map(|(_, weights)| weights.iter().sum::<f32>());
        let mean = energy.iter().zip(reach);
        let mut power = self.scatter(mean.map(|(e, w)| if w > 0.0 { e / w } else { 0.0 }));
        for _ in 0..ROUNDS {
            let found = self.gather(&power);
            let ratios = energy.iter().zip(found);
            let gains = self.scatter(ratios.map(|(e, f)| if f > 0.0 { e / f } else { 0.0 }));
            for (p, gain) in power.iter_mut().zip(gains) {
                *p *= gain;
            }
        }
        power
    }

    /// `white` under the envelope, whose amplitude goes straight from the middle of a grain to that of the next.
    fn shape(&self, white: &[f32], power: &[f32]) -> Vec<f32> {
        let amplitudes: Vec<f32> = power.iter().map(|p| p.sqrt()).collect();
        // The grain that holds the onset is the first to sound.
        let (first, last) = (self.onset / GRAIN, amplitudes.len().saturating_sub(1));
        let shaped = white.iter().enumerate().map(|(n, x)| {
            if n < self.onset {
                return 0.0;
            }
            let at = (n as f32 / GRAIN as f32 - 0.5).max(first as f32);
            let below = (at as usize).min(last);
            let above = (below + 1).min(last);
            x * (amplitudes[below] + (at - below as f32) * (amplitudes[above] - amplitudes[below]))
        });
        shaped.collect()
    }
}
