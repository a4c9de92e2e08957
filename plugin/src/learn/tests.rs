use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use audiodiff::audio::{BitDepth, Clip, write_wav};
use audiodiff::checkpoint::{Checkpoint, StorageType};
use audiodiff::diffusion::Target;
use audiodiff::network::{NetworkConfig, UNetConfig};
use audiodiff::representation::{RepresentationConfig, WaveConfig};
use audiodiff::{Device, TrainConfig};

use super::*;

/// A process learns one folder at a time; so do its tests.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

static REMEMBERED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

const RATE: u32 = 8000;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let _alone = lock(&ONE_AT_A_TIME);
        let folder = tempfile::tempdir().unwrap();
        Self { folder, _alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self) -> Home {
        Home {
            learned: self.path("learned"),
            remember: |model| lock(&REMEMBERED).push(model.to_owned()),
        }
    }

    /// Decaying tones of 0.2 s in two classes.
    fn tones(&self) -> PathBuf {
        let root = self.path("My tones");
        for (class, hz) in [("low", 300.0), ("high", 1500.0)] {
            let folder = root.join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..6 {
                let tone = |t: usize| {
                    let t = t as f32 / RATE as f32;
                    (std::f32::consts::TAU * hz * (1.0 + 0.03 * i as f32) * t).sin()
                        * (-20.0 * t).exp()
                };
                let clip = Clip::new(RATE, vec![(0..RATE as usize / 5).map(tone).collect()]);
                write_wav(&folder.join(format!("{i}.wav")), &clip, BitDepth::Int16).unwrap();
            }
        }
        fs::write(root.join("low/notes.wav"), "no sound").unwrap();
        root
    }

    /// A model so small that its steps take milliseconds.
    fn small_model(&self, tones: &Path) -> PathBuf {
        let network = NetworkConfig::UNet(UNetConfig::preset("16x1,16x1").unwrap());
        let representation = RepresentationConfig::Wave(WaveConfig { patch: 32 });
        let mut config = TrainConfig::from_scratch(representation, Target::X, network).steps(1);
        config.set_format(Some(RATE), None, Some(0.2)).unwrap();
        let run = self.path("small");
        let (model, _) = config.train(None, tones, &run, &Device::Cpu).unwrap();
        let path = self.path("small.safetensors");
        model.save(&path, StorageType::F32).unwrap();
        path
    }

    fn begin(&self, folder: &Path, steps: u64, from: Option<&Path>) -> Result<Learning> {
        let options = LearningOptions {
            from: from.map(Path::to_owned),
            name: None,
        };
        let length = Length::Steps(steps);
        Learning::begin_at(
            self.home(),
            folder,
            length,
            options,
            RepaintNotifier::default(),
        )
    }

    fn go_on(&self, unfinished: &Unfinished) -> Result<Learning> {
        Learning::go_on_at(self.home(), unfinished, RepaintNotifier::default())
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        Learning::unfinished_at(&self.home())
    }

    /// Why a folder cannot be learnt.
    fn failure(&self, folder: &Path, from: &Path) -> String {
        let learning = self.begin(folder, 2, Some(from)).unwrap();
        let view = until(&learning, |view| view.state.is_over());
        let LearningState::Failed(sentence) = &view.state else {
            panic!("expected a failure, found {:?}", view.state);
        };
        drop(learning);
        assert_eq!(self.unfinished(), []);
        let left = fs::read_dir(self.path("learned")).unwrap().count();
        assert_eq!(left, 0, "nothing is left of {sentence}");
        sentence.clone()
    }
}

