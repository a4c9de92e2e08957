//! Numbers over numbers.

use std::path::Path;

use super::axis::{decade_ticks, number, span, ticks, widen};
use super::canvas::{Canvas, Rect};
use super::colour::{BACKGROUND, DIM, GRID, PANEL, SERIES, TEXT, mix};
use super::text::{Anchor, shorten, text_width};
use crate::error::Result;
use crate::file::write_whole;

/// One line of a [`curve`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Shown in the legend, with the last value; may be empty.
    pub name: String,
    /// `(x, y)` in the order in which they are joined. A value that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
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
    canvas.fill(PLOT, PANEL);
    let title = shorten(title, 16, PLOT.width);
    canvas.text(PLOT.x, 18, 16, &title, TEXT, Anchor::Left);
    let (x, y) = (PLOT.x + PLOT.width / 2, PLOT.y + PLOT.height / 2);
    canvas.text(x, PLOT.bottom() + 38, 12, x_label, DIM, Anchor::Centre);
    canvas.text_upwards(14, y, 12, y_label, DIM);

    // From here on y is linear along its axis.
    let linear = |y: f64| if log_y { y.log10() } else { y };
    let lines: Vec<Vec<(f64, f64)>> = series
        .iter()
        .map(|s| s.points.iter().map(|&(x, y)| (x, linear(y))).collect())
        .collect();
    let Some(axes) = Axes::around(&lines, log_y) else {
        canvas.text(x, y, 16, "no points", DIM, Anchor::Centre);
        return write_whole(path, &canvas.png());
    };
    axes.grid(&mut canvas);
    // The first series lies on top.
    for (i, line) in lines.iter().enumerate().rev() {
        axes.line(&mut canvas, line, SERIES[i % SERIES.len()]);
    }
    legend(&mut canvas, series, &lines);
    write_whole(path, &canvas.png())
}

/// The pixels between the axes.
const PLOT: Rect = Rect {
    x: 84,
    y: 48,
    width: 788,
    height: 408,
};

/// The ranges along the sides of [`PLOT`], lowest and highest.
struct Axes {
    x: (f64, f64),
    /// Logarithms to base 10 if `log_y`.
    y: (f64, f64),
    log_y: bool,
}

impl Axes {
    /// Axes with room for all points of `lines`, unless there are none.
    fn around(lines: &[Vec<(f64, f64)>], log_y: bool) -> Option<Self> {
        let points = lines.iter().flatten();
        let finite = points.filter(|(x, y)| x.is_finite() && y.is_finite());
        let (x_low, x_high) = span(finite.clone().map(|p| p.0))?;
        let (y_low, y_high) = span(finite.map(|p| p.1))?;
        Some(Self {
            x: widen(x_low, x_high, 0.0),
            y: widen(y_low, y_high, 0.04),
            log_y,
        })
    }

    fn pixel_x(&self, x: f64) -> f64 {
        let (low, high) = self.x;
        // Of values near the largest that there are, `widen` leaves some out.
        f64::from(PLOT.x) + (x.clamp(low, high) - low) / (high - low) * f64::from(PLOT.width)
    }

    fn pixel_y(&self, y: f64) -> f64 {
        let (low, high) = self.y;
        f64::from(PLOT.bottom())
            - (y.clamp(low, high) - low) / (high - low) * f64::from(PLOT.height)
    }

    /// Draws lines at round numbers, and the numbers.
    fn grid(&self, canvas: &mut Canvas) {
        for tick in ticks(self.x.0, self.x.1, 9) {
            let x = self.pixel_x(tick).round() as i32;
            canvas.fill(PLOT.columns(x, 1), GRID);
            canvas.text(x, PLOT.bottom() + 8, 12, &number(tick), DIM, Anchor::Centre);
        }
        let (labelled, fine) = if self.log_y {
            decade_ticks(self.y.0, self.y.1)
        } else {
            (ticks(self.y.0, self.y.1, 8), vec![])
        };
        for tick in fine {
            let y = self.pixel_y(tick).round() as i32;
            canvas.fill(PLOT.rows(y, 1), mix(PANEL, GRID, 0.45));
        }
        for tick in labelled {
            let y = self.pixel_y(tick).round() as i32;
            canvas.fill(PLOT.rows(y, 1), GRID);
            let value = if self.log_y { 10f64.powf(tick) } else { tick };
            canvas.text(PLOT.x - 8, y - 6, 12, &number(value), DIM, Anchor::Right);
        }
    }

