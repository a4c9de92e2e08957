//! Gathers the recorded sounds: tables say which, packages and repositories hold them.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use audiodiff::audio;

use crate::card::{self, Terms};
use crate::procedural;
use crate::repository::{self, Recording, Repository};
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

/// The sounds to take from packages, one a line, tab-separated: `label/file`, package, kind, item.
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

impl Row<'_> {
    /// What holds it, in the folder of everything unpacked.
    fn file(&self, unpacked: &Path) -> PathBuf {
        let place = unpacked.join(self.package.place);
        match self.origin {
            Origin::File(name) => place.join(name),
            Origin::Sample(_) | Origin::Note { .. } => place,
        }
    }

    /// What sounds in it: its name, but for the key of a note.
    fn instrument(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        match self.origin {
            Origin::Note { .. } => stem.rsplit_once("_k").map_or(stem, |(stem, _)| stem),
            _ => stem,
        }
    }
}

/// Where [`collect`] reads and writes.
#[derive(Debug)]
pub struct Places<'a> {
    /// Holds the unpacked packages and the repositories.
    pub unpacked: &'a Path,
    /// A new folder for the sounds to learn.
    pub out: &'a Path,
    /// A new folder for the sounds that no training sees.
    pub held_out: &'a Path,
}

/// How many sounds [`collect`] wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    pub learnt: usize,
    pub held_out: usize,
}

/// Makes the two folders: the sounds of the tables found in `unpacked`, our own of seed 0, `LICENSES/`, `CARD.md` and
/// `manifest.csv`.
///
/// Without `every_family` only sounds under [`LABELS`] are made.
///
/// # Errors
/// When a folder is not empty (old sounds would be trained on with the new), and when sounds are missing. With
/// `partial` those are named, and left out.
pub fn collect(places: &Places, every_family: bool, partial: bool) -> anyhow::Result<Counts> {
    let &Places {
        unpacked,
        out,
        held_out,
    } = places;
    for folder in [out, held_out] {
        ensure!(
            !folder.exists() || fs::read_dir(folder)?.next().is_none(),
            "{} is not empty",
            folder.display()
        );
    }
    let wanted = |label: &str| every_family || LABELS.contains(&label);
    let mut rows = rows(TABLE)?;
    rows.retain(|row| wanted(row.label));
    let repositories = repository::repositories()?;
    let mut recordings = repository::recordings(&repositories)?;

    // Nothing is left out in silence.
    let mut files: BTreeSet<PathBuf> = rows.iter().map(|row| row.file(unpacked)).collect();
    files.extend(recordings.iter().flat_map(|r| r.files(unpacked)));
    files.retain(|file| !file.is_file());
    for file in &files {
        let file = file.strip_prefix(unpacked).unwrap_or(file);
        eprintln!("missing: {}", file.display());
    }
    ensure!(
        partial || files.is_empty(),
        "{} files are missing in {}",
        files.len(),
        unpacked.display()
    );
    rows.retain(|row| !files.contains(&row.file(unpacked)));
    recordings.retain(|r| r.files(unpacked).all(|file| !files.contains(&file)));

    let mut learnt = Manifest::default();
    from_packages(&rows, unpacked, out, &mut learnt)?;
    for path in procedural::write(out, 0, None)? {
        let stem = path.file_stem().expect("sounds are files");
        let line = Line {
            instrument: &stem.to_string_lossy(),
            author: "audiodiff",
            licence: card::OWN,
            source: "audiodiff",
        };
        learnt.add(out, &path, &line)?;
    }
    let mut apart = Manifest::default();
    let (held, taken): (Vec<_>, Vec<_>) =
        (recordings.iter()).partition(|recording| recording.repository.held_out);
    from_repositories(&taken, unpacked, out, &mut learnt)?;
    from_repositories(&held, unpacked, held_out, &mut apart)?;

    learnt.write(out)?;
    apart.write(held_out)?;
    let card = out.join("CARD.md");
    fs::write(&card, card::text(&terms(&rows, &taken), &taken))
        .with_context(|| format!("cannot write {}", card.display()))?;
    Ok(Counts {
        learnt: learnt.lines.len(),
        held_out: apart.lines.len(),
    })
}

