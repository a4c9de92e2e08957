//! The rows above and below all else: the model, undo, the level, preferences; progress and trouble.

use egui::containers::menu::MenuButton;
use egui::{
    Align2, Button, Label, Popup, Pos2, Rect, RichText, Sense, Shape, Stroke, Ui, Vec2, pos2,
};
use nice_plug::prelude::*;

use super::Window;
use super::files::{Picking, Purpose, file_name};
use super::icon::{Icon, below, icon_button};
use super::knob::{Editing, Format};
use super::look::{GAP, Look, NEAR, Room, Theme, heavy, plain, row, row_from_right};
use crate::display::Learns;
use crate::pad::PADS;
use crate::settings::{SCALES, cores};
use crate::undo::Direction;

/// How fast the meter falls, dB a second.
const FALL_DB: f32 = 28.0;

/// How long the meter holds a peak, seconds.
const PEAK_HOLD: f64 = 1.5;

/// The levels that the meter shows, dB.
const METER_DB: [f32; 2] = [-54.0, 6.0];

/// What the meter shows of one channel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level {
    /// The level, which falls slowly.
    pub now: f32,
    /// The highest one of late, and when that was, seconds.
    peak: (f32, f64),
}

impl Level {
    /// Takes the highest level of the last `seconds`.
    pub fn take(&mut self, level: f32, now: f64, seconds: f32) {
        self.now = level.max(self.now * util::db_to_gain(-FALL_DB * seconds));
        if level >= self.peak.0 || now - self.peak.1 > PEAK_HOLD {
            self.peak = (self.now, now);
        }
    }
}

impl Window {
    /// The row above all else.
    pub(super) fn head(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        let look = Look::here(ui);
        let mut room = Room(rect);
        let name = room.left(146.0, GAP);
        logo(ui, name);
        let meter = room.right(168.0, GAP);
        self.meter(ui, meter);
        let gain = room.right(50.0, NEAR);
        let tip = ("Gain", "The level of the whole instrument");
        edit.knob(ui, gain, &self.params.gain, tip, Format::FROM_LEFT, None);
        row_from_right(ui, room.0, "head", |ui| {
            self.preferences(ui);
            let (back, forth) = self.store.can_undo();
            let redo = ui.add_enabled(forth, Button::new("Redo"));
            if redo.on_hover_text("Ctrl-Shift-Z").clicked() {
                edit.undo(Direction::Forth);
            }
            let undo = ui.add_enabled(back, Button::new("Undo"));
            if undo.on_hover_text("Ctrl-Z").clicked() {
                edit.undo(Direction::Back);
            }
            let mut rest = Room(ui.available_rect_before_wrap());
            let kits = rest.right(0.62 * rest.0.width(), GAP);
            self.kit_bar(ui, kits, edit);
            row(ui, rest.0, "model", |ui| {
                ui.label(RichText::new("Model").color(look.faint));
                self.model_menu(ui);
            });
        });
    }

    /// Chooses the model that makes the sounds.
    fn model_menu(&mut self, ui: &mut Ui) {
        let look = Look::here(ui);
        let chosen = self.project.model.clone();
        let model = self.status.model();
        let name = match (&model, &chosen) {
            (Some(model), _) => plain_name(&model.name).to_owned(),
            (None, Some(path)) => format!("{} (not open)", file_name(path)),
            (None, None) => "opening…".to_owned(),
        };
        let button = Button::new(format!("{name}      ")).truncate();
        let (response, _) = MenuButton::from_button(button).ui(ui, |ui| {
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
            if ui.button("Learn a folder of yours…").clicked() {
                self.lessons.open = true;
                ui.close();
            }
        });
        below(ui, &response);
        let learning = self.learner.view().filter(|view| !view.state.is_over());
        if let Some(view) = learning {
            // How far it is, below the name.
            let mut bar = response.rect.with_min_y(response.rect.bottom() - 3.0);
            bar.set_width(bar.width() * view.progress.clamp(0.02, 1.0));
            ui.painter().rect_filled(bar, 1, look.accent);
        }
        let full = model.map_or(name, |model| model.name.clone());
        response.on_hover_text(format!("The model that makes the sounds: {full}"));
    }

