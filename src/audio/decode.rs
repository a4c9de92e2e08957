//! Sound files to [`Clip`]s, trusting no header.

mod adpcm;
mod aiff;
mod au;
mod caf;
mod chunks;
mod codec;
mod foreign;
mod mp4;
mod mpeg;
mod ogg;
mod part;
mod pcm;
mod stream;
mod wav;

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::default::formats::FlacReader;

use self::part::Part;
use super::{Clip, MAX_CHANNELS, MAX_SAMPLE_RATE, MAX_SAMPLES};
use crate::error::{Error, Result};

/// The contents of a sound file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The frames that could be decoded; at least one.
    pub clip: Clip,
    /// Seconds of sound that the file holds, or promises where it is damaged: the clip's, unless a limit stopped the
    /// reading or something is [lost](Decoded::lost).
    pub seconds: f64,
    /// What is missing of the sound, a sentence for each reason: the file ends before the length that its header
    /// promises, or parts of it could not be decoded. What lies beyond the caller's limit is not missing.
    pub lost: Vec<String>,
    /// What the file says wrongly and was read otherwise, a sentence each. Nothing is missing by it.
    pub mended: Vec<String>,
}

/// File name extensions of what [`read`] understands, in lower case.
///
/// For finding sound files in a folder; [`read`] itself goes by content.
#[must_use]
pub fn extensions() -> &'static [&'static str] {
    &[
        "wav", "wave", "bwf", "rf64", "w64", "flac", "aif", "aiff", "aifc", "aff", "ogg", "oga",
        "mp3", "mp2", "mp1", "mpga", "aac", "m4a", "m4b", "m4r", "mp4", "caf", "au", "snd",
    ]
}

/// File name extensions of sounds that [`read`] does not understand, in lower case: it says what they are and what
/// converts them.
#[must_use]
pub fn foreign_extensions() -> &'static [&'static str] {
    foreign::EXTENSIONS
}

/// Reads the sound file at `path`, told apart by content: WAV with all that lies in it (integers, floats, A-law and
/// µ-law, ADPCM, MP3, Ogg Vorbis), RF64, W64, AIFF/AIFC, AU, CAF, FLAC, Ogg Vorbis and FLAC, MPEG layers I to III,
/// AAC-LC and ALAC in MP4.
///
/// Samples come as they are stored, full scale ±1; NaN and infinite floats are kept. A damaged file gives what is there
/// ([`decode`] tells).
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened or read; [`Error::Sound`] when it is not a sound or one of a kind that
/// is not read, holds no frame, has a rate beyond 768 kHz or more than 64 channels, or is longer than 2^29 samples
/// (2 GiB in memory).
pub fn read(path: &Path) -> Result<Clip> {
    Ok(decode(path, None)?.clip)
}

/// As [`read`], but stops after `max_seconds` (at least one frame is read), and tells what was left out or mended.
///
/// # Errors
/// As [`read`].
pub fn decode(path: &Path, max_seconds: Option<f64>) -> Result<Decoded> {
    let length = max_seconds.map_or(Length::All, Length::Seconds);
    decode_wanted(
        path,
        &mut Wanted {
            skip: 0,
            length,
            pieces: None,
        },
    )
}

/// As [`decode`], but hands a long sound to `each` in pieces of so many seconds, as it is read: memory holds one of them.
/// The last one, from half of that to half as much again, or the whole of a short sound, is in the result.
///
/// # Errors
/// As [`read`], but for the length; pieces may have been handed on before. [`Error::Stopped`] where `each` broke off.
pub(crate) fn decode_pieces(path: &Path, seconds: f64, each: OnPiece<'_>) -> Result<Decoded> {
    decode_wanted(
        path,
        &mut Wanted {
            skip: 0,
            length: Length::All,
            pieces: Some((seconds, each)),
        },
    )
}

/// The frames from `start` on, at most so many.
///
/// Samples as they are stored are sought; what is compressed is decoded from its beginning on.
///
/// # Errors
/// As [`read`]; [`Error::EmptySound`] where there is none of them.
pub(crate) fn decode_part(path: &Path, start: u64, frames: u64) -> Result<Clip> {
    let mut wanted = Wanted {
        skip: start,
        length: Length::Frames(frames),
        pieces: None,
    };
    Ok(decode_wanted(path, &mut wanted)?.clip)
}

fn decode_wanted(path: &Path, wanted: &mut Wanted<'_>) -> Result<Decoded> {
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
    decode_file(file, wanted)
        .and_then(|sound| sound.check(wanted))
        .map_err(|failure| match failure {
            Failure::Io(source) => Error::io(path)(source),
            Failure::Sound(reason) => Error::sound(path, reason),
            Failure::Empty => Error::EmptySound {
                path: path.to_owned(),
            },
            Failure::Stopped => Error::Stopped,
        })
}

