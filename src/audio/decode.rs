//! Sound files to [`Clip`]s, trusting no header.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{AiffReader, FlacReader, MpaReader, OggReader, WavReader};

use super::{Clip, MAX_CHANNELS, MAX_SAMPLE_RATE, MAX_SAMPLES};
use crate::error::{Error, Result};

/// What a sound file held.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The frames that could be decoded; at least one.
    pub clip: Clip,
    /// The file ends before the length its header promises, or parts of it could not be decoded.
    /// A reading that stopped at the caller's limit is not truncated.
    pub truncated: bool,
}

/// File name extensions of what [`read`] understands, in lower case.
///
/// For finding sound files in a folder; [`read`] itself goes by content.
pub fn extensions() -> &'static [&'static str] {
    &[
        "wav", "wave", "bwf", "flac", "aif", "aiff", "aifc", "ogg", "oga", "mp3",
    ]
}

/// Reads the sound file at `path`: WAV, FLAC, AIFF/AIFC, Ogg Vorbis or MP3, told apart by content.
///
/// Samples come as they are stored, full scale ±1; NaN and infinite floats are kept. A truncated
/// file gives what is there ([`decode`] tells).
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened or read; [`Error::Sound`] when it is not a sound,
/// holds no frame, has a rate beyond 768 kHz or more than 64 channels, or is longer than 2^29
/// samples (2 GiB in memory).
pub fn read(path: &Path) -> Result<Clip> {
    read_limited(path, None)
}

/// As [`read`], but stops decoding after `max_seconds` (at least one frame is read).
pub fn read_limited(path: &Path, max_seconds: Option<f64>) -> Result<Clip> {
    Ok(decode(path, max_seconds)?.clip)
}

/// As [`read_limited`], and tells whether the file was damaged.
pub fn decode(path: &Path, max_seconds: Option<f64>) -> Result<Decoded> {
    // Asked before opening: to open a named pipe would wait for a writer.
    let kind = fs::metadata(path).map_err(Error::io(path))?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() {
            "a folder"
        } else {
            "a device or pipe"
        };
        return Err(Error::sound(
            path,
            format!("expected a sound file, found {found}"),
        ));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    decode_file(file, max_seconds)
        .and_then(|sound| sound.check())
        .map_err(|failure| match failure {
            Failure::Io(source) => Error::io(path)(source),
            Failure::Sound(reason) => Error::sound(path, reason),
        })
}

/// Why a file gave no sound; the path joins it in [`decode`].
enum Failure {
    Io(io::Error),
    Sound(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SymphoniaError> for Failure {
    fn from(error: SymphoniaError) -> Self {
        match error {
            // The end of the file in the middle of a header is a fault of the file, not of the disk.
            SymphoniaError::IoError(e) if e.kind() != io::ErrorKind::UnexpectedEof => Self::Io(e),
            other => Self::Sound(format!("cannot be decoded: {other}")),
        }
    }
}

fn sound<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Sound(reason.into()))
}

/// Decoded channels before they are known to make a [`Clip`].
struct Sound {
    sample_rate: u32,
    channels: Vec<Vec<f32>>,
    truncated: bool,
}

impl Sound {
    fn check(self) -> Result<Decoded, Failure> {
        if self.channels.first().is_none_or(Vec::is_empty) {
            return sound("expected at least one frame of sound, found none");
        }
        Ok(Decoded {
            clip: Clip::new(self.sample_rate, self.channels),
            truncated: self.truncated,
        })
    }
}

/// Refuses rates and channel counts that no sound has.
fn check_layout(sample_rate: u32, channels: usize) -> Result<(), Failure> {
    if !(1..=MAX_SAMPLE_RATE).contains(&sample_rate) {
        return sound(format!(
            "expected a sample rate of 1 to {MAX_SAMPLE_RATE} Hz, found {sample_rate} Hz"
        ));
    }
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return sound(format!(
            "expected 1 to {MAX_CHANNELS} channels, found {channels}"
        ));
    }
    Ok(())
}

/// The frames that `max_seconds` allows; without it, as many as exist.
fn frame_limit(sample_rate: u32, max_seconds: Option<f64>) -> usize {
    max_seconds.map_or(usize::MAX, |seconds| {
        ((seconds * sample_rate as f64).ceil() as usize).max(1)
    })
}

fn too_long<T>() -> Result<T, Failure> {
    sound(format!(
        "expected at most {MAX_SAMPLES} samples, found more; cut the file or read only its start"
    ))
}

