//! [`Clip`]s to WAV, FLAC and AIFF files.

mod aiff;
mod flac;
mod wav;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Clip, MAX_CHANNELS};
use crate::error::{Error, Result};
use crate::file::write_whole;
use crate::noise::Noise;

/// How samples are stored in a file.
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

impl BitDepth {
    /// Bits of a sample.
    #[must_use]
    pub fn bits(self) -> u16 {
        match self {
            Self::Int16 => 16,
            Self::Int24 => 24,
            Self::Float32 => 32,
        }
    }
}

/// The kinds of file that sounds are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Container {
    /// RIFF WAVE.
    #[default]
    Wav,
    /// FLAC, which has integers only.
    Flac,
    /// AIFF, or AIFF-C where samples are floats.
    Aiff,
}

impl Container {
    /// The kind that a file's name ends in; WAV where it ends in none.
    ///
    /// # Errors
    /// [`Error::Setting`] when it ends in another.
    pub fn of(path: &Path) -> Result<Self> {
        let Some(extension) = path.extension() else {
            return Ok(Self::Wav);
        };
        let extension = extension.to_string_lossy();
        match &*extension.to_lowercase() {
            "wav" | "wave" | "bwf" => Ok(Self::Wav),
            "flac" => Ok(Self::Flac),
            "aif" | "aiff" | "aifc" => Ok(Self::Aiff),
            _ => Err(Error::setting(format!(
                "{}: expected a name ending in .wav, .flac or .aiff, found .{extension}",
                path.display()
            ))),
        }
    }
}

/// What a file says of its sound besides the samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tags {
    /// What it is, such as its class.
    pub title: Option<String>,
    /// How it came to be.
    pub comment: Option<String>,
    /// Its fundamental frequency, Hz, which samplers bring to the key that is played. FLAC has no field for it.
    pub pitch_hz: Option<f32>,
}

impl Tags {
    /// A text in one line, as tags have it.
    fn line(text: &str) -> String {
        text.replace(char::is_control, " ")
    }

    /// The MIDI note at or below the sound's pitch, and how far above it that is, in semitones.
    fn root(&self) -> Option<(u8, f64)> {
        let hz = self.pitch_hz.filter(|hz| hz.is_finite() && *hz > 0.0)?;
        let note = 69.0 + 12.0 * (f64::from(hz) / 440.0).log2();
        let root = note.floor();
        (0.0..=127.0)
            .contains(&root)
            .then_some((root as u8, note - root))
    }
}

/// The program that writes, as files name it.
const SOFTWARE: &str = concat!("audiodiff ", env!("CARGO_PKG_VERSION"));

/// Writes `clip` to `path`, replacing what is there, as the kind of file that its name ends in.
///
/// The file appears whole or not at all: it is written beside its place and then renamed. A `path`
/// that leads to a device or pipe is written to directly. See [`bytes`] for the samples.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; [`Error::Setting`] when its name ends in another kind;
/// [`Error::Sound`] when the clip holds NaN or infinite samples, or does not fit the kind.
pub fn write(path: &Path, clip: &Clip, depth: BitDepth, tags: &Tags) -> Result<()> {
    write_as(path, clip, Container::of(path)?, depth, tags)
}

/// Writes `clip` as a WAV file at `path`, whatever its name ends in. Else as [`write()`], without tags.
///
/// # Errors
/// As [`write()`].
pub fn write_wav(path: &Path, clip: &Clip, depth: BitDepth) -> Result<()> {
    write_as(path, clip, Container::Wav, depth, &Tags::default())
}

fn write_as(
    path: &Path,
    clip: &Clip,
    container: Container,
    depth: BitDepth,
    tags: &Tags,
) -> Result<()> {
    let bytes =
        encode(clip, container, depth, tags).map_err(|reason| Error::sound(path, reason))?;
    write_whole(path, &bytes)
}

/// The bytes of a file that holds `clip` and `tags`; equal clips and tags give equal bytes.
///
/// Integers are rounded, and clipped at full scale. 16 bits are dithered with triangular noise of
/// ±1 step from a fixed seed, which turns rounding distortion into steady noise; exact zeros stay
/// zero, so that silence is silent.
///
/// # Errors
/// [`Error::Setting`] when the clip holds NaN or infinite samples, has more channels than `container` can hold (64, FLAC
/// 8), would exceed its 4 GiB, or is to have floats in FLAC.
pub fn bytes(clip: &Clip, container: Container, depth: BitDepth, tags: &Tags) -> Result<Vec<u8>> {
    encode(clip, container, depth, tags).map_err(Error::Setting)
}

