//! Known answers: each number of an evaluation moves as the theory says when sounds are spoilt in a known way.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::Arc;

use audiodiff::Result;
use audiodiff::audio::{BitDepth, Clip, Measures, write_wav};
use audiodiff::dataset::ScanOptions;
use audiodiff::eval::{Judgement, Part, Reference, Sound, Sounds};
use audiodiff::noise::Noise;
use audiodiff::representation::Format;

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

fn sounds(name: &str, labelled: impl IntoIterator<Item = (usize, Vec<f32>)>) -> Sounds {
    let sound = |(i, (kind, wave)): (usize, (usize, Vec<f32>))| {
        let clip = Clip::new(RATE, vec![wave]);
        Sound {
            name: format!("{name} {i}"),
            label: Some(KINDS[kind].to_owned()),
            measures: Measures::of(&clip),
            clip: Arc::new(clip),
        }
    };
    Sounds {
        name: name.to_owned(),
        sounds: labelled.into_iter().enumerate().map(sound).collect(),
        unusable: 0,
    }
}

/// `n` sounds of the four kinds in turn.
fn all_kinds(name: &str, n: usize, seed: u64) -> Sounds {
    let mut noise = Noise::new(seed);
    sounds(name, (0..n).map(|i| (i % 4, wave(i % 4, &mut noise))))
}

fn changed(of: &Sounds, change: impl Fn(&[f32]) -> Vec<f32>) -> Sounds {
    let one = |sound: &Sound| {
        let kind = KINDS.iter().position(|k| sound.label.as_deref() == Some(k));
        (
            kind.expect("a known kind"),
            change(&sound.clip.channels()[0]),
        )
    };
    sounds("changed", of.sounds.iter().map(one))
}

fn judge(reference: &Reference, made: Sounds) -> Result<Judgement> {
    reference.judge(&[made])
}

#[test]
fn every_number_moves_as_the_theory_says() -> Result<()> {
    let real = all_kinds("real", 240, 1);
    let fresh = all_kinds("fresh", 240, 2);
    let reference = Reference::new(real.clone(), None, 0)?;
    let floor = *reference.floor();

    // The same sounds: nothing between them, each a copy of itself.
    let same = judge(&reference, real)?.scores;
    assert!(same.frechet.value < 0.5, "{same:?}");
    assert_eq!(same.copies.value, 1.0);
    assert!(
        same.mmd.value <= 0.0 && same.coverage.value == 1.0,
        "{same:?}"
    );

    // Others of the same distribution: at the floor, and no copies.
    let other = judge(&reference, fresh.clone())?;
    let good = other.scores;
    assert!(good.frechet.value.abs() < 5.0, "{good:?}");
    assert!(good.mmd.value.abs() < 0.5, "{good:?}");
    assert!((good.density.value - 1.0).abs() < 0.2, "{good:?}");
    assert!(
        good.coverage.value > 0.9 && good.recall.value > 0.85,
        "{good:?}"
    );
    let consistency = good.consistency.expect("there are classes").value;
    assert!(consistency > 0.95 * floor.consistency.expect("there are classes").value);
    assert!(
        good.copies.value <= floor.copies.value + 0.02,
        "{good:?} {floor:?}"
    );

    // Low-passed: far away in distance, and the bandwidth tells why.
    let dull = judge(
        &reference,
        changed(&fresh, |wave| {
            let (mut a, mut b) = (0.0, 0.0);
            let smooth = |&x: &f32| {
                a += 0.1 * (x - a);
                b += 0.1 * (a - b);
                b
            };
            wave.iter().map(smooth).collect()
        }),
    )?;
    assert!(
        dull.scores.frechet.value > 50.0,
        "{:?} {good:?}",
        dull.scores
    );
    assert!(
        dull.scores.mmd.value > 1.0 + 3.0 * good.mmd.value.abs(),
        "{:?}",
        dull.scores
    );
    let band = |judged: &Judgement| {
        let row = judged
            .health
            .iter()
            .find(|row| row.measure == "bandwidth, Hz");
        row.and_then(|row| row.made).expect("made sounds have one")[2]
    };
    assert!(band(&dull) < 0.6 * band(&other));

    // Noise in place of sounds: nothing is right, and the classifier guesses.
    let mut noise = Noise::new(9);
    let hiss = sounds("noise", (0..240).map(|i| (i % 4, noise.normals(FRAMES))));
    let bad = judge(&reference, hiss)?.scores;
    assert!(bad.frechet.value > 50.0, "{bad:?}");
    assert!(
        bad.density.value < 0.05 && bad.coverage.value < 0.05,
        "{bad:?}"
    );
    assert!(bad.consistency.expect("there are classes").value < 0.5);

    // Three of four kinds missing: what is left is typical, but coverage and recall fall to about a quarter,
    // and the whitened distance sees it.
    let mut one = Noise::new(4);
    let narrow = judge(
        &reference,
        sounds("one", (0..240).map(|_| (0, wave(0, &mut one)))),
    )?
    .scores;
    assert!(narrow.density.value > 0.7, "{narrow:?}");
    assert!((narrow.coverage.value - 0.25).abs() < 0.08, "{narrow:?}");
    assert!(narrow.recall.value < 0.35, "{narrow:?}");
    assert!(
        narrow.frechet_whitened.value > 5.0 * good.frechet_whitened.value.abs().max(0.5),
        "{narrow:?}"
    );
    Ok(())
}

