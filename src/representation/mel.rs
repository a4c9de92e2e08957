//! [`Mel`]: what the ear hears of a sound's spectrum over time, and a guess at the sound behind it.

use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use rustfft::num_complex::Complex32;

use super::{
    Crop, Decoding, Format, Frames, Representation, Statistics, Stereo, for_each_clip, rotate,
};
use crate::audio::{Clip, amplitude};
use crate::error::Result;
use crate::noise::Noise;

mod carrier;
mod phases;
mod stereo;
mod stft;

use stft::Stft;

/// Taken from every decoded band besides the floor, as a fraction of it: a network's silence is off by a few hundredths of
/// the floor, which would be a hiss.
const GATE: f32 = 0.1;

/// Standard deviations are not taken as smaller than this, in the unit of their column (of levels and pans 0.4 dB): a
/// band that is empty in the whole training set would otherwise divide by zero.
const LEAST_SPREAD: f64 = 0.02;

/// Iterations of [`Bank::spread`].
const SPREADINGS: usize = 16;

/// From the first of these to the second, Hz, more and more of what sounds is taken for noise.
const NOISE_HZ: (f32, f32) = (2000.0, 5000.0);

/// Below this, Hz, nothing is taken for noise.
const TONE_HZ: f32 = 200.0;

/// A band whose neighbours' levels lie within the first of these of each other, dB, is smooth as noise is in the mean;
/// one where they lie further apart than the second has a tone.
const SPREAD_DB: (f32, f32) = (4.0, 10.0);

/// Rounds of Griffin-Lim after the phases were found.
const REFINEMENTS: usize = 4;

/// How high a peak may be above the root mean square around it, at least and at most: a little more than a sine's, and
/// 6.8 dB. Of Gaussian noise 3% of the values are higher than that.
const PEAK_TO_RMS: (f32, f32) = (1.45, 2.2);

/// The same as a fraction of what is expected of Gaussian noise with as many zero crossings: recordings are levelled.
const LEVELLED: f32 = 0.9;

/// Bands on either side that a tone stands out of, and rows on either side that are averaged before.
const NEAR: usize = 3;
const SMOOTHED: usize = 3;

/// First number of the places ([`Noise::at`]) that decoding draws from.
const PLACE: u64 = 0x6d65_6c00;

/// Peak of what is decoded.
const PEAK: f32 = 0.95;

/// Log-mel spectrogram, inverted by non-negative factorization, phase gradients and a carrier of noise.
///
/// One row for every `hop` frames of audio, from a periodic Hann window of `n_fft` frames centred on
/// the middle of the row's own hop, with silence assumed around the clip; so `T = len_frames / hop`
/// and the rows cover the clip evenly. Bands are triangles on Slaney's mel scale [Auditory Toolbox, 1998], with a peak
/// of 1. With `mel` a band's weighted sum of magnitudes, over the loudest cell of the clip,
///
/// ```text
/// z = (log10(mel + floor) - mu_k) / sd_k
/// ```
///
/// where mean and standard deviation are each column's own over all rows of the training set, and the floor is -80 dB
/// unless a model says otherwise. A row of two channels holds the bands' levels, then their pans
/// `log10((left + floor) / (right + floor))`, then their coherences, -1 to 1 ([`Stereo::Image`]); in older models the
/// magnitudes of mid, then of side.
///
/// Decoding finds a non-negative spectrum with these bands [Lee and Seung 2001], and then what the bands do not tell:
///
/// - where tones stand out of their neighbours, the phases that belong to the magnitudes, by integrating their gradient
///   [Průša, Balazs & Søndergaard 2017];
/// - elsewhere, and above 2 to 5 kHz everywhere, the phases and the dips of a noise under the magnitudes' own envelope:
///   integrated phases of smooth magnitudes would line up into clicks;
/// - by a few rounds of Griffin-Lim [Griffin and Lim 1984] what lies between: silence before the onset, which the windows
///   blur, and peaks no higher over their surroundings than those of recordings.
///
/// It depends on nothing but the frames, the seed and the onset ([`Decoding`]).
///
/// What is lost: phase, detail finer than a band, all that lies below the floor, tones that are hidden under wide bands,
/// and the level: decoded clips peak at 0.95, or are silent.
pub struct Mel {
    format: Format,
    transform: Stft,
    bank: Bank,
    /// Added to every band relative to the clip's loudest cell before the logarithm.
    ///
    /// A sum, unlike a maximum, can be undone, so what lay below the floor decodes to silence instead of a hiss.
    floor: f32,
    stereo: Stereo,
    mean: Vec<f32>,
    /// Divided by, one a column.
    scale: Vec<f32>,
}

impl Mel {
    /// For validated settings and checked statistics.
    pub(super) fn new(
        n_fft: usize,
        hop: usize,
        mels: usize,
        floor_db: f32,
        stereo: Stereo,
        format: &Format,
        statistics: &Statistics,
    ) -> Self {
        Self {
            format: *format,
            transform: Stft::new(n_fft, hop),
            bank: Bank::new(format.sample_rate, n_fft, mels),
            floor: amplitude(floor_db),
            stereo,
            mean: statistics.mean.clone(),
            scale: statistics.scale.clone(),
        }
    }

