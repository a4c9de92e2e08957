//! A project: the sound of each pad, what is still being made, the settings of the pads, and the model.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::controllers::{AllTurned, Controllers};
use crate::keymap::KeyMap;
use crate::kit::{Kit, PadSettings};
use crate::kits::KitInfo;
use crate::pad::PADS;
use crate::requests::{Request, Task};
use crate::stored::StoredSound;
use crate::voice::PadSounds;

/// A sound that is yet to be made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// The pad that is to have it, from 0 on.
    pub pad: usize,
    /// The kind of sound.
    pub task: Task,
    /// The seed to make it with; none for the pad's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i32>,
    /// How far a morph goes, `0..=1`; none for as far as the pad's parameter says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<f32>,
}

impl Pending {
    /// What is kept of a request.
    pub(crate) fn of(request: &Request) -> Self {
        Self {
            pad: request.pad,
            task: request.task,
            seed: request.seed,
            amount: request.amount.filter(|_| request.task == Task::Morph),
        }
    }
}

/// The version of the form in which projects are stored. A later one adds fields, which this one keeps as they are.
pub const FORMAT: u32 = 1;

/// The part of a project that is not parameters: a sound for each pad that has one, what is still being made, the
/// settings of the pads, and the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "AnyProject")]
pub struct Project {
    /// Its form; above [`FORMAT`] where a later version has saved it. 0 from before there was this number.
    pub format: u32,
    /// The kit that it is or came of. It stands before the sounds, so that lists of kits need not read those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kit: Option<KitInfo>,
    /// At most [`PADS`].
    #[serde(serialize_with = "serialize_pads")]
    pub pads: Vec<Option<Arc<StoredSound>>>,
    /// Further takes of the sounds, by pad, in the order in which they came.
    #[serde(
        default,
        skip_serializing_if = "no_takes",
        serialize_with = "serialize_takes"
    )]
    pub takes: Vec<Vec<Arc<StoredSound>>>,
    /// One for each pad.
    pub settings: Vec<PadSettings>,
    /// Whether all keys play the selected pad at their pitch.
    pub keys: bool,
    /// The key of each pad.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keymap: KeyMap,
    /// The controllers of the knobs.
    #[serde(default, skip_serializing_if = "Controllers::is_empty")]
    pub controllers: Controllers,
    /// What controllers had turned and no host knew of when it was saved.
    #[serde(default, skip_serializing_if = "AllTurned::is_empty")]
    pub turned: AllTurned,
    /// The selected pad, from 0 on.
    pub selected: usize,
    /// The file of the model that makes sounds; none for the one that is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The name and fingerprint that the model of that file had when it was last open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    /// Sounds that were being made when it was saved, the first asked for first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// What a later version knows of.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
    /// How many parts were damaged and left out.
    #[serde(skip)]
    pub damaged: usize,
}

impl Default for Project {
    fn default() -> Self {
        Self {
            format: FORMAT,
            kit: None,
            pads: Vec::new(),
            takes: vec![Vec::new(); PADS],
            settings: (0..PADS).map(PadSettings::of_pad).collect(),
            keys: false,
            keymap: KeyMap::default(),
            controllers: Controllers::default(),
            turned: AllTurned::new(),
            selected: 0,
            model: None,
            model_name: None,
            pending: Vec::new(),
            unknown: Map::new(),
            damaged: 0,
        }
    }
}

fn serialize_pads<S: Serializer>(
    pads: &[Option<Arc<StoredSound>>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pads.iter().map(Option::as_deref))
}

fn is_default(keymap: &KeyMap) -> bool {
    *keymap == KeyMap::default()
}

fn no_takes(takes: &[Vec<Arc<StoredSound>>]) -> bool {
    takes.iter().all(Vec::is_empty)
}

