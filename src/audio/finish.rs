//! The last steps of a rendered sound: no offset, no clicks, a sensible level.

use std::f64::consts::{PI, TAU};

use serde::{Deserialize, Serialize};

use super::Clip;

/// How loud a finished sound shall be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// The largest magnitude, dBFS.
    Peak(f32),
    /// The integrated loudness, LUFS [BS.1770], as far as the peak stays below -0.1 dBFS.
    Loudness(f32),
    /// As it came.
    Keep,
    /// As it came, without being finished in any other way either: what lies beyond full scale is cut off.
    Raw,
}

impl Default for Level {
    fn default() -> Self {
        Self::Peak(-1.0)
    }
}

/// Below this peak, -80 dBFS, a sound counts as silent and is not made louder.
const SILENCE: f32 = 1e-4;

/// The highest peak that levelling by loudness makes, -0.1 dBFS.
const CEILING_DB: f32 = -0.1;

/// How a finished sound ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Where it is cut, as a loop or a texture is: with a fade of 5 ms.
    Cut,
    /// At its length. A note that still sounds there fades, the longer the louder it is: over 5 ms at -72 dB of the
    /// peak, over 65 ms from -40 dB on.
    Faded,
    /// Where it falls below -72 dB of the peak for good, with a fade of 5 ms; a note that sounds longer fades.
    Trimmed,
}

/// Level against the peak below which the end of a sound is left out: -72 dB.
const INAUDIBLE: f32 = 2.511_886_4e-4;

/// Level against the peak from which on an end counts as cut: -40 dB.
const CUT: f32 = 0.01;

/// Fade of an end that is silent, and of one that is cut, in seconds.
const FADES: (f64, f64) = (0.005, 0.065);

/// Over which part at the end it is told how loud a sound ends, in seconds.
const LAST: f64 = 0.03;

/// Removes the offset, ends the sound, and sets the level of it.
///
/// The offset goes as [`Clip::remove_dc`] says. A start that is not near zero gets a fade of 1 ms; the end gets one as
/// `ending` says (at most half the clip), so that neither clicks. A clip that is
/// silent (peak below -80 dBFS) or holds samples that are not finite is left exactly as it came;
/// [`Level::Loudness`] also keeps the level of sounds that lie wholly below the gate of -70 LUFS.
///
/// # Errors
/// Where the peak kept the loudness below what was asked, with the LUFS that it reached, if any: the sound is finished all
/// the same.
pub fn finish(clip: &mut Clip, level: Level, ending: Ending) -> Result<(), Option<f32>> {
    if level == Level::Raw {
        let samples = clip.channels_mut().flatten();
        samples.for_each(|x| *x = x.clamp(-1.0, 1.0));
        return Ok(());
    }
    let unlevelled = match level {
        Level::Loudness(_) => Err(None),
        _ => Ok(()),
    };
    if clip.peak() < SILENCE || !clip.is_finite() {
        return unlevelled;
    }
    clip.remove_dc();
    let shortest = (FADES.0 * f64::from(clip.sample_rate())).ceil() as usize;
    let mut is_over = false;
    if ending == Ending::Trimmed {
        let threshold = INAUDIBLE * clip.peak();
        let last = |c: &Vec<f32>| c.iter().rposition(|x| x.abs() >= threshold);
        let last = clip.channels().iter().filter_map(last).max().unwrap_or(0);
        let end = last + 1 + shortest;
        is_over = end <= clip.len_frames();
        if is_over {
            *clip = clip.slice(0, end);
        }
    }

    let fade_in = (1e-3 * f64::from(clip.sample_rate())).ceil() as usize;
    // -60 dB below the peak is as near to zero as makes no click.
    let near_zero = clip.peak() * 1e-3;
    let starts_loud = clip
        .channels()
        .iter()
        .any(|c| c.first().is_some_and(|x| x.abs() > near_zero));
    let fade_in = if starts_loud {
        fade_in.min(clip.len_frames() / 2)
    } else {
        0
    };
    clip.fade(fade_in, 0);
    if is_over || ending == Ending::Cut {
        clip.fade(0, shortest.min(clip.len_frames() / 2));
    } else {
        fade_end(clip);
    }

    // An offset without sound leaves nothing behind.
    let peak = clip.peak();
    if peak < SILENCE {
        return unlevelled;
    }
    match level {
        Level::Keep | Level::Raw => Ok(()),
        Level::Peak(dbfs) => {
            clip.scale(amplitude(dbfs) / peak);
            Ok(())
        }
        Level::Loudness(lufs) => {
            let now = loudness(clip).ok_or(None)?;
            let (wanted, most) = (amplitude(lufs - now), amplitude(CEILING_DB) / peak);
            clip.scale(wanted.min(most));
            match wanted <= most {
                true => Ok(()),
                false => Err(Some(now + 20.0 * most.log10())),
            }
        }
    }
}

