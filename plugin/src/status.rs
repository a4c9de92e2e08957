//! How the generator's work goes: written by its thread, read by the window and by the texts of parameters.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nice_plug_egui::RepaintNotifier;

use crate::emergence::{Emergence, Emerging};
use crate::pad::PADS;
use crate::portrait::Ranges;

/// How long somebody looks on after saying so.
const LOOKED_ON: Duration = Duration::from_secs(1);

/// A model as the instrument shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its name, and a fingerprint that distinguishes it from others of that name.
    pub name: String,
    /// Its classes, in their order.
    pub labels: Vec<String>,
    /// Steps that it is best with.
    pub own_steps: usize,
    /// Steps that it takes at most, however many are asked for.
    pub most_steps: usize,
    /// What it knows of the attributes of its classes.
    pub ranges: Ranges,
}

/// How the generator's work goes.
#[derive(Debug, Default)]
pub struct Status {
    model: Mutex<Option<Arc<ModelInfo>>>,
    /// For each pad, the bits of the fraction of its present request that is done.
    done: [AtomicU32; PADS],
    begun: Mutex<Option<(usize, Instant)>>,
    trouble: Mutex<Option<String>>,
    notice: Mutex<Option<String>>,
    wants_model: AtomicBool,
    /// Until when somebody looks on.
    watched: Mutex<Option<Instant>>,
    /// The pads' sounds as they emerged.
    emergences: Mutex<[Option<Arc<Emergence>>; PADS]>,
    repaint: RepaintNotifier,
}

impl Status {
    /// Of an instance whose window is told by `repaint` that there is something new to draw.
    #[must_use]
    pub fn new(repaint: RepaintNotifier) -> Self {
        Self {
            repaint,
            ..Self::default()
        }
    }

    /// The model that is open; none before the first is, and after one could not be opened.
    pub fn model(&self) -> Option<Arc<ModelInfo>> {
        lock(&self.model).clone()
    }

    /// The fraction of a pad's present request that is done, in `0..=1`.
    pub fn done(&self, pad: usize) -> f32 {
        f32::from_bits(self.done[pad].load(Ordering::Relaxed))
    }

    /// Of every pad, the bits of [`Status::done`]: other ones where a step was done.
    pub(crate) fn progress(&self) -> [u32; PADS] {
        std::array::from_fn(|pad| self.done[pad].load(Ordering::Relaxed))
    }

    /// The pad whose request was begun last.
    pub fn at_work(&self) -> Option<usize> {
        (*lock(&self.begun)).map(|(pad, _)| pad)
    }

    /// The time that a pad's present request will take from now on; none before a part of it is done.
    pub fn left(&self, pad: usize) -> Option<Duration> {
        let ((_, begun), done) = ((*lock(&self.begun))?, self.done(pad));
        (done > 0.0).then(|| begun.elapsed().mul_f32((1.0 - done) / done))
    }

    /// Somebody looks on for now, as a window does that says so in every frame: the steps of sounds are kept in which they
    /// emerge. To draw them takes a few milliseconds a step, which nobody spends otherwise.
    pub fn watch(&self) {
        *lock(&self.watched) = Some(Instant::now() + LOOKED_ON);
    }

    /// Whether somebody looks on.
    pub(crate) fn is_watched(&self) -> bool {
        (*lock(&self.watched)).is_some_and(|until| Instant::now() < until)
    }

    /// The steps in which the sound of a pad's present or last request emerged so far, if somebody looked on.
    pub fn emerging(&self, pad: usize) -> Option<Arc<Emergence>> {
        lock(&self.emergences)[pad].clone()
    }

    pub(crate) fn emerge(&self, pad: usize, step: Emerging) {
        let mut emergences = lock(&self.emergences);
        Arc::make_mut(emergences[pad].get_or_insert_default()).push(step);
        drop(emergences);
        self.repaint.request_repaint();
    }

    /// Why the last request gave no sound, or why the model cannot be opened.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// What has changed about the model that is open since the project was saved.
    pub fn notice(&self) -> Option<String> {
        lock(&self.notice).clone()
    }

    /// Asks for the project's model to be opened, or opened anew, before there is something to make.
    pub fn open_model(&self) {
        self.wants_model.store(true, Ordering::Release);
    }

    /// Whether [`open_model`](Self::open_model) was called since the last call.
    pub(crate) fn take_open_model(&self) -> bool {
        self.wants_model.swap(false, Ordering::AcqRel)
    }

    /// A request is begun.
    pub(crate) fn begin(&self, pad: usize) {
        *lock(&self.begun) = Some((pad, Instant::now()));
        lock(&self.emergences)[pad] = None;
        self.set_done(pad, 0.0);
    }

    pub(crate) fn set_model(&self, model: Option<Arc<ModelInfo>>) {
        *lock(&self.model) = model;
        self.repaint.request_repaint();
    }

    pub(crate) fn set_done(&self, pad: usize, done: f32) {
        self.done[pad].store(done.to_bits(), Ordering::Relaxed);
        self.repaint.request_repaint();
    }

    /// There is something new to draw.
    pub(crate) fn changed(&self) {
        self.repaint.request_repaint();
    }

    pub(crate) fn set_notice(&self, notice: Option<String>) {
        *lock(&self.notice) = notice;
        self.repaint.request_repaint();
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble;
        self.repaint.request_repaint();
    }
}

/// Every value behind these locks is replaced whole, so it is valid even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
