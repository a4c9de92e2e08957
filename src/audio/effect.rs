//! Effects: a sound played faster or slower, tilted, faded, or moved so that its onset lies at a place.

use std::f32::consts::PI;
use std::ops::Range;

use super::Clip;
use super::sinc::windowed_sinc;

/// Frequency at which a tilt leaves the level alone unless there is a reason for another, Hz.
pub(crate) const TILT_PIVOT_HZ: f32 = 1000.0;

/// The clip read along another time, `len_frames` long: frame `n` is what stood at frame `place(n)`, between the frames
/// too; past either end there is silence. Pitch and time change together, as on tape.
///
/// Windowed-sinc interpolation between 512 stored phases, of 32 taps up to a speed of 1.5, above in proportion.
/// `fastest` is the highest speed, of which the cutoff follows, so that next to nothing folds back. `place` must not
/// fall.
pub(crate) fn varispeed(
    clip: &Clip,
    fastest: f64,
    len_frames: usize,
    place: impl Fn(usize) -> f64,
) -> Clip {
    const PHASES: usize = 512;
    let taps = 32 * (fastest / 1.5).ceil().max(1.0) as usize;
    let cutoff = (1.0 / fastest as f32).min(1.0) * 0.93;
    // Row p holds the filter for a point p/PHASES behind tap taps/2 - 1; each sums to one.
    let mut table = vec![0.0f32; (PHASES + 1) * taps];
    for (p, row) in table.chunks_exact_mut(taps).enumerate() {
        for (tap, weight) in row.iter_mut().enumerate() {
            let x = tap as f32 - (taps / 2 - 1) as f32 - p as f32 / PHASES as f32;
            // Side lobes at -70 dB.
            *weight = windowed_sinc(x, cutoff, (taps / 2) as f32, 7.0);
        }
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight /= sum);
    }
    let lead = taps + (-place(0)).max(0.0).ceil() as usize;
    let channels = clip.channels().iter().map(|channel| {
        let mut padded = vec![0.0; lead + channel.len() + taps];
        padded[lead..lead + channel.len()].copy_from_slice(channel);
        let mut out = vec![0.0; len_frames];
        for (n, y) in out.iter_mut().enumerate() {
            let position = lead as f64 + place(n);
            let whole = position as usize;
            let first = whole + 1 - taps / 2;
            let Some(window) = padded.get(first..first + taps) else {
                break;
            };
            let phase = (position - whole as f64) as f32 * PHASES as f32;
            let row = (phase as usize).min(PHASES - 1);
            let between = phase - row as f32;
            let (a, b) = table[row * taps..(row + 2) * taps].split_at(taps);
            let mut sums = [0.0f32; 2];
            for ((x, a), b) in window.iter().zip(a).zip(b) {
                sums[0] += x * a;
                sums[1] += x * b;
            }
            *y = sums[0] + between * (sums[1] - sums[0]);
        }
        out
    });
    Clip::new(clip.sample_rate(), channels.collect())
}

/// Raises the treble and lowers the bass, or the reverse, around `pivot_hz`: a decade above gains `tilt_db` against a
/// decade below, half of it on either side.
///
/// A first-order tilt, `(G s + 1) / (s + G)` with s in units of the pivot, by the bilinear transform.
pub(crate) fn tilt(clip: &mut Clip, tilt_db: f32, pivot_hz: f32) {
    // A pivot beyond a quarter of a low sample rate would leave nothing above it.
    let turn = (pivot_hz / clip.sample_rate() as f32).min(0.25);
    let k = (PI * turn).tan();
    let g = 10f32.powf(tilt_db / 40.0);
    let a0 = 1.0 + g * k;
    let (b0, b1, a1) = ((g + k) / a0, (k - g) / a0, (g * k - 1.0) / a0);
    for channel in clip.channels_mut() {
        let mut state = 0.0;
        for x in channel {
            let y = b0 * *x + state;
            state = b1 * *x - a1 * y;
            *x = y;
        }
    }
}

