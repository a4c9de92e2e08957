//! Which class of an old model a new label means.
//!
//! Folders are called `Kicks`, `BD` or `808 Bass` where a model says `kick` and `bass`. What matches begins with what
//! the model knows of its class; its own name stays in the new model.

/// Names of one kind of sound, in lower case and in the singular; the first stands for all.
const KINDS: [&[&str]; 22] = [
    &[
        "kick",
        "bd",
        "bass drum",
        "bassdrum",
        "kick drum",
        "kickdrum",
        "kik",
        "kck",
        "bass kick",
    ],
    &["snare", "sd", "sn", "snr", "snare drum", "snaredrum"],
    &[
        "hat closed",
        "closed hat",
        "hihat",
        "hat",
        "hh",
        "ch",
        "chh",
        "hhc",
        "hc",
        "closed hihat",
        "hihat closed",
        "closed hh",
        "hh closed",
        "pedal hat",
        "pedal hihat",
        "hat pedal",
        "hihat pedal",
        "hi hat",
        "closed hi hat",
        "hi hat closed",
        "hi hat pedal",
        "pedal hi hat",
    ],
    &[
        "hat open",
        "open hat",
        "oh",
        "ohh",
        "hho",
        "ho",
        "open hihat",
        "hihat open",
        "open hh",
        "hh open",
        "open hi hat",
        "hi hat open",
    ],
    &["clap", "cp", "clp", "hand clap", "handclap"],
    &[
        "rim",
        "rs",
        "rimshot",
        "rim shot",
        "sidestick",
        "side stick",
        "cross stick",
        "crossstick",
        "rim click",
        "rimclick",
        "stick",
    ],
    &[
        "tom",
        "tomtom",
        "tom tom",
        "lt",
        "mt",
        "ht",
        "low tom",
        "mid tom",
        "high tom",
        "hi tom",
        "floor tom",
        "rack tom",
        "tom low",
        "tom mid",
        "tom high",
        "tom hi",
        "lo tom",
        "tom lo",
    ],
    &[
        "cymbal",
        "cy",
        "cym",
        "crash",
        "ride",
        "splash",
        "china",
        "crash cymbal",
        "ride cymbal",
        "cc",
        "rc",
        "splash cymbal",
        "china cymbal",
    ],
    &["perc", "percussion", "percussive", "prc"],
    &[
        "bass", "808", "808 bass", "sub", "sub bass", "subbass", "bs", "bassline",
    ],
    &["synth", "synthesizer", "synthesiser", "synth stab", "stab"],
    &["pluck", "plucked", "plk"],
    &[
        "mallet",
        "marimba",
        "vibraphone",
        "xylophone",
        "glockenspiel",
        "vibe",
    ],
    &["fx", "sfx", "effect", "sound effect", "sound fx"],
    &["voice", "vocal", "vox"],
    &["string", "violin", "cello"],
    &["brass", "trumpet", "horn"],
    &["key", "keyboard", "piano"],
    &["pad", "synth pad"],
    &["lead", "synth lead"],
    &["guitar", "gtr"],
    &["shaker", "shk"],
];

/// Words that say nothing of the kind.
const EMPTY: [&str; 6] = ["one", "oneshot", "shot", "sample", "sound", "drum"];

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
        kind(label).map_or(Vec::new(), |own| among(&|class| kind(class) == Some(own)))
    };
    let one = |label: &String| ClassMatch {
        label: label.clone(),
        classes: meant(label),
    };
    new.iter().map(one).collect()
}

/// A label's words in lower case and in the singular.
fn words(label: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in label.chars() {
        // `HiHat` and `Kick2` are two words each.
        let turns = (before.is_lowercase() && c.is_uppercase())
            || (before.is_alphabetic() && c.is_numeric())
            || (before.is_numeric() && c.is_alphabetic());
        if turns || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    // The rest of `808s` is no word.
    words.retain(|word| !word.is_empty() && word != "s");
    words.iter().map(|word| singular(word)).collect()
}

fn singular(word: &str) -> String {
    let sibilant = ["shes", "ches", "xes", "sses"];
    let cut = match word {
        // These are no plurals.
        "bass" | "brass" | "bs" | "rs" => 0,
        _ if sibilant.iter().any(|end| word.ends_with(end)) => 2,
        _ if word.len() > 2 && word.ends_with('s') && !word.ends_with("ss") => 1,
        _ => 0,
    };
    word[..word.len() - cut].to_owned()
}

/// The kind of sound that a label names, by its place among [`KINDS`]: as a whole, without numbers and empty words, or
/// by the words that it begins or ends with (`Hard Kicks`, `Snare Acoustic`) where these do not name two.
fn kind(label: &str) -> Option<usize> {
    let named = |words: &[String]| {
        let phrase = words.join(" ");
        KINDS.iter().position(|kind| kind.contains(&&*phrase))
    };
    let all = words(label);
    let plain = |word: &&String| !word.chars().all(char::is_numeric);
    let numberless: Vec<String> = all.iter().filter(plain).cloned().collect();
    let telling = |word: &&String| !EMPTY.contains(&&***word);
    let bare: Vec<String> = numberless.iter().filter(telling).cloned().collect();
    if let Some(whole) = [&all, &numberless, &bare]
        .into_iter()
        .find_map(|w| named(w))
    {
        return Some(whole);
    }
    let lengths = || (1..bare.len()).rev();
    let first = lengths().find_map(|n| named(&bare[..n]));
    let last = lengths().find_map(|n| named(&bare[bare.len() - n..]));
    match (first, last) {
        (Some(first), Some(last)) if first != last => None,
        (first, last) => first.or(last),
    }
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
