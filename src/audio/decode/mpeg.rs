//! MPEG audio, layers I to III: found by its frames, whatever stands in front of them.

use std::io::{self, BufReader, Read};

use symphonia::default::formats::{AdtsReader, MpaReader};

use super::part::Part;
use super::{Failure, RawAudio, Wanted, sound, stream};

/// Bytes in front of the first frame that are searched, beyond tags.
const SEARCHED: u64 = 1 << 20;

/// The longest frame: layer II at 384 kbit/s and 32 kHz, padded.
const MAX_FRAME: u64 = 1729;

/// Bytes of the tags that stand in front of the sound, one after the other: ID3v2, APE.
///
/// They are what they claim to be; where that is a lie, the frames are found all the same.
pub(super) fn tags_len(part: &Part) -> io::Result<u64> {
    let mut at = 0;
    for _ in 0..64 {
        let head = part.from(at).head(32)?;
        let len = match &head[..] {
            // The size has 7 bits a byte; a flag tells of a footer as long as the header.
            &[b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
                let is_seven_bit = (a | b | c | d) < 0x80;
                let bits = if is_seven_bit { 7 } else { 8 };
                let size = [a, b, c, d]
                    .iter()
                    .fold(0, |n, &byte| n << bits | u64::from(byte));
                size + if flags & 0x10 == 0 { 10 } else { 20 }
            }
            // The size counts the items and the footer; a flag tells whether a header is there, as here it is.
            [
                b'A',
                b'P',
                b'E',
                b'T',
                b'A',
                b'G',
                b'E',
                b'X',
                _,
                _,
                _,
                _,
                a,
                b,
                c,
                d,
                ..,
            ] => 32 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
            _ => return Ok(at),
        };
        if at + len >= part.len() {
            return Ok(at);
        }
        at += len;
    }
    Ok(at)
}

/// Bytes and frames of sound of a frame of AAC that carries its own header, by its first seven bytes.
fn adts_frame(head: &[u8]) -> Option<(u64, u64)> {
    let &[0xff, b, _, d, e, f, g, ..] = head else {
        return None;
    };
    // The layer, which is 0, and a length of 13 bits.
    let len = u64::from(d & 3) << 11 | u64::from(e) << 3 | u64::from(f >> 5);
    let frames = 1024 * (u64::from(g & 3) + 1);
    Some((len, frames)).filter(|_| b & 0xf6 == 0xf0 && len > 7)
}

/// Whether `part` begins with two frames of AAC that carry their own headers.
pub(super) fn is_adts(part: &Part) -> io::Result<bool> {
    Ok(match adts_frame(&part.head(7)?) {
        Some((len, _)) => len == part.len() || adts_frame(&part.from(len).head(7)?).is_some(),
        None => false,
    })
}

/// Decodes AAC without a container.
pub(super) fn decode_adts(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let mut sound = stream::read(part, wanted, || {
        Ok(Box::new(AdtsReader::try_new(
            part.clone().stream_forward(),
            Default::default(),
        )?))
    })?;
    let mut reader = BufReader::with_capacity(1 << 16, part.from(0));
    let (mut at, mut total) = (0, 0);
    let mut head = [0; 7];
    while reader.read_exact(&mut head).is_ok() {
        let Some((len, frames)) = adts_frame(&head) else {
            break;
        };
        total += frames;
        at += len;
        reader.seek_relative(len as i64 - 7)?;
    }
    sound.present = total;
    if at < part.len() && !is_trailer(part, at)? && sound.lost.is_empty() {
        sound
            .lost
            .push(format!("its last {} bytes are no frames", part.len() - at));
    }
    Ok(sound)
}

/// What the four bytes in front of a frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// Version, layer and sample rate: the same all through a stream.
    kind: [u8; 3],
    sample_rate: u32,
    /// Of the frame, in bytes with the header, and in frames of sound.
    len: u64,
    frames: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[0xff, b, c, _, ..] = bytes else {
            return None;
        };
        let (version, layer, rate, bits) =
            (b >> 3 & 3, b >> 1 & 3, c >> 2 & 3, usize::from(c >> 4));
        // Version 1 and layer 0 are nobody's; streams of a rate that is not told cannot be read.
        if b & 0xe0 != 0xe0 || version == 1 || layer == 0 || rate == 3 || !(1..15).contains(&bits) {
            return None;
        }
        let is_first = version == 3;
        let rates: [u64; 14] = match (is_first, layer) {
            (true, 3) => std::array::from_fn(|i| 32 * (i as u64 + 1)),
            (true, 2) => [
                32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
            ],
            (true, _) => [
                32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
            ],
            (false, 3) => [
                32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
            ],
            (false, _) => [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        };
        let halvings = match version {
            3 => 0,
            2 => 1,
            _ => 2,
        };
        let sample_rate = [44_100, 48_000, 32_000][usize::from(rate)] >> halvings;
        let frames = match (layer, is_first) {
            (3, _) => 384,
            (2, _) | (_, true) => 1152,
            _ => 576,
        };
        // Layer I is counted in slots of four bytes.
        let slot = if layer == 3 { 4 } else { 1 };
        let bytes = frames / 8 * rates[bits - 1] * 1000 / u64::from(sample_rate) / slot;
        Some(Self {
            kind: [version, layer, rate],
            sample_rate,
            len: (bytes + u64::from(c >> 1 & 1)) * slot,
            frames,
        })
    }
}

