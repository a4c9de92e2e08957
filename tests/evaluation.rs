//! Known answers: each number of an evaluation moves as the theory says when sounds are spoilt in a known way.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use audiodiff::Result;
use audiodiff::audio::{BitDepth, Clip, write_wav};
use audiodiff::dataset::ScanOptions;
use audiodiff::eval::{Ear, Estimate, Evaluation, Part, Reference, SCORES, Scores, Sound, Sounds};
use audiodiff::noise::Noise;
use audiodiff::representation::Format;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;

const RATE: u32 = 22_050;
const FRAMES: usize = 11_264;
const KINDS: [&str; 4] = ["bell", "hiss", "sweep", "thump"];

/// A made-up sound of one of four kinds, its pitch, length and colour drawn at random.
fn wave(kind: usize, noise: &mut Noise) -> Vec<f32> {
    let rate = f64::from(RATE);
    let mut draw = |low: f64, high: f64| low * (high / low).powf(f64::from(noise.uniform()));
    let (hz, decay, colour) = match kind {
        0 => (draw(300.0, 900.0), draw(0.1, 0.4), draw(1.3, 2.9)),
        1 => (draw(0.05, 0.9), draw(0.02, 0.3), 0.0),
        2 => (draw(200.0, 2000.0), draw(0.1, 0.3), draw(1.5, 4.0)),
        _ => (draw(45.0, 120.0), draw(0.08, 0.3), draw(1.0, 6.0)),
    };
    let mut low = 0.0;
    (0..FRAMES)
        .map(|n| {
            let t = n as f64 / rate;
            let envelope = (-t / decay).exp();
            let tone = match kind {
                0 => (TAU * hz * t).sin() + 0.6 * (TAU * hz * colour * t).sin(),
                1 => {
                    low += hz * (f64::from(noise.normal()) - low);
                    low
                }
                2 => (TAU * hz * (t + colour * t * t)).sin(),
                _ => (TAU * hz * (t + 0.01 * colour * (1.0 - (-40.0 * t).exp()))).sin(),
            };
            (envelope * tone) as f32
        })
        .collect()
}

fn ear(rate: u32, len_frames: usize) -> Ear {
    let format = Format {
        sample_rate: rate,
        channels: 1,
        len_frames,
    };
    Ear::new(format, 256).expect("there is such a spectrogram")
}

/// Labelled waves, as a folder of them would be heard.
fn heard(ear: &Ear, name: &str, labelled: impl IntoIterator<Item = (String, Vec<f32>)>) -> Sounds {
    let sound = |(i, (label, wave)): (usize, (String, Vec<f32>))| {
        let clip = Clip::new(ear.format().sample_rate, vec![wave]);
        let sound = Sound::new(ear, format!("{name} {i}"), Some(label), &clip);
        sound.expect("it is of a usual rate").expect("it is loud")
    };
    Sounds {
        name: name.to_owned(),
        format: ear.format(),
        sounds: labelled.into_iter().enumerate().map(sound).collect(),
        unusable: 0,
        chosen: None,
    }
}

fn sounds(name: &str, labelled: impl IntoIterator<Item = (usize, Vec<f32>)>) -> Sounds {
    let labelled = labelled.into_iter();
    let labelled = labelled.map(|(kind, wave)| (KINDS[kind].to_owned(), wave));
    heard(&ear(RATE, FRAMES), name, labelled)
}

/// A number that is there.
fn value(estimate: Option<Estimate>) -> f64 {
    estimate.expect("it was measured").value
}

/// `n` sounds of the four kinds in turn.
fn all_kinds(name: &str, n: usize, seed: u64) -> Sounds {
    let mut noise = Noise::new(seed);
    sounds(name, (0..n).map(|i| (i % 4, wave(i % 4, &mut noise))))
}

/// Waves and kinds of `n` sounds.
fn waves(n: usize, seed: u64) -> Vec<(usize, Vec<f32>)> {
    let mut noise = Noise::new(seed);
    (0..n).map(|i| (i % 4, wave(i % 4, &mut noise))).collect()
}

