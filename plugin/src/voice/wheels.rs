//! The wheels and pedals of the MIDI channels.

use super::NoteAddress;

/// MIDI channels.
const CHANNELS: usize = 16;

/// The state of a MIDI channel.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wheels {
    /// Semitones.
    pub(super) bend: f32,
    /// Whether the sustain pedal is down.
    pub(super) sustain: bool,
}

/// The wheels of all channels.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Channels([Wheels; CHANNELS]);

impl Channels {
    /// Those of a note's channel, or of none.
    pub(super) fn of(&self, note: &NoteAddress) -> Wheels {
        let channel = note.channel.map(usize::from);
        channel
            .and_then(|channel| self.0.get(channel))
            .copied()
            .unwrap_or_default()
    }

    /// Those of a channel, if there is one of this number.
    pub(super) fn get_mut(&mut self, channel: u8) -> Option<&mut Wheels> {
        self.0.get_mut(usize::from(channel))
    }
}
