//! The tones of a note whose pitch is known.

use std::f32::consts::TAU;

use rayon::prelude::*;
use rustfft::num_complex::Complex32;

use super::encoder::Encoder;
use super::noisiness::rise;
use crate::audio::stft::magnitude;
use crate::noise::Noise;

/// Lowest pitch, Hz: what is called lower, or is no number, is none.
const LOWEST_HZ: f32 = 20.0;

/// Highest harmonic, Hz.
const HIGHEST_HZ: f32 = 12_000.0;

/// Points of one period of a comb of harmonics.
const TABLE: usize = 8192;

/// A comb rises for so long, in seconds: magnitudes alone do not tell that nothing begins at once.
const ATTACK: f32 = 0.005;

/// A comb that fills less than this part of its window has no level to be scaled by.
const LEAST_PART: f32 = 1e-3;

/// A spectrogram `[T, F]` of the harmonics of `hz`, from the frame of audio `onset` on, with these `levels`,
/// `[T, bands]`, where the harmonics are. Nothing where `hz` has no harmonics in the clip.
///
/// A band of a mel spectrogram tells how loud a partial is, but not to the cent where it lies; and of a low note it
/// does not tell one partial from the next. With the pitch known, both are: the harmonics of one comb, which keep their
/// phases from the first to the last frame, are scaled so that the bands around each are as loud as `levels` has them.
/// Phases are drawn: harmonics that all begin alike are a train of clicks.
pub fn harmonics(
    encoder: &Encoder,
    levels: &[f32],
    hz: f32,
    onset: usize,
    noise: &mut Noise,
) -> Option<Vec<Complex32>> {
    let Encoder {
        transform,
        bank,
        format,
        ..
    } = encoder;
    let (bands, bins) = (bank.len(), transform.bins());
    let rate = format.sample_rate as f32;
    if hz.is_nan() || hz < LOWEST_HZ {
        return None;
    }
    let count = (HIGHEST_HZ.min(0.45 * rate) / hz) as usize;
    if count == 0 {
        return None;
    }
    let phases: Vec<f32> = (0..count).map(|_| noise.uniform()).collect();
    let comb = comb(format.len_frames, onset, hz / rate, &phases, ATTACK * rate);
    let mut spectra = transform.analyse(&comb, levels.len() / bands);
    let gathered = |row: &[Complex32]| {
        let magnitudes: Vec<f32> = row.iter().copied().map(magnitude).collect();
        bank.gather(&magnitudes)
    };
    let found: Vec<Vec<f32>> = spectra.par_chunks_exact(bins).map(gathered).collect();
    let sums = found.iter().map(|row| row.iter().sum::<f32>());
    let full = sums.fold(0.0, f32::max);
    // Place of each harmonic among the bins.
    let place = |k: usize| k as f32 * hz / rate * transform.n_fft() as f32;
    spectra
        .par_chunks_exact_mut(bins)
        .zip(&found)
        .zip(levels.par_chunks_exact(bands))
        .for_each(|((row, found), levels)| {
            if found.iter().sum::<f32>() <= LEAST_PART * full {
                row.fill(Complex32::default());
                return;
            }
            let gain = |k: usize| {
                let bin = place(k).round() as usize;
                let (wanted, found) = (bank.between(levels, bin), bank.between(found, bin));
                if found > 0.0 { wanted / found } else { 0.0 }
            };
            let gains: Vec<f32> = (1..=count).map(gain).collect();
            for (bin, cell) in row.iter_mut().enumerate() {
                let at = (bin as f32 / place(1) - 1.0).clamp(0.0, (count - 1) as f32);
                let below = (at as usize).min(count.saturating_sub(2));
                let above = gains[(below + 1).min(count - 1)];
                *cell *= gains[below] + (at - below as f32) * (above - gains[below]);
            }
        });
    Some(spectra)
}

