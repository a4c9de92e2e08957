//! Pictures: sounds, and how training went, as PNG files.
//!
//! [`sound_sheet`] draws each clip's waveform above its spectrogram, [`class_sheet`] many spectrograms beside many
//! others, and [`curve`] numbers over numbers. All paint on a small canvas with a font of its own: equal input gives
//! equal bytes. A file appears whole or not at all.

use crate::error::{Error, Result};

mod axis;
mod canvas;
mod class_map;
mod clip_grid;
mod colour;
mod curve;
mod spectrogram;
mod text;
mod waveform;

pub use class_map::{ClassRow, class_sheet};
pub use clip_grid::{sound_sheet, sound_sheet_png};
pub use curve::{Series, curve};

/// Most sounds that one sheet can show.
pub const MOST_SOUNDS: usize = 1024;

fn check_count(sounds: usize) -> Result<()> {
    if sounds > MOST_SOUNDS {
        return Err(Error::setting(format!(
            "a sheet holds at most {MOST_SOUNDS} sounds, found {sounds}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Clip;
    use std::fs;
    use std::path::Path;

    /// The pixels of a file.
    pub(super) struct Picture {
        pub(super) width: usize,
        pub(super) height: usize,
        pixels: Vec<u8>,
    }

    impl Picture {
        pub(super) fn at(&self, x: i32, y: i32) -> [u8; 3] {
            let at = 3 * (y as usize * self.width + x as usize);
            self.pixels[at..at + 3].try_into().unwrap()
        }
    }

    /// Whether a pixel shows mostly this colour: the edges of lines are softened.
    pub(super) fn is_near(pixel: [u8; 3], colour: [u8; 3]) -> bool {
        (0..3).all(|i| pixel[i].abs_diff(colour[i]) <= 30)
    }

    pub(super) fn read(path: &Path) -> Picture {
        let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(
            (info.color_type, info.bit_depth),
            (png::ColorType::Rgb, png::BitDepth::Eight)
        );
        Picture {
            width: info.width as usize,
            height: info.height as usize,
            pixels,
        }
    }

    pub(super) fn sine(rate: u32, hz: f64, len: usize) -> Clip {
        let samples = (0..len)
            .map(|i| (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin() as f32 * 0.5);
        Clip::new(rate, vec![samples.collect()])
    }

    #[test]
    fn an_unwritable_place_is_an_error_that_names_it() {
        let path = Path::new("/no/such/folder/sheet.png");
        let errors = [
            sound_sheet(&[], path),
            class_sheet(["made", "real"], &[], path),
            curve(path, "loss", &[], "step", "loss", true),
        ];
        for error in errors {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("/no/such/folder/sheet.png"), "{error}");
        }
    }
}
