//! [`Clip`], the only audio type, and its way from and to files.

mod decode;
mod resample;

pub use decode::{Decoded, decode, extensions, read, read_limited};

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
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// The channels, planar.
    pub fn channels(&self) -> &[Vec<f32>] {
        &self.channels
    }

    /// The channels, planar, to be changed in place (not in length).
    pub fn channels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.channels.iter_mut().map(Vec::as_mut_slice)
    }

    /// Length of each channel in frames.
    pub fn len_frames(&self) -> usize {
        self.channels[0].len()
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.len_frames() as f64 / self.sample_rate as f64
    }

    /// Largest magnitude over all channels.
    pub fn peak(&self) -> f32 {
        self.channels
            .iter()
            .flatten()
            .fold(0.0, |peak, x| peak.max(x.abs()))
    }

    /// The sound at `rate` Hz, `round(len · rate / sample_rate)` frames long (at least one).
    ///
    /// Band-limited by a linear-phase filter that passes at least 97 % of the lower of the two
    /// bandwidths (21.4 kHz where one rate is 44.1 kHz) and compensated for its delay, so that an
    /// onset stays where it was. A sample that is not finite spreads over its surroundings.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) when either rate is not within 1 Hz to 768 kHz, or
    /// the result would exceed 2^29 samples.
    pub fn resampled(&self, rate: u32) -> Result<Clip> {
        resample::resample(self, rate)
    }

    /// The sound in `n` channels, 1 or 2; unchanged when it has so many already.
    ///
    /// Mono is the mean of the channels, stereo from mono the same channel twice. Three and more
    /// channels become stereo in the order that WAV and FLAC share: left, right, then (except in
    /// four) the centre, which goes to both at -3 dB, then (in six and more) low-frequency effects,
    /// which are left out, then surrounds, left and right in turn, at -3 dB. Each side is scaled
    /// so that it cannot exceed the loudest channel that went in.
    ///
    /// # Panics
    /// When `n` is neither 1 nor 2.
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
                // Where the centre and the low-frequency channel end and the surrounds begin.
                let surrounds = match have {
                    4 => 2,
                    3 | 5 => 3,
                    _ => 4,
                };
                // (left, right) weight of each channel.
                let weights: Vec<(f32, f32)> = (0..have)
                    .map(|i| match i {
                        0 => (1.0, 0.0),
                        1 => (0.0, 1.0),
                        _ if i >= surrounds && (i - surrounds) % 2 == 0 => (half, 0.0),
                        _ if i >= surrounds => (0.0, half),
                        2 => (half, half),
                        _ => (0.0, 0.0),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f64, frames: usize) -> Vec<f32> {
        let step = std::f64::consts::TAU * hz / rate as f64;
        (0..frames)
            .map(|n| (0.5 * (step * n as f64).sin()) as f32)
            .collect()
    }

    #[test]
    fn resampled_sine_is_the_sine_at_the_new_rate() {
        for (from, to) in [
            (44100, 48000),
            (48000, 44100),
            (192000, 44100),
            (44100, 22050),
            (44100, 44101),
            (22050, 44100),
            (8000, 96000),
        ] {
            let clip = Clip::new(from, vec![sine(from, 1000.0, from as usize)]);
            let made = clip.resampled(to).unwrap();
            assert_eq!(made.len_frames(), to as usize);
            let want = sine(to, 1000.0, to as usize);
            let (mut error, mut power) = (0f64, 0f64);
            // Away from the ends, where the sine is cut.
            for n in to as usize / 5..to as usize * 4 / 5 {
                error += (made.channels()[0][n] as f64 - want[n] as f64).powi(2);
                power += (want[n] as f64).powi(2);
            }
            let db = 10.0 * (error / power).log10();
            println!("{from} {to} {db}");
            assert!(db < -100.0, "{from} -> {to}: {db} dB");
        }
    }
}
