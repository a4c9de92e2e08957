//! Pixels and lines, and the PNG they become.

use super::colour::{Colour, mix};

/// Whole pixels from `(x, y)` on.
#[derive(Clone, Copy)]
pub(super) struct Rect {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

impl Rect {
    pub(super) fn new(x: i32, y: i32, width: i32, height: i32) -> Self {
        Self {
            x,
            y,
            width,
            height,
        }
    }

    pub(super) fn right(&self) -> i32 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> i32 {
        self.y + self.height
    }

    /// The same width, from `y` on.
    pub(super) fn rows(self, y: i32, height: i32) -> Self {
        Self { y, height, ..self }
    }

    /// The same height, from `x` on.
    pub(super) fn columns(self, x: i32, width: i32) -> Self {
        Self { x, width, ..self }
    }
}

/// RGB pixels, rows from the top. Drawing outside of it does nothing.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<Colour>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, colour: Colour) -> Self {
        Self {
            width,
            height,
            pixels: vec![colour; width * height],
        }
    }

    pub(super) fn set(&mut self, x: i32, y: i32, colour: Colour) {
        self.cover(x, y, colour, 1.0);
    }

    /// Lays `fraction` of `colour` over one pixel.
    pub(super) fn cover(&mut self, x: i32, y: i32, colour: Colour, fraction: f32) {
        if (0..self.width as i32).contains(&x) && (0..self.height as i32).contains(&y) {
            let pixel = &mut self.pixels[y as usize * self.width + x as usize];
            *pixel = mix(*pixel, colour, fraction.clamp(0.0, 1.0));
        }
    }

    pub(super) fn fill(&mut self, rect: Rect, colour: Colour) {
        self.blend(rect, colour, 1.0);
    }

    pub(super) fn blend(&mut self, rect: Rect, colour: Colour, fraction: f32) {
        for y in rect.y..rect.bottom() {
            for x in rect.x..rect.right() {
                self.cover(x, y, colour, fraction);
            }
        }
    }

    /// A column of pixels from `top` to `bottom`, at least one pixel long, its ends softened.
    pub(super) fn bar(&mut self, x: i32, top: f32, bottom: f32, colour: Colour) {
        let short = (1.0 - (bottom - top)).max(0.0) / 2.0;
        let (top, bottom) = (top - short, bottom + short);
        for y in top.floor() as i32..=bottom.floor() as i32 {
            let fraction = (bottom.min(y as f32 + 1.0) - top.max(y as f32)).max(0.0);
            self.cover(x, y, colour, fraction);
        }
    }

    /// Joins finite `points` by a line `2 × radius + 1` pixels wide inside `clip`; points
    /// within a pixel become a dot.
    pub(super) fn polyline(
        &mut self,
        clip: Rect,
        points: &[(f64, f64)],
        radius: f64,
        colour: Colour,
        fraction: f32,
    ) {
        let width = clip.width as usize;
        // Coverage is gathered first, so that joints are not painted twice.
        let mut covered = vec![0f32; width * clip.height as usize];
        let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
        for run in points.split(|p| !finite(p)) {
            let Some(&first) = run.first() else { continue };
            let near = |p: &(f64, f64)| (p.0 - first.0).hypot(p.1 - first.1) < 1.0;
            if run.iter().all(near) {
                stroke(&mut covered, clip, first, first, radius + 2.0);
                continue;
            }
            for pair in thin(run).windows(2) {
                stroke(&mut covered, clip, pair[0], pair[1], radius);
            }
        }
        for (i, &value) in covered.iter().enumerate() {
            if value > 0.0 {
                let (x, y) = ((i % width) as i32, (i / width) as i32);
                self.cover(clip.x + x, clip.y + y, colour, value * fraction);
            }
        }
    }

    /// The picture as the bytes of a PNG file.
    pub(super) fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder
            .write_header()
            .and_then(|mut writer| {
                writer.write_image_data(self.pixels.as_flattened())?;
                writer.finish()
            })
            .expect("memory takes all that is written");
        bytes
    }
}

/// Raises `covered`, a value for each pixel of `clip`, to the coverage of the line from `a` to `b`.
fn stroke(covered: &mut [f32], clip: Rect, a: (f64, f64), b: (f64, f64), radius: f64) {
    let reach = radius + 1.0;
    let range = |a: f64, b: f64, origin: i32, len: i32| {
        let (low, high) = (a.min(b) - reach, a.max(b) + reach);
        let inside = |x: f64| (x - f64::from(origin)).clamp(0.0, f64::from(len));
        inside(low) as usize..inside(high).ceil() as usize
    };
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length2 = (dx * dx + dy * dy).max(1e-12);
    for y in range(a.1, b.1, clip.y, clip.height) {
        for x in range(a.0, b.0, clip.x, clip.width) {
            // From `a` to the pixel's middle.
            let px = x as f64 + 0.5 + f64::from(clip.x) - a.0;
            let py = y as f64 + 0.5 + f64::from(clip.y) - a.1;
            let along = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
            let distance = (px - along * dx).hypot(py - along * dy);
            let value = (radius + 0.5 - distance).clamp(0.0, 1.0) as f32;
            let cell = &mut covered[y * clip.width as usize + x];
            *cell = cell.max(value);
        }
    }
}

/// Of each run of points in one pixel column: the first, the extremes and the last. The drawing
/// stays the same, and its cost no longer depends on the number of points.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for run in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (run.iter().min_by(by_y), run.iter().max_by(by_y));
        kept.extend([run.first(), low, high, run.last()].into_iter().flatten());
    }
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::colour::{BACKGROUND, SERIES};

    #[test]
    fn a_line_passes_through_the_points_it_joins() {
        let mut canvas = Canvas::new(100, 60, BACKGROUND);
        canvas.polyline(
            Rect::new(0, 0, 100, 60),
            &[(10.5, 50.5), (90.5, 10.5), (f64::NAN, 0.0), (20.5, 5.5)],
            1.0,
            SERIES[0],
            1.0,
        );
        let at = |x: usize, y: usize| canvas.pixels[y * 100 + x];
        assert_eq!(
            [at(10, 50), at(50, 30), at(90, 10), at(20, 5)],
            [SERIES[0]; 4]
        );
        assert_eq!(
            [at(50, 36), at(50, 24), at(95, 10), at(60, 5)],
            [BACKGROUND; 4]
        );
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let points: Vec<_> = (0..10_000)
            .map(|i| (f64::from(i) / 10_000.0, f64::from((i * 7919) % 10_000)))
            .collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= 4);
        assert_eq!(
            (thinned[0], thinned[thinned.len() - 1]),
            (points[0], points[9999])
        );
        assert!(thinned.iter().any(|p| p.1 == 0.0) && thinned.iter().any(|p| p.1 == 9999.0));
    }
}
