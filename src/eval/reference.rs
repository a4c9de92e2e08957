//! Real sounds, ready to evaluate others.

use std::collections::BTreeMap;

use super::classes::Recognizer;
use super::metric::{self, Baseline, Metric, place, shuffled};
use super::nearest::{Near, Neighbours};
use super::scores::{Distances, Scores};
use super::signal;
use super::sounds::{Sound, Sounds};
use super::{Estimate, Evaluation, FEWEST};
use crate::error::{Error, Result};
use crate::representation::Format;

/// Pairs that are named as nearest.
const NEAREST: usize = 12;

/// Real sounds, ready to evaluate others.
#[derive(Debug)]
pub struct Reference {
    sounds: Sounds,
    /// The training set, where it is told apart from the reference.
    training: Option<Sounds>,
    metric: Option<Metric>,
    recognizer: Recognizer,
    /// Of the training set, or without one of the reference.
    neighbours: Neighbours,
    floor: Scores,
    training_scores: Option<Scores>,
    notes: Vec<String>,
}

impl Reference {
    /// Prepares real sounds.
    ///
    /// `training` is the set that a model may have been trained on; none of it is in `sounds`. It spans the space that
    /// distances are taken in, copies are sought in it, and its own distance to the reference is measured. Without it
    /// the reference serves for all of this, and the floor is that of sounds which the space does not know either.
    ///
    /// Of fewer than [`FEWEST`] sounds everything but the distances is measured.
    ///
    /// # Errors
    /// When `sounds` or `training` are empty, or in different formats.
    pub fn new(sounds: Sounds, training: Option<Sounds>, seed: u64) -> Result<Self> {
        for part in [Some(&sounds), training.as_ref()].into_iter().flatten() {
            if part.sounds.is_empty() {
                return Err(Error::setting(format!(
                    "{}: expected real sounds to compare with, found none",
                    part.name
                )));
            }
            same_format(&sounds, part)?;
        }
        let recognizer = Recognizer::new(&sounds, seed)?;
        let known = training.as_ref().unwrap_or(&sounds).features();
        let neighbours = Neighbours::new(&known);
        let own = sounds.features();
        let nearest = neighbours.nearest(&own, &known, training.is_none());
        let copies: Vec<bool> = (nearest.iter().flatten())
            .map(|near: &Near| neighbours.is_copy(near))
            .collect();

        let mut notes = Vec::new();
        let known = training.as_ref().map(Sounds::features);
        let baseline = Baseline::new(&own, known.as_deref(), seed, &mut notes);
        let (metric, floor) = baseline.map(|base| (base.metric, base.floor)).unzip();
        let floor = Scores::new(
            floor,
            recognizer.own_consistency(&sounds),
            Estimate::fraction(&copies),
        );
        let training_scores = training
            .as_ref()
            .map(|training| scores_of(training, &sounds, &recognizer, metric.is_some(), seed))
            .transpose()?;
        Ok(Self {
            sounds,
            training,
            metric,
            recognizer,
            neighbours,
            floor,
            training_scores,
            notes,
        })
    }

    /// The reference's sounds.
    #[must_use]
    pub fn sounds(&self) -> &Sounds {
        &self.sounds
    }

    /// The scores of real sounds that neither the reference nor the space knows: one random half of the reference
    /// against the other, in the space of the training set or of the one half. Smaller sets are farther apart: fresh
    /// real sounds of the same sources exceed this by chance only. The errors are the standard deviations between
    /// halvings.
    #[must_use]
    pub fn floor(&self) -> &Scores {
        &self.floor
    }

    /// The scores of the training set, where it is known: of each half of it, at the reference's proportions of
    /// classes, in the space of the other half. Where it is of other sources than the reference, it is farther from it
    /// than the floor; a model that reproduces its training set scores the same.
    #[must_use]
    pub fn training_scores(&self) -> Option<&Scores> {
        self.training_scores.as_ref()
    }