/// Where the frames are.
#[derive(Debug, Default)]
struct Frames {
    start: u64,
    sample_rate: u32,
    /// Frames of sound, those of the last one included if it is cut.
    total: u64,
    /// Bytes between them that are none.
    skipped: u64,
    /// Whether the last one is cut.
    is_cut: bool,
}

impl Frames {
    /// Finds the first frames at or behind `from`.
    fn find(part: &Part, from: u64) -> io::Result<Option<Self>> {
        let Some(start) = next_frames(part, from, None)? else {
            return Ok(None);
        };
        let mut found = Self {
            start,
            ..Self::default()
        };
        let (mut at, mut kind) = (start, None);
        // Read in blocks: frames are shorter than a call to the system is long.
        let (mut block, mut block_at) = (Vec::new(), 0);
        while at < part.len() {
            if at + 4 > block_at + block.len() as u64 || at < block_at {
                block = part.from(at).head(1 << 16)?;
                block_at = at;
            }
            let head = &block[(at - block_at) as usize..];
            match Header::read(head).filter(|head| kind.is_none_or(|kind| kind == head.kind)) {
                Some(head) => {
                    kind = Some(head.kind);
                    found.sample_rate = head.sample_rate;
                    found.total += head.frames;
                    found.is_cut = at + head.len > part.len();
                    at += head.len;
                }
                None => {
                    let is_end = is_trailer(part, at)?;
                    let next = if is_end {
                        None
                    } else {
                        next_frames(part, at, kind)?
                    };
                    match next {
                        Some(next) => {
                            found.skipped += next - at;
                            at = next;
                        }
                        None => {
                            found.skipped += if is_end { 0 } else { part.len() - at };
                            break;
                        }
                    }
                }
            }
        }
        Ok(Some(found))
    }
}

/// Where frames begin from `from` on: two or three one after the other of the same kind, or one that ends the file.
fn next_frames(part: &Part, from: u64, kind: Option<[u8; 3]>) -> io::Result<Option<u64>> {
    let bytes = part.from(from).head(SEARCHED + 4 * MAX_FRAME)?;
    let is_all = from + bytes.len() as u64 == part.len();
    let header = |at: u64| bytes.get(at as usize..).and_then(Header::read);
    let searched = SEARCHED.min(bytes.len() as u64);
    Ok((0..searched)
        .find(|&at| {
            let Some(first) = header(at).filter(|head| kind.is_none_or(|kind| kind == head.kind))
            else {
                return false;
            };
            let mut next = at + first.len;
            // Chance makes two, not three.
            let wanted = if at == 0 { 1 } else { 2 };
            for _ in 0..wanted {
                if is_all && next >= bytes.len() as u64 {
                    // Nothing but the end: believed where the file says nothing else.
                    return at == 0 && next == bytes.len() as u64 || next - at > first.len;
                }
                match header(next) {
                    Some(head) if head.kind == first.kind => next += head.len,
                    _ => return false,
                }
            }
            true
        })
        .map(|at| from + at))
}

/// Whether what stands from `at` to the end is a tag or filled up, and no sound.
fn is_trailer(part: &Part, at: u64) -> io::Result<bool> {
    let bytes = part.from(at).head(SEARCHED)?;
    let tags = [&b"TAG"[..], b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI"];
    Ok(tags.iter().any(|tag| bytes.starts_with(tag)) || bytes.iter().all(|&b| b == 0))
}

/// Decodes what MPEG frames there are in `part`, from `from` on or, where nothing is there, from the start; none if
/// there are none.
pub(super) fn decode(
    part: &Part,
    from: u64,
    wanted: &mut Wanted<'_>,
) -> Result<Option<RawAudio>, Failure> {
    let mut found = Frames::find(part, from)?;
    if from > 0 && found.as_ref().is_none_or(|found| found.start > from) {
        // A tag's length is a lie like others: the frames may begin within it.
        let earlier = Frames::find(part, 10)?;
        let is_first = |one: &Frames| found.as_ref().is_none_or(|found| one.start < found.start);
        found = earlier.filter(is_first).or(found);
    }
    let Some(found) = found else { return Ok(None) };
    let frames = part.from(found.start);
    // With seeking the length would be guessed from the bit rate, which is no promise.
    let mut sound = stream::read(&frames, wanted, || {
        Ok(Box::new(MpaReader::try_new(
            frames.clone().stream_forward(),
            Default::default(),
        )?))
    })?;
    let there = sound.frames() as u64;
    // A count that the encoder left may include those of its own start and end.
    let promised = sound.present;
    if there.saturating_add(2 * 1152) >= promised {
        sound.present = 0;
    }
    if there < wanted.end(sound.sample_rate) as u64 {
        let junk = part.from(from).head(found.start.saturating_sub(from))?;
        if junk.iter().any(|&b| b != 0) {
            sound.lost.push(format!(
                "its first {} bytes are no whole frame and are left out",
                junk.len()
            ));
        }
        if found.skipped > 0 {
            sound
                .lost
                .push(format!("{} bytes of it are damaged", found.skipped));
        }
        if found.is_cut {
            sound
                .lost
                .push("it is cut within its last frame".to_owned());
        }
    } else {
        sound.present = if promised > 0 { promised } else { found.total };
    }
    if sound.frames() == 0 {
        return super::sound("cannot be decoded: no frame of MPEG audio is whole");
    }
    if found.sample_rate != sound.sample_rate {
        return self::sound("cannot be decoded: its frames differ in sample rate");
    }
    Ok(Some(sound))
}
