//! [`Encoder`]: the log-mel columns of a clip.

use rayon::prelude::*;
use rustfft::num_complex::Complex32;

use super::bank::Bank;
use super::stereo::{self, Stereo};
use super::{Format, MelConfig, rotate};
use crate::audio::stft::{Stft, magnitude, periodic_hann};
use crate::audio::{Clip, amplitude};
use crate::error::Result;

/// Clips of one format to log-mel columns, and the tables that the way back needs too.
pub struct Encoder {
    pub format: Format,
    /// Its rows are centred on the middle of each hop.
    pub transform: Stft,
    pub bank: Bank,
    /// Added to every band relative to the clip's loudest cell before the logarithm.
    ///
    /// A sum, unlike a maximum, can be undone, so all that lay below the floor decodes to silence instead of a hiss.
    pub floor: f32,
    pub stereo: Stereo,
}

impl Encoder {
    /// For checked settings.
    pub fn new(config: &MelConfig, format: &Format) -> Self {
        Self {
            format: *format,
            transform: Stft::new(periodic_hann(config.n_fft), config.hop, config.hop / 2),
            bank: Bank::new(format.sample_rate, config.n_fft, config.mels),
            floor: amplitude(config.floor_db),
            stereo: config.stereo,
        }
    }

    /// `T`, the rows of a clip.
    pub fn rows(&self) -> usize {
        self.format.len_frames / self.transform.hop()
    }

    /// The columns of a clip before they are whitened, `[T, C]`; see [`super::Mel`].
    pub fn columns(&self, clip: &Clip) -> Result<Vec<f32>> {
        self.format.check(clip)?;
        let mut channels = clip.channels().to_vec();
        if self.stereo == Stereo::MidSide {
            rotate(&mut channels);
        }
        let (rows, bins) = (self.rows(), self.transform.bins());
        let spectra: Vec<Vec<Complex32>> = channels
            .iter()
            .map(|channel| self.transform.analyse(channel, rows))
            .collect();
        let row = |channel: usize, t: usize| &spectra[channel][t * bins..(t + 1) * bins];
        // All silence stays at the floor.
        let gain = |loudest: f32| if loudest > 0.0 { 1.0 / loudest } else { 0.0 };
        let loudest = |values: &[f32]| values.iter().fold(0.0f32, |a, &b| a.max(b));
        if channels.len() == 2 && self.stereo == Stereo::Image {
            let rows = (0..rows).map(|t| stereo::Row::new(&self.bank, row(0, t), row(1, t)));
            let rows: Vec<stereo::Row> = rows.collect();
            let loudest = rows.iter().map(|row| loudest(&row.levels));
            let gain = gain(loudest.fold(0.0, f32::max));
            return Ok(rows
                .iter()
                .flat_map(|row| row.columns(gain, self.floor))
                .collect());
        }
        let bands = |at: usize| {
            let (t, channel) = (at / channels.len(), at % channels.len());
            let magnitudes: Vec<f32> = row(channel, t).iter().copied().map(magnitude).collect();
            self.bank.gather(&magnitudes)
        };
        let all = (0..rows * channels.len()).into_par_iter();
        let mut mel: Vec<f32> = all.flat_map_iter(bands).collect();
        let gain = gain(loudest(&mel));
        mel.par_iter_mut()
            .for_each(|x| *x = (*x * gain + self.floor).log10());
        Ok(mel)
    }
}
