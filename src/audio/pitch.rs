//! The fundamental of a sound to the cent, and its course.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::num_complex::Complex32;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::Clip;
use super::measure::{PITCHES, onset, period};

/// Length of the stretch compared with the one a period later, in seconds: two periods of the lowest pitch.
const WINDOW: f64 = 0.05;

/// Between one look and the next, in seconds.
const HOP: f64 = 0.0125;

/// Longest lag over which a period is refined, in seconds.
const LONGEST_LAG: f64 = 0.04;

/// Correlation from which a look counts as pitched.
const CLEAR: f32 = 0.8;

/// Share of the amplitude that must be pitched.
const PITCHED_SHARE: f64 = 0.5;

/// Looks this far below the loudest do not count: -40 dB of energy.
const QUIET: f64 = 1e-4;

/// Looks farther than this from the middle of all are taken for octaves or partials, in octaves.
const ASTRAY: f64 = 0.4;

/// The pitch of a sound over time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contour {
    looks: Vec<Look>,
}

/// One look at a sound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    /// Middle of what was compared, in frames of audio.
    at: f64,
    /// log2 of the fundamental in Hz.
    octave: f64,
    /// The same by a single period, the coarsest way to tell it.
    near: f64,
    /// Amplitude, by which it counts.
    weight: f64,
}

impl Contour {
    /// Follows the fundamental of a clip, all channels mixed to one; `None` where half of it or more has none.
    ///
    /// A stretch of the sound is correlated with the stretch a lag later, and the product divided by both their norms:
    /// unlike the autocorrelation's, its peaks do not move where a sound decays. The first peak that is nearly as high
    /// as the highest is the period [McLeod & Wyvill 2005]; it is refined at two, four, eight periods, as far as the
    /// sound repeats, so that its error is divided by as many.
    pub fn of(clip: &Clip) -> Option<Self> {
        Self::by(clip, WINDOW)
    }

    fn by(clip: &Clip, seconds: f64) -> Option<Self> {
        let rate = f64::from(clip.sample_rate());
        let mono = clip.with_channels(1);
        if !mono.is_finite() || mono.peak() <= 0.0 {
            return None;
        }
        let begin = onset(&mono, mono.peak());
        let sound = &mono.channels()[0][begin..];
        let frames = |seconds: f64| ((seconds * rate) as usize).max(8);
        let (window, hop, reach) = (frames(seconds), frames(HOP), frames(LONGEST_LAG));
        // Past the end there is silence.
        let mut padded = sound.to_vec();
        padded.resize(sound.len() + window + reach + 2, 0.0);
        let starts = (0..=sound.len().saturating_sub(window)).step_by(hop);
        let mut heard: Vec<(usize, f64)> = starts
            .map(|start| (start, power(&padded[start..start + window])))
            .collect();
        let loudest = heard.iter().fold(0.0f64, |m, look| m.max(look.1));
        heard.retain(|look| look.1 > QUIET * loudest);
        let correlation = Correlation::new(window, (1.06 * rate / f64::from(PITCHES.0)) as usize);
        let least = (rate / f64::from(PITCHES.1) / 1.06) as usize;
        let look = |&(start, energy): &(usize, f64)| {
            let part = &padded[start..start + window + reach + 2];
            let (clarity, lag) = period(&correlation.curve(part), least.max(2));
            (clarity >= CLEAR && lag > 0.0).then(|| {
                let Refined { near, period, far } = refined(part, window, f64::from(lag), reach);
                Look {
                    at: begin as f64 + start as f64 + 0.5 * (window as f64 + far),
                    octave: (rate / period).log2(),
                    near: (rate / near).log2(),
                    weight: energy.sqrt(),
                }
            })
        };
        let all: f64 = heard.iter().map(|look| look.1.sqrt()).sum();
        let mut looks: Vec<Look> = heard.par_iter().filter_map(look).collect();
        let middle = quantile(&looks, 0.5)?;
        looks.retain(|look| (look.octave - middle).abs() < ASTRAY);
        let pitched: f64 = looks.iter().map(|look| look.weight).sum();
        (pitched >= PITCHED_SHARE * all).then_some(Self { looks })
    }

