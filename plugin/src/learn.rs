//! Learning a folder of the user's sounds, in the background.
//!
//! The work is the library's fine-tuning, as `audiodiff train FOLDER --minutes N` does it: the same labels, split, first
//! weights and numbers. All of it, from decoding to demo sounds, is done by a pool of its own whose threads come after
//! those that make sounds. At every moment it can be broken off within a fraction of a second, and what was learnt is
//! saved: a [`Learning`] that is dropped goes on later as if nothing had been.

mod curve;
mod lesson;
mod run;
mod view;

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use audiodiff::train::Length;
use audiodiff::{Error, Result};
use nice_plug::prelude::{nice_error, nice_warn};
use nice_plug_egui::RepaintNotifier;

use crate::settings::Settings;
#[cfg(test)]
use crate::stored::StoredSound;
use lesson::Lesson;
use run::{Note, Run};

pub use run::Unfinished;
pub use view::{LearningClass, LearningState, LearningView, LeftOut};

/// Minutes that a user may well choose: from a first impression to a night.
pub const MINUTES: [f64; 5] = [5.0, 15.0, 30.0, 60.0, 240.0];

/// Most minutes: a week.
const MOST_MINUTES: f64 = 7.0 * 24.0 * 60.0;

/// What else is asked of a learning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LearningOptions {
    /// The file of the model to go on from. Without one it is the built-in model, or no model for thousands of sounds, as
    /// the library decides.
    pub from: Option<PathBuf>,
    /// Name of the new model; none for that of the folder.
    pub name: Option<String>,
}

/// Where learnings are kept, and who hears of a model that can be used.
#[derive(Debug, Clone)]
struct Home {
    /// The folder of all run folders.
    learned: PathBuf,
    remember: fn(&Path),
}

impl Home {
    /// The user's.
    fn own() -> Result<Self> {
        let data = dirs::data_local_dir().ok_or_else(|| {
            Error::setting("expected a folder for data of this user to keep models in, found none")
        })?;
        Ok(Self {
            learned: data.join("audiodiff").join("learned"),
            remember: |model| {
                let mut settings = Settings::load();
                settings.remember(model);
                if let Err(error) = settings.save() {
                    nice_warn!("the model is not in the list: {error}");
                }
            },
        })
    }
}

/// A folder that is being learnt, or was. Dropping it breaks the work off, saves what was learnt and waits for all of its
/// threads, which takes a fraction of a second; the run is then [unfinished](Learning::unfinished).
///
/// Its methods but [`unfinished`](Learning::unfinished) take no time worth speaking of: a window may call them with every
/// frame.
#[derive(Debug)]
pub struct Learning {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Learning {
    /// Begins to learn the sounds below `folder`, for so many minutes of work.
    ///
    /// What is wrong with the folder is found when it is read, and told by [`LearningState::Failed`].
    ///
    /// # Errors
    /// When there is no such folder, the minutes are no number above 0, another learning is at work in this process, or
    /// the run folder cannot be made.
    pub fn begin(folder: &Path, minutes: f64, options: LearningOptions) -> Result<Self> {
        Self::begin_for(folder, minutes, options, RepaintNotifier::default())
    }

    fn begin_for(
        folder: &Path,
        minutes: f64,
        options: LearningOptions,
        repaint: RepaintNotifier,
    ) -> Result<Self> {
        if !(minutes > 0.0 && minutes <= MOST_MINUTES) {
            return Err(Error::setting(format!(
                "minutes: expected more than 0, at most {MOST_MINUTES}, found {minutes}"
            )));
        }
        Self::begin_at(
            Home::own()?,
            folder,
            Length::Minutes(minutes),
            options,
            repaint,
        )
    }

    fn begin_at(
        home: Home,
        folder: &Path,
        length: Length,
        options: LearningOptions,
        repaint: RepaintNotifier,
    ) -> Result<Self> {
        let mut turn = Turn::take()?;
        let run = Run::begin(&home.learned, Note::new(folder, length, options)?)?;
        turn.is_for(&run);
        let empty = run.clone();
        Self::start(turn, home, run, repaint).inspect_err(|_| empty.remove_unbegun())
    }

    /// The learnings that were broken off and can go on, the last first. It looks into files: not for every frame.
    #[must_use]
    pub fn unfinished() -> Vec<Unfinished> {
        Home::own().map_or_else(|_| Vec::new(), |home| Self::unfinished_at(&home))
    }