/// Why a file gave no sound; the path joins it in [`decode`].
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    /// It is no sound, and why.
    Sound(String),
    /// It is one without a frame.
    Empty,
    /// Whoever is handed its pieces wants no more.
    Stopped,
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
fn sound<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Sound(reason.into()))
}

/// Decoded channels before they are known to make a [`Clip`].
#[derive(Debug, Default)]
struct RawAudio {
    sample_rate: u32,
    channels: Vec<Vec<f32>>,
    /// Frames in front of these that were not wanted, or are handed on.
    passed: u64,
    /// Frames that the file holds or promises, where more is known than what was decoded.
    present: u64,
    lost: Vec<String>,
    mended: Vec<String>,
}

impl RawAudio {
    /// Frames of the file that were decoded.
    fn frames(&self) -> usize {
        self.passed as usize + self.channels.first().map_or(0, Vec::len)
    }

    fn check(mut self, wanted: &Wanted<'_>) -> Result<Decoded, Failure> {
        let frames = self.frames();
        if self.channels.first().is_none_or(Vec::is_empty) {
            return Err(Failure::Empty);
        }
        // What is missing after the limit is not missed.
        let is_whole = frames >= wanted.end(self.sample_rate);
        let rate = f64::from(self.sample_rate);
        if self.present > frames as u64 && self.lost.is_empty() && !is_whole {
            self.lost.push(format!(
                "it ends early: {:.3} s of {:.3} s are there",
                frames as f64 / rate,
                self.present as f64 / rate
            ));
        }
        Ok(Decoded {
            seconds: self.present.max(frames as u64) as f64 / rate,
            clip: Clip::new(self.sample_rate, self.channels),
            lost: self.lost,
            mended: self.mended,
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

/// Takes a piece of a sound, and may want no more.
type OnPiece<'a> = &'a mut dyn FnMut(Clip) -> ControlFlow<()>;

/// What a caller wants of a file, and what is done with it.
struct Wanted<'a> {
    /// Frames in front that are not.
    skip: u64,
    length: Length,
    /// Takes the sound as it comes, in pieces of so many seconds; without it, it is collected.
    pieces: Option<(f64, OnPiece<'a>)>,
}

/// How much is wanted.
#[derive(Debug, Clone, Copy)]
enum Length {
    All,
    Seconds(f64),
    Frames(u64),
}

impl Wanted<'_> {
    /// The first frame of a file at `sample_rate` that is not wanted any more.
    fn end(&self, sample_rate: u32) -> usize {
        let frames = match self.length {
            Length::All => return usize::MAX,
            Length::Seconds(seconds) => (seconds * f64::from(sample_rate)).ceil() as u64,
            Length::Frames(frames) => frames,
        };
        let end = self.skip.saturating_add(frames.max(1));
        usize::try_from(end).unwrap_or(usize::MAX)
    }

    /// Hands on the pieces that `sound` has in full. What remains is at least half a piece long, unless the sound is
    /// shorter: so the last piece is no scrap.
    fn hand_on(&mut self, sound: &mut RawAudio) -> Result<(), Failure> {
        let Some((seconds, each)) = &mut self.pieces else {
            return Ok(());
        };
        let piece = ((*seconds * f64::from(sound.sample_rate)) as usize).max(1);
        while sound.channels.first().map_or(0, Vec::len) >= piece + piece / 2 {
            let cut = |channel: &mut Vec<f32>| {
                let rest = channel.split_off(piece);
                std::mem::replace(channel, rest)
            };
            let channels = sound.channels.iter_mut().map(cut).collect();
            sound.passed += piece as u64;
            if each(Clip::new(sound.sample_rate, channels)).is_break() {
                return Err(Failure::Stopped);
            }
        }
        Ok(())
    }
}

/// The refusal of what exceeds [`MAX_SAMPLES`].
fn too_long<T>() -> Result<T, Failure> {
    sound(format!(
        "expected at most {MAX_SAMPLES} samples, found more; cut the file or read only its start"
    ))
}

fn decode_file(file: File, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let file = Part::whole(file)?;
    if file.len() == 0 {
        return sound("expected a sound file, found no bytes");
    }
    let tags = mpeg::tags_len(&file)?;
    if let Some(sound) = decode_by_head(&file.from(tags), wanted)? {
        return Ok(sound);
    }
    // Whatever stands in front of them: MPEG frames are known by one another.
    if let Some(sound) = mpeg::decode(&file, tags, wanted)? {
        return Ok(sound);
    }
    let head = file.from(tags).head(64)?;
    if let Some(name) = foreign::by_content(&head) {
        return foreign::refuse(name);
    }
    if tags > 0 || head.starts_with(b"ID3") || head.starts_with(b"APETAGEX") {
        return sound("cannot be decoded: found a tag and no MPEG frames behind it");
    }
    let head = &head[..head.len().min(12)];
    let found = if head
        .iter()
        .all(|b| matches!(b, b'\t'..=b'\r' | b' '..=b'~'))
    {
        format!("text ({:?})", String::from_utf8_lossy(head))
    } else {
        format!("unknown data ({head:02x?})")
    };
    sound(format!(
        "expected WAV, FLAC, AIFF, Ogg, MP3, M4A, CAF, AU or W64, found {found}"
    ))
}

/// What the forms of WAV begin with, whose form is WAVE.
const WAVE: [&[u8; 4]; 4] = [b"RIFF", b"RIFX", b"RF64", b"BW64"];

/// Decodes what is known by its first bytes.
fn decode_by_head(part: &Part, wanted: &mut Wanted<'_>) -> Result<Option<RawAudio>, Failure> {
    let head = part.head(16)?;
    let form = head.get(8..12).unwrap_or_default();
    Ok(Some(match &head[..] {
        [a, b, c, d, ..] if WAVE.contains(&&[*a, *b, *c, *d]) && form == b"WAVE" => {
            wav::decode(part, wanted)?
        }
        [b'r', b'i', b'f', b'f', 0x2e, 0x91, ..] => wav::decode(part, wanted)?,
        [b'F', b'O', b'R', b'M', ..] if form == b"AIFF" || form == b"AIFC" => {
            aiff::decode(part, wanted)?
        }
        [b'f', b'L', b'a', b'C', ..] => stream::read(part, wanted, || {
            Ok(Box::new(FlacReader::try_new(
                part.clone().stream_forward(),
                Default::default(),
            )?))
        })?,
        [b'O', b'g', b'g', b'S', ..] => ogg::decode(part, wanted)?,
        [b'c', b'a', b'f', b'f', ..] => caf::decode(part, wanted)?,
        [b'.', b's', b'n', b'd', ..] | [b'd', b'n', b's', b'.', ..] => au::decode(part, wanted)?,
        [_, _, _, _, kind @ ..] if mp4::opens(kind) => mp4::decode(part, wanted)?,
        _ if mpeg::is_adts(part)? => mpeg::decode_adts(part, wanted)?,
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{BitDepth, Tags, write};
    use crate::noise::Noise;

    #[test]
    fn pieces_and_parts_of_a_file_are_those_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut noise = Noise::new(4);
        let channel = |_| noise.normals(25_000).iter().map(|x| 0.2 * x).collect();
        let clip = Clip::new(1000, (0..2).map(channel).collect());
        for name in ["a.wav", "a.flac", "a.aiff"] {
            let path = folder.path().join(name);
            write(&path, &clip, BitDepth::Int24, &Tags::default()).unwrap();
            let whole = read(&path).unwrap();
            for seconds in [0.3, 7.0, 16.0, 17.0, 100.0] {
                let mut lengths = Vec::new();
                let mut joined = vec![Vec::new(); 2];
                let mut take = |piece: Clip| {
                    lengths.push(piece.len_frames());
                    for (joined, channel) in joined.iter_mut().zip(piece.channels()) {
                        joined.extend_from_slice(channel);
                    }
                    ControlFlow::Continue(())
                };
                let rest = decode_pieces(&path, seconds, &mut take).unwrap();
                assert_eq!((rest.seconds, &rest.lost), (25.0, &vec![]));
                let _ = take(rest.clip);
                assert!(joined == whole.channels(), "{name}, {seconds} s");
                // None is a scrap.
                let piece = (1000.0 * seconds) as usize;
                let (last, others) = lengths.split_last().unwrap();
                assert!(others.iter().all(|&length| length == piece), "{lengths:?}");
                let is_short = others.is_empty() && *last == 25_000;
                assert!(is_short || (piece / 2..piece + piece / 2).contains(last));
            }
            for (start, frames) in [
                (0, 1),
                (0, 25_000),
                (9_999, 4_097),
                (24_999, 1),
                (20_000, 9_999),
            ] {
                let part = decode_part(&path, start, frames).unwrap();
                let wanted = whole.slice(
                    start as usize,
                    (frames as usize).min(25_000 - start as usize),
                );
                assert!(part == wanted, "{name}: {frames} from {start}");
            }
            let beyond = decode_part(&path, 25_000, 5);
            assert!(
                matches!(beyond, Err(Error::EmptySound { .. })),
                "{beyond:?}"
            );
        }
    }
}
