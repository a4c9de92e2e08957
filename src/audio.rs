//! [`Clip`], the only audio type, and its way from and to files.
//!
//! [`read`] takes any sound file and trusts no header; [`Clip::resampled`] and
//! [`Clip::with_channels`] bring it to a model's layout; [`finish()`] and [`write()`] are the way
//! out.

mod decode;
pub(crate) mod effect;
mod encode;
mod finish;
mod measure;
mod pitch;
mod resample;
pub mod sinc;
pub(crate) mod stft;
pub mod texture;

pub use decode::{Decoded, decode, extensions, foreign_extensions, read};
pub(crate) use decode::{decode_part, decode_pieces};
pub use encode::{BitDepth, Container, Tags, bytes, wav_bytes, write, write_wav};
pub use finish::{Ending, Level, finish, loudness, momentary_loudness};
pub(crate) use finish::{amplitude, fade_end};
pub(crate) use measure::onset;
pub use measure::{Faults, Measures};
pub(crate) use pitch::Contour;
pub use texture::Texture;

use crate::error::Result;

/// Highest sample rate that is read or made, Hz.
pub const MAX_SAMPLE_RATE: u32 = 768_000;

/// Most channels that are read.
pub const MAX_CHANNELS: usize = 64;

/// Most samples over all channels that one clip is allowed to grow to by reading or resampling:
/// 2 GiB, or 100 minutes of stereo at 44.1 kHz. A small file can claim, or expand to, far more.
const MAX_SAMPLES: usize = 1 << 29;

/// Sound: `channels × frames` amplitudes at a sample rate.
///
/// Every channel has the same length. Full scale is ±1; values beyond are allowed until written.
///
/// ```
/// use audiodiff::audio::Clip;
///
/// let stereo = Clip::new(44_100, vec![vec![0.5; 441], vec![-0.25; 441]]);
/// assert_eq!((stereo.len_frames(), stereo.seconds(), stereo.peak()), (441, 0.01, 0.5));
/// // To the layout of a model: the mean of the channels, at another rate.
/// let mono = stereo.with_channels(1).resampled(48_000)?;
/// assert_eq!((mono.channels().len(), mono.len_frames()), (1, 480));
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    sample_rate: u32,
    channels: Vec<Vec<f32>>,
}

impl Clip {
    /// A clip of planar `channels` at `sample_rate` Hz.
    ///
    /// # Panics
    /// When there is no channel, or their lengths differ.
    #[must_use]
    pub fn new(sample_rate: u32, channels: Vec<Vec<f32>>) -> Self {
        assert!(!channels.is_empty(), "a clip has at least one channel");
        assert!(
            channels.iter().all(|c| c.len() == channels[0].len()),
            "channels of one clip are equally long"
        );
        Self {
            sample_rate,
            channels,
        }
    }

    /// Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The channels, planar.
    #[must_use]
    pub fn channels(&self) -> &[Vec<f32>] {
        &self.channels
    }

