//! MP4, M4A and QuickTime: AAC, ALAC, MP3, FLAC and samples as they are.
//!
//! Symphonia's reader allots what a table of lengths claims and leaves the encoder's first frames in; so the tables are
//! read here, and only the packets are its business.

use std::io;

use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;

use super::adpcm::Adpcm;
use super::codec::{Codec, aac_of, mp3};
use super::part::Part;
use super::pcm::{Coding, Pcm};
use super::stream::{self, Found, Span};
use super::{Failure, MAX_CHANNELS, RawAudio, Wanted, check_layout, foreign, sound};

/// More atoms than any sound file has side by side.
const MAX_ATOMS: usize = 65_536;

/// The most bytes of an index that are read: hours of sound have a few hundred kB.
const MAX_TABLE: u64 = 64 << 20;

/// Whether a file whose bytes from the fifth on are `kind` is one of these.
pub(super) fn opens(kind: &[u8]) -> bool {
    [&b"ftyp"[..], b"moov", b"mdat", b"wide", b"pnot"]
        .iter()
        .any(|atom| kind.starts_with(atom))
}

#[derive(Debug)]
struct Atom {
    kind: [u8; 4],
    body: Part,
}

/// The atoms that `part` consists of, as far as they lie within it.
fn atoms(part: &Part) -> io::Result<Vec<Atom>> {
    let mut atoms = Vec::new();
    let mut at = 0;
    while atoms.len() < MAX_ATOMS {
        let head = part.from(at).head(16)?;
        let Some((&[a, b, c, d, kind @ ..], long)) = head.split_first_chunk::<8>() else {
            break;
        };
        let (head_len, len) = match (u32::from_be_bytes([a, b, c, d]), long.first_chunk::<8>()) {
            // Up to the end.
            (0, _) => (8, part.len() - at),
            (1, Some(&long)) => (16, u64::from_be_bytes(long)),
            (len, _) => (8, u64::from(len)),
        };
        if len < head_len {
            break;
        }
        atoms.push(Atom {
            kind,
            body: part.sub(at + head_len, len - head_len),
        });
        at = at.saturating_add(len);
    }
    Ok(atoms)
}

/// The first atom at the end of a path of names.
fn find(part: &Part, path: &[&[u8; 4]]) -> io::Result<Option<Part>> {
    let mut part = part.clone();
    for kind in path {
        match atoms(&part)?.into_iter().find(|atom| &atom.kind == *kind) {
            Some(atom) => part = atom.body,
            None => return Ok(None),
        }
    }
    Ok(Some(part))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_be_bytes(
        *bytes.get(at..)?.first_chunk()?,
    )))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Decodes the first sound track.
pub(super) fn decode(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let top = atoms(part)?;
    let has = |kind: &[u8; 4]| top.iter().any(|atom| &atom.kind == kind);
    if has(b"moof") {
        return sound(
            "an MP4 file in fragments is not read; `ffmpeg -i old.mp4 -c copy new.m4a` puts it together",
        );
    }
    let Some(moov) = find(part, &[b"moov"])? else {
        return sound(
            "expected an MP4 file with an index (moov), found none: its recording was not finished, or it is cut",
        );
    };
    for trak in atoms(&moov)?
        .into_iter()
        .filter(|atom| &atom.kind == b"trak")
    {
        let handler = match find(&trak.body, &[b"mdia", b"hdlr"])? {
            Some(hdlr) => hdlr.head(12)?,
            None => continue,
        };
        if handler.get(8..12) == Some(b"soun") {
            return Track::read(&moov, &trak.body)?.decode(part, wanted);
        }
    }
    sound("expected an MP4 file with sound in it, found none")
}

/// A sound track.
#[derive(Debug)]
struct Track {
    codec: Codec,
    sample_rate: u32,
    span: Span,
    /// Where the bytes of each stretch of packets begin.
    offsets: Table,
    /// From which stretch on there are how many packets in each.
    runs: Vec<[u64; 2]>,
    /// Bytes of all packets, or 0 where `lengths` tells.
    packet_len: u64,
    lengths: Table,
    packets: u64,
    /// Frames of a packet.
    frames: u64,
}

/// Whole numbers in a file, 4 or 8 bytes each.
#[derive(Debug, Default)]
struct Table {
    bytes: Vec<u8>,
    width: usize,
}

impl Table {
    fn get(&self, n: u64) -> Option<u64> {
        let at = usize::try_from(n).ok()?.checked_mul(self.width)?;
        match self.width {
            8 => u64_at(&self.bytes, at),
            _ => u32_at(&self.bytes, at),
        }
    }
}

