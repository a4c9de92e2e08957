//! Which files lie in a folder, and what they are called: everything short of opening them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::labels::{self, LabelSource, Labels};
use super::long::Stretch;
use super::report::{Action, Issue, IssueKind};
use crate::audio;
use crate::error::{Error, Result};
use crate::names::{composed, find, meant};

/// A file that looks like a sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Where to open it.
    pub path: PathBuf,
    /// Below the root, for reports and for the order of files.
    pub relative: PathBuf,
    pub label: Option<String>,
    /// Name of the source it comes from with others: a pack, a kit, a folder.
    pub source: Option<String>,
    /// The part of it that is a sound of its own; none for all of it.
    pub stretch: Option<Stretch>,
}

/// The files below a root, in order of their relative paths' bytes.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub files: Vec<File>,
    /// Files of other extensions, by extension.
    pub others: BTreeMap<String, usize>,
    pub issues: Vec<Issue>,
    /// Where the labels are from.
    pub labels_from: LabelSource,
}

impl Folder {
    /// Finds every file below `root` that has a sound's extension, each real file once.
    ///
    /// Real folders and files come before links, whose targets count only if nothing else led
    /// there: so cycles end, and a file goes by its own name rather than by a link's. Hidden files
    /// are passed over (among them macOS's `._*`, which have sounds' names and are none), and so are the
    /// run folders of trainings below `root`: nothing learns from its own demo sounds.
    pub fn walk(root: &Path) -> Result<Folder> {
        let refuse = |reason: String| Error::Dataset {
            path: root.to_owned(),
            reason,
        };
        match fs::metadata(root) {
            Err(error) => {
                return Err(refuse(format!(
                    "expected a folder of sounds, found none: {error}"
                )));
            }
            Ok(metadata) if !metadata.is_dir() => {
                return Err(refuse("expected a folder of sounds, found a file".into()));
            }
            Ok(_) => (),
        }
        fs::read_dir(root)
            .map_err(|error| refuse(format!("the folder cannot be read: {error}")))?;

        let mut walk = Walk {
            root,
            found: Folder::default(),
            folders: VecDeque::from([PathBuf::new()]),
            linked_folders: VecDeque::new(),
            linked_files: Vec::new(),
            visited: HashMap::new(),
            known: HashMap::new(),
        };
        loop {
            let (folder, is_link) = match walk.folders.pop_front() {
                Some(folder) => (folder, false),
                None => match walk.linked_folders.pop_front() {
                    Some(folder) => (folder, true),
                    None => break,
                },
            };
            match walk.entries(&folder, is_link) {
                Ok(entries) => (entries.iter()).for_each(|entry| walk.enter(&folder, entry)),
                Err(error) => walk.found.unreadable(&folder, &error),
            }
        }
        walk.follow_linked_files();
        let mut found = walk.found;
        found
            .files
            .sort_by(|a, b| bytes(&a.relative).cmp(&bytes(&b.relative)));
        Ok(found)
    }

    /// Gives every file its label, and remarks on those that got none though others did. Returns what they were given by.
    pub fn label(&mut self, root: &Path, asked: &Labels) -> Result<Labels> {
        let (labels, source) = match asked {
            Labels::Auto => labels::decide(&self.files),
            asked => {
                let (by, why) = (asked.name(), String::new());
                (asked.clone(), LabelSource { by, why })
            }
        };
        self.labels_from = source;
        match &labels {
            Labels::Manifest(manifest) => self.label_by(root, manifest)?,
            labels => labels::assign(&mut self.files, labels),
        }
        if self.files.iter().any(|file| file.label.is_some()) {
            let bare = self.files.iter().filter(|file| file.label.is_none());
            for path in bare.map(|file| file.relative.clone()).collect::<Vec<_>>() {
                let detail = labels.without().to_owned();
                self.remark(&path, IssueKind::NoLabel, detail, Action::KeptUnlabelled);
            }
        }
        Ok(labels)
    }

