//! audiodiff as an instrument in a host: a CLAP and a VST3 plugin.
//!
//! Sixteen pads hold a sound each. A background thread makes the sounds ([`generator`]), the audio thread plays them
//! ([`voice`]), and the project keeps them ([`project`], [`stored`]). Between the threads stands one [`Store`]. `process` never
//! allocates, locks, waits or frees. There are two plugins, with one output and with one more for each pad.
//!
//! # Papers
//!
//! | Short name | Reference |
//! |---|---|
//! | Simper 2013 | Linear Trapezoidal State Variable Filter (SVF), Cytomic |
//! | Parker et al. 2016 | Reducing the Aliasing of Nonlinear Waveshaping Using Continuous-Time Convolution, DAFx-16 |
//! | van der Maaten & Hinton 2008 | Visualizing Data using t-SNE, JMLR 9 |
//! | Torgerson 1952 | Multidimensional Scaling: I. Theory and Method, Psychometrika 17 |

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;

mod audio_thread;
pub mod audition;
pub mod controllers;
#[cfg(target_os = "linux")]
pub mod desktop;
pub mod display;
pub mod emergence;
pub mod explore;
pub mod generator;
pub mod job;
pub mod keymap;
pub mod kit;
pub mod kits;
pub mod learn;
pub mod model;
mod offline;
pub mod pad;
pub mod params;
mod placing;
pub mod portrait;
pub mod project;
pub mod recorder;
pub mod requests;
pub mod settings;
pub mod standalone;
mod state;
pub mod status;
pub mod store;
pub mod stored;
pub mod touch;
pub mod tray;
pub mod typing;
pub mod undo;
pub mod voice;
pub mod window;
mod workers;

use display::Display;
use generator::Generator;
use job::Job;
use kit::{Kit, MAX_LENGTH_SECONDS};
use learn::Learner;
use offline::Offline;
use pad::PADS;
use params::PluginParams;
use requests::Task;
use settings::AllCores;
use status::Status;
use store::{Inbox, Store};
use voice::{Auditions, PadControls, VOICES, Voices};

/// How long an offline rendering waits for a step of a sound that is being made.
const OFFLINE_WAIT: Duration = Duration::from_secs(60);

/// One instance. If `MULTI`, each pad may have an output of its own besides the main one. If `WHEELS`, it is given
/// pedals, wheels and controllers: with them nice-plug gives a VST3 2080 hidden parameters, which some hosts take minutes to list.
pub struct Instrument<const MULTI: bool, const WHEELS: bool = false> {
    params: Arc<PluginParams>,
    /// Shared with the generator and with whoever saves and loads.
    store: Arc<Store>,
    status: Arc<Status>,
    display: Arc<Display>,
    /// From the first activation on: a host that only scans starts no thread.
    generator: Option<Generator>,
    /// Shared with the window.
    learner: OwnLearner,
    /// The audio thread's own, as are all fields below.
    voices: Voices,
    auditions: Auditions,
    inbox: Inbox,
    kit: Kit,
    /// By pad; up to date for pads that sound.
    controls: [PadControls; PADS],
    /// The gain of the whole that it is at, or on its way to.
    gain: f32,
    /// The host's rate, Hz.
    sample_rate: f32,
    offline: Offline,
    /// Whether a note waits for the sounds that it is to play.
    waits: bool,
    /// The newest request that was waited for in vain.
    given_up: u64,
}

/// The learning of an instance, which ends with it, whoever else shares it: a host may unload the plugin and its code
/// right after.
struct OwnLearner(Arc<Learner>);

impl Drop for OwnLearner {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The instrument with one output.
pub type Audiodiff = Instrument<false>;

/// The instrument with an output for each pad besides the main one.
pub type AudiodiffMulti = Instrument<true>;

/// [`Audiodiff`] with pedals, wheels and controllers.
pub type AudiodiffWithWheels = Instrument<false, true>;

/// [`AudiodiffMulti`] with pedals and wheels.
type AudiodiffMultiWithWheels = Instrument<true, true>;

impl<const MULTI: bool, const WHEELS: bool> std::fmt::Debug for Instrument<MULTI, WHEELS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instrument")
            .field("voices", &self.voices)
            .finish_non_exhaustive()
    }
}

