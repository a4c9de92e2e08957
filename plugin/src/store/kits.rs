//! Kits on the pads of an instance: loaded, saved, and known to have been changed since.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use audiodiff::Result;

use super::{Held, Store};
use crate::controllers::Controllers;
use crate::kits::{self, KitInfo, Place};
use crate::pad::PADS;
use crate::params::PluginParams;
use crate::project::{Pending, Project};
use crate::requests::{Request, Task};
use crate::undo::Value;

/// Two normalized values that are heard as one: less than the least step of a knob.
const SAME: f32 = 2e-5;

impl Store {
    /// Brings a kit onto the pads, as one gesture. What was being made is given up. Locked pads keep their sound, their
    /// settings and their parameters; each pad keeps its lock and its output; and what is opened for view stays, unless the
    /// kit plays one pad on all keys. A pad that the kit has no sound for keeps its own until the one is made that the kit's
    /// seed and settings describe.
    ///
    /// `set` sets a parameter and returns the value that it had. It is called for those that change, with the store open to
    /// others. Parameters that the kit does not name are set to what they are at first; the main gain stays as it is.
    pub fn load_kit(
        &self,
        kit: Project,
        params: &PluginParams,
        mut set: impl FnMut(Value) -> Value,
    ) {
        let gesture;
        let locked: [bool; PADS];
        {
            let mut held = self.lock();
            for pad in 0..PADS {
                held.requests.call_off(pad, &self.board);
            }
            // Later than what is called off.
            gesture = self.gesture();
            held.remember(gesture);
            locked = std::array::from_fn(|pad| held.project.is_locked(pad));
            let before = held.project.clone();
            held.edit(|project| {
                for pad in (0..PADS).filter(|&pad| !locked[pad]) {
                    let place =
                        std::mem::replace(&mut project.settings[pad], kit.settings[pad].clone());
                    project.settings[pad].stay_at(&place);
                    if let Some(sound) = kit.sound(pad) {
                        project.set_sound(pad, Some(sound.clone()));
                        project.takes[pad].clone_from(&kit.takes[pad]);
                    }
                }
                project.keys = kit.keys;
                if kit.keys {
                    project.selected = kit.selected;
                }
                project.model.clone_from(&kit.model);
                project.model_name.clone_from(&kit.model_name);
            });
            (0..PADS).for_each(|pad| held.show_change(pad, &before));
            self.changes.fetch_add(1, Ordering::Relaxed);
        }

        let mut info = kit.kit.clone().unwrap_or_default();
        let named = std::mem::take(&mut info.params);
        let mut seeds = [None; PADS];
        let mut befores = Vec::new();
        for (kept, now) in params.kept() {
            let wanted = match named.get(&kept.id) {
                Some(&x) if x.is_finite() => Some(x.clamp(0.0, 1.0)),
                _ => kept.otherwise,
            };
            let is_locked = kept.pad.is_some_and(|pad| locked[pad]);
            let normalized = wanted.filter(|_| !is_locked).unwrap_or(now);
            let value = params.value(kept, normalized);
            if let Value::Seed(pad, seed) = value {
                seeds[pad] = Some(seed);
            }
            if !params.has(value) {
                befores.push(set(value));
            }
            info.params.insert(kept.id.clone(), normalized);
        }

        let mut held = self.lock();
        for before in befores {
            held.undo.value(gesture, before);
        }
        let is_open = |pad: usize| !locked[pad];
        let mut pending = kit.pending.clone();
        pending.retain(|it| is_open(it.pad));
        for pad in (0..PADS).filter(|&pad| is_open(pad) && kit.sound(pad).is_none()) {
            if pending.iter().all(|it| it.pad != pad) {
                pending.push(Pending {
                    pad,
                    task: Task::Generate,
                    seed: seeds[pad],
                    amount: None,
                });
            }
        }
        info.asked = self.ask_in_order(&mut held, gesture, pending);
        held.edit(|project| {
            info.whole = Some(project.pads_alone());
            project.kit = Some(info);
        });
    }

    /// The kit that the pads came of; none before the first was loaded or saved.
    pub fn kit(&self) -> Option<KitInfo> {
        self.project().kit.clone()
    }

