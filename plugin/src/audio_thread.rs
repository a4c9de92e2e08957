//! The audio thread's part of an instance: notes in, frames out.

use std::ops::Range;

use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;

use crate::Instrument;
use crate::audition::Audition;
use crate::controllers::can_turn;
use crate::display::Given;
use crate::keymap::KEYS;
use crate::kit::{Playing, Route};
use crate::pad::PADS;
use crate::placing::PEAK;
use crate::voice::{Begin, NoteAddress, Polyphony, STRIDE};

/// How far the pitch wheel bends, up or down.
const BEND_SEMITONES: f32 = 2.0;

/// How far the note expression for brightness moves a cutoff, up or down.
const BRIGHTNESS_OCTAVES: f32 = 4.0;

impl<const MULTI: bool, const WHEELS: bool> Instrument<MULTI, WHEELS> {
    /// Takes new sounds if there are any, and overwrites `left` and `right` with the next frames. `own` are
    /// the pads' outputs, as many as there are, in silence; a pad whose own output is absent or too short goes to the
    /// main one. `next_event` gives the notes in their order; `ended` is called with each note that has ended and the
    /// frame of its end.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free. An instance whose host renders offline waits for the
    /// sound of each note.
    pub fn play(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        own: &mut [[&mut [f32]; 2]],
        next_event: &mut dyn FnMut() -> Option<NoteEvent<()>>,
        ended: &mut dyn FnMut(NoteAddress, u32),
    ) {
        self.store.turning().settle(self.params.knobs());
        self.follow_gain();
        let params = &self.params;
        self.inbox.date(&self.store, |pad| {
            (params.pads[pad].seed.value(), params.morph_amount(pad))
        });
        self.take_sounds();
        match self.inbox.audition() {
            Some(Audition::Play(sounds)) => self.auditions.play(sounds),
            Some(Audition::Stop) => self.auditions.stop(),
            None => {}
        }
        // The host knows nothing of what is played by hand.
        let ended = &mut |note: NoteAddress, frame: u32| {
            if !note.is_by_hand() {
                ended(note, frame);
            }
        };
        self.silence_unheard(&mut |note| ended(note, 0));
        self.play_by_hand(&mut |note| ended(note, 0));
        left.fill(0.0);
        right.fill(0.0);
        let len = left.len().min(right.len());
        let mut next = next_event();
        let mut start = 0;
        while start < len {
            while let Some(event) = next
                && event.timing() as usize <= start
            {
                self.note(event, ended);
                next = next_event();
            }
            let due = next
                .as_ref()
                .map_or(len, |event| (event.timing() as usize).min(len));
            let end = due.min(start + STRIDE);
            let (macros, tempo) = (self.params.macro_values(), self.display.tempo());
            for (pad, controls) in self.controls.iter_mut().enumerate() {
                if self.voices.is_pad_active(pad) {
                    let playing = &self.kit.pads[pad];
                    *controls = self.params.controls(pad, playing, macros, tempo);
                }
            }
            self.render(start..end, len, left, right, own, ended);
            start = end;
        }
        let mut peaks = [finish(left), finish(right)];
        for output in own {
            for (peak, channel) in peaks.iter_mut().zip(output) {
                *peak = peak.max(finish(channel));
            }
        }
        if peaks.iter().any(|peak| *peak > PEAK) {
            left.iter_mut()
                .chain(&mut *right)
                .for_each(|x| *x = safe(*x));
        }
        self.display.recorder().push(left, right);
        self.display.show_audition(self.auditions.playhead());
        self.display.show(&self.voices, peaks);
        // A host may send notes along with no frames at all.
        while let Some(event) = next {
            self.note(event, ended);
            next = next_event();
        }
    }

    /// Takes the newest sounds and settings.
    pub(crate) fn take_sounds(&mut self) {
        let voices = &mut self.voices;
        self.inbox.take(|pad, sound| voices.set_sound(pad, sound));
        self.kit = *self.inbox.kit();
    }