    /// What belongs to this machine, not to the project.
    fn preferences(&mut self, ui: &mut Ui) {
        let button = icon_button(ui, Icon::Preferences, true, false, "Preferences");
        Popup::menu(&button).show(|ui| {
            ui.horizontal(|ui| {
                ui.label("Look");
                for (theme, name) in [(Theme::Dark, "Dark"), (Theme::Light, "Light")] {
                    if ui
                        .selectable_label(self.settings.theme == theme, name)
                        .clicked()
                    {
                        self.prefer(|settings| settings.theme = theme);
                        Look::of(theme).apply(ui.ctx());
                    }
                }
            });
            ui.horizontal(|ui| {
                ui.label("Size");
                for scale in SCALES {
                    let text = format!("{:.0} %", 100.0 * scale);
                    if ui
                        .selectable_label(self.settings.scale == scale, text)
                        .clicked()
                    {
                        self.prefer(|settings| settings.scale = scale);
                        ui.ctx().set_zoom_factor(scale);
                    }
                }
            });
            ui.horizontal(|ui| {
                ui.label("Sounds are made on");
                let mut threads = self.settings.threads();
                let most = cores();
                let value = egui::DragValue::new(&mut threads)
                    .range(1..=most)
                    .suffix(format!(" of {most} cores"));
                if ui.add(value).changed() {
                    self.prefer(|settings| settings.threads = Some(threads));
                }
            });
        });
    }

    /// The level of both channels, with a scale, the highest of late, and a light for what was too loud.
    fn meter(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let response = ui.interact(rect, ui.scope_id().with("meter"), Sense::click());
        let peaks = self.display.take_peaks();
        let (now, seconds) = ui.input(|input| (input.time, input.unstable_dt));
        for (level, peak) in self.levels.iter_mut().zip(peaks) {
            level.take(peak, now, seconds);
            self.over |= peak > 1.0;
        }
        if response.clicked() {
            self.over = false;
        }
        response
            .on_hover_text("Red where the sum was above full scale; a click puts the light out");
        let mut room = Room(rect.shrink2(Vec2::new(0.0, 5.0)));
        let light = room.right(12.0, 4.0);
        let scale = room.bottom(11.0, 1.0);
        let x_of = |db: f32| {
            let share = (db - METER_DB[0]) / (METER_DB[1] - METER_DB[0]);
            room.0.left() + room.0.width() * share.clamp(0.0, 1.0)
        };
        let painter = ui.painter();
        let height = (room.0.height() - 3.0) / 2.0;
        for (i, level) in self.levels.iter().enumerate() {
            let top = room.0.top() + i as f32 * (height + 3.0);
            let bar =
                Rect::from_min_size(pos2(room.0.left(), top), Vec2::new(room.0.width(), height));
            painter.rect_filled(bar, 2, look.raised);
            let db = |level: f32| util::gain_to_db(level);
            painter.rect_filled(bar.with_max_x(x_of(db(level.now))), 2, look.level);
            if db(level.now) > -6.0 {
                let loud = bar.with_min_x(x_of(-6.0)).with_max_x(x_of(db(level.now)));
                painter.rect_filled(loud, 2, look.accent);
            }
            if db(level.peak.0) > METER_DB[0] {
                let x = x_of(db(level.peak.0));
                painter.vline(x, bar.y_range(), Stroke::new(1.5, look.ink));
            }
        }
        for db in [-48.0, -36.0, -24.0, -12.0, -6.0, 0.0] {
            let at = pos2(x_of(db), scale.center().y);
            painter.vline(
                at.x,
                room.0.y_range(),
                Stroke::new(1.0, look.back.gamma_multiply(0.5)),
            );
            let text = format!("{db:.0}").replace('-', "\u{2212}");
            painter.text(at, Align2::CENTER_CENTER, text, plain(9.0), look.faint);
        }
        let light = light.with_max_y(room.0.bottom());
        let color = if self.over { look.trouble } else { look.raised };
        painter.rect_filled(light, 3, color);
    }

    /// The row below all else: the generator's progress, or its trouble.
    pub(super) fn foot(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let (text, color) = self.message(look);
        let mut room = Room(rect);
        let width = if self.standalone.is_some() {
            380.0
        } else {
            110.0
        };
        let desk = room.right(width, GAP);
        row_from_right(ui, desk, "desk", |ui| self.desk(ui));
        row(ui, room.0, "foot", |ui| {
            let text = RichText::new(text).color(color).size(11.5);
            ui.add(Label::new(text).truncate());
        });
    }

