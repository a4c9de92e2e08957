//! [`Wave`]: the waveform itself, cut into patches.

use std::f32::consts::SQRT_2;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{Framing, within};
use super::statistics::{QUIETEST, mean_squares, scales};
use super::{Decoding, Format, Frames, Representation, Statistics};
use crate::audio::Clip;
use crate::error::Result;

/// Settings of [`Wave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveConfig {
    /// Frames of audio a patch, and a channel.
    pub patch: usize,
}

impl Default for WaveConfig {
    /// Patches of 64.
    fn default() -> Self {
        Self { patch: 64 }
    }
}

impl fmt::Display for WaveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wave:{}", self.patch)
    }
}

impl Framing for WaveConfig {
    fn parse(settings: &[&str]) -> Option<Self> {
        match settings {
            [] => Some(Self::default()),
            [patch] => Some(Self {
                patch: patch.parse().ok()?,
            }),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        "wave"
    }

    fn check(&self) -> Result<()> {
        within("wave patch", self.patch, 1, 4096)
    }

    fn hop(&self) -> usize {
        self.patch
    }

    fn width(&self, channels: usize) -> usize {
        self.patch.saturating_mul(channels)
    }

    fn gain_of_mid(&self) -> f32 {
        SQRT_2
    }

    fn fit(
        &self,
        format: &Format,
        clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    ) -> Result<Statistics> {
        let patch = self.patch;
        let squares = mean_squares(
            format,
            (patch, patch * format.channels),
            clips,
            |own, clip| cut(patch, own, clip),
            |x| x,
        )?;
        let channels: Vec<f64> = squares
            .chunks(patch)
            .map(|channel| channel.iter().sum::<f64>() / patch as f64)
            .collect();
        let columns = scales(&channels, QUIETEST)
            .into_iter()
            .flat_map(|s| std::iter::repeat_n(s, patch));
        Ok(Statistics::scaling(columns.collect()))
    }

    fn build(&self, format: &Format, statistics: &Statistics) -> Box<dyn Representation> {
        Box::new(Wave {
            format: *format,
            patch: self.patch,
            scale: statistics.scale.clone(),
        })
    }
}

/// Raw waveform in patches: the baseline that users of Dance Diffusion know.
///
/// A row is `P` successive samples of every channel, laid out `[T, channel·P + i]` with one channel,
/// or mid and side. One scale for the whole of the mid, one for the side: their RMS over the patches
/// that are within 60 dB of the loudest of their clip. Nothing is lost, and silence is exactly zero.
#[derive(Debug)]
pub struct Wave {
    format: Format,
    patch: usize,
    /// Divided by, one a column.
    scale: Vec<f32>,
}

impl Representation for Wave {
    fn format(&self) -> Format {
        self.format
    }

    fn shape(&self) -> (usize, usize) {
        (self.format.len_frames / self.patch, self.scale.len())
    }

    fn encode(&self, clip: &Clip) -> Result<Frames> {
        let mut data = cut(self.patch, &self.format, clip)?;
        let (frames, width) = self.shape();
        for row in data.chunks_exact_mut(width) {
            row.iter_mut().zip(&self.scale).for_each(|(x, s)| *x /= s);
        }
        Ok(Frames {
            frames,
            width,
            data,
        })
    }

