//! A grid of clips, each with its waveform above its spectrogram.

use std::path::Path;

use super::axis::{hertz, number, ticks};
use super::canvas::{Canvas, Rect};
use super::colour::{BACKGROUND, DIM, GRID, PANEL, TEXT, heat};
use super::spectrogram::{FrequencyAxis, RANGE_DB, spectrogram};
use super::text::{Anchor, shorten, text_width};
use super::waveform::{finite_peak, waveform};
use crate::audio::Clip;
use crate::error::Result;
use crate::file::write_whole;

/// Of a clip with more channels than this only the first are drawn; the caption still counts all.
const MOST_CHANNELS: usize = 8;

/// Writes a PNG with one cell a clip: the waveform above a spectrogram with a logarithmic
/// frequency axis.
///
/// The waveform fills its lane up to the clip's peak, which the caption states in dBFS; each
/// channel has a lane of its own, a lighter core shows the RMS, and a red mark shows where samples
/// are not finite. Of more than 8 channels the first 8 are drawn. The spectrogram runs from 20 Hz to
/// half the sample rate, and its colours from 80 dB below its loudest point up to that point, averaged
/// over the channels in power. One clip fills 900 × 520 pixels; more clips share a grid of smaller
/// cells. No clip gives a picture that says so. In cells much shorter than their clip (some 100 ms a
/// pixel) brief events may be missed.
///
/// # Errors
/// More than [`MOST_SOUNDS`](super::MOST_SOUNDS) clips, or a file that cannot be written.
pub fn sound_sheet(clips: &[(String, &Clip)], path: &Path) -> Result<()> {
    write_whole(path, &sound_sheet_png(clips)?)
}

/// The picture of [`sound_sheet`] as the bytes of its file.
///
/// # Errors
/// More than [`MOST_SOUNDS`](super::MOST_SOUNDS) clips.
pub fn sound_sheet_png(clips: &[(String, &Clip)]) -> Result<Vec<u8>> {
    super::check_count(clips.len())?;
    let (columns, cell_width, cell_height, size) = match clips.len() {
        0 | 1 => (1, 900, 520, 12),
        2..=4 => (2, 560, 350, 11),
        n @ 5..=24 => (grid_columns(n, 1.3), 380, 260, 10),
        n @ 25..=100 => (grid_columns(n, 1.2), 280, 196, 8),
        n => (grid_columns(n, 1.2), 180, 128, 8),
    };
    let rows = clips.len().div_ceil(columns).max(1);
    let gap = if clips.len() > 1 { size / 2 } else { 0 };
    let (width, height) = (
        columns * cell_width + gap * (columns + 1),
        rows * cell_height + gap * (rows + 1),
    );
    let mut canvas = Canvas::new(width, height, BACKGROUND);
    if clips.is_empty() {
        let (x, y) = (width as i32 / 2, height as i32 / 2);
        canvas.text(x, y, 16, "no sounds", DIM, Anchor::Centre);
    }
    for (i, (title, clip)) in clips.iter().enumerate() {
        let x = gap + (i % columns) * (cell_width + gap);
        let y = gap + (i / columns) * (cell_height + gap);
        let place = Rect::new(x as i32, y as i32, cell_width as i32, cell_height as i32);
        Cell::new(place, size as i32).draw(&mut canvas, title, clip);
    }
    Ok(canvas.png())
}

/// Cells in a row of a grid of `n`, of which `aspect` times more stand side by side than above.
fn grid_columns(n: usize, aspect: f64) -> usize {
    // Among the widths near the wished one, that which leaves the fewest holes.
    let wish = (n as f64 * aspect).sqrt().round() as usize;
    (wish.saturating_sub(1).max(1)..=wish + 1)
        .min_by_key(|&columns| (n.div_ceil(columns) * columns - n, columns.abs_diff(wish)))
        .unwrap_or(wish.max(1))
}

/// The parts of a clip's place in the grid.
struct Cell {
    place: Rect,
    wave: Rect,
    spectrogram: Rect,
    /// Height of the text, in pixels.
    size: i32,
}

impl Cell {
    fn new(place: Rect, size: i32) -> Self {
        let large = size >= 12;
        let left = place.x + size * 3 + size / 2 + 4;
        let right = place.right() - if large { size * 6 } else { size };
        let top = place.y + if large { 44 } else { size * 2 + 2 };
        let bottom = place.bottom() - size * 2;
        let wave_height = (bottom - top) * if large { 28 } else { 32 } / 100;
        let wave = Rect::new(left, top, right - left, wave_height);
        let spectrogram = wave.rows(wave.bottom() + 2, bottom - wave.bottom() - 2);
        Self {
            place,
            wave,
            spectrogram,
            size,
        }
    }

    /// Whether there is room for a larger title and for the colour bar.
    fn is_large(&self) -> bool {
        self.size >= 12
    }

