//! Which class of an old model a new label means.
//!
//! Folders are called `Kicks`, `BD` or `808 Bass` where a model says `kick` and `bass`. What matches begins with what
//! the model knows of its class; its own name stays in the new model.

use crate::names::{Kind, words};

/// How a label was taken for classes of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMatch {
    /// The new label.
    pub label: String,
    /// The classes that it was taken for, whose mean it begins with; none where it is new.
    pub classes: Vec<String>,
}

/// The `old` label of each of the `new` ones: its own name, else the same name but for case, plural and
/// punctuation, else another name of the same kind.
pub(super) fn matches(old: &[String], new: &[String]) -> Vec<ClassMatch> {
    let among = |same: &dyn Fn(&str) -> bool| -> Vec<String> {
        let same = old.iter().filter(|class| same(class));
        same.cloned().collect()
    };
    let meant = |label: &String| {
        let exact = among(&|class| class == label);
        if !exact.is_empty() {
            return exact;
        }
        let folded = among(&|class| words(class) == words(label));
        if !folded.is_empty() {
            return folded;
        }
        Kind::of(label).map_or(Vec::new(), |own| {
            among(&|class| Kind::of(class) == Some(own))
        })
    };
    let one = |label: &String| ClassMatch {
        label: label.clone(),
        classes: meant(label),
    };
    new.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: [&str; 14] = [
        "bass",
        "clap",
        "cymbal",
        "fx",
        "hat_closed",
        "hat_open",
        "kick",
        "mallet",
        "perc",
        "pluck",
        "rim",
        "snare",
        "synth",
        "tom",
    ];

    fn one(old: &[&str], label: &str) -> Vec<String> {
        let old: Vec<String> = old.iter().map(|&name| name.to_owned()).collect();
        matches(&old, &[label.to_owned()]).remove(0).classes
    }

    #[test]
    fn usual_names_of_folders_are_taken_for_the_class_that_they_mean() {
        for (class, labels) in [
            (
                "kick",
                "Kicks|KICK|BD|Bass Drum|Bass Drums|bass_drum|Kick Drums|808 Kicks|Kick 808|Hard Kicks|01 Kicks|Kick - Deep|BassDrum",
            ),
            (
                "snare",
                "Snares|SD|Snare Drum|Snares Acoustic|snare-drums|Drum Snare",
            ),
            (
                "hat_closed",
                "Hi-Hat|HiHats|hihat|HH closed|Closed Hats|CH|HH|hat-closed|Hats|Hats Closed|Hi Hat Closed|Closed Hi-Hats",
            ),
            (
                "hat_open",
                "OH|Open Hat|HH open|Open Hi-Hats|hat-open|OpenHat|Hats Open",
            ),
            ("clap", "Claps|CP|Hand Claps|HandClap"),
            (
                "rim",
                "Rimshot|Rim Shots|Sidestick|Side Stick|RS|Rims|Cross Sticks",
            ),
            ("tom", "Toms|Tom-Tom|Low Tom|Floor Toms|LT"),
            (
                "cymbal",
                "Cymbals|Crash|Crashes|Ride|Rides|Crash Cymbals|CY",
            ),
            ("perc", "Percussion|Percs|PERC|Percussions"),
            (
                "bass",
                "808 Bass|808|808s|Basses|Sub Bass|BASS|Bass One Shots",
            ),
            ("fx", "FX|SFX|Effects|Sound Effects"),
            ("synth", "Synths|Synth Shots"),
            ("pluck", "Plucks"),
            ("mallet", "Mallets|Marimba"),
        ] {
            for label in labels.split('|') {
                assert_eq!(one(&BUILT_IN, label), [class], "{label}");
            }
        }
        for label in [
            "Zap",
            "Loops",
            "Snare Clap",
            "Strings",
            "",
            "123",
            "Kit",
            "Basement",
            "Ooh",
            "Shaker",
        ] {
            assert!(one(&BUILT_IN, label).is_empty(), "{label}");
        }
    }

    #[test]
    fn the_nearest_name_goes_first_and_several_of_a_kind_are_all_meant() {
        let old = ["Crash", "Ride", "crash", "BD", "kick"];
        assert_eq!(one(&old, "crash"), ["crash"], "its own name");
        assert_eq!(one(&old, "Kicks"), ["kick"], "the same name in the plural");
        assert_eq!(one(&old, "Crashes"), ["Crash", "crash"]);
        assert_eq!(one(&old, "Cymbals"), ["Crash", "Ride", "crash"], "the kind");
        assert_eq!(
            one(&["glas", "Zaps"], "zap"),
            ["Zaps"],
            "names of no kind too"
        );
    }
}