    /// Mixes the frames `range` of a block of `len` frames, at most [`STRIDE`] of them.
    fn render(
        &mut self,
        range: Range<usize>,
        len: usize,
        left: &mut [f32],
        right: &mut [f32],
        own: &mut [[&mut [f32]; 2]],
        ended: &mut dyn FnMut(NoteAddress, u32),
    ) {
        let mut gains = [0.0; STRIDE];
        let gains = &mut gains[..range.len()];
        self.params.gain.smoothed.next_block(gains, range.len());
        let pads = &self.kit.pads;
        let add = |to: &mut [f32], from: &[f32]| {
            for ((to, from), gain) in to[range.clone()].iter_mut().zip(from).zip(&*gains) {
                *to += from * gain;
            }
        };
        let mut mix = |pad: usize, from_left: &[f32], from_right: &[f32]| {
            let (left, right) = match (pads[pad].output, own.get_mut(pad)) {
                (Route::Own, Some([own_left, own_right]))
                    if own_left.len().min(own_right.len()) >= len =>
                {
                    (&mut **own_left, &mut **own_right)
                }
                _ => (&mut *left, &mut *right),
            };
            add(left, from_left);
            add(right, from_right);
        };
        self.voices.render(
            range.len(),
            self.sample_rate,
            &self.controls,
            &mut mix,
            &mut |note| ended(note, range.start as u32),
        );
        let mut mix = |from_left: &[f32], from_right: &[f32]| {
            add(left, from_left);
            add(right, from_right);
        };
        self.auditions
            .render(range.len(), self.sample_rate, &mut mix);
    }

