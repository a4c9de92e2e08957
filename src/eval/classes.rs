//! Whether sounds are taken for the class that was asked for, by classifiers of the reference.

use std::collections::BTreeMap;

use super::classifier::Classifier;
use super::metric::{every_nth, place, shuffled};
use super::sounds::{Sound, Sounds};
use super::{Class, Estimate, signal};
use crate::error::Result;

/// Fewest sounds of a class that the classifiers learn.
const FEWEST_OF_CLASS: usize = 4;

/// Two classifiers, each trained on one half of the reference. Neither is trained on a model's training set, where this
/// is told apart from the reference.
#[derive(Debug)]
pub(super) struct Recognizer {
    /// The classes, sorted.
    labels: Vec<String>,
    /// None of fewer than two classes.
    classifiers: Vec<Classifier>,
    /// For each reference sound, the class that it is taken for by the classifier that it was no example of.
    own: Vec<Option<u32>>,
}

/// The class that a sound was asked to be, and the one that a classifier takes it for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    asked: u32,
    found: u32,
}

impl Recognizer {
    /// Trains a classifier on each half of the reference, and asks it for the other half.
    pub fn new(reference: &Sounds, seed: u64) -> Result<Self> {
        let labels: Vec<String> = reference
            .labels()
            .into_iter()
            .filter(|&(_, n)| n >= FEWEST_OF_CLASS)
            .filter_map(|(label, _)| label)
            .collect();
        let mut this = Self {
            labels,
            classifiers: Vec::new(),
            own: vec![None; reference.sounds.len()],
        };
        if this.labels.len() < 2 {
            return Ok(this);
        }
        let sounds = &reference.sounds;
        let classes: Vec<Option<u32>> = sounds.iter().map(|s| this.class(&s.label)).collect();
        let first = even_half(sounds, seed);
        let known = (0..sounds.len()).filter(|&i| classes[i].is_some());
        let (a, b): (Vec<usize>, Vec<usize>) = known.partition(|&i| first[i]);
        let rows = reference.features();
        let pick = |places: &[usize]| -> Vec<&[f32]> { places.iter().map(|&i| rows[i]).collect() };
        for (examples, asked) in [(&a, &b), (&b, &a)] {
            // Every n-th of many is enough; they are in the order of their labels or paths.
            let examples = every_nth(examples);
            let truth: Vec<u32> = examples.iter().filter_map(|&i| classes[i]).collect();
            let classifier = Classifier::train(&pick(&examples), &truth, this.labels.len(), seed)?;
            for (&i, found) in asked.iter().zip(classifier.classify(&pick(asked))?) {
                this.own[i] = Some(found);
            }
            this.classifiers.push(classifier);
        }
        Ok(this)
    }

    /// Place of a label among the classes.
    fn class(&self, label: &Option<String>) -> Option<u32> {
        let label = label.as_ref()?;
        self.labels.binary_search(label).ok().map(|i| i as u32)
    }

    /// The fraction of the reference's own sounds that is recognized, each by the classifier that it was no example of.
    pub fn own_consistency(&self, reference: &Sounds) -> Option<Estimate> {
        let known = (self.own.iter().zip(&reference.sounds)).filter(|(found, _)| found.is_some());
        let right: Vec<bool> = known
            .map(|(found, sound)| *found == self.class(&sound.label))
            .collect();
        Estimate::fraction(&right)
    }

    /// The answers of each classifier in turn, for the sounds whose class it knows.
    pub fn answers(&self, sounds: &[&Sound]) -> Result<Vec<Answer>> {
        let known = sounds
            .iter()
            .filter_map(|s| Some((self.class(&s.label)?, &s.features[..])));
        let (asked, rows): (Vec<u32>, Vec<&[f32]>) = known.unzip();
        let mut answers = Vec::new();
        for classifier in &self.classifiers {
            let found = classifier.classify(&rows)?;
            answers
                .extend((asked.iter().zip(found)).map(|(&asked, found)| Answer { asked, found }));
        }
        Ok(answers)
    }

    /// The fraction of right answers. Both classifiers hear the same sounds: the error is that of half as many answers.
    pub fn consistency(&self, answers: &[Answer]) -> Option<Estimate> {
        let right: Vec<bool> = answers.iter().map(|a| a.asked == a.found).collect();
        let Estimate { value, error } = Estimate::fraction(&right)?;
        let error = error * (self.classifiers.len() as f64).sqrt();
        Some(Estimate { value, error })
    }

    /// Each class of generated sounds, to which these `answers` were given, beside the reference's.
    pub fn classes(
        &self,
        generated: &[&Sound],
        answers: &[Answer],
        reference: &Sounds,
    ) -> Vec<Class> {
        let real: Vec<&Sound> = reference.sounds.iter().collect();
        let count = |sounds: &[&Sound], label: &str| {
            let own = sounds.iter().filter(|s| s.label.as_deref() == Some(label));
            own.count()
        };
        let row = |(place, label): (usize, &String)| {
            let place = place as u32;
            let own = answers.iter().filter(|answer| answer.asked == place);
            let found: Vec<u32> = own.map(|answer| answer.found).collect();
            let real_found: Vec<u32> = (reference.sounds.iter().zip(&self.own))
                .filter(|(sound, _)| sound.label.as_ref() == Some(label))
                .filter_map(|(_, found)| *found)
                .collect();
            let right = |found: &[u32]| {
                let right = found.iter().filter(|&&f| f == place).count();
                right as f64 / found.len().max(1) as f64
            };
            Class {
                label: label.clone(),
                generated: count(generated, label),
                real: count(&real, label),
                consistency: right(&found),
                real_consistency: right(&real_found),
                taken_for: self.taken_for(place, &found),
                medians: signal::medians(generated, &real, label),
            }
        };
        self.labels.iter().enumerate().map(row).collect()
    }

    /// The class most often `found` in place of the one at `place`.
    fn taken_for(&self, place: u32, found: &[u32]) -> Option<String> {
        let mut others = vec![0; self.labels.len()];
        for &other in found.iter().filter(|&&f| f != place) {
            others[other as usize] += 1;
        }
        let most = (0..others.len()).max_by_key(|&i| others[i])?;
        (others[most] > 0).then(|| self.labels[most].clone())
    }
}

/// Which sounds a random half of them holds that parts each class evenly.
fn even_half(sounds: &[Sound], seed: u64) -> Vec<bool> {
    let mut first = vec![false; sounds.len()];
    let mut by_label: BTreeMap<&Option<String>, Vec<usize>> = BTreeMap::new();
    for i in shuffled(first.len(), seed, &[place::HALVE, 0]) {
        by_label.entry(&sounds[i].label).or_default().push(i);
    }
    let mut turn = false;
    for &i in by_label.values().flatten() {
        turn = !turn;
        first[i] = turn;
    }
    first
}
