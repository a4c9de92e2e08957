//! The values of parameters that belong to what is on the pads: those that a kit holds, and that a pad's copy brings.

use std::collections::BTreeMap;

use nice_plug::prelude::Param;

use super::{PAD_KNOBS, PadParams, PluginParams, first_knob, knob_id, pad_of};
use crate::pad::PADS;
use crate::undo::Value;

/// The parameter that a kit may leave as it is: the level of the whole in a mix.
const MAIN_GAIN: &str = "gain";

/// A parameter that a kit holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// By which hosts and kits know it.
    pub id: String,
    /// The pad that it belongs to; none if it belongs to all.
    pub pad: Option<usize>,
    /// What it is set to by a kit that does not name it, normalized; none where it stays as it is.
    pub otherwise: Option<f32>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Knob(usize),
    Seed(usize),
}

impl PluginParams {
    /// Everything that a kit holds, what knobs turn and the seeds; and what each is set to now, normalized.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&Kept, f32)> {
        let knobs: Vec<_> = self.knobs().collect();
        let kept = self.kept.get_or_init(|| self.find_kept());
        kept.iter().map(move |kept| {
            let now = match kept.place {
                Place::Knob(index) => knobs[index].unmodulated_normalized_value(),
                Place::Seed(pad) => self.pads[pad].seed.unmodulated_normalized_value(),
            };
            (kept, now)
        })
    }

    fn find_kept(&self) -> Vec<Kept> {
        let knobs = self.knobs().enumerate().map(|(index, knob)| {
            let (id, default) = (knob_id(index), knob.default_normalized_value());
            Kept {
                pad: pad_of(index).map(|(pad, _)| pad),
                otherwise: (id != MAIN_GAIN).then_some(default),
                id,
                place: Place::Knob(index),
            }
        });
        let seeds = self.pads.iter().enumerate().map(|(pad, params)| Kept {
            id: format!("seed_{}", pad + 1),
            pad: Some(pad),
            otherwise: Some(params.seed.default_normalized_value()),
            place: Place::Seed(pad),
        });
        knobs.chain(seeds).collect()
    }

    /// The values of all that a kit holds, normalized, by id.
    #[must_use]
    pub fn kit_values(&self) -> BTreeMap<String, f32> {
        let values = self.kept().map(|(it, now)| (it.id.clone(), now));
        values.collect()
    }

    /// What sets a parameter to `normalized`.
    pub(crate) fn value(&self, kept: &Kept, normalized: f32) -> Value {
        match kept.place {
            Place::Knob(index) => Value::Knob(index, normalized),
            Place::Seed(pad) => Value::Seed(pad, self.pads[pad].seed.preview_plain(normalized)),
        }
    }

    /// What gives the pad `to` all parameters that the pad `from` has now.
    pub(crate) fn values_of_pad(&self, from: usize, to: usize) -> Vec<Value> {
        let pad = &self.pads[from];
        let values = pad.knobs().map(|it| it.unmodulated_normalized_value());
        self.for_pad(to, &values, pad.seed.value())
    }

    /// What gives a pad the parameters that it has at first.
    pub(crate) fn first_values(&self, pad: usize) -> Vec<Value> {
        let of_pad = &self.pads[pad];
        let values = of_pad.knobs().map(|it| it.default_normalized_value());
        self.for_pad(pad, &values, of_pad.seed.default_plain_value())
    }

    fn for_pad(&self, pad: usize, normalized: &[f32], seed: i32) -> Vec<Value> {
        let first = first_knob(pad.min(PADS - 1));
        let knobs = normalized.iter().enumerate();
        let knobs = knobs.map(|(i, &normalized)| Value::Knob(first + i, normalized));
        knobs.chain([Value::Seed(pad, seed)]).collect()
    }

    /// Whether a parameter has this value now.
    pub(crate) fn has(&self, value: Value) -> bool {
        match value {
            Value::Seed(pad, seed) => self.pads[pad].seed.value() == seed,
            Value::Knob(index, normalized) => {
                let mut knobs = self.knobs();
                knobs
                    .nth(index)
                    .is_none_or(|it| it.unmodulated_normalized_value() == normalized)
            }
        }
    }
}

impl PadParams {
    /// The normalized value of the parameter with this id, without the pad's number, that is `plain` in its own unit; none
    /// if there is none, or it is no part of a kit.
    pub(crate) fn normalized(&self, id: &str, plain: f32) -> Option<f32> {
        match PAD_KNOBS.iter().position(|it| *it == id) {
            Some(which) => Some(self.knobs()[which].preview_normalized(plain)),
            None if id == "seed" => Some(self.seed.preview_normalized(plain.round() as i32)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::tests::params;

    #[test]
    fn a_kit_holds_every_knob_and_seed_and_no_trigger() {
        let (params, _store) = params();
        let kept: Vec<(&Kept, f32)> = params.kept().collect();
        assert_eq!(kept.len(), params.knobs().count() + PADS);
        let find = |id: &str| kept.iter().map(|it| it.0).find(|it| it.id == id);
        assert!(
            ["generate_1", "vary_1", "revision"]
                .iter()
                .all(|id| find(id).is_none())
        );
        for (id, pad) in [
            ("gain", None),
            ("all_tune", None),
            ("gain_1", Some(0)),
            ("resonance_16", Some(15)),
        ] {
            assert_eq!(find(id).unwrap().pad, pad, "{id}");
        }
        // What is set is what was found, to the bit.
        for &(it, now) in &kept {
            assert!(params.has(params.value(it, now)), "{}", it.id);
        }
        assert_eq!(find("gain").unwrap().otherwise, None);
        let names = |pad: usize| {
            let values = params.values_of_pad(3, pad).into_iter();
            let knobs: Vec<_> = params.knobs().collect();
            let names = values.map(|value| match value {
                Value::Knob(index, _) => knobs[index].name().to_owned(),
                Value::Seed(pad, _) => format!("Pad {} Seed", pad + 1),
            });
            names.collect::<Vec<_>>()
        };
        let expected = kept.iter().filter(|(it, _)| it.pad == Some(7));
        assert_eq!(names(7).len(), expected.count());
        assert!(
            names(7).iter().all(|name| name.starts_with("Pad 8 ")),
            "{:?}",
            names(7)
        );
    }

    #[test]
    fn plain_values_are_those_of_the_knob() {
        let (params, _store) = params();
        let pad = &params.pads[4];
        assert_eq!(pad.normalized("pitch", 0.0), Some(0.5));
        assert_eq!(pad.normalized("seed", 9999.0), Some(1.0));
        let cutoff = pad.normalized("cutoff", 500.0).unwrap();
        assert!((pad.cutoff.preview_plain(cutoff) - 500.0).abs() < 0.1);
        assert_eq!(
            (
                pad.normalized("generate", 1.0),
                pad.normalized("pitsch", 1.0)
            ),
            (None, None)
        );
    }
}
