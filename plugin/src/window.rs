//! The window: the stage on the left, the selected pad on the right, what goes on above and below.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use audiodiff::audio;
use egui::{Key, Modifiers, Rect, Ui};
use nice_plug::context::gui::GuiContext;
use nice_plug::editor::dpi::NativeSize;
use nice_plug::editor::{HostMethods, SpawnedEditor};
use nice_plug::plugin::TrackInfo;
use nice_plug::prelude::*;
use nice_plug_egui::baseview::HandlerError;
use nice_plug_egui::baseview::dpi::LogicalSize;
use nice_plug_egui::{
    EguiEditor, EguiEditorState, EguiNiceSettings, Frame, NiceEguiApp, create_egui_editor,
};

use crate::display::{Display, Learns};
use crate::kits::Place;
use crate::learn::Learner;
use crate::pad::PADS;
use crate::params::PluginParams;
use crate::project::Project;
use crate::settings::Settings;
use crate::standalone::{self, Standalone};
use crate::status::Status;
use crate::store::{PadCopy, Store};
use crate::stored::{StoredSound, depth_of};
use crate::undo::Direction;

mod bubble;
mod carry;
mod choice;
mod desk;
mod drops;
mod files;
mod head;
mod icon;
#[cfg(target_os = "linux")]
mod keyboard;
mod kitbar;
mod knob;
mod learn;
mod look;
mod make;
mod map;
mod morph;
mod pads;
mod play;
mod ring;
mod shape;
mod stage;
mod wave;

use bubble::Bubbles;
use desk::Hands;
use drops::{Places, Traffic, Waiting};
use files::{Picking, Purpose};
use head::Level;
use kitbar::Kits;
use knob::{Editing, Hand};
use learn::Lessons;
pub use look::Theme;
use look::{GAP, Look, MARGIN, NEAR, ROW, Room};
use map::{Chosen, Seen};
use morph::{Between, Shown};
use ring::Heard;
use stage::Stage;
use wave::{Peaks, View, peaks};

/// The size of the first window, in logical points.
const SIZE: LogicalSize<f64> = LogicalSize::new(1200.0, 760.0);
/// Below it, not everything is seen.
const LEAST: LogicalSize<f32> = LogicalSize::new(1040.0, 712.0);
/// The share of the window's width that the stage takes.
const STAGE: f32 = 0.425;
/// The heights of the selected pad's groups in the least window; what is more is shared out.
const MAKE: f32 = 120.0;
const SHAPE: f32 = 168.0;
const PLAY: f32 = 124.0;
/// The height of the keyboard on the screen, which only a program without a host has.
const KEYBOARD: f32 = 46.0;
/// No window is remembered to be larger.
const MOST: LogicalSize<f32> = LogicalSize::new(8000.0, 8000.0);

/// The time between two pictures while something moves.
const FRAME: Duration = Duration::from_millis(40);

/// A level that the meter does not show: -60 dB.
const SILENT: f32 = 1e-3;

/// Frames after which a window has the size that its host gives it.
const SETTLED: u32 = 25;

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
    /// What the meter shows, left and right.
    levels: [Level; 2],
    /// Whether the sum was above full scale.
    over: bool,
    /// What stands on the left.
    stage: Stage,
    bubbles: Bubbles,
    /// The pads that solo and mute leave to be heard.
    heard_pads: [bool; PADS],
    copied: Option<PadCopy>,
    traffic: Traffic,
    /// Where the pads are, and what stands on the left.
    places: Places,
    stage_rect: Rect,
    hands: Hands,
    kits: Kits,
    learner: Arc<Learner>,
    lessons: Lessons,
    /// What is heard under the pointer.
    heard: Heard,
    /// The pad whose ring is shown, and how far that goes, 0 to 1.
    explores: Option<usize>,
    distance: f32,
    /// What a morph is to go between, and the one that is shown.
    between: Between,
    morph: Option<Shown>,
    /// The part of the map that is seen, and what is chosen there.
    seen: Seen,
    chosen: Chosen,
    /// What the large wave shows, and whether in decibels.
    view: View,
    decibels: bool,
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
    hosted: Hosted,
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

