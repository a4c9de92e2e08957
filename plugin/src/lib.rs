//! audiodiff as an instrument in a host: a CLAP and a VST3 plugin.
//!
//! A background thread makes a sound ([`generator`]), the audio thread plays it on the keys
//! ([`voice`]), and the project keeps it ([`state`]). Between the two threads stands one
//! [`Store`]. `process` never allocates, locks, waits or frees.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use nice_plug::midi::{Channel, Key, VoiceID};
use nice_plug::prelude::*;

pub mod generator;
pub mod model;
pub mod params;
pub mod state;
pub mod voice;

use generator::{Generator, Status};
use params::PluginParams;
use state::Store;
use voice::{Note, VOICES, Voices};

/// Frames that are played with the same pitch while it glides.
const STRIDE: usize = 32;

/// How long an offline rendering waits for a sound that is being made.
const OFFLINE_WAIT: Duration = Duration::from_secs(120);

/// One instance.
pub struct Audiodiff {
    params: Arc<PluginParams>,
    /// Shared with the generator and with whoever saves and loads.
    store: Arc<Store>,
    status: Arc<Status>,
    /// From the first activation on: a host that only scans starts no thread.
    generator: Option<Generator>,
    /// The audio thread's own.
    voices: Voices,
    /// The host's, Hz.
    sample_rate: f32,
}

impl std::fmt::Debug for Audiodiff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audiodiff")
            .field("voices", &self.voices)
            .finish_non_exhaustive()
    }
}

impl Default for Audiodiff {
    fn default() -> Self {
        let (store, status) = (Arc::new(Store::default()), Arc::new(Status::default()));
        Self {
            params: Arc::new(PluginParams::new(&store, &status)),
            store,
            status,
            generator: None,
            voices: Voices::default(),
            sample_rate: 44_100.0,
        }
    }
}

