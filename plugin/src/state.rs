//! States of earlier versions, brought into the present form before they are loaded.

use std::collections::BTreeMap;

use nice_plug::plugin::{ParamValue, PluginState};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::kit::Class;
use crate::pad::PADS;
use crate::params::MACROS;

/// The field of the state that holds the project.
const PROJECT: &str = "project";

/// The parameters of pads that are settings of the project from 0.2 on, by the first part of their ids.
const SETTINGS: [&str; 15] = [
    "class",
    "steps",
    "guidance",
    "length",
    "variation",
    "morph_with",
    "lock",
    "fine",
    "mode",
    "reverse",
    "hold",
    "filter",
    "choke",
    "velocity",
    "output",
];

/// Brings a state of any earlier version into the present form. A host loads it over a state that there is: parameters
/// that it does not name would stay as they are.
pub(crate) fn upgrade(state: &mut PluginState) {
    for id in MACROS {
        let zero = ParamValue::F32(0.0);
        state.params.entry((*id).to_owned()).or_insert(zero);
    }
    if state.params.contains_key("class_1") {
        upgrade_settings(state);
    }
}

/// Whether a state is one of this instrument, of any version.
///
/// # Errors
/// What it is instead, in words.
pub(crate) fn check(state: &PluginState) -> Result<(), String> {
    match state.fields.get(PROJECT) {
        Some(text) => match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("a damaged one ({error})")),
        },
        // From before there were sounds in it.
        None if state.params.contains_key("seed_1") => Ok(()),
        None => Err("the state of another plugin".into()),
    }
}

/// Takes the settings out of the parameters and puts them into the project.
fn upgrade_settings(state: &mut PluginState) {
    let mut take = |id: String| state.params.remove(&id);
    let pads = (1..=PADS).map(|pad| {
        let mut settings = Map::new();
        for name in SETTINGS {
            if let Some(value) = take(format!("{name}_{pad}")) {
                settings.insert(name.to_owned(), setting(name, &value));
            }
        }
        Value::Object(settings)
    });
    let settings: Vec<Value> = pads.collect();
    let keys = matches!(take("keys".to_owned()), Some(ParamValue::Bool(true)));
    let selected = match take("pad".to_owned()) {
        Some(ParamValue::I32(pad)) => pad - 1,
        _ => 0,
    };
    let stored = state.fields.get(PROJECT);
    let stored = stored.map(|text| serde_json::from_str(text));
    let mut project = match stored {
        Some(Ok(Value::Object(mut project))) => {
            // From before there were pads.
            if let Some(sound) = project.remove("sound") {
                project.insert("pads".to_owned(), json!([sound]));
            }
            project
        }
        None => Map::from_iter([("pads".to_owned(), json!([]))]),
        // What is no project counts as one damaged pad.
        Some(_) => Map::from_iter([("pads".to_owned(), json!([0]))]),
    };
    project.insert("settings".to_owned(), settings.into());
    project.insert("keys".to_owned(), keys.into());
    project.insert("selected".to_owned(), selected.max(0).into());
    let text = Value::Object(project).to_string();
    state.fields.insert(PROJECT.to_owned(), text);
}

