//! A kick twice a second, made anew before each hit, with a knob for its brightness that turns all the while:
//! `cargo run --release --example live`, or `-- 3` for three hits. Without a sound card it says so and plays nothing.
//!
//! Sounds are made on this thread, and handed to the audio thread through a queue of one: that thread takes the newest
//! when it is there, and never waits.

use std::time::{Duration, Instant};

use audiodiff::render::RenderSettings;
use audiodiff::{Checkpoint, Device, Renderer};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};

/// How long the audio thread may leave a sound lying.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hits: usize = std::env::args().nth(1).map_or(Ok(8), |n| n.parse())?;
    let renderer = Renderer::new(&Checkpoint::embedded()?, &Device::Cpu)?;
    // Some systems name a device where there is none: it has no configuration.
    let device = cpal::default_host().default_output_device();
    let device = device.and_then(|device| {
        let config = device.default_output_config().ok()?.config();
        Some((device, config))
    });
    let Some((device, config)) = device else {
        println!("no sound card");
        return Ok(());
    };
    let channels = usize::from(config.channels);
    let (hand, newest) = crossbeam::channel::bounded::<Vec<f32>>(1);
    let (used, spent) = crossbeam::channel::bounded::<Vec<f32>>(4);
    let (mut playing, mut at) = (Vec::new(), 0);
    let fill = move |out: &mut [f32], _: &cpal::OutputCallbackInfo| {
        if let Ok(sound) = newest.try_recv() {
            // The last sound is freed on the other thread, which leaves room for it.
            let _ = used.try_send(std::mem::replace(&mut playing, sound));
            at = 0;
        }
        for frame in out.chunks_exact_mut(channels) {
            frame.fill(playing.get(at).copied().unwrap_or(0.0));
            at += 1;
        }
    };
    let stream = device.build_output_stream(config, fill, |e| eprintln!("{e}"), None)?;
    stream.play()?;
    let begin = Instant::now();
    for hit in 0..hits {
        let brightness = 300.0 * 2f32.powf(2.0 + 2.0 * (0.7 * hit as f32).sin());
        let settings = RenderSettings {
            class: Some("kick".into()),
            descriptors: vec![("brightness".into(), brightness)],
            ..renderer.settings()
        };
        let clip = renderer.render(&settings, hit as u64)?.clip;
        let clip = clip.resampled(config.sample_rate)?.with_channels(1);
        println!(
            "hit {hit}: {brightness:.0} Hz, made {:.2} s after the start",
            begin.elapsed().as_secs_f64()
        );
        let sound = clip.channels()[0].clone();
        if hand.send_timeout(sound, PATIENCE).is_err() {
            return Err(format!("the sound card has asked for nothing in {PATIENCE:?}").into());
        }
        spent.try_iter().for_each(drop);
        let next = Duration::from_millis(500 * (hit as u64 + 1));
        std::thread::sleep(next.saturating_sub(begin.elapsed()));
    }
    Ok(())
}
