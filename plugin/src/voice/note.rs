//! The address by which a host names a note.

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