/// The terms of every sound that is learnt.
fn terms<'a>(rows: &'a [Row], recordings: &[&'a Recording]) -> Vec<Terms<'a>> {
    let of_packages = rows.iter().map(|row| (row.label, row.package.licence));
    let of_repositories = recordings.iter().map(|r| (r.label(), r.licence));
    let own = procedural::counts()
        .flat_map(|(label, count)| std::iter::repeat_n((label, card::OWN), count));
    of_packages.chain(of_repositories).chain(own).collect()
}

/// Package by package, so that one font at a time is in memory.
fn from_packages(
    rows: &[Row],
    unpacked: &Path,
    out: &Path,
    manifest: &mut Manifest,
) -> anyhow::Result<()> {
    for package in PACKAGES {
        let rows: Vec<&Row> = (rows.iter())
            .filter(|row| row.package.name == package.name)
            .collect();
        if rows.is_empty() {
            continue;
        }
        let font = OnceCell::new();
        let font = || match font.get() {
            Some(font) => Ok(font),
            None => {
                Font::open(&unpacked.join(package.place)).map(|opened| font.get_or_init(|| opened))
            }
        };
        for row in rows {
            let to = out.join(row.path);
            create_parent(&to)?;
            match &row.origin {
                Origin::File(_) => copy(&row.file(unpacked), &to)?,
                Origin::Sample(names) => font()?.sample(names)?.write(&to)?,
                Origin::Note { program, key } => font()?.note(*program, *key)?.write(&to)?,
            }
            let line = Line {
                instrument: row.instrument(),
                author: "",
                licence: package.licence,
                source: package.name,
            };
            manifest.add(out, &to, &line)?;
        }
        for notice in package.notices {
            keep_notice(&unpacked.join(notice), package.name, out)?;
        }
    }
    Ok(())
}

fn from_repositories(
    recordings: &[&Recording],
    unpacked: &Path,
    out: &Path,
    manifest: &mut Manifest,
) -> anyhow::Result<()> {
    let mut seen: Vec<&Repository> = Vec::new();
    for recording in recordings {
        let to = out.join(recording.path);
        create_parent(&to)?;
        recording.make(unpacked)?.write(&to)?;
        let repository = recording.repository;
        let line = Line {
            instrument: &format!("{}__{}", repository.source, recording.instrument),
            author: recording.author,
            licence: recording.licence,
            source: &format!("github.com/{}@{}", repository.name, repository.commit),
        };
        manifest.add(out, &to, &line)?;
        if seen.iter().all(|seen| seen.source != repository.source) {
            seen.push(repository);
        }
    }
    for repository in seen {
        for notice in &repository.notices {
            keep_notice(
                &repository.folder(unpacked).join(notice),
                repository.source,
                out,
            )?;
        }
    }
    Ok(())
}

/// Copies a text into `out/LICENSES/`, under its name and its folder's behind that of its source: two folders of a
/// source may hold texts of one name.
fn keep_notice(notice: &Path, source: &str, out: &Path) -> anyhow::Result<()> {
    let name = notice.file_name().expect("notices are files").display();
    let mut to = out.join("LICENSES").join(format!("{source}.{name}"));
    if to.exists() {
        let folder = notice.parent().and_then(Path::file_name);
        let folder = folder.expect("texts of one name lie in folders").display();
        to.set_file_name(format!("{source}.{folder}.{name}"));
    }
    create_parent(&to)?;
    copy(notice, &to)
}

/// What the manifest says of a sound besides what the sound itself tells.
struct Line<'a> {
    instrument: &'a str,
    author: &'a str,
    licence: &'a str,
    source: &'a str,
}

/// The sounds of a folder with their authors and licences.
#[derive(Debug, Default)]
struct Manifest {
    /// Cells in the order of `HEAD`.
    lines: Vec<[String; 9]>,
}

impl Manifest {
    /// Training goes by the first three, of which `group` is the instrument.
    const HEAD: [&'static str; 9] = [
        "path",
        "label",
        "group",
        "author",
        "licence",
        "source",
        "sample_rate",
        "seconds",
        "channels",
    ];

    /// Adds the sound at `path` inside `out`, reading it: what is listed can be trained on.
    fn add(&mut self, out: &Path, path: &Path, line: &Line) -> anyhow::Result<()> {
        let clip = audio::read(path)?;
        let path = path
            .strip_prefix(out)
            .expect("the sound is in the folder")
            .to_string_lossy();
        let path = path.replace('\\', "/");
        let (label, _) = path
            .split_once('/')
            .expect("the sound is in its label's folder");
        self.lines.push([
            path.clone(),
            label.to_owned(),
            line.instrument.to_owned(),
            line.author.to_owned(),
            line.licence.to_owned(),
            line.source.to_owned(),
            clip.sample_rate().to_string(),
            format!("{:.4}", clip.seconds()),
            clip.channels().len().to_string(),
        ]);
        Ok(())
    }

