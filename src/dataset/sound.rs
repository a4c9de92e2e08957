//! One sound: what it is like, and how it is brought to the model's format.

use super::Crop;
use super::augment::{self, Change};
use super::report::{Action, IssueKind};
use crate::attributes::Attributes;
use crate::audio::{Clip, Measures, effect, onset};
use crate::error::Result;
use crate::representation::{Format, PEAK};

/// A window of a long file may be raised by this at most, so that its pauses stay quiet: 40 dB.
const MOST_GAIN: f32 = 100.0;
/// Sounds below this are silence: -60 dB of full scale.
const SILENCE: f32 = 0.001;
/// Values beyond this, +120 dB of full scale, are no sound; sums and gains of what is below stay finite.
const LOUDEST: f32 = 1e6;
/// An offset is remarked on, and removed, from this part of the peak on.
const OFFSET: f32 = 0.01;
const SHORTEST_SECONDS: f64 = 0.005;
/// Full scale of 16 bits, rounding aside, and how long a wave must stay there to count as clipped.
const FULL_SCALE: f32 = 32_766.0 / 32_768.0;
const CLIPPED_RUN: usize = 8;
/// How much more than a clip's length is kept of a sound, so that it can be played faster: 4 semitones.
const SPARE: f64 = 1.26;

/// Something to say about a sound.
pub(super) type Remark = (IssueKind, String, Action);

/// Looks at a freshly decoded sound, removes its offset, and says what is odd about it.
///
/// A remark whose action is [`Action::Skipped`] means that the sound cannot be used.
pub(super) fn examine(clip: &mut Clip) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if clip.len_frames() == 0 {
        return vec![(
            IssueKind::Empty,
            "it holds no audio".into(),
            Action::Skipped,
        )];
    }
    let strange = clip
        .channels()
        .iter()
        .flatten()
        .filter(|&&x| x.is_nan() || x.abs() > LOUDEST)
        .count();
    if strange > 0 {
        let values = clip.len_frames() * clip.channels().len();
        let detail =
            format!("{strange} of {values} values are not numbers, infinite or beyond {LOUDEST:e}");
        return vec![(IssueKind::NotFinite, detail, Action::Skipped)];
    }
    if clip.seconds() < SHORTEST_SECONDS {
        let detail = format!(
            "{} frames are {:.2} ms, expected at least {:.0} ms",
            clip.len_frames(),
            1e3 * clip.seconds(),
            1e3 * SHORTEST_SECONDS
        );
        return vec![(IssueKind::TooShort, detail, Action::Skipped)];
    }
    let runs = clipped_runs(clip);
    if runs > 0 {
        let detail =
            format!("full scale is held for {CLIPPED_RUN} or more frames in {runs} places");
        remarks.push((IssueKind::Clipped, detail, Action::Kept));
    }
    let peak = clip.peak();
    let mut worst = 0.0f32;
    for channel in clip.channels_mut() {
        let offset = offset(channel);
        if offset.abs() > OFFSET * peak {
            channel.iter_mut().for_each(|x| *x -= offset);
            worst = if offset.abs() > worst.abs() {
                offset
            } else {
                worst
            };
        }
    }
    if worst != 0.0 {
        let detail = format!("its values lie around {worst:.4}, its peak at {peak:.4}");
        remarks.push((IssueKind::DcOffset, detail, Action::DcRemoved));
    }
    let peak = clip.peak();
    if peak < SILENCE {
        let level = if peak > 0.0 {
            format!("its peak is {:.1} dB", 20.0 * peak.log10())
        } else {
            "it holds nothing but zeros".into()
        };
        let offset = if worst == 0.0 {
            String::new()
        } else {
            format!(" beside an offset of {worst:.4}")
        };
        let limit = 20.0 * SILENCE.log10();
        let detail =
            format!("{level}{offset}, expected a peak of {limit:.0} dB of full scale or more");
        return vec![(IssueKind::Silent, detail, Action::Skipped)];
    }
    remarks
}

/// The name of a sound by its content: rate, channels and every value.
pub(super) fn content(clip: &Clip) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&clip.sample_rate().to_le_bytes());
    hasher.update(&(clip.channels().len() as u64).to_le_bytes());
    let mut buffer = Vec::with_capacity(4 * 16_384);
    for channel in clip.channels() {
        for part in channel.chunks(16_384) {
            buffer.clear();
            // Adding zero makes -0 and 0, which formats write differently, the same.
            part.iter()
                .for_each(|x| buffer.extend_from_slice(&(x + 0.0).to_le_bytes()));
            hasher.update(&buffer);
        }
    }
    hasher.finalize()
}

