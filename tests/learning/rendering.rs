//! A sound of a small model, its lengths, variations and morphs.

use std::ops::ControlFlow;

use audiodiff::Error;
use audiodiff::audio::Clip;
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::render::{Init, RenderSettings, Renderer};
use audiodiff::representation::Crop;
use audiodiff::train::TrainConfig;
use candle_core::Device;

use super::tones::*;

#[test]
fn rendering_can_be_stopped_between_steps() {
    let (folder, set) = tones();
    let model = trained(config(mdct(), 2), &set, folder.path());
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let mut seen = 0;
    let stopped = renderer.render_with(&renderer.settings(), 1, &mut |progress| {
        seen = progress.step;
        if progress.step == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(stopped, Err(Error::Stopped)) && seen == 3);
}

/// A model as of loops: its sounds are not moved to their onset, and can be compared sample by sample.
fn renderer_of_loops() -> (Renderer, RenderSettings) {
    let (folder, set) = tones();
    let config = TrainConfig {
        attributes: false,
        ..config(mdct(), 60)
    };
    let mut model = trained(config, &set, folder.path());
    model.config.crop = Some(Crop::Anywhere);
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let settings = RenderSettings {
        steps: 6,
        trim: false,
        ..renderer.settings()
    };
    (renderer, settings)
}

/// Sum of the squared differences.
fn distance(a: &Clip, b: &Clip) -> f32 {
    let pairs = a.channels()[0].iter().zip(&b.channels()[0]);
    pairs.map(|(a, b)| (a - b).powi(2)).sum()
}

#[test]
fn a_sound_does_not_depend_on_its_batch_and_lengths_are_kept() {
    let (renderer, settings) = renderer_of_loops();
    let go_on = &mut |_| ControlFlow::Continue(());
    let together = renderer.render_batch(&settings, &[5, 6, 7], go_on).unwrap();
    let alone = renderer.render(&settings, 6).unwrap().clip;
    let error = together[1].clip.channels()[0]
        .iter()
        .zip(&alone.channels()[0])
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error < 1e-4, "batched and alone differ by {error}");
    for seconds in [0.05, 0.128, 0.3] {
        let settings = RenderSettings {
            seconds: Some(seconds),
            ..settings.clone()
        };
        let clip = renderer.render(&settings, 6).unwrap().clip;
        assert_eq!(
            clip.len_frames(),
            (seconds * f64::from(RATE)).round() as usize
        );
    }
}

#[test]
fn a_weak_variation_stays_near_the_sound_and_the_strongest_forgets_it() {
    let (renderer, settings) = renderer_of_loops();
    let alone = renderer.render(&settings, 6).unwrap().clip;
    let vary = |strength, seed| {
        let settings = RenderSettings {
            init: Some(Init::Vary {
                clip: alone.clone(),
                strength,
            }),
            ..settings.clone()
        };
        renderer.render(&settings, seed).unwrap().clip
    };
    assert_eq!(vary(1.0, 6), alone, "at 1 nothing of the original is left");
    let (near, far) = (
        distance(&vary(0.05, 9), &alone),
        distance(&vary(1.0, 9), &alone),
    );
    assert!(near < 0.3 * far, "{near} {far}");
}

#[test]
fn between_two_sounds_lies_neither_and_at_either_end_its_own() {
    let (renderer, settings) = renderer_of_loops();
    let ends = [6, 7].map(|seed| renderer.render(&settings, seed).unwrap().clip);
    let apart = distance(&ends[0], &ends[1]);
    // By inversion to noise; and where sampling draws noise, without.
    let inverted = RenderSettings {
        steps: 40,
        ..settings.clone()
    };
    let mixed = RenderSettings {
        steps: 4,
        sampler: Sampler::Consistency,
        schedule: Schedule::Consistency,
        ..settings
    };
    for (settings, steps) in [(inverted, 79), (mixed, 4)] {
        let morph = |fraction| {
            let clips = ends.clone();
            let settings = RenderSettings {
                init: Some(Init::Morph { clips, fraction }),
                ..settings.clone()
            };
            let mut seen = Vec::new();
            let clip = renderer.render_with(&settings, 0, &mut |progress| {
                seen.push((progress.step, progress.steps));
                ControlFlow::Continue(())
            });
            assert_eq!(*seen.last().unwrap(), (steps, steps));
            if steps == 79 {
                assert!(seen.into_iter().eq((1..=79).map(|step| (step, 79))));
            }
            clip.unwrap().clip
        };
        let off = [
            distance(&morph(0.0), &ends[0]),
            distance(&morph(1.0), &ends[1]),
        ];
        assert!(off.iter().all(|d| *d < 0.05 * apart), "{off:?} of {apart}");
        let middle = morph(0.5);
        let both = [distance(&middle, &ends[0]), distance(&middle, &ends[1])];
        assert!(both.iter().all(|d| *d > 0.1 * apart), "{both:?} of {apart}");
        if steps == 79 {
            assert!(both.iter().all(|d| *d < 0.9 * apart), "{both:?} of {apart}");
        }
    }
}
