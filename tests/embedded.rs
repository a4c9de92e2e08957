//! The shipped model sounds like what it says it is.

#![cfg(feature = "embedded-model")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use audiodiff::Error;
use audiodiff::audio::Clip;
use audiodiff::checkpoint::{Checkpoint, Precision};
use audiodiff::network::Precision as Digits;
use audiodiff::render::{RenderSettings, Renderer};
use candle_core::Device;
use realfft::RealFftPlanner;

fn render(class: &str, seeds: std::ops::Range<u64>) -> Vec<Clip> {
    let model = Checkpoint::embedded().unwrap();
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let settings = RenderSettings {
        class: Some(class.into()),
        ..RenderSettings::of(&model.config)
    };
    let seeds: Vec<u64> = seeds.collect();
    renderer
        .render_batch(&settings, &seeds, &mut |_| ControlFlow::Continue(()))
        .unwrap()
}

/// Share of the energy between two frequencies in Hz.
fn share(clip: &Clip, low: f32, high: f32) -> f32 {
    let mut samples = clip.channels()[0].clone();
    let fft = RealFftPlanner::<f32>::new().plan_fft_forward(samples.len());
    let mut spectrum = fft.make_output_vec();
    fft.process(&mut samples, &mut spectrum).unwrap();
    let step = clip.sample_rate() as f32 / samples.len() as f32;
    let energy = |from: f32, to: f32| -> f32 {
        let bins = (from / step) as usize..((to / step) as usize).min(spectrum.len());
        spectrum[bins].iter().map(|c| c.norm_sqr()).sum()
    };
    energy(low, high) / energy(0.0, clip.sample_rate() as f32 / 2.0 + step)
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

#[test]
fn kicks_are_low_and_closed_hats_are_high() {
    let kicks = render("kick", 0..8);
    let low = median(kicks.iter().map(|clip| share(clip, 0.0, 200.0)).collect());
    assert!(
        low > 0.5,
        "the median kick has {low} of its energy below 200 Hz"
    );
    let hats = render("hat_closed", 0..8);
    let high = median(
        hats.iter()
            .map(|clip| share(clip, 4000.0, 22050.0))
            .collect(),
    );
    assert!(
        high > 0.5,
        "the median closed hat has {high} of its energy above 4 kHz"
    );
}

#[test]
fn seeds_differ_edges_are_quiet_and_silence_is_silent() {
    let clips = render("hat_closed", 0..8);
    for (i, a) in clips.iter().enumerate() {
        let samples = &a.channels()[0];
        for b in &clips[i + 1..] {
            let pairs = samples.iter().zip(&b.channels()[0]);
            let difference: f32 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
            assert!(difference > 0.05 * samples.iter().map(|x| x * x).sum::<f32>());
        }
        assert!(
            (20.0 * a.peak().log10() + 1.0).abs() < 0.01,
            "the peak is at -1 dB"
        );
        assert!(samples[0].abs() < 0.02 && samples[samples.len() - 1].abs() < 1e-3);
        assert!(a.dc()[0].abs() < 1e-3);
    }
    // The last fifth of a second of a closed hat is long past its end.
    let tail = |clip: &Clip| {
        let samples = &clip.channels()[0];
        samples[samples.len() - 8820..]
            .iter()
            .fold(0f32, |peak, x| peak.max(x.abs()))
    };
    let tail = median(clips.iter().map(tail).collect());
    assert!(
        20.0 * tail.max(1e-9).log10() < -50.0,
        "the median tail peaks at {tail}"
    );
}

#[test]
fn the_shipped_file_is_small_and_says_where_it_comes_from() {
    let model = Checkpoint::embedded().unwrap();
    assert!(model.to_bytes(Precision::F16).unwrap().len() <= 18_000_000);
    assert_eq!(model.config.format.sample_rate, 44_100);
    assert!(model.config.training.licence.is_some() && model.config.training.steps > 0);
    for class in [
        "kick",
        "snare",
        "clap",
        "hat_closed",
        "hat_open",
        "tom",
        "cymbal",
        "perc",
    ] {
        assert!(model.config.class(class).is_ok(), "{class}");
    }
}

#[test]
fn a_rendering_stops_in_the_middle_of_a_step() {
    let mut renderer = Renderer::new(&Checkpoint::embedded().unwrap(), &Device::Cpu).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    renderer.engine().stop_with(Arc::clone(&stop));
    let mut steps = 0;
    let stopped = renderer.render(&RenderSettings::default(), 0, &mut |_| {
        steps += 1;
        stop.store(true, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(steps, 1);
}

/// What products of eight digits make is the same sound: in the model's own frames its noise is 15 dB below, and it
/// is not nothing.
#[test]
fn bf16_renders_the_same_sound() {
    let mut renderer = Renderer::new(&Checkpoint::embedded().unwrap(), &Device::Cpu).unwrap();
    let config = renderer.config().clone();
    let representation = config
        .representation
        .build(&config.format, &config.statistics)
        .unwrap();
    for class in ["kick", "hat_closed"] {
        let settings = RenderSettings {
            class: Some(class.into()),
            ..RenderSettings::of(&config)
        };
        let mut render = |precision| {
            renderer.engine().use_precision(precision);
            let clip = renderer.render(&settings, 7, &mut |_| ControlFlow::Continue(()));
            representation.encode(&clip.unwrap()).unwrap().data
        };
        let (full, rounded) = (render(Digits::F32), render(Digits::Bf16));
        let power = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
        let noise = power(&mut full.iter().zip(&rounded).map(|(a, b)| a - b));
        let ratio = 10.0 * (power(&mut full.iter().copied()) / noise).log10();
        eprintln!("{class}: {ratio} dB");
        assert!((15.0..60.0).contains(&ratio), "{class}: {ratio} dB");
    }
}
