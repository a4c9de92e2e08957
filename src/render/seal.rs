//! [`Seal`]: how a file shows that it is the whole sound of a seed, and of which settings.

use std::io::Write;
use std::path::Path;

use super::RenderSettings;
use crate::audio::{self, BitDepth, Clip, Container, Tags};
use crate::error::{Error, Result};
use crate::file::write_whole;

/// Hexadecimal digits of a seal.
const DIGITS: usize = 32;
/// What stands before them.
const MARK: &[u8] = b", seal ";

/// Stands for a model, settings and the kind of file. The files of sounds carry it in their comment, as a hash of all
/// this, the seed and their own bytes: so a rendering that was interrupted finds again what it need not repeat.
///
/// ```
/// use audiodiff::audio::{BitDepth, Clip, Tags};
/// use audiodiff::render::Seal;
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let path = folder.path().join("a.wav");
///
/// let seal = Seal::new("a model's fingerprint", "its settings", BitDepth::Int24);
/// let clip = Clip::new(8000, vec![vec![0.5; 800]]);
/// seal.write(&path, 7, &clip, Tags::default())?;
/// assert!(seal.is_on(&path, 7) && !seal.is_on(&path, 8));
/// let other = Seal::new("a model's fingerprint", "other settings", BitDepth::Int24);
/// assert!(!other.is_on(&path, 7));
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Seal {
    key: [u8; 32],
    depth: BitDepth,
}

impl Seal {
    /// `model` is a [fingerprint](crate::Checkpoint::fingerprint), `settings` all else that decides a sound but its seed:
    /// see [`RenderSettings::digest`].
    #[must_use]
    pub fn new(model: &str, settings: &str, depth: BitDepth) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{version}\n{model}\n{settings}\n{depth:?}");
        Self {
            key: *blake3::hash(text.as_bytes()).as_bytes(),
            depth,
        }
    }

    /// The bytes of the file of a seed's sound: [`audio::bytes`], with the seal at the end of the tags' comment.
    ///
    /// # Errors
    /// As [`audio::bytes`].
    pub fn bytes(
        &self,
        seed: u64,
        clip: &Clip,
        container: Container,
        mut tags: Tags,
    ) -> Result<Vec<u8>> {
        let mut comment = tags.comment.take().unwrap_or_default();
        comment.push_str(&String::from_utf8_lossy(MARK));
        comment.push_str(&"0".repeat(DIGITS));
        tags.comment = Some(comment);
        let mut bytes = audio::bytes(clip, container, self.depth, &tags)?;
        if let Some(at) = place(&bytes) {
            let digits = self.digits(seed, &bytes);
            bytes[at..at + DIGITS].copy_from_slice(digits.as_bytes());
        }
        Ok(bytes)
    }

    /// Writes the sound of a seed, replacing what is there, as the kind of file that its name ends in. It appears whole
    /// or not at all.
    ///
    /// # Errors
    /// As [`audio::write`].
    pub fn write(&self, path: &Path, seed: u64, clip: &Clip, tags: Tags) -> Result<()> {
        let bytes = self.bytes(seed, clip, Container::of(path)?, tags);
        let bytes = bytes.map_err(|error| match error {
            Error::Setting(reason) => Error::sound(path, reason),
            other => other,
        })?;
        write_whole(path, &bytes)
    }

    /// Whether the file is that of this seed, as it was written.
    #[must_use]
    pub fn is_on(&self, path: &Path, seed: u64) -> bool {
        let Ok(mut bytes) = std::fs::read(path) else {
            return false;
        };
        let Some(at) = place(&bytes) else {
            return false;
        };
        let own = bytes[at..at + DIGITS].to_vec();
        bytes[at..at + DIGITS].fill(b'0');
        self.digits(seed, &bytes).as_bytes() == own
    }

    /// The digits for a file whose own are zeros.
    fn digits(&self, seed: u64, bytes: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&seed.to_le_bytes()).update(bytes);
        let mut digits = hasher.finalize().to_hex().to_string();
        digits.truncate(DIGITS);
        digits
    }
}

/// Where the digits of a file's seal begin.
fn place(bytes: &[u8]) -> Option<usize> {
    let marks = bytes.windows(MARK.len() + DIGITS);
    let is_seal = |window: &[u8]| {
        window[0] == MARK[0]
            && window.starts_with(MARK)
            && window[MARK.len()..].iter().all(u8::is_ascii_hexdigit)
    };
    // Texts come after the samples, but in FLAC.
    let last = marks.rev().position(is_seal)?;
    Some(bytes.len() - last - DIGITS)
}

impl RenderSettings {
    /// Stands for these settings, the samples of [`RenderSettings::init`] included: a hash in hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        write!(hasher, "{self:?}").expect("a hasher takes everything");
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn a_damaged_file_has_no_seal_wherever_the_damage_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let clip = Clip::new(8000, vec![Noise::new(1).normals(300)]);
        for (name, depth) in [
            ("a.wav", BitDepth::Float32),
            ("a.flac", BitDepth::Int16),
            ("a.aiff", BitDepth::Int24),
        ] {
            let path = folder.path().join(name);
            let seal = Seal::new("model", "settings", depth);
            let tags = Tags {
                title: Some("kick".into()),
                comment: Some("seed 3, model of mine".into()),
                ..Tags::default()
            };
            seal.write(&path, 3, &clip, tags).expect("written");
            assert!(seal.is_on(&path, 3) && !seal.is_on(&path, 4), "{name}");
            assert!(
                !Seal::new("model", "settings", BitDepth::Int16).is_on(&path, 3)
                    || depth == BitDepth::Int16
            );
            let whole = std::fs::read(&path).expect("there");
            assert_eq!(audio::read(&path).expect("a sound").len_frames(), 300);
            for at in (0..whole.len()).step_by(7) {
                let mut damaged = whole.clone();
                damaged[at] ^= 1;
                std::fs::write(&path, &damaged).expect("written");
                assert!(!seal.is_on(&path, 3), "{name} at {at}");
            }
            for short in [&whole[..0], &whole[..20], &whole[..whole.len() - 1]] {
                std::fs::write(&path, short).expect("written");
                assert!(!seal.is_on(&path, 3), "{name}: {}", short.len());
            }
        }
        assert!(!Seal::new("model", "settings", BitDepth::Int16).is_on(folder.path(), 3));
    }

    #[test]
    fn a_digest_hears_every_sample_it_begins_with() {
        let settings = |last: f32| RenderSettings {
            init: Some(crate::render::Init::Vary {
                clip: Clip::new(8000, vec![vec![0.1, 0.2, last]]),
                strength: 0.5,
            }),
            ..plain()
        };
        assert_eq!(settings(0.3).digest(), settings(0.3).digest());
        assert_ne!(settings(0.3).digest(), settings(0.300_000_04).digest());
        assert_ne!(settings(0.3).digest(), plain().digest());
    }

    fn plain() -> RenderSettings {
        RenderSettings {
            class: None,
            steps: 4,
            sampler: crate::diffusion::sampler::Sampler::Heun,
            schedule: crate::diffusion::schedule::Schedule::LogSnr,
            sigma_max: 80.0,
            sigma_min: 0.01,
            guidance: 1.5,
            guidance_interval: (0.1, 10.0),
            seconds: None,
            trim: true,
            init: None,
            descriptors: Vec::new(),
            level: crate::audio::Level::default(),
        }
    }
}
