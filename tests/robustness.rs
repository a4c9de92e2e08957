//! A folder of every awkward file we could think of: nothing panics, each gets its reason, and the
//! good ones survive.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};

use audiodiff::audio::Clip;
use audiodiff::dataset::{self, Augment, Crop, Dataset, IssueKind, Labels, Report, ScanOptions};
use audiodiff::noise::Noise;
use audiodiff::representation::{Decoding, Format, Frames, Representation};
use audiodiff::{Error, Result};

const FORMAT: Format = Format {
    sample_rate: 44_100,
    channels: 1,
    len_frames: 4096,
};

/// The waveform itself, one row.
#[derive(Debug)]
struct Row(Format);

impl Representation for Row {
    fn format(&self) -> Format {
        self.0
    }
    fn shape(&self) -> (usize, usize) {
        (1, self.0.channels * self.0.len_frames)
    }
    fn encode(&self, clip: &Clip) -> Result<Frames> {
        assert_eq!(
            (clip.sample_rate(), clip.channels().len()),
            (self.0.sample_rate, self.0.channels)
        );
        assert_eq!(clip.len_frames(), self.0.len_frames);
        Ok(Frames {
            frames: 1,
            width: self.shape().1,
            data: clip.channels().concat(),
        })
    }
    fn decode(&self, _: &Frames, _: &Decoding) -> Result<Clip> {
        unreachable!("data sets only encode")
    }
}

/// A plucked tone, different for every `pitch`, interleaved.
fn pluck(pitch: f64, rate: u32, frames: usize, channels: usize) -> Vec<f64> {
    let at = |n: usize, channel: usize| {
        let seconds = n as f64 / f64::from(rate);
        0.8 * (TAU * pitch * seconds + channel as f64).sin() * (-8.0 * seconds).exp()
    };
    let at = &at;
    (0..frames)
        .flat_map(|n| (0..channels).map(move |channel| at(n, channel)))
        .collect()
}

/// A RIFF WAVE file: format tag, bits, and the bytes of its samples.
fn wav(tag: u16, bits: u16, rate: u32, channels: u16, data: &[u8]) -> Vec<u8> {
    let frame = channels * bits.div_ceil(8);
    let mut file = b"RIFF".to_vec();
    let extended = tag != 1;
    file.extend((36 + 2 * u32::from(extended) + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend((16 + 2 * u32::from(extended)).to_le_bytes());
    file.extend(tag.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(frame)).to_le_bytes());
    file.extend(frame.to_le_bytes());
    file.extend(bits.to_le_bytes());
    if extended {
        // All but plain integers say how long their extension is.
        file.extend(0u16.to_le_bytes());
    }
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn int16(samples: &[f64]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|x| ((x * 32_767.0) as i16).to_le_bytes())
        .collect()
}

fn float32(samples: &[f64]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|x| (*x as f32).to_le_bytes())
        .collect()
}

/// An AIFF file of 16 bits, big-endian, at 44.1 kHz.
fn aiff(samples: &[f64]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|x| ((x * 32_767.0) as i16).to_be_bytes())
        .collect();
    let mut file = b"FORM".to_vec();
    file.extend((4 + 26 + 16 + data.len() as u32).to_be_bytes());
    file.extend(b"AIFFCOMM");
    file.extend(18u32.to_be_bytes());
    file.extend(1u16.to_be_bytes());
    file.extend((samples.len() as u32).to_be_bytes());
    file.extend(16u16.to_be_bytes());
    // 44100 as an 80-bit float: exponent 15, mantissa 44100 << 48.
    file.extend([0x40, 0x0e, 0xac, 0x44, 0, 0, 0, 0, 0, 0]);
    file.extend(b"SSND");
    file.extend((8 + data.len() as u32).to_be_bytes());
    file.extend([0; 8]);
    file.extend(data);
    file
}

/// Rough G.711 codes: sign and exponent, the mantissa in the middle. `invert` tells the laws apart.
fn companded(samples: &[f64], invert: u8) -> Vec<u8> {
    let code = |x: &f64| {
        let level = ((x.abs() * 4096.0).max(1.0).log2() - 4.0).clamp(0.0, 7.0) as u8;
        (if *x < 0.0 { 0x00 } else { 0x80 } | level << 4 | 8) ^ invert
    };
    samples.iter().map(code).collect()
}

struct Zoo {
    root: tempfile::TempDir,
    /// The remarks that each file must get, if any.
    expected: BTreeMap<PathBuf, Vec<IssueKind>>,
}

