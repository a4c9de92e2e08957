//! Reading and writing sound files, sane and insane: nothing panics, hangs or lies.

use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};

use audiodiff::Error;
use audiodiff::audio::{self, BitDepth, Clip, Decoded};
use audiodiff::noise::Noise;
use hound::{SampleFormat, WavSpec, WavWriter};
use tempfile::TempDir;

mod corpus;

/// A folder of its own for every test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn decode(&self, bytes: &[u8]) -> audiodiff::Result<Decoded> {
        audio::decode(&self.file("sound", bytes), None)
    }
}

fn is_of_the_sound(error: &Error) -> bool {
    matches!(error, Error::Sound { .. } | Error::EmptySound { .. })
}

/// The sentence of the error that reading `bytes` gives.
fn complaint(bytes: &[u8]) -> String {
    let error = Folder::new().decode(bytes).unwrap_err();
    assert!(is_of_the_sound(&error), "{error}");
    error.to_string()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sounds")
        .join(name)
}

/// A chunk, padded to an even length.
fn chunk(id: &[u8; 4], body: &[u8], length: impl Fn(u32) -> [u8; 4]) -> Vec<u8> {
    let mut bytes = id.to_vec();
    bytes.extend(length(body.len() as u32));
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn fmt(tag: u16, channels: u16, rate: u32, bits: u16, block: u16, extra: &[u8]) -> Vec<u8> {
    let mut fmt = Vec::new();
    fmt.extend(tag.to_le_bytes());
    fmt.extend(channels.to_le_bytes());
    fmt.extend(rate.to_le_bytes());
    fmt.extend((rate.wrapping_mul(u32::from(block))).to_le_bytes());
    fmt.extend(block.to_le_bytes());
    fmt.extend(bits.to_le_bytes());
    fmt.extend(extra);
    fmt
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WAVE".to_vec(), chunks.concat()].concat();
    chunk(b"RIFF", &body, u32::to_le_bytes)
}

fn wav(fmt: &[u8], data: &[u8]) -> Vec<u8> {
    riff(&[
        chunk(b"fmt ", fmt, u32::to_le_bytes),
        chunk(b"data", data, u32::to_le_bytes),
    ])
}

/// WAVE_FORMAT_EXTENSIBLE of a format `tag`.
fn extensible(tag: u16, channels: u16, bits: u16, valid: u16) -> Vec<u8> {
    let mut extra = 22u16.to_le_bytes().to_vec();
    extra.extend(valid.to_le_bytes());
    extra.extend(3u32.to_le_bytes());
    extra.extend(tag.to_le_bytes());
    extra.extend([0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113]);
    fmt(0xfffe, channels, 48000, bits, channels * bits / 8, &extra)
}

/// Whether something of the sound is missing, which is told.
fn is_cut(decoded: &Decoded) -> bool {
    !decoded.lost.is_empty()
}

fn channel(decoded: &Decoded) -> &[f32] {
    &decoded.clip.channels()[0]
}

/// How well `heard`, whole periods of it, is a 1 kHz sine of any phase: error to signal in dB.
fn tone_error_db(heard: &[f32], rate: u32) -> f64 {
    let (mut s, mut c) = (0.0, 0.0);
    let wave = |n: usize| (TAU * 1000.0 * n as f64 / f64::from(rate)).sin_cos();
    for (n, &x) in heard.iter().enumerate() {
        s += f64::from(x) * wave(n).0 * 2.0 / heard.len() as f64;
        c += f64::from(x) * wave(n).1 * 2.0 / heard.len() as f64;
    }
    let error = heard.iter().enumerate();
    let error = error.map(|(n, &x)| (f64::from(x) - s * wave(n).0 - c * wave(n).1).powi(2));
    let error = error.sum::<f64>() / heard.len() as f64;
    10.0 * (error / ((s * s + c * c) / 2.0)).log10()
}

fn noise_clip(rate: u32, channels: usize, frames: usize) -> Clip {
    let mut noise = Noise::new(11);
    let channel = |_| (0..frames).map(|_| noise.between(-1.0, 1.0)).collect();
    Clip::new(rate, (0..channels).map(channel).collect())
}

// Writing.

#[test]
fn float_and_24_bit_files_are_lossless() {
    let folder = Folder::new();
    let path = folder.0.path().join("a.wav");
    let clip = noise_clip(44100, 2, 999);
    audio::write_wav(&path, &clip, BitDepth::Float32).unwrap();
    assert_eq!(audio::read(&path).unwrap(), clip);

    // Every value of 24 bits comes back exactly, ends of the range included.
    let steps = [-8388608, -8388607, -1, 0, 1, 8388606, 8388607];
    let exact = steps.map(|n| n as f32 / 8388608.0).to_vec();
    let clip = Clip::new(96000, vec![exact]);
    audio::write_wav(&path, &clip, BitDepth::Int24).unwrap();
    assert_eq!(audio::read(&path).unwrap(), clip);

    let clip = noise_clip(44100, 6, 100);
    audio::write_wav(&path, &clip, BitDepth::Float32).unwrap();
    assert_eq!(audio::read(&path).unwrap(), clip);
}

#[test]
fn sixteen_bits_err_by_at_most_one_and_a_half_steps_and_not_on_average() {
    let folder = Folder::new();
    // A constant a third of a step off the grid: without dither the mean would be wrong.
    let constant = (100.0 + 1.0 / 3.0) / 32768.0;
    let clip = Clip::new(44100, vec![vec![constant; 100_000]]);
    let back = folder
        .decode(&audio::wav_bytes(&clip, BitDepth::Int16).unwrap())
        .unwrap();
    let errors = || {
        channel(&back)
            .iter()
            .map(|x| f64::from(x - constant) * 32768.0)
    };
    let largest = errors().map(f64::abs).fold(0.0, f64::max);
    assert!(largest <= 1.5 && largest > 0.7, "{largest}");
    // Rounding and triangular dither: variance 1/12 + 1/6 = 1/4, standard error 0.0016.
    let mean = errors().sum::<f64>() / 1e5;
    assert!(mean.abs() < 0.006, "{mean}");
    let variance = errors().map(|e| e * e).sum::<f64>() / 1e5;
    assert!((variance - 0.25).abs() < 0.01, "{variance}");
}

#[test]
fn writing_is_repeatable_clips_at_full_scale_and_keeps_silence() {
    let folder = Folder::new();
    let clip = noise_clip(44100, 2, 500);
    let bytes = |clip: &Clip, depth| audio::wav_bytes(clip, depth).unwrap();
    assert_eq!(bytes(&clip, BitDepth::Int16), bytes(&clip, BitDepth::Int16));

    let loud = Clip::new(44100, vec![vec![4.0, -4.0, 1.0, -1.0]]);
    for (depth, top) in [
        (BitDepth::Int16, 32767.0 / 32768.0),
        (BitDepth::Int24, 8388607.0 / 8388608.0),
    ] {
        let back = folder.decode(&bytes(&loud, depth)).unwrap();
        assert_eq!(channel(&back)[..2], [top, -1.0]);
        assert!((channel(&back)[2] - 1.0).abs() < 1e-4);
    }
    let back = folder.decode(&bytes(&loud, BitDepth::Float32)).unwrap();
    assert_eq!(back.clip, loud);

    let silent = Clip::new(44100, vec![vec![0.0; 1000]]);
    for depth in [BitDepth::Int16, BitDepth::Int24, BitDepth::Float32] {
        assert_eq!(folder.decode(&bytes(&silent, depth)).unwrap().clip, silent);
    }
}

#[test]
fn a_clip_that_is_not_finite_is_not_written() {
    let folder = Folder::new();
    let path = folder.file("a.wav", b"what was there before");
    for bad in [f32::NAN, f32::INFINITY] {
        let clip = Clip::new(44100, vec![vec![0.0, 0.5], vec![0.0, bad]]);
        for depth in [BitDepth::Int16, BitDepth::Int24, BitDepth::Float32] {
            let error = audio::write_wav(&path, &clip, depth)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("a.wav") && error.contains("frame 1 of channel 1"),
                "{error}"
            );
            assert!(audio::wav_bytes(&clip, depth).is_err());
        }
    }
    assert_eq!(fs::read(&path).unwrap(), b"what was there before");
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let folder = Folder::new();
    let clip = noise_clip(8000, 1, 10);
    let nowhere = folder.0.path().join("no/such/folder.wav");
    assert!(matches!(
        audio::write_wav(&nowhere, &clip, BitDepth::Int16),
        Err(Error::Io { .. })
    ));
    let taken = folder.0.path().join("taken.wav");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(
        audio::write_wav(&taken, &clip, BitDepth::Int16),
        Err(Error::Io { .. })
    ));
    let names: Vec<_> = fs::read_dir(folder.0.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["taken.wav"]);
}

