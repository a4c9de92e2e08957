//! Batches, and what the network is conditioned on for their clips.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::{TrainConfig, place};
use crate::attributes::{Attribute, AttributeKnots, Attributes};
use crate::checkpoint::ModelConfig;
use crate::dataset::{Augment, Batch, Dataset, Descriptor};
use crate::error::Result;
use crate::network::Conditioning;
use crate::noise::{Noise, unit_normals};
use crate::representation::{ClipLengths, Representation};

/// Probability with which a whole set of attributes is hidden, whether the class is hidden or not.
const HIDDEN_ATTRIBUTES: f32 = 0.25;
/// Probability with which each attribute of another is.
const HIDDEN_ATTRIBUTE: f32 = 0.2;

/// Prepares batches on its own thread.
pub(super) struct BatchSource<'d> {
    pub dataset: &'d Dataset,
    pub lengths: ClipLengths,
    /// One for each of the lengths.
    pub representations: Vec<Box<dyn Representation>>,
    pub config: TrainConfig,
    /// Clips in each, of all ranks together.
    pub batch: usize,
    /// Which of them are prepared here.
    pub places: Range<usize>,
    /// Whether the network is conditioned on attributes.
    pub attributes: bool,
    /// Where they are learnt from.
    pub device: Device,
}

/// All that a step needs of the host, the large part of it on the device already.
pub(super) struct Prepared {
    /// Without its frames.
    pub batch: Batch,
    /// Clean frames, `[B, T, C]`.
    pub clean: Tensor,
    /// Unit noise of that shape, of which each clip's depends on its place alone.
    pub noise: Tensor,
}

impl BatchSource<'_> {
    /// What a step needs, made on all cores.
    pub fn prepare(&self, step: u64) -> Result<Prepared> {
        let mut batch = self.batch(step)?;
        let (_, t, c) = batch.shape;
        let of_clip = |j: usize| Noise::at(self.config.seed, &[place::NOISE, step, j as u64]);
        let mut noises: Vec<Noise> = self.places.clone().map(of_clip).collect();
        let noise = unit_normals(&mut noises, t * c);
        let frames = std::mem::take(&mut batch.frames);
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, batch.shape, &self.device);
        let (clean, noise) = (tensor(frames)?, tensor(noise)?);
        Ok(Prepared {
            batch,
            clean,
            noise,
        })
    }

    /// The batch of a step.
    fn batch(&self, step: u64) -> Result<Batch> {
        let seed = self.config.seed;
        let mut noise = Noise::at(seed, &[place::DRAW, step]);
        let drawn = self
            .dataset
            .draw_of_length(self.batch, &self.lengths, &mut noise);
        let (indices, len_frames) = drawn?;
        let augment = self.config.augment.unwrap_or(Augment::NONE);
        let augment = augment.heard_in(&self.config.representation);
        let representation = &*self.representations[self.lengths.place(len_frames)];
        let changed = Some((&augment, seed, step));
        let places = self.places.clone();
        self.dataset
            .part_of_batch(&indices, places, representation, changed, self.attributes)
    }
}

/// The conditions of each clip of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchConditions {
    labels: Vec<Option<u32>>,
    /// `B × D`, in the order of the model's names.
    descriptors: Vec<f32>,
    /// `B`, or none for a network that is conditioned on none.
    attributes: Vec<Attributes>,
    knots: AttributeKnots,
}

impl BatchConditions {
    /// All that `model` takes. Descriptors go by their names; one that its representation does not hold is
    /// neutral, always.
    pub fn of(batch: &Batch, model: &ModelConfig) -> Self {
        let heard = |name: &String| {
            let known = Descriptor::named(name);
            known.filter(|known| known.is_heard_in(&model.representation))
        };
        let order: Vec<Option<Descriptor>> = model.descriptors.iter().map(heard).collect();
        let descriptors = batch.changes.iter().flat_map(|change| {
            let value = |known: &Option<Descriptor>| known.map_or(0.0, |known| change.value(known));
            order.iter().map(value)
        });
        Self {
            labels: batch.labels.clone(),
            descriptors: descriptors.collect(),
            attributes: batch.attributes.clone(),
            knots: model.attribute_knots,
        }
    }

