//! One pass over the sounds of a folder: what is usable, and what is held back.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::alike::{self, Fingerprint};
use super::folder::File;
use super::long::{self, Stretch};
use super::report::Report;
use super::scan::{self, Facts, ModelFormat};
use super::sound::TrainingSound;
use super::split::{self, HeldBack};
use super::{ScanOptions, prepare};
use crate::audio::{Clip, Faults};
use crate::error::{Error, Result};
use crate::representation::Format;

/// A sound of a folder, as [`survey`] found it.
#[derive(Debug)]
pub(crate) struct Surveyed<T> {
    pub path: PathBuf,
    /// Of a long file, the part that this is.
    pub stretch: Option<Stretch>,
    pub label: Option<String>,
    /// Whether it is held back for validation.
    pub held: bool,
    pub seen: T,
}

/// Decodes every usable sound below `root` once, as [`Dataset::open`](super::Dataset::open) does, and keeps only the
/// results of `look`, which is given each clip and the faults that the sound came with.
///
/// # Errors
/// As [`Dataset::open`](super::Dataset::open), and those of `look`.
pub(crate) fn survey<T: Send>(
    root: &Path,
    format: Format,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize),
    look: impl Fn(&Clip, Faults) -> Result<T> + Sync,
) -> Result<(Vec<Surveyed<T>>, Report)> {
    let window = |source: TrainingSound| source.plain(format, options.crop);
    let mut all = Vec::new();
    let gathered = gather(
        root,
        format,
        options,
        &mut |done, all| {
            on_progress(done, all);
            ControlFlow::Continue(())
        },
        |facts, source| source.map(|source| look(&window(source), facts.faults)),
        |_, seen| all.push(seen),
    )?;
    let mut found = Vec::with_capacity(gathered.files.len());
    for (n, ((file, label, _), seen)) in gathered.files.into_iter().zip(all).enumerate() {
        let Some(seen) = seen else { continue };
        found.push(Surveyed {
            path: file.path,
            stretch: file.stretch,
            label: label.map(|label| gathered.labels[label as usize].clone()),
            held: gathered.held.contains(&n),
            seen: seen?,
        });
    }
    Ok((found, gathered.report))
}

/// The file at `path`, or that part of it, as one of [`survey`]'s clips, from its onset; `None` if nothing audible is
/// left.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn reread(
    path: &Path,
    stretch: Option<Stretch>,
    format: Format,
) -> Result<Option<Clip>> {
    prepare(long::read(path, stretch)?, format)
}

/// A usable file, the place of its label among the labels, and the hash of its content.
pub(super) type UsableFile = (File, Option<u32>, blake3::Hash);

/// The usable sounds of a folder.
pub(super) struct Gathered {
    /// Sorted.
    pub labels: Vec<String>,
    /// In order of path.
    pub files: Vec<UsableFile>,
    /// Those held back.
    pub held: BTreeSet<usize>,
    pub report: Report,
}

/// `look`s at the usable sounds below `root` as they are read, and hands what it saw to `keep`, in order of path.
pub(super) fn gather<T: Send>(
    root: &Path,
    format: Format,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    look: impl Fn(&Facts, Option<TrainingSound>) -> T + Sync,
    mut keep: impl FnMut(&Facts, T),
) -> Result<Gathered> {
    check_settings(format, options)?;
    let (mut found, mut fingerprints) = (Vec::new(), Vec::new());
    let model = Some(ModelFormat {
        format,
        crop: options.crop,
    });
    let mut report = scan::read(
        root,
        model,
        options,
        on_progress,
        look,
        |file, facts, seen| {
            keep(&facts, seen);
            fingerprints.extend(facts.fingerprint);
            found.push((file, facts.hash));
        },
    )?;
    if found.is_empty() {
        return Err(Error::Dataset {
            path: root.to_owned(),
            reason: scan::nothing_usable(&report),
        });
    }
    let labels: BTreeSet<String> = found
        .iter()
        .filter_map(|(file, _)| file.label.clone())
        .collect();
    let labels: Vec<String> = labels.into_iter().collect();
    let place = |label: &String| labels.binary_search(label).ok().map(|n| n as u32);
    let files: Vec<UsableFile> = found
        .into_iter()
        .map(|(file, hash)| {
            let label = file.label.as_ref().and_then(place);
            (file, label, hash)
        })
        .collect();
    let mut held = BTreeSet::new();
    if options.validation > 0.0 {
        let (chosen, how) = hold_back(&files, &fingerprints, options.validation);
        held = chosen;
        report.held_back = Some(how);
    }
    Ok(Gathered {
        labels,
        files,
        held,
        report,
    })
}

fn check_settings(format: Format, options: &ScanOptions) -> Result<()> {
    if format.sample_rate == 0 || !matches!(format.channels, 1 | 2) || format.len_frames == 0 {
        return Err(Error::setting(format!(
            "expected a rate, 1 or 2 channels and a length, found {format:?}"
        )));
    }
    if !(0.0..=0.5).contains(&options.validation) {
        let reason = format!(
            "the part held back for validation is 0 to 0.5, found {}",
            options.validation
        );
        return Err(Error::setting(reason));
    }
    Ok(())
}

/// The files to hold back, and how they were chosen.
fn hold_back(
    files: &[UsableFile],
    fingerprints: &[Fingerprint],
    fraction: f32,
) -> (BTreeSet<usize>, HeldBack) {
    let parts: Vec<split::Part> = files
        .iter()
        .zip(alike::clusters(fingerprints))
        .map(|((file, label, hash), cluster)| split::Part {
            place: split::place(hash),
            label: *label,
            source: file.source.clone(),
            cluster,
        })
        .collect();
    split::split(&parts, fraction)
}
