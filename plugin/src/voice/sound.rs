//! The sound of a pad, ready for interpolation.

use audiodiff::audio::Clip;

use super::looping::Loop;
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
    /// Semitones from what a key plays to the nearest that is in tune with it.
    pub(super) tuning: f32,
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
            tuning: 0.0,
        }
    }

    /// The same, of a pitch of so many Hz: keys play it in tune, as near to its own pitch as that goes.
    #[must_use]
    pub fn tuned(self, hz: Option<f32>) -> Self {
        // Middle C lies three semitones above an A.
        let off = hz.map_or(0.0, |hz| 12.0 * (hz / 440.0).log2() - 3.0);
        let tuning = if off.is_finite() {
            12.0 * (off / 12.0).round() - off
        } else {
            0.0
        };
        Self { tuning, ..self }
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

    /// The frames at which a loop over it goes on, and at which it goes back, its end having faded into its beginning;
    /// none if what lies between is too short to be looped.
    pub(crate) fn loop_ends(&self, controls: &super::PadControls) -> Option<[usize; 2]> {
        let len = self.len_frames() as f64;
        let looped = Loop::new(len, self.sample_rate, controls.looped_between())?;
        Some([looped.begin(), looped.end].map(|frame| frame.round() as usize))
    }

    /// How bright it is, Hz: the root mean square of its frequencies, weighted by their power. 0 for silence.
    pub(super) fn brightness(&self) -> f32 {
        let (mut power, mut slope) = (0f64, 0f64);
        for channel in [Some(&self.left), self.right.as_ref()]
            .into_iter()
            .flatten()
        {
            power += channel.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            let steps = channel
                .windows(2)
                .map(|pair| f64::from(pair[1]) - f64::from(pair[0]));
            slope += steps.map(|step| step.powi(2)).sum::<f64>();
        }
        if power <= 0.0 {
            return 0.0;
        }
        // A sine's steps have 4 sin²(π f / rate) of its power.
        let half = (0.5 * (slope / power).sqrt()).min(1.0).asin();
        (half / std::f64::consts::PI) as f32 * self.sample_rate
    }
}
