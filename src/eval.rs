//! How good made sounds are, by distances to real ones and by how their signals are made.
//!
//! [`Sounds`] come from a folder or from a model, heard by an [`Ear`]; a [`Reference`] is made of real ones, once, and
//! then [judges](Reference::judge) any number of others. Every number stands beside its floor, what real sounds get
//! that are not the reference's own, and has a standard error.
//!
//! Sounds are compared as the model would learn them: from their onset, in its format, levelled. The distances are
//! taken between log-mel spectrograms in up to 32 directions in which real sounds differ most, and in the distance from
//! these. They are no "Fréchet audio distance": that name belongs to one particular network's features.
//!
//! A spectrogram averaged over bands and rows is the language that models of log-mel frames themselves speak: a hiss
//! and a train of clicks read alike in it. So [`Signal`]s stand beside the distances, and every one that differs from
//! that of real sounds by more than chance gets a sentence in [`Judgement::verdicts`].

use std::collections::BTreeMap;

use serde::Serialize;

mod classifier;
mod distance;
mod features;
mod reference;
mod report;
mod signal;
mod sounds;

pub use reference::Reference;
pub use report::report;
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
    /// Mean of independent values, and its error.
    pub fn of(values: &[f64]) -> Self {
        let Self { value, error } = Self::spread(values);
        Self {
            value,
            error: error / (values.len() as f64).sqrt(),
        }
    }

    /// Mean of values that hang together, with the deviation of a single one.
    fn spread(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        Self {
            value,
            error: (squares / (n - 1.0).max(1.0)).sqrt(),
        }
    }

    /// The fraction of the cases that hold; none of none.
    fn fraction(cases: &[bool]) -> Option<Self> {
        let values: Vec<f64> = cases
            .iter()
            .map(|&case| f64::from(u8::from(case)))
            .collect();
        (!values.is_empty()).then(|| Self::of(&values))
    }
}

/// What is measured of sounds against a reference. Distances need [`FEWEST`] sounds, made and real.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Fréchet distance between the log-mel features, extrapolated to infinitely many sounds, dB².
    pub frechet: Option<Estimate>,
    /// The same with every direction in units of its spread: sees rare kinds of sounds missing.
    pub frechet_whitened: Option<Estimate>,
    /// Maximum mean discrepancy, unbiased, times 100.
    pub mmd: Option<Estimate>,
    /// How typical the sounds are: 1 for real ones.
    pub density: Option<Estimate>,
    /// Share of the reference that has a sound near it: 0.97 for real ones.
    pub coverage: Option<Estimate>,
    /// Share of the reference that lies near some sound, by the sounds' own nearness.
    pub recall: Option<Estimate>,
    /// Share that a classifier of real sounds takes for what they were asked to be, one that learnt neither them nor
    /// what a model learnt where these are told apart; none without classes.
    pub consistency: Option<Estimate>,
    /// Share that is within 2 dB of a learnt sound, as one recording at another level, trim and bit depth is of itself;
    /// or, among 100 learnt sounds or more, within 3 dB, as it is when it was decoded from log-mel frames, and three
    /// times nearer to it than to any other. Distances are those of [`Pair::distance`].
    pub copies: Option<Estimate>,
}

type Score = fn(&Scores) -> Option<Estimate>;

/// Each score with its name, whether it is a fraction, and which way is better.
pub const SCORES: [(&str, Score, bool, &str); 8] = [
    ("Fréchet distance, dB²", |s| s.frechet, false, "lower"),
    (
        "Fréchet distance, whitened",
        |s| s.frechet_whitened,
        false,
        "lower",
    ),
    ("MMD × 100", |s| s.mmd, false, "lower"),
    ("density", |s| s.density, false, "about 1"),
    ("coverage", |s| s.coverage, true, "higher"),
    ("recall", |s| s.recall, true, "higher"),
    ("class consistency", |s| s.consistency, true, "higher"),
    ("copies", |s| s.copies, true, "lower"),
];

/// A made sound and the learnt one it is nearest to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The made sound.
    pub made: String,
    /// The learnt sound.
    pub learnt: String,
    /// How far they are apart: the root of the mean square of the differences between their log-mel features, where
    /// either sounds, dB.
    pub distance: f64,
    /// Distance to it over the distance to the second nearest, silence counted; none where there is but one.
    pub ratio: Option<f64>,
    /// Whether it counts as a copy.
    pub copy: bool,
}

/// One class of sounds, made and real.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// The label.
    pub label: String,
    /// How many were made, over all rounds.
    pub made: usize,
    /// How many real ones there are.
    pub real: usize,
    /// Share of the made ones that is recognized.
    pub consistency: f64,
    /// Share of the real ones that is recognized.
    pub real_consistency: f64,
    /// What the made ones are most often taken for instead.
    pub taken_for: Option<String>,
    /// Medians over the made ones and the real ones, by the name of the measure.
    pub medians: BTreeMap<&'static str, [Option<f32>; 2]>,
}

/// What came out for sounds from one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Folder or model.
    pub name: String,
    /// Independent sets, each as large as the reference.
    pub rounds: usize,
    /// Usable sounds in all.
    pub sounds: usize,
    /// Silent or unreadable ones.
    pub unusable: usize,
    /// What is plainly wrong, a sentence each: measures that are off by more than their errors.
    pub verdicts: Vec<String>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// The numbers.
    pub scores: Scores,
    /// How noise, attacks and silence are made, beside real sounds.
    pub signals: Vec<Signal>,
    /// By class, where there are classes.
    pub classes: Vec<Class>,
    /// The signals' health.
    pub health: Vec<Health>,
    /// Those nearest to a learnt sound, copies first.
    pub nearest: Vec<Pair>,
}
