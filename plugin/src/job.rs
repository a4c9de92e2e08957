//! The job that a request comes to, given the parameters and settings of its pad, the model and the project.

use audiodiff::render::Init;
use audiodiff::{Error, Result};

use crate::kit::Making;
use crate::params::PadParams;
use crate::project::Project;
use crate::requests::{Request, Task};
use crate::status::ModelInfo;
use crate::stored::{Asked, SoundRecipe, StoredSound};

/// A sound to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// How to make it.
    pub recipe: SoundRecipe,
    /// The sounds to begin with; none to begin with noise.
    pub init: Option<Init>,
    /// The parameters that asked for it.
    pub asked: Asked,
}

impl Job {
    /// The jobs that `request` comes to: one for each take, one for any other task. `pad` are the parameters of its pad.
    ///
    /// # Errors
    /// When the class is not one of the model's, or there is no sound to morph with.
    pub fn all_of(
        pad: &PadParams,
        model: &ModelInfo,
        request: &Request,
        project: &Project,
    ) -> Result<Vec<Self>> {
        let (Task::Takes, Some(sound)) = (request.task, project.sound(request.pad)) else {
            return Ok(vec![Self::of(pad, model, request, project)?]);
        };
        let making = &project.settings[request.pad].making;
        let plain = Self::plain(pad, model, request, making)?;
        let takes = 1..making.takes as u64;
        Ok(takes
            .map(|take| {
                let mut job = plain.clone().vary(making.takes_variation, sound);
                // Of the same sound always the same, and no nearer to what is asked than that.
                job.recipe.attributes.clear();
                let own = sound.recipe();
                job.recipe.seed = own.seed.wrapping_add(take);
                job.recipe.class.clone_from(&own.class);
                job
            })
            .collect())
    }

    /// The job that `request` comes to, other than for takes; `pad` are the parameters of its pad. A pad without a sound is
    /// given its first one, whatever is asked: the request may have come before that was made.
    ///
    /// # Errors
    /// When the class is not one of the model's, or there is no sound to morph with.
    pub fn of(
        pad: &PadParams,
        model: &ModelInfo,
        request: &Request,
        project: &Project,
    ) -> Result<Self> {
        let making = &project.settings[request.pad].making;
        let plain = Self::plain(pad, model, request, making)?;
        let Some(own) = project.sound(request.pad) else {
            return Ok(plain);
        };
        match request.task {
            Task::Generate | Task::Follow | Task::Takes => Ok(plain),
            Task::Vary => Ok(plain.vary(making.variation, own)),
            Task::Morph => {
                let amount = request.amount.unwrap_or_else(|| pad.morph_amount.value());
                let other = making.other(request.pad);
                let to = project.sound(other).ok_or_else(|| {
                    Error::setting(format!(
                        "pad {}: there is no sound to morph with",
                        other + 1
                    ))
                })?;
                Ok(plain.morph(amount, own, to))
            }
        }
    }

    /// A variation of `centre` for `pad`, of which `asked` is asked: as [`Task::Vary`] makes one, but of this strength and
    /// seed, of the centre's own class where the model has made it, and in as few steps as that takes.
    ///
    /// # Errors
    /// When the class is not one of the model's.
    pub fn around(
        asked: &Asked,
        pad: usize,
        model: &ModelInfo,
        centre: &StoredSound,
        strength: f32,
        seed: u64,
    ) -> Result<Self> {
        let mut job = Self::described(asked.clone(), pad, model)?.vary(strength, centre);
        job.recipe.seed = seed;
        if asked.steps == 0 {
            job.recipe.steps = steps_below(model.own_steps, job.recipe.variation.unwrap_or(1.0));
        }
        let own = centre.recipe();
        let is_known = |class: &String| model.labels.contains(class);
        if own.file.is_none() && own.class.as_ref().is_none_or(is_known) {
            job.recipe.class.clone_from(&own.class);
            job.recipe.attributes = model.ranges.asked(own.class.as_deref(), &asked.portrait);
        }
        Ok(job)
    }

