//! Tails of sounds that are longer than those that a model of one-shots was trained on.

use realfft::num_complex::Complex32;

use crate::audio::Clip;
use crate::audio::stft::{Stft, periodic_hann};

/// Length of the window, and its hop, in frames of audio.
const WINDOW: usize = 2048;
const HOP: usize = 512;

/// Lowest edge of the bands in which tails are watched, Hz; a third of an octave each from there on.
const LOWEST_EDGE: f64 = 100.0;

/// A tail may lie this far above the line that it is held to, dB: noise is uneven.
const HEADROOM_DB: f64 = 1.5;

/// How much slower than the whole a band may fall.
const SLOWER: f64 = 0.7;

/// Cells this far below the loudest are silent, dB.
const SILENCE_DB: f64 = -100.0;

/// A level that silence is brought down to, dB.
const NOTHING_DB: f64 = -200.0;

/// Lets what lies beyond frame `own` fade as the half before it did, band by band: a model of one-shots knows nothing
/// of what comes later than its clips end, and makes ghosts of the sound there, or a tail that stops decaying.
///
/// In each band a line is laid through the levels in dB over the second half of what the model knows, and what rises
/// above the line is brought down to it; what once was lower falls on from there. Nothing is raised. No band falls much
/// slower than the whole did, there or since its peak: ringing in one band alone is an artefact of the model.
pub(super) fn hold_tail(clip: &mut Clip, own: usize) {
    if clip.len_frames() <= own || own < 8 * HOP {
        return;
    }
    let transform = Stft::new(periodic_hann(WINDOW), HOP, 0);
    let bins = transform.bins();
    let bands = Bands::new(bins, f64::from(clip.sample_rate()) / WINDOW as f64);
    let rows = clip.len_frames() / HOP + WINDOW / HOP;
    for channel in clip.channels_mut() {
        let mut spectra = transform.analyse(channel, rows);
        let Some(levels) = Levels::of(&spectra, &bands) else {
            continue;
        };
        let gains = levels.gains(own);
        let rows = spectra.chunks_exact_mut(bins);
        for (row, gains) in rows.zip(gains.chunks_exact(bands.count)) {
            for (x, &band) in row.iter_mut().zip(&bands.of_bin) {
                *x *= gains[band];
            }
        }
        let held = transform.synthesise(&spectra, channel.len());
        // The sound within the model's own length stays as it is to the bit, but for its last window.
        let first = own.saturating_sub(WINDOW);
        channel[first..].copy_from_slice(&held[first..]);
    }
}

/// Which bins of a spectrum lie in which band.
struct Bands {
    /// The band of each bin.
    of_bin: Vec<usize>,
    count: usize,
}

impl Bands {
    fn new(bins: usize, bin_hz: f64) -> Self {
        let band = |bin: usize| {
            let place = 3.0 * (bin as f64 * bin_hz / LOWEST_EDGE).log2();
            if place < 0.0 { 0 } else { 1 + place as usize }
        };
        Self {
            of_bin: (0..bins).map(band).collect(),
            count: 1 + band(bins - 1),
        }
    }
}

/// How loud a channel is in each band of each row.
struct Levels {
    /// `[rows, bands]`.
    powers: Vec<f64>,
    bands: usize,
    loudest: f64,
}

/// A straight line through levels: dB a frame of audio, and dB at frame 0.
#[derive(Clone, Copy)]
struct Line {
    slope: f64,
    height: f64,
}

impl Levels {
    /// The levels of a channel, unless it is silent.
    fn of(spectra: &[Complex32], bands: &Bands) -> Option<Self> {
        let bins = bands.of_bin.len();
        let mut powers = vec![0.0f64; spectra.len() / bins * bands.count];
        let rows = powers.chunks_exact_mut(bands.count);
        for (row, powers) in spectra.chunks_exact(bins).zip(rows) {
            for (x, &band) in row.iter().zip(&bands.of_bin) {
                powers[band] += f64::from(x.norm_sqr());
            }
        }
        let loudest = powers.iter().fold(0.0f64, |m, &p| m.max(p));
        (loudest > 0.0).then_some(Self {
            powers,
            bands: bands.count,
            loudest,
        })
    }

