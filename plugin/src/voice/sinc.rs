//! Sound between its samples: a windowed sinc, tabulated, with a lower cutoff for every half octave
//! that a sound is played faster, so that little folds back.

use std::sync::OnceLock;

use audiodiff::audio::sinc::{bessel_i0, windowed_sinc};

/// Frames that a position needs before and after it.
pub(super) const REACH: usize = 8;

const TAPS: usize = 2 * REACH;

/// Positions between two samples that are tabulated; those in between are interpolated linearly.
const PHASES: usize = 128;

/// Speeds that have a table: half octaves, up to four times as fast.
const SPEEDS: usize = 5;

/// The Kaiser window's beta: side lobes of about -80 dB.
const BETA: f64 = 8.0;

/// The taps of one phase.
type Row = [f32; TAPS];

/// Tables for all speeds.
#[derive(Debug)]
pub(super) struct Sinc(Vec<Row>);

/// The table for one speed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed<'a> {
    rows: &'a [Row],
    /// Whether positions on a sample return that sample, to the bit.
    is_plain: bool,
}

impl Sinc {
    /// The tables of all instances, made at the first call.
    pub fn shared() -> &'static Self {
        static SINC: OnceLock<Sinc> = OnceLock::new();
        SINC.get_or_init(|| {
            let rows = (0..SPEEDS).flat_map(|speed| {
                let cutoff = 2f64.powf(-0.5 * speed as f64);
                (0..=PHASES).map(move |phase| row(cutoff, phase as f64 / PHASES as f64))
            });
            Self(rows.collect())
        })
    }

    /// The table for a sound that advances by `step` of its frames with each frame of the output.
    pub fn at_step(&self, step: f64) -> Speed<'_> {
        let speed = (2.0 * step.log2()).ceil().clamp(0.0, (SPEEDS - 1) as f64) as usize;
        Speed {
            rows: &self.0[speed * (PHASES + 1)..][..PHASES + 1],
            is_plain: speed == 0,
        }
    }
}

/// The taps for a position `t` after a frame.
fn row(cutoff: f64, t: f64) -> Row {
    let tap = |i: usize| {
        let x = i as f64 - (REACH - 1) as f64 - t;
        if x.abs() >= REACH as f64 {
            return 0.0;
        }
        let tap = windowed_sinc(x, cutoff, REACH as f64, BETA) / bessel_i0(BETA);
        // Rounding leaves a little where the tap is zero: samples must come out as they are, to the bit.
        if tap.abs() < 1e-12 { 0.0 } else { tap }
    };
    // The taps add up to one, so that a constant stays constant.
    let sum: f64 = (0..TAPS).map(tap).sum();
    std::array::from_fn(|i| (tap(i) / sum) as f32)
}

impl Speed<'_> {
    /// The value at `position`, in frames from the first that is not padding. Outside the sound it is zero.
    #[inline]
    pub fn read(self, frames: &[f32], position: f64) -> f32 {
        // The padding before the sound makes up for the taps before the position.
        let position = position + 1.0;
        // Past the ends of its type it becomes these ends, where there is no frame either.
        let start = position as i32;
        let part = (position - f64::from(start)) as f32;
        let taps = frames.get(start as usize..).and_then(|x| x.first_chunk());
        let (0.0..=1.0, Some(taps)) = (part, taps) else {
            return 0.0;
        };
        if part == 0.0 && self.is_plain {
            return taps[REACH - 1];
        }
        let phase = part * PHASES as f32;
        let first = (phase as i32).min(PHASES as i32 - 1);
        let fraction = phase - first as f32;
        let [at, after] = self.rows[first as usize..]
            .first_chunk()
            .expect("there is a row past the last phase");
        let (at, after) = (dot(at, taps), dot(after, taps));
        at + fraction * (after - at)
    }
}

/// The sum of the products, by halves, as vectors of every size can take it.
#[inline(always)]
fn dot(a: &Row, b: &Row) -> f32 {
    let products: Row = std::array::from_fn(|i| a[i] * b[i]);
    let eight: [f32; 8] = std::array::from_fn(|i| products[i] + products[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, len: usize) -> Vec<f32> {
        let at = |i: usize| (std::f64::consts::TAU * hz * (i as f64 - 8.0)).sin() as f32;
        (0..len).map(at).collect()
    }

    #[test]
    fn whole_positions_are_the_samples_and_a_constant_stays() {
        let frames = sine(0.0123, 100);
        let speed = Sinc::shared().at_step(1.0);
        for i in 0..80 {
            assert_eq!(speed.read(&frames, i as f64), frames[i + REACH], "{i}");
        }
        for step in [0.5, 1.3, 3.9] {
            let x = Sinc::shared().at_step(step).read(&[1.0; 40], 9.377);
            assert!((x - 1.0).abs() < 1e-6, "{step}: {x}");
        }
    }

    #[test]
    fn between_samples_it_follows_sines_to_seventy_db() {
        for hz in [0.001, 0.02, 0.1, 0.25, 0.33] {
            let frames = sine(hz, 300);
            for i in 0..500 {
                let position = 10.0 + f64::from(i) * 0.517;
                let exact = (std::f64::consts::TAU * hz * position).sin() as f32;
                let x = Sinc::shared().at_step(1.0).read(&frames, position);
                assert!((x - exact).abs() < 3e-4, "{hz} at {position}: {x}, {exact}");
            }
        }
    }

    #[test]
    fn what_would_fold_back_is_held_down() {
        // An octave up, 0.42 of the rate would become 0.84 and fold to 0.16.
        let (frames, speed) = (sine(0.42, 2000), Sinc::shared().at_step(2.0));
        let energy: f32 = (20..900)
            .map(|i| speed.read(&frames, f64::from(i) * 2.0).powi(2))
            .sum();
        let level = 10.0 * (energy / 880.0 * 2.0).log10();
        assert!(level < -40.0, "{level} dB");
    }

    #[test]
    fn outside_there_is_silence() {
        let frames = [1.0; 20];
        let speed = Sinc::shared().at_step(1.0);
        for position in [-1e9, -9.0, 40.0, 1e18, f64::NAN, f64::INFINITY] {
            assert_eq!(speed.read(&frames, position), 0.0, "{position}");
        }
    }
}
