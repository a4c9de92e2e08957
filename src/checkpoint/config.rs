//! [`ModelConfig`]: everything about a model but its weights.

use serde::{Deserialize, Serialize};

use crate::attributes::{Attribute, AttributeKnots, Attributes};
use crate::dataset::{Descriptor, MAX_LABELS, MAX_NAME};
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::{NoiseSchedule, Schedule};
use crate::diffusion::{Modulation, ModulationSpectrum, Preconditioned, Preconditioning, Target};
use crate::error::{Error, Result};
use crate::names::{find, meant};
use crate::network::{Network, NetworkConfig, NetworkDims, Weights};
use crate::representation::{ClipLengths, Crop, Format, RepresentationConfig, Statistics};

/// The newest format this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Most sounds whose attributes a model carries; a larger training keeps those of every n-th sound of each class.
pub const MAX_ATTRIBUTES: usize = 4096;

/// Everything about a model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Version of the file format, [`FORMAT_VERSION`] when written by this build.
    pub format_version: u32,
    /// A short name for people.
    pub name: String,
    /// Rate, channels and length of its clips.
    pub format: Format,
    /// Where its clips begin in the training sounds. Absent in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// How clips become frames.
    pub representation: RepresentationConfig,
    /// The representation's statistics of the training set.
    pub statistics: Statistics,
    /// Class names, in the order of the network's table; empty for an unconditional model.
    pub labels: Vec<String>,
    /// Descriptor names, in the order of the network's inputs.
    pub descriptors: Vec<String>,
    /// Attributes of the training sounds, each with its label's place in `labels`; empty for a network that is
    /// not conditioned on any. Absent in older files.
    #[serde(default, skip_serializing_if = "Vec::is_empty", alias = "portraits")]
    pub attributes: Vec<(Option<u32>, Attributes)>,
    /// How the network is given them. Absent in older files.
    #[serde(default, skip_serializing_if = "is_coarse")]
    pub attribute_knots: AttributeKnots,
    /// Until when each of those sounds is heard, seconds, where the network learnt each in a clip of its length; empty
    /// where all clips were as long as the longest, as in older files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<f32>,
    /// Standard deviation of the clean frames.
    pub sigma_data: f64,
    /// Noise level at which sounds are begun: all of them drown in it. Absent in older files, which mean 20.
    #[serde(default = "old_sigma_max")]
    pub sigma_max: f64,
    /// The quantity that the raw network predicts.
    pub target: Target,
    /// The modulation spectrum of the training set, by which the network is preconditioned; absent where each value is
    /// scaled alike, as in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modulation: Option<ModulationSpectrum>,
    /// The raw network's sizes.
    pub network: NetworkConfig,
    /// How it is best rendered; absent for an ordinary denoiser, which suits every sampler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<Rendering>,
    /// How the weights came to be.
    #[serde(default)]
    pub training: TrainingRecord,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_coarse(knots: &AttributeKnots) -> bool {
    *knots == AttributeKnots::Coarse
}

fn old_sigma_max() -> f64 {
    20.0
}

/// Steps of a distilled model before others were measured.
pub(crate) const FEW_STEPS: usize = 4;

/// How they are spread where the teacher's many were so in `log sigma`: four of the same spread are too coarse between
/// pure noise and the level at which a sound has its outline, and what is left to do below is little.
const SPREAD_OF_FEW: Schedule = Schedule::Karras { rho: 9.0 };

/// How a model is best rendered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendering {
    /// The sampler.
    pub sampler: Sampler,
    /// How the steps are spread.
    pub schedule: Schedule,
    /// How strongly to insist on the class.
    pub guidance: f64,
    /// Steps where nothing else is asked for.
    pub steps: usize,
    /// Of a distilled model: how it was rendered before, and how one that is fine-tuned from it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undistilled: Option<Undistilled>,
    /// Older files hold this instead of `excess`: numbers of steps, with the Fréchet distance to real sounds over that
    /// of the model's teacher, measured once, without an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<(usize, f64)>,
    /// How much farther from real sounds than its teacher the model was at some numbers of steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excess: Vec<Excess>,
}

impl Rendering {
    /// So many steps of a sampler, at a guidance.
    #[must_use]
    pub fn new(sampler: Sampler, schedule: Schedule, steps: usize, guidance: f64) -> Self {
        Self {
            sampler,
            schedule,
            guidance,
            steps,
            undistilled: None,
            measured: Vec::new(),
            excess: Vec::new(),
        }
    }

