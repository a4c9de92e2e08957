//! A U-Net's trained weights for other dimensions: another width, other classes, fewer descriptors.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::UNetConfig;
use crate::error::{Error, Result};
use crate::network::NetworkDims;

/// A row for each class, after row 0 for "no class"; absent from an unconditional network.
const CLASSES: &str = "classes";
/// A row for each descriptor; absent from a network without any.
const DESCRIPTORS: &str = "descriptors";
/// The bias that the network adds to the embedding of every noise level, as it adds rows of the tables.
const EMBEDDING_BIAS: &str = "noise2.bias";
/// The two ends, whose shapes depend on the width of the frames.
const STEM: &str = "stem.weight";
const OUT: [&str; 2] = ["out.weight", "out.bias"];

impl UNetConfig {
    /// See [`NetworkConfig::adapt`](crate::network::NetworkConfig::adapt).
    pub(in crate::network) fn adapt(
        &self,
        weights: &mut BTreeMap<String, Tensor>,
        from: NetworkDims,
        to: NetworkDims,
        classes: &[Vec<usize>],
    ) -> Result<()> {
        self.set_classes(weights, from.labels, classes)?;
        if to.descriptors < from.descriptors {
            drop_descriptors(weights, to.descriptors)?;
        }
        if to.width != from.width {
            set_width(weights, from, to.width)?;
        }
        Ok(())
    }

    /// Gives each new class the mean row of the `known` ones that it begins as, of all where it names none.
    fn set_classes(
        &self,
        weights: &mut BTreeMap<String, Tensor>,
        known: usize,
        classes: &[Vec<usize>],
    ) -> Result<()> {
        match (weights.remove(CLASSES), classes.is_empty()) {
            (None, true) => {}
            // Without classes the network always adds the row for "no class".
            (Some(table), true) => {
                let folded = (parameter(weights, EMBEDDING_BIAS)? + table.get(0)?)?;
                weights.insert(EMBEDDING_BIAS.to_owned(), folded);
            }
            (None, false) => {
                let shape = (classes.len() + 1, self.embedding);
                let table = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
                weights.insert(CLASSES.to_owned(), table);
            }
            (Some(table), false) => {
                let mut rows = vec![table.narrow(0, 0, 1)?];
                for own in classes {
                    let meant: Vec<u32> = match own.is_empty() {
                        true => (1..=known as u32).collect(),
                        false => own.iter().map(|&class| class as u32 + 1).collect(),
                    };
                    rows.push(match meant[..] {
                        [one] => table.narrow(0, one as usize, 1)?,
                        _ => {
                            let count = meant.len();
                            let meant = Tensor::from_vec(meant, count, table.device())?;
                            table.index_select(&meant, 0)?.mean_keepdim(0)?
                        }
                    });
                }
                weights.insert(CLASSES.to_owned(), Tensor::cat(&rows, 0)?);
            }
        }
        Ok(())
    }
}

/// See [`NetworkConfig::retell`](crate::network::NetworkConfig::retell).
pub(in crate::network) fn retell(
    weights: &mut BTreeMap<String, Tensor>,
    terms: &Tensor,
) -> Result<()> {
    let table = parameter(weights, DESCRIPTORS)?;
    let (count, last) = (table.dim(0)?, terms.dim(1)?);
    let Some(kept) = count.checked_sub(last) else {
        return Err(Error::setting(format!(
            "network: expected at least {last} descriptors, found {count}"
        )));
    };
    let retold = terms.matmul(&table.narrow(0, kept, last)?.contiguous()?)?;
    let table = Tensor::cat(&[&table.narrow(0, 0, kept)?, &retold], 0)?;
    weights.insert(DESCRIPTORS.to_owned(), table);
    Ok(())
}

fn parameter<'a>(weights: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor> {
    let missing = || Error::setting(format!("expected a parameter `{name}`"));
    weights.get(name).ok_or_else(missing)
}

/// Keeps the first `descriptors` inputs: the network then says what it said where the others were zero.
fn drop_descriptors(weights: &mut BTreeMap<String, Tensor>, descriptors: usize) -> Result<()> {
    let kept = parameter(weights, DESCRIPTORS)?.narrow(0, 0, descriptors)?;
    if descriptors == 0 {
        weights.remove(DESCRIPTORS);
    } else {
        weights.insert(DESCRIPTORS.to_owned(), kept.contiguous()?);
    }
    Ok(())
}

