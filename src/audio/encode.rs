//! [`Clip`]s to WAV files.

use std::io::Cursor;
use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};
use serde::{Deserialize, Serialize};

use super::{Clip, MAX_CHANNELS};
use crate::error::{Error, Result};
use crate::file::write_whole;
use crate::noise::Noise;

/// How samples are stored in a WAV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BitDepth {
    /// 16-bit integers with triangular dither, for the widest use.
    Int16,
    /// 24-bit integers, rounded; what hosts and samplers expect.
    #[default]
    Int24,
    /// 32-bit floats, exact and without clipping.
    Float32,
}

/// Writes `clip` as a WAV file at `path`, replacing what is there.
///
/// The file appears whole or not at all: it is written beside its place and then renamed. A `path`
/// that leads to a device or pipe is written to directly. See [`wav_bytes`] for the samples.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; [`Error::Sound`] when the clip holds NaN or
/// infinite samples, or does not fit the format.
pub fn write_wav(path: &Path, clip: &Clip, depth: BitDepth) -> Result<()> {
    let bytes = encode(clip, depth).map_err(|reason| Error::sound(path, reason))?;
    write_whole(path, &bytes)
}

/// The bytes of a WAV file that holds `clip`; equal clips give equal bytes.
///
/// Integers are rounded, and clipped at full scale. 16 bits are dithered with triangular noise of
/// ±1 step from a fixed seed, which turns rounding distortion into steady noise; exact zeros stay
/// zero, so that silence is silent.
///
/// # Errors
/// [`Error::Setting`] when the clip holds NaN or infinite samples, has more than 64 channels, or
/// would exceed the 4 GiB of a WAV file.
pub fn wav_bytes(clip: &Clip, depth: BitDepth) -> Result<Vec<u8>> {
    encode(clip, depth).map_err(Error::Setting)
}

/// Seed of the dither: any number, but always the same.
const DITHER_SEED: u64 = 0x64_69_74_68_65_72;

fn encode(clip: &Clip, depth: BitDepth) -> Result<Vec<u8>, String> {
    let (bits, format) = match depth {
        BitDepth::Int16 => (16u16, SampleFormat::Int),
        BitDepth::Int24 => (24, SampleFormat::Int),
        BitDepth::Float32 => (32, SampleFormat::Float),
    };
    let channels = clip.channels();
    if channels.len() > MAX_CHANNELS {
        return Err(format!(
            "expected at most {MAX_CHANNELS} channels, found {}",
            channels.len()
        ));
    }
    for (c, channel) in channels.iter().enumerate() {
        if let Some(n) = channel.iter().position(|x| !x.is_finite()) {
            return Err(format!(
                "expected finite samples, found {} at frame {n} of channel {c}",
                channel[n]
            ));
        }
    }
    let data_len = clip.len_frames() as u64 * channels.len() as u64 * u64::from(bits / 8);
    if data_len > u64::from(u32::MAX) - 1024 {
        return Err(format!(
            "expected at most 4 GiB of samples, found {data_len} bytes"
        ));
    }
    let spec = WavSpec {
        channels: channels.len() as u16,
        sample_rate: clip.sample_rate(),
        bits_per_sample: bits,
        sample_format: format,
    };
    let mut bytes = Cursor::new(Vec::with_capacity(data_len as usize + 128));
    let fail = |e: hound::Error| format!("cannot be written as WAV: {e}");
    let mut writer = WavWriter::new(&mut bytes, spec).map_err(fail)?;
    // Each channel has its own dither, so that it carries no stereo image.
    let mut dither: Vec<Noise> = (0..channels.len() as u64)
        .map(|c| Noise::at(DITHER_SEED, &[c]))
        .collect();
    for n in 0..clip.len_frames() {
        for (channel, dither) in channels.iter().zip(&mut dither) {
            let x = f64::from(channel[n]);
            match depth {
                BitDepth::Float32 => writer.write_sample(channel[n]),
                BitDepth::Int24 => writer.write_sample(to_int(x, 24)),
                BitDepth::Int16 if x == 0.0 => writer.write_sample(0i32),
                BitDepth::Int16 => {
                    let noise = f64::from(dither.uniform()) - f64::from(dither.uniform());
                    writer.write_sample(to_int(x + noise / 32768.0, 16))
                }
            }
            .map_err(fail)?;
        }
    }
    writer.finalize().map_err(fail)?;
    Ok(bytes.into_inner())
}

/// Full scale ±1 to integers of `bits`, the nearest one within range.
fn to_int(x: f64, bits: u32) -> i32 {
    let scale = f64::from(1u32 << (bits - 1));
    (x * scale).round().clamp(-scale, scale - 1.0) as i32
}
