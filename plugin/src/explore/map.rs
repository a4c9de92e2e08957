//! A map: some hundreds of sounds of a model, and those of the user's folders, laid out by likeness.
//!
//! One map of a model serves all instances of a process, for as long as one of them holds it. The generators of those
//! instances make its sounds, when nothing else is wanted; a thread of its own reads folders, measures sounds and lays
//! them out. The sounds of a model are always the same and so are their places, once all are there; whatever comes
//! besides settles among them, and moves nothing. The sounds of the built-in model take 30 MB, and those of folders up to
//! [`FOLDER_BYTES`].

mod cache;
mod features;
mod folder;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audiodiff::Error;
use nice_plug::prelude::nice_warn;

use super::layout::{Distances, layout, spread, within_square};
use super::{Basis, Series, Wanted, lock};
use crate::emergence::Emerging;
use crate::kit::Class;
use crate::portrait::Portrait;
use crate::status::ModelInfo;
use crate::stored::{Asked, SoundRecipe, StoredSound};
use crate::workers::{Rank, Workers};

use cache::Cache;
use features::Ear;
pub use folder::{FOLDER_BYTES, FOLDER_FILES, FOLDER_SECONDS, FolderReport};

/// Sounds of a model on its map, of each class as many.
pub const MADE: usize = 240;

/// The seed of each class's first sound; none that the pads begin with.
const FIRST_SEED: u64 = 20_000;

/// Sounds that are no points and whose places are remembered.
const LOCATED: usize = 64;

/// Points between which the place of another sound is told.
const NEAREST: usize = 3;

/// The least time between two layouts while sounds come in.
const PAUSE: Duration = Duration::from_millis(700);

/// Where a sound of a map comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// The model made it.
    Made,
    /// It is the beginning of this file.
    File(Arc<Path>),
}

/// A sound on a map.
#[derive(Debug, Clone)]
pub struct MapPoint {
    /// From 0 to 1 both ways.
    pub at: [f32; 2],
    /// The model's class that it is of; of a file, as far as its path tells.
    pub class: Option<Arc<str>>,
    /// Where it comes from.
    pub origin: Origin,
    /// Class and seed, or the name of a file.
    pub name: Arc<str>,
    /// The sound, at hand to be heard. To put it on a pad: [`Store::put_as`](crate::store::Store::put_as).
    pub sound: Arc<StoredSound>,
}

/// A map as it is at some time.
#[derive(Debug, Clone, Default)]
pub struct MapView {
    /// Another one where anything has changed.
    pub version: u64,
    /// All sounds that have a place. A sound of the model keeps its number once all of them are there.
    pub points: Vec<MapPoint>,
    /// How many sounds of the model are there, and how many there will be.
    pub made: (usize, usize),
    /// What became of the folders.
    pub folders: Vec<FolderReport>,
    /// Why no more sounds of the model come.
    pub trouble: Option<String>,
    features: Vec<Arc<[f32]>>,
}

impl MapView {
    /// The point nearest to a place.
    #[must_use]
    pub fn nearest(&self, [x, y]: [f32; 2]) -> Option<usize> {
        let away = |point: &MapPoint| (point.at[0] - x).powi(2) + (point.at[1] - y).powi(2);
        let points = self.points.iter().enumerate();
        let nearest = points.min_by(|a, b| away(a.1).total_cmp(&away(b.1)));
        nearest.map(|(index, _)| index)
    }

    /// The points that are most like something with these features, the nearest first, and how far away they are.
    fn like(&self, features: &[f32]) -> Vec<(usize, f32)> {
        let away = |own: &Arc<[f32]>| -> f32 {
            let pairs = own.iter().zip(features);
            pairs.map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let mut all: Vec<(usize, f32)> = self.features.iter().map(away).enumerate().collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all
    }

    /// Where something with these features lies, among the points that are most like it.
    fn place(&self, features: &[f32]) -> Option<[f32; 2]> {
        let mut near = self.like(features);
        near.truncate(NEAREST);
        let weight = |square: f32| 1.0 / (square + 1e-6);
        let sum: f32 = near.iter().map(|&(_, square)| weight(square)).sum();
        let mean = |axis: usize| -> f32 {
            let terms = near.iter();
            terms
                .map(|&(i, square)| weight(square) / sum * self.points[i].at[axis])
                .sum()
        };
        (!near.is_empty()).then(|| [mean(0), mean(1)])
    }
}

/// A sound that is no point.
#[derive(Debug)]
struct Located {
    sound: Weak<StoredSound>,
    /// None before they are measured.
    features: Option<Arc<[f32]>>,
    /// The version of the view that it has this place in.
    place: Option<(u64, [f32; 2])>,
}

/// What the map's thread is told.
#[derive(Debug)]
enum News {
    Made(usize, Arc<StoredSound>),
    Folder(PathBuf),
    Locate(Arc<StoredSound>),
}

/// How far a sound of the model is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Making {
    Open,
    Begun,
    There,
}

