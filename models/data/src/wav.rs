//! Integer sound on its way to WAV files, without a detour through floating point.

use std::path::Path;

use anyhow::Context;

/// 16-bit sound, planar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcm {
    /// Hz.
    pub sample_rate: u32,
    /// At least one; all equally long.
    pub channels: Vec<Vec<i16>>,
}

impl Pcm {
    /// Writes a 16-bit WAV file.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let spec = hound::WavSpec {
            channels: self.channels.len() as u16,
            sample_rate: self.sample_rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let write = || {
            let mut writer = hound::WavWriter::create(path, spec)?;
            for frame in 0..self.channels[0].len() {
                for channel in &self.channels {
                    writer.write_sample(channel[frame])?;
                }
            }
            writer.finalize()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}