    /// Omissions, with their reasons.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Evaluates generated sounds, one set or several independent ones.
    ///
    /// # Errors
    /// For an empty set, or one in another format than the reference's.
    pub fn evaluate(&self, rounds: &[Sounds]) -> Result<Evaluation> {
        let mut notes = Vec::new();
        let mut distances: Vec<Distances<Estimate>> = Vec::new();
        let (mut answers, mut nearest) = (Vec::new(), Vec::new());
        let known = self.training.as_ref().unwrap_or(&self.sounds);
        for (number, generated) in rounds.iter().enumerate() {
            same_format(&self.sounds, generated)?;
            let n = generated.sounds.len();
            if n == 0 {
                return Err(Error::setting(format!(
                    "{}: expected sounds to evaluate, found none that can be used",
                    generated.name
                )));
            }
            match &self.metric {
                Some(metric) if n >= FEWEST => {
                    distances.push(metric.jackknife(&generated.features(), number as u64));
                }
                Some(_) => notes.push(format!(
                    "distances of round {} are left out: they need {FEWEST} sounds, there are {n}",
                    number + 1,
                )),
                None => (),
            }
            nearest.extend(self.neighbours.pairs(&generated.sounds, known));
            let all: Vec<&Sound> = generated.sounds.iter().collect();
            answers.extend(self.recognizer.answers(&all)?);
        }
        let copies: Vec<bool> = nearest.iter().map(|pair| pair.copy).collect();
        nearest.sort_by(|a, b| b.copy.cmp(&a.copy).then(a.distance.total_cmp(&b.distance)));
        nearest.truncate(NEAREST);
        let scores = Scores::new(
            (!distances.is_empty()).then(|| Distances::over(&distances, Estimate::mean)),
            self.recognizer.consistency(&answers),
            Estimate::fraction(&copies),
        );
        let all: Vec<&Sound> = rounds.iter().flat_map(|round| &round.sounds).collect();
        let real: Vec<&Sound> = self.sounds.sounds.iter().collect();
        let signals = signal::compare(&all, &real);
        let mut verdicts = signal::verdicts(&signals);
        verdicts.extend(scores.worse_than(&self.floor));
        Ok(Evaluation {
            name: rounds.first().map_or_else(String::new, |r| r.name.clone()),
            rounds: rounds.len(),
            sounds: all.len(),
            unusable: rounds.iter().map(|round| round.unusable).sum(),
            verdicts,
            notes,
            scores,
            signals,
            classes: self.recognizer.classes(&all, &answers, &self.sounds),
            health: signal::health(&all, &real),
            nearest,
        })
    }
}

/// The scores of a `training` set: of two folds that hold as many sounds of each label as the reference, or all there
/// are of a label that it has fewer of.
fn scores_of(
    training: &Sounds,
    reference: &Sounds,
    recognizer: &Recognizer,
    with_distances: bool,
    seed: u64,
) -> Result<Scores> {
    let mut folds: [Vec<usize>; 2] = Default::default();
    let mut taken: BTreeMap<&Option<String>, usize> = BTreeMap::new();
    let wanted = reference.labels();
    for i in shuffled(training.sounds.len(), seed, &[place::FOLD]) {
        let label = &training.sounds[i].label;
        let taken = taken.entry(label).or_default();
        if *taken < 2 * wanted.get(label).copied().unwrap_or(0) {
            folds[*taken % 2].push(i);
            *taken += 1;
        }
    }
    let chosen = folds.iter().flatten();
    let chosen: Vec<&Sound> = chosen.map(|&i| &training.sounds[i]).collect();
    let answers = recognizer.answers(&chosen)?;
    let enough = with_distances && folds.iter().all(|fold| fold.len() >= FEWEST);
    let distances = enough.then(|| {
        let (own, training) = (reference.features(), training.features());
        metric::of_folds(&own, &training, &folds, seed)
    });
    Ok(Scores::new(
        distances,
        recognizer.consistency(&answers),
        None,
    ))
}

fn same_format(reference: &Sounds, other: &Sounds) -> Result<()> {
    let (own, found) = (reference.format, other.format);
    if own == found {
        return Ok(());
    }
    let words =
        |format: Format| format!("{} frames at {} Hz", format.len_frames, format.sample_rate);
    Err(Error::Shape {
        what: "sounds to evaluate",
        expected: words(own),
        found: words(found),
    })
}
