//! What the instrument needs where there is no host: a keyboard on the screen and the computer's own, devices, and a
//! recorder.

use audiodiff::error::counted;
use egui::containers::menu::MenuButton;
use egui::{Align2, Button, Rect, RichText, Sense, Stroke, StrokeKind, Ui};
use nice_plug_egui::Frame;

use super::Window;
use super::icon::{Icon, icon_button};
use super::look::{Look, Theme, plain};
use crate::keymap::key_name;
use crate::recorder::Recorder;
use crate::standalone::{Available, Backend, Choice, Midi};
use crate::typing::{Played, Stroke as Key, Typing, midi_key, pad};

/// The lowest key of the keyboard on the screen, and how many octaves it has.
const LOWEST: u8 = 36;
const OCTAVES: u8 = 4;

/// The semitones of the white keys of an octave.
const WHITE: [u8; 7] = [0, 2, 4, 5, 7, 9, 11];

/// Keys that are played by hand.
#[derive(Debug, Default)]
pub(super) struct Hands {
    typing: Typing,
    /// Octaves by which the computer's keyboard is higher.
    octaves: i8,
    /// The key of the screen that the mouse holds.
    held: Option<u8>,
    /// What there is to play on, as it was when the menu was opened.
    available: Option<Available>,
    /// A choice that is made once the frame is at hand.
    pub chosen: Option<Choice>,
}

impl Window {
    /// Plays what is typed, unless a text is.
    pub(super) fn type_notes(&mut self, ui: &Ui) {
        if self.standalone.is_none() {
            return;
        }
        let keys = self.project.keys;
        let octaves = self.hands.octaves;
        let strokes = if ui.ctx().egui_wants_keyboard_input() {
            self.hands.typing.release_all()
        } else {
            let plays = |key| match keys {
                true => midi_key(key, octaves).map(Played::Key),
                false => pad(key).map(Played::Pad),
            };
            ui.input(|input| self.hands.typing.strokes(&input.events, plays))
        };
        for stroke in strokes {
            match stroke {
                Key::Press(Played::Pad(pad)) => {
                    self.store.view(|project| project.selected = pad);
                    self.display.hit(pad, 1.0);
                }
                Key::Press(Played::Key(key)) => self.display.press(key, 0.8),
                Key::Release(Played::Pad(pad)) => self.display.let_go(pad),
                Key::Release(Played::Key(key)) => self.display.release(key),
            }
        }
    }

    /// A keyboard on the screen.
    pub(super) fn keyboard_on_screen(&mut self, ui: &mut Ui, rect: Rect) {
        let look = Look::here(ui);
        let id = ui.scope_id().with("keyboard");
        let response = ui.interact(rect, id, Sense::click_and_drag());
        let whites = usize::from(OCTAVES) * WHITE.len();
        let width = rect.width() / whites as f32;
        let white = |i: usize| {
            let key = LOWEST + 12 * (i / 7) as u8 + WHITE[i % 7];
            let at = rect.left() + i as f32 * width;
            let area = Rect::from_x_y_ranges(at..=at + width, rect.y_range());
            (key, area.shrink2(egui::vec2(0.5, 0.0)))
        };
        let black = |i: usize| {
            let (key, area) = white(i);
            let has_one = ![2, 6].contains(&(i % 7)) && i + 1 < whites;
            let narrow = egui::vec2(0.58 * width, 0.6 * rect.height());
            let corner = egui::pos2(area.right() + 0.5 - narrow.x / 2.0, rect.top());
            has_one.then(|| (key + 1, Rect::from_min_size(corner, narrow)))
        };
        let under = |at: egui::Pos2| {
            let of = |(key, area): (u8, Rect)| area.contains(at).then_some(key);
            let blacks = (0..whites).filter_map(black).find_map(of);
            blacks.or_else(|| (0..whites).map(white).find_map(of))
        };
        let wanted = response
            .interact_pointer_pos()
            .filter(|_| response.is_pointer_button_down_on())
            .and_then(under);
        if wanted != self.hands.held {
            if let Some(key) = self.hands.held {
                self.display.release(key);
            }
            if let Some(key) = wanted {
                self.display.press(key, 0.8);
            }
            self.hands.held = wanted;
        }
        let plays = |key: u8| self.project.keys || self.project.keymap.pads(key).next().is_some();
        let painter = ui.painter_at(rect);
        let (ivory, ebony) = match look.theme {
            Theme::Dark => (look.ink, look.back),
            Theme::Light => (look.raised, look.ink),
        };
        for i in 0..whites {
            let (key, area) = white(i);
            let fill = match (wanted == Some(key), plays(key)) {
                (true, _) => look.accent,
                (false, true) => ivory,
                (false, false) => ivory.lerp_to_gamma(ebony, 0.35),
            };
            painter.rect(
                area,
                2,
                fill,
                Stroke::new(1.0, look.back),
                StrokeKind::Inside,
            );
            if key % 12 == 0 {
                let at = area.center_bottom() - egui::vec2(0.0, 3.0);
                painter.text(at, Align2::CENTER_BOTTOM, key_name(key), plain(9.0), ebony);
            }
        }
        for (key, area) in (0..whites).filter_map(black) {
            let fill = match (wanted == Some(key), plays(key)) {
                (true, _) => look.accent,
                (false, true) => ebony,
                (false, false) => ebony.lerp_to_gamma(ivory, 0.25),
            };
            painter.rect(
                area,
                2,
                fill,
                Stroke::new(1.0, look.edge),
                StrokeKind::Inside,
            );
        }
    }

