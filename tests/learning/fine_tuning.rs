//! A model goes on with other sounds, classes and formats, and says at first what it said before.

use std::ops::ControlFlow;
use std::path::Path;

use audiodiff::Error;
use audiodiff::audio::Clip;
use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{self, Dataset, ScanOptions};
use audiodiff::optim::LearningRate;
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff::representation::{Format, RepresentationConfig, WaveConfig};
use audiodiff::train::{ClassMatch, Distillation, Event, Loss, TrainConfig};
use candle_core::{Device, Tensor};

use super::tones::*;

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
fn tuning_keeps_known_classes_and_begins_new_ones_at_their_mean() {
    let (folder, set) = tones();
    let model = trained(config(mdct(), 3), &set, folder.path());
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
    let now = trainer.checkpoint().unwrap();
    assert_eq!(row("classes", &now, 0), row("classes", &model, 0));
    assert_eq!(
        row("classes", &now, 1),
        row("classes", &model, 1),
        "`high` keeps its row"
    );
    let mean: Vec<f32> = row("classes", &model, 1)
        .iter()
        .zip(row("classes", &model, 2))
        .map(|(a, b)| (a + b) / 2.0)
        .collect();
    assert!(
        row("classes", &now, 2)
            .iter()
            .zip(mean)
            .all(|(a, b)| (a - b).abs() < 1e-6),
        "`thud` begins at the mean"
    );
    // A model of another shape is refused in words.
    let mut other = config(RepresentationConfig::Wave(WaveConfig { patch: 32 }), 3);
    other.name = "other".into();
    let error = begin(other, &renamed, &folder.path().join("x"), Some(&model)).unwrap_err();
    assert!(error.to_string().contains("representation"), "{error}");
}

#[test]
fn labels_take_the_rows_of_the_classes_that_they_mean() {
    let (folder, set) = tones();
    let model = trained(config(mdct(), 2), &set, folder.path());
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
    assert_eq!(row("classes", &begun, 1), row("classes", &model, 2));
    assert_eq!(row("classes", &begun, 2), row("classes", &model, 1));
    let meant: Vec<_> = matched
        .iter()
        .map(|found| (&*found.label, &*found.classes))
        .collect();
    let (kick, hat) = (["kick".to_owned()], ["hat_open".to_owned()]);
    assert_eq!(meant, [("BD", &kick[..]), ("Open Hats", &hat[..])]);
}

/// A mono model over `representation` that trained for three steps, and what it trained on.
struct Mono {
    folder: tempfile::TempDir,
    set: Dataset,
    config: TrainConfig,
    model: Checkpoint,
}

impl Mono {
    fn over(representation: RepresentationConfig) -> Self {
        let (folder, set) = tones();
        let config = config(representation, 3);
        let model = trained(config.clone(), &set, folder.path());
        Self {
            folder,
            set,
            config,
            model,
        }
    }

    /// The same sounds in another format, and its configuration in it.
    fn in_format(&self, format: Format) -> (Dataset, TrainConfig) {
        let sounds = self.folder.path().join("sounds");
        let config = TrainConfig {
            format,
            ..self.config.clone()
        };
        (open_as(&sounds, format, &ScanOptions::default()), config)
    }

    fn in_stereo(&self) -> (Dataset, TrainConfig) {
        self.in_format(Format {
            channels: 2,
            ..self.config.format
        })
    }

    /// The checkpoint before the first step of a run that begins from `model`.
    fn begun(
        &self,
        from: &Checkpoint,
        (set, config): &(Dataset, TrainConfig),
    ) -> Result<Checkpoint, Error> {
        Ok(begun(config.clone(), set, self.folder.path(), from)?.0)
    }
}

