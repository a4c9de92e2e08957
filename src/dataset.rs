//! A folder of sounds, as batches that a model can learn from.
//!
//! [`Dataset::open`] reads every file once, tells what it found ([`Report`]) and keeps what fits into
//! its cache. Files that cannot be used are named and passed over, never guessed at. Everything that
//! follows is fixed by the files' content and a seed: the order of sounds, the split, the draws and
//! the batches are the same for any number of threads and any size of cache.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::attributes::Attributes;
use crate::audio::{self, Clip, Faults};
use crate::error::{Error, Result};
use crate::noise::Noise;
pub use crate::representation::Crop;
use crate::representation::{Format, Representation};

mod alike;
mod augment;
mod folder;
mod report;
mod scan;
mod sound;
mod split;

pub(crate) use augment::SEMITONES_PER_UNIT;
pub use augment::{Augment, Change, Descriptor, SHORTEST_T60};
pub use report::{Action, Amount, Issue, IssueKind, Report};
pub use split::{HeldBack, Whole};

use folder::File;
use scan::{Facts, ModelFormat, NOTHING_LEFT};
use sound::{READ_SECONDS, TrainingSound};

/// Where a sound's label comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Labels {
    /// The first level of folders below the root; a file directly in the root has none.
    #[default]
    Folders,
    /// A CSV file whose header names `path` and `label`. Paths are absolute, or relative to the root
    /// or to the manifest. Files it does not name have no label.
    Manifest(PathBuf),
    /// No sound has one.
    None,
}

/// Which sounds of a folder to use, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanOptions {
    /// Where labels come from.
    pub labels: Labels,
    /// Only sounds with one of these labels; all sounds if empty.
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
            labels: Labels::Folders,
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
    scan::read(root, None, options, on_progress, |_, _| (), |_, _, ()| ())
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
    Ok(source.map(|source| source.window(0, &Change::default(), format, Crop::Onset)))
}

/// The usable sounds of a folder, in order of their paths.
pub struct Dataset {
    format: Format,
    crop: Crop,
    labels: Vec<String>,
    sounds: Vec<Entry>,
    train: Vec<usize>,
    validation: Vec<usize>,
    fingerprint: String,
    /// Training sounds of each label that has any (of none, last), and the weights summed up to it.
    classes: Vec<(f32, Vec<usize>)>,
}

struct Entry {
    path: PathBuf,
    label: Option<u32>,
    /// Of its content as it was when opened.
    hash: blake3::Hash,
    /// Filled when opened, as far as the cache goes, and never changed.
    source: Option<Arc<TrainingSound>>,
    /// Of its clip, once somebody wanted it.
    attributes: OnceLock<Attributes>,
}

/// Which prepared sounds stay in memory: of those that do not all fit, the ones that take the longest to read again for
/// what they take up. This decides how long things take, never what they are.
struct Cache {
    free: u64,
    /// Milliseconds of file for each KiB kept, and the sound.
    held: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Cache {
    fn new(bytes: u64) -> Self {
        Self {
            free: bytes,
            held: BinaryHeap::new(),
        }
    }

    /// Whether to keep the sound `index` of a file of so many seconds; those in `dropped` must go for it.
    fn keep(
        &mut self,
        index: usize,
        seconds: f64,
        bytes: u64,
        dropped: &mut Vec<usize>,
        size_of: impl Fn(usize) -> u64,
    ) -> bool {
        let worth = (1e3 * seconds * 1024.0 / bytes.max(1) as f64) as u64;
        let mut room = self.free;
        let mut out = Vec::new();
        while room < bytes {
            match self.held.peek() {
                Some(&Reverse((least, other))) if least < worth => {
                    self.held.pop();
                    room += size_of(other);
                    out.push(Reverse((least, other)));
                }
                _ => {
                    self.held.extend(out);
                    return false;
                }
            }
        }
        self.free = room - bytes;
        self.held.push(Reverse((worth, index)));
        dropped.extend(out.into_iter().map(|Reverse((_, other))| other));
        true
    }
}

/// Encoded clips, and what the model is conditioned on for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `(B, T, C)`: clips, frames, values a frame.
    pub shape: (usize, usize, usize),
    /// `B × T × C` values, row-major.
    pub frames: Vec<f32>,
    /// `B` labels: places in [`Dataset::labels`].
    pub labels: Vec<Option<u32>>,
    /// What was done to each of the `B` clips; nothing without augmentation.
    pub changes: Vec<Change>,
    /// What each of the `B` clips is like, where that was asked for: its speed changed, its tilt not; empty elsewhere.
    pub attributes: Vec<Attributes>,
}

/// Names the generators of batches among all that share a seed.
const AUGMENT: u64 = 0x6175_676d_656e_7400;