/// The bytes of a WAV file that holds `clip`, without tags: [`bytes`].
///
/// # Errors
/// As [`bytes`].
pub fn wav_bytes(clip: &Clip, depth: BitDepth) -> Result<Vec<u8>> {
    bytes(clip, Container::Wav, depth, &Tags::default())
}

/// Seed of the dither: any number, but always the same.
const DITHER_SEED: u64 = 0x64_69_74_68_65_72;

fn encode(
    clip: &Clip,
    container: Container,
    depth: BitDepth,
    tags: &Tags,
) -> Result<Vec<u8>, String> {
    let channels = clip.channels();
    let most = match container {
        Container::Flac => flac::MAX_CHANNELS,
        Container::Wav | Container::Aiff => MAX_CHANNELS,
    };
    if channels.len() > most {
        return Err(format!(
            "expected at most {most} channels, found {}",
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
    let width = u64::from(depth.bits() / 8);
    let data_len = clip.len_frames() as u64 * channels.len() as u64 * width;
    if data_len > u64::from(u32::MAX) - (1 << 16) {
        return Err(format!(
            "expected at most 4 GiB of samples, found {data_len} bytes"
        ));
    }
    match container {
        Container::Wav => wav::encode(clip, depth, tags),
        Container::Flac => flac::encode(clip, depth, tags),
        Container::Aiff => Ok(aiff::encode(clip, depth, tags)),
    }
}

/// The samples of each channel as integers of 16 or 24 bits.
fn integers(clip: &Clip, depth: BitDepth) -> Vec<Vec<i32>> {
    let rounded = |(c, channel): (usize, &Vec<f32>)| {
        // Each channel has its own dither, so that it carries no stereo image.
        let mut dither = Noise::at(DITHER_SEED, &[c as u64]);
        let mut sample = |x: &f32| {
            let x = f64::from(*x);
            match depth {
                BitDepth::Int16 if x == 0.0 => 0,
                BitDepth::Int16 => {
                    let noise = f64::from(dither.uniform()) - f64::from(dither.uniform());
                    to_int(x + noise / 32768.0, 16)
                }
                BitDepth::Int24 | BitDepth::Float32 => to_int(x, 24),
            }
        };
        channel.iter().map(&mut sample).collect()
    };
    clip.channels().iter().enumerate().map(rounded).collect()
}

/// Full scale ±1 to integers of `bits`, the nearest one within range.
fn to_int(x: f64, bits: u32) -> i32 {
    let scale = f64::from(1u32 << (bits - 1));
    (x * scale).round().clamp(-scale, scale - 1.0) as i32
}

/// The channels frame by frame.
fn interleaved<T: Copy>(channels: &[Vec<T>]) -> impl Iterator<Item = T> + '_ {
    (0..channels[0].len()).flat_map(move |n| channels.iter().map(move |channel| channel[n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::decode;

    fn clip(channels: usize, frames: usize) -> Clip {
        let mut noise = Noise::new(5);
        let channel = |_| noise.normals(frames).iter().map(|x| 0.3 * x).collect();
        Clip::new(44_100, (0..channels).map(channel).collect())
    }

    fn tags() -> Tags {
        Tags {
            title: Some("kick \u{e9}".into()),
            comment: Some("seed 7\nof many".into()),
            pitch_hz: Some(110.0),
        }
    }

    /// What a reader makes of these bytes.
    fn read(bytes: &[u8]) -> Clip {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let decoded = decode(file.path(), None).unwrap();
        assert!(decoded.lost.is_empty() && decoded.mended.is_empty());
        decoded.clip
    }

    #[test]
    fn every_container_holds_the_same_samples_with_and_without_tags() {
        for channels in [1, 2, 3, 8] {
            for frames in [1, 2, 4095, 10_001] {
                let clip = clip(channels, frames);
                for depth in [BitDepth::Int16, BitDepth::Int24, BitDepth::Float32] {
                    let scale = f64::from(1u32 << (depth.bits().min(24) - 1));
                    let exact: Vec<Vec<f32>> = match depth {
                        BitDepth::Float32 => clip.channels().to_vec(),
                        _ => integers(&clip, depth)
                            .iter()
                            .map(|it| it.iter().map(|&x| (f64::from(x) / scale) as f32).collect())
                            .collect(),
                    };
                    for container in [Container::Wav, Container::Flac, Container::Aiff] {
                        if (container, depth) == (Container::Flac, BitDepth::Float32) {
                            continue;
                        }
                        for tags in [Tags::default(), tags()] {
                            let bytes = bytes(&clip, container, depth, &tags).unwrap();
                            let found = read(&bytes);
                            assert_eq!(found.sample_rate(), 44_100);
                            assert!(
                                found.channels() == exact,
                                "{container:?} {depth:?} {channels} {frames}"
                            );
                        }
                    }
                }
            }
        }
        for (channels, depth, expected) in [
            (1, BitDepth::Float32, "16 or 24"),
            (9, BitDepth::Int16, "at most 8"),
        ] {
            let clip = clip(channels, 9);
            let refused = bytes(&clip, Container::Flac, depth, &Tags::default());
            assert!(refused.unwrap_err().to_string().contains(expected));
        }
    }

    #[test]
    fn the_header_of_a_wav_is_the_one_that_every_reader_knows() {
        for (channels, depth, tag) in [
            (1, BitDepth::Int16, 1),
            (2, BitDepth::Int24, 1),
            (1, BitDepth::Float32, 3),
            (4, BitDepth::Int24, 0xfffe),
        ] {
            let bytes = bytes(&clip(channels, 11), Container::Wav, depth, &tags()).unwrap();
            assert_eq!(u16::from_le_bytes([bytes[20], bytes[21]]), tag);
            let len = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
            assert_eq!((len as usize + 8, len % 2), (bytes.len(), 0));
            if tag == 1 {
                assert_eq!(&bytes[36..40], b"data");
                let len = u32::from_le_bytes(bytes[40..44].try_into().unwrap());
                assert_eq!(len, 11 * (channels as u32) * u32::from(depth.bits()) / 8);
            }
        }
    }

    #[test]
    fn tags_stand_where_readers_look_for_them() {
        let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|it| it == text);
        let at = |bytes: &[u8], text: &[u8]| {
            let place = bytes.windows(text.len()).position(|it| it == text).unwrap();
            bytes[place + text.len()..].to_vec()
        };
        let clip = clip(1, 100);
        let wav = bytes(&clip, Container::Wav, BitDepth::Int24, &tags()).unwrap();
        assert!(has(&wav, "INAM\u{8}\0\0\0kick \u{e9}\0".as_bytes()));
        assert!(has(&wav, b"ICMT\x0f\0\0\0seed 7 of many\0"));
        // 110 Hz is the A two octaves below the one of 440 Hz.
        let sampler = at(&wav, b"smpl");
        assert_eq!(
            (sampler[0], sampler[16], &sampler[20..24]),
            (36, 45, &[0; 4][..])
        );
        let aiff = bytes(&clip, Container::Aiff, BitDepth::Int24, &tags()).unwrap();
        assert!(has(&aiff, "NAME\0\0\0\u{7}kick \u{e9}\0".as_bytes()));
        assert_eq!(at(&aiff, b"INST")[4..6], [45, 0]);
        let flac = bytes(&clip, Container::Flac, BitDepth::Int24, &tags()).unwrap();
        assert!(has(&flac, "TITLE=kick \u{e9}".as_bytes()));
        assert!(has(&flac, b"COMMENT=seed 7 of many"));
        // A quarter tone above, the nearest key is the next one.
        let sharp = Tags {
            pitch_hz: Some(440.0 * 2f32.powf(0.75 / 12.0)),
            ..Tags::default()
        };
        let aiff = bytes(&clip, Container::Aiff, BitDepth::Int16, &sharp).unwrap();
        assert_eq!(at(&aiff, b"INST")[4..6], [70, 25]);
        let wav = bytes(&clip, Container::Wav, BitDepth::Int16, &sharp).unwrap();
        let sampler = at(&wav, b"smpl");
        let fraction = u32::from_le_bytes(sampler[20..24].try_into().unwrap());
        assert_eq!(sampler[16], 69);
        assert!((f64::from(fraction) / 2f64.powi(32) - 0.75).abs() < 1e-4);
        // What has no pitch says none.
        let plain = bytes(&clip, Container::Wav, BitDepth::Int16, &Tags::default()).unwrap();
        assert_eq!(plain.len(), 44 + 200);
    }

    #[test]
    fn a_files_name_says_what_it_is_to_be() {
        for (name, container) in [
            ("a.wav", Container::Wav),
            ("a.WAVE", Container::Wav),
            ("a", Container::Wav),
            ("a.b/c", Container::Wav),
            ("a.flac", Container::Flac),
            ("a.Aif", Container::Aiff),
            ("a.aiff", Container::Aiff),
        ] {
            assert_eq!(Container::of(Path::new(name)).unwrap(), container);
        }
        let refused = Container::of(Path::new("kick.mp3"))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("kick.mp3") && refused.contains(".flac"),
            "{refused}"
        );
    }
}