#[cfg(unix)]
#[test]
fn links_and_devices_are_written_through() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let folder = Folder::new();
    let clip = noise_clip(8000, 1, 10);
    let real = folder.file("real.wav", b"old");
    let link = folder.0.path().join("link.wav");
    symlink(&real, &link).unwrap();
    audio::write_wav(&link, &clip, BitDepth::Float32).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(audio::read(&real).unwrap(), clip);
    // Readable as other files are, not private as temporary ones.
    let plain = fs::metadata(folder.file("plain", b""))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode(), plain);

    audio::write_wav(Path::new("/dev/null"), &clip, BitDepth::Int16).unwrap();
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
}

// Reading what is well formed.

#[test]
fn integers_of_every_width_reach_full_scale() {
    let folder = Folder::new();
    for bits in [8u16, 16, 24, 32] {
        let spec = WavSpec {
            channels: 1,
            sample_rate: 22050,
            bits_per_sample: bits,
            sample_format: SampleFormat::Int,
        };
        let path = folder.0.path().join("int.wav");
        let mut writer = WavWriter::create(&path, spec).unwrap();
        let low = -(1i64 << (bits - 1));
        for x in [low, low / 2, 0, -(low / 2), -low - 1] {
            writer.write_sample(x as i32).unwrap();
        }
        writer.finalize().unwrap();
        let read = audio::decode(&path, None).unwrap();
        let top = ((-low - 1) as f64 / -low as f64) as f32;
        assert_eq!(channel(&read), [-1.0, -0.5, 0.0, 0.5, top], "{bits} bits");
        assert_eq!((is_cut(&read), read.clip.sample_rate()), (false, 22050));
    }
}

