//! From sound to what the network sees, and back.
//!
//! A representation turns a [`Clip`] of fixed format into `T` frames of `C` whitened values with
//! about unit variance, and frames back into sound. Its statistics are measured once on the
//! training set and travel in the checkpoint.

use serde::{Deserialize, Serialize};

use crate::audio::Clip;
use crate::error::Result;

/// The fixed audio format of a model: every clip is brought to it before encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Hz.
    pub sample_rate: u32,
    /// 1, or 2 (carried as mid and side).
    pub channels: usize,
    /// Length in frames of audio, a multiple of the representation's hop.
    pub len_frames: usize,
}

/// One encoded clip: `frames` rows of `width` values, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Frames {
    /// `T`, the number of rows.
    pub frames: usize,
    /// `C`, the number of values a row.
    pub width: usize,
    /// `T × C` values.
    pub data: Vec<f32>,
}

/// Which representation, with its own settings: a closed set that files and flags name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RepresentationConfig {
    /// Companded, whitened MDCT: the waveform in another basis.
    Mdct {
        /// Coefficients a frame `M`, which is also the hop in frames of audio.
        bins: usize,
        /// Companding exponent `alpha` in `sign(c)·|c|^alpha`; 1 is linear.
        companding: f32,
    },
    /// Raw waveform, cut into patches.
    Wave {
        /// Frames of audio a patch, and a channel.
        patch: usize,
    },
    /// Log-mel spectrogram, inverted by non-negative least squares and Griffin-Lim.
    Mel {
        /// Window and transform length in frames of audio.
        n_fft: usize,
        /// Hop in frames of audio.
        hop: usize,
        /// Number of mel bands.
        mels: usize,
    },
}

/// What was measured on the training set: per-value mean and scale, `C` of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Subtracted before scaling; zeros where a representation does not centre.
    pub mean: Vec<f32>,
    /// Divided by.
    pub scale: Vec<f32>,
}

/// `Clip` ↔ frames `[T, C]` for one format, with frozen statistics.
pub trait Representation: std::fmt::Debug + Send + Sync {
    /// `(T, C)`, the same for every clip.
    fn shape(&self) -> (usize, usize);

    /// Encodes a clip of exactly the model's format.
    fn encode(&self, clip: &Clip) -> Result<Frames>;

    /// Decodes frames of exactly [`Representation::shape`].
    fn decode(&self, frames: &Frames) -> Result<Clip>;
}
