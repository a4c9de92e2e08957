//! From sound to what the network sees, and back.
//!
//! A representation turns a [`Clip`] of fixed format into `T` frames of `C` whitened values with
//! about unit variance, and frames back into sound. Its statistics are measured once on the
//! training set and travel in the checkpoint.
//!
//! Which one a model uses is a [`RepresentationConfig`]. It is fitted once, then built:
//! `config.fit(&format, &mut clips)` measures the [`Statistics`], `config.build(&format, &statistics)`
//! gives the [`Representation`].

use std::f32::consts::SQRT_2;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audio::Clip;
use crate::error::{Error, Result};

mod mdct;
mod mel;
mod wave;

pub use mdct::Mdct;
pub use mel::Mel;
pub use wave::Wave;

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

/// What a decoder goes by besides the frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decoding {
    /// Seed of what the frames leave open: the carrier of noise, and phases that nothing decides.
    pub seed: u64,
    /// Where the clips that the frames were learnt from begin; `None` where nobody knows.
    pub crop: Option<Crop>,
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
        /// How much more a bin counts that is wide to the ear: 0 for all alike, 1 in proportion to the mels that
        /// it covers.
        #[serde(default)]
        emphasis: f32,
    },
    /// Raw waveform, cut into patches.
    Wave {
        /// Frames of audio a patch, and a channel.
        patch: usize,
    },
    /// Log-mel spectrogram, inverted by non-negative factorization and phase gradients.
    Mel {
        /// Window and transform length in frames of audio.
        n_fft: usize,
        /// Hop in frames of audio.
        hop: usize,
        /// Number of mel bands.
        mels: usize,
        /// Level against a clip's loudest cell below which all is silence, dB. Absent in older files, which mean -60.
        #[serde(default = "old_floor_db")]
        floor_db: f32,
        /// How two channels are laid out; means nothing for one. Absent in older files, which mean mid and side.
        #[serde(default = "Stereo::old")]
        stereo: Stereo,
    },
}

fn old_floor_db() -> f32 {
    -60.0
}

/// How log-mel frames hold two channels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stereo {
    /// Level, pan and coherence of each band: three columns a band, and the image comes back.
    #[default]
    Image,
    /// Magnitudes of mid and side: two columns a band, which do not tell left from right.
    MidSide,
}

impl Stereo {
    fn old() -> Self {
        Self::MidSide
    }

    /// Columns a band, for so many channels.
    pub fn parts(self, channels: usize) -> usize {
        match (self, channels) {
            (Self::Image, 2) => 3,
            _ => channels,
        }
    }
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

/// Floor of log-mel spectrograms that nobody asks to be another, dB.
const FLOOR_DB: f32 = -80.0;

/// Most values that one encoded clip may hold: a bound on what a hostile file can make us allocate.
const MAX_VALUES: usize = 1 << 26;

impl Default for RepresentationConfig {
    /// [`RepresentationConfig::mel`].
    fn default() -> Self {
        Self::mel()
    }
}

impl fmt::Display for RepresentationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mdct {
                bins,
                companding,
                emphasis,
            } => write!(f, "mdct:{bins}:{companding}:{emphasis}"),
            Self::Wave { patch } => write!(f, "wave:{patch}"),
            Self::Mel {
                n_fft,
                hop,
                mels,
                floor_db,
                stereo: _,
            } => write!(f, "mel:{n_fft}:{hop}:{mels}:{floor_db}"),
        }
    }
}

