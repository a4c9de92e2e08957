//! Sounds of many seeds at once: what is alike is sampled together, and what misses its attributes is tried again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use candle_core::Device;
use rayon::prelude::*;

use super::conditions::{Asked, Conditions};
use super::init::{Given, Start};
use super::mend::{self, Remark};
use super::tail::hold_tail;
use super::{Guess, Init, PLACE, Progress, RenderSettings, Rendered, Renderer, lock};
use crate::attributes::{Attribute, AttributeKnots, Attributes};
use crate::audio::{Clip, Ending, Level, fade_end, finish};
use crate::checkpoint::ModelConfig;
use crate::diffusion::Denoiser;
use crate::diffusion::guidance::Guided;
use crate::diffusion::inpaint::Inpainted;
use crate::diffusion::sampler::{Sampler, Step};
use crate::error::{Error, Result};
use crate::network::Conditioning;
use crate::noise::Noise;
use crate::representation::{Crop, Decoding, Format, Frames, Representation};

/// Longest sound that is rendered, in seconds.
const MAX_SECONDS: f64 = 60.0;

/// A sound that is to be played faster is generated longer first, but not by more than this factor.
const MOST_LONGER: f64 = 4.0;

/// A length that is asked for takes this much of a sound, for its attack and what follows its last hundredth.
const ROOM: f64 = 1.25;

/// How often a sound is generated that misses what is asked, each time like another training sound; the best is taken.
const ATTEMPTS: u64 = 4;

/// Sounds that a GPU samples at once.
const SAMPLED_ON_GPU: usize = 64;

/// A sound to begin with loses its part before the onset; from this length on, in seconds, a remark says so.
const LEFT_OUT: f64 = 0.01;

/// Hears how far a rendering has come, with the model's guess at a step towards a sound.
pub(super) type Listener<'a> = dyn FnMut(Progress, Option<&Guess<'_>>) -> ControlFlow<()> + 'a;

/// The settings, worked out for all seeds.
pub(super) struct Order<'a> {
    pub settings: &'a RenderSettings,
    asked: Asked,
    /// The clips of [`RenderSettings::init`].
    pub given: Vec<Arc<Given>>,
    /// Attributes of the sound that is varied.
    own: Option<Attributes>,
    /// For how many frames the sounds are heard of which something is left all over; none where a part is kept as it is.
    begun: Option<usize>,
    /// Remarks on all sounds.
    remarks: Vec<Remark>,
}

/// The sound of one seed, to be generated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    seed: u64,
    conditions: Conditions,
    /// Frames of audio to generate, at least those of a clip of the model's, and how many of them, once mended, are wanted.
    generated: usize,
    wanted: usize,
}

/// Items of one length that all have a class, or none: they are sampled together.
pub(super) struct Group<'a> {
    pub order: &'a Order<'a>,
    pub items: Vec<Item>,
    /// The model's, as long as the items.
    pub format: Format,
    pub representation: Arc<dyn Representation>,
}

impl Group<'_> {
    pub fn conditions(&self) -> Vec<Conditions> {
        self.items.iter().map(|item| item.conditions).collect()
    }
}

impl<'a> Order<'a> {
    fn new(renderer: &Renderer, settings: &'a RenderSettings) -> Result<Self> {
        let config = &renderer.config;
        let asked = Asked::new(settings, config)?;
        let mut remarks = Vec::new();
        let taken = settings.steps_taken(config);
        if taken < settings.steps {
            let asked = settings.steps;
            remarks.push(Remark::Steps { asked, taken });
        }
        if config.is_few_step() && settings.sampler != Sampler::Consistency {
            let asked = settings.sampler;
            remarks.push(Remark::Sampler { asked });
        }
        let clips = settings.init.as_ref().map_or(&[][..], Init::clips);
        let given: Vec<Arc<Given>> = clips
            .iter()
            .map(|clip| renderer.given(clip))
            .collect::<Result<_>>()?;
        let mut own = None;
        if let Some(Init::Vary { .. } | Init::Inpaint { .. }) = &settings.init {
            let heard = given[0].heard(config)?;
            if heard.start > LEFT_OUT {
                let seconds = heard.start;
                remarks.push(Remark::LeftOut { seconds });
            }
            if matches!(settings.init, Some(Init::Vary { .. })) {
                own = Some(heard.attributes);
            }
        }
        let begun = match &settings.init {
            Some(init @ (Init::Vary { .. } | Init::Morph { .. })) if init.is_kept() => {
                let ends = given.iter().map(|given| given.end(&config.format));
                ends.max()
            }
            _ => None,
        };
        Ok(Self {
            settings,
            asked,
            given,
            own,
            begun,
            remarks,
        })
    }

