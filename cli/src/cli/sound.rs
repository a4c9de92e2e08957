//! The sound to make: flags that `render` and `play` share, and making it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use audiodiff::Device;
use audiodiff::audio::{self, Clip, Decoded, Level};
use audiodiff::checkpoint::ModelConfig;
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::error::printable;
use audiodiff::names::Kind;
use audiodiff::render::{Init, Remark, RenderSettings, Rendered, Renderer};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::flags::{ComputeArgs, SamplingArgs, within};
use super::progress::{Bar, catch_interrupts, keep_going};
use super::{Global, usage};

/// Sounds rendered together: enough to keep the cores busy, few enough to report often.
pub const BATCH: usize = 8;

#[derive(Args)]
pub struct SoundArgs {
    /// Model file [default: the built-in model]
    #[arg(long, short, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Class of the sound, one of those `info` lists [default: what the file's name tells of --init, else any, in the
    /// proportions of the training set]
    #[arg(long, short, value_parser = OsStringValueParser::new().map(|class| class.to_string_lossy().into_owned()))]
    pub class: Option<String>,
    /// How many sounds
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N", value_parser = within::<usize>(1..=100_000))]
    pub count: usize,
    /// Seed of the first sound; the next ones count up from it [default: from the clock, and printed]
    #[arg(long, allow_negative_numbers = true)]
    pub seed: Option<u64>,
    #[command(flatten)]
    sampling: SamplingArgs,
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
    /// Morph: make the sound between --init and this one
    #[arg(long, alias = "to", requires = "init", value_name = "FILE")]
    morph_to: Option<PathBuf>,
    /// Inpaint: keep this part of --init, in seconds of that file, and make the rest anew to go with it; may be given
    /// again
    #[arg(long, requires = "init", conflicts_with = "morph_to", value_name = "FROM-TO", value_parser = span)]
    keep: Vec<(f64, f64)>,
    /// How far to go from --init: 0 keeps it, 1 forgets it; with --morph-to, how far towards that [default: 0.5, with
    /// --keep 1]
    #[arg(long, requires = "init", value_name = "0..1")]
    strength: Option<f64>,
    /// Set an attribute: pitch=HZ, to the cent, length=SECONDS, brightness=HZ; or turn a descriptor of the model from
    /// its neutral 0, e.g. tilt=0.5 or decay=1; varispeed=1 plays the sound two semitones higher
    #[arg(long, value_name = "NAME=VALUE", value_parser = descriptor)]
    set: Vec<(String, f32)>,
    /// Peak level in dB of full scale, -96 to 0
    #[arg(
        long, default_value_t = -1.0, value_name = "DB", allow_negative_numbers = true,
        value_parser = within::<f32>(-96.0..=0.0)
    )]
    peak: f32,
    /// Loudness in LUFS, -70 to 0, instead of a peak level, as far as the peak allows
    #[arg(
        long, conflicts_with = "peak", value_name = "LUFS", allow_negative_numbers = true,
        value_parser = within::<f32>(-70.0..=0.0)
    )]
    loudness: Option<f32>,
    /// As Dance Diffusion's own programs do it, to compare: `iplms` with their first and last step, nothing finished,
    /// levelled or faded
    #[arg(long, alias = "reference", conflicts_with_all = ["peak", "loudness"])]
    dance_diffusion: bool,
    #[command(flatten)]
    compute: ComputeArgs,
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

/// A sound to begin with; what its file lacks, or says wrongly, is told.
pub fn heard(path: &Path) -> anyhow::Result<Clip> {
    let Decoded {
        clip, lost, mended, ..
    } = audio::decode(path, None)?;
    for remark in lost.iter().chain(&mended) {
        eprintln!("{}: {remark}", printable(&path.display().to_string()));
    }
    Ok(clip)
}

impl SoundArgs {
    /// The model's settings, changed where a flag says so; reads the sounds to begin with.
    pub fn settings(&self, model: &ModelConfig) -> anyhow::Result<RenderSettings> {
        let mut settings = RenderSettings::of(model);
        self.sampling.apply(&mut settings);
        if self.dance_diffusion && settings.sampler == Sampler::Ipndm {
            settings.sampler = Sampler::IplmsReference;
        }
        let sampler = settings.sampler;
        if self.morph_to.is_some() && self.count > 1 && !sampler.is_stochastic() {
            return Err(usage(format!(
                "--morph-to: expected one sound, for with {sampler} seeds change no more than the noise in it, \
                 found -n {}",
                self.count
            )));
        }
        settings.level = match self.loudness {
            _ if self.dance_diffusion => Level::Raw,
            Some(lufs) => Level::Loudness(lufs),
            None => Level::Peak(self.peak),
        };
        settings.class = self.class.clone().or_else(|| self.class_of_name(model));
        settings.seconds = self.seconds;
        settings.trim = !self.no_trim;
        settings.init = self.init()?;
        settings.descriptors.clone_from(&self.set);
        Ok(settings)
    }

    /// The model's class of which the name of --init is: `old kick.wav` is varied as a kick. None where it tells none, and
    /// for a morph, which has none of its own.
    fn class_of_name(&self, model: &ModelConfig) -> Option<String> {
        let init = self.init.as_ref().filter(|_| self.morph_to.is_none())?;
        let told = Kind::within(&init.file_stem()?.to_string_lossy())?;
        let mut labels = model.labels.iter();
        labels
            .find(|label| Kind::within(label) == Some(told))
            .cloned()
    }

