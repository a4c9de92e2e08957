//! The voices: notes in, audio out.
//!
//! Everything here but the making of [`PadSounds`] runs on the audio thread. Nothing allocates, locks or waits,
//! and nothing frees: whoever hands sounds to [`Voices::set_sound`] holds them for as long as a voice may play them.

use std::sync::Arc;

use crate::pad::PADS;

mod audition;
mod controls;
mod drive;
mod edges;
mod envelope;
mod filter;
mod glide;
mod held;
mod looping;
mod note;
mod residual;
mod sinc;
mod single;
mod sound;
mod takes;
mod tone;
mod wheels;

pub use audition::Auditions;
use controls::bounded;
pub use controls::{Mode, Offsets, PadControls, Polyphony};
pub use filter::FilterKind;
pub(crate) use filter::damping;
use glide::Glide;
use held::HeldKeys;
pub use note::NoteAddress;
use residual::Residual;
use sinc::Sinc;
use single::{FADE_MS, Stage, Voice};
pub use sound::PlayableSound;
pub use takes::{PadSounds, Takes};
use wheels::Channels;

/// Notes that sound at once; the oldest makes room for one more.
pub const VOICES: usize = 64;

/// Places for voices: those that sound and those that fade out because they had to make room.
const SLOTS: usize = VOICES + 32;

/// Frames that are rendered with the same pitch and filter.
pub const STRIDE: usize = 32;

/// The longest glide, ms.
const MOST_GLIDE_MS: f32 = 10_000.0;

/// A voice below this is over: -100 dB.
const SILENT: f32 = 1e-5;

/// All voices of one instance.
#[derive(Debug)]
pub struct Voices {
    slots: [Option<Voice>; SLOTS],
    sounds: [Option<Arc<PadSounds>>; PADS],
    /// What cut voices left, for each pad.
    residuals: [Residual; PADS],
    wheels: Channels,
    /// The keys that are down, of each pad that is monophonic.
    held: [HeldKeys; PADS],
    /// The notes that each pad has played in turn.
    turns: [usize; PADS],
    notes: u64,
    sinc: &'static Sinc,
}

impl Default for Voices {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| None),
            sounds: Default::default(),
            residuals: Default::default(),
            wheels: Channels::default(),
            held: Default::default(),
            turns: [0; PADS],
            notes: 0,
            sinc: Sinc::shared(),
        }
    }
}

/// Called with a pad's number and frames of one of its voices, left and right.
pub type Mix<'a> = dyn FnMut(usize, &[f32], &[f32]) + 'a;

/// How a note begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Begin {
    /// The pad that plays.
    pub pad: usize,
    /// Semitones above the key that plays the sound at its own pitch, or near it: in tune, where the sound has a pitch.
    /// None for its own pitch as it is.
    pub key: Option<f32>,
    /// `0..=1`.
    pub velocity: f32,
}

impl Voices {
    /// Notes of `pad` that begin from now on play `sounds`; those that sound keep theirs.
    pub fn set_sound(&mut self, pad: usize, sounds: Option<Arc<PadSounds>>) {
        self.sounds[pad] = sounds;
    }

    /// Whether anything is to be heard.
    #[must_use]
    pub fn is_active(&self) -> bool {
        (0..PADS).any(|pad| self.is_pad_active(pad))
    }

    /// Whether anything is to be heard of a pad, or will be with the next frame.
    #[must_use]
    pub fn is_pad_active(&self, pad: usize) -> bool {
        self.slots.iter().flatten().any(|voice| voice.pad == pad)
            || self.held[pad].returns()
            || self.residuals[pad].is_heard()
    }

    /// Frames at `sample_rate` that a note of any pad may sound after it was let go of: the length of its longest
    /// take at the pad's pitch, or the release where a note ends with its key.
    #[must_use]
    pub fn tail(&self, sample_rate: f32, controls: impl Fn(usize) -> PadControls) -> u32 {
        let tails = self.sounds.iter().enumerate().filter_map(|(pad, sounds)| {
            let (sounds, controls) = (sounds.as_ref()?, controls(pad));
            let seconds = match controls.mode {
                Mode::OneShot => sounds.seconds() * (-controls.pitch / 12.0).exp2(),
                Mode::Gate | Mode::Loop => controls.release_ms * 2.0 / 1000.0,
            };
            Some(seconds + FADE_MS / 1000.0)
        });
        (tails.fold(0.0, f32::max) * sample_rate).ceil() as u32
    }

