//! Real sounds, ready to judge others.

use std::collections::BTreeMap;

use super::classifier::Classifier;
use super::distance::{self, Near, Neighbours};
use super::features::Space;
use super::signal;
use super::sounds::{Sound, Sounds};
use super::{Class, Estimate, FEWEST, Judgement, Pair, SCORES, Scores};
use crate::error::{Error, Result};
use crate::noise::Noise;

/// Times the reference is halved at random for the floor.
const HALVINGS: usize = 6;
/// Groups of the jackknife.
const GROUPS: usize = 10;
/// Sounds of a set that distances are taken between, at most; of more, so many are drawn.
const MOST: usize = 3000;
/// Nearer to a learnt sound than this, where either is heard, is a copy, dB. One recording at another level, trim and
/// bit depth lies within 1.6 dB of itself; the most alike of 400 recordings from different packs are 2.9 dB apart.
const COPY_DB: f64 = 2.0;
/// Nearer than this is a copy if the second nearest is far, dB: a recording that a decoder made anew from its own
/// log-mel frames is mostly 1.2 to 3 dB from what it was.
const REMADE_DB: f64 = 3.0;
/// It is far if the nearest is nearer by this factor,
const COPY_RATIO: f64 = 1.0 / 3.0;
/// among so many learnt sounds: among few, the second nearest is far from everything.
const CROWD: usize = 100;
/// Fewest sounds of a class that the classifiers learn.
const FEWEST_OF_CLASS: usize = 4;
/// Pairs that are named as nearest.
const NEAREST: usize = 12;
/// Errors by which a score must be worse than its floor to be called a fault.
const ERRORS: f64 = 3.5;

/// First number of the places ([`Noise::at`]) that evaluation draws from.
mod place {
    pub const HALVE: u64 = 0x3000;
    pub const GROUP: u64 = 0x3001;
    pub const SOME: u64 = 0x3002;
    pub const FOLD: u64 = 0x3003;
}

/// Real sounds, ready to judge others.
#[derive(Debug)]
pub struct Reference {
    sounds: Sounds,
    learnt: Option<Sounds>,
    measure: Option<Distances>,
    labels: Vec<String>,
    /// One trained on each half of the reference: they learnt nothing that a model may have learnt, if the two
    /// are told apart.
    classifiers: Vec<Classifier>,
    /// For each reference sound, what the classifier that did not learn it takes it for.
    recognized: Vec<Option<u32>>,
    neighbours: Neighbours,
    floor: Scores,
    learnt_scores: Option<Scores>,
    notes: Vec<String>,
    seed: u64,
}

type Points = Vec<Vec<f64>>;

/// Clouds of points in both coordinates.
struct Cloud {
    points: Points,
    whitened: Points,
}

impl Cloud {
    fn of(space: &Space, features: &[&[f32]]) -> Self {
        let points = space.points(features);
        let whitened = space.whitened(&points);
        Self { points, whitened }
    }

    fn keep(&self, keep: impl Fn(usize) -> bool) -> Self {
        let pick = |points: &Points| {
            let kept = points.iter().enumerate().filter(|(i, _)| keep(*i));
            kept.map(|(_, p)| p.clone()).collect()
        };
        Self {
            points: pick(&self.points),
            whitened: pick(&self.whitened),
        }
    }
}

/// A space, and the real points in it that others are compared with.
struct Distances {
    space: Space,
    real: Cloud,
    /// Of the real points' surroundings.
    radii: Vec<f64>,
    bandwidth: f64,
    seed: u64,
}

impl std::fmt::Debug for Distances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distances")
            .field("real", &self.real.points.len())
            .field("bandwidth", &self.bandwidth)
            .finish_non_exhaustive()
    }
}