    /// Whether sounds, settings or parameters are others than those that the kit had left when it was loaded or saved.
    /// Cheap enough for every picture of a window.
    pub fn is_kit_changed(&self, params: &PluginParams) -> bool {
        let project = self.project();
        let Some(kit) = &project.kit else {
            return false;
        };
        let mut kept = params.kept();
        project.has_other_pads_than_its_kit()
            || kept.any(|(it, now)| {
                let left = kit.params.get(&it.id);
                left.is_some_and(|left| (left - now).abs() > SAME)
            })
    }

    /// Saves the pads as a kit, which they are from then on. What is being made is made when the kit is loaded.
    ///
    /// `info` has the name, the author and the tags; nothing else of it counts. Sounds that are not packed yet are packed
    /// first, which may take a second where they are long: [`Store::pack_one`].
    ///
    /// # Errors
    /// When the file cannot be written; then nothing has changed.
    pub fn save_kit(&self, path: &Path, info: KitInfo, params: &PluginParams) -> Result<()> {
        let (mut saved, asked) = {
            let mut held = self.lock();
            held.gather(&self.board);
            let mut saved = (*held.project).clone();
            let requests = held.requests.all(&self.board);
            saved.pending = requests.iter().map(Pending::of).collect();
            let gestures = requests.iter().map(Request::gesture);
            (saved, [gestures.clone().min(), gestures.max()])
        };
        let mut info = KitInfo {
            params: params.kit_values(),
            name: info.name,
            author: info.author,
            tags: info.tags,
            ..KitInfo::default()
        };
        saved.kit = Some(info.clone());
        // They are of a device on this desk.
        saved.controllers = Controllers::default();
        kits::write(path, &saved)?;
        saved.pending.clear();
        info.place = Some(Place::File(path.to_owned()));
        info.asked = asked.map(Option::unwrap_or_default);
        info.whole = Some(saved.pads_alone());
        let mut held = self.lock();
        held.edit(|project| project.kit = Some(info));
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The kit is elsewhere, or called otherwise, from now on.
    pub fn renamed_kit(&self, from: &Place, to: &Place, name: &str) {
        let mut held = self.lock();
        let is_it = |kit: &KitInfo| kit.place.as_ref() == Some(from);
        if held.project.kit.as_ref().is_some_and(is_it) {
            held.edit(|project| {
                if let Some(kit) = &mut project.kit {
                    kit.place = Some(to.clone());
                    name.clone_into(&mut kit.name);
                }
            });
        }
    }
}

impl Held {
    /// A pad may have another sound than in `before`: plays it, and puts it into the pad's history.
    pub(super) fn show_change(&mut self, pad: usize, before: &Project) {
        let sounds = |project: &Project| -> Vec<_> {
            let sounds = project.sound(pad).into_iter().chain(&project.takes[pad]);
            sounds.map(Arc::as_ptr).collect()
        };
        if sounds(before) == sounds(&self.project) {
            return;
        }
        self.publish(pad);
        match self.project.sound(pad).cloned() {
            Some(sound)
                if before
                    .sound(pad)
                    .is_none_or(|old| !Arc::ptr_eq(old, &sound)) =>
            {
                self.histories[pad].push(sound);
            }
            _ => {}
        }
    }

