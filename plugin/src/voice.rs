//! Notes in, sound out: the voices that play one clip at many pitches.
//!
//! Everything here runs on the audio thread. Nothing allocates, locks or waits, and nothing frees:
//! every [`Sound`] is also held by the [`Store`](crate::state::Store) that published it.

use std::sync::Arc;

use audiodiff::audio::Clip;

/// Notes that sound at once; the oldest makes room for one more.
pub const VOICES: usize = 16;

/// Places for voices: those that sound and those that fade out because they had to make room.
const SLOTS: usize = 2 * VOICES;

/// How long a voice takes to fall silent when it is stolen or choked.
const FADE_MS: f32 = 4.0;

/// Time constant of what is left where a voice had to be cut at once.
const REST_MS: f32 = 2.0;

/// A voice below this is over: -100 dB.
const SILENT: f32 = 1e-5;

/// The key that plays a sound as it is, middle C.
const ROOT_KEY: u8 = 60;

/// A clip as the voices read it: stereo frames with silence around them.
#[derive(Debug, PartialEq)]
pub struct Sound {
    sample_rate: f32,
    /// One frame of silence, the sound, and two more of silence: a cubic needs a neighbour before and
    /// two after each position.
    frames: Vec<[f32; 2]>,
}

impl Sound {
    /// The clip in stereo. Samples that are not finite become silence.
    pub fn new(clip: &Clip) -> Self {
        let stereo = clip.with_channels(2);
        let [left, right] = stereo.channels() else {
            unreachable!("with_channels(2) gives two channels");
        };
        let finite = |x: f32| if x.is_finite() { x } else { 0.0 };
        let mut frames = Vec::with_capacity(left.len() + 3);
        frames.push([0.0; 2]);
        frames.extend(
            left.iter()
                .zip(right)
                .map(|(&l, &r)| [finite(l), finite(r)]),
        );
        frames.extend([[0.0; 2]; 2]);
        Self {
            sample_rate: clip.sample_rate() as f32,
            frames,
        }
    }

    /// Length without the silence around it.
    fn len_frames(&self) -> usize {
        self.frames.len() - 3
    }

    /// Both channels at `position` frames from the onset, which is below `len_frames()`: exact at
    /// whole positions, a Catmull-Rom cubic in between.
    fn at(&self, position: f64) -> [f32; 2] {
        let start = position as usize;
        let t = (position - start as f64) as f32;
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.frames[start + i]);
        std::array::from_fn(|k| {
            let (a, b, c, d) = (a[k], b[k], c[k], d[k]);
            let linear = c - a;
            let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
            let cube = 3.0 * (b - c) + d - a;
            b + 0.5 * t * (linear + t * (square + t * cube))
        })
    }
}

/// How a host names a note; what is absent stands for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The host's own number.
    pub id: Option<i32>,
    /// 0 to 15.
    pub channel: Option<u8>,
    /// 0 to 127; 60 is middle C.
    pub key: Option<u8>,
}

impl Note {
    /// Whether an event for `self` concerns the voice that began as `voice`.
    fn means(&self, voice: &Note) -> bool {
        match (self.id, voice.id) {
            (Some(a), Some(b)) => a == b,
            _ => {
                self.channel
                    .is_none_or(|channel| voice.channel == Some(channel))
                    && self.key.is_none_or(|key| voice.key == Some(key))
            }
        }
    }
}

/// What all voices obey, constant during one call of [`Voices::render`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controls {
    /// The host's sample rate, Hz.
    pub sample_rate: f32,
    /// Semitones.
    pub pitch: f32,
    /// Whether keys change the pitch.
    pub track_keys: bool,
    /// Time to fall by 60 dB from the onset on, or none.
    pub decay_ms: Option<f32>,
    /// Time to fall by 60 dB once the key is let go, or none: the sound plays to its end.
    pub release_ms: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Held,
    Released,
    /// On the way out, with the gain left; no longer one of the sounding voices.
    Fading(f32),
}

#[derive(Debug)]
struct Voice {
    sound: Arc<Sound>,
    note: Note,
    stage: Stage,
    position: f64,
    velocity: f32,
    /// Semitones, from note expressions.
    tune: f32,
    /// Decay and release so far.
    envelope: f32,
    /// The frame it played last: what a cut would make the output jump by.
    last: [f32; 2],
    /// When it began, counted in notes.
    age: u64,
}

/// All voices of one instance.
#[derive(Debug, Default)]
pub struct Voices {
    slots: [Option<Voice>; SLOTS],
    sound: Option<Arc<Sound>>,
    /// What abrupt ends left behind; decays to nothing.
    rest: [f32; 2],
    notes: u64,
}

