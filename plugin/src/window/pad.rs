//! The pads, and the selected one with its parameters.

use egui::{Align2, FontId, Grid, Pos2, Rect, RichText, Sense, Stroke, StrokeKind, Ui, Vec2};
use nice_plug::prelude::*;

use super::files::{Picking, Purpose, export_name};
use super::wave::draw_wave;
use super::widget::{Editing, Format, KNOB, Setting, choice, choice_of, line};
use super::{ACCENT, EDGE, FAINT, INK, PANEL, WAVE, Window};
use crate::keymap::key_name;
use crate::kit::{
    CHOKE_GROUPS, Class, MAX_GLIDE_MS, MAX_GUIDANCE, MAX_LENGTH_SECONDS, MAX_STEPS,
    MAX_VELOCITY_OCTAVES, PadSettings, Route,
};
use crate::pad::PADS;
use crate::params::{MAX_SEED, PadParams};
use crate::requests::Task;
use crate::voice::{FilterKind, Mode, PadSounds, Polyphony, Takes};

/// The number of rows, and of pads in a row.
const ROWS: usize = 4;

/// Points between two knobs.
const KNOB_GAP: f32 = 4.0;

impl Window {
    /// All pads, in rows of four, the first at the bottom left.
    pub(super) fn pads(&mut self, ui: &mut Ui, size: Vec2) {
        let gap = 6.0;
        let each = (size - Vec2::splat(gap * (ROWS - 1) as f32)) / ROWS as f32;
        let (area, _) = ui.allocate_exact_size(size, Sense::hover());
        for pad in 0..PADS {
            let (column, row) = (pad % ROWS, ROWS - 1 - pad / ROWS);
            let corner =
                area.min + Vec2::new(column as f32, row as f32) * (each + Vec2::splat(gap));
            let rect = Rect::from_min_size(corner, each);
            self.pad(ui, pad, rect);
        }
    }