    /// A sound between two for `pad`, of which `asked` is asked, as [`Task::Morph`] makes one.
    ///
    /// # Errors
    /// When the class is not one of the model's.
    pub fn between(
        asked: &Asked,
        pad: usize,
        model: &ModelInfo,
        from: &StoredSound,
        to: &StoredSound,
        fraction: f32,
    ) -> Result<Self> {
        let mut job = Self::described(asked.clone(), pad, model)?.morph(fraction, from, to);
        let is_known = |class: &String| model.labels.contains(class);
        job.recipe.class = job.recipe.class.filter(is_known);
        Ok(job)
    }

    /// The sound that the seed and the settings of a pad describe, from nothing.
    fn plain(
        pad: &PadParams,
        model: &ModelInfo,
        request: &Request,
        making: &Making,
    ) -> Result<Self> {
        Self::described(pad.asked(making, request.seed), request.pad, model)
    }

    /// The sound that is asked for of a pad, from nothing.
    pub(crate) fn described(asked: Asked, pad: usize, model: &ModelInfo) -> Result<Self> {
        Ok(Self {
            recipe: recipe(&asked, model, pad)?,
            init: None,
            asked,
        })
    }

    fn vary(self, amount: f32, sound: &StoredSound) -> Self {
        let mut recipe = self.recipe;
        // A variation of a variation goes on from there, with a seed of its own.
        let last = sound.recipe();
        if last.variation.is_some() {
            recipe.seed = last.seed.wrapping_add(1);
        }
        recipe.variation = Some(amount);
        let init = Init::Vary {
            clip: sound.clip(),
            strength: f64::from(amount),
        };
        Self {
            recipe,
            init: Some(init),
            ..self
        }
    }

    fn morph(self, amount: f32, from: &StoredSound, to: &StoredSound) -> Self {
        let mut recipe = self.recipe;
        let last = from.recipe();
        if last.morph.is_some() {
            recipe.seed = last.seed.wrapping_add(1);
        }
        // The class of both, if they have the same.
        recipe.class = last
            .class
            .clone()
            .filter(|_| last.class == to.recipe().class);
        recipe.morph = Some(amount);
        // What lies between two sounds is neither's.
        recipe.attributes.clear();
        let init = Init::Morph {
            clips: [from.clip(), to.clip()],
            fraction: f64::from(amount),
        };
        Self {
            recipe,
            init: Some(init),
            ..self
        }
    }
}

/// How many steps a variation takes to be made as finely as a model makes sounds: it begins with less noise.
fn steps_below(own: usize, strength: f32) -> u32 {
    let own = own.max(2);
    let below = (own as f32 * strength).ceil() as usize;
    (below + 1).clamp(2, own) as u32
}

