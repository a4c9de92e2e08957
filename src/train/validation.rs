//! The validation loss, and the weights that were best by it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::conditioning::BatchConditions;
use super::config::Loss;
use super::{Trainer, place};
use crate::checkpoint::TrainingTotals;
use crate::error::Result;
use crate::noise::{Noise, unit_noise};

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

/// Standard errors by which one validation is above another where that is no chance.
const SHOWN: f64 = 2.0;

/// The losses of one validation: of each sound, the mean over its noises at each level.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Losses(Vec<[f32; SCORES.len()]>);

impl Losses {
    /// The mean at a level, above zero: a loss of nothing at one level must not hide all others.
    fn at_level(&self, k: usize) -> f64 {
        let sum: f64 = self.0.iter().map(|sound| f64::from(sound[k])).sum();
        match sum / self.0.len() as f64 {
            mean if mean < 1e-12 => 1e-12,
            mean => mean,
        }
    }

    /// The mean over the sounds at each level, and of these the geometric mean, so that a gain or a loss at any level
    /// counts alike, whatever its weight in the loss.
    fn mean(&self) -> f32 {
        let logarithms = (0..SCORES.len()).map(|k| self.at_level(k).ln());
        (logarithms.sum::<f64>() / SCORES.len() as f64).exp() as f32
    }

    /// Whether they are above those of `other`, of the same sounds, by more than the chance of which sounds they are:
    /// the difference of the logarithms of the means, to the first order, over its standard error. Of one sound, any
    /// difference is shown.
    fn are_above(&self, other: &Self) -> bool {
        let levels: Vec<f64> = (0..SCORES.len()).map(|k| other.at_level(k)).collect();
        let excess = |(own, other): (&[f32; SCORES.len()], &[f32; SCORES.len()])| {
            let levels = own.iter().zip(other).zip(&levels);
            levels
                .map(|((a, b), level)| (f64::from(*a) - f64::from(*b)) / level)
                .sum::<f64>()
        };
        let excess: Vec<f64> = self.0.iter().zip(&other.0).map(excess).collect();
        let n = excess.len() as f64;
        let mean = excess.iter().sum::<f64>() / n;
        let squares: f64 = excess.iter().map(|x| (x - mean).powi(2)).sum();
        // Of one sound there is no error to tell.
        let error = (squares / (n - 1.0).max(1.0) / n).sqrt();
        mean > SHOWN * error
    }
}

/// The averaged weights of the last validation that was not shown to be above the lowest.
pub(super) struct Kept {
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
    /// Where the run may end by it.
    pub kept: Option<Kept>,
    /// The lowest losses.
    pub lowest: Losses,
    /// Validations since the lowest.
    pub misses: u64,
}

impl Validations {
    /// Whether so many in a row were no better that the run ends.
    pub fn exhaust(&self, patience: Option<NonZeroU64>) -> bool {
        patience.is_some_and(|patience| self.misses >= patience.get())
    }

