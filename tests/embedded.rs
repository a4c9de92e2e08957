//! The shipped model sounds like what it says it is.

#![cfg(feature = "embedded-model")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use audiodiff::Error;
use audiodiff::attributes::Attribute;
use audiodiff::audio::{Clip, Level, Measures};
use audiodiff::checkpoint::{Checkpoint, Rendering, StorageType};
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::network::ComputeType;
use audiodiff::render::{Init, MOST_FEW_STEPS, Remark, RenderSettings, Rendered, Renderer};
use audiodiff::representation::Format;
use candle_core::Device;
use realfft::RealFftPlanner;

fn render(class: &str, seeds: std::ops::Range<u64>) -> Vec<Clip> {
    let model = Checkpoint::embedded().unwrap();
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let settings = RenderSettings {
        class: Some(class.into()),
        trim: false,
        ..renderer.settings()
    };
    let seeds: Vec<u64> = seeds.collect();
    renderer
        .render_batch(&settings, &seeds, &mut |_| ControlFlow::Continue(()))
        .unwrap()
        .into_iter()
        .map(|sound| sound.clip)
        .collect()
}

/// Fraction of the energy between two frequencies in Hz.
fn fraction(clip: &Clip, low: f32, high: f32) -> f32 {
    let mut samples = clip.channels()[0].clone();
    let fft = RealFftPlanner::<f32>::new().plan_fft_forward(samples.len());
    let mut spectrum = fft.make_output_vec();
    fft.process(&mut samples, &mut spectrum).unwrap();
    let step = clip.sample_rate() as f32 / samples.len() as f32;
    let energy = |from: f32, to: f32| -> f32 {
        let bins = (from / step) as usize..((to / step) as usize).min(spectrum.len());
        spectrum[bins]
            .iter()
            .map(realfft::num_complex::Complex::norm_sqr)
            .sum()
    };
    energy(low, high) / energy(0.0, clip.sample_rate() as f32 / 2.0 + step)
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values[values.len() / 2]
}

/// Run folders that began from it name it by this.
#[test]
fn its_fingerprint_stays() {
    let model = Checkpoint::embedded().unwrap();
    assert_eq!(
        model.fingerprint().unwrap(),
        "f33beeba709f4291d5cc124e67939ed4afe65089122f778513066543024a4b0f"
    );
}

#[test]
fn kicks_are_low_and_closed_hats_are_high() {
    let kicks = render("kick", 0..8);
    let low = median(
        kicks
            .iter()
            .map(|clip| fraction(clip, 0.0, 200.0))
            .collect(),
    );
    assert!(
        low > 0.5,
        "the median kick has {low} of its energy below 200 Hz"
    );
    let hats = render("hat_closed", 0..8);
    let high = median(
        hats.iter()
            .map(|clip| fraction(clip, 4000.0, 22050.0))
            .collect(),
    );
    assert!(
        high > 0.5,
        "the median closed hat has {high} of its energy above 4 kHz"
    );
}

#[test]
fn seeds_differ_edges_are_quiet_and_silence_is_silent() {
    let clips = render("hat_closed", 0..8);
    for (i, a) in clips.iter().enumerate() {
        let samples = &a.channels()[0];
        for b in &clips[i + 1..] {
            let pairs = samples.iter().zip(&b.channels()[0]);
            let difference: f32 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
            assert!(difference > 0.05 * samples.iter().map(|x| x * x).sum::<f32>());
        }
        assert!(
            (20.0 * a.peak().log10() + 1.0).abs() < 0.01,
            "the peak is at -1 dB"
        );
        assert!(samples[0].abs() < 0.02 && samples[samples.len() - 1].abs() < 1e-3);
        assert!(a.dc()[0].abs() < 1e-3);
    }
    // The last fifth of a second of a closed hat is long past its end.
    let tail = |clip: &Clip| {
        let samples = &clip.channels()[0];
        samples[samples.len() - 8820..]
            .iter()
            .fold(0f32, |peak, x| peak.max(x.abs()))
    };
    let tail = median(clips.iter().map(tail).collect());
    assert!(
        20.0 * tail.max(1e-9).log10() < -50.0,
        "the median tail peaks at {tail}"
    );
}