#[test]
fn floats_come_as_they_are_even_broken_ones() {
    let folder = Folder::new();
    let values = [1.5f32, f32::NAN, f32::NEG_INFINITY, -0.0, 1e-40];
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let read = folder
        .decode(&wav(&fmt(3, 1, 44100, 32, 4, &[0, 0]), &data))
        .unwrap();
    let bits: Vec<u32> = channel(&read).iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits, values.map(f32::to_bits));

    let data: Vec<u8> = [0.25f64, -2.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let read = folder
        .decode(&wav(&fmt(3, 2, 44100, 64, 16, &[]), &data))
        .unwrap();
    assert_eq!(read.clip.channels(), [[0.25], [-2.0]]);
}

#[test]
fn extensible_formats_are_understood_with_either_alignment() {
    let folder = Folder::new();
    let read = folder
        .decode(&wav(&extensible(1, 2, 16, 16), &[0, 0x40, 0, 0xc0]))
        .unwrap();
    assert_eq!(read.clip.channels(), [[0.5], [-0.5]]);
    let half = 0.5f32.to_le_bytes();
    let read = folder
        .decode(&wav(&extensible(3, 1, 32, 32), &half))
        .unwrap();
    assert_eq!(channel(&read), [0.5]);
    // 24 bits in 32: at the top, as defined, or at the bottom, as some recorders do.
    let read = folder
        .decode(&wav(&extensible(1, 1, 32, 24), &[0, 0, 0, 0x40]))
        .unwrap();
    assert_eq!(channel(&read), [0.5]);
    let read = folder
        .decode(&wav(
            &extensible(1, 1, 32, 24),
            &[1, 0, 0x40, 0, 0, 0, 0xc0, 0xff],
        ))
        .unwrap();
    assert_eq!(channel(&read), [0.5 + 1.0 / 8388608.0, -0.5]);
    // A stray bit in the padding does not make top bottom.
    let read = folder
        .decode(&wav(
            &extensible(1, 1, 32, 24),
            &[1, 0, 0, 0x40, 0, 0, 0, 0xc0],
        ))
        .unwrap();
    assert!((channel(&read)[0] - 0.5).abs() < 1e-6 && channel(&read)[1] == -0.5);
    // 24 bits declared in blocks of 4 bytes.
    let read = folder
        .decode(&wav(&fmt(1, 1, 44100, 24, 4, &[]), &[0, 0, 0xc0, 0xff]))
        .unwrap();
    assert_eq!(channel(&read), [-0.5]);
    // 20 bits fill 3 bytes from the top.
    let read = folder
        .decode(&wav(&extensible(1, 1, 24, 20), &[0, 0, 0x40]))
        .unwrap();
    assert_eq!(channel(&read), [0.5]);
}

#[test]
fn mu_law_and_a_law_expand_as_g711_says() {
    let folder = Folder::new();
    // ITU-T G.711: the largest codes, and the two nearest zero.
    let read = folder
        .decode(&wav(
            &fmt(7, 1, 8000, 8, 1, &[0, 0]),
            &[0x80, 0x00, 0xff, 0xfe],
        ))
        .unwrap();
    assert_eq!(
        channel(&read),
        [32124.0, -32124.0, 0.0, 8.0].map(|x: f32| x / 32768.0)
    );
    let read = folder
        .decode(&wav(
            &fmt(6, 1, 8000, 8, 1, &[0, 0]),
            &[0xaa, 0x2a, 0xd5, 0x55],
        ))
        .unwrap();
    assert_eq!(
        channel(&read),
        [32256.0, -32256.0, 8.0, -8.0].map(|x: f32| x / 32768.0)
    );
    assert!(!is_cut(&read));
}

