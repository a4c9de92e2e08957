//! Which cells of a log-mel spectrogram are noise.

use rayon::prelude::*;

use super::bank::Bank;

/// From the first of these to the second, Hz, more and more of the sound is taken for noise; all from there on.
pub const CROSSOVER_HZ: (f32, f32) = (2000.0, 5000.0);

/// Below this, Hz, nothing is taken for noise.
const TONE_HZ: f32 = 200.0;

/// A band whose neighbours' levels lie within the first of these of each other, dB, is smooth as noise is in the mean;
/// one where they lie further apart than the second has a tone.
const SPREAD_DB: (f32, f32) = (4.0, 10.0);

/// Bands on either side that a tone stands out of, and rows on either side that are averaged before.
const NEAR: usize = 3;
const SMOOTHED: usize = 3;

/// 0 up to the first of two bounds, 1 from the second on, and straight between.
pub fn rise(x: f32, (low, high): (f32, f32)) -> f32 {
    ((x - low) / (high - low)).clamp(0.0, 1.0)
}

/// Fraction of the power of each cell that is noise, `[T, bands]`, of `levels` relative to the loudest cell.
///
/// High up a band covers more than a harmonic and the next, and all is taken for noise. Below, a tone stands out of
/// its neighbours, while a network's estimate of noise is as smooth as its mean.
pub fn noisiness(bank: &Bank, levels: &[f32], floor: f32) -> Vec<f32> {
    let bands = bank.len();
    let rows = levels.len() / bands;
    let decibels: Vec<f32> = levels
        .par_iter()
        .map(|&m| 20.0 * m.max(0.1 * floor).log10())
        .collect();
    let mean = |t: usize, k: usize| {
        let (from, to) = (t.saturating_sub(SMOOTHED), (t + SMOOTHED + 1).min(rows));
        (from..to).map(|t| decibels[t * bands + k]).sum::<f32>() / (to - from) as f32
    };
    let row = |t: usize| {
        let means: Vec<f32> = (0..bands).map(|k| mean(t, k)).collect();
        let noisy = move |k: usize| {
            let near = &means[k.saturating_sub(NEAR)..(k + NEAR + 1).min(bands)];
            let high = near.iter().fold(f32::MIN, |a, &b| a.max(b));
            let low = near.iter().fold(f32::MAX, |a, &b| a.min(b));
            let hz = bank.centres[k];
            let plain = rise(hz, CROSSOVER_HZ);
            let smooth =
                ((SPREAD_DB.1 - (high - low)) / (SPREAD_DB.1 - SPREAD_DB.0)).clamp(0.0, 1.0);
            plain.max(smooth * (hz / TONE_HZ).log2().clamp(0.0, 1.0))
        };
        (0..bands).map(noisy).collect::<Vec<_>>()
    };
    (0..rows).into_par_iter().flat_map_iter(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_band_is_a_tone_and_a_plateau_is_noise() {
        let bank = Bank::new(44_100, 2048, 128);
        let floor = 1e-4;
        let band_at = |hz: f32| bank.centres.partition_point(|&centre| centre < hz);
        let (rows, tone) = (9, band_at(1000.0));
        let mut levels = vec![0.01; rows * 128];
        let flat = noisiness(&bank, &levels, floor);
        levels.chunks_exact_mut(128).for_each(|row| row[tone] = 1.0);
        let found = noisiness(&bank, &levels, floor);
        for t in 0..rows {
            assert_eq!(
                (flat[t * 128 + tone], found[t * 128 + tone]),
                (1.0, 0.0),
                "{t}"
            );
            // Whatever stands out above the crossover is noise, and nothing is below 200 Hz.
            let [low, high] = [band_at(190.0) - 1, band_at(5000.0)];
            assert_eq!(
                (flat[t * 128 + low], flat[t * 128 + high]),
                (0.0, 1.0),
                "{t}"
            );
        }
    }
}
