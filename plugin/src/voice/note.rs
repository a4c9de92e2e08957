//! The address by which a host names a note.

/// Channels and keys of notes that are played by hand, beyond those of MIDI.
const PAD_CHANNEL: u8 = 16;
const KEY_CHANNEL: u8 = 17;
const FIRST_HAND_KEY: u8 = 128;

/// The names that a host has for a note; an absent one stands for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoteAddress {
    /// The host's note id.
    pub id: Option<i32>,
    /// 0 to 15.
    pub channel: Option<u8>,
    /// 0 to 127; 60 is middle C.
    pub key: Option<u8>,
}

impl NoteAddress {
    /// A note without any name, which the host does not know.
    pub const NONE: Self = Self {
        id: None,
        channel: None,
        key: None,
    };

    /// A pad that is played by hand in the window; no event of the host's means it, unless it means all.
    #[must_use]
    pub fn of_pad(pad: usize) -> Self {
        Self {
            id: None,
            channel: Some(PAD_CHANNEL),
            key: Some(FIRST_HAND_KEY + pad as u8),
        }
    }

    /// A key that is played by hand in the window, 0 to 127; no event of the host's means it, unless it means all.
    #[must_use]
    pub fn of_key(key: u8) -> Self {
        Self {
            id: None,
            channel: Some(KEY_CHANNEL),
            key: Some(FIRST_HAND_KEY | key),
        }
    }

    /// Whether it is played by hand in the window, so that the host does not know it.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.channel
            .is_some_and(|channel| matches!(channel, PAD_CHANNEL | KEY_CHANNEL))
    }

    /// Whether an event for `self` concerns the voice that began as `voice`.
    pub(super) fn means(&self, voice: &NoteAddress) -> bool {
        match (self.id, voice.id) {
            (Some(a), Some(b)) => a == b,
            _ => {
                self.channel
                    .is_none_or(|channel| voice.channel == Some(channel))
                    && self.key.is_none_or(|key| voice.key == Some(key))
            }
        }
    }
}
