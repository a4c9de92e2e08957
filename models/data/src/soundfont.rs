//! SoundFonts as a source of one-shots: the raw recordings inside, and notes played through them.
//!
//! A kit plays few recordings in many places, each with its own filter and envelope. The recordings
//! themselves are what a model of sounds should hear, so drums are taken raw and at their native rate.
//! Melodic instruments are spread over many loops and layers: those are played as notes.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustysynth::{SampleHeader, SoundFont, Synthesizer, SynthesizerSettings};

use crate::wav::Pcm;

/// Rate of played notes, Hz.
const NOTE_RATE: i32 = 44_100;
/// Length of a played note with its release, frames: one and a half seconds.
const NOTE_FRAMES: usize = 66_150;
/// When the key is let go, frames: three quarters through.
const NOTE_HELD: usize = 49_612;
/// How hard the key is struck, of 127.
const NOTE_VELOCITY: i32 = 100;
/// Gain of the player, chosen so that no note of `sounds.tsv` clips.
const NOTE_GAIN: f32 = 0.9;

/// An open SoundFont.
#[derive(Debug)]
pub struct Font(Arc<SoundFont>);

impl Font {
    /// Reads the SoundFont at `path` whole: as much memory as the file is long.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let font = SoundFont::new(&mut BufReader::new(file))
            .with_context(|| format!("{} is no SoundFont 2", path.display()))?;
        Ok(Self(Arc::new(font)))
    }

    /// The recordings of these names as the channels of one clip, untouched.
    ///
    /// # Errors
    /// When a name is missing or borne by two, or when rate or length differ between the channels.
    pub fn sample(&self, names: &[&str]) -> anyhow::Result<Pcm> {
        let headers = names
            .iter()
            .map(|name| self.header(name))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let sample_rate = headers[0].get_sample_rate();
        let channels = headers
            .iter()
            .map(|header| {
                let range = header.get_start() as usize..header.get_end() as usize;
                let wave = self.0.get_wave_data().get(range);
                wave.with_context(|| format!("sample {:?} ends beyond the font", header.get_name()))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(
            headers.iter().all(|h| h.get_sample_rate() == sample_rate)
                && channels.iter().all(|c| c.len() == channels[0].len()),
            "the samples {names:?} differ in rate or length"
        );
        Ok(Pcm {
            sample_rate: sample_rate as u32,
            channels: channels.into_iter().map(<[i16]>::to_vec).collect(),
        })
    }

    fn header(&self, name: &str) -> anyhow::Result<&SampleHeader> {
        let mut found = self
            .0
            .get_sample_headers()
            .iter()
            .filter(|h| h.get_name() == name);
        match (found.next(), found.next()) {
            (Some(header), None) => Ok(header),
            (None, _) => bail!("the font has no sample {name:?}"),
            (Some(_), Some(_)) => bail!("the font has more than one sample {name:?}"),
        }
    }

    /// `key` played on General MIDI `program` (0 to 127): stereo, dry, one and a half seconds.
    ///
    /// # Errors
    /// When the font has no such program.
    pub fn note(&self, program: i32, key: i32) -> anyhow::Result<Pcm> {
        ensure!(
            self.0
                .get_presets()
                .iter()
                .any(|p| p.get_bank_number() == 0 && p.get_patch_number() == program),
            "the font has no program {program}"
        );
        let mut settings = SynthesizerSettings::new(NOTE_RATE);
        settings.enable_reverb_and_chorus = false;
        let mut player = Synthesizer::new(&self.0, &settings).context("cannot play the font")?;

        player.set_master_volume(NOTE_GAIN);

        const CHANNEL: i32 = 0;
        const PROGRAM_CHANGE: i32 = 0xC0;
        player.process_midi_message(CHANNEL, PROGRAM_CHANGE, program, 0);
        let mut left = vec![0.0; NOTE_FRAMES];
        let mut right = vec![0.0; NOTE_FRAMES];
        player.note_on(CHANNEL, key, NOTE_VELOCITY);
        player.render(&mut left[..NOTE_HELD], &mut right[..NOTE_HELD]);
        player.note_off(CHANNEL, key);
        player.render(&mut left[NOTE_HELD..], &mut right[NOTE_HELD..]);

        // Rounded downwards: half a step of DC nobody hears, kept so that the sounds stay the same.
        let quantize = |x: f32| (x * 32_768.0).floor() as i16;
        Ok(Pcm {
            sample_rate: NOTE_RATE as u32,
            channels: [left, right]
                .map(|channel| channel.into_iter().map(quantize).collect())
                .into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A font of one preset (program 5) that plays `Left`, a second of a looped 441 Hz sine, on every
    /// key; `Right`, as long, falls from full scale; the name `Twice` is borne by two.
    fn font() -> (Font, Vec<i16>, Vec<i16>) {
        const FRAMES: u32 = 44_100;
        const GAP: u32 = 46;
        let left: Vec<i16> = (0..FRAMES)
            .map(|n| (20_000.0 * (std::f64::consts::TAU * f64::from(n) / 100.0).sin()) as i16)
            .collect();
        let right: Vec<i16> = (0..FRAMES)
            .map(|n| (32_767 - n as i32 / 2) as i16)
            .collect();

        let chunk = |id: &str, body: &[u8]| {
            let mut bytes = id.as_bytes().to_vec();
            bytes.extend((body.len() as u32).to_le_bytes());
            bytes.extend(body);
            bytes
        };
        let shorts =
            |values: &[i16]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let name = |name: &str| {
            let mut bytes = [0; 20];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            bytes.to_vec()
        };
        let mut smpl = Vec::new();
        for channel in [&left, &right] {
            smpl.extend(shorts(channel));
            smpl.extend(shorts(&[0; GAP as usize]));
        }
        let header = |title: &str, start: u32| {
            let mut bytes = name(title);
            for value in [
                start,
                start + FRAMES,
                start + 100,
                start + FRAMES - 100,
                44_100,
            ] {
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend([69, 0, 0, 0, 1, 0]);
            bytes
        };
        let second = FRAMES + GAP;
        let preset = |title: &str, program: i16, bag: i16| {
            [name(title), shorts(&[program, 0, bag]), vec![0; 12]].concat()
        };
        // Generator 41 names the instrument, 54 loops, 53 names the sample.
        let lists = [
            chunk(
                "phdr",
                &[preset("Sine", 5, 0), preset("EOP", 0, 1)].concat(),
            ),
            chunk("pbag", &shorts(&[0, 0, 1, 0])),
            chunk("pmod", &[0; 10]),
            chunk("pgen", &shorts(&[41, 0, 0, 0])),
            chunk(
                "inst",
                &[name("Sine"), shorts(&[0]), name("EOI"), shorts(&[1])].concat(),
            ),
            chunk("ibag", &shorts(&[0, 0, 2, 0])),
            chunk("imod", &[0; 10]),
            chunk("igen", &shorts(&[54, 1, 53, 0, 0, 0])),
            chunk(
                "shdr",
                &[
                    header("Left", 0),
                    header("Right", second),
                    header("Twice", 0),
                    header("Twice", second),
                    header("EOS", 0),
                ]
                .concat(),
            ),
        ];
        let info = [
            chunk("ifil", &[2, 0, 1, 0]),
            chunk("isng", b"EMU8000\0"),
            chunk("INAM", b"Test\0\0"),
        ];
        let riff = [
            b"sfbk".to_vec(),
            chunk("LIST", &[b"INFO".to_vec(), info.concat()].concat()),
            chunk("LIST", &[b"sdta".to_vec(), chunk("smpl", &smpl)].concat()),
            chunk("LIST", &[b"pdta".to_vec(), lists.concat()].concat()),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), chunk("RIFF", &riff.concat())).unwrap();
        (Font::open(file.path()).unwrap(), left, right)
    }

    #[test]
    fn recordings_come_out_untouched_in_the_order_asked_for() {
        let (font, left, right) = font();
        let clip = font.sample(&["Right", "Left"]).unwrap();
        assert_eq!(clip.sample_rate, 44_100);
        assert_eq!(clip.channels, [right, left]);
    }

    #[test]
    fn missing_and_ambiguous_names_are_errors_that_name_them() {
        let (font, ..) = font();
        for name in ["Middle", "Twice"] {
            let error = font.sample(&[name]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(
            font.note(6, 60)
                .unwrap_err()
                .to_string()
                .contains("program 6")
        );
    }

    #[test]
    fn notes_sound_at_their_key_until_let_go() {
        let (font, ..) = font();
        let clip = font.note(5, 57).unwrap();
        let [left, right] = &clip.channels[..] else {
            panic!("a note is stereo")
        };
        assert_eq!((clip.sample_rate, left.len()), (44_100, 66_150));
        // The middle of the panorama, but for rounding.
        assert!(left.iter().zip(right).all(|(l, r)| l.abs_diff(*r) <= 1));
        // The recording is 441 Hz said to be key 69; an octave below there are 220.5 upward crossings a
        // second.
        let crossings = left[4_410..48_510]
            .windows(2)
            .filter(|w| w[0] < 0 && w[1] >= 0)
            .count();
        assert!((219..=222).contains(&crossings), "{crossings}");
        assert!(left[49_000..49_600].iter().any(|x| x.abs() > 3_000));
        // Within a tenth of a second after the key went up there is silence.
        assert!(left[NOTE_HELD + 4_410..].iter().all(|x| x.abs() <= 1));
    }

    #[test]
    fn a_file_that_is_no_font_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "RIFF, but no").unwrap();
        let error = Font::open(file.path()).unwrap_err().to_string();
        assert!(
            error.contains(&file.path().display().to_string()),
            "{error}"
        );
    }
}
