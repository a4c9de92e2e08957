//! The model that a training begins with: fresh, or fitted to new sounds from another.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::classes::{ClassMatch, matches};
use super::{TrainConfig, place};
use crate::checkpoint::{
    Checkpoint, FORMAT_VERSION, MAX_PORTRAITS, ModelConfig, Rendering, TrainingRecord,
};
use crate::dataset::{Crop, Dataset, Descriptor};
use crate::diffusion::sampler::Sampler;
use crate::diffusion::schedule::Schedule;
use crate::error::{Error, Result};
use crate::network::Parameters;
use crate::noise::Noise;
use crate::portrait::Portrait;
use crate::representation::Statistics;

/// How a tuned model is rendered, before anything was measured of it.
const FEW_STEPS: Rendering = Rendering {
    sampler: Sampler::Consistency,
    schedule: Schedule::Few,
    guidance: 1.0,
    steps: 4,
    measured: Vec::new(),
};

/// Statistics are measured on at most this many sounds: they are means over hundreds of rows of each.
const MEASURED_SOUNDS: usize = 1024;

/// Of sounds that have clips anywhere, at least this many places are measured.
const LEAST_PORTRAITS: usize = 256;

/// Hears how many sounds of how many are measured.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(usize, usize);

/// At most `most` of the sounds to learn from, in their order: every n-th of each class.
fn some_of_each_class(dataset: &Dataset, most: usize) -> Vec<usize> {
    let mut classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for &index in dataset.train() {
        classes.entry(dataset.label(index)).or_default().push(index);
    }
    let mut nth = dataset.train().len().div_ceil(most.max(1)).max(1);
    let count = |nth: usize| -> usize { classes.values().map(|own| own.len().div_ceil(nth)).sum() };
    while count(nth) > most && nth < dataset.train().len() {
        nth += 1;
    }
    let mut chosen: Vec<usize> = classes
        .values()
        .flat_map(|own| own.iter().step_by(nth).copied())
        .collect();
    chosen.sort_unstable();
    chosen
}

/// The portraits that travel with a model.
fn kept(config: &TrainConfig, dataset: &Dataset) -> Result<Vec<(Option<u32>, Portrait)>> {
    let mut sounds = some_of_each_class(dataset, MAX_PORTRAITS);
    if dataset.crop() == Crop::Anywhere && sounds.len() < LEAST_PORTRAITS {
        sounds = sounds.repeat(LEAST_PORTRAITS.div_ceil(sounds.len().max(1)));
    }
    let one = |(i, &index): (usize, &usize)| {
        let mut noise = Noise::at(config.seed, &[place::KEPT, i as u64]);
        Ok((
            dataset.label(index),
            dataset.portrait_of_draw(index, &mut noise)?,
        ))
    };
    sounds.par_iter().enumerate().map(one).collect()
}

fn measured(
    config: &TrainConfig,
    dataset: &Dataset,
    on_progress: OnProgress<'_>,
) -> Result<Statistics> {
    let sounds = some_of_each_class(dataset, MEASURED_SOUNDS);
    let mut clips = dataset.clips(&sounds, on_progress);
    config.representation.fit(&config.format, &mut clips)
}

/// A new model with fresh weights.
pub(super) fn fresh(
    config: &TrainConfig,
    dataset: &Dataset,
    device: &Device,
    on_progress: OnProgress<'_>,
) -> Result<(ModelConfig, Parameters)> {
    let statistics = measured(config, dataset, on_progress)?;
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
        portraits: match config.portraits {
            true => kept(config, dataset)?,
            false => Vec::new(),
        },
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
    let parameters = model
        .network
        .init(model.surroundings(), &mut noise, device)?;
    Ok((model, parameters))
}

