//! audiodiff: an audio diffusion synthesizer.

pub mod audio;
pub mod checkpoint;
pub mod dataset;
pub mod diffusion;
pub mod error;
mod file;
pub mod network;
pub mod noise;
pub mod optim;
pub mod picture;
pub mod render;
pub mod representation;
pub mod train;

pub use error::{Error, Result};
