use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::audio;
use crate::noise::Noise;
use crate::representation::{Decoding, Frames, Representation};

const FORMAT: Format = Format {
    sample_rate: 8000,
    channels: 1,
    len_frames: 1024,
};

/// The waveform itself in rows of 64.
#[derive(Debug)]
struct Rows;

impl Representation for Rows {
    fn format(&self) -> Format {
        FORMAT
    }
    fn shape(&self) -> (usize, usize) {
        (16, 64)
    }
    fn encode(&self, clip: &Clip) -> Result<Frames> {
        Ok(Frames {
            frames: 16,
            width: 64,
            data: clip.channels()[0].clone(),
        })
    }
    fn decode(&self, frames: &Frames, _with: &Decoding) -> Result<Clip> {
        Ok(Clip::new(FORMAT.sample_rate, vec![frames.data.clone()]))
    }
}

fn write(path: &Path, seed: u64, frames: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let mut noise = Noise::new(seed);
    for n in 0..frames {
        let fall = 10f32.powf(-2.0 * n as f32 / frames as f32);
        writer
            .write_sample((20_000.0 * fall * noise.between(-1.0, 1.0)) as i16)
            .unwrap();
    }
    writer.finalize().unwrap();
}

/// Three partials drawn at random, dying away.
fn chord(path: &Path, seed: u64) {
    let mut noise = Noise::new(seed);
    let partials: Vec<(f32, f32)> = (0..3)
        .map(|_| (60.0 * 50f32.powf(noise.uniform()), noise.between(0.02, 0.2)))
        .collect();
    let wave = |n: usize| {
        let t = n as f32 / 8000.0;
        let partial =
            |&(hz, decay): &(f32, f32)| (-t / decay).exp() * (std::f32::consts::TAU * hz * t).sin();
        0.3 * partials.iter().map(partial).sum::<f32>()
    };
    let clip = Clip::new(8000, vec![(0..4000).map(wave).collect()]);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    audio::write_wav(path, &clip, audio::BitDepth::Int16).unwrap();
}

/// 9 kicks and 4 snares below folders, 1 sound in none; some longer than a clip, some shorter.
fn kit() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for n in 0..9 {
        write(
            &root.path().join(format!("kick/{n}.wav")),
            n,
            400 + 200 * n as usize,
        );
    }
    for n in 0..4 {
        write(
            &root.path().join(format!("snare/deep/er/{n}.wav")),
            100 + n,
            900,
        );
    }
    write(&root.path().join("loose.wav"), 200, 3000);
    root
}

fn open(root: &Path, options: &ScanOptions) -> (Dataset, Report) {
    Dataset::open(root, FORMAT, options, &mut |_, _| ()).unwrap()
}

fn kinds(report: &Report) -> Vec<(String, &'static str)> {
    report
        .issues
        .iter()
        .map(|issue| (issue.path.display().to_string(), issue.kind.name()))
        .collect()
}

#[test]
fn each_clip_is_told_what_it_is_like_as_it_is_drawn() {
    let root = kit();
    // Twenty times the model's length, and other at each place.
    let path = root.path().join("kick/long.wav");
    write(&path, 77, 20_480);
    for crop in [Crop::Onset, Crop::Anywhere] {
        let options = ScanOptions {
            crop,
            ..ScanOptions::default()
        };
        let (data, _) = open(root.path(), &options);
        let long = (0..data.len()).find(|&n| data.path(n) == path).unwrap();
        let indices = [long; 12];
        let draw = |augment: &Augment| {
            let batch = data.batch(&indices, &Rows, Some((augment, 1, 5)), true);
            batch.unwrap()
        };
        let measured = |batch: &Batch| -> Vec<Attributes> {
            let clips = batch.frames.chunks(1024);
            let clips = clips.map(|rows| Clip::new(8000, vec![rows.to_vec()]));
            clips
                .map(|clip| Attributes::of(&crate::audio::Measures::of(&clip)))
                .collect()
        };
        let plain = draw(&Augment::NONE);
        assert_eq!(plain.attributes, measured(&plain), "{crop:?}");
        let alike = plain
            .attributes
            .iter()
            .all(|one| *one == plain.attributes[0]);
        assert_eq!(alike, crop == Crop::Onset);
        // A shortened decay hides the length; treble and level are told apart.
        let wild = Augment {
            varispeed_st: 0.0,
            decay: 1.0,
            neutral: 0.0,
            ..Augment::default()
        };
        let hidden = plain.attributes.iter().map(|one| {
            let mut hidden = *one;
            hidden.set(crate::attributes::Attribute::Length, None);
            hidden
        });
        assert_eq!(draw(&wild).attributes, hidden.collect::<Vec<_>>());
        assert!(
            data.batch(&indices, &Rows, None, false)
                .unwrap()
                .attributes
                .is_empty()
        );
        let faster = Augment {
            varispeed_st: 2.0,
            neutral: 0.0,
            ..Augment::NONE
        };
        let faster = draw(&faster);
        if crop == Crop::Anywhere {
            assert_eq!(faster.attributes, measured(&faster));
        } else {
            let moved = |change: &Change| plain.attributes[0].varispeed(change.varispeed_st);
            let moved: Vec<_> = faster.changes.iter().map(moved).collect();
            assert_eq!(faster.attributes, moved);
        }
    }
}

