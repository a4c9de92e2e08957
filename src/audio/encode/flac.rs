//! FLAC files.

use std::io::Cursor;

use flac_codec::encode::{FlacChannelWriter, Options};

use super::{BitDepth, SOFTWARE, Tags, integers};
use crate::audio::Clip;

/// The most channels of a FLAC file.
pub(super) const MAX_CHANNELS: usize = 8;

/// The clip as a FLAC file.
pub(super) fn encode(clip: &Clip, depth: BitDepth, tags: &Tags) -> Result<Vec<u8>, String> {
    let bits = u32::from(depth.bits());
    if depth == BitDepth::Float32 {
        return Err(format!(
            "FLAC holds integers: expected 16 or 24 bits, found {bits}"
        ));
    }
    if clip.len_frames() == 0 {
        return Err("expected a sound, found no frame".to_owned());
    }
    let mut options = Options::best().no_padding();
    let texts = [("TITLE", &tags.title), ("COMMENT", &tags.comment)];
    for (name, text) in texts {
        if let Some(text) = text {
            options = options.tag(name, Tags::line(text));
        }
    }
    options = options.tag("ENCODER", SOFTWARE);
    let channels = integers(clip, depth);
    let mut bytes = Cursor::new(Vec::new());
    let (count, frames) = (channels.len() as u8, clip.len_frames() as u64);
    FlacChannelWriter::new(
        &mut bytes,
        options,
        clip.sample_rate(),
        bits,
        count,
        Some(frames),
    )
    .and_then(|mut writer| {
        writer.write(&channels)?;
        writer.finalize()
    })
    .map_err(|error| format!("cannot be written as FLAC: {error}"))?;
    Ok(bytes.into_inner())
}
