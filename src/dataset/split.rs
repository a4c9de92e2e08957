//! Which sounds are held back: whole sources, and never one of two near-duplicates.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// Below so many sounds the number held back is exact; below so many it is one.
const FEW: usize = 21;
const VERY_FEW: usize = 10;
/// Below so many sounds nothing is held back.
const TOO_FEW: usize = 3;

/// The groups of sounds that lie either in the held-back part as a whole or in the training set as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whole {
    /// Everything from one source: a pack, a kit, a folder.
    Sources,
    /// Sounds that are nearly the same.
    NearDuplicates,
    /// Single sounds, though near-duplicates of them are in the training set: nearly all sounds are alike.
    Sounds,
}

/// The sounds held back for validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// How many.
    pub sounds: usize,
    /// The groups that were kept together.
    pub whole: Whole,
    /// The sources they are from, as far as they have names.
    pub sources: Vec<String>,
    /// Whether any sound has a named source.
    pub named: bool,
}

impl std::fmt::Display for HeldBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            sounds, sources, ..
        } = self;
        match self.whole {
            _ if *sounds == 0 => write!(
                f,
                "none: there are too few sounds, or too few of each label"
            ),
            Whole::Sources => {
                let listed = sources
                    .iter()
                    .take(6)
                    .map(String::as_str)
                    .collect::<Vec<_>>();
                write!(f, "{sounds}, from whole sources: {}", listed.join(", "))?;
                match sources.len().saturating_sub(6) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Whole::NearDuplicates if self.named => write!(
                f,
                "{sounds}, with their near-duplicates; the sources are too few or too large to be held back whole"
            ),
            Whole::NearDuplicates => write!(f, "{sounds}, with their near-duplicates"),
            Whole::Sounds => write!(
                f,
                "{sounds}, though near-duplicates of them are learnt: too many sounds are alike"
            ),
        }
    }
}

/// One usable sound, as far as the split goes by it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Its content's hash as a number: evenly spread.
    pub place: u64,
    pub label: Option<u32>,
    /// Name of its source.
    pub source: Option<String>,
    /// Any number that near-duplicates share and others do not.
    pub cluster: usize,
}