/// Flags write `mdct`, `wave` or `mel`, or with settings `mdct:BINS:COMPANDING:EMPHASIS`, `wave:PATCH` and
/// `mel:WINDOW:HOP:BANDS` or `mel:WINDOW:HOP:BANDS:FLOOR`.
impl FromStr for RepresentationConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::setting(format!(
                "unknown representation {text:?}: expected mdct, wave or mel, or with settings \
                 mdct:BINS:COMPANDING:EMPHASIS, \
                 wave:PATCH or mel:WINDOW:HOP:BANDS:FLOOR"
            ))
        };
        let size = |part: &str| part.parse::<usize>().map_err(|_| unknown());
        let parts: Vec<&str> = text.split(':').collect();
        Ok(match parts[..] {
            ["mdct"] => Self::mdct(),
            ["wave"] => Self::wave(),
            ["mel"] => Self::mel(),
            ["mdct", bins, companding, emphasis] => Self::Mdct {
                bins: size(bins)?,
                companding: companding.parse().map_err(|_| unknown())?,
                emphasis: emphasis.parse().map_err(|_| unknown())?,
            },
            ["wave", patch] => Self::Wave {
                patch: size(patch)?,
            },
            ["mel", n_fft, hop, mels] => Self::Mel {
                n_fft: size(n_fft)?,
                hop: size(hop)?,
                mels: size(mels)?,
                floor_db: FLOOR_DB,
                stereo: Stereo::Image,
            },
            ["mel", n_fft, hop, mels, floor] => Self::Mel {
                n_fft: size(n_fft)?,
                hop: size(hop)?,
                mels: size(mels)?,
                floor_db: floor.parse().map_err(|_| unknown())?,
                stereo: Stereo::Image,
            },
            _ => return Err(unknown()),
        })
    }
}

impl RepresentationConfig {
    /// MDCT of 128 bins, companded by the square root.
    pub fn mdct() -> Self {
        Self::Mdct {
            bins: 128,
            companding: 0.5,
            emphasis: 0.0,
        }
    }

    /// Waveform in patches of 64.
    pub fn wave() -> Self {
        Self::Wave { patch: 64 }
    }

    /// 128 mel bands of a transform of 2048 every 256 frames, down to -80 dB.
    pub fn mel() -> Self {
        Self::Mel {
            n_fft: 2048,
            hop: 256,
            mels: 128,
            floor_db: FLOOR_DB,
            stereo: Stereo::Image,
        }
    }

