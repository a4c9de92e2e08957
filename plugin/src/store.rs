//! The store: an instance's project and requests, between the threads that make, save and play its sounds.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audiodiff::{Error, Result};
use nice_plug::params::persist::PersistentField;
use nice_plug::prelude::nice_warn;
use triple_buffer::{Input, Output, TripleBuffer};

use crate::audition::{Audition, Offer, Offered, exchange};
use crate::controllers::Turning;
use crate::explore::{Map, Morphing, Ring};
use crate::kit::Kit;
use crate::kits::KitInfo;
use crate::pad::PADS;
use crate::project::{Pending, Project};
use crate::requests::{Board, Queue, Request, Task};
use crate::status::ModelInfo;
use crate::stored::{Asked, StoredSound};
use crate::undo::{Direction, Undo, Value};
use crate::voice::{PadSounds, PlayableSound, Takes};

mod kits;
mod pads;

pub use pads::PadCopy;

/// Sounds of a pad that one can go back to, and bytes that they may take; the present one may take more.
const REMEMBERED: usize = 32;
const REMEMBERED_BYTES: usize = 16 << 20;

/// The audio thread's end of the store: the newest sound of each pad, and the newest settings.
#[derive(Debug)]
pub struct Inbox {
    sounds: [Output<Option<Arc<PadSounds>>>; PADS],
    kit: Output<Kit>,
    audition: Offered,
    /// By pad, the newest request that was dated.
    dated: [u64; PADS],
}

impl Inbox {
    /// Writes down for new requests what `now` gives for their pad: its seed, and how far a morph of it goes. They are
    /// answered by this whenever their turn comes.
    ///
    /// Real-time safe, as [`take`](Inbox::take) is.
    pub fn date(&mut self, store: &Store, now: impl Fn(usize) -> (i32, f32)) {
        store.board.date(&mut self.dated, now);
    }

    /// Calls `each` with every pad whose sound is new, and that sound.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn take(&mut self, mut each: impl FnMut(usize, Option<Arc<PadSounds>>)) {
        for (pad, output) in self.sounds.iter_mut().enumerate() {
            if output.update() {
                each(pad, output.output_buffer().clone());
            }
        }
    }

    /// The settings that the pads have now.
    ///
    /// Real-time safe, as [`take`](Inbox::take) is.
    pub fn kit(&mut self) -> &Kit {
        self.kit.read()
    }

    /// What is to be auditioned from now on, if that is new.
    ///
    /// Real-time safe, as [`take`](Inbox::take) is.
    pub fn audition(&mut self) -> Option<Audition> {
        self.audition.take()
    }
}

/// The sounds and requests of an instance.
///
/// The audio thread calls [`ask`](Store::ask) alone, which neither locks nor waits, and has its
/// [`Inbox`]. It never frees a sound either: each stays in a list here until nobody else holds it.
#[derive(Debug)]
pub struct Store {
    held: Mutex<Held>,
    audition: Offer,
    board: Board,
    /// How often the project was changed, other than by loading another.
    changes: AtomicU64,
    ring: Ring,
    morphing: Morphing,
    map: Mutex<Option<Arc<Map>>>,
    turning: Turning,
}

#[derive(Debug)]
struct Held {
    project: Arc<Project>,
    /// The host's rate, Hz; 0 while unknown.
    sample_rate: u32,
    /// All sounds that the audio thread may still hold.
    published: Vec<Arc<PadSounds>>,
    outbox: [Input<Option<Arc<PadSounds>>>; PADS],
    kit: Input<Kit>,
    histories: [History; PADS],
    undo: Undo,
    requests: Queue,
}

/// The sounds that a pad had, oldest first, and which of them it has now.
#[derive(Debug, Default)]
struct History {
    sounds: VecDeque<Arc<StoredSound>>,
    /// One past the index of the present sound.
    at: usize,
}

impl Store {
    /// An empty store, and the other end for the audio thread.
    #[must_use]
    pub fn new() -> (Arc<Self>, Inbox) {
        let mut inbox = Vec::with_capacity(PADS);
        let outbox = std::array::from_fn(|_| {
            let (input, output) = TripleBuffer::default().split();
            inbox.push(output);
            input
        });
        let sounds = inbox.try_into().expect("one for each pad");
        let (audition, offered) = exchange();
        let (kit, kit_output) = TripleBuffer::new(&Kit::default()).split();
        let store = Self {
            held: Mutex::new(Held {
                project: Arc::default(),
                sample_rate: 0,
                published: Vec::new(),
                outbox,
                kit,
                histories: Default::default(),
                undo: Undo::default(),
                requests: Queue::default(),
            }),
            audition,
            board: Board::default(),
            changes: AtomicU64::new(0),
            ring: Ring::default(),
            morphing: Morphing::default(),
            map: Mutex::default(),
            turning: Turning::default(),
        };
        let inbox = Inbox {
            sounds,
            kit: kit_output,
            audition: offered,
            dated: [0; PADS],
        };
        (Arc::new(store), inbox)
    }

