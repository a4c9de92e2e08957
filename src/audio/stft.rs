//! [`Stft`], the short-time Fourier transform, and the Hann window.

use std::f64::consts::TAU;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Frames of audio that are put together at once.
const PART: usize = 4096;

/// The magnitude of a number as `hypot` rounds it, without a call for each.
pub(crate) fn magnitude(x: Complex32) -> f32 {
    // Squares of f32 are exact in f64.
    let [re, im] = [x.re, x.im].map(f64::from);
    (re * re + im * im).sqrt() as f32
}

/// The Hann window of `len` frames at frame `at`, `(1 - cos(2π at / len)) / 2`: periodic where `at` counts whole
/// frames, symmetric where it counts their middles.
pub(crate) fn hann(at: f64, len: usize) -> f64 {
    0.5 - 0.5 * (TAU * at / len as f64).cos()
}

/// The periodic Hann window of `len` frames, whose squares at hops of a quarter of it add up to a constant.
pub(crate) fn periodic_hann(len: usize) -> Vec<f32> {
    (0..len).map(|n| hann(n as f64, len) as f32).collect()
}

/// Short-time Fourier transform of real signals: one row of complex bins for every hop.
///
/// The signal is silent before its beginning and after its end.
pub(crate) struct Stft {
    window: Vec<f32>,
    hop: usize,
    /// Frame of audio in the middle of the first row's window.
    first: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Stft {
    /// Rows of `window`, which has an even length, centred on the frames of audio `first`, `first + hop` and so on.
    pub fn new(window: Vec<f32>, hop: usize, first: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        Self {
            forward: planner.plan_fft_forward(window.len()),
            inverse: planner.plan_fft_inverse(window.len()),
            window,
            hop,
            first,
        }
    }

    /// Length of the window and of the transform, in frames of audio.
    pub fn n_fft(&self) -> usize {
        self.window.len()
    }

    /// Frames of audio from one row to the next.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// The window, `n_fft` weights.
    pub fn window(&self) -> &[f32] {
        &self.window
    }

    /// Number of bins of a row, `n_fft / 2 + 1`.
    pub fn bins(&self) -> usize {
        self.window.len() / 2 + 1
    }

    /// Frame of audio in the middle of row `t`.
    pub fn centre(&self, t: usize) -> usize {
        self.first + t * self.hop
    }

    /// Frame of audio where the window of row `t` begins; negative before the signal does.
    pub fn start(&self, t: usize) -> isize {
        self.centre(t) as isize - (self.window.len() / 2) as isize
    }

    /// The part of a signal of `len` frames that row `t` sees: its place in the window, and its range in the signal.
    fn view(&self, t: usize, len: usize) -> (usize, Range<usize>) {
        let start = self.start(t);
        let skipped = (-start).max(0) as usize;
        let from = (start.max(0) as usize).min(len);
        (skipped, from..(from + self.window.len() - skipped).min(len))
    }

    /// `rows` rows of complex bins, `[T, F]`.
    pub fn analyse(&self, signal: &[f32], rows: usize) -> Vec<Complex32> {
        let mut spectra = vec![Complex32::default(); rows * self.bins()];
        self.visit(signal, &mut spectra, |_, row, found| {
            row.copy_from_slice(found);
        });
        spectra
    }

    /// Shows `visit` the rows of the signal one by one, with the number of each and the same row of `cells`, `[T, F]`.
    pub fn visit<T: Send>(
        &self,
        signal: &[f32],
        cells: &mut [T],
        visit: impl Fn(usize, &mut [T], &[Complex32]) + Sync,
    ) {
        let buffers = || {
            (
                self.forward.make_input_vec(),
                self.forward.make_output_vec(),
                self.forward.make_scratch_vec(),
            )
        };
        let rows = cells.par_chunks_exact_mut(self.bins()).enumerate();
        rows.for_each_init(buffers, |(block, found, scratch), (t, row)| {
            let (skipped, range) = self.view(t, signal.len());
            block.fill(0.0);
            let seen = block[skipped..].iter_mut().zip(&self.window[skipped..]);
            for ((b, w), x) in seen.zip(&signal[range]) {
                *b = w * x;
            }
            self.forward
                .process_with_scratch(block, found, scratch)
                .expect("the buffers have the plan's lengths");
            visit(t, row, found);
        });
    }

    /// The signal of `len` frames whose rows are nearest to `spectra`, `[T, F]`, in least squares
    /// [Griffin & Lim 1984, Eq. 6].
    pub fn synthesise(&self, spectra: &[Complex32], len: usize) -> Vec<f32> {
        self.synthesise_in(&mut Vec::new(), spectra, len)
    }

    /// The same, with room to work in that may serve again.
    pub fn synthesise_in(
        &self,
        blocks: &mut Vec<f32>,
        spectra: &[Complex32],
        len: usize,
    ) -> Vec<f32> {
        let n_fft = self.window.len();
        let rows = spectra.len() / self.bins();
        blocks.resize(rows * n_fft, 0.0);
        let buffers = || {
            (
                self.inverse.make_input_vec(),
                self.inverse.make_scratch_vec(),
            )
        };
        blocks
            .par_chunks_exact_mut(n_fft)
            .zip(spectra.par_chunks_exact(self.bins()))
            .for_each_init(buffers, |(row, scratch), (block, spectrum)| {
                row.copy_from_slice(spectrum);
                // The spectrum of a real block is real at its two ends.
                row[0].im = 0.0;
                row[n_fft / 2].im = 0.0;
                self.inverse
                    .process_with_scratch(row, block, scratch)
                    .expect("the buffers have the plan's lengths, and the ends are real");
            });
        let mut signal = vec![0.0; len];
        let parts = signal.par_chunks_mut(PART).enumerate();
        parts.for_each_init(
            || vec![0.0; PART],
            |weight, (part, signal)| {
                let (from, to) = (part * PART, part * PART + signal.len());
                weight.fill(0.0);
                // Rows are added in their order, whatever the parts.
                for (t, block) in blocks.chunks_exact(n_fft).enumerate() {
                    let (skipped, range) = self.view(t, len);
                    let (start, end) = (range.start.max(from), range.end.min(to));
                    if start >= end {
                        continue;
                    }
                    let seen = skipped + start - range.start..skipped + end - range.start;
                    let seen = block[seen.clone()].iter().zip(&self.window[seen]);
                    let under = start - from..end - from;
                    let under = signal[under.clone()].iter_mut().zip(&mut weight[under]);
                    for ((x, total), (b, w)) in under.zip(seen) {
                        *x += w * b;
                        *total += w * w;
                    }
                }
                for (x, total) in signal.iter_mut().zip(weight) {
                    *x /= n_fft as f32 * (*total).max(1e-6);
                }
            },
        );
        signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn cells_are_the_windowed_sums_of_the_definition() {
        let signal = Noise::new(2).normals(50);
        for (n_fft, hop, first) in [(16, 4, 2), (16, 7, 0), (8, 4, 9)] {
            let transform = Stft::new(periodic_hann(n_fft), hop, first);
            // The last rows lie past the end.
            let rows = 50 / hop + 4;
            let spectra = transform.analyse(&signal, rows);
            for (i, found) in spectra.iter().enumerate() {
                let (t, k) = (i / transform.bins(), i % transform.bins());
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..n_fft {
                    let at = (first + t * hop + n).checked_sub(n_fft / 2);
                    let x = at.and_then(|at| signal.get(at)).copied().unwrap_or(0.0);
                    let x = f64::from(x) * (TAU / 2.0 * n as f64 / n_fft as f64).sin().powi(2);
                    let angle = TAU * (k * n) as f64 / n_fft as f64;
                    re += x * angle.cos();
                    im -= x * angle.sin();
                }
                let (re, im) = (re - f64::from(found.re), im - f64::from(found.im));
                assert!(
                    re.hypot(im) < 1e-5,
                    "{n_fft} {hop} {first}, row {t}, bin {k}"
                );
            }
        }
    }

    #[test]
    fn synthesis_inverts_analysis() {
        let signal = Noise::new(1).normals(64 * 20);
        let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (n_fft, hop, first, rows) in [
            (256, 64, 32, 20),
            (128, 64, 32, 20),
            (64, 20, 10, 64),
            (256, 64, 0, 24),
        ] {
            let transform = Stft::new(periodic_hann(n_fft), hop, first);
            let back = transform.synthesise(&transform.analyse(&signal, rows), signal.len());
            let error: Vec<f32> = back.iter().zip(&signal).map(|(a, b)| a - b).collect();
            assert!(
                norm(&error) < 1e-5 * norm(&signal),
                "{n_fft} {hop} {first}: {}",
                norm(&error)
            );
        }
    }
}
