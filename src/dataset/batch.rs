//! Drawing sounds, and encoding them into batches.

use std::ops::Range;

use rayon::prelude::*;

use super::augment::{self, Augment, Change};
use super::{Crop, Dataset};
use crate::attributes::Attributes;
use crate::error::{Error, Result};
use crate::noise::Noise;
use crate::representation::{ClipLengths, Representation};

/// Encoded clips, and what the model is conditioned on for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `(B, T, C)`: clips, frames, values a frame.
    pub shape: (usize, usize, usize),
    /// `B × T × C` values, row-major.
    pub frames: Vec<f32>,
    /// `B` labels: places in [`Dataset::labels`].
    pub labels: Vec<Option<u32>>,
    /// The change of each of the `B` clips; empty without augmentation.
    pub changes: Vec<Change>,
    /// The attributes of each of the `B` clips after its change of speed and before its tilt; empty unless asked for.
    pub attributes: Vec<Attributes>,
}

/// Part of the batches whose clips are longer than their sounds need, so that a model knows what follows a sound: nothing.
const LONGER: f32 = 0.2;

/// Names the generators of batches among all that share a seed.
const AUGMENT: u64 = 0x6175_676d_656e_7400;

impl Dataset {
    /// The attributes of a clip that [`Dataset::batch`] might draw of the sound at `index`: those of the sound, or of a
    /// random place in it if clips begin anywhere.
    ///
    /// # Errors
    /// As [`Dataset::clip`].
    pub(crate) fn attributes_of_draw(&self, index: usize, noise: &mut Noise) -> Result<Attributes> {
        if self.crop == Crop::Onset {
            return self.attributes(index);
        }
        let source = self.source(index)?;
        let start = noise.below(source.starts(self.format.len_frames));
        Ok(source.attributes(start, 0.0, self.format, self.crop))
    }

    /// `n` training sounds, drawn independently: a label by the square root of its number of sounds,
    /// then one of its sounds. Sounds without a label are drawn like those of one more label.
    pub fn draw(&self, n: usize, noise: &mut Noise) -> Vec<usize> {
        let Some(&(sum, _)) = self.classes.last() else {
            return Vec::new();
        };
        let one = |_| {
            let point = noise.uniform() * sum;
            let class = self
                .classes
                .partition_point(|&(up_to, _)| up_to <= point)
                .min(self.classes.len() - 1);
            let members = &self.classes[class].1;
            members[noise.below(members.len())]
        };
        (0..n).map(one).collect()
    }

    /// The same of sounds that all belong into clips of one length, and that length. The first is drawn from all; in a
    /// fifth of the draws the length is a greater one, any of them.
    ///
    /// # Errors
    /// As [`Dataset::end`].
    pub fn draw_of_length(
        &self,
        n: usize,
        lengths: &ClipLengths,
        noise: &mut Noise,
    ) -> Result<(Vec<usize>, usize)> {
        if lengths.all().len() == 1 || n == 0 || self.train().is_empty() {
            return Ok((self.draw(n, noise), lengths.all()[lengths.all().len() - 1]));
        }
        let mut drawn = self.draw(1, noise);
        let own = lengths.place(self.end(drawn[0])?);
        // The first of that length was drawn: sooner or later others are.
        while drawn.len() < n {
            for index in self.draw(n, noise) {
                if drawn.len() < n && lengths.place(self.end(index)?) == own {
                    drawn.push(index);
                }
            }
        }
        let above = lengths.all().len() - 1 - own;
        let place = match above > 0 && noise.chance(LONGER) {
            true => own + 1 + noise.below(above),
            false => own,
        };
        Ok((drawn, lengths.all()[place]))
    }

    /// The sounds at `indices`, each below [`Dataset::len`], encoded in clips as long as those of the representation.
    ///
    /// With `augment` (what to change, a seed, the training step) clips are changed at random, and
    /// start anywhere if the dataset was opened so; without it they are those of [`Dataset::clip`].
    /// The change of the clip at place `j` depends on seed, step and `j` only. With `attributes` it holds those of each
    /// clip.
    ///
    /// # Errors
    /// When a file has to be decoded again and no longer can be, or the representation is of another format.
    pub fn batch(
        &self,
        indices: &[usize],
        representation: &dyn Representation,
        augment: Option<(&Augment, u64, u64)>,
        attributes: bool,
    ) -> Result<Batch> {
        let all = 0..indices.len();
        self.part_of_batch(indices, all, representation, augment, attributes)
    }

    /// The clips at these places of a [`Dataset::batch`], as they are within it.
    ///
    /// # Errors
    /// As [`Dataset::batch`].
    pub(crate) fn part_of_batch(
        &self,
        indices: &[usize],
        places: Range<usize>,
        representation: &dyn Representation,
        augment: Option<(&Augment, u64, u64)>,
        attributes: bool,
    ) -> Result<Batch> {
        let (t, c) = representation.shape();
        let (indices, first) = (&indices[places.clone()], places.start);
        let encode = |(i, &index): (usize, &usize)| {
            let place = first + i;
            let draw = augment.map(|(augment, seed, step)| {
                (augment, Noise::at(seed, &[AUGMENT, step, place as u64]))
            });
            self.encoded(index, representation, draw, attributes)
        };
        let encoded: Vec<_> = indices
            .par_iter()
            .enumerate()
            .map(encode)
            .collect::<Result<_>>()?;
        let mut batch = Batch {
            shape: (indices.len(), t, c),
            frames: Vec::with_capacity(indices.len() * t * c),
            labels: indices.iter().map(|&index| self.label(index)).collect(),
            changes: Vec::with_capacity(indices.len()),
            attributes: Vec::new(),
        };
        for (frames, change, attributes) in encoded {
            batch.frames.extend(frames);
            batch.changes.push(change);
            batch.attributes.extend(attributes);
        }
        Ok(batch)
    }

    /// The frames of the sound at `index`, changed by a draw of an augmentation, what was done to it, and its
    /// attributes where they are asked for.
    fn encoded(
        &self,
        index: usize,
        representation: &dyn Representation,
        augment: Option<(&Augment, Noise)>,
        attributes: bool,
    ) -> Result<(Vec<f32>, Change, Option<Attributes>)> {
        let (t, c) = representation.shape();
        let format = representation.format();
        let source = self.source(index)?;
        let mut start = 0;
        let mut change = Change::default();
        let is_one_shot = self.crop == Crop::Onset;
        let own = (attributes && is_one_shot).then(|| self.attributes_by(index, &source));
        if let Some((augment, mut noise)) = augment {
            let is_note = own.is_some_and(|own| own.is_note());
            change = augment.draw(is_note, &mut noise);
            if self.crop == Crop::Anywhere {
                let faster = f64::from(augment::ratio(change.varispeed_st).max(1.0));
                start = noise.below(source.starts((format.len_frames as f64 * faster) as usize));
            }
        }
        let frames = representation.encode(&source.window(start, &change, format, self.crop))?;
        if (frames.frames, frames.width) != (t, c) || frames.data.len() != t * c {
            return Err(Error::Shape {
                what: "an encoded clip",
                expected: format!("[{t}, {c}]"),
                found: format!(
                    "[{}, {}] in {} values",
                    frames.frames,
                    frames.width,
                    frames.data.len()
                ),
            });
        }
        let attributes = match own {
            Some(own) => Some(own.varispeed(change.varispeed_st)),
            None => {
                attributes.then(|| source.attributes(start, change.varispeed_st, format, self.crop))
            }
        };
        let attributes = attributes.map(|attributes| change.known_of(attributes));
        Ok((frames.data, change, attributes))
    }
}
