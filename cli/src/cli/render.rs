//! `render`: new sounds to files or to stdout.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use audiodiff::audio::{self, BitDepth, Clip, Container, Measures, Tags};
use audiodiff::checkpoint::ModelConfig;
use audiodiff::picture;
use audiodiff::render::{Remark, Rendered};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::sound::{SoundArgs, line};
use super::{Global, usage};

#[derive(Args)]
#[command(after_help = "Examples:
  audiodiff render -o kick.wav --class kick --seed 7
  audiodiff render -o hats.wav --class hat_closed -n 16 --plot     hats-01.wav … hats-16.wav
  audiodiff render -o new.wav --init old.wav --strength 0.4        a variation of old.wav
  audiodiff render -o new.wav --init old.wav --keep 0-0.1         its first 0.1 s, and another end
  audiodiff render -o new.wav --init a.wav --morph-to b.wav       between the two
  audiodiff render -o - --class snare | sox -t wav - snare.mp3")]
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

#[derive(Serialize)]
struct Made {
    #[serde(serialize_with = "lossy")]
    path: PathBuf,
    seed: u64,
    /// As which it was made: asked for, or drawn.
    class: Option<String>,
    seconds: f64,
    peak_db: f32,
    /// Wishes that could not be granted.
    remarks: Vec<String>,
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
    sounds: &'a [Made],
}

impl RenderArgs {
    fn to_stdout(&self) -> bool {
        self.out == Path::new("-")
    }

    /// Refuses what would fail only after sounds were made.
    fn check(&self) -> anyhow::Result<()> {
        let (out, count) = (&self.out, self.sound.count);
        if self.to_stdout() {
            return match count > 1 || self.plot || self.json || self.jsonl {
                true => Err(usage(
                    "-o -: one sound goes to stdout, without -n, --plot, --json or --jsonl",
                )),
                false => Ok(()),
            };
        }
        let container = Container::of(out).map_err(|error| usage(format!("-o {error}")))?;
        if container == Container::Flac && self.bits == Bits::Float32 {
            return Err(usage(format!(
                "-o {}: FLAC holds integers: expected --bits 16 or 24, found 32",
                out.display()
            )));
        }
        if out.is_dir() {
            return Err(usage(format!(
                "-o {}: expected a file, found a folder",
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
        match self.out.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !self.to_stdout() => {
                std::fs::create_dir_all(folder).map_err(audiodiff::Error::io(folder))
            }
            _ => Ok(()),
        }
    }

    /// Writes a sound to stdout.
    fn print(
        &self,
        model: &ModelConfig,
        seed: u64,
        rendered: &Rendered,
        global: &Global,
    ) -> anyhow::Result<()> {
        if !global.quiet {
            eprintln!("{}", line(seed, rendered.class.as_deref()));
        }
        let (clip, depth) = (&rendered.clip, self.bits.into());
        let bytes = audio::bytes(clip, Container::Wav, depth, &tags(model, seed, rendered))?;
        Ok(std::io::stdout().write_all(&bytes)?)
    }

    /// Writes the sound of this number, from 1, to its file.
    fn write(
        &self,
        model: &ModelConfig,
        number: usize,
        seed: u64,
        rendered: &Rendered,
    ) -> anyhow::Result<Made> {
        let clip = &rendered.clip;
        let path = match self.sound.count {
            1 => self.out.clone(),
            count => numbered(&self.out, number, count.to_string().len().max(2)),
        };
        audio::write(&path, clip, self.bits.into(), &tags(model, seed, rendered))?;
        Ok(Made {
            path,
            seed,
            class: rendered.class.clone(),
            seconds: clip.seconds(),
            peak_db: 20.0 * clip.peak().max(1e-9).log10(),
            remarks: rendered.remarks.iter().map(Remark::to_string).collect(),
        })
    }
}

/// What the file of a sound says of it.
fn tags(model: &ModelConfig, seed: u64, rendered: &Rendered) -> Tags {
    Tags {
        title: rendered.class.clone(),
        comment: Some(format!("seed {seed}, model {}", model.name)),
        licence: model.training.licence.clone(),
        pitch_hz: Measures::of(&rendered.clip).pitch,
    }
}

pub fn render(args: &RenderArgs, global: &Global) -> anyhow::Result<()> {
    args.check()?;
    let (mut made, mut clips, mut steps) = (Vec::new(), Vec::new(), 0);
    let start = Instant::now();
    let renderer = args.sound.renderer()?;
    let settings = args.sound.settings(renderer.config())?;
    args.make_folder()?;
    let mut each = |seed, rendered: Rendered| {
        steps = rendered.steps;
        if args.to_stdout() {
            return args.print(renderer.config(), seed, &rendered, global);
        }
        let sound = args.write(renderer.config(), made.len() + 1, seed, &rendered)?;
        if args.jsonl {
            super::print_json_line(&sound)?;
        }
        made.push(sound);
        if args.plot {
            clips.push((format!("seed {seed}"), rendered.clip));
        }
        Ok(())
    };
    let rendered = args.sound.render(&renderer, &settings, global, &mut each);
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / made.len().max(1) as f64;
    // Files written before an interruption are listed all the same: their seeds are nowhere else.
    if args.json {
        super::print_json(&Summary {
            model: &renderer.config().name,
            class: args.sound.class.as_deref(),
            steps,
            sampler: settings.sampler.to_string(),
            milliseconds_per_sound: milliseconds,
            sounds: &made,
        })?;
    } else if !global.quiet && !args.to_stdout() && !args.jsonl {
        let mut out = std::io::stdout().lock();
        for sound in &made {
            let named = line(sound.seed, sound.class.as_deref());
            out.write_all(sound.path.as_os_str().as_encoded_bytes())?;
            writeln!(out, "  {named}")?;
        }
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
