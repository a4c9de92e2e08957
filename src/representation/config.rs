//! [`RepresentationConfig`]: which representation a model uses, with its settings.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ClipLengths, Format, MdctConfig, MelConfig, Representation, Statistics, WaveConfig};
use crate::audio::Clip;
use crate::error::{Error, Result};
use crate::names::meant;

/// Most values that one encoded clip may hold: a bound on what a hostile file can make us allocate.
const MAX_VALUES: usize = 1 << 26;

/// Which representation, with its own settings: a closed set that files and flags name.
///
/// Flags write `mdct`, `wave` or `mel`, or with settings `mdct:BINS:COMPANDING:EMPHASIS`, `wave:PATCH` and
/// `mel:WINDOW:HOP:BANDS` or `mel:WINDOW:HOP:BANDS:FLOOR`.
///
/// ```
/// use audiodiff::representation::{Format, MelConfig, RepresentationConfig};
///
/// let config: RepresentationConfig = "mel:2048:256:80".parse()?;
/// let mels = MelConfig { mels: 80, ..MelConfig::default() };
/// assert_eq!(config, RepresentationConfig::Mel(mels));
/// assert_eq!(config.to_string(), "mel:2048:256:80:-80");
///
/// // One second of mono, in whole hops: 172 rows of 80 bands.
/// let format = Format { sample_rate: 44_100, channels: 1, len_frames: 172 * config.hop() };
/// config.validate(&format)?;
/// assert_eq!((config.frames(format.len_frames), config.width(1)), (172, 80));
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum RepresentationConfig {
    /// Companded, whitened MDCT: the waveform in another basis.
    Mdct(MdctConfig),
    /// Raw waveform, cut into patches.
    Wave(WaveConfig),
    /// Log-mel spectrogram, inverted by non-negative factorization and phase gradients.
    Mel(MelConfig),
}

/// The settings of one representation, and all that follows from them.
///
/// The noise levels are for frames of unit variance. Their defaults suit coefficients with random signs.
pub(super) trait Framing: fmt::Display {
    /// The settings that a flag writes after the name, in order; `None` where they cannot be read. No setting means the
    /// default.
    fn parse(settings: &[&str]) -> Option<Self>
    where
        Self: Sized;

    /// See [`RepresentationConfig::name`].
    fn name(&self) -> &'static str;

    /// Fails unless each setting is within its bounds.
    fn check(&self) -> Result<()>;

    /// See [`RepresentationConfig::hop`].
    fn hop(&self) -> usize;

    /// See [`RepresentationConfig::width`].
    fn width(&self, channels: usize) -> usize;

    /// Most values that encoding and decoding hold at once for a row of one channel.
    fn widest(&self) -> usize {
        self.width(1)
    }

    /// See [`RepresentationConfig::sigma_max`].
    fn sigma_max(&self) -> f64 {
        20.0
    }

    /// See [`RepresentationConfig::guidance_interval`].
    fn guidance_interval(&self) -> (f64, f64) {
        (0.2, 5.0)
    }

    /// See [`RepresentationConfig::p_mean_and_std`].
    fn p_mean_and_std(&self) -> (f64, f64) {
        (0.3, 1.4)
    }

    /// See [`RepresentationConfig::gain_of_mid`].
    fn gain_of_mid(&self) -> f32;

    /// See [`RepresentationConfig::holds_level_and_sign`].
    fn holds_level_and_sign(&self) -> bool {
        true
    }

    /// See [`RepresentationConfig::smooth_columns`].
    fn smooth_columns(&self) -> Option<usize> {
        None
    }

    /// Measures the statistics of clips of `format`, for which the settings were checked.
    fn fit(
        &self,
        format: &Format,
        clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    ) -> Result<Statistics>;

    /// The representation of clips of `format`, with statistics of its width; all were checked.
    fn build(&self, format: &Format, statistics: &Statistics) -> Box<dyn Representation>;
}

impl Default for RepresentationConfig {
    /// [`RepresentationConfig::mel`].
    fn default() -> Self {
        Self::mel()
    }
}

impl fmt::Display for RepresentationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.framing().fmt(f)
    }
}