/// On Windows no folder can be called like this one.
#[cfg(not(windows))]
#[test]
fn labels_that_cannot_name_a_class_are_refused_before_anything_is_read() {
    let root = kit();
    let odd = "bel\u{7}l";
    let folder = root.path().join(odd);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("x.wav"), "no sound").unwrap();
    let options = ScanOptions::default();
    let mut read = 0;
    let error = Dataset::open(root.path(), FORMAT, &options, &mut |done, _| read = done);
    let error = error.unwrap_err().to_string();
    let expected = "the class name \"bel\\u{7}l\": expected no control characters";
    assert!(error.ends_with(expected) && read == 0, "{error}");
    let report = check(root.path(), &options, &mut |_, _| ()).unwrap();
    let found = report
        .issues
        .iter()
        .find(|issue| issue.kind == IssueKind::ClassName);
    assert_eq!(found.map(|issue| issue.action), Some(Action::Refused));
    // A manifest that calls it otherwise mends it.
    let named = Labels::Manifest(root.path().join("labels.csv"));
    fs::write(root.path().join("labels.csv"), "path,label\nkick/1.wav,a\n").unwrap();
    let options = ScanOptions {
        labels: named,
        ..options
    };
    assert_eq!(open(root.path(), &options).0.labels(), ["a"]);
}

#[test]
fn counting_opens_nothing_and_chooses_as_opening_does() {
    let root = kit();
    fs::write(root.path().join("kick/broken.wav"), "no sound").unwrap();
    let count = |include: &[&str]| {
        let options = ScanOptions {
            include: include.iter().map(|&label| label.to_owned()).collect(),
            ..ScanOptions::default()
        };
        count(root.path(), &options).unwrap()
    };
    assert_eq!((count(&[]), count(&["snare"])), (15, 4));
    assert_eq!(open(root.path(), &ScanOptions::default()).1.found, 15);
}

#[test]
fn folders_are_labels_and_a_loose_file_is_kept_without() {
    let root = kit();
    let mut heard = Vec::new();
    let (data, report) = Dataset::open(
        root.path(),
        FORMAT,
        &ScanOptions::default(),
        &mut |done, of| heard.push((done, of)),
    )
    .unwrap();
    assert_eq!(data.labels(), ["kick", "snare"]);
    assert_eq!((data.len(), report.total.files, report.found), (14, 14, 14));
    assert_eq!(kinds(&report), [("loose.wav".into(), "no-label")]);
    // One that is skipped is not said to be kept.
    fs::write(root.path().join("words.wav"), "no sound").unwrap();
    let (_, with_words) = open(root.path(), &ScanOptions::default());
    let expected = [("loose.wav", "no-label"), ("words.wav", "unreadable")];
    assert_eq!(
        kinds(&with_words),
        expected.map(|(path, kind)| (path.to_owned(), kind))
    );
    assert_eq!(
        (
            report.labels["kick"].files,
            report.labels["snare"].files,
            report.unlabelled.files
        ),
        (9, 4, 1)
    );
    let snare = (0..14)
        .find(|&n| data.path(n).ends_with("snare/deep/er/2.wav"))
        .unwrap();
    assert_eq!(data.label(snare), Some(1));
    assert_eq!(
        (heard.first(), heard.last()),
        (Some(&(0, 14)), Some(&(14, 14)))
    );
    assert_eq!(
        check(root.path(), &ScanOptions::default(), &mut |_, _| ())
            .unwrap()
            .total,
        report.total
    );
}