#[test]
fn extensible_mu_law_and_padded_adpcm_are_read() {
    let folder = Folder::new();
    let read = folder
        .decode(&wav(&extensible(7, 1, 8, 8), &[0x80, 0xff]))
        .unwrap();
    assert_eq!(channel(&read), [32124.0 / 32768.0, 0.0]);

    // IMA ADPCM: blocks of 64 bytes hold 121 frames. A predictor of 0x4000 that no step moves much.
    let block = [&[0u8, 0x40, 0, 0][..], &[0; 60]].concat();
    let ima = fmt(17, 1, 8000, 4, 64, &[2, 0, 121, 0]);
    let bytes = riff(&[
        chunk(b"fmt ", &ima, u32::to_le_bytes),
        chunk(b"fact", &150u32.to_le_bytes(), u32::to_le_bytes),
        chunk(b"data", &[&block[..], &block].concat(), u32::to_le_bytes),
    ]);
    let read = folder.decode(&bytes).unwrap();
    assert_eq!(read.clip.len_frames(), 150);
    assert!(channel(&read).iter().all(|x| (x - 0.5).abs() < 0.01));
}

/// AIFF or AIFC of 16-bit samples; `order` of the chunks as given.
fn aiff(form: &[u8; 4], compression: &[u8], order: [usize; 2], data: &[u8]) -> Vec<u8> {
    let mut comm = 1u16.to_be_bytes().to_vec();
    comm.extend((data.len() as u32 / 2).to_be_bytes());
    comm.extend(16u16.to_be_bytes());
    // 44100 as an 80-bit float: 1.3458... · 2^15.
    comm.extend([0x40, 0x0e, 0xac, 0x44, 0, 0, 0, 0, 0, 0]);
    comm.extend(compression);
    let ssnd = [&[0; 8], data].concat();
    let chunks = [
        chunk(b"COMM", &comm, u32::to_be_bytes),
        chunk(b"SSND", &ssnd, u32::to_be_bytes),
    ];
    let body = [
        form.to_vec(),
        chunks[order[0]].clone(),
        chunks[order[1]].clone(),
    ]
    .concat();
    chunk(b"FORM", &body, u32::to_be_bytes)
}

#[test]
fn aiff_is_read_in_either_byte_order_and_chunk_order() {
    let folder = Folder::new();
    for order in [[0, 1], [1, 0]] {
        let read = folder
            .decode(&aiff(b"AIFF", b"", order, &[0x40, 0, 0xc0, 0]))
            .unwrap();
        assert_eq!(channel(&read), [0.5, -0.5]);
        assert_eq!((is_cut(&read), read.clip.sample_rate()), (false, 44100));
        let read = folder
            .decode(&aiff(b"AIFC", b"sowt\0\0", order, &[0, 0x40, 0, 0xc0]))
            .unwrap();
        assert_eq!(channel(&read), [0.5, -0.5]);
    }
    let mut cut = aiff(b"AIFF", b"", [0, 1], &[0x40, 0, 0xc0, 0]);
    cut.truncate(cut.len() - 2);
    let read = folder.decode(&cut).unwrap();
    assert_eq!((channel(&read), is_cut(&read)), (&[0.5][..], true));
}

#[test]
fn flac_ogg_and_mp3_hold_the_tone_that_was_encoded() {
    // 0.2 s of a 1 kHz sine of amplitude 0.5 at 22050 Hz, encoded by libsndfile.
    for (name, frames, error_db) in [
        ("tone.flac", 4410, -80.0),
        ("tone.ogg", 4410, -25.0),
        ("tone.mp3", 4410, -20.0),
    ] {
        let read = audio::decode(&fixture(name), None).unwrap();
        assert_eq!(read.clip.sample_rate(), 22050, "{name}");
        assert!(
            read.clip.len_frames().abs_diff(frames) <= 1200,
            "{name}: {}",
            read.clip.len_frames()
        );
        assert!(!is_cut(&read), "{name}");
        let db = tone_error_db(&channel(&read)[1000..3205], 22050);
        assert!(db < error_db, "{name}: {db} dB");

        let start = audio::decode(&fixture(name), Some(0.05)).unwrap();
        assert_eq!(
            (start.clip.len_frames(), is_cut(&start)),
            (1103, false),
            "{name}"
        );
        assert_eq!(channel(&start), &channel(&read)[..1103]);
    }
}

