//! The plugin without a host: requests in, clips out, and an audio thread that never allocates.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use audiodiff::Result;
use audiodiff::audio::Clip;
use audiodiff::noise::Noise;
use audiodiff::render::{Init, Rendered};
use audiodiff_plugin::controllers::Controllers;
use audiodiff_plugin::display::Learns;
use audiodiff_plugin::generator::{Model, Open};
use audiodiff_plugin::pad::PADS;
use audiodiff_plugin::params::{KNOBS, knob_of};
use audiodiff_plugin::portrait::Ranges;
use audiodiff_plugin::project::Project;
use audiodiff_plugin::requests::Task;
use audiodiff_plugin::status::ModelInfo;
use audiodiff_plugin::stored::{SoundRecipe, StoredSound};
use audiodiff_plugin::voice::{
    Begin, FilterKind, Mode, NoteAddress, PadControls, PadSounds, PlayableSound, Polyphony, STRIDE,
    Takes, Voices,
};
use audiodiff_plugin::{Audiodiff, AudiodiffMulti, Instrument};
use nice_assert_no_alloc::assert_no_alloc;
use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::params::persist::PersistentField;
use nice_plug::prelude::*;

/// More than any sound here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const RATE: f32 = 48_000.0;

/// Ramps that differ by seed, a while after they were asked for.
struct Ramps {
    /// The time of each of its five steps.
    step: Duration,
}

impl Model for Ramps {
    fn info(&self) -> Arc<ModelInfo> {
        Arc::new(ModelInfo {
            name: "ramps".into(),
            labels: vec!["up".into()],
            own_steps: 5,
            most_steps: 5,
            ranges: Ranges::default(),
        })
    }

    fn generate(
        &mut self,
        recipe: &SoundRecipe,
        _: Option<Init>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
    ) -> Result<Rendered> {
        for step in 0..5 {
            std::thread::sleep(self.step);
            if keep_going(step as f32 / 5.0).is_break() {
                return Err(audiodiff::Error::Stopped);
            }
        }
        let height = 0.1 + (recipe.seed % 100) as f32 * 1e-3;
        let ramp = (0..4410).map(|i| height * i as f32 / 4410.0).collect();
        Ok(Rendered {
            clip: Clip::new(44_100, vec![ramp]),
            class: recipe.class.clone(),
            steps: 5,
            remarks: Vec::new(),
        })
    }
}

fn ramps() -> Open {
    ramps_of(Duration::from_millis(2))
}

fn ramps_of(step: Duration) -> Open {
    Box::new(move |_| Ok(Box::new(Ramps { step }) as Box<dyn Model>))
}

fn note_on(timing: u32, key: u8) -> NoteEvent<()> {
    NoteEvent::NoteOn {
        timing,
        voice_id: VoiceID::Wildcard,
        channel: Channel::Number(0),
        key: Key::Number(key),
        velocity: 0.8,
    }
}

fn note_off(timing: u32, key: u8) -> NoteEvent<()> {
    NoteEvent::NoteOff {
        timing,
        voice_id: VoiceID::Wildcard,
        channel: Channel::Number(0),
        key: Key::Number(key),
        velocity: 0.0,
    }
}

/// One block on the audio thread; the peak of what came out.
fn play<const MULTI: bool>(
    plugin: &mut Instrument<MULTI>,
    buffers: &mut [Vec<f32>; 2],
    events: &[NoteEvent<()>],
) -> f32 {
    let [left, right] = buffers;
    assert_no_alloc(|| {
        let mut events = events.iter().copied();
        plugin.play(left, right, &mut [], &mut || events.next(), &mut |_, _| {});
        left.iter()
            .chain(right.iter())
            .fold(0.0, |peak: f32, x| peak.max(x.abs()))
    })
}

#[test]
fn silence_comes_before_the_first_clip_and_sound_after_it() {
    let mut plugin = Audiodiff::default();
    let mut buffers = [vec![9.0; 256], vec![9.0; 256]];
    let silent = play(&mut plugin, &mut buffers, &[note_on(0, 36)]);
    assert_eq!(silent, 0.0, "no sound was asked for yet");
    plugin.prepare(RATE, ramps()).unwrap();
    let start = Instant::now();
    while play(&mut plugin, &mut buffers, &[note_on(3, 36)]) == 0.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "no sound came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_offline_host_is_given_the_sound_before_its_first_block() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    let mut buffers = [vec![0.0; 1024], vec![0.0; 1024]];
    assert!(play(&mut plugin, &mut buffers, &[note_on(0, 36)]) > 0.0);
}

