//! Peaks of decoded signals, levelled as those of recordings are.

use std::f64::consts::PI;

/// Bounds of a peak over the root mean square around it: a little more than a sine's, and 6.8 dB. Of Gaussian noise 3%
/// of the values are higher than that.
const PEAK_TO_RMS: (f32, f32) = (1.45, 2.2);

/// Peaks of recordings over those of Gaussian noise with as many zero crossings: recordings are levelled.
const LEVELLED: f32 = 0.9;

/// Cuts the peaks that stand out of the 2 ms around them: the highest that is left is as high as the surroundings of
/// some peak allow. A click fills its surroundings and a tone has no such peaks: both stay.
///
/// Of `n` independent Gaussian values the highest lies about `sqrt(2 ln n)` over their root mean square; `n` is about
/// the number of zero crossings, which follows from the energy of the signal's differences [Rice 1945, Eq. 3.3-11]. So
/// a snare with a body may peak less over its surroundings than a hiss.
pub fn level(signal: &mut [f32], sample_rate: u32) {
    let reach = sample_rate as usize / 1000;
    let sums = || -> Vec<f64> {
        let mut sums = Vec::with_capacity(signal.len() + 1);
        sums.push(0.0);
        sums
    };
    let (mut energies, mut turns) = (sums(), sums());
    let (mut energy, mut turn, mut last) = (0.0, 0.0, 0.0);
    for x in signal.iter() {
        energy += f64::from(x * x);
        turn += f64::from((x - last).powi(2));
        last = *x;
        energies.push(energy);
        turns.push(turn);
    }
    let mut ceiling = 0.0f32;
    for (n, x) in signal.iter().enumerate() {
        if x.abs() > ceiling {
            let (from, to) = (n.saturating_sub(reach), (n + reach + 1).min(signal.len()));
            let within = |sums: &[f64]| (sums[to] - sums[from]).max(0.0);
            let (energy, turn) = (within(&energies), within(&turns));
            let rms = (energy / (to - from) as f64).sqrt() as f32;
            let crossings = (to - from) as f64 / PI * (turn / energy.max(f64::MIN_POSITIVE)).sqrt();
            let expected = (2.0 * crossings.max(1.0).ln()).sqrt() as f32;
            let most = (LEVELLED * expected).clamp(PEAK_TO_RMS.0, PEAK_TO_RMS.1);
            ceiling = ceiling.max(x.abs().min(most * rms));
        }
    }
    signal
        .iter_mut()
        .for_each(|x| *x = x.clamp(-ceiling, ceiling));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const RATE: u32 = 44_100;

    #[test]
    fn a_sine_stays_and_the_peaks_of_a_noise_are_cut() {
        let sine = |n: usize| (0.7 * (2.0 * PI * 1000.0 * n as f64 / f64::from(RATE)).sin()) as f32;
        let sine: Vec<f32> = (0..RATE as usize).map(sine).collect();
        let mut levelled = sine.clone();
        level(&mut levelled, RATE);
        assert!(levelled == sine);

        let noise = Noise::new(8).normals(RATE as usize);
        let peak = |x: &[f32]| x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let mut levelled = noise.clone();
        level(&mut levelled, RATE);
        // No 2 ms of it have a root mean square above 1.5, and of 44100 values the highest lies near 4.
        let ceiling = peak(&levelled);
        assert!(peak(&noise) > 3.8 && ceiling < 2.2 * 1.5, "{ceiling}");
        // All below the ceiling stays as it was.
        let kept = noise.iter().zip(&levelled).filter(|(a, b)| a == b).count();
        let below = noise.iter().filter(|x| x.abs() <= ceiling).count();
        assert_eq!(kept, below);
    }
}
