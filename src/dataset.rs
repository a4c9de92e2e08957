//! A folder of sounds, as batches that a model can learn from.
//!
//! [`Dataset::open`] reads every file once, tells what it found ([`Report`]) and keeps what fits into
//! its cache. Files that cannot be used are named and passed over, never guessed at. Everything that
//! follows is fixed by the files' content and a seed: the order of sounds, the split, the draws and
//! the batches are the same for any number of threads and any size of cache.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::attributes::Attributes;
use crate::audio::Clip;
use crate::error::{Error, Result};
pub use crate::representation::Crop;
use crate::representation::{ClipLengths, Format};

mod alike;
mod augment;
mod batch;
mod cache;
mod folder;
mod labels;
mod long;
mod report;
mod scan;
mod sound;
mod split;
mod survey;

pub(crate) use augment::SEMITONES_PER_UNIT;
pub use augment::{Augment, Change, Descriptor, SHORTEST_T60};
pub use batch::Batch;
pub use labels::{LabelSource, Labels};
pub(crate) use long::Stretch;
pub use report::{Action, Amount, Cut, Issue, IssueKind, Report};
pub use split::{HeldBack, Whole};
pub(crate) use survey::{Surveyed, reread, survey};

use cache::Cache;
use scan::NOTHING_LEFT;
use sound::TrainingSound;
use survey::{Gathered, gather};

/// Which sounds of a folder to use, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanOptions {
    /// Where labels come from.
    pub labels: Labels,
    /// Only sounds with one of these labels; all sounds if empty. Each is a label or, where none is called like the
    /// whole, several with commas between them; letters may be composed in any way and, where that leaves but one, in
    /// upper or lower case.
    pub include: Vec<String>,
    /// Part of the sounds to hold back for validation, 0 to 0.5.
    pub validation: f32,
    /// Where clips begin.
    pub crop: Crop,
    /// Memory for prepared sounds in MiB. The rest is decoded again at every use.
    pub cache_mb: u64,
}

/// Most labels that sounds may have, and a model.
pub(crate) const MAX_LABELS: usize = 1024;
/// Longest name of one, in bytes.
pub(crate) const MAX_NAME: usize = 256;

/// Memory for prepared sounds where nobody says, MiB.
pub const CACHE_MB: u64 = 512;

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            labels: Labels::Auto,
            include: Vec::new(),
            validation: 0.1,
            crop: Crop::Onset,
            cache_mb: CACHE_MB,
        }
    }
}

/// How many files that look like sounds `options` choose below `root`: nothing is opened.
///
/// # Errors
/// When `root` is no folder, or the manifest or `include` make no sense.
pub fn count(root: &Path, options: &ScanOptions) -> Result<usize> {
    Ok(scan::walk(root, options)?.files.len())
}

/// The labels that the files below `root` have which look like sounds and `options` choose, sorted: nothing is opened.
///
/// # Errors
/// As [`count`].
pub fn labels(root: &Path, options: &ScanOptions) -> Result<Vec<String>> {
    let files = scan::walk(root, options)?.files.into_iter();
    let labels: BTreeSet<String> = files.filter_map(|file| file.label).collect();
    Ok(labels.into_iter().collect())
}

