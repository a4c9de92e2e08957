//! WAV, in all its containers and with all that lies in it.

use super::adpcm::Adpcm;
use super::chunks::{Chunk, Chunks, Dialect};
use super::part::Part;
use super::pcm::{Coding, Pcm};
use super::{Failure, RawAudio, Wanted, check_layout, decode_by_head, foreign, mpeg, sound};

const PCM: u16 = 1;
const MS_ADPCM: u16 = 2;
const FLOAT: u16 = 3;
const A_LAW: u16 = 6;
const MU_LAW: u16 = 7;
const IMA_ADPCM: u16 = 0x11;
const MPEG: u16 = 0x50;
const MP3: u16 = 0x55;
/// AAC behind headers of its own.
const AAC: [u16; 6] = [0xff, 0x180, 0x1600, 0x1610, 0x706d, 0xa106];
/// Ogg Vorbis, in three ways of keeping its headers.
const VORBIS: [u16; 6] = [0x674f, 0x6750, 0x6751, 0x676f, 0x6770, 0x6771];
const FLAC: u16 = 0xf1ac;
const EXTENSIBLE: u16 = 0xfffe;

/// The layout of a WAV file's samples.
#[derive(Debug)]
struct Format {
    /// [`PCM`], [`FLOAT`] or a compressed format.
    tag: u16,
    channels: usize,
    sample_rate: u32,
    /// Bytes of a frame or a block, as the header claims.
    block_len: usize,
    /// Bits of a sample, and those of them that its recorder used.
    bits: usize,
    valid_bits: usize,
}

impl Format {
    fn read(fmt: &[u8], big_endian: bool) -> Result<Self, Failure> {
        if fmt.len() < 16 {
            return sound(format!(
                "expected a fmt chunk of at least 16 bytes, found {}",
                fmt.len()
            ));
        }
        let u16_at = |at: usize| match big_endian {
            true => u16::from_be_bytes([fmt[at], fmt[at + 1]]),
            false => u16::from_le_bytes([fmt[at], fmt[at + 1]]),
        };
        let rate = match big_endian {
            true => [4, 6].map(u16_at),
            false => [6, 4].map(u16_at),
        };
        let bits = usize::from(u16_at(14));
        let mut format = Self {
            tag: u16_at(0),
            channels: usize::from(u16_at(2)),
            sample_rate: u32::from(rate[0]) << 16 | u32::from(rate[1]),
            block_len: usize::from(u16_at(12)),
            bits,
            valid_bits: bits,
        };
        if format.tag == EXTENSIBLE && fmt.len() >= 26 {
            // The format tag proper opens the GUID.
            format.tag = u16_at(24);
            format.valid_bits = usize::from(u16_at(18));
        } else if format.tag == EXTENSIBLE {
            // Cut short, it can only say the plainest.
            format.tag = PCM;
        }
        check_layout(format.sample_rate, format.channels)?;
        Ok(format)
    }

    /// The layout of uncompressed samples.
    fn pcm(&self, coding: Coding, big_endian: bool) -> Result<Pcm, Failure> {
        let width = self.bits.div_ceil(8);
        let limit = if coding == Coding::Float { 8 } else { 4 };
        if !(1..=limit).contains(&width) {
            return sound(format!(
                "expected 8 to 32-bit integers or 32 or 64-bit floats, found {} bits a sample",
                self.bits
            ));
        }
        let container = self.block_len / self.channels;
        let fits = self.block_len.is_multiple_of(self.channels)
            && (width..=width.max(4)).contains(&container);
        Ok(Pcm {
            container: if fits { container } else { width },
            // Alone among the widths, 8 bits are unsigned.
            coding: match coding {
                Coding::Int { .. } if width == 1 && !(fits && container > 1) => Coding::Unsigned,
                coding => coding,
            },
            big_endian,
            ..Pcm::new(self.sample_rate, self.channels, coding, width)
        })
    }
}

/// Decodes a WAV, RIFX, RF64, BW64 or W64 file.
pub(super) fn decode(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let dialect = match &part.head(4)?[..] {
        b"RIFX" => Dialect::Rifx,
        b"riff" => Dialect::Wave64,
        _ => Dialect::Riff,
    };
    // RF64 keeps the true length of the samples behind that of the whole file.
    let chunks = Chunks::of(part, dialect, |id, body| {
        let ds64 = body.head(16).ok().filter(|_| id == b"ds64")?;
        let len = ds64.get(8..16)?;
        Some(u64::from_le_bytes(std::array::from_fn(|i| len[i])))
    })?;
    let (Some(fmt), Some(data)) = (chunks.find(b"fmt "), chunks.find(b"data")) else {
        return sound("expected a WAV file with fmt and data chunks, found none");
    };
    let fmt = fmt.body.head(4096)?;
    let data: Vec<&Chunk> = std::iter::once(data)
        .chain(chunks.all(b"data").skip(1))
        .collect();
    let mut sound = decode_data(&chunks, &fmt, &data, dialect, wanted)?;
    sound.lost.splice(0..0, chunks.lost);
    sound.mended.splice(0..0, chunks.mended);
    Ok(sound)
}

