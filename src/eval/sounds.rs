//! Sounds as they are evaluated: each is decoded once, and only its measures and features are kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::features::Features;
use crate::audio::{Clip, Faults, Measures, Texture};
use crate::dataset::{self, ScanOptions, Stretch, Surveyed};
use crate::error::{Error, Result};
use crate::render::{RenderSettings, Renderer};
use crate::representation::Format;

/// Sounds rendered together.
const BATCH: usize = 16;
/// Generated sounds of a class whose audio is kept: as many as pages and sheets show.
pub(super) const SHOWN: usize = 16;

/// Measures sounds in one mono format; lines in their envelopes are sought at one hop.
#[derive(Debug)]
pub struct Ear {
    format: Format,
    hop: usize,
    features: Features,
}

impl Ear {
    /// For clips of `format`, made mono; `hop` is that of the frames which the sounds may be decoded from, in samples.
    ///
    /// # Errors
    /// When there is no log-mel spectrogram of this format.
    pub fn new(format: Format, hop: usize) -> Result<Self> {
        let format = Format {
            channels: 1,
            ..format
        };
        Ok(Self {
            format,
            hop,
            features: Features::new(format.sample_rate, format.len_frames)?,
        })
    }

    /// The format that clips are brought to.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    fn hear(&self, clip: &Clip, faults: Faults) -> Result<Heard> {
        let Faults { peak, offset, edge } = faults;
        Ok(Heard {
            measures: Measures {
                peak,
                offset,
                edge,
                ..Measures::of(clip)
            },
            texture: Texture::of(clip, self.hop),
            features: self.features.of(clip)?,
        })
    }
}

/// The measures and features of a sound.
#[derive(Debug, Clone)]
struct Heard {
    measures: Measures,
    texture: Texture,
    features: Vec<f32>,
}

/// Where the audio of a sound is.
#[derive(Debug, Clone)]
enum Audio {
    Kept(Arc<Clip>),
    File(PathBuf, Option<Stretch>),
    Gone,
}

/// One sound with its measures and features.
#[derive(Debug, Clone)]
pub struct Sound {
    /// A path, or class and seed.
    pub name: String,
    /// Its class: the one it is of, or was asked for.
    pub label: Option<String>,
    /// Measures of the clip as a model would learn it: from its onset, levelled; but the faults ([`Measures::peak`],
    /// `offset`, `edge`) are those of the sound as it came.
    pub measures: Measures,
    /// Texture of the same clip.
    pub texture: Texture,
    pub(super) features: Vec<f32>,
    audio: Audio,
}

impl Sound {
    /// Hears `clip`, which is brought to the ear's format; `None` when nothing is left of it there.
    ///
    /// # Errors
    /// When it cannot be resampled.
    pub fn new(
        ear: &Ear,
        name: String,
        label: Option<String>,
        clip: &Clip,
    ) -> Result<Option<Self>> {
        let faults = Faults::of(clip);
        let Some(clip) = dataset::prepare(clip.clone(), ear.format)? else {
            return Ok(None);
        };
        let heard = ear.hear(&clip, faults)?;
        Ok(Some(Self::of(
            name,
            label,
            heard,
            Audio::Kept(Arc::new(clip)),
        )))
    }

    fn of(name: String, label: Option<String>, heard: Heard, audio: Audio) -> Self {
        Self {
            name,
            label,
            measures: heard.measures,
            texture: heard.texture,
            features: heard.features,
            audio,
        }
    }
}

/// Sounds in one format.
#[derive(Debug, Clone)]
pub struct Sounds {
    /// A folder or a model.
    pub name: String,
    /// The format that their clips were brought to.
    pub format: Format,
    /// The usable ones.
    pub sounds: Vec<Sound>,
    /// How many were silent or could not be read.
    pub unusable: usize,
    /// How a part was chosen, in words; of a whole, nothing.
    pub chosen: Option<String>,
}

/// Which sounds of a folder to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    All,
    /// Those held back from training, by [`ScanOptions::validation`].
    HeldBack,
    /// The others.
    Training,
}