/// A parameter's value as the setting of this name has it.
fn setting(name: &str, value: &ParamValue) -> Value {
    match (name, value) {
        ("class", ParamValue::I32(class)) => json!(Class::of_param(*class)),
        // Pads were counted from 1 on.
        ("morph_with", ParamValue::I32(pad)) => (*pad).saturating_sub(1).max(0).into(),
        (_, ParamValue::I32(n)) => (*n).max(0).into(),
        (_, ParamValue::F32(x)) => (*x).into(),
        (_, ParamValue::Bool(is_on)) => (*is_on).into(),
        (_, ParamValue::String(text)) => text.clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::{PadSettings, Route};
    use crate::project::Project;
    use crate::stored::StoredSound;
    use crate::stored::tests::{clip, recipe};
    use crate::voice::{FilterKind, Mode};

    /// A state of 0.1: every pad's parameters at their defaults, apart from `changes`.
    fn old(changes: &[(&str, ParamValue)], project: Option<&str>) -> PluginState {
        use ParamValue::{Bool, F32, I32, String};
        let mut params: Vec<(std::string::String, ParamValue)> = Vec::new();
        for pad in 1..=PADS as i32 {
            let all = [
                ("class", I32(0)),
                ("seed", I32(pad)),
                ("steps", I32(0)),
                ("guidance", F32(0.0)),
                ("length", F32(0.0)),
                ("variation", F32(0.3)),
                ("morph_with", I32(pad % 16 + 1)),
                ("lock", Bool(false)),
                ("gain", F32(1.0)),
                ("fine", F32(0.0)),
                ("mode", String("one-shot".into())),
                ("reverse", Bool(false)),
                ("hold", F32(0.0)),
                ("filter", String("off".into())),
                ("choke", I32([7, 9, 11].contains(&pad).into())),
                ("velocity", F32(1.0)),
                ("output", String("own".into())),
            ];
            params.extend(all.map(|(name, value)| (format!("{name}_{pad}"), value)));
        }
        params.extend([("keys".into(), Bool(false)), ("pad".into(), I32(1))]);
        params.extend(
            changes
                .iter()
                .map(|(id, value)| ((*id).to_owned(), value.clone())),
        );
        PluginState {
            version: "0.1.0".into(),
            params: params.into_iter().collect(),
            fields: project
                .map(|text| (PROJECT.to_owned(), text.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    fn opened(state: &mut PluginState) -> Project {
        upgrade(state);
        serde_json::from_str(&state.fields[PROJECT]).unwrap()
    }

    #[test]
    fn settings_that_were_parameters_are_where_they_were() {
        use ParamValue::{Bool, F32, I32, String};
        let mut state = old(
            &[
                ("class_3", I32(4)),
                ("steps_3", I32(9)),
                ("guidance_3", F32(2.5)),
                ("length_3", F32(1.25)),
                ("variation_3", F32(0.75)),
                ("morph_with_3", I32(16)),
                ("lock_3", Bool(true)),
                ("fine_3", F32(-7.5)),
                ("mode_3", String("loop".into())),
                ("reverse_3", Bool(true)),
                ("hold_3", F32(30.0)),
                ("filter_3", String("high".into())),
                ("choke_3", I32(5)),
                ("velocity_3", F32(0.25)),
                ("output_3", String("main".into())),
                ("class_4", I32(1)),
                ("keys", Bool(true)),
                ("pad", I32(7)),
            ],
            Some("{\"pads\":[]}"),
        );
        let project = opened(&mut state);
        assert_eq!(project.damaged, 0);
        assert_eq!((project.keys, project.selected), (true, 6));
        let mut expected = PadSettings::of_pad(2);
        expected.making.class = Class::Number(2);
        expected.making.steps = 9;
        expected.making.guidance = 2.5;
        expected.making.length = 1.25;
        expected.making.variation = 0.75;
        expected.making.morph_with = Some(15);
        expected.making.lock = true;
        expected.playing.fine = -7.5;
        expected.playing.mode = Mode::Loop;
        expected.playing.reverse = true;
        expected.playing.hold = 30.0;
        expected.playing.filter = FilterKind::Highpass;
        expected.playing.choke = 5;
        expected.playing.velocity = 0.25;
        assert_eq!(project.settings[2], expected);
        assert_eq!(project.settings[3].making.class, Class::Any);
        for pad in (0..PADS).filter(|pad| ![2, 3].contains(pad)) {
            let mut expected = PadSettings::of_pad(pad);
            expected.making.morph_with = Some((pad + 1) % PADS);
            expected.playing.output = Route::Own;
            assert_eq!(project.settings[pad], expected, "{pad}");
        }
        // What is a parameter still is left there; macros, which there were not, are at rest.
        assert_eq!(state.params.len(), 2 * PADS + MACROS.len());
        assert!(matches!(state.params["all_tune"], F32(0.0)));
        // It is in the present form now.
        let text = state.fields[PROJECT].clone();
        upgrade(&mut state);
        assert_eq!(state.fields[PROJECT], text);
    }

    #[test]
    fn sounds_of_every_earlier_version_come_along() {
        let sound = StoredSound::new(recipe(9), &clip(44_100, 0.5));
        let sound_text = serde_json::to_string(&sound).unwrap();
        for (text, pads, damaged) in [
            (Some(format!("{{\"pads\":[null,{sound_text}]}}")), 2, 0),
            (Some(format!("{{\"sound\":{sound_text}}}")), 1, 0),
            (Some("nonsense".to_owned()), 1, 1),
            (None, 0, 0),
        ] {
            let mut state = old(&[("lock_5", ParamValue::Bool(true))], text.as_deref());
            let project = opened(&mut state);
            assert_eq!((project.pads.len(), project.damaged), (pads, damaged));
            let last = project.pads.iter().flatten().next_back();
            let expected = (damaged == 0 && pads > 0).then_some(&sound);
            assert_eq!(last.map(|sound| &**sound), expected);
            assert!(project.is_locked(4));
        }
    }
}