impl Track {
    fn read(moov: &Part, trak: &Part) -> Result<Self, Failure> {
        let table = |path: &[&[u8; 4]]| -> Result<Vec<u8>, Failure> {
            match find(trak, path)? {
                Some(part) => Ok(part.head(MAX_TABLE)?),
                None => Ok(Vec::new()),
            }
        };
        let stbl = |kind| table(&[b"mdia", b"minf", b"stbl", kind]);
        let mdhd = table(&[b"mdia", b"mdhd"])?;
        let at = if mdhd.first() == Some(&1) { 20 } else { 12 };
        let timescale = u32_at(&mdhd, at).unwrap_or(0);
        let Some(stsd) = find(trak, &[b"mdia", b"minf", b"stbl", b"stsd"])? else {
            return sound("expected a track with a description (stsd), found none");
        };
        let entries = atoms(&stsd.from(8))?;
        let Some(entry) = entries.into_iter().next() else {
            return sound("expected a track with a description (stsd), found an empty one");
        };
        let (sample_rate, codec) = codec_of(&entry)?;

        let stsz = stbl(b"stsz")?;
        let stsc = stbl(b"stsc")?;
        let stco = stbl(b"stco")?;
        let co64 = stbl(b"co64")?;
        let (mut offsets, width) = if stco.is_empty() {
            (co64, 8)
        } else {
            (stco, 4)
        };
        let count = u32_at(&offsets, 4).unwrap_or(0);
        if count == 0 {
            return sound("expected an MP4 file with samples in its sound track, found none");
        }
        offsets.drain(..8.min(offsets.len()));
        let mut runs: Vec<[u64; 2]> = Vec::new();
        for run in stsc.get(8..).unwrap_or_default().chunks_exact(12) {
            runs.push([u32_at(run, 0).unwrap_or(0), u32_at(run, 4).unwrap_or(0)]);
        }
        let stts = stbl(b"stts")?;
        let durations = stts.get(8..).unwrap_or_default().chunks_exact(8);
        let durations = durations.map(|pair| [0, 4].map(|at| u32_at(pair, at).unwrap_or(0)));
        let total = durations
            .clone()
            .fold(0u64, |sum, [n, each]| sum.saturating_add(n * each));
        let each = durations.clone().next().map_or(0, |[_, each]| each);
        // The track's clock, mostly that of its samples.
        let frames = |ticks: u64| match timescale {
            0 => ticks,
            _ => (u128::from(ticks) * u128::from(sample_rate) / u128::from(timescale)) as u64,
        };
        let elst = table(&[b"edts", b"elst"])?;
        let mvhd = find(moov, &[b"mvhd"])?
            .map(|mvhd| mvhd.head(32))
            .transpose()?
            .unwrap_or_default();
        let at = if mvhd.first() == Some(&1) { 20 } else { 12 };
        let clock = u32_at(&mvhd, at).unwrap_or(0);
        let span = edited(&elst, clock, sample_rate, frames(total), frames);
        let span = match span {
            Some(span) => span,
            None => gapless(&moov.head(MAX_TABLE)?).unwrap_or(Span {
                skip: 0,
                frames: Some(frames(total)).filter(|&frames| frames > 0),
            }),
        };
        Ok(Self {
            codec,
            sample_rate,
            span,
            offsets: Table {
                bytes: offsets,
                width,
            },
            runs,
            packet_len: u32_at(&stsz, 4).unwrap_or(0),
            packets: u32_at(&stsz, 8).unwrap_or(0),
            lengths: Table {
                bytes: stsz.get(12..).unwrap_or_default().to_vec(),
                width: 4,
            },
            frames: frames(each).max(1),
        })
    }

    /// Packets in the stretch `n`.
    fn packets_in(&self, n: u64) -> u64 {
        let run = self.runs.partition_point(|&[first, _]| first <= n + 1);
        run.checked_sub(1).map_or(0, |run| self.runs[run][1])
    }

    fn decode(&self, part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
        check_layout(self.sample_rate, 1)?;
        let params = match &self.codec {
            Codec::Other(params) => params,
            Codec::Pcm(pcm) => {
                let (parts, missing) = self.stretches(part, pcm.frame_len(), 1);
                return pcm.decode(&parts, missing, wanted);
            }
            Codec::Adpcm(adpcm) => {
                let (len, frames) = adpcm.block();
                let (parts, _) = self.stretches(part, len as u64, frames as u64);
                // Blocks of several stretches follow one another in practice.
                let [part] = &parts[..] else {
                    return sound("expected ADPCM in one piece, found several");
                };
                return adpcm.decode(part, self.span.frames, wanted);
            }
        };
        let mut reader = PacketReader {
            track: self,
            part,
            stretch: 0,
            left: self.packets_in(0),
            at: self.offsets.get(0).unwrap_or(0),
            packet: 0,
            budget: part.len(),
        };
        let packets = std::iter::from_fn(|| reader.next_packet().transpose());
        stream::decode(params, packets, self.span, part.len(), wanted)
    }

