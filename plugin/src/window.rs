//! The window: pads on the left, the selected pad on the right, what the generator does below.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use audiodiff::audio::{self, BitDepth};

use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Align2, Color32, ComboBox, CornerRadius, FontId, Grid, Pos2, Rect, RichText, Sense, Stroke,
    StrokeKind, Ui, Vec2,
};
use nice_plug::context::gui::GuiContext;
use nice_plug::prelude::*;
use nice_plug_egui::baseview::HandlerError;
use nice_plug_egui::baseview::dpi::LogicalSize;
use nice_plug_egui::{
    EguiEditor, EguiEditorState, EguiNiceSettings, Frame, NiceEguiApp, RepaintNotifier,
    create_egui_editor,
};

use crate::generator::Status;
use crate::params::{FIRST_KEY, PadParams, PluginParams};
use crate::settings::Settings;
use crate::state::{MAX_SECONDS, PADS, Recipe, Store, StoredSound, Task};
use crate::voice::Display;

mod files;
#[cfg(target_os = "linux")]
mod keyboard;
mod knob;

use files::{Picking, Purpose};
use knob::{Format, knob};

/// Logical points, at first.
const SIZE: LogicalSize<f64> = LogicalSize::new(1040.0, 640.0);
const LEAST: LogicalSize<f32> = LogicalSize::new(820.0, 600.0);
/// No window is remembered to be larger.
const MOST: LogicalSize<f32> = LogicalSize::new(8000.0, 8000.0);

/// Frames after which a window has the size that its host gives it.
const SETTLED: u32 = 25;

/// Pads in a row of four, the first at the bottom left.
const ROWS: usize = 4;

const BACK: Color32 = Color32::from_rgb(22, 24, 29);
const PANEL: Color32 = Color32::from_rgb(32, 35, 42);
const EDGE: Color32 = Color32::from_rgb(58, 63, 74);
const INK: Color32 = Color32::from_rgb(222, 226, 233);
const FAINT: Color32 = Color32::from_rgb(139, 147, 161);
const ACCENT: Color32 = Color32::from_rgb(255, 165, 82);
const WAVE: Color32 = Color32::from_rgb(110, 196, 219);
const TROUBLE: Color32 = Color32::from_rgb(242, 108, 108);

/// Highest and lowest value of each of some stretches of a sound.
type Peaks = Vec<[f32; 2]>;

/// What the window shows and works on.
pub struct Window {
    params: Arc<PluginParams>,
    store: Arc<Store>,
    status: Arc<Status>,
    display: Arc<Display>,
    /// There while it is open.
    host: Option<GuiContext>,
    /// Pictures of the sounds, and what they were drawn from.
    pictures: [Option<(StoredSound, Peaks)>; PADS],
    level: f32,
    /// The pad that the mouse went down on.
    pressed: Option<usize>,
    settings: Settings,
    picking: Option<Picking>,
    /// What came of the last file, and whether it is bad news.
    news: Option<(String, bool)>,
    /// Where the last export went.
    exported: Option<PathBuf>,
    /// The store's count of sounds when the host was last told.
    told: u64,
    /// Whether pads may have outputs of their own.
    multi: bool,
    size: Arc<EguiEditorState>,
    /// Since it was opened.
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
        .with_resize_hint(ResizeHint::resizable().with_min_logical_size(LEAST));
    let window = Window {
        told: store.count(),
        params,
        store,
        status,
        display,
        host: None,
        pictures: Default::default(),
        level: 0.0,
        pressed: None,
        settings: Settings::default(),
        picking: None,
        news: None,
        exported: None,
        multi,
        size: state.clone(),
        frames: 0,
        #[cfg(target_os = "linux")]
        keyboard: Default::default(),
    };
    create_egui_editor(state, RepaintNotifier::new(), settings, window)
}