#[test]
fn notes_begin_at_their_frame() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    let mut buffers = [vec![0.0; 512], vec![0.0; 512]];
    play(&mut plugin, &mut buffers, &[note_on(301, 36)]);
    // The ramp begins at zero, and its resampling rings a little around its foot.
    assert!(buffers[0][..301].iter().all(|&x| x == 0.0));
    assert!(
        buffers[0][306..].iter().all(|&x| x > 0.0),
        "{:?}",
        &buffers[0][300..320]
    );
    assert_eq!(buffers[0], buffers[1]);
}

#[test]
fn the_audio_thread_neither_allocates_nor_frees_while_sounds_come_and_go() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    let store = plugin.store().clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Finishes and frees sounds as the generator thread does, only faster.
        let maker = scope.spawn(|| {
            let mut made = 0u64;
            while !done.load(Ordering::Relaxed) {
                let pad = made as usize % PADS;
                store.ask(pad, Task::Generate);
                let Some(request) = store.pending(pad) else {
                    continue;
                };
                let recipe = SoundRecipe {
                    model: "ramps".into(),
                    class: None,
                    seed: made,
                    steps: 1,
                    guidance: 1.0,
                    seconds: None,
                    attributes: BTreeMap::new(),
                    variation: None,
                    morph: None,
                    file: None,
                    unknown: serde_json::Map::new(),
                };
                let height = 0.1 + (made % 100) as f32 * 1e-3;
                let clip = Clip::new(48_000, vec![vec![height; 2000]]);
                store.finish(&request, StoredSound::new(recipe, &clip));
                store.free_unused();
                made += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            made
        });
        let mut buffers = [vec![0.0; 64], vec![0.0; 64]];
        let mut loudest = 0f32;
        for block in 0..3000u32 {
            let key = 30 + (block * 7 % 28) as u8;
            let events = [
                note_on(block % 5, key),
                note_on(20, key + 3),
                note_off(40, key),
                note_on(63, key),
            ];
            loudest = loudest.max(play(&mut plugin, &mut buffers, &events));
            std::thread::sleep(Duration::from_micros(100));
        }
        done.store(true, Ordering::Relaxed);
        assert!(maker.join().unwrap() > 100);
        assert!(loudest > 0.1);
        assert_no_alloc(|| plugin.reset());
        assert_eq!(play(&mut plugin, &mut buffers, &[]), 0.0);
    });
}

/// A sound of this many frames of one value, at the host's rate.
fn level(value: f32, frames: usize) -> Arc<StoredSound> {
    let recipe = SoundRecipe::of_file("level.wav".as_ref());
    let clip = Clip::new(RATE as u32, vec![vec![value; frames]]);
    Arc::new(StoredSound::new(recipe, &clip))
}

#[test]
fn what_is_auditioned_is_heard_in_the_next_block_at_the_level_of_a_plain_pad() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    let (store, display) = (plugin.store().clone(), plugin.display().clone());
    let mut buffers = [vec![0.0; 480], vec![0.0; 480]];
    assert_eq!(play(&mut plugin, &mut buffers, &[]), 0.0);
    let sound = level(0.5, 4800);
    store.put(0, StoredSound::clone(&sound)).unwrap();
    let gain = plugin.parameters().gain.value();
    let loud = NoteEvent::NoteOn {
        timing: 0,
        voice_id: VoiceID::Wildcard,
        channel: Channel::Number(0),
        key: Key::Number(36),
        velocity: 1.0,
    };
    let of_pad = play(&mut plugin, &mut buffers, &[loud]);
    let pad = buffers.clone();
    assert!((of_pad - 0.5 * gain).abs() < 1e-6);
    assert_no_alloc(|| plugin.reset());
    store.audition(&sound);
    play(&mut plugin, &mut buffers, &[]);
    assert_eq!(buffers, pad);
    assert_eq!(display.audition_playhead(), Some(0.1));
    assert_eq!(display.playhead(0), None, "no pad plays");
    // It fades when it is stopped.
    store.stop_audition();
    play(&mut plugin, &mut buffers, &[]);
    assert!(buffers[0][0] > 0.4 * gain && buffers[0][200..].iter().all(|x| *x == 0.0));
    assert_eq!(display.audition_playhead(), None);
    // One after the other, and none of them is held in the end.
    for turn in 1..=10 {
        let value = 0.05 * turn as f32;
        store.audition(&level(value, 4800));
        play(&mut plugin, &mut buffers, &[]);
        let heard = buffers[0][479];
        assert!((heard - value * gain).abs() < 1e-4, "{turn}: {heard}");
    }
    // A click that comes late is forgotten.
    store.stop_audition();
    play(&mut plugin, &mut buffers, &[]);
    store.audition(&sound);
    std::thread::sleep(Duration::from_millis(120));
    assert_eq!(play(&mut plugin, &mut buffers, &[]), 0.0);
}

