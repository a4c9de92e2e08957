//! The voices: notes in, audio out.
//!
//! Everything here but the making of a [`PlayableSound`] runs on the audio thread. Nothing allocates, locks or waits,
//! and nothing frees: whoever hands a sound to [`Voices::set_sound`] holds it for as long as a voice may play it.

use std::sync::Arc;

use crate::pad::PADS;

mod controls;
mod envelope;
mod filter;
mod looping;
mod note;
mod sinc;
mod sound;

pub use controls::{Mode, Offsets, PadControls};
use envelope::{Envelope, Phase};
pub use filter::FilterKind;
use filter::{Coefficients, State};
use looping::{Loop, frame_at};
pub use note::NoteAddress;
use sinc::Sinc;
pub use sound::PlayableSound;

/// Notes that sound at once; the oldest makes room for one more.
pub const VOICES: usize = 64;

/// Places for voices: those that sound and those that fade out because they had to make room.
const SLOTS: usize = VOICES + 32;

/// Frames that are rendered with the same pitch and filter.
pub const STRIDE: usize = 32;

/// How long a voice takes to fall silent when it is stolen or choked.
const FADE_MS: f32 = 4.0;

/// Time constant with which the residual of a cut voice decays.
const RESIDUAL_MS: f32 = 2.0;

/// A voice below this is over: -100 dB.
const SILENT: f32 = 1e-5;

/// MIDI channels.
const CHANNELS: usize = 16;

/// The state of a MIDI channel.
#[derive(Debug, Clone, Copy, Default)]
struct Wheels {
    /// Semitones.
    bend: f32,
    /// Whether the sustain pedal is down.
    sustain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Held,
    /// Let go of, and kept by the pedal.
    Sustained,
    Released,
    /// On the way out, with the gain left; no longer one of the sounding voices.
    Fading(f32),
}

#[derive(Debug)]
struct Voice {
    sound: Arc<PlayableSound>,
    pad: usize,
    note: NoteAddress,
    stage: Stage,
    phase: Phase,
    /// Frames played, from the end that comes first.
    position: f64,
    velocity: f32,
    /// Semitones by which its key is above the one that plays the sound as it is.
    key: f32,
    expressions: Offsets,
    modulation: Offsets,
    envelope: f32,
    /// Left and right, at the end of the last stride; none before the first.
    gains: Option<[f32; 2]>,
    /// Left and right; the left one is for both where the sound is the same.
    filters: [State; 2],
    /// The frame it played last, left and right: a cut would make the output jump by it.
    last: [f32; 2],
    /// The number of its note, counted from the first.
    age: u64,
}

/// All voices of one instance.
#[derive(Debug)]
pub struct Voices {
    slots: [Option<Voice>; SLOTS],
    sounds: [Option<Arc<PlayableSound>>; PADS],
    /// The jumps that cut voices left, for each pad, left and right; they decay to nothing.
    residuals: [[f32; 2]; PADS],
    /// By MIDI channel.
    wheels: [Wheels; CHANNELS],
    notes: u64,
    sinc: &'static Sinc,
}

