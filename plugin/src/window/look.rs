//! How the window looks: its colours, its letters, and the grid that everything stands on.

use std::sync::Arc;

use audiodiff::names::Kind;
use egui::ecolor::Hsva;
use egui::epaint::text::{FontInsert, FontPriority, InsertFontFamily};
use egui::text::{LayoutJob, TextWrapping};
use egui::{
    Color32, CornerRadius, FontData, FontFamily, FontId, Id, Rect, Stroke, TextStyle, Ui,
    UiBuilder, Vec2, Visuals,
};
use serde::{Deserialize, Serialize};

/// From the window's edge to what is in it, points.
pub(super) const MARGIN: f32 = 12.0;
/// Between two things that belong to different groups.
pub(super) const GAP: f32 = 10.0;
/// Between two things of one group.
pub(super) const NEAR: f32 = 6.0;
/// The height of buttons, lists and titles.
pub(super) const ROW: f32 = 24.0;
/// How round groups and pads are; buttons half as much.
pub(super) const ROUND: u8 = 8;

/// Dark or light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Light letters on dark ground.
    #[default]
    Dark,
    /// Dark letters on light ground.
    Light,
}

/// The colours of a theme.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub theme: Theme,
    /// Behind everything.
    pub back: Color32,
    /// Of groups.
    pub panel: Color32,
    /// Of what stands in groups: pads, buttons, graphs.
    pub raised: Color32,
    /// Around things, and of a knob's track.
    pub edge: Color32,
    /// Of letters.
    pub ink: Color32,
    /// Of letters that are read second.
    pub faint: Color32,
    /// Of what is set by hand.
    pub accent: Color32,
    /// Of what the host modulates.
    pub modulated: Color32,
    /// Of bad news, and of what is too loud.
    pub trouble: Color32,
    /// Of levels that are as they should be.
    pub level: Color32,
}

const DARK: Look = Look {
    theme: Theme::Dark,
    back: Color32::from_rgb(13, 14, 19),
    panel: Color32::from_rgb(22, 24, 32),
    raised: Color32::from_rgb(33, 36, 47),
    edge: Color32::from_rgb(61, 66, 84),
    ink: Color32::from_rgb(232, 234, 242),
    faint: Color32::from_rgb(157, 163, 182),
    accent: Color32::from_rgb(255, 138, 92),
    modulated: Color32::from_rgb(122, 215, 255),
    trouble: Color32::from_rgb(255, 104, 112),
    level: Color32::from_rgb(104, 214, 160),
};

const LIGHT: Look = Look {
    theme: Theme::Light,
    back: Color32::from_rgb(226, 227, 233),
    panel: Color32::from_rgb(241, 242, 246),
    raised: Color32::from_rgb(255, 255, 255),
    edge: Color32::from_rgb(190, 194, 208),
    ink: Color32::from_rgb(24, 26, 36),
    faint: Color32::from_rgb(88, 94, 114),
    accent: Color32::from_rgb(209, 74, 22),
    modulated: Color32::from_rgb(0, 118, 178),
    trouble: Color32::from_rgb(196, 26, 44),
    level: Color32::from_rgb(12, 134, 82),
};

/// The hues of the kinds of sounds that a kit is made of, 0 to 1; others have one by their name.
const HUES: [(&str, f32); 17] = [
    ("kick", 0.025),
    ("snare", 0.085),
    ("clap", 0.135),
    ("rim", 0.11),
    ("hat_closed", 0.175),
    ("hat_open", 0.235),
    ("tom", 0.40),
    ("cymbal", 0.485),
    ("perc", 0.545),
    ("shaker", 0.29),
    ("cowbell", 0.34),
    ("conga", 0.44),
    ("bass", 0.70),
    ("synth", 0.75),
    ("pluck", 0.80),
    ("mallet", 0.85),
    ("fx", 0.93),
];

impl Look {
    pub fn of(theme: Theme) -> Self {
        match theme {
            Theme::Dark => DARK,
            Theme::Light => LIGHT,
        }
    }

    /// The one that a window has now.
    pub fn here(ui: &Ui) -> Self {
        let theme = ui.data(|data| data.get_temp(Id::unique("theme")));
        Self::of(theme.unwrap_or_default())
    }

