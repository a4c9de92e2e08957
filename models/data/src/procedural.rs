//! Our own drum machine and small synthesizer: one-shots that nobody else holds rights in.
//!
//! Every class is a row of styles, every style a recipe that draws its parameters widely. Circuits that
//! became genres (the clap made of noise bursts, the hat made of six square waves) are rebuilt from how
//! they work, acoustic drums from the mode ratios of membranes and from clouds of inharmonic partials.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::dsp::{Dice, SAMPLE_RATE, finish};

mod cymbals;
mod drums;
mod effects;
mod gestures;
mod percussion;
mod tonal;

type Recipe = fn(&mut Dice) -> Vec<f64>;

/// One label and how its sounds are made.
struct Class {
    label: &'static str,
    /// Sounds made unless told otherwise, balanced against the recorded sounds of the same label.
    count: usize,
    /// Taken in turn. New classes go last: the place in the table seeds the sound. A new style changes
    /// its class from the sound on that is its first.
    styles: &'static [(&'static str, Recipe)],
}

const CLASSES: &[Class] = &[
    Class {
        label: "kick",
        count: 32,
        styles: &[
            ("808", drums::kick_long),
            ("909", drums::kick_punch),
            ("acoustic", drums::kick_acoustic),
            ("hard", drums::kick_hard),
        ],
    },
    Class {
        label: "snare",
        count: 32,
        styles: &[
            ("808", drums::snare_808),
            ("909", drums::snare_909),
            ("acoustic", drums::snare_acoustic),
            ("noise", drums::snare_noise),
        ],
    },
    Class {
        label: "clap",
        count: 60,
        styles: &[
            ("burst", percussion::clap_bursts),
            ("hands", percussion::clap_hands),
            ("burst", percussion::clap_bursts),
            ("hands", percussion::clap_hands),
            ("snap", percussion::clap_snap),
        ],
    },
    Class {
        label: "rim",
        count: 24,
        styles: &[("808", drums::rim_808), ("stick", drums::rim_stick)],
    },
    Class {
        label: "hat_closed",
        count: 30,
        styles: &[
            ("squares", |d| cymbals::hat_squares(d, false)),
            ("metal", |d| cymbals::hat_metal(d, false)),
            ("fm", |d| cymbals::hat_fm(d, false)),
        ],
    },
    Class {
        label: "hat_open",
        count: 60,
        styles: &[
            ("squares", |d| cymbals::hat_squares(d, true)),
            ("metal", |d| cymbals::hat_metal(d, true)),
            ("fm", |d| cymbals::hat_fm(d, true)),
        ],
    },
    Class {
        label: "tom",
        count: 32,
        styles: &[
            ("808", drums::tom_analog),
            ("skin", drums::tom_skin),
            ("disco", drums::tom_disco),
            ("skin", drums::tom_skin),
        ],
    },
    Class {
        label: "cymbal",
        count: 24,
        styles: &[
            ("crash", cymbals::cymbal_crash),
            ("ride", cymbals::cymbal_ride),
            ("808", cymbals::cymbal_808),
            ("fm", cymbals::cymbal_fm),
        ],
    },
    Class {
        label: "perc",
        count: 40,
        styles: &[
            ("cowbell", percussion::perc_cowbell),
            ("clave", percussion::perc_clave),
            ("shaker", percussion::perc_shaker),
            ("conga", percussion::perc_conga),
            ("block", percussion::perc_block),
            ("tambourine", percussion::perc_tambourine),
            ("triangle", percussion::perc_triangle),
            ("guiro", percussion::perc_guiro),
        ],
    },
    Class {
        label: "bass",
        count: 36,
        styles: &[
            ("sub", tonal::bass_sub),
            ("saw", tonal::bass_saw),
            ("fm", tonal::bass_fm),
            ("square", tonal::bass_square),
            ("reese", tonal::bass_reese),
            ("string", tonal::bass_string),
        ],
    },
    Class {
        label: "synth",
        count: 40,
        styles: &[
            ("pluck", tonal::synth_pluck),
            ("stab", tonal::synth_stab),
            ("bell", tonal::synth_bell),
            ("string", tonal::synth_string),
            ("organ", tonal::synth_organ),
            ("sync", tonal::synth_sync),
        ],
    },
    Class {
        label: "fx",
        count: 32,
        styles: &[
            ("zap", effects::fx_zap),
            ("sweep", effects::fx_sweep),
            ("blips", effects::fx_blips),
            ("impact", effects::fx_impact),
        ],
    },
];

/// One finished sound of `CLASSES[class]`: mono, 44.1 kHz, peak 0.95. Same seed and index, same sound.
fn sound(seed: u64, class: usize, index: usize) -> Vec<f32> {
    let styles = CLASSES[class].styles;
    let (_, recipe) = styles[index % styles.len()];
    finish(&recipe(&mut Dice::new(seed, class, index)))
}

/// Writes `out/label/procedural__style_000.wav` (24-bit) for every class; returns their paths.
///
/// `per_class` overrides the balanced counts.
pub fn write(out: &Path, seed: u64, per_class: Option<usize>) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (number, class) in CLASSES.iter().enumerate() {
        let folder = out.join(class.label);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        for index in 0..per_class.unwrap_or(class.count) {
            let style = class.styles[index % class.styles.len()].0;
            let path = folder.join(format!("procedural__{style}_{index:03}.wav"));
            write_wav(&path, &sound(seed, number, index))
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

    fn class(label: &str) -> usize {
        CLASSES
            .iter()
            .position(|class| class.label == label)
            .unwrap()
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
        for (number, class) in CLASSES.iter().enumerate() {
            for index in 0..class.styles.len() {
                let what = format!("{} {}", class.label, class.styles[index].0);
                let sound = sound(0, number, index);
                let seconds = sound.len() as f64 / f64::from(SAMPLE_RATE);
                let longest = if class.label == "cymbal" { 2.01 } else { 1.21 };
                assert!((0.01..longest).contains(&seconds), "{what}: {seconds} s");
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
            ("kick", 220.0, 0.6..1.01),
            ("hat_closed", 4_500.0, 0.0..0.2),
            ("hat_open", 4_500.0, 0.0..0.2),
            ("clap", 300.0, 0.0..0.1),
            ("clap", 6_000.0, 0.6..1.01),
            ("snare", 5_500.0, 0.25..1.01),
            ("tom", 500.0, 0.6..1.01),
            ("cymbal", 400.0, 0.0..0.1),
            ("rim", 250.0, 0.0..0.35),
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
    fn open_hats_ring_longer_than_closed_ones() {
        // Seconds until all but a hundredth of the energy has passed.
        let length = |label, index| {
            let sound = sound(3, class(label), index);
            let total: f32 = sound.iter().map(|x| x * x).sum();
            let mut sum = 0.0;
            let at = sound.iter().position(|x| {
                sum += x * x;
                sum > 0.99 * total
            });
            at.unwrap() as f64 / f64::from(SAMPLE_RATE)
        };
        for index in 0..6 {
            assert!(
                length("hat_closed", index) < 0.12,
                "{}",
                length("hat_closed", index)
            );
            assert!(
                length("hat_open", index) > 0.1,
                "{}",
                length("hat_open", index)
            );
        }
    }

    #[test]
    fn a_seed_names_its_sounds_and_other_seeds_make_others() {
        let snare = class("snare");
        assert_eq!(sound(1, snare, 2), sound(1, snare, 2));
        assert_ne!(sound(1, snare, 2), sound(2, snare, 2));
        assert_ne!(sound(1, snare, 2), sound(1, snare, 6));
    }
}
