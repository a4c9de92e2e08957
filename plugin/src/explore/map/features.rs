//! Features by which a map's sounds are alike: their log-mel spectrogram and their five attributes.

use std::sync::Arc;

use audiodiff::Result;
use audiodiff::attributes::{Attribute, Attributes};
use audiodiff::audio::{Clip, Measures};
use audiodiff::eval::Features;

/// All sounds are heard at this rate, Hz, and for so many frames from their onset: 0.74 s.
const RATE: u32 = 44_100;
const FRAMES: usize = 128 * 256;

/// Level against the peak at which a sound begins.
const ONSET: f32 = 0.01;

/// 60 dB, from the loudest cell of a spectrogram to silence.
const FLOOR_DB: f32 = 60.0;

/// How much an attribute counts from one end of its scale to the other, where spectrograms that differ by 60 dB
/// everywhere count 1.
const WEIGHTS: [(Attribute, f32); 5] = [
    (Attribute::Attack, 0.3),
    (Attribute::Length, 0.6),
    (Attribute::Brightness, 0.8),
    (Attribute::Pitch, 0.3),
    (Attribute::Noisiness, 0.4),
];

/// Hears sounds.
pub(super) struct Ear {
    mel: Features,
}

impl Ear {
    /// # Errors
    /// When there is no spectrogram of the kind.
    pub fn new() -> Result<Self> {
        Ok(Self {
            mel: Features::new(RATE, FRAMES)?,
        })
    }

    /// Numbers of which each is as far from that of another sound as they differ in it.
    ///
    /// # Errors
    /// When the clip cannot be resampled.
    pub fn features(&self, clip: &Clip) -> Result<Arc<[f32]>> {
        let clip = clip.resampled(RATE)?.with_channels(1);
        let least = ONSET * clip.peak();
        let samples = clip.channels()[0].iter();
        let onset = samples.take_while(|x| x.abs() < least).count();
        let clip = clip.slice(onset.min(clip.len_frames()), clip.len_frames());
        let mut features = self.mel.of(&clip.slice(0, FRAMES))?;
        let unit = (features.len() as f32).sqrt().recip() / FLOOR_DB;
        features.iter_mut().for_each(|x| *x *= unit);
        let attributes = Attributes::of(&Measures::of(&clip));
        // What has no pitch lies in the middle of all pitches.
        let value = |(attribute, weight): (Attribute, f32)| {
            let place = attributes
                .get(attribute)
                .map(|value| attribute.place(value));
            weight * place.unwrap_or(0.5)
        };
        features.extend(WEIGHTS.map(value));
        Ok(features.into())
    }

    /// The features of silence.
    pub fn silence(&self) -> Arc<[f32]> {
        let silence = Clip::new(RATE, vec![vec![0.0; FRAMES]]);
        self.features(&silence)
            .unwrap_or_else(|_| Arc::new([0.0; WEIGHTS.len()]))
    }
}
