//! `render` and `play`: new sounds to files, to stdout, to the loudspeaker.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use audiodiff::audio::{self, BitDepth, Clip, Level};
use audiodiff::checkpoint::ModelConfig;
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::error::printable;
use audiodiff::picture;
use audiodiff::render::{Init, Remark, RenderSettings, Rendered, Renderer};
use clap::Args;
use serde::Serialize;

use super::{Bar, DeviceChoice, Global, PrecisionChoice, catch_interrupts, keep_going, usage};

/// Sounds rendered together: enough to keep the cores busy, few enough to report often.
const BATCH: usize = 8;

/// What to render; `render` and `play` share it.
#[derive(Args)]
pub struct SoundSettings {
    /// Model file [default: the built-in model]
    #[arg(long, short, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Class of the sound, one of those `info` lists [default: any, in the proportions of the sounds learnt from]
    #[arg(long, short)]
    class: Option<OsString>,
    /// How many sounds
    #[arg(short = 'n', long = "count", default_value_t = 1, value_name = "N")]
    count: usize,
    /// Seed of the first sound; the next ones count up from it [default: from the clock, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Steps from noise to sound: 1 to 4 for a model tuned to few, such as the built-in one, which takes 8 at most;
    /// for others more is finer, and slower in proportion [default: the model's, else 16]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// The sampler: euler, heun, ddim, ancestral, dpmpp-2m, dpmpp-2m-sde, ipndm or
    /// consistency; v-ddim, v-ddpm and iplms are known too [default: the model's, else dpmpp-2m]
    #[arg(long)]
    sampler: Option<Sampler>,
    /// How the steps are spread: karras, logsnr, consistency, crash or linear [default: the model's, else logsnr]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// How strongly to insist on the class: 1 does not, 2 is strict [default: the model's, else 1.5]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
    /// Length in seconds, exactly: padded with silence, or faded [default: the model's at most, also for what is kept
    /// of --init; a one-shot ends where it falls below -72 dB of its peak]
    #[arg(long, value_name = "T")]
    seconds: Option<f64>,
    /// Keep the model's length where a one-shot is over sooner
    #[arg(long)]
    no_trim: bool,
    /// Begin with this sound and vary it, from its onset on where the model makes one-shots
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Make the sound between --init and this one
    #[arg(long, requires = "init", value_name = "FILE")]
    to: Option<PathBuf>,
    /// Keep this part of --init, in seconds of that file, and make the rest anew to go with it; may be given again
    #[arg(long, requires = "init", conflicts_with = "to", value_name = "FROM-TO", value_parser = span)]
    keep: Vec<(f64, f64)>,
    /// How far to go from --init: 0 keeps it, 1 forgets it; with --to, how far towards that [default: 0.5, with
    /// --keep 1]
    #[arg(long, requires = "init", value_name = "0..1")]
    strength: Option<f64>,
    /// Turn a descriptor of the model from its neutral 0, e.g. tilt=0.5 or decay=1; varispeed=1 plays the sound two
    /// semitones higher; or ask for an attribute: pitch=HZ, to the cent, length=SECONDS, brightness=HZ
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = descriptor)]
    descriptors: Vec<(String, f32)>,
    /// Peak level in dB of full scale, -96 to 0
    #[arg(long, default_value_t = -1.0, value_name = "DB", allow_negative_numbers = true)]
    peak: f32,
    /// Loudness in LUFS, -70 to 0, instead of a peak level, as far as the peak allows
    #[arg(
        long,
        conflicts_with = "peak",
        value_name = "LUFS",
        allow_negative_numbers = true
    )]
    loudness: Option<f32>,
    /// As Dance Diffusion's own programs do it, to compare: `iplms` with their first and last step, nothing finished,
    /// levelled or faded
    #[arg(long, conflicts_with_all = ["peak", "loudness"])]
    reference: bool,
    /// Where to compute
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the products
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,
}

fn descriptor(text: &str) -> Result<(String, f32), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value
        .parse()
        .map_err(|_| format!("expected a number, found `{value}`"))?;
    Ok((name.to_owned(), value))
}

fn span(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = text.split_once('-').ok_or("expected FROM-TO")?;
    let seconds = |text: &str| {
        let parsed = text.trim().parse().ok().filter(|t: &f64| t.is_finite());
        parsed.ok_or_else(|| format!("expected seconds, found `{text}`"))
    };
    Ok((seconds(from)?, seconds(to)?))
}