    fn decode(&self, frames: &Frames, _with: &Decoding) -> Result<Clip> {
        frames.check(self.shape())?;
        let mut channels = vec![Vec::with_capacity(self.format.len_frames); self.format.channels];
        for row in frames.data.chunks_exact(frames.width) {
            let patches = row
                .chunks_exact(self.patch)
                .zip(self.scale.chunks_exact(self.patch));
            for (channel, (row, scale)) in channels.iter_mut().zip(patches) {
                channel.extend(row.iter().zip(scale).map(|(z, s)| z * s));
            }
        }
        Ok(self.format.join(channels))
    }
}

/// The patches of a clip, `[T, channel·P + i]`.
fn cut(patch: usize, format: &Format, clip: &Clip) -> Result<Vec<f32>> {
    let channels = format.split(clip)?;
    let mut rows = Vec::with_capacity(format.len_frames * format.channels);
    for start in (0..format.len_frames).step_by(patch) {
        for channel in &channels {
            rows.extend_from_slice(&channel[start..][..patch]);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::RepresentationConfig;
    use super::*;
    use crate::noise::Noise;

    fn fitted(format: &Format, patch: usize, clip: &Arc<Clip>) -> Box<dyn Representation> {
        let config = RepresentationConfig::Wave(WaveConfig { patch });
        let statistics = config
            .fit(format, &mut std::iter::once(Ok(clip.clone())))
            .unwrap();
        config.build(format, &statistics).unwrap()
    }

    #[test]
    fn rows_are_patches_of_mid_then_side() {
        let format = Format {
            sample_rate: 8000,
            channels: 2,
            len_frames: 4,
        };
        let clip = Clip::new(
            8000,
            vec![vec![1.0, 2.0, 3.0, 4.0], vec![1.0, 0.0, 3.0, 0.0]],
        );
        let wave = RepresentationConfig::Wave(WaveConfig { patch: 2 })
            .build(&format, &Statistics::scaling(vec![1.0, 1.0, 0.5, 0.5]))
            .unwrap();
        let frames = wave.encode(&clip).unwrap();
        let root = std::f32::consts::SQRT_2;
        let expected = [
            root,
            root,
            0.0,
            2.0 * root,
            3.0 * root,
            2.0 * root,
            0.0,
            4.0 * root,
        ];
        assert_eq!((frames.frames, frames.width), (2, 4));
        assert!(
            frames
                .data
                .iter()
                .zip(expected)
                .all(|(z, e)| (z - e).abs() < 1e-5),
            "{frames:?}"
        );
    }

    #[test]
    fn decoding_restores_the_clip() {
        for channels in [1, 2] {
            let format = Format {
                sample_rate: 44_100,
                channels,
                len_frames: 64 * 9,
            };
            let mut noise = Noise::new(4);
            let clip = Arc::new(Clip::new(
                44_100,
                (0..channels).map(|_| noise.normals(64 * 9)).collect(),
            ));
            let wave = fitted(&format, 64, &clip);
            let decoded = wave
                .decode(&wave.encode(&clip).unwrap(), &Decoding::default())
                .unwrap();
            for (a, b) in clip
                .channels()
                .iter()
                .flatten()
                .zip(decoded.channels().iter().flatten())
            {
                assert!((a - b).abs() < 2e-6, "{a} {b}");
            }
        }
    }

    #[test]
    fn mid_and_side_each_get_unit_variance_over_the_sounding_patches() {
        let format = Format {
            sample_rate: 44_100,
            channels: 2,
            len_frames: 64 * 20,
        };
        let mut noise = Noise::new(6);
        let mut sounding = |gain: f32| -> Vec<f32> {
            let noise = noise.normals(64 * 20);
            noise
                .into_iter()
                .enumerate()
                .map(|(i, x)| if i < 640 { gain * x } else { 0.0 })
                .collect()
        };
        let (mid, side) = (sounding(0.3), sounding(0.01));
        let left = mid.iter().zip(&side).map(|(m, s)| m + s).collect();
        let right = mid.iter().zip(&side).map(|(m, s)| m - s).collect();
        let clip = Arc::new(Clip::new(44_100, vec![left, right]));
        let frames = fitted(&format, 64, &clip).encode(&clip).unwrap();
        for columns in [0..64, 64..128] {
            let squares: f32 = frames
                .data
                .chunks(128)
                .flat_map(|row| &row[columns.clone()])
                .map(|z| z * z)
                .sum();
            assert!((squares / 640.0 - 1.0).abs() < 1e-4, "{squares}");
        }
    }
}
