//! Projects that others have edited, merged or damaged: what makes sense of them opens, the rest is counted.

use std::fs;
use std::path::Path;

use audiodiff::audio::Clip;
use audiodiff_plugin::pad::PADS;
use audiodiff_plugin::project::Project;
use audiodiff_plugin::stored::{SoundRecipe, StoredSound};

#[path = "../../tests/corpus/mod.rs"]
mod corpus;

#[test]
fn damaged_projects_open_as_far_as_they_make_sense() {
    let (mut opened, mut in_part) = (0, 0);
    corpus::try_all("project", 2000, |which, bytes, whole| {
        // The plugin's framework reads the whole state as text that holds this; without it there is no project to open.
        let Ok(project) = serde_json::from_slice::<Project>(bytes) else {
            assert!(!whole, "{which}");
            return;
        };
        opened += 1;
        in_part += usize::from(project.damaged > 0);
        assert!(project.pads.len() <= PADS, "{which}");
        assert!(!whole || project.damaged == 0, "{which}");
        for sound in project.pads.iter().flatten() {
            let clip = sound.clip();
            assert!((1..=2).contains(&clip.channels().len()), "{which}");
            assert!(sound.seconds() <= 30.0, "{which}");
            assert!(
                clip.channels().iter().flatten().all(|x| x.is_finite()),
                "{which}"
            );
        }
        // It is saved as what was opened.
        let text = serde_json::to_string(&project).unwrap();
        let again: Project = serde_json::from_str(&text).unwrap();
        assert_eq!((again.pads, again.model), (project.pads, project.model));
    });
    // The damage is such that both happen.
    assert!(opened > 100 && in_part > 20, "{opened}, {in_part}");
}

#[test]
fn samples_beyond_all_numbers_are_refused() {
    // The lowest sample, -32768, is a part in 32767 beyond the peak.
    for (peak, damaged) in [("3.4e38", 0), ("3.4028234e38", 1)] {
        let recipe = serde_json::to_string(&SoundRecipe::of_file(Path::new("a.wav"))).unwrap();
        let text = format!(
            "{{\"sound\":{{\"recipe\":{recipe},\"sample_rate\":8000,\"peak\":{peak},\"channels\":[\"AIA=\"]}}}}"
        );
        let project: Project = serde_json::from_str(&text).unwrap();
        assert_eq!(project.damaged, damaged, "{peak}");
        let sounds = project.pads.iter().flatten();
        let samples = sounds.flat_map(|sound| sound.clip().channels().concat());
        assert!(samples.into_iter().all(f32::is_finite), "{peak}");
    }
}

/// Writes `tests/corpus/project` anew.
#[test]
#[ignore = "writes files into the source tree"]
fn corpus_is_written() {
    let wave = |x: f32| {
        Clip::new(
            8000,
            vec![(0..12).map(|i| x * i as f32 / 12.0).collect(); 2],
        )
    };
    let sound = |x: f32| StoredSound::new(SoundRecipe::of_file(Path::new("a.wav")), &wave(x));
    let pads = Project {
        pads: vec![Some(sound(0.5).into()), None, Some(sound(-0.01).into())],
        model: Some("run/model.safetensors".into()),
        ..Project::default()
    };
    let one = format!(
        "{{\"sound\":{}}}",
        serde_json::to_string(&sound(1.0)).unwrap()
    );
    let folder = corpus::folder("project");
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("pads.json"),
        serde_json::to_string(&pads).unwrap(),
    )
    .unwrap();
    fs::write(folder.join("one_sound.json"), one).unwrap();
}
