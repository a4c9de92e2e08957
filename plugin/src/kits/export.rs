//! A kit as the files of other instruments.
//!
//! The sounds are written as a note plays them at full velocity: from their start on, backwards if they are, through drive,
//! filter and tone, and with the envelope where a note plays to the end whatever its key does. Level, pan, pitch, choking,
//! the envelope of a note that ends with its key, loops and takes are said in the instrument's own words, so that they can
//! be changed there. What it has no words for is told in a remark.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use audiodiff::audio::{self, BitDepth, Clip, Tags};
use audiodiff::{Error, Result};

use super::file_name;
use crate::pad::{FIRST_KEY, PADS};
use crate::params::PluginParams;
use crate::project::Project;
use crate::stored::StoredSound;
use crate::voice::{
    Begin, Mode, NoteAddress, PadControls, PadSounds, PlayableSound, Polyphony, STRIDE, Takes,
    Voices,
};

mod ableton;
mod decent;
mod hydrogen;
mod sfz;
mod xml;

/// No sound that is written is longer, seconds.
const MOST_SECONDS: f32 = 120.0;

/// An instrument, by the files that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A folder of WAV files, each as it is heard: with level, pan, pitch and envelope.
    Wav,
    /// SFZ, for sfizz, Plogue's sforzando, Renoise, Bitwig and others.
    Sfz,
    /// A drumkit of Hydrogen, from 1.0 on, packed for its import.
    Hydrogen,
    /// A preset of DecentSampler.
    DecentSampler,
    /// A Drum Rack of Ableton Live, from 11 on.
    DrumRack,
}

impl Format {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 5] = [
        Self::Wav,
        Self::Sfz,
        Self::Hydrogen,
        Self::DecentSampler,
        Self::DrumRack,
    ];

    /// The name that is shown for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wav => "Folder of WAVs",
            Self::Sfz => "SFZ",
            Self::Hydrogen => "Hydrogen",
            Self::DecentSampler => "DecentSampler",
            Self::DrumRack => "Ableton Drum Rack",
        }
    }
}

/// What came of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The file to open, or the folder.
    pub path: PathBuf,
    /// A sentence for each thing that the format cannot say.
    pub remarks: Vec<String>,
}

/// The keys that play the pads unless the project says otherwise: C1 and those after it.
#[must_use]
pub fn first_keys() -> [Option<u8>; PADS] {
    std::array::from_fn(|pad| Some(FIRST_KEY + pad as u8))
}

/// One sound of a pad, as it is written.
#[derive(Debug)]
struct Sound {
    /// Without a folder.
    file: String,
    clip: Clip,
    tags: Tags,
    /// The lowest and the highest velocity that play it, 1 to 127.
    velocities: [u8; 2],
}

/// A pad as other instruments are told of it.
#[derive(Debug)]
struct Pad {
    name: String,
    key: u8,
    /// As it is played; what is in the sounds already is as in [`PadControls::PLAIN`].
    controls: PadControls,
    /// The pad's own first; never empty.
    sounds: Vec<Sound>,
    /// First and last frame of the loop, in all of its sounds.
    looped: Option<[usize; 2]>,
}

impl Pad {
    /// dB.
    fn gain_db(&self) -> f32 {
        20.0 * self.controls.gain.max(1e-6).log10()
    }

    /// Whether notes take turns in its sounds.
    fn takes_turns(&self) -> bool {
        self.controls.take == Takes::RoundRobin && self.sounds.len() > 1
    }

    /// Whether the envelope is left to the instrument: a note ends with its key.
    fn has_envelope(&self) -> bool {
        self.controls.mode != Mode::OneShot
    }
}

/// A kit as other instruments are told of it.
#[derive(Debug)]
struct Kit {
    name: String,
    author: String,
    pads: Vec<Pad>,
    remarks: Vec<String>,
}

impl Kit {
    fn remark(&mut self, pad: usize, what: &str) {
        self.remarks.push(format!("pad {}: {what}", pad + 1));
    }
}

