//! [`Mdct`]: the waveform in a basis of short cosines, companded and whitened.

use std::f32::consts::SQRT_2;
use std::fmt;
use std::sync::Arc;

use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};
use serde::{Deserialize, Serialize};

use super::config::{Framing, within};
use super::mel_scale::mel_of;
use super::statistics::{QUIETEST, mean_squares, scales};
use super::{Decoding, Format, Frames, Representation, Statistics};
use crate::audio::Clip;
use crate::error::{Error, Result};

/// Settings of [`Mdct`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MdctConfig {
    /// Coefficients a frame `M`, which is also the hop in frames of audio.
    pub bins: usize,
    /// Companding exponent `alpha` in `sign(c)·|c|^alpha`; 1 is linear.
    pub companding: f32,
    /// How much more a bin counts that is wide to the ear: 0 for all alike, 1 in proportion to the mels that
    /// it covers.
    #[serde(default)]
    pub emphasis: f32,
}

impl Default for MdctConfig {
    /// 128 bins, companded by the square root.
    fn default() -> Self {
        Self {
            bins: 128,
            companding: 0.5,
            emphasis: 0.0,
        }
    }
}

impl fmt::Display for MdctConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bins,
            companding,
            emphasis,
        } = self;
        write!(f, "mdct:{bins}:{companding}:{emphasis}")
    }
}

impl Framing for MdctConfig {
    fn parse(settings: &[&str]) -> Option<Self> {
        match settings {
            [] => Some(Self::default()),
            [bins, companding, emphasis] => Some(Self {
                bins: bins.parse().ok()?,
                companding: companding.parse().ok()?,
                emphasis: emphasis.parse().ok()?,
            }),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        "mdct"
    }

    fn check(&self) -> Result<()> {
        within("mdct bins", self.bins, 8, 4096)?;
        if !self.bins.is_multiple_of(2) {
            return Err(Error::setting(format!(
                "mdct bins must be even, found {}",
                self.bins
            )));
        }
        within("mdct companding", self.companding, 0.1, 1.0)?;
        within("mdct emphasis", self.emphasis, 0.0, 2.0)
    }

    fn hop(&self) -> usize {
        self.bins
    }

    fn width(&self, channels: usize) -> usize {
        self.bins.saturating_mul(channels)
    }

    fn gain_of_mid(&self) -> f32 {
        SQRT_2.powf(self.companding)
    }

    fn fit(
        &self,
        format: &Format,
        clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    ) -> Result<Statistics> {
        let lapped = Lapped::new(self.bins);
        let squares = mean_squares(
            format,
            (self.bins, self.bins * format.channels),
            clips,
            |own, clip| analyse(&lapped, own, clip),
            |c| power(c, self.companding),
        )?;
        // The floor is an amplitude, and the scales are of companded amplitudes.
        let mut scales = scales(&squares, QUIETEST.powf(f64::from(self.companding)));
        let gains = gains(self.bins, self.emphasis, format.sample_rate);
        for (scale, gain) in scales.iter_mut().zip(gains.iter().cycle()) {
            *scale /= gain;
        }
        Ok(Statistics::scaling(scales))
    }

    fn build(&self, format: &Format, statistics: &Statistics) -> Box<dyn Representation> {
        Box::new(Mdct {
            format: *format,
            lapped: Lapped::new(self.bins),
            companding: self.companding,
            scale: statistics.scale.clone(),
        })
    }
}

/// Companded, whitened modified discrete cosine transform.
///
/// `M` coefficients a row and channel, one row for `M` frames of audio, laid out `[T, channel·M + k]`
/// with one channel, or mid and side. A coefficient `c` of bin `k` becomes
///
/// ```text
/// z = g_k·sign(c)·|c|^alpha / s_k
/// ```
///
/// where `s_k` is the bin's RMS after companding, over the rows of the training set that are within 60 dB of the
/// loudest row of their clip; so sounding rows have about unit variance, and silence is exactly zero. `g_k` is the
/// fraction of the mel scale that the bin covers to the power `emphasis / 2`, with a mean square of 1: with it low
/// noise still hides the treble when the bass has long been told from it, and the network's error in the bass, where a
/// bin holds more of what is heard, weighs more. The companding is a noise gate: with `alpha` 0.5 a residual of 5% in
/// `z` is one of 0.25% (-52 dB) in `c`.
///
/// The transform itself [Princen, Johnson & Bradley 1987, Malvar 1992] is orthonormal, and nothing is lost:
/// decoding what was encoded gives the clip up to rounding, first and last frame included.
pub struct Mdct {
    format: Format,
    lapped: Lapped,
    companding: f32,
    /// Divided by, one a column.
    scale: Vec<f32>,
}

/// `g_k` of every bin.
fn gains(bins: usize, emphasis: f32, sample_rate: u32) -> Vec<f32> {
    let hz = |bin: usize| bin as f64 * f64::from(sample_rate) / (2 * bins) as f64;
    let mels = (0..bins).map(|k| mel_of(hz(k + 1)) - mel_of(hz(k)));
    let powers: Vec<f64> = mels.map(|m| m.powf(f64::from(emphasis))).collect();
    let mean = powers.iter().sum::<f64>() / bins as f64;
    powers.iter().map(|p| (p / mean).sqrt() as f32).collect()
}

impl Representation for Mdct {
    fn format(&self) -> Format {
        self.format
    }