    /// Gives a window this look.
    pub fn apply(self, ctx: &egui::Context) {
        ctx.data_mut(|data| data.insert_temp(Id::unique("theme"), self.theme));
        let mut visuals = match self.theme {
            Theme::Dark => Visuals::dark(),
            Theme::Light => Visuals::light(),
        };
        visuals.panel_fill = self.back;
        visuals.window_fill = self.panel;
        visuals.window_stroke = Stroke::new(1.0, self.edge);
        visuals.extreme_bg_color = self.back;
        visuals.override_text_color = Some(self.ink);
        visuals.selection.bg_fill = self.accent.gamma_multiply(0.35);
        visuals.selection.stroke = Stroke::new(1.0, self.accent);
        visuals.hyperlink_color = self.accent;
        visuals.menu_corner_radius = CornerRadius::same(ROUND);
        visuals.window_corner_radius = CornerRadius::same(ROUND);
        let widgets = &mut visuals.widgets;
        let lighter = self.raised.lerp_to_gamma(self.ink, 0.08);
        for (widget, fill, edge) in [
            (&mut widgets.noninteractive, self.panel, self.edge),
            (
                &mut widgets.inactive,
                self.raised,
                self.edge.gamma_multiply(0.6),
            ),
            (&mut widgets.hovered, lighter, self.faint),
            (
                &mut widgets.active,
                self.raised.lerp_to_gamma(self.accent, 0.3),
                self.accent,
            ),
            (&mut widgets.open, lighter, self.accent),
        ] {
            widget.bg_fill = fill;
            widget.weak_bg_fill = fill;
            widget.bg_stroke = Stroke::new(1.0, edge);
            widget.fg_stroke = Stroke::new(1.0, self.ink);
            widget.corner_radius = CornerRadius::same(ROUND / 2);
            widget.expansion = 0.0;
        }
        ctx.all_styles_mut(|style| {
            style.visuals = visuals.clone();
            style.spacing.item_spacing = Vec2::new(NEAR, NEAR);
            style.spacing.button_padding = Vec2::new(8.0, 3.0);
            style.spacing.interact_size.y = ROW;
            style.interaction.tooltip_delay = 0.4;
            // A drag that begins on a name would mark letters.
            style.interaction.selectable_labels = false;
            for (text, size) in [
                (TextStyle::Body, 12.5),
                (TextStyle::Button, 12.5),
                (TextStyle::Small, 10.5),
                (TextStyle::Heading, 18.0),
            ] {
                style.text_styles.insert(text, FontId::proportional(size));
            }
        });
    }

    /// The colour of a class of sounds, as any of its names tells.
    pub fn class(&self, label: Option<&str>) -> Color32 {
        let Some(label) = label else {
            return self.faint;
        };
        let kind = Kind::within(label).map_or_else(|| label.to_owned(), Kind::name);
        let known = HUES.iter().find(|(name, _)| *name == kind);
        let hue = known.map_or_else(
            || {
                let sum = kind.bytes().fold(7u32, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(byte.into())
                });
                (sum % 97) as f32 / 97.0
            },
            |(_, hue)| *hue,
        );
        match self.theme {
            Theme::Dark => Hsva::new(hue, 0.86, 0.95, 1.0).into(),
            Theme::Light => Hsva::new(hue, 0.95, 0.21, 1.0).into(),
        }
    }
}

