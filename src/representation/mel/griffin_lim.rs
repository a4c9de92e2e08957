//! A few rounds of Griffin-Lim [Griffin & Lim 1984].

use rayon::prelude::*;
use rustfft::num_complex::Complex32;

use super::peaks;
use crate::audio::stft::Stft;
use crate::representation::Format;

/// Rounds after the phases were found.
const ROUNDS: usize = 4;

/// The signal of a spectrogram `[T, F]`, silent before the frame of audio `onset`: its phases are brought to agree with
/// the silence and with each other, its peaks are levelled at every round.
pub fn refined(
    transform: &Stft,
    mut spectra: Vec<Complex32>,
    format: &Format,
    onset: usize,
) -> Vec<f32> {
    let len = format.len_frames;
    let rows = spectra.len() / transform.bins();
    let limited = |spectra: &[Complex32]| {
        let mut signal = transform.synthesise(spectra, len);
        signal[..onset.min(len)].fill(0.0);
        peaks::level(&mut signal, format.sample_rate);
        signal
    };
    for _ in 0..ROUNDS {
        let found = transform.analyse(&limited(&spectra), rows);
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
