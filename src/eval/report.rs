//! One page that holds everything: numbers, pictures and the sounds themselves.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Estimate, Evaluation, Reference, SCORES, Sounds};
use crate::audio::{BitDepth, wav_bytes};
use crate::error::{Result, printable};
use crate::file::write_whole;
use crate::picture::sound_sheet_png;

/// Sounds of a class that are drawn, and those that can be listened to.
const DRAWN: usize = 16;
const HEARD: usize = 4;

const STYLE: &str = "body{background:#15171c;color:#d8dce4;font:15px/1.5 system-ui,sans-serif;margin:2em auto;\
max-width:76em;padding:0 1em}h1,h2,h3{font-weight:600}table{border-collapse:collapse;margin:1em 0}\
td,th{padding:.25em .9em;text-align:right;border-bottom:1px solid #2c313c}td:first-child,th:first-child\
{text-align:left}small{color:#8b93a3}img{max-width:100%;display:block;margin:.5em 0}audio{height:2em;width:13em}\
.row{display:flex;flex-wrap:wrap;gap:.5em}summary{cursor:pointer}";

/// Writes the evaluations of `generated`, in that order, as one HTML file that refers to nothing outside itself.
///
/// # Errors
/// When the file cannot be written.
pub fn report(
    path: &Path,
    reference: &Reference,
    evaluated: &[Evaluation],
    generated: &[&Sounds],
) -> Result<()> {
    let gallery = gallery(reference.sounds(), generated)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "audiodiff: sounds evaluated" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Generated sounds against real ones" }
                (scores(reference, evaluated))
                @for evaluation in evaluated {
                    (details(evaluation))
                }
                (gallery)
            }
        }
    };
    write_whole(path, page.into_string().as_bytes())
}