    /// The controls of a program: what it plays on, its keyboard's octave, and the recorder.
    pub(super) fn desk(&mut self, ui: &mut Ui) {
        self.recorder(ui);
        let Some(standalone) = &self.standalone else {
            return;
        };
        let plan = standalone.plan().clone();
        let name = match (&plan.output, plan.backend) {
            (Some(output), _) => output.clone(),
            (None, Some(backend)) => backend.name().to_owned(),
            (None, None) => "Devices".to_owned(),
        };
        let (response, _) = MenuButton::from_button(Button::new(name).truncate()).ui(ui, |ui| {
            self.device_menu(ui);
        });
        if response.clicked() {
            self.hands.available = None;
        }
        response.on_hover_text("What is played on");
        ui.label(RichText::new("Octave").color(Look::here(ui).faint));
        ui.add(egui::DragValue::new(&mut self.hands.octaves).range(-3..=3))
            .on_hover_text(
                "Of the computer's keyboard; with Keys on, Z to M and Q to U are a piano",
            );
    }

    fn device_menu(&mut self, ui: &mut Ui) {
        let Some(standalone) = &self.standalone else {
            return;
        };
        let available = self
            .hands
            .available
            .get_or_insert_with(|| standalone.available());
        let mut choice = standalone.choice();
        let before = choice.clone();
        ui.strong("Sound");
        ui.radio_value(&mut choice.backend, None, "As it comes");
        for backend in [Backend::Jack, Backend::System, Backend::Silent] {
            ui.radio_value(&mut choice.backend, Some(backend), backend.name());
        }
        if choice.backend != Some(Backend::Jack) && choice.backend != Some(Backend::Silent) {
            ui.separator();
            ui.radio_value(&mut choice.output, None, "The system's own output");
            for output in &available.outputs {
                let name = Some(output.name.clone());
                ui.radio_value(&mut choice.output, name, &output.name);
            }
            let output = available.outputs.iter().find(|it| match &choice.output {
                Some(name) => it.name == *name,
                None => it.is_default,
            });
            if let Some(output) = output {
                ui.horizontal(|ui| {
                    ui.label("Rate");
                    for rate in output.rates() {
                        ui.selectable_value(
                            &mut choice.sample_rate,
                            Some(rate),
                            format!("{} k", f64::from(rate) / 1000.0),
                        );
                    }
                });
                let rate = choice.sample_rate.unwrap_or(48_000);
                ui.horizontal(|ui| {
                    ui.label("Block");
                    for block in output.blocks(rate) {
                        ui.selectable_value(&mut choice.block, Some(block), block.to_string());
                    }
                });
            }
            ui.separator();
            ui.strong("MIDI");
            ui.radio_value(&mut choice.midi, Midi::First, "The first there is");
            for name in &available.midi_inputs {
                ui.radio_value(&mut choice.midi, Midi::Named(name.clone()), name);
            }
            ui.radio_value(&mut choice.midi, Midi::None, "None");
        }
        if choice != before {
            self.hands.chosen = Some(choice);
            ui.close();
        }
    }

    /// Plays on other devices, if they were chosen.
    pub(super) fn choose_devices(&mut self, frame: &Frame) {
        let Some(choice) = self.hands.chosen.take() else {
            return;
        };
        if let Some(standalone) = &mut self.standalone {
            let chosen = standalone.choose(&choice, frame);
            self.tell(chosen);
        }
    }

    /// A button that records what is heard.
    fn recorder(&mut self, ui: &mut Ui) {
        let recorder = self.display.recorder();
        match recorder.ended() {
            Ok(None) => {}
            Ok(Some(recording)) => self.news = Some((recorded(&recording), recording.lost > 0)),
            Err(error) => self.news = Some((error.to_string(), true)),
        }
        let seconds = recorder.seconds();
        let (icon, tip) = match seconds {
            None => (Icon::Record, "Records what is heard as a WAV file"),
            Some(_) => (Icon::Stop, "Ends the recording"),
        };
        let button = icon_button(ui, icon, true, seconds.is_some(), tip);
        if let Some(seconds) = seconds {
            let text = format!("{:02}:{:04.1}", (seconds / 60.0) as u32, seconds % 60.0);
            ui.label(RichText::new(text).color(Look::here(ui).accent));
            ui.ctx()
                .request_repaint_after(std::time::Duration::from_millis(100));
        }
        if !button.clicked() {
            return;
        }
        if seconds.is_some() {
            self.news = match recorder.stop() {
                Ok(Some(recording)) => Some((recorded(&recording), recording.lost > 0)),
                Ok(None) => None,
                Err(error) => Some((error.to_string(), true)),
            };
            return;
        }
        let folder = dirs::audio_dir().or_else(dirs::home_dir);
        let started = match folder {
            Some(folder) => recorder.start(&Recorder::new_name(&folder)),
            None => Err(audiodiff::Error::setting(
                "this system has no folder for recordings",
            )),
        };
        self.tell(started);
    }
}

fn recorded(recording: &crate::recorder::Recording) -> String {
    let mut text = format!(
        "{:.1} s are in {}",
        recording.seconds(),
        recording.path.display()
    );
    if let Some(why) = &recording.ended {
        text += &format!("; {why}");
    }
    if recording.lost > 0 {
        text += &format!("; {} lost", counted(recording.lost, "frame"));
    }
    text
}
