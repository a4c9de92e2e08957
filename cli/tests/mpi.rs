//! What `mpirun` starts: ranks that train one model, and share what is to be rendered.
//!
//! These tests need a build with the `mpi` feature, and `mpirun` on the path.

mod fixture;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use audiodiff::train::{StepReport, read_stats};
use fixture::{done, fails, small_network, sounds, text};
use serde_json::Value;

/// A training that ends or is ended takes no longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary, started by `mpirun` on this machine's cores, more often than there are cores.
fn mpirun(ranks: usize) -> Command {
    let mut command = Command::new("mpirun");
    // Of Open MPI, which runs as root, in containers, only where it is told to.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    command.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.args(["--oversubscribe", "-n", &ranks.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_audiodiff"));
    command.env("RAYON_NUM_THREADS", "1");
    command
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .expect("mpirun is installed: ./setup.sh --mpi")
}

/// Runs so many ranks and expects success; returns stdout.
fn together(ranks: usize, args: &[&str]) -> Vec<u8> {
    let output = output(mpirun(ranks).args(args));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    output.stdout
}

/// Runs two ranks and expects failure; returns stderr.
fn fail_together(args: &[&str]) -> String {
    let output = output(mpirun(2).args(args));
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The flags of a small training from nothing in `run`.
fn training<'a>(wavs: &'a Path, run: &'a Path, steps: &'a str) -> Vec<&'a str> {
    let mut args = vec!["train", text(wavs), "--out", text(run)];
    args.extend(small_network("16x1,16x1"));
    args.extend([
        "--batch",
        "5",
        "--validate-every",
        "10",
        "--precision",
        "f32",
    ]);
    args.extend(["--steps", steps, "--threads", "1"]);
    args
}

fn stats(run: &Path) -> Vec<StepReport> {
    read_stats(&run.join("stats.jsonl")).unwrap()
}

/// The tensors of a run's state, whose other numbers have the time in them.
fn state(run: &Path) -> BTreeMap<String, Vec<f32>> {
    let path = run.join("state.safetensors");
    let (tensors, _) = audiodiff::checkpoint::load_tensors(&path).unwrap();
    let values = |tensor: &candle_core::Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    let each = tensors.iter();
    each.map(|(name, tensor)| (name.clone(), values(tensor).unwrap()))
        .collect()
}

#[test]
fn two_ranks_train_as_one_process_does_and_to_the_same_bits_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let wavs = at("wavs");
    sounds(&wavs, 8);
    done(&training(&wavs, &at("alone"), "20"));
    for name in ["first", "again"] {
        together(2, &training(&wavs, &at(name), "20"));
    }
    together(3, &training(&wavs, &at("three"), "20"));
    let alone = stats(&at("alone"));
    assert_eq!(alone.len(), 20);
    for name in ["first", "three"] {
        let found = stats(&at(name));
        assert_eq!(found.len(), 20, "one rank writes");
        for (found, expected) in found.iter().zip(&alone) {
            let near = |a: f32, b: f32| (a / b - 1.0).abs() < 1e-3;
            assert!(near(found.loss, expected.loss), "{found:?} {expected:?}");
            let validations = found.validation.zip(expected.validation);
            assert!(
                validations.is_none_or(|(a, b)| near(a, b)),
                "{found:?} {expected:?}"
            );
            assert_eq!(found.clips, expected.clips);
        }
    }
    assert!(state(&at("first")) == state(&at("again")));
    // Another number of ranks goes on, and so does one process.
    together(3, &training(&wavs, &at("first"), "24"));
    done(&training(&wavs, &at("first"), "26"));
    assert_eq!(stats(&at("first")).len(), 26);
}

/// Starts a training of two ranks that saves after every step, and waits until it has done so a few times.
fn begun(wavs: &Path, run: &Path, steps: &str) -> Child {
    let mut command = mpirun(2);
    command
        .args(training(wavs, run, steps))
        .args(["--save-every", "0"]);
    let spawned = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
    let child = spawned.expect("mpirun is installed: ./setup.sh --mpi");
    let start = Instant::now();
    while stats(run).len() < 4 {
        assert!(start.elapsed() < PATIENCE, "a few steps are done");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// The processes that this one has started, and those that they have, which are the ranks.
fn ranks_of(parent: u32) -> Vec<u32> {
    let mut ranks = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        if field("PPid:") == parent.to_string() && field("Name:") == "audiodiff" {
            ranks.push(id);
        }
    }
    ranks.sort_unstable();
    ranks
}

/// Whether a process is there, and not merely its exit code.
fn is_running(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let state = status.lines().find(|line| line.starts_with("State:"));
    state.is_some_and(|state| !state.contains('Z'))
}

/// Waits for the end; returns whether it was a good one, and stderr.
fn end_of(mut child: Child) -> (bool, String) {
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "the job ends");
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (status.success(), said)
}