/// A number with as many digits as its size deserves.
fn digits(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The digits of a number, or a dash.
fn number(value: Option<f32>) -> String {
    value.map_or("–".to_owned(), |x| digits(f64::from(x)))
}

fn cell(estimate: Option<Estimate>, percent: bool) -> Markup {
    let text = |x: f64| match percent {
        true => format!("{:.1}", 100.0 * x),
        false => digits(x),
    };
    html! {
        td {
            @match estimate {
                Some(Estimate { value, error }) => {
                    (text(value)) @if percent { "%" } " " small { "± " (text(error)) }
                }
                None => "–",
            }
        }
    }
}

/// The table of scores, a column for each evaluation, and the sentences above it.
fn scores(reference: &Reference, evaluated: &[Evaluation]) -> Markup {
    let real = reference.sounds();
    html! {
        p {
            "Reference: " (real.sounds.len()) " sounds of " (printable(&real.name)) ". Each number stands with its \
             standard error; the floor is what unseen real sounds get."
        }
        @if let Some(chosen) = &real.chosen {
            p { "The reference was held back: " (printable(chosen)) "." }
        }
        (paragraphs(reference.notes()))
        table {
            tr {
                th {}
                @for evaluation in evaluated {
                    th {
                        (printable(&evaluation.name)) br;
                        small {
                            (evaluation.sounds) " sounds, " (evaluation.rounds)
                            @if evaluation.rounds == 1 { " round, " } @else { " rounds, " }
                            (evaluation.unusable) " unusable"
                        }
                    }
                }
                @if reference.training_scores().is_some() {
                    th { "training set" }
                }
                th { "floor" }
                th { "better" }
            }
            @for (name, get, percent, better) in SCORES {
                tr {
                    td { (name) }
                    @for evaluation in evaluated {
                        (cell(get(&evaluation.scores), percent))
                    }
                    @if let Some(training) = reference.training_scores() {
                        (cell(get(training), percent))
                    }
                    (cell(get(reference.floor()), percent))
                    td { (better) }
                }
            }
        }
    }
}

fn paragraphs(sentences: &[String]) -> Markup {
    html! {
        @for sentence in sentences {
            p { (printable(sentence)) }
        }
    }
}

fn details(evaluation: &Evaluation) -> Markup {
    html! {
        h2 { (printable(&evaluation.name)) }
        (paragraphs(&evaluation.notes))
        @if !evaluation.is_measured() {
            p { "There are too few sounds to tell whether anything is off." }
        }
        @if !evaluation.verdicts.is_empty() {
            h3 { "Off by more than chance" }
            ul {
                @for verdict in &evaluation.verdicts {
                    li { (printable(verdict)) }
                }
            }
        }
        (signals(evaluation))
        @if !evaluation.classes.is_empty() {
            (classes(evaluation))
        }
        (health(evaluation))
        (nearest(evaluation))
    }
}

/// Measures of noise, attacks and silence, with the medians of each class.
fn signals(evaluation: &Evaluation) -> Markup {
    let labels = (evaluation.signals.iter())
        .flat_map(|row| row.classes.iter().map(|class| class.label.as_str()))
        .filter(|label| !label.is_empty());
    let labels: BTreeSet<&str> = labels.collect();
    html! {
        table {
            tr { th { "median" } th { "generated" } th { "real" } th { "difference" } th {} }
            @for row in &evaluation.signals {
                tr {
                    td { (row.measure) }
                    @for estimate in [row.generated, row.real, row.difference] {
                        (cell(estimate, false))
                    }
                    td { @if row.off { "off" } }
                }
            }
        }
        @if !labels.is_empty() {
            details {
                summary { "The same by class" }
                table {
                    tr {
                        th { "generated (real), off in bold" }
                        @for label in &labels {
                            th { (printable(label)) }
                        }
                    }
                    @for row in &evaluation.signals {
                        tr {
                            td { (row.measure) }
                            @for label in &labels {
                                @match row.classes.iter().find(|class| class.label == **label) {
                                    Some(class) => td {
                                        @let generated = digits(class.generated.value);
                                        @if class.off { b { (generated) } } @else { (generated) }
                                        " " small { "(" (digits(class.real.value)) ")" }
                                    },
                                    None => td { "–" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The table of classes: how many there are, how they are recognized, and medians of their measures.
fn classes(evaluation: &Evaluation) -> Markup {
    const MEDIANS: [&str; 3] = ["decay, s", "brightness, Hz", "warble, cents"];
    let percent = |x: f64| format!("{:.0}%", 100.0 * x);
    html! {
        table {
            tr {
                th { "class" } th { "generated" } th { "real" } th { "recognized" } th { "real recognized" }
                th { "else taken for" }
                @for measure in MEDIANS {
                    th { (measure) }
                }
            }
            @for class in &evaluation.classes {
                tr {
                    td { (printable(&class.label)) }
                    td { (class.generated) }
                    td { (class.real) }
                    td { (percent(class.consistency)) }
                    td { (percent(class.real_consistency)) }
                    td { (printable(class.taken_for.as_deref().unwrap_or("–"))) }
                    @for measure in MEDIANS {
                        @let [generated, real] = class.medians.get(measure).copied().unwrap_or_default();
                        td { (number(generated)) " " small { "(" (number(real)) ")" } }
                    }
                }
            }
        }
        p { small { "Medians of the generated sounds, in brackets of the real ones." } }
    }
}

/// The table of signal health.
fn health(evaluation: &Evaluation) -> Markup {
    let three = |values: Option<[f32; 3]>| match values {
        Some(values) => values.map(|x| digits(f64::from(x))).join(" · "),
        None => "–".to_owned(),
    };
    html! {
        table {
            tr { th { "signal: tenth, median, ninetieth of a hundred" } th { "generated" } th { "real" } }
            @for row in &evaluation.health {
                tr { td { (row.measure) } td { (three(row.generated)) } td { (three(row.real)) } }
            }
        }
    }
}

/// The table of the training sounds that the generated ones are nearest to.
fn nearest(evaluation: &Evaluation) -> Markup {
    html! {
        details {
            summary { "Nearest to training sounds" }
            table {
                tr { th { "generated" } th { "training" } th { "dB apart" } th { "nearest / second" } th {} }
                @for pair in &evaluation.nearest {
                    tr {
                        td { (printable(&pair.generated)) }
                        td { (printable(&pair.training)) }
                        td { (digits(pair.distance)) }
                        td { (pair.ratio.map_or("–".to_owned(), digits)) }
                        td { @if pair.copy { "copy" } }
                    }
                }
            }
        }
    }
}

/// Pictures of each class, and players for the first sounds of it.
fn gallery(real: &Sounds, generated: &[&Sounds]) -> Result<Markup> {
    let mut parts = Vec::new();
    for label in real.labels().into_keys() {
        let name = label.as_deref().unwrap_or("sounds");
        parts.push(html! { h2 { (printable(name)) } });
        for sounds in generated.iter().copied().chain([real]) {
            let own = sounds.clips(&label, DRAWN)?;
            if own.is_empty() {
                continue;
            }
            let cells: Vec<_> = own
                .iter()
                .map(|(s, clip)| (s.name.clone(), &**clip))
                .collect();
            let picture = STANDARD.encode(sound_sheet_png(&cells)?);
            let mut heard = Vec::new();
            for (sound, clip) in own.iter().take(HEARD) {
                let wav = STANDARD.encode(wav_bytes(clip, BitDepth::Int16)?);
                heard.push((printable(&sound.name), wav));
            }
            parts.push(html! {
                h3 { (printable(&sounds.name)) }
                div.row {
                    @for (name, wav) in heard {
                        audio controls preload="none" title=(name) src={ "data:audio/wav;base64," (wav) } {}
                    }
                }
                img alt="waveforms and spectrograms" src={ "data:image/png;base64," (picture) };
            });
        }
    }
    Ok(html! { @for part in parts { (part) } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Clip;
    use crate::eval::{Class, Ear, Pair, Sound};
    use crate::noise::Noise;
    use crate::representation::Format;

    const RATE: u32 = 16_000;
    const FRAMES: usize = 4096;

    /// Eight noises of one class.
    fn heard(name: &str, label: &str, seed: u64) -> Sounds {
        let format = Format {
            sample_rate: RATE,
            channels: 1,
            len_frames: FRAMES,
        };
        let ear = Ear::new(format, 256).unwrap();
        let sound = |i: u64| {
            let samples = Noise::new(seed + i).normals(FRAMES);
            let clip = Clip::new(RATE, vec![samples.iter().map(|x| 0.1 * x).collect()]);
            let sound = Sound::new(&ear, format!("{name} {i}"), Some(label.to_owned()), &clip);
            sound.unwrap().unwrap()
        };
        Sounds {
            name: name.to_owned(),
            format,
            sounds: (0..8).map(sound).collect(),
            unusable: 0,
            chosen: None,
        }
    }

    #[test]
    fn every_name_and_sentence_is_escaped_wherever_it_stands() {
        let hostile = |place: &str| format!("<script>\"&\u{1b}{place}");
        let escaped = |place: &str| format!("&lt;script&gt;&quot;&amp;\\u{{1b}}{place}");
        let mut real = heard(&hostile("real"), &hostile("label"), 0);
        real.chosen = Some(hostile("chosen"));
        let generated = heard(&hostile("generated"), &hostile("label"), 100);
        let reference = Reference::new(real, None, 0).unwrap();
        let mut evaluation = reference
            .evaluate(std::slice::from_ref(&generated))
            .unwrap();
        evaluation.verdicts.push(hostile("verdict"));
        evaluation.notes.push(hostile("note"));
        evaluation.classes.push(Class {
            label: hostile("class"),
            generated: 8,
            real: 8,
            consistency: 1.0,
            real_consistency: 1.0,
            taken_for: Some(hostile("taken for")),
            medians: Default::default(),
        });
        evaluation.nearest.push(Pair {
            generated: hostile("near"),
            training: hostile("training"),
            distance: 1.0,
            ratio: None,
            copy: true,
        });

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        report(&path, &reference, &[evaluation], &[&generated]).unwrap();
        let page = std::fs::read_to_string(&path).unwrap();
        for place in [
            "real",
            "label",
            "chosen",
            "generated",
            "verdict",
            "note",
            "class",
            "taken for",
            "near",
            "training",
            "generated 0",
            "real 3",
        ] {
            assert!(page.contains(&escaped(place)), "{place}");
        }
        assert!(page.contains("<h1>Generated sounds against real ones</h1>"));
        assert!(page.contains(&format!(
            "title=\"{}\" src=\"data:audio/wav",
            escaped("generated 0")
        )));
        assert!(!page.contains("<script") && !page.contains('\u{1b}'));
        // In the style alone ampersands and quotes stand for themselves.
        let body = page.split("<body>").nth(1).unwrap();
        for (at, _) in body.match_indices('&') {
            let rest = &body[at..];
            assert!(
                ["&lt;", "&gt;", "&amp;", "&quot;"]
                    .iter()
                    .any(|e| rest.starts_with(e)),
                "{}",
                &rest[..20]
            );
        }
    }
}
