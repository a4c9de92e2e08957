//! Knobs and lists, which show a parameter or a setting and change it.

use egui::{EventFilter, Key, PointerButton, Rect, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo};
use nice_plug::prelude::*;

use super::look::{Look, line};
use super::make::next_seed;
use crate::display::{Display, Learns};
use crate::kit::PadSettings;
use crate::params::{PluginParams, quantity};
use crate::project::Project;
use crate::requests::Task;
use crate::store::Store;
use crate::undo::{Direction, Value};

/// The least size of a knob with its name.
pub(super) const KNOB: Vec2 = Vec2::new(52.0, 54.0);

/// The height of a knob's name.
const NAME: f32 = 13.0;

/// The largest knob's radius.
const MOST_RADIUS: f32 = 40.0;

/// Points from one end to the other; with shift, ten times as many.
const TRAVEL: f32 = 180.0;

/// The share of the whole that an arrow key turns; with shift, a tenth of it.
const NOTCH: f32 = 0.01;

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
    pub display: &'a Display,
    /// Whether the host gives this instance controllers.
    pub controllers: bool,
}

/// What turns a knob of a parameter besides hands.
#[derive(Clone, Copy)]
struct Controlled {
    /// The controller that does.
    by: Option<u8>,
    /// Whether it waits for one.
    learns: bool,
    /// Whether any come.
    come: bool,
}

/// A knob as it is drawn and turned.
struct Dial<'a> {
    name: &'a str,
    /// A sentence on what it does.
    tip: &'a str,
    /// 0 to 1, as are all values of dials.
    value: f32,
    /// As it is modulated.
    shown: f32,
    default: f32,
    /// The number of steps from one end to the other, if it has steps.
    steps: Option<usize>,
    text: String,
    /// The value that a text stands for.
    parse: Parse<'a>,
    format: Format,
    /// Why turning it would change nothing, if so.
    off: Option<&'a str>,
    /// None where no controller can turn it.
    controlled: Option<Controlled>,
}

/// What a hand does to a knob.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Begin,
    To(f32),
    End,
    /// It is to learn its controller, or no longer.
    Learn(bool),
    /// No controller is to turn it any more.
    Forget,
}

