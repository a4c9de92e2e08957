//! A sound as a project keeps it, and how it was made.

mod flac;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use audiodiff::audio::{BitDepth, Clip, Measures, Tags};
use audiodiff::render::{Remark, Rendered};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::kit::Class;
use crate::portrait::Portrait;

/// Longest sound that a project stores; the rest is cut. 30 s of stereo at 48 kHz take 5.8 MB, and their FLAC about 2 MB
/// more.
pub const MAX_STORED_SECONDS: u64 = 30;

/// The settings that decide which sound the model makes; or the file that a sound was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoundRecipe {
    /// The model that made it.
    pub model: String,
    /// One of the model's classes, or any.
    pub class: Option<String>,
    /// The seed of the noise.
    pub seed: u64,
    /// Steps from noise to sound; 0 for as many as the model is best with.
    pub steps: u32,
    /// The weight of classifier-free guidance; 0 for the one that the model is best with.
    pub guidance: f32,
    /// The length that was asked for, seconds; none for the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f32>,
    /// What was asked of it, by the names of attributes, in their units.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, f32>,
    /// The strength of a variation of an earlier sound of its pad, 0 to 1; none if it is no variation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<f32>,
    /// The fraction of a morph from its pad's sound to another pad's, 0 to 1; none if it is no morph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub morph: Option<f32>,
    /// The name of the file that it was read from; none if the model made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What a later version knows of.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl SoundRecipe {
    /// The recipe of any sound of a model of no name, with the first seed, as that model is best with.
    pub(crate) fn plain() -> Self {
        Self {
            model: String::new(),
            class: None,
            seed: 0,
            steps: 0,
            guidance: 0.0,
            seconds: None,
            attributes: BTreeMap::new(),
            variation: None,
            morph: None,
            file: None,
            unknown: Map::new(),
        }
    }

    /// The recipe of a sound that was read from the file at `path`.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            guidance: 1.0,
            file: Some(name.to_string_lossy().into_owned()),
            ..Self::plain()
        }
    }
}

/// The parameters and settings of a pad that describe a sound, as they were at some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// As the setting has it.
    pub class: Class,
    /// The seed.
    pub seed: i32,
    /// As the setting has it.
    pub steps: u32,
    /// As the setting has it.
    pub guidance: f32,
    /// Seconds; 0 for the model's own.
    pub length: f32,
    /// As the setting has it. Absent in older projects.
    #[serde(default, skip_serializing_if = "Portrait::is_blank")]
    pub portrait: Portrait,
}

/// A sound as the project keeps it: 16 bits a sample, scaled so that the peak uses them all.
///
/// A new sound is played from here too, so that reopening the project changes no bit. It is saved as FLAC, which is made
/// once: by [`pack`](StoredSound::pack), on a thread that may take its time, or else when it is first saved. Clones share
/// the samples.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Packed<'static>")]
pub struct StoredSound {
    recipe: SoundRecipe,
    /// Its pad's parameters when it came there. Absent in older projects.
    asked: Option<Asked>,
    /// Hz, of a sound that has a pitch. Absent in older projects, whose keys go on as they were.
    pitch: Option<f32>,
    remarks: Vec<String>,
    sample_rate: u32,
    /// Value of the sample 32767.
    peak: f32,
    samples: Arc<Samples>,
    /// What a later version knows of.
    unknown: Map<String, Value>,
}

/// Samples, and how they are saved.
#[derive(Debug)]
struct Samples {
    /// One or two of equal length.
    channels: Vec<Vec<i16>>,
    /// The same as FLAC, once it was needed: to make it takes a quarter of a second for 30 s of stereo.
    flac: OnceLock<Vec<u8>>,
}

impl PartialEq for Samples {
    /// What they sound like decides, not how they came.
    fn eq(&self, other: &Self) -> bool {
        self.channels == other.channels
    }
}

impl Samples {
    fn flac(&self) -> &[u8] {
        self.flac.get_or_init(|| flac::encode(&self.channels))
    }
}

/// The depth that a clip is written with: integers would clip samples that are louder than full scale.
pub(crate) fn depth_of(clip: &Clip) -> BitDepth {
    match clip.peak() {
        ..=1.0 => BitDepth::Int24,
        _ => BitDepth::Float32,
    }
}