#[test]
fn batches_are_the_same_for_any_threads_and_any_cache() {
    let root = kit();
    for crop in [Crop::Onset, Crop::Anywhere] {
        let make = |threads: usize, cache_mb: u64| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let (data, report) = open(
                    root.path(),
                    &ScanOptions {
                        crop,
                        cache_mb,
                        ..ScanOptions::default()
                    },
                );
                let indices = data.draw(24, &mut Noise::at(3, &[9]));
                let augment = Augment::default();
                let batch = data
                    .batch(&indices, &Rows, Some((&augment, 3, 9)), false)
                    .unwrap();
                (report, data.validation().to_vec(), indices, batch)
            })
        };
        let one = make(1, 1024);
        assert_eq!(one, make(2, 1024));
        assert_eq!(one, make(2, 0));
        assert_eq!(one.3.shape, (24, 16, 64));
        assert!(one.3.frames.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn seed_and_step_and_place_change_a_clip_and_nothing_else_does() {
    let root = kit();
    let (data, _) = open(root.path(), &ScanOptions::default());
    let augment = Augment {
        neutral: 0.0,
        ..Augment::default()
    };
    let batch = |indices: &[usize], seed, step| {
        data.batch(indices, &Rows, Some((&augment, seed, step)), false)
            .unwrap()
    };
    let first = batch(&[4, 4, 5], 1, 1);
    assert_ne!(first.changes[0], first.changes[1]);
    assert_eq!(first.frames[..1024], batch(&[4], 1, 1).frames);
    assert_ne!(first.frames[..1024], batch(&[4], 1, 2).frames);
    assert_ne!(first.frames[..1024], batch(&[4], 2, 1).frames);
}

#[test]
fn without_augmentation_batches_are_the_clips_and_descriptors_are_zero() {
    let root = kit();
    for crop in [Crop::Onset, Crop::Anywhere] {
        let (data, _) = open(
            root.path(),
            &ScanOptions {
                crop,
                ..ScanOptions::default()
            },
        );
        let batch = data.batch(&[8, 9, 13], &Rows, None, false).unwrap();
        assert_eq!(batch.changes, [Change::default(); 3]);
        assert_eq!(batch.labels, [Some(0), None, Some(1)]);
        for (index, rows) in [8, 9, 13].into_iter().zip(batch.frames.chunks(1024)) {
            let clip = data.clip(index).unwrap();
            assert_eq!(rows, clip.channels()[0]);
            assert!((clip.peak() - 0.95).abs() < 1e-6);
        }
        let untouched = data
            .batch(&[9], &Rows, Some((&Augment::NONE, 1, 1)), false)
            .unwrap();
        assert_eq!(
            untouched.frames == batch.frames[1024..2048],
            crop == Crop::Onset,
            "{crop:?}"
        );
    }
}

#[test]
fn draw_tempers_classes_and_is_uniform_within() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..16 {
        write(&root.path().join(format!("many/{n:02}.wav")), n, 200);
    }
    write(&root.path().join("one/a.wav"), 99, 200);
    let (data, _) = open(
        root.path(),
        &ScanOptions {
            validation: 0.0,
            ..ScanOptions::default()
        },
    );
    let mut seen = [0usize; 17];
    data.draw(20_000, &mut Noise::new(5))
        .into_iter()
        .for_each(|index| seen[index] += 1);
    // sqrt(16) : sqrt(1); standard errors are 57 and 31.
    assert!(seen[16].abs_diff(4000) < 230, "{seen:?}");
    assert!(
        seen[..16].iter().all(|n| n.abs_diff(1000) < 130),
        "{seen:?}"
    );
}

