//! A small network learns, a run resumes to the bit, and the sounds of its model are those that it learnt.

mod fine_tuning;
mod ranks;
mod rendering;
mod resuming;
mod tones;

use std::f32::consts::TAU;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use audiodiff::Error;
use audiodiff::audio::{BitDepth, Clip, write_wav};
use audiodiff::checkpoint::{Checkpoint, load_tensors, save_tensors};
use audiodiff::dataset::ScanOptions;
use audiodiff::diffusion::Target;
use audiodiff::diffusion::objective::Objective;
use audiodiff::render::{Init, RenderSettings, Renderer};
use audiodiff::representation::{Format, MelConfig, RepresentationConfig, Stereo, WaveConfig};
use audiodiff::train::{Length, Loss, StepReport, TrainConfig, read_stats};
use candle_core::Device;

use tones::*;

#[test]
fn numbers_that_cannot_train_are_refused() {
    let (folder, set) = tones();
    let refusal = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = config(mdct(), 2);
        change(&mut config);
        let run = folder.path().join("run");
        let error = begin(config, &set, &run, None).unwrap_err();
        assert!(!run.exists(), "nothing was begun");
        error.to_string()
    };
    assert!(refusal(&|c| c.learning_rate.peak = -1.0).contains("learning rate"));
    assert!(refusal(&|c| c.learning_rate.peak = f64::NAN).contains("found NaN"));
    assert!(refusal(&|c| c.class_dropout = 1.5).contains("class dropout"));
    assert!(refusal(&|c| c.adam.max_grad_norm_ratio = 0.0).contains("norm ratio"));
    assert!(refusal(&|c| c.batch = NonZeroUsize::new(4097)).contains("batch"));
    assert!(refusal(&|c| c.validate_every = 0).contains("validations"));
    assert!(refusal(&|c| c.length = Length::Minutes(f64::INFINITY)).contains("minutes"));
}

/// Loudest of the two tones by correlation.
fn is_high(clip: &Clip) -> bool {
    let power = |hz: f32| {
        let samples = &clip.channels()[0];
        // A band around the tone, since the training tones spread over 5%.
        (0..9).fold(0f32, |best, k| {
            let hz = hz * (1.0 + 0.00625 * k as f32);
            let (mut re, mut im) = (0.0, 0.0);
            for (t, x) in samples.iter().enumerate() {
                let angle = TAU * hz * t as f32 / RATE as f32;
                re += x * angle.cos();
                im += x * angle.sin();
            }
            best.max(re * re + im * im)
        })
    };
    power(2200.0) > power(300.0)
}

#[test]
fn a_small_network_learns_two_tones_and_their_classes() {
    let (folder, set) = tones();
    let run = folder.path().join("run");
    let (_, model) = train(config(mdct(), 300), &set, &run, u64::MAX);
    let stats = read_stats(&run.join("stats.jsonl")).unwrap();
    let mean = |part: &[StepReport]| part.iter().map(|r| r.loss).sum::<f32>() / part.len() as f32;
    let (first, last) = (mean(&stats[..20]), mean(&stats[280..]));
    assert!(last < 0.15 * first, "the loss went from {first} to {last}");
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    for class in ["low", "high"] {
        let settings = RenderSettings {
            class: Some(class.into()),
            ..renderer.settings()
        };
        let clips = renderer
            .render_batch(&settings, &[1, 2, 3, 4, 5, 6], &mut |_| {
                ControlFlow::Continue(())
            })
            .unwrap();
        let right = clips
            .iter()
            .filter(|made| is_high(&made.clip) == (class == "high"))
            .count();
        assert!(
            right >= 5,
            "{right} of 6 sounds of class {class} have its tone"
        );
    }
}

#[test]
fn every_representation_trains_saves_and_renders() {
    let (folder, set) = tones();
    let wave = RepresentationConfig::Wave(WaveConfig { patch: 32 });
    let mel = RepresentationConfig::Mel(MelConfig {
        n_fft: 256,
        hop: 64,
        mels: 24,
        floor_db: -80.0,
        stereo: Stereo::Image,
    });
    for representation in [mdct(), wave, mel] {
        let run = folder.path().join(representation.name());
        let (_, model) = train(config(representation.clone(), 40), &set, &run, u64::MAX);
        assert_eq!(model.config.representation, representation);
        let stats = read_stats(&run.join("stats.jsonl")).unwrap();
        let mean = |r: &[StepReport]| r.iter().map(|r| r.loss).sum::<f32>() / r.len() as f32;
        assert!(
            mean(&stats[35..]) < 0.8 * mean(&stats[..5]),
            "{}: the loss falls",
            representation.name()
        );
        let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
        let settings = RenderSettings {
            steps: 4,
            trim: false,
            ..renderer.settings()
        };
        let render = |seed| renderer.render(&settings, seed).unwrap().clip;
        let clip = render(7);
        assert_eq!((clip.sample_rate(), clip.len_frames()), (RATE, LEN));
        assert!(
            clip.is_finite() && (clip.peak() - 0.891).abs() < 0.01,
            "peak {}",
            clip.peak()
        );
        assert_eq!(clip, render(7));
        assert_ne!(clip, render(8));
        // Together with others it is the same to the bit.
        let mut on = |_| ControlFlow::Continue(());
        let batch = renderer.render_batch(&settings, &[8, 7, 9], &mut on);
        assert_eq!(batch.unwrap()[1].clip, clip);
        let longer = RenderSettings {
            seconds: Some(2.0 * LEN as f64 / f64::from(RATE)),
            ..settings.clone()
        };
        let longer = renderer.render(&longer, 7).unwrap().clip;
        assert_eq!(longer.len_frames(), 2 * LEN);
        assert!(longer.is_finite());
        // Only frames of a spectrogram have a modulation spectrum.
        let is_mel = matches!(representation, RepresentationConfig::Mel(_));
        assert_eq!(model.config.modulation.is_some(), is_mel);
    }
}

