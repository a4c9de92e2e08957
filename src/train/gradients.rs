//! The gradients of a step, added up over the ranks while the way back is still under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, TensorId};

use crate::error::Result;
use crate::group::{Group, Pending};
use crate::network::Parameters;

/// Values of gradients that travel together: 1 MiB. Much smaller ones are all latency, much larger ones set out when
/// little is left to compute.
const BUCKET: usize = 1 << 18;

/// Adds up gradients over a group.
///
/// Parameters lie in buckets, which set out in a fixed order as they are filled. Which values travel together changes
/// nothing in their sums. The order is that in which rank 0 has met the gradients of the first step.
pub(super) struct GradientSums {
    group: Arc<Group>,
    /// Number and length of each parameter.
    known: HashMap<TensorId, (usize, usize)>,
    shared: Mutex<Filling>,
}

/// One bucket: the gradients of some parameters, then for each of them whether there was one.
struct Bucket {
    parameters: Vec<usize>,
    values: Vec<f32>,
    missing: usize,
}

/// The buckets of the present step.
struct Filling {
    /// Bucket of each parameter, where its values begin, and its place among those of the bucket.
    places: Vec<(usize, usize, usize)>,
    buckets: Vec<Bucket>,
    has_arrived: Vec<bool>,
    /// Parameters in the order in which they came.
    arrived: Vec<usize>,
    begun: Vec<Pending<Vec<f32>>>,
    is_ordered: bool,
}

impl Filling {
    /// Empty buckets for parameters of these lengths, in this order.
    fn new(lengths: &[usize], order: &[usize], is_ordered: bool) -> Self {
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut places = vec![(0, 0, 0); lengths.len()];
        let mut filled = BUCKET;
        for &parameter in order {
            if filled >= BUCKET {
                filled = 0;
                buckets.push(Bucket {
                    parameters: Vec::new(),
                    values: Vec::new(),
                    missing: 0,
                });
            }
            let last = buckets.len() - 1;
            let bucket = &mut buckets[last];
            places[parameter] = (last, filled, bucket.parameters.len());
            bucket.parameters.push(parameter);
            filled += lengths[parameter];
            bucket.values.resize(filled, 0.0);
        }
        let mut filling = Self {
            places,
            buckets,
            has_arrived: vec![false; lengths.len()],
            arrived: Vec::new(),
            begun: Vec::new(),
            is_ordered,
        };
        for bucket in &mut filling.buckets {
            bucket.missing = bucket.parameters.len();
            let flags = bucket.parameters.len();
            bucket.values.resize(bucket.values.len() + flags, 0.0);
        }
        filling
    }

    /// Takes in the gradient of a parameter; none counts as zeros.
    fn arrive(&mut self, group: &Group, parameter: usize, gradient: Option<&[f32]>) {
        let before = std::mem::replace(&mut self.has_arrived[parameter], true);
        assert!(!before, "a step goes back through its network once");
        self.arrived.push(parameter);
        let (at, from, place) = self.places[parameter];
        let bucket = &mut self.buckets[at];
        if let Some(gradient) = gradient {
            bucket.values[from..][..gradient.len()].copy_from_slice(gradient);
            let flags = bucket.values.len() - bucket.parameters.len();
            bucket.values[flags + place] = 1.0;
        }
        bucket.missing -= 1;
        // In their order: all ranks add up the same.
        while let Some(bucket) = self.buckets.get_mut(self.begun.len()) {
            if bucket.missing > 0 {
                break;
            }
            let values = std::mem::take(&mut bucket.values);
            self.begun.push(group.begin_sum(values));
        }
    }
}

impl GradientSums {
    /// Of the gradients of these parameters; nothing where a group of one needs none.
    pub fn new(group: &Arc<Group>, parameters: &Parameters) -> Option<Arc<Self>> {
        if group.size() == 1 {
            return None;
        }
        let each = parameters.iter().enumerate();
        let known: HashMap<_, _> = each
            .map(|(i, (_, var))| (var.as_tensor().id(), (i, var.elem_count())))
            .collect();
        let lengths: Vec<usize> = parameters.iter().map(|(_, var)| var.elem_count()).collect();
        let order: Vec<usize> = (0..lengths.len()).collect();
        Some(Arc::new(Self {
            group: Arc::clone(group),
            known,
            shared: Mutex::new(Filling::new(&lengths, &order, false)),
        }))
    }

    fn filling(&self) -> MutexGuard<'_, Filling> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the gradient of a parameter as soon as it is complete.
    pub fn arrive(&self, parameter: &Tensor, gradient: &[f32]) {
        if let Some(&(i, length)) = self.known.get(&parameter.id())
            && gradient.len() == length
        {
            self.filling().arrive(&self.group, i, Some(gradient));
        }
    }