/// Fades the end of a sound out, the longer the louder it still is ([`Ending::Faded`]).
pub(crate) fn fade_end(clip: &mut Clip) {
    let (rate, len) = (f64::from(clip.sample_rate()), clip.len_frames());
    let last = len.saturating_sub((LAST * rate) as usize);
    let tail = |c: &Vec<f32>| c[last..].iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let tail = clip.channels().iter().map(tail).fold(0.0, f32::max);
    let level = tail / clip.peak().max(f32::MIN_POSITIVE);
    let fraction = (level / INAUDIBLE).max(1.0).ln() / (CUT / INAUDIBLE).ln();
    let seconds = FADES.0 + (FADES.1 - FADES.0) * f64::from(fraction.min(1.0));
    clip.fade(0, ((seconds * rate).ceil() as usize).min(len / 2));
}

/// Decibels to a factor on amplitudes.
pub(crate) fn amplitude(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// Integrated loudness in LUFS [BS.1770]: K-weighted power in blocks of 400 ms every 100 ms, gated
/// at -70 LUFS and then 10 LU below the mean of what is left.
///
/// A clip shorter than one block counts as followed by silence. All channels weigh alike, which is
/// the standard for mono and stereo. `None` when no block passes the gate.
#[must_use]
pub fn loudness(clip: &Clip) -> Option<f32> {
    let rate = f64::from(clip.sample_rate());
    // A tenth of a second; blocks are four of them.
    let step = ((rate / 10.0).round() as usize).max(1);
    let frames = clip.len_frames();
    let blocks = frames.saturating_sub(4 * step).div_euclid(step) + 1;

    let mut steps = energies(clip, step);
    steps.resize(blocks + 3, 0.0);
    let powers: Vec<f64> = steps
        .windows(4)
        .map(|four| four.iter().sum::<f64>() / (4 * step) as f64)
        .collect();
    let mean_above = |gate: f64| {
        let passed = || powers.iter().filter(|&&p| lufs(p) > gate);
        (passed().count() > 0).then(|| passed().sum::<f64>() / passed().count() as f64)
    };
    let relative_gate = lufs(mean_above(-70.0)?) - 10.0;
    mean_above(relative_gate.max(-70.0)).map(|power| lufs(power) as f32)
}

/// The highest momentary loudness in LUFS [BS.1770]: K-weighted power over 400 ms, which begin every 50 ms.
///
/// The clip counts as followed by silence, and all channels weigh alike, as for [`loudness`]. `None` of what does not
/// pass -70 LUFS.
#[must_use]
pub fn momentary_loudness(clip: &Clip) -> Option<f32> {
    let step = ((f64::from(clip.sample_rate()) / 20.0).round() as usize).max(1);
    let mut steps = energies(clip, step);
    steps.resize(steps.len() + 7, 0.0);
    let energies = steps.windows(8).map(|eight| eight.iter().sum::<f64>());
    let highest = lufs(energies.fold(0.0, f64::max) / (8 * step) as f64);
    (highest > -70.0).then_some(highest as f32)
}

/// The sums of squares of K-weighted samples, of all channels together, in successive steps of so many frames; the last
/// may be cut short.
fn energies(clip: &Clip, step: usize) -> Vec<f64> {
    let mut sums = vec![0f64; clip.len_frames().div_ceil(step)];
    for channel in clip.channels() {
        let (mut shelf, mut high_pass) = k_weighting(clip.sample_rate().into());
        for (sum, samples) in sums.iter_mut().zip(channel.chunks(step)) {
            for &x in samples {
                let y = high_pass.next(shelf.next(f64::from(x)));
                *sum += y * y;
            }
        }
    }
    sums
}

/// K-weighted power to LUFS.
fn lufs(power: f64) -> f64 {
    -0.691 + 10.0 * power.log10()
}

/// A second-order section in transposed direct form II.
struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    fn next(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.state[0];
        self.state[0] = self.b[1] * x - self.a[0] * y + self.state[1];
        self.state[1] = self.b[2] * x - self.a[1] * y;
        y
    }
}

