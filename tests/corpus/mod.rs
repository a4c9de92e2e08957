//! Small files of every format that is read, and damaged ones made from them.
//!
//! The files lie in a folder for each format beside this one. The tests of `fuzz/` begin with the same ones; what they
//! find is put here, and is tried from then on.

use std::fs;
use std::path::{Path, PathBuf};

use audiodiff::noise::Noise;

/// The folder of a format's files.
pub fn folder(format: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("plugin") {
        package.join("..")
    } else {
        package.to_owned()
    };
    root.join("tests/corpus").join(format)
}

/// A format's files by name, in order.
pub fn files(format: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(format);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}: no files", folder.display());
    files
}

/// Gives every file to `check`, and `rounds` damaged ones made from each, always the same.
///
/// `check` gets a name for each file, its bytes, and whether they are as they lie in the folder.
pub fn try_all(format: &str, rounds: u64, mut check: impl FnMut(&str, &[u8], bool)) {
    let files = files(format);
    for (which, (name, bytes)) in files.iter().enumerate() {
        check(name, bytes, true);
        for round in 0..rounds {
            let mut noise = Noise::at(1, &[which as u64, round]);
            let other = &files[noise.below(files.len())].1;
            let damaged = damaged(bytes, other, &mut noise);
            check(&format!("{name}, round {round}"), &damaged, false);
        }
    }
}

/// Numbers that formats are careless about.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// `bytes` with one to six changes: of bits, bytes, numbers, order and length. `other` lends a part.
pub fn damaged(bytes: &[u8], other: &[u8], noise: &mut Noise) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + noise.below(6) {
        if bytes.is_empty() {
            break;
        }
        // Mostly in the header, where it hurts.
        let reach = if noise.chance(0.6) { 80 } else { bytes.len() };
        let at = noise.below(reach.min(bytes.len()));
        let len = 1 + noise.below(16.min(bytes.len() - at));
        match noise.below(9) {
            0 => bytes[at] ^= 1 << noise.below(8),
            1 => bytes[at] = noise.bits() as u8,
            2 => bytes[at] = bytes[at].wrapping_add(if noise.chance(0.5) { 1 } else { 255 }),
            3 => {
                // Either byte order: the edges are the same from both ends, or small from one.
                let mut number = EDGES[noise.below(EDGES.len())].to_le_bytes();
                let width = (1 << noise.below(4)).min(bytes.len() - at);
                if noise.chance(0.5) {
                    number[..width].reverse();
                }
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            4 => drop(bytes.drain(at..at + len)),
            5 => {
                let part = bytes[at..at + len].to_vec();
                let to = noise.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            6 if !other.is_empty() => {
                let from = noise.below(other.len());
                let part = &other[from..(from + 4 * len).min(other.len())];
                bytes.splice(at..at, part.iter().copied());
            }
            7 => bytes.truncate(noise.below(bytes.len())),
            _ => {
                let value = noise.bits() as u8;
                bytes[at..at + len].fill(value);
            }
        }
    }
    bytes
}
