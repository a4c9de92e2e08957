//! The thread that opens the project and keeps it saved, whether the window is drawn or not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audiodiff::{Error, Result};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use nice_plug::prelude::{PluginState, nice_warn};

use super::project_file::{Opened, ProjectFile};
use crate::display::Display;

/// The time between two looks at whether the project has changed.
const SAVES: Duration = Duration::from_secs(5);

/// The time between two looks at the system's signals and the audio thread.
const LOOK: Duration = Duration::from_millis(200);

/// How long a device may take to begin, or to pause.
const PATIENCE: Duration = Duration::from_secs(4);

type Get = Box<dyn Fn() -> PluginState + Send>;
type Set = Box<dyn Fn(PluginState) + Send>;

/// Keeps the project of this process while it lives, and saves it at its end.
#[derive(Debug)]
pub(super) struct Keeper {
    /// None once it is to end.
    orders: Option<Sender<Sender<Result<()>>>>,
    news: Receiver<String>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Opens the project, by `set`, as soon as the audio thread runs, which takes it; then saves what `get` gives.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        file: Arc<ProjectFile>,
        display: Arc<Display>,
        get: Get,
        set: Set,
    ) -> std::io::Result<Self> {
        let (orders, todo) = crossbeam::channel::unbounded();
        let (tell, news) = crossbeam::channel::unbounded();
        let (ends, ended) = crossbeam::channel::bounded(0);
        let told_to_end = signals();
        let work = Work {
            file,
            display,
            get,
            todo,
            tell,
            is_open: false,
            told: String::new(),
        };
        let thread = std::thread::Builder::new()
            .name("audiodiff project".into())
            .spawn(move || {
                // Goes with the thread, however that ends.
                let _ends: Sender<()> = ends;
                work.run(&set, told_to_end);
            })?;
        Ok(Self {
            orders: Some(orders),
            news,
            ended,
            thread: Some(thread),
        })
    }

    /// Saves the project now.
    pub fn save(&self) -> Result<()> {
        let missing = || Error::setting("the project is not open, so it cannot be saved");
        let orders = self.orders.as_ref().ok_or_else(missing)?;
        let (answer, answered) = crossbeam::channel::bounded(1);
        orders.send(answer).map_err(|_| missing())?;
        answered
            .recv_timeout(PATIENCE + LOOK)
            .map_err(|_| missing())?
    }

    /// Sentences for the user.
    pub fn take_news(&self) -> impl Iterator<Item = String> + '_ {
        self.news.try_iter()
    }

    /// Whether the system has told this process to end.
    pub fn is_told_to_end(&self) -> bool {
        signals().load(Ordering::Relaxed)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Whoever waits for an audio thread that has died waits for ever.
        if self.ended.recv_timeout(2 * PATIENCE) == Err(RecvTimeoutError::Timeout) {
            nice_warn!("the project was not saved at the end: the audio thread does not answer");
        } else if thread.join().is_err() {
            nice_warn!("the thread that saves the project has panicked");
        }
    }
}

/// The thread's own.
struct Work {
    file: Arc<ProjectFile>,
    display: Arc<Display>,
    get: Get,
    todo: Receiver<Sender<Result<()>>>,
    tell: Sender<String>,
    /// Whether the file's project was opened: what was not must not be written over.
    is_open: bool,
    /// The last sentence.
    told: String,
}

