//! The output of `eval`: numbers in tables, then faults in sentences.

use std::io::{self, Write};

use audiodiff::error::{counted, printable};
use audiodiff::eval::{Estimate, Evaluation, Reference, SCORES, Signal};

/// Stands where a number is missing.
const NONE: &str = "–";

/// The evaluated sounds, and the baseline.
const HEADINGS: [&str; 2] = ["evaluated", "baseline"];

/// Measures that are shown class by class, and their headings.
const BY_CLASS: [(&str, &str); 7] = [
    ("kurtosis, 3-14 kHz", "kurtosis"),
    ("line at hop rate, dB", "hop line"),
    ("line at half of it, dB", "half"),
    ("line at a quarter, dB", "quarter"),
    ("roughness at 1024, dB", "roughness"),
    ("first ms of 20, dB", "first ms"),
    ("level at equal peak, dB", "level"),
];

/// Prints everything about `judged`: the sounds and, where there is one, their baseline.
pub fn print(out: &mut impl Write, reference: &Reference, judged: &[Evaluation]) -> io::Result<()> {
    head(out, reference, judged)?;
    scores(out, reference, judged)?;
    for judgement in judged {
        classes(out, judgement)?;
        health(out, judgement)?;
        signals(out, &judgement.signals)?;
        signals_by_class(out, &judgement.signals)?;
        nearest(out, judgement)?;
    }
    for judgement in judged {
        verdicts(out, judgement)?;
    }
    Ok(())
}

/// Names the sounds on both sides of the comparison.
fn head(out: &mut impl Write, reference: &Reference, judged: &[Evaluation]) -> io::Result<()> {
    let real = reference.sounds();
    let (sounds, name) = (counted(real.sounds.len(), "sound"), printable(&real.name));
    writeln!(out, "reference: {sounds} of {name}")?;
    if let Some(chosen) = &real.chosen {
        writeln!(out, "held back: {}", printable(chosen))?;
    }
    for note in reference.notes() {
        writeln!(out, "{}", printable(note))?;
    }
    for (heading, judgement) in HEADINGS.iter().zip(judged) {
        writeln!(
            out,
            "{heading}: {} of {}, {} unusable",
            counted(judgement.sounds, "sound"),
            printable(&judgement.name),
            judgement.unusable
        )?;
        for note in &judgement.notes {
            writeln!(out, "{}", printable(note))?;
        }
    }
    Ok(())
}

/// The scores, beside those of real sounds.
fn scores(out: &mut impl Write, reference: &Reference, judged: &[Evaluation]) -> io::Result<()> {
    let shown = |estimate: Option<Estimate>, percent: bool| match estimate {
        None => NONE.to_owned(),
        Some(Estimate { value, error }) if percent => {
            format!("{:.1}% ± {:.1}", 100.0 * value, 100.0 * error)
        }
        Some(Estimate { value, error }) if value.abs() >= 100.0 => {
            format!("{value:.0} ± {error:.0}")
        }
        Some(Estimate { value, error }) => format!("{value:.3} ± {error:.3}"),
    };
    write!(out, "\n{:28}", "")?;
    for (heading, _) in HEADINGS.iter().zip(judged) {
        write!(out, "{heading:>18}")?;
    }
    if reference.training_scores().is_some() {
        write!(out, "{:>18}", "training set")?;
    }
    writeln!(out, "{:>18}  better", "floor")?;
    for (name, get, percent, better) in SCORES {
        write!(out, "{name:28}")?;
        for judgement in judged {
            write!(out, "{:>18}", shown(get(&judgement.scores), percent))?;
        }
        if let Some(learnt) = reference.training_scores() {
            write!(out, "{:>18}", shown(get(learnt), percent))?;
        }
        let floor = shown(get(reference.floor()), percent);
        writeln!(out, "{floor:>18}  {better}")?;
    }
    Ok(())
}

/// How surely each class is recognized.
fn classes(out: &mut impl Write, judgement: &Evaluation) -> io::Result<()> {
    if judgement.classes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{}\n{:16}{:>10}{:>6}{:>12}{:>8}  {:14}{:>16}",
        printable(&judgement.name),
        "class",
        "generated",
        "real",
        "recognized",
        "(real)",
        "else taken for",
        "warble (real)"
    )?;
    for class in &judgement.classes {
        let [made, real] = class.medians["warble, cents"]
            .map(|cents| cents.map_or(NONE.to_owned(), |cents| format!("{cents:.1}")));
        writeln!(
            out,
            "{:16}{:>10}{:>6}{:>11.0}%{:>7.0}%  {:14}{:>16}",
            printable(&class.label),
            class.generated,
            class.real,
            100.0 * class.consistency,
            100.0 * class.real_consistency,
            printable(class.taken_for.as_deref().unwrap_or(NONE)),
            format!("{made} ({real})")
        )?;
    }
    Ok(())
}