    fn shape(&self) -> (usize, usize) {
        (self.format.len_frames / self.lapped.bins, self.scale.len())
    }

    fn encode(&self, clip: &Clip) -> Result<Frames> {
        let mut data = analyse(&self.lapped, &self.format, clip)?;
        let (frames, width) = self.shape();
        for row in data.chunks_exact_mut(width) {
            for (z, s) in row.iter_mut().zip(&self.scale) {
                *z = power(*z, self.companding) / s;
            }
        }
        Ok(Frames {
            frames,
            width,
            data,
        })
    }

    fn decode(&self, frames: &Frames, _with: &Decoding) -> Result<Clip> {
        frames.check(self.shape())?;
        let bins = self.lapped.bins;
        let mut channels = vec![vec![0.0; self.format.len_frames]; self.format.channels];
        let expanding = 1.0 / self.companding;
        for (t, row) in frames.data.chunks_exact(frames.width).enumerate() {
            let columns = channels
                .iter_mut()
                .zip(row.chunks_exact(bins).zip(self.scale.chunks_exact(bins)));
            for (channel, (row, scale)) in columns {
                for ((c, z), s) in channel[t * bins..][..bins].iter_mut().zip(row).zip(scale) {
                    *c = power(z * s, expanding);
                }
            }
        }
        for channel in &mut channels {
            self.lapped.inverse(channel);
        }
        Ok(self.format.join(channels))
    }
}

impl fmt::Debug for Mdct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mdct")
            .field("format", &self.format)
            .field("bins", &self.lapped.bins)
            .field("companding", &self.companding)
            .finish_non_exhaustive()
    }
}

/// The linear coefficients of a clip, `[T, channel·M + k]`.
fn analyse(lapped: &Lapped, format: &Format, clip: &Clip) -> Result<Vec<f32>> {
    let mut channels = format.split(clip)?;
    for channel in &mut channels {
        lapped.forward(channel);
    }
    let mut rows = Vec::with_capacity(format.len_frames * format.channels);
    for t in 0..format.len_frames / lapped.bins {
        for channel in &channels {
            rows.extend_from_slice(&channel[t * lapped.bins..][..lapped.bins]);
        }
    }
    Ok(rows)
}

/// `sign(x)·|x|^exponent`, with the usual exponents spared the logarithm.
fn power(x: f32, exponent: f32) -> f32 {
    if exponent == 1.0 {
        x
    } else if exponent == 0.5 {
        x.abs().sqrt().copysign(x)
    } else if exponent == 2.0 {
        x * x.abs()
    } else {
        x.abs().powf(exponent).copysign(x)
    }
}

