//! One voice: a note, and its next frames.

use std::sync::Arc;

use super::controls::bounded;
use super::drive::Saturator;
use super::edges::{Edges, Ending, Span};
use super::envelope::{Envelope, Phase};
use super::filter::{Coefficients, State};
use super::glide::Glide;
use super::looping::{Loop, frame_at};
use super::sinc::Sinc;
use super::tone::{Lows, Slope};
use super::{Mode, NoteAddress, Offsets, PadControls, PadSounds, PlayableSound, STRIDE};

/// How long a voice takes to fall silent when it is stolen or choked.
pub(super) const FADE_MS: f32 = 4.0;

/// How long drive and tone take to move by 1.
const MOVE_MS: f32 = 10.0;

/// What a voice does next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    Held,
    /// Let go of, and kept by the pedal.
    Sustained,
    Released,
    /// On the way out, with the gain left; no longer one of the sounding voices.
    Fading(f32),
}

/// A note that sounds.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) pad: usize,
    pub(super) note: NoteAddress,
    pub(super) stage: Stage,
    pub(super) expressions: Offsets,
    pub(super) modulation: Offsets,
    /// Semitones by which its key is above the one that plays the sound as it is.
    pub(super) key: Glide,
    /// The frame it played last, left and right: a cut would make the output jump by it.
    pub(super) last: [f32; 2],
    /// The number of its note, counted from the first.
    pub(super) age: u64,
    sounds: Arc<PadSounds>,
    /// Which of them it plays.
    take: usize,
    phase: Phase,
    /// Frames played, from the end that comes first.
    position: f64,
    /// Where it began.
    first: f64,
    edges: Edges,
    velocity: f32,
    /// Whether its velocity made it begin later in the sound.
    begins_late: bool,
    envelope: f32,
    /// Left and right, at the end of the last stride; none before the first.
    gains: Option<[f32; 2]>,
    /// Left and right; the left one is for both where the sound is the same. So are the filters and tones.
    saturators: [Saturator; 2],
    filters: [State; 2],
    tones: [Lows; 2],
    /// At the end of the last stride; none before the first. So is the tone.
    drive: Option<f32>,
    tone: Option<f32>,
}

impl Voice {
    /// A note of `pad` that begins with its next frame.
    pub(super) fn new(
        pad: usize,
        note: NoteAddress,
        velocity: f32,
        key: Glide,
        (sounds, take): (Arc<PadSounds>, usize),
        controls: &PadControls,
        age: u64,
    ) -> Self {
        let late = controls.velocity_late(velocity);
        let start = f64::from(bounded(controls.start + late, 0.0, 1.0));
        let position = (start * sounds.take(take).len_frames() as f64).floor();
        Self {
            pad,
            note,
            stage: Stage::Held,
            expressions: Offsets::NONE,
            modulation: Offsets::NONE,
            key,
            last: [0.0; 2],
            age,
            sounds,
            take,
            phase: Phase::Attack,
            position,
            first: position,
            edges: Edges::NEW,
            velocity,
            begins_late: late > 0.0,
            envelope: 0.0,
            gains: None,
            saturators: Default::default(),
            filters: Default::default(),
            tones: Default::default(),
            drive: None,
            tone: None,
        }
    }

    /// Whether it is on the way out, and no longer one of the sounding voices.
    pub(super) fn is_fading(&self) -> bool {
        matches!(self.stage, Stage::Fading(_))
    }

    /// How far it has played its sound, as a fraction.
    pub(super) fn playhead(&self) -> f32 {
        (self.position / self.sound().len_frames().max(1) as f64) as f32
    }

    /// Seconds of its sound that are left, at its own pitch.
    pub(super) fn seconds_left(&self) -> f32 {
        let frames = self.sound().len_frames() as f64 - self.position;
        (frames.max(0.0) / f64::from(self.sound().sample_rate)) as f32
    }

    fn sound(&self) -> &PlayableSound {
        self.sounds.take(self.take)
    }

