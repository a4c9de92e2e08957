//! Reading every file of a folder once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::alike::Fingerprint;
use super::folder::{self, File, Folder};
use super::long::{self, PIECE_SECONDS, Stretch};
use super::report::{Action, Amount, Issue, IssueKind, Report};
use super::sound::{self, Remark, TrainingSound};
use super::{Crop, MAX_LABELS, MAX_NAME, ScanOptions};
use crate::audio::{self, Clip, Decoded, Faults};
use crate::error::{Error, NO_FRAME, Result, counted};
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

/// What a first look at a file gives.
enum Look<T> {
    /// It was read, and holds or promises so many seconds.
    Read(Heard<T>, f64),
    /// It is long, and is to be cut. The hash is of its beginning and its length.
    Long(blake3::Hash),
}

/// How each file is heard.
struct Hearing<'a, L> {
    model: Option<ModelFormat>,
    crop: Crop,
    /// Whether sounds are held back from a model.
    splits: bool,
    look: &'a L,
}

/// Facts of a usable sound.
pub(super) struct Facts {
    pub hash: blake3::Hash,
    /// Its outline; taken where sounds are held back from a model only.
    pub fingerprint: Option<Fingerprint>,
    /// Of the sound as it came.
    pub faults: Faults,
    sample_rate: u32,
    channels: usize,
    frames: usize,
}

impl Facts {
    /// Its sample rate, Hz, and channels.
    fn layout(&self) -> (u32, usize) {
        (self.sample_rate, self.channels)
    }