#[test]
fn sounds_of_a_batch_belong_into_clips_of_one_length_and_none_is_drawn_less_often() {
    let root = tempfile::tempdir().unwrap();
    // Those of 10,000 frames are heard for longer than a quarter of the longest clip, and than half of it.
    for (label, frames) in [("short", 1500), ("long", 10_000)] {
        for i in 0..4 {
            let path = root.path().join(format!("{label}/{i}.wav"));
            write(&path, 10 * frames as u64 + i, frames);
        }
    }
    let format = Format {
        len_frames: 8192,
        ..FORMAT
    };
    let options = ScanOptions {
        validation: 0.0,
        ..ScanOptions::default()
    };
    let (data, _) = Dataset::open(root.path(), format, &options, &mut |_, _| ()).unwrap();
    let lengths = ClipLengths::halved(&format, 64);
    assert_eq!(lengths.all(), [2048, 4096, 8192]);
    let is_long = |index: usize| data.labels()[data.label(index).unwrap() as usize] == "long";
    for index in 0..data.len() {
        let expected = if is_long(index) { 8192 } else { 1500 };
        assert!(data.end(index).unwrap().abs_diff(expected) < 100);
    }
    let (mut seen, mut longer, batches) = ([0usize; 8], [0usize; 2], 3000);
    for step in 0..batches {
        let mut noise = Noise::at(1, &[step]);
        let (drawn, len) = data.draw_of_length(4, &lengths, &mut noise).unwrap();
        assert!(
            drawn
                .iter()
                .all(|&index| is_long(index) == is_long(drawn[0]))
        );
        assert!(len == 8192 || !is_long(drawn[0]));
        longer[0] += usize::from(len == 4096);
        longer[1] += usize::from(len == 8192 && !is_long(drawn[0]));
        drawn.into_iter().for_each(|index| seen[index] += 1);
    }
    // 12,000 draws of 8 sounds, four at a time of one kind: standard errors are about 60.
    assert!(seen.iter().all(|n| n.abs_diff(1500) < 240), "{seen:?}");
    // A fifth of the half that is short, by two lengths: 150 each, standard errors of 12.
    assert!(longer.iter().all(|n| n.abs_diff(150) < 50), "{longer:?}");
    let of_one = data.draw_of_length(4, &ClipLengths::one(8192), &mut Noise::new(1));
    let (drawn, len) = of_one.unwrap();
    assert_eq!((drawn, len), (data.draw(4, &mut Noise::new(1)), 8192));
}

#[test]
fn sources_come_from_folders_names_and_manifests() {
    let sources = |root: &Path, labels: Labels| -> Vec<Option<String>> {
        let mut folder = folder::Folder::walk(root).unwrap();
        folder.label(root, &labels).unwrap();
        folder.attribute();
        folder.files.into_iter().map(|file| file.source).collect()
    };
    let root = tempfile::tempdir().unwrap();
    let names = [
        "kick/a__1.wav",
        "kick/lone__1.wav",
        "kick/x.wav",
        "snare/a__2.wav",
        "snare/kit/x.wav",
    ];
    for (n, name) in names.into_iter().enumerate() {
        write(&root.path().join(name), n as u64, 300);
    }
    let (a, kit) = (Some("a".to_owned()), Some("kit".to_owned()));
    let found = sources(root.path(), Labels::Folders);
    assert_eq!(found, [a.clone(), None, None, a.clone(), kit]);
    let manifest = root.path().join("m.csv");
    let text =
        "group,path,label\none,kick/a__1.wav,low\n,kick/x.wav,low\none,snare/kit/x.wav,low\n";
    fs::write(&manifest, text).unwrap();
    let one = Some("one".to_owned());
    let found = sources(root.path(), Labels::Manifest(manifest));
    assert_eq!(found, [one.clone(), None, None, a, one]);
}

