//! The background thread of one instance: newest request in, finished sound out.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use audiodiff::render::{Init, Rendered};
use audiodiff::{Error, Result};
use nice_plug::prelude::nice_error;

use crate::emergence::Emerging;
use crate::explore::{Series, Wanted};
use crate::job::Job;
use crate::project::Project;
use crate::requests::{Request, Task};
use crate::settings::Haste;
use crate::status::{ModelInfo, Status};
use crate::store::Store;
use crate::stored::{SoundRecipe, StoredSound};

/// How often the thread looks for requests of the audio thread, which must not wake it: that would
/// be a call into the operating system. The delay is short beside the making of a sound.
const LOOK: Duration = Duration::from_millis(30);

/// Series that a person waits for.
const FOR_ONE: usize = 2;

/// A model that makes sounds, or a double in tests.
pub trait Model: Send {
    /// Its name, classes and limits; always the same.
    fn info(&self) -> Arc<ModelInfo>;

    /// Makes one sound, from `init` if there is one. `keep_going` is given the fraction that is done, and may break
    /// off the work.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it was broken off; else the setting of the recipe that the model cannot follow.
    fn generate(
        &mut self,
        recipe: &SoundRecipe,
        init: Option<Init>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
    ) -> Result<Rendered>;

    /// The same sound, bit by bit; `watch` is given the steps in which it emerges, if the model shows any.
    ///
    /// # Errors
    /// As [`generate`](Model::generate).
    fn generate_watched(
        &mut self,
        recipe: &SoundRecipe,
        init: Option<Init>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
        _watch: &mut (dyn FnMut(Emerging) + Send),
    ) -> Result<Rendered> {
        self.generate(recipe, init, keep_going)
    }

    /// A sound that it made, with its [pitch](StoredSound::measured).
    fn measured(&mut self, sound: StoredSound) -> StoredSound {
        sound.measured()
    }
}

/// Opens the model of a file, or else the one that is built in. Called on the thread, when it is needed: a project
/// that brings its sounds loads no model.
pub type Open = Box<dyn Fn(Option<&Path>) -> Result<Box<dyn Model>> + Send>;

/// Files of models that the user has had open, where a model may be that is no longer at its path.
pub type Known = fn() -> Vec<PathBuf>;

/// Reads from the parameters the jobs that a request comes to, given the model and the project. None for a locked pad.
pub type Read = Box<dyn Fn(&ModelInfo, &Request, &Project) -> Result<Vec<Job>> + Send + Sync>;

/// The thread, for as long as this lives. Dropping it breaks off the work and waits for the thread.
#[derive(Debug)]
pub struct Generator {
    quit: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Generator {
    /// Begins to answer the requests that reach `store`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        store: Arc<Store>,
        status: Arc<Status>,
        open: Open,
        known: Known,
        read: Read,
    ) -> std::io::Result<Self> {
        let quit = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            store,
            status,
            models: Models {
                open,
                known,
                opened: None,
            },
            read,
            quit: quit.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("audiodiff".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            quit,
            thread: Some(thread),
        })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was caught and reported; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// A model that is open.
struct OpenModel {
    /// The path that it was opened by.
    path: Option<PathBuf>,
    info: Arc<ModelInfo>,
    model: Box<dyn Model>,
}

impl OpenModel {
    /// Makes the sound of a job; `watch` is given the steps in which it emerges, where somebody looks on.
    fn make(
        &mut self,
        job: &Job,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
        watch: Option<&mut (dyn FnMut(Emerging) + Send)>,
    ) -> Result<StoredSound> {
        let (recipe, init) = (&job.recipe, job.init.clone());
        let rendered = match watch {
            Some(watch) => self
                .model
                .generate_watched(recipe, init, keep_going, watch)?,
            None => self.model.generate(recipe, init, keep_going)?,
        };
        let sound = StoredSound::rendered(job.recipe.clone(), &rendered);
        Ok(self.model.measured(sound.asked(job.asked.clone())))
    }
}

/// The model that is open, if one is, and how others are.
struct Models {
    open: Open,
    known: Known,
    opened: Option<OpenModel>,
}

impl Models {
    /// Opens the model of a project, at its path or where else one of its name and fingerprint is known to be.
    fn open(&self, project: &Project) -> Result<OpenModel> {
        let at = |path: Option<&Path>| -> Result<OpenModel> {
            let model = (self.open)(path)?;
            Ok(OpenModel {
                path: path.map(Path::to_owned),
                info: model.info(),
                model,
            })
        };
        let path = project.model.as_deref();
        let missing = match at(path) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let Some((path, name)) = path.zip(project.model_name.as_ref()) else {
            return Err(missing);
        };
        let elsewhere = (self.known)().into_iter().filter(|known| known != path);
        let mut opened = elsewhere.filter_map(|known| at(Some(&known)).ok());
        opened
            .find(|opened| opened.info.name == *name)
            .ok_or_else(|| Error::setting(format!("{missing}; the project's model is {name}")))
    }

