//! Key maps: which MIDI key plays which pad.

use serde::{Deserialize, Serialize};

use crate::pad::{FIRST_KEY, PADS};

/// Keys of MIDI.
pub const KEYS: u8 = 128;

/// Names of the twelve notes of an octave.
pub(crate) const NOTES: [&str; 12] = [
    "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B",
];

/// The name of a MIDI key: `C1` is 36, where General MIDI has its bass drum, and `C3` is middle C.
#[must_use]
pub fn key_name(key: u8) -> String {
    let octave = i32::from(key) / 12 - 2;
    format!("{}{octave}", NOTES[usize::from(key) % 12])
}

/// The key of each pad. Pads may share one: then it plays them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u8>")]
pub struct KeyMap([u8; PADS]);

impl Default for KeyMap {
    fn default() -> Self {
        Preset::GeneralMidi.map()
    }
}

impl From<Vec<u8>> for KeyMap {
    /// Pads that are left out, or have no key of MIDI, have that of the default.
    fn from(keys: Vec<u8>) -> Self {
        let mut map = Self::default();
        for (place, key) in map.0.iter_mut().zip(keys) {
            if key < KEYS {
                *place = key;
            }
        }
        map
    }
}

impl KeyMap {
    /// The key of a pad, 0 to 127.
    #[must_use]
    pub fn key(&self, pad: usize) -> u8 {
        self.0[pad]
    }

    /// Gives a pad a key, the last one where there is no such.
    pub fn set(&mut self, pad: usize, key: u8) {
        self.0[pad] = key.min(KEYS - 1);
    }

    /// The pads that a key plays, in their order.
    pub fn pads(&self, key: u8) -> impl Iterator<Item = usize> + Clone + use<> {
        let map = self.0;
        (0..PADS).filter(move |&pad| map[pad] == key)
    }

    /// The bank so many octaves higher, or lower: every key moves by as much. None where one would leave the keys of
    /// MIDI.
    #[must_use]
    pub fn shifted(&self, octaves: i8) -> Option<Self> {
        let mut map = *self;
        for key in &mut map.0 {
            let moved = i16::from(*key) + 12 * i16::from(octaves);
            *key = u8::try_from(moved).ok().filter(|&key| key < KEYS)?;
        }
        Some(map)
    }

    /// The preset that it is, and by how many octaves higher; none where it is none.
    #[must_use]
    pub fn preset(&self) -> Option<(Preset, i8)> {
        Preset::ALL.into_iter().find_map(|preset| {
            let map = preset.map();
            let octaves = (i16::from(self.0[0]) - i16::from(map.0[0])) / 12;
            let octaves = i8::try_from(octaves).ok()?;
            (map.shifted(octaves) == Some(*self)).then_some((preset, octaves))
        })
    }
}

/// Key maps that everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Each pad's drum on its key of General MIDI. The pads are in that order, so that the keys are those from C1 on, as
    /// in the drum racks of Ableton and the chromatic setting of an MPC.
    GeneralMidi,
    /// The keys that the sixteen pads of an MPC's bank A send at first.
    Mpc,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::GeneralMidi, Self::Mpc];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GeneralMidi => "General MIDI, chromatic from C1",
            Self::Mpc => "MPC pads, bank A",
        }
    }

    /// Its keys.
    #[must_use]
    pub fn map(self) -> KeyMap {
        KeyMap(match self {
            Self::GeneralMidi => std::array::from_fn(|pad| FIRST_KEY + pad as u8),
            Self::Mpc => [
                37, 36, 42, 82, 40, 38, 46, 44, 48, 47, 45, 43, 49, 55, 51, 53,
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_known_again_in_every_octave() {
        for preset in Preset::ALL {
            for octaves in -3..=6 {
                if let Some(map) = preset.map().shifted(octaves) {
                    assert_eq!(map.preset(), Some((preset, octaves)));
                }
            }
            assert_eq!(preset.map().shifted(10), None);
            assert_eq!(preset.map().shifted(-4), None);
        }
        let mut map = KeyMap::default();
        assert_eq!((map.key(0), map.key(15)), (36, 51));
        map.set(3, 200);
        assert_eq!((map.key(3), map.preset()), (127, None));
        assert_eq!(
            [0, 36, 60, 127].map(key_name),
            ["C-2", "C1", "C3", "G8"].map(str::to_owned)
        );
    }

    #[test]
    fn a_key_plays_all_its_pads_and_a_stored_map_is_mended() {
        let map: KeyMap = serde_json::from_str("[40,40,200]").unwrap();
        assert_eq!(map.pads(40).collect::<Vec<_>>(), [0, 1, 4]);
        assert_eq!(map.pads(38).collect::<Vec<_>>(), [2]);
        assert_eq!(map.pads(36).count(), 0);
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<KeyMap>(&text).unwrap(), map);
    }
}
