//! Samples of 16 bits as FLAC [RFC 9639], and back.
//!
//! The decoder is our own because of what it is given: projects that others have damaged. It reads frame after frame
//! and refuses whatever is not as it should be, where players search for the next frame that makes sense; no length is
//! believed before it is checked, so nothing makes it panic or take more memory than the sound that it returns.

use std::io::Cursor;

use flac_codec::encode::{FlacChannelWriter, Options};

/// Sample rate in a stream's header, Hz. It is no sound's own: FLAC has none above 1,048,575 Hz, and decoders differ.
const NOMINAL_RATE: u32 = 48_000;

/// The marker of a stream, and the header of a STREAMINFO block of 34 bytes that is the only block before the frames.
const MARKER: &[u8; 8] = b"fLaC\x80\0\0\x22";

/// Marker and STREAMINFO, bytes.
const HEADER: usize = 42;

/// One or two channels of equal length as FLAC; always the same bytes for the same samples.
pub(super) fn encode(channels: &[Vec<i16>]) -> Vec<u8> {
    let (count, frames) = (channels.len() as u8, channels[0].len());
    if frames == 0 {
        return empty(count);
    }
    // The search for the best of left, right, mid and side takes twice the time and gains 1%.
    let options = Options::default().fast_channel_correlation(true);
    let options = options.no_padding().no_seektable();
    let wide: Vec<Vec<i32>> = channels
        .iter()
        .map(|channel| channel.iter().copied().map(i32::from).collect())
        .collect();
    let mut bytes = Cursor::new(Vec::with_capacity(frames * channels.len()));
    FlacChannelWriter::new(
        &mut bytes,
        options,
        NOMINAL_RATE,
        16,
        count,
        Some(frames as u64),
    )
    .and_then(|mut writer| {
        writer.write(&wide)?;
        writer.finalize()
    })
    .expect("any samples of 16 bits can be written to memory");
    bytes.into_inner()
}

/// A stream of no frames, which the encoder does not write.
fn empty(channels: u8) -> Vec<u8> {
    let mut bytes = MARKER.to_vec();
    let block = 4096u16.to_be_bytes();
    bytes.extend([block, block].as_flattened());
    bytes.extend([0; 6]);
    bytes.extend(stream_bits(channels, 0).to_be_bytes());
    bytes.resize(HEADER, 0);
    bytes
}

/// Rate, channels, width and length as STREAMINFO has them.
fn stream_bits(channels: u8, frames: u64) -> u64 {
    u64::from(NOMINAL_RATE) << 44 | u64::from(channels - 1) << 41 | 15 << 36 | frames
}

/// One or two channels of equal length, up to `most` frames, from FLAC of 16 bits whose only metadata is STREAMINFO.
///
/// Damage in a frame is found by its checksum; STREAMINFO's hash of all samples is not looked at, nor is its rate.
///
/// # Errors
/// What was expected and what was found, if `bytes` are not such a stream from the first byte to the last.
pub(super) fn decode(bytes: &[u8], most: u64) -> Result<Vec<Vec<i16>>, String> {
    let Some((header, frames)) = bytes.split_at_checked(HEADER) else {
        return Err(format!("expected FLAC, found {} bytes", bytes.len()));
    };
    if !header.starts_with(MARKER) {
        return Err("expected FLAC without tags, found something else".into());
    }
    let layout = u64::from_be_bytes(std::array::from_fn(|i| header[18 + i]));
    let count = (layout >> 41 & 7) as usize + 1;
    let width = (layout >> 36 & 31) + 1;
    let total = layout & ((1 << 36) - 1);
    if count > 2 || width != 16 {
        return Err(format!(
            "expected FLAC of one or two channels of 16 bits, found {count} of {width}"
        ));
    }
    if total > most {
        return Err(format!(
            "expected FLAC of up to {most} frames, found {total}"
        ));
    }
    let total = usize::try_from(total).expect("a length that was checked");
    let mut channels = vec![Vec::with_capacity(total); count];
    let mut block: [Vec<i32>; 2] = Default::default();
    let (mut bits, mut index) = (Bits::new(frames), 0);
    loop {
        let done = channels[0].len();
        if done == total {
            break;
        }
        let start = bits.position();
        let whole = frame(
            &mut bits,
            (index, done as u64),
            total - done,
            count,
            &mut block,
        )
        .filter(|()| bits.ends(start));
        if whole.is_none() {
            return Err(format!(
                "expected FLAC of {total} frames, found damage after {done}"
            ));
        }
        for (channel, block) in channels.iter_mut().zip(&block) {
            // `frame` has checked that they fit.
            channel.extend(block.iter().map(|&x| x as i16));
        }
        index += 1;
    }
    match frames.len() - bits.position() {
        0 => Ok(channels),
        more => Err(format!(
            "expected FLAC of {total} frames, found {more} bytes after them"
        )),
    }
}

