//! Waves: their peaks, small pictures of them, and the large one that a hand edits.

use std::sync::Arc;

use audiodiff::error::counted;
use egui::accesskit::Role;
use egui::{
    Align2, Button, Color32, CursorIcon, Rect, RichText, Sense, Stroke, Ui, Vec2, WidgetInfo, pos2,
};

use nice_plug::params::Param;

use super::Window;
use super::files::{Picking, Purpose, export_name};
use super::knob::Editing;
use super::look::{GAP, Look, NEAR, ROUND, ROW, Room, line, plain, row_from_right};
use crate::kit::{LEAST_SPAN, MAX_FADE_MS};
use crate::stored::StoredSound;
use crate::voice::Mode;

/// The lowest and highest value of each stretch of a sound, the stretches of equal length.
pub(super) type Peaks = Vec<[f32; 2]>;

/// How many stretches a picture has.
const STRETCHES: usize = 1024;

/// The lowest level that a picture in decibels shows.
const FLOOR_DB: f32 = -48.0;

/// The shortest part of a sound that the large wave shows.
const CLOSEST: f32 = 0.01;

/// How a wave is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    /// From the end that is played first.
    pub reverse: bool,
    pub color: Color32,
    /// Whether heights are levels in decibels, or amplitudes.
    pub decibels: bool,
}

/// The part of a sound that the large wave shows, and its peaks.
#[derive(Debug)]
pub(super) struct View {
    sound: Option<Arc<StoredSound>>,
    /// From where to where, fractions of the sound in the order in which it is played.
    range: [f32; 2],
    reverse: bool,
    peaks: Peaks,
}

impl Default for View {
    fn default() -> Self {
        Self {
            sound: None,
            range: [0.0, 1.0],
            reverse: false,
            peaks: Peaks::new(),
        }
    }
}

impl View {
    /// Shows `sound`, the whole of it if it is another one than before.
    fn show(&mut self, sound: &Arc<StoredSound>, reverse: bool) {
        let known = self.sound.as_ref().is_some_and(|it| Arc::ptr_eq(it, sound));
        if !known {
            self.range = [0.0, 1.0];
            self.sound = Some(sound.clone());
        } else if self.reverse == reverse {
            return;
        }
        self.reverse = reverse;
        self.look_at(self.range);
    }

    /// Shows a part of the sound.
    fn look_at(&mut self, [from, to]: [f32; 2]) {
        let width = (to - from).clamp(CLOSEST, 1.0);
        let from = from.clamp(0.0, 1.0 - width);
        self.range = [from, from + width];
        if let Some(sound) = &self.sound {
            let part = match self.reverse {
                false => self.range,
                true => [1.0 - self.range[1], 1.0 - self.range[0]],
            };
            self.peaks = peaks_of(sound, part);
        }
    }

    /// Zooms by a factor around a place that stays where it is.
    fn zoom(&mut self, factor: f32, around: f32) {
        let [from, to] = self.range;
        let width = ((to - from) / factor).clamp(CLOSEST, 1.0);
        let share = (around - from) / (to - from);
        let from = around - share * width;
        self.look_at([from, from + width]);
    }

    /// Where a fraction of the sound lies in `rect`.
    fn x_of(&self, rect: Rect, at: f32) -> f32 {
        let [from, to] = self.range;
        rect.left() + rect.width() * (at - from) / (to - from)
    }

    /// The fraction of the sound at a place.
    fn at(&self, rect: Rect, x: f32) -> f32 {
        let [from, to] = self.range;
        from + (to - from) * (x - rect.left()) / rect.width().max(1.0)
    }
}

