//! Samples of 16 bits as FLAC [RFC 9639], and back.
//!
//! Projects that others have damaged come here. The library reads frame after frame and refuses what is not as it should be.
//! Symphonia, which reads sound files, searches for the next frame that makes sense: samples that look like frames make it
//! lose the frame that they are in.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use flac_codec::decode::FlacChannelReader;
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
/// Damage in a frame is found by its checksums; STREAMINFO's hash of all samples is not looked at.
///
/// # Errors
/// What was expected and what was found, if `bytes` are not such a stream from the first byte to the last.
pub(super) fn decode(bytes: &[u8], most: u64) -> Result<Vec<Vec<i16>>, String> {
    let Some(header) = bytes.get(..HEADER) else {
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
    // Sums of hostile frames overflow in the library, and the project must survive it. Of what it touched, only the number
    // of whole frames is looked at after a panic.
    let mut rest = bytes;
    let whole = catch_unwind(AssertUnwindSafe(|| read(&mut rest, total, &mut channels)));
    match (whole, rest.len()) {
        (Ok(Some(())), 0) => Ok(channels),
        (Ok(Some(())), more) => Err(format!(
            "expected FLAC of {total} frames, found {more} bytes after them"
        )),
        _ => Err(format!(
            "expected FLAC of {total} frames, found damage after {}",
            channels[0].len()
        )),
    }
}

/// Takes a stream from the start of `bytes` and appends its first `total` samples to each of its channels, up to where
/// it is damaged; none if it is.
fn read(bytes: &mut &[u8], total: usize, channels: &mut [Vec<i16>]) -> Option<()> {
    let mut reader = FlacChannelReader::new(bytes).ok()?;
    while channels[0].len() < total {
        let block = reader.fill_buf().ok()?;
        let len = block[0].len();
        let fits = |x: &i32| i16::try_from(*x).is_ok();
        if len > total - channels[0].len() || !block.iter().copied().flatten().all(fits) {
            return None;
        }
        for (channel, samples) in channels.iter_mut().zip(block) {
            channel.extend(samples.iter().map(|&x| x as i16));
        }
        reader.consume(len);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use audiodiff::noise::Noise;
    use flac_codec::decode::{Verified, verify_reader};

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
        let bytes = encode(&sounds(9001).pop().unwrap());
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
            // The rates of header and frames differ.
            (with_header(&bytes, 0, 1, 16, 9001), "damage after 0"),
            (with_header(&bytes, 44_100, 1, 16, 9001), "damage after 0"),
            (bytes[..bytes.len() - 1].to_vec(), "damage after 8192"),
            ([&bytes[..], &[0]].concat(), "1 bytes after them"),
            ([&bytes[..], &[0; 2]].concat(), "2 bytes after them"),
        ];
        for (bytes, reason) in cases {
            let error = decode(&bytes, most).unwrap_err();
            assert!(error.contains(reason), "{error}: {reason}");
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

    /// The checksum of these bytes with the polynomial of this width, whose highest term is left out.
    fn checksum(bytes: &[u8], width: u32, polynomial: u32) -> u32 {
        let bits = bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i) & 1));
        bits.fold(0, |sum, bit| {
            let odd = (sum >> (width - 1)) ^ bit;
            ((sum << 1) ^ (odd * polynomial)) & ((1 << width) - 1)
        })
    }

    /// Gives the frame that is all after a stream's header the checksums that it should have, if its own header has eight
    /// bytes.
    fn check(stream: &mut [u8]) {
        let frame = &mut stream[HEADER..];
        frame[7] = checksum(&frame[..7], 8, 0x07) as u8;
        let (all, last) = frame.split_last_chunk_mut().expect("a whole frame");
        *last = (checksum(all, 16, 0x8005) as u16).to_be_bytes();
    }

    #[test]
    fn samples_that_look_like_frames_are_samples() {
        let mut noise = Noise::new(8);
        let mut bytes: Vec<u8> = (0..40_000).map(|_| noise.bits() as u8).collect();
        for start in (0..40_000).step_by(500) {
            // Another frame of 4096 samples of one channel of 16 bits at 48 kHz.
            let mut header = [0xff, 0xf8, 0xca, 0x08, 100, 0];
            header[5] = checksum(&header[..5], 8, 0x07) as u8;
            bytes[start..start + 6].copy_from_slice(&header);
        }
        let pairs = bytes.chunks(2);
        let sound = vec![pairs.map(|x| i16::from_be_bytes([x[0], x[1]])).collect()];
        let stream = encode(&sound);
        // It is stored as it is.
        assert!(stream.windows(400).any(|x| x == &bytes[..400]));
        assert_eq!(decode(&stream, 20_000), Ok(sound));
    }

    #[test]
    fn hostile_frames_with_a_right_checksum_are_refused_or_fit_16_bits() {
        let (mut refused, mut read) = (0, 0);
        for (which, sound) in sounds(300).into_iter().enumerate() {
            let bytes = encode(&sound);
            let mut same = bytes.clone();
            check(&mut same);
            assert_eq!(same, bytes);
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
                check(&mut damaged);
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
