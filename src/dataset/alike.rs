//! Which sounds are nearly the same: one recording at another rate, level or trim, or a very similar hit.

use std::f64::consts::PI;

use rayon::prelude::*;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

use crate::audio::stft::hann;
use crate::audio::{Clip, onset};

/// Bands, evenly over the logarithm of these frequencies in Hz: what every usual sample rate has.
const BANDS: usize = 12;
const LOWEST: f64 = 50.0;
const HIGHEST: f64 = 7_000.0;
/// Where the stretches of time begin and end, seconds after the onset.
const EDGES: [f64; 13] = [
    0.0, 0.012, 0.024, 0.036, 0.05, 0.07, 0.1, 0.14, 0.19, 0.25, 0.33, 0.43, 0.56,
];
const TIMES: usize = EDGES.len() - 1;
/// Window and hop of the transforms, seconds.
const WINDOW_SECONDS: f64 = 0.0232;
const HOP_SECONDS: f64 = 0.006;
/// Level under the loudest cell at which a fingerprint ends, dB.
const FLOOR_DB: f64 = 50.0;
/// Sounds whose cells differ by less than this, as a root of the mean square over those that sound, are alike; dB.
const ALIKE_DB: f32 = 2.0;
/// Most others that one sound is compared with successfully: in a crowd of likes these lead to the rest.
const MOST_LIKES: usize = 64;

/// The outline of a sound from its onset on: levels of twelve bands over twelve stretches of time, as the coefficients
/// of their cosine transform, coarse ones first. Squared distances are those between the levels, in dB².
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fingerprint {
    coefficients: Vec<f32>,
    /// Cells above the floor.
    sounding: f32,
}

impl Fingerprint {
    pub fn of(clip: &Clip) -> Self {
        let rate = f64::from(clip.sample_rate());
        let mono = clip.with_channels(1);
        // Two sides that cancel leave the first one to go by.
        let samples = match mono.peak() > 0.01 * clip.peak() {
            true => &mono.channels()[0],
            false => &clip.channels()[0],
        };
        let peak = samples.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let onset = onset(&Clip::new(clip.sample_rate(), vec![samples.clone()]), peak);

        let window = ((WINDOW_SECONDS * rate) as usize).max(8);
        let n = (2 * window).next_power_of_two();
        let weights: Vec<f32> = (0..window)
            .map(|i| hann(i as f64 + 0.5, window) as f32)
            .collect();
        let transform = RealFftPlanner::new().plan_fft_forward(n);
        let (mut frame, mut bins) = (vec![0.0f32; n], vec![Complex32::default(); n / 2 + 1]);
        // Where each band begins and ends, in bins.
        let edge = |band: usize| {
            let hz = LOWEST * (HIGHEST / LOWEST).powf(band as f64 / BANDS as f64);
            (hz / rate * n as f64).min((n / 2) as f64)
        };
        let mut cells = [[0.0f64; BANDS]; TIMES];
        for (cells, ends) in cells.iter_mut().zip(EDGES.windows(2)) {
            let rows = ((ends[1] - ends[0]) / HOP_SECONDS).round().max(1.0);
            for row in 0..rows as usize {
                let at = ends[0] + (ends[1] - ends[0]) * row as f64 / rows;
                let start = onset + (at * rate) as usize;
                if start >= samples.len() {
                    break;
                }
                frame.fill(0.0);
                for ((x, s), w) in frame.iter_mut().zip(&samples[start..]).zip(&weights) {
                    *x = s * w;
                }
                if transform.process(&mut frame, &mut bins).is_err() {
                    break;
                }
                for (band, cell) in cells.iter_mut().enumerate() {
                    let (low, high) = (edge(band), edge(band + 1));
                    let last = high.ceil() as usize;
                    for (bin, x) in bins.iter().enumerate().take(last).skip(low as usize) {
                        let fraction = (high.min(bin as f64 + 1.0) - low.max(bin as f64)).max(0.0);
                        *cell += fraction * f64::from(x.norm_sqr()) / rows;
                    }
                }
            }
        }
        let loudest = cells
            .iter()
            .flatten()
            .fold(f64::MIN_POSITIVE, |m, &x| m.max(x));
        let mut levels = [[0.0f64; BANDS]; TIMES];
        for (level, cell) in levels.iter_mut().flatten().zip(cells.iter().flatten()) {
            *level = (10.0 * (cell / loudest).max(1e-30).log10() + FLOOR_DB).max(0.0);
        }
        let sounding = levels.iter().flatten().filter(|&&x| x > 0.0).count();
        Self {
            coefficients: cosine_transform(&levels),
            sounding: sounding.max(1) as f32,
        }
    }

    /// Whether two sounds are alike; cheap where they are not.
    fn alike(&self, other: &Self) -> bool {
        let most = ALIKE_DB * ALIKE_DB * self.sounding.max(other.sounding);
        let mut sum = 0.0;
        let parts = self
            .coefficients
            .chunks(8)
            .zip(other.coefficients.chunks(8));
        for (a, b) in parts {
            sum += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            if sum > most {
                return false;
            }
        }
        true
    }
}

