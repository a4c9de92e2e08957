//! Projects that others have edited, merged or damaged: what makes sense of them opens, the rest is counted.

use std::fs;
use std::path::Path;

use audiodiff::audio::Clip;
use audiodiff_plugin::pad::PADS;
use audiodiff_plugin::project::Project;
use audiodiff_plugin::stored::{SoundRecipe, StoredSound};

#[path = "../../tests/corpus/mod.rs"]
mod corpus;

/// The samples of the corpus's first sound.
const RAMP: [f32; 12] = [
    0.0, 2979.0, 5958.0, 8936.0, 11915.0, 14894.0, 17873.0, 20852.0, 23831.0, 26809.0, 29788.0,
    32767.0,
];

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
fn projects_of_all_forms_bring_the_same_sounds() {
    let open = |name: &str| {
        let text = fs::read_to_string(corpus::folder("project").join(name)).unwrap();
        serde_json::from_str::<Project>(&text).unwrap()
    };
    let (plain, flac) = (open("pads.json"), open("flac.json"));
    assert_eq!(plain, flac);
    // A ramp of twelve samples up to the peak.
    let ramp = |peak: f32| Clip::new(8000, vec![RAMP.map(|x| x / 32767.0 * peak).into(); 2]);
    let clips = flac
        .pads
        .iter()
        .map(|sound| sound.as_ref().map(|sound| sound.clip()));
    let clips: Vec<Option<Clip>> = clips.collect();
    assert_eq!(clips[0].as_ref(), Some(&ramp(0.5 * 11.0 / 12.0)));
    assert_eq!((clips.len(), &clips[1]), (3, &None));
    // Whichever they came from, they are saved as FLAC.
    let text = serde_json::to_string(&plain).unwrap();
    assert_eq!(text, serde_json::to_string(&flac).unwrap());
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

/// Writes `tests/corpus/project/flac.json` anew. The other files there are of older forms, which nothing writes now.
#[test]
#[ignore = "writes a file into the source tree"]
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
    let text = serde_json::to_string(&pads).unwrap();
    fs::write(corpus::folder("project").join("flac.json"), text).unwrap();
}
