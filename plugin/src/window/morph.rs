//! The morph: two pads' sounds, and all that lies between them along a slider that is heard while it moves.

use egui::{Button, Rect, Stroke, Ui, Vec2, pos2};

use super::Window;
use super::knob::{Editing, choice, slider};
use super::look::{GAP, Look, NEAR, ROW, Room, row};
use crate::explore::{FRACTIONS, MorphView};
use crate::pad::PADS;

impl Window {
    /// The morph between the selected pad and another.
    pub(super) fn morph(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        let look = Look::here(ui);
        let pad = self.selected_pad();
        let other = self.morph_with;
        let mut room = Room(rect);
        let below = room.bottom(ROW, NEAR);
        let slide = room.bottom(2.0 * ROW, GAP);
        let ends = [pad, other].map(|pad| self.project.sound(pad).cloned());
        row(ui, below, "morph", |ui| {
            ui.label("With");
            let names: Vec<String> = (0..PADS)
                .map(|pad| format!("{}  {}", pad + 1, self.pad_name(pad)))
                .collect();
            let pads: Vec<(usize, &str)> = names.iter().map(String::as_str).enumerate().collect();
            if let Some(other) = choice(ui, "The other pad", 130.0, &other, &pads) {
                self.morph_with = other;
            }
        });
        let [Some(from), Some(to)] = ends else {
            return;
        };
        let making = &self.project.settings[pad].making;
        let asked = self.params.pads[pad].asked(making, None);
        let morphing = self.store.morphing();
        // What was taken stands on the pad; the way goes on from where it began.
        if self.morphs != Some((pad, other)) {
            self.morphs = Some((pad, other));
            self.between = 0.5;
            morphing.open(pad, [from, to], asked);
        }
        let Some(view) = morphing.view() else {
            return;
        };
        self.path(ui, room.0, &view);
        if let Some(between) = slider(ui, slide, "", self.between, [0.0, 1.0]) {
            let (old, new) = (view.nearest(self.between), view.nearest(between));
            self.between = between;
            if let Some(sound) = view.sounds[new].as_ref().filter(|_| old != new) {
                self.store.audition(sound);
            }
        }
        for (fraction, sound) in FRACTIONS.iter().zip(&view.sounds) {
            let x = slide.left() + 8.0 + (slide.width() - 16.0) * fraction;
            let color = if sound.is_some() { look.accent } else { look.edge };
            let top = slide.center().y + 9.0;
            ui.painter().vline(x, top..=top + 5.0, Stroke::new(1.5, color));
        }
        let nearest = view.nearest(self.between);
        let mut right = Room(below);
        let buttons = right.right(200.0, 0.0);
        row(ui, buttons, "take", |ui| {
            if let Some(sound) = view.sounds[nearest].clone() {
                for to in [pad, other] {
                    let text = format!("Take on pad {}", to + 1);
                    if ui.add(Button::new(text)).clicked() {
                        self.take(to, &sound);
                    }
                }
            }
        });
        let _ = edit;
    }

    /// The sounds along the way, in an arc; the one that the slider is at is large.
    fn path(&mut self, ui: &mut Ui, rect: Rect, view: &MorphView) {
        let look = Look::here(ui);
        let nearest = view.nearest(self.between);
        let arc = |t: f32| {
            let x = rect.left() + 0.09 * rect.width() + 0.82 * rect.width() * t;
            let y = rect.bottom() - 0.14 * rect.height() - 0.62 * rect.height() * (t * std::f32::consts::PI).sin();
            pos2(x, y)
        };
        let line = (0..=48).map(|i| arc(i as f32 / 48.0));
        ui.painter().add(egui::Shape::line(
            line.collect(),
            Stroke::new(1.5, look.edge),
        ));
        let size = rect.width().min(rect.height());
        for (index, fraction) in FRACTIONS.into_iter().enumerate() {
            let is_end = index == 0 || index + 1 == FRACTIONS.len();
            let radius = if is_end { 0.095 } else { 0.05 } * size;
            let name = format!("{:.0} % of the way", 100.0 * fraction);
            let sound = view.sounds[index].as_ref();
            let done = view.done[index];
            let response = self.bubble(ui, (arc(fraction), radius), &name, sound, done);
            if response.clicked() && sound.is_some() {
                self.between = fraction;
                if let Some(sound) = sound {
                    self.store.audition(sound);
                }
            }
        }
        if let Some(sound) = view.sounds[nearest].clone() {
            let at = rect.center_bottom() - Vec2::new(0.0, 0.26 * rect.height());
            let response = self.bubble(ui, (at, 0.16 * size), "Here", Some(&sound), 1.0);
            if response.clicked() {
                self.store.audition(&sound);
            }
        }
    }
}