    /// Puts the sums over all ranks in the place of this rank's `gradients`, once the way back is at its end. A
    /// parameter has one where it has one on any rank.
    ///
    /// # Errors
    /// When another rank has ended, or a gradient cannot be copied from its device.
    pub fn finish(&self, parameters: &Parameters, gradients: &mut GradStore) -> Result<()> {
        let mut filling = self.filling();
        for (i, (_, var)) in parameters.iter().enumerate() {
            if filling.has_arrived[i] {
                continue;
            }
            // Of other devices than the CPU all come here.
            let values = gradients.get(var).map(|gradient| {
                let gradient = gradient.flatten_all()?.to_device(&Device::Cpu)?;
                gradient.to_vec1::<f32>()
            });
            filling.arrive(&self.group, i, values.transpose()?.as_deref());
        }
        let vars: Vec<_> = parameters.iter().map(|(_, var)| var).collect();
        let begun = std::mem::take(&mut filling.begun);
        for (bucket, sums) in filling.buckets.iter().zip(begun) {
            let sums = sums.wait()?;
            let (values, flags) = sums.split_at(sums.len() - bucket.parameters.len());
            for (&parameter, &ranks) in bucket.parameters.iter().zip(flags) {
                let var = vars[parameter];
                let from = filling.places[parameter].1;
                if ranks > 0.0 {
                    let values = &values[from..][..var.elem_count()];
                    let sum = Tensor::from_slice(values, var.shape(), var.device())?;
                    gradients.insert(var, sum);
                }
            }
        }
        let order: Vec<usize> = match filling.is_ordered {
            true => {
                let all = filling.buckets.iter();
                all.flat_map(|bucket| &bucket.parameters).copied().collect()
            }
            false => {
                let numbers = filling.arrived.iter().map(|&i| (i as u32).to_le_bytes());
                let first = self.group.broadcast(numbers.flatten().collect())?;
                let numbers = first.as_chunks::<4>().0.iter();
                numbers.map(|&i| u32::from_le_bytes(i) as usize).collect()
            }
        };
        let lengths: Vec<usize> = vars.iter().map(|var| var.elem_count()).collect();
        *filling = Filling::new(&lengths, &order, true);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Lengths of four parameters, of which the second and the third fill buckets of their own.
    const LENGTHS: [usize; 4] = [7, BUCKET + 5, BUCKET, 11];

    fn parameters() -> Result<Parameters> {
        let weights = LENGTHS.iter().enumerate();
        let weights: BTreeMap<String, Tensor> = weights
            .map(|(i, &n)| {
                Ok((
                    i.to_string(),
                    Tensor::ones(n, candle_core::DType::F32, &Device::Cpu)?,
                ))
            })
            .collect::<Result<_>>()?;
        Parameters::from_weights(&weights, &Device::Cpu)
    }

    /// Two steps of a rank, whose gradients are `rank + 1`, those of the first parameter on rank 0 alone, and none of
    /// the last. In the second step gradients arrive on the way back, in an order of the rank's own.
    fn steps(group: Group) -> Result<Vec<Vec<Option<Vec<f32>>>>> {
        let (rank, group) = (group.rank(), Arc::new(group));
        let parameters = parameters()?;
        let sums = GradientSums::new(&group, &parameters).expect("several ranks");
        let vars: Vec<_> = parameters.iter().map(|(_, var)| var.clone()).collect();
        let own = (rank + 1) as f64;
        let mut found = Vec::new();
        for step in 0..2 {
            let used = if rank == 0 { 0..3 } else { 1..3 };
            let mut loss = Tensor::new(0f32, &Device::Cpu)?;
            for var in &vars[used.clone()] {
                loss = (loss + (var.as_tensor() * own)?.sum_all()?)?;
            }
            let mut gradients = loss.backward()?;
            if step == 1 {
                let order = if rank == 1 { [2, 1] } else { [1, 2] };
                for i in order {
                    sums.arrive(&vars[i], &vec![own as f32; LENGTHS[i]]);
                }
            }
            sums.finish(&parameters, &mut gradients)?;
            let each = vars.iter().map(|var| {
                let gradient = gradients.get(var);
                Ok(gradient
                    .map(|gradient| gradient.to_vec1::<f32>())
                    .transpose()?)
            });
            found.push(each.collect::<Result<_>>()?);
        }
        Ok(found)
    }

    #[test]
    fn gradients_are_sums_over_the_ranks_whenever_and_wherever_they_arrive() {
        let expected = [Some(1.0), Some(6.0), Some(6.0), None];
        std::thread::scope(|scope| {
            let ranks = Group::threads(3).into_iter();
            let ranks: Vec<_> = ranks.map(|group| scope.spawn(|| steps(group))).collect();
            for rank in ranks {
                let steps = rank.join().expect("no panic").expect("sums");
                for step in steps {
                    for ((found, expected), n) in step.iter().zip(expected).zip(LENGTHS) {
                        let expected = expected.map(|value| vec![value; n]);
                        assert!(*found == expected);
                    }
                }
            }
        });
    }
}