#[test]
fn sounds_are_learnt_and_made_in_clips_as_long_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let sounds = folder.path().join("sounds");
    for (label, hz, seconds) in [("tick", 900.0, 0.1), ("note", 400.0, 0.9)] {
        for i in 0..6 {
            let tone = |n: usize| {
                let t = n as f32 / RATE as f32;
                (TAU * hz * (1.0 + 0.01 * i as f32) * t).sin() * (-6.0 * t / seconds).exp()
            };
            let clip = Clip::new(RATE, vec![(0..12_000).map(tone).collect()]);
            let path = sounds.join(label).join(format!("{i}.wav"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_wav(&path, &clip, BitDepth::Float32).unwrap();
        }
    }
    let lengths = [2048, 4096, 8192];
    let config = TrainConfig {
        clip_lengths: true,
        format: Format {
            len_frames: lengths[2],
            ..config(mel(), 1).format
        },
        ..config(mel(), 40)
    };
    let set = open_as(&sounds, config.format, &ScanOptions::default());
    let run = folder.path().join("run");
    let (_, model) = train(config.clone(), &set, &run, u64::MAX);
    assert_eq!(model.config.clip_lengths().all(), lengths);
    assert_eq!(model.config.ends.len(), model.config.attributes.len());
    // Interrupted, it is the same to the bit.
    let resumed = folder.path().join("resumed");
    train(config.clone(), &set, &resumed, 17);
    let (_, again) = train(config, &set, &resumed, u64::MAX);
    assert_eq!(bits(&again), bits(&model));
    let made = |model: &Checkpoint, class: &str, seconds| {
        let renderer = Renderer::new(model, &Device::Cpu).unwrap();
        let settings = RenderSettings {
            class: Some(class.into()),
            steps: 4,
            trim: false,
            seconds,
            ..renderer.settings()
        };
        renderer.render(&settings, 7).unwrap().clip.len_frames()
    };
    let own = |model: &Checkpoint| ["tick", "note"].map(|class| made(model, class, None));
    assert_eq!(own(&model), [2048, 8192]);
    // A variation of which nothing is left is a sound of its own, as long as that.
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let render = |init| {
        let settings = RenderSettings {
            steps: 4,
            init,
            ..renderer.settings()
        };
        renderer.render(&settings, 11).unwrap().clip
    };
    let (clip, strength) = (render(None), 1.0);
    let varied = render(Some(Init::Vary {
        clip: clip.clone(),
        strength,
    }));
    assert_eq!(varied, clip);
    // A length that is asked for is kept.
    assert_eq!(made(&model, "tick", Some(0.5)), 4000);
    // A fine-tuned model goes on so.
    let tuning = TrainConfig::fine_tune(&model).steps(2);
    assert!(tuning.clip_lengths);
    let tuned = folder.path().join("tuned");
    let mut trainer = begin(tuning, &set, &tuned, Some(&model)).unwrap();
    trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(own(&trainer.checkpoint().unwrap()), [2048, 8192]);
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint() {
    let (folder, set) = tones();
    let run = folder.path().join("run");
    let mut config = config(mdct(), 4);
    train(config.clone(), &set, &run, u64::MAX);
    // One weight grows until the loss overflows in the first step of the run's second half.
    let state = run.join("state.safetensors");
    let (mut tensors, note) = load_tensors(&state).unwrap();
    let weight = tensors.get_mut("weights.stem.weight").unwrap();
    *weight = (&*weight * 1e38).unwrap();
    save_tensors(&state, &tensors, &note).unwrap();
    let files = || {
        ["state.safetensors", "model.safetensors"]
            .map(|file| std::fs::read(run.join(file)).unwrap())
    };
    let before = files();
    config.length = Length::Steps(8);
    let mut trainer = begin(config.clone(), &set, &run, None).unwrap();
    let error = trainer.run(&mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Diverged {
                step: 4,
                saved: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(before == files(), "the last checkpoint is as it was");
    drop(trainer);
    // Without a checkpoint, none is promised.
    for file in ["state.safetensors", "model.safetensors"] {
        std::fs::remove_file(run.join(file)).unwrap();
    }
    config.loss = Loss::Denoising(Objective {
        p_mean: -60.0,
        min_snr_gamma: f64::INFINITY,
        ..Objective::new(Target::X, 1.0)
    });
    let mut trainer = begin(config, &set, &run, None).unwrap();
    let error = trainer.run(&mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(!error.to_string().contains("checkpoint"), "{error}");
    assert!(!run.join("model.safetensors").exists());
}