    /// The model of `project`, opened if it is not yet. Where it had moved, the project has its new path.
    fn of(
        &mut self,
        project: &mut Arc<Project>,
        store: &Store,
        status: &Status,
    ) -> Result<&mut OpenModel> {
        self.opened.take_if(|opened| opened.path != project.model);
        if self.opened.is_none() {
            // Whether this opens or not, the last model is no longer the project's.
            status.set_model(None);
            status.set_notice(None);
            let model = self.open(project)?;
            let name = &model.info.name;
            if let Some((path, found)) = project.model.as_deref().zip(model.path.as_deref()) {
                let notice = match &project.model_name {
                    _ if path != found => {
                        Some(format!("the project's model is {} now", found.display()))
                    }
                    Some(before) if before != name => Some(format!(
                        "the model at {} is {name}, and was {before}",
                        path.display()
                    )),
                    _ => None,
                };
                status.set_notice(notice);
                store.found_model(path, found, name);
                *project = store.project();
            }
            status.set_model(Some(model.info.clone()));
            self.opened = Some(model);
        }
        Ok(self.opened.as_mut().expect("it was opened"))
    }
}

struct Worker {
    store: Arc<Store>,
    status: Arc<Status>,
    models: Models,
    read: Read,
    quit: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self) {
        while !self.quit.load(Ordering::Acquire) {
            self.store.free_unused();
            let reopen = self.status.take_open_model();
            let request = self.store.next();
            if !reopen && request.is_none() {
                // A request that waits to be dated comes first, too.
                if self.store.newest() == 0 && self.explore() {
                    continue;
                }
                // Older projects may bring many: requests need not wait for all of them.
                if !self.store.pack_one() {
                    std::thread::park_timeout(LOOK);
                }
                continue;
            }
            // A host must survive whatever happens here.
            let answer = catch_unwind(AssertUnwindSafe(|| {
                if reopen {
                    self.models.opened = None;
                }
                match &request {
                    Some(request) => self.answer(request),
                    None => {
                        let mut project = self.store.project();
                        let models = &mut self.models;
                        models.of(&mut project, &self.store, &self.status).map(drop)
                    }
                }
            }));
            let answer = answer.unwrap_or_else(|_| {
                self.models.opened = None;
                Err(Error::setting("the model failed; it will be loaded again"))
            });
            match answer {
                Ok(()) => self.status.set_trouble(None),
                Err(Error::Stopped) => {}
                Err(error) => {
                    nice_error!("no sound: {error}");
                    self.status.set_trouble(Some(error.to_string()));
                    if let Some(request) = &request {
                        self.store.settle(request);
                    }
                }
            }
        }
    }