/// Orthonormal MDCT of a whole signal of `T·M` samples, in place [Princen, Johnson & Bradley 1987].
///
/// It is computed in the two steps that time-domain alias cancellation consists of: rotations that fold
/// the sine window's overlap across each inner block boundary, then a DCT-IV of each block [Malvar
/// 1992]. Both are orthonormal, so the inverse is the transpose, and energy is kept.
///
/// There is nothing to overlap with before the first boundary and after the last: there the window
/// keeps a rectangular edge and nothing is folded. That is why `T` rows hold all `T·M` samples, where
/// a padded transform needs `T + 1`.
///
/// Of the two mirror images of the MDCT we take the one whose cosines are even at the left edge of
/// their block and odd at the right: a sound that begins at the clip's first frame meets an even
/// edge, which has no jump, and at the last frame it has faded. In one formula, row `t` is
///
/// ```text
/// X[k] = √(2/M) Σ_{n=0}^{2M-1} w[n] x[tM - M/2 + n] cos(π/M (n + ½ - M/2)(k + ½)),
/// w[n] = sin(π/2M (n + ½))
/// ```
///
/// with `w` in its first row 0, then 1, up to `n = M`, and in its last row the same from there, mirrored.
struct Lapped {
    /// `M`, even.
    bins: usize,
    /// Length `M/2`.
    fft: Arc<dyn Fft<f32>>,
    /// `exp(-iπ/M (n + 1/8))`, with the root of the orthonormal factor √(2/M): used twice.
    twiddle: Vec<Complex32>,
    /// Cosine and sine of the rotation for each distance from a block boundary, `M/2` of them.
    fold: Vec<(f32, f32)>,
}

impl Lapped {
    fn new(bins: usize) -> Self {
        use std::f64::consts::PI;
        let m = bins as f64;
        let twiddle = (0..bins / 2).map(|n| {
            let (sin, cos) = (-PI / m * (n as f64 + 0.125)).sin_cos();
            let gain = (2.0 / m).powf(0.25);
            Complex32::new((gain * cos) as f32, (gain * sin) as f32)
        });
        let fold = (0..bins / 2).map(|n| {
            // The window at n frames past the boundary, and at as many before it.
            let (high, low) = (PI / (2.0 * m) * (m / 2.0 + n as f64 + 0.5)).sin_cos();
            (high as f32, low as f32)
        });
        Self {
            bins,
            fft: FftPlanner::new().plan_fft_forward(bins / 2),
            twiddle: twiddle.collect(),
            fold: fold.collect(),
        }
    }

    /// Samples to coefficients, block by block in place.
    fn forward(&self, signal: &mut [f32]) {
        self.rotate(signal, 1.0);
        self.cosines(signal);
    }

    /// Coefficients to samples.
    fn inverse(&self, signal: &mut [f32]) {
        self.cosines(signal);
        self.rotate(signal, -1.0);
    }

    /// Folds the overlap at every inner block boundary; `direction` -1 unfolds it.
    fn rotate(&self, signal: &mut [f32], direction: f32) {
        for boundary in (self.bins..signal.len()).step_by(self.bins) {
            let (before, after) = signal.split_at_mut(boundary);
            for ((left, right), &(high, low)) in before.iter_mut().rev().zip(after).zip(&self.fold)
            {
                let low = direction * low;
                (*left, *right) = (high * *left - low * *right, low * *left + high * *right);
            }
        }
    }