    /// What there is to say.
    fn message(&self, look: Look) -> (String, egui::Color32) {
        if let Some(learns) = self.display.learning() {
            let text = match learns {
                Learns::Key(pad) => format!("Play the key that pad {} is to have", pad + 1),
                Learns::Controller(knob) => {
                    let param = self.params.knobs().nth(knob);
                    let name = param.map_or("it", |param| param.name());
                    format!("Turn what is to turn {name} on your MIDI device")
                }
            };
            return (format!("{text}; Escape gives it up"), look.accent);
        }
        let waiting = (0..PADS).filter(|&pad| self.store.is_pending(pad)).count();
        match (self.status.trouble(), self.store.next()) {
            (_, Some(request)) if self.status.model().is_none() => (
                format!("Opening the model for pad {}", request.pad + 1),
                look.faint,
            ),
            (_, Some(request)) => {
                let pad = request.pad;
                let done = 100.0 * self.status.done(pad);
                let mut text = format!("Making pad {}: {done:.0} %", pad + 1);
                if let Some(left) = self.status.left(pad) {
                    text += &format!(", {:.1} s left", left.as_secs_f32());
                }
                if waiting > 1 {
                    text += &format!(", {} more to make", waiting - 1);
                }
                (text, look.faint)
            }
            (Some(trouble), None) => (for_people(&trouble), look.trouble),
            (None, None) => match &self.news {
                Some((news, true)) => (for_people(news), look.trouble),
                Some((news, false)) => (for_people(news), look.faint),
                None => {
                    let later =
                        "A later version has saved this project; what it added is kept as it is";
                    let later = self.project.is_of_later_version().then(|| later.to_owned());
                    let notice = self.status.notice().or(later);
                    (
                        for_people(&notice.unwrap_or_else(|| "Ready".to_owned())),
                        look.faint,
                    )
                }
            },
        }
    }
}

/// A sentence as people begin and end it: a capital, and no number of the operating system's error.
pub(super) fn for_people(sentence: &str) -> String {
    let plain = match sentence.split_once(" (os error ") {
        Some((before, after)) => {
            let after = after.split_once(')').map_or("", |(_, after)| after);
            format!("{before}{after}")
        }
        None => sentence.to_owned(),
    };
    // A path or a name stays as it is.
    let first = plain.split_whitespace().next().unwrap_or_default();
    if !first.chars().all(|c| c.is_ascii_lowercase() || c == ',') {
        return plain;
    }
    let mut letters = plain.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// A model's name without its fingerprint.
fn plain_name(name: &str) -> &str {
    match name.rsplit_once(' ') {
        Some((name, print)) if print.len() == 8 && print.chars().all(|c| c.is_ascii_hexdigit()) => {
            name
        }
        _ => name,
    }
}

/// The name of the instrument, and noise that becomes a wave.
fn logo(ui: &Ui, rect: Rect) {
    let look = Look::here(ui);
    let painter = ui.painter();
    let sign = Rect::from_min_size(rect.min, Vec2::new(44.0, rect.height()));
    let middle = sign.center().y;
    let dots = 26;
    for i in 0..dots {
        let t = i as f32 / (dots - 1) as f32;
        let x = sign.left() + t * sign.width();
        let wave = (t * 2.2 * std::f32::consts::TAU).sin() * 7.0;
        // A fixed scatter, which the wave grows out of.
        let noise = ((i * 37 % 23) as f32 / 11.0 - 1.0) * 13.0;
        let y = middle + wave * t + noise * (1.0 - t).powi(2);
        let color = look.faint.lerp_to_gamma(look.accent, t);
        painter.circle_filled(Pos2::new(x, y), 1.0 + 0.9 * t, color);
    }
    let wave = (13..=52).map(|i| {
        let t = i as f32 / 52.0;
        let y = middle + (t * 2.2 * std::f32::consts::TAU).sin() * 7.0 * t;
        pos2(sign.left() + t * sign.width(), y)
    });
    let stroke = Stroke::new(1.5, look.accent.gamma_multiply(0.6));
    painter.add(Shape::line(wave.collect(), stroke));
    let at = pos2(sign.right() + 8.0, middle);
    painter.text(at, Align2::LEFT_CENTER, "audiodiff", heavy(18.0), look.ink);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_sentence_without_the_systems_numbers() {
        for (told, shown) in [
            ("ready", "Ready"),
            (
                "/a/b.wav: No such file or directory (os error 2)",
                "/a/b.wav: No such file or directory",
            ),
            (
                "no dialog for files came: install zenity",
                "No dialog for files came: install zenity",
            ),
            ("kick.wav is varied", "kick.wav is varied"),
            ("", ""),
        ] {
            assert_eq!(for_people(told), shown);
        }
        assert_eq!(plain_name("drums f33beeba"), "drums");
        assert_eq!(plain_name("My model"), "My model");
    }

    #[test]
    fn a_meter_falls_slowly_and_holds_its_peak() {
        let mut level = Level::default();
        level.take(0.5, 0.0, 0.04);
        level.take(0.0, 0.5, 0.5);
        assert!((util::gain_to_db(level.now / 0.5) + 14.0).abs() < 0.01);
        assert_eq!(level.peak.0, 0.5);
        level.take(0.0, 1.6, 1.1);
        assert!(level.peak.0 < 0.05 && level.peak.0 == level.now);
    }
}
