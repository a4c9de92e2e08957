//! The audio thread's part of an instance: notes in, frames out.

use std::ops::Range;

use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;

use crate::Instrument;
use crate::kit::Route;
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
        let pads = &self.params.pads;
        self.inbox.date(&self.store, |pad| {
            (pads[pad].seed.value(), pads[pad].morph_amount.value())
        });
        self.take_sounds();
        for pad in 0..PADS {
            if self.display.take_hit(pad) {
                self.hit(pad);
            }
        }
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
            let macros = self.params.macros.values();
            for (pad, controls) in self.controls.iter_mut().enumerate() {
                if self.voices.is_pad_active(pad) {
                    *controls = self.params.pads[pad].controls(&self.kit.pads[pad], macros);
                }
            }
            self.render(start..end, len, left, right, own, ended);
            start = end;
        }
        let outputs = own.iter_mut().flatten().map(|channel| &mut **channel);
        let loudest = [&mut *left, &mut *right]
            .into_iter()
            .chain(outputs)
            .map(finish)
            .fold(0.0, f32::max);
        if loudest > PEAK {
            left.iter_mut()
                .chain(&mut *right)
                .for_each(|x| *x = safe(*x));
        }
        self.display.recorder().push(left, right);
        self.display.show(&self.voices, loudest);
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
        let mut mix = |pad: usize, from_left: &[f32], from_right: &[f32]| {
            let (left, right) = match (pads[pad].output, own.get_mut(pad)) {
                (Route::Own, Some([own_left, own_right]))
                    if own_left.len().min(own_right.len()) >= len =>
                {
                    (&mut **own_left, &mut **own_right)
                }
                _ => (&mut *left, &mut *right),
            };
            for (to, from) in [(left, from_left), (right, from_right)] {
                for ((to, from), gain) in to[range.clone()].iter_mut().zip(from).zip(&*gains) {
                    *to += from * gain;
                }
            }
        };
        self.voices.render(
            range.len(),
            self.sample_rate,
            &self.controls,
            &mut mix,
            &mut |note| ended(note, range.start as u32),
        );
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
                self.note_on(note, velocity, &mut |note| ended(note, timing));
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

    /// Does for monophonic pads what [`await_sound`](Self::await_sound) does: a key that is let go may begin a note
    /// anew.
    fn await_returning(&mut self) {
        for pad in 0..PADS {
            if self.kit.pads[pad].voices == Polyphony::Mono {
                self.await_sound(pad);
            }
        }
    }

    fn note_on(&mut self, note: NoteAddress, velocity: f32, ended: &mut dyn FnMut(NoteAddress)) {
        match note.key.and_then(|key| self.kit.route(key)) {
            Some((pad, key)) => {
                self.await_sound(pad);
                self.begin(note, Begin { pad, key, velocity }, ended);
            }
            None => ended(note),
        }
    }

    /// Plays a pad once, for the window: the host does not know this note.
    fn hit(&mut self, pad: usize) {
        let note = NoteAddress {
            id: None,
            channel: None,
            key: None,
        };
        let begin = Begin {
            pad,
            key: None,
            velocity: 1.0,
        };
        self.begin(note, begin, &mut |_| {});
        self.voices.note_off_pad(pad);
    }

    fn begin(&mut self, note: NoteAddress, begin: Begin, ended: &mut dyn FnMut(NoteAddress)) {
        let pad = begin.pad;
        let macros = self.params.macros.values();
        let controls = self.params.pads[pad].controls(&self.kit.pads[pad], macros);
        if controls.choke > 0 {
            let pads = &self.kit.pads;
            // A monophonic pad ends its own notes itself, and remembers which keys are held.
            let chokes = |other: usize| other != pad || controls.voices == Polyphony::Poly;
            let same = |other: usize| chokes(other) && pads[other].choke == controls.choke;
            self.voices.choke_pads(same, ended);
        }
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
