//! Choices: lists, a few of them beside each other, and values that slide between two ends.

use egui::accesskit::Role;
use egui::{ComboBox, Key, Rect, Sense, Stroke, Ui, Vec2, WidgetInfo};

use super::look::{Look, ROUND, Room, line};

/// A list of choices; returns the one that was made.
pub(super) fn choice<T: PartialEq + Clone>(
    ui: &mut Ui,
    name: &str,
    width: f32,
    chosen: &T,
    choices: &[(T, &str)],
) -> Option<T> {
    let text = choices
        .iter()
        .find(|(choice, _)| choice == chosen)
        .map_or("", |(_, text)| text);
    choice_of(ui, name, width, text, choices, |choice| choice == chosen)
}

/// A list of choices under a text of its own.
pub(super) fn choice_of<T: Clone>(
    ui: &mut Ui,
    name: &str,
    width: f32,
    shown: &str,
    choices: &[(T, &str)],
    is_chosen: impl Fn(&T) -> bool,
) -> Option<T> {
    let mut made = None;
    let list = ComboBox::from_id_salt(name)
        .width(width - 2.0 * ui.spacing().button_padding.x)
        .height(f32::INFINITY)
        .truncate()
        .selected_text(shown)
        .show_ui(ui, |ui| {
            for (choice, text) in choices {
                if ui.selectable_label(is_chosen(choice), *text).clicked() {
                    made = Some(choice.clone());
                }
            }
        });
    list.response.on_hover_text(name);
    made
}

/// A few choices beside each other, one of which is made; returns a new one.
pub(super) fn segments<T: PartialEq + Clone>(
    ui: &mut Ui,
    rect: Rect,
    name: &str,
    chosen: &T,
    choices: &[(T, &str, &str)],
) -> Option<T> {
    let look = Look::here(ui);
    let round = ROUND / 2;
    ui.painter().rect_filled(rect, round, look.raised);
    let mut made = None;
    let parts = Room(rect).columns(choices.len(), 0.0);
    for (part, (choice, text, tip)) in parts.zip(choices) {
        let id = ui.scope_id().with((name, *text));
        let response = ui.interact(part, id, Sense::click());
        let is_chosen = choice == chosen;
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_chosen, *text));
        let fill = match (is_chosen, response.hovered() || response.has_focus()) {
            (true, _) => Some(look.accent),
            (false, true) => Some(look.raised.lerp_to_gamma(look.ink, 0.1)),
            (false, false) => None,
        };
        if let Some(fill) = fill {
            ui.painter().rect_filled(part.shrink(1.0), round, fill);
        }
        let color = if is_chosen { look.back } else { look.ink };
        let text = line(ui.painter(), text, 11.5, color, part.width() - 4.0);
        ui.painter()
            .galley(part.center() - text.size() / 2.0, text, color);
        if response.on_hover_text(*tip).clicked() {
            made = Some(choice.clone()).filter(|_| !is_chosen);
        }
    }
    made
}

/// A value that slides between two ends; returns a new one.
pub(super) fn slider(
    ui: &Ui,
    rect: Rect,
    name: &str,
    value: f32,
    [least, most]: [f32; 2],
) -> Option<f32> {
    let look = Look::here(ui);
    let mut room = Room(rect);
    if !name.is_empty() {
        let text = line(ui.painter(), name, 11.5, look.faint, 80.0);
        let at = room.left(text.size().x, 8.0).left_center() - Vec2::new(0.0, text.size().y / 2.0);
        ui.painter().galley(at, text, look.faint);
    }
    let track = room.0.shrink2(Vec2::new(8.0, 0.0));
    let id = ui.scope_id().with(("slider", name));
    let response = ui.interact(room.0, id, Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::slider(true, f64::from(value), name));
    let x = track.left() + track.width() * (value - least) / (most - least);
    let middle = track.center().y;
    let stroke = |color| Stroke::new(4.0, color);
    ui.painter()
        .hline(track.x_range(), middle, stroke(look.raised));
    ui.painter()
        .hline(track.left()..=x, middle, stroke(look.accent));
    let is_near = response.hovered() || response.dragged() || response.has_focus();
    let radius = if is_near { 8.0 } else { 7.0 };
    let around = Stroke::new(2.0, look.accent);
    ui.painter()
        .circle(egui::pos2(x, middle), radius, look.panel, around);
    let mut wanted = response
        .interact_pointer_pos()
        .filter(|_| response.dragged() || response.clicked())
        .map(|pos| least + (most - least) * (pos.x - track.left()) / track.width().max(1.0));
    if response.has_focus() {
        let by = 0.02 * (most - least);
        for (key, by) in [(Key::ArrowLeft, -by), (Key::ArrowRight, by)] {
            if ui.input(|input| input.key_pressed(key)) {
                wanted = Some(value + by);
            }
        }
    }
    wanted.map(|x| x.clamp(least, most)).filter(|x| *x != value)
}