/// Reads every sound below `root` and tells what is there; keeps nothing.
///
/// `on_progress` hears how many of how many files are done. A folder whose sounds are all unusable
/// is reported like any other.
///
/// # Errors
/// When `root` is no folder or holds no sound files, or the manifest or `include` make no sense.
pub fn check(
    root: &Path,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Report> {
    let mut on_progress = |done, all| {
        on_progress(done, all);
        ControlFlow::Continue(())
    };
    scan::read(
        root,
        None,
        options,
        &mut on_progress,
        |_, _| (),
        |_, _, ()| (),
    )
}

/// One sound as [`Dataset::clip`] gives those of a folder: from its onset, in exactly `format`, its offset
/// removed, its peak at 0.95. `None` if nothing audible is left.
///
/// # Errors
/// When it cannot be resampled.
pub fn prepare(mut clip: Clip, format: Format) -> Result<Option<Clip>> {
    let remarks = sound::examine(&mut clip);
    if remarks
        .iter()
        .any(|(_, _, action)| *action == Action::Skipped)
    {
        return Ok(None);
    }
    let source = TrainingSound::new(clip, format, Crop::Onset)?;
    Ok(source.map(|source| source.plain(format, Crop::Onset)))
}

/// The usable sounds of a folder, in order of their paths.
///
/// ```
/// use audiodiff::audio::{BitDepth, Clip, write_wav};
/// use audiodiff::dataset::{Dataset, ScanOptions};
/// use audiodiff::representation::Format;
///
/// # let folder = tempfile::tempdir().expect("a folder");
/// for (label, hz) in [("high", 880.0), ("low", 110.0)] {
///     let tone = |n| 0.5 * (std::f32::consts::TAU * hz * n as f32 / 8000.0).sin();
///     let tone = Clip::new(8000, vec![(0..4000).map(tone).collect()]);
///     # std::fs::create_dir(folder.path().join(label)).expect("a folder");
///     write_wav(&folder.path().join(label).join("tone.wav"), &tone, BitDepth::Int16)?;
/// }
/// let format = Format { sample_rate: 8000, channels: 1, len_frames: 2048 };
/// let options = ScanOptions { validation: 0.0, ..ScanOptions::default() };
/// let (dataset, report) = Dataset::open(folder.path(), format, &options, &mut |_, _| ())?;
/// assert_eq!(dataset.labels(), ["high", "low"]);
/// assert_eq!((dataset.train(), report.skipped()), (&[0, 1][..], 0));
/// assert_eq!(dataset.clip(0)?.len_frames(), 2048);
/// # Ok::<(), audiodiff::Error>(())
/// ```
pub struct Dataset {
    format: Format,
    crop: Crop,
    labels: Vec<String>,
    labels_from: LabelSource,
    sounds: Vec<Entry>,
    train: Vec<usize>,
    validation: Vec<usize>,
    fingerprint: String,
    /// Training sounds of each label that has any (of none, last), and the weights summed up to it.
    classes: Vec<(f32, Vec<usize>)>,
}

struct Entry {
    path: PathBuf,
    /// Of a long file, the part that this is.
    stretch: Option<Stretch>,
    label: Option<u32>,
    /// Of its content as it was when opened.
    hash: blake3::Hash,
    /// Filled when opened, as far as the cache goes, and never changed.
    source: Option<Arc<TrainingSound>>,
    /// Of its clip, once somebody wanted it.
    attributes: OnceLock<Attributes>,
    /// [`Dataset::end`], likewise.
    end: OnceLock<usize>,
}

impl Dataset {
    /// Reads every sound below `root`, for a model of this `format`.
    ///
    /// `on_progress` hears how many of how many files are done. Long recordings become many sounds: those of
    /// more than 30 s are cut at their onsets where clips begin there, those of more than 120 s into pieces of 30 s where
    /// clips begin anywhere. What is odd about a file is in the report; reading goes on with the rest.
    ///
    /// # Errors
    /// When `root` is no folder or nothing in it is usable (the sentence counts the reasons), or
    /// when the manifest, `include`, `validation` or `format` make no sense.
    pub fn open(
        root: &Path,
        format: Format,
        options: &ScanOptions,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Dataset, Report)> {
        Self::open_while(root, format, options, &mut |done, all| {
            on_progress(done, all);
            ControlFlow::Continue(())
        })
    }

    /// [`Dataset::open`] for as long as `on_progress` does not break it off.
    ///
    /// # Errors
    /// As [`Dataset::open`]; [`Error::Stopped`] where it was broken off, which takes a moment.
    pub fn open_while(
        root: &Path,
        format: Format,
        options: &ScanOptions,
        on_progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(Dataset, Report)> {
        let mut sources: Vec<Option<TrainingSound>> = Vec::new();
        let mut cache = Cache::new(options.cache_mb.saturating_mul(1 << 20));
        let gathered = gather(
            root,
            format,
            options,
            on_progress,
            |_, source| source,
            |facts, source: Option<TrainingSound>| {
                let bytes = source.as_ref().map_or(0, TrainingSound::bytes);
                let mut dropped = Vec::new();
                let size_of =
                    |other: usize| sources[other].as_ref().map_or(0, TrainingSound::bytes);
                let seconds = facts.seconds();
                let is_kept = cache.keep(sources.len(), seconds, bytes, &mut dropped, size_of);
                for other in dropped {
                    sources[other] = None;
                }
                sources.push(source.filter(|_| is_kept));
            },
        )?;
        let Gathered {
            labels,
            files,
            held,
            report,
        } = gathered;
        let (train, validation): (Vec<usize>, Vec<usize>) =
            (0..files.len()).partition(|n| !held.contains(n));
        let sounds: Vec<Entry> = files
            .into_iter()
            .zip(sources)
            .map(|((file, label, hash), source)| Entry {
                path: file.path,
                stretch: file.stretch,
                label,
                hash,
                source: source.map(Arc::new),
                attributes: OnceLock::new(),
                end: OnceLock::new(),
            })
            .collect();
        let fingerprint = fingerprint(options.crop, &sounds, &train);
        let classes = classes(&labels, &sounds, &train);
        let dataset = Dataset {
            format,
            crop: options.crop,
            labels,
            labels_from: report.labels_from.clone(),
            sounds,
            train,
            validation,
            fingerprint,
            classes,
        };
        Ok((dataset, report))
    }

    /// Where clips begin.
    #[must_use]
    pub fn crop(&self) -> Crop {
        self.crop
    }

    /// Names of the labels that usable sounds have, sorted.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Where the labels came from.
    #[must_use]
    pub fn labels_from(&self) -> &LabelSource {
        &self.labels_from
    }

    /// Stands for the sounds' content, their order, labels and split, and where clips begin: two data sets
    /// of one format that share it give the same batches.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How many sounds are usable; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.sounds.len()
    }

    /// Label of the sound at `index` below [`Dataset::len`]: its place in [`Dataset::labels`].
    #[must_use]
    pub fn label(&self, index: usize) -> Option<u32> {
        self.sounds[index].label
    }

    /// File of the sound at `index` below [`Dataset::len`].
    #[must_use]
    pub fn path(&self, index: usize) -> &Path {
        &self.sounds[index].path
    }

    /// The sounds to learn from.
    #[must_use]
    pub fn train(&self) -> &[usize] {
        &self.train
    }

    /// The sounds held back: whole sources (what a manifest's column `group` names, folders below those of the labels,
    /// what stands before `__` in names), and never one of two near-duplicates, unless too many sounds are alike.
    /// Sources are drawn by their names and sounds without one by their content, so they mostly stay there when files
    /// are added. Empty for fewer than three sounds, or where each label has but one.
    #[must_use]
    pub fn validation(&self) -> &[usize] {
        &self.validation
    }

    /// The sound at `index` below [`Dataset::len`] in exactly the model's format: from its onset,
    /// padded or faded out to the model's length, its offset removed, its peak at 0.95.
    ///
    /// # Errors
    /// When the file has to be decoded again and no longer can be.
    pub fn clip(&self, index: usize) -> Result<Arc<Clip>> {
        let source = self.source(index)?;
        Ok(Arc::new(source.plain(self.format, self.crop)))
    }

    /// The clips at `indices`, in their order, a few prepared at a time on all threads; `on_progress` hears how many.
    /// Each is as long as its sound needs, of `lengths`. With `attributes` they are measured at once, while they are
    /// there. Where `on_progress` breaks it off, the last is [`Error::Stopped`].
    pub(crate) fn clips<'a>(
        &'a self,
        indices: &'a [usize],
        lengths: &'a ClipLengths,
        attributes: bool,
        on_progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> impl Iterator<Item = Result<Arc<Clip>>> + 'a {
        let one = move |&index: &usize| {
            let source = self.source(index)?;
            if attributes && self.crop == Crop::Onset {
                self.attributes_by(index, &source);
            }
            let len_frames = lengths.of(self.end_by(index, &source));
            let format = Format {
                len_frames,
                ..self.format
            };
            Ok(Arc::new(source.plain(format, self.crop)))
        };
        let mut done = 0;
        let few = 4 * rayon::current_num_threads();
        indices.chunks(few).flat_map(move |part| {
            if on_progress(done, indices.len()).is_break() {
                return vec![Err(Error::Stopped)];
            }
            done += part.len();
            part.par_iter().map(one).collect::<Vec<_>>()
        })
    }

    /// How many sounds are decoded again at each use, since they do not fit into the cache.
    #[must_use]
    pub fn uncached(&self) -> usize {
        let kept = |sound: &&Entry| sound.source.is_none();
        self.sounds.iter().filter(kept).count()
    }

    /// The attributes of the clip at `index` below [`Dataset::len`]. They are measured once, when first asked for.
    ///
    /// # Errors
    /// As [`Dataset::clip`].
    pub fn attributes(&self, index: usize) -> Result<Attributes> {
        match self.sounds[index].attributes.get() {
            Some(attributes) => Ok(*attributes),
            None => Ok(self.attributes_by(index, &*self.source(index)?)),
        }
    }

    /// How many frames of audio of the clip at `index` below [`Dataset::len`] sound: the rest stays 60 dB below its
    /// peak. It is measured once, when first asked for.
    ///
    /// # Errors
    /// As [`Dataset::clip`].
    pub fn end(&self, index: usize) -> Result<usize> {
        match self.sounds[index].end.get() {
            Some(end) => Ok(*end),
            None => Ok(self.end_by(index, &*self.source(index)?)),
        }
    }

    /// The same where its source is at hand.
    fn end_by(&self, index: usize, source: &TrainingSound) -> usize {
        let measure = || source.end().min(self.format.len_frames);
        *self.sounds[index].end.get_or_init(measure)
    }

    /// The same where its source is at hand.
    fn attributes_by(&self, index: usize, source: &TrainingSound) -> Attributes {
        let measure = || source.attributes(0, 0.0, self.format, self.crop);
        *self.sounds[index].attributes.get_or_init(measure)
    }

    /// From the cache, or read again.
    fn source(&self, index: usize) -> Result<Arc<TrainingSound>> {
        let Entry {
            path,
            stretch,
            source,
            hash,
            ..
        } = &self.sounds[index];
        if let Some(source) = source {
            return Ok(source.clone());
        }
        let mut clip = long::read(path, *stretch)?;
        let spoilt = |reason: &str| {
            Error::sound(
                path,
                format!("it has changed since the folder was opened: {reason}"),
            )
        };
        // Only sounds that passed were kept, so the same content passes again.
        if sound::content(&clip) != *hash {
            return Err(spoilt("its content differs"));
        }
        sound::examine(&mut clip);
        TrainingSound::new(clip, self.format, self.crop)?
            .map(Arc::new)
            .ok_or_else(|| spoilt(NOTHING_LEFT))
    }
}

