//! The pads, and the selected one with its parameters.

use egui::{Align2, FontId, Grid, Pos2, Rect, RichText, Sense, Stroke, StrokeKind, Ui, Vec2};
use nice_plug::prelude::*;

use super::files::{Picking, Purpose, export_name};
use super::wave::draw_wave;
use super::widget::{Format, choice, knob, line, set, toggle};
use super::{ACCENT, EDGE, FAINT, INK, PANEL, WAVE, Window};
use crate::pad::{FIRST_KEY, PADS};
use crate::params::PadParams;
use crate::store::Task;

/// The number of rows, and of pads in a row.
const ROWS: usize = 4;

/// Points between two knobs.
const KNOB_GAP: f32 = 4.0;

impl Window {
    /// All pads, in rows of four, the first at the bottom left.
    pub(super) fn pads(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>, size: Vec2) {
        let gap = 6.0;
        let each = (size - Vec2::splat(gap * (ROWS - 1) as f32)) / ROWS as f32;
        let (area, _) = ui.allocate_exact_size(size, Sense::hover());
        for pad in 0..PADS {
            let (column, row) = (pad % ROWS, ROWS - 1 - pad / ROWS);
            let corner =
                area.min + Vec2::new(column as f32, row as f32) * (each + Vec2::splat(gap));
            let rect = Rect::from_min_size(corner, each);
            self.pad(ui, setter, pad, rect);
        }
    }

    fn pad(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>, pad: usize, rect: Rect) {
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
            set(setter, &self.params.pad, pad as i32 + 1);
            self.display.hit(pad);
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
                self.params.pads[pad].reverse.value(),
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
        let params = &self.params.pads[pad];
        let small = FontId::proportional(11.0);
        let class = match (&self.pictures[pad], params.class.value()) {
            (Some((sound, _)), 0) => sound.recipe().class.clone().unwrap_or("any".into()),
            _ => params.class.to_string(),
        };
        let number = format!("{}", pad + 1);
        let corner = rect.right_top() + Vec2::new(-6.0, 4.0);
        let number = painter.text(corner, Align2::RIGHT_TOP, number, small.clone(), FAINT);
        let top = rect.left_top() + Vec2::new(6.0, 4.0);
        let class = line(painter, &class, 11.0, INK, number.left() - 4.0 - top.x);
        painter.galley(top, class, INK);
        let bottom = rect.left_bottom() + Vec2::new(6.0, -4.0);
        let key = util::KEYS[(usize::from(FIRST_KEY) + pad) % 12];
        let octave = (usize::from(FIRST_KEY) + pad) / 12 - 2;
        // In keys mode no key is a pad's own.
        if !self.params.keys.value() {
            painter.text(
                bottom,
                Align2::LEFT_BOTTOM,
                format!("{key}{octave}"),
                small.clone(),
                FAINT,
            );
        }
        if params.lock.value() {
            let corner = rect.right_bottom() + Vec2::new(-6.0, -4.0);
            painter.text(corner, Align2::RIGHT_BOTTOM, "locked", small, FAINT);
        } else if self.store.pending(pad).is_some() {
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

    /// The selected pad: its wave, and all its parameters.
    pub(super) fn selected(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>) {
        let pad = self.selected_pad();
        let params = self.params.clone();
        let params = &params.pads[pad];
        self.large_wave(ui, pad);
        ui.add_space(4.0);
        self.make(ui, setter, pad, params);
        ui.separator();
        ui.label(RichText::new("Playing").color(FAINT));
        let plain = Format::default();
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            knob(ui, &params.gain, setter, "Gain", plain);
            knob(ui, &params.pan, setter, "Pan", plain.centred());
            knob(ui, &params.pitch, setter, "Pitch", plain.centred());
            knob(ui, &params.fine, setter, "Fine", plain.centred());
            knob(ui, &params.start, setter, "Start", plain);
            knob(ui, &params.velocity, setter, "Velocity", plain);
        });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            knob(ui, &params.attack, setter, "Attack", plain);
            knob(ui, &params.hold, setter, "Hold", plain);
            knob(ui, &params.decay, setter, "Decay", plain);
            knob(ui, &params.sustain, setter, "Sustain", plain);
            knob(ui, &params.release, setter, "Release", plain);
            knob(ui, &params.cutoff, setter, "Cutoff", plain);
            knob(ui, &params.resonance, setter, "Resonance", plain);
        });
        Grid::new("choices").spacing([8.0, 4.0]).show(ui, |ui| {
            choice(ui, &params.mode, setter, "Mode", 3);
            choice(ui, &params.filter, setter, "Filter", 3);
            choice(ui, &params.choke, setter, "Choke", 9);
            toggle(ui, &params.reverse, setter, "Reverse");
        });
    }

    /// The parameters of the pad's sound, and the buttons that make it.
    fn make(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>, pad: usize, params: &PadParams) {
        let classes = self.status.model().map_or(0, |model| model.labels.len()) + 2;
        ui.horizontal(|ui| {
            choice(ui, &params.class, setter, "Class", classes);
            ui.label(RichText::new("Seed").color(FAINT));
            let mut seed = params.seed.value();
            if ui
                .add(egui::DragValue::new(&mut seed).range(0..=9999))
                .changed()
            {
                set(setter, &params.seed, seed);
            }
            toggle(ui, &params.lock, setter, "Lock")
                .on_hover_text("Keeps this sound whatever is asked");
            if self.multi {
                choice(ui, &params.output, setter, "Output", 2);
            }
        });
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = KNOB_GAP;
            let plain = Format::default();
            knob(ui, &params.steps, setter, "Steps", plain);
            knob(ui, &params.guidance, setter, "Guidance", plain);
            knob(ui, &params.length, setter, "Length", plain);
            knob(ui, &params.variation, setter, "Variation", plain);
            knob(ui, &params.morph_amount, setter, "Morph", plain);
        });
        ui.horizontal(|ui| {
            let big = |text: &str| egui::Button::new(RichText::new(text).size(15.0));
            if ui.add(big("New")).on_hover_text("Another seed").clicked() {
                reseed(&params.seed, setter);
                self.store.ask(pad, Task::Generate);
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
            choice(ui, &params.morph_with, setter, "with pad", PADS);
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

/// Sets the next seed; after 10,000 of them they begin anew.
pub(super) fn reseed(seed: &IntParam, setter: &ParamSetter<'_>) {
    // A step that shares no factor with 10,000 meets every seed once.
    set(setter, seed, (seed.value() + 1_237).rem_euclid(10_000));
}
