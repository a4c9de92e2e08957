//! How long one waits for a ring of eight and for a row of morphs, and how soon a sound is heard once it is asked for.
//!
//! `cargo bench -p audiodiff-plugin --bench explore` prints medians and the longest of five rings of each pad. Times are
//! by the clock: nothing else should be running.

use std::sync::Arc;
use std::time::{Duration, Instant};

use audiodiff_plugin::Audiodiff;
use audiodiff_plugin::model;

/// Pads whose rings are timed: a kick, a snare, a closed hat, a cymbal of some seconds.
const PADS: [usize; 4] = [0, 2, 6, 13];
const RATE: f32 = 48_000.0;
const BLOCK: usize = 256;

fn main() {
    let mut instrument = Audiodiff::default();
    instrument
        .prepare(RATE, Box::new(model::open))
        .expect("the system has threads");
    instrument.settle(Duration::from_secs(60));
    let store = instrument.store().clone();
    let params = instrument.parameters().clone();
    let project = store.project();
    println!("pad, seconds of its sound, ring of eight: first, median, longest (s)");
    for pad in PADS {
        let sound = project.sound(pad).expect("it was made");
        let asked = params.pads[pad].asked(&project.settings[pad].making, None);
        let ring = store.ring();
        let mut times: Vec<(f64, f64)> = (0..5)
            .map(|turn| {
                let begun = Instant::now();
                if turn == 0 {
                    ring.close();
                    ring.open(pad, sound.clone(), asked.clone(), 0.35);
                } else {
                    ring.reroll();
                }
                let mut first = None;
                loop {
                    let view = ring.view().expect("it is open");
                    let made = view.sounds.iter().flatten().count();
                    let now = begun.elapsed().as_secs_f64();
                    if made > 0 {
                        first.get_or_insert(now);
                    }
                    if made == view.sounds.len() {
                        return (now, first.unwrap_or(now));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let seconds = sound.seconds();
        let (median, longest) = (times[2].0, times[4].0);
        println!(
            "{pad:3} {seconds:5.2} {:6.3} {median:6.3} {longest:6.3}",
            times[2].1
        );
    }
    store.ring().close();

    // From the call to the block in which it is heard, with the time that the call itself takes.
    let mut worst = Duration::ZERO;
    for pad in 0..16 {
        let sound: Arc<_> = project.sound(pad).expect("it was made").clone();
        let begun = Instant::now();
        store.audition(&sound);
        let (mut left, mut right) = ([0f32; BLOCK], [0f32; BLOCK]);
        instrument.play(&mut left, &mut right, &mut [], &mut || None, &mut |_, _| {});
        assert!(
            left.iter().any(|x| *x != 0.0),
            "pad {pad} is heard in the next block"
        );
        worst = worst.max(begun.elapsed());
    }
    println!(
        "audition: {:.1} ms at most, and the host's next block",
        1e3 * worst.as_secs_f64()
    );
}
