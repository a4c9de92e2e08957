//! The devices that there are, the user's choice among them, and what is tried in which order.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use audiodiff::Result;
use audiodiff::file::write_whole;
use nice_plug::prelude::nice_warn;
use serde::{Deserialize, Serialize};

/// Rates that are offered, of those that a device has, Hz.
const RATES: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

/// Frames of a block that are offered, of those that a device has.
const BLOCKS: [u32; 7] = [32, 64, 128, 256, 512, 1024, 2048];

/// [`Backend::System`] as nice-plug's wrapper calls it.
pub(super) const SYSTEM: &str = if cfg!(target_os = "macos") {
    "core-audio"
} else if cfg!(target_os = "windows") {
    "wasapi"
} else {
    "alsa"
};

/// The rate and the frames of a block unless the user wants others.
const USUAL: (u32, u32) = (48_000, 512);

/// Whom the audio goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A JACK server, or PipeWire as one; devices, rate, block and MIDI are chosen there.
    Jack,
    /// A device by ALSA, Core Audio or WASAPI.
    System,
    /// Nobody: a clock that is not heard.
    Silent,
}

impl Backend {
    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jack => "JACK",
            Self::System => {
                if cfg!(target_os = "macos") {
                    "Core Audio"
                } else if cfg!(target_os = "windows") {
                    "WASAPI"
                } else {
                    "ALSA"
                }
            }
            Self::Silent => "no sound",
        }
    }
}

/// Where MIDI comes from; with [`Backend::Jack`], where that says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Midi {
    /// The first device there is.
    #[default]
    First,
    /// Nowhere.
    None,
    /// The device of this name.
    Named(String),
}

/// What the user has chosen, on this machine. The default leaves all to the system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// None for the first that runs: JACK, the system, none.
    pub backend: Option<Backend>,
    /// The name of an [`Output`]; none for the system's default.
    pub output: Option<String>,
    /// Where MIDI comes from.
    pub midi: Midi,
    /// Hz; none for 48 kHz, or what is next to it.
    pub sample_rate: Option<u32>,
    /// Frames of a block; none for 512, or what is next to it.
    pub block: Option<u32>,
}

impl Choice {
    /// Reads it. A file that cannot be read counts as absent: no sound depends on it.
    #[must_use]
    pub fn load() -> Self {
        let Some(path) = Self::path() else {
            return Self::default();
        };
        let Ok(text) = std::fs::read(&path) else {
            return Self::default();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            nice_warn!("{}: {error}", path.display());
            Self::default()
        })
    }

    pub(super) fn save(&self) -> Result<()> {
        match Self::path() {
            Some(path) => self.save_to(&path),
            None => Ok(()),
        }
    }

    /// Not the project's name: on macOS and Windows preferences and data are in one folder.
    pub(super) fn path() -> Option<PathBuf> {
        Some(dirs::config_dir()?.join("audiodiff").join("devices.json"))
    }

    fn save_to(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            audiodiff::file::make_folder(folder)?;
        }
        let text = serde_json::to_vec_pretty(self).expect("names and numbers can be written");
        write_whole(path, &text)
    }
}

/// Rates and blocks that a device has together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Format {
    /// Hz.
    rates: RangeInclusive<u32>,
    /// Frames.
    blocks: RangeInclusive<u32>,
}

/// A device to play on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Whether the system plays on it where nothing is said.
    pub is_default: bool,
    /// None while it is not known, as of a device that plays for another program.
    formats: Vec<Format>,
}

impl Output {
    fn fits(&self, rate: u32, block: u32) -> bool {
        let mut formats = self.formats.iter();
        formats.any(|it| it.rates.contains(&rate) && it.blocks.contains(&block))
    }

    /// Rates to choose from, Hz.
    #[must_use]
    pub fn rates(&self) -> Vec<u32> {
        let has = |rate: &u32| self.formats.iter().any(|it| it.rates.contains(rate));
        RATES.into_iter().filter(has).collect()
    }

    /// Blocks to choose from at a rate, frames.
    #[must_use]
    pub fn blocks(&self, rate: u32) -> Vec<u32> {
        let fits = |block: &u32| self.fits(rate, *block);
        BLOCKS.into_iter().filter(fits).collect()
    }

    /// The rate and block that it has next to those that are wanted; the rate is the more important.
    fn nearest(&self, rate: u32, block: u32) -> Option<(u32, u32)> {
        let next =
            |wanted: u32, range: &RangeInclusive<u32>| wanted.clamp(*range.start(), *range.end());
        let formats = self
            .formats
            .iter()
            .filter(|it| !it.rates.is_empty() && !it.blocks.is_empty());
        let pairs = formats.map(|it| (next(rate, &it.rates), next(block, &it.blocks)));
        pairs.min_by_key(|&(r, b)| (r.abs_diff(rate), b.abs_diff(block)))
    }
}