impl StoredSound {
    /// Stores the first 30 s of a clip, as mono or stereo. Samples that are not finite become silence.
    #[must_use]
    pub fn new(recipe: SoundRecipe, clip: &Clip) -> Self {
        let sample_rate = clip.sample_rate();
        let most =
            usize::try_from(u64::from(sample_rate) * MAX_STORED_SECONDS).unwrap_or(usize::MAX);
        let clip = clip.slice(0, clip.len_frames().min(most));
        let clip = if clip.channels().len() > 2 {
            clip.with_channels(2)
        } else {
            clip
        };
        let samples = clip.channels().iter().flatten();
        let peak = samples
            .filter(|x| x.is_finite())
            .fold(0f32, |peak, x| peak.max(x.abs()));
        let pack = |&x: &f32| {
            // The quotient of a finite number and the largest is at most one; 0/0 and the infinite become zero.
            let scaled = x / peak;
            if scaled.abs() <= 1.0 {
                (scaled * 32767.0).round() as i16
            } else {
                0
            }
        };
        let channels = clip.channels().iter();
        let samples = Samples {
            channels: channels.map(|c| c.iter().map(pack).collect()).collect(),
            flac: OnceLock::new(),
        };
        Self {
            recipe,
            asked: None,
            pitch: None,
            remarks: Vec::new(),
            unknown: Map::new(),
            sample_rate,
            peak,
            samples: Arc::new(samples),
        }
    }

    /// Stores what the model made, with its remarks.
    pub fn rendered(recipe: SoundRecipe, rendered: &Rendered) -> Self {
        Self {
            remarks: rendered.remarks.iter().map(Remark::to_string).collect(),
            ..Self::new(recipe, &rendered.clip)
        }
    }

    /// Makes the FLAC that it is saved as, unless it is there.
    pub fn pack(&self) {
        self.samples.flac();
    }

    /// Whether the FLAC is there.
    pub(crate) fn is_packed(&self) -> bool {
        self.samples.flac.get().is_some()
    }

    /// The same, which came to its pad while that had these parameters.
    #[must_use]
    pub fn asked(self, asked: Asked) -> Self {
        Self {
            asked: Some(asked),
            ..self
        }
    }

    /// The same, for keys to play in tune if it has a pitch.
    #[must_use]
    pub fn measured(self) -> Self {
        let pitch = Measures::pitch_of(&self.clip());
        Self { pitch, ..self }
    }

    /// Hz, where it was measured and is one.
    #[must_use]
    pub fn pitch(&self) -> Option<f32> {
        self.pitch
    }

    /// Whether it came to its pad while that had these parameters, which describe a sound of this recipe.
    #[must_use]
    pub fn came_of(&self, asked: &Asked, recipe: &SoundRecipe) -> bool {
        let own = &self.recipe;
        let by_hand = own.variation.is_some() || own.morph.is_some() || own.file.is_some();
        self.asked.as_ref().map_or(by_hand, |own| own == asked) || own == recipe
    }

    /// Bytes that its samples take, without their FLAC.
    pub(crate) fn bytes(&self) -> usize {
        let channels = &self.samples.channels;
        channels.len() * channels[0].len() * size_of::<i16>()
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f32 {
        self.samples.channels[0].len() as f32 / self.sample_rate as f32
    }

    /// How it was made.
    #[must_use]
    pub fn recipe(&self) -> &SoundRecipe {
        &self.recipe
    }

    /// The renderer's remarks on it: a sentence for each thing that was asked for and could not be had.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// What a file of it says: its class or the file that it came of, seed and model, and its pitch.
    pub(crate) fn tags(&self) -> Tags {
        let recipe = &self.recipe;
        Tags {
            title: recipe.class.clone().or_else(|| recipe.file.clone()),
            comment: (recipe.file.is_none())
                .then(|| format!("seed {}, model {}", recipe.seed, recipe.model)),
            pitch_hz: self.pitch,
        }
    }

    /// The sound.
    #[must_use]
    pub fn clip(&self) -> Clip {
        let unpack = |&x: &i16| f32::from(x) / 32767.0 * self.peak;
        let channels = self.samples.channels.iter();
        Clip::new(
            self.sample_rate,
            channels.map(|c| c.iter().map(unpack).collect()).collect(),
        )
    }
}

/// [`StoredSound`] in a project file. Projects are edited, merged and damaged by others: a sound from one is checked
/// before it is used.
#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    recipe: Cow<'a, SoundRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Asked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pitch: Option<f32>,
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    remarks: Cow<'a, [String]>,
    sample_rate: u32,
    peak: f32,
    /// All channels as FLAC in Base64. The rate there is no sound's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flac: Option<String>,
    /// In older projects, little-endian samples of each channel in Base64.
    #[serde(default, skip_serializing)]
    channels: Option<Vec<String>>,
    #[serde(flatten)]
    unknown: Cow<'a, Map<String, Value>>,
}

