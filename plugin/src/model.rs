//! The diffusion model as a [`Model`] of the generator.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use audiodiff::Result;
#[cfg(feature = "embedded-model")]
use audiodiff::checkpoint::Checkpoint;
use audiodiff::diffusion::schedule::NoiseSchedule;
use audiodiff::import;
use audiodiff::render::{Init, MOST_FEW_STEPS, RenderSettings, Rendered, Renderer};
use candle_core::Device;

use crate::emergence::{Emerging, peaks};
use crate::generator::Model;
use crate::placing::place;
use crate::portrait::Ranges;
use crate::settings::threads_in_use;
use crate::status::ModelInfo;
use crate::stored::{SoundRecipe, StoredSound};
use crate::workers::{Rank, Workers};

/// The environment variable that names a model file to use instead of the one that is built in.
pub const MODEL_VARIABLE: &str = "AUDIODIFF_MODEL";

/// Opens the model at `path`; without one, the model that `AUDIODIFF_MODEL` names, or else the one that is
/// built in.
///
/// # Errors
/// When the file is not a model, or nothing is built in.
pub fn open(path: Option<&Path>) -> Result<Box<dyn Model>> {
    let named = || std::env::var_os(MODEL_VARIABLE).map(PathBuf::from);
    Ok(Box::new(DiffusionModel {
        loaded: load(path.map(Path::to_owned).or_else(named))?,
        threads: threads_in_use,
        workers: None,
    }))
}

struct Loaded {
    renderer: Renderer,
    info: Arc<ModelInfo>,
}

/// The model at `path`. Instances share it: weights are held once, and freed with the last.
fn load(path: Option<PathBuf>) -> Result<Arc<Loaded>> {
    /// The path of a model, and when its file was written: it may have been trained on since.
    type ModelKey = (Option<PathBuf>, Option<SystemTime>);
    static OPENED: Mutex<Vec<(ModelKey, Weak<Loaded>)>> = Mutex::new(Vec::new());
    let metadata = path.as_ref().and_then(|path| std::fs::metadata(path).ok());
    let place = (path, metadata.and_then(|metadata| metadata.modified().ok()));
    let path = &place.0;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    opened.retain(|(_, loaded)| loaded.strong_count() > 0);
    if let Some(loaded) = opened
        .iter()
        .find(|(opened, _)| *opened == place)
        .and_then(|(_, loaded)| loaded.upgrade())
    {
        return Ok(loaded);
    }
    let checkpoint = match path {
        Some(path) => import::load(path)?,
        #[cfg(feature = "embedded-model")]
        None => Checkpoint::embedded()?,
        #[cfg(not(feature = "embedded-model"))]
        None => {
            let reason = format!("this build holds no model; {MODEL_VARIABLE} can name a file");
            return Err(audiodiff::Error::setting(reason));
        }
    };
    // A model that was trained anew often keeps its name: its weights tell it apart.
    let print = checkpoint.fingerprint()?;
    let info = ModelInfo {
        name: shown_name(&checkpoint.config.name, &print),
        labels: checkpoint.config.labels.clone(),
        own_steps: RenderSettings::of(&checkpoint.config).steps,
        most_steps: if checkpoint.config.is_few_step() {
            MOST_FEW_STEPS
        } else {
            NoiseSchedule::MAX_STEPS
        },
        ranges: Ranges::of(&checkpoint.config),
    };
    let loaded = Arc::new(Loaded {
        renderer: Renderer::new(&checkpoint, &Device::Cpu)?,
        info: Arc::new(info),
    });
    opened.push((place, Arc::downgrade(&loaded)));
    Ok(loaded)
}

/// A model's name and a part of its fingerprint, by which projects know it.
pub(crate) fn shown_name(name: &str, print: &str) -> String {
    format!("{name} {}", &print[..8])
}

/// A setting as it was meant: 0.01 as a 32-bit float is a little less.
fn decimal(x: f32) -> f64 {
    (f64::from(x) * 1e4).round() / 1e4
}

/// How much of a sound is noise at a noise level, from 0 to 1: by the logarithm, as levels are spread.
fn noise(settings: &RenderSettings, sigma: f64) -> f32 {
    let (low, high) = (settings.sigma_min, settings.sigma_max);
    ((sigma / low).ln() / (high / low).ln()).clamp(0.0, 1.0) as f32
}