impl Zoo {
    fn put(&mut self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>, kinds: &[IssueKind]) {
        let path = self.root.path().join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self.expected
            .insert(name.as_ref().to_owned(), kinds.to_vec());
    }
}

fn zoo() -> Zoo {
    use IssueKind::*;
    let mut zoo = Zoo {
        root: tempfile::tempdir().unwrap(),
        expected: BTreeMap::new(),
    };
    let mut pitch = 200.0;
    let mut next = |rate: u32, frames: usize, channels: usize| {
        pitch += 7.0;
        pluck(pitch, rate, frames, channels)
    };

    // Sample formats.
    let bytes8: Vec<u8> = next(44_100, 6000, 1)
        .iter()
        .map(|x| (128.0 + 127.0 * x).round() as u8)
        .collect();
    zoo.put("good/8-bit.wav", wav(1, 8, 44_100, 1, &bytes8), &[]);
    zoo.put(
        "good/16-bit.wav",
        wav(1, 16, 44_100, 1, &int16(&next(44_100, 6000, 1))),
        &[],
    );
    let wide = |samples: &[f64]| {
        samples
            .iter()
            .map(|x| (x * 2_147_483_647.0) as i32)
            .collect::<Vec<_>>()
    };
    let bytes24: Vec<u8> = wide(&next(44_100, 6000, 1))
        .iter()
        .flat_map(|x| x.to_le_bytes()[1..].to_vec())
        .collect();
    zoo.put("good/24-bit.wav", wav(1, 24, 44_100, 1, &bytes24), &[]);
    let bytes32: Vec<u8> = wide(&next(44_100, 6000, 1))
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    zoo.put("good/32-bit.wav", wav(1, 32, 44_100, 1, &bytes32), &[]);
    zoo.put(
        "good/float.wav",
        wav(3, 32, 44_100, 1, &float32(&next(44_100, 6000, 1))),
        &[],
    );
    let bytes64: Vec<u8> = next(44_100, 6000, 1)
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    zoo.put("good/double.wav", wav(3, 64, 44_100, 1, &bytes64), &[]);
    zoo.put(
        "good/mulaw.wav",
        wav(7, 8, 44_100, 1, &companded(&next(44_100, 6000, 1), 0x7f)),
        &[],
    );
    zoo.put(
        "good/alaw.wav",
        wav(6, 8, 44_100, 1, &companded(&next(44_100, 6000, 1), 0x55)),
        &[],
    );
    zoo.put("good/aiff.aif", aiff(&next(44_100, 6000, 1)), &[]);
    zoo.put(
        "good/SHOUTED.WAV",
        wav(1, 16, 44_100, 1, &int16(&next(44_100, 6000, 1))),
        &[],
    );

    // Channels and rates.
    for channels in 1..=6 {
        let data = int16(&next(44_100, 5000, channels));
        zoo.put(
            format!("good/{channels}-channels.wav"),
            wav(1, 16, 44_100, channels as u16, &data),
            &[],
        );
    }
    for rate in [1234, 8000, 22_050, 48_000, 96_000, 192_000] {
        let data = int16(&next(rate, rate as usize / 8, 1));
        let kinds: &[IssueKind] = if rate < 22_050 { &[LowRate] } else { &[] };
        zoo.put(
            format!("good/{rate}-hz.wav"),
            wav(1, 16, rate, 1, &data),
            kinds,
        );
    }

    // Lengths and contents.
    zoo.put(
        "odd/one-frame.wav",
        wav(1, 16, 44_100, 1, &int16(&[0.5])),
        &[TooShort],
    );
    zoo.put("odd/zero-frames.wav", wav(1, 16, 44_100, 1, &[]), &[Empty]);
    zoo.put("odd/zero-bytes.wav", [], &[Empty]);
    zoo.put(
        "odd/silence.wav",
        wav(1, 16, 44_100, 1, &int16(&[0.0; 5000])),
        &[Silent],
    );
    zoo.put(
        "odd/only-offset.wav",
        wav(3, 32, 44_100, 1, &float32(&[0.25; 5000])),
        &[Silent],
    );
    let leaning: Vec<f64> = next(44_100, 20_000, 1)
        .iter()
        .map(|x| 0.5 * x + 0.1)
        .collect();
    zoo.put(
        "odd/offset.wav",
        wav(1, 16, 44_100, 1, &int16(&leaning)),
        &[DcOffset],
    );
    for (name, value) in [("nan", f64::NAN), ("infinite", f64::NEG_INFINITY)] {
        let mut samples = next(44_100, 5000, 1);
        samples[777] = value;
        zoo.put(
            format!("odd/{name}.wav"),
            wav(3, 32, 44_100, 1, &float32(&samples)),
            &[NotFinite],
        );
    }
    for (name, rate) in [("deafening", 44_100), ("deafening-48k", 48_000)] {
        let samples: Vec<f64> = next(rate, 5000, 1)
            .iter()
            .map(|x| 3e38 * x + 1e37)
            .collect();
        zoo.put(
            format!("odd/{name}.wav"),
            wav(3, 32, rate, 1, &float32(&samples)),
            &[NotFinite],
        );
    }
    let mut hot = |limit: f64| {
        next(44_100, 9000, 1)
            .iter()
            .map(|x| (4.0 * x).clamp(-limit, limit))
            .collect::<Vec<_>>()
    };
    zoo.put(
        "odd/clipped.wav",
        wav(1, 16, 44_100, 1, &int16(&hot(1.0))),
        &[Clipped],
    );
    // Floats reach beyond full scale unharmed.
    zoo.put(
        "odd/above-full-scale.wav",
        wav(3, 32, 44_100, 1, &float32(&hot(9.0))),
        &[],
    );
    zoo.put(
        "odd/long.wav",
        wav(1, 16, 8000, 1, &int16(&next(8000, 8000 * 121, 1))),
        &[LowRate],
    );

    // Damage and lies.
    let whole = wav(1, 16, 44_100, 1, &int16(&next(44_100, 9000, 1)));
    zoo.put("odd/truncated.wav", &whole[..whole.len() / 2], &[Truncated]);
    zoo.put("odd/only-a-header.wav", &whole[..30], &[Unreadable]);
    let mut lying = wav(1, 16, 44_100, 1, &int16(&next(44_100, 9000, 1)));
    lying[40..44].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
    zoo.put("odd/claims-two-gigabytes.wav", &lying, &[Truncated]);
    for (name, place, bytes) in [
        ("no-channels", 22, &[0, 0][..]),
        ("no-rate", 24, &[0, 0, 0, 0]),
        ("endless-rate", 24, &[255, 255, 255, 255]),
        ("ninety-nine-bits", 34, &[99, 0]),
        ("unheard-of-codec", 20, &[0x34, 0x12]),
    ] {
        let mut lying = wav(1, 16, 44_100, 1, &int16(&next(44_100, 9000, 1)));
        lying[place..place + bytes.len()].copy_from_slice(bytes);
        zoo.put(format!("odd/{name}.wav"), &lying, &[Unreadable]);
    }
    zoo.put(
        "odd/text.wav",
        "Dear diary, today I recorded a snare.",
        &[Unreadable],
    );
    zoo.put("odd/text.flac", "fLaC, or so it says", &[Unreadable]);
    zoo.put("odd/text.ogg", "OggS, or so it says", &[Unreadable]);
    let hiss: Vec<u8> = Noise::new(1)
        .normals(2000)
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    zoo.put("odd/hiss.mp3", hiss, &[Unreadable]);

    // Names and places.
    let deep = "d/".repeat(40);
    zoo.put(
        format!("good/{deep}down.wav"),
        wav(1, 16, 44_100, 1, &int16(&next(44_100, 5000, 1))),
        &[],
    );
    let odd_name = "good/snare \u{1f941} n\u{b0}1; rm -rf.wav";
    zoo.put(
        odd_name,
        wav(1, 16, 44_100, 1, &int16(&next(44_100, 5000, 1))),
        &[],
    );
    let twice = wav(1, 16, 44_100, 1, &int16(&next(44_100, 5000, 1)));
    zoo.put("good/twice.wav", &twice, &[]);
    zoo.put("odd/twice-again.wav", &twice, &[Duplicate]);
    fs::write(zoo.root.path().join("README.txt"), "not a sound").unwrap();
    fs::write(zoo.root.path().join("odd/._twice.wav"), "resource fork").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::{PermissionsExt, symlink};
        let latin1 = Path::new(std::ffi::OsStr::from_bytes(b"good/caf\xe9.wav"));
        let bytes = wav(1, 16, 44_100, 1, &int16(&next(44_100, 5000, 1)));
        // Some file systems refuse such names.
        if fs::write(zoo.root.path().join(latin1), bytes).is_ok() {
            zoo.expected.insert(latin1.to_owned(), vec![]);
        }
        symlink("nowhere.wav", zoo.root.path().join("odd/dangling.wav")).unwrap();
        zoo.expected
            .insert("odd/dangling.wav".into(), vec![Unreadable]);
        symlink("..", zoo.root.path().join("odd/round-and-round")).unwrap();
        zoo.expected
            .insert("odd/round-and-round".into(), vec![Duplicate]);
        zoo.put("odd/forbidden.wav", &whole, &[Unreadable]);
        let forbidden = zoo.root.path().join("odd/forbidden.wav");
        fs::set_permissions(&forbidden, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(&forbidden).is_ok() {
            // The administrator may read everything.
            fs::remove_file(&forbidden).unwrap();
            zoo.expected.remove(Path::new("odd/forbidden.wav"));
        }
    }
    zoo
}

