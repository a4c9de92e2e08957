//! Phases that belong to the magnitudes of a spectrogram, by integrating their gradient.

use std::collections::BinaryHeap;
use std::f64::consts::{PI, TAU};

use rayon::prelude::*;

use crate::audio::stft::Stft;
use crate::noise::Noise;

/// Cells this far below the loudest have no phase worth finding: -80 dB.
const INAUDIBLE: f32 = 1e-4;

/// Width of the Gaussian nearest to a Hann window, as `gamma / n_fft²` [Průša, Balazs & Søndergaard 2017, Table I].
const HANN_AS_GAUSSIAN: f64 = 0.25645;

/// Phases in radians that belong to the magnitudes `[T, bins]` of the lowest `bins` bins of a spectrogram: phase
/// gradient heap integration [Průša, Balazs & Søndergaard 2017].
///
/// With a Gaussian window the phase's two derivatives are those of the logarithm of the magnitude, turned: along
/// time that of the frequency axis, and the reverse. A Hann window is near enough to one. They are integrated
/// outwards from the loudest cell, always across the loudest border, so that errors stay in the quiet. Cells
/// below [`INAUDIBLE`] get phases from `noise`.
pub fn integrated(
    transform: &Stft,
    magnitudes: &[f32],
    bins: usize,
    noise: &mut Noise,
) -> Vec<f32> {
    let n = transform.n_fft() as f64;
    let (rows, hop) = (magnitudes.len() / bins, transform.hop() as f64);
    let loudest = magnitudes.iter().fold(0.0f32, |a, &b| a.max(b));
    let logs: Vec<f32> = magnitudes
        .par_iter()
        .map(|&m| m.max(1e-10 * loudest).ln())
        .collect();
    // Half the difference of the neighbours; nothing at the edges.
    let slope = |i: usize, at: usize, of: usize, stride: usize| {
        if at == 0 || at + 1 == of {
            0.0
        } else {
            0.5 * f64::from(logs[i + stride] - logs[i - stride])
        }
    };
    let stretch = HANN_AS_GAUSSIAN * n * n / (hop * n);
    // Radians from one row to the next, whole turns left out; and from one bin to the next, where half a turn
    // comes from rows being measured from the start of their window.
    let along_time = |i: usize| {
        let k = i % bins;
        let turns = ((transform.hop() * k) % transform.n_fft()) as f64 / n;
        slope(i, k, bins, 1) / stretch + TAU * turns
    };
    let along_frequency = |i: usize| -stretch * slope(i, i / bins, rows, bins) - PI;

    let least = INAUDIBLE * loudest;
    let mut phases: Vec<f64> = magnitudes
        .iter()
        .map(|_| f64::from(noise.between(-PI as f32, PI as f32)))
        .collect();
    let mut open: Vec<bool> = magnitudes.iter().map(|&m| m >= least && m > 0.0).collect();
    // The bits of positive numbers are in their order; of equals the first goes first. Sizes are bounded far below
    // 2³² cells.
    let rank = |i: usize| u64::from(magnitudes[i].to_bits()) << 32 | u64::from(!(i as u32));
    let cell = |rank: u64| !(rank as u32) as usize;
    let mut starts: Vec<u64> = (0..magnitudes.len())
        .filter(|&i| open[i])
        .map(rank)
        .collect();
    starts.par_sort_unstable();
    let mut border = BinaryHeap::new();
    for start in starts.into_iter().rev() {
        if !open[cell(start)] {
            continue;
        }
        // The loudest of what no integration has reached; its phase is as good as any.
        open[cell(start)] = false;
        border.push(start);
        while let Some(from) = border.pop().map(cell) {
            let (t, k) = (from / bins, from % bins);
            let mut step = |to: usize, derivative: &dyn Fn(usize) -> f64, way: f64| {
                if open[to] {
                    open[to] = false;
                    let mean = 0.5 * (derivative(from) + derivative(to));
                    phases[to] = (phases[from] + way * mean) % TAU;
                    border.push(rank(to));
                }
            };
            if t + 1 < rows {
                step(from + bins, &along_time, 1.0);
            }
            if t > 0 {
                step(from - bins, &along_time, -1.0);
            }
            if k + 1 < bins {
                step(from + 1, &along_frequency, 1.0);
            }
            if k > 0 {
                step(from - 1, &along_frequency, -1.0);
            }
        }
    }
    phases.into_iter().map(|phase| phase as f32).collect()
}
