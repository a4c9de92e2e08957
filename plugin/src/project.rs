//! A project: the sound of each pad, what is still being made, and the model.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};

use crate::pad::PADS;
use crate::store::Task;
use crate::stored::StoredSound;

/// A sound that is yet to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The pad that is to have it, from 0 on.
    pub pad: usize,
    /// The kind of sound.
    pub task: Task,
}

/// The part of a project that is not parameters: a sound for each pad that has one, what is still being made, and the
/// model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "AnyProject")]
pub struct Project {
    /// At most [`PADS`].
    #[serde(serialize_with = "serialize_pads")]
    pub pads: Vec<Option<Arc<StoredSound>>>,
    /// The file of the model that makes sounds; none for the one that is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Sounds that were being made when it was saved, the first asked for first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// How many parts were damaged and left out.
    #[serde(skip)]
    pub damaged: usize,
}

fn serialize_pads<S: Serializer>(
    pads: &[Option<Arc<StoredSound>>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pads.iter().map(Option::as_deref))
}

/// A project of any version. A damaged pad does not spoil the others.
#[derive(Deserialize)]
#[serde(untagged)]
enum AnyProject {
    Pads {
        pads: Vec<Perhaps<StoredSound>>,
        #[serde(default)]
        model: Perhaps<PathBuf>,
        #[serde(default)]
        pending: Perhaps<Vec<Perhaps<Pending>>>,
    },
    /// From before there were pads: one sound.
    One {
        sound: Perhaps<StoredSound>,
    },
    Other(IgnoredAny),
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
        let pads = match any {
            AnyProject::Pads {
                pads,
                model,
                pending,
            } => {
                project.model = model.or_count(&mut project.damaged);
                let pending = pending.or_count(&mut project.damaged);
                for pending in pending.into_iter().flatten() {
                    let pending = pending.or_count(&mut project.damaged);
                    project.pending.extend(pending.filter(|it| it.pad < PADS));
                }
                pads
            }
            AnyProject::One { sound } => vec![sound],
            AnyProject::Other(_) => vec![Perhaps::Damaged(IgnoredAny)],
        };
        for pad in pads.into_iter().take(PADS) {
            let sound = pad.or_count(&mut project.damaged);
            project.pads.push(sound.map(Arc::new));
        }
        project
    }
}

impl Project {
    /// The sound of a pad.
    #[must_use]
    pub fn sound(&self, pad: usize) -> Option<&Arc<StoredSound>> {
        self.pads.get(pad)?.as_ref()
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
}
