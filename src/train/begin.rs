//! The start of a run: measures of the training sounds, and a model with fresh weights.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{Loss, TrainConfig, place};
use crate::attributes::{AttributeKnots, Attributes};
use crate::checkpoint::{FORMAT_VERSION, MAX_ATTRIBUTES, ModelConfig, TrainingRecord};
use crate::dataset::{Crop, Dataset, Descriptor};
use crate::diffusion::ModulationSpectrum;
use crate::error::{Error, Result};
use crate::network::Parameters;
use crate::noise::Noise;
use crate::representation::Statistics;

/// Why a distillation cannot begin with fresh weights.
pub(super) const NO_TEACHER: &str = "distilling: expected a model to begin from, found none";

/// Statistics are measured on at most this many sounds: they are means over hundreds of rows of each.
const MEASURED_SOUNDS: usize = 1024;

/// Of sounds that have clips anywhere, at least this many places are measured.
const LEAST_ATTRIBUTES: usize = 256;

/// Hears how many sounds of how many are measured, and may break that off.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>;

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

/// Measures of the training sounds, made before the first step.
#[derive(Default)]
pub(super) struct Measured {
    pub statistics: Statistics,
    /// Where the network is preconditioned by it.
    pub modulation: Option<ModulationSpectrum>,
    /// Those that travel with the model.
    pub attributes: Vec<(Option<u32>, Attributes)>,
    /// Until when each of these sounds is heard, seconds, where clips are as long as their sounds.
    pub ends: Vec<f32>,
}

/// Measures what is asked for; the rest stays empty.
pub(super) fn measured(
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
        let lengths = config.lengths(dataset.crop());
        let mut clips = dataset.clips(&sounds, &lengths, attributes, on_progress);
        measured.statistics = config.representation.fit(&config.format, &mut clips)?;
        drop(clips);
        measured.modulation = modulation(config, dataset, &sounds, &measured.statistics)?;
    }
    if !attributes {
        return Ok(measured);
    }
    let places = match dataset.crop() {
        Crop::Onset => 1,
        Crop::Anywhere => LEAST_ATTRIBUTES.div_ceil(kept.len().max(1)),
    };
    let kept = kept.repeat(places);
    let found = &mut measured.attributes;
    for part in kept.chunks(4 * rayon::current_num_threads()) {
        if on_progress(found.len(), kept.len()).is_break() {
            return Err(Error::Stopped);
        }
        let first = found.len() as u64;
        let one = |(i, &index): (usize, &usize)| {
            let mut noise = Noise::at(config.seed, &[place::KEPT, first + i as u64]);
            let attributes = dataset.attributes_of_draw(index, &mut noise)?;
            Ok((dataset.label(index), attributes))
        };
        let part: Result<Vec<_>> = part.par_iter().enumerate().map(one).collect();
        found.extend(part?);
    }
    if config.lengths(dataset.crop()).all().len() > 1 {
        let rate = config.format.sample_rate as f32;
        let end = |&index: &usize| Ok(dataset.end(index)? as f32 / rate);
        measured.ends = kept.iter().map(end).collect::<Result<_>>()?;
    }
    Ok(measured)
}

/// The modulation spectrum of some sounds' frames, where the network is preconditioned by one.
fn modulation(
    config: &TrainConfig,
    dataset: &Dataset,
    sounds: &[usize],
    statistics: &Statistics,
) -> Result<Option<ModulationSpectrum>> {
    let Some(bands) = config.modulation_bands() else {
        return Ok(None);
    };
    let mut unheard = |_, _| ControlFlow::Continue(());
    let lengths = config.lengths(dataset.crop());
    let built = config
        .representation
        .build_each(&config.format, &lengths, statistics)?;
    let clips = dataset.clips(sounds, &lengths, false, &mut unheard);
    let mut frames = clips.map(|clip| {
        let clip = clip?;
        let frames = built[lengths.place(clip.len_frames())].encode(&clip)?;
        let shape = (frames.frames, frames.width);
        Ok(Tensor::from_vec(frames.data, shape, &Device::Cpu)?)
    });
    let rows = config.representation.frames(config.format.len_frames);
    ModulationSpectrum::measure(&mut frames, rows, bands).map(Some)
}

/// A new model with fresh weights.
pub(super) fn fresh(
    config: &TrainConfig,
    dataset: &Dataset,
    device: &Device,
    on_progress: OnProgress<'_>,
) -> Result<(ModelConfig, Parameters)> {
    let Loss::Denoising(objective) = config.loss else {
        return Err(Error::setting(NO_TEACHER));
    };
    let Measured {
        statistics,
        modulation,
        attributes,
        ends,
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
        attribute_knots: AttributeKnots::Fine,
        ends,
        sigma_data: objective.sigma_data,
        sigma_max: config.representation.sigma_max(),
        target: config.target,
        modulation,
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
