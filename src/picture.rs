//! Pictures: what sounds look like, and how training went, as PNG files.
//!
//! [`sound_sheet`] draws each clip's waveform above its spectrogram, [`class_sheet`] many of them beside many others,
//! and [`curve`] numbers over numbers. All paint on a small canvas of their own, so equal input gives equal bytes. A file
//! appears whole or not at all.

use std::path::Path;

use rayon::prelude::*;

use crate::audio::Clip;
use crate::error::{Error, Result};
use crate::file::write_whole;

mod axis;
mod canvas;
mod spectrogram;

use axis::{decade_ticks, hertz, number, span, ticks, widen};
use canvas::{ALARM, WAVE, WAVE_CORE};
use canvas::{
    Anchor, BACKGROUND, Canvas, DIM, GRID, PANEL, Rect, SERIES, TEXT, heat, mix, shorten,
    text_width,
};
use spectrogram::{FrequencyAxis, RANGE_DB, spectrogram};

/// Most sounds that one sheet can show.
pub const MOST_SOUNDS: usize = 1024;

/// Of a clip with more channels than this only the first are drawn; the caption still counts all.
const MOST_CHANNELS: usize = 8;

/// One line of a [`curve`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Shown in the legend, with the last value; may be empty.
    pub name: String,
    /// `(x, y)` in the order in which they are joined. A value that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
}

/// Writes a PNG with one cell a clip: the waveform above a spectrogram with a logarithmic
/// frequency axis.
///
/// The waveform fills its lane up to the clip's peak, which the caption states in dBFS; each
/// channel has a lane of its own, a lighter core shows the RMS, and a red mark shows where samples
/// are not finite. Of more than 8 channels the first 8 are drawn. The spectrogram runs from 20 Hz to half the sample rate, and its colours from
/// 80 dB below its loudest point up to that point, averaged over the channels in power. One clip
/// fills 900 × 520 pixels; more clips share a grid of smaller cells. No clip gives a picture that
/// says so. In cells much shorter than their clip (some 100 ms a pixel) brief events may be missed.
///
/// # Errors
/// More than [`MOST_SOUNDS`] clips, or a file that cannot be written.
pub fn sound_sheet(clips: &[(String, &Clip)], path: &Path) -> Result<()> {
    write_whole(path, &sound_sheet_png(clips)?)
}

/// The picture of [`sound_sheet`] as the bytes of its file.
///
/// # Errors
/// More than [`MOST_SOUNDS`] clips.
pub fn sound_sheet_png(clips: &[(String, &Clip)]) -> Result<Vec<u8>> {
    if clips.len() > MOST_SOUNDS {
        return Err(Error::setting(format!(
            "a sheet holds at most {MOST_SOUNDS} sounds, found {}",
            clips.len()
        )));
    }
    let (columns, cell_width, cell_height, size) = match clips.len() {
        0 | 1 => (1, 900, 520, 12),
        2..=4 => (2, 560, 350, 11),
        n @ 5..=24 => (grid_columns(n, 1.3), 380, 260, 10),
        n @ 25..=100 => (grid_columns(n, 1.2), 280, 196, 8),
        n => (grid_columns(n, 1.2), 180, 128, 8),
    };
    let rows = clips.len().div_ceil(columns).max(1);
    let gap = if clips.len() > 1 { size / 2 } else { 0 };
    let mut canvas = Canvas::new(
        columns * cell_width + gap * (columns + 1),
        rows * cell_height + gap * (rows + 1),
        BACKGROUND,
    );
    if clips.is_empty() {
        let (x, y) = (canvas.width as i32 / 2, canvas.height as i32 / 2);
        canvas.text(x, y, 16, "no sounds", DIM, Anchor::Centre);
    }
    for (i, (title, clip)) in clips.iter().enumerate() {
        let place = Rect {
            x: (gap + (i % columns) * (cell_width + gap)) as i32,
            y: (gap + (i / columns) * (cell_height + gap)) as i32,
            width: cell_width as i32,
            height: cell_height as i32,
        };
        sound_cell(&mut canvas, place, size as i32, title, clip);
    }
    Ok(canvas.png())
}

/// Sounds of a class that a [`class_sheet`] shows on either side.
const SIDE: usize = 16;