/// The harmonics of a frequency in cycles a frame of audio, all as loud, which rise from nothing in the first `attack`
/// frames from `onset` on, where each has its phase, in cycles.
fn comb(len: usize, onset: usize, frequency: f32, phases: &[f32], attack: f32) -> Vec<f32> {
    let sine: Vec<f32> = (0..TABLE)
        .map(|n| (TAU * n as f32 / TABLE as f32).sin())
        .collect();
    let first: Vec<usize> = phases.iter().map(|x| (x * TABLE as f32) as usize).collect();
    let point = |n: usize| {
        let harmonics = first.iter().zip(1..);
        harmonics
            .map(|(first, k)| sine[(first + n * k) % TABLE])
            .sum()
    };
    let period: Vec<f32> = (0..TABLE).map(point).collect();
    let value = |n: usize| {
        let Some(n) = n.checked_sub(onset) else {
            return 0.0;
        };
        let at = (n as f64 * f64::from(frequency)).fract() as f32 * TABLE as f32;
        let below = at as usize;
        let (a, b) = (period[below % TABLE], period[(below + 1) % TABLE]);
        smoothstep(rise(n as f32, (0.0, attack))) * (a + (at - below as f32) * (b - a))
    };
    (0..len).map(value).collect()
}

/// From 0 to 1, level at both ends.
fn smoothstep(x: f32) -> f32 {
    x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    use super::super::MelConfig;
    use super::*;
    use crate::representation::Format;

    #[test]
    fn harmonics_are_as_loud_as_the_bands_around_them() {
        let format = Format {
            sample_rate: 44_100,
            channels: 1,
            len_frames: 64 * 256,
        };
        let encoder = Encoder::new(&MelConfig::default(), &format);
        let bands = encoder.bank.len();
        let onset = 500;
        // Louder from row to row, softer from band to band.
        let levels: Vec<f32> = (0..64 * bands)
            .map(|i| 0.01 * 1.03f32.powi((i / bands) as i32) * 0.97f32.powi((i % bands) as i32))
            .collect();
        for hz in [55.0f32, 220.0, 880.0] {
            let spectra = harmonics(&encoder, &levels, hz, onset, &mut Noise::new(1)).unwrap();
            // Where windows are full.
            for t in [12, 30, 50] {
                let row = &spectra[t * encoder.transform.bins()..][..encoder.transform.bins()];
                let magnitudes: Vec<f32> = row.iter().map(|x| x.norm()).collect();
                let found = encoder.bank.gather(&magnitudes);
                for k in [1, 2, 5, 8] {
                    let bin = (k as f32 * hz / 44_100.0 * 2048.0).round() as usize;
                    let [found, wanted] = [&found, &levels[t * bands..][..bands].to_vec()]
                        .map(|row| encoder.bank.between(row, bin));
                    let off = 20.0 * (found / wanted).log10();
                    assert!(off.abs() < 1.0, "{hz} Hz, harmonic {k}, row {t}: {off} dB");
                }
            }
        }
        for hz in [13_000.0, f32::INFINITY, f32::NAN, 0.0, -55.0, 1e-9] {
            assert!(
                harmonics(&encoder, &levels, hz, onset, &mut Noise::new(1)).is_none(),
                "{hz}"
            );
        }
    }

    #[test]
    fn a_comb_is_silent_before_its_onset_and_repeats_from_there() {
        let phases: Vec<f32> = (0..20).map(|k| k as f32 * 0.37 % 1.0).collect();
        let comb = comb(4000, 300, 1.0 / 100.0, &phases, 80.0);
        assert!(comb[..301].iter().all(|&x| x == 0.0));
        let energy = |range: std::ops::Range<usize>| comb[range].iter().map(|x| x * x).sum::<f32>();
        // Twenty sines of amplitude 1, with next to nothing of them in the first tenth of the first period.
        let whole = energy(400..500);
        assert!((whole / 1000.0 - 1.0).abs() < 1e-3, "{whole}");
        assert!(energy(300..310) < 1e-3 * whole);
        for n in 400..3900 {
            assert!((comb[n] - comb[n + 100]).abs() < 1e-2, "{n}");
        }
    }
}
