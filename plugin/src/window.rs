//! The window: pads on the left, the selected pad on the right, the generator's progress below.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use audiodiff::audio::{self, BitDepth, Tags};
use egui::{Color32, Key, Modifiers, Ui, Vec2};
use nice_plug::context::gui::GuiContext;
use nice_plug::prelude::*;
use nice_plug_egui::baseview::HandlerError;
use nice_plug_egui::baseview::dpi::LogicalSize;
use nice_plug_egui::{
    EguiEditor, EguiEditorState, EguiNiceSettings, Frame, NiceEguiApp, create_egui_editor,
};

use crate::display::Display;
use crate::pad::PADS;
use crate::params::PluginParams;
use crate::project::Project;
use crate::requests::Task;
use crate::settings::Settings;
use crate::standalone::Standalone;
use crate::status::Status;
use crate::store::Store;
use crate::stored::{MAX_STORED_SECONDS, SoundRecipe, StoredSound};
use crate::undo::Direction;

mod files;
mod head;
#[cfg(target_os = "linux")]
mod keyboard;
mod pad;
mod wave;
mod widget;

use files::{Picking, Purpose};
use wave::{Peaks, peaks};
use widget::{Editing, Hand, KNOB};

/// The size of the first window, in logical points.
const SIZE: LogicalSize<f64> = LogicalSize::new(1080.0, 700.0);
/// Below it, not everything is seen.
const LEAST: LogicalSize<f32> = LogicalSize::new(1080.0, 700.0);
/// Room for the longest row of the selected pad's parameters, and for the gap beside the pads.
const SELECTED_WIDTH: f32 = 530.0;
/// No window is remembered to be larger.
const MOST: LogicalSize<f32> = LogicalSize::new(8000.0, 8000.0);

/// The time between two pictures while something moves.
const FRAME: Duration = Duration::from_millis(40);

/// A level that the meter does not show: -60 dB.
const SILENT: f32 = 1e-3;

/// Frames after which a window has the size that its host gives it.
const SETTLED: u32 = 25;

const BACK: Color32 = Color32::from_rgb(22, 24, 29);
const PANEL: Color32 = Color32::from_rgb(32, 35, 42);
const EDGE: Color32 = Color32::from_rgb(58, 63, 74);
const INK: Color32 = Color32::from_rgb(222, 226, 233);
const FAINT: Color32 = Color32::from_rgb(139, 147, 161);
const ACCENT: Color32 = Color32::from_rgb(255, 165, 82);
const WAVE: Color32 = Color32::from_rgb(110, 196, 219);
const TROUBLE: Color32 = Color32::from_rgb(242, 108, 108);

/// The window of one instance.
pub struct Window {
    params: Arc<PluginParams>,
    store: Arc<Store>,
    status: Arc<Status>,
    display: Arc<Display>,
    /// Present while the window is open.
    host: Option<GuiContext>,
    /// Present while it is open without a host.
    standalone: Option<Standalone>,
    /// As it is at this frame.
    project: Arc<Project>,
    /// The gesture in which the seed is dragged or typed.
    seed_gesture: u64,
    /// By pad: the sound that is shown, and its peaks.
    pictures: [Option<(Arc<StoredSound>, Peaks)>; PADS],
    level: f32,
    /// Whether the sum was above full scale.
    over: bool,
    /// The pad that the mouse went down on.
    pressed: Option<usize>,
    settings: Settings,
    picking: Option<Picking>,
    /// The outcome of the last file, and whether it is bad news.
    news: Option<(String, bool)>,
    /// The folder of the last export.
    exported: Option<PathBuf>,
    /// The store's count of changes that the host knows of.
    reported: u64,
    /// Whether pads may have outputs of their own.
    multi: bool,
    size: Arc<EguiEditorState>,
    /// Frames since it was opened.
    frames: u32,
    #[cfg(target_os = "linux")]
    keyboard: keyboard::Keyboard,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").finish_non_exhaustive()
    }
}

/// The editor of one instance.
pub fn editor(
    state: Arc<EguiEditorState>,
    params: Arc<PluginParams>,
    store: Arc<Store>,
    status: Arc<Status>,
    display: Arc<Display>,
    multi: bool,
) -> Option<EguiEditor<Window>> {
    let settings = EguiNiceSettings::new()
        .with_tile("audiodiff")
        .with_resize_hint(ResizeHint::resizable().with_min_logical_size(LEAST))
        .with_repaint_poll_interval(FRAME);
    let repaint = display.repaint().clone();
    let window = Window::new(state.clone(), params, store, status, display, multi);
    create_egui_editor(state, repaint, settings, window)
}

/// A window's size, for as long as its instance lives: at first that of the last window.
#[must_use]
pub fn size() -> Arc<EguiEditorState> {
    let last = Settings::load().window.filter(|[width, height]| {
        (LEAST.width..=MOST.width).contains(width) && (LEAST.height..=MOST.height).contains(height)
    });
    let size = last.map_or(SIZE, |[width, height]| {
        LogicalSize::new(width.into(), height.into())
    });
    EguiEditorState::from_size(size, 1.0)
}

