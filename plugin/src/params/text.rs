//! Values of parameters as text, and texts as values.

use std::sync::Arc;

use nice_plug::prelude::*;

use crate::status::{ModelInfo, Status};

/// Choices for a class: the pad's own, any, and 62 of the model's. The range must not depend on the model, for
/// automation is stored as a fraction of it.
pub(super) const MOST_CLASSES: i32 = 63;

/// The text of a value that leaves the choice to the pad or the model.
const AUTO: &str = "Auto";

/// A gain as a factor, shown in dB.
pub(super) fn gain(name: &str, default_db: f32) -> FloatParam {
    let range = FloatRange::gain_range(-60.0, 6.0);
    FloatParam::new(name, util::db_to_gain(default_db), range)
        .with_unit(" dB")
        .with_value_to_string(formatters::v2s_f32_gain_to_db(1))
        .with_string_to_value(formatters::s2v_f32_gain_to_db())
}

/// Shows a class by its name once `status` knows it.
pub(super) fn class_text(param: IntParam, status: &Arc<Status>) -> IntParam {
    let (shown, typed) = (status.clone(), status.clone());
    param
        .with_value_to_string(Arc::new(move |class| {
            class_to_string(shown.model().as_deref(), class)
        }))
        .with_string_to_value(Arc::new(move |text| {
            string_to_class(typed.model().as_deref(), text)
        }))
}

/// Shows how many steps are asked for, and how many are taken once `status` knows it.
pub(super) fn steps_text(param: IntParam, status: &Arc<Status>) -> IntParam {
    let shown = status.clone();
    param
        .with_value_to_string(Arc::new(move |steps| {
            steps_to_string(shown.model().map(|model| model.most_steps), steps)
        }))
        .with_string_to_value(Arc::new(string_to_steps))
}

pub(super) fn guidance_text(param: FloatParam) -> FloatParam {
    param
        .with_value_to_string(Arc::new(|weight| match weight {
            0.0 => AUTO.into(),
            weight => format!("{weight:.2}"),
        }))
        .with_string_to_value(Arc::new(|text| auto_or(text, str::parse)))
}

pub(super) fn length_text(param: FloatParam) -> FloatParam {
    param
        .with_value_to_string(Arc::new(|seconds| {
            if seconds > 0.0 {
                format!("{seconds:.2} s")
            } else {
                AUTO.into()
            }
        }))
        .with_string_to_value(Arc::new(|text| {
            auto_or(text, |text| text.trim_end_matches('s').trim_end().parse())
        }))
}

pub(super) fn pan_text(param: FloatParam) -> FloatParam {
    param
        .with_value_to_string(Arc::new(pan_to_string))
        .with_string_to_value(formatters::s2v_f32_panning())
}

pub(super) fn hertz_text(param: FloatParam) -> FloatParam {
    param
        .with_value_to_string(formatters::v2s_f32_hz_then_khz(1))
        .with_string_to_value(formatters::s2v_f32_hz_then_khz())
}

/// Shows a choke group by its number, the first as none.
pub(super) fn group_text(param: IntParam) -> IntParam {
    param
        .with_value_to_string(Arc::new(|group| match group {
            0 => "None".to_owned(),
            group => group.to_string(),
        }))
        .with_string_to_value(Arc::new(|text| match text.trim() {
            text if text.eq_ignore_ascii_case("none") => Some(0),
            text => text.parse().ok(),
        }))
}

/// The number that a text means, where zero is automatic.
fn auto_or<T: Default, E>(
    text: &str,
    parse: impl Fn(&str) -> std::result::Result<T, E>,
) -> Option<T> {
    let text = text.trim();
    if text.eq_ignore_ascii_case(AUTO) {
        return Some(T::default());
    }
    parse(text).ok()
}

/// Percent to a side; in the middle where that rounds to nothing.
fn pan_to_string(pan: f32) -> String {
    match (100.0 * pan).round() as i32 {
        0 => "C".to_owned(),
        left @ ..0 => format!("{}L", -left),
        right => format!("{right}R"),
    }
}

/// Steps that are asked for, and those that the model takes where these are fewer.
fn steps_to_string(most: Option<usize>, steps: i32) -> String {
    match (steps, most) {
        (0, _) => AUTO.to_owned(),
        (steps, Some(most)) if steps as usize > most => format!("{steps} ({most} taken)"),
        (steps, _) => steps.to_string(),
    }
}

fn string_to_steps(text: &str) -> Option<i32> {
    let asked = text.split_once('(').map_or(text, |(asked, _)| asked);
    auto_or(asked.trim(), str::parse)
}

fn class_to_string(model: Option<&ModelInfo>, class: i32) -> String {
    let label = model.and_then(|model| {
        model
            .labels
            .get(usize::try_from(class).ok()?.checked_sub(2)?)
    });
    match (class, label) {
        (0, _) => AUTO.to_owned(),
        (1, _) => "Any".to_owned(),
        (_, Some(label)) => label.clone(),
        (n, None) => format!("Class {}", n - 1),
    }
}

fn string_to_class(model: Option<&ModelInfo>, text: &str) -> Option<i32> {
    let text = text.trim();
    (0..=MOST_CLASSES)
        .find(|&class| class_to_string(model, class).eq_ignore_ascii_case(text))
        .or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::tests::info;

    #[test]
    fn steps_say_how_many_of_them_the_model_takes() {
        let texts = |most| [0, 1, 8, 9, 64].map(|steps| steps_to_string(most, steps));
        assert_eq!(texts(None), [AUTO, "1", "8", "9", "64"]);
        assert_eq!(texts(Some(1000)), texts(None));
        assert_eq!(
            texts(Some(8)),
            [AUTO, "1", "8", "9 (8 taken)", "64 (8 taken)"]
        );
        for steps in 0..=64 {
            for most in [None, Some(8)] {
                let text = steps_to_string(most, steps);
                assert_eq!(string_to_steps(&text), Some(steps), "{text}");
            }
        }
        assert_eq!(string_to_steps(" auto "), Some(0));
        assert_eq!(string_to_steps("many"), None);
    }

    #[test]
    fn a_pan_that_is_hardly_one_is_in_the_middle() {
        for (pan, text) in [
            (-1.0, "100L"),
            (-0.256, "26L"),
            (-0.0025, "C"),
            (0.0, "C"),
            (0.004, "C"),
            (0.5, "50R"),
        ] {
            assert_eq!(pan_to_string(pan), text);
            let back = formatters::s2v_f32_panning()(text).unwrap();
            assert!((back - pan).abs() < 0.006, "{text}: {back}");
        }
    }

    #[test]
    fn classes_are_called_by_their_names_as_soon_as_these_are_known() {
        let model = info();
        let model = Some(&model);
        assert_eq!(class_to_string(None, 3), "Class 2");
        assert_eq!(class_to_string(model, 3), "snare");
        assert_eq!(class_to_string(model, 0), AUTO);
        assert_eq!(class_to_string(model, 1), "Any");
        assert_eq!(class_to_string(model, 4), "Class 3");
        for class in 0..=MOST_CLASSES {
            for model in [None, model] {
                assert_eq!(
                    string_to_class(model, &class_to_string(model, class)),
                    Some(class)
                );
            }
        }
        assert_eq!(string_to_class(model, " SNARE "), Some(3));
        assert_eq!(string_to_class(model, "oboe"), None);
    }
}