fn evaluate(reference: &Reference, generated: Sounds) -> Result<Evaluation> {
    reference.evaluate(&[generated])
}

#[test]
fn every_number_moves_as_the_theory_says() -> Result<()> {
    let real = all_kinds("real", 240, 1);
    let fresh = all_kinds("fresh", 240, 2);
    let reference = Reference::new(real.clone(), None, 0)?;
    let floor = *reference.floor();
    assert!(reference.training_scores().is_none() && reference.notes().is_empty());

    // The same sounds: nothing between them, each a copy of itself.
    let same = evaluate(&reference, real)?.scores;
    assert!(value(same.frechet) < 0.5, "{same:?}");
    assert_eq!(value(same.copies), 1.0);
    assert!(
        value(same.mmd) <= 0.0 && value(same.coverage) == 1.0,
        "{same:?}"
    );

    // Others of the same distribution: at the floor, and no more alike than real ones.
    let other = evaluate(&reference, fresh.clone())?;
    let good = other.scores;
    assert!(value(good.frechet).abs() < 5.0, "{good:?}");
    assert!(value(good.mmd).abs() < 0.5, "{good:?}");
    assert!((value(good.density) - 1.0).abs() < 0.2, "{good:?}");
    assert!(
        value(good.coverage) > 0.9 && value(good.recall) > 0.85,
        "{good:?}"
    );
    let consistency = value(good.consistency);
    assert!(consistency > 0.95 * value(floor.consistency));
    let [own, real] = [good.copies, floor.copies].map(|copies| copies.expect("it was measured"));
    assert!(
        own.value <= real.value + 2.0 * own.error.hypot(real.error),
        "{good:?} {floor:?}"
    );

    // Low-passed: far away in distance, and the bandwidth tells why.
    let dulled = waves(240, 2).into_iter().map(|(kind, wave)| {
        let (mut a, mut b) = (0.0, 0.0);
        let smooth = |&x: &f32| {
            a += 0.1 * (x - a);
            b += 0.1 * (a - b);
            b
        };
        (kind, wave.iter().map(smooth).collect())
    });
    let dull = evaluate(&reference, sounds("dull", dulled))?;
    assert!(
        value(dull.scores.frechet) > 50.0,
        "{:?} {good:?}",
        dull.scores
    );
    assert!(
        value(dull.scores.mmd) > 1.0 + 3.0 * value(good.mmd).abs(),
        "{:?}",
        dull.scores
    );
    let band = |evaluated: &Evaluation| {
        let row = evaluated
            .health
            .iter()
            .find(|row| row.measure == "bandwidth, Hz");
        row.and_then(|row| row.generated)
            .expect("generated sounds have one")[2]
    };
    assert!(band(&dull) < 0.6 * band(&other));

    // Noise in place of sounds: nothing is right, and the classifier guesses.
    let mut noise = Noise::new(9);
    let hiss = sounds("noise", (0..240).map(|i| (i % 4, noise.normals(FRAMES))));
    let bad = evaluate(&reference, hiss)?.scores;
    assert!(value(bad.frechet) > 50.0, "{bad:?}");
    assert!(
        value(bad.density) < 0.05 && value(bad.coverage) < 0.05,
        "{bad:?}"
    );
    assert!(value(bad.consistency) < 0.5);

    // Three of four kinds missing: what is left is typical, but coverage and recall fall to about a quarter,
    // and the whitened distance sees it.
    let mut one = Noise::new(4);
    let narrow = evaluate(
        &reference,
        sounds("one", (0..240).map(|_| (0, wave(0, &mut one)))),
    )?
    .scores;
    assert!(value(narrow.density) > 0.7, "{narrow:?}");
    assert!((value(narrow.coverage) - 0.25).abs() < 0.08, "{narrow:?}");
    assert!(value(narrow.recall) < 0.35, "{narrow:?}");
    assert!(
        value(narrow.frechet_whitened) > 5.0 * value(good.frechet_whitened).abs().max(0.5),
        "{narrow:?}"
    );
    Ok(())
}

