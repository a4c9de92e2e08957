//! Polyphonic modulation: a host's offset to one parameter of one voice.

use nice_plug::prelude::Param;

use super::PluginParams;
use crate::pad::PADS;
use crate::voice::Offsets;

/// A parameter of a pad that can be modulated voice by voice; its index is part of the id that hosts use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modulated {
    Gain,
    Pan,
    Pitch,
    Cutoff,
}

impl Modulated {
    const ALL: [Self; 4] = [Self::Gain, Self::Pan, Self::Pitch, Self::Cutoff];

    pub(super) fn id(self, pad: usize) -> u32 {
        (pad * 8 + self as usize) as u32
    }

    fn parse(id: u32) -> Option<(usize, Self)> {
        let (pad, which) = (id as usize / 8, id as usize % 8);
        (pad < PADS).then_some((pad, *Self::ALL.get(which)?))
    }
}

impl PluginParams {
    /// The pad whose voice a host modulates, and the change to that voice's offsets.
    ///
    /// Real-time safe: reads atomics.
    pub fn modulation(&self, id: u32, offset: f32) -> Option<(usize, impl Fn(&mut Offsets))> {
        let (pad, which) = Modulated::parse(id)?;
        let params = &self.pads[pad];
        let param = match which {
            Modulated::Gain => &params.gain,
            Modulated::Pan => &params.pan,
            Modulated::Pitch => &params.pitch,
            Modulated::Cutoff => &params.cutoff,
        };
        let (now, then) = (param.value(), param.preview_modulated(offset));
        Some((pad, move |offsets: &mut Offsets| match which {
            Modulated::Gain => offsets.gain = then / now.max(f32::MIN_POSITIVE),
            Modulated::Pan => offsets.pan = then - now,
            Modulated::Pitch => offsets.pitch = then - now,
            Modulated::Cutoff => offsets.cutoff = (then / now).log2(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use nice_plug::prelude::util;

    use super::*;
    use crate::params::tests::params;

    #[test]
    fn modulation_of_a_voice_is_relative_to_the_parameter() {
        let (params, _) = params();
        let change = |which: Modulated, offset: f32| {
            let (pad, change) = params.modulation(which.id(3), offset).unwrap();
            assert_eq!(pad, 3);
            let mut offsets = Offsets {
                gain: 1.0,
                pan: 0.0,
                pitch: 0.0,
                cutoff: 0.0,
            };
            change(&mut offsets);
            offsets
        };
        assert!((change(Modulated::Pitch, 0.25).pitch - 12.0).abs() < 1e-4);
        assert!((change(Modulated::Pan, -0.5).pan + 1.0).abs() < 1e-6);
        assert!((change(Modulated::Cutoff, 9.0).cutoff - 10f32.log2()).abs() < 1e-4);
        assert!((change(Modulated::Gain, 9.0).gain - util::db_to_gain(6.0)).abs() < 1e-4);
        assert!(params.modulation(4, 0.1).is_none() && params.modulation(128, 0.1).is_none());
    }
}
