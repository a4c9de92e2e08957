//! A state-variable filter by trapezoidal integration, stable while its cutoff moves
//! [Simper 2013].

use serde::{Deserialize, Serialize};

/// A state below this rings no longer: -400 dB.
const INAUDIBLE: f32 = 1e-20;

/// The response of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FilterKind {
    /// No filter: all frequencies pass.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// Lowpass: frequencies below the cutoff pass, those above fall by 12 dB an octave.
    #[serde(rename = "low")]
    Lowpass,
    /// Highpass: frequencies above the cutoff pass, those below fall by 12 dB an octave.
    #[serde(rename = "high")]
    Highpass,
}

/// The coefficients for one cutoff and resonance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coefficients {
    kind: FilterKind,
    k: f32,
    a: [f32; 3],
}

/// The damping of a filter, one over its Q, for a resonance of `0..=1`: Q goes from 0.707, flat, to 20.
pub(crate) fn damping(resonance: f32) -> f32 {
    let range = (20.0 * std::f32::consts::SQRT_2).ln();
    std::f32::consts::SQRT_2 * (-range * resonance.clamp(0.0, 1.0)).exp()
}

impl Coefficients {
    pub fn new(kind: FilterKind, cutoff: f32, resonance: f32, rate: f32) -> Self {
        if kind == FilterKind::Off {
            let (k, a) = (0.0, [0.0; 3]);
            return Self { kind, k, a };
        }
        let g = (std::f32::consts::PI * cutoff.clamp(10.0, 0.45 * rate) / rate).tan();
        let k = damping(resonance);
        let first = 1.0 / (1.0 + g * (g + k));
        Self {
            kind,
            k,
            a: [first, g * first, g * g * first],
        }
    }
}

/// The state of a filter for one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State([f32; 2]);

impl State {
    /// Filters the next frames in place.
    pub fn run(&mut self, filter: &Coefficients, frames: &mut [f32]) {
        if filter.kind == FilterKind::Off {
            return;
        }
        let [a1, a2, a3] = filter.a;
        // The path from one frame's state to the next one's is kept short: those steps wait for each other.
        let (b1, b2, b3) = (2.0 * a1 - 1.0, 2.0 * a2, 2.0 * a3);
        let [mut ic1, mut ic2] = self.0;
        for x in frames {
            let v3 = *x - ic2;
            let band = a1 * ic1 + a2 * v3;
            let low = ic2 + a2 * ic1 + a3 * v3;
            (ic1, ic2) = (b1 * ic1 + b2 * v3, (ic2 + b2 * ic1) + b3 * v3);
            *x = match filter.kind {
                FilterKind::Highpass => *x - filter.k * band - low,
                _ => low,
            };
        }
        // In silence they would fall to subnormal numbers, with which processors are slow.
        self.0 = [ic1, ic2].map(|x| if x.abs() < INAUDIBLE { 0.0 } else { x });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f32 = 48_000.0;

    /// Level of a sine behind the filter, in dB.
    fn level(kind: FilterKind, cutoff: f32, resonance: f32, hz: f32) -> f32 {
        let filter = Coefficients::new(kind, cutoff, resonance, RATE);
        let mut state = State::default();
        let mut energy = 0.0;
        for i in 0..48_000 {
            let x = (std::f32::consts::TAU * (hz * i as f32 / RATE).fract()).sin();
            let mut frame = [x];
            state.run(&filter, &mut frame);
            let [y] = frame;
            if i >= 24_000 {
                energy += y * y;
            }
        }
        10.0 * (energy / 12_000.0).log10()
    }

    #[test]
    fn each_side_passes_and_the_other_falls_by_12_db_an_octave() {
        for (kind, passes, falls) in [
            (FilterKind::Lowpass, 100.0, [4000.0, 8000.0]),
            (FilterKind::Highpass, 10_000.0, [250.0, 125.0]),
        ] {
            assert!(level(kind, 1000.0, 0.0, passes).abs() < 0.1);
            assert!((level(kind, 1000.0, 0.0, 1000.0) + 3.01).abs() < 0.05);
            let slope = level(kind, 1000.0, 0.0, falls[0]) - level(kind, 1000.0, 0.0, falls[1]);
            assert!((slope - 12.0).abs() < 1.5, "{kind:?}: {slope}");
        }
        assert!(level(FilterKind::Off, 20.0, 1.0, 500.0).abs() < 0.01);
    }

    #[test]
    fn full_resonance_lifts_the_cutoff_by_26_db() {
        let lift = level(FilterKind::Lowpass, 1000.0, 1.0, 1000.0);
        assert!((lift - 26.02).abs() < 0.3, "{lift}");
    }

    #[test]
    fn in_silence_it_comes_to_rest() {
        for (kind, cutoff) in [
            (FilterKind::Lowpass, 20.0),
            (FilterKind::Highpass, 20_000.0),
        ] {
            let filter = Coefficients::new(kind, cutoff, 0.5, RATE);
            let mut state = State::default();
            state.run(&filter, &mut [1.0]);
            let strides = (0..20_000).find(|_| {
                state.run(&filter, &mut [0.0; 32]);
                state.0 == [0.0; 2]
            });
            assert!(strides.is_some(), "{kind:?}: {:?}", state.0);
            let mut frames = [0.0; 32];
            state.run(&filter, &mut frames);
            assert_eq!(frames, [0.0; 32]);
        }
    }

    #[test]
    fn a_cutoff_that_jumps_about_stays_bounded() {
        let mut state = State::default();
        for i in 0..100_000u32 {
            let cutoff = 20.0 * 1.7f32.powi((i.wrapping_mul(2_654_435_761) >> 28) as i32);
            let filter = Coefficients::new(FilterKind::Lowpass, cutoff, 1.0, RATE);
            let x = if i / 50 % 2 == 0 { 1.0 } else { -1.0 };
            let mut frame = [x];
            state.run(&filter, &mut frame);
            let [y] = frame;
            assert!(y.abs() < 200.0, "{i}: {y}");
        }
    }
}
