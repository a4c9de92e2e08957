//! Signs on buttons, drawn: no typeface has all of them.

use egui::accesskit::Role;
use egui::{
    Color32, Painter, Pos2, Rect, Response, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, pos2,
};

use super::look::{Look, ROUND, ROW};

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Icon {
    Preferences,
    Before,
    After,
    Back,
    Star,
    Save,
    Record,
    Stop,
}

/// A square button with a sign; `lit` where what it switches is on.
pub(super) fn icon_button(ui: &mut Ui, icon: Icon, on: bool, lit: bool, tip: &str) -> Response {
    let look = Look::here(ui);
    let sense = if on { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(ROW), sense);
    response.widget_info(|| WidgetInfo::selected(Role::Button, on, lit, tip));
    let visuals = ui.style().interact(&response);
    let painter = ui.painter();
    let ink = match (on, lit) {
        (false, _) => look.faint.gamma_multiply(0.4),
        (true, true) => look.accent,
        (true, false) => look.ink,
    };
    painter.rect(
        rect,
        ROUND / 2,
        visuals.weak_bg_fill,
        visuals.bg_stroke,
        egui::StrokeKind::Inside,
    );
    draw_icon(painter, rect.shrink(6.0), icon, lit, ink);
    response.on_hover_text(tip)
}

/// Draws a sign into a square.
pub(super) fn draw_icon(painter: &Painter, rect: Rect, icon: Icon, lit: bool, ink: Color32) {
    let at = |x: f32, y: f32| rect.min + rect.size() * Vec2::new(x, y);
    let stroke = Stroke::new(1.6, ink);
    let fill = |points: Vec<Pos2>| Shape::convex_polygon(points, ink, Stroke::NONE);
    let line = |points: Vec<Pos2>| Shape::line(points, stroke);
    let centre = rect.center();
    let round = |turns: f32, radius: f32| {
        let (sin, cos) = (turns * std::f32::consts::TAU).sin_cos();
        centre + Vec2::new(sin, -cos) * radius * rect.width() / 2.0
    };
    match icon {
        Icon::Preferences => {
            for (y, x) in [(0.15, 0.65), (0.5, 0.3), (0.85, 0.7)] {
                painter.add(line(vec![at(0.0, y), at(1.0, y)]));
                painter.circle_filled(at(x, y), 2.4, ink);
            }
        }
        Icon::Before => {
            painter.add(fill(vec![at(0.75, 0.05), at(0.75, 0.95), at(0.15, 0.5)]));
        }
        Icon::After => {
            painter.add(fill(vec![at(0.25, 0.05), at(0.85, 0.5), at(0.25, 0.95)]));
        }
        Icon::Back => {
            painter.add(line(vec![at(0.4, 0.1), at(0.0, 0.45), at(0.4, 0.8)]));
            painter.add(line(vec![
                at(0.0, 0.45),
                at(0.7, 0.45),
                at(1.0, 0.65),
                at(1.0, 0.95),
            ]));
        }
        Icon::Star => {
            let points: Vec<Pos2> = (0..=10)
                .map(|i| round(i as f32 / 10.0, if i % 2 == 0 { 1.1 } else { 0.48 }))
                .collect();
            if lit {
                for pair in points.windows(2) {
                    painter.add(fill(vec![centre, pair[0], pair[1]]));
                }
            }
            painter.add(line(points));
        }
        Icon::Save => {
            painter.add(line(vec![at(0.5, 0.0), at(0.5, 0.65)]));
            painter.add(line(vec![at(0.22, 0.38), at(0.5, 0.68), at(0.78, 0.38)]));
            painter.add(line(vec![
                at(0.0, 0.7),
                at(0.0, 1.0),
                at(1.0, 1.0),
                at(1.0, 0.7),
            ]));
        }
        Icon::Record => {
            painter.circle_filled(centre, rect.width() * 0.42, ink);
        }
        Icon::Stop => {
            painter.rect_filled(rect.shrink(1.5), 1, ink);
        }
    }
}

/// A small triangle behind the text of a button that opens a menu.
pub(super) fn below(ui: &Ui, button: &Response) {
    let look = Look::here(ui);
    let rect = button.rect;
    let middle = pos2(rect.right() - 10.0, rect.center().y + 0.5);
    let points = [(-3.5, -2.0), (3.5, -2.0), (0.0, 2.5)];
    let points = points.map(|(x, y)| middle + Vec2::new(x, y));
    ui.painter().add(Shape::convex_polygon(
        points.into(),
        look.faint,
        Stroke::NONE,
    ));
}
