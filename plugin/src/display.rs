//! Signals between the audio thread and the window.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nice_plug_egui::RepaintNotifier;

use crate::audition::MISSED;
use crate::keymap::KEYS;
use crate::pad::PADS;
use crate::recorder::Recorder;
use crate::touch::{Touch, Touched};
use crate::voice::Voices;

/// What the audio thread has not renewed for so long is no longer so: it stands still.
const STALE: Duration = Duration::from_millis(500);

/// Tempi that hosts have, beats per minute.
const TEMPI: RangeInclusive<f64> = 1.0..=1000.0;

/// What can learn from a MIDI device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learns {
    /// A pad its key.
    Key(usize),
    /// A knob ([`PluginParams::knobs`](crate::params::PluginParams::knobs)) its controller.
    Controller(usize),
}

impl Learns {
    /// Never 0.
    fn code(self) -> u16 {
        match self {
            Self::Key(pad) => 1 + pad as u16,
            Self::Controller(knob) => 1 + (PADS + knob) as u16,
        }
    }

    fn of(code: u16) -> Option<Self> {
        let index = usize::from(code.checked_sub(1)?);
        Some(match index.checked_sub(PADS) {
            None => Self::Key(index),
            Some(knob) => Self::Controller(knob),
        })
    }
}

/// What a MIDI device gives, 0 to 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// A key is pressed.
    Key(u8),
    /// A controller is turned.
    Controller(u8),
}

/// Playheads, levels, the tempo and what is played by hand, in atomics: a value or two may be late.
#[derive(Debug)]
pub struct Display {
    /// Times are milliseconds from here.
    epoch: Instant,
    /// When the audio thread was last here.
    shown: AtomicU64,
    /// The position of each pad's newest voice, as a fraction of its sound; beyond 1 where there is none.
    playheads: [AtomicU32; PADS],
    /// The same of what is auditioned.
    audition: AtomicU32,
    /// The bits of the highest levels since they were last taken, left and right.
    peaks: [AtomicU32; 2],
    /// Pads and keys that are played by hand.
    pads: [Touch; PADS],
    keys: [Touch; KEYS as usize],
    /// The code of what is to learn; 0 for none.
    learns: AtomicU16,
    /// The code of what has learnt, times 256, and the key or controller; 0 for none.
    learnt: AtomicU32,
    /// The bits of the host's tempo; 0 where it tells none.
    tempo: AtomicU32,
    recorder: Recorder,
    /// The window's: set where there is something new to draw.
    repaint: RepaintNotifier,
}

impl Default for Display {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            shown: AtomicU64::new(0),
            playheads: std::array::from_fn(|_| AtomicU32::new(2f32.to_bits())),
            audition: AtomicU32::new(2f32.to_bits()),
            peaks: Default::default(),
            pads: Default::default(),
            keys: std::array::from_fn(|_| Touch::default()),
            learns: AtomicU16::new(0),
            learnt: AtomicU32::new(0),
            tempo: AtomicU32::new(0),
            recorder: Recorder::default(),
            repaint: RepaintNotifier::new(),
        }
    }
}

impl Display {
    /// Tells the window that there is something new to draw.
    #[must_use]
    pub fn repaint(&self) -> &RepaintNotifier {
        &self.repaint
    }

