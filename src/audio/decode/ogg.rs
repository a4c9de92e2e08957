//! Ogg streams: Vorbis and FLAC.

use std::io;

use symphonia::default::formats::OggReader;

use super::part::Part;
use super::{Failure, RawAudio, Wanted, foreign, stream};

/// What the first packets of streams begin with that are not read, and their names.
const OTHERS: [(&[u8], &str); 4] = [
    (b"OpusHead", "Opus"),
    (b"Speex   ", "Speex"),
    (b"\x80theora", "a film (Theora)"),
    (b"PCM     ", "PCM in Ogg"),
];

/// Decodes the first Vorbis or FLAC stream of an Ogg file.
pub(super) fn decode(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    // The first packet of each stream comes before all others.
    let head = part.head(1024)?;
    let has = |what: &[u8]| head.windows(what.len()).any(|bytes| bytes == what);
    let other = || OTHERS.iter().find(|(magic, _)| has(magic));
    if !has(b"\x01vorbis")
        && !has(b"\x7fFLAC")
        && let Some((_, name)) = other()
    {
        return foreign::refuse(name);
    }
    let promised = promised_frames(part)?;
    // Seeking finds the last page, which tells how much of the last block is sound.
    let mut sound = stream::read(part, wanted, || {
        Ok(Box::new(OggReader::try_new(
            part.clone().stream(),
            Default::default(),
        )?))
    })?;
    // Pages that are damaged are left out without a word.
    let found = sound.frames() as u64;
    sound.present = sound.present.max(promised.unwrap_or(0));
    if found < wanted.end(sound.sample_rate) as u64 && sound.lost.is_empty() {
        match promised {
            None => sound
                .lost
                .push("it ends early: its last page is missing".to_owned()),
            Some(promised) if found < promised => sound.lost.push(format!(
                "{} of {promised} frames are missing or damaged",
                promised - found
            )),
            Some(_) => {}
        }
    }
    Ok(sound)
}

/// The frames that an Ogg file says it holds by its last page; none if that page is not marked as the
/// stream's end.
fn promised_frames(part: &Part) -> io::Result<Option<u64>> {
    // A page has at most 65307 bytes; byte 5 of it holds the flags, the next 8 the position.
    let tail = part.from(part.len().saturating_sub(65_307)).head(65_307)?;
    let last = tail
        .windows(14)
        .rev()
        .find(|page| page.starts_with(b"OggS"));
    let ended = last.filter(|page| page[5] & 4 != 0);
    // All ones stand for a page on which no packet ends.
    Ok(ended
        .map(|page| u64::from_le_bytes(std::array::from_fn(|i| page[6 + i])))
        .map(|frames| if frames == u64::MAX { 0 } else { frames }))
}