    /// Macros, which turn the same control of all pads, in one row.
    pub(super) fn macros(&self, ui: &mut Ui, edit: &Editing<'_>) {
        let all = self.params.macros.all();
        let size = Vec2::new(ui.available_width() / all.len() as f32, KNOB.y);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            for param in all {
                let name = param.name().trim_start_matches("All ");
                let centred = param.default_normalized_value() == 0.5;
                let format = if centred {
                    Format::CENTRED
                } else {
                    Format::FROM_LEFT
                };
                edit.knob_of_size(ui, param, name, format, size);
            }
        });
    }

    fn pad(&mut self, ui: &mut Ui, pad: usize, rect: Rect) {
        let response = ui.interact(
            rect,
            ui.scope_id().with(("pad", pad)),
            Sense::click_and_drag(),
        );
        let pressed =
            response.is_pointer_button_down_on() && ui.input(|i| i.pointer.primary_pressed());
        // A press and its release may come at once.
        let tapped = response.clicked() && self.pressed != Some(pad);
        if response.clicked() {
            self.pressed = None;
        }
        if pressed || tapped {
            self.pressed = pressed.then_some(pad);
            self.store.view(|project| project.selected = pad);
            self.display.hit(pad, 1.0);
        }
        let is_held = self.pressed == Some(pad) && ui.input(|i| i.pointer.primary_down());
        if tapped || response.clicked() || self.pressed == Some(pad) && !is_held {
            self.pressed = None;
            self.display.let_go(pad);
        }
        let chosen = pad == self.selected_pad();
        let playhead = self.display.playhead(pad);
        let painter = ui.painter_at(rect);
        let fill = match (playhead, response.hovered()) {
            (Some(_), _) => PANEL.lerp_to_gamma(ACCENT, 0.25),
            (None, true) => PANEL.lerp_to_gamma(INK, 0.06),
            (None, false) => PANEL,
        };
        painter.rect_filled(rect, 5.0, fill);
        let wave = rect.shrink2(Vec2::new(6.0, 20.0));
        if let Some((_, peaks)) = &self.pictures[pad] {
            let color = if chosen { ACCENT } else { WAVE };
            draw_wave(
                &painter,
                wave,
                peaks,
                self.project.settings[pad].playing.reverse,
                color,
            );
        }
        if let Some(position) = playhead {
            let x = wave.left() + wave.width() * position;
            painter.line_segment(
                [Pos2::new(x, wave.top()), Pos2::new(x, wave.bottom())],
                Stroke::new(1.0, INK),
            );
        }
        self.pad_texts(&painter, pad, rect);
        let edge = if chosen { ACCENT } else { EDGE };
        painter.rect_stroke(rect, 5.0, Stroke::new(1.0, edge), StrokeKind::Inside);
    }

    /// Class, number, key and state of a pad, in its corners.
    pub(super) fn pad_texts(&self, painter: &egui::Painter, pad: usize, rect: Rect) {
        let making = &self.project.settings[pad].making;
        let small = FontId::proportional(11.0);
        let class = match (&self.pictures[pad], &making.class) {
            (Some((sound, _)), Class::Auto) => sound.recipe().class.clone().unwrap_or("any".into()),
            (_, class) => class.name(&self.labels()),
        };
        let number = format!("{}", pad + 1);
        let corner = rect.right_top() + Vec2::new(-6.0, 4.0);
        let number = painter.text(corner, Align2::RIGHT_TOP, number, small.clone(), FAINT);
        let top = rect.left_top() + Vec2::new(6.0, 4.0);
        let class = line(painter, &class, 11.0, INK, number.left() - 4.0 - top.x);
        painter.galley(top, class, INK);
        let bottom = rect.left_bottom() + Vec2::new(6.0, -4.0);
        // In keys mode no key is a pad's own.
        if !self.project.keys {
            painter.text(
                bottom,
                Align2::LEFT_BOTTOM,
                key_name(self.project.keymap.key(pad)),
                small.clone(),
                FAINT,
            );
        }
        if making.lock {
            let corner = rect.right_bottom() + Vec2::new(-6.0, -4.0);
            painter.text(corner, Align2::RIGHT_BOTTOM, "locked", small, FAINT);
        } else if self.store.is_pending(pad) {
            let mut bar = rect.shrink(2.0);
            bar.set_top(bar.bottom() - 2.0);
            painter.rect_filled(bar, 1.0, EDGE);
            // One that waits its turn has done nothing yet.
            if self.status.at_work() == Some(pad) {
                bar.set_width(bar.width() * self.status.done(pad).clamp(0.02, 1.0));
                painter.rect_filled(bar, 1.0, ACCENT);
            }
        }
    }

    /// The selected pad: its wave, and all its parameters and settings.
    pub(super) fn selected(&mut self, ui: &mut Ui, edit: &Editing<'_>) {
        let pad = self.selected_pad();
        let params = self.params.clone();
        let params = &params.pads[pad];
        let settings = self.project.settings[pad].clone();
        self.large_wave(ui, pad);
        ui.add_space(4.0);
        self.make(ui, edit, pad, params, &settings);
        ui.separator();
        ui.label(RichText::new("Playing").color(FAINT));
        let plain = Format::FROM_LEFT;
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            edit.knob(ui, &params.gain, "Gain", plain);
            edit.knob(ui, &params.pan, "Pan", Format::CENTRED);
            edit.knob(ui, &params.pitch, "Pitch", Format::CENTRED);
            edit.setting(ui, pad, &settings, &FINE);
            edit.knob(ui, &params.start, "Start", plain);
            edit.setting(ui, pad, &settings, &TONE);
            edit.setting(ui, pad, &settings, &DRIVE);
        });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            edit.knob(ui, &params.attack, "Attack", plain);
            edit.setting(ui, pad, &settings, &HOLD);
            edit.knob(ui, &params.decay, "Decay", plain);
            edit.knob(ui, &params.sustain, "Sustain", plain);
            edit.knob(ui, &params.release, "Release", plain);
            edit.knob(ui, &params.cutoff, "Cutoff", plain);
            edit.knob(ui, &params.resonance, "Resonance", plain);
        });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            for knob in [VELOCITY, CURVE, TO_CUTOFF, TO_START, GLIDE] {
                edit.setting(ui, pad, &settings, &knob);
            }
        });
        let playing = settings.playing;
        Grid::new("choices").spacing([8.0, 4.0]).show(ui, |ui| {
            let modes = [
                (Mode::OneShot, "One-shot"),
                (Mode::Gate, "Gate"),
                (Mode::Loop, "Loop"),
            ];
            if let Some(mode) = choice(ui, "Mode", &playing.mode, &modes) {
                edit.edit(|project| project.settings[pad].playing.mode = mode);
            }
            let filters = [
                (FilterKind::Off, "Off"),
                (FilterKind::Lowpass, "Low-pass"),
                (FilterKind::Highpass, "High-pass"),
            ];
            if let Some(filter) = choice(ui, "Filter", &playing.filter, &filters) {
                edit.edit(|project| project.settings[pad].playing.filter = filter);
            }
            let numbers: Vec<String> = (1..=CHOKE_GROUPS).map(|group| group.to_string()).collect();
            let groups: Vec<(u8, &str)> = std::iter::once("None")
                .chain(numbers.iter().map(String::as_str))
                .enumerate()
                .map(|(group, text)| (group as u8, text))
                .collect();
            if let Some(group) = choice(ui, "Choke", &playing.choke, &groups) {
                edit.edit(|project| project.settings[pad].playing.choke = group);
            }
            if ui.selectable_label(playing.reverse, "Reverse").clicked() {
                edit.edit(|project| project.settings[pad].playing.reverse = !playing.reverse);
            }
            ui.end_row();
            let voices = [(Polyphony::Poly, "Poly"), (Polyphony::Mono, "Mono")];
            if let Some(voices) = choice(ui, "Voices", &playing.voices, &voices) {
                edit.edit(|project| project.settings[pad].playing.voices = voices);
            }
            let takes = [
                (Takes::First, "First"),
                (Takes::RoundRobin, "In turn"),
                (Takes::Velocity, "By velocity"),
            ];
            if let Some(take) = choice(ui, "Plays", &playing.take, &takes) {
                edit.edit(|project| project.settings[pad].playing.take = take);
            }
            self.takes(ui, edit, pad, &settings);
        });
    }

    /// How many takes a pad has, and the button that makes them.
    fn takes(&self, ui: &mut Ui, edit: &Editing<'_>, pad: usize, settings: &PadSettings) {
        let making = &settings.making;
        let numbers: Vec<String> = (2..=PadSounds::MOST).map(|n| n.to_string()).collect();
        let counts: Vec<(usize, &str)> = (2..).zip(numbers.iter().map(String::as_str)).collect();
        if let Some(takes) = choice(ui, "Takes", &making.takes, &counts) {
            edit.edit(|project| project.settings[pad].making.takes = takes);
        }
        let there = 1 + self.project.takes[pad].len();
        let make = ui.button(format!("Make ({there} there)"));
        if make
            .on_hover_text(
                "Small variations of this sound, for notes to play in turn or by velocity",
            )
            .clicked()
        {
            self.store.ask(pad, Task::Takes);
        }
    }

    /// What describes the pad's sound, and the buttons that make it.
    fn make(
        &mut self,
        ui: &mut Ui,
        edit: &Editing<'_>,
        pad: usize,
        params: &PadParams,
        settings: &PadSettings,
    ) {
        let making = &settings.making;
        let labels = self.labels();
        let most_steps = self.status.model().map(|model| model.most_steps);
        ui.horizontal(|ui| {
            let mut classes = vec![(Class::Auto, "Auto"), (Class::Any, "Any")];
            let named = labels
                .iter()
                .map(|it| (Class::Label(it.clone()), it.as_str()));
            classes.extend(named);
            let shown = making.class.name(&labels);
            let is_chosen = |class: &Class| class.name(&labels) == shown;
            ui.label(RichText::new("Class").color(FAINT));
            if let Some(class) = choice_of(ui, "Class", &shown, &classes, is_chosen) {
                edit.edit(|project| project.settings[pad].making.class = class);
            }
            ui.label(RichText::new("Seed").color(FAINT));
            let mut seed = params.seed.value();
            let shown = egui::DragValue::new(&mut seed).range(0..=MAX_SEED);
            let response = ui.add(shown);
            if response.drag_started() || response.gained_focus() {
                self.seed_gesture = self.store.gesture();
            }
            if response.changed() {
                edit.set_seed(self.seed_gesture, pad, seed);
            }
            let lock = ui.selectable_label(making.lock, "Lock");
            if lock
                .on_hover_text("Keeps this sound whatever is asked")
                .clicked()
            {
                let lock = !making.lock;
                edit.edit(|project| project.settings[pad].making.lock = lock);
            }
            if self.multi {
                let routes = [(Route::Main, "Main"), (Route::Own, "Own")];
                if let Some(route) = choice(ui, "Output", &settings.playing.output, &routes) {
                    edit.edit(|project| project.settings[pad].playing.output = route);
                }
            }
        });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            let steps = Setting {
                text: &|steps| steps_text(most_steps, steps as u32),
                ..STEPS
            };
            edit.setting(ui, pad, settings, &steps);
            edit.setting(ui, pad, settings, &GUIDANCE);
            edit.setting(ui, pad, settings, &LENGTH);
            edit.setting(ui, pad, settings, &VARIATION);
            edit.knob(ui, &params.morph_amount, "Morph", Format::FROM_LEFT);
        });
        ui.horizontal(|ui| {
            let big = |text: &str| egui::Button::new(RichText::new(text).size(15.0));
            if ui.add(big("New")).on_hover_text("Another seed").clicked() {
                edit.new_sound(self.store.gesture(), pad);
            }
            let made = ui.add(big("Generate"));
            if made.on_hover_text("The sound of this seed").clicked() {
                self.store.ask(pad, Task::Generate);
            }
            let varied = ui.add(big("Vary"));
            if varied.on_hover_text("Another one like this").clicked() {
                self.store.ask(pad, Task::Vary);
            }
            let morphed = ui.add(big("Morph"));
            if morphed
                .on_hover_text("One between this and another pad's")
                .clicked()
            {
                self.store.ask(pad, Task::Morph);
            }
            let numbers: Vec<String> = (1..=PADS).map(|pad| pad.to_string()).collect();
            let pads: Vec<(usize, &str)> = numbers.iter().map(String::as_str).enumerate().collect();
            if let Some(other) = choice(ui, "with pad", &making.other(pad), &pads) {
                edit.edit(|project| project.settings[pad].making.morph_with = Some(other));
            }
        });
        self.past(ui, pad);
    }

    /// The pad's history, and its sounds from and to files.
    fn past(&mut self, ui: &mut Ui, pad: usize) {
        ui.horizontal(|ui| {
            let (at, of) = self.store.history(pad);
            let is_open = !self.store.is_locked(pad);
            let back = ui.add_enabled(is_open && at > 1, egui::Button::new("<"));
            if back.on_hover_text("The sound before").clicked() {
                let stepped = self.store.step(pad, -1);
                self.tell(stepped);
            }
            ui.label(RichText::new(format!("{at} of {of}")).color(FAINT));
            let forth = ui.add_enabled(is_open && at < of, egui::Button::new(">"));
            if forth.on_hover_text("The sound after").clicked() {
                let stepped = self.store.step(pad, 1);
                self.tell(stepped);
            }
            let idle = self.picking.is_none();
            let open = ui.add_enabled(idle && is_open, egui::Button::new("From audio…"));
            if open.on_hover_text("Varies a sound of yours").clicked() {
                self.picking = Some(Picking::begin(Purpose::Sound(pad), ""));
            }
            let project = self.store.project();
            let sound = project.sound(pad).filter(|_| idle);
            let export = ui.add_enabled(sound.is_some(), egui::Button::new("Export…"));
            if export
                .on_hover_text("Writes the sound as a WAV file")
                .clicked()
                && let Some(sound) = sound
            {
                let name = export_name(sound.recipe());
                self.picking = Some(Picking::begin(Purpose::Export(pad), &name));
            }
            if let Some(folder) = &self.exported
                && ui
                    .button("Folder")
                    .on_hover_text("Shows where the last export went")
                    .clicked()
                && let Err(error) = opener::open(folder)
            {
                self.news = Some((format!("{}: {error}", folder.display()), true));
            }
        });
    }
}