impl Window {
    /// The wave of the selected pad: how it was made above it, its time below, and handles on it.
    pub(super) fn large_wave(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>, pad: usize) {
        let look = Look::here(ui);
        ui.painter().rect_filled(rect, ROUND, look.panel);
        let mut room = Room(rect.shrink2(Vec2::new(GAP, NEAR)));
        let mut title = Room(room.top(ROW, 2.0));
        let buttons = title.right(250.0, GAP);
        row_from_right(ui, buttons, "wave's buttons", |ui| {
            self.wave_buttons(ui, edit, pad);
        });
        let painter = ui.painter_at(rect);
        let Some((sound, _)) = &self.pictures[pad] else {
            let at = title.0.left_center();
            painter.text(
                at,
                Align2::LEFT_CENTER,
                "No sound yet",
                plain(12.0),
                look.faint,
            );
            return;
        };
        let sound = sound.clone();
        let text = format!("{}: {}", pad + 1, description(&sound));
        let told = line(&painter, &text, 12.0, look.ink, title.0.width());
        painter.galley(
            title.0.left_center() - Vec2::new(0.0, told.size().y / 2.0),
            told,
            look.ink,
        );
        let remarks = sound.remarks();
        if !remarks.is_empty() {
            let row = room.bottom(14.0, 1.0);
            let told = line(&painter, &remarks.join("; "), 10.5, look.faint, row.width());
            painter.galley(row.min, told, look.faint);
            let id = ui.scope_id().with("remarks");
            ui.interact(row, id, Sense::hover())
                .on_hover_text(remarks.join("\n"));
        }
        let scale = room.bottom(12.0, 1.0);
        let wave = room.0;
        self.edit_wave(ui, wave, edit, pad, &sound);
        time_scale(ui, scale, self.view.range, sound.seconds());
    }

    fn wave_buttons(&mut self, ui: &mut Ui, edit: &Editing<'_>, pad: usize) {
        let small = |text: &str| Button::new(RichText::new(text).size(11.5));
        let idle = self.picking.is_none();
        let is_open = !self.store.is_locked(pad);
        let sound = self.project.sound(pad).cloned();
        let export = ui.add_enabled(idle && sound.is_some(), small("Export…"));
        if export
            .on_hover_text("Writes the sound as a WAV file")
            .clicked()
            && let Some(sound) = sound
        {
            let name = export_name(sound.recipe());
            self.picking = Some(Picking::begin(Purpose::Export(pad), &name));
        }
        let open = ui.add_enabled(idle && is_open, small("From audio…"));
        if open.on_hover_text("Takes a sound of yours").clicked() {
            self.picking = Some(Picking::begin(Purpose::Sound(pad), ""));
        }
        let decibels = ui.selectable_label(self.decibels, RichText::new("dB").size(11.5));
        if decibels
            .on_hover_text("Heights as levels in decibels")
            .clicked()
        {
            self.decibels = !self.decibels;
        }
        let start = self.params.pads[pad].start.unmodulated_normalized_value();
        let is_cut = start > 0.0 || self.project.settings[pad].playing.end < 1.0;
        if is_cut {
            let cut = ui.add_enabled(is_open, small("Cut"));
            if cut
                .on_hover_text("Leaves what lies between the handles")
                .clicked()
            {
                self.cut(pad, edit);
            }
        }
        let whole = self.view.range == [0.0, 1.0];
        let fit = ui.add_enabled(!whole, small("Whole"));
        if fit.on_hover_text("The wheel zooms, a drag moves").clicked() {
            self.view.look_at([0.0, 1.0]);
        }
        if let Some(folder) = &self.exported
            && ui
                .add(small("Folder"))
                .on_hover_text("Shows where the last export went")
                .clicked()
            && let Err(error) = opener::open(folder)
        {
            self.news = Some((format!("{}: {error}", folder.display()), true));
        }
    }

    /// The wave itself: zoomed by the wheel, moved by a drag, cut by its handle.
    fn edit_wave(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        edit: &Editing<'_>,
        pad: usize,
        sound: &Arc<StoredSound>,
    ) {
        let look = Look::here(ui);
        let reverse = self.project.settings[pad].playing.reverse;
        self.view.show(sound, reverse);
        let id = ui.scope_id().with("large wave");
        let response = ui.interact(rect, id, Sense::click_and_drag());
        let wheel = ui.input(|input| input.smooth_scroll_delta.y);
        if let Some(pos) = response.hover_pos()
            && wheel != 0.0
        {
            let around = self.view.at(rect, pos.x);
            self.view.zoom((wheel / 120.0).exp2(), around);
        }
        if response.dragged() {
            let [from, to] = self.view.range;
            let by = -response.drag_delta().x * (to - from) / rect.width();
            self.view.look_at([from + by, to + by]);
        }
        if response.clicked() {
            self.display.hit(pad, 1.0);
            self.display.let_go(pad);
        }
        let painter = ui.painter_at(rect);
        painter.rect_filled(rect, ROUND / 2, look.back);
        let color = look.class(self.pad_class(pad).as_deref());
        let drawing = Drawing {
            // Its peaks are in this order already.
            reverse,
            color,
            decibels: self.decibels,
        };
        draw_wave(
            &painter,
            rect.shrink2(Vec2::new(0.0, 3.0)),
            &self.view.peaks,
            &drawing,
        );
        self.handles(ui, rect, edit, pad, sound.seconds());
        if let Some(position) = self.display.playhead(pad) {
            let x = self.view.x_of(rect, position);
            painter.vline(x, rect.y_range(), Stroke::new(1.5, look.ink));
        }
    }
}