    /// Tells every file the source that it comes from together with others, where there is one: what the manifest's
    /// column `group` says; else, where its label is not that of the first level of folders, its first folder; else the
    /// folder below that of its label, `kit` in `label/kit/x.wav`; else what stands before `__` in its name, if it does
    /// so in another file's as well.
    pub fn attribute(&mut self) {
        let prefix = |file: &File| -> Option<String> {
            let name = file.relative.file_name()?.to_string_lossy();
            let (prefix, _) = name.split_once("__")?;
            (!prefix.is_empty()).then(|| prefix.to_owned())
        };
        let mut shared: HashMap<String, usize> = HashMap::new();
        for prefix in self.files.iter().filter_map(prefix) {
            *shared.entry(prefix).or_default() += 1;
        }
        for file in &mut self.files {
            if file.source.is_some() {
                continue;
            }
            let parts: Vec<_> = file.relative.components().collect();
            file.source = if parts.len() > 2 {
                Some(parts[1].as_os_str().to_string_lossy().into_owned())
            } else {
                prefix(file).filter(|prefix| shared[prefix] > 1)
            };
        }
    }

    /// Labels from a CSV file with the columns `path` and `label`, and sources from its column `group` where it has
    /// one; other columns are ignored. Paths are relative to the root or to the manifest's folder, or absolute.
    fn label_by(&mut self, root: &Path, manifest: &Path) -> Result<()> {
        let refuse = |reason: String| Error::Dataset {
            path: manifest.to_owned(),
            reason,
        };
        let file = fs::File::open(manifest).map_err(Error::io(manifest))?;
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .flexible(true)
            .from_reader(file);
        let header = reader
            .byte_headers()
            .map_err(|error| refuse(error.to_string()))?
            .clone();
        let columns = Columns::of(&header).map_err(refuse)?;
        let index: HashMap<PathBuf, usize> = (self.files.iter().enumerate())
            .filter_map(|(n, file)| Some((fs::canonicalize(&file.path).ok()?, n)))
            .collect();
        let beside = manifest.parent().unwrap_or(Path::new(""));
        for (row, record) in reader.byte_records().enumerate() {
            let record = record.map_err(|error| refuse(error.to_string()))?;
            let line = record
                .position()
                .map_or(row as u64 + 2, csv::Position::line);
            let field = |column: usize| record.get(column).filter(|field| !field.is_empty());
            let (Some(path), Some(label)) = (field(columns.path), field(columns.label)) else {
                let detail =
                    format!("line {line}: expected a path and a label, found one or neither");
                self.remark(manifest, IssueKind::Manifest, detail, Action::Ignored);
                continue;
            };
            let (path, label) = (path_from(path), composed(&String::from_utf8_lossy(label)));
            // Joining an absolute path replaces what it is joined to.
            let find = |path: &Path| {
                let real = fs::canonicalize(root.join(path));
                real.or_else(|_| fs::canonicalize(beside.join(path)))
            };
            let real = find(&path).or_else(|error| {
                // A table that was written on Windows.
                let text = path.to_str().filter(|text| text.contains('\\'));
                text.map_or(Err(error), |text| find(text.replace('\\', "/").as_ref()))
            });
            let file = real
                .as_ref()
                .ok()
                .and_then(|real| index.get(real))
                .map(|&n| &mut self.files[n]);
            let problem = match file {
                None if real.is_err() => {
                    format!("line {line} labels it {label:?}, but there is no such file")
                }
                None => format!(
                    "line {line} labels it {label:?}, but it is no sound file of this folder"
                ),
                Some(file) => match &file.label {
                    Some(first) if *first != label => {
                        format!("line {line} labels it {label:?}, an earlier line {first:?}")
                    }
                    _ => {
                        file.label = Some(label);
                        let group = columns.group.and_then(field);
                        file.source =
                            group.map(|group| String::from_utf8_lossy(group).into_owned());
                        continue;
                    }
                },
            };
            self.remark(&path, IssueKind::Manifest, problem, Action::Ignored);
        }
        Ok(())
    }