#[test]
fn an_evaluation_is_repeatable_and_a_pair_is_named() -> Result<()> {
    let reference = Reference::new(all_kinds("real", 48, 1), None, 3)?;
    let mut generated = all_kinds("generated", 32, 2);
    let mut stolen = reference.sounds().sounds[5].clone();
    stolen.name = "stolen".to_owned();
    generated.sounds[7] = stolen;
    let (first, again) = (
        evaluate(&reference, generated.clone())?,
        evaluate(&reference, generated)?,
    );
    assert_eq!(first, again);
    let pair = &first.nearest[0];
    assert_eq!(
        (pair.generated.as_str(), pair.training.as_str()),
        ("stolen", "real 5")
    );
    assert!(pair.distance < 1e-6 && pair.copy && value(first.scores.copies) >= 1.0 / 32.0);
    Ok(())
}

#[test]
fn few_sounds_are_told_all_but_distances() -> Result<()> {
    // Five hits, and generated ones that recall them: these are hardly nearer to one than to the next, since the hits
    // themselves are much alike.
    let hit = |n: usize, seed: u64, stray: f32| {
        let (mut own, mut other) = (Noise::new(n as u64), Noise::new(1000 + seed));
        let mut low = 0.0f32;
        let wave = |i: usize| {
            low += 0.2 * ((1.0 - stray) * own.normal() + stray * other.normal() - low);
            let t = i as f32 / RATE as f32;
            let hz = 60.0 * (1.0 + 0.02 * n as f32);
            (-t / (0.1 + 0.005 * n as f32)).exp()
                * ((std::f32::consts::TAU * hz * t).sin() + 0.5 * low)
        };
        (3, (0..FRAMES).map(wave).collect::<Vec<f32>>())
    };
    let real = sounds("real", (0..5).map(|n| hit(n, 0, 0.0)));
    let reference = Reference::new(real, None, 0)?;
    assert!(reference.notes()[0].contains("need 16 sounds, there are 5"));
    let recalled = sounds("recalled", (0..7).map(|i| hit(i % 5, i as u64, 0.02)));
    let evaluated = evaluate(&reference, recalled)?;
    assert_eq!(evaluated.scores.frechet, None);
    assert_eq!(
        value(evaluated.scores.copies),
        1.0,
        "{:?}",
        evaluated.nearest
    );
    assert!(
        evaluated
            .signals
            .iter()
            .any(|signal| signal.generated.is_some())
    );
    let fresh = sounds("fresh", (0..7).map(|i| hit(20 + 3 * i, i as u64, 1.0)));
    let evaluated = evaluate(&reference, fresh)?;
    assert_eq!(
        value(evaluated.scores.copies),
        0.0,
        "{:?}",
        evaluated.nearest
    );

    // Enough real sounds and few generated ones: that is said, too.
    let reference = Reference::new(all_kinds("real", 32, 1), None, 0)?;
    let evaluated = evaluate(&reference, all_kinds("few", 5, 3))?;
    assert!(
        evaluated.notes[0].contains("need 16 sounds, there are 5"),
        "{:?}",
        evaluated.notes
    );
    assert!(evaluated.scores.frechet.is_none() && evaluated.scores.copies.is_some());
    let alone = Reference::new(all_kinds("one", 1, 1), None, 0)?;
    let nothing = alone
        .evaluate(&[all_kinds("none", 0, 3)])
        .unwrap_err()
        .to_string();
    assert!(
        nothing.contains("none: expected sounds to evaluate"),
        "{nothing}"
    );
    Ok(())
}

