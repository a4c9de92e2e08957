//! Measures of the fine structure that distances are blind to, of generated sounds beside real ones, class by class.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Estimate, Sound};
use crate::audio::{Measures, Texture};

/// Fewest sounds of a class, generated and real, that are compared.
const FEWEST: usize = 4;
/// Errors by which a difference must stand out to be called a fault: over all classes, and in one of many.
const ERRORS: f64 = 3.5;
const ERRORS_IN_CLASS: f64 = 4.5;
/// Classes that a verdict names.
const NAMED: usize = 3;

/// One measure of [`Texture`], of generated sounds beside real ones.
///
/// Numbers are medians. Over all classes they are the mean of the medians of the classes that both have, weighted by
/// how many sounds of each the reference has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    /// Name and unit.
    pub measure: &'static str,
    /// Of the generated sounds; none where too few have the measure.
    pub generated: Option<Estimate>,
    /// Of the reference.
    pub real: Option<Estimate>,
    /// The generated less the real.
    pub difference: Option<Estimate>,
    /// Whether they differ by more than their errors and the ear allow, over all classes or in one.
    pub off: bool,
    /// By class; the name is empty for sounds without one.
    pub classes: Vec<SignalOfClass>,
}

/// One measure of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignalOfClass {
    /// The label.
    pub label: String,
    /// Of the generated sounds.
    pub generated: Estimate,
    /// Of the real ones.
    pub real: Estimate,
    /// Whether they differ by more than their errors and the ear allow.
    pub off: bool,
}

/// A measure: its name, what it is of a sound, the least difference that matters, and what it means to be below and
/// above real sounds.
struct Measure {
    name: &'static str,
    get: fn(&Texture) -> Option<f32>,
    matters: f64,
    below: &'static str,
    above: &'static str,
}

const CLICKS: &str = "clicks where real sounds have noise";
const BUZZ: &str = "a buzz that real sounds do not have";
const CALM: &str = "steadier than real sounds";
const SMOOTH: &str = "smoother than real sounds: blurred";
const ROUGH: &str = "rougher than real sounds: their noise is not a noise's";
const MISSING: &str = "quiet parts of real sounds are missing, as behind a gate or a filter";
const FILLED: &str = "what is quiet in real sounds is filled";

const MEASURED: [Measure; 13] = [
    Measure {
        name: "kurtosis, 3-14 kHz",
        get: |t| t.kurtosis,
        matters: 0.7,
        below: "smoother than real noise, or tones in its place",
        above: CLICKS,
    },
    Measure {
        name: "line at hop rate, dB",
        get: |t| t.lines[0],
        matters: 2.0,
        below: CALM,
        above: BUZZ,
    },
    Measure {
        name: "line at half of it, dB",
        get: |t| t.lines[1],
        matters: 2.0,
        below: CALM,
        above: BUZZ,
    },
    Measure {
        name: "line at a quarter, dB",
        get: |t| t.lines[2],
        matters: 2.0,
        below: CALM,
        above: BUZZ,
    },
    Measure {
        name: "roughness at 256, dB",
        get: |t| t.roughness[0],
        matters: 0.3,
        below: SMOOTH,
        above: ROUGH,
    },
    Measure {
        name: "roughness at 1024, dB",
        get: |t| t.roughness[1],
        matters: 0.3,
        below: SMOOTH,
        above: ROUGH,
    },
    Measure {
        name: "roughness at 4096, dB",
        get: |t| t.roughness[2],
        matters: 0.3,
        below: SMOOTH,
        above: ROUGH,
    },
    Measure {
        name: "first ms of 20, dB",
        get: |t| t.first_ms,
        matters: 1.5,
        below: "attacks are smeared",
        above: "attacks are harder than real ones",
    },
    Measure {
        name: "level at equal peak, dB",
        get: |t| t.level,
        matters: 1.0,
        below: "softer than real sounds at the same peak",
        above: "louder than real sounds at the same peak",
    },
    Measure {
        name: "cells above -20 dB",
        get: |t| t.range[0],
        matters: 0.01,
        below: MISSING,
        above: FILLED,
    },
    Measure {
        name: "cells above -40 dB",
        get: |t| t.range[1],
        matters: 0.02,
        below: MISSING,
        above: FILLED,
    },
    Measure {
        name: "cells above -60 dB",
        get: |t| t.range[2],
        matters: 0.03,
        below: MISSING,
        above: FILLED,
    },
    Measure {
        name: "cells above -80 dB",
        get: |t| t.range[3],
        matters: 0.03,
        below: MISSING,
        above: FILLED,
    },
];