    /// The bytes of all stretches where `frames` take `len` bytes, joined where they touch, and the bytes that lie
    /// beyond the file.
    fn stretches(&self, part: &Part, len: u64, frames: u64) -> (Vec<Part>, u64) {
        let mut ranges: Vec<[u64; 2]> = Vec::new();
        let (mut budget, mut missing) = (part.len(), 0u64);
        let mut left = self.packets;
        for n in 0.. {
            let Some(start) = self.offsets.get(n).filter(|_| left > 0) else {
                break;
            };
            let packets = self.packets_in(n).min(left);
            left -= packets;
            let wanted = (packets / frames).saturating_mul(len);
            let there = wanted.min(part.len().saturating_sub(start)).min(budget);
            missing = missing.saturating_add(wanted - there);
            budget -= there;
            match ranges.last_mut() {
                Some([_, end]) if *end == start => *end += there,
                _ if there > 0 => ranges.push([start, start + there]),
                _ => {}
            }
        }
        let parts = ranges
            .into_iter()
            .map(|[start, end]| part.sub(start, end - start));
        (parts.collect(), missing)
    }
}

#[derive(Debug)]
struct PacketReader<'a> {
    track: &'a Track,
    part: &'a Part,
    stretch: u64,
    /// Packets left in the stretch, and where the next begins.
    left: u64,
    at: u64,
    packet: u64,
    /// Bytes that may yet be read: tables that send us to the same bytes again and again do not make a file longer.
    budget: u64,
}

impl PacketReader<'_> {
    fn next_packet(&mut self) -> io::Result<Option<Found>> {
        let track = self.track;
        while self.left == 0 {
            self.stretch += 1;
            let Some(at) = track.offsets.get(self.stretch) else {
                return Ok(None);
            };
            (self.at, self.left) = (at, track.packets_in(self.stretch));
        }
        if self.packet >= track.packets {
            return Ok(None);
        }
        let len = match track.packet_len {
            0 => track.lengths.get(self.packet),
            len => Some(len),
        };
        let Some(len) = len else {
            return Ok(Some(None));
        };
        let there = self.part.len().saturating_sub(self.at).min(self.budget);
        if len == 0 || len > there {
            // The last: nothing is found behind it.
            self.packet = track.packets;
            return Ok(Some(None));
        }
        let bytes = self.part.from(self.at).head(len)?;
        self.budget -= len;
        self.at += len;
        self.left -= 1;
        self.packet += 1;
        Ok(Some(Some((bytes, track.frames))))
    }
}

/// What an edit list leaves of `total` frames; none without one.
fn edited(
    elst: &[u8],
    clock: u64,
    sample_rate: u32,
    total: u64,
    frames: impl Fn(u64) -> u64,
) -> Option<Span> {
    let long = elst.first() == Some(&1);
    let entry_len = if long { 20 } else { 12 };
    let entries = elst.get(8..)?.chunks_exact(entry_len);
    let (duration, start) = entries
        .filter_map(|entry| match long {
            true => Some((u64_at(entry, 0)?, u64_at(entry, 8)?)),
            false => Some((u32_at(entry, 0)?, u32_at(entry, 4)?)),
        })
        // All ones stand for silence in front, which is none of the sound.
        .find(|&(_, start)| start < 1 << 31)?;
    let skip = frames(start);
    let rest = total.checked_sub(skip)?;
    let wanted = match clock {
        0 => 0,
        _ => (u128::from(duration) * u128::from(sample_rate) / u128::from(clock)) as u64,
    };
    // Told in ticks of the film's clock, often milliseconds, the length is only about that of the packets.
    let tick = u64::from(sample_rate) / clock.max(1) + 1;
    let frames = match wanted {
        0 => rest,
        wanted if wanted.abs_diff(rest) <= tick => rest,
        wanted => wanted.min(rest),
    };
    Some(Span {
        skip,
        frames: Some(frames),
    })
}

/// What iTunes says of the encoder's delay, the padding and the frames between: a line of hexadecimal numbers.
fn gapless(moov: &[u8]) -> Option<Span> {
    let at = moov.windows(8).position(|bytes| bytes == b"iTunSMPB")?;
    let text = &moov[at + 8..moov.len().min(at + 200)];
    let text = &text[text.windows(4).position(|bytes| bytes == b"data")? + 4..];
    let text: String = text
        .iter()
        .filter(|b| b.is_ascii())
        .map(|&b| char::from(b))
        .collect();
    let mut numbers = text
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(|number| number.len() >= 8);
    let mut number = || u64::from_str_radix(numbers.next()?, 16).ok();
    let (_, skip, _, frames) = (number()?, number()?, number()?, number()?);
    Some(Span {
        skip,
        frames: Some(frames).filter(|&frames| frames > 0),
    })
}

