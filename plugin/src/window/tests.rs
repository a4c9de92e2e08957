//! The window without a host: what is drawn, and what hands do to it.

use std::cell::RefCell;

use audiodiff::audio::Clip;
use audiodiff::render::{Remark, Rendered};
use egui::epaint::ClippedShape;
use egui::{Event, MouseWheelUnit, PointerButton, Pos2, RawInput, Rect, Shape, TouchPhase, Vec2};

use super::*;
use crate::display::Given;
use crate::params::knob_of;
use crate::stored::tests::recipe;

/// A context that looks as the window does.
fn dressed() -> egui::Context {
    let egui = egui::Context::default();
    look::add_fonts(&egui);
    Look::of(Theme::Dark).apply(&egui);
    egui
}

/// Every text that is drawn, and its place.
fn texts(mut draw: impl FnMut(&mut Ui)) -> Vec<(String, Rect)> {
    let input = || RawInput {
        screen_rect: Some(Rect::from_min_size(Pos2::ZERO, Vec2::new(2000.0, 600.0))),
        ..RawInput::default()
    };
    let egui = dressed();
    // Fonts are there from the second frame on.
    egui.run_ui(input(), |_| {}).textures_delta.clear();
    let mut drawn = egui.run_ui(input(), &mut draw);
    // egui insists that textures are applied or dropped on purpose.
    drawn.textures_delta.clear();
    let text = |shape: ClippedShape| match shape.shape {
        Shape::Text(text) => {
            let rows = text.galley.rows.iter();
            let place = text.galley.rect.translate(text.pos.to_vec2());
            Some((rows.map(|row| row.text()).collect(), place))
        }
        _ => None,
    };
    drawn.shapes.into_iter().filter_map(text).collect()
}

fn window(store: &Arc<Store>) -> Window {
    let (status, display) = (Arc::default(), Arc::default());
    let params = Arc::new(PluginParams::new(store));
    let size = EguiEditorState::from_size(SIZE, 1.0);
    let learner = Arc::default();
    Window::new(size, params, store.clone(), status, display, learner)
}

/// What hands have done to parameters.
#[derive(Default)]
struct Recorder(RefCell<Vec<String>>);

impl Hand for Recorder {
    fn begin(&self, param: &FloatParam) {
        self.0.borrow_mut().push(format!("begin {}", param.name()));
    }

    fn turn(&self, param: &FloatParam, normalized: f32) {
        let text = format!("turn {} {normalized:.2}", param.name());
        self.0.borrow_mut().push(text);
    }

    fn end(&self, param: &FloatParam) {
        self.0.borrow_mut().push(format!("end {}", param.name()));
    }

    fn set(&self, param: &IntParam, value: i32) {
        self.0
            .borrow_mut()
            .push(format!("set {} {value}", param.name()));
    }
}

/// A whole window of the least size, with a mouse.
struct Desk {
    egui: egui::Context,
    window: Window,
    store: Arc<Store>,
    recorder: Recorder,
    time: f64,
}

impl Desk {
    fn new() -> Self {
        let (store, _) = Store::new();
        for pad in 0..PADS {
            let clip = Clip::new(44_100, vec![vec![0.5; 100]]);
            store.put(pad, StoredSound::new(recipe(1), &clip)).unwrap();
        }
        let mut window = window(&store);
        window.hosted.outputs = true;
        let mut desk = Self {
            egui: dressed(),
            window,
            store,
            recorder: Recorder::default(),
            time: 0.0,
        };
        // The first one measures.
        desk.shapes(vec![]);
        desk.shapes(vec![]);
        desk
    }

    /// What is drawn after these events.
    fn shapes(&mut self, events: Vec<Event>) -> Vec<ClippedShape> {
        let size = Vec2::new(LEAST.width, LEAST.height);
        let screen = Rect::from_min_size(Default::default(), size);
        self.time += 0.1;
        let input = RawInput {
            screen_rect: Some(screen),
            time: Some(self.time),
            events,
            ..RawInput::default()
        };
        let params = self.window.params.clone();
        let display = self.window.display.clone();
        let edit = Editing {
            hand: &self.recorder,
            params: &params,
            store: &self.store,
            display: &display,
            controllers: true,
        };
        let window = &mut self.window;
        let mut drawn = self.egui.run_ui(input, |ui| window.draw(ui, &edit));
        drawn.textures_delta.clear();
        drawn.shapes
    }

