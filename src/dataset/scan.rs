//! Reading every file of a folder once.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::alike::Fingerprint;
use super::folder::{self, File, Folder};
use super::report::{Action, Amount, Issue, IssueKind, Report};
use super::sound::{self, LONGEST_SECONDS, READ_SECONDS, Remark, TrainingSound};
use super::{Crop, MAX_LABELS, MAX_NAME, ScanOptions};
use crate::audio::{self, Faults};
use crate::error::{Error, NO_FRAME, Result};
use crate::representation::Format;

/// Said of a sound that vanishes when it is brought to the model's format.
pub(super) const NOTHING_LEFT: &str =
    "nothing of it is left in the model's sample rate and channels";

/// For what model the sounds are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelFormat {
    pub format: Format,
    pub crop: Crop,
}

/// The outcome of reading one file.
struct Heard<T> {
    remarks: Vec<Remark>,
    /// Absent when it cannot be used.
    found: Option<(Facts, T)>,
}

/// Facts of a usable file.
pub(super) struct Facts {
    pub hash: blake3::Hash,
    /// Its outline; taken where sounds are held back from a model only.
    pub fingerprint: Option<Fingerprint>,
    /// Of the sound as it came.
    pub faults: Faults,
    sample_rate: u32,
    channels: usize,
    frames: usize,
    /// Seconds that the file holds or promises, read or not.
    present: f64,
}

impl Facts {
    /// Length of the file, as far as it was read.
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.sample_rate)
    }
}

/// The files below `root` that `options` choose, without a look into them.
pub(super) fn walk(root: &Path, options: &ScanOptions) -> Result<Folder> {
    let mut folder = Folder::walk(root)?;
    let labels = folder.label(root, &options.labels)?;
    folder.attribute();
    folder.retain(root, &labels, &options.include)?;
    Ok(folder)
}

/// Reads all files of a folder in parallel, `look`s at the usable ones as they are read, prepared for the model if
/// there is one, and hands what it saw to `keep`, in order of path.
pub(super) fn read<T: Send>(
    root: &Path,
    model: Option<ModelFormat>,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize),
    look: impl Fn(&Facts, Option<TrainingSound>) -> T + Sync,
    mut keep: impl FnMut(File, Facts, T),
) -> Result<Report> {
    let mut folder = walk(root, options)?;
    check_labels(root, &mut folder, model.is_some())?;
    let found = folder.files.len() + folder.lost();
    let Folder {
        files,
        others,
        issues,
        labels_from,
    } = folder;
    let mut report = Report {
        root: root.to_owned(),
        found,
        others,
        issues,
        labels_from,
        ..Report::default()
    };
    if report.found == 0 {
        return Err(Error::Dataset {
            path: root.to_owned(),
            reason: nothing_usable(&report),
        });
    }
    report.labels = files
        .iter()
        .filter_map(|file| Some((file.label.clone()?, Amount::default())))
        .collect();
    report.longer_than_model = model.map(|_| 0);
    report.not_learnt_seconds = model.map(|_| 0.0);

    let count = files.len();
    let mut first_of: HashMap<blake3::Hash, File> = HashMap::new();
    let mut files = files.into_iter();
    let mut done = 0;
    on_progress(0, count);
    // A few files a thread at a time: so much audio is in memory at once, and no more.
    while done < count {
        let part: Vec<File> = files
            .by_ref()
            .take(4 * rayon::current_num_threads())
            .collect();
        let heard: Vec<Heard<T>> = part
            .par_iter()
            .map(|file| hear(&file.path, model, options.validation > 0.0, &look))
            .collect();
        done += part.len();
        for (file, Heard { remarks, found }) in part.into_iter().zip(heard) {
            let hash = found.as_ref().map(|(facts, _)| facts.hash);
            if let Some(first) = hash.and_then(|hash| first_of.get(&hash)) {
                remark(&mut report, &file, duplicate_of(first, &file));
                continue;
            }
            let remarks = remarks.into_iter();
            remarks.for_each(|one| remark(&mut report, &file, one));
            let Some((facts, seen)) = found else { continue };
            count_in(&mut report, &file, &facts, model);
            first_of.insert(facts.hash, file.clone());
            keep(file, facts, seen);
        }
        on_progress(done, count);
    }
    report.issues.sort_by(|a, b| {
        folder::bytes(&a.path)
            .cmp(folder::bytes(&b.path))
            .then(a.kind.cmp(&b.kind))
    });
    Ok(report)
}

