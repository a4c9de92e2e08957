//! The kinds of sounds that names tell, by the words that people call their folders and files by: `Kicks`, `BD`,
//! `808 Bass`, `Bombo_03`.

use std::collections::HashMap;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::composed;

/// Names of each kind of sound, in lower case, in the singular and without accents; the first stands for all. They are
/// those of drum machines, of English, and of Spanish, Portuguese, French, Italian and German packs.
const KINDS: [&str; 36] = [
    "kick|bd|bass drum|bassdrum|kick drum|kickdrum|kik|kck|bass kick|bombo|bumbo|grosse caisse|grossecaisse|gran cassa|\
     grancassa|cassa|kd",
    "snare|sd|sn|snr|snare drum|snaredrum|caja|caixa|caisse claire|caisseclaire|rullante|tarola|redoblante",
    CLOSED_HAT,
    "hat open|open hat|oh|ohh|hho|ho|open hihat|hihat open|open hh|hh open|open hi hat|hi hat open|hhopen|hat o|\
     hihat o|openhat|openhihat|hatopen|charley ouvert|charleston ouverte|charles abierto|chimbal aberto|charleston aperto",
    "clap|cp|clp|hand clap|handclap|palma|palmada|clapping",
    "rim|rs|rimshot|rim shot|sidestick|side stick|cross stick|crossstick|rim click|rimclick|stick|aro",
    "tom|tomtom|tom tom|lt|mt|ht|low tom|mid tom|high tom|hi tom|floor tom|rack tom|tom low|tom mid|tom high|tom hi|\
     lo tom|tom lo|lowtom|midtom|hitom|hightom|floortom|timbalao",
    "cymbal|cy|cym|crash|ride|splash|china|crash cymbal|ride cymbal|cc|rc|splash cymbal|china cymbal|cymb|platillo|\
     prato|piatto|piatti|cymbale|becken|crashcymbal|ridecymbal",
    "perc|percussion|percussive|prc|percu|percusion|percussao|percussione|perkussion",
    "shaker|shk|shakere|shekere|maraca|ma|caxixi|cabasa|cabaza|ganza",
    "cowbell|cow bell|cb|cencerro|campana",
    "clave|cl",
    "conga|cga|lc|mc|tumba|tumbadora",
    "bongo",
    "tambourine|tamb|tambo|tambourin|pandereta|pandeireta|pandeiro|tamburello|schellenring",
    "triangle|triangulo|triangolo",
    "agogo",
    "timbale",
    "woodblock|wood block|wb|templeblock|temple block",
    "guiro",
    "snap|finger snap|fingersnap|snp",
    "djembe",
    "cajon",
    "tabla",
    "bass|808|808 bass|sub|sub bass|subbass|bs|bassline|synth bass|bass synth|bajo|baixo|basso",
    "synth|synthesizer|synthesiser|synth stab|stab",
    "pluck|plucked|plk",
    "mallet|marimba|vibraphone|xylophone|glockenspiel|vibe",
    "fx|sfx|effect|sound effect|sound fx|efecto|efeito|effet|effetto|effekt",
    "voice|vocal|vox|voz|voix|voce|stimme",
    "string|violin|cello",
    "brass|trumpet|horn",
    "key|keyboard|piano",
    "pad|synth pad",
    "lead|synth lead",
    "guitar|gtr|guitarra|guitare|chitarra|gitarre",
];

const CLOSED_HAT: &str = "hat closed|closed hat|hihat|hat|hh|ch|chh|hhc|hc|closed hihat|hihat closed|closed hh|\
    hh closed|pedal hat|pedal hihat|hat pedal|hihat pedal|hi hat|closed hi hat|hi hat closed|hi hat pedal|\
    pedal hi hat|hhclosed|hat c|hihat c|closedhat|closedhihat|hatclosed|charley|charleston|charles|chimbal|\
    contratempo|charley ferme|charles cerrado|chimbal fechado|charleston chiuso";

/// Places among [`KINDS`].
const HAT_CLOSED: usize = 2;
const HAT_OPEN: usize = 3;
const PERCUSSION: usize = 8;
/// Up to here they are drums.
const DRUMS: usize = 24;

/// Words of a name that say which hat is open.
const OPEN: [&str; 5] = ["open", "opened", "opn", "abierto", "ouvert"];

/// Words that say nothing of the kind.
const EMPTY: [&str; 6] = ["one", "oneshot", "shot", "sample", "sound", "drum"];

/// Most words of a name of a kind.
const LONGEST: usize = 3;

static PLACES: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    let of = |(place, kind): (usize, &&'static str)| kind.split('|').map(move |name| (name, place));
    KINDS.iter().enumerate().flat_map(of).collect()
});

/// A kind of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(usize);