#[test]
fn content_decides_not_the_name() {
    let folder = Folder::new();
    let flac = fs::read(fixture("tone.flac")).unwrap();
    let path = folder.file("really_flac.wav", &flac);
    assert_eq!(audio::read(&path).unwrap().len_frames(), 4410);
    // An ID3 tag in front, with 200 bytes in it.
    let tagged = [&b"ID3\x04\0\0\0\0\x01\x48"[..], &[0; 200], &flac].concat();
    assert_eq!(folder.decode(&tagged).unwrap().clip.len_frames(), 4410);
    let mp3 = fs::read(fixture("tone.mp3")).unwrap();
    let tagged = [&b"ID3\x04\0\0\0\0\x01\x48"[..], &[0; 200], &mp3].concat();
    let plain = folder.decode(&mp3).unwrap().clip;
    assert_eq!(folder.decode(&tagged).unwrap().clip, plain);
    assert!(audio::extensions().contains(&"wav"));
}

#[test]
fn any_rate_and_channel_count_is_read() {
    let folder = Folder::new();
    for rate in [1, 1234, 192_000, 768_000] {
        let clip = noise_clip(rate, 1, 100);
        assert_eq!(
            folder
                .decode(&audio::wav_bytes(&clip, BitDepth::Float32).unwrap())
                .unwrap()
                .clip,
            clip
        );
    }
    for channels in [1, 3, 6] {
        let clip = noise_clip(48000, channels, 7);
        assert_eq!(
            folder
                .decode(&audio::wav_bytes(&clip, BitDepth::Float32).unwrap())
                .unwrap()
                .clip,
            clip
        );
    }
    let data: Vec<u8> = (0..64u16 * 3)
        .flat_map(|n| (n << 8).to_le_bytes())
        .collect();
    let read = folder
        .decode(&wav(&fmt(1, 64, 48000, 16, 128, &[]), &data))
        .unwrap();
    assert_eq!(
        (read.clip.channels().len(), read.clip.len_frames()),
        (64, 3)
    );
    assert_eq!(read.clip.channels()[5][1], 69.0 / 128.0);
}

#[test]
fn a_limit_stops_the_reading() {
    let folder = Folder::new();
    let clip = noise_clip(8000, 2, 80_000);
    let path = folder.file(
        "long.wav",
        &audio::wav_bytes(&clip, BitDepth::Float32).unwrap(),
    );
    let start = audio::decode(&path, Some(0.5)).unwrap();
    assert_eq!((is_cut(&start), start.clip), (false, clip.slice(0, 4000)));
    assert_eq!(
        audio::decode(&path, Some(0.0)).unwrap().clip.len_frames(),
        1
    );
    assert_eq!(audio::decode(&path, Some(1e30)).unwrap().clip, clip);
    assert_eq!(audio::read(&path).unwrap(), clip);
}

#[test]
fn other_chunks_and_odd_lengths_are_stepped_over() {
    let folder = Folder::new();
    let bytes = riff(&[
        chunk(b"LIST", b"INFO!", u32::to_le_bytes),
        chunk(b"fmt ", &fmt(1, 1, 44100, 16, 2, &[]), u32::to_le_bytes),
        chunk(b"junk", b"x", u32::to_le_bytes),
        chunk(b"data", &[0, 0x40], u32::to_le_bytes),
        chunk(b"smpl", &[7; 36], u32::to_le_bytes),
    ]);
    assert_eq!(channel(&folder.decode(&bytes).unwrap()), [0.5]);
}

// Reading what is not.

