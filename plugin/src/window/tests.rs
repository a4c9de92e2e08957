//! The window without a host: what is drawn, and what hands do to it.

use std::cell::RefCell;

use audiodiff::audio::Clip;
use audiodiff::render::{Remark, Rendered};
use egui::epaint::ClippedShape;
use egui::{Event, MouseWheelUnit, PointerButton, Pos2, RawInput, Rect, Shape, TouchPhase};

use super::*;
use crate::stored::tests::recipe;

/// Every text that is drawn where the window is `width` points wide, and its place.
fn texts(width: f32, draw: impl FnMut(&mut Ui)) -> Vec<(String, Rect)> {
    let input = RawInput {
        screen_rect: Some(Rect::from_min_size(
            Default::default(),
            Vec2::new(width, 600.0),
        )),
        ..RawInput::default()
    };
    let mut drawn = egui::Context::default().run_ui(input, draw);
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
    Window::new(size, params, store.clone(), status, display, false)
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
        window.multi = true;
        let mut desk = Self {
            egui: egui::Context::default(),
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
        let edit = Editing {
            hand: &self.recorder,
            params: &params,
            store: &self.store,
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

    /// The middle of the last text that begins so.
    fn find(&mut self, start: &str) -> Pos2 {
        let texts = self.texts();
        let found = texts
            .iter()
            .rev()
            .find(|(text, ..)| text.starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start} is not shown"))
            .1
            .center()
    }

    fn button(&mut self, pos: Pos2, pressed: bool) {
        let event = Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.shapes(vec![Event::PointerMoved(pos), event]);
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
    let mut desk = Desk::new();
    let screen = Rect::from_min_size(Pos2::ZERO, Vec2::new(LEAST.width, LEAST.height));
    let texts = desk.texts();
    assert!(texts.len() > 100);
    for (text, place, clip) in &texts {
        assert!(
            screen.contains_rect(*place),
            "{text} at {place} is off the window"
        );
        assert!(
            clip.expand(1.0).contains_rect(*place),
            "{text} at {place} is cut at {clip}"
        );
    }
    for wanted in [
        "Reverse",
        "Output",
        "Make (",
        "Tune",
        "ready",
        "Undo",
        "Resonance",
    ] {
        assert!(
            texts.iter().any(|(text, ..)| text.starts_with(wanted)),
            "{wanted}"
        );
    }
    // No text lies over another, apart from those of pads, over waves.
    for (i, (text, place, _)) in texts.iter().enumerate() {
        for (other, there, _) in &texts[..i] {
            let shared = place.intersect(*there);
            let over = shared.width() > 1.0 && shared.height() > 1.0;
            assert!(!over, "{text} at {place} lies over {other} at {there}");
        }
    }
}

#[test]
fn a_click_locks_and_an_undo_opens_again() {
    let mut desk = Desk::new();
    let lock = desk.find("Lock");
    desk.click(lock);
    assert!(desk.store.is_locked(0) && !desk.store.is_locked(1));
    let texts = desk.texts();
    assert_eq!(
        texts.iter().filter(|(text, ..)| text == "locked").count(),
        1
    );
    // Nothing that would change its sound can be clicked.
    let new = desk.find("From audio");
    desk.click(new);
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
    let below = Vec2::new(0.0, 30.0);
    let fine = desk.find("Fine") + below;
    desk.drag(fine, 45.0);
    let value = |desk: &Desk| desk.store.project().settings[0].playing.fine;
    // A quarter of its way.
    assert!((value(&desk) - 50.0).abs() < 2.0, "{}", value(&desk));
    assert!(desk.recorder.0.borrow().is_empty(), "no host cares");
    let undo = desk.find("Undo");
    desk.click(undo);
    assert_eq!(value(&desk), 0.0);

    let pan = desk.find("Pan") + below;
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
    let lock = desk.find("Lock");
    desk.click(lock);
    let all = desk.find("Generate all");
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
            Shape::Rect(rect) if rect.fill == TROUBLE => Some(rect.rect),
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
        window.update_pictures();
        let texts = texts(width, |ui| window.large_wave(ui, 0));
        let mut texts: Vec<String> = texts.into_iter().map(|(text, _)| text).collect();
        assert!(texts.remove(0).starts_with("pad 1: kick, seed 1"));
        texts
    };
    let remarks = vec![
        Remark::Steps {
            asked: 64,
            taken: 8,
        },
        Remark::LeftOut { seconds: 0.25 },
    ];
    assert_eq!(shown(2000.0, vec![]), [""; 0]);
    let whole = format!("{}; {}", remarks[0], remarks[1]);
    assert_eq!(shown(2000.0, remarks.clone()), [whole.as_str()]);
    let [cut] = &shown(450.0, remarks)[..] else {
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
        let pad = Rect::from_min_size(Default::default(), Vec2::new(66.0, 100.0));
        let mut all = texts(400.0, |ui| window.pad_texts(ui.painter(), 15, pad));
        let mut take = |start: &str| {
            let found = all.iter().position(|(text, _)| text.starts_with(start));
            all.remove(found.expect("it is shown"))
        };
        let (number, (class, place)) = (take("16").1, take(&class[..2]));
        assert!(place.right() < number.left(), "{place} {number}");
        class
    };
    assert_eq!(shown("snare"), "snare");
    let long = shown("loops with a long name");
    let start = long.strip_suffix('…').expect("it is cut");
    assert!("loops with a long name".starts_with(start));
    store
        .put(15, {
            let mut recipe = recipe(1);
            recipe.file = Some("a recording from far away.wav".repeat(9));
            StoredSound::new(recipe, &Clip::new(44_100, vec![vec![0.5; 100]]))
        })
        .unwrap();
    window.update_pictures();
    let [(made, place)] = &texts(450.0, |ui| window.large_wave(ui, 15))[..] else {
        panic!("expected one line");
    };
    assert!(made.starts_with("pad 16: a recording") && made.ends_with('…'));
    assert!(place.right() <= 450.0, "{place}");
}
