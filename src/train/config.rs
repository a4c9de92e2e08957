//! Everything that decides a training.

use std::collections::BTreeSet;
use std::num::{NonZeroU64, NonZeroUsize};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::dataset::Augment;
use crate::diffusion::Denoiser;
use crate::diffusion::Target;
use crate::diffusion::guidance::Guided;
use crate::diffusion::objective::Objective;
use crate::error::{Error, Result};
use crate::network::{self, NetworkConfig};
use crate::optim::{AdamConfig, LearningRate};
use crate::representation::{Format, RepresentationConfig};

/// Most clips a step.
pub(super) const MOST_CLIPS: usize = 4096;

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Optimizer steps: the same result on every run.
    Steps(u64),
    /// Minutes of wall-clock time, interruptions not counted.
    Minutes(f64),
}

/// How a finished model is taught to say at once what it says when it is guided [Meng et al. 2023, §3.1], which
/// takes two evaluations at each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distillation {
    /// Noise levels and weights.
    pub objective: Objective,
    /// Guidance of the teacher, the model that it begins from.
    pub guidance: f64,
    /// Noise levels at which the teacher's guidance acts, `(low, high)`.
    pub guidance_interval: (f64, f64),
}

impl Distillation {
    /// The teacher as it is learnt from.
    pub(super) fn guided<'a>(&self, teacher: &'a dyn Denoiser) -> Result<Guided<'a>> {
        Guided::new(teacher, self.guidance, self.guidance_interval)
    }
}

/// The loss that a training minimises.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LossFields", into = "LossFields")]
#[non_exhaustive]
pub enum Loss {
    /// Denoising score matching: its noise levels and weights.
    Denoising(Objective),
    /// Distillation of a model to begin from.
    Distillation(Distillation),
}

impl Loss {
    /// Noise levels and weights.
    #[must_use]
    pub fn objective(&self) -> &Objective {
        match self {
            Self::Denoising(objective) => objective,
            Self::Distillation(own) => &own.objective,
        }
    }
}

/// How files write a [`Loss`].
#[derive(Serialize, Deserialize)]
struct LossFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    objective: Option<Objective>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    distillation: Option<Distillation>,
    /// What earlier editions wrote of consistency tuning.
    #[serde(default, skip_serializing)]
    tuning: Option<serde::de::IgnoredAny>,
}

impl TryFrom<LossFields> for Loss {
    type Error = &'static str;

    fn try_from(fields: LossFields) -> Result<Self, Self::Error> {
        if fields.tuning.is_some() {
            return Err("a run of consistency tuning, which earlier editions did: begin another");
        }
        match (fields.distillation, fields.objective) {
            (Some(own), _) => Ok(Self::Distillation(own)),
            (None, Some(objective)) => Ok(Self::Denoising(objective)),
            (None, None) => Err("expected `objective` or `distillation`, found neither"),
        }
    }
}

impl From<Loss> for LossFields {
    fn from(loss: Loss) -> Self {
        let (objective, distillation) = match loss {
            Loss::Denoising(objective) => (Some(objective), None),
            Loss::Distillation(own) => (None, Some(own)),
        };
        Self {
            objective,
            distillation,
            tuning: None,
        }
    }
}

/// Reads a number that files of the first edition write as 0 where there is none.
fn zero_is_none<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<NonZeroU64, Error: std::fmt::Display>,
{
    let number = Option::<u64>::deserialize(deserializer)?.and_then(NonZeroU64::new);
    let number = number.map(N::try_from).transpose();
    number.map_err(serde::de::Error::custom)
}

