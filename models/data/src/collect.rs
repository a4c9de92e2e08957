//! Gathers the recorded sounds: a table says which, packages hold them.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use audiodiff::audio;

use crate::procedural;
use crate::soundfont::Font;

/// The labels the shipped model learns; the table holds sounds of others too.
pub const LABELS: [&str; 14] = [
    "bass",
    "clap",
    "cymbal",
    "fx",
    "hat_closed",
    "hat_open",
    "kick",
    "mallet",
    "perc",
    "pluck",
    "rim",
    "snare",
    "synth",
    "tom",
];

/// The sounds to take, one a line, tab-separated: `label/file`, package, kind, item.
///
/// The item of a `file` is its name in the package's folder, of a `sample` the names of its channels in
/// the package's SoundFont joined by ` + `, of a `note` General MIDI program and key.
const TABLE: &str = include_str!("../sounds.tsv");

/// A package we take sounds from, and where they lie once it is unpacked.
struct Package {
    name: &'static str,
    /// SPDX identifier of the terms of the sounds we take (not of all the package holds).
    licence: &'static str,
    /// A SoundFont, or the folder of the files.
    place: &'static str,
    /// Texts to keep with the sounds.
    notices: &'static [&'static str],
}

const PACKAGES: &[Package] = &[
    Package {
        name: "fluid-soundfont-gm",
        licence: "MIT",
        place: "usr/share/sounds/sf2/FluidR3_GM.sf2",
        notices: &["usr/share/doc/fluid-soundfont-gm/copyright"],
    },
    Package {
        name: "fluid-soundfont-gs",
        licence: "MIT",
        place: "usr/share/sounds/sf2/FluidR3_GS.sf2",
        notices: &["usr/share/doc/fluid-soundfont-gs/copyright"],
    },
    // Of this font only the drumline, which is CC0; the rest has other terms.
    Package {
        name: "musescore-general-soundfont-lossless",
        licence: "CC0-1.0",
        place: "usr/share/sounds/sf2/MuseScore_General_Full.sf2",
        notices: &["usr/share/doc/musescore-general-soundfont-lossless/copyright"],
    },
    Package {
        name: "exadrums",
        licence: "BSD-3-Clause",
        place: "usr/share/exadrums",
        notices: &["usr/share/doc/exadrums/copyright"],
    },
    // Of these kits only this one is CC0; the others are not ours to use.
    Package {
        name: "hydrogen-drumkits",
        licence: "CC0-1.0",
        place: "usr/share/hydrogen/data/drumkits/Audiophob",
        notices: &["usr/share/doc/hydrogen-drumkits/copyright"],
    },
    Package {
        name: "supersonic-scsynth-samples",
        licence: "CC0-1.0",
        place: "package/samples",
        notices: &["package/LICENSE", "package/PROVENANCE.md"],
    },
];

/// Where one sound comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin<'a> {
    File(&'a str),
    Sample(Vec<&'a str>),
    Note { program: i32, key: i32 },
}

/// One line of the table.
struct Row<'a> {
    label: &'a str,
    /// `label/file`, relative to the folder that is made.
    path: &'a str,
    package: &'static Package,
    origin: Origin<'a>,
}

fn rows(table: &str) -> anyhow::Result<Vec<Row<'_>>> {
    table
        .lines()
        .map(|line| row(line).with_context(|| format!("no line of a table of sounds: {line:?}")))
        .collect()
}

fn row(line: &str) -> anyhow::Result<Row<'_>> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [path, package, kind, item] = columns[..] else {
        return Err(anyhow!("expected 4 columns, found {}", columns.len()));
    };
    let (label, _) = path.split_once('/').context("expected label/file")?;
    let package = PACKAGES
        .iter()
        .find(|p| p.name == package)
        .with_context(|| format!("unknown package {package:?}"))?;
    let source = match kind {
        "file" => Origin::File(item),
        "sample" => Origin::Sample(item.split(" + ").collect()),
        "note" => {
            let (program, key) = item.split_once(' ').context("expected program and key")?;
            Origin::Note {
                program: program.parse()?,
                key: key.parse()?,
            }
        }
        _ => return Err(anyhow!("unknown kind {kind:?}")),
    };
    Ok(Row {
        label,
        path,
        package,
        origin: source,
    })
}