impl Default for Voices {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| None),
            sounds: Default::default(),
            residuals: [[0.0; 2]; PADS],
            wheels: [Wheels::default(); CHANNELS],
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
    /// Notes of `pad` that begin from now on play `sound`; those that sound keep theirs.
    pub fn set_sound(&mut self, pad: usize, sound: Option<Arc<PlayableSound>>) {
        self.sounds[pad] = sound;
    }

    /// Whether anything is to be heard.
    #[must_use]
    pub fn is_active(&self) -> bool {
        (0..PADS).any(|pad| self.is_pad_active(pad))
    }

    /// Whether anything is to be heard of a pad.
    #[must_use]
    pub fn is_pad_active(&self, pad: usize) -> bool {
        self.slots.iter().flatten().any(|voice| voice.pad == pad) || is_heard(self.residuals[pad])
    }

    /// Frames at `sample_rate` that a note of any pad may sound after it was let go of: its sound's length at the pad's
    /// pitch, or the release where a note ends with its key.
    #[must_use]
    pub fn tail(&self, sample_rate: f32, controls: impl Fn(usize) -> PadControls) -> u32 {
        let tails = self.sounds.iter().enumerate().filter_map(|(pad, sound)| {
            let (sound, controls) = (sound.as_ref()?, controls(pad));
            let seconds = match controls.mode {
                Mode::OneShot => sound.seconds() * (-controls.pitch / 12.0).exp2(),
                Mode::Gate | Mode::Loop => controls.release_ms * 2.0 / 1000.0,
            };
            Some(seconds + FADE_MS / 1000.0)
        });
        (tails.fold(0.0, f32::max) * sample_rate).ceil() as u32
    }

    /// The position of the newest voice of a pad, as a fraction of its sound.
    #[must_use]
    pub fn playhead(&self, pad: usize) -> Option<f32> {
        let of_pad = self.slots.iter().flatten().filter(|voice| voice.pad == pad);
        let newest = of_pad.max_by_key(|voice| voice.age)?;
        Some((newest.position / newest.sound.len_frames().max(1) as f64) as f32)
    }

    /// Silence, at once; wheels and pedals are where they are at first.
    pub fn reset(&mut self) {
        self.slots.fill_with(|| None);
        self.wheels = Default::default();
        self.residuals = [[0.0; 2]; PADS];
    }

    /// Begins a note; `controls` are those of its pad. Notes that end here, be it this one because there
    /// is no sound yet, are reported to `ended`.
    pub fn note_on(
        &mut self,
        note: NoteAddress,
        begin: Begin,
        controls: &PadControls,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        let Some(sound) = self.sounds[begin.pad].clone() else {
            return ended(note);
        };
        let sounding = |voice: &&mut Voice| !matches!(voice.stage, Stage::Fading(_));
        if self.slots.iter_mut().flatten().filter(sounding).count() >= VOICES {
            let voices = self.slots.iter_mut().flatten().filter(sounding);
            if let Some(oldest) = voices.min_by_key(|voice| voice.age) {
                oldest.stage = Stage::Fading(1.0);
                ended(oldest.note);
            }
        }
        let slot = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                // More notes than fades have had time for: cut what has faded most.
                let left = |slot: &Option<Voice>| match slot.as_ref().map(|voice| voice.stage) {
                    Some(Stage::Fading(left)) => left,
                    _ => f32::INFINITY,
                };
                (0..SLOTS)
                    .min_by(|&a, &b| left(&self.slots[a]).total_cmp(&left(&self.slots[b])))
                    .unwrap_or(0)
            });
        if let Some(cut) = &self.slots[slot] {
            let residual = &mut self.residuals[cut.pad];
            *residual = [residual[0] + cut.last[0], residual[1] + cut.last[1]];
        }
        self.notes += 1;
        let start = f64::from(controls.start.clamp(0.0, 1.0)) * sound.len_frames() as f64;
        self.slots[slot] = Some(Voice {
            pad: begin.pad,
            note,
            stage: Stage::Held,
            phase: Phase::Attack,
            position: start.floor(),
            velocity: begin.velocity.clamp(0.0, 1.0),
            key: begin.key.map_or(0.0, |key| key + sound.tuning),
            expressions: Offsets::NONE,
            modulation: Offsets::NONE,
            envelope: 0.0,
            gains: None,
            filters: Default::default(),
            last: [0.0; 2],
            age: self.notes,
            sound,
        });
    }

    /// Fades out all voices of the pads that `chokes` says.
    pub fn choke_pads(
        &mut self,
        chokes: impl Fn(usize) -> bool,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        self.fade(|voice| chokes(voice.pad), ended);
    }

    /// Lets go of the voices that `note` means; those of a channel whose pedal is down sound on.
    pub fn note_off(&mut self, note: NoteAddress) {
        for voice in self.slots.iter_mut().flatten() {
            if voice.stage == Stage::Held && note.means(&voice.note) {
                voice.stage = match voice.wheels(&self.wheels).sustain {
                    true => Stage::Sustained,
                    false => Stage::Released,
                };
            }
        }
    }

    /// Moves the sustain pedal of a MIDI channel.
    pub fn sustain(&mut self, channel: u8, is_down: bool) {
        let Some(wheels) = self.wheels.get_mut(usize::from(channel)) else {
            return;
        };
        wheels.sustain = is_down;
        if !is_down {
            self.release(channel, |stage| stage == Stage::Sustained);
        }
    }

    /// Bends the voices of a MIDI channel, and those to come, by so many semitones.
    pub fn bend(&mut self, channel: u8, semitones: f32) {
        if let Some(wheels) = self.wheels.get_mut(usize::from(channel)) {
            wheels.bend = semitones;
        }
    }

    /// Lets go of all notes of a MIDI channel, whatever its pedal says.
    pub fn release_all(&mut self, channel: u8) {
        self.release(channel, |stage| {
            matches!(stage, Stage::Held | Stage::Sustained)
        });
    }

    fn release(&mut self, channel: u8, which: impl Fn(Stage) -> bool) {
        for voice in self.slots.iter_mut().flatten() {
            if voice.note.channel == Some(channel) && which(voice.stage) {
                voice.stage = Stage::Released;
            }
        }
    }

    /// Lets go of the newest voice of a pad.
    pub fn note_off_pad(&mut self, pad: usize) {
        let of_pad = self
            .slots
            .iter_mut()
            .flatten()
            .filter(|voice| voice.pad == pad);
        if let Some(newest) = of_pad.max_by_key(|voice| voice.age) {
            newest.stage = Stage::Released;
        }
    }

    /// Silences the voices that `note` means, as fast as goes without a click.
    pub fn choke(&mut self, note: NoteAddress, ended: &mut dyn FnMut(NoteAddress)) {
        self.fade(|voice| note.means(&voice.note), ended);
    }

    fn fade(&mut self, which: impl Fn(&Voice) -> bool, ended: &mut dyn FnMut(NoteAddress)) {
        for voice in self.slots.iter_mut().flatten() {
            if !matches!(voice.stage, Stage::Fading(_)) && which(voice) {
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
    /// frames, left and right, with its pad. Notes that come to their end are reported to `ended`.
    pub fn render(
        &mut self,
        len: usize,
        sample_rate: f32,
        controls: &[PadControls; PADS],
        mix: &mut Mix<'_>,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        let rate = sample_rate.max(1.0);
        let mut buffers = [[0f32; STRIDE]; 2];
        for slot in &mut self.slots {
            let Some(voice) = slot else { continue };
            let [left, right] = &mut buffers;
            let (left, right) = (&mut left[..len], &mut right[..len]);
            let bend = voice.wheels(&self.wheels).bend;
            let over = voice.render(left, right, rate, bend, &controls[voice.pad], self.sinc);
            mix(voice.pad, left, right);
            if over {
                if !matches!(voice.stage, Stage::Fading(_)) {
                    ended(voice.note);
                }
                // Not freed here: whoever set the sound holds it too.
                *slot = None;
            }
        }
        let kept = (-1000.0 / (RESIDUAL_MS * rate)).exp();
        for (pad, residual) in self.residuals.iter_mut().enumerate() {
            if !is_heard(*residual) {
                *residual = [0.0; 2];
                continue;
            }
            let [left, right] = &mut buffers;
            for (left, right) in left[..len].iter_mut().zip(&mut right[..len]) {
                *residual = residual.map(|x| x * kept);
                (*left, *right) = (residual[0], residual[1]);
            }
            mix(pad, &left[..len], &right[..len]);
        }
    }
}

fn is_heard(frame: [f32; 2]) -> bool {
    frame.iter().any(|x| x.abs() > SILENT)
}

impl Voice {
    /// Those of its channel, or of none.
    fn wheels(&self, all: &[Wheels; CHANNELS]) -> Wheels {
        let channel = self.note.channel.map(usize::from);
        channel
            .and_then(|channel| all.get(channel))
            .copied()
            .unwrap_or_default()
    }

    /// Overwrites `left` and `right`; returns whether the voice has ended.
    fn render(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        rate: f32,
        bend: f32,
        controls: &PadControls,
        sinc: &Sinc,
    ) -> bool {
        let offsets = [self.expressions, self.modulation];
        let pitch = controls.pitch + self.key + bend + offsets.iter().map(|o| o.pitch).sum::<f32>();
        let step = f64::from(self.sound.sample_rate / rate)
            * f64::from(pitch.clamp(-96.0, 96.0) / 12.0).exp2();
        let sinc = sinc.at_step(step);
        let to = self.gains(controls);
        let from = self.gains.replace(to).unwrap_or(to);
        let octaves = offsets.iter().map(|o| o.cutoff).sum::<f32>();
        let filter = Coefficients::new(
            controls.filter,
            controls.cutoff * octaves.exp2(),
            controls.resonance,
            rate,
        );
        let envelope = Envelope::new(controls, rate);
        let released = self.stage == Stage::Released && controls.mode != Mode::OneShot;
        let len = self.sound.len_frames() as f64;
        let looped = (controls.mode == Mode::Loop)
            .then(|| Loop::new(len, self.sound.sample_rate, controls.start))
            .flatten();
        // Pass by pass over the stride, so that little of each is done frame by frame.
        let mut positions = [0f64; STRIDE];
        let positions = &mut positions[..left.len()];
        let mut count = self.advance(positions, step, looped);
        let positions = &positions[..count];
        let read = |channel: &[f32], out: &mut [f32]| {
            for (out, &position) in out.iter_mut().zip(positions) {
                *out = sinc.read(channel, frame_at(position, len, controls.reverse));
                if let Some(looped) = looped
                    && let Some(fraction) = looped.fraction(position, len)
                {
                    let begin = frame_at(position - looped.length, len, controls.reverse);
                    *out += fraction * (sinc.read(channel, begin) - *out);
                }
            }
        };
        read(&self.sound.left, left);
        self.filters[0].run(&filter, &mut left[..count]);
        if let Some(channel) = &self.sound.right {
            read(channel, right);
            self.filters[1].run(&filter, &mut right[..count]);
        } else {
            right[..count].copy_from_slice(&left[..count]);
        }

        let mut factors = [0f32; STRIDE];
        let fade = 1000.0 / (FADE_MS * rate);
        count = self.shape(&mut factors[..count], envelope, released, fade);
        let per_frame = 1.0 / left.len() as f32;
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
        count < left.len() || matches!(self.stage, Stage::Fading(remaining) if remaining <= 0.0)
    }

    /// The positions of the next frames, `step` apart; returns how many there are before the sound ends.
    fn advance(&mut self, positions: &mut [f64], step: f64, looped: Option<Loop>) -> usize {
        let len = self.sound.len_frames() as f64;
        let (mut position, mut count) = (self.position, positions.len());
        for (i, place) in positions.iter_mut().enumerate() {
            if position >= len {
                let Some(looped) = looped else {
                    count = i;
                    break;
                };
                position = len - looped.length + (position - len) % looped.length;
            }
            *place = position;
            position += step;
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
        let velocity = 1.0 - controls.velocity * (1.0 - self.velocity);
        let gain = controls.gain * velocity * self.expressions.gain * self.modulation.gain;
        let pan = controls.pan + self.expressions.pan + self.modulation.pan;
        let pan = pan.clamp(-1.0, 1.0);
        [gain * (1.0 - pan).min(1.0), gain * (1.0 + pan).min(1.0)]
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;

    const RATE: u32 = 48_000;

    const PLAIN: PadControls = PadControls::PLAIN;

    fn sine(hz: f64, len: usize) -> Clip {
        let at = |i: usize| (std::f64::consts::TAU * hz * i as f64 / f64::from(RATE)).sin() as f32;
        Clip::new(RATE, vec![(0..len).map(at).collect()])
    }

    fn level(value: f32, len: usize) -> Clip {
        Clip::new(RATE, vec![vec![value; len]])
    }

    fn voices(clip: &Clip) -> Voices {
        let mut voices = Voices::default();
        voices.set_sound(0, Some(Arc::new(PlayableSound::new(clip))));
        voices
    }

    fn note(key: u8) -> NoteAddress {
        NoteAddress {
            id: None,
            channel: Some(0),
            key: Some(key),
        }
    }

    impl Voices {
        fn begin(&mut self, key: u8, controls: &PadControls) {
            let begin = Begin {
                pad: 0,
                key: Some(f32::from(key) - 60.0),
                velocity: 1.0,
            };
            self.note_on(note(key), begin, controls, &mut |_| {});
        }

        fn play(&mut self, len: usize, controls: &PadControls) -> [Vec<f32>; 2] {
            let mut out = [vec![0.0; len], vec![0.0; len]];
            let [left, right] = &mut out;
            for (l, r) in left.chunks_mut(STRIDE).zip(right.chunks_mut(STRIDE)) {
                let (all, len) = ([*controls; PADS], l.len());
                let mut mix = |_: usize, from_l: &[f32], from_r: &[f32]| {
                    l.iter_mut().zip(from_l).for_each(|(to, x)| *to += x);
                    r.iter_mut().zip(from_r).for_each(|(to, x)| *to += x);
                };
                self.render(len, RATE as f32, &all, &mut mix, &mut |_| {});
            }
            out
        }

        fn left(&mut self, len: usize, controls: &PadControls) -> Vec<f32> {
            let [left, _] = self.play(len, controls);
            left
        }
    }

    #[test]
    fn the_pedal_keeps_what_is_let_go_of_and_panic_does_not_ask_it() {
        let looped = PadControls {
            mode: Mode::Loop,
            release_ms: 10.0,
            ..PLAIN
        };
        let loudest = |samples: Vec<f32>| samples.iter().fold(0f32, |a, x| a.max(x.abs()));
        for panic in [false, true] {
            let mut voices = voices(&level(0.5, 4800));
            voices.sustain(0, true);
            voices.begin(60, &looped);
            voices.note_off(note(60));
            voices.left(48_000, &looped);
            assert!(loudest(voices.left(4800, &looped)) > 0.4, "kept");
            match panic {
                true => voices.release_all(0),
                false => voices.sustain(0, false),
            }
            voices.left(4800, &looped);
            assert!(!voices.is_active(), "{panic}");
        }
        // The pedal of another channel is none of its business, and a reset lifts them all.
        let mut voices = voices(&level(0.5, 4800));
        voices.sustain(1, true);
        voices.begin(60, &looped);
        voices.note_off(note(60));
        voices.left(4800, &looped);
        assert!(!voices.is_active());
        voices.sustain(0, true);
        voices.reset();
        voices.begin(60, &looped);
        voices.note_off(note(60));
        voices.left(4800, &looped);
        assert!(!voices.is_active());
    }

    #[test]
    fn the_wheel_bends_the_notes_of_its_channel() {
        let mut voices = voices(&sine(1000.0, 48_000));
        for (semitones, hz) in [(0.0, 1000.0), (2.0, 1122.462), (-2.0, 890.899)] {
            voices.bend(0, semitones);
            voices.bend(1, 7.0);
            voices.begin(60, &PLAIN);
            let heard = voices.left(12_000, &PLAIN);
            let found = frequency(&heard[1000..], hz);
            assert!((found - hz).abs() < 0.5, "{semitones}: {found}");
            voices.reset();
        }
    }

    #[test]
    fn a_sound_with_a_pitch_is_played_in_tune_by_keys_alone() {
        // 20 cents above the A over middle C.
        let hz = 440.0 * 2f64.powf(0.2 / 12.0);
        let mut voices = Voices::default();
        let clip = sine(hz, 48_000);
        let sound = PlayableSound::new(&clip).tuned(Some(hz as f32));
        voices.set_sound(0, Some(Arc::new(sound)));
        for (key, wanted) in [
            (Some(0.0), 523.251),
            (Some(-3.0), 440.0),
            (Some(9.0), 880.0),
            (None, hz),
        ] {
            let begin = Begin {
                pad: 0,
                key,
                velocity: 1.0,
            };
            voices.note_on(note(60), begin, &PLAIN, &mut |_| {});
            let heard = voices.left(12_000, &PLAIN);
            let found = frequency(&heard[1000..], wanted);
            assert!((found - wanted).abs() < 0.3, "{key:?}: {found}");
            voices.reset();
        }
    }

    #[test]
    fn a_tail_is_as_long_as_the_longest_note() {
        let mut voices = voices(&level(0.5, 48_000));
        let of = |voices: &Voices, controls: PadControls| voices.tail(48_000.0, |_| controls);
        let fade = (FADE_MS * 48.0) as u32;
        assert_eq!(Voices::default().tail(48_000.0, |_| PLAIN), 0, "no sound");
        assert!(of(&voices, PLAIN).abs_diff(48_000 + fade) <= 1);
        let low = PadControls {
            pitch: -12.0,
            ..PLAIN
        };
        assert!(of(&voices, low).abs_diff(96_000 + fade) <= 1);
        voices.begin(60, &low);
        voices.note_off(note(60));
        voices.left(of(&voices, low) as usize, &low);
        assert!(!voices.is_active());
    }

    fn largest_jump(samples: &[f32]) -> f32 {
        let jumps = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        jumps.fold(0.0, f32::max)
    }

    /// Frequency from the phase between two places of a steady sine, in Hz.
    fn frequency(samples: &[f32], near: f64) -> f64 {
        let phase = |from: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for i in 0..4096 {
                let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / 4096.0).cos();
                let angle = std::f64::consts::TAU * near * (from + i) as f64 / f64::from(RATE);
                let x = window * f64::from(samples[from + i]);
                (re, im) = (re + x * angle.cos(), im - x * angle.sin());
            }
            im.atan2(re)
        };
        let apart = 4000;
        let turn = std::f64::consts::TAU;
        let moved = (phase(1000 + apart) - phase(1000)).rem_euclid(turn);
        let moved = if moved > turn / 2.0 {
            moved - turn
        } else {
            moved
        };
        near + moved / turn * f64::from(RATE) / apart as f64
    }

    #[test]
    fn a_plain_pad_plays_the_clip_bit_for_bit_and_then_silence() {
        let clip = sine(440.0, 1000);
        let mut voices = voices(&clip);
        voices.begin(60, &PLAIN);
        let out = voices.left(1200, &PLAIN);
        assert_eq!(out[..1000], clip.channels()[0]);
        assert!(out[1000..].iter().all(|&x| x == 0.0));
        assert!(!voices.is_active());
    }

    #[test]
    fn pitch_is_right_within_a_tenth_of_a_cent() {
        for (key, pitch) in [(60, 0.37), (72, 0.0), (60, -24.0), (48, 5.5), (67, 12.0)] {
            let controls = PadControls { pitch, ..PLAIN };
            let mut voices = voices(&sine(220.0, 96_000));
            voices.begin(key, &controls);
            let out = voices.left(12_000, &controls);
            let semitones = f64::from(key) - 60.0 + f64::from(pitch);
            let wanted = 220.0 * (semitones / 12.0).exp2();
            let cents = 1200.0 * (frequency(&out, wanted) / wanted).log2();
            assert!(cents.abs() < 0.1, "key {key}, pitch {pitch}: {cents} cents");
        }
    }

    #[test]
    fn a_clip_keeps_its_pitch_at_another_rate() {
        let mut clip = sine(300.0, 48_000).channels().to_vec();
        let clip = Clip::new(24_000, vec![clip.remove(0)]);
        let mut voices = voices(&clip);
        voices.begin(60, &PLAIN);
        let out = voices.left(12_000, &PLAIN);
        assert!((frequency(&out, 150.0) - 150.0).abs() < 0.01);
    }

    #[test]
    fn reversed_it_is_the_same_from_the_end() {
        let clip = sine(440.0, 1000);
        let controls = PadControls {
            reverse: true,
            ..PLAIN
        };
        let mut voices = voices(&clip);
        voices.begin(60, &controls);
        let mut out = voices.left(1000, &controls);
        out.reverse();
        assert_eq!(out, clip.channels()[0]);
    }

    #[test]
    fn a_late_start_leaves_out_its_part_softly() {
        let controls = PadControls {
            start: 0.25,
            ..PLAIN
        };
        let mut voices = voices(&level(1.0, 4000));
        voices.begin(60, &controls);
        let out = voices.left(4000, &controls);
        assert!(largest_jump(&out[..2000]) < 0.03);
        assert_eq!((out[100], out[2999], out[3000]), (1.0, 1.0, 0.0));
    }

    #[test]
    fn loops_go_on_without_a_click_until_the_key_is_let_go() {
        let controls = PadControls {
            mode: Mode::Loop,
            release_ms: 50.0,
            ..PLAIN
        };
        // 100.3 periods: end and beginning do not fit.
        let mut voices = voices(&sine(100.3, 48_000));
        voices.begin(60, &controls);
        let out = voices.left(300_000, &controls);
        assert!(largest_jump(&out) < 0.016, "{}", largest_jump(&out));
        let late = out[290_000..]
            .iter()
            .fold(0f32, |peak, x| peak.max(x.abs()));
        assert!(late > 0.99);
        voices.note_off(note(60));
        let out = voices.left(10_000, &controls);
        assert!(largest_jump(&out) < 0.016);
        assert!(!voices.is_active());
        // A sound of no length cannot be looped, and ends.
        let mut none = self::voices(&level(1.0, 1));
        none.begin(60, &controls);
        none.left(64, &controls);
        assert!(!none.is_active());
    }

    #[test]
    fn the_envelope_rises_holds_and_falls_by_60_db_in_the_stated_times() {
        let controls = PadControls {
            mode: Mode::Gate,
            attack_ms: 10.0,
            hold_ms: 5.0,
            decay_ms: 100.0,
            sustain: 0.25,
            release_ms: 50.0,
            ..PLAIN
        };
        let mut voices = voices(&level(1.0, 48_000));
        voices.begin(60, &controls);
        let out = voices.left(9600, &controls);
        assert!((out[239] - 0.5).abs() < 1e-3 && (out[479] - 1.0).abs() < 1e-3);
        assert_eq!(out[480..719], [1.0; 239]);
        assert!(
            (out[720 + 4800] - (0.25 + 0.75e-3)).abs() < 1e-4,
            "{}",
            out[5520]
        );
        assert!((out[9599] - 0.25).abs() < 3e-5);
        voices.note_off(note(61));
        assert!((voices.left(32, &controls)[31] - 0.25).abs() < 3e-5);
        voices.note_off(note(60));
        let out = voices.left(2400, &controls);
        assert!((out[2399] - 0.25e-3).abs() < 1e-5, "{}", out[2399]);
    }

    #[test]
    fn a_one_shot_does_not_listen_to_its_key() {
        let mut voices = voices(&level(1.0, 9600));
        voices.begin(60, &PLAIN);
        voices.note_off(note(60));
        assert_eq!(voices.left(4800, &PLAIN), [1.0; 4800]);
    }

    #[test]
    fn gain_pan_and_velocity_are_factors() {
        let controls = PadControls {
            gain: 0.5,
            pan: 0.5,
            ..PLAIN
        };
        let quiet = |controls: &PadControls| {
            let mut voices = voices(&level(1.0, 100));
            let begin = Begin {
                pad: 0,
                key: Some(0.0),
                velocity: 0.5,
            };
            voices.note_on(note(60), begin, controls, &mut |_| {});
            let [left, right] = voices.play(10, controls);
            (left[5], right[5])
        };
        assert_eq!(quiet(&controls), (0.125, 0.25));
        assert_eq!(
            quiet(&PadControls {
                velocity: 0.0,
                ..controls
            }),
            (0.25, 0.5)
        );
    }

    #[test]
    fn expressions_and_modulation_change_one_voice() {
        let mut voices = voices(&level(1.0, 9600));
        let named = |id| NoteAddress {
            id: Some(id),
            channel: None,
            key: None,
        };
        for id in [1, 2] {
            let begin = Begin {
                pad: 0,
                key: Some(0.0),
                velocity: 1.0,
            };
            voices.note_on(named(id), begin, &PLAIN, &mut |_| {});
        }
        assert_eq!(voices.left(32, &PLAIN)[31], 2.0);
        voices.express(named(1), |voice| voice.gain = 0.5);
        voices.modulate(2, 0, |voice| voice.pan = 1.0);
        voices.modulate(2, 1, |voice| voice.gain = 9.0);
        let [left, right] = voices.play(64, &PLAIN);
        assert_eq!((left[63], right[63]), (0.5, 1.5));
        assert!(largest_jump(&left) < 0.06, "it glides there");
    }

    #[test]
    fn stealing_does_not_click() {
        // A slow sine moves by at most 2π · 50 / 48000 = 0.0065 a frame; 64 of them, and a few that
        // fade by 1/192 a frame, mostly cancel. A cut would jump by up to 1.
        let mut voices = voices(&sine(50.0, 480_000));
        let mut out = Vec::new();
        for i in 0..400 {
            voices.begin(60, &PLAIN);
            out.extend(voices.left(90 + i % 7, &PLAIN));
        }
        assert!(out.iter().any(|x| x.abs() > 2.0));
        assert!(largest_jump(&out) < 0.05, "{}", largest_jump(&out));
    }

    #[test]
    fn even_a_storm_of_notes_does_not_click() {
        // One note a frame, far more than there are places to fade in: up to 64 sines of equal phase,
        // fades, and the residuals of cut voices. Without these it would be 1.37.
        let mut voices = voices(&sine(50.0, 480_000));
        let mut out = Vec::new();
        for _ in 0..10 {
            out.extend(voices.left(700, &PLAIN));
            for _ in 0..200 {
                voices.begin(60, &PLAIN);
                out.extend(voices.left(1, &PLAIN));
            }
        }
        assert!(out.iter().any(|x| x.abs() > 50.0));
        assert!(largest_jump(&out) < 1.0, "{}", largest_jump(&out));
    }

    #[test]
    fn the_oldest_of_64_makes_room_and_is_reported() {
        let mut voices = voices(&sine(100.0, 48_000));
        let mut ended = Vec::new();
        for key in 0..66 {
            let begin = Begin {
                pad: 0,
                key: Some(0.0),
                velocity: 1.0,
            };
            voices.note_on(note(key), begin, &PLAIN, &mut |note| ended.push(note));
        }
        assert_eq!(ended, [note(0), note(1)]);
    }

    #[test]
    fn choked_pads_fade_within_four_milliseconds() {
        let mut voices = voices(&level(1.0, 48_000));
        voices.set_sound(7, Some(Arc::new(PlayableSound::new(&level(0.5, 48_000)))));
        voices.begin(60, &PLAIN);
        let begin = Begin {
            pad: 7,
            key: Some(0.0),
            velocity: 1.0,
        };
        voices.note_on(note(43), begin, &PLAIN, &mut |_| {});
        voices.left(100, &PLAIN);
        let mut ended = Vec::new();
        voices.choke_pads(|pad| pad == 0, &mut |note| ended.push(note));
        assert_eq!(ended, [note(60)]);
        let out = voices.left(200, &PLAIN);
        assert!(
            largest_jump(&out) < 0.0053 && out[195] == 0.5,
            "{}",
            largest_jump(&out)
        );
        assert!(!voices.is_pad_active(0) && voices.is_pad_active(7));
    }

    #[test]
    fn without_a_sound_there_is_silence_and_the_note_is_over() {
        let mut voices = Voices::default();
        let mut ended = Vec::new();
        let begin = Begin {
            pad: 3,
            key: Some(0.0),
            velocity: 1.0,
        };
        voices.note_on(note(60), begin, &PLAIN, &mut |note| ended.push(note));
        assert_eq!(ended, [note(60)]);
        assert_eq!(voices.left(500, &PLAIN), [0.0; 500]);
    }

    #[test]
    fn a_note_keeps_the_sound_it_began_with() {
        let mut voices = voices(&level(0.25, 1000));
        voices.begin(60, &PLAIN);
        voices.set_sound(0, Some(Arc::new(PlayableSound::new(&level(0.5, 1000)))));
        assert_eq!(voices.left(10, &PLAIN)[5], 0.25);
        assert!(
            voices
                .playhead(0)
                .is_some_and(|position| (position - 0.01).abs() < 1e-6)
        );
        voices.begin(60, &PLAIN);
        assert_eq!(voices.left(10, &PLAIN)[5], 0.75);
        voices.set_sound(0, None);
        assert_eq!(voices.left(10, &PLAIN)[5], 0.75);
    }

    #[test]
    fn odd_sounds_and_settings_are_played_without_harm() {
        let numbers = [f32::NAN, f32::INFINITY, -1e30, 0.0, 1e30];
        for clip in [
            Clip::new(1, vec![vec![]]),
            Clip::new(RATE, vec![vec![1.0]]),
            Clip::new(RATE, vec![vec![f32::NAN, f32::INFINITY, 1.0]; 2]),
            sine(5000.0, 5000),
        ] {
            for mode in [Mode::OneShot, Mode::Gate, Mode::Loop] {
                for pitch in [-24.0, 0.0, 24.0] {
                    let mut voices = voices(&clip);
                    let controls = PadControls {
                        pitch,
                        mode,
                        filter: FilterKind::Lowpass,
                        cutoff: 20_000.0,
                        resonance: 1.0,
                        ..PLAIN
                    };
                    voices.begin(127, &controls);
                    let out = voices.left(500, &controls);
                    assert!(out.iter().all(|x| x.is_finite()));
                }
                for number in numbers {
                    // Nothing to hear is asked of these, only that they come to an end.
                    let mut voices = voices(&clip);
                    let controls = PadControls {
                        start: number,
                        attack_ms: number,
                        mode,
                        ..PLAIN
                    };
                    voices.begin(0, &controls);
                    voices.left(500, &controls);
                }
            }
        }
    }
}