    /// The channels, planar, to be changed in place (not in length).
    pub fn channels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.channels.iter_mut().map(Vec::as_mut_slice)
    }

    /// Length of each channel in frames.
    #[must_use]
    pub fn len_frames(&self) -> usize {
        self.channels[0].len()
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.len_frames() as f64 / f64::from(self.sample_rate)
    }

    /// Largest magnitude over all channels.
    #[must_use]
    pub fn peak(&self) -> f32 {
        self.channels
            .iter()
            .flatten()
            .fold(0.0, |peak, x| peak.max(x.abs()))
    }

    /// The sound at `rate` Hz, `round(len · rate / sample_rate)` frames long (at least one, unless
    /// there are none).
    ///
    /// Band-limited by a linear-phase filter that passes at least 97 % of the lower of the two
    /// bandwidths (21.4 kHz where one rate is 44.1 kHz) and compensated for its delay, so that an
    /// onset stays where it was.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when either rate is not within 1 Hz to 768 kHz, a
    /// sample is not finite or beyond 1e30, or the result would exceed 2^29 samples.
    pub fn resampled(&self, rate: u32) -> Result<Clip> {
        resample::resample(self, rate)
    }

    /// The sound in `n` channels, 1 or 2; unchanged when it has so many already.
    ///
    /// Mono is the mean of the channels, stereo from mono the same channel twice. Three and more
    /// channels become stereo in the order that WAV and FLAC share: left, right, then (except in
    /// four) the centre, which goes to both at -3 dB, then (in six and more) low-frequency effects,
    /// which are left out, then (in seven) the back centre, which goes to both at -3 dB, then surrounds,
    /// left and right in turn, at -3 dB. Each side is scaled so that it cannot exceed the loudest
    /// channel that went in.
    ///
    /// # Panics
    /// When `n` is neither 1 nor 2.
    #[must_use]
    pub fn with_channels(&self, n: usize) -> Clip {
        assert!(n == 1 || n == 2, "clips are made mono or stereo");
        let frames = self.len_frames();
        let channels = match (self.channels.len(), n) {
            (have, want) if have == want => self.channels.clone(),
            (1, _) => vec![self.channels[0].clone(); n],
            (have, 1) => {
                let mut mean = vec![0f32; frames];
                for channel in &self.channels {
                    for (sum, x) in mean.iter_mut().zip(channel) {
                        *sum += x / have as f32;
                    }
                }
                vec![mean]
            }
            (have, _) => {
                let half = std::f32::consts::FRAC_1_SQRT_2;
                // Where the channels of the middle end and the surrounds begin.
                let surrounds = match have {
                    4 => 2,
                    3 | 5 => 3,
                    7 => 5,
                    _ => 4,
                };
                // (left, right) weight of each channel.
                let weights: Vec<(f32, f32)> = (0..have)
                    .map(|i| match i {
                        0 => (1.0, 0.0),
                        1 => (0.0, 1.0),
                        _ if i >= surrounds && (i - surrounds) % 2 == 0 => (half, 0.0),
                        _ if i >= surrounds => (0.0, half),
                        3 => (0.0, 0.0),
                        _ => (half, half),
                    })
                    .collect();
                let mix = |side: fn(&(f32, f32)) -> f32| {
                    let total: f32 = weights.iter().map(side).sum();
                    let mut out = vec![0f32; frames];
                    for (channel, weight) in self.channels.iter().zip(weights.iter().map(side)) {
                        // A skipped channel is skipped, even where it is infinite.
                        if weight > 0.0 {
                            for (sum, x) in out.iter_mut().zip(channel) {
                                *sum += x * (weight / total);
                            }
                        }
                    }
                    out
                };
                vec![mix(|w| w.0), mix(|w| w.1)]
            }
        };
        Clip::new(self.sample_rate, channels)
    }

    /// `len` frames from frame `start`; what lies past the end is silence.
    #[must_use]
    pub fn slice(&self, start: usize, len: usize) -> Clip {
        let cut = |channel: &Vec<f32>| {
            let start = start.min(channel.len());
            let end = start.saturating_add(len).min(channel.len());
            let mut cut = channel[start..end].to_vec();
            cut.resize(len, 0.0);
            cut
        };
        Clip::new(self.sample_rate, self.channels.iter().map(cut).collect())
    }

    /// Multiplies every sample by `gain`.
    pub fn scale(&mut self, gain: f32) {
        for x in self.channels.iter_mut().flatten() {
            *x *= gain;
        }
    }

    /// Mean of each channel; 0 for an empty clip.
    #[must_use]
    pub fn dc(&self) -> Vec<f32> {
        let frames = self.len_frames().max(1) as f64;
        let mean = |c: &Vec<f32>| (c.iter().map(|&x| f64::from(x)).sum::<f64>() / frames) as f32;
        self.channels.iter().map(mean).collect()
    }

    /// Takes the offset off each channel, without harm to short sounds.
    ///
    /// First the median goes: unlike the mean, it is not moved by the swing of a kick that decays to
    /// silence, so silence stays where it was. Then a first-order high-pass at 5 Hz takes what
    /// drifts. It is causal, for a zero-phase filter would ring before the onset; it costs 0.05 dB
    /// and 6 degrees at 45 Hz.
    pub fn remove_dc(&mut self) {
        let rate = self.sample_rate;
        for channel in &mut self.channels {
            finish::remove_dc(channel, rate);
        }
    }

    /// Fades the first `in_frames` in and the last `out_frames` out, each at most the whole clip,
    /// along a raised cosine that is zero on the outermost frame.
    pub fn fade(&mut self, in_frames: usize, out_frames: usize) {
        let gain = |n: usize, of: usize| {
            (0.5 - 0.5 * (std::f64::consts::PI * n as f64 / of as f64).cos()) as f32
        };
        let len = self.len_frames();
        let (in_frames, out_frames) = (in_frames.min(len), out_frames.min(len));
        for channel in &mut self.channels {
            for (n, x) in channel.iter_mut().take(in_frames).enumerate() {
                *x *= gain(n, in_frames);
            }
            for (n, x) in channel.iter_mut().rev().take(out_frames).enumerate() {
                *x *= gain(n, out_frames);
            }
        }
    }

    /// Root of the mean square over all channels; 0 for an empty clip.
    #[must_use]
    pub fn rms(&self) -> f32 {
        let count = (self.len_frames() * self.channels.len()).max(1) as f64;
        let sum: f64 = self
            .channels
            .iter()
            .flatten()
            .map(|&x| f64::from(x).powi(2))
            .sum();
        (sum / count).sqrt() as f32
    }

    /// Whether no sample is NaN or infinite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.channels.iter().flatten().all(|x| x.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f64, frames: usize) -> Vec<f32> {
        let step = std::f64::consts::TAU * hz / f64::from(rate);
        (0..frames)
            .map(|n| (0.5 * (step * n as f64).sin()) as f32)
            .collect()
    }

    #[test]
    fn a_resampled_sine_is_the_sine_at_the_new_rate() {
        for (from, to, hz) in [
            (44100, 48000, 1000.0),
            (48000, 44100, 1000.0),
            (48000, 44100, 20000.0),
            (44100, 48000, 20000.0),
            (96000, 44100, 20000.0),
            (192000, 44100, 1000.0),
            (44100, 22050, 9000.0),
            (22050, 44100, 1000.0),
            (44100, 44101, 1000.0),
            (8000, 96000, 1000.0),
            (1234, 44100, 400.0),
        ] {
            let clip = Clip::new(from, vec![sine(from, hz, from as usize)]);
            let made = clip.resampled(to).unwrap();
            assert_eq!((made.sample_rate(), made.len_frames()), (to, to as usize));
            let want = sine(to, hz, to as usize);
            // Away from the ends, where the sine is cut.
            let middle = to as usize * 2 / 5..to as usize * 3 / 5;
            let error: f64 = middle
                .clone()
                .map(|n| f64::from(made.channels()[0][n] - want[n]).powi(2))
                .sum();
            let power: f64 = middle.map(|n| f64::from(want[n]).powi(2)).sum();
            let db = 10.0 * (error / power).log10();
            assert!(db < -100.0, "{from} to {to} at {hz} Hz: {db} dB");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_removed() {
        let clip = Clip::new(48000, vec![sine(48000, 13000.0, 24000)]);
        let made = clip.resampled(22050).unwrap();
        // Away from the ends, where the cut sine has all frequencies.
        let rms = made.slice(2000, made.len_frames() - 4000).rms();
        assert!(rms < 0.5e-5, "{rms}");
    }

    #[test]
    fn an_impulse_stays_in_place() {
        for (from, to) in [
            (44100, 48000),
            (48000, 44100),
            (96000, 44100),
            (32000, 44100),
            (44100, 88200),
            (11025, 44100),
            (44100, 44099),
        ] {
            let at = from as usize / 5;
            let mut channel = vec![0f32; from as usize / 2];
            channel[at] = 1.0;
            let made = Clip::new(from, vec![channel]).resampled(to).unwrap();
            // The centre of gravity of the squares tells a tenth of a sample.
            let squares = || made.channels()[0].iter().map(|&x| f64::from(x).powi(2));
            let centre = squares()
                .enumerate()
                .map(|(n, e)| n as f64 * e)
                .sum::<f64>()
                / squares().sum::<f64>();
            let want = at as f64 * f64::from(to) / f64::from(from);
            assert!(
                (centre - want).abs() < 0.05,
                "{from} to {to}: {centre} {want}"
            );
        }
    }

    #[test]
    fn resampled_length_is_rounded_and_never_zero() {
        for (frames, from, to, want) in [
            (1, 192000, 44100, 1),
            (10, 44100, 22050, 5),
            (11, 44100, 22050, 6),
            (1000, 44100, 48000, 1088),
            (3, 1, 7, 21),
            (1, 768000, 1, 1),
            (0, 48000, 44100, 0),
            (77, 44100, 44100, 77),
        ] {
            let clip = Clip::new(from, vec![vec![0.1; frames]; 2]);
            let made = clip.resampled(to).unwrap();
            assert_eq!(made.len_frames(), want, "{frames} from {from} to {to}");
        }
        let clip = Clip::new(44100, vec![vec![0.0; 100]]);
        assert!(clip.resampled(0).is_err());
        assert!(clip.resampled(MAX_SAMPLE_RATE + 1).is_err());
        assert!(Clip::new(0, vec![vec![0.0; 100]]).resampled(44100).is_err());
        // 2^29 samples would be exceeded: refused before anything is allocated.
        assert!(
            Clip::new(1, vec![vec![0.0; 1000]])
                .resampled(768_000)
                .is_err()
        );
    }

    #[test]
    fn mono_is_the_mean_and_stereo_the_copy() {
        let clip = Clip::new(8000, vec![vec![1.0, 0.0], vec![0.0, 0.5], vec![0.5, 1.0]]);
        assert_eq!(clip.with_channels(1).channels(), [[0.5, 0.5]]);
        let mono = Clip::new(8000, vec![vec![0.25, -1.0]]);
        assert_eq!(mono.with_channels(2).channels(), [[0.25, -1.0]; 2]);
        assert_eq!(mono.with_channels(1), mono);
    }

    #[test]
    fn surround_becomes_stereo_by_position_and_never_louder() {
        // L R C LFE Ls Rs, one after the other.
        let one_hot = |have: usize| {
            let channels =
                (0..have).map(|i| (0..have).map(|n| f32::from(u8::from(i == n))).collect());
            Clip::new(48000, channels.collect()).with_channels(2)
        };
        let made = one_hot(6);
        let (l, r) = (&made.channels()[0], &made.channels()[1]);
        assert!(l[0] > 0.4 && r[1] > 0.4 && l[1] == 0.0 && r[0] == 0.0);
        assert!(l[2] == r[2] && l[2] > 0.2);
        assert!(l[3] == 0.0 && r[3] == 0.0);
        assert!(l[4] > 0.2 && r[4] == 0.0 && r[5] > 0.2 && l[5] == 0.0);
        let made = one_hot(7);
        let (l, r) = (&made.channels()[0], &made.channels()[1]);
        assert!(l[3] == 0.0 && r[3] == 0.0 && l[4] == r[4] && l[4] > 0.1);
        assert!(l[5] > 0.1 && r[5] == 0.0 && r[6] > 0.1 && l[6] == 0.0);
        for have in 3..=9 {
            for channel in one_hot(have).channels() {
                let sum: f32 = channel.iter().sum();
                assert!((sum - 1.0).abs() < 1e-6, "{have}: {sum}");
            }
        }
    }

    #[test]
    fn slices_end_in_silence() {
        let clip = Clip::new(10, vec![vec![1.0, 2.0, 3.0]]);
        assert_eq!(clip.slice(1, 4).channels(), [[2.0, 3.0, 0.0, 0.0]]);
        assert_eq!(clip.slice(9, 2).channels(), [[0.0, 0.0]]);
        assert_eq!(clip.slice(usize::MAX, 1).channels(), [[0.0]]);
        assert_eq!(clip.slice(0, 0).len_frames(), 0);
    }

    #[test]
    fn fades_reach_zero_outside_and_one_inside() {
        let mut clip = Clip::new(10, vec![vec![1.0; 9]]);
        clip.fade(4, 2);
        let x = &clip.channels()[0];
        assert_eq!((x[0], x[4], x[6], x[8]), (0.0, 1.0, 1.0, 0.0));
        assert!((x[2] - 0.5).abs() < 1e-6 && (x[7] - 0.5).abs() < 1e-6);
        let mut short = Clip::new(10, vec![vec![1.0; 4]]);
        short.fade(100, 0);
        let whole = Clip::new(10, vec![vec![0.0, 0.146_446_6, 0.5, 0.853_553_4]]);
        for (a, b) in short.channels()[0].iter().zip(&whole.channels()[0]) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn measures_are_those_of_a_known_sound() {
        let clip = Clip::new(8000, vec![vec![0.75, -0.25], vec![0.5, 0.5]]);
        assert_eq!(clip.dc(), [0.25, 0.5]);
        assert!((f64::from(clip.rms()) - (1.125f64 / 4.0).sqrt()).abs() < 1e-7);
        assert!(!Clip::new(1, vec![vec![f32::INFINITY]]).is_finite());
        assert_eq!(Clip::new(1, vec![vec![]]).rms(), 0.0);
    }
}