    /// The sound of a seed, in one of the attempts at it.
    fn item(&self, config: &ModelConfig, seed: u64, attempt: u64) -> Result<Item> {
        let init = self.settings.init.as_ref();
        let conditions = self.asked.conditions(config, init, self.own, seed, attempt);
        let (generated, wanted) = self.lengths(config, &conditions)?;
        Ok(Item {
            seed,
            conditions,
            generated,
            wanted,
        })
    }

    /// How many frames of audio are generated, and how many of them are wanted once the sound was mended. A sound
    /// shorter than the clips in which the model learnt its like is rendered whole and cut: the model knows sounds only
    /// from their onset.
    fn lengths(&self, config: &ModelConfig, conditions: &Conditions) -> Result<(usize, usize)> {
        let rate = f64::from(config.format.sample_rate);
        let like = conditions.end(config).map(|seconds| seconds * rate);
        let begun = self.settings.init.as_ref().filter(|init| init.is_kept());
        let end = match begun {
            // A sound to begin with may be longer than those like it. The less is kept of it, the more it may become as
            // long as they are; at full strength nothing is left of it.
            Some(init) => self.begun.map(|begun| {
                let longer = like.map_or(0.0, |like| (like - begun as f64).max(0.0));
                begun + (init.strength() * longer) as usize
            }),
            None => like.map(|like| like as usize),
        };
        let own = match end {
            Some(end) => config.clip_lengths().of(end),
            None => config.format.len_frames,
        };
        let seconds = self.settings.seconds;
        if let Some(seconds) = seconds.filter(|s| !(0.01..=MAX_SECONDS).contains(s)) {
            return Err(Error::setting(format!(
                "seconds: expected 0.01 to {MAX_SECONDS}, found {seconds}"
            )));
        }
        let attributes = &self.asked.attributes;
        let is_plain = seconds.is_none() && *attributes == Attributes::default();
        let wanted = match seconds {
            Some(seconds) => (seconds * rate).round(),
            // A sound that is played faster, and otherwise left alone, is shorter.
            None if is_plain => (own as f64 / conditions.speed).round(),
            None => {
                let length = attributes.get(Attribute::Length);
                let room = length.map_or(0.0, |seconds| ROOM * f64::from(seconds) * rate);
                room.max(own as f64)
            }
        };
        let longer = match is_plain {
            true => own as f64,
            false => (wanted * conditions.speed.clamp(1.0, MOST_LONGER)).min(MAX_SECONDS * rate),
        };
        let wanted = wanted as usize;
        if longer as usize <= own {
            return Ok((own, wanted));
        }
        let unit = config.representation.hop() * config.network.frames_multiple();
        let generated = (longer as usize).div_ceil(unit) * unit;
        let frames = config.representation.frames(generated);
        config.network.check_frames(frames)?;
        Ok((generated, wanted))
    }
}

