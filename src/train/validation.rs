//! The validation loss, and the weights that were best by it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use candle_core::Tensor;

use super::conditioning::BatchConditions;
use super::config::Loss;
use super::{Trainer, place};
use crate::checkpoint::TrainingTotals;
use crate::error::Result;
use crate::noise::Noise;

/// Where the validation loss is measured, in standard deviations of the logarithm of the noise levels that are trained:
/// in the middle of each quarter of them.
const SCORES: [f64; 4] = [-1.1503, -0.3186, 0.3186, 1.1503];

/// Most sounds to validate on, where training sees ten times as many clips between two validations: validation then
/// takes less time than training.
const MOST_SOUNDS: usize = 48;
const CLIPS_FOR_EACH: u64 = 10;
/// But no fewer, where there are any.
const LEAST_SOUNDS: usize = 4;
/// Fewer sounds than this are each met with so many noises that together there are as many: one guess at each level
/// would be a toss of a coin.
const LEAST_GUESSES: usize = 16;

/// The averaged weights that did best at a validation.
pub(super) struct Best {
    pub loss: f32,
    /// The training until then.
    pub done: TrainingTotals,
    pub weights: BTreeMap<String, Tensor>,
}

/// The validations of a run so far.
#[derive(Default)]
pub(super) struct Validations {
    /// Loss of the last one.
    pub last: Option<f32>,
    /// Kept where the run is to end by it.
    pub best: Option<Best>,
    /// Validations since the best.
    pub misses: u64,
}

impl Validations {
    /// Whether so many in a row were no better that the run ends.
    pub fn exhaust(&self, patience: Option<NonZeroU64>) -> bool {
        patience.is_some_and(|patience| self.misses >= patience.get())
    }

    /// Takes in the loss of the averaged `weights` after so much training; keeps them where they are the best and the
    /// run is to end by it.
    fn push(
        &mut self,
        loss: Option<f32>,
        patience: Option<NonZeroU64>,
        done: TrainingTotals,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        self.last = loss;
        let (Some(loss), Some(_)) = (loss, patience) else {
            return Ok(());
        };
        // A loss that is no number is never better.
        let is_better = match &self.best {
            Some(best) => loss < best.loss,
            None => !loss.is_nan(),
        };
        if !is_better {
            self.misses += 1;
            return Ok(());
        }
        // The average goes on in place.
        let copy = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.copy()?));
        self.misses = 0;
        self.best = Some(Best {
            loss,
            done,
            weights: weights.iter().map(copy).collect::<Result<_>>()?,
        });
        Ok(())
    }
}

impl Loss {
    /// Noise levels at which the validation loss is measured.
    fn validation_levels(&self) -> [f64; 4] {
        let objective = self.objective();
        SCORES.map(|score| (objective.p_mean + objective.p_std * score).exp())
    }
}

impl Trainer<'_> {
    /// Weighted loss of the averaged weights on held-out sounds, with fixed noise: the mean over the sounds at each of
    /// four noise levels, and of these the geometric mean, so that a gain or a loss at any level counts alike, whatever
    /// its weight in the loss. `None` when there is nothing to validate on.
    ///
    /// # Errors
    /// When a held-back sound can no longer be read.
    pub fn validate(&self) -> Result<Option<f32>> {
        let clips = self.config.validate_every.saturating_mul(self.batch as u64);
        let guesses = guesses(self.run.dataset.validation(), clips);
        if guesses.is_empty() {
            return Ok(None);
        }
        let levels = self.config.loss.validation_levels();
        let mut totals = vec![0f64; levels.len()];
        // No more at once than training takes, which is as much as there is memory for.
        for chunk in guesses.chunks(self.batch.min(16)) {
            let sounds: Vec<usize> = chunk.iter().map(|guess| guess.0).collect();
            let has_attributes = self.has_attributes();
            let batch =
                self.run
                    .dataset
                    .batch(&sounds, &*self.representation, None, has_attributes)?;
            // As a sound is rendered: with its attributes.
            let cond = BatchConditions::of(&batch, &self.model).conditioning(&self.device)?;
            let b = batch.shape.0;
            let clean = Tensor::from_vec(batch.frames, batch.shape, &self.device)?;
            for (k, (&sigma, total)) in levels.iter().zip(&mut totals).enumerate() {
                let noise =
                    |guess: &(usize, u64)| Noise::at(0, &[place::VALIDATION, guess.1, k as u64]);
                let mut noises: Vec<Noise> = chunk.iter().map(noise).collect();
                let sigmas = vec![sigma; noises.len()];
                let loss = self.loss_of(&self.averaged, &clean, &cond, &sigmas, &mut noises)?;
                *total += f64::from(loss.to_scalar::<f32>()?) * b as f64;
            }
        }
        // A loss of nothing at one level must not hide all others.
        let logarithm = |total: &f64| (total / guesses.len() as f64).max(1e-12).ln();
        let mean = totals.iter().map(logarithm).sum::<f64>() / levels.len() as f64;
        Ok(Some(mean.exp() as f32))
    }

    /// Validates, and keeps what was found.
    pub(super) fn push_validation(&mut self) -> Result<Option<f32>> {
        let loss = self.validate()?;
        let falls = self.config.learning_rate.falls(self.progress());
        let state = &mut self.state;
        let (done, weights) = (state.done, state.ema.weights());
        let patience = self.config.patience;
        state.validations.push(loss, patience, done, weights)?;
        if !falls {
            // The fall of the rate makes better what no longer gets better at its height.
            state.validations.misses = 0;
        }
        Ok(loss)
    }
}

