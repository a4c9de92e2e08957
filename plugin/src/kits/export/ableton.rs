//! A Drum Rack of Ableton Live 11: XML, packed by gzip. Live brings what is not said to its defaults.
//!
//! Each pad is a chain with a Simpler, whose mixer has its level and pan. Times are ms, levels linear; a key is counted
//! down from 128.

use std::io::Write;
use std::path::Path;

use audiodiff::{Error, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::xml::Element;
use super::{Kit, Pad, SAMPLES, Sound};
use crate::voice::{Mode, Polyphony};

/// The key that Simpler plays a sound at its own pitch by, which the rack sends it.
const ROOT: u8 = 60;

/// The level that stands for none in a chain's mixer.
const LEAST_LEVEL: f32 = 0.000_316_227_76;

/// The highest level of a chain's mixer: 6 dB.
const MOST_LEVEL: f32 = 1.995_262_3;

/// The rack as a file. `samples` is the folder in which the sounds are.
pub(super) fn rack(kit: &mut Kit, samples: &Path) -> Result<Vec<u8>> {
    let takes = kit.pads.iter().filter(|pad| pad.sounds.len() > 1);
    let takes: Vec<String> = takes
        .map(|pad| format!("{}: the Drum Rack plays the first take", pad.name))
        .collect();
    kit.remarks.extend(takes);
    let samples = std::path::absolute(samples).map_err(Error::io(samples))?;
    let branches = kit.pads.iter().enumerate();
    let branches = branches.map(|(id, pad)| branch(id, pad, &samples));
    let device = Element::new("DrumGroupDevice")
        .with("Id", 0)
        .and(value("UserName", &kit.name))
        .and(parameter("On", true));
    let preset = Element::new("GroupDevicePreset")
        .and(value("OverwriteProtectionNumber", 2816))
        .and(Element::new("Device").and(device))
        .and(Element::new("BranchPresets").and_all(branches))
        .and(Element::new("ReturnBranchPresets"));
    let document = Element::new("Ableton")
        .with("MajorVersion", 5)
        .with("MinorVersion", "11.0_11300")
        .with("SchemaChangeCount", 3)
        .with("Creator", "Ableton Live 11.3")
        .with("Revision", "")
        .and(preset)
        .document()?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    let packed = packed.write_all(&document).and_then(|()| packed.finish());
    packed.map_err(Error::io(Path::new("adg")))
}

/// An element that is a value.
fn value(name: &str, value: impl ToString) -> Element {
    Element::new(name).with("Value", value)
}

/// An element that can be automated, with its value.
fn parameter(name: &str, now: impl ToString) -> Element {
    let lock = value("LockEnvelope", 0);
    let target = Element::new("AutomationTarget").with("Id", 0).and(lock);
    Element::new(name)
        .and(value("LomId", 0))
        .and(value("Manual", now))
        .and(target)
}

fn branch(id: usize, pad: &Pad, samples: &Path) -> Element {
    let controls = &pad.controls;
    let simpler = Element::new("OriginalSimpler")
        .with("Id", 0)
        .and(parameter("On", true))
        .and(value("UserName", &pad.name))
        .and(player(pad, samples))
        .and(pitch(controls.pitch))
        .and(level(pad))
        .and(globals(pad));
    let mixer = Element::new("AudioBranchMixerDevice")
        .with("Id", 0)
        .and(parameter("On", true))
        .and(parameter("Speaker", true))
        .and(parameter(
            "Volume",
            controls.gain.clamp(LEAST_LEVEL, MOST_LEVEL),
        ))
        .and(parameter("Panorama", controls.pan));
    let zone = Element::new("ZoneSettings")
        .and(value("ReceivingNote", 128 - i32::from(pad.key)))
        .and(value("SendingNote", ROOT))
        .and(value("ChokeGroup", controls.choke));
    Element::new("DrumBranchPreset")
        .with("Id", id)
        .and(value("Name", &pad.name))
        .and(value("IsSoloed", false))
        .and(Element::new("DevicePresets").and(device(simpler)))
        .and(Element::new("MixerPreset").and(device(mixer)))
        .and(value_range("BranchSelectorRange", 0, 0))
        .and(value("DocumentColorIndex", 0))
        .and(value("AutoColored", true))
        .and(zone)
}

/// A device that is one of Live's own.
fn device(device: Element) -> Element {
    Element::new("AbletonDevicePreset")
        .with("Id", 0)
        .and(value("OverwriteProtectionNumber", 2816))
        .and(Element::new("Device").and(device))
}

fn value_range(name: &str, min: u8, max: u8) -> Element {
    Element::new(name)
        .and(value("Min", min))
        .and(value("Max", max))
        .and(value("CrossfadeMin", min))
        .and(value("CrossfadeMax", max))
}

fn player(pad: &Pad, samples: &Path) -> Element {
    let part = part(&pad.sounds[0], pad, samples);
    let map = Element::new("MultiSampleMap").and(Element::new("SampleParts").and(part));
    let loops = Element::new("LoopModulators")
        .and(value("IsModulated", true))
        .and(parameter("SampleStart", 0))
        .and(parameter("SampleLength", 1))
        .and(parameter("LoopOn", pad.looped.is_some()))
        .and(parameter(
            "LoopLength",
            pad.looped.map_or(1.0, |[start, end]| {
                (end + 1 - start) as f32 / (end + 1) as f32
            }),
        ))
        .and(parameter("LoopFade", 0));
    Element::new("Player")
        .and(map)
        .and(loops)
        .and(parameter("Reverse", false))
        // Cuts at zero crossings would move the onset.
        .and(parameter("Snap", false))
}

fn part(sound: &Sound, pad: &Pad, samples: &Path) -> Element {
    let frames = sound.clip.len_frames();
    let [start, end] = pad.looped.unwrap_or([0, frames.saturating_sub(1)]);
    let looped = |name: &str, mode: u8| {
        Element::new(name)
            .and(value("Start", start))
            .and(value("End", end))
            .and(value("Mode", mode))
            .and(value("Crossfade", 0))
            .and(value("Detune", 0))
    };
    // Relative to the preset; and where it is now, for a Live that has no preset open yet.
    let file = Element::new("FileRef")
        .and(value("RelativePathType", 1))
        .and(value("RelativePath", format!("{SAMPLES}/{}", sound.file)))
        .and(value("Path", samples.join(&sound.file).display()))
        .and(value("Type", 1))
        .and(value("LivePackName", ""))
        .and(value("LivePackId", ""))
        .and(value("OriginalFileSize", 0))
        .and(value("OriginalCrc", 0));
    let sample = Element::new("SampleRef")
        .and(file)
        .and(value("LastModDate", 0))
        .and(Element::new("SourceContext"))
        .and(value("SampleUsageHint", 0))
        .and(value("DefaultDuration", frames))
        .and(value("DefaultSampleRate", sound.clip.sample_rate()));
    Element::new("MultiSamplePart")
        .with("Id", 0)
        .with("HasImportedSlicePoints", true)
        .with("NeedsAnalysisData", true)
        .and(value("Name", &pad.name))
        .and(value("Selection", true))
        .and(value("IsActive", true))
        .and(value("Solo", false))
        .and(value_range("KeyRange", 0, 127))
        .and(value_range("VelocityRange", 1, 127))
        .and(value_range("SelectorRange", 0, 127))
        .and(value("RootKey", ROOT))
        .and(value("Detune", 0))
        .and(value("TuneScale", 100))
        .and(value("Panorama", 0))
        .and(value("Volume", 1))
        .and(value("Link", false))
        .and(value("SampleStart", 0))
        .and(value("SampleEnd", frames))
        .and(looped("SustainLoop", u8::from(pad.looped.is_some())))
        .and(looped("ReleaseLoop", 3))
        .and(sample)
        .and(Element::new("SampleWarpProperties").and(value("IsWarped", false)))
}

fn pitch(semitones: f32) -> Element {
    // Cents reach half a semitone to either side.
    let key = semitones.round();
    Element::new("Pitch")
        .and(parameter("TransposeKey", key))
        .and(parameter("TransposeFine", 100.0 * (semitones - key)))
}

fn level(pad: &Pad) -> Element {
    let controls = &pad.controls;
    let mut envelope = Element::new("Envelope")
        .and(parameter("AttackTime", 0.1))
        .and(parameter("SustainLevel", 1))
        .and(parameter("ReleaseTime", 50));
    if pad.has_envelope() {
        envelope = Element::new("Envelope")
            .and(parameter(
                "AttackTime",
                controls.attack_ms.clamp(0.1, 20_000.0),
            ))
            .and(parameter(
                "DecayTime",
                controls.decay_ms.clamp(1.0, 60_000.0),
            ))
            .and(parameter(
                "SustainLevel",
                controls.sustain.clamp(LEAST_LEVEL, 1.0),
            ))
            .and(parameter(
                "ReleaseTime",
                controls.release_ms.clamp(1.0, 60_000.0),
            ));
    }
    let one_shot = Element::new("OneShotEnvelope")
        .and(parameter("FadeInTime", 0))
        // To the end of the sound.
        .and(parameter("SustainMode", 0))
        .and(parameter("FadeOutTime", 0.1));
    Element::new("VolumeAndPan")
        .and(parameter("Volume", 0))
        .and(parameter("VolumeVelScale", controls.velocity))
        .and(parameter("Panorama", 0))
        .and(envelope)
        .and(one_shot)
}

fn globals(pad: &Pad) -> Element {
    // Simpler counts voices as 1, 2, 3, 4, 5, 6, 7, 8, 10 and so on; this is their place in the list.
    let voices = match pad.controls.voices {
        Polyphony::Mono => 0,
        Polyphony::Poly => 7,
    };
    // Classic plays as long as the key is held, one-shot to the end.
    let mode = match pad.controls.mode {
        Mode::OneShot => 1,
        Mode::Gate | Mode::Loop => 0,
    };
    Element::new("Globals")
        .and(value("NumVoices", voices))
        .and(value("RetriggerMode", false))
        .and(value("IsSimpler", true))
        .and(value("PlaybackMode", mode))
}