    /// The word that flags and files use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mdct { .. } => "mdct",
            Self::Wave { .. } => "wave",
            Self::Mel { .. } => "mel",
        }
    }

    /// Noise level in which every sound drowns, for frames of unit variance.
    ///
    /// The values of a log-mel spectrogram rise and fall together: the sum over a whole sound of, say, how long it
    /// is, stands out of noise of twenty times the deviation of a single value. Coefficients with random signs do not
    /// add up so.
    pub fn sigma_max(&self) -> f64 {
        match self {
            Self::Mdct { .. } | Self::Wave { .. } => 20.0,
            Self::Mel { .. } => 150.0,
        }
    }

    /// Noise levels at which guidance acts, `(low, high)`.
    ///
    /// For log-mel frames these include the highest: there it is decided how long and how bright a sound is, which
    /// is most of what tells their classes apart.
    pub fn guidance_interval(&self) -> (f64, f64) {
        match self {
            Self::Mdct { .. } | Self::Wave { .. } => (0.2, 5.0),
            Self::Mel { .. } => (0.2, self.sigma_max()),
        }
    }

    /// `P_mean` and `P_std`, mean and standard deviation of `ln sigma`, to learn at.
    ///
    /// The mean is above EDM's -1.2: levels around and above 1 decide which frames sound at all, and a training that
    /// spends itself on low noise makes polished sounds without an outline. For log-mel frames they go on to
    /// [`RepresentationConfig::sigma_max`].
    pub fn p_mean_and_std(&self) -> (f64, f64) {
        match self {
            Self::Mdct { .. } | Self::Wave { .. } => (0.3, 1.4),
            Self::Mel { .. } => (1.3, 1.8),
        }
    }

    /// How many times as large the values of the mid of two equal channels are as those of one of them.
    pub(crate) fn gain_of_mid(&self) -> f32 {
        match *self {
            Self::Mdct { companding, .. } => SQRT_2.powf(companding),
            Self::Wave { .. } => SQRT_2,
            // Levels are told against the loudest.
            Self::Mel { .. } => 1.0,
        }
    }

    /// Frames of audio a row stands for.
    pub fn hop(&self) -> usize {
        match *self {
            Self::Mdct { bins, .. } => bins,
            Self::Wave { patch } => patch,
            Self::Mel { hop, .. } => hop,
        }
    }

    /// `C`, the values of a row, for so many channels.
    pub fn width(&self, channels: usize) -> usize {
        let (values, parts) = match *self {
            Self::Mdct { bins, .. } => (bins, channels),
            Self::Wave { patch } => (patch, channels),
            Self::Mel { mels, stereo, .. } => (mels, stereo.parts(channels)),
        };
        values.saturating_mul(parts)
    }

    /// `T`, the rows of a clip of `len_frames` frames of audio; a remainder is not counted.
    pub fn frames(&self, len_frames: usize) -> usize {
        len_frames.checked_div(self.hop()).unwrap_or(0)
    }

    /// Checks every setting, alone and against `format`.
    ///
    /// Settings may come from a file that somebody made up, so sizes are bounded too: what passes
    /// encodes to at most 2²⁶ values.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the setting, what it may be and what it is.
    pub fn validate(&self, format: &Format) -> Result<()> {
        within(
            "the sample rate",
            format.sample_rate as usize,
            4_000,
            384_000,
        )?;
        within("the number of channels", format.channels, 1, 2)?;
        match *self {
            Self::Mdct {
                bins,
                companding,
                emphasis,
            } => {
                within("mdct bins", bins, 8, 4096)?;
                if bins % 2 != 0 {
                    return Err(Error::setting(format!(
                        "mdct bins must be even, found {bins}"
                    )));
                }
                if !(0.1..=1.0).contains(&companding) {
                    return Err(Error::setting(format!(
                        "mdct companding must be 0.1 to 1, found {companding}"
                    )));
                }
                if !(0.0..=2.0).contains(&emphasis) {
                    return Err(Error::setting(format!(
                        "mdct emphasis must be 0 to 2, found {emphasis}"
                    )));
                }
            }
            Self::Wave { patch } => within("wave patch", patch, 1, 4096)?,
            Self::Mel {
                n_fft,
                hop,
                mels,
                floor_db,
                stereo: _,
            } => {
                within("mel n_fft", n_fft, 64, 16_384)?;
                if !n_fft.is_power_of_two() {
                    return Err(Error::setting(format!(
                        "mel n_fft must be a power of two, found {n_fft}"
                    )));
                }
                within("mel hop", hop, 1, n_fft / 2)?;
                within("mel bands", mels, 8, (n_fft / 2).min(512))?;
                if !(-120.0..=-20.0).contains(&floor_db) {
                    return Err(Error::setting(format!(
                        "mel floor must be -120 to -20 dB, found {floor_db}"
                    )));
                }
            }
        }
        let (hop, len) = (self.hop(), format.len_frames);
        if len == 0 || len % hop != 0 {
            return Err(Error::setting(format!(
                "the length must be a multiple of {hop} frames for {}, found {len}",
                self.name()
            )));
        }
        // Mel inversion holds the whole spectrogram, which is wider than its bands.
        let widest = match *self {
            Self::Mel { n_fft, .. } => (n_fft / 2 + 1).max(self.width(1)),
            _ => self.width(1),
        };
        let values = self.frames(len).checked_mul(widest * format.channels);
        if values.is_none_or(|n| n > MAX_VALUES) {
            return Err(Error::setting(format!(
                "a clip of {len} frames and {} channels is too large for {}: more than {MAX_VALUES} values",
                format.channels,
                self.name()
            )));
        }
        Ok(())
    }

    /// Measures the statistics of a training set in one pass, holding one clip at a time.
    ///
    /// # Errors
    /// [`Error::Setting`] for bad settings, for no clips, for values that are not finite, and when all
    /// is silence; [`Error::Shape`] for a clip of another format; and whatever the iterator gives.
    pub fn fit(
        &self,
        format: &Format,
        clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    ) -> Result<Statistics> {
        self.validate(format)?;
        match *self {
            Self::Mdct {
                bins,
                companding,
                emphasis,
            } => mdct::fit(bins, companding, emphasis, format, clips),
            Self::Wave { patch } => wave::fit(patch, format, clips),
            Self::Mel {
                n_fft,
                hop,
                mels,
                floor_db,
                stereo,
            } => mel::fit(n_fft, hop, mels, floor_db, stereo, format, clips),
        }
    }

    /// The representation with its statistics frozen.
    ///
    /// # Errors
    /// [`Error::Setting`] for bad settings, or statistics that are not finite or not positive;
    /// [`Error::Shape`] for statistics of another width.
    pub fn build(
        &self,
        format: &Format,
        statistics: &Statistics,
    ) -> Result<Box<dyn Representation>> {
        self.validate(format)?;
        statistics.check(self.width(format.channels))?;
        match *self {
            Self::Mdct {
                bins, companding, ..
            } => Ok(Box::new(Mdct::new(bins, companding, format, statistics))),
            Self::Wave { patch } => Ok(Box::new(Wave::new(patch, format, statistics))),
            Self::Mel {
                n_fft,
                hop,
                mels,
                floor_db,
                stereo,
            } => Ok(Box::new(Mel::new(
                n_fft, hop, mels, floor_db, stereo, format, statistics,
            ))),
        }
    }
}

