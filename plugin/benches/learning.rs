//! What a learning takes of a machine, and whether the audio thread notices.
//!
//!     cargo bench -p audiodiff-plugin --bench learning -- FOLDER [MINUTES]
//!
//! Plays blocks of 256 frames when a host would, without and with the learning of a folder beside them, and prints how
//! long `play` took, how late its thread woke (of high priority, where the system allows it, as in a host), steps a minute, the most memory, and how long it takes to end. It writes a
//! model of the folder among the user's own (`XDG_DATA_HOME` and `XDG_CONFIG_HOME` choose others).

use std::path::Path;
use std::time::{Duration, Instant};

use audiodiff_plugin::learn::{LearningOptions, LearningState};
use audiodiff_plugin::{Audiodiff, model};
use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::NoteEvent;
use thread_priority::{ThreadPriority, set_current_thread_priority};

const RATE: f32 = 48_000.0;
const FRAMES: usize = 256;

fn note_on(key: u8) -> NoteEvent<()> {
    NoteEvent::NoteOn {
        timing: 0,
        voice_id: VoiceID::Wildcard,
        channel: Channel::Number(0),
        key: Key::Number(key),
        velocity: 0.8,
    }
}

/// Plays for so long on a thread of its own, and tells what the blocks took.
fn play(plugin: &mut Audiodiff, seconds: f64, name: &str) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = set_current_thread_priority(ThreadPriority::Max) {
                println!("no high priority: {error:?}");
            }
            play_here(plugin, seconds, name);
        });
    });
}

fn play_here(plugin: &mut Audiodiff, seconds: f64, name: &str) {
    let period = Duration::from_secs_f64(FRAMES as f64 / f64::from(RATE));
    let (mut left, mut right) = (vec![0.0; FRAMES], vec![0.0; FRAMES]);
    let blocks = (seconds / period.as_secs_f64()) as u32;
    let (mut took, mut late) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for block in 0..blocks {
        let due = begun + period * block;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        late.push(now - due);
        // Sixteen pads, one after the other, all within a second.
        let note = (block % 12 == 0).then(|| note_on(36 + (block / 12 % 16) as u8));
        let mut events = note.into_iter();
        plugin.play(
            &mut left,
            &mut right,
            &mut [],
            &mut || events.next(),
            &mut |_, _| {},
        );
        took.push(now.elapsed());
    }
    for (what, times) in [("play", &mut took), ("late", &mut late)] {
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
        let [median, most, worst] = [0.5, 0.999, 1.0].map(at);
        println!(
            "{name:>9} {what}: median {median:6.0} us, 99.9% {most:6.0} us, worst {worst:6.0} us"
        );
    }
}

/// MB, where the system tells.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kb: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kb / 1000)
}

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"));
    let Some(folder) = args.next() else {
        println!("no FOLDER to learn");
        return;
    };
    let minutes: f64 = args
        .next()
        .map_or(1.0, |minutes| minutes.parse().expect("minutes"));
    let mut plugin = Audiodiff::default();
    plugin
        .prepare(RATE, Box::new(model::open))
        .expect("a thread");
    plugin.settle(Duration::from_secs(120));
    let before = most_memory();
    play(&mut plugin, 30.0, "alone");
    let learner = plugin.learner().clone();
    learner
        .begin(Path::new(&folder), minutes, LearningOptions::default())
        .expect("a folder of sounds");
    while learner
        .view()
        .is_some_and(|view| matches!(view.state, LearningState::Reading { .. }))
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (begun, first) = (Instant::now(), learner.view().map_or(0, |view| view.step));
    play(&mut plugin, 30.0, "learning");
    let steps = learner.view().map_or(0, |view| view.step) - first;
    let a_minute = steps as f64 / begun.elapsed().as_secs_f64() * 60.0;
    println!("steps a minute beside it: {a_minute:.0}");
    let view = loop {
        let view = learner.view().expect("it is there");
        if view.state.is_over() {
            break view;
        }
        if view.step % 20 == 0 {
            println!(
                "{:.3} step {} loss {:?} {:?}",
                view.progress, view.step, view.loss, view.validation
            );
        }
        std::thread::sleep(Duration::from_secs(2));
    };
    println!(
        "{:?} after {} steps, {} demo sounds, {:?}, validations {:?}",
        view.state, view.step, view.demos_made, view.model, view.validations
    );
    println!(
        "most memory: {before:?} MB before, {:?} MB after",
        most_memory()
    );
    // Ends are timed in the middle of steps.
    let mut drops = Vec::new();
    for i in 0..6 {
        learner
            .begin(Path::new(&folder), minutes, LearningOptions::default())
            .expect("a folder of sounds");
        while learner
            .view()
            .is_some_and(|view| view.step < 2 && !view.state.is_over())
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(170 * i));
        let begun = Instant::now();
        learner.close();
        drops.push(begun.elapsed());
    }
    println!("ends: {drops:?}");
}
