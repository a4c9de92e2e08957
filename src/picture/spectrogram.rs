//! Levels of a clip over time and the logarithm of frequency.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::waveform::finite_peak;
use crate::audio::Clip;
use crate::audio::stft::hann;

/// How far below its loudest point a spectrogram is shown.
pub(super) const RANGE_DB: f32 = 80.0;

/// Which pixel row shows which frequency: equal steps in the logarithm, the highest at the top.
pub(super) struct FrequencyAxis {
    low_hz: f64,
    high_hz: f64,
    rows: usize,
}

impl FrequencyAxis {
    /// From 20 Hz (less where the sample rate forbids it) to half the sample rate.
    pub(super) fn new(sample_rate: u32, rows: usize) -> Self {
        let high_hz = f64::from(sample_rate.max(1)) / 2.0;
        Self {
            low_hz: 20f64.min(high_hz / 20.0),
            high_hz,
            rows: rows.max(1),
        }
    }

    /// The frequency at `position` rows below the top edge.
    fn hz(&self, position: f64) -> f64 {
        self.high_hz * (self.low_hz / self.high_hz).powf(position / self.rows as f64)
    }

    /// The row that shows `hz`, clamped to the picture.
    pub(super) fn row(&self, hz: f64) -> usize {
        let position =
            (self.high_hz / hz).ln() / (self.high_hz / self.low_hz).ln() * self.rows as f64;
        (position.max(0.0) as usize).min(self.rows - 1)
    }

    /// Round frequencies at least `apart` rows from each other: 1, 2 and 5 of each decade, or, where
    /// these are too close, the decades alone.
    pub(super) fn ticks(&self, apart: f64) -> Vec<f64> {
        let rows_per_decade = self.rows as f64 / (self.high_hz / self.low_hz).log10();
        let steps: &[f64] = if rows_per_decade * 2f64.log10() >= apart {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let decades = self.low_hz.log10().floor() as i32..=self.high_hz.log10().ceil() as i32;
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|hz| (self.low_hz * 0.999..=self.high_hz).contains(hz))
            .collect()
    }
}

/// Levels in dB, `[column][row]`, from `-RANGE_DB` to 0 at the loudest point; silence is all floor.
///
/// Two windows are combined, 4096 and 1024 samples long at 44.1 kHz, by the geometric mean of their
/// powers: the picture is sharp in frequency like the one and in time like the other
/// [Cheung & Lim 1992].
pub(super) fn spectrogram(clip: &Clip, columns: usize, axis: &FrequencyAxis) -> Vec<Vec<f32>> {
    let mut levels = vec![vec![-RANGE_DB; axis.rows]; columns];
    let peak = finite_peak(clip);
    let len = clip.len_frames();
    if len == 0 || peak < 1e-20 {
        return levels;
    }
    let rate = f64::from(clip.sample_rate().max(1));
    let long = 1usize << ((rate * 0.09).log2().round() as i32).clamp(4, 14);
    let mut spectra = [
        Spectrum::new(long, 2 * long),
        Spectrum::new(long / 4, 2 * long),
    ];

    // The bins each row covers, and where its centre lies between bins.
    let to_bin = 2.0 * long as f64 / rate;
    let bands: Vec<(usize, usize, f64)> = (0..axis.rows)
        .map(|row| {
            let (high, low) = (axis.hz(row as f64), axis.hz(row as f64 + 1.0));
            let last = (high * to_bin).min(long as f64);
            (
                (low * to_bin).ceil() as usize,
                last.floor() as usize,
                axis.hz(row as f64 + 0.5) * to_bin,
            )
        })
        .collect();

    let per_column = len as f64 / columns as f64;
    let looks = (per_column / (long as f64 / 8.0)).ceil().clamp(1.0, 8.0) as usize;
    let mut loudest = f32::MIN;
    for (column, levels) in levels.iter_mut().enumerate() {
        levels.fill(f32::NEG_INFINITY);
        for look in 0..looks {
            let centre = (column as f64 + (look as f64 + 0.5) / looks as f64) * per_column;
            let [long_db, short_db] = spectra
                .each_mut()
                .map(|s| s.levels_db(clip, centre as isize, peak));
            let mean = |bin: usize| 0.5 * (long_db[bin] + short_db[bin]);
            for (level, &(first, last, centre)) in levels.iter_mut().zip(&bands) {
                let bin = (centre as usize).min(long - 1);
                let part = (centre - bin as f64).clamp(0.0, 1.0) as f32;
                let between = mean(bin) * (1.0 - part) + mean(bin + 1) * part;
                *level = (first..=last).map(mean).fold(level.max(between), f32::max);
            }
        }
        loudest = levels.iter().copied().fold(loudest, f32::max);
    }
    for level in levels.iter_mut().flatten() {
        *level = (*level - loudest).max(-RANGE_DB);
    }
    levels
}

