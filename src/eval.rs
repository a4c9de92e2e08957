//! How good made sounds are, by distances to real ones.
//!
//! [`Sounds`] come from a folder or from a model; a [`Reference`] is made of real ones, once, and then
//! [judges](Reference::judge) any number of others. Every number stands beside its floor, what real
//! sounds get against other real sounds, and has a standard error, from leaving out each tenth of the made
//! sounds in turn (the jackknife).
//!
//! Sounds are compared as the model would learn them: from their onset, in its format, levelled. The
//! distances are taken between log-mel spectrograms in the 32 directions in which the reference differs
//! most, and in the distance from these. They are no "Fréchet audio distance": that name belongs to one
//! particular network's features.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::audio::{self, Clip, Measures};
use crate::dataset::{self, Dataset, ScanOptions};
use crate::error::{Error, Result};
use crate::noise::Noise;
use crate::render::{RenderSettings, Renderer};
use crate::representation::Format;

mod classifier;
mod distance;
mod features;
mod report;

use classifier::Classifier;
use features::{Features, Space};
pub use report::report;

/// Fewest sounds that distances are taken between.
pub const FEWEST: usize = 16;

/// Times the reference is halved at random.
const HALVINGS: usize = 4;
/// Groups of the jackknife.
const GROUPS: usize = 10;
/// A sound so much nearer to its nearest than to its second nearest is called a copy.
const COPY_RATIO: f64 = 1.0 / 3.0;
/// Fewest sounds of a class that the classifier learns.
const FEWEST_OF_CLASS: usize = 4;
/// Pairs that are named as nearest.
const NEAREST: usize = 12;
/// Sounds rendered together.
const BATCH: usize = 16;

/// First number of the places ([`Noise::at`]) that evaluation draws from.
mod place {
    pub const HALVE: u64 = 0x3000;
    pub const GROUP: u64 = 0x3001;
}

/// One sound with what it is compared by.
#[derive(Debug, Clone)]
pub struct Sound {
    /// A path, or class and seed.
    pub name: String,
    /// What it is, or was asked to be.
    pub label: Option<String>,
    /// As a model would learn it: from its onset, levelled.
    pub clip: Arc<Clip>,
    /// Faults ([`Measures::peak`], `offset`, `edge`) of the sound as it came, the rest of `clip`.
    pub measures: Measures,
}

/// Sounds in one format.
#[derive(Debug, Clone)]
pub struct Sounds {
    /// A folder or a model.
    pub name: String,
    /// The usable ones.
    pub sounds: Vec<Sound>,
    /// How many were silent or could not be read.
    pub unusable: usize,
}

/// Which sounds of a folder to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// Those that training holds back, by [`ScanOptions::validation`].
    HeldBack,
    /// The others.
    Learnt,
}

impl Sound {
    /// `None` when nothing is left of `clip` in `format`.
    fn new(
        name: String,
        label: Option<String>,
        clip: &Clip,
        format: Format,
    ) -> Result<Option<Self>> {
        let raw = Measures::of(clip);
        let Some(clip) = dataset::prepare(clip.clone(), format)? else {
            return Ok(None);
        };
        Ok(Some(Self::measured(name, label, raw, Arc::new(clip))))
    }

    fn measured(name: String, label: Option<String>, raw: Measures, clip: Arc<Clip>) -> Self {
        let measures = Measures {
            peak: raw.peak,
            offset: raw.offset,
            edge: raw.edge,
            ..Measures::of(&clip)
        };
        Self {
            name,
            label,
            clip,
            measures,
        }
    }
}