/// What a host gives an instance.
#[derive(Debug, Clone, Copy)]
pub struct Hosted {
    /// An output for each pad.
    pub outputs: bool,
    /// What a MIDI device's controllers do.
    pub controllers: bool,
}

/// The editor of one instance.
pub fn editor(
    state: Arc<EguiEditorState>,
    params: Arc<PluginParams>,
    store: Arc<Store>,
    status: Arc<Status>,
    display: Arc<Display>,
    learner: Arc<Learner>,
    hosted: Hosted,
) -> Option<Opener> {
    let scale = state.user_scale_factor();
    let least = LogicalSize::new(LEAST.width * scale, LEAST.height * scale);
    let settings = EguiNiceSettings::new()
        .with_tile("audiodiff")
        .with_resize_hint(ResizeHint::resizable().with_min_logical_size(least))
        .with_repaint_poll_interval(FRAME);
    let repaint = display.repaint().clone();
    let mut window = Window::new(state.clone(), params, store, status, display, learner);
    window.hosted = hosted;
    create_egui_editor(state, repaint, settings, window).map(Opener)
}

/// Opens the window of one instance. A program of its own ends where that fails.
pub struct Opener(EguiEditor<Window>);

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Editor for Opener {
    type Handle = <EguiEditor<Window> as Editor>::Handle;

    fn spawn(
        &self,
        parent: Option<ParentWindowHandle>,
        wait_for_parent: bool,
        fallback_scale_factor: Option<f64>,
        context: GuiContext,
        host: Option<HostMethods>,
    ) -> Result<SpawnedEditor<Self::Handle>, Box<dyn std::error::Error>> {
        let api = context.plugin_api();
        let spawned = self.0.spawn(
            parent,
            wait_for_parent,
            fallback_scale_factor,
            context,
            host,
        );
        match spawned {
            Err(cause) if api == PluginApi::Standalone => {
                standalone::end_without_window(cause.as_ref())
            }
            spawned => spawned,
        }
    }

    fn size(&self) -> NativeSize<u32> {
        self.0.size()
    }

    fn resize_hint(&self) -> ResizeHint {
        self.0.resize_hint()
    }

    fn track_info_updated(&self, info: TrackInfo) {
        self.0.track_info_updated(info);
    }
}

/// A window's size, for as long as its instance lives: at first that of the last window.
#[must_use]
pub fn size() -> Arc<EguiEditorState> {
    let settings = Settings::load();
    let last = settings.window.filter(|[width, height]| {
        (LEAST.width..=MOST.width).contains(width) && (LEAST.height..=MOST.height).contains(height)
    });
    let size = last.map_or(SIZE, |[width, height]| {
        LogicalSize::new(width.into(), height.into())
    });
    EguiEditorState::from_size(size, settings.scale)
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
        // Of the window before, which need not have said that it was closed.
        #[cfg(target_os = "linux")]
        {
            self.traffic.desktop = None;
            self.keyboard = Default::default();
        }
        self.display.let_all_go();
        self.kits.refresh(self.display.repaint().clone());
        look::add_fonts(&egui);
        Look::of(self.settings.theme).apply(&egui);
        Ok(())
    }

    fn editor_closed(&mut self) {
        self.host = None;
        self.display.let_all_go();
        #[cfg(target_os = "linux")]
        {
            self.keyboard = Default::default();
            self.traffic.desktop = None;
        }
    }

    fn ui(&mut self, ui: &mut Ui, frame: &mut Frame) {
        let Some(host) = self.host.clone() else {
            return;
        };
        let setter = host.param_setter();
        let (params, store) = (self.params.clone(), self.store.clone());
        let display = self.display.clone();
        let edit = Editing {
            hand: &setter,
            params: &params,
            store: &store,
            display: &display,
            controllers: self.hosted.controllers,
        };
        #[cfg(target_os = "linux")]
        self.open_desktop(frame);
        self.remember_size(ui);
        self.report_changes(&setter);
        self.poll_dialog(&edit);
        if let Some(standalone) = &mut self.standalone {
            standalone.poll(frame);
            if let Some(sentence) = standalone.take_news() {
                self.news = Some((sentence, true));
            }
        }
        self.draw(ui, &edit);
        self.choose_devices(frame);
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
        if plays
            || self.levels.iter().any(|level| level.now > SILENT)
            || self.picking.is_some()
            || self.frames <= SETTLED
        {
            ui.ctx().request_repaint_after(FRAME);
        }
    }
}

