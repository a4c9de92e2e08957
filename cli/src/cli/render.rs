//! `render`: new sounds to files or to stdout.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use anyhow::Context;
use audiodiff::audio::{BitDepth, Clip, Container, Measures, Tags};
use audiodiff::checkpoint::ModelConfig;
use audiodiff::group::Group;
use audiodiff::picture;
use audiodiff::render::{Remark, RenderSettings, Rendered, Renderer, Seal};
use clap::{Args, ValueEnum};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ranks::Ranks;
use super::sound::{BATCH, SoundArgs, line};
use super::{Global, usage};

#[derive(Args)]
#[command(after_help = "Examples:
  audiodiff render -o kick.wav --class kick --seed 7
  audiodiff render -o hats.wav --class hat_closed -n 16 --plot     hats-01.wav … hats-16.wav
  audiodiff render -o new.wav --init old.wav --strength 0.4        a variation of old.wav
  audiodiff render -o new.wav --init old.wav --keep 0-0.1         its first 0.1 s, and another end
  audiodiff render -o new.wav --init a.wav --morph-to b.wav       between the two
  audiodiff render -o - --class snare | sox -t wav - snare.mp3
  audiodiff render -o set/s.wav -n 1000 --seed 1 --shard 3/8      the third of eight parts of a set

Of processes that mpirun starts with a build of the `mpi` feature, each makes its part (docs/cluster.md).")]
pub struct RenderArgs {
    /// File to write: WAV, FLAC or AIFF as its name ends in .wav, .flac or .aiff, and WAV if in nothing; `-` for stdout.
    /// Its folder is made. With -n, a number is added to the name
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    sound: SoundArgs,
    /// Bits a sample
    #[arg(long, default_value = "24")]
    bits: Bits,
    /// Draw waveforms and spectrograms into a PNG beside the sounds
    #[arg(long)]
    plot: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
    /// Print each sound as a line of JSON once it is written
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// Keep the files that an earlier run of the same command wrote, and make those that are missing, damaged or of
    /// other settings; needs --seed. Shards and ranks always do
    #[arg(long, conflicts_with = "plot")]
    resume: bool,
    /// Make only the I-th of N parts, of the same files that one process makes, for arrays of jobs; needs --seed
    #[arg(long, value_name = "I/N", conflicts_with = "plot")]
    shard: Option<Shard>,
}

/// One part of several, of a task that is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    /// From 0.
    index: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(index, of)| {
            let (index, of): (usize, usize) = (index.parse().ok()?, of.parse().ok()?);
            (1..=of).contains(&index).then(|| Self {
                index: index - 1,
                of,
            })
        });
        parsed.ok_or("expected I/N with I from 1 to N, such as 1/8")
    }
}

impl Shard {
    /// The sounds of this part, of `count`: they are dealt out by the batches that are rendered together.
    fn numbers(self, count: usize) -> impl Iterator<Item = usize> {
        (0..count).filter(move |number| number / BATCH % self.of == self.index)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bits {
    /// Integers, dithered
    #[value(name = "16")]
    Int16,
    /// Integers
    #[value(name = "24")]
    Int24,
    /// Floats
    #[value(name = "32")]
    Float32,
}

impl From<Bits> for BitDepth {
    fn from(bits: Bits) -> Self {
        match bits {
            Bits::Int16 => Self::Int16,
            Bits::Int24 => Self::Int24,
            Bits::Float32 => Self::Float32,
        }
    }
}

/// A sound, as JSON tells of it.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(serialize_with = "lossy")]
    path: PathBuf,
    seed: u64,
    #[serde(flatten)]
    sound: &'a Sound,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Sound {
    New {
        /// As which it was made: asked for, or drawn.
        class: Option<String>,
        seconds: f64,
        peak_db: f32,
        /// Wishes that could not be granted.
        remarks: Vec<String>,
    },
    /// An earlier run wrote it, and told of it.
    Kept { kept: bool },
}

/// JSON knows no other names than those of characters.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    path.to_string_lossy().serialize(serializer)
}

