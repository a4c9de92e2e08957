//! Many sounds of each class beside many others.

use std::path::Path;

use rayon::prelude::*;

use super::canvas::{Canvas, Rect};
use super::colour::{BACKGROUND, TEXT, heat};
use super::spectrogram::{FrequencyAxis, RANGE_DB, spectrogram};
use super::text::{Anchor, shorten};
use crate::audio::Clip;
use crate::error::Result;
use crate::file::write_whole;

/// Sounds of a class that a [`class_sheet`] shows on either side.
const SIDE: usize = 16;

/// Width and height of a spectrogram, and the room between two, in pixels.
const CELL: (i32, i32) = (44, 36);
const GAP: i32 = 2;

/// Room for the classes on the left, and for the names above, in pixels.
const LABELS: i32 = 92;
const HEAD: i32 = 24;

/// A row of a [`class_sheet`].
#[derive(Debug, Clone)]
pub struct ClassRow<'a> {
    /// The class.
    pub label: String,
    /// The sounds on the left, and those on the right.
    pub sounds: [Vec<&'a Clip>; 2],
}

/// Writes a PNG with a row of small spectrograms for each class, the first sixteen of either side beside each other;
/// `names` stand above the sides.
///
/// Axes and colours are those of [`sound_sheet`](super::sound_sheet), in steps of 4 dB.
///
/// # Errors
/// More sounds than [`MOST_SOUNDS`](super::MOST_SOUNDS), or a file that cannot be written.
pub fn class_sheet(names: [&str; 2], rows: &[ClassRow<'_>], path: &Path) -> Result<()> {
    let side = SIDE as i32 * (CELL.0 + GAP);
    let left = |half: usize| LABELS + half as i32 * (side + 12);
    let top = |row: usize| HEAD + row as i32 * (CELL.1 + GAP);
    let mut cells: Vec<(Rect, &Clip)> = Vec::new();
    for (row, ClassRow { sounds, .. }) in rows.iter().enumerate() {
        for (half, sounds) in sounds.iter().enumerate() {
            for (i, clip) in sounds.iter().take(SIDE).enumerate() {
                let x = left(half) + i as i32 * (CELL.0 + GAP);
                cells.push((Rect::new(x, top(row), CELL.0, CELL.1), clip));
            }
        }
    }
    super::check_count(cells.len())?;
    let (width, height) = (left(1) + side, top(rows.len()));
    let mut canvas = Canvas::new(width as usize, height as usize, BACKGROUND);
    for (half, name) in names.into_iter().enumerate() {
        let name = shorten(name, 12, side);
        canvas.text(left(half), 6, 12, &name, TEXT, Anchor::Left);
    }
    for (row, ClassRow { label, .. }) in rows.iter().enumerate() {
        let label = shorten(label, 10, LABELS - 12);
        let y = top(row) + CELL.1 / 2 - 5;
        canvas.text(6, y, 10, &label, TEXT, Anchor::Left);
    }
    let levels = |(_, clip): &(Rect, &Clip)| {
        let axis = FrequencyAxis::new(clip.sample_rate(), CELL.1 as usize);
        spectrogram(clip, CELL.0 as usize, &axis)
    };
    let levels: Vec<_> = cells.par_iter().map(levels).collect();
    for ((place, _), columns) in cells.iter().zip(levels) {
        for (x, column) in (place.x..).zip(columns) {
            for (y, level) in (place.y..).zip(column) {
                let steps = RANGE_DB / 4.0;
                let level = ((1.0 + level / RANGE_DB) * steps).round() / steps;
                canvas.set(x, y, heat(level));
            }
        }
    }
    write_whole(path, &canvas.png())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::{read, sine};

    #[test]
    fn a_class_sheet_shows_each_sound_in_its_place() {
        let (low, high) = (sine(8000, 100.0, 4000), sine(8000, 2000.0, 4000));
        let rows = [
            ClassRow {
                label: "low".into(),
                sounds: [vec![&low], vec![&low; 20]],
            },
            ClassRow {
                label: "high".into(),
                sounds: [vec![&high; 2], vec![]],
            },
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        class_sheet(["made", "real"], &rows, &path).unwrap();
        let picture = read(&path);
        assert_eq!(
            (picture.width, picture.height),
            (92 + 2 * 16 * 46 + 12, 24 + 2 * 38),
            "sixteen a side, two rows"
        );
        // The brightest row of a cell, from the bottom.
        let brightest = |column: usize, row: usize| {
            let sum = |y: usize| {
                let x = 92 + column * 46 + if column < 16 { 0 } else { 12 } + 22;
                let pixel = picture.at(x as i32, (24 + row * 38 + y) as i32);
                pixel.iter().map(|&c| u32::from(c)).sum::<u32>()
            };
            let (y, value) = (0..36)
                .map(|y| (y, sum(y)))
                .max_by_key(|&(_, v)| v)
                .unwrap();
            (value > 300).then_some(35 - y)
        };
        let low = brightest(0, 0).expect("a sound");
        assert_eq!(brightest(16, 0), Some(low));
        assert_eq!(brightest(31, 0), Some(low));
        assert_eq!(brightest(1, 0), None);
        assert!(brightest(1, 1).expect("a sound") > low + 10);
        assert_eq!(brightest(2, 1), None);
    }
}