/// However few and however short the sounds are that are known, strangers are not copies of them, and what is the same
/// but for its level, its trim and its bits is.
#[test]
fn copies_are_found_and_strangers_are_none_however_few_sounds_are_known() -> Result<()> {
    // As hits are: a tone that falls and a noise that is filtered, both drawn.
    let hit = |shortest: f64, noise: &mut Noise| -> Vec<f32> {
        let mut draw = |low: f64, high: f64| low * (high / low).powf(f64::from(noise.uniform()));
        let (hz, fall, colour) = (draw(50.0, 3000.0), draw(0.1, 3.0), draw(0.05, 0.9));
        let decay = [
            draw(shortest, 20.0 * shortest),
            draw(shortest, 20.0 * shortest),
        ];
        let fraction = draw(0.05, 1.0);
        let mut low = 0.0;
        let wave = |n: usize| {
            let t = n as f64 / f64::from(RATE);
            low += colour * (f64::from(noise.normal()) - low);
            let tone = (TAU * hz * (t + 0.02 * fall * (1.0 - (-40.0 * t).exp()))).sin();
            ((-t / decay[0]).exp() * tone + fraction * (-t / decay[1]).exp() * low) as f32
        };
        (0..FRAMES).map(wave).collect()
    };
    for (shortest, n) in [
        (0.002, 1),
        (0.002, 2),
        (0.002, 5),
        (0.02, 1),
        (0.02, 2),
        (0.02, 5),
        (0.002, 40),
    ] {
        let mut noise = Noise::new(n as u64);
        let known: Vec<_> = (0..n).map(|_| (0, hit(shortest, &mut noise))).collect();
        let held: Vec<_> = (0..4).map(|_| (0, hit(shortest, &mut noise))).collect();
        let strangers: Vec<_> = (0..60).map(|_| (0, hit(shortest, &mut noise))).collect();
        let again = known.iter().enumerate().map(|(i, (kind, wave))| {
            // Its own level and trim each, in 16 bits with dither.
            let mut copy = vec![0.0; 37 * (i + 1) % 300];
            let gain = 0.05 + 0.9 * noise.uniform();
            copy.extend(wave.iter().map(|x| {
                let dither = noise.uniform() - noise.uniform();
                (gain * x * 32_768.0 + dither).round() / 32_768.0
            }));
            (*kind, copy)
        });
        let again = sounds("again", again.collect::<Vec<_>>());
        let training = sounds("training", known);
        for reference in [
            Reference::new(training.clone(), None, 0)?,
            Reference::new(sounds("held back", held), Some(training), 0)?,
        ] {
            let evaluated = evaluate(&reference, again.clone())?;
            assert_eq!(
                value(evaluated.scores.copies),
                1.0,
                "{n}: {:?}",
                evaluated.nearest
            );
            let evaluated = evaluate(&reference, sounds("strangers", strangers.clone()))?;
            assert_eq!(
                value(evaluated.scores.copies),
                0.0,
                "{n}: {:?}",
                evaluated.nearest
            );
        }
    }
    Ok(())
}

/// Sounds of one source are no farther from each other than the floor says, whether or not the space is theirs.
#[test]
fn fresh_real_sounds_lie_within_the_error_of_the_floor() -> Result<()> {
    for (seed, n) in [(10, 64), (20, 128), (30, 200)] {
        let training = (seed != 10).then(|| all_kinds("training", 2 * n, seed + 1));
        let with_training = training.is_some();
        let reference = Reference::new(all_kinds("real", n, seed), training, seed)?;
        let fresh = evaluate(&reference, all_kinds("fresh", n, seed + 2))?;
        let within = |scores: &Scores, what: &str| {
            for (name, get, _, better) in SCORES {
                let (own, floor) = (get(scores), get(reference.floor()));
                let (Some(own), Some(floor)) = (own, floor) else {
                    continue;
                };
                let worse = match better {
                    "lower" => own.value - floor.value,
                    "higher" => floor.value - own.value,
                    _ => (own.value - floor.value).abs(),
                };
                let error = own.error.hypot(floor.error);
                assert!(
                    worse < 3.0 * error + 0.03,
                    "{what}, {n}, {name}: {own:?} {floor:?}"
                );
            }
        };
        within(&fresh.scores, "fresh");
        assert_eq!(reference.training_scores().is_some(), with_training);
        if let Some(training) = reference.training_scores() {
            within(training, "training");
        }
        assert!(fresh.verdicts.is_empty(), "{n}: {:?}", fresh.verdicts);
    }
    Ok(())
}

