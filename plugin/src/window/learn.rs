//! Learning in the window: a folder of the user's sounds becomes a model, while one plays on.

use std::path::Path;
use std::sync::Arc;

use audiodiff::Result;
use audiodiff::error::counted;
use egui::accesskit::Role;
use egui::{
    Button, Id, ProgressBar, Rect, RichText, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, pos2,
};

use super::Window;
use super::bubble::Bubble;
use super::carry::Carried;
use super::files::{Picking, Purpose, file_name};
use super::head::for_people;
use super::look::{Look, NEAR, ROUND, Room};
use crate::learn::{Learning, LearningOptions, LearningState, LearningView, MINUTES};
use crate::stored::StoredSound;

/// What the window shows of learning.
#[derive(Debug)]
pub(super) struct Lessons {
    /// Whether it is shown.
    pub open: bool,
    minutes: f64,
    /// Whether new sounds of the model come to the selected pad.
    on_pad: bool,
    /// How many of them have.
    heard: usize,
}

impl Default for Lessons {
    fn default() -> Self {
        Self {
            open: false,
            minutes: 15.0,
            on_pad: false,
            heard: 0,
        }
    }
}

impl Window {
    /// Begins to learn a folder.
    pub(super) fn learn(&mut self, folder: &Path) -> Result<String> {
        let options = LearningOptions {
            from: self.project.model.clone(),
            ..LearningOptions::default()
        };
        self.learner.begin(folder, self.lessons.minutes, options)?;
        self.lessons.open = true;
        self.lessons.heard = 0;
        Ok(format!("learning {}", folder.display()))
    }

    /// The panel in which a folder is learnt, if it is open.
    pub(super) fn lessons(&mut self, ui: &mut Ui) {
        if !self.lessons.open {
            return;
        }
        let mut open = true;
        egui::Window::new("Learn your sounds")
            .id(Id::unique("learn"))
            .open(&mut open)
            .collapsible(false)
            .resizable(false)
            .default_pos(pos2(150.0, 70.0))
            .show(ui.ctx(), |ui| {
                ui.set_width(380.0);
                match self.learner.view() {
                    Some(view) if !view.state.is_over() => self.lesson(ui, &view),
                    over => {
                        if let Some(view) = over {
                            self.lesson(ui, &view);
                            ui.separator();
                        }
                        self.next_lesson(ui);
                    }
                }
            });
        self.lessons.open = open;
    }

    /// What can be begun, and what was broken off.
    fn next_lesson(&mut self, ui: &mut Ui) {
        let look = Look::here(ui);
        ui.label("A folder of sounds becomes a model of yours: the model that is open learns them, in the background.");
        ui.horizontal(|ui| {
            ui.label(RichText::new("For").color(look.faint));
            for minutes in MINUTES {
                let text = match minutes {
                    ..60.0 => format!("{minutes:.0} min"),
                    _ => format!("{:.0} h", minutes / 60.0),
                };
                let is_chosen = self.lessons.minutes == minutes;
                if ui.selectable_label(is_chosen, text).clicked() {
                    self.lessons.minutes = minutes;
                }
            }
        });
        let idle = self.picking.is_none();
        if ui
            .add_enabled(idle, Button::new("Choose a folder…"))
            .clicked()
        {
            self.picking = Some(Picking::begin(Purpose::Learn, ""));
        }
        let unfinished = ui.ctx().data_mut(|data| {
            // Looked for when the panel opens, not in every frame.
            data.get_temp_mut_or_insert_with(Id::unique("unfinished"), || {
                Arc::new(Learning::unfinished())
            })
            .clone()
        });
        for run in unfinished.iter() {
            ui.horizontal(|ui| {
                let text = format!("{} ({:.0} % done)", run.name, 100.0 * run.progress);
                ui.label(text)
                    .on_hover_text(run.folder.display().to_string());
                if ui.button("Go on").clicked() {
                    let gone_on = self.learner.go_on(run);
                    self.tell(gone_on);
                    ui.ctx().data_mut(|data| {
                        data.remove::<Arc<Vec<crate::learn::Unfinished>>>(Id::unique("unfinished"));
                    });
                }
            });
        }
    }

