//! Knobs that the controllers of a MIDI device turn: which turns which, and how far it has turned them.
//!
//! A plugin may not set its own parameters, and only the window can have its host set them. So what a controller turns
//! lies over the parameter: it is heard at once, the window tells the host of it as soon as one is open, and a project
//! keeps it until then. Whoever turns the parameter itself takes it back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nice_plug::prelude::*;
use serde::{Deserialize, Serialize};

use crate::params::{KNOBS, knob_id, knob_of};

/// Controllers from here on are commands to the whole instrument.
const COMMANDS: u8 = 120;

/// Whether a controller may turn a knob: the pedal holds notes, and is none.
#[must_use]
pub fn can_turn(controller: u8) -> bool {
    controller < COMMANDS && controller != control_change::DAMPER_PEDAL
}

/// The controller of each knob that has one. One controller may turn several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, u8>", into = "BTreeMap<String, u8>")]
pub struct Controllers([Option<u8>; KNOBS]);

impl Default for Controllers {
    fn default() -> Self {
        Self([None; KNOBS])
    }
}

impl From<BTreeMap<String, u8>> for Controllers {
    /// Knobs that there are none of, and controllers that turn none, are left out.
    fn from(stored: BTreeMap<String, u8>) -> Self {
        let mut controllers = Self::default();
        for (id, controller) in stored {
            if let Some(knob) = knob_of(&id) {
                controllers.set(knob, Some(controller));
            }
        }
        controllers
    }
}

impl From<Controllers> for BTreeMap<String, u8> {
    fn from(controllers: Controllers) -> Self {
        let known = controllers.0.into_iter().enumerate();
        known
            .filter_map(|(knob, controller)| Some((knob_id(knob), controller?)))
            .collect()
    }
}

impl Controllers {
    /// The controller that turns a knob.
    #[must_use]
    pub fn of(&self, knob: usize) -> Option<u8> {
        self.0[knob]
    }

    /// Has a controller turn a knob from now on, or none; none too where it is one that turns no knobs.
    pub fn set(&mut self, knob: usize, controller: Option<u8>) {
        self.0[knob] = controller.filter(|&it| can_turn(it));
    }

    /// Whether none turns any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How far a controller has turned a parameter of which the host does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Turned {
    /// 0 to 1.
    pub to: f32,
    /// The parameter's own value, 0 to 1: at any other, somebody has turned that since.
    pub over: f32,
}

/// By the id of a parameter.
pub type AllTurned = BTreeMap<String, Turned>;

/// What controllers have turned, between the audio thread, the window and whoever saves and loads.
#[derive(Debug)]
pub struct Turning {
    /// Whether there may be any.
    is_any: AtomicBool,
    knobs: [Turn; KNOBS],
}

/// The bits of normalized values; of NaN where there is none.
#[derive(Debug)]
struct Turn {
    to: AtomicU32,
    over: AtomicU32,
    /// What the host was told last, which may be on its way.
    told: AtomicU32,
}

impl Default for Turning {
    fn default() -> Self {
        let none = || AtomicU32::new(f32::NAN.to_bits());
        Self {
            is_any: AtomicBool::new(false),
            knobs: std::array::from_fn(|_| Turn {
                to: none(),
                over: none(),
                told: none(),
            }),
        }
    }
}

fn get(bits: &AtomicU32) -> f32 {
    f32::from_bits(bits.load(Ordering::Relaxed))
}

fn set(bits: &AtomicU32, value: f32) {
    bits.store(value.to_bits(), Ordering::Relaxed);
}

impl Turning {
    /// A controller turns a knob to a value of `0..=1`.
    ///
    /// Real-time safe, as is all that the audio thread calls: reads and writes atomics.
    pub fn turn(&self, knob: usize, param: &FloatParam, to: f32) {
        // As the parameter itself would have it: it may have steps.
        let to = param.preview_normalized(param.preview_plain(to.clamp(0.0, 1.0)));
        let turn = &self.knobs[knob];
        set(&turn.over, param.unmodulated_normalized_value());
        set(&turn.to, to);
        self.is_any.store(true, Ordering::Relaxed);
    }