/// What there is to choose from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Available {
    /// Devices to play on.
    pub outputs: Vec<Output>,
    /// Names of devices that MIDI comes from.
    pub midi_inputs: Vec<String>,
}

impl Available {
    /// Asks the system, which takes up to a second. Nothing without the feature `standalone`.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(feature = "standalone")]
        {
            system::available()
        }
        #[cfg(not(feature = "standalone"))]
        {
            Self::default()
        }
    }

    /// The same, where devices that are busy now have the formats that they had `before`.
    pub(super) fn with_busy(mut self, before: &Self) -> Self {
        for output in &mut self.outputs {
            let known = before.outputs.iter().find(|it| it.name == output.name);
            if let Some(known) = known.filter(|_| output.formats.is_empty()) {
                output.formats.clone_from(&known.formats);
            }
        }
        self
    }

    fn default_output(&self) -> Option<&Output> {
        self.outputs.iter().find(|it| it.is_default)
    }

    /// The input that is meant by a name. ALSA ends names with numbers that change from day to day.
    fn midi_input(&self, name: &str) -> Option<&String> {
        let inputs = || self.midi_inputs.iter();
        inputs()
            .find(|it| *it == name)
            .or_else(|| inputs().find(|it| without_numbers(it) == without_numbers(name)))
    }

    /// The first input that is a device: ALSA has one that leads from program to program.
    fn first_midi_input(&self) -> Option<&String> {
        let is_device = |name: &&String| !name.starts_with("Midi Through");
        self.midi_inputs.iter().find(is_device)
    }
}

/// A port's name without its client's and its own number: `Keys:Keys MIDI 1 24:0`.
fn without_numbers(name: &str) -> &str {
    match name.rsplit_once(' ') {
        Some((stem, numbers)) if numbers.split(':').all(|it| it.parse::<u32>().is_ok()) => stem,
        _ => name,
    }
}

/// One way to play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// None where it was said on the command line.
    pub backend: Option<Backend>,
    /// The device; none for the system's default, and where the backend has none.
    pub output: Option<String>,
    /// Where MIDI comes from, if from anywhere.
    pub midi_input: Option<String>,
    /// Hz and frames, where they are ours to say.
    pub format: Option<(u32, u32)>,
    /// In what it is not what was chosen: sentences.
    pub remarks: Vec<String>,
}

impl Plan {
    /// Of a program whose devices are said on its command line.
    #[must_use]
    pub fn by_hand() -> Self {
        Self::of(None, Vec::new())
    }

    fn of(backend: Option<Backend>, remarks: Vec<String>) -> Self {
        Self {
            backend,
            output: None,
            midi_input: None,
            format: None,
            remarks,
        }
    }

    /// Arguments for nice-plug's wrapper.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let backend = match self.backend {
            None => return Vec::new(),
            Some(Backend::Jack) => "jack",
            Some(Backend::Silent) => "dummy",
            Some(Backend::System) => SYSTEM,
        };
        let mut arguments = vec![format!("--backend={backend}")];
        // A name may begin with a dash.
        arguments.extend(self.output.iter().map(|it| format!("--output-device={it}")));
        arguments.extend(
            self.midi_input
                .iter()
                .map(|it| format!("--midi-input={it}")),
        );
        if let Some((rate, block)) = self.format {
            arguments.push(format!("--sample-rate={rate}"));
            arguments.push(format!("--period-size={block}"));
        }
        arguments
    }
}