impl Statistics {
    /// Statistics that only scale.
    pub(crate) fn scaling(scale: Vec<f32>) -> Self {
        Self {
            mean: vec![0.0; scale.len()],
            scale,
        }
    }

    /// Fails unless both hold `width` usable values.
    fn check(&self, width: usize) -> Result<()> {
        for (what, values) in [
            ("statistics' mean", &self.mean),
            ("statistics' scale", &self.scale),
        ] {
            if values.len() != width {
                return Err(Error::Shape {
                    what,
                    expected: format!("{width} values"),
                    found: format!("{} values", values.len()),
                });
            }
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(Error::setting(format!(
                "the statistics' mean must be finite, found {mean}"
            )));
        }
        if let Some(scale) = self
            .scale
            .iter()
            .find(|scale| !(1e-12..=1e12).contains(*scale))
        {
            return Err(Error::setting(format!(
                "the statistics' scale: expected 1e-12 to 1e12, found {scale}"
            )));
        }
        Ok(())
    }
}

/// Seconds before the onset of a clip that was cut at it: a fade-in that leaves the attack alone.
const LEAD_IN_SECONDS: f64 = 0.0015;

impl Format {
    /// Where the onset lies in a clip that was cut at it ([`Crop::Onset`]), in frames of audio.
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

fn within(what: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{what} must be {low} to {high}, found {value}"
    )))
}

/// Gives every clip to `take`, after checking that it can be measured.
fn for_each_clip(
    format: &Format,
    clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    mut take: impl FnMut(&Clip) -> Result<()>,
) -> Result<()> {
    let mut count = 0;
    for clip in clips {
        let clip = clip?;
        format.check(&clip)?;
        count += 1;
        if !clip.channels().iter().flatten().all(|x| x.is_finite()) {
            return Err(Error::setting(format!(
                "clip {count} of the training set holds values that are not finite"
            )));
        }
        take(&clip)?;
    }
    if count == 0 {
        return Err(Error::setting(
            "the statistics cannot be measured: the training set has no clips",
        ));
    }
    Ok(())
}

/// Rows quieter than this, against the loudest row of their clip in energy, are past the end of the
/// sound (-60 dB): they say nothing about the scale of what is heard.
const ACTIVE: f64 = 1e-6;