impl Window {
    /// The ends of what is played, the fades at them, and those of its loop.
    fn handles(&self, ui: &Ui, rect: Rect, edit: &Editing<'_>, pad: usize, seconds: f32) {
        let look = Look::here(ui);
        let painter = ui.painter_at(rect);
        let x_of = |at: f32| self.view.x_of(rect, at);
        let at = |x: f32| self.view.at(rect, x).clamp(0.0, 1.0);
        let param = &self.params.pads[pad].start;
        let start = param.unmodulated_normalized_value();
        let playing = self.project.settings[pad].playing;
        let end = playing.end;
        for (from, to) in [(rect.left(), x_of(start)), (x_of(end), rect.right())] {
            let side = Rect::from_x_y_ranges(from..=to, rect.y_range());
            if side.is_positive() {
                painter.rect_filled(side, 0, look.back.gamma_multiply(0.7));
            }
        }
        let ms = |share: f32| 1000.0 * share * seconds;
        let (fade_in, fade_out) = (
            start + playing.fade_in / ms(1.0).max(1.0),
            end - playing.fade_out / ms(1.0).max(1.0),
        );
        let stroke = Stroke::new(1.5, look.accent);
        for (edge, top) in [(start, fade_in), (end, fade_out)] {
            let points = [pos2(x_of(edge), rect.bottom()), pos2(x_of(top), rect.top())];
            if (edge - top).abs() > 1e-4 {
                painter.line_segment(points, stroke);
            }
        }
        let set = |name: &str, change: &dyn Fn(&mut crate::kit::Playing)| {
            edit.pull(ui, name, |project| {
                change(&mut project.settings[pad].playing);
            });
        };
        if let Some(x) = flag(ui, rect, "Start", x_of(start), Side::Right, |begins| {
            edit.hold(&[param], begins);
        }) {
            edit.turn(param, at(x).min(end - LEAST_SPAN));
        }
        let grip = |name: &'static str| {
            move |begins: bool| {
                if begins {
                    edit.grip(ui, name);
                }
            }
        };
        if let Some(x) = flag(ui, rect, "End", x_of(end), Side::Left, grip("End")) {
            let end = at(x).max(start + LEAST_SPAN);
            set("End", &|playing| playing.end = end);
        }
        if let Some(x) = knee(ui, rect, "Fade in", x_of(fade_in), grip("Fade in")) {
            let fade = ms(at(x) - start).clamp(0.0, MAX_FADE_MS);
            set("Fade in", &|playing| playing.fade_in = fade);
        }
        if let Some(x) = knee(ui, rect, "Fade out", x_of(fade_out), grip("Fade out")) {
            let fade = ms(end - at(x)).clamp(0.0, MAX_FADE_MS);
            set("Fade out", &|playing| playing.fade_out = fade);
        }
        if playing.mode == Mode::Loop {
            let (from, to) = (playing.loop_start.max(start), playing.loop_end.min(end));
            let lower = rect.with_min_y(rect.bottom() - 14.0);
            let bar =
                Rect::from_x_y_ranges(x_of(from)..=x_of(to), rect.bottom() - 3.0..=rect.bottom());
            painter.rect_filled(bar, 0, look.modulated);
            if let Some(x) = flag(
                ui,
                lower,
                "Loop from",
                x_of(from),
                Side::Right,
                grip("Loop from"),
            ) {
                let from = at(x).min(to - LEAST_SPAN);
                set("Loop from", &|playing| playing.loop_start = from);
            }
            if let Some(x) = flag(ui, lower, "Loop to", x_of(to), Side::Left, grip("Loop to")) {
                let to = at(x).max(from + LEAST_SPAN);
                set("Loop to", &|playing| playing.loop_end = to);
            }
        }
    }
}

