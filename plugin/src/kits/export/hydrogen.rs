//! A drumkit of Hydrogen: a packed folder of sounds and one XML file.

use std::path::Path;

use audiodiff::audio::{self, Container};
use audiodiff::{Error, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::xml::Element;
use super::{Kit, Pad, depth};
use crate::pad::FIRST_KEY;
use crate::voice::{Mode, Takes};

/// Hydrogen counts its envelopes in frames of this rate, Hz.
const RATE: f32 = 44_100.0;

/// The shortest release that it takes, frames.
const LEAST_RELEASE: f32 = 256.0;

/// How long Hydrogen's falls, which come to e^-3.5 of their way, take to be as steep as one by 60 dB in a second:
/// 3.5 / ln 1000 seconds, measured in Hydrogen 1.2.
const FALL: f32 = 0.506_67;

/// The drumkit as a file; `folder` is the name of the folder that it is unpacked to.
pub(super) fn drumkit(kit: &mut Kit, folder: &str) -> Result<Vec<u8>> {
    let in_order = kit.pads.iter().enumerate();
    let mut in_order = in_order.map(|(i, pad)| usize::from(pad.key) == usize::from(FIRST_KEY) + i);
    if !in_order.all(|is_so| is_so) {
        kit.remarks.push(
            "Hydrogen plays its instruments from C1 on in their order, unless it is told to take their output notes as \
             input"
                .to_owned(),
        );
    }
    let component = Element::new("drumkitComponent")
        .and_text("id", 0)
        .and_text("name", "Main")
        .and_text("volume", 1);
    let instruments = kit
        .pads
        .iter()
        .enumerate()
        .map(|(id, pad)| instrument(id, pad));
    let document = Element::new("drumkit_info")
        .with("xmlns", "http://www.hydrogen-music.org/drumkit")
        .with("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
        .and_text("name", &kit.name)
        .and_text("author", &kit.author)
        .and_text("info", "")
        .and_text("license", "")
        .and_text("image", "")
        .and_text("imageLicense", "")
        .and(Element::new("componentList").and(component))
        .and(Element::new("instrumentList").and_all(instruments))
        .document()?;

    let mut packed = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("{folder}/{name}");
        let added = packed.append_data(&mut header, &path, bytes);
        added.map_err(Error::io(Path::new(&path)))
    };
    add("drumkit.xml", &document)?;
    for sound in kit.pads.iter().flat_map(|pad| &pad.sounds) {
        let wav = audio::bytes(&sound.clip, Container::Wav, depth(&sound.clip), &sound.tags)?;
        add(&sound.file, &wav)?;
    }
    let finished = packed.into_inner().and_then(GzEncoder::finish);
    finished.map_err(Error::io(Path::new(folder)))
}

fn instrument(id: usize, pad: &Pad) -> Element {
    let controls = &pad.controls;
    let frames = |ms: f32| (ms / 1000.0 * RATE).round();
    let [attack, decay, sustain, release] = match pad.has_envelope() {
        true => [
            frames(controls.attack_ms),
            // Here is no time at full level.
            frames(controls.hold_ms + FALL * controls.decay_ms),
            controls.sustain,
            frames(FALL * controls.release_ms).max(LEAST_RELEASE),
        ],
        false => [0.0, 0.0, 1.0, 1000.0],
    };
    let choice = match controls.take {
        Takes::RoundRobin => "ROUND_ROBIN",
        Takes::First | Takes::Velocity => "VELOCITY",
    };
    let layers = pad
        .sounds
        .iter()
        .filter(|sound| sound.velocities[0] <= sound.velocities[1]);
    let layers = layers.map(|sound| {
        let [low, high] = sound.velocities.map(f32::from);
        // Without a gap between one and the next.
        let low = if low <= 1.0 { 0.0 } else { (low - 0.5) / 127.0 };
        let high = if high >= 127.0 {
            1.0
        } else {
            (high + 0.5) / 127.0
        };
        Element::new("layer")
            .and_text("filename", &sound.file)
            .and_text("min", low)
            .and_text("max", high)
            .and_text("gain", 1)
            .and_text("pitch", 0)
    });
    let component = Element::new("instrumentComponent")
        .and_text("component_id", 0)
        .and_text("gain", 1)
        .and_all(layers);
    Element::new("instrument")
        .and_text("id", id)
        .and_text("name", &pad.name)
        .and_text("volume", controls.gain)
        .and_text("isMuted", false)
        .and_text("isSoloed", false)
        .and_text("pan", controls.pan)
        .and_text("pitchOffset", controls.pitch)
        .and_text("randomPitchFactor", 0)
        .and_text("gain", 1)
        .and_text("applyVelocity", controls.velocity > 0.01)
        .and_text("filterActive", false)
        .and_text("filterCutoff", 1)
        .and_text("filterResonance", 0)
        .and_text("Attack", attack)
        .and_text("Decay", decay)
        .and_text("Sustain", sustain)
        .and_text("Release", release)
        .and_text("muteGroup", i32::from(controls.choke) - 1)
        .and_text("midiOutChannel", -1)
        .and_text("midiOutNote", pad.key)
        .and_text("isStopNote", controls.mode != Mode::OneShot)
        .and_text("sampleSelectionAlgo", choice)
        .and_text("isHihat", -1)
        .and_text("lower_cc", 0)
        .and_text("higher_cc", 127)
        .and_text("FX1Level", 0)
        .and_text("FX2Level", 0)
        .and_text("FX3Level", 0)
        .and_text("FX4Level", 0)
        .and(component)
}
