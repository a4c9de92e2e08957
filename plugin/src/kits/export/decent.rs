//! A preset of DecentSampler.

use audiodiff::Result;

use super::xml::Element;
use super::{Kit, Pad, SAMPLES};
use crate::voice::Polyphony;

/// The preset as a file.
pub(super) fn preset(kit: &mut Kit) -> Result<Vec<u8>> {
    let groups = kit.pads.iter().map(group);
    let mono = kit
        .pads
        .iter()
        .filter(|pad| pad.controls.voices == Polyphony::Mono);
    let tags = mono.map(|pad| {
        let tag = Element::new("tag").with("name", own_tag(pad));
        tag.with("enabled", true).with("polyphony", 1)
    });
    let preset = Element::new("DecentSampler")
        .with("minVersion", "1.6.0")
        .and(Element::new("groups").and_all(groups))
        .and(Element::new("tags").and_all(tags));
    preset.document()
}

/// What a pad is known by to the others.
fn own_tag(pad: &Pad) -> String {
    format!("key{}", pad.key)
}

fn group(pad: &Pad) -> Element {
    let controls = &pad.controls;
    let mut group = Element::new("group")
        .with("name", &pad.name)
        .with("ampVelTrack", controls.velocity)
        .with("volume", format!("{:.3}dB", pad.gain_db()))
        .with("pan", 100.0 * controls.pan);
    if pad.takes_turns() {
        group = group
            .with("seqMode", "round_robin")
            .with("seqLength", pad.sounds.len());
    }
    if pad.has_envelope() {
        let seconds = |ms: f32| ms / 1000.0;
        group = group
            .with("attack", seconds(controls.attack_ms))
            .with("attackCurve", 0)
            .with("decay", seconds(controls.decay_ms))
            .with("sustain", controls.sustain)
            .with("release", seconds(controls.release_ms));
    } else {
        // So that a note plays on when its key is let go.
        group = group.with("ampEnvEnabled", false);
    }
    let mut tags = own_tag(pad);
    if controls.choke > 0 {
        let choke = format!("choke{}", controls.choke);
        tags = format!("{tags},{choke}");
        group = group
            .with("silencedByTags", choke)
            .with("silencingMode", "fast");
    }
    group = group.with("tags", tags);
    let sounds = pad
        .sounds
        .iter()
        .enumerate()
        .filter(|(_, sound)| sound.velocities[0] <= sound.velocities[1]);
    let samples = sounds.map(|(turn, sound)| {
        let [low, high] = sound.velocities;
        let mut sample = Element::new("sample")
            .with("path", format!("{SAMPLES}/{}", sound.file))
            .with("rootNote", pad.key)
            .with("loNote", pad.key)
            .with("hiNote", pad.key)
            .with("loVel", low)
            .with("hiVel", high)
            .with("tuning", controls.pitch);
        if pad.takes_turns() {
            sample = sample.with("seqPosition", turn + 1);
        }
        if let Some([start, end]) = pad.looped {
            sample = sample
                .with("loopEnabled", true)
                .with("loopStart", start)
                .with("loopEnd", end);
        }
        sample
    });
    group.and_all(samples)
}