#[test]
fn what_is_no_sound_is_named() {
    assert!(complaint(b"").contains("no bytes"));
    let text = complaint(b"Dear diary, today I sampled a door.");
    assert!(
        text.contains("expected WAV") && text.contains("text (\"Dear diary"),
        "{text}"
    );
    assert!(complaint(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0").contains("unknown data"));
    assert!(complaint(b"R").contains("expected WAV"));
    assert!(complaint(b"RIFF").contains("expected WAV"));
    assert!(complaint(b"RIFF\x04\0\0\0WAVE").contains("fmt and data"));
    assert!(complaint(b"FORM\0\0\0\x04AIFF").contains("COMM and SSND"));
    assert!(complaint(b"ID3\x04\0\0\0\0\0\0").contains("cannot be decoded"));
    complaint(b"fLaC");
    complaint(b"OggS");
    complaint(&[0xff, 0xfb, 0x90, 0x00]);
}

#[test]
fn places_that_are_no_files_are_named() {
    let folder = Folder::new();
    let error = audio::read(folder.0.path()).unwrap_err().to_string();
    assert!(error.contains("found a folder"), "{error}");
    let missing = folder.0.path().join("missing.wav");
    assert!(matches!(audio::read(&missing), Err(Error::Io { path, .. }) if path == missing));
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dangling = folder.0.path().join("dangling.wav");
        symlink(&missing, &dangling).unwrap();
        assert!(matches!(audio::read(&dangling), Err(Error::Io { .. })));
        assert!(
            audio::read(Path::new("/dev/null"))
                .unwrap_err()
                .to_string()
                .contains("device")
        );
        let secret = folder.file("secret.wav", &wav(&fmt(1, 1, 44100, 16, 2, &[]), &[0; 4]));
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read it all the same.
        if let Err(error) = audio::read(&secret) {
            assert!(matches!(error, Error::Io { .. }), "{error}");
        }
    }
}

#[test]
fn frames_are_counted_from_none_to_one() {
    let one = fmt(1, 2, 44100, 16, 4, &[]);
    assert!(complaint(&wav(&one, &[])).contains("at least one frame"));
    // Half a frame is none.
    assert!(complaint(&wav(&one, &[0, 0])).contains("at least one frame"));
    let read = Folder::new()
        .decode(&wav(&one, &[0, 0x40, 0, 0x20]))
        .unwrap();
    assert_eq!(read.clip.channels(), [[0.5], [0.25]]);
    assert!(complaint(&aiff(b"AIFF", b"", [0, 1], &[])).contains("at least one frame"));
}

#[test]
fn headers_that_lie_are_refused_or_read_as_far_as_they_are_true() {
    let data = [0, 0x40, 0, 0xc0];
    assert!(complaint(&wav(&fmt(1, 1, 0, 16, 2, &[]), &data)).contains("found 0 Hz"));
    assert!(complaint(&wav(&fmt(1, 1, u32::MAX, 16, 2, &[]), &data)).contains("Hz"));
    assert!(complaint(&wav(&fmt(1, 0, 44100, 16, 0, &[]), &data)).contains("channels, found 0"));
    assert!(complaint(&wav(&fmt(1, 65535, 44100, 16, 2, &[]), &data)).contains("found 65535"));
    for bits in [0, 33, 48, 64, 65535] {
        assert!(
            complaint(&wav(&fmt(1, 1, 44100, bits, 2, &[]), &data)).contains("bits"),
            "{bits}"
        );
    }
    assert!(complaint(&wav(&fmt(3, 1, 44100, 16, 2, &[]), &data)).contains("16 bits"));
    complaint(&wav(&fmt(0x55, 1, 44100, 16, 2, &[]), &data));
    complaint(&wav(&fmt(2, 1, 44100, 4, 0, &[]), &data));
    complaint(&wav(&fmt(17, 1, 44100, 4, 65535, &[2, 0, 255, 255]), &data));
    assert!(complaint(&wav(&[1, 0], &data)).contains("fmt chunk"));

    // A block length that contradicts the channels is corrected, as only one value makes sense.
    let read = Folder::new().decode(&wav(&fmt(1, 1, 44100, 16, 7, &[]), &data));
    assert_eq!(channel(&read.unwrap()), [0.5, -0.5]);

    // 4 GiB claimed, 4 bytes there.
    let good = wav(&fmt(1, 1, 44100, 16, 2, &[]), &data);
    let patch = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Folder::new().decode(&bytes)
    };
    let read = patch(40, u32::MAX - 1).unwrap();
    assert_eq!((channel(&read), is_cut(&read)), (&[0.5, -0.5][..], true));
    // All ones is how a stream says "until the end".
    let read = patch(40, u32::MAX).unwrap();
    assert_eq!((channel(&read), is_cut(&read)), (&[0.5, -0.5][..], false));
    // The length of the whole does not matter, nor what it is zero for.
    for whole in [0, 1, 8, u32::MAX] {
        assert_eq!(channel(&patch(4, whole).unwrap()), [0.5, -0.5]);
    }
    // A fmt chunk that claims to swallow the rest ends where the data begin.
    assert_eq!(channel(&patch(16, u32::MAX).unwrap()), [0.5, -0.5]);
    // A recorder that was cut off wrote no length at all.
    let mut unfinished = good.clone();
    unfinished[4..8].fill(0);
    unfinished[40..44].fill(0);
    assert_eq!(
        channel(&Folder::new().decode(&unfinished).unwrap()),
        [0.5, -0.5]
    );
}

