//! How to walk from noise to sound.