impl SoundSettings {
    fn settings(&self, model: &ModelConfig) -> anyhow::Result<RenderSettings> {
        if self.count == 0 || self.count > 100_000 {
            return Err(usage(format!(
                "-n: expected 1 to 100000, found {}",
                self.count
            )));
        }
        let within = |flag: &str, low: f32, value: f32| {
            if (low..=0.0).contains(&value) {
                return Ok(());
            }
            Err(usage(format!("{flag}: expected {low} to 0, found {value}")))
        };
        within("--peak", -96.0, self.peak)?;
        within("--loudness", -70.0, self.loudness.unwrap_or(0.0))?;
        let usual = if self.keep.is_empty() { 0.5 } else { 1.0 };
        let strength = self.strength.unwrap_or(usual);
        let init = match (&self.init, &self.to) {
            (Some(from), Some(to)) => Some(Init::Morph {
                clips: [audio::read(from)?, audio::read(to)?],
                fraction: strength,
            }),
            (Some(path), None) if self.keep.is_empty() => Some(Init::Vary {
                clip: audio::read(path)?,
                strength,
            }),
            (Some(path), None) => Some(Init::Inpaint {
                clip: audio::read(path)?,
                kept: self.keep.clone(),
                strength,
            }),
            (None, _) => None,
        };
        let own = RenderSettings::of(model);
        let sampler = match self.sampler.unwrap_or(own.sampler) {
            Sampler::Ipndm if self.reference => Sampler::IplmsReference,
            sampler => sampler,
        };
        if self.to.is_some() && self.count > 1 && !sampler.is_stochastic() {
            return Err(usage(format!(
                "--to: expected one sound, for with {sampler} seeds change no more than the noise in it, found -n {}",
                self.count
            )));
        }
        let level = self
            .loudness
            .map_or(Level::Peak(self.peak), Level::Loudness);
        Ok(RenderSettings {
            class: self
                .class
                .as_ref()
                .map(|class| class.to_string_lossy().into_owned()),
            steps: self.steps.unwrap_or(own.steps),
            sampler,
            schedule: self.schedule.unwrap_or(own.schedule),
            guidance: self.guidance.unwrap_or(own.guidance),
            seconds: self.seconds,
            trim: !self.no_trim,
            init,
            descriptors: self.descriptors.clone(),
            level: if self.reference { Level::Raw } else { level },
            ..own
        })
    }

    fn renderer(&self) -> anyhow::Result<Renderer> {
        let model = super::load_model(self.model.as_ref())?;
        let mut renderer = Renderer::new(&model, &self.device.open()?)?;
        renderer.engine().set_compute_type(self.precision.into());
        Ok(renderer)
    }

    fn first_seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // Short enough to be typed again.
            clock.map_or(0, |t| t.as_micros() as u64 % 1_000_000_000)
        })
    }
}

/// Renders everything asked for, handing each sound with its seed to `each`.
fn render_all(
    renderer: &Renderer,
    sound: &SoundSettings,
    global: &Global,
    each: &mut dyn FnMut(u64, Rendered) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (settings, first) = (sound.settings(renderer.config())?, sound.first_seed());
    if let (Some(path), Some(Init::Vary { clip, .. } | Init::Inpaint { clip, .. })) =
        (&sound.init, &settings.init)
    {
        let format = renderer.config().format;
        let own = format.len_frames as f64 / f64::from(format.sample_rate);
        let kept = sound.seconds.unwrap_or(0.0).max(own);
        if clip.seconds() > kept && !global.quiet {
            eprintln!(
                "{}: {:.2} s long, of which at most {kept:.2} s are taken",
                printable(&path.display().to_string()),
                clip.seconds()
            );
        }
    }
    catch_interrupts()?;
    let bar = Bar::new("rendering", global);
    let seeds: Vec<u64> = (0..sound.count as u64)
        .map(|i| first.wrapping_add(i))
        .collect();
    let (mut done, mut said) = (0, BTreeSet::new());
    for seeds in seeds.chunks(BATCH) {
        let made = renderer.render_batch(&settings, seeds, &mut |step| {
            let within = step.step as f64 / step.steps as f64 * seeds.len() as f64;
            bar.fraction((done as f64 + within) / sound.count as f64);
            keep_going()
        })?;
        done += made.len();
        for (&seed, made) in seeds.iter().zip(made) {
            bar.aside(|| {
                for remark in made.remarks.iter().filter(|_| !global.quiet) {
                    let line = match remark {
                        Remark::Steps { .. } | Remark::Sampler { .. } | Remark::LeftOut { .. } => {
                            remark.to_string()
                        }
                        _ => format!("seed {seed}: {remark}"),
                    };
                    if said.insert(line.clone()) {
                        eprintln!("{line}");
                    }
                }
                each(seed, made)
            })?;
        }
    }
    bar.finish();
    Ok(())
}