impl Editing<'_> {
    /// A knob of a parameter; `off` says why turning it would change nothing, if so.
    pub fn knob(
        &self,
        ui: &mut Ui,
        rect: Rect,
        param: &FloatParam,
        (name, tip): (&str, &str),
        format: Format,
        off: Option<&str>,
    ) {
        let value = param.unmodulated_normalized_value();
        let knob = self.index(param);
        let learns = knob.map(Learns::Controller);
        let controlled = knob.map(|knob| Controlled {
            by: self.store.project().controllers.of(knob),
            learns: self.display.learning() == learns,
            come: self.controllers,
        });
        let dial = Dial {
            name,
            tip,
            value,
            shown: param.modulated_normalized_value(),
            default: param.default_normalized_value(),
            steps: None,
            text: param.normalized_value_to_string(value, true),
            parse: &|text| param.string_to_normalized_value(text),
            format,
            off,
            controlled,
        };
        turn(ui, rect, &dial, |turn| match turn {
            Turn::Begin => self.hold(&[param], true),
            Turn::To(value) => self.hand.turn(param, value),
            Turn::End => self.hold(&[param], false),
            Turn::Learn(begins) => self.display.learn(learns.filter(|_| begins)),
            Turn::Forget => self.edit(|project| {
                if let Some(knob) = knob {
                    project.controllers.set(knob, None);
                }
            }),
        });
    }

    /// The knob of a parameter.
    fn index(&self, param: &FloatParam) -> Option<usize> {
        let mut knobs = self.params.knobs();
        knobs.position(|knob| std::ptr::eq(knob, param))
    }

    /// Has the host set what controllers have turned, which is worth no undo.
    pub fn follow_controllers(&self) {
        self.store.turning().tell(|knob, normalized| {
            if let Some(param) = self.params.knobs().nth(knob) {
                self.hand.begin(param);
                self.hand.turn(param, normalized);
                self.hand.end(param);
            }
        });
    }

    /// Turns a parameter, as a part of a gesture that has begun.
    pub fn turn(&self, param: &FloatParam, normalized: f32) {
        self.hand.turn(param, normalized);
    }

    /// Begins or ends a gesture on parameters that one hand turns together.
    pub fn hold(&self, params: &[&FloatParam], begins: bool) {
        let gesture = self.store.gesture();
        for param in params {
            if begins {
                let value = param.unmodulated_normalized_value();
                if let Some(index) = self.index(param) {
                    self.store.changed_value(gesture, Value::Knob(index, value));
                }
                self.hand.begin(param);
            } else {
                self.hand.end(param);
            }
        }
    }

    /// A knob of a setting of `pad`.
    pub fn setting(
        &self,
        ui: &mut Ui,
        rect: Rect,
        pad: usize,
        settings: &PadSettings,
        knob: &Setting<'_>,
    ) {
        let Setting {
            name,
            tip,
            range: [least, most],
            step,
            get,
            set,
            text,
            parse,
            format,
            off,
        } = *knob;
        let normal = |x: f32| ((x - least) / (most - least)).clamp(0.0, 1.0);
        let plain = |normal: f32| {
            let x = least + normal * (most - least);
            (x / step).round() * step
        };
        let value = get(settings);
        let first = get(&PadSettings::of_pad(pad));
        let shown = text(value);
        let dial = Dial {
            name,
            tip,
            value: normal(value),
            shown: normal(value),
            default: normal(first),
            steps: (step >= 1.0).then_some(((most - least) / step) as usize),
            parse: &|typed| {
                let number = |typed: &str| number(typed, text(most).contains('%'));
                parse
                    .map_or_else(|| number(typed), |parse| parse(typed))
                    .map(normal)
            },
            text: shown,
            format,
            off,
            controlled: None,
        };
        let id = ui.scope_id().with(("gesture", name));
        let mut gesture: u64 = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        turn(ui, rect, &dial, |turn| match turn {
            Turn::Begin => gesture = self.store.gesture(),
            Turn::To(value) => {
                let set = |project: &mut Project| set(&mut project.settings[pad], plain(value));
                self.store.edit(gesture, set);
            }
            Turn::End | Turn::Learn(_) | Turn::Forget => {}
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
        self.store.undo(direction, |value| self.set_value(value));
    }

    /// Sets a parameter, and returns the value that it had.
    pub fn set_value(&self, value: Value) -> Value {
        match value {
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
        }
    }

    /// A hand takes hold of a handle that changes the project.
    pub fn grip(&self, ui: &Ui, handle: &str) {
        let id = ui.scope_id().with(("grip", handle));
        let gesture = self.store.gesture();
        ui.data_mut(|data| data.insert_temp(id, gesture));
    }

    /// Changes the project as a part of what began with [`grip`](Self::grip).
    pub fn pull(&self, ui: &Ui, handle: &str, change: impl FnOnce(&mut Project)) {
        let id = ui.scope_id().with(("grip", handle));
        let gesture = ui.data(|data| data.get_temp(id)).unwrap_or_default();
        self.store.edit(gesture, change);
    }
}

/// The value that a typed text stands for, if it is one.
pub(super) type Parse<'a> = &'a dyn Fn(&str) -> Option<f32>;

/// A knob of a setting of a pad.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub name: &'a str,
    /// A sentence on what it does.
    pub tip: &'a str,
    /// Its lowest and highest value.
    pub range: [f32; 2],
    /// The distance between two values.
    pub step: f32,
    pub get: &'a dyn Fn(&PadSettings) -> f32,
    pub set: &'a dyn Fn(&mut PadSettings, f32),
    pub text: &'a dyn Fn(f32) -> String,
    /// Where a typed text is not read as the number in it.
    pub parse: Option<Parse<'a>>,
    pub format: Format,
    /// Why turning it would change nothing, if so.
    pub off: Option<&'a str>,
}

/// A wheel that stood still for so long has ended its gesture, seconds.
const WHEEL_ENDS: f64 = 0.3;

/// The number that a text stands for: of `12.5 %` an eighth where it is a `percentage`, of `2 k` two thousand, of `auto`
/// zero.
fn number(typed: &str, percentage: bool) -> Option<f32> {
    let typed = typed.trim().to_lowercase();
    if typed == "auto" || typed == "off" {
        return Some(0.0);
    }
    let (value, unit) = quantity(&typed)?;
    let factor = match (percentage, unit.starts_with('k')) {
        (true, _) => 0.01,
        (false, true) => 1000.0,
        (false, false) => 1.0,
    };
    Some(value * factor).filter(|x| x.is_finite())
}