    fn note(&mut self, event: NoteEvent<()>, ended: &mut dyn FnMut(NoteAddress, u32)) {
        let named = |id: VoiceID, channel: Channel, key: Key| NoteAddress {
            id: id.id(),
            channel: channel.number(),
            key: key.number(),
        };
        match event {
            NoteEvent::NoteOn {
                timing,
                voice_id,
                channel,
                key,
                velocity,
            } => {
                let note = named(voice_id, channel, key);
                let ended = &mut |note| ended(note, timing);
                match note.key {
                    Some(key) if !self.display.teach(Given::Key(key)) => {
                        self.note_on(note, key, velocity, ended);
                    }
                    _ => ended(note),
                }
            }
            NoteEvent::NoteOff {
                voice_id,
                channel,
                key,
                ..
            } => {
                self.await_returning();
                self.voices.note_off(named(voice_id, channel, key));
            }
            NoteEvent::Choke {
                timing,
                voice_id,
                channel,
                key,
            } => {
                self.voices
                    .choke(named(voice_id, channel, key), &mut |note| {
                        ended(note, timing);
                    });
            }
            NoteEvent::PolyTuning {
                voice_id,
                channel,
                key,
                tuning,
                ..
            } => {
                let note = named(voice_id, channel, key);
                self.voices.express(note, |voice| voice.pitch = tuning);
            }
            NoteEvent::PolyVolume {
                voice_id,
                channel,
                key,
                gain,
                ..
            } => {
                let note = named(voice_id, channel, key);
                self.voices
                    .express(note, |voice| voice.gain = gain.max(0.0));
            }
            NoteEvent::PolyPan {
                voice_id,
                channel,
                key,
                pan,
                ..
            } => {
                let note = named(voice_id, channel, key);
                self.voices.express(note, |voice| voice.pan = pan);
            }
            NoteEvent::PolyBrightness {
                voice_id,
                channel,
                key,
                brightness,
                ..
            } => {
                // The middle leaves the cutoff where it is.
                let note = named(voice_id, channel, key);
                let octaves = BRIGHTNESS_OCTAVES * (2.0 * brightness - 1.0);
                self.voices.express(note, |voice| voice.cutoff = octaves);
            }
            NoteEvent::PolyModulation {
                voice_id,
                poly_modulation_id,
                normalized_offset,
                ..
            } => {
                if let Some((pad, change)) = self
                    .params
                    .modulation(poly_modulation_id, normalized_offset)
                {
                    self.voices.modulate(voice_id, pad, change);
                }
            }
            NoteEvent::MidiPitchBend { channel, value, .. } => {
                self.voices
                    .bend(channel, BEND_SEMITONES * (2.0 * value - 1.0));
            }
            NoteEvent::MidiCC {
                timing,
                channel,
                cc,
                value,
            } => {
                if can_turn(cc) {
                    if !self.display.teach(Given::Controller(cc)) {
                        self.turn(cc, value);
                    }
                    return;
                }
                self.await_returning();
                match cc {
                    control_change::DAMPER_PEDAL => self.voices.sustain(channel, value >= 0.5),
                    control_change::ALL_SOUND_OFF => {
                        let all = NoteAddress {
                            id: None,
                            channel: Some(channel),
                            key: None,
                        };
                        self.voices.choke(all, &mut |note| ended(note, timing));
                    }
                    control_change::ALL_NOTES_OFF => self.voices.release_all(channel),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Turns what a controller turns; `value` is 0 to 1.
    fn turn(&mut self, controller: u8, value: f32) {
        for (knob, param) in self.params.knobs().enumerate() {
            if self.kit.controllers.of(knob) == Some(controller) {
                self.store.turning().turn(knob, param, value);
                self.display.repaint().request_repaint();
            }
        }
        self.follow_gain();
    }

    /// Has the gain of the whole glide to where it is turned.
    fn follow_gain(&mut self) {
        let gain = self.params.main_gain();
        if self.gain != gain {
            self.gain = gain;
            self.params.gain.smoothed.set_target(self.sample_rate, gain);
        }
    }

    /// Does for monophonic pads what [`await_sound`](Self::await_sound) does: a key that is let go may begin a note
    /// anew.
    fn await_returning(&mut self) {
        for pad in 0..PADS {
            if self.kit.pads[pad].voices == Polyphony::Mono {
                self.await_sound(pad);
            }
        }
    }

    /// Begins what a key plays.
    fn note_on(
        &mut self,
        note: NoteAddress,
        key: u8,
        velocity: f32,
        ended: &mut dyn FnMut(NoteAddress),
    ) {
        let heard = self.kit.heard();
        let played = self.kit.route(key).filter(|&(pad, _)| heard[pad]);
        if played.clone().next().is_none() {
            return ended(note);
        }
        // Pads that share a key do not silence each other.
        for (pad, _) in played.clone() {
            self.await_sound(pad);
            self.choke_group(pad, ended);
        }
        for (pad, key) in played {
            self.begin(note, Begin { pad, key, velocity }, ended);
        }
    }

    /// Fades out what sounds of pads that are not heard.
    fn silence_unheard(&mut self, ended: &mut dyn FnMut(NoteAddress)) {
        let heard = self.kit.heard();
        if heard.contains(&false) {
            self.voices.choke_pads(|pad| !heard[pad], ended);
        }
    }

    /// Plays what was done to pads and keys in the window.
    fn play_by_hand(&mut self, ended: &mut dyn FnMut(NoteAddress)) {
        for pad in 0..PADS {
            let Some(touched) = self.display.take_pad(pad) else {
                continue;
            };
            let note = NoteAddress::of_pad(pad);
            if touched.before {
                self.voices.note_off(note);
            }
            if let Some(velocity) = touched.pressed
                && self.kit.heard()[pad]
            {
                self.choke_group(pad, ended);
                let key = None;
                self.begin(note, Begin { pad, key, velocity }, ended);
            }
            if touched.after {
                self.voices.note_off(note);
            }
        }
        for key in 0..KEYS {
            let Some(touched) = self.display.take_key(key) else {
                continue;
            };
            let note = NoteAddress::of_key(key);
            if touched.before {
                self.voices.note_off(note);
            }
            if let Some(velocity) = touched.pressed {
                self.note_on(note, key, velocity, ended);
            }
            if touched.after {
                self.voices.note_off(note);
            }
        }
    }

    /// Silences the notes that one of a pad silences.
    fn choke_group(&mut self, pad: usize, ended: &mut dyn FnMut(NoteAddress)) {
        let pads = &self.kit.pads;
        let Playing { choke, voices, .. } = pads[pad];
        if choke > 0 {
            // A monophonic pad ends its own notes itself, and remembers which keys are held.
            let chokes = |other: usize| other != pad || voices == Polyphony::Poly;
            let same = |other: usize| chokes(other) && pads[other].choke == choke;
            self.voices.choke_pads(same, ended);
        }
    }

    fn begin(&mut self, note: NoteAddress, begin: Begin, ended: &mut dyn FnMut(NoteAddress)) {
        let pad = begin.pad;
        let (macros, tempo) = (self.params.macro_values(), self.display.tempo());
        let playing = &self.kit.pads[pad];
        let controls = self.params.controls(pad, playing, macros, tempo);
        self.controls[pad] = controls;
        self.voices.note_on(note, begin, &controls, ended);
    }
}

/// A sample of the main output: as it is up to [`PEAK`], and from there on ever nearer to full scale.
fn safe(x: f32) -> f32 {
    let beyond = x.abs() - PEAK;
    if beyond <= 0.0 {
        return x;
    }
    let room = 1.0 - PEAK;
    (PEAK + room * (beyond / room).tanh()).copysign(x)
}

/// Makes subnormal samples zero, with which the host's effects would be slow; returns the peak.
fn finish(channel: &mut [f32]) -> f32 {
    channel.iter_mut().fold(0.0, |peak, x| {
        *x = if x.abs() < f32::MIN_POSITIVE { 0.0 } else { *x };
        peak.max(x.abs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_output_is_as_it_is_below_its_safety_and_never_above_full_scale() {
        for x in [0.0, 1e-6, 0.5, -0.89, PEAK] {
            assert_eq!(safe(x), x);
        }
        // It goes on with the same slope, rises all the way, and is odd.
        assert!((safe(PEAK + 1e-3) - PEAK - 1e-3).abs() < 1e-5);
        let rising: Vec<f32> = (0..200).map(|i| safe(0.02 * i as f32)).collect();
        assert!(rising.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(rising.iter().all(|x| *x <= 1.0) && safe(-4.0) == -safe(4.0));
    }
}
