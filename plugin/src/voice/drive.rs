//! Drive: a smooth saturator that keeps the level.
//!
//! `y = x √(1 + (g r)²) / √(1 + (g x)²)`: odd, smooth, the identity where the gain `g` is 0. What is as loud as the
//! reference `r` stays so at every `g`; what is softer becomes louder, what is louder softer.

/// The amplitude that stays as it is: about that of a sound's loud part, 10 dB below its peak.
const REFERENCE: f32 = 0.3;

/// The gain `g` of full drive.
const MOST_GAIN: f32 = 16.0;

/// Saturates the first frames of a stride of `stride` in place, over which the drive, `0..=1`, moves from one value to
/// another. Where both are 0, the frames stay as they are, to the bit.
pub(super) fn run([from, to]: [f32; 2], frames: &mut [f32], stride: usize) {
    if from == 0.0 && to == 0.0 {
        return;
    }
    let per_frame = (to - from) / stride as f32;
    for (i, x) in frames.iter_mut().enumerate() {
        let drive = from + (i + 1) as f32 * per_frame;
        let gain = MOST_GAIN * drive * drive;
        let root = |x: f32| (1.0 + (gain * x) * (gain * x)).sqrt();
        *x *= root(REFERENCE) / root(*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driven(drive: f32, x: f32) -> f32 {
        let mut frame = [x];
        run([drive; 2], &mut frame, 1);
        frame[0]
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
                run([drive; 2], &mut out, 1);
                let change = decibels(&out) - decibels(sound);
                assert!(change.abs() < 3.0, "{drive}: {change} dB");
            }
        }
    }
}