/// Everything that decides a training besides the sounds and how they are cut.
///
/// The three recipes [`from_scratch`](Self::from_scratch), [`fine_tune`](Self::fine_tune) and
/// [`distill`](Self::distill) set every number.
///
/// ```
/// # #[cfg(feature = "embedded-model")] {
/// use audiodiff::train::Length;
/// use audiodiff::{Checkpoint, TrainConfig};
///
/// let mut config = TrainConfig::fine_tune(&Checkpoint::embedded()?).steps(2000);
/// config.learning_rate.peak = 1e-4;
/// assert_eq!(config.length, Length::Steps(2000));
/// // It ends before that when sounds that were held back are guessed no better.
/// assert!(config.patience.is_some());
/// # }
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// A short name for the model.
    pub name: String,
    /// Rate, channels and length of the clips.
    pub format: Format,
    /// How clips become frames.
    pub representation: RepresentationConfig,
    /// The network's sizes.
    pub network: NetworkConfig,
    /// The quantity that the network learns to predict.
    pub target: Target,
    /// The loss; `objective` or `distillation` in files.
    #[serde(flatten)]
    pub loss: Loss,
    /// Clips a step; none is what fits memory and cores, and the batch of the run where one is resumed.
    #[serde(
        default,
        deserialize_with = "zero_is_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub batch: Option<NonZeroUsize>,
    /// When to end.
    pub length: Length,
    /// The learning rate over time.
    pub learning_rate: LearningRate,
    /// Of the products on the way forward and back to the maps; weights, their gradients and validation
    /// are in f32.
    #[serde(default)]
    pub precision: network::ComputeType,
    /// The optimizer's numbers.
    pub adam: AdamConfig,
    /// Profile of the averaged weights, see [`Ema::new`](crate::optim::Ema::new).
    pub ema_gamma: f64,
    /// Part of the clips whose class is hidden, so that guidance has an unconditional half.
    pub class_dropout: f32,
    /// Changes made to the sounds, none for the sounds as they are.
    pub augment: Option<Augment>,
    /// Whether the network is conditioned on what the sounds are like. A fine-tuned one is only if it was before, and
    /// without this never again.
    #[serde(default, alias = "portraits")]
    pub attributes: bool,
    /// Whether one-shots are learnt in clips as long as they are, halves of the longest, rather than in the longest
    /// alone. It takes attributes, by which a finished model knows how long a sound will be.
    #[serde(default)]
    pub clip_lengths: bool,
    /// Licence of the weights that are learnt; nobody else's is taken over.
    #[serde(default)]
    pub licence: Option<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps between validations.
    pub validate_every: u64,
    /// Validations in a row without a better one, from where the learning rate falls, after which the run ends, if it
    /// does. The model is then that of the last validation which was not shown to be above the lowest.
    #[serde(
        default,
        deserialize_with = "zero_is_none",
        skip_serializing_if = "Option::is_none"
    )]
    pub patience: Option<NonZeroU64>,
    /// Seconds between checkpoints.
    pub save_every_s: f64,
}

impl TrainConfig {
    pub(super) fn validate(&self) -> Result<()> {
        let fail = |what: &str, expected: &str, found: &dyn std::fmt::Display| {
            Err(Error::setting(format!(
                "{what}: expected {expected}, found {found}"
            )))
        };
        if let Some(batch) = self.batch.filter(|batch| batch.get() > MOST_CLIPS) {
            return fail("batch", &format!("1 to {MOST_CLIPS}"), &batch);
        }
        if self.validate_every == 0 {
            return fail("steps between validations", "at least 1", &0);
        }
        let LearningRate { peak, decay, .. } = self.learning_rate;
        if !(peak > 0.0 && peak <= 1.0) {
            return fail("learning rate", "more than 0, at most 1", &peak);
        }
        let AdamConfig {
            beta1,
            beta2,
            max_grad_norm_ratio,
            ..
        } = self.adam;
        for (what, fraction) in [
            ("decay", decay),
            ("class dropout", f64::from(self.class_dropout)),
            ("beta1", beta1),
            ("beta2", beta2),
        ] {
            if !(0.0..=1.0).contains(&fraction) {
                return fail(what, "0 to 1", &fraction);
            }
        }
        if max_grad_norm_ratio.is_nan() || max_grad_norm_ratio <= 0.0 {
            return fail("gradient norm ratio", "more than 0", &max_grad_norm_ratio);
        }
        if !(0.0..=1e3).contains(&self.ema_gamma) {
            return fail("EMA gamma", "0 to 1000", &self.ema_gamma);
        }
        if self.save_every_s.is_nan() || self.save_every_s < 0.0 {
            return fail("time between checkpoints", "0 or more", &self.save_every_s);
        }
        match self.length {
            Length::Minutes(m) if !(m > 0.0 && m.is_finite()) => fail("minutes", "more than 0", &m),
            Length::Steps(0) => fail("steps", "at least 1", &0),
            _ => Ok(()),
        }
    }

    /// What keeps a run of the configuration `run` from going on with this one, in words: all must agree but name,
    /// licence, length and pace of reporting. Each setting is named as files name it, with its flag.
    pub(super) fn difference(&self, run: &Self) -> Option<String> {
        const FREE: [&str; 6] = [
            "name",
            "licence",
            "length",
            "validate_every",
            "save_every_s",
            "patience",
        ];
        let plain =
            |config: &Self| serde_json::to_value(config).expect("the configuration is plain data");
        let (mut own, mut other) = (plain(run), plain(self));
        for value in [&mut own, &mut other]
            .into_iter()
            .filter_map(Value::as_object_mut)
        {
            value.retain(|key, _| !FREE.contains(&&**key));
        }
        let mut found = Vec::new();
        differences("", &own, &other, &mut found);
        let listed: Vec<String> = found.iter().take(LISTED).cloned().collect();
        match found.len().saturating_sub(LISTED) {
            0 if found.is_empty() => None,
            0 => Some(listed.join(", ")),
            more => Some(format!("{} and {more} more", listed.join(", "))),
        }
    }
}

