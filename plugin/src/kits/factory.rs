//! The kits that come with the instrument: recipes by which the model that is built in makes their sounds.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::{KitInfo, Place};
use crate::kit::PadSettings;
use crate::params::{MAX_SEED, PluginParams};
use crate::project::Project;
use crate::store::Store;

/// A kit as it is written down.
#[derive(Debug, Deserialize)]
struct Recipe {
    name: String,
    tags: Vec<String>,
    pads: Vec<PadRecipe>,
}

/// A pad as it is written down: what differs from a pad that plays a sound as it is.
#[derive(Debug, Deserialize)]
struct PadRecipe {
    seed: i32,
    /// Parameters by their ids without the pad's number, in their own units.
    #[serde(default)]
    set: BTreeMap<String, f32>,
    #[serde(flatten)]
    settings: PadSettings,
}

/// The kits that come with the instrument, without sounds: the model that is built in makes these from their seeds, the
/// same ones in every project.
#[must_use]
pub fn factory_kits() -> &'static [Project] {
    static KITS: LazyLock<Vec<Project>> = LazyLock::new(|| {
        let recipes = include_str!("factory.json");
        let recipes: Vec<Recipe> =
            serde_json::from_str(recipes).expect("a test reads the kits that are built in");
        let params = PluginParams::new(&Store::new().0);
        recipes.into_iter().map(|it| kit(it, &params)).collect()
    });
    &KITS
}