/// The next seed; after 10,000 of them they begin anew.
pub(super) fn next_seed(seed: i32) -> i32 {
    // A step that shares no factor with 10,000 meets every seed once.
    (seed + 1_237).rem_euclid(MAX_SEED + 1)
}

const FINE: Setting<'static> = Setting {
    name: "Fine",
    range: [-100.0, 100.0],
    step: 0.1,
    get: |it| it.playing.fine,
    set: |it, x| it.playing.fine = x,
    text: &|x| format!("{x:.1} ct"),
    format: Format::CENTRED,
};

const VELOCITY: Setting<'static> = Setting {
    name: "Velocity",
    range: [0.0, 1.0],
    step: 0.001,
    get: |it| it.playing.velocity,
    set: |it, x| it.playing.velocity = x,
    text: &percent,
    format: Format::FROM_LEFT,
};

const TONE: Setting<'static> = Setting {
    name: "Tone",
    range: [-1.0, 1.0],
    step: 0.01,
    get: |it| it.playing.tone,
    set: |it, x| it.playing.tone = x,
    text: &percent,
    format: Format::CENTRED,
};

const DRIVE: Setting<'static> = Setting {
    name: "Drive",
    range: [0.0, 1.0],
    step: 0.001,
    get: |it| it.playing.drive,
    set: |it, x| it.playing.drive = x,
    text: &percent,
    format: Format::FROM_LEFT,
};

