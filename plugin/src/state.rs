//! What a project stores, and how a sound reaches the audio thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audiodiff::audio::Clip;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam::queue::ArrayQueue;
use nice_plug::params::persist::PersistentField;
use nice_plug::prelude::nice_warn;
use serde::{Deserialize, Serialize};

use crate::voice::Sound;

/// Longest sound that a project stores; the rest is cut. 30 s of stereo at 48 kHz take 5.8 MB.
const MAX_SECONDS: u64 = 30;

/// All that decides which sound the model makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The model that made it.
    pub model: String,
    /// One of the model's classes, or any.
    pub class: Option<String>,
    /// Names the noise it began as.
    pub seed: u64,
    /// Steps from noise to sound.
    pub steps: u32,
    /// How strongly to insist on the class.
    pub guidance: f32,
}

/// A sound as the project keeps it: 16 bits a sample, scaled so that the peak uses them all.
///
/// What is heard is what is stored: a new sound is played from here too, so reopening the project
/// changes no bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Packed", into = "Packed")]
pub struct StoredSound {
    recipe: Recipe,
    sample_rate: u32,
    /// Value of the sample 32767.
    peak: f32,
    /// One or two channels of equal length.
    channels: Vec<Vec<i16>>,
}

impl StoredSound {
    /// Packs a clip, as mono or stereo, the first 30 s of it. Samples that are not finite become
    /// silence.
    pub fn new(recipe: Recipe, clip: &Clip) -> Self {
        let sample_rate = clip.sample_rate();
        let most = usize::try_from(u64::from(sample_rate) * MAX_SECONDS).unwrap_or(usize::MAX);
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
            // The quotient of a finite number and the largest is at most one; 0/0 and the
            // infinite become zero.
            let part = x / peak;
            if part.abs() <= 1.0 {
                (part * 32767.0).round() as i16
            } else {
                0
            }
        };
        let channels = clip
            .channels()
            .iter()
            .map(|c| c.iter().map(pack).collect())
            .collect();
        Self {
            recipe,
            sample_rate,
            peak,
            channels,
        }
    }

    /// How it was made.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The sound.
    pub fn clip(&self) -> Clip {
        let unpack = |&x: &i16| f32::from(x) / 32767.0 * self.peak;
        let channels = self
            .channels
            .iter()
            .map(|c| c.iter().map(unpack).collect())
            .collect();
        Clip::new(self.sample_rate, channels)
    }
}

/// [`StoredSound`] in a project file. Projects are edited, merged and damaged by others: what comes
/// from one is checked before it is a sound.
#[derive(Serialize, Deserialize)]
struct Packed {
    recipe: Recipe,
    sample_rate: u32,
    peak: f32,
    /// Little-endian samples of each channel in Base64.
    channels: Vec<String>,
}

impl From<StoredSound> for Packed {
    fn from(sound: StoredSound) -> Self {
        let text = |c: &Vec<i16>| {
            BASE64.encode(c.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
        };
        Self {
            channels: sound.channels.iter().map(text).collect(),
            recipe: sound.recipe,
            sample_rate: sound.sample_rate,
            peak: sound.peak,
        }
    }
}

impl TryFrom<Packed> for StoredSound {
    type Error = String;

    fn try_from(packed: Packed) -> Result<Self, String> {
        let Packed {
            recipe,
            sample_rate,
            peak,
            channels,
        } = packed;
        if !(1..=audiodiff::audio::MAX_SAMPLE_RATE).contains(&sample_rate) {
            return Err(format!(
                "stored sound: expected a sample rate up to 768000 Hz, found {sample_rate}"
            ));
        }
        if !(peak.is_finite() && peak >= 0.0) {
            return Err(format!(
                "stored sound: expected a finite peak, found {peak}"
            ));
        }
        let samples = |text: &String| -> Result<Vec<i16>, String> {
            let bytes = BASE64
                .decode(text)
                .map_err(|e| format!("stored sound: expected Base64, found {e}"))?;
            Ok(bytes
                .chunks_exact(2)
                .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
                .collect())
        };
        let channels: Vec<Vec<i16>> = channels.iter().map(samples).collect::<Result<_, _>>()?;
        let lens: Vec<usize> = channels.iter().map(Vec::len).collect();
        let most = u64::from(sample_rate) * MAX_SECONDS;
        match lens[..] {
            [len] if len as u64 <= most => {}
            [a, b] if a == b && a as u64 <= most => {}
            _ => {
                return Err(format!(
                    "stored sound: expected one or two channels of equal length up to {MAX_SECONDS} s, \
                     found lengths {lens:?}"
                ));
            }
        }
        Ok(Self {
            recipe,
            sample_rate,
            peak,
            channels,
        })
    }
}

/// What a project holds besides the parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// The sound that plays, if there is one yet.
    pub sound: Option<StoredSound>,
}

