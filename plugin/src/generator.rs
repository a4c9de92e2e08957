//! The background thread of one instance: newest request in, finished clip out.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use audiodiff::audio::Clip;
use audiodiff::{Error, Result};
use nice_plug::prelude::nice_error;

use crate::state::{Recipe, Store};

/// How often the thread looks for requests of the audio thread, which must not wake it: that would
/// be a call into the operating system. Nobody notices it before a sound that takes seconds.
const LOOK: Duration = Duration::from_millis(30);

/// What a model calls itself and its classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    /// The model: its name, and what tells it from others of that name.
    pub model: String,
    /// Its classes, in their order.
    pub labels: Vec<String>,
}

/// What makes sounds: the model, or a double in tests.
pub trait Source: Send {
    /// What it calls itself and its classes; always the same.
    fn names(&self) -> Arc<Names>;

    /// Makes one clip. `keep_going` is told the share that is done, and may break off the work.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it was broken off; else what the recipe asks and the model lacks.
    fn generate(
        &mut self,
        recipe: &Recipe,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
    ) -> Result<Clip>;
}

/// Opens a source. Called on the thread, at the first request: a project that brings its sound
/// loads no model.
pub type Open = Box<dyn Fn() -> Result<Box<dyn Source>> + Send>;

/// Reads from the parameters what to make of a model with these names.
pub type Read = Box<dyn Fn(&Names) -> Result<Recipe> + Send + Sync>;

/// How the work goes, for whoever wants to show it.
#[derive(Debug, Default)]
pub struct Status {
    /// What the model calls itself and its classes, once it is open.
    pub names: OnceLock<Arc<Names>>,
    done: AtomicU32,
    trouble: Mutex<Option<String>>,
}

impl Status {
    /// Share of the present request that is done, in `0..=1`.
    pub fn done(&self) -> f32 {
        f32::from_bits(self.done.load(Ordering::Relaxed))
    }

