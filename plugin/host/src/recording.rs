//! What a plugin played.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::RATE;

/// Two channels of samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    pub left: Vec<f32>,
    pub right: Vec<f32>,
}

impl Recording {
    pub fn append(&mut self, next: &Self) {
        self.left.extend(&next.left);
        self.right.extend(&next.right);
    }

    fn samples(&self) -> impl Iterator<Item = f32> {
        self.left.iter().chain(&self.right).copied()
    }

    /// The greatest magnitude; an error where a sample is no number.
    pub fn peak(&self) -> Result<f32> {
        ensure!(
            self.samples().all(f32::is_finite),
            "a sample is not a number"
        );
        Ok(self.samples().map(f32::abs).fold(0.0, f32::max))
    }

    /// The greatest difference of two samples at the same place.
    pub fn farthest(&self, other: &Self) -> Result<f32> {
        ensure!(
            self.left.len() == other.left.len(),
            "one has {} frames, the other {}",
            self.left.len(),
            other.left.len()
        );
        let pairs = self.samples().zip(other.samples());
        Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let named = || format!("{}", path.display());
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: RATE as u32,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut file = hound::WavWriter::create(path, spec).with_context(named)?;
        for (left, right) in self.left.iter().zip(&self.right) {
            file.write_sample(*left)?;
            file.write_sample(*right)?;
        }
        file.finalize().with_context(named)
    }

    /// Of one or two channels, whole numbers as parts of full scale.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file =
            hound::WavReader::open(path).with_context(|| format!("{}", path.display()))?;
        let spec = file.spec();
        let samples: Vec<f32> = match spec.sample_format {
            hound::SampleFormat::Float => file.samples().collect::<Result<_, _>>()?,
            hound::SampleFormat::Int => {
                let full = 2.0_f64.powi(i32::from(spec.bits_per_sample) - 1);
                let samples = file.samples::<i32>();
                let scaled = samples.map(|sample| sample.map(|x| (f64::from(x) / full) as f32));
                scaled.collect::<Result<_, _>>()?
            }
        };
        let channel = |place: usize| {
            let channels = usize::from(spec.channels);
            samples
                .iter()
                .skip(place)
                .step_by(channels)
                .copied()
                .collect()
        };
        let last = usize::from(spec.channels).min(2) - 1;
        Ok(Self {
            left: channel(0),
            right: channel(last),
        })
    }
}
