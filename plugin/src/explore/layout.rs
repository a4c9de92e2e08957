//! Places for sounds on a plane, so that like ones lie together: t-SNE [van der Maaten & Hinton 2008], begun with the
//! principal directions, so that nothing is drawn by chance and the same sounds lie at the same places.

/// Neighbours that a sound keeps near it, about.
const PERPLEXITY: f32 = 20.0;

/// Steps of the first layout, and how many of its first pull neighbours together, and how strongly.
const STEPS: usize = 500;
const EARLY: usize = 120;
const EXAGGERATION: f32 = 6.0;

/// Steps in which others settle among sounds that keep their places.
const SETTLING: usize = 150;

/// Neighbours between which a sound begins to settle.
const NEAREST: usize = 5;

/// The squared distances between sounds, row after row.
#[derive(Debug, Clone, Default)]
pub(super) struct Distances {
    len: usize,
    squares: Vec<f32>,
}

impl Distances {
    /// Of rows of features, all equally long.
    pub fn of(rows: &[&[f32]]) -> Self {
        let len = rows.len();
        let mut squares = vec![0.0; len * len];
        for i in 0..len {
            for j in 0..i {
                let pairs = rows[i].iter().zip(rows[j]);
                let square = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
                squares[i * len + j] = square;
                squares[j * len + i] = square;
            }
        }
        Self { len, squares }
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.squares[i * self.len..(i + 1) * self.len]
    }

    /// How strongly each pair attracts each other: symmetric, and one in all.
    fn attractions(&self) -> Vec<f32> {
        let len = self.len;
        let perplexity = PERPLEXITY.min((len as f32 - 1.0) / 3.0).max(1.0);
        let mut all = vec![0.0; len * len];
        for i in 0..len {
            let row = neighbours(self.row(i), i, perplexity);
            all[i * len..(i + 1) * len].copy_from_slice(&row);
        }
        let mean = |i: usize, j: usize| (all[i * len + j] + all[j * len + i]) / (2 * len) as f32;
        (0..len * len)
            .map(|at| mean(at / len, at % len).max(1e-12))
            .collect()
    }

    /// The two principal directions [Torgerson 1952], each from -1 to 1 at its farthest sound.
    fn principal(&self) -> Vec<[f32; 2]> {
        let len = self.len;
        let mean = |i: usize| self.row(i).iter().sum::<f32>() / len as f32;
        let means: Vec<f32> = (0..len).map(mean).collect();
        let all = means.iter().sum::<f32>() / len as f32;
        let product = |i: usize, j: usize| -0.5 * (self.row(i)[j] - means[i] - means[j] + all);
        let mut found = vec![[0.0; 2]; len];
        for axis in 0..2 {
            // Powers of the matrix of products, whose largest direction is what is left.
            let mut vector: Vec<f32> = (0..len).map(|i| 1.0 + 0.1 * (i % 7) as f32).collect();
            for _ in 0..60 {
                if axis == 1 {
                    let first = || found.iter().map(|at| at[0]);
                    let dot: f32 = first().zip(&vector).map(|(a, b)| a * b).sum();
                    let norm: f32 = first().map(|a| a * a).sum::<f32>().max(1e-12);
                    let part: Vec<f32> = first().map(|a| a * dot / norm).collect();
                    vector.iter_mut().zip(part).for_each(|(x, part)| *x -= part);
                }
                let times = |i| (0..len).map(|j| product(i, j) * vector[j]).sum::<f32>();
                let next: Vec<f32> = (0..len).map(times).collect();
                let most = next.iter().fold(1e-12f32, |most, x| most.max(x.abs()));
                vector = next.into_iter().map(|x| x / most).collect();
            }
            for (at, x) in found.iter_mut().zip(vector) {
                at[axis] = x;
            }
        }
        found
    }
}

/// Weights of the others in a row of squared distances, as of a Gaussian that is so wide that they count as `perplexity`
/// sounds.
fn neighbours(squares: &[f32], own: usize, perplexity: f32) -> Vec<f32> {
    let others = || squares.iter().enumerate().filter(|(j, _)| *j != own);
    let nearest = others().map(|(_, &d)| d).fold(f32::INFINITY, f32::min);
    let (mut low, mut high) = (-30.0f32, 30.0f32);
    let weights = |log: f32| -> Vec<f32> {
        let precision = log.exp();
        let weight = |(j, &d): (usize, &f32)| match j == own {
            true => 0.0,
            false => (-(d - nearest) * precision).exp(),
        };
        let row: Vec<f32> = squares.iter().enumerate().map(weight).collect();
        let sum = row.iter().sum::<f32>();
        row.into_iter().map(|w| w / sum).collect()
    };
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        let entropy = |row: &[f32]| -> f32 {
            let terms = row.iter().filter(|&&w| w > 0.0);
            -terms.map(|w| w * w.ln()).sum::<f32>()
        };
        // A narrower Gaussian has fewer neighbours.
        match entropy(&weights(middle)) > perplexity.ln() {
            true => low = middle,
            false => high = middle,
        }
    }
    weights((low + high) / 2.0)
}

