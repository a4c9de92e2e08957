//! `info` and `pack`: what a model file is, and writing it anew.

use std::io::Write;
use std::path::PathBuf;

use audiodiff::checkpoint::{Checkpoint, Precision};
use audiodiff::representation::RepresentationConfig;
use clap::Args;

#[derive(Args)]
pub struct InfoArgs {
    /// A model file [default: the built-in model]
    model: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn info(args: &InfoArgs) -> anyhow::Result<()> {
    let model = super::load_model(args.model.as_ref())?;
    let config = &model.config;
    let parameters: usize = model.weights.values().map(|w| w.elem_count()).sum();
    if args.json {
        let mut value = serde_json::to_value(config)?;
        value["parameters"] = parameters.into();
        return super::print_json(&value);
    }
    let (format, training) = (&config.format, &config.training);
    let seconds = format.len_frames as f64 / format.sample_rate as f64;
    let channels = if format.channels == 1 {
        "mono"
    } else {
        "stereo"
    };
    let representation = match config.representation {
        RepresentationConfig::Mdct {
            bins,
            companding,
            emphasis,
        } => format!("mdct, {bins} bins, companding {companding}, emphasis {emphasis}"),
        RepresentationConfig::Wave { patch } => format!("wave, patches of {patch}"),
        RepresentationConfig::Mel { n_fft, hop, mels } => {
            format!("mel, {mels} bands, window {n_fft}, hop {hop}")
        }
    };
    let list = |names: &[String]| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let mut rows = vec![
        ("name", config.name.clone()),
        (
            "sound",
            format!("{seconds:.2} s, {} Hz, {channels}", format.sample_rate),
        ),
        ("classes", list(&config.labels)),
        ("descriptors", list(&config.descriptor_names())),
        ("representation", representation),
        (
            "network",
            format!(
                "{:.2} million parameters, target {}",
                parameters as f64 / 1e6,
                config.target
            ),
        ),
    ];
    if let Some(own) = &config.rendering {
        let measured = own
            .measured
            .iter()
            .map(|(n, ratio)| format!("{n}: {ratio:.2}"));
        rows.push((
            "rendering",
            format!(
                "{} steps, sampler {}; distance to real sounds over the teacher's by steps: {}",
                own.steps,
                own.sampler,
                list(&measured.collect::<Vec<_>>())
            ),
        ));
    }
    if training.steps > 0 {
        let hours = training.seconds / 3600.0;
        let (steps, windows, sounds) = (training.steps, training.windows, training.sounds);
        rows.push((
            "training",
            format!("{steps} steps, {windows} clips drawn from {sounds} sounds, {hours:.2} h"),
        ));
    }
    if let Some(loss) = training.validation_loss {
        rows.push(("validation loss", format!("{loss:.4}")));
    }
    if let Some(from) = &training.tuned_from {
        rows.push(("tuned from", from.clone()));
    }
    rows.push((
        "licence",
        training
            .licence
            .clone()
            .unwrap_or_else(|| "not stated".to_owned()),
    ));
    let mut out = std::io::stdout().lock();
    for (what, value) in rows {
        writeln!(out, "{what:>16}  {value}")?;
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
    /// Store weights in 16 bits: half the size, for rendering and tuning all the same
    #[arg(long)]
    f16: bool,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// Licence of the weights, as `info` shows it
    #[arg(long)]
    licence: Option<String>,
}

pub fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let mut model = Checkpoint::load(&args.model)?;
    if let Some(name) = &args.name {
        model.config.name.clone_from(name);
    }
    if args.licence.is_some() {
        model.config.training.licence.clone_from(&args.licence);
    }
    let precision = if args.f16 {
        Precision::F16
    } else {
        Precision::F32
    };
    Ok(model.save(&args.out, precision)?)
}
