//! A run that was interrupted goes on to the bit, and one that may not go on is refused in words.

use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use audiodiff::Error;
use audiodiff::checkpoint::{Checkpoint, load_tensors, save_tensors};
use audiodiff::dataset::{self, Dataset};
use audiodiff::train::{Event, Length, Outcome, TrainConfig, read_stats};

use super::tones::*;

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
    assert!(refusal(&config, &set).contains("other settings: seed (--seed) is"));
    // A model whose state is gone is not overwritten by a run from nothing.
    std::fs::remove_file(resumed.join("state.safetensors")).unwrap();
    assert!(refusal(&config, &set).contains("no state.safetensors"));
}

#[test]
fn a_run_that_is_broken_off_within_steps_goes_on_to_the_bit() {
    let (folder, set) = tones();
    let mut config = config(mdct(), 14);
    (config.validate_every, config.patience) = (3, NonZeroU64::new(100));
    let (straight, broken) = (folder.path().join("straight"), folder.path().join("broken"));
    let (_, whole) = train(config.clone(), &set, &straight, u64::MAX);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.unwrap();
    let mut breaks = 0;
    let model = loop {
        let stop = Arc::new(AtomicBool::new(false));
        let bell = stop.clone();
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(400 * breaks));
            bell.store(true, Ordering::Relaxed);
        });
        let (outcome, model) = pool.install(|| {
            let mut trainer = begin(config.clone(), &set, &broken, None).unwrap();
            trainer.stop_with(stop);
            let outcome = trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
            trainer.save().unwrap();
            (outcome, trainer.checkpoint().unwrap())
        });
        ringer.join().unwrap();
        if outcome == Outcome::Finished {
            break model;
        }
        breaks += 1;
    };
    assert!(breaks > 1, "{breaks}");
    assert_eq!(bits(&whole), bits(&model));
    let stats = |run: &Path| {
        let stats = read_stats(&run.join("stats.jsonl")).unwrap().into_iter();
        stats
            .map(|r| (r.step, r.loss.to_bits(), r.validation.map(f32::to_bits)))
            .collect::<Vec<_>>()
    };
    assert_eq!(stats(&straight), stats(&broken));
}

/// Names in the state of a run, and those that version 0.1.0 wrote.
const NAMES_OF_0_1_0: [(&str, &str); 8] = [
    ("\"attributes\":", "\"portraits\":"),
    ("\"clips\":", "\"windows\":"),
    ("\"fine_tuned_from\":", "\"tuned_from\":"),
    ("\"p_mean\":", "\"log_sigma_mean\":"),
    ("\"p_std\":", "\"log_sigma_deviation\":"),
    ("\"min_snr_gamma\":", "\"weight_clip\":"),
    ("\"max_grad_norm_ratio\":", "\"clip_ratio\":"),
    ("\"grad_norm\":", "\"gradient_norm\":"),
];

#[test]
fn a_fine_tuning_of_version_0_1_0_goes_on_to_the_bit() {
    let (folder, set) = tones();
    let (_, teacher) = train(
        config(mdct(), 8),
        &set,
        &folder.path().join("teacher"),
        u64::MAX,
    );
    let tuning = config(mdct(), 8);
    let tune = |run: &Path, stop_at| train_from(Some(&teacher), tuning.clone(), &set, run, stop_at);
    let (straight, resumed) = (
        folder.path().join("straight"),
        folder.path().join("resumed"),
    );
    let (outcome, whole) = tune(&straight, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(tune(&resumed, 3).0, Outcome::Stopped);
    let state = resumed.join("state.safetensors");
    let (tensors, note) = load_tensors(&state).unwrap();
    let mut older = note;
    for (now, then) in NAMES_OF_0_1_0 {
        assert!(older.contains(now), "{now}: {older}");
        older = older.replace(now, then);
    }
    // There stood 0 for an absent patience.
    let older = older.replacen("\"objective\":", "\"patience\":0,\"objective\":", 1);
    save_tensors(&state, &tensors, &older).unwrap();
    let opened = begin(tuning.clone(), &set, &resumed, Some(&teacher)).unwrap();
    assert_eq!(opened.step(), 3);
    drop(opened);
    let (outcome, halves) = tune(&resumed, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(bits(&whole), bits(&halves));
}

#[test]
fn patience_ends_a_run_that_gets_worse_and_keeps_its_last_good_model() {
    let (folder, set) = tones();
    let mut config = config(mdct(), 2000);
    // Far too fast: after a while it forgets more than it learns.
    (config.learning_rate.peak, config.learning_rate.decay) = (0.05, 0.0);
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
    let validations = stats
        .iter()
        .filter_map(|report| Some((report.step, report.validation?)));
    let validations: Vec<(u64, f32)> = validations.collect();
    let lowest = validations.iter().copied().min_by(better).unwrap().0;
    assert_eq!(last.step, lowest + 3 * 5, "three that were no better");
    // The lowest, or one after it that may be as good.
    let step = model.config.training.steps;
    let loss = validations.iter().find(|validation| validation.0 == step);
    assert!((lowest..last.step).contains(&step), "{step} of {lowest}");
    assert_eq!(
        model.config.training.validation_loss,
        loss.map(|found| found.1)
    );
    // It is the model that was measured then.
    let short = TrainConfig {
        length: Length::Steps(2000),
        patience: None,
        ..config.clone()
    };
    let (_, then) = train(short, &set, &folder.path().join("short"), step);
    assert_eq!(bits(&model), bits(&then));
    // Who then wants no end by the validation gets what the run comes to, not what once was good.
    let on = folder.path().join("on");
    train(config.clone(), &set, &on, step + 7);
    let endless = TrainConfig {
        patience: None,
        ..config.clone()
    };
    let (_, later) = train(endless.clone(), &set, &on, step + 9);
    let (_, plain) = train(endless, &set, &folder.path().join("plain"), step + 9);
    assert_eq!(bits(&later), bits(&plain));
    // An interruption after that changes nothing, and there is nothing left to do at the end.
    train(config.clone(), &set, &resumed, step + 7);
    let (outcome, again) = train(config.clone(), &set, &resumed, u64::MAX);
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(bits(&model), bits(&again));
    let trainer = begin(config, &set, &resumed, None).unwrap();
    assert_eq!(
        (trainer.kept_step(), trainer.step(), trainer.progress()),
        (Some(step), last.step, 1.0)
    );
}

#[test]
fn a_model_that_learning_only_spoils_is_kept_as_it_was() {
    let (folder, set) = tones();
    let model = trained(config(mdct(), 150), &set, folder.path());
    let mut spoil = config(mdct(), 500);
    (spoil.learning_rate.peak, spoil.learning_rate.decay) = (0.5, 0.0);
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
        (trainer.step(), trainer.kept_step(), kept)
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
    // Where the rate is to fall, patience begins with that: at the first of the validations after half of 40 steps.
    spoil.length = Length::Steps(40);
    spoil.learning_rate.decay = 0.5;
    let falling = folder.path().join("falling");
    let mut trainer = begin(spoil, &set, &falling, Some(&model)).unwrap();
    trainer.run(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((trainer.step(), trainer.kept_step()), (22 + 2 * 2, Some(0)));
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