/// Places for sounds at these distances from each other. The first of them may have places already, and keep them.
pub(super) fn layout(distances: &Distances, kept: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let len = distances.len;
    if len < 4 && kept.is_empty() {
        return (0..len).map(|i| [i as f32, 0.0]).collect();
    }
    let mut at = kept.to_vec();
    if kept.is_empty() {
        let small = distances.principal().into_iter();
        at.extend(small.map(|place| place.map(|x| 1e-2 * x)));
    } else {
        at.extend((kept.len()..len).map(|i| beside(distances.row(i), kept, i)));
    }
    if kept.len() < len {
        descend(&distances.attractions(), &mut at, kept.len());
    }
    at
}

/// A place between the nearest of those that have one, not quite that of another.
fn beside(squares: &[f32], kept: &[[f32; 2]], number: usize) -> [f32; 2] {
    let mut near: Vec<usize> = (0..kept.len()).collect();
    near.sort_by(|&a, &b| squares[a].total_cmp(&squares[b]));
    near.truncate(NEAREST);
    let weight = |i: usize| 1.0 / (squares[i] + 1e-6);
    let sum: f32 = near.iter().map(|&i| weight(i)).sum();
    let angle = 2.4 * number as f32;
    let aside = [0.05 * angle.cos(), 0.05 * angle.sin()];
    std::array::from_fn(|axis| {
        let mean: f32 = near.iter().map(|&i| weight(i) * kept[i][axis]).sum();
        mean / sum + aside[axis]
    })
}

/// Moves all but the first `kept` downhill.
fn descend(attractions: &[f32], at: &mut [[f32; 2]], kept: usize) {
    let len = at.len();
    let (steps, early) = match kept {
        0 => (STEPS, EARLY),
        _ => (SETTLING, 0),
    };
    let rate = (len as f32 / EXAGGERATION).max(10.0);
    let mut moves = vec![[0.0f32; 2]; len];
    let mut gains = vec![[1.0f32; 2]; len];
    let mut near = vec![0.0f32; len * len];
    for step in 0..steps {
        let mut sum = 0.0f64;
        for i in 0..len {
            for j in 0..i {
                let (dx, dy) = (at[i][0] - at[j][0], at[i][1] - at[j][1]);
                let closeness = 1.0 / (1.0 + dx * dx + dy * dy);
                near[i * len + j] = closeness;
                near[j * len + i] = closeness;
                sum += 2.0 * f64::from(closeness);
            }
        }
        let unit = 1.0 / sum.max(1e-12) as f32;
        let pull = if step < early { EXAGGERATION } else { 1.0 };
        let momentum = if step < early { 0.5 } else { 0.8 };
        let slopes: Vec<[f32; 2]> = (kept..len)
            .map(|i| {
                let mut slope = [0.0f32; 2];
                for j in (0..len).filter(|&j| j != i) {
                    let closeness = near[i * len + j];
                    let force = (pull * attractions[i * len + j] - closeness * unit) * closeness;
                    for axis in 0..2 {
                        slope[axis] += 4.0 * force * (at[i][axis] - at[j][axis]);
                    }
                }
                slope
            })
            .collect();
        for (i, slope) in (kept..len).zip(slopes) {
            for axis in 0..2 {
                let turns = (slope[axis] > 0.0) != (moves[i][axis] > 0.0);
                let gain = &mut gains[i][axis];
                *gain = if turns {
                    *gain + 0.2
                } else {
                    (*gain * 0.8).max(0.01)
                };
                moves[i][axis] = momentum * moves[i][axis] - rate * *gain * slope[axis];
                at[i][axis] += moves[i][axis];
            }
        }
    }
}

/// The same places within a square from 0 to 1, as `frame` would lie in it: what lies outside of that goes to the edge.
pub(super) fn within_square(places: &[[f32; 2]], frame: &[[f32; 2]]) -> Vec<[f32; 2]> {
    const MARGIN: f32 = 0.03;
    let ends = |axis: usize| {
        let values = frame.iter().map(|at| at[axis]);
        let low = values.clone().fold(f32::INFINITY, f32::min);
        let high = values.fold(f32::NEG_INFINITY, f32::max);
        (low, (high - low).max(1e-6))
    };
    let ends = [ends(0), ends(1)];
    let place = |at: &[f32; 2]| {
        std::array::from_fn(|axis| {
            let (low, wide) = ends[axis];
            let x = MARGIN + (1.0 - 2.0 * MARGIN) * (at[axis] - low) / wide;
            x.clamp(0.0, 1.0)
        })
    };
    places.iter().map(place).collect()
}

