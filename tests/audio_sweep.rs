//! Damaged sound files of every format: read, told or refused, soon and in little memory.
//!
//! A test of its own, for it measures what the process takes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use audiodiff::Error;
use audiodiff::audio;
use audiodiff::noise::Noise;

#[allow(dead_code)] // Its other half is for other tests.
mod corpus;

/// Rounds for each file; more than 500 in all.
const ROUNDS: u64 = 16;

/// The address space that the process has or had at most, in bytes: what is claimed counts, touched or not. Elsewhere
/// than on Linux it is not known.
fn memory(of: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(of));
    line.and_then(|line| {
        line.trim_start_matches(':')
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    })
    .map_or(0, |kb| kb << 10)
}

/// The files, small ones of every kind that is read.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = ["wav", "aiff"]
        .iter()
        .flat_map(|format| corpus::files(format))
        .collect();
    let sounds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sounds");
    for entry in fs::read_dir(sounds).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("long") && !name.ends_with(".md") {
            files.push((name, fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn damaged_headers_take_neither_long_nor_much() {
    let files = files();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound");
    let (mut tried, mut read) = (0, 0);
    let mut slowest = (Duration::ZERO, String::new());
    let before = memory("VmSize");
    for (which, (name, bytes)) in files.iter().enumerate() {
        for round in 0..ROUNDS {
            let mut noise = Noise::at(7, &[which as u64, round]);
            let other = &files[noise.below(files.len())].1;
            let damaged = corpus::damaged(bytes, other, &mut noise);
            fs::write(&path, &damaged).unwrap();
            let start = Instant::now();
            match audio::decode(&path, None) {
                Ok(decoded) => {
                    read += 1;
                    assert!(
                        decoded.clip.len_frames() > 0 && decoded.seconds >= decoded.clip.seconds()
                    );
                }
                Err(Error::Sound { .. } | Error::EmptySound { .. }) => {}
                Err(error) => panic!("{name}, round {round}: {error}"),
            }
            tried += 1;
            slowest = slowest.max((start.elapsed(), format!("{name}, round {round}")));
            let peak = memory("VmPeak").saturating_sub(before) >> 20;
            assert!(peak < 200, "{name}, round {round}: {peak} MB");
        }
    }
    println!(
        "{tried} files, {read} of them read; the slowest {slowest:?}; at most {} MB",
        memory("VmPeak").saturating_sub(before) >> 20
    );
    assert!(tried >= 500 && read >= 100, "{tried} tried, {read} read");
    assert!(slowest.0 < Duration::from_secs(1), "{slowest:?}");
}