/// Drag up and down, with shift finely; double-click for the default; the wheel and arrow keys too. The other button
/// opens a menu where a value can be typed.
fn turn(ui: &mut Ui, rect: Rect, dial: &Dial<'_>, mut hand: impl FnMut(Turn)) {
    let id = ui.scope_id().with(("knob", dial.name));
    let sense = match dial.off {
        None => Sense::click_and_drag(),
        Some(_) => Sense::hover(),
    };
    let response = ui.interact(rect, id, sense);
    let enabled = dial.off.is_none();
    response.widget_info(|| {
        let mut info = WidgetInfo::slider(enabled, f64::from(dial.value), dial.name);
        info.current_text_value = Some(dial.text.clone());
        info
    });
    let fine = if ui.input(|i| i.modifiers.shift) {
        0.1
    } else {
        1.0
    };
    let at_once = |value: f32, hand: &mut dyn FnMut(Turn)| {
        for it in [Turn::Begin, Turn::To(value.clamp(0.0, 1.0)), Turn::End] {
            hand(it);
        }
    };
    if response.drag_started_by(PointerButton::Primary) {
        hand(Turn::Begin);
        ui.data_mut(|data| data.insert_temp(id, dial.value));
    }
    if response.dragged_by(PointerButton::Primary) {
        // The hand's own position: a knob with steps may lag behind it.
        let at = ui
            .data_mut(|data| data.get_temp::<f32>(id))
            .unwrap_or(dial.value);
        let at = (at - response.drag_delta().y * fine / TRAVEL).clamp(0.0, 1.0);
        ui.data_mut(|data| data.insert_temp(id, at));
        hand(Turn::To(at));
    }
    if response.drag_stopped_by(PointerButton::Primary) {
        hand(Turn::End);
    }
    if response.double_clicked() {
        at_once(dial.default, &mut hand);
    }
    if enabled {
        wheel(ui, &response, dial, fine, &mut hand);
    }
    if response.has_focus() {
        let filter = EventFilter {
            vertical_arrows: true,
            horizontal_arrows: true,
            ..EventFilter::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(id, filter));
        let pressed = |key| ui.input(|input| input.key_pressed(key));
        let by = [
            (Key::ArrowUp, 1.0),
            (Key::ArrowRight, 1.0),
            (Key::ArrowDown, -1.0),
            (Key::ArrowLeft, -1.0),
        ];
        let notch = match dial.steps {
            Some(steps) => 1.0 / steps.max(1) as f32,
            None => NOTCH * fine,
        };
        for (key, sign) in by {
            if pressed(key) {
                at_once(dial.value + sign * notch, &mut hand);
            }
        }
        if pressed(Key::Home) {
            at_once(dial.default, &mut hand);
        }
    }
    let held = response.is_pointer_button_down_on() || response.dragged();
    draw(
        ui,
        dial,
        rect,
        response.hovered() || response.has_focus(),
        held,
    );
    if held {
        return;
    }
    response.context_menu(|ui| {
        ui.label(egui::RichText::new(format!("{}: {}", dial.name, dial.text)).strong());
        let typed_id = id.with("typed");
        let mut typed: String = ui.data(|data| data.get_temp(typed_id)).unwrap_or_default();
        let field = egui::TextEdit::singleline(&mut typed)
            .hint_text("type a value")
            .desired_width(96.0);
        let field = ui.add(field);
        if field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
            if let Some(value) = (dial.parse)(&typed) {
                at_once(value, &mut hand);
            }
            typed.clear();
            ui.close();
        }
        ui.data_mut(|data| data.insert_temp(typed_id, typed));
        if ui.button("Reset").clicked() {
            at_once(dial.default, &mut hand);
            ui.close();
        }
        if ui.button("Copy value").clicked() {
            ui.ctx().copy_text(dial.text.clone());
            ui.close();
        }
        if let Some(controlled) = dial.controlled {
            ui.separator();
            controllers(ui, controlled, &mut hand);
        }
    });
    let mut tip = match dial.off {
        Some(why) => format!("{}: {why}", dial.name),
        None => format!("{}: {}\n{}", dial.name, dial.text, dial.tip),
    };
    if let Some(controller) = dial.controlled.and_then(|it| it.by) {
        tip += &format!("\nController {controller} turns it");
    }
    response.on_hover_text(tip);
}

/// The part of a knob's menu that has it learn its controller.
fn controllers(ui: &mut Ui, controlled: Controlled, hand: &mut dyn FnMut(Turn)) {
    let text = match controlled.learns {
        true => "Stop learning its controller",
        false => "Learn its controller",
    };
    let learn = ui.add_enabled(controlled.come, egui::Button::new(text));
    let why =
        "Your host gives a VST3 no controllers: use the MIDI learn of the host itself, or the CLAP";
    if learn.on_disabled_hover_text(why).clicked() {
        hand(Turn::Learn(!controlled.learns));
        ui.close();
    }
    if let Some(controller) = controlled.by
        && ui
            .button(format!("Forget controller {controller}"))
            .clicked()
    {
        hand(Turn::Forget);
        ui.close();
    }
}