/// The two filters of K-weighting at any rate [BS.1770, Tables 1 and 2].
///
/// The standard lists coefficients for 48 kHz only; these are the analogue filters behind them
/// [De Man 2018], brought to `rate` by the bilinear transform. At 48 kHz they equal the tables.
fn k_weighting(rate: f64) -> (Biquad, Biquad) {
    // Below 4 kHz the shelf's corner would fall beyond the bandwidth, where it has no meaning.
    let warp = |hz: f64| (PI * (hz / rate).min(0.45)).tan();

    // A shelf of 4 dB: the head.
    let (k, q) = (warp(1681.974450955533), 0.7071752369554196);
    let high = 10f64.powf(3.999843853973347 / 20.0);
    let band = high.powf(0.4996667741545416);
    let a0 = 1.0 + k / q + k * k;
    let shelf = Biquad {
        b: [
            (high + band * k / q + k * k) / a0,
            2.0 * (k * k - high) / a0,
            (high - band * k / q + k * k) / a0,
        ],
        a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0],
        state: [0.0; 2],
    };

    // A high-pass: the ear's deafness to lows.
    let (k, q) = (warp(38.13547087602444), 0.5003270373238773);
    let a0 = 1.0 + k / q + k * k;
    let high_pass = Biquad {
        b: [1.0, -2.0, 1.0],
        a: [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0],
        state: [0.0; 2],
    };
    (shelf, high_pass)
}