#[test]
fn whole_kits_and_near_duplicates_are_held_back() {
    let root = tempfile::tempdir().unwrap();
    for kit in 0..12u64 {
        for n in 0..4 {
            for (k, label) in ["kick", "snare"].into_iter().enumerate() {
                let path = root.path().join(format!("{label}/kit {kit}/{n}.wav"));
                chord(&path, 1000 * kit + 10 * n + k as u64);
            }
        }
    }
    let (data, report) = open(root.path(), &ScanOptions::default());
    let kits = |indices: &[usize]| -> BTreeSet<PathBuf> {
        let kit = |&n: &usize| data.path(n).parent().unwrap().file_name().unwrap().into();
        indices.iter().map(kit).collect()
    };
    let held = report.held_back.clone().unwrap();
    assert_eq!(
        (held.whole, held.sounds),
        (Whole::Sources, data.validation().len())
    );
    assert!(kits(data.train()).is_disjoint(&kits(data.validation())));
    assert!(report.to_string().contains("held back"), "{report}");
    // Sounds in one folder, each twice, the second time softer.
    let flat = tempfile::tempdir().unwrap();
    for n in 0..40u64 {
        let path = flat.path().join(format!("kick/{n}.wav"));
        chord(&path, n);
        let mut reader = hound::WavReader::open(&path).unwrap();
        let copy = flat.path().join(format!("kick/soft {n}.wav"));
        let mut writer = hound::WavWriter::create(copy, reader.spec()).unwrap();
        reader
            .samples::<i16>()
            .for_each(|x| writer.write_sample(x.unwrap() / 3).unwrap());
        writer.finalize().unwrap();
    }
    let options = ScanOptions {
        validation: 0.2,
        ..ScanOptions::default()
    };
    let (data, report) = open(flat.path(), &options);
    assert_eq!(report.held_back.unwrap().whole, Whole::NearDuplicates);
    let names = |indices: &[usize]| -> BTreeSet<String> {
        let name = |&n: &usize| data.path(n).file_name().unwrap().to_string_lossy();
        let name = |n| name(n).replace("soft ", "");
        indices.iter().map(name).collect()
    };
    let (held, learnt) = (names(data.validation()), names(data.train()));
    assert!(!held.is_empty() && held.is_disjoint(&learnt));
}

#[test]
fn duplicates_are_found_across_names_sample_formats_and_labels() {
    let root = kit();
    fs::copy(
        root.path().join("kick/3.wav"),
        root.path().join("snare/copy.wav"),
    )
    .unwrap();
    let mut reader = hound::WavReader::open(root.path().join("kick/3.wav")).unwrap();
    let spec = hound::WavSpec {
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
        ..reader.spec()
    };
    let mut writer = hound::WavWriter::create(root.path().join("kick/float.wav"), spec).unwrap();
    reader.samples::<i16>().for_each(|x| {
        writer
            .write_sample(f32::from(x.unwrap()) / 32_768.0)
            .unwrap();
    });
    writer.finalize().unwrap();
    let (data, report) = open(root.path(), &ScanOptions::default());
    assert_eq!((data.len(), report.skipped()), (14, 2));
    let details: Vec<_> = report
        .issues
        .iter()
        .filter(|i| i.kind == IssueKind::Duplicate)
        .map(|i| i.detail.as_str())
        .collect();
    let same = format!(
        "the same sound as {}",
        Path::new("kick").join("3.wav").display()
    );
    assert_eq!(
        details,
        [&*same, &*format!("{same}, which is labelled \"kick\"")]
    );
}

#[test]
fn manifests_label_and_their_loose_ends_are_reported() {
    let root = kit();
    let manifest = root.path().join("labels.csv");
    let absolute = root.path().join("kick/1.wav");
    let text = format!(
        "licence,path,label\nCC0,kick/0.wav,deep\nCC0, {} ,deep\nCC0,kick/2.wav,high\nCC0,gone.wav,high\nCC0,kick/0.wav,high\nCC0,labels.csv,high\nCC0,kick/3.wav\n",
        absolute.display()
    );
    fs::write(&manifest, text).unwrap();
    let options = ScanOptions {
        labels: Labels::Manifest(manifest.clone()),
        ..ScanOptions::default()
    };
    let (data, report) = open(root.path(), &options);
    assert_eq!(data.labels(), ["deep", "high"]);
    assert_eq!(
        (
            report.labels["deep"].files,
            report.labels["high"].files,
            report.unlabelled.files
        ),
        (2, 1, 11)
    );
    let loose: Vec<_> = report
        .issues
        .iter()
        .filter(|i| i.kind == IssueKind::Manifest)
        .map(|i| i.detail.as_str())
        .collect();
    assert_eq!(
        loose,
        [
            "line 8: expected a path and a label, found one or neither",
            "line 5 labels it \"high\", but there is no such file",
            "line 6 labels it \"high\", an earlier line \"deep\"",
            "line 7 labels it \"high\", but it is no sound file of this folder",
        ]
    );
    fs::write(&manifest, "file,class\na,b\n").unwrap();
    let error = Dataset::open(root.path(), FORMAT, &options, &mut |_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("expected a CSV header with path and label, found \"file,class\""),
        "{error}"
    );
}