impl NiceEguiApp for Window {
    fn build(
        &mut self,
        egui: egui::Context,
        host: GuiContext,
        _: &mut Frame,
    ) -> Result<(), HandlerError> {
        self.standalone = Standalone::begin(&host, &self.display);
        self.host = Some(host);
        self.settings = Settings::load();
        self.frames = 0;
        if self.status.model().is_none() {
            // It has the names of the classes.
            self.status.open_model();
        }
        let mut visuals = egui::Visuals::dark();
        visuals.panel_fill = BACK;
        visuals.override_text_color = Some(INK);
        visuals.selection.bg_fill = ACCENT.gamma_multiply(0.5);
        egui.set_visuals(visuals);
        Ok(())
    }

    fn editor_closed(&mut self) {
        self.host = None;
        #[cfg(target_os = "linux")]
        {
            self.keyboard = Default::default();
        }
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut Frame) {
        let Some(host) = self.host.clone() else {
            return;
        };
        let setter = host.param_setter();
        let (params, store) = (self.params.clone(), self.store.clone());
        let edit = Editing {
            hand: &setter,
            params: &params,
            store: &store,
        };
        self.remember_size(ui);
        self.report_changes(&setter);
        self.poll_dialog();
        if let Some(standalone) = &mut self.standalone {
            standalone.poll(frame);
            if let Some(sentence) = standalone.take_news() {
                self.news = Some((sentence, true));
            }
        }
        self.draw(ui, &edit);
        #[cfg(target_os = "linux")]
        {
            let clicked = ui.input(|input| input.pointer.any_released());
            let wanted = ui.ctx().egui_wants_keyboard_input();
            self.keyboard.settle(wanted, clicked, frame);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = frame;
        // Whatever else moves by itself says so ([`Display::repaint`]).
        let plays = (0..PADS).any(|pad| self.display.playhead(pad).is_some());
        if plays || self.level > SILENT || self.picking.is_some() || self.frames <= SETTLED {
            ui.ctx().request_repaint_after(FRAME);
        }
    }
}

impl Window {
    /// Everything that is seen, and what hands do to it.
    fn draw(&mut self, ui: &mut Ui, edit: &Editing<'_>) {
        self.undo_by_keys(ui, edit);
        self.update_pictures();
        egui::CentralPanel::default().show(ui, |ui| {
            self.head(ui, edit);
            ui.add_space(6.0);
            let rest = ui.available_size();
            let side = (rest.x * 0.44)
                .min(rest.y - 30.0)
                .min(rest.x - SELECTED_WIDTH)
                // Some hosts go below the least size.
                .max(1.0);
            ui.horizontal_top(|ui| {
                ui.vertical(|ui| {
                    ui.set_width(side);
                    self.pads(ui, Vec2::new(side, rest.y - 34.0 - KNOB.y - 10.0));
                    self.macros(ui, edit);
                });
                ui.add_space(6.0);
                ui.vertical(|ui| self.selected(ui, edit));
            });
            ui.with_layout(egui::Layout::bottom_up(egui::Align::Min), |ui| {
                self.foot(ui);
            });
        });
    }

    fn new(
        size: Arc<EguiEditorState>,
        params: Arc<PluginParams>,
        store: Arc<Store>,
        status: Arc<Status>,
        display: Arc<Display>,
        multi: bool,
    ) -> Self {
        Self {
            reported: store.changes(),
            project: store.project(),
            seed_gesture: 0,
            params,
            store,
            status,
            display,
            host: None,
            standalone: None,
            pictures: Default::default(),
            level: 0.0,
            over: false,
            pressed: None,
            settings: Settings::default(),
            picking: None,
            news: None,
            exported: None,
            multi,
            size,
            frames: 0,
            #[cfg(target_os = "linux")]
            keyboard: Default::default(),
        }
    }

    fn selected_pad(&self) -> usize {
        self.project.selected.min(PADS - 1)
    }

    /// The classes of the model that is open.
    fn labels(&self) -> Vec<String> {
        self.status
            .model()
            .map_or_else(Vec::new, |model| model.labels.clone())
    }

    /// Ctrl-Z, and Ctrl-Shift-Z or Ctrl-Y, unless a text is being typed.
    fn undo_by_keys(&self, ui: &Ui, edit: &Editing<'_>) {
        if ui.ctx().egui_wants_keyboard_input() {
            return;
        }
        let keys = [
            (
                Modifiers::COMMAND | Modifiers::SHIFT,
                Key::Z,
                Direction::Forth,
            ),
            (Modifiers::COMMAND, Key::Y, Direction::Forth),
            (Modifiers::COMMAND, Key::Z, Direction::Back),
        ];
        for (modifiers, key, direction) in keys {
            if ui.input_mut(|input| input.consume_key(modifiers, key)) {
                edit.undo(direction);
            }
        }
    }