    /// That of a model which learnt to say what one rendered so does, before its steps were measured.
    #[must_use]
    pub fn distilled(&self) -> Self {
        let schedule = match self.schedule {
            Schedule::LogSnr => SPREAD_OF_FEW,
            other => other,
        };
        Self {
            undistilled: Some(Undistilled {
                schedule: self.schedule,
                guidance: self.guidance,
                steps: self.steps,
            }),
            ..Self::new(self.sampler, schedule, FEW_STEPS, 1.0)
        }
    }

    /// That of a denoiser which goes on from a model rendered so; nothing where a model of few steps tells nothing of
    /// one.
    #[must_use]
    pub fn undistilled(&self) -> Option<Self> {
        match self.undistilled {
            Some(own) => Some(Self::new(
                self.sampler,
                own.schedule,
                own.steps,
                own.guidance,
            )),
            None => Some(self.clone()).filter(|_| self.sampler != Sampler::Consistency),
        }
    }

    fn validate(&self) -> Result<()> {
        let steps = 1..=NoiseSchedule::MAX_STEPS;
        let is_measure = |&(at, ratio): &(usize, f64)| steps.contains(&at) && ratio.is_finite();
        let is_excess = |excess: &Excess| {
            steps.contains(&excess.steps)
                && excess.value.is_finite()
                && excess.error.is_finite()
                && excess.error >= 0.0
        };
        let is_known = |own: Undistilled| own.guidance.is_finite() && steps.contains(&own.steps);
        if self.guidance.is_finite()
            && steps.contains(&self.steps)
            && self.undistilled.is_none_or(is_known)
            && self.measured.len().max(self.excess.len()) <= MAX_LABELS
            && self.measured.iter().all(is_measure)
            && self.excess.iter().all(is_excess)
        {
            return Ok(());
        }
        Err(Error::setting(format!(
            "rendering: expected numbers and 1 to {} steps, found {self:?}",
            NoiseSchedule::MAX_STEPS
        )))
    }
}

/// How a model was rendered before it was distilled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Undistilled {
    /// How the steps were spread.
    pub schedule: Schedule,
    /// How strongly it insisted on the class, which became part of the distilled model.
    pub guidance: f64,
    /// Steps.
    pub steps: usize,
}

/// A difference between Fréchet distances to real sounds, dB².
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Excess {
    /// Steps of the model.
    pub steps: usize,
    /// Its distance less that of its teacher: negative where it is nearer.
    pub value: f64,
    /// Standard error over the rounds that it was measured in.
    pub error: f64,
}

/// Facts about a training, for `info` and model cards. Nothing is computed from them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingRecord {
    /// Version of audiodiff that wrote the file.
    pub audiodiff_version: String,
    /// Optimizer steps; those of the models that it was fine-tuned or distilled from are not counted.
    pub steps: u64,
    /// Clips seen.
    #[serde(alias = "windows")]
    pub clips: u64,
    /// Wall-clock seconds of training.
    pub seconds: f64,
    /// Validation loss of the averaged weights, when there was something to validate on.
    pub validation_loss: Option<f32>,
    /// Training sounds.
    pub sounds: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the model it was fine-tuned or distilled from.
    #[serde(alias = "tuned_from")]
    pub fine_tuned_from: Option<String>,
    /// All training before: of that model, and of those that it was fine-tuned or distilled from in turn, as far as
    /// their files tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<TrainingTotals>,
    /// Licence of the weights, as whoever trained them stated it. That of a model it was fine-tuned or distilled from is
    /// not taken over: it says nothing of the sounds that were learnt since.
    pub licence: Option<String>,
    /// Licence of the model it was fine-tuned or distilled from, as that stated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence_before: Option<String>,
}

/// How long a model and those before it were trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingTotals {
    /// Optimizer steps.
    pub steps: u64,
    /// Clips seen.
    #[serde(alias = "windows")]
    pub clips: u64,
    /// Wall-clock seconds of training.
    pub seconds: f64,
}

impl TrainingRecord {
    /// Training in all, that of earlier models included.
    #[must_use]
    pub fn totals(&self) -> TrainingTotals {
        let before = self.before.unwrap_or_default();
        TrainingTotals {
            steps: before.steps.saturating_add(self.steps),
            clips: before.clips.saturating_add(self.clips),
            seconds: before.seconds + self.seconds,
        }
    }
}