#[test]
fn truncated_files_give_what_is_there_and_say_so() {
    let folder = Folder::new();
    let bytes = audio::wav_bytes(&noise_clip(44100, 2, 1000), BitDepth::Int24).unwrap();
    let read = folder.decode(&bytes[..bytes.len() / 2 + 1]).unwrap();
    assert!(is_cut(&read) && (450..500).contains(&read.clip.len_frames()));
    for name in ["tone.flac", "tone.ogg", "tone.mp3"] {
        let bytes = fs::read(fixture(name)).unwrap();
        let whole = folder.decode(&bytes).unwrap().clip.len_frames();
        for cut in [
            bytes.len() * 9 / 10,
            bytes.len() * 7 / 10,
            bytes.len() / 2,
            100,
            30,
        ] {
            // Ogg has its codebooks first, FLAC and Ogg here one large block; little may remain.
            match folder.decode(&bytes[..cut]) {
                Ok(read) => {
                    assert!(read.clip.len_frames() <= whole, "{name} cut at {cut}");
                    assert!(
                        is_cut(&read) || read.clip.len_frames() + 2304 >= whole,
                        "{name} cut at {cut}"
                    );
                }
                Err(error) => assert!(is_of_the_sound(&error), "{error}"),
            }
        }
    }
}

#[test]
fn a_compressed_sound_is_kept_up_to_its_damage_which_is_told() {
    let folder = Folder::new();
    // 3 s in 21 blocks, and 12 s in several pages, at 8 kHz.
    for (name, frames) in [("long.flac", 24_000), ("long.ogg", 96_000)] {
        let bytes = fs::read(fixture(name)).unwrap();
        let whole = folder.decode(&bytes).unwrap();
        assert_eq!(
            (whole.clip.len_frames(), is_cut(&whole)),
            (frames, false),
            "{name}"
        );
        let half = folder.decode(&bytes[..bytes.len() / 2]).unwrap();
        let fraction = half.clip.len_frames() as f64 / frames as f64;
        assert!(
            is_cut(&half) && (0.2..0.6).contains(&fraction),
            "{name}: {fraction}"
        );
        let mut spoilt = bytes.clone();
        spoilt[bytes.len() * 3 / 5] ^= 0x55;
        let read = folder.decode(&spoilt).unwrap();
        assert!(is_cut(&read), "{name}: damage in the middle is told");
        // A limit does not hide damage before it, nor tell of what lies beyond.
        let path = folder.file(name, &spoilt);
        let limit = |part: f64| {
            let seconds = part * frames as f64 / 8000.0;
            is_cut(&audio::decode(&path, Some(seconds)).unwrap())
        };
        assert_eq!((limit(0.2), limit(0.97)), (false, true), "{name}");
    }
}

#[test]
fn values_beyond_any_sound_are_not_resampled() {
    for bad in [f32::NAN, f32::INFINITY, 3e38] {
        let clip = Clip::new(48_000, vec![vec![0.0, bad, 0.0]]);
        let error = clip.resampled(44_100).unwrap_err();
        assert!(error.to_string().contains("finite"), "{error}");
        assert_eq!(clip.resampled(48_000).unwrap().len_frames(), 3);
    }
}

#[test]
fn rf64_ends_where_its_own_length_says() {
    let sound: Vec<u8> = [0x4000i16, -0x4000]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let file = |length: u64| {
        let mut ds64 = vec![0; 28];
        ds64[8..16].copy_from_slice(&length.to_le_bytes());
        let parts = [
            b"WAVE".to_vec(),
            chunk(b"ds64", &ds64, u32::to_le_bytes),
            chunk(b"fmt ", &fmt(1, 1, 44_100, 16, 2, &[]), u32::to_le_bytes),
            [&b"data"[..], &u32::MAX.to_le_bytes(), &sound].concat(),
            chunk(b"iXML", &[7; 40], u32::to_le_bytes),
        ];
        [&b"RF64"[..], &u32::MAX.to_le_bytes(), &parts.concat()].concat()
    };
    let folder = Folder::new();
    let read = folder.decode(&file(4)).unwrap();
    assert_eq!((channel(&read), is_cut(&read)), (&[0.5, -0.5][..], false));
    assert!(is_cut(&folder.decode(&file(4000)).unwrap()));
}

/// Decodes to a sound, or to an error that names the file.
fn sound_or_complaint(folder: &Folder, which: &str, bytes: &[u8]) -> bool {
    let path = folder.file("sound", bytes);
    match audio::decode(&path, None) {
        Ok(read) => {
            let clip = &read.clip;
            assert!(clip.len_frames() > 0, "{which}");
            assert!((1..=audio::MAX_SAMPLE_RATE).contains(&clip.sample_rate()));
            true
        }
        Err(Error::Sound { path: named, .. } | Error::EmptySound { path: named }) => {
            assert_eq!(named, path, "{which}");
            false
        }
        Err(error) => panic!("{which}: {error}"),
    }
}