    /// Makes one of the sounds that are wanted beside those of pads. Returns whether there was one.
    fn explore(&mut self) -> bool {
        let store = self.store.clone();
        let map = store.map();
        let of_map = map.as_deref().filter(|map| self.has(map.model()));
        let of_one: [&dyn Series; FOR_ONE] = [store.ring(), store.morphing()];
        let mut all = of_one.to_vec();
        all.extend(of_map.map(|map| map as &dyn Series));
        let mut found = all.iter().enumerate();
        let found = found.find_map(|(at, series)| Some((at, series.next()?)));
        let Some((at, wanted)) = found else {
            return false;
        };
        let (before, series) = (&all[..at], all[at]);
        // Nobody waits for a map.
        let _haste = (at < FOR_ONE).then(Haste::begin);
        let made = catch_unwind(AssertUnwindSafe(|| {
            self.make_wanted(series, &wanted, before)
        }));
        let made = made.unwrap_or_else(|_| {
            self.models.opened = None;
            Err(Error::setting("the model failed; it will be loaded again"))
        });
        match made {
            Ok(()) => {}
            Err(Error::Stopped) => series.give_up(&wanted),
            Err(error) => {
                nice_error!("no sound to choose from: {error}");
                series.fail(&wanted, error.to_string());
            }
        }
        self.status.changed();
        true
    }

    /// Whether this model is the project's, and open.
    fn has(&self, model: &ModelInfo) -> bool {
        let opened = self.models.opened.as_ref();
        let path = self.store.project().model.clone();
        opened.is_some_and(|opened| opened.path == path && opened.info.name == model.name)
    }

