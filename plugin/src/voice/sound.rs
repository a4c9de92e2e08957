//! The sound of a pad, ready for interpolation.

use audiodiff::audio::Clip;

use super::sinc::REACH;

/// A clip as the voices read it: with silence before and after it.
#[derive(Debug, PartialEq)]
pub struct PlayableSound {
    /// Hz.
    pub(super) sample_rate: f32,
    /// [`REACH`] frames of silence, the sound, and as many again.
    pub(super) left: Vec<f32>,
    /// As long as the left channel; none if the sound is mono.
    pub(super) right: Option<Vec<f32>>,
}

impl PlayableSound {
    /// Takes a clip, mono or stereo. Samples that are not finite become silence.
    #[must_use]
    pub fn new(clip: &Clip) -> Self {
        let stereo = clip.with_channels(clip.channels().len().min(2));
        let mut channels = stereo.channels().iter().map(|channel| {
            let finite = channel.iter().map(|&x| if x.is_finite() { x } else { 0.0 });
            let silence = [0.0; REACH];
            silence.into_iter().chain(finite).chain(silence).collect()
        });
        Self {
            sample_rate: clip.sample_rate() as f32,
            left: channels.next().unwrap_or_else(|| vec![0.0; 2 * REACH]),
            right: channels.next(),
        }
    }

    /// Length without the silence around it.
    #[must_use]
    pub fn len_frames(&self) -> usize {
        self.left.len() - 2 * REACH
    }

    /// Seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        self.len_frames() as f32 / self.sample_rate
    }
}
