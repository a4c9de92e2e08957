//! The built-in model in a page. `cargo xtask package page` makes the page of it, one file that needs no server.
//!
//! A sound is what its [`Recipe`] says: the same one gives the same bits in every browser, so that a link is a kit.

use std::fmt;
use std::str::FromStr;

use audiodiff::audio::{BitDepth, Clip, Container, Tags, bytes};
use audiodiff::render::Init;
use audiodiff::{Checkpoint, Device, Error, RenderSettings, Renderer, Result};
use wasm_bindgen::prelude::*;

/// How far a variation goes from its sound, as [`Init::Vary`] counts it.
const STRENGTH: f64 = 0.4;

/// See [`Synth::most_variations`].
const MOST_VARIATIONS: usize = 32;

/// How many sounds are kept to be varied and to be heard again.
const MOST_SOUNDS: usize = 64;

/// What makes a sound: a class and a seed, and the seed of each variation since. As text `kick-7`, and `kick-7-1-2` for a
/// variation with seed 2 of its variation with seed 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// A class of the model.
    pub class: String,
    /// The seed of the sound, and of what became of it.
    pub seeds: Vec<u64>,
}

impl Recipe {
    /// What it is a variation of.
    fn parent(&self) -> Option<Self> {
        let (_, before) = self.seeds.split_last().filter(|(_, it)| !it.is_empty())?;
        Some(Self {
            class: self.class.clone(),
            seeds: before.to_vec(),
        })
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.class)?;
        self.seeds.iter().try_for_each(|seed| write!(f, "-{seed}"))
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split('-');
        let class = words.next().unwrap_or_default().to_owned();
        let seeds = words
            .map(str::parse)
            .collect::<std::result::Result<Vec<u64>, _>>();
        let recipe = seeds.map(|seeds| Self { class, seeds });
        match recipe {
            // One sound has one text.
            Ok(recipe)
                if (1..=1 + MOST_VARIATIONS).contains(&recipe.seeds.len())
                    && recipe.to_string() == text =>
            {
                Ok(recipe)
            }
            _ => Err(Error::setting(format!(
                "expected a sound such as kick-7, or with up to {MOST_VARIATIONS} variations such as kick-7-1, found \
                 `{text}`"
            ))),
        }
    }
}

/// The model, and the sounds that were made last.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Synth {
    renderer: Renderer,
    made: Vec<(Recipe, Clip)>,
}

impl Synth {
    /// Opens the built-in model.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn open() -> Result<Self> {
        Ok(Self {
            renderer: Renderer::new(&Checkpoint::embedded()?, &Device::Cpu)?,
            made: Vec::new(),
        })
    }

    /// The sound of a recipe.
    ///
    /// # Errors
    /// When the model has no such class.
    pub fn make(&mut self, recipe: &Recipe) -> Result<Clip> {
        if let Some(at) = self.made.iter().position(|(known, _)| known == recipe) {
            let found = self.made.remove(at);
            self.made.push(found);
        } else {
            let init = match recipe.parent() {
                Some(parent) => Some(Init::Vary {
                    clip: self.make(&parent)?,
                    strength: STRENGTH,
                }),
                None => None,
            };
            let settings = RenderSettings {
                class: Some(recipe.class.clone()),
                init,
                ..self.renderer.settings()
            };
            let seed = recipe.seeds.last().copied().unwrap_or_default();
            let clip = self.renderer.render(&settings, seed)?.clip;
            if self.made.len() == MOST_SOUNDS {
                self.made.remove(0);
            }
            self.made.push((recipe.clone(), clip));
        }
        let (_, clip) = &self.made[self.made.len() - 1];
        Ok(clip.clone())
    }
}

#[wasm_bindgen]
impl Synth {
    /// Opens the built-in model.
    ///
    /// # Errors
    /// As [`Synth::open`].
    #[wasm_bindgen(constructor)]
    pub fn new() -> std::result::Result<Synth, JsError> {
        Ok(Self::open()?)
    }

    /// What the model has learnt to make, by name.
    #[must_use]
    pub fn classes(&self) -> Vec<String> {
        self.renderer.config().labels.clone()
    }

    /// Most variations of variations that a recipe has: each is a rendering of its own, and no link takes minutes.
    #[must_use]
    pub fn most_variations() -> usize {
        MOST_VARIATIONS
    }

    /// The sound of a recipe, given as text.
    ///
    /// # Errors
    /// When the text is none, or the model has no such class.
    pub fn sound(&mut self, recipe: &str) -> std::result::Result<Sound, JsError> {
        let clip = self.make(&recipe.parse()?)?;
        let recipe = recipe.to_owned();
        Ok(Sound { clip, recipe })
    }
}

/// A sound, as a page takes it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Sound {
    clip: Clip,
    recipe: String,
}

#[wasm_bindgen]
impl Sound {
    /// Frames a second.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.clip.sample_rate()
    }

    /// The samples of each channel, one channel after the other.
    #[must_use]
    pub fn samples(&self) -> Vec<f32> {
        self.clip.channels().concat()
    }

    /// How many channels there are.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.clip.channels().len()
    }

    /// A WAV file of 24 bits, with the recipe as its comment.
    ///
    /// # Errors
    /// When the sound is too long for one.
    pub fn wav(&self) -> std::result::Result<Vec<u8>, JsError> {
        let tags = Tags {
            comment: Some(format!(
                "audiodiff {} page, {}",
                env!("CARGO_PKG_VERSION"),
                self.recipe
            )),
            ..Tags::default()
        };
        Ok(bytes(&self.clip, Container::Wav, BitDepth::Int24, &tags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Recipe {
        text.parse().unwrap()
    }

    #[test]
    fn a_recipe_is_its_text() {
        let varied = recipe("hat_closed-7-1-18446744073709551615");
        assert_eq!(varied.class, "hat_closed");
        assert_eq!(varied.seeds, [7, 1, u64::MAX]);
        assert_eq!(varied.to_string(), "hat_closed-7-1-18446744073709551615");
        assert_eq!(varied.parent(), Some(recipe("hat_closed-7-1")));
        assert_eq!(recipe("kick-7").parent(), None);
        let endless = format!("kick{}", "-1".repeat(MOST_VARIATIONS + 2));
        for wrong in [
            "", "kick", "kick-", "kick--7", "kick-7.5", "kick-x", "kick-007", "kick-+7", &endless,
        ] {
            let reason = wrong.parse::<Recipe>().unwrap_err().to_string();
            assert!(reason.contains(&format!("found `{wrong}`")), "{reason}");
        }
    }

    /// However a sound comes about, it is that of its recipe; and the first is the library's.
    #[test]
    fn a_recipe_gives_one_sound() {
        let mut synth = Synth::open().unwrap();
        let first = synth.make(&recipe("kick-7")).unwrap();
        let varied = synth.make(&recipe("kick-7-1")).unwrap();
        assert_eq!(synth.make(&recipe("kick-7")).unwrap(), first);
        assert_ne!(varied, first);
        let mut fresh = Synth::open().unwrap();
        assert_eq!(fresh.make(&recipe("kick-7-1")).unwrap(), varied);
        let settings = RenderSettings {
            class: Some("kick".into()),
            ..fresh.renderer.settings()
        };
        assert_eq!(fresh.renderer.render(&settings, 7).unwrap().clip, first);
        let unknown = synth.make(&recipe("kik-7")).unwrap_err().to_string();
        assert!(
            unknown.contains("`kik`") && unknown.contains("kick"),
            "{unknown}"
        );
    }
}