/// Columns are not scaled as if they were quieter than this, against the loudest column in amplitude
/// (-80 dB). Otherwise a band that is all but empty in the training set would be whitened to unit
/// variance, and the network would spend itself on rounding noise.
const QUIETEST: f64 = 1e-4;

/// Per-column mean square of the companded values over the active rows of a training set.
///
/// `transform` gives the linear values of a clip, row-major in rows of `width`.
fn mean_squares(
    format: &Format,
    width: usize,
    clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    transform: impl Fn(&Clip) -> Result<Vec<f32>>,
    compand: impl Fn(f32) -> f32,
) -> Result<Vec<f64>> {
    let (mut sums, mut rows) = (vec![0.0; width], 0u64);
    for_each_clip(format, clips, |clip| {
        let values = transform(clip)?;
        let energy = |row: &[f32]| row.iter().map(|&x| (x as f64).powi(2)).sum::<f64>();
        let loudest = values.chunks(width).map(energy).fold(0.0, f64::max);
        for row in values
            .chunks(width)
            .filter(|row| energy(row) > loudest * ACTIVE)
        {
            rows += 1;
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += (compand(x) as f64).powi(2);
            }
        }
        Ok(())
    })?;
    if sums.iter().sum::<f64>() <= 1e-20 * rows as f64 {
        return Err(Error::setting(
            "the statistics cannot be measured: the training set is silent",
        ));
    }
    Ok(sums.into_iter().map(|sum| sum / rows as f64).collect())
}