/// A row of a [`class_sheet`].
#[derive(Debug, Clone)]
pub struct ClassRow<'a> {
    /// The class.
    pub label: String,
    /// What stands on the left, and on the right.
    pub sounds: [Vec<&'a Clip>; 2],
}

/// Writes a PNG with a row of small spectrograms for each class, the first sixteen of either side beside each other;
/// `names` stand above the sides.
///
/// Axes and colours are those of [`sound_sheet`], in steps of 4 dB.
///
/// # Errors
/// More sounds than [`MOST_SOUNDS`], or a file that cannot be written.
pub fn class_sheet(names: [&str; 2], rows: &[ClassRow<'_>], path: &Path) -> Result<()> {
    const CELL: (i32, i32) = (44, 36);
    const GAP: i32 = 2;
    const LABELS: i32 = 92;
    const HEAD: i32 = 24;
    let side = (SIDE as i32) * (CELL.0 + GAP);
    let left = |half: usize| LABELS + half as i32 * (side + 12);
    let mut cells: Vec<(Rect, &Clip)> = Vec::new();
    for (row, ClassRow { sounds, .. }) in rows.iter().enumerate() {
        for (half, sounds) in sounds.iter().enumerate() {
            for (i, clip) in sounds.iter().take(SIDE).enumerate() {
                let place = Rect {
                    x: left(half) + i as i32 * (CELL.0 + GAP),
                    y: HEAD + row as i32 * (CELL.1 + GAP),
                    width: CELL.0,
                    height: CELL.1,
                };
                cells.push((place, clip));
            }
        }
    }
    if cells.len() > MOST_SOUNDS {
        return Err(Error::setting(format!(
            "a sheet holds at most {MOST_SOUNDS} sounds, found {}",
            cells.len()
        )));
    }
    let width = left(1) + side;
    let height = HEAD + rows.len() as i32 * (CELL.1 + GAP);
    let mut canvas = Canvas::new(width as usize, height as usize, BACKGROUND);
    for (half, name) in names.into_iter().enumerate() {
        let name = shorten(name, 12, side);
        canvas.text(left(half), 6, 12, &name, TEXT, Anchor::Left);
    }
    for (row, ClassRow { label, .. }) in rows.iter().enumerate() {
        let y = HEAD + row as i32 * (CELL.1 + GAP) + CELL.1 / 2 - 5;
        let label = shorten(label, 10, LABELS - 12);
        canvas.text(6, y, 10, &label, TEXT, Anchor::Left);
    }
    let look = |(_, clip): &(Rect, &Clip)| {
        let axis = FrequencyAxis::new(clip.sample_rate(), CELL.1 as usize);
        spectrogram(clip, CELL.0 as usize, &axis)
    };
    let looks: Vec<_> = cells.par_iter().map(look).collect();
    for ((place, _), columns) in cells.iter().zip(looks) {
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

/// Writes a PNG of 900 × 520 pixels with the `series` as lines over common axes.
///
/// Ticks stand at round numbers. A series of more than 200 points is drawn faintly, with a moving
/// average (over a 40th of it, of the logarithms where the axis is logarithmic) on top. With
/// `log_y`, values that are not positive break the line like those that are not finite. Without
/// any point that can be drawn, the picture says so.
///
/// # Errors
/// A file that cannot be written.
pub fn curve(
    path: &Path,
    title: &str,
    series: &[Series],
    x_label: &str,
    y_label: &str,
    log_y: bool,
) -> Result<()> {
    let mut canvas = Canvas::new(900, 520, BACKGROUND);
    let plot = Rect {
        x: 84,
        y: 48,
        width: 788,
        height: 408,
    };
    canvas.fill(plot, PANEL);
    canvas.text(
        plot.x,
        18,
        16,
        &shorten(title, 16, plot.width),
        TEXT,
        Anchor::Left,
    );
    let label_y = plot.bottom() + 38;
    canvas.text(
        plot.x + plot.width / 2,
        label_y,
        12,
        x_label,
        DIM,
        Anchor::Centre,
    );
    canvas.text_upwards(14, plot.y + plot.height / 2, 12, y_label, DIM);

    // From here on y is what the axis is linear in.
    let height_of = |y: f64| if log_y { y.log10() } else { y };
    let lines: Vec<Vec<(f64, f64)>> = series
        .iter()
        .map(|s| s.points.iter().map(|&(x, y)| (x, height_of(y))).collect())
        .collect();
    let drawable = || {
        lines
            .iter()
            .flatten()
            .filter(|(x, y)| x.is_finite() && y.is_finite())
    };
    let Some((x_low, x_high)) = span(drawable().map(|p| p.0)) else {
        let (x, y) = (plot.x + plot.width / 2, plot.y + plot.height / 2);
        canvas.text(x, y, 16, "no points", DIM, Anchor::Centre);
        return write_whole(path, &canvas.png());
    };
    let (y_low, y_high) = span(drawable().map(|p| p.1)).expect("a point has a y where it has an x");
    let (x_low, x_high) = widen(x_low, x_high, 0.0);
    let (y_low, y_high) = widen(y_low, y_high, 0.04);
    let to_x = |x: f64| plot.x as f64 + (x - x_low) / (x_high - x_low) * plot.width as f64;
    let to_y = |y: f64| plot.bottom() as f64 - (y - y_low) / (y_high - y_low) * plot.height as f64;

    // Grid and ticks.
    for tick in ticks(x_low, x_high, 9) {
        let x = to_x(tick).round() as i32;
        canvas.fill(
            Rect {
                x,
                y: plot.y,
                width: 1,
                height: plot.height,
            },
            GRID,
        );
        canvas.text(x, plot.bottom() + 8, 12, &number(tick), DIM, Anchor::Centre);
    }
    let (y_ticks, fine) = if log_y {
        decade_ticks(y_low, y_high)
    } else {
        (ticks(y_low, y_high, 8), vec![])
    };
    for tick in fine {
        let y = to_y(tick).round() as i32;
        canvas.fill(
            Rect {
                x: plot.x,
                y,
                width: plot.width,
                height: 1,
            },
            mix(PANEL, GRID, 0.45),
        );
    }
    for tick in y_ticks {
        let y = to_y(tick).round() as i32;
        canvas.fill(
            Rect {
                x: plot.x,
                y,
                width: plot.width,
                height: 1,
            },
            GRID,
        );
        let value = if log_y { 10f64.powf(tick) } else { tick };
        canvas.text(plot.x - 8, y - 6, 12, &number(value), DIM, Anchor::Right);
    }

    // Lines, first series on top.
    for (i, line) in lines.iter().enumerate().rev() {
        let colour = SERIES[i % SERIES.len()];
        let to_pixels = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().map(|&(x, y)| (to_x(x), to_y(y))).collect()
        };
        if line.len() > 200 {
            canvas.polyline(plot, &to_pixels(line), 0.5, colour, 0.35);
            canvas.polyline(
                plot,
                &to_pixels(&smooth(line, line.len() / 40)),
                1.1,
                colour,
                1.0,
            );
        } else {
            canvas.polyline(plot, &to_pixels(line), 1.1, colour, 1.0);
        }
    }

    // Legend, with the value each line ends at.
    let entries: Vec<(usize, String)> = series
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.name.is_empty())
        .map(|(i, s)| {
            let last = s
                .points
                .iter()
                .rev()
                .find(|p| p.0.is_finite() && height_of(p.1).is_finite());
            let name = shorten(&s.name, 12, plot.width / 2);
            (
                i,
                last.map_or(name.clone(), |p| format!("{name}  {}", number(p.1))),
            )
        })
        .collect();
    if let Some(longest) = entries.iter().map(|(_, text)| text_width(text, 12)).max() {
        let width = longest + 46;
        let frame = Rect {
            x: plot.right() - width - 10,
            y: plot.y + 10,
            width,
            height: entries.len() as i32 * 18 + 8,
        };
        canvas.blend(frame, BACKGROUND, 0.8);
        for (row, (i, text)) in entries.iter().enumerate() {
            let y = frame.y + 7 + row as i32 * 18;
            canvas.fill(
                Rect {
                    x: frame.x + 8,
                    y: y + 4,
                    width: 20,
                    height: 3,
                },
                SERIES[i % SERIES.len()],
            );
            canvas.text(frame.x + 36, y, 12, text, TEXT, Anchor::Left);
        }
    }
    write_whole(path, &canvas.png())
}

/// Cells in a row of a grid of `n`, of which `aspect` times more stand side by side than above.
fn grid_columns(n: usize, aspect: f64) -> usize {
    // Among the widths near the wished one, that which leaves the fewest holes.
    let wish = (n as f64 * aspect).sqrt().round() as usize;
    (wish.saturating_sub(1).max(1)..=wish + 1)
        .min_by_key(|&columns| (n.div_ceil(columns) * columns - n, columns.abs_diff(wish)))
        .unwrap_or(wish.max(1))
}

/// Means of y over up to `window` neighbours on either side, as many on the one as on the other, so
/// that the ends stay where they are; a point that cannot be drawn stays a gap.
fn smooth(line: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0usize)];
    for &(_, y) in line {
        let (sum, count) = sums[sums.len() - 1];
        sums.push(if y.is_finite() {
            (sum + y, count + 1)
        } else {
            (sum, count)
        });
    }
    let mean = |(i, &(x, y)): (usize, &(f64, f64))| {
        let reach = window.min(i).min(line.len() - 1 - i);
        let ((a, m), (b, n)) = (sums[i - reach], sums[i + reach + 1]);
        (
            x,
            if y.is_finite() {
                (b - a) / (n - m) as f64
            } else {
                y
            },
        )
    };
    line.iter().enumerate().map(mean).collect()
}

