//! Recordings out of public repositories: two tables say which, at what commit, and how each is cut and mixed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use audiodiff::audio::{self, Clip};

use crate::wav::Pcm;

/// The repositories, one a line below a line of names, tab-separated.
const REPOSITORIES: &str = include_str!("../repositories.tsv");

/// The recordings taken from them, likewise. `author` and `licence` are empty where they are the repository's.
///
/// `parts` are files joined by ` + `, each behind its gain and, where it is not heard as it is, `left`, `right` or
/// `mono` (the mean of its channels): `1 kick.wav`, `2.9 side.flac + 4 left ohl.flac + 4 right ohr.flac`. Their sum is
/// heard for `frames` from `start` on, rises for half a millisecond where `start` is not 0, and fades for the last
/// `fade_ms`.
const RECORDINGS: &str = include_str!("../recordings.tsv");

/// Seconds of the rise of a recording whose beginning was cut.
const RISE_SECONDS: f64 = 0.000_5;
/// Rate of files without a header: mono, 32-bit floats, little-endian.
const RAW_RATE: u32 = 44_100;

/// A public repository at one commit.
#[derive(Debug)]
pub struct Repository<'a> {
    /// What the names of its sounds begin with.
    pub source: &'a str,
    /// Owner and name at github.com.
    pub name: &'a str,
    pub commit: &'a str,
    /// Whether no training sees its sounds.
    pub held_out: bool,
    /// SPDX identifier of the terms of most of its sounds.
    pub licence: &'a str,
    pub title: &'a str,
    /// Who made most of its sounds; empty where each has an author of its own.
    pub author: &'a str,
    /// Texts to keep with the sounds.
    pub notices: Vec<&'a str>,
}

impl Repository<'_> {
    /// Its folder below that of everything fetched.
    pub fn folder(&self, unpacked: &Path) -> PathBuf {
        unpacked.join("github.com").join(self.name)
    }
}

/// One sound to make of one or more files of a repository.
#[derive(Debug)]
pub struct Recording<'a> {
    /// `label/file`, relative to the folder that is made.
    pub path: &'a str,
    /// What was struck or played: sounds of one instrument are validated with or learnt, never both.
    pub instrument: &'a str,
    pub author: &'a str,
    pub licence: &'a str,
    pub repository: &'a Repository<'a>,
    start: usize,
    frames: usize,
    fade_ms: u32,
    parts: Vec<Part<'a>>,
}

#[derive(Debug, PartialEq)]
struct Part<'a> {
    gain: f32,
    side: Side,
    /// Below the repository.
    file: &'a str,
}

/// Where a file is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    AsItIs,
    Left,
    Right,
    Mono,
}

/// The cells of a table's lines below the names of its columns.
fn cells<'a, const N: usize>(
    table: &'a str,
    names: [&str; N],
) -> anyhow::Result<Vec<(&'a str, [&'a str; N])>> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    ensure!(
        head.split('\t').eq(names),
        "expected the columns {names:?}, found {head:?}"
    );
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let found = cells.len();
            let cells = cells.try_into().ok();
            let cells =
                cells.with_context(|| format!("{line:?}: expected {N} columns, found {found}"))?;
            Ok((line, cells))
        })
        .collect()
}

/// The repositories of the table.
///
/// # Errors
/// When a line makes no sense.
pub fn repositories() -> anyhow::Result<Vec<Repository<'static>>> {
    parse_repositories(REPOSITORIES)
}

/// The recordings of the table, from `repositories`.
///
/// # Errors
/// When a line makes no sense.
pub fn recordings<'a>(repositories: &'a [Repository<'a>]) -> anyhow::Result<Vec<Recording<'a>>> {
    parse_recordings(RECORDINGS, repositories)
}

fn parse_repositories(table: &str) -> anyhow::Result<Vec<Repository<'_>>> {
    let names = [
        "source",
        "repository",
        "commit",
        "use",
        "licence",
        "title",
        "author",
        "notices",
    ];
    let rows = cells(table, names)?.into_iter();
    rows.map(|(line, cells)| {
        let [source, name, commit, r#use, licence, title, author, notices] = cells;
        let held_out = match r#use {
            "train" => false,
            "held out" => true,
            _ => bail!("{line:?}: expected to train or held out, found {use:?}"),
        };
        Ok(Repository {
            source,
            name,
            commit,
            held_out,
            licence,
            title,
            author,
            notices: notices.split(" + ").collect(),
        })
    })
    .collect()
}