#[test]
fn the_shipped_file_is_small_and_says_where_it_comes_from() {
    let model = Checkpoint::embedded().unwrap();
    assert!(model.to_bytes(StorageType::F16).unwrap().len() <= 18_000_000);
    assert_eq!(model.config.format.sample_rate, 44_100);
    assert!(model.config.training.licence.is_some() && model.config.training.steps > 0);
    for class in [
        "kick",
        "snare",
        "clap",
        "hat_closed",
        "hat_open",
        "tom",
        "cymbal",
        "perc",
    ] {
        assert!(model.config.class(class).is_ok(), "{class}");
    }
}

#[test]
fn a_rendering_stops_in_the_middle_of_a_step() {
    let mut renderer = Renderer::new(&Checkpoint::embedded().unwrap(), &Device::Cpu).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    renderer.engine().stop_with(Arc::clone(&stop));
    let mut steps = 0;
    let stopped = renderer.render_with(&renderer.settings(), 0, &mut |_| {
        steps += 1;
        stop.store(true, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(steps, 1);
}

/// Signal over the noise of bf16, in the model's own frames, dB. Measured over these sounds: 20.8 to 43.7 with
/// `AUDIODIFF_ISA=avx512bf16`, 19.3 to 50.3 with `avx512`, 19.2 to 40.5 with `portable`. The margin for other instruction
/// sets is 4.2 dB below and 4.7 dB above.
const BF16_SNR_DB: std::ops::Range<f32> = 15.0..55.0;

#[test]
fn bf16_renders_the_same_sound() {
    let mut renderer = renderer();
    let config = renderer.config().clone();
    let mut ratios = Vec::new();
    for class in ["kick", "snare", "hat_closed", "cymbal", "tom"] {
        let mut frames = |compute_type| {
            renderer.engine().set_compute_type(compute_type);
            let sounds = generated(&renderer, Some(class), 7..10, |s| s.trim = false);
            let encode = |sound: &Rendered| {
                let format = Format {
                    len_frames: sound.clip.len_frames(),
                    ..config.format
                };
                let representation = config.representation.build(&format, &config.statistics);
                representation.unwrap().encode(&sound.clip).unwrap().data
            };
            sounds.iter().map(encode).collect::<Vec<_>>()
        };
        let (full, rounded) = (frames(ComputeType::F32), frames(ComputeType::Bf16));
        for (full, rounded) in full.iter().zip(&rounded) {
            let power = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
            let noise = power(&mut full.iter().zip(rounded).map(|(a, b)| a - b));
            ratios.push(10.0 * (power(&mut full.iter().copied()) / noise).log10());
        }
    }
    eprintln!("{ratios:?} dB");
    assert!(
        ratios.iter().all(|ratio| BF16_SNR_DB.contains(ratio)),
        "{ratios:?} dB"
    );
}

fn renderer() -> Renderer {
    Renderer::new(&Checkpoint::embedded().unwrap(), &Device::Cpu).unwrap()
}

/// Sounds of these seeds, of a class if there is one, with the settings that `change` makes.
fn generated(
    renderer: &Renderer,
    class: Option<&str>,
    seeds: std::ops::Range<u64>,
    change: impl Fn(&mut RenderSettings),
) -> Vec<Rendered> {
    let mut settings = RenderSettings {
        class: class.map(str::to_owned),
        ..renderer.settings()
    };
    change(&mut settings);
    let seeds: Vec<u64> = seeds.collect();
    let go_on = &mut |_| ControlFlow::Continue(());
    renderer.render_batch(&settings, &seeds, go_on).unwrap()
}

fn set(name: &'static str, value: f32) -> impl Fn(&mut RenderSettings) {
    move |settings| settings.descriptors = vec![(name.into(), value)]
}

fn cents(found: f32, wanted: f32) -> f32 {
    1200.0 * (found / wanted).log2()
}

#[test]
fn without_a_class_the_sound_is_of_the_class_that_is_told() {
    let renderer = renderer();
    let sounds = generated(&renderer, None, 0..32, |_| {});
    let brightness = |prefixes: [&str; 2]| {
        let of = |sound: &&Rendered| {
            let class = sound.class.as_deref().expect("a class");
            prefixes.iter().any(|prefix| class.starts_with(prefix))
        };
        let of = sounds.iter().filter(of);
        median(
            of.map(|sound| Measures::of(&sound.clip).brightness)
                .collect(),
        )
    };
    let (high, low) = (brightness(["hat", "cymbal"]), brightness(["kick", "bass"]));
    assert!(high > 3000.0 && low < 400.0, "{high} Hz, {low} Hz");
    // The same alone, and from a class that is near what is asked.
    assert_eq!(generated(&renderer, None, 5..6, |_| {})[0], sounds[5]);
    let bright = generated(&renderer, None, 0..8, set("brightness", 10_000.0));
    for sound in bright {
        let class = sound.class.expect("a class");
        assert!(!["kick", "bass", "mallet"].contains(&&*class), "{class}");
    }
}

#[test]
fn a_pitch_that_is_asked_for_is_met_or_missed_aloud() {
    let renderer = renderer();
    let (mut met, mut all) = (0, 0);
    for (class, hz) in [
        ("bass", 110.0),
        ("bass", 220.0),
        ("pluck", 311.1),
        ("pluck", 110.0),
        ("mallet", 440.0),
        ("synth", 220.0),
        ("mallet", 1760.0),
    ] {
        for sound in generated(&renderer, Some(class), 20..23, set("pitch", hz)) {
            all += 1;
            if !sound.remarks.is_empty() {
                continue;
            }
            let found = Measures::of(&sound.clip).pitch;
            let off = found.map(|found| cents(found, hz));
            // Its windows are short: it may take an octave for the note, or nothing.
            met += usize::from(off.is_some_and(|off| off.abs() < 5.0));
        }
    }
    assert!(met >= all - 2, "{met} of {all} have the pitch");
    for class in ["hat_closed", "clap"] {
        let sound = &generated(&renderer, Some(class), 3..4, set("pitch", 220.0))[0];
        assert_eq!(sound.remarks, [Remark::Unpitched { asked: 220.0 }]);
    }
}

#[test]
fn made_notes_have_a_pitch_and_hold_it() {
    let renderer = renderer();
    let mut pitched = 0;
    for class in ["bass", "synth", "pluck", "mallet"] {
        let notes = generated(&renderer, Some(class), 0..32, |_| ());
        let measures = notes.iter().map(|note| Measures::of(&note.clip));
        let warbles: Vec<f32> = measures.filter_map(|measures| measures.warble).collect();
        pitched += warbles.len();
        let warble = median(warbles);
        assert!(warble < 3.0, "{class}: {warble} cents");
    }
    // Of real ones about 83% have one, by a measure of longer windows. Decoded without their pitch, half had.
    assert!(pitched >= 88, "{pitched} of 128");
}

#[test]
fn varispeed_is_two_semitones_and_shorter_and_brighter_in_proportion() {
    let renderer = renderer();
    let mut offs = Vec::new();
    for class in ["bass", "pluck", "mallet"] {
        let whole = |settings: &mut RenderSettings| settings.trim = false;
        let plain = generated(&renderer, Some(class), 12..18, whole);
        let fast = generated(&renderer, Some(class), 12..18, |settings| {
            whole(settings);
            set("varispeed", 1.0)(settings);
        });
        for (plain, fast) in plain.iter().zip(&fast) {
            let (before, after) = (Measures::of(&plain.clip), Measures::of(&fast.clip));
            let ratio = 2f32.powf(2.0 / 12.0);
            if let (Some(before), Some(after)) = (before.pitch, after.pitch) {
                offs.push((cents(after, before) - 200.0).abs());
            }
            // The same spectrum, moved: measured so that what lies below hearing moves with it.
            let above = |clip: &Clip, hz: f32| fraction(clip, hz, 22_050.0);
            for hz in [200.0, 1000.0, 4000.0] {
                let moved = above(&plain.clip, hz) - above(&fast.clip, hz * ratio);
                assert!(moved.abs() < 0.01, "{class} above {hz} Hz: {moved}");
            }
            let shorter = plain.clip.seconds() / fast.clip.seconds() / f64::from(ratio);
            assert!((shorter - 1.0).abs() < 0.001, "{class}: {shorter}");
        }
    }
    // Where a pitch wavers, the frames that it is the median of are others at another speed.
    assert!(offs.len() >= 12, "{} have a pitch", offs.len());
    assert!(median(offs.clone()) < 3.0, "{offs:?} cents");
}

#[test]
fn length_and_brightness_are_met_or_missed_aloud() {
    let renderer = renderer();
    let mut missed = 0;
    for (class, name, value) in [
        ("kick", "length", 0.1),
        ("tom", "length", 0.4),
        ("snare", "length", 0.2),
        ("snare", "brightness", 3000.0),
        ("perc", "brightness", 1000.0),
        ("kick", "brightness", 12_000.0),
    ] {
        let sound = &generated(&renderer, Some(class), 4..5, set(name, value))[0];
        let measures = Measures::of(&sound.clip);
        let (attribute, found) = match name {
            "length" => (Attribute::Length, measures.decay),
            _ => (Attribute::Brightness, measures.brightness),
        };
        let near = (found / value).log2().abs() < 1.12f32.log2();
        let said = sound.remarks.iter().any(
            |remark| matches!(remark, Remark::Missed { attribute: of, .. } if *of == attribute),
        );
        assert_eq!(near, !said, "{class} {name}: {found} of {value}");
        missed += usize::from(said);
    }
    assert_eq!(missed, 1, "no kick is that bright");
}

#[test]
fn more_steps_than_a_distilled_model_is_good_for_are_not_taken() {
    let mut model = Checkpoint::embedded().unwrap();
    let few = Rendering::new(Sampler::Consistency, Schedule::Consistency, 4, 1.0);
    model.config.rendering = Some(few);
    let renderer = Renderer::new(&model, &Device::Cpu).unwrap();
    let many = &generated(&renderer, Some("kick"), 1..2, |s| s.steps = 64)[0];
    let most = &generated(&renderer, Some("kick"), 1..2, |s| s.steps = MOST_FEW_STEPS)[0];
    assert_eq!(many.clip, most.clip);
    assert_eq!((many.steps, most.steps), (MOST_FEW_STEPS, MOST_FEW_STEPS));
    let (asked, taken) = (64, MOST_FEW_STEPS);
    assert_eq!(many.remarks, [Remark::Steps { asked, taken }]);
    assert!(most.remarks.is_empty());
    // Nor is it sampled otherwise without a word.
    let asked = Sampler::Ddim;
    let otherwise = &generated(&renderer, Some("kick"), 1..2, |s| s.sampler = asked)[0];
    assert_eq!(otherwise.remarks, [Remark::Sampler { asked }]);
}

/// Seconds at which a sound first comes within 40 dB of its peak.
fn onset(clip: &Clip) -> f64 {
    let threshold = 0.01 * clip.peak();
    let at = clip.channels()[0].iter().position(|x| x.abs() >= threshold);
    at.unwrap() as f64 / f64::from(clip.sample_rate())
}

/// The sound after `seconds` of silence.
fn late(clip: &Clip, seconds: f64) -> Clip {
    let mut samples = vec![0.0; (seconds * f64::from(clip.sample_rate())) as usize];
    samples.extend(&clip.channels()[0]);
    Clip::new(clip.sample_rate(), vec![samples])
}

/// The third sound of a class.
fn third(renderer: &Renderer, class: &str) -> Clip {
    generated(renderer, Some(class), 3..4, |_| {})
        .remove(0)
        .clip
}

/// The sound of a seed that begins with `init`.
fn begun(renderer: &Renderer, init: Init, seed: u64) -> Rendered {
    let change = |settings: &mut RenderSettings| settings.init = Some(init.clone());
    generated(renderer, None, seed..seed + 1, change).remove(0)
}

fn vary(clip: &Clip, strength: f64) -> Init {
    let clip = clip.clone();
    Init::Vary { clip, strength }
}

#[test]
fn a_sound_emerges_guess_by_guess_and_is_the_same_unwatched() {
    let renderer = renderer();
    let settings = RenderSettings {
        class: Some("snare".into()),
        ..renderer.settings()
    };
    let plain = renderer.render(&settings, 3).unwrap();
    let (mut guesses, mut sigmas) = (Vec::new(), Vec::new());
    let watched = renderer.render_watched(&settings, 3, &mut |_, guess| {
        let guess = guess.expect("each step goes towards the sound");
        guesses.push(guess.clip().unwrap());
        sigmas.push(guess.sigma());
        ControlFlow::Continue(())
    });
    assert_eq!(watched.unwrap(), plain);
    assert_eq!(guesses.len(), plain.steps);
    assert!(sigmas.is_sorted_by(|a, b| a > b), "{sigmas:?}");
    assert_eq!(sigmas[0], settings.sigma_max);
    // Each guess is nearer to the last, which is the sound before it is levelled and ended.
    let last = guesses.last().unwrap().clone();
    let envelope = |clip: &Clip| -> Vec<f32> {
        let blocks = clip.channels()[0].chunks(512);
        blocks
            .map(|block| block.iter().map(|x| x * x).sum::<f32>().sqrt())
            .collect()
    };
    let apart: Vec<f32> = guesses
        .iter()
        .map(|guess| {
            let pairs = envelope(guess).into_iter().zip(envelope(&last));
            pairs.map(|(a, b)| (a - b).powi(2)).sum()
        })
        .collect();
    assert!(apart.is_sorted_by(|a, b| a > b), "{apart:?}");
    // Of a morph, no guess is given while its beginning is found.
    let settings = RenderSettings {
        init: Some(Init::Morph {
            clips: [plain.clip.clone(), third(&renderer, "tom")],
            fraction: 0.5,
        }),
        ..renderer.settings()
    };
    let mut seen = Vec::new();
    let morph = renderer.render_watched(&settings, 3, &mut |progress, guess| {
        seen.push(guess.is_some());
        assert_eq!(progress.step, seen.len());
        ControlFlow::Continue(())
    });
    assert_eq!(
        seen.iter().filter(|&&seen| seen).count(),
        morph.unwrap().steps
    );
    assert!(!seen[0] && seen[seen.len() - 1]);
}

#[test]
fn a_sound_to_begin_with_counts_from_its_onset() {
    let renderer = renderer();
    let snare = third(&renderer, "snare");
    for silence in [0.2, 2.0] {
        let clip = late(&snare, silence);
        let varied = begun(&renderer, vary(&clip, 0.4), 1);
        assert!(onset(&varied.clip) < 0.03, "{}", onset(&varied.clip));
        assert!(varied.class.is_some());
        assert!(matches!(varied.remarks[..], [Remark::LeftOut { seconds }]
            if (seconds - silence).abs() < 0.01));
        // Kept parts are counted from the file's beginning.
        let keep = |from, to| Init::Inpaint {
            clip: clip.clone(),
            kept: vec![(from, to)],
            strength: 1.0,
        };
        let kept = begun(&renderer, keep(silence, silence + 0.05), 1);
        assert!(onset(&kept.clip) < 0.03);
        let settings = RenderSettings {
            init: Some(keep(0.0, 0.1)),
            ..renderer.settings()
        };
        let refused = renderer.render(&settings, 1);
        assert!(refused.unwrap_err().to_string().contains("what to keep"));
    }
    let morph = Init::Morph {
        clips: [late(&snare, 0.2), third(&renderer, "tom")],
        fraction: 0.5,
    };
    assert!(onset(&begun(&renderer, morph, 1).clip) < 0.03);
}

#[test]
fn at_full_strength_nothing_is_left_of_a_sound_and_below_it_its_class_is() {
    let renderer = renderer();
    let snare = third(&renderer, "snare");
    let forgotten = begun(&renderer, vary(&late(&snare, 0.2), 1.0), 7);
    let fresh = generated(&renderer, None, 7..8, |_| {}).remove(0);
    assert_eq!(forgotten.clip, fresh.clip);
    assert_eq!(forgotten.class, fresh.class);
    // Nor is it where something is asked for; and a variation is of the class of its sound, whatever is asked for.
    let short_variation = |clip: &Clip, strength, seed: u64| {
        let change = |settings: &mut RenderSettings| {
            settings.init = Some(vary(clip, strength));
            settings.descriptors = vec![("length".into(), 0.2)];
        };
        generated(&renderer, None, seed..seed + 1, change).remove(0)
    };
    let short = generated(&renderer, None, 7..8, set("length", 0.2)).remove(0);
    let forgotten = short_variation(&snare, 1.0, 7);
    assert_eq!((forgotten.clip, forgotten.class), (short.clip, short.class));
    let kick = third(&renderer, "kick");
    for seed in 0..4 {
        let class = short_variation(&kick, 0.3, seed).class.unwrap();
        assert!(
            ["kick", "tom", "bass", "perc"].contains(&&*class),
            "{class}"
        );
    }
}

#[test]
fn a_morph_begins_with_the_one_sound_and_ends_with_the_other() {
    let renderer = renderer();
    let clips = [third(&renderer, "tom"), third(&renderer, "bass")];
    let config = renderer.config();
    let format = Format {
        len_frames: 33_280,
        ..config.format
    };
    let built = config.representation.build(&format, &config.statistics);
    let representation = built.unwrap();
    let heard = |clip: &Clip| {
        let mut samples = clip.channels()[0].clone();
        samples.resize(format.len_frames, 0.0);
        let clip = Clip::new(format.sample_rate, vec![samples]);
        representation.encode(&clip).unwrap().data
    };
    let apart = |a: &[f32], b: &[f32]| {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
        (squares.sum::<f32>() / a.len() as f32).sqrt()
    };
    let [from, to] = [0, 1].map(|i| heard(&clips[i]));
    for (fraction, near, far) in [(0.0, &from, &to), (1.0, &to, &from)] {
        let morph = generated(&renderer, None, 1..2, |settings| {
            settings.init = Some(Init::Morph {
                clips: clips.clone(),
                fraction,
            });
        });
        assert_eq!(morph[0].steps, 10);
        let morph = heard(&morph[0].clip);
        let (near, far) = (apart(&morph, near), apart(&morph, far));
        assert!(near < 0.5 * far, "{fraction}: {near} and {far}");
    }
}

#[test]
fn a_morph_by_inversion_is_that_of_its_seed_whatever_is_rendered_beside_it() {
    let renderer = renderer();
    let clips = [third(&renderer, "snare"), third(&renderer, "kick")];
    let morph = |settings: &mut RenderSettings| {
        settings.sampler = Sampler::Ddim;
        settings.steps = 4;
        settings.descriptors = vec![("length".into(), 0.3)];
        settings.init = Some(Init::Morph {
            clips: clips.clone(),
            fraction: 0.5,
        });
    };
    let both = generated(&renderer, None, 1..3, morph);
    let alone = generated(&renderer, None, 2..3, morph).remove(0);
    assert_eq!(both[1].clip, alone.clip);
    let is_other = |remark: &Remark| matches!(remark, Remark::Sampler { .. });
    assert!(!both[1].remarks.iter().any(is_other));
}

#[test]
fn one_shots_end_where_they_end_and_tails_die_away() {
    let renderer = renderer();
    let (config, format) = (renderer.config(), renderer.config().format);
    for sound in generated(&renderer, Some("hat_closed"), 4..8, |_| {}) {
        assert!(sound.clip.seconds() < 0.8, "{}", sound.clip.seconds());
        let samples = &sound.clip.channels()[0];
        let last = samples.iter().rposition(|x| x.abs() > 1e-3);
        assert!(last.is_some() && samples[samples.len() - 1] == 0.0);
    }
    let whole = generated(&renderer, Some("hat_closed"), 0..1, |s| s.trim = false);
    assert!(
        config
            .clip_lengths()
            .all()
            .contains(&whole[0].clip.len_frames())
    );
    let two = generated(&renderer, Some("hat_closed"), 0..1, |s| {
        s.seconds = Some(2.0);
    });
    assert_eq!(two[0].clip.len_frames(), 2 * format.sample_rate as usize);
    // Beyond the model's own length nothing returns, and nothing stays.
    for (class, seed) in [("bass", 2), ("synth", 2), ("cymbal", 1)] {
        let long = generated(&renderer, Some(class), seed..seed + 1, |s| {
            s.seconds = Some(9.0);
        });
        let samples = &long[0].clip.channels()[0];
        let second = format.sample_rate as usize;
        let level = |from: usize| {
            let part = &samples[from..from + second];
            let power = part.iter().map(|x| x * x).sum::<f32>() / second as f32;
            10.0 * power.max(1e-12).log10()
        };
        let levels: Vec<f32> = (0..9).map(|i| level(i * second)).collect();
        // A note that was held falls slowly, and unevenly by a decibel.
        assert!(levels[8] < levels[3] - 2.0, "{class}: {levels:?}");
        for pair in levels[3..].windows(2) {
            let is_over = pair[1] < -90.0;
            assert!(is_over || pair[1] < pair[0] + 1.0, "{class}: {levels:?}");
        }
    }
}

#[test]
fn a_loudness_that_the_peak_forbids_is_remarked_on() {
    let renderer = renderer();
    let loud = |lufs| {
        generated(&renderer, Some("kick"), 1..2, |s| {
            s.level = Level::Loudness(lufs);
        })
    };
    assert!(loud(-30.0)[0].remarks.is_empty());
    let [
        Remark::Loudness {
            asked,
            reached: Some(reached),
        },
    ] = loud(-3.0)[0].remarks[..]
    else {
        panic!("no remark");
    };
    assert!(
        asked == -3.0 && (-30.0..-5.0).contains(&reached),
        "{reached}"
    );
}