    /// A learning that goes on, or has ended.
    fn lesson(&mut self, ui: &mut Ui, view: &LearningView) {
        let look = Look::here(ui);
        let name = file_name(&view.folder);
        let state = match &view.state {
            LearningState::Reading { done, all: 0 } => {
                format!("Reading {name}: {}", counted(done, "sound"))
            }
            LearningState::Reading { done, all } => {
                format!("Reading {name}: {done} of {}", counted(all, "sound"))
            }
            LearningState::Learning => match view.time_left {
                Some(left) => format!("Learning {name}: {} left", spoken_time(left.as_secs())),
                None => format!("Learning {name}"),
            },
            LearningState::Paused => format!("{name}: paused"),
            LearningState::Finished => format!("{name} is learnt"),
            LearningState::Stopped => format!("{name}: stopped; it can go on later"),
            LearningState::Failed(why) => for_people(why),
        };
        let color = match view.state {
            LearningState::Failed(_) => look.trouble,
            _ => look.ink,
        };
        ui.label(RichText::new(state).color(color).strong());
        ui.add(
            ProgressBar::new(view.progress)
                .fill(look.accent)
                .desired_height(6.0),
        );
        let mut told = counted(view.sounds, "sound");
        for class in &view.classes {
            told += &format!(
                ", {} {}",
                class.files,
                super::pads::spoken(&class.name).to_lowercase()
            );
        }
        if view.left_out > 0 {
            told += &format!("; {} left out", view.left_out);
        }
        let told = ui.add(egui::Label::new(RichText::new(told).color(look.faint)).truncate());
        if !view.reasons.is_empty() {
            let reasons = view
                .reasons
                .iter()
                .map(|it| format!("{}: {}", it.file.display(), it.reason));
            told.on_hover_text(reasons.collect::<Vec<_>>().join("\n"));
        }
        if view.losses.len() > 1 {
            losses(ui, view);
        }
        self.demos(ui, &view.demos);
        ui.horizontal(|ui| {
            let is_paused = view.state == LearningState::Paused;
            if is_paused && ui.button("Resume").clicked() {
                self.learner.resume();
            }
            let goes_on = !is_paused && !view.state.is_over();
            if goes_on && ui.button("Pause").clicked() {
                self.learner.pause();
            }
            if !view.state.is_over() && ui.button("Stop").clicked() {
                self.learner.cancel();
            }
            if let Some(model) = &view.model {
                let is_used = self.project.model.as_ref() == Some(model);
                let using = ui.add_enabled(!is_used, Button::new("Use it now"));
                if using
                    .on_hover_text("Makes sounds with it from now on")
                    .clicked()
                {
                    self.use_model(Some(model.clone()));
                    self.prefer(|settings| settings.remember(model));
                }
            }
            ui.checkbox(&mut self.lessons.on_pad, "Play it on the selected pad");
        });
        if self.lessons.on_pad && view.demos_made > self.lessons.heard {
            self.lessons.heard = view.demos_made;
            let pad = self.selected_pad();
            let newest = view
                .demos
                .get((view.demos_made.max(1) - 1) % view.demos.len().max(1));
            if let Some(sound) = newest.cloned() {
                self.take(pad, &sound);
            }
        }
    }

    /// Sounds of the model as it is now: heard under the pointer, and carried to pads.
    fn demos(&mut self, ui: &mut Ui, demos: &[Arc<StoredSound>]) {
        if demos.is_empty() {
            return;
        }
        let look = Look::here(ui);
        let (rect, _) = ui.allocate_exact_size(Vec2::new(380.0, 46.0), Sense::hover());
        let mut heard = None;
        for (i, (rect, sound)) in Room(rect).columns(8, NEAR).zip(demos).enumerate() {
            let id = ui.scope_id().with(("demo", i));
            let response = ui.interact(rect, id, Sense::click_and_drag());
            response.widget_info(|| {
                WidgetInfo::labeled(Role::Button, true, format!("Sound {}", i + 1))
            });
            if response.hovered() {
                heard = Some(sound.clone());
            }
            let bubble = Bubble {
                at: rect.center(),
                radius: rect.height() / 2.0 - 1.0,
                color: look.class(sound.recipe().class.as_deref()),
                rays: Some(self.bubbles.rays(sound)),
                done: 1.0,
                lit: response.hovered(),
                heard: None,
            };
            bubble.draw(ui.painter(), look);
            response.dnd_set_drag_payload(Carried {
                sound: sound.clone(),
                from: None,
                file: None,
            });
        }
        if heard.is_some() || self.stage == super::stage::Stage::Pads {
            self.heard.set(&self.store, heard.as_ref());
        }
    }
}

/// How the loss fell, of what is learnt and of what is held back.
fn losses(ui: &mut Ui, view: &LearningView) {
    let look = Look::here(ui);
    let (rect, _) = ui.allocate_exact_size(Vec2::new(380.0, 54.0), Sense::hover());
    ui.painter().rect_filled(rect, ROUND / 2, look.back);
    let inner = rect.shrink(5.0);
    let all = || view.losses.iter().chain(&view.validations);
    let end = all().fold(1e-6, |end: f32, point| end.max(point[0]));
    let low = all().fold(f32::INFINITY, |low: f32, point| low.min(point[1]));
    let high = all().fold(low + 1e-6, |high: f32, point| high.max(point[1]));
    for (points, color) in [(&view.losses, look.faint), (&view.validations, look.accent)] {
        let line = points
            .iter()
            .map(|[x, y]| place(inner, x / end, (y - low) / (high - low)));
        ui.painter()
            .add(Shape::line(line.collect(), Stroke::new(1.5, color)));
    }
}

fn place(rect: Rect, x: f32, y: f32) -> egui::Pos2 {
    pos2(
        rect.left() + x * rect.width(),
        rect.bottom() - y * rect.height(),
    )
}

/// A time as people say it.
fn spoken_time(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_roughly() {
        for (seconds, text) in [
            (5, "5 s"),
            (60, "1 min"),
            (61, "2 min"),
            (7380, "2 h 3 min"),
        ] {
            assert_eq!(spoken_time(seconds), text);
        }
    }
}