/// Reads a FLAC frame but for its checksum: a block of up to `most` samples of each channel. `number` is what its header
/// must hold: the number of frames before it, or that of samples.
fn frame(
    bits: &mut Bits,
    number: (u64, u64),
    most: usize,
    count: usize,
    block: &mut [Vec<i32>; 2],
) -> Option<()> {
    // The checksum of the whole frame makes up for that of its header, which is skipped.
    let variable = match bits.get(16)? {
        0xfff8 => false,
        0xfff9 => true,
        _ => return None,
    };
    let (size, rate, layout, width) = (bits.get(4)?, bits.get(4)?, bits.get(4)?, bits.get(4)?);
    let expected = if variable { number.1 } else { number.0 };
    if bits.number()? != expected {
        return None;
    }
    let len = match size {
        1 => 192,
        2..=5 => 576 << (size - 2),
        6 => bits.get(8)? + 1,
        7 => bits.get(16)? + 1,
        8.. => 256 << (size - 8),
        0 => return None,
    } as usize;
    match rate {
        12 => drop(bits.get(8)?),
        13 | 14 => drop(bits.get(16)?),
        15 => return None,
        _ => {}
    }
    bits.get(8)?;
    // 16 bits, as STREAMINFO says or as the frame does.
    if len > most || !matches!(width, 0b0000 | 0b1000) {
        return None;
    }
    let [first, second] = block;
    first.resize(len, 0);
    second.resize(len, 0);
    match (layout, count) {
        (0, 1) => subframe(bits, 16, first)?,
        (1, 2) => {
            subframe(bits, 16, first)?;
            subframe(bits, 16, second)?;
        }
        // Left and side, the difference of left and right.
        (8, 2) => {
            subframe(bits, 16, first)?;
            subframe(bits, 17, second)?;
            for (left, side) in first.iter().zip(second) {
                *side = left - *side;
            }
        }
        // Side and right.
        (9, 2) => {
            subframe(bits, 17, first)?;
            subframe(bits, 16, second)?;
            for (side, right) in first.iter_mut().zip(second) {
                *side += *right;
            }
        }
        // Mid, the mean rounded down, and side, whose lowest bit is that of the sum.
        (10, 2) => {
            subframe(bits, 16, first)?;
            subframe(bits, 17, second)?;
            for (mid, side) in first.iter_mut().zip(second) {
                let sum = 2 * *mid + (*side & 1);
                (*mid, *side) = ((sum + *side) >> 1, (sum - *side) >> 1);
            }
        }
        _ => return None,
    }
    let [first, second] = block;
    let mut all = first.iter().chain(second.iter().filter(|_| count == 2));
    all.all(|x| i16::try_from(*x).is_ok()).then_some(())
}