/// Writes the pads of a project for another instrument into a folder, under the kit's name, or that and a number where
/// there is something of this name. `keys` are the keys that play the pads; lengths in beats
/// are at this tempo, in beats per minute. This renders sounds and writes files: it is
/// for a thread of its own.
///
/// # Errors
/// When no pad has a sound, or a file cannot be written; then nothing is left of it.
pub fn export(
    format: Format,
    project: &Project,
    params: &PluginParams,
    keys: &[Option<u8>; PADS],
    tempo: Option<f32>,
    into: &Path,
) -> Result<Exported> {
    let mut kit = prepare(format, project, params, keys, tempo)?;
    audiodiff::file::make_folder(into)?;
    let ending = match format {
        Format::Hydrogen => ".h2drumkit",
        _ => "",
    };
    let base = file_name(&kit.name);
    let mut names = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base} {n}")));
    let is_free = |name: &String| !into.join(format!("{name}{ending}")).exists();
    let name = names.find(is_free).unwrap_or(base);
    let target = into.join(format!("{name}{ending}"));
    if format == Format::Hydrogen {
        let bytes = hydrogen::drumkit(&mut kit, &name)?;
        audiodiff::file::write_whole(&target, &bytes)?;
        return Ok(Exported {
            path: target,
            remarks: kit.remarks,
        });
    }
    let written = write_folder(format, &mut kit, &target, &name);
    if written.is_err() {
        // Of what could not be written whole, nothing stays; that it could not is told below.
        let _ = std::fs::remove_dir_all(&target);
    }
    Ok(Exported {
        path: written?,
        remarks: kit.remarks,
    })
}

/// Writes a new folder, and returns the file to open, or the folder.
fn write_folder(format: Format, kit: &mut Kit, folder: &Path, name: &str) -> Result<PathBuf> {
    std::fs::create_dir(folder).map_err(Error::io(folder))?;
    let samples = match format {
        Format::Wav => folder.to_owned(),
        _ => folder.join(SAMPLES),
    };
    if samples != folder {
        std::fs::create_dir(&samples).map_err(Error::io(&samples))?;
    }
    for sound in kit.pads.iter().flat_map(|pad| &pad.sounds) {
        audio::write(
            &samples.join(&sound.file),
            &sound.clip,
            depth(&sound.clip),
            &sound.tags,
        )?;
    }
    let (ending, bytes) = match format {
        Format::Wav | Format::Hydrogen => return Ok(folder.to_owned()),
        Format::Sfz => ("sfz", sfz::instrument(kit)),
        Format::DecentSampler => ("dspreset", decent::preset(kit)?),
        Format::DrumRack => ("adg", ableton::rack(kit, &samples)?),
    };
    let path = folder.join(format!("{name}.{ending}"));
    audiodiff::file::write_whole(&path, &bytes)?;
    Ok(path)
}

/// The folder beside the instrument's file that holds the sounds.
const SAMPLES: &str = "samples";

/// Integers would clip louder samples.
fn depth(clip: &Clip) -> BitDepth {
    match clip.peak() {
        ..=1.0 => BitDepth::Int24,
        _ => BitDepth::Float32,
    }
}

/// Makes the sounds as they are written.
fn prepare(
    format: Format,
    project: &Project,
    params: &PluginParams,
    keys: &[Option<u8>; PADS],
    tempo: Option<f32>,
) -> Result<Kit> {
    let info = project.kit.clone().unwrap_or_default();
    let mut kit = Kit {
        name: match info.name.trim() {
            "" => "audiodiff kit".to_owned(),
            name => name.to_owned(),
        },
        author: info.author,
        pads: Vec::new(),
        remarks: Vec::new(),
    };
    let (playing, macros) = (project.kit(), params.macro_values());
    if project.keys {
        kit.remarks
            .push("each key plays a pad, and none its pitch".to_owned());
    }
    for (pad, &key) in keys.iter().enumerate() {
        let Some(own) = project.sound(pad) else {
            kit.remark(pad, "there is no sound yet");
            continue;
        };
        let key = match (format, key) {
            (_, Some(key)) => key,
            (Format::Wav, None) => 0,
            _ => {
                kit.remark(pad, "no key plays it");
                continue;
            }
        };
        let controls = params.controls(pad, &playing.pads[pad], macros, tempo);
        if playing.pads[pad].mute {
            kit.remark(pad, "it is muted here, and sounds there");
        }
        tell_what_is_lost(&mut kit, pad, format, &controls);
        let takes = match controls.take {
            Takes::First => &[][..],
            _ => &project.takes[pad][..],
        };
        let sounds: Vec<&Arc<StoredSound>> = std::iter::once(own).chain(takes).collect();
        kit.pads
            .push(as_written(format, pad, key, &sounds, controls));
    }
    if kit.pads.is_empty() {
        return Err(Error::setting("there is no sound to export"));
    }
    Ok(kit)
}

