//! [`Bank`]: mel bands over the bins of a spectrum.

use rayon::prelude::*;

use super::super::mel_scale::{hz_of, mel_of};

/// Multiplicative updates of [`Bank::spread`].
const UPDATES: usize = 16;

/// Triangular bands, evenly spaced on the mel scale [Slaney 1998] from 0 Hz to half the
/// sample rate, each reaching from the centre of the band below to the centre of the one above.
///
/// Their peaks are 1 and not divided by their area: the highest bands then do not sink below the
/// floor merely by being wide. Where bands are narrower than the transform's bins they are
/// widened to one bin to each side, so that none is empty.
pub struct Bank {
    bins: usize,
    bands: Vec<Band>,
    /// Sum of each bin's weights over all bands.
    coverage: Vec<f32>,
    /// Centre of each band, Hz.
    pub centres: Vec<f32>,
    /// For each bin the band below it, and how far it lies on the way to the next.
    places: Vec<(usize, f32)>,
}

struct Band {
    /// Bin of the first weight.
    first: usize,
    weights: Vec<f32>,
}

impl Bank {
    pub fn new(sample_rate: u32, n_fft: usize, mels: usize) -> Self {
        let bins = n_fft / 2 + 1;
        let top = mel_of(f64::from(sample_rate) / 2.0);
        let bin_hz = f64::from(sample_rate) / n_fft as f64;
        let centre = |band: usize| hz_of(top * band as f64 / (mels + 1) as f64);
        let bands: Vec<Band> = (1..=mels)
            .map(|band| {
                let at = centre(band);
                let (down, up) = (
                    (at - centre(band - 1)).max(bin_hz),
                    (centre(band + 1) - at).max(bin_hz),
                );
                let weight = |bin: usize| {
                    let away = bin as f64 * bin_hz - at;
                    1.0 - if away < 0.0 { -away / down } else { away / up }
                };
                let mut inside = (0..bins).filter(|&bin| weight(bin) > 0.0).peekable();
                let first = inside.peek().copied().unwrap_or(0);
                Band {
                    first,
                    weights: inside.map(|bin| weight(bin) as f32).collect(),
                }
            })
            .collect();
        let mut bank = Self {
            bins,
            bands,
            coverage: Vec::new(),
            centres: (1..=mels).map(|band| centre(band) as f32).collect(),
            places: Vec::new(),
        };
        let place = |bin: usize| {
            let place = mel_of(bin as f64 * bin_hz) / top * (mels + 1) as f64 - 1.0;
            let place = place.clamp(0.0, (mels - 1) as f64);
            let below = (place as usize).min(mels - 2);
            (below, (place - below as f64) as f32)
        };
        bank.places = (0..bins).map(place).collect();
        bank.coverage = bank.scatter(&vec![1.0; mels]);
        bank
    }

    /// The number of bands.
    pub fn len(&self) -> usize {
        self.bands.len()
    }

    /// The first bin at or above a frequency.
    pub fn bin_above(&self, hz: f32) -> usize {
        let place = |&(below, part): &(usize, f32)| {
            self.centres[below] + part * (self.centres[below + 1] - self.centres[below])
        };
        self.places
            .iter()
            .position(|p| place(p) >= hz)
            .unwrap_or(self.bins)
    }

    /// The value that a row of bands has at a bin, straight from one centre to the next.
    pub fn between(&self, row: &[f32], bin: usize) -> f32 {
        let (below, part) = self.places[bin];
        row[below] + part * (row[below + 1] - row[below])
    }

    /// The weighted sum of a magnitude spectrum under each band.
    pub fn gather(&self, magnitudes: &[f32]) -> Vec<f32> {
        let sum = |band: &Band| -> f32 {
            magnitudes[band.first..]
                .iter()
                .zip(&band.weights)
                .map(|(x, w)| x * w)
                .sum()
        };
        self.bands.iter().map(sum).collect()
    }

    /// The transpose of [`Bank::gather`].
    fn scatter(&self, mel: &[f32]) -> Vec<f32> {
        let mut magnitudes = vec![0.0; self.bins];
        for (band, value) in self.bands.iter().zip(mel) {
            for (x, w) in magnitudes[band.first..].iter_mut().zip(&band.weights) {
                *x += w * value;
            }
        }
        magnitudes
    }

    /// Smooth, non-negative magnitudes `[T, F]` whose bands are `levels`, `[T, bands]`, as nearly as there are any.
    ///
    /// Multiplicative updates for the divergence [Lee & Seung 2001, Eq. 5]: they cannot leave the
    /// non-negative numbers, weigh an error by how loud its band is, and, begun from a smooth
    /// spectrum, stay smooth where a band covers many bins and does not tell them apart.
    pub fn spread(&self, levels: &[f32]) -> Vec<f32> {
        let rows = levels.par_chunks_exact(self.len());
        rows.flat_map_iter(|row| self.spread_row(row)).collect()
    }

