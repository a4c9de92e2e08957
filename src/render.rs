//! From settings and a seed to a sound.
//!
//! Noise, or a sound to begin with ([`Init`]), is sampled to frames and decoded; what was asked is mended in the
//! decoded sound, and said where it could not be had ([`Remark`]).

mod batch;
mod conditions;
mod guess;
mod init;
mod mend;
mod seal;
mod settings;
mod tail;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Device;

use crate::audio::Clip;
use crate::checkpoint::{Checkpoint, ModelConfig};
use crate::diffusion::Preconditioned;
use crate::error::Result;
use crate::network::{Engine, Network, on_device};
use crate::representation::{Format, Representation};
use init::Given;

pub use guess::Guess;
pub use init::Init;
pub use mend::Remark;
pub use seal::Seal;
pub use settings::{MOST_FEW_STEPS, RenderSettings};

/// First number of the place ([`Noise::at`](crate::noise::Noise::at)) that rendering draws from.
const PLACE: u64 = 0x2000;

/// Sounds to begin with, and lengths, that are kept ready.
const MOST_GIVEN: usize = 2;
const MOST_LENGTHS: usize = 4;

/// A sound, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The sound.
    pub clip: Clip,
    /// The class that it was generated as: the one asked for, or the one drawn. None where the model was given none.
    pub class: Option<String>,
    /// Steps taken.
    pub steps: usize,
    /// Wishes that could not be granted.
    pub remarks: Vec<Remark>,
}

/// How far a rendering has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
}

/// A model ready to render.
pub struct Renderer {
    config: ModelConfig,
    denoiser: Preconditioned<Box<dyn Network>>,
    device: Device,
    /// Sounds to begin with that were met last, the latest at the end: whoever varies a sound seldom does it once.
    given: Mutex<Vec<Arc<Given>>>,
    /// Of the lengths that were met last, the latest at the end.
    representations: Mutex<Vec<Arc<dyn Representation>>>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Renderer {
    /// Puts a model on `device`.
    ///
    /// # Errors
    /// When a parameter is missing or of another shape, or the device refuses the memory.
    pub fn new(checkpoint: &Checkpoint, device: &Device) -> Result<Self> {
        let config = checkpoint.config.clone();
        let mut weights = on_device(&checkpoint.weights, device)?;
        let mut denoiser = config.denoiser(&mut weights)?;
        denoiser.network.engine().freeze();
        Ok(Self {
            config,
            denoiser,
            device: device.clone(),
            given: Mutex::default(),
            representations: Mutex::default(),
        })
    }

    /// The engine that runs the network: its precision, and a way to break off a rendering in the middle of a step.
    pub fn engine(&mut self) -> &mut Engine {
        self.denoiser.network.engine()
    }

    /// Where it computes.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The model's configuration.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The settings that suit the model.
    #[must_use]
    pub fn settings(&self) -> RenderSettings {
        RenderSettings::of(&self.config)
    }

    /// A sound to begin with.
    fn given(&self, clip: &Clip) -> Result<Arc<Given>> {
        let make =
            || -> Result<Arc<Given>> { Ok(Arc::new(Given::new(clip, &self.config.format)?)) };
        let is_it = |given: &Arc<Given>| given.is_of(clip);
        known(&self.given, MOST_GIVEN, is_it, make)
    }

    /// The model's representation of clips of so many frames of audio.
    fn representation(&self, len_frames: usize) -> Result<Arc<dyn Representation>> {
        let config = &self.config;
        let format = Format {
            len_frames,
            ..config.format
        };
        let make = || -> Result<Arc<dyn Representation>> {
            let built = config.representation.build(&format, &config.statistics)?;
            Ok(Arc::from(built))
        };
        let is_it = |it: &Arc<dyn Representation>| it.format() == format;
        known(&self.representations, MOST_LENGTHS, is_it, make)
    }

    /// One sound.
    ///
    /// # Errors
    /// When a setting makes no sense or does not fit the model.
    pub fn render(&self, settings: &RenderSettings, seed: u64) -> Result<Rendered> {
        self.render_with(settings, seed, &mut |_| ControlFlow::Continue(()))
    }

    /// One sound; `on_step` hears how far it has come, and may stop it.
    ///
    /// # Errors
    /// As [`Renderer::render_batch`].
    pub fn render_with(
        &self,
        settings: &RenderSettings,
        seed: u64,
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Rendered> {
        self.render_watched(settings, seed, &mut |progress, _| on_step(progress))
    }

    /// One sound; `on_step` hears how far it has come, may stop it, and is given what the model takes it for, where the
    /// step is one towards the sound: half of the steps of a morph find its beginning.
    ///
    /// # Errors
    /// As [`Renderer::render_batch`].
    pub fn render_watched(
        &self,
        settings: &RenderSettings,
        seed: u64,
        on_step: &mut dyn FnMut(Progress, Option<&Guess<'_>>) -> ControlFlow<()>,
    ) -> Result<Rendered> {
        let mut rendered = self.render_all(settings, &[seed], on_step)?;
        Ok(rendered.pop().expect("one seed gives one sound"))
    }
}

/// One of those that were met last, or else a new one.
fn known<T: Clone>(
    all: &Mutex<Vec<T>>,
    most: usize,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut held = lock(all);
    let place = held.iter().position(is_it);
    let known = place.map(|place| held.remove(place));
    let it = match known {
        Some(it) => it,
        None => {
            // Making it may take up other work of this thread's pool, which asks here too.
            drop(held);
            let it = make()?;
            held = lock(all);
            it
        }
    };
    if held.len() == most {
        held.remove(0);
    }
    held.push(it.clone());
    Ok(it)
}

/// Every value behind these locks is valid after each change, so it is so even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_known_and_making_one_may_ask_for_another() {
        let all = Mutex::default();
        let ask = |wanted: u32| known(&all, 2, |it| *it == wanted, || Ok(wanted)).unwrap();
        let within = || {
            ask(2);
            Ok(1)
        };
        assert_eq!(known(&all, 2, |it| *it == 1, within).unwrap(), 1);
        assert_eq!(*lock(&all), [2, 1]);
        ask(2);
        ask(3);
        assert_eq!(*lock(&all), [2, 3]);
        let failed = known(&all, 2, |it| *it == 4, || Err(crate::Error::setting("no")));
        assert!(failed.is_err());
        assert_eq!(*lock(&all), [2, 3]);
    }
}