#[test]
fn manifests_of_windows_are_read_and_sounds_stand_in_the_same_order_everywhere() {
    let root = kit();
    write(&root.path().join("kick-2/0.wav"), 410, 500);
    write(&root.path().join("kick Z/0.wav"), 411, 500);
    let manifest = root.path().join("labels.csv");
    // As Excel writes it: a mark of the encoding, and two bytes to end a line.
    let text = "\u{feff}path,label\r\nkick\\0.wav,deep\r\nkick-2\\0.wav,\"high, dry\"\r\n";
    fs::write(&manifest, text).unwrap();
    let options = ScanOptions {
        labels: Labels::Manifest(manifest),
        ..ScanOptions::default()
    };
    let (data, report) = open(root.path(), &options);
    assert_eq!(data.labels(), ["deep", "high, dry"]);
    let wrong = |issue: &&Issue| issue.kind == IssueKind::Manifest;
    assert_eq!(report.issues.iter().find(wrong).map(|i| &i.detail), None);
    let folder = |n: usize| {
        let below = data.path(n).strip_prefix(root.path()).unwrap();
        below.iter().next().unwrap().to_str().unwrap().to_owned()
    };
    let mut folders: Vec<_> = (0..data.len()).map(folder).collect();
    folders.dedup();
    // A separator comes after a space and a hyphen, and before all letters.
    assert_eq!(folders[..3], ["kick Z", "kick-2", "kick"]);
}