impl<const MULTI: bool, const WHEELS: bool> Default for Instrument<MULTI, WHEELS> {
    fn default() -> Self {
        let ((store, inbox), display) = (Store::new(), Arc::new(Display::default()));
        let status = Arc::new(Status::new(display.repaint().clone()));
        Self {
            params: Arc::new(PluginParams::new(&store)),
            learner: OwnLearner(Arc::new(Learner::new(display.repaint().clone()))),
            store,
            status,
            display,
            generator: None,
            voices: Voices::default(),
            auditions: Auditions::default(),
            inbox,
            kit: Kit::default(),
            controls: [PadControls::PLAIN; PADS],
            gain: 1.0,
            sample_rate: 44_100.0,
            offline: Offline::default(),
            waits: false,
            given_up: 0,
        }
    }
}

impl<const MULTI: bool, const WHEELS: bool> Instrument<MULTI, WHEELS> {
    /// The sounds and requests of this instance.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The learning of this instance.
    #[must_use]
    pub fn learner(&self) -> &Arc<Learner> {
        &self.learner.0
    }

    /// What the audio thread and the window tell each other.
    #[must_use]
    pub fn display(&self) -> &Arc<Display> {
        &self.display
    }

    /// The parameters that the host shows and automates.
    #[must_use]
    pub fn parameters(&self) -> &Arc<PluginParams> {
        &self.params
    }

