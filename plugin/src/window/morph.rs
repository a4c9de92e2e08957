//! The morph: two pads' sounds, and all that lies between them along a slider that is heard while it moves.

use std::sync::Arc;

use egui::{Button, Rect, Stroke, Ui, Vec2, pos2};

use super::Window;
use super::choice::{choice, slider};
use super::look::{GAP, Look, NEAR, ROW, Room, row};
use crate::explore::{FRACTIONS, MorphView};
use crate::pad::PADS;
use crate::stored::StoredSound;

/// What a morph goes between.
#[derive(Debug, Clone)]
pub(super) enum Between {
    /// The selected pad's sound and that of this one.
    Pad(usize),
    /// Two sounds from anywhere.
    Sounds([Arc<StoredSound>; 2]),
}

/// The morph that is shown.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// The pad that it is for.
    pad: usize,
    ends: [Arc<StoredSound>; 2],
    /// The other pad, if it is one's.
    other: Option<usize>,
    /// How far along it the slider is, 0 to 1.
    at: f32,
}

impl Shown {
    /// Whether it goes on: its pad may have another sound by now, which was taken from it.
    fn is_of(&self, pad: usize, between: &Between) -> bool {
        let same_ends = match between {
            Between::Pad(other) => self.other == Some(*other),
            Between::Sounds(ends) => (0..2).all(|i| Arc::ptr_eq(&ends[i], &self.ends[i])),
        };
        self.pad == pad && same_ends
    }
}

impl Window {
    /// The morph between the selected pad's sound and another, or between any two.
    pub(super) fn morph(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let pad = self.selected_pad();
        let mut room = Room(rect);
        let mut below = Room(room.bottom(ROW, NEAR));
        let slide = room.bottom(2.0 * ROW, GAP);
        let buttons = below.right(200.0, GAP);
        let other = match &self.between {
            Between::Pad(other) => Some(*other),
            Between::Sounds(_) => None,
        };
        row(ui, below.0, "morph", |ui| {
            ui.label("With");
            let names =
                (0..PADS).map(|pad| (Some(pad), format!("{}  {}", pad + 1, self.pad_name(pad))));
            let chosen = other
                .is_none()
                .then(|| (None, "A sound of the map".to_owned()));
            let names: Vec<(Option<usize>, String)> = chosen.into_iter().chain(names).collect();
            let pads: Vec<(Option<usize>, &str)> = names
                .iter()
                .map(|(pad, name)| (*pad, name.as_str()))
                .collect();
            if let Some(Some(other)) = choice(ui, "The other sound", 130.0, &other, &pads) {
                self.between = Between::Pad(other);
            }
        });
        let is_same = self
            .morph
            .as_ref()
            .is_some_and(|it| it.is_of(pad, &self.between));
        if !is_same {
            let ends = match &self.between {
                Between::Sounds(ends) => Some(ends.clone()),
                Between::Pad(other) => {
                    let sound = |pad| self.project.sound(pad).cloned();
                    sound(pad).zip(sound(*other)).map(|(from, to)| [from, to])
                }
            };
            self.morph = ends.map(|ends| Shown {
                pad,
                ends,
                other,
                at: 0.5,
            });
        }
        let Some(mut shown) = self.morph.clone() else {
            return;
        };
        let making = &self.project.settings[pad].making;
        let asked = self.params.pads[pad].asked(making, None);
        let morphing = self.store.morphing();
        morphing.open(pad, shown.ends.clone(), asked);
        let Some(view) = morphing.view() else {
            return;
        };
        shown.at = self.path(ui, room.0, &view, shown.at);
        if let Some(at) = slider(ui, slide, "", shown.at, [0.0, 1.0]) {
            let (old, new) = (view.nearest(shown.at), view.nearest(at));
            shown.at = at;
            if let Some(sound) = view.sounds[new].as_ref().filter(|_| old != new) {
                self.store.audition(sound);
            }
        }
        for (fraction, sound) in FRACTIONS.iter().zip(&view.sounds) {
            let x = slide.left() + 8.0 + (slide.width() - 16.0) * fraction;
            let color = if sound.is_some() {
                look.accent
            } else {
                look.edge
            };
            let top = slide.center().y + 9.0;
            ui.painter()
                .vline(x, top..=top + 5.0, Stroke::new(1.5, color));
        }
        let nearest = view.nearest(shown.at);
        row(ui, buttons, "take", |ui| {
            if let Some(sound) = view.sounds[nearest].clone() {
                for to in [Some(pad), shown.other.filter(|&other| other != pad)]
                    .into_iter()
                    .flatten()
                {
                    let text = format!("Take on pad {}", to + 1);
                    if ui.add(Button::new(text)).clicked() {
                        self.take(to, &sound);
                    }
                }
            }
        });
        self.morph = Some(shown);
    }

    /// The sounds along the way, in an arc; the one that the slider is at is large.
    /// Returns where the slider is now.
    fn path(&mut self, ui: &mut Ui, rect: Rect, view: &MorphView, at: f32) -> f32 {
        let look = Look::here(ui);
        let nearest = view.nearest(at);
        let mut moved = at;
        let arc = |t: f32| {
            let x = rect.left() + 0.09 * rect.width() + 0.82 * rect.width() * t;
            let y = rect.bottom()
                - 0.14 * rect.height()
                - 0.62 * rect.height() * (t * std::f32::consts::PI).sin();
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
                moved = fraction;
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
        moved
    }
}
