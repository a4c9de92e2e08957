//! Text on a canvas: a bitmap font, set by its ink and scaled to any size.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use super::canvas::Canvas;
use super::colour::Colour;

/// Which point of a text its coordinate names.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Centre,
    Right,
}

impl Canvas {
    /// Draws one line of text from the top `y` on, its letters `size` pixels high with their descents.
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
            glyph(c, size as usize, |gx, gy, fraction| {
                self.cover(start + left + gx as i32, y + gy as i32, colour, fraction);
            });
        }
    }

    /// Draws text that reads from bottom to top, its middle at `y`.
    pub(super) fn text_upwards(&mut self, x: i32, y: i32, size: i32, text: &str, colour: Colour) {
        let start = y + text_width(text, size) / 2;
        for (c, left) in places(text, size) {
            glyph(c, size as usize, |gx, gy, fraction| {
                self.cover(
                    x + gy as i32,
                    start - left - 1 - gx as i32,
                    colour,
                    fraction,
                );
            });
        }
    }
}

/// Width of `text` in pixels.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    (text.chars().map(|c| ink(c).1 + 1).sum::<i32>() - 1).max(0) * size / 8
}

/// As much of `text` as fits into `width` pixels; two dots stand for the rest.
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

/// The font's bitmap of `c`, a byte a row, its lowest bit on the left.
fn bitmap(c: char) -> [u8; 8] {
    let found = BASIC_FONTS
        .get(c)
        .or_else(|| LATIN_FONTS.get(c))
        .or_else(|| GREEK_FONTS.get(c));
    found.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default()
}

/// Each character of `text` with the left edge of its box, in pixels from the left edge of the text.
///
/// The font has one width for all. Set by their ink, an eighth apart, letters read better.
fn places(text: &str, size: i32) -> impl Iterator<Item = (char, i32)> {
    let mut pen = 0;
    text.chars().map(move |c| {
        let (left, width) = ink(c);
        let start = pen - left;
        pen += width + 1;
        (c, start * size / 8)
    })
}

/// First inked column of `c` and number of columns, in eighths of its box.
fn ink(c: char) -> (i32, i32) {
    match bitmap(c).into_iter().fold(0, |all, row| all | row) {
        0 => (0, 3),
        columns => (
            columns.trailing_zeros() as i32,
            8 - (columns.leading_zeros() + columns.trailing_zeros()) as i32,
        ),
    }
}

/// Calls `cover(x, y, fraction)` for the pixels of `c` in a box of `size` × `size`.
///
/// At 8 the font's own pixels, crisp. Other sizes round its corners: the bitmap is doubled twice by
/// E. Johnston's rule, EPX, then averaged over the pixels' areas.
fn glyph(c: char, size: usize, mut cover: impl FnMut(usize, usize, f32)) {
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
            let fraction: f32 = cells(y)
                .flat_map(|v| cells(x).map(move |u| (u, v)))
                .filter(|&(u, v)| fine[v * 32 + u])
                .map(|(u, v)| overlap(x, u) * overlap(y, v))
                .sum();
            if fraction > 0.0 {
                cover(x, y, fraction);
            }
        }
    }
}

/// A square bitmap at twice its `width`, with diagonal steps rounded off.
fn double(bitmap: &[bool], width: usize) -> Vec<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::colour::{BACKGROUND, TEXT};

    /// Columns and rows with ink, first and one past the last.
    fn bounds(canvas: &Canvas) -> (usize, usize, usize, usize) {
        let inked = (0..canvas.pixels.len()).filter(|&i| canvas.pixels[i] != BACKGROUND);
        inked.fold((usize::MAX, 0, usize::MAX, 0), |(l, r, t, b), i| {
            let (x, y) = (i % canvas.width, i / canvas.width);
            (l.min(x), r.max(x + 1), t.min(y), b.max(y + 1))
        })
    }

    #[test]
    fn text_stands_at_its_anchor_as_wide_as_stated() {
        for size in [8, 10, 12, 16] {
            let width = text_width("loss 0.25", size) as usize;
            for (anchor, left) in [
                (Anchor::Left, 200),
                (Anchor::Centre, 200 - width / 2),
                (Anchor::Right, 200 - width),
            ] {
                let mut canvas = Canvas::new(400, 40, BACKGROUND);
                canvas.text(200, 10, size, "loss 0.25", TEXT, anchor);
                let (l, r, top, bottom) = bounds(&canvas);
                assert!(l.abs_diff(left) <= 1 && r.abs_diff(left + width) <= 1);
                assert!(top >= 10 && bottom <= 10 + size as usize);
            }
        }
    }

    #[test]
    fn upward_text_is_text_turned_left() {
        let (mut flat, mut up) = (
            Canvas::new(60, 60, BACKGROUND),
            Canvas::new(60, 60, BACKGROUND),
        );
        flat.text(30, 20, 12, "step", TEXT, Anchor::Centre);
        up.text_upwards(20, 30, 12, "step", TEXT);
        let width = text_width("step", 12) as usize;
        let (start, end) = (30 - width / 2, 30 + width / 2);
        for y in 0..60 {
            for x in start..60 {
                let turned = (end - 1 + start).checked_sub(x);
                let turned = turned.map_or(BACKGROUND, |row| up.pixels[row * 60 + y]);
                assert_eq!(flat.pixels[y * 60 + x], turned, "{x} {y}");
            }
        }
    }

    #[test]
    fn long_text_is_shortened_to_the_width_it_has() {
        assert_eq!(shorten("kick", 8, 100), "kick");
        let short = shorten("a name that is far too long", 8, 60);
        assert!(short.starts_with("a n") && short.ends_with(".."));
        assert!(text_width(&short, 8) <= 60 && text_width(&short, 8) > 45);
        assert_eq!(shorten("kick", 8, 0), "");
    }
}