#[derive(Serialize)]
struct Summary<'a> {
    model: &'a str,
    class: Option<&'a str>,
    steps: usize,
    sampler: String,
    milliseconds_per_sound: f64,
    sounds: Vec<Made<'a>>,
}

impl RenderArgs {
    /// Whether this process is told which part is its own, whatever started it.
    pub fn is_shard(&self) -> bool {
        self.shard.is_some()
    }

    fn to_stdout(&self) -> bool {
        self.out == Path::new("-")
    }

    /// Refuses what would fail only after sounds were made.
    fn check(&self) -> anyhow::Result<()> {
        let (out, count) = (&self.out, self.sound.count);
        if self.to_stdout() {
            let more = self.plot || self.json || self.jsonl || self.resume || self.shard.is_some();
            return match count > 1 || more {
                true => Err(usage(
                    "-o -: one sound goes to stdout, without -n, --plot, --json, --jsonl, --resume or --shard",
                )),
                false => Ok(()),
            };
        }
        if (self.shard.is_some() || self.resume) && self.sound.seed.is_none() {
            return Err(usage(
                "--shard and --resume: expected --seed, found none, so that every run means the same sounds",
            ));
        }
        let container = Container::of(out).map_err(|error| usage(format!("-o {error}")))?;
        if container == Container::Flac && self.bits == Bits::Float32 {
            return Err(usage(format!(
                "-o {}: FLAC holds integers: expected --bits 16 or 24, found 32",
                out.display()
            )));
        }
        if self.plot && count > picture::MOST_SOUNDS {
            return Err(usage(format!(
                "--plot: expected at most {} sounds, found {count}",
                picture::MOST_SOUNDS
            )));
        }
        Ok(())
    }

    /// Makes the folder of the files.
    fn make_folder(&self) -> audiodiff::Result<()> {
        match self.to_stdout() {
            true => Ok(()),
            false => audiodiff::file::make_room(&self.out),
        }
    }

    /// Renders a sound, and writes it to stdout.
    fn print(
        &self,
        renderer: &Renderer,
        settings: &RenderSettings,
        (seed, seal): (u64, &Seal),
        global: &Global,
    ) -> anyhow::Result<()> {
        let mut rendering = self.sound.begin(renderer, settings, 1, global)?;
        rendering.batch(&[seed], &mut |seed, rendered| {
            if !global.quiet {
                eprintln!("{}", line(seed, rendered.class.as_deref()));
            }
            let tags = tags(renderer.config(), seed, &rendered);
            let bytes = seal.bytes(seed, &rendered.clip, Container::Wav, tags)?;
            std::io::stdout().write_all(&bytes).context("stdout")
        })?;
        rendering.bar.finish();
        Ok(())
    }

    /// The file of the sound of this number, from 0.
    fn path(&self, number: usize) -> PathBuf {
        match self.sound.count {
            1 => self.out.clone(),
            count => numbered(&self.out, number + 1, count.to_string().len().max(2)),
        }
    }

    /// The parts of all sounds that are this process's own, by number: first those whose files are kept, then those to
    /// be made.
    fn numbers(&self, group: &Group, first: u64, seal: &Seal) -> (Vec<usize>, Vec<usize>) {
        let own = self.shard.unwrap_or(Shard {
            index: group.rank(),
            of: group.size(),
        });
        let all: Vec<usize> = own.numbers(self.sound.count).collect();
        if !self.resume && own.of == 1 {
            return (Vec::new(), all);
        }
        let is_kept = |&number: &usize| seal.is_on(&self.path(number), seed_of(first, number));
        all.into_par_iter().partition(is_kept)
    }
}

/// The seed of the sound of this number, from 0.
fn seed_of(first: u64, number: usize) -> u64 {
    first.wrapping_add(number as u64)
}

impl Sound {
    fn of(rendered: &Rendered) -> Self {
        let clip = &rendered.clip;
        Self::New {
            class: rendered.class.clone(),
            seconds: clip.seconds(),
            peak_db: 20.0 * clip.peak().max(1e-9).log10(),
            remarks: rendered.remarks.iter().map(Remark::to_string).collect(),
        }
    }
}

