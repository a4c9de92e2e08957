//! The group in which a pad's sound is shaped: envelope, filter, tone and drive, the first two as graphs that a hand
//! draws.

use egui::accesskit::Role;
use egui::{CursorIcon, Pos2, Rect, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, pos2};
use nice_plug::prelude::*;

use super::Window;
use super::choice::segments;
use super::knob::{Editing, Format, KNOB, Setting};
use super::look::{GAP, Look, NEAR, ROUND, Room, TITLE, group, plain};
use super::make::percent;
use crate::kit::{MAX_VELOCITY_OCTAVES, PadSettings};
use crate::params::PadParams;
use crate::voice::FilterKind;

/// How near a hand must come to a handle, points.
const REACH: f32 = 9.0;

/// The longest hold, ms.
const MAX_HOLD_MS: f32 = 2000.0;

/// The shares of an envelope's graph that its longest attack, hold, decay and release take.
const SHARES: [f32; 4] = [0.24, 0.16, 0.26, 0.22];

/// The frequencies and levels that a filter's graph shows.
const HERTZ: [f32; 2] = [20.0, 20_000.0];
const DECIBELS: [f32; 2] = [-36.0, 28.0];

impl Window {
    /// What becomes of the pad's sound before it is heard.
    pub(super) fn shape(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        edit: &Editing<'_>,
        pad: usize,
        params: &PadParams,
        settings: &PadSettings,
    ) {
        let room = group(ui, rect, "Shape");
        let mut halves = room.columns(2, 2.0 * GAP);
        let mut half = || Room(halves.next().expect("there are two"));
        let (mut amp, mut filter) = (half(), half());
        // The knobs take half of what is more than they need.
        let height = KNOB.y + (amp.0.height() - 2.0 * KNOB.y).max(0.0) / 2.0;

        let knobs = Room(amp.bottom(height, NEAR));
        envelope(ui, amp.0, edit, pad, params, settings);
        let mut places = knobs.columns(5, 0.0);
        let mut place = || places.next().expect("there are five");
        let level = Format::FROM_LEFT;
        let attack = ("Attack", "The time from silence to full level");
        edit.knob(ui, place(), &params.attack, attack, level, None);
        edit.setting(ui, place(), pad, settings, &HOLD);
        let is_flat = params.sustain.value() >= 1.0;
        let off = is_flat.then_some("of a sound whose sustain is below 100 %");
        let decay = ("Decay", "The time in which the sound falls to its sustain");
        edit.knob(ui, place(), &params.decay, decay, level, off);
        let sustain = ("Sustain", "The level after the decay");
        edit.knob(ui, place(), &params.sustain, sustain, level, None);
        let release = ("Release", "The time to silence once the key is let go");
        let one_shot = settings.playing.mode == crate::voice::Mode::OneShot;
        let off = one_shot.then_some("of a sound that heeds its key, Gate or Loop");
        edit.knob(ui, place(), &params.release, release, level, off);

        let knobs = Room(filter.bottom(height, NEAR));
        let is_off = settings.playing.filter == FilterKind::Off;
        let off = is_off.then_some("the filter is off");
        response(ui, filter.0, edit, params, settings.playing.filter);
        let kinds = [
            (FilterKind::Off, "Off", "No filter"),
            (
                FilterKind::Lowpass,
                "Low-pass",
                "What lies below the cutoff passes",
            ),
            (
                FilterKind::Highpass,
                "High-pass",
                "What lies above the cutoff passes",
            ),
        ];
        let mut title = Rect::from_min_max(
            pos2(filter.0.left(), rect.top() + NEAR - 1.0),
            pos2(filter.0.right(), rect.top() + NEAR + TITLE),
        );
        title.set_left(title.right() - 190.0);
        if let Some(kind) = segments(ui, title, "Filter", &settings.playing.filter, &kinds) {
            edit.edit(|project| project.settings[pad].playing.filter = kind);
        }
        let mut places = knobs.columns(5, 0.0);
        let mut place = || places.next().expect("there are five");
        let cutoff = ("Cutoff", "Where the filter begins");
        edit.knob(ui, place(), &params.cutoff, cutoff, level, off);
        let resonance = ("Resonance", "How much the filter rings at its cutoff");
        edit.knob(ui, place(), &params.resonance, resonance, level, off);
        edit.setting(ui, place(), pad, settings, &Setting { off, ..TO_CUTOFF });
        edit.setting(ui, place(), pad, settings, &TONE);
        edit.setting(ui, place(), pad, settings, &DRIVE);
    }
}

/// A dot that is dragged; returns how far, and tells when a hand takes it and lets it go.
fn handle(
    ui: &Ui,
    name: &str,
    at: Pos2,
    cursor: CursorIcon,
    mut held: impl FnMut(bool),
) -> Option<Vec2> {
    let look = Look::here(ui);
    let id = ui.scope_id().with(("handle", name));
    let rect = Rect::from_center_size(at, Vec2::splat(2.0 * REACH));
    let response = ui.interact(rect, id, Sense::drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Slider, true, name));
    if response.drag_started() {
        held(true);
    }
    let radius = if response.hovered() || response.dragged() {
        5.5
    } else {
        4.0
    };
    let stroke = Stroke::new(2.0, look.accent);
    ui.painter().circle(at, radius, look.panel, stroke);
    let moved = response.dragged().then(|| response.drag_delta());
    if response.drag_stopped() {
        held(false);
    }
    response
        .on_hover_and_drag_cursor(cursor)
        .on_hover_text(name);
    moved
}

