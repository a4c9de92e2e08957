//! What a folder of sounds is learnt from where nobody says otherwise.

use std::path::Path;

use super::TrainConfig;
use crate::dataset::{self, ScanOptions};
use crate::diffusion::Target;
use crate::error::Result;
use crate::network::{NetworkConfig, UNetConfig};
use crate::representation::RepresentationConfig;

/// Folders of up to this many sounds are learnt by fine-tuning the built-in model.
const SMALL_SET: usize = 2000;

/// How many files that look like sounds `options` choose below `sounds`, where these are enough to begin from nothing;
/// fewer are learnt from the built-in model. Nothing is opened.
///
/// # Errors
/// As [`dataset::count`].
pub fn enough_for_fresh(sounds: &Path, options: &ScanOptions) -> Result<Option<usize>> {
    let found = dataset::count(sounds, options)?;
    Ok(Some(found).filter(|&found| found > SMALL_SET))
}

impl TrainConfig {
    /// The training from nothing where nobody says what network it is to be, see [`TrainConfig::from_scratch`].
    #[must_use]
    pub fn fresh() -> Self {
        let nano = UNetConfig::preset("nano").expect("a preset");
        let (representation, target) = (RepresentationConfig::default(), Target::default());
        Self::from_scratch(representation, target, NetworkConfig::UNet(nano))
    }

    /// Names the model after the folder of its sounds.
    pub fn name_after(&mut self, sounds: &Path) {
        let sounds = std::path::absolute(sounds).unwrap_or_else(|_| sounds.to_owned());
        let name = sounds.file_name();
        self.name = name.map_or("sounds".into(), |name| name.to_string_lossy().into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_like_its_folder() {
        let mut config = TrainConfig::fresh();
        for (folder, name) in [("/a/My Kicks", "My Kicks"), ("/a/b/", "b"), ("/", "sounds")] {
            config.name_after(Path::new(folder));
            assert_eq!(config.name, name);
        }
    }
}
