//! [`decode`]: a clip with given log-mel columns.

use rayon::prelude::*;
use rustfft::num_complex::Complex32;

use super::carrier::carrier;
use super::encoder::Encoder;
use super::griffin_lim::refined;
use super::harmonics::harmonics;
use super::noisiness::{CROSSOVER_HZ, noisiness, rise};
use super::stereo::{self, Stereo};
use super::{Crop, Decoding, PEAK, phases, rotate};
use crate::audio::Clip;
use crate::audio::stft::Stft;
use crate::noise::Noise;

/// Taken from every decoded band besides the floor, as a fraction of it: a network's silence is off by a few hundredths
/// of the floor, which would be a hiss.
const GATE: f32 = 0.1;

/// From the first of these to the second, Hz, more and more of a note whose pitch is known is taken for noise.
const NOTE_HZ: (f32, f32) = (5_000.0, 12_000.0);

/// First number of the places ([`Noise::at`]) that decoding draws from.
const PLACE: u64 = 0x6d65_6c00;

/// A clip with these columns `[T, C]`, not whitened, as nearly as there is one: it peaks at [`PEAK`], or is silent.
pub fn decode(encoder: &Encoder, columns: &[f32], with: &Decoding) -> Clip {
    let bands = encoder.bank.len();
    let width = columns.len() / encoder.rows();
    // Columns `bands·part` and on of every row.
    let part = |part: usize| -> Vec<f32> {
        let rows = columns.chunks_exact(width);
        rows.flat_map(|row| &row[part * bands..(part + 1) * bands])
            .copied()
            .collect()
    };
    let levels = |part: Vec<f32>| levels(part, encoder.floor);
    let decoder = |levels: &[&Vec<f32>]| Decoder {
        encoder,
        onset: match with.crop {
            Some(Crop::Onset) => encoder.format.lead_in(),
            Some(Crop::Anywhere) => 0,
            None => estimated_onset(encoder, levels),
        },
        seed: with.seed,
        note: with.note,
    };
    let channels = match (encoder.format.channels, encoder.stereo) {
        (1, _) => {
            let levels = levels(part(0));
            vec![decoder(&[&levels]).signal(&levels, 0)]
        }
        (_, Stereo::MidSide) => {
            let levels = [levels(part(0)), levels(part(1))];
            let decoder = decoder(&[&levels[0], &levels[1]]);
            let mut channels: Vec<Vec<f32>> = (0..2)
                .map(|i| decoder.signal(&levels[i], i as u64))
                .collect();
            rotate(&mut channels);
            channels
        }
        (_, Stereo::Image) => {
            let levels = levels(part(0));
            let decoder = decoder(&[&levels]);
            let sides = decoder.image(&levels, &part(1), &part(2));
            sides.map(|side| decoder.finished(side)).into()
        }
    };
    let mut clip = Clip::new(encoder.format.sample_rate, channels);
    let peak = clip.peak();
    if peak > 0.0 {
        clip.scale(PEAK / peak);
    }
    clip
}

/// Amplitudes relative to the loudest cell from their logarithms, `[T, bands]`.
///
/// No cell is louder than the loudest, so an overshooting network cannot blow up here, and a value that is not a number
/// is silence.
fn levels(mut logarithms: Vec<f32>, floor: f32) -> Vec<f32> {
    logarithms.par_iter_mut().for_each(|x| {
        let level = 10f32.powf(*x) - (1.0 + GATE) * floor;
        *x = if level > 0.0 { level.min(1.0) } else { 0.0 };
    });
    logarithms
}

/// The onset, in frames of audio, of a sound with these levels, `[T, bands]` of each channel.
fn estimated_onset(encoder: &Encoder, levels: &[&Vec<f32>]) -> usize {
    let rows = |levels: &&Vec<f32>| -> Vec<f32> {
        let rows = levels.chunks_exact(encoder.bank.len());
        rows.map(|row| row.iter().sum()).collect()
    };
    let sums: Vec<Vec<f32>> = levels.iter().map(rows).collect();
    let envelope: Vec<f32> = (0..sums[0].len())
        .map(|t| sums.iter().map(|sums| sums[t]).sum())
        .collect();
    onset(&encoder.transform, &envelope)
}