const CURVE: Setting<'static> = Setting {
    name: "Curve",
    range: [-1.0, 1.0],
    step: 0.01,
    get: |it| it.playing.velocity_curve,
    set: |it, x| it.playing.velocity_curve = x,
    text: &percent,
    format: Format::CENTRED,
};

const TO_CUTOFF: Setting<'static> = Setting {
    name: "To cutoff",
    range: [0.0, MAX_VELOCITY_OCTAVES],
    step: 0.01,
    get: |it| it.playing.velocity_cutoff,
    set: |it, x| it.playing.velocity_cutoff = x,
    text: &|x| format!("{x:.2} oct"),
    format: Format::FROM_LEFT,
};

const TO_START: Setting<'static> = Setting {
    name: "To start",
    range: [0.0, 1.0],
    step: 0.001,
    get: |it| it.playing.velocity_start,
    set: |it, x| it.playing.velocity_start = x,
    text: &percent,
    format: Format::FROM_LEFT,
};

const GLIDE: Setting<'static> = Setting {
    name: "Glide",
    range: [0.0, MAX_GLIDE_MS],
    step: 1.0,
    get: |it| it.playing.glide,
    set: |it, x| it.playing.glide = x,
    text: &|x| format!("{x:.0} ms"),
    format: Format::FROM_LEFT,
};

