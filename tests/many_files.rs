//! A folder of 50,000 files, in a program of its own: its memory is what is measured.

use std::fs;

use audiodiff::audio::{BitDepth, Clip, wav_bytes};
use audiodiff::dataset::{IssueKind, ScanOptions, check};
use audiodiff::noise::Noise;

const FILES: usize = 50_000;
const CLASSES: [&str; 4] = ["kick", "snare", "hat_closed", "clap"];

/// Most memory that this program ever had, MB.
#[cfg(target_os = "linux")]
fn most_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() >> 10
}

#[test]
fn a_folder_of_fifty_thousand_files_is_read_whole_and_told_in_bounded_memory() {
    let root = tempfile::tempdir().unwrap();
    for class in CLASSES {
        fs::create_dir(root.path().join(class)).unwrap();
    }
    let mut noise = Noise::new(8);
    let (mut sounds, mut silent, mut seconds) = (0, 0, 0.0);
    let mut first = None;
    for n in 0..FILES {
        let path = root.path().join(CLASSES[n % 4]).join(format!("{n}.wav"));
        match n % 5 {
            // A link to the first sound: half of what people have is there twice.
            1 | 3 => {
                #[cfg(unix)]
                std::os::unix::fs::symlink(first.as_ref().unwrap(), &path).unwrap();
                #[cfg(not(unix))]
                fs::copy::<&std::path::PathBuf, _>(first.as_ref().unwrap(), &path).unwrap();
            }
            4 => {
                let clip = Clip::new(8000, vec![vec![0.0; 80]]);
                fs::write(&path, wav_bytes(&clip, BitDepth::Int16).unwrap()).unwrap();
                silent += 1;
            }
            _ => {
                let samples = noise.normals(80).iter().map(|x| 0.2 * x).collect();
                let clip = Clip::new(8000, vec![samples]);
                fs::write(&path, wav_bytes(&clip, BitDepth::Int16).unwrap()).unwrap();
                first.get_or_insert(path);
                sounds += 1;
                seconds += clip.seconds();
            }
        }
    }
    let mut told = Vec::new();
    let mut on_progress = |done, all| told.push((done, all));
    let report = check(root.path(), &ScanOptions::default(), &mut on_progress).unwrap();
    assert_eq!((report.found, report.total.files), (FILES, sounds));
    assert!((report.total.seconds - seconds).abs() < 1e-6);
    let count = |kind| report.issues.iter().filter(|it| it.kind == kind).count();
    assert_eq!(count(IssueKind::Silent), silent);
    assert_eq!(count(IssueKind::Duplicate), FILES - sounds - silent);
    assert!(told.len() > 100 && told.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    #[cfg(target_os = "linux")]
    assert!(most_memory() <= 300, "{} MB", most_memory());
}