    /// Forgets what was turned of parameters that have come to that value, or that somebody else has turned since. `params`
    /// are those of all knobs, in their order.
    ///
    /// Real-time safe.
    pub fn settle<'a>(&self, params: impl Iterator<Item = &'a FloatParam>) {
        if !self.is_any.load(Ordering::Relaxed) {
            return;
        }
        let mut is_any = false;
        for (turn, param) in self.knobs.iter().zip(params) {
            let to = get(&turn.to);
            if to.is_nan() {
                continue;
            }
            let now = param.unmodulated_normalized_value();
            // What the host was told arrives while the controller is turned on.
            let arrived = now == get(&turn.told);
            if now == to || !(arrived || now == get(&turn.over)) {
                set(&turn.to, f32::NAN);
                set(&turn.told, f32::NAN);
                continue;
            }
            if arrived {
                set(&turn.over, now);
                set(&turn.told, f32::NAN);
            }
            is_any = true;
        }
        self.is_any.store(is_any, Ordering::Relaxed);
    }

    /// The value of a parameter, in its own unit: as its knob is turned, modulated by its host.
    ///
    /// Real-time safe.
    #[must_use]
    pub fn value(&self, knob: usize, param: &FloatParam) -> f32 {
        if !self.is_any.load(Ordering::Relaxed) {
            return param.value();
        }
        let to = get(&self.knobs[knob].to);
        if to.is_nan() {
            return param.value();
        }
        let offset = param.modulated_normalized_value() - param.unmodulated_normalized_value();
        param.preview_plain((to + offset).clamp(0.0, 1.0))
    }

    /// Calls `tell` with every knob whose host does not know how far it is turned, and how far that is.
    pub fn tell(&self, mut tell: impl FnMut(usize, f32)) {
        if !self.is_any.load(Ordering::Relaxed) {
            return;
        }
        for (knob, turn) in self.knobs.iter().enumerate() {
            let to = get(&turn.to);
            if !to.is_nan() && to != get(&turn.told) {
                set(&turn.told, to);
                tell(knob, to);
            }
        }
    }

    /// What the host does not know, to be kept.
    #[must_use]
    pub fn save(&self) -> AllTurned {
        let knobs = self.knobs.iter().enumerate();
        let turned = knobs.filter_map(|(knob, turn)| {
            let (to, over) = (get(&turn.to), get(&turn.over));
            (!to.is_nan()).then(|| (knob_id(knob), Turned { to, over }))
        });
        turned.collect()
    }

    /// Takes what was kept, and forgets all else.
    pub fn load(&self, kept: &AllTurned) {
        for turn in &self.knobs {
            for bits in [&turn.to, &turn.over, &turn.told] {
                set(bits, f32::NAN);
            }
        }
        for (id, turned) in kept {
            let is_one = (0.0..=1.0).contains(&turned.to);
            if let Some(knob) = knob_of(id).filter(|_| is_one) {
                set(&self.knobs[knob].over, turned.over);
                set(&self.knobs[knob].to, turned.to);
            }
        }
        self.is_any.store(!kept.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(default: f32) -> FloatParam {
        let range = FloatRange::Linear { min: 0.0, max: 8.0 };
        FloatParam::new("it", default, range).with_step_size(1.0)
    }

    /// As if the host had set it: to another value, a parameter cannot be brought here.
    fn settle(turning: &Turning, param: &FloatParam) {
        turning.settle(std::iter::repeat_n(param, KNOBS));
    }

    #[test]
    fn controllers_are_kept_by_the_ids_of_parameters() {
        let mut controllers = Controllers::default();
        controllers.set(0, Some(7));
        controllers.set(KNOBS - 1, Some(74));
        controllers.set(3, Some(control_change::DAMPER_PEDAL));
        assert_eq!((controllers.of(0), controllers.of(3)), (Some(7), None));
        let text = serde_json::to_string(&controllers).unwrap();
        assert_eq!(text, r#"{"gain":7,"resonance_16":74}"#);
        assert_eq!(
            serde_json::from_str::<Controllers>(&text).unwrap(),
            controllers
        );
        let text = r#"{"gain":7,"resonance_16":74,"nothing_1":9,"pan_1":123,"pan_2":200}"#;
        assert_eq!(
            serde_json::from_str::<Controllers>(text).unwrap(),
            controllers
        );
        assert!(!controllers.is_empty() && Controllers::default().is_empty());
    }

    #[test]
    fn what_is_turned_lies_over_a_parameter_until_that_is_turned_itself() {
        let turning = Turning::default();
        let (two, four, six) = (param(2.0), param(4.0), param(6.0));
        assert_eq!(turning.value(1, &two), 2.0);
        // As near as its steps come.
        turning.turn(1, &two, 0.52);
        settle(&turning, &two);
        assert_eq!((turning.value(1, &two), turning.value(2, &two)), (4.0, 2.0));
        // The host is told, and while that is on its way the controller turns on.
        let mut told = Vec::new();
        turning.tell(|knob, to| told.push((knob, to)));
        turning.tell(|knob, to| told.push((knob, to)));
        assert_eq!(told, [(1, 0.5)]);
        turning.turn(1, &two, 1.0);
        settle(&turning, &two);
        settle(&turning, &four);
        assert_eq!(turning.value(1, &four), 8.0);
        turning.tell(|knob, to| told.push((knob, to)));
        assert_eq!(told[1..], [(1, 1.0)]);
        // Somebody else turns it: that counts, and coming back to where it was does not bring it again.
        settle(&turning, &six);
        assert_eq!(turning.value(1, &six), 6.0);
        settle(&turning, &four);
        assert_eq!(turning.value(1, &four), 4.0);
        // What the host has come to is no more than the parameter.
        turning.turn(1, &two, 0.5);
        settle(&turning, &four);
        assert!(turning.save().is_empty());
    }

    #[test]
    fn what_no_host_was_told_is_kept_with_the_project() {
        let turning = Turning::default();
        let two = param(2.0);
        turning.turn(0, &two, 1.0);
        turning.turn(4, &two, 0.0);
        let text = serde_json::to_string(&turning.save()).unwrap();
        let (again, kept) = (Turning::default(), serde_json::from_str(&text).unwrap());
        again.turn(7, &two, 0.5);
        again.load(&kept);
        settle(&again, &two);
        let values = [0, 4, 7].map(|knob| again.value(knob, &two));
        assert_eq!(values, [8.0, 0.0, 2.0]);
        let bad = text.replace("1.0", "7.5");
        again.load(&serde_json::from_str(&bad).unwrap());
        assert_eq!(again.value(0, &two), 2.0);
        again.load(&AllTurned::new());
        assert!(again.save().is_empty());
    }
}