fn parse_recordings<'a>(
    table: &'a str,
    repositories: &'a [Repository<'a>],
) -> anyhow::Result<Vec<Recording<'a>>> {
    let names = [
        "path",
        "instrument",
        "author",
        "licence",
        "start",
        "frames",
        "fade_ms",
        "parts",
    ];
    let rows = cells(table, names)?.into_iter();
    rows.map(|(line, cells)| {
        recording(cells, repositories).with_context(|| format!("no recording: {line:?}"))
    })
    .collect()
}

fn recording<'a>(
    [
        path,
        instrument,
        author,
        licence,
        start,
        frames,
        fade_ms,
        parts,
    ]: [&'a str; 8],
    repositories: &'a [Repository<'a>],
) -> anyhow::Result<Recording<'a>> {
    let (_, name) = path.split_once('/').context("expected label/file")?;
    let (source, _) = name.split_once("__").context("expected source__name")?;
    let repository = repositories.iter().find(|r| r.source == source);
    let repository = repository.with_context(|| format!("unknown source {source:?}"))?;
    let or = |own: &'a str, general: &'a str| if own.is_empty() { general } else { own };
    let frames = frames.parse()?;
    ensure!(frames > 0, "expected frames, found none");
    Ok(Recording {
        path,
        instrument,
        author: or(author, repository.author),
        licence: or(licence, repository.licence),
        repository,
        start: start.parse()?,
        frames,
        fade_ms: fade_ms.parse()?,
        parts: parts.split(" + ").map(part).collect::<Result<_, _>>()?,
    })
}

fn part(text: &str) -> anyhow::Result<Part<'_>> {
    let (gain, rest) = text.split_once(' ').context("expected a gain and a file")?;
    let (side, file) = match rest.split_once(' ') {
        Some(("left", file)) => (Side::Left, file),
        Some(("right", file)) => (Side::Right, file),
        Some(("mono", file)) => (Side::Mono, file),
        _ => (Side::AsItIs, rest),
    };
    let gain = gain.parse()?;
    Ok(Part { gain, side, file })
}

