//! One page that holds everything: numbers, pictures and the sounds themselves.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Estimate, Judgement, Reference, Sounds};
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
    let mut page = String::new();
    head(&mut page, reference, judged);
    for judgement in judged {
        details(&mut page, judgement);
    }
    gallery(&mut page, reference.sounds(), made)?;
    page += "</body></html>\n";
    write_whole(path, page.as_bytes())
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            c => out.push(c),
        }
    }
    out
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

fn cell(estimate: Option<Estimate>, percent: bool) -> String {
    match estimate {
        None => "<td>–</td>".to_owned(),
        Some(Estimate { value, error }) if percent => {
            format!(
                "<td>{:.1}% <small>± {:.1}</small></td>",
                100.0 * value,
                100.0 * error
            )
        }
        Some(Estimate { value, error }) => {
            format!(
                "<td>{} <small>± {}</small></td>",
                digits(value),
                digits(error)
            )
        }
    }
}

fn head(page: &mut String, reference: &Reference, judged: &[Judgement]) {
    let real = reference.sounds();
    let floor = reference.floor();
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><title>audiodiff: sounds judged</title><style>{STYLE}</style>\
         <body><h1>Made sounds against real ones</h1><p>Reference: {} sounds of {}. Each number stands with its \
         standard error; the floor is what unseen real sounds get.</p>",
        real.sounds.len(),
        escaped(&real.name)
    );
    let chosen = real
        .chosen
        .iter()
        .map(|chosen| format!("The reference was held back: {chosen}."));
    let notes = reference.notes().iter().cloned();
    paragraphs(page, chosen.chain(notes));
    *page += "<table><tr><th></th>";
    for judgement in judged {
        let _ = write!(
            page,
            "<th>{}<br><small>{} sounds, {} {}, {} unusable</small></th>",
            escaped(&judgement.name),
            judgement.sounds,
            judgement.rounds,
            if judgement.rounds == 1 {
                "round"
            } else {
                "rounds"
            },
            judgement.unusable
        );
    }
    if reference.learnt().is_some() {
        *page += "<th>what was learnt</th>";
    }
    *page += "<th>floor</th><th>better</th></tr>";
    for (name, get, percent, better) in super::SCORES {
        let _ = write!(page, "<tr><td>{name}</td>");
        for judgement in judged {
            *page += &cell(get(&judgement.scores), percent);
        }
        if let Some(learnt) = reference.learnt() {
            *page += &cell(get(learnt), percent);
        }
        *page += &cell(get(floor), percent);
        let _ = write!(page, "<td>{better}</td></tr>");
    }
    *page += "</table>";
}

fn paragraphs(page: &mut String, sentences: impl Iterator<Item = String>) {
    for sentence in sentences {
        let _ = write!(page, "<p>{}</p>", escaped(&sentence));
    }
}

