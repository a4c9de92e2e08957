//! The ring: a pad's sound, and eight others around it, the farther the stranger. Each is heard under the pointer and
//! taken with a click.

use std::sync::Arc;

use egui::accesskit::Role;
use egui::{Align2, Button, Pos2, Rect, Sense, Stroke, Ui, Vec2, WidgetInfo};

use super::Window;
use super::bubble::Bubble;
use super::carry::Carried;
use super::choice::slider;
use super::icon::{Icon, icon_button};
use super::look::{GAP, Look, NEAR, ROW, Room, plain, row};
use crate::explore::{RING, RingView};
use crate::stored::StoredSound;

/// The time in which a bubble comes out of the noise once it is made, seconds.
const EMERGES: f32 = 0.35;

/// The strengths that the slider chooses from.
const STRENGTHS: [f32; 2] = [0.1, 0.7];

/// What is heard under the pointer.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Option<Arc<StoredSound>>);

impl Heard {
    /// Has `sound` heard, unless it is already, and remembers it for as long as the pointer stays.
    pub fn set(&mut self, store: &crate::store::Store, sound: Option<&Arc<StoredSound>>) {
        let same = match (&self.0, sound) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if !same {
            match sound {
                Some(sound) => store.audition(sound),
                None => store.stop_audition(),
            }
            self.0 = sound.cloned();
        }
    }

    /// Whether this one is.
    pub fn is(&self, sound: &Arc<StoredSound>) -> bool {
        self.0.as_ref().is_some_and(|it| Arc::ptr_eq(it, sound))
    }
}

impl Window {
    /// The ring around the selected pad's sound.
    pub(super) fn ring(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let pad = self.selected_pad();
        let Some(sound) = self.project.sound(pad).cloned() else {
            ui.painter().text(
                rect.center(),
                Align2::CENTER_CENTER,
                "This pad has no sound yet",
                plain(13.0),
                look.faint,
            );
            return;
        };
        let making = &self.project.settings[pad].making;
        let asked = self.params.pads[pad].asked(making, None);
        let strength = self.distance;
        let ring = self.store.ring();
        // Where the centre was chosen in the ring, the pad has that sound by now.
        let around = ring.view().filter(|view| view.pad == pad);
        let centre = match &around {
            Some(view) if self.explores == Some(pad) => view.centre.clone(),
            _ => sound,
        };
        ring.open(pad, centre, asked, strength);
        self.explores = Some(pad);
        let Some(view) = ring.view() else {
            return;
        };
        let mut room = Room(rect);
        let below = room.bottom(ROW, NEAR);
        self.ring_buttons(ui, below, &view);
        self.circle(ui, room.0, &view);
    }

    fn ring_buttons(&mut self, ui: &mut Ui, rect: Rect, view: &RingView) {
        let mut room = Room(rect);
        let slide = room.left(0.42 * rect.width(), GAP);
        let label = "Distance";
        if let Some(distance) = slider(ui, slide, label, self.distance, STRENGTHS) {
            self.distance = distance;
            self.store.ring().set_strength(distance);
        }
        row(ui, room.0, "ring", |ui| {
            let back = icon_button(ui, Icon::Back, view.back > 0, false, "The ring before");
            if back.clicked() {
                self.store.ring().back();
            }
            let others = ui.add(Button::new("Eight others"));
            if others
                .on_hover_text("Another ring around the same sound")
                .clicked()
            {
                self.store.ring().reroll();
            }
            if let Some(trouble) = &view.trouble {
                let text = egui::RichText::new(trouble).color(Look::here(ui).trouble);
                ui.add(egui::Label::new(text).truncate());
            }
        });
    }