/// Remarks on what no format says, or this one does not.
fn tell_what_is_lost(kit: &mut Kit, pad: usize, format: Format, controls: &PadControls) {
    if controls.velocity_cutoff > 0.0 {
        kit.remark(pad, "the filter is as at full velocity");
    }
    if controls.velocity_start > 0.0 {
        kit.remark(pad, "the start is as at full velocity");
    }
    let is_mono = controls.voices == Polyphony::Mono;
    match format {
        Format::Wav => {
            if controls.mode == Mode::Loop {
                kit.remark(pad, "the loop is played once");
            }
        }
        Format::Sfz => {}
        Format::Hydrogen => {
            if controls.mode == Mode::Loop {
                kit.remark(pad, "Hydrogen plays the loop once");
            }
            if is_mono {
                kit.remark(pad, "in Hydrogen its notes overlap");
            }
            if controls.mode != Mode::OneShot && controls.hold_ms > 0.0 {
                kit.remark(pad, "Hydrogen's envelope has no time at full level");
            }
        }
        Format::DecentSampler | Format::DrumRack => {}
    }
    let says_curve = matches!(format, Format::Wav | Format::Sfz);
    if !says_curve && controls.velocity_curve != 0.0 && controls.velocity > 0.0 {
        kit.remark(pad, "its velocity has no curve");
    }
    if format == Format::Hydrogen && (0.01..=0.99).contains(&controls.velocity) {
        kit.remark(pad, "in Hydrogen its level follows velocity all the way");
    }
}

/// A pad with its sounds as they are written.
fn as_written(
    format: Format,
    pad: usize,
    key: u8,
    sounds: &[&Arc<StoredSound>],
    controls: PadControls,
) -> Pad {
    // What stays in the sounds is what the instrument is not told.
    let mut within = PadControls {
        mode: Mode::OneShot,
        velocity: 0.0,
        velocity_cutoff: 0.0,
        velocity_start: 0.0,
        choke: 0,
        voices: Polyphony::Poly,
        take: Takes::First,
        ..controls
    };
    let loops = matches!(
        format,
        Format::Sfz | Format::DecentSampler | Format::DrumRack
    );
    let has_own_envelope = format != Format::Wav && controls.mode != Mode::OneShot;
    if format != Format::Wav {
        let plain = PadControls::PLAIN;
        (within.gain, within.pan, within.pitch) = (plain.gain, plain.pan, plain.pitch);
    }
    if has_own_envelope {
        let plain = PadControls::PLAIN;
        (within.attack_ms, within.hold_ms) = (plain.attack_ms, plain.hold_ms);
        (within.decay_ms, within.sustain) = (plain.decay_ms, plain.sustain);
    }
    let is_looped = loops && controls.mode == Mode::Loop;
    if is_looped {
        within.mode = Mode::Loop;
    }
    let name = class_name(sounds[0]);
    let playable = sounds.iter().map(|sound| PlayableSound::new(&sound.clip()));
    let mut playable: Vec<PlayableSound> = playable.collect();
    let own = playable.remove(0);
    let all = PadSounds::new(own, playable);
    let velocities = velocities(&all, &controls);
    let mut looped: Option<[usize; 2]> = None;
    let written = sounds.iter().enumerate().map(|(take, sound)| {
        let (clip, ends) = played(&sound.clip(), &within);
        // The ends are those of the shortest, so that none is left behind.
        looped = match (looped, ends) {
            (Some([start, end]), Some([_, other])) => Some([start, usize::min(end, other)]),
            (_, ends) => ends,
        };
        let recipe = sound.recipe();
        let seed = match recipe.file {
            Some(_) => String::new(),
            None => format!(" {}", recipe.seed),
        };
        let turn = match take {
            0 => String::new(),
            take => format!(" take {}", take + 1),
        };
        Sound {
            file: format!(
                "{}.wav",
                file_name(&format!("{:02} {name}{seed}{turn}", pad + 1))
            ),
            clip,
            tags: Tags {
                title: Some(name.clone()),
                comment: (recipe.file.is_none())
                    .then(|| format!("seed {}, model {}", recipe.seed, recipe.model)),
                pitch_hz: None,
            },
            velocities: velocities[take],
        }
    });
    Pad {
        sounds: written.collect(),
        looped: looped.filter(|_| is_looped),
        name,
        key,
        controls,
    }
}