    /// Makes a sound that is no pad's, as long as no pad waits for one, nor any of the series `before`.
    fn make_wanted(
        &mut self,
        series: &dyn Series,
        wanted: &Wanted,
        before: &[&dyn Series],
    ) -> Result<()> {
        let mut project = self.store.project();
        let Self {
            store,
            status,
            models,
            quit,
            ..
        } = self;
        let model = models.of(&mut project, store, status)?;
        // Whoever edits the project meanwhile need not copy it.
        drop(project);
        let job = wanted.job(&model.info)?;
        let mut keep_going = |done: f32| {
            series.set_done(wanted, done);
            status.changed();
            let is_first = store.newest() == 0 && before.iter().all(|it| it.next().is_none());
            match is_first && series.is_wanted(wanted) && !quit.load(Ordering::Acquire) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let mut watch = |step| {
            series.emerge(wanted, step);
            status.changed();
        };
        let watch = status.is_watched().then_some(&mut watch as _);
        let sound = model.make(&job, &mut keep_going, watch)?;
        series.finish(wanted, sound);
        Ok(())
    }

    /// Makes the sound of `request`.
    fn answer(&mut self, request: &Request) -> Result<()> {
        let (mut project, pad) = (self.store.project(), request.pad);
        let Self {
            store,
            status,
            models,
            read,
            quit,
        } = self;
        let model = models.of(&mut project, store, status)?;
        let info = &model.info;
        let jobs = read(info, request, &project)?;
        let is_new = |job: &Job| {
            project.sound(pad).is_none_or(|sound| match request.task {
                Task::Follow => !sound.came_of(&job.asked, &job.recipe),
                _ => sound.recipe() != &job.recipe,
            })
        };
        if !jobs.iter().any(is_new) {
            // Locked, or made already: the same recipe makes the same sound.
            store.settle(request);
            return Ok(());
        }
        status.begin(pad);
        let mut made = Vec::with_capacity(jobs.len());
        for (i, job) in jobs.iter().enumerate() {
            let mut keep_going = |done: f32| {
                status.set_done(pad, (i as f32 + done) / jobs.len() as f32);
                if quit.load(Ordering::Acquire) || !store.is_wanted(request) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let mut watch = |step| status.emerge(pad, step);
            let watch = (i == 0 && status.is_watched()).then_some(&mut watch as _);
            made.push(model.make(job, &mut keep_going, watch)?);
        }
        match project.sound(pad) {
            Some(own) if request.task == Task::Takes => store.finish_takes(request, own, made),
            _ => made
                .into_iter()
                .for_each(|sound| store.finish(request, sound)),
        }
        status.set_done(pad, 1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use audiodiff::audio::Clip;
    use audiodiff::render::Remark;
    use nice_plug::params::persist::PersistentField;

    use super::*;
    use crate::pad::PADS;
    use crate::portrait::Ranges;
    use crate::store::{Inbox, ProjectField};
    use crate::stored::tests::{asked, recipe};
    use crate::undo::Direction;
    use crate::voice::Takes;

    const PAD: usize = 5;

    /// Works in steps that the test allows one by one; its clip is its seed in every sample.
    struct Double {
        steps: Receiver<()>,
        started: Sender<u64>,
    }

    impl Model for Double {
        fn info(&self) -> Arc<ModelInfo> {
            Arc::new(ModelInfo {
                name: "test".into(),
                labels: vec!["kick".into()],
                own_steps: 4,
                most_steps: 4,
                ranges: Ranges::default(),
            })
        }

        fn generate(
            &mut self,
            recipe: &SoundRecipe,
            init: Option<Init>,
            keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
        ) -> Result<Rendered> {
            self.started.send(recipe.seed).unwrap();
            match recipe.seed {
                13 => panic!("unlucky"),
                404 => return Err(Error::setting("seed: expected another, found 404")),
                _ => {}
            }
            for step in 1..=4 {
                self.steps.recv().unwrap();
                if keep_going(step as f32 / 4.0).is_break() {
                    return Err(Error::Stopped);
                }
            }
            let first = |clip: &Clip| clip.channels()[0][0];
            let begun = match &init {
                None => 0.0,
                Some(Init::Vary { clip, .. } | Init::Inpaint { clip, .. }) => first(clip) / 2.0,
                Some(Init::Morph { clips, .. }) => first(&clips[0]) * first(&clips[1]),
                Some(other) => unreachable!("the pads ask for none such: {other:?}"),
            };
            let value = recipe.seed as f32 + begun;
            let (asked, taken) = (recipe.steps as usize, 4);
            Ok(Rendered {
                clip: Clip::new(100, vec![vec![value; 10]]),
                class: recipe.class.clone(),
                steps: taken,
                remarks: vec![Remark::Steps { asked, taken }],
            })
        }
    }

    struct Bench {
        store: Arc<Store>,
        inbox: Inbox,
        status: Arc<Status>,
        seed: Arc<AtomicU64>,
        steps: Sender<()>,
        started: Receiver<u64>,
        generator: Option<Generator>,
    }

    fn bench() -> Bench {
        let ((store, inbox), status) = (Store::new(), Arc::new(Status::default()));
        store.set_sample_rate(100);
        let seed = Arc::new(AtomicU64::new(1));
        let (steps, step_receiver) = channel();
        let (start_sender, started) = channel();
        let parts = Mutex::new(Some((step_receiver, start_sender)));
        let stash = Arc::new(parts);
        let open: Open = Box::new(move |path| {
            if path.is_some_and(|path| !path.starts_with("/moved")) {
                let path = path.unwrap_or(Path::new("")).display();
                return Err(Error::setting(format!("no model at {path}")));
            }
            let (steps, started) = stash
                .lock()
                .unwrap()
                .take()
                .ok_or(Error::setting("opened twice"))?;
            Ok(Box::new(Double { steps, started }) as Box<dyn Model>)
        });
        let wanted = seed.clone();
        let read: Read = Box::new(move |info, request, project| {
            assert_eq!(info.labels, ["kick"]);
            let seed = request.seed.map(|seed| seed as u64);
            let recipe = recipe(seed.unwrap_or_else(|| wanted.load(Ordering::SeqCst)));
            let sound = |pad| project.sound(pad).map(|sound| sound.clip());
            let init = match request.task {
                Task::Generate | Task::Follow => None,
                Task::Vary | Task::Takes => sound(PAD).map(|clip| Init::Vary {
                    clip,
                    strength: 0.5,
                }),
                Task::Morph => sound(PAD).zip(sound(PAD)).map(|(a, b)| Init::Morph {
                    clips: [a, b],
                    fraction: 0.5,
                }),
            };
            // What is asked is told by the seed; pad 9 is locked.
            let asked = asked(recipe.seed as i32);
            let job = |take: u64| {
                let mut recipe = recipe.clone();
                recipe.seed += take;
                let (init, asked) = (init.clone(), asked.clone());
                Job {
                    recipe,
                    init,
                    asked,
                }
            };
            let jobs = if request.task == Task::Takes { 3 } else { 1 };
            let jobs = if request.pad == 9 { 0 } else { jobs };
            Ok((0..jobs).map(job).collect())
        });
        let known = || vec!["/gone".into(), "/other".into(), "/moved/model".into()];
        let generator =
            Some(Generator::start(store.clone(), status.clone(), open, known, read).unwrap());
        Bench {
            store,
            inbox,
            status,
            seed,
            steps,
            started,
            generator,
        }
    }

    impl Bench {
        fn ask(&self, seed: u64) {
            let gesture = self.store.gesture();
            let seed = seed as i32;
            self.store.ask_with(gesture, PAD, Task::Generate, seed);
        }

        fn step(&self, n: usize) {
            (0..n).for_each(|_| self.steps.send(()).unwrap());
        }

        fn started(&self) -> u64 {
            self.started.recv_timeout(Duration::from_secs(10)).unwrap()
        }

        fn settled(&self) {
            let start = Instant::now();
            while self.store.newest() > 0 {
                assert!(start.elapsed() < Duration::from_secs(10), "no answer");
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        fn heard(&self) -> Vec<f32> {
            let project = self.store.project();
            project.sound(PAD).unwrap().clip().channels()[0].clone()
        }

        fn sound(&self) -> Option<u64> {
            let project = self.store.project();
            project.sound(PAD).map(|sound| sound.recipe().seed)
        }
    }

    #[test]
    fn a_request_becomes_a_clip_and_a_variation_begins_with_it() {
        let mut bench = bench();
        bench.inbox.take(|_, _| {});
        bench.ask(5);
        assert_eq!(bench.started(), 5);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.sound(), Some(5));
        assert_eq!(bench.heard(), [5.0; 10]);
        let remarks = bench.store.project().sound(PAD).unwrap().remarks().to_vec();
        assert!(remarks[0].contains("8 asked, 4 taken"), "{remarks:?}");
        assert_eq!(
            (bench.status.done(PAD), bench.status.trouble()),
            (1.0, None)
        );
        let mut taken = Vec::new();
        bench
            .inbox
            .take(|pad, sound| taken.push((pad, sound.is_some())));
        assert_eq!(taken, [(PAD, true)]);
        bench.seed.store(6, Ordering::SeqCst);
        bench.store.ask(PAD, Task::Vary);
        assert_eq!(bench.started(), 6);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.heard(), [8.5; 10]);
        bench.seed.store(7, Ordering::SeqCst);
        bench.store.ask(PAD, Task::Morph);
        assert_eq!(bench.started(), 7);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.heard(), [7.0 + 8.5 * 8.5; 10]);
    }

    #[test]
    fn a_model_is_opened_when_it_is_wanted_and_changed_when_the_project_says_so() {
        let bench = bench();
        assert_eq!(bench.status.model(), None);
        let wait = |what: &str, is: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !is() {
                assert!(start.elapsed() < Duration::from_secs(10), "{what}");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        bench.status.open_model();
        wait("opened", &|| bench.status.model().is_some());
        bench.store.set_model(Some("/gone".into()));
        bench.status.open_model();
        wait("named", &|| {
            bench.status.trouble().is_some_and(|t| t.contains("/gone"))
        });
        assert_eq!(bench.status.model(), None);
        // It is told again when a sound is asked for, which is then no longer waited for.
        bench.ask(3);
        bench.settled();
        assert_eq!(bench.sound(), None);
    }

    #[test]
    fn takes_come_together_and_go_with_the_sound_that_they_are_takes_of() {
        let mut bench = bench();
        bench.ask(5);
        bench.started();
        bench.step(4);
        bench.settled();
        bench.inbox.take(|_, _| {});
        bench.seed.store(20, Ordering::SeqCst);
        bench.store.ask(PAD, Task::Takes);
        for seed in [20, 21, 22] {
            assert_eq!(bench.started(), seed);
            assert!(bench.store.project().takes[PAD].is_empty());
            bench.step(4);
        }
        bench.settled();
        let project = bench.store.project();
        let seeds = |project: &Project| -> Vec<u64> {
            let takes = project.takes[PAD].iter();
            takes.map(|take| take.recipe().seed).collect()
        };
        assert_eq!(
            (bench.sound(), seeds(&project)),
            (Some(5), vec![20, 21, 22])
        );
        assert_eq!(bench.inbox.kit().pads[PAD].take, Takes::RoundRobin);
        let mut counts = Vec::new();
        bench
            .inbox
            .take(|pad, sounds| counts.push((pad, sounds.unwrap().count())));
        assert_eq!(counts, [(PAD, 4)]);
        // They are saved, and undone in one step.
        let text = serde_json::to_string(&*project).unwrap();
        let again: Project = serde_json::from_str(&text).unwrap();
        assert_eq!(again, *project);
        let no_value = |value| panic!("no parameter was changed: {value:?}");
        bench.store.undo(Direction::Back, no_value);
        let undone = bench.store.project();
        assert_eq!((bench.sound(), seeds(&undone)), (Some(5), vec![]));
        assert_eq!(undone.settings[PAD].playing.take, Takes::First);
        bench.store.undo(Direction::Forth, no_value);
        assert_eq!(seeds(&bench.store.project()), [20, 21, 22]);
        bench.ask(6);
        bench.started();
        bench.step(4);
        bench.settled();
        assert!(seeds(&bench.store.project()).is_empty());
    }

    #[test]
    fn a_model_that_has_moved_is_found_by_its_name() {
        let bench_of = |text: &str| {
            let bench = bench();
            ProjectField(bench.store.clone()).set(serde_json::from_str(text).unwrap());
            let start = Instant::now();
            while bench.status.model().is_none() && bench.status.trouble().is_none() {
                assert!(start.elapsed() < Duration::from_secs(10));
                std::thread::sleep(Duration::from_millis(1));
            }
            bench
        };
        let bench = bench_of("{\"pads\":[],\"model\":\"/gone\",\"model_name\":\"test\"}");
        let project = bench.store.project();
        assert_eq!(project.model.as_deref(), Some(Path::new("/moved/model")));
        assert!(bench.status.notice().unwrap().contains("/moved/model"));
        // One of another name is not it.
        let other = bench_of("{\"pads\":[],\"model\":\"/gone\",\"model_name\":\"best\"}");
        let trouble = other.status.trouble().unwrap();
        assert!(
            trouble.contains("/gone") && trouble.contains("best"),
            "{trouble}"
        );
        assert_eq!(
            other.store.project().model.as_deref(),
            Some(Path::new("/gone"))
        );
    }

    #[test]
    fn pads_are_served_in_turn_and_locked_ones_left_alone() {
        let bench = bench();
        for pad in [3, 9, 1] {
            bench.store.ask(pad, Task::Generate);
        }
        for _ in 0..2 {
            assert_eq!(bench.started(), 1);
            bench.step(4);
        }
        bench.settled();
        let project = bench.store.project();
        let made = (0..PADS).filter(|&pad| project.sound(pad).is_some());
        assert_eq!(made.collect::<Vec<_>>(), [1, 3]);
        assert!(bench.started.try_recv().is_err());
    }

    #[test]
    fn the_newest_request_wins_and_the_older_is_broken_off() {
        let bench = bench();
        bench.ask(1);
        assert_eq!(bench.started(), 1);
        assert_eq!(bench.status.left(PAD), None, "who knows?");
        bench.step(2);
        bench.ask(2);
        bench.ask(3);
        // The older work looks up at its next step; the newest then needs four of its own.
        bench.step(1);
        assert_eq!(bench.started(), 3);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.sound(), Some(3));
        assert!(
            bench.started.try_recv().is_err(),
            "request 2 was never begun"
        );
    }

    #[test]
    fn a_ring_is_made_when_no_pad_waits_and_goes_on_after_one_that_did() {
        let bench = bench();
        bench.ask(1);
        bench.started();
        bench.step(4);
        bench.settled();
        let centre = bench.store.project().sound(PAD).unwrap().clone();
        let ring = bench.store.ring();
        ring.open(PAD, centre.clone(), asked(1), 0.5);
        let first = bench.started();
        bench.step(4);
        assert_eq!(bench.started(), first + 1);
        assert_eq!(ring.view().unwrap().done[0], 1.0);
        let sound = ring.view().unwrap().sounds[0].clone().unwrap();
        assert_eq!(sound.clip().channels()[0], [first as f32 + 0.5; 10]);
        assert_eq!(sound.recipe().variation, Some(0.3));
        // A pad's request breaks the second off, and is made before it.
        bench.step(2);
        bench.ask(2);
        bench.step(1);
        assert_eq!(bench.started(), 2);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.sound(), Some(2));
        assert_eq!(bench.started(), first + 1);
        bench.step(1);
        // A morph waits for the ring.
        let ends = [&sound, &centre].map(Arc::clone);
        bench.store.morphing().open(PAD, ends, asked(1));
        bench.step(3);
        for seed in first + 2..first + 8 {
            assert_eq!(bench.started(), seed);
            bench.step(4);
        }
        assert_eq!(bench.started(), 1, "of the pad's seed");
        bench.step(4);
        bench.started();
        let view = bench.store.morphing().view().unwrap();
        assert_eq!(view.sounds[4].as_ref().unwrap().recipe().morph, Some(0.5));
        bench.store.morphing().close();
        bench.step(1);
        // What is taken stays when a host writes the trigger.
        bench.store.put_shared(PAD, sound.clone()).unwrap();
        bench.store.ask(PAD, Task::Follow);
        bench.settled();
        let project = bench.store.project();
        assert!(Arc::ptr_eq(project.sound(PAD).unwrap(), &sound));
        assert!(bench.started.try_recv().is_err());
        // What cannot be made is told.
        ring.open(PAD, centre, asked(1), 0.1);
        ring.reroll();
        bench.store.set_model(Some("/gone".into()));
        ring.recentre(0);
        let start = Instant::now();
        while ring.view().unwrap().trouble.is_none() {
            assert!(start.elapsed() < Duration::from_secs(10));
            // Whatever was begun with the model before.
            let _ = bench.steps.send(());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(ring.view().unwrap().trouble.unwrap().contains("/gone"));
    }

    #[test]
    fn a_map_is_made_while_nothing_else_is_wanted() {
        let bench = bench();
        bench.ask(1);
        bench.started();
        bench.step(4);
        bench.settled();
        let model = bench.status.model().unwrap();
        let map = bench.store.open_map(&model).unwrap();
        assert!(Arc::ptr_eq(&map, &bench.store.open_map(&model).unwrap()));
        let first = bench.started();
        bench.step(2);
        let centre = bench.store.project().sound(PAD).unwrap().clone();
        bench.store.ring().open(PAD, centre, asked(1), 0.5);
        bench.step(1);
        for _ in 0..8 {
            assert_ne!(bench.started(), first);
            bench.step(4);
        }
        assert_eq!(bench.started(), first, "it is begun again");
        bench.step(4);
        bench.started();
        let start = Instant::now();
        while map.view().made.0 == 0 {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        // A model that is no longer the project's makes no more of it.
        bench.store.set_model(Some("/moved/other".into()));
        bench.step(4);
        std::thread::sleep(3 * LOOK);
        assert!(bench.started.try_recv().is_err());
    }

    #[test]
    fn asking_again_for_the_same_neither_restarts_nor_repeats() {
        let bench = bench();
        bench.ask(1);
        assert_eq!(bench.started(), 1);
        bench.step(2);
        bench.ask(1);
        bench.step(2);
        bench.settled();
        bench.ask(1);
        bench.settled();
        assert_eq!(bench.sound(), Some(1));
        assert!(bench.started.try_recv().is_err());
    }

    #[test]
    fn a_trigger_replaces_nothing_that_came_of_the_same_parameters() {
        let bench = bench();
        bench.ask(1);
        bench.started();
        bench.step(4);
        bench.settled();
        bench.seed.store(6, Ordering::SeqCst);
        bench.store.ask(PAD, Task::Vary);
        bench.started();
        bench.step(4);
        bench.settled();
        let varied = bench.heard();
        // A host writes the trigger: what was varied stays.
        bench.store.ask(PAD, Task::Follow);
        bench.settled();
        assert_eq!(bench.heard(), varied);
        assert!(bench.started.try_recv().is_err());
        let file = SoundRecipe::of_file("x.wav".as_ref());
        let clip = Clip::new(100, vec![vec![0.25; 10]]);
        let sound = StoredSound::new(file, &clip).asked(asked(6));
        bench.store.put(PAD, sound).unwrap();
        bench.store.ask(PAD, Task::Follow);
        bench.settled();
        assert_eq!(bench.heard().len(), 10);
        assert!(bench.started.try_recv().is_err());
        // Where the parameters are others since, it is made; and by a person's wish in any case.
        bench.seed.store(2, Ordering::SeqCst);
        bench.store.ask(PAD, Task::Follow);
        assert_eq!(bench.started(), 2);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.sound(), Some(2));
    }

    #[test]
    fn sounds_are_packed_before_they_are_saved() {
        let bench = bench();
        for pad in 0..3 {
            let recipe = SoundRecipe::of_file("x.wav".as_ref());
            let clip = Clip::new(100, vec![vec![0.25; 10]]);
            bench
                .store
                .put(pad, StoredSound::new(recipe, &clip))
                .unwrap();
        }
        bench.ask(1);
        bench.step(4);
        bench.settled();
        let start = Instant::now();
        while !bench.store.project().sounds().all(|it| it.is_packed()) {
            assert!(start.elapsed() < Duration::from_secs(10), "not packed");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(bench.store.project().sounds().count(), 4);
        assert!(!bench.store.pack_one());
    }

    #[test]
    fn failures_are_told_and_the_thread_lives_on() {
        let bench = bench();
        bench.ask(404);
        bench.settled();
        assert!(bench.status.trouble().unwrap().contains("found 404"));
        bench.ask(7);
        bench.step(4);
        bench.settled();
        assert_eq!((bench.sound(), bench.status.trouble()), (Some(7), None));
        bench.ask(13);
        bench.settled();
        assert!(bench.status.trouble().unwrap().contains("failed"));
        // The model is lost with the panic, and opened anew.
        bench.ask(8);
        bench.settled();
        assert!(bench.status.trouble().unwrap().contains("opened twice"));
        assert_eq!(bench.sound(), Some(7));
    }

    #[test]
    fn dropping_breaks_off_the_work() {
        let mut bench = bench();
        bench.ask(1);
        assert_eq!(bench.started(), 1);
        let generator = bench.generator.take().unwrap();
        let quit = Arc::clone(&generator.quit);
        let dropping = std::thread::spawn(move || drop(generator));
        while !quit.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        bench.step(1);
        dropping.join().unwrap();
        assert_eq!(bench.sound(), None);
    }
}