#[test]
fn a_rank_that_is_killed_ends_the_job_and_what_was_saved_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let wavs = at("wavs");
    sounds(&wavs, 8);
    let child = begun(&wavs, &at("killed"), "400");
    let ranks = ranks_of(child.id());
    assert_eq!(ranks.len(), 2);
    let kill = Command::new("kill")
        .args(["-9", &ranks[1].to_string()])
        .status();
    assert!(kill.unwrap().success());
    let (success, said) = end_of(child);
    assert!(!success && said.contains("rank 1"), "{said}");
    let start = Instant::now();
    while is_running(ranks[0]) {
        assert!(start.elapsed() < PATIENCE, "the other rank ends too");
        std::thread::sleep(Duration::from_millis(20));
    }
    // At most the step under way when it was killed was not saved.
    let path = at("killed").join("model.safetensors");
    let saved = audiodiff::Checkpoint::load(&path)
        .unwrap()
        .config
        .training
        .steps;
    let begun = stats(&at("killed")).len() as u64;
    assert!(saved < 400 && saved + 2 >= begun, "{saved} {begun}");
    for run in ["killed", "whole"] {
        together(2, &training(&wavs, &at(run), "400"));
    }
    assert!(state(&at("killed")) == state(&at("whole")));
    let losses = |run: &str| -> Vec<f32> { stats(&at(run)).iter().map(|step| step.loss).collect() };
    assert_eq!(losses("killed"), losses("whole"));
}

#[test]
fn an_interrupt_saves_and_ends_all_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let wavs = at("wavs");
    sounds(&wavs, 8);
    let child = begun(&wavs, &at("run"), "100000");
    // As srun and job managers do it, to one of the processes.
    let rank = ranks_of(child.id())[1];
    let kill = Command::new("kill")
        .args(["-INT", &rank.to_string()])
        .status();
    assert!(kill.unwrap().success());
    let (success, said) = end_of(child);
    assert!(success && said.contains("stopped after"), "{said}");
    assert!(said.matches("stopped after").count() == 1, "{said}");
}

#[test]
fn an_error_is_said_once_with_its_rank_and_ends_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let wavs = at("wavs");
    sounds(&wavs, 4);
    let mut args = training(&wavs, Path::new("run"), "5");
    let (run, out) = (
        at("run"),
        args.iter().position(|arg| *arg == "run").unwrap(),
    );
    args[out] = text(&run);
    let batch = args.iter().position(|arg| *arg == "5").unwrap();
    args[batch] = "1";
    let said = fail_together(&args);
    let expected = "rank 0 of 2: error: batch: expected at least a clip a step for each of the 2 ranks, found 1";
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    assert!(said.contains(expected), "{said}");
    assert!(!run.exists());
    let refused = fail_together(&["eval", "--reference", text(&wavs)]);
    assert!(
        refused.contains("only train and render share their work"),
        "{refused}"
    );
}

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            (
                path.file_name().unwrap().into(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn ranks_render_the_files_of_one_process_and_keep_what_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name).join("s.wav");
    let (alone, shared) = (out("alone"), out("shared"));
    let render = |out: &Path| -> Vec<String> {
        let args = [
            "render", "-n", "21", "--seed", "5", "--steps", "1", "--jsonl", "-o",
        ];
        let args = args.into_iter().chain([text(out)]);
        args.map(str::to_owned).collect()
    };
    let lines = |bytes: &[u8]| -> Vec<Value> {
        let lines = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty());
        let mut lines: Vec<Value> = lines
            .map(|line| serde_json::from_slice(line).expect("a line is whole"))
            .collect();
        lines.sort_by_key(|line| line["seed"].as_u64());
        for line in &mut lines {
            line["path"] = Value::Null;
        }
        lines
    };
    let own = render(&alone);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let told = lines(&done(&own));
    let both = render(&shared);
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    assert_eq!(lines(&together(2, &both)), told);
    let whole = files(alone.parent().unwrap());
    assert_eq!(whole.len(), 21);
    assert!(files(shared.parent().unwrap()) == whole);
    // One file is lost, one is damaged, one is of another seed.
    let file = |number: u32| shared.with_file_name(format!("s-{number:02}.wav"));
    std::fs::remove_file(file(3)).unwrap();
    let mut bytes = std::fs::read(file(12)).unwrap();
    bytes[1000] ^= 4;
    std::fs::write(file(12), bytes).unwrap();
    std::fs::copy(file(1), file(20)).unwrap();
    let again = lines(&together(3, &both));
    let made: Vec<u64> = (again.iter())
        .filter(|line| line.get("kept").is_none())
        .map(|line| line["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(made, [7, 16, 24]);
    assert_eq!(again.len(), 21);
    assert!(files(shared.parent().unwrap()) == whole);
    let refused = fails(
        2,
        &["render", "-o", text(&shared), "-n", "2", "--shard", "1/2"],
    );
    assert!(refused.contains("expected --seed"), "{refused}");
}