impl Distances {
    /// `space` is that of `known` sounds, which also tell what is near.
    fn new(known: &[&[f32]], real: &[&[f32]], dimensions: usize, seed: u64) -> Self {
        let space = Space::of(known, dimensions);
        let bandwidth = distance::median_distance(&space.points(known)).max(1e-9);
        let real = Cloud::of(&space, real);
        Self {
            radii: distance::radii(&real.points),
            space,
            real,
            bandwidth,
            seed,
        }
    }

    fn to(&self, made: &Cloud) -> [f64; 6] {
        let near = distance::neighbourhood(&self.real.points, &self.radii, &made.points);
        [
            distance::frechet_infinite(&self.real.points, &made.points, self.seed),
            distance::frechet_infinite(&self.real.whitened, &made.whitened, self.seed),
            distance::mmd(&self.real.points, &made.points, self.bandwidth),
            near.density,
            near.coverage,
            near.recall,
        ]
    }

    /// Distances of `made`, and their errors by leaving out a tenth of it at a time.
    fn jackknife(&self, made: &[&[f32]], number: u64) -> [Estimate; 6] {
        let made = Cloud::of(&self.space, made);
        let whole = self.to(&made);
        let group = shuffled(made.points.len(), self.seed, &[place::GROUP, number]);
        let parts: Vec<[f64; 6]> = (0..GROUPS)
            .map(|g| self.to(&made.keep(|i| group[i] % GROUPS != g)))
            .collect();
        std::array::from_fn(|k| {
            let mean = parts.iter().map(|p| p[k]).sum::<f64>() / GROUPS as f64;
            let squares: f64 = parts.iter().map(|p| (p[k] - mean).powi(2)).sum();
            Estimate {
                value: whole[k],
                error: (squares * (GROUPS - 1) as f64 / GROUPS as f64).sqrt(),
            }
        })
    }
}

/// The numbers below `n` in random order.
fn shuffled(n: usize, seed: u64, place: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Noise::at(seed, place).shuffle(&mut order);
    order
}

fn features(sounds: &[Sound]) -> Vec<&[f32]> {
    sounds.iter().map(|sound| &sound.features[..]).collect()
}

/// `rows`, or [`MOST`] of them drawn at random.
fn some<'a>(rows: &[&'a [f32]], seed: u64) -> Vec<&'a [f32]> {
    let mut chosen = shuffled(rows.len(), seed, &[place::SOME]);
    chosen.truncate(MOST);
    chosen.sort_unstable();
    chosen.into_iter().map(|i| rows[i]).collect()
}

fn with_distances(scores: Scores, distances: [Estimate; 6]) -> Scores {
    let [frechet, frechet_whitened, mmd, density, coverage, recall] = distances.map(Some);
    Scores {
        frechet,
        frechet_whitened,
        mmd,
        density,
        coverage,
        recall,
        ..scores
    }
}

/// Means of independent estimates, with the errors of these.
fn mean(rows: &[[Estimate; 6]]) -> [Estimate; 6] {
    std::array::from_fn(|k| {
        let n = rows.len() as f64;
        let squares: f64 = rows.iter().map(|row| row[k].error.powi(2)).sum();
        Estimate {
            value: rows.iter().map(|row| row[k].value).sum::<f64>() / n,
            error: squares.sqrt() / n,
        }
    })
}