impl FromStr for RepresentationConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut settings = text.split(':');
        let name = settings.next();
        let settings: Vec<&str> = settings.collect();
        let config = match name {
            Some("mdct") => MdctConfig::parse(&settings).map(Self::Mdct),
            Some("wave") => WaveConfig::parse(&settings).map(Self::Wave),
            Some("mel") => MelConfig::parse(&settings).map(Self::Mel),
            _ => None,
        };
        config.ok_or_else(|| {
            Error::setting(format!(
                "unknown representation {text:?}: expected mdct, wave or mel, or with settings \
                 mdct:BINS:COMPANDING:EMPHASIS, \
                 wave:PATCH or mel:WINDOW:HOP:BANDS:FLOOR{}",
                meant(name.unwrap_or_default(), &["mdct", "wave", "mel"])
            ))
        })
    }
}

impl RepresentationConfig {
    fn framing(&self) -> &dyn Framing {
        match self {
            Self::Mdct(config) => config,
            Self::Wave(config) => config,
            Self::Mel(config) => config,
        }
    }

    /// MDCT of 128 bins, companded by the square root.
    #[must_use]
    pub fn mdct() -> Self {
        Self::Mdct(MdctConfig::default())
    }

    /// Waveform in patches of 64.
    #[must_use]
    pub fn wave() -> Self {
        Self::Wave(WaveConfig::default())
    }

    /// 128 mel bands of a transform of 2048 every 256 frames, down to -80 dB.
    #[must_use]
    pub fn mel() -> Self {
        Self::Mel(MelConfig::default())
    }

    /// The word that flags and files use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.framing().name()
    }

    /// Noise level in which every sound drowns, for frames of unit variance.
    ///
    /// The values of a log-mel spectrogram rise and fall together: the sum over a whole sound of, say, how long it
    /// is, stands out of noise of twenty times the standard deviation of a single value. Coefficients with random signs
    /// do not add up so.
    #[must_use]
    pub fn sigma_max(&self) -> f64 {
        self.framing().sigma_max()
    }

    /// Noise levels at which guidance acts, `(low, high)`.
    ///
    /// For log-mel frames these include the highest: there it is decided how long and how bright a sound is, which
    /// is most of what tells their classes apart.
    #[must_use]
    pub fn guidance_interval(&self) -> (f64, f64) {
        self.framing().guidance_interval()
    }

    /// `P_mean` and `P_std`, mean and standard deviation of `ln sigma`, to learn at.
    ///
    /// The mean is above EDM's -1.2: levels around and above 1 decide which frames sound at all, and a training that
    /// spends itself on low noise makes polished sounds without an outline. For log-mel frames they go on to
    /// [`RepresentationConfig::sigma_max`].
    #[must_use]
    pub fn p_mean_and_std(&self) -> (f64, f64) {
        self.framing().p_mean_and_std()
    }

    /// How many times as large the values of the mid of two equal channels are as those of one of them.
    pub(crate) fn gain_of_mid(&self) -> f32 {
        self.framing().gain_of_mid()
    }

    /// Whether frames hold the level of a clip and the sign of its waveform. Those of a spectrogram hold neither.
    pub(crate) fn holds_level_and_sign(&self) -> bool {
        self.framing().holds_level_and_sign()
    }

    /// How many columns that lie side by side hold neighbouring bands, in blocks of them, where values change slowly
    /// from band to band and from row to row: a spectrogram's. Coefficients with random signs are not smooth.
    #[must_use]
    pub fn smooth_columns(&self) -> Option<usize> {
        self.framing().smooth_columns()
    }

    /// Frames of audio a row stands for.
    #[must_use]
    pub fn hop(&self) -> usize {
        self.framing().hop()
    }

    /// `C`, the values of a row, for so many channels.
    #[must_use]
    pub fn width(&self, channels: usize) -> usize {
        self.framing().width(channels)
    }

    /// `T`, the rows of a clip of `len_frames` frames of audio; a remainder is not counted.
    #[must_use]
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
        self.framing().check()?;
        let (hop, len) = (self.hop(), format.len_frames);
        if len == 0 || len % hop != 0 {
            return Err(Error::setting(format!(
                "the length must be a multiple of {hop} frames for {}, found {len}",
                self.name()
            )));
        }
        let widest = self.framing().widest() * format.channels;
        let values = self.frames(len).checked_mul(widest);
        if values.is_none_or(|n| n > MAX_VALUES) {
            return Err(Error::setting(format!(
                "a clip of {len} frames and {} channels is too large for {}: more than {MAX_VALUES} values",
                format.channels,
                self.name()
            )));
        }
        Ok(())
    }

    /// Measures the statistics of a training set in one pass, holding one clip at a time. Clips may be shorter than
    /// `format` says, by whole rows.
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
        self.framing().fit(format, clips)
    }

    /// A representation for clips of each of these lengths, from the shortest to the longest, all of one's statistics.
    ///
    /// # Errors
    /// As [`RepresentationConfig::build`].
    pub(crate) fn build_each(
        &self,
        format: &Format,
        lengths: &ClipLengths,
        statistics: &Statistics,
    ) -> Result<Vec<Box<dyn Representation>>> {
        let build = |&len_frames: &usize| {
            let format = Format {
                len_frames,
                ..*format
            };
            self.build(&format, statistics)
        };
        lengths.all().iter().map(build).collect()
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
        Ok(self.framing().build(format, statistics))
    }
}

