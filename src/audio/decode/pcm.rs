//! Samples that stand in a file as they are, or by G.711.

use super::part::Part;
use super::{Failure, MAX_SAMPLES, RawAudio, Wanted, check_layout, sound, too_long};

/// Frames that are read at once where a sound is handed on in pieces.
const AT_ONCE: u64 = 1 << 16;

/// What the bytes of a sample mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Two's complement, of this many bits that are used; 0 for all.
    Int {
        valid_bits: usize,
    },
    Unsigned,
    Float,
    MuLaw,
    ALaw,
}

/// The layout of interleaved samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pcm {
    pub sample_rate: u32,
    pub channels: usize,
    pub coding: Coding,
    /// Bytes that the bits of a sample need, and those it takes.
    pub width: usize,
    pub container: usize,
    pub big_endian: bool,
}

impl Pcm {
    /// A layout whose samples fill their bytes.
    pub fn new(sample_rate: u32, channels: usize, coding: Coding, width: usize) -> Self {
        Self {
            sample_rate,
            channels,
            coding,
            width,
            container: width,
            big_endian: true,
        }
    }

    /// Bytes of a frame.
    pub fn frame_len(&self) -> u64 {
        (self.container * self.channels) as u64
    }

    /// Decodes the bytes in the parts of a file, one after the other. `missing` bytes more are promised.
    pub fn decode(
        &self,
        parts: &[Part],
        missing: u64,
        wanted: &mut Wanted<'_>,
    ) -> Result<RawAudio, Failure> {
        check_layout(self.sample_rate, self.channels)?;
        let known = match self.coding {
            Coding::Int { .. } => matches!(self.container, 1..=4),
            Coding::Unsigned | Coding::MuLaw | Coding::ALaw => self.container == 1,
            Coding::Float => self.container == self.width && matches!(self.width, 4 | 8),
        };
        if !known || self.width == 0 {
            return sound(format!(
                "expected 8 to 32-bit integers or 32 or 64-bit floats, found {} bits a sample",
                8 * self.width
            ));
        }
        let frame_len = self.frame_len();
        let data_len: u64 = parts.iter().map(Part::len).sum();
        let present = data_len.saturating_add(missing) / frame_len;
        let start = wanted.skip.min(data_len / frame_len);
        let end = (data_len / frame_len).min(wanted.end(self.sample_rate) as u64);
        let frames = end.saturating_sub(start);
        if wanted.pieces.is_none()
            && frames.saturating_mul(self.channels as u64) > MAX_SAMPLES as u64
        {
            return too_long();
        }
        let mut sound = RawAudio {
            sample_rate: self.sample_rate,
            channels: vec![Vec::new(); self.channels],
            passed: start,
            present,
            ..RawAudio::default()
        };
        // As much at once as is collected anyway, and never a whole recording.
        let most = match wanted.pieces {
            Some(_) => AT_ONCE,
            None => u64::MAX,
        };
        let mut raise = None;
        let mut at = start;
        while at < end {
            let count = most.min(end - at);
            let data = self.bytes(parts, at * frame_len, count * frame_len)?;
            let raise = *raise.get_or_insert_with(|| self.raise(&data));
            for (channel, new) in sound
                .channels
                .iter_mut()
                .zip(self.channels_of(&data, raise))
            {
                match channel.is_empty() {
                    true => *channel = new,
                    false => channel.extend(new),
                }
            }
            wanted.hand_on(&mut sound)?;
            at += count;
        }
        Ok(sound)
    }

    /// Up to `len` bytes from `start`, counted through all parts.
    fn bytes(&self, parts: &[Part], mut start: u64, len: u64) -> Result<Vec<u8>, Failure> {
        let mut data = Vec::new();
        for part in parts {
            let left = len - data.len() as u64;
            data.append(&mut part.from(start).head(left)?);
            start = start.saturating_sub(part.len());
        }
        Ok(data)
    }

    /// How many bits the integers in `data` lie below the top of 32 bits, beyond the width of their container.
    ///
    /// By the format's definition a sample fills its container from the top. Some recorders put it at the bottom: those
    /// say so by bits below the container's, or show it by bits in the padding and nothing but the sign above.
    fn raise(&self, data: &[u8]) -> usize {
        let Coding::Int { valid_bits: valid } = self.coding else {
            return 0;
        };
        let (container, bits) = (self.container, 8 * self.width);
        let raise = 8 * (container - self.width);
        if raise > 0 || self.big_endian || valid >= bits || valid == 0 || !valid.is_multiple_of(8) {
            return raise;
        }
        let padding = (bits - valid) / 8;
        let is_low = |sample: &[u8]| sample[..padding].iter().any(|&b| b != 0);
        let extends = |sample: &[u8]| {
            let (value, above) = sample.split_at(container - padding);
            let sign = match value[value.len() - 1] & 0x80 {
                0 => 0,
                _ => 0xff,
            };
            above.iter().all(|&b| b == sign)
        };
        let samples = || data.chunks_exact(container);
        match samples().any(is_low) && samples().all(extends) {
            true => 8 * padding,
            false => 0,
        }
    }

    /// The interleaved samples in `data` as channels.
    fn channels_of(&self, data: &[u8], raise: usize) -> Vec<Vec<f32>> {
        let int = |value: i32| (f64::from(value << raise) / 2f64.powi(31)) as f32;
        match (self.coding, self.container) {
            (Coding::Float, 4) => self.planar(data, f32::from_le_bytes),
            (Coding::Float, _) => self.planar(data, |b| f64::from_le_bytes(b) as f32),
            (Coding::MuLaw, _) => self.planar(data, |[a]| mu_law(a)),
            (Coding::ALaw, _) => self.planar(data, |[a]| a_law(a)),
            (Coding::Unsigned, _) => self.planar(data, |[a]| (f32::from(a) - 128.0) / 128.0),
            (_, 1) => self.planar(data, |[a]| int(i32::from_le_bytes([0, 0, 0, a]))),
            (_, 2) => self.planar(data, |[a, b]| int(i32::from_le_bytes([0, 0, a, b]))),
            (_, 3) => self.planar(data, |[a, b, c]| int(i32::from_le_bytes([0, a, b, c]))),
            _ => self.planar(data, |b| int(i32::from_le_bytes(b))),
        }
    }

    /// Interleaved samples of `N` bytes to channels; an incomplete last frame is left out.
    fn planar<const N: usize>(&self, data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<Vec<f32>> {
        let (samples, _) = data.as_chunks::<N>();
        let value = |mut bytes: [u8; N]| {
            if self.big_endian {
                bytes.reverse();
            }
            value(bytes)
        };
        (0..self.channels)
            .map(|channel| {
                let frames = samples.chunks_exact(self.channels);
                frames.map(|frame| value(frame[channel])).collect()
            })
            .collect()
    }
}

/// ITU-T G.711: 8 bits to 14, at the top of 16.
fn mu_law(code: u8) -> f32 {
    let code = !code;
    let magnitude = ((i32::from(code & 0x0f) << 3) + 0x84) << (code >> 4 & 7);
    let value = magnitude - 0x84;
    (if code & 0x80 == 0 { value } else { -value }) as f32 / 32768.0
}

/// ITU-T G.711: 8 bits to 13, at the top of 16.
fn a_law(code: u8) -> f32 {
    let code = code ^ 0x55;
    let low = (i32::from(code & 0x0f) << 4) + 8;
    let value = match code >> 4 & 7 {
        0 => low,
        octave => (low + 0x100) << (octave - 1),
    };
    (if code & 0x80 == 0 { -value } else { value }) as f32 / 32768.0
}