fn open(root: &Path, format: Format, crop: Crop) -> (Dataset, Report) {
    let options = ScanOptions {
        crop,
        cache_mb: 8,
        ..ScanOptions::default()
    };
    Dataset::open(root, format, &options, &mut |_, _| ()).unwrap()
}

#[test]
fn every_awkward_file_gets_its_reason_and_the_good_ones_survive() {
    let zoo = zoo();
    let (data, report) = open(zoo.root.path(), FORMAT, Crop::Onset);
    let mut said: BTreeMap<PathBuf, Vec<IssueKind>> = BTreeMap::new();
    for issue in &report.issues {
        assert!(issue.detail.len() > 5, "{issue:?}");
        said.entry(issue.path.clone()).or_default().push(issue.kind);
    }
    let mut wrong = Vec::new();
    for (path, kinds) in &zoo.expected {
        let found = said.remove(path).unwrap_or_default();
        if found.iter().collect::<BTreeSet<_>>() != kinds.iter().collect() {
            wrong.push(format!(
                "{}: expected {kinds:?}, found {found:?}",
                path.display()
            ));
        }
    }
    wrong.extend(
        said.iter()
            .map(|(path, kinds)| format!("{}: expected nothing, found {kinds:?}", path.display())),
    );
    assert!(wrong.is_empty(), "{}\n{report}", wrong.join("\n"));

    use IssueKind::*;
    let useless = [Unreadable, Empty, Silent, NotFinite, TooShort, Duplicate];
    let usable = zoo
        .expected
        .values()
        .filter(|kinds| !kinds.iter().any(|kind| useless.contains(kind)))
        .count();
    assert_eq!((data.len(), report.total.files), (usable, usable));
    assert_eq!(report.others.get("txt"), Some(&1));
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("\"kind\":\"not-finite\""));
}

