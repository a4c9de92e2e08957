//! The pads: their sounds, their states, what a hand does to them, and the controls of all of them.

use egui::accesskit::Role;
use egui::{Align2, Rect, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo};
use nice_plug::prelude::*;

use super::Window;
use super::carry::{Carried, target};
use super::files::{Picking, Purpose, export_name};
use super::knob::{Editing, Format};
use super::look::{Look, NEAR, ROUND, Room, line, plain};
use super::morph::Between;
use super::stage::Stage;
use super::wave::{Drawing, draw_wave};
use crate::display::Learns;
use crate::keymap::key_name;
use crate::kit::{Class, MAX_NAME, PadSettings};
use crate::pad::PADS;
use crate::requests::Task;
use crate::undo::Value;

/// The size of a pad's switches, points.
const SWITCH: f32 = 15.0;

/// A switch of a pad: its letter, what it does, whether it is on, and where it is.
type Switch = (
    &'static str,
    &'static str,
    fn(&PadSettings) -> bool,
    fn(&mut PadSettings) -> &mut bool,
);

const SWITCHES: [Switch; 3] = [
    (
        "L",
        "Lock: keeps this sound whatever is asked",
        |it| it.making.lock,
        |it| &mut it.making.lock,
    ),
    (
        "S",
        "Solo: silences the pads that are not solo",
        |it| it.playing.solo,
        |it| &mut it.playing.solo,
    ),
    ("M", "Mute", |it| it.playing.mute, |it| &mut it.playing.mute),
];

/// The number of rows, and of pads in a row.
const ROWS: usize = 4;

impl Window {
    /// All pads, in rows of four, the first at the bottom left.
    pub(super) fn pads(&mut self, ui: &mut Ui, area: Rect, edit: &Editing<'_>) {
        let each = (area.size() - Vec2::splat(NEAR * (ROWS - 1) as f32)) / ROWS as f32;
        for pad in 0..PADS {
            let (column, row) = (pad % ROWS, ROWS - 1 - pad / ROWS);
            let corner =
                area.min + Vec2::new(column as f32, row as f32) * (each + Vec2::splat(NEAR));
            let rect = Rect::from_min_size(corner, each);
            self.places[pad] = rect;
            self.pad(ui, pad, rect, edit);
        }
    }

    /// Macros, which turn the same control of all pads, in one row.
    pub(super) fn macros(&self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        let all = self.params.macros.all();
        for (rect, param) in Room(rect).columns(all.len(), 0.0).zip(all) {
            let name = param.name().trim_start_matches("All ");
            let centred = param.default_normalized_value() == 0.5;
            let format = if centred {
                Format::CENTRED
            } else {
                Format::FROM_LEFT
            };
            let tip = format!("{name} of all pads at once");
            edit.knob(ui, rect, param, (name, &tip), format, None);
        }
    }

