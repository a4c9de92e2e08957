//! AIFF and AIFF-C files, as Apple defined them in 1989 and 1991.

use super::{BitDepth, SOFTWARE, Tags, integers, interleaved};
use crate::audio::Clip;

/// The version of AIFF-C, which its files name.
const AIFC_VERSION: u32 = 0xA280_5140;

/// The clip as an AIFF file, or as an AIFF-C file where its samples are floats.
pub(super) fn encode(clip: &Clip, depth: BitDepth, tags: &Tags) -> Vec<u8> {
    let is_float = depth == BitDepth::Float32;
    let mut file = b"FORM\0\0\0\0".to_vec();
    file.extend(if is_float { b"AIFC" } else { b"AIFF" });
    let mut common = Vec::new();
    common.extend((clip.channels().len() as u16).to_be_bytes());
    common.extend((clip.len_frames() as u32).to_be_bytes());
    common.extend(depth.bits().to_be_bytes());
    common.extend(extended(clip.sample_rate()));
    if is_float {
        push(&mut file, b"FVER", &AIFC_VERSION.to_be_bytes());
        // The codec, and its name behind the length of that.
        common.extend(b"fl32\x0732-bit\0");
    }
    push(&mut file, b"COMM", &common);
    for (id, text) in [
        (b"NAME", tags.title.as_deref()),
        // Some readers take the last one.
        (b"ANNO", Some(SOFTWARE)),
        (b"ANNO", tags.comment.as_deref()),
    ] {
        if let Some(text) = text {
            push(&mut file, id, Tags::line(text).as_bytes());
        }
    }
    if let Some((note, above)) = tags.root() {
        // The nearest note, and how many cents bring the sound there.
        let (note, detune) = match above < 0.5 {
            true => (note, -(100.0 * above).round() as i8),
            false => (note + 1, (100.0 * (1.0 - above)).round() as i8),
        };
        let mut instrument = vec![note, detune as u8, 0, 127, 1, 127];
        // No gain, no loops.
        instrument.resize(20, 0);
        push(&mut file, b"INST", &instrument);
    }
    // Offset and block size: none.
    let mut sound = vec![0; 8];
    match depth {
        BitDepth::Float32 => {
            let samples = interleaved(clip.channels());
            sound.extend(samples.flat_map(f32::to_be_bytes));
        }
        BitDepth::Int16 | BitDepth::Int24 => {
            let skip = 4 - usize::from(depth.bits() / 8);
            for sample in interleaved(&integers(clip, depth)) {
                sound.extend(&sample.to_be_bytes()[skip..]);
            }
        }
    }
    push(&mut file, b"SSND", &sound);
    let len = (file.len() - 8) as u32;
    file[4..8].copy_from_slice(&len.to_be_bytes());
    file
}

fn push(file: &mut Vec<u8>, id: &[u8; 4], content: &[u8]) {
    file.extend(id);
    file.extend((content.len() as u32).to_be_bytes());
    file.extend(content);
    file.resize(file.len().next_multiple_of(2), 0);
}

/// A sample rate as an extended float: sign and exponent in 16 bits, then all 64 of the mantissa, as in IEEE 754.
fn extended(rate: u32) -> [u8; 10] {
    let mut bytes = [0; 10];
    if rate > 0 {
        let zeros = rate.leading_zeros();
        let exponent = 16_383 + 31 - zeros as u16;
        bytes[..2].copy_from_slice(&exponent.to_be_bytes());
        bytes[2..6].copy_from_slice(&(rate << zeros).to_be_bytes());
    }
    bytes
}