    /// The position of the newest voice of a pad, as a fraction of its sound.
    #[must_use]
    pub fn playhead(&self, pad: usize) -> Option<f32> {
        self.newest(pad).map(Voice::playhead)
    }

    /// The newest voice of a pad, be it on the way out.
    fn newest(&self, pad: usize) -> Option<&Voice> {
        let of_pad = self.slots.iter().flatten().filter(|voice| voice.pad == pad);
        of_pad.max_by_key(|voice| voice.age)
    }

    /// Silence, at once; wheels and pedals are where they are at first, no key is held, and pads that play their takes in
    /// turn begin with the first.
    pub fn reset(&mut self) {
        self.slots.fill_with(|| None);
        self.wheels = Channels::default();
        self.held.iter_mut().for_each(HeldKeys::clear);
        self.turns = [0; PADS];
        self.residuals = Default::default();
    }

    /// Begins a note; `controls` are those of its pad. Notes that end here, be it this one because there
    /// is no sound yet, are reported to `ended`; so are those of a monophonic pad that make room for this one, even though
    /// the pad may go back to them.
    pub fn note_on(
        &mut self,
        note: NoteAddress,
        begin: Begin,
        controls: &PadControls,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        let pad = begin.pad;
        let Some(sounds) = self.sounds[pad].clone() else {
            return ended(note);
        };
        let velocity = bounded(begin.velocity, 0.0, 1.0);
        let take = match controls.take {
            Takes::First => 0,
            Takes::RoundRobin => {
                let turn = self.turns[pad];
                self.turns[pad] = turn.wrapping_add(1);
                turn % sounds.count()
            }
            Takes::Velocity => sounds.for_velocity(controls.curved(velocity)),
        };
        let key = begin.key.map_or(0.0, |key| key + sounds.take(take).tuning);
        let mut glide = Glide::at(key);
        if controls.voices == Polyphony::Mono {
            if let Some(last) = self.newest(pad) {
                let ms = bounded(controls.glide_ms, 0.0, MOST_GLIDE_MS);
                glide = Glide::between(last.key.now(), key, ms);
            }
            self.fade(|voice| voice.pad == pad, ended);
            self.held[pad].press(note, begin);
        } else {
            self.held[pad].clear();
        }
        self.make_room(ended);
        let slot = self.free_slot();
        self.notes += 1;
        let sound = (sounds, take);
        let voice = Voice::new(pad, note, velocity, glide, sound, controls, self.notes);
        self.slots[slot] = Some(voice);
    }

    /// Fades out the oldest voice if there are as many as may sound.
    fn make_room(&mut self, ended: &mut dyn FnMut(NoteAddress)) {
        let sounding = |voice: &&mut Voice| !voice.is_fading();
        if self.slots.iter_mut().flatten().filter(sounding).count() >= VOICES {
            let voices = self.slots.iter_mut().flatten().filter(sounding);
            if let Some(oldest) = voices.min_by_key(|voice| voice.age) {
                oldest.stage = Stage::Fading(1.0);
                ended(oldest.note);
            }
        }
    }

