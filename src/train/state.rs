//! The state of a run: all that changes from step to step, and the file `state.safetensors` that keeps it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::validation::{Kept, Losses, Validations};
use super::{StepReport, TrainConfig, Trainer};
use crate::checkpoint::{
    ModelConfig, StorageType, TrainingTotals, load_tensors, save_tensors, tensor_bytes, tensors_of,
};
use crate::dataset::{Crop, Dataset};
use crate::error::{Error, Result};
use crate::names::composed;
use crate::network::Parameters;
use crate::optim::{Adam, Ema};

/// All that changes from step to step.
pub(super) struct State {
    pub parameters: Parameters,
    pub adam: Adam,
    pub ema: Ema,
    pub done: TrainingTotals,
    pub validations: Validations,
    /// The last step, if its validation is yet to be done.
    pub unvalidated: Option<StepReport>,
}

impl State {
    /// Before the first step.
    pub fn new(parameters: Parameters, config: &TrainConfig) -> Result<Self> {
        Ok(Self {
            adam: Adam::new(&parameters, config.adam)?,
            ema: Ema::new(&parameters, config.ema_gamma)?,
            parameters,
            done: TrainingTotals::default(),
            validations: Validations::default(),
            unvalidated: None,
        })
    }
}

/// The state's numbers in the file, and what the run is of.
#[derive(Debug, Serialize, Deserialize)]
struct StateNote {
    config: TrainConfig,
    model: ModelConfig,
    /// [`Dataset::fingerprint`].
    sounds: String,
    /// [`Checkpoint::fingerprint`](crate::checkpoint::Checkpoint::fingerprint) of the model it began from.
    from: Option<String>,
    step: u64,
    #[serde(alias = "windows")]
    clips: u64,
    seconds: f64,
    adam_steps: u64,
    #[serde(alias = "gradient_norm")]
    grad_norm: f64,
    validation: Option<f32>,
    /// Validation loss and step of the weights that are kept beside the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<(f32, u64)>,
    /// Clips and seconds until then.
    #[serde(default)]
    until_kept: (u64, f64),
    #[serde(default)]
    lowest: Losses,
    #[serde(default)]
    misses: u64,
    /// The last step, if its validation was broken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unvalidated: Option<StepReport>,
}

/// The parts of a run that no setting decides.
pub(super) struct Run<'d> {
    pub folder: PathBuf,
    pub dataset: &'d Dataset,
    /// Fingerprint of the model that it began from.
    pub from: Option<String>,
}

/// The state of an interrupted run, as its file has it.
pub(super) struct SavedState {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    note: StateNote,
}

impl SavedState {
    /// Reads the file of the run in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or another version of audiodiff wrote it.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = path_in(folder);
        if !path.exists() {
            return Ok(None);
        }
        let (tensors, note) = load_tensors(&path)?;
        Self::understood(folder, tensors, &note).map(Some)
    }

    /// The state of the run in `folder` as rank 0 told it, which alone reads the folder.
    ///
    /// # Errors
    /// When another version of audiodiff told it.
    pub fn told(folder: &Path, bytes: &[u8]) -> Result<Self> {
        let (tensors, note) = tensors_of(bytes, &path_in(folder))?;
        Self::understood(folder, tensors, &note)
    }

    fn understood(folder: &Path, tensors: BTreeMap<String, Tensor>, note: &str) -> Result<Self> {
        let path = path_in(folder);
        let note = serde_json::from_str(note).map_err(|e| {
            Error::checkpoint(
                &path,
                format!(
                    "its training state cannot be understood ({e}); another version of audiodiff may have written it. \
                     Choose another --out: --from {} goes on from its weights",
                    model_in(folder).display()
                ),
            )
        })?;
        Ok(Self {
            path,
            tensors,
            note,
        })
    }

    /// The configuration of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.note.config
    }

    /// Fails unless `config` and `run` may go on with this state.
    ///
    /// # Errors
    /// [`Error::Setting`] that says what differs.
    pub fn check(&self, config: &TrainConfig, run: &Run<'_>) -> Result<()> {
        let note = &self.note;
        let refuse = |reason: String| {
            Err(Error::setting(format!(
                "{}: {reason}",
                run.folder.display()
            )))
        };
        // Before the settings, which are those of the beginning.
        if note.from != run.from {
            let name = note.model.training.fine_tuned_from.as_deref();
            let name = name.map_or(String::new(), |name| format!("`{name}` "));
            let began = |fingerprint: &Option<String>, name: &str| match fingerprint {
                Some(hex) => format!("the model {name}{}", hex.get(..8).unwrap_or(hex)),
                None => "nothing".to_owned(),
            };
            return refuse(format!(
                "its run began from {}, not from {}: go on with the --from of the run, or choose another --out",
                began(&note.from, &name),
                began(&run.from, "")
            ));
        }
        if let Some(what) = config.difference(&note.config) {
            return refuse(format!(
                "holds a run with other settings: {what}. Go on with those of its config.json, or choose another --out"
            ));
        }
        let labels = run.dataset.labels();
        // Earlier editions kept them as the file system had them.
        let own: Vec<String> = note
            .model
            .labels
            .iter()
            .map(|label| composed(label))
            .collect();
        if note.model.network.is_conditional() && own != labels {
            let in_words = |labels: &[String]| match labels {
                [] => "none".to_owned(),
                labels => labels.join(", "),
            };
            return refuse(format!(
                "its run has the classes {}, the sounds now have {} (by {}). --labels says where classes come \
                 from, and --include which are used: go on with those of the run, or choose another --out",
                in_words(&own),
                in_words(labels),
                run.dataset.labels_from()
            ));
        }
        let crop = run.dataset.crop();
        if let Some(own) = note.model.crop.filter(|own| *own != crop) {
            let in_words = |crop| match crop {
                Crop::Onset => "onset",
                Crop::Anywhere => "anywhere",
            };
            return refuse(format!(
                "its run has clips that begin as --crop {} says, found {}: go on with that, or choose another --out",
                in_words(own),
                in_words(crop)
            ));
        }
        if note.sounds != run.dataset.fingerprint() {
            return refuse(format!(
                "its run learnt from other sounds, or held back others (--validation, --include): go on with the folder \
                 as it was, or choose another --out (--from {} goes on from its weights)",
                model_in(&run.folder).display()
            ));
        }
        Ok(())
    }

    /// The model under training and the state of it, for a run with this configuration.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn restore(self, config: &TrainConfig, device: &Device) -> Result<(ModelConfig, State)> {
        let Self {
            path,
            tensors,
            note,
        } = self;
        let mut model = note.model;
        model.name.clone_from(&config.name);
        model.training.licence.clone_from(&config.licence);
        model.validate()?;
        let shapes = model.network.parameter_shapes(model.dims())?;
        let weights = prefixed(&path, &tensors, "weights", &shapes)?;
        let mut state = State::new(Parameters::from_weights(&weights, device)?, config)?;
        let adam = &mut state.adam;
        let restored = adam.restore(note.adam_steps, note.grad_norm, &tensors);
        restored
            .and_then(|()| state.ema.restore(&tensors))
            .map_err(|e| match e {
                Error::Setting(reason) => Error::checkpoint(&path, reason),
                other => other,
            })?;
        state.done = TrainingTotals {
            steps: note.step,
            clips: note.clips,
            seconds: note.seconds,
        };
        state.validations.last = note.validation;
        state.unvalidated = note.unvalidated;
        // A run that is no longer to end by its validation saves what it comes to.
        if config.patience.is_none() {
            return Ok((model, state));
        }
        state.validations.misses = note.misses;
        state.validations.lowest = note.lowest;
        if let Some((loss, steps)) = note.kept {
            let (clips, seconds) = note.until_kept;
            state.validations.kept = Some(Kept {
                loss,
                done: TrainingTotals {
                    steps,
                    clips,
                    seconds,
                },
                weights: prefixed(&path, &tensors, "kept", &shapes)?,
            });
        }
        Ok((model, state))
    }
}