fn wheel(
    ui: &Ui,
    response: &egui::Response,
    dial: &Dial<'_>,
    fine: f32,
    hand: &mut dyn FnMut(Turn),
) {
    let id = response.id.with("wheel");
    let now = ui.input(|i| i.time);
    let last = ui.data(|data| data.get_temp::<f64>(id));
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
        ui.data_mut(|data| data.insert_temp(id, now));
        let ends = std::time::Duration::from_secs_f64(WHEEL_ENDS);
        ui.ctx().request_repaint_after(ends);
    } else if last.is_some_and(|last| now - last >= WHEEL_ENDS) {
        hand(Turn::End);
        ui.data_mut(|data| data.remove::<f64>(id));
    }
}

fn draw(ui: &Ui, dial: &Dial<'_>, rect: Rect, near: bool, held: bool) {
    let look = Look::here(ui);
    let fade = if dial.off.is_some() { 0.4 } else { 1.0 };
    let room = rect.with_max_y(rect.bottom() - NAME);
    let radius = (room.width().min(room.height()) / 2.0 - 2.5).clamp(4.0, MOST_RADIUS);
    // The name stands right below, where there is more room than the largest knob takes.
    let spare = (room.height() - 2.0 * radius - 5.0).max(0.0) / 2.0;
    let (rect, centre) = (rect.shrink2(Vec2::new(0.0, spare)), room.center());
    let on_circle = |value: f32, radius: f32| {
        let (sin, cos) = ((value - 0.5) * SWEEP).sin_cos();
        centre + Vec2::new(sin, -cos) * radius
    };
    let arc = |from: f32, to: f32, radius: f32, stroke: Stroke| {
        let points = (0..=32).map(|i| on_circle(from + (to - from) * i as f32 / 32.0, radius));
        Shape::line(points.collect(), stroke)
    };
    let painter = ui.painter();
    let zero = if dial.format.centred { 0.5 } else { 0.0 };
    let body = if near || held {
        look.raised.lerp_to_gamma(look.ink, 0.12)
    } else {
        look.raised
    };
    painter.circle(
        centre,
        radius - 4.0,
        body.gamma_multiply(fade),
        Stroke::new(1.0, look.edge.gamma_multiply(0.7 * fade)),
    );
    let thick = 3.0;
    painter.add(arc(
        0.0,
        1.0,
        radius,
        Stroke::new(thick, look.edge.gamma_multiply(fade)),
    ));
    let accent = look.accent.gamma_multiply(fade);
    painter.add(arc(zero, dial.value, radius, Stroke::new(thick, accent)));
    if (dial.shown - dial.value).abs() > 1e-4 {
        let stroke = Stroke::new(2.0, look.modulated);
        painter.add(arc(dial.value, dial.shown, radius - 3.0, stroke));
        painter.circle_filled(on_circle(dial.shown, radius - 3.0), 2.5, look.modulated);
    }
    let ink = look.ink.gamma_multiply(fade);
    painter.line_segment(
        [
            on_circle(dial.value, radius * 0.25),
            on_circle(dial.value, radius - 5.0),
        ],
        Stroke::new(2.0, ink),
    );
    let (text, color) = if dial.controlled.is_some_and(|it| it.learns) {
        ("turn one", look.accent)
    } else if (near || held) && dial.off.is_none() {
        (dial.text.as_str(), look.ink)
    } else {
        (dial.name, look.faint.gamma_multiply(fade))
    };
    let text = line(painter, text, 10.5, color, rect.width() + 4.0);
    let at = rect.center_bottom() - Vec2::new(text.size().x / 2.0, NAME);
    painter.galley(at, text, color);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_typed_as_it_is_shown_or_barely() {
        for (typed, percentage, value) in [
            ("12.5 %", true, Some(0.125)),
            ("12,5", true, Some(0.125)),
            ("-3.5 st", false, Some(-3.5)),
            ("2 kHz", false, Some(2000.0)),
            ("440", false, Some(440.0)),
            ("Auto", false, Some(0.0)),
            ("loud", false, None),
            ("", false, None),
            ("1e40", false, Some(1.0)),
        ] {
            assert_eq!(number(typed, percentage), value, "{typed}");
        }
    }
}