    /// The columns as they were before they were whitened.
    fn unwhiten(&self, frames: &Frames) -> Vec<f32> {
        let mut values = frames.data.clone();
        for row in values.chunks_exact_mut(frames.width) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = *x * scale + mean;
            }
        }
        values
    }

    /// Amplitudes relative to the loudest cell from their logarithms, `[T, bands]`.
    ///
    /// No cell is louder than the loudest, so an overshooting network cannot blow up here, and what is not a number is
    /// silence.
    fn levels(&self, mut logarithms: Vec<f32>) -> Vec<f32> {
        for x in &mut logarithms {
            let level = 10f32.powf(*x) - (1.0 + GATE) * self.floor;
            *x = if level > 0.0 { level.min(1.0) } else { 0.0 };
        }
        logarithms
    }
}

/// See [`super::RepresentationConfig::fit`].
pub(super) fn fit(
    n_fft: usize,
    hop: usize,
    mels: usize,
    floor_db: f32,
    stereo: Stereo,
    format: &Format,
    clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
) -> Result<Statistics> {
    let transform = Stft::new(n_fft, hop);
    let bank = Bank::new(format.sample_rate, n_fft, mels);
    let width = mels * stereo.parts(format.channels);
    let (mut sums, mut squares, mut rows) = (vec![0.0; width], vec![0.0; width], 0u64);
    for_each_clip(format, clips, |clip| {
        for row in columns(&transform, &bank, amplitude(floor_db), stereo, format, clip)?
            .chunks_exact(width)
        {
            rows += 1;
            for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(row) {
                *sum += x as f64;
                *square += (x as f64).powi(2);
            }
        }
        Ok(())
    })?;
    let rows = rows as f64;
    let spread = |(sum, square): (&f64, &f64)| {
        let variance = square / rows - (sum / rows).powi(2);
        variance.max(0.0).sqrt().max(LEAST_SPREAD) as f32
    };
    Ok(Statistics {
        mean: sums.iter().map(|sum| (sum / rows) as f32).collect(),
        scale: sums.iter().zip(&squares).map(spread).collect(),
    })
}

impl Representation for Mel {
    fn shape(&self) -> (usize, usize) {
        (
            self.format.len_frames / self.transform.hop,
            self.scale.len(),
        )
    }

    fn encode(&self, clip: &Clip) -> Result<Frames> {
        let mut data = columns(
            &self.transform,
            &self.bank,
            self.floor,
            self.stereo,
            &self.format,
            clip,
        )?;
        let (frames, width) = self.shape();
        for row in data.chunks_exact_mut(width) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = (*x - mean) / scale;
            }
        }
        Ok(Frames {
            frames,
            width,
            data,
        })
    }

    fn decode(&self, frames: &Frames, with: &Decoding) -> Result<Clip> {
        frames.check(self.shape())?;
        let values = self.unwhiten(frames);
        let bands = self.bank.len();
        // Columns `bands·part` and on of every row.
        let part = |part: usize| -> Vec<f32> {
            let rows = values.chunks_exact(frames.width);
            rows.flat_map(|row| &row[part * bands..(part + 1) * bands])
                .copied()
                .collect()
        };
        let gate = |levels: &[&Vec<f32>]| match with.crop {
            Some(Crop::Onset) => self.format.lead_in(),
            Some(Crop::Anywhere) => 0,
            None => self.estimated_onset(levels),
        };
        let channels = match (self.format.channels, self.stereo) {
            (1, _) => {
                let levels = self.levels(part(0));
                let onset = gate(&[&levels]);
                vec![self.signal(&levels, onset, with.seed, 0)]
            }
            (_, Stereo::MidSide) => {
                let levels = [self.levels(part(0)), self.levels(part(1))];
                let onset = gate(&[&levels[0], &levels[1]]);
                let mut channels: Vec<Vec<f32>> = (0..2)
                    .map(|i| self.signal(&levels[i], onset, with.seed, i as u64))
                    .collect();
                rotate(&mut channels);
                channels
            }
            (_, Stereo::Image) => {
                let levels = self.levels(part(0));
                let onset = gate(&[&levels]);
                let [left, right] = self.placed(&levels, &part(1), &part(2), onset, with.seed);
                vec![self.finished(left, onset), self.finished(right, onset)]
            }
        };
        let mut clip = Clip::new(self.format.sample_rate, channels);
        let peak = clip.peak();
        if peak > 0.0 {
            clip.scale(PEAK / peak);
        }
        Ok(clip)
    }
}

/// Decoding, from levels `[T, bands]` relative to the loudest cell.
impl Mel {
    /// Where the sound begins, in frames of audio, where nobody knows it.
    fn estimated_onset(&self, levels: &[&Vec<f32>]) -> usize {
        let rows = |levels: &&Vec<f32>| -> Vec<f32> {
            let rows = levels.chunks_exact(self.bank.len());
            rows.map(|row| row.iter().sum()).collect()
        };
        let sums: Vec<Vec<f32>> = levels.iter().map(rows).collect();
        let envelope: Vec<f32> = (0..sums[0].len())
            .map(|t| sums.iter().map(|sums| sums[t]).sum())
            .collect();
        self.transform.onset(&envelope)
    }

    /// The signal of one channel with these levels.
    fn signal(&self, levels: &[f32], onset: usize, seed: u64, channel: u64) -> Vec<f32> {
        let magnitudes = self.bank.spread(levels);
        let sketch = self.sketch(levels, &magnitudes, onset, seed, channel);
        self.finished(sketch, onset)
    }