/// The places of those of `parts` that are held back, and how they were chosen.
///
/// Sources come in the order of their names' hashes, near-duplicates and sounds without a source in that of their
/// contents'. One is held back when its hash, as a fraction of all hashes, lies below `fraction`, so that it mostly
/// stays where it is when sounds are added. Corrections are made from the lowest hashes on: at least half the fraction
/// is held back, and at most twice; of 10 to 20 sounds exactly the fraction and of 3 to 9 one, where single sounds are
/// chosen; every label keeps a sound for training. A near-duplicate of a training sound is a training sound, whatever
/// its source.
///
/// Where whole sources do not come to half the fraction, near-duplicates are held back whole instead; where even
/// these do not, single sounds.
pub(super) fn split(parts: &[Part], fraction: f32) -> (BTreeSet<usize>, HeldBack) {
    let named = parts.iter().any(|part| part.source.is_some());
    let sources = |held: &BTreeSet<usize>| -> Vec<String> {
        let names = held.iter().filter_map(|&n| parts[n].source.clone());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let summary = |held: &BTreeSet<usize>, whole| HeldBack {
        sounds: held.len(),
        whole,
        sources: sources(held),
        named,
    };
    if fraction <= 0.0 || parts.len() < TOO_FEW {
        return (BTreeSet::new(), summary(&BTreeSet::new(), Whole::Sounds));
    }
    let (least, ..) = amounts(parts.len(), fraction);
    for whole in [Whole::Sources, Whole::NearDuplicates, Whole::Sounds] {
        if whole == Whole::Sources && !named {
            continue;
        }
        let units = Units::of(parts, whole);
        let held = units.choose(parts, fraction);
        // Of few sounds with few of a label, even single ones may not come to it.
        if held.len() >= least || whole == Whole::Sounds {
            return (held.clone(), summary(&held, whole));
        }
    }
    (BTreeSet::new(), summary(&BTreeSet::new(), Whole::Sounds))
}

/// The least, the wanted and the most of `n` sounds to hold back.
fn amounts(n: usize, fraction: f32) -> (usize, usize, usize) {
    let fraction = f64::from(fraction) * n as f64;
    let wanted = match n {
        0..VERY_FEW => 1,
        _ => (fraction.round() as usize).max(1),
    };
    let least = if n < FEW { wanted } else { wanted.div_ceil(2) };
    (
        least,
        wanted,
        ((2.0 * fraction).ceil() as usize).max(wanted),
    )
}

/// The groups that are chosen whole.
struct Units {
    /// Hash and members of each, in order of the hash.
    units: Vec<(u64, Vec<usize>)>,
    /// For each sound the number of its cluster: all sounds of a cluster are trained on if one of them is.
    ties: Vec<usize>,
}

impl Units {
    fn of(parts: &[Part], whole: Whole) -> Self {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (n, part) in parts.iter().enumerate() {
            match (&part.source, whole) {
                (Some(source), Whole::Sources) => named.entry(source).or_default().push(n),
                (_, Whole::Sounds) => alike.entry(n).or_default().push(n),
                _ => alike.entry(part.cluster).or_default().push(n),
            }
        }
        let lowest = |members: &[usize]| members.iter().map(|&n| parts[n].place).min();
        let mut units: Vec<(u64, Vec<usize>)> = named
            .into_iter()
            .map(|(name, members)| (place(&blake3::hash(name.as_bytes())), members))
            .chain(
                alike
                    .into_values()
                    .map(|members| (lowest(&members).unwrap_or(0), members)),
            )
            .collect();
        units.sort();
        let ties = match whole {
            Whole::Sounds => (0..parts.len()).collect(),
            _ => parts.iter().map(|part| part.cluster).collect(),
        };
        Self { units, ties }
    }

    fn choose(&self, parts: &[Part], fraction: f32) -> BTreeSet<usize> {
        let (least, _, most) = amounts(parts.len(), fraction);
        let mut tied: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut left: BTreeMap<Option<u32>, usize> = BTreeMap::new();
        for (n, part) in parts.iter().enumerate() {
            tied.entry(self.ties[n]).or_default().push(n);
            *left.entry(part.label).or_default() += 1;
        }
        let mut waiting: BTreeMap<usize, usize> = tied
            .iter()
            .map(|(&tie, members)| (tie, members.len()))
            .collect();
        let mut held = BTreeSet::new();
        for (hash, members) in &self.units {
            let below = (*hash as f64) < f64::from(fraction) * 2f64.powi(64);
            let due = held.len() < least || (parts.len() >= FEW && below);
            if !due {
                continue;
            }
            // This unit brings its sounds whose near-duplicates are all chosen now.
            let mut own: BTreeMap<usize, usize> = BTreeMap::new();
            members
                .iter()
                .for_each(|&n| *own.entry(self.ties[n]).or_default() += 1);
            let coming: Vec<usize> = (own.iter())
                .filter(|(tie, count)| waiting[tie] == **count)
                .flat_map(|(tie, _)| tied[tie].iter().copied())
                .collect();
            let mut after = left.clone();
            for &n in &coming {
                if let Some(left) = after.get_mut(&parts[n].label) {
                    *left -= 1;
                }
            }
            if held.len() + coming.len() > most || after.values().any(|&left| left == 0) {
                continue;
            }
            left = after;
            held.extend(coming);
            for (tie, count) in own {
                if let Some(waiting) = waiting.get_mut(&tie) {
                    *waiting -= count;
                }
            }
        }
        held
    }
}

/// A hash as a number.
pub(super) fn place(hash: &blake3::Hash) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|k| hash.as_bytes()[k]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` sounds, each of its own; every `labels`-th has the same label.
    fn parts(n: usize, labels: usize) -> Vec<Part> {
        let part = |n: usize| Part {
            place: place(&blake3::hash(&n.to_le_bytes())),
            label: (labels > 0).then(|| (n % labels.max(1)) as u32),
            source: None,
            cluster: n,
        };
        (0..n).map(part).collect()
    }

    fn held(parts: &[Part], fraction: f32) -> Vec<usize> {
        split(parts, fraction).0.into_iter().collect()
    }

    #[test]
    fn split_holds_its_fraction_and_stays_when_sounds_are_added() {
        let many = held(&parts(2000, 0), 0.1);
        // The standard error of a fraction of 2000 hashes is 13.
        assert!(many.len().abs_diff(200) < 45, "{}", many.len());
        let before: Vec<usize> = many.into_iter().filter(|&n| n < 1500).collect();
        assert_eq!(held(&parts(1500, 0), 0.1), before);
    }

    #[test]
    fn few_sounds_are_held_back_exactly_and_no_label_entirely() {
        for (n, fraction, expected) in [
            (2, 0.5, 0),
            (3, 0.1, 1),
            (9, 0.5, 1),
            (10, 0.1, 1),
            (15, 0.2, 3),
            (20, 0.1, 2),
            (20, 0.0, 0),
        ] {
            assert_eq!(
                held(&parts(n, 0), fraction).len(),
                expected,
                "{fraction} of {n}"
            );
        }
        for n in 10..60 {
            for fraction in [0.01, 0.1, 0.5] {
                let parts = parts(n, 4);
                let held = held(&parts, fraction);
                let most = (2.0 * fraction * n as f32).ceil() as usize;
                assert!(
                    (1..=most.max(1)).contains(&held.len()),
                    "{} of {n}",
                    held.len()
                );
                let learnt = (0..n).filter(|n| !held.contains(n));
                assert_eq!(
                    learnt
                        .map(|n| parts[n].label)
                        .collect::<BTreeSet<_>>()
                        .len(),
                    4
                );
            }
        }
        let (held, how) = split(&parts(30, 30), 0.5);
        assert!(held.is_empty() && how.to_string().contains("too few of each label"));
    }

    #[test]
    fn sources_are_held_back_whole_or_not_at_all() {
        for seed in 0..20 {
            let mut all = parts(400, 3);
            for (n, part) in all.iter_mut().enumerate() {
                part.source = Some(format!("{seed} {}", n * n % 23));
            }
            let (held, how) = split(&all, 0.1);
            assert_eq!((how.whole, how.sounds), (Whole::Sources, held.len()));
            assert!((20..=80).contains(&held.len()), "{}", held.len());
            for (n, part) in all.iter().enumerate() {
                let other = all.iter().position(|other| other.source == part.source);
                assert_eq!(
                    held.contains(&n),
                    other.is_some_and(|first| held.contains(&first))
                );
                assert_eq!(
                    held.contains(&n),
                    part.source
                        .as_ref()
                        .is_some_and(|source| how.sources.contains(source))
                );
            }
            // More sounds of the same sources do not move them.
            let mut more = all.clone();
            more.extend(all.iter().map(|part| Part {
                cluster: part.cluster + 400,
                ..part.clone()
            }));
            assert_eq!(split(&more, 0.1).1.sources, how.sources);
        }
    }

    #[test]
    fn near_duplicates_stay_together_whatever_their_source() {
        let mut all = parts(400, 3);
        for (n, part) in all.iter_mut().enumerate() {
            part.source = Some(format!("{}", n * n % 23));
            // Every fifth sound is nearly that forty places on, in whatever source.
            part.cluster = if n % 5 == 0 { n % 40 } else { n };
        }
        let (held, how) = split(&all, 0.1);
        assert_eq!(how.whole, Whole::Sources);
        for a in 0..400 {
            for b in 0..a {
                if all[a].cluster == all[b].cluster {
                    assert_eq!(held.contains(&a), held.contains(&b));
                }
            }
        }
        assert!(!held.is_empty());
    }

    #[test]
    fn one_source_is_split_by_near_duplicates_and_says_so() {
        let mut all = parts(60, 2);
        for (n, part) in all.iter_mut().enumerate() {
            part.source = Some("one".to_owned());
            part.cluster = n / 3;
        }
        let (held, how) = split(&all, 0.2);
        assert_eq!(how.whole, Whole::NearDuplicates);
        assert!((6..=24).contains(&held.len()) && held.len().is_multiple_of(3));
        assert!((0..60).all(|n| held.contains(&n) == held.contains(&(n / 3 * 3))));
        assert!(how.to_string().contains("too few or too large"), "{how}");
        // Nearly all of them alike: the few others would be too few to judge by.
        all.iter_mut()
            .enumerate()
            .for_each(|(n, part)| part.cluster = n.max(2));
        all.iter_mut().skip(2).for_each(|part| part.cluster = 2);
        let (held, how) = split(&all, 0.2);
        assert_eq!(how.whole, Whole::Sounds);
        assert!((6..=24).contains(&held.len()));
        // All of them alike: one is held back all the same, and that is said.
        all.iter_mut().for_each(|part| part.cluster = 0);
        let (held, how) = split(&all, 0.2);
        assert_eq!(how.whole, Whole::Sounds);
        assert!((6..=24).contains(&held.len()));
        assert!(how.to_string().contains("are learnt"), "{how}");
    }
}