/// A plugin whose pads all have a second of one value, at a gain of 1.
fn steady(value: f32) -> Audiodiff {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    for pad in 0..PADS {
        let sound = StoredSound::clone(&level(value, 48_000));
        plugin.store().put(pad, sound).unwrap();
    }
    plugin
}

fn edit(plugin: &Audiodiff, change: impl FnOnce(&mut Project)) {
    let store = plugin.store();
    store.edit(store.gesture(), change);
}

#[test]
fn what_is_held_by_hand_sounds_until_it_is_let_go() {
    let mut plugin = steady(0.25);
    let display = plugin.display().clone();
    let gain = plugin.parameters().gain.value();
    edit(&plugin, |project| {
        for pad in &mut project.settings[..8] {
            pad.playing.mode = Mode::Gate;
        }
        project.keymap.set(3, 100);
        project.keymap.set(5, 100);
        project.settings[4].playing.mute = true;
    });
    let mut buffers = [vec![0.0; 4800], vec![0.0; 4800]];
    let mut heard = |plugin: &mut Audiodiff, events: &[NoteEvent<()>]| {
        play(plugin, &mut buffers, events);
        // In levels of one pad at full velocity.
        buffers[0][4799] / (0.25 * gain)
    };
    let near = |found: f32, wanted: f32| assert!((found - wanted).abs() < 1e-3, "{found}");
    display.hit(2, 0.5);
    near(heard(&mut plugin, &[]), 0.5);
    // The host's notes are none of it, whatever they are called.
    near(heard(&mut plugin, &[note_off(0, 38), note_off(1, 2)]), 0.5);
    display.let_go(2);
    heard(&mut plugin, &[]);
    heard(&mut plugin, &[]);
    assert!(heard(&mut plugin, &[]) < 0.1);
    assert_no_alloc(|| plugin.reset());
    // A key plays all pads that have it; a tap of another comes and goes within a block.
    display.press(100, 1.0);
    near(heard(&mut plugin, &[]), 2.0);
    display.hit(1, 1.0);
    display.let_go(1);
    heard(&mut plugin, &[]);
    display.release(100);
    for _ in 0..10 {
        heard(&mut plugin, &[]);
    }
    near(heard(&mut plugin, &[]), 0.0);
    // One that is muted is not heard, nor one that is not solo while another is.
    display.hit(4, 1.0);
    near(heard(&mut plugin, &[note_on(0, 40)]), 0.0);
    display.hit(6, 1.0);
    display.hit(7, 1.0);
    near(heard(&mut plugin, &[]), 2.0);
    edit(&plugin, |project| project.settings[7].playing.solo = true);
    near(heard(&mut plugin, &[note_on(0, 42)]), 1.0);
    display.let_all_go();
    for _ in 0..10 {
        heard(&mut plugin, &[]);
    }
    near(heard(&mut plugin, &[]), 0.0);
    // In keys mode the keys play one pad at their pitch.
    edit(&plugin, |project| {
        project.settings[7].playing.solo = false;
        (project.keys, project.selected) = (true, 0);
    });
    display.press(72, 1.0);
    heard(&mut plugin, &[]);
    // An octave up half a second is twice the sound.
    assert_eq!(display.playhead(0), Some(0.2));
}