/// The side of its line that a flag flies on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

/// A line through a wave with a flag on it that is dragged sideways; returns where to.
fn flag(ui: &Ui, rect: Rect, name: &str, x: f32, side: Side, held: impl Fn(bool)) -> Option<f32> {
    let size = Vec2::new(9.0, 11.0);
    let left = match side {
        Side::Left => x - size.x,
        Side::Right => x,
    };
    let flag = Rect::from_min_size(pos2(left, rect.bottom() - size.y), size);
    drag_flag(ui, rect, name, x, flag, true, held)
}

/// The end of a fade, at the top of a wave.
fn knee(ui: &Ui, rect: Rect, name: &str, x: f32, held: impl Fn(bool)) -> Option<f32> {
    let flag = Rect::from_center_size(pos2(x, rect.top() + 4.0), Vec2::splat(8.0));
    drag_flag(ui, rect, name, x, flag, false, held)
}

fn drag_flag(
    ui: &Ui,
    rect: Rect,
    name: &str,
    x: f32,
    flag: Rect,
    has_line: bool,
    held: impl Fn(bool),
) -> Option<f32> {
    let look = Look::here(ui);
    let id = ui.scope_id().with(("flag", name));
    let is_seen = rect.x_range().expand(1.0).contains(x);
    let response = ui.interact(flag.expand(2.0), id, Sense::drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Slider, true, name));
    if response.drag_started() {
        held(true);
    }
    if is_seen {
        let is_near = response.hovered() || response.dragged();
        let painter = ui.painter_at(rect.expand2(Vec2::new(9.0, 0.0)));
        let color = if is_near { look.ink } else { look.accent };
        if has_line {
            painter.vline(x, rect.y_range(), Stroke::new(1.5, color));
        }
        painter.rect_filled(flag, 2, color);
    }
    let moved = response
        .dragged()
        .then(|| response.interact_pointer_pos())
        .flatten()
        .map(|pos| pos.x);
    if response.drag_stopped() {
        held(false);
    }
    response
        .on_hover_and_drag_cursor(CursorIcon::ResizeHorizontal)
        .on_hover_text(name);
    moved
}

