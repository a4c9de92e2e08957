//! `render`: new sounds to files or to stdout.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use audiodiff::audio::{self, BitDepth, Clip};
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
    /// WAV file to write, its name ending in .wav, .wave or nothing; `-` for stdout. With -n, a number is added to the
    /// name
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
    path: String,
    seed: u64,
    /// As which it was made: asked for, or drawn.
    class: Option<String>,
    seconds: f64,
    peak_db: f32,
    /// Wishes that could not be granted.
    remarks: Vec<String>,
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
            return match count > 1 || self.plot || self.json {
                true => Err(usage(
                    "-o -: one sound goes to stdout, without -n, --plot or --json",
                )),
                false => Ok(()),
            };
        }
        let extension = out.extension().map(|e| e.to_string_lossy());
        if let Some(found) = extension.filter(|e| !["wav", "wave"].contains(&&*e.to_lowercase())) {
            return Err(usage(format!(
                "-o {}: WAV is what is written; expected a name ending in .wav or .wave, found .{found}",
                out.display()
            )));
        }
        if out.is_dir() {
            return Err(usage(format!(
                "-o {}: expected a file, found a folder",
                out.display()
            )));
        }
        if let Some(folder) = out.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::metadata(folder).map_err(audiodiff::Error::io(folder))?;
        }
        if self.plot && count > picture::MOST_SOUNDS {
            return Err(usage(format!(
                "--plot: expected at most {} sounds, found {count}",
                picture::MOST_SOUNDS
            )));
        }
        Ok(())
    }

    /// Writes a sound to stdout.
    fn print(&self, seed: u64, rendered: &Rendered, global: &Global) -> anyhow::Result<()> {
        if !global.quiet {
            eprintln!("{}", line(seed, rendered.class.as_deref()));
        }
        let bytes = audio::wav_bytes(&rendered.clip, self.bits.into())?;
        Ok(std::io::stdout().write_all(&bytes)?)
    }

    /// Writes the sound of this number, from 1, to its file.
    fn write(&self, number: usize, seed: u64, rendered: &Rendered) -> anyhow::Result<Made> {
        let clip = &rendered.clip;
        let path = match self.sound.count {
            1 => self.out.clone(),
            count => numbered(&self.out, number, count.to_string().len().max(2)),
        };
        audio::write_wav(&path, clip, self.bits.into())?;
        Ok(Made {
            path: path.display().to_string(),
            seed,
            class: rendered.class.clone(),
            seconds: clip.seconds(),
            peak_db: 20.0 * clip.peak().max(1e-9).log10(),
            remarks: rendered.remarks.iter().map(Remark::to_string).collect(),
        })
    }
}

pub fn render(args: &RenderArgs, global: &Global) -> anyhow::Result<()> {
    args.check()?;
    let (mut made, mut clips, mut steps) = (Vec::new(), Vec::new(), 0);
    let start = Instant::now();
    let renderer = args.sound.renderer()?;
    let settings = args.sound.settings(renderer.config())?;
    let mut each = |seed, rendered: Rendered| {
        steps = rendered.steps;
        if args.to_stdout() {
            return args.print(seed, &rendered, global);
        }
        made.push(args.write(made.len() + 1, seed, &rendered)?);
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
    } else if !global.quiet && !args.to_stdout() {
        let mut out = std::io::stdout().lock();
        for sound in &made {
            let named = line(sound.seed, sound.class.as_deref());
            writeln!(out, "{}  {named}", sound.path)?;
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

/// `out.wav` → `out-07.wav`.
fn numbered(path: &Path, number: usize, width: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map_or("wav".into(), |e| e.to_string_lossy());
    path.with_file_name(format!("{stem}-{number:0width$}.{extension}"))
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
}
