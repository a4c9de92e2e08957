//! Pixels, lines and letters, and the PNG they become.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

pub(super) type Colour = [u8; 3];

pub(super) const BACKGROUND: Colour = [16, 16, 22];
pub(super) const PANEL: Colour = [24, 24, 33];
pub(super) const GRID: Colour = [48, 48, 62];
pub(super) const TEXT: Colour = [232, 230, 240];
pub(super) const DIM: Colour = [158, 156, 174];
pub(super) const WAVE: Colour = [86, 128, 196];
pub(super) const WAVE_CORE: Colour = [150, 194, 246];
pub(super) const ALARM: Colour = [230, 50, 60];
pub(super) const SERIES: [Colour; 6] = [
    [250, 170, 80],
    [100, 170, 250],
    [120, 210, 140],
    [230, 110, 170],
    [180, 150, 250],
    [120, 210, 220],
];

/// The colour of `level` from 0 (dark) to 1 (bright): lightness rises evenly while the hue turns
/// from violet through red to yellow.
///
/// Computed in Oklab [B. Ottosson, "A perceptual color space for image processing", 2020].
pub(super) fn heat(level: f32) -> Colour {
    let level = level.clamp(0.0, 1.0);
    let lightness = 0.12 + 0.86 * level;
    let chroma = 0.215 * (std::f32::consts::PI * (0.06 + 0.88 * level).powf(0.9)).sin();
    let hue = (285.0 + 180.0 * level.powf(0.85)).to_radians();
    let (a, b) = (chroma * hue.cos(), chroma * hue.sin());
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_4 * s,
        -0.004_196_086 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    linear.map(|x| {
        let x = x.clamp(0.0, 1.0);
        let encoded = if x <= 0.003_130_8 {
            12.92 * x
        } else {
            1.055 * x.powf(1.0 / 2.4) - 0.055
        };
        (encoded * 255.0).round() as u8
    })
}

/// `fraction` of `b` over `a`.
pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| (a[i] as f32 + (b[i] as f32 - a[i] as f32) * share).round() as u8)
}

/// Whole pixels from `(x, y)` on.
#[derive(Clone, Copy)]
pub(super) struct Rect {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
}

impl Rect {
    pub(super) fn right(&self) -> i32 {
        self.x + self.width
    }

    pub(super) fn bottom(&self) -> i32 {
        self.y + self.height
    }
}

/// Which point of a text its coordinate names.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Centre,
    Right,
}

