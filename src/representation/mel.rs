//! [`Mel`]: the spectrum of a sound over time as the ear divides it, and a guess at the sound behind it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{Framing, within};
use super::statistics::for_each_clip;
use super::{Crop, Decoding, Format, Frames, PEAK, Representation, Statistics, rotate};
use crate::audio::Clip;
use crate::error::{Error, Result};

mod bank;
mod carrier;
mod decoder;
mod encoder;
mod griffin_lim;
mod harmonics;
mod noisiness;
mod peaks;
mod phases;
mod stereo;

use encoder::Encoder;
pub use stereo::Stereo;

/// Standard deviations are not taken as smaller than this, in the unit of their column (of levels and pans 0.4 dB): a
/// band that is empty in the whole training set would otherwise divide by zero.
const LEAST_SPREAD: f64 = 0.02;

/// Settings of [`Mel`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MelConfig {
    /// Window and transform length in frames of audio.
    pub n_fft: usize,
    /// Hop in frames of audio.
    pub hop: usize,
    /// Number of mel bands.
    pub mels: usize,
    /// Level against a clip's loudest cell below which all is silence, dB. Absent in older files, which mean -60.
    #[serde(default = "old_floor_db")]
    pub floor_db: f32,
    /// How two channels are laid out; means nothing for one. Absent in older files, which mean mid and side.
    #[serde(default = "Stereo::old")]
    pub stereo: Stereo,
}

fn old_floor_db() -> f32 {
    -60.0
}

impl Default for MelConfig {
    /// 128 bands of a transform of 2048 every 256 frames, down to -80 dB.
    fn default() -> Self {
        Self {
            n_fft: 2048,
            hop: 256,
            mels: 128,
            floor_db: -80.0,
            stereo: Stereo::Image,
        }
    }
}

impl fmt::Display for MelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_fft,
            hop,
            mels,
            floor_db,
            stereo: _,
        } = self;
        write!(f, "mel:{n_fft}:{hop}:{mels}:{floor_db}")
    }
}