    /// Overwrites `left` and `right`; returns whether the voice has ended.
    pub(super) fn render(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        rate: f32,
        bend: f32,
        controls: &PadControls,
        sinc: &Sinc,
    ) -> bool {
        let stride = left.len();
        let offsets = [self.expressions, self.modulation];
        let speed = f64::from(self.sound().sample_rate / rate);
        let step = |key: f32| {
            let pitch = controls.pitch + key + bend + offsets.iter().map(|o| o.pitch).sum::<f32>();
            speed * f64::from(pitch.clamp(-96.0, 96.0) / 12.0).exp2()
        };
        let ms = stride as f32 * 1000.0 / rate;
        let steps = match self.key.advance(ms) {
            [from, to] if from == to => [step(to); 2],
            keys => keys.map(step),
        };
        let sinc = sinc.at_step(steps[0].max(steps[1]));

        let to = self.gains(controls);
        let from = self.gains.replace(to).unwrap_or(to);
        let octaves = offsets.iter().map(|o| o.cutoff).sum::<f32>()
            - controls.velocity_octaves(self.velocity);
        let filter = Coefficients::new(
            controls.filter,
            controls.cutoff * octaves.exp2(),
            controls.resonance,
            rate,
        );
        let drives = approach(&mut self.drive, bounded(controls.drive, 0.0, 1.0), ms);
        let slopes = approach(&mut self.tone, bounded(controls.tone, -1.0, 1.0), ms)
            .map(|tone| Slope::new(tone, rate));
        let is_cut_into = controls.start > 0.0 || self.begins_late;
        let envelope = Envelope::new(controls, rate, is_cut_into);
        let released = self.stage == Stage::Released && controls.mode != Mode::OneShot;
        let len = self.sound().len_frames() as f64;
        let span = Span::new(controls, len, rate);
        let begins_anew = controls.mode == Mode::Loop && span.cut.is_some();
        let looped = (controls.mode == Mode::Loop && !begins_anew)
            .then(|| Loop::new(len, self.sound().sample_rate, controls.looped_between()))
            .flatten();
        // The handle at a loop's end was moved to before it: it falls silent before it goes back.
        let fastest = steps[0].max(steps[1]);
        let strays = looped.filter(|looped| self.position > looped.end + 2.0 * fastest);
        let looped = looped.filter(|_| strays.is_none());
        let ending = match (looped, strays) {
            (None, None) => Ending::Ends,
            (Some(_), _) => Ending::None,
            (_, Some(_)) => Ending::Strays,
        };
        let anew = begins_anew
            .then(|| self.edges.anew(&span, stride))
            .flatten();
        // Pass by pass over the stride, so that little of each is done frame by frame.
        let mut positions = [0f64; STRIDE];
        let positions = &mut positions[..stride];
        // What begins anew, or goes back, has silence after the sound.
        let last = match begins_anew || strays.is_some() {
            true => f64::INFINITY,
            false => len,
        };
        let growth = (steps[1] - steps[0]) / stride as f64;
        let (mut count, mut part) = (0, 0..anew.unwrap_or(stride));
        loop {
            let step = steps[0] + part.start as f64 * growth;
            let positions = &mut positions[part.clone()];
            count += self.advance(positions, step, growth, last, looped);
            if part.end == stride {
                break;
            }
            self.position = self.first;
            part = part.end..stride;
        }
        let positions = &positions[..count];
        let read = |channel: &[f32], out: &mut [f32]| {
            for (out, &position) in out.iter_mut().zip(positions) {
                *out = sinc.read(channel, frame_at(position, len, controls.reverse));
                if let Some(looped) = looped
                    && let Some(fraction) = looped.fraction(position)
                {
                    let begin = frame_at(position - looped.length, len, controls.reverse);
                    *out += fraction * (sinc.read(channel, begin) - *out);
                }
            }
        };
        let sound = self.sounds.take(self.take);
        let channels = [Some(&sound.left), sound.right.as_ref()];
        for (i, out) in [&mut *left, &mut *right].into_iter().enumerate() {
            let Some(channel) = channels[i] else { continue };
            let out = &mut out[..count];
            read(channel, out);
            self.saturators[i].run(drives, out, stride);
            self.filters[i].run(&filter, out);
            self.tones[i].run(slopes, out, stride);
        }
        if sound.right.is_none() {
            right[..count].copy_from_slice(&left[..count]);
        }

        let mut factors = [0f32; STRIDE];
        let fade = 1000.0 / (FADE_MS * rate);
        count = self.shape(&mut factors[..count], envelope, released, fade);
        if ending == Ending::Strays || !self.edges.are_open(&span) {
            let factors = &mut factors[..count];
            let at = (positions, 0.5 * (steps[0] + steps[1]));
            let anew = (anew, is_cut_into);
            self.edges.shape(factors, &span, at, ending, anew);
        }
        self.edges.advance(&span, stride, anew);
        let is_past = ending == Ending::Ends
            && !begins_anew
            && self.edges.is_silent()
            && (self.position >= span.end || self.edges.is_cut());
        if let Some(looped) = strays.filter(|_| self.edges.is_silent()) {
            self.position = looped.begin();
        }
        let per_frame = 1.0 / stride as f32;
        for (channel, (from, to)) in [&mut *left, &mut *right]
            .into_iter()
            .zip(from.into_iter().zip(to))
        {
            for (i, (x, factor)) in channel[..count].iter_mut().zip(&factors).enumerate() {
                *x *= factor * (from + (i + 1) as f32 * per_frame * (to - from));
            }
            channel[count..].fill(0.0);
        }
        if count > 0 {
            self.last = [left[count - 1], right[count - 1]];
        }
        let has_faded = matches!(self.stage, Stage::Fading(remaining) if remaining <= 0.0);
        count < stride || has_faded || is_past
    }