impl Serialize for StoredSound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let packed = Packed {
            recipe: Cow::Borrowed(&self.recipe),
            asked: self.asked.clone(),
            pitch: self.pitch,
            remarks: Cow::Borrowed(&self.remarks),
            sample_rate: self.sample_rate,
            peak: self.peak,
            flac: Some(BASE64.encode(self.samples.flac())),
            channels: None,
            unknown: Cow::Borrowed(&self.unknown),
        };
        packed.serialize(serializer)
    }
}

impl TryFrom<Packed<'_>> for StoredSound {
    type Error = String;

    fn try_from(packed: Packed) -> Result<Self, String> {
        let Packed {
            recipe,
            asked,
            pitch,
            remarks,
            sample_rate,
            peak,
            flac,
            channels,
            unknown,
        } = packed;
        if !(1..=audiodiff::audio::MAX_SAMPLE_RATE).contains(&sample_rate) {
            return Err(format!(
                "stored sound: expected a sample rate up to 768000 Hz, found {sample_rate}"
            ));
        }
        // The lowest sample, -32768, lies a little beyond the peak.
        let lowest = f32::from(i16::MIN) / 32767.0 * peak;
        if !(lowest.is_finite() && peak >= 0.0) {
            return Err(format!(
                "stored sound: expected a peak below 3.4e38, found {peak}"
            ));
        }
        let most = u64::from(sample_rate) * MAX_STORED_SECONDS;
        let samples = match (flac, channels) {
            (Some(text), None) => {
                let flac = bytes(&text)?;
                Samples {
                    channels: flac::decode(&flac, most)
                        .map_err(|e| format!("stored sound: {e}"))?,
                    flac: flac.into(),
                }
            }
            (None, Some(texts)) => Samples {
                channels: plain(&texts, most)?,
                flac: OnceLock::new(),
            },
            (flac, _) => {
                let found = flac.map_or("neither", |_| "both");
                return Err(format!(
                    "stored sound: expected either flac or channels, found {found}"
                ));
            }
        };
        Ok(Self {
            recipe: recipe.into_owned(),
            asked,
            // Any other number would be no pitch.
            pitch: pitch.filter(|hz| (1.0..=100_000.0).contains(hz)),
            remarks: remarks.into_owned(),
            unknown: unknown.into_owned(),
            sample_rate,
            peak,
            samples: Arc::new(samples),
        })
    }
}

/// The channels of an older project's sound.
fn plain(texts: &[String], most: u64) -> Result<Vec<Vec<i16>>, String> {
    let samples = |text: &String| -> Result<Vec<i16>, String> {
        let pairs = bytes(text)?;
        let pairs = pairs.chunks_exact(2);
        Ok(pairs
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect())
    };
    let channels: Vec<Vec<i16>> = texts.iter().map(samples).collect::<Result<_, _>>()?;
    let lens: Vec<usize> = channels.iter().map(Vec::len).collect();
    match lens[..] {
        [len] if len as u64 <= most => Ok(channels),
        [a, b] if a == b && a as u64 <= most => Ok(channels),
        _ => Err(format!(
            "stored sound: expected one or two channels of equal length up to {MAX_STORED_SECONDS} s, \
             found lengths {lens:?}"
        )),
    }
}