/// The tensors `prefix.name` of the file at `path`, one for each name of `shapes`, without the prefix.
fn prefixed(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    prefix: &str,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<BTreeMap<String, Tensor>> {
    let one = |(name, shape): (&String, &Vec<usize>)| {
        let key = format!("{prefix}.{name}");
        let found = tensors.get(&key);
        match found.filter(|found| found.dims() == shape) {
            Some(found) => Ok((name.clone(), found.clone())),
            None => {
                let found = found.map_or("none".to_owned(), |found| format!("{:?}", found.dims()));
                Err(Error::checkpoint(
                    path,
                    format!("expected a tensor `{key}` of {shape:?}, found {found}"),
                ))
            }
        }
    };
    shapes.iter().map(one).collect()
}

pub(super) fn path_in(folder: &Path) -> PathBuf {
    folder.join("state.safetensors")
}

pub(super) fn model_in(folder: &Path) -> PathBuf {
    folder.join("model.safetensors")
}

impl Trainer<'_> {
    /// Writes `state.safetensors`, then `model.safetensors`, whose path it returns: whoever finds a model
    /// finds the state it belongs to.
    ///
    /// # Errors
    /// When a file cannot be written. It is then as it was before.
    pub fn save(&self) -> Result<PathBuf> {
        let (tensors, note) = self.state_tensors();
        save_tensors(&path_in(&self.run.folder), &tensors, &note)?;
        let model = model_in(&self.run.folder);
        self.checkpoint()?.save(&model, StorageType::F32)?;
        Ok(model)
    }

    /// The state for the other ranks to go on from.
    pub(super) fn tell(&self) -> Result<()> {
        if self.group.size() > 1 {
            let (tensors, note) = self.state_tensors();
            self.group.broadcast(tensor_bytes(&tensors, &note)?)?;
        }
        Ok(())
    }

    /// All that `state.safetensors` holds.
    fn state_tensors(&self) -> (BTreeMap<String, Tensor>, String) {
        let State {
            parameters,
            adam,
            ema,
            done,
            validations,
            unvalidated,
        } = &self.state;
        let kept = validations.kept.as_ref();
        let (adam_steps, grad_norm, mut tensors) = adam.state();
        for (name, var) in parameters.iter() {
            tensors.insert(format!("weights.{name}"), var.as_tensor().clone());
        }
        for (name, tensor) in ema.weights() {
            tensors.insert(format!("ema.{name}"), tensor.clone());
        }
        for (name, tensor) in kept.iter().flat_map(|kept| &kept.weights) {
            tensors.insert(format!("kept.{name}"), tensor.clone());
        }
        let note = StateNote {
            config: self.config.clone(),
            model: self.model.clone(),
            sounds: self.run.dataset.fingerprint().to_owned(),
            from: self.run.from.clone(),
            step: done.steps,
            clips: done.clips,
            seconds: done.seconds,
            adam_steps,
            grad_norm,
            validation: validations.last,
            kept: kept.map(|kept| (kept.loss, kept.done.steps)),
            until_kept: kept.map_or((0, 0.0), |kept| (kept.done.clips, kept.done.seconds)),
            lowest: validations.lowest.clone(),
            misses: validations.misses,
            unvalidated: *unvalidated,
        };
        let note = serde_json::to_string(&note).expect("the state is plain data");
        (tensors, note)
    }
}