    /// A place for one more voice; where there are more notes than fades have had time for, that of the voice that has
    /// faded most, which is cut.
    fn free_slot(&mut self) -> usize {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            let left = |slot: &Option<Voice>| match slot.as_ref().map(|voice| voice.stage) {
                Some(Stage::Fading(left)) => left,
                _ => f32::INFINITY,
            };
            (0..SLOTS)
                .min_by(|&a, &b| left(&self.slots[a]).total_cmp(&left(&self.slots[b])))
                .unwrap_or(0)
        });
        if let Some(cut) = &self.slots[slot] {
            self.residuals[cut.pad].cut(cut.last);
        }
        slot
    }

    /// Fades out all voices of the pads that `chokes` says.
    pub fn choke_pads(
        &mut self,
        chokes: impl Fn(usize) -> bool,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        for (pad, held) in self.held.iter_mut().enumerate() {
            if chokes(pad) {
                held.clear();
            }
        }
        self.fade(|voice| chokes(voice.pad), ended);
    }

    /// Lets go of the voices that `note` means; those of a channel whose pedal is down sound on. A monophonic pad goes
    /// back to an earlier key at the next frame, unless another note begins before.
    pub fn note_off(&mut self, note: NoteAddress) {
        for held in &mut self.held {
            if let Some(newest) = held.remove(|held| note.means(held)) {
                held.set_returns(!self.wheels.of(&newest).sustain);
            }
        }
        for voice in self.slots.iter_mut().flatten() {
            if voice.stage == Stage::Held && note.means(&voice.note) {
                voice.stage = match self.wheels.of(&voice.note).sustain {
                    true => Stage::Sustained,
                    false => Stage::Released,
                };
            }
        }
    }

    /// Moves the sustain pedal of a MIDI channel.
    pub fn sustain(&mut self, channel: u8, is_down: bool) {
        let Some(wheels) = self.wheels.get_mut(channel) else {
            return;
        };
        wheels.sustain = is_down;
        if !is_down {
            self.release(channel, |stage| stage == Stage::Sustained, true);
        }
    }

    /// Bends the voices of a MIDI channel, and those to come, by so many semitones.
    pub fn bend(&mut self, channel: u8, semitones: f32) {
        if let Some(wheels) = self.wheels.get_mut(channel) {
            wheels.bend = semitones;
        }
    }

    /// Lets go of all notes of a MIDI channel, whatever its pedal says.
    pub fn release_all(&mut self, channel: u8) {
        for held in &mut self.held {
            held.remove(|held| held.channel == Some(channel));
        }
        let sounds = |stage| matches!(stage, Stage::Held | Stage::Sustained);
        self.release(channel, sounds, false);
    }

    /// Lets go of the notes of a channel at these stages; `returns` says whether their pads go back to earlier keys.
    fn release(&mut self, channel: u8, which: impl Fn(Stage) -> bool, returns: bool) {
        for voice in self.slots.iter_mut().flatten() {
            if voice.note.channel == Some(channel) && which(voice.stage) {
                voice.stage = Stage::Released;
                self.held[voice.pad].set_returns(returns);
            }
        }
    }

    /// Silences the voices that `note` means, as fast as goes without a click.
    pub fn choke(&mut self, note: NoteAddress, ended: &mut dyn FnMut(NoteAddress)) {
        for held in &mut self.held {
            held.remove(|held| note.means(held));
        }
        self.fade(|voice| note.means(&voice.note), ended);
    }

    fn fade(&mut self, which: impl Fn(&Voice) -> bool, ended: &mut dyn FnMut(NoteAddress)) {
        for voice in self.slots.iter_mut().flatten() {
            if !voice.is_fading() && which(voice) {
                voice.stage = Stage::Fading(1.0);
                ended(voice.note);
            }
        }
    }

    /// Changes the note expressions of the voices that `note` means.
    pub fn express(&mut self, note: NoteAddress, change: impl Fn(&mut Offsets)) {
        for voice in self.slots.iter_mut().flatten() {
            if note.means(&voice.note) {
                change(&mut voice.expressions);
            }
        }
    }

    /// Changes the modulation of the voice that the host calls `id`, if it plays `pad`.
    pub fn modulate(&mut self, id: i32, pad: usize, change: impl Fn(&mut Offsets)) {
        for voice in self.slots.iter_mut().flatten() {
            if voice.note.id == Some(id) && voice.pad == pad {
                change(&mut voice.modulation);
            }
        }
    }

    /// Renders the next `len` frames, at most [`STRIDE`], at `sample_rate`. `mix` is given each voice's
    /// frames, left and right, with its pad. A monophonic pad whose newest key was let go goes back to an earlier one
    /// first. Notes that come to their end are reported to `ended`.
    pub fn render(
        &mut self,
        len: usize,
        sample_rate: f32,
        controls: &[PadControls; PADS],
        mix: &mut Mix<'_>,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        for (pad, controls) in controls.iter().enumerate() {
            if let Some((note, begin)) = self.held[pad].take_return()
                && controls.voices == Polyphony::Mono
                && controls.mode != Mode::OneShot
            {
                self.note_on(note, begin, controls, ended);
            }
        }
        let rate = sample_rate.max(1.0);
        let mut buffers = [[0f32; STRIDE]; 2];
        for slot in &mut self.slots {
            let Some(voice) = slot else { continue };
            let [left, right] = &mut buffers;
            let (left, right) = (&mut left[..len], &mut right[..len]);
            let bend = self.wheels.of(&voice.note).bend;
            let over = voice.render(left, right, rate, bend, &controls[voice.pad], self.sinc);
            mix(voice.pad, left, right);
            if over {
                if !voice.is_fading() {
                    ended(voice.note);
                }
                // Not freed here: whoever set the sound holds it too.
                *slot = None;
            }
        }
        for (pad, residual) in self.residuals.iter_mut().enumerate() {
            let [left, right] = &mut buffers;
            let (left, right) = (&mut left[..len], &mut right[..len]);
            if residual.render(left, right, rate) {
                mix(pad, left, right);
            }
        }
    }
}

#[cfg(test)]
mod tests;