#[test]
fn whatever_survives_gives_sane_clips_in_any_format_and_under_any_change() {
    let zoo = zoo();
    for (channels, crop) in [(1, Crop::Onset), (2, Crop::Anywhere)] {
        let format = Format { channels, ..FORMAT };
        let (data, _) = open(zoo.root.path(), format, crop);
        let all: Vec<usize> = (0..data.len()).collect();
        let rows = Row(format);
        let plain = data.batch(&all, &rows, None, false).unwrap();
        for (row, &index) in plain.frames.chunks(rows.shape().1).zip(&all) {
            let peak = row.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
            assert!(
                (peak - 0.95).abs() < 1e-4,
                "{}: peak {peak}",
                data.path(index).display()
            );
        }
        let wild = Augment {
            varispeed_st: 12.0,
            tilt_db: 24.0,
            decay: 1.0,
            neutral: 0.0,
            ..Augment::default()
        };
        for step in 0..3 {
            let batch = data
                .batch(&all, &rows, Some((&wild, 1, step)), false)
                .unwrap();
            assert!(
                batch.frames.iter().all(|x| x.abs() <= 0.951),
                "too loud, or not a number"
            );
        }
    }
}

#[test]
fn a_folder_with_nothing_usable_says_why() {
    let zoo = zoo();
    fs::remove_dir_all(zoo.root.path().join("good")).unwrap();
    for name in [
        "offset",
        "clipped",
        "above-full-scale",
        "long",
        "truncated",
        "claims-two-gigabytes",
        "twice-again",
    ] {
        fs::remove_file(zoo.root.path().join(format!("odd/{name}.wav"))).unwrap();
    }
    let options = ScanOptions {
        labels: Labels::None,
        ..ScanOptions::default()
    };
    let error = Dataset::open(zoo.root.path(), FORMAT, &options, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, Error::Dataset { .. }));
    let sentence = error.to_string();
    assert!(sentence.contains("sound files can be used: "), "{sentence}");
    for kind in [" unreadable", "2 silent"] {
        let named = format!("{kind} (odd{}", std::path::MAIN_SEPARATOR);
        assert!(sentence.contains(&named), "{sentence}");
    }
    let report = dataset::check(zoo.root.path(), &options, &mut |_, _| ()).unwrap();
    assert_eq!(report.total.files, 0);
}
