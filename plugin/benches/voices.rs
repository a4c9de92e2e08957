//! All voices at once, each at a pitch of its own and through a filter: one block of 256 frames.
//!
//! At 48 kHz such a block lasts 5.33 ms; its time over that is the fraction of one core.

#![allow(missing_docs)] // criterion's macros define undocumented functions

use std::hint::black_box;
use std::sync::Arc;

use audiodiff::audio::Clip;
use audiodiff_plugin::pad::PADS;
use audiodiff_plugin::voice::{
    Begin, FilterKind, Mode, NoteAddress, PadControls, PadSounds, PlayableSound, STRIDE, VOICES,
    Voices,
};
use criterion::{Criterion, criterion_group, criterion_main};

const RATE: f32 = 48_000.0;
const BLOCK: usize = 256;

fn bench(c: &mut Criterion) {
    let wave = |i: usize| (i as f32 * 0.05).sin();
    let clip = Clip::new(48_000, vec![(0..52_800).map(wave).collect()]);
    let sound = Arc::new(PadSounds::from(PlayableSound::new(&clip)));
    for (name, filter, pitch) in [
        ("as they are", FilterKind::Off, 0.0),
        ("pitched", FilterKind::Off, 0.37),
        ("pitched and filtered", FilterKind::Lowpass, 0.37),
    ] {
        let controls = PadControls {
            mode: Mode::Loop,
            filter,
            cutoff: 2000.0,
            resonance: 0.5,
            pitch,
            ..PadControls::PLAIN
        };
        let mut voices = Voices::default();
        for i in 0..VOICES {
            let pad = i % PADS;
            voices.set_sound(pad, Some(sound.clone()));
            let note = NoteAddress {
                id: Some(i as i32),
                channel: None,
                key: None,
            };
            let begin = Begin {
                pad,
                key: None,
                velocity: 1.0,
            };
            voices.note_on(note, begin, &controls, &mut |_| {});
        }
        let all = [controls; PADS];
        c.bench_function(&format!("{VOICES} voices, {BLOCK} frames, {name}"), |b| {
            b.iter(|| {
                for _ in 0..BLOCK / STRIDE {
                    let mut mix = |_: usize, left: &[f32], right: &[f32]| {
                        black_box((left, right));
                    };
                    voices.render(STRIDE, RATE, &all, &mut mix, &mut |_| {});
                }
            });
        });
        assert!(voices.is_active());
    }
}

criterion_group!(voices, bench);
criterion_main!(voices);
