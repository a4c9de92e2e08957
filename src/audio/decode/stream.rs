//! Packets through symphonia's decoders.

use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use super::part::Part;
use super::{Failure, MAX_SAMPLES, RawAudio, Wanted, check_layout, sound, too_long};

/// Packets in a row without a frame of sound after which a stream counts as ended.
const MAX_SILENT_PACKETS: usize = 10_000;

/// Samples that a file may expand to: so many for each of its bytes, as digital silence does, beyond a free amount that
/// no memory is too small for. A small file that claims hours is one that was made to fill our memory.
const SAMPLES_PER_BYTE: u64 = 1024;
const FREE_SAMPLES: u64 = 1 << 24;

/// Which of the decoded frames are the sound: encoders put some in front and fill up the last packet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub skip: u64,
    /// All that follow, if `None`.
    pub frames: Option<u64>,
}

/// The bytes of a packet and the frames that it should hold; `None` where it lies beyond the end of the file.
pub(super) type Found = Option<(Vec<u8>, u64)>;

/// Opens `part` with one of symphonia's readers and decodes its first sound track.
pub(super) fn read<'s>(
    part: &Part,
    wanted: &mut Wanted<'_>,
    open: impl FnOnce() -> Result<Box<dyn FormatReader + 's>, SymphoniaError>,
) -> Result<RawAudio, Failure> {
    guarded(|| {
        let mut format = open()?;
        let Some(track) = format.default_track(TrackType::Audio) else {
            return sound("expected a sound track, found none");
        };
        let Some(params) = track.codec_params.as_ref().and_then(|p| p.audio()) else {
            return sound("expected a known codec, found another");
        };
        let (params, track_id, promised) = (params.clone(), track.id, track.num_frames);
        let next = || loop {
            match format.next_packet() {
                Ok(Some(packet)) if packet.track_id != track_id => {}
                other => return other,
            }
        };
        let mut sound = decode_packets(&params, next, Span::default(), part.len(), wanted)?;
        sound.present = promised.unwrap_or(0);
        Ok(sound)
    })
}

/// Decodes the packets that `packets` gives.
pub(super) fn decode(
    params: &AudioCodecParameters,
    mut packets: impl Iterator<Item = std::io::Result<Found>>,
    span: Span,
    file_len: u64,
    wanted: &mut Wanted<'_>,
) -> Result<RawAudio, Failure> {
    let mut at = 0i64;
    let next = || match packets.next() {
        None => Ok(None),
        Some(Ok(Some((bytes, frames)))) => {
            let pts = Timestamp::from(at);
            at = at.saturating_add_unsigned(frames);
            Ok(Some(Packet::new(0, pts, Duration::from(frames), bytes)))
        }
        Some(Ok(None)) => Err(SymphoniaError::DecodeError("beyond the end of the file")),
        Some(Err(error)) => Err(SymphoniaError::IoError(error)),
    };
    guarded(|| decode_packets(params, next, span, file_len, wanted))
}

/// Turns a panic into an error.
///
/// The library states that damaged streams may make it panic, and decoding is fed with files of
/// unknown origin. Nothing it touched is used afterwards, so unwinding leaves no broken state.
fn guarded(decode: impl FnOnce() -> Result<RawAudio, Failure>) -> Result<RawAudio, Failure> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| sound("cannot be decoded: the decoder gave up on damaged data"))
}

fn decode_packets(
    params: &AudioCodecParameters,
    mut next: impl FnMut() -> Result<Option<Packet>, SymphoniaError>,
    span: Span,
    file_len: u64,
    wanted: &mut Wanted<'_>,
) -> Result<RawAudio, Failure> {
    if let Some(rate) = params.sample_rate {
        check_layout(rate, params.channels.as_ref().map_or(1, |c| c.count()))?;
    }
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(params, &AudioDecoderOptions::default())?;
    let budget = FREE_SAMPLES.saturating_add(SAMPLES_PER_BYTE.saturating_mul(file_len));

    let mut sound = RawAudio::default();
    let mut scratch: Vec<Vec<f32>> = Vec::new();
    let mut silent_packets = 0;
    let mut damaged = 0;
    // Frames of the sound end here; those of the encoder in front of it are not counted.
    let mut limit = usize::MAX;
    let mut priming = usize::try_from(span.skip).unwrap_or(usize::MAX);
    while silent_packets < MAX_SILENT_PACKETS {
        silent_packets += 1;
        let packet = match next() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(_) => {
                sound
                    .lost
                    .push("it breaks off: what follows could not be found".to_owned());
                break;
            }
        };
        let Ok(buffer) = decoder.decode(&packet) else {
            damaged += 1;
            continue;
        };
        if buffer.frames() == 0 {
            continue;
        }
        silent_packets = 0;
        let (rate, count) = (buffer.spec().rate(), buffer.spec().channels().count());
        if sound.channels.is_empty() {
            check_layout(rate, count)?;
            sound.sample_rate = rate;
            sound.channels = vec![Vec::new(); count];
            let frames = usize::try_from(span.frames.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            limit = frames.min(wanted.end(rate));
        } else if rate != sound.sample_rate || count != sound.channels.len() {
            // A second stream chained to the first; a clip has one layout.
            sound.lost.push(format!(
                "another stream of {rate} Hz and {count} channels follows, which is not read"
            ));
            break;
        }
        buffer.copy_to_vecs_planar(&mut scratch);
        for (channel, new) in sound.channels.iter_mut().zip(&scratch) {
            channel.extend_from_slice(new);
        }
        let own = priming.min(sound.channels[0].len());
        priming -= own;
        let left = wanted.skip.saturating_sub(sound.passed);
        let unwanted = (sound.channels[0].len() - own).min(left as usize);
        for channel in &mut sound.channels {
            channel.drain(..own + unwanted);
        }
        sound.passed += unwanted as u64;
        if sound.frames() >= limit {
            break;
        }
        wanted.hand_on(&mut sound)?;
        if sound.channels[0].len() * count > MAX_SAMPLES {
            return too_long();
        }
        if (sound.frames() * count) as u64 > budget {
            return super::sound(format!(
                "expected at most {budget} samples of {file_len} bytes, found more"
            ));
        }
    }
    if damaged > 0 {
        let (parts, were) = if damaged == 1 {
            ("part", "is")
        } else {
            ("parts", "are")
        };
        sound.lost.push(format!(
            "{damaged} {parts} of it {were} damaged and could not be decoded"
        ));
    }
    let beyond = sound.frames().saturating_sub(limit);
    for channel in &mut sound.channels {
        channel.truncate(channel.len().saturating_sub(beyond));
    }
    sound.present = span.frames.unwrap_or(0);
    Ok(sound)
}
