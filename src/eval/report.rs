//! One page that holds everything: numbers, pictures and the sounds themselves.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Estimate, Judgement, Reference, SCORES, Sounds};
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

/// Writes the judgements of `made`, in that order, as one HTML file that refers to nothing outside itself.
///
/// # Errors
/// When the file cannot be written.
pub fn report(
    path: &Path,
    reference: &Reference,
    judged: &[Judgement],
    made: &[&Sounds],
) -> Result<()> {
    let gallery = gallery(reference.sounds(), made)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "audiodiff: sounds judged" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Made sounds against real ones" }
                (scores(reference, judged))
                @for judgement in judged {
                    (details(judgement))
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

/// The table of scores, a column for each judgement, and the sentences above it.
fn scores(reference: &Reference, judged: &[Judgement]) -> Markup {
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
                @for judgement in judged {
                    th {
                        (printable(&judgement.name)) br;
                        small {
                            (judgement.sounds) " sounds, " (judgement.rounds)
                            @if judgement.rounds == 1 { " round, " } @else { " rounds, " }
                            (judgement.unusable) " unusable"
                        }
                    }
                }
                @if reference.learnt().is_some() {
                    th { "what was learnt" }
                }
                th { "floor" }
                th { "better" }
            }
            @for (name, get, percent, better) in SCORES {
                tr {
                    td { (name) }
                    @for judgement in judged {
                        (cell(get(&judgement.scores), percent))
                    }
                    @if let Some(learnt) = reference.learnt() {
                        (cell(get(learnt), percent))
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

fn details(judgement: &Judgement) -> Markup {
    html! {
        h2 { (printable(&judgement.name)) }
        (paragraphs(&judgement.notes))
        @if !judgement.verdicts.is_empty() {
            h3 { "Off by more than chance" }
            ul {
                @for verdict in &judgement.verdicts {
                    li { (printable(verdict)) }
                }
            }
        }
        (signals(judgement))
        @if !judgement.classes.is_empty() {
            (classes(judgement))
        }
        (health(judgement))
        (nearest(judgement))
    }
}

/// How noise, attacks and silence are made, with the medians of each class.
fn signals(judgement: &Judgement) -> Markup {
    let labels = (judgement.signals.iter())
        .flat_map(|row| row.classes.iter().map(|class| class.label.as_str()))
        .filter(|label| !label.is_empty());
    let labels: BTreeSet<&str> = labels.collect();
    html! {
        table {
            tr { th { "median" } th { "made" } th { "real" } th { "difference" } th {} }
            @for row in &judgement.signals {
                tr {
                    td { (row.measure) }
                    @for estimate in [row.made, row.real, row.difference] {
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
                        th { "made (real), off in bold" }
                        @for label in &labels {
                            th { (printable(label)) }
                        }
                    }
                    @for row in &judgement.signals {
                        tr {
                            td { (row.measure) }
                            @for label in &labels {
                                @match row.classes.iter().find(|class| class.label == **label) {
                                    Some(class) => td {
                                        @let made = digits(class.made.value);
                                        @if class.off { b { (made) } } @else { (made) }
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
fn classes(judgement: &Judgement) -> Markup {
    const MEDIANS: [&str; 3] = ["decay, s", "brightness, Hz", "warble, cents"];
    let percent = |x: f64| format!("{:.0}%", 100.0 * x);
    html! {
        table {
            tr {
                th { "class" } th { "made" } th { "real" } th { "recognized" } th { "real recognized" }
                th { "else taken for" }
                @for measure in MEDIANS {
                    th { (measure) }
                }
            }
            @for class in &judgement.classes {
                tr {
                    td { (printable(&class.label)) }
                    td { (class.made) }
                    td { (class.real) }
                    td { (percent(class.consistency)) }
                    td { (percent(class.real_consistency)) }
                    td { (printable(class.taken_for.as_deref().unwrap_or("–"))) }
                    @for measure in MEDIANS {
                        @let [made, real] = class.medians.get(measure).copied().unwrap_or_default();
                        td { (number(made)) " " small { "(" (number(real)) ")" } }
                    }
                }
            }
        }
        p { small { "Medians of the made sounds, in brackets of the real ones." } }
    }
}

/// The table of signal health.
fn health(judgement: &Judgement) -> Markup {
    let three = |values: Option<[f32; 3]>| match values {
        Some(values) => values.map(|x| digits(f64::from(x))).join(" · "),
        None => "–".to_owned(),
    };
    html! {
        table {
            tr { th { "signal: tenth, median, ninetieth of a hundred" } th { "made" } th { "real" } }
            @for row in &judgement.health {
                tr { td { (row.measure) } td { (three(row.made)) } td { (three(row.real)) } }
            }
        }
    }
}

/// The table of the learnt sounds that the made ones are nearest to.
fn nearest(judgement: &Judgement) -> Markup {
    html! {
        details {
            summary { "Nearest to learnt sounds" }
            table {
                tr { th { "made" } th { "learnt" } th { "dB apart" } th { "nearest / second" } th {} }
                @for pair in &judgement.nearest {
                    tr {
                        td { (printable(&pair.made)) }
                        td { (printable(&pair.learnt)) }
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
fn gallery(real: &Sounds, made: &[&Sounds]) -> Result<Markup> {
    let mut parts = Vec::new();
    for label in real.labels().into_keys() {
        let name = label.as_deref().unwrap_or("sounds");
        parts.push(html! { h2 { (printable(name)) } });
        for sounds in made.iter().copied().chain([real]) {
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
        let made = heard(&hostile("made"), &hostile("label"), 100);
        let reference = Reference::new(real, None, 0).unwrap();
        let mut judgement = reference.judge(std::slice::from_ref(&made)).unwrap();
        judgement.verdicts.push(hostile("verdict"));
        judgement.notes.push(hostile("note"));
        judgement.classes.push(Class {
            label: hostile("class"),
            made: 8,
            real: 8,
            consistency: 1.0,
            real_consistency: 1.0,
            taken_for: Some(hostile("taken for")),
            medians: Default::default(),
        });
        judgement.nearest.push(Pair {
            made: hostile("near"),
            learnt: hostile("learnt"),
            distance: 1.0,
            ratio: None,
            copy: true,
        });

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        report(&path, &reference, &[judgement], &[&made]).unwrap();
        let page = std::fs::read_to_string(&path).unwrap();
        for place in [
            "real",
            "label",
            "chosen",
            "made",
            "verdict",
            "note",
            "class",
            "taken for",
            "near",
            "learnt",
            "made 0",
            "real 3",
        ] {
            assert!(page.contains(&escaped(place)), "{place}");
        }
        assert!(page.contains("<h1>Made sounds against real ones</h1>"));
        assert!(page.contains(&format!(
            "title=\"{}\" src=\"data:audio/wav",
            escaped("made 0")
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