/// The orthonormal cosine transform in both directions, coarse coefficients first.
fn cosine_transform(levels: &[[f64; BANDS]; TIMES]) -> Vec<f32> {
    let basis = |k: usize, i: usize, n: usize| {
        let scale = if k == 0 { 1.0 } else { 2.0 };
        (scale / n as f64).sqrt() * (PI * k as f64 * (i as f64 + 0.5) / n as f64).cos()
    };
    let mut along = [[0.0f64; BANDS]; TIMES];
    for (row, levels) in along.iter_mut().zip(levels) {
        for (k, x) in row.iter_mut().enumerate() {
            *x = levels
                .iter()
                .enumerate()
                .map(|(i, l)| l * basis(k, i, BANDS))
                .sum();
        }
    }
    let mut order: Vec<(usize, usize)> = (0..TIMES)
        .flat_map(|t| (0..BANDS).map(move |b| (t, b)))
        .collect();
    order.sort_by_key(|&(t, b)| (t + b, t));
    let coefficient = |(t, b): (usize, usize)| {
        (0..TIMES)
            .map(|i| along[i][b] * basis(t, i, TIMES))
            .sum::<f64>() as f32
    };
    order.into_iter().map(coefficient).collect()
}

/// For each sound the first, by place, of those it is joined to by a chain of likes.
///
/// Sounds are sorted by their mean level, and compared only with those whose mean level is near enough: no pair is
/// ever stored that is not alike, and most are not even looked at.
pub(super) fn clusters(fingerprints: &[Fingerprint]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..fingerprints.len()).collect();
    let level = |n: usize| fingerprints[n].coefficients[0];
    order.sort_by(|&a, &b| level(a).total_cmp(&level(b)).then(a.cmp(&b)));
    let widest = ALIKE_DB * ((BANDS * TIMES) as f32).sqrt();
    let likes: Vec<Vec<usize>> = (0..order.len())
        .into_par_iter()
        .map(|i| {
            let own = &fingerprints[order[i]];
            let near = order[i + 1..]
                .iter()
                .take_while(|&&n| level(n) - level(order[i]) <= widest);
            near.copied()
                .filter(|&n| own.alike(&fingerprints[n]))
                .take(MOST_LIKES)
                .collect()
        })
        .collect();
    let mut first: Vec<usize> = (0..fingerprints.len()).collect();
    fn root(first: &mut [usize], mut n: usize) -> usize {
        while first[n] != n {
            first[n] = first[first[n]];
            n = first[n];
        }
        n
    }
    for (i, likes) in likes.into_iter().enumerate() {
        for other in likes {
            let (a, b) = (root(&mut first, order[i]), root(&mut first, other));
            first[a.max(b)] = a.min(b);
        }
    }
    (0..fingerprints.len())
        .map(|n| root(&mut first, n))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const RATE: u32 = 44_100;

    /// A hit of its own pitch, length and noise.
    fn hit(seed: u64) -> Clip {
        let mut noise = Noise::new(seed);
        let hz = f64::from(noise.between(80.0, 900.0));
        let (decay, fraction) = (f64::from(noise.between(0.03, 0.4)), noise.uniform());
        let wave = |n: usize| {
            let t = n as f64 / f64::from(RATE);
            let tone = (2.0 * PI * hz * t).sin() as f32;
            (-t / decay).exp() as f32 * (0.5 * tone + 0.4 * fraction * noise.normal())
        };
        Clip::new(RATE, vec![(0..30_000).map(wave).collect()])
    }

    fn later(clip: &Clip, frames: usize) -> Clip {
        let mut wave = vec![0.0; frames];
        wave.extend_from_slice(&clip.channels()[0]);
        Clip::new(clip.sample_rate(), vec![wave])
    }

    #[test]
    fn a_recording_is_known_at_another_rate_level_trim_and_in_stereo() -> crate::Result<()> {
        for seed in 0..12 {
            let clip = hit(seed);
            let own = Fingerprint::of(&clip);
            let mut soft = clip.clone();
            soft.scale(0.2);
            let both = Clip::new(RATE, vec![clip.channels()[0].clone(); 2]);
            let others = [
                ("soft", soft),
                ("later", later(&clip, 3_000)),
                ("stereo", both),
                ("48 kHz", clip.resampled(48_000)?),
                ("22 kHz", clip.resampled(22_050)?),
                ("cut", clip.slice(0, 26_000)),
            ];
            for (what, other) in others {
                assert!(own.alike(&Fingerprint::of(&other)), "{what} {seed}");
            }
            assert!(!own.alike(&Fingerprint::of(&hit(seed + 100))), "{seed}");
        }
        Ok(())
    }

    #[test]
    fn chains_of_likes_are_one_cluster_and_others_are_left_alone() {
        let mut fingerprints: Vec<Fingerprint> =
            (0..40).map(|seed| Fingerprint::of(&hit(seed))).collect();
        let soft = |seed: u64| {
            let mut clip = hit(seed);
            clip.scale(0.5);
            Fingerprint::of(&clip)
        };
        fingerprints.extend([soft(3), soft(7), soft(3)]);
        let mut expected: Vec<usize> = (0..43).collect();
        (expected[40], expected[41], expected[42]) = (3, 7, 3);
        let found = clusters(&fingerprints);
        assert_eq!(found[40..], expected[40..]);
        // Of forty drawn at random a pair may be as good as the same.
        let alone = found.iter().zip(&expected).filter(|(a, b)| a == b).count();
        assert!(alone >= 42, "{found:?}");
        // A crowd of the same is one cluster, though not every pair is kept.
        let crowd = vec![fingerprints[0].clone(); 500];
        assert!(clusters(&crowd).iter().all(|&n| n == 0));
        assert!(clusters(&[]).is_empty());
    }
}
