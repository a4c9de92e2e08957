//! Names that people give and choose by: how they are compared, what was meant by one that is not there, and the kinds
//! of sounds that they tell.

mod kinds;

pub use kinds::Kind;
pub(crate) use kinds::words;

use unicode_normalization::UnicodeNormalization;

/// At most so many names are proposed.
const PROPOSED: usize = 3;

/// A name in composed letters, Unicode's NFC: macOS writes an accent after its letter, keyboards both as one.
///
/// ```
/// assert_eq!(audiodiff::names::composed("Bombe\u{301}"), "Bomb\u{e9}");
/// ```
#[must_use]
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// The place of the `wanted` name among those `known`: however its letters are composed, and in upper or lower case
/// where that leaves but one.
///
/// ```
/// use audiodiff::names::find;
///
/// assert_eq!(find("KICK", &["hat", "kick"]), Some(1));
/// assert_eq!(find("KICK", &["Kick", "kick"]), None);
/// assert_eq!(find("Kick", &["Kick", "kick"]), Some(0));
/// ```
#[must_use]
pub fn find(wanted: &str, known: &[impl AsRef<str>]) -> Option<usize> {
    let wanted = composed(wanted);
    let own = |name: &str| composed(name) == wanted;
    if let Some(found) = known.iter().position(|name| own(name.as_ref())) {
        return Some(found);
    }
    let folded = wanted.to_lowercase();
    let mut alike = (known.iter().enumerate())
        .filter(|(_, name)| composed(name.as_ref()).to_lowercase() == folded)
        .map(|(place, _)| place);
    alike.next().filter(|_| alike.next().is_none())
}

/// The end of a sentence that refuses the `wanted` name: those of the `known` that were probably meant, or nothing.
///
/// ```
/// use audiodiff::names::meant;
///
/// assert_eq!(meant("kicks", &["hat", "kick"]), "; did you mean `kick`?");
/// assert_eq!(meant("gong", &["hat", "kick"]), "");
/// ```
#[must_use]
pub fn meant(wanted: &str, known: &[impl AsRef<str>]) -> String {
    let proposed: Vec<String> = (alike(wanted, known).into_iter().take(PROPOSED))
        .map(|name| format!("`{name}`"))
        .collect();
    match &proposed[..] {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [others @ .., last] => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

/// Those of the names that are most like another, by the first likeness that any of them has to it: the same words but
/// for case, plural and punctuation; a few letters changed; how it begins; the same kind of sound.
fn alike<'a>(wanted: &str, known: &'a [impl AsRef<str>]) -> Vec<&'a str> {
    let of = |is_alike: &dyn Fn(&str) -> bool| -> Vec<&'a str> {
        let names = known.iter().map(AsRef::as_ref);
        names.filter(|name| is_alike(name)).collect()
    };
    let folded = |name: &str| composed(name).to_lowercase();
    let (own, own_words, own_kind) = (folded(wanted), words(wanted), Kind::of(wanted));
    let same =
        of(&|name| folded(name) == own || (!own_words.is_empty() && words(name) == own_words));
    if !same.is_empty() {
        return same;
    }
    // A third of the letters, of three letters one, of two neither.
    let distance = |name: &str| {
        let name = folded(name);
        let longest = name.chars().count().max(own.chars().count());
        Some(strsim::osa_distance(&own, &name))
            .filter(|&letters| longest > 2 && letters <= (longest + 1) / 3)
    };
    let nearest = known
        .iter()
        .filter_map(|name| distance(name.as_ref()))
        .min();
    if nearest.is_some() {
        return of(&|name| distance(name) == nearest);
    }
    let begun = of(&|name| own.chars().count() > 1 && folded(name).starts_with(&own));
    if !begun.is_empty() {
        return begun;
    }
    of(&|name| own_kind.is_some() && Kind::of(name) == own_kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [&str; 6] = ["hat_closed", "hat_open", "kick", "perc", "rim", "snare"];

    #[test]
    fn a_name_is_found_however_it_is_composed_and_by_case_where_that_is_no_question() {
        let names = ["Bomb\u{e9}", "Zap", "zap", "kick"];
        assert_eq!(find("Bombe\u{301}", &names), Some(0));
        assert_eq!(find("BOMBE\u{301}", &names), Some(0));
        assert_eq!(find("Bombe\u{301}", &["bombe\u{301}"]), Some(0));
        assert_eq!((find("zap", &names), find("ZAP", &names)), (Some(2), None));
        assert_eq!(
            (find("Kick", &names), find("kicks", &names)),
            (Some(3), None)
        );
    }

    #[test]
    fn what_was_meant_is_told_by_words_letters_beginnings_and_kinds() {
        for (wanted, told) in [
            ("Kicks", "`kick`"),
            ("kikc", "`kick`"),
            ("snair", "`snare`"),
            ("Hat-Open", "`hat_open`"),
            ("hat", "`hat_closed` or `hat_open`"),
            ("BD", "`kick`"),
            ("Caja", "`snare`"),
        ] {
            assert_eq!(
                meant(wanted, &CLASSES),
                format!("; did you mean {told}?"),
                "{wanted}"
            );
        }
        for nothing in ["gong", "", "x", "qq", "loop", "-"] {
            assert_eq!(meant(nothing, &CLASSES), "", "{nothing}");
        }
        assert_eq!(
            meant("KICK", &["Kick", "kick"]),
            "; did you mean `Kick` or `kick`?"
        );
        assert_eq!(meant("kick", &[""; 0]), "");
    }
}