impl Framing for MelConfig {
    fn parse(settings: &[&str]) -> Option<Self> {
        let config = Self::default();
        match settings {
            [] => Some(config),
            [n_fft, hop, mels, floor @ ..] if floor.len() <= 1 => Some(Self {
                n_fft: n_fft.parse().ok()?,
                hop: hop.parse().ok()?,
                mels: mels.parse().ok()?,
                floor_db: match floor {
                    [floor] => floor.parse().ok()?,
                    _ => config.floor_db,
                },
                ..config
            }),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        "mel"
    }

    fn check(&self) -> Result<()> {
        within("mel n_fft", self.n_fft, 64, 16_384)?;
        if !self.n_fft.is_power_of_two() {
            return Err(Error::setting(format!(
                "mel n_fft must be a power of two, found {}",
                self.n_fft
            )));
        }
        within("mel hop", self.hop, 1, self.n_fft / 2)?;
        within("mel bands", self.mels, 8, (self.n_fft / 2).min(512))?;
        if !(-120.0..=-20.0).contains(&self.floor_db) {
            return Err(Error::setting(format!(
                "mel floor must be -120 to -20 dB, found {}",
                self.floor_db
            )));
        }
        Ok(())
    }

    fn hop(&self) -> usize {
        self.hop
    }

    fn width(&self, channels: usize) -> usize {
        self.mels.saturating_mul(self.stereo.parts(channels))
    }

    /// Decoding holds the whole spectrogram, which is wider than its bands.
    fn widest(&self) -> usize {
        (self.n_fft / 2 + 1).max(self.width(1))
    }

    fn sigma_max(&self) -> f64 {
        150.0
    }

    fn guidance_interval(&self) -> (f64, f64) {
        (0.2, self.sigma_max())
    }

    fn p_mean_and_std(&self) -> (f64, f64) {
        (1.3, 1.8)
    }

    /// Levels are told against the loudest.
    fn gain_of_mid(&self) -> f32 {
        1.0
    }

    fn holds_level_and_sign(&self) -> bool {
        false
    }

    fn smooth_columns(&self) -> Option<usize> {
        Some(self.mels)
    }

    fn fit(
        &self,
        format: &Format,
        clips: &mut dyn Iterator<Item = Result<Arc<Clip>>>,
    ) -> Result<Statistics> {
        let mut encoder = Encoder::new(self, format);
        let width = self.width(format.channels);
        let (mut sums, mut squares, mut rows) = (vec![0.0; width], vec![0.0; width], 0u64);
        for_each_clip(format, self.hop, clips, |own, clip| {
            encoder.format = *own;
            for row in encoder.columns(clip)?.chunks_exact(width) {
                rows += 1;
                for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(row) {
                    *sum += f64::from(x);
                    *square += f64::from(x).powi(2);
                }
            }
            Ok(())
        })?;
        let rows = rows as f64;
        let spread = |(sum, square): (&f64, &f64)| {
            let variance = square / rows - (sum / rows).powi(2);
            variance.max(0.0).sqrt().max(LEAST_SPREAD) as f32
        };
        Ok(Statistics {
            mean: sums.iter().map(|sum| (sum / rows) as f32).collect(),
            scale: sums.iter().zip(&squares).map(spread).collect(),
        })
    }

    fn build(&self, format: &Format, statistics: &Statistics) -> Box<dyn Representation> {
        Box::new(Mel {
            encoder: Encoder::new(self, format),
            mean: statistics.mean.clone(),
            scale: statistics.scale.clone(),
        })
    }
}

/// Log-mel spectrogram, inverted by non-negative factorization, phase gradients and a carrier of noise.
///
/// One row for every `hop` frames of audio, from a periodic Hann window of `n_fft` frames centred on
/// the middle of the row's own hop, with silence assumed around the clip; so `T = len_frames / hop`
/// and the rows cover the clip evenly. Bands are triangles on the mel scale [Slaney 1998], with a peak
/// of 1. With `mel` a band's weighted sum of magnitudes, over the loudest cell of the clip,
///
/// ```text
/// z = (log10(mel + floor) - mu_k) / sd_k
/// ```
///
/// where mean and standard deviation are each column's own over all rows of the training set, and the floor is -80 dB
/// unless a model says otherwise. A row of two channels holds the bands' levels, then their pans
/// `log10((left + floor) / (right + floor))`, then their coherences, -1 to 1 ([`Stereo::Image`]); in older models the
/// magnitudes of mid, then of side.
///
/// Decoding finds a non-negative spectrum with these bands [Lee & Seung 2001], and then all that the bands do not tell:
///
/// - where tones stand out of their neighbours, the phases that belong to the magnitudes, by integrating their gradient
///   [Průša, Balazs & Søndergaard 2017];
/// - elsewhere, and above 2 to 5 kHz everywhere, the phases and the dips of a noise under the magnitudes' own envelope:
///   integrated phases of smooth magnitudes would line up into clicks;
/// - where the pitch is known ([`Decoding::note`]), the harmonics of that pitch instead of both, up to 5 kHz, and less
///   and less of them up to 12 kHz;
/// - by a few rounds of Griffin-Lim [Griffin & Lim 1984] silence before the onset, which the windows blur, and peaks no
///   higher over their surroundings than those of recordings.
///
/// It depends on nothing but the frames, the seed and the onset ([`Decoding`]).
///
/// Lost are phase, detail finer than a band, all that lies below the floor, tones that are hidden under wide bands,
/// and the level: decoded clips peak at 0.95, or are silent.
pub struct Mel {
    encoder: Encoder,
    /// Subtracted, one a column.
    mean: Vec<f32>,
    /// Divided by, one a column.
    scale: Vec<f32>,
}

impl Representation for Mel {
    fn format(&self) -> Format {
        self.encoder.format
    }

    fn shape(&self) -> (usize, usize) {
        (self.encoder.rows(), self.scale.len())
    }