#[test]
fn a_pad_learns_a_key_from_a_note_that_is_not_heard() {
    let mut plugin = steady(0.25);
    let display = plugin.display().clone();
    let mut buffers = [vec![0.0; 480], vec![0.0; 480]];
    display.learn(Some(Learns::Key(9)));
    let peak = play(
        &mut plugin,
        &mut buffers,
        &[note_on(0, 36), note_off(100, 36)],
    );
    assert_eq!(peak, 0.0);
    let learnt = display.take_learnt();
    assert_eq!(
        (learnt, display.learning()),
        (Some((Learns::Key(9), 36)), None)
    );
    edit(&plugin, |project| project.keymap.set(9, 36));
    play(&mut plugin, &mut buffers, &[note_on(0, 36)]);
    assert!(display.playhead(0).is_some() && display.playhead(9).is_some());
    assert_eq!(display.playhead(1), None);
}

fn controller(timing: u32, cc: u8, value: f32) -> NoteEvent<()> {
    NoteEvent::MidiCC {
        timing,
        channel: 3,
        cc,
        value,
    }
}

#[test]
fn a_knob_learns_a_controller_that_turns_it_from_then_on() {
    let mut plugin = steady(0.25);
    let display = plugin.display().clone();
    let params = plugin.parameters().clone();
    let mut buffers = [vec![0.0; 4800], vec![0.0; 4800]];
    // At the end of a block with these, in levels of one pad at the host's gain.
    let full = 0.25 * params.gain.value();
    let mut heard = |plugin: &mut Audiodiff, events: &[NoteEvent<()>]| {
        play(plugin, &mut buffers, events);
        [&buffers[0], &buffers[1]].map(|it| it[4799] / full)
    };
    let near = |found: [f32; 2], wanted: [f32; 2]| {
        let is_near = |i: usize| (found[i] - wanted[i]).abs() < 1e-3;
        assert!((0..2).all(is_near), "{found:?}, not {wanted:?}");
    };
    let sound = [0.8, 0.8];
    near(heard(&mut plugin, &[note_on(0, 36)]), sound);
    // Before it is learnt, and while it is.
    near(heard(&mut plugin, &[controller(0, 10, 1.0)]), sound);
    let pan = knob_of("pan_1").unwrap();
    display.learn(Some(Learns::Controller(pan)));
    near(
        heard(
            &mut plugin,
            &[controller(0, 64, 0.0), controller(0, 10, 1.0)],
        ),
        sound,
    );
    let learnt = display.take_learnt().unwrap();
    assert_eq!(learnt, (Learns::Controller(pan), 10));
    edit(&plugin, |project| {
        project.controllers.set(pan, Some(10));
        project.controllers.set(knob_of("gain").unwrap(), Some(7));
    });
    let right = heard(&mut plugin, &[controller(0, 10, 1.0)]);
    assert!(right[0].abs() < 1e-3 && right[1] >= 0.8, "{right:?}");
    let middle = heard(&mut plugin, &[controller(0, 10, 0.5)]);
    near(middle, sound);
    assert_eq!(params.pads[0].pan.value(), 0.0);
    // The gain of the whole too, which glides.
    let gain = params.gain.preview_plain(0.25) / params.gain.value();
    near(
        heard(&mut plugin, &[controller(0, 7, 0.25)]),
        [0.8 * gain; 2],
    );
    // Nobody told the host: it is saved, and there again in another instance.
    let text = params
        .project
        .map(|project| serde_json::to_string(project).unwrap());
    let mut again = steady(0.25);
    let project = serde_json::from_str(&text).unwrap();
    again.parameters().project.set(project);
    again.prepare(RATE, ramps()).unwrap();
    again.settle(PATIENCE);
    near(heard(&mut again, &[note_on(0, 36)]), [0.8 * gain; 2]);
    assert_eq!(
        again.store().project().controllers,
        plugin.store().project().controllers
    );
    // A project that knows of none turns all back.
    again.parameters().project.set(Project::default());
    assert_eq!(again.store().project().controllers, Controllers::default());
    again.settle(PATIENCE);
    again
        .store()
        .put(0, StoredSound::clone(&level(0.25, 48_000)))
        .unwrap();
    heard(&mut again, &[]);
    again.reset();
    near(heard(&mut again, &[note_on(0, 36)]), sound);
}

