//! The stage: the pads, or what is there to find new sounds with.

use egui::{Button, Rect, RichText, Ui, Vec2};

use super::Window;
use super::icon::below;
use super::knob::{Editing, KNOB};
use super::look::{GAP, NEAR, ROW, Room, row, row_from_right};
use crate::keymap::Preset;
use crate::pad::PADS;

/// What stands on the left of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// The pads.
    #[default]
    Pads,
    /// Variations around the selected pad's sound.
    Ring,
    /// What lies between two pads' sounds.
    Morph,
    /// Hundreds of sounds by likeness.
    Map,
}

/// All stages, with their names and what they are for.
const STAGES: [(Stage, &str, &str); 4] = [
    (Stage::Pads, "Pads", "The sixteen sounds of this kit"),
    (
        Stage::Ring,
        "Ring",
        "Sounds like the selected pad's, from near to far",
    ),
    (Stage::Morph, "Morph", "What lies between two pads' sounds"),
    (
        Stage::Map,
        "Map",
        "Hundreds of sounds, alike ones beside each other",
    ),
];

/// The height of the small pads below a stage that is not theirs.
const STRIP: f32 = 70.0;

impl Window {
    /// The left of the window.
    pub(super) fn stage(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        let mut room = Room(rect);
        let tabs = room.top(ROW, NEAR);
        self.tabs(ui, tabs, edit);
        match self.stage {
            Stage::Pads => {
                let more = (room.0.height() - 500.0).max(0.0);
                let macros = room.bottom(KNOB.y + 0.1 * more, NEAR);
                self.pads(ui, room.0, edit);
                self.macros(ui, macros, edit);
            }
            Stage::Ring | Stage::Morph | Stage::Map => {
                let strip = room.bottom(STRIP, GAP);
                match self.stage {
                    Stage::Ring => self.ring(ui, room.0),
                    Stage::Morph => self.morph(ui, room.0),
                    _ => self.map(ui, room.0),
                }
                self.strip(ui, strip);
            }
        }
    }

    /// Puts something else on the stage.
    pub(super) fn show(&mut self, stage: Stage) {
        self.stage = stage;
        (self.explores, self.morph) = (None, None);
        self.store.ring().close();
        self.store.morphing().close();
        if stage != Stage::Map {
            self.store.close_map();
        }
    }

    /// Which keys play which pads.
    fn key_menu(&self, ui: &mut Ui, edit: &Editing<'_>) {
        let map = self.project.keymap;
        let preset = map.preset();
        let menu = ui.menu_button("Keys of pads      ", |ui| {
            for choice in Preset::ALL {
                let is_chosen = preset.is_some_and(|(preset, _)| preset == choice);
                if ui.radio(is_chosen, choice.name()).clicked() {
                    edit.edit(|project| project.keymap = choice.map());
                }
            }
            if preset.is_none() {
                let _ = ui.radio(true, "Keys of your own");
            }
            ui.horizontal(|ui| {
                for (text, by) in [("An octave lower", -1), ("An octave higher", 1)] {
                    let shifted = map.shifted(by);
                    let button = ui.add_enabled(shifted.is_some(), Button::new(text));
                    if let Some(shifted) = shifted.filter(|_| button.clicked()) {
                        edit.edit(|project| project.keymap = shifted);
                    }
                }
            });
            ui.label("A pad learns its key from the menu of its other mouse button.");
        });
        below(ui, &menu.response);
        menu.response.on_hover_text("Which keys play the pads");
    }

    fn tabs(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        row(ui, rect, "tabs", |ui| {
            for (stage, text, tip) in STAGES {
                let label =
                    ui.selectable_label(self.stage == stage, RichText::new(text).size(13.0));
                if label.on_hover_text(tip).clicked() {
                    self.show(stage);
                }
            }
        });
        row_from_right(ui, rect, "all", |ui| {
            let keys = ui.selectable_label(self.project.keys, "Keys");
            if keys
                .on_hover_text("All keys play the selected pad at their pitch")
                .clicked()
            {
                edit.edit(|project| project.keys = !project.keys);
            }
            self.key_menu(ui, edit);
            let all = ui.add(Button::new("New kit").min_size(Vec2::new(0.0, ROW)));
            if all
                .on_hover_text("New sounds for all pads that are not locked; one undo brings the old ones back")
                .clicked()
            {
                let gesture = self.store.gesture();
                let open = (0..PADS).filter(|&pad| !self.project.is_locked(pad));
                open.for_each(|pad| edit.new_sound(gesture, pad));
            }
        });
    }
}
