//! The model that audiodiff ships, as the bytes of its file. `README.md` says what it learnt from, and how well.

/// `drums.safetensors`.
pub const BYTES: &[u8] = include_bytes!("drums.safetensors");