fn decode_file(mut file: File, max_seconds: Option<f64>) -> Result<Sound, Failure> {
    let file_len = file.metadata()?.len();
    if file_len == 0 {
        return sound("expected a sound file, found no bytes");
    }
    let tag_len = id3_len(&mut file)?;
    file.seek(SeekFrom::Start(tag_len))?;
    let mut head = Vec::new();
    (&mut file).take(12).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(tag_len))?;

    let options = FormatOptions::default;
    let unseekable =
        |file| MediaSourceStream::new(Box::new(ReadOnlySource::new(file)), Default::default());
    match head.get(..4) {
        Some(b"RIFF" | b"RF64" | b"BW64") if head.get(8..) == Some(b"WAVE") => {
            decode_wav(file, file_len, max_seconds)
        }
        Some(b"FORM") if matches!(head.get(8..), Some(b"AIFF" | b"AIFC")) => {
            decode_aiff(file, file_len, &head[8..], max_seconds)
        }
        // Behind an ID3 tag the positions are not the file's own, so nothing may seek.
        Some(b"fLaC") => guarded(max_seconds, 0, || {
            Ok(Box::new(FlacReader::try_new(unseekable(file), options())?))
        }),
        Some(b"OggS") => {
            let ended = ogg_is_ended(&mut file, file_len)?;
            // Seeking finds the last page, which tells how much of the last block is sound.
            file.seek(SeekFrom::Start(tag_len))?;
            let mut sound = guarded(max_seconds, 0, || {
                let stream = match tag_len {
                    0 => MediaSourceStream::new(Box::new(file), Default::default()),
                    _ => unseekable(file),
                };
                Ok(Box::new(OggReader::try_new(stream, options())?))
            })?;
            sound.truncated |= !ended && max_seconds.is_none();
            Ok(sound)
        }
        // With seeking the length would be guessed from the bit rate, which is no promise. One
        // that the encoder left may count the frames of its own start and end.
        _ if tag_len > 0 || is_mp3_frame(&head) => guarded(max_seconds, 2 * 1152, || {
            Ok(Box::new(MpaReader::try_new(unseekable(file), options())?))
        }),
        _ => {
            let found = if head
                .iter()
                .all(|b| matches!(b, b'\t'..=b'\r' | b' '..=b'~'))
            {
                format!("text ({:?})", String::from_utf8_lossy(&head))
            } else {
                format!("unknown data ({head:02x?})")
            };
            sound(format!(
                "expected WAV, FLAC, AIFF, Ogg Vorbis or MP3, found {found}"
            ))
        }
    }
}

/// Bytes of the ID3v2 tag in front of the sound, which MP3 and sometimes FLAC files carry.
fn id3_len(file: &mut File) -> io::Result<u64> {
    let mut head = Vec::new();
    file.take(10).read_to_end(&mut head)?;
    Ok(match head[..] {
        // The size has 7 bits a byte; a flag tells of a footer as long as the header.
        [b'I', b'D', b'3', _, _, flags, a, b, c, d] if (a | b | c | d) < 0x80 => {
            let size = [a, b, c, d]
                .iter()
                .fold(0, |n, &byte| n << 7 | u64::from(byte));
            size + if flags & 0x10 == 0 { 10 } else { 20 }
        }
        _ => 0,
    })
}

/// Whether `head` starts with a possible MPEG audio layer III frame header.
fn is_mp3_frame(head: &[u8]) -> bool {
    matches!(head, [0xff, b, c, ..]
        if b & 0xe0 == 0xe0 && b >> 3 & 3 != 1 && b >> 1 & 3 == 1 && c >> 4 != 15 && c >> 2 & 3 != 3)
}

/// Whether the last page of an Ogg file carries the mark of the stream's end.
fn ogg_is_ended(file: &mut File, file_len: u64) -> io::Result<bool> {
    // A page has at most 65307 bytes; byte 5 of it holds the flags.
    file.seek(SeekFrom::Start(file_len.saturating_sub(65_307)))?;
    let mut tail = Vec::new();
    file.take(65_307).read_to_end(&mut tail)?;
    let last = tail.windows(6).rev().find(|page| page.starts_with(b"OggS"));
    Ok(last.is_some_and(|page| page[5] & 4 != 0))
}

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