/// `n` columns of the output's weights, from the column `from` on.
fn out_columns(model: &Checkpoint, from: usize, n: usize) -> Vec<f32> {
    let part = model.weights["out.weight"].narrow(1, from, n).unwrap();
    part.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn another_length_or_rate_changes_nothing_that_a_model_knows() {
    let mono = Mono::over(mel());
    for (sample_rate, len_frames) in [(RATE, 2 * LEN), (RATE, LEN / 2), (6000, LEN), (16_000, LEN)]
    {
        let format = Format {
            sample_rate,
            channels: 1,
            len_frames,
        };
        let model = mono.begun(&mono.model, &mono.in_format(format)).unwrap();
        assert_eq!(
            (model.config.format, &model.config.statistics),
            (format, &mono.model.config.statistics)
        );
        assert_eq!(bits(&model), bits(&mono.model));
    }
    // A length that the network cannot take is refused.
    let odd = mono.in_format(Format {
        len_frames: 64 * 17,
        ..mono.config.format
    });
    let error = mono.begun(&mono.model, &odd).unwrap_err().to_string();
    assert!(
        error.contains("expected a multiple of 2 frames, found 17"),
        "{error}"
    );
}

#[test]
fn a_mono_model_turns_stereo_learns_and_goes_back() {
    let mono = Mono::over(mel());
    let own = &mono.model.config.statistics;
    let (set, config) = &mono.in_stereo();
    let run = mono.folder.path().join("stereo");
    let mut trainer = begin(config.clone(), set, &run, Some(&mono.model)).unwrap();
    // New columns of a row begin unheard, at their mean over the new sounds.
    let begun = trainer.checkpoint().unwrap();
    let width = mel().width(2);
    let statistics = &begun.config.statistics;
    assert_eq!(
        (statistics.mean.len(), statistics.scale.len()),
        (width, width)
    );
    assert_eq!(
        (&statistics.mean[..24], &statistics.scale[..24]),
        (&own.mean[..], &own.scale[..])
    );
    let mut clips = set.train().iter().map(|&i| set.clip(i));
    let fitted = mel().fit(&config.format, &mut clips).unwrap();
    assert_eq!(statistics.mean[24..], fitted.mean[24..]);
    assert_eq!(statistics.scale[24..], fitted.scale[24..]);
    assert_eq!(out_columns(&begun, 0, 24), out_columns(&mono.model, 0, 24));
    assert!(
        out_columns(&begun, 24, width - 24)
            .iter()
            .all(|&w| w == 0.0)
    );

    trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
    let stereo = Checkpoint::load(&run.join("model.safetensors")).unwrap();
    assert!(
        out_columns(&stereo, 24, width - 24)
            .iter()
            .any(|&w| w != 0.0)
    );
    let renderer = Renderer::new(&stereo, &Device::Cpu).unwrap();
    let settings = RenderSettings {
        steps: 2,
        ..RenderSettings::of(&stereo.config)
    };
    let clip = renderer.render(&settings, 1).unwrap();
    assert_eq!(clip.clip.channels().len(), 2);
    let plain = mono.config.format;
    let back = mono.begun(&stereo, &mono.in_format(plain)).unwrap();
    assert_eq!((&back.config.statistics, back.config.format), (own, plain));
    assert_eq!(out_columns(&back, 0, 24), out_columns(&stereo, 0, 24));
}

#[test]
fn a_network_hears_the_mid_of_a_mono_sound_as_it_heard_the_sound() {
    for representation in [mdct(), RepresentationConfig::Wave(WaveConfig { patch: 8 })] {
        let name = representation.name();
        let mono = Mono::over(representation);
        let stereo = mono.begun(&mono.model, &mono.in_stereo()).unwrap();
        let sound = mono.set.clip(0).unwrap();
        let both = Clip::new(RATE, vec![sound.channels()[0].clone(); 2]);
        let rows = |model: &Checkpoint, clip: &Clip| {
            let config = &model.config;
            let built = config
                .representation
                .build(&config.format, &config.statistics);
            built.unwrap().encode(clip).unwrap()
        };
        let (one, two) = (rows(&mono.model, &sound), rows(&stereo, &both));
        for (one, two) in one.data.chunks(one.width).zip(two.data.chunks(two.width)) {
            let off = one
                .iter()
                .zip(two)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(off < 1e-3, "{name}: {off}");
        }
    }
}

/// The model as an earlier edition wrote it: conditioned on changes that its frames do not hold.
fn with_old_descriptors(model: &Checkpoint) -> Checkpoint {
    let mut old = model.clone();
    let names = ["polarity", "varispeed", "tilt", "decay", "gain"];
    old.config.descriptors = names.map(str::to_owned).to_vec();
    let table = &model.weights["descriptors"];
    let width = table.dims2().unwrap().1;
    let row = |value: f32| Tensor::full(value, (1, width), &Device::Cpu).unwrap();
    let rest = table.narrow(0, 3, table.dims2().unwrap().0 - 3).unwrap();
    let first = table.narrow(0, 0, 3).unwrap();
    let table = Tensor::cat(&[&row(0.25), &first, &row(-0.5), &rest], 0).unwrap();
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
    let model = trained(changed.clone(), &set, folder.path());
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
    for (i, name) in old.config.descriptors.iter().enumerate() {
        let same = row("descriptors", &tuned, i) == row("descriptors", &old, i);
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
    let model = trained(config(mdct(), 2), &set, folder.path());
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
    let anywhere = open_as(&sounds, format, &options);
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
fn a_distilled_model_says_at_once_what_its_guided_teacher_says() {
    let (folder, set) = tones();
    let run = folder.path().join("run");
    let (_, teacher) = train(config(mdct(), 200), &set, &run, u64::MAX);
    let distilling = TrainConfig {
        loss: Loss::Distillation(Distillation {
            objective: *config(mdct(), 1).loss.objective(),
            guidance: 3.0,
            guidance_interval: (0.2, 50.0),
        }),
        learning_rate: LearningRate {
            peak: 1e-3,
            warmup: 10,
            decay: 0.4,
        },
        ..config(mdct(), 120)
    };
    let out = folder.path().join("distilled");
    let open = || begin(distilling.clone(), &set, &out, Some(&teacher)).unwrap();
    let mut trainer = open();
    let before = trainer.validate().unwrap().expect("sounds are held back");
    // Interrupted and gone on with, as any training.
    trainer
        .run(&mut |event| match event {
            Event::Step(report) if report.step == 40 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .unwrap();
    drop(trainer);
    let mut trainer = open();
    assert_eq!(trainer.step(), 40);
    trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
    let after = trainer.validate().unwrap().expect("sounds are held back");
    // The loss is the distance to what the teacher says in two evaluations.
    assert!(after < 0.5 * before, "{after} of {before}");

    let student = Checkpoint::load(&out.join("model.safetensors")).unwrap();
    let settings = RenderSettings::of(&student.config);
    assert_eq!((settings.steps, settings.guidance), (4, 1.0));
    // Fine-tuned, it is a denoiser again, rendered as the teacher was.
    let out = folder.path().join("tuned");
    let tuning = config(mdct(), 2);
    let (_, tuned) = train_from(Some(&student), tuning, &set, &out, u64::MAX);
    let settings = RenderSettings::of(&tuned.config);
    assert_eq!((settings.steps, settings.guidance), (16, 3.0));
    // Without a teacher there is nothing to learn.
    let error = begin(distilling, &set, &folder.path().join("no"), None);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("expected a model to begin from"), "{error}");
}