/// A window's size, for as long as its instance lives: at first that of the last window.
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
        self.host = Some(host);
        self.settings = Settings::load();
        self.frames = 0;
        if self.status.names().is_none() {
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
        self.remember_size(ui);
        self.look_at_sounds();
        self.tell(&setter);
        self.look_at_dialog();
        egui::CentralPanel::default().show(ui, |ui| {
            self.head(ui, &setter);
            ui.add_space(6.0);
            let rest = ui.available_size();
            let side = (rest.x * 0.44).min(rest.y - 30.0);
            ui.horizontal_top(|ui| {
                ui.vertical(|ui| {
                    ui.set_width(side);
                    self.pads(ui, &setter, Vec2::new(side, rest.y - 34.0));
                });
                ui.add_space(6.0);
                ui.vertical(|ui| self.selected(ui, &setter));
            });
            ui.with_layout(egui::Layout::bottom_up(egui::Align::Min), |ui| {
                self.foot(ui)
            });
        });
        #[cfg(target_os = "linux")]
        {
            let clicked = ui.input(|input| input.pointer.any_released());
            let wanted = ui.ctx().egui_wants_keyboard_input();
            self.keyboard.settle(wanted, clicked, frame);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = frame;
        // Playheads and progress move by themselves.
        ui.ctx().request_repaint_after(Duration::from_millis(40));
    }
}

impl Window {
    fn selected_pad(&self) -> usize {
        (self.params.pad.value() - 1).clamp(0, PADS as i32 - 1) as usize
    }

    /// Draws anew what has changed.
    fn look_at_sounds(&mut self) {
        let project = self.store.project();
        for (pad, picture) in self.pictures.iter_mut().enumerate() {
            let sound = project.sound(pad);
            if picture.as_ref().map(|(sound, _)| sound) != sound {
                *picture = sound.map(|sound| (sound.clone(), peaks(sound)));
            }
        }
    }

    /// The next window shall be as large. Not while it is being dragged.
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
    fn tell(&mut self, setter: &ParamSetter<'_>) {
        let count = self.store.count();
        if self.told != count {
            self.told = count;
            let revision = &self.params.revision;
            set(setter, revision, (revision.value() + 1) % 1000);
        }
    }