    fn unfinished_at(home: &Home) -> Vec<Unfinished> {
        let at_work = lock(&AT_WORK).clone();
        run::unfinished(&home.learned, at_work.as_deref())
    }

    /// Goes on with a learning that was broken off, exactly as if it had not been.
    ///
    /// # Errors
    /// When another learning is at work in this process, or the run is no longer there.
    pub fn go_on(unfinished: &Unfinished) -> Result<Self> {
        Self::go_on_for(unfinished, RepaintNotifier::default())
    }

    fn go_on_for(unfinished: &Unfinished, repaint: RepaintNotifier) -> Result<Self> {
        Self::go_on_at(Home::own()?, unfinished, repaint)
    }

    fn go_on_at(home: Home, unfinished: &Unfinished, repaint: RepaintNotifier) -> Result<Self> {
        let mut turn = Turn::take()?;
        let run = Run::open(&unfinished.run)?;
        turn.is_for(&run);
        Self::start(turn, home, run, repaint)
    }

    fn start(turn: Turn, home: Home, run: Run, repaint: RepaintNotifier) -> Result<Self> {
        let shared = Arc::new(Shared::new(LearningView::of(&run), repaint));
        let own = shared.clone();
        let thread = std::thread::Builder::new()
            .name("audiodiff-learn".into())
            .spawn(move || {
                let _turn = turn;
                own.work(&home, &run);
            })
            .map_err(|error| Error::setting(format!("no thread to learn on: {error}")))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// How it goes.
    #[must_use]
    pub fn view(&self) -> Arc<LearningView> {
        lock(&self.shared.view).clone()
    }

    /// Rests within a moment: no core works on it until [`resume`](Learning::resume). What was learnt is saved.
    pub fn pause(&self) {
        self.shared.wish(Wish::Pause);
    }

    /// Goes on after [`pause`](Learning::pause).
    pub fn resume(&self) {
        self.shared.wish(Wish::Work);
    }

    /// Ends it and keeps what was learnt: where there is a model by then, it can be used, and the run can go on later.
    pub fn cancel(&self) {
        self.shared.wish(Wish::Cancel);
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        self.shared.wish(Wish::Leave);
        if let Some(thread) = self.thread.take() {
            // A panic there was caught and reported; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// The learning of an instance, of which there is one at most, whatever its window does. Methods as those of
/// [`Learning`]; where there is none, they do nothing.
#[derive(Debug, Default)]
pub struct Learner {
    current: Mutex<Option<Learning>>,
    repaint: RepaintNotifier,
}

impl Learner {
    /// Of an instance whose window is told by `repaint` that there is something new to draw.
    #[must_use]
    pub fn new(repaint: RepaintNotifier) -> Self {
        let current = Mutex::default();
        Self { current, repaint }
    }

    /// Begins a learning in place of one that has ended.
    ///
    /// # Errors
    /// As [`Learning::begin`].
    pub fn begin(&self, folder: &Path, minutes: f64, options: LearningOptions) -> Result<()> {
        let learning = Learning::begin_for(folder, minutes, options, self.repaint.clone())?;
        *lock(&self.current) = Some(learning);
        Ok(())
    }

    /// Goes on with one that was broken off, in place of one that has ended.
    ///
    /// # Errors
    /// As [`Learning::go_on`].
    pub fn go_on(&self, unfinished: &Unfinished) -> Result<()> {
        let learning = Learning::go_on_for(unfinished, self.repaint.clone())?;
        *lock(&self.current) = Some(learning);
        Ok(())
    }

    /// How the learning goes; none before the first, and after [`close`](Learner::close).
    #[must_use]
    pub fn view(&self) -> Option<Arc<LearningView>> {
        lock(&self.current).as_ref().map(Learning::view)
    }

    /// As [`Learning::pause`].
    pub fn pause(&self) {
        self.tell(Learning::pause);
    }

    /// As [`Learning::resume`].
    pub fn resume(&self) {
        self.tell(Learning::resume);
    }

    /// As [`Learning::cancel`].
    pub fn cancel(&self) {
        self.tell(Learning::cancel);
    }

    /// Breaks off what goes on, saved and to be gone on with later, and forgets it. It waits for the threads.
    pub fn close(&self) {
        let learning = lock(&self.current).take();
        drop(learning);
    }

    fn tell(&self, what: impl Fn(&Learning)) {
        if let Some(learning) = &*lock(&self.current) {
            what(learning);
        }
    }
}

/// The right to learn, of which a process has one.
struct Turn(());

/// The run folder of the learning in this process, if there is one; empty before it has one.
static AT_WORK: Mutex<Option<PathBuf>> = Mutex::new(None);

impl Turn {
    fn take() -> Result<Self> {
        let mut at_work = lock(&AT_WORK);
        if at_work.is_some() {
            return Err(Error::setting(
                "another folder is being learnt, here or in another instance: wait for its end, or cancel it",
            ));
        }
        *at_work = Some(PathBuf::new());
        Ok(Self(()))
    }

    fn is_for(&mut self, run: &Run) {
        *lock(&AT_WORK) = Some(run.path.clone());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&AT_WORK) = None;
    }
}

/// What a learning is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Work,
    Pause,
    /// End, with a model if there is one.
    Cancel,
    /// End at once: the instance or the process ends.
    Leave,
}

/// What a learning and its thread share.
#[derive(Debug)]
struct Shared {
    view: Mutex<Arc<LearningView>>,
    wish: Mutex<Wish>,
    is_new: Condvar,
    /// Whether to break off: networks look at it between two of their operations.
    stop: Arc<AtomicBool>,
    repaint: RepaintNotifier,
}

impl Shared {
    fn new(view: LearningView, repaint: RepaintNotifier) -> Self {
        Self {
            view: Mutex::new(Arc::new(view)),
            wish: Mutex::new(Wish::Work),
            is_new: Condvar::new(),
            stop: Arc::default(),
            repaint,
        }
    }

    fn wish(&self, wish: Wish) {
        let mut held = lock(&self.wish);
        // There is no way back from an end.
        if *held < Wish::Cancel || wish > *held {
            *held = wish;
        }
        if *held != Wish::Work {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.is_new.notify_all();
    }

    /// Takes the stop back, unless it is wished still. Only here: who was broken off must know it, however soon the next
    /// wish came.
    fn set_off(&self) {
        let held = lock(&self.wish);
        self.stop.store(*held != Wish::Work, Ordering::Relaxed);
    }

    fn wished(&self) -> Wish {
        *lock(&self.wish)
    }

    fn flow(&self) -> ControlFlow<()> {
        match self.wished() {
            Wish::Work => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    /// Waits as long as it is to pause, and shows that. Returns whether to work on.
    fn rest(&self) -> ControlFlow<()> {
        let mut held = lock(&self.wish);
        if *held == Wish::Pause {
            let before = lock(&self.view).state.clone();
            self.show(|view| view.state = LearningState::Paused);
            while *held == Wish::Pause {
                held = (self.is_new.wait(held)).unwrap_or_else(PoisonError::into_inner);
            }
            self.show(|view| view.state = before);
        }
        match *held {
            Wish::Work => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn show(&self, change: impl FnOnce(&mut LearningView)) {
        change(Arc::make_mut(&mut lock(&self.view)));
        self.repaint.request_repaint();
    }

    /// The whole of the thread's work. A host must survive whatever happens here.
    fn work(&self, home: &Home, run: &Run) {
        let lesson = AssertUnwindSafe(|| {
            let ended = Lesson { shared: self, run }.learn();
            self.end(home, run, ended)
        });
        let state = catch_unwind(lesson).unwrap_or_else(|_| {
            LearningState::Failed("learning broke down; what was saved before can go on".into())
        });
        if let LearningState::Failed(sentence) = &state {
            nice_error!("nothing learnt: {sentence}");
            run.remove_unbegun();
        }
        self.show(|view| {
            view.state = state;
            view.time_left = None;
        });
    }

    /// What becomes of a run that ended so.
    fn end(&self, home: &Home, run: &Run, ended: Result<()>) -> LearningState {
        let kept = match (ended, self.wished()) {
            (Ok(()), _) => run
                .finish()
                .map(|model| (LearningState::Finished, Some(model))),
            (Err(Error::Stopped), Wish::Cancel) => {
                let model = run.has_model().then(|| run.publish()).transpose();
                model.map(|model| (LearningState::Stopped, model))
            }
            (Err(Error::Stopped), _) => return LearningState::Stopped,
            (Err(error), _) => Err(error),
        };
        match kept {
            Ok((state, model)) => {
                match &model {
                    Some(model) => (home.remember)(model),
                    None => run.remove_unbegun(),
                }
                self.show(|view| view.model = model);
                state
            }
            Err(error) => LearningState::Failed(error.to_string()),
        }
    }
}

/// Every value behind these locks is replaced whole, so it is valid even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
