//! How far apart two clouds of points are. `[N, K]` points throughout, N by N.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;

use crate::noise::Noise;

/// Random halvings of both clouds for [`frechet_infinite`].
const HALVINGS: usize = 24;
/// Neighbours that make a sound's surroundings.
const NEIGHBOURS: usize = 5;

/// Points whose distances in pairs are sorted.
const MOST_PAIRED: usize = 1000;

type Points = [Vec<f64>];

/// Squared distance.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum()
}

/// Fréchet distance between the normal distributions with the clouds' means and covariances [Dowson &
/// Landau 1982], squared. Biased upwards by a term in `1/N`.
pub(super) fn frechet(a: &Points, b: &Points) -> f64 {
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a), moments(b));
    // trace (A^½ B A^½)^½
    let root = root(&cov_a);
    let product = &root * &cov_b * &root;
    let product = (&product + product.transpose()) * 0.5;
    let cross: f64 = SymmetricEigen::new(product)
        .eigenvalues
        .iter()
        .map(|x| x.max(0.0).sqrt())
        .sum();
    (mean_a - mean_b).norm_squared() + cov_a.trace() + cov_b.trace() - 2.0 * cross
}

/// [`frechet`] without its bias: extrapolated to infinitely many points along the line in `1/N`
/// [Chong & Forsyth 2020] through the whole clouds and their halves.
///
/// Both halves of a halving are measured, the first of one cloud against the first of the other: where one
/// pair errs upwards the other errs downwards, so few halvings do.
pub(super) fn frechet_infinite(a: &Points, b: &Points, seed: u64) -> f64 {
    let halves: Vec<f64> = (0..HALVINGS as u64)
        .into_par_iter()
        .map(|number| {
            let mut noise = Noise::at(seed, &[number]);
            let ((a, other_a), (b, other_b)) = (halved(a, &mut noise), halved(b, &mut noise));
            0.5 * (frechet(&a, &b) + frechet(&other_a, &other_b))
        })
        .collect();
    2.0 * frechet(a, b) - halves.iter().sum::<f64>() / halves.len() as f64
}

/// The points in two random halves.
fn halved(points: &Points, noise: &mut Noise) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut order: Vec<&Vec<f64>> = points.iter().collect();
    noise.shuffle(&mut order);
    let own = |points: &[&Vec<f64>]| points.iter().map(|&p| p.clone()).collect();
    let (first, second) = order.split_at(order.len() / 2);
    (own(first), own(second))
}

fn moments(points: &Points) -> (DVector<f64>, DMatrix<f64>) {
    let (n, k) = (points.len(), points[0].len());
    let matrix = DMatrix::from_fn(n, k, |i, j| points[i][j]);
    let mean = matrix.row_mean().transpose();
    let centred = DMatrix::from_fn(n, k, |i, j| matrix[(i, j)] - mean[j]);
    let covariance = centred.transpose() * &centred / (n.max(2) - 1) as f64;
    (mean, covariance)
}

/// The positive root of a positive matrix.
fn root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(matrix.clone());
    let roots = eigen.eigenvalues.map(|x| x.max(0.0).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
}

/// Median distance between the points of one cloud, or of every n-th of a large one.
pub(super) fn median_distance(points: &Points) -> f64 {
    let some: Vec<&Vec<f64>> = (points.iter())
        .step_by(points.len().div_ceil(MOST_PAIRED).max(1))
        .collect();
    let some = &some[..];
    let mut distances: Vec<f64> = (0..some.len())
        .flat_map(|i| (0..i).map(move |j| apart(some[i], some[j])))
        .collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).map_or(0.0, |d| d.sqrt())
}

/// Unbiased squared maximum mean discrepancy with the kernel `exp(-d²/2·bandwidth²)`, times 100
/// [Gretton et al. 2012, Eq. 3]. About zero, above or below, for clouds of one distribution.
pub(super) fn mmd(a: &Points, b: &Points, bandwidth: f64) -> f64 {
    let kernel = |x: &[f64], y: &[f64]| (-apart(x, y) / (2.0 * bandwidth * bandwidth)).exp();
    let within = |points: &Points| {
        let row = |i: usize| (0..i).map(|j| kernel(&points[i], &points[j])).sum::<f64>();
        let n = points.len() as f64;
        2.0 * (0..points.len())
            .into_par_iter()
            .map(row)
            .collect::<Vec<_>>()
            .iter()
            .sum::<f64>()
            / (n * (n - 1.0))
    };
    let across: Vec<f64> = a
        .par_iter()
        .map(|x| b.iter().map(|y| kernel(x, y)).sum::<f64>())
        .collect();
    let across = across.iter().sum::<f64>() / (a.len() * b.len()) as f64;
    100.0 * (within(a) + within(b) - 2.0 * across)
}

/// Density and coverage of `real` by `made` [Naeem et al. 2020], and recall [Kynkäänniemi et al. 2019], with five
/// neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Neighbourhood {
    /// How many real sounds' surroundings a made sound lies in, over the number expected: 1 for real ones.
    pub density: f64,
    /// Share of the real sounds whose surroundings hold a made sound; 0.97 for real ones.
    pub coverage: f64,
    /// Share of the real sounds that lie in some made sound's surroundings.
    pub recall: f64,
}

