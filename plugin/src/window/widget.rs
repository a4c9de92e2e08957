//! Widgets that show a parameter and set it.

use std::sync::Arc;

use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Align2, Color32, ComboBox, FontId, Galley, Painter, Pos2, Rect, RichText, Sense, Shape, Stroke,
    Ui, Vec2,
};
use nice_plug::prelude::*;

use super::{ACCENT, EDGE, FAINT, INK};

/// The size of a knob with its name and value.
pub(super) const KNOB: Vec2 = Vec2::new(66.0, 66.0);

/// The width of a closed list.
const LIST: f32 = 88.0;

const RADIUS: f32 = 15.0;

/// Points from one end to the other; with shift, ten times as many.
const TRAVEL: f32 = 180.0;

/// The knob's range as an angle: from half past seven to half past four on a clock's face.
const SWEEP: f32 = 0.75 * std::f32::consts::TAU;

/// How a knob looks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Format {
    centred: bool,
}

impl Format {
    /// Its arc begins in the middle.
    pub fn centred(self) -> Self {
        Self { centred: true }
    }
}

/// Drag up and down, with shift finely; double-click for the default; the wheel too.
pub(super) fn knob<P: Param>(
    ui: &mut Ui,
    param: &P,
    setter: &ParamSetter<'_>,
    name: &str,
    format: Format,
) {
    let (rect, response) = ui.allocate_exact_size(KNOB, Sense::click_and_drag());
    let id = response.id;
    let value = param.unmodulated_normalized_value();
    let fine = if ui.input(|i| i.modifiers.shift) {
        0.1
    } else {
        1.0
    };
    if response.drag_started() {
        setter.begin_set_parameter(param);
        ui.data_mut(|data| data.insert_temp(id, value));
    }
    if response.dragged() {
        // The hand's own position: a parameter with steps may lag behind it.
        let hand = ui
            .data_mut(|data| data.get_temp::<f32>(id))
            .unwrap_or(value);
        let hand = (hand - response.drag_delta().y * fine / TRAVEL).clamp(0.0, 1.0);
        ui.data_mut(|data| data.insert_temp(id, hand));
        setter.set_parameter_normalized(param, hand);
    }
    if response.drag_stopped() {
        setter.end_set_parameter(param);
    }
    let at_once = |normalized: f32| {
        setter.begin_set_parameter(param);
        setter.set_parameter_normalized(param, normalized);
        setter.end_set_parameter(param);
    };
    if response.double_clicked() {
        at_once(param.default_normalized_value());
    }
    if response.hovered() {
        let wheel = ui.input(|i| i.smooth_scroll_delta.y);
        if wheel != 0.0 {
            match param.step_count() {
                Some(_) if wheel > 0.0 => at_once(param.next_normalized_step(value, false)),
                Some(_) => at_once(param.previous_normalized_step(value, false)),
                None => at_once((value + wheel * fine / TRAVEL / 4.0).clamp(0.0, 1.0)),
            }
        }
    }
    draw_knob(ui, param, rect, name, format);
}

fn draw_knob<P: Param>(ui: &Ui, param: &P, rect: Rect, name: &str, format: Format) {
    let value = param.modulated_normalized_value();
    let centre = Pos2::new(rect.center().x, rect.top() + 16.0 + RADIUS);
    let angle = |value: f32| (value - 0.5) * SWEEP;
    let on_circle = |value: f32, radius: f32| {
        let (sin, cos) = angle(value).sin_cos();
        centre + Vec2::new(sin, -cos) * radius
    };
    let arc = |from: f32, to: f32, stroke: Stroke| {
        let points = (0..=24).map(|i| on_circle(from + (to - from) * i as f32 / 24.0, RADIUS));
        Shape::line(points.collect(), stroke)
    };
    let painter = ui.painter();
    let zero = if format.centred { 0.5 } else { 0.0 };
    painter.add(arc(0.0, 1.0, Stroke::new(3.0, EDGE)));
    painter.add(arc(zero, value, Stroke::new(3.0, ACCENT)));
    painter.line_segment(
        [on_circle(value, 4.0), on_circle(value, RADIUS - 4.0)],
        Stroke::new(2.0, INK),
    );
    let font = FontId::proportional(11.0);
    let top = rect.center_top();
    painter.text(top, Align2::CENTER_TOP, name, font.clone(), FAINT);
    let text = param.normalized_value_to_string(param.unmodulated_normalized_value(), true);
    painter.text(rect.center_bottom(), Align2::CENTER_BOTTOM, text, font, INK);
}

/// A button that is lit while its parameter is on.
pub(super) fn toggle(
    ui: &mut Ui,
    param: &BoolParam,
    setter: &ParamSetter<'_>,
    name: &str,
) -> egui::Response {
    let response = ui.selectable_label(param.value(), name);
    if response.clicked() {
        set(setter, param, !param.value());
    }
    response
}

/// A list of a parameter's first `count` values.
pub(super) fn choice<P: Param>(
    ui: &mut Ui,
    param: &P,
    setter: &ParamSetter<'_>,
    name: &str,
    count: usize,
) {
    ui.label(RichText::new(name).color(FAINT));
    let last = param.step_count().unwrap_or(1) as f32;
    ComboBox::from_id_salt(name)
        .width(LIST)
        .truncate()
        .selected_text(param.to_string())
        .show_ui(ui, |ui| {
            for i in 0..count.min(last as usize + 1) {
                let normalized = i as f32 / last;
                let text = param.normalized_value_to_string(normalized, true);
                let chosen = param.unmodulated_normalized_value() == normalized;
                if ui.selectable_label(chosen, text).clicked() {
                    setter.begin_set_parameter(param);
                    setter.set_parameter_normalized(param, normalized);
                    setter.end_set_parameter(param);
                }
            }
        });
}

/// A line of text, cut where it is wider than `width`.
pub(super) fn line(
    painter: &Painter,
    text: &str,
    size: f32,
    color: Color32,
    width: f32,
) -> Arc<Galley> {
    let font = FontId::proportional(size);
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = TextWrapping::truncate_at_width(width);
    painter.layout_job(job)
}

/// Sets a parameter as one gesture, which hosts record and undo as one.
pub(super) fn set<P: Param>(setter: &ParamSetter<'_>, param: &P, value: P::Plain) {
    setter.begin_set_parameter(param);
    setter.set_parameter(param, value);
    setter.end_set_parameter(param);
}