fn remark(report: &mut Report, file: &File, (kind, detail, action): Remark) {
    report.issues.push(Issue {
        path: file.relative.clone(),
        kind,
        detail,
        action,
    });
}

/// The remark on a file with the same sound as an earlier one.
fn duplicate_of(first: &File, file: &File) -> Remark {
    let elsewhere = match &first.label {
        Some(label) if file.label.as_ref() != Some(label) => {
            format!(", which is labelled {label:?}")
        }
        _ => String::new(),
    };
    let detail = format!("the same sound as {}{elsewhere}", first.relative.display());
    (IssueKind::Duplicate, detail, Action::Skipped)
}

/// Adds a usable file to the totals of the report.
fn count_in(report: &mut Report, file: &File, facts: &Facts, model: Option<ModelFormat>) {
    let seconds = facts.seconds();
    report.total.add(seconds);
    report.present_seconds += facts.present;
    match &file.label {
        Some(label) => report.labels.entry(label.clone()).or_default().add(seconds),
        None => report.unlabelled.add(seconds),
    }
    *report.sample_rates.entry(facts.sample_rate).or_default() += 1;
    *report.channels.entry(facts.channels).or_default() += 1;
    let Some(ModelFormat { format, crop }) = model else {
        return;
    };
    let over = seconds - format.len_frames as f64 / f64::from(format.sample_rate);
    if let (true, Some(longer)) = (over > 0.0, &mut report.longer_than_model) {
        *longer += 1;
    }
    if let (Crop::Onset, Some(missed)) = (crop, &mut report.not_learnt_seconds) {
        *missed += over.max(0.0);
    }
}

/// Labels become names of a model's classes, which are printed to terminals: those that cannot are refused before
/// anything is read, where there is a model to be, else remarked on.
fn check_labels(root: &Path, folder: &mut Folder, is_model: bool) -> Result<()> {
    let labels: BTreeSet<&str> = folder
        .files
        .iter()
        .filter_map(|file| file.label.as_deref())
        .collect();
    let reason = |label: &str| match label {
        _ if label.len() > MAX_NAME => Some(format!(
            "expected at most {MAX_NAME} bytes, found {}",
            label.len()
        )),
        _ if label.chars().any(char::is_control) => Some("expected no control characters".into()),
        _ => None,
    };
    let mut issues = Vec::new();
    for label in &labels {
        let Some(reason) = reason(label) else {
            continue;
        };
        if is_model {
            return Err(Error::Dataset {
                path: root.to_owned(),
                reason: format!("the class name {label:?}: {reason}"),
            });
        }
        issues.push(Issue {
            path: PathBuf::from(label),
            kind: IssueKind::ClassName,
            detail: reason,
            action: Action::Refused,
        });
    }
    if is_model && labels.len() > MAX_LABELS {
        return Err(Error::Dataset {
            path: root.to_owned(),
            reason: format!(
                "expected at most {MAX_LABELS} classes, found {}",
                labels.len()
            ),
        });
    }
    folder.issues.extend(issues);
    Ok(())
}