impl Work {
    fn run(mut self, set: &Set, told_to_end: &AtomicBool) {
        self.open(set);
        let (mut saved, mut ran) = (Instant::now(), Instant::now());
        let (mut is_silent, mut told) = (false, None);
        loop {
            match self.todo.recv_timeout(LOOK) {
                Ok(answer) => {
                    // Nobody may be waiting any more.
                    let _ = answer.send(self.save());
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.display.is_running() {
                (ran, is_silent) = (Instant::now(), false);
            } else if ran.elapsed() > PATIENCE && !std::mem::replace(&mut is_silent, true) {
                self.tell("the audio device has stopped: nothing is heard until another is chosen");
            }
            if saved.elapsed() > SAVES && self.is_open {
                saved = Instant::now();
                self.save_and_tell();
            }
            if told_to_end.load(Ordering::Relaxed) {
                self.display.repaint().request_repaint();
                let since = *told.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    self.leave();
                }
            }
        }
        if self.is_open {
            self.save_and_tell();
        }
    }

    /// Ends the process, whose window does not close: it may not be drawn.
    fn leave(&mut self) {
        if self.is_open {
            self.save_and_tell();
        }
        if let Err(error) = self.display.recorder().stop() {
            nice_warn!("{error}");
        }
        std::process::exit(0);
    }

    fn open(&mut self, set: &Set) {
        let begun = Instant::now();
        // The audio thread takes it.
        while !self.display.is_running() {
            if begun.elapsed() > PATIENCE {
                self.tell("the audio device does not run: the project is not opened, and will not be saved");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.file.open() {
            Ok(Opened::New) => self.is_open = true,
            Ok(Opened::Project(state)) => {
                set(*state);
                self.is_open = true;
            }
            Ok(Opened::Damaged(sentence)) => {
                self.is_open = true;
                self.tell(&sentence);
            }
            Err(error) => self.tell(&format!("{error}; it will not be saved")),
        }
    }

    fn save(&mut self) -> Result<()> {
        if !self.is_open {
            return Err(Error::setting(
                "the project is not open, so it cannot be saved",
            ));
        }
        self.file.save(&(self.get)()).map(|_| ())
    }

    fn save_and_tell(&mut self) {
        if let Err(error) = self.save() {
            self.tell(&error.to_string());
        }
    }

    fn tell(&mut self, sentence: &str) {
        // What fails every few seconds is told once.
        if std::mem::replace(&mut self.told, sentence.to_owned()) == sentence {
            return;
        }
        nice_warn!("{sentence}");
        // It may close just now.
        let _ = self.tell.send(sentence.to_owned());
        self.display.repaint().request_repaint();
    }
}

/// Set once the system tells this process to end.
fn signals() -> &'static Arc<AtomicBool> {
    static TOLD: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    TOLD.get_or_init(|| {
        let told = Arc::new(AtomicBool::new(false));
        #[cfg(all(unix, feature = "standalone"))]
        for signal in [
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGHUP,
        ] {
            if let Err(error) = signal_hook::flag::register(signal, told.clone()) {
                nice_warn!("signal {signal} ends the program unsaved: {error}");
            }
        }
        told
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::voice::Voices;

    /// An instrument of one word, and an audio thread while it lives.
    struct Instrument {
        word: Arc<Mutex<String>>,
        display: Arc<Display>,
        ends: Arc<AtomicBool>,
        audio: Option<JoinHandle<()>>,
    }

    impl Drop for Instrument {
        fn drop(&mut self) {
            self.ends.store(true, Ordering::Relaxed);
            if let Some(audio) = self.audio.take() {
                audio.join().unwrap();
            }
        }
    }

    impl Instrument {
        fn new(runs: bool) -> Self {
            let (display, ends) = (
                Arc::new(Display::default()),
                Arc::new(AtomicBool::new(false)),
            );
            let (shown, over) = (display.clone(), ends.clone());
            let audio = move || {
                while !over.load(Ordering::Relaxed) {
                    shown.show(&Voices::default(), [0.0; 2]);
                    std::thread::sleep(Duration::from_millis(10));
                }
            };
            Self {
                word: Arc::new(Mutex::new("new".into())),
                display,
                ends,
                audio: runs.then(|| std::thread::spawn(audio)),
            }
        }

        fn keeper(&self, path: &Path) -> Keeper {
            let file = Arc::new(ProjectFile::take_free(path).unwrap());
            let (get, set) = (self.word.clone(), self.word.clone());
            Keeper::start(
                file,
                self.display.clone(),
                Box::new(move || PluginState {
                    version: get.lock().unwrap().clone(),
                    params: Default::default(),
                    fields: [("project".to_owned(), "{}".to_owned())].into(),
                }),
                Box::new(move |state| *set.lock().unwrap() = state.version),
            )
            .unwrap()
        }

        fn word(&self) -> String {
            self.word.lock().unwrap().clone()
        }

        fn say(&self, word: &str) {
            *self.word.lock().unwrap() = word.into();
        }
    }

    fn news(keeper: &Keeper) -> String {
        let since = Instant::now();
        loop {
            if let Some(sentence) = keeper.take_news().next() {
                return sentence;
            }
            assert!(since.elapsed() < 3 * PATIENCE, "nothing is told");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_next_window_has_what_the_last_one_had() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.json");
        {
            let first = Instrument::new(true);
            let keeper = first.keeper(&path);
            keeper.save().unwrap();
            assert!(std::fs::read_to_string(&path).unwrap().contains("new"));
            first.say("changed");
            // Closing saves.
            drop(keeper);
        }
        let second = Instrument::new(true);
        let keeper = second.keeper(&path);
        keeper.save().unwrap();
        assert_eq!(second.word(), "changed");
        second.say("by itself");
        let since = Instant::now();
        while !std::fs::read_to_string(&path)
            .unwrap()
            .contains("by itself")
        {
            assert!(since.elapsed() < 2 * SAVES, "it is saved every few seconds");
            std::thread::sleep(LOOK);
        }
        drop(keeper);
        std::fs::write(&path, "{").unwrap();
        let third = Instrument::new(true);
        let keeper = third.keeper(&path);
        assert!(news(&keeper).contains("it is now called"));
        drop(keeper);
        assert!(std::fs::read_to_string(&path).unwrap().contains("new"));
    }

    #[test]
    fn what_was_never_opened_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.json");
        std::fs::write(&path, "precious").unwrap();
        let silent = Instrument::new(false);
        let keeper = silent.keeper(&path);
        assert!(news(&keeper).contains("will not be saved"));
        assert!(keeper.save().is_err());
        drop(keeper);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
