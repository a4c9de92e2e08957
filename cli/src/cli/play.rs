//! `play`: sounds on the default output.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use audiodiff::audio::Clip;
use clap::{Args, Command, Id};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{Device, FromSample, I24, Sample, SampleFormat, SizedSample, Stream, StreamConfig, U24};

use super::Global;
use super::progress::{catch_interrupts, keep_going};
use super::sound::{BATCH, SoundArgs, heard, line};

#[derive(Args)]
pub struct PlayArgs {
    /// A sound file to play instead of rendering one
    #[arg(conflicts_with_all = ids_of_sound())]
    file: Option<PathBuf>,
    #[command(flatten)]
    sound: SoundArgs,
}

/// Every flag of [`SoundArgs`]: clap leaves the group of a struct empty that flattens others.
fn ids_of_sound() -> Vec<Id> {
    let command = SoundArgs::augment_args(Command::new("sound"));
    command
        .get_arguments()
        .map(|arg| arg.get_id().clone())
        .collect()
}

pub fn play(args: &PlayArgs, global: &Global) -> anyhow::Result<()> {
    if let Some(path) = &args.file {
        catch_interrupts()?;
        return sound(&heard(path)?);
    }
    let (renderer, _) = args.sound.renderer(0)?;
    let settings = args.sound.settings(renderer.config())?;
    let mut each = |seed, made: audiodiff::render::Rendered| {
        if !global.quiet {
            let named = line(seed, made.class.as_deref());
            writeln!(std::io::stdout(), "{named}")?;
        }
        sound(&made.clip)
    };
    let first = args.sound.first_seed();
    let seeds: Vec<u64> = (0..args.sound.count as u64)
        .map(|i| first.wrapping_add(i))
        .collect();
    let mut rendering = args
        .sound
        .begin(&renderer, &settings, seeds.len(), global)?;
    for seeds in seeds.chunks(BATCH) {
        rendering.batch(seeds, &mut each)?;
    }
    rendering.bar.finish();
    Ok(())
}

