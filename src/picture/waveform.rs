//! Samples over time.

use super::canvas::{Canvas, Rect};
use super::colour::{ALARM, GRID, WAVE, WAVE_CORE};
use crate::audio::Clip;

/// Largest finite magnitude.
pub(super) fn finite_peak(clip: &Clip) -> f32 {
    let samples = clip.channels().iter().flatten();
    samples
        .filter(|x| x.is_finite())
        .fold(0.0, |peak, x| peak.max(x.abs()))
}

/// Draws the range of `samples` in each pixel column, `peak` touching the edge of `lane`.
pub(super) fn waveform(canvas: &mut Canvas, lane: Rect, samples: &[f32], peak: f32) {
    let middle = lane.y as f32 + lane.height as f32 / 2.0;
    canvas.fill(lane.rows(middle as i32, 1), GRID);
    if samples.is_empty() {
        return;
    }
    let reach = (lane.height as f32 / 2.0 - 1.5).max(0.5);
    // Divided first: the inverse of the smallest peaks is infinite.
    let pixels = |x: f32| if peak > 0.0 { x / peak * reach } else { 0.0 };
    let at = |position: f64| {
        let (i, part) = (position as usize, position.fract() as f32);
        let next = samples[(i + 1).min(samples.len() - 1)];
        samples[i.min(samples.len() - 1)] * (1.0 - part) + next * part
    };
    let per_column = (samples.len() - 1) as f64 / f64::from(lane.width);
    for column in 0..lane.width {
        // The line between samples at both ends of the column, and the samples inside: columns share
        // their borders, so the drawing has no holes however few samples there are.
        let (start, end) = (
            f64::from(column) * per_column,
            f64::from(column + 1) * per_column,
        );
        let last = (end as usize).min(samples.len() - 1);
        let inside = &samples[(start.ceil() as usize).min(last + 1)..=last];
        let x = lane.x + column;
        if inside.iter().any(|x| !x.is_finite()) || !at(start).is_finite() {
            canvas.fill(lane.columns(x, 1), ALARM);
            continue;
        }
        let values = || inside.iter().copied().chain([at(start), at(end)]);
        let heights = || values().map(pixels);
        let (low, high) = heights().fold((f32::MAX, f32::MIN), |(a, b), y| (a.min(y), b.max(y)));
        canvas.bar(x, middle - high, middle - low, WAVE);
        if inside.len() > 8 {
            let squares: f32 = heights().map(|y| y * y).sum();
            let rms = (squares / (inside.len() + 2) as f32).sqrt();
            let (top, bottom) = (middle - rms.min(high), middle + rms.min(-low));
            if bottom > top {
                canvas.bar(x, top, bottom, WAVE_CORE);
            }
        }
    }
}