const CD: u32 = 44_100;
const LENGTH: usize = 24_576;

/// A drum with a sharp attack: a hiss, a snare or a kick, drawn at random.
fn drum(kind: usize, noise: &mut Noise) -> Vec<f32> {
    let mut draw = |low: f32, high: f32| low * (high / low).powf(noise.uniform());
    let (hz, decay, short) = match kind {
        0 => (0.0, draw(0.1, 0.25), 0.0),
        1 => (draw(150.0, 300.0), draw(0.06, 0.15), draw(0.04, 0.1)),
        _ => (draw(45.0, 90.0), draw(0.01, 0.02), draw(0.08, 0.2)),
    };
    let (colour, fraction) = (draw(0.3, 0.9), [1.0, 0.6, 0.25][kind]);
    let (mut low, mut before) = (0.0, 0.0);
    (0..LENGTH)
        .map(|n| {
            let t = n as f32 / CD as f32;
            low += colour * (noise.normal() - low);
            let hiss = low - 0.7 * before;
            before = low;
            let tone = if hz > 0.0 {
                (-t / short).exp() * (std::f32::consts::TAU * hz * t).cos()
            } else {
                0.0
            };
            fraction * (-t / decay).exp() * hiss + (1.0 - fraction) * tone
        })
        .collect()
}

fn drums(n: usize, seed: u64) -> Vec<(String, Vec<f32>)> {
    let mut noise = Noise::new(seed);
    let names = ["hat", "snare", "kick"];
    (0..n)
        .map(|i| (names[i % 3].to_owned(), drum(i % 3, &mut noise)))
        .collect()
}

/// `wave` with the cells of its spectrogram (Hann windows of `window` at a quarter of it) changed: `change` gets all
/// rows, and where each window begins.
fn through(
    wave: &[f32],
    window: usize,
    change: impl Fn(&mut Vec<Vec<Complex32>>, &dyn Fn(usize) -> isize),
) -> Vec<f32> {
    let hop = window / 4;
    let mut planner = RealFftPlanner::<f32>::new();
    let (forward, inverse) = (
        planner.plan_fft_forward(window),
        planner.plan_fft_inverse(window),
    );
    let hann: Vec<f32> = (0..window)
        .map(|n| 0.5 - 0.5 * (std::f32::consts::TAU * n as f32 / window as f32).cos())
        .collect();
    let begin = |row: usize| (row * hop) as isize - (window - hop) as isize;
    let rows = (wave.len() + window) / hop;
    let at = |place: isize| {
        usize::try_from(place)
            .ok()
            .filter(|&place| place < wave.len())
    };
    let mut cells: Vec<Vec<Complex32>> = (0..rows)
        .map(|row| {
            let sample = |n: usize| at(begin(row) + n as isize).map_or(0.0, |place| wave[place]);
            let mut frame: Vec<f32> = (0..window).map(|n| hann[n] * sample(n)).collect();
            let mut bins = forward.make_output_vec();
            forward
                .process(&mut frame, &mut bins)
                .expect("the lengths are the plan's");
            bins
        })
        .collect();
    change(&mut cells, &begin);
    let mut out = vec![0.0f32; wave.len()];
    for (row, bins) in cells.iter_mut().enumerate() {
        let last = bins.len() - 1;
        (bins[0].im, bins[last].im) = (0.0, 0.0);
        let mut frame = inverse.make_output_vec();
        inverse
            .process(bins, &mut frame)
            .expect("the lengths are the plan's");
        for (n, x) in frame.iter().enumerate() {
            if let Some(place) = at(begin(row) + n as isize) {
                // Four squared windows sum to 1.5.
                out[place] += hann[n] * x / (1.5 * window as f32);
            }
        }
    }
    out
}