/// Fits the two ends of a network of the dimensions `own` to frames of `width` columns. New columns follow the known
/// ones, with weights of zero at both ends; columns beyond `width` are dropped.
fn set_width(weights: &mut BTreeMap<String, Tensor>, own: NetworkDims, width: usize) -> Result<()> {
    // The columns lie together in blocks: of each tap at the first end, of frame and gates at the last.
    let fit = |tensor: &Tensor, dim: usize| -> Result<Tensor> {
        let mut dims = tensor.dims().to_vec();
        let blocks = dims[dim] / own.width;
        dims.splice(dim..=dim, [blocks, own.width]);
        let parted = tensor.reshape(dims.as_slice())?;
        let fitted = match width > own.width {
            true => parted.pad_with_zeros(dim + 1, 0, width - own.width)?,
            false => parted.narrow(dim + 1, 0, width)?,
        };
        dims.splice(dim..dim + 2, [blocks * width]);
        Ok(fitted.contiguous()?.reshape(dims.as_slice())?)
    };
    for (name, dim) in [(STEM, 0), (OUT[0], 1), (OUT[1], 0)] {
        let fitted = fit(parameter(weights, name)?, dim)?;
        weights.insert(name.to_owned(), fitted);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Conditioning, DanceConfig, Network, NetworkConfig};
    use crate::noise::Noise;

    const DIMS: NetworkDims = NetworkDims {
        width: 4,
        gates: true,
        labels: 2,
        descriptors: 5,
    };

    /// A network and weights of it, drawn at random, so that no path is silent.
    fn lively() -> Result<(NetworkConfig, BTreeMap<String, Tensor>)> {
        let config = NetworkConfig::UNet(UNetConfig::preset("16x1,16x1")?);
        let mut noise = Noise::new(5);
        let draw = |(name, shape): (String, Vec<usize>)| {
            let scale = if name.ends_with("affine") { 1.0 } else { 0.4 };
            Ok((name, (noise.normal_tensor(shape, &Device::Cpu)? * scale)?))
        };
        let shapes = config.parameter_shapes(DIMS)?;
        let weights = shapes.into_iter().map(draw).collect::<Result<_>>()?;
        Ok((config, weights))
    }

    /// The output for two clips of eight frames, conditioned on their classes.
    fn said(
        config: &NetworkConfig,
        dims: NetworkDims,
        weights: &BTreeMap<String, Tensor>,
        x: &Tensor,
        descriptors: &Tensor,
    ) -> Result<Tensor> {
        let network: Box<dyn Network> = config.build(dims, &mut weights.clone())?;
        let cond = Conditioning {
            classes: Tensor::new(&[1u32, 2], &Device::Cpu)?,
            descriptors: descriptors.clone(),
            attributes: 0,
        };
        network.forward(x, &Tensor::new(&[0.1f32, -0.7], &Device::Cpu)?, &cond)
    }

    fn apart(a: &Tensor, b: &Tensor) -> Result<f32> {
        Ok((a - b)?.abs()?.max_all()?.to_scalar()?)
    }

    /// The weights for other dimensions, with the same classes as far as both have them.
    fn adapted(
        config: &NetworkConfig,
        weights: &BTreeMap<String, Tensor>,
        from: NetworkDims,
        to: NetworkDims,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = weights.clone();
        let known = |class| (0..from.labels).filter(|&own| own == class).collect();
        let classes: Vec<Vec<usize>> = (0..to.labels).map(known).collect();
        config.adapt(&mut weights, from, to, &classes)?;
        Ok(weights)
    }

    #[test]
    fn a_network_of_more_columns_says_of_the_known_ones_what_it_said_and_of_new_ones_nothing()
    -> Result<()> {
        let (config, weights) = lively()?;
        let mut noise = Noise::new(6);
        let embedding = noise.normal_tensor((2, 5), &Device::Cpu)?;
        let x = noise.normal_tensor((2, 8, 4), &Device::Cpu)?;
        let before = said(&config, DIMS, &weights, &x, &embedding)?;
        for width in [8, 12] {
            let dims = NetworkDims { width, ..DIMS };
            let wide = adapted(&config, &weights, DIMS, dims)?;
            let new = noise.normal_tensor((2, 8, width - 4), &Device::Cpu)?;
            let x = Tensor::cat(&[&x, &new], 2)?;
            let after = said(&config, dims, &wide, &x, &embedding)?;
            // Frames, then gates.
            for (own, at) in [(0, 0), (4, width)] {
                let (own, now) = (before.narrow(2, own, 4)?, after.narrow(2, at, 4)?);
                assert!(apart(&own, &now)? < 1e-5);
                let rest = after.narrow(2, at + 4, width - 4)?;
                assert_eq!(apart(&rest, &rest.zeros_like()?)?, 0.0);
            }
            // The columns that are dropped again were never heard.
            let back = adapted(&config, &wide, dims, DIMS)?;
            assert_eq!(
                back.keys().collect::<Vec<_>>(),
                weights.keys().collect::<Vec<_>>()
            );
            for (name, tensor) in &weights {
                assert_eq!(apart(&back[name], tensor)?, 0.0, "{name}");
            }
        }
        Ok(())
    }

    #[test]
    fn without_attributes_a_network_says_what_it_said_of_hidden_ones() -> Result<()> {
        let (config, weights) = lively()?;
        let mut noise = Noise::new(7);
        let x = noise.normal_tensor((2, 8, 4), &Device::Cpu)?;
        for descriptors in [2, 0] {
            let changes = noise.normal_tensor((2, descriptors), &Device::Cpu)?;
            let hidden = changes.pad_with_zeros(1, 0, 5 - descriptors)?;
            let before = said(&config, DIMS, &weights, &x, &hidden)?;
            let dims = NetworkDims {
                descriptors,
                ..DIMS
            };
            let fewer = adapted(&config, &weights, DIMS, dims)?;
            let after = said(&config, dims, &fewer, &x, &changes)?;
            assert!(apart(&before, &after)? < 1e-6, "{descriptors}");
        }
        Ok(())
    }

    #[test]
    fn retold_descriptors_say_what_their_terms_said() -> Result<()> {
        let (config, mut weights) = lively()?;
        let before = weights.clone();
        let mut noise = Noise::new(9);
        let x = noise.normal_tensor((2, 8, 4), &Device::Cpu)?;
        let terms = noise.normal_tensor((3, 2), &Device::Cpu)?;
        let (kept, last) = (
            noise.normal_tensor((2, 3), &Device::Cpu)?,
            noise.normal_tensor((2, 3), &Device::Cpu)?,
        );
        config.retell(&mut weights, &terms)?;
        let dims = NetworkDims {
            descriptors: 6,
            ..DIMS
        };
        let after = said(
            &config,
            dims,
            &weights,
            &x,
            &Tensor::cat(&[&kept, &last], 1)?,
        )?;
        let told = Tensor::cat(&[&kept, &last.matmul(&terms)?], 1)?;
        let before = said(&config, DIMS, &before, &x, &told)?;
        let largest = before.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(apart(&before, &after)? < 1e-5 * largest);
        let wide = Tensor::zeros((1, 7), DType::F32, &Device::Cpu)?;
        assert!(config.retell(&mut weights, &wide).is_err());
        Ok(())
    }

    #[test]
    fn without_classes_a_network_says_what_it_said_of_no_class() -> Result<()> {
        let (config, mut weights) = lively()?;
        let mut noise = Noise::new(8);
        let x = noise.normal_tensor((2, 8, 4), &Device::Cpu)?;
        let embedding = noise.normal_tensor((2, 5), &Device::Cpu)?;
        let dims = NetworkDims { labels: 0, ..DIMS };
        let plain = adapted(&config, &weights, DIMS, dims)?;
        let after = said(&config, dims, &plain, &x, &embedding)?;
        let largest = after.abs()?.max_all()?.to_scalar::<f32>()?;
        let table = &weights[CLASSES];
        let none = table.narrow(0, 0, 1)?.broadcast_as(table.shape())?;
        weights.insert(CLASSES.to_owned(), none.contiguous()?);
        let before = said(&config, DIMS, &weights, &x, &embedding)?;
        assert!(apart(&before, &after)? < 1e-5 * largest);
        // Classes of a network that had none change nothing at first.
        let again = adapted(&config, &plain, dims, DIMS)?;
        let after = said(&config, DIMS, &again, &x, &embedding)?;
        assert!(apart(&before, &after)? < 1e-5 * largest);
        Ok(())
    }

    #[test]
    fn classes_and_descriptors_that_a_network_cannot_have_are_refused() -> Result<()> {
        let (config, weights) = lively()?;
        let more = NetworkDims {
            descriptors: 6,
            ..DIMS
        };
        let refusal = |to, classes: &[Vec<usize>]| {
            let mut own = weights.clone();
            let error = config.adapt(&mut own, DIMS, to, classes).unwrap_err();
            assert!(own.keys().eq(weights.keys()), "nothing was changed");
            error.to_string()
        };
        let known = [vec![0], vec![1]];
        assert!(refusal(more, &known).contains("at most 5 descriptors, found 6"));
        assert!(refusal(DIMS, &known[..1]).contains("2 classes, found 1"));
        assert!(refusal(DIMS, &[vec![0], vec![2]]).contains("one of 2 classes, found 2"));
        let dance = NetworkConfig::Dance(DanceConfig::default());
        let none = NetworkDims { labels: 0, ..DIMS };
        let wide = NetworkDims { width: 8, ..none };
        let refusal = dance.adapt(&mut BTreeMap::new(), none, wide, &[]);
        assert!(
            refusal
                .unwrap_err()
                .to_string()
                .contains("cannot be changed")
        );
        dance.adapt(&mut BTreeMap::new(), none, none, &[])
    }
}
