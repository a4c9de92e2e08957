//! Distances to the reference with their errors, and the floor that real sounds set for them.

use super::distance;
use super::features::Space;
use super::scores::Distances;
use super::{Estimate, FEWEST};
use crate::noise::Noise;

/// Random halvings of the reference that the floor is the mean of.
const HALVINGS: usize = 6;
/// Groups of the jackknife.
const GROUPS: usize = 10;
/// Most sounds of a set that distances are taken between; of a larger set so many are drawn at random.
const MOST: usize = 3000;

/// First number of the places ([`Noise::at`]) that evaluation draws from.
pub(super) mod place {
    pub const HALVE: u64 = 0x3000;
    pub const GROUP: u64 = 0x3001;
    pub const SOME: u64 = 0x3002;
    pub const FOLD: u64 = 0x3003;
}

/// The numbers below `n` in random order.
pub(super) fn shuffled(n: usize, seed: u64, place: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Noise::at(seed, place).shuffle(&mut order);
    order
}

/// `rows`, or [`MOST`] of them drawn at random.
fn some<'a>(rows: &[&'a [f32]], seed: u64) -> Vec<&'a [f32]> {
    let mut chosen = shuffled(rows.len(), seed, &[place::SOME]);
    chosen.truncate(MOST);
    chosen.sort_unstable();
    chosen.into_iter().map(|i| rows[i]).collect()
}

/// About [`MOST`] of `places`, every n-th of them.
pub(super) fn every_nth(places: &[usize]) -> Vec<usize> {
    let step = places.len().div_ceil(MOST).max(1);
    places.iter().copied().step_by(step).collect()
}

type Points = Vec<Vec<f64>>;

/// A set of sounds as points of a space, plain and whitened.
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
pub(super) struct Metric {
    space: Space,
    real: Cloud,
    /// Of the real points' neighbourhoods, squared.
    radii: Vec<f64>,
    bandwidth: f64,
    seed: u64,
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metric")
            .field("real", &self.real.points.len())
            .field("bandwidth", &self.bandwidth)
            .finish_non_exhaustive()
    }
}

impl Metric {
    /// `known` sounds span the space, and their distances from each other set the bandwidth.
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

    fn distances(&self, other: &Cloud) -> Distances<f64> {
        let real = &self.real;
        let near = distance::neighbourhood(&real.points, &self.radii, &other.points);
        Distances {
            frechet: distance::frechet_infinite(&real.points, &other.points, self.seed),
            frechet_whitened: distance::frechet_infinite(
                &real.whitened,
                &other.whitened,
                self.seed,
            ),
            mmd: distance::mmd(&real.points, &other.points, self.bandwidth),
            density: near.density,
            coverage: near.coverage,
            recall: near.recall,
        }
    }

    /// Distances of the sounds with these features; the errors are those of a jackknife that leaves out a tenth of them
    /// at a time. `number` tells the draws of several sets apart.
    pub fn jackknife(&self, features: &[&[f32]], number: u64) -> Distances<Estimate> {
        let cloud = Cloud::of(&self.space, &some(features, self.seed));
        let group = shuffled(cloud.points.len(), self.seed, &[place::GROUP, number]);
        let parts = (0..GROUPS).map(|g| self.distances(&cloud.keep(|i| group[i] % GROUPS != g)));
        let rows: Vec<_> = std::iter::once(self.distances(&cloud))
            .chain(parts)
            .collect();
        Distances::over(&rows, |values| {
            let (value, parts) = (values[0], &values[1..]);
            let mean = parts.iter().sum::<f64>() / GROUPS as f64;
            let squares: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
            Estimate {
                value,
                error: (squares * (GROUPS - 1) as f64 / GROUPS as f64).sqrt(),
            }
        })
    }
}

/// The metric of a reference, and the distances that real sounds have by it which neither the reference nor the space
/// knows.
#[derive(Debug)]
pub(super) struct Baseline {
    pub metric: Metric,
    pub floor: Distances<Estimate>,
}

impl Baseline {
    /// For the features of the reference's `own` sounds and, where it is known, of the `training` set; none of fewer
    /// than [`FEWEST`]. Adds to `notes` what is left out.
    ///
    /// The floor is the mean over random halvings of the reference, one half against the other, in the space of the
    /// training set or of the first half; its errors are the standard deviations between the halvings.
    pub fn new(
        own: &[&[f32]],
        training: Option<&[&[f32]]>,
        seed: u64,
        notes: &mut Vec<String>,
    ) -> Option<Self> {
        let fewest = training.map_or(own.len(), |training| training.len().min(own.len()));
        if fewest < FEWEST {
            notes.push(format!(
                "distances are left out: they need {FEWEST} sounds, there are {fewest}"
            ));
            return None;
        }
        let most = training.map_or(0, <[_]>::len).max(own.len());
        if most > MOST {
            notes.push(format!(
                "distances are taken between {MOST} sounds drawn at random, at most, of {most}"
            ));
        }
        let dimensions = Space::dimensions(fewest.min(MOST));
        let training = training.map(|training| some(training, seed));
        let halvings = (0..HALVINGS as u64).map(|number| {
            // Classes fall as they may: halves with even ones would be nearer than independent sets are.
            let order = shuffled(own.len(), seed, &[place::HALVE, number]);
            let (a, b) = order.split_at(own.len() / 2);
            let [a, b] = [a, b].map(|half| rows_at(own, half, seed));
            let known = training.as_ref().unwrap_or(&a);
            let metric = Metric::new(known, &a, dimensions, seed);
            metric.distances(&Cloud::of(&metric.space, &b))
        });
        let halvings: Vec<_> = halvings.collect();
        let real = some(own, seed);
        let known = training.as_ref().unwrap_or(&real);
        Some(Self {
            metric: Metric::new(known, &real, dimensions, seed),
            floor: Distances::over(&halvings, Estimate::with_deviation),
        })
    }
}

/// Distances of a `training` set from the reference's `own` sounds: each of two `folds` of it in the space of the
/// other.
pub(super) fn of_folds(
    own: &[&[f32]],
    training: &[&[f32]],
    folds: &[Vec<usize>; 2],
    seed: u64,
) -> Distances<Estimate> {
    let own = some(own, seed);
    let fewest = folds[0].len().min(folds[1].len()).min(own.len());
    let dimensions = Space::dimensions(fewest).min(Space::dimensions(training.len()));
    let rows = [0, 1].map(|fold| rows_at(training, &folds[fold], seed));
    let measured = [(0, 1), (1, 0)].map(|(known, asked)| {
        let metric = Metric::new(&rows[known], &own, dimensions, seed);
        metric.jackknife(&rows[asked], asked as u64)
    });
    Distances::over(&measured, Estimate::mean)
}

/// The rows at these places, or [`MOST`] of them.
fn rows_at<'a>(rows: &[&'a [f32]], places: &[usize], seed: u64) -> Vec<&'a [f32]> {
    let rows: Vec<&[f32]> = places.iter().map(|&i| rows[i]).collect();
    some(&rows, seed)
}