fn serialize_takes<S: Serializer>(
    takes: &[Vec<Arc<StoredSound>>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let takes = takes
        .iter()
        .map(|of_pad| -> Vec<&StoredSound> { of_pad.iter().map(AsRef::as_ref).collect() });
    serializer.collect_seq(takes)
}

/// A project of any version. A damaged pad does not spoil the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyProject {
    Pads(Box<Pads>),
    /// From before there were pads: one sound.
    One {
        sound: Box<Perhaps<StoredSound>>,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Pads {
    pads: Vec<Perhaps<StoredSound>>,
    #[serde(default)]
    format: Perhaps<u32>,
    #[serde(default)]
    kit: Perhaps<KitInfo>,
    #[serde(default)]
    takes: Perhaps<Vec<Perhaps<Vec<Perhaps<StoredSound>>>>>,
    #[serde(default)]
    settings: Perhaps<Vec<Perhaps<PadSettings>>>,
    #[serde(default)]
    keys: Perhaps<bool>,
    #[serde(default)]
    keymap: Perhaps<KeyMap>,
    #[serde(default)]
    controllers: Perhaps<Controllers>,
    #[serde(default)]
    turned: Perhaps<AllTurned>,
    #[serde(default)]
    selected: Perhaps<usize>,
    #[serde(default)]
    model: Perhaps<PathBuf>,
    #[serde(default)]
    model_name: Perhaps<String>,
    #[serde(default)]
    pending: Perhaps<Vec<Perhaps<Pending>>>,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Perhaps<T> {
    Whole(Option<T>),
    Damaged(IgnoredAny),
}

impl<T> Default for Perhaps<T> {
    fn default() -> Self {
        Self::Whole(None)
    }
}

impl<T> Perhaps<T> {
    /// What is whole; what is not is counted.
    fn or_count(self, damaged: &mut usize) -> Option<T> {
        match self {
            Self::Whole(whole) => whole,
            Self::Damaged(_) => {
                *damaged += 1;
                None
            }
        }
    }
}

impl From<AnyProject> for Project {
    fn from(any: AnyProject) -> Self {
        let mut project = Self::default();
        let damaged = &mut project.damaged;
        let pads = match any {
            AnyProject::Pads(stored) => {
                let stored = *stored;
                project.format = stored.format.or_count(damaged).unwrap_or(0);
                project.kit = stored.kit.or_count(damaged);
                project.model = stored.model.or_count(damaged);
                project.model_name = stored.model_name.or_count(damaged);
                project.keys = stored.keys.or_count(damaged).unwrap_or(false);
                project.keymap = stored.keymap.or_count(damaged).unwrap_or_default();
                let controllers = stored.controllers.or_count(damaged);
                project.controllers = controllers.unwrap_or_default();
                project.turned = stored.turned.or_count(damaged).unwrap_or_default();
                project.selected = stored.selected.or_count(damaged).unwrap_or(0).min(PADS - 1);
                project.unknown = stored.unknown;
                let settings = stored.settings.or_count(damaged).into_iter().flatten();
                for (place, settings) in project.settings.iter_mut().zip(settings) {
                    if let Some(settings) = settings.or_count(damaged) {
                        *place = settings.in_range();
                    }
                }
                let takes = stored.takes.or_count(damaged).into_iter().flatten();
                for (place, of_pad) in project.takes.iter_mut().zip(takes) {
                    let of_pad = of_pad.or_count(damaged).into_iter().flatten();
                    let whole = of_pad.filter_map(|take| take.or_count(damaged));
                    *place = whole.map(Arc::new).take(PadSounds::MOST - 1).collect();
                }
                let pending = stored.pending.or_count(damaged);
                for pending in pending.into_iter().flatten() {
                    let pending = pending.or_count(damaged);
                    project.pending.extend(pending.filter(|it| it.pad < PADS));
                }
                stored.pads
            }
            AnyProject::One { sound } => vec![*sound],
            AnyProject::Other(_) => vec![Perhaps::Damaged(IgnoredAny)],
        };
        for pad in pads.into_iter().take(PADS) {
            let sound = pad.or_count(&mut project.damaged);
            project.pads.push(sound.map(Arc::new));
        }
        project.format = project.format.max(FORMAT);
        project
    }
}

impl Project {
    /// The sound of a pad.
    #[must_use]
    pub fn sound(&self, pad: usize) -> Option<&Arc<StoredSound>> {
        self.pads.get(pad)?.as_ref()
    }

    /// All sounds of all pads, further takes included.
    pub(crate) fn sounds(&self) -> impl Iterator<Item = &Arc<StoredSound>> {
        self.pads
            .iter()
            .flatten()
            .chain(self.takes.iter().flatten())
    }

    /// Whether its pads sound as those of `other` do, apart from parameters. Locks and outputs are no part of that.
    pub(crate) fn sounds_as(&self, other: &Self) -> bool {
        let same_sounds = (0..PADS).all(|pad| {
            let [own, others] = [self, other].map(|it| {
                let sounds = it.sound(pad).into_iter().chain(&it.takes[pad]);
                sounds.map(Arc::as_ptr)
            });
            own.eq(others)
        });
        let own = self.settings.iter().enumerate();
        let same_settings = own.zip(&other.settings).all(|((pad, own), others)| {
            let mut others = others.clone();
            others.stay_at(&self.settings[pad]);
            *own == others
        });
        same_sounds && same_settings && self.keys == other.keys
    }

    /// Its pads as they are now, to compare with later.
    pub(crate) fn pads_alone(&self) -> Arc<Self> {
        Arc::new(Self {
            kit: None,
            ..self.clone()
        })
    }

    /// Whether its pads differ from those of the kit that it came of, apart from parameters.
    pub(crate) fn has_other_pads_than_its_kit(&self) -> bool {
        self.kit.as_ref().is_some_and(|kit| match &kit.whole {
            Some(whole) => !self.sounds_as(whole),
            None => kit.changed,
        })
    }

    /// Gives a pad a sound, or none. Takes of the one before are no longer its.
    pub(crate) fn set_sound(&mut self, pad: usize, sound: Option<Arc<StoredSound>>) {
        self.takes[pad].clear();
        let pads = self.pads.len().max(pad + 1);
        self.pads.resize(pads, None);
        self.pads[pad] = sound;
    }

    /// The other pad of a morph of `pad`.
    pub(crate) fn other(&self, pad: usize) -> usize {
        self.settings[pad].making.other(pad)
    }

    /// Whether a pad keeps its sound whatever is asked.
    #[must_use]
    pub fn is_locked(&self, pad: usize) -> bool {
        self.settings[pad].making.lock
    }

    /// What the audio thread follows.
    #[must_use]
    pub fn kit(&self) -> Kit {
        Kit {
            pads: std::array::from_fn(|pad| self.settings[pad].playing),
            keys: self.keys.then_some(self.selected),
            keymap: self.keymap,
            controllers: self.controllers,
        }
    }

    /// Whether a later version has saved it.
    #[must_use]
    pub fn is_of_later_version(&self) -> bool {
        self.format > FORMAT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::tests::{clip, recipe};

    #[test]
    fn a_project_with_one_sound_opens_on_the_first_pad() {
        let sound = StoredSound::new(recipe(9), &clip(44_100, 0.5));
        let text = format!("{{\"sound\":{}}}", serde_json::to_string(&sound).unwrap());
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (project.sound(0).map(|sound| &**sound), project.damaged),
            (Some(&sound), 0)
        );
        let none: Project = serde_json::from_str("{\"sound\":null}").unwrap();
        assert_eq!((none.sound(0), none.damaged), (None, 0));
    }

    #[test]
    fn a_key_map_is_kept_and_one_that_is_damaged_is_that_of_before_there_were_any() {
        let mut project = Project::default();
        let text = serde_json::to_string(&project).unwrap();
        assert!(!text.contains("keymap"));
        project.keymap.set(4, 99);
        let text = serde_json::to_string(&project).unwrap();
        let again: Project = serde_json::from_str(&text).unwrap();
        assert_eq!((again.kit().keymap.key(4), &again), (99, &project));
        let text = text.replace("\"keymap\":[36,", "\"keymap\":[-1,");
        let damaged: Project = serde_json::from_str(&text).unwrap();
        assert_eq!((damaged.keymap, damaged.damaged), (KeyMap::default(), 1));
    }

    #[test]
    fn what_a_later_version_added_is_kept_and_its_number_too() {
        let text = "{\"format\":7,\"pads\":[null],\"settings\":[{\"lock\":true,\"swing\":0.5},9],\
                    \"keys\":true,\"selected\":99,\"scenes\":{\"a\":[1,2]}}";
        let project: Project = serde_json::from_str(text).unwrap();
        assert!(project.is_of_later_version() && project.is_locked(0) && project.keys);
        assert_eq!((project.selected, project.damaged), (PADS - 1, 1));
        assert_eq!(project.settings.len(), PADS);
        let saved = serde_json::to_value(&project).unwrap();
        assert_eq!(saved["format"], 7);
        assert_eq!(saved["scenes"], serde_json::json!({"a": [1, 2]}));
        assert_eq!(saved["settings"][0]["swing"], 0.5);
        let again: Project = serde_json::from_value(saved).unwrap();
        let whole = Project {
            damaged: 0,
            ..project
        };
        assert_eq!(again, whole);
        // In sounds and their recipes too.
        let sound = StoredSound::new(recipe(9), &clip(44_100, 0.5));
        let mut stored = serde_json::to_value(&sound).unwrap();
        stored["stretch"] = 2.into();
        stored["recipe"]["attributes"] = serde_json::json!({"brightness": 0.5});
        let kept: StoredSound = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(&kept).unwrap(), stored);
        assert_ne!(kept, sound);
        // What no version has numbered is of this one from now on.
        let old: Project = serde_json::from_str("{\"pads\":[]}").unwrap();
        assert_eq!((old.format, old), (FORMAT, Project::default()));
    }
}