fn until(learning: &Learning, what: impl Fn(&LearningView) -> bool) -> Arc<LearningView> {
    let begun = Instant::now();
    loop {
        let view = learning.view();
        if what(&view) {
            return view;
        }
        assert!(begun.elapsed() < PATIENCE, "still {view:?}");
        assert!(!view.state.is_over(), "{:?}", view.state);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn weights(model: &Path) -> BTreeMap<String, Vec<u32>> {
    let weights = Checkpoint::load(model).unwrap().weights.into_iter();
    let bits = |(name, tensor): (String, candle_core::Tensor)| {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (name, values.into_iter().map(f32::to_bits).collect())
    };
    weights.map(bits).collect()
}

/// Threads of learnings in this process, where the system tells.
fn threads() -> Option<usize> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    // Names end after 15 bytes there.
    Some(
        tasks
            .filter_map(name)
            .filter(|name| name.trim() == "audiodiff-learn")
            .count(),
    )
}

#[test]
fn a_learning_that_is_broken_off_and_paused_ends_with_the_same_bits() {
    let bench = Bench::new();
    let tones = bench.tones();
    let small = bench.small_model(&tones);
    let straight = bench.begin(&tones, 40, Some(&small)).unwrap();
    let whole = until(&straight, |view| view.state == LearningState::Finished);
    drop(straight);
    let expected = bench.path("learned/My tones/My tones.safetensors");
    assert_eq!(whole.model.as_deref(), Some(&*expected));
    assert!(lock(&REMEMBERED).contains(&expected));
    assert_eq!(
        (whole.step, whole.progress, whole.name.as_str()),
        (40, 1.0, "My tones")
    );
    assert_eq!((whole.sounds, whole.left_out), (12, 1));
    assert_eq!(whole.reasons[0].file, Path::new("low/notes.wav"));
    let classes = whole
        .classes
        .iter()
        .map(|class| (class.name.as_str(), class.files));
    assert_eq!(classes.collect::<Vec<_>>(), [("high", 6), ("low", 6)]);
    assert_eq!(whole.classes[1].taken_for, ["low"]);
    assert_eq!(
        (whole.losses.len(), !whole.validations.is_empty()),
        (40, whole.held_back > 0)
    );
    assert!(!whole.demos.is_empty() && whole.demos[0].recipe().class.as_deref() == Some("high"));

    let learning = bench.begin(&tones, 40, Some(&small)).unwrap();
    let refused = bench.begin(&tones, 40, Some(&small)).map(drop).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("another folder is being learnt")
    );
    until(&learning, |view| view.step >= 5);
    assert_eq!(bench.unfinished(), [], "somebody is at work there");
    let begun = Instant::now();
    drop(learning);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert!(threads().is_none_or(|left| left == 0));
    let found = bench.unfinished();
    assert_eq!((found.len(), found[0].name.as_str()), (1, "My tones"));
    assert_eq!(found[0].folder, tones);
    assert!(
        (0.1..1.0).contains(&found[0].progress),
        "{}",
        found[0].progress
    );
    assert_eq!(
        found[0].run,
        bench.path("learned/My tones 2"),
        "the other stays as it is"
    );

    let learning = bench.go_on(&found[0]).unwrap();
    until(&learning, |view| view.step >= 12);
    learning.pause();
    let rests = until(&learning, |view| view.state == LearningState::Paused);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(learning.view().step, rests.step);
    learning.resume();
    // As soon as it goes on it is told to pause again, and the other way round.
    for _ in 0..5 {
        learning.pause();
        learning.resume();
    }
    let halves = until(&learning, |view| view.state == LearningState::Finished);
    drop(learning);
    assert_eq!(halves.losses, whole.losses);
    assert_eq!(halves.validations, whole.validations);
    let [one, other] = [&whole, &halves].map(|view| weights(view.model.as_ref().unwrap()));
    assert!(one == other && one != weights(&small));
    assert_eq!(bench.unfinished(), []);
    assert!(!bench.path("learned/My tones 2/state.safetensors").exists());

    let mut model = crate::model::open(halves.model.as_deref()).unwrap();
    assert!(model.info().name.starts_with("My tones "));
    let recipe = halves.demos[0].recipe().clone();
    let made = model.generate(&recipe, None, &mut |_| ControlFlow::Continue(()));
    let made = StoredSound::rendered(recipe, &made.unwrap()).measured();
    assert_eq!(
        made.clip(),
        halves.demos[0].clip(),
        "demo sounds are those of the model"
    );
}

