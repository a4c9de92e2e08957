//! Keys and pads that are played by hand in the window, on their way to the audio thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a touch: whether it was pressed, and whether it was let go of before that and after it.
const PRESSED: u64 = 1;
const BEFORE: u64 = 2;
const AFTER: u64 = 4;

/// Where its velocity and the time of its press begin.
const VELOCITY: u32 = 8;
const TIME: u32 = 24;

/// The number that stands for full velocity.
const FULL: f32 = 65_535.0;

/// What has happened to one key or pad since it was last looked at. Of several presses, the last one counts.
#[derive(Debug, Default)]
pub(crate) struct Touch(AtomicU64);

/// What is to be done for a key or pad, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Touched {
    /// Whether it is let go of.
    pub before: bool,
    /// The velocity with which it is pressed then, `0..=1`; none where it is not.
    pub pressed: Option<f32>,
    /// Whether it is let go of after that.
    pub after: bool,
}

impl Touch {
    /// It is pressed at a time, in milliseconds.
    pub fn press(&self, velocity: f32, now: u64) {
        let velocity = (velocity.clamp(0.0, 1.0) * FULL).round() as u64;
        let press = now << TIME | velocity << VELOCITY | PRESSED;
        self.update(|touch| match touch & (BEFORE | AFTER) {
            0 => press,
            _ => press | BEFORE,
        });
    }

    /// It is let go of.
    pub fn let_go(&self) {
        self.update(|touch| match touch & PRESSED {
            0 => touch | BEFORE,
            _ => touch | AFTER,
        });
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        let order = Ordering::Relaxed;
        // It always returns a new value.
        let _ = self
            .0
            .fetch_update(order, order, |touch| Some(change(touch)));
    }

    /// What is to be done, if there is anything. A press that is older than `missed` at the time `now`, both in
    /// milliseconds, is forgotten.
    ///
    /// Real-time safe: at most two atomic operations, without a loop.
    pub fn take(&self, now: u64, missed: u64) -> Option<Touched> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let touch = self.0.swap(0, Ordering::Relaxed);
        let is_new = now.saturating_sub(touch >> TIME) <= missed;
        let velocity = (touch >> VELOCITY & 0xffff) as f32 / FULL;
        let pressed = (touch & PRESSED > 0 && is_new).then_some(velocity);
        let touched = Touched {
            before: touch & BEFORE > 0,
            pressed,
            after: touch & AFTER > 0 && pressed.is_some(),
        };
        (touched.before || pressed.is_some()).then_some(touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(before: bool, pressed: Option<f32>, after: bool) -> Option<Touched> {
        Some(Touched {
            before,
            pressed,
            after,
        })
    }

    #[test]
    fn what_happens_between_two_looks_keeps_its_order() {
        let touch = Touch::default();
        let take = || touch.take(1000, 100);
        assert_eq!(take(), None);
        touch.press(1.0, 950);
        assert_eq!(take(), touched(false, Some(1.0), false));
        touch.let_go();
        assert_eq!(take(), touched(true, None, false));
        touch.press(0.0, 950);
        touch.let_go();
        assert_eq!(take(), touched(false, Some(0.0), true));
        touch.let_go();
        touch.press(1.0, 950);
        assert_eq!(take(), touched(true, Some(1.0), false));
        // Twice within one look: the last, and whatever was held before is let go.
        touch.press(1.0, 940);
        touch.let_go();
        touch.press(0.0, 950);
        touch.let_go();
        assert_eq!(take(), touched(true, Some(0.0), true));
        assert_eq!(take(), None);
    }

    #[test]
    fn a_press_is_for_now_but_letting_go_is_for_ever() {
        let touch = Touch::default();
        touch.press(0.5, 1000);
        touch.let_go();
        assert_eq!(touch.take(1101, 100), None);
        touch.let_go();
        touch.press(0.5, 1000);
        assert_eq!(touch.take(5000, 100), touched(true, None, false));
        for velocity in [0.0, 0.25, 0.8, 1.0, 7.0, -1.0] {
            touch.press(velocity, 1 << 39);
            let found = touch.take(1 << 39, 100).unwrap().pressed.unwrap();
            assert!((found - velocity.clamp(0.0, 1.0)).abs() < 1e-5);
        }
    }
}
