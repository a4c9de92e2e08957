//! [`Mel`]: what the ear hears of a sound's spectrum over time, and a guess at the sound behind it.

use std::collections::BinaryHeap;
use std::f64::consts::{PI, TAU};
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;

use super::{Decoding, Format, Frames, Representation, Statistics, for_each_clip};
use crate::audio::Clip;
use crate::error::Result;
use crate::noise::Noise;

/// Taken from every decoded band besides the floor, as a share of it: a network's silence is off by a few hundredths of
/// the floor, which would be a hiss at -75 dB.
const GATE: f32 = 0.1;

/// Standard deviations are not taken as smaller than this, in units of log10 (0.4 dB): a band that is
/// empty in the whole training set would otherwise divide by zero.
const LEAST_SPREAD: f64 = 0.02;

/// Iterations of [`Bank::spread`].
const SPREADINGS: usize = 16;

/// Rounds of Griffin-Lim after the phases were found: more bring the magnitudes nearer and roughen tones.
const REFINEMENTS: usize = 2;

/// Cells this far below the loudest have no phase worth finding: -80 dB.
const INAUDIBLE: f32 = 1e-4;

/// Width of the Gaussian nearest to a Hann window, as `gamma / n_fft²` [Průša, Balazs & Søndergaard 2017, Table I].
const HANN_AS_GAUSSIAN: f64 = 0.25645;

/// First number of the places ([`Noise::at`]) that decoding draws from.
const PLACE: u64 = 0x6d65_6c00;

/// Peak of what is decoded.
const PEAK: f32 = 0.95;

/// Log-mel spectrogram, inverted by non-negative factorization and phase gradients.
///
/// One row for every `hop` frames of audio, from a periodic Hann window of `n_fft` frames centred on
/// the middle of the row's own hop, with silence assumed around the clip; so `T = len_frames / hop`
/// and the rows cover the clip evenly. A row is laid out `channel·mels + k`, with one channel, or mid and
/// side. Bands are triangles on Slaney's mel scale [Auditory Toolbox, 1998], with a peak of 1. With `mel`
/// a band's weighted sum of magnitudes, over the loudest cell of the clip,
///
/// ```text
/// z = (log10(mel + floor) - mu_k) / sd_k
/// ```
///
/// where mean and standard deviation are each column's own over all rows of the training set.
///
/// Decoding finds a non-negative spectrum with these bands [Lee and Seung 2001], then the phases that belong to it
/// by integrating their gradient, which the magnitudes tell [Průša, Balazs & Søndergaard 2017], and silences what
/// comes before the onset, where the window would leave an echo. It depends on nothing but the frames.
///
/// What is lost: phase, detail finer than a band, all that is 60 dB below the clip's loudest cell, the
/// level (decoded clips peak at 0.95, or are silent), and of a stereo sound which side it is on: how
/// much side there is to the mid survives, the sign between them does not.
pub struct Mel {
    format: Format,
    transform: Stft,
    bank: Bank,
    /// Added to every band relative to the clip's loudest cell before the logarithm.
    ///
    /// A sum, unlike a maximum, can be undone, so what lay below the floor decodes to silence instead of a hiss.
    floor: f32,
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
        format: &Format,
        statistics: &Statistics,
    ) -> Self {
        Self {
            format: *format,
            transform: Stft::new(n_fft, hop),
            bank: Bank::new(format.sample_rate, n_fft, mels),
            floor: floor(floor_db),
            mean: statistics.mean.clone(),
            scale: statistics.scale.clone(),
        }
    }

    /// Mel amplitudes relative to the loudest cell, `[T, channel·mels + k]`, from whitened frames.
    ///
    /// No cell is louder than the loudest, so an overshooting network cannot blow up here, and what is
    /// not a number is silence.
    fn unwhiten(&self, frames: &Frames) -> Vec<f32> {
        let mut mel = frames.data.clone();
        for row in mel.chunks_exact_mut(frames.width) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                let loudness = 10f32.powf(*x * scale + mean) - (1.0 + GATE) * self.floor;
                // Nor is what is not a number.
                *x = if loudness > 0.0 {
                    loudness.min(1.0)
                } else {
                    0.0
                };
            }
        }
        mel
    }
}