/// See [`Clip::remove_dc`].
pub(super) fn remove_dc(channel: &mut [f32], sample_rate: u32) {
    if channel.is_empty() {
        return;
    }
    let mut sorted = channel.to_vec();
    let middle = sorted.len() / 2;
    let offset = f64::from(*sorted.select_nth_unstable_by(middle, f32::total_cmp).1);
    let pole = 1.0 / (1.0 + TAU * 5.0 / f64::from(sample_rate));
    let (mut last_x, mut y) = (0.0, 0.0);
    for x in channel {
        let centred = f64::from(*x) - offset;
        y = pole * (y + centred - last_x);
        last_x = centred;
        *x = y as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f64, amplitude: f64, frames: usize) -> Vec<f32> {
        let step = TAU * hz / f64::from(rate);
        (0..frames)
            .map(|n| (amplitude * (step * n as f64).sin()) as f32)
            .collect()
    }

    fn mean(x: &[f32]) -> f64 {
        x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64
    }

    #[test]
    fn k_weighting_at_48_khz_equals_the_standard() {
        let (shelf, high_pass) = k_weighting(48000.0);
        // ITU-R BS.1770-4, Tables 1 and 2.
        let want = [
            1.53512485958697,
            -2.69169618940638,
            1.19839281085285,
            -1.69065929318241,
            0.73248077421585,
            -1.99004745483398,
            0.99007225036621,
        ];
        let got = shelf.b.iter().chain(&shelf.a).chain(&high_pass.a);
        for (got, want) in got.zip(want) {
            assert!((got - want).abs() < 1e-8, "{got} {want}");
        }
    }

    #[test]
    fn a_sine_has_the_loudness_the_standard_states() {
        // A 0 dBFS sine of 997 Hz in one channel is -3.01 LUFS [BS.1770]; two channels add 3.01.
        for rate in [44100, 48000, 96000] {
            let tone = sine(rate, 997.0, 0.1, 2 * rate as usize);
            let mono = loudness(&Clip::new(rate, vec![tone.clone()])).unwrap();
            let stereo = loudness(&Clip::new(rate, vec![tone.clone(), tone])).unwrap();
            assert!((mono + 23.01).abs() < 0.02, "{rate}: {mono}");
            assert!((stereo + 20.0).abs() < 0.02, "{rate}: {stereo}");
        }
    }

    #[test]
    fn momentary_loudness_is_that_of_the_loudest_400_ms() {
        let rate = 48_000;
        for (seconds, want) in [(2.0, -23.01), (0.4, -23.01), (0.1, -29.03)] {
            let frames = (seconds * f64::from(rate)) as usize;
            // Between two that are softer, from a place where a window begins.
            let mut samples = sine(rate, 997.0, 0.001, rate as usize);
            samples.extend(sine(rate, 997.0, 0.1, frames));
            samples.extend(sine(rate, 997.0, 0.001, rate as usize));
            let got = momentary_loudness(&Clip::new(rate, vec![samples])).unwrap();
            assert!((got - want).abs() < 0.1, "{seconds} s: {got}, {want}");
        }
        for soft in [vec![], vec![0.0; 100], sine(rate, 997.0, 2e-4, 48_000)] {
            assert_eq!(momentary_loudness(&Clip::new(rate, vec![soft])), None);
        }
    }

    #[test]
    fn loudness_of_the_ebus_stationary_and_gated_tones_is_minus_23_lufs() {
        // EBU Tech 3341 (2023), Table 1, cases 1 to 5: a sine of 1 kHz in both channels, in dBFS and seconds, and the
        // integrated loudness, to 0.1 LU. Case 6 has five channels.
        let cases: [(&[(f64, f64)], f32); 5] = [
            (&[(-23.0, 20.0)], -23.0),
            (&[(-33.0, 20.0)], -33.0),
            (&[(-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)], -23.0),
            (
                &[
                    (-72.0, 10.0),
                    (-36.0, 10.0),
                    (-23.0, 60.0),
                    (-36.0, 10.0),
                    (-72.0, 10.0),
                ],
                -23.0,
            ),
            (&[(-26.0, 20.0), (-20.0, 20.1), (-26.0, 20.0)], -23.0),
        ];
        for (rate, cases) in [(48_000, &cases[..]), (44_100, &cases[4..])] {
            for (i, (tones, want)) in cases.iter().enumerate() {
                let mut samples: Vec<f32> = Vec::new();
                for &(dbfs, seconds) in *tones {
                    let frames = (seconds * f64::from(rate)).round() as usize;
                    samples.extend(sine(rate, 1000.0, 10f64.powf(dbfs / 20.0), frames));
                }
                let got = loudness(&Clip::new(rate, vec![samples.clone(), samples])).unwrap();
                assert!((got - want).abs() <= 0.1, "{rate} Hz, {i}: {got}, {want}");
            }
        }
    }

    #[test]
    fn loudness_ignores_pauses_and_hears_short_sounds() {
        let tone = sine(48000, 997.0, 0.1, 48000);
        let mut paused = tone.clone();
        paused.extend(vec![0.0; 480_000]);
        let (whole, with_pause) = (
            loudness(&Clip::new(48000, vec![tone.clone()])).unwrap(),
            loudness(&Clip::new(48000, vec![paused])).unwrap(),
        );
        // The blocks that reach into the pause pass the gate and weigh a little.
        assert!((whole - with_pause).abs() < 1.0, "{whole} {with_pause}");
        // A quarter of a block has a quarter of the power.
        let short = loudness(&Clip::new(48000, vec![tone[..4800].to_vec()])).unwrap();
        assert!((short - (whole - 6.02)).abs() < 0.1, "{short} {whole}");
        assert_eq!(loudness(&Clip::new(48000, vec![vec![0.0; 48000]])), None);
        assert_eq!(loudness(&Clip::new(1, vec![vec![]])), None);
    }

    #[test]
    fn offset_is_removed_and_the_kick_keeps_its_bass() {
        let rate = 44100;
        let kick: Vec<f32> = sine(rate, 45.0, 0.8, rate as usize)
            .iter()
            .enumerate()
            .map(|(n, x)| x * (-(n as f32) / 8000.0).exp())
            .collect();
        let shifted: Vec<f32> = kick.iter().map(|x| x + 0.1).collect();
        let mut clip = Clip::new(rate, vec![shifted]);
        clip.remove_dc();
        let after = &clip.channels()[0];
        assert!(mean(after).abs() < 5e-4, "{}", mean(after));
        assert!(after[rate as usize - 1].abs() < 1e-3);
        let energy = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>();
        let db = 10.0 * (energy(after) / energy(&kick)).log10();
        assert!(db.abs() < 0.15, "{db} dB");
    }

    #[test]
    fn silence_before_the_onset_stays_silent() {
        let mut sound = vec![0f32; 1000];
        sound.extend(sine(44100, 60.0, 0.9, 500));
        sound.extend(vec![0f32; 1000]);
        let mut clip = Clip::new(44100, vec![sound]);
        clip.remove_dc();
        assert!(clip.channels()[0][..1000].iter().all(|&x| x == 0.0));
    }

    #[test]
    fn finished_sounds_start_and_end_at_zero_with_the_wanted_peak() {
        // Starts and ends in full swing, off centre.
        let loud: Vec<f32> = sine(48000, 440.0, 0.3, 9700)
            .iter()
            .map(|x| x + 0.25)
            .collect();
        let mut clip = Clip::new(48000, vec![loud[30..].to_vec(), loud[..9670].to_vec()]);
        assert_eq!(finish(&mut clip, Level::default(), Ending::Cut), Ok(()));
        for channel in clip.channels() {
            assert_eq!(channel[0], 0.0);
            assert_eq!(channel[channel.len() - 1], 0.0);
            let largest_step = channel.windows(2).map(|w| (w[1] - w[0]).abs());
            assert!(largest_step.fold(0.0, f32::max) < 0.1);
        }
        assert!((clip.peak() - 0.8912509).abs() < 1e-5, "{}", clip.peak());
    }

    #[test]
    fn an_onset_at_zero_is_not_faded() {
        let tone = sine(48000, 440.0, 0.5, 9600);
        let mut clip = Clip::new(48000, vec![tone.clone()]);
        assert_eq!(finish(&mut clip, Level::Keep, Ending::Cut), Ok(()));
        // Only the high-pass has touched it: by up to 2 · 5 Hz / 440 Hz of the amplitude.
        for (n, want) in tone.iter().enumerate().take(48) {
            assert!((clip.channels()[0][n] - want).abs() < 0.012, "{n}");
        }
    }

    #[test]
    fn loudness_level_is_met_or_stopped_by_the_peak() {
        let tone = sine(48000, 997.0, 0.02, 48000);
        let mut clip = Clip::new(48000, vec![tone.clone(), tone.clone()]);
        assert_eq!(
            finish(&mut clip, Level::Loudness(-20.0), Ending::Cut),
            Ok(())
        );
        assert!((loudness(&clip).unwrap() + 20.0).abs() < 0.05);
        let mut clip = Clip::new(48000, vec![tone]);
        let reached = finish(&mut clip, Level::Loudness(3.0), Ending::Cut)
            .unwrap_err()
            .unwrap();
        assert!(
            (loudness(&clip).unwrap() - reached).abs() < 0.05,
            "{reached}"
        );
        assert!((clip.peak() - 0.988_553_1).abs() < 1e-5, "{}", clip.peak());
    }

    #[test]
    fn silence_dust_and_broken_samples_are_left_alone() {
        let dust = sine(48000, 440.0, 0.9e-4, 4800);
        for channel in [vec![0.0; 4800], dust, vec![0.1, f32::NAN, 0.2], vec![]] {
            let before = Clip::new(48000, vec![channel]);
            for level in [Level::Peak(-1.0), Level::Loudness(-14.0), Level::Keep] {
                let mut clip = before.clone();
                let levelled = finish(&mut clip, level, Ending::Trimmed);
                assert_eq!(levelled.is_err(), matches!(level, Level::Loudness(_)));
                let bits = |c: &Clip| {
                    c.channels()[0]
                        .iter()
                        .map(|x| x.to_bits())
                        .collect::<Vec<_>>()
                };
                assert_eq!(bits(&clip), bits(&before));
            }
        }
        // An offset alone leaves silence, not a boosted remainder.
        let mut clip = Clip::new(48000, vec![vec![0.5; 4800]]);
        assert_eq!(finish(&mut clip, Level::Peak(-1.0), Ending::Cut), Ok(()));
        assert_eq!(clip.peak(), 0.0);
        let mut one = Clip::new(48000, vec![vec![0.5]]);
        assert_eq!(finish(&mut one, Level::Peak(-1.0), Ending::Trimmed), Ok(()));
        assert!(one.is_finite());
    }

    #[test]
    fn a_sound_ends_where_it_is_72_db_down_and_a_cut_note_fades() {
        let rate = 44_100;
        let falling = |db_per_second: f64| -> Clip {
            let tone = sine(rate, 500.0, 0.5, rate as usize);
            let fall = |n: usize| 10f64.powf(-db_per_second * n as f64 / f64::from(rate) / 20.0);
            let samples = tone.iter().enumerate().map(|(n, x)| x * fall(n) as f32);
            Clip::new(rate, vec![samples.collect()])
        };
        // 72 dB down after 0.36 s.
        let mut short = falling(200.0);
        assert_eq!(
            finish(&mut short, Level::default(), Ending::Trimmed),
            Ok(())
        );
        assert!(
            (short.seconds() - 0.365).abs() < 0.003,
            "{}",
            short.seconds()
        );
        let mut whole = falling(200.0);
        assert_eq!(finish(&mut whole, Level::default(), Ending::Faded), Ok(()));
        assert_eq!(whole.len_frames(), rate as usize);
        let before = short.len_frames() - 240;
        assert!(whole.channels()[0][..before] == short.channels()[0][..before]);

        // The fraction that the last milliseconds keep of a tone that does not end.
        let kept = |ending, seconds: f64| {
            let (mut cut, mut not) = (falling(10.0), falling(10.0));
            assert_eq!(finish(&mut cut, Level::Keep, ending), Ok(()));
            not.remove_dc();
            let from = ((1.0 - seconds) * f64::from(rate)) as usize;
            let peak = |clip: &Clip| {
                let part = &clip.channels()[0][from..from + 100];
                part.iter().fold(0.0f32, |m, x| m.max(x.abs()))
            };
            peak(&cut) / peak(&not)
        };
        for ending in [Ending::Faded, Ending::Trimmed] {
            // A raised cosine over 65 ms is half way down 32.5 ms before its end.
            assert!((kept(ending, 0.0325 + 0.001) - 0.5).abs() < 0.06);
            assert!(kept(ending, 0.068) > 0.999);
        }
        assert!(kept(Ending::Cut, 0.008) > 0.999);
    }
}
