//! The report on a folder of sounds, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::labels::LabelSource;
use super::split::HeldBack;
use crate::error::{counted, printable};

/// The ways in which a file is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum IssueKind {
    /// It could not be opened, read or understood.
    Unreadable,
    /// It holds no audio at all.
    Empty,
    /// Its peak lies below -60 dB of full scale, its offset removed.
    Silent,
    /// It holds values that are not numbers, infinite, or beyond any level.
    NotFinite,
    /// It is shorter than 5 ms.
    TooShort,
    /// It holds the same sound as another file, or is a link to one.
    Duplicate,
    /// The file ends before its header says so, or parts of it are damaged.
    Truncated,
    /// Its header says something else than the file holds: it was read all the same.
    Mended,
    /// Eight or more consecutive values stand at full scale.
    Clipped,
    /// Its values lie around something other than zero.
    DcOffset,
    /// Its sample rate is less than half the model's: nothing sounds above half of it.
    LowRate,
    /// It has no label, though others have.
    NoLabel,
    /// A line of the manifest names no file, or contradicts another line.
    Manifest,
    /// A label cannot name a class of a model.
    ClassName,
}

impl IssueKind {
    /// The kind as the report prints and serializes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            IssueKind::Unreadable => "unreadable",
            IssueKind::Empty => "empty",
            IssueKind::Silent => "silent",
            IssueKind::NotFinite => "not-finite",
            IssueKind::TooShort => "too-short",
            IssueKind::Duplicate => "duplicate",
            IssueKind::Truncated => "truncated",
            IssueKind::Mended => "mended",
            IssueKind::Clipped => "clipped",
            IssueKind::DcOffset => "dc-offset",
            IssueKind::LowRate => "low-rate",
            IssueKind::NoLabel => "no-label",
            IssueKind::Manifest => "manifest",
            IssueKind::ClassName => "class-name",
        }
    }
}

/// The consequence of an [`Issue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Action {
    /// The file is not used.
    Skipped,
    /// The file is used as it is.
    Kept,
    /// The file is used, its offset subtracted.
    DcRemoved,
    /// The file is used as far as it was read.
    KeptTheStart,
    /// The file is used without these parts.
    KeptTheRest,
    /// The file is used without a label.
    KeptUnlabelled,
    /// The line of the manifest has no effect.
    Ignored,
    /// Training refuses to begin until it is mended.
    Refused,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Skipped => "skipped",
            Action::Kept => "kept",
            Action::DcRemoved => "kept, offset removed",
            Action::KeptTheStart => "kept as far as it was read",
            Action::KeptTheRest => "kept without these parts",
            Action::KeptUnlabelled => "kept without a label",
            Action::Ignored => "ignored",
            Action::Refused => "refused by training",
        })
    }
}

/// One remark about one file, or one line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// The file, relative to the folder where it lies below it. JSON replaces what is not UTF-8.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The kind.
    pub kind: IssueKind,
    /// The finding, in words and numbers.
    pub detail: String,
    /// The consequence.
    pub action: Action,
}

/// A number of files and what they hold together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Amount {
    /// How many files.
    pub files: usize,
    /// How long they are together, as far as they were read.
    pub seconds: f64,
}

impl Amount {
    pub(super) fn add(&mut self, seconds: f64) {
        self.files += 1;
        self.seconds += seconds;
    }
}

/// The long files of a folder, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// How many files.
    pub files: usize,
    /// How many sounds they are cut into.
    pub sounds: usize,
    /// Whether they are cut at their onsets, or into pieces of equal length.
    pub at_onsets: bool,
}

