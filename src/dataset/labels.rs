//! Labels from the names of folders and files, and the choice among these where nobody says.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::folder::File;
use crate::names::{Kind, composed, words};

/// Where a sound's label comes from. Labels are in composed letters ([`composed`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Labels {
    /// [`Labels::Folders`] where the first level of folders tells what sounds are, or nothing does; [`Labels::Kinds`]
    /// where what lies below it does and it does not, as where it has the names of packs or where there are no folders.
    /// [`Report::labels_from`](super::Report::labels_from) has what was decided.
    #[default]
    Auto,
    /// The first level of folders below the root, as they are called; a file directly in the root has none.
    Folders,
    /// The folder that a file lies in, as it is called; a file directly in the root has none.
    Innermost,
    /// The kind of sound that the innermost folder tells whose name tells any (`Kicks` and `BD` are `kick`), else the
    /// name of the file. A folder that tells none beside some that do is a kind of its own, as it is called.
    Kinds,
    /// The kind of sound that the name of the file tells, else that name without its number.
    Names,
    /// A CSV file whose header names `path` and `label`. Paths are absolute, or relative to the root
    /// or to the manifest. Files it does not name have no label.
    Manifest(PathBuf),
    /// No sound has one.
    None,
}

impl Labels {
    /// The name by which it is chosen.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Folders => "folders",
            Self::Innermost => "innermost",
            Self::Kinds => "kinds",
            Self::Names => "names",
            Self::Manifest(_) => "manifest",
            Self::None => "none",
        }
    }

    /// Said of a file without a label, where others have one.
    pub(super) fn without(&self) -> &'static str {
        match self {
            Self::Auto | Self::Folders | Self::Innermost => "it lies in no folder",
            Self::Kinds => "neither its folders nor its name tell what kind of sound it is",
            Self::Names => "its name tells nothing",
            Self::Manifest(_) => "the manifest does not name it",
            Self::None => "none was asked for",
        }
    }
}

/// Where the labels of a folder's sounds came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LabelSource {
    /// [`Labels::name`] of what was asked for or, with [`Labels::Auto`], decided.
    pub by: &'static str,
    /// Why it was decided so; empty where it was asked for.
    pub why: String,
}

impl fmt::Display for LabelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.why {
            "" => f.write_str(self.by),
            why => write!(f, "{}: {why}", self.by),
        }
    }
}

/// Words that packs have in their names, besides numbers.
const PACK: [&str; 16] = [
    "pack",
    "kit",
    "vol",
    "volume",
    "library",
    "lib",
    "collection",
    "bundle",
    "sample",
    "sound",
    "wav",
    "drum",
    "oneshot",
    "vendor",
    "free",
    "edition",
];

/// What names tell of one file.
struct Told {
    /// The folders, outermost first, and what they tell.
    folders: Vec<(String, Option<Kind>)>,
    /// What its own name tells.
    own: Option<Kind>,
}

impl Told {
    fn of(relative: &Path) -> Self {
        let parent = relative.parent().unwrap_or(Path::new(""));
        let folder = |part: Component<'_>| {
            let name = composed(&part.as_os_str().to_string_lossy());
            let kind = Kind::within(&name);
            (name, kind)
        };
        Self {
            folders: parent.components().map(folder).collect(),
            own: Kind::within(&stem(relative)),
        }
    }

    fn first(&self) -> Option<Kind> {
        self.folders.first().and_then(|(_, kind)| *kind)
    }

    /// The kind that a folder below the first level tells, the innermost one, where it is another than that level's.
    fn below(&self) -> Option<Kind> {
        let mut folders = self.folders.iter().skip(1).rev();
        let kind = folders.find_map(|(_, kind)| *kind);
        kind.filter(|&kind| self.first() != Some(kind))
    }

    /// The kind that its folders tell, innermost first, else its name.
    fn kind(&self) -> Option<Kind> {
        let folder = self.folders.iter().rev().find_map(|(_, kind)| *kind);
        folder.map(|kind| kind.with(self.own)).or(self.own)
    }
}