/// What a sound is called.
fn class_name(sound: &StoredSound) -> String {
    let recipe = sound.recipe();
    match (&recipe.file, &recipe.class) {
        (Some(file), _) => super::stem(Path::new(file)),
        (None, Some(class)) => class.replace('_', " "),
        (None, None) => "sound".to_owned(),
    }
}

/// The velocities of each sound of a pad.
fn velocities(sounds: &PadSounds, controls: &PadControls) -> Vec<[u8; 2]> {
    let mut ranges = vec![[1, 127]; sounds.count()];
    if controls.take == Takes::Velocity {
        ranges.fill([127, 0]);
        for velocity in 1..=127u8 {
            let curved = controls.curved(f32::from(velocity) / 127.0);
            let [low, high] = &mut ranges[sounds.for_velocity(curved)];
            (*low, *high) = (velocity.min(*low), velocity.max(*high));
        }
    }
    ranges
}

/// A sound as a note plays it at full velocity; and the ends of its loop, if it is looped. A sound that is played as it
/// is stays so to the bit.
fn played(clip: &Clip, controls: &PadControls) -> (Clip, Option<[usize; 2]>) {
    if *controls
        == (PadControls {
            velocity: 0.0,
            ..PadControls::PLAIN
        })
    {
        return (clip.clone(), None);
    }
    let rate = clip.sample_rate();
    let sound = PlayableSound::new(clip);
    let start = (f64::from(controls.start.clamp(0.0, 1.0)) * sound.len_frames() as f64).floor();
    // A loop that begins anew in time is one of its turns; any other ends where it goes back for the first time.
    let turn = (controls.cut_seconds * rate as f32).round() as usize;
    let ends = match turn {
        0 => sound
            .loop_ends(controls)
            .map(|ends| ends.map(|frame| frame - start as usize)),
        turn => Some([0, turn]),
    };
    let once = ends.map_or(sound.len_frames() - start as usize, |[_, end]| end);
    let is_mono = clip.channels().len() == 1 && controls.pan == 0.0;
    let mut voices = Box::new(Voices::default());
    voices.set_sound(0, Some(Arc::new(PadSounds::from(sound))));
    let begin = Begin {
        pad: 0,
        key: None,
        velocity: 1.0,
    };
    voices.note_on(NoteAddress::NONE, begin, controls, &mut |_| {});
    let most = match controls.mode {
        Mode::Loop => once,
        _ => (MOST_SECONDS * rate as f32) as usize,
    };
    let all = [*controls; PADS];
    let mut channels = [Vec::new(), Vec::new()];
    while voices.is_active() && channels[0].len() < most {
        let from = channels[0].len();
        channels
            .iter_mut()
            .for_each(|it| it.resize(from + STRIDE, 0.0));
        let mut mix = |_: usize, left: &[f32], right: &[f32]| {
            for (channel, voice) in channels.iter_mut().zip([left, right]) {
                for (to, x) in channel[from..].iter_mut().zip(voice) {
                    *to += x;
                }
            }
        };
        voices.render(STRIDE, rate as f32, &all, &mut mix, &mut |_| {});
    }
    // The last stride ends in silence.
    let silent = |i: usize| channels.iter().all(|channel| channel[i] == 0.0);
    let mut len = channels[0].len().min(most);
    while controls.mode != Mode::Loop && len > 1 && silent(len - 1) {
        len -= 1;
    }
    channels.iter_mut().for_each(|it| it.truncate(len));
    let is_whole = controls.mode == Mode::Loop && len == once;
    let ends = ends.filter(|_| is_whole).map(|[begin, _]| [begin, len - 1]);
    let [left, right] = channels;
    let channels = if is_mono {
        vec![left]
    } else {
        vec![left, right]
    };
    (Clip::new(rate, channels), ends)
}

#[cfg(test)]
mod tests;