    /// Why the last request gave no sound.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_done(&self, done: f32) {
        self.done.store(done.to_bits(), Ordering::Relaxed);
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

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
        read: Read,
    ) -> std::io::Result<Self> {
        let quit = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            store,
            status,
            open,
            read,
            source: None,
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

struct Worker {
    store: Arc<Store>,
    status: Arc<Status>,
    open: Open,
    read: Read,
    source: Option<Box<dyn Source>>,
    quit: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self) {
        while !self.quit.load(Ordering::Acquire) {
            let Some(request) = self.store.pending() else {
                self.store.free_unused();
                std::thread::park_timeout(LOOK);
                continue;
            };
            // A host must survive whatever happens here.
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(request)));
            let answer = answer.unwrap_or_else(|_| {
                self.source = None;
                Err(Error::setting("the model failed; it will be loaded again"))
            });
            match answer {
                Ok(()) => self.status.set_trouble(None),
                Err(Error::Stopped) => {}
                Err(error) => {
                    nice_error!("no sound: {error}");
                    self.status.set_trouble(Some(error.to_string()));
                    self.store.settle(request);
                }
            }
        }
    }

    /// Makes what `request`, or a newer one with the same recipe, asks for.
    fn answer(&mut self, mut request: u64) -> Result<()> {
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert((self.open)()?),
        };
        let names = self.status.names.get_or_init(|| source.names());
        let recipe = (self.read)(names)?;
        if self
            .store
            .project()
            .sound
            .as_ref()
            .is_some_and(|sound| *sound.recipe() == recipe)
        {
            // The same recipe makes the same sound; it is there already.
            self.store.settle(request);
            return Ok(());
        }
        self.status.set_done(0.0);
        let (store, status, read, quit) = (&self.store, &self.status, &self.read, &self.quit);
        let clip = source.generate(&recipe, &mut |done| {
            status.set_done(done);
            let newest = store.pending();
            if newest != Some(request) {
                match newest {
                    Some(newer) if read(names).is_ok_and(|newer| newer == recipe) => {
                        request = newer
                    }
                    _ => return ControlFlow::Break(()),
                }
            }
            if quit.load(Ordering::Acquire) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        self.store.finish(request, recipe, &clip);
        self.status.set_done(1.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;
    use crate::state::tests::recipe;

    /// Works in steps that the test allows one by one; its clip is its seed in every sample.
    struct Double {
        steps: Receiver<()>,
        started: Sender<u64>,
    }

    impl Source for Double {
        fn names(&self) -> Arc<Names> {
            Arc::new(Names {
                model: "test".into(),
                labels: vec!["kick".into()],
            })
        }

        fn generate(
            &mut self,
            recipe: &Recipe,
            keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
        ) -> Result<Clip> {
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
            Ok(Clip::new(100, vec![vec![recipe.seed as f32; 10]]))
        }
    }

    struct Bench {
        store: Arc<Store>,
        status: Arc<Status>,
        seed: Arc<AtomicU64>,
        steps: Sender<()>,
        started: Receiver<u64>,
        generator: Option<Generator>,
    }

    fn bench() -> Bench {
        let (store, status) = (Arc::new(Store::default()), Arc::new(Status::default()));
        store.set_sample_rate(100);
        let seed = Arc::new(AtomicU64::new(1));
        let (steps, step_receiver) = channel();
        let (start_sender, started) = channel();
        let parts = Mutex::new(Some((step_receiver, start_sender)));
        let stash = Arc::new(parts);
        let open: Open = Box::new(move || {
            let (steps, started) = stash
                .lock()
                .unwrap()
                .take()
                .ok_or(Error::setting("opened twice"))?;
            Ok(Box::new(Double { steps, started }) as Box<dyn Source>)
        });
        let wanted = seed.clone();
        let read: Read = Box::new(move |names| {
            assert_eq!(names.labels, ["kick"]);
            Ok(recipe(wanted.load(Ordering::SeqCst)))
        });
        let generator = Some(Generator::start(store.clone(), status.clone(), open, read).unwrap());
        Bench {
            store,
            status,
            seed,
            steps,
            started,
            generator,
        }
    }

    impl Bench {
        fn ask(&self, seed: u64) {
            self.seed.store(seed, Ordering::SeqCst);
            self.store.ask();
        }

        fn step(&self, n: usize) {
            (0..n).for_each(|_| self.steps.send(()).unwrap());
        }

        fn started(&self) -> u64 {
            self.started.recv_timeout(Duration::from_secs(10)).unwrap()
        }

        fn settled(&self) {
            let start = Instant::now();
            while self.store.pending().is_some() {
                assert!(start.elapsed() < Duration::from_secs(10), "no answer");
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        fn sound(&self) -> Option<u64> {
            self.store
                .project()
                .sound
                .as_ref()
                .map(|sound| sound.recipe().seed)
        }
    }

    #[test]
    fn a_request_becomes_a_clip() {
        let bench = bench();
        assert!(bench.store.take().is_none());
        bench.ask(5);
        assert_eq!(bench.started(), 5);
        bench.step(4);
        bench.settled();
        assert_eq!(bench.sound(), Some(5));
        assert_eq!(
            bench
                .store
                .project()
                .sound
                .as_ref()
                .unwrap()
                .clip()
                .channels(),
            [vec![5.0; 10]]
        );
        assert!(bench.store.take().is_some());
        assert_eq!((bench.status.done(), bench.status.trouble()), (1.0, None));
    }

    #[test]
    fn the_newest_request_wins_and_the_older_is_broken_off() {
        let bench = bench();
        bench.ask(1);
        assert_eq!(bench.started(), 1);
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
        // The source is lost with the panic, and opened anew.
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
        let generator = bench.generator.take();
        let dropping = std::thread::spawn(move || drop(generator));
        std::thread::sleep(Duration::from_millis(20));
        bench.step(1);
        dropping.join().unwrap();
        assert_eq!(bench.sound(), None);
    }
}