/// Sample rate and codec of a track's description.
fn codec_of(entry: &Atom) -> Result<(u32, Codec), Failure> {
    let head = entry.body.head(64)?;
    let u16_at = |at: usize| {
        head.get(at..at + 2)
            .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
    };
    if head.len() < 28 {
        return sound(format!(
            "expected a track's description of at least 28 bytes, found {}",
            head.len()
        ));
    }
    let (version, mut channels, bits) =
        (u16_at(8), usize::from(u16_at(16)), usize::from(u16_at(18)));
    let mut sample_rate = u32::from(u16_at(24));
    let (mut flags, mut width) = (0, bits.div_ceil(8));
    let extras = match version {
        0 => 28,
        1 => 44,
        _ => {
            let rate = head
                .get(32..40)
                .and_then(<[u8]>::first_chunk)
                .map_or(0.0, |&b| f64::from_be_bytes(b));
            sample_rate = rate.round() as u32;
            channels = u32_at(&head, 40).unwrap_or(0) as usize;
            width = (u32_at(&head, 48).unwrap_or(0) as usize).div_ceil(8);
            flags = u32_at(&head, 52).unwrap_or(0);
            64
        }
    };
    let inside = entry.body.from(extras);
    let extra = |kind: &[u8; 4]| -> io::Result<Option<Vec<u8>>> {
        let found = match find(&inside, &[kind])? {
            None => find(&inside, &[b"wave", kind])?,
            found => found,
        };
        found.map(|part| part.head(1 << 16)).transpose()
    };
    let layout = |channels: usize| match channels {
        1..=MAX_CHANNELS => Ok(()),
        _ => check_layout(1, channels),
    };
    // QuickTime turns the bytes around by a switch.
    let is_little = extra(b"enda")?.is_some_and(|enda| enda.ends_with(&[1]));
    let pcm = |coding, width, big_endian: bool| {
        Codec::Pcm(Pcm {
            big_endian: big_endian && !is_little,
            ..Pcm::new(sample_rate, channels, coding, width)
        })
    };
    let int = Coding::Int { valid_bits: 0 };
    let codec = match &entry.kind {
        b"mp4a" => match extra(b"esds")? {
            Some(esds) => aac_of(esds.get(4..).unwrap_or_default())?,
            None => return sound("expected an esds atom for AAC, found none"),
        },
        b".mp3" | b"ms\0\x55" => mp3(sample_rate),
        b"alac" => match extra(b"alac")? {
            Some(cookie) => Codec::alac(cookie.get(4..).unwrap_or_default().to_vec()),
            None => return sound("expected a magic cookie for ALAC, found none"),
        },
        b"fLaC" => match extra(b"dfLa")? {
            Some(blocks) => Codec::other(|params| {
                let info = blocks.get(8..42).unwrap_or_default();
                params.for_codec(CODEC_ID_FLAC).with_extra_data(info.into())
            }),
            None => return sound("expected a dfLa atom for FLAC, found none"),
        },
        b"twos" => pcm(int, width, true),
        b"sowt" => pcm(int, width, false),
        b"raw " => pcm(Coding::Unsigned, 1, true),
        b"in24" => pcm(int, 3, true),
        b"in32" => pcm(int, 4, true),
        b"fl32" => pcm(Coding::Float, 4, true),
        b"fl64" => pcm(Coding::Float, 8, true),
        b"ulaw" => pcm(Coding::MuLaw, 1, true),
        b"alaw" => pcm(Coding::ALaw, 1, true),
        b"lpcm" if flags & 1 == 1 => pcm(Coding::Float, width, flags & 2 == 2),
        b"lpcm" => pcm(int, width, flags & 2 == 2),
        b"ima4" => Codec::Adpcm(Adpcm::ima4(sample_rate, channels)?),
        other => return foreign::refuse(&format!("{} in MP4", foreign::of_apple(other))),
    };
    match &codec {
        Codec::Other(params) => {
            // The codec knows its rate better than 16 bits can say.
            sample_rate = match (params.sample_rate, &entry.kind) {
                (Some(rate), _) => rate,
                (None, b"alac") => params
                    .extra_data
                    .as_deref()
                    .and_then(|cookie| u32_at(cookie, 20))
                    .map_or(0, |n| n as u32),
                (None, b"fLaC") => params
                    .extra_data
                    .as_deref()
                    .and_then(|info| u32_at(info, 10))
                    .map_or(0, |n| n as u32 >> 12),
                (None, _) => sample_rate,
            };
        }
        Codec::Pcm(_) | Codec::Adpcm(_) => layout(channels)?,
    }
    Ok((sample_rate, codec))
}
