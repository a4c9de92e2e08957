//! Files that come into the window and go out of it: dropped on pads, dragged to other programs, copied.

// Elsewhere nothing is dropped or dragged.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use audiodiff::audio;
use audiodiff::{Error, Result};
use egui::{Area, DragAndDrop, Id, Order, Pos2, Rect, Ui, pos2};

use super::Window;
use super::carry::{Carried, target};
use super::files::{export_name, file_name};
use super::knob::Editing;
use super::look::Look;
use super::stage::Stage;
#[cfg(target_os = "linux")]
use crate::desktop::{Desktop, Event};
use crate::kits::{EXTENSION, Place};
use crate::pad::PADS;
use crate::requests::Task;
use crate::stored::{MAX_STORED_SECONDS, SoundRecipe, StoredSound};
use crate::tray;

/// The endings of models.
const MODELS: [&str; 3] = ["safetensors", "ckpt", "bin"];

/// What is exchanged with the rest of the desktop.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// None where the system gives the window no drops.
    #[cfg(target_os = "linux")]
    pub desktop: Option<Desktop>,
    /// Where files are dragged over the window.
    over: Option<Pos2>,
    /// Sounds that were dropped and wait for what is to become of them.
    pub waiting: Option<Waiting>,
}

/// Sounds for pads.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub paths: Vec<PathBuf>,
    /// The pad of the first; the others follow.
    pub pad: usize,
    pub at: Pos2,
}

/// What becomes of a sound from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// It is played as it is.
    Itself,
    /// It is varied.
    Variation,
    /// A part of it is played, which is cut out by hand.
    Piece,
}

impl Window {
    /// Takes what other programs drop, and hands over what leaves the window.
    pub(super) fn traffic(&mut self, ui: &Ui, edit: &Editing<'_>) {
        self.hand_over(ui);
        #[cfg(target_os = "linux")]
        {
            let scale = ui.pixels_per_point();
            while let Some(event) = self.traffic.desktop.as_mut().and_then(|it| it.poll(scale)) {
                match event {
                    Event::Over([x, y]) => self.traffic.over = Some(pos2(x, y)),
                    Event::Left => self.traffic.over = None,
                    Event::Dropped { paths, at: [x, y] } => {
                        self.traffic.over = None;
                        self.dropped(paths, pos2(x, y), edit);
                    }
                    Event::Refused(why) => self.news = Some((why, true)),
                    Event::Dragging { .. } => {}
                    Event::Dragged { taken: true } => {
                        self.news = Some(("handed over".to_owned(), false));
                    }
                    Event::Dragged { taken: false } => {}
                }
            }
        }
        if let Some(at) = self.traffic.over {
            let look = Look::here(ui);
            let under = self.places.iter().find(|rect| rect.contains(at));
            if let Some(rect) = under {
                target(ui, *rect, look);
            }
        }
        self.ask_what_becomes(ui, edit);
    }

