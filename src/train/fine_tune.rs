//! The model that a fine-tuning or a distillation begins with: another's weights, for the sounds and the format of the
//! run.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::begin::{Measured, OnProgress, measured};
use super::classes::{ClassMatch, matches};
use super::{Distillation, Loss, TrainConfig};
use crate::attributes::AttributeKnots;
use crate::checkpoint::{Checkpoint, ModelConfig, Rendering, TrainingRecord};
use crate::dataset::{Dataset, Descriptor};
use crate::error::{Error, Result};
use crate::network::Parameters;
use crate::render::RenderSettings;
use crate::representation::Statistics;

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
    check(config, old)?;
    let width = config.representation.width(config.format.channels);
    let wider = width > old.dims().width;
    let attributes = config.attributes && !old.attributes.is_empty();
    let Measured {
        statistics,
        modulation,
        attributes,
        ends,
    } = measured(config, dataset, wider, attributes, on_progress)?;
    let model = ModelConfig {
        name: config.name.clone(),
        format: config.format,
        crop: Some(dataset.crop()),
        statistics: merged(config, old, statistics),
        modulation: old.modulation.as_ref().map(|own| {
            let (known, width) = (old.dims().width, width);
            own.with_columns(known.min(width), modulation.as_ref())
        }),
        // An unconditional network learns all sounds as one kind.
        labels: match old.network.is_conditional() {
            true => dataset.labels().to_vec(),
            false => Vec::new(),
        },
        attributes,
        attribute_knots: AttributeKnots::Fine,
        ends,
        // Files from before this was known mean too little for some representations.
        sigma_max: old.sigma_max.max(old.representation.sigma_max()),
        rendering: rendering(&config.loss, old),
        training: TrainingRecord {
            fine_tuned_from: Some(old.name.clone()),
            before: Some(old.training.totals()),
            licence: config.licence.clone(),
            licence_before: old.training.licence.clone(),
            ..TrainingRecord::default()
        },
        ..old.clone()
    };
    model.validate()?;
    let weights = adapted(from, &model)?;
    let found = matches(&old.labels, &model.labels);
    Ok((model, Parameters::from_weights(&weights, device)?, found))
}

/// Refuses a run that cannot go on from the model `old`.
fn check(config: &TrainConfig, old: &ModelConfig) -> Result<()> {
    let refuse = |reason: String| Err(Error::setting(format!("--from {}: {reason}", old.name)));
    let same_sigma_data = old.sigma_data == config.loss.objective().sigma_data;
    for (what, same) in [
        (
            "representation",
            old.representation == config.representation,
        ),
        ("network", old.network == config.network),
        ("target", old.target == config.target),
        ("sigma_data", same_sigma_data),
    ] {
        if !same {
            return refuse(format!("its {what} differs from the run's"));
        }
    }
    if !old.network.is_conditional() && old.format.channels != config.format.channels {
        return refuse(format!(
            "its network takes {} channels and cannot be changed, the run has {}",
            old.format.channels, config.format.channels
        ));
    }
    let unknown = |name: &&String| Descriptor::named(name).is_none();
    match old.descriptors.iter().find(unknown) {
        Some(name) => refuse(format!(
            "nobody knows how to change sounds by its descriptor {name:?}"
        )),
        None => Ok(()),
    }
}

/// Statistics of the model `old`, fitted to the columns of the run's frames. Where these are more, `new` has the
/// statistics of all of them.
fn merged(config: &TrainConfig, old: &ModelConfig, new: Statistics) -> Statistics {
    let gain = config.representation.gain_of_mid();
    let own = old.dims().width;
    let width = config.representation.width(config.format.channels);
    // The known columns mean what they meant: with their own statistics, but for the gain of mid over mono.
    let known = own.min(width);
    let gain = match width.cmp(&own) {
        Ordering::Less => 1.0 / gain,
        Ordering::Equal => 1.0,
        Ordering::Greater => gain,
    };
    let column = |old: &[f32], new: &[f32]| {
        let kept = old.iter().take(known).map(|x| x * gain);
        kept.chain(new.iter().skip(known).copied()).collect()
    };
    Statistics {
        mean: column(&old.statistics.mean, &new.mean),
        scale: column(&old.statistics.scale, &new.scale),
    }
}

/// How the new model is best rendered, before its steps are measured. A distilled model that is trained as a denoiser
/// becomes a denoiser again.
fn rendering(loss: &Loss, old: &ModelConfig) -> Option<Rendering> {
    match loss {
        Loss::Denoising(_) => old.rendering.as_ref()?.undistilled(),
        Loss::Distillation(own) => {
            let Distillation { guidance, .. } = *own;
            let own = RenderSettings::of(old);
            let teachers = Rendering::new(own.sampler, own.schedule, own.steps, guidance);
            Some(teachers.distilled())
        }
    }
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
    let mut from = old.dims();
    if old.attribute_columns() > 0 && old.attribute_knots != model.attribute_knots {
        let (own, other) = (model.attribute_knots, old.attribute_knots);
        let shape = (own.columns(), other.columns());
        let terms = Tensor::from_vec(own.in_terms_of(other), shape, &Device::Cpu)?;
        old.network.retell(&mut weights, &terms)?;
        from.descriptors = old.descriptors.len() + own.columns();
    }
    model
        .network
        .adapt(&mut weights, from, model.dims(), &classes)?;
    Ok(weights)
}