/// The onset of a sound, in frames of audio, from a row-by-row envelope of its magnitudes.
///
/// A window hears an onset before its centre gets there, so the envelope climbs ahead of the
/// sound, and only the sharpest climb that a window can show is a reason to cut: we look from where
/// the sound comes within 40 dB of its loudest, no further than the reach of a window, for where it
/// passes half of the loudest found. For a step that is at the onset, for a click a quarter
/// window early. A slow fade-in is still at about -46 dB there, and keeps its beginning.
fn onset(transform: &Stft, envelope: &[f32]) -> usize {
    let loudest = |rows: &[f32]| rows.iter().fold(0.0f32, |a, &b| a.max(b));
    let audible = 0.01 * loudest(envelope);
    let Some(first) = envelope.iter().position(|&x| x > audible) else {
        return 0;
    };
    let hop = transform.hop();
    let reach = &envelope[first..];
    let reach = &reach[..reach.len().min(1 + transform.n_fft().div_ceil(hop))];
    let half = 0.5 * loudest(reach);
    let row = first + reach.iter().position(|&x| x >= half).unwrap_or(0);
    let Some(before) = row.checked_sub(1) else {
        return 0;
    };
    let part = (half - envelope[before]) / (envelope[row] - envelope[before]);
    transform.centre(before) + (part.clamp(0.0, 1.0) * hop as f32) as usize
}

/// From levels `[T, bands]` relative to the loudest cell to signals that are silent before an onset.
struct Decoder<'a> {
    encoder: &'a Encoder,
    /// In frames of audio.
    onset: usize,
    seed: u64,
    /// Hz.
    note: Option<f32>,
}