/// RGB pixels, rows from the top. What lies outside is not drawn.
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

    fn pixel(&mut self, x: i32, y: i32) -> Option<&mut Colour> {
        let inside = (0..self.width as i32).contains(&x) && (0..self.height as i32).contains(&y);
        inside.then(|| &mut self.pixels[y as usize * self.width + x as usize])
    }

    pub(super) fn set(&mut self, x: i32, y: i32, colour: Colour) {
        self.cover(x, y, colour, 1.0);
    }

    /// Lays `fraction` of `colour` over one pixel.
    fn cover(&mut self, x: i32, y: i32, colour: Colour, share: f32) {
        if let Some(pixel) = self.pixel(x, y) {
            *pixel = mix(*pixel, colour, share.clamp(0.0, 1.0));
        }
    }

    pub(super) fn fill(&mut self, rect: Rect, colour: Colour) {
        self.blend(rect, colour, 1.0);
    }

    pub(super) fn blend(&mut self, rect: Rect, colour: Colour, share: f32) {
        for y in rect.y..rect.bottom() {
            for x in rect.x..rect.right() {
                self.cover(x, y, colour, share);
            }
        }
    }

    /// A column of pixels from `top` to `bottom`, at least one pixel long, its ends softened.
    pub(super) fn bar(&mut self, x: i32, top: f32, bottom: f32, colour: Colour) {
        let short = (1.0 - (bottom - top)).max(0.0) / 2.0;
        let (top, bottom) = (top - short, bottom + short);
        for y in top.floor() as i32..=bottom.floor() as i32 {
            let share = (bottom.min(y as f32 + 1.0) - top.max(y as f32)).max(0.0);
            self.cover(x, y, colour, share);
        }
    }

    /// Joins finite `points` by a line `2 × radius + 1` pixels wide inside `clip`; a lone point
    /// becomes a dot.
    pub(super) fn polyline(
        &mut self,
        clip: Rect,
        points: &[(f64, f64)],
        radius: f64,
        colour: Colour,
        share: f32,
    ) {
        let (width, height) = (clip.width as usize, clip.height as usize);
        // Coverage is gathered first, so that joints are not painted twice.
        let mut covered = vec![0f32; width * height];
        let mut draw = |a: (f64, f64), b: (f64, f64), radius: f64| {
            let reach = radius + 1.0;
            let range = |a: f64, b: f64, origin: i32, len: usize| {
                let low = (a.min(b) - reach - origin as f64).clamp(0.0, len as f64) as usize;
                let high = (a.max(b) + reach - origin as f64)
                    .ceil()
                    .clamp(0.0, len as f64) as usize;
                low..high
            };
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length2 = (dx * dx + dy * dy).max(1e-12);
            for y in range(a.1, b.1, clip.y, height) {
                for x in range(a.0, b.0, clip.x, width) {
                    let (px, py) = (
                        x as f64 + 0.5 + clip.x as f64 - a.0,
                        y as f64 + 0.5 + clip.y as f64 - a.1,
                    );
                    let along = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
                    let distance = (px - along * dx).hypot(py - along * dy);
                    let value = (radius + 0.5 - distance).clamp(0.0, 1.0) as f32;
                    let cell = &mut covered[y * width + x];
                    *cell = cell.max(value);
                }
            }
        };
        let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
        for run in points.split(|p| !finite(p)) {
            let run = thin(run);
            match run[..] {
                [] => {}
                [only] => draw(only, only, radius + 2.0),
                _ => run
                    .windows(2)
                    .for_each(|pair| draw(pair[0], pair[1], radius)),
            }
        }
        for (i, &value) in covered
            .iter()
            .enumerate()
            .filter(|(_, value)| **value > 0.0)
        {
            self.cover(
                clip.x + (i % width) as i32,
                clip.y + (i / width) as i32,
                colour,
                value * share,
            );
        }
    }

    /// One line of text from the top `y` on, its letters `size` pixels high with their descents.
    pub(super) fn text(
        &mut self,
        x: i32,
        y: i32,
        size: i32,
        text: &str,
        colour: Colour,
        anchor: Anchor,
    ) {
        let width = text_width(text, size);
        let start = match anchor {
            Anchor::Left => x,
            Anchor::Centre => x - width / 2,
            Anchor::Right => x - width,
        };
        for (c, left) in places(text, size) {
            glyph(c, size as usize, |gx, gy, share| {
                self.cover(start + left + gx as i32, y + gy as i32, colour, share)
            });
        }
    }

    /// Text that reads from bottom to top, its middle at `y`.
    pub(super) fn text_upwards(&mut self, x: i32, y: i32, size: i32, text: &str, colour: Colour) {
        let start = y + text_width(text, size) / 2;
        for (c, left) in places(text, size) {
            glyph(c, size as usize, |gx, gy, share| {
                self.cover(x + gy as i32, start - left - 1 - gx as i32, colour, share)
            });
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

/// Of each run of points in one pixel column: the first, the extremes and the last. The drawing
/// stays the same, and its cost no longer depends on the number of points.
pub(super) fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for run in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (run.iter().min_by(by_y), run.iter().max_by(by_y));
        kept.extend([run.first(), low, high, run.last()].into_iter().flatten());
    }
    kept.dedup();
    kept
}

/// The font's picture of `c`, a byte a row, its lowest bit on the left.
pub(super) fn bitmap(c: char) -> [u8; 8] {
    let found = BASIC_FONTS
        .get(c)
        .or_else(|| LATIN_FONTS.get(c))
        .or_else(|| GREEK_FONTS.get(c));
    found.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
}

/// Each character of `text` with the left edge of its box, in pixels from the left edge of the text.
///
/// The font has one width for all. Set by their ink, an eighth apart, letters read better.
pub(super) fn places(text: &str, size: i32) -> impl Iterator<Item = (char, i32)> {
    let mut pen = 0;
    text.chars().map(move |c| {
        let (left, width) = ink(c);
        let start = pen - left;
        pen += width + 1;
        (c, start * size / 8)
    })
}

/// First inked column of `c` and number of columns, in eighths of its box.
pub(super) fn ink(c: char) -> (i32, i32) {
    match bitmap(c).into_iter().fold(0, |all, row| all | row) {
        0 => (0, 3),
        columns => (
            columns.trailing_zeros() as i32,
            8 - (columns.leading_zeros() + columns.trailing_zeros()) as i32,
        ),
    }
}

