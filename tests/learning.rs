//! A small network learns, a run resumes to the bit, and what was learnt is heard.

use std::f32::consts::TAU;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::Path;

use audiodiff::audio::{BitDepth, Clip, write_wav};
use audiodiff::checkpoint::{Checkpoint, load_tensors, save_tensors};
use audiodiff::dataset::{Dataset, ScanOptions};
use audiodiff::diffusion::Target;
use audiodiff::diffusion::consistency::Consistency;
use audiodiff::diffusion::objective::Objective;
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::network::{ComputeType, NetworkConfig, UNetConfig};
use audiodiff::optim::{AdamConfig, LearningRate};
use audiodiff::render::{Init, RenderSettings, Renderer};
use audiodiff::representation::{Crop, Format, RepresentationConfig, Stereo};
use audiodiff::train::{
    ClassMatch, ConsistencyTuning, Event, Length, Loss, Outcome, TrainConfig, Trainer, read_stats,
};
use audiodiff::{Error, dataset};
use candle_core::Device;

const RATE: u32 = 8000;
const LEN: usize = 1024;

/// Two classes of decaying tones: `low` at 300 Hz, `high` at 2200 Hz.
fn sounds(root: &Path) {
    for (label, hz) in [("low", 300.0), ("high", 2200.0)] {
        for i in 0..6 {
            let tone = |t: usize| {
                let t = t as f32 / RATE as f32;
                (TAU * hz * (1.0 + 0.01 * i as f32) * t).sin() * (-12.0 * t).exp()
            };
            let folder = root.join(label);
            std::fs::create_dir_all(&folder).unwrap();
            let clip = Clip::new(RATE, vec![(0..LEN).map(tone).collect()]);
            write_wav(&folder.join(format!("{i}.wav")), &clip, BitDepth::Float32).unwrap();
        }
    }
}

fn config(representation: RepresentationConfig, steps: u64) -> TrainConfig {
    TrainConfig {
        precision: ComputeType::F32,
        name: "tones".into(),
        format: Format {
            sample_rate: RATE,
            channels: 1,
            len_frames: LEN,
        },
        representation,
        network: NetworkConfig::UNet(UNetConfig::preset("32x1,32x1").unwrap()),
        target: Target::X,
        loss: Loss::Denoising(Objective::new(Target::X, 1.0)),
        batch: NonZeroUsize::new(8),
        length: Length::Steps(steps),
        learning_rate: LearningRate {
            peak: 4e-3,
            warmup: 10,
            decay: 0.4,
        },
        adam: AdamConfig::default(),
        ema_gamma: 6.94,
        class_dropout: 0.1,
        augment: None,
        attributes: true,
        licence: None,
        seed: 3,
        validate_every: 50,
        patience: None,
        save_every_s: 1e9,
    }
}

fn mdct() -> RepresentationConfig {
    RepresentationConfig::Mdct {
        bins: 32,
        companding: 0.5,
        emphasis: 0.0,
    }
}

fn open(root: &Path) -> Dataset {
    let format = config(mdct(), 1).format;
    Dataset::open(root, format, &ScanOptions::default(), &mut |_, _| {})
        .unwrap()
        .0
}

/// A folder whose `sounds` are the tones, and these as a data set.
fn tones() -> (tempfile::TempDir, Dataset) {
    let folder = tempfile::tempdir().unwrap();
    sounds(&folder.path().join("sounds"));
    let set = open(&folder.path().join("sounds"));
    (folder, set)
}

/// Opens a run in `folder`, which begins with `from` if there is one.
fn begin<'a>(
    config: TrainConfig,
    sounds: &'a Dataset,
    folder: &Path,
    from: Option<&Checkpoint>,
) -> audiodiff::Result<Trainer<'a>> {
    Trainer::open(config, sounds, folder, from, &Device::Cpu, &mut |_, _| ())
}