impl Sounds {
    /// The sounds below `root`, in `format`.
    ///
    /// # Errors
    /// As [`Dataset::open`], or when `part` holds nothing.
    pub fn of_folder(
        root: &Path,
        options: &ScanOptions,
        part: Part,
        format: Format,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let (dataset, report) = Dataset::open(root, format, options, on_progress)?;
        let all: Vec<usize> = (0..dataset.len()).collect();
        let chosen = match part {
            Part::All => &all[..],
            Part::HeldBack => dataset.validation(),
            Part::Learnt => dataset.train(),
        };
        let sounds: Vec<Sound> = chosen
            .par_iter()
            .map(|&index| {
                let path = dataset.path(index);
                let raw = Measures::of(&audio::read(path)?);
                let label = dataset
                    .label(index)
                    .map(|l| dataset.labels()[l as usize].clone());
                let name = path
                    .strip_prefix(root)
                    .unwrap_or(path)
                    .display()
                    .to_string();
                Ok(Sound::measured(name, label, raw, dataset.clip(index)?))
            })
            .collect::<Result<_>>()?;
        if sounds.is_empty() {
            return Err(Error::Dataset {
                path: root.to_owned(),
                reason: "no sound is held back".to_owned(),
            });
        }
        let unusable = match part {
            Part::All => report.found.saturating_sub(dataset.len()),
            _ => 0,
        };
        Ok(Self {
            name: root.display().to_string(),
            sounds,
            unusable,
        })
    }

    /// How many sounds each label has, those without one under `None`.
    pub fn labels(&self) -> BTreeMap<Option<String>, usize> {
        let mut counts = BTreeMap::new();
        for sound in &self.sounds {
            *counts.entry(sound.label.clone()).or_default() += 1;
        }
        counts
    }

    /// Renders `wanted` sounds of each label with seeds from `seed` on, in the renderer's own format.
    /// `on_progress` hears how many of how many are done, and may stop it. For a label that the model does not have it is
    /// asked for any sound.
    ///
    /// # Errors
    /// As [`Renderer::render_batch`].
    pub fn rendered(
        renderer: &Renderer,
        settings: &RenderSettings,
        wanted: &BTreeMap<Option<String>, usize>,
        seed: u64,
        on_progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let all: usize = wanted.values().sum();
        let format = Format {
            channels: 1,
            ..renderer.config().format
        };
        let (mut sounds, mut unusable, mut first) = (Vec::new(), 0, seed);
        for (label, &count) in wanted {
            let known = |label: &String| renderer.config().labels.contains(label);
            let settings = RenderSettings {
                class: label.clone().filter(known),
                ..settings.clone()
            };
            let seeds: Vec<u64> = (first..first + count as u64).collect();
            first += count as u64;
            for seeds in seeds.chunks(BATCH) {
                let done = sounds.len() + unusable;
                if on_progress(done, all).is_break() {
                    return Err(Error::Stopped);
                }
                let clips =
                    renderer.render_batch(&settings, seeds, &mut |_| ControlFlow::Continue(()))?;
                let made: Vec<Option<Sound>> = clips
                    .par_iter()
                    .zip(seeds)
                    .map(|(clip, seed)| {
                        let name = match label {
                            Some(label) => format!("{label} {seed}"),
                            None => seed.to_string(),
                        };
                        Sound::new(name, label.clone(), clip, format)
                    })
                    .collect::<Result<_>>()?;
                unusable += made.iter().filter(|sound| sound.is_none()).count();
                sounds.extend(made.into_iter().flatten());
            }
        }
        Ok(Self {
            name: renderer.config().name.clone(),
            sounds,
            unusable,
        })
    }

    fn clips(&self) -> Vec<&Clip> {
        self.sounds.iter().map(|sound| &*sound.clip).collect()
    }
}

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
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        Self {
            value,
            error: (squares / (n * (n - 1.0).max(1.0))).sqrt(),
        }
    }
}