/// The one place where an instance's sound lives, between the threads that make, save and play it.
///
/// The audio thread calls [`take`](Store::take) and [`ask`](Store::ask) alone, which neither lock
/// nor wait. It never frees a sound either: each stays in a list here until nobody else holds it.
#[derive(Debug)]
pub struct Store {
    held: Mutex<Held>,
    /// The newest sound that the audio thread has not taken.
    fresh: ArrayQueue<Arc<Sound>>,
    /// How many sounds have been asked for.
    asked: AtomicU64,
    /// The last of these that was answered or called off.
    settled: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    project: Arc<Project>,
    /// The host's, Hz; 0 while unknown.
    sample_rate: u32,
    /// All sounds that the audio thread may still hold.
    published: Vec<Arc<Sound>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            fresh: ArrayQueue::new(1),
            asked: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }
}

impl Store {
    /// The newest sound, if there is one that was not taken yet.
    ///
    /// Real-time safe: no allocation, no lock, no wait.
    pub fn take(&self) -> Option<Arc<Sound>> {
        self.fresh.pop()
    }

    /// Asks for a new sound; whatever is being made for an earlier request is given up.
    ///
    /// Real-time safe: one atomic addition.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of the newest request that waits for an answer.
    pub fn pending(&self) -> Option<u64> {
        let settled = self.settled.load(Ordering::Acquire);
        let asked = self.asked.load(Ordering::Acquire);
        (asked > settled).then_some(asked)
    }

    /// Marks all requests up to `request` as answered.
    pub fn settle(&self, request: u64) {
        self.settled.fetch_max(request, Ordering::AcqRel);
    }

    /// Answers `request` with a clip, unless a newer one came in between.
    pub fn finish(&self, request: u64, recipe: Recipe, clip: &Clip) {
        let sound = StoredSound::new(recipe, clip);
        let mut held = self.lock();
        if self.pending() == Some(request) {
            self.replace(&mut held, Project { sound: Some(sound) });
            self.settle(request);
        }
    }

    /// What the project stores.
    pub fn project(&self) -> Arc<Project> {
        self.lock().project.clone()
    }

    /// Tells the host's sample rate; the sound is made ready for it. Not for the audio thread.
    pub fn set_sample_rate(&self, sample_rate: u32) {
        let mut held = self.lock();
        if held.sample_rate != sample_rate {
            held.sample_rate = sample_rate;
            self.publish(&mut held);
        }
    }

    /// Frees sounds that nobody plays any more. Not for the audio thread.
    pub fn free_unused(&self) {
        self.lock()
            .published
            .retain(|sound| Arc::strong_count(sound) > 1);
    }

    fn replace(&self, held: &mut Held, project: Project) {
        held.project = Arc::new(project);
        self.publish(held);
    }