    fn draw(&self, canvas: &mut Canvas, title: &str, clip: &Clip) {
        let few;
        let drawn = match clip.channels() {
            all if all.len() > MOST_CHANNELS => {
                few = Clip::new(clip.sample_rate(), all[..MOST_CHANNELS].to_vec());
                &few
            }
            _ => clip,
        };
        self.heading(canvas, title, clip);
        self.waveforms(canvas, drawn);
        self.spectrogram(canvas, drawn);
        self.seconds(canvas, clip);
        if self.is_large() {
            self.colour_bar(canvas);
        }
    }

    /// Draws the title, and as much of the caption as fits.
    fn heading(&self, canvas: &mut Canvas, title: &str, clip: &Clip) {
        let (size, wave) = (self.size, self.wave);
        let (title_size, y) = if self.is_large() {
            (16, self.place.y + 16)
        } else {
            (size, self.place.y + size / 2)
        };
        let wish = text_width(title, title_size).min(wave.width * 2 / 3);
        let taken = |caption: &String| text_width(caption, size) + 2 * size;
        let caption = captions(clip)
            .into_iter()
            .find(|caption| taken(caption) + wish <= wave.width);
        let room = wave.width - caption.as_ref().map_or(0, taken);
        let shown = shorten(title, title_size, room);
        canvas.text(wave.x, y, title_size, &shown, TEXT, Anchor::Left);
        if let Some(caption) = caption {
            let y = y + title_size - size;
            canvas.text(wave.right(), y, size, &caption, DIM, Anchor::Right);
        }
    }

    /// Draws a lane for each channel.
    fn waveforms(&self, canvas: &mut Canvas, clip: &Clip) {
        let wave = self.wave;
        canvas.fill(wave, PANEL);
        let peak = finite_peak(clip);
        let lanes = clip.channels().len() as i32;
        for (i, samples) in (0..).zip(clip.channels()) {
            let y = wave.y + wave.height * i / lanes;
            let end = wave.y + wave.height * (i + 1) / lanes;
            waveform(canvas, wave.rows(y, end - y), samples, peak);
            if i > 0 {
                canvas.fill(wave.rows(y, 1), GRID);
            }
        }
    }

    /// Draws the spectrogram, with frequencies on its left.
    fn spectrogram(&self, canvas: &mut Canvas, clip: &Clip) {
        let (size, place) = (self.size, self.spectrogram);
        let axis = FrequencyAxis::new(clip.sample_rate(), place.height as usize);
        let levels = spectrogram(clip, place.width as usize, &axis);
        for (x, levels) in (place.x..).zip(levels) {
            for (y, level_db) in (place.y..).zip(levels) {
                canvas.set(x, y, heat(1.0 + level_db / RANGE_DB));
            }
        }
        for tick in axis.ticks(size as f64 * 1.4) {
            let line = place.rows(place.y + axis.row(tick) as i32, 1);
            canvas.fill(line.columns(place.x - 3, 3), DIM);
            canvas.blend(line, TEXT, 0.07);
            let y = (line.y - size / 2).clamp(place.y, place.bottom() - size);
            canvas.text(place.x - 5, y, size, &hertz(tick), DIM, Anchor::Right);
        }
    }

    /// Draws the time axis below the spectrogram.
    fn seconds(&self, canvas: &mut Canvas, clip: &Clip) {
        let seconds = clip.len_frames() as f64 / clip.sample_rate().max(1) as f64;
        if seconds <= 0.0 {
            return;
        }
        let (size, place) = (self.size, self.spectrogram);
        let most = (place.width / (size * 7)).max(2) as usize;
        for tick in ticks(0.0, seconds, most) {
            let x = place.x + (tick / seconds * (place.width - 1) as f64).round() as i32;
            canvas.fill(Rect::new(x, place.bottom(), 1, 3), DIM);
            let text = format!("{} s", number(tick));
            let half = text_width(&text, size) / 2;
            // Labels at the edges lean inwards, so that neighbours in a grid stay apart.
            let least = place.x + half - size;
            let x = x.clamp(least, (place.right() - half + size / 2).max(least));
            canvas.text(x, place.bottom() + 5, size, &text, DIM, Anchor::Centre);
        }
    }

    /// Draws the colours beside their levels.
    fn colour_bar(&self, canvas: &mut Canvas) {
        let size = self.size;
        let bar = self
            .spectrogram
            .columns(self.spectrogram.right() + size, size);
        for row in 0..bar.height {
            let level = 1.0 - row as f32 / (bar.height - 1).max(1) as f32;
            canvas.fill(bar.rows(bar.y + row, 1), heat(level));
        }
        for (db, text) in [
            (0, "0dB"),
            (-20, "-20"),
            (-40, "-40"),
            (-60, "-60"),
            (-80, "-80"),
        ] {
            let y = bar.y + (bar.height - 1) * -db / RANGE_DB as i32;
            let y = (y - size / 2).clamp(bar.y, bar.bottom() - size);
            canvas.text(bar.right() + 4, y, size, text, DIM, Anchor::Left);
        }
    }
}

/// Descriptions of a clip, the longest first.
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
