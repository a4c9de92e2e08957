//! The rows above and below the pads: the model, the level, progress and trouble.

use egui::containers::menu::MenuButton;
use egui::{Align, Button, Label, Layout, RichText, Sense, Ui, Vec2};
use nice_plug::prelude::*;

use super::files::{Picking, Purpose, file_name};
use super::widget::{Editing, Format, KNOB};
use super::{ACCENT, FAINT, PANEL, TROUBLE, WAVE, Window};
use crate::pad::PADS;
use crate::settings::cores;
use crate::undo::Direction;

/// How fast the meter falls, dB a second.
const FALL_DB: f32 = 28.0;

impl Window {
    /// Chooses the model that makes the sounds, and on how many threads.
    fn model_menu(&mut self, ui: &mut Ui) {
        let chosen = self.project.model.clone();
        let name = match (self.status.model(), &chosen) {
            (Some(model), _) => model.name.clone(),
            (None, Some(path)) => format!("{} (not open)", file_name(path)),
            (None, None) => "no model open yet".to_owned(),
        };
        MenuButton::from_button(Button::new(name).truncate()).ui(ui, |ui| {
            if ui.selectable_label(chosen.is_none(), "Built in").clicked() {
                self.use_model(None);
                ui.close();
            }
            for path in self.settings.recent.clone() {
                let label = ui
                    .add_enabled_ui(path.exists(), |ui| {
                        ui.selectable_label(chosen.as_ref() == Some(&path), file_name(&path))
                    })
                    .inner;
                if label.on_hover_text(path.display().to_string()).clicked() {
                    self.use_model(Some(path));
                    ui.close();
                }
            }
            let is_lost = chosen.is_some() && self.status.model().is_none();
            let open = ui.button(if is_lost { "Locate…" } else { "Open…" });
            if open.clicked() {
                self.picking = Some(Picking::begin(Purpose::Model, ""));
                ui.close();
            }
            ui.separator();
            ui.horizontal(|ui| {
                ui.label("Threads");
                let mut threads = self.settings.threads();
                let most = cores();
                let value = egui::DragValue::new(&mut threads).range(1..=most);
                if ui.add(value).changed() {
                    self.prefer(|settings| settings.threads = Some(threads));
                }
            });
        });
    }

    /// The row above all else: the model, the whole instrument's controls, the level.
    pub(super) fn head(&mut self, ui: &mut Ui, edit: &Editing<'_>) {
        // From the right, so that the model's name is cut where there is no room for it.
        let size = Vec2::new(ui.available_width(), KNOB.y);
        let leftwards = Layout::right_to_left(Align::Center);
        ui.allocate_ui_with_layout(size, leftwards, |ui| {
            self.meter(ui);
            edit.knob(ui, &self.params.gain, "Gain", Format::FROM_LEFT);
            let keys = ui.selectable_label(self.project.keys, "Keys");
            if keys
                .on_hover_text("All keys play the selected pad at their pitch")
                .clicked()
            {
                edit.edit(|project| project.keys = !project.keys);
            }
            if ui
                .button("Generate all")
                .on_hover_text("New sounds for all pads that are not locked")
                .clicked()
            {
                let gesture = self.store.gesture();
                let open = (0..PADS).filter(|&pad| !self.project.is_locked(pad));
                open.for_each(|pad| edit.new_sound(gesture, pad));
            }
            let (back, forth) = self.store.can_undo();
            let redo = ui.add_enabled(forth, Button::new("Redo"));
            if redo.on_hover_text("Ctrl-Shift-Z").clicked() {
                edit.undo(Direction::Forth);
            }
            let undo = ui.add_enabled(back, Button::new("Undo"));
            if undo.on_hover_text("Ctrl-Z").clicked() {
                edit.undo(Direction::Back);
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.label(RichText::new("audiodiff").size(22.0).strong().color(ACCENT));
                self.model_menu(ui);
            });
        });
    }

    fn meter(&mut self, ui: &mut Ui) {
        let (rect, response) = ui.allocate_exact_size(Vec2::new(10.0, 48.0), Sense::click());
        let [left, right] = self.display.take_peaks();
        let peak = left.max(right);
        let seconds = ui.input(|input| input.unstable_dt);
        self.level = peak.max(self.level * util::db_to_gain(-FALL_DB * seconds));
        self.over |= peak > 1.0;
        if response.clicked() {
            self.over = false;
        }
        response
            .on_hover_text("Red where the sum was above full scale; a click puts the light out");
        let height = ((util::gain_to_db(self.level) + 60.0) / 66.0).clamp(0.0, 1.0);
        let painter = ui.painter();
        painter.rect_filled(rect, 2.0, PANEL);
        let mut bar = rect;
        bar.set_top(rect.bottom() - rect.height() * height);
        painter.rect_filled(bar, 2.0, WAVE);
        if self.over {
            let mut light = rect;
            light.set_bottom(rect.top() + 6.0);
            painter.rect_filled(light, 2.0, TROUBLE);
        }
    }

    /// The row below all else: the generator's progress, or its trouble.
    pub(super) fn foot(&self, ui: &mut Ui) {
        let waiting = (0..PADS).filter(|&pad| self.store.is_pending(pad)).count();
        let (text, color) = match (self.status.trouble(), self.store.next()) {
            (_, Some(request)) if self.status.model().is_none() => (
                format!("opening the model for pad {}", request.pad + 1),
                FAINT,
            ),
            (_, Some(request)) => {
                let pad = request.pad;
                let done = 100.0 * self.status.done(pad);
                let mut text = format!("making pad {}: {done:.0} %", pad + 1);
                if let Some(left) = self.status.left(pad) {
                    text += &format!(", {:.1} s left", left.as_secs_f32());
                }
                if waiting > 1 {
                    text += &format!(", {} more to make", waiting - 1);
                }
                (text, FAINT)
            }
            (Some(trouble), None) => (trouble, TROUBLE),
            (None, None) => match &self.news {
                Some((news, true)) => (news.clone(), TROUBLE),
                Some((news, false)) => (news.clone(), FAINT),
                None => {
                    let later =
                        "a later version has saved this project; what it added is kept as it is";
                    let later = self.project.is_of_later_version().then(|| later.to_owned());
                    let notice = self.status.notice().or(later);
                    (notice.unwrap_or_else(|| "ready".to_owned()), FAINT)
                }
            },
        };
        ui.add(Label::new(RichText::new(text).color(color)).truncate());
    }
}
