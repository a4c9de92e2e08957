//! audiodiff: an audio diffusion synthesizer.

pub mod audio;
pub mod dataset;
pub mod diffusion;
pub mod error;
pub mod network;
pub mod noise;
pub mod optim;
pub mod representation;

pub use error::{Error, Result};
