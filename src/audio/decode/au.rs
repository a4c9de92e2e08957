//! AU, the format of Sun and NeXT.

use super::part::Part;
use super::pcm::{Coding, Pcm};
use super::{Failure, RawAudio, Wanted, foreign, sound};

/// Decodes an AU file, in either byte order.
pub(super) fn decode(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let head = part.head(24)?;
    let (words, []) = head.as_chunks::<4>() else {
        return sound(format!(
            "expected an AU header of 24 bytes, found {}",
            head.len()
        ));
    };
    let big_endian = words.first() == Some(b".snd");
    let words: Vec<u32> = (words.iter())
        .map(|&word| match big_endian {
            true => u32::from_be_bytes(word),
            false => u32::from_le_bytes(word),
        })
        .collect();
    let &[_, offset, claimed, encoding, sample_rate, channels] = &words[..] else {
        return sound(format!(
            "expected an AU header of 24 bytes, found {}",
            head.len()
        ));
    };
    let int = Coding::Int { valid_bits: 0 };
    let (coding, width) = match encoding {
        1 => (Coding::MuLaw, 1),
        2..=5 => (int, encoding as usize - 1),
        6 => (Coding::Float, 4),
        7 => (Coding::Float, 8),
        27 => (Coding::ALaw, 1),
        23..=26 => return foreign::refuse("G.72x ADPCM in AU"),
        other => {
            return sound(format!(
                "expected an AU encoding of 1 to 7 or 27, found {other}"
            ));
        }
    };
    let data = part.from(u64::from(offset).max(24));
    let (claimed, rest) = (u64::from(claimed), data.len());
    let pcm = Pcm {
        big_endian,
        ..Pcm::new(sample_rate, channels as usize, coding, width)
    };
    // All ones are how the format says "until the end".
    let is_open = claimed == u64::from(u32::MAX);
    let missing = if is_open {
        0
    } else {
        claimed.saturating_sub(rest)
    };
    let mut sound = pcm.decode(&[data], missing, wanted)?;
    if claimed < rest && rest - claimed >= pcm.frame_len() {
        sound.mended.push(format!(
            "its header says {claimed} bytes of sound, but it goes on; all {rest} bytes are read"
        ));
    }
    Ok(sound)
}
