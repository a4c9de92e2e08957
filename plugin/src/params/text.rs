//! Values of parameters as text, and texts as values.

use std::sync::Arc;

use nice_plug::prelude::*;

/// A gain as a factor, shown in dB.
pub(super) fn gain(name: &str, default_db: f32) -> FloatParam {
    let range = FloatRange::gain_range(-60.0, 6.0);
    FloatParam::new(name, util::db_to_gain(default_db), range)
        .with_unit(" dB")
        .with_value_to_string(formatters::v2s_f32_gain_to_db(1))
        .with_string_to_value(formatters::s2v_f32_gain_to_db())
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

/// The number that a text begins with, whose decimal mark may be a comma, and what follows it.
pub(crate) fn quantity(text: &str) -> Option<(f32, &str)> {
    let is_digit = |c: char| c.is_ascii_digit() || ".,-+".contains(c);
    let end = text.find(|c: char| !is_digit(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.replace(',', ".").parse().ok()?, unit.trim()))
}

/// Percent to a side; in the middle where that rounds to nothing.
fn pan_to_string(pan: f32) -> String {
    match (100.0 * pan).round() as i32 {
        0 => "C".to_owned(),
        left @ ..0 => format!("{}L", -left),
        right => format!("{right}R"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
