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
        for tick in axis.ticks(f64::from(size) * 1.4) {
            let line = place.rows(place.y + axis.row(tick) as i32, 1);
            canvas.fill(line.columns(place.x - 3, 3), DIM);
            canvas.blend(line, TEXT, 0.07);
            let y = (line.y - size / 2).clamp(place.y, place.bottom() - size);
            canvas.text(place.x - 5, y, size, &hertz(tick), DIM, Anchor::Right);
        }
    }

    /// Draws the time axis below the spectrogram.
    fn seconds(&self, canvas: &mut Canvas, clip: &Clip) {
        let seconds = clip.len_frames() as f64 / f64::from(clip.sample_rate().max(1));
        if seconds <= 0.0 {
            return;
        }
        let (size, place) = (self.size, self.spectrogram);
        let most = (place.width / (size * 7)).max(2) as usize;
        for tick in ticks(0.0, seconds, most) {
            let x = place.x + (tick / seconds * f64::from(place.width - 1)).round() as i32;
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
    let length = format!("{:.2} s", clip.len_frames() as f64 / f64::from(rate.max(1)));
    let channels = match clip.channels().len() {
        1 => "mono".to_owned(),
        2 => "stereo".to_owned(),
        n => format!("{n} channels"),
    };
    let peak = match clip.peak() {
        _ if !clip.is_finite() => "not finite".to_owned(),
        0.0 => "silent".to_owned(),
        peak => format!("peak {:.1} dB", 20.0 * peak.log10()),
    };
    let khz = number(f64::from(rate) / 1000.0);
    [
        format!("{length} · {khz} kHz · {channels} · {peak}"),
        format!("{length} · {peak}"),
        length,
    ]
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::MOST_SOUNDS;
    use crate::picture::colour::{ALARM, WAVE, mix};
    use crate::picture::tests::{Picture, read, sine};
    use std::fs;

    /// The parts of the picture of one clip.
    const WAVES: Rect = Rect {
        x: 46,
        y: 44,
        width: 782,
        height: 126,
    };
    const LEVELS: Rect = Rect {
        x: 46,
        y: 172,
        width: 782,
        height: 324,
    };

    /// The blue of a pixel that is half inked by a waveform, or nearly.
    const HALF: u8 = 100;

    fn drawn(title: &str, clip: &Clip) -> Picture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        sound_sheet(&[(title.to_owned(), clip)], &path).unwrap();
        let picture = read(&path);
        assert_eq!((picture.width, picture.height), (900, 520));
        picture
    }

    /// The one pixel in this colour, which reaches as far as the peak, in the middle column of `lane`.
    fn edge(lane: Rect) -> (i32, i32) {
        (lane.x + lane.width / 2, lane.y + 1)
    }

    #[test]
    fn silence_has_the_floor_colour_throughout() {
        let levels = spectrogram(
            &Clip::new(44_100, vec![vec![0.0; 5000]; 2]),
            50,
            &FrequencyAxis::new(44_100, 80),
        );
        assert!(levels.iter().flatten().all(|&level| level == -RANGE_DB));
        for len in [0, 1, 5000] {
            let picture = drawn("", &Clip::new(44_100, vec![vec![0.0; len]]));
            // But for the frequency ticks.
            let column = (LEVELS.y..LEVELS.bottom()).map(|y| picture.at(450, y));
            assert_eq!(column.filter(|&pixel| pixel == heat(0.0)).count(), 324 - 10);
            // A line one pixel thick, half of it above the middle.
            let line = match len {
                0 => [PANEL, GRID],
                _ => [mix(PANEL, WAVE, 0.5), mix(GRID, WAVE, 0.5)],
            };
            for x in WAVES.x..WAVES.right() {
                let column = [105, 106, 107, 108].map(|y| picture.at(x, y));
                assert_eq!(column, [PANEL, line[0], line[1], PANEL], "{len}: {x}");
            }
        }
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
            let picture = read(&path);
            assert_eq!((picture.width, picture.height), size, "{n} clips");
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
    fn a_peak_touches_the_edge_of_its_lane_whatever_the_rate_level_and_length() {
        let title =
            "– \u{1f941} a title far too long to stand above such a small picture of a sound";
        for (rate, samples) in [
            (44_100, vec![1.0]),
            (0, vec![0.5; 30]),
            (u32::MAX, vec![0.5; 300]),
            (44_100, vec![1e-42; 100]),
            (44_100, vec![f32::MAX; 9]),
            (8000, vec![0.1; 2_000_000]),
        ] {
            let picture = drawn(title, &Clip::new(rate, vec![samples]));
            let (x, y) = edge(WAVES);
            assert_eq!(picture.at(x, y), WAVE, "{rate} Hz");
            assert_eq!([picture.at(x, y - 1), picture.at(x, y + 1)], [PANEL; 2]);
        }
        // Two samples: a straight line down, at a quarter of the width halfway to the edge.
        let picture = drawn(title, &Clip::new(1, vec![vec![0.5, -0.5]]));
        let reach = 61.5;
        for (part, height) in [(0.25, 0.5), (0.5, 0.0), (0.75, -0.5)] {
            let x = WAVES.x + (part * f64::from(WAVES.width)) as i32;
            let y = (107.0 - height * reach) as i32;
            let inked = (y - 1..=y + 1).filter(|&y| picture.at(x, y)[2] > HALF);
            assert!(inked.count() >= 1, "{part}");
            assert_eq!([picture.at(x, y - 3), picture.at(x, y + 3)], [PANEL; 2]);
        }
    }

    #[test]
    fn each_channel_has_its_lane_and_the_first_eight_are_drawn() {
        let lane = |i: i32, of: i32| {
            let top = WAVES.y + WAVES.height * i / of;
            WAVES.rows(top, WAVES.y + WAVES.height * (i + 1) / of - top)
        };
        let extremes = vec![f32::MAX, f32::MIN, 1e-40];
        let picture = drawn("", &Clip::new(44_100, vec![extremes; 7]));
        for i in 0..7 {
            let lane = lane(i, 7);
            // The second sample, the lowest, lies in the middle.
            let inked = |x: i32, y: i32| picture.at(x, y)[2] > HALF;
            let rows = [lane.y + 1, lane.bottom() - 3];
            let column = |x: i32| rows.map(|y| inked(x, y) || inked(x, y + 1));
            assert_eq!(column(lane.x), [true, false], "lane {i}");
            assert_eq!(column(lane.x + lane.width / 2), [false, true], "lane {i}");
        }
        let picture = drawn("", &Clip::new(44_100, vec![vec![0.3; 10]; 500]));
        let column = (WAVES.y..WAVES.bottom()).map(|y| picture.at(450, y));
        let inked: Vec<bool> = column.map(|pixel| pixel[2] > HALF).collect();
        let lines = inked.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert_eq!(lines, 8);
    }

    #[test]
    fn samples_that_are_not_finite_are_marked_and_no_others() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for samples in [vec![nan], vec![0.0, nan, inf, -inf, 0.5]] {
            let picture = drawn("", &Clip::new(44_100, vec![samples]));
            for x in WAVES.x..WAVES.right() {
                assert_eq!([picture.at(x, 44), picture.at(x, 169)], [ALARM; 2]);
            }
        }
        let mut samples = vec![0.25; 782];
        samples[391] = nan;
        let picture = drawn("", &Clip::new(44_100, vec![samples]));
        let marked = (WAVES.x..WAVES.right()).filter(|&x| picture.at(x, 160) == ALARM);
        let marked: Vec<i32> = marked.map(|x| x - WAVES.x).collect();
        assert!(
            (1..=3).contains(&marked.len()) && marked.contains(&391),
            "{marked:?}"
        );
    }
}