/// A Hann-windowed, zero-padded Fourier transform and its buffers.
pub(super) struct Spectrum {
    window: Vec<f32>,
    fft: Arc<dyn RealToComplex<f32>>,
    input: Vec<f32>,
    output: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    levels_db: Vec<f32>,
}

impl Spectrum {
    /// `window` samples seen through `size` points.
    fn new(window: usize, size: usize) -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(size);
        let weight = |i: usize| hann(i as f64 + 0.5, window);
        // A sine of amplitude one comes out at 0 dB.
        Self {
            window: (0..window)
                .map(|i| (weight(i) * 4.0 / window as f64) as f32)
                .collect(),
            input: fft.make_input_vec(),
            output: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            levels_db: vec![0.0; size / 2 + 1],
            fft,
        }
    }

    /// Level of each bin in the neighbourhood of frame `centre`, in dB relative to a sine of amplitude
    /// `peak`, as the mean power of the channels. Beyond its ends a clip is silent.
    fn levels_db(&mut self, clip: &Clip, centre: isize, peak: f32) -> &[f32] {
        let start = centre - self.window.len() as isize / 2;
        self.levels_db.fill(0.0);
        for samples in clip.channels() {
            self.input.fill(0.0);
            let first = (-start).max(0) as usize;
            let end =
                (samples.len() as isize - start).clamp(0, self.window.len() as isize) as usize;
            for i in first..end {
                let x = samples[(start + i as isize) as usize];
                self.input[i] = if x.is_finite() {
                    x / peak * self.window[i]
                } else {
                    0.0
                };
            }
            self.fft
                .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
                .expect("the buffers were made by the transform itself");
            for (power, value) in self.levels_db.iter_mut().zip(&self.output) {
                *power += value.norm_sqr() / clip.channels().len() as f32;
            }
        }
        for power in &mut self.levels_db {
            // -300 dB stands for nothing: means of levels stay finite.
            *power = 10.0 * power.max(1e-30).log10();
        }
        &self.levels_db
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::sine;

    #[test]
    fn a_sine_is_brightest_where_the_axis_names_its_frequency() {
        for (rate, hz) in [
            (44_100, 1000.0),
            (48_000, 110.0),
            (16_000, 5000.0),
            (8000, 440.0),
        ] {
            let axis = FrequencyAxis::new(rate, 240);
            let levels = spectrogram(&sine(rate, hz, rate as usize / 2), 64, &axis);
            let column = &levels[32];
            let brightest = (0..240)
                .max_by(|&a, &b| column[a].total_cmp(&column[b]))
                .unwrap();
            assert!(
                brightest.abs_diff(axis.row(hz)) <= 1,
                "{hz} Hz: row {brightest}, axis {}",
                axis.row(hz)
            );
            // Two octaves away next to nothing is left.
            assert!(
                column[axis.row(hz / 4.0)] < -45.0,
                "{}",
                column[axis.row(hz / 4.0)]
            );
        }
    }

    #[test]
    fn frequency_axis_is_logarithmic_from_20_hz_to_half_the_rate() {
        let axis = FrequencyAxis::new(40_000, 300);
        assert_eq!(
            (
                axis.row(20_000.0),
                axis.row(2000.0),
                axis.row(200.0),
                axis.row(20.001)
            ),
            (0, 100, 200, 299)
        );
        assert_eq!(axis.row(1.0), 299);
        assert_eq!(
            axis.ticks(10.0),
            [20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4]
        );
        assert_eq!(axis.ticks(40.0), [100.0, 1e3, 1e4]);
    }

    #[test]
    fn levels_are_relative_to_the_loudest_point_whatever_the_gain() {
        let axis = FrequencyAxis::new(44_100, 100);
        let loud = sine(44_100, 1000.0, 8000);
        let mut quiet = loud.clone();
        quiet
            .channels_mut()
            .flatten()
            .for_each(|x| *x *= 1.0 / 1024.0);
        let (a, b) = (
            spectrogram(&loud, 40, &axis),
            spectrogram(&quiet, 40, &axis),
        );
        assert_eq!(a, b);
        assert_eq!(a.iter().flatten().copied().fold(f32::MIN, f32::max), 0.0);
    }

    #[test]
    fn a_late_click_stands_in_its_column_and_nowhere_far_from_it() {
        let mut samples = vec![0.0; 44_100];
        samples[33_075] = 1.0; // at three quarters
        let levels = spectrogram(
            &Clip::new(44_100, vec![samples]),
            200,
            &FrequencyAxis::new(44_100, 50),
        );
        let loudest = |column: usize| levels[column].iter().copied().fold(f32::MIN, f32::max);
        let brightest = (0..200)
            .max_by(|&a, &b| loudest(a).total_cmp(&loudest(b)))
            .unwrap();
        assert!(brightest.abs_diff(150) <= 1, "{brightest}");
        assert_eq!(loudest(135), -RANGE_DB);
        assert_eq!(loudest(165), -RANGE_DB);
    }
}
