//! How many steps a distilled model is best rendered with: measured against its teacher.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::Device;

use crate::checkpoint::{Checkpoint, Excess, FEW_STEPS, ModelConfig, Rendering};
use crate::dataset::ScanOptions;
use crate::error::{Error, Result};
use crate::eval::{Ear, Estimate, FEWEST, Reference, Sounds};
use crate::render::{RenderSettings, Renderer};

/// Numbers of steps that are measured. The last is taken unless another one is shown to be nearer to real sounds: none
/// of them takes long, and variety grows with them.
pub const MEASURED: [usize; 3] = [2, 3, FEW_STEPS];

/// Rounds that each is measured in, with seeds of their own.
const ROUNDS: usize = 6;

/// Sounds of all rounds together, about; no round has fewer than distances need.
const SOUNDS: usize = 400;

/// Student's t with five degrees of freedom that chance exceeds once in a hundred times, on one side. Two numbers of
/// steps are tried against the last.
const SHOWN: f64 = 3.365;

/// Fréchet distances to real sounds in dB², one for each round. Rounds have the same seeds for all.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCounts {
    /// At each of [`MEASURED`].
    pub student: [Vec<f64>; MEASURED.len()],
    /// Of the model it began from.
    pub teacher: Vec<f64>,
    /// Steps that the teacher took.
    pub teacher_steps: usize,
}

/// A distilled model beside its teacher.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The distilled model.
    pub student: &'a Checkpoint,
    /// The model it began from.
    pub teacher: &'a Checkpoint,
    /// Folder of the sounds that were learnt.
    pub sounds: &'a Path,
    /// How they were opened for the training.
    pub options: &'a ScanOptions,
    /// Seed of what is made and drawn.
    pub seed: u64,
}

impl Comparison<'_> {
    /// Measures both against the sounds that were held back of what was learnt, or against all where too few were.
    ///
    /// `on_sound` hears how many sounds of how many are made, and may stop it.
    ///
    /// # Errors
    /// When sounds cannot be read, are too few to measure with, or a model does not render; [`Error::Stopped`] when
    /// `on_sound` broke off.
    pub fn measure(
        &self,
        device: &Device,
        on_sound: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<StepCounts> {
        let (student, teacher, seed) = (self.student, self.teacher, self.seed);
        let ear = Ear::new(student.config.format, student.config.representation.hop())?;
        let (held, mut rest) = Sounds::both_parts(self.sounds, self.options, &ear, &mut |_, _| ())?;
        // The training set spans the space; where few sounds were held back, all are the reference.
        let (real, training) = if held.sounds.len() >= 4 * FEWEST && rest.sounds.len() >= FEWEST {
            (held, Some(rest))
        } else {
            rest.sounds.extend(held.sounds);
            (rest, None)
        };
        let mut wanted = real.labels();
        let all = real.sounds.len() as f64;
        let fraction = (SOUNDS / ROUNDS).max(FEWEST) as f64 / all;
        for count in wanted.values_mut() {
            *count = (*count as f64 * fraction).ceil() as usize;
        }
        let each: usize = wanted.values().sum();
        let reference = Reference::new(real, training, seed)?;
        let runs = MEASURED.len() + 1;
        let mut distances = |model: &Checkpoint, settings: &RenderSettings, run: usize| {
            let renderer = Renderer::new(model, device)?;
            let rounds = (0..ROUNDS).map(|round| {
                let first = seed.wrapping_add((round * each) as u64);
                let before = (run * ROUNDS + round) * each;
                let mut heard = |done, _| on_sound(before + done, runs * ROUNDS * each);
                let generated =
                    Sounds::rendered(&renderer, settings, &wanted, first, &ear, &mut heard)?;
                let frechet = reference.evaluate(&[generated])?.scores.frechet;
                let frechet = frechet
                    .ok_or_else(|| Error::setting("too few sounds to measure with".to_owned()))?;
                Ok(frechet.value)
            });
            rounds.collect::<Result<Vec<f64>>>()
        };
        let own = RenderSettings::of(&student.config);
        let mut found = <[Vec<f64>; MEASURED.len()]>::default();
        for (run, (steps, found)) in MEASURED.into_iter().zip(&mut found).enumerate() {
            let settings = RenderSettings {
                steps,
                ..own.clone()
            };
            *found = distances(student, &settings, run)?;
        }
        // As it taught, in its own number of steps.
        let own = RenderSettings::of(&teacher.config);
        let taught = student.config.rendering.as_ref();
        let taught = taught.and_then(|rendering| rendering.undistilled);
        let settings = RenderSettings {
            guidance: taught.map_or(own.guidance, |taught| taught.guidance),
            ..own
        };
        Ok(StepCounts {
            student: found,
            teacher: distances(teacher, &settings, runs - 1)?,
            teacher_steps: settings.steps,
        })
    }
}

impl StepCounts {
    /// The number of steps to render with: the last of [`MEASURED`], unless one before it is nearer by more than
    /// chance; the nearest of those that are.
    #[must_use]
    pub fn best(&self) -> usize {
        let last = MEASURED.len() - 1;
        let shown = (0..last).filter(|&k| {
            let Estimate { value, error } = difference(&self.student[k], &self.student[last]);
            value < 0.0 && -value > SHOWN * error
        });
        let mean = |k: &usize| self.student[*k].iter().sum::<f64>();
        MEASURED[shown
            .min_by(|a, b| mean(a).total_cmp(&mean(b)))
            .unwrap_or(last)]
    }

    /// How much farther from real sounds than its teacher the model is at each of [`MEASURED`].
    #[must_use]
    pub fn excess(&self) -> Vec<Excess> {
        let measured = MEASURED.into_iter().zip(&self.student);
        measured
            .map(|(steps, own)| {
                let Estimate { value, error } = difference(own, &self.teacher);
                Excess {
                    steps,
                    value,
                    error,
                }
            })
            .collect()
    }

    /// Lets a model be rendered with the best number of steps, and say what was measured.
    pub fn settle(&self, model: &mut ModelConfig) {
        if let Some(rendering) = &mut model.rendering {
            *rendering = Rendering {
                steps: self.best(),
                measured: Vec::new(),
                excess: self.excess(),
                ..rendering.clone()
            };
        }
    }
}

/// Mean difference of `a` to `b`, round by round, with its error.
fn difference(a: &[f64], b: &[f64]) -> Estimate {
    Estimate::of(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    #[test]
    fn noise_does_not_win_the_choice_of_steps_and_a_difference_does() {
        let mut noise = Noise::new(1);
        let mut rounds = |mean: f64| -> Vec<f64> {
            (0..ROUNDS)
                .map(|_| mean + 5.0 * f64::from(noise.normal()))
                .collect()
        };
        let mut best = |means: [f64; 3]| {
            let counts = StepCounts {
                student: means.map(&mut rounds),
                teacher: Vec::new(),
                teacher_steps: 16,
            };
            counts.best()
        };
        // Alike, near zero: the last is kept but for one time in fifty.
        let fewer = (0..500).filter(|_| best([0.5; 3]) != FEW_STEPS).count();
        assert!(fewer <= 20, "{fewer} of 500");
        // Worse ones are never taken, and far nearer ones are.
        assert!((0..200).all(|_| best([60.0, 60.0, 30.0]) == FEW_STEPS));
        let nearer = (0..200).filter(|_| best([60.0, -10.0, 30.0]) == 3).count();
        assert!(nearer > 190, "{nearer} of 200");
    }
}