/// The recipe that is asked for.
fn recipe(asked: &Asked, model: &ModelInfo, pad: usize) -> Result<SoundRecipe> {
    let class = asked.class.of_model(pad, &model.labels)?;
    Ok(SoundRecipe {
        model: model.name.clone(),
        attributes: model.ranges.asked(class.as_deref(), &asked.portrait),
        class,
        seed: u64::from(asked.seed.unsigned_abs()),
        steps: asked.steps,
        guidance: asked.guidance,
        seconds: (asked.length > 0.0).then_some(asked.length),
        variation: None,
        morph: None,
        file: None,
        unknown: serde_json::Map::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kit::Class;
    use crate::pad::{FIRST_SEEDS, PADS};
    use crate::params::PluginParams;
    use crate::params::tests::info;
    use crate::store::Store;
    use crate::stored::tests::{asked, clip, recipe};

    #[test]
    fn variations_and_morphs_go_on_from_where_they_are() {
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        let pad = &params.pads[2];
        let mut project = Project::default();
        project.pads.resize(PADS, None);
        // Before there is a sound, all make the first one.
        for task in [Task::Takes, Task::Vary, Task::Morph] {
            store.ask(2, task);
            let request = store.pending(2).unwrap();
            let jobs = Job::all_of(pad, &info(), &request, &project).unwrap();
            let [Job { recipe, init, .. }] = &jobs[..] else {
                panic!("{task:?}: {jobs:?}");
            };
            assert_eq!((recipe.seed, init), (FIRST_SEEDS[2] as u64, &None));
        }
        let (begin, other) = (clip(100, 0.1), clip(100, 0.2));
        let sound = |recipe, clip| Some(Arc::new(StoredSound::new(recipe, clip)));
        project.pads[2] = sound(recipe(77), &begin);
        let request = store.pending(2).unwrap();
        let error = Job::of(pad, &info(), &request, &project).unwrap_err();
        assert!(error.to_string().contains("pad 4"), "{error}");
        project.pads[3] = sound(recipe(78), &other);
        let clips = [2, 3].map(|pad| project.pads[pad].as_ref().unwrap().clip());

        let mut job = Job::of(pad, &info(), &request, &project).unwrap();
        let first = FIRST_SEEDS[2] as u64;
        assert_eq!((job.recipe.seed, job.recipe.morph), (first, Some(0.5)));
        assert_eq!(job.recipe.class.as_deref(), Some("kick"), "both are");
        let fraction = 0.5;
        assert_eq!(job.init, Some(Init::Morph { clips, fraction }));
        project.pads[2] = sound(job.recipe, &begin);
        project.pads[3] = sound(SoundRecipe::of_file("x.wav".as_ref()), &other);
        job = Job::of(pad, &info(), &request, &project).unwrap();
        assert_eq!((job.recipe.seed, job.recipe.class), (first + 1, None));

        store.ask(2, Task::Vary);
        let request = store.pending(2).unwrap();
        for seed in first..first + 3 {
            let job = Job::of(pad, &info(), &request, &project).unwrap();
            assert_eq!((job.recipe.seed, job.recipe.variation), (seed, Some(0.3)));
            assert!(matches!(job.init, Some(Init::Vary { .. })));
            project.pads[2] = sound(job.recipe, &begin);
        }
    }

    #[test]
    fn a_sound_around_another_is_of_its_class_and_takes_few_steps() {
        let steps = [0.0, 0.18, 0.36, 0.42, 0.6, 1.0].map(|strength| steps_below(4, strength));
        assert_eq!(steps, [2, 2, 3, 3, 4, 4]);
        let (of_model, of_file) = (recipe(7), SoundRecipe::of_file("x.wav".as_ref()));
        let foreign = SoundRecipe {
            class: Some("oboe".into()),
            ..recipe(7)
        };
        let snare = Asked {
            class: Class::Label("snare".into()),
            ..asked(1)
        };
        for (centre, class) in [(of_model, "kick"), (of_file, "snare"), (foreign, "snare")] {
            let centre = StoredSound::new(centre, &clip(100, 0.1));
            let job = Job::around(&snare, 0, &info(), &centre, 0.3, 99).unwrap();
            let found = (
                job.recipe.class.as_deref(),
                job.recipe.seed,
                job.recipe.steps,
            );
            assert_eq!(found, (Some(class), 99, 3));
            assert_eq!((job.recipe.variation, &job.asked), (Some(0.3), &snare));
        }
    }

    #[test]
    fn takes_are_small_variations_of_one_sound_with_seeds_of_its_own() {
        let (store, _inbox) = Store::new();
        let params = PluginParams::new(&store);
        let pad = &params.pads[2];
        let mut project = Project::default();
        store.ask(2, Task::Takes);
        let request = store.pending(2).unwrap();
        let own = StoredSound::new(recipe(77), &clip(100, 0.1));
        project.set_sound(2, Some(Arc::new(own.clone())));
        project.settings[2].making.takes = 5;
        let jobs = Job::all_of(pad, &info(), &request, &project).unwrap();
        let seeds: Vec<u64> = jobs.iter().map(|job| job.recipe.seed).collect();
        assert_eq!(seeds, [78, 79, 80, 81]);
        for job in &jobs {
            assert_eq!(job.recipe.class.as_deref(), Some("kick"));
            assert_eq!(job.recipe.variation, Some(0.1));
            let (clip, strength) = (own.clip(), f64::from(0.1f32));
            assert_eq!(job.init, Some(Init::Vary { clip, strength }));
        }
        assert_eq!(Job::all_of(pad, &info(), &request, &project).unwrap(), jobs);
    }
}
