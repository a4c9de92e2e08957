//! The known sound that is nearest to each generated one, and which of these pairs are copies.

use rayon::prelude::*;

use super::Pair;
use super::features::{Space, heard_apart};
use super::sounds::{Sound, Sounds};

/// Nearer than this where either sounds is a copy, dB. One recording at another level, trim and bit depth lies within
/// 1.6 dB of itself; the most alike of 400 recordings from different packs are 2.9 dB apart.
const COPY_DB: f64 = 2.0;
/// Nearer than this is a copy if the second nearest is far, dB: a recording that a decoder made from its own log-mel
/// frames is mostly 1.2 to 3 dB from what it was.
const DECODED_DB: f64 = 3.0;
/// The second nearest is far if the nearest is nearer by this factor,
const COPY_RATIO: f64 = 1.0 / 3.0;
/// among so many known sounds: among few, the second nearest is far from everything.
const CROWD: usize = 100;

/// Most sounds that the projections of [`Neighbours`] are found from, and how many directions these have.
const PROJECTED_BY: usize = 500;
const PROJECTIONS: usize = 12;

/// Finds the nearest of the known sounds, by the root of the mean square of the differences between features, dB.
///
/// The distance between two projections is a lower bound of the distance between the sounds, so most sounds are ruled
/// out by their projections; the answers are exact.
#[derive(Debug)]
pub(super) struct Neighbours {
    space: Space,
    points: Vec<Vec<f32>>,
}

/// The nearest of the known sounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    /// Which it is.
    pub place: usize,
    /// How far it is, dB.
    pub distance: f64,
    /// How far it is where either sounds, dB ([`heard_apart`]).
    pub heard: f64,
    /// How far the second nearest is, where there is one.
    pub second: Option<f64>,
}

impl Neighbours {
    pub fn new(among: &[&[f32]]) -> Self {
        let step = among.len().div_ceil(PROJECTED_BY).max(1);
        let some: Vec<&[f32]> = among.iter().step_by(step).copied().collect();
        let space = Space::of(&some, PROJECTIONS);
        let points = projected(&space, among);
        Self { space, points }
    }

    /// For each of `rows` the nearest of `among`, the rows that [`Neighbours::new`] was given. With `own`, `rows` are
    /// `among` themselves, and none is its own neighbour.
    pub fn nearest(&self, rows: &[&[f32]], among: &[&[f32]], own: bool) -> Vec<Option<Near>> {
        let points = projected(&self.space, rows);
        (rows.par_iter().zip(&points).enumerate())
            .map(|(i, (row, point))| {
                let (mut first, mut second) = ((0, f32::INFINITY), f32::INFINITY);
                for (j, (other, theirs)) in among.iter().zip(&self.points).enumerate() {
                    let least: f32 = point
                        .iter()
                        .zip(theirs)
                        .map(|(x, y)| (x - y) * (x - y))
                        .sum();
                    // Rounding must not hide a neighbour.
                    if 0.999 * least > second || (own && i == j) {
                        continue;
                    }
                    let squares: f32 = row.iter().zip(*other).map(|(x, y)| (x - y) * (x - y)).sum();
                    let d = squares / row.len() as f32;
                    if d < first.1 {
                        second = first.1;
                        first = (j, d);
                    } else {
                        second = second.min(d);
                    }
                }
                let root = |d: f32| f64::from(d).sqrt();
                first.1.is_finite().then(|| Near {
                    place: first.0,
                    distance: root(first.1),
                    heard: heard_apart(row, among[first.0]),
                    second: second.is_finite().then(|| root(second)),
                })
            })
            .collect()
    }

    /// Whether a sound counts as a copy of its nearest one.
    pub fn is_copy(&self, near: &Near) -> bool {
        let far = |second| near.distance < COPY_RATIO * second;
        let alone = self.points.len() >= CROWD && near.second.is_some_and(far);
        near.heard < if alone { DECODED_DB } else { COPY_DB }
    }

    /// The `generated` sounds beside the nearest ones of the `known` sounds, which [`Neighbours::new`] was given.
    pub fn pairs(&self, generated: &[Sound], known: &Sounds) -> Vec<Pair> {
        let rows: Vec<&[f32]> = generated.iter().map(|sound| &sound.features[..]).collect();
        let nearest = self.nearest(&rows, &known.features(), false);
        let pair = |(sound, near): (&Sound, Option<Near>)| {
            let near = near?;
            let ratio = |second| match second > 0.0 {
                true => near.distance / second,
                false => 1.0,
            };
            Some(Pair {
                generated: sound.name.clone(),
                training: known.sounds[near.place].name.clone(),
                distance: near.heard,
                ratio: near.second.map(ratio),
                copy: self.is_copy(&near),
            })
        };
        generated.iter().zip(nearest).filter_map(pair).collect()
    }
}

fn projected(space: &Space, rows: &[&[f32]]) -> Vec<Vec<f32>> {
    let narrow = |point: Vec<f64>| point.into_iter().map(|x| x as f32).collect();
    space.points(rows).into_iter().map(narrow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn neighbours_are_those_of_comparing_with_all_and_own_rows_are_left_out() {
        let rows = |n: usize, seed| -> Vec<Vec<f32>> {
            let mut noise = Noise::new(seed);
            let mut row = || noise.normals(40).iter().map(|x| 3.0 * x).collect();
            (0..n).map(|_| row()).collect()
        };
        let (among, asked) = (rows(700, 1), rows(60, 2));
        let among: Vec<&[f32]> = among.iter().map(Vec::as_slice).collect();
        let asked: Vec<&[f32]> = asked.iter().map(Vec::as_slice).collect();
        let neighbours = Neighbours::new(&among);
        let plain = |row: &[f32], without: Option<usize>| {
            let mut all: Vec<(f64, usize)> = (among.iter().enumerate())
                .filter(|&(j, _)| Some(j) != without)
                .map(|(j, other)| {
                    let squares = row
                        .iter()
                        .zip(*other)
                        .map(|(x, y)| f64::from(x - y).powi(2));
                    ((squares.sum::<f64>() / 40.0).sqrt(), j)
                })
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            (all[0], all[1].0)
        };
        let same = |near: Option<Near>, ((distance, place), second): ((f64, usize), f64)| {
            let near = near.expect("there are others");
            assert_eq!(near.place, place);
            assert!((near.distance - distance).abs() < 1e-4);
            assert!((near.second.expect("there are two") - second).abs() < 1e-4);
        };
        for (row, near) in asked.iter().zip(neighbours.nearest(&asked, &among, false)) {
            same(near, plain(row, None));
        }
        let own = neighbours.nearest(&among, &among, true);
        for (i, near) in own.into_iter().enumerate() {
            same(near, plain(among[i], Some(i)));
        }
        let alone = Neighbours::new(&among[..1]);
        assert_eq!(alone.nearest(&among[..1], &among[..1], true), [None]);
        let only = alone.nearest(&asked[..1], &among[..1], false)[0].expect("there is one");
        assert_eq!((only.place, only.second), (0, None));
    }
}