    /// The positions of the next frames, `step` apart, which grows by so much each frame; returns how many there are
    /// before the frame `last`.
    fn advance(
        &mut self,
        positions: &mut [f64],
        mut step: f64,
        growth: f64,
        last: f64,
        looped: Option<Loop>,
    ) -> usize {
        let (mut position, mut count) = (self.position, positions.len());
        let last = looped.map_or(last, |looped| looped.end);
        for (i, place) in positions.iter_mut().enumerate() {
            if position >= last {
                let Some(looped) = looped else {
                    count = i;
                    break;
                };
                position = looped.begin() + (position - looped.end) % looped.length;
            }
            *place = position;
            position += step;
            step += growth;
        }
        self.position = position;
        count
    }

    /// The factors of envelope and fade for the next frames; returns how many there are before the voice ends.
    fn shape(
        &mut self,
        factors: &mut [f32],
        envelope: Envelope,
        released: bool,
        fade: f32,
    ) -> usize {
        let mut count = factors.len();
        let (mut level, mut phase) = (self.envelope, self.phase);
        for (i, factor) in factors.iter_mut().enumerate() {
            if envelope.is_over(level, phase, released) {
                count = i;
                break;
            }
            envelope.advance(&mut level, &mut phase, released);
            *factor = level;
        }
        (self.envelope, self.phase) = (level, phase);
        if let Stage::Fading(remaining) = &mut self.stage {
            for (i, factor) in factors[..count].iter_mut().enumerate() {
                *factor *= remaining.max(0.0);
                *remaining -= fade;
                if *remaining <= 0.0 {
                    count = i + 1;
                    break;
                }
            }
        }
        count
    }

    /// Left and right, with everything but the envelope.
    fn gains(&self, controls: &PadControls) -> [f32; 2] {
        let velocity = controls.velocity_gain(self.velocity);
        let gain = controls.gain * velocity * self.expressions.gain * self.modulation.gain;
        let pan = controls.pan + self.expressions.pan + self.modulation.pan;
        let pan = pan.clamp(-1.0, 1.0);
        [gain * (1.0 - pan).min(1.0), gain * (1.0 + pan).min(1.0)]
    }
}

/// Where `last`, if there is one, is now, and where it is after so many ms on its way to `target`.
fn approach(last: &mut Option<f32>, target: f32, ms: f32) -> [f32; 2] {
    let from = last.unwrap_or(target);
    let (way, most) = (target - from, ms / MOVE_MS);
    let to = if way.abs() > most {
        from + most.copysign(way)
    } else {
        target
    };
    *last = Some(to);
    [from, to]
}