    /// A sound that is carried out of the window goes on as a file.
    fn hand_over(&mut self, ui: &Ui) {
        #[cfg(target_os = "linux")]
        {
            let carried = DragAndDrop::payload::<Carried>(ui.ctx());
            let at = ui.ctx().pointer_latest_pos();
            let (Some(carried), Some(at)) = (carried, at) else {
                return;
            };
            if ui.max_rect().contains(at) || self.traffic.desktop.is_none() {
                return;
            }
            DragAndDrop::clear_payload(ui.ctx());
            let file = self.as_file(&carried.sound, carried.from);
            let dragged = file.and_then(|path| {
                let desktop = self.traffic.desktop.as_mut();
                desktop.map_or(Ok(()), |it| it.drag(&[path]).map_err(Error::setting))
            });
            self.tell(dragged);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = ui;
    }

    /// The file of a sound for other programs.
    fn as_file(&self, sound: &Arc<StoredSound>, pad: Option<usize>) -> Result<PathBuf> {
        let name = match pad.and_then(|pad| self.project.settings[pad].name.clone()) {
            Some(name) => crate::kits::file_name(&name),
            None => file_name(&Path::new(&export_name(sound.recipe())).with_extension("")),
        };
        tray::file(sound, &name)
    }

    /// Copies a sound as a file, for a file manager or a host to paste; where the system has no such thing, its path.
    pub(super) fn copy_as_file(&mut self, ui: &Ui, sound: &Arc<StoredSound>, pad: usize) {
        let copied = self.as_file(sound, Some(pad)).map(|path| {
            let text = path.display().to_string();
            #[cfg(target_os = "linux")]
            let copied = match &mut self.traffic.desktop {
                Some(desktop) => desktop.copy(&[path]).is_ok(),
                None => false,
            };
            #[cfg(not(target_os = "linux"))]
            let copied = false;
            if !copied {
                ui.ctx().copy_text(text.clone());
            }
            text
        });
        self.say(copied.map(|path| format!("copied: {path}")));
    }

    /// A file is to come to a pad: asks what is to become of it.
    pub(super) fn put_file(&mut self, file: &Path, pad: usize, at: Pos2) {
        self.traffic.waiting = Some(Waiting {
            paths: vec![file.to_owned()],
            pad,
            at,
        });
    }

    /// Files were dropped at a place.
    fn dropped(&mut self, paths: Vec<PathBuf>, at: Pos2, edit: &Editing<'_>) {
        let Some(first) = paths.first().cloned() else {
            return;
        };
        let ending = first
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let told = if first.is_dir() {
            match (self.stage, self.store.map()) {
                (Stage::Map, Some(map)) if self.stage_rect.contains(at) => {
                    map.add_folder(first.clone());
                    Ok(format!("{} is read for the map", first.display()))
                }
                _ => self.learn(&first),
            }
        } else if ending == EXTENSION {
            self.open_kit(&Place::File(first), edit)
        } else if MODELS.contains(&ending.as_str()) {
            self.use_model(Some(first.clone()));
            self.prefer(|settings| settings.remember(&first));
            Ok(format!(
                "sounds are made by {} from now on",
                first.display()
            ))
        } else {
            let pad = self.places.iter().position(|rect| rect.contains(at));
            let pad = pad.unwrap_or(self.selected_pad());
            self.traffic.waiting = Some(Waiting { paths, pad, at });
            return;
        };
        self.say(told);
    }

    /// Asks what is to become of sounds that were dropped.
    fn ask_what_becomes(&mut self, ui: &Ui, edit: &Editing<'_>) {
        let Some(waiting) = self.traffic.waiting.clone() else {
            return;
        };
        let mut chosen = None;
        let mut left = false;
        let area = Area::new(Id::unique("what becomes"))
            .order(Order::Foreground)
            .constrain(true)
            .fixed_pos(waiting.at);
        let shown = area.show(ui.ctx(), |ui| {
            egui::Frame::popup(ui.style()).show(ui, |ui| {
                let name = waiting
                    .paths
                    .first()
                    .map_or_else(String::new, |path| file_name(path));
                let text = match waiting.paths.len() {
                    1 => format!("{name} on pad {}", waiting.pad + 1),
                    n => format!("{n} files from pad {} on", waiting.pad + 1),
                };
                ui.strong(text);
                for (becomes, text, tip) in [
                    (Becomes::Itself, "As it is", "The sound itself"),
                    (
                        Becomes::Variation,
                        "Vary it",
                        "Another one like it, made by the model",
                    ),
                    (
                        Becomes::Piece,
                        "Choose a piece",
                        "A part of it, between the handles of its wave",
                    ),
                ] {
                    if ui.button(text).on_hover_text(tip).clicked() {
                        chosen = Some(becomes);
                    }
                }
                left = ui.button("Leave it").clicked();
            });
        });
        let elsewhere = ui.input(|input| input.pointer.any_pressed())
            && !ui
                .ctx()
                .pointer_latest_pos()
                .is_some_and(|at| shown.response.rect.contains(at));
        if let Some(becomes) = chosen {
            self.traffic.waiting = None;
            let taken = self.take_files(&waiting, becomes, edit);
            self.say(taken);
        } else if left || elsewhere || ui.input(|input| input.key_pressed(egui::Key::Escape)) {
            self.traffic.waiting = None;
        }
    }

    /// Puts sounds from files on pads, one after another.
    fn take_files(
        &mut self,
        waiting: &Waiting,
        becomes: Becomes,
        edit: &Editing<'_>,
    ) -> Result<String> {
        let mut news = String::new();
        let pads = waiting.pad..PADS;
        for (pad, path) in pads.zip(&waiting.paths) {
            let decoded = audio::decode(path, Some(MAX_STORED_SECONDS as f64))?;
            let making = &self.project.settings[pad].making;
            let sound = StoredSound::new(SoundRecipe::of_file(path), &decoded.clip)
                .asked(edit.params.pads[pad].asked(making, None))
                .measured();
            self.store.put(pad, sound)?;
            self.store.view(|project| project.selected = pad);
            if becomes == Becomes::Variation {
                self.store.ask(pad, Task::Vary);
            }
            let name = file_name(path);
            news += &match becomes {
                Becomes::Itself => format!("{name} is on pad {}", pad + 1),
                Becomes::Variation => {
                    format!(
                        "{name} is varied on pad {}; the sound before is the file's",
                        pad + 1
                    )
                }
                Becomes::Piece => format!("{name}: drag the ends of its wave, and cut"),
            };
            if decoded.seconds > decoded.clip.seconds() && decoded.lost.is_empty() {
                news += &format!("; its first {MAX_STORED_SECONDS} s are");
            }
            for remark in decoded.lost.iter().chain(&decoded.mended) {
                news += &format!("; {remark}");
            }
            news += "; ";
        }
        let over = waiting.paths.len().saturating_sub(PADS - waiting.pad);
        if over > 0 {
            news += &format!("{over} more had no pad");
        }
        Ok(news.trim_end_matches("; ").to_owned())
    }

    /// Leaves of the selected pad's sound what lies between its handles.
    pub(super) fn cut(&mut self, pad: usize, edit: &Editing<'_>) {
        let Some(sound) = self.project.sound(pad) else {
            return;
        };
        let playing = self.project.settings[pad].playing;
        let start = &edit.params.pads[pad].start;
        use nice_plug::params::Param;
        let mut part = [start.unmodulated_normalized_value(), playing.end];
        if playing.reverse {
            part = [1.0 - part[1], 1.0 - part[0]];
        }
        let clip = sound.clip();
        let frames = part.map(|at| (f64::from(at) * clip.len_frames() as f64).round() as usize);
        let piece = clip.slice(frames[0], frames[1].saturating_sub(frames[0]).max(1));
        let making = &self.project.settings[pad].making;
        let piece = StoredSound::new(sound.recipe().clone(), &piece)
            .asked(edit.params.pads[pad].asked(making, None))
            .measured();
        let put = self.store.put(pad, piece);
        if put.is_ok() {
            edit.edit(|project| project.settings[pad].playing.end = 1.0);
            edit.hold(&[start], true);
            edit.turn(start, 0.0);
            edit.hold(&[start], false);
        }
        self.tell(put);
    }
}

/// The places of all pads, as they were last drawn.
pub(super) type Places = [Rect; PADS];
