//! Drive: a smooth saturator that keeps the level.
//!
//! `y = x √(1 + (g r)²) / √(1 + (g x)²)`: odd, smooth, the identity where the gain `g` is 0. What is as loud as the
//! reference `r` stays so at every `g`; what is softer becomes louder, what is louder softer.
//!
//! Harmonics above half the sample rate would fold back to where no harmonic is. So each output is the mean of the curve
//! over the way from the last input to this one, which is the difference of its antiderivative `√(1 + (g x)²) / g²`
//! there over that of the inputs [Parker et al. 2016]: `(x + x') / (√(1 + (g x)²) + √(1 + (g x')²))`. It turns what is
//! not saturated down at the top, by 2 dB at 10 kHz of 48 kHz.

/// The amplitude that stays as it is: about that of a sound's loud part, 10 dB below its peak.
const REFERENCE: f32 = 0.3;

/// The gain `g` of full drive.
const MOST_GAIN: f32 = 16.0;

/// The drive from which on each output is a mean; below, less and less, so that none is the identity.
const MEAN_FROM: f32 = 0.25;

/// The state of a saturator for one channel: its last input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Saturator(f32);

impl Saturator {
    /// Saturates the first frames of a stride of `stride` in place, over which the drive, `0..=1`, moves from one value
    /// to another. Where both are 0, the frames stay as they are, to the bit.
    pub(super) fn run(&mut self, [from, to]: [f32; 2], frames: &mut [f32], stride: usize) {
        let mut last = self.0;
        self.0 = frames.last().copied().unwrap_or(last);
        if from == 0.0 && to == 0.0 {
            return;
        }
        let per_frame = (to - from) / stride as f32;
        for (i, frame) in frames.iter_mut().enumerate() {
            let drive = from + (i + 1) as f32 * per_frame;
            let gain = MOST_GAIN * drive * drive;
            let root = |x: f32| (1.0 + (gain * x) * (gain * x)).sqrt();
            let x = *frame;
            let now = x / root(x);
            let mean = (0.5 * x + 0.5 * last) / (0.5 * root(x) + 0.5 * root(last));
            *frame = root(REFERENCE) * (now + (drive / MEAN_FROM).min(1.0) * (mean - now));
            last = x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a constant.
    fn driven(drive: f32, x: f32) -> f32 {
        let mut frames = [x; 2];
        Saturator::default().run([drive; 2], &mut frames, 2);
        frames[1]
    }

    #[test]
    fn it_is_odd_rises_and_keeps_the_reference() {
        for drive in [0.1, 0.5, 1.0] {
            let curve: Vec<f32> = (0..=100).map(|i| driven(drive, i as f32 * 0.01)).collect();
            assert!(curve.windows(2).all(|pair| pair[1] > pair[0]), "{drive}");
            assert!((driven(drive, REFERENCE) - REFERENCE).abs() < 1e-6);
            for x in [1e-30, 0.01, 0.7, 40.0] {
                assert_eq!(driven(drive, -x), -driven(drive, x));
            }
        }
        // Pinned: quiet by √(1 + 4.8²), the rest towards that over the gain.
        assert!((driven(1.0, 1e-4) / 1e-4 - 4.903).abs() < 1e-3);
        assert!((driven(1.0, 1.0) - 0.30585).abs() < 1e-5);
        assert!((driven(0.5, 1.0) - 0.37886).abs() < 1e-5);
    }

    #[test]
    fn none_is_the_identity_and_a_little_is_near_it() {
        for x in [0.0, 1e-40, -0.3, 0.999, f32::MAX] {
            assert_eq!(driven(0.0, x).to_bits(), x.to_bits());
        }
        for x in [-1.0, -0.1, 0.5, 1.0] {
            assert!((driven(0.05, x) - x).abs() < 1e-3);
            assert!((driven(1e-20, x) - x).abs() < 1e-6);
        }
        assert!(driven(1.0, f32::MAX).is_finite());
    }

    #[test]
    fn what_would_fold_back_is_held_down() {
        const RATE: f64 = 48_000.0;
        let hz = 5077.0;
        let angle = |hz: f64, i: usize| std::f64::consts::TAU * (hz * i as f64 / RATE).fract();
        let mut out: Vec<f32> = (0..48_000)
            .map(|i| 0.9 * angle(hz, i).sin() as f32)
            .collect();
        Saturator::default().run([1.0; 2], &mut out, 1);
        let level = |hz: f64| {
            let parts = out.iter().enumerate().map(|(i, &x)| {
                let (sin, cos) = angle(hz, i).sin_cos();
                (f64::from(x) * sin, f64::from(x) * cos)
            });
            let (re, im) = parts.fold((0.0, 0.0), |(re, im), (a, b)| (re + a, im + b));
            20.0 * re.hypot(im).log10()
        };
        // The seventh and the ninth harmonic; the curve at the inputs alone leaves -18 and -21 dB of the first.
        for (harmonic, most) in [(7.0, -28.5), (9.0, -53.0)] {
            let folded = level(RATE - harmonic * hz) - level(hz);
            assert!(folded < most, "{harmonic}: {folded} dB");
        }
    }

    #[test]
    fn the_level_of_sounds_is_roughly_kept() {
        let decibels = |x: &[f32]| {
            let energy: f32 = x.iter().map(|x| x * x).sum();
            10.0 * (energy / x.len() as f32).log10()
        };
        let tone = |i: usize| (i as f32 * 0.03).sin();
        let steady: Vec<f32> = (0..24_000).map(|i| 0.4 * tone(i)).collect();
        let dying: Vec<f32> = (0..24_000)
            .map(|i| 0.89 * tone(i) * (-(i as f32) / 4800.0).exp())
            .collect();
        for drive in [0.25, 0.5, 0.75, 1.0] {
            for sound in [&steady, &dying] {
                let mut out = sound.clone();
                Saturator::default().run([drive; 2], &mut out, 1);
                let change = decibels(&out) - decibels(sound);
                assert!(change.abs() < 3.0, "{drive}: {change} dB");
            }
        }
    }
}