/// What is measured of sounds against a reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scores {
    /// Fréchet distance between the log-mel features, extrapolated to infinitely many sounds, dB².
    pub frechet: Estimate,
    /// The same with every direction in units of its spread: sees rare kinds of sounds missing.
    pub frechet_whitened: Estimate,
    /// Maximum mean discrepancy, unbiased, times 100.
    pub mmd: Estimate,
    /// How typical the sounds are: 1 for real ones.
    pub density: Estimate,
    /// Share of the reference that has a sound near it: 0.97 for real ones.
    pub coverage: Estimate,
    /// Share of the reference that lies near some sound, by the sounds' own nearness.
    pub recall: Estimate,
    /// Share that a classifier of real sounds takes for what they were asked to be; none without classes.
    pub consistency: Option<Estimate>,
    /// Share that is three times nearer to one learnt sound than to any other.
    pub copies: Estimate,
}

/// A made sound and the learnt one it is nearest to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The made sound.
    pub made: String,
    /// The learnt sound.
    pub learnt: String,
    /// Distance to it over the distance to the second nearest.
    pub ratio: f64,
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

/// Tenth, median and ninetieth percentile of one measure, of made and real sounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Name and unit.
    pub measure: &'static str,
    /// Of the made sounds; none where nothing could be measured.
    pub made: Option<[f32; 3]>,
    /// Of the reference.
    pub real: Option<[f32; 3]>,
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
    /// The numbers.
    pub scores: Scores,
    /// By class, where there are classes.
    pub classes: Vec<Class>,
    /// The signals' health.
    pub health: Vec<Health>,
    /// Those nearest to a learnt sound, nearest first.
    pub nearest: Vec<Pair>,
}

/// Real sounds, ready to judge others.
#[derive(Debug)]
pub struct Reference {
    sounds: Sounds,
    features: Vec<Vec<f32>>,
    extractor: Features,
    space: Space,
    points: Vec<Vec<f64>>,
    whitened: Vec<Vec<f64>>,
    bandwidth: f64,
    labels: Vec<String>,
    /// One trained on the learnt sounds, or one on each half of the reference.
    classifiers: Vec<Classifier>,
    /// For each reference sound, what the classifier that did not learn it takes it for.
    recognized: Vec<Option<u32>>,
    learnt: Option<(Vec<Vec<f32>>, Sounds)>,
    floor: Scores,
    seed: u64,
}

/// Clouds of points in both coordinates.
struct Cloud {
    points: Vec<Vec<f64>>,
    whitened: Vec<Vec<f64>>,
}

impl Cloud {
    fn keep(&self, keep: impl Fn(usize) -> bool) -> Self {
        let pick = |points: &[Vec<f64>]| {
            let kept = points.iter().enumerate().filter(|(i, _)| keep(*i));
            kept.map(|(_, p)| p.clone()).collect()
        };
        Self {
            points: pick(&self.points),
            whitened: pick(&self.whitened),
        }
    }
}

impl Reference {
    /// Prepares real sounds. Copies are sought among `learnt`, or, without it, among the reference itself.
    ///
    /// # Errors
    /// For fewer than [`FEWEST`] sounds.
    pub fn new(sounds: Sounds, learnt: Option<Sounds>, seed: u64) -> Result<Self> {
        enough(&sounds)?;
        let clip = &sounds.sounds[0].clip;
        let extractor = Features::new(clip.sample_rate(), clip.len_frames())?;
        let features = extractor.of(&sounds.clips())?;
        let space = Space::of(&features);
        let points = space.points(&features);
        let whitened = space.whitened(&points);
        let bandwidth = distance::median_distance(&points).max(1e-9);
        let counts = sounds.labels();
        let labels: Vec<String> = counts
            .iter()
            .filter(|&(_, &n)| n >= FEWEST_OF_CLASS)
            .filter_map(|(label, _)| label.clone())
            .collect();
        let learnt = match learnt {
            Some(learnt) => Some((extractor.of(&learnt.clips())?, learnt)),
            None => None,
        };
        let nothing = Estimate {
            value: 0.0,
            error: 0.0,
        };
        let mut this = Self {
            recognized: vec![None; sounds.sounds.len()],
            sounds,
            features,
            extractor,
            space,
            points,
            whitened,
            bandwidth,
            labels,
            classifiers: Vec::new(),
            learnt,
            floor: Scores {
                frechet: nothing,
                frechet_whitened: nothing,
                mmd: nothing,
                density: nothing,
                coverage: nothing,
                recall: nothing,
                consistency: None,
                copies: nothing,
            },
            seed,
        };
        this.measure_floor()?;
        Ok(this)
    }

