//! Whole pads: copied, pasted, swapped and cleared, with their parameters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use audiodiff::Result;

use super::Store;
use crate::kit::PadSettings;
use crate::params::PluginParams;
use crate::project::{Pending, Project};
use crate::requests::Task;
use crate::stored::StoredSound;
use crate::undo::Value;

/// What is on a pad: its sound, its further takes, its settings and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct PadCopy {
    sound: Option<Arc<StoredSound>>,
    takes: Vec<Arc<StoredSound>>,
    settings: PadSettings,
    /// For the pad that it was copied from.
    values: Vec<Value>,
    pad: usize,
}

impl PadCopy {
    /// Its sound.
    #[must_use]
    pub fn sound(&self) -> Option<&Arc<StoredSound>> {
        self.sound.as_ref()
    }

    /// Its parameters, for a pad.
    fn values(&self, to: usize) -> impl Iterator<Item = Value> {
        let knobs = self.values.len() - 1;
        self.values.iter().map(move |&value| match value {
            Value::Knob(index, normalized) => {
                Value::Knob(index - knobs * self.pad + knobs * to, normalized)
            }
            Value::Seed(_, seed) => Value::Seed(to, seed),
        })
    }

    /// Puts it onto a pad, which keeps its lock and its output.
    fn put(&self, project: &mut Project, pad: usize) {
        project.set_sound(pad, self.sound.clone());
        project.takes[pad].clone_from(&self.takes);
        let place = std::mem::replace(&mut project.settings[pad], self.settings.clone());
        project.settings[pad].stay_at(&place);
    }
}

impl Store {
    /// Copies a pad, locked or not.
    pub fn copy_pad(&self, pad: usize, params: &PluginParams) -> PadCopy {
        let project = self.project();
        PadCopy {
            sound: project.sound(pad).cloned(),
            takes: project.takes[pad].clone(),
            settings: project.settings[pad].clone(),
            values: params.values_of_pad(pad, pad),
            pad,
        }
    }

    /// Puts a copy onto a pad, as one gesture. `set` is as in [`Store::load_kit`]. Work on requests of the pad is given up.
    ///
    /// # Errors
    /// When the pad is locked.
    pub fn paste_pad(
        &self,
        pad: usize,
        copy: &PadCopy,
        params: &PluginParams,
        set: impl FnMut(Value) -> Value,
    ) -> Result<()> {
        let change = |project: &mut Project| copy.put(project, pad);
        self.change_pads(&[pad], change, copy.values(pad), params, set)?;
        Ok(())
    }

    /// Has two pads change places, as one gesture. `set` is as in [`Store::load_kit`]. Work on requests of either is given
    /// up.
    ///
    /// # Errors
    /// When one of them is locked.
    pub fn swap_pads(
        &self,
        a: usize,
        b: usize,
        params: &PluginParams,
        set: impl FnMut(Value) -> Value,
    ) -> Result<()> {
        let [on_a, on_b] = [a, b].map(|pad| self.copy_pad(pad, params));
        let change = |project: &mut Project| {
            on_a.put(project, b);
            on_b.put(project, a);
        };
        let values = on_a.values(b).chain(on_b.values(a));
        self.change_pads(&[a, b], change, values, params, set)?;
        Ok(())
    }

    /// Gives a pad the settings and the parameters that it has at first, and has its first sound made, as one gesture. `set`
    /// is as in [`Store::load_kit`]. The pad keeps its sound until the other is there.
    ///
    /// # Errors
    /// When the pad is locked.
    pub fn clear_pad(
        &self,
        pad: usize,
        params: &PluginParams,
        set: impl FnMut(Value) -> Value,
    ) -> Result<()> {
        let values = params.first_values(pad);
        let seed = values.iter().find_map(|value| match value {
            Value::Seed(_, seed) => Some(*seed),
            Value::Knob(..) => None,
        });
        let change = |project: &mut Project| {
            let place = std::mem::replace(&mut project.settings[pad], PadSettings::of_pad(pad));
            project.settings[pad].stay_at(&place);
            project.takes[pad].clear();
        };
        let gesture = self.change_pads(&[pad], change, values, params, set)?;
        let pending = Pending {
            pad,
            task: Task::Generate,
            seed,
            amount: None,
        };
        self.lock().ask(gesture, pending, &self.board);
        Ok(())
    }