impl Reference {
    /// Prepares real sounds.
    ///
    /// `learnt` are real sounds that a model may have learnt, none of them in `sounds`. They span the space that distances are
    /// taken in, copies are sought among them, and their own distance to the reference stands beside. Without them the
    /// reference has to do for all of this, and the floor is that of sounds which the space does not know either.
    ///
    /// With fewer than [`FEWEST`] sounds everything but the distances is told.
    ///
    /// # Errors
    /// When `sounds` or `learnt` are empty, or in different formats.
    pub fn new(sounds: Sounds, learnt: Option<Sounds>, seed: u64) -> Result<Self> {
        for part in [Some(&sounds), learnt.as_ref()].into_iter().flatten() {
            if part.sounds.is_empty() {
                return Err(Error::setting(format!(
                    "{}: expected sounds to judge by, found none",
                    part.name
                )));
            }
            same_format(&sounds, part)?;
        }
        let labels: Vec<String> = sounds
            .labels()
            .into_iter()
            .filter(|&(_, n)| n >= FEWEST_OF_CLASS)
            .filter_map(|(label, _)| label)
            .collect();
        let among = features(&learnt.as_ref().unwrap_or(&sounds).sounds);
        let neighbours = Neighbours::new(&among);
        let mut this = Self {
            recognized: vec![None; sounds.sounds.len()],
            sounds,
            measure: None,
            labels,
            classifiers: Vec::new(),
            neighbours,
            learnt,
            floor: Scores::default(),
            learnt_scores: None,
            notes: Vec::new(),
            seed,
        };
        if this.labels.len() > 1 {
            this.teach()?;
        }
        this.measure_floor();
        this.measure_learnt()?;
        Ok(this)
    }

    /// The reference's sounds.
    pub fn sounds(&self) -> &Sounds {
        &self.sounds
    }

    /// What real sounds get that neither the reference nor the space knows: one random half of the reference against
    /// the other, in the space of the learnt sounds or of the one half. Smaller sets are farther apart: no fresh real
    /// sounds of the same sources get more, but by chance. The errors are the deviations between halvings.
    pub fn floor(&self) -> &Scores {
        &self.floor
    }

    /// What the learnt sounds get, where they are known: each half of them, at the reference's proportions of classes, in
    /// the space of the other half. From other sources than the reference they are farther from it than the floor; a
    /// model that says nothing but what it learnt gets this.
    pub fn learnt(&self) -> Option<&Scores> {
        self.learnt_scores.as_ref()
    }

    /// What was left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Place of a label among those that are classified.
    fn class(&self, label: &Option<String>) -> Option<u32> {
        let label = label.as_ref()?;
        self.labels.binary_search(label).ok().map(|i| i as u32)
    }

    /// A random half of the reference's places, each class parted evenly: for classifiers.
    fn even_half(&self, number: u64) -> Vec<bool> {
        let mut first = vec![false; self.sounds.sounds.len()];
        let mut by_label: BTreeMap<&Option<String>, Vec<usize>> = BTreeMap::new();
        for i in shuffled(first.len(), self.seed, &[place::HALVE, number]) {
            by_label
                .entry(&self.sounds.sounds[i].label)
                .or_default()
                .push(i);
        }
        let mut turn = false;
        for &i in by_label.values().flatten() {
            turn = !turn;
            first[i] = turn;
        }
        first
    }

    fn measure_floor(&mut self) {
        let own = features(&self.sounds.sounds);
        let near: Vec<Near> = self.nearest(&own, true).into_iter().flatten().collect();
        let copies: Vec<bool> = near.iter().map(|near| self.is_copy(near)).collect();
        let known = (self.recognized.iter().zip(&self.sounds.sounds)).filter(|(r, _)| r.is_some());
        let right: Vec<bool> = known.map(|(r, s)| *r == self.class(&s.label)).collect();
        let mut floor = Scores {
            consistency: Estimate::fraction(&right),
            copies: Estimate::fraction(&copies),
            ..Scores::default()
        };
        let learnt = self.learnt.as_ref().map(|learnt| features(&learnt.sounds));
        let fewest = learnt
            .as_ref()
            .map_or(own.len(), |learnt| learnt.len().min(own.len()));
        let mut measure = None;
        if fewest < FEWEST {
            self.notes.push(format!(
                "distances are left out: they need {FEWEST} sounds, there are {fewest}"
            ));
        } else {
            let most = learnt.as_ref().map_or(0, Vec::len).max(own.len());
            if most > MOST {
                self.notes.push(format!(
                    "distances are taken between {MOST} sounds drawn at random, at most, of {most}"
                ));
            }
            let dimensions = Space::dimensions(fewest.min(MOST));
            let real = some(&own, self.seed);
            let known = learnt.as_ref().map(|learnt| some(learnt, self.seed));
            let rows: Vec<[f64; 6]> = (0..HALVINGS as u64)
                .map(|number| {
                    // Classes fall as they may: halves with even ones would be nearer than independent sets are.
                    let order = shuffled(own.len(), self.seed, &[place::HALVE, number]);
                    let part = |places: &[usize]| -> Vec<&[f32]> {
                        let rows: Vec<&[f32]> = places.iter().map(|&i| own[i]).collect();
                        some(&rows, self.seed)
                    };
                    let (a, b) = order.split_at(own.len() / 2);
                    let (a, b) = (part(a), part(b));
                    let known = known.as_ref().unwrap_or(&a);
                    let measure = Distances::new(known, &a, dimensions, self.seed);
                    measure.to(&Cloud::of(&measure.space, &b))
                })
                .collect();
            let column = |k: usize| -> Vec<f64> { rows.iter().map(|row| row[k]).collect() };
            floor = with_distances(floor, std::array::from_fn(|k| Estimate::spread(&column(k))));
            let known = known.as_ref().unwrap_or(&real);
            measure = Some(Distances::new(known, &real, dimensions, self.seed));
        }
        self.floor = floor;
        self.measure = measure;
    }