#[test]
fn beats_follow_the_tempo_of_the_host() {
    let mut plugin = steady(0.25);
    let display = plugin.display().clone();
    edit(&plugin, |project| project.settings[0].playing.beats = 0.5);
    let mut buffers = [vec![0.0; 24_000], vec![0.0; 24_000]];
    for (tempo, frames) in [(None, 12_000), (Some(240.0), 6000), (Some(90.0), 16_000)] {
        display.set_tempo(tempo);
        play(&mut plugin, &mut buffers, &[note_on(0, 36)]);
        let last = buffers[0].iter().rposition(|x| *x != 0.0).unwrap();
        assert!(frames - last <= 2, "{tempo:?}: {last}");
    }
}

/// The window, the host and whoever makes sounds do anything they can, while `go_on` says so of the number of blocks
/// that were played.
fn any_gestures(go_on: impl Fn(usize) -> bool) {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    let (store, display) = (plugin.store().clone(), plugin.display().clone());
    let params = plugin.parameters().clone();
    let halt = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let halt = &halt;
        let _halting = Halting(halt);
        let (store, display) = (&store, &display);
        scope.spawn(move || {
            let mut random = Noise::new(2);
            let mut below = move |n: usize| random.below(n);
            let field = &params.project;
            let mut saved = field.map(|project| serde_json::to_string(project).unwrap());
            let sounds: Vec<Arc<StoredSound>> = (0..16)
                .map(|i| level(0.05 * i as f32, 1 + 1500 * i))
                .collect();
            while !halt.load(Ordering::Relaxed) {
                let (pad, key) = (below(PADS), below(128) as u8);
                let velocity = below(11) as f32 / 10.0;
                match below(16) {
                    0 | 1 => store.audition(&sounds[below(16)]),
                    2 => store.stop_audition(),
                    3 | 4 => display.hit(pad, velocity),
                    5 => display.let_go(pad),
                    6 | 7 => display.press(key, velocity),
                    8 | 9 => display.release(key),
                    10 => {
                        let knob = Learns::Controller(below(KNOBS));
                        display.learn([None, Some(Learns::Key(pad)), Some(knob)][below(3)]);
                        if let Some((learns, number)) = display.take_learnt() {
                            store.edit(store.gesture(), |project| match learns {
                                Learns::Key(pad) => project.keymap.set(pad, number),
                                Learns::Controller(knob) => {
                                    project.controllers.set(knob, Some(number));
                                }
                            });
                        }
                        store.turning().tell(|_, _| {});
                    }
                    11 => store.edit(store.gesture(), |project| {
                        let mut any = || below(101) as f32 / 100.0;
                        let playing = &mut project.settings[pad].playing;
                        playing.end = any();
                        (playing.loop_start, playing.loop_end) = (any(), any());
                        (playing.fade_in, playing.fade_out) = (100.0 * any(), 100.0 * any());
                        playing.beats = (any() - 0.5).max(0.0);
                        playing.reverse = any() > 0.5;
                        playing.mode = [Mode::OneShot, Mode::Gate, Mode::Loop][below(3)];
                        playing.voices = [Polyphony::Poly, Polyphony::Mono][below(2)];
                        playing.mute = below(8) == 0;
                        playing.solo = below(40) == 0;
                        playing.choke = below(3) as u8;
                    }),
                    12 => {
                        let sound = StoredSound::clone(&sounds[below(16)]);
                        store.put(pad, sound).unwrap();
                    }
                    13 => {
                        display.set_tempo(Some(below(400) as f64));
                        store.free_unused();
                        assert!(display.take_peaks().iter().all(|peak| peak.is_finite()));
                    }
                    14 => store.ask(pad, Task::Vary),
                    _ => {
                        if below(4) == 0 {
                            field.set(serde_json::from_str(&saved).unwrap());
                            saved = field.map(|it| serde_json::to_string(it).unwrap());
                        }
                        store.edit(store.gesture(), |project| {
                            project.keys = below(4) == 0;
                            project.selected = pad;
                            if let Some(map) = project.keymap.shifted(below(3) as i8 - 1) {
                                project.keymap = map;
                            }
                        });
                    }
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            display.let_all_go();
            store.stop_audition();
        });
        let mut random = Noise::new(3);
        let mut below = move |n: usize| random.below(n);
        let (mut block, mut loudest) = (0, 0f32);
        while go_on(block) {
            block += 1;
            let most = [1, 64, 512, 1024][below(4)];
            let len = 1 + below(most);
            let mut buffers = [vec![0.0; len], vec![0.0; len]];
            let mut events: Vec<NoteEvent<()>> = (0..below(4))
                .map(|_| {
                    let (timing, key) = (below(len) as u32, 24 + below(40) as u8);
                    match below(5) {
                        0 | 1 => note_off(timing, key),
                        2 => controller(timing, key, below(128) as f32 / 127.0),
                        _ => note_on(timing, key),
                    }
                })
                .collect();
            events.sort_by_key(NoteEvent::timing);
            let peak = play(&mut plugin, &mut buffers, &events);
            assert!(buffers.iter().flatten().all(|x| x.is_finite()), "{block}");
            assert!(peak <= 1.0, "{block}: {peak}");
            loudest = loudest.max(peak);
            if below(200) == 0 {
                assert_no_alloc(|| plugin.reset());
            }
        }
        assert!(loudest > 0.1);
    });
    // All of it comes to an end, and is given back.
    let mut buffers = [vec![0.0; 48_000], vec![0.0; 48_000]];
    play(&mut plugin, &mut buffers, &[]);
    assert_no_alloc(|| plugin.reset());
    assert_eq!(play(&mut plugin, &mut buffers, &[]), 0.0);
    assert_eq!(display.audition_playhead(), None);
    drop(plugin);
    assert_eq!(Arc::strong_count(&store), 1);
}