/// The bytes that a text in Base64 stands for.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    BASE64
        .decode(text)
        .map_err(|e| format!("stored sound: expected Base64, found {e}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn recipe(seed: u64) -> SoundRecipe {
        SoundRecipe {
            model: "test".into(),
            class: Some("kick".into()),
            seed,
            steps: 8,
            guidance: 1.5,
            seconds: None,
            attributes: BTreeMap::new(),
            variation: None,
            morph: None,
            file: None,
            unknown: Map::new(),
        }
    }

    pub(crate) fn asked(seed: i32) -> Asked {
        Asked {
            class: Class::Auto,
            seed,
            steps: 0,
            guidance: 0.0,
            length: 0.0,
            portrait: Portrait::default(),
        }
    }

    pub(crate) fn clip(rate: u32, value: f32) -> Clip {
        let wave = |i: usize| value * (i as f32 * 0.05).sin();
        Clip::new(
            rate,
            vec![
                (0..2000).map(wave).collect(),
                (0..2000).map(|i| -wave(i)).collect(),
            ],
        )
    }

    #[test]
    fn sixteen_bits_are_spent_below_the_peak() {
        for peak in [1e-6, 0.3, 1.0, 40.0] {
            let clip = clip(44_100, peak);
            let stored = StoredSound::new(recipe(0), &clip).clip();
            for (a, b) in clip
                .channels()
                .iter()
                .flatten()
                .zip(stored.channels().iter().flatten())
            {
                assert!((a - b).abs() <= clip.peak() / 65_000.0, "{a} {b}");
            }
        }
        for odd in [vec![], vec![0.0; 5], vec![f32::NAN, f32::INFINITY, 0.0]] {
            let stored = StoredSound::new(recipe(0), &Clip::new(44_100, vec![odd.clone()])).clip();
            assert_eq!(stored.channels(), [vec![0.0; odd.len()]]);
        }
    }

    #[test]
    fn a_sound_is_stored_up_to_30_seconds() {
        let stored = StoredSound::new(recipe(0), &Clip::new(100, vec![vec![0.5; 5000]; 3]));
        assert_eq!(
            (stored.clip().len_frames(), stored.clip().channels().len()),
            (3000, 2)
        );
    }

    #[test]
    fn a_sound_is_saved_as_flac_and_opened_bit_for_bit() {
        let sound = StoredSound::new(recipe(1), &clip(768_000, 0.7));
        let text = serde_json::to_string(&sound).unwrap();
        let opened: StoredSound = serde_json::from_str(&text).unwrap();
        assert_eq!((&opened, opened.clip()), (&sound, sound.clip()));
        assert_eq!(serde_json::to_string(&opened).unwrap(), text);
        assert!(text.contains("\"flac\":\"ZkxhQ4AAACI") && !text.contains("channels"));
        // Two of 2000 samples, which were 4 bytes in Base64 for 3.
        assert!(text.len() < 4000, "{}", text.len());
    }

    #[test]
    fn an_older_sound_opens_bit_for_bit_and_is_saved_as_flac() {
        let channels = [vec![0, 1, i16::MIN, i16::MAX, -7], vec![5, 4, 3, 2, 1]];
        let base64 = channels.each_ref().map(|channel| {
            BASE64.encode(
                channel
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect::<Vec<_>>(),
            )
        });
        let recipe = serde_json::to_value(recipe(1)).unwrap();
        let text = serde_json::json!({
            "recipe": recipe, "sample_rate": 96_000, "peak": 0.25, "channels": base64
        });
        let sound: StoredSound = serde_json::from_value(text).unwrap();
        assert_eq!(sound.samples.channels, channels);
        let again = serde_json::to_string(&sound).unwrap();
        let again: StoredSound = serde_json::from_str(&again).unwrap();
        assert_eq!((again.clip(), &again), (sound.clip(), &sound));
    }

    #[test]
    fn a_damaged_project_is_refused_with_a_reason() {
        let sound = StoredSound::new(recipe(0), &clip(44_100, 0.5));
        let text = serde_json::to_string(&sound).unwrap();
        let parse =
            |text: String| serde_json::from_str::<StoredSound>(&text).map_err(|e| e.to_string());
        assert_eq!(parse(text.clone()).unwrap(), sound);
        // As in older projects.
        let plain = |texts: &str| {
            let start = text.find("\"flac\"").unwrap();
            format!("{}\"channels\":[{texts}]}}", &text[..start])
        };
        assert!(parse(plain("\"AAAA\",\"AAAA\"")).is_ok());
        let cases = [
            (text.replace("44100", "0"), "sample rate"),
            (text.replace("44100", "4000000000"), "sample rate"),
            (text.replace("\"flac\":\"", "\"flac\":\"*"), "Base64"),
            (text.replace("\"flac\":\"", "\"flac\":\"AAAA"), "tags"),
            (
                text.replace("\"sample_rate\":44100", "\"sample_rate\":1"),
                "up to 30 frames, found 2000",
            ),
            (text.replace("\"flac\"", "\"wav\""), "found neither"),
            (
                text.replace("\"flac\"", "\"channels\":[],\"flac\""),
                "found both",
            ),
            (plain("\"AAAAAA==\",\"AAA=\""), "found lengths [2, 1]"),
            (plain(""), "found lengths []"),
            (plain("\"*\""), "Base64"),
        ];
        for (text, reason) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let peak = text.replace(&format!("\"peak\":{}", sound.peak), "\"peak\":-1.0");
        assert!(parse(peak).unwrap_err().contains("peak"));
    }
}
