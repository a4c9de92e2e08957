//! The codecs of MP4 and CAF, and the descriptions that these share.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_ALAC, CODEC_ID_MP3};

use super::adpcm::Adpcm;
use super::pcm::Pcm;
use super::{Failure, check_layout, foreign, sound};

/// What stands in a track.
#[derive(Debug)]
pub(super) enum Codec {
    Pcm(Pcm),
    Adpcm(Adpcm),
    Other(AudioCodecParameters),
}

impl Codec {
    /// ALAC with this magic cookie.
    pub fn alac(cookie: Vec<u8>) -> Self {
        Self::other(|params| {
            params
                .for_codec(CODEC_ID_ALAC)
                .with_extra_data(cookie.into())
        })
    }

    pub fn other(set: impl FnOnce(&mut AudioCodecParameters) -> &mut AudioCodecParameters) -> Self {
        let mut params = AudioCodecParameters::new();
        set(&mut params);
        Self::Other(params)
    }
}

pub(super) fn mp3(sample_rate: u32) -> Codec {
    Codec::other(|params| params.for_codec(CODEC_ID_MP3).with_sample_rate(sample_rate))
}

/// Rates that AAC names by an index.
const AAC_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// The codec that the descriptors of MPEG-4 tell, AAC-LC or MP3.
pub(super) fn aac_of(descriptors: &[u8]) -> Result<Codec, Failure> {
    let Some((kind, config)) = config_of(descriptors) else {
        return sound("expected a description of AAC, found none that can be read");
    };
    if matches!(kind, 0x69 | 0x6b) {
        return Ok(Codec::other(|params| params.for_codec(CODEC_ID_MP3)));
    }
    if !matches!(kind, 0x40 | 0x66..=0x68) {
        return foreign::refuse(&format!("codec {kind:#04x} of MPEG-4"));
    }
    let &[a, b, ..] = config else {
        return sound("expected a description of AAC of at least 2 bytes, found less");
    };
    // 5 bits name the kind, 4 the rate, 4 the channels.
    let name = match a >> 3 {
        2 => None,
        5 => Some("HE-AAC"),
        29 => Some("HE-AAC version 2"),
        39 => Some("AAC-ELD"),
        23 => Some("AAC-LD"),
        42 => Some("xHE-AAC"),
        1 => Some("AAC Main"),
        _ => Some("an unusual kind of AAC"),
    };
    let channels = b >> 3 & 15;
    match name {
        Some(name) => return foreign::refuse(name),
        None if !matches!(channels, 1 | 2) => {
            return foreign::refuse("AAC of more than two channels");
        }
        None => {}
    }
    let rate = match usize::from((a & 7) << 1 | b >> 7) {
        15 => match config {
            &[_, b, c, d, e, ..] => u32::from_be_bytes([b & 0x7f, c, d, e]) >> 7,
            _ => 0,
        },
        index => AAC_RATES.get(index).copied().unwrap_or(0),
    };
    check_layout(rate, usize::from(channels))?;
    let config: Box<[u8]> = config.into();
    Ok(Codec::other(|params| {
        params
            .for_codec(CODEC_ID_AAC)
            .with_sample_rate(rate)
            .with_extra_data(config)
    }))
}

/// The kind of object and the decoder's configuration, in descriptors within descriptors.
fn config_of(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut kind = 0x40;
    for _ in 0..16 {
        let (&tag, mut rest) = bytes.split_first()?;
        let mut len = 0usize;
        for _ in 0..4 {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            len = len << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        match tag {
            // A stream: its number, and flags that tell what is left out.
            3 => {
                let flags = *rest.get(2)?;
                let mut skip = 3 + if flags & 0x80 == 0 { 0 } else { 2 };
                if flags & 0x40 != 0 {
                    skip += 1 + usize::from(*rest.get(skip)?);
                }
                skip += if flags & 0x20 == 0 { 0 } else { 2 };
                bytes = rest.get(skip..)?;
            }
            // A decoder: the kind of object, and what nobody needs.
            4 => {
                kind = *rest.first()?;
                if matches!(kind, 0x69 | 0x6b) {
                    return Some((kind, &[]));
                }
                bytes = rest.get(13..)?;
            }
            5 => return Some((kind, rest.get(..len.min(rest.len()))?)),
            _ => bytes = rest.get(len..)?,
        }
    }
    None
}
