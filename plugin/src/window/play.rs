//! The group in which a pad is played: level, place and pitch, what a hand's force does, and which notes sound.

use egui::{Rect, Ui};

use super::Window;
use super::choice::{choice, segments};
use super::icon::below;
use super::knob::{Editing, Format, Setting};
use super::look::{NEAR, ROW, group, row};
use super::make::percent;
use crate::kit::{CHOKE_GROUPS, MAX_GLIDE_MS, PadSettings, Route};
use crate::params::PadParams;
use crate::requests::Task;
use crate::voice::{Mode, PadSounds, Polyphony, Takes};

impl Window {
    /// How the pad plays its sound.
    pub(super) fn play(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        edit: &Editing<'_>,
        pad: usize,
        params: &PadParams,
        settings: &PadSettings,
    ) {
        let mut room = group(ui, rect, "Play");
        let choices = room.bottom(ROW, NEAR);
        let playing = settings.playing;
        let is_mono = playing.voices == Polyphony::Mono;
        let glide = Setting {
            off: (!is_mono).then_some("of a pad that plays one note at a time"),
            ..GLIDE
        };
        let depends = (playing.velocity == 0.0).then_some("velocity does nothing here");
        let curve = Setting {
            off: depends
                .filter(|_| playing.velocity_start == 0.0 && playing.velocity_cutoff == 0.0),
            ..CURVE
        };
        let mut places = room.columns(9, 0.0);
        let mut place = || places.next().expect("there are nine");
        let level = Format::FROM_LEFT;
        edit.knob(
            ui,
            place(),
            &params.gain,
            ("Gain", "The level of this pad"),
            level,
            None,
        );
        let pan = ("Pan", "Left or right");
        edit.knob(ui, place(), &params.pan, pan, Format::CENTRED, None);
        let pitch = (
            "Pitch",
            "In semitones; the sound becomes shorter as it becomes higher",
        );
        edit.knob(ui, place(), &params.pitch, pitch, Format::CENTRED, None);
        for knob in [FINE, glide, VELOCITY, curve, TO_START, BEATS] {
            edit.setting(ui, place(), pad, settings, &knob);
        }
        row(ui, choices, "choices", |ui| {
            self.choices(ui, edit, pad, settings);
        });
    }

    fn choices(&mut self, ui: &mut Ui, edit: &Editing<'_>, pad: usize, settings: &PadSettings) {
        let playing = settings.playing;
        let modes = [
            (
                Mode::OneShot,
                "One-shot",
                "To the end of the sound, whatever its key does",
            ),
            (Mode::Gate, "Gate", "Until its key is let go"),
            (Mode::Loop, "Loop", "Over and over, until its key is let go"),
        ];
        let (at, _) = ui.allocate_exact_size(egui::Vec2::new(186.0, ROW), egui::Sense::hover());
        if let Some(mode) = segments(ui, at, "Mode", &playing.mode, &modes) {
            edit.edit(|project| project.settings[pad].playing.mode = mode);
        }
        let names: Vec<String> = (1..=CHOKE_GROUPS)
            .map(|group| format!("Choke {group}"))
            .collect();
        let groups: Vec<(u8, &str)> = std::iter::once("No choke")
            .chain(names.iter().map(String::as_str))
            .enumerate()
            .map(|(group, text)| (group as u8, text))
            .collect();
        let tip = "Notes of a choke group silence each other";
        if let Some(group) = choice(ui, tip, 84.0, &playing.choke, &groups) {
            edit.edit(|project| project.settings[pad].playing.choke = group);
        }
        let voices = [(Polyphony::Poly, "Poly"), (Polyphony::Mono, "Mono")];
        let tip = "How many notes of this pad sound at once";
        if let Some(voices) = choice(ui, tip, 64.0, &playing.voices, &voices) {
            edit.edit(|project| project.settings[pad].playing.voices = voices);
        }
        self.takes(ui, edit, pad, settings);
        if self.hosted.outputs {
            let routes = [(Route::Main, "Main out"), (Route::Own, "Own out")];
            if let Some(route) = choice(ui, "Output", 76.0, &playing.output, &routes) {
                edit.edit(|project| project.settings[pad].playing.output = route);
            }
        }
    }