#[derive(Debug)]
struct Held {
    /// One for each sound of the model.
    making: Vec<Making>,
    news: VecDeque<News>,
    located: VecDeque<Located>,
    trouble: Option<String>,
    view: Arc<MapView>,
}

#[derive(Debug)]
struct Shared {
    model: Arc<ModelInfo>,
    held: Mutex<Held>,
    told: Condvar,
    quit: AtomicBool,
}

/// The map of one model. Dropping the last one ends its thread.
#[derive(Debug)]
pub struct Map {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Map {
    /// The map of a model, begun if no other instance of this process has it. Its sounds are kept in the user's folder of
    /// caches.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn open(model: &Arc<ModelInfo>) -> std::io::Result<Arc<Self>> {
        static OPENED: Mutex<Vec<Weak<Map>>> = Mutex::new(Vec::new());
        let mut opened = lock(&OPENED);
        opened.retain(|map| map.strong_count() > 0);
        let mut maps = opened.iter().filter_map(Weak::upgrade);
        if let Some(map) = maps.find(|map| map.shared.model.name == model.name) {
            return Ok(map);
        }
        let map = Arc::new(Self::begin(model, Cache::of_user(&model.name))?);
        opened.push(Arc::downgrade(&map));
        Ok(map)
    }

    fn begin(model: &Arc<ModelInfo>, cache: Option<Cache>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            model: model.clone(),
            held: Mutex::new(Held {
                // Nothing is made before the cache was looked into.
                making: vec![Making::Begun; MADE],
                news: VecDeque::new(),
                located: VecDeque::new(),
                trouble: None,
                view: Arc::new(MapView {
                    made: (0, MADE),
                    ..MapView::default()
                }),
            }),
            told: Condvar::new(),
            quit: AtomicBool::new(false),
        });
        let surveyor = Surveyor {
            shared: shared.clone(),
            cache,
            made: vec![None; MADE],
            others: Vec::new(),
            folders: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("audiodiff-map".into())
            .spawn(move || match Workers::new(1, Rank::Surveyor) {
                Ok(workers) => workers.run(|| surveyor.run()),
                Err(error) => surveyor.fail(&error),
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The model whose sounds it shows.
    #[must_use]
    pub fn model(&self) -> &Arc<ModelInfo> {
        &self.shared.model
    }

    /// The map as it is now. Cheap.
    #[must_use]
    pub fn view(&self) -> Arc<MapView> {
        lock(&self.shared.held).view.clone()
    }

    /// Adds the sounds of a folder and of those within it, as far as the bounds of a map allow; what was left out is told
    /// in [`MapView::folders`]. A folder that is there already is not read again.
    pub fn add_folder(&self, folder: PathBuf) {
        self.tell(News::Folder(folder));
    }

    /// Where a sound lies that may be a pad's, among those that are most like it; none before it was measured, which is
    /// begun by asking. Cheap enough for each frame.
    #[must_use]
    pub fn locate(&self, sound: &Arc<StoredSound>) -> Option<[f32; 2]> {
        let view = self.view();
        let own = view.points.iter().find(|it| Arc::ptr_eq(&it.sound, sound));
        if let Some(point) = own {
            return Some(point.at);
        }
        let features = self.measured(sound)?;
        let mut held = lock(&self.shared.held);
        let located = held.located.iter_mut().find(|it| it.is(sound))?;
        match located.place {
            Some((version, place)) if version == view.version => Some(place),
            _ => {
                let place = view.place(&features)?;
                located.place = Some((view.version, place));
                Some(place)
            }
        }
    }

    /// The points that are most like a sound, the nearest first, itself left out; none before it was measured, which is
    /// begun by asking.
    #[must_use]
    pub fn alike(&self, sound: &Arc<StoredSound>, count: usize) -> Option<Vec<usize>> {
        let view = self.view();
        let own = view
            .points
            .iter()
            .position(|it| Arc::ptr_eq(&it.sound, sound));
        let features = match own {
            Some(index) => view.features[index].clone(),
            None => self.measured(sound)?,
        };
        let all = view.like(&features).into_iter().map(|(index, _)| index);
        Some(
            all.filter(|&index| Some(index) != own)
                .take(count)
                .collect(),
        )
    }

    /// The features of a sound that is no point, once they are measured.
    fn measured(&self, sound: &Arc<StoredSound>) -> Option<Arc<[f32]>> {
        let mut held = lock(&self.shared.held);
        held.located.retain(|it| it.sound.strong_count() > 0);
        if let Some(located) = held.located.iter().find(|it| it.is(sound)) {
            return located.features.clone();
        }
        if held.located.len() >= LOCATED {
            held.located.pop_front();
        }
        held.located.push_back(Located {
            sound: Arc::downgrade(sound),
            features: None,
            place: None,
        });
        drop(held);
        self.tell(News::Locate(sound.clone()));
        None
    }

    fn tell(&self, news: News) {
        self.shared.tell(news);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        self.shared.told.notify_all();
        if let Some(thread) = self.thread.take() {
            // A host may unload the plugin and its code right after. A panic there was reported.
            let _ = thread.join();
        }
    }
}

impl Located {
    fn is(&self, sound: &Arc<StoredSound>) -> bool {
        std::ptr::eq(self.sound.as_ptr(), Arc::as_ptr(sound))
    }
}

/// The recipe of the sound of this number.
fn recipe(model: &ModelInfo, index: usize) -> SoundRecipe {
    let classes = model.labels.len().max(1);
    SoundRecipe {
        model: model.name.clone(),
        class: model.labels.get(index % classes).cloned(),
        seed: FIRST_SEED + (index / classes) as u64,
        ..SoundRecipe::plain()
    }
}

impl Series for Map {
    fn next(&self) -> Option<Wanted> {
        let mut held = lock(&self.shared.held);
        if held.trouble.is_some() {
            return None;
        }
        let index = held.making.iter().position(|it| *it == Making::Open)?;
        held.making[index] = Making::Begun;
        let recipe = recipe(&self.shared.model, index);
        Some(Wanted {
            ticket: 0,
            index,
            pad: 0,
            asked: Asked {
                class: recipe.class.clone().map_or(Class::Any, Class::Label),
                seed: recipe.seed as i32,
                steps: 0,
                guidance: 0.0,
                length: 0.0,
                portrait: Portrait::default(),
            },
            basis: Basis::Nothing(recipe),
        })
    }

    fn is_wanted(&self, _: &Wanted) -> bool {
        true
    }

    fn set_done(&self, _: &Wanted, _: f32) {}

    fn emerge(&self, _: &Wanted, _: Emerging) {}

    fn finish(&self, wanted: &Wanted, sound: StoredSound) {
        lock(&self.shared.held).making[wanted.index] = Making::There;
        self.tell(News::Made(wanted.index, Arc::new(sound)));
    }

    fn fail(&self, wanted: &Wanted, why: String) {
        let mut held = lock(&self.shared.held);
        held.making[wanted.index] = Making::Open;
        held.trouble = Some(why.clone());
        Arc::make_mut(&mut held.view).trouble = Some(why);
    }

    fn give_up(&self, wanted: &Wanted) {
        lock(&self.shared.held).making[wanted.index] = Making::Open;
    }
}

impl Shared {
    fn tell(&self, news: News) {
        lock(&self.held).news.push_back(news);
        self.told.notify_all();
    }

    fn is_over(&self) -> bool {
        self.quit.load(Ordering::Acquire)
    }
}

/// A sound with its features.
#[derive(Debug, Clone)]
struct Entry {
    class: Option<Arc<str>>,
    origin: Origin,
    name: Arc<str>,
    sound: Arc<StoredSound>,
    features: Arc<[f32]>,
}

/// The map's thread.
struct Surveyor {
    shared: Arc<Shared>,
    cache: Option<Cache>,
    /// By number.
    made: Vec<Option<Entry>>,
    /// Those of folders.
    others: Vec<Entry>,
    folders: Vec<FolderReport>,
}

impl Surveyor {
    fn run(mut self) {
        let ear = match Ear::new() {
            Ok(ear) => ear,
            Err(error) => return self.fail(&error),
        };
        self.read_cache(&ear);
        self.publish();
        let mut since = Instant::now();
        // Whether the view lacks something.
        let mut is_behind = false;
        while !self.shared.is_over() {
            let news = self.news(is_behind.then(|| PAUSE.saturating_sub(since.elapsed())));
            let was_there = self.is_complete();
            match news {
                Some(News::Made(index, sound)) => {
                    self.take(&ear, index, sound);
                    is_behind = true;
                }
                Some(News::Folder(folder)) => {
                    self.read_folder(&ear, &folder);
                    is_behind = true;
                }
                Some(News::Locate(sound)) => self.locate(&ear, &sound),
                None => {}
            }
            if !was_there && self.is_complete() {
                self.write_cache();
            }
            if is_behind && (since.elapsed() >= PAUSE || self.is_complete()) {
                self.publish();
                (since, is_behind) = (Instant::now(), false);
            }
        }
    }

    /// What was told, or nothing after a while if there is one to wait.
    fn news(&self, wait: Option<Duration>) -> Option<News> {
        let mut held = lock(&self.shared.held);
        loop {
            if self.shared.is_over() {
                return None;
            }
            if let Some(news) = held.news.pop_front() {
                return Some(news);
            }
            let told = &self.shared.told;
            let Some(wait) = wait else {
                held = told.wait(held).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = told.wait_timeout(held, wait);
            return waited
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .news
                .pop_front();
        }
    }

    fn fail(&self, error: &Error) {
        let mut held = lock(&self.shared.held);
        held.trouble = Some(error.to_string());
        Arc::make_mut(&mut held.view).trouble = Some(error.to_string());
    }

    fn is_complete(&self) -> bool {
        self.made.iter().all(Option::is_some)
    }

    fn read_cache(&mut self, ear: &Ear) {
        let sounds = self.cache.as_ref().map_or_else(Vec::new, Cache::read);
        let len = ear.silence().len();
        for (sound, features) in sounds {
            let fits = |&index: &usize| *sound.recipe() == recipe(&self.shared.model, index);
            let index = (0..MADE).find(fits);
            let is_whole = features.len() == len && features.iter().all(|x| x.is_finite());
            if let Some(index) = index.filter(|&index| is_whole && self.made[index].is_none()) {
                self.put(index, Arc::new(sound), features.into());
            }
        }
        let mut held = lock(&self.shared.held);
        for (making, made) in held.making.iter_mut().zip(&self.made) {
            *making = if made.is_some() {
                Making::There
            } else {
                Making::Open
            };
        }
    }

    fn write_cache(&self) {
        if let Some(cache) = &self.cache {
            let made = self.made.iter().flatten();
            let sounds = made.map(|entry| (&*entry.sound, &*entry.features));
            if let Err(error) = cache.write(sounds) {
                nice_warn!("the map's sounds are made anew next time: {error}");
            }
        }
    }

    /// A sound of the model is there.
    fn take(&mut self, ear: &Ear, index: usize, sound: Arc<StoredSound>) {
        // A sound that cannot be measured is silence, and has its place.
        let features = ear
            .features(&sound.clip())
            .unwrap_or_else(|_| ear.silence());
        self.put(index, sound, features);
    }

    fn put(&mut self, index: usize, sound: Arc<StoredSound>, features: Arc<[f32]>) {
        let recipe = sound.recipe();
        let class = recipe.class.as_deref();
        let name = format!("{} {}", class.unwrap_or("sound"), recipe.seed);
        self.made[index] = Some(Entry {
            class: class.map(Arc::from),
            origin: Origin::Made,
            name: name.into(),
            features,
            sound,
        });
    }

    fn read_folder(&mut self, ear: &Ear, folder: &Path) {
        if self.folders.iter().any(|known| known.folder == folder) {
            return;
        }
        let used: usize = self.others.iter().map(|entry| entry.sound.bytes()).sum();
        let files = self.others.len();
        let mut since = Instant::now();
        let report = folder::read(folder, files, used, &mut |path, sound| {
            self.others.push(Entry {
                class: folder::class(path, &self.shared.model.labels).map(Arc::from),
                name: sound.recipe().file.as_deref().unwrap_or_default().into(),
                origin: Origin::File(path.into()),
                features: ear.features(&sound.clip())?,
                sound: Arc::new(sound),
            });
            if since.elapsed() >= PAUSE {
                self.publish();
                since = Instant::now();
            }
            Ok(!self.shared.is_over())
        });
        self.folders.push(report);
    }

    fn locate(&self, ear: &Ear, sound: &Arc<StoredSound>) {
        let features = ear
            .features(&sound.clip())
            .unwrap_or_else(|_| ear.silence());
        let mut held = lock(&self.shared.held);
        if let Some(located) = held.located.iter_mut().find(|it| it.is(sound)) {
            located.features = Some(features);
        }
    }

    /// Lays out what is there, and shows it.
    fn publish(&self) {
        let made: Vec<&Entry> = self.made.iter().flatten().collect();
        let places = |entries: &[&Entry], kept: &[[f32; 2]]| {
            let rows: Vec<&[f32]> = entries.iter().map(|entry| &*entry.features).collect();
            layout(&Distances::of(&rows), kept)
        };
        let own = places(&made, &[]);
        let all: Vec<&Entry> = made.iter().copied().chain(&self.others).collect();
        let at = match self.others.is_empty() {
            true => own.clone(),
            false => places(&all, &own),
        };
        let frame = if own.is_empty() { &at } else { &own };
        let mut at = within_square(&at, frame);
        // The model's sounds lie where they lie, whatever comes besides.
        spread(&mut at[..made.len()], 0);
        spread(&mut at, made.len());
        let points = all.iter().zip(at).map(|(entry, at)| MapPoint {
            at,
            class: entry.class.clone(),
            origin: entry.origin.clone(),
            name: entry.name.clone(),
            sound: entry.sound.clone(),
        });
        let features = all.iter().map(|entry| entry.features.clone());
        let (points, features) = (points.collect(), features.collect());
        let mut held = lock(&self.shared.held);
        held.view = Arc::new(MapView {
            version: held.view.version + 1,
            points,
            made: (made.len(), MADE),
            folders: self.folders.clone(),
            trouble: held.trouble.clone(),
            features,
        });
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::{BitDepth, Clip, write_wav};
    use audiodiff::noise::Noise;

    use super::*;
    use crate::params::tests::info;

    /// A short tone or noise, each a little different.
    fn clip(is_tone: bool, seed: u64) -> Clip {
        let mut noise = Noise::new(seed);
        let hz = noise.between(200.0, 300.0);
        let decay = noise.between(0.02, 0.04);
        let sample = |i: usize| {
            let t = i as f32 / 44_100.0;
            let wave = match is_tone {
                true => (std::f32::consts::TAU * hz * t).sin(),
                false => noise.normal(),
            };
            wave * (-t / decay).exp()
        };
        Clip::new(44_100, vec![(0..6000).map(sample).collect()])
    }

    fn begin(folder: &Path) -> Map {
        let path = folder.join("map-test.json");
        Map::begin(&Arc::new(info()), Some(Cache { path })).unwrap()
    }

    fn wait<T>(mut is: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = is() {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it never comes");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes all that is wanted, and returns how many that were and the map with them.
    fn made(map: &Map) -> (usize, Arc<MapView>) {
        let mut count = 0;
        let view = wait(|| {
            while let Some(wanted) = map.next() {
                let Basis::Nothing(recipe) = &wanted.basis else {
                    panic!("it begins with nothing");
                };
                let is_tone = recipe.class.as_deref() == Some("kick");
                let sound = StoredSound::new(recipe.clone(), &clip(is_tone, recipe.seed));
                map.finish(&wanted, sound);
                count += 1;
            }
            Some(map.view()).filter(|view| view.made == (MADE, MADE))
        });
        (count, view)
    }

    #[test]
    fn the_sounds_of_a_model_are_made_once_and_lie_where_they_lay() {
        let folder = tempfile::tempdir().unwrap();
        let map = begin(folder.path());
        // What was broken off is wanted again.
        let first = wait(|| map.next());
        map.give_up(&first);
        let (count, view) = made(&map);
        assert_eq!((count, view.points.len()), (MADE, MADE));
        let classes = |at: usize| view.points[at].class.as_deref();
        assert_eq!(
            [0, 1, 2].map(classes),
            [Some("kick"), Some("snare"), Some("kick")]
        );
        assert_eq!(&*view.points[2].name, "kick 20001");
        // Of those that lie nearest to a sound nearly all are of its class.
        let near = |at: usize| {
            let alike = map.alike(&view.points[at].sound, 5).unwrap();
            assert!(!alike.contains(&at));
            alike.iter().filter(|&&other| other % 2 == at % 2).count()
        };
        assert!((0..MADE).map(near).sum::<usize>() > MADE * 5 * 9 / 10);
        for (at, point) in view.points.iter().enumerate() {
            assert_eq!(view.nearest(point.at), Some(at));
            assert_eq!(map.locate(&point.sound), Some(point.at));
        }
        drop(map);
        let again = begin(folder.path());
        let (count, opened) = made(&again);
        assert_eq!(count, 0);
        let places = |view: &MapView| view.points.iter().map(|it| it.at).collect::<Vec<_>>();
        assert_eq!(places(&opened), places(&view));
        drop(again);
        // A damaged sound is made again, and of a damaged file all.
        let path = folder.path().join("map-test.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            text.replacen("\"sample_rate\":44100", "\"sample_rate\":0", 3),
        )
        .unwrap();
        let (count, mended) = made(&begin(folder.path()));
        assert_eq!((count, places(&mended)), (3, places(&view)));
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert_eq!(made(&begin(folder.path())).0, MADE);
    }

    #[test]
    fn files_settle_among_them_and_other_sounds_are_located() {
        let folder = tempfile::tempdir().unwrap();
        let map = begin(folder.path());
        let (_, before) = made(&map);
        let sounds = folder.path().join("sounds");
        std::fs::create_dir(&sounds).unwrap();
        for i in 0..6 {
            let path = sounds.join(format!("snare {i}.wav"));
            write_wav(&path, &clip(false, 900 + i), BitDepth::Int16).unwrap();
        }
        map.add_folder(sounds.clone());
        map.add_folder(sounds);
        let view = wait(|| Some(map.view()).filter(|view| !view.folders.is_empty()));
        assert_eq!((view.points.len(), view.folders[0].read), (MADE + 6, 6));
        for (now, then) in view.points.iter().zip(&before.points) {
            assert_eq!(now.at, then.at);
        }
        let file = &view.points[MADE];
        assert!(matches!(&file.origin, Origin::File(path) if path.ends_with("snare 0.wav")));
        assert_eq!(
            (file.class.as_deref(), &*file.name),
            (Some("snare"), "snare 0.wav")
        );
        let other = Arc::new(StoredSound::new(SoundRecipe::plain(), &clip(false, 77)));
        assert_eq!(map.locate(&other), None, "it is measured first");
        let at = wait(|| map.locate(&other));
        let alike = map.alike(&other, 3).unwrap();
        let is_noise = |&index: &usize| view.points[index].class.as_deref() == Some("snare");
        assert!(alike.iter().filter(|index| is_noise(index)).count() >= 2);
        let nearest = view.nearest(at).unwrap();
        assert!(is_noise(&nearest), "{at:?}");
        assert_eq!(map.locate(&other), Some(at));
    }

    #[test]
    fn what_cannot_be_made_is_told_once() {
        let map = Map::begin(&Arc::new(info()), None).unwrap();
        let first = wait(|| map.next());
        map.fail(&first, "no model".to_owned());
        assert!(map.next().is_none());
        assert_eq!(map.view().trouble.as_deref(), Some("no model"));
    }
}
