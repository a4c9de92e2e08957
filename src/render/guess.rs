//! [`Guess`]: what a model takes a sound for while it is still noise.

use candle_core::{Device, Tensor};

use super::Renderer;
use super::batch::Group;
use crate::audio::Clip;
use crate::error::Result;

/// The guess of a model at one step of a rendering: what it takes the noise for.
///
/// Guesses are blurred at first, and the last one is the sound. They are decoded only when they are asked for, and
/// nothing of the sound depends on whether they are.
pub struct Guess<'a> {
    pub(super) renderer: &'a Renderer,
    pub(super) group: &'a Group<'a>,
    /// `[1, T, C]`.
    pub(super) denoised: &'a Tensor,
    pub(super) sigma: f64,
}

impl std::fmt::Debug for Guess<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guess")
            .field("sigma", &self.sigma)
            .finish_non_exhaustive()
    }
}

impl Guess<'_> {
    /// The noise level at which it was made.
    #[must_use]
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// The sound of it, in the model's rate and channels, neither mended, trimmed nor levelled. It takes as long as the
    /// decoding of the finished sound.
    ///
    /// # Errors
    /// When the model makes values that are not numbers.
    pub fn clip(&self) -> Result<Clip> {
        let frames = self.denoised.to_device(&Device::Cpu)?.flatten_all()?;
        let frames = frames.to_vec1::<f32>()?;
        self.renderer.decoded(self.group, 0, &frames, None)
    }
}
