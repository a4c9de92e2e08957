//! A few rounds of Griffin-Lim [Griffin & Lim 1984].

use rustfft::num_complex::Complex32;

use super::peaks;
use crate::audio::stft::{Stft, magnitude};
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
    let mut blocks = Vec::new();
    let mut limited = |spectra: &[Complex32]| {
        let mut signal = transform.synthesise_in(&mut blocks, spectra, len);
        signal[..onset.min(len)].fill(0.0);
        peaks::level(&mut signal, format.sample_rate);
        signal
    };
    for _ in 0..ROUNDS {
        let signal = limited(&spectra);
        transform.visit(&signal, &mut spectra, |_, row, found| {
            for (cell, found) in row.iter_mut().zip(found) {
                let norm = magnitude(*found);
                if norm > 0.0 {
                    *cell = found * (magnitude(*cell) / norm);
                }
            }
        });
    }
    limited(&spectra)
}