/// What the file of a sound says of it.
fn tags(model: &ModelConfig, seed: u64, rendered: &Rendered) -> Tags {
    Tags {
        title: rendered.class.clone(),
        comment: Some(format!("seed {seed}, model {}", model.name)),
        pitch_hz: Measures::of(&rendered.clip).pitch,
    }
}

pub fn render(args: &RenderArgs, ranks: &Ranks, global: &Global) -> anyhow::Result<()> {
    args.check()?;
    let group = ranks.group();
    if group.size() > 1 && (args.plot || args.to_stdout()) {
        return Err(usage(
            "--plot and -o -: expected one process, for one draws or prints all sounds, found several ranks",
        ));
    }
    let start = Instant::now();
    let (renderer, fingerprint) = args.sound.renderer(ranks.gpu())?;
    let settings = args.sound.settings(renderer.config())?;
    let seal = Seal::new(
        &fingerprint,
        &args.sound.digest(&settings, renderer.device()),
        args.bits.into(),
    );
    let first = group.broadcast(args.sound.first_seed().to_le_bytes().to_vec())?;
    let first = u64::from_le_bytes(first.as_slice().try_into()?);
    args.make_folder()?;
    if args.to_stdout() {
        return args.print(&renderer, &settings, (first, &seal), global);
    }
    let (kept, wanted) = args.numbers(&group, first, &seal);
    let mut told = Told {
        args,
        first,
        sounds: Vec::new(),
    };
    let kept = kept
        .into_iter()
        .map(|number| (number, Sound::Kept { kept: true }));
    told.tell(&group, kept.collect())?;
    let (mut clips, mut steps) = (Vec::new(), settings.steps);
    let made = wanted.len();
    let mut rendering = args.sound.begin(&renderer, &settings, made, global)?;
    // All ranks take equally many turns, of which those with less to do leave out the last.
    let turns = group.gather((made.div_ceil(BATCH) as u64).to_le_bytes().to_vec())?;
    let turns = turns
        .iter()
        .filter_map(|turns| Some(u64::from_le_bytes(*turns.first_chunk()?)));
    let mut wanted = wanted.chunks(BATCH);
    let mut work = || {
        for _ in 0..turns.clone().max().unwrap_or(0) {
            let numbers = wanted.next().unwrap_or_default();
            let seeds: Vec<u64> = numbers
                .iter()
                .map(|&number| seed_of(first, number))
                .collect();
            let mut left = numbers.iter();
            let mut sounds = Vec::new();
            let batch = rendering.batch(&seeds, &mut |seed, rendered| {
                steps = rendered.steps;
                let Some(&number) = left.next() else {
                    return Ok(());
                };
                let tags = tags(renderer.config(), seed, &rendered);
                seal.write(&args.path(number), seed, &rendered.clip, tags)?;
                sounds.push((number, Sound::of(&rendered)));
                if args.plot {
                    clips.push((format!("seed {seed}"), rendered.clip));
                }
                Ok(())
            });
            // What was written before an error is told all the same.
            if batch.is_err() {
                told.take(sounds)?;
                return batch;
            }
            told.tell(&group, sounds)?;
        }
        Ok(())
    };
    let rendered = work();
    rendering.bar.finish();
    if group.is_first() {
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        // Files written before an interruption are listed all the same: their seeds are nowhere else.
        told.end(&renderer, steps, milliseconds, global)?;
    }
    rendered?;
    if args.plot {
        let cells: Vec<(String, &Clip)> = clips
            .iter()
            .map(|(title, clip)| (title.clone(), clip))
            .collect();
        picture::sound_sheet(&cells, &args.out.with_extension("png"))?;
    }
    Ok(())
}

/// The sounds that are there so far, as they are told.
struct Told<'a> {
    args: &'a RenderArgs,
    first: u64,
    sounds: Vec<(usize, Sound)>,
}

