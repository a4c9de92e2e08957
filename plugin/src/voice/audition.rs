//! Sounds that are heard without a pad, one at a time.

use std::sync::Arc;

use super::glide::Glide;
use super::residual::Residual;
use super::sinc::Sinc;
use super::single::{FADE_MS, Stage, Voice};
use super::{NoteAddress, PadControls, PadSounds, STRIDE};
use crate::pad::PADS;

/// Places: the sound that is heard, and those before it that fade out.
const PLACES: usize = 8;

/// The voices of sounds that are auditioned: each as a plain pad plays it at full velocity ([`PadControls::PLAIN`]), and
/// each replaces the one before, which fades out.
///
/// As with [`Voices`](super::Voices), nothing allocates, locks, waits or frees.
#[derive(Debug)]
pub struct Auditions {
    slots: [Option<Voice>; PLACES],
    residual: Residual,
    begun: u64,
    sinc: &'static Sinc,
}

impl Default for Auditions {
    fn default() -> Self {
        Self {
            slots: std::array::from_fn(|_| None),
            residual: Residual::default(),
            begun: 0,
            sinc: Sinc::shared(),
        }
    }
}

impl Auditions {
    /// Plays the first of `sounds` from the next frame on, in the place of what is heard now.
    pub fn play(&mut self, sounds: Arc<PadSounds>) {
        self.stop();
        // The one that has faded most makes room; it comes to this only where they are begun in less time than a fade.
        let left = |slot: &Option<Voice>| match slot.as_ref().map(|voice| voice.stage) {
            None => -1.0,
            Some(Stage::Fading(left)) => left,
            Some(_) => f32::INFINITY,
        };
        let mut slots = self.slots.iter_mut();
        let first = slots.next().expect("there are places");
        let slot = slots.fold(
            first,
            |best, slot| {
                if left(slot) < left(best) { slot } else { best }
            },
        );
        if let Some(cut) = slot {
            self.residual.cut(cut.last);
        }
        self.begun += 1;
        let glide = Glide::at(0.0);
        *slot = Some(Voice::new(
            PADS,
            NoteAddress::NONE,
            1.0,
            glide,
            (sounds, 0),
            &PadControls::PLAIN,
            self.begun,
        ));
    }

    /// Fades out what is heard.
    pub fn stop(&mut self) {
        for voice in self.slots.iter_mut().flatten() {
            if !voice.is_fading() {
                voice.stage = Stage::Fading(1.0);
            }
        }
    }

    /// Silence, at once.
    pub fn reset(&mut self) {
        self.slots.fill_with(|| None);
        self.residual = Residual::default();
    }

    /// The position in the sound that is heard, as a fraction of it; none where none is, but for what fades out.
    #[must_use]
    pub fn playhead(&self) -> Option<f32> {
        let mut voices = self.slots.iter().flatten();
        voices.find(|voice| !voice.is_fading()).map(Voice::playhead)
    }

    /// Frames at `sample_rate` until it is silent.
    #[must_use]
    pub fn tail(&self, sample_rate: f32) -> u32 {
        let voices = self.slots.iter().flatten();
        let seconds = voices.map(|voice| voice.seconds_left() + FADE_MS / 1000.0);
        (seconds.fold(0.0, f32::max) * sample_rate).ceil() as u32
    }

    /// Renders the next `len` frames, at most [`STRIDE`], at `sample_rate`. `mix` is given each voice's frames, left
    /// and right.
    pub fn render(&mut self, len: usize, sample_rate: f32, mix: &mut dyn FnMut(&[f32], &[f32])) {
        let rate = sample_rate.max(1.0);
        let mut buffers = [[0f32; STRIDE]; 2];
        let [left, right] = &mut buffers;
        let (left, right) = (&mut left[..len], &mut right[..len]);
        for slot in &mut self.slots {
            let Some(voice) = slot else { continue };
            let over = voice.render(left, right, rate, 0.0, &PadControls::PLAIN, self.sinc);
            mix(left, right);
            if over {
                // Not freed here: whoever began it holds the sound too.
                *slot = None;
            }
        }
        if self.residual.render(left, right, rate) {
            mix(left, right);
        }
    }
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::Clip;

    use super::*;
    use crate::voice::PlayableSound;

    const RATE: u32 = 48_000;

    fn sound(samples: Vec<f32>) -> Arc<PadSounds> {
        let sound = PlayableSound::new(&Clip::new(RATE, vec![samples]));
        Arc::new(PadSounds::from(sound))
    }

    fn heard(auditions: &mut Auditions, len: usize) -> Vec<f32> {
        let mut out = vec![0.0; len];
        for out in out.chunks_mut(STRIDE) {
            auditions.render(out.len(), RATE as f32, &mut |left, right| {
                assert_eq!(left, right);
                out.iter_mut().zip(left).for_each(|(to, x)| *to += x);
            });
        }
        out
    }

    #[test]
    fn a_sound_is_heard_bit_for_bit_and_its_playhead_moves() {
        let wave: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.1).sin()).collect();
        let mut auditions = Auditions::default();
        assert_eq!((auditions.playhead(), auditions.tail(48e3)), (None, 0));
        auditions.play(sound(wave.clone()));
        assert_eq!(auditions.playhead(), Some(0.0));
        assert_eq!(heard(&mut auditions, 500), wave[..500]);
        assert_eq!(auditions.playhead(), Some(0.5));
        let fade = (FADE_MS * 48.0) as u32;
        assert!(auditions.tail(48_000.0).abs_diff(500 + fade) <= 1);
        assert_eq!(heard(&mut auditions, 500), wave[500..]);
        assert_eq!(heard(&mut auditions, 100), [0.0; 100]);
        assert_eq!((auditions.playhead(), auditions.tail(48e3)), (None, 0));
    }

    #[test]
    fn the_next_replaces_it_within_four_milliseconds() {
        let mut auditions = Auditions::default();
        auditions.play(sound(vec![0.5; 9600]));
        heard(&mut auditions, 960);
        auditions.play(sound(vec![0.0; 9600]));
        let out = heard(&mut auditions, 192);
        let jumps = out.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(jumps.fold(0.0, f32::max) < 0.5 / 191.0);
        assert!((out[95] - 0.25).abs() < 0.003 && out[191].abs() < 0.003);
        assert_eq!(heard(&mut auditions, 192)[1..], [0.0; 191]);
        auditions.stop();
        assert_eq!(auditions.playhead(), None);
        heard(&mut auditions, 200);
        assert!(auditions.slots.iter().all(Option::is_none));
    }

    #[test]
    fn a_storm_of_them_neither_clicks_nor_leaves_a_sound_held() {
        let sounds = sound(vec![0.5; 48_000]);
        let mut auditions = Auditions::default();
        let mut out = Vec::new();
        for i in 0..100 {
            auditions.play(sounds.clone());
            out.extend(heard(&mut auditions, 1 + i % 5));
        }
        // Each begins with a jump of its own by 0.5, upwards. A cut would be one by 0.44 downwards; there are only the
        // slopes of what they all left.
        let falls = out.windows(2).map(|pair| pair[0] - pair[1]);
        let deepest = falls.fold(0.0, f32::max);
        assert!(deepest < 0.2, "{deepest}");
        auditions.stop();
        heard(&mut auditions, 200);
        assert_eq!(Arc::strong_count(&sounds), 1);
    }
}