/// How near two sounds may lie within the square, so that each can be pointed at, and how often they are moved apart.
const APART: f32 = 0.024;
const ROUNDS: usize = 60;

/// Moves places within the square apart that lie on each other, all but the first `kept`.
pub(super) fn spread(at: &mut [[f32; 2]], kept: usize) {
    for round in 0..ROUNDS {
        let mut is_done = true;
        for i in kept..at.len() {
            for j in 0..i {
                let (dx, dy) = (at[i][0] - at[j][0], at[i][1] - at[j][1]);
                let apart = (dx * dx + dy * dy).sqrt();
                if apart >= APART {
                    continue;
                }
                is_done = false;
                // Of one place, each goes its own way.
                let (x, y) = match apart > 1e-6 {
                    true => (dx / apart, dy / apart),
                    false => (2.4 * (i + round) as f32).sin_cos(),
                };
                let (own, other) = if j < kept { (1.0, 0.0) } else { (0.5, 0.5) };
                let gap = APART - apart;
                for (k, step) in [(i, own * gap), (j, -other * gap)] {
                    let [at_x, at_y] = at[k];
                    at[k] = [at_x + step * x, at_y + step * y].map(|x| x.clamp(0.0, 1.0));
                }
            }
        }
        if is_done {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::noise::Noise;

    use super::*;

    /// Clouds of sounds around points in eight dimensions.
    fn clouds(count: usize, of: usize) -> Vec<Vec<f32>> {
        let mut noise = Noise::new(5);
        let middles: Vec<Vec<f32>> = (0..count)
            .map(|_| noise.normals(8).iter().map(|x| 6.0 * x).collect())
            .collect();
        (0..count * of)
            .map(|i| {
                let middle = &middles[i % count];
                middle.iter().map(|x| x + noise.normal()).collect()
            })
            .collect()
    }

    fn distances(rows: &[Vec<f32>]) -> Distances {
        Distances::of(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// How many of the places have as their nearest one of their own cloud.
    fn together(places: &[[f32; 2]], count: usize) -> f32 {
        let apart = |a: &[f32; 2], b: &[f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let is_together = |i: &usize| {
            let others = (0..places.len()).filter(|j| j != i);
            let by = |a: &usize, b: &usize| {
                apart(&places[*i], &places[*a]).total_cmp(&apart(&places[*i], &places[*b]))
            };
            others.min_by(by).unwrap() % count == i % count
        };
        let own = (0..places.len()).filter(is_together).count();
        own as f32 / places.len() as f32
    }

    #[test]
    fn like_sounds_lie_together_and_the_same_sounds_at_the_same_places() {
        let rows = clouds(5, 16);
        let distances = distances(&rows);
        let places = layout(&distances, &[]);
        assert!(together(&places, 5) > 0.95, "{}", together(&places, 5));
        assert_eq!(layout(&distances, &[]), places);
        for at in within_square(&places, &places) {
            assert!(at.iter().all(|x| (0.029..0.971).contains(x)));
        }
    }

    #[test]
    fn who_comes_later_moves_nobody_and_lies_among_its_like() {
        let rows = clouds(5, 20);
        let first = layout(&distances(&rows[..60]), &[]);
        let all = layout(&distances(&rows), &first);
        assert_eq!(all[..60], first);
        assert!(together(&all, 5) > 0.95, "{}", together(&all, 5));
    }

    #[test]
    fn places_that_are_one_are_moved_apart() {
        let mut places: Vec<[f32; 2]> = (0..60)
            .map(|i| [0.3 + 0.001 * (i / 20) as f32, 0.5])
            .collect();
        let before = places.clone();
        spread(&mut places, 1);
        assert_eq!(places[0], before[0]);
        for i in 0..places.len() {
            for j in 0..i {
                let (a, b) = (places[i], places[j]);
                let apart = ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt();
                assert!(apart > 0.7 * APART, "{i} {j}: {apart}");
            }
        }
        let far = vec![[0.1, 0.1], [0.9, 0.9]];
        let mut same = far.clone();
        spread(&mut same, 0);
        assert_eq!(same, far);
    }

    #[test]
    fn few_sounds_and_equal_ones_have_places() {
        for len in 0..6 {
            let rows = vec![vec![1.0; 4]; len];
            let places = layout(&distances(&rows), &[]);
            assert_eq!(places.len(), len);
            let places = within_square(&places, &places);
            assert!(places.iter().flatten().all(|x| (0.0..=1.0).contains(x)));
        }
        let one = layout(&distances(&vec![vec![0.0; 4]; 5]), &[[3.0, 4.0]]);
        assert!(one.iter().flatten().all(|x| x.is_finite()));
    }
}