    /// Length of the sound.
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
/// there is one, and hands what it saw to `keep`, in order of path. `on_progress` may break it off, within a long file too.
pub(super) fn read<T: Send>(
    root: &Path,
    model: Option<ModelFormat>,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
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
    report.cut.at_onsets = options.crop == Crop::Onset;
    let hearing = Hearing {
        model,
        crop: options.crop,
        splits: options.validation > 0.0,
        look: &look,
    };

    let count = files.len();
    let mut first_of: HashMap<blake3::Hash, File> = HashMap::new();
    let mut files = files.into_iter();
    let mut done = 0;
    go_on(on_progress(0, count))?;
    // A few files a thread at a time: so much audio is in memory at once, and no more.
    while done < count {
        let part: Vec<File> = files
            .by_ref()
            .take(4 * rayon::current_num_threads())
            .collect();
        let heard: Vec<Look<T>> = part
            .par_iter()
            .map(|file| hearing.file(&file.path))
            .collect();
        let before = done;
        done += part.len();
        for (file, heard) in part.into_iter().zip(heard) {
            let (Heard { remarks, found }, present) = match heard {
                Look::Read(heard, present) => (heard, present),
                Look::Long(hash) => {
                    if let Some(first) = first_of.get(&hash) {
                        remark(&mut report, &file, duplicate_of(first, &file));
                        continue;
                    }
                    let cut =
                        hearing.long_file(&file, &mut || on_progress(before, count), &mut keep)?;
                    if count_cut(&mut report, &file, cut) {
                        first_of.insert(hash, file);
                    }
                    continue;
                }
            };
            let hash = found.as_ref().map(|(facts, _)| facts.hash);
            if let Some(first) = hash.and_then(|hash| first_of.get(&hash)) {
                remark(&mut report, &file, duplicate_of(first, &file));
                continue;
            }
            let remarks = remarks.into_iter();
            remarks.for_each(|one| remark(&mut report, &file, one));
            let Some((facts, seen)) = found else { continue };
            count_in(&mut report, &file, facts.layout(), facts.seconds(), present);
            if let Some(ModelFormat { format, crop }) = model {
                let over = beyond(&facts, format);
                if let (true, Some(longer)) = (over > 0.0, &mut report.longer_than_model) {
                    *longer += 1;
                }
                if let (Crop::Onset, Some(missed)) = (crop, &mut report.not_learnt_seconds) {
                    *missed += over.max(0.0);
                }
            }
            first_of.insert(facts.hash, file.clone());
            keep(file, facts, seen);
        }
        go_on(on_progress(done, count))?;
    }
    // What is not used is not kept without a label.
    let skipped = report
        .issues
        .iter()
        .filter(|it| it.action == Action::Skipped);
    let skipped: BTreeSet<PathBuf> = skipped.map(|it| it.path.clone()).collect();
    (report.issues).retain(|it| it.action != Action::KeptUnlabelled || !skipped.contains(&it.path));
    report.issues.sort_by(|a, b| {
        folder::bytes(&a.path)
            .cmp(&folder::bytes(&b.path))
            .then(a.kind.cmp(&b.kind))
    });
    Ok(report)
}

/// Ends the work that its caller broke off.
pub(super) fn go_on(wish: ControlFlow<()>) -> Result<()> {
    match wish {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
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

/// Adds a usable file to the totals of the report, of which so many seconds were read and are there.
fn count_in(
    report: &mut Report,
    file: &File,
    (sample_rate, channels): (u32, usize),
    seconds: f64,
    present: f64,
) {
    report.total.add(seconds);
    report.present_seconds += present;
    match &file.label {
        Some(label) => report.labels.entry(label.clone()).or_default().add(seconds),
        None => report.unlabelled.add(seconds),
    }
    *report.sample_rates.entry(sample_rate).or_default() += 1;
    *report.channels.entry(channels).or_default() += 1;
}

/// Adds a long file to the report, and says whether any of it is used.
fn count_cut(report: &mut Report, file: &File, cut: CutFile) -> bool {
    let remarks = cut.remarks.into_iter();
    remarks.for_each(|one| remark(report, file, one));
    let Some(layout) = cut.layout else {
        return false;
    };
    let (read, present) = (cut.read_seconds, cut.present_seconds);
    count_in(report, file, layout, read, present);
    report.cut.files += 1;
    report.cut.sounds += cut.sounds;
    if let Some(longer) = &mut report.longer_than_model {
        *longer += usize::from(cut.is_longer);
    }
    if let Some(missed) = &mut report.not_learnt_seconds {
        *missed += cut.missed_seconds;
    }
    true
}

/// Seconds by which a sound is longer than a model's clips.
fn beyond(facts: &Facts, format: Format) -> f64 {
    facts.seconds() - format.len_frames as f64 / f64::from(format.sample_rate)
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

/// What became of a long file.
#[derive(Default)]
struct CutFile {
    remarks: Vec<Remark>,
    /// Sample rate and channels of its sounds, where any is used.
    layout: Option<(u32, usize)>,
    sounds: usize,
    read_seconds: f64,
    present_seconds: f64,
    /// Seconds that lie in none of its sounds, or beyond the model's length.
    missed_seconds: f64,
    /// Whether one of its sounds is longer than the model's.
    is_longer: bool,
}

impl<T: Send, L: Fn(&Facts, Option<TrainingSound>) -> T + Sync> Hearing<'_, L> {
    /// Reads one file, or the beginning of a long one.
    fn file(&self, path: &Path) -> Look<T> {
        let longest = long::longest_seconds(self.crop);
        // A moment more is read, to know which files go on.
        let decoded = match audio::decode(path, Some(longest + 0.001)) {
            Ok(decoded) => decoded,
            Err(error) => {
                let empty = matches!(error, Error::EmptySound { .. })
                    || fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
                let kind = match empty {
                    true => IssueKind::Empty,
                    false => IssueKind::Unreadable,
                };
                return Look::Read(refused(kind, reason(error)), 0.0);
            }
        };
        if decoded.clip.seconds() > longest {
            let mut hasher = blake3::Hasher::new();
            hasher.update(sound::content(&decoded.clip).as_bytes());
            hasher.update(&decoded.seconds.to_le_bytes());
            return Look::Long(hasher.finalize());
        }
        let (present, seconds) = (decoded.seconds, decoded.clip.seconds());
        let said = said_of(&decoded, seconds);
        let mut heard = self.sound(decoded.clip);
        if heard.found.is_some() {
            heard.remarks.extend(said);
        }
        Look::Read(heard, present)
    }

    /// Hears one sound, and prepares it for a model if there is one.
    fn sound(&self, mut clip: Clip) -> Heard<T> {
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
        let facts = Facts {
            hash,
            fingerprint: (self.model.is_some() && self.splits).then(|| Fingerprint::of(&clip)),
            faults,
            sample_rate: clip.sample_rate(),
            channels: clip.channels().len(),
            frames: clip.len_frames(),
        };
        let mut source = None;
        if let Some(ModelFormat { format, crop }) = self.model {
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
        let seen = (self.look)(&facts, source);
        Heard {
            remarks,
            found: Some((facts, seen)),
        }
    }

    /// Reads a long file piece by piece, and hands the sounds that it is cut into to `keep`.
    ///
    /// # Errors
    /// [`Error::Stopped`] where `on_piece`, which is asked before each, broke off.
    fn long_file(
        &self,
        file: &File,
        on_piece: &mut dyn FnMut() -> ControlFlow<()>,
        keep: &mut impl FnMut(File, Facts, T),
    ) -> Result<CutFile> {
        let mut cut = CutFile::default();
        let mut oddities: BTreeMap<IssueKind, (usize, String, Action)> = BTreeMap::new();
        let (mut at, mut pieces) = (0u64, Vec::new());
        let mut hear = |pieces: &mut Vec<(u64, Clip)>| {
            let sounds: Vec<(u64, Clip)> = pieces
                .drain(..)
                .flat_map(|(start, piece)| {
                    cut.read_seconds += piece.seconds();
                    let ranges = long::cut(&piece, self.crop, start == 0);
                    let sound = |range: std::ops::Range<usize>| {
                        let clip = piece.slice(range.start, range.len());
                        (start + range.start as u64, clip)
                    };
                    ranges.into_iter().map(sound).collect::<Vec<_>>()
                })
                .collect();
            let heard: Vec<(Stretch, Heard<T>)> = sounds
                .into_par_iter()
                .map(|(start, clip)| {
                    let frames = clip.len_frames() as u64;
                    (Stretch { start, frames }, self.sound(clip))
                })
                .collect();
            for (stretch, Heard { remarks, found }) in heard {
                for (kind, detail, action) in remarks {
                    oddities.entry(kind).or_insert((0, detail, action)).0 += 1;
                }
                let Some((facts, seen)) = found else { continue };
                cut.layout.get_or_insert(facts.layout());
                cut.sounds += 1;
                let over = self.model.map_or(0.0, |model| beyond(&facts, model.format));
                cut.is_longer |= over > 0.0;
                cut.missed_seconds -= facts.seconds() - over.max(0.0);
                let part = File {
                    stretch: Some(stretch),
                    ..file.clone()
                };
                keep(part, facts, seen);
            }
        };
        let decoded = audio::decode_pieces(&file.path, PIECE_SECONDS, &mut |clip| {
            let frames = clip.len_frames() as u64;
            pieces.push((at, clip));
            at += frames;
            if pieces.len() >= rayon::current_num_threads() {
                hear(&mut pieces);
            }
            on_piece()
        });
        if matches!(decoded, Err(Error::Stopped)) {
            return Err(Error::Stopped);
        }
        let decoded = decoded.map(|mut decoded| {
            let empty = Clip::new(decoded.clip.sample_rate(), vec![Vec::new()]);
            pieces.push((at, std::mem::replace(&mut decoded.clip, empty)));
            decoded
        });
        hear(&mut pieces);
        cut.missed_seconds = match self.crop {
            Crop::Onset => cut.missed_seconds + cut.read_seconds,
            Crop::Anywhere => 0.0,
        };
        let is_used = cut.sounds > 0;
        for (kind, (count, detail, action)) in oddities {
            let (detail, action) = match (action, is_used) {
                // What is silent between hits is no loss.
                (Action::Skipped, true) if self.crop == Crop::Onset => continue,
                (Action::Skipped, true) => (of_parts(count, &detail), Action::KeptTheRest),
                _ => (of_parts(count, &detail), action),
            };
            cut.remarks.push((kind, detail, action));
        }
        match decoded {
            Ok(decoded) => {
                cut.present_seconds = decoded.seconds.max(cut.read_seconds);
                if is_used {
                    let said = said_of(&decoded, cut.read_seconds);
                    cut.remarks.extend(said);
                }
            }
            Err(error) => {
                cut.present_seconds = cut.read_seconds;
                let (kind, action) = match is_used {
                    true => (IssueKind::Truncated, Action::KeptTheStart),
                    false => (IssueKind::Unreadable, Action::Skipped),
                };
                cut.remarks.push((kind, reason(error), action));
            }
        }
        if !is_used && cut.remarks.is_empty() {
            let detail = "no onset was found in it".to_owned();
            cut.remarks
                .push((IssueKind::Silent, detail, Action::Skipped));
        }
        Ok(cut)
    }
}

/// A remark on so many parts of a file, of which `detail` says the first.
fn of_parts(count: usize, detail: &str) -> String {
    match count {
        1 => format!("in one part, {detail}"),
        _ => format!("in {count} parts; in the first, {detail}"),
    }
}

/// What is to be said of a file that was read otherwise than it says itself.
fn said_of(decoded: &Decoded, seconds: f64) -> Vec<Remark> {
    let mut said = Vec::new();
    if !decoded.lost.is_empty() {
        let lost = decoded.lost.join(", and ");
        let detail = format!("{lost}; {seconds:.3} s were found");
        said.push((IssueKind::Truncated, detail, Action::KeptTheStart));
    }
    if !decoded.mended.is_empty() {
        let detail = decoded.mended.join(", and ");
        said.push((IssueKind::Mended, detail, Action::Kept));
    }
    said
}

fn refused<T>(kind: IssueKind, detail: String) -> Heard<T> {
    Heard {
        remarks: vec![(kind, detail, Action::Skipped)],
        found: None,
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
        let others = reasons[4..].iter().map(|&(_, n, _)| n).sum::<usize>();
        words.push(counted(others, "other"));
    }
    format!(
        "none of its {} can be used: {}",
        counted(report.found, "sound file"),
        words.join(", ")
    )
}
