//! Recordings out of public repositories: two tables say which, at what commit, and how each is cut and mixed.

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
    pub fn label(&self) -> &str {
        self.path.split_once('/').map_or("", |(label, _)| label)
    }

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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::collect::LABELS;

    const SUMS: &str = include_str!("../SHA256SUMS");

    fn repository(held_out: &str) -> String {
        let head = "source\trepository\tcommit\tuse\tlicence\ttitle\tauthor\tnotices";
        format!("{head}\nkit\tsomeone/kit\t0\t{held_out}\tCC0-1.0\tKit\tSomeone\tLICENSE\n")
    }

    fn line(cells: &str) -> String {
        let head = "path\tinstrument\tauthor\tlicence\tstart\tframes\tfade_ms\tparts";
        format!("{head}\n{cells}\n")
    }

    /// The 16-bit channels of a recording of `start`, `frames`, `fade_ms` and `parts`, made of `clips`.
    fn mixed(settings: &str, clips: &[Clip]) -> anyhow::Result<Vec<Vec<i16>>> {
        let table = repository("train");
        let repositories = parse_repositories(&table)?;
        let table = line(&format!("kick/kit__a.wav\ta\t\t\t{settings}"));
        let recordings = parse_recordings(&table, &repositories)?;
        Ok(recordings[0].mix(clips)?.channels)
    }

    fn clip(channels: &[&[f32]]) -> Clip {
        Clip::new(8_000, channels.iter().map(|c| c.to_vec()).collect())
    }

    #[test]
    fn files_are_summed_by_their_gains_where_they_are_heard() -> anyhow::Result<()> {
        let (a, b) = (
            clip(&[&[0.25, 0.5, -0.5]]),
            clip(&[&[0.125, 0.0, 0.125, 0.25]]),
        );
        let wide = clip(&[&[0.5, 0.5], &[-0.25, 0.25]]);
        let mono = mixed("0\t3\t0\t1 a.wav + 2 b.wav", &[a.clone(), b.clone()])?;
        assert_eq!(mono, [[16_384, 16_384, -8_192]]);
        let sides = mixed(
            "0\t3\t0\t1 a.wav + 2 left b.wav + 1 right b.wav",
            &[a.clone(), b.clone(), b.clone()],
        )?;
        assert_eq!(sides, [[16_384, 16_384, -8_192], [12_288, 16_384, -12_288]]);
        let kept = mixed("0\t2\t0\t0.5 a.wav", std::slice::from_ref(&wide))?;
        assert_eq!(kept, [[8_192, 8_192], [-4_096, 4_096]]);
        let folded = mixed("0\t2\t0\t1 mono a.wav", &[wide])?;
        assert_eq!(folded, [[4_096, 12_288]]);
        // Beyond the end of a file there is silence; beyond full scale, full scale.
        let longer = mixed("0\t4\t0\t1 a.wav + 1 b.wav", &[a.clone(), b])?;
        assert_eq!(longer, [[12_288, 16_384, -12_288, 8_192]]);
        let loud = mixed("0\t3\t0\t3 a.wav", &[a])?;
        assert_eq!(loud, [[24_576, 32_767, -32_768]]);
        Ok(())
    }

    #[test]
    fn a_cut_beginning_rises_and_the_end_fades() -> anyhow::Result<()> {
        // 4 frames are half a millisecond, 8 a millisecond.
        let flat = clip(&[&[0.5; 30]]);
        let whole = mixed("0\t20\t0\t1 a.wav", std::slice::from_ref(&flat))?;
        assert_eq!(whole, [[16_384; 20]]);
        let cut = mixed("2\t20\t0\t1 a.wav", std::slice::from_ref(&flat))?;
        assert_eq!(cut[0][..5], [0, 5_461, 10_923, 16_384, 16_384]);
        assert_eq!(cut[0][5..], [16_384; 15]);
        let faded = mixed("0\t20\t1\t1 a.wav", &[flat])?;
        assert_eq!(faded[0][..13], [16_384; 13]);
        // Half a cosine over eight values, its ends included.
        let wanted = (0..8).map(|n| {
            let turn = std::f64::consts::PI * f64::from(n) / 7.0;
            (16_384.0 * (0.5 + 0.5 * turn.cos())).round() as i16
        });
        assert!(faded[0][12..].iter().copied().eq(wanted));
        Ok(())
    }

    #[test]
    fn files_that_do_not_fit_are_refused_by_name() -> anyhow::Result<()> {
        let (a, other) = (clip(&[&[0.5; 4]]), Clip::new(16_000, vec![vec![0.5; 4]]));
        let three = clip(&[&[0.5; 4][..]; 3]);
        for (settings, clips, expected) in [
            ("0\t4\t0\t1 a.wav + 1 b.wav", vec![a.clone(), other], "rate"),
            ("4\t4\t0\t1 a.wav", vec![a], "found 4 frames"),
            ("0\t4\t0\t1 a.wav", vec![three], "found 3"),
        ] {
            let error = mixed(settings, &clips).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        let folder = tempfile::tempdir()?;
        let raw = folder.path().join("drum.raw");
        for bytes in [&b"12345"[..], b"", &f32::NAN.to_le_bytes()] {
            fs::write(&raw, bytes)?;
            let error = read(&raw).unwrap_err().to_string();
            assert!(
                error.contains("drum.raw") && error.contains("found"),
                "{error}"
            );
        }
        fs::write(
            &raw,
            [0.5f32.to_le_bytes(), (-1.5f32).to_le_bytes()].concat(),
        )?;
        let clip = read(&raw)?;
        assert_eq!(clip.channels(), [[0.5, -1.5]]);
        assert_eq!(clip.sample_rate(), 44_100);
        let error = read(&folder.path().join("absent.wav")).unwrap_err();
        assert!(error.to_string().contains("absent.wav"));
        Ok(())
    }

    #[test]
    fn lines_that_make_no_sense_are_refused_by_name() -> anyhow::Result<()> {
        assert!(parse_repositories("source\tname\n").is_err());
        assert!(parse_repositories(&repository("perhaps")).is_err());
        let table = repository("held out");
        let repositories = parse_repositories(&table)?;
        assert!(repositories[0].held_out);
        for cells in [
            "kick/kit__a.wav\ta\t\t\t0\t10\t0",
            "kit__a.wav\ta\t\t\t0\t10\t0\t1 a.wav",
            "kick/a.wav\ta\t\t\t0\t10\t0\t1 a.wav",
            "kick/other__a.wav\ta\t\t\t0\t10\t0\t1 a.wav",
            "kick/kit__a.wav\ta\t\t\t-1\t10\t0\t1 a.wav",
            "kick/kit__a.wav\ta\t\t\t0\t0\t0\t1 a.wav",
            "kick/kit__a.wav\ta\t\t\t0\t10\t0\ta.wav",
            "kick/kit__a.wav\ta\t\t\t0\t10\t0\tloud a.wav",
        ] {
            let error = parse_recordings(&line(cells), &repositories).unwrap_err();
            let path = cells.split('\t').next().unwrap();
            assert!(error.to_string().contains(path), "{error}");
        }
        let table = line("kick/kit__a.wav\ta\t\t\t0\t10\t0\t1 a b + c.wav + 2 left d.wav");
        let error = parse_recordings(&table, &repositories).unwrap_err();
        assert!(format!("{error:#}").contains("gain"), "{error:#}");
        Ok(())
    }

    #[test]
    fn tables_name_no_sound_twice_and_stay_in_their_folders() -> anyhow::Result<()> {
        let repositories = repositories()?;
        let recordings = recordings(&repositories)?;
        let paths: BTreeSet<_> = recordings.iter().map(|r| r.path).collect();
        assert_eq!(paths.len(), recordings.len());
        for r in &recordings {
            assert!(LABELS.contains(&r.label()), "{}", r.path);
            assert_eq!(r.path.matches('/').count(), 1, "{}", r.path);
            assert!(r.path.ends_with(".wav") && !r.path.contains('\\'));
            assert!(
                !r.author.is_empty() && !r.instrument.is_empty(),
                "{}",
                r.path
            );
            assert!([0, 5, 20].contains(&r.fade_ms), "{}", r.path);
            for part in &r.parts {
                assert!(part.gain.is_finite() && part.gain > 0.0, "{}", r.path);
                assert!(
                    !part
                        .file
                        .split('/')
                        .any(|name| matches!(name, "" | "." | ".."))
                );
            }
        }
        for r in &repositories {
            assert_eq!(r.commit.len(), 40);
            assert!(r.commit.bytes().all(|b| b.is_ascii_hexdigit()));
            assert_eq!(r.name.matches('/').count(), 1);
        }
        Ok(())
    }

    #[test]
    fn every_file_has_a_sum_and_every_sum_a_file() -> anyhow::Result<()> {
        let repositories = repositories()?;
        let root = Path::new("");
        let mut files: BTreeSet<PathBuf> = (recordings(&repositories)?.iter())
            .flat_map(|r| r.files(root))
            .collect();
        for repository in &repositories {
            let folder = repository.folder(root);
            files.extend(repository.notices.iter().map(|notice| folder.join(notice)));
        }
        let sums: BTreeSet<PathBuf> = (SUMS.lines())
            .filter_map(|line| line.split_once("  "))
            .filter(|(sum, file)| sum.len() == 64 && file.starts_with("github.com/"))
            .map(|(_, file)| PathBuf::from(file))
            .collect();
        assert_eq!(files, sums);
        Ok(())
    }

    #[test]
    fn what_is_learnt_has_terms_that_allow_a_shipped_model() -> anyhow::Result<()> {
        let repositories = repositories()?;
        for r in recordings(&repositories)?
            .iter()
            .filter(|r| !r.repository.held_out)
        {
            let free = ["CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Apache-2.0"];
            assert!(free.contains(&r.licence), "{}: {}", r.path, r.licence);
        }
        Ok(())
    }

    #[test]
    fn sources_are_held_out_whole_and_every_drum_is_among_them() -> anyhow::Result<()> {
        let repositories = repositories()?;
        let held: Vec<&str> = (repositories.iter())
            .filter(|r| r.held_out)
            .map(|r| r.source)
            .collect();
        assert_eq!(held, ["cadence", "gogodze2", "kathmo", "mercury", "pearl"]);
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let recordings = recordings(&repositories)?;
        for r in &recordings {
            let (learnt, held) = counts.entry(r.label()).or_default();
            *if r.repository.held_out { held } else { learnt } += 1;
        }
        let expected = [
            ("bass", (59, 0)),
            ("clap", (29, 8)),
            ("cymbal", (47, 9)),
            ("fx", (47, 11)),
            ("hat_closed", (29, 26)),
            ("hat_open", (26, 25)),
            ("kick", (37, 26)),
            ("mallet", (34, 39)),
            ("perc", (259, 26)),
            ("pluck", (73, 19)),
            ("rim", (55, 6)),
            ("snare", (107, 29)),
            ("synth", (40, 0)),
            ("tom", (62, 26)),
        ];
        assert_eq!(counts, expected.into_iter().collect());
        Ok(())
    }
}