    /// Hands the held sound to the audio thread, at the host's rate: the root key then plays it
    /// without interpolation.
    fn publish(&self, held: &mut Held) {
        let Some(stored) = held.project.sound.as_ref().filter(|_| held.sample_rate > 0) else {
            return;
        };
        let clip = stored.clip();
        let clip = clip.resampled(held.sample_rate).unwrap_or_else(|error| {
            // The voices can read any rate, only less well.
            nice_warn!("playing at the sound's own rate: {error}");
            clip
        });
        let sound = Arc::new(Sound::new(&clip));
        held.published.push(sound.clone());
        drop(self.fresh.force_push(sound));
        held.published.retain(|sound| Arc::strong_count(sound) > 1);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // What is held is replaced whole, so it is sound even if a holder panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hosts save and load through this. Loading does not activate the plugin anew, so
/// [`set`](PersistentField::set) itself brings the sound to the audio thread.
#[derive(Debug, Clone)]
pub struct ProjectField(pub Arc<Store>);

impl PersistentField<'_, Project> for ProjectField {
    fn set(&self, project: Project) {
        let store = &self.0;
        let mut held = store.lock();
        let request = store.asked.fetch_add(1, Ordering::AcqRel) + 1;
        if project.sound.is_some() {
            // A request from before must not replace what the project brings; nor must one that
            // loading the parameters may have made. Otherwise this one fetches what is missing.
            store.settle(request);
        }
        store.replace(&mut held, project);
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&Project) -> R,
    {
        f(&self.0.project())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn recipe(seed: u64) -> Recipe {
        Recipe {
            model: "test".into(),
            class: Some("kick".into()),
            seed,
            steps: 8,
            guidance: 1.5,
        }
    }

    fn clip(rate: u32, value: f32) -> Clip {
        let wave = |i: usize| value * (i as f32 * 0.05).sin();
        Clip::new(
            rate,
            vec![
                (0..2000).map(wave).collect(),
                (0..2000).map(|i| -wave(i)).collect(),
            ],
        )
    }

    fn save(store: &Arc<Store>) -> String {
        ProjectField(store.clone()).map(|project| serde_json::to_string(project).unwrap())
    }

    fn load(store: &Arc<Store>, text: &str) {
        ProjectField(store.clone()).set(serde_json::from_str(text).unwrap());
    }

    #[test]
    fn a_saved_sound_plays_bit_for_bit_like_the_one_that_was_heard() {
        let store = Arc::new(Store::default());
        store.set_sample_rate(44_100);
        store.ask();
        store.finish(1, recipe(3), &clip(48_000, 0.013));
        let heard = store.take().unwrap();
        let text = save(&store);

        let opened = Arc::new(Store::default());
        load(&opened, &text);
        assert!(opened.take().is_none(), "there is no rate to play at yet");
        opened.set_sample_rate(44_100);
        assert_eq!(opened.take().unwrap(), heard);
        assert_eq!(save(&opened), text);
        assert_eq!(
            opened.project().sound.as_ref().unwrap().recipe(),
            &recipe(3)
        );

        // An instance that runs already is not activated again.
        store.ask();
        store.finish(2, recipe(4), &clip(44_100, 0.5));
        load(&store, &text);
        assert_eq!(store.take().unwrap(), heard);
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
    fn a_damaged_project_is_refused_with_a_reason() {
        let sound = StoredSound::new(recipe(0), &clip(44_100, 0.5));
        let text = serde_json::to_string(&sound).unwrap();
        let parse =
            |text: String| serde_json::from_str::<StoredSound>(&text).map_err(|e| e.to_string());
        assert_eq!(parse(text.clone()).unwrap(), sound);
        let cases = [
            (text.replace("44100", "0"), "sample rate"),
            (text.replace("44100", "4000000000"), "sample rate"),
            (
                text.replace("\"channels\":[\"", "\"channels\":[\"*"),
                "Base64",
            ),
            (
                text.replace("\"channels\":[\"", "\"channels\":[\"\",\""),
                "equal length",
            ),
            (
                text.replace("\"sample_rate\":44100", "\"sample_rate\":1"),
                "30 s",
            ),
        ];
        for (text, reason) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let peak = text.replace(&format!("\"peak\":{}", sound.peak), "\"peak\":-1.0");
        assert!(parse(peak).unwrap_err().contains("peak"));
        assert_eq!(
            serde_json::from_str::<Project>("{}").unwrap(),
            Project::default()
        );
    }

    #[test]
    fn only_the_newest_request_is_answered() {
        let store = Store::default();
        store.set_sample_rate(44_100);
        assert_eq!(store.pending(), None);
        store.ask();
        store.ask();
        store.finish(1, recipe(1), &clip(44_100, 0.1));
        assert!(store.take().is_none());
        assert_eq!(store.pending(), Some(2));
        store.finish(2, recipe(2), &clip(44_100, 0.1));
        assert!(store.take().is_some());
        assert_eq!((store.pending(), store.take()), (None, None));
    }

    #[test]
    fn loading_a_project_calls_off_what_was_being_made() {
        let store = Arc::new(Store::default());
        store.set_sample_rate(44_100);
        let text = {
            let other = Arc::new(Store::default());
            other.ask();
            other.finish(1, recipe(9), &clip(44_100, 0.2));
            save(&other)
        };
        store.ask();
        load(&store, &text);
        assert_eq!(store.pending(), None);
        store.finish(1, recipe(1), &clip(44_100, 0.1));
        assert_eq!(store.project().sound.as_ref().unwrap().recipe().seed, 9);
        // A project that was saved before its first sound was made asks for it.
        load(&store, "{}");
        assert!(store.pending().is_some());
    }

    #[test]
    fn sounds_live_as_long_as_they_are_played_and_no_longer() {
        let store = Store::default();
        store.set_sample_rate(44_100);
        let mut playing = Vec::new();
        for request in 1..=5 {
            store.ask();
            store.finish(request, recipe(request), &clip(44_100, 0.1));
            playing.extend(store.take());
        }
        assert_eq!(store.lock().published.len(), 5);
        let last = playing.pop();
        playing.clear();
        store.free_unused();
        assert_eq!(store.lock().published.len(), 1);
        drop(last);
        store.free_unused();
        assert!(store.lock().published.is_empty());
        // What was never taken is freed when something newer comes.
        for request in 6..=9 {
            store.ask();
            store.finish(request, recipe(request), &clip(44_100, 0.1));
        }
        assert_eq!(store.lock().published.len(), 1);
    }
}