/// The guesses of a validation: sounds of those that are `held` back, each with the number of its noise, where
/// training sees so many `clips` between two validations. They are spread over all: sounds lie in the order of their
/// classes.
fn guesses(held: &[usize], clips: u64) -> Vec<(usize, u64)> {
    let most = usize::try_from(clips / CLIPS_FOR_EACH).unwrap_or(usize::MAX);
    let most = most.clamp(LEAST_SOUNDS, MOST_SOUNDS);
    let n = held.len().min(most);
    let noises = most.min(LEAST_GUESSES).div_ceil(n.max(1));
    (0..n * noises)
        .map(|i| (held[i % n * held.len() / n], i as u64))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_sounds_are_spread_over_all_and_cost_less_than_training() {
        let held: Vec<usize> = (100..195).collect();
        let sounds = |held: &[usize], clips| -> Vec<usize> {
            let guesses = guesses(held, clips);
            assert!(
                guesses
                    .iter()
                    .map(|guess| guess.1)
                    .eq(0..guesses.len() as u64)
            );
            guesses.into_iter().map(|guess| guess.0).collect()
        };
        // Two hundred steps of sixteen pay for all there may be, a hundred steps of one for ten.
        let all = sounds(&held, 3200);
        assert_eq!((all.len(), all[0]), (MOST_SOUNDS, 100));
        let gaps = all.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| (1..=2).contains(&gap)));
        let few: Vec<usize> = (0..10).map(|i| 100 + i * 95 / 10).collect();
        assert_eq!(sounds(&held, 100), few);
        assert_eq!(sounds(&held, 0).len(), LEAST_SOUNDS);
        // Where few are held back, each is guessed under several noises.
        assert_eq!(sounds(&held[..1], u64::MAX), [100; LEAST_GUESSES]);
        assert_eq!(sounds(&held[..3], u64::MAX), [100, 101, 102].repeat(6));
        assert_eq!(sounds(&held[..3], 100), [100, 101, 102].repeat(4));
        assert!(guesses(&[], 3200).is_empty());
    }

    #[test]
    fn the_best_is_kept_and_patience_counts_what_is_no_better() -> Result<()> {
        let patience = NonZeroU64::new(2);
        let mut validations = Validations::default();
        let weights = BTreeMap::new();
        let mut push = |steps: u64, loss: Option<f32>| {
            let done = TrainingTotals {
                steps,
                ..TrainingTotals::default()
            };
            validations.push(loss, patience, done, &weights)?;
            let best = validations.best.as_ref();
            let best = best.map(|best| (best.done.steps, best.loss));
            Ok::<_, crate::error::Error>((best, validations.misses, validations.exhaust(patience)))
        };
        assert_eq!(push(1, None)?, (None, 0, false));
        assert_eq!(push(2, Some(0.5))?, (Some((2, 0.5)), 0, false));
        assert_eq!(push(3, Some(0.5))?, (Some((2, 0.5)), 1, false));
        assert_eq!(push(4, Some(0.4))?, (Some((4, 0.4)), 0, false));
        assert_eq!(push(5, Some(f32::NAN))?, (Some((4, 0.4)), 1, false));
        assert_eq!(push(6, Some(0.6))?, (Some((4, 0.4)), 2, true));
        assert!(!validations.exhaust(None));
        let mut endless = Validations::default();
        endless.push(Some(1.0), None, TrainingTotals::default(), &weights)?;
        assert!(endless.last == Some(1.0) && endless.best.is_none());
        Ok(())
    }
}
