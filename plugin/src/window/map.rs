//! The map: hundreds of sounds laid out by likeness, heard under the pointer and carried to pads.

use std::path::Path;
use std::sync::Arc;

use audiodiff::error::counted;
use egui::accesskit::Role;
use egui::{
    Align2, Button, CursorIcon, DragAndDrop, Pos2, Rect, RichText, Sense, Stroke, Ui, Vec2,
    WidgetInfo, vec2,
};

use super::Window;
use super::bubble::Bubble;
use super::carry::Carried;
use super::files::{Picking, Purpose};
use super::look::{Look, NEAR, ROUND, ROW, Room, plain, row};
use super::morph::Between;
use super::pads::spoken;
use super::stage::Stage;
use crate::explore::map::Origin;
use crate::explore::{Map, MapPoint, MapView};
use crate::pad::PADS;
use crate::stored::StoredSound;

/// How near the pointer must come to a sound, points.
const REACH: f32 = 14.0;

/// How many sounds are shown as alike.
const ALIKE: usize = 6;

/// The part of the map that is seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// What is in the middle, 0 to 1 both ways.
    middle: [f32; 2],
    /// How many times larger than the whole.
    zoom: f32,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            middle: [0.5, 0.5],
            zoom: 1.0,
        }
    }
}

impl Seen {
    /// Where a place of the map lies in `rect`.
    fn pos(self, rect: Rect, at: [f32; 2]) -> Pos2 {
        let away = vec2(at[0] - self.middle[0], at[1] - self.middle[1]);
        rect.center() + away * self.zoom * rect.size()
    }

    /// What lies at a point.
    fn at(self, rect: Rect, pos: Pos2) -> [f32; 2] {
        let away = (pos - rect.center()) / (self.zoom * rect.size());
        [self.middle[0] + away.x, self.middle[1] + away.y]
    }

    fn moved(mut self, rect: Rect, by: Vec2) -> Self {
        let by = by / (self.zoom * rect.size());
        self.middle[0] -= by.x;
        self.middle[1] -= by.y;
        self.within()
    }

    /// Zooms; what lies at `pos` stays there.
    fn zoomed(mut self, rect: Rect, factor: f32, pos: Pos2) -> Self {
        let before = self.at(rect, pos);
        self.zoom = (self.zoom * factor).clamp(1.0, 12.0);
        let after = self.at(rect, pos);
        self.middle = [0, 1].map(|i| self.middle[i] + before[i] - after[i]);
        self.within()
    }

    /// Nothing beyond the map's ends is shown.
    fn within(mut self) -> Self {
        let half = 0.5 / self.zoom;
        self.middle = self.middle.map(|x| x.clamp(half, 1.0 - half));
        self
    }
}

/// What is chosen on the map.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    sound: Option<Arc<StoredSound>>,
    /// The file that it is the beginning of.
    file: Option<Arc<Path>>,
    /// Whether a drag moves the map, not a sound.
    moves: bool,
}

impl Window {
    /// All sounds of the map.
    pub(super) fn map(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let mut room = Room(rect);
        let below = room.bottom(ROW, NEAR);
        let legend = room.bottom(14.0, NEAR);
        let canvas = room.0;
        ui.painter().rect_filled(canvas, ROUND, look.panel);
        let map = self.status.model().map(|model| self.store.open_map(&model));
        let map = match map {
            Some(Ok(map)) => map,
            Some(Err(error)) => {
                self.news = Some((format!("no map: {error}"), true));
                return;
            }
            None => {
                let at = canvas.center();
                let text = "The model is being opened";
                ui.painter()
                    .text(at, Align2::CENTER_CENTER, text, plain(13.0), look.faint);
                return;
            }
        };
        let view = map.view();
        self.points(ui, canvas, &map, &view);
        self.legend(ui, legend, &view);
        self.map_buttons(ui, below, &view);
    }

