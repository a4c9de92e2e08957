//! Auditions: sounds that are heard at once and without a pad, on their way to the audio thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use triple_buffer::{Input, Output, TripleBuffer};

use crate::stored::StoredSound;
use crate::voice::{PadSounds, PlayableSound};

/// A click that nobody took for so long is forgotten: the host was not playing, and would play it much too late.
pub(crate) const MISSED: Duration = Duration::from_millis(100);

/// Seconds of sound up to which it is brought to the host's rate first: that takes some milliseconds. A longer one is
/// read at its own rate, to be heard at once.
const RESAMPLED_SECONDS: f32 = 4.0;

/// What is to be auditioned from now on.
#[derive(Debug, Clone)]
pub enum Audition {
    /// This sound, in the place of the one before.
    Play(Arc<PadSounds>),
    /// Nothing any more.
    Stop,
}

type Message = Option<(Instant, Audition)>;

/// The end that whoever chooses sounds has.
#[derive(Debug)]
pub(crate) struct Offer(Mutex<Held>);

#[derive(Debug)]
struct Held {
    /// The host's rate, Hz; 0 while unknown.
    sample_rate: u32,
    /// All sounds that the audio thread may still hold: it frees none.
    published: Vec<Arc<PadSounds>>,
    outbox: Input<Message>,
}

/// The audio thread's end.
#[derive(Debug)]
pub(crate) struct Offered(Output<Message>);

/// Both ends.
pub(crate) fn exchange() -> (Offer, Offered) {
    let (outbox, output) = TripleBuffer::default().split();
    let held = Held {
        sample_rate: 0,
        published: Vec::new(),
        outbox,
    };
    (Offer(Mutex::new(held)), Offered(output))
}

impl Offer {
    /// Takes the host's rate, Hz.
    pub fn set_sample_rate(&self, sample_rate: u32) {
        self.lock().sample_rate = sample_rate;
    }

    /// Has a sound heard.
    pub fn play(&self, sound: &StoredSound) {
        let rate = self.lock().sample_rate;
        let clip = sound.clip();
        let is_short = sound.seconds() <= RESAMPLED_SECONDS && rate > 0;
        let resampled = is_short.then(|| clip.resampled(rate).ok()).flatten();
        let playable = PlayableSound::new(&resampled.unwrap_or(clip));
        let sounds = Arc::new(PadSounds::from(playable));
        let mut held = self.lock();
        held.published.push(sounds.clone());
        held.send(Audition::Play(sounds));
        held.free_unused();
    }

    /// Has nothing heard any more.
    pub fn stop(&self) {
        let mut held = self.lock();
        held.send(Audition::Stop);
        held.free_unused();
    }

    /// Frees sounds that are heard no more. Not for the audio thread.
    pub fn free_unused(&self) {
        self.lock().free_unused();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Every field is replaced whole, so all are valid even if a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn send(&mut self, audition: Audition) {
        self.outbox.write(Some((Instant::now(), audition)));
        // Where nobody took the one before, it would be held here until the next.
        *self.outbox.input_buffer_mut() = None;
    }

    fn free_unused(&mut self) {
        self.published.retain(|sound| Arc::strong_count(sound) > 1);
    }
}

impl Offered {
    /// What is to be auditioned from now on, if that is new. A sound that comes too late is forgotten.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn take(&mut self) -> Option<Audition> {
        if !self.0.update() {
            return None;
        }
        // Moved out of the exchange, which would hold it for as long as nothing else is auditioned.
        let (at, audition) = self.0.output_buffer_mut().take()?;
        let is_late = matches!(audition, Audition::Play(_)) && at.elapsed() > MISSED;
        (!is_late).then_some(audition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{clip, recipe};

    fn sound(seed: u64) -> StoredSound {
        StoredSound::new(recipe(seed), &clip(44_100, 0.5))
    }

    #[test]
    fn the_newest_is_heard_once_at_once_or_never() {
        let (offer, mut offered) = exchange();
        offer.set_sample_rate(48_000);
        assert!(offered.take().is_none());
        offer.play(&sound(1));
        offer.play(&sound(2));
        let Some(Audition::Play(sounds)) = offered.take() else {
            panic!("there is a sound");
        };
        // At the host's rate.
        let seconds = sound(2).seconds();
        let wanted = PlayableSound::new(&sound(2).clip().resampled(48_000).unwrap());
        assert_eq!(*sounds, PadSounds::from(wanted));
        assert!(seconds <= RESAMPLED_SECONDS && offered.take().is_none());
        offer.stop();
        assert!(matches!(offered.take(), Some(Audition::Stop)));
        for (late, is_heard) in [(false, true), (true, false)] {
            offer.play(&sound(3));
            if late {
                std::thread::sleep(MISSED + Duration::from_millis(20));
            }
            assert_eq!(offered.take().is_some(), is_heard);
        }
        offer.stop();
        std::thread::sleep(MISSED + Duration::from_millis(20));
        assert!(matches!(offered.take(), Some(Audition::Stop)));
    }

    #[test]
    fn of_ten_in_a_row_none_is_held_whether_taken_or_not() {
        let (offer, mut offered) = exchange();
        for turn in 0..10 {
            offer.play(&sound(turn));
            assert!(offer.lock().published.len() <= 2);
        }
        let taken = offered.take();
        offer.free_unused();
        assert_eq!(offer.lock().published.len(), 1, "what is being heard");
        drop(taken);
        offer.free_unused();
        assert!(offer.lock().published.is_empty());
        for turn in 0..10 {
            offer.play(&sound(turn));
            drop(offered.take());
        }
        offer.free_unused();
        assert!(offer.lock().published.is_empty());
        offer.play(&sound(1));
        offer.stop();
        assert!(offer.lock().published.is_empty(), "nobody took it");
    }
}