/// Reads a block of one channel, of samples of `width` bits.
fn subframe(bits: &mut Bits, width: u32, block: &mut [i32]) -> Option<()> {
    // The first bit is zero.
    let kind = bits.get(7)?;
    if kind >= 64 {
        return None;
    }
    // Lowest bits that are zero in all samples are left out.
    let zeros = match bits.get(1)? {
        0 => 0,
        _ => bits.unary()?.checked_add(1)?,
    };
    let width = width.checked_sub(zeros).filter(|&width| width > 0)?;
    match kind {
        0 => block.fill(bits.signed(width)?),
        1 => {
            for x in block.iter_mut() {
                *x = bits.signed(width)?;
            }
        }
        8..=12 => {
            const FIXED: [&[i64]; 5] = [&[], &[1], &[-1, 2], &[1, -3, 3], &[-1, 4, -6, 4]];
            let coefficients = FIXED[kind as usize - 8];
            warm_up(bits, width, coefficients.len(), block)?;
            residuals(bits, coefficients.len(), block)?;
            predict(coefficients, 0, width, block)?;
        }
        32.. => {
            let order = kind as usize - 31;
            warm_up(bits, width, order, block)?;
            let precision = bits.get(4)? + 1;
            let shift = u32::try_from(bits.signed(5)?).ok()?;
            if precision == 16 {
                return None;
            }
            // The first belongs to the most recent sample.
            let mut coefficients = [0; 32];
            for x in coefficients[..order].iter_mut().rev() {
                *x = i64::from(bits.signed(precision)?);
            }
            residuals(bits, order, block)?;
            predict(&coefficients[..order], shift, width, block)?;
        }
        _ => return None,
    }
    if zeros > 0 {
        block.iter_mut().for_each(|x| *x <<= zeros);
    }
    Some(())
}

/// Reads the first `order` samples of a block.
fn warm_up(bits: &mut Bits, width: u32, order: usize, block: &mut [i32]) -> Option<()> {
    for x in block.get_mut(..order)? {
        *x = bits.signed(width)?;
    }
    Some(())
}

/// Reads what is added to the predictions of the samples of a block after the first `order`.
fn residuals(bits: &mut Bits, order: usize, block: &mut [i32]) -> Option<()> {
    let parameter_width = match bits.get(2)? {
        0 => 4,
        1 => 5,
        _ => return None,
    };
    let partitions = 1 << bits.get(4)?;
    if !block.len().is_multiple_of(partitions) {
        return None;
    }
    let size = block.len() / partitions;
    let mut rest = block.get_mut(order..)?;
    let mut len = size.checked_sub(order)?;
    for _ in 0..partitions {
        let partition;
        (partition, rest) = rest.split_at_mut(len);
        let parameter = bits.get(parameter_width)?;
        if parameter == (1 << parameter_width) - 1 {
            let width = bits.get(5)?;
            for x in partition {
                *x = bits.signed(width)?;
            }
        } else {
            for x in partition {
                *x = bits.rice(parameter)?;
            }
        }
        len = size;
    }
    Some(())
}

/// Adds to each sample of a block, after the first, its prediction from those before it; none if the sum has more than
/// `width` bits. The last coefficient belongs to the most recent sample.
fn predict(coefficients: &[i64], shift: u32, width: u32, block: &mut [i32]) -> Option<()> {
    let allowed = -(1i64 << (width - 1))..=(1i64 << (width - 1)) - 1;
    let order = coefficients.len();
    for at in order..block.len() {
        let past = block[at - order..at].iter().zip(coefficients);
        let sum: i64 = past.map(|(&x, c)| i64::from(x) * c).sum();
        let x = i64::from(block[at]) + (sum >> shift);
        if !allowed.contains(&x) {
            return None;
        }
        block[at] = x as i32;
    }
    Some(())
}