#[test]
fn include_chooses_labels_and_knows_the_others() {
    let root = kit();
    let include = |label: &str| ScanOptions {
        include: vec![label.into()],
        ..ScanOptions::default()
    };
    let (data, report) = open(root.path(), &include("snare"));
    assert_eq!(
        (data.labels(), data.len(), report.issues.len()),
        (&["snare".to_string()][..], 4, 0)
    );
    let error = Dataset::open(root.path(), FORMAT, &include("snair"), &mut |_, _| ())
        .unwrap_err()
        .to_string();
    let told = "no sound is labelled \"snair\"; the labels are: kick, snare (by folders: the first level of folders); \
                did you mean `snare`?";
    assert!(error.ends_with(told), "{error}");
    assert_eq!(labels(root.path(), &include("Snare")).unwrap(), ["snare"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_cycles_end() {
    use std::os::unix::fs::symlink;
    let root = kit();
    let elsewhere = tempfile::tempdir().unwrap();
    write(&elsewhere.path().join("clap.wav"), 300, 500);
    symlink(root.path(), root.path().join("kick/up")).unwrap();
    symlink("../snare", root.path().join("kick/across")).unwrap();
    symlink(elsewhere.path(), root.path().join("clap")).unwrap();
    symlink("1.wav", root.path().join("kick/0-link.wav")).unwrap();
    symlink("nowhere.wav", root.path().join("kick/lost.wav")).unwrap();
    let (data, report) = open(
        root.path(),
        &ScanOptions {
            labels: Labels::Folders,
            ..ScanOptions::default()
        },
    );
    assert_eq!(
        (data.len(), data.labels()),
        (15, &["clap", "kick", "snare"].map(String::from)[..])
    );
    let expected = [
        ("kick/0-link.wav", "duplicate"),
        ("kick/across", "duplicate"),
        ("kick/lost.wav", "unreadable"),
        ("kick/up", "duplicate"),
        ("loose.wav", "no-label"),
    ];
    assert_eq!(
        kinds(&report),
        expected.map(|(path, kind)| (path.to_string(), kind))
    );
    assert_eq!((report.found, report.skipped()), (17, 2));
}

#[test]
fn hidden_files_are_passed_over_and_order_is_by_path() {
    let root = kit();
    write(&root.path().join("kick/._0.wav"), 400, 500);
    write(&root.path().join(".trash/0.wav"), 401, 500);
    write(&root.path().join("kick/UPPER.WAV"), 402, 500);
    let (data, report) = open(root.path(), &ScanOptions::default());
    assert_eq!(report.found, 15);
    let names: Vec<_> = (0..data.len()).map(|n| data.path(n).to_owned()).collect();
    assert!(names.is_sorted() && names.iter().any(|name| name.ends_with("UPPER.WAV")));
}

#[test]
fn folders_without_use_say_why() {
    let refusal = |root: &Path| {
        Dataset::open(root, FORMAT, &ScanOptions::default(), &mut |_, _| ())
            .unwrap_err()
            .to_string()
    };
    let root = tempfile::tempdir().unwrap();
    assert!(refusal(root.path()).ends_with("found no files at all"));
    assert!(refusal(&root.path().join("gone")).contains("expected a folder of sounds, found none"));
    fs::write(root.path().join("notes.txt"), "hello").unwrap();
    assert!(refusal(root.path()).ends_with("found only others: txt 1"));
    assert!(refusal(&root.path().join("notes.txt")).ends_with("found a file"));
    write(&root.path().join("short.wav"), 1, 8);
    fs::write(root.path().join("fake.wav"), "hello").unwrap();
    fs::write(root.path().join("zero.wav"), "").unwrap();
    let sentence = refusal(root.path());
    assert!(
        sentence.contains("none of its 3 sound files can be used: 1 unreadable (fake.wav: "),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("1 too-short (short.wav: 8 frames are 1.00 ms, expected at least 5 ms)"),
        "{sentence}"
    );
    assert_eq!(
        check(root.path(), &ScanOptions::default(), &mut |_, _| ())
            .unwrap()
            .total
            .files,
        0
    );
}

#[test]
fn a_file_that_vanished_is_an_error_with_its_name() {
    let root = kit();
    let (data, _) = open(
        root.path(),
        &ScanOptions {
            cache_mb: 0,
            ..ScanOptions::default()
        },
    );
    fs::remove_file(data.path(2)).unwrap();
    let error = data
        .batch(&[1, 2], &Rows, None, false)
        .unwrap_err()
        .to_string();
    let name = Path::new("kick").join("2.wav");
    assert!(error.contains(&name.display().to_string()), "{error}");
    write(data.path(2), 2, 8);
    assert!(
        data.clip(2)
            .unwrap_err()
            .to_string()
            .contains("has changed since the folder was opened")
    );
}

/// A recording of so many hits of 0.4 s each, a second apart, of a pitch of their own each; FLAC as the name ends.
fn recording(path: &Path, hits: usize) {
    let mut channel = vec![0f32; 8000 * hits];
    for hit in 0..hits {
        let hz = 100.0 + 10.0 * hit as f32;
        for (n, x) in channel[8000 * hit + 1000..][..3200].iter_mut().enumerate() {
            let t = n as f32 / 8000.0;
            *x = 0.7 * (-12.0 * t).exp() * (std::f32::consts::TAU * hz * t).sin();
        }
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let clip = Clip::new(8000, vec![channel]);
    let tags = audio::Tags::default();
    audio::write(path, &clip, audio::BitDepth::Int24, &tags).unwrap();
}

#[test]
fn all_of_a_long_recording_is_learnt_from_memory_or_from_disk() {
    for name in ["a.wav", "a.flac"] {
        let root = tempfile::tempdir().unwrap();
        recording(&root.path().join("hits").join(name), 200);
        write(&root.path().join("hits/short.wav"), 1, 900);
        for (crop, sounds) in [(Crop::Onset, 200), (Crop::Anywhere, 7)] {
            let options = |cache_mb| ScanOptions {
                crop,
                cache_mb,
                validation: 0.0,
                ..ScanOptions::default()
            };
            let (data, report) = open(root.path(), &options(64));
            assert_eq!(data.len(), sounds + 1, "{crop:?}");
            assert_eq!((report.cut.files, report.cut.sounds), (1, sounds));
            assert_eq!((report.found, report.total.files), (2, 2));
            let seconds = 200.0 + 900.0 / 8000.0;
            assert!((report.total.seconds - seconds).abs() < 1e-9);
            assert_eq!(report.present_seconds, report.total.seconds);
            assert!(report.issues.is_empty(), "{:?}", report.issues);
            let checked = check(root.path(), &options(0), &mut |_, _| ()).unwrap();
            assert_eq!((checked.cut, checked.total), (report.cut, report.total));

            let (again, _) = open(root.path(), &options(0));
            assert_eq!(again.uncached(), again.len());
            assert_eq!(again.fingerprint(), data.fingerprint());
            for n in [0, 1, sounds / 2, sounds - 1] {
                assert!(data.clip(n).unwrap() == again.clip(n).unwrap(), "{n}");
            }
            let indices: Vec<usize> = (0..sounds).collect();
            let draw = |data: &Dataset| {
                let augment = Some((&Augment::NONE, 1, 5));
                data.batch(&indices, &Rows, augment, false).unwrap().frames
            };
            assert!(draw(&data) == draw(&again));
            if crop == Crop::Onset {
                // Each begins with a hit of its own, and 0.128 s of the second of each are the clip.
                let mut clips: Vec<Vec<u32>> = (0..sounds)
                    .map(|n| {
                        data.clip(n).unwrap().channels()[0]
                            .iter()
                            .map(|x| x.to_bits())
                            .collect()
                    })
                    .collect();
                clips.sort();
                clips.dedup();
                assert_eq!(clips.len(), sounds);
                let missed = report.not_learnt_seconds.unwrap();
                let wanted = 200.0 * (1.0 - 0.128);
                assert!((missed - wanted).abs() < 2.0, "{missed}, not {wanted}");
                assert!(
                    report
                        .to_string()
                        .contains("1, cut into 200 hits at their onsets")
                );
            } else {
                assert_eq!(report.not_learnt_seconds, Some(0.0));
                assert!(report.to_string().contains("1, cut into 7 pieces of 30 s"));
            }
        }
    }
}

#[test]
fn the_same_recording_is_learnt_once_and_its_silence_is_told() {
    let root = tempfile::tempdir().unwrap();
    recording(&root.path().join("a.wav"), 150);
    recording(&root.path().join("b.flac"), 150);
    let silence = Clip::new(8000, vec![vec![0.0; 8000 * 130]]);
    audio::write_wav(&root.path().join("c.wav"), &silence, audio::BitDepth::Int16).unwrap();
    for (crop, sounds) in [(Crop::Onset, 150), (Crop::Anywhere, 5)] {
        let options = ScanOptions {
            crop,
            ..ScanOptions::default()
        };
        let (data, report) = open(root.path(), &options);
        assert_eq!(
            (data.len(), report.cut.sounds, report.skipped()),
            (sounds, sounds, 2)
        );
        let told = [("b.flac", "duplicate"), ("c.wav", "silent")];
        let told = told.map(|(path, kind)| (path.to_owned(), kind));
        assert_eq!(kinds(&report), told);
    }
    // One that only begins like another is another.
    recording(&root.path().join("e.wav"), 160);
    let (data, report) = open(root.path(), &ScanOptions::default());
    assert_eq!((data.len(), report.skipped()), (150 + 160, 2));
    // Half of it silent, it is kept, and the silent parts are named where they would have been learnt.
    let path = root.path().join("d.wav");
    let mut half = vec![0.0f32; 8000 * 260];
    let mut noise = Noise::new(3);
    half[..8000 * 130].copy_from_slice(&noise.normals(8000 * 130));
    half.iter_mut().for_each(|x| *x *= 0.1);
    audio::write_wav(&path, &Clip::new(8000, vec![half]), audio::BitDepth::Int16).unwrap();
    let options = ScanOptions {
        crop: Crop::Anywhere,
        ..ScanOptions::default()
    };
    let (_, report) = open(root.path(), &options);
    let said = report
        .issues
        .iter()
        .find(|it| it.path.ends_with("d.wav"))
        .unwrap();
    assert_eq!(
        (said.kind, said.action),
        (IssueKind::Silent, Action::KeptTheRest)
    );
    assert!(said.detail.starts_with("in 4 parts"), "{}", said.detail);
}