#[derive(Args)]
#[command(after_help = "Examples:
  audiodiff render -o kick.wav --class kick --seed 7
  audiodiff render -o hats.wav --class hat_closed -n 16 --plot     hats-01.wav … hats-16.wav
  audiodiff render -o new.wav --init old.wav --strength 0.4        a variation of old.wav
  audiodiff render -o new.wav --init old.wav --keep 0-0.1         its first 0.1 s, and another end
  audiodiff render -o new.wav --init a.wav --to b.wav             between the two
  audiodiff render -o - --class snare | sox -t wav - snare.mp3")]
pub struct RenderArgs {
    /// WAV file to write, its name ending in .wav, .wave or nothing; `-` for stdout. With -n, a number is added to the
    /// name
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    sound: SoundSettings,
    /// Bits a sample: 16 (dithered), 24, or 32 (float)
    #[arg(long, default_value = "24", value_parser = ["16", "24", "32"])]
    bits: String,
    /// Draw waveforms and spectrograms into a PNG beside the sounds
    #[arg(long)]
    plot: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Made {
    path: String,
    seed: u64,
    /// As which it was made: asked for, or drawn.
    class: Option<String>,
    seconds: f64,
    peak_db: f32,
    /// What was asked and could not be had.
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct Summary {
    model: String,
    class: Option<String>,
    steps: usize,
    sampler: String,
    milliseconds_per_sound: f64,
    sounds: Vec<Made>,
}

pub fn render(args: &RenderArgs, global: &Global) -> anyhow::Result<()> {
    let depth = match args.bits.as_str() {
        "16" => BitDepth::Int16,
        "24" => BitDepth::Int24,
        _ => BitDepth::Float32,
    };
    let to_stdout = args.out == Path::new("-");
    let many = args.sound.count > 1;
    if to_stdout && (many || args.plot || args.json) {
        return Err(usage(
            "-o -: one sound goes to stdout, without -n, --plot or --json",
        ));
    }
    // What cannot end well is not begun.
    let extension = args.out.extension().map(|e| e.to_string_lossy());
    if let Some(found) =
        extension.filter(|e| !["wav", "wave"].contains(&&*e.to_lowercase()) && !to_stdout)
    {
        return Err(usage(format!(
            "-o {}: WAV is what is written; expected a name ending in .wav or .wave, found .{found}",
            args.out.display()
        )));
    }
    if args.out.is_dir() {
        return Err(usage(format!(
            "-o {}: expected a file, found a folder",
            args.out.display()
        )));
    }
    let folder = args.out.parent().filter(|f| !f.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|_| !to_stdout) {
        std::fs::metadata(folder).map_err(audiodiff::Error::io(folder))?;
    }
    let sheet = args.out.with_extension("png");
    if args.plot && args.sound.count > picture::MOST_SOUNDS {
        return Err(usage(format!(
            "--plot: expected at most {} sounds, found {}",
            picture::MOST_SOUNDS,
            args.sound.count
        )));
    }
    let width = args.sound.count.to_string().len().max(2);
    let (mut made, mut clips, mut steps) = (Vec::new(), Vec::new(), 0);
    let start = Instant::now();
    let renderer = args.sound.renderer()?;
    let rendered = render_all(&renderer, &args.sound, global, &mut |seed, rendered| {
        let (clip, class) = (rendered.clip, rendered.class);
        steps = rendered.steps;
        if to_stdout {
            if !global.quiet {
                eprintln!("{}", named(seed, class.as_deref()));
            }
            std::io::stdout().write_all(&audio::wav_bytes(&clip, depth)?)?;
        } else {
            let path = if many {
                numbered(&args.out, made.len() + 1, width)
            } else {
                args.out.clone()
            };
            audio::write_wav(&path, &clip, depth)?;
            let peak_db = 20.0 * clip.peak().max(1e-9).log10();
            made.push(Made {
                path: path.display().to_string(),
                seed,
                class,
                seconds: clip.seconds(),
                peak_db,
                remarks: rendered.remarks.iter().map(Remark::to_string).collect(),
            });
            if args.plot {
                clips.push((format!("seed {seed}"), clip));
            }
        }
        Ok(())
    });
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / made.len().max(1) as f64;
    // What was written before an interruption is told all the same: its seeds are nowhere else.
    let own = RenderSettings::of(renderer.config());
    if args.json {
        super::print_json(&Summary {
            model: renderer.config().name.clone(),
            class: args
                .sound
                .class
                .as_ref()
                .map(|class| class.to_string_lossy().into_owned()),
            steps,
            sampler: args.sound.sampler.unwrap_or(own.sampler).to_string(),
            milliseconds_per_sound: milliseconds,
            sounds: made,
        })?;
    } else if !global.quiet && !to_stdout {
        let mut out = std::io::stdout().lock();
        for sound in &made {
            let named = named(sound.seed, sound.class.as_deref());
            writeln!(out, "{}  {named}", sound.path)?;
        }
    }
    rendered?;
    if args.plot {
        let cells: Vec<(String, &Clip)> = clips
            .iter()
            .map(|(title, clip)| (title.clone(), clip))
            .collect();
        picture::sound_sheet(&cells, &sheet)?;
    }
    Ok(())
}

/// What names a sound: its seed, and the class that it was made as.
fn named(seed: u64, class: Option<&str>) -> String {
    match class {
        Some(class) => format!("seed {seed}  {class}"),
        None => format!("seed {seed}"),
    }
}

/// `out.wav` → `out-07.wav`.
fn numbered(path: &Path, number: usize, width: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map_or("wav".into(), |e| e.to_string_lossy());
    path.with_file_name(format!("{stem}-{number:0width$}.{extension}"))
}

/// Plays sounds on the default output.
#[cfg(feature = "play")]
#[derive(Args)]
pub struct PlayArgs {
    /// A sound file to play instead of rendering one
    #[arg(conflicts_with_all = [
        "model", "class", "count", "seed", "steps", "sampler", "schedule", "guidance", "seconds", "no_trim", "init",
        "descriptors", "peak", "loudness", "device", "precision"
    ])]
    file: Option<PathBuf>,
    #[command(flatten)]
    sound: SoundSettings,
}