    /// Keeps only files with one of these labels, all if there are none given. What was lost in another
    /// label's folder is not spoken of either.
    pub fn retain(&mut self, root: &Path, labels: &Labels, include: &[String]) -> Result<()> {
        if include.is_empty() {
            return Ok(());
        }
        let chosen = self.chosen(include).map_err(|reason| Error::Dataset {
            path: root.to_owned(),
            reason,
        })?;
        let wanted = |file: &File| {
            file.label
                .as_ref()
                .is_some_and(|label| chosen.contains(label))
        };
        let dropped: HashSet<PathBuf> = self
            .files
            .iter()
            .filter(|f| !wanted(f))
            .map(|f| f.relative.clone())
            .collect();
        let elsewhere = |path: &Path| {
            let folder = path.components().next();
            let folder = folder.map(|part| composed(&part.as_os_str().to_string_lossy()));
            *labels == Labels::Folders && folder.is_none_or(|folder| !chosen.contains(&folder))
        };
        self.issues
            .retain(|issue| !dropped.contains(&issue.path) && !elsewhere(&issue.path));
        self.files.retain(wanted);
        Ok(())
    }

    /// The labels that are meant by what was asked for: whole, or with commas between them.
    fn chosen(&self, include: &[String]) -> std::result::Result<BTreeSet<String>, String> {
        let known = self.files.iter().filter_map(|file| file.label.as_deref());
        let known: Vec<&str> = known.collect::<BTreeSet<_>>().into_iter().collect();
        let mut chosen = BTreeSet::new();
        for asked in include {
            let parts: Vec<&str> = match find(asked, &known) {
                Some(_) => vec![asked],
                None => asked.split(',').collect(),
            };
            for part in parts {
                let place = find(part, &known).ok_or_else(|| {
                    let meant = meant(part, &known);
                    let labels = if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    };
                    format!(
                        "no sound is labelled {part:?}; the labels are: {labels} (by {}){meant}",
                        self.labels_from
                    )
                })?;
                chosen.insert(known[place].to_owned());
            }
        }
        Ok(chosen)
    }

    /// How many things with a sound's extension are among the issues, and not among the files.
    pub fn lost(&self) -> usize {
        let lost = |issue: &&Issue| issue.action == Action::Skipped && is_sound(&issue.path);
        self.issues.iter().filter(lost).count()
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.remark(
            path,
            IssueKind::Unreadable,
            error.to_string(),
            Action::Skipped,
        );
    }

    fn remark(&mut self, path: &Path, kind: IssueKind, detail: String, action: Action) {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        self.issues.push(Issue {
            path: path.to_owned(),
            kind,
            detail,
            action,
        });
    }
}

/// A walk through a folder. Paths are below the root, but for the real ones that the maps go by.
struct Walk<'a> {
    root: &'a Path,
    found: Folder,
    /// Still to be read.
    folders: VecDeque<PathBuf>,
    linked_folders: VecDeque<PathBuf>,
    linked_files: Vec<PathBuf>,
    /// Real folders that were read, and how they were reached first.
    visited: HashMap<PathBuf, PathBuf>,
    /// Real sound files that were found, and how they were reached first.
    known: HashMap<PathBuf, PathBuf>,
}

