//! Sounds that a hand carries from one place of the window to another.

use std::path::Path;
use std::sync::Arc;

use egui::{Align2, DragAndDrop, Id, LayerId, Order, Rect, Sense, Stroke, StrokeKind, Ui, Vec2};

use super::Window;
use super::bubble::Bubble;
use super::look::{Look, NEAR, ROUND, Room, plain};
use super::morph::Between;
use super::stage::Stage;
use crate::pad::PADS;
use crate::stored::StoredSound;

/// What is carried.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub sound: Arc<StoredSound>,
    /// The pad that it is of, if it is one's.
    pub from: Option<usize>,
    /// The file that it is the beginning of, if it is one's.
    pub file: Option<Arc<Path>>,
}

impl Window {
    /// All pads, small, in two rows: what is carried is put down on them.
    pub(super) fn strip(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let mut room = Room(rect);
        let upper = room.top((rect.height() - NEAR) / 2.0, NEAR);
        for (row, first) in [(upper, PADS / 2), (room.0, 0)] {
            for (i, rect) in Room(row).columns(PADS / 2, NEAR).enumerate() {
                let pad = first + i;
                self.places[pad] = rect;
                let id = ui.scope_id().with(("strip", pad));
                let response = ui.interact(rect, id, Sense::click());
                let color = look.class(self.pad_class(pad).as_deref());
                let chosen = pad == self.selected_pad();
                let playing = self.display.playhead(pad).is_some();
                let fill = look
                    .panel
                    .lerp_to_gamma(color, if playing { 0.45 } else { 0.16 });
                let carried = response.dnd_hover_payload::<Carried>().is_some();
                let edge = if chosen || carried {
                    color
                } else {
                    look.edge.gamma_multiply(0.5)
                };
                let wide = if chosen || carried { 2.0 } else { 1.0 };
                ui.painter().rect(
                    rect,
                    ROUND / 2,
                    fill,
                    Stroke::new(wide, edge),
                    StrokeKind::Inside,
                );
                let at = rect.left_top() + Vec2::new(5.0, 3.0);
                let number = format!("{}", pad + 1);
                ui.painter()
                    .text(at, Align2::LEFT_TOP, number, plain(10.5), look.ink);
                if self.project.is_locked(pad) {
                    let at = rect.right_bottom() - Vec2::new(4.0, 2.0);
                    ui.painter()
                        .text(at, Align2::RIGHT_BOTTOM, "lock", plain(9.0), look.faint);
                }
                if response.clicked() {
                    self.store.view(|project| project.selected = pad);
                    self.explores = None;
                    self.display.hit(pad, 1.0);
                    self.display.let_go(pad);
                }
                self.put_down(&response, pad);
                response.on_hover_text(self.pad_name(pad));
            }
        }
    }

    /// Puts what is carried on a pad if it is let go over it: a sound from elsewhere comes to the pad, that of another
    /// pad begins a morph between the two.
    pub(super) fn put_down(&mut self, response: &egui::Response, pad: usize) {
        let Some(carried) = response.dnd_release_payload::<Carried>() else {
            return;
        };
        match (carried.from, &carried.file) {
            (None, Some(file)) => self.put_file(file, pad, response.rect.center()),
            (None, None) => self.take(pad, &carried.sound),
            (Some(from), _) if from != pad => {
                self.store.view(|project| project.selected = from);
                self.show(Stage::Morph);
                self.between = Between::Pad(pad);
            }
            (Some(_), _) => {}
        }
    }

    /// What is carried, under the pointer.
    pub(super) fn carried(&mut self, ui: &Ui) {
        let Some(carried) = DragAndDrop::payload::<Carried>(ui.ctx()) else {
            return;
        };
        let Some(at) = ui.ctx().pointer_latest_pos() else {
            return;
        };
        let look = Look::here(ui);
        let layer = LayerId::new(Order::Tooltip, Id::unique("carried"));
        let bubble = Bubble {
            at: at + Vec2::new(14.0, 14.0),
            radius: 20.0,
            color: look.class(carried.sound.recipe().class.as_deref()),
            rays: Some(self.bubbles.rays(&carried.sound)),
            done: 1.0,
            lit: true,
            heard: None,
        };
        bubble.draw(&ui.ctx().layer_painter(layer), look);
    }
}

/// Where a sound would be put down.
pub(super) fn target(ui: &Ui, rect: Rect, look: Look) {
    ui.painter().rect_stroke(
        rect,
        ROUND,
        Stroke::new(2.5, look.accent),
        StrokeKind::Inside,
    );
}