impl Sounds {
    /// The sounds below `root`. Every file is decoded once, a few at a time, and its audio is let go.
    ///
    /// # Errors
    /// As [`Dataset::open`](crate::dataset::Dataset::open), or when `part` holds nothing.
    pub fn of_folder(
        root: &Path,
        options: &ScanOptions,
        part: Part,
        ear: &Ear,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self> {
        let (held, training) = Self::both_parts(root, options, ear, on_progress)?;
        let sounds = match part {
            Part::HeldBack => held,
            Part::Training => training,
            Part::All => {
                let mut all = Self {
                    chosen: None,
                    unusable: held.unusable,
                    ..training
                };
                all.sounds.extend(held.sounds);
                all.sounds.sort_by(|a, b| a.name.cmp(&b.name));
                all
            }
        };
        sounds.or_refused(root)
    }

    /// [`Part::HeldBack`] and [`Part::Training`] of a folder that is read once.
    ///
    /// # Errors
    /// As [`Sounds::of_folder`].
    pub fn parted(
        root: &Path,
        options: &ScanOptions,
        ear: &Ear,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Self, Self)> {
        let (held, training) = Self::both_parts(root, options, ear, on_progress)?;
        Ok((held.or_refused(root)?, training.or_refused(root)?))
    }

    fn or_refused(self, root: &Path) -> Result<Self> {
        if !self.sounds.is_empty() {
            return Ok(self);
        }
        let reason = match &self.chosen {
            Some(chosen) => format!("no sound is in the part asked for; held back: {chosen}"),
            None => "no sound is held back".to_owned(),
        };
        Err(Error::Dataset {
            path: root.to_owned(),
            reason,
        })
    }

    /// [`Sounds::parted`], where one of the parts may be empty.
    ///
    /// # Errors
    /// As [`Dataset::open`](crate::dataset::Dataset::open).
    pub fn both_parts(
        root: &Path,
        options: &ScanOptions,
        ear: &Ear,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Self, Self)> {
        let (found, report) =
            dataset::survey(root, ear.format, options, on_progress, |clip, faults| {
                ear.hear(clip, faults)
            })?;
        let unusable = report.found.saturating_sub(found.len());
        let chosen = report.held_back.map(|held| held.to_string());
        let empty = |unusable| Self {
            name: root.display().to_string(),
            format: ear.format,
            sounds: Vec::new(),
            unusable,
            chosen: chosen.clone(),
        };
        let (mut held, mut training) = (empty(unusable), empty(0));
        for Surveyed {
            path,
            stretch,
            label,
            held: is_held,
            seen,
        } in found
        {
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = match stretch {
                None => name.display().to_string(),
                Some(stretch) => format!("{} from frame {}", name.display(), stretch.start),
            };
            let part = if is_held { &mut held } else { &mut training };
            part.sounds
                .push(Sound::of(name, label, seen, Audio::File(path, stretch)));
        }
        Ok((held, training))
    }

    /// A row of features for each sound, in their order.
    pub(super) fn features(&self) -> Vec<&[f32]> {
        self.sounds
            .iter()
            .map(|sound| &sound.features[..])
            .collect()
    }

    /// How many sounds each label has, those without one under `None`.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<Option<String>, usize> {
        let mut counts = BTreeMap::new();
        for sound in &self.sounds {
            *counts.entry(sound.label.clone()).or_default() += 1;
        }
        counts
    }

    /// Up to `most` sounds with `label`, sixteen at most, with their clips. Files are decoded again; of generated
    /// sounds only the audio of the first sixteen of a class is kept.
    ///
    /// # Errors
    /// When a file can no longer be read.
    pub fn clips(&self, label: &Option<String>, most: usize) -> Result<Vec<(&Sound, Arc<Clip>)>> {
        let own = self.sounds.iter().filter(|sound| sound.label == *label);
        let own: Vec<&Sound> = own.take(most.min(SHOWN)).collect();
        let clip = |sound: &&'_ Sound| -> Result<Option<Arc<Clip>>> {
            Ok(match &sound.audio {
                Audio::Kept(clip) => Some(clip.clone()),
                Audio::File(path, stretch) => {
                    dataset::reread(path, *stretch, self.format)?.map(Arc::new)
                }
                Audio::Gone => None,
            })
        };
        let clips: Vec<_> = own.par_iter().map(clip).collect::<Result<_>>()?;
        let pairs = own.into_iter().zip(clips);
        Ok(pairs
            .filter_map(|(sound, clip)| Some((sound, clip?)))
            .collect())
    }

    /// Renders `wanted` sounds of each label with seeds from `seed` on. `on_progress` is told how many of how many are
    /// done, and may stop it. For a label that the model does not have, any sound is rendered.
    ///
    /// # Errors
    /// As [`Renderer::render_batch`].
    pub fn rendered(
        renderer: &Renderer,
        settings: &RenderSettings,
        wanted: &BTreeMap<Option<String>, usize>,
        seed: u64,
        ear: &Ear,
        on_progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let all: usize = wanted.values().sum();
        let (mut sounds, mut unusable, mut first) = (Vec::new(), 0, seed);
        for (label, &count) in wanted {
            let known = |label: &String| renderer.config().labels.contains(label);
            let settings = RenderSettings {
                class: label.clone().filter(known),
                ..settings.clone()
            };
            let seeds: Vec<u64> = (0..count as u64).map(|n| first.wrapping_add(n)).collect();
            first += count as u64;
            let mut shown = 0;
            for seeds in seeds.chunks(BATCH) {
                let done = sounds.len() + unusable;
                if on_progress(done, all).is_break() {
                    return Err(Error::Stopped);
                }
                let clips =
                    renderer.render_batch(&settings, seeds, &mut |_| ControlFlow::Continue(()))?;
                let heard: Vec<Option<Sound>> = clips
                    .par_iter()
                    .zip(seeds)
                    .map(|(rendered, seed)| {
                        let name = match label {
                            Some(label) => format!("{label} {seed}"),
                            None => seed.to_string(),
                        };
                        Sound::new(ear, name, label.clone(), &rendered.clip)
                    })
                    .collect::<Result<_>>()?;
                unusable += heard.iter().filter(|sound| sound.is_none()).count();
                for mut sound in heard.into_iter().flatten() {
                    if shown >= SHOWN {
                        sound.audio = Audio::Gone;
                    }
                    shown += 1;
                    sounds.push(sound);
                }
            }
        }
        Ok(Self {
            name: renderer.config().name.clone(),
            format: ear.format,
            sounds,
            unusable,
            chosen: None,
        })
    }
}
