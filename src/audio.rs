//! [`Clip`], the only audio type, and its way from and to files.

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
}