impl Dataset {
    /// Reads every sound below `root`, for a model of this `format`.
    ///
    /// `on_progress` hears how many of how many files are done. Of a file longer than 120 s only
    /// these are used. What is odd about a file is in the report; reading goes on with the rest.
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
                label,
                hash,
                source: source.map(Arc::new),
                attributes: OnceLock::new(),
            })
            .collect();
        let label_of: Vec<Option<u32>> = sounds.iter().map(|sound| sound.label).collect();

        let mut print = blake3::Hasher::new();
        print.update(&[(options.crop == Crop::Anywhere) as u8]);
        for (n, sound) in sounds.iter().enumerate() {
            print.update(sound.hash.as_bytes());
            print.update(&label_of[n].map_or(0, |label| label + 1).to_le_bytes());
            print.update(&[train.binary_search(&n).is_ok() as u8]);
        }
        let fingerprint = print.finalize().to_hex().to_string();

        let mut classes = Vec::new();
        let mut sum = 0.0;
        for label in (0..labels.len() as u32).map(Some).chain([None]) {
            let members: Vec<usize> = train
                .iter()
                .copied()
                .filter(|&n| label_of[n] == label)
                .collect();
            if !members.is_empty() {
                sum += (members.len() as f32).sqrt();
                classes.push((sum, members));
            }
        }
        let dataset = Dataset {
            format,
            crop: options.crop,
            labels,
            sounds,
            train,
            validation,
            fingerprint,
            classes,
        };
        Ok((dataset, report))
    }

    /// Where clips begin.
    pub fn crop(&self) -> Crop {
        self.crop
    }

    /// Names of the labels that usable sounds have, sorted.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Stands for the sounds' content, their order, labels and split, and where clips begin: two data sets
    /// of one format that share it give the same batches.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How many sounds are usable; at least one.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.sounds.len()
    }

    /// Label of the sound at `index` below [`Dataset::len`]: its place in [`Dataset::labels`].
    pub fn label(&self, index: usize) -> Option<u32> {
        self.sounds[index].label
    }

    /// File of the sound at `index` below [`Dataset::len`].
    pub fn path(&self, index: usize) -> &Path {
        &self.sounds[index].path
    }

    /// The sounds to learn from.
    pub fn train(&self) -> &[usize] {
        &self.train
    }

    /// The sounds held back: whole sources (what a manifest's column `group` names, folders below those of the labels,
    /// what stands before `__` in names), and never one of two near-duplicates, unless too many sounds are alike. Sources are drawn by their names and
    /// sounds without one by their content, so they mostly stay there when files are added. Empty for fewer than three
    /// sounds, or where each label has but one.
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
        Ok(Arc::new(source.window(
            0,
            &Change::default(),
            self.format,
            self.crop,
        )))
    }

    /// The clips at `indices`, in their order, a few prepared at a time on all threads; `on_progress` hears how many.
    /// With `attributes` they are measured at once, while they are there.
    pub(crate) fn clips<'a>(
        &'a self,
        indices: &'a [usize],
        attributes: bool,
        on_progress: &'a mut dyn FnMut(usize, usize),
    ) -> impl Iterator<Item = Result<Arc<Clip>>> + 'a {
        let one = move |&index: &usize| {
            let source = self.source(index)?;
            if attributes && self.crop == Crop::Onset {
                self.attributes_by(index, &source);
            }
            let plain = Change::default();
            let clip = source.window(0, &plain, self.format, self.crop);
            Ok(Arc::new(clip))
        };
        let mut done = 0;
        let few = 4 * rayon::current_num_threads();
        indices.chunks(few).flat_map(move |part| {
            on_progress(done, indices.len());
            done += part.len();
            part.par_iter().map(one).collect::<Vec<_>>()
        })
    }

    /// How many sounds are decoded again at each use, since they do not fit into the cache.
    pub fn uncached(&self) -> usize {
        let kept = |sound: &&Entry| sound.source.is_none();
        self.sounds.iter().filter(kept).count()
    }

    /// What the clip at `index` below [`Dataset::len`] is like. It is measured once, when it is first asked for.
    ///
    /// # Errors
    /// As [`Dataset::clip`].
    pub fn attributes(&self, index: usize) -> Result<Attributes> {
        match self.sounds[index].attributes.get() {
            Some(attributes) => Ok(*attributes),
            None => Ok(self.attributes_by(index, &*self.source(index)?)),
        }
    }

    /// The same where its source is at hand.
    fn attributes_by(&self, index: usize, source: &TrainingSound) -> Attributes {
        let measure = || source.attributes(0, 0.0, self.format, self.crop);
        *self.sounds[index].attributes.get_or_init(measure)
    }

    /// What a clip that [`Dataset::batch`] might draw of the sound at `index` is like: that of the sound, or of a
    /// random place in it if clips begin anywhere.
    ///
    /// # Errors
    /// As [`Dataset::clip`].
    pub(crate) fn attributes_of_draw(&self, index: usize, noise: &mut Noise) -> Result<Attributes> {
        if self.crop == Crop::Onset {
            return self.attributes(index);
        }
        let source = self.source(index)?;
        let start = noise.below(source.starts(self.format.len_frames));
        Ok(source.attributes(start, 0.0, self.format, self.crop))
    }

    /// `n` training sounds, drawn independently: a label by the square root of its number of sounds,
    /// then one of its sounds. Sounds without a label are drawn like those of one more label.
    pub fn draw(&self, n: usize, noise: &mut Noise) -> Vec<usize> {
        let Some(&(sum, _)) = self.classes.last() else {
            return Vec::new();
        };
        let one = |_| {
            let point = noise.uniform() * sum;
            let class = self
                .classes
                .partition_point(|&(up_to, _)| up_to <= point)
                .min(self.classes.len() - 1);
            let members = &self.classes[class].1;
            members[noise.below(members.len())]
        };
        (0..n).map(one).collect()
    }

    /// The sounds at `indices`, each below [`Dataset::len`], encoded.
    ///
    /// With `augment` (what to change, a seed, the training step) clips are changed at random, and
    /// start anywhere if the dataset was opened so; without it they are those of [`Dataset::clip`].
    /// What happens to the clip at place `j` depends on seed, step and `j` only. With `attributes` it holds what each
    /// clip is like.
    ///
    /// # Errors
    /// When a file has to be decoded again and no longer can be, or the representation is of another format.
    pub fn batch(
        &self,
        indices: &[usize],
        representation: &dyn Representation,
        augment: Option<(&Augment, u64, u64)>,
        attributes: bool,
    ) -> Result<Batch> {
        let (t, c) = representation.shape();
        let encode = |(j, &index): (usize, &usize)| {
            let source = self.source(index)?;
            let mut start = 0;
            let mut change = Change::default();
            if let Some((augment, seed, step)) = augment {
                let mut noise = Noise::at(seed, &[AUGMENT, step, j as u64]);
                change = augment.draw(&mut noise);
                if self.crop == Crop::Anywhere {
                    let faster = f64::from(augment::ratio(change.varispeed_st).max(1.0));
                    start = noise
                        .below(source.starts((self.format.len_frames as f64 * faster) as usize));
                }
            }
            let frames =
                representation.encode(&source.window(start, &change, self.format, self.crop))?;
            if (frames.frames, frames.width) != (t, c) || frames.data.len() != t * c {
                return Err(Error::Shape {
                    what: "an encoded clip",
                    expected: format!("[{t}, {c}]"),
                    found: format!(
                        "[{}, {}] in {} values",
                        frames.frames,
                        frames.width,
                        frames.data.len()
                    ),
                });
            }
            let attributes = match (attributes, self.crop) {
                (false, _) => None,
                (true, Crop::Onset) => Some(
                    self.attributes_by(index, &source)
                        .varispeed(change.varispeed_st),
                ),
                (true, Crop::Anywhere) => {
                    Some(source.attributes(start, change.varispeed_st, self.format, self.crop))
                }
            };
            let attributes = attributes.map(|attributes| change.known_of(attributes));
            Ok((frames.data, change, attributes))
        };
        let encoded: Vec<_> = indices
            .par_iter()
            .enumerate()
            .map(encode)
            .collect::<Result<_>>()?;
        let mut batch = Batch {
            shape: (indices.len(), t, c),
            frames: Vec::with_capacity(indices.len() * t * c),
            labels: indices.iter().map(|&index| self.label(index)).collect(),
            changes: Vec::with_capacity(indices.len()),
            attributes: Vec::new(),
        };
        for (frames, change, attributes) in encoded {
            batch.frames.extend(frames);
            batch.changes.push(change);
            batch.attributes.extend(attributes);
        }
        Ok(batch)
    }

    /// From the cache, or read again.
    fn source(&self, index: usize) -> Result<Arc<TrainingSound>> {
        let Entry {
            path, source, hash, ..
        } = &self.sounds[index];
        if let Some(source) = source {
            return Ok(source.clone());
        }
        let mut clip = audio::decode(path, Some(READ_SECONDS))?.clip;
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

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cached = self
            .sounds
            .iter()
            .filter(|sound| sound.source.is_some())
            .count();
        (f.debug_struct("Dataset")
            .field("format", &self.format)
            .field("crop", &self.crop))
        .field("labels", &self.labels)
        .field("sounds", &self.sounds.len())
        .field("cached", &cached)
        .field("validation", &self.validation.len())
        .finish_non_exhaustive()
    }
}