impl Kind {
    /// The kind that a label names: as a whole, without numbers and empty words, or by the words that it begins or ends
    /// with (`Hard Kicks`, `Snare Acoustic`) where these do not name two.
    pub(crate) fn of(label: &str) -> Option<Self> {
        let all = words(&plain(label));
        let numberless: Vec<String> = all
            .iter()
            .filter(|word| !is_number(word))
            .cloned()
            .collect();
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

    /// The kind that the words anywhere in the name of a file or folder tell (`VENDOR_Kick_Hard_03`), where these do
    /// not tell two. Numbers tell none, for `808` is a drum machine as often as a bass; a drum goes before what is
    /// none, and any percussion by its own name before `perc`.
    #[must_use]
    pub fn within(name: &str) -> Option<Self> {
        let mut words = words(&plain(name));
        words.retain(|word| !is_number(word));
        let (mut found, mut place) = (Vec::new(), 0);
        while place < words.len() {
            let lengths = (1..=LONGEST.min(words.len() - place)).rev();
            let phrase = lengths
                .filter_map(|n| Some((n, named(&words[place..place + n])?)))
                .next();
            place += phrase.map_or(1, |(n, _)| n);
            found.extend(phrase.map(|(_, kind)| kind));
        }
        if found.iter().any(|kind| kind.0 < DRUMS) {
            found.retain(|kind| kind.0 < DRUMS);
        }
        if words.iter().any(|word| OPEN.contains(&&**word)) {
            let opened = found.iter_mut().filter(|kind| kind.0 == HAT_CLOSED);
            opened.for_each(|kind| *kind = Self(HAT_OPEN));
        }
        found.sort();
        found.dedup();
        if found.len() > 1 {
            found.retain(|kind| kind.0 != PERCUSSION);
        }
        match found[..] {
            [one] => Some(one),
            _ => None,
        }
    }

    /// What a model calls its class.
    #[must_use]
    pub fn name(self) -> String {
        let (name, _) = KINDS[self.0].split_once('|').unwrap_or((KINDS[self.0], ""));
        name.replace(' ', "_")
    }

    /// The kind of a file called `own` in a folder of this kind: `Hats` hold open ones too.
    pub(crate) fn with(self, own: Option<Self>) -> Self {
        own.filter(|own| self.0 == HAT_CLOSED && own.0 == HAT_OPEN)
            .unwrap_or(self)
    }
}

/// The kind of which these words are a name.
fn named(words: &[String]) -> Option<Kind> {
    let place = match words {
        [one] => PLACES.get(&**one),
        _ => PLACES.get(&*words.join(" ")),
    };
    place.copied().map(Kind)
}

fn is_number(word: &str) -> bool {
    word.chars().all(char::is_numeric)
}

/// A name without its accents.
fn plain(name: &str) -> String {
    name.nfd().filter(|&c| !is_combining_mark(c)).collect()
}

/// A label's words in lower case and in the singular.
pub(crate) fn words(label: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in composed(label).chars() {
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
        "bass" | "brass" | "bs" | "rs" | "charles" => 0,
        _ if sibilant.iter().any(|end| word.ends_with(end)) => 2,
        _ if word.len() > 2 && word.ends_with('s') && !word.ends_with("ss") => 1,
        _ => 0,
    };
    word[..word.len() - cut].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_each_of_its_names_once_and_its_place() {
        let names = KINDS.iter().flat_map(|kind| kind.split('|'));
        let all: Vec<&str> = names.collect();
        for name in &all {
            let repeated = all.iter().filter(|other| *other == name).count();
            assert_eq!(repeated, 1, "{name}");
            let spelt: Vec<String> = name.split(' ').map(str::to_owned).collect();
            assert!(spelt.len() <= LONGEST, "{name}");
            assert_eq!(words(&plain(name)), words(name), "{name}: an accent");
            let singulars: Vec<String> = spelt.iter().map(|word| singular(word)).collect();
            assert_eq!(singulars, spelt, "{name}: a plural is never met");
        }
        let names = [HAT_CLOSED, HAT_OPEN, PERCUSSION].map(|place| Kind(place).name());
        assert_eq!(names, ["hat_closed", "hat_open", "perc"]);
        assert_eq!(Kind(DRUMS).name(), "bass");
    }

    #[test]
    fn names_of_files_and_packs_tell_their_kind_by_whole_words() {
        for (kind, names) in [
            (
                "kick",
                "Kick_01|BD 808 Long|VENDOR_SP_Kick_Hard_C#|Bombo03|KICK-12|Bass_Drum_2|Best Kicks Vol 2|kick1 Key C",
            ),
            (
                "snare",
                "SD_03|Caja 2|Snare (4)|tr808__Snare5|Snare Drum 1|Snares - Dry",
            ),
            (
                "hat_open",
                "HH Open 3|OH1|Hihat_909_Open|OpenHat 2|open-hi-hat_1|Charley ouvert",
            ),
            (
                "hat_closed",
                "CH 2|ClosedHat_1|HH|Hi-Hat 3|hihat_closed_02|Chimbal 1",
            ),
            ("rim", "RS 1|Rimshot_3|Side Stick"),
            ("clap", "CP01|Clap 4|808 Hand Clap"),
            ("tom", "LT 1|MT2|Tom Hi 4|FloorTom3"),
            ("cymbal", "CC 1|Ride_Bell_2|Crash-03|Platillos"),
            ("perc", "Perc 7|Percusi\u{f3}n 2|Percusio\u{301}n_1"),
            ("shaker", "Shaker 3|Maracas 1|Perc Shaker 2"),
            ("cowbell", "Cowbell|CB 1"),
            ("clave", "Claves_01"),
            ("conga", "Conga Hi 2|Perc_Congas_4"),
            ("bass", "Synth Bass 3|Bass_C1"),
        ] {
            for name in names.split('|') {
                let found = Kind::within(name).map(Kind::name);
                assert_eq!(found.as_deref(), Some(kind), "{name}");
            }
        }
        for nothing in [
            "808",
            "TR-909",
            "01",
            "VENDOR Pack Vol 1",
            "One Shots",
            "Kick Snare 1",
            "Kickstart",
            "Chord",
            "",
        ] {
            assert_eq!(Kind::within(nothing), None, "{nothing}");
        }
    }
}
