//! A sound as a pad wants it: it begins with its onset, and is as loud as its part in a kit.

use audiodiff::audio::{Clip, momentary_loudness};

use crate::pad::words;

/// A sound begins where it first comes within 34 dB of its peak, after this much of what leads there, seconds.
const ONSET: f32 = 0.02;
const LEAD_SECONDS: f64 = 0.0005;

/// No more than this is cut from the beginning, seconds: what takes longer is a fade-in.
const MOST_SECONDS: f64 = 0.03;

/// The momentary loudness [BS.1770] of parts of a kit, LUFS, by words of their names; and of all other sounds. Of made
/// sounds that peak at -1 dBFS, nine in ten can be as loud.
const PARTS: [(&[&str], f32); 6] = [
    (&["kick", "bassdrum", "808"], -21.0),
    (&["snare", "clap", "tom"], -21.0),
    (&["closedhat", "hatclosed"], -25.0),
    (&["openhat", "hatopen"], -24.0),
    (&["hat"], -25.0),
    (&["cymbal", "crash", "ride"], -23.0),
];
const OTHERS: f32 = -22.0;

/// No sound peaks above this, -1 dBFS.
pub(crate) const PEAK: f32 = 0.891_250_9;

/// Cuts what lies before the onset, and sets the level.
pub(crate) fn place(clip: &mut Clip, class: Option<&str>) {
    let peak = clip.peak();
    if peak == 0.0 || !clip.is_finite() {
        return;
    }
    let frames = |seconds: f64| (seconds * f64::from(clip.sample_rate())).round() as usize;
    let (lead, most) = (frames(LEAD_SECONDS), frames(MOST_SECONDS));
    let first = |c: &Vec<f32>| c.iter().position(|x| x.abs() >= ONSET * peak);
    let onset = clip.channels().iter().filter_map(first).min().unwrap_or(0);
    if (lead + 1..=most).contains(&onset) {
        let start = onset - lead;
        // As long as it was, for a length may have been asked for.
        *clip = clip.slice(start, clip.len_frames());
        clip.fade(lead, 0);
    }
    let gain = momentary_loudness(clip).map_or(f32::INFINITY, |now| {
        10f32.powf((wanted(class) - now) / 20.0)
    });
    clip.scale(gain.min(PEAK / clip.peak()));
}

/// The loudness that a class has in a kit, LUFS.
fn wanted(class: Option<&str>) -> f32 {
    let name = words(class.unwrap_or_default());
    let part = PARTS
        .iter()
        .find(|(words, _)| words.iter().any(|word| name.contains(word)));
    part.map_or(OTHERS, |&(_, loudness)| loudness)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 44_100;

    /// Silence of so many frames, then a dying tone.
    fn hit(silence: usize, hz: f32, seconds: f32, height: f32) -> Clip {
        let tone = |i: usize| {
            let t = i as f32 / RATE as f32;
            height * (-t / seconds).exp() * (std::f32::consts::TAU * hz * t).cos()
        };
        let samples = std::iter::repeat_n(0.0, silence).chain((0..RATE as usize / 2).map(tone));
        Clip::new(RATE, vec![samples.collect()])
    }

    #[test]
    fn a_sound_begins_within_a_millisecond_and_a_fade_in_is_left_alone() {
        for silence in [0, 10, 66, 313, 1300] {
            let mut clip = hit(silence, 300.0, 0.1, 0.3);
            place(&mut clip, None);
            let first = clip.channels()[0]
                .iter()
                .position(|x| x.abs() > 0.1 * clip.peak());
            assert!(
                first.unwrap() <= RATE as usize / 1000,
                "{silence}: {first:?}"
            );
        }
        let slow: Vec<f32> = (0..RATE)
            .map(|i| (i as f32 / RATE as f32).powi(2))
            .collect();
        let mut clip = Clip::new(RATE, vec![slow]);
        place(&mut clip, None);
        assert_eq!(clip.len_frames(), RATE as usize);
    }

    #[test]
    fn parts_of_a_kit_are_as_loud_as_they_should_be() {
        for (class, wanted) in [
            (Some("kick"), -21.0),
            (Some("My_Snares"), -21.0),
            (Some("hat_closed"), -25.0),
            (Some("Open Hat"), -24.0),
            (Some("cat"), -22.0),
            (None, -22.0),
        ] {
            for (hz, seconds, height) in [(200.0, 0.1, 0.9), (6000.0, 0.05, 0.01)] {
                let mut clip = hit(0, hz, seconds, height);
                place(&mut clip, class);
                let found = momentary_loudness(&clip).unwrap();
                assert!((found - wanted).abs() < 0.1, "{class:?} {hz}: {found}");
            }
        }
        // A click cannot be so loud.
        let mut click = hit(0, 2000.0, 0.0005, 0.5);
        place(&mut click, Some("kick"));
        assert!((click.peak() - PEAK).abs() < 1e-6 && momentary_loudness(&click).unwrap() < -21.0);
        for odd in [vec![0.0; 100], vec![f32::NAN; 100], vec![]] {
            let mut clip = Clip::new(RATE, vec![odd.clone()]);
            place(&mut clip, None);
            assert_eq!(clip.len_frames(), odd.len());
        }
    }
}