/// The same energies, smooth over bins and rows, but every window's energy in one click, each 512 samples.
fn clicks(wave: &[f32]) -> Vec<f32> {
    const WINDOW: usize = 1024;
    through(wave, WINDOW, |cells, begin| {
        let powers: Vec<Vec<f32>> = cells
            .iter()
            .map(|row| row.iter().map(Complex32::norm_sqr).collect())
            .collect();
        for (row, bins) in cells.iter_mut().enumerate() {
            let near = row.saturating_sub(1)..(row + 2).min(powers.len());
            // Where the click lies in the window.
            let place = (512 - begin(row).rem_euclid(512)) % 512
                + if begin(row).rem_euclid(512) < 256 {
                    0
                } else {
                    512
                };
            for (bin, x) in bins.iter_mut().enumerate() {
                let around = bin.saturating_sub(6)..(bin + 7).min(powers[row].len());
                let cells = (near.len() * around.len()) as f32;
                let sum: f32 = near
                    .clone()
                    .map(|r| powers[r][around.clone()].iter().sum::<f32>())
                    .sum();
                let angle = -std::f32::consts::TAU * (bin as isize * place) as f32 / WINDOW as f32;
                *x = Complex32::from_polar((sum / cells).sqrt(), angle);
            }
        }
    })
}

/// Nothing more than 60 dB below the loudest cell is left.
fn gated(wave: &[f32]) -> Vec<f32> {
    through(wave, 1024, |cells, _| {
        let loudest = cells
            .iter()
            .flatten()
            .map(Complex32::norm_sqr)
            .fold(0.0, f32::max);
        for x in cells.iter_mut().flatten() {
            if x.norm_sqr() < 1e-6 * loudest {
                *x = Complex32::default();
            }
        }
    })
}

/// Rises over 8 ms.
fn smeared(wave: &[f32]) -> Vec<f32> {
    let rise = |n: usize| (n as f32 / (0.008 * CD as f32)).min(1.0);
    wave.iter().enumerate().map(|(n, x)| x * rise(n)).collect()
}

/// Low-passed at 4 kHz, 12 dB an octave.
fn dulled(wave: &[f32]) -> Vec<f32> {
    let (mut a, mut b) = (0.0, 0.0);
    let smooth = |&x: &f32| {
        a += 0.43 * (x - a);
        b += 0.43 * (a - b);
        b
    };
    wave.iter().map(smooth).collect()
}

/// Every known fault of generated sounds is found, by at least the margin that it must have, and none in real sounds.
#[test]
fn spoilt_sounds_are_found_worse_than_the_set_itself() -> Result<()> {
    let ear = ear(CD, LENGTH);
    let reference = Reference::new(heard(&ear, "real", drums(120, 1)), None, 0)?;
    let evaluated = |name: &str, spoil: &dyn Fn(&[f32]) -> Vec<f32>| {
        let fresh = drums(120, 2).into_iter();
        let spoilt = fresh.map(|(label, wave)| (label, spoil(&wave)));
        evaluate(&reference, heard(&ear, name, spoilt))
    };
    // Through frames and back unchanged.
    let fresh = evaluated("fresh", &|wave| through(wave, 1024, |_, _| ()))?;
    assert!(fresh.verdicts.is_empty(), "{:?}", fresh.verdicts);
    let distance = |evaluated: &Evaluation| value(evaluated.scores.frechet);
    let of = |evaluated: &Evaluation, measure: &str| {
        let row = evaluated.signals.iter().find(|row| row.measure == measure);
        let row = row.expect("there is such a measure");
        (value(row.difference), row.off)
    };
    let told =
        |evaluated: &Evaluation, part: &str| evaluated.verdicts.iter().any(|v| v.contains(part));

    let click = evaluated("clicks", &clicks)?;
    for (measure, margin) in [
        ("kurtosis, 3-14 kHz", 5.0),
        ("line at hop rate, dB", 6.0),
        ("line at half of it, dB", 10.0),
        ("roughness at 256, dB", 0.5),
    ] {
        let (difference, off) = of(&click, measure);
        assert!(difference > margin && off, "{measure}: {difference}");
        assert!(of(&fresh, measure).0.abs() < 0.3 * margin, "{measure}");
    }
    let (level, off) = of(&click, "level at equal peak, dB");
    assert!(level < -3.0 && off, "{level}");
    assert!(told(&click, "clicks where real sounds have noise") && told(&click, "a buzz"));

    let smear = evaluated("smeared", &smeared)?;
    let (first, off) = of(&smear, "first ms of 20, dB");
    assert!(
        first < -6.0 && off && of(&fresh, "first ms of 20, dB").0.abs() < 1.0,
        "{first}"
    );
    assert!(told(&smear, "attacks are smeared"));

    let gate = evaluated("gated", &gated)?;
    let (quiet, off) = of(&gate, "cells above -80 dB");
    assert!(
        quiet < -0.08 && off && of(&fresh, "cells above -80 dB").0.abs() < 0.03,
        "{quiet}"
    );
    // Above the gate nothing is missing, and the distance, which ends at -60 dB, hears little: of dulled sounds it
    // hears more than 30.
    assert!(!of(&gate, "cells above -40 dB").1);
    assert!(
        distance(&gate) < distance(&fresh) + 5.0,
        "{}",
        distance(&gate)
    );
    assert!(told(&gate, "behind a gate"));

    let dull = evaluated("dulled", &dulled)?;
    assert!(
        distance(&dull) > distance(&fresh) + 30.0,
        "{}",
        distance(&dull)
    );
    assert!(told(&dull, "Fréchet distance") && told(&dull, "behind a gate or a filter"));
    Ok(())
}