    /// What controllers turn.
    ///
    /// Real-time safe.
    pub fn turning(&self) -> &Turning {
        &self.turning
    }

    /// A number for a gesture of the user's: the changes of one are taken back together.
    pub fn gesture(&self) -> u64 {
        self.board.gesture()
    }

    /// Asks for a new sound for a pad, as a gesture of its own.
    ///
    /// Real-time safe: two atomic operations.
    pub fn ask(&self, pad: usize, task: Task) {
        self.ask_all([pad], task);
    }

    /// Asks for new sounds for all of these pads, as one gesture.
    ///
    /// Real-time safe: atomic operations.
    pub fn ask_all(&self, pads: impl IntoIterator<Item = usize>, task: Task) {
        let gesture = self.gesture();
        for pad in pads {
            self.board.ask(gesture, pad, task);
        }
    }

    /// Asks for a new sound for a pad as a part of `gesture`, with this seed: the parameter, which a host sets, may have
    /// it later. Not for the audio thread.
    pub fn ask_with(&self, gesture: u64, pad: usize, task: Task, seed: i32) {
        let pending = Pending {
            pad,
            task,
            seed: Some(seed),
            amount: None,
        };
        self.lock().ask(gesture, pending, &self.board);
    }

    /// Whether a request for a pad waits for an answer.
    ///
    /// Real-time safe.
    pub fn is_pending(&self, pad: usize) -> bool {
        self.waiting(pad).is_some()
    }

    /// The number of the newest request for a pad, if it waits for an answer; a later request has a larger one.
    ///
    /// Real-time safe.
    pub fn waiting(&self, pad: usize) -> Option<u64> {
        self.board.waiting(pad)
    }

    /// The number of the newest request that waits for an answer; 0 if none does.
    ///
    /// Real-time safe.
    pub fn newest(&self) -> u64 {
        let waiting = (0..PADS).filter_map(|pad| self.waiting(pad));
        waiting.max().unwrap_or(0)
    }

    /// The request for a pad that is answered first.
    pub fn pending(&self, pad: usize) -> Option<Request> {
        let mut held = self.lock();
        held.gather(&self.board);
        held.requests.first(pad, &self.board)
    }

    /// The request to answer now.
    pub fn next(&self) -> Option<Request> {
        let mut held = self.lock();
        held.gather(&self.board);
        let Held {
            requests, project, ..
        } = &*held;
        requests.next(&self.board, |pad| project.other(pad))
    }

    /// Whether `request` waits for an answer still, so that it is worth going on with it.
    pub fn is_wanted(&self, request: &Request) -> bool {
        let mut held = self.lock();
        held.gather(&self.board);
        held.requests.is_first(request, &self.board)
    }

    /// Has the requests of a pad answered before others, or of none.
    pub fn want(&self, pad: Option<usize>) {
        self.board.want(pad);
    }

    /// Marks a request as answered.
    pub fn settle(&self, request: &Request) {
        self.lock().requests.settle(request, &self.board);
    }

