//! The numbers that sounds are given against a reference: their names, and when one is worse than it should be.

use serde::Serialize;

use super::Estimate;

/// Standard errors by which a score must be worse than its floor to be called a fault.
const ERRORS: f64 = 3.5;

/// The numbers of a set of sounds against a reference. Distances need [`FEWEST`](super::FEWEST) sounds, generated and
/// real.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Fréchet distance between the log-mel features, extrapolated to infinitely many sounds, dB².
    pub frechet: Option<Estimate>,
    /// The same with every direction in units of its standard deviation: it sees rare kinds of sounds missing.
    pub frechet_whitened: Option<Estimate>,
    /// Maximum mean discrepancy, unbiased, times 100.
    pub mmd: Option<Estimate>,
    /// How typical the sounds are: 1 for real ones.
    pub density: Option<Estimate>,
    /// Fraction of the reference that has a sound near it: 0.97 for real ones.
    pub coverage: Option<Estimate>,
    /// Fraction of the reference that lies near some sound, by the sounds' own nearness.
    pub recall: Option<Estimate>,
    /// Fraction that classifiers of real sounds take for the class that was asked for. The classifiers are trained on
    /// neither these sounds nor, where they are known, the model's training set; none without classes.
    pub consistency: Option<Estimate>,
    /// Fraction within 2 dB of a training sound, as one recording at another level, trim and bit depth is of itself;
    /// or, among 100 training sounds or more, within 3 dB, as a recording is that was decoded from its log-mel frames,
    /// and three times nearer to it than to any other. Distances are those of [`Pair::distance`](super::Pair).
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

impl Scores {
    pub(super) fn new(
        distances: Option<Distances<Estimate>>,
        consistency: Option<Estimate>,
        copies: Option<Estimate>,
    ) -> Self {
        let of = |get: fn(&Distances<Estimate>) -> Estimate| distances.as_ref().map(get);
        Self {
            frechet: of(|d| d.frechet),
            frechet_whitened: of(|d| d.frechet_whitened),
            mmd: of(|d| d.mmd),
            density: of(|d| d.density),
            coverage: of(|d| d.coverage),
            recall: of(|d| d.recall),
            consistency,
            copies,
        }
    }

    /// A sentence for each score that is worse than `floor`'s by more than the errors of both.
    pub(super) fn worse_than(&self, floor: &Self) -> Vec<String> {
        let sentence = |&(name, get, percent, better): &(&str, Score, bool, &str)| {
            let (own, floor) = (get(self)?, get(floor)?);
            let away = match better {
                "lower" => own.value - floor.value,
                "higher" => floor.value - own.value,
                _ => return None,
            };
            let shown = |x: f64| match percent {
                true => format!("{:.0}%", 100.0 * x),
                false => format!("{x:.1}"),
            };
            let side = if better == "lower" { "more" } else { "less" };
            (away > ERRORS * own.error.hypot(floor.error)).then(|| {
                format!(
                    "{name}: {} ± {}, {side} than the {} ± {} of unseen real sounds",
                    shown(own.value),
                    shown(own.error),
                    shown(floor.value),
                    shown(floor.error)
                )
            })
        };
        SCORES.iter().filter_map(sentence).collect()
    }
}

/// The scores that compare two clouds of points, as plain numbers or with their errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distances<T> {
    pub frechet: T,
    pub frechet_whitened: T,
    pub mmd: T,
    pub density: T,
    pub coverage: T,
    pub recall: T,
}

impl<T: Copy> Distances<T> {
    /// The `summary` of each distance over `rows`.
    pub fn over<U>(rows: &[Self], summary: impl Fn(&[T]) -> U) -> Distances<U> {
        let of = |get: fn(&Self) -> T| summary(&rows.iter().map(get).collect::<Vec<T>>());
        Distances {
            frechet: of(|d| d.frechet),
            frechet_whitened: of(|d| d.frechet_whitened),
            mmd: of(|d| d.mmd),
            density: of(|d| d.density),
            coverage: of(|d| d.coverage),
            recall: of(|d| d.recall),
        }
    }
}