/// A sound of a folder, as [`survey`] met it.
#[derive(Debug)]
pub(crate) struct Surveyed<T> {
    pub path: PathBuf,
    pub label: Option<String>,
    /// Whether it is held back for validation.
    pub held: bool,
    pub seen: T,
}

/// Reads every usable sound below `root` once, as [`Dataset::open`] does, and keeps nothing of them but what `look`
/// makes of each clip and of the faults that the sound came with.
///
/// # Errors
/// As [`Dataset::open`], and those of `look`.
pub(crate) fn survey<T: Send>(
    root: &Path,
    format: Format,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize),
    look: impl Fn(&Clip, Faults) -> Result<T> + Sync,
) -> Result<(Vec<Surveyed<T>>, Report)> {
    let window = |source: TrainingSound| source.window(0, &Change::default(), format, options.crop);
    let mut all = Vec::new();
    let gathered = gather(
        root,
        format,
        options,
        on_progress,
        |facts, source| source.map(|source| look(&window(source), facts.faults)),
        |_, seen| all.push(seen),
    )?;
    let mut found = Vec::with_capacity(gathered.files.len());
    for (n, ((file, label, _), seen)) in gathered.files.into_iter().zip(all).enumerate() {
        let Some(seen) = seen else { continue };
        found.push(Surveyed {
            path: file.path,
            label: label.map(|label| gathered.labels[label as usize].clone()),
            held: gathered.held.contains(&n),
            seen: seen?,
        });
    }
    Ok((found, gathered.report))
}

