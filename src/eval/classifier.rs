//! A small classifier of sounds, trained on the spot.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor};

use crate::error::Result;
use crate::network::{Initializer, Parameters, Weights};
use crate::noise::Noise;
use crate::optim::{Adam, AdamConfig};

const HIDDEN: usize = 96;
const STEPS: usize = 240;
const LEARNING_RATE: f64 = 2e-3;
/// Standard deviation of the noise added to the standardised features of every step, against learning by heart.
const JITTER: f64 = 0.7;

/// Features to class: one hidden layer.
#[derive(Debug)]
pub(super) struct Classifier {
    mean: Vec<f32>,
    scale: Vec<f32>,
    weights: BTreeMap<String, Tensor>,
}

fn layers(x: &Tensor, mut get: impl FnMut(&str) -> Result<Tensor>) -> Result<Tensor> {
    let hidden = x
        .matmul(&get("in")?)?
        .broadcast_add(&get("in.bias")?)?
        .silu()?;
    Ok(hidden
        .matmul(&get("out")?)?
        .broadcast_add(&get("out.bias")?)?)
}

impl Classifier {
    /// Learns which of `classes` each row of `features` belongs to. The same seed gives the same one.
    pub fn train(features: &[&[f32]], labels: &[u32], classes: usize, seed: u64) -> Result<Self> {
        let (n, d) = (features.len(), features[0].len());
        let mut mean = vec![0.0f32; d];
        let mut scale = vec![0.0f32; d];
        for row in features {
            for (k, &x) in row.iter().enumerate() {
                mean[k] += x / n as f32;
                scale[k] += x * x / n as f32;
            }
        }
        for (s, m) in scale.iter_mut().zip(&mean) {
            // Where nothing varies (always at the floor) a trace of it must not weigh.
            *s = (*s - m * m).max(0.0).sqrt().max(1.0);
        }
        let device = Device::Cpu;
        let mut noise = Noise::at(seed, &[0x636c_6173]);
        let mut weights = BTreeMap::new();
        for (name, rows, columns) in [("in", d, HIDDEN), ("out", HIDDEN, classes)] {
            let init = noise.normal_tensor((rows, columns), &device)? * (rows as f64).powf(-0.5);
            weights.insert(name.to_owned(), init?);
            let bias = Tensor::zeros((1, columns), candle_core::DType::F32, &device)?;
            weights.insert(format!("{name}.bias"), bias);
        }
        let parameters = Parameters::from_weights(&weights, &device)?;
        let mut adam = Adam::new(
            &parameters,
            AdamConfig {
                weight_decay: 0.05,
                ..AdamConfig::default()
            },
        )?;
        let mut this = Self {
            mean,
            scale,
            weights,
        };
        let x = this.standardised(features)?;
        // Every class weighs the same, however many sounds it has.
        let count = |label: u32| labels.iter().filter(|&&l| l == label).count();
        let kinds = (0..classes as u32).filter(|&l| count(l) > 0).count();
        let mut wanted = vec![0.0f32; n * classes];
        for (i, &label) in labels.iter().enumerate() {
            wanted[i * classes + label as usize] = 1.0 / (count(label) * kinds) as f32;
        }
        let wanted = Tensor::from_vec(wanted, (n, classes), &device)?;
        for step in 0..STEPS {
            let jitter = (noise.normal_tensor((n, d), &device)? * JITTER)?;
            let mut own = &parameters;
            let scores = layers(&(&x + jitter)?, |name| {
                let shape = this.weights[name].dims().to_vec();
                own.get(name, &shape, Initializer::Zeros)
            })?;
            let top = scores.detach().max_keepdim(D::Minus1)?;
            let scores = scores.broadcast_sub(&top)?;
            let logs = scores.broadcast_sub(&scores.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
            let loss = (logs * &wanted)?.sum_all()?.neg()?;
            let rate = LEARNING_RATE * (1.0 - step as f64 / STEPS as f64);
            adam.step(&parameters, &loss.backward()?, rate)?;
        }
        this.weights = parameters.snapshot()?;
        Ok(this)
    }

    fn standardised(&self, features: &[&[f32]]) -> Result<Tensor> {
        let d = self.mean.len();
        let values = features.iter().flat_map(|row| {
            let terms = row.iter().zip(&self.mean).zip(&self.scale);
            terms.map(|((x, m), s)| (x - m) / s)
        });
        Ok(Tensor::from_vec(
            values.collect::<Vec<f32>>(),
            (features.len(), d),
            &Device::Cpu,
        )?)
    }

    /// The likeliest class of each row.
    pub fn classify(&self, features: &[&[f32]]) -> Result<Vec<u32>> {
        if features.is_empty() {
            return Ok(Vec::new());
        }
        let x = self.standardised(features)?;
        let scores = layers(&x, |name| Ok(self.weights[name].clone()))?;
        Ok(scores.argmax(D::Minus1)?.to_vec1::<u32>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_apart_what_differs_and_guesses_where_nothing_does() -> Result<()> {
        let mut noise = Noise::new(5);
        let mut rows = |n: usize, apart: f32| -> (Vec<Vec<f32>>, Vec<u32>) {
            let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
            let row = |&label: &u32| {
                let mut row: Vec<f32> = (0..20).map(|_| 10.0 * noise.normal()).collect();
                row[label as usize] += apart;
                row
            };
            (labels.iter().map(row).collect(), labels)
        };
        for (apart, least, most) in [(60.0, 0.97, 1.0), (0.0, 0.2, 0.47)] {
            let ((x, y), (probe, truth)) = (rows(120, apart), rows(300, apart));
            let by_reference = |rows: &'_ [Vec<f32>]| rows.to_vec();
            let (x, probe) = (by_reference(&x), by_reference(&probe));
            let (x, probe): (Vec<_>, Vec<_>) = (
                x.iter().map(Vec::as_slice).collect(),
                probe.iter().map(Vec::as_slice).collect(),
            );
            let classifier = Classifier::train(&x, &y, 3, 0)?;
            let right = classifier.classify(&probe)?;
            let fraction = right.iter().zip(&truth).filter(|(a, b)| a == b).count() as f64 / 300.0;
            assert!((least..=most).contains(&fraction), "{apart}: {fraction}");
            assert_eq!(right, Classifier::train(&x, &y, 3, 0)?.classify(&probe)?);
        }
        Ok(())
    }
}