    /// Every text that is drawn, its place, and what is cut off around it.
    fn texts(&mut self) -> Vec<(String, Rect, Rect)> {
        let text = |shape: ClippedShape| match shape.shape {
            Shape::Text(text) => {
                let rows = text.galley.rows.iter();
                let place = text.galley.rect.translate(text.pos.to_vec2());
                let text = rows.map(|row| row.text()).collect();
                Some((text, place, shape.clip_rect))
            }
            _ => None,
        };
        self.shapes(vec![]).into_iter().filter_map(text).collect()
    }

    /// The middle of the text that is drawn last of those that are so.
    fn find(&mut self, wanted: &str) -> Pos2 {
        let texts = self.texts();
        let found = texts.iter().rev().find(|(text, ..)| text == wanted);
        found
            .unwrap_or_else(|| panic!("{wanted} is not shown"))
            .1
            .center()
    }

    fn has(&mut self, wanted: &str) -> bool {
        self.texts().iter().any(|(text, ..)| text == wanted)
    }

    fn button(&mut self, pos: Pos2, pressed: bool) {
        self.press(PointerButton::Primary, pos, pressed);
    }

    fn press(&mut self, button: PointerButton, pos: Pos2, pressed: bool) {
        let event = Event::PointerButton {
            pos,
            button,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.shapes(vec![Event::PointerMoved(pos), event]);
    }

    /// Clicks with the other button.
    fn second_click(&mut self, pos: Pos2) {
        self.shapes(vec![Event::PointerMoved(pos)]);
        self.press(PointerButton::Secondary, pos, true);
        self.press(PointerButton::Secondary, pos, false);
        self.shapes(vec![]);
    }

    fn key(&mut self, key: Key) {
        for pressed in [true, false] {
            self.shapes(vec![Event::Key {
                key,
                physical_key: None,
                pressed,
                repeat: false,
                modifiers: Modifiers::NONE,
            }]);
        }
    }

    fn click(&mut self, pos: Pos2) {
        self.shapes(vec![Event::PointerMoved(pos)]);
        self.button(pos, true);
        self.button(pos, false);
        self.shapes(vec![]);
    }

    fn drag(&mut self, from: Pos2, up: f32) {
        self.button(from, true);
        for part in 1..=4 {
            let to = from - Vec2::new(0.0, up * part as f32 / 4.0);
            self.shapes(vec![Event::PointerMoved(to)]);
        }
        self.button(from - Vec2::new(0.0, up), false);
    }
}

#[test]
fn at_its_least_size_everything_is_seen() {
    let screen = Rect::from_min_size(Pos2::ZERO, Vec2::new(LEAST.width, LEAST.height));
    for (stage, wanted) in [
        (Stage::Pads, "Tune"),
        (Stage::Ring, "Eight others"),
        (Stage::Morph, "With"),
    ] {
        let mut desk = Desk::new();
        desk.window.show(stage);
        desk.shapes(vec![]);
        let texts = desk.texts();
        assert!(texts.len() > 60, "{}", texts.len());
        for (text, place, clip) in &texts {
            assert!(
                screen.contains_rect(*place),
                "{text} at {place} is off the window"
            );
            assert!(
                clip.expand(1.0).contains_rect(*place),
                "{text} at {place} is cut at {clip}"
            );
            let is_cut = text.ends_with('…') && !["From audio…", "Export…"].contains(&&**text);
            assert!(!is_cut, "{text}");
        }
        for wanted in [
            wanted,
            "One-shot",
            "Main out",
            "One take",
            "Ready",
            "Undo",
            "Resonance",
        ] {
            assert!(
                texts.iter().any(|(text, ..)| text.trim() == wanted),
                "{wanted}"
            );
        }
        // No text lies over another.
        for (i, (text, place, _)) in texts.iter().enumerate() {
            for (other, there, _) in &texts[..i] {
                let shared = place.intersect(*there);
                let over = shared.width() > 1.0 && shared.height() > 1.0;
                assert!(!over, "{text} at {place} lies over {other} at {there}");
            }
        }
    }
}

#[test]
fn a_pad_that_is_carried_to_another_begins_a_morph() {
    let mut desk = Desk::new();
    let (from, to) = (desk.find("C1"), desk.find("D1"));
    desk.button(from, true);
    for part in 1..=4 {
        let at = from.lerp(to, part as f32 / 4.0);
        desk.shapes(vec![Event::PointerMoved(at)]);
    }
    desk.button(to, false);
    assert_eq!(desk.window.stage, Stage::Morph);
    desk.shapes(vec![]);
    assert!(matches!(desk.window.between, Between::Pad(2)));
    let view = desk.store.morphing().view().expect("it is open");
    let project = desk.store.project();
    for (end, pad) in [(0, 0), (crate::explore::MORPHS - 1, 2)] {
        let sound = view.sounds[end].as_ref().expect("the ends are there");
        assert!(Arc::ptr_eq(sound, project.sound(pad).unwrap()));
    }
    // What is taken stands on the pad, and an undo brings the old one back.
    let take = desk.find("Take on pad 3");
    desk.click(take);
    let now = desk.store.project();
    assert!(!Arc::ptr_eq(
        now.sound(2).unwrap(),
        project.sound(2).unwrap()
    ));
    let undo = desk.find("Undo");
    desk.click(undo);
    assert!(Arc::ptr_eq(
        desk.store.project().sound(2).unwrap(),
        project.sound(2).unwrap()
    ));
}

#[test]
fn a_ring_is_around_the_pad_that_is_selected() {
    let mut desk = Desk::new();
    let ring = desk.find("Ring");
    desk.click(ring);
    let around = |desk: &Desk| {
        let view = desk.store.ring().view().expect("it is open");
        (view.pad, view.centre)
    };
    let project = desk.store.project();
    let (pad, centre) = around(&desk);
    assert!(pad == 0 && Arc::ptr_eq(&centre, project.sound(0).unwrap()));
    let third = desk.find("3");
    desk.click(third);
    let (pad, centre) = around(&desk);
    assert!(pad == 2 && Arc::ptr_eq(&centre, project.sound(2).unwrap()));
    let pads = desk.find("Pads");
    desk.click(pads);
    assert!(desk.store.ring().view().is_none());
}

#[test]
fn a_click_locks_and_an_undo_opens_again() {
    let mut desk = Desk::new();
    assert!(!desk.has("L"), "it is seen under the pointer");
    let key = desk.find("C1");
    desk.shapes(vec![Event::PointerMoved(key)]);
    let lock = desk.find("L");
    desk.click(lock);
    assert!(desk.store.is_locked(0) && !desk.store.is_locked(1));
    desk.shapes(vec![Event::PointerMoved(Pos2::ZERO)]);
    desk.shapes(vec![]);
    assert!(desk.has("L"), "it is seen where it is on");
    // Nothing that would change its sound can be clicked.
    let from = desk.find("From audio…");
    desk.click(from);
    assert!(desk.window.picking.is_none());
    let undo = desk.find("Undo");
    desk.click(undo);
    assert!(!desk.store.is_locked(0));
    let key = |key, modifiers| Event::Key {
        key,
        physical_key: None,
        pressed: true,
        repeat: false,
        modifiers,
    };
    let redo = Modifiers::COMMAND | Modifiers::SHIFT;
    desk.shapes(vec![key(Key::Z, redo)]);
    assert!(desk.store.is_locked(0));
    desk.shapes(vec![key(Key::Z, Modifiers::COMMAND)]);
    assert!(!desk.store.is_locked(0));
}

#[test]
fn a_drag_is_one_gesture_of_the_host_and_of_undo() {
    let mut desk = Desk::new();
    let above = Vec2::new(0.0, -25.0);
    let fine = desk.find("Fine") + above;
    desk.drag(fine, 45.0);
    let value = |desk: &Desk| desk.store.project().settings[0].playing.fine;
    // A quarter of its way.
    assert!((value(&desk) - 50.0).abs() < 2.0, "{}", value(&desk));
    assert!(desk.recorder.0.borrow().is_empty(), "no host cares");
    let undo = desk.find("Undo");
    desk.click(undo);
    assert_eq!(value(&desk), 0.0);

    let pan = desk.find("Pan") + above;
    desk.drag(pan, -45.0);
    let done = desk.recorder.0.take();
    assert_eq!(done.first().unwrap(), "begin Pad 1 Pan");
    assert_eq!(
        done[done.len() - 2..],
        ["turn Pad 1 Pan 0.25", "end Pad 1 Pan"]
    );
    desk.click(undo);
    let undone = ["begin Pad 1 Pan", "turn Pad 1 Pan 0.50", "end Pad 1 Pan"];
    assert_eq!(desk.recorder.0.take(), undone);
    // The wheel, notch by notch, is one too.
    let notch = || Event::MouseWheel {
        unit: MouseWheelUnit::Line,
        delta: Vec2::new(0.0, 1.0),
        phase: TouchPhase::Move,
        source: egui::MouseWheelSource::Wheel,
        modifiers: Modifiers::NONE,
    };
    desk.shapes(vec![Event::PointerMoved(pan)]);
    for _ in 0..3 {
        desk.shapes(vec![notch()]);
    }
    for _ in 0..20 {
        desk.shapes(vec![]);
    }
    let done = desk.recorder.0.take();
    let count = |start: &str| done.iter().filter(|it| it.starts_with(start)).count();
    assert_eq!((count("begin"), count("end")), (1, 1), "{done:?}");
    assert!(count("turn") >= 3);
}

#[test]
fn new_asks_for_the_new_seed_whenever_the_host_sets_it() {
    let mut desk = Desk::new();
    let seed = |desk: &Desk, pad: usize| desk.store.pending(pad).and_then(|it| it.seed);
    let first = desk.window.params.pads.each_ref().map(|it| it.seed.value());
    let new = desk.find("New");
    desk.click(new);
    assert_eq!(seed(&desk, 0), Some((first[0] + 1237) % 10_000));
    let told = desk.recorder.0.take();
    assert_eq!(told, [format!("set Pad 1 Seed {}", first[0] + 1237)]);
    assert_eq!(seed(&desk, 1), None);
    desk.store
        .edit(9, |project| project.settings[0].making.lock = true);
    let all = desk.find("New kit");
    desk.click(all);
    for (pad, first) in first.iter().enumerate().skip(1) {
        assert_eq!(seed(&desk, pad), Some((first + 1237) % 10_000), "{pad}");
    }
    assert_eq!(desk.recorder.0.take().len(), PADS - 1, "one is locked");
}

#[test]
fn a_light_tells_where_the_sum_was_above_full_scale_until_a_click() {
    let mut desk = Desk::new();
    let lit = |desk: &mut Desk| {
        let shapes = desk.shapes(vec![]);
        shapes.iter().find_map(|shape| match &shape.shape {
            Shape::Rect(rect) if rect.fill == Look::of(Theme::Dark).trouble => Some(rect.rect),
            _ => None,
        })
    };
    let voices = crate::voice::Voices::default();
    desk.window.display.show(&voices, [1.0; 2]);
    assert_eq!(lit(&mut desk), None);
    desk.window.display.show(&voices, [1.01; 2]);
    let light = lit(&mut desk).expect("it is lit");
    desk.window.display.show(&voices, [0.1; 2]);
    assert_eq!(lit(&mut desk), Some(light), "it stays");
    desk.click(light.center());
    assert_eq!(lit(&mut desk), None);
}

#[test]
fn a_knob_learns_its_controller_from_its_menu_and_the_host_is_told_what_that_turns() {
    let mut desk = Desk::new();
    let pan = desk.find("Pan");
    desk.second_click(pan);
    let learn = desk.find("Learn its controller");
    desk.click(learn);
    let knob = knob_of("pan_1").unwrap();
    assert_eq!(
        desk.window.display.learning(),
        Some(Learns::Controller(knob))
    );
    assert!(desk.has("turn one"));
    assert!(desk.window.display.teach(Given::Controller(74)));
    assert!(desk.has("Controller 74 turns Pad 1 Pan from now on"));
    assert_eq!(desk.store.project().controllers.of(knob), Some(74));
    let params = desk.window.params.clone();
    desk.recorder.0.borrow_mut().clear();
    desk.store.turning().turn(knob, &params.pads[0].pan, 0.75);
    desk.shapes(vec![]);
    desk.shapes(vec![]);
    let told = ["begin", "turn", "end"].map(|it| format!("{it} Pad 1 Pan"));
    let told = [
        told[0].clone(),
        format!("{} 0.75", told[1]),
        told[2].clone(),
    ];
    assert_eq!(*desk.recorder.0.borrow(), told);
    desk.second_click(pan);
    let forget = desk.find("Forget controller 74");
    desk.click(forget);
    assert_eq!(desk.store.project().controllers.of(knob), None);
    // Escape gives it up.
    desk.window.display.learn(Some(Learns::Key(3)));
    assert!(desk.has("play a key"));
    desk.key(Key::Escape);
    assert_eq!(desk.window.display.learning(), None);
}

/// What stands on the large wave of a pad where that is so wide.
fn large_wave(window: &mut Window, store: &Store, pad: usize, width: f32) -> Vec<(String, Rect)> {
    window.update_pictures();
    let params = window.params.clone();
    let recorder = Recorder::default();
    let edit = Editing {
        hand: &recorder,
        params: &params,
        store,
        display: &Display::default(),
        controllers: true,
    };
    let rect = Rect::from_min_size(Pos2::ZERO, Vec2::new(width, 120.0));
    texts(|ui| window.large_wave(ui, rect, &edit, pad))
}

#[test]
fn the_remarks_of_a_sound_stand_below_its_wave() {
    let (store, _inbox) = Store::new();
    let mut window = window(&store);
    let mut shown = |width, remarks| {
        let rendered = Rendered {
            clip: Clip::new(44_100, vec![vec![0.5; 100]]),
            class: None,
            steps: 8,
            remarks,
        };
        store
            .put(0, StoredSound::rendered(recipe(1), &rendered))
            .unwrap();
        let texts = large_wave(&mut window, &store, 0, width).into_iter();
        let texts = texts.map(|(text, _)| text);
        let told: Vec<String> = texts.filter(|text| text.starts_with("steps:")).collect();
        told
    };
    let remarks = vec![
        Remark::Steps {
            asked: 64,
            taken: 8,
        },
        Remark::LeftOut { seconds: 0.25 },
    ];
    assert_eq!(shown(1900.0, vec![]), [""; 0]);
    let whole = format!("{}; {}", remarks[0], remarks[1]);
    assert_eq!(shown(1900.0, remarks.clone()), [whole.as_str()]);
    let [cut] = &shown(400.0, remarks)[..] else {
        panic!("expected one line");
    };
    let start = cut.strip_suffix('…').expect("it is cut");
    assert!(whole.starts_with(start) && start.starts_with("steps: 64 asked, 8 taken"));
}

#[test]
fn a_long_name_is_cut_before_it_meets_what_stands_beside_it() {
    let (store, _inbox) = Store::new();
    let mut window = window(&store);
    let mut shown = |class: &str| {
        let mut recipe = recipe(1);
        recipe.class = Some(class.to_owned());
        let clip = Clip::new(44_100, vec![vec![0.5; 100]]);
        store.put(15, StoredSound::new(recipe, &clip)).unwrap();
        window.update_pictures();
        let pad = Rect::from_min_size(Pos2::ZERO, Vec2::new(80.0, 100.0));
        let mut all = texts(|ui| window.pad_texts(ui, &ui.painter().clone(), 15, pad));
        let mut take = |start: &str| {
            let found = all.iter().position(|(text, _)| text.starts_with(start));
            all.remove(found.expect("it is shown"))
        };
        let (number, (class, place)) = (take("16").1, take(&pads::spoken(class)[..2]));
        assert!(place.right() < number.left(), "{place} {number}");
        class
    };
    assert_eq!(shown("snare"), "Snare");
    let long = shown("loops with a long name");
    let start = long.strip_suffix('…').expect("it is cut");
    assert!("Loops with a long name".starts_with(start));
    store
        .put(15, {
            let mut recipe = recipe(1);
            recipe.file = Some("a recording from far away.wav".repeat(9));
            StoredSound::new(recipe, &Clip::new(44_100, vec![vec![0.5; 100]]))
        })
        .unwrap();
    let texts = large_wave(&mut window, &store, 15, 560.0);
    let (made, place) = texts
        .iter()
        .find(|(text, _)| text.starts_with("16: a recording"))
        .expect("its name is shown");
    assert!(made.ends_with('…') && place.right() <= 310.0, "{place}");
}
