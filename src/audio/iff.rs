//! WAV and AIFF, the two containers made of chunks.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{AiffReader, WavReader};

use super::decode::{Failure, RawAudio, check_layout, frame_limit, guarded, sound, too_long};
use super::{MAX_CHANNELS, MAX_SAMPLES};

/// A part of an IFF-like container; `len` is what the header claims.
struct Chunk {
    id: [u8; 4],
    start: u64,
    len: u64,
}

/// More chunks than any sound file has; a bound on time for files made of empty ones.
const MAX_CHUNKS: usize = 4096;

/// The chunks of a RIFF (`little endian`) or FORM (big endian) file.
///
/// We walk the containers ourselves: chunk lengths are the part of a file that lies most often, and
/// the libraries below then see only headers whose lengths we wrote.
fn chunks(file: &mut File, file_len: u64, len_of: fn([u8; 4]) -> u32) -> io::Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    let mut at = 12;
    while at + 8 <= file_len && chunks.len() < MAX_CHUNKS {
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let [a, b, c, d, len @ ..] = head;
        let len = u64::from(len_of(len));
        chunks.push(Chunk {
            id: [a, b, c, d],
            start: at + 8,
            len,
        });
        // Chunks are padded to even lengths.
        at += 8 + len + len % 2;
    }
    Ok(chunks)
}

/// The first chunk called `id`.
fn find<'a>(chunks: &'a [Chunk], id: &[u8; 4]) -> Option<&'a Chunk> {
    chunks.iter().find(|chunk| &chunk.id == id)
}