/// The ways to play as was chosen, the best first. The last always runs.
#[must_use]
pub fn plans(choice: &Choice, available: &Available) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut remarks = Vec::new();
    if choice.backend == Some(Backend::Silent) {
        return vec![Plan::of(Some(Backend::Silent), remarks)];
    }
    if choice.backend != Some(Backend::System) {
        plans.push(Plan::of(Some(Backend::Jack), Vec::new()));
        if choice.backend == Some(Backend::Jack) {
            let system = Backend::System.name();
            remarks.push(format!("JACK does not run: {system} is played on instead"));
        }
    }
    let (midi_input, midi_remark) = match &choice.midi {
        Midi::None => (None, None),
        Midi::First => (available.first_midi_input().cloned(), None),
        Midi::Named(name) => match available.midi_input(name) {
            Some(input) => (Some(input.clone()), None),
            None => {
                let remark = format!("the MIDI input {name} is not there: no MIDI comes in");
                (None, Some(remark))
            }
        },
    };
    let system = |output: Option<&Output>, mut remarks: Vec<String>| {
        let wanted = (
            choice.sample_rate.unwrap_or(USUAL.0),
            choice.block.unwrap_or(USUAL.1),
        );
        // Of a device that does not tell, the usual is tried.
        let format = output
            .and_then(|it| it.nearest(wanted.0, wanted.1))
            .unwrap_or(wanted);
        let is_chosen = choice.sample_rate.is_some() || choice.block.is_some();
        if is_chosen && format != wanted {
            remarks.push(format!(
                "the device has not {} Hz with blocks of {} frames: {} Hz with {} are used",
                wanted.0, wanted.1, format.0, format.1
            ));
        }
        remarks.extend(midi_remark.clone());
        Plan {
            output: output.filter(|it| !it.is_default).map(|it| it.name.clone()),
            midi_input: midi_input.clone(),
            format: Some(format),
            ..Plan::of(Some(Backend::System), remarks)
        }
    };
    let default = available.default_output();
    if let Some(name) = &choice.output {
        let chosen = available.outputs.iter().find(|it| it.name == *name);
        if chosen.is_some() {
            plans.push(system(chosen, remarks.clone()));
            remarks.push(format!(
                "{name} cannot be played on: the system's default is"
            ));
        } else {
            remarks.push(format!(
                "{name} is not there: the system's default is played on"
            ));
        }
    }
    plans.push(system(default, remarks));
    // A MIDI device that another program holds must not cost the sound.
    if midi_input.is_some() {
        let mut without = plans.last().cloned().expect("it was pushed");
        let name = without.midi_input.take().unwrap_or_default();
        without
            .remarks
            .push(format!("the MIDI input {name} cannot be opened"));
        plans.push(without);
    }
    let nobody = "no audio device can be played on: nothing is heard";
    plans.push(Plan::of(Some(Backend::Silent), vec![nobody.to_owned()]));
    plans
}

/// Whether a JACK server runs, or PipeWire as one. It is asked, and none is started.
#[cfg(feature = "standalone")]
pub(super) fn jack_runs() -> bool {
    // Another name than the instrument's: that would be taken for a moment.
    jack::Client::new("audiodiff_asks", jack::ClientOptions::NO_START_SERVER).is_ok()
}

#[cfg(feature = "standalone")]
mod system {
    use cpal::SupportedBufferSize;
    use cpal::traits::{DeviceTrait, HostTrait};
    use midir::MidiInput;
    use nice_plug::prelude::nice_warn;

    use super::{Available, Format, Output};

    pub fn available() -> Available {
        Available {
            outputs: outputs().unwrap_or_else(|error| {
                nice_warn!("audio devices: {error}");
                Vec::new()
            }),
            midi_inputs: midi_inputs().unwrap_or_else(|error| {
                nice_warn!("MIDI devices: {error}");
                Vec::new()
            }),
        }
    }

    /// As nice-plug's wrapper sees them.
    fn outputs() -> Result<Vec<Output>, cpal::Error> {
        let host = cpal::default_host();
        let name = |device: &cpal::Device| Some(device.description().ok()?.name().to_owned());
        let default = host.default_output_device();
        let mut outputs: Vec<Output> = Vec::new();
        if let Some(device) = &default
            && let Some(name) = name(device)
        {
            outputs.push(Output {
                name,
                is_default: true,
                formats: formats(device),
            });
        }
        for device in host.output_devices()? {
            // The wrapper takes the first of a name.
            if let Some(name) = name(&device)
                && outputs.iter().all(|it| it.name != name)
            {
                outputs.push(Output {
                    name,
                    is_default: false,
                    formats: formats(&device),
                });
            }
        }
        Ok(outputs)
    }

