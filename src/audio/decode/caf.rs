//! Apple's Core Audio Format.

use std::io;

use super::adpcm::Adpcm;
use super::chunks::{Chunks, Dialect};
use super::codec::{Codec, aac_of};
use super::part::Part;
use super::pcm::{Coding, Pcm};
use super::stream::{self, Found, Span};
use super::{Failure, RawAudio, Wanted, check_layout, foreign, sound};

/// Decodes a CAF file.
pub(super) fn decode(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let chunks = Chunks::of(part, Dialect::Caf, |_, _| None)?;
    let (Some(desc), Some(data)) = (chunks.find(b"desc"), chunks.find(b"data")) else {
        return sound("expected a CAF file with desc and data chunks, found none");
    };
    if chunks.all(b"data").count() > 1 {
        return sound("expected one data chunk, found several");
    }
    let desc = desc.body.head(32)?;
    let Some((&rate, rest)) = desc
        .split_first_chunk::<8>()
        .filter(|(_, rest)| rest.len() == 24)
    else {
        return sound(format!(
            "expected a desc chunk of 32 bytes, found {}",
            desc.len()
        ));
    };
    let word = |n: usize| u32::from_be_bytes(std::array::from_fn(|i| rest[4 * n + i]));
    let [flags, packet_len, packet_frames, channels, bits] = [1, 2, 3, 4, 5].map(word);
    // Casts of floats saturate.
    let (sample_rate, channels) = (f64::from_be_bytes(rate).round() as u32, channels as usize);
    check_layout(sample_rate, channels)?;
    // A count of edits comes first.
    let body = data.body.from(4);
    let pakt = match chunks.find(b"pakt") {
        Some(pakt) => pakt.body.head(u64::MAX)?,
        None => Vec::new(),
    };
    let table = Packets::read(&pakt);
    let pcm = |coding, width| Pcm {
        big_endian: flags & 2 == 0,
        ..Pcm::new(sample_rate, channels, coding, width)
    };
    let int = Coding::Int { valid_bits: 0 };
    let width = (bits as usize).div_ceil(8);
    let container = match packet_len as usize / channels {
        container if container > width && container <= 4 => container,
        _ => width,
    };
    let codec = match &rest[..4] {
        b"lpcm" if flags & 1 == 0 => Codec::Pcm(Pcm {
            container,
            ..pcm(int, width)
        }),
        b"lpcm" => Codec::Pcm(pcm(Coding::Float, width)),
        b"ulaw" => Codec::Pcm(pcm(Coding::MuLaw, 1)),
        b"alaw" => Codec::Pcm(pcm(Coding::ALaw, 1)),
        b"ima4" => Codec::Adpcm(Adpcm::ima4(sample_rate, channels)?),
        b"aac " | b"alac" => {
            let kuki = match chunks.find(b"kuki") {
                Some(kuki) => kuki.body.head(4096)?,
                None => Vec::new(),
            };
            match &rest[..4] {
                b"alac" => Codec::alac(kuki),
                _ => aac_of(&kuki)?,
            }
        }
        other => return foreign::refuse(&format!("{} in CAF", foreign::of_apple(other))),
    };
    let mut sound = match codec {
        Codec::Pcm(pcm) => pcm.decode(&[body], data.missing, wanted)?,
        Codec::Adpcm(adpcm) => adpcm.decode(&body, table.frames(), wanted)?,
        Codec::Other(params) => {
            let span = Span {
                skip: table.priming,
                frames: table.frames(),
            };
            let mut packets = PacketReader {
                body: &body,
                sizes: table.sizes,
                packet_len: u64::from(packet_len),
                has_frames: packet_frames == 0,
                at: 0,
                done: false,
            };
            let frames = u64::from(packet_frames);
            let packets = std::iter::from_fn(|| packets.next_packet(frames).transpose());
            let mut sound = stream::decode(&params, packets, span, part.len(), wanted)?;
            // Some programs count the last packet as a whole one.
            if sound.lost.is_empty() && sound.present.saturating_sub(sound.frames() as u64) < frames
            {
                sound.present = 0;
            }
            sound
        }
    };
    sound.lost.splice(0..0, chunks.lost);
    sound.mended.splice(0..0, chunks.mended);
    Ok(sound)
}

/// The table of packets.
#[derive(Debug, Default)]
struct Packets<'a> {
    valid: u64,
    priming: u64,
    /// Lengths in bytes, and in frames where these vary: 7 bits a byte, most significant first.
    sizes: &'a [u8],
}

impl<'a> Packets<'a> {
    fn read(pakt: &'a [u8]) -> Self {
        let Some((head, sizes)) = pakt.split_first_chunk::<24>() else {
            return Self::default();
        };
        let valid = i64::from_be_bytes(std::array::from_fn(|i| head[8 + i]));
        let priming = i32::from_be_bytes(std::array::from_fn(|i| head[16 + i]));
        Self {
            valid: valid.try_into().unwrap_or(0),
            priming: priming.try_into().unwrap_or(0),
            sizes,
        }
    }

    fn frames(&self) -> Option<u64> {
        Some(self.valid).filter(|&valid| valid > 0)
    }
}

#[derive(Debug)]
struct PacketReader<'a> {
    body: &'a Part,
    sizes: &'a [u8],
    /// Bytes of a packet; 0 where the table tells.
    packet_len: u64,
    has_frames: bool,
    at: u64,
    done: bool,
}

impl PacketReader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        while let Some((&byte, rest)) = self.sizes.split_first() {
            self.sizes = rest;
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn next_packet(&mut self, frames: u64) -> io::Result<Option<Found>> {
        if self.done || self.at >= self.body.len() {
            return Ok(None);
        }
        let len = match self.packet_len {
            0 => self.number(),
            len => Some(len),
        };
        let Some(len) = len else { return Ok(None) };
        let frames = match self.has_frames {
            true => self.number().unwrap_or(0),
            false => frames,
        };
        if len == 0 || len > self.body.len() - self.at {
            self.done = true;
            return Ok(Some(None));
        }
        let bytes = self.body.from(self.at).head(len)?;
        self.at += len;
        Ok(Some(Some((bytes, frames))))
    }
}
