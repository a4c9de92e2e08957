//! From sound to what the network sees, and back.
//!
//! A representation turns a [`Clip`] of fixed format into `T` frames of `C` whitened values with
//! about unit variance, and frames back into sound. Its statistics are measured once on the
//! training set and travel in the checkpoint.
//!
//! A model names its representation by a [`RepresentationConfig`]. It is fitted once, then built:
//! `config.fit(&format, &mut clips)` measures the [`Statistics`], `config.build(&format, &statistics)`
//! gives the [`Representation`].

use serde::{Deserialize, Serialize};

use crate::audio::Clip;
use crate::error::{Error, Result};

mod config;
mod mdct;
mod mel;
mod mel_scale;
mod statistics;
mod wave;

pub use config::RepresentationConfig;
pub use mdct::{Mdct, MdctConfig};
pub use mel::{Mel, MelConfig, Stereo};
pub use statistics::Statistics;
pub use wave::{Wave, WaveConfig};

/// Peak of the clips that models learn, and of those that are decoded from frames without a level.
pub(crate) const PEAK: f32 = 0.95;

/// The fixed audio format of a model: every clip is brought to it before encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Hz.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: usize,
    /// Length in frames of audio, a multiple of the representation's hop.
    pub len_frames: usize,
}

/// The lengths of the clips of one model, in frames of audio: the longest, and halves of it. A sound is in the shortest
/// clip that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipLengths {
    /// From the shortest to the longest; at least one.
    lengths: Vec<usize>,
}

/// No clip is shorter than this, seconds.
const SHORTEST_CLIP: f64 = 0.25;

impl ClipLengths {
    /// One length.
    #[must_use]
    pub fn one(len_frames: usize) -> Self {
        let lengths = vec![len_frames];
        Self { lengths }
    }

    /// The longest, halved as often as a quarter of a second is left, each rounded up to whole `unit`s.
    #[must_use]
    pub fn halved(format: &Format, unit: usize) -> Self {
        let shortest = SHORTEST_CLIP * f64::from(format.sample_rate);
        let longest = format.len_frames;
        let halves = (0..).map(|n| longest.checked_shr(n).unwrap_or(0));
        let halves = halves.take_while(|&half| half == longest || half as f64 >= shortest);
        let mut lengths: Vec<usize> = halves
            .map(|half| (half.div_ceil(unit.max(1)) * unit.max(1)).min(longest))
            .collect();
        lengths.reverse();
        lengths.dedup();
        Self { lengths }
    }

    /// From the shortest to the longest.
    #[must_use]
    pub fn all(&self) -> &[usize] {
        &self.lengths
    }

    /// Place in [`ClipLengths::all`] of the clip of a sound that ends after so many frames of audio.
    #[must_use]
    pub fn place(&self, end: usize) -> usize {
        let holding = self.lengths.iter().position(|&length| length >= end);
        holding.unwrap_or(self.lengths.len() - 1)
    }

    /// Length of that clip.
    #[must_use]
    pub fn of(&self, end: usize) -> usize {
        self.lengths[self.place(end)]
    }
}

/// Where the clips that a model learns begin in their sounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// At the sound's onset, which lies [`Format::lead_in`] frames into the clip: one-shots.
    #[default]
    Onset,
    /// At a random place each time: loops and textures.
    Anywhere,
}

/// All that a decoder goes by besides the frames.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Decoding {
    /// Seed of the carrier of noise, and of phases that the frames leave open.
    pub seed: u64,
    /// Where the clips that the frames were learnt from begin; `None` where nobody knows.
    pub crop: Option<Crop>,
    /// Fundamental frequency, in Hz, of frames that are known to be those of a steady note.
    pub note: Option<f32>,
}

/// One encoded clip: `frames` rows of `width` values, row-major.
///
/// ```
/// use audiodiff::audio::Clip;
/// use audiodiff::representation::{Format, RepresentationConfig, Statistics, WaveConfig};
///
/// // Patches of four samples, as they are.
/// let config = RepresentationConfig::Wave(WaveConfig { patch: 4 });
/// let format = Format { sample_rate: 8000, channels: 1, len_frames: 8 };
/// let statistics = Statistics { mean: vec![0.0; 4], scale: vec![1.0; 4] };
/// let samples = vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
/// let frames = config.build(&format, &statistics)?.encode(&Clip::new(8000, vec![samples]))?;
/// assert_eq!((frames.frames, frames.width), (2, 4));
/// assert_eq!(frames.data[frames.width..], [0.4, 0.5, 0.6, 0.7]);
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// `T`, the number of rows.
    pub frames: usize,
    /// `C`, the number of values a row.
    pub width: usize,
    /// `T × C` values.
    pub data: Vec<f32>,
}

/// `Clip` ↔ frames `[T, C]` for one format, with frozen statistics.
///
/// ```
/// use std::f32::consts::TAU;
/// use std::sync::Arc;
///
/// use audiodiff::audio::Clip;
/// use audiodiff::representation::{Decoding, Format, RepresentationConfig};
///
/// let format = Format { sample_rate: 44_100, channels: 1, len_frames: 16 * 1024 };
/// let sine = |n| 0.5 * (TAU * 440.0 * n as f32 / 44_100.0).sin();
/// let clip = Arc::new(Clip::new(44_100, vec![(0..format.len_frames).map(sine).collect()]));
///
/// let config = RepresentationConfig::mdct();
/// let statistics = config.fit(&format, &mut std::iter::once(Ok(clip.clone())))?;
/// let mdct = config.build(&format, &statistics)?;
/// assert_eq!(mdct.shape(), (128, 128));
///
/// // There and back: this representation loses nothing but rounding.
/// let back = mdct.decode(&mdct.encode(&clip)?, &Decoding::default())?;
/// let pairs = clip.channels()[0].iter().zip(&back.channels()[0]);
/// assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-5);
/// # Ok::<(), audiodiff::Error>(())
/// ```
pub trait Representation: std::fmt::Debug + Send + Sync {
    /// The format of its clips.
    fn format(&self) -> Format;

