//! Features by which sounds are compared: the log-mel spectrogram, coarser as it goes on, in the space in which
//! the reference sounds mostly differ.

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::audio::Clip;
use crate::error::Result;
use crate::representation::{
    Format, MelConfig, Representation, RepresentationConfig, Statistics, Stereo,
};

/// Mel bands.
const BANDS: usize = 32;
/// Hop of the spectrogram in frames of audio.
const HOP: usize = 256;
/// Floor below the loudest cell, dB.
const FLOOR_DB: f32 = -60.0;
/// A cell that is louder is heard: the floor is added to every cell, so that one as loud as it lies here, dB.
const HEARD_DB: f32 = FLOOR_DB + 6.0;
/// Rows averaged into each of the first columns; the last width goes on to the end.
const COLUMNS: [usize; 9] = [2, 2, 2, 2, 4, 4, 4, 4, 8];
/// Most dimensions of a [`Space`].
const MOST_DIMENSIONS: usize = 32;
/// Sounds that are needed for each dimension: half as many, as the floor is made of, still have covariances.
const SOUNDS_A_DIMENSION: usize = 8;

/// Log-mel features of clips of one format, in dB relative to the clip's loudest cell, from -60 dB up.
#[derive(Debug)]
pub struct Features {
    mel: Box<dyn Representation>,
}

impl Features {
    /// For mono clips of `rate` Hz and `len_frames` frames; the spectrogram covers whole hops of them.
    ///
    /// # Errors
    /// When there is no log-mel spectrogram of such clips.
    pub fn new(rate: u32, len_frames: usize) -> Result<Self> {
        let format = Format {
            sample_rate: rate,
            channels: 1,
            len_frames: len_frames.div_ceil(HOP) * HOP,
        };
        let as_it_is = Statistics {
            mean: vec![0.0; BANDS],
            scale: vec![1.0; BANDS],
        };
        let config = RepresentationConfig::Mel(MelConfig {
            n_fft: 1024,
            hop: HOP,
            mels: BANDS,
            floor_db: FLOOR_DB,
            stereo: Stereo::Image,
        });
        Ok(Self {
            mel: config.build(&format, &as_it_is)?,
        })
    }

    /// A row of numbers, equally long for every clip; a longer clip is cut, a shorter one followed by silence.
    ///
    /// # Errors
    /// When the clip is of another rate.
    pub fn of(&self, clip: &Clip) -> Result<Vec<f32>> {
        let len_frames = self.mel.shape().0 * HOP;
        let mono = clip.with_channels(1).slice(0, clip.len_frames());
        let mut samples = mono.channels()[0].clone();
        samples.resize(len_frames, 0.0);
        let frames = self
            .mel
            .encode(&Clip::new(clip.sample_rate(), vec![samples]))?;
        let mut rows = frames.data.chunks_exact(BANDS);
        let mut widths = COLUMNS.iter().copied();
        let mut width = 0;
        let mut features = Vec::new();
        while rows.len() > 0 {
            width = widths.next().unwrap_or(width).min(rows.len());
            let mut column = vec![0.0; BANDS];
            for row in rows.by_ref().take(width) {
                for (sum, x) in column.iter_mut().zip(row) {
                    *sum += 20.0 * x / width as f32;
                }
            }
            features.extend(column);
        }
        Ok(features)
    }
}

/// The root of the mean square of the differences between two rows of [`Features`] over the cells that are heard in
/// either, dB: however short the sounds are, the silence after them makes them no more alike.
pub(super) fn heard_apart(a: &[f32], b: &[f32]) -> f64 {
    let heard = a.iter().zip(b).filter(|(x, y)| x.max(**y) > HEARD_DB);
    let (sum, cells) = heard.fold((0.0, 0u32), |(sum, cells), (x, y)| {
        (sum + f64::from(x - y).powi(2), cells + 1)
    });
    (sum / f64::from(cells.max(1))).sqrt()
}

/// The directions in which a set of sounds differs most, and the distance from all of them.
///
/// Coordinates are in dB over the root of the number of features, so that a squared distance between two sounds is
/// their mean squared difference. A point has one coordinate for each direction, and as the last one the length of what
/// the directions leave over: without it a fault that no real sound has would be invisible.
#[derive(Debug)]
pub(super) struct Space {
    mean: Vec<f32>,
    /// `K × D`, orthonormal rows.
    directions: Vec<Vec<f32>>,
    /// Standard deviation along each coordinate, the last one included.
    spread: Vec<f64>,
}

impl Space {
    /// How many directions are looked along when the smaller of the sets that are compared has `n` sounds.
    pub fn dimensions(n: usize) -> usize {
        (n / SOUNDS_A_DIMENSION).clamp(1, MOST_DIMENSIONS)
    }

    /// The first `dimensions` principal directions of `features`, as far as there are so many.
    pub fn of(features: &[&[f32]], dimensions: usize) -> Self {
        let (n, d) = (features.len(), features[0].len());
        let mut mean = vec![0.0f32; d];
        for row in features {
            for (sum, x) in mean.iter_mut().zip(*row) {
                *sum += x / n as f32;
            }
        }
        let centred = DMatrix::from_fn(n, d, |i, j| features[i][j] - mean[j]);
        // The smaller of the two matrices with the same eigenvalues.
        let by_sounds = n < d;
        let gram = if by_sounds {
            &centred * centred.transpose()
        } else {
            centred.transpose() * &centred
        };
        let eigen = SymmetricEigen::new(gram);
        let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let least = 1e-6 * eigen.eigenvalues[order[0]].max(0.0);
        let directions = order
            .iter()
            .take(dimensions)
            .filter(|&&k| eigen.eigenvalues[k] > least)
            .map(|&k| {
                let vector = eigen.eigenvectors.column(k);
                if by_sounds {
                    let direction = centred.transpose() * vector;
                    direction.normalize().iter().copied().collect()
                } else {
                    vector.iter().copied().collect()
                }
            })
            .collect();
        let mut space = Self {
            mean,
            directions,
            spread: Vec::new(),
        };
        let points = space.points(features);
        space.spread = (0..points[0].len())
            .map(|k| deviation(points.iter().map(|p| p[k])).max(1e-6))
            .collect();
        space
    }

    /// Coordinates of each row of features.
    pub fn points(&self, features: &[&[f32]]) -> Vec<Vec<f64>> {
        let point = |row: &&[f32]| {
            let unit = (row.len() as f32).sqrt().recip();
            let away = row.iter().zip(&self.mean).map(|(x, m)| unit * (x - m));
            let away: Vec<f32> = away.collect();
            let along = |direction: &Vec<f32>| {
                let terms = direction.iter().zip(&away);
                terms.map(|(u, x)| f64::from(u * x)).sum::<f64>()
            };
            let mut point: Vec<f64> = self.directions.iter().map(along).collect();
            let whole: f64 = away.iter().map(|&x| f64::from(x).powi(2)).sum();
            let seen: f64 = point.iter().map(|x| x * x).sum();
            point.push((whole - seen).max(0.0).sqrt());
            point
        };
        features.par_iter().map(point).collect()
    }

    /// The same points with every coordinate in units of its spread.
    pub fn whitened(&self, points: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let whiten = |point: &Vec<f64>| {
            let pairs = point.iter().zip(&self.spread);
            pairs.map(|(x, s)| x / s).collect()
        };
        points.iter().map(whiten).collect()
    }
}

fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    (values.map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}