impl ModelConfig {
    /// Checks every number and name, so that the rest of the library can trust them.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Shape`] with what was expected and found.
    pub fn validate(&self) -> Result<()> {
        check_version(self.format_version)?;
        self.representation.validate(&self.format)?;
        self.network.validate()?;
        self.check_names()?;
        self.check_attributes()?;
        check_range("sigma_data", self.sigma_data, (1e-3, 1e3))?;
        if let Some(rendering) = &self.rendering {
            rendering.validate()?;
        }
        check_range("sigma_max", self.sigma_max, (1.0, 1e4))?;
        self.check_frames()?;
        self.check_modulation()?;
        // Builds the transform: this checks the statistics.
        self.representation
            .build(&self.format, &self.statistics)
            .map(drop)
    }

    /// Names are short and printable, and there are few.
    fn check_names(&self) -> Result<()> {
        let record = &self.training;
        let names = self
            .labels
            .iter()
            .chain(&self.descriptors)
            .chain([&self.name, &record.audiodiff_version])
            .chain(&record.fine_tuned_from)
            .chain(&record.licence)
            .chain(&record.licence_before);
        for name in names {
            if name.len() > MAX_NAME {
                return Err(Error::setting(format!(
                    "names: expected at most {MAX_NAME} bytes, found one of {}",
                    name.len()
                )));
            }
            // They are printed to terminals.
            if name.chars().any(char::is_control) {
                return Err(Error::setting(format!(
                    "names: expected no control characters, found {name:?}"
                )));
            }
        }
        let (labels, descriptors) = (self.labels.len(), self.descriptors.len());
        if labels > MAX_LABELS || descriptors > MAX_LABELS {
            return Err(Error::setting(format!(
                "expected at most {MAX_LABELS} labels and descriptors, found {labels} and {descriptors}"
            )));
        }
        Ok(())
    }

    /// The attributes are those of sounds, and each of a class that is there.
    fn check_attributes(&self) -> Result<()> {
        let (sounds, labels) = (self.attributes.len(), self.labels.len());
        if sounds > MAX_ATTRIBUTES {
            return Err(Error::setting(format!(
                "expected those of at most {MAX_ATTRIBUTES} sounds, found {sounds}"
            )));
        }
        if !self.ends.is_empty() && self.ends.len() != sounds {
            return Err(Error::setting(format!(
                "ends: expected one for each of {sounds} sounds, found {}",
                self.ends.len()
            )));
        }
        if let Some(end) = self.ends.iter().find(|end| !(0.0..=1e6).contains(*end)) {
            return Err(Error::setting(format!(
                "ends: expected seconds, found {end}"
            )));
        }
        for (label, attributes) in &self.attributes {
            let is_known = label.is_none_or(|label| (label as usize) < labels);
            if !is_known || !attributes.is_plausible() {
                return Err(Error::setting(format!(
                    "attributes: expected measures of a sound and one of {labels} labels, found {label:?}, {:?}",
                    attributes.0
                )));
            }
        }
        Ok(())
    }

    /// The spectrum fits the frames, and its network gives what it is made for.
    fn check_modulation(&self) -> Result<()> {
        let Some(spectrum) = &self.modulation else {
            return Ok(());
        };
        if self.target != Target::X || !self.network.is_conditional() {
            return Err(Error::setting(
                "modulation spectrum: expected a U-Net that predicts the clean clip, found another network",
            ));
        }
        spectrum.check(self.dims().width)
    }

    /// The network can take the frames of a clip.
    fn check_frames(&self) -> Result<()> {
        let (frames, multiple) = (self.frames(), self.network.frames_multiple());
        if frames == 0 || frames % multiple != 0 {
            return Err(Error::setting(format!(
                "clip length: expected a multiple of {multiple} frames, found {frames}"
            )));
        }
        self.network.check_frames(frames)
    }

