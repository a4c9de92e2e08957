//! Batches, and what the network is told of their clips.

use candle_core::Device;

use super::{TrainConfig, place};
use crate::checkpoint::ModelConfig;
use crate::dataset::{Augment, Batch, Dataset, Descriptor};
use crate::error::Result;
use crate::network::Conditioning;
use crate::noise::Noise;
use crate::portrait::{Portrait, Quality};
use crate::representation::Representation;

/// Probability with which a whole portrait is hidden, whether the class is hidden or not.
const HIDDEN_PORTRAIT: f32 = 0.25;
/// Probability with which each quality of another is.
const HIDDEN_QUALITY: f32 = 0.2;

/// What prepares batches on its own thread.
pub(super) struct BatchSource<'d> {
    pub dataset: &'d Dataset,
    pub representation: Box<dyn Representation>,
    pub config: TrainConfig,
    /// Whether the network is told portraits.
    pub portraits: bool,
}

impl BatchSource<'_> {
    /// The batch of a step.
    pub fn batch(&self, step: u64) -> Result<Batch> {
        let TrainConfig { seed, batch, .. } = self.config;
        let indices = self
            .dataset
            .draw(batch, &mut Noise::at(seed, &[place::DRAW, step]));
        let augment = self.config.augment.unwrap_or(Augment::NONE);
        let augment = augment.heard_in(&self.config.representation);
        let representation = &*self.representation;
        let changed = Some((&augment, seed, step));
        self.dataset
            .batch(&indices, representation, changed, self.portraits)
    }
}

/// What a network is told of each clip of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    labels: Vec<Option<u32>>,
    /// `B × D`, in the order of the model's names.
    descriptors: Vec<f32>,
    /// `B`, or none for a network that is told none.
    portraits: Vec<Portrait>,
}

impl Told {
    /// All there is to tell `model`. Descriptors go by their names; one that its representation does not hold is told
    /// as neutral, always.
    pub fn all(batch: &Batch, model: &ModelConfig) -> Self {
        let heard = |name: &String| {
            let known = Descriptor::named(name);
            known.filter(|known| known.is_heard_in(&model.representation))
        };
        let order: Vec<Option<Descriptor>> = model.descriptors.iter().map(heard).collect();
        let descriptors = batch.changes.iter().flat_map(|change| {
            let told = |known: &Option<Descriptor>| known.map_or(0.0, |known| change.told(known));
            order.iter().map(told)
        });
        Self {
            labels: batch.labels.clone(),
            descriptors: descriptors.collect(),
            portraits: batch.portraits.clone(),
        }
    }

    /// The same with classes and portraits hidden from some clips, independently, so that the network learns both,
    /// either and neither: a class alone, an asked quality alone, and the unconditional half of guidance.
    pub fn hide(mut self, class_dropout: f32, classes: &mut Noise, portraits: &mut Noise) -> Self {
        for label in &mut self.labels {
            if classes.chance(class_dropout) {
                *label = None;
            }
        }
        for portrait in &mut self.portraits {
            let all = portraits.chance(HIDDEN_PORTRAIT);
            for quality in Quality::ALL {
                if portraits.chance(HIDDEN_QUALITY) || all {
                    portrait.set(quality, None);
                }
            }
        }
        self
    }

    /// As the network takes it.
    pub fn conditioning(&self, device: &Device) -> Result<Conditioning> {
        let portraits: Vec<_> = self.portraits.iter().map(Portrait::columns).collect();
        Conditioning::new(&self.labels, &self.descriptors, device)?
            .with_portraits(portraits.as_flattened())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_portrait_are_hidden_independently_and_all_four_occur() {
        let n = 40_000;
        let known = Portrait([Some(0.01), Some(0.2), Some(1000.0), None, Some(0.5)]);
        let told = Told {
            labels: vec![Some(0); n],
            descriptors: vec![1.0; n],
            portraits: vec![known; n],
        };
        let (mut classes, mut portraits) = (Noise::new(1), Noise::new(2));
        let told = told.hide(0.12, &mut classes, &mut portraits);
        assert_eq!(told.descriptors, vec![1.0; n], "changes are always told");
        let mut shares = [[0usize; 2]; 2];
        let mut qualities = 0;
        for (label, portrait) in told.labels.iter().zip(&told.portraits) {
            let nothing = *portrait == Portrait::default();
            shares[usize::from(label.is_none())][usize::from(nothing)] += 1;
            qualities += portrait.0.iter().flatten().count();
        }
        // A portrait of four qualities is empty too where each is hidden: 0.25 + 0.75 · 0.2^4.
        let (class, portrait) = (0.12, 0.25 + 0.75 * 0.0016);
        for (hidden, share) in [
            ([0, 0], (1.0 - class) * (1.0 - portrait)),
            ([0, 1], (1.0 - class) * portrait),
            ([1, 0], class * (1.0 - portrait)),
            ([1, 1], class * portrait),
        ] {
            let found = shares[hidden[0]][hidden[1]] as f64 / n as f64;
            let error = (share * (1.0 - share) / n as f64).sqrt();
            assert!((found - share).abs() < 4.0 * error, "{hidden:?}: {found}");
        }
        let expected = n as f64 * 4.0 * 0.75 * 0.8;
        assert!((qualities as f64 / expected - 1.0).abs() < 0.02);
    }
}