fn decode_wav(mut file: File, file_len: u64, max_seconds: Option<f64>) -> Result<Sound, Failure> {
    let chunks = chunks(&mut file, file_len, u32::from_le_bytes)?;
    let (Some(fmt), Some(data)) = (find(&chunks, b"fmt "), find(&chunks, b"data")) else {
        return sound("expected a WAV file with fmt and data chunks, found none");
    };
    let mut fmt = bytes_of(&mut file, fmt, 4096)?;
    if fmt.len() < 16 {
        return sound(format!(
            "expected a fmt chunk of at least 16 bytes, found {}",
            fmt.len()
        ));
    }
    let u16_at = |at: usize| u16::from_le_bytes([fmt[at], fmt[at + 1]]);
    let mut tag = u16_at(0);
    let channels = usize::from(u16_at(2));
    let sample_rate = u32::from_le_bytes([fmt[4], fmt[5], fmt[6], fmt[7]]);
    let block_len = usize::from(u16_at(12));
    let bits = usize::from(u16_at(14));
    let mut valid_bits = bits;
    if tag == EXTENSIBLE && fmt.len() >= 40 {
        // The format tag proper opens the GUID.
        tag = u16_at(24);
        valid_bits = usize::from(u16_at(18));
    }
    check_layout(sample_rate, channels)?;

    // A recorder that was cut off, or writes to a pipe, leaves 0 or all ones for the lengths: the
    // sound is then the rest of the file. So it is where RF64 keeps the length elsewhere.
    let riff_len = {
        file.seek(SeekFrom::Start(4))?;
        let mut len = [0; 4];
        file.read_exact(&mut len)?;
        u32::from_le_bytes(len)
    };
    let open_ended =
        data.len == u64::from(u32::MAX) || (data.len == 0 && matches!(riff_len, 0 | u32::MAX));
    let rest = file_len - data.start;
    let data_len = if open_ended { rest } else { data.len.min(rest) };
    let truncated = !open_ended && data.len > rest;

    let width = bits.div_ceil(8);
    let container = block_len / channels;
    let container = if block_len % channels == 0 && (width..=8).contains(&container) {
        container
    } else {
        width
    };
    match (tag, container) {
        (PCM, 1..=4) | (FLOAT, 4 | 8) => {}
        (PCM | FLOAT, _) => {
            return sound(format!(
                "expected 8 to 32-bit integers or 32 or 64-bit floats, found {bits} bits a sample"
            ));
        }
        _ => {
            // A-law, µ-law and ADPCM are the library's; it gets a header with true lengths.
            let mut head = Vec::new();
            head.extend(b"RIFF");
            head.extend(u32::MAX.to_le_bytes());
            head.extend(b"WAVEfmt ");
            fmt.resize(fmt.len().next_multiple_of(2), 0);
            head.extend((fmt.len() as u32).to_le_bytes());
            head.extend(&fmt);
            head.extend(b"data");
            head.extend(u32::try_from(data_len).unwrap_or(u32::MAX).to_le_bytes());
            file.seek(SeekFrom::Start(data.start))?;
            let source = ReadOnlySource::new(Cursor::new(head).chain(file.take(data_len)));
            let mut sound = guarded(max_seconds, 0, || {
                let stream = MediaSourceStream::new(Box::new(source), Default::default());
                Ok(Box::new(WavReader::try_new(stream, Default::default())?))
            })?;
            sound.truncated |= truncated;
            return Ok(sound);
        }
    }

    let frame_len = (container * channels) as u64;
    let frames = (data_len / frame_len).min(frame_limit(sample_rate, max_seconds) as u64);
    if frames.saturating_mul(channels as u64) > MAX_SAMPLES as u64 {
        return too_long();
    }
    let data = bytes_of(&mut file, data, frames * frame_len)?;

    // By the format's definition a sample fills its container from the top. Some recorders put it
    // at the bottom: those say so by bits below the container's, or show it by bits in the padding.
    let mut raise = 8 * (container - width);
    if raise == 0 && valid_bits < bits && valid_bits.is_multiple_of(8) && valid_bits > 0 {
        let padding = (bits - valid_bits) / 8;
        let is_low = |sample: &[u8]| sample[..padding].iter().any(|&b| b != 0);
        if data.chunks_exact(container).any(is_low) {
            raise = 8 * padding;
        }
    }
    let int = |value: i32| ((value << raise) as f64 / 2f64.powi(31)) as f32;
    let channels = match (tag, container) {
        (FLOAT, 4) => planar(&data, channels, f32::from_le_bytes),
        (FLOAT, _) => planar(&data, channels, |b| f64::from_le_bytes(b) as f32),
        // Alone among the widths, 8 bits are unsigned.
        (_, 1) => planar(&data, channels, |[a]| (f32::from(a) - 128.0) / 128.0),
        (_, 2) => planar(&data, channels, |[a, b]| {
            int(i32::from_le_bytes([0, 0, a, b]))
        }),
        (_, 3) => planar(&data, channels, |[a, b, c]| {
            int(i32::from_le_bytes([0, a, b, c]))
        }),
        _ => planar(&data, channels, |b| int(i32::from_le_bytes(b))),
    };
    Ok(Sound {
        sample_rate,
        channels,
        truncated,
    })
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

fn decode_aiff(
    mut file: File,
    file_len: u64,
    form: &[u8],
    max_seconds: Option<f64>,
) -> Result<Sound, Failure> {
    let chunks = chunks(&mut file, file_len, u32::from_be_bytes)?;
    let (Some(comm), Some(ssnd)) = (find(&chunks, b"COMM"), find(&chunks, b"SSND")) else {
        return sound("expected an AIFF file with COMM and SSND chunks, found none");
    };
    let mut comm = bytes_of(&mut file, comm, 4096)?;
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
    sound.truncated |= truncated;
    Ok(sound)
}

/// Opens and decodes with symphonia, and turns a panic inside it into an error.
///
/// A header's promised length may be missed by `slack` frames before the file counts as truncated.
///
/// The library states that damaged streams may make it panic, and decoding is fed with files of
/// unknown origin. Nothing it touched is used afterwards, so unwinding leaves no broken state.
fn guarded<'s>(
    max_seconds: Option<f64>,
    slack: u64,
    open: impl FnOnce() -> Result<Box<dyn FormatReader + 's>, SymphoniaError>,
) -> Result<Sound, Failure> {
    catch_unwind(AssertUnwindSafe(|| {
        decode_packets(open()?, max_seconds, slack)
    }))
    .unwrap_or_else(|_| sound("cannot be decoded: the decoder gave up on damaged data"))
}