/// Reads one file, and prepares it for a model if there is one.
fn hear<T>(
    path: &Path,
    model: Option<ModelFormat>,
    splits: bool,
    look: &impl Fn(&Facts, Option<TrainingSound>) -> T,
) -> Heard<T> {
    let refused = |kind, detail| Heard {
        remarks: vec![(kind, detail, Action::Skipped)],
        found: None,
    };
    let decoded = match audio::decode(path, Some(READ_SECONDS)) {
        Ok(decoded) => decoded,
        Err(error) => {
            let empty = matches!(error, Error::EmptySound { .. })
                || fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
            let kind = match empty {
                true => IssueKind::Empty,
                false => IssueKind::Unreadable,
            };
            return refused(kind, reason(error));
        }
    };
    let mut clip = decoded.clip;
    let hash = sound::content(&clip);
    let faults = Faults::of(&clip);
    let mut remarks = sound::examine(&mut clip);
    if remarks
        .iter()
        .any(|(_, _, action)| *action == Action::Skipped)
    {
        return Heard {
            remarks,
            found: None,
        };
    }
    if !decoded.lost.is_empty() {
        let detail = format!(
            "{}; {:.3} s were found",
            decoded.lost.join(", and "),
            clip.seconds()
        );
        remarks.push((IssueKind::Truncated, detail, Action::KeptTheStart));
    }
    if !decoded.mended.is_empty() {
        let detail = decoded.mended.join(", and ");
        remarks.push((IssueKind::Mended, detail, Action::Kept));
    }
    if clip.seconds() > LONGEST_SECONDS {
        let detail = match decoded.seconds > clip.seconds() {
            true => format!(
                "it goes on after {LONGEST_SECONDS} s, up to {:.1} s",
                decoded.seconds
            ),
            false => format!("it goes on after {LONGEST_SECONDS} s"),
        };
        remarks.push((IssueKind::TooLong, detail, Action::KeptTheStart));
    }
    let facts = Facts {
        hash,
        fingerprint: (model.is_some() && splits).then(|| Fingerprint::of(&clip)),
        faults,
        sample_rate: clip.sample_rate(),
        channels: clip.channels().len(),
        frames: clip.len_frames(),
        present: decoded.seconds,
    };
    let mut source = None;
    if let Some(ModelFormat { format, crop }) = model {
        if u64::from(facts.sample_rate) * 2 < u64::from(format.sample_rate) {
            let detail = format!(
                "{} Hz, the model has {} Hz",
                facts.sample_rate, format.sample_rate
            );
            remarks.push((IssueKind::LowRate, detail, Action::Kept));
        }
        source = match TrainingSound::new(clip, format, crop) {
            Ok(Some(source)) => Some(source),
            Ok(None) => return refused(IssueKind::Silent, NOTHING_LEFT.into()),
            Err(error) => return refused(IssueKind::Unreadable, reason(error)),
        };
    }
    let seen = look(&facts, source);
    Heard {
        remarks,
        found: Some((facts, seen)),
    }
}

/// The reason of an error without the file's path, which the report names.
fn reason(error: Error) -> String {
    match error {
        Error::Sound { reason, .. } => reason,
        Error::EmptySound { .. } => NO_FRAME.to_owned(),
        Error::Io { cause, .. } => cause.to_string(),
        other => other.to_string(),
    }
}

/// Why a folder cannot be used, in a sentence.
pub(super) fn nothing_usable(report: &Report) -> String {
    if report.found == 0 {
        let known = audio::extensions().join(", ");
        return match report.others.values().sum::<usize>() {
            0 => format!("expected sound files ({known}), found no files at all"),
            _ => format!(
                "expected sound files ({known}), found only others: {}",
                report.others_in_words()
            ),
        };
    }
    let reasons = report.reasons(Action::Skipped);
    let mut words: Vec<String> = (reasons.iter().take(4))
        .map(|(kind, n, example)| {
            format!(
                "{n} {} ({}: {})",
                kind.name(),
                example.path.display(),
                example.detail
            )
        })
        .collect();
    if reasons.len() > 4 {
        words.push(format!(
            "{} others",
            reasons[4..].iter().map(|&(_, n, _)| n).sum::<usize>()
        ));
    }
    let files = if report.found == 1 { "file" } else { "files" };
    format!(
        "none of its {} sound {files} can be used: {}",
        report.found,
        words.join(", ")
    )
}
