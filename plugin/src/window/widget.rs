//! Widgets that show a parameter or a setting and change it.

use std::sync::Arc;

use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Align2, Color32, ComboBox, FontId, Galley, Painter, Pos2, Rect, RichText, Sense, Shape, Stroke,
    Ui, Vec2,
};
use nice_plug::prelude::*;

use super::pad::next_seed;
use super::{ACCENT, EDGE, FAINT, INK};
use crate::kit::PadSettings;
use crate::params::PluginParams;
use crate::project::Project;
use crate::requests::Task;
use crate::store::Store;
use crate::undo::{Direction, Value};

/// The size of a knob with its name and value.
pub(super) const KNOB: Vec2 = Vec2::new(66.0, 66.0);

/// The width of a closed list.
const LIST: f32 = 88.0;

const RADIUS: f32 = 15.0;

/// Points from one end to the other; with shift, ten times as many.
const TRAVEL: f32 = 180.0;

/// The knob's range as an angle: from half past seven to half past four on a clock's face.
const SWEEP: f32 = 0.75 * std::f32::consts::TAU;

/// How a knob looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    centred: bool,
}

impl Format {
    /// Its arc begins on the left.
    pub const FROM_LEFT: Self = Self { centred: false };
    /// Its arc begins in the middle.
    pub const CENTRED: Self = Self { centred: true };
}

/// Whoever sets parameters for the window: the host.
pub(super) trait Hand {
    /// A gesture begins, which hosts record and undo as one.
    fn begin(&self, param: &FloatParam);
    /// `normalized` is 0 to 1.
    fn turn(&self, param: &FloatParam, normalized: f32);
    fn end(&self, param: &FloatParam);
    /// A gesture of its own.
    fn set(&self, param: &IntParam, value: i32);
}

impl Hand for ParamSetter<'_> {
    fn begin(&self, param: &FloatParam) {
        self.begin_set_parameter(param);
    }

    fn turn(&self, param: &FloatParam, normalized: f32) {
        self.set_parameter_normalized(param, normalized);
    }

    fn end(&self, param: &FloatParam) {
        self.end_set_parameter(param);
    }

    fn set(&self, param: &IntParam, value: i32) {
        self.begin_set_parameter(param);
        self.set_parameter(param, value);
        self.end_set_parameter(param);
    }
}

/// A window's access to what an instance is told, with an undo for all of it.
#[derive(Clone, Copy)]
pub(super) struct Editing<'a> {
    pub hand: &'a dyn Hand,
    pub params: &'a PluginParams,
    pub store: &'a Store,
}

/// A knob as it is drawn and turned.
struct Dial<'a> {
    name: &'a str,
    /// 0 to 1, as are all values of dials.
    value: f32,
    /// As it is modulated.
    shown: f32,
    default: f32,
    /// The number of steps from one end to the other, if it has steps.
    steps: Option<usize>,
    text: String,
    format: Format,
    size: Vec2,
}

/// What a hand does to a knob.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Begin,
    To(f32),
    End,
}