/// Reads bits, the highest of each byte first. All that is read of what is not there is none.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Bytes that have been taken from there.
    taken: usize,
    /// The next bits, from the highest on: `held` of them, then zeros or bits that will be taken again.
    word: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            taken: 0,
            word: 0,
            held: 0,
        }
    }

    /// Holds at least 56 bits, or all that are left.
    fn fill(&mut self) {
        if let Some(next) = self.bytes[self.taken..].first_chunk() {
            self.word |= u64::from_be_bytes(*next) >> self.held;
            let bytes = (63 - self.held) / 8;
            self.taken += bytes as usize;
            self.held += 8 * bytes;
            return;
        }
        while self.held < 56 && self.taken < self.bytes.len() {
            self.word |= u64::from(self.bytes[self.taken]) << (56 - self.held);
            self.taken += 1;
            self.held += 8;
        }
    }

    /// The next bits, at most 56, shifted down; `fill` comes before.
    fn take(&mut self, width: u32) -> Option<u64> {
        self.held = self.held.checked_sub(width)?;
        // Two shifts, for one by 64 is none.
        let value = self.word >> 1 >> (63 - width);
        self.word <<= width;
        Some(value)
    }

    /// A number of up to 32 bits.
    fn get(&mut self, width: u32) -> Option<u32> {
        self.fill();
        self.take(width).map(|value| value as u32)
    }

    /// A signed number of up to 32 bits.
    fn signed(&mut self, width: u32) -> Option<i32> {
        let value = i64::from(self.get(width)?) << (63 - width) << 1;
        Some((value >> 1 >> (63 - width)) as i32)
    }

    /// The number of zeros before the next one, which is read too.
    fn unary(&mut self) -> Option<u32> {
        let mut zeros = 0u32;
        loop {
            self.fill();
            let more = self.word.leading_zeros();
            if more < self.held {
                self.take(more + 1)?;
                return zeros.checked_add(more);
            }
            if self.held == 0 {
                return None;
            }
            zeros = zeros.checked_add(self.held)?;
            self.word = 0;
            self.held = 0;
        }
    }

    /// A signed number of 32 bits in Golomb-Rice code.
    fn rice(&mut self, parameter: u32) -> Option<i32> {
        let high = self.unary()?;
        self.fill();
        let low = self.take(parameter)? as u32;
        let code = u32::try_from(u64::from(high) << parameter).ok()? | low;
        Some((code >> 1) as i32 ^ -((code & 1) as i32))
    }

    /// A number in the code that UTF-8 has for characters, of up to seven bytes.
    fn number(&mut self) -> Option<u64> {
        let first = self.get(8)? as u8;
        let more = match first.leading_ones() {
            0 => return Some(first.into()),
            ones @ 2..=7 => ones - 1,
            _ => return None,
        };
        let mut value = u64::from(first & (0x3f >> more));
        for _ in 0..more {
            match self.get(8)? {
                next @ 0x80..0xc0 => value = value << 6 | u64::from(next & 0x3f),
                _ => return None,
            }
        }
        Some(value)
    }

    /// Bytes read so far, of which the last may have unread bits.
    fn position(&self) -> usize {
        self.taken - (self.held / 8) as usize
    }

    /// Reads a frame's checksum, and whether it is that of the bytes since `start`.
    fn ends(&mut self, start: usize) -> bool {
        let end = self.position();
        // What is left of the last byte.
        let checked = self.take(self.held % 8).and_then(|_| self.get(16));
        checked == Some(u32::from(crc16(&self.bytes[start..end])))
    }
}