    /// The sound of a request was made. If it is the kit's, the kit has it from now on.
    pub(super) fn note_kit_sound(&mut self, request: &Request) {
        let sound = self.project.sound(request.pad).cloned();
        let is_kits = |kit: &KitInfo| kit.has_asked(request.gesture()) && kit.whole.is_some();
        if self.project.kit.as_ref().is_some_and(is_kits) {
            self.edit(|project| {
                let whole = project.kit.as_mut().and_then(|kit| kit.whole.as_mut());
                if let Some(whole) = whole {
                    Arc::make_mut(whole).set_sound(request.pad, sound);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{load, make, save, seeds};
    use super::*;
    use crate::kit::PadSettings;
    use crate::store::ProjectField;
    use crate::stored::StoredSound;
    use crate::stored::tests::{clip, recipe};
    use crate::undo::Direction;
    use nice_plug::params::persist::PersistentField;
    use std::collections::BTreeMap;

    /// Parameters as a host would hold them, which sets them later.
    #[derive(Default)]
    pub(crate) struct Host(pub Vec<Value>);

    impl Host {
        pub fn set(&mut self, params: &PluginParams) -> impl FnMut(Value) -> Value {
            |value| {
                self.0.push(value);
                match value {
                    Value::Seed(pad, _) => Value::Seed(pad, params.pads[pad].seed.value()),
                    Value::Knob(index, _) => {
                        let knob = params.knobs().nth(index).unwrap();
                        use nice_plug::prelude::Param;
                        Value::Knob(index, knob.unmodulated_normalized_value())
                    }
                }
            }
        }
    }

    fn sound(seed: u64) -> Arc<StoredSound> {
        Arc::new(StoredSound::new(recipe(seed), &clip(44_100, 0.3)))
    }

    fn kit() -> Project {
        let mut kit = Project::default();
        for pad in 0..PADS {
            kit.set_sound(pad, Some(sound(100 + pad as u64)));
            kit.settings[pad].playing.drive = 0.5;
            kit.settings[pad].making.lock = pad == 2;
        }
        kit.takes[4] = vec![sound(7)];
        kit.selected = 9;
        kit.kit = Some(KitInfo {
            name: "Test".into(),
            params: BTreeMap::from([
                ("gain_1".into(), 0.25),
                ("seed_2".into(), 1.0),
                ("gain_6".into(), 0.25),
            ]),
            ..KitInfo::default()
        });
        kit
    }

    #[test]
    fn a_kit_is_loaded_and_taken_back_as_one_gesture_and_locked_pads_stay() {
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        for pad in 0..PADS {
            make(&store, pad, pad as u64, &clip(44_100, 0.1));
        }
        store.edit(store.gesture(), |project| {
            project.settings[5].making.lock = true;
        });
        store.view(|project| project.selected = 3);
        store.ask(0, Task::Vary);
        let before = store.project();
        let mut host = Host::default();
        store.load_kit(kit(), &params, host.set(&params));
        assert!(
            store.pending(0).is_none(),
            "it would vary a sound that is gone"
        );
        let project = store.project();
        for pad in 0..PADS {
            let expected = if pad == 5 { 5 } else { 100 + pad as u64 };
            assert_eq!(seeds(&store)[pad], Some(expected));
            assert_eq!(
                project.settings[pad].playing.drive,
                if pad == 5 { 0.0 } else { 0.5 }
            );
            assert_eq!(project.is_locked(pad), pad == 5);
        }
        assert_eq!((project.selected, project.takes[4].len()), (3, 1));
        // What it names and has another value, apart from the locked pad's.
        let gain = 1 + crate::params::MACROS.len() + 1;
        assert_eq!(host.0, [Value::Knob(gain, 0.25), Value::Seed(1, 9999)]);
        assert_eq!(store.kit().unwrap().name, "Test");
        assert_eq!(store.history(1), (2, 2));

        let mut host = Host::default();
        store.undo(Direction::Back, host.set(&params));
        assert_eq!(host.0.len(), 2);
        let back = store.project();
        assert_eq!(
            (&back.pads, &back.settings, &back.kit),
            (&before.pads, &before.settings, &None)
        );
        store.undo(Direction::Forth, Host::default().set(&params));
        assert_eq!(store.project(), project);
    }

    #[test]
    fn a_kit_without_sounds_has_them_made_by_its_seeds() {
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        make(&store, 0, 1, &clip(44_100, 0.1));
        let mut kit = kit();
        kit.pads = vec![None, Some(sound(5))];
        kit.pending = vec![Pending {
            pad: 3,
            task: Task::Generate,
            seed: Some(77),
            amount: None,
        }];
        kit.kit
            .as_mut()
            .unwrap()
            .params
            .insert("seed_1".into(), 5.0 / 9999.0);
        store.load_kit(kit, &params, Host::default().set(&params));
        assert_eq!(seeds(&store)[0], Some(1), "heard until the other is there");
        assert_eq!(store.pending(0).unwrap().seed, Some(5));
        assert_eq!(store.pending(3).unwrap().seed, Some(77));
        assert_eq!(store.pending(1), None);
        let finish = |pad: usize, seed| {
            let request = store.pending(pad).unwrap();
            store.finish(&request, StoredSound::new(recipe(seed), &clip(44_100, 0.1)));
        };
        finish(0, 5);
        // Half of it was made when it was taken back; what was not is not made any more, and is made with it again.
        store.undo(Direction::Back, Host::default().set(&params));
        assert_eq!((seeds(&store)[0], store.newest()), (Some(1), 0));
        store.undo(Direction::Forth, Host::default().set(&params));
        assert_eq!((seeds(&store)[0], store.pending(0)), (Some(5), None));
        assert_eq!(store.pending(3).unwrap().seed, Some(77));
        assert!(!store.project().has_other_pads_than_its_kit());
        finish(3, 77);
        assert!(
            !store.project().has_other_pads_than_its_kit(),
            "the sound is the kit's"
        );
        store.ask(3, Task::Vary);
        finish(3, 78);
        assert!(store.project().has_other_pads_than_its_kit());
    }

    #[test]
    fn a_kit_knows_whether_it_was_changed_since() {
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        assert!(store.kit().is_none() && !store.is_kit_changed(&params));
        let mut all = kit();
        all.kit.as_mut().unwrap().params.clear();
        store.load_kit(all, &params, |value| {
            panic!("there is nothing to set: {value:?}")
        });
        assert!(!store.is_kit_changed(&params));
        for change in [
            (|project: &mut Project| project.settings[0].playing.tone = 0.1) as fn(&mut Project),
            |project| project.keys = true,
            |project| project.takes[4].clear(),
            |project| project.settings[9] = PadSettings::of_pad(9),
        ] {
            store.edit(store.gesture(), change);
            assert!(store.is_kit_changed(&params));
            store.undo(Direction::Back, Host::default().set(&params));
            assert!(!store.is_kit_changed(&params), "it is as it was");
        }
        for harmless in [
            (|project: &mut Project| project.selected = 4) as fn(&mut Project),
            |project| project.settings[0].making.lock = true,
            |project| project.settings[0].playing.output = crate::kit::Route::Own,
        ] {
            store.edit(store.gesture(), harmless);
            assert!(!store.is_kit_changed(&params));
        }
        // A host's project knows it too.
        let text = save(&store);
        let (opened, _inbox) = Store::new();
        load(&opened, &text);
        assert_eq!(opened.kit().unwrap().name, "Test");
        assert!(!opened.is_kit_changed(&params));
        opened.edit(opened.gesture(), |project| {
            project.settings[0].playing.tone = 0.1;
        });
        let text = save(&opened);
        let (opened, _inbox) = Store::new();
        load(&opened, &text);
        assert!(opened.is_kit_changed(&params));
        let left = opened.kit().unwrap().params["gain_3"] + 0.1;
        store.edit(store.gesture(), |project| {
            project
                .kit
                .as_mut()
                .unwrap()
                .params
                .insert("gain_3".into(), left);
        });
        assert!(store.is_kit_changed(&params), "a knob was turned");
    }

    #[test]
    fn a_kit_that_was_saved_brings_back_the_same_pads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kits").join("A.audiodiff-kit");
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        store.load_kit(kit(), &params, Host::default().set(&params));
        store.ask(6, Task::Vary);
        let info = KitInfo {
            name: "A".into(),
            tags: vec!["dry".into()],
            ..KitInfo::default()
        };
        store.save_kit(&path, info, &params).unwrap();
        assert!(!store.project().has_other_pads_than_its_kit());
        let kit = store.kit().unwrap();
        assert_eq!(
            (kit.name.as_str(), kit.place),
            ("A", Some(Place::File(path.clone())))
        );

        let saved = crate::kits::read(&path).unwrap();
        assert_eq!(saved.kit.as_ref().unwrap().params, params.kit_values());
        let (other, _inbox) = Store::new();
        other.load_kit(saved, &params, Host::default().set(&params));
        let [mine, others] = [&store, &other].map(|it| it.project());
        assert_eq!((&mine.pads, &mine.takes), (&others.pads, &others.takes));
        assert_eq!(mine.settings[0], others.settings[0]);
        assert_eq!(other.pending(6).unwrap().task, Task::Vary);
        // What it was called is what it is called now.
        let to = Place::File(folder.path().join("B.audiodiff-kit"));
        store.renamed_kit(&Place::File(path), &to, "B");
        assert_eq!(store.kit().unwrap().place, Some(to));
        let project = ProjectField(store.clone()).map(|project| project.clone());
        assert_eq!(project.kit.unwrap().name, "B");
        // A folder that is a file.
        std::fs::write(folder.path().join("file"), "").unwrap();
        let nowhere = folder.path().join("file").join("B.audiodiff-kit");
        let error = store
            .save_kit(&nowhere, KitInfo::default(), &params)
            .unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