/// See [`super::RepresentationConfig::fit`].
pub(super) fn fit(
    n_fft: usize,
    hop: usize,
    mels: usize,
    floor_db: f32,
    format: &Format,
    clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
) -> Result<Statistics> {
    let transform = Stft::new(n_fft, hop);
    let bank = Bank::new(format.sample_rate, n_fft, mels);
    let width = mels * format.channels;
    let (mut sums, mut squares, mut rows) = (vec![0.0; width], vec![0.0; width], 0u64);
    for_each_clip(format, clips, |clip| {
        for row in log_mel(&transform, &bank, floor(floor_db), format, clip)?.chunks_exact(width) {
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
        let mut data = log_mel(&self.transform, &self.bank, self.floor, &self.format, clip)?;
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
        let mel = self.unwhiten(frames);
        let envelope: Vec<f32> = mel
            .chunks_exact(frames.width)
            .map(|row| row.iter().sum())
            .collect();
        let onset = self.transform.onset(&envelope);
        let channels = (0..self.format.channels).map(|channel| {
            let columns = channel * self.bank.len()..(channel + 1) * self.bank.len();
            let rows = mel
                .chunks_exact(frames.width)
                .map(|row| &row[columns.clone()]);
            let rows: Vec<&[f32]> = rows.collect();
            let magnitudes: Vec<f32> = rows
                .par_iter()
                .flat_map_iter(|row| self.bank.spread(row))
                .collect();
            let mut phases = Noise::at(with.seed, &[PLACE, channel as u64]);
            self.transform
                .guess(&magnitudes, self.format.len_frames, onset, &mut phases)
        });
        let mut clip = self.format.join(channels.collect());
        let peak = clip.peak();
        if peak > 0.0 {
            clip.channels_mut()
                .flatten()
                .for_each(|x| *x *= PEAK / peak);
        }
        Ok(clip)
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

/// The amplitude of a level in dB.
fn floor(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// `log10(mel + floor)` relative to the clip's loudest cell, `[T, channel·mels + k]`.
fn log_mel(
    transform: &Stft,
    bank: &Bank,
    floor: f32,
    format: &Format,
    clip: &Clip,
) -> Result<Vec<f32>> {
    let channels = format.split(clip)?;
    let spectra: Vec<Vec<Complex32>> = channels.iter().map(|c| transform.analyse(c)).collect();
    let mut mel =
        Vec::with_capacity(format.len_frames / transform.hop * bank.len() * channels.len());
    for t in 0..format.len_frames / transform.hop {
        for spectrum in &spectra {
            let row = &spectrum[t * transform.bins()..][..transform.bins()];
            let magnitudes: Vec<f32> = row.iter().map(|x| x.norm()).collect();
            mel.extend(bank.gather(&magnitudes));
        }
    }
    let loudest = mel.iter().fold(0.0f32, |a, &b| a.max(b));
    // All silence stays at the floor.
    let gain = if loudest > 0.0 { 1.0 / loudest } else { 0.0 };
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
        };
        bank.coverage = bank.scatter(&vec![1.0; mels]);
        bank
    }

    /// The number of bands.
    fn len(&self) -> usize {
        self.bands.len()
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
    fn spread(&self, mel: &[f32]) -> Vec<f32> {
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

/// Short-time Fourier transform with a periodic Hann window, centred on the middle of each hop.
struct Stft {
    n_fft: usize,
    /// At most half of `n_fft`, so that every frame of audio is under some window.
    hop: usize,
    window: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Stft {
    fn new(n_fft: usize, hop: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let hann = |n: usize| (0.5 - 0.5 * (TAU * n as f64 / n_fft as f64).cos()) as f32;
        Self {
            n_fft,
            hop,
            window: (0..n_fft).map(hann).collect(),
            forward: planner.plan_fft_forward(n_fft),
            inverse: planner.plan_fft_inverse(n_fft),
        }
    }

    /// The number of bins of a row.
    fn bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    /// The part of the signal that row `t` sees: where it starts in the window, and its range.
    fn view(&self, t: usize, len: usize) -> (usize, std::ops::Range<usize>) {
        let start = (t * self.hop + self.hop / 2) as isize - (self.n_fft / 2) as isize;
        let skipped = (-start).max(0) as usize;
        let from = start.max(0) as usize;
        (skipped, from..(from + self.n_fft - skipped).min(len))
    }

    /// One row of complex bins for every hop, `[T, F]`.
    fn analyse(&self, signal: &[f32]) -> Vec<Complex32> {
        let rows = signal.len() / self.hop;
        let mut spectra = vec![Complex32::default(); rows * self.bins()];
        let buffers = || {
            (
                self.forward.make_input_vec(),
                self.forward.make_scratch_vec(),
            )
        };
        let rows = spectra.par_chunks_exact_mut(self.bins()).enumerate();
        rows.for_each_init(buffers, |(block, scratch), (t, row)| {
            let (skipped, range) = self.view(t, signal.len());
            block.fill(0.0);
            let seen = block[skipped..].iter_mut().zip(&self.window[skipped..]);
            for ((b, w), x) in seen.zip(&signal[range]) {
                *b = w * x;
            }
            self.forward
                .process_with_scratch(block, row, scratch)
                .expect("the buffers have the plan's lengths");
        });
        spectra
    }

    /// The signal of `len` frames whose rows are nearest to these, in least squares [Griffin and Lim
    /// 1984, Eq. 6].
    fn synthesise(&self, spectra: &[Complex32], len: usize) -> Vec<f32> {
        let mut blocks = vec![0.0; spectra.len() / self.bins() * self.n_fft];
        let buffers = || {
            (
                self.inverse.make_input_vec(),
                self.inverse.make_scratch_vec(),
            )
        };
        blocks
            .par_chunks_exact_mut(self.n_fft)
            .zip(spectra.par_chunks_exact(self.bins()))
            .for_each_init(buffers, |(row, scratch), (block, spectrum)| {
                row.copy_from_slice(spectrum);
                // The spectrum of a real block is real at its two ends.
                row[0].im = 0.0;
                row[self.n_fft / 2].im = 0.0;
                self.inverse
                    .process_with_scratch(row, block, scratch)
                    .expect("the buffers have the plan's lengths, and the ends are real");
            });
        let (mut signal, mut weight) = (vec![0.0; len], vec![0.0; len]);
        for (t, block) in blocks.chunks_exact(self.n_fft).enumerate() {
            let (skipped, range) = self.view(t, len);
            let seen = block[skipped..].iter().zip(&self.window[skipped..]);
            let under = signal[range.clone()].iter_mut().zip(&mut weight[range]);
            for ((x, total), (b, w)) in under.zip(seen) {
                *x += w * b;
                *total += w * w;
            }
        }
        let n_fft = self.n_fft as f32;
        for (x, total) in signal.iter_mut().zip(weight) {
            *x /= n_fft * total.max(1e-6);
        }
        signal
    }

    /// Where the sound begins, in frames of audio, from a row-by-row envelope of its magnitudes.
    ///
    /// A window hears an onset before its centre gets there, so the envelope climbs ahead of the
    /// sound, and only the sharpest climb that a window can show is a reason to cut: we look from where
    /// the sound comes within 40 dB of its loudest, no further than the reach of a window, for where it
    /// passes half of the loudest found. For a step that is at the onset, for a click a quarter
    /// window early. A slow fade-in is still at about -46 dB there, and keeps its beginning.
    fn onset(&self, envelope: &[f32]) -> usize {
        let loudest = |rows: &[f32]| rows.iter().fold(0.0f32, |a, &b| a.max(b));
        let audible = 0.01 * loudest(envelope);
        let Some(first) = envelope.iter().position(|&x| x > audible) else {
            return 0;
        };
        let reach = &envelope[first..];
        let reach = &reach[..reach.len().min(1 + self.n_fft.div_ceil(self.hop))];
        let half = 0.5 * loudest(reach);
        let row = first + reach.iter().position(|&x| x >= half).unwrap_or(0);
        let Some(before) = row.checked_sub(1) else {
            return 0;
        };
        let part = (half - envelope[before]) / (envelope[row] - envelope[before]);
        before * self.hop + self.hop / 2 + (part.clamp(0.0, 1.0) * self.hop as f32) as usize
    }

    /// A signal of `len` frames, silent before `onset`, whose rows have about these magnitudes: with the phases of their
    /// gradient, and a little of Griffin-Lim [Griffin and Lim 1984] to agree with the silence.
    fn guess(&self, magnitudes: &[f32], len: usize, onset: usize, noise: &mut Noise) -> Vec<f32> {
        if magnitudes.iter().all(|&m| m == 0.0) {
            return vec![0.0; len];
        }
        let phases = self.phases(magnitudes, noise);
        let mut spectra: Vec<Complex32> = magnitudes
            .par_iter()
            .zip(phases)
            .map(|(&m, phase)| Complex32::from_polar(m, phase as f32))
            .collect();
        let silenced = |spectra: &[Complex32]| {
            let mut signal = self.synthesise(spectra, len);
            signal[..onset.min(len)].fill(0.0);
            signal
        };
        for _ in 0..REFINEMENTS {
            let found = self.analyse(&silenced(&spectra));
            let pairs = spectra.par_iter_mut().zip(found).zip(magnitudes);
            pairs.for_each(|((s, found), &m)| {
                let norm = found.norm();
                *s = if norm > 0.0 {
                    found * (m / norm)
                } else {
                    Complex32::new(m, 0.0)
                };
            });
        }
        silenced(&spectra)
    }

    /// Phases in radians that belong to these magnitudes, `[T, F]`: phase gradient heap integration
    /// [Průša, Balazs & Søndergaard 2017].
    ///
    /// With a Gaussian window the phase's two derivatives are those of the logarithm of the magnitude, turned: along
    /// time that of the frequency axis, and the reverse. A Hann window is near enough to one. They are integrated
    /// outwards from the loudest cell, always across the loudest border, so that errors stay in the quiet. Cells
    /// below [`INAUDIBLE`] get phases from `noise`.
    fn phases(&self, magnitudes: &[f32], noise: &mut Noise) -> Vec<f64> {
        let (bins, n) = (self.bins(), self.n_fft as f64);
        let (rows, hop) = (magnitudes.len() / bins, self.hop as f64);
        let loudest = magnitudes.iter().fold(0.0f32, |a, &b| a.max(b));
        let logs: Vec<f32> = magnitudes
            .par_iter()
            .map(|&m| m.max(1e-10 * loudest).ln())
            .collect();
        // Half the difference of the neighbours; nothing at the edges.
        let slope = |i: usize, at: usize, of: usize, stride: usize| {
            if at == 0 || at + 1 == of {
                0.0
            } else {
                0.5 * f64::from(logs[i + stride] - logs[i - stride])
            }
        };
        let stretch = HANN_AS_GAUSSIAN * n * n / (hop * n);
        // Radians from one row to the next, whole turns left out; and from one bin to the next, where half a turn
        // comes from rows being measured from the start of their window.
        let along_time = |i: usize| {
            let k = i % bins;
            let turns = ((self.hop * k) % self.n_fft) as f64 / n;
            slope(i, k, bins, 1) / stretch + TAU * turns
        };
        let along_frequency = |i: usize| -stretch * slope(i, i / bins, rows, bins) - PI;

        let least = INAUDIBLE * loudest;
        let mut phases: Vec<f64> = magnitudes
            .iter()
            .map(|_| f64::from(noise.between(-PI as f32, PI as f32)))
            .collect();
        let mut open: Vec<bool> = magnitudes.iter().map(|&m| m >= least && m > 0.0).collect();
        // The bits of positive numbers are in their order; of equals the first goes first. Sizes are bounded far below
        // 2³² cells.
        let rank = |i: usize| u64::from(magnitudes[i].to_bits()) << 32 | u64::from(!(i as u32));
        let cell = |rank: u64| !(rank as u32) as usize;
        let mut starts: Vec<u64> = (0..magnitudes.len())
            .filter(|&i| open[i])
            .map(rank)
            .collect();
        starts.par_sort_unstable();
        let mut border = BinaryHeap::new();
        for start in starts.into_iter().rev() {
            if !open[cell(start)] {
                continue;
            }
            // The loudest of what no integration has reached; its phase is as good as any.
            open[cell(start)] = false;
            border.push(start);
            while let Some(from) = border.pop().map(cell) {
                let (t, k) = (from / bins, from % bins);
                let mut step = |to: usize, derivative: &dyn Fn(usize) -> f64, way: f64| {
                    if open[to] {
                        open[to] = false;
                        let mean = 0.5 * (derivative(from) + derivative(to));
                        phases[to] = (phases[from] + way * mean) % TAU;
                        border.push(rank(to));
                    }
                };
                if t + 1 < rows {
                    step(from + bins, &along_time, 1.0);
                }
                if t > 0 {
                    step(from - bins, &along_time, -1.0);
                }
                if k + 1 < bins {
                    step(from + 1, &along_frequency, 1.0);
                }
                if k > 0 {
                    step(from - 1, &along_frequency, -1.0);
                }
            }
        }
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::super::RepresentationConfig;
    use super::*;
    use crate::audio::Measures;

    const RATE: u32 = 44_100;

    /// Statistics in the middle of what log-mel frames of sounds have.
    fn mel(format: &Format) -> Box<dyn Representation> {
        let config = RepresentationConfig::mel();
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
        let after = mel
            .encode(&mel.decode(&before, &Decoding::default()).unwrap())
            .unwrap();
        let decibels: Vec<f32> = before
            .data
            .iter()
            .zip(&after.data)
            .map(|(a, b)| 20.0 * 0.7 * (a - b))
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
        assert!(
            mel.decode(&wild, &Decoding::default()).unwrap().channels()[0]
                .iter()
                .all(|x| x.is_finite())
        );
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