    /// The reference's sounds.
    pub fn sounds(&self) -> &Sounds {
        &self.sounds
    }

    /// What real sounds get: one random half of the reference against the other.
    pub fn floor(&self) -> &Scores {
        &self.floor
    }

    fn cloud(&self) -> Cloud {
        Cloud {
            points: self.points.clone(),
            whitened: self.whitened.clone(),
        }
    }

    /// Place of a label among those that are classified.
    fn class(&self, label: &Option<String>) -> Option<u32> {
        let label = label.as_ref()?;
        self.labels.binary_search(label).ok().map(|i| i as u32)
    }

    /// A random half of the reference's places, each class parted evenly.
    fn half(&self, number: u64) -> Vec<bool> {
        let mut noise = Noise::at(self.seed, &[place::HALVE, number]);
        let mut first = vec![false; self.sounds.sounds.len()];
        let mut by_label: BTreeMap<&Option<String>, Vec<usize>> = BTreeMap::new();
        for (i, sound) in self.sounds.sounds.iter().enumerate() {
            by_label.entry(&sound.label).or_default().push(i);
        }
        let mut turn = false;
        for members in by_label.values_mut() {
            for i in (1..members.len()).rev() {
                members.swap(i, noise.below(i + 1));
            }
            for &i in members.iter() {
                turn = !turn;
                first[i] = turn;
            }
        }
        first
    }

    fn measure_floor(&mut self) -> Result<()> {
        let whole = self.cloud();
        let mut rows: Vec<[f64; 6]> = Vec::new();
        for number in 0..HALVINGS as u64 {
            let first = self.half(number);
            let (a, b) = (whole.keep(|i| first[i]), whole.keep(|i| !first[i]));
            rows.push(self.distances(&a, &b));
        }
        let row = |k: usize| Estimate::of(&rows.iter().map(|r| r[k]).collect::<Vec<_>>());

        if self.labels.len() > 1 {
            self.teach()?;
        }
        let known = (self.recognized.iter().zip(&self.sounds.sounds)).filter(|(r, _)| r.is_some());
        let right: Vec<f64> = known
            .map(|(r, sound)| f64::from(u8::from(*r == self.class(&sound.label))))
            .collect();
        let consistency = (!right.is_empty()).then(|| Estimate::of(&right));
        let copies: Vec<f64> = self
            .nearest(&self.features, true)
            .iter()
            .map(|near| f64::from(u8::from(near.is_some_and(|(_, ratio)| ratio < COPY_RATIO))))
            .collect();
        self.floor = Scores {
            frechet: row(0),
            frechet_whitened: row(1),
            mmd: row(2),
            density: row(3),
            coverage: row(4),
            recall: row(5),
            consistency,
            copies: Estimate::of(&copies),
        };
        Ok(())
    }