/// Makes `out`: the sounds of the table found in `unpacked`, our own of seed 0, `LICENSES/` and
/// `manifest.csv`. Returns how many sounds there are.
///
/// Without `every_family` only sounds under [`LABELS`] are made.
///
/// # Errors
/// When `out` is not empty (old sounds would be trained on with the new), and when a sound is missing.
pub fn collect(unpacked: &Path, out: &Path, every_family: bool) -> anyhow::Result<usize> {
    ensure!(
        !out.exists() || fs::read_dir(out)?.next().is_none(),
        "{} is not empty",
        out.display()
    );
    let mut manifest = Manifest::default();

    // Recorded sounds, package by package, so that one font at a time is in memory.
    let rows = rows(TABLE)?;
    for package in PACKAGES {
        let place = unpacked.join(package.place);
        let font = OnceCell::new();
        let font = || match font.get() {
            Some(font) => Ok(font),
            None => Font::open(&place).map(|opened| font.get_or_init(|| opened)),
        };
        for row in rows.iter().filter(|row| row.package.name == package.name) {
            if !every_family && !LABELS.contains(&row.label) {
                continue;
            }
            let to = out.join(row.path);
            create_parent(&to)?;
            match &row.origin {
                Origin::File(name) => copy(&place.join(name), &to)?,
                Origin::Sample(names) => font()?.sample(names)?.write(&to)?,
                Origin::Note { program, key } => font()?.note(*program, *key)?.write(&to)?,
            }
            manifest.add(out, &to, package.licence, package.name)?;
        }
        for notice in package.notices {
            let name = Path::new(notice)
                .file_name()
                .expect("notices are files")
                .display();
            let to = out
                .join("LICENSES")
                .join(format!("{}.{name}", package.name));
            create_parent(&to)?;
            copy(&unpacked.join(notice), &to)?;
        }
    }

    // Sounds of our own.
    for path in procedural::write(out, 0, None)? {
        manifest.add(out, &path, "MIT OR Apache-2.0", "audiodiff")?;
    }
    manifest.write(&out.join("manifest.csv"))?;
    Ok(manifest.lines.len())
}

/// The sounds of a folder with their authors and licences.
#[derive(Debug, Default)]
struct Manifest {
    lines: Vec<String>,
}

impl Manifest {
    const HEAD: &str = "path,label,licence,source_package,sample_rate,seconds,channels";

    /// Adds the sound at `path` inside `out`, reading it: what is listed can be trained on.
    fn add(&mut self, out: &Path, path: &Path, licence: &str, package: &str) -> anyhow::Result<()> {
        let clip = audio::read(path)?;
        let path = path
            .strip_prefix(out)
            .expect("the sound is in the folder")
            .to_string_lossy();
        let path = path.replace('\\', "/");
        let (label, _) = path
            .split_once('/')
            .expect("the sound is in its label's folder");
        self.lines.push(format!(
            "{path},{label},{licence},{package},{},{:.4},{}",
            clip.sample_rate(),
            clip.seconds(),
            clip.channels().len()
        ));
        Ok(())
    }

    /// Sorted by path, whatever the order of adding.
    fn write(&mut self, path: &Path) -> anyhow::Result<()> {
        self.lines.sort();
        let text = format!("{}\n{}\n", Self::HEAD, self.lines.join("\n"));
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn create_parent(path: &Path) -> anyhow::Result<()> {
    let folder = path
        .parent()
        .expect("a path joined to a folder has a parent");
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn table_has_the_recorded_sounds_the_model_card_counts() {
        let rows = rows(TABLE).unwrap();
        let mut counts = BTreeMap::new();
        for row in rows.iter().filter(|row| LABELS.contains(&row.label)) {
            *counts.entry(row.label).or_insert(0) += 1;
        }
        let expected = [65, 2, 23, 111, 23, 7, 47, 63, 107, 35, 19, 38, 64, 50];
        assert_eq!(counts, LABELS.into_iter().zip(expected).collect());
    }

    #[test]
    fn table_names_no_file_twice_and_stays_in_its_folders() {
        let rows = rows(TABLE).unwrap();
        let paths: BTreeSet<_> = rows.iter().map(|row| row.path).collect();
        assert_eq!(paths.len(), rows.len());
        for row in &rows {
            // The manifest quotes nothing.
            assert!(!row.path.contains([',', '"', '\\']), "{}", row.path);
            assert_eq!(row.path.matches('/').count(), 1, "{}", row.path);
            assert!(!row.path.contains("/."), "{}", row.path);
            let extension = Path::new(row.path).extension().unwrap();
            if let Origin::File(name) = row.origin {
                assert_eq!(
                    Path::new(name).extension().unwrap(),
                    extension,
                    "{}",
                    row.path
                );
                assert!(!name.contains('/'), "{}", row.path);
            } else {
                assert_eq!(extension, "wav", "{}", row.path);
            }
        }
    }

    #[test]
    fn only_terms_that_allow_a_shipped_model_are_listed() {
        for package in PACKAGES {
            assert!(
                ["CC0-1.0", "MIT", "BSD-3-Clause"].contains(&package.licence),
                "{}",
                package.name
            );
        }
        // Of two packages only a part has these terms.
        for row in rows(TABLE).unwrap() {
            if row.package.name == "musescore-general-soundfont-lossless" {
                let Origin::Sample(names) = &row.origin else {
                    panic!("{}", row.path)
                };
                let drumline = ["MBass-", "MSnr-", "MTnr-", "MCym"];
                assert!(
                    names
                        .iter()
                        .all(|name| drumline.iter().any(|d| name.starts_with(d)))
                );
            }
            if row.package.name == "hydrogen-drumkits" {
                assert!(row.package.place.ends_with("/Audiophob"));
            }
        }
    }

    #[test]
    fn lines_that_make_no_sense_are_refused_by_name() {
        for line in [
            "kick/a.wav\texadrums\tfile",
            "a.wav\texadrums\tfile\ta.wav",
            "kick/a.wav\tnobody\tfile\ta.wav",
            "kick/a.wav\texadrums\tsong\ta.wav",
            "kick/a.wav\tfluid-soundfont-gm\tnote\tthree 4",
        ] {
            let error = rows(line).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("no line of a table"), "{error}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("mine.wav"), "").unwrap();
        let error = collect(Path::new("/nowhere"), out.path(), false).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