#[test]
fn damaged_files_give_a_sound_or_an_error_that_names_them() {
    let folder = Folder::new();
    for format in ["wav", "aiff"] {
        corpus::try_all(format, 200, |which, bytes, whole| {
            assert!(
                sound_or_complaint(&folder, which, bytes) || !whole,
                "{which}"
            );
        });
    }
    for name in ["tone.flac", "tone.ogg", "tone.mp3"] {
        let bytes = fs::read(fixture(name)).unwrap();
        for round in 0..60 {
            let mut noise = Noise::at(99, &[round]);
            let damaged = corpus::damaged(&bytes, &bytes, &mut noise);
            sound_or_complaint(&folder, &format!("{name}, round {round}"), &damaged);
        }
    }
}

/// Writes `tests/corpus/wav` and `tests/corpus/aiff` anew.
#[test]
#[ignore = "writes files into the source tree"]
fn corpus_is_written() {
    let clip = noise_clip(44100, 2, 24);
    let law: Vec<u8> = (0..80).collect();
    let pcm = fmt(1, 1, 44_100, 16, 2, &[]);
    let mut unfinished = wav(&pcm, &law);
    unfinished[4..8].fill(0);
    unfinished[40..44].fill(0);
    let mut ds64 = vec![0; 28];
    ds64[8..16].copy_from_slice(&80u64.to_le_bytes());
    let rf64 = [
        b"RF64\xff\xff\xff\xffWAVE".to_vec(),
        chunk(b"ds64", &ds64, u32::to_le_bytes),
        chunk(b"fmt ", &pcm, u32::to_le_bytes),
        chunk(b"data", &law, |_| u32::MAX.to_le_bytes()),
    ];
    let chunks = riff(&[
        chunk(b"LIST", b"INFO!", u32::to_le_bytes),
        chunk(b"fmt ", &pcm, u32::to_le_bytes),
        chunk(b"junk", b"x", u32::to_le_bytes),
        chunk(b"data", &law, u32::to_le_bytes),
        chunk(b"smpl", &[7; 36], u32::to_le_bytes),
    ]);
    let block = [&[0u8, 0x40, 0, 0][..], &law[..60]].concat();
    let ima = riff(&[
        chunk(
            b"fmt ",
            &fmt(17, 1, 8000, 4, 64, &[2, 0, 121, 0]),
            u32::to_le_bytes,
        ),
        chunk(b"fact", &100u32.to_le_bytes(), u32::to_le_bytes),
        chunk(b"data", &block, u32::to_le_bytes),
    ]);
    let float64 = fmt(3, 1, 44_100, 64, 8, &[0, 0]);
    let values: Vec<u8> = [0.25f64, -1.0, 0.5]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let files: [(&str, &str, Vec<u8>); 14] = [
        (
            "wav",
            "int16.wav",
            audio::wav_bytes(&clip, BitDepth::Int16).unwrap(),
        ),
        (
            "wav",
            "int24.wav",
            audio::wav_bytes(&clip, BitDepth::Int24).unwrap(),
        ),
        (
            "wav",
            "float32.wav",
            audio::wav_bytes(&clip, BitDepth::Float32).unwrap(),
        ),
        ("wav", "float64.wav", wav(&float64, &values)),
        (
            "wav",
            "extensible24in32.wav",
            wav(&extensible(1, 2, 32, 24), &law),
        ),
        (
            "wav",
            "mulaw.wav",
            wav(&fmt(7, 1, 8000, 8, 1, &[0, 0]), &law),
        ),
        ("wav", "ima_adpcm.wav", ima),
        ("wav", "unfinished.wav", unfinished),
        ("wav", "rf64.wav", rf64.concat()),
        ("wav", "chunks.wav", chunks),
        ("aiff", "int16.aiff", aiff(b"AIFF", b"", [0, 1], &law)),
        ("aiff", "sound_first.aiff", aiff(b"AIFF", b"", [1, 0], &law)),
        (
            "aiff",
            "sowt.aifc",
            aiff(b"AIFC", b"sowt\0\0", [0, 1], &law),
        ),
        (
            "aiff",
            "none.aifc",
            aiff(b"AIFC", b"NONE\0\0", [0, 1], &law),
        ),
    ];
    for (format, name, bytes) in files {
        fs::create_dir_all(corpus::folder(format)).unwrap();
        fs::write(corpus::folder(format).join(name), bytes).unwrap();
    }
}