fn details(page: &mut String, judgement: &Judgement) {
    let _ = write!(page, "<h2>{}</h2>", escaped(&judgement.name));
    paragraphs(page, judgement.notes.iter().cloned());
    if !judgement.verdicts.is_empty() {
        *page += "<h3>Off by more than chance</h3><ul>";
        for verdict in &judgement.verdicts {
            let _ = write!(page, "<li>{}</li>", escaped(verdict));
        }
        *page += "</ul>";
    }
    signals(page, judgement);
    let number = |x: Option<f32>| x.map_or("–".to_owned(), |x| digits(f64::from(x)));
    if !judgement.classes.is_empty() {
        *page += "<table><tr><th>class</th><th>made</th><th>real</th><th>recognized</th><th>real recognized</th>\
                  <th>else taken for</th><th>decay, s</th><th>brightness, Hz</th><th>warble, cents</th></tr>";
        for class in &judgement.classes {
            let pair = |measure: &str| {
                let [made, real] = class.medians.get(measure).copied().unwrap_or_default();
                format!("{} <small>({})</small>", number(made), number(real))
            };
            let _ = write!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.0}%</td><td>{:.0}%</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                escaped(&class.label),
                class.made,
                class.real,
                100.0 * class.consistency,
                100.0 * class.real_consistency,
                escaped(class.taken_for.as_deref().unwrap_or("–")),
                pair("decay, s"),
                pair("brightness, Hz"),
                pair("warble, cents"),
            );
        }
        *page += "</table><p><small>Medians of the made sounds, in brackets of the real ones.</small></p>";
    }
    *page += "<table><tr><th>signal: tenth, median, ninetieth of a hundred</th><th>made</th><th>real</th></tr>";
    for row in &judgement.health {
        let three = |values: Option<[f32; 3]>| match values {
            Some(values) => values.map(|x| digits(f64::from(x))).join(" · "),
            None => "–".to_owned(),
        };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            row.measure,
            three(row.made),
            three(row.real)
        );
    }
    *page += "</table><details><summary>Nearest to learnt sounds</summary><table><tr><th>made</th><th>learnt</th>\
              <th>dB apart</th><th>nearest / second</th><th></th></tr>";
    for pair in &judgement.nearest {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&pair.made),
            escaped(&pair.learnt),
            digits(pair.distance),
            pair.ratio.map_or("–".to_owned(), digits),
            if pair.copy { "copy" } else { "" }
        );
    }
    *page += "</table></details>";
}

/// How noise, attacks and silence are made, with the medians of each class.
fn signals(page: &mut String, judgement: &Judgement) {
    *page +=
        "<table><tr><th>median</th><th>made</th><th>real</th><th>difference</th><th></th></tr>";
    for row in &judgement.signals {
        let _ = write!(page, "<tr><td>{}</td>", row.measure);
        for estimate in [row.made, row.real, row.difference] {
            *page += &cell(estimate, false);
        }
        let off = if row.off { "off" } else { "" };
        let _ = write!(page, "<td>{off}</td></tr>");
    }
    *page += "</table>";
    let labels: std::collections::BTreeSet<&str> = (judgement.signals.iter())
        .flat_map(|row| row.classes.iter().map(|class| class.label.as_str()))
        .filter(|label| !label.is_empty())
        .collect();
    if labels.is_empty() {
        return;
    }
    *page +=
        "<details><summary>The same by class</summary><table><tr><th>made (real), off in bold</th>";
    for label in &labels {
        let _ = write!(page, "<th>{}</th>", escaped(label));
    }
    *page += "</tr>";
    for row in &judgement.signals {
        let _ = write!(page, "<tr><td>{}</td>", row.measure);
        for label in &labels {
            let Some(class) = row.classes.iter().find(|class| class.label == **label) else {
                *page += "<td>–</td>";
                continue;
            };
            let (made, real) = (digits(class.made.value), digits(class.real.value));
            let made = if class.off {
                format!("<b>{made}</b>")
            } else {
                made
            };
            let _ = write!(page, "<td>{made} <small>({real})</small></td>");
        }
        *page += "</tr>";
    }
    *page += "</table></details>";
}

fn gallery(page: &mut String, real: &Sounds, made: &[&Sounds]) -> Result<()> {
    for label in real.labels().into_keys() {
        let _ = write!(
            page,
            "<h2>{}</h2>",
            escaped(label.as_deref().unwrap_or("sounds"))
        );
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
            let _ = write!(page, "<h3>{}</h3><div class=row>", escaped(&sounds.name));
            for (sound, clip) in own.iter().take(HEARD) {
                let wav = STANDARD.encode(wav_bytes(clip, BitDepth::Int16)?);
                let _ = write!(
                    page,
                    "<audio controls preload=none title=\"{}\" src=\"data:audio/wav;base64,{wav}\"></audio>",
                    escaped(&sound.name)
                );
            }
            let _ = write!(
                page,
                "</div><img alt=\"waveforms and spectrograms\" src=\"data:image/png;base64,{picture}\">"
            );
        }
    }
    Ok(())
}