    /// Trains classifiers on real sounds, and asks them for those of the reference that they did not learn: one on
    /// the learnt sounds, which are none of the reference, or one on each half of the reference.
    fn teach(&mut self) -> Result<()> {
        let classes = |sounds: &Sounds| -> Vec<Option<u32>> {
            sounds.sounds.iter().map(|s| self.class(&s.label)).collect()
        };
        let own = classes(&self.sounds);
        let other = self
            .learnt
            .as_ref()
            .map(|(features, sounds)| (features, classes(sounds)));
        let everyone = |labels: &[Option<u32>]| -> Vec<usize> {
            (0..labels.len()).filter(|&i| labels[i].is_some()).collect()
        };
        // Features and classes to learn, which of them, and which of the reference to ask for.
        type Lesson<'a> = (&'a [Vec<f32>], &'a [Option<u32>], Vec<usize>, Vec<usize>);
        let lessons: Vec<Lesson<'_>> = match &other {
            Some((features, labels))
                if self
                    .labels
                    .iter()
                    .enumerate()
                    .all(|(l, _)| labels.contains(&Some(l as u32))) =>
            {
                vec![(features, labels, everyone(labels), everyone(&own))]
            }
            _ => {
                let first = self.half(0);
                let (a, b): (Vec<usize>, Vec<usize>) =
                    everyone(&own).into_iter().partition(|&i| first[i]);
                vec![
                    (&self.features, &own, a.clone(), b.clone()),
                    (&self.features, &own, b, a),
                ]
            }
        };
        let mut recognized = vec![None; own.len()];
        let mut classifiers = Vec::new();
        for (features, labels, taught, asked) in lessons {
            let truth: Vec<u32> = taught.iter().filter_map(|&i| labels[i]).collect();
            let rows: Vec<&Vec<f32>> = taught.iter().map(|&i| &features[i]).collect();
            let classifier = Classifier::train(&rows, &truth, self.labels.len(), self.seed)?;
            let rows: Vec<&Vec<f32>> = asked.iter().map(|&i| &self.features[i]).collect();
            for (&i, found) in asked.iter().zip(classifier.classify(&rows)?) {
                recognized[i] = Some(found);
            }
            classifiers.push(classifier);
        }
        (self.recognized, self.classifiers) = (recognized, classifiers);
        Ok(())
    }

    fn distances(&self, real: &Cloud, made: &Cloud) -> [f64; 6] {
        let near = distance::neighbourhood(&real.points, &made.points);
        [
            distance::frechet_infinite(&real.points, &made.points, self.seed),
            distance::frechet_infinite(&real.whitened, &made.whitened, self.seed),
            distance::mmd(&real.points, &made.points, self.bandwidth),
            near.density,
            near.coverage,
            near.recall,
        ]
    }

    /// For each row the nearest learnt sound and how much nearer it is than the second; the reference's own
    /// rows (`own`) are not compared to themselves.
    fn nearest(&self, rows: &[Vec<f32>], own: bool) -> Vec<Option<(usize, f64)>> {
        let doubles = |rows: &[Vec<f32>]| -> Vec<Vec<f64>> {
            rows.iter()
                .map(|row| row.iter().map(|&x| f64::from(x)).collect())
                .collect()
        };
        let among = doubles(self.learnt.as_ref().map_or(&self.features, |l| &l.0));
        let alone = own && self.learnt.is_none();
        doubles(rows)
            .par_iter()
            .enumerate()
            .map(|(i, row)| {
                let (place, first, second) =
                    distance::nearest_two(row, &among, alone.then_some(i))?;
                Some((place, if second > 0.0 { first / second } else { 1.0 }))
            })
            .collect()
    }

    /// Measures made sounds, one set or several independent ones.
    ///
    /// # Errors
    /// For a set of fewer than [`FEWEST`] sounds, or in another format than the reference's.
    pub fn judge(&self, rounds: &[Sounds]) -> Result<Judgement> {
        let mut rows: Vec<[Estimate; 6]> = Vec::new();
        let (mut right, mut copied) = (Vec::new(), Vec::new());
        let mut taken: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut nearest = Vec::new();
        for (number, made) in rounds.iter().enumerate() {
            enough(made)?;
            let own = &self.sounds.sounds[0].clip;
            for Sound { clip, .. } in &made.sounds {
                if (clip.sample_rate(), clip.len_frames()) != (own.sample_rate(), own.len_frames())
                {
                    return Err(Error::Shape {
                        what: "sounds to judge",
                        expected: format!(
                            "{} frames at {} Hz",
                            own.len_frames(),
                            own.sample_rate()
                        ),
                        found: format!("{} at {} Hz", clip.len_frames(), clip.sample_rate()),
                    });
                }
            }
            let features = self.extractor.of(&made.clips())?;
            let points = self.space.points(&features);
            let whitened = self.space.whitened(&points);
            rows.push(self.jackknife(&Cloud { points, whitened }, number as u64));
            for (i, near) in self.nearest(&features, false).into_iter().enumerate() {
                let Some((place, ratio)) = near else { continue };
                copied.push(f64::from(u8::from(ratio < COPY_RATIO)));
                let learnt = match &self.learnt {
                    Some((_, learnt)) => learnt.sounds[place].name.clone(),
                    None => self.sounds.sounds[place].name.clone(),
                };
                nearest.push(Pair {
                    made: made.sounds[i].name.clone(),
                    learnt,
                    ratio,
                });
            }
            let known: Vec<(usize, u32)> = made
                .sounds
                .iter()
                .enumerate()
                .filter_map(|(i, sound)| Some((i, self.class(&sound.label)?)))
                .collect();
            let asked: Vec<&Vec<f32>> = known.iter().map(|&(i, _)| &features[i]).collect();
            for classifier in &self.classifiers {
                for (&(_, wanted), found) in known.iter().zip(classifier.classify(&asked)?) {
                    right.push(f64::from(u8::from(wanted == found)));
                    taken.entry(wanted).or_default().push(found);
                }
            }
        }
        nearest.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
        nearest.truncate(NEAREST);
        let column = |k: usize| {
            let n = rows.len() as f64;
            let values: Vec<f64> = rows.iter().map(|row| row[k].value).collect();
            let squares: f64 = rows.iter().map(|row| row[k].error.powi(2)).sum();
            Estimate {
                value: values.iter().sum::<f64>() / n,
                error: squares.sqrt() / n,
            }
        };
        let scores = Scores {
            frechet: column(0),
            frechet_whitened: column(1),
            mmd: column(2),
            density: column(3),
            coverage: column(4),
            recall: column(5),
            // Both classifiers hear the same sounds: the error is that of half as many answers.
            consistency: (!right.is_empty()).then(|| {
                let Estimate { value, error } = Estimate::of(&right);
                let error = error * (self.classifiers.len() as f64).sqrt();
                Estimate { value, error }
            }),
            copies: if copied.is_empty() {
                Estimate {
                    value: 0.0,
                    error: 0.0,
                }
            } else {
                Estimate::of(&copied)
            },
        };
        let all: Vec<&Sound> = rounds.iter().flat_map(|round| &round.sounds).collect();
        let real: Vec<&Sound> = self.sounds.sounds.iter().collect();
        Ok(Judgement {
            name: rounds.first().map_or_else(String::new, |r| r.name.clone()),
            rounds: rounds.len(),
            sounds: all.len(),
            unusable: rounds.iter().map(|round| round.unusable).sum(),
            scores,
            classes: self.classes(&all, &real, &taken),
            health: health(&all, &real),
            nearest,
        })
    }

    /// Distances of `made`, and their errors by leaving out a tenth of it at a time.
    fn jackknife(&self, made: &Cloud, number: u64) -> [Estimate; 6] {
        let real = self.cloud();
        let whole = self.distances(&real, made);
        let n = made.points.len();
        let mut group: Vec<usize> = (0..n).map(|i| i % GROUPS).collect();
        let mut noise = Noise::at(self.seed, &[place::GROUP, number]);
        for i in (1..n).rev() {
            group.swap(i, noise.below(i + 1));
        }
        let parts: Vec<[f64; 6]> = (0..GROUPS)
            .map(|g| self.distances(&real, &made.keep(|i| group[i] != g)))
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

    fn classes(
        &self,
        made: &[&Sound],
        real: &[&Sound],
        taken: &BTreeMap<u32, Vec<u32>>,
    ) -> Vec<Class> {
        let of = |sounds: &[&Sound], label: &String| -> Vec<Measures> {
            let own = sounds.iter().filter(|s| s.label.as_ref() == Some(label));
            own.map(|s| s.measures).collect()
        };
        let share = |right: usize, all: usize| right as f64 / all.max(1) as f64;
        self.labels
            .iter()
            .enumerate()
            .map(|(place, label)| {
                let place = place as u32;
                let (ours, theirs) = (of(made, label), of(real, label));
                let nothing = Vec::new();
                let found = taken.get(&place).unwrap_or(&nothing);
                let mut others = vec![0; self.labels.len()];
                for &other in found.iter().filter(|&&f| f != place) {
                    others[other as usize] += 1;
                }
                let most = (0..others.len())
                    .max_by_key(|&i| others[i])
                    .filter(|&i| others[i] > 0);
                let asked: Vec<&Option<u32>> = (real.iter().zip(&self.recognized))
                    .filter(|(s, r)| s.label.as_ref() == Some(label) && r.is_some())
                    .map(|(_, r)| r)
                    .collect();
                let medians = MEASURES.iter().map(|&(name, get)| {
                    let middle =
                        |all: &[Measures]| percentiles(all.iter().filter_map(get)).map(|p| p[1]);
                    (name, [middle(&ours), middle(&theirs)])
                });
                Class {
                    label: label.clone(),
                    made: ours.len(),
                    real: theirs.len(),
                    consistency: share(found.iter().filter(|&&f| f == place).count(), found.len()),
                    real_consistency: share(
                        asked.iter().filter(|r| ***r == Some(place)).count(),
                        asked.len(),
                    ),
                    taken_for: most.map(|i| self.labels[i].clone()),
                    medians: medians.collect(),
                }
            })
            .collect()
    }
}

