//! [`Stft`]: the transform under log-mel spectrograms.

use std::f64::consts::TAU;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;

/// Short-time Fourier transform with a periodic Hann window, centred on the middle of each hop.
pub(super) struct Stft {
    pub n_fft: usize,
    /// At most half of `n_fft`, so that every frame of audio is under some window.
    pub hop: usize,
    pub window: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Stft {
    pub fn new(n_fft: usize, hop: usize) -> Self {
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
    pub fn bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    /// The part of the signal that row `t` sees: where it starts in the window, and its range.
    pub fn view(&self, t: usize, len: usize) -> (usize, std::ops::Range<usize>) {
        let start = (t * self.hop + self.hop / 2) as isize - (self.n_fft / 2) as isize;
        let skipped = (-start).max(0) as usize;
        let from = start.max(0) as usize;
        (skipped, from..(from + self.n_fft - skipped).min(len))
    }

    /// One row of complex bins for every hop, `[T, F]`.
    pub fn analyse(&self, signal: &[f32]) -> Vec<Complex32> {
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
    pub fn synthesise(&self, spectra: &[Complex32], len: usize) -> Vec<f32> {
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
    pub fn onset(&self, envelope: &[f32]) -> usize {
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
}
