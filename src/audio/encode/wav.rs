//! WAV files.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::{BitDepth, SOFTWARE, Tags, integers, interleaved};
use crate::audio::Clip;

/// The format tags of integers and of floats.
const PCM: u16 = 1;
const FLOAT: u16 = 3;

/// The clip as a WAV file: its samples at byte 44 where there are one or two channels of integers, its tags behind them.
pub(super) fn encode(clip: &Clip, depth: BitDepth, tags: &Tags) -> Result<Vec<u8>, String> {
    let spec = WavSpec {
        channels: clip.channels().len() as u16,
        sample_rate: clip.sample_rate(),
        bits_per_sample: depth.bits(),
        sample_format: match depth {
            BitDepth::Float32 => SampleFormat::Float,
            BitDepth::Int16 | BitDepth::Int24 => SampleFormat::Int,
        },
    };
    let mut bytes = Cursor::new(Vec::new());
    let fail = |e: hound::Error| format!("cannot be written as WAV: {e}");
    let mut writer = WavWriter::new(&mut bytes, spec).map_err(fail)?;
    match depth {
        BitDepth::Float32 => interleaved(clip.channels()).try_for_each(|x| writer.write_sample(x)),
        BitDepth::Int16 | BitDepth::Int24 => {
            interleaved(&integers(clip, depth)).try_for_each(|x| writer.write_sample(x))
        }
    }
    .map_err(fail)?;
    writer.finalize().map_err(fail)?;
    let mut file = match clip.channels().len() {
        1 | 2 => plain(bytes.get_ref(), spec)?,
        _ => bytes.into_inner(),
    };
    for (id, content) in chunks(tags) {
        // Chunks begin at even places.
        file.resize(file.len().next_multiple_of(2), 0);
        push(&mut file, id, &content);
    }
    let len = file.len().next_multiple_of(2);
    file.resize(len, 0);
    file[4..8].copy_from_slice(&((len - 8) as u32).to_le_bytes());
    Ok(file)
}

/// The same with a header that every reader knows. hound gives all samples of more than 16 bits the extensible form,
/// which Python's own `wave` refuses before 3.12.
fn plain(extensible: &[u8], spec: WavSpec) -> Result<Vec<u8>, String> {
    let data = extensible.windows(4).position(|id| id == b"data");
    let data = data.and_then(|at| extensible.get(at + 8..));
    let data = data.ok_or("cannot be written as WAV: expected a data chunk, found none")?;
    let frame_len = spec.channels * spec.bits_per_sample / 8;
    let mut file = Vec::with_capacity(data.len() + 1024);
    file.extend(b"RIFF\0\0\0\0WAVE");
    let mut format = Vec::new();
    let is_float = spec.sample_format == SampleFormat::Float;
    format.extend(if is_float { FLOAT } else { PCM }.to_le_bytes());
    format.extend(spec.channels.to_le_bytes());
    format.extend(spec.sample_rate.to_le_bytes());
    format.extend((spec.sample_rate * u32::from(frame_len)).to_le_bytes());
    format.extend(frame_len.to_le_bytes());
    format.extend(spec.bits_per_sample.to_le_bytes());
    let frames = data.len() / usize::from(frame_len);
    let samples = &data[..frames * usize::from(frame_len)];
    if is_float {
        // All but integers tell that the format has no more, and how many frames there are.
        format.extend([0, 0]);
        push(&mut file, b"fmt ", &format);
        push(&mut file, b"fact", &(frames as u32).to_le_bytes());
    } else {
        push(&mut file, b"fmt ", &format);
    }
    push(&mut file, b"data", samples);
    Ok(file)
}

fn push(file: &mut Vec<u8>, id: &[u8; 4], content: &[u8]) {
    file.extend(id);
    file.extend((content.len() as u32).to_le_bytes());
    file.extend(content);
}

/// The chunks that say what `tags` do: a list of texts, and the key of a sampler.
fn chunks(tags: &Tags) -> Vec<(&'static [u8; 4], Vec<u8>)> {
    let mut chunks: Vec<(&[u8; 4], _)> = Vec::new();
    let texts: [(&[u8; 4], &Option<String>); 2] =
        [(b"INAM", &tags.title), (b"ICMT", &tags.comment)];
    if texts.iter().any(|(_, text)| text.is_some()) {
        let mut list = b"INFO".to_vec();
        let software = Some(SOFTWARE.to_owned());
        for (id, text) in texts.into_iter().chain([(b"ISFT", &software)]) {
            let Some(text) = text else { continue };
            let mut text = Tags::line(text).into_bytes();
            text.push(0);
            push(&mut list, id, &text);
            list.resize(list.len().next_multiple_of(2), 0);
        }
        chunks.push((b"LIST", list));
    }
    if let Some((note, above)) = tags.root() {
        // Maker, product, period, note and how far above it, two of time code, loops and more: none.
        let fraction = (above * 2f64.powi(32)) as u32;
        let words = [0, 0, 0, u32::from(note), fraction, 0, 0, 0, 0];
        let sampler = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        chunks.push((b"smpl", sampler));
    }
    chunks
}