    /// `T`, the number of encoded frames of one clip.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.representation.frames(self.format.len_frames)
    }

    /// The lengths of the clips that it learnt, and makes.
    #[must_use]
    pub fn clip_lengths(&self) -> ClipLengths {
        let unit = self.representation.hop() * self.network.frames_multiple();
        match self.ends.is_empty() {
            true => ClipLengths::one(self.format.len_frames),
            false => ClipLengths::halved(&self.format, unit),
        }
    }

    /// Where its clips begin in the training sounds, as far as the file tells: older ones do not say it, but only
    /// clips cut at their onset had attributes.
    #[must_use]
    pub fn training_crop(&self) -> Option<Crop> {
        let by_attributes = (!self.attributes.is_empty()).then_some(Crop::Onset);
        self.crop.or(by_attributes)
    }

    /// The sizes the network is built into.
    #[must_use]
    pub fn dims(&self) -> NetworkDims {
        NetworkDims {
            width: self.representation.width(self.format.channels),
            gates: self.modulation.is_some(),
            labels: self.labels.len(),
            descriptors: self.descriptors.len() + self.attribute_columns(),
        }
    }

    /// The model's denoiser, whose network takes its parameters from `weights`.
    ///
    /// # Errors
    /// When a size is out of bounds, or `weights` lacks a parameter of the right shape.
    pub fn denoiser(&self, weights: &mut dyn Weights) -> Result<Preconditioned<Box<dyn Network>>> {
        let preconditioning = match &self.modulation {
            Some(spectrum) => Preconditioning::Modulation(Modulation::new(spectrum.clone())),
            None => Preconditioning::Uniform {
                sigma_data: self.sigma_data,
                target: self.target,
            },
        };
        Ok(Preconditioned {
            network: self.network.build(self.dims(), weights)?,
            preconditioning,
        })
    }

    /// Names of everything that can be set beside the class and changes what is heard: older models are conditioned on
    /// changes that their representation does not hold.
    #[must_use]
    pub fn descriptor_names(&self) -> Vec<String> {
        let mut names = self.descriptors.clone();
        names.retain(|name| !self.is_unheard(name));
        if !self.attributes.is_empty() {
            names.extend(Attribute::ALL.map(|attribute| attribute.name().to_owned()));
        }
        names
    }

    /// Whether a descriptor is of a change that the representation does not hold.
    fn is_unheard(&self, name: &str) -> bool {
        Descriptor::named(name).is_some_and(|known| !known.is_heard_in(&self.representation))
    }

    /// Place in `descriptors` of the one called `name`.
    ///
    /// # Errors
    /// When there is none, or it changes nothing: the sentence lists those that do.
    pub fn descriptor(&self, name: &str) -> Result<usize> {
        let names = self.descriptor_names();
        let known = names.join(", ");
        if self.is_unheard(name) {
            return Err(Error::setting(format!(
                "descriptor {name}: expected one of {known}; over {} frames, which hold neither the level of a sound nor \
                 the sign of its wave, it changes nothing",
                self.representation.name()
            )));
        }
        let found = self.descriptors.iter().position(|own| own == name);
        found.ok_or_else(|| {
            Error::setting(format!(
                "descriptor: expected one of {known}, found `{name}`{}",
                meant(name, &names)
            ))
        })
    }

    /// How many inputs of the network say what a sound is like: [`AttributeKnots::columns`], or none.
    #[must_use]
    pub fn attribute_columns(&self) -> usize {
        if self.attributes.is_empty() {
            0
        } else {
            self.attribute_knots.columns()
        }
    }

    /// Whether it was distilled to need few steps of a sampler of its own, as earlier editions did.
    #[must_use]
    pub fn is_few_step(&self) -> bool {
        let own = self.rendering.as_ref();
        own.is_some_and(|own| own.sampler == Sampler::Consistency)
    }

    /// Whether it was distilled, in one way or another.
    #[must_use]
    pub fn is_distilled(&self) -> bool {
        let own = self.rendering.as_ref();
        self.is_few_step() || own.is_some_and(|own| own.undistilled.is_some())
    }

    /// The class index of `label`, however its letters are composed and, where that leaves but one, in upper or lower
    /// case; the error lists what there is, and what was probably meant.
    ///
    /// # Errors
    /// When the model has no such class.
    pub fn class(&self, label: &str) -> Result<u32> {
        find(label, &self.labels)
            .map(|index| index as u32)
            .ok_or_else(|| {
                Error::setting(if self.labels.is_empty() {
                    format!("class: expected none, as the model has no classes, found `{label}`")
                } else {
                    let (known, meant) = (self.labels.join(", "), meant(label, &self.labels));
                    format!(
                        "class: expected one of the model's classes ({known}), found `{label}`{meant}"
                    )
                })
            })
    }
}

/// The one part of a configuration that every version has.
#[derive(Deserialize)]
pub(super) struct Version {
    pub format_version: u32,
}

fn check_range(what: &str, found: f64, (low, high): (f64, f64)) -> Result<()> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{what}: expected {low} to {high}, found {found}"
    )))
}

pub(super) fn check_version(version: u32) -> Result<()> {
    if (1..=FORMAT_VERSION).contains(&version) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "format version: expected 1 to {FORMAT_VERSION}, found {version} (made by a newer audiodiff?)"
    )))
}
