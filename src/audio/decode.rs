//! Sound files to [`Clip`]s, trusting no header.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, ReadOnlySource};
use symphonia::default::formats::{FlacReader, MpaReader, OggReader};

use super::iff::{decode_aiff, decode_wav};
use super::{Clip, MAX_CHANNELS, MAX_SAMPLE_RATE, MAX_SAMPLES};
use crate::error::{Error, Result};

/// The contents of a sound file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The frames that could be decoded; at least one.
    pub clip: Clip,
    /// The file ends before the length its header promises, or parts of it could not be decoded.
    /// A file that ends early, but after the caller's limit, is not truncated.
    pub truncated: bool,
}

/// File name extensions of what [`read`] understands, in lower case.
///
/// For finding sound files in a folder; [`read`] itself goes by content.
#[must_use]
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
    Ok(decode(path, None)?.clip)
}

/// As [`read`], but stops after `max_seconds` (at least one frame is read), and tells whether the file
/// was damaged.
///
/// # Errors
/// As [`read`].
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
            Failure::Empty => Error::EmptySound {
                path: path.to_owned(),
            },
        })
}

/// Why a file gave no sound; the path joins it in [`decode`].
pub(super) enum Failure {
    Io(io::Error),
    /// It is no sound, and why.
    Sound(String),
    /// It is one without a frame.
    Empty,
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

/// The file is no sound, and why.
pub(super) fn sound<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Sound(reason.into()))
}

/// Decoded channels before they are known to make a [`Clip`].
pub(super) struct RawAudio {
    pub(super) sample_rate: u32,
    pub(super) channels: Vec<Vec<f32>>,
    pub(super) truncated: bool,
}

impl RawAudio {
    pub(super) fn frames(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    fn check(self) -> Result<Decoded, Failure> {
        if self.frames() == 0 {
            return Err(Failure::Empty);
        }
        Ok(Decoded {
            clip: Clip::new(self.sample_rate, self.channels),
            truncated: self.truncated,
        })
    }
}

/// Refuses rates and channel counts that no sound has.
pub(super) fn check_layout(sample_rate: u32, channels: usize) -> Result<(), Failure> {
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
pub(super) fn frame_limit(sample_rate: u32, max_seconds: Option<f64>) -> usize {
    max_seconds.map_or(usize::MAX, |seconds| {
        ((seconds * f64::from(sample_rate)).ceil() as usize).max(1)
    })
}

/// The refusal of what exceeds [`MAX_SAMPLES`].
pub(super) fn too_long<T>() -> Result<T, Failure> {
    sound(format!(
        "expected at most {MAX_SAMPLES} samples, found more; cut the file or read only its start"
    ))
}

fn decode_file(mut file: File, max_seconds: Option<f64>) -> Result<RawAudio, Failure> {
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
        Some(b"RIFF" | b"RF64" | b"BW64") if head.get(8..) == Some(b"WAVE") => match tag_len {
            0 => decode_wav(file, file_len, max_seconds),
            _ => sound("expected a WAV file to begin with its header, found an ID3 tag before it"),
        },
        Some(b"FORM") if matches!(head.get(8..), Some(b"AIFF" | b"AIFC")) => match tag_len {
            0 => decode_aiff(file, file_len, &head[8..], max_seconds),
            _ => {
                sound("expected an AIFF file to begin with its header, found an ID3 tag before it")
            }
        },
        // Behind an ID3 tag the positions are not the file's own, so nothing may seek.
        Some(b"fLaC") => guarded(max_seconds, 0, || {
            Ok(Box::new(FlacReader::try_new(unseekable(file), options())?))
        }),
        Some(b"OggS") => {
            let promised = ogg_frames(&mut file, file_len)?;
            // Seeking finds the last page, which tells how much of the last block is sound.
            file.seek(SeekFrom::Start(tag_len))?;
            let mut sound = guarded(max_seconds, 0, || {
                let stream = match tag_len {
                    0 => MediaSourceStream::new(Box::new(file), Default::default()),
                    _ => unseekable(file),
                };
                Ok(Box::new(OggReader::try_new(stream, options())?))
            })?;
            // Pages that are damaged are left out without a word.
            let found = sound.frames() as u64;
            if found < frame_limit(sound.sample_rate, max_seconds) as u64 {
                sound.truncated |= promised.is_none_or(|promised| found < promised);
            }
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

/// The frames that an Ogg file says it holds by its last page; none if that page is not marked as the
/// stream's end.
fn ogg_frames(file: &mut File, file_len: u64) -> io::Result<Option<u64>> {
    // A page has at most 65307 bytes; byte 5 of it holds the flags, the next 8 the position.
    file.seek(SeekFrom::Start(file_len.saturating_sub(65_307)))?;
    let mut tail = Vec::new();
    file.take(65_307).read_to_end(&mut tail)?;
    let last = tail
        .windows(14)
        .rev()
        .find(|page| page.starts_with(b"OggS"));
    let ended = last.filter(|page| page[5] & 4 != 0);
    // All ones stand for a page on which no packet ends.
    Ok(ended
        .map(|page| u64::from_le_bytes(std::array::from_fn(|i| page[6 + i])))
        .map(|frames| if frames == u64::MAX { 0 } else { frames }))
}

/// Opens and decodes with symphonia, and turns a panic inside it into an error.
///
/// A header's promised length may be missed by `slack` frames before the file counts as truncated.
///
/// The library states that damaged streams may make it panic, and decoding is fed with files of
/// unknown origin. Nothing it touched is used afterwards, so unwinding leaves no broken state.
pub(super) fn guarded<'s>(
    max_seconds: Option<f64>,
    slack: u64,
    open: impl FnOnce() -> Result<Box<dyn FormatReader + 's>, SymphoniaError>,
) -> Result<RawAudio, Failure> {
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
) -> Result<RawAudio, Failure> {
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

    let mut sound = RawAudio {
        sample_rate: 0,
        channels: Vec::new(),
        truncated: false,
    };
    let mut scratch: Vec<Vec<f32>> = Vec::new();
    let mut silent_packets = 0;
    let mut limit = usize::MAX;
    while silent_packets < MAX_SILENT_PACKETS {
        silent_packets += 1;
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(_) => {
                sound.truncated = true;
                break;
            }
        };
        if packet.track_id != track_id {
            continue;
        }
        let Ok(buffer) = decoder.decode(&packet) else {
            sound.truncated = true;
            continue;
        };
        if buffer.frames() == 0 {
            continue;
        }
        silent_packets = 0;
        let (rate, count) = (buffer.spec().rate(), buffer.spec().channels().count());
        if sound.channels.is_empty() {
            check_layout(rate, count)?;
            sound.sample_rate = rate;
            sound.channels = vec![Vec::new(); count];
            limit = frame_limit(rate, max_seconds);
        } else if rate != sound.sample_rate || count != sound.channels.len() {
            // A second stream chained to the first; a clip has one layout.
            sound.truncated = true;
            break;
        }
        buffer.copy_to_vecs_planar(&mut scratch);
        for (channel, new) in sound.channels.iter_mut().zip(&scratch) {
            channel.extend_from_slice(new);
        }
        if sound.frames() >= limit {
            sound.channels.iter_mut().for_each(|c| c.truncate(limit));
            return Ok(sound);
        }
        if sound.frames() * count > MAX_SAMPLES {
            return too_long();
        }
    }
    let found = sound.frames() as u64;
    sound.truncated |= promised.is_some_and(|promised| found.saturating_add(slack) < promised);
    Ok(sound)
}