/// Fails unless a setting lies within `low ..= high`.
pub(super) fn within<T: PartialOrd + Copy + fmt::Display>(
    what: &str,
    value: T,
    low: T,
    high: T,
) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{what} must be {low} to {high}, found {value}"
    )))
}

#[cfg(test)]
mod tests {
    use super::super::tests::FORMAT;
    use super::super::{MdctConfig, MelConfig, Statistics, Stereo, WaveConfig};
    use super::*;

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
        let refused = |config: RepresentationConfig, format: Format| {
            let error = config
                .validate(&format)
                .expect_err(&format!("{config:?} {format:?}"));
            assert!(matches!(error, Error::Setting(_)), "{error}");
            error.to_string()
        };
        for bins in [0, 2, 129, 8192, usize::MAX] {
            refused(
                RepresentationConfig::Mdct(MdctConfig {
                    bins,
                    companding: 0.5,
                    emphasis: 0.0,
                }),
                FORMAT,
            );
        }
        for companding in [0.0, -1.0, 1.5, f32::NAN, f32::INFINITY] {
            refused(
                RepresentationConfig::Mdct(MdctConfig {
                    bins: 128,
                    companding,
                    emphasis: 0.0,
                }),
                FORMAT,
            );
        }
        for emphasis in [-0.1, 2.5, f32::NAN, f32::INFINITY] {
            refused(
                RepresentationConfig::Mdct(MdctConfig {
                    bins: 128,
                    companding: 0.5,
                    emphasis,
                }),
                FORMAT,
            );
        }
        refused(RepresentationConfig::Wave(WaveConfig { patch: 0 }), FORMAT);
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
                RepresentationConfig::Mel(MelConfig {
                    n_fft,
                    hop,
                    mels,
                    floor_db: -80.0,
                    stereo: Stereo::Image,
                }),
                FORMAT,
            );
        }
        for floor_db in [f32::NAN, 0.0, -200.0] {
            refused(
                RepresentationConfig::Mel(MelConfig {
                    n_fft: 1024,
                    hop: 256,
                    mels: 128,
                    floor_db,
                    stereo: Stereo::Image,
                }),
                FORMAT,
            );
        }
        // A transform of 16384 at every frame of audio would be a spectrogram of gigabytes.
        refused(
            RepresentationConfig::Mel(MelConfig {
                n_fft: 16_384,
                hop: 1,
                mels: 8,
                floor_db: -80.0,
                stereo: Stereo::Image,
            }),
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
            RepresentationConfig::Mdct(MdctConfig {
                bins: 129,
                companding: 0.5,
                emphasis: 0.0,
            }),
            FORMAT,
        );
        assert_eq!(sentence, "mdct bins must be even, found 129");
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