    fn measure_learnt(&mut self) -> Result<()> {
        let Some(learnt) = &self.learnt else {
            return Ok(());
        };
        // As many of each label as the reference has, in two folds; of a label that was learnt less, all there are.
        let mut folds: [Vec<usize>; 2] = Default::default();
        let mut wanted: BTreeMap<&Option<String>, usize> = BTreeMap::new();
        let fractions = self.sounds.labels();
        for i in shuffled(learnt.sounds.len(), self.seed, &[place::FOLD]) {
            let label = &learnt.sounds[i].label;
            let taken = wanted.entry(label).or_default();
            if *taken < 2 * fractions.get(label).copied().unwrap_or(0) {
                folds[*taken % 2].push(i);
                *taken += 1;
            }
        }
        let mut scores = Scores::default();
        let chosen: Vec<&Sound> = folds.iter().flatten().map(|&i| &learnt.sounds[i]).collect();
        let right: Vec<bool> = self
            .answers(&chosen)?
            .iter()
            .map(|&(asked, found)| asked == found)
            .collect();
        scores.consistency = self.fraction_of_answers(&right);
        if self.measure.is_some() && folds.iter().all(|fold| fold.len() >= FEWEST) {
            let own = some(&features(&self.sounds.sounds), self.seed);
            let rows = |fold: &[usize]| -> Vec<&[f32]> {
                let rows: Vec<&[f32]> = fold
                    .iter()
                    .map(|&i| &learnt.sounds[i].features[..])
                    .collect();
                some(&rows, self.seed)
            };
            let fewest = folds[0].len().min(folds[1].len()).min(own.len());
            let dimensions = Space::dimensions(fewest).min(Space::dimensions(learnt.sounds.len()));
            let measured = [(0, 1), (1, 0)].map(|(known, asked)| {
                let measure = Distances::new(&rows(&folds[known]), &own, dimensions, self.seed);
                measure.jackknife(&rows(&folds[asked]), asked as u64)
            });
            scores = with_distances(scores, mean(&measured));
        }
        self.learnt_scores = Some(scores);
        Ok(())
    }