    /// A spectrogram `[T, F]` with these levels, which are spread over its `magnitudes`.
    fn sketch(
        &self,
        levels: &[f32],
        magnitudes: &[f32],
        onset: usize,
        seed: u64,
        channel: u64,
    ) -> Vec<Complex32> {
        let bins = self.transform.bins();
        let silent = magnitudes.iter().all(|&m| m == 0.0);
        if silent {
            return vec![Complex32::default(); magnitudes.len()];
        }
        let noisiness = self.noisiness(levels);
        // All is noise from there on.
        let top = self.bank.bin_above(NOISE_HZ.1);
        let low: Vec<f32> = magnitudes
            .chunks_exact(bins)
            .flat_map(|row| &row[..top])
            .copied()
            .collect();
        let (phases, carrier) = rayon::join(
            || {
                let mut noise = Noise::at(seed, &[PLACE, channel, 0]);
                phases::integrated(&self.transform, &low, top, &mut noise)
            },
            || self.carrier(magnitudes, onset, seed, channel),
        );
        let mut spectra = carrier;
        spectra
            .par_chunks_exact_mut(bins)
            .zip(magnitudes.par_chunks_exact(bins))
            .zip(noisiness.par_chunks_exact(self.bank.len()))
            .enumerate()
            .for_each(|(t, ((row, magnitudes), noisiness))| {
                for (k, (cell, &magnitude)) in row.iter_mut().zip(magnitudes).enumerate() {
                    *cell *= magnitude;
                    if k < top {
                        // The parts are independent: their powers add.
                        let fraction = self.bank.between(noisiness, k);
                        let tone = Complex32::from_polar(magnitude, phases[t * top + k]);
                        *cell = *cell * fraction.sqrt() + tone * (1.0 - fraction).sqrt();
                    }
                }
            });
        spectra
    }

    fn carrier(&self, magnitudes: &[f32], onset: usize, seed: u64, channel: u64) -> Vec<Complex32> {
        let (rate, len) = (self.format.sample_rate, self.format.len_frames);
        let mut noise = Noise::at(seed, &[PLACE, channel, 1]);
        carrier::carrier(&self.transform, magnitudes, rate, len, onset, &mut noise)
    }

    /// Left and right from level, pan and coherence: what both share has one phase, and what they do not is noise.
    fn placed(
        &self,
        levels: &[f32],
        pans: &[f32],
        coherences: &[f32],
        onset: usize,
        seed: u64,
    ) -> [Vec<Complex32>; 2] {
        let (bands, bins) = (self.bank.len(), self.transform.bins());
        let magnitudes = self.bank.spread(levels);
        let shared = self.sketch(levels, &magnitudes, onset, seed, 0);
        let mut apart = self.carrier(&magnitudes, onset, seed, 1);
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
                let gains: Vec<[f32; 2]> = gains
                    .map(|(&l, &p)| stereo::gains(l, p, self.floor))
                    .collect();
                let [left, right] =
                    [0, 1].map(|i| gains.iter().map(|g| g[i]).collect::<Vec<f32>>());
                let coherences = &coherences[row];
                let cell = move |k: usize| {
                    let coherence = self.bank.between(coherences, k);
                    // Of what is not a number nothing is known: neither is like the other.
                    let coherence = if coherence.is_nan() {
                        0.0
                    } else {
                        coherence.clamp(-1.0, 1.0)
                    };
                    let [l, r] = stereo::mixed(shared[k], apart[k], coherence);
                    [
                        l * self.bank.between(&left, k),
                        r * self.bank.between(&right, k),
                    ]
                };
                (0..bins).map(cell).collect::<Vec<_>>()
            })
            .collect();
        [0, 1].map(|side| sides.iter().map(|cell| cell[side]).collect())
    }

    /// The signal of a spectrogram, silent before `onset`, its phases brought to agree with that and with each other by a
    /// little of Griffin-Lim [Griffin and Lim 1984], and its highest peaks with them.
    fn finished(&self, mut spectra: Vec<Complex32>, onset: usize) -> Vec<f32> {
        let len = self.format.len_frames;
        let limited = |spectra: &[Complex32]| {
            let mut signal = self.transform.synthesise(spectra, len);
            signal[..onset.min(len)].fill(0.0);
            self.limit(&mut signal);
            signal
        };
        for _ in 0..REFINEMENTS {
            let found = self.transform.analyse(&limited(&spectra));
            let cells = spectra.par_iter_mut().zip(found);
            cells.for_each(|(cell, found)| {
                let norm = found.norm();
                if norm > 0.0 {
                    *cell = found * (cell.norm() / norm);
                }
            });
        }
        limited(&spectra)
    }

    /// Cuts the peaks that stand out of what is around them, as recordings are levelled: the highest that is left is as
    /// high as the 2 ms around some peak allow. A click fills its surroundings and a tone has no such peaks: both stay.
    ///
    /// Of `n` independent Gaussian values the highest lies about `sqrt(2 ln n)` over their root mean square; there are
    /// about as many as the signal crosses zero, of which its differences tell [Rice 1945, Eq. 3.3-11]. So a snare
    /// with a body may peak less over its surroundings than a hiss.
    fn limit(&self, signal: &mut [f32]) {
        let reach = self.format.sample_rate as usize / 1000;
        let (mut energies, mut turns) = (vec![0.0f64], vec![0.0f64]);
        let (mut energy, mut turn, mut last) = (0.0, 0.0, 0.0);
        for x in signal.iter() {
            energy += f64::from(x * x);
            turn += f64::from((x - last).powi(2));
            last = *x;
            energies.push(energy);
            turns.push(turn);
        }
        let mut ceiling = 0.0f32;
        for (n, x) in signal.iter().enumerate() {
            if x.abs() > ceiling {
                let (from, to) = (n.saturating_sub(reach), (n + reach + 1).min(signal.len()));
                let within = |sums: &[f64]| (sums[to] - sums[from]).max(0.0);
                let (energy, turn) = (within(&energies), within(&turns));
                let rms = (energy / (to - from) as f64).sqrt() as f32;
                let crossings =
                    (to - from) as f64 / PI * (turn / energy.max(f64::MIN_POSITIVE)).sqrt();
                let expected = (2.0 * crossings.max(1.0).ln()).sqrt() as f32;
                let most = (LEVELLED * expected).clamp(PEAK_TO_RMS.0, PEAK_TO_RMS.1);
                ceiling = ceiling.max(x.abs().min(most * rms));
            }
        }
        signal
            .iter_mut()
            .for_each(|x| *x = x.clamp(-ceiling, ceiling));
    }

    /// How much of the power of each cell `[T, bands]` is noise, 0 to 1.
    ///
    /// High up a band covers more than a harmonic and the next, and all is taken for noise. Below, a tone stands out of
    /// its neighbours, while what a network says of noise is as smooth as its mean.
    fn noisiness(&self, levels: &[f32]) -> Vec<f32> {
        let bands = self.bank.len();
        let rows = levels.len() / bands;
        let decibels: Vec<f32> = levels
            .iter()
            .map(|&m| 20.0 * m.max(0.1 * self.floor).log10())
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
                let hz = self.bank.centres[k];
                let plain = ((hz - NOISE_HZ.0) / (NOISE_HZ.1 - NOISE_HZ.0)).clamp(0.0, 1.0);
                let smooth =
                    ((SPREAD_DB.1 - (high - low)) / (SPREAD_DB.1 - SPREAD_DB.0)).clamp(0.0, 1.0);
                plain.max(smooth * (hz / TONE_HZ).log2().clamp(0.0, 1.0))
            };
            (0..bands).map(noisy).collect::<Vec<_>>()
        };
        (0..rows).into_par_iter().flat_map_iter(row).collect()
    }
}

