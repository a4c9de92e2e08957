//! ADPCM in blocks of a fixed length.

use std::io;

use symphonia::core::audio::{Channels, Position};
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_ADPCM_IMA_QT, CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS,
};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters};

use super::part::Part;
use super::stream::{self, Found, Span};
use super::{Failure, RawAudio, Wanted, check_layout, sound};

/// The layout of a stream of blocks, each of which can be decoded by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adpcm {
    codec: AudioCodecId,
    sample_rate: u32,
    channels: usize,
    /// Bytes and frames of a block, and the bytes of it that hold no nibbles but the first `first` frames.
    block_len: usize,
    frames: usize,
    head_len: usize,
    first: usize,
}

impl Adpcm {
    /// Microsoft's, of WAV.
    pub fn ms(sample_rate: u32, channels: usize, block_len: usize) -> Result<Self, Failure> {
        Self::new(CODEC_ID_ADPCM_MS, sample_rate, channels, block_len, 7, 2)
    }

    /// That of the IMA in WAV.
    pub fn ima(sample_rate: u32, channels: usize, block_len: usize) -> Result<Self, Failure> {
        Self::new(
            CODEC_ID_ADPCM_IMA_WAV,
            sample_rate,
            channels,
            block_len,
            4,
            1,
        )
    }

    /// That of the IMA in AIFF-C, CAF and MP4: `ima4`.
    pub fn ima4(sample_rate: u32, channels: usize) -> Result<Self, Failure> {
        Self::new(
            CODEC_ID_ADPCM_IMA_QT,
            sample_rate,
            channels,
            34 * channels,
            2,
            0,
        )
    }

    fn new(
        codec: AudioCodecId,
        sample_rate: u32,
        channels: usize,
        block_len: usize,
        head_len: usize,
        first: usize,
    ) -> Result<Self, Failure> {
        check_layout(sample_rate, channels)?;
        let head_len = head_len * channels;
        if channels > 2 || block_len <= head_len {
            return sound(format!(
                "expected ADPCM of 1 or 2 channels in blocks of more than {head_len} bytes, found {channels} channels \
                 in blocks of {block_len}"
            ));
        }
        Ok(Self {
            codec,
            sample_rate,
            channels,
            block_len,
            frames: first + (block_len - head_len) * 2 / channels,
            head_len,
            first,
        })
    }

    /// Bytes and frames of a block.
    pub fn block(&self) -> (usize, usize) {
        (self.block_len, self.frames)
    }

    /// Decodes `part`. Where the last block is only filled up by what is not sound, `frames` tells where it ends.
    pub fn decode(
        &self,
        part: &Part,
        frames: Option<u64>,
        wanted: &mut Wanted<'_>,
    ) -> Result<RawAudio, Failure> {
        let block_len = self.block_len as u64;
        let rest = (part.len() % block_len) as usize;
        // A last block that is cut holds as many frames as it has nibbles of.
        let of_rest = match rest > self.head_len {
            true => self.first + (rest - self.head_len) * 2 / self.channels,
            false => 0,
        };
        let blocks = part.len() / block_len;
        let all = blocks * self.frames as u64 + of_rest as u64;
        let frames = frames
            .filter(|&frames| frames > 0 && frames < all && all - frames < self.frames as u64);
        let mut params = AudioCodecParameters::new();
        let positions = match self.channels {
            1 => Position::FRONT_LEFT,
            _ => Position::FRONT_LEFT | Position::FRONT_RIGHT,
        };
        params
            .for_codec(self.codec)
            .with_sample_rate(self.sample_rate)
            .with_channels(Channels::Positioned(positions))
            .with_max_frames_per_packet(self.frames as u64)
            .with_frames_per_block(self.frames as u64);
        let block = |n: u64| -> io::Result<Found> {
            let mut bytes = part.from(n * block_len).head(block_len)?;
            bytes.resize(self.block_len, 0);
            Ok(Some((bytes, self.frames as u64)))
        };
        let packets = (0..blocks + u64::from(of_rest > 0)).map(block);
        let span = Span {
            skip: 0,
            frames: Some(frames.unwrap_or(all)),
        };
        stream::decode(&params, packets, span, part.len(), wanted)
    }
}
