//! Our own drum machine: one-shots that nobody else holds rights in, of the kinds of which few recordings are free.
//!
//! Every class is a row of styles, every style a recipe that draws its parameters widely. Circuits that became genres
//! (the clap made of noise bursts, the hat made of six square waves) are rebuilt from how they work, struck metal from
//! clouds of inharmonic partials.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::dsp::{Dice, SAMPLE_RATE, finish};

mod claps;
mod gestures;
mod hats;

type Recipe = fn(&mut Dice) -> Vec<f64>;

/// One label and how its sounds are made.
struct Class {
    label: &'static str,
    /// Sounds made unless told otherwise: what the recorded sounds of the label lack to about sixty.
    count: usize,
    /// Seeds the sounds with their index; no two classes have the same.
    place: usize,
    /// Taken in turn. A new style changes its class from the sound on that is its first.
    styles: &'static [(&'static str, Recipe)],
}

const CLASSES: &[Class] = &[
    Class {
        label: "clap",
        count: 30,
        place: 2,
        styles: &[("burst", claps::bursts), ("hands", claps::hands)],
    },
    Class {
        label: "hat_open",
        count: 30,
        place: 5,
        styles: &[
            ("squares", hats::of_squares),
            ("metal", hats::of_metal),
            ("fm", hats::of_fm),
        ],
    },
];

/// One finished sound of a class: mono, 44.1 kHz, peak 0.95. Same seed and index, same sound.
fn sound(seed: u64, class: &Class, index: usize) -> Vec<f32> {
    let (_, recipe) = class.styles[index % class.styles.len()];
    finish(&recipe(&mut Dice::new(seed, class.place, index)))
}

/// Every label that has sounds of our own, and how many are made unless told otherwise.
pub fn counts() -> impl Iterator<Item = (&'static str, usize)> {
    CLASSES.iter().map(|class| (class.label, class.count))
}

/// Writes `out/label/procedural__style_000.wav` (24-bit) for every class; returns their paths.
///
/// `per_class` overrides the balanced counts.
pub fn write(out: &Path, seed: u64, per_class: Option<usize>) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for class in CLASSES {
        let folder = out.join(class.label);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        for index in 0..per_class.unwrap_or(class.count) {
            let style = class.styles[index % class.styles.len()].0;
            let path = folder.join(format!("procedural__{style}_{index:03}.wav"));
            write_wav(&path, &sound(seed, class, index))
                .with_context(|| format!("cannot write {}", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}

fn write_wav(path: &Path, sound: &[f32]) -> Result<(), hound::Error> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: SAMPLE_RATE,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec)?;
    for x in sound {
        writer.write_sample((x * 8_388_607.0).round() as i32)?;
    }
    writer.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::{RATE, Svf};

    fn class(label: &str) -> &'static Class {
        CLASSES.iter().find(|class| class.label == label).unwrap()
    }

    /// Fraction of a sound's energy below `hz`, by a sharp low-pass.
    fn fraction_below(sound: &[f32], hz: f64) -> f64 {
        // The filters think in RATE.
        let scaled = hz * RATE / f64::from(SAMPLE_RATE);
        let mut low: Vec<f64> = sound.iter().map(|&x| f64::from(x)).collect();
        let total: f64 = low.iter().map(|x| x * x).sum();
        for q in [0.509_795_6, 0.601_344_9, 0.899_976_2, 2.562_915_4] {
            let mut filter = Svf::default();
            low.iter_mut().for_each(|x| *x = filter.low(*x, scaled, q));
        }
        low.iter().map(|x| x * x).sum::<f64>() / total
    }

    #[test]
    fn every_style_is_finite_full_scale_free_of_dc_and_fades_to_silence() {
        for class in CLASSES {
            for index in 0..class.styles.len() {
                let what = format!("{} {}", class.label, class.styles[index].0);
                let sound = sound(0, class, index);
                let seconds = sound.len() as f64 / f64::from(SAMPLE_RATE);
                assert!((0.01..1.21).contains(&seconds), "{what}: {seconds} s");
                assert!(sound.iter().all(|x| x.is_finite()), "{what}");
                let peak = sound.iter().fold(0f32, |peak, x| peak.max(x.abs()));
                assert!((peak - 0.95).abs() < 1e-4, "{what}: {peak}");
                let mean = sound.iter().map(|&x| f64::from(x)).sum::<f64>() / sound.len() as f64;
                assert!(mean.abs() < 0.004, "{what}: mean {mean}");
                assert!(
                    sound[0].abs() < 0.05 && sound[sound.len() - 1].abs() < 1e-4,
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn energy_lies_where_each_drum_has_it() {
        // Label, band edge in Hz, bounds of the fraction of energy below it.
        let claims = [
            ("hat_open", 4_500.0, 0.0..0.2),
            ("clap", 300.0, 0.0..0.1),
            ("clap", 6_000.0, 0.6..1.01),
        ];
        for (label, hz, bounds) in claims {
            for index in 0..4 {
                let fraction = fraction_below(&sound(0, class(label), index), hz);
                assert!(
                    bounds.contains(&fraction),
                    "{label} {index}: {fraction} below {hz} Hz"
                );
            }
        }
    }

    #[test]
    fn open_hats_ring_on() {
        for index in 0..6 {
            let sound = sound(3, class("hat_open"), index);
            // Until all but a hundredth of the energy has passed.
            let total: f32 = sound.iter().map(|x| x * x).sum();
            let mut sum = 0.0;
            let at = sound.iter().position(|x| {
                sum += x * x;
                sum > 0.99 * total
            });
            let seconds = at.unwrap() as f64 / f64::from(SAMPLE_RATE);
            assert!(seconds > 0.1, "{index}: {seconds} s");
        }
    }

    #[test]
    fn no_two_classes_roll_the_same_dice() {
        let places: std::collections::BTreeSet<_> = CLASSES.iter().map(|c| c.place).collect();
        assert_eq!(places.len(), CLASSES.len());
    }

    #[test]
    fn a_seed_names_its_sounds_and_other_seeds_make_others() {
        let clap = class("clap");
        assert_eq!(sound(1, clap, 2), sound(1, clap, 2));
        assert_ne!(sound(1, clap, 2), sound(2, clap, 2));
        assert_ne!(sound(1, clap, 2), sound(1, clap, 6));
    }
}