/// Scales that make columns of these mean squares unit variance, none below `floor` times the largest.
fn scales(mean_squares: &[f64], floor: f64) -> Vec<f32> {
    let largest = mean_squares.iter().fold(0.0f64, |a, &b| a.max(b)).sqrt();
    mean_squares
        .iter()
        .map(|square| square.sqrt().max(largest * floor) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        sample_rate: 44_100,
        channels: 2,
        len_frames: 49_152,
    };

    #[test]
    fn the_defaults_are_valid_and_have_the_documented_shapes() {
        assert_eq!(RepresentationConfig::default(), RepresentationConfig::mel());
        for (config, frames, width) in [
            (RepresentationConfig::mdct(), 384, 256),
            (RepresentationConfig::wave(), 768, 128),
            (RepresentationConfig::mel(), 192, 384),
        ] {
            config.validate(&FORMAT).unwrap();
            assert_eq!(
                (
                    config.frames(FORMAT.len_frames),
                    config.width(FORMAT.channels)
                ),
                (frames, width)
            );
            let statistics = Statistics {
                mean: vec![0.0; width],
                scale: vec![1.0; width],
            };
            assert_eq!(
                config.build(&FORMAT, &statistics).unwrap().shape(),
                (frames, width)
            );
        }
    }

    #[test]
    fn hostile_settings_are_refused_in_a_sentence() {
        use RepresentationConfig::*;
        let refused = |config: RepresentationConfig, format: Format| {
            let error = config
                .validate(&format)
                .expect_err(&format!("{config:?} {format:?}"));
            assert!(matches!(error, Error::Setting(_)), "{error}");
            error.to_string()
        };
        for bins in [0, 2, 129, 8192, usize::MAX] {
            refused(
                Mdct {
                    bins,
                    companding: 0.5,
                    emphasis: 0.0,
                },
                FORMAT,
            );
        }
        for companding in [0.0, -1.0, 1.5, f32::NAN, f32::INFINITY] {
            refused(
                Mdct {
                    bins: 128,
                    companding,
                    emphasis: 0.0,
                },
                FORMAT,
            );
        }
        for emphasis in [-0.1, 2.5, f32::NAN, f32::INFINITY] {
            refused(
                Mdct {
                    bins: 128,
                    companding: 0.5,
                    emphasis,
                },
                FORMAT,
            );
        }
        refused(Wave { patch: 0 }, FORMAT);
        for (n_fft, hop, mels) in [
            (0, 256, 128),
            (1000, 250, 128),
            (1 << 40, 256, 128),
            (1024, 0, 128),
            (1024, 513, 128),
            (1024, 256, 0),
            (1024, 256, 600),
        ] {
            refused(
                Mel {
                    n_fft,
                    hop,
                    mels,
                    floor_db: -80.0,
                    stereo: Stereo::Image,
                },
                FORMAT,
            );
        }
        for floor_db in [f32::NAN, 0.0, -200.0] {
            refused(
                Mel {
                    n_fft: 1024,
                    hop: 256,
                    mels: 128,
                    floor_db,
                    stereo: Stereo::Image,
                },
                FORMAT,
            );
        }
        // A transform of 16384 at every frame of audio would be a spectrogram of gigabytes.
        refused(
            Mel {
                n_fft: 16_384,
                hop: 1,
                mels: 8,
                floor_db: -80.0,
                stereo: Stereo::Image,
            },
            FORMAT,
        );
        for sample_rate in [0, u32::MAX] {
            refused(
                Default::default(),
                Format {
                    sample_rate,
                    ..FORMAT
                },
            );
        }
        for channels in [0, 3, usize::MAX] {
            refused(Default::default(), Format { channels, ..FORMAT });
        }
        for len_frames in [0, 49_151, 1 << 30, usize::MAX] {
            refused(
                Default::default(),
                Format {
                    len_frames,
                    ..FORMAT
                },
            );
        }
        let sentence = refused(
            Mdct {
                bins: 129,
                companding: 0.5,
                emphasis: 0.0,
            },
            FORMAT,
        );
        assert_eq!(sentence, "mdct bins must be even, found 129");
    }

    #[test]
    fn statistics_that_cannot_be_divided_by_are_refused() {
        let config = RepresentationConfig::mdct();
        let good = Statistics {
            mean: vec![0.0; 256],
            scale: vec![1.0; 256],
        };
        config.build(&FORMAT, &good).unwrap();
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0] {
            let mut statistics = good.clone();
            statistics.scale[7] = bad;
            assert!(
                matches!(config.build(&FORMAT, &statistics), Err(Error::Setting(_))),
                "{bad}"
            );
        }
        let mut statistics = good.clone();
        statistics.mean[7] = f32::NAN;
        assert!(matches!(
            config.build(&FORMAT, &statistics),
            Err(Error::Setting(_))
        ));
        let mono = Format {
            channels: 1,
            ..FORMAT
        };
        assert!(matches!(
            config.build(&mono, &good),
            Err(Error::Shape { .. })
        ));
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

    #[test]
    fn nothing_can_be_measured_on_silence_or_nothing() {
        let config = RepresentationConfig::mdct();
        assert!(matches!(
            config.fit(&FORMAT, &mut std::iter::empty()),
            Err(Error::Setting(_))
        ));
        let silence = Arc::new(Clip::new(44_100, vec![vec![0.0; 49_152]; 2]));
        assert!(matches!(
            config.fit(&FORMAT, &mut std::iter::once(Ok(silence))),
            Err(Error::Setting(_))
        ));
        let broken = Arc::new(Clip::new(44_100, vec![vec![f32::NAN; 49_152]; 2]));
        assert!(matches!(
            config.fit(&FORMAT, &mut std::iter::once(Ok(broken))),
            Err(Error::Setting(_))
        ));
    }

    #[test]
    fn settings_are_named_by_their_kind_in_files() {
        let json = serde_json::to_string(&RepresentationConfig::mel()).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"mel","n_fft":2048,"hop":256,"mels":128,"floor_db":-80.0,"stereo":"image"}"#
        );
        assert_eq!(
            serde_json::from_str::<RepresentationConfig>(&json).unwrap(),
            RepresentationConfig::mel()
        );
        assert_eq!(RepresentationConfig::mel().name(), "mel");
    }
}