#[test]
fn any_gestures_of_the_window_leave_the_audio_thread_as_it_should_be() {
    any_gestures(|block| block < 4000);
}

#[test]
#[ignore = "takes a minute"]
fn any_gestures_for_a_minute_leave_the_audio_thread_as_it_should_be() {
    let end = Instant::now() + Duration::from_secs(60);
    any_gestures(|_| Instant::now() < end);
}

#[test]
fn voices_neither_allocate_nor_free_whatever_their_controls() {
    let wave = |hz: f32| {
        let at = |i: usize| (std::f32::consts::TAU * hz * i as f32 / RATE).sin();
        PlayableSound::new(&Clip::new(48_000, vec![(0..4000).map(at).collect()]))
    };
    let sounds = Arc::new(PadSounds::new(wave(200.0), [wave(300.0), wave(4000.0)]));
    for mode in [Mode::OneShot, Mode::Gate, Mode::Loop] {
        for polyphony in [Polyphony::Poly, Polyphony::Mono] {
            for take in [Takes::First, Takes::RoundRobin, Takes::Velocity] {
                let controls = PadControls {
                    mode,
                    release_ms: 20.0,
                    filter: FilterKind::Lowpass,
                    velocity_curve: 0.4,
                    velocity_cutoff: 3.0,
                    velocity_start: 0.3,
                    voices: polyphony,
                    glide_ms: 30.0,
                    take,
                    drive: 0.6,
                    tone: -0.4,
                    ..PadControls::PLAIN
                };
                let all = [controls; PADS];
                let mut voices = Voices::default();
                let peak = assert_no_alloc(|| {
                    voices.set_sound(2, Some(sounds.clone()));
                    let mut peak = 0f32;
                    for turn in 0..300u16 {
                        let key = (turn * 7 % 40) as u8;
                        let note = |key: u8| NoteAddress {
                            channel: Some(0),
                            key: Some(key),
                            ..NoteAddress::NONE
                        };
                        let begin = Begin {
                            pad: 2,
                            key: Some(f32::from(key) - 20.0),
                            velocity: f32::from(turn % 10) / 9.0,
                        };
                        voices.note_on(note(key), begin, &controls, &mut |_| {});
                        if turn % 3 > 0 {
                            voices.note_off(note(key));
                        }
                        voices.sustain(0, turn % 50 > 40);
                        let mut mix = |_: usize, left: &[f32], right: &[f32]| {
                            let both = left.iter().chain(right);
                            peak = both.fold(peak, |peak, x| peak.max(x.abs()));
                        };
                        voices.render(STRIDE, RATE, &all, &mut mix, &mut |_| {});
                    }
                    voices.set_sound(2, None);
                    voices.reset();
                    peak
                });
                assert!(peak > 0.01 && peak < 2.0, "{peak}");
            }
        }
    }
}