/// Whether the signals are sound, in quantiles.
fn health(out: &mut impl Write, judgement: &Evaluation) -> io::Result<()> {
    writeln!(
        out,
        "\n{:16}{:>32}{:>32}",
        "signal", "generated: 10, 50, 90%", "real"
    )?;
    for row in &judgement.health {
        let [made, real] = [row.generated, row.real].map(|quantiles| match quantiles {
            Some(three) => three.map(|x| format!("{x:.3}")).join(" "),
            None => NONE.to_owned(),
        });
        writeln!(out, "{:16}{made:>32}{real:>32}", row.measure)?;
    }
    Ok(())
}

/// How noise, attacks and silence are made.
fn signals(out: &mut impl Write, signals: &[Signal]) -> io::Result<()> {
    writeln!(out, "\n{:28}{:>20}{:>20}", "median", "generated", "real")?;
    for row in signals {
        let [made, real] = [row.generated, row.real].map(|estimate| match estimate {
            None => NONE.to_owned(),
            Some(Estimate { value, error }) => format!("{value:.3} ± {error:.3}"),
        });
        let off = if row.off { "  off" } else { "" };
        writeln!(out, "{:28}{made:>20}{real:>20}{off}", row.measure)?;
    }
    Ok(())
}

/// Most of the same by class.
fn signals_by_class(out: &mut impl Write, signals: &[Signal]) -> io::Result<()> {
    let number = |value: f64| match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let mut labels: Vec<&str> = (signals.iter())
        .flat_map(|row| row.classes.iter().map(|class| class.label.as_str()))
        .filter(|label| !label.is_empty())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        return Ok(());
    }
    write!(out, "\n{:16}", "generated (real)")?;
    for (_, heading) in BY_CLASS {
        write!(out, "{heading:>17}")?;
    }
    writeln!(out, "   * off")?;
    for label in labels {
        write!(out, "{:16}", printable(label))?;
        for (measure, _) in BY_CLASS {
            let row = signals.iter().find(|row| row.measure == measure);
            let class = row.and_then(|row| row.classes.iter().find(|class| class.label == label));
            let text = class.map_or(NONE.to_owned(), |class| {
                let off = if class.off { "*" } else { "" };
                let (made, real) = (number(class.generated.value), number(class.real.value));
                format!("{off}{made} ({real})")
            });
            write!(out, "{text:>17}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The sound that is nearest to one of the training set.
fn nearest(out: &mut impl Write, judgement: &Evaluation) -> io::Result<()> {
    let Some(pair) = judgement.nearest.first() else {
        return Ok(());
    };
    let ratio = pair.ratio.map_or(String::new(), |ratio| {
        format!(", {ratio:.2} of the distance to the second")
    });
    writeln!(
        out,
        "\nnearest to the training set: {} to {} ({:.2} dB{ratio}){}",
        printable(&pair.generated),
        printable(&pair.training),
        pair.distance,
        if pair.copy { ", a copy" } else { "" }
    )
}

/// Prints the faults, in sentences.
fn verdicts(out: &mut impl Write, judgement: &Evaluation) -> io::Result<()> {
    let name = printable(&judgement.name);
    if judgement.verdicts.is_empty() {
        let told = match judgement.is_measured() {
            true => "nothing is off by more than chance",
            false => "too few sounds to tell whether anything is off",
        };
        return writeln!(out, "\n{name}: {told}");
    }
    writeln!(out, "\n{name}: off by more than chance")?;
    for verdict in &judgement.verdicts {
        writeln!(out, "  {}", printable(verdict))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::{self, BitDepth, Clip};
    use audiodiff::dataset::ScanOptions;
    use audiodiff::eval::{Ear, Part, Sounds};
    use audiodiff::representation::Format;

    use super::*;

    #[test]
    fn what_is_shown_by_class_is_among_what_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        for (name, hz) in [("a.wav", 300.0), ("b.wav", 500.0)] {
            let wave = (0..800).map(|t| (hz * t as f32 / 8000.0 * std::f32::consts::TAU).sin());
            let clip = Clip::new(8000, vec![wave.collect()]);
            audio::write_wav(&folder.path().join(name), &clip, BitDepth::Int24).unwrap();
        }
        let format = Format {
            sample_rate: 8000,
            channels: 1,
            len_frames: 800,
        };
        let options = ScanOptions {
            validation: 0.0,
            ..ScanOptions::default()
        };
        let ear = Ear::new(format, 64).unwrap();
        let sounds = || {
            let all = Part::All;
            Sounds::of_folder(folder.path(), &options, all, &ear, &mut |_, _| ()).unwrap()
        };
        let reference = Reference::new(sounds(), None, 0).unwrap();
        let judged = reference.evaluate(&[sounds()]).unwrap();
        for (measure, _) in BY_CLASS {
            let found = judged.signals.iter().any(|row| row.measure == measure);
            assert!(found, "{measure}");
        }
    }
}
