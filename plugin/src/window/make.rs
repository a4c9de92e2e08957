//! The group in which a pad's sound is made: what it is like, and the buttons that ask for another.

use audiodiff::attributes::Attribute;
use egui::containers::menu::MenuButton;
use egui::{Button, Rect, RichText, Ui, Vec2};

use super::Window;
use super::choice::choice_of;
use super::knob::{Editing, Format, KNOB, Setting};
use super::look::{GAP, Look, NEAR, ROW, Room, group, row};
use super::pads::spoken;
use super::stage::Stage;
use crate::kit::{Class, MAX_GUIDANCE, MAX_LENGTH_SECONDS, MAX_STEPS, PadSettings};
use crate::params::{MAX_SEED, PadParams};
use crate::portrait;
use crate::requests::Task;

impl Window {
    /// What describes the pad's sound, and the buttons that make it.
    pub(super) fn make(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        edit: &Editing<'_>,
        pad: usize,
        params: &PadParams,
        settings: &PadSettings,
    ) {
        let mut room = group(ui, rect, "Make");
        let buttons = room.right(BUTTONS, GAP);
        let variation = room.right(room.0.width() / 6.0, 0.0);
        edit.setting(ui, variation, pad, settings, &VARIATION);
        self.portrait(ui, room.0, edit, pad, settings);
        let mut buttons = Room(buttons);
        let height = (buttons.0.height() - 2.0 * NEAR) / 3.0;
        let first = buttons.top(height, NEAR);
        self.class_and_seed(ui, first, edit, pad, params, settings);
        let second = buttons.top(height, NEAR);
        row(ui, second, "acts", |ui| {
            let width = (second.width() - 2.0 * NEAR) / 3.0;
            let big = |text: &str| {
                Button::new(RichText::new(text).size(13.5)).min_size(Vec2::new(width, height))
            };
            let new = ui.add(big("New"));
            if new.on_hover_text("Another sound of this class").clicked() {
                edit.new_sound(self.store.gesture(), pad);
            }
            let vary = ui.add(big("Vary"));
            if vary.on_hover_text("Another one like this").clicked() {
                self.store.ask(pad, Task::Vary);
            }
            let ring = ui.add(big("Ring"));
            if ring
                .on_hover_text("Eight like this to choose from")
                .clicked()
            {
                self.show(Stage::Ring);
            }
        });
        let third = buttons.0;
        row(ui, third, "past", |ui| {
            self.past(ui, pad);
            self.advanced(ui, edit, pad, settings);
        });
    }

    /// What the sound shall be like: five knobs, each within what the model knows of the class.
    fn portrait(
        &self,
        ui: &mut Ui,
        rect: Rect,
        edit: &Editing<'_>,
        pad: usize,
        settings: &PadSettings,
    ) {
        let model = self.status.model();
        let class = settings
            .making
            .class
            .of_model(pad, &self.labels())
            .ok()
            .flatten();
        for (rect, (attribute, name, tip)) in Room(rect).columns(5, 0.0).zip(PORTRAIT) {
            let range = model
                .as_ref()
                .and_then(|model| model.ranges.range(class.as_deref(), attribute).cloned());
            let text = |x: f32| match &range {
                Some(range) => range.text(x),
                None => portrait::ANY.to_owned(),
            };
            let typed = |typed: &str| range.as_ref()?.typed(typed);
            let off = match (&model, &range) {
                (Some(_), None) => Some("the model knows no such difference in this class"),
                (None, _) => Some("no model is open"),
                _ => None,
            };
            let knob = Setting {
                name,
                tip,
                range: [-1.0, 1.0],
                step: portrait::STEP,
                get: &|it| it.making.portrait.get(attribute),
                set: &|it, x| it.making.portrait = it.making.portrait.with(attribute, x),
                text: &text,
                parse: Some(&typed),
                format: Format::CENTRED,
                off,
            };
            edit.setting(ui, rect, pad, settings, &knob);
        }
    }

    fn class_and_seed(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        edit: &Editing<'_>,
        pad: usize,
        params: &PadParams,
        settings: &PadSettings,
    ) {
        let making = &settings.making;
        let labels = self.labels();
        row(ui, rect, "class", |ui| {
            let names: Vec<(Class, String)> = [
                (Class::Auto, "This pad's own".to_owned()),
                (Class::Any, "Anything".to_owned()),
            ]
            .into_iter()
            .chain(
                labels
                    .iter()
                    .map(|it| (Class::Label(it.clone()), spoken(it))),
            )
            .collect();
            let classes: Vec<(Class, &str)> = names
                .iter()
                .map(|(class, name)| (class.clone(), name.as_str()))
                .collect();
            let shown = making.class.name(&labels);
            let is_chosen = |class: &Class| class.name(&labels) == shown;
            let text = classes.iter().find(|(class, _)| is_chosen(class));
            let text = text.map_or_else(|| spoken(&shown), |(_, text)| (*text).to_owned());
            if let Some(class) = choice_of(ui, "Class", 112.0, &text, &classes, is_chosen) {
                edit.edit(|project| project.settings[pad].making.class = class);
            }
            let mut seed = params.seed.value();
            let value = egui::DragValue::new(&mut seed)
                .range(0..=MAX_SEED)
                .prefix("No. ");
            let response = ui.add(value);
            if response.drag_started() || response.gained_focus() {
                self.seed_gesture = self.store.gesture();
            }
            if response.changed() {
                edit.set_seed(self.seed_gesture, pad, seed);
                self.store
                    .ask_with(self.seed_gesture, pad, Task::Generate, seed);
            }
            let tip =
                "The number of the sound: the same one is the same sound. Drag it, or type it";
            response.on_hover_text(tip);
        });
    }