/// The offset of a channel: its mean or its median, whichever is nearer to zero.
///
/// Either alone is fooled. A short kick has a mean, and taking it away would leave its tail beside
/// zero; a narrow pulse has a median. A true offset moves both.
fn offset(channel: &[f32]) -> f32 {
    let mean = (channel.iter().map(|&x| f64::from(x)).sum::<f64>() / channel.len() as f64) as f32;
    let mut values = channel.to_vec();
    let (_, &mut median, _) = values.select_nth_unstable_by(channel.len() / 2, f32::total_cmp);
    match mean.signum() == median.signum() {
        true if mean.abs() < median.abs() => mean,
        true => median,
        false => 0.0,
    }
}

/// In how many places a channel stays at full scale, on one side.
fn clipped_runs(clip: &Clip) -> usize {
    let mut runs = 0;
    for channel in clip.channels() {
        let (mut length, mut side) = (0, false);
        for &x in channel {
            // Floats may pass through full scale on their way; only what stays there is clipped.
            if !(FULL_SCALE..1.0001).contains(&x.abs()) {
                length = 0;
                continue;
            }
            length = if length > 0 && side == (x > 0.0) {
                length + 1
            } else {
                1
            };
            side = x > 0.0;
            if length == CLIPPED_RUN {
                runs += 1;
            }
        }
    }
    runs
}

/// A sound in the model's rate and channels, from just before its onset, as much as is needed.
#[derive(Debug, Clone)]
pub(super) struct TrainingSound {
    clip: Clip,
    /// Whether the sound went on after what is kept.
    cut: bool,
}

impl TrainingSound {
    /// Prepares an examined sound; `None` if nothing of it is left in the model's format, as of
    /// ultrasound, or of two sides that cancel.
    pub fn new(clip: Clip, format: Format, crop: Crop) -> Result<Option<TrainingSound>> {
        let clip = if clip.channels().len() == format.channels {
            clip
        } else {
            clip.with_channels(format.channels)
        };
        let lead_in = format.lead_in();
        let peak = clip.peak();
        let length = match crop {
            Crop::Onset => (format.len_frames as f64 * SPARE).ceil() as usize,
            Crop::Anywhere => usize::MAX,
        };
        let (clip, rest) = resampled_part(clip, peak, length, format)?;
        if clip.peak() < SILENCE {
            return Ok(None);
        }

        // The onset lies at `lead_in`, whatever precedes it; what does precede it fades in.
        let onset = onset(&clip, peak);
        let frames = clip.len_frames() - onset + lead_in;
        let mut clip = effect::align_onset(&clip, onset, lead_in, length);
        let cut = rest || clip.len_frames() < frames;
        let peak = clip.peak().max(SILENCE / MOST_GAIN);
        clip.scale(PEAK / peak);
        Ok(Some(TrainingSound { clip, cut }))
    }

    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        (self.clip.len_frames() * self.clip.channels().len() * size_of::<f32>()) as u64
    }

    /// Over how many frames a window `len_frames` long can begin.
    pub fn starts(&self, len_frames: usize) -> usize {
        self.clip.len_frames().saturating_sub(len_frames) + 1
    }

    /// How many frames from the beginning of its clips on it sounds: what follows stays 60 dB below its peak.
    pub fn end(&self) -> usize {
        let least = SILENCE * self.clip.peak();
        let last = |channel: &Vec<f32>| channel.iter().rposition(|x| x.abs() > least);
        let last = self.clip.channels().iter().filter_map(last).max();
        last.map_or(0, |last| last + 1)
    }

    /// The attributes of the clip that begins at frame `start`, played faster by `varispeed_st` semitones.
    pub fn attributes(
        &self,
        start: usize,
        varispeed_st: f32,
        format: Format,
        crop: Crop,
    ) -> Attributes {
        let change = Change {
            varispeed_st,
            ..Change::default()
        };
        Attributes::of(&Measures::of(&self.window(start, &change, format, crop)))
    }

    /// The clip of the sound as it is, in exactly the model's format.
    pub fn plain(&self, format: Format, crop: Crop) -> Clip {
        self.window(0, &Change::default(), format, crop)
    }

    /// The clip that begins at frame `start`, in exactly the model's format: changed, its edges faded, levelled.
    pub fn window(&self, start: usize, change: &Change, format: Format, crop: Crop) -> Clip {
        let lead_in = format.lead_in();
        let speed = f64::from(augment::ratio(change.varispeed_st));
        let needed = (format.len_frames as f64 * speed.max(1.0)) as usize + 64;
        let end = self.clip.len_frames().min(start + needed);
        let window = self
            .clip
            .channels()
            .iter()
            .map(|channel| channel[start.min(end)..end].to_vec())
            .collect();
        let mut clip = Clip::new(format.sample_rate, window);
        let held = clip.len_frames();
        let mut clip = if change.varispeed_st == 0.0 {
            let fit = |channel: &Vec<f32>| {
                let mut fitted = channel.clone();
                fitted.resize(format.len_frames, 0.0);
                fitted
            };
            clip = Clip::new(
                format.sample_rate,
                clip.channels().iter().map(fit).collect(),
            );
            clip
        } else {
            augment::varispeed(&clip, change.varispeed_st, lead_in, format.len_frames)
        };

        // Fade where something was cut; a sound that ends by itself only gets its last click smoothed.
        if start > 0 {
            effect::fade(&mut clip, 0..lead_in, true);
        }
        let end = (lead_in as f64 + (held as f64 - lead_in as f64) / speed).max(0.0) as usize;
        let cut = end > format.len_frames || self.cut;
        let end = end.min(format.len_frames);
        let seconds = match (cut, crop) {
            (true, Crop::Onset) => 0.05,
            (true, Crop::Anywhere) => 0.005,
            (false, _) => 0.002,
        };
        let length = ((seconds * f64::from(format.sample_rate)) as usize).min(end / 4);
        effect::fade(&mut clip, end - length..end, false);

        if change.tilt_db != 0.0 {
            effect::tilt(&mut clip, change.tilt_db, effect::TILT_PIVOT_HZ);
        }
        if change.decay > 0.0 {
            augment::shorten(&mut clip, change.decay, lead_in);
        }
        let level = PEAK / clip.peak().max(PEAK / MOST_GAIN) * 10f32.powf(change.gain_db / 20.0);
        clip.scale(if change.flip { -level } else { level });
        clip
    }
}

