//! [`Statistics`], and how they are measured on a training set.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Format;
use crate::audio::Clip;
use crate::error::{Error, Result};

/// Mean and scale of each value of a row, `C` of each, as measured on the training set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Subtracted before scaling; zeros where a representation does not centre.
    pub mean: Vec<f32>,
    /// Divided by.
    pub scale: Vec<f32>,
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
    pub(super) fn check(&self, width: usize) -> Result<()> {
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

/// Gives every clip to `take`, with its own format, after checking that it can be measured: it is as long as `format`
/// says, or shorter, in whole rows of `hop` frames of audio.
pub(super) fn for_each_clip(
    format: &Format,
    hop: usize,
    clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    mut take: impl FnMut(&Format, &Clip) -> Result<()>,
) -> Result<()> {
    let mut count = 0;
    for clip in clips {
        let clip = clip?;
        let rows = clip.len_frames().min(format.len_frames) / hop;
        let own = Format {
            len_frames: match rows {
                0 => format.len_frames,
                rows => rows * hop,
            },
            ..*format
        };
        own.check(&clip)?;
        count += 1;
        if !clip.is_finite() {
            return Err(Error::setting(format!(
                "clip {count} of the training set holds values that are not finite"
            )));
        }
        take(&own, &clip)?;
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
pub(super) const QUIETEST: f64 = 1e-4;

/// Per-column mean square of the companded values over the active rows of a training set.
///
/// `transform` gives the linear values of a clip, row-major in rows of `width` for `hop` frames of audio each.
pub(super) fn mean_squares(
    format: &Format,
    (hop, width): (usize, usize),
    clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    transform: impl Fn(&Format, &Clip) -> Result<Vec<f32>>,
    compand: impl Fn(f32) -> f32,
) -> Result<Vec<f64>> {
    let (mut sums, mut rows) = (vec![0.0; width], 0u64);
    for_each_clip(format, hop, clips, |own, clip| {
        let values = transform(own, clip)?;
        let energy = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let loudest = values.chunks(width).map(energy).fold(0.0, f64::max);
        for row in values
            .chunks(width)
            .filter(|row| energy(row) > loudest * ACTIVE)
        {
            rows += 1;
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(compand(x)).powi(2);
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
pub(super) fn scales(mean_squares: &[f64], floor: f64) -> Vec<f32> {
    let largest = mean_squares.iter().fold(0.0f64, |a, &b| a.max(b)).sqrt();
    mean_squares
        .iter()
        .map(|square| square.sqrt().max(largest * floor) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::RepresentationConfig;
    use super::super::tests::FORMAT;
    use super::*;

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
}