    fn pad(&mut self, ui: &mut Ui, pad: usize, rect: Rect, edit: &Editing<'_>) {
        let look = Look::here(ui);
        let id = ui.scope_id().with(("pad", pad));
        let response = ui.interact(rect, id, Sense::click_and_drag());
        let name = self.pad_name(pad);
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("Pad {}: {name}", pad + 1))
        });
        let pressed =
            response.is_pointer_button_down_on() && ui.input(|i| i.pointer.primary_pressed());
        // A press and its release may come at once.
        let tapped = response.clicked() && self.pressed != Some(pad);
        if pressed || tapped {
            self.pressed = pressed.then_some(pad);
            self.store.view(|project| project.selected = pad);
            let at = response.interact_pointer_pos().unwrap_or(rect.center_top());
            self.display.hit(pad, velocity(rect, at.y));
        }
        let is_over = !response.is_pointer_button_down_on() && self.pressed == Some(pad);
        if tapped || is_over {
            self.pressed = None;
            self.display.let_go(pad);
        }
        let chosen = pad == self.selected_pad();
        let playhead = self.display.playhead(pad);
        let painter = ui.painter_at(rect);
        let class = self.pad_class(pad);
        let color = look.class(class.as_deref());
        let ground = look.panel;
        let fill = match (playhead, response.hovered()) {
            (Some(_), _) => ground.lerp_to_gamma(color, 0.28),
            (None, true) => ground.lerp_to_gamma(look.ink, 0.07),
            (None, false) => ground,
        };
        painter.rect_filled(rect, ROUND, fill);
        let wave = rect.shrink2(Vec2::new(8.0, 20.0));
        let silent = !self.heard_pads[pad];
        let is_made = self.store.is_pending(pad) && self.status.at_work() == Some(pad);
        let fade = match (is_made, silent) {
            (true, _) => 0.25,
            (false, true) => 0.35,
            (false, false) => 1.0,
        };
        if let Some((_, peaks)) = &self.pictures[pad] {
            let reverse = self.project.settings[pad].playing.reverse;
            let color = color.gamma_multiply(fade);
            draw_wave(
                &painter,
                wave,
                peaks,
                &Drawing {
                    reverse,
                    color,
                    decibels: true,
                },
            );
        }
        if is_made {
            self.status.watch();
            let steps = self.status.emerging(pad);
            if let Some(step) = steps.as_ref().and_then(|steps| steps.last()) {
                let drawing = Drawing {
                    reverse: false,
                    color,
                    decibels: false,
                };
                draw_wave(&painter, wave, &step.peaks, &drawing);
            }
        }
        if let Some(position) = playhead {
            let x = wave.left() + wave.width() * position;
            painter.vline(x, wave.y_range(), Stroke::new(1.5, look.ink));
        }
        self.pad_texts(ui, &painter, pad, rect);
        let (width, edge) = if chosen {
            (2.0, color)
        } else {
            (1.0, look.edge.gamma_multiply(0.5))
        };
        painter.rect_stroke(rect, ROUND, Stroke::new(width, edge), StrokeKind::Inside);
        if let Some(sound) = self.project.sound(pad) {
            response.dnd_set_drag_payload(Carried {
                sound: sound.clone(),
                from: Some(pad),
                file: None,
            });
        }
        if response
            .dnd_hover_payload::<Carried>()
            .is_some_and(|carried| carried.from != Some(pad))
        {
            target(ui, rect, look);
        }
        self.put_down(&response, pad);
        self.pad_switches(ui, pad, rect, response.contains_pointer(), edit);
        response.context_menu(|ui| self.pad_menu(ui, pad, edit));
    }

    /// The switches in a pad's corner: seen where they are on, or under the pointer.
    fn pad_switches(&self, ui: &Ui, pad: usize, rect: Rect, near: bool, edit: &Editing<'_>) {
        let look = Look::here(ui);
        let settings = &self.project.settings[pad];
        let mut corner = rect.right_bottom() - Vec2::new(5.0, 5.0);
        for (i, (letter, tip, is_on, switch)) in SWITCHES.into_iter().enumerate() {
            let is_on = is_on(settings);
            let square = Rect::from_min_max(corner - Vec2::splat(SWITCH), corner);
            corner.x -= SWITCH + 2.0;
            let id = ui.scope_id().with(("switch", pad, i));
            let response = ui.interact(square, id, Sense::click());
            response.widget_info(|| WidgetInfo::selected(Role::Switch, true, is_on, tip));
            if is_on || near || response.hovered() || response.has_focus() {
                let fill = if is_on { look.accent } else { look.raised };
                let color = if is_on { look.back } else { look.faint };
                ui.painter().rect_filled(square, 3, fill);
                let middle = square.center();
                ui.painter()
                    .text(middle, Align2::CENTER_CENTER, letter, plain(10.0), color);
            }
            if response.on_hover_text(tip).clicked() {
                edit.edit(|project| {
                    let switch = switch(&mut project.settings[pad]);
                    *switch = !*switch;
                });
            }
        }
    }

    /// What is done with one pad.
    fn pad_menu(&mut self, ui: &mut Ui, pad: usize, edit: &Editing<'_>) {
        ui.set_min_width(170.0);
        let is_open = !self.store.is_locked(pad);
        let sound = self.project.sound(pad).cloned();
        let settings = self.project.settings[pad].clone();
        let id = ui.scope_id().with(("name", pad));
        let mut name: String = ui
            .data(|data| data.get_temp(id))
            .unwrap_or_else(|| settings.name.clone().unwrap_or_default());
        let field = egui::TextEdit::singleline(&mut name)
            .hint_text(self.pad_name(pad))
            .char_limit(MAX_NAME)
            .desired_width(150.0);
        if ui.add(field).lost_focus() {
            let name = name.trim().to_owned();
            let name = Some(name).filter(|name| !name.is_empty());
            if name != settings.name {
                edit.edit(|project| project.settings[pad].name = name);
            }
            ui.data_mut(|data| data.remove::<String>(id));
        } else {
            ui.data_mut(|data| data.insert_temp(id, name));
        }
        let item = |ui: &mut Ui, on: bool, text: &str| {
            let clicked = ui
                .add_enabled(on, egui::Button::new(text).frame(false))
                .clicked();
            if clicked {
                ui.close();
            }
            clicked
        };
        if item(ui, is_open, "New sound") {
            edit.new_sound(self.store.gesture(), pad);
        }
        let is_there = sound.is_some();
        if item(ui, is_open && is_there, "Vary") {
            self.store.ask(pad, Task::Vary);
        }
        if item(ui, is_there, "Ring of eight like it") {
            self.store.view(|project| project.selected = pad);
            self.show(Stage::Ring);
        }
        ui.menu_button("Morph with", |ui| {
            for other in (0..PADS).filter(|&other| other != pad) {
                let text = format!("{}  {}", other + 1, self.pad_name(other));
                if ui.button(text).clicked() {
                    self.store.view(|project| project.selected = pad);
                    self.show(Stage::Morph);
                    self.between = Between::Pad(other);
                    ui.close();
                }
            }
        });
        ui.separator();
        if item(ui, is_there, "Copy as a file")
            && let Some(sound) = &sound
        {
            self.copy_as_file(ui, sound, pad);
        }
        if item(ui, true, "Copy") {
            self.copied = Some(self.store.copy_pad(pad, edit.params));
        }
        if item(ui, is_open && self.copied.is_some(), "Paste")
            && let Some(copy) = self.copied.clone()
        {
            let set = |value| edit.set_value(value);
            let pasted = self.store.paste_pad(pad, &copy, edit.params, set);
            self.tell(pasted);
        }
        ui.add_enabled_ui(is_open, |ui| {
            ui.menu_button("Swap with", |ui| {
                for other in (0..PADS).filter(|&other| other != pad) {
                    let text = format!("{}  {}", other + 1, self.pad_name(other));
                    if ui.button(text).clicked() {
                        let set = |value| edit.set_value(value);
                        let swapped = self.store.swap_pads(pad, other, edit.params, set);
                        self.tell(swapped);
                        ui.close();
                    }
                }
            });
        });
        if item(ui, is_open, "Clear") {
            let set = |value| edit.set_value(value);
            let cleared = self.store.clear_pad(pad, edit.params, set);
            self.tell(cleared);
        }
        ui.separator();
        let key = Learns::Key(pad);
        let learning = self.display.learning() == Some(key);
        let text = if learning {
            "Stop learning its key"
        } else {
            "Learn its key"
        };
        if item(ui, !self.project.keys, text) {
            self.display.learn((!learning).then_some(key));
        }
        let text = if settings.playing.reverse {
            "Play forwards"
        } else {
            "Play backwards"
        };
        if item(ui, true, text) {
            self.turn_round(pad, edit);
        }
        ui.separator();
        let idle = self.picking.is_none();
        if item(ui, is_open && idle, "From audio…") {
            self.picking = Some(Picking::begin(Purpose::Sound(pad), ""));
        }
        if item(ui, idle && is_there, "Export…")
            && let Some(sound) = sound
        {
            let name = export_name(sound.recipe());
            self.picking = Some(Picking::begin(Purpose::Export(pad), &name));
        }
    }

    /// Plays what lies between a pad's handles in the other direction.
    fn turn_round(&self, pad: usize, edit: &Editing<'_>) {
        let start = &edit.params.pads[pad].start;
        let before = start.unmodulated_normalized_value();
        let gesture = self.store.gesture();
        let (turned, start_turned) = self.project.settings[pad].playing.turned(before);
        let mut knobs = edit.params.knobs();
        if let Some(index) = knobs.position(|knob| std::ptr::eq(knob, start)) {
            self.store
                .changed_value(gesture, Value::Knob(index, before));
            edit.set_value(Value::Knob(index, start_turned));
        }
        self.store
            .edit(gesture, |project| project.settings[pad].playing = turned);
    }

    /// The class of the sound that a pad has, or else of the one that it will have.
    pub(super) fn pad_class(&self, pad: usize) -> Option<String> {
        let making = &self.project.settings[pad].making;
        match (self.project.sound(pad), &making.class) {
            (Some(sound), _) => sound.recipe().class.clone(),
            (None, Class::Any) => None,
            (None, class) => class.of_model(pad, &self.labels()).ok().flatten(),
        }
    }

    /// What a pad is called.
    pub(super) fn pad_name(&self, pad: usize) -> String {
        if let Some(name) = &self.project.settings[pad].name {
            return name.clone();
        }
        let sound = self.project.sound(pad);
        let file = sound.and_then(|sound| sound.recipe().file.clone());
        file.unwrap_or_else(|| {
            let class = self.pad_class(pad);
            let is_morph = sound.is_some_and(|sound| sound.recipe().morph.is_some());
            let otherwise = if is_morph { "Morph" } else { "Anything" };
            class.map_or_else(|| otherwise.to_owned(), |class| spoken(&class))
        })
    }

    /// Name, number, key and state of a pad, in its corners.
    pub(super) fn pad_texts(&self, ui: &Ui, painter: &egui::Painter, pad: usize, rect: Rect) {
        let look = Look::here(ui);
        let small = plain(10.5);
        let number = format!("{}", pad + 1);
        let corner = rect.right_top() + Vec2::new(-7.0, 4.0);
        let number = painter.text(corner, Align2::RIGHT_TOP, number, small.clone(), look.faint);
        let top = rect.left_top() + Vec2::new(8.0, 4.0);
        let name = line(
            painter,
            &self.pad_name(pad),
            11.5,
            look.ink,
            number.left() - 4.0 - top.x,
        );
        painter.galley(top, name, look.ink);
        let bottom = rect.left_bottom() + Vec2::new(8.0, -4.0);
        // In keys mode no key is a pad's own.
        if !self.project.keys {
            let key = match self.display.learning() {
                Some(learning) if learning == Learns::Key(pad) => "play a key".to_owned(),
                _ => key_name(self.project.keymap.key(pad)),
            };
            painter.text(bottom, Align2::LEFT_BOTTOM, key, small.clone(), look.faint);
        }
        if self.store.is_pending(pad) {
            let mut bar = rect.shrink(3.0);
            bar.set_top(bar.bottom() - 3.0);
            painter.rect_filled(bar, 1, look.edge);
            // One that waits its turn has done nothing yet.
            if self.status.at_work() == Some(pad) {
                bar.set_width(bar.width() * self.status.done(pad).clamp(0.02, 1.0));
                painter.rect_filled(bar, 1, look.accent);
            }
        }
    }
}

/// How hard a pad is hit at a height: full above, a fifth at its foot.
fn velocity(rect: Rect, y: f32) -> f32 {
    let share = (rect.bottom() - y) / rect.height().max(1.0);
    // The uppermost third is as hard as it goes.
    (0.2 + 1.2 * share).clamp(0.2, 1.0)
}

/// A class as people say it: `hat_closed` is a hat closed.
pub(super) fn spoken(class: &str) -> String {
    let words = class.replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pad_is_hit_harder_the_higher_it_is_hit() {
        let rect = Rect::from_min_max(egui::pos2(0.0, 10.0), egui::pos2(50.0, 110.0));
        for (y, expected) in [
            (10.0, 1.0),
            (40.0, 1.0),
            (60.0, 0.8),
            (110.0, 0.2),
            (500.0, 0.2),
        ] {
            assert!((velocity(rect, y) - expected).abs() < 1e-5, "{y}");
        }
    }

    #[test]
    fn classes_have_names_for_people() {
        assert_eq!(spoken("hat_closed"), "Hat closed");
        assert_eq!(spoken(""), "");
    }
}