/// The contents of a folder: totals of what is usable, and a list of everything odd.
///
/// ```
/// use audiodiff::audio::{BitDepth, Clip, write_wav};
/// use audiodiff::dataset::{IssueKind, ScanOptions, check};
///
/// # let folder = tempfile::tempdir().expect("a folder");
/// # std::fs::create_dir(folder.path().join("tone")).expect("a folder");
/// let tone = Clip::new(8000, vec![(0..800).map(|n| (0.1 * n as f32).sin()).collect()]);
/// write_wav(&folder.path().join("tone/sine.wav"), &tone, BitDepth::Int16)?;
/// std::fs::write(folder.path().join("tone/notes.wav"), "no sound").expect("it is written");
///
/// let report = check(folder.path(), &ScanOptions::default(), &mut |_, _| ())?;
/// assert_eq!((report.found, report.total.files, report.skipped()), (2, 1, 1));
/// assert_eq!(report.issues[0].kind, IssueKind::Unreadable);
/// # Ok::<(), audiodiff::Error>(())
/// ```
///
/// `Display` is a table for the terminal that shortens long lists; serialized, it is complete.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The folder.
    #[serde(serialize_with = "lossy")]
    pub root: PathBuf,
    /// Files that look like sounds, usable or not.
    pub found: usize,
    /// Files with other extensions, by extension: not opened.
    pub others: BTreeMap<String, usize>,
    /// The usable files.
    pub total: Amount,
    /// Where the labels came from.
    pub labels_from: LabelSource,
    /// Seconds of sound that the usable files hold or promise, read or not: more than those of `total` where files go on
    /// after what is read of them, or are damaged.
    pub present_seconds: f64,
    /// The usable files by label.
    pub labels: BTreeMap<String, Amount>,
    /// The usable files without a label.
    pub unlabelled: Amount,
    /// Usable files by sample rate in Hz.
    pub sample_rates: BTreeMap<u32, usize>,
    /// Usable files by number of channels.
    pub channels: BTreeMap<usize, usize>,
    /// Usable files that are cut, since they are long, into how many sounds, and whether at their onsets.
    pub cut: Cut,
    /// Usable files longer than the model's length, which are cut or windowed; `None` without a model.
    pub longer_than_model: Option<usize>,
    /// Seconds of these that lie beyond the model's length from the onset on, which training does not use; `None`
    /// without a model.
    pub not_learnt_seconds: Option<f64>,
    /// The sounds held back for validation; `None` where nothing was to be.
    pub held_back: Option<HeldBack>,
    /// Everything odd, in order of path.
    pub issues: Vec<Issue>,
}