/// The file at `path` as one of [`survey`]'s clips, from its onset; `None` if nothing audible is left.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn reread(path: &Path, format: Format) -> Result<Option<Clip>> {
    prepare(audio::decode(path, Some(READ_SECONDS))?.clip, format)
}

/// The usable sounds of a folder.
struct Gathered {
    /// Sorted.
    labels: Vec<String>,
    /// In order of path: the file, its label's place, and its content's hash.
    files: Vec<(File, Option<u32>, blake3::Hash)>,
    /// Those held back.
    held: BTreeSet<usize>,
    report: Report,
}

/// `look`s at the usable sounds below `root` as they are read, and hands what it saw to `keep`, in order of path.
fn gather<T: Send>(
    root: &Path,
    format: Format,
    options: &ScanOptions,
    on_progress: &mut dyn FnMut(usize, usize),
    look: impl Fn(&Facts, Option<TrainingSound>) -> T + Sync,
    mut keep: impl FnMut(&Facts, T),
) -> Result<Gathered> {
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
    let (mut found, mut prints) = (Vec::new(), Vec::new());
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
            prints.extend(facts.print);
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
    let files: Vec<(File, Option<u32>, blake3::Hash)> = found
        .into_iter()
        .map(|(file, hash)| {
            let label = file.label.as_ref().and_then(place);
            (file, label, hash)
        })
        .collect();
    let mut held = BTreeSet::new();
    if options.validation > 0.0 {
        let parts: Vec<split::Part> = files
            .iter()
            .zip(alike::clusters(&prints))
            .map(|((file, label, hash), cluster)| split::Part {
                place: split::place(hash),
                label: *label,
                source: file.source.clone(),
                cluster,
            })
            .collect();
        let (chosen, how) = split::split(&parts, options.validation);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::representation::{Decoding, Frames};
    use std::fs;

    const FORMAT: Format = Format {
        sample_rate: 8000,
        channels: 1,
        len_frames: 1024,
    };

    /// The waveform itself in rows of 64.
    #[derive(Debug)]
    struct Rows;

    impl Representation for Rows {
        fn shape(&self) -> (usize, usize) {
            (16, 64)
        }
        fn encode(&self, clip: &Clip) -> Result<Frames> {
            Ok(Frames {
                frames: 16,
                width: 64,
                data: clip.channels()[0].clone(),
            })
        }
        fn decode(&self, frames: &Frames, _with: &Decoding) -> Result<Clip> {
            Ok(Clip::new(FORMAT.sample_rate, vec![frames.data.clone()]))
        }
    }

    fn write(path: &Path, seed: u64, frames: usize) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        let mut noise = Noise::new(seed);
        for n in 0..frames {
            let fall = 10f32.powf(-2.0 * n as f32 / frames as f32);
            writer
                .write_sample((20_000.0 * fall * noise.between(-1.0, 1.0)) as i16)
                .unwrap();
        }
        writer.finalize().unwrap();
    }

    /// Three partials drawn at random, dying away.
    fn chord(path: &Path, seed: u64) {
        let mut noise = Noise::new(seed);
        let partials: Vec<(f32, f32)> = (0..3)
            .map(|_| (60.0 * 50f32.powf(noise.uniform()), noise.between(0.02, 0.2)))
            .collect();
        let wave = |n: usize| {
            let t = n as f32 / 8000.0;
            let partial = |&(hz, decay): &(f32, f32)| {
                (-t / decay).exp() * (std::f32::consts::TAU * hz * t).sin()
            };
            0.3 * partials.iter().map(partial).sum::<f32>()
        };
        let clip = Clip::new(8000, vec![(0..4000).map(wave).collect()]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        audio::write_wav(path, &clip, audio::BitDepth::Int16).unwrap();
    }

    /// 9 kicks and 4 snares below folders, 1 sound in none; some longer than a clip, some shorter.
    fn kit() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for n in 0..9 {
            write(
                &root.path().join(format!("kick/{n}.wav")),
                n,
                400 + 200 * n as usize,
            );
        }
        for n in 0..4 {
            write(
                &root.path().join(format!("snare/deep/er/{n}.wav")),
                100 + n,
                900,
            );
        }
        write(&root.path().join("loose.wav"), 200, 3000);
        root
    }

    fn open(root: &Path, options: &ScanOptions) -> (Dataset, Report) {
        Dataset::open(root, FORMAT, options, &mut |_, _| ()).unwrap()
    }

    fn kinds(report: &Report) -> Vec<(String, &'static str)> {
        report
            .issues
            .iter()
            .map(|issue| (issue.path.display().to_string(), issue.kind.name()))
            .collect()
    }

    #[test]
    fn each_clip_is_told_what_it_is_like_as_it_is_drawn() {
        let root = kit();
        // Twenty times the model's length, and other at each place.
        let path = root.path().join("kick/long.wav");
        write(&path, 77, 20_480);
        for crop in [Crop::Onset, Crop::Anywhere] {
            let options = ScanOptions {
                crop,
                ..ScanOptions::default()
            };
            let (data, _) = open(root.path(), &options);
            let long = (0..data.len()).find(|&n| data.path(n) == path).unwrap();
            let indices = [long; 12];
            let draw = |augment: &Augment| {
                let batch = data.batch(&indices, &Rows, Some((augment, 1, 5)), true);
                batch.unwrap()
            };
            let measured = |batch: &Batch| -> Vec<Attributes> {
                let clips = batch.frames.chunks(1024);
                let clips = clips.map(|rows| Clip::new(8000, vec![rows.to_vec()]));
                clips
                    .map(|clip| Attributes::of(&crate::audio::Measures::of(&clip)))
                    .collect()
            };
            let plain = draw(&Augment::NONE);
            assert_eq!(plain.attributes, measured(&plain), "{crop:?}");
            let alike = plain
                .attributes
                .iter()
                .all(|one| *one == plain.attributes[0]);
            assert_eq!(alike, crop == Crop::Onset);
            // A shortened decay hides the length; treble and level are told apart.
            let wild = Augment {
                varispeed_st: 0.0,
                decay: 1.0,
                neutral: 0.0,
                ..Augment::default()
            };
            let hidden = plain.attributes.iter().map(|one| {
                let mut hidden = *one;
                hidden.set(crate::attributes::Attribute::Length, None);
                hidden
            });
            assert_eq!(draw(&wild).attributes, hidden.collect::<Vec<_>>());
            assert!(
                data.batch(&indices, &Rows, None, false)
                    .unwrap()
                    .attributes
                    .is_empty()
            );
            let faster = Augment {
                varispeed_st: 2.0,
                neutral: 0.0,
                ..Augment::NONE
            };
            let faster = draw(&faster);
            if crop == Crop::Anywhere {
                assert_eq!(faster.attributes, measured(&faster));
            } else {
                let moved = |change: &Change| plain.attributes[0].varispeed(change.varispeed_st);
                let moved: Vec<_> = faster.changes.iter().map(moved).collect();
                assert_eq!(faster.attributes, moved);
            }
        }
    }

    #[test]
    fn a_cache_too_small_keeps_what_takes_longest_to_read_again() {
        // Sounds of 100 bytes, of files of these seconds.
        let seconds = [1.0, 2.0, 2.0, 90.0, 1.0, 5.0, 5.0];
        let (mut cache, mut held) = (Cache::new(350), BTreeSet::new());
        for (index, &seconds) in seconds.iter().enumerate() {
            let mut dropped = Vec::new();
            if cache.keep(index, seconds, 100, &mut dropped, |_| 100) {
                held.insert(index);
            }
            dropped.iter().for_each(|index| assert!(held.remove(index)));
            assert_eq!(cache.free, 350 - 100 * held.len() as u64);
        }
        assert_eq!(held, BTreeSet::from([3, 5, 6]));
        // What does not fit at all drives nothing out.
        assert!(!cache.keep(7, 1e9, 351, &mut Vec::new(), |_| 100));
        assert_eq!((cache.free, cache.held.len()), (50, 3));
    }

    #[test]
    fn labels_that_cannot_name_a_class_are_refused_before_anything_is_read() {
        let root = kit();
        let odd = "bel\u{7}l";
        let folder = root.path().join(odd);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("x.wav"), "no sound").unwrap();
        let options = ScanOptions::default();
        let mut read = 0;
        let error = Dataset::open(root.path(), FORMAT, &options, &mut |done, _| read = done);
        let error = error.unwrap_err().to_string();
        let expected = "the class name \"bel\\u{7}l\": expected no control characters";
        assert!(error.ends_with(expected) && read == 0, "{error}");
        let report = check(root.path(), &options, &mut |_, _| ()).unwrap();
        let found = report
            .issues
            .iter()
            .find(|issue| issue.kind == IssueKind::ClassName);
        assert_eq!(found.map(|issue| issue.action), Some(Action::Refused));
        // A manifest that calls it otherwise mends it.
        let named = Labels::Manifest(root.path().join("labels.csv"));
        fs::write(root.path().join("labels.csv"), "path,label\nkick/1.wav,a\n").unwrap();
        let options = ScanOptions {
            labels: named,
            ..options
        };
        assert_eq!(open(root.path(), &options).0.labels(), ["a"]);
    }

    #[test]
    fn counting_opens_nothing_and_chooses_as_opening_does() {
        let root = kit();
        fs::write(root.path().join("kick/broken.wav"), "no sound").unwrap();
        let count = |include: &[&str]| {
            let options = ScanOptions {
                include: include.iter().map(|&label| label.to_owned()).collect(),
                ..ScanOptions::default()
            };
            count(root.path(), &options).unwrap()
        };
        assert_eq!((count(&[]), count(&["snare"])), (15, 4));
        assert_eq!(open(root.path(), &ScanOptions::default()).1.found, 15);
    }

    #[test]
    fn folders_are_labels_and_a_loose_file_is_kept_without() {
        let root = kit();
        let mut heard = Vec::new();
        let (data, report) = Dataset::open(
            root.path(),
            FORMAT,
            &ScanOptions::default(),
            &mut |done, of| heard.push((done, of)),
        )
        .unwrap();
        assert_eq!(data.labels(), ["kick", "snare"]);
        assert_eq!((data.len(), report.total.files, report.found), (14, 14, 14));
        assert_eq!(kinds(&report), [("loose.wav".into(), "no-label")]);
        assert_eq!(
            (
                report.labels["kick"].files,
                report.labels["snare"].files,
                report.unlabelled.files
            ),
            (9, 4, 1)
        );
        let snare = (0..14)
            .find(|&n| data.path(n).ends_with("snare/deep/er/2.wav"))
            .unwrap();
        assert_eq!(data.label(snare), Some(1));
        assert_eq!(
            (heard.first(), heard.last()),
            (Some(&(0, 14)), Some(&(14, 14)))
        );
        assert_eq!(
            check(root.path(), &ScanOptions::default(), &mut |_, _| ())
                .unwrap()
                .total,
            report.total
        );
    }

    #[test]
    fn batches_are_the_same_for_any_threads_and_any_cache() {
        let root = kit();
        for crop in [Crop::Onset, Crop::Anywhere] {
            let make = |threads: usize, cache_mb: u64| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let (data, report) = open(
                        root.path(),
                        &ScanOptions {
                            crop,
                            cache_mb,
                            ..ScanOptions::default()
                        },
                    );
                    let indices = data.draw(24, &mut Noise::at(3, &[9]));
                    let augment = Augment::default();
                    let batch = data
                        .batch(&indices, &Rows, Some((&augment, 3, 9)), false)
                        .unwrap();
                    (report, data.validation().to_vec(), indices, batch)
                })
            };
            let one = make(1, 1024);
            assert_eq!(one, make(2, 1024));
            assert_eq!(one, make(2, 0));
            assert_eq!(one.3.shape, (24, 16, 64));
            assert!(one.3.frames.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn seed_and_step_and_place_change_a_clip_and_nothing_else_does() {
        let root = kit();
        let (data, _) = open(root.path(), &ScanOptions::default());
        let augment = Augment {
            neutral: 0.0,
            ..Augment::default()
        };
        let batch = |indices: &[usize], seed, step| {
            data.batch(indices, &Rows, Some((&augment, seed, step)), false)
                .unwrap()
        };
        let first = batch(&[4, 4, 5], 1, 1);
        assert_ne!(first.changes[0], first.changes[1]);
        assert_eq!(first.frames[..1024], batch(&[4], 1, 1).frames);
        assert_ne!(first.frames[..1024], batch(&[4], 1, 2).frames);
        assert_ne!(first.frames[..1024], batch(&[4], 2, 1).frames);
    }

    #[test]
    fn without_augmentation_batches_are_the_clips_and_descriptors_are_zero() {
        let root = kit();
        for crop in [Crop::Onset, Crop::Anywhere] {
            let (data, _) = open(
                root.path(),
                &ScanOptions {
                    crop,
                    ..ScanOptions::default()
                },
            );
            let batch = data.batch(&[8, 9, 13], &Rows, None, false).unwrap();
            assert_eq!(batch.changes, [Change::default(); 3]);
            assert_eq!(batch.labels, [Some(0), None, Some(1)]);
            for (index, rows) in [8, 9, 13].into_iter().zip(batch.frames.chunks(1024)) {
                let clip = data.clip(index).unwrap();
                assert_eq!(rows, clip.channels()[0]);
                assert!((clip.peak() - 0.95).abs() < 1e-6);
            }
            let untouched = data
                .batch(&[9], &Rows, Some((&Augment::NONE, 1, 1)), false)
                .unwrap();
            assert_eq!(
                untouched.frames == batch.frames[1024..2048],
                crop == Crop::Onset,
                "{crop:?}"
            );
        }
    }

    #[test]
    fn draw_tempers_classes_and_is_uniform_within() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..16 {
            write(&root.path().join(format!("many/{n:02}.wav")), n, 200);
        }
        write(&root.path().join("one/a.wav"), 99, 200);
        let (data, _) = open(
            root.path(),
            &ScanOptions {
                validation: 0.0,
                ..ScanOptions::default()
            },
        );
        let mut seen = [0usize; 17];
        data.draw(20_000, &mut Noise::new(5))
            .into_iter()
            .for_each(|index| seen[index] += 1);
        // sqrt(16) : sqrt(1); standard errors are 57 and 31.
        assert!(seen[16].abs_diff(4000) < 230, "{seen:?}");
        assert!(
            seen[..16].iter().all(|n| n.abs_diff(1000) < 130),
            "{seen:?}"
        );
    }

    #[test]
    fn sources_come_from_folders_names_and_manifests() {
        let sources = |root: &Path, labels: Labels| -> Vec<Option<String>> {
            let mut folder = folder::Folder::walk(root).unwrap();
            folder.label(root, &labels).unwrap();
            folder.attribute();
            folder.files.into_iter().map(|file| file.source).collect()
        };
        let root = tempfile::tempdir().unwrap();
        let names = [
            "kick/a__1.wav",
            "kick/lone__1.wav",
            "kick/x.wav",
            "snare/a__2.wav",
            "snare/kit/x.wav",
        ];
        for (n, name) in names.into_iter().enumerate() {
            write(&root.path().join(name), n as u64, 300);
        }
        let (a, kit) = (Some("a".to_owned()), Some("kit".to_owned()));
        let found = sources(root.path(), Labels::Folders);
        assert_eq!(found, [a.clone(), None, None, a.clone(), kit]);
        let manifest = root.path().join("m.csv");
        let text =
            "group,path,label\none,kick/a__1.wav,low\n,kick/x.wav,low\none,snare/kit/x.wav,low\n";
        fs::write(&manifest, text).unwrap();
        let one = Some("one".to_owned());
        let found = sources(root.path(), Labels::Manifest(manifest));
        assert_eq!(found, [one.clone(), None, None, a, one]);
    }

    #[test]
    fn whole_kits_and_near_duplicates_are_held_back() {
        let root = tempfile::tempdir().unwrap();
        for kit in 0..12u64 {
            for n in 0..4 {
                for (k, label) in ["kick", "snare"].into_iter().enumerate() {
                    let path = root.path().join(format!("{label}/kit {kit}/{n}.wav"));
                    chord(&path, 1000 * kit + 10 * n + k as u64);
                }
            }
        }
        let (data, report) = open(root.path(), &ScanOptions::default());
        let kits = |indices: &[usize]| -> BTreeSet<PathBuf> {
            let kit = |&n: &usize| data.path(n).parent().unwrap().file_name().unwrap().into();
            indices.iter().map(kit).collect()
        };
        let held = report.held_back.clone().unwrap();
        assert_eq!(
            (held.whole, held.sounds),
            (Whole::Sources, data.validation().len())
        );
        assert!(kits(data.train()).is_disjoint(&kits(data.validation())));
        assert!(report.to_string().contains("held back"), "{report}");
        // Sounds in one folder, each twice, the second time softer.
        let flat = tempfile::tempdir().unwrap();
        for n in 0..40u64 {
            let path = flat.path().join(format!("kick/{n}.wav"));
            chord(&path, n);
            let mut reader = hound::WavReader::open(&path).unwrap();
            let copy = flat.path().join(format!("kick/soft {n}.wav"));
            let mut writer = hound::WavWriter::create(copy, reader.spec()).unwrap();
            reader
                .samples::<i16>()
                .for_each(|x| writer.write_sample(x.unwrap() / 3).unwrap());
            writer.finalize().unwrap();
        }
        let options = ScanOptions {
            validation: 0.2,
            ..ScanOptions::default()
        };
        let (data, report) = open(flat.path(), &options);
        assert_eq!(report.held_back.unwrap().whole, Whole::NearDuplicates);
        let names = |indices: &[usize]| -> BTreeSet<String> {
            let name = |&n: &usize| data.path(n).file_name().unwrap().to_string_lossy();
            let name = |n| name(n).replace("soft ", "");
            indices.iter().map(name).collect()
        };
        let (held, learnt) = (names(data.validation()), names(data.train()));
        assert!(!held.is_empty() && held.is_disjoint(&learnt));
    }

    #[test]
    fn duplicates_are_found_across_names_sample_formats_and_labels() {
        let root = kit();
        fs::copy(
            root.path().join("kick/3.wav"),
            root.path().join("snare/copy.wav"),
        )
        .unwrap();
        let mut reader = hound::WavReader::open(root.path().join("kick/3.wav")).unwrap();
        let spec = hound::WavSpec {
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
            ..reader.spec()
        };
        let mut writer =
            hound::WavWriter::create(root.path().join("kick/float.wav"), spec).unwrap();
        reader.samples::<i16>().for_each(|x| {
            writer
                .write_sample(f32::from(x.unwrap()) / 32_768.0)
                .unwrap()
        });
        writer.finalize().unwrap();
        let (data, report) = open(root.path(), &ScanOptions::default());
        assert_eq!((data.len(), report.skipped()), (14, 2));
        let details: Vec<_> = report
            .issues
            .iter()
            .filter(|i| i.kind == IssueKind::Duplicate)
            .map(|i| i.detail.as_str())
            .collect();
        assert_eq!(
            details,
            [
                "the same sound as kick/3.wav",
                "the same sound as kick/3.wav, which is labelled \"kick\""
            ]
        );
    }

    #[test]
    fn manifests_label_and_their_loose_ends_are_reported() {
        let root = kit();
        let manifest = root.path().join("labels.csv");
        let absolute = root.path().join("kick/1.wav");
        let text = format!(
            "licence,path,label\nCC0,kick/0.wav,deep\nCC0, {} ,deep\nCC0,kick/2.wav,high\nCC0,gone.wav,high\nCC0,kick/0.wav,high\nCC0,labels.csv,high\nCC0,kick/3.wav\n",
            absolute.display()
        );
        fs::write(&manifest, text).unwrap();
        let options = ScanOptions {
            labels: Labels::Manifest(manifest.clone()),
            ..ScanOptions::default()
        };
        let (data, report) = open(root.path(), &options);
        assert_eq!(data.labels(), ["deep", "high"]);
        assert_eq!(
            (
                report.labels["deep"].files,
                report.labels["high"].files,
                report.unlabelled.files
            ),
            (2, 1, 11)
        );
        let loose: Vec<_> = report
            .issues
            .iter()
            .filter(|i| i.kind == IssueKind::Manifest)
            .map(|i| i.detail.as_str())
            .collect();
        assert_eq!(
            loose,
            [
                "line 8: expected a path and a label, found one or neither",
                "line 5 labels it \"high\", but there is no such file",
                "line 6 labels it \"high\", an earlier line \"deep\"",
                "line 7 labels it \"high\", but it is no sound file of this folder",
            ]
        );
        fs::write(&manifest, "file,class\na,b\n").unwrap();
        let error = Dataset::open(root.path(), FORMAT, &options, &mut |_, _| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("expected a CSV header with path and label, found \"file,class\""),
            "{error}"
        );
    }

    #[test]
    fn include_chooses_labels_and_knows_the_others() {
        let root = kit();
        let include = |label: &str| ScanOptions {
            include: vec![label.into()],
            ..ScanOptions::default()
        };
        let (data, report) = open(root.path(), &include("snare"));
        assert_eq!(
            (data.labels(), data.len(), report.issues.len()),
            (&["snare".to_string()][..], 4, 0)
        );
        let error = Dataset::open(root.path(), FORMAT, &include("snair"), &mut |_, _| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("no sound is labelled \"snair\"; the labels are: kick, snare"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_cycles_end() {
        use std::os::unix::fs::symlink;
        let root = kit();
        let elsewhere = tempfile::tempdir().unwrap();
        write(&elsewhere.path().join("clap.wav"), 300, 500);
        symlink(root.path(), root.path().join("kick/up")).unwrap();
        symlink("../snare", root.path().join("kick/across")).unwrap();
        symlink(elsewhere.path(), root.path().join("clap")).unwrap();
        symlink("1.wav", root.path().join("kick/0-link.wav")).unwrap();
        symlink("nowhere.wav", root.path().join("kick/lost.wav")).unwrap();
        let (data, report) = open(
            root.path(),
            &ScanOptions {
                labels: Labels::Folders,
                ..ScanOptions::default()
            },
        );
        assert_eq!(
            (data.len(), data.labels()),
            (15, &["clap", "kick", "snare"].map(String::from)[..])
        );
        let expected = [
            ("kick/0-link.wav", "duplicate"),
            ("kick/across", "duplicate"),
            ("kick/lost.wav", "unreadable"),
            ("kick/up", "duplicate"),
            ("loose.wav", "no-label"),
        ];
        assert_eq!(
            kinds(&report),
            expected.map(|(path, kind)| (path.to_string(), kind))
        );
        assert_eq!((report.found, report.skipped()), (17, 2));
    }

    #[test]
    fn hidden_files_are_passed_over_and_order_is_by_path() {
        let root = kit();
        write(&root.path().join("kick/._0.wav"), 400, 500);
        write(&root.path().join(".trash/0.wav"), 401, 500);
        write(&root.path().join("kick/UPPER.WAV"), 402, 500);
        let (data, report) = open(root.path(), &ScanOptions::default());
        assert_eq!(report.found, 15);
        let names: Vec<_> = (0..data.len()).map(|n| data.path(n).to_owned()).collect();
        assert!(names.is_sorted() && names.iter().any(|name| name.ends_with("UPPER.WAV")));
    }

    #[test]
    fn folders_without_use_say_why() {
        let refusal = |root: &Path| {
            Dataset::open(root, FORMAT, &ScanOptions::default(), &mut |_, _| ())
                .unwrap_err()
                .to_string()
        };
        let root = tempfile::tempdir().unwrap();
        assert!(refusal(root.path()).ends_with("found no files at all"));
        assert!(
            refusal(&root.path().join("gone")).contains("expected a folder of sounds, found none")
        );
        fs::write(root.path().join("notes.txt"), "hello").unwrap();
        assert!(refusal(root.path()).ends_with("found only others: txt 1"));
        assert!(refusal(&root.path().join("notes.txt")).ends_with("found a file"));
        write(&root.path().join("short.wav"), 1, 8);
        fs::write(root.path().join("fake.wav"), "hello").unwrap();
        fs::write(root.path().join("zero.wav"), "").unwrap();
        let sentence = refusal(root.path());
        assert!(
            sentence.contains("none of its 3 sound files can be used: 1 unreadable (fake.wav: "),
            "{sentence}"
        );
        assert!(
            sentence
                .ends_with("1 too-short (short.wav: 8 frames are 1.00 ms, expected at least 5 ms)"),
            "{sentence}"
        );
        assert_eq!(
            check(root.path(), &ScanOptions::default(), &mut |_, _| ())
                .unwrap()
                .total
                .files,
            0
        );
    }

    #[test]
    fn a_file_that_vanished_is_an_error_with_its_name() {
        let root = kit();
        let (data, _) = open(
            root.path(),
            &ScanOptions {
                cache_mb: 0,
                ..ScanOptions::default()
            },
        );
        fs::remove_file(data.path(2)).unwrap();
        let error = data
            .batch(&[1, 2], &Rows, None, false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("kick/2.wav"), "{error}");
        write(data.path(2), 2, 8);
        assert!(
            data.clip(2)
                .unwrap_err()
                .to_string()
                .contains("has changed since the folder was opened")
        );
    }
}