impl Renderer {
    /// One sound for each seed, together. A seed's sound is the same in any batch.
    ///
    /// # Errors
    /// When a setting makes no sense or does not fit the model; [`Error::Stopped`] when `on_step` broke
    /// off, or the flag of [`Engine::stop_with`](crate::network::Engine::stop_with) did.
    pub fn render_batch(
        &self,
        settings: &RenderSettings,
        seeds: &[u64],
        on_step: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<Rendered>> {
        self.render_all(settings, seeds, &mut |progress, _| on_step(progress))
    }

    /// The sounds of some seeds; `on_step` is given the guess of a seed that is alone.
    pub(super) fn render_all(
        &self,
        settings: &RenderSettings,
        seeds: &[u64],
        on_step: &mut Listener<'_>,
    ) -> Result<Vec<Rendered>> {
        let order = Order::new(self, settings)?;
        let (mut end, mut at_end) = (Progress { step: 0, steps: 0 }, false);
        // A further attempt is not begun anew for those who look on: what is left stays the last step.
        let mut on_step = |at: Progress, guess: Option<&Guess<'_>>| {
            if !at_end {
                end = at;
                at_end = at.step == at.steps;
            }
            on_step(end, guess.filter(|_| seeds.len() == 1))
        };
        let mut best: Vec<Option<Rendered>> = seeds.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..seeds.len()).collect();
        for attempt in 0..ATTEMPTS {
            let items = open
                .iter()
                .map(|&i| order.item(&self.config, seeds[i], attempt));
            let items: Vec<Item> = items.collect::<Result<_>>()?;
            let sounds = self.render_items(&order, &items, &mut on_step)?;
            let mut failed = Vec::new();
            for ((i, item), sound) in open.into_iter().zip(items).zip(sounds) {
                let missed = miss(&sound);
                if missed > 0.0 && item.conditions.like {
                    failed.push(i);
                }
                if best[i].as_ref().is_none_or(|last| missed < miss(last)) {
                    best[i] = Some(sound);
                }
            }
            open = failed;
            if open.is_empty() {
                break;
            }
        }
        Ok(best.into_iter().flatten().collect())
    }

    /// The sounds of these items, in their order.
    fn render_items(
        &self,
        order: &Order<'_>,
        items: &[Item],
        on_step: &mut Listener<'_>,
    ) -> Result<Vec<Rendered>> {
        let mut members: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            let key = (item.generated, item.conditions.class.is_some());
            members.entry(key).or_default().push(i);
        }
        // A GPU samples the next sounds while the processor decodes the last.
        let most = match self.device {
            Device::Cpu => usize::MAX,
            _ => SAMPLED_ON_GPU,
        };
        let parts = members
            .iter()
            .flat_map(|(&(len_frames, _), members)| {
                members.chunks(most).map(move |part| (len_frames, part))
            })
            .map(|(len_frames, part)| {
                let items = part.iter().map(|&i| items[i]);
                Ok((part, self.group(order, len_frames, items)?))
            });
        let parts: Vec<(&[usize], Group<'_>)> = parts.collect::<Result<_>>()?;
        let rendered: Mutex<Vec<Option<Rendered>>> =
            Mutex::new(items.iter().map(|_| None).collect());
        let failed: Mutex<Option<Error>> = Mutex::default();
        let decode = |(members, group): &(&[usize], Group<'_>), values: &[f32]| -> Result<()> {
            let (t, c) = group.representation.shape();
            let sounds = values
                .par_chunks(t * c)
                .enumerate()
                .map(|(item, frames)| self.finished(group, item, frames))
                .collect::<Result<Vec<_>>>()?;
            let mut rendered = lock(&rendered);
            for (&i, sound) in members.iter().zip(sounds) {
                rendered[i] = Some(sound);
            }
            Ok(())
        };
        let mut before = 0;
        rayon::in_place_scope(|scope| -> Result<()> {
            for part in &parts {
                let mut taken = 0;
                let mut step = |at: Progress, guess: Option<&Guess<'_>>| {
                    taken = at.steps;
                    let at = Progress {
                        step: before + at.step,
                        steps: at.steps * parts.len(),
                    };
                    on_step(at, guess)
                };
                let values = self.sample(&part.1, &mut step)?;
                before += taken;
                if self.device.is_cpu() {
                    decode(part, &values)?;
                    continue;
                }
                let (decode, failed) = (&decode, &failed);
                scope.spawn(move |_| {
                    if let Err(error) = decode(part, &values) {
                        *lock(failed) = Some(error);
                    }
                });
            }
            Ok(())
        })?;
        if let Some(error) = lock(&failed).take() {
            return Err(error);
        }
        let sounds = lock(&rendered).drain(..).flatten().collect();
        Ok(sounds)
    }

    fn group<'a>(
        &self,
        order: &'a Order<'a>,
        len_frames: usize,
        items: impl Iterator<Item = Item>,
    ) -> Result<Group<'a>> {
        let representation = self.representation(len_frames)?;
        Ok(Group {
            order,
            items: items.collect(),
            format: representation.format(),
            representation,
        })
    }

    /// The frames of a group, sampled from noise or from what the settings begin with: `[B, T, C]`, row-major.
    fn sample(&self, group: &Group<'_>, on_step: &mut Listener<'_>) -> Result<Vec<f32>> {
        let settings = group.order.settings;
        let conditions = group.conditions();
        let cond = self.conditioning(group, &conditions)?;
        let seeds = group.items.iter().map(|item| item.seed);
        let mut noises: Vec<Noise> = seeds.map(|seed| Noise::at(seed, &[PLACE])).collect();
        let Start {
            x,
            sigmas,
            before,
            known,
        } = self.start(group, &mut noises, &mut |at| on_step(at, None))?;
        let has_class = conditions.iter().all(|item| item.class.is_some());
        let guidance = match &settings.init {
            Some(Init::Morph { .. }) => 1.0,
            _ if has_class => settings.guidance,
            _ => 1.0,
        };
        let guided = Guided::new(&self.denoiser, guidance, settings.guidance_interval)?;
        let inpainted = known
            .map(|(clip, is_kept)| Inpainted::new(&guided, &clip, &is_kept))
            .transpose()?;
        let denoiser: &dyn Denoiser = match &inpainted {
            Some(inpainted) => inpainted,
            None => &guided,
        };
        let steps = before + sigmas.len() - 1;
        let mut report = |step: &Step| {
            let at = Progress {
                step: before + step.index + 1,
                steps,
            };
            let guess = Guess {
                renderer: self,
                group,
                denoised: step.denoised,
                sigma: step.sigma,
            };
            on_step(at, Some(&guess))
        };
        let sampler = settings.sampler;
        let frames = sampler.run(denoiser, &cond, x, &sigmas, &mut noises, &mut report)?;
        let frames = match &inpainted {
            Some(inpainted) => inpainted.completed(&frames)?,
            None => frames,
        };
        let frames = frames.to_device(&Device::Cpu)?.flatten_all()?;
        Ok(frames.to_vec1::<f32>()?)
    }

    /// Class, descriptors and attributes of sounds of a group.
    pub(super) fn conditioning(
        &self,
        group: &Group<'_>,
        conditions: &[Conditions],
    ) -> Result<Conditioning> {
        let classes: Vec<Option<u32>> = conditions.iter().map(|item| item.class).collect();
        let descriptors = group.order.asked.row.repeat(conditions.len());
        let cond = Conditioning::new(&classes, &descriptors, &self.device)?;
        if self.config.attributes.is_empty() {
            return Ok(cond);
        }
        let knots = self.config.attribute_knots;
        let columns: Vec<f32> = conditions
            .iter()
            .flat_map(|item| knots.weights(&item.attributes))
            .collect();
        cond.with_attributes(&columns)
    }

    /// The sound of these frames, as the network left it; or with the harmonics of a `note`, in Hz.
    pub(super) fn decoded(
        &self,
        group: &Group<'_>,
        item: usize,
        frames: &[f32],
        note: Option<f32>,
    ) -> Result<Clip> {
        let item = &group.items[item];
        let (t, c) = group.representation.shape();
        let frames = Frames {
            frames: t,
            width: c,
            data: frames.to_vec(),
        };
        let with = Decoding {
            seed: item.seed,
            crop: self.config.training_crop(),
            note,
        };
        let damaged = || {
            let reason = "the model is damaged: it renders values that are not numbers";
            Error::checkpoint(&self.config.name, reason)
        };
        if frames.data.iter().any(|x| !x.is_finite()) {
            return Err(damaged());
        }
        let clip = group.representation.decode(&frames, &with)?;
        match clip.is_finite() {
            true => Ok(clip),
            false => Err(damaged()),
        }
    }

    /// The sound of these frames as it was asked for, ended and levelled.
    fn finished(&self, group: &Group<'_>, index: usize, frames: &[f32]) -> Result<Rendered> {
        let Order {
            settings,
            asked,
            remarks,
            ..
        } = group.order;
        let mut remarks = remarks.clone();
        let item = &group.items[index];
        let mut clip = self.decoded(group, index, frames, None)?;
        // A sound to begin with keeps its own course of pitch; models of before keep theirs.
        let is_fresh = !settings.init.as_ref().is_some_and(Init::is_kept)
            && self.config.attribute_knots == AttributeKnots::Fine;
        let told = item.conditions.attributes;
        let pitch = told.get(Attribute::Pitch).filter(|_| is_fresh);
        // Of a class without a pitch nothing else is told: no note can be made of it.
        let (clear, noisy) = match told.is_note() {
            true => (pitch, None),
            false => (None, pitch),
        };
        let note = clear.filter(|&hz| !mend::glides(&clip, hz));
        if note.is_some() {
            clip = self.decoded(group, index, frames, note)?;
        }
        let is_one_shot = self.config.training_crop() == Some(Crop::Onset);
        if is_one_shot {
            hold_tail(&mut clip, self.config.format.len_frames);
        }
        let mut clip = mend::mended(clip, asked, &item.conditions, noisy, &mut remarks);
        if is_one_shot && clip.len_frames() < item.wanted {
            fade_end(&mut clip);
        }
        let mut clip = clip.slice(0, item.wanted);
        mend::missed(&clip, asked, &mut remarks);
        let ending = match is_one_shot {
            true if settings.trim && settings.seconds.is_none() => Ending::Trimmed,
            true => Ending::Faded,
            false => Ending::Cut,
        };
        let level = settings.level;
        if let (Err(reached), Level::Loudness(asked)) = (finish(&mut clip, level, ending), level) {
            remarks.push(Remark::Loudness { asked, reached });
        }
        let class = item.conditions.class;
        Ok(Rendered {
            clip,
            class: class.map(|class| self.config.labels[class as usize].clone()),
            steps: settings.steps_taken(&self.config),
            remarks,
        })
    }
}

/// By how much a sound misses what was asked, in octaves.
fn miss(sound: &Rendered) -> f32 {
    let misses = sound.remarks.iter().map(Remark::miss);
    misses.fold(0.0, f32::max)
}