    fn init(&self) -> anyhow::Result<Option<Init>> {
        let Some(path) = &self.init else {
            return Ok(None);
        };
        let clip = heard(path)?;
        let usual = if self.keep.is_empty() { 0.5 } else { 1.0 };
        let strength = self.strength.unwrap_or(usual);
        Ok(Some(match &self.morph_to {
            Some(to) => Init::Morph {
                clips: [clip, heard(to)?],
                fraction: strength,
            },
            None if self.keep.is_empty() => Init::Vary { clip, strength },
            None => Init::Inpaint {
                clip,
                kept: self.keep.clone(),
                strength,
            },
        }))
    }

    /// The model, ready on the `nth` of several GPUs, and its fingerprint. How it is rendered where nothing is asked for
    /// is no part of that: the settings say it.
    pub fn renderer(&self, nth: usize) -> anyhow::Result<(Renderer, String)> {
        let mut model = super::load_model(self.model.as_ref())?;
        let renderer = self.compute.renderer(&model, nth)?;
        model.config.rendering = None;
        Ok((renderer, model.fingerprint()?))
    }

    /// All that decides a sound besides its model and its seed.
    pub fn digest(&self, settings: &RenderSettings, device: &Device) -> String {
        let computed = self.compute.precision.on(device);
        let place = match device {
            Device::Cpu => "CPU",
            Device::Cuda(_) => "CUDA",
            Device::Metal(_) => "Metal",
        };
        format!("{} {computed:?} {place}", settings.digest())
    }

    pub fn first_seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // Short enough to be typed again.
            clock.map_or(0, |t| t.as_micros() as u64 % 1_000_000_000)
        })
    }

    /// Says of --init what is longer than the model's sounds.
    fn tell_length(&self, renderer: &Renderer, settings: &RenderSettings) {
        if let (Some(path), Some(Init::Vary { clip, .. } | Init::Inpaint { clip, .. })) =
            (&self.init, &settings.init)
        {
            let format = renderer.config().format;
            let own = format.len_frames as f64 / f64::from(format.sample_rate);
            let kept = self.seconds.unwrap_or(0.0).max(own);
            if clip.seconds() > kept {
                eprintln!(
                    "{}: {:.2} s long, of which at most {kept:.2} s are taken",
                    printable(&path.display().to_string()),
                    clip.seconds()
                );
            }
        }
    }

    /// Begins to render `count` sounds with `settings`, by a bar.
    pub fn begin<'a>(
        &self,
        renderer: &'a Renderer,
        settings: &'a RenderSettings,
        count: usize,
        global: &Global,
    ) -> anyhow::Result<Rendering<'a>> {
        if !global.quiet {
            self.tell_length(renderer, settings);
        }
        catch_interrupts()?;
        Ok(Rendering {
            renderer,
            settings,
            bar: Bar::new("rendering", global),
            quiet: global.quiet,
            done: 0,
            count,
            said: BTreeSet::new(),
        })
    }
}

/// Sounds being rendered.
pub struct Rendering<'a> {
    renderer: &'a Renderer,
    settings: &'a RenderSettings,
    pub bar: Bar,
    quiet: bool,
    done: usize,
    count: usize,
    /// Remarks so far: each is told once.
    said: BTreeSet<String>,
}

impl Rendering<'_> {
    /// Renders a few sounds together, handing each with its seed to `each`.
    pub fn batch(
        &mut self,
        seeds: &[u64],
        each: &mut dyn FnMut(u64, Rendered) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (bar, done, count) = (&self.bar, self.done, self.count);
        let made = self
            .renderer
            .render_batch(self.settings, seeds, &mut |step| {
                let within = step.step as f64 / step.steps as f64 * seeds.len() as f64;
                bar.fraction((done as f64 + within) / count as f64);
                keep_going()
            })?;
        self.done += made.len();
        for (&seed, made) in seeds.iter().zip(made) {
            bar.aside(|| {
                for remark in made.remarks.iter().filter(|_| !self.quiet) {
                    let line = match remark {
                        Remark::Steps { .. } | Remark::Sampler { .. } | Remark::LeftOut { .. } => {
                            remark.to_string()
                        }
                        _ => format!("seed {seed}: {remark}"),
                    };
                    if self.said.insert(line.clone()) {
                        eprintln!("{line}");
                    }
                }
                each(seed, made)
            })?;
        }
        Ok(())
    }
}

/// The line of a sound: its seed, and the class that it was made as.
pub fn line(seed: u64, class: Option<&str>) -> String {
    match class {
        Some(class) => format!("seed {seed}  {class}"),
        None => format!("seed {seed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_names_with_numbers() {
        assert_eq!(descriptor("tilt=-0.5"), Ok(("tilt".to_owned(), -0.5)));
        assert!(descriptor("tilt").is_err() && descriptor("tilt=high").is_err());
    }

    #[test]
    fn spans_are_two_times() {
        assert_eq!(span("0-0.1"), Ok((0.0, 0.1)));
        for wrong in ["0.1", "a-1", "0-inf", "-1-2"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