/// Puts the window's letters before those that egui brings, which have the others of the world.
pub(super) fn add_fonts(ctx: &egui::Context) {
    let faces: [(&str, &'static [u8], &[FontFamily]); 2] = [
        (
            "Manrope",
            include_bytes!("font/Manrope-Medium.ttf"),
            &[FontFamily::Proportional],
        ),
        (
            "Manrope heavy",
            include_bytes!("font/Manrope-ExtraBold.ttf"),
            &[heavy_family()],
        ),
    ];
    for (name, bytes, families) in faces {
        let families = families.iter().map(|family| InsertFontFamily {
            family: family.clone(),
            priority: FontPriority::Highest,
        });
        ctx.add_font(FontInsert::new(
            name,
            FontData::from_static(bytes),
            families.collect(),
        ));
    }
}

fn heavy_family() -> FontFamily {
    FontFamily::Name(Arc::from("heavy"))
}

/// Letters of titles.
pub(super) fn heavy(size: f32) -> FontId {
    FontId::new(size, heavy_family())
}

/// Letters of text.
pub(super) fn plain(size: f32) -> FontId {
    FontId::proportional(size)
}

/// A line of text, cut where it is wider than `width`.
pub(super) fn line(
    painter: &egui::Painter,
    text: &str,
    size: f32,
    color: Color32,
    width: f32,
) -> Arc<egui::Galley> {
    let font = FontId::proportional(size);
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = TextWrapping::truncate_at_width(width);
    painter.layout_job(job)
}

/// A part of the window that is cut into smaller ones, from its sides inwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(pub Rect);

impl Room {
    /// The uppermost `height` points; `gap` more are left free below them.
    pub fn top(&mut self, height: f32, gap: f32) -> Rect {
        let (mut cut, rest) = self
            .0
            .split_top_bottom_at_y((self.0.top() + height).min(self.0.bottom()));
        cut.set_bottom(rest.top());
        self.0.set_top((rest.top() + gap).min(self.0.bottom()));
        cut
    }

    pub fn bottom(&mut self, height: f32, gap: f32) -> Rect {
        let mut cut = self.0;
        cut.set_top((self.0.bottom() - height).max(self.0.top()));
        self.0.set_bottom((cut.top() - gap).max(self.0.top()));
        cut
    }

    pub fn left(&mut self, width: f32, gap: f32) -> Rect {
        let mut cut = self.0;
        cut.set_right((self.0.left() + width).min(self.0.right()));
        self.0.set_left((cut.right() + gap).min(self.0.right()));
        cut
    }

    pub fn right(&mut self, width: f32, gap: f32) -> Rect {
        let mut cut = self.0;
        cut.set_left((self.0.right() - width).max(self.0.left()));
        self.0.set_right((cut.left() - gap).max(self.0.left()));
        cut
    }

    /// `n` parts beside each other, of equal width.
    pub fn columns(self, n: usize, gap: f32) -> impl Iterator<Item = Rect> {
        let width = (self.0.width() - gap * (n - 1) as f32) / n as f32;
        let size = Vec2::new(width, self.0.height());
        (0..n).map(move |i| {
            let corner = self.0.min + Vec2::new(i as f32 * (width + gap), 0.0);
            Rect::from_min_size(corner, size)
        })
    }
}

/// Draws what belongs into `rect`, widgets from left to right.
pub(super) fn row<R>(ui: &mut Ui, rect: Rect, name: &str, add: impl FnOnce(&mut Ui) -> R) -> R {
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    inside(ui, rect, name, layout, add)
}

/// Draws what belongs into `rect`, widgets from right to left.
pub(super) fn row_from_right<R>(
    ui: &mut Ui,
    rect: Rect,
    name: &str,
    add: impl FnOnce(&mut Ui) -> R,
) -> R {
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    inside(ui, rect, name, layout, add)
}

fn inside<R>(
    ui: &mut Ui,
    rect: Rect,
    name: &str,
    layout: egui::Layout,
    add: impl FnOnce(&mut Ui) -> R,
) -> R {
    let builder = UiBuilder::new().id_salt(name).max_rect(rect).layout(layout);
    ui.scope_builder(builder, add).inner
}

/// A group of controls under a title; what is left of it for the controls.
pub(super) fn group(ui: &Ui, rect: Rect, title: &str) -> Room {
    let look = Look::here(ui);
    let painter = ui.painter();
    painter.rect_filled(rect, ROUND, look.panel);
    let mut room = Room(rect.shrink2(Vec2::new(GAP, NEAR)));
    let at = room.top(TITLE, 2.0);
    painter.text(
        at.left_center(),
        egui::Align2::LEFT_CENTER,
        title,
        heavy(12.0),
        look.ink,
    );
    room
}

/// The height of a group's title.
pub(super) const TITLE: f32 = 18.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The contrast of WCAG 2.1, 1 to 21.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let light = |color: Color32| {
            let [r, g, b, _] = egui::Rgba::from(color).to_array();
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let (a, b) = (light(a), light(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn letters_are_read_on_every_ground_and_classes_are_seen() {
        for look in [DARK, LIGHT] {
            for ground in [look.back, look.panel, look.raised] {
                for letters in [look.ink, look.faint, look.trouble] {
                    let found = contrast(letters, ground);
                    assert!(
                        found >= 4.5,
                        "{:?}: {letters:?} on {ground:?}: {found}",
                        look.theme
                    );
                }
                for (class, _) in HUES {
                    let found = contrast(look.class(Some(class)), ground);
                    assert!(
                        found >= 3.0,
                        "{:?}: {class} on {ground:?}: {found}",
                        look.theme
                    );
                }
            }
        }
    }

    #[test]
    fn a_class_has_the_colour_of_its_kind_whatever_it_is_called() {
        for (a, b) in [
            ("kick", "Kicks"),
            ("hat_closed", "Closed Hats"),
            ("snare", "SD"),
        ] {
            assert_eq!(DARK.class(Some(a)), DARK.class(Some(b)), "{a} {b}");
        }
        assert_ne!(DARK.class(Some("kick")), DARK.class(Some("snare")));
        assert_eq!(DARK.class(None), DARK.faint);
    }

    #[test]
    fn parts_of_a_room_meet_neither_each_other_nor_its_walls() {
        let mut room = Room(Rect::from_min_size(
            egui::Pos2::new(5.0, 7.0),
            Vec2::new(100.0, 50.0),
        ));
        let all = room.0;
        let parts = [
            room.top(10.0, 2.0),
            room.bottom(10.0, 2.0),
            room.left(20.0, 3.0),
            room.right(20.0, 3.0),
            room.0,
        ];
        for (i, part) in parts.iter().enumerate() {
            assert!(all.contains_rect(*part));
            assert!(
                parts[..i].iter().all(|other| !other.intersects(*part)),
                "{parts:?}"
            );
        }
        assert_eq!(room.0.size(), Vec2::new(54.0, 26.0));
        // One that is too small gives what it has.
        assert_eq!(room.top(1000.0, 1000.0).height(), 26.0);
        assert_eq!(room.0.height(), 0.0);
    }
}