/// At most `len_frames` of the clip, from where its onset, which is at frame `onset`, lies at frame `lead_in`: silence
/// is put in front, or what lies earlier left out, and what is left of it fades in. `len_frames` is at least `lead_in`.
pub(crate) fn align_onset(clip: &Clip, onset: usize, lead_in: usize, len_frames: usize) -> Clip {
    let rise = onset.min(lead_in);
    let (pad, start) = (lead_in - rise, onset - rise);
    let end = clip
        .len_frames()
        .min(start.saturating_add(len_frames - pad));
    let channels = clip.channels().iter().map(|channel| {
        let mut aligned = vec![0.0; pad];
        aligned.extend_from_slice(&channel[start..end]);
        aligned
    });
    let mut aligned = Clip::new(clip.sample_rate(), channels.collect());
    fade(&mut aligned, pad..lead_in, true);
    aligned
}

/// Fades in (`rising`) or out over a range of frames, along a raised cosine.
pub(crate) fn fade(clip: &mut Clip, frames: Range<usize>, rising: bool) {
    let length = frames.len() as f32;
    for channel in clip.channels_mut() {
        for (n, x) in channel[frames.clone()].iter_mut().enumerate() {
            let place = (n as f32 + 0.5) / length;
            let place = if rising { place } else { 1.0 - place };
            *x *= 0.5 - 0.5 * (PI * place).cos();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const RATE: u32 = 44_100;

    pub(crate) fn sine(hz: f64, frames: usize) -> Clip {
        let wave = |n| (std::f64::consts::TAU * hz * n as f64 / f64::from(RATE)).sin() as f32;
        Clip::new(RATE, vec![(0..frames).map(wave).collect()])
    }

    /// Root mean square away from the edges.
    pub(crate) fn level(clip: &Clip) -> f64 {
        let middle = &clip.channels()[0][2000..clip.len_frames() - 2000];
        (middle.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / middle.len() as f64).sqrt()
    }

    #[test]
    fn a_sine_read_four_times_as_fast_is_two_octaves_higher_and_nothing_folds_back() {
        let fast = |hz| varispeed(&sine(hz, 80_000), 4.0, 18_000, |n| 4.0 * n as f64);
        let (moved, wanted) = (fast(1000.0), sine(4000.0, 18_000));
        let pairs = moved.channels()[0].iter().zip(&wanted.channels()[0]);
        let error = Clip::new(RATE, vec![pairs.map(|(a, b)| a - b).collect()]);
        let error = 20.0 * (level(&error) / level(&wanted)).log10();
        assert!(error < -65.0, "{error} dB");
        let folded = 20.0 * level(&fast(7000.0)).log10();
        assert!(folded < -60.0, "{folded} dB");
    }

    #[test]
    fn an_onset_lies_where_it_is_wanted_and_what_precedes_it_fades_in() {
        let clip = Clip::new(RATE, vec![vec![0.5, 0.5, 0.5, 1.0, 0.8, 0.6]]);
        let aligned = |lead_in, len| align_onset(&clip, 3, lead_in, len).channels()[0].clone();
        assert_eq!(aligned(0, 9), [1.0, 0.8, 0.6]);
        assert_eq!(aligned(0, 2), [1.0, 0.8]);
        let (early, late) = (aligned(2, 4), aligned(5, 7));
        assert_eq!((early[2], early[3], early.len()), (1.0, 0.8, 4));
        assert_eq!((&late[..2], late[5], late.len()), (&[0.0; 2][..], 1.0, 7));
        // A raised cosine at a quarter and at three quarters of its way.
        let quarter = 0.5 - 0.5 * (PI / 4.0).cos();
        assert!((early[0] - 0.5 * quarter).abs() < 1e-7, "{early:?}");
        assert!((early[1] - 0.5 * (1.0 - quarter)).abs() < 1e-7, "{early:?}");
    }

    #[test]
    fn tilt_changes_10_khz_against_100_hz_by_its_db() {
        for tilt_db in [-3.0, 1.5, 3.0] {
            let change = |hz| {
                let mut clip = sine(hz, 30_000);
                let before = level(&clip);
                tilt(&mut clip, tilt_db, TILT_PIVOT_HZ);
                20.0 * (level(&clip) / before).log10()
            };
            let difference = change(10_000.0) - change(100.0);
            assert!(
                (difference - f64::from(tilt_db)).abs() < 0.1,
                "{tilt_db} dB asked, {difference} dB measured"
            );
            assert!(
                change(1000.0).abs() < 0.02,
                "the pivot moved by {} dB",
                change(1000.0)
            );
        }
    }
}