impl Audiodiff {
    /// Takes the newest sound if there is one, and plays the next frames over what is in `left` and
    /// `right`. `next_event` gives the notes in their order; `ended` hears of notes that are over
    /// and at which frame.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn play(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        next_event: &mut dyn FnMut() -> Option<NoteEvent<()>>,
        ended: &mut dyn FnMut(Note, u32),
    ) {
        if let Some(sound) = self.store.take() {
            self.voices.set_sound(sound);
        }
        left.fill(0.0);
        right.fill(0.0);
        let len = left.len().min(right.len());
        let mut next = next_event();
        let mut start = 0;
        while start < len {
            while let Some(event) = next
                && event.timing() as usize <= start
            {
                self.note(event, ended);
                next = next_event();
            }
            let due = next
                .as_ref()
                .map_or(len, |event| (event.timing() as usize).min(len));
            let end = due.min(start + STRIDE);
            let controls = self.params.controls(self.sample_rate, (end - start) as u32);
            let (left, right) = (&mut left[start..end], &mut right[start..end]);
            self.voices.render(left, right, &controls, &mut |note| {
                ended(note, start as u32)
            });
            for (left, right) in left.iter_mut().zip(right) {
                let gain = self.params.gain.smoothed.next();
                *left *= gain;
                *right *= gain;
            }
            start = end;
        }
        // A host may send notes along with no frames at all.
        while let Some(event) = next {
            self.note(event, ended);
            next = next_event();
        }
    }

    fn note(&mut self, event: NoteEvent<()>, ended: &mut dyn FnMut(Note, u32)) {
        let named = |id: VoiceID, channel: Channel, key: Key| Note {
            id: id.id(),
            channel: channel.number(),
            key: key.number(),
        };
        match event {
            NoteEvent::NoteOn {
                timing,
                voice_id,
                channel,
                key,
                velocity,
            } => {
                let note = named(voice_id, channel, key);
                self.voices
                    .note_on(note, velocity, &mut |note| ended(note, timing));
            }
            NoteEvent::NoteOff {
                voice_id,
                channel,
                key,
                ..
            } => {
                self.voices.note_off(named(voice_id, channel, key));
            }
            NoteEvent::Choke {
                timing,
                voice_id,
                channel,
                key,
            } => {
                self.voices
                    .choke(named(voice_id, channel, key), &mut |note| {
                        ended(note, timing)
                    });
            }
            NoteEvent::PolyTuning {
                voice_id,
                channel,
                key,
                tuning,
                ..
            } => {
                self.voices.tune(named(voice_id, channel, key), tuning);
            }
            _ => {}
        }
    }

    /// Where this instance's sound lives.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Prepares for a host that runs at `sample_rate`, and asks for a first sound where the project
    /// brings none. With `wait`, until it is there. Not for the audio thread.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn prepare(
        &mut self,
        sample_rate: f32,
        wait: bool,
        open: generator::Open,
    ) -> std::io::Result<()> {
        self.sample_rate = sample_rate;
        self.store.set_sample_rate(sample_rate.round() as u32);
        // Where they are, not gliding there from nothing.
        self.params.gain.smoothed.reset(self.params.gain.value());
        self.params.pitch.smoothed.reset(self.params.pitch.value());
        if self.generator.is_none() {
            if self.store.project().sound.is_none() && self.store.pending().is_none() {
                self.store.ask();
            }
            let params = self.params.clone();
            self.generator = Some(Generator::start(
                self.store.clone(),
                self.status.clone(),
                open,
                Box::new(move |names| params.recipe(names)),
            )?);
        }
        let start = std::time::Instant::now();
        while wait && self.store.pending().is_some() && start.elapsed() < OFFLINE_WAIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Plugin for Audiodiff {
    const NAME: &'static str = "audiodiff";
    const VENDOR: &'static str = "audiodiff";
    const URL: &'static str = "";
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[AudioIOLayout {
        main_input_channels: None,
        main_output_channels: NonZeroU32::new(2),
        names: PortNames {
            layout: Some("Stereo"),
            // The framework names the output after this.
            main_input: Some("Out"),
            main_output: Some("Out"),
            ..PortNames::const_default()
        },
        ..AudioIOLayout::const_default()
    }];
    // More would add 2080 hidden parameters to the VST3, which some hosts take minutes to list.
    const MIDI_INPUT: MidiConfig = MidiConfig::Basic;
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;
    // A queue that overflows allocates; a dense arrangement overflows the usual 1024.
    const INPUT_EVENT_CAPACITY: usize = 16_384;

    type Editor = ();
    type SysExMessage = ();
    type BackgroundTask = ();

    fn params(&self) -> Arc<dyn Params> {
        self.params.clone()
    }

    /// A project saved with the switch on must not set off a generation when it is loaded.
    fn filter_state(state: &mut PluginState) {
        state.params.remove("generate");
    }

    fn activate(
        &mut self,
        _: &AudioIOLayout,
        config: &BufferConfig,
        _: &mut impl ActivateContext<Self>,
    ) -> bool {
        // Blocking is allowed here. An offline rendering must not come out silent because the
        // sound was still being made.
        let offline = config.process_mode == ProcessMode::Offline;
        match self.prepare(config.sample_rate, offline, Box::new(model::open)) {
            Ok(()) => true,
            Err(error) => {
                nice_error!("no thread for making sounds: {error}");
                false
            }
        }
    }

    fn reset(&mut self) {
        self.voices.reset();
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let [left, right] = buffer.as_slice() else {
            return ProcessStatus::Error("expected two channels");
        };
        // Both closures need the context, one after the other.
        let context = std::cell::RefCell::new(context);
        self.play(
            left,
            right,
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
        if self.voices.is_active() {
            ProcessStatus::KeepAlive
        } else {
            ProcessStatus::Normal
        }
    }
}

impl ClapPlugin for Audiodiff {
    const CLAP_ID: &'static str = "audiodiff.audiodiff";
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
}

impl Vst3Plugin for Audiodiff {
    const VST3_CLASS_ID: [u8; 16] = *b"audiodiffSynth01";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] = &[
        Vst3SubCategory::Instrument,
        Vst3SubCategory::Synth,
        Vst3SubCategory::Sampler,
        Vst3SubCategory::Stereo,
    ];
}

nice_export_clap!(Audiodiff);
nice_export_vst3!(Audiodiff);