    /// Changes what is on pads, then parameters, as one gesture, whose number it returns.
    fn change_pads(
        &self,
        pads: &[usize],
        change: impl FnOnce(&mut Project),
        values: impl IntoIterator<Item = Value>,
        params: &PluginParams,
        set: impl FnMut(Value) -> Value,
    ) -> Result<u64> {
        let gesture;
        {
            let mut held = self.lock();
            for &pad in pads {
                self.expect_open(&held, pad)?;
            }
            for &pad in pads {
                held.requests.call_off(pad, &self.board);
            }
            // Later than what is called off.
            gesture = self.gesture();
            held.remember(gesture);
            let before = held.project.clone();
            held.edit(change);
            for &pad in pads {
                held.show_change(pad, &before);
            }
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        let others = values.into_iter().filter(|&value| !params.has(value));
        let befores: Vec<Value> = others.map(set).collect();
        let mut held = self.lock();
        for before in befores {
            held.undo.value(gesture, before);
        }
        Ok(gesture)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{make, seeds};
    use super::*;
    use crate::pad::FIRST_SEEDS;
    use crate::params::MACROS;
    use crate::stored::tests::clip;
    use crate::undo::Direction;

    fn ready() -> (Arc<Store>, PluginParams) {
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        for pad in 0..3 {
            make(&store, pad, pad as u64, &clip(44_100, 0.1));
        }
        store.edit(store.gesture(), |project| {
            project.settings[1].playing.tone = 0.5;
            project.settings[2].making.lock = true;
            project.settings[0].playing.output = crate::kit::Route::Own;
        });
        (store, params)
    }

    /// Sets nothing; parameters have their first values here, apart from seeds.
    fn still(value: Value) -> Value {
        value
    }

    #[test]
    fn a_pad_is_pasted_whole_and_taken_back_whole() {
        let (store, params) = ready();
        let mut copy = store.copy_pad(1, &params);
        assert_eq!(copy.sound().map(|it| it.recipe().seed), Some(1));
        // As if its gain had been turned.
        let gain = 1 + MACROS.len() + params.values_of_pad(1, 1).len() - 1 + 1;
        for value in &mut copy.values {
            if let Value::Knob(index, x) = value
                && *index == gain
            {
                *x = 0.1;
            }
        }
        store.ask(0, Task::Vary);
        let mut seen = Vec::new();
        let set = |value| {
            seen.push(value);
            value
        };
        store.paste_pad(0, &copy, &params, set).unwrap();
        let first_gain = 1 + MACROS.len() + 1;
        assert_eq!(
            seen,
            [Value::Knob(first_gain, 0.1), Value::Seed(0, FIRST_SEEDS[1])]
        );
        let project = store.project();
        assert_eq!((seeds(&store)[0], store.pending(0)), (Some(1), None));
        assert_eq!(project.settings[0].playing.tone, 0.5);
        assert_eq!(project.settings[0].playing.output, crate::kit::Route::Own);
        assert_eq!(store.history(0), (2, 2));
        store.undo(Direction::Back, still);
        assert_eq!(
            (seeds(&store)[0], store.project().settings[0].playing.tone),
            (Some(0), 0.0)
        );
        // A locked pad can be copied from and not to.
        let copy = store.copy_pad(2, &params);
        store.paste_pad(0, &copy, &params, still).unwrap();
        assert!(!store.is_locked(0) && seeds(&store)[0] == Some(2));
        let error = store.paste_pad(2, &copy, &params, still).unwrap_err();
        assert!(error.to_string().contains("pad 3 is locked"));
        assert!(store.swap_pads(0, 2, &params, still).is_err());
        assert!(store.clear_pad(2, &params, still).is_err());
    }

    #[test]
    fn two_pads_change_places_and_do_so_again() {
        let (store, params) = ready();
        let before = store.project();
        let mut seen = Vec::new();
        store
            .swap_pads(0, 1, &params, |value| {
                seen.push(value);
                value
            })
            .unwrap();
        assert_eq!(
            seen,
            [
                Value::Seed(1, FIRST_SEEDS[0]),
                Value::Seed(0, FIRST_SEEDS[1])
            ]
        );
        assert_eq!(seeds(&store)[..2], [Some(1), Some(0)]);
        assert_eq!(store.project().settings[0].playing.tone, 0.5);
        store.swap_pads(0, 1, &params, still).unwrap();
        assert_eq!(store.project(), before);
        store.undo(Direction::Back, still);
        store.undo(Direction::Back, still);
        assert_eq!(store.project(), before);
    }

    #[test]
    fn a_pad_is_cleared_to_its_first_sound() {
        let (store, params) = ready();
        store
            .clear_pad(1, &params, |value| panic!("nothing was turned: {value:?}"))
            .unwrap();
        let request = store.pending(1).unwrap();
        assert_eq!(
            (request.task, request.seed),
            (Task::Generate, Some(FIRST_SEEDS[1]))
        );
        assert_eq!(store.project().settings[1], PadSettings::of_pad(1));
        assert_eq!(seeds(&store)[1], Some(1));
        store.undo(Direction::Back, still);
        assert_eq!(
            store.pending(1),
            None,
            "what it asked for is not made any more"
        );
        assert_eq!(store.project().settings[1].playing.tone, 0.5);
    }
}