/// Plays a clip to its end on the default output, at that output's rate.
fn sound(clip: &Clip) -> anyhow::Result<()> {
    let device = cpal::default_host()
        .default_output_device()
        .context("no sound output was found")?;
    let config = device
        .default_output_config()
        .context("the sound output has no configuration")?;
    let (format, config) = (config.sample_format(), config.config());
    let clip = clip
        .resampled(config.sample_rate)?
        .with_channels(usize::from(config.channels).clamp(1, 2));
    // A fifth of a second more, for what the output has buffered.
    let end = clip.len_frames() + config.sample_rate as usize / 5;
    let clip = Arc::new(clip);
    let at = Arc::new(AtomicUsize::new(0));
    let open = match format {
        SampleFormat::I8 => stream::<i8>,
        SampleFormat::I16 => stream::<i16>,
        SampleFormat::I24 => stream::<I24>,
        SampleFormat::I32 => stream::<i32>,
        SampleFormat::I64 => stream::<i64>,
        SampleFormat::U8 => stream::<u8>,
        SampleFormat::U16 => stream::<u16>,
        SampleFormat::U24 => stream::<U24>,
        SampleFormat::U32 => stream::<u32>,
        SampleFormat::U64 => stream::<u64>,
        SampleFormat::F32 => stream::<f32>,
        SampleFormat::F64 => stream::<f64>,
        other => anyhow::bail!("the sound output: expected samples of PCM, found {other}"),
    };
    let stream = open(&device, config, clip, Arc::clone(&at))?;
    stream.play().context("the sound output does not start")?;
    while at.load(Ordering::Relaxed) < end && keep_going().is_continue() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A stream of samples `T` that plays `clip` and counts in `at` the frames that were asked for.
fn stream<T: SizedSample + FromSample<f32>>(
    device: &Device,
    config: StreamConfig,
    clip: Arc<Clip>,
    at: Arc<AtomicUsize>,
) -> anyhow::Result<Stream> {
    let outputs = usize::from(config.channels);
    let callback = move |out: &mut [T], _: &cpal::OutputCallbackInfo| {
        let start = at.fetch_add(out.len() / outputs, Ordering::Relaxed);
        fill(out, outputs, &clip, start);
    };
    device
        .build_output_stream(
            config,
            callback,
            |error| eprintln!("sound output: {error}"),
            None,
        )
        .context("the sound output cannot be opened")
}

/// The largest f32 below 1: in 24 bits, full scale itself would wrap around.
const FULL_SCALE: f32 = 1.0 - f32::EPSILON / 2.0;

/// Writes a clip from frame `start` on into frames of `outputs` samples each, clipped at full scale. Frames beyond the
/// clip's end and channels beyond its own are silent.
fn fill<T: Sample + FromSample<f32>>(out: &mut [T], outputs: usize, clip: &Clip, start: usize) {
    for (i, frame) in out.chunks_mut(outputs).enumerate() {
        for (channel, value) in frame.iter_mut().enumerate() {
            let source = clip.channels().get(channel);
            let sample = source.and_then(|samples| samples.get(start + i));
            *value = sample.map_or(T::EQUILIBRIUM, |sample| {
                sample.clamp(-1.0, FULL_SCALE).to_sample()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_to_play_takes_no_flag_of_a_sound_to_make() {
        use clap::FromArgMatches;
        use clap::error::ErrorKind;

        let command = || PlayArgs::augment_args(Command::new("play"));
        let parsed = |words: &[&str]| {
            let found = command().try_get_matches_from([&["play"], words].concat())?;
            PlayArgs::from_arg_matches(&found)
        };
        let command = command();
        let flags: Vec<_> = (command.get_arguments())
            .filter(|arg| arg.get_id() != "file")
            .collect();
        assert!(flags.len() >= 20, "{}", flags.len());
        for flag in flags {
            let name = format!("--{}", flag.get_long().expect("a flag"));
            // Of each kind of value, one.
            let values = ["1", "-1", "0-1", "a=1", "heun", "karras", "cpu", "f32"];
            let written: Vec<Vec<&str>> = match flag.get_action().takes_values() {
                true => values.map(|value| vec![&*name, value]).into(),
                false => vec![vec![&*name]],
            };
            let valid = written.into_iter().find(|words| {
                let needs_more = |kind| kind == ErrorKind::MissingRequiredArgument;
                parsed(words).map_or_else(|error| needs_more(error.kind()), |_| true)
            });
            let valid = valid.unwrap_or_else(|| panic!("{name}: no value that it takes"));
            let refused = parsed(&[&["x.wav"], &valid[..]].concat());
            let kind = refused.map_err(|error| error.kind()).err();
            assert_eq!(kind, Some(ErrorKind::ArgumentConflict), "{name}");
        }
        assert!(parsed(&["x.wav"]).is_ok());
    }

    /// Three frames of one channel, from the second on, into frames of two.
    fn filled<T: Sample + FromSample<f32>>() -> Vec<T> {
        let clip = Clip::new(48_000, vec![vec![0.25, 0.5, -1.0]]);
        // Whatever was in the buffer is overwritten.
        let mut out = vec![0.75f32.to_sample::<T>(); 6];
        fill(&mut out, 2, &clip, 1);
        out
    }

    #[test]
    fn an_output_of_any_format_is_filled_with_the_clip_and_then_with_silence() {
        assert_eq!(filled::<f32>(), [0.5, 0.0, -1.0, 0.0, 0.0, 0.0]);
        assert_eq!(filled::<f64>(), [0.5, 0.0, -1.0, 0.0, 0.0, 0.0]);
        assert_eq!(filled::<i8>(), [64, 0, -128, 0, 0, 0]);
        assert_eq!(filled::<i16>(), [16_384, 0, -32_768, 0, 0, 0]);
        assert_eq!(filled::<i32>(), [1 << 30, 0, i32::MIN, 0, 0, 0]);
        assert_eq!(filled::<i64>(), [1 << 62, 0, i64::MIN, 0, 0, 0]);
        let inner: Vec<i32> = filled::<I24>().iter().map(|s| s.inner()).collect();
        assert_eq!(inner, [1 << 22, 0, -(1 << 23), 0, 0, 0]);
        // Without a sign, silence is the middle.
        assert_eq!(filled::<u8>(), [192, 128, 0, 128, 128, 128]);
        let (half, middle) = (3 << 14, 1 << 15);
        assert_eq!(filled::<u16>(), [half, middle, 0, middle, middle, middle]);
        let inner: Vec<i32> = filled::<U24>().iter().map(|s| s.inner()).collect();
        let (half, middle) = (3 << 22, 1 << 23);
        assert_eq!(inner, [half, middle, 0, middle, middle, middle]);
        let (half, middle) = (3 << 30, 1 << 31);
        assert_eq!(filled::<u32>(), [half, middle, 0, middle, middle, middle]);
        let (half, middle) = (3 << 62, 1 << 63);
        assert_eq!(filled::<u64>(), [half, middle, 0, middle, middle, middle]);
    }

    #[test]
    fn beyond_full_scale_is_full_scale() {
        let clip = Clip::new(48_000, vec![vec![1.0, 1.5, -1.5]]);
        let mut out = [0i16; 3];
        fill(&mut out, 1, &clip, 0);
        assert_eq!(out, [32_767, 32_767, -32_768]);
        let mut out = [I24::EQUILIBRIUM; 3];
        fill(&mut out, 1, &clip, 0);
        assert_eq!(out.map(I24::inner), [8_388_607, 8_388_607, -8_388_608]);
        let mut out = [0u16; 3];
        fill(&mut out, 1, &clip, 0);
        assert_eq!(out, [65_535, 65_535, 0]);
    }
}