impl Walk<'_> {
    /// The entries of a folder by name; none where it was read already, or is the run folder of a training.
    fn entries(&mut self, folder: &Path, is_link: bool) -> io::Result<Vec<DirEntry>> {
        let real = fs::canonicalize(self.root.join(folder))?;
        if let Some(first) = self.visited.get(&real) {
            if is_link {
                let first = match first.as_os_str().is_empty() {
                    true => Path::new("."),
                    false => first,
                };
                let detail = format!("a link to the folder {}, already read", first.display());
                self.found
                    .remark(folder, IssueKind::Duplicate, detail, Action::Skipped);
            }
            return Ok(Vec::new());
        }
        let mut entries = fs::read_dir(&real)?.collect::<io::Result<Vec<_>>>()?;
        let holds = |name: &str| entries.iter().any(|entry| entry.file_name() == name);
        if !folder.as_os_str().is_empty() && holds("stats.jsonl") && holds("config.json") {
            entries.clear();
        }
        entries.sort_by_key(DirEntry::file_name);
        self.visited.insert(real, folder.to_owned());
        Ok(entries)
    }

    /// Takes in one entry of a folder: a folder or a link to be followed later, a sound, or another file.
    fn enter(&mut self, folder: &Path, entry: &DirEntry) {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let relative = folder.join(&name);
        let kind = entry.file_type().and_then(|kind| match kind.is_symlink() {
            true => Ok((fs::metadata(self.root.join(&relative))?.file_type(), true)),
            false => Ok((kind, false)),
        });
        match kind {
            Ok((kind, false)) if kind.is_dir() => self.folders.push_back(relative),
            Ok((kind, true)) if kind.is_dir() => self.linked_folders.push_back(relative),
            Ok(_) if !is_sound(&relative) => {
                *self.found.others.entry(extension(&relative)).or_default() += 1;
            }
            Ok((kind, true)) if kind.is_file() => self.linked_files.push(relative),
            Ok((kind, false)) if kind.is_file() => {
                let path = self.root.join(&relative);
                let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                self.take(real, path, relative);
            }
            Ok(_) => {
                let detail = "expected a file, found a device, pipe or socket".into();
                self.found
                    .remark(&relative, IssueKind::Unreadable, detail, Action::Skipped);
            }
            Err(error) if entry.path().is_symlink() => {
                let detail = format!("the link leads nowhere: {error}");
                self.found
                    .remark(&relative, IssueKind::Unreadable, detail, Action::Skipped);
            }
            Err(error) => self.found.unreadable(&relative, &error),
        }
    }

    fn take(&mut self, real: PathBuf, path: PathBuf, relative: PathBuf) {
        self.known.insert(real, relative.clone());
        self.found.files.push(File {
            path,
            relative,
            label: None,
            source: None,
            stretch: None,
        });
    }

    /// Takes the targets of links to files that were found in no other way.
    fn follow_linked_files(&mut self) {
        for relative in std::mem::take(&mut self.linked_files) {
            let path = self.root.join(&relative);
            match fs::canonicalize(&path) {
                Ok(real) => match self.known.get(&real) {
                    Some(first) => {
                        let detail = format!("a link to {}", first.display());
                        self.found
                            .remark(&relative, IssueKind::Duplicate, detail, Action::Skipped);
                    }
                    None => self.take(real, path, relative),
                },
                Err(error) => self.found.unreadable(&relative, &error),
            }
        }
    }
}

/// Places of the columns of a manifest.
struct Columns {
    path: usize,
    label: usize,
    group: Option<usize>,
}

impl Columns {
    fn of(header: &csv::ByteRecord) -> std::result::Result<Self, String> {
        let name = |field: &[u8]| {
            String::from_utf8_lossy(field)
                .trim_start_matches('\u{feff}')
                .to_lowercase()
        };
        let place = |wanted: &str| header.iter().position(|field| name(field) == wanted);
        let (Some(path), Some(label)) = (place("path"), place("label")) else {
            let fields: Vec<_> = header.iter().map(name).collect();
            return Err(format!(
                "expected a CSV header with path and label, found {:?}",
                fields.join(",")
            ));
        };
        Ok(Self {
            path,
            label,
            group: place("group"),
        })
    }
}

/// By what paths are put in order: the same on every system, since sounds are drawn by their places.
pub(super) fn bytes(path: &Path) -> Cow<'_, [u8]> {
    let bytes = path.as_os_str().as_encoded_bytes();
    match std::path::MAIN_SEPARATOR {
        '/' => bytes.into(),
        // In no character but its own is there such a byte.
        other => {
            let slashed = |&byte: &u8| if byte == other as u8 { b'/' } else { byte };
            bytes.iter().map(slashed).collect()
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().map_or("(none)".into(), |extension| {
        extension.to_string_lossy().to_lowercase()
    })
}

fn is_sound(path: &Path) -> bool {
    let extension = extension(path);
    let known = [audio::extensions(), audio::foreign_extensions()];
    known
        .iter()
        .any(|known| known.contains(&extension.as_str()))
}

#[cfg(unix)]
fn path_from(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_from(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