/// The ground of a graph, and what is left of it for the curve.
fn ground(ui: &Ui, rect: Rect) -> Rect {
    let look = Look::here(ui);
    ui.painter().rect_filled(rect, ROUND / 2, look.back);
    rect.shrink2(Vec2::new(8.0, 7.0))
}

/// A curve, and a shade below it.
fn curve(ui: &Ui, rect: Rect, points: Vec<Pos2>, is_on: bool) {
    let look = Look::here(ui);
    let color = if is_on { look.accent } else { look.edge };
    let painter = ui.painter_at(rect.expand(3.0));
    let shade = color.gamma_multiply(0.16);
    for pair in points.windows(2) {
        let below = |p: Pos2| pos2(p.x, rect.bottom());
        let quad = vec![pair[0], pair[1], below(pair[1]), below(pair[0])];
        painter.add(Shape::convex_polygon(quad, shade, Stroke::NONE));
    }
    painter.add(Shape::line(points, Stroke::new(2.0, color)));
}

/// Attack, hold, decay, sustain and release as a curve over time, each as wide as its knob is turned.
fn envelope(
    ui: &mut Ui,
    rect: Rect,
    edit: &Editing<'_>,
    pad: usize,
    params: &PadParams,
    settings: &PadSettings,
) {
    let rect = ground(ui, rect);
    let of = |param: &FloatParam| param.unmodulated_normalized_value();
    let hold = (settings.playing.hold / MAX_HOLD_MS).clamp(0.0, 1.0).sqrt();
    let values = [
        of(&params.attack),
        hold,
        of(&params.decay),
        of(&params.release),
    ];
    let sustain = of(&params.sustain);
    let widths = [0, 1, 2, 3].map(|i| values[i] * SHARES[i] * rect.width());
    let level = |x: f32| rect.bottom() - x * rect.height();
    let peak = rect.left() + widths[0];
    let held = peak + widths[1];
    let decayed = held + widths[2];
    let released = rect.right() - SHARES[3] * rect.width();
    let silent = released + widths[3];
    let fall = |from: f32, to: f32, high: f32, low: f32| {
        (0..=24).map(move |i| {
            let t = i as f32 / 24.0;
            // As it is heard: by 60 dB in all.
            let share = (1e-3f32).powf(t);
            pos2(from + t * (to - from), level(low + (high - low) * share))
        })
    };
    let mut points = vec![pos2(rect.left(), rect.bottom()), pos2(peak, rect.top())];
    points.push(pos2(held, rect.top()));
    points.extend(fall(held, decayed, 1.0, sustain));
    points.push(pos2(released, level(sustain)));
    points.extend(fall(released, silent, sustain, 0.0));
    curve(ui, rect, points, true);

    let to = |param: &FloatParam, share: f32, moved: f32| {
        let value = of(param) + moved / (share * rect.width());
        edit.turn(param, value.clamp(0.0, 1.0));
    };
    let sideways = CursorIcon::ResizeHorizontal;
    let on = |param| move |begins| edit.hold(&[param], begins);
    if let Some(by) = handle(
        ui,
        "Attack",
        pos2(peak, rect.top()),
        sideways,
        on(&params.attack),
    ) {
        to(&params.attack, SHARES[0], by.x);
    }
    let at = pos2(decayed, level(sustain));
    let both = |begins| edit.hold(&[&params.decay, &params.sustain], begins);
    if let Some(by) = handle(ui, "Decay and sustain", at, CursorIcon::Move, both) {
        to(&params.decay, SHARES[2], by.x);
        let value = sustain - by.y / rect.height();
        edit.turn(&params.sustain, value.clamp(0.0, 1.0));
    }
    let grip = |begins| {
        if begins {
            edit.grip(ui, "Hold");
        }
    };
    if values[1] > 0.0
        && let Some(by) = handle(ui, "Hold", pos2(held, rect.top()), sideways, grip)
    {
        let hold = (hold + by.x / (SHARES[1] * rect.width())).clamp(0.0, 1.0);
        let hold = hold.powi(2) * MAX_HOLD_MS;
        edit.pull(ui, "Hold", |project| {
            project.settings[pad].playing.hold = hold;
        });
    }
    let at = pos2(silent, rect.bottom());
    if settings.playing.mode != crate::voice::Mode::OneShot
        && let Some(by) = handle(ui, "Release", at, sideways, on(&params.release))
    {
        to(&params.release, SHARES[3], by.x);
    }
}