/// The time below a wave.
fn time_scale(ui: &Ui, rect: Rect, [from, to]: [f32; 2], seconds: f32) {
    let look = Look::here(ui);
    let (begin, end) = (from * seconds, to * seconds);
    let span = (end - begin).max(1e-4);
    // Marks at 1, 2 or 5 of a power of ten, at most eight of them.
    let power = 10f32.powf((span / 8.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * power);
    let step = step
        .into_iter()
        .find(|step| span / step <= 8.0)
        .unwrap_or(span);
    let first = (begin / step).ceil() as i64;
    for i in first.. {
        let time = i as f32 * step;
        if time > end {
            break;
        }
        let x = rect.left() + rect.width() * (time - begin) / span;
        let text = if step < 0.1 {
            format!("{:.0} ms", 1000.0 * time)
        } else {
            format!("{time:.1} s")
        };
        let stroke = Stroke::new(1.0, look.edge);
        ui.painter().vline(x, rect.top()..=rect.top() + 3.0, stroke);
        if x < rect.right() - 30.0 {
            let at = pos2(x + 3.0, rect.center().y);
            ui.painter()
                .text(at, Align2::LEFT_CENTER, text, plain(9.0), look.faint);
        }
    }
}

/// How a sound was made, in one line.
pub(super) fn description(sound: &StoredSound) -> String {
    let clip_seconds = sound.seconds();
    let recipe = sound.recipe();
    let mut text = match &recipe.file {
        Some(file) => format!("{file}, {clip_seconds:.2} s"),
        None => {
            let class = recipe
                .class
                .as_deref()
                .map_or_else(|| "Any".to_owned(), super::pads::spoken);
            format!("{class}, no. {}, {clip_seconds:.2} s", recipe.seed)
        }
    };
    if recipe.steps > 0 {
        text += &format!(", {}", counted(recipe.steps, "step"));
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
    peaks_of(sound, [0.0, 1.0])
}

/// Those of a part of it, by fractions of the whole.
fn peaks_of(sound: &StoredSound, [from, to]: [f32; 2]) -> Peaks {
    let clip = sound.clip();
    let all = clip.len_frames();
    let peak = clip.peak().max(f32::MIN_POSITIVE);
    let first = ((f64::from(from) * all as f64) as usize).min(all);
    let frames = ((f64::from(to) * all as f64) as usize).clamp(first, all) - first;
    let stretch = |i: usize| {
        let begin = first + i * frames / STRETCHES;
        // Of few frames, one for several stretches.
        let end = (first + (i + 1) * frames / STRETCHES).max(begin + usize::from(frames > 0));
        let samples = clip
            .channels()
            .iter()
            .flat_map(|channel| &channel[begin..end.min(all)]);
        samples.fold([0f32; 2], |[low, high], &x| {
            [low.min(x / peak), high.max(x / peak)]
        })
    };
    (0..STRETCHES).map(stretch).collect()
}

/// The height of an amplitude, `-1..=1`, as a level.
fn as_level(x: f32) -> f32 {
    let db = 20.0 * x.abs().max(1e-6).log10();
    (1.0 - db / FLOOR_DB).max(0.0).copysign(x)
}

/// Draws `peaks` over the whole of `rect`.
pub(super) fn draw_wave(
    painter: &egui::Painter,
    rect: Rect,
    peaks: &[[f32; 2]],
    drawing: &Drawing,
) {
    let (middle, half) = (rect.center().y, rect.height() / 2.0);
    let columns = (rect.width() as usize).min(peaks.len()).max(1);
    let height = |x: f32| half * if drawing.decibels { as_level(x) } else { x };
    let wide = rect.width() / columns as f32;
    // What is quieter than a point is high.
    let thin = Stroke::new(1.0, drawing.color.gamma_multiply(0.6));
    painter.hline(rect.x_range(), middle, thin);
    for column in 0..columns {
        let range = column * peaks.len() / columns..(column + 1) * peaks.len() / columns;
        let [low, high] = peaks[range].iter().fold([0f32; 2], |[low, high], peak| {
            [low.min(peak[0]), high.max(peak[1])]
        });
        let place = if drawing.reverse {
            columns - 1 - column
        } else {
            column
        };
        let x = rect.left() + wide * place as f32;
        let line = Rect::from_min_max(
            pos2(x, middle - height(high) - 0.5),
            // Neighbours meet, so that no seam is seen.
            pos2(x + wide + 0.1, middle - height(low) + 0.5),
        );
        painter.rect_filled(line, 0, drawing.color);
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

    #[test]
    fn a_zoom_keeps_the_place_under_the_hand_and_stays_within_the_sound() {
        let clip = Clip::new(44_100, vec![(0..44_100).map(|i| (i % 2) as f32).collect()]);
        let mut view = View::default();
        view.show(&Arc::new(StoredSound::new(recipe(1), &clip)), false);
        let rect = Rect::from_min_size(egui::Pos2::ZERO, Vec2::new(200.0, 50.0));
        view.zoom(4.0, 0.5);
        assert!((view.x_of(rect, 0.5) - 100.0).abs() < 1e-3);
        assert!((view.at(rect, 100.0) - 0.5).abs() < 1e-6);
        assert_eq!(view.range, [0.375, 0.625]);
        view.look_at([0.9, 1.15]);
        assert_eq!(view.range, [0.75, 1.0]);
        view.zoom(1e6, 1.0);
        assert!((view.range[1] - view.range[0] - CLOSEST).abs() < 1e-6);
        view.zoom(1e-6, 0.3);
        assert_eq!(view.range, [0.0, 1.0]);
    }

    #[test]
    fn levels_in_decibels_keep_their_sides() {
        for (x, level) in [
            (1.0, 1.0),
            (-1.0, -1.0),
            (0.0, 0.0),
            (1e-3, 0.0),
            (0.0631, 0.5),
        ] {
            assert!((as_level(x) - level).abs() < 1e-3, "{x}: {}", as_level(x));
        }
    }
}