    /// Trains a classifier on each half of the reference, and asks it for the other half.
    fn teach(&mut self) -> Result<()> {
        let own: Vec<Option<u32>> = self
            .sounds
            .sounds
            .iter()
            .map(|s| self.class(&s.label))
            .collect();
        let first = self.even_half(0);
        let known = (0..own.len()).filter(|&i| own[i].is_some());
        let (a, b): (Vec<usize>, Vec<usize>) = known.partition(|&i| first[i]);
        let rows = features(&self.sounds.sounds);
        let pick = |places: &[usize]| -> Vec<&[f32]> { places.iter().map(|&i| rows[i]).collect() };
        let mut recognized = vec![None; own.len()];
        let mut classifiers = Vec::new();
        for (taught, asked) in [(&a, &b), (&b, &a)] {
            // Of many every n-th is enough; they are in the order of their labels or paths.
            let taught: Vec<usize> = (taught.iter().copied())
                .step_by(taught.len().div_ceil(MOST).max(1))
                .collect();
            let truth: Vec<u32> = taught.iter().filter_map(|&i| own[i]).collect();
            let classifier =
                Classifier::train(&pick(&taught), &truth, self.labels.len(), self.seed)?;
            for (&i, found) in asked.iter().zip(classifier.classify(&pick(asked))?) {
                recognized[i] = Some(found);
            }
            classifiers.push(classifier);
        }
        (self.recognized, self.classifiers) = (recognized, classifiers);
        Ok(())
    }

    /// What each sound was asked to be and is taken for, by each classifier in turn.
    fn answers(&self, sounds: &[&Sound]) -> Result<Vec<(u32, u32)>> {
        let known = sounds
            .iter()
            .filter_map(|s| Some((self.class(&s.label)?, &s.features[..])));
        let (asked, rows): (Vec<u32>, Vec<&[f32]>) = known.unzip();
        let mut answers = Vec::new();
        for classifier in &self.classifiers {
            answers.extend(asked.iter().copied().zip(classifier.classify(&rows)?));
        }
        Ok(answers)
    }

    /// Both classifiers hear the same sounds: the error is that of half as many answers.
    fn fraction_of_answers(&self, right: &[bool]) -> Option<Estimate> {
        let Estimate { value, error } = Estimate::fraction(right)?;
        let error = error * (self.classifiers.len() as f64).sqrt();
        Some(Estimate { value, error })
    }

    /// For each row the nearest learnt sound; the reference's own rows (`own`) are not compared to themselves.
    fn nearest(&self, rows: &[&[f32]], own: bool) -> Vec<Option<Near>> {
        let among = features(&self.learnt.as_ref().unwrap_or(&self.sounds).sounds);
        self.neighbours
            .nearest(rows, &among, own && self.learnt.is_none())
    }

    fn is_copy(&self, near: &Near) -> bool {
        let crowded = self.learnt.as_ref().unwrap_or(&self.sounds).sounds.len() >= CROWD;
        let far = |second| near.distance < COPY_RATIO * second;
        let alone = crowded && near.second.is_some_and(far);
        near.heard < if alone { REMADE_DB } else { COPY_DB }
    }

