//! What a project stores, and how a sound reaches the audio thread.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audiodiff::audio::Clip;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nice_plug::params::persist::PersistentField;
use nice_plug::prelude::nice_warn;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use triple_buffer::{Input, Output, TripleBuffer};

use crate::voice::Sound;

/// Pads of an instance.
pub const PADS: usize = 16;

/// Sounds of a pad that one can go back to.
const REMEMBERED: usize = 32;

/// Longest sound that a project stores; the rest is cut. 30 s of stereo at 48 kHz take 5.8 MB.
pub const MAX_SECONDS: u64 = 30;

/// All that decides which sound the model makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The model that made it.
    pub model: String,
    /// One of the model's classes, or any.
    pub class: Option<String>,
    /// Names the noise it began as.
    pub seed: u64,
    /// Steps from noise to sound; 0 for as many as the model is best with.
    pub steps: u32,
    /// How strongly to insist on the class; 0 for as strongly as the model is best with.
    pub guidance: f32,
    /// How long it was asked to be; nothing for the model's own length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f32>,
    /// How far it went from an earlier sound of its pad, 0 to 1; nothing if it is no variation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<f32>,
    /// How far it went from its pad's sound towards another pad's, 0 to 1; nothing if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub morph: Option<f32>,
    /// The file it was read from, rather than made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Recipe {
    /// That of a sound which was read from a file.
    pub fn of_file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            model: String::new(),
            class: None,
            seed: 0,
            steps: 0,
            guidance: 1.0,
            seconds: None,
            variation: None,
            morph: None,
            file: Some(name.to_string_lossy().into_owned()),
        }
    }
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

    /// Length in seconds.
    pub fn seconds(&self) -> f32 {
        self.channels[0].len() as f32 / self.sample_rate as f32
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
        // The lowest sample, -32768, lies a little beyond the peak.
        let lowest = f32::from(i16::MIN) / 32767.0 * peak;
        if !(lowest.is_finite() && peak >= 0.0) {
            return Err(format!(
                "stored sound: expected a peak below 3.4e38, found {peak}"
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

/// What a project holds besides the parameters: a sound for each pad that has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "AnyProject")]
pub struct Project {
    /// At most [`PADS`].
    pub pads: Vec<Option<StoredSound>>,
    /// The file of the model that makes sounds; nothing for the one that is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// How many of these were damaged and left out.
    #[serde(skip)]
    pub damaged: usize,
}

/// A project of any version. A pad that makes no sense does not spoil the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyProject {
    Pads {
        pads: Vec<Perhaps<StoredSound>>,
        #[serde(default)]
        model: Perhaps<PathBuf>,
    },
    /// With one sound, from before there were pads.
    One {
        sound: Perhaps<StoredSound>,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Perhaps<T> {
    Whole(Option<T>),
    Damaged(IgnoredAny),
}

impl<T> Default for Perhaps<T> {
    fn default() -> Self {
        Self::Whole(None)
    }
}

impl From<AnyProject> for Project {
    fn from(any: AnyProject) -> Self {
        let mut project = Self::default();
        let pads = match any {
            AnyProject::Pads { pads, model } => {
                match model {
                    Perhaps::Whole(model) => project.model = model,
                    Perhaps::Damaged(_) => project.damaged += 1,
                }
                pads
            }
            AnyProject::One { sound } => vec![sound],
            AnyProject::Other(_) => vec![Perhaps::Damaged(IgnoredAny)],
        };
        for pad in pads.into_iter().take(PADS) {
            project.pads.push(match pad {
                Perhaps::Whole(sound) => sound,
                Perhaps::Damaged(_) => {
                    project.damaged += 1;
                    None
                }
            });
        }
        project
    }
}

impl Project {
    /// The sound of a pad.
    pub fn sound(&self, pad: usize) -> Option<&StoredSound> {
        self.pads.get(pad)?.as_ref()
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// A sound from nothing.
    Generate,
    /// Another one like that of the pad.
    Vary,
    /// One between that of the pad and that of another.
    Morph,
}

/// One request, among all of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The pad whose sound is to be replaced.
    pub pad: usize,
    /// What with.
    pub task: Task,
    ticket: u64,
}

/// Where the audio thread finds what each pad plays.
#[derive(Debug)]
pub struct Inbox([Output<Option<Arc<Sound>>>; PADS]);

impl Inbox {
    /// Hands `each` the pads whose sounds are new, with the newest.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn take(&mut self, mut each: impl FnMut(usize, Option<Arc<Sound>>)) {
        for (pad, output) in self.0.iter_mut().enumerate() {
            if output.update() {
                each(pad, output.output_buffer().clone());
            }
        }
    }
}

/// The one place where an instance's sounds live, between the threads that make, save and play them.
///
/// The audio thread calls [`ask`](Store::ask) alone, which neither locks nor waits, and has its
/// [`Inbox`]. It never frees a sound either: each stays in a list here until nobody else holds it.
#[derive(Debug)]
pub struct Store {
    held: Mutex<Held>,
    /// For each pad, the code of the newest request: its ticket, and its task in the lowest two bits.
    asked: [AtomicU64; PADS],
    /// For each pad, the last of these that was answered or called off.
    settled: [AtomicU64; PADS],
    tickets: AtomicU64,
    /// How often the project was changed, other than by loading another.
    count: AtomicU64,
}

#[derive(Debug)]
struct Held {
    project: Arc<Project>,
    /// The host's, Hz; 0 while unknown.
    sample_rate: u32,
    /// All sounds that the audio thread may still hold.
    published: Vec<Arc<Sound>>,
    outbox: [Input<Option<Arc<Sound>>>; PADS],
    histories: [History; PADS],
}

/// The sounds a pad had, oldest first, and which of them it has.
#[derive(Debug, Default)]
struct History {
    sounds: VecDeque<StoredSound>,
    /// One past the present one's place.
    at: usize,
}

impl Store {
    /// An empty store, and the other end for the audio thread.
    pub fn new() -> (Arc<Self>, Inbox) {
        let mut inbox = Vec::with_capacity(PADS);
        let outbox = std::array::from_fn(|_| {
            let (input, output) = TripleBuffer::default().split();
            inbox.push(output);
            input
        });
        let inbox = inbox.try_into().expect("one for each pad");
        let store = Self {
            held: Mutex::new(Held {
                project: Arc::default(),
                sample_rate: 0,
                published: Vec::new(),
                outbox,
                histories: Default::default(),
            }),
            asked: Default::default(),
            settled: Default::default(),
            tickets: AtomicU64::new(0),
            count: AtomicU64::new(0),
        };
        (Arc::new(store), Inbox(inbox))
    }

    /// Asks for a new sound for a pad; whatever is being made for an earlier request of that pad is
    /// given up.
    ///
    /// Real-time safe: two atomic operations.
    pub fn ask(&self, pad: usize, task: Task) {
        let ticket = self.tickets.fetch_add(1, Ordering::AcqRel) + 1;
        self.asked[pad].fetch_max(4 * ticket + task as u64, Ordering::AcqRel);
    }

    /// The newest request for a pad, if it waits for an answer.
    pub fn pending(&self, pad: usize) -> Option<Request> {
        let settled = self.settled[pad].load(Ordering::Acquire);
        let ticket = self.asked[pad].load(Ordering::Acquire);
        let task = match ticket % 4 {
            1 => Task::Vary,
            2 => Task::Morph,
            _ => Task::Generate,
        };
        (ticket > settled).then_some(Request { pad, task, ticket })
    }

    /// The request that has waited longest.
    pub fn next(&self) -> Option<Request> {
        let pending = (0..PADS).filter_map(|pad| self.pending(pad));
        pending.min_by_key(|request| request.ticket)
    }

    /// Marks a request and those before it for its pad as answered.
    pub fn settle(&self, request: Request) {
        self.settled[request.pad].fetch_max(request.ticket, Ordering::AcqRel);
    }

    /// Answers `request` with a clip, unless a newer one came in between.
    pub fn finish(&self, request: Request, recipe: Recipe, clip: &Clip) {
        let sound = StoredSound::new(recipe, clip);
        let mut held = self.lock();
        if self.pending(request.pad) == Some(request) {
            held.histories[request.pad].push(sound.clone());
            held.replace(request.pad, sound);
            self.count.fetch_add(1, Ordering::Relaxed);
            self.settle(request);
        }
    }

    /// Gives a pad a sound from elsewhere. What is being made for the pad is given up.
    pub fn put(&self, pad: usize, sound: StoredSound) {
        let mut held = self.lock();
        held.histories[pad].push(sound.clone());
        held.replace(pad, sound);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.call_off(pad);
    }

    /// Sounds are made by the model of this file from now on; nothing for the one that is built in.
    pub fn set_model(&self, path: Option<PathBuf>) {
        let mut held = self.lock();
        let mut project = (*held.project).clone();
        project.model = path;
        held.project = Arc::new(project);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the project was changed, other than by loading another.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The number of the present one among the sounds of a pad that one can go back and forth to, and
    /// how many there are.
    pub fn history(&self, pad: usize) -> (usize, usize) {
        let history = &self.lock().histories[pad];
        (history.at, history.sounds.len())
    }

    /// Brings back a pad's sound `by` places later, or earlier, if there is one. What is being made for
    /// the pad is given up.
    pub fn step(&self, pad: usize, by: isize) {
        let mut held = self.lock();
        let history = &mut held.histories[pad];
        let at = history.at.saturating_add_signed(by);
        if let Some(sound) = at
            .checked_sub(1)
            .and_then(|i| history.sounds.get(i))
            .cloned()
        {
            history.at = at;
            held.replace(pad, sound);
            self.count.fetch_add(1, Ordering::Relaxed);
            self.call_off(pad);
        }
    }

    fn call_off(&self, pad: usize) {
        let ticket = self.tickets.fetch_add(1, Ordering::AcqRel) + 1;
        self.settled[pad].fetch_max(4 * ticket + 3, Ordering::AcqRel);
    }

    /// What the project stores.
    pub fn project(&self) -> Arc<Project> {
        self.lock().project.clone()
    }

    /// Tells the host's sample rate; the sounds are made ready for it. Not for the audio thread.
    pub fn set_sample_rate(&self, sample_rate: u32) {
        let mut held = self.lock();
        if held.sample_rate != sample_rate {
            held.sample_rate = sample_rate;
            (0..PADS).for_each(|pad| held.publish(pad));
        }
    }

    /// Frees sounds that nobody plays any more. Not for the audio thread.
    pub fn free_unused(&self) {
        self.lock().free_unused();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // What is held is replaced whole, so it is sound even if a holder panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// What came after the present one is forgotten.
    fn push(&mut self, sound: StoredSound) {
        self.sounds.truncate(self.at);
        self.sounds.push_back(sound);
        if self.sounds.len() > REMEMBERED {
            self.sounds.pop_front();
        }
        self.at = self.sounds.len();
    }
}

impl Held {
    fn replace(&mut self, pad: usize, sound: StoredSound) {
        let mut project = (*self.project).clone();
        let pads = project.pads.len().max(pad + 1);
        project.pads.resize(pads, None);
        project.pads[pad] = Some(sound);
        self.project = Arc::new(project);
        self.publish(pad);
    }

    /// Hands a pad's sound to the audio thread, at the host's rate: played as it is, it then needs no
    /// interpolation.
    fn publish(&mut self, pad: usize) {
        if self.sample_rate == 0 {
            return;
        }
        let sound = self.project.sound(pad).map(|stored| {
            let clip = stored.clip();
            let clip = clip.resampled(self.sample_rate).unwrap_or_else(|error| {
                // The voices can read any rate, only less well.
                nice_warn!("playing at the sound's own rate: {error}");
                clip
            });
            Arc::new(Sound::new(&clip))
        });
        self.published.extend(sound.clone());
        self.outbox[pad].write(sound);
        self.free_unused();
    }

    fn free_unused(&mut self) {
        self.published.retain(|sound| Arc::strong_count(sound) > 1);
    }
}

/// Hosts save and load through this. Loading does not activate the plugin anew, so
/// [`set`](PersistentField::set) itself brings the sounds to the audio thread.
#[derive(Debug, Clone)]
pub struct ProjectField(pub Arc<Store>);

impl PersistentField<'_, Project> for ProjectField {
    fn set(&self, project: Project) {
        let store = &self.0;
        if project.damaged > 0 {
            nice_warn!("{} parts of the project are damaged", project.damaged);
        }
        let mut held = store.lock();
        held.project = Arc::new(project);
        for pad in 0..PADS {
            // A request from before must not replace what the project brings; nor must one that
            // loading the parameters has made, which comes first: a project may have been saved with
            // a trigger switched on. Where it brings no sound, one is made.
            store.call_off(pad);
            held.publish(pad);
            match held.project.sound(pad).cloned() {
                Some(sound) => held.histories[pad].push(sound),
                None => store.ask(pad, Task::Generate),
            }
        }
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
            seconds: None,
            variation: None,
            morph: None,
            file: None,
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

    fn save(store: &Arc<Store>) -> String {
        ProjectField(store.clone()).map(|project| serde_json::to_string(project).unwrap())
    }

    fn load(store: &Arc<Store>, text: &str) {
        ProjectField(store.clone()).set(serde_json::from_str(text).unwrap());
    }

    fn make(store: &Store, pad: usize, seed: u64, clip: &Clip) {
        store.ask(pad, Task::Generate);
        store.finish(store.pending(pad).unwrap(), recipe(seed), clip);
    }

    fn take(inbox: &mut Inbox) -> Vec<(usize, Option<Arc<Sound>>)> {
        let mut taken = Vec::new();
        inbox.take(|pad, sound| taken.push((pad, sound)));
        taken
    }

    fn seeds(store: &Store) -> Vec<Option<u64>> {
        let project = store.project();
        let seed = |pad| project.sound(pad).map(|sound| sound.recipe().seed);
        (0..PADS).map(seed).collect()
    }

    #[test]
    fn a_saved_sound_plays_bit_for_bit_like_the_one_that_was_heard() {
        let (store, mut inbox) = Store::new();
        store.set_sample_rate(44_100);
        take(&mut inbox);
        make(&store, 3, 3, &clip(48_000, 0.013));
        make(&store, 15, 4, &clip(44_100, 0.5));
        let heard = take(&mut inbox);
        assert_eq!(
            heard.iter().map(|(pad, _)| *pad).collect::<Vec<_>>(),
            [3, 15]
        );
        let text = save(&store);

        let (opened, mut opened_inbox) = Store::new();
        load(&opened, &text);
        assert!(
            take(&mut opened_inbox).is_empty(),
            "there is no rate to play at yet"
        );
        opened.set_sample_rate(44_100);
        let played = take(&mut opened_inbox);
        assert_eq!(played.len(), PADS);
        for (pad, sound) in played {
            let same = heard.iter().find(|(heard, _)| *heard == pad);
            assert_eq!(
                sound,
                same.and_then(|(_, sound)| sound.clone()),
                "pad {pad}"
            );
        }
        assert_eq!(save(&opened), text);

        // An instance that runs already is not activated again.
        make(&store, 3, 5, &clip(44_100, 0.5));
        take(&mut inbox);
        load(&store, &text);
        assert!(take(&mut inbox).contains(&heard[0]));
    }

    #[test]
    fn a_project_with_one_sound_opens_on_the_first_pad() {
        let sound = StoredSound::new(recipe(9), &clip(44_100, 0.5));
        let text = format!("{{\"sound\":{}}}", serde_json::to_string(&sound).unwrap());
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!((project.sound(0), project.damaged), (Some(&sound), 0));
        let none: Project = serde_json::from_str("{\"sound\":null}").unwrap();
        assert_eq!((none.sound(0), none.damaged), (None, 0));
    }

    #[test]
    fn a_damaged_sound_does_not_spoil_the_others() {
        let (store, _inbox) = Store::new();
        make(&store, 0, 1, &clip(44_100, 0.2));
        make(&store, 1, 2, &clip(22_050, 0.2));
        make(&store, 2, 3, &clip(44_100, 0.2));
        let text = save(&store).replace("22050", "0");
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!(project.damaged, 1);
        let (opened, _inbox) = Store::new();
        load(&opened, &text);
        assert_eq!(seeds(&opened)[..3], [Some(1), None, Some(3)]);
        assert!(opened.pending(1).is_some(), "it is made anew");
        assert!(opened.pending(0).is_none() && opened.pending(2).is_none());
        for nonsense in ["{}", "[]", "7", "{\"pads\":3}"] {
            let project: Project = serde_json::from_str(nonsense).unwrap();
            assert_eq!(
                (project.pads.iter().flatten().count(), project.damaged),
                (0, 1)
            );
        }
        let many = format!("{{\"pads\":[{}null]}}", "null,".repeat(99));
        assert_eq!(
            serde_json::from_str::<Project>(&many).unwrap().pads.len(),
            PADS
        );
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
    }

    #[test]
    fn only_the_newest_request_of_a_pad_is_answered() {
        let (store, mut inbox) = Store::new();
        store.set_sample_rate(44_100);
        take(&mut inbox);
        assert_eq!(store.next(), None);
        store.ask(4, Task::Generate);
        let old = store.pending(4).unwrap();
        store.ask(2, Task::Generate);
        store.ask(4, Task::Vary);
        store.finish(old, recipe(1), &clip(44_100, 0.1));
        assert!(take(&mut inbox).is_empty());
        // The longest wait comes first; a pad that was asked again waits anew.
        let next = store.next().unwrap();
        assert_eq!((next.pad, next.task), (2, Task::Generate));
        store.finish(next, recipe(2), &clip(44_100, 0.1));
        let next = store.next().unwrap();
        assert_eq!((next.pad, next.task), (4, Task::Vary));
        store.finish(next, recipe(3), &clip(44_100, 0.1));
        assert_eq!(store.next(), None);
        assert_eq!(take(&mut inbox).len(), 2);
        assert_eq!((seeds(&store)[2], seeds(&store)[4]), (Some(2), Some(3)));
    }

    #[test]
    fn one_goes_back_and_forth_through_a_pads_sounds() {
        let (store, _inbox) = Store::new();
        assert_eq!(store.history(2), (0, 0));
        for seed in 1..=3 {
            make(&store, 2, seed, &clip(44_100, 0.1));
        }
        assert_eq!(store.history(2), (3, 3));
        store.step(2, -1);
        assert_eq!((store.history(2), seeds(&store)[2]), ((2, 3), Some(2)));
        store.step(2, -2);
        assert_eq!(
            store.history(2),
            (2, 3),
            "there is nothing before the first"
        );
        store.step(2, 1);
        store.step(2, 1);
        assert_eq!((store.history(2), seeds(&store)[2]), ((3, 3), Some(3)));
        // A new sound takes the place of what came after; a step calls off what is being made.
        store.step(2, -2);
        make(&store, 2, 4, &clip(44_100, 0.1));
        assert_eq!((store.history(2), seeds(&store)[2]), ((2, 2), Some(4)));
        store.ask(2, Task::Generate);
        store.step(2, -1);
        assert_eq!((store.pending(2), seeds(&store)[2]), (None, Some(1)));
        for seed in 0..100 {
            make(&store, 2, seed, &clip(44_100, 0.1));
        }
        assert_eq!(store.history(2), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_sound_from_elsewhere_is_one_of_the_pads_sounds() {
        let (store, _inbox) = Store::new();
        make(&store, 6, 1, &clip(44_100, 0.1));
        store.ask(6, Task::Generate);
        let recipe = Recipe::of_file(Path::new("/sounds/door.wav"));
        assert_eq!(recipe.file.as_deref(), Some("door.wav"));
        store.put(6, StoredSound::new(recipe.clone(), &clip(44_100, 0.3)));
        assert_eq!((store.pending(6), store.history(6)), (None, (2, 2)));
        let (opened, _inbox) = Store::new();
        load(&opened, &save(&store));
        assert_eq!(
            opened.project().sound(6).map(StoredSound::recipe),
            Some(&recipe)
        );
        store.step(6, -1);
        assert_eq!(seeds(&store)[6], Some(1));
    }

    #[test]
    fn the_model_of_a_project_is_remembered() {
        let (store, _inbox) = Store::new();
        make(&store, 0, 1, &clip(44_100, 0.1));
        assert!(!save(&store).contains("model\":null"));
        let model = Some(PathBuf::from("/models/mine.safetensors"));
        store.set_model(model.clone());
        let text = save(&store);
        let (opened, _inbox) = Store::new();
        load(&opened, &text);
        assert_eq!(
            (opened.project().model.clone(), seeds(&opened)[0]),
            (model, Some(1))
        );
        let text = text.replace("\"/models/mine.safetensors\"", "7");
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!((project.model, project.damaged), (None, 1));
        assert!(project.pads[0].is_some());
    }

    #[test]
    fn loading_a_project_calls_off_what_was_being_made() {
        let (other, _inbox) = Store::new();
        make(&other, 0, 9, &clip(44_100, 0.2));
        let (store, _inbox) = Store::new();
        store.set_sample_rate(44_100);
        store.ask(0, Task::Generate);
        let request = store.pending(0).unwrap();
        load(&store, &save(&other));
        assert_eq!(store.pending(0), None);
        store.finish(request, recipe(1), &clip(44_100, 0.1));
        assert_eq!(seeds(&store)[0], Some(9));
        // A pad that was saved before its sound was made asks for it.
        assert!(store.pending(1).is_some());
    }

    #[test]
    fn sounds_live_as_long_as_they_are_played_and_no_longer() {
        let (store, mut inbox) = Store::new();
        store.set_sample_rate(44_100);
        take(&mut inbox);
        let mut playing = Vec::new();
        for seed in 1..=5 {
            make(&store, 0, seed, &clip(44_100, 0.1));
            playing.extend(take(&mut inbox));
        }
        assert_eq!(store.lock().published.len(), 5);
        playing.clear();
        store.free_unused();
        // The newest, and two that the exchange still holds.
        assert_eq!(store.lock().published.len(), 3);
    }

    #[test]
    fn an_audio_thread_that_stands_still_misses_nothing_it_needs() {
        let (store, mut inbox) = Store::new();
        store.set_sample_rate(44_100);
        take(&mut inbox);
        for seed in 0..100 {
            make(
                &store,
                seed as usize % PADS,
                seed,
                &clip(44_100, 0.01 * seed as f32),
            );
        }
        assert!(store.lock().published.len() <= 3 * PADS);
        let mut playing: [Option<Arc<Sound>>; PADS] = Default::default();
        inbox.take(|pad, sound| playing[pad] = sound);
        let project = store.project();
        for (pad, sound) in playing.iter().enumerate() {
            let stored = project.sound(pad).unwrap().clip();
            assert_eq!(**sound.as_ref().unwrap(), Sound::new(&stored), "pad {pad}");
        }
    }
}