#[test]
fn folders_are_evaluated_whole_or_by_what_training_held_back() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut noise = Noise::new(7);
    for i in 0..80 {
        let clip = Clip::new(RATE, vec![wave(i % 4, &mut noise)]);
        let place = folder.path().join(KINDS[i % 4]);
        std::fs::create_dir_all(&place).expect("can be made");
        write_wav(&place.join(format!("{i}.wav")), &clip, BitDepth::Int16)?;
    }
    let ear = ear(RATE, FRAMES);
    let options = ScanOptions {
        validation: 0.4,
        ..ScanOptions::default()
    };
    let part = |part| Sounds::of_folder(folder.path(), &options, part, &ear, &mut |_, _| ());
    let (all, held, training) = (
        part(Part::All)?,
        part(Part::HeldBack)?,
        part(Part::Training)?,
    );
    let parts = Sounds::parted(folder.path(), &options, &ear, &mut |_, _| ())?;
    assert_eq!(parts.0.sounds.len(), held.sounds.len());
    assert_eq!(parts.1.sounds[0].name, training.sounds[0].name);
    assert!(
        held.chosen
            .as_ref()
            .is_some_and(|chosen| chosen.contains("near-duplicates"))
    );
    assert_eq!(all.sounds.len(), held.sounds.len() + training.sounds.len());
    assert_eq!(
        all.labels(),
        BTreeMap::from(KINDS.map(|k| (Some(k.to_owned()), 20)))
    );
    assert!(
        held.sounds
            .iter()
            .all(|s| training.sounds.iter().all(|t| s.name != t.name))
    );

    let reference = Reference::new(held, Some(training.clone()), 0)?;
    // The training sounds are all copies of themselves; the held ones are not of any.
    assert_eq!(
        value(evaluate(&reference, training.clone())?.scores.copies),
        1.0
    );
    assert!(value(reference.floor().copies) < 0.15);

    let page = folder.path().join("report.html");
    let evaluated = evaluate(&reference, training.clone())?;
    audiodiff::eval::report(&page, &reference, &[evaluated], &[&training])?;
    let text = std::fs::read_to_string(&page).expect("it was written");
    for expected in [
        "coverage",
        "thump",
        "data:audio/wav;base64,UklGR",
        "data:image/png;base64,iVBOR",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
    // Nothing is loaded from elsewhere.
    assert!(!text.contains("://") && !text.contains("src=\"/"));
    Ok(())
}