impl fmt::Debug for Mel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mel")
            .field("format", &self.format)
            .field("n_fft", &self.transform.n_fft)
            .field("hop", &self.transform.hop)
            .field("mels", &self.bank.len())
            .finish_non_exhaustive()
    }
}

/// The columns of a clip before they are whitened, see [`Mel`].
fn columns(
    transform: &Stft,
    bank: &Bank,
    floor: f32,
    stereo: Stereo,
    format: &Format,
    clip: &Clip,
) -> Result<Vec<f32>> {
    format.check(clip)?;
    let mut channels = clip.channels().to_vec();
    if stereo == Stereo::MidSide {
        rotate(&mut channels);
    }
    let spectra: Vec<Vec<Complex32>> = channels.iter().map(|c| transform.analyse(c)).collect();
    let (rows, bins) = (format.len_frames / transform.hop, transform.bins());
    let row = |channel: usize, t: usize| &spectra[channel][t * bins..(t + 1) * bins];
    // All silence stays at the floor.
    let gain = |loudest: f32| if loudest > 0.0 { 1.0 / loudest } else { 0.0 };
    let loudest = |values: &[f32]| values.iter().fold(0.0f32, |a, &b| a.max(b));
    if channels.len() == 2 && stereo == Stereo::Image {
        let rows = (0..rows).map(|t| stereo::Row::new(bank, row(0, t), row(1, t)));
        let rows: Vec<stereo::Row> = rows.collect();
        let loudest = rows.iter().map(|row| loudest(&row.levels));
        let gain = gain(loudest.fold(0.0, f32::max));
        return Ok(rows
            .iter()
            .flat_map(|row| row.columns(gain, floor))
            .collect());
    }
    let mut mel = Vec::with_capacity(rows * bank.len() * channels.len());
    for t in 0..rows {
        for channel in 0..channels.len() {
            let magnitudes: Vec<f32> = row(channel, t).iter().map(|x| x.norm()).collect();
            mel.extend(bank.gather(&magnitudes));
        }
    }
    let gain = gain(loudest(&mel));
    mel.iter_mut()
        .for_each(|x| *x = (*x * gain + floor).log10());
    Ok(mel)
}

/// Triangular bands, evenly spaced on Slaney's mel scale [Auditory Toolbox, 1998] from 0 Hz to half the
/// sample rate, each reaching from the centre of the band below to the centre of the one above.
///
/// Their peaks are 1 and not divided by their area: the highest bands then do not sink below the
/// floor merely by being wide. Where bands are narrower than the transform's bins they are
/// widened to one bin to each side, so that none is empty.
struct Bank {
    bins: usize,
    bands: Vec<Band>,
    /// Sum of each bin's weights over all bands.
    coverage: Vec<f32>,
    /// Centre of each band, Hz.
    centres: Vec<f32>,
    /// For each bin the band below it, and how far it lies on the way to the next.
    places: Vec<(usize, f32)>,
}

struct Band {
    /// Bin of the first weight.
    first: usize,
    weights: Vec<f32>,
}