/// A model that goes on from another's weights, with the classes of the new sounds and in the format of the run: another
/// length and rate change nothing of the network, other channels only its two ends.
pub(super) fn tuned(
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
    // A network that is told nothing learns all sounds as one kind, and has the ends that it has.
    let told = old.network.is_told();
    if !told && old.format.channels != config.format.channels {
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
    let portraits = config.portraits && !old.portraits.is_empty();
    let mut model = ModelConfig {
        name: config.name.clone(),
        format: config.format,
        crop: Some(dataset.crop()),
        labels: match told {
            true => dataset.labels().to_vec(),
            false => Vec::new(),
        },
        portraits: match portraits {
            true => kept(config, dataset)?,
            false => Vec::new(),
        },
        // Files from before this was known mean too little for some representations.
        sigma_max: old.sigma_max.max(old.representation.sigma_max()),
        // A few-step model that is trained as a denoiser becomes one again.
        rendering: match (config.tuning, &old.rendering) {
            (Some(_), Some(own)) if old.is_few_step() => Some(Rendering {
                measured: Vec::new(),
                ..own.clone()
            }),
            (Some(_), _) => Some(FEW_STEPS),
            (None, own) => own.clone().filter(|_| !old.is_few_step()),
        },
        training: TrainingRecord {
            tuned_from: Some(old.name.clone()),
            before: Some(old.training.whole()),
            licence: config.licence.clone(),
            ..TrainingRecord::default()
        },
        ..old.clone()
    };
    let (own, width) = (old.surroundings().width, model.surroundings().width);
    if width > own {
        // What the model knew is measured as it knew it, or it would mean something else.
        let mut statistics = measured(config, dataset, on_progress)?;
        statistics.mean[..own].copy_from_slice(&old.statistics.mean);
        statistics.scale[..own].copy_from_slice(&old.statistics.scale);
        model.statistics = statistics;
    } else {
        model.statistics.mean.truncate(width);
        model.statistics.scale.truncate(width);
    }
    model.validate()?;
    let weights = adapted(from, &model)?;
    let found = matches(&old.labels, &model.labels);
    Ok((model, Parameters::from_weights(&weights, device)?, found))
}

/// Weights of `from` as the network of `model` takes them.
pub(super) fn adapted(from: &Checkpoint, model: &ModelConfig) -> Result<BTreeMap<String, Tensor>> {
    let old = &from.config;
    let mut weights = from.weights.clone();
    relabel(&mut weights, &old.labels, &model.labels)?;
    if model.portraits.is_empty() && !old.portraits.is_empty() {
        hide_portraits(&mut weights, old.descriptors.len())?;
    }
    let (own, width) = (old.surroundings().width, model.surroundings().width);
    if width != own {
        set_width(&mut weights, own, width)?;
    }
    Ok(weights)
}

fn parameter<'a>(weights: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor> {
    let missing = || Error::setting(format!("expected a parameter `{name}`"));
    weights.get(name).ok_or_else(missing)
}

/// Makes the class table fit new labels: a label that was known, or means the same as one that was ([`matches`]), takes
/// its row, a new one begins as the mean of the old ones, or at zero where there were none: the network first says what
/// it said before. Row 0 stands for "no class".
fn relabel(weights: &mut BTreeMap<String, Tensor>, old: &[String], new: &[String]) -> Result<()> {
    const TABLE: &str = "classes";
    let bias = "noise2.bias";
    match (weights.remove(TABLE), new.is_empty()) {
        (None, true) => {}
        // Nothing to tell apart any more: the row for "no class" is what the network always adds.
        (Some(table), true) => {
            let folded = (parameter(weights, bias)? + table.get(0)?)?;
            weights.insert(bias.to_owned(), folded);
        }
        (None, false) => {
            let width = weights.get(bias).map_or(0, |b| b.elem_count());
            let rows = (new.len() + 1, width);
            weights.insert(
                TABLE.to_owned(),
                Tensor::zeros(rows, DType::F32, &Device::Cpu)?,
            );
        }
        (Some(table), false) => {
            let mut rows = vec![table.narrow(0, 0, 1)?];
            for found in matches(old, new) {
                let meant =
                    |i: &usize| found.classes.is_empty() || found.classes.contains(&old[*i]);
                let meant: Vec<u32> = (0..old.len()).filter(meant).map(|i| i as u32 + 1).collect();
                rows.push(match meant[..] {
                    [one] => table.narrow(0, one as usize, 1)?,
                    _ => {
                        let count = meant.len();
                        let meant = Tensor::from_vec(meant, count, table.device())?;
                        table.index_select(&meant, 0)?.mean_keepdim(0)?
                    }
                });
            }
            weights.insert(TABLE.to_owned(), Tensor::cat(&rows, 0)?);
        }
    }
    Ok(())
}

/// Takes the inputs for portraits from a network, which then says what it said of hidden ones.
fn hide_portraits(weights: &mut BTreeMap<String, Tensor>, descriptors: usize) -> Result<()> {
    const TABLE: &str = "descriptors";
    let table = parameter(weights, TABLE)?.clone();
    if descriptors == 0 {
        weights.remove(TABLE);
    } else {
        weights.insert(
            TABLE.to_owned(),
            table.narrow(0, 0, descriptors)?.contiguous()?,
        );
    }
    Ok(())
}

/// Makes the two ends of a network of `own` columns a frame fit `width` columns, of which the first are those that it
/// knows. New ones begin unheard and at their mean, so that the network first says of the known ones what it said
/// before; those beyond `width` are dropped.
fn set_width(weights: &mut BTreeMap<String, Tensor>, own: usize, width: usize) -> Result<()> {
    const STEM: &str = "stem.weight";
    let fit = |tensor: &Tensor, dim: usize| -> Result<Tensor> {
        let fitted = match width > own {
            true => tensor.pad_with_zeros(dim, 0, width - own)?,
            false => tensor.narrow(dim, 0, width)?,
        };
        Ok(fitted.contiguous()?)
    };
    // [taps · own, top]: the columns of each tap lie together.
    let stem = parameter(weights, STEM)?;
    let (rows, top) = stem.dims2()?;
    let stem = fit(&stem.reshape((rows / own, own, top))?, 1)?;
    let stem = stem.reshape((rows / own * width, top))?;
    let out = fit(parameter(weights, "out.weight")?, 1)?;
    let bias = fit(parameter(weights, "out.bias")?, 0)?;
    for (name, tensor) in [(STEM, stem), ("out.weight", out), ("out.bias", bias)] {
        weights.insert(name.to_owned(), tensor);
    }
    Ok(())
}