/// Compares generated sounds with real ones.
pub(super) fn compare(generated: &[&Sound], real: &[&Sound]) -> Vec<Signal> {
    MEASURED
        .iter()
        .map(|measure| measure.compare(generated, real))
        .collect()
}

/// A sentence for each measure that is off.
pub(super) fn verdicts(signals: &[Signal]) -> Vec<String> {
    let off = signals
        .iter()
        .zip(&MEASURED)
        .filter(|(signal, _)| signal.off);
    off.filter_map(|(signal, measure)| measure.sentence(signal))
        .collect()
}

impl Measure {
    fn off(&self, difference: Estimate, errors: f64) -> bool {
        difference.value.abs() > self.matters && difference.value.abs() > errors * difference.error
    }

    fn compare(&self, generated: &[&Sound], real: &[&Sound]) -> Signal {
        let (ours, theirs) = (self.by_label(generated), self.by_label(real));
        let mut classes = Vec::new();
        let mut weights = Vec::new();
        for (label, real) in &theirs {
            let generated = ours.get(label).map_or(&[][..], Vec::as_slice);
            if generated.len() < FEWEST || real.len() < FEWEST {
                continue;
            }
            let (generated, real) = (median(generated), median(real));
            weights.push(theirs[label].len() as f64);
            classes.push(SignalOfClass {
                label: label.map_or_else(String::new, |label| (*label).to_owned()),
                generated,
                real,
                off: self.off(less(generated, real), ERRORS_IN_CLASS),
            });
        }
        let all: f64 = weights.iter().sum();
        let mean = |get: &dyn Fn(&SignalOfClass) -> Estimate| {
            let terms = || {
                classes
                    .iter()
                    .zip(&weights)
                    .map(|(class, w)| (get(class), w / all))
            };
            (!classes.is_empty()).then(|| Estimate {
                value: terms().map(|(x, w)| w * x.value).sum(),
                error: terms()
                    .map(|(x, w)| (w * x.error).powi(2))
                    .sum::<f64>()
                    .sqrt(),
            })
        };
        let (generated, real) = (mean(&|class| class.generated), mean(&|class| class.real));
        let difference = generated
            .zip(real)
            .map(|(generated, real)| less(generated, real));
        Signal {
            measure: self.name,
            generated,
            real,
            difference,
            off: difference.is_some_and(|difference| self.off(difference, ERRORS))
                || classes.iter().any(|class| class.off),
            classes,
        }
    }

    /// Sorted values of each label.
    fn by_label<'a>(&self, sounds: &[&'a Sound]) -> BTreeMap<Option<&'a str>, Vec<f64>> {
        let mut values: BTreeMap<Option<&str>, Vec<f64>> = BTreeMap::new();
        for sound in sounds {
            if let Some(value) = (self.get)(&sound.texture) {
                let own = values.entry(sound.label.as_deref()).or_default();
                own.push(f64::from(value));
            }
        }
        values
            .values_mut()
            .for_each(|values| values.sort_by(f64::total_cmp));
        values
    }

    fn sentence(&self, signal: &Signal) -> Option<String> {
        let (generated, real) = (signal.generated?, signal.real?);
        let overall = self.off(less(generated, real), ERRORS);
        let mut worst: Vec<&SignalOfClass> = signal.classes.iter().filter(|c| c.off).collect();
        let away = |class: &SignalOfClass| (class.generated.value - class.real.value).abs();
        worst.sort_by(|a, b| away(b).total_cmp(&away(a)));
        let meaning = |above: bool| if above { self.above } else { self.below };
        let named: Vec<String> = worst
            .iter()
            .filter(|class| !class.label.is_empty())
            .take(NAMED)
            .map(|class| {
                let numbers = format!(
                    "{} {} ({})",
                    class.label,
                    short(class.generated.value),
                    short(class.real.value)
                );
                // Classes may be off in different ways.
                let other =
                    (class.generated.value > class.real.value) != (generated.value > real.value);
                match other || !overall {
                    true => format!(
                        "{numbers}: {}",
                        meaning(class.generated.value > class.real.value)
                    ),
                    false => numbers,
                }
            })
            .collect();
        let numbers = format!(
            "{}: {} ± {}, real {} ± {}",
            self.name,
            short(generated.value),
            short(generated.error),
            short(real.value),
            short(real.error)
        );
        let classes = match named.is_empty() {
            true => String::new(),
            false => format!("; {}", named.join(", ")),
        };
        Some(match overall {
            true => format!(
                "{numbers}: {}{classes}",
                meaning(generated.value > real.value)
            ),
            false => format!("{numbers}, but off in some classes{classes}"),
        })
    }
}

