//! Sounds as bubbles: their waves run around a circle, and grow out of noise while they are made.

use std::sync::Arc;

use egui::{Color32, Painter, Pos2, Stroke, Vec2};

use super::look::Look;
use super::wave::{Peaks, peaks};
use crate::stored::StoredSound;

/// The rays of a bubble.
const RAYS: usize = 72;

/// Bubbles whose rays are remembered.
const KNOWN: usize = 512;

/// The smallest height that is seen, of the whole wave's.
const SEEN: f32 = 0.01;

/// How far the wave of each ray reaches, 0 to 1, from the top on clockwise.
pub(super) type Rays = Arc<[f32; RAYS]>;

/// The rays of sounds that were drawn before.
#[derive(Debug, Default)]
pub(super) struct Bubbles {
    /// The sounds are held, so that none has the place of another.
    known: Vec<(Arc<StoredSound>, Rays)>,
}

impl Bubbles {
    /// The rays of a sound.
    pub fn rays(&mut self, sound: &Arc<StoredSound>) -> Rays {
        let known = self.known.iter().find(|(it, _)| Arc::ptr_eq(it, sound));
        if let Some((_, rays)) = known {
            return rays.clone();
        }
        let rays: Rays = Arc::new(rays_of(&peaks(sound)));
        if self.known.len() >= KNOWN {
            self.known.drain(..KNOWN / 2);
        }
        self.known.push((sound.clone(), rays.clone()));
        rays
    }
}

fn rays_of(peaks: &Peaks) -> [f32; RAYS] {
    // Up to where it can be seen: what is silent would be an empty part of the circle.
    let seen = |peak: &[f32; 2]| peak[1] - peak[0] > SEEN;
    let end = peaks
        .iter()
        .rposition(seen)
        .map_or(peaks.len(), |last| last + 1);
    std::array::from_fn(|ray| {
        let first = ray * end / RAYS;
        let range = first..((ray + 1) * end / RAYS).max(first + 1);
        let height = peaks[range]
            .iter()
            .fold(0f32, |height, peak| height.max(peak[1]).max(-peak[0]));
        // Between amplitude and level: tails are seen, and noise is not a disc.
        height.powf(0.6)
    })
}

/// How a bubble is drawn.
#[derive(Debug, Clone)]
pub(super) struct Bubble {
    pub at: Pos2,
    pub radius: f32,
    pub color: Color32,
    /// None before it is made.
    pub rays: Option<Rays>,
    /// How much of it has come out of the noise, 0 to 1.
    pub done: f32,
    /// Under the pointer, or heard.
    pub lit: bool,
    /// How much of it was heard, 0 to 1; none while it is silent.
    pub heard: Option<f32>,
}

/// A number of `0..1` that is always the same for a place.
fn scatter(place: usize) -> f32 {
    // The finaliser of SplitMix64.
    let mut mixed = (place as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed >> 40) as f32 / (1 << 24) as f32
}

impl Bubble {
    /// Draws it.
    pub fn draw(&self, painter: &Painter, look: Look) {
        let Self {
            at, radius, color, ..
        } = *self;
        let ground = look
            .panel
            .lerp_to_gamma(color, if self.lit { 0.28 } else { 0.10 });
        let edge = if self.lit {
            Stroke::new(2.0, color)
        } else {
            Stroke::new(1.0, color.gamma_multiply(0.45))
        };
        painter.circle(at, radius, ground, edge);
        let done = self.done.clamp(0.0, 1.0);
        let inner = 0.34 * radius;
        let room = 0.56 * radius;
        for ray in 0..RAYS {
            let (sin, cos) = (ray as f32 / RAYS as f32 * std::f32::consts::TAU).sin_cos();
            let out = Vec2::new(sin, -cos);
            let height = self.rays.as_ref().map_or(0.35, |rays| rays[ray]);
            let end = at + out * (inner + room * height);
            if done >= 1.0 {
                let begin = at + out * (inner - 0.25 * inner * height);
                let is_heard = self
                    .heard
                    .is_some_and(|heard| heard * RAYS as f32 > ray as f32);
                let color = if is_heard { look.ink } else { color };
                let wide = (radius / 28.0).clamp(1.0, 2.6);
                painter.line_segment([begin, end], Stroke::new(wide, color));
            } else {
                // From anywhere in the circle to where the wave will be.
                let turn = scatter(3 * ray) * std::f32::consts::TAU;
                let far = scatter(3 * ray + 1).sqrt() * 0.92 * radius;
                let noise = at + Vec2::angled(turn) * far;
                let dot = noise.lerp(end, done * done * (3.0 - 2.0 * done));
                let size = radius / 45.0 * (0.6 + 0.8 * scatter(3 * ray + 2));
                painter.circle_filled(dot, size.max(0.8), color.gamma_multiply(0.45 + 0.55 * done));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;
    use crate::stored::tests::recipe;

    #[test]
    fn rays_follow_the_wave_and_are_measured_once() {
        let half = |i: usize| if i < 22_050 { 0.8 } else { 0.08 };
        let clip = Clip::new(44_100, vec![(0..44_100).map(half).collect()]);
        let sound = Arc::new(StoredSound::new(recipe(1), &clip));
        let mut bubbles = Bubbles::default();
        let rays = bubbles.rays(&sound);
        assert!((rays[10] - 1.0).abs() < 1e-3, "{}", rays[10]);
        assert!((rays[60] - 0.1f32.powf(0.6)).abs() < 1e-2, "{}", rays[60]);
        assert!(Arc::ptr_eq(&rays, &bubbles.rays(&sound)));
        for _ in 0..2 * KNOWN {
            bubbles.rays(&Arc::new(StoredSound::new(recipe(2), &clip)));
        }
        assert!(bubbles.known.len() <= KNOWN);
    }
}