    /// Into `out/manifest.csv`, sorted by path, whatever the order of adding.
    fn write(&mut self, out: &Path) -> anyhow::Result<()> {
        self.lines.sort();
        let path = out.join("manifest.csv");
        let write = || -> csv::Result<()> {
            fs::create_dir_all(out)?;
            let mut writer = csv::Writer::from_path(&path)?;
            writer.write_record(Self::HEAD)?;
            for line in &self.lines {
                writer.write_record(line)?;
            }
            Ok(writer.flush()?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
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
        let expected = [65, 2, 23, 111, 23, 6, 45, 63, 107, 35, 19, 38, 64, 52];
        assert_eq!(counts, LABELS.into_iter().zip(expected).collect());
    }

    #[test]
    fn table_names_no_file_twice_and_stays_in_its_folders() {
        let rows = rows(TABLE).unwrap();
        let paths: BTreeSet<_> = rows.iter().map(|row| row.path).collect();
        assert_eq!(paths.len(), rows.len());
        for row in &rows {
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
        let (full, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(full.path().join("mine.wav"), "").unwrap();
        for (out, held_out) in [(&full, &empty), (&empty, &full)] {
            let places = Places {
                unpacked: Path::new("/nowhere"),
                out: out.path(),
                held_out: held_out.path(),
            };
            let error = collect(&places, false, true).unwrap_err();
            assert!(error.to_string().contains("is not empty"), "{error}");
            assert_eq!(fs::read_dir(full.path()).unwrap().count(), 1);
            assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn nothing_is_made_of_a_part_unless_a_part_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let [unpacked, out, held_out] = ["unpacked", "out", "held"].map(|f| folder.path().join(f));
        let places = Places {
            unpacked: &unpacked,
            out: &out,
            held_out: &held_out,
        };
        let error = collect(&places, false, false).unwrap_err().to_string();
        assert!(error.contains("files are missing in"), "{error}");
        assert!(!out.exists() && !held_out.exists());

        // One recording of a repository that no training sees, and none else.
        let repositories = repository::repositories().unwrap();
        let recordings = repository::recordings(&repositories).unwrap();
        let path = "clap/kathmo__clap-1.wav";
        let recording = recordings.iter().find(|r| r.path == path).unwrap();
        let quiet = audio::Clip::new(44_100, vec![vec![0.25; 1_000]]);
        for file in recording.files(&unpacked) {
            create_parent(&file).unwrap();
            // Told apart by content: what is called Ogg may be a WAV file.
            audio::write_wav(&file, &quiet, audio::BitDepth::Int16).unwrap();
        }
        let repository = recording.repository;
        for notice in &repository.notices {
            fs::write(repository.folder(&unpacked).join(notice), "terms").unwrap();
        }
        let counts = collect(&places, false, true).unwrap();
        let own = procedural::counts().map(|(_, count)| count).sum();
        assert_eq!(
            counts,
            Counts {
                learnt: own,
                held_out: 1
            }
        );
        let manifest = fs::read_to_string(held_out.join("manifest.csv")).unwrap();
        let line = manifest.lines().nth(1).unwrap();
        assert!(
            line.starts_with("clap/kathmo__clap-1.wav,clap,kathmo__clap-1,young_daddy,CC0-1.0,")
        );
        assert!(held_out.join(path).is_file());
        assert!(held_out.join("LICENSES/kathmo.README.md").is_file());
        // Training reads the manifest: every sound has its label and its group.
        let manifest = fs::read_to_string(out.join("manifest.csv")).unwrap();
        assert!(manifest.starts_with("path,label,group,"), "{manifest}");
        assert_eq!(manifest.lines().count(), 1 + own);
    }

    #[test]
    fn the_model_card_counts_and_thanks_as_the_tables_do() {
        let mut rows = rows(TABLE).unwrap();
        rows.retain(|row| LABELS.contains(&row.label));
        let repositories = repository::repositories().unwrap();
        let recordings = repository::recordings(&repositories).unwrap();
        let learnt: Vec<&Recording> = (recordings.iter())
            .filter(|r| !r.repository.held_out)
            .collect();
        let readme = include_str!("../../README.md");
        let text = card::text(&terms(&rows, &learnt), &learnt);
        for part in text.split("\n\n") {
            assert!(readme.contains(part.trim_end()), "the card lacks:\n{part}");
        }
    }
}