impl Editing<'_> {
    /// A knob of a parameter.
    pub fn knob(&self, ui: &mut Ui, param: &FloatParam, name: &str, format: Format) {
        self.knob_of_size(ui, param, name, format, KNOB);
    }

    /// A knob of a parameter, of a size of its own.
    pub fn knob_of_size(
        &self,
        ui: &mut Ui,
        param: &FloatParam,
        name: &str,
        format: Format,
        size: Vec2,
    ) {
        let value = param.unmodulated_normalized_value();
        let dial = Dial {
            name,
            value,
            shown: param.modulated_normalized_value(),
            default: param.default_normalized_value(),
            steps: None,
            text: param.normalized_value_to_string(value, true),
            format,
            size,
        };
        turn(ui, &dial, |turn| match turn {
            Turn::Begin => {
                let mut knobs = self.params.knobs();
                if let Some(index) = knobs.position(|knob| std::ptr::eq(knob, param)) {
                    let gesture = self.store.gesture();
                    self.store.changed_value(gesture, Value::Knob(index, value));
                }
                self.hand.begin(param);
            }
            Turn::To(value) => self.hand.turn(param, value),
            Turn::End => self.hand.end(param),
        });
    }

    /// A knob of a setting of `pad`.
    pub fn setting(&self, ui: &mut Ui, pad: usize, settings: &PadSettings, knob: &Setting<'_>) {
        let Setting {
            name,
            range: [least, most],
            step,
            get,
            set,
            text,
            format,
        } = *knob;
        let normal = |x: f32| ((x - least) / (most - least)).clamp(0.0, 1.0);
        let plain = |normal: f32| {
            let x = least + normal * (most - least);
            (x / step).round() * step
        };
        let value = get(settings);
        let first = get(&PadSettings::of_pad(pad));
        let dial = Dial {
            name,
            value: normal(value),
            shown: normal(value),
            default: normal(first),
            steps: (step >= 1.0).then_some(((most - least) / step) as usize),
            text: text(value),
            format,
            size: KNOB,
        };
        let id = ui.scope_id().with(("gesture", name));
        let mut gesture: u64 = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        turn(ui, &dial, |turn| match turn {
            Turn::Begin => gesture = self.store.gesture(),
            Turn::To(value) => {
                let set = |project: &mut Project| set(&mut project.settings[pad], plain(value));
                self.store.edit(gesture, set);
            }
            Turn::End => {}
        });
        ui.data_mut(|data| data.insert_temp(id, gesture));
    }

    /// Changes settings or the model, as a gesture of its own.
    pub fn edit(&self, change: impl FnOnce(&mut Project)) {
        self.store.edit(self.store.gesture(), change);
    }

    /// Sets the seed of a pad as a part of `gesture`.
    pub fn set_seed(&self, gesture: u64, pad: usize, seed: i32) {
        let param = &self.params.pads[pad].seed;
        let before = Value::Seed(pad, param.value());
        self.store.changed_value(gesture, before);
        self.hand.set(param, seed);
    }

    /// Gives a pad the next seed and asks for its sound, as a part of `gesture`.
    pub fn new_sound(&self, gesture: u64, pad: usize) {
        let seed = next_seed(self.params.pads[pad].seed.value());
        self.set_seed(gesture, pad, seed);
        self.store.ask_with(gesture, pad, Task::Generate, seed);
    }

    /// Takes the last gesture back, or makes it again.
    pub fn undo(&self, direction: Direction) {
        self.store.undo(direction, |value| match value {
            Value::Seed(pad, seed) => {
                let param = &self.params.pads[pad].seed;
                let before = param.value();
                self.hand.set(param, seed);
                Value::Seed(pad, before)
            }
            Value::Knob(index, normalized) => {
                let mut before = normalized;
                if let Some(param) = self.params.knobs().nth(index) {
                    before = param.unmodulated_normalized_value();
                    self.hand.begin(param);
                    self.hand.turn(param, normalized);
                    self.hand.end(param);
                }
                Value::Knob(index, before)
            }
        });
    }
}

/// A knob of a setting of a pad.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub name: &'a str,
    /// Its lowest and highest value.
    pub range: [f32; 2],
    /// The distance between two values.
    pub step: f32,
    pub get: fn(&PadSettings) -> f32,
    pub set: fn(&mut PadSettings, f32),
    pub text: &'a dyn Fn(f32) -> String,
    pub format: Format,
}

/// A wheel that stood still for so long has ended its gesture, seconds.
const WHEEL_ENDS: f64 = 0.3;