/// The clip at the model's rate, or of a long one the part that gives `length` frames from its onset
/// on and a little around; and whether more would have followed.
fn resampled_part(clip: Clip, peak: f32, length: usize, format: Format) -> Result<(Clip, bool)> {
    if clip.sample_rate() == format.sample_rate {
        return Ok((clip, false));
    }
    let rate = f64::from(clip.sample_rate());
    let around = (0.02 * rate).ceil() as usize + 64;
    let wanted = (length as f64 / f64::from(format.sample_rate) * rate).ceil();
    let start = onset(&clip, peak).saturating_sub(around);
    let end = clip.len_frames().min(
        start
            .saturating_add(wanted as usize)
            .saturating_add(2 * around),
    );
    let part = clip
        .channels()
        .iter()
        .map(|channel| channel[start..end].to_vec());
    let rest = end < clip.len_frames();
    Ok((
        Clip::new(clip.sample_rate(), part.collect()).resampled(format.sample_rate)?,
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use std::f32::consts::PI;

    use super::*;

    const FORMAT: Format = Format {
        sample_rate: 44_100,
        channels: 1,
        len_frames: 8192,
    };

    /// `quiet` frames at -80 dB, then a tone that begins at once and falls 60 dB in a tenth of a second.
    fn hit(quiet: usize, frames: usize) -> Clip {
        let wave = |n: usize| match n.checked_sub(quiet) {
            None => {
                if n.is_multiple_of(2) {
                    5e-5
                } else {
                    -5e-5
                }
            }
            Some(n) => 0.5 * (0.06 * n as f32).cos() * 10f32.powf(-3.0 * n as f32 / 4410.0),
        };
        Clip::new(44_100, vec![(0..frames).map(wave).collect()])
    }

    fn plain(clip: Clip) -> Clip {
        let source = TrainingSound::new(clip, FORMAT, Crop::Onset)
            .unwrap()
            .unwrap();
        source.plain(FORMAT, Crop::Onset)
    }

    #[test]
    fn the_attack_lies_at_the_same_frame_of_every_clip_and_is_whole() {
        let lead_in = FORMAT.lead_in();
        assert_eq!(lead_in, 66);
        for quiet in [0, 1, 40, 66, 67, 5000] {
            let clip = plain(hit(quiet, quiet + 6000));
            assert_eq!(clip.len_frames(), 8192);
            assert_eq!(
                clip.peak(),
                clip.channels()[0][lead_in],
                "{quiet} quiet frames before the attack"
            );
            assert!((clip.peak() - 0.95).abs() < 1e-6);
            let wanted = hit(0, 4000);
            let wanted = wanted.channels()[0].iter().map(|x| x * 1.9);
            let worst = clip.channels()[0][lead_in..]
                .iter()
                .zip(wanted)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst < 1e-6, "{worst}");
        }
    }

    #[test]
    fn resampling_only_what_is_needed_of_a_long_sound_changes_nothing_that_is_heard() {
        // A tone at 48 kHz that begins after a second and lasts for two.
        let wave = |n: usize| match n.checked_sub(48_000) {
            None => 0.0,
            Some(n) => 0.5 * (0.05 * n as f32).sin(),
        };
        let long = Clip::new(48_000, vec![(0..144_000).map(wave).collect()]);
        let (part, rest) = resampled_part(long.clone(), 0.5, 10_000, FORMAT).unwrap();
        assert!(rest && part.len_frames() < 13_000);
        let whole = plain(long.resampled(44_100).unwrap());
        let piecewise = plain(long);
        let pairs = whole.channels()[0].iter().zip(&piecewise.channels()[0]);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The part may begin between two frames of the new rate: its onset is up to half a frame off,
        // which is 0.026 of this tone.
        assert!(worst < 0.05, "{worst}");
        assert!(whole.channels()[0][66..300].iter().any(|x| x.abs() > 0.9));
    }

    #[test]
    fn short_sounds_are_padded_and_long_ones_faded_out() {
        let short = plain(hit(0, 1000));
        assert!(short.channels()[0][66 + 1000..].iter().all(|&x| x == 0.0));
        let tone = Clip::new(
            44_100,
            vec![(0..40_000).map(|n| (0.1 * n as f32).sin()).collect()],
        );
        let long = plain(tone);
        let loudest = |from: usize, to: usize| {
            long.channels()[0][from..to]
                .iter()
                .fold(0.0f32, |m, x| m.max(x.abs()))
        };
        // 50 ms, but never more than a quarter of the clip.
        let faded = 8192 - 2048;
        assert!((loudest(faded - 100, faded) - 0.95).abs() < 0.01);
        assert!((loudest(faded + 980, faded + 1068) - 0.475).abs() < 0.04);
        assert!(loudest(8180, 8192) < 1e-3);
    }

    #[test]
    fn the_spare_sound_fills_a_clip_that_is_played_faster() {
        let tone = Clip::new(
            44_100,
            vec![(0..40_000).map(|n| (0.1 * n as f32).sin()).collect()],
        );
        let source = TrainingSound::new(tone, FORMAT, Crop::Onset)
            .unwrap()
            .unwrap();
        let change = Change {
            varispeed_st: 2.0,
            ..Change::default()
        };
        let clip = source.window(0, &change, FORMAT, Crop::Onset);
        let before_fade = &clip.channels()[0][8192 - 2205 - 200..8192 - 2205];
        assert!(before_fade.iter().any(|x| x.abs() > 0.9));
        assert!(clip.channels()[0][8191].abs() < 1e-3);
    }

    #[test]
    fn changes_leave_the_onset_in_place_and_set_the_level() {
        let source = TrainingSound::new(hit(0, 6000), FORMAT, Crop::Onset)
            .unwrap()
            .unwrap();
        let change = Change {
            flip: true,
            varispeed_st: 2.0,
            tilt_db: 3.0,
            decay: 0.5,
            gain_db: -6.0,
        };
        let clip = source.window(0, &change, FORMAT, Crop::Onset);
        assert!((20.0 * (clip.peak() / PEAK).log10() + 6.0).abs() < 1e-3);
        let channel = &clip.channels()[0];
        let place = channel.iter().position(|x| x.abs() == clip.peak()).unwrap();
        assert!(
            (65..=69).contains(&place) && channel[place] < 0.0,
            "{place}: {}",
            channel[place]
        );
    }

    #[test]
    fn polarity_negates_exactly() {
        let source = TrainingSound::new(hit(10, 6000), FORMAT, Crop::Onset)
            .unwrap()
            .unwrap();
        let upright = source.plain(FORMAT, Crop::Onset);
        let flipped = source.window(
            0,
            &Change {
                flip: true,
                ..Change::default()
            },
            FORMAT,
            Crop::Onset,
        );
        let pairs = || upright.channels()[0].iter().zip(&flipped.channels()[0]);
        assert!(pairs().all(|(a, b)| *a == -*b) && pairs().any(|(a, _)| *a != 0.0));
    }

    #[test]
    fn an_offset_is_removed_but_the_lean_of_a_short_kick_and_of_a_pulse_is_not() {
        let noisy = |offset: f32| -> Vec<f32> {
            (0..9000)
                .map(|n| offset + 0.3 * (0.7 * n as f32).sin())
                .collect()
        };
        assert!((offset(&noisy(0.1)) - 0.1).abs() < 1e-3);
        assert!((offset(&noisy(-0.02)) + 0.02).abs() < 1e-3);
        let kick: Vec<f32> = (0..9000)
            .map(|n| {
                if n < 400 {
                    (n as f32 / 400.0 * PI).sin()
                } else {
                    0.0
                }
            })
            .collect();
        assert_eq!(offset(&kick), 0.0);
        let pulse: Vec<f32> = (0..9000)
            .map(|n| if n % 10 == 0 { 0.9 } else { -0.1 })
            .collect();
        assert!(offset(&pulse).abs() < 1e-4);
    }

    #[test]
    fn oddities_are_named() {
        let kinds = |channel: Vec<f32>| {
            let mut clip = Clip::new(44_100, vec![channel]);
            examine(&mut clip)
                .into_iter()
                .map(|(kind, _, action)| (kind, action))
                .collect::<Vec<_>>()
        };
        let tone =
            |gain: f32| -> Vec<f32> { (0..4000).map(|n| gain * (0.05 * n as f32).sin()).collect() };
        assert_eq!(kinds(tone(0.9)), []);
        assert_eq!(kinds(tone(1.0)), [], "touching full scale is not clipping");
        let clipped = tone(4.0).into_iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        assert_eq!(kinds(clipped), [(IssueKind::Clipped, Action::Kept)]);
        assert_eq!(kinds(vec![]), [(IssueKind::Empty, Action::Skipped)]);
        assert_eq!(
            kinds(vec![0.0; 4000]),
            [(IssueKind::Silent, Action::Skipped)]
        );
        assert_eq!(
            kinds(vec![0.5; 4000]),
            [(IssueKind::Silent, Action::Skipped)],
            "an offset alone is silence"
        );
        assert_eq!(kinds(tone(9e-4)), [(IssueKind::Silent, Action::Skipped)]);
        assert_eq!(kinds(tone(2e-3)), []);
        assert_eq!(
            kinds(tone(0.5)[..200].to_vec()),
            [(IssueKind::TooShort, Action::Skipped)]
        );
        assert_eq!(
            kinds(vec![0.1, f32::NAN]),
            [(IssueKind::NotFinite, Action::Skipped)]
        );
        assert_eq!(
            kinds(vec![0.1, f32::INFINITY]),
            [(IssueKind::NotFinite, Action::Skipped)]
        );
        let leaning = tone(0.5).into_iter().map(|x| x + 0.05).collect();
        assert_eq!(kinds(leaning), [(IssueKind::DcOffset, Action::DcRemoved)]);
    }

    #[test]
    fn content_tells_rate_channels_and_values_apart_and_nothing_else() {
        let name = |rate, channels: &[&[f32]]| {
            content(&Clip::new(
                rate,
                channels.iter().map(|c| c.to_vec()).collect(),
            ))
        };
        let one = name(44_100, &[&[0.0, 0.5, 0.25, 0.0]]);
        assert_eq!(one, name(44_100, &[&[-0.0, 0.5, 0.25, 0.0]]));
        assert_ne!(one, name(48_000, &[&[0.0, 0.5, 0.25, 0.0]]));
        assert_ne!(one, name(44_100, &[&[0.0, 0.5], &[0.25, 0.0]]));
        assert_ne!(one, name(44_100, &[&[0.0, 0.5, 0.25, 1e-7]]));
    }
}
