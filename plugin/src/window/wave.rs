//! Waves: their peaks, small and large pictures of them, and the text beside a large one.

use egui::{Align2, Color32, CornerRadius, FontId, Pos2, Rect, Sense, Stroke, Ui, Vec2};

use super::widget::line;
use super::{ACCENT, FAINT, INK, PANEL, WAVE, Window};
use crate::stored::StoredSound;

/// The lowest and highest value of each stretch of a sound, the stretches of equal length.
pub(super) type Peaks = Vec<[f32; 2]>;

impl Window {
    /// The wave of the selected pad: how it was made above it, the renderer's remarks below.
    pub(super) fn large_wave(&self, ui: &mut Ui, pad: usize) {
        let size = Vec2::new(ui.available_width(), 96.0);
        let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
        let painter = ui.painter_at(rect);
        painter.rect_filled(rect, 5.0, PANEL);
        let wave = rect.shrink2(Vec2::new(8.0, 16.0));
        let at = rect.left_top() + Vec2::new(8.0, 3.0);
        let Some((sound, peaks)) = &self.pictures[pad] else {
            let font = FontId::proportional(12.0);
            painter.text(at, Align2::LEFT_TOP, "no sound yet", font, FAINT);
            return;
        };
        draw_wave(
            &painter,
            wave,
            peaks,
            self.project.settings[pad].playing.reverse,
            WAVE,
        );
        let room = rect.width() - 16.0;
        let made = line(&painter, &description(pad, sound), 12.0, FAINT, room);
        painter.galley(at, made, FAINT);
        let mark = |position: f32, color| {
            let x = wave.left() + wave.width() * position.clamp(0.0, 1.0);
            painter.line_segment(
                [Pos2::new(x, wave.top()), Pos2::new(x, wave.bottom())],
                Stroke::new(1.5, color),
            );
        };
        mark(self.params.pads[pad].start.value(), ACCENT);
        if let Some(position) = self.display.playhead(pad) {
            mark(position, INK);
        }
        let remarks = sound.remarks();
        if !remarks.is_empty() {
            let told = line(&painter, &remarks.join("; "), 11.0, INK, room);
            let at = rect.left_bottom() + Vec2::new(8.0, -2.0 - told.size().y);
            painter.galley(at, told, INK);
            response.on_hover_text(remarks.join("\n"));
        }
    }
}

/// The pad of a sound, and how it was made, in one line.
fn description(pad: usize, sound: &StoredSound) -> String {
    let clip_seconds = sound.seconds();
    let recipe = sound.recipe();
    let mut text = match &recipe.file {
        Some(file) => format!("pad {}: {file}, {clip_seconds:.2} s", pad + 1),
        None => format!(
            "pad {}: {}, seed {}, {clip_seconds:.2} s",
            pad + 1,
            recipe.class.as_deref().unwrap_or("any"),
            recipe.seed,
        ),
    };
    if recipe.steps > 0 {
        text += &format!(", {} steps", recipe.steps);
    }
    for (amount, made) in [(recipe.variation, "varied"), (recipe.morph, "morphed")] {
        if let Some(amount) = amount {
            text += &format!(", {made} by {:.0} %", 100.0 * amount);
        }
    }
    text
}

/// The peaks of a sound, over its own peak, for a picture up to a thousand points wide.
pub(super) fn peaks(sound: &StoredSound) -> Peaks {
    const STRETCHES: usize = 1024;
    let clip = sound.clip();
    let frames = clip.len_frames();
    let peak = clip.peak().max(f32::MIN_POSITIVE);
    let stretch = |i: usize| {
        let all = i * frames / STRETCHES..((i + 1) * frames / STRETCHES).min(frames);
        let samples = clip
            .channels()
            .iter()
            .flat_map(|channel| &channel[all.clone()]);
        samples.fold([0f32; 2], |[low, high], &x| {
            [low.min(x / peak), high.max(x / peak)]
        })
    };
    (0..STRETCHES).map(stretch).collect()
}

/// Draws `peaks` over the whole of `rect`, from the end that is played first.
pub(super) fn draw_wave(
    painter: &egui::Painter,
    rect: Rect,
    peaks: &Peaks,
    reverse: bool,
    color: Color32,
) {
    let (middle, half) = (rect.center().y, rect.height() / 2.0);
    let columns = (rect.width() as usize).min(peaks.len()).max(1);
    for column in 0..columns {
        let range = column * peaks.len() / columns..(column + 1) * peaks.len() / columns;
        let [low, high] = peaks[range].iter().fold([0f32; 2], |[low, high], peak| {
            [low.min(peak[0]), high.max(peak[1])]
        });
        let place = if reverse {
            columns - 1 - column
        } else {
            column
        };
        let x = rect.left() + rect.width() * (place as f32 + 0.5) / columns as f32;
        let wide = (rect.width() / columns as f32).max(1.0) / 2.0;
        let line = Rect::from_min_max(
            Pos2::new(x - wide, middle - half * high - 0.5),
            Pos2::new(x + wide, middle - half * low + 0.5),
        );
        painter.rect_filled(line, CornerRadius::ZERO, color);
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;
    use crate::stored::tests::recipe;

    #[test]
    fn a_picture_reaches_from_the_lowest_to_the_highest_sample() {
        let ramp = |i: usize| i as f32 / 1000.0 - 0.25;
        for len in [1, 399, 1000] {
            let clip = Clip::new(44_100, vec![(0..len).map(ramp).collect()]);
            let peaks = peaks(&StoredSound::new(recipe(1), &clip));
            let ends = peaks
                .iter()
                .fold([0f32; 2], |[l, h], peak| [l.min(peak[0]), h.max(peak[1])]);
            let (low, high) = (ramp(0), ramp(len - 1).max(0.0));
            let peak = high.max(-low);
            assert!((ends[0] - low / peak).abs() < 1e-4, "{len}: {ends:?}");
            assert!((ends[1] - high / peak).abs() < 1e-4, "{len}: {ends:?}");
        }
        let silence = Clip::new(44_100, vec![vec![]]);
        let flat = peaks(&StoredSound::new(recipe(1), &silence));
        assert!(flat.iter().all(|peak| *peak == [0.0; 2]));
    }
}