/// A number with about three digits.
fn short(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn less(a: Estimate, b: Estimate) -> Estimate {
    Estimate {
        value: a.value - b.value,
        error: a.error.hypot(b.error),
    }
}

/// The median of sorted values, and its standard error from the values that enclose it with a probability of 95%
/// [McKean & Schrader 1984].
fn median(sorted: &[f64]) -> Estimate {
    let n = sorted.len();
    let value = 0.5 * (sorted[(n - 1) / 2] + sorted[n / 2]);
    let z = 1.96;
    let below = ((n as f64 + 1.0) / 2.0 - z * (n as f64 / 4.0).sqrt())
        .round()
        .max(1.0) as usize;
    Estimate {
        value,
        error: (sorted[n - below] - sorted[below - 1]) / (2.0 * z),
    }
}

type Get = fn(&Measures) -> Option<f32>;

/// The measures of a sound's health.
pub(super) const HEALTH: [(&str, Get); 11] = [
    ("peak", |m| Some(m.peak)),
    ("offset / peak", |m| Some(m.offset)),
    ("edge / peak", |m| Some(m.edge)),
    ("tail, dB", |m| Some(m.tail_db)),
    ("attack, s", |m| Some(m.attack)),
    ("decay, s", |m| Some(m.decay)),
    ("brightness, Hz", |m| Some(m.brightness)),
    ("bandwidth, Hz", |m| Some(m.bandwidth)),
    ("noisiness", |m| Some(m.noisiness)),
    ("pitch, Hz", |m| m.pitch),
    ("warble, cents", |m| m.warble),
];

/// Tenth, median and ninetieth percentile of one measure, of generated and real sounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Name and unit.
    pub measure: &'static str,
    /// Of the generated sounds; none where nothing could be measured.
    pub generated: Option<[f32; 3]>,
    /// Of the reference.
    pub real: Option<[f32; 3]>,
}

pub(super) fn health(generated: &[&Sound], real: &[&Sound]) -> Vec<Health> {
    let of =
        |sounds: &[&Sound], get: Get| percentiles(sounds.iter().filter_map(|s| get(&s.measures)));
    HEALTH
        .iter()
        .map(|&(measure, get)| Health {
            measure,
            generated: of(generated, get),
            real: of(real, get),
        })
        .collect()
}

/// Medians of [`HEALTH`] over the sounds of one label, generated and real.
pub(super) fn medians(
    generated: &[&Sound],
    real: &[&Sound],
    label: &str,
) -> BTreeMap<&'static str, [Option<f32>; 2]> {
    let middle = |sounds: &[&Sound], get: Get| {
        let own = sounds
            .iter()
            .filter(|sound| sound.label.as_deref() == Some(label));
        percentiles(own.filter_map(|sound| get(&sound.measures))).map(|p| p[1])
    };
    HEALTH
        .iter()
        .map(|&(name, get)| (name, [middle(generated, get), middle(real, get)]))
        .collect()
}

/// Tenth, fiftieth and ninetieth.
fn percentiles(values: impl Iterator<Item = f32>) -> Option<[f32; 3]> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([0.1, 0.5, 0.9].map(|fraction| values[(fraction * last as f64).round() as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn the_error_of_a_median_is_that_of_many_medians() {
        // Of n normal values it is about 1.2533 / √n.
        for n in [25, 100, 400] {
            let mut noise = Noise::new(n as u64);
            let (mut medians, mut errors) = (Vec::new(), Vec::new());
            for _ in 0..400 {
                let mut values: Vec<f64> = noise.normals(n).into_iter().map(f64::from).collect();
                values.sort_by(f64::total_cmp);
                let Estimate { value, error } = median(&values);
                medians.push(value);
                errors.push(error);
            }
            let spread = (medians.iter().map(|x| x * x).sum::<f64>() / 400.0).sqrt();
            let told = (errors.iter().map(|x| x * x).sum::<f64>() / 400.0).sqrt();
            assert!((told / spread - 1.0).abs() < 0.15, "{n}: {told} {spread}");
            assert!(
                (spread * (n as f64).sqrt() / 1.2533 - 1.0).abs() < 0.12,
                "{n}: {spread}"
            );
        }
        assert_eq!(median(&[1.0, 2.0, 6.0, 8.0]).value, 4.0);
    }
}
