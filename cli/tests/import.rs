//! Dance Diffusion checkpoints of the published size through the binary: what an import takes of memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../../tests/reference/forms.rs"]
mod forms;

use forms::FORMS;

/// `VmHWM` of a process, in bytes, as long as it is there.
fn peak_memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

/// Every form at the published size. `--nocapture` shows times and memory.
#[test]
#[ignore = "takes Python with PyTorch, 9 GB of disk and some minutes; Linux only"]
fn full_sizes_are_imported_in_little_more_memory_than_they_have_in_16_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/dance.py");
    let made = Command::new("python3")
        .args([script.as_os_str(), "--full".as_ref()])
        .arg(folder.path())
        .status();
    assert!(made.expect("python3").success());
    let mut first: Option<Vec<u8>> = None;
    for (form, rate) in FORMS {
        let out = folder.path().join("imported.safetensors");
        let start = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_audiodiff"));
        command.arg("import").arg(folder.path().join(form));
        command.args(["--f16", "--name", "full", "--length", "65536", "-o"]);
        command.arg(&out).stdout(Stdio::null());
        if let Some(rate) = rate {
            command.args(["--sample-rate", &rate.to_string()]);
        }
        let mut child = command.spawn().expect("audiodiff");
        let mut peak = 0;
        while child.try_wait().expect("a child").is_none() {
            peak = peak_memory(child.id()).unwrap_or(0).max(peak);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(child.wait().expect("a child").success(), "{form}");
        let bytes = fs::read(&out).expect("a model");
        let fraction = peak as f64 / bytes.len() as f64;
        println!(
            "{form}: {:.1} s, peak {:.0} MB, {fraction:.2} of the {:.0} MB written",
            start.elapsed().as_secs_f64(),
            peak as f64 / 1e6,
            bytes.len() as f64 / 1e6
        );
        assert!(fraction < 1.3, "{form}: {fraction}");
        // The weights; what comes before them tells the forms apart.
        let weights = bytes[bytes.len() - 2 * 221_389_322..].to_vec();
        match &first {
            None => first = Some(weights),
            Some(first) => assert!(*first == weights, "{form}: other weights"),
        }
    }
    let start = Instant::now();
    let model =
        audiodiff::import::load(&folder.path().join("imported.safetensors")).expect("a model");
    println!("loaded in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(model.config.format.len_frames, 65_536);
}
