//! The model that a training begins with: fresh, or fitted to new sounds from another.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::classes::{ClassMatch, matches};
use super::{TrainConfig, place};
use crate::attributes::Attributes;
use crate::checkpoint::{
    Checkpoint, FORMAT_VERSION, MAX_ATTRIBUTES, ModelConfig, Rendering, TrainingRecord,
};
use crate::dataset::{Crop, Dataset, Descriptor};
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::Schedule;
use crate::error::{Error, Result};
use crate::network::Parameters;
use crate::noise::Noise;
use crate::representation::Statistics;

/// How a tuned model is rendered, before anything was measured of it.
const FEW_STEPS: Rendering = Rendering {
    sampler: Sampler::Consistency,
    schedule: Schedule::Consistency,
    guidance: 1.0,
    steps: 4,
    measured: Vec::new(),
    excess: Vec::new(),
};

/// Statistics are measured on at most this many sounds: they are means over hundreds of rows of each.
const MEASURED_SOUNDS: usize = 1024;

/// Of sounds that have clips anywhere, at least this many places are measured.
const LEAST_PORTRAITS: usize = 256;

/// Hears how many sounds of how many are measured.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(usize, usize);

/// At most `most` of some sounds, in their order: every n-th of each class.
fn some_of_each_class(dataset: &Dataset, sounds: &[usize], most: usize) -> Vec<usize> {
    let mut classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for &index in sounds {
        let class = classes.entry(dataset.label(index)).or_default();
        class.push(index);
    }
    let count = |nth: usize| -> usize {
        let counts = classes.values().map(|own| own.len().div_ceil(nth));
        counts.sum()
    };
    let mut nth = 1;
    while count(nth) > most && nth < sounds.len() {
        nth += 1;
    }
    let chosen = classes.values().flat_map(|own| own.iter().step_by(nth));
    let mut chosen: Vec<usize> = chosen.copied().collect();
    chosen.sort_unstable();
    chosen
}

/// What is measured of the sounds before anything is learnt.
#[derive(Default)]
struct Measured {
    statistics: Statistics,
    /// Those that travel with the model.
    attributes: Vec<(Option<u32>, Attributes)>,
}

/// Measures what is asked for; the rest stays empty.
fn measured(
    config: &TrainConfig,
    dataset: &Dataset,
    statistics: bool,
    attributes: bool,
    on_progress: OnProgress<'_>,
) -> Result<Measured> {
    let kept = some_of_each_class(dataset, dataset.train(), MAX_ATTRIBUTES);
    let mut measured = Measured::default();
    if statistics {
        // A part of those that are kept: what is measured of both is measured at once.
        let sounds = some_of_each_class(dataset, &kept, MEASURED_SOUNDS);
        let mut clips = dataset.clips(&sounds, attributes, on_progress);
        measured.statistics = config.representation.fit(&config.format, &mut clips)?;
    }
    if !attributes {
        return Ok(measured);
    }
    let places = match dataset.crop() {
        Crop::Onset => 1,
        Crop::Anywhere => LEAST_PORTRAITS.div_ceil(kept.len().max(1)),
    };
    let kept = kept.repeat(places);
    let found = &mut measured.attributes;
    for part in kept.chunks(4 * rayon::current_num_threads()) {
        on_progress(found.len(), kept.len());
        let first = found.len() as u64;
        let one = |(i, &index): (usize, &usize)| {
            let mut noise = Noise::at(config.seed, &[place::KEPT, first + i as u64]);
            let attributes = dataset.attributes_of_draw(index, &mut noise)?;
            Ok((dataset.label(index), attributes))
        };
        let part: Result<Vec<_>> = part.par_iter().enumerate().map(one).collect();
        found.extend(part?);
    }
    Ok(measured)
}

/// A new model with fresh weights.
pub(super) fn fresh(
    config: &TrainConfig,
    dataset: &Dataset,
    device: &Device,
    on_progress: OnProgress<'_>,
) -> Result<(ModelConfig, Parameters)> {
    let Measured {
        statistics,
        attributes,
    } = measured(config, dataset, true, config.attributes, on_progress)?;
    let heard = Descriptor::ALL.into_iter();
    let heard = heard.filter(|known| known.is_heard_in(&config.representation));
    let model = ModelConfig {
        format_version: FORMAT_VERSION,
        name: config.name.clone(),
        format: config.format,
        crop: Some(dataset.crop()),
        representation: config.representation.clone(),
        statistics,
        labels: dataset.labels().to_vec(),
        descriptors: heard.map(|known| known.name().to_owned()).collect(),
        attributes,
        sigma_data: config.objective.sigma_data,
        sigma_max: config.representation.sigma_max(),
        target: config.target,
        network: config.network.clone(),
        rendering: None,
        training: TrainingRecord {
            licence: config.licence.clone(),
            ..TrainingRecord::default()
        },
    };
    model.validate()?;
    let mut noise = Noise::at(config.seed, &[place::INIT]);
    let parameters = model.network.init(model.dims(), &mut noise, device)?;
    Ok((model, parameters))
}

/// Takes the first `width` columns for `gain` times as large as they were.
fn scale(statistics: &mut Statistics, width: usize, gain: f32) {
    let columns = statistics.mean.iter_mut().take(width);
    columns
        .chain(statistics.scale.iter_mut().take(width))
        .for_each(|x| *x *= gain);
}

