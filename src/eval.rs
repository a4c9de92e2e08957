//! Evaluation of generated sounds: distances to real ones, copies of the training set, and measures of their signals.
//!
//! [`Sounds`] come from a folder or from a model, heard by an [`Ear`]; a [`Reference`] is made of real ones, once, and
//! then [evaluates](Reference::evaluate) any number of others. Every number has a standard error, and beside it stands
//! its floor: the number of real sounds that are not the reference's own.
//!
//! Sounds are compared as the model would learn them: from their onset, in its format, levelled. Distances are taken
//! between log-mel spectrograms in up to 32 principal directions of real sounds, and in the length of what these leave
//! over. They are no "Fréchet audio distance": that name belongs to the features of one particular network.
//!
//! Distances of averages over bands and rows are blind to the fine structure of a signal, which a model of log-mel
//! frames does not hold either: a hiss and a train of clicks measure alike. So [`Signal`]s stand beside the distances,
//! and every one that differs from that of real sounds by more than chance gets a sentence in [`Evaluation::verdicts`].
//!
//! ```
//! use audiodiff::audio::Clip;
//! use audiodiff::eval::{Ear, Reference, Sound, Sounds};
//! use audiodiff::noise::Noise;
//! use audiodiff::representation::Format;
//!
//! let ear = Ear::new(Format { sample_rate: 8000, channels: 1, len_frames: 2048 }, 256)?;
//! // Bursts of noise that fade, of a length drawn at random.
//! let bursts = |name: &str, seed: u64| -> audiodiff::Result<Sounds> {
//!     let mut noise = Noise::new(seed);
//!     let mut sounds = Vec::new();
//!     for n in 0..20 {
//!         let decay = noise.between(100.0, 600.0);
//!         let wave = (0..2048).map(|n| (-n as f32 / decay).exp() * noise.normal()).collect();
//!         let clip = Clip::new(8000, vec![wave]);
//!         sounds.extend(Sound::new(&ear, format!("{name} {n}"), None, &clip)?);
//!     }
//!     Ok(Sounds { name: name.into(), format: ear.format(), sounds, unusable: 0, chosen: None })
//! };
//! let reference = Reference::new(bursts("real", 1)?, None, 0)?;
//! let other = reference.evaluate(&[bursts("generated", 2)?])?;
//! // The same sounds again: all are copies.
//! let same = reference.evaluate(&[bursts("recited", 1)?])?;
//! let [other, same] = [other, same].map(|evaluation| evaluation.scores.copies.expect("it is measured"));
//! assert!(same.value == 1.0 && other.value < 1.0);
//! # Ok::<(), audiodiff::Error>(())
//! ```

use std::collections::BTreeMap;

use serde::Serialize;

mod classes;
mod classifier;
mod distance;
mod features;
mod metric;
mod nearest;
mod reference;
mod report;
mod scores;
mod signal;
mod sounds;

pub use features::Features;
pub use reference::Reference;
pub use report::report;
pub use scores::{SCORES, Scores};
pub use signal::{Health, Signal, SignalOfClass};
pub use sounds::{Ear, Part, Sound, Sounds};

/// Fewest sounds that distances are taken between.
pub const FEWEST: usize = 16;

/// A number with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

impl Estimate {
    /// Mean of independent values, and its standard error.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let Self { value, error } = Self::with_deviation(values);
        Self {
            value,
            error: error / (values.len() as f64).sqrt(),
        }
    }

    /// Mean of values that depend on each other, with the standard deviation of a single one as its error.
    fn with_deviation(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        Self {
            value,
            error: (squares / (n - 1.0).max(1.0)).sqrt(),
        }
    }

    /// Mean of independent estimates.
    fn mean(estimates: &[Self]) -> Self {
        let n = estimates.len() as f64;
        let squares: f64 = estimates.iter().map(|e| e.error.powi(2)).sum();
        Self {
            value: estimates.iter().map(|e| e.value).sum::<f64>() / n,
            error: squares.sqrt() / n,
        }
    }

    /// The fraction of the cases that hold; none where there are no cases.
    fn fraction(cases: &[bool]) -> Option<Self> {
        let values: Vec<f64> = cases
            .iter()
            .map(|&case| f64::from(u8::from(case)))
            .collect();
        (!values.is_empty()).then(|| Self::of(&values))
    }
}

/// A generated sound and the training sound that is nearest to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The generated sound.
    pub generated: String,
    /// The training sound; one of the reference where no training set is known.
    pub training: String,
    /// Distance between them, dB: the root of the mean square of the differences between their log-mel features over
    /// the cells in which either sounds.
    pub distance: f64,
    /// Distance to it over the distance to the second nearest, silence included; none where there is but one.
    pub ratio: Option<f64>,
    /// Whether it counts as a copy.
    pub copy: bool,
}

/// One class of sounds, generated and real.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// The label.
    pub label: String,
    /// How many were generated, over all rounds.
    pub generated: usize,
    /// How many real ones there are.
    pub real: usize,
    /// Fraction of the generated ones that is recognized.
    pub consistency: f64,
    /// Fraction of the real ones that is recognized.
    pub real_consistency: f64,
    /// The other class that the generated ones are most often taken for.
    pub taken_for: Option<String>,
    /// Medians over the generated ones and the real ones, by the name of the measure.
    pub medians: BTreeMap<&'static str, [Option<f32>; 2]>,
}

/// The evaluation of the sounds of one model or folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Folder or model.
    pub name: String,
    /// Number of independent sets, each as large as the reference.
    pub rounds: usize,
    /// Usable sounds in all.
    pub sounds: usize,
    /// Silent or unreadable ones.
    pub unusable: usize,
    /// The faults, a sentence each: measures that are off by more than their errors.
    pub verdicts: Vec<String>,
    /// Omissions, with their reasons.
    pub notes: Vec<String>,
    /// Distances, class consistency and copies.
    pub scores: Scores,
    /// Measures of noise, attacks and silence, beside real sounds.
    pub signals: Vec<Signal>,
    /// By class, where there are classes.
    pub classes: Vec<Class>,
    /// The signals' health.
    pub health: Vec<Health>,
    /// The generated sounds that are nearest to a training sound, copies first.
    pub nearest: Vec<Pair>,
}

impl Evaluation {
    /// Whether anything could be compared, so that an absence of [`Evaluation::verdicts`] tells something: too few sounds
    /// have neither distances nor medians.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.scores.frechet.is_some() || self.signals.iter().any(|it| it.difference.is_some())
    }
}