/// Draws title, caption, waveform and spectrogram of `clip` in `place`, with text `size` pixels high.
fn sound_cell(canvas: &mut Canvas, place: Rect, size: i32, title: &str, clip: &Clip) {
    let few;
    let drawn = match clip.channels() {
        all if all.len() > MOST_CHANNELS => {
            few = Clip::new(clip.sample_rate(), all[..MOST_CHANNELS].to_vec());
            &few
        }
        _ => clip,
    };
    let large = size >= 12;
    let left = place.x + size * 3 + size / 2 + 4;
    let right = place.right() - if large { size * 6 } else { size };
    let top = place.y + if large { 44 } else { size * 2 + 2 };
    let bottom = place.bottom() - size * 2;
    let wave_height = (bottom - top) * if large { 28 } else { 32 } / 100;
    let wave = Rect {
        x: left,
        y: top,
        width: right - left,
        height: wave_height,
    };
    let picture = Rect {
        x: left,
        y: wave.bottom() + 2,
        width: wave.width,
        height: bottom - wave.bottom() - 2,
    };

    // Heading: the title, and as much of the caption as fits.
    let (title_size, title_y) = if large {
        (16, place.y + 16)
    } else {
        (size, place.y + size / 2)
    };
    let wish = text_width(title, title_size).min(wave.width * 2 / 3);
    let taken = |caption: &String| text_width(caption, size) + 2 * size;
    let caption = captions(clip)
        .into_iter()
        .find(|caption| taken(caption) + wish <= wave.width);
    let room = wave.width - caption.as_ref().map_or(0, taken);
    let shown = shorten(title, title_size, room);
    canvas.text(left, title_y, title_size, &shown, TEXT, Anchor::Left);
    if let Some(caption) = caption {
        canvas.text(
            right,
            title_y + title_size - size,
            size,
            &caption,
            DIM,
            Anchor::Right,
        );
    }

    // Waveform, a lane for each channel.
    canvas.fill(wave, PANEL);
    let peak = finite_peak(drawn);
    let lanes = drawn.channels().len() as i32;
    for (i, samples) in drawn.channels().iter().enumerate() {
        let y = wave.y + wave.height * i as i32 / lanes;
        let end = wave.y + wave.height * (i as i32 + 1) / lanes;
        waveform(
            canvas,
            Rect {
                y,
                height: end - y,
                ..wave
            },
            samples,
            peak,
        );
        if i > 0 {
            canvas.fill(
                Rect {
                    y,
                    height: 1,
                    ..wave
                },
                GRID,
            );
        }
    }

    // Spectrogram.
    let axis = FrequencyAxis::new(clip.sample_rate(), picture.height as usize);
    let levels = spectrogram(drawn, picture.width as usize, &axis);
    for (column, levels) in levels.iter().enumerate() {
        for (row, &level_db) in levels.iter().enumerate() {
            let (x, y) = (picture.x + column as i32, picture.y + row as i32);
            canvas.set(x, y, heat(1.0 + level_db / RANGE_DB));
        }
    }

    // Ticks: Hz on the left, seconds below.
    for tick in axis.ticks(size as f64 * 1.4) {
        let y = picture.y + axis.row(tick) as i32;
        canvas.fill(
            Rect {
                x: left - 3,
                y,
                width: 3,
                height: 1,
            },
            DIM,
        );
        canvas.blend(
            Rect {
                x: left,
                y,
                width: picture.width,
                height: 1,
            },
            TEXT,
            0.07,
        );
        let text_y = (y - size / 2).clamp(picture.y, bottom - size);
        canvas.text(left - 5, text_y, size, &hertz(tick), DIM, Anchor::Right);
    }
    let seconds = clip.len_frames() as f64 / clip.sample_rate().max(1) as f64;
    if seconds > 0.0 {
        let most = (wave.width / (size * 7)).max(2) as usize;
        for tick in ticks(0.0, seconds, most) {
            let x = left + (tick / seconds * (wave.width - 1) as f64).round() as i32;
            canvas.fill(
                Rect {
                    x,
                    y: bottom,
                    width: 1,
                    height: 3,
                },
                DIM,
            );
            let text = format!("{} s", number(tick));
            let half = text_width(&text, size) / 2;
            // Labels at the edges lean inwards, so that neighbours in a grid stay apart.
            let x = x.clamp(
                left + half - size,
                (right - half + size / 2).max(left + half - size),
            );
            canvas.text(x, bottom + 5, size, &text, DIM, Anchor::Centre);
        }
    }

    // The meaning of the colours.
    if large {
        let bar = Rect {
            x: right + size,
            width: size,
            ..picture
        };
        for row in 0..bar.height {
            let level = 1.0 - row as f32 / (bar.height - 1).max(1) as f32;
            canvas.fill(
                Rect {
                    y: bar.y + row,
                    height: 1,
                    ..bar
                },
                heat(level),
            );
        }
        for db in [0, -20, -40, -60, -80] {
            let y = bar.y + (bar.height - 1) * -db / RANGE_DB as i32;
            let text_y = (y - size / 2).clamp(bar.y, bar.bottom() - size);
            let text = if db == 0 {
                "0dB".to_owned()
            } else {
                db.to_string()
            };
            canvas.text(bar.right() + 4, text_y, size, &text, DIM, Anchor::Left);
        }
    }
}