/// So many settings that differ are listed.
const LISTED: usize = 4;

/// The flags of settings, by how their paths in files begin.
const FLAGS: [(&str, &str); 15] = [
    ("batch", "--batch"),
    ("seed", "--seed"),
    ("learning_rate.peak", "--learning-rate"),
    ("precision", "--precision"),
    ("format.sample_rate", "--sample-rate"),
    ("format.channels", "--channels"),
    ("format.len_frames", "--seconds"),
    ("representation", "--representation"),
    ("network", "--preset"),
    ("target", "--target"),
    ("objective.p_mean", "--p-mean"),
    ("objective.p_std", "--p-std"),
    ("objective.min_snr_gamma", "--min-snr-gamma"),
    ("augment", "--no-augment"),
    ("attributes", "--no-attributes"),
];

/// Adds to `found` every setting below `path` in which a run and what is asked for differ.
fn differences(path: &str, run: &Value, asked: &Value, found: &mut Vec<String>) {
    if run == asked {
        return;
    }
    if let (Value::Object(own), Value::Object(other)) = (run, asked) {
        let keys: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
        for key in keys {
            let below = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let side = |side: &'_ serde_json::Map<String, Value>| {
                side.get(key).cloned().unwrap_or_default()
            };
            differences(&below, &side(own), &side(other), found);
        }
        return;
    }
    let flag = FLAGS.iter().find(|(begin, _)| path.starts_with(begin));
    let flag = flag.map_or(String::new(), |(_, flag)| format!(" ({flag})"));
    let shown = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(_) => "some".to_owned(),
        other => other.to_string(),
    };
    found.push(format!(
        "{path}{flag} is {} there, found {}",
        shown(run),
        shown(asked)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_the_first_edition_is_read_by_its_names() {
        let first = r#"{"name": "x", "format": {"sample_rate": 44100, "channels": 1, "len_frames": 49152},
            "representation": {"kind": "mel", "n_fft": 2048, "hop": 256, "mels": 128, "floor_db": -60.0, "stereo": "midside"},
            "network": {"kind": "unet", "levels": [{"width": 192, "blocks": 1}], "embedding": 128, "groups": 8, "head_width": 64},
            "target": "x", "objective": {"log_sigma_mean": 1.3, "log_sigma_deviation": 1.8, "weight_clip": 12.0, "sigma_data": 1.0},
            "batch": 8, "length": {"steps": 12}, "learning_rate": {"peak": 0.0002, "warmup": 50, "decay": 0.4},
            "adam": {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-08, "weight_decay": 0.0, "clip_ratio": 2.5},
            "ema_gamma": 6.94, "class_dropout": 0.12, "augment": null, "portraits": true, "seed": 3, "validate_every": 6,
            "save_every_s": 240.0}"#;
        let config: TrainConfig = serde_json::from_str(first).expect("a configuration");
        let objective = Objective {
            p_mean: 1.3,
            p_std: 1.8,
            min_snr_gamma: 12.0,
            sigma_data: 1.0,
        };
        assert_eq!(config.loss, Loss::Denoising(objective));
        assert_eq!(
            (config.batch, config.patience),
            (NonZeroUsize::new(8), None)
        );
        assert_eq!(config.adam.max_grad_norm_ratio, 2.5);
        assert!(config.attributes);
        let again = serde_json::to_string(&config).expect("plain data");
        assert_eq!(
            serde_json::from_str::<TrainConfig>(&again).expect("its own"),
            config
        );
        let plain = first.replace("\"batch\": 8", "\"batch\": 0, \"patience\": 0");
        let config: TrainConfig = serde_json::from_str(&plain).expect("a configuration");
        assert_eq!((config.batch, config.patience), (None, None));
        let refusal = |text: &str| {
            let error = serde_json::from_str::<TrainConfig>(text).expect_err("no loss");
            error.to_string()
        };
        let tuning = plain.replace("\"batch\"", "\"tuning\": {\"guidance\": 1.0}, \"batch\"");
        assert!(refusal(&tuning).contains("consistency tuning"));
        let neither = plain.replace("\"objective\"", "\"y\"");
        assert!(refusal(&neither).contains("`objective` or `distillation`"));
    }
}