/// Width of `text` in pixels.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    (text.chars().map(|c| ink(c).1 + 1).sum::<i32>() - 1).max(0) * size / 8
}

/// Calls `cover(x, y, share)` for the pixels of `c` in a box of `size` × `size`.
///
/// At 8 the font's own pixels, crisp. Other sizes round its corners: the bitmap is doubled twice by
/// the rule of EPX [E. Johnston, 1992], then averaged over the pixels' areas.
pub(super) fn glyph(c: char, size: usize, mut cover: impl FnMut(usize, usize, f32)) {
    let rows = bitmap(c);
    let bitmap: Vec<bool> = (0..64).map(|i| rows[i / 8] >> (i % 8) & 1 == 1).collect();
    if size == 8 {
        bitmap
            .iter()
            .enumerate()
            .filter(|(_, on)| **on)
            .for_each(|(i, _)| cover(i % 8, i / 8, 1.0));
        return;
    }
    let fine = double(&double(&bitmap, 8), 16);
    let scale = 32.0 / size as f32;
    // Overlap of pixel `i` with the fine cell `k`, in pixels.
    let overlap = |i: usize, k: usize| {
        let (low, high) = (i as f32 * scale, (i + 1) as f32 * scale);
        (high.min(k as f32 + 1.0) - low.max(k as f32)).max(0.0) / scale
    };
    let cells =
        |i: usize| (i as f32 * scale) as usize..(((i + 1) as f32 * scale).ceil() as usize).min(32);
    for y in 0..size {
        for x in 0..size {
            let share: f32 = cells(y)
                .flat_map(|v| cells(x).map(move |u| (u, v)))
                .filter(|&(u, v)| fine[v * 32 + u])
                .map(|(u, v)| overlap(x, u) * overlap(y, v))
                .sum();
            if share > 0.0 {
                cover(x, y, share);
            }
        }
    }
}

/// A square bitmap at twice its `width`, with diagonal steps rounded off.
pub(super) fn double(bitmap: &[bool], width: usize) -> Vec<bool> {
    let at = |x: isize, y: isize| {
        let inside = (0..width as isize).contains(&x) && (0..width as isize).contains(&y);
        inside && bitmap[y as usize * width + x as usize]
    };
    let mut doubled = vec![false; 4 * width * width];
    for y in 0..width as isize {
        for x in 0..width as isize {
            let (up, left, right, down) = (at(x, y - 1), at(x - 1, y), at(x + 1, y), at(x, y + 1));
            let corner = |a: bool, b: bool, c: bool, d: bool| {
                if a == b && a != c && b != d {
                    a
                } else {
                    at(x, y)
                }
            };
            let corners = [
                corner(up, left, down, right),
                corner(up, right, down, left),
                corner(down, left, up, right),
                corner(down, right, up, left),
            ];
            for (i, on) in corners.into_iter().enumerate() {
                let (u, v) = (2 * x as usize + i % 2, 2 * y as usize + i / 2);
                doubled[v * 2 * width + u] = on;
            }
        }
    }
    doubled
}

/// As much of `text` as fits into `width` pixels, with dots where something is missing.
pub(super) fn shorten(text: &str, size: i32, width: i32) -> String {
    let mut kept = text.to_owned();
    while text_width(&kept, size) > width {
        kept.truncate(kept.trim_end_matches("..").len());
        if kept.pop().is_none() {
            return kept;
        }
        kept += "..";
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_brightens_evenly_from_near_black() {
        let lightness = |c: Colour| {
            let linear = c.map(|x| (x as f64 / 255.0).powf(2.2));
            (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]).cbrt()
        };
        let steps: Vec<f64> = (0..=20).map(|i| lightness(heat(i as f32 / 20.0))).collect();
        assert!(
            steps
                .windows(2)
                .all(|pair| (0.02..0.08).contains(&(pair[1] - pair[0]))),
            "{steps:?}"
        );
        assert!(steps[0] < 0.15 && steps[20] > 0.9, "{steps:?}");
        assert_eq!((heat(-1.0), heat(2.0)), (heat(0.0), heat(1.0)));
    }

    #[test]
    fn a_line_passes_through_the_points_it_joins() {
        let mut canvas = Canvas::new(100, 60, BACKGROUND);
        let all = Rect {
            x: 0,
            y: 0,
            width: 100,
            height: 60,
        };
        canvas.polyline(
            all,
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
            .map(|i| (i as f64 / 10_000.0, ((i * 7919) % 10_000) as f64))
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