impl Voices {
    /// Notes that begin from now on play `sound`; those that sound keep theirs.
    pub fn set_sound(&mut self, sound: Arc<Sound>) {
        self.sound = Some(sound);
    }

    /// Whether anything is to be heard.
    pub fn is_active(&self) -> bool {
        self.slots.iter().any(Option::is_some) || self.rest.iter().any(|x| x.abs() > SILENT)
    }

    /// Silence, at once.
    pub fn reset(&mut self) {
        self.slots = Default::default();
        self.rest = [0.0; 2];
    }

    /// Begins a note. Notes that end here, be it this one because there is no sound yet, are
    /// reported to `ended`.
    pub fn note_on(&mut self, note: Note, velocity: f32, ended: &mut dyn FnMut(Note)) {
        let Some(sound) = self.sound.clone() else {
            return ended(note);
        };
        let sounding = |voice: &&mut Voice| !matches!(voice.stage, Stage::Fading(_));
        if self.slots.iter_mut().flatten().filter(sounding).count() >= VOICES {
            let oldest = self
                .slots
                .iter_mut()
                .flatten()
                .filter(sounding)
                .min_by_key(|voice| voice.age);
            if let Some(oldest) = oldest {
                oldest.stage = Stage::Fading(1.0);
                ended(oldest.note);
            }
        }
        let slot = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                // More notes than fades have had time for: cut what has faded most.
                let left = |slot: &Option<Voice>| match slot.as_ref().map(|voice| voice.stage) {
                    Some(Stage::Fading(left)) => left,
                    _ => f32::INFINITY,
                };
                (0..SLOTS)
                    .min_by(|&a, &b| left(&self.slots[a]).total_cmp(&left(&self.slots[b])))
                    .unwrap_or(0)
            });
        if let Some(cut) = &self.slots[slot] {
            self.rest = [self.rest[0] + cut.last[0], self.rest[1] + cut.last[1]];
        }
        self.notes += 1;
        self.slots[slot] = Some(Voice {
            sound,
            note,
            stage: Stage::Held,
            position: 0.0,
            velocity: velocity.clamp(0.0, 1.0),
            tune: 0.0,
            envelope: 1.0,
            last: [0.0; 2],
            age: self.notes,
        });
    }

    /// Lets go of the voices that `note` means.
    pub fn note_off(&mut self, note: Note) {
        for voice in self.slots.iter_mut().flatten() {
            if voice.stage == Stage::Held && note.means(&voice.note) {
                voice.stage = Stage::Released;
            }
        }
    }

    /// Silences the voices that `note` means, as fast as goes without a click.
    pub fn choke(&mut self, note: Note, ended: &mut dyn FnMut(Note)) {
        for voice in self.slots.iter_mut().flatten() {
            if !matches!(voice.stage, Stage::Fading(_)) && note.means(&voice.note) {
                voice.stage = Stage::Fading(1.0);
                ended(voice.note);
            }
        }
    }

    /// Detunes the voices that `note` means.
    pub fn tune(&mut self, note: Note, semitones: f32) {
        for voice in self
            .slots
            .iter_mut()
            .flatten()
            .filter(|voice| note.means(&voice.note))
        {
            voice.tune = semitones;
        }
    }

    /// Adds the next frames to `left` and `right`, which are equally long. Notes that come to their
    /// end are reported to `ended`.
    pub fn render(
        &mut self,
        left: &mut [f32],
        right: &mut [f32],
        controls: &Controls,
        ended: &mut dyn FnMut(Note),
    ) {
        let rate = controls.sample_rate.max(1.0);
        let per_frame =
            |ms: Option<f32>| ms.map_or(1.0, |ms| 0.001f32.powf(1000.0 / (ms.max(1.0) * rate)));
        let (decay, release) = (per_frame(controls.decay_ms), per_frame(controls.release_ms));
        let fade = 1000.0 / (FADE_MS * rate);
        for slot in &mut self.slots {
            let Some(voice) = slot else { continue };
            let key = if controls.track_keys {
                voice.note.key.unwrap_or(ROOT_KEY)
            } else {
                ROOT_KEY
            };
            let semitones = f32::from(key) - f32::from(ROOT_KEY) + controls.pitch + voice.tune;
            let step =
                f64::from(voice.sound.sample_rate / rate) * f64::from(semitones / 12.0).exp2();
            let mut over = false;
            for (left, right) in left.iter_mut().zip(right.iter_mut()) {
                if voice.position >= voice.sound.len_frames() as f64 || voice.envelope < SILENT {
                    over = true;
                    break;
                }
                let mut gain = voice.velocity * voice.envelope;
                voice.envelope *= decay;
                match &mut voice.stage {
                    Stage::Held => {}
                    Stage::Released => voice.envelope *= release,
                    Stage::Fading(remaining) => {
                        gain *= *remaining;
                        *remaining -= fade;
                        over = *remaining <= 0.0;
                    }
                }
                voice.last = voice.sound.at(voice.position).map(|x| x * gain);
                *left += voice.last[0];
                *right += voice.last[1];
                voice.position += step;
                if over {
                    break;
                }
            }
            if over {
                if !matches!(voice.stage, Stage::Fading(_)) {
                    ended(voice.note);
                }
                // Not freed here: the store holds the sound too.
                *slot = None;
            }
        }
        let kept = (-1000.0 / (REST_MS * rate)).exp();
        for (left, right) in left.iter_mut().zip(right) {
            self.rest = self.rest.map(|x| x * kept);
            *left += self.rest[0];
            *right += self.rest[1];
        }
        if self.rest.iter().all(|x| x.abs() <= SILENT) {
            self.rest = [0.0; 2];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    const CONTROLS: Controls = Controls {
        sample_rate: RATE as f32,
        pitch: 0.0,
        track_keys: true,
        decay_ms: None,
        release_ms: None,
    };

    fn sine(hz: f64, len: usize) -> Clip {
        let at = |i: usize| (std::f64::consts::TAU * hz * i as f64 / f64::from(RATE)).sin() as f32;
        Clip::new(RATE, vec![(0..len).map(at).collect()])
    }

    fn voices(clip: &Clip) -> Voices {
        let mut voices = Voices::default();
        voices.set_sound(Arc::new(Sound::new(clip)));
        voices
    }

    fn note(key: u8) -> Note {
        Note {
            id: None,
            channel: Some(0),
            key: Some(key),
        }
    }

    fn render(voices: &mut Voices, len: usize, controls: &Controls) -> Vec<f32> {
        let (mut left, mut right) = (vec![0.0; len], vec![0.0; len]);
        voices.render(&mut left, &mut right, controls, &mut |_| {});
        left
    }

    fn largest_jump(samples: &[f32]) -> f32 {
        samples
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn the_root_key_plays_the_clip_bit_for_bit_and_then_silence() {
        let clip = sine(440.0, 1000);
        let mut voices = voices(&clip);
        voices.note_on(note(60), 1.0, &mut |_| {});
        let out = render(&mut voices, 1200, &CONTROLS);
        assert_eq!(out[..1000], clip.channels()[0]);
        assert!(out[1000..].iter().all(|&x| x == 0.0));
        assert!(!voices.is_active());
    }

    #[test]
    fn an_octave_up_is_twice_as_fast_and_pitch_adds_to_the_key() {
        let clip = sine(220.0, 48_000);
        for (key, pitch) in [(72, 0.0), (60, 12.0), (48, 24.0)] {
            let mut voices = voices(&clip);
            voices.note_on(note(key), 1.0, &mut |_| {});
            let out = render(&mut voices, 20_000, &Controls { pitch, ..CONTROLS });
            let wanted = sine(440.0, 20_000);
            // Away from the onset, where the clip begins with a corner.
            let error = out
                .iter()
                .zip(&wanted.channels()[0])
                .skip(8)
                .map(|(a, b)| (a - b).abs());
            let error = error.fold(0.0, f32::max);
            assert!(error < 1e-4, "key {key}, pitch {pitch}: {error}");
        }
    }

    #[test]
    fn a_clip_keeps_its_pitch_at_another_host_rate() {
        let mut voices = voices(&sine(300.0, 48_000));
        voices.note_on(note(60), 1.0, &mut |_| {});
        let out = render(
            &mut voices,
            9600,
            &Controls {
                sample_rate: 96_000.0,
                ..CONTROLS
            },
        );
        let crossings = out
            .windows(2)
            .filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0)
            .count();
        // 0.1 s of 300 Hz.
        assert!((29..=30).contains(&crossings), "{crossings}");
    }

    #[test]
    fn between_samples_a_cubic_follows_a_sine() {
        let sound = Sound::new(&sine(1000.0, 2000));
        for i in 1..900 {
            let position = 20.0 + i as f64 * 1.618;
            let wanted = (std::f64::consts::TAU * 1000.0 * position / f64::from(RATE)).sin() as f32;
            assert!((sound.at(position)[0] - wanted).abs() < 2e-4, "{position}");
        }
    }

    #[test]
    fn stealing_does_not_click() {
        // A slow sine moves by at most 2π · 50 / 48000 = 0.0065 a frame; 16 of them, and a few that
        // fade by 1/192 a frame, stay below 0.15. A cut would jump by up to 1.
        let mut voices = voices(&sine(50.0, 480_000));
        let mut out = Vec::new();
        for i in 0..200 {
            voices.note_on(note(60), 1.0, &mut |_| {});
            out.extend(render(&mut voices, 90 + i % 7, &CONTROLS));
        }
        assert!(out.iter().any(|x| x.abs() > 3.0));
        assert!(largest_jump(&out) < 0.15, "{}", largest_jump(&out));
    }

    #[test]
    fn even_a_storm_of_notes_does_not_click() {
        // One note a frame, far more than there are places to fade in.
        let mut voices = voices(&sine(50.0, 480_000));
        let mut out = Vec::new();
        for _ in 0..20 {
            out.extend(render(&mut voices, 700, &CONTROLS));
            for _ in 0..100 {
                voices.note_on(note(60), 1.0, &mut |_| {});
                out.extend(render(&mut voices, 1, &CONTROLS));
            }
        }
        assert!(out.iter().any(|x| x.abs() > 3.0));
        assert!(largest_jump(&out) < 0.35, "{}", largest_jump(&out));
    }

    #[test]
    fn sixteen_notes_sound_and_the_oldest_is_reported_when_one_more_comes() {
        let mut voices = voices(&sine(100.0, 48_000));
        let mut ended = Vec::new();
        for key in 0..18 {
            voices.note_on(note(key), 1.0, &mut |note| ended.push(note));
        }
        assert_eq!(ended, [note(0), note(1)]);
    }

    #[test]
    fn releasing_falls_by_60_db_in_the_stated_time_and_a_one_shot_does_not_listen() {
        let clip = Clip::new(RATE, vec![vec![1.0; 48_000]]);
        let controls = Controls {
            release_ms: Some(100.0),
            ..CONTROLS
        };
        let mut released = voices(&clip);
        released.note_on(note(60), 1.0, &mut |_| {});
        released.note_off(Note {
            id: None,
            channel: None,
            key: Some(61),
        });
        assert_eq!(render(&mut released, 100, &controls)[99], 1.0);
        released.note_off(note(60));
        let out = render(&mut released, 4801, &controls);
        assert!((out[4800] - 0.001).abs() < 1e-5, "{}", out[4800]);

        let mut one_shot = voices(&clip);
        one_shot.note_on(note(60), 1.0, &mut |_| {});
        one_shot.note_off(note(60));
        assert_eq!(render(&mut one_shot, 4801, &CONTROLS)[4800], 1.0);
    }

    #[test]
    fn decay_falls_by_60_db_in_the_stated_time() {
        let mut voices = voices(&Clip::new(RATE, vec![vec![1.0; 48_000]]));
        voices.note_on(note(60), 0.5, &mut |_| {});
        let out = render(
            &mut voices,
            24_001,
            &Controls {
                decay_ms: Some(500.0),
                ..CONTROLS
            },
        );
        assert_eq!(out[0], 0.5);
        assert!((out[24_000] - 0.0005).abs() < 5e-6, "{}", out[24_000]);
    }

    #[test]
    fn without_a_sound_there_is_silence_and_the_note_is_over() {
        let mut voices = Voices::default();
        let mut ended = Vec::new();
        voices.note_on(note(60), 1.0, &mut |note| ended.push(note));
        assert_eq!(ended, [note(60)]);
        assert!(
            render(&mut voices, 500, &CONTROLS)
                .iter()
                .all(|&x| x == 0.0)
        );
    }

    #[test]
    fn a_note_keeps_the_sound_it_began_with() {
        let mut voices = voices(&Clip::new(RATE, vec![vec![0.25; 1000]]));
        voices.note_on(note(60), 1.0, &mut |_| {});
        voices.set_sound(Arc::new(Sound::new(&Clip::new(
            RATE,
            vec![vec![0.5; 1000]],
        ))));
        assert_eq!(render(&mut voices, 10, &CONTROLS)[5], 0.25);
        voices.note_on(note(62), 1.0, &mut |_| {});
        assert!((render(&mut voices, 10, &CONTROLS)[5] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn odd_sounds_are_played_without_harm() {
        for clip in [
            Clip::new(1, vec![vec![]]),
            Clip::new(RATE, vec![vec![1.0]]),
            Clip::new(RATE, vec![vec![f32::NAN, f32::INFINITY, 1.0]; 2]),
        ] {
            for pitch in [-24.0, 0.0, 24.0] {
                let mut voices = voices(&clip);
                voices.note_on(note(127), 7.0, &mut |_| {});
                let out = render(
                    &mut voices,
                    500,
                    &Controls {
                        pitch,
                        sample_rate: 0.0,
                        ..CONTROLS
                    },
                );
                assert!(out.iter().all(|x| x.is_finite()));
            }
        }
    }
}