/// Up to `limit` bytes of `chunk`, as far as the file has them.
fn bytes_of(file: &mut File, chunk: &Chunk, limit: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(chunk.start))?;
    let mut bytes = Vec::new();
    file.take(chunk.len.min(limit)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// The layout of a WAV file's samples.
struct WavFormat {
    /// [`PCM`], [`FLOAT`] or a compressed format.
    tag: u16,
    channels: usize,
    sample_rate: u32,
    /// Bytes of a frame, as the header claims.
    block_len: usize,
    /// Bits of a sample, and those of them that its recorder used.
    bits: usize,
    valid_bits: usize,
}

impl WavFormat {
    fn read(fmt: &[u8]) -> Result<Self, Failure> {
        if fmt.len() < 16 {
            return sound(format!(
                "expected a fmt chunk of at least 16 bytes, found {}",
                fmt.len()
            ));
        }
        let u16_at = |at: usize| u16::from_le_bytes([fmt[at], fmt[at + 1]]);
        let bits = usize::from(u16_at(14));
        let mut format = Self {
            tag: u16_at(0),
            channels: usize::from(u16_at(2)),
            sample_rate: u32::from_le_bytes([fmt[4], fmt[5], fmt[6], fmt[7]]),
            block_len: usize::from(u16_at(12)),
            bits,
            valid_bits: bits,
        };
        if format.tag == EXTENSIBLE && fmt.len() >= 40 {
            // The format tag proper opens the GUID.
            format.tag = u16_at(24);
            format.valid_bits = usize::from(u16_at(18));
        }
        check_layout(format.sample_rate, format.channels)?;
        Ok(format)
    }

    /// Bytes that the bits of a sample need.
    fn width(&self) -> usize {
        self.bits.div_ceil(8)
    }

    /// Bytes that a sample takes in the file.
    fn container(&self) -> usize {
        let (width, container) = (self.width(), self.block_len / self.channels);
        let fits = (width..=width.max(4)).contains(&container);
        match self.block_len.is_multiple_of(self.channels) && fits {
            true => container,
            false => width,
        }
    }

    /// How many bits the integers in `data` lie below the top of 32 bits, beyond the width of their container.
    ///
    /// By the format's definition a sample fills its container from the top. Some recorders put it at the bottom: those
    /// say so by bits below the container's, or show it by bits in the padding and nothing but the sign above.
    fn raise(&self, data: &[u8]) -> usize {
        let container = self.container();
        let raise = 8 * (container - self.width());
        let (bits, valid) = (self.bits, self.valid_bits);
        if raise > 0 || valid >= bits || valid == 0 || !valid.is_multiple_of(8) {
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
    fn channels_of(&self, data: &[u8]) -> Vec<Vec<f32>> {
        let raise = self.raise(data);
        let int = |value: i32| (f64::from(value << raise) / 2f64.powi(31)) as f32;
        let channels = self.channels;
        match (self.tag, self.container()) {
            (FLOAT, 4) => planar(data, channels, f32::from_le_bytes),
            (FLOAT, _) => planar(data, channels, |b| f64::from_le_bytes(b) as f32),
            // Alone among the widths, 8 bits are unsigned.
            (_, 1) => planar(data, channels, |[a]| (f32::from(a) - 128.0) / 128.0),
            (_, 2) => planar(data, channels, |[a, b]| {
                int(i32::from_le_bytes([0, 0, a, b]))
            }),
            (_, 3) => planar(data, channels, |[a, b, c]| {
                int(i32::from_le_bytes([0, a, b, c]))
            }),
            _ => planar(data, channels, |b| int(i32::from_le_bytes(b))),
        }
    }
}

/// The bytes of samples that a WAV file holds, and whether its header promises more.
fn data_len(
    file: &mut File,
    file_len: u64,
    chunks: &[Chunk],
    data: &Chunk,
) -> io::Result<(u64, bool)> {
    // RF64 keeps the true length elsewhere: behind that of the whole file, in 64 bits.
    let long = match find(chunks, b"ds64") {
        Some(ds64) if data.len == u64::from(u32::MAX) => bytes_of(file, ds64, 16)?
            .get(8..16)
            .map(|len| u64::from_le_bytes(std::array::from_fn(|i| len[i]))),
        _ => None,
    };
    let claimed = long.unwrap_or(data.len);
    // A recorder that was cut off, or writes to a pipe, leaves 0 or all ones for the lengths: the
    // sound is then the rest of the file.
    let riff_len = {
        file.seek(SeekFrom::Start(4))?;
        let mut len = [0; 4];
        file.read_exact(&mut len)?;
        u32::from_le_bytes(len)
    };
    let open_ended =
        claimed == u64::from(u32::MAX) || (claimed == 0 && matches!(riff_len, 0 | u32::MAX));
    let rest = file_len - data.start;
    let len = if open_ended { rest } else { claimed.min(rest) };
    Ok((len, !open_ended && claimed > rest))
}

/// Decodes a WAV, RF64 or BW64 file of `file_len` bytes.
pub(super) fn decode_wav(
    mut file: File,
    file_len: u64,
    max_seconds: Option<f64>,
) -> Result<RawAudio, Failure> {
    let chunks = chunks(&mut file, file_len, u32::from_le_bytes)?;
    let (Some(fmt), Some(data)) = (find(&chunks, b"fmt "), find(&chunks, b"data")) else {
        return sound("expected a WAV file with fmt and data chunks, found none");
    };
    let fmt = bytes_of(&mut file, fmt, 4096)?;
    let format = WavFormat::read(&fmt)?;
    let (data_len, truncated) = data_len(&mut file, file_len, &chunks, data)?;
    let (bits, container) = (format.bits, format.container());
    let limit = frame_limit(format.sample_rate, max_seconds);
    match (format.tag, container) {
        (PCM, 1..=4) if bits > 0 => {}
        (FLOAT, 4 | 8) if container == format.width() => {}
        (PCM | FLOAT, _) => {
            return sound(format!(
                "expected 8 to 32-bit integers or 32 or 64-bit floats, found {bits} bits a sample"
            ));
        }
        (tag, _) => {
            let start = data.start;
            let mut sound =
                decode_compressed(file, &chunks, start, data_len, fmt, tag, max_seconds)?;
            sound.truncated |= truncated && sound.frames() < limit;
            return Ok(sound);
        }
    }

    let (limit, frame_len) = (limit as u64, (container * format.channels) as u64);
    let frames = (data_len / frame_len).min(limit);
    if frames.saturating_mul(format.channels as u64) > MAX_SAMPLES as u64 {
        return too_long();
    }
    let whole = Chunk {
        len: data_len,
        ..*data
    };
    let data = bytes_of(&mut file, &whole, frames * frame_len)?;
    Ok(RawAudio {
        sample_rate: format.sample_rate,
        channels: format.channels_of(&data),
        truncated: truncated && data_len / frame_len < limit,
    })
}

/// A-law, µ-law or ADPCM of format `tag` in the `len` bytes from `start`.
///
/// The library decodes them behind a header of ours: with true lengths, and in the plain form that
/// says the same as the extensible one.
fn decode_compressed(
    mut file: File,
    chunks: &[Chunk],
    start: u64,
    len: u64,
    mut fmt: Vec<u8>,
    tag: u16,
    max_seconds: Option<f64>,
) -> Result<RawAudio, Failure> {
    if fmt[..2] != tag.to_le_bytes() {
        fmt.truncate(16);
        fmt[..2].copy_from_slice(&tag.to_le_bytes());
        fmt.extend([0, 0]);
    }
    let mut head = Vec::new();
    head.extend(b"RIFF");
    head.extend(u32::MAX.to_le_bytes());
    head.extend(b"WAVEfmt ");
    fmt.resize(fmt.len().next_multiple_of(2), 0);
    head.extend((fmt.len() as u32).to_le_bytes());
    head.extend(&fmt);
    head.extend(b"data");
    head.extend(u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    let fact = match find(chunks, b"fact") {
        Some(fact) => bytes_of(&mut file, fact, 4)?.try_into().ok(),
        None => None,
    };
    let fact = fact.map(|b| u32::from_le_bytes(b) as usize);
    file.seek(SeekFrom::Start(start))?;
    let source = ReadOnlySource::new(Cursor::new(head).chain(file.take(len)));
    let mut sound = guarded(max_seconds, 0, || {
        let stream = MediaSourceStream::new(Box::new(source), Default::default());
        Ok(Box::new(WavReader::try_new(stream, Default::default())?))
    })?;
    // The last block of ADPCM is filled up; the fact chunk tells where the sound ends.
    if let (Some(frames @ 1..), Some(&[a, b])) = (fact, fmt.get(18..20)) {
        let padding = sound.frames().saturating_sub(frames);
        if padding < usize::from(u16::from_le_bytes([a, b])) {
            sound.channels.iter_mut().for_each(|c| c.truncate(frames));
        }
    }
    Ok(sound)
}

/// Interleaved samples of `N` bytes to channels; an incomplete last frame is left out.
fn planar<const N: usize>(
    data: &[u8],
    channels: usize,
    value: impl Fn([u8; N]) -> f32,
) -> Vec<Vec<f32>> {
    let (samples, _) = data.as_chunks::<N>();
    (0..channels)
        .map(|channel| {
            let frames = samples.chunks_exact(channels);
            frames.map(|frame| value(frame[channel])).collect()
        })
        .collect()
}

/// Decodes an AIFF or AIFC file of `file_len` bytes; `form` is the four letters that tell which.
pub(super) fn decode_aiff(
    mut file: File,
    file_len: u64,
    form: &[u8],
    max_seconds: Option<f64>,
) -> Result<RawAudio, Failure> {
    let chunks = chunks(&mut file, file_len, u32::from_be_bytes)?;
    let (Some(comm), Some(ssnd)) = (find(&chunks, b"COMM"), find(&chunks, b"SSND")) else {
        return sound("expected an AIFF file with COMM and SSND chunks, found none");
    };
    let mut comm = bytes_of(&mut file, comm, 4096)?;
    let &[a, b, _, _, _, _, c, d, ..] = &comm[..] else {
        return sound(format!(
            "expected a COMM chunk of at least 18 bytes, found {}",
            comm.len()
        ));
    };
    let (channels, bits) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if !(1..=MAX_CHANNELS).contains(&usize::from(channels)) || bits > 64 {
        return sound(format!(
            "expected 1 to {MAX_CHANNELS} channels of at most 64 bits, found {channels} of {bits} bits"
        ));
    }
    comm.resize(comm.len().next_multiple_of(2), 0);
    let rest = file_len - ssnd.start;
    let data_len = ssnd.len.min(rest);
    let truncated = ssnd.len > rest;

    let mut head = Vec::new();
    head.extend(b"FORM");
    head.extend(u32::MAX.to_be_bytes());
    head.extend(form);
    head.extend(b"COMM");
    head.extend((comm.len() as u32).to_be_bytes());
    head.extend(&comm);
    head.extend(b"SSND");
    head.extend((data_len as u32).to_be_bytes());
    file.seek(SeekFrom::Start(ssnd.start))?;
    let source = ReadOnlySource::new(Cursor::new(head).chain(file.take(data_len)));
    let mut sound = guarded(max_seconds, 0, || {
        let stream = MediaSourceStream::new(Box::new(source), Default::default());
        Ok(Box::new(AiffReader::try_new(stream, Default::default())?))
    })?;
    sound.truncated |= truncated && sound.frames() < frame_limit(sound.sample_rate, max_seconds);
    Ok(sound)
}
