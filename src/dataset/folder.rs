//! Which files lie in a folder, and what they are called: everything short of opening them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::Labels;
use super::report::{Action, Issue, IssueKind};
use crate::audio;
use crate::error::{Error, Result};

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
}

/// The files below a root, in order of their relative paths' bytes.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub files: Vec<File>,
    /// Files of other extensions, by extension.
    pub others: BTreeMap<String, usize>,
    pub issues: Vec<Issue>,
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

        let mut found = Folder::default();
        let mut folders = VecDeque::from([PathBuf::new()]);
        let (mut linked_folders, mut linked_files) = (VecDeque::new(), Vec::new());
        let mut visited: HashMap<PathBuf, PathBuf> = HashMap::new();
        let mut known: HashMap<PathBuf, PathBuf> = HashMap::new();
        loop {
            let (folder, is_link) = match folders.pop_front() {
                Some(folder) => (folder, false),
                None => match linked_folders.pop_front() {
                    Some(folder) => (folder, true),
                    None => break,
                },
            };
            let entries = fs::canonicalize(root.join(&folder)).and_then(|real| {
                if let Some(first) = visited.get(&real) {
                    if is_link {
                        let first = if first.as_os_str().is_empty() {
                            Path::new(".")
                        } else {
                            first
                        };
                        let detail =
                            format!("a link to the folder {}, already read", first.display());
                        found.remark(&folder, IssueKind::Duplicate, detail, Action::Skipped);
                    }
                    return Ok(Vec::new());
                }
                let mut entries = fs::read_dir(&real)?.collect::<std::io::Result<Vec<_>>>()?;
                let holds = |name: &str| entries.iter().any(|entry| entry.file_name() == name);
                if !folder.as_os_str().is_empty() && holds("stats.jsonl") && holds("config.json") {
                    entries.clear();
                }
                entries.sort_by_key(|entry| entry.file_name());
                visited.insert(real, folder.clone());
                Ok(entries)
            });
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) => {
                    found.remark(
                        &folder,
                        IssueKind::Unreadable,
                        error.to_string(),
                        Action::Skipped,
                    );
                    continue;
                }
            };
            for entry in entries {
                let name = entry.file_name();
                if name.as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let relative = folder.join(&name);
                let kind = entry.file_type().and_then(|kind| {
                    let is_link = kind.is_symlink();
                    Ok((
                        if is_link {
                            fs::metadata(root.join(&relative))?.file_type()
                        } else {
                            kind
                        },
                        is_link,
                    ))
                });
                match kind {
                    Ok((kind, false)) if kind.is_dir() => folders.push_back(relative),
                    Ok((kind, true)) if kind.is_dir() => linked_folders.push_back(relative),
                    Ok((kind, is_link)) if kind.is_file() => {
                        if !is_sound(&relative) {
                            *found.others.entry(extension(&relative)).or_default() += 1;
                        } else if is_link {
                            linked_files.push(relative);
                        } else {
                            let path = root.join(&relative);
                            known.insert(
                                fs::canonicalize(&path).unwrap_or_else(|_| path.clone()),
                                relative.clone(),
                            );
                            found.files.push(File {
                                path,
                                relative,
                                label: None,
                                source: None,
                            });
                        }
                    }
                    Ok(_) if is_sound(&relative) => {
                        let detail = "expected a file, found a device, pipe or socket".into();
                        found.remark(&relative, IssueKind::Unreadable, detail, Action::Skipped);
                    }
                    Ok(_) => *found.others.entry(extension(&relative)).or_default() += 1,
                    Err(error) => {
                        let link = entry.path().is_symlink();
                        let detail = if link {
                            format!("the link leads nowhere: {error}")
                        } else {
                            error.to_string()
                        };
                        found.remark(&relative, IssueKind::Unreadable, detail, Action::Skipped);
                    }
                }
            }
        }
        for relative in linked_files {
            let path = root.join(&relative);
            match fs::canonicalize(&path) {
                Ok(real) => {
                    if let Some(first) = known.get(&real) {
                        let detail = format!("a link to {}", first.display());
                        found.remark(&relative, IssueKind::Duplicate, detail, Action::Skipped);
                    } else {
                        known.insert(real, relative.clone());
                        found.files.push(File {
                            path,
                            relative,
                            label: None,
                            source: None,
                        });
                    }
                }
                Err(error) => found.remark(
                    &relative,
                    IssueKind::Unreadable,
                    error.to_string(),
                    Action::Skipped,
                ),
            }
        }
        found
            .files
            .sort_by(|a, b| bytes(&a.relative).cmp(bytes(&b.relative)));
        Ok(found)
    }

    /// Gives every file its label, and remarks on those that got none though others did.
    pub fn label(&mut self, root: &Path, labels: &Labels) -> Result<()> {
        match labels {
            Labels::None => (),
            Labels::Folders => {
                for file in &mut self.files {
                    let mut parts = file.relative.components();
                    let first = parts.next();
                    // A file directly in the root has one part, its own name.
                    if parts.next().is_some() {
                        file.label =
                            first.map(|part| part.as_os_str().to_string_lossy().into_owned());
                    }
                }
            }
            Labels::Manifest(manifest) => self.label_by(root, manifest)?,
        }
        if self.files.iter().any(|file| file.label.is_some()) {
            let place = if matches!(labels, Labels::Folders) {
                "it lies in no folder"
            } else {
                "the manifest does not name it"
            };
            let bare: Vec<_> = self
                .files
                .iter()
                .filter(|f| f.label.is_none())
                .map(|f| f.relative.clone())
                .collect();
            for path in bare {
                self.remark(
                    &path,
                    IssueKind::NoLabel,
                    place.into(),
                    Action::KeptUnlabelled,
                );
            }
        }
        Ok(())
    }

    /// Tells every file the source that it comes from together with others, where there is one: what the manifest's
    /// column `group` says; else the folder below that of its label, `kit` in `label/kit/x.wav`; else what stands
    /// before `__` in its name, if it does so in another file's as well.
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
        let name_of = |field: &[u8]| {
            String::from_utf8_lossy(field)
                .trim_start_matches('\u{feff}')
                .to_lowercase()
        };
        let place = |name: &str| header.iter().position(|field| name_of(field) == name);
        let column = |name: &str| {
            place(name).ok_or_else(|| {
                let fields: Vec<_> = header.iter().map(name_of).collect();
                refuse(format!(
                    "expected a CSV header with path and label, found {:?}",
                    fields.join(",")
                ))
            })
        };
        let (path_column, label_column) = (column("path")?, column("label")?);
        let group_column = place("group");
        let index: HashMap<PathBuf, usize> = (self.files.iter().enumerate())
            .filter_map(|(n, file)| Some((fs::canonicalize(&file.path).ok()?, n)))
            .collect();
        let beside = manifest.parent().unwrap_or(Path::new(""));
        for (row, record) in reader.byte_records().enumerate() {
            let record = record.map_err(|error| refuse(error.to_string()))?;
            let line = record
                .position()
                .map_or(row as u64 + 2, csv::Position::line);
            let (path, label) = (record.get(path_column), record.get(label_column));
            let (Some(path), Some(label)) = (
                path.filter(|p| !p.is_empty()),
                label.filter(|l| !l.is_empty()),
            ) else {
                let detail =
                    format!("line {line}: expected a path and a label, found one or neither");
                self.remark(manifest, IssueKind::Manifest, detail, Action::Ignored);
                continue;
            };
            let (path, label) = (path_from(path), String::from_utf8_lossy(label).into_owned());
            // Joining an absolute path replaces what it is joined to.
            let real = fs::canonicalize(root.join(&path))
                .or_else(|_| fs::canonicalize(beside.join(&path)));
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
                        let group = group_column.and_then(|column| record.get(column));
                        let group = group.filter(|group| !group.is_empty());
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
        let known: BTreeSet<&str> = self
            .files
            .iter()
            .filter_map(|file| file.label.as_deref())
            .collect();
        if let Some(missing) = include.iter().find(|label| !known.contains(label.as_str())) {
            let labels = if known.is_empty() {
                "none".into()
            } else {
                known.into_iter().collect::<Vec<_>>().join(", ")
            };
            let reason = format!("no sound is labelled {missing:?}; the labels are: {labels}");
            return Err(Error::Dataset {
                path: root.to_owned(),
                reason,
            });
        }
        let wanted = |file: &File| {
            file.label
                .as_ref()
                .is_some_and(|label| include.contains(label))
        };
        let dropped: HashSet<PathBuf> = self
            .files
            .iter()
            .filter(|f| !wanted(f))
            .map(|f| f.relative.clone())
            .collect();
        let elsewhere = |path: &Path| {
            let folder = path.components().next().map(|part| part.as_os_str());
            *labels == Labels::Folders
                && !include
                    .iter()
                    .any(|label| folder == Some(label.as_str().as_ref()))
        };
        self.issues
            .retain(|issue| !dropped.contains(&issue.path) && !elsewhere(&issue.path));
        self.files.retain(wanted);
        Ok(())
    }

    /// How many things with a sound's extension are among the issues, and not among the files.
    pub fn lost(&self) -> usize {
        let lost = |issue: &&Issue| issue.action == Action::Skipped && is_sound(&issue.path);
        self.issues.iter().filter(lost).count()
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

pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn extension(path: &Path) -> String {
    path.extension().map_or("(none)".into(), |extension| {
        extension.to_string_lossy().to_lowercase()
    })
}

fn is_sound(path: &Path) -> bool {
    audio::extensions().contains(&extension(path).as_str())
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