impl Recording<'_> {
    /// The files it is made of, below the folder of everything fetched.
    pub fn files(&self, unpacked: &Path) -> impl Iterator<Item = PathBuf> {
        let folder = self.repository.folder(unpacked);
        self.parts.iter().map(move |part| folder.join(part.file))
    }

    /// Decodes its files and cuts and mixes them, at their rate, to 16 bits.
    ///
    /// # Errors
    /// When a file cannot be read, and when the files differ in rate or are no sound where the table has one.
    pub fn make(&self, unpacked: &Path) -> anyhow::Result<Pcm> {
        let clips = self.files(unpacked).map(|path| read(&path));
        let clips = clips.collect::<anyhow::Result<Vec<_>>>()?;
        self.mix(&clips).with_context(|| self.path.to_owned())
    }

    fn mix(&self, clips: &[Clip]) -> anyhow::Result<Pcm> {
        let sample_rate = clips[0].sample_rate();
        let longest = clips.iter().map(Clip::len_frames).max().unwrap_or(0);
        ensure!(
            clips.iter().all(|clip| clip.sample_rate() == sample_rate),
            "its files differ in rate"
        );
        ensure!(
            self.start < longest,
            "expected sound after frame {}, found {longest} frames",
            self.start
        );
        let is_wide = |(part, clip): (&Part, &Clip)| match part.side {
            Side::Left | Side::Right => true,
            Side::AsItIs => clip.channels().len() > 1,
            Side::Mono => false,
        };
        let wide = self.parts.iter().zip(clips).any(is_wide);
        let mut sum = vec![vec![0.0f32; self.frames]; if wide { 2 } else { 1 }];
        for (part, clip) in self.parts.iter().zip(clips) {
            let clip = match part.side {
                Side::AsItIs => clip.clone(),
                Side::Left | Side::Right | Side::Mono => clip.with_channels(1),
            };
            ensure!(
                clip.channels().len() <= 2,
                "{}: expected 1 or 2 channels, found {}",
                part.file,
                clip.channels().len()
            );
            for (channel, sum) in sum.iter_mut().enumerate() {
                if matches!((part.side, channel), (Side::Left, 1) | (Side::Right, 0)) {
                    continue;
                }
                let own = &clip.channels()[channel.min(clip.channels().len() - 1)];
                let heard = own.get(self.start..).unwrap_or_default();
                for (sum, x) in sum.iter_mut().zip(heard) {
                    *sum += part.gain * x;
                }
            }
        }
        for channel in &mut sum {
            self.shape(channel, sample_rate);
        }
        let to_16_bits = |x: f32| (x * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
        let channels = sum.into_iter();
        Ok(Pcm {
            sample_rate,
            channels: channels
                .map(|channel| channel.into_iter().map(to_16_bits).collect())
                .collect(),
        })
    }

    /// The rise of a cut beginning, a straight line, and the fade of the end, half a cosine.
    fn shape(&self, channel: &mut [f32], sample_rate: u32) {
        let frames = |seconds: f64| (seconds * f64::from(sample_rate)) as usize;
        if self.start > 0 {
            let rise = frames(RISE_SECONDS).min(channel.len());
            for (n, x) in channel[..rise].iter_mut().enumerate() {
                *x *= n as f32 / (rise - 1).max(1) as f32;
            }
        }
        let fade = frames(f64::from(self.fade_ms) / 1e3).min(channel.len());
        let from = channel.len() - fade;
        for (n, x) in channel[from..].iter_mut().enumerate() {
            let turn = std::f32::consts::PI * n as f32 / (fade - 1).max(1) as f32;
            *x *= 0.5 + 0.5 * turn.cos();
        }
    }
}

/// A sound file as audiodiff reads it, or one of floats without a header.
fn read(path: &Path) -> anyhow::Result<Clip> {
    if path.extension().is_none_or(|extension| extension != "raw") {
        return Ok(audio::read(path)?);
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (floats, rest) = bytes.as_chunks::<4>();
    ensure!(
        rest.is_empty() && !floats.is_empty(),
        "{}: expected floats of 4 bytes, found {} bytes",
        path.display(),
        bytes.len()
    );
    let floats: Vec<f32> = floats.iter().map(|x| f32::from_le_bytes(*x)).collect();
    ensure!(
        floats.iter().all(|x| x.is_finite()),
        "{}: expected numbers, found others",
        path.display()
    );
    Ok(Clip::new(RAW_RATE, vec![floats]))
}

/// Who is to be thanked for the recordings that were learnt, as items of a list in Markdown.
pub fn credits(recordings: &[Recording]) -> String {
    let mut of_source: BTreeMap<&str, Vec<&Recording>> = BTreeMap::new();
    for recording in recordings.iter().filter(|r| !r.repository.held_out) {
        let source = recording.repository.source;
        of_source.entry(source).or_default().push(recording);
    }
    let mut text = String::new();
    for recordings in of_source.values() {
        let repository = recordings[0].repository;
        let authors: BTreeSet<&str> = recordings.iter().map(|r| r.author).collect();
        let licences: BTreeSet<&str> = recordings.iter().map(|r| r.licence).collect();
        text += &format!(
            "- **{}** by {}; {},\n  {} recordings of <https://github.com/{}>\n",
            repository.title,
            and(&authors),
            and(&licences),
            recordings.len(),
            repository.name
        );
    }
    text
}

/// `a`, `a and b`, `a, b and c`.
fn and(names: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = names.iter().copied().collect();
    match &names[..] {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