    fn look_at_dialog(&mut self) {
        let Some(picking) = &mut self.picking else {
            return;
        };
        let Poll::Ready(picked) = picking.poll() else {
            return;
        };
        let purpose = picking.purpose;
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
                let clip = audio::decode(path, Some(MAX_SECONDS as f64))?.clip;
                let sound = StoredSound::new(Recipe::of_file(path), &clip);
                self.store.put(pad, sound);
                self.store.ask(pad, Task::Vary);
                Ok(format!(
                    "{} is varied on pad {}; the sound before is the file's",
                    path.display(),
                    pad + 1
                ))
            }
            Purpose::Export(pad) => {
                let project = self.store.project();
                if let Some(sound) = project.sound(pad) {
                    let clip = sound.clip();
                    let depth = match clip.peak() {
                        ..=1.0 => BitDepth::Int24,
                        // Whatever is louder would be clipped.
                        _ => BitDepth::Float32,
                    };
                    audio::write_wav(path, &clip, depth)?;
                    self.exported = path.parent().map(Path::to_owned);
                }
                Ok(format!("pad {} is in {}", pad + 1, path.display()))
            }
        }
    }

    fn use_model(&self, path: Option<PathBuf>) {
        self.store.set_model(path);
        self.status.open_model();
    }

    /// Which model makes the sounds, and on how many threads.
    fn model_menu(&mut self, ui: &mut Ui) {
        let chosen = self.store.project().model.clone();
        let name = match (self.status.names(), &chosen) {
            (Some(names), _) => names.model.clone(),
            (None, Some(path)) => format!("{} (not open)", file_name(path)),
            (None, None) => "no model open yet".to_owned(),
        };
        ui.menu_button(name, |ui| {
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
            if ui.button("Open…").clicked() {
                self.picking = Some(Picking::begin(Purpose::Model, ""));
                ui.close();
            }
            ui.separator();
            ui.horizontal(|ui| {
                ui.label("Threads");
                let mut threads = self.settings.threads();
                let most = std::thread::available_parallelism().map_or(1, |n| n.get());
                let value = egui::DragValue::new(&mut threads).range(1..=most);
                if ui.add(value).changed() {
                    self.prefer(|settings| settings.threads = Some(threads));
                }
            });
        });
    }

    fn head(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>) {
        ui.horizontal(|ui| {
            ui.label(RichText::new("audiodiff").size(22.0).strong().color(ACCENT));
            self.model_menu(ui);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                self.meter(ui);
                knob(ui, &self.params.gain, setter, "Gain", Format::default());
                toggle(ui, &self.params.keys, setter, "Keys")
                    .on_hover_text("All keys play the selected pad at their pitch");
                if ui
                    .button("Generate all")
                    .on_hover_text("New sounds for all pads that are not locked")
                    .clicked()
                {
                    for pad in &self.params.pads {
                        if !pad.lock.value() {
                            reseed(&pad.seed, setter);
                        }
                    }
                    set(
                        setter,
                        &self.params.generate_all,
                        !self.params.generate_all.value(),
                    );
                }
            });
        });
    }

    fn meter(&mut self, ui: &mut Ui) {
        let (rect, _) = ui.allocate_exact_size(Vec2::new(10.0, 48.0), Sense::hover());
        self.level = self.display.take_peak().max(self.level * 0.88);
        let share = ((util::gain_to_db(self.level) + 60.0) / 66.0).clamp(0.0, 1.0);
        let painter = ui.painter();
        painter.rect_filled(rect, 2.0, PANEL);
        let mut bar = rect;
        bar.set_top(rect.bottom() - rect.height() * share);
        let color = if self.level > 1.0 { TROUBLE } else { WAVE };
        painter.rect_filled(bar, 2.0, color);
    }

    fn pads(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>, size: Vec2) {
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
        let params = &self.params.pads[pad];
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
            draw_wave(&painter, wave, peaks, if chosen { ACCENT } else { WAVE });
        }
        if let Some(share) = playhead {
            let x = wave.left() + wave.width() * share;
            painter.line_segment(
                [Pos2::new(x, wave.top()), Pos2::new(x, wave.bottom())],
                Stroke::new(1.0, INK),
            );
        }
        let small = FontId::proportional(11.0);
        let class = match (&self.pictures[pad], params.class.value()) {
            (Some((sound, _)), 0) => sound.recipe().class.clone().unwrap_or("any".into()),
            _ => params.class.to_string(),
        };
        let top = rect.left_top() + Vec2::new(6.0, 4.0);
        painter.text(top, Align2::LEFT_TOP, class, small.clone(), INK);
        let number = format!("{}", pad + 1);
        let corner = rect.right_top() + Vec2::new(-6.0, 4.0);
        painter.text(corner, Align2::RIGHT_TOP, number, small.clone(), FAINT);
        let bottom = rect.left_bottom() + Vec2::new(6.0, -4.0);
        let key = util::KEYS[(usize::from(FIRST_KEY) + pad) % 12];
        let octave = (usize::from(FIRST_KEY) + pad) / 12 - 2;
        painter.text(
            bottom,
            Align2::LEFT_BOTTOM,
            format!("{key}{octave}"),
            small.clone(),
            FAINT,
        );
        if params.lock.value() {
            let corner = rect.right_bottom() + Vec2::new(-6.0, -4.0);
            painter.text(corner, Align2::RIGHT_BOTTOM, "locked", small, FAINT);
        } else if self.store.pending(pad).is_some() {
            let mut bar = rect.shrink(3.0);
            bar.set_top(bar.bottom() - 3.0);
            bar.set_width(bar.width() * self.status.done(pad).clamp(0.02, 1.0));
            painter.rect_filled(bar, 1.5, ACCENT);
        }
        let edge = if chosen { ACCENT } else { EDGE };
        painter.rect_stroke(rect, 5.0, Stroke::new(1.0, edge), StrokeKind::Inside);
    }

    fn selected(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>) {
        let pad = self.selected_pad();
        let params = self.params.clone();
        let params = &params.pads[pad];
        let size = Vec2::new(ui.available_width(), 130.0);
        let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
        self.large_wave(ui, pad, params, rect);
        if let Some((sound, _)) = &self.pictures[pad]
            && !sound.remarks().is_empty()
        {
            let remarks = sound.remarks();
            draw_line_of_text(ui, rect, &remarks.join("; "));
            response.on_hover_text(remarks.join("\n"));
        }
        ui.add_space(4.0);
        self.make(ui, setter, pad, params);
        ui.separator();
        ui.label(RichText::new("Playing").color(FAINT));
        let plain = Format::default();
        ui.horizontal_wrapped(|ui| {
            knob(ui, &params.gain, setter, "Gain", plain);
            knob(ui, &params.pan, setter, "Pan", plain.centred());
            knob(ui, &params.pitch, setter, "Pitch", plain.centred());
            knob(ui, &params.fine, setter, "Fine", plain.centred());
            knob(ui, &params.start, setter, "Start", plain);
            knob(ui, &params.velocity, setter, "Velocity", plain);
        });
        ui.horizontal_wrapped(|ui| {
            knob(ui, &params.attack, setter, "Attack", plain);
            knob(ui, &params.hold, setter, "Hold", plain);
            knob(ui, &params.decay, setter, "Decay", plain);
            knob(ui, &params.sustain, setter, "Sustain", plain);
            knob(ui, &params.release, setter, "Release", plain);
            knob(ui, &params.cutoff, setter, "Cutoff", plain);
            knob(ui, &params.resonance, setter, "Resonance", plain);
        });
        Grid::new("choices").spacing([14.0, 4.0]).show(ui, |ui| {
            choice(ui, &params.mode, setter, "Mode", 3);
            choice(ui, &params.filter, setter, "Filter", 3);
            choice(ui, &params.choke, setter, "Choke", 9);
            toggle(ui, &params.reverse, setter, "Reverse");
        });
    }

    /// What is made, and the buttons that make it.
    fn make(&mut self, ui: &mut Ui, setter: &ParamSetter<'_>, pad: usize, params: &PadParams) {
        let classes = self.status.names().map_or(0, |names| names.labels.len()) + 2;
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
                set(setter, &params.generate, !params.generate.value());
            }
            let made = ui.add(big("Generate"));
            if made.on_hover_text("The sound of this seed").clicked() {
                set(setter, &params.generate, !params.generate.value());
            }
            let varied = ui.add(big("Vary"));
            if varied.on_hover_text("Another one like this").clicked() {
                pulse(setter, &params.vary);
            }
            let morphed = ui.add(big("Morph"));
            if morphed
                .on_hover_text("One between this and another pad's")
                .clicked()
            {
                pulse(setter, &params.morph);
            }
            choice(ui, &params.morph_with, setter, "with pad", PADS);
        });
        self.past(ui, pad);
    }

    /// A pad's earlier sounds, and those in files.
    fn past(&mut self, ui: &mut Ui, pad: usize) {
        ui.horizontal(|ui| {
            let (at, of) = self.store.history(pad);
            let back = ui.add_enabled(at > 1, egui::Button::new("<"));
            if back.on_hover_text("The sound before").clicked() {
                self.store.step(pad, -1);
            }
            ui.label(RichText::new(format!("{at} of {of}")).color(FAINT));
            let forth = ui.add_enabled(at < of, egui::Button::new(">"));
            if forth.on_hover_text("The sound after").clicked() {
                self.store.step(pad, 1);
            }
            let idle = self.picking.is_none();
            let open = ui.add_enabled(idle, egui::Button::new("From audio…"));
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

    fn large_wave(&self, ui: &Ui, pad: usize, params: &PadParams, rect: Rect) {
        let painter = ui.painter_at(rect);
        painter.rect_filled(rect, 5.0, PANEL);
        let wave = rect.shrink2(Vec2::new(8.0, 16.0));
        let font = FontId::proportional(12.0);
        let at = rect.left_top() + Vec2::new(8.0, 3.0);
        let Some((sound, peaks)) = &self.pictures[pad] else {
            painter.text(at, Align2::LEFT_TOP, "no sound yet", font, FAINT);
            return;
        };
        draw_wave(&painter, wave, peaks, WAVE);
        let clip_seconds = sound.seconds();
        let recipe = sound.recipe();
        let mut text = match &recipe.file {
            Some(file) => format!("pad {}: {file}, {clip_seconds:.2} s", pad + 1),
            None => format!(
                "pad {}: {}, seed {}, {clip_seconds:.2} s",
                pad + 1,
                recipe.class.as_deref().unwrap_or("any"),
                recipe.seed,
            ),
        };
        if recipe.steps > 0 {
            text += &format!(", {} steps", recipe.steps);
        }
        for (amount, what) in [(recipe.variation, "varied"), (recipe.morph, "morphed")] {
            if let Some(amount) = amount {
                text += &format!(", {what} by {:.0} %", 100.0 * amount);
            }
        }
        painter.text(at, Align2::LEFT_TOP, text, font, FAINT);
        let line = |share: f32, color| {
            let x = wave.left() + wave.width() * share.clamp(0.0, 1.0);
            painter.line_segment(
                [Pos2::new(x, wave.top()), Pos2::new(x, wave.bottom())],
                Stroke::new(1.5, color),
            );
        };
        line(params.start.value(), ACCENT);
        if let Some(share) = self.display.playhead(pad) {
            line(share, INK);
        }
    }

    /// What the generator does, or why it does not.
    fn foot(&self, ui: &mut Ui) {
        let waiting = (0..PADS)
            .filter(|&pad| self.store.pending(pad).is_some())
            .count();
        let (text, color) = match (self.status.trouble(), self.store.next()) {
            (_, Some(request)) if self.status.names().is_none() => (
                format!("opening the model for pad {}", request.pad + 1),
                FAINT,
            ),
            (_, Some(request)) => {
                let pad = request.pad;
                let done = 100.0 * self.status.done(pad);
                let mut text = format!("making pad {}: {done:.0} %", pad + 1);
                if let Some(left) = self.status.left(pad) {
                    text += &format!(", {:.1} s left", left.as_secs_f32());
                }
                if waiting > 1 {
                    text += &format!(", {} more to make", waiting - 1);
                }
                (text, FAINT)
            }
            (Some(trouble), None) => (trouble, TROUBLE),
            (None, None) => match &self.news {
                Some((news, true)) => (news.clone(), TROUBLE),
                Some((news, false)) => (news.clone(), FAINT),
                None => ("ready".to_owned(), FAINT),
            },
        };
        ui.label(RichText::new(text).color(color));
    }
}

/// Sets a parameter as one gesture, which hosts record and undo as one.
fn set<P: Param>(setter: &ParamSetter<'_>, param: &P, value: P::Plain) {
    setter.begin_set_parameter(param);
    setter.set_parameter(param, value);
    setter.end_set_parameter(param);
}

/// Switches a trigger on and off again.
fn pulse(setter: &ParamSetter<'_>, trigger: &BoolParam) {
    set(setter, trigger, true);
    set(setter, trigger, false);
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// What an exported sound is called unless the user says otherwise.
fn export_name(recipe: &Recipe) -> String {
    let name = match (&recipe.file, &recipe.class) {
        (Some(file), _) => file_name(&Path::new(file).with_extension("")),
        (None, Some(class)) => format!("{class}-{}", recipe.seed),
        (None, None) => format!("sound-{}", recipe.seed),
    };
    // A class may be called anything; a file may not.
    let plain = |c: char| {
        if c.is_alphanumeric() || "-_ .".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().map(plain).chain(".wav".chars()).collect()
}

/// The next seed, around the clock.
fn reseed(seed: &IntParam, setter: &ParamSetter<'_>) {
    // A step that shares no factor with 10,000 meets every seed once.
    set(setter, seed, (seed.value() + 1_237).rem_euclid(10_000));
}

fn toggle(ui: &mut Ui, param: &BoolParam, setter: &ParamSetter<'_>, name: &str) -> egui::Response {
    let response = ui.selectable_label(param.value(), name);
    if response.clicked() {
        set(setter, param, !param.value());
    }
    response
}

/// A list of the first `count` values.
fn choice<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter<'_>, name: &str, count: usize) {
    ui.label(RichText::new(name).color(FAINT));
    let last = param.step_count().unwrap_or(1) as f32;
    ComboBox::from_id_salt(name)
        .selected_text(param.to_string())
        .show_ui(ui, |ui| {
            for i in 0..count.min(last as usize + 1) {
                let normalized = i as f32 / last;
                let text = param.normalized_value_to_string(normalized, true);
                let chosen = param.unmodulated_normalized_value() == normalized;
                if ui.selectable_label(chosen, text).clicked() {
                    setter.begin_set_parameter(param);
                    setter.set_parameter_normalized(param, normalized);
                    setter.end_set_parameter(param);
                }
            }
        });
}

/// Peaks for a picture up to a thousand points wide.
fn peaks(sound: &StoredSound) -> Peaks {
    const STRETCHES: usize = 1024;
    let clip = sound.clip();
    let frames = clip.len_frames();
    let peak = clip.peak().max(f32::MIN_POSITIVE);
    let stretch = |i: usize| {
        let all = i * frames / STRETCHES..((i + 1) * frames / STRETCHES).min(frames);
        let samples = clip
            .channels()
            .iter()
            .flat_map(|channel| &channel[all.clone()]);
        samples.fold([0f32; 2], |[low, high], &x| {
            [low.min(x / peak), high.max(x / peak)]
        })
    };
    (0..STRETCHES).map(stretch).collect()
}

/// Text along the bottom of `rect`, cut where it is too long.
fn draw_line_of_text(ui: &Ui, rect: Rect, text: &str) {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), FontId::proportional(11.0), INK);
    job.wrap = TextWrapping::truncate_at_width(rect.width() - 16.0);
    let painter = ui.painter_at(rect);
    let line = painter.layout_job(job);
    let at = rect.left_bottom() + Vec2::new(8.0, -2.0 - line.size().y);
    painter.galley(at, line, INK);
}

fn draw_wave(painter: &egui::Painter, rect: Rect, peaks: &Peaks, color: Color32) {
    let (middle, half) = (rect.center().y, rect.height() / 2.0);
    let columns = (rect.width() as usize).min(peaks.len()).max(1);
    for column in 0..columns {
        let range = column * peaks.len() / columns..(column + 1) * peaks.len() / columns;
        let [low, high] = peaks[range].iter().fold([0f32; 2], |[low, high], peak| {
            [low.min(peak[0]), high.max(peak[1])]
        });
        let x = rect.left() + rect.width() * (column as f32 + 0.5) / columns as f32;
        let wide = (rect.width() / columns as f32).max(1.0) / 2.0;
        let line = Rect::from_min_max(
            Pos2::new(x - wide, middle - half * high - 0.5),
            Pos2::new(x + wide, middle - half * low + 0.5),
        );
        painter.rect_filled(line, CornerRadius::ZERO, color);
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;
    use crate::state::tests::recipe;

    #[test]
    fn a_picture_reaches_from_the_lowest_to_the_highest_sample() {
        let ramp = |i: usize| i as f32 / 1000.0 - 0.25;
        for len in [1, 399, 1000] {
            let clip = Clip::new(44_100, vec![(0..len).map(ramp).collect()]);
            let peaks = peaks(&StoredSound::new(recipe(1), &clip));
            let ends = peaks
                .iter()
                .fold([0f32; 2], |[l, h], peak| [l.min(peak[0]), h.max(peak[1])]);
            let (low, high) = (ramp(0), ramp(len - 1).max(0.0));
            let peak = high.max(-low);
            assert!((ends[0] - low / peak).abs() < 1e-4, "{len}: {ends:?}");
            assert!((ends[1] - high / peak).abs() < 1e-4, "{len}: {ends:?}");
        }
        let silence = Clip::new(44_100, vec![vec![]]);
        let flat = peaks(&StoredSound::new(recipe(1), &silence));
        assert!(flat.iter().all(|peak| *peak == [0.0; 2]));
    }

    #[test]
    fn an_exported_sound_is_called_after_what_it_is() {
        let mut recipe = recipe(7);
        assert_eq!(export_name(&recipe), "kick-7.wav");
        recipe.class = Some("../a:b".into());
        assert_eq!(export_name(&recipe), ".._a_b-7.wav");
        recipe.class = None;
        assert_eq!(export_name(&recipe), "sound-7.wav");
        let file = Recipe::of_file(Path::new("/x/door slam.flac"));
        assert_eq!(export_name(&file), "door slam.wav");
    }
}
