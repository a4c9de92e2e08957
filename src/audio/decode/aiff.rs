//! AIFF and AIFF-C.

use super::adpcm::Adpcm;
use super::chunks::{Chunks, Dialect};
use super::part::Part;
use super::pcm::{Coding, Pcm};
use super::{Failure, MAX_CHANNELS, RawAudio, Wanted, check_layout, foreign, sound};

/// Decodes an AIFF or AIFF-C file.
pub(super) fn decode(part: &Part, wanted: &mut Wanted<'_>) -> Result<RawAudio, Failure> {
    let chunks = Chunks::of(part, Dialect::Form, |_, _| None)?;
    let (Some(comm), Some(ssnd)) = (chunks.find(b"COMM"), chunks.find(b"SSND")) else {
        return sound("expected an AIFF file with COMM and SSND chunks, found none");
    };
    if chunks.all(b"SSND").count() > 1 {
        return sound("expected one SSND chunk, found several");
    }
    let comm = comm.body.head(64)?;
    let Some(Ok([a, b, _, _, _, _, c, d, rate @ ..])) = comm.get(..18).map(<[u8; 18]>::try_from)
    else {
        return sound(format!(
            "expected a COMM chunk of at least 18 bytes, found {}",
            comm.len()
        ));
    };
    let (channels, bits) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (channels, bits) = (usize::from(channels), usize::from(bits));
    if !(1..=MAX_CHANNELS).contains(&channels) || bits > 64 {
        return sound(format!(
            "expected 1 to {MAX_CHANNELS} channels of at most 64 bits, found {channels} of {bits} bits"
        ));
    }
    let sample_rate = rate_of(rate);
    check_layout(sample_rate, channels)?;
    // The sound begins so many bytes behind the offset itself and the length of blocks that nobody uses.
    let offset = ssnd.body.head(4)?;
    let offset = offset.try_into().map_or(0, u32::from_be_bytes);
    let offset = Some(u64::from(offset))
        .filter(|&offset| offset < ssnd.body.len())
        .unwrap_or(0);
    let data = ssnd.body.from(8 + offset);

    let is_compressed = part.from(8).head(4)? == b"AIFC";
    let compression = comm
        .get(18..22)
        .filter(|_| is_compressed)
        .unwrap_or(b"NONE");
    let int = Coding::Int { valid_bits: 0 };
    let width = bits.div_ceil(8);
    let (coding, width, big_endian) = match compression {
        b"NONE" | b"twos" => (int, width, true),
        b"sowt" => (int, width, false),
        b"raw " => (Coding::Unsigned, width, true),
        b"in24" => (int, 3, true),
        b"in32" => (int, 4, true),
        b"42ni" => (int, 3, false),
        b"23ni" => (int, 4, false),
        b"fl32" | b"FL32" => (Coding::Float, 4, true),
        b"fl64" | b"FL64" => (Coding::Float, 8, true),
        b"ulaw" | b"ULAW" => (Coding::MuLaw, 1, true),
        b"alaw" | b"ALAW" => (Coding::ALaw, 1, true),
        b"ima4" => {
            let adpcm = Adpcm::ima4(sample_rate, channels)?;
            let mut sound = adpcm.decode(&data, None, wanted)?;
            let (block_len, frames) = adpcm.block();
            sound.present += ssnd.missing / block_len as u64 * frames as u64;
            sound.lost.splice(0..0, chunks.lost);
            sound.mended.splice(0..0, chunks.mended);
            return Ok(sound);
        }
        other => return foreign::refuse(&format!("{} in AIFF-C", foreign::of_apple(other))),
    };
    let pcm = Pcm {
        big_endian,
        ..Pcm::new(sample_rate, channels, coding, width)
    };
    let mut sound = pcm.decode(&[data], ssnd.missing, wanted)?;
    sound.lost.splice(0..0, chunks.lost);
    sound.mended.splice(0..0, chunks.mended);
    Ok(sound)
}

/// The nearest whole number to an 80-bit float; 0 for what no rate is.
fn rate_of(float: [u8; 10]) -> u32 {
    let [a, b, mantissa @ ..] = float;
    let exponent = i32::from(u16::from_be_bytes([a, b])) - 16383;
    let value = u64::from_be_bytes(mantissa) as f64 * 2f64.powi((exponent - 63).clamp(-200, 200));
    // A sign makes the exponent larger than that of any number that fits.
    value.round() as u32
}