/// A model that goes on from another's weights, with the classes of the new sounds and in the format of the run:
/// another length and rate change nothing of the network, other channels only its two ends.
pub(super) fn fine_tuned(
    config: &TrainConfig,
    dataset: &Dataset,
    from: &Checkpoint,
    device: &Device,
    on_progress: OnProgress<'_>,
) -> Result<(ModelConfig, Parameters, Vec<ClassMatch>)> {
    let old = &from.config;
    let refuse = |reason: String| Err(Error::setting(format!("--from {}: {reason}", old.name)));
    for (what, same) in [
        (
            "representation",
            old.representation == config.representation,
        ),
        ("network", old.network == config.network),
        ("target", old.target == config.target),
        ("sigma_data", old.sigma_data == config.objective.sigma_data),
    ] {
        if !same {
            return refuse(format!("its {what} differs from the run's"));
        }
    }
    // An unconditional network learns all sounds as one kind, and has the ends that it has.
    let is_conditional = old.network.is_conditional();
    if !is_conditional && old.format.channels != config.format.channels {
        return refuse(format!(
            "its network takes {} channels and cannot be changed, the run has {}",
            old.format.channels, config.format.channels
        ));
    }
    let unknown = |name: &&String| Descriptor::named(name).is_none();
    if let Some(name) = old.descriptors.iter().find(unknown) {
        return refuse(format!(
            "nobody knows how to change sounds by its descriptor {name:?}"
        ));
    }
    // The columns of the frames that the network knows, and those that it is to have.
    let own = old.dims().width;
    let width = config.representation.width(config.format.channels);
    let attributes = config.attributes && !old.attributes.is_empty();
    let Measured {
        mut statistics,
        attributes,
    } = measured(config, dataset, width > own, attributes, on_progress)?;
    if width > own {
        // What the model knew is measured as it knew it, or it would mean something else.
        statistics.mean[..own].copy_from_slice(&old.statistics.mean);
        statistics.scale[..own].copy_from_slice(&old.statistics.scale);
        scale(&mut statistics, own, config.representation.gain_of_mid());
    } else {
        statistics.clone_from(&old.statistics);
        statistics.mean.truncate(width);
        statistics.scale.truncate(width);
        if width < own {
            scale(
                &mut statistics,
                width,
                1.0 / config.representation.gain_of_mid(),
            );
        }
    }
    let model = ModelConfig {
        name: config.name.clone(),
        format: config.format,
        crop: Some(dataset.crop()),
        statistics,
        labels: match is_conditional {
            true => dataset.labels().to_vec(),
            false => Vec::new(),
        },
        attributes,
        // Files from before this was known mean too little for some representations.
        sigma_max: old.sigma_max.max(old.representation.sigma_max()),
        // A few-step model that is trained as a denoiser becomes one again.
        rendering: match (config.tuning, &old.rendering) {
            (Some(_), Some(own)) if old.is_few_step() => Some(Rendering {
                measured: Vec::new(),
                excess: Vec::new(),
                ..own.clone()
            }),
            (Some(_), _) => Some(FEW_STEPS),
            (None, own) => own.clone().filter(|_| !old.is_few_step()),
        },
        training: TrainingRecord {
            fine_tuned_from: Some(old.name.clone()),
            before: Some(old.training.totals()),
            licence: config.licence.clone(),
            ..TrainingRecord::default()
        },
        ..old.clone()
    };
    model.validate()?;
    let weights = adapted(from, &model)?;
    let found = matches(&old.labels, &model.labels);
    Ok((model, Parameters::from_weights(&weights, device)?, found))
}

/// Weights of `from` as the network of `model` takes them.
pub(super) fn adapted(from: &Checkpoint, model: &ModelConfig) -> Result<BTreeMap<String, Tensor>> {
    let old = &from.config;
    let mut weights = from.weights.clone();
    let meant = matches(&old.labels, &model.labels).into_iter();
    let places = meant.map(|found| {
        let is_meant = |place: &usize| found.classes.contains(&old.labels[*place]);
        (0..old.labels.len()).filter(is_meant).collect()
    });
    let classes: Vec<Vec<usize>> = places.collect();
    model
        .network
        .adapt(&mut weights, old.dims(), model.dims(), &classes)?;
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ScanOptions;
    use crate::representation::Format;

    #[test]
    fn sounds_are_taken_from_every_class_and_no_more_than_asked() {
        let root = tempfile::tempdir().expect("a folder");
        let mut seed = 0;
        for (label, count) in [("a", 40), ("b", 3), ("c", 17)] {
            for i in 0..count {
                seed += 1;
                let folder = root.path().join(label);
                std::fs::create_dir_all(&folder).expect("a folder");
                let clip = crate::audio::Clip::new(8000, vec![Noise::new(seed).normals(100)]);
                let path = folder.join(format!("{i}.wav"));
                let depth = crate::audio::BitDepth::Float32;
                crate::audio::write_wav(&path, &clip, depth).expect("written");
            }
        }
        let format = Format {
            sample_rate: 8000,
            channels: 1,
            len_frames: 128,
        };
        let options = ScanOptions {
            validation: 0.0,
            ..ScanOptions::default()
        };
        let opened = Dataset::open(root.path(), format, &options, &mut |_, _| ());
        let dataset = opened.expect("60 sounds").0;
        let counts = |most: usize| {
            let mut counts = [0; 3];
            let chosen = some_of_each_class(&dataset, dataset.train(), most);
            assert!(chosen.is_sorted() && chosen.len() <= most);
            for index in chosen {
                counts[dataset.label(index).expect("labelled") as usize] += 1;
            }
            counts
        };
        assert_eq!(counts(60), [40, 3, 17]);
        assert_eq!(counts(59), [20, 2, 9]);
        assert_eq!(counts(12), [7, 1, 3]);
        assert_eq!(counts(3), [1, 1, 1]);
    }
}