/// Drag up and down, with shift finely; double-click for the default; the wheel too.
fn turn(ui: &mut Ui, dial: &Dial<'_>, mut hand: impl FnMut(Turn)) {
    let (rect, response) = ui.allocate_exact_size(dial.size, Sense::click_and_drag());
    let id = response.id;
    let fine = if ui.input(|i| i.modifiers.shift) {
        0.1
    } else {
        1.0
    };
    if response.drag_started() {
        hand(Turn::Begin);
        ui.data_mut(|data| data.insert_temp(id, dial.value));
    }
    if response.dragged() {
        // The hand's own position: a knob with steps may lag behind it.
        let at = ui
            .data_mut(|data| data.get_temp::<f32>(id))
            .unwrap_or(dial.value);
        let at = (at - response.drag_delta().y * fine / TRAVEL).clamp(0.0, 1.0);
        ui.data_mut(|data| data.insert_temp(id, at));
        hand(Turn::To(at));
    }
    if response.drag_stopped() {
        hand(Turn::End);
    }
    if response.double_clicked() {
        for it in [Turn::Begin, Turn::To(dial.default), Turn::End] {
            hand(it);
        }
    }
    let wheel_id = id.with("wheel");
    let now = ui.input(|i| i.time);
    let last = ui.data(|data| data.get_temp::<f64>(wheel_id));
    let wheel = ui.input(|i| i.smooth_scroll_delta.y);
    if response.hovered() && wheel != 0.0 {
        if last.is_none() {
            hand(Turn::Begin);
        }
        let by = match dial.steps {
            Some(steps) => wheel.signum() / steps.max(1) as f32,
            None => wheel * fine / TRAVEL / 4.0,
        };
        hand(Turn::To((dial.value + by).clamp(0.0, 1.0)));
        ui.data_mut(|data| data.insert_temp(wheel_id, now));
        let ends = std::time::Duration::from_secs_f64(WHEEL_ENDS);
        ui.ctx().request_repaint_after(ends);
    } else if last.is_some_and(|last| now - last >= WHEEL_ENDS) {
        hand(Turn::End);
        ui.data_mut(|data| data.remove::<f64>(wheel_id));
    }
    draw(ui, dial, rect);
}

fn draw(ui: &Ui, dial: &Dial<'_>, rect: Rect) {
    let centre = Pos2::new(rect.center().x, rect.top() + 16.0 + RADIUS);
    let angle = |value: f32| (value - 0.5) * SWEEP;
    let on_circle = |value: f32, radius: f32| {
        let (sin, cos) = angle(value).sin_cos();
        centre + Vec2::new(sin, -cos) * radius
    };
    let arc = |from: f32, to: f32, stroke: Stroke| {
        let points = (0..=24).map(|i| on_circle(from + (to - from) * i as f32 / 24.0, RADIUS));
        Shape::line(points.collect(), stroke)
    };
    let painter = ui.painter();
    let zero = if dial.format.centred { 0.5 } else { 0.0 };
    painter.add(arc(0.0, 1.0, Stroke::new(3.0, EDGE)));
    painter.add(arc(zero, dial.shown, Stroke::new(3.0, ACCENT)));
    painter.line_segment(
        [
            on_circle(dial.shown, 4.0),
            on_circle(dial.shown, RADIUS - 4.0),
        ],
        Stroke::new(2.0, INK),
    );
    let font = FontId::proportional(11.0);
    let top = rect.center_top();
    painter.text(top, Align2::CENTER_TOP, dial.name, font.clone(), FAINT);
    let bottom = rect.center_bottom();
    painter.text(bottom, Align2::CENTER_BOTTOM, &dial.text, font, INK);
}

/// A list of choices; returns the one that was made.
pub(super) fn choice<T: PartialEq + Clone>(
    ui: &mut Ui,
    name: &str,
    chosen: &T,
    choices: &[(T, &str)],
) -> Option<T> {
    ui.label(RichText::new(name).color(FAINT));
    let text = choices
        .iter()
        .find(|(choice, _)| choice == chosen)
        .map_or("", |(_, text)| text);
    choice_of(ui, name, text, choices, |choice| choice == chosen)
}

/// A list of choices under a text of its own.
pub(super) fn choice_of<T: Clone>(
    ui: &mut Ui,
    name: &str,
    shown: &str,
    choices: &[(T, &str)],
    is_chosen: impl Fn(&T) -> bool,
) -> Option<T> {
    let mut made = None;
    ComboBox::from_id_salt(name)
        .width(LIST)
        .truncate()
        .selected_text(shown)
        .show_ui(ui, |ui| {
            for (choice, text) in choices {
                if ui.selectable_label(is_chosen(choice), *text).clicked() {
                    made = Some(choice.clone());
                }
            }
        });
    made
}

/// A line of text, cut where it is wider than `width`.
pub(super) fn line(
    painter: &Painter,
    text: &str,
    size: f32,
    color: Color32,
    width: f32,
) -> Arc<Galley> {
    let font = FontId::proportional(size);
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = TextWrapping::truncate_at_width(width);
    painter.layout_job(job)
}