fn kit(recipe: Recipe, params: &PluginParams) -> Project {
    let mut values = BTreeMap::new();
    let mut project = Project::default();
    let pads = recipe
        .pads
        .into_iter()
        .zip(&params.pads)
        .zip(&mut project.settings);
    for (pad, ((recipe, of_pad), settings)) in pads.enumerate() {
        *settings = recipe.settings.in_range();
        let seed = recipe.seed.clamp(0, MAX_SEED) as f32;
        for (id, plain) in recipe.set.into_iter().chain([("seed".to_owned(), seed)]) {
            if let Some(normalized) = of_pad.normalized(&id, plain) {
                values.insert(format!("{id}_{}", pad + 1), normalized);
            }
        }
    }
    project.kit = Some(KitInfo {
        place: Some(Place::Factory(recipe.name.clone())),
        name: recipe.name,
        author: "audiodiff".to_owned(),
        tags: recipe.tags,
        params: values,
        ..KitInfo::default()
    });
    project
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Class;
    use crate::pad::PADS;

    #[test]
    fn every_kit_says_only_what_is_known_and_is_small() {
        let text = include_str!("factory.json");
        assert!(text.len() < 150_000, "{}", text.len());
        let recipes: Vec<Recipe> = serde_json::from_str(text).unwrap();
        assert!(recipes.len() >= 12, "{}", recipes.len());
        let params = PluginParams::new(&Store::new().0);
        let mut seen = std::collections::HashSet::new();
        for recipe in &recipes {
            assert!(
                !recipe.tags.is_empty() && seen.insert(recipe.name.clone()),
                "{}",
                recipe.name
            );
            assert_eq!(recipe.pads.len(), PADS, "{}", recipe.name);
            for (pad, of_pad) in recipe.pads.iter().zip(&params.pads) {
                let what = format!("{} {:?}", recipe.name, pad.settings.making.class);
                assert!(
                    pad.settings.unknown.is_empty(),
                    "{what}: {:?}",
                    pad.settings.unknown
                );
                assert_eq!(pad.settings, pad.settings.clone().in_range(), "{what}");
                assert!(
                    matches!(pad.settings.making.class, Class::Label(_)),
                    "{what}"
                );
                assert!((0..=MAX_SEED).contains(&pad.seed), "{what}");
                for (id, &plain) in &pad.set {
                    let normalized = of_pad.normalized(id, plain);
                    assert!(
                        normalized.is_some_and(|it| (0.0..=1.0).contains(&it)),
                        "{what}: {id}"
                    );
                }
                // No sound is in two kits.
                let sound = format!("{:?} {}", pad.settings.making.class, pad.seed);
                assert!(seen.insert(sound), "{what} {}", pad.seed);
            }
        }
        let kits = factory_kits();
        assert_eq!(kits.len(), recipes.len());
        for (kit, recipe) in kits.iter().zip(&recipes) {
            let set: usize = recipe.pads.iter().map(|pad| pad.set.len()).sum();
            let params = &kit.kit.as_ref().unwrap().params;
            assert_eq!(params.len(), PADS + set, "{}", recipe.name);
        }
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn a_kit_is_made_by_the_model_that_is_built_in_and_always_the_same() {
        use std::ops::ControlFlow;

        use audiodiff::audio::Measures;

        use crate::job::Job;
        use crate::stored::StoredSound;

        let mut model = crate::model::open(None).unwrap();
        let info = model.info();
        for (k, kit) in factory_kits().iter().enumerate() {
            let (store, _inbox) = Store::new();
            let params = PluginParams::new(&store);
            store.load_kit(kit.clone(), &params, |value| value);
            let mut made = 0;
            while let Some(request) = store.next() {
                let pad = request.pad;
                // Every recipe can be followed; of one kit, the sounds are made.
                let jobs =
                    Job::all_of(&params.pads[pad], &info, &request, &store.project()).unwrap();
                let [job] = &jobs[..] else { panic!("{jobs:?}") };
                let class = job.recipe.class.clone().unwrap();
                if k > 0 {
                    store.settle(&request);
                    continue;
                }
                let mut make = || {
                    let made =
                        model.generate(&job.recipe, None, &mut |_| ControlFlow::Continue(()));
                    StoredSound::rendered(job.recipe.clone(), &made.unwrap())
                };
                let sound = make();
                if pad == 0 {
                    assert_eq!(make(), sound);
                }
                let clip = sound.clip();
                assert!(clip.peak() > 0.05, "{class} {}", job.recipe.seed);
                let hz = Measures::of(&clip).brightness;
                let expected = match class.as_str() {
                    "kick" => 20.0..400.0,
                    "tom" => 50.0..2500.0,
                    "hat_closed" | "hat_open" | "cymbal" => 3000.0..20_000.0,
                    _ => 100.0..16_000.0,
                };
                assert!(
                    expected.contains(&hz),
                    "{class} {}: {hz} Hz",
                    job.recipe.seed
                );
                store.finish(&request, sound.asked(job.asked.clone()));
                made += 1;
            }
            if k == 0 {
                assert_eq!(
                    (made, store.project().pads.iter().flatten().count()),
                    (PADS, PADS)
                );
                assert!(!store.project().has_other_pads_than_its_kit());
            }
        }
    }

    /// Plays every kit into the folder that `EXPORTS` names, for ears and eyes.
    #[cfg(feature = "embedded-model")]
    #[test]
    #[ignore = "makes all sounds of all kits, and writes files"]
    fn no_pad_of_any_kit_is_silent_as_it_is_played() {
        use std::ops::ControlFlow;
        use std::path::Path;
        use std::sync::Arc;

        use audiodiff::audio;
        use nice_plug::prelude::{FloatParam, FloatRange};

        use crate::job::Job;
        use crate::kits::export::{Format, export, first_keys};
        use crate::stored::StoredSound;

        let folder = std::env::var_os("EXPORTS").expect("EXPORTS names a folder");
        let mut model = crate::model::open(None).unwrap();
        let info = model.info();
        let recipes: Vec<Recipe> = serde_json::from_str(include_str!("factory.json")).unwrap();
        for (kit, recipe) in factory_kits().iter().zip(recipes) {
            let begun = std::time::Instant::now();
            let (store, _inbox) = Store::new();
            let mut params = PluginParams::new(&store);
            store.load_kit(kit.clone(), &params, |value| value);
            while let Some(request) = store.next() {
                let pad = &params.pads[request.pad];
                let jobs = Job::all_of(pad, &info, &request, &store.project()).unwrap();
                let recipe = &jobs[0].recipe;
                let made = model.generate(recipe, None, &mut |_| ControlFlow::Continue(()));
                let sound = StoredSound::rendered(recipe.clone(), &made.unwrap());
                store.finish(&request, sound);
            }
            println!("{}: {:.2} s", recipe.name, begun.elapsed().as_secs_f32());
            for (of_pad, pad) in params.pads.iter_mut().zip(&recipe.pads) {
                for (id, &plain) in &pad.set {
                    let knob = match id.as_str() {
                        "gain" => &mut of_pad.gain,
                        "pan" => &mut of_pad.pan,
                        "pitch" => &mut of_pad.pitch,
                        "start" => &mut of_pad.start,
                        "attack" => &mut of_pad.attack,
                        "decay" => &mut of_pad.decay,
                        "sustain" => &mut of_pad.sustain,
                        "release" => &mut of_pad.release,
                        "cutoff" => &mut of_pad.cutoff,
                        "resonance" => &mut of_pad.resonance,
                        other => panic!("{other}"),
                    };
                    let (min, max) = (plain - 1.0, plain + 1.0);
                    *knob = FloatParam::new(id.as_str(), plain, FloatRange::Linear { min, max });
                }
            }
            let project: Arc<Project> = store.project();
            let exported = export(
                Format::Wav,
                &project,
                &params,
                &first_keys(),
                None,
                Path::new(&folder),
            )
            .unwrap();
            let files = std::fs::read_dir(&exported.path).unwrap();
            let peaks: Vec<f32> = files
                .map(|file| {
                    audio::decode(&file.unwrap().path(), None)
                        .unwrap()
                        .clip
                        .peak()
                })
                .collect();
            assert_eq!(peaks.len(), PADS);
            assert!(
                peaks.iter().all(|&peak| peak > 0.03),
                "{}: {peaks:?}",
                recipe.name
            );
        }
    }
}