impl Told<'_> {
    /// Takes in what every rank has since the last time, by number from 0; rank 0 tells of it.
    fn tell(&mut self, group: &Group, own: Vec<(usize, Sound)>) -> anyhow::Result<()> {
        if group.size() == 1 {
            return self.take(own);
        }
        let all = group.gather(serde_json::to_vec(&own)?)?;
        if !group.is_first() {
            return Ok(());
        }
        let mut sounds = Vec::new();
        for own in all {
            sounds.append(&mut serde_json::from_slice(&own)?);
        }
        self.take(sounds)
    }

    fn take(&mut self, mut sounds: Vec<(usize, Sound)>) -> anyhow::Result<()> {
        sounds.sort_by_key(|(number, _)| *number);
        for (number, sound) in sounds {
            if self.args.jsonl {
                super::print_json_line(&self.made(number, &sound))?;
            } else {
                self.sounds.push((number, sound));
            }
        }
        Ok(())
    }

    fn made<'s>(&self, number: usize, sound: &'s Sound) -> Made<'s> {
        Made {
            path: self.args.path(number),
            seed: seed_of(self.first, number),
            sound,
        }
    }

    /// Tells of all of them where that was not done line by line.
    fn end(
        &mut self,
        renderer: &Renderer,
        steps: usize,
        milliseconds: f64,
        global: &Global,
    ) -> anyhow::Result<()> {
        let args = self.args;
        self.sounds.sort_by_key(|(number, _)| *number);
        let sounds = self
            .sounds
            .iter()
            .map(|(number, sound)| self.made(*number, sound));
        let is_new = |(_, sound): &&(usize, Sound)| matches!(sound, Sound::New { .. });
        if args.json {
            let made = self.sounds.iter().filter(is_new).count();
            return super::print_json(&Summary {
                model: &renderer.config().name,
                class: args.sound.class.as_deref(),
                steps,
                sampler: args.sound.settings(renderer.config())?.sampler.to_string(),
                milliseconds_per_sound: milliseconds / made.max(1) as f64,
                sounds: sounds.collect(),
            });
        }
        if global.quiet || args.jsonl {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        for Made { path, seed, sound } in sounds {
            let named = match sound {
                Sound::New { class, .. } => line(seed, class.as_deref()),
                Sound::Kept { .. } => format!("{}  kept", line(seed, None)),
            };
            // Where names are bytes they are written as they are; other consoles take text alone.
            if cfg!(unix) {
                out.write_all(path.as_os_str().as_encoded_bytes())?;
            } else {
                write!(out, "{}", path.display())?;
            }
            writeln!(out, "  {named}")?;
        }
        Ok(())
    }
}

/// `out.wav` → `out-07.wav`. A name stays as it is, whatever its bytes.
fn numbered(path: &Path, number: usize, width: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:0width$}."));
    name.push(path.extension().unwrap_or("wav".as_ref()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_from_one_on_and_together_make_every_sound_once() {
        let parse = |text: &str| text.parse::<Shard>();
        assert_eq!(parse("1/1"), Ok(Shard { index: 0, of: 1 }));
        assert_eq!(parse("8/8"), Ok(Shard { index: 7, of: 8 }));
        for wrong in ["0/4", "5/4", "4", "1/0", "a/2", "-1/2", "1/2/3"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for (count, of) in [(1, 1), (7, 3), (100, 3), (64, 8), (65, 8)] {
            let parts: Vec<Vec<usize>> = (0..of)
                .map(|index| Shard { index, of }.numbers(count).collect())
                .collect();
            let mut all = parts.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count), "{count} in {of}");
            let lengths = parts.iter().map(Vec::len);
            let (least, most) = (lengths.clone().min(), lengths.max());
            assert!(most.unwrap() - least.unwrap() <= BATCH, "{count} in {of}");
        }
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(
            numbered(Path::new("a/out.wav"), 7, 2),
            Path::new("a/out-07.wav")
        );
        assert_eq!(numbered(Path::new("out"), 12, 3), Path::new("out-012.wav"));
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_keeps_its_bytes() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let name = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        assert_eq!(
            numbered(&name(b"k\xefck.wav"), 3, 2),
            name(b"k\xefck-03.wav")
        );
    }
}