/// The name of a file without its extension.
fn stem(path: &Path) -> String {
    composed(&path.file_stem().unwrap_or_default().to_string_lossy())
}

/// What `files` are to be labelled by where nobody says, and why.
pub(super) fn decide(files: &[File]) -> (Labels, LabelSource) {
    let told: Vec<Told> = files.iter().map(|file| Told::of(&file.relative)).collect();
    let (labels, why) = decided(&told);
    let by = labels.name();
    (labels, LabelSource { by, why })
}

fn decided(told: &[Told]) -> (Labels, String) {
    let count = |is: &dyn Fn(&Told) -> bool| told.iter().filter(|one| is(one)).count();
    let kinds =
        |of: &dyn Fn(&Told) -> Option<Kind>| told.iter().filter_map(of).collect::<BTreeSet<_>>();
    let all = told.len();
    let firsts: BTreeSet<&str> = (told.iter().filter_map(|one| one.folders.first()))
        .map(|(name, _)| &**name)
        .collect();
    let loose = count(&|one| one.folders.is_empty());
    let told_loose = count(&|one| one.folders.is_empty() && one.own.is_some());
    if told_loose > 0 && 2 * loose > all && 2 * told_loose >= all {
        let example = kinds(&|one| one.own).first().map(|kind| kind.name());
        let why = format!(
            "most files lie in no folder, and the names of {told_loose} of {all} tell a kind, such as `{}`",
            example.unwrap_or_default()
        );
        return (Labels::Kinds, why);
    }
    if firsts.is_empty() {
        return (
            Labels::Folders,
            "there are none, and names of files tell no kinds".to_owned(),
        );
    }
    let is_pack = |name: &&str| {
        let is_known =
            |word: &String| PACK.contains(&&**word) || word.chars().all(char::is_numeric);
        words(name).iter().any(is_known)
    };
    let are_packs = firsts.len() == 1 || firsts.iter().all(is_pack);
    let is_told_first = |one: &Told| one.first().is_some() && one.below().is_none();
    let (first, below) = (count(&is_told_first), count(&|one| one.below().is_some()));
    let is_told_below = 2 * below >= all && below > first;
    if is_told_below && (are_packs || kinds(&Told::below).len() > 1) {
        let why = format!(
            "the folders below the first level ({}) tell what the sounds are",
            some_of(&firsts)
        );
        return (Labels::Kinds, why);
    }
    let by_name = |one: &Told| one.kind().filter(|_| !one.folders.is_empty());
    let deep = count(&|one| !one.folders.is_empty());
    let is_mixed = first == 0
        && kinds(&by_name).len() > 1
        && 3 * count(&|one| by_name(one).is_some()) >= 2 * deep;
    match is_mixed {
        true if are_packs => {
            let why = format!(
                "the names of files tell what they are, those of folders ({}) do not",
                some_of(&firsts)
            );
            (Labels::Kinds, why)
        }
        true => {
            let why = "the first level of folders; kinds would take what the names of files tell";
            (Labels::Folders, why.to_owned())
        }
        false => (Labels::Folders, "the first level of folders".to_owned()),
    }
}