    /// Prepares for a host that runs at `sample_rate`, and asks for first sounds where the project
    /// brings none. Not for the audio thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn prepare(&mut self, sample_rate: f32, open: generator::Open) -> std::io::Result<()> {
        self.sample_rate = sample_rate;
        self.store.set_sample_rate(sample_rate.round() as u32);
        self.display
            .recorder()
            .set_sample_rate(sample_rate.round() as u32);
        // The gain starts at its value, instead of gliding there from zero.
        self.store.turning().settle(self.params.knobs());
        self.gain = self.params.main_gain();
        self.params.gain.smoothed.reset(self.gain);
        if self.generator.is_none() {
            let project = self.store.project();
            for pad in (0..PADS).filter(|&pad| project.sound(pad).is_none()) {
                if !self.store.is_pending(pad) {
                    self.store.ask(pad, Task::Generate);
                }
            }
            let params = self.params.clone();
            self.generator = Some(Generator::start(
                self.store.clone(),
                self.status.clone(),
                open,
                settings::recent_models,
                Box::new(move |model, request, project| {
                    let pad = &params.pads[request.pad];
                    if project.is_locked(request.pad) {
                        return Ok(Vec::new());
                    }
                    Job::all_of(pad, model, request, project)
                }),
            )?);
        }
        Ok(())
    }

    /// Waits until no sound is being made any more, for as long as steps of one are done within `patience`. What is
    /// given up is told, and not waited for again. Not in real time.
    pub fn settle(&mut self, patience: Duration) {
        (0..PADS).for_each(|pad| self.settle_pad(pad, patience));
    }

    /// Does so for the sound of one pad, and whatever that needs.
    fn settle_pad(&mut self, pad: usize, patience: Duration) {
        let store = self.store.clone();
        let waiting = || store.waiting(pad).filter(|&it| it > self.given_up);
        if waiting().is_none() {
            return;
        }
        store.want(Some(pad));
        let (mut seen, mut since) = (None, Instant::now());
        let _cores = AllCores::begin();
        while let Some(newest) = waiting() {
            let found = Some((newest, self.status.progress()));
            if found != seen {
                (seen, since) = (found, Instant::now());
            }
            if since.elapsed() > patience {
                self.given_up = self.store.newest();
                let seconds = patience.as_secs();
                let tell = || {
                    self.status.set_trouble(Some(format!(
                        "rendered without sounds that were still being made: none had come nearer for {seconds} s"
                    )));
                };
                nice_plug::util::permit_alloc(tell);
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        store.want(None);
    }

    /// Whether any sound is yet to come.
    fn is_pending(&self) -> bool {
        (0..PADS).any(|pad| self.store.is_pending(pad))
    }

    /// Offline, waits for the sound of a pad, and takes it. In real time there is nothing to wait for.
    fn await_sound(&mut self, pad: usize) {
        if self.waits && self.store.is_pending(pad) {
            self.settle_pad(pad, OFFLINE_WAIT);
            self.offline.waited(Instant::now());
            self.take_sounds();
        }
    }
}

const PAD_OUTPUTS: [&str; PADS] = [
    "Pad 1", "Pad 2", "Pad 3", "Pad 4", "Pad 5", "Pad 6", "Pad 7", "Pad 8", "Pad 9", "Pad 10",
    "Pad 11", "Pad 12", "Pad 13", "Pad 14", "Pad 15", "Pad 16",
];

const STEREO: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");

impl<const MULTI: bool, const WHEELS: bool> Plugin for Instrument<MULTI, WHEELS> {
    const NAME: &'static str = if MULTI {
        "audiodiff multi"
    } else {
        "audiodiff"
    };
    const VENDOR: &'static str = "audiodiff";
    const URL: &'static str = "";
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[AudioIOLayout {
        main_input_channels: None,
        main_output_channels: Some(STEREO),
        aux_output_ports: if MULTI { &[STEREO; PADS] } else { &[] },
        names: PortNames {
            layout: Some(if MULTI { "Main and pads" } else { "Stereo" }),
            // The framework names the output after this.
            main_input: Some("Out"),
            main_output: Some("Out"),
            aux_outputs: if MULTI { &PAD_OUTPUTS } else { &[] },
            ..PortNames::const_default()
        },
        ..AudioIOLayout::const_default()
    }];
    const MIDI_INPUT: MidiConfig = if WHEELS {
        MidiConfig::MidiCCs
    } else {
        MidiConfig::Basic
    };
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;
    // A queue that overflows allocates; a dense arrangement overflows the usual 1024.
    const INPUT_EVENT_CAPACITY: usize = 16_384;

    type Editor = window::Opener;
    type SysExMessage = ();
    type BackgroundTask = ();

    fn params(&self) -> Arc<dyn Params> {
        self.params.clone()
    }

    fn filter_state(state: &mut PluginState) {
        state::upgrade(state);
    }

    fn editor(&mut self, _: AsyncExecutor<Self>) -> Option<Self::Editor> {
        window::editor(
            window::size(),
            self.params.clone(),
            self.store.clone(),
            self.status.clone(),
            self.display.clone(),
            self.learner.0.clone(),
            window::Hosted {
                outputs: MULTI,
                controllers: WHEELS,
            },
        )
    }

    fn activate(
        &mut self,
        _: &AudioIOLayout,
        config: &BufferConfig,
        context: &mut impl ActivateContext<Self>,
    ) -> bool {
        self.offline = Offline::activated(config.process_mode, context.plugin_api());
        match self.prepare(config.sample_rate, Box::new(model::open)) {
            Ok(()) => true,
            Err(error) => {
                nice_error!("no thread for making sounds: {error}");
                false
            }
        }
    }

    fn deactivate(&mut self) {
        standalone::end();
    }

    fn reset(&mut self) {
        self.voices.reset();
        self.auditions.reset();
        self.display.show_audition(None);
        self.display.show(&self.voices, [0.0; 2]);
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let [left, right] = buffer.as_slice() else {
            return ProcessStatus::Error("expected two channels");
        };
        let mut own: [[&mut [f32]; 2]; PADS] = Default::default();
        for (own, output) in own.iter_mut().zip(aux.outputs.iter_mut()) {
            if let [left, right] = output.as_slice() {
                *own = [left, right];
            }
        }
        let seconds = left.len() as f64 / f64::from(self.sample_rate);
        let is_wanted = self.is_pending();
        self.waits = self.offline.may_wait(seconds, Instant::now(), is_wanted);
        self.display.set_tempo(context.transport().tempo);
        // Both closures need the context, one after the other.
        let context = std::cell::RefCell::new(context);
        self.play(
            left,
            right,
            &mut own,
            &mut || context.borrow_mut().next_event(),
            &mut |note, timing| {
                let event = NoteEvent::VoiceTerminated {
                    timing,
                    voice_id: note.id.map_or(VoiceID::Wildcard, VoiceID::ID),
                    channel: note.channel.map_or(Channel::Wildcard, Channel::Number),
                    key: note.key.map_or(Key::Wildcard, Key::Number),
                };
                // Only a courtesy: a host without room for it loses nothing.
                let _ = context.borrow_mut().try_send_event(event);
            },
        );
        // Told when nothing sounds too: hosts ask for it then. It also keeps an instance awake whose pad may be clicked.
        let (params, kit, macros) = (&self.params, &self.kit, self.params.macro_values());
        let tempo = self.display.tempo();
        let controls = |pad: usize| params.controls(pad, &kit.pads[pad], macros, tempo);
        let known = self.voices.tail(self.sample_rate, controls);
        let known = known.max(self.auditions.tail(self.sample_rate));
        let coming = match self.is_pending() {
            true => (MAX_LENGTH_SECONDS * self.sample_rate) as u32,
            false => 0,
        };
        ProcessStatus::Tail(known.max(coming))
    }
}