    /// The fundamental in Hz: the mean on a logarithmic scale, by amplitude, of the middle half of the course.
    pub fn hz(&self) -> f64 {
        let bounds =
            [0.25, 0.75].map(|fraction| quantile(&self.looks, fraction).unwrap_or_default());
        let inner = self
            .looks
            .iter()
            .filter(|look| (bounds[0]..=bounds[1]).contains(&look.octave));
        let (sum, weight) = inner.fold((0.0, 0.0), |(sum, weight), look| {
            (sum + look.weight * look.octave, weight + look.weight)
        });
        (sum / weight).exp2()
    }

    /// The fundamental in Hz that the course is as often above as below.
    pub fn median_hz(&self) -> f64 {
        let mut octaves: Vec<f64> = self.looks.iter().map(|look| look.octave).collect();
        octaves.sort_by(f64::total_cmp);
        octaves[octaves.len() / 2].exp2()
    }

    /// The fundamental of `clip`, whose contour this is, in Hz by every way there is to tell it: [`hz`](Self::hz),
    /// [`median_hz`](Self::median_hz), the medians of single periods, of either half of the sound by amplitude, and of
    /// windows twice as long. Where a sound beats, or is half noise, they differ: it has no pitch as exact as that.
    pub fn readings(&self, clip: &Clip) -> Vec<f64> {
        let median = |looks: &[Look]| quantile(looks, 0.5).map(f64::exp2);
        let near: Vec<Look> = (self.looks.iter())
            .map(|look| Look {
                octave: look.near,
                ..*look
            })
            .collect();
        let all: f64 = self.looks.iter().map(|look| look.weight).sum();
        let mut before = 0.0;
        let half = self.looks.iter().take_while(|look| {
            before += look.weight;
            before <= 0.5 * all
        });
        let (early, late) = self.looks.split_at(half.count());
        let long = Self::by(clip, 2.0 * WINDOW).and_then(|contour| median(&contour.looks));
        let others = [median(&near), median(early), median(late), long];
        [self.hz(), self.median_hz()]
            .into_iter()
            .chain(others.into_iter().flatten())
            .collect()
    }

    /// How far the course goes up and down, in cents: from where a tenth of it is below to where a tenth is above.
    pub fn spread(&self) -> f64 {
        let [low, high] =
            [0.1, 0.9].map(|fraction| quantile(&self.looks, fraction).unwrap_or_default());
        1200.0 * (high - low)
    }

    /// The course at frame `at`, in Hz: between two looks on the line between them, and smoothed over three.
    pub fn hz_at(&self, at: f64) -> f64 {
        let smooth = |i: usize| {
            let near = &self.looks[i.saturating_sub(1)..(i + 2).min(self.looks.len())];
            let weight: f64 = near.iter().map(|look| look.weight).sum();
            near.iter()
                .map(|look| look.weight * look.octave)
                .sum::<f64>()
                / weight
        };
        let after = self.looks.partition_point(|look| look.at < at);
        let octave = match after {
            0 => smooth(0),
            n if n == self.looks.len() => smooth(n - 1),
            n => {
                let (a, b) = (self.looks[n - 1].at, self.looks[n].at);
                let fraction = (at - a) / (b - a);
                smooth(n - 1) * (1.0 - fraction) + smooth(n) * fraction
            }
        };
        octave.exp2()
    }
}

fn power(samples: &[f32]) -> f64 {
    product(samples, samples)
}

/// The sum of products, in eight sums side by side.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let blocks = a.chunks(8).zip(b.chunks(8));
    for (a, b) in blocks {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    sums.iter().sum()
}

/// The height that `fraction` of the looks, by weight, lie below.
fn quantile(looks: &[Look], fraction: f64) -> Option<f64> {
    let mut sorted: Vec<&Look> = looks.iter().collect();
    sorted.sort_by(|a, b| a.octave.total_cmp(&b.octave));
    let all: f64 = sorted.iter().map(|look| look.weight).sum();
    let mut below = 0.0;
    let found = sorted.iter().find(|look| {
        below += look.weight;
        below >= fraction * all
    });
    found.or(sorted.last()).map(|look| look.octave)
}