    /// Measures made sounds, one set or several independent ones.
    ///
    /// # Errors
    /// For an empty set, or one in another format than the reference's.
    pub fn judge(&self, rounds: &[Sounds]) -> Result<Judgement> {
        let mut notes = Vec::new();
        let mut rows: Vec<[Estimate; 6]> = Vec::new();
        let (mut right, mut copied, mut nearest) = (Vec::new(), Vec::new(), Vec::new());
        let mut taken: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (number, made) in rounds.iter().enumerate() {
            same_format(&self.sounds, made)?;
            if made.sounds.is_empty() {
                return Err(Error::setting(format!(
                    "{}: expected sounds to judge, found none that can be used",
                    made.name
                )));
            }
            let own = features(&made.sounds);
            match &self.measure {
                Some(measure) if own.len() >= FEWEST => {
                    rows.push(measure.jackknife(&some(&own, self.seed), number as u64));
                }
                Some(_) => notes.push(format!(
                    "distances of round {} are left out: they need {FEWEST} sounds, there are {}",
                    number + 1,
                    own.len()
                )),
                None => (),
            }
            for (sound, near) in made.sounds.iter().zip(self.nearest(&own, false)) {
                let Some(near) = near else { continue };
                let copy = self.is_copy(&near);
                copied.push(copy);
                let learnt = self.learnt.as_ref().unwrap_or(&self.sounds);
                nearest.push(Pair {
                    made: sound.name.clone(),
                    learnt: learnt.sounds[near.place].name.clone(),
                    distance: near.heard,
                    ratio: near.second.map(|second| {
                        if second > 0.0 {
                            near.distance / second
                        } else {
                            1.0
                        }
                    }),
                    copy,
                });
            }
            let all: Vec<&Sound> = made.sounds.iter().collect();
            for (asked, found) in self.answers(&all)? {
                right.push(asked == found);
                taken.entry(asked).or_default().push(found);
            }
        }
        nearest.sort_by(|a, b| b.copy.cmp(&a.copy).then(a.distance.total_cmp(&b.distance)));
        nearest.truncate(NEAREST);
        let mut scores = Scores {
            consistency: self.fraction_of_answers(&right),
            copies: Estimate::fraction(&copied),
            ..Scores::default()
        };
        if !rows.is_empty() {
            scores = with_distances(scores, mean(&rows));
        }
        let all: Vec<&Sound> = rounds.iter().flat_map(|round| &round.sounds).collect();
        let real: Vec<&Sound> = self.sounds.sounds.iter().collect();
        let signals = signal::compare(&all, &real);
        let mut verdicts = signal::verdicts(&signals);
        verdicts.extend(self.worse_than_real(&scores));
        Ok(Judgement {
            name: rounds.first().map_or_else(String::new, |r| r.name.clone()),
            rounds: rounds.len(),
            sounds: all.len(),
            unusable: rounds.iter().map(|round| round.unusable).sum(),
            verdicts,
            notes,
            scores,
            signals,
            classes: self.classes(&all, &real, &taken),
            health: signal::health(&all, &real),
            nearest,
        })
    }

    /// A sentence for each score that is worse than real sounds' by more than the errors of both.
    fn worse_than_real(&self, scores: &Scores) -> Vec<String> {
        let sentence = |&(name, get, percent, better): &(&str, super::Score, bool, &str)| {
            let (own, floor) = (get(scores)?, get(&self.floor)?);
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

    fn classes(
        &self,
        made: &[&Sound],
        real: &[&Sound],
        taken: &BTreeMap<u32, Vec<u32>>,
    ) -> Vec<Class> {
        let count = |sounds: &[&Sound], label: &str| {
            sounds
                .iter()
                .filter(|s| s.label.as_deref() == Some(label))
                .count()
        };
        let fraction = |right: usize, all: usize| right as f64 / all.max(1) as f64;
        let row = |(place, label): (usize, &String)| {
            let place = place as u32;
            let nothing = Vec::new();
            let found = taken.get(&place).unwrap_or(&nothing);
            let mut others = vec![0; self.labels.len()];
            for &other in found.iter().filter(|&&f| f != place) {
                others[other as usize] += 1;
            }
            let most = (0..others.len())
                .max_by_key(|&i| others[i])
                .filter(|&i| others[i] > 0);
            let asked: Vec<u32> = (real.iter().zip(&self.recognized))
                .filter(|(s, _)| s.label.as_ref() == Some(label))
                .filter_map(|(_, r)| *r)
                .collect();
            let right = |answers: &[u32]| answers.iter().filter(|&&f| f == place).count();
            Class {
                label: label.clone(),
                made: count(made, label),
                real: count(real, label),
                consistency: fraction(right(found), found.len()),
                real_consistency: fraction(right(&asked), asked.len()),
                taken_for: most.map(|i| self.labels[i].clone()),
                medians: signal::medians(made, real, label),
            }
        };
        self.labels.iter().enumerate().map(row).collect()
    }
}

fn same_format(reference: &Sounds, other: &Sounds) -> Result<()> {
    let (own, found) = (reference.format, other.format);
    if own == found {
        return Ok(());
    }
    let words = |format: crate::representation::Format| {
        format!("{} frames at {} Hz", format.len_frames, format.sample_rate)
    };
    Err(Error::Shape {
        what: "sounds to judge",
        expected: words(own),
        found: words(found),
    })
}