    /// Takes the project as it is, and measures the peaks of sounds that are new.
    fn update_pictures(&mut self) {
        self.project = self.store.project();
        let project = &self.project;
        for (pad, picture) in self.pictures.iter_mut().enumerate() {
            let sound = project.sound(pad);
            let shown = picture.as_ref().map(|(sound, _)| Arc::as_ptr(sound));
            if shown != sound.map(Arc::as_ptr) {
                *picture = sound.map(|sound| (sound.clone(), peaks(sound)));
            }
        }
    }

    /// Keeps the window's size for the next one, unless it is being dragged.
    fn remember_size(&mut self, ui: &Ui) {
        let size = self.size.logical_size();
        let size = Some([size.width, size.height]);
        let idle = ui.input(|input| !input.pointer.any_down());
        if self.settings.window != size && idle && self.frames > SETTLED {
            self.prefer(|settings| settings.window = size);
        }
        self.frames = self.frames.saturating_add(1);
    }

    /// Changes this machine's preferences, as they are by now: other instances change them too.
    fn prefer(&mut self, change: impl FnOnce(&mut Settings)) {
        self.settings = Settings::load();
        change(&mut self.settings);
        if let Err(error) = self.settings.save() {
            self.news = Some((error.to_string(), true));
        }
    }

    /// Tells the host that there is something to save.
    fn report_changes(&mut self, setter: &ParamSetter<'_>) {
        let changes = self.store.changes();
        if self.reported != changes {
            self.reported = changes;
            let revision = &self.params.revision;
            setter.set(revision, (revision.value() + 1) % 1000);
        }
    }

    fn poll_dialog(&mut self) {
        let Some(picking) = &mut self.picking else {
            return;
        };
        let Poll::Ready(picked) = picking.poll() else {
            return;
        };
        let purpose = picking.purpose;
        if picked.is_none() && picking.is_dialog_missing() {
            let missing = "no dialog for files came: install xdg-desktop-portal or zenity";
            self.news = Some((missing.to_owned(), true));
        }
        self.picking = None;
        if let Some(path) = picked {
            self.news = match self.picked(purpose, &path) {
                Ok(news) => Some((news, false)),
                Err(error) => Some((error.to_string(), true)),
            };
        }
    }

    fn picked(&mut self, purpose: Purpose, path: &Path) -> audiodiff::Result<String> {
        match purpose {
            Purpose::Model => {
                self.use_model(Some(path.to_owned()));
                self.prefer(|settings| settings.remember(path));
                Ok(format!("sounds are made by {} from now on", path.display()))
            }
            Purpose::Sound(pad) => {
                let decoded = audio::decode(path, Some(MAX_STORED_SECONDS as f64))?;
                let sound = StoredSound::new(SoundRecipe::of_file(path), &decoded.clip)
                    .asked(self.params.pads[pad].asked(&self.project.settings[pad].making, None))
                    .measured();
                self.store.put(pad, sound)?;
                self.store.ask(pad, Task::Vary);
                let mut news = format!(
                    "{} is varied on pad {}; the sound before is the file's",
                    path.display(),
                    pad + 1
                );
                if decoded.seconds > decoded.clip.seconds() && decoded.lost.is_empty() {
                    news += &format!("; its first {MAX_STORED_SECONDS} s are");
                }
                for remark in decoded.lost.iter().chain(&decoded.mended) {
                    news += &format!("; {remark}");
                }
                Ok(news)
            }
            Purpose::Export(pad) => {
                let project = self.store.project();
                if let Some(sound) = project.sound(pad) {
                    let clip = sound.clip();
                    let depth = match clip.peak() {
                        ..=1.0 => BitDepth::Int24,
                        // Integers would clip louder samples.
                        _ => BitDepth::Float32,
                    };
                    let recipe = sound.recipe();
                    let tags = Tags {
                        title: recipe.class.clone().or_else(|| recipe.file.clone()),
                        comment: (recipe.file.is_none())
                            .then(|| format!("seed {}, model {}", recipe.seed, recipe.model)),
                        licence: None,
                        pitch_hz: sound.pitch(),
                    };
                    audio::write(path, &clip, depth, &tags)?;
                    self.exported = path.parent().map(Path::to_owned);
                }
                Ok(format!("pad {} is in {}", pad + 1, path.display()))
            }
        }
    }

    /// Shows why something was refused.
    fn tell(&mut self, outcome: audiodiff::Result<()>) {
        if let Err(error) = outcome {
            self.news = Some((error.to_string(), true));
        }
    }

    fn use_model(&self, path: Option<PathBuf>) {
        self.store.set_model(path);
        self.status.open_model();
    }
}

#[cfg(test)]
mod tests;