impl Bank {
    fn new(sample_rate: u32, n_fft: usize, mels: usize) -> Self {
        let bins = n_fft / 2 + 1;
        let top = mel_of(sample_rate as f64 / 2.0);
        let bin_hz = sample_rate as f64 / n_fft as f64;
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
    fn len(&self) -> usize {
        self.bands.len()
    }

    /// The first bin at or above a frequency.
    fn bin_above(&self, hz: f32) -> usize {
        let place = |&(below, part): &(usize, f32)| {
            self.centres[below] + part * (self.centres[below + 1] - self.centres[below])
        };
        self.places
            .iter()
            .position(|p| place(p) >= hz)
            .unwrap_or(self.bins)
    }

    /// The value that a row of bands has at a bin, straight from one centre to the next.
    fn between(&self, row: &[f32], bin: usize) -> f32 {
        let (below, part) = self.places[bin];
        row[below] + part * (row[below + 1] - row[below])
    }

    /// What each band hears of a magnitude spectrum.
    fn gather(&self, magnitudes: &[f32]) -> Vec<f32> {
        let hears = |band: &Band| -> f32 {
            magnitudes[band.first..]
                .iter()
                .zip(&band.weights)
                .map(|(x, w)| x * w)
                .sum()
        };
        self.bands.iter().map(hears).collect()
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

    /// A smooth, non-negative magnitude spectrum whose bands are `mel`, as nearly as there is one.
    ///
    /// Multiplicative updates for the divergence [Lee and Seung 2001, Eq. 5]: they cannot leave the
    /// non-negative numbers, weigh an error by how loud its band is, and, begun from a smooth
    /// spectrum, stay smooth where a band covers many bins and does not tell them apart.
    fn spread(&self, levels: &[f32]) -> Vec<f32> {
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
        // What no band hears stays nothing.
        let over: Vec<f32> = self
            .coverage
            .iter()
            .map(|&coverage| if coverage > 0.0 { 1.0 / coverage } else { 0.0 })
            .collect();
        let mut gains = vec![0.0; self.bins];
        for _ in 0..SPREADINGS {
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

/// Hz to mel: 200/3 Hz a mel up to 1 kHz, then 27 mel for each factor of 6.4.
pub(super) fn mel_of(hz: f64) -> f64 {
    if hz < 1000.0 {
        hz * 3.0 / 200.0
    } else {
        15.0 + 27.0 * (hz / 1000.0).ln() / 6.4f64.ln()
    }
}

/// The inverse of [`mel_of`].
fn hz_of(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * ((mel - 15.0) / 27.0 * 6.4f64.ln()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RepresentationConfig;
    use super::*;
    use crate::audio::Measures;
    use realfft::RealFftPlanner;
    use std::f64::consts::TAU;

    const RATE: u32 = 44_100;

    /// Statistics in the middle of what log-mel frames of sounds have.
    fn mel(format: &Format) -> Box<dyn Representation> {
        let config = RepresentationConfig::mel();
        built(&config, format)
    }

    fn built(config: &RepresentationConfig, format: &Format) -> Box<dyn Representation> {
        let width = config.width(format.channels);
        let statistics = Statistics {
            mean: vec![-2.0; width],
            scale: vec![0.7; width],
        };
        config.build(format, &statistics).unwrap()
    }

    fn mono(len_frames: usize) -> Format {
        Format {
            sample_rate: RATE,
            channels: 1,
            len_frames,
        }
    }

    fn there_and_back(channels: Vec<Vec<f32>>) -> Clip {
        let format = Format {
            channels: channels.len(),
            ..mono(channels[0].len())
        };
        let mel = mel(&format);
        mel.decode(
            &mel.encode(&Clip::new(RATE, channels)).unwrap(),
            &Decoding::default(),
        )
        .unwrap()
    }

    fn norm(values: &[f32]) -> f32 {
        values.iter().map(|x| x * x).sum::<f32>().sqrt()
    }

    #[test]
    fn the_mel_scale_is_slaneys() {
        // librosa's documentation of mel_frequencies(40) gives these: 0, 85.317, 170.635 .. 11025.
        let top = mel_of(11_025.0);
        for (i, hz) in [
            (0, 0.0),
            (1, 85.317),
            (2, 170.635),
            (12, 1024.856),
            (38, 10_096.408),
            (39, 11_025.0),
        ] {
            let found = hz_of(top * i as f64 / 39.0);
            assert!(
                (found - hz).abs() < 0.001 * hz.max(1.0),
                "{i}: {found} {hz}"
            );
        }
    }

    #[test]
    fn bands_peak_at_their_centres_and_end_at_their_neighbours() {
        let bank = Bank::new(RATE, 1024, 40);
        let bin_hz = RATE as f64 / 1024.0;
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
        assert!((band.weights[bin as usize - band.first] as f64 - expected).abs() < 1e-5);
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

    #[test]
    fn synthesis_inverts_analysis() {
        let signal = Noise::new(1).normals(64 * 20);
        for (n_fft, hop) in [(256, 64), (128, 64), (64, 20)] {
            let transform = Stft::new(n_fft, hop);
            let back = transform.synthesise(&transform.analyse(&signal), signal.len());
            let error: Vec<f32> = back.iter().zip(&signal).map(|(a, b)| a - b).collect();
            assert!(
                norm(&error) < 1e-5 * norm(&signal),
                "{n_fft} {hop}: {}",
                norm(&error)
            );
        }
    }

    #[test]
    fn a_sine_keeps_its_frequency() {
        let sine = |hz: f64| {
            (0..16_384).map(move |i| 0.5 * (TAU * hz * i as f64 / RATE as f64).sin() as f32)
        };
        for hz in [110.0, 440.0, 3000.0] {
            let clip = there_and_back(vec![sine(hz).collect()]);
            assert!((clip.peak() - 0.95).abs() < 1e-5);
            let mut middle = clip.channels()[0][4096..12_288].to_vec();
            let fft = RealFftPlanner::new().plan_fft_forward(8192);
            let mut spectrum = fft.make_output_vec();
            fft.process(&mut middle, &mut spectrum).unwrap();
            let peak = (0..spectrum.len())
                .max_by(|&a, &b| spectrum[a].norm().total_cmp(&spectrum[b].norm()));
            let found = peak.unwrap() as f64 * RATE as f64 / 8192.0;
            // One bin of the representation's own transform.
            assert!(
                (found - hz).abs() < RATE as f64 / 1024.0,
                "{hz} Hz came back as {found} Hz"
            );
        }
    }

    #[test]
    fn clicks_stay_in_place_and_nothing_sounds_before_the_first() {
        let clicks = [5000, 9100, 14_000];
        let mut signal = vec![0.0; 64 * 256];
        clicks.iter().for_each(|&at| signal[at] = 0.9);
        let clip = there_and_back(vec![signal]);
        let decoded = &clip.channels()[0];
        for at in clicks {
            let near = at - 2000..at + 2000;
            let loudest = near
                .max_by(|&a, &b| decoded[a].abs().total_cmp(&decoded[b].abs()))
                .unwrap();
            assert!(loudest.abs_diff(at) <= 256, "{at} came back at {loudest}");
        }
        // A quarter window before a click, its envelope has passed the half.
        assert!(decoded[..5000 - 600].iter().all(|&x| x == 0.0));
    }

    /// Three steady harmonics, dying away: what random phases turn into a rasp. Below about 90 Hz a window no longer
    /// tells harmonics apart, and the pitch may come back a semitone off.
    #[test]
    fn a_tone_stays_a_tone() {
        let sine = |hz: f64, t: f64| (TAU * hz * t).sin() * (-3.0 * t).exp();
        for hz in [110.0, 220.0, 440.0] {
            let tone = |n: usize| {
                let t = n as f64 / f64::from(RATE);
                (0.5 * sine(hz, t) + 0.3 * sine(2.0 * hz, t) + 0.1 * sine(3.0 * hz, t)) as f32
            };
            let clip = there_and_back(vec![(0..128 * 256).map(tone).collect()]);
            let found = Measures::of(&clip);
            let cents = 1200.0 * (f64::from(found.pitch.expect("a tone")) / hz).log2();
            assert!(cents.abs() < 20.0, "{hz}: {found:?}");
            assert!(
                found.noisiness < 0.1 && found.warble.expect("a tone") < 15.0,
                "{hz}: {found:?}"
            );
        }
    }

    #[test]
    fn a_slow_fade_in_is_not_cut() {
        let transform = Stft::new(1024, 256);
        let slow: Vec<f32> = (0..200).map(|t| t as f32 / 200.0).collect();
        assert!(
            transform.onset(&slow) < 4 * 256,
            "{}",
            transform.onset(&slow)
        );
        let sharp: Vec<f32> = (0..200).map(|t| if t < 50 { 1e-3 } else { 1.0 }).collect();
        assert!(transform.onset(&sharp).abs_diff(50 * 256) <= 256);
    }

    /// A drum: a falling sine and decaying noise.
    fn drum(len: usize, start: usize) -> Vec<f32> {
        let mut noise = Noise::new(12);
        let mut phase = 0.0f64;
        (0..len)
            .map(|i| {
                let Some(n) = i.checked_sub(start) else {
                    return 0.0;
                };
                let t = n as f64 / RATE as f64;
                phase += TAU * (180.0 + 120.0 * (-t * 30.0).exp()) / RATE as f64;
                (0.7 * (-t * 12.0).exp() * phase.sin()) as f32
                    + 0.2 * (-t * 20.0).exp() as f32 * noise.normal()
            })
            .collect()
    }

    #[test]
    fn a_drum_comes_back_with_nearly_the_same_mel_spectrogram() {
        let format = mono(64 * 256);
        let mel = mel(&format);
        let before = mel
            .encode(&Clip::new(RATE, vec![drum(format.len_frames, 3000)]))
            .unwrap();
        let decoded = mel.decode(&before, &Decoding::default()).unwrap();
        let after = mel.encode(&decoded).unwrap();
        // Its noise is another: cells are compared in the mean of 8 rows and 4 bands.
        let mean = |frames: &Frames, i: usize| {
            let (t, k) = (i / 32 * 8, i % 32 * 4);
            let rows = (t..t + 8).flat_map(|t| &frames.data[t * 128 + k..t * 128 + k + 4]);
            rows.sum::<f32>() / 32.0
        };
        let decibels: Vec<f32> = (0..8 * 32)
            .map(|i| 20.0 * 0.7 * (mean(&before, i) - mean(&after, i)))
            .collect();
        let distance = norm(&decibels) / (decibels.len() as f32).sqrt();
        assert!(distance < 2.0, "{distance} dB");
    }

    #[test]
    fn how_wide_a_stereo_sound_is_survives() {
        let (a, b) = (drum(64 * 256, 0), Noise::new(4).normals(64 * 256));
        let side: Vec<f32> = drum(64 * 256, 0)
            .iter()
            .zip(&b)
            .map(|(x, n)| 0.2 * x * n)
            .collect();
        let left: Vec<f32> = a.iter().zip(&side).map(|(m, s)| m + s).collect();
        let right: Vec<f32> = a.iter().zip(&side).map(|(m, s)| m - s).collect();
        let clip = there_and_back(vec![left, right]);
        let part = |sign: f32| {
            let mixed = clip.channels()[0].iter().zip(&clip.channels()[1]);
            norm(&mixed.map(|(l, r)| 0.5 * (l + sign * r)).collect::<Vec<_>>())
        };
        let (before, after) = (norm(&side) / norm(&a), part(-1.0) / part(1.0));
        assert!(
            (20.0 * (after / before).log10()).abs() < 1.5,
            "{before} {after}"
        );
    }

    fn correlation(clip: &Clip) -> f32 {
        let [left, right] = clip.channels() else {
            panic!("two channels");
        };
        let dot: f32 = left.iter().zip(right).map(|(l, r)| l * r).sum();
        dot / (norm(left) * norm(right))
    }

    #[test]
    fn a_stereo_image_comes_back() {
        let frames = 64 * 256;
        let tone = |n: usize| (TAU * 440.0 * n as f64 / f64::from(RATE)).sin() as f32;
        let tone: Vec<f32> = (0..frames).map(tone).collect();
        let level = |clip: &Clip| {
            let [left, right] = clip.channels() else {
                panic!("two channels");
            };
            20.0 * (norm(left) / norm(right)).log10()
        };
        for pan_db in [26.0f32, 6.0, -12.0] {
            let (l, r) = (10f32.powf(pan_db / 40.0), 10f32.powf(-pan_db / 40.0));
            let scaled = |gain: f32| tone.iter().map(|x| 0.2 * gain * x).collect::<Vec<f32>>();
            let back = there_and_back(vec![scaled(l), scaled(r)]);
            assert!(
                (level(&back) - pan_db).abs() < 1.0,
                "{pan_db}: {} dB",
                level(&back)
            );
            assert!(
                correlation(&back) > 0.95,
                "{pan_db}: {}",
                correlation(&back)
            );
        }
        let (same, own) = (Noise::new(1).normals(frames), Noise::new(2).normals(frames));
        for wanted in [-0.9f32, -0.5, 0.0, 0.5, 0.9] {
            let apart = (1.0 - wanted * wanted).sqrt();
            let other = same.iter().zip(&own).map(|(a, b)| wanted * a + apart * b);
            let clip = Clip::new(RATE, vec![same.clone(), other.collect()]);
            let (before, after) = (
                correlation(&clip),
                correlation(&there_and_back(clip.channels().to_vec())),
            );
            assert!((before - after).abs() < 0.05, "{wanted}: {before} {after}");
        }
    }

    /// Kurtosis of what is above 3 kHz, each value levelled by the 20 ms around it: 3 for a noise, far more for clicks.
    fn kurtosis(signal: &[f32]) -> f64 {
        let fft = RealFftPlanner::new();
        let (mut fft, n) = (fft, signal.len());
        let (forward, inverse) = (fft.plan_fft_forward(n), fft.plan_fft_inverse(n));
        let (mut wave, mut bins) = (signal.to_vec(), forward.make_output_vec());
        forward.process(&mut wave, &mut bins).unwrap();
        bins[..3000 * n / RATE as usize].fill(Complex32::default());
        bins[n / 2].im = 0.0;
        inverse.process(&mut bins, &mut wave).unwrap();
        let power = |part: &[f32]| {
            part.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / part.len() as f64
        };
        let levelled =
            (441..n - 441).map(|i| f64::from(wave[i]) / power(&wave[i - 441..i + 441]).sqrt());
        let (mut squares, mut fourths, mut count) = (0.0, 0.0, 0.0);
        for x in levelled {
            squares += x.powi(2);
            fourths += x.powi(4);
            count += 1.0;
        }
        fourths / count / (squares / count).powi(2)
    }

    #[test]
    fn frames_as_smooth_as_the_mean_of_a_noise_become_noise() {
        let format = mono(128 * 256);
        let mel = mel(&format);
        // A decaying hiss, as a network says it: without any of a noise's own roughness.
        let frames = Frames {
            frames: 128,
            width: 128,
            data: (0..128 * 128)
                .map(|i| {
                    let (t, k) = (i / 128, i % 128);
                    (-0.01 * t as f32 - 0.3 * (1.0 - k as f32 / 127.0) + 2.0) / 0.7
                })
                .collect(),
        };
        let decoded = |seed: u64| {
            let crop = Some(Crop::Onset);
            mel.decode(&frames, &Decoding { seed, crop }).unwrap()
        };
        let (one, other) = (decoded(1), decoded(2));
        assert_eq!(one, decoded(1));
        // Other noises of the same spectrum.
        let dot: f32 = one.channels()[0]
            .iter()
            .zip(&other.channels()[0])
            .map(|(a, b)| a * b)
            .sum();
        let likeness = dot / (norm(&one.channels()[0]) * norm(&other.channels()[0]));
        assert!(likeness.abs() < 0.1, "{likeness}");
        let found = kurtosis(&one.channels()[0]);
        assert!((2.6..3.4).contains(&found), "{found}");
    }

    #[test]
    fn an_attack_at_a_known_onset_keeps_its_first_millisecond() {
        let format = mono(64 * 256);
        let mel = mel(&format);
        let (onset, millisecond) = (format.lead_in(), RATE as usize / 1000);
        let mut noise = Noise::new(3);
        // A crack of noise over a tone: 60 dB down after 60 ms.
        let crack: Vec<f32> = (0..format.len_frames)
            .map(|n| {
                let Some(n) = n.checked_sub(onset) else {
                    return 0.0;
                };
                let t = n as f64 / f64::from(RATE);
                let tone = (TAU * 330.0 * t).cos() as f32;
                (-t * 115.0).exp() as f32 * (0.5 * tone + 0.3 * noise.normal())
            })
            .collect();
        let first = |signal: &[f32]| {
            let energy = |ms: usize| norm(&signal[onset..onset + ms * millisecond]).powi(2);
            10.0 * (energy(1) / energy(20)).log10()
        };
        let frames = mel.encode(&Clip::new(RATE, vec![crack.clone()])).unwrap();
        let decoded = |crop: Option<Crop>| {
            let clip = mel.decode(&frames, &Decoding { seed: 0, crop }).unwrap();
            clip.channels()[0].clone()
        };
        let known = decoded(Some(Crop::Onset));
        assert!(known[..onset].iter().all(|&x| x == 0.0));
        assert!(
            (first(&known) - first(&crack)).abs() < 3.0,
            "{} {}",
            first(&known),
            first(&crack)
        );
        // Where clips begin anywhere, nothing may be cut.
        assert!(
            decoded(Some(Crop::Anywhere))[..onset]
                .iter()
                .any(|&x| x != 0.0)
        );
    }

    #[test]
    fn what_lies_above_the_floor_comes_back_and_nothing_else_does() {
        // A tone that falls by 70 dB half-way.
        let format = mono(64 * 256);
        let wave = |n: usize| {
            let gain = if n < format.len_frames / 2 {
                0.9
            } else {
                0.9 * 10f64.powf(-70.0 / 20.0)
            };
            (gain * (TAU * 1000.0 * n as f64 / f64::from(RATE)).sin()) as f32
        };
        let clip = Clip::new(RATE, vec![(0..format.len_frames).map(wave).collect()]);
        for (floor_db, expected) in [(-80.0, -70.0), (-40.0, f32::NEG_INFINITY)] {
            let config: RepresentationConfig =
                format!("mel:2048:256:128:{floor_db}").parse().unwrap();
            let mel = built(&config, &format);
            let back = mel
                .decode(&mel.encode(&clip).unwrap(), &Decoding::default())
                .unwrap();
            let part = |from: usize, to: usize| norm(&back.channels()[0][from..to]);
            let fall = 20.0 * (part(11_000, 15_000) / part(2000, 6000)).log10();
            assert!(
                fall == expected || (fall - expected).abs() < 3.0,
                "{floor_db}: {fall} dB"
            );
        }
    }

    #[test]
    fn older_models_hold_mid_and_side_above_60_db() {
        let old = r#"{"kind":"mel","n_fft":1024,"hop":256,"mels":64}"#;
        let old: RepresentationConfig = serde_json::from_str(old).unwrap();
        assert_eq!((old.width(1), old.width(2)), (64, 128));
        assert!(matches!(
            old,
            RepresentationConfig::Mel {
                floor_db: -60.0,
                stereo: Stereo::MidSide,
                ..
            }
        ));
        let format = Format {
            channels: 2,
            ..mono(64 * 256)
        };
        let mel = built(&old, &format);
        let clip = Clip::new(
            RATE,
            vec![drum(format.len_frames, 66), vec![0.0; format.len_frames]],
        );
        let back = mel
            .decode(&mel.encode(&clip).unwrap(), &Decoding::default())
            .unwrap();
        assert_eq!(back.channels().len(), 2);
        // What is on the left only is as much mid as side, which share no phase: both sides sound.
        let [left, right] = [0, 1].map(|i| &back.channels()[i]);
        let part = |gain: f32| -> f32 {
            let part: Vec<f32> = left.iter().zip(right).map(|(l, r)| l + gain * r).collect();
            norm(&part)
        };
        let difference = 20.0 * (part(1.0) / part(-1.0)).log10();
        assert!(difference.abs() < 1.0, "{difference} dB");
    }

    #[test]
    fn silence_stays_silent_and_wild_values_stay_finite() {
        let format = mono(2048);
        let mel = mel(&format);
        let silence = Clip::new(RATE, vec![vec![0.0; 2048]]);
        assert_eq!(
            mel.decode(&mel.encode(&silence).unwrap(), &Decoding::default())
                .unwrap(),
            silence
        );
        let values = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            -1e30,
            0.0,
            3.0,
        ];
        let wild = Frames {
            frames: 8,
            width: 128,
            data: (0..1024).map(|i| values[i % 7]).collect(),
        };
        assert!(mel.decode(&wild, &Decoding::default()).unwrap().is_finite());
        let format = Format {
            channels: 2,
            ..format
        };
        let wild = Frames {
            frames: 8,
            width: 3 * 128,
            data: (0..3072).map(|i| values[i % 7]).collect(),
        };
        let mel = built(&RepresentationConfig::mel(), &format);
        assert!(mel.decode(&wild, &Decoding::default()).unwrap().is_finite());
    }

    #[test]
    fn fitted_columns_have_zero_mean_and_unit_variance() {
        let format = mono(32 * 256);
        let config = RepresentationConfig::mel();
        let clips: Vec<_> = (0..3)
            .map(|i| Arc::new(Clip::new(RATE, vec![drum(format.len_frames, 900 * i)])))
            .collect();
        let statistics = config
            .fit(&format, &mut clips.iter().cloned().map(Ok))
            .unwrap();
        let mel = config.build(&format, &statistics).unwrap();
        let rows: Vec<Frames> = clips.iter().map(|clip| mel.encode(clip).unwrap()).collect();
        for k in [0, 3, 60, 127] {
            let column: Vec<f32> = rows
                .iter()
                .flat_map(|f| f.data.iter().skip(k).step_by(128))
                .copied()
                .collect();
            let mean = column.iter().sum::<f32>() / column.len() as f32;
            let square = column.iter().map(|z| z * z).sum::<f32>() / column.len() as f32;
            assert!(
                mean.abs() < 1e-3 && (square - 1.0).abs() < 1e-3,
                "{k}: {mean} {square}"
            );
        }
    }
}