    /// Records what is played.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Whether the audio thread was here just now. It is not in a host that has stopped it, nor with a device that has
    /// gone.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let shown = self.shown.load(Ordering::Relaxed);
        shown != 0 && self.now().saturating_sub(shown) <= STALE.as_millis() as u64
    }

    /// Milliseconds, never 0.
    fn now(&self) -> u64 {
        1 + self.epoch.elapsed().as_millis() as u64
    }

    /// The position of a pad's newest voice, as a fraction of its whole sound in the order in which that is heard; none
    /// where no voice plays, or the host does not. Where the sound is reversed it begins at its last frame: it is drawn
    /// from the left over a mirrored wave, or from the right over one that is not.
    pub fn playhead(&self, pad: usize) -> Option<f32> {
        self.position(&self.playheads[pad])
    }

    /// The position in the sound that is auditioned, as a fraction of it; none where none is, or the host does not
    /// play.
    pub fn audition_playhead(&self) -> Option<f32> {
        self.position(&self.audition)
    }

    /// A position, unless it is beyond 1 or of a while ago.
    fn position(&self, of: &AtomicU32) -> Option<f32> {
        if !self.is_running() {
            return None;
        }
        let position = f32::from_bits(of.load(Ordering::Relaxed));
        (position <= 1.0).then_some(position)
    }

    /// The highest levels since the last call, left and right; of all outputs, as factors of full scale.
    pub fn take_peaks(&self) -> [f32; 2] {
        let take = |peak: &AtomicU32| f32::from_bits(peak.swap(0, Ordering::Relaxed));
        [take(&self.peaks[0]), take(&self.peaks[1])]
    }

    /// Plays a pad at a velocity of `0..=1`, as a click on it does; in the modes that end with their key, until
    /// [`let_go`](Self::let_go).
    pub fn hit(&self, pad: usize, velocity: f32) {
        self.pads[pad].press(velocity, self.now());
    }

    /// Lets go of a pad.
    pub fn let_go(&self, pad: usize) {
        self.pads[pad].let_go();
    }

    /// Presses a key, 0 to 127, at a velocity of `0..=1`: it plays what the same key of the host's does, until
    /// [`release`](Self::release).
    pub fn press(&self, key: u8, velocity: f32) {
        if let Some(touch) = self.keys.get(usize::from(key)) {
            touch.press(velocity, self.now());
        }
    }

    /// Lets go of a key.
    pub fn release(&self, key: u8) {
        if let Some(touch) = self.keys.get(usize::from(key)) {
            touch.let_go();
        }
    }

    /// Lets go of all pads and keys: the window closes, or has lost the pointer or the keyboard.
    pub fn let_all_go(&self) {
        self.pads.iter().chain(&self.keys).for_each(Touch::let_go);
    }

    /// What was done to a pad since the last call, if anything. A click that nobody took for 100 ms is forgotten.
    ///
    /// Real-time safe.
    pub fn take_pad(&self, pad: usize) -> Option<Touched> {
        self.pads[pad].take(self.now(), MISSED.as_millis() as u64)
    }

    /// What was done to a key since the last call, if anything, as [`take_pad`](Self::take_pad) says it.
    ///
    /// Real-time safe.
    pub fn take_key(&self, key: u8) -> Option<Touched> {
        let touch = self.keys.get(usize::from(key))?;
        touch.take(self.now(), MISSED.as_millis() as u64)
    }

    /// Has something learn its key or controller from the next one that the host sends, which does nothing else; or
    /// nothing any more.
    pub fn learn(&self, what: Option<Learns>) {
        let learns = what.map_or(0, Learns::code);
        self.learns.store(learns, Ordering::Relaxed);
    }

    /// What is to learn.
    pub fn learning(&self) -> Option<Learns> {
        Learns::of(self.learns.load(Ordering::Relaxed))
    }

    /// What has learnt since the last call, and the number of the key or controller. It is the caller who writes it to the
    /// project.
    pub fn take_learnt(&self) -> Option<(Learns, u8)> {
        let learnt = self.learnt.swap(0, Ordering::Relaxed);
        Some((Learns::of((learnt >> 8) as u16)?, learnt as u8))
    }

    /// A key or a controller is used; returns whether something has learnt it.
    ///
    /// Real-time safe.
    pub fn teach(&self, given: Given) -> bool {
        let code = self.learns.load(Ordering::Relaxed);
        let number = match Learns::of(code).map(|learns| (learns, given)) {
            Some((Learns::Key(_), Given::Key(key))) => key,
            Some((Learns::Controller(_), Given::Controller(controller))) => controller,
            _ => return false,
        };
        let order = Ordering::Relaxed;
        // The window may have thought better of it.
        let is_still = self.learns.compare_exchange(code, 0, order, order).is_ok();
        if is_still {
            let learnt = u32::from(code) << 8 | u32::from(number);
            self.learnt.store(learnt, order);
            self.repaint.request_repaint();
        }
        is_still
    }

    /// The host's tempo, beats per minute; none where it tells none. Beats are counted at 120 then.
    pub fn tempo(&self) -> Option<f32> {
        let tempo = f32::from_bits(self.tempo.load(Ordering::Relaxed));
        (tempo > 0.0).then_some(tempo)
    }

    /// Takes the host's tempo, beats per minute. What is no tempo is none.
    ///
    /// Real-time safe.
    pub fn set_tempo(&self, tempo: Option<f64>) {
        let tempo = tempo.filter(|tempo| TEMPI.contains(tempo)).unwrap_or(0.0);
        self.tempo
            .store((tempo as f32).to_bits(), Ordering::Relaxed);
    }

    /// Takes the position of what is auditioned, if anything is.
    pub fn show_audition(&self, playhead: Option<f32>) {
        let position = playhead.unwrap_or(2.0).to_bits();
        let moves = self.audition.swap(position, Ordering::Relaxed) != position;
        self.repaint.request_repaint_with(moves);
    }

    /// Takes the positions of the voices, and the peaks of the outputs, left and right.
    pub fn show(&self, voices: &Voices, peaks: [f32; 2]) {
        self.shown.store(self.now(), Ordering::Relaxed);
        let mut moves = peaks.iter().any(|peak| *peak > 0.0);
        for (pad, playhead) in self.playheads.iter().enumerate() {
            let position = voices.playhead(pad).unwrap_or(2.0).to_bits();
            moves |= playhead.swap(position, Ordering::Relaxed) != position;
        }
        // An atomic flag, which the window looks at.
        self.repaint.request_repaint_with(moves);
        // Of numbers that are not negative, the larger has the larger bits.
        for (highest, peak) in self.peaks.iter().zip(peaks) {
            highest.fetch_max(peak.max(0.0).to_bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::KNOBS;

    #[test]
    fn a_click_is_played_at_once_or_never() {
        let display = Display::default();
        let taken = |display: &Display| display.take_pad(3).and_then(|it| it.pressed);
        assert_eq!(taken(&display), None);
        display.hit(3, 1.0);
        assert_eq!((taken(&display), taken(&display)), (Some(1.0), None));
        display.hit(3, 1.0);
        display.press(60, 0.0);
        std::thread::sleep(MISSED + Duration::from_millis(20));
        assert_eq!((taken(&display), taken(&display)), (None, None));
        assert_eq!(display.take_key(60), None);
        display.let_all_go();
        assert!(display.take_pad(3).is_some_and(|it| it.before));
        assert!(display.take_key(60).is_some_and(|it| it.before));
        // There are no such keys.
        display.press(200, 1.0);
        assert_eq!(display.take_key(200), None);
    }

    #[test]
    fn a_pad_learns_one_key_and_a_knob_one_controller() {
        let display = Display::default();
        let key = |key| display.teach(Given::Key(key));
        let controller = |it| display.teach(Given::Controller(it));
        assert!(!key(40));
        let last = Learns::Key(PADS - 1);
        display.learn(Some(last));
        display.learn(None);
        assert!(!key(40) && display.take_learnt().is_none());
        let first = Learns::Key(0);
        display.learn(Some(first));
        assert_eq!(display.learning(), Some(first));
        assert!(!controller(7) && key(0) && !key(1));
        assert_eq!(
            (display.learning(), display.take_learnt()),
            (None, Some((first, 0)))
        );
        assert_eq!(display.take_learnt(), None);
        display.learn(Some(last));
        assert!(key(127));
        assert_eq!(display.take_learnt(), Some((last, 127)));
        for knob in [0, KNOBS - 1] {
            let knob = Learns::Controller(knob);
            display.learn(Some(knob));
            assert!(!key(60) && controller(119) && !controller(7));
            assert_eq!(display.take_learnt(), Some((knob, 119)));
        }
    }

    #[test]
    fn peaks_are_the_highest_and_a_tempo_is_one() {
        let display = Display::default();
        let voices = Voices::default();
        display.show(&voices, [0.25, 0.5]);
        display.show(&voices, [0.75, 0.125]);
        assert_eq!(display.take_peaks(), [0.75, 0.5]);
        assert_eq!(display.take_peaks(), [0.0; 2]);
        assert_eq!(display.tempo(), None);
        for (told, tempo) in [
            (Some(93.5), Some(93.5)),
            (Some(f64::NAN), None),
            (Some(-1.0), None),
            (None, None),
        ] {
            display.set_tempo(told);
            assert_eq!(display.tempo(), tempo);
        }
    }
}