/// What to say about a clip, the longest version first.
fn captions(clip: &Clip) -> [String; 3] {
    let rate = clip.sample_rate();
    let length = format!("{:.2} s", clip.len_frames() as f64 / rate.max(1) as f64);
    let channels = match clip.channels().len() {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        n => format!("{n} channels"),
    };
    let peak = match clip.peak() {
        _ if clip.channels().iter().flatten().any(|x| !x.is_finite()) => "not finite".to_owned(),
        0.0 => "silent".to_owned(),
        peak => format!("peak {:.1} dB", 20.0 * peak.log10()),
    };
    let khz = number(rate as f64 / 1000.0);
    [
        format!("{length} · {khz} kHz · {channels} · {peak}"),
        format!("{length} · {peak}"),
        length,
    ]
}

/// Draws what `samples` span in each pixel column, `peak` touching the edge of `lane`.
fn waveform(canvas: &mut Canvas, lane: Rect, samples: &[f32], peak: f32) {
    let middle = lane.y as f32 + lane.height as f32 / 2.0;
    canvas.fill(
        Rect {
            y: middle as i32,
            height: 1,
            ..lane
        },
        GRID,
    );
    if samples.is_empty() {
        return;
    }
    let scale = if peak > 0.0 {
        (lane.height as f32 / 2.0 - 1.5).max(0.5) / peak
    } else {
        0.0
    };
    let at = |position: f64| {
        let (i, part) = (position as usize, position.fract() as f32);
        let next = samples[(i + 1).min(samples.len() - 1)];
        samples[i.min(samples.len() - 1)] * (1.0 - part) + next * part
    };
    let per_column = (samples.len() - 1) as f64 / lane.width as f64;
    for column in 0..lane.width {
        // The line between samples at both ends of the column, and the samples inside: columns share
        // their borders, so the drawing has no holes however few samples there are.
        let (start, end) = (column as f64 * per_column, (column + 1) as f64 * per_column);
        let last = (end as usize).min(samples.len() - 1);
        let inside = &samples[(start.ceil() as usize).min(last + 1)..=last];
        let x = lane.x + column;
        if inside.iter().any(|x| !x.is_finite()) || !at(start).is_finite() {
            canvas.fill(
                Rect {
                    x,
                    width: 1,
                    ..lane
                },
                ALARM,
            );
            continue;
        }
        let values = || inside.iter().copied().chain([at(start), at(end)]);
        let (low, high) = values().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(x), b.max(x)));
        canvas.bar(x, middle - high * scale, middle - low * scale, WAVE);
        let rms = (values().map(|x| (x / peak.max(1e-20)).powi(2)).sum::<f32>()
            / (inside.len() + 2) as f32)
            .sqrt();
        let core = rms * peak * scale;
        if inside.len() > 8 {
            let (top, bottom) = (
                middle - core.min(high * scale),
                middle + core.min(-low * scale),
            );
            if bottom > top {
                canvas.bar(x, top, bottom, WAVE_CORE);
            }
        }
    }
}

