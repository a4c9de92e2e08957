//! What the model card says of the sounds that were learnt, as the tables tell it.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::Recording;

/// Label and SPDX identifier of the terms of one sound.
pub type Terms<'a> = (&'a str, &'a str);

/// Terms of the sounds of our own.
pub const OWN: &str = "MIT OR Apache-2.0";

/// How the terms are headed, and what their identifiers begin with.
const COLUMNS: [(&str, &str); 6] = [
    ("CC0", "CC0-"),
    ("CC-BY", "CC-BY-"),
    ("MIT", "MIT"),
    ("BSD", "BSD-"),
    ("Apache", "Apache-"),
    ("synthesized", OWN),
];

/// The card's part made of tables: how many sounds there are of each label and terms, and who is to be thanked for
/// those of repositories.
pub fn text(sounds: &[Terms], learnt: &[&Recording]) -> String {
    format!("{}\n{}", table(sounds), credits(learnt))
}

/// How many sounds there are of each label and terms, as a table in Markdown.
fn table(sounds: &[Terms]) -> String {
    let column = |licence: &str| {
        // The last that fits: our own terms begin as others do.
        let fits = |&(_, start): &(&str, &str)| licence.starts_with(start);
        COLUMNS.iter().rposition(fits)
    };
    let mut labels: BTreeMap<&str, [usize; COLUMNS.len()]> = BTreeMap::new();
    for (label, licence) in sounds {
        let counts = labels.entry(label).or_default();
        if let Some(column) = column(licence) {
            counts[column] += 1;
        }
    }
    let row = |name: &str, all: &str, cells: &[String]| {
        format!("| {name} | {all} | {} |\n", cells.join(" | "))
    };
    let mut text = row("label", "all", &COLUMNS.map(|(name, _)| name.to_owned()));
    text += &format!("|---|{}\n", "---:|".repeat(COLUMNS.len() + 1));
    let mut sums = [0; COLUMNS.len()];
    for (label, counts) in labels {
        let all: usize = counts.iter().sum();
        text += &row(label, &all.to_string(), &counts.map(|n| n.to_string()));
        for (sum, n) in sums.iter_mut().zip(counts) {
            *sum += n;
        }
    }
    let all: usize = sums.iter().sum();
    let bold = |n: usize| format!("**{n}**");
    text + &row("**all**", &bold(all), &sums.map(bold))
}

/// Who is to be thanked for recordings, as items of a list in Markdown, a source each.
fn credits(recordings: &[&Recording]) -> String {
    let mut of_source: BTreeMap<&str, Vec<&Recording>> = BTreeMap::new();
    for recording in recordings {
        let source = recording.repository.source;
        of_source.entry(source).or_default().push(recording);
    }
    let mut text = String::new();
    for recordings in of_source.values() {
        let repository = recordings[0].repository;
        text += &format!(
            "- **{}**, {} recordings of <https://github.com/{}>; {};\n  by {}\n",
            repository.title,
            recordings.len(),
            repository.name,
            and(recordings.iter().map(|r| r.licence)),
            and(recordings.iter().map(|r| r.author)),
        );
    }
    text
}

/// `a`, `a and b`, `a, b and c`: sorted, each once.
fn and<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.collect();
    let names: Vec<&str> = names.into_iter().collect();
    match &names[..] {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sound_is_counted_once_under_its_terms() {
        let sounds = [
            ("kick", "CC0-1.0"),
            ("kick", OWN),
            ("clap", "MIT"),
            ("kick", "CC-BY-4.0"),
            ("kick", "CC0-1.0"),
        ];
        let text = table(&sounds);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "| clap | 1 | 0 | 0 | 1 | 0 | 0 | 0 |");
        assert_eq!(lines[3], "| kick | 4 | 2 | 1 | 0 | 0 | 0 | 1 |");
        assert_eq!(
            lines[4],
            "| **all** | **5** | **2** | **1** | **1** | **0** | **0** | **1** |"
        );
    }

    #[test]
    fn names_are_joined_as_in_a_sentence() {
        assert_eq!(and(["b", "a", "b"].into_iter()), "a and b");
        assert_eq!(and(["c", "b", "a"].into_iter()), "a, b and c");
        assert_eq!(and(["a", "a"].into_iter()), "a");
    }
}