    fn points(&mut self, ui: &mut Ui, rect: Rect, map: &Map, view: &MapView) {
        let look = Look::here(ui);
        let id = ui.scope_id().with("map");
        let response = ui.interact(rect, id, Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, "Map of sounds"));
        let inner = rect.shrink(16.0);
        if let Some(pos) = response.hover_pos() {
            let wheel = ui.input(|input| input.smooth_scroll_delta.y);
            if wheel != 0.0 {
                self.seen = self.seen.zoomed(inner, (wheel / 150.0).exp2(), pos);
            }
        }
        let under = response.hover_pos().and_then(|pos| {
            let index = view.nearest(self.seen.at(inner, pos))?;
            let at = self.seen.pos(inner, view.points[index].at);
            (at.distance(pos) < REACH).then_some(index)
        });
        if response.drag_started() {
            self.chosen.moves = under.is_none();
            if let Some(index) = under {
                self.chosen.sound = Some(view.points[index].sound.clone());
                self.chosen.file = file_of(&view.points[index]);
            }
        }
        if response.dragged() {
            match &self.chosen.sound {
                Some(sound) if !self.chosen.moves => {
                    let (sound, file) = (sound.clone(), self.chosen.file.clone());
                    let carried = Carried {
                        sound,
                        from: None,
                        file,
                    };
                    DragAndDrop::set_payload(ui.ctx(), carried);
                }
                _ => self.seen = self.seen.moved(inner, response.drag_delta()),
            }
        }
        if response.double_clicked()
            && let Some(index) = under
        {
            let point = &view.points[index];
            match file_of(point) {
                Some(file) => {
                    let at = self.seen.pos(inner, point.at);
                    self.put_file(&file, self.selected_pad(), at);
                }
                None => self.take(self.selected_pad(), &point.sound),
            }
        } else if response.clicked() {
            let sound = under.map(|index| view.points[index].sound.clone());
            let between = ui.input(|input| input.modifiers.shift);
            match (self.chosen.sound.take(), sound) {
                (Some(from), Some(to)) if between => {
                    self.show(Stage::Morph);
                    self.between = Between::Sounds([from, to]);
                }
                (_, sound) => self.chosen.sound = sound,
            }
        }
        let painter = ui.painter_at(rect);
        self.draw_alike(ui, &painter, inner, map, view);
        for (index, point) in view.points.iter().enumerate() {
            let at = self.seen.pos(inner, point.at);
            let color = look.class(point.class.as_deref());
            let radius = if Some(index) == under { 7.0 } else { 4.0 };
            match point.origin {
                Origin::Made => {
                    painter.circle_filled(at, radius, color);
                }
                Origin::File(_) => {
                    painter.circle_stroke(at, radius - 0.75, Stroke::new(1.75, color));
                }
            }
        }
        for pad in 0..PADS {
            let place = self.project.sound(pad).and_then(|sound| map.locate(sound));
            if let Some(place) = place {
                let at = self.seen.pos(inner, place);
                let is_selected = pad == self.selected_pad();
                let color = if is_selected { look.accent } else { look.ink };
                painter.circle(
                    at,
                    8.0,
                    look.back.gamma_multiply(0.85),
                    Stroke::new(1.5, color),
                );
                let text = format!("{}", pad + 1);
                painter.text(at, Align2::CENTER_CENTER, text, plain(9.5), color);
            }
        }
        let heard = under.map(|index| view.points[index].sound.clone());
        if let Some((index, sound)) = under.zip(heard.as_ref()) {
            self.draw_heard(ui, &painter, inner, (index, sound), view);
            response.on_hover_cursor(CursorIcon::Grab);
        }
        if ui.ctx().dragged_id().is_none() {
            self.heard.set(&self.store, heard.as_ref());
        }
    }

    /// Lines from what is chosen to what is most like it.
    fn draw_alike(&self, ui: &Ui, painter: &egui::Painter, rect: Rect, map: &Map, view: &MapView) {
        let look = Look::here(ui);
        let Some(sound) = &self.chosen.sound else {
            return;
        };
        let (Some(place), Some(alike)) = (map.locate(sound), map.alike(sound, ALIKE)) else {
            return;
        };
        let from = self.seen.pos(rect, place);
        for index in alike {
            let to = self.seen.pos(rect, view.points[index].at);
            painter.line_segment([from, to], Stroke::new(1.0, look.faint));
            painter.circle_stroke(to, 7.0, Stroke::new(1.0, look.faint));
        }
        painter.circle_stroke(from, 9.0, Stroke::new(2.0, look.accent));
    }

    /// The sound under the pointer, large, with its name.
    fn draw_heard(
        &mut self,
        ui: &Ui,
        painter: &egui::Painter,
        rect: Rect,
        (index, sound): (usize, &Arc<StoredSound>),
        view: &MapView,
    ) {
        let look = Look::here(ui);
        let point = &view.points[index];
        let at = self.seen.pos(rect, point.at);
        let radius = 30.0;
        let side = if at.x > rect.center().x { -1.0 } else { 1.0 };
        let middle = at + vec2(side * (radius + 14.0), 0.0);
        let middle = middle.clamp(
            rect.min + Vec2::splat(radius),
            rect.max - Vec2::splat(radius),
        );
        let bubble = Bubble {
            at: middle,
            radius,
            color: look.class(point.class.as_deref()),
            rays: Some(self.bubbles.rays(sound)),
            done: 1.0,
            lit: true,
            heard: self.display.audition_playhead(),
        };
        bubble.draw(painter, look);
        let below = middle + vec2(0.0, radius + 4.0);
        let name = spoken(&point.name);
        painter.text(below, Align2::CENTER_TOP, name, plain(11.0), look.ink);
    }

    /// The colours of the classes.
    fn legend(&self, ui: &Ui, rect: Rect, view: &MapView) {
        let look = Look::here(ui);
        let mut classes: Vec<&str> = view
            .points
            .iter()
            .filter_map(|it| it.class.as_deref())
            .collect();
        classes.sort_unstable();
        classes.dedup();
        let mut x = rect.left() + 4.0;
        for class in classes {
            let at = egui::pos2(x, rect.center().y);
            let text = spoken(class);
            let galley = ui.painter().layout_no_wrap(text, plain(9.5), look.faint);
            if x + galley.size().x + 12.0 > rect.right() {
                break;
            }
            ui.painter().circle_filled(at, 3.0, look.class(Some(class)));
            let to = at + vec2(6.0, -galley.size().y / 2.0);
            x += galley.size().x + 16.0;
            ui.painter().galley(to, galley, look.faint);
        }
    }

    fn map_buttons(&mut self, ui: &mut Ui, rect: Rect, view: &MapView) {
        let look = Look::here(ui);
        row(ui, rect, "map's buttons", |ui| {
            let idle = self.picking.is_none();
            let folder = ui.add_enabled(idle, Button::new("Add a folder…"));
            if folder
                .on_hover_text("Sounds of yours, beside those of the model")
                .clicked()
            {
                self.picking = Some(Picking::begin(Purpose::MapFolder, ""));
            }
            let sound = self.project.sound(self.selected_pad()).cloned();
            let alike = ui.add_enabled(sound.is_some(), Button::new("Like this pad"));
            if alike
                .on_hover_text("Shows what is most like the selected pad's sound")
                .clicked()
            {
                self.chosen.sound = sound;
            }
            let (made, all) = view.made;
            let left_out: usize = view.folders.iter().map(|it| it.bad + it.left_out).sum();
            let text = match (&view.trouble, made < all) {
                (Some(trouble), _) => trouble.clone(),
                (None, true) => format!("{made} of {all} made"),
                (None, false) if left_out > 0 => format!("{} left out", counted(left_out, "file")),
                (None, false) => "Double-click takes, Shift-click morphs".to_owned(),
            };
            let told = ui.add(egui::Label::new(RichText::new(text).color(look.faint)).truncate());
            let reasons: Vec<&str> = view
                .folders
                .iter()
                .flat_map(|it| &it.reasons)
                .map(String::as_str)
                .collect();
            if !reasons.is_empty() {
                told.on_hover_text(reasons.join("\n"));
            }
        });
    }
}

/// The file whose beginning a point is.
fn file_of(point: &MapPoint) -> Option<Arc<Path>> {
    match &point.origin {
        Origin::File(path) => Some(path.clone()),
        Origin::Made => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zoom_keeps_what_is_under_the_pointer_and_shows_no_end_of_the_world() {
        let rect = Rect::from_min_size(Pos2::new(10.0, 20.0), Vec2::new(400.0, 300.0));
        let pos = Pos2::new(110.0, 120.0);
        let seen = Seen::default();
        let before = seen.at(rect, pos);
        let near = seen.zoomed(rect, 3.0, pos);
        let after = near.at(rect, pos);
        assert!((0..2).all(|i| (before[i] - after[i]).abs() < 1e-5));
        assert!(near.pos(rect, after).distance(pos) < 1e-3);
        let far = near.moved(rect, Vec2::new(1e6, -1e6));
        assert_eq!(far.middle, [0.5 / 3.0, 1.0 - 0.5 / 3.0]);
        let whole = far.zoomed(rect, 1e-6, pos);
        assert_eq!((whole.middle, whole.zoom), ([0.5, 0.5], 1.0));
    }
}