/// The first few of some names, in words.
fn some_of(names: &BTreeSet<&str>) -> String {
    let first: Vec<&str> = names.iter().copied().take(2).collect();
    match names.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// Gives every file its label, and those whose label does not come from the first level of folders the source that
/// their first folder is.
pub(super) fn assign(files: &mut [File], labels: &Labels) {
    let told: Vec<Told> = files.iter().map(|file| Told::of(&file.relative)).collect();
    // The folders some of whose own folders tell a kind.
    let telling: BTreeSet<PathBuf> = match labels {
        Labels::Kinds => (files.iter().zip(&told))
            .flat_map(|(file, one)| parents(&file.relative, one))
            .collect(),
        _ => BTreeSet::new(),
    };
    for (file, one) in files.iter_mut().zip(&told) {
        let first = one.folders.first().map(|(name, _)| name.clone());
        let own = |(name, _): &(String, Option<Kind>)| name.clone();
        file.label = match labels {
            Labels::Folders => first.clone(),
            Labels::Innermost => one.folders.last().map(own),
            Labels::Names => one
                .own
                .map(Kind::name)
                .or_else(|| numberless(&stem(&file.relative))),
            Labels::Kinds => {
                (one.kind().map(Kind::name)).or_else(|| beside(&file.relative, one, &telling))
            }
            Labels::Auto | Labels::Manifest(_) | Labels::None => continue,
        };
        let is_source = match labels {
            Labels::Innermost => one.folders.len() > 1,
            Labels::Names => true,
            // What tells the kind is no source.
            Labels::Kinds => one.first().is_none() && file.label != first,
            _ => false,
        };
        if is_source {
            file.source = first;
        }
    }
}

/// The folders above those of a file's that tell a kind.
fn parents(relative: &Path, told: &Told) -> Vec<PathBuf> {
    let folders: Vec<&Path> = relative.ancestors().skip(1).collect();
    // Both innermost first; the last ancestor is the root.
    let kinds = told.folders.iter().rev().map(|(_, kind)| kind);
    let above = kinds
        .zip(folders.iter().skip(1))
        .filter(|(kind, _)| kind.is_some());
    above.map(|(_, folder)| folder.to_path_buf()).collect()
}

/// The name of the innermost folder of a file that lies beside one that tells a kind.
fn beside(relative: &Path, told: &Told, telling: &BTreeSet<PathBuf>) -> Option<String> {
    let above = relative.ancestors().skip(2);
    let mut folders = told.folders.iter().rev().zip(above);
    folders
        .find(|(_, above)| telling.contains(*above))
        .map(|((name, _), _)| name.clone())
}

/// A name without the number, and what surrounds it, at its end.
fn numberless(name: &str) -> Option<String> {
    let is_rest = |c: char| c.is_numeric() || c.is_whitespace() || "_-#().".contains(c);
    let name = name.trim_end_matches(is_rest).trim_start();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(paths: &[&str]) -> Vec<File> {
        let file = |path: &&str| File {
            path: path.into(),
            relative: path.into(),
            label: None,
            source: None,
            stretch: None,
        };
        paths.iter().map(file).collect()
    }

    /// What was decided, and the label and source of each file.
    fn automatic(paths: &[&str]) -> (&'static str, Vec<(String, String)>) {
        let mut files = files(paths);
        let (labels, _) = decide(&files);
        assign(&mut files, &labels);
        let one = |file: File| {
            (
                file.label.unwrap_or_default(),
                file.source.unwrap_or_default(),
            )
        };
        (labels.name(), files.into_iter().map(one).collect())
    }

    fn labels(by: &Labels, paths: &[&str]) -> Vec<String> {
        let mut files = files(paths);
        assign(&mut files, by);
        files
            .into_iter()
            .map(|file| file.label.unwrap_or_default())
            .collect()
    }

    #[test]
    fn a_folder_of_classes_is_labelled_by_its_first_level_as_ever() {
        for paths in [
            &["kick/1.wav", "snare/1.wav", "hat/1.wav"][..],
            &[
                "kick/808/1.wav",
                "kick/909/1.wav",
                "snare/808/Clap.wav",
                "x.wav",
            ],
            &[
                "dark/Kick 1.wav",
                "dark/Snare 1.wav",
                "bright/Kick 2.wav",
                "bright/Snare 2.wav",
            ],
            &["a/1.wav", "b/kick/1.wav", "c/1.wav", "d/1.wav"],
            &["Drums/Loops/1.wav", "Birds/2.wav"],
            &["Kicks/Snare-like/1.wav", "Snares/2.wav", "Hats/3.wav"],
        ] {
            let (by, found) = automatic(paths);
            assert_eq!(by, "folders", "{paths:?}");
            for (path, (label, source)) in paths.iter().zip(found) {
                let first = path.split_once('/').map_or("", |(first, _)| first);
                assert_eq!((&*label, &*source), (first, ""), "{path}");
            }
        }
    }

    #[test]
    fn packs_within_packs_are_labelled_by_the_innermost_folder_that_tells_a_kind() {
        let (by, found) = automatic(&[
            "Other Pack/One Shots/Closed Hats/1.wav",
            "Other Pack/One Shots/BD/Punchy/2.wav",
            "VENDOR Vol 1/One Shots/Kicks/1.wav",
            "VENDOR Vol 1/One Shots/Hats/Open Hat 1.wav",
            "VENDOR Vol 1/One Shots/Hats/Hat 1.wav",
            "VENDOR Vol 1/One Shots/Zaps/Big/1.wav",
            "VENDOR Vol 1/Snare_03.wav",
            "VENDOR Vol 1/demo.wav",
        ]);
        let vendor = |label: &str| (label.to_owned(), "VENDOR Vol 1".to_owned());
        let other = |label: &str| (label.to_owned(), "Other Pack".to_owned());
        assert_eq!(by, "kinds");
        let expected = [
            other("hat_closed"),
            other("kick"),
            vendor("kick"),
            vendor("hat_open"),
            vendor("hat_closed"),
            vendor("Zaps"),
            vendor("snare"),
            vendor(""),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn names_of_files_label_flat_folders_and_those_of_packs() {
        let (by, found) = automatic(&[
            "Kick_01.wav",
            "Kick_02.wav",
            "HH Open 3.wav",
            "Caja 1.wav",
            "x.wav",
        ]);
        let found: Vec<&str> = found.iter().map(|(label, _)| &**label).collect();
        assert_eq!(
            (by, found),
            ("kinds", vec!["kick", "kick", "hat_open", "snare", ""])
        );
        let (by, found) = automatic(&[
            "TR-808/BD 1.wav",
            "TR-808/SD 1.wav",
            "TR-909/BD.wav",
            "TR-909/thing.wav",
        ]);
        let found: BTreeMap<String, String> = found.into_iter().collect();
        assert_eq!(by, "kinds");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["", "kick", "snare"]);
        assert_eq!(found["snare"], "TR-808");
        let mixed = ["Kick 1.wav", "Kick 2.wav", "Snare 1.wav", "misc/x.wav"];
        assert_eq!(automatic(&mixed).0, "kinds");
        let one_kind = ["Pack 1/Kicks/1.wav", "Pack 2/BD/2.wav"];
        let (by, found) = automatic(&one_kind);
        assert_eq!((by, &*found[1].0), ("kinds", "kick"));
        // Of names that tell nothing a flat folder has no classes, as ever.
        assert_eq!(automatic(&["one.wav", "two.wav", "Kick.wav"]).0, "folders");
        assert_eq!(automatic(&[]).0, "folders");
    }

    #[test]
    fn what_is_asked_for_is_done_whatever_the_names_tell() {
        let paths = [
            "a/Kicks/zap_01.wav",
            "a/Kicks/Bombe\u{301} (2).wav",
            "snare.wav",
            "01.wav",
        ];
        for (by, expected) in [
            (Labels::Folders, ["a", "a", "", ""]),
            (Labels::Innermost, ["Kicks", "Kicks", "", ""]),
            (Labels::Kinds, ["kick", "kick", "snare", ""]),
            (Labels::Names, ["zap", "Bomb\u{e9}", "snare", ""]),
            (Labels::None, ["", "", "", ""]),
        ] {
            assert_eq!(labels(&by, &paths), expected, "{by:?}");
        }
    }
}
