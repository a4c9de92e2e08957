//! The plugin without a host: requests in, clips out, and an audio thread that never allocates.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use audiodiff::Result;
use audiodiff::audio::Clip;
use audiodiff_plugin::Audiodiff;
use audiodiff_plugin::generator::{Names, Open, Source};
use audiodiff_plugin::state::{PADS, Recipe, Task};
use nice_assert_no_alloc::{AllocDisabler, assert_no_alloc};
use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;

/// Aborts the test when anything within `assert_no_alloc` allocates or frees.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

const RATE: f32 = 48_000.0;

/// Ramps that differ by seed, a while after they were asked for.
struct Ramps;

impl Source for Ramps {
    fn names(&self) -> Arc<Names> {
        Arc::new(Names {
            model: "ramps".into(),
            labels: vec!["up".into()],
        })
    }

    fn generate(
        &mut self,
        recipe: &Recipe,
        _: Option<&Clip>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
    ) -> Result<Clip> {
        for step in 0..5 {
            std::thread::sleep(Duration::from_millis(2));
            if keep_going(step as f32 / 5.0).is_break() {
                return Err(audiodiff::Error::Stopped);
            }
        }
        let height = 0.1 + recipe.seed as f32 * 1e-3;
        Ok(Clip::new(
            44_100,
            vec![(0..4410).map(|i| height * i as f32 / 4410.0).collect()],
        ))
    }
}

fn ramps() -> Open {
    Box::new(|| Ok(Box::new(Ramps) as Box<dyn Source>))
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
fn play(plugin: &mut Audiodiff, buffers: &mut [Vec<f32>; 2], events: &[NoteEvent<()>]) -> f32 {
    let [left, right] = buffers;
    assert_no_alloc(|| {
        let mut events = events.iter().copied();
        plugin.play(left, right, &mut || events.next(), &mut |_, _| {});
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
    plugin.prepare(RATE, false, ramps()).unwrap();
    let start = Instant::now();
    while play(&mut plugin, &mut buffers, &[note_on(3, 36)]) == 0.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "no sound came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_offline_host_is_given_the_sound_before_its_first_block() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, true, ramps()).unwrap();
    let mut buffers = [vec![0.0; 1024], vec![0.0; 1024]];
    assert!(play(&mut plugin, &mut buffers, &[note_on(0, 36)]) > 0.0);
}

#[test]
fn notes_begin_at_their_frame() {
    let mut plugin = Audiodiff::default();
    plugin.prepare(RATE, true, ramps()).unwrap();
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
    plugin.prepare(RATE, false, ramps()).unwrap();
    let store = plugin.store().clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Besides the generator thread, and faster than it: what it does with a clip.
        let maker = scope.spawn(|| {
            let mut made = 0u64;
            while !done.load(Ordering::Relaxed) {
                let pad = made as usize % PADS;
                store.ask(pad, Task::Generate);
                let Some(request) = store.pending(pad) else {
                    continue;
                };
                let recipe = Recipe {
                    model: "ramps".into(),
                    class: None,
                    seed: made,
                    steps: 1,
                    guidance: 1.0,
                    seconds: None,
                    variation: None,
                };
                let height = 0.1 + (made % 100) as f32 * 1e-3;
                store.finish(
                    request,
                    recipe,
                    &Clip::new(48_000, vec![vec![height; 2000]]),
                );
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