/// Correlations of a window's length with what comes later, by transforms.
struct Correlation {
    window: usize,
    lags: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Correlation {
    fn new(window: usize, lags: usize) -> Self {
        let n = (window + lags).next_power_of_two();
        let mut planner = RealFftPlanner::new();
        Self {
            window,
            lags,
            forward: planner.plan_fft_forward(n),
            inverse: planner.plan_fft_inverse(n),
        }
    }

    /// The correlation at lags from 0 on, 1 where what comes later is the same but for its level.
    fn curve(&self, part: &[f32]) -> Vec<f32> {
        let n = self.forward.len();
        let spectrum = |samples: &[f32]| {
            let mut block = vec![0.0f32; n];
            block[..samples.len()].copy_from_slice(samples);
            let mut bins = vec![Complex32::default(); n / 2 + 1];
            self.forward
                .process(&mut block, &mut bins)
                .expect("the lengths are the plan's");
            bins
        };
        let head = spectrum(&part[..self.window]);
        let whole = spectrum(&part[..self.window + self.lags]);
        let mut product: Vec<Complex32> = head
            .iter()
            .zip(&whole)
            .map(|(a, b)| a.conj() * b / n as f32)
            .collect();
        product[0].im = 0.0;
        product[n / 2].im = 0.0;
        let mut sums = vec![0.0f32; n];
        self.inverse
            .process(&mut product, &mut sums)
            .expect("the lengths are the plan's");
        let own = power(&part[..self.window]);
        let mut later = own;
        let mut curve = Vec::with_capacity(self.lags);
        for lag in 0..self.lags {
            let norm = (own * later.max(0.0)).sqrt();
            // Silence repeats nothing.
            let heard = later > 1e-6 * own && norm > 0.0;
            curve.push(if heard { sums[lag] / norm as f32 } else { 0.0 });
            later += f64::from(part[lag + self.window]).powi(2) - f64::from(part[lag]).powi(2);
        }
        curve
    }
}

/// A period in frames, by a lag of one of it and by one of as many as there are, and the latter lag.
struct Refined {
    near: f64,
    period: f64,
    far: f64,
}

/// The period that is refined from a lag nearby.
fn refined(part: &[f32], window: usize, coarse: f64, reach: usize) -> Refined {
    let own = power(&part[..window]);
    let correlation = |lag: usize| -> f64 {
        let later = &part[lag..lag + window];
        let norm = (own * power(later)).sqrt();
        if norm > 0.0 {
            product(&part[..window], later) / norm
        } else {
            0.0
        }
    };
    let (mut near, mut period, mut far) = (coarse, coarse, coarse);
    let mut periods = 1.0;
    while periods * period + 0.3 * period + 2.0 < reach as f64 {
        // The farther, the better it is known; but never beyond a neighbouring peak.
        let spread = (0.25 * period / f64::max(periods, 1.0).sqrt()).max(2.0);
        let expected = periods * period;
        let from = (expected - spread).max(1.0) as usize;
        let to = ((expected + spread).ceil() as usize).min(reach);
        let heights: Vec<f64> = (from - 1..=to + 1).map(correlation).collect();
        let peaks = (1..heights.len() - 1)
            .filter(|&i| heights[i] >= heights[i - 1] && heights[i] > heights[i + 1]);
        let Some(i) = peaks.max_by(|&a, &b| heights[a].total_cmp(&heights[b])) else {
            break;
        };
        if heights[i] < f64::from(CLEAR) {
            break;
        }
        let (a, b, c) = (heights[i - 1], heights[i], heights[i + 1]);
        let bend = a - 2.0 * b + c;
        let shift = if bend < 0.0 {
            0.5 * (a - c) / bend
        } else {
            0.0
        };
        far = (from - 1 + i) as f64 + shift;
        period = far / periods;
        if periods == 1.0 {
            near = period;
        }
        periods *= 2.0;
    }
    Refined { near, period, far }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const RATE: u32 = 44_100;

    fn clip(seconds: f64, wave: impl Fn(f64) -> f64) -> Clip {
        let frames = (seconds * f64::from(RATE)) as usize;
        let samples = (0..frames).map(|n| wave(n as f64 / f64::from(RATE)) as f32);
        Clip::new(RATE, vec![samples.collect()])
    }

    fn sine(hz: f64, t: f64) -> f64 {
        (std::f64::consts::TAU * hz * t).sin()
    }

    fn cents(found: f64, wanted: f64) -> f64 {
        1200.0 * (found / wanted).log2()
    }

    #[test]
    fn pitch_is_right_to_a_cent_whatever_the_decay_the_overtones_and_the_register() {
        for hz in [40.0, 55.3, 65.4, 110.0, 220.0, 441.7, 880.0, 1318.5, 2000.0] {
            for seconds_to_60_db in [0.25, 0.6, 3.0] {
                let sound = clip(0.8, |t| {
                    let level = 10f64.powf(-3.0 * t / seconds_to_60_db);
                    // Overtones fade faster.
                    let tones =
                        sine(hz, t) + level * (0.8 * sine(2.0 * hz, t) + 0.5 * sine(3.0 * hz, t));
                    level * tones
                });
                let found = Contour::of(&sound).map_or(1.0, |contour| contour.hz());
                let off = cents(found, hz);
                // In a quarter of a second a low tone hardly repeats before its overtones are gone.
                let bound = if seconds_to_60_db < 0.5 {
                    1.0f64.max(450.0 / hz)
                } else {
                    1.0
                };
                assert!(
                    off.abs() < bound,
                    "{hz} Hz, {seconds_to_60_db} s: {off} cents"
                );
            }
        }
    }

    #[test]
    fn a_course_is_followed_and_noise_has_none() {
        // 20 cents up and down, three times a second.
        let sound = clip(1.0, |t| {
            let depth = 220.0 * (20f64 / 1200.0 * std::f64::consts::LN_2);
            let phase = 220.0 * t
                - depth / (std::f64::consts::TAU * 3.0) * (std::f64::consts::TAU * 3.0 * t).cos();
            sine(1.0, phase)
        });
        let contour = Contour::of(&sound).expect("a tone");
        assert!(cents(contour.hz(), 220.0).abs() < 2.0, "{}", contour.hz());
        assert!(
            (25.0..45.0).contains(&contour.spread()),
            "{}",
            contour.spread()
        );
        for n in 1..9 {
            let t = 0.1 * f64::from(n);
            let wanted = 20.0 * (std::f64::consts::TAU * 3.0 * t).sin();
            let found = cents(contour.hz_at(t * f64::from(RATE)), 220.0);
            assert!((found - wanted).abs() < 5.0, "{t} s: {found} {wanted}");
        }
        let noise = Clip::new(RATE, vec![Noise::new(3).normals(RATE as usize)]);
        assert_eq!(Contour::of(&noise), None);
        for silence in [vec![], vec![0.0; 3], vec![0.0; 5000], vec![f32::NAN; 9]] {
            assert_eq!(Contour::of(&Clip::new(RATE, vec![silence])), None);
        }
    }

    #[test]
    fn ways_to_tell_a_pitch_agree_where_there_is_one_and_differ_where_there_is_none() {
        let farthest = |hz: f64, sound: &Clip| {
            let contour = Contour::of(sound).expect("a tone");
            let readings = contour.readings(sound);
            assert_eq!(readings.len(), 6);
            let off = readings.into_iter().map(|found| cents(found, hz).abs());
            off.fold(0.0, f64::max)
        };
        for hz in [40.0, 55.3, 82.4, 220.0, 880.0, 2000.0] {
            let level = |t: f64| 10f64.powf(-3.0 * t);
            let tone = clip(1.0, |t| {
                level(t)
                    * (sine(hz, t) + level(t) * (0.5 * sine(2.0 * hz, t) + 0.3 * sine(3.0 * hz, t)))
            });
            let off = farthest(hz, &tone);
            assert!(off < 1.5, "{hz} Hz: {off} cents");
        }
        // Its second half is higher; it beats with a partial that is no multiple of it.
        let higher = clip(1.0, |t| sine(if t < 0.5 { 220.0 } else { 222.0 }, t));
        assert!(
            farthest(220.0, &higher) > 12.0,
            "{}",
            farthest(220.0, &higher)
        );
        let beating = clip(1.0, |t| sine(82.0, t) + 0.35 * sine(82.0 * 1.37, t));
        assert!(
            farthest(82.0, &beating) > 8.0,
            "{}",
            farthest(82.0, &beating)
        );
    }
}