    fn formats(device: &cpal::Device) -> Vec<Format> {
        let Ok(configs) = device.supported_output_configs() else {
            return Vec::new();
        };
        let found = configs.filter_map(|config| match *config.buffer_size() {
            SupportedBufferSize::Range { min, max } => Some(Format {
                rates: config.min_sample_rate()..=config.max_sample_rate(),
                blocks: min..=max,
            }),
            // The wrapper does not use those.
            SupportedBufferSize::Unknown => None,
        });
        let mut formats: Vec<Format> = Vec::new();
        for format in found {
            // There is one for each kind of sample and number of channels.
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        formats
    }

    fn midi_inputs() -> Result<Vec<String>, midir::InitError> {
        let input = MidiInput::new("audiodiff devices")?;
        let ports = input.ports();
        let names = ports.iter().filter_map(|port| input.port_name(port).ok());
        Ok(names.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: &str, rates: RangeInclusive<u32>, blocks: RangeInclusive<u32>) -> Output {
        Output {
            name: name.into(),
            is_default: name == "default",
            formats: vec![Format { rates, blocks }],
        }
    }

    fn available() -> Available {
        Available {
            outputs: vec![
                output("default", 8000..=96_000, 16..=4096),
                output("Old card", 44_100..=44_100, 1024..=2048),
            ],
            midi_inputs: vec![
                "Midi Through:Midi Through Port-0 14:0".into(),
                "Keys:Keys MIDI 1 24:0".into(),
            ],
        }
    }

    fn backends(plans: &[Plan]) -> Vec<Backend> {
        plans.iter().map(|plan| plan.backend.unwrap()).collect()
    }

    #[test]
    fn what_is_chosen_comes_first_and_something_always_runs() {
        use Backend::{Jack, Silent, System};
        let plans_of = |choice: &Choice| plans(choice, &available());
        let usual = plans_of(&Choice::default());
        assert_eq!(backends(&usual), [Jack, System, System, Silent]);
        assert_eq!(usual[0].arguments(), ["--backend=jack"]);
        assert!(usual[..2].iter().all(|it| it.remarks.is_empty()));
        assert_eq!(
            usual[1].arguments()[1..],
            [
                "--midi-input=Keys:Keys MIDI 1 24:0",
                "--sample-rate=48000",
                "--period-size=512"
            ]
        );
        assert_eq!(usual[2].midi_input, None);
        assert_eq!(usual[3].arguments(), ["--backend=dummy"]);
        assert_eq!(
            usual[3].remarks,
            ["no audio device can be played on: nothing is heard"]
        );
        let chosen = Choice {
            backend: Some(System),
            output: Some("Old card".into()),
            midi: Midi::None,
            ..Choice::default()
        };
        let plans = plans_of(&chosen);
        assert_eq!(backends(&plans), [System, System, Silent]);
        // What it has is next to the usual, which nobody has asked for.
        assert_eq!(
            (plans[0].format, &plans[0].remarks),
            (Some((44_100, 1024)), &vec![])
        );
        assert!(
            plans[0]
                .arguments()
                .contains(&"--output-device=Old card".to_owned())
        );
        assert_eq!(plans[1].output, None);
        assert!(plans[1].remarks[0].contains("Old card cannot be played on"));
        let silent = Choice {
            backend: Some(Silent),
            ..chosen
        };
        assert_eq!(backends(&plans_of(&silent)), [Silent]);
        assert!(Plan::by_hand().arguments().is_empty());
    }

    #[test]
    fn what_is_gone_is_told() {
        let choice = Choice {
            backend: Some(Backend::Jack),
            output: Some("Gone card".into()),
            midi: Midi::Named("Gone keys 20:0".into()),
            sample_rate: Some(192_000),
            block: Some(512),
        };
        let plans = plans(&choice, &available());
        assert_eq!(plans.len(), 3);
        assert_eq!(
            (plans[1].format, &plans[1].midi_input),
            (Some((96_000, 512)), &None)
        );
        assert_eq!(
            plans[1].remarks,
            [
                "JACK does not run: ALSA is played on instead".replace("ALSA", Backend::System.name()),
                "Gone card is not there: the system's default is played on".into(),
                "the device has not 192000 Hz with blocks of 512 frames: 96000 Hz with 512 are used".into(),
                "the MIDI input Gone keys 20:0 is not there: no MIDI comes in".into(),
            ]
        );
        // A machine without any device.
        let none = super::plans(&Choice::default(), &Available::default());
        assert_eq!(
            backends(&none),
            [Backend::Jack, Backend::System, Backend::Silent]
        );
        assert_eq!(none[1].format, Some(USUAL));
    }

    #[test]
    fn midi_inputs_are_known_by_their_names() {
        let available = available();
        let found = |name| available.midi_input(name).map(String::as_str);
        assert_eq!(
            found("Keys:Keys MIDI 1 32:0"),
            Some("Keys:Keys MIDI 1 24:0")
        );
        assert_eq!(found("Keys:Keys MIDI 2 24:0"), None);
        assert_eq!(without_numbers("IAC Driver Bus 1"), "IAC Driver Bus");
        assert_eq!(without_numbers("Launchpad X"), "Launchpad X");
    }

    #[test]
    fn choices_are_offered_and_kept() {
        let [default, old] = &available().outputs[..] else {
            panic!("there are two");
        };
        assert_eq!(default.rates(), [44_100, 48_000, 88_200, 96_000]);
        assert_eq!(old.rates(), [44_100]);
        assert_eq!(old.blocks(44_100), [1024, 2048]);
        assert!(old.blocks(48_000).is_empty());
        let mut busy = available();
        busy.outputs[1].formats.clear();
        assert!(busy.outputs[1].rates().is_empty());
        assert_eq!(busy.with_busy(&available()), available());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("standalone.json");
        let choice = Choice {
            backend: Some(Backend::System),
            midi: Midi::Named("Keys".into()),
            block: Some(64),
            ..Choice::default()
        };
        choice.save_to(&path).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert_eq!(serde_json::from_slice::<Choice>(&text).unwrap(), choice);
        assert_eq!(
            serde_json::from_str::<Choice>("{}").unwrap(),
            Choice::default()
        );
    }
}