const HOLD: Setting<'static> = Setting {
    name: "Hold",
    range: [0.0, 2000.0],
    step: 0.1,
    get: |it| it.playing.hold,
    set: |it, x| it.playing.hold = x,
    text: &|x| format!("{x:.1} ms"),
    format: Format::FROM_LEFT,
};

const STEPS: Setting<'static> = Setting {
    name: "Steps",
    range: [0.0, MAX_STEPS as f32],
    step: 1.0,
    get: |it| it.making.steps as f32,
    set: |it, x| it.making.steps = x as u32,
    text: &|x| steps_text(None, x as u32),
    format: Format::FROM_LEFT,
};

const GUIDANCE: Setting<'static> = Setting {
    name: "Guidance",
    range: [0.0, MAX_GUIDANCE],
    step: 0.01,
    get: |it| it.making.guidance,
    set: |it, x| it.making.guidance = x,
    text: &|x| auto_or(x, |x| format!("{x:.2}")),
    format: Format::FROM_LEFT,
};

const LENGTH: Setting<'static> = Setting {
    name: "Length",
    range: [0.0, MAX_LENGTH_SECONDS],
    step: 0.01,
    get: |it| it.making.length,
    set: |it, x| it.making.length = x,
    text: &|x| auto_or(x, |x| format!("{x:.2} s")),
    format: Format::FROM_LEFT,
};

const VARIATION: Setting<'static> = Setting {
    name: "Variation",
    range: [0.0, 1.0],
    step: 0.001,
    get: |it| it.making.variation,
    set: |it, x| it.making.variation = x,
    text: &percent,
    format: Format::FROM_LEFT,
};

fn percent(x: f32) -> String {
    format!("{:.1} %", 100.0 * x)
}

/// The text of a value whose zero leaves the choice to the model.
fn auto_or(x: f32, text: impl Fn(f32) -> String) -> String {
    if x == 0.0 { "Auto".to_owned() } else { text(x) }
}

/// Steps that are asked for, and those that the model takes where these are fewer.
fn steps_text(most: Option<usize>, steps: u32) -> String {
    match (steps, most) {
        (0, _) => "Auto".to_owned(),
        (steps, Some(most)) if steps as usize > most => format!("{steps} ({most} taken)"),
        (steps, _) => steps.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_say_how_many_of_them_the_model_takes() {
        let texts = |most| [0, 1, 8, 9, 64].map(|steps| steps_text(most, steps));
        assert_eq!(texts(None), ["Auto", "1", "8", "9", "64"]);
        assert_eq!(texts(Some(1000)), texts(None));
        assert_eq!(
            texts(Some(8)),
            ["Auto", "1", "8", "9 (8 taken)", "64 (8 taken)"]
        );
    }

    #[test]
    fn new_meets_every_seed_once() {
        let mut met = vec![false; 10_000];
        let mut seed = 17;
        for _ in 0..10_000 {
            seed = next_seed(seed);
            assert!(!std::mem::replace(&mut met[seed as usize], true), "{seed}");
        }
        assert_eq!(seed, 17);
    }
}
