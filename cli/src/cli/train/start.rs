//! The start of a training: the weights of a model, or a fresh network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::ScanOptions;
use audiodiff::diffusion::Target;
use audiodiff::network::{NetworkConfig, UNetConfig};
use audiodiff::representation::RepresentationConfig;
use audiodiff::train::{TrainConfig, enough_for_fresh};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::super::usage;

#[derive(Args)]
pub struct StartArgs {
    /// Model to fine-tune, to another length, rate or number of channels too: a file, `none` to begin from nothing, or
    /// `auto` for the built-in model where the folder is small and no setting asks for another network
    #[arg(long, default_value = "auto", value_name = "MODEL", value_parser = OsStringValueParser::new().map(origin))]
    from: Origin,
    /// Size of a fresh network: nano, tiny, base, or levels such as 128x1,192x2,256x2 [default: nano]
    #[arg(long, value_name = "SIZE")]
    preset: Option<Preset>,
    /// How sound is represented: mdct, wave or mel, or with settings mdct:BINS:COMPANDING:EMPHASIS,
    /// wave:PATCH, mel:WINDOW:HOP:BANDS:FLOOR [default: mel]
    #[arg(long, value_name = "KIND")]
    representation: Option<Wanted>,
    /// Quantity that the network predicts: x, edm or v [default: x]
    #[arg(long)]
    target: Option<Target>,
}

/// Where the first weights come from.
#[derive(Debug, Clone)]
enum Origin {
    Auto,
    Nothing,
    File(PathBuf),
}

fn origin(text: OsString) -> Origin {
    match text.to_str() {
        Some("auto") => Origin::Auto,
        Some("none") => Origin::Nothing,
        _ => Origin::File(text.into()),
    }
}

/// A size of a network, and how it was written.
#[derive(Debug, Clone)]
struct Preset {
    name: String,
    network: NetworkConfig,
}

impl FromStr for Preset {
    type Err = audiodiff::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            network: NetworkConfig::UNet(UNetConfig::preset(name)?),
            name: name.to_owned(),
        })
    }
}

/// A representation as flags name it: what is not said is left to the model that is fine-tuned.
#[derive(Debug, Clone)]
struct Wanted {
    config: RepresentationConfig,
    /// How many of its settings were given.
    settings: usize,
}

impl FromStr for Wanted {
    type Err = audiodiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self {
            config: text.parse()?,
            settings: text.split(':').count() - 1,
        })
    }
}

impl Wanted {
    /// Whether a model over `own` frames is what was asked for.
    fn is(&self, own: &RepresentationConfig) -> bool {
        let said = |config: &RepresentationConfig| -> Vec<String> {
            let written = config.to_string();
            let settings = written.split(':').take(self.settings + 1);
            settings.map(str::to_owned).collect()
        };
        said(&self.config) == said(own)
    }
}

impl StartArgs {
    /// The model to begin from, for a folder of sounds. Only with `auto` may what the user asked for send it away; then
    /// a sentence says why.
    pub fn open(
        &self,
        sounds: &Path,
        options: &ScanOptions,
    ) -> anyhow::Result<(Option<Checkpoint>, Option<String>)> {
        match &self.from {
            Origin::Nothing => Ok((None, None)),
            Origin::Auto => {
                let Some(model) = Checkpoint::built_in()? else {
                    return Ok((None, None));
                };
                if let Some(flag) = self.sends_away(&model) {
                    let why = format!("{flag} asks for another network than the built-in model's");
                    return Ok((None, Some(why)));
                }
                // Counted before anything is opened: opening takes a while, and depends on the model.
                if let Some(sounds) = enough_for_fresh(sounds, options)? {
                    let why =
                        format!("{sounds} files are enough to begin from nothing (--from auto)");
                    return Ok((None, Some(why)));
                }
                Ok((Some(model), None))
            }
            Origin::File(path) => {
                let model = audiodiff::import::load(path)?;
                if let Some(flag) = self.sends_away(&model) {
                    return Err(usage(format!(
                        "--from {}: {flag} asks for another network than its own; leave that out, or use --from none",
                        path.display()
                    )));
                }
                Ok((Some(model), None))
            }
        }
    }

    /// The first setting that `model` cannot be fine-tuned to.
    fn sends_away(&self, model: &Checkpoint) -> Option<String> {
        let config = &model.config;
        let preset = self.preset.as_ref();
        if let Some(other) = preset.filter(|preset| !config.network.has_sizes_of(&preset.network)) {
            return Some(format!("--preset {}", other.name));
        }
        let wanted = self.representation.as_ref();
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is(&config.representation)) {
            return Some(format!("--representation {}", wanted.config));
        }
        let target = self.target.filter(|&target| target != config.target);
        target.map(|target| format!("--target {target}"))
    }

    /// The recipe of what was opened.
    pub fn recipe(&self, from: Option<&Checkpoint>) -> anyhow::Result<TrainConfig> {
        if let Some(model) = from {
            return Ok(TrainConfig::fine_tune(model));
        }
        let network = match &self.preset {
            Some(preset) => preset.network.clone(),
            None => TrainConfig::fresh().network,
        };
        let wanted = self.representation.as_ref();
        Ok(TrainConfig::from_scratch(
            wanted.map_or_else(Default::default, |wanted| wanted.config.clone()),
            self.target.unwrap_or_default(),
            network,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_representation_only_what_was_said_must_be_the_model_s() {
        let own: RepresentationConfig = "mel:2048:256:128:-60".parse().unwrap();
        let is_own = |text: &str| text.parse::<Wanted>().unwrap().is(&own);
        for fits in ["mel", "mel:2048:256:128", "mel:2048:256:128:-60"] {
            assert!(is_own(fits), "{fits}");
        }
        for other in [
            "mdct",
            "mel:1024:256:128",
            "mel:2048:256:64",
            "mel:2048:256:128:-80",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
