//! Change of sample rate.

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Resampler};

use super::{Clip, MAX_SAMPLE_RATE, MAX_SAMPLES};
use crate::error::{Error, Result};

/// Taps of the filter, counted at the lower of the two rates.
///
/// The filter's edge is about 14 / taps of the bandwidth wide on either side of its cutoff, which
/// itself lies 14 / taps below the limit; 1024 keep 20 kHz untouched at 44.1 kHz.
const TAPS: usize = 1024;
/// Largest sample that is resampled.
const LOUDEST: f32 = 1e30;

/// See [`Clip::resampled`].
pub(super) fn resample(clip: &Clip, rate: u32) -> Result<Clip> {
    let from = clip.sample_rate();
    if rate == from {
        return Ok(clip.clone());
    }
    for r in [from, rate] {
        if !(1..=MAX_SAMPLE_RATE).contains(&r) {
            return Err(Error::setting(format!(
                "expected sample rates of 1 to {MAX_SAMPLE_RATE} Hz, found {r} Hz"
            )));
        }
    }
    let frames = clip.len_frames();
    let channels = clip.channels();
    // The transform would overflow, and the library panics on what is not a number.
    if !channels.iter().flatten().all(|x| x.abs() <= LOUDEST) {
        return Err(Error::setting(format!(
            "cannot resample from {from} Hz to {rate} Hz: expected finite samples up to {LOUDEST:e}"
        )));
    }
    let wanted = length(frames, from, rate);
    if wanted.saturating_mul(channels.len()) > MAX_SAMPLES {
        return Err(Error::setting(format!(
            "{frames} frames at {from} Hz are too long to be resampled to {rate} Hz: \
             expected at most {MAX_SAMPLES} samples, found {wanted} in {} channels",
            channels.len()
        )));
    }
    if frames == 0 {
        return Ok(Clip::new(rate, channels.to_vec()));
    }

    // One block of the FFT is `blocks` times the smallest pair of lengths in the exact ratio.
    // An even number of them puts the filter's centre on a sample of both rates: the delay is then
    // a whole number of frames and can be taken off exactly.
    let common = gcd(from, rate);
    let (step_in, step_out) = ((from / common) as usize, (rate / common) as usize);
    let mut blocks = TAPS.div_ceil(step_in.min(step_out)).next_multiple_of(2);
    // Ratios like 1 Hz to 44.1 kHz would make blocks of millions of frames: shorter filters then.
    while blocks > 2 && blocks * step_in.max(step_out) > 1 << 20 {
        blocks = (blocks / 2).next_multiple_of(2);
    }
    let fail = |e: &dyn std::fmt::Display| {
        Error::setting(format!("cannot resample from {from} Hz to {rate} Hz: {e}"))
    };
    let mut resampler = Fft::<f32>::new_custom(
        from as usize,
        rate as usize,
        blocks * step_in,
        1,
        channels.len(),
        rubato::WindowFunction::BlackmanHarris2,
        FixedSync::Both,
    )
    .map_err(|e| fail(&e))?;
    let room = resampler.process_all_needed_output_len(frames);
    let mut output = vec![vec![0f32; room]; channels.len()];
    let input =
        SequentialSliceOfVecs::new(channels, channels.len(), frames).map_err(|e| fail(&e))?;
    let mut target =
        SequentialSliceOfVecs::new_mut(&mut output, channels.len(), room).map_err(|e| fail(&e))?;
    resampler
        .process_all_into_buffer(&input, &mut target, frames, None)
        .map_err(|e| fail(&e))?;
    for channel in &mut output {
        channel.truncate(wanted);
        channel.shrink_to_fit();
    }
    Ok(Clip::new(rate, output))
}

/// `frames · to / from`, rounded; at least 1 unless there are none.
fn length(frames: usize, from: u32, to: u32) -> usize {
    let exact = (frames as u128 * u128::from(to) + u128::from(from) / 2) / u128::from(from);
    usize::try_from(exact)
        .unwrap_or(usize::MAX)
        .max(frames.min(1))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