/// The checksum of a frame: x^16 + x^15 + x^2 + 1, from zero.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = (byte as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                crc = crc << 1 ^ if crc >> 15 == 1 { 0x8005 } else { 0 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, &byte| {
        crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use audiodiff::noise::Noise;
    use flac_codec::decode::{Verified, verify_reader};

    use super::*;

    /// One or two channels of `len` frames of many kinds.
    fn sounds(len: usize) -> Vec<Vec<Vec<i16>>> {
        let mut noise = Noise::new(5);
        let mut random = || -> Vec<i16> { (0..len).map(|_| noise.bits() as i16).collect() };
        let (white, other) = (random(), random());
        let tone = |i: usize| 30_000.0 * (i as f32 * 0.03).sin() * (-(i as f32) / 5000.0).exp();
        let tone: Vec<i16> = (0..len).map(|i| tone(i) as i16).collect();
        let square = |period: usize| -> Vec<i16> {
            (0..len)
                .map(|i| [i16::MIN, i16::MAX][i / period % 2])
                .collect()
        };
        let inverse = tone.iter().map(|x| !x).collect();
        let near = tone.iter().zip(&white);
        let near = near.map(|(x, y)| x.saturating_add(y / 2000)).collect();
        let even = white.iter().map(|x| x & !0xff).collect();
        vec![
            vec![vec![0; len]],
            vec![vec![0; len]; 2],
            vec![vec![i16::MIN; len]],
            vec![vec![i16::MIN; len], vec![i16::MAX; len]],
            vec![square(1)],
            vec![square(1), square(3)],
            vec![square(50), tone.clone()],
            vec![white.clone()],
            vec![white, other],
            vec![tone.clone()],
            vec![tone.clone(), tone.clone()],
            vec![tone.clone(), inverse],
            vec![tone, near],
            vec![even],
        ]
    }

    #[test]
    fn every_sound_comes_back_bit_for_bit() {
        for len in [0, 1, 2, 3, 15, 16, 17, 1000, 4095, 4096, 4097, 8192, 9001] {
            for (which, sound) in sounds(len).into_iter().enumerate() {
                let bytes = encode(&sound);
                assert_eq!(bytes, encode(&sound), "{which} of {len}");
                // Twelve bytes for each frame beyond the samples, and a bit for each difference of two, at most.
                let bound =
                    HEADER + 2 * len * sound.len() + len.div_ceil(8) + 12 * len.div_ceil(4096);
                assert!(
                    bytes.len() <= bound,
                    "{which} of {len}: {} > {bound}",
                    bytes.len()
                );
                let most = len as u64;
                assert_eq!(decode(&bytes, most), Ok(sound), "{which} of {len}");
                if let Some(less) = most.checked_sub(1) {
                    let error = decode(&bytes, less).unwrap_err();
                    assert!(error.contains("up to"), "{error}");
                    // Its hash is that of what was decoded.
                    let verified = verify_reader(&bytes[..]).unwrap();
                    assert!(matches!(verified, Verified::MD5Match), "{which} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_sound_like_most_takes_half() {
        // A plucked tone that is not quite the same on both sides.
        let mut noise = Noise::new(7);
        let mut side = |phase: f32| -> Vec<i16> {
            let wave = |i: usize| {
                let t = i as f32 / 48_000.0;
                let partial = |k: u8| {
                    let k = f32::from(k);
                    (1400.0 * k * t + phase * k).sin() * (-3.0 * k * t).exp() / k
                };
                12_000.0 * (1..20).map(partial).sum::<f32>()
            };
            let hiss = noise.normals(48_000).into_iter();
            hiss.enumerate()
                .map(|(i, x)| (wave(i) + 20.0 * x) as i16)
                .collect()
        };
        let sound = vec![side(0.0), side(0.1)];
        let len = encode(&sound).len();
        assert!((80_000..96_000).contains(&len), "{len}");
    }

    /// The first example of RFC 9639: one frame of stereo.
    const EXAMPLE: [u8; 57] = [
        0x66, 0x4c, 0x61, 0x43, 0x80, 0x00, 0x00, 0x22, 0x10, 0x00, 0x10, 0x00, 0x00, 0x00, 0x0f,
        0x00, 0x00, 0x0f, 0x0a, 0xc4, 0x42, 0xf0, 0x00, 0x00, 0x00, 0x01, 0x3e, 0x84, 0xb4, 0x18,
        0x07, 0xdc, 0x69, 0x03, 0x07, 0x58, 0x6a, 0x3d, 0xad, 0x1a, 0x2e, 0x0f, 0xff, 0xf8, 0x69,
        0x18, 0x00, 0x00, 0xbf, 0x03, 0x58, 0xfd, 0x03, 0x12, 0x8b, 0xaa, 0x9a,
    ];

    #[test]
    fn the_streams_of_others_are_understood() {
        assert_eq!(decode(&EXAMPLE, 1), Ok(vec![vec![25_588], vec![10_416]]));
    }

    /// `stream` with other settings in its header.
    fn with_header(stream: &[u8], rate: u64, channels: u64, width: u64, frames: u64) -> Vec<u8> {
        let bits = rate << 44 | (channels - 1) << 41 | (width - 1) << 36 | frames;
        let mut bytes = stream.to_vec();
        bytes[18..26].copy_from_slice(&bits.to_be_bytes());
        bytes
    }

    #[test]
    fn what_promises_something_else_is_refused_with_a_reason() {
        let sound = sounds(9001).pop().unwrap();
        let bytes = encode(&sound);
        let most = 48_000 * 30;
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            bytes
        };
        let cases = [
            (vec![], "found 0 bytes"),
            (bytes[..41].to_vec(), "found 41 bytes"),
            (changed(0, b'F'), "without tags"),
            // Another block of metadata follows; or this one is longer.
            (changed(4, 0), "without tags"),
            (changed(7, 0x23), "without tags"),
            (with_header(&bytes, 48_000, 3, 16, 9001), "found 3 of 16"),
            (with_header(&bytes, 655_350, 8, 32, 9001), "found 8 of 32"),
            (with_header(&bytes, 48_000, 1, 24, 9001), "found 1 of 24"),
            (
                with_header(&bytes, 48_000, 1, 16, (1 << 36) - 1),
                "found 68719476735",
            ),
            (
                with_header(&bytes, 48_000, 1, 16, most + 1),
                "found 1440001",
            ),
            (
                with_header(&bytes, 48_000, 1, 16, most),
                "damage after 9001",
            ),
            (with_header(&bytes, 48_000, 2, 16, 9001), "damage after 0"),
            (
                with_header(&bytes, 48_000, 1, 16, 9000),
                "damage after 8192",
            ),
            (with_header(&bytes, 48_000, 1, 16, 8192), "bytes after them"),
            (with_header(&bytes, 48_000, 1, 16, 0), "bytes after them"),
            (bytes[..bytes.len() - 1].to_vec(), "damage after 8192"),
            ([&bytes[..], &[0]].concat(), "1 bytes after them"),
        ];
        for (bytes, reason) in cases {
            let error = decode(&bytes, most).unwrap_err();
            assert!(error.contains(reason), "{error}: {reason}");
        }
        // Its rate decides nothing.
        for rate in [0, 44_100, (1 << 20) - 1] {
            let other = with_header(&bytes, rate, 1, 16, 9001);
            assert_eq!(decode(&other, most).as_ref(), Ok(&sound));
        }
    }

    #[test]
    fn damage_is_found_or_does_none() {
        let (mut found, mut harmless) = (0, 0);
        for (which, sound) in sounds(5000).into_iter().enumerate() {
            let bytes = encode(&sound);
            for round in 0..400 {
                let mut noise = Noise::at(3, &[which as u64, round]);
                let mut damaged = bytes.clone();
                for _ in 0..1 + noise.below(3) {
                    // As often in the headers as in the samples.
                    let reach = if noise.chance(0.5) { 70 } else { damaged.len() };
                    let at = noise.below(reach.min(damaged.len()));
                    match noise.below(6) {
                        0 | 1 => damaged[at] ^= 1 << noise.below(8),
                        2 => damaged[at] = noise.bits() as u8,
                        3 => damaged[at] = [0, 0x7f, 0xff][noise.below(3)],
                        4 => drop(damaged.drain(at..(at + 1 + noise.below(4)).min(damaged.len()))),
                        _ => damaged.insert(at, noise.bits() as u8),
                    }
                    if damaged.is_empty() {
                        break;
                    }
                }
                match decode(&damaged, 6000) {
                    Ok(same) => {
                        assert_eq!(same, sound, "{which}, round {round}");
                        harmless += 1;
                    }
                    Err(_) => found += 1,
                }
            }
        }
        assert!(found > 3000 && harmless > 300, "{found}, {harmless}");
    }

    #[test]
    fn hostile_frames_with_a_right_checksum_are_refused_or_fit_16_bits() {
        let (mut refused, mut read) = (0, 0);
        for (which, sound) in sounds(300).into_iter().enumerate() {
            let bytes = encode(&sound);
            for round in 0..1000 {
                let mut noise = Noise::at(4, &[which as u64, round]);
                let mut damaged = bytes.clone();
                let end = damaged.len() - 2;
                for _ in 0..1 + noise.below(4) {
                    // Most in what comes first: the frame's header, predictors, partitions.
                    let reach = if noise.chance(0.7) { 24 } else { end - HEADER };
                    let at = HEADER + noise.below(reach.min(end - HEADER));
                    damaged[at] = match noise.below(3) {
                        0 => damaged[at] ^ 1 << noise.below(8),
                        1 => [0, 0x7f, 0xff][noise.below(3)],
                        _ => noise.bits() as u8,
                    };
                }
                let crc = crc16(&damaged[HEADER..end]).to_be_bytes();
                damaged[end..].copy_from_slice(&crc);
                match decode(&damaged, 300) {
                    Ok(channels) => {
                        assert!(channels.len() == sound.len());
                        assert!(channels.iter().all(|c| c.len() == 300));
                        read += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 3000 && read > 1000, "{refused}, {read}");
    }
}