/// The hash of where clips begin, and of each sound's content, label and part.
fn fingerprint(crop: Crop, sounds: &[Entry], train: &[usize]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::from(crop == Crop::Anywhere)]);
    for (n, sound) in sounds.iter().enumerate() {
        hasher.update(sound.hash.as_bytes());
        hasher.update(&sound.label.map_or(0, |label| label + 1).to_le_bytes());
        hasher.update(&[u8::from(train.binary_search(&n).is_ok())]);
    }
    hasher.finalize().to_hex().to_string()
}

/// The training sounds of each label that has any, those without one last, and the weights summed up to it: a label
/// weighs as much as the square root of its number of sounds.
fn classes(labels: &[String], sounds: &[Entry], train: &[usize]) -> Vec<(f32, Vec<usize>)> {
    let mut classes = Vec::new();
    let mut sum = 0.0;
    for label in (0..labels.len() as u32).map(Some).chain([None]) {
        let own = train.iter().copied();
        let members: Vec<usize> = own.filter(|&n| sounds[n].label == label).collect();
        if !members.is_empty() {
            sum += (members.len() as f32).sqrt();
            classes.push((sum, members));
        }
    }
    classes
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Dataset")
            .field("format", &self.format)
            .field("crop", &self.crop))
        .field("labels", &self.labels)
        .field("sounds", &self.sounds.len())
        .field("cached", &(self.len() - self.uncached()))
        .field("validation", &self.validation.len())
        .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