    /// The same with classes and attributes hidden from some clips, independently, so that the network learns both,
    /// either and neither: a class alone, an asked attribute alone, and the unconditional half of guidance. `before` so
    /// many clips of the batch, of other ranks, something is hidden too, so that these are treated by their places.
    pub fn hide(
        mut self,
        before: usize,
        class_dropout: f32,
        class_noise: &mut Noise,
        attribute_noise: &mut Noise,
    ) -> Self {
        for _ in 0..before {
            class_noise.chance(class_dropout);
            for _ in 0..=Attribute::ALL.len() {
                attribute_noise.chance(HIDDEN_ATTRIBUTE);
            }
        }
        for label in &mut self.labels {
            if class_noise.chance(class_dropout) {
                *label = None;
            }
        }
        for attributes in &mut self.attributes {
            let all = attribute_noise.chance(HIDDEN_ATTRIBUTES);
            for attribute in Attribute::ALL {
                if attribute_noise.chance(HIDDEN_ATTRIBUTE) || all {
                    attributes.set(attribute, None);
                }
            }
        }
        self
    }

    /// As the network takes it.
    pub fn conditioning(&self, device: &Device) -> Result<Conditioning> {
        let attributes = self.attributes.iter();
        let columns: Vec<f32> = attributes.flat_map(|one| self.knots.weights(one)).collect();
        Conditioning::new(&self.labels, &self.descriptors, device)?.with_attributes(&columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_batch_is_hidden_as_it_is_within_the_whole() {
        let known = Attributes([Some(0.01), Some(0.2), Some(1000.0), Some(440.0), Some(0.5)]);
        let of = |clips: usize| BatchConditions {
            labels: vec![Some(0); clips],
            descriptors: Vec::new(),
            attributes: vec![known; clips],
            knots: AttributeKnots::Fine,
        };
        let hidden = |before: usize, clips: usize| {
            let (mut classes, mut attributes) = (Noise::new(1), Noise::new(2));
            of(clips).hide(before, 0.5, &mut classes, &mut attributes)
        };
        let whole = hidden(0, 60);
        for places in [0..60, 7..31, 59..60] {
            let part = hidden(places.start, places.len());
            assert_eq!(part.labels, whole.labels[places.clone()]);
            assert_eq!(part.attributes, whole.attributes[places]);
        }
    }

    #[test]
    fn class_and_attributes_are_hidden_independently_and_all_four_occur() {
        let n = 40_000;
        let known = Attributes([Some(0.01), Some(0.2), Some(1000.0), None, Some(0.5)]);
        let conditions = BatchConditions {
            labels: vec![Some(0); n],
            descriptors: vec![1.0; n],
            attributes: vec![known; n],
            knots: AttributeKnots::Fine,
        };
        let (mut classes, mut attributes) = (Noise::new(1), Noise::new(2));
        let conditions = conditions.hide(0, 0.12, &mut classes, &mut attributes);
        assert_eq!(
            conditions.descriptors,
            vec![1.0; n],
            "changes are always given"
        );
        let mut fractions = [[0usize; 2]; 2];
        let mut known_attributes = 0;
        for (label, attributes) in conditions.labels.iter().zip(&conditions.attributes) {
            let nothing = *attributes == Attributes::default();
            fractions[usize::from(label.is_none())][usize::from(nothing)] += 1;
            known_attributes += attributes.0.iter().flatten().count();
        }
        // A set of four attributes is empty too where each is hidden: 0.25 + 0.75 · 0.2^4.
        let (class, attributes) = (0.12, 0.25 + 0.75 * 0.0016);
        for (hidden, fraction) in [
            ([0, 0], (1.0 - class) * (1.0 - attributes)),
            ([0, 1], (1.0 - class) * attributes),
            ([1, 0], class * (1.0 - attributes)),
            ([1, 1], class * attributes),
        ] {
            let found = fractions[hidden[0]][hidden[1]] as f64 / n as f64;
            let error = (fraction * (1.0 - fraction) / n as f64).sqrt();
            assert!(
                (found - fraction).abs() < 4.0 * error,
                "{hidden:?}: {found}"
            );
        }
        let expected = n as f64 * 4.0 * 0.75 * 0.8;
        assert!((known_attributes as f64 / expected - 1.0).abs() < 0.02);
    }
}
