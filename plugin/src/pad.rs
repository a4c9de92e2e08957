//! The pads: how many, which keys play them, and which class each of them makes by default.

/// Pads of an instance.
pub const PADS: usize = 16;

/// The MIDI key of the first pad: C1, where General MIDI has its bass drum.
pub const FIRST_KEY: u8 = 36;

/// The key that plays a sound at its own pitch in keys mode: middle C.
pub const ROOT_KEY: u8 = 60;

/// Each pad's drum, in the order of General MIDI: words of which a class's name should have one, the first above all.
const DRUMS: [&[&str]; PADS] = [
    &["kick", "bassdrum", "bd", "808"],
    &["rim", "sidestick", "stick", "perc"],
    &["snare", "sd", "snr"],
    &["clap", "clp", "snap"],
    &["snare", "sd", "snr"],
    &["tom"],
    &["hatclosed", "closedhat", "hihat", "hat", "ch"],
    &["tom"],
    &["hatclosed", "closedhat", "hihat", "hat", "ch"],
    &["tom"],
    &["hatopen", "openhat", "oh", "hat"],
    &["tom"],
    &["perc", "conga", "bongo", "tom"],
    &["cymbal", "crash", "ride"],
    &["perc", "conga", "bongo", "tom"],
    &["cymbal", "ride", "crash"],
];

/// The seed that each pad begins with: of the built-in model's first 128 sounds of its drum one of the most real, by the
/// nearest recordings in the embedding of the model's card, and by eye.
pub(crate) const FIRST_SEEDS: [i32; PADS] = [
    1003, 1055, 1052, 1004, 1021, 1060, 1046, 3026, 1055, 1012, 1042, 1054, 1055, 1005, 1008, 1008,
];

/// The pads of hats, which silence each other.
pub(crate) const HATS: [usize; 3] = [6, 8, 10];

/// A class's name as words are looked for in it: its letters and digits, small.
pub(crate) fn words(label: &str) -> String {
    let plain = label.chars().filter(|c| c.is_alphanumeric());
    plain.flat_map(char::to_lowercase).collect()
}

/// The class that a pad makes by default: that of its drum if the model has one, else one that falls to it by turns.
pub(crate) fn default_class(pad: usize, labels: &[String]) -> Option<&String> {
    let of_drum = DRUMS[pad].iter().find_map(|word| {
        let exact = labels.iter().find(|label| words(label) == *word);
        exact.or_else(|| {
            labels
                .iter()
                .find(|label| word.len() > 2 && words(label).contains(word))
        })
    });
    of_drum.or_else(|| labels.get(pad % labels.len().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_take_the_drum_of_their_key_or_their_turn() {
        let labels = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let drums = labels("bass clap cymbal hat_closed hat_open kick rim snare tom");
        let class = |pad, labels: &[String]| default_class(pad, labels).cloned();
        for (pad, expected) in [
            (0, "kick"),
            (2, "snare"),
            (3, "clap"),
            (6, "hat_closed"),
            (10, "hat_open"),
        ] {
            assert_eq!(class(pad, &drums).as_deref(), Some(expected));
        }
        let packs = labels("My_Kicks Open-Hats Snares");
        assert_eq!(class(0, &packs).as_deref(), Some("My_Kicks"));
        assert_eq!(class(10, &packs).as_deref(), Some("Open-Hats"));
        assert_eq!(class(5, &labels("cat dog")).as_deref(), Some("dog"));
        assert_eq!(class(5, &[]), None);
    }
}