    /// Which of its takes a pad plays, and the making of them.
    fn takes(&self, ui: &mut Ui, edit: &Editing<'_>, pad: usize, settings: &PadSettings) {
        let there = 1 + self.project.takes[pad].len();
        let shown = match (there, settings.playing.take) {
            (1, _) => "One take".to_owned(),
            (n, Takes::First) => format!("First of {n}"),
            (n, Takes::RoundRobin) => format!("{n} in turn"),
            (n, Takes::Velocity) => format!("{n} by force"),
        };
        let menu = ui.menu_button(format!("{shown}      "), |ui| {
            let takes = [
                (Takes::First, "Plays the first"),
                (Takes::RoundRobin, "Plays them in turn"),
                (Takes::Velocity, "Plays the darkest to soft notes"),
            ];
            for (take, text) in takes {
                let is_chosen = settings.playing.take == take;
                if ui.radio(is_chosen, text).clicked() {
                    edit.edit(|project| project.settings[pad].playing.take = take);
                }
            }
            ui.separator();
            ui.horizontal(|ui| {
                let mut takes = settings.making.takes;
                let value = egui::DragValue::new(&mut takes).range(2..=PadSounds::MOST);
                if ui.add(value).changed() {
                    edit.edit(|project| project.settings[pad].making.takes = takes);
                }
                if ui.button("Make takes").clicked() {
                    self.store.ask(pad, Task::Takes);
                    ui.close();
                }
            });
        });
        below(ui, &menu.response);
        menu.response.on_hover_text(
            "Small variations of this sound, for notes to play in turn or by their force",
        );
    }
}

const FINE: Setting<'static> = Setting {
    name: "Fine",
    tip: "In hundredths of a semitone",
    range: [-100.0, 100.0],
    step: 0.1,
    get: &|it| it.playing.fine,
    set: &|it, x| it.playing.fine = x,
    text: &|x| format!("{x:.1} ct"),
    parse: None,
    format: Format::CENTRED,
    off: None,
};

const VELOCITY: Setting<'static> = Setting {
    name: "Velocity",
    tip: "How much softer soft notes are",
    range: [0.0, 1.0],
    step: 0.001,
    get: &|it| it.playing.velocity,
    set: &|it, x| it.playing.velocity = x,
    text: &percent,
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const CURVE: Setting<'static> = Setting {
    name: "Curve",
    tip: "To the right soft notes are harder, to the left softer",
    range: [-1.0, 1.0],
    step: 0.01,
    get: &|it| it.playing.velocity_curve,
    set: &|it, x| it.playing.velocity_curve = x,
    text: &percent,
    parse: None,
    format: Format::CENTRED,
    off: None,
};

const TO_START: Setting<'static> = Setting {
    name: "To start",
    tip: "How much later in the sound soft notes begin",
    range: [0.0, 1.0],
    step: 0.001,
    get: &|it| it.playing.velocity_start,
    set: &|it, x| it.playing.velocity_start = x,
    text: &percent,
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const GLIDE: Setting<'static> = Setting {
    name: "Glide",
    tip: "The time in which a note slides to its key",
    range: [0.0, MAX_GLIDE_MS],
    step: 1.0,
    get: &|it| it.playing.glide,
    set: &|it, x| it.playing.glide = x,
    text: &|x| format!("{x:.0} ms"),
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

/// Lengths in beats that a knob stops at, from a thirty-second note to four bars.
const LENGTHS: [f32; 16] = [
    0.0, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0,
];

const BEATS: Setting<'static> = Setting {
    name: "Beats",
    tip: "Cuts notes, or begins loops anew, after so many beats at the host's tempo",
    range: [0.0, (LENGTHS.len() - 1) as f32],
    step: 1.0,
    get: &|it| nearest_length(it.playing.beats) as f32,
    set: &|it, x| it.playing.beats = LENGTHS[(x as usize).min(LENGTHS.len() - 1)],
    text: &|x| match x as usize {
        0 => "Off".to_owned(),
        i => LENGTHS[i.min(LENGTHS.len() - 1)].to_string(),
    },
    parse: Some(&|typed| match typed.trim().parse() {
        Ok(beats) => Some(nearest_length(beats) as f32),
        Err(_) => typed.trim().eq_ignore_ascii_case("off").then_some(0.0),
    }),
    format: Format::FROM_LEFT,
    off: None,
};

/// The place of the length in beats that is nearest.
fn nearest_length(beats: f32) -> usize {
    let away = |i: &usize| (LENGTHS[*i] - beats).abs();
    let places = 0..LENGTHS.len();
    places
        .min_by(|a, b| away(a).total_cmp(&away(b)))
        .unwrap_or(0)
}