#[test]
fn an_evaluation_is_repeatable_and_a_pair_is_named() -> Result<()> {
    let reference = Reference::new(all_kinds("real", 48, 1), None, 3)?;
    let mut made = all_kinds("made", 32, 2);
    // A copy, a little louder.
    let stolen = &reference.sounds().sounds[5];
    made.sounds[7].clip = stolen.clip.clone();
    let (first, again) = (judge(&reference, made.clone())?, judge(&reference, made)?);
    assert_eq!(first, again);
    assert_eq!(
        (
            first.nearest[0].made.as_str(),
            first.nearest[0].learnt.as_str()
        ),
        ("made 7", "real 5")
    );
    assert!(first.nearest[0].ratio < 1e-6 && first.scores.copies.value >= 1.0 / 32.0);

    let few = reference
        .judge(&[all_kinds("few", 5, 3)])
        .unwrap_err()
        .to_string();
    assert!(
        few.contains("at least 16") && few.contains("found 5"),
        "{few}"
    );
    Ok(())
}

#[test]
fn folders_are_judged_whole_or_by_what_training_held_back() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut noise = Noise::new(7);
    for i in 0..80 {
        let clip = Clip::new(RATE, vec![wave(i % 4, &mut noise)]);
        let place = folder.path().join(KINDS[i % 4]);
        std::fs::create_dir_all(&place).expect("can be made");
        write_wav(&place.join(format!("{i}.wav")), &clip, BitDepth::Int16)?;
    }
    let format = Format {
        sample_rate: RATE,
        channels: 1,
        len_frames: FRAMES,
    };
    let options = ScanOptions {
        validation: 0.4,
        ..ScanOptions::default()
    };
    let part = |part| Sounds::of_folder(folder.path(), &options, part, format, &mut |_, _| ());
    let (all, held, learnt) = (part(Part::All)?, part(Part::HeldBack)?, part(Part::Learnt)?);
    assert_eq!(all.sounds.len(), held.sounds.len() + learnt.sounds.len());
    assert_eq!(
        all.labels(),
        BTreeMap::from(KINDS.map(|k| (Some(k.to_owned()), 20)))
    );
    assert!(
        held.sounds
            .iter()
            .all(|s| learnt.sounds.iter().all(|t| s.name != t.name))
    );

    let reference = Reference::new(held, Some(learnt.clone()), 0)?;
    // The learnt sounds are all copies of themselves; the held ones are not of any.
    assert_eq!(judge(&reference, learnt.clone())?.scores.copies.value, 1.0);
    assert!(reference.floor().copies.value < 0.15);

    let page = folder.path().join("report.html");
    let judged = judge(&reference, learnt.clone())?;
    audiodiff::eval::report(&page, &reference, &[judged], &[&learnt])?;
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