/// What a filter lets pass, in dB over frequency.
fn response(ui: &mut Ui, rect: Rect, edit: &Editing<'_>, params: &PadParams, kind: FilterKind) {
    let look = Look::here(ui);
    let rect = ground(ui, rect);
    let (low, high) = (HERTZ[0].ln(), HERTZ[1].ln());
    let x_of = |hz: f32| rect.left() + rect.width() * (hz.ln() - low) / (high - low);
    let y_of = |db: f32| {
        let share = (db - DECIBELS[0]) / (DECIBELS[1] - DECIBELS[0]);
        rect.bottom() - rect.height() * share.clamp(0.0, 1.0)
    };
    for (hz, text) in [(100.0, "100"), (1000.0, "1k"), (10_000.0, "10k")] {
        let x = x_of(hz);
        let stroke = Stroke::new(1.0, look.edge.gamma_multiply(0.5));
        ui.painter().vline(x, rect.y_range(), stroke);
        let at = pos2(x + 3.0, rect.top() - 3.0);
        ui.painter()
            .text(at, egui::Align2::LEFT_TOP, text, plain(9.5), look.faint);
    }
    let (cutoff, resonance) = (params.cutoff.value(), params.resonance.value());
    let points = (0..=96).map(|i| {
        let hz = (low + (high - low) * i as f32 / 96.0).exp();
        pos2(x_of(hz), y_of(gain_db(kind, hz / cutoff, resonance)))
    });
    curve(ui, rect, points.collect(), kind != FilterKind::Off);
    if kind == FilterKind::Off {
        return;
    }
    let at = pos2(
        x_of(cutoff.clamp(HERTZ[0], HERTZ[1])),
        y_of(gain_db(kind, 1.0, resonance)),
    );
    let both = |begins| edit.hold(&[&params.cutoff, &params.resonance], begins);
    if let Some(by) = handle(ui, "Cutoff and resonance", at, CursorIcon::Move, both) {
        let hz = (cutoff.ln() + by.x * (high - low) / rect.width()).exp();
        edit.turn(&params.cutoff, params.cutoff.preview_normalized(hz));
        let value = params.resonance.unmodulated_normalized_value() - by.y / rect.height();
        edit.turn(&params.resonance, value.clamp(0.0, 1.0));
    }
}

/// What passes of the frequency that is `w` times the cutoff: the magnitude of the analogue filter [Simper 2013].
fn gain_db(kind: FilterKind, w: f32, resonance: f32) -> f32 {
    let k = crate::voice::damping(resonance);
    let below = ((1.0 - w * w).powi(2) + (k * w).powi(2)).sqrt().max(1e-6);
    let above = match kind {
        FilterKind::Off => return 0.0,
        FilterKind::Lowpass => 1.0,
        FilterKind::Highpass => w * w,
    };
    20.0 * (above / below).max(1e-6).log10()
}

const HOLD: Setting<'static> = Setting {
    name: "Hold",
    tip: "The time at full level",
    range: [0.0, MAX_HOLD_MS],
    step: 0.1,
    get: &|it| it.playing.hold,
    set: &|it, x| it.playing.hold = x,
    text: &|x| format!("{x:.1} ms"),
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const TO_CUTOFF: Setting<'static> = Setting {
    name: "Velocity",
    tip: "Octaves by which the cutoff is lower for soft notes",
    range: [0.0, MAX_VELOCITY_OCTAVES],
    step: 0.01,
    get: &|it| it.playing.velocity_cutoff,
    set: &|it, x| it.playing.velocity_cutoff = x,
    text: &|x| format!("{x:.2} oct"),
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const TONE: Setting<'static> = Setting {
    name: "Tone",
    tip: "Darker to the left, brighter to the right",
    range: [-1.0, 1.0],
    step: 0.01,
    get: &|it| it.playing.tone,
    set: &|it, x| it.playing.tone = x,
    text: &percent,
    parse: None,
    format: Format::CENTRED,
    off: None,
};

const DRIVE: Setting<'static> = Setting {
    name: "Drive",
    tip: "How much the sound is saturated",
    range: [0.0, 1.0],
    step: 0.001,
    get: &|it| it.playing.drive,
    set: &|it, x| it.playing.drive = x,
    text: &percent,
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_shows_what_the_filter_does() {
        let at = |kind, w, resonance| gain_db(kind, w, resonance);
        use FilterKind::{Highpass, Lowpass, Off};
        assert_eq!(at(Off, 3.0, 1.0), 0.0);
        // Flat, 3 dB down at the cutoff, 12 dB an octave.
        assert!(at(Lowpass, 0.01, 0.0).abs() < 0.01);
        assert!((at(Lowpass, 1.0, 0.0) + 3.01).abs() < 0.01);
        assert!((at(Lowpass, 16.0, 0.0) - at(Lowpass, 32.0, 0.0) - 12.04).abs() < 0.1);
        assert!((at(Highpass, 1.0 / 16.0, 0.0) - at(Lowpass, 16.0, 0.0)).abs() < 0.01);
        // A Q of 20.
        assert!((at(Lowpass, 1.0, 1.0) - 26.02).abs() < 0.01);
    }
}