impl<const MULTI: bool, const WHEELS: bool> ClapPlugin for Instrument<MULTI, WHEELS> {
    const CLAP_ID: &'static str = if MULTI {
        "audiodiff.audiodiff-multi"
    } else {
        "audiodiff.audiodiff"
    };
    const CLAP_DESCRIPTION: Option<&'static str> =
        Some("Plays sounds that a diffusion model makes");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] = &[
        ClapFeature::Instrument,
        ClapFeature::Synthesizer,
        ClapFeature::Sampler,
        ClapFeature::Stereo,
    ];
    const CLAP_POLY_MODULATION_CONFIG: Option<PolyModulationConfig> = Some(PolyModulationConfig {
        max_voice_capacity: VOICES as u32,
        supports_overlapping_voices: true,
    });

    fn remote_controls(&self, context: &mut impl RemoteControlsContext) {
        params::remote_controls(&self.params, context);
    }
}

impl<const MULTI: bool, const WHEELS: bool> Vst3Plugin for Instrument<MULTI, WHEELS> {
    const VST3_CLASS_ID: [u8; 16] = if MULTI {
        *b"audiodiffMulti01"
    } else {
        *b"audiodiffSynth01"
    };
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] = &[
        Vst3SubCategory::Instrument,
        Vst3SubCategory::Synth,
        Vst3SubCategory::Sampler,
        Vst3SubCategory::Stereo,
    ];
}

nice_export_clap!(AudiodiffWithWheels, AudiodiffMultiWithWheels);
nice_export_vst3!(Audiodiff, AudiodiffMulti);

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, PartialEq, Debug)]
    struct Class {
        id: String,
        name: String,
        categories: Vec<String>,
    }

    fn class<P: Vst3Plugin>() -> Class {
        let categories = P::VST3_SUBCATEGORIES.iter();
        Class {
            id: String::from_utf8(P::VST3_CLASS_ID.to_vec()).unwrap(),
            name: P::NAME.to_owned(),
            categories: categories.map(|it| format!("{it:?}")).collect(),
        }
    }

    #[test]
    fn the_bundle_tells_hosts_of_the_classes_that_are_in_it() {
        #[derive(Deserialize)]
        struct Entry {
            vendor: String,
            vst3: Vec<Class>,
        }
        let text = include_str!("../../bundler.toml");
        let entries: std::collections::BTreeMap<String, Entry> = toml::from_str(text).unwrap();
        let entry = &entries[env!("CARGO_PKG_NAME")];
        assert_eq!(entry.vendor, Audiodiff::VENDOR);
        assert_eq!(
            entry.vst3,
            [class::<Audiodiff>(), class::<AudiodiffMulti>()]
        );
    }
}