    fn circle(&mut self, ui: &mut Ui, rect: Rect, view: &RingView) {
        let look = Look::here(ui);
        let size = rect.width().min(rect.height());
        let middle = rect.center();
        let painter = ui.painter_at(rect);
        for share in [0.27, 0.36, 0.45] {
            let stroke = Stroke::new(1.0, look.edge.gamma_multiply(0.35));
            painter.circle_stroke(middle, share * size, stroke);
        }
        let mut heard = None;
        let near = view.strengths.iter().copied().fold(f32::INFINITY, f32::min);
        let far = view.strengths.iter().copied().fold(0.0, f32::max);
        for index in 0..RING {
            let turn = index as f32 / RING as f32 * std::f32::consts::TAU;
            let share = (view.strengths[index] - near) / (far - near).max(1e-3);
            let away = (0.285 + 0.115 * share) * size;
            let at = middle + Vec2::new(turn.sin(), -turn.cos()) * away;
            let stroke = Stroke::new(1.0, look.edge.gamma_multiply(0.6));
            painter.line_segment([middle, at], stroke);
            let name = format!("Variation {} of {RING}", index + 1);
            let sound = view.sounds[index].as_ref();
            let done = view.done[index];
            let response = self.bubble(ui, (at, 0.088 * size), &name, sound, done);
            if let Some(sound) = sound {
                if response.hovered() {
                    heard = Some(sound.clone());
                }
                if response.clicked() {
                    self.take(view.pad, sound);
                    self.store.ring().recentre(index);
                }
                response.context_menu(|ui| {
                    if ui.button("More like this").clicked() {
                        self.store.ring().recentre(index);
                        ui.close();
                    }
                    if ui.button("Take it").clicked() {
                        self.take(view.pad, sound);
                        ui.close();
                    }
                });
            }
        }
        let response = self.bubble(
            ui,
            (middle, 0.155 * size),
            "The centre",
            Some(&view.centre),
            1.0,
        );
        if response.hovered() {
            heard = Some(view.centre.clone());
        }
        if response.clicked() {
            self.take(view.pad, &view.centre);
        }
        if ui.ctx().dragged_id().is_none() {
            self.heard.set(&self.store, heard.as_ref());
        }
    }

    /// Puts a sound on a pad, unless it has it already. A trigger of the host's leaves it there.
    pub(super) fn take(&mut self, pad: usize, sound: &Arc<StoredSound>) {
        let is_there = self
            .project
            .sound(pad)
            .is_some_and(|it| Arc::ptr_eq(it, sound));
        if !is_there {
            let making = &self.project.settings[pad].making;
            let asked = self.params.pads[pad].asked(making, None);
            let put = self.store.put_as(pad, sound, asked);
            self.tell(put);
        }
    }

    /// A sound as a bubble that is heard under the pointer and can be carried to a pad.
    pub(super) fn bubble(
        &mut self,
        ui: &mut Ui,
        (at, radius): (Pos2, f32),
        name: &str,
        sound: Option<&Arc<StoredSound>>,
        done: f32,
    ) -> egui::Response {
        let look = Look::here(ui);
        let id = ui.scope_id().with(("bubble", name));
        let rect = Rect::from_center_size(at, Vec2::splat(2.0 * radius));
        let response = ui.interact(rect, id, Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, sound.is_some(), name));
        let emerged = ui
            .ctx()
            .animate_bool_with_time(id.with("made"), sound.is_some(), EMERGES);
        let class = sound.and_then(|sound| sound.recipe().class.clone());
        let class = class.or_else(|| self.pad_class(self.selected_pad()));
        let is_heard = sound.is_some_and(|sound| self.heard.is(sound));
        let bubble = Bubble {
            at,
            radius,
            color: look.class(class.as_deref()),
            rays: sound.map(|sound| self.bubbles.rays(sound)),
            done: match sound {
                Some(_) => 0.6 + 0.4 * emerged,
                None => 0.6 * done,
            },
            lit: response.hovered() || response.has_focus() || is_heard,
            heard: is_heard.then(|| self.display.audition_playhead()).flatten(),
        };
        bubble.draw(ui.painter(), look);
        if let Some(sound) = sound {
            response.dnd_set_drag_payload(Carried {
                sound: sound.clone(),
                from: None,
                file: None,
            });
        }
        response
    }
}