    fn rows(&self) -> usize {
        self.powers.len() / self.bands
    }

    /// dB against the loudest cell.
    fn db(&self, power: f64) -> f64 {
        (10.0 * (power / self.loudest).max(1e-30).log10()).max(SILENCE_DB)
    }

    /// The level of a band, in the mean over `around` rows on either side, so that the unevenness of noise stays as it
    /// is.
    fn level(&self, band: usize, t: usize, around: usize) -> f64 {
        let near = t.saturating_sub(around)..(t + around + 1).min(self.rows());
        let count = near.len() as f64;
        let sum = near
            .map(|t| self.powers[t * self.bands + band])
            .sum::<f64>();
        self.db(sum / count)
    }

    /// The line through `level` over the second half of the first `own` frames, less the last window.
    fn line(&self, own: usize, level: impl Fn(usize) -> f64) -> Option<Line> {
        let known = 0.5 * own as f64..own as f64 - WINDOW as f64;
        let rows = (0..self.rows()).filter(|&t| known.contains(&centre(t)));
        let points: Vec<(f64, f64)> = rows.map(|t| (centre(t), level(t))).collect();
        fitted(&points)
    }

    /// The slope that no band falls slower than.
    fn slowest(&self, own: usize) -> f64 {
        let rows = self.powers.chunks_exact(self.bands);
        let whole: Vec<f64> = rows.map(|row| self.db(row.iter().sum())).collect();
        let within = &whole[..own / HOP];
        let top = (0..within.len()).max_by(|&a, &b| within[a].total_cmp(&within[b]));
        let fallen = top.map_or(0.0, |top| {
            let end = within.len() - 1;
            (within[end] - within[top]) / (centre(end) - centre(top)).max(1.0)
        });
        let lately = self.line(own, |t| whole[t]).map_or(0.0, |line| line.slope);
        (SLOWER * lately).min(0.5 * SLOWER * fallen).min(0.0)
    }

    /// Factors `[rows, bands]` that bring what lies beyond frame `own` down to its line.
    fn gains(&self, own: usize) -> Vec<f32> {
        let slowest = self.slowest(own);
        let mut gains = vec![1.0f32; self.powers.len()];
        for band in 0..self.bands {
            let Some(line) = self.line(own, |t| self.level(band, t, 2)) else {
                continue;
            };
            let mut held = line.height + line.slope * own as f64;
            for t in (0..self.rows()).filter(|&t| centre(t) > own as f64) {
                // Once it is lower, it falls on from there.
                held += line.slope.min(slowest) * HOP as f64;
                held = held.min(self.level(band, t, 10) + HEADROOM_DB);
                let allowed = match held + HEADROOM_DB {
                    allowed if allowed <= SILENCE_DB + HEADROOM_DB => NOTHING_DB,
                    allowed => allowed,
                };
                let over = self.level(band, t, 2) - allowed;
                if over > 0.0 {
                    gains[t * self.bands + band] = 10f64.powf(-over / 20.0) as f32;
                }
            }
        }
        gains
    }
}

/// The frame of audio that a row is centred on.
fn centre(t: usize) -> f64 {
    (t * HOP) as f64
}

/// The straight line nearest to these points, by least squares.
fn fitted(points: &[(f64, f64)]) -> Option<Line> {
    let n = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xy, xx) = points.iter().fold((0.0, 0.0), |(xy, xx), p| {
        (xy + (p.0 - x) * (p.1 - y), xx + (p.0 - x).powi(2))
    });
    (xx > 0.0).then(|| Line {
        slope: xy / xx,
        height: y - xy / xx * x,
    })
}