    /// Orthonormal DCT-IV of every block, its own inverse, by one complex transform of length `M/2`.
    ///
    /// With `z_n = x_{2n} + i·x_{M-1-2n}` and `θ = π/M (2n + ½)(2k + ½)`, summing `z_n e^{-iθ}` gives
    /// `X_{2k} - i·X_{M-1-2k}`; and `θ = 2π nk/(M/2) + π/M (n + 1/8) + π/M (k + 1/8)`.
    fn cosines(&self, signal: &mut [f32]) {
        let m = self.bins;
        let mut z = vec![Complex32::default(); m / 2];
        let mut scratch = vec![Complex32::default(); self.fft.get_inplace_scratch_len()];
        for block in signal.chunks_exact_mut(m) {
            for (n, (z, twiddle)) in z.iter_mut().zip(&self.twiddle).enumerate() {
                *z = Complex32::new(block[2 * n], block[m - 1 - 2 * n]) * twiddle;
            }
            self.fft.process_with_scratch(&mut z, &mut scratch);
            for (k, (z, twiddle)) in z.iter().zip(&self.twiddle).enumerate() {
                let x = z * twiddle;
                block[2 * k] = x.re;
                block[m - 1 - 2 * k] = -x.im;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RepresentationConfig;
    use super::*;
    use crate::noise::Noise;

    fn noise_clip(format: &Format, seed: u64) -> Clip {
        let mut noise = Noise::new(seed);
        Clip::new(
            format.sample_rate,
            (0..format.channels)
                .map(|_| noise.normals(format.len_frames))
                .collect(),
        )
    }

    fn energy<'a>(values: impl IntoIterator<Item = &'a f32>) -> f64 {
        values.into_iter().map(|&x| f64::from(x).powi(2)).sum()
    }

    #[test]
    fn rows_are_the_windowed_cosine_sums_of_the_definition() {
        use std::f64::consts::PI;
        for (bins, rows) in [(2, 3), (8, 4), (12, 1), (10, 3)] {
            let signal = Noise::new(5).normals(bins * rows);
            let mut fast = signal.clone();
            Lapped::new(bins).forward(&mut fast);
            let m = bins as f64;
            for (i, fast) in fast.iter().enumerate() {
                let (t, k) = (i / bins, (i % bins) as f64);
                let direct: f64 = (0..2 * bins)
                    .map(|n| {
                        let inside = (bins / 2..bins * 3 / 2).contains(&n);
                        let window = match n < bins {
                            true if t == 0 => f64::from(u8::from(inside)),
                            false if t == rows - 1 => f64::from(u8::from(inside)),
                            _ => (PI / (2.0 * m) * (n as f64 + 0.5)).sin(),
                        };
                        let x = (t * bins + n)
                            .checked_sub(bins / 2)
                            .and_then(|at| signal.get(at));
                        let angle = PI / m * (n as f64 + 0.5 - m / 2.0) * (k + 0.5);
                        window * x.map_or(0.0, |&x| f64::from(x)) * angle.cos()
                    })
                    .sum::<f64>()
                    * (2.0 / m).sqrt();
                assert!(
                    (f64::from(*fast) - direct).abs() < 2e-6,
                    "M {bins}, row {t}, bin {k}: {fast} {direct}"
                );
            }
        }
    }

    #[test]
    fn a_lone_impulse_has_the_coefficients_worked_out_by_hand() {
        // One block of M = 2: no folding, and a DCT-IV of (1, 0) is (cos π/8, cos 3π/8).
        let mut signal = [1.0, 0.0];
        Lapped::new(2).forward(&mut signal);
        assert!(
            (signal[0] - 0.923_879_5).abs() < 1e-6 && (signal[1] - 0.382_683_43).abs() < 1e-6,
            "{signal:?}"
        );
    }

    #[test]
    fn decoding_restores_the_whole_clip_with_its_edges() {
        for (bins, rows, channels, companding) in [
            (128, 9, 1, 0.5),
            (128, 4, 2, 0.5),
            (64, 7, 2, 1.0),
            (96, 1, 1, 1.0),
            (20, 5, 2, 0.65),
        ] {
            let format = Format {
                sample_rate: 44_100,
                channels,
                len_frames: bins * rows,
            };
            let config = RepresentationConfig::Mdct(MdctConfig {
                bins,
                companding,
                emphasis: 0.0,
            });
            let clip = noise_clip(&format, 3);
            let statistics = config
                .fit(&format, &mut std::iter::once(Ok(Arc::new(clip.clone()))))
                .unwrap();
            let mdct = config.build(&format, &statistics).unwrap();
            assert_eq!(mdct.shape(), (rows, bins * channels));
            let decoded = mdct
                .decode(&mdct.encode(&clip).unwrap(), &Decoding::default())
                .unwrap();
            let worst = clip
                .channels()
                .iter()
                .flatten()
                .zip(decoded.channels().iter().flatten());
            let worst = worst.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) / clip.peak();
            assert!(
                worst < 2e-6,
                "M {bins}, {rows} rows, {channels} channels, alpha {companding}: {worst}"
            );
        }
    }

    #[test]
    fn energy_is_kept_without_companding() {
        let format = Format {
            sample_rate: 44_100,
            channels: 2,
            len_frames: 32 * 11,
        };
        let ones = Statistics::scaling(vec![1.0; 64]);
        let mdct = RepresentationConfig::Mdct(MdctConfig {
            bins: 32,
            companding: 1.0,
            emphasis: 0.0,
        })
        .build(&format, &ones)
        .unwrap();
        let clip = noise_clip(&format, 8);
        let (before, after) = (
            energy(clip.channels().iter().flatten()),
            energy(&mdct.encode(&clip).unwrap().data),
        );
        assert!((after / before - 1.0).abs() < 1e-6, "{before} {after}");
    }

    #[test]
    fn fitted_columns_have_unit_variance_where_there_is_sound() {
        // Noise that is 40 dB louder in the bass and silent in its second half.
        let format = Format {
            sample_rate: 44_100,
            channels: 2,
            len_frames: 32 * 400,
        };
        let clips: Vec<_> = (0..4)
            .map(|seed| {
                let mut clip = noise_clip(&format, seed);
                for (gain, channel) in [0.5, 0.01].into_iter().zip(clip.channels_mut()) {
                    let mut slow = 0.0;
                    for (i, x) in channel.iter_mut().enumerate() {
                        slow += 0.01 * (*x - slow);
                        *x = if i < 32 * 200 {
                            gain * (10.0 * slow + 0.1 * *x)
                        } else {
                            0.0
                        };
                    }
                }
                Arc::new(clip)
            })
            .collect();
        let config = RepresentationConfig::Mdct(MdctConfig {
            bins: 32,
            companding: 0.5,
            emphasis: 0.0,
        });
        let statistics = config
            .fit(&format, &mut clips.iter().cloned().map(Ok))
            .unwrap();
        let mdct = config.build(&format, &statistics).unwrap();
        let mut squares = vec![0.0; 64];
        for clip in &clips {
            let frames = mdct.encode(clip).unwrap();
            for row in frames.data.chunks(64).take(200) {
                squares
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, z)| *sum += f64::from(*z).powi(2) / 800.0);
            }
            assert!(frames.data[201 * 64..].iter().all(|&z| z == 0.0));
        }
        assert!(
            squares.iter().all(|s| (s - 1.0).abs() < 0.01),
            "{squares:?}"
        );
        assert!(
            statistics.scale[0] > 3.0 * statistics.scale[31],
            "{:?}",
            statistics.scale
        );
    }

    #[test]
    fn empty_bands_are_not_blown_up() {
        // Identical channels: the side is exact silence, whose RMS is zero.
        let format = Format {
            sample_rate: 44_100,
            channels: 2,
            len_frames: 640,
        };
        let channel = Noise::new(2).normals(640);
        let clip = Arc::new(Clip::new(44_100, vec![channel.clone(), channel]));
        let config = RepresentationConfig::Mdct(MdctConfig {
            bins: 64,
            companding: 0.5,
            emphasis: 0.0,
        });
        let scale = config
            .fit(&format, &mut std::iter::once(Ok(clip)))
            .unwrap()
            .scale;
        let largest = scale.iter().fold(0.0f32, |a, &b| a.max(b));
        // -80 dB of amplitude is a hundredth after the square root.
        assert!(
            scale[64..]
                .iter()
                .all(|&s| (s / largest - 0.01).abs() < 1e-6),
            "{scale:?}"
        );
    }

    #[test]
    fn silence_is_exactly_zero_both_ways() {
        let format = Format {
            sample_rate: 44_100,
            channels: 1,
            len_frames: 512,
        };
        let statistics = Statistics::scaling(vec![0.3; 128]);
        let mdct = RepresentationConfig::mdct()
            .build(&format, &statistics)
            .unwrap();
        let silence = Clip::new(44_100, vec![vec![0.0; 512]]);
        let frames = mdct.encode(&silence).unwrap();
        assert!(frames.data.iter().all(|&z| z == 0.0));
        assert_eq!(mdct.decode(&frames, &Decoding::default()).unwrap(), silence);
    }
}
