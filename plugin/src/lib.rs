//! audiodiff as an instrument in a host: a CLAP and a VST3 plugin.
//!
//! Sixteen pads hold a sound each. A background thread makes them ([`generator`]), the audio thread
//! plays them ([`voice`]), and the project keeps them ([`state`]). Between the two threads stands one
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
use state::{Inbox, PADS, Store, Task};
use voice::{Begin, Note, PadControls, STRIDE, VOICES, Voices};

/// How far the note expression for brightness moves a cutoff, up or down.
const BRIGHTNESS_OCTAVES: f32 = 4.0;

/// How long an offline rendering waits for sounds that are being made.
const OFFLINE_WAIT: Duration = Duration::from_secs(120);

/// One instance.
pub struct Audiodiff {
    params: Arc<PluginParams>,
    /// Shared with the generator and with whoever saves and loads.
    store: Arc<Store>,
    status: Arc<Status>,
    /// From the first activation on: a host that only scans starts no thread.
    generator: Option<Generator>,
    /// The audio thread's own, as all that follows.
    voices: Voices,
    inbox: Inbox,
    /// Those of pads that sound are up to date.
    controls: [PadControls; PADS],
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
        let ((store, inbox), status) = (Store::new(), Arc::new(Status::default()));
        Self {
            params: Arc::new(PluginParams::new(&store, &status)),
            store,
            status,
            generator: None,
            voices: Voices::default(),
            inbox,
            controls: [PadControls::PLAIN; PADS],
            sample_rate: 44_100.0,
        }
    }
}

impl Audiodiff {
    /// Takes new sounds if there are any, and overwrites `left` and `right` with the next frames.
    /// `next_event` gives the notes in their order; `ended` hears of notes that are over and at which
    /// frame.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn play(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        next_event: &mut dyn FnMut() -> Option<NoteEvent<()>>,
        ended: &mut dyn FnMut(Note, u32),
    ) {
        let voices = &mut self.voices;
        self.inbox.take(|pad, sound| voices.set_sound(pad, sound));
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
            for (pad, controls) in self.controls.iter_mut().enumerate() {
                if self.voices.is_pad_active(pad) {
                    *controls = self.params.pads[pad].controls();
                }
            }
            let (left, right) = (&mut left[start..end], &mut right[start..end]);
            self.voices.render(
                end - start,
                self.sample_rate,
                &self.controls,
                &mut |_, from_left, from_right| {
                    for (to, from) in left.iter_mut().zip(from_left) {
                        *to += from;
                    }
                    for (to, from) in right.iter_mut().zip(from_right) {
                        *to += from;
                    }
                },
                &mut |note| ended(note, start as u32),
            );
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
                self.note_on(note, velocity, &mut |note| ended(note, timing));
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
                let note = named(voice_id, channel, key);
                self.voices.express(note, |voice| voice.pitch = tuning);
            }
            NoteEvent::PolyVolume {
                voice_id,
                channel,
                key,
                gain,
                ..
            } => {
                let note = named(voice_id, channel, key);
                self.voices
                    .express(note, |voice| voice.gain = gain.max(0.0));
            }
            NoteEvent::PolyPan {
                voice_id,
                channel,
                key,
                pan,
                ..
            } => {
                let note = named(voice_id, channel, key);
                self.voices.express(note, |voice| voice.pan = pan);
            }
            NoteEvent::PolyBrightness {
                voice_id,
                channel,
                key,
                brightness,
                ..
            } => {
                // The middle leaves the cutoff where it is.
                let note = named(voice_id, channel, key);
                let octaves = BRIGHTNESS_OCTAVES * (2.0 * brightness - 1.0);
                self.voices.express(note, |voice| voice.cutoff = octaves);
            }
            NoteEvent::PolyModulation {
                voice_id,
                poly_modulation_id,
                normalized_offset,
                ..
            } => {
                if let Some((pad, change)) = self
                    .params
                    .modulation(poly_modulation_id, normalized_offset)
                {
                    self.voices.modulate(voice_id, pad, change);
                }
            }
            _ => {}
        }
    }

    fn note_on(&mut self, note: Note, velocity: f32, ended: &mut dyn FnMut(Note)) {
        let Some((pad, key)) = note.key.and_then(|key| self.params.route(key)) else {
            return ended(note);
        };
        let controls = self.params.pads[pad].controls();
        if controls.choke > 0 {
            let params = &self.params;
            let same = |other: usize| params.pads[other].choke.value() == i32::from(controls.choke);
            self.voices.choke_pads(same, ended);
        }
        self.controls[pad] = controls;
        let begin = Begin { pad, key, velocity };
        self.voices.note_on(note, begin, &controls, ended);
    }

    /// Where this instance's sounds live.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What the host shows and automates.
    pub fn parameters(&self) -> &Arc<PluginParams> {
        &self.params
    }

    /// Prepares for a host that runs at `sample_rate`, and asks for first sounds where the project
    /// brings none. With `wait`, until they are there. Not for the audio thread.
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
        if self.generator.is_none() {
            let project = self.store.project();
            for pad in (0..PADS).filter(|&pad| project.sound(pad).is_none()) {
                if self.store.pending(pad).is_none() {
                    self.store.ask(pad, Task::Generate);
                }
            }
            let params = self.params.clone();
            self.generator = Some(Generator::start(
                self.store.clone(),
                self.status.clone(),
                open,
                Box::new(move |names, request, sound| {
                    let pad = &params.pads[request.pad];
                    let recipe = || pad.recipe(names, request, sound);
                    (!pad.lock.value()).then(recipe).transpose()
                }),
            )?);
        }
        let start = std::time::Instant::now();
        while wait && self.store.next().is_some() && start.elapsed() < OFFLINE_WAIT {
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
        let triggers = ["generate", "vary"];
        state
            .params
            .retain(|id, _| !triggers.iter().any(|trigger| id.starts_with(trigger)));
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