impl Report {
    /// How many files were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.found - self.total.files
    }

    /// Why nothing is usable, or what is odd, by kind: the most frequent first, each with an example.
    pub(super) fn reasons(&self, action: Action) -> Vec<(IssueKind, usize, &Issue)> {
        let mut kinds: BTreeMap<IssueKind, (usize, &Issue)> = BTreeMap::new();
        for issue in self.issues.iter().filter(|issue| issue.action == action) {
            kinds.entry(issue.kind).or_insert((0, issue)).0 += 1;
        }
        let mut reasons: Vec<_> = kinds
            .into_iter()
            .map(|(kind, (count, example))| (kind, count, example))
            .collect();
        reasons.sort_by_key(|&(kind, count, _)| (std::cmp::Reverse(count), kind));
        reasons
    }

    /// The other extensions in words: "txt 3, mid 1".
    pub(super) fn others_in_words(&self) -> String {
        self.others
            .iter()
            .map(|(extension, n)| format!("{extension} {n}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Fraction of all seconds beyond which the report says that they are not used: the tails of one-shots are no loss.
const MISSED: f64 = 0.5;

/// Seconds beyond which the report says that they were not read: less than a frame of the slowest sound.
const UNREAD: f64 = 1e-4;

/// How many issues of a kind `Display` lists.
const LISTED: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = printable(&self.root.display().to_string());
        writeln!(
            f,
            "{root}: {}, {}, {} skipped",
            counted(self.total.files, "usable sound"),
            duration(self.total.seconds),
            self.skipped()
        )?;
        if !self.labels_from.by.is_empty() {
            let from = printable(&self.labels_from.to_string());
            writeln!(f, "  labels by     {from}")?;
        }
        self.fmt_labels(f)?;
        self.fmt_formats(f)?;
        self.fmt_lengths(f)?;
        if let Some(held) = &self.held_back {
            writeln!(f, "  held back     {}", printable(&held.to_string()))?;
        }
        if !self.others.is_empty() {
            writeln!(f, "  not sounds by their names: {}", self.others_in_words())?;
        }
        self.fmt_issues(f)
    }
}

impl Report {
    /// A table of the labels, where there are any.
    fn fmt_labels(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.labels.is_empty() {
            return Ok(());
        }
        let labelled = self.labels.iter();
        let mut rows: Vec<(String, Amount)> = labelled
            .map(|(name, &amount)| (printable(name), amount))
            .collect();
        if self.unlabelled.files > 0 {
            rows.push(("(no label)".to_owned(), self.unlabelled));
        }
        let widths = rows.iter().map(|(name, _)| name.chars().count());
        let width = widths.max().unwrap_or(0).max(5);
        writeln!(
            f,
            "\n  {:width$}  {:>6}  {:>9}",
            "label", "files", "seconds"
        )?;
        for (name, Amount { files, seconds }) in rows {
            writeln!(f, "  {name:width$}  {files:>6}  {seconds:>9.1}")?;
        }
        writeln!(f)
    }

    /// How many files there are of each sample rate and number of channels.
    fn fmt_formats(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total.files == 0 {
            return Ok(());
        }
        let rates = self.sample_rates.iter();
        let rates: Vec<String> = rates.map(|(hz, n)| format!("{hz} Hz ({n})")).collect();
        let channels = self.channels.iter();
        let channels: Vec<String> = channels.map(|(c, n)| format!("{c} ({n})")).collect();
        writeln!(f, "  sample rates  {}", rates.join(", "))?;
        writeln!(f, "  channels      {}", channels.join(", "))
    }

    /// How much was not read, and how much lies beyond the model's length, where that is not little.
    fn fmt_lengths(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unread = self.present_seconds - self.total.seconds;
        if unread > UNREAD {
            writeln!(
                f,
                "  not read       {unread:.3} s of the {:.3} s that these files hold or promise",
                self.present_seconds
            )?;
        }
        if let Cut {
            files: files @ 1..,
            sounds,
            at_onsets,
        } = self.cut
        {
            let into = if at_onsets {
                "hits at their onsets"
            } else {
                "pieces of 30 s"
            };
            writeln!(f, "  long files    {files}, cut into {sounds} {into}")?;
        }
        let Some(longer) = self.longer_than_model.filter(|&n| n > 0) else {
            return Ok(());
        };
        writeln!(f, "  longer than the model's length: {longer}")?;
        let missed = self.not_learnt_seconds.unwrap_or(0.0);
        if missed <= MISSED * self.total.seconds {
            return Ok(());
        }
        writeln!(
            f,
            "  not learnt, since it lies beyond that length: {} ({:.0}%); --crop anywhere learns all parts",
            duration(missed),
            100.0 * missed / self.total.seconds
        )
    }

    /// The issues by kind, the first few of each.
    fn fmt_issues(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<IssueKind, Vec<&Issue>> = BTreeMap::new();
        for issue in &self.issues {
            kinds.entry(issue.kind).or_default().push(issue);
        }
        for (kind, issues) in kinds {
            writeln!(f, "\n  {} ({})", kind.name(), issues.len())?;
            for issue in issues.iter().take(LISTED) {
                let path = printable(&issue.path.display().to_string());
                let detail = printable(&issue.detail);
                writeln!(f, "    {path}: {detail}; {}", issue.action)?;
            }
            if issues.len() > LISTED {
                writeln!(f, "    and {} more", issues.len() - LISTED)?;
            }
        }
        Ok(())
    }
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{seconds:.1} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// JSON knows only UTF-8; some file names are something else.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_labels_and_shortens_long_lists() {
        let mut report = Report {
            root: "drums".into(),
            found: 14,
            ..Report::default()
        };
        report.labels.insert(
            "kick".into(),
            Amount {
                files: 2,
                seconds: 1.5,
            },
        );
        report.total = Amount {
            files: 2,
            seconds: 1.5,
        };
        for n in 0..12 {
            report.issues.push(Issue {
                path: format!("{n}.wav").into(),
                kind: IssueKind::Silent,
                detail: "peak -inf dB".into(),
                action: Action::Skipped,
            });
        }
        let text = report.to_string();
        assert!(
            text.starts_with("drums: 2 usable sounds, 1.5 s, 12 skipped\n"),
            "{text}"
        );
        assert!(text.contains("  kick        2        1.5\n"), "{text}");
        assert!(
            text.contains("silent (12)") && text.contains("and 4 more"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_learnt_of_long_sounds_is_said_and_names_move_no_cursor() {
        let songs = Amount {
            files: 3,
            seconds: 360.0,
        };
        let mut report = Report {
            root: "songs".into(),
            found: 3,
            total: songs,
            longer_than_model: Some(3),
            not_learnt_seconds: Some(356.4),
            ..Report::default()
        };
        report.labels.insert("up\u{1b}[A\n".into(), songs);
        let text = report.to_string();
        let expected = "5 min 56 s (99%); --crop anywhere learns all parts\n";
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("up\\u{1b}[A\\n") && !text.contains('\u{1b}'),
            "{text}"
        );
        report.not_learnt_seconds = Some(100.0);
        assert!(
            !report.to_string().contains("anywhere"),
            "tails are no loss"
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf8_serialize() {
        use std::os::unix::ffi::OsStrExt;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"caf\xe9.wav"));
        let issue = Issue {
            path,
            kind: IssueKind::DcOffset,
            detail: String::new(),
            action: Action::DcRemoved,
        };
        let json = serde_json::to_value(&issue).unwrap();
        assert_eq!(json["path"], "caf\u{fffd}.wav");
        assert_eq!(
            (&json["kind"], &json["action"]),
            (&"dc-offset".into(), &"dc-removed".into())
        );
    }
}