impl Window {
    /// Takes part in what files are dragged, once the window is there.
    #[cfg(target_os = "linux")]
    fn open_desktop(&mut self, frame: &Frame) {
        use raw_window_handle::HasWindowHandle;
        if self.frames != 1 {
            return;
        }
        let window = frame.baseview_window();
        let Ok(handle) = window.window_handle() else {
            return;
        };
        match crate::desktop::Desktop::open(handle.as_raw(), self.display.repaint()) {
            Ok(desktop) => self.traffic.desktop = desktop,
            Err(why) => self.news = Some((why, true)),
        }
    }

    /// Everything that is seen, and what hands do to it.
    fn draw(&mut self, ui: &mut Ui, edit: &Editing<'_>) {
        self.undo_by_keys(ui, edit);
        edit.follow_controllers();
        self.update_pictures();
        let screen = ui.max_rect();
        ui.painter().rect_filled(screen, 0, Look::here(ui).back);
        let mut room = Room(screen.shrink2(egui::Vec2::new(MARGIN, 8.0)));
        let head = room.top(48.0, NEAR);
        let foot = room.bottom(ROW, NEAR);
        if self.standalone.is_some() {
            let keys = room.bottom(KEYBOARD, NEAR);
            ui.push_id("keys", |ui| self.keyboard_on_screen(ui, keys));
            self.type_notes(ui);
        }
        let stage = room.left(STAGE * room.0.width(), GAP);
        self.stage_rect = stage;
        self.head(ui, head, edit);
        ui.push_id("stage", |ui| self.stage(ui, stage, edit));
        self.selected(ui, room.0, edit);
        self.foot(ui, foot);
        self.lessons(ui);
        self.traffic(ui, edit);
        self.carried(ui);
    }

    /// The selected pad: its wave, and all its parameters and settings.
    fn selected(&mut self, ui: &mut Ui, rect: Rect, edit: &Editing<'_>) {
        let pad = self.selected_pad();
        let params = self.params.clone();
        let params = &params.pads[pad];
        let settings = self.project.settings[pad].clone();
        let least = LEAST.height - KEYBOARD - NEAR - 16.0 - 48.0 - ROW - 2.0 * NEAR;
        let more = (rect.height() - least).max(0.0);
        let mut room = Room(rect);
        let play = room.bottom(PLAY + 0.2 * more, GAP);
        let shape = room.bottom(SHAPE + 0.3 * more, GAP);
        let make = room.bottom(MAKE + 0.2 * more, GAP);
        self.large_wave(ui, room.0, edit, pad);
        // Each has names of its own: a knob of one may be called as one of another.
        ui.push_id("make", |ui| {
            self.make(ui, make, edit, pad, params, &settings);
        });
        ui.push_id("shape", |ui| {
            self.shape(ui, shape, edit, pad, params, &settings);
        });
        ui.push_id("play", |ui| {
            self.play(ui, play, edit, pad, params, &settings);
        });
    }

