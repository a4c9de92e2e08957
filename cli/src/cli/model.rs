//! `info`, `pack` and `import`: what a model file is, writing it anew, and reading those of other programs.

use std::io::Write;
use std::path::{Path, PathBuf};

use audiodiff::checkpoint::{Checkpoint, Rendering, StorageType, TrainingRecord};
use audiodiff::error::{counted, printable};
use audiodiff::file::make_room;
use audiodiff::import::{Import, ImportSettings};
use audiodiff::render::RenderSettings;
use audiodiff::representation::{MdctConfig, MelConfig, RepresentationConfig, WaveConfig};
use clap::Args;
use serde_json::Value;

use super::progress::Bar;
use super::{Global, usage};

#[derive(Args)]
pub struct InfoArgs {
    /// A model file [default: the built-in model]
    model: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Keys of a model's configuration that version 0.1.0 called otherwise.
const RENAMED: [(&str, &str); 3] = [
    ("attributes", "portraits"),
    ("clips", "windows"),
    ("fine_tuned_from", "tuned_from"),
];

pub fn info(args: &InfoArgs) -> anyhow::Result<()> {
    let model = super::load_model(args.model.as_ref())?;
    let config = &model.config;
    let parameters: usize = model
        .weights
        .values()
        .map(candle_core::Tensor::elem_count)
        .sum();
    if args.json {
        let mut value = serde_json::to_value(config)?;
        value["parameters"] = parameters.into();
        // Thousands of numbers, as the weights are.
        let spectrum = value.get_mut("modulation").and_then(Value::as_object_mut);
        spectrum.map(|spectrum| spectrum.remove("log_powers"));
        super::with_older_keys(&mut value, &RENAMED);
        return super::print_json(&value);
    }
    let format = &config.format;
    let lengths = config.clip_lengths();
    let seconds = |&frames: &usize| format!("{:.2}", frames as f64 / f64::from(format.sample_rate));
    let seconds: Vec<String> = lengths.all().iter().map(seconds).collect();
    let seconds = match &seconds[..] {
        [shorter @ .., longest] if !shorter.is_empty() => {
            format!("{} or {longest}", shorter.join(", "))
        }
        _ => seconds.join(""),
    };
    let channels = if format.channels == 1 {
        "mono"
    } else {
        "stereo"
    };
    let (millions, target) = (parameters as f64 / 1e6, config.target);
    let scaled = match config.modulation {
        Some(_) => ", preconditioned by the sounds' modulation spectrum",
        None => "",
    };
    let mut rows = vec![
        ("name", config.name.clone()),
        (
            "sound",
            format!("{seconds} s, {} Hz, {channels}", format.sample_rate),
        ),
        ("classes", list(&config.labels)),
        ("descriptors", list(&config.descriptor_names())),
        ("representation", represented(&config.representation)),
        (
            "network",
            format!("{millions:.2} million parameters, target {target}{scaled}"),
        ),
    ];
    if let Some(own) = &config.rendering {
        rows.push(("rendering", rendered(own)));
    }
    rows.extend(trained(&config.training));
    print_rows(&rows)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn represented(representation: &RepresentationConfig) -> String {
    match representation {
        RepresentationConfig::Mdct(MdctConfig {
            bins,
            companding,
            emphasis,
        }) => format!("mdct, {bins} bins, companding {companding}, emphasis {emphasis}"),
        RepresentationConfig::Wave(WaveConfig { patch }) => format!("wave, patches of {patch}"),
        RepresentationConfig::Mel(MelConfig {
            n_fft,
            hop,
            mels,
            floor_db,
            stereo: _,
        }) => format!("mel, {mels} bands, window {n_fft}, hop {hop}, down to {floor_db} dB"),
        other => other.to_string(),
    }
}

/// How a model is rendered where nothing is asked for, and what was measured of that.
fn rendered(own: &Rendering) -> String {
    let measured = own
        .measured
        .iter()
        .map(|(n, ratio)| format!("{n}: {ratio:.2}"));
    let measured: Vec<_> = measured.collect();
    let excess = own
        .excess
        .iter()
        .map(|e| format!("{}: {:+.1} ± {:.1}", e.steps, e.value, e.error));
    let excess: Vec<_> = excess.collect();
    let distance = match (excess.is_empty(), measured.is_empty()) {
        (false, _) => format!(
            "; Fréchet distance to real sounds beyond the teacher's by steps, dB²: {}",
            list(&excess)
        ),
        // Older files hold ratios.
        (true, false) => format!(
            "; Fréchet distance to real sounds over the teacher's by steps, measured once and without errors: {}",
            list(&measured)
        ),
        (true, true) => String::new(),
    };
    let learnt = own.undistilled.map_or_else(String::new, |before| {
        format!(" ({} learnt by distillation)", before.guidance)
    });
    format!(
        "{}, sampler {}, guidance {}{learnt}{distance}",
        counted(own.steps, "step"),
        own.sampler,
        own.guidance
    )
}

/// How the weights came to be, and on which terms.
fn trained(training: &TrainingRecord) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let hours = |seconds: f64| seconds / 3600.0;
    if training.steps > 0 {
        let (steps, clips) = (
            counted(training.steps, "step"),
            counted(training.clips, "clip"),
        );
        let (sounds, hours) = (counted(training.sounds, "sound"), hours(training.seconds));
        rows.push((
            "training",
            format!("{steps}, {clips} drawn from {sounds}, {hours:.2} h"),
        ));
    }
    if let Some(loss) = training.validation_loss {
        rows.push(("validation loss", format!("{loss:.4}")));
    }
    if let Some(from) = &training.fine_tuned_from {
        let before = match &training.before {
            Some(before) if before.steps > 0 => format!(
                "`{from}`, trained for {}, {}, {:.2} h",
                counted(before.steps, "step"),
                counted(before.clips, "clip"),
                hours(before.seconds)
            ),
            _ => format!("`{from}`; how long that was trained is not recorded"),
        };
        let licence = training.licence_before.as_ref();
        let licence = licence.map_or(String::new(), |licence| {
            format!("; licence of that: {licence}")
        });
        rows.push(("began from", before + &licence));
    }
    let unknown = "unknown: none was stated for what it learnt (train --licence, pack --licence)";
    let licence = training.licence.clone();
    rows.push(("licence", licence.unwrap_or_else(|| unknown.to_owned())));
    rows
}

/// Names and values in two columns.
fn print_rows(rows: &[(&str, String)]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for (name, value) in rows {
        writeln!(out, "{name:>16}  {}", printable(value))?;
    }
    Ok(())
}

#[derive(Args)]
pub struct PackArgs {
    /// The model to pack
    model: PathBuf,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Store weights in 16 bits: half the size, for rendering and fine-tuning all the same
    #[arg(long)]
    f16: bool,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// Licence of the weights, as `info` shows it [default: as the model states it]
    #[arg(long)]
    licence: Option<String>,
    /// Steps that a rendering takes where it asks for none
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Guidance of a rendering that asks for none
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
}

fn storage(f16: bool) -> StorageType {
    if f16 {
        StorageType::F16
    } else {
        StorageType::F32
    }
}

/// Holds the name of a model that is to be written to its ending: no sound is replaced by a slip.
fn named(out: &Path) -> anyhow::Result<()> {
    if out
        .extension()
        .is_some_and(|it| it.eq_ignore_ascii_case("safetensors"))
    {
        return Ok(make_room(out)?);
    }
    Err(usage(format!(
        "-o: expected a name that ends with .safetensors, found {}",
        out.display()
    )))
}

pub fn pack(args: &PackArgs, global: &Global) -> anyhow::Result<()> {
    named(&args.out)?;
    let mut model = Checkpoint::load(&args.model)?;
    if let Some(name) = &args.name {
        model.config.name.clone_from(name);
    }
    if args.licence.is_some() {
        model.config.training.licence.clone_from(&args.licence);
    }
    if args.steps.is_some() || args.guidance.is_some() {
        let own = RenderSettings::of(&model.config);
        let (steps, guidance) = (
            args.steps.unwrap_or(own.steps),
            args.guidance.unwrap_or(own.guidance),
        );
        let plain = Rendering::new(own.sampler, own.schedule, steps, guidance);
        let rendering = model.config.rendering.get_or_insert(plain);
        (rendering.steps, rendering.guidance) = (steps, guidance);
    }
    let storage = storage(args.f16);
    model.save(&args.out, storage)?;
    if global.quiet {
        return Ok(());
    }
    print_rows(&[
        ("name", model.config.name),
        ("written", args.out.display().to_string()),
    ])
}

#[derive(Args)]
#[command(
    after_help = "Reads what Dance Diffusion's programs saved: its trainer's checkpoints (.ckpt, whole or trimmed), \
those that sample-diffusion converted, those of stable-audio-tools (.ckpt or .safetensors, with model_config.json \
beside them, or the folder of both), and folders of diffusers. Averaged weights are taken where there are any. Nothing in a file is \
executed.

Examples:
  audiodiff import glitch-440k.ckpt -o glitch.safetensors --f16
  audiodiff import my-model.ckpt --sample-rate 44100 --length 65536
  audiodiff render --model glitch.safetensors -o out.wav --steps 50"
)]
pub struct ImportArgs {
    /// A checkpoint, a folder of diffusers, or one with a checkpoint and its model_config.json
    path: PathBuf,
    /// File to write
    #[arg(long, short, value_name = "FILE", default_value = "model.safetensors")]
    out: PathBuf,
    /// Store weights in 16 bits: half the size
    #[arg(long)]
    f16: bool,
    #[command(flatten)]
    facts: Facts,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Facts that a checkpoint may lack.
#[derive(Debug, Clone, Default, Args)]
pub struct Facts {
    /// Sample rate in Hz, where the file does not say it
    #[arg(long, value_name = "HZ")]
    sample_rate: Option<u32>,
    /// Samples of a sound, where the file does not say it [default: 65536]
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Name of the model [default: that of the file]
    #[arg(long)]
    name: Option<String>,
}

pub fn import(args: &ImportArgs, global: &Global) -> anyhow::Result<()> {
    let same = |a: &PathBuf, b: &PathBuf| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&args.path, &args.out) {
        return Err(usage("-o: expected another file than the one that is read"));
    }
    named(&args.out)?;
    let facts = args.facts.clone();
    let settings = ImportSettings {
        sample_rate: facts.sample_rate,
        length: facts.length,
        name: facts.name,
    };
    let import = Import::open(&args.path, &settings)?;
    let storage = storage(args.f16);
    let bar = Bar::new("importing", global);
    import.save(&args.out, storage, &mut |done, all| bar.set(done, all))?;
    bar.finish();
    if args.json {
        let found: std::collections::BTreeMap<_, _> = import.found.iter().cloned().collect();
        let mut value = serde_json::json!({
            "out": args.out,
            "found": found,
            "config": import.config(),
        });
        super::with_older_keys(&mut value["config"], &RENAMED);
        return super::print_json(&value);
    }
    if global.quiet {
        return Ok(());
    }
    let mut rows = import.found.clone();
    rows.push(("written", args.out.display().to_string()));
    print_rows(&rows)
}