fn enough(sounds: &Sounds) -> Result<()> {
    if sounds.sounds.len() >= FEWEST {
        return Ok(());
    }
    Err(Error::setting(format!(
        "{}: expected at least {FEWEST} usable sounds to measure distances with, found {}",
        sounds.name,
        sounds.sounds.len()
    )))
}

type Get = fn(&Measures) -> Option<f32>;

/// What health is judged by.
const MEASURES: [(&str, Get); 11] = [
    ("peak", |m| Some(m.peak)),
    ("offset / peak", |m| Some(m.offset)),
    ("edge / peak", |m| Some(m.edge)),
    ("tail, dB", |m| Some(m.tail_db)),
    ("attack, s", |m| Some(m.attack)),
    ("decay, s", |m| Some(m.decay)),
    ("brightness, Hz", |m| Some(m.brightness)),
    ("bandwidth, Hz", |m| Some(m.bandwidth)),
    ("noisiness", |m| Some(m.noisiness)),
    ("pitch, Hz", |m| m.pitch),
    ("warble, cents", |m| m.warble),
];

fn health(made: &[&Sound], real: &[&Sound]) -> Vec<Health> {
    let of =
        |sounds: &[&Sound], get: Get| percentiles(sounds.iter().filter_map(|s| get(&s.measures)));
    MEASURES
        .iter()
        .map(|&(measure, get)| Health {
            measure,
            made: of(made, get),
            real: of(real, get),
        })
        .collect()
}

/// Tenth, fiftieth and ninetieth.
fn percentiles(values: impl Iterator<Item = f32>) -> Option<[f32; 3]> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([0.1, 0.5, 0.9].map(|share| values[(share * last as f64).round() as usize]))
}

type Score = fn(&Scores) -> Option<Estimate>;

/// Each score with its name, whether it is a share, and which way is better.
pub const SCORES: [(&str, Score, bool, &str); 8] = [
    ("Fréchet distance, dB²", |s| Some(s.frechet), false, "lower"),
    (
        "Fréchet distance, whitened",
        |s| Some(s.frechet_whitened),
        false,
        "lower",
    ),
    ("MMD × 100", |s| Some(s.mmd), false, "lower"),
    ("density", |s| Some(s.density), false, "about 1"),
    ("coverage", |s| Some(s.coverage), true, "higher"),
    ("recall", |s| Some(s.recall), true, "higher"),
    ("class consistency", |s| s.consistency, true, "higher"),
    ("copies", |s| Some(s.copies), true, "lower"),
];
