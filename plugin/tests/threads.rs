//! What runs while an instance is there, and what is left once it is gone: a host may unload the plugin's code then.
#![cfg(all(target_os = "linux", feature = "embedded-model"))]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use audiodiff_plugin::explore::RING;
use audiodiff_plugin::{Audiodiff, model};

/// More than any sound here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cymbal: of sounds as long as that, a tensor holds more values than of most.
const PAD: usize = 13;

/// The threads of this process, by name.
fn threads() -> BTreeMap<u32, String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let thread = |task: std::io::Result<std::fs::DirEntry>| {
        let task = task.ok()?;
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((
            task.file_name().to_str()?.parse().ok()?,
            name.trim().to_owned(),
        ))
    };
    tasks.filter_map(thread).collect()
}

fn until(patience: Duration, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "{:?}", threads());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_instance_works_on_threads_of_its_own_and_takes_them_with_it() {
    let before = threads();
    let of_instance = || -> BTreeMap<u32, String> {
        let new = threads().into_iter();
        new.filter(|(id, _)| !before.contains_key(id)).collect()
    };
    let mut instrument = Audiodiff::default();
    instrument.prepare(48_000.0, Box::new(model::open)).unwrap();
    instrument.settle(PATIENCE);
    let store = instrument.store().clone();
    let project = store.project();
    let centre = project.sound(PAD).expect("it was made").clone();
    assert!(centre.seconds() > 2.9, "{}", centre.seconds());
    let pad = &instrument.parameters().pads[PAD];
    let asked = pad.asked(&project.settings[PAD].making, None);
    store.ring().open(PAD, centre.clone(), asked, 0.35);
    let made = || {
        store
            .ring()
            .view()
            .map_or(0, |view| view.sounds.iter().flatten().count())
    };
    until(PATIENCE, || made() >= RING / 4);
    store.ring().close();
    let info = model::open(None).unwrap().info();
    let map = store.open_map(&info).unwrap();
    until(PATIENCE, || map.locate(&centre).is_some());
    let working = of_instance();
    assert!(!working.is_empty());
    for name in working.values() {
        assert!(
            name.starts_with("audiodiff"),
            "whose thread is {name}? {working:?}"
        );
    }
    drop((map, store, instrument));
    // The system forgets a thread a moment after it has ended.
    until(Duration::from_secs(10), || of_instance().is_empty());
}