/// Trains in `folder`, stopping after the step `stop_at` if it comes.
fn train(
    config: TrainConfig,
    sounds: &Dataset,
    folder: &Path,
    stop_at: u64,
) -> (Outcome, Checkpoint) {
    let mut trainer = begin(config, sounds, folder, None).unwrap();
    let outcome = trainer.run(&mut |event| match event {
        Event::Step(report) if report.step == stop_at => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    (
        outcome.unwrap(),
        Checkpoint::load(&folder.join("model.safetensors")).unwrap(),
    )
}

fn bits(model: &Checkpoint) -> Vec<u32> {
    let flat = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    model
        .weights
        .values()
        .flat_map(flat)
        .map(f32::to_bits)
        .collect()
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_to_the_bit() {
    let (folder, set) = tones();
    let mut config = config(mdct(), 12);
    config.augment = Some(dataset::Augment::default());
    // A number whose decimal form must be read back exactly.
    config.learning_rate.peak = 0.00018249744591387117;
    let (straight, resumed) = (
        folder.path().join("straight"),
        folder.path().join("resumed"),
    );
    let (outcome, whole) = train(config.clone(), &set, &straight, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(train(config.clone(), &set, &resumed, 5).0, Outcome::Stopped);
    let (outcome, halves) = train(config.clone(), &set, &resumed, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(bits(&whole), bits(&halves));
    let losses = |run: &Path| {
        let stats = read_stats(&run.join("stats.jsonl")).unwrap();
        stats
            .iter()
            .map(|r| (r.step, r.loss.to_bits(), r.validation.map(f32::to_bits)))
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(&straight), losses(&resumed));
    assert_eq!(losses(&straight).len(), 12);
    // A batch left open is the run's own.
    let asked = TrainConfig {
        batch: None,
        ..config.clone()
    };
    assert!(begin(asked, &set, &resumed, None).is_ok());
    // A state that another version wrote is refused in words, and its weights are not lost.
    let state = resumed.join("state.safetensors");
    let (tensors, note) = load_tensors(&state).unwrap();
    save_tensors(&state, &tensors, &note.replace("\"grad_norm\"", "\"x\"")).unwrap();
    let error = begin(config.clone(), &set, &resumed, None).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("another version of audiodiff may have written it"),
        "{error}"
    );
    assert!(
        error.contains("model.safetensors goes on from its weights"),
        "{error}"
    );
    save_tensors(&state, &tensors, &note).unwrap();
    // Other settings or sounds are not silently mixed into an old run.
    let refusal = |config: &TrainConfig, set: &Dataset| {
        let error = begin(config.clone(), set, &resumed, None).unwrap_err();
        assert!(
            matches!(&error, Error::Setting(s) if s.contains("--out")),
            "{error}"
        );
        error.to_string()
    };
    std::fs::remove_file(folder.path().join("sounds/low/3.wav")).unwrap();
    let fewer = open(&folder.path().join("sounds"));
    assert!(refusal(&config, &fewer).contains("other sounds"));
    config.seed = 4;
    assert!(refusal(&config, &set).contains("other settings"));
    // A model whose state is gone is not overwritten by a run from nothing.
    std::fs::remove_file(resumed.join("state.safetensors")).unwrap();
    assert!(refusal(&config, &set).contains("no state.safetensors"));
}

#[test]
fn patience_ends_a_run_that_gets_worse_and_keeps_its_best_model() {
    let (folder, set) = tones();
    let mut config = config(mdct(), 2000);
    // Far too fast: after a while it forgets more than it learns.
    config.learning_rate.peak = 0.05;
    (config.validate_every, config.patience) = (5, NonZeroU64::new(3));
    let (straight, resumed) = (
        folder.path().join("straight"),
        folder.path().join("resumed"),
    );
    let (outcome, model) = train(config.clone(), &set, &straight, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    let stats = read_stats(&straight.join("stats.jsonl")).unwrap();
    let last = stats.last().unwrap();
    assert!(last.step < 2000 && last.progress == 1.0, "{last:?}");
    let better = |a: &(u64, f32), b: &(u64, f32)| a.1.total_cmp(&b.1);
    let (step, loss) = stats
        .iter()
        .filter_map(|report| Some((report.step, report.validation?)))
        .min_by(better)
        .unwrap();
    assert_eq!(last.step, step + 3 * 5, "three that were no better");
    assert_eq!(model.config.training.validation_loss, Some(loss));
    // It is the model that was measured then.
    let short = TrainConfig {
        length: Length::Steps(2000),
        patience: None,
        ..config.clone()
    };
    let (_, then) = train(short, &set, &folder.path().join("short"), step);
    assert_eq!(bits(&model), bits(&then));
    assert_eq!(model.config.training.steps, step);
    // Who then wants no end by the validation gets what the run comes to, not what once was best.
    let on = folder.path().join("on");
    train(config.clone(), &set, &on, step + 7);
    let endless = TrainConfig {
        patience: None,
        ..config.clone()
    };
    let (_, later) = train(endless.clone(), &set, &on, step + 9);
    let (_, plain) = train(endless, &set, &folder.path().join("plain"), step + 9);
    assert_eq!(bits(&later), bits(&plain));
    // An interruption after the best changes nothing, and there is nothing left to do at the end.
    train(config.clone(), &set, &resumed, step + 7);
    let (outcome, again) = train(config.clone(), &set, &resumed, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(bits(&model), bits(&again));
    let trainer = begin(config, &set, &resumed, None).unwrap();
    assert_eq!(
        (trainer.best_step(), trainer.step(), trainer.progress()),
        (Some(step), step + 15, 1.0)
    );
}

#[test]
fn lines_of_a_run_that_never_saved_are_dropped() {
    let (folder, set) = tones();
    let run = folder.path().join("run");
    train(config(mdct(), 3), &set, &run, u64::MAX);
    for file in ["state.safetensors", "model.safetensors"] {
        std::fs::remove_file(run.join(file)).unwrap();
    }
    train(config(mdct(), 2), &set, &run, u64::MAX);
    let steps: Vec<u64> = read_stats(&run.join("stats.jsonl"))
        .unwrap()
        .iter()
        .map(|report| report.step)
        .collect();
    assert_eq!(steps, [1, 2]);
}

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
    let mean = |part: &[audiodiff::train::StepReport]| {
        part.iter().map(|r| r.loss).sum::<f32>() / part.len() as f32
    };
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
    let wave = RepresentationConfig::Wave { patch: 32 };
    let mel = RepresentationConfig::Mel {
        n_fft: 256,
        hop: 64,
        mels: 24,
        floor_db: -80.0,
        stereo: Stereo::Image,
    };
    for representation in [mdct(), wave, mel] {
        let run = folder.path().join(representation.name());
        let (_, model) = train(config(representation.clone(), 40), &set, &run, u64::MAX);
        assert_eq!(model.config.representation, representation);
        let stats = read_stats(&run.join("stats.jsonl")).unwrap();
        let mean = |r: &[audiodiff::train::StepReport]| {
            r.iter().map(|r| r.loss).sum::<f32>() / r.len() as f32
        };
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
    }
}

#[test]
fn tuning_keeps_known_classes_and_begins_new_ones_at_their_mean() {
    let (folder, set) = tones();
    let (_, model) = train(
        config(mdct(), 3),
        &set,
        &folder.path().join("run"),
        u64::MAX,
    );
    std::fs::rename(
        folder.path().join("sounds/low"),
        folder.path().join("sounds/thud"),
    )
    .unwrap();
    let renamed = open(&folder.path().join("sounds"));
    let tuned = folder.path().join("tuned");
    let trainer = begin(config(mdct(), 3), &renamed, &tuned, Some(&model)).unwrap();
    assert_eq!(trainer.model().labels, ["high", "thud"]);
    assert_eq!(trainer.model().statistics, model.config.statistics);
    assert_eq!(
        trainer.model().training.fine_tuned_from.as_deref(),
        Some("tones")
    );
    let row = |model: &Checkpoint, i: usize| {
        model.weights["classes"]
            .get(i)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    let now = trainer.checkpoint().unwrap();
    assert_eq!(row(&now, 0), row(&model, 0));
    assert_eq!(row(&now, 1), row(&model, 1), "`high` keeps its row");
    let mean: Vec<f32> = row(&model, 1)
        .iter()
        .zip(row(&model, 2))
        .map(|(a, b)| (a + b) / 2.0)
        .collect();
    assert!(
        row(&now, 2)
            .iter()
            .zip(mean)
            .all(|(a, b)| (a - b).abs() < 1e-6),
        "`thud` begins at the mean"
    );
    // A model of another shape is refused in words.
    let mut other = config(RepresentationConfig::Wave { patch: 32 }, 3);
    other.name = "other".into();
    let error = begin(other, &renamed, &folder.path().join("x"), Some(&model)).unwrap_err();
    assert!(error.to_string().contains("representation"), "{error}");
}

#[test]
fn consistency_tuning_brings_one_step_nearer_to_the_sounds() {
    let (folder, set) = tones();
    let run = folder.path().join("run");
    let (_, teacher) = train(config(mdct(), 200), &set, &run, u64::MAX);
    for guidance in [1.0, 1.5] {
        let tuning = TrainConfig {
            loss: Loss::Consistency(ConsistencyTuning {
                consistency: Consistency::default(),
                guidance,
                guidance_interval: (0.2, 5.0),
            }),
            learning_rate: LearningRate {
                peak: 1e-3,
                warmup: 10,
                decay: 0.4,
            },
            ..config(mdct(), 120)
        };
        let out = folder.path().join(format!("tuned-{guidance}"));
        let open =
            |config: &TrainConfig| begin(config.clone(), &set, &out, Some(&teacher)).unwrap();
        let mut trainer = open(&tuning);
        let before = trainer.validate().unwrap().expect("sounds are held back");
        // Interrupted and gone on with, as any training.
        trainer
            .run(&mut |event| match event {
                Event::Step(report) if report.step == 40 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
            .unwrap();
        let mut trainer = open(&tuning);
        assert_eq!(trainer.step(), 40);
        trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
        let after = trainer.validate().unwrap().expect("sounds are held back");
        // A guided teacher's sounds are not quite those that are held back.
        let most = if guidance == 1.0 { 0.95 } else { 1.3 };
        assert!(after < most * before, "{guidance}: {after} of {before}");

        let model = Checkpoint::load(&out.join("model.safetensors")).unwrap();
        let settings = RenderSettings::of(&model.config);
        assert_eq!(
            (settings.sampler, settings.schedule, settings.guidance),
            (Sampler::Consistency, Schedule::Consistency, 1.0)
        );
        if guidance > 1.0 {
            continue;
        }
        // It learns other sounds in the same way, from these alone, and stays a model of few steps.
        let mut known = model.clone();
        let rendering = known.config.rendering.as_mut().unwrap();
        (rendering.steps, rendering.measured) = (2, vec![(2, 1.1)]);
        let again = TrainConfig {
            loss: Loss::Consistency(ConsistencyTuning::again(&known.config)),
            ..tuning
        };
        let out = folder.path().join("again");
        let mut trainer = begin(again, &set, &out, Some(&known)).unwrap();
        trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
        let last = trainer.validate().unwrap().expect("sounds are held back");
        assert!(last < 1.1 * after, "{last} of {after}");
        let model = Checkpoint::load(&out.join("model.safetensors")).unwrap();
        let rendering = model.config.rendering.unwrap();
        assert_eq!(rendering.sampler, Sampler::Consistency);
        assert_eq!((rendering.steps, rendering.measured), (2, vec![]));
    }
    // Without a model to begin from there is nothing to tune.
    let alone = TrainConfig {
        loss: Loss::Consistency(ConsistencyTuning {
            consistency: Consistency::default(),
            guidance: 1.0,
            guidance_interval: (0.2, 5.0),
        }),
        ..config(mdct(), 2)
    };
    let error = begin(alone, &set, &folder.path().join("no"), None);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("expected a model to begin from"), "{error}");
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

#[test]
fn rendering_can_be_stopped_between_steps() {
    let (folder, set) = tones();
    let (_, model) = train(
        config(mdct(), 2),
        &set,
        &folder.path().join("run"),
        u64::MAX,
    );
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

#[test]
fn a_sound_does_not_depend_on_its_batch_and_lengths_are_kept() {
    let (folder, set) = tones();
    let (_, mut model) = train(
        TrainConfig {
            attributes: false,
            ..config(mdct(), 60)
        },
        &set,
        &folder.path().join("run"),
        u64::MAX,
    );
    // As of a model of loops: nothing is moved to its onset, and sounds can be compared sample by sample.
    model.config.crop = Some(Crop::Anywhere);
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    let settings = RenderSettings {
        steps: 6,
        trim: false,
        ..renderer.settings()
    };
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
        assert_eq!(clip.len_frames(), (seconds * RATE as f64).round() as usize);
    }
    // A weak variation stays near the sound, the strongest forgets it.
    let vary = |strength| RenderSettings {
        init: Some(Init::Vary {
            clip: alone.clone(),
            strength,
        }),
        ..settings.clone()
    };
    let forgotten = renderer.render(&vary(1.0), 6).unwrap().clip;
    assert_eq!(forgotten, alone, "at 1 nothing of the original is left");
    let near = renderer.render(&vary(0.05), 9).unwrap().clip;
    let far = renderer.render(&vary(1.0), 9).unwrap().clip;
    let distance_to = |sound: &Clip, clip: &Clip| {
        let pairs = clip.channels()[0].iter().zip(&sound.channels()[0]);
        pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>()
    };
    let distance = |clip: &Clip| distance_to(&alone, clip);
    assert!(
        distance(&near) < 0.3 * distance(&far),
        "{} {}",
        distance(&near),
        distance(&far)
    );
    // Between two sounds lies neither; at either end, the one that is there.
    let other = &together[2].clip;
    let morph = |fraction| {
        let settings = RenderSettings {
            steps: 40,
            init: Some(Init::Morph {
                clips: [alone.clone(), other.clone()],
                fraction,
            }),
            ..settings.clone()
        };
        let mut steps = Vec::new();
        let clip = renderer.render_with(&settings, 0, &mut |progress| {
            steps.push((progress.step, progress.steps));
            ControlFlow::Continue(())
        });
        assert!(steps.iter().copied().eq((1..=79).map(|step| (step, 79))));
        clip.unwrap().clip
    };
    let apart = distance_to(&alone, other);
    assert!(distance(&morph(0.0)) < 0.05 * apart);
    let end = distance_to(other, &morph(1.0));
    assert!(end < 0.05 * apart, "{end} of {apart}");
    let middle = morph(0.5);
    let both = [distance(&middle), distance_to(other, &middle)];
    assert!(
        both.iter().all(|d| *d > 0.1 * apart && *d < 0.9 * apart),
        "{both:?} of {apart}"
    );
    // So too where sampling draws noise, and there is no inversion.
    let morph = |fraction| {
        let settings = RenderSettings {
            steps: 4,
            sampler: Sampler::Consistency,
            schedule: Schedule::Consistency,
            init: Some(Init::Morph {
                clips: [alone.clone(), other.clone()],
                fraction,
            }),
            ..settings.clone()
        };
        renderer.render(&settings, 0).unwrap().clip
    };
    let ends = [distance(&morph(0.0)), distance_to(other, &morph(1.0))];
    assert!(
        ends.iter().all(|d| *d < 0.05 * apart),
        "{ends:?} of {apart}"
    );
    let middle = morph(0.5);
    let both = [distance(&middle), distance_to(other, &middle)];
    assert!(both.iter().all(|d| *d > 0.1 * apart), "{both:?} of {apart}");
}

fn mel() -> RepresentationConfig {
    RepresentationConfig::Mel {
        n_fft: 256,
        hop: 64,
        mels: 24,
        floor_db: -60.0,
        stereo: Stereo::Image,
    }
}

/// A run's checkpoint before its first step, and what its classes were taken for.
fn begun(
    config: TrainConfig,
    sounds: &Dataset,
    folder: &Path,
    from: &Checkpoint,
) -> Result<(Checkpoint, Vec<ClassMatch>), Error> {
    let run = &folder.join("begun");
    let _ = std::fs::remove_dir_all(run);
    let trainer = begin(config, sounds, run, Some(from))?;
    Ok((trainer.checkpoint()?, trainer.matched_classes().to_vec()))
}

#[test]
fn a_model_is_tuned_to_other_lengths_rates_and_channels() {
    let (folder, set) = tones();
    let plain = config(mel(), 3);
    let (_, mono) = train(plain.clone(), &set, &folder.path().join("run"), u64::MAX);
    let own = mono.config.statistics.clone();
    let as_format = |format: Format| {
        let options = ScanOptions::default();
        let sounds = folder.path().join("sounds");
        let set = Dataset::open(&sounds, format, &options, &mut |_, _| ()).unwrap();
        let config = TrainConfig {
            format,
            ..plain.clone()
        };
        (set.0, config)
    };
    // Longer, shorter, at other hertz: the network and what it knows stay as they are.
    for (sample_rate, len_frames) in [(RATE, 2 * LEN), (RATE, LEN / 2), (6000, LEN), (16_000, LEN)]
    {
        let (set, config) = as_format(Format {
            sample_rate,
            channels: 1,
            len_frames,
        });
        let (model, _) = begun(config.clone(), &set, folder.path(), &mono).unwrap();
        assert_eq!(
            (model.config.format, &model.config.statistics),
            (config.format, &own)
        );
        assert_eq!(bits(&model), bits(&mono));
    }
    // Stereo: what is new in a row begins unheard, at its mean over the new sounds.
    let (set, config) = as_format(Format {
        channels: 2,
        ..plain.format
    });
    let (stereo, _) = begun(config.clone(), &set, folder.path(), &mono).unwrap();
    let width = mel().width(2);
    let statistics = &stereo.config.statistics;
    assert_eq!(
        (statistics.mean.len(), statistics.scale.len()),
        (width, width)
    );
    assert_eq!(
        (&statistics.mean[..24], &statistics.scale[..24]),
        (&own.mean[..], &own.scale[..])
    );
    let fitted = mel()
        .fit(
            &config.format,
            &mut set.train().iter().map(|&i| set.clip(i)),
        )
        .unwrap();
    assert_eq!(statistics.mean[24..], fitted.mean[24..]);
    let columns = |tensor: &candle_core::Tensor, from: usize, n: usize| {
        let part = tensor.narrow(1, from, n).unwrap().flatten_all().unwrap();
        part.to_vec1::<f32>().unwrap()
    };
    let (old, new) = (&mono.weights["out.weight"], &stereo.weights["out.weight"]);
    assert_eq!(columns(new, 0, 24), columns(old, 0, 24));
    assert!(columns(new, 24, width - 24).iter().all(|&w| w == 0.0));
    // Where the mid of a sound that was mono is larger, it is taken for that: the network hears the same.
    for representation in [mdct(), RepresentationConfig::Wave { patch: 8 }] {
        let name = representation.name();
        let (mono_set, one) = as_format(plain.format);
        let one = TrainConfig {
            representation,
            ..one
        };
        let (_, mono) = train(one.clone(), &mono_set, &folder.path().join(name), u64::MAX);
        let (set, two) = as_format(config.format);
        let two = TrainConfig {
            representation: one.representation.clone(),
            ..two
        };
        let (stereo, _) = begun(two, &set, folder.path(), &mono).unwrap();
        let sound = mono_set.clip(0).unwrap();
        let both = Clip::new(RATE, vec![sound.channels()[0].clone(); 2]);
        let rows = |model: &Checkpoint, clip: &Clip| {
            let config = &model.config;
            let built = config
                .representation
                .build(&config.format, &config.statistics);
            built.unwrap().encode(clip).unwrap()
        };
        let (one, two) = (rows(&mono, &sound), rows(&stereo, &both));
        for (one, two) in one.data.chunks(one.width).zip(two.data.chunks(two.width)) {
            let off = one
                .iter()
                .zip(two)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(off < 1e-3, "{name}: {off}");
        }
    }
    // It learns, renders in stereo, and goes back to mono.
    let run = folder.path().join("stereo");
    let open = |set| begin(config.clone(), set, &run, Some(&mono));
    open(&set)
        .unwrap()
        .run(&mut |_| ControlFlow::Continue(()))
        .unwrap();
    let stereo = Checkpoint::load(&run.join("model.safetensors")).unwrap();
    let renderer = Renderer::new(&stereo, &Device::Cpu).unwrap();
    let settings = RenderSettings {
        steps: 2,
        ..RenderSettings::of(&stereo.config)
    };
    let clip = renderer.render(&settings, 1).unwrap();
    assert_eq!(clip.clip.channels().len(), 2);
    let (set, config) = as_format(plain.format);
    let (back, _) = begun(config, &set, folder.path(), &stereo).unwrap();
    assert_eq!(
        (&back.config.statistics, back.config.format),
        (&own, plain.format)
    );
    let (wide, own) = (&stereo.weights["out.weight"], &back.weights["out.weight"]);
    assert_eq!(columns(own, 0, 24), columns(wide, 0, 24));
    // A length that the network cannot take is refused.
    let (set, config) = as_format(Format {
        len_frames: 64 * 17,
        ..plain.format
    });
    let error = begun(config, &set, folder.path(), &mono)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected a multiple of 2 frames, found 17"),
        "{error}"
    );
}

#[test]
fn labels_take_the_rows_of_the_classes_that_they_mean() {
    let (folder, set) = tones();
    let (_, model) = train(
        config(mdct(), 2),
        &set,
        &folder.path().join("run"),
        u64::MAX,
    );
    let mut model = model;
    model.config.labels = vec!["hat_open".into(), "kick".into()];
    let sounds = folder.path().join("sounds");
    for (old, new) in [("low", "BD"), ("high", "Open Hats")] {
        std::fs::rename(sounds.join(old), sounds.join(new)).unwrap();
    }
    let (begun, matched) = begun(config(mdct(), 2), &open(&sounds), folder.path(), &model).unwrap();
    assert_eq!(
        begun.config.labels,
        ["BD", "Open Hats"],
        "its own names stay"
    );
    let row = |model: &Checkpoint, i: usize| {
        let row = model.weights["classes"].get(i).unwrap();
        row.to_vec1::<f32>().unwrap()
    };
    assert_eq!(row(&begun, 1), row(&model, 2));
    assert_eq!(row(&begun, 2), row(&model, 1));
    let meant: Vec<_> = matched
        .iter()
        .map(|found| (&*found.label, &*found.classes))
        .collect();
    let (kick, hat) = (["kick".to_owned()], ["hat_open".to_owned()]);
    assert_eq!(meant, [("BD", &kick[..]), ("Open Hats", &hat[..])]);
}

/// The model as an earlier edition wrote it: conditioned on changes that its frames do not hold.
fn with_old_descriptors(model: &Checkpoint) -> Checkpoint {
    let mut old = model.clone();
    let names = ["polarity", "varispeed", "tilt", "decay", "gain"];
    old.config.descriptors = names.map(str::to_owned).to_vec();
    let table = &model.weights["descriptors"];
    let width = table.dims2().unwrap().1;
    let row = |value: f32| candle_core::Tensor::full(value, (1, width), &Device::Cpu).unwrap();
    let rest = table.narrow(0, 3, table.dims2().unwrap().0 - 3).unwrap();
    let first = table.narrow(0, 0, 3).unwrap();
    let table = candle_core::Tensor::cat(&[&row(0.25), &first, &row(-0.5), &rest], 0).unwrap();
    old.weights.insert("descriptors".into(), table);
    old
}

#[test]
fn what_frames_do_not_hold_is_neither_learnt_nor_offered() {
    let (folder, set) = tones();
    let changed = TrainConfig {
        augment: Some(dataset::Augment::default()),
        ..config(mel(), 4)
    };
    let (_, model) = train(changed.clone(), &set, &folder.path().join("run"), u64::MAX);
    assert_eq!(model.config.descriptors, ["varispeed", "tilt", "decay"]);
    let old = with_old_descriptors(&model);
    let names = old.config.descriptor_names();
    assert_eq!(names[..4], ["varispeed", "tilt", "decay", "attack"]);
    assert!(!names.contains(&"gain".into()) && !names.contains(&"polarity".into()));
    // Those are given as neutral: what their rows said before, they say after.
    let run = folder.path().join("tuned");
    let mut trainer = begin(changed, &set, &run, Some(&old)).unwrap();
    trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
    let tuned = Checkpoint::load(&run.join("model.safetensors")).unwrap();
    let row = |model: &Checkpoint, i: usize| {
        let row = model.weights["descriptors"].get(i).unwrap();
        row.to_vec1::<f32>().unwrap()
    };
    for (i, name) in old.config.descriptors.iter().enumerate() {
        let same = row(&tuned, i) == row(&old, i);
        assert_eq!(same, name == "polarity" || name == "gain", "{name}");
    }
    let renderer = Renderer::new(&tuned, &Device::Cpu).unwrap();
    let set_to = |name: &str| {
        let settings = RenderSettings {
            descriptors: vec![(name.into(), -1.0)],
            steps: 1,
            ..RenderSettings::of(&tuned.config)
        };
        renderer.render(&settings, 1)
    };
    assert!(set_to("tilt").is_ok());
    let error = set_to("gain").unwrap_err().to_string();
    assert!(
        error.contains("over mel frames, which hold neither the level of a sound nor the sign of its wave, it changes"),
        "{error}"
    );
    // A model over waveforms is conditioned on all of them.
    let (_, wave) = train(
        config(mdct(), 1),
        &set,
        &folder.path().join("wave"),
        u64::MAX,
    );
    assert_eq!(wave.config.descriptors.len(), 5);
}

#[test]
fn attributes_can_be_left_out_for_good_and_crops_are_told() {
    let (folder, set) = tones();
    let (_, model) = train(
        config(mdct(), 2),
        &set,
        &folder.path().join("run"),
        u64::MAX,
    );
    assert_eq!(model.config.attributes.len(), set.train().len());
    let without = TrainConfig {
        attributes: false,
        licence: Some("CC0".into()),
        ..config(mdct(), 2)
    };
    let mut licensed = model.clone();
    licensed.config.training.licence = Some("MIT".into());
    let (plain, _) = begun(without, &set, folder.path(), &licensed).unwrap();
    assert!(plain.config.attributes.is_empty());
    assert_eq!(plain.config.descriptor_names(), plain.config.descriptors);
    assert_eq!(
        plain.weights["descriptors"].dims()[0],
        plain.config.descriptors.len()
    );
    // Its licence is what was said of these sounds, never that of what it began from.
    assert_eq!(plain.config.training.licence.as_deref(), Some("CC0"));
    let (silent, _) = begun(config(mdct(), 2), &set, folder.path(), &licensed).unwrap();
    assert_eq!(silent.config.training.licence, None);
    let before = silent.config.training.before.unwrap();
    assert_eq!((before.steps, before.clips), (2, 16));
    assert_eq!(silent.config.training.totals().steps, 2);
    // Clips from anywhere: as many places as make a choice, each conditioned on what it is like.
    let options = ScanOptions {
        crop: dataset::Crop::Anywhere,
        ..ScanOptions::default()
    };
    let format = config(mdct(), 1).format;
    let sounds = folder.path().join("sounds");
    let anywhere = Dataset::open(&sounds, format, &options, &mut |_, _| ())
        .unwrap()
        .0;
    let (model, _) = begun(config(mdct(), 2), &anywhere, folder.path(), &model).unwrap();
    assert_eq!(model.config.crop, Some(dataset::Crop::Anywhere));
    assert!(model.config.attributes.len() >= 256);
    for label in 0..2 {
        assert!(
            model
                .config
                .attributes
                .iter()
                .any(|kept| kept.0 == Some(label))
        );
    }
}

#[test]
fn a_model_that_learning_only_spoils_is_kept_as_it_was() {
    let (folder, set) = tones();
    let (_, model) = train(
        config(mdct(), 150),
        &set,
        &folder.path().join("run"),
        u64::MAX,
    );
    let mut spoil = config(mdct(), 500);
    spoil.learning_rate.peak = 0.5;
    (spoil.validate_every, spoil.patience) = (2, NonZeroU64::new(3));
    let (straight, resumed) = (
        folder.path().join("straight"),
        folder.path().join("resumed"),
    );
    let tune = |run: &Path, stop_at: u64| {
        let mut trainer = begin(spoil.clone(), &set, run, Some(&model)).unwrap();
        let stop = &mut |event: Event<'_>| match event {
            Event::Step(report) if report.step == stop_at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        trainer.run(stop).unwrap();
        let kept = Checkpoint::load(&run.join("model.safetensors")).unwrap();
        (trainer.step(), trainer.best_step(), kept)
    };
    let (steps, best, kept) = tune(&straight, u64::MAX);
    assert_eq!((steps, best), (6, Some(0)));
    assert_eq!(bits(&kept), bits(&model));
    tune(&resumed, 3);
    let (steps, best, again) = tune(&resumed, u64::MAX);
    assert_eq!((steps, best), (6, Some(0)));
    assert_eq!(bits(&again), bits(&model));
    assert_eq!(
        again.config.training.validation_loss,
        kept.config.training.validation_loss
    );
}