    fn encode(&self, clip: &Clip) -> Result<Frames> {
        let mut data = self.encoder.columns(clip)?;
        let (frames, width) = self.shape();
        for row in data.chunks_exact_mut(width) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = (*x - mean) / scale;
            }
        }
        Ok(Frames {
            frames,
            width,
            data,
        })
    }

    fn decode(&self, frames: &Frames, with: &Decoding) -> Result<Clip> {
        frames.check(self.shape())?;
        let mut columns = frames.data.clone();
        for row in columns.chunks_exact_mut(frames.width) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
                *x = *x * scale + mean;
            }
        }
        Ok(decoder::decode(&self.encoder, &columns, with))
    }
}

impl fmt::Debug for Mel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mel")
            .field("format", &self.encoder.format)
            .field("n_fft", &self.encoder.transform.n_fft())
            .field("hop", &self.encoder.transform.hop())
            .field("mels", &self.encoder.bank.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RepresentationConfig;
    use super::*;
    use crate::audio::Measures;
    use crate::noise::Noise;
    use realfft::RealFftPlanner;
    use realfft::num_complex::Complex32;
    use std::f64::consts::TAU;

    const RATE: u32 = 44_100;

    /// Statistics in the middle of what log-mel frames of sounds have.
    fn mel(format: &Format) -> Box<dyn Representation> {
        let config = RepresentationConfig::mel();
        built(&config, format)
    }

    fn built(config: &RepresentationConfig, format: &Format) -> Box<dyn Representation> {
        let width = config.width(format.channels);
        let statistics = Statistics {
            mean: vec![-2.0; width],
            scale: vec![0.7; width],
        };
        config.build(format, &statistics).unwrap()
    }

    fn mono(len_frames: usize) -> Format {
        Format {
            sample_rate: RATE,
            channels: 1,
            len_frames,
        }
    }

    fn there_and_back(channels: Vec<Vec<f32>>) -> Clip {
        let format = Format {
            channels: channels.len(),
            ..mono(channels[0].len())
        };
        let mel = mel(&format);
        mel.decode(
            &mel.encode(&Clip::new(RATE, channels)).unwrap(),
            &Decoding::default(),
        )
        .unwrap()
    }

    fn norm(values: &[f32]) -> f32 {
        values.iter().map(|x| x * x).sum::<f32>().sqrt()
    }

    #[test]
    fn a_sine_keeps_its_frequency() {
        let sine = |hz: f64| {
            (0..16_384).map(move |i| 0.5 * (TAU * hz * f64::from(i) / f64::from(RATE)).sin() as f32)
        };
        for hz in [110.0, 440.0, 3000.0] {
            let clip = there_and_back(vec![sine(hz).collect()]);
            assert!((clip.peak() - 0.95).abs() < 1e-5);
            let mut middle = clip.channels()[0][4096..12_288].to_vec();
            let fft = RealFftPlanner::new().plan_fft_forward(8192);
            let mut spectrum = fft.make_output_vec();
            fft.process(&mut middle, &mut spectrum).unwrap();
            let peak = (0..spectrum.len())
                .max_by(|&a, &b| spectrum[a].norm().total_cmp(&spectrum[b].norm()));
            let found = peak.unwrap() as f64 * f64::from(RATE) / 8192.0;
            // One bin of the representation's own transform.
            assert!(
                (found - hz).abs() < f64::from(RATE) / 1024.0,
                "{hz} Hz came back as {found} Hz"
            );
        }
    }

    #[test]
    fn clicks_stay_in_place_and_nothing_sounds_before_the_first() {
        let clicks = [5000, 9100, 14_000];
        let mut signal = vec![0.0; 64 * 256];
        clicks.iter().for_each(|&at| signal[at] = 0.9);
        let clip = there_and_back(vec![signal]);
        let decoded = &clip.channels()[0];
        for at in clicks {
            let near = at - 2000..at + 2000;
            let loudest = near
                .max_by(|&a, &b| decoded[a].abs().total_cmp(&decoded[b].abs()))
                .unwrap();
            assert!(loudest.abs_diff(at) <= 256, "{at} came back at {loudest}");
        }
        // A quarter window before a click, its envelope has passed the half.
        assert!(decoded[..5000 - 600].iter().all(|&x| x == 0.0));
    }

    /// Three steady harmonics, dying away: what random phases turn into a rasp. Below about 90 Hz a window no longer
    /// tells harmonics apart, and the pitch may come back a semitone off.
    #[test]
    fn a_tone_stays_a_tone() {
        let sine = |hz: f64, t: f64| (TAU * hz * t).sin() * (-3.0 * t).exp();
        for hz in [110.0, 220.0, 440.0] {
            let tone = |n: usize| {
                let t = n as f64 / f64::from(RATE);
                (0.5 * sine(hz, t) + 0.3 * sine(2.0 * hz, t) + 0.1 * sine(3.0 * hz, t)) as f32
            };
            let clip = there_and_back(vec![(0..128 * 256).map(tone).collect()]);
            let found = Measures::of(&clip);
            let cents = 1200.0 * (f64::from(found.pitch.expect("a tone")) / hz).log2();
            assert!(cents.abs() < 20.0, "{hz}: {found:?}");
            assert!(
                found.noisiness < 0.1 && found.warble.expect("a tone") < 15.0,
                "{hz}: {found:?}"
            );
        }
    }

    /// What bands and windows blur: a low note, whose harmonics are nearer to one another than a window tells apart.
    #[test]
    fn a_low_note_stays_one_where_its_pitch_is_known() {
        let hz = 55.0;
        let note = |n: usize| {
            let t = n as f64 / f64::from(RATE);
            let harmonic = |k: f64| (TAU * k * hz * t + k * k).sin() / k;
            (0.3 * (-2.0 * t).exp() * (1..60).map(|k| harmonic(f64::from(k))).sum::<f64>()) as f32
        };
        let format = mono(128 * 256);
        let mel = mel(&format);
        let clip = Clip::new(RATE, vec![(0..format.len_frames).map(note).collect()]);
        let frames = mel.encode(&clip).unwrap();
        let decoded = |note: Option<f32>| {
            let with = Decoding {
                note,
                ..Decoding::default()
            };
            Measures::of(&mel.decode(&frames, &with).unwrap())
        };
        let (known, unknown) = (decoded(Some(hz as f32)), decoded(None));
        let cents = 1200.0 * (f64::from(known.pitch.expect("a note")) / hz).log2();
        assert!(cents.abs() < 2.0, "{cents} cents");
        assert!(known.warble.expect("a note") < 1.0, "{known:?}");
        assert!(
            known.noisiness < 0.02 && unknown.noisiness > 0.1,
            "{known:?} {unknown:?}"
        );
        let brightness = known.brightness / Measures::of(&clip).brightness;
        assert!((0.8..1.25).contains(&brightness), "{brightness}");
    }

    /// A drum: a falling sine and decaying noise.
    fn drum(len: usize, start: usize) -> Vec<f32> {
        let mut noise = Noise::new(12);
        let mut phase = 0.0f64;
        (0..len)
            .map(|i| {
                let Some(n) = i.checked_sub(start) else {
                    return 0.0;
                };
                let t = n as f64 / f64::from(RATE);
                phase += TAU * (180.0 + 120.0 * (-t * 30.0).exp()) / f64::from(RATE);
                (0.7 * (-t * 12.0).exp() * phase.sin()) as f32
                    + 0.2 * (-t * 20.0).exp() as f32 * noise.normal()
            })
            .collect()
    }

    #[test]
    fn a_drum_comes_back_with_nearly_the_same_mel_spectrogram() {
        let format = mono(64 * 256);
        let mel = mel(&format);
        let before = mel
            .encode(&Clip::new(RATE, vec![drum(format.len_frames, 3000)]))
            .unwrap();
        let decoded = mel.decode(&before, &Decoding::default()).unwrap();
        let after = mel.encode(&decoded).unwrap();
        // Its noise is another: cells are compared in the mean of 8 rows and 4 bands.
        let mean = |frames: &Frames, i: usize| {
            let (t, k) = (i / 32 * 8, i % 32 * 4);
            let rows = (t..t + 8).flat_map(|t| &frames.data[t * 128 + k..t * 128 + k + 4]);
            rows.sum::<f32>() / 32.0
        };
        let decibels: Vec<f32> = (0..8 * 32)
            .map(|i| 20.0 * 0.7 * (mean(&before, i) - mean(&after, i)))
            .collect();
        let distance = norm(&decibels) / (decibels.len() as f32).sqrt();
        assert!(distance < 2.0, "{distance} dB");
    }

    #[test]
    fn how_wide_a_stereo_sound_is_survives() {
        let (a, b) = (drum(64 * 256, 0), Noise::new(4).normals(64 * 256));
        let side: Vec<f32> = drum(64 * 256, 0)
            .iter()
            .zip(&b)
            .map(|(x, n)| 0.2 * x * n)
            .collect();
        let left: Vec<f32> = a.iter().zip(&side).map(|(m, s)| m + s).collect();
        let right: Vec<f32> = a.iter().zip(&side).map(|(m, s)| m - s).collect();
        let clip = there_and_back(vec![left, right]);
        let part = |sign: f32| {
            let mixed = clip.channels()[0].iter().zip(&clip.channels()[1]);
            norm(&mixed.map(|(l, r)| 0.5 * (l + sign * r)).collect::<Vec<_>>())
        };
        let (before, after) = (norm(&side) / norm(&a), part(-1.0) / part(1.0));
        assert!(
            (20.0 * (after / before).log10()).abs() < 1.5,
            "{before} {after}"
        );
    }

    fn correlation(clip: &Clip) -> f32 {
        let [left, right] = clip.channels() else {
            panic!("two channels");
        };
        let dot: f32 = left.iter().zip(right).map(|(l, r)| l * r).sum();
        dot / (norm(left) * norm(right))
    }

    #[test]
    fn a_stereo_image_comes_back() {
        let frames = 64 * 256;
        let tone = |n: usize| (TAU * 440.0 * n as f64 / f64::from(RATE)).sin() as f32;
        let tone: Vec<f32> = (0..frames).map(tone).collect();
        let level = |clip: &Clip| {
            let [left, right] = clip.channels() else {
                panic!("two channels");
            };
            20.0 * (norm(left) / norm(right)).log10()
        };
        for pan_db in [26.0f32, 6.0, -12.0] {
            let (l, r) = (10f32.powf(pan_db / 40.0), 10f32.powf(-pan_db / 40.0));
            let scaled = |gain: f32| tone.iter().map(|x| 0.2 * gain * x).collect::<Vec<f32>>();
            let back = there_and_back(vec![scaled(l), scaled(r)]);
            assert!(
                (level(&back) - pan_db).abs() < 1.0,
                "{pan_db}: {} dB",
                level(&back)
            );
            assert!(
                correlation(&back) > 0.95,
                "{pan_db}: {}",
                correlation(&back)
            );
        }
        let (same, own) = (Noise::new(1).normals(frames), Noise::new(2).normals(frames));
        for wanted in [-0.9f32, -0.5, 0.0, 0.5, 0.9] {
            let apart = (1.0 - wanted * wanted).sqrt();
            let other = same.iter().zip(&own).map(|(a, b)| wanted * a + apart * b);
            let clip = Clip::new(RATE, vec![same.clone(), other.collect()]);
            let (before, after) = (
                correlation(&clip),
                correlation(&there_and_back(clip.channels().to_vec())),
            );
            assert!((before - after).abs() < 0.05, "{wanted}: {before} {after}");
        }
    }

    /// Kurtosis of what is above 3 kHz, each value levelled by the 20 ms around it: 3 for a noise, far more for clicks.
    fn kurtosis(signal: &[f32]) -> f64 {
        let fft = RealFftPlanner::new();
        let (mut fft, n) = (fft, signal.len());
        let (forward, inverse) = (fft.plan_fft_forward(n), fft.plan_fft_inverse(n));
        let (mut wave, mut bins) = (signal.to_vec(), forward.make_output_vec());
        forward.process(&mut wave, &mut bins).unwrap();
        bins[..3000 * n / RATE as usize].fill(Complex32::default());
        bins[n / 2].im = 0.0;
        inverse.process(&mut bins, &mut wave).unwrap();
        let power = |part: &[f32]| {
            part.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / part.len() as f64
        };
        let levelled =
            (441..n - 441).map(|i| f64::from(wave[i]) / power(&wave[i - 441..i + 441]).sqrt());
        let (mut squares, mut fourths, mut count) = (0.0, 0.0, 0.0);
        for x in levelled {
            squares += x.powi(2);
            fourths += x.powi(4);
            count += 1.0;
        }
        fourths / count / (squares / count).powi(2)
    }

    #[test]
    fn frames_as_smooth_as_the_mean_of_a_noise_become_noise() {
        let format = mono(128 * 256);
        let mel = mel(&format);
        // A decaying hiss, as a network says it: without any of a noise's own roughness.
        let frames = Frames {
            frames: 128,
            width: 128,
            data: (0..128 * 128)
                .map(|i| {
                    let (t, k) = (i / 128, i % 128);
                    (-0.01 * t as f32 - 0.3 * (1.0 - k as f32 / 127.0) + 2.0) / 0.7
                })
                .collect(),
        };
        let decoded = |seed: u64| {
            let with = Decoding {
                seed,
                crop: Some(Crop::Onset),
                note: None,
            };
            mel.decode(&frames, &with).unwrap()
        };
        let (one, other) = (decoded(1), decoded(2));
        assert_eq!(one, decoded(1));
        // Other noises of the same spectrum.
        let dot: f32 = one.channels()[0]
            .iter()
            .zip(&other.channels()[0])
            .map(|(a, b)| a * b)
            .sum();
        let likeness = dot / (norm(&one.channels()[0]) * norm(&other.channels()[0]));
        assert!(likeness.abs() < 0.1, "{likeness}");
        let found = kurtosis(&one.channels()[0]);
        assert!((2.6..3.4).contains(&found), "{found}");
    }

    #[test]
    fn an_attack_at_a_known_onset_keeps_its_first_millisecond() {
        let format = mono(64 * 256);
        let mel = mel(&format);
        let (onset, millisecond) = (format.lead_in(), RATE as usize / 1000);
        let mut noise = Noise::new(3);
        // A crack of noise over a tone: 60 dB down after 60 ms.
        let crack: Vec<f32> = (0..format.len_frames)
            .map(|n| {
                let Some(n) = n.checked_sub(onset) else {
                    return 0.0;
                };
                let t = n as f64 / f64::from(RATE);
                let tone = (TAU * 330.0 * t).cos() as f32;
                (-t * 115.0).exp() as f32 * (0.5 * tone + 0.3 * noise.normal())
            })
            .collect();
        let first = |signal: &[f32]| {
            let energy = |ms: usize| norm(&signal[onset..onset + ms * millisecond]).powi(2);
            10.0 * (energy(1) / energy(20)).log10()
        };
        let frames = mel.encode(&Clip::new(RATE, vec![crack.clone()])).unwrap();
        let decoded = |crop: Option<Crop>| {
            let with = Decoding {
                crop,
                ..Decoding::default()
            };
            let clip = mel.decode(&frames, &with).unwrap();
            clip.channels()[0].clone()
        };
        let known = decoded(Some(Crop::Onset));
        assert!(known[..onset].iter().all(|&x| x == 0.0));
        assert!(
            (first(&known) - first(&crack)).abs() < 3.0,
            "{} {}",
            first(&known),
            first(&crack)
        );
        // Where clips begin anywhere, nothing may be cut.
        assert!(
            decoded(Some(Crop::Anywhere))[..onset]
                .iter()
                .any(|&x| x != 0.0)
        );
    }

    #[test]
    fn what_lies_above_the_floor_comes_back_and_nothing_else_does() {
        // A tone that falls by 70 dB half-way.
        let format = mono(64 * 256);
        let wave = |n: usize| {
            let gain = if n < format.len_frames / 2 {
                0.9
            } else {
                0.9 * 10f64.powf(-70.0 / 20.0)
            };
            (gain * (TAU * 1000.0 * n as f64 / f64::from(RATE)).sin()) as f32
        };
        let clip = Clip::new(RATE, vec![(0..format.len_frames).map(wave).collect()]);
        for (floor_db, expected) in [(-80.0, -70.0), (-40.0, f32::NEG_INFINITY)] {
            let config: RepresentationConfig =
                format!("mel:2048:256:128:{floor_db}").parse().unwrap();
            let mel = built(&config, &format);
            let back = mel
                .decode(&mel.encode(&clip).unwrap(), &Decoding::default())
                .unwrap();
            let part = |from: usize, to: usize| norm(&back.channels()[0][from..to]);
            let fall = 20.0 * (part(11_000, 15_000) / part(2000, 6000)).log10();
            assert!(
                fall == expected || (fall - expected).abs() < 3.0,
                "{floor_db}: {fall} dB"
            );
        }
    }

    #[test]
    fn older_models_hold_mid_and_side_above_60_db() {
        let old = r#"{"kind":"mel","n_fft":1024,"hop":256,"mels":64}"#;
        let old: RepresentationConfig = serde_json::from_str(old).unwrap();
        assert_eq!((old.width(1), old.width(2)), (64, 128));
        assert!(matches!(
            old,
            RepresentationConfig::Mel(MelConfig {
                floor_db: -60.0,
                stereo: Stereo::MidSide,
                ..
            })
        ));
        let format = Format {
            channels: 2,
            ..mono(64 * 256)
        };
        let mel = built(&old, &format);
        let clip = Clip::new(
            RATE,
            vec![drum(format.len_frames, 66), vec![0.0; format.len_frames]],
        );
        let back = mel
            .decode(&mel.encode(&clip).unwrap(), &Decoding::default())
            .unwrap();
        assert_eq!(back.channels().len(), 2);
        // A sound on the left only is as much mid as side, which share no phase: both sides sound.
        let [left, right] = [0, 1].map(|i| &back.channels()[i]);
        let part = |gain: f32| -> f32 {
            let part: Vec<f32> = left.iter().zip(right).map(|(l, r)| l + gain * r).collect();
            norm(&part)
        };
        let difference = 20.0 * (part(1.0) / part(-1.0)).log10();
        assert!(difference.abs() < 1.0, "{difference} dB");
    }

    #[test]
    fn silence_stays_silent_and_wild_values_stay_finite() {
        let format = mono(2048);
        let mel = mel(&format);
        let silence = Clip::new(RATE, vec![vec![0.0; 2048]]);
        assert_eq!(
            mel.decode(&mel.encode(&silence).unwrap(), &Decoding::default())
                .unwrap(),
            silence
        );
        let values = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e30,
            -1e30,
            0.0,
            3.0,
        ];
        let wild = Frames {
            frames: 8,
            width: 128,
            data: (0..1024).map(|i| values[i % 7]).collect(),
        };
        assert!(mel.decode(&wild, &Decoding::default()).unwrap().is_finite());
        let format = Format {
            channels: 2,
            ..format
        };
        let wild = Frames {
            frames: 8,
            width: 3 * 128,
            data: (0..3072).map(|i| values[i % 7]).collect(),
        };
        let mel = built(&RepresentationConfig::mel(), &format);
        assert!(mel.decode(&wild, &Decoding::default()).unwrap().is_finite());
    }

    #[test]
    fn fitted_columns_have_zero_mean_and_unit_variance() {
        let format = mono(32 * 256);
        let config = RepresentationConfig::mel();
        let clips: Vec<_> = (0..3)
            .map(|i| Arc::new(Clip::new(RATE, vec![drum(format.len_frames, 900 * i)])))
            .collect();
        let statistics = config
            .fit(&format, &mut clips.iter().cloned().map(Ok))
            .unwrap();
        let mel = config.build(&format, &statistics).unwrap();
        let rows: Vec<Frames> = clips.iter().map(|clip| mel.encode(clip).unwrap()).collect();
        for k in [0, 3, 60, 127] {
            let column: Vec<f32> = rows
                .iter()
                .flat_map(|f| f.data.iter().skip(k).step_by(128))
                .copied()
                .collect();
            let mean = column.iter().sum::<f32>() / column.len() as f32;
            let square = column.iter().map(|z| z * z).sum::<f32>() / column.len() as f32;
            assert!(
                mean.abs() < 1e-3 && (square - 1.0).abs() < 1e-3,
                "{k}: {mean} {square}"
            );
        }
    }
}