    /// Draws one series, a long one faintly below its moving average.
    fn line(&self, canvas: &mut Canvas, line: &[(f64, f64)], colour: [u8; 3]) {
        let pixels = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            let pixel = |&(x, y): &(f64, f64)| (self.pixel_x(x), self.pixel_y(y));
            points.iter().map(pixel).collect()
        };
        if line.len() > 200 {
            canvas.polyline(PLOT, &pixels(line), 0.5, colour, 0.35);
            let average = smooth(line, line.len() / 40);
            canvas.polyline(PLOT, &pixels(&average), 1.1, colour, 1.0);
        } else {
            canvas.polyline(PLOT, &pixels(line), 1.1, colour, 1.0);
        }
    }
}

/// Draws the names of the `series`, each with the value at which its line ends.
fn legend(canvas: &mut Canvas, series: &[Series], lines: &[Vec<(f64, f64)>]) {
    let mut entries = Vec::new();
    for (i, (series, line)) in series.iter().zip(lines).enumerate() {
        if series.name.is_empty() {
            continue;
        }
        let name = shorten(&series.name, 12, PLOT.width / 2);
        let last = line
            .iter()
            .rposition(|p| p.0.is_finite() && p.1.is_finite());
        let text = match last {
            Some(last) => format!("{name}  {}", number(series.points[last].1)),
            None => name,
        };
        entries.push((SERIES[i % SERIES.len()], text));
    }
    let Some(longest) = entries.iter().map(|(_, text)| text_width(text, 12)).max() else {
        return;
    };
    let (width, height) = (longest + 46, entries.len() as i32 * 18 + 8);
    let frame = Rect::new(PLOT.right() - width - 10, PLOT.y + 10, width, height);
    canvas.blend(frame, BACKGROUND, 0.8);
    for (row, (colour, text)) in entries.iter().enumerate() {
        let y = frame.y + 7 + row as i32 * 18;
        canvas.fill(Rect::new(frame.x + 8, y + 4, 20, 3), *colour);
        canvas.text(frame.x + 36, y, 12, text, TEXT, Anchor::Left);
    }
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
        if !y.is_finite() {
            return (x, y);
        }
        let reach = window.min(i).min(line.len() - 1 - i);
        let ((a, m), (b, n)) = (sums[i - reach], sums[i + reach + 1]);
        (x, (b - a) / (n - m) as f64)
    };
    line.iter().enumerate().map(mean).collect()
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::{Picture, is_near, read};

    /// The picture of series that are all named `loss`.
    fn drawn(lines: &[Vec<(f64, f64)>], log_y: bool) -> Picture {
        let series = |points: &Vec<(f64, f64)>| Series {
            name: "loss".into(),
            points: points.clone(),
        };
        let series: Vec<Series> = lines.iter().map(series).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.png");
        curve(&path, "a title", &series, "step", "loss", log_y).unwrap();
        let picture = read(&path);
        assert_eq!((picture.width, picture.height), (900, 520));
        picture
    }

    /// Whether the first series has ink at these fractions of the plot, from the left and from the bottom.
    fn inked(picture: &Picture, right: f64, up: f64) -> bool {
        let x = f64::from(PLOT.x) + right * f64::from(PLOT.width);
        let y = f64::from(PLOT.bottom()) - up * f64::from(PLOT.height);
        is_near(picture.at(x as i32, y as i32), SERIES[0])
    }

    /// Pixels of the plot, outside of its legend, in a colour.
    fn count(picture: &Picture, colour: [u8; 3]) -> usize {
        let rows = PLOT.y..PLOT.bottom();
        let pixels = rows.flat_map(|y| (PLOT.x..PLOT.right() - 140).map(move |x| (x, y)));
        pixels
            .filter(|&(x, y)| is_near(picture.at(x, y), colour))
            .count()
    }

    #[test]
    fn smoothing_keeps_straight_lines_and_gaps_and_lowers_noise() {
        let straight: Vec<_> = (0..300)
            .map(|i| (f64::from(i), 2.0 * f64::from(i)))
            .collect();
        let smoothed = smooth(&straight, 10);
        assert!(
            straight
                .iter()
                .zip(&smoothed)
                .all(|(a, b)| (a.1 - b.1).abs() < 1e-9)
        );
        let noisy: Vec<_> = (0..300)
            .map(|i| (f64::from(i), if i % 2 == 0 { 1.0 } else { -1.0 }))
            .collect();
        assert!(smooth(&noisy, 10)[150].1.abs() < 0.05);
        let mut gap = straight.clone();
        gap[100].1 = f64::NAN;
        let smoothed = smooth(&gap, 10);
        assert!(smoothed[100].1.is_nan() && smoothed[99].1.is_finite());
    }

    #[test]
    fn a_line_runs_between_its_points_on_either_scale() {
        // Its ends touch the sides; a 27th of the height is left free above and below.
        let (low, high) = (0.04 / 1.08, 1.04 / 1.08);
        let points: Vec<_> = (0..=100).map(|i| (f64::from(i), f64::from(i))).collect();
        let linear = drawn(&[points], false);
        let powers = (0..=100).map(|i| (f64::from(i), 10f64.powf(f64::from(i) / 20.0)));
        let logarithmic = drawn(&[powers.collect()], true);
        for picture in [linear, logarithmic] {
            for part in [0.01, 0.25, 0.5, 0.7] {
                let up = low + part * (high - low);
                assert!(inked(&picture, part, up), "{part}");
                assert!(!inked(&picture, part, up + 0.05), "{part}");
                assert!(!inked(&picture, part, up - 0.05), "{part}");
            }
        }
    }

    #[test]
    fn many_points_are_faint_below_their_moving_average() {
        // 1 and 3 in turn: their average is drawn in full, they are not.
        let points = (0..4000).map(|i| (f64::from(i), if i % 2 == 0 { 1.0 } else { 3.0 }));
        let picture = drawn(&[points.collect()], false);
        assert!(inked(&picture, 0.55, 0.5));
        let (x, faint) = (PLOT.x + 433, mix(PANEL, SERIES[0], 0.35));
        for up in [0.3, 0.7] {
            let y = f64::from(PLOT.bottom()) - up * f64::from(PLOT.height);
            assert!(is_near(picture.at(x, y as i32), faint), "{up}");
        }
    }

    #[test]
    fn a_series_without_a_point_that_can_be_drawn_leaves_no_ink() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (lines, log_y) in [
            (vec![], false),
            (vec![], true),
            (vec![vec![]], false),
            (vec![vec![(nan, 1.0), (1.0, nan), (inf, 1.0)]], false),
            (vec![vec![(1.0, 0.0), (2.0, -1.0)]], true),
        ] {
            let picture = drawn(&lines, log_y);
            assert_eq!(count(&picture, SERIES[0]), 0);
            assert!(count(&picture, DIM) > 20, "it says so");
        }
    }

    #[test]
    fn one_place_is_a_dot_in_the_middle() {
        let (close, closer) = (1e17 + 16.0, 1.0 + 1e-15);
        for (line, log_y) in [
            (vec![(1.0, 2.0)], false),
            (vec![(1.0, 2.0)], true),
            (vec![(0.0, 0.0); 2], false),
            (vec![(1e17, 1.0), (close, closer)], false),
            (vec![(-f64::MAX, -f64::MAX), (1.0, 5.0)], true),
        ] {
            let picture = drawn(std::slice::from_ref(&line), log_y);
            assert!(inked(&picture, 0.5, 0.5), "{line:?}");
            assert!(
                (1..60).contains(&count(&picture, SERIES[0])),
                "{line:?}: {}",
                count(&picture, SERIES[0])
            );
        }
    }

    #[test]
    fn gaps_and_the_largest_numbers_keep_the_line_in_its_place() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let wild = vec![
            (nan, nan),
            (1.0, inf),
            (2.0, -1.0),
            (3.0, 1e-300),
            (4.0, 1e300),
        ];
        // Only the last two have a logarithm: a diagonal.
        let picture = drawn(std::slice::from_ref(&wild), true);
        assert!(inked(&picture, 0.5, 0.5));
        assert!(!inked(&picture, 0.5, 0.1));
        // Against 1e300 the first two are zero.
        let picture = drawn(&[wild], false);
        assert!(inked(&picture, 0.25, 0.04 / 1.08));
        assert!(inked(&picture, 0.75, 0.54 / 1.08));
        assert!(!inked(&picture, 0.25, 0.5));
        let huge = vec![(-f64::MAX, -f64::MAX), (f64::MAX, f64::MAX)];
        let picture = drawn(&vec![huge; 40], false);
        assert!(inked(&picture, 0.5, 0.5), "the first lies on top");
    }
}