#[test]
fn pads_are_heard_on_the_main_output_until_they_are_given_their_own() {
    let mut plugin = AudiodiffMulti::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    let mut play = |own_len: usize| -> Vec<f32> {
        let (mut left, mut right) = (vec![0.0; 256], vec![0.0; 256]);
        let mut own = vec![[vec![0f32; own_len], vec![0f32; own_len]]; PADS];
        let mut own_slices: Vec<[&mut [f32]; 2]> = own
            .iter_mut()
            .map(|[left, right]| [&mut left[..], &mut right[..]])
            .collect();
        let mut events = [note_on(0, 36), note_on(100, 39)].into_iter();
        assert_no_alloc(|| {
            plugin.play(
                &mut left,
                &mut right,
                &mut own_slices,
                &mut || events.next(),
                &mut |_, _| {},
            );
            plugin.reset();
        });
        let sum = |pair: &[Vec<f32>; 2]| pair.iter().flatten().map(|x| x.abs()).sum();
        let main = [left, right];
        std::iter::once(&main).chain(&own).map(sum).collect()
    };
    // Whether their own are there, absent, or too short. What a pad that was given its own output sends there,
    // `hosts/clap.py` hears.
    let heard = play(256);
    let sounding: Vec<usize> = (0..=PADS).filter(|&i| heard[i] > 0.0).collect();
    assert_eq!(sounding, [0]);
    for absent in [0, 100] {
        assert_eq!(play(absent), heard);
    }
}

#[test]
fn no_subnormal_number_leaves_the_instrument() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, ramps()).unwrap();
    plugin.settle(PATIENCE);
    let mut buffers = [vec![0.0; 4410], vec![0.0; 4410]];
    // The ramp climbs to some 4e-38, and through all subnormal numbers before.
    let faint = NoteEvent::PolyVolume {
        timing: 0,
        voice_id: VoiceID::Wildcard,
        channel: Channel::Number(0),
        key: Key::Number(36),
        gain: 1e-36,
    };
    let peak = play(&mut plugin, &mut buffers, &[note_on(0, 36), faint]);
    assert!(peak.is_normal() && peak < 1e-36, "{peak:e}");
    let subnormal = buffers.iter().flatten().find(|x| x.is_subnormal());
    assert_eq!(subnormal, None);
}

#[test]
fn whenever_it_is_saved_a_project_goes_on_as_if_nothing_had_happened() {
    let opened = || {
        let mut plugin = Audiodiff::default();
        let step = Duration::from_micros(100);
        plugin.prepare(RATE, ramps_of(step)).unwrap();
        plugin
    };
    let seeds = |plugin: &Audiodiff| -> Vec<u64> {
        let project = plugin.store().project();
        let seed = |pad| project.sound(pad).map_or(0, |sound| sound.recipe().seed);
        (0..PADS).map(seed).collect()
    };
    let mut plugin = opened();
    plugin.settle(PATIENCE);
    let mut random = Noise::new(7);
    // Every variation of a pad's sound has the next seed, or at first its own.
    let mut wanted = seeds(&plugin);
    (0..PADS).for_each(|pad| plugin.store().ask(pad, Task::Vary));
    plugin.settle(PATIENCE);
    assert_eq!(seeds(&plugin), wanted);
    let (mut early, mut late) = (0, 0);
    let moments = if std::env::var_os(SOAK_VARIABLE).is_some() {
        1000
    } else {
        200
    };
    for moment in 0..moments {
        for _ in 0..=random.below(3) {
            let pad = random.below(PADS);
            let store = plugin.store();
            if !store.is_pending(pad) {
                // What nobody dates is begun later.
                match random.below(2) {
                    0 => store.ask(pad, Task::Vary),
                    _ => store.ask_with(store.gesture(), pad, Task::Vary, 0),
                }
                wanted[pad] += 1;
            }
        }
        // Before the thread looks for requests, while it answers them, or afterwards.
        std::thread::sleep(Duration::from_micros(random.below(45_000) as u64));
        let field = &plugin.parameters().project;
        let text = field.map(|project| serde_json::to_string(project).unwrap());
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!(project.damaged, 0);
        match project.pending.len() {
            0 => late += 1,
            _ => early += 1,
        }
        // The program ends here, or the host loads what it saved.
        if moment % 3 > 0 {
            plugin = opened();
        }
        plugin.parameters().project.set(project);
        plugin.settle(PATIENCE);
        assert_eq!(seeds(&plugin), wanted, "{moment}");
    }
    assert!(
        early > moments / 10 && late > moments / 10,
        "{early}, {late}"
    );
}