    /// What a musician seldom needs.
    fn advanced(&self, ui: &mut Ui, edit: &Editing<'_>, pad: usize, settings: &PadSettings) {
        let most_steps = self.status.model().map(|model| model.most_steps);
        MenuButton::from_button(Button::new("Advanced")).ui(ui, |ui| {
            let size = Vec2::new(3.0 * (KNOB.x + NEAR), KNOB.y + NEAR);
            let (rect, _) = ui.allocate_exact_size(size, egui::Sense::hover());
            let steps = Setting {
                text: &|steps| steps_text(most_steps, steps as u32),
                ..STEPS
            };
            for (rect, knob) in Room(rect).columns(3, NEAR).zip([steps, GUIDANCE, LENGTH]) {
                edit.setting(ui, rect, pad, settings, &knob);
            }
            let made = ui.button("Make it anew from its number");
            if made
                .on_hover_text("The sound of this number, as it was before it was varied")
                .clicked()
            {
                self.store.ask(pad, Task::Generate);
                ui.close();
            }
        });
    }

    /// The sounds that the pad had.
    fn past(&mut self, ui: &mut Ui, pad: usize) {
        let look = Look::here(ui);
        let (at, of) = self.store.history(pad);
        let is_open = !self.store.is_locked(pad);
        let small = |text: &str| Button::new(text).min_size(Vec2::new(ROW, ROW));
        let back = ui.add_enabled(is_open && at > 1, small("←"));
        if back.on_hover_text("The sound before").clicked() {
            let stepped = self.store.step(pad, -1);
            self.tell(stepped);
        }
        ui.label(RichText::new(format!("{at} of {of}")).color(look.faint));
        let forth = ui.add_enabled(is_open && at < of, small("→"));
        if forth.on_hover_text("The sound after").clicked() {
            let stepped = self.store.step(pad, 1);
            self.tell(stepped);
        }
    }
}

/// The knobs of the portrait: what each is of, its name, and what it does.
const PORTRAIT: [(Attribute, &str, &str); 5] = [
    (Attribute::Attack, "Attack", "How slowly new sounds begin"),
    (Attribute::Length, "Length", "How long new sounds last"),
    (Attribute::Brightness, "Bright", "How bright new sounds are"),
    (Attribute::Pitch, "Pitch", "How high new sounds are"),
    (Attribute::Noisiness, "Noise", "From a tone to noise"),
];

/// The width of the buttons beside the knobs.
const BUTTONS: f32 = 224.0;

/// The next seed; after 10,000 of them they begin anew.
pub(super) fn next_seed(seed: i32) -> i32 {
    // A step that shares no factor with 10,000 meets every seed once.
    (seed + 1_237).rem_euclid(MAX_SEED + 1)
}

const STEPS: Setting<'static> = Setting {
    name: "Steps",
    tip: "Steps from noise to sound: more take longer and are cleaner",
    range: [0.0, MAX_STEPS as f32],
    step: 1.0,
    get: &|it| it.making.steps as f32,
    set: &|it, x| it.making.steps = x as u32,
    text: &|x| steps_text(None, x as u32),
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const GUIDANCE: Setting<'static> = Setting {
    name: "Guidance",
    tip: "How much the model insists on the class",
    range: [0.0, MAX_GUIDANCE],
    step: 0.01,
    get: &|it| it.making.guidance,
    set: &|it, x| it.making.guidance = x,
    text: &|x| auto_or(x, |x| format!("{x:.2}")),
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const LENGTH: Setting<'static> = Setting {
    name: "Seconds",
    tip: "How long a file the model makes; its sound may end sooner",
    range: [0.0, MAX_LENGTH_SECONDS],
    step: 0.01,
    get: &|it| it.making.length,
    set: &|it, x| it.making.length = x,
    text: &|x| auto_or(x, |x| format!("{x:.2} s")),
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

const VARIATION: Setting<'static> = Setting {
    name: "Distance",
    tip: "How far a variation goes from the sound that it begins with",
    range: [0.0, 1.0],
    step: 0.001,
    get: &|it| it.making.variation,
    set: &|it, x| it.making.variation = x,
    text: &percent,
    parse: None,
    format: Format::FROM_LEFT,
    off: None,
};

pub(super) fn percent(x: f32) -> String {
    format!("{:.1} %", 100.0 * x)
}

/// The text of a value whose zero leaves the choice to the model.
fn auto_or(x: f32, text: impl Fn(f32) -> String) -> String {
    if x == 0.0 { "Auto".to_owned() } else { text(x) }
}

/// Steps that are asked for, and those that the model takes where these are fewer.
fn steps_text(most: Option<usize>, steps: u32) -> String {
    match (steps, most) {
        (0, _) => "Auto".to_owned(),
        (steps, Some(most)) if steps as usize > most => format!("{steps} ({most} taken)"),
        (steps, _) => steps.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_say_how_many_of_them_the_model_takes() {
        let texts = |most| [0, 1, 8, 9, 64].map(|steps| steps_text(most, steps));
        assert_eq!(texts(None), ["Auto", "1", "8", "9", "64"]);
        assert_eq!(texts(Some(1000)), texts(None));
        assert_eq!(
            texts(Some(8)),
            ["Auto", "1", "8", "9 (8 taken)", "64 (8 taken)"]
        );
    }

    #[test]
    fn new_meets_every_seed_once() {
        let mut met = vec![false; 10_000];
        let mut seed = 17;
        for _ in 0..10_000 {
            seed = next_seed(seed);
            assert!(!std::mem::replace(&mut met[seed as usize], true), "{seed}");
        }
        assert_eq!(seed, 17);
    }
}