    fn new(
        size: Arc<EguiEditorState>,
        params: Arc<PluginParams>,
        store: Arc<Store>,
        status: Arc<Status>,
        display: Arc<Display>,
        learner: Arc<Learner>,
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
            levels: Default::default(),
            over: false,
            stage: Stage::default(),
            bubbles: Bubbles::default(),
            heard_pads: [true; PADS],
            copied: None,
            traffic: Traffic::default(),
            places: [Rect::NOTHING; PADS],
            stage_rect: Rect::NOTHING,
            hands: Hands::default(),
            kits: Kits::new(),
            learner,
            lessons: Lessons::default(),
            heard: Heard::default(),
            explores: None,
            distance: 0.35,
            between: Between::Pad(1),
            morph: None,
            seen: Seen::default(),
            chosen: Chosen::default(),
            view: View::default(),
            decibels: false,
            pressed: None,
            settings: Settings::default(),
            picking: None,
            news: None,
            exported: None,
            hosted: Hosted {
                outputs: false,
                controllers: true,
            },
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

    /// Ctrl-Z, and Ctrl-Shift-Z or Ctrl-Y, and Escape for what is being learnt; unless a text is being typed.
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
        if self.display.learning().is_some() && ui.input(|input| input.key_pressed(Key::Escape)) {
            self.display.learn(None);
        }
        for (modifiers, key, direction) in keys {
            if ui.input_mut(|input| input.consume_key(modifiers, key)) {
                edit.undo(direction);
            }
        }
    }

    /// Takes the project as it is, and measures the peaks of sounds that are new.
    fn update_pictures(&mut self) {
        self.project = self.store.project();
        if let Some((learns, number)) = self.display.take_learnt() {
            let gesture = self.store.gesture();
            self.store.edit(gesture, |project| match learns {
                Learns::Key(pad) => project.keymap.set(pad, number),
                Learns::Controller(knob) => project.controllers.set(knob, Some(number)),
            });
            if let Learns::Controller(knob) = learns
                && let Some(param) = self.params.knobs().nth(knob)
            {
                let news = format!("controller {number} turns {} from now on", param.name());
                self.news = Some((news, false));
            }
            self.project = self.store.project();
        }
        self.heard_pads = self.project.kit().heard();
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

    fn poll_dialog(&mut self, edit: &Editing<'_>) {
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
            let told = self.picked(purpose, &path, edit);
            self.say(told);
        }
    }

    fn picked(
        &mut self,
        purpose: Purpose,
        path: &Path,
        edit: &Editing<'_>,
    ) -> audiodiff::Result<String> {
        match purpose {
            Purpose::Model => {
                self.use_model(Some(path.to_owned()));
                self.prefer(|settings| settings.remember(path));
                Ok(format!("sounds are made by {} from now on", path.display()))
            }
            Purpose::Learn => self.learn(path),
            Purpose::Kits(format) => self.export_kit(format, path.to_owned()),
            Purpose::Kit => self.open_kit(&Place::File(path.to_owned()), edit),
            Purpose::MapFolder => {
                let map = self.store.map().ok_or_else(|| {
                    audiodiff::Error::setting("the map was closed in between; open it again")
                })?;
                map.add_folder(path.to_owned());
                Ok(format!("{} is read for the map", path.display()))
            }
            Purpose::Sound(pad) => {
                self.traffic.waiting = Some(Waiting {
                    paths: vec![path.to_owned()],
                    pad,
                    at: self.stage_rect.center(),
                });
                Ok(format!("what is to become of {}?", path.display()))
            }
            Purpose::Export(pad) => {
                let project = self.store.project();
                if let Some(sound) = project.sound(pad) {
                    let clip = sound.clip();
                    let (depth, tags) = (depth_of(&clip), sound.tags());
                    audio::write(path, &clip, depth, &tags)?;
                    self.exported = path.parent().map(Path::to_owned);
                }
                Ok(format!("pad {} is in {}", pad + 1, path.display()))
            }
        }
    }

    /// Shows what came of something.
    fn say(&mut self, outcome: audiodiff::Result<String>) {
        self.news = Some(match outcome {
            Ok(news) => (news, false),
            Err(error) => (error.to_string(), true),
        });
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