    /// Takes in the losses of the averaged `weights` after so much training. Where the run may end by them, it keeps
    /// the weights unless the losses are shown to be above the lowest: by a few held-back sounds alone, chance would
    /// choose among weights that differ in what they have learnt.
    fn push(
        &mut self,
        losses: Option<Losses>,
        patience: Option<NonZeroU64>,
        done: TrainingTotals,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        self.last = losses.as_ref().map(Losses::mean);
        let (Some(losses), Some(loss), Some(_)) = (losses, self.last, patience) else {
            return Ok(());
        };
        let is_first = self.kept.is_none();
        // A loss that is no number is never better.
        if is_first && !loss.is_nan() || loss < self.lowest.mean() {
            self.misses = 0;
            self.lowest = losses;
        } else {
            self.misses += 1;
            if loss.is_nan() || losses.are_above(&self.lowest) {
                return Ok(());
            }
        }
        // The average goes on in place.
        let copy = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.copy()?));
        self.kept = Some(Kept {
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
    /// four noise levels, and of these the geometric mean. `None` when there is nothing to validate on.
    ///
    /// # Errors
    /// When a held-back sound can no longer be read.
    pub fn validate(&self) -> Result<Option<f32>> {
        Ok(self.validation_losses()?.as_ref().map(Losses::mean))
    }

    fn validation_losses(&self) -> Result<Option<Losses>> {
        let clips = self.config.validate_every.saturating_mul(self.batch as u64);
        let guesses = guesses(self.run.dataset.validation(), clips);
        if guesses.is_empty() {
            return Ok(None);
        }
        let levels = self.config.loss.validation_levels();
        let count = sounds_of(&guesses);
        let each = (guesses.len() / count) as f32;
        let mut losses = vec![[0f32; SCORES.len()]; count];
        // No more at once than training takes, which is as much as there is memory for. The ranks take turns.
        let most = (self.batch / self.group.size()).min(16);
        let chunks = guesses.chunks(most).enumerate();
        for (i, chunk) in chunks.skip(self.group.rank()).step_by(self.group.size()) {
            let sounds: Vec<usize> = chunk.iter().map(|guess| guess.0).collect();
            let has_attributes = self.has_attributes();
            let batch =
                self.run
                    .dataset
                    .batch(&sounds, &*self.representation, None, has_attributes)?;
            // As a sound is rendered: with its attributes.
            let cond = BatchConditions::of(&batch, &self.model).conditioning(&self.device)?;
            let clean = Tensor::from_vec(batch.frames, batch.shape, &self.device)?;
            for (k, &sigma) in levels.iter().enumerate() {
                let noise =
                    |guess: &(usize, u64)| Noise::at(0, &[place::VALIDATION, guess.1, k as u64]);
                let mut noises: Vec<Noise> = chunk.iter().map(noise).collect();
                let sigmas = vec![sigma; noises.len()];
                let (_, t, c) = clean.dims3()?;
                let noise = unit_noise(&mut noises, t, c, &self.device)?;
                let found = self.losses_of(&self.averaged, &clean, &cond, &sigmas, &noise)?;
                for (j, loss) in found.to_vec1::<f32>()?.into_iter().enumerate() {
                    losses[(i * most + j) % count][k] += loss / each;
                }
            }
        }
        let all = self.group.sum(losses.into_flattened())?;
        Ok(Some(Losses(all.as_chunks().0.to_vec())))
    }

    /// Validates, and keeps what was found.
    pub(super) fn push_validation(&mut self) -> Result<Option<f32>> {
        let losses = self.validation_losses()?;
        let falls = self.config.learning_rate.falls(self.progress());
        let state = &mut self.state;
        let (done, weights) = (state.done, state.ema.weights());
        let patience = self.config.patience;
        state.validations.push(losses, patience, done, weights)?;
        if !falls {
            // The fall of the rate makes better what no longer gets better at its height.
            state.validations.misses = 0;
        }
        Ok(state.validations.last)
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

/// How many sounds the guesses are of.
fn sounds_of(guesses: &[(usize, u64)]) -> usize {
    let first = guesses[0].0;
    let again = guesses[1..].iter().position(|guess| guess.0 == first);
    again.map_or(guesses.len(), |i| i + 1)
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

    /// Losses of four sounds, at all levels alike.
    fn losses(of: [f32; 4]) -> Losses {
        Losses(of.map(|loss| [loss; SCORES.len()]).to_vec())
    }

    #[test]
    fn the_mean_counts_levels_alike_and_only_what_is_no_chance_is_above() {
        let two = Losses(vec![[1.0, 0.1, 0.01, 0.001], [3.0, 0.3, 0.03, 0.003]]);
        // 2, 0.2, 0.02 and 0.002.
        let mean = 2.0 * 10f32.powf(-1.5);
        assert!((two.mean() - mean).abs() < 1e-6, "{}", two.mean());
        assert!(losses([f32::NAN; 4]).mean().is_nan());
        let low = losses([1.0, 2.0, 3.0, 4.0]);
        // Each sound is worse by a little; one is by much.
        assert!(losses([1.01, 2.02, 3.01, 4.02]).are_above(&low));
        assert!(!losses([1.0, 2.0, 3.0, 4.9]).are_above(&low));
        assert!(!low.are_above(&low) && !losses([0.9, 2.0, 3.0, 3.9]).are_above(&low));
        let one = |loss| Losses(vec![[loss; SCORES.len()]]);
        assert!(one(1.001).are_above(&one(1.0)) && !one(1.0).are_above(&one(1.0)));
    }

    #[test]
    fn the_last_good_one_is_kept_and_patience_counts_what_is_no_better() -> Result<()> {
        let patience = NonZeroU64::new(2);
        let mut validations = Validations::default();
        let weights = BTreeMap::new();
        let mut push = |steps: u64, found: Option<[f32; 4]>| {
            let done = TrainingTotals {
                steps,
                ..TrainingTotals::default()
            };
            validations.push(found.map(losses), patience, done, &weights)?;
            let kept = validations.kept.as_ref().map(|kept| kept.done.steps);
            Ok::<_, crate::error::Error>((kept, validations.misses, validations.exhaust(patience)))
        };
        assert_eq!(push(1, None)?, (None, 0, false));
        assert_eq!(push(2, Some([0.5; 4]))?, (Some(2), 0, false));
        assert_eq!(push(3, Some([0.6; 4]))?, (Some(2), 1, false), "shown above");
        assert_eq!(push(4, Some([0.4; 4]))?, (Some(4), 0, false));
        // A little above it, but by one sound alone.
        let chance = [0.4, 0.4, 0.4, 0.41];
        assert_eq!(push(5, Some(chance))?, (Some(5), 1, false));
        assert_eq!(push(6, Some([f32::NAN; 4]))?, (Some(5), 2, true));
        // It is the lowest that all are held against: a drift does not pass for chance.
        assert_eq!(push(7, Some([0.41; 4]))?, (Some(5), 3, true));
        assert_eq!(push(8, Some([0.3; 4]))?, (Some(8), 0, false));
        assert!(!validations.exhaust(None));
        let mut endless = Validations::default();
        endless.push(
            Some(losses([1.0; 4])),
            None,
            TrainingTotals::default(),
            &weights,
        )?;
        assert!(endless.last == Some(1.0) && endless.kept.is_none());
        Ok(())
    }
}