/// Packets in a row without a frame of sound after which a stream counts as ended.
const MAX_SILENT_PACKETS: usize = 10_000;

fn decode_packets(
    mut format: Box<dyn FormatReader + '_>,
    max_seconds: Option<f64>,
    slack: u64,
) -> Result<Sound, Failure> {
    let Some(track) = format.default_track(TrackType::Audio) else {
        return sound("expected a sound track, found none");
    };
    let Some(params) = track.codec_params.as_ref().and_then(|p| p.audio()) else {
        return sound("expected a known codec, found another");
    };
    if let Some(rate) = params.sample_rate {
        check_layout(rate, params.channels.as_ref().map_or(1, |c| c.count()))?;
    }
    let (track_id, promised) = (track.id, track.num_frames);
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())?;

    let mut sample_rate = 0;
    let mut channels: Vec<Vec<f32>> = Vec::new();
    let mut scratch: Vec<Vec<f32>> = Vec::new();
    let mut truncated = false;
    let mut silent_packets = 0;
    let mut limit = usize::MAX;
    while silent_packets < MAX_SILENT_PACKETS {
        silent_packets += 1;
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(_) => {
                truncated = true;
                break;
            }
        };
        if packet.track_id != track_id {
            continue;
        }
        let Ok(buffer) = decoder.decode(&packet) else {
            truncated = true;
            continue;
        };
        if buffer.frames() == 0 {
            continue;
        }
        silent_packets = 0;
        let (rate, count) = (buffer.spec().rate(), buffer.spec().channels().count());
        if channels.is_empty() {
            check_layout(rate, count)?;
            sample_rate = rate;
            limit = frame_limit(rate, max_seconds);
            channels = vec![Vec::new(); count];
        } else if rate != sample_rate || count != channels.len() {
            // A second stream chained to the first; a clip has one layout.
            truncated = true;
            break;
        }
        buffer.copy_to_vecs_planar(&mut scratch);
        for (channel, new) in channels.iter_mut().zip(&scratch) {
            channel.extend_from_slice(new);
        }
        if channels[0].len() >= limit {
            channels.iter_mut().for_each(|c| c.truncate(limit));
            return Ok(Sound {
                sample_rate,
                channels,
                truncated: false,
            });
        }
        if channels[0].len() * count > MAX_SAMPLES {
            return too_long();
        }
    }
    let found = channels.first().map_or(0, Vec::len) as u64;
    Ok(Sound {
        sample_rate,
        channels,
        truncated: truncated
            || promised.is_some_and(|promised| found.saturating_add(slack) < promised),
    })
}