    /// `(T, C)`, the same for every clip.
    fn shape(&self) -> (usize, usize);

    /// Encodes a clip of exactly the model's format.
    ///
    /// # Errors
    /// [`Error::Shape`] when the clip has another format.
    fn encode(&self, clip: &Clip) -> Result<Frames>;

    /// Decodes frames of exactly [`Representation::shape`]: the same frames and `with`, the same clip.
    ///
    /// # Errors
    /// [`Error::Shape`] when the frames have another shape.
    fn decode(&self, frames: &Frames, with: &Decoding) -> Result<Clip>;
}

/// Seconds before the onset of a clip that was cut at it: a fade-in that leaves the attack alone.
const LEAD_IN_SECONDS: f64 = 0.0015;

impl Format {
    /// Where the onset lies in a clip that was cut at it ([`Crop::Onset`]), in frames of audio.
    #[must_use]
    pub fn lead_in(&self) -> usize {
        let frames = (LEAD_IN_SECONDS * f64::from(self.sample_rate)).round() as usize;
        frames.min(self.len_frames / 4)
    }

    /// Fails unless the clip has exactly this format.
    fn check(&self, clip: &Clip) -> Result<()> {
        let found = Format {
            sample_rate: clip.sample_rate(),
            channels: clip.channels().len(),
            len_frames: clip.len_frames(),
        };
        if found == *self {
            return Ok(());
        }
        let words = |f: &Format| {
            format!(
                "{} Hz, {} channels, {} frames",
                f.sample_rate, f.channels, f.len_frames
            )
        };
        Err(Error::Shape {
            what: "clip",
            expected: words(self),
            found: words(&found),
        })
    }

    /// The clip's channels to work on: one as it is, two as mid and side.
    fn split(&self, clip: &Clip) -> Result<Vec<Vec<f32>>> {
        self.check(clip)?;
        let mut channels = clip.channels().to_vec();
        rotate(&mut channels);
        Ok(channels)
    }

    /// Undoes [`Format::split`].
    fn join(&self, mut channels: Vec<Vec<f32>>) -> Clip {
        rotate(&mut channels);
        Clip::new(self.sample_rate, channels)
    }
}

impl Frames {
    /// Fails unless these are `frames × width` values.
    fn check(&self, (frames, width): (usize, usize)) -> Result<()> {
        if (self.frames, self.width, self.data.len()) == (frames, width, frames * width) {
            return Ok(());
        }
        Err(Error::Shape {
            what: "frames",
            expected: format!("{frames} × {width}"),
            found: format!(
                "{} × {} with {} values",
                self.frames,
                self.width,
                self.data.len()
            ),
        })
    }
}

/// Left and right to mid and side, or back: orthonormal, so it is its own inverse and keeps energy.
fn rotate(channels: &mut [Vec<f32>]) {
    if let [left, right] = channels {
        for (l, r) in left.iter_mut().zip(right) {
            (*l, *r) = (
                (*l + *r) * std::f32::consts::FRAC_1_SQRT_2,
                (*l - *r) * std::f32::consts::FRAC_1_SQRT_2,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stereo sound of a little more than a second.
    pub(super) const FORMAT: Format = Format {
        sample_rate: 44_100,
        channels: 2,
        len_frames: 49_152,
    };

    #[test]
    fn clip_lengths_are_halves_of_the_longest_in_whole_units() {
        let halved = |seconds: f64, unit: usize| {
            let len_frames = (seconds * 44_100.0) as usize / unit * unit;
            ClipLengths::halved(
                &Format {
                    len_frames,
                    ..FORMAT
                },
                unit,
            )
        };
        // Rows of 256 by fours: 3 s are 129 units, of which no half is a whole.
        let lengths = halved(3.0, 1024);
        assert_eq!(lengths.all(), [17 * 1024, 33 * 1024, 65 * 1024, 129 * 1024]);
        assert_eq!(halved(0.4, 1024), ClipLengths::one(17 * 1024));
        assert_eq!(lengths.of(0), 17 * 1024);
        assert_eq!(lengths.of(17 * 1024), 17 * 1024);
        assert_eq!(lengths.of(17 * 1024 + 1), 33 * 1024);
        assert_eq!(lengths.of(usize::MAX), 129 * 1024);
    }

    #[test]
    fn clips_and_frames_of_another_shape_are_refused() {
        for config in [
            RepresentationConfig::mdct(),
            RepresentationConfig::wave(),
            RepresentationConfig::mel(),
        ] {
            let width = config.width(2);
            let statistics = Statistics {
                mean: vec![0.0; width],
                scale: vec![1.0; width],
            };
            let representation = config.build(&FORMAT, &statistics).unwrap();
            for (rate, channels, len) in [
                (48_000, 2, 49_152),
                (44_100, 1, 49_152),
                (44_100, 2, 49_153),
            ] {
                let clip = Clip::new(rate, vec![vec![0.0; len]; channels]);
                assert!(matches!(
                    representation.encode(&clip),
                    Err(Error::Shape { .. })
                ));
            }
            let (frames, width) = representation.shape();
            for (frames, width, len) in [
                (frames, width, frames * width - 1),
                (frames + 1, width, (frames + 1) * width),
            ] {
                let frames = Frames {
                    frames,
                    width,
                    data: vec![0.0; len],
                };
                assert!(matches!(
                    representation.decode(&frames, &Decoding::default()),
                    Err(Error::Shape { .. })
                ));
            }
        }
    }
}