#[cfg(feature = "play")]
pub fn play(args: &PlayArgs, global: &Global) -> anyhow::Result<()> {
    match &args.file {
        Some(path) => speaker::play(&audio::read(path)?),
        None => render_all(
            &args.sound.renderer()?,
            &args.sound,
            global,
            &mut |seed, made| {
                if !global.quiet {
                    let named = named(seed, made.class.as_deref());
                    writeln!(std::io::stdout(), "{named}")?;
                }
                speaker::play(&made.clip)
            },
        ),
    }
}

#[cfg(feature = "play")]
mod speaker {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use anyhow::Context;
    use audiodiff::audio::Clip;
    use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};

    /// Plays a clip to its end on the default output, at that output's rate.
    pub fn play(clip: &Clip) -> anyhow::Result<()> {
        let device = cpal::default_host()
            .default_output_device()
            .context("no sound output was found")?;
        let config = device
            .default_output_config()
            .context("the sound output has no configuration")?;
        if config.sample_format() != cpal::SampleFormat::F32 {
            anyhow::bail!(
                "the sound output wants {:?} samples, expected f32",
                config.sample_format()
            );
        }
        let stream_config = config.config();
        let outputs = usize::from(stream_config.channels);
        let sources = outputs.clamp(1, 2);
        let clip = clip
            .resampled(stream_config.sample_rate)?
            .with_channels(sources);
        let (clip, at) = (Arc::new(clip), Arc::new(AtomicUsize::new(0)));
        let (reader, position) = (Arc::clone(&clip), Arc::clone(&at));
        let fill = move |out: &mut [f32], _: &cpal::OutputCallbackInfo| {
            let start = position.fetch_add(out.len() / outputs, Ordering::Relaxed);
            for (i, frame) in out.chunks_mut(outputs).enumerate() {
                for (channel, value) in frame.iter_mut().enumerate() {
                    let source = &reader.channels()[channel % sources];
                    *value = if channel < sources {
                        source.get(start + i).copied().unwrap_or(0.0)
                    } else {
                        0.0
                    };
                }
            }
        };
        let stream = device
            .build_output_stream(
                stream_config,
                fill,
                |error| eprintln!("sound output: {error}"),
                None,
            )
            .context("the sound output cannot be opened")?;
        stream.play().context("the sound output does not start")?;
        // A fifth of a second more, for what the output has buffered.
        let end = clip.len_frames() + stream_config.sample_rate as usize / 5;
        while at.load(Ordering::Relaxed) < end && super::keep_going().is_continue() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
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

    #[test]
    fn descriptors_are_names_with_numbers() {
        assert_eq!(descriptor("tilt=-0.5"), Ok(("tilt".to_owned(), -0.5)));
        assert!(descriptor("tilt").is_err() && descriptor("tilt=high").is_err());
    }
}