/// Seconds that [`a_host_may_do_anything_at_any_time`] lasts, if more than in everyday tests, and with it more of
/// whatever is tried at random.
const SOAK_VARIABLE: &str = "AUDIODIFF_SOAK";

/// Ends the others' work when it goes, also by a panic.
struct Halting<'a>(&'a AtomicBool);

impl Drop for Halting<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_host_may_do_anything_at_any_time() {
    let seconds = std::env::var(SOAK_VARIABLE).map_or(4, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Noise::new(1);
    let mut below = move |n: usize| random.below(n);
    let done = AtomicBool::new(false);
    let beat = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let done = &done;
        let _done = Halting(done);
        // A thread that waits for ever is not seen by asserts.
        let beat = &beat;
        scope.spawn(move || {
            let mut last = (Instant::now(), 0);
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                let now = beat.load(Ordering::Relaxed);
                if now != last.1 {
                    last = (Instant::now(), now);
                } else if last.0.elapsed() > Duration::from_secs(60) {
                    eprintln!("nothing moved for a minute");
                    std::process::abort();
                }
            }
        });
        while Instant::now() < end {
            let mut plugin = AudiodiffMulti::default();
            let store = plugin.store().clone();
            let params = plugin.parameters().clone();
            let halt = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let halt = &halt;
                let _halting = Halting(halt);
                // The host's other threads: they save, load and look.
                let (params, store) = (&params, &store);
                scope.spawn(move || {
                    let field = &params.project;
                    let empty = field.map(|project| serde_json::to_string(project).unwrap());
                    let mut turn = 0usize;
                    while !halt.load(Ordering::Relaxed) {
                        turn += 1;
                        let saved = field.map(|project| serde_json::to_string(project).unwrap());
                        let text = if turn.is_multiple_of(7) {
                            &empty
                        } else {
                            &saved
                        };
                        field.set(serde_json::from_str(text).unwrap());
                        store
                            .step(turn % PADS, if turn.is_multiple_of(2) { -1 } else { 1 })
                            .unwrap();
                        store.set_model(turn.is_multiple_of(5).then(|| "/no/such/model".into()));
                        store.ask(turn % PADS, Task::Morph);
                        std::thread::sleep(Duration::from_micros(700));
                    }
                });
                for _ in 0..3 {
                    let rates = [22_050.0, 44_100.0, 48_000.0, 96_000.0, 192_000.0];
                    plugin.prepare(rates[below(rates.len())], ramps()).unwrap();
                    for _ in 0..100 {
                        let most = [1, 64, 512, 8192][below(4)];
                        let len = 1 + below(most);
                        let mut buffers = [vec![0.0; len], vec![0.0; len]];
                        let mut events: Vec<NoteEvent<()>> = (0..below(8))
                            .map(|_| {
                                let (timing, key) = (below(len + 1) as u32, below(128) as u8);
                                match below(4) {
                                    0 => note_off(timing, key),
                                    1 => NoteEvent::PolyTuning {
                                        timing,
                                        voice_id: VoiceID::Wildcard,
                                        channel: Channel::Number(0),
                                        key: Key::Number(key),
                                        tuning: below(240) as f32 - 120.0,
                                    },
                                    _ => note_on(timing, key),
                                }
                            })
                            .collect();
                        events.sort_by_key(NoteEvent::timing);
                        let peak = play(&mut plugin, &mut buffers, &events);
                        assert!(peak.is_finite() && peak < 1e4, "{peak}");
                        if below(50) == 0 {
                            assert_no_alloc(|| plugin.reset());
                        }
                        beat.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            // It goes while sounds are being made, and leaves nothing behind.
            drop((plugin, params));
            assert_eq!(Arc::strong_count(&store), 1);
        }
    });
}