    /// Answers `request` with a sound, unless it was given up in between, or the pad was locked.
    pub fn finish(&self, request: &Request, sound: StoredSound) {
        let sound = Arc::new(sound);
        let mut held = self.lock();
        if !held.project.is_locked(request.pad) && held.requests.is_first(request, &self.board) {
            // There is no way back to before a pad's first sound.
            if held.project.sound(request.pad).is_some() {
                held.remember(request.gesture());
            }
            held.histories[request.pad].push(sound.clone());
            held.replace(request.pad, sound);
            held.note_kit_sound(request);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        held.requests.settle(request, &self.board);
    }

    /// Answers `request` with further takes of `sound`, unless its pad has another sound by now or was locked, or the request
    /// was given up in between.
    pub fn finish_takes(
        &self,
        request: &Request,
        sound: &Arc<StoredSound>,
        takes: Vec<StoredSound>,
    ) {
        let mut held = self.lock();
        let pad = request.pad;
        let is_still = held
            .project
            .sound(pad)
            .is_some_and(|it| Arc::ptr_eq(it, sound));
        let is_wanted = held.requests.is_first(request, &self.board);
        if is_wanted && is_still && !held.project.is_locked(pad) {
            held.remember(request.gesture());
            held.edit(|project| {
                project.takes[pad] = takes.into_iter().map(Arc::new).collect();
                let take = &mut project.settings[pad].playing.take;
                // They are made to be heard.
                if *take == Takes::First {
                    *take = Takes::RoundRobin;
                }
            });
            held.publish(pad);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        held.requests.settle(request, &self.board);
    }

    /// Whether a pad keeps its sound.
    pub fn is_locked(&self, pad: usize) -> bool {
        self.lock().project.is_locked(pad)
    }

    /// Changes the project's settings or its model as a part of `gesture`.
    pub fn edit(&self, gesture: u64, change: impl FnOnce(&mut Project)) {
        let mut held = self.lock();
        held.remember(gesture);
        held.edit(change);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes what is shown, which is worth no undo and no saving.
    pub fn view(&self, change: impl FnOnce(&mut Project)) {
        self.lock().edit(change);
    }

    /// A parameter was changed from `before` as a part of `gesture`.
    pub fn changed_value(&self, gesture: u64, before: Value) {
        self.lock().undo.value(gesture, before);
    }

    /// Whether there is something to undo, and something to redo.
    pub fn can_undo(&self) -> (bool, bool) {
        self.lock().undo.are_there()
    }

    /// Takes the last gesture back, or makes it again. `value` sets a parameter and returns the value that it had. What
    /// is being made for pads that change with it is given up, and so is what the gesture itself has asked for: that is
    /// asked for anew when the gesture is made again.
    pub fn undo(&self, direction: Direction, value: impl FnMut(Value) -> Value) {
        let mut held = self.lock();
        held.gather(&self.board);
        let mut undo = std::mem::take(&mut held.undo);
        let gesture = undo.next(direction);
        let mut asked = held.requests.all(&self.board);
        asked.retain(|request| Some(request.gesture()) == gesture);
        for request in &asked {
            held.requests.call_off(request.pad, &self.board);
        }
        let mut again = Vec::new();
        undo.go(
            direction,
            |mut project| {
                let mut before = held.project.clone();
                if !asked.is_empty() {
                    Arc::make_mut(&mut before).pending = asked.iter().map(Pending::of).collect();
                }
                if !project.pending.is_empty() {
                    again = std::mem::take(&mut Arc::make_mut(&mut project).pending);
                }
                held.project = project.clone();
                // What is shown stays as it is.
                held.edit(|project| project.selected = before.selected);
                for pad in 0..PADS {
                    let [old, new] = [&before, &project].map(|it| {
                        let sounds = it.sound(pad).into_iter().chain(&it.takes[pad]);
                        sounds.map(Arc::as_ptr).collect::<Vec<_>>()
                    });
                    if old != new {
                        held.requests.call_off(pad, &self.board);
                        held.publish(pad);
                        let sound = project.sound(pad).cloned();
                        held.histories[pad].load(sound);
                    }
                }
                self.changes.fetch_add(1, Ordering::Relaxed);
                before
            },
            value,
        );
        held.undo = undo;
        if !again.is_empty() {
            let asked = self.ask_in_order(&mut held, self.gesture(), again);
            held.edit(|project| {
                let kit = project.kit.as_mut();
                let is_kits = |kit: &&mut KitInfo| gesture.is_some_and(|it| kit.has_asked(it));
                if let Some(kit) = kit.filter(is_kits) {
                    kit.asked = asked;
                }
            });
        }
    }

    /// Asks for what a project or a gesture brings, in its order: as one gesture, unless one request depends on another.
    /// Returns the first and the last gesture.
    fn ask_in_order(&self, held: &mut Held, gesture: u64, pending: Vec<Pending>) -> [u64; 2] {
        let is_alone = |pad: usize| pending.iter().filter(|it| it.pad == pad).count() == 1;
        let mut all = pending.iter();
        let is_one = all.all(|it| it.task != Task::Morph && is_alone(it.pad));
        let mut last = gesture;
        for &pending in &pending {
            if !is_one {
                last = self.gesture();
            }
            held.ask(last, pending, &self.board);
        }
        [gesture, last]
    }

    fn expect_open(&self, held: &Held, pad: usize) -> Result<()> {
        if held.project.is_locked(pad) {
            return Err(Error::setting(format!("pad {} is locked", pad + 1)));
        }
        Ok(())
    }

    /// Gives a pad a sound from elsewhere. Work on requests of the pad is given up.
    ///
    /// # Errors
    /// When the pad is locked.
    pub fn put(&self, pad: usize, sound: StoredSound) -> Result<()> {
        self.put_shared(pad, Arc::new(sound))
    }

    /// Gives a pad a sound that others may hold too, as [`put`](Store::put) does.
    ///
    /// # Errors
    /// When the pad is locked.
    pub fn put_shared(&self, pad: usize, sound: Arc<StoredSound>) -> Result<()> {
        let mut held = self.lock();
        self.expect_open(&held, pad)?;
        held.remember(self.gesture());
        held.histories[pad].push(sound.clone());
        held.replace(pad, sound);
        self.changes.fetch_add(1, Ordering::Relaxed);
        held.requests.call_off(pad, &self.board);
        Ok(())
    }

    /// Gives a pad a sound that others hold too, as one that came to it while it had the parameters `asked`: a trigger of a
    /// host's then leaves it there.
    ///
    /// # Errors
    /// When the pad is locked.
    pub fn put_as(&self, pad: usize, sound: &StoredSound, asked: Asked) -> Result<()> {
        self.put(pad, sound.clone().asked(asked))
    }

    /// Makes sounds with the model of this file from now on; with the one that is built in if there is none.
    pub fn set_model(&self, path: Option<PathBuf>) {
        self.edit(self.gesture(), |project| {
            project.model = path;
            project.model_name = None;
        });
    }

    /// The project's model, which was looked for at `path`, was found at another or the same, under this name.
    pub fn found_model(&self, path: &Path, found: &Path, name: &str) {
        let mut held = self.lock();
        if held.project.model.as_deref() != Some(path) {
            return;
        }
        let is_new = path != found || held.project.model_name.as_deref() != Some(name);
        if is_new {
            held.edit(|project| {
                project.model = Some(found.to_owned());
                project.model_name = Some(name.to_owned());
            });
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the project was changed, other than by loading another.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The number of the present sound in the pad's history, from 1 on, and how many sounds that holds.
    pub fn history(&self, pad: usize) -> (usize, usize) {
        let history = &self.lock().histories[pad];
        (history.at, history.sounds.len())
    }

    /// Brings back the sound that is `by` places later in the pad's history, or earlier, if there is one. Work on
    /// requests of the pad is given up.
    ///
    /// # Errors
    /// When the pad is locked.
    pub fn step(&self, pad: usize, by: isize) -> Result<()> {
        let mut held = self.lock();
        self.expect_open(&held, pad)?;
        let history = &mut held.histories[pad];
        let at = history.at.saturating_add_signed(by);
        if let Some(sound) = at
            .checked_sub(1)
            .and_then(|i| history.sounds.get(i))
            .cloned()
        {
            history.at = at;
            held.remember(self.gesture());
            held.replace(pad, sound);
            self.changes.fetch_add(1, Ordering::Relaxed);
            held.requests.call_off(pad, &self.board);
        }
        Ok(())
    }

    /// Variations of a sound to choose from.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Sounds between two to choose from.
    pub fn morphing(&self) -> &Morphing {
        &self.morphing
    }

    /// The map of a model's sounds, begun if this instance has none or that of another model. It goes on until it is
    /// closed.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn open_map(&self, model: &Arc<ModelInfo>) -> std::io::Result<Arc<Map>> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = map.as_ref().filter(|map| map.model().name == model.name) {
            return Ok(map.clone());
        }
        let opened = Map::open(model)?;
        *map = Some(opened.clone());
        Ok(opened)
    }

    /// Ends this instance's part in the map.
    pub fn close_map(&self) {
        *self.map.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The map that is open.
    pub fn map(&self) -> Option<Arc<Map>> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.clone()
    }

    /// The project as it is now.
    pub fn project(&self) -> Arc<Project> {
        self.lock().project.clone()
    }

    /// Plays a sound at once on the main output and without a pad, as a plain pad plays it, in the place of the one that
    /// was auditioned before. Where the host does not play, it is forgotten. Not for the audio thread.
    pub fn audition(&self, sound: &Arc<StoredSound>) {
        self.audition.play(sound);
    }

    /// Fades out what is auditioned.
    pub fn stop_audition(&self) {
        self.audition.stop();
    }

    /// Takes the host's sample rate, Hz, and resamples the sounds to it. Not for the audio thread.
    pub fn set_sample_rate(&self, sample_rate: u32) {
        self.audition.set_sample_rate(sample_rate);
        let mut held = self.lock();
        if held.sample_rate != sample_rate {
            held.sample_rate = sample_rate;
            (0..PADS).for_each(|pad| held.publish(pad));
        }
    }

    /// Frees sounds that nobody plays any more. Not for the audio thread.
    pub fn free_unused(&self) {
        self.audition.free_unused();
        self.lock().free_unused();
    }

    /// Packs one of the project's sounds that are not packed yet, so that a host which saves them need not wait. Returns
    /// whether there was one. Not for the audio thread.
    pub fn pack_one(&self) -> bool {
        let project = self.project();
        let unpacked = project.sounds().find(|sound| !sound.is_packed()).cloned();
        // Whoever edits the project meanwhile need not copy it.
        drop(project);
        unpacked.inspect(|sound| sound.pack()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Every field is replaced whole, so all are valid even if a holder panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Appends a sound after the present one, and forgets those that came after it.
    fn push(&mut self, sound: Arc<StoredSound>) {
        self.sounds.truncate(self.at);
        self.sounds.push_back(sound);
        let bytes = |sounds: &VecDeque<Arc<StoredSound>>| -> usize {
            sounds.iter().map(|sound| sound.bytes()).sum()
        };
        while self.sounds.len() > REMEMBERED
            || self.sounds.len() > 1 && bytes(&self.sounds) > REMEMBERED_BYTES
        {
            self.sounds.pop_front();
        }
        self.at = self.sounds.len();
    }

    /// Goes to the sound that a project brings, if it is one of these; else it is the only one: the others belong to
    /// another project. Hosts load projects at every step back.
    fn load(&mut self, sound: Option<Arc<StoredSound>>) {
        let known = sound.as_ref().and_then(|sound| {
            let mut sounds = self.sounds.iter();
            sounds.position(|known| known == sound)
        });
        match known {
            Some(index) => self.at = index + 1,
            None => {
                self.sounds = sound.into_iter().collect();
                self.at = self.sounds.len();
            }
        }
    }
}

impl Held {
    /// Takes in the requests that were made meanwhile.
    fn gather(&mut self, board: &Board) {
        let Self {
            requests, project, ..
        } = self;
        requests.gather(board, |pad| project.other(pad));
    }

    fn ask(&mut self, gesture: u64, pending: Pending, board: &Board) {
        let Self {
            requests, project, ..
        } = self;
        requests.ask(gesture, pending, board, |pad| project.other(pad));
    }

    fn replace(&mut self, pad: usize, sound: Arc<StoredSound>) {
        self.edit(|project| project.set_sound(pad, Some(sound)));
        self.publish(pad);
    }

    /// Changes all but the sounds.
    fn edit(&mut self, change: impl FnOnce(&mut Project)) {
        change(Arc::make_mut(&mut self.project));
        self.publish_kit();
    }

    /// The project is about to be changed.
    fn remember(&mut self, gesture: u64) {
        let Self { undo, project, .. } = self;
        undo.project(gesture, project);
    }

    /// Hands the settings to the audio thread.
    fn publish_kit(&mut self) {
        self.kit.write(self.project.kit());
    }

    /// Hands a pad's sound to the audio thread, at the host's rate: played as it is, it then needs no
    /// interpolation.
    fn publish(&mut self, pad: usize) {
        if self.sample_rate == 0 {
            return;
        }
        let playable = |stored: &Arc<StoredSound>| {
            let clip = stored.clip();
            let clip = clip.resampled(self.sample_rate).unwrap_or_else(|error| {
                // The voices can read any rate, only less well.
                nice_warn!("playing at the sound's own rate: {error}");
                clip
            });
            PlayableSound::new(&clip).tuned(stored.pitch())
        };
        let project = &self.project;
        let sound = project.sound(pad).map(|own| {
            let takes = project.takes[pad].iter().map(playable);
            Arc::new(PadSounds::new(playable(own), takes))
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
    fn set(&self, mut project: Project) {
        let store = &self.0;
        if project.damaged > 0 {
            nice_warn!("{} parts of the project are damaged", project.damaged);
        }
        let mut held = store.lock();
        let pending = std::mem::take(&mut project.pending);
        store.turning.load(&std::mem::take(&mut project.turned));
        held.project = Arc::new(project);
        held.publish_kit();
        held.undo.clear();
        for pad in 0..PADS {
            // A request from before must not replace the project's sound; nor must one that loading the
            // parameters has made, which comes first: a project may have been saved with a trigger switched on.
            held.requests.call_off(pad, &store.board);
            held.publish(pad);
            let sound = held.project.sound(pad).cloned();
            held.histories[pad].load(sound);
        }
        // What was being made is made after all; where the project brings no sound, one is made.
        let first = store.gesture();
        for pending in pending {
            held.ask(store.gesture(), pending, &store.board);
        }
        let last = store.gesture();
        held.edit(|project| {
            let pads = project.pads_alone();
            if let Some(kit) = &mut project.kit {
                // What is still being made may be the kit's own.
                kit.asked = [first, last];
                kit.whole = (!kit.changed).then_some(pads);
            }
        });
        for pad in 0..PADS {
            if held.project.sound(pad).is_none() && !store.is_pending(pad) {
                store.ask(pad, Task::Generate);
            }
        }
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&Project) -> R,
    {
        let mut held = self.0.lock();
        held.gather(&self.0.board);
        let mut project = (*held.project).clone();
        // Sounds are finished under the lock: each is either made or pending.
        let requests = held.requests.all(&self.0.board);
        project.pending = requests.iter().map(Pending::of).collect();
        project.turned = self.0.turning.save();
        drop(held);
        let changed = project.has_other_pads_than_its_kit();
        if let Some(kit) = &mut project.kit {
            kit.changed = changed;
        }
        f(&project)
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;
    use audiodiff::render::{Remark, Rendered};

    use super::*;
    use crate::stored::SoundRecipe;
    use crate::stored::tests::{asked, clip, recipe};

    pub(super) fn save(store: &Arc<Store>) -> String {
        ProjectField(store.clone()).map(|project| serde_json::to_string(project).unwrap())
    }

    pub(super) fn load(store: &Arc<Store>, text: &str) {
        ProjectField(store.clone()).set(serde_json::from_str(text).unwrap());
    }

    pub(super) fn make(store: &Store, pad: usize, seed: u64, clip: &Clip) {
        store.ask(pad, Task::Generate);
        let sound = StoredSound::new(recipe(seed), clip);
        store.finish(&store.pending(pad).unwrap(), sound);
    }

    fn take(inbox: &mut Inbox) -> Vec<(usize, Option<Arc<PadSounds>>)> {
        let mut taken = Vec::new();
        inbox.take(|pad, sound| taken.push((pad, sound)));
        taken
    }

    pub(super) fn seeds(store: &Store) -> Vec<Option<u64>> {
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
        // What it lacks is being made; nothing else is another.
        opened_inbox.date(&opened, |_| (1, 0.5));
        std::iter::from_fn(|| opened.next()).for_each(|request| opened.settle(&request));
        assert_eq!(save(&opened), text);

        // An instance that runs already is not activated again.
        make(&store, 3, 5, &clip(44_100, 0.5));
        take(&mut inbox);
        load(&store, &text);
        assert!(take(&mut inbox).contains(&heard[0]));
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
    fn requests_are_answered_in_their_order_and_those_that_were_given_up_are_not() {
        let (store, mut inbox) = Store::new();
        store.set_sample_rate(44_100);
        take(&mut inbox);
        assert_eq!(store.next(), None);
        let ask = |pad, task, seed| store.ask_with(store.gesture(), pad, task, seed);
        ask(4, Task::Generate, 1);
        let old = store.next().unwrap();
        ask(2, Task::Generate, 2);
        ask(4, Task::Generate, 3);
        ask(4, Task::Vary, 3);
        let made = |seed| StoredSound::new(recipe(seed), &clip(44_100, 0.1));
        assert!(!store.is_wanted(&old));
        store.finish(&old, made(1));
        assert!(take(&mut inbox).is_empty());
        // A pad whose request was given up waits anew.
        for (pad, task, seed) in [
            (2, Task::Generate, 2),
            (4, Task::Generate, 3),
            (4, Task::Vary, 4),
        ] {
            let next = store.next().unwrap();
            assert!(store.is_pending(pad) && store.is_wanted(&next));
            assert_eq!((next.pad, next.task), (pad, task));
            store.finish(&next, made(seed));
        }
        assert_eq!((store.next(), store.newest()), (None, 0));
        assert_eq!(take(&mut inbox).len(), 2);
        assert_eq!((seeds(&store)[2], seeds(&store)[4]), (Some(2), Some(4)));
        assert_eq!(store.history(4), (2, 2));
    }

    #[test]
    fn one_goes_back_and_forth_through_a_pads_sounds() {
        let (store, _inbox) = Store::new();
        assert_eq!(store.history(2), (0, 0));
        for seed in 1..=3 {
            make(&store, 2, seed, &clip(44_100, 0.1));
        }
        assert_eq!(store.history(2), (3, 3));
        store.step(2, -1).unwrap();
        assert_eq!((store.history(2), seeds(&store)[2]), ((2, 3), Some(2)));
        store.step(2, -2).unwrap();
        assert_eq!(
            store.history(2),
            (2, 3),
            "there is nothing before the first"
        );
        store.step(2, 1).unwrap();
        store.step(2, 1).unwrap();
        assert_eq!((store.history(2), seeds(&store)[2]), ((3, 3), Some(3)));
        // A new sound takes the place of what came after; a step calls off what is being made.
        store.step(2, -2).unwrap();
        make(&store, 2, 4, &clip(44_100, 0.1));
        assert_eq!((store.history(2), seeds(&store)[2]), ((2, 2), Some(4)));
        store.ask(2, Task::Generate);
        store.step(2, -1).unwrap();
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
        let recipe = SoundRecipe::of_file(Path::new("/sounds/door.wav"));
        assert_eq!(recipe.file.as_deref(), Some("door.wav"));
        store
            .put(6, StoredSound::new(recipe.clone(), &clip(44_100, 0.3)))
            .unwrap();
        assert_eq!((store.pending(6), store.history(6)), (None, (2, 2)));
        let (opened, _inbox) = Store::new();
        load(&opened, &save(&store));
        assert_eq!(
            opened.project().sound(6).map(|sound| sound.recipe()),
            Some(&recipe)
        );
        store.step(6, -1).unwrap();
        assert_eq!(seeds(&store)[6], Some(1));
    }

    #[test]
    fn a_history_keeps_no_more_than_its_bytes() {
        let (store, _inbox) = Store::new();
        let long = |value| Clip::new(48_000, vec![vec![value; 48_000 * 30]; 2]);
        for seed in 0..8 {
            make(&store, 2, seed, &long(0.1));
        }
        // 5.76 MB each.
        assert_eq!(store.history(2), (2, 2));
        assert_eq!(seeds(&store)[2], Some(7));
    }

    #[test]
    fn a_locked_pad_keeps_its_sound_whatever_comes() {
        let (store, _inbox) = Store::new();
        make(&store, 4, 1, &clip(44_100, 0.1));
        make(&store, 4, 2, &clip(44_100, 0.2));
        store.ask(4, Task::Generate);
        let late = store.pending(4).unwrap();
        let lock = |on| store.edit(0, |project| project.settings[4].making.lock = on);
        lock(true);
        let put = store.put(4, StoredSound::new(recipe(3), &clip(44_100, 0.3)));
        for refused in [put, store.step(4, -1)] {
            assert!(refused.unwrap_err().to_string().contains("pad 5 is locked"));
        }
        store.finish(&late, StoredSound::new(recipe(4), &clip(44_100, 0.4)));
        assert_eq!((seeds(&store)[4], store.pending(4)), (Some(2), None));
        assert_eq!(store.history(4), (2, 2));
        lock(false);
        store.step(4, -1).unwrap();
        assert_eq!(seeds(&store)[4], Some(1));
    }

    #[test]
    fn a_sound_that_others_hold_is_put_on_a_pad_and_taken_back() {
        let (store, _inbox) = Store::new();
        make(&store, 4, 1, &clip(44_100, 0.1));
        let shared = Arc::new(StoredSound::new(recipe(2), &clip(44_100, 0.2)));
        store.put_shared(4, shared.clone()).unwrap();
        assert!(Arc::ptr_eq(store.project().sound(4).unwrap(), &shared));
        store.undo(Direction::Back, |value| value);
        assert_eq!(seeds(&store)[4], Some(1));
        // Put as one that came of certain parameters, it is the same sound, but for that.
        store.put_as(4, &shared, asked(9)).unwrap();
        let project = store.project();
        let sound = project.sound(4).unwrap();
        assert_eq!(sound.clip(), shared.clip());
        assert!(sound.came_of(&asked(9), &recipe(1)) && !shared.came_of(&asked(9), &recipe(1)));
        store.edit(0, |project| project.settings[4].making.lock = true);
        let [put, put_as] = [
            store.put_shared(4, shared.clone()),
            store.put_as(4, &shared, asked(9)),
        ];
        for refused in [put, put_as] {
            assert!(refused.unwrap_err().to_string().contains("pad 5 is locked"));
        }
    }

    #[test]
    fn undo_goes_back_over_sounds_and_settings_gesture_by_gesture() {
        let (store, mut inbox) = Store::new();
        store.set_sample_rate(44_100);
        let no_value = |value| panic!("no parameter was changed: {value:?}");
        let go = |direction| store.undo(direction, no_value);
        (0..PADS).for_each(|pad| make(&store, pad, 1, &clip(44_100, 0.1)));
        assert_eq!(store.can_undo(), (false, false), "first sounds stay");
        // Sixteen sounds that were asked for at once, and a setting.
        store.ask_all(0..PADS, Task::Generate);
        inbox.date(&store, |_| (2, 0.5));
        let answer = |seed| {
            while let Some(request) = store.next() {
                let clip = clip(44_100, 0.1 * seed as f32);
                store.finish(&request, StoredSound::new(recipe(seed), &clip));
            }
        };
        answer(2);
        store.edit(store.gesture(), |project| {
            project.settings[3].playing.choke = 5;
        });
        take(&mut inbox);
        assert_eq!(inbox.kit().pads[3].choke, 5);
        go(Direction::Back);
        assert_eq!(
            (inbox.kit().pads[3].choke, seeds(&store)),
            (0, vec![Some(2); PADS])
        );
        assert!(take(&mut inbox).is_empty());
        // What is shown is no part of it.
        store.view(|project| project.selected = 7);
        store.ask(4, Task::Vary);
        go(Direction::Back);
        assert_eq!(
            (seeds(&store), store.history(0)),
            (vec![Some(1); PADS], (1, 2))
        );
        assert_eq!((store.project().selected, store.pending(4)), (7, None));
        assert_eq!(take(&mut inbox).len(), PADS);
        assert_eq!(store.can_undo(), (false, true));
        let changes = store.changes();
        go(Direction::Forth);
        assert_eq!(
            (seeds(&store), store.history(0)),
            (vec![Some(2); PADS], (2, 2))
        );
        assert!(store.changes() > changes, "there is something to save");
        go(Direction::Forth);
        assert_eq!(inbox.kit().pads[3].choke, 5);
        // Of another project there is no way back.
        load(&store, "{\"pads\":[]}");
        assert_eq!(store.can_undo(), (false, false));
    }

    #[test]
    fn loading_a_project_again_adds_nothing_to_the_past() {
        let (store, _inbox) = Store::new();
        make(&store, 0, 1, &clip(44_100, 0.1));
        let first = save(&store);
        make(&store, 0, 2, &clip(44_100, 0.2));
        let second = save(&store);
        for _ in 0..3 {
            load(&store, &second);
            assert_eq!(store.history(0), (2, 2));
            // A step back of the host's is one in the past.
            load(&store, &first);
            assert_eq!((store.history(0), seeds(&store)[0]), ((1, 2), Some(1)));
        }
        // Of another project it has none.
        let (other, _inbox) = Store::new();
        make(&other, 0, 9, &clip(44_100, 0.9));
        load(&store, &save(&other));
        assert_eq!(store.history(0), (1, 1));
    }

    #[test]
    fn what_was_being_made_when_a_project_was_saved_is_made_when_it_opens() {
        let (store, mut inbox) = Store::new();
        (0..PADS).for_each(|pad| make(&store, pad, 1, &clip(44_100, 0.1)));
        assert!(!save(&store).contains("pending"));
        store.ask(7, Task::Morph);
        inbox.date(&store, |pad| (pad as i32, 0.25));
        store.ask_with(store.gesture(), 2, Task::Generate, 9999);
        store.ask_with(store.gesture(), 2, Task::Vary, 8);
        // Nobody has dated this one.
        store.ask(9, Task::Vary);
        let text = save(&store);
        let (opened, _inbox) = Store::new();
        load(&opened, &text);
        let order: Vec<Pending> = std::iter::from_fn(|| {
            let request = opened.next()?;
            opened.settle(&request);
            Some(Pending::of(&request))
        })
        .collect();
        let asked = |pad, task, seed, amount| Pending {
            pad,
            task,
            seed,
            amount,
        };
        assert_eq!(
            order,
            [
                asked(7, Task::Morph, Some(7), Some(0.25)),
                asked(2, Task::Generate, Some(9999), None),
                asked(2, Task::Vary, Some(8), None),
                asked(9, Task::Vary, None, None),
            ]
        );
        assert_eq!(seeds(&opened), [Some(1); PADS]);
        // A damaged one is counted, and one of a pad that there is not left out.
        let text = text
            .replace("\"generate\"", "7")
            .replace("\"pad\":7", "\"pad\":16");
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!((project.pending.len(), project.damaged), (2, 1));
    }

    #[test]
    fn a_change_to_one_pad_shares_the_sounds_of_the_others() {
        let (store, _inbox) = Store::new();
        make(&store, 0, 1, &clip(44_100, 0.1));
        make(&store, 1, 2, &clip(44_100, 0.1));
        let before = store.project();
        make(&store, 1, 3, &clip(44_100, 0.1));
        store.set_model(Some("/models/mine.safetensors".into()));
        let after = store.project();
        let same = |pad| Arc::ptr_eq(before.sound(pad).unwrap(), after.sound(pad).unwrap());
        assert!(same(0) && !same(1));
        store.step(1, -1).unwrap();
        let back = store.project();
        assert!(Arc::ptr_eq(
            before.sound(1).unwrap(),
            back.sound(1).unwrap()
        ));
    }

    #[test]
    fn remarks_stay_with_their_sound() {
        let (store, _inbox) = Store::new();
        make(&store, 1, 1, &clip(44_100, 0.1));
        assert!(!save(&store).contains("remarks"));
        let (asked, taken) = (64, 8);
        let rendered = Rendered {
            clip: clip(44_100, 0.1),
            class: None,
            steps: taken,
            remarks: vec![Remark::Steps { asked, taken }],
        };
        store.ask(1, Task::Generate);
        let request = store.pending(1).unwrap();
        store.finish(&request, StoredSound::rendered(recipe(2), &rendered));
        let remarks = |store: &Store| store.project().sound(1).unwrap().remarks().to_vec();
        let told = remarks(&store);
        assert_eq!(told, [rendered.remarks[0].to_string()]);
        assert!(told[0].contains("64 asked, 8 taken"), "{}", told[0]);
        let (opened, _inbox) = Store::new();
        load(&opened, &save(&store));
        assert_eq!(remarks(&opened), told);
        store.step(1, -1).unwrap();
        assert!(remarks(&store).is_empty());
        store.step(1, 1).unwrap();
        assert_eq!(remarks(&store), told);
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
        store.finish(&request, StoredSound::new(recipe(1), &clip(44_100, 0.1)));
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
        let mut playing: [Option<Arc<PadSounds>>; PADS] = Default::default();
        inbox.take(|pad, sound| playing[pad] = sound);
        let project = store.project();
        for (pad, sound) in playing.iter().enumerate() {
            let stored = project.sound(pad).unwrap().clip();
            assert_eq!(
                **sound.as_ref().unwrap(),
                PadSounds::from(PlayableSound::new(&stored)),
                "pad {pad}"
            );
        }
    }
}