fn decode_data(
    chunks: &Chunks,
    fmt: &[u8],
    data: &[&Chunk],
    dialect: Dialect,
    wanted: &mut Wanted<'_>,
) -> Result<RawAudio, Failure> {
    let big_endian = dialect == Dialect::Rifx;
    let format = Format::read(fmt, big_endian)?;
    let coding = match format.tag {
        PCM => Coding::Int {
            valid_bits: format.valid_bits,
        },
        FLOAT => Coding::Float,
        MU_LAW => Coding::MuLaw,
        A_LAW => Coding::ALaw,
        _ => return decode_compressed(chunks, &format, data, wanted),
    };
    let mut parts: Vec<Part> = data.iter().map(|chunk| chunk.body.clone()).collect();
    let missing = data
        .iter()
        .fold(0u64, |sum, chunk| sum.saturating_add(chunk.missing));
    let pcm = match coding {
        // Their bits are those of what they expand to in some headers.
        Coding::MuLaw | Coding::ALaw => Pcm::new(format.sample_rate, format.channels, coding, 1),
        coding => format.pcm(coding, big_endian)?,
    };
    if let ([part], true) = (&mut parts[..], dialect == Dialect::Wave64) {
        *part = unpadded(part, pcm.frame_len())?;
    }
    let mut sound = pcm.decode(&parts, missing, wanted)?;
    if parts.len() > 1 {
        sound.mended.push(format!(
            "its sound lies in {} data chunks, which are joined",
            parts.len()
        ));
    }
    Ok(sound)
}

/// Samples of W64 without the bytes up to a multiple of eight, which some programs count in: no multiple of a frame is
/// then the length.
fn unpadded(part: &Part, frame_len: u64) -> std::io::Result<Part> {
    let len = part.len();
    if len < 8 || !len.is_multiple_of(8) || len.is_multiple_of(frame_len) {
        return Ok(part.clone());
    }
    let kept = (len - 7).next_multiple_of(frame_len).min(len);
    let padding = part.from(kept).head(8)?;
    Ok(match padding.iter().all(|&b| b == 0) {
        true => part.sub(0, kept),
        false => part.clone(),
    })
}

/// What lies in the data chunk in another coding than samples.
fn decode_compressed(
    chunks: &Chunks,
    format: &Format,
    data: &[&Chunk],
    wanted: &mut Wanted<'_>,
) -> Result<RawAudio, Failure> {
    let &[Chunk { body, missing, .. }] = data else {
        return sound(format!(
            "expected one data chunk, as compressed sound has, found {}; a program that plays it can save it anew",
            data.len()
        ));
    };
    let Format {
        tag,
        channels,
        sample_rate,
        block_len,
        ..
    } = *format;
    // The last block of ADPCM is filled up; the fact chunk tells where the sound ends.
    let frames = || match chunks.find(b"fact").map(|fact| fact.body.head(4)) {
        Some(Ok(bytes)) => bytes
            .try_into()
            .ok()
            .map(|b| u64::from(u32::from_le_bytes(b))),
        _ => None,
    };
    let adpcm = match tag {
        MS_ADPCM => Some(Adpcm::ms(sample_rate, channels, block_len)?),
        IMA_ADPCM => Some(Adpcm::ima(sample_rate, channels, block_len)?),
        _ => None,
    };
    if let Some(adpcm) = adpcm {
        let mut sound = adpcm.decode(body, frames(), wanted)?;
        let (block_len, frames) = adpcm.block();
        sound.present += missing / block_len as u64 * frames as u64;
        return Ok(sound);
    }
    let within = match tag {
        MPEG | MP3 => mpeg::decode(body, mpeg::tags_len(body)?, wanted)?,
        _ if AAC.contains(&tag) && mpeg::is_adts(body)? => Some(mpeg::decode_adts(body, wanted)?),
        _ if VORBIS.contains(&tag) || tag == FLAC => match &body.head(4)?[..] {
            b"OggS" | b"fLaC" => decode_by_head(body, wanted)?,
            _ => None,
        },
        _ => None,
    };
    let Some(mut sound) = within else {
        return foreign::refuse(&format!("{} in WAV", foreign::of_wav(tag)));
    };
    if *missing > 0 && sound.lost.is_empty() {
        sound
            .lost
            .push(format!("it ends early: {missing} bytes are missing"));
    }
    Ok(sound)
}