/// Largest finite magnitude.
fn finite_peak(clip: &Clip) -> f32 {
    let samples = clip.channels().iter().flatten();
    samples
        .filter(|x| x.is_finite())
        .fold(0.0, |peak, x| peak.max(x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    pub(super) fn sine(rate: u32, hz: f64, len: usize) -> Clip {
        let samples = (0..len)
            .map(|i| (std::f64::consts::TAU * hz * i as f64 / rate as f64).sin() as f32 * 0.5);
        Clip::new(rate, vec![samples.collect()])
    }

    fn read(path: &Path) -> (usize, usize, Vec<u8>) {
        let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width as usize, info.height as usize, pixels)
    }

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
        let (width, height, pixels) = read(&path);
        assert_eq!(
            (width, height),
            (92 + 2 * 16 * 46 + 12, 24 + 2 * 38),
            "sixteen a side, two rows"
        );
        // The brightest row of a cell, from the bottom.
        let brightest = |column: usize, row: usize| {
            let sum = |y: usize| {
                let x = 92 + column * 46 + if column < 16 { 0 } else { 12 } + 22;
                let at = 3 * ((24 + row * 38 + y) * width + x);
                pixels[at..at + 3]
                    .iter()
                    .map(|&c| u32::from(c))
                    .sum::<u32>()
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

    #[test]
    fn silence_has_the_floor_colour_throughout() {
        let levels = spectrogram(
            &Clip::new(44_100, vec![vec![0.0; 5000]; 2]),
            50,
            &FrequencyAxis::new(44_100, 80),
        );
        assert!(levels.iter().flatten().all(|&level| level == -RANGE_DB));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("silence.png");
        sound_sheet(
            &[(String::new(), &Clip::new(44_100, vec![vec![0.0; 5000]]))],
            &path,
        )
        .unwrap();
        let (width, _, pixels) = read(&path);
        // Between the frequency ticks of the middle column only the floor is seen.
        let column: Vec<&[u8]> = (200..480)
            .map(|y| &pixels[(y * width + 450) * 3..][..3])
            .collect();
        let floor = column.iter().filter(|pixel| ***pixel == heat(0.0)).count();
        assert!(floor > 250, "{floor} of {}", column.len());
    }

    #[test]
    fn sheets_decode_to_the_stated_size_and_equal_input_gives_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let clip = sine(44_100, 300.0, 4000);
        let path = folder.path().join("sheet.png");
        for (n, size) in [
            (0, (900, 520)),
            (1, (900, 520)),
            (4, (1135, 715)),
            (16, (1545, 1065)),
        ] {
            let clips: Vec<_> = (0..n).map(|i| (format!("clip {i}"), &clip)).collect();
            sound_sheet(&clips, &path).unwrap();
            let (width, height, pixels) = read(&path);
            assert_eq!((width, height), size, "{n} clips");
            assert_eq!(pixels.len(), width * height * 3);
            if n <= 1 {
                let first = fs::read(&path).unwrap();
                sound_sheet(&clips, &path).unwrap();
                assert!(first == fs::read(&path).unwrap());
            }
        }
        // Nothing but the picture is left behind.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let many = vec![(String::new(), &clip); MOST_SOUNDS + 1];
        assert!(
            sound_sheet(&many, &path)
                .unwrap_err()
                .to_string()
                .contains("1025")
        );
    }

    #[test]
    fn no_clip_is_too_strange_to_draw() {
        let folder = tempfile::tempdir().unwrap();
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let long = Clip::new(8000, vec![vec![0.1; 2_000_000]]);
        let clips = [
            Clip::new(44_100, vec![vec![]]),
            Clip::new(44_100, vec![vec![1.0]]),
            Clip::new(44_100, vec![vec![nan]]),
            Clip::new(44_100, vec![vec![0.0, nan, inf, -inf, 0.5]; 2]),
            Clip::new(0, vec![vec![0.5; 30]]),
            Clip::new(1, vec![vec![0.5, -0.5]]),
            Clip::new(u32::MAX, vec![vec![0.5; 300]]),
            Clip::new(44_100, vec![vec![f32::MAX, f32::MIN, 1e-40]; 7]),
            Clip::new(44_100, vec![vec![1e-42; 100]]),
            Clip::new(44_100, vec![vec![0.3; 10]; 500]),
            long,
        ];
        for (i, clip) in clips.iter().enumerate() {
            let title = format!(
                "{i} – \u{1f941} a title far too long to stand above such a small picture of a sound"
            );
            sound_sheet(&[(title.clone(), clip)], &folder.path().join("one.png")).unwrap();
        }
        let all: Vec<_> = clips.iter().map(|clip| (String::new(), clip)).collect();
        sound_sheet(&all, &folder.path().join("all.png")).unwrap();
    }

    #[test]
    fn an_unwritable_place_is_an_error_that_names_it() {
        let path = Path::new("/no/such/folder/sheet.png");
        assert!(
            sound_sheet(&[], path)
                .unwrap_err()
                .to_string()
                .contains("/no/such/folder/sheet.png")
        );
    }

    #[test]
    fn smoothing_keeps_straight_lines_and_gaps_and_lowers_noise() {
        let straight: Vec<_> = (0..300).map(|i| (i as f64, 2.0 * i as f64)).collect();
        let smoothed = smooth(&straight, 10);
        assert!(
            straight
                .iter()
                .zip(&smoothed)
                .all(|(a, b)| (a.1 - b.1).abs() < 1e-9)
        );
        let noisy: Vec<_> = (0..300)
            .map(|i| (i as f64, if i % 2 == 0 { 1.0 } else { -1.0 }))
            .collect();
        assert!(smooth(&noisy, 10)[150].1.abs() < 0.05);
        let mut gap = straight.clone();
        gap[100].1 = f64::NAN;
        let smoothed = smooth(&gap, 10);
        assert!(smoothed[100].1.is_nan() && smoothed[99].1.is_finite());
    }

    #[test]
    fn curves_survive_every_series() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.png");
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let series = |points: &[(f64, f64)]| Series {
            name: "loss".into(),
            points: points.to_vec(),
        };
        let cases = [
            vec![],
            vec![series(&[])],
            vec![series(&[(1.0, 2.0)])],
            vec![series(&[(0.0, 0.0), (0.0, 0.0)])],
            vec![series(&[
                (nan, nan),
                (1.0, inf),
                (2.0, -1.0),
                (3.0, 1e-300),
                (4.0, 1e300),
            ])],
            vec![series(&[(-f64::MAX, -f64::MAX), (f64::MAX, f64::MAX)]); 40],
            vec![series(&[(1e17, 1.0), (1e17 + 16.0, 1.0 + 1e-15)])],
            vec![series(
                &(0..5000)
                    .map(|i| (i as f64, 1.0 / (1 + i) as f64))
                    .collect::<Vec<_>>(),
            )],
        ];
        for case in &cases {
            for log_y in [false, true] {
                curve(&path, "a title", case, "step", "loss", log_y).unwrap();
                assert_eq!(read(&path).0, 900);
            }
        }
    }
}
