//! A sound as it emerges from noise, step by step, for a picture.

use audiodiff::audio::Clip;

/// Pairs of a picture: each the lowest and the highest value of a stretch of the sound, relative to its peak.
pub type Peaks = [[f32; 2]; 128];

/// One step of a sound that is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Emerging {
    /// How much of it is still noise: 1 for nothing but noise, 0 for none.
    pub noise: f32,
    /// What the model takes it for.
    pub peaks: Peaks,
}

/// The steps of a sound so far; the last ones are the nearest to it.
pub type Emergence = Vec<Emerging>;

/// The picture of a clip.
#[must_use]
pub fn peaks(clip: &Clip) -> Peaks {
    let (frames, peak) = (clip.len_frames(), clip.peak().max(f32::MIN_POSITIVE));
    std::array::from_fn(|i| {
        let stretch = i * frames / 128..((i + 1) * frames / 128).min(frames);
        let channels = clip.channels().iter();
        let samples = channels.flat_map(|channel| &channel[stretch.clone()]);
        samples.fold([0f32; 2], |[low, high], &x| {
            [low.min(x / peak), high.max(x / peak)]
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_lowest_and_highest_of_each_stretch() {
        let ramp = (0..1280).map(|i| i as f32 / 2000.0).collect();
        let fall = (0..1280).map(|i| -(i as f32) / 4000.0).collect();
        let peaks = peaks(&Clip::new(100, vec![ramp, fall]));
        assert_eq!(peaks[127], [-0.5, 1.0]);
        assert!((peaks[63][1] - 639.0 / 1279.0).abs() < 1e-6);
        for odd in [vec![], vec![0.0; 5]] {
            let peaks = super::peaks(&Clip::new(100, vec![odd]));
            assert!(peaks.iter().flatten().all(|&x| x == 0.0));
        }
    }
}
