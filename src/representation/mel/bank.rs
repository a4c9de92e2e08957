//! [`Bank`]: mel bands over the bins of a spectrum.

use rayon::prelude::*;

use super::super::mel_scale::{hz_of, mel_of};

/// Multiplicative updates of [`Bank::spread`].
const UPDATES: usize = 16;

/// Rows of [`Bank::spread`] that are worked on side by side.
const TOGETHER: usize = 8;

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
        // Bands begin one after the other.
        let mut lowest = 0;
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
                lowest = (lowest..bins)
                    .find(|&bin| weight(bin) > 0.0)
                    .unwrap_or(lowest);
                let weights = (lowest..bins).map(weight).take_while(|&w| w > 0.0);
                Band {
                    first: lowest,
                    weights: weights.map(|w| w as f32).collect(),
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
        let bands = self.len();
        let mut magnitudes = vec![0.0; levels.len() / bands * self.bins];
        magnitudes
            .par_chunks_mut(TOGETHER * self.bins)
            .zip(levels.par_chunks(TOGETHER * bands))
            .for_each(|(magnitudes, levels)| self.spread_rows(levels, magnitudes));
        magnitudes
    }

    /// [`TOGETHER`] rows or fewer: a row's sums have an order, which those of several rows do not wait for.
    fn spread_rows(&self, levels: &[f32], magnitudes: &mut [f32]) {
        let bands = self.len();
        // Rows that are missing are silent.
        let mut mels = vec![[0.0; TOGETHER]; bands];
        for (row, levels) in levels.chunks_exact(bands).enumerate() {
            for (mel, level) in mels.iter_mut().zip(levels) {
                mel[row] = level.max(0.0);
            }
        }
        let mut found = vec![[0.0; TOGETHER]; self.bins];
        for (band, mel) in self.bands.iter().zip(&mels) {
            let area = band.weights.iter().sum::<f32>();
            let density = mel.map(|x| x / area);
            for (x, w) in found[band.first..].iter_mut().zip(&band.weights) {
                add(x, *w, &density);
            }
        }
        // Bins under no band stay zero.
        for (x, &coverage) in found.iter_mut().zip(&self.coverage) {
            *x = match coverage > 0.0 {
                true => x.map(|sum| sum / coverage),
                false => [0.0; TOGETHER],
            };
        }
        let over = |coverage: f32| if coverage > 0.0 { 1.0 / coverage } else { 0.0 };
        let mut gains = vec![[0.0; TOGETHER]; self.bins];
        for _ in 0..UPDATES {
            gains.fill([0.0; TOGETHER]);
            for (band, wanted) in self.bands.iter().zip(&mels) {
                let inside = band.first..band.first + band.weights.len();
                let mut sums = [0.0; TOGETHER];
                for (x, w) in found[inside.clone()].iter().zip(&band.weights) {
                    add(&mut sums, *w, x);
                }
                let ratio = |row: usize| {
                    let found = sums[row];
                    if found > 0.0 {
                        wanted[row] / found
                    } else {
                        0.0
                    }
                };
                let ratios = std::array::from_fn(ratio);
                for (gain, w) in gains[inside].iter_mut().zip(&band.weights) {
                    add(gain, *w, &ratios);
                }
            }
            for ((x, gain), &coverage) in found.iter_mut().zip(&gains).zip(&self.coverage) {
                let over = over(coverage);
                for (x, gain) in x.iter_mut().zip(gain) {
                    *x *= gain * over;
                }
            }
        }
        for (row, magnitudes) in magnitudes.chunks_exact_mut(self.bins).enumerate() {
            for (magnitude, found) in magnitudes.iter_mut().zip(&found) {
                *magnitude = found[row];
            }
        }
    }
}

/// Adds `w` times as much of each.
fn add(sums: &mut [f32; TOGETHER], w: f32, of: &[f32; TOGETHER]) {
    for (sum, x) in sums.iter_mut().zip(of) {
        *sum += w * x;
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