#[test]
fn what_is_cancelled_is_kept_and_can_go_on() {
    let bench = Bench::new();
    let tones = bench.tones();
    let small = bench.small_model(&tones);
    let learner = Learner::default();
    let learning = bench.begin(&tones, 1_000_000, Some(&small)).unwrap();
    until(&learning, |view| view.step >= 3);
    *lock(&learner.current) = Some(learning);
    learner.pause();
    learner.cancel();
    learner.resume();
    let begun = Instant::now();
    let view = loop {
        let view = learner.view().unwrap();
        if view.state.is_over() {
            break view;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(view.state, LearningState::Stopped);
    let model = view.model.clone().unwrap();
    assert_eq!(model, bench.path("learned/My tones/My tones.safetensors"));
    assert!(lock(&REMEMBERED).contains(&model) && Checkpoint::load(&model).is_ok());
    learner.close();
    assert!(learner.view().is_none());
    let found = bench.unfinished();
    assert_eq!(found.len(), 1);
    // Without its folder it cannot; what was learnt stays.
    fs::rename(&tones, bench.path("elsewhere")).unwrap();
    let learning = bench.go_on(&found[0]).unwrap();
    let view = until(&learning, |view| {
        matches!(view.state, LearningState::Failed(_))
    });
    let LearningState::Failed(sentence) = &view.state else {
        unreachable!("it was waited for")
    };
    assert!(
        sentence.contains("My tones: expected a folder of sounds"),
        "{sentence}"
    );
    drop(learning);
    // Nor with other sounds in it.
    fs::rename(bench.path("elsewhere"), &tones).unwrap();
    fs::remove_file(tones.join("low/3.wav")).unwrap();
    let learning = bench.go_on(&found[0]).unwrap();
    let view = until(&learning, |view| {
        matches!(view.state, LearningState::Failed(_))
    });
    let LearningState::Failed(sentence) = &view.state else {
        unreachable!("it was waited for")
    };
    assert!(
        sentence.contains("`My tones` cannot go on as it began"),
        "{sentence}"
    );
    drop(learning);
    assert!(model.is_file());
    found.into_iter().for_each(|run| run.give_up().unwrap());
    assert_eq!(bench.unfinished(), []);
}

#[test]
fn what_was_cancelled_before_its_first_step_leaves_nothing() {
    let bench = Bench::new();
    let tones = bench.tones();
    let small = bench.small_model(&tones);
    let learning = bench.begin(&tones, 10, Some(&small)).unwrap();
    learning.cancel();
    let view = until(&learning, |view| view.state == LearningState::Stopped);
    if view.model.is_none() {
        assert!(!bench.path("learned/My tones").exists());
    }
    drop(learning);
    // What was left while it read goes on from its beginning.
    let learning = bench.begin(&tones, 10, Some(&small)).unwrap();
    learning.shared.wish(Wish::Leave);
    drop(learning);
    let found = bench.unfinished();
    assert_eq!(found.len(), 1);
    let learning = bench.go_on(&found[0]).unwrap();
    until(&learning, |view| view.state == LearningState::Finished);
}

#[test]
fn folders_that_cannot_be_learnt_are_told_in_a_sentence_and_leave_nothing() {
    let bench = Bench::new();
    let tones = bench.tones();
    let small = bench.small_model(&tones);
    let refused = |folder: &Path| {
        bench
            .begin(folder, 2, None)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let missing = refused(&bench.path("missing"));
    let none = fs::metadata(bench.path("missing")).unwrap_err();
    assert!(missing.contains(&format!("missing: {none}")), "{missing}");
    assert!(refused(&small).contains("expected a folder of sounds, found a file"));
    for minutes in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let begun = Learning::begin(&tones, minutes, LearningOptions::default());
        assert!(begun.map(drop).unwrap_err().to_string().contains("minutes"));
    }

    let bad = bench.path("bad");
    fs::create_dir(&bad).unwrap();
    let empty = bench.failure(&bad, &small);
    assert!(empty.contains("bad: expected sound files"), "{empty}");
    fs::write(bad.join("a.wav"), "words").unwrap();
    fs::write(bad.join("b.wav"), "").unwrap();
    let unreadable = bench.failure(&bad, &small);
    assert!(unreadable.contains("unreadable"), "{unreadable}");
    for name in ["a.wav", "b.wav"] {
        let short = Clip::new(RATE, vec![vec![0.5; 20]]);
        write_wav(&bad.join(name), &short, BitDepth::Int16).unwrap();
    }
    let short = bench.failure(&bad, &small);
    assert!(short.contains("short"), "{short}");
    fs::copy(tones.join("low/1.wav"), bad.join("a.wav")).unwrap();
    fs::copy(tones.join("low/1.wav"), bad.join("b.wav")).unwrap();
    let one = bench.failure(&bad, &small);
    assert!(
        one.contains("expected at least 3 different sounds") && one.contains("found 1"),
        "{one}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let set = |mode| fs::set_permissions(&bad, fs::Permissions::from_mode(mode)).unwrap();
        set(0o000);
        // Who may do everything reads it all the same.
        if fs::read_dir(&bad).is_err() {
            let denied = bench.failure(&bad, &small);
            assert!(denied.contains("cannot be read"), "{denied}");
        }
        set(0o755);
    }
    let lost = bench.failure(&tones, &bench.path("no model"));
    assert!(lost.contains("no model"), "{lost}");
    // Where runs are kept is no folder.
    fs::remove_dir(bench.path("learned")).unwrap();
    fs::write(bench.path("learned"), "").unwrap();
    assert!(refused(&tones).contains("learned"));
}

/// On Windows a folder at work cannot.
#[cfg(not(windows))]
#[test]
fn a_run_folder_that_vanishes_ends_the_learning_in_a_sentence() {
    let bench = Bench::new();
    let tones = bench.tones();
    let small = bench.small_model(&tones);
    let learning = bench.begin(&tones, 1_000_000, Some(&small)).unwrap();
    until(&learning, |view| view.step >= 3);
    fs::remove_dir_all(bench.path("learned/My tones")).unwrap();
    learning.pause();
    let view = until(&learning, |view| {
        matches!(view.state, LearningState::Failed(_))
    });
    assert!(
        format!("{:?}", view.state).contains("safetensors"),
        "{:?}",
        view.state
    );
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_built_in_model_is_broken_off_within_a_second_wherever_it_is() {
    let bench = Bench::new();
    let tones = bench.tones();
    let mut longest = Duration::ZERO;
    for moment in 0..8 {
        let learning = bench.begin(&tones, 1_000_000, None).unwrap();
        if moment > 1 {
            until(&learning, |view| view.state == LearningState::Learning);
        }
        // Within reading, the first validation, the first steps.
        std::thread::sleep(Duration::from_millis(130 * moment));
        let begun = Instant::now();
        drop(learning);
        longest = longest.max(begun.elapsed());
        assert!(threads().is_none_or(|left| left == 0));
    }
    // It takes 0.4 s at most on two cores; far beyond that, it has waited for the end of what goes on.
    println!("longest drop: {longest:?}");
    assert!(longest < Duration::from_secs(20), "{longest:?}");
}