    fn spread_row(&self, mel: &[f32]) -> Vec<f32> {
        let mut magnitudes = vec![0.0; self.bins];
        if mel.iter().all(|&x| x <= 0.0) {
            return magnitudes;
        }
        let area = |band: &Band| band.weights.iter().sum::<f32>();
        let density: Vec<f32> = self
            .bands
            .iter()
            .zip(mel)
            .map(|(band, x)| x / area(band))
            .collect();
        for ((x, sum), coverage) in magnitudes
            .iter_mut()
            .zip(self.scatter(&density))
            .zip(&self.coverage)
        {
            *x = if *coverage > 0.0 { sum / coverage } else { 0.0 };
        }
        // Bins under no band stay zero.
        let over: Vec<f32> = self
            .coverage
            .iter()
            .map(|&coverage| if coverage > 0.0 { 1.0 / coverage } else { 0.0 })
            .collect();
        let mut gains = vec![0.0; self.bins];
        for _ in 0..UPDATES {
            gains.fill(0.0);
            for (band, &wanted) in self.bands.iter().zip(mel) {
                let inside = band.first..band.first + band.weights.len();
                let pairs = magnitudes[inside.clone()].iter().zip(&band.weights);
                let found: f32 = pairs.map(|(x, w)| x * w).sum();
                let ratio = if found > 0.0 { wanted / found } else { 0.0 };
                for (gain, w) in gains[inside].iter_mut().zip(&band.weights) {
                    *gain += w * ratio;
                }
            }
            for ((x, gain), over) in magnitudes.iter_mut().zip(&gains).zip(&over) {
                *x *= gain * over;
            }
        }
        magnitudes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const RATE: u32 = 44_100;

    fn norm(values: &[f32]) -> f32 {
        values.iter().map(|x| x * x).sum::<f32>().sqrt()
    }

    #[test]
    fn bands_peak_at_their_centres_and_end_at_their_neighbours() {
        let bank = Bank::new(RATE, 1024, 40);
        let bin_hz = f64::from(RATE) / 1024.0;
        let centre = |band: usize| hz_of(mel_of(22_050.0) * (band + 1) as f64 / 41.0);
        for k in [0, 7, 20, 39] {
            let band = &bank.bands[k];
            let heaviest = (0..band.weights.len())
                .max_by(|&a, &b| band.weights[a].total_cmp(&band.weights[b]));
            let peak = (band.first + heaviest.unwrap()) as f64 * bin_hz;
            assert!(
                (peak - centre(k)).abs() <= bin_hz,
                "band {k}: {peak} {}",
                centre(k)
            );
            let last = (band.first + band.weights.len() - 1) as f64 * bin_hz;
            assert!(
                last <= centre(k + 1) && last > centre(k + 1) - bin_hz,
                "band {k}: {last}"
            );
        }
        // Halfway down the upper flank of band 20, between its centre and the next.
        let (at, next) = (centre(20), centre(21));
        let bin = ((at + next) / 2.0 / bin_hz).round();
        let expected = (next - bin * bin_hz) / (next - at);
        let band = &bank.bands[20];
        assert!((f64::from(band.weights[bin as usize - band.first]) - expected).abs() < 1e-5);
    }

    #[test]
    fn no_band_is_empty_even_where_bins_are_wider() {
        for (rate, n_fft, mels) in [(RATE, 1024, 128), (96_000, 256, 128), (384_000, 64, 32)] {
            let bank = Bank::new(rate, n_fft, mels);
            assert!(
                bank.bands
                    .iter()
                    .all(|b| b.weights.iter().sum::<f32>() > 0.1),
                "{rate} {n_fft}"
            );
        }
    }

    #[test]
    fn spreading_finds_a_spectrum_with_the_same_bands() {
        let bank = Bank::new(RATE, 1024, 128);
        let mut noise = Noise::new(9);
        for tilt in [0.0, 5.0] {
            let spectrum: Vec<f32> = (0..513)
                .map(|bin| noise.uniform() * 10f32.powf(-tilt * bin as f32 / 1026.0))
                .collect();
            let wanted = bank.gather(&spectrum);
            let found = bank.gather(&bank.spread(&wanted));
            let error: Vec<f32> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
            assert!(
                norm(&error) < 1e-2 * norm(&wanted),
                "{}",
                norm(&error) / norm(&wanted)
            );
        }
    }
}