/// The neighbourhood of `made` among `real`, whose [`radii`] these are.
pub(super) fn neighbourhood(real: &Points, real_radii: &[f64], made: &Points) -> Neighbourhood {
    let made_radii = radii(made);
    let counts: Vec<(usize, bool)> = real
        .par_iter()
        .zip(real_radii)
        .map(|(point, &radius)| {
            let (mut inside, mut known) = (0, false);
            for (other, &own) in made.iter().zip(&made_radii) {
                let d = apart(point, other);
                inside += usize::from(d < radius);
                known |= d < own;
            }
            (inside, known)
        })
        .collect();
    let fraction = |n: usize| n as f64 / real.len() as f64;
    let inside: usize = counts.iter().map(|c| c.0).sum();
    Neighbourhood {
        density: inside as f64 / (NEIGHBOURS * made.len()) as f64,
        coverage: fraction(counts.iter().filter(|c| c.0 > 0).count()),
        recall: fraction(counts.iter().filter(|c| c.1).count()),
    }
}

/// Squared distance of each point to its fifth neighbour, or to the last where there are fewer.
pub(super) fn radii(points: &Points) -> Vec<f64> {
    (0..points.len())
        .into_par_iter()
        .map(|i| {
            let mut nearest = [f64::INFINITY; NEIGHBOURS];
            for (_, other) in points.iter().enumerate().filter(|&(j, _)| j != i) {
                let mut d = apart(&points[i], other);
                for place in &mut nearest {
                    if d < *place {
                        std::mem::swap(&mut d, place);
                    }
                }
            }
            let found = nearest.iter().rev().find(|d| d.is_finite());
            found.copied().unwrap_or(0.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` points of `k` coordinates: `shift` plus `scale` times normal draws.
    fn cloud(n: usize, k: usize, shift: f64, scale: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut noise = Noise::new(seed);
        (0..n)
            .map(|_| {
                (0..k)
                    .map(|_| shift + scale * f64::from(noise.normal()))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn frechet_of_normal_clouds_is_the_closed_form() {
        // Per coordinate (shift)² + (1 - scale)².
        let (a, b) = (cloud(4000, 6, 0.0, 1.0, 1), cloud(4000, 6, 0.5, 2.0, 2));
        assert!((frechet(&a, &b) / (6.0 * (0.25 + 1.0)) - 1.0).abs() < 0.03);
        assert!(frechet(&a, &a).abs() < 1e-9);
    }

    #[test]
    fn extrapolation_removes_the_bias_of_small_sets() {
        let (a, b) = (cloud(200, 16, 0.0, 1.0, 1), cloud(200, 16, 0.0, 1.0, 2));
        let (plain, infinite) = (frechet(&a, &b), frechet_infinite(&a, &b, 0));
        assert!(
            plain > 0.5 && infinite.abs() < 0.2 * plain,
            "{plain} {infinite}"
        );
        let b = cloud(200, 16, 1.0, 1.0, 2);
        let far = frechet_infinite(&a, &b, 0);
        assert!((far / 16.0 - 1.0).abs() < 0.15, "{far}");
    }

    #[test]
    fn mmd_is_zero_for_one_distribution_and_grows_with_the_distance() {
        let a = cloud(400, 4, 0.0, 1.0, 1);
        let width = median_distance(&a);
        let to = |shift| mmd(&a, &cloud(400, 4, shift, 1.0, 2), width);
        assert!(to(0.0).abs() < 0.3, "{}", to(0.0));
        assert!(to(0.3) > 1.0 && to(1.0) > 3.0 * to(0.3));
    }

    #[test]
    fn dropped_modes_lower_coverage_and_recall_but_not_density() {
        let modes = |n: usize, count: usize, seed| -> Vec<Vec<f64>> {
            let mut points = cloud(n, 2, 0.0, 0.1, seed);
            for (i, p) in points.iter_mut().enumerate() {
                p[0] += (i % count) as f64 * 10.0;
            }
            points
        };
        let real = modes(400, 4, 1);
        let radii = radii(&real);
        let same = neighbourhood(&real, &radii, &modes(400, 4, 2));
        assert!(same.coverage > 0.93 && (same.density - 1.0).abs() < 0.15 && same.recall > 0.93);
        let one = neighbourhood(&real, &radii, &modes(400, 1, 2));
        assert!(
            (one.coverage - 0.25).abs() < 0.02 && (one.recall - 0.25).abs() < 0.02,
            "{one:?}"
        );
        assert!(one.density > 0.8, "{one:?}");
        let noise = neighbourhood(&real, &radii, &cloud(400, 2, 500.0, 100.0, 3));
        assert!(noise.density < 0.01 && noise.coverage < 0.01, "{noise:?}");
    }

    #[test]
    fn the_median_distance_of_many_is_that_of_some() {
        let many = cloud(5000, 4, 0.0, 1.0, 1);
        // Distances between normal points of four coordinates: the median of chi with 4 degrees, times the root of two.
        assert!((median_distance(&many) - 1.832 * 2f64.sqrt()).abs() < 0.05);
    }
}