impl Decoder<'_> {
    /// The signal of one channel with these levels.
    fn signal(&self, levels: &[f32], channel: u64) -> Vec<f32> {
        let magnitudes = self.encoder.bank.spread(levels);
        self.finished(self.sketch(levels, &magnitudes, channel))
    }

    fn finished(&self, spectra: Vec<Complex32>) -> Vec<f32> {
        let Encoder {
            transform, format, ..
        } = self.encoder;
        refined(transform, spectra, format, self.onset)
    }

    /// A spectrogram `[T, F]` with these levels, which are spread over its `magnitudes`.
    fn sketch(&self, levels: &[f32], magnitudes: &[f32], channel: u64) -> Vec<Complex32> {
        let Encoder {
            transform,
            bank,
            floor,
            ..
        } = self.encoder;
        let bins = transform.bins();
        let silent = magnitudes.iter().all(|&m| m == 0.0);
        if silent {
            return vec![Complex32::default(); magnitudes.len()];
        }
        if let Some(spectra) = self.note(levels, magnitudes, channel) {
            return spectra;
        }
        let noisiness = noisiness(bank, levels, *floor);
        // All is noise from there on.
        let top = bank.bin_above(CROSSOVER_HZ.1);
        let low: Vec<f32> = magnitudes
            .chunks_exact(bins)
            .flat_map(|row| &row[..top])
            .copied()
            .collect();
        let (phases, carrier) = rayon::join(
            || {
                let mut noise = Noise::at(self.seed, &[PLACE, channel, 0]);
                phases::integrated(transform, &low, top, &mut noise)
            },
            || self.carrier(magnitudes, channel, 0),
        );
        let mut spectra = carrier;
        spectra
            .par_chunks_exact_mut(bins)
            .zip(magnitudes.par_chunks_exact(bins))
            .zip(noisiness.par_chunks_exact(bank.len()))
            .enumerate()
            .for_each(|(t, ((row, magnitudes), noisiness))| {
                for (k, (cell, &magnitude)) in row.iter_mut().zip(magnitudes).enumerate() {
                    *cell *= magnitude;
                    if k < top {
                        let tone = Complex32::from_polar(magnitude, phases[t * top + k]);
                        *cell = mixed(*cell, tone, bank.between(noisiness, k));
                    }
                }
            });
        spectra
    }

    /// The spectrogram of a note whose pitch is known: harmonics, and noise high up.
    fn note(&self, levels: &[f32], magnitudes: &[f32], channel: u64) -> Option<Vec<Complex32>> {
        let Encoder {
            transform, bank, ..
        } = self.encoder;
        let mut noise = Noise::at(self.seed, &[PLACE, channel, 2]);
        let mut spectra = harmonics(self.encoder, levels, self.note?, self.onset, &mut noise)?;
        let carrier = self.carrier(magnitudes, channel, bank.bin_above(NOTE_HZ.0));
        let bins = transform.bins();
        let noisy = |k: usize| rise(bank.between(&bank.centres, k), NOTE_HZ);
        let fractions: Vec<f32> = (0..bins).map(noisy).collect();
        spectra
            .par_chunks_exact_mut(bins)
            .zip(magnitudes.par_chunks_exact(bins))
            .zip(carrier.par_chunks_exact(bins))
            .for_each(|((row, magnitudes), carrier)| {
                for (k, cell) in row.iter_mut().enumerate() {
                    *cell = mixed(carrier[k] * magnitudes[k], *cell, fractions[k]);
                }
            });
        Some(spectra)
    }

    fn carrier(&self, magnitudes: &[f32], channel: u64, from: usize) -> Vec<Complex32> {
        let mut noise = Noise::at(self.seed, &[PLACE, channel, 1]);
        let Encoder {
            transform, format, ..
        } = self.encoder;
        carrier(transform, magnitudes, format, self.onset, from, &mut noise)
    }

    /// Spectrograms of left and right from level, pan and coherence: the part that both share has one phase, the rest
    /// is noise.
    fn image(&self, levels: &[f32], pans: &[f32], coherences: &[f32]) -> [Vec<Complex32>; 2] {
        let Encoder {
            transform,
            bank,
            floor,
            ..
        } = self.encoder;
        let (bands, bins) = (bank.len(), transform.bins());
        let magnitudes = bank.spread(levels);
        let shared = self.sketch(levels, &magnitudes, 0);
        let mut apart = self.carrier(&magnitudes, 1, 0);
        for (cell, m) in apart.iter_mut().zip(&magnitudes) {
            *cell *= m;
        }
        let sides: Vec<[Complex32; 2]> = shared
            .par_chunks_exact(bins)
            .zip(apart.par_chunks_exact(bins))
            .enumerate()
            .flat_map_iter(|(t, (shared, apart))| {
                let row = t * bands..(t + 1) * bands;
                let (levels, pans) = (&levels[row.clone()], &pans[row.clone()]);
                let gains = levels.iter().zip(pans);
                let gains: Vec<[f32; 2]> =
                    gains.map(|(&l, &p)| stereo::gains(l, p, *floor)).collect();
                let [left, right] =
                    [0, 1].map(|i| gains.iter().map(|g| g[i]).collect::<Vec<f32>>());
                let coherences = &coherences[row];
                let cell = move |k: usize| {
                    let coherence = bank.between(coherences, k);
                    // A value that is not a number says nothing: neither side is like the other.
                    let coherence = if coherence.is_nan() {
                        0.0
                    } else {
                        coherence.clamp(-1.0, 1.0)
                    };
                    let [l, r] = stereo::mixed(shared[k], apart[k], coherence);
                    [l * bank.between(&left, k), r * bank.between(&right, k)]
                };
                (0..bins).map(cell).collect::<Vec<_>>()
            })
            .collect();
        [0, 1].map(|side| sides.iter().map(|cell| cell[side]).collect())
    }
}

/// Noise and tone in a cell of whose power this fraction is noise. They are independent: their powers add.
fn mixed(noise: Complex32, tone: Complex32, fraction: f32) -> Complex32 {
    noise * fraction.sqrt() + tone * (1.0 - fraction).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::stft::periodic_hann;

    #[test]
    fn a_slow_fade_in_is_not_cut() {
        let transform = Stft::new(periodic_hann(1024), 256, 128);
        let slow: Vec<f32> = (0..200).map(|t| t as f32 / 200.0).collect();
        let found = onset(&transform, &slow);
        assert!(found < 4 * 256, "{found}");
        let sharp: Vec<f32> = (0..200).map(|t| if t < 50 { 1e-3 } else { 1.0 }).collect();
        assert!(onset(&transform, &sharp).abs_diff(50 * 256) <= 256);
    }
}
