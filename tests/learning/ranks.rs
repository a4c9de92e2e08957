//! Several ranks that train one model.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use audiodiff::Result;
use audiodiff::dataset::{Augment, Dataset};
use audiodiff::error::Error;
use audiodiff::group::Group;
use audiodiff::train::{Event, Outcome, StepReport, TrainConfig, Trainer, read_stats};
use candle_core::Device;

use crate::tones::{config, mdct, open_as, tones};

/// A training of this many steps, of seven clips a step: no number of ranks here divides them.
fn of_seven(steps: u64) -> TrainConfig {
    TrainConfig {
        batch: NonZeroUsize::new(7),
        augment: Some(Augment::default()),
        validate_every: 5,
        ..config(mdct(), steps)
    }
}

/// Trains in `folder` with so many ranks; `stop` says of a rank's event whether it breaks off. Only rank 0 is told the
/// folder: the others get one that is not there.
fn together(
    size: usize,
    config: &TrainConfig,
    sounds: &Dataset,
    folder: &Path,
    stop: impl Fn(usize, &Event<'_>) -> bool + Sync,
) -> Vec<Result<Outcome>> {
    let one = |group: Group| {
        let rank = group.rank();
        let folder = match rank {
            0 => folder.to_owned(),
            _ => folder.with_file_name("elsewhere"),
        };
        let mut trainer = Trainer::open_in(
            Arc::new(group),
            config.clone(),
            sounds,
            &folder,
            None,
            &Device::Cpu,
            &mut |_, _| ControlFlow::Continue(()),
        )?;
        trainer.run(&mut |event| match stop(rank, &event) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    };
    let found = std::thread::scope(|scope| {
        let ranks = Group::threads(size).into_iter();
        let ranks: Vec<_> = ranks.map(|group| scope.spawn(|| one(group))).collect();
        let found = ranks.into_iter().map(|rank| rank.join().unwrap());
        found.collect()
    });
    assert!(
        !folder.with_file_name("elsewhere").exists(),
        "rank 0 alone writes"
    );
    found
}

/// Trains to the end.
fn trained(size: usize, config: &TrainConfig, sounds: &Dataset, folder: &Path) -> Vec<StepReport> {
    for outcome in together(size, config, sounds, folder, |_, _| false) {
        assert_eq!(outcome.unwrap(), Outcome::Finished);
    }
    read_stats(&folder.join("stats.jsonl")).unwrap()
}

/// The files of a run that must agree to the bit.
fn model(folder: &Path) -> Vec<u8> {
    let state = audiodiff::checkpoint::load_tensors(&folder.join("state.safetensors")).unwrap();
    let mut bytes = Vec::new();
    for (name, tensor) in state.0 {
        bytes.extend(name.bytes());
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes
}

/// Whether the losses, norms and validations are the same but for rounding.
fn assert_near(found: &[StepReport], expected: &[StepReport]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-3;
        let is_near = near(found.loss.into(), expected.loss.into())
            && near(found.grad_norm, expected.grad_norm)
            && found.validation.is_some() == expected.validation.is_some()
            && (found.validation.iter().zip(expected.validation))
                .all(|(&a, b)| near(a.into(), b.into()));
        assert!(is_near, "{found:?} {expected:?}");
        let place = |report: &StepReport| (report.step, report.clips, report.learning_rate);
        assert_eq!(place(found), place(expected));
    }
    // Before anything was learnt, nothing but the order of a sum differs.
    assert!((found[0].loss / expected[0].loss - 1.0).abs() < 1e-6);
}

#[test]
fn ranks_have_the_losses_of_one_process_and_the_same_bits_on_every_run() {
    let (folder, sounds) = tones();
    let config = of_seven(20);
    let at = |name: &str| folder.path().join(name);
    let alone = trained(1, &config, &sounds, &at("1"));
    assert_eq!(alone.len(), 20);
    for size in [2, 3, 7] {
        let (first, again) = (at(&format!("{size}")), at(&format!("{size} again")));
        assert_near(&trained(size, &config, &sounds, &first), &alone);
        trained(size, &config, &sounds, &again);
        assert!(model(&first) == model(&again), "{size} ranks");
    }
}

#[test]
fn a_run_of_ranks_goes_on_to_the_same_bits_and_with_another_number_of_them() {
    let (folder, sounds) = tones();
    let config = of_seven(12);
    let at = |name: &str| folder.path().join(name);
    let whole = trained(2, &config, &sounds, &at("whole"));
    // The last rank alone asks for the end.
    let stop = |rank: usize, event: &Event<'_>| matches!(event, Event::Step(report) if report.step == 5 && rank == 1);
    for (size, folder) in [(2, at("2")), (3, at("3")), (1, at("1"))] {
        for outcome in together(2, &config, &sounds, &folder, stop) {
            assert_eq!(outcome.unwrap(), Outcome::Stopped);
        }
        assert_eq!(read_stats(&folder.join("stats.jsonl")).unwrap().len(), 5);
        assert_near(&trained(size, &config, &sounds, &folder), &whole);
        assert_eq!(model(&folder) == model(&at("whole")), size == 2, "{size}");
    }
}

#[test]
fn patience_ends_all_ranks_at_the_same_step() {
    let (folder, sounds) = tones();
    let mut config = TrainConfig {
        patience: NonZeroU64::new(2),
        validate_every: 1,
        ..of_seven(40)
    };
    // Nothing is learnt, so nothing gets better.
    config.learning_rate.peak = 1e-9;
    config.learning_rate.decay = 1.0;
    let ended = |size: usize| {
        let folder = folder.path().join(size.to_string());
        trained(size, &config, &sounds, &folder).len()
    };
    assert_eq!((ended(1), ended(3)), (ended(2), ended(2)));
    assert!(ended(2) < 40);
}

#[test]
fn fewer_clips_than_ranks_are_refused_and_so_are_ranks_with_other_sounds() {
    let (folder, sounds) = tones();
    let run = folder.path().join("run");
    let found = together(8, &of_seven(2), &sounds, &run, |_, _| false);
    let refused = found[0].as_ref().expect_err("too few clips").to_string();
    let expected = "batch: expected at least a clip a step for each of the 8 ranks, found 7";
    assert_eq!(refused, expected);
    for other in &found[1..] {
        assert!(matches!(other, Err(Error::Rank { .. })), "{other:?}");
    }
    assert!(!run.exists(), "nothing was begun");

    let fewer = folder.path().join("fewer");
    std::fs::create_dir_all(fewer.join("low")).unwrap();
    std::fs::create_dir_all(fewer.join("high")).unwrap();
    for name in ["low/0.wav", "low/1.wav", "high/0.wav", "high/1.wav"] {
        std::fs::copy(folder.path().join("sounds").join(name), fewer.join(name)).unwrap();
    }
    let config = of_seven(2);
    let fewer = open_as(&fewer, config.format, &audiodiff::ScanOptions::default());
    let found: Vec<_> = std::thread::scope(|scope| {
        let sets = [&sounds, &fewer];
        let ranks = Group::threads(2).into_iter().zip(sets);
        let ranks: Vec<_> = ranks
            .map(|(group, set)| {
                let (run, config) = (&run, config.clone());
                scope.spawn(move || {
                    let (group, cpu) = (Arc::new(group), Device::Cpu);
                    let on_progress = &mut |_, _| ControlFlow::Continue(());
                    let opened = Trainer::open_in(group, config, set, run, None, &cpu, on_progress);
                    opened?.run(&mut |_| ControlFlow::Continue(()))
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    let refused = found[1].as_ref().expect_err("other sounds").to_string();
    assert!(
        refused.starts_with("rank 1: expected to be given the same as rank 0")
            && refused.contains("other sounds"),
        "{refused}"
    );
    let ended = found[0].as_ref().expect_err("rank 1 is gone").to_string();
    assert_eq!(ended, "rank 1: it ended before the others");
}