/// A model, and threads of its own to work on.
struct DiffusionModel {
    loaded: Arc<Loaded>,
    /// How many threads the next sound is made on.
    threads: fn() -> usize,
    /// None before the first sound.
    workers: Option<Workers>,
}

impl Model for DiffusionModel {
    fn info(&self) -> Arc<ModelInfo> {
        self.loaded.info.clone()
    }

    fn generate(
        &mut self,
        recipe: &SoundRecipe,
        init: Option<Init>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
    ) -> Result<Rendered> {
        self.render(recipe, init, keep_going, None)
    }

    fn generate_watched(
        &mut self,
        recipe: &SoundRecipe,
        init: Option<Init>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
        watch: &mut (dyn FnMut(Emerging) + Send),
    ) -> Result<Rendered> {
        self.render(recipe, init, keep_going, Some(watch))
    }

    fn measured(&mut self, sound: StoredSound) -> StoredSound {
        match &self.workers {
            Some(workers) => workers.run(|| sound.measured()),
            None => sound.measured(),
        }
    }
}

impl DiffusionModel {
    fn render(
        &mut self,
        recipe: &SoundRecipe,
        init: Option<Init>,
        keep_going: &mut (dyn FnMut(f32) -> ControlFlow<()> + Send),
        mut watch: Option<&mut (dyn FnMut(Emerging) + Send)>,
    ) -> Result<Rendered> {
        let own = RenderSettings::of(self.loaded.renderer.config());
        let settings = RenderSettings {
            class: recipe.class.clone(),
            steps: match recipe.steps {
                0 => own.steps,
                steps => steps as usize,
            },
            guidance: match recipe.guidance {
                0.0 => own.guidance,
                weight => f64::from(weight),
            },
            seconds: recipe.seconds.map(decimal),
            descriptors: recipe.attributes.clone().into_iter().collect(),
            init,
            ..own
        };
        let threads = (self.threads)();
        self.workers.take_if(|workers| workers.count() != threads);
        let workers = match &mut self.workers {
            Some(workers) => workers,
            none => none.insert(Workers::new(threads, Rank::Maker)?),
        };
        let renderer = &self.loaded.renderer;
        workers.run(|| {
            let mut rendered =
                renderer.render_watched(&settings, recipe.seed, &mut |progress, guess| {
                    let watched = watch.as_mut().zip(guess);
                    // A picture that cannot be drawn is none; the sound itself will say why.
                    if let Some((watch, guess)) = watched
                        && let Ok(clip) = guess.clip()
                    {
                        watch(Emerging {
                            noise: noise(&settings, guess.sigma()),
                            peaks: peaks(&clip),
                        });
                    }
                    keep_going(progress.step as f32 / progress.steps.max(1) as f32)
                })?;
            place(&mut rendered.clip, rendered.class.as_deref());
            Ok(rendered)
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "embedded-model")]
    use audiodiff::{
        Error,
        checkpoint::{Rendering, StorageType},
        diffusion::{sampler::Sampler, schedule::Schedule},
        render::Remark,
    };

    use std::collections::BTreeMap;

    use super::*;

    #[cfg(feature = "embedded-model")]
    fn embedded() -> DiffusionModel {
        DiffusionModel {
            loaded: load(None).unwrap(),
            threads: || 2,
            workers: None,
        }
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn the_built_in_model_makes_the_same_sound_twice_and_can_be_stopped() {
        let loaded = load(None).unwrap();
        assert!(
            Arc::ptr_eq(&loaded, &load(None).unwrap()),
            "instances share it"
        );
        let mut model = DiffusionModel {
            loaded,
            threads: || 2,
            workers: None,
        };
        let info = model.info();
        assert_eq!(info.most_steps, NoiseSchedule::MAX_STEPS);
        let class = info.labels.first().cloned();
        let recipe = SoundRecipe {
            model: info.name.clone(),
            class,
            seed: 5,
            steps: 2,
            guidance: 1.5,
            seconds: None,
            attributes: BTreeMap::new(),
            variation: None,
            morph: None,
            file: None,
            unknown: serde_json::Map::new(),
        };
        let mut seen = Vec::new();
        let made = model.generate(&recipe, None, &mut |done| {
            seen.push(done);
            ControlFlow::Continue(())
        });
        let made = made.unwrap();
        let clip = made.clip.clone();
        assert!(clip.peak() > 0.0);
        assert_eq!(seen.last(), Some(&1.0));
        let again = model.generate(&recipe, None, &mut |_| ControlFlow::Continue(()));
        assert_eq!(again.unwrap(), made);
        let varied = SoundRecipe {
            seconds: Some(0.5),
            ..recipe.clone()
        };
        let init = Init::Vary {
            clip: clip.clone(),
            strength: 0.3,
        };
        let varied = model.generate(&varied, Some(init), &mut |_| ControlFlow::Continue(()));
        let varied = varied.unwrap().clip;
        assert!(
            varied.seconds() < 0.6 && varied.peak() > 0.0,
            "{}",
            varied.seconds()
        );
        let stopped = model.generate(&recipe, None, &mut |_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(Error::Stopped)));
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn each_knob_of_the_portrait_turns_what_it_names() {
        use audiodiff::attributes::{Attribute, Attributes};
        use audiodiff::audio::Measures;

        use crate::job::Job;
        use crate::kit::Class;
        use crate::stored::Asked;
        use crate::stored::tests::asked;

        let mut model = embedded();
        let info = model.info();
        assert!(info.ranges.are_known());
        // Closed hats have no pitch.
        let range = |class, attribute| info.ranges.range(Some(class), attribute);
        assert!(range("hat_closed", Attribute::Pitch).is_none());
        for (attribute, class, factor) in [
            (Attribute::Attack, "fx", 3.0),
            (Attribute::Length, "kick", 2.0),
            (Attribute::Length, "cymbal", 2.0),
            (Attribute::Brightness, "snare", 2.0),
            (Attribute::Brightness, "kick", 1.2),
            (Attribute::Pitch, "tom", 1.3),
            (Attribute::Pitch, "bass", 1.5),
            (Attribute::Noisiness, "perc", 2.0),
        ] {
            let mut found = |knob: f32| -> f32 {
                let made = |seed| {
                    let mut asked = Asked {
                        class: Class::Label(class.into()),
                        ..asked(seed)
                    };
                    asked.portrait = asked.portrait.with(attribute, knob);
                    let job = Job::described(asked, 0, &info).unwrap();
                    assert_eq!(job.recipe.attributes.len(), 1);
                    let made =
                        model.generate(&job.recipe, None, &mut |_| ControlFlow::Continue(()));
                    Attributes::of(&Measures::of(&made.unwrap().clip)).get(attribute)
                };
                let mut values: Vec<f32> = (0..3).filter_map(made).collect();
                values.sort_by(f32::total_cmp);
                values[values.len() / 2]
            };
            let (low, high) = (found(-0.7), found(0.7));
            let name = attribute.name();
            assert!(high > factor * low, "{name} of {class}: {low} to {high}");
        }
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn a_ring_is_the_same_again_and_watching_it_changes_nothing() {
        use crate::job::Job;
        use crate::stored::StoredSound;
        use crate::stored::tests::asked;

        let mut model = embedded();
        let info = model.info();
        let mut keep_going = |_| ControlFlow::Continue(());
        let recipe = SoundRecipe {
            model: info.name.clone(),
            class: Some("snare".into()),
            seed: 3,
            ..SoundRecipe::plain()
        };
        let made = model.generate(&recipe, None, &mut keep_going).unwrap();
        let centre = StoredSound::rendered(recipe, &made);
        let job =
            |strength, seed| Job::around(&asked(1), 0, &info, &centre, strength, seed).unwrap();
        let mut steps = Vec::new();
        let near = job(0.2, 8);
        let sound = model
            .generate_watched(
                &near.recipe,
                near.init.clone(),
                &mut keep_going,
                &mut |step| steps.push(step),
            )
            .unwrap();
        let again = model.generate(&near.recipe, near.init, &mut keep_going);
        assert_eq!(again.unwrap(), sound);
        assert_eq!((steps.len(), sound.steps), (2, 2));
        assert!(steps[0].noise > steps[1].noise && steps[0].noise < 0.4);
        let far = job(0.9, 8);
        let far = model
            .generate(&far.recipe, far.init, &mut keep_going)
            .unwrap();
        let heard = |clip: &audiodiff::audio::Clip| {
            let features = audiodiff::eval::Features::new(44_100, 16_384).unwrap();
            features.of(clip).unwrap()
        };
        let apart = |clip: &audiodiff::audio::Clip| -> f32 {
            let pairs = heard(clip).into_iter().zip(heard(&made.clip));
            pairs.map(|(a, b)| (a - b).powi(2)).sum()
        };
        assert!(apart(&sound.clip) < apart(&far.clip));
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn a_distilled_model_takes_no_more_steps_than_it_is_good_for() {
        let mut distilled = Checkpoint::embedded().unwrap();
        let few = Rendering::new(Sampler::Consistency, Schedule::Consistency, 4, 1.0);
        distilled.config.rendering = Some(few);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distilled.safetensors");
        distilled.save(&path, StorageType::F16).unwrap();
        let mut model = DiffusionModel {
            loaded: load(Some(path)).unwrap(),
            threads: || 2,
            workers: None,
        };
        let info = model.info();
        let mut taking = |steps| {
            let recipe = SoundRecipe {
                model: info.name.clone(),
                class: Some("kick".into()),
                seed: 5,
                steps,
                guidance: 0.0,
                seconds: None,
                attributes: BTreeMap::new(),
                variation: None,
                morph: None,
                file: None,
                unknown: serde_json::Map::new(),
            };
            model
                .generate(&recipe, None, &mut |_| ControlFlow::Continue(()))
                .unwrap()
        };
        let (asked, taken) = (64, info.most_steps);
        let (most, more) = (taking(taken as u32), taking(asked as u32));
        assert_eq!((most.steps, &most.remarks[..]), (taken, &[][..]));
        assert_eq!(more.remarks, [Remark::Steps { asked, taken }]);
        assert_eq!(more.clip, most.clip);
    }

    #[test]
    fn a_dance_diffusion_model_plays_at_its_own_rate_and_length() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reference/dance");
        let file = Path::new(folder).join("converted.ckpt");
        let mut model = DiffusionModel {
            loaded: load(Some(file.clone())).unwrap(),
            threads: || 2,
            workers: None,
        };
        let info = model.info();
        assert!(info.name.starts_with("converted ") && info.labels.is_empty());
        let recipe = SoundRecipe {
            model: info.name.clone(),
            class: None,
            seed: 5,
            steps: 3,
            guidance: 0.0,
            seconds: None,
            attributes: BTreeMap::new(),
            variation: None,
            morph: None,
            file: None,
            unknown: serde_json::Map::new(),
        };
        let mut made = |init| {
            model
                .generate(&recipe, init, &mut |_| ControlFlow::Continue(()))
                .unwrap()
                .clip
        };
        let clip = made(None);
        assert_eq!((clip.sample_rate(), clip.channels().len()), (44_100, 2));
        assert_eq!(clip.len_frames(), 24);
        assert!(clip.is_finite() && clip.peak() > 0.0);
        assert_eq!(made(None), clip);
        let varied = made(Some(Init::Vary {
            clip: clip.clone(),
            strength: 0.5,
        }));
        assert_ne!(varied, clip);
        // `audiodiff import` writes the same model.
        let settings = import::ImportSettings {
            name: Some("converted".into()),
            ..Default::default()
        };
        let import = import::Import::open(&file, &settings).unwrap();
        let written = tempfile::tempdir().unwrap();
        let path = written.path().join("model.safetensors");
        import
            .save(
                &path,
                audiodiff::checkpoint::StorageType::F32,
                &mut |_, _| {},
            )
            .unwrap();
        let mut model = DiffusionModel {
            loaded: load(Some(path)).unwrap(),
            threads: || 2,
            workers: None,
        };
        assert_eq!(model.info().name, info.name);
        let again = model.generate(&recipe, None, &mut |_| ControlFlow::Continue(()));
        assert_eq!(again.unwrap().clip, clip);
    }

    #[test]
    fn the_least_length_is_no_less_than_it_says() {
        assert_eq!([0.01, 0.3, 1.1, 8.0].map(decimal), [0.01, 0.3, 1.1, 8.0]);
    }

    #[test]
    fn a_missing_model_is_named() {
        let Err(error) = load(Some("/no/such/model".into())) else {
            panic!("there is no such model");
        };
        let error = error.to_string();
        assert!(error.contains("/no/such/model"), "{error}");
    }
}
