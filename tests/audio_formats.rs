//! Sound files as people have them: every container with the sound that went in, lies told, and the rest by name.

use std::f64::consts::TAU;
use std::fs;
use std::path::{Path, PathBuf};

use audiodiff::audio::{self, Decoded};
use audiodiff::noise::Noise;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sounds");
    fs::read(path.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Decodes bytes under a name that says nothing.
fn decode(bytes: &[u8]) -> audiodiff::Result<Decoded> {
    decode_for(bytes, None)
}

fn decode_for(bytes: &[u8], max_seconds: Option<f64>) -> audiodiff::Result<Decoded> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("sound.wav");
    fs::write(&path, bytes).unwrap();
    audio::decode(&path, max_seconds)
}

fn complaint(bytes: &[u8]) -> String {
    decode(bytes).unwrap_err().to_string()
}

/// Nothing lost, nothing mended.
fn sane(bytes: &[u8]) -> Decoded {
    let read = decode(bytes).unwrap();
    assert_eq!((&read.lost[..], &read.mended[..]), (&[][..], &[][..]));
    assert!(
        (read.seconds - read.clip.seconds()).abs() < 1e-9,
        "{read:?}"
    );
    read
}

/// Nothing lost, and one thing mended, of which the sentence says `what`.
fn mended(bytes: &[u8], what: &str) -> Decoded {
    let read = decode(bytes).unwrap();
    assert_eq!(read.lost, [""; 0]);
    assert!(
        read.mended.len() == 1 && read.mended[0].contains(what),
        "{:?}",
        read.mended
    );
    read
}

/// 16-bit samples that no two stretches of have in common.
fn samples(count: usize) -> Vec<i16> {
    let mut noise = Noise::new(5);
    (0..count)
        .map(|_| (noise.between(-1.0, 1.0) * 20_000.0) as i16)
        .collect()
}

fn little(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn big(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|x| x.to_be_bytes()).collect()
}

/// The only channel of `read` is `want`, to the bit.
fn is(read: &Decoded, want: &[i16]) {
    let [channel] = read.clip.channels() else {
        panic!("{} channels", read.clip.channels().len());
    };
    assert_eq!(channel.len(), want.len());
    let want = want.iter().map(|&x| f32::from(x) / 32768.0);
    assert!(channel.iter().zip(want).all(|(&a, b)| a == b));
}

/// How far the 4410 frames from `delay` on are from the sine that was encoded, in dB.
fn error_db(read: &Decoded, delay: usize) -> f64 {
    let heard = &read.clip.channels()[0][delay..];
    let wave = |n: usize| 0.5 * (TAU * 1000.0 * n as f64 / 22_050.0).sin();
    // Away from the ends, where codecs ring.
    let error: f64 = (500..3900)
        .map(|n| (f64::from(heard[n]) - wave(n)).powi(2))
        .sum();
    let power: f64 = (500..3900).map(|n| wave(n).powi(2)).sum();
    10.0 * (error / power).log10()
}

// Containers around samples.

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = [&id[..], &(body.len() as u32).to_le_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn fmt(tag: u16, rate: u32, bits: u16, block: u16, extra: &[u8]) -> Vec<u8> {
    let mut fmt = [tag.to_le_bytes(), 1u16.to_le_bytes()].concat();
    fmt.extend(rate.to_le_bytes());
    fmt.extend((rate * u32::from(block)).to_le_bytes());
    fmt.extend([block.to_le_bytes(), bits.to_le_bytes()].concat());
    fmt.extend(extra);
    fmt
}

fn pcm() -> Vec<u8> {
    chunk(b"fmt ", &fmt(1, 44_100, 16, 2, &[]))
}

fn riff(chunks: &[&[u8]]) -> Vec<u8> {
    let body = [b"WAVE", &chunks.concat()[..]].concat();
    chunk(b"RIFF", &body)
}

/// Overwrites the length of the chunk `id`.
fn claim(mut bytes: Vec<u8>, id: &[u8; 4], len: u32) -> Vec<u8> {
    let at = bytes.windows(4).position(|window| window == id).unwrap();
    bytes[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
    bytes
}

fn aiff(kind: &[u8; 4], bits: u16, compression: &[u8], frames: u32, data: &[u8]) -> Vec<u8> {
    let be = |id: &[u8; 4], body: &[u8]| {
        let mut bytes = [&id[..], &(body.len() as u32).to_be_bytes(), body].concat();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let mut comm = 1u16.to_be_bytes().to_vec();
    comm.extend(frames.to_be_bytes());
    comm.extend(bits.to_be_bytes());
    comm.extend([0x40, 0x0e, 0xac, 0x44, 0, 0, 0, 0, 0, 0]);
    comm.extend(compression);
    if !compression.is_empty() {
        comm.extend([0, 0]);
    }
    let ssnd = [&[0; 8], data].concat();
    let body = [&kind[..], &be(b"COMM", &comm), &be(b"SSND", &ssnd)].concat();
    be(b"FORM", &body)
}

fn au(encoding: u32, claimed: u32, data: &[u8]) -> Vec<u8> {
    let words = [28, claimed, encoding, 44_100, 1];
    let head: Vec<u8> = words.iter().flat_map(|n: &u32| n.to_be_bytes()).collect();
    [&b".snd"[..], &head, &[0; 4], data].concat()
}

fn w64(data: &[u8], claimed: u64) -> Vec<u8> {
    const TAIL: [u8; 12] = [
        0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a,
    ];
    let mut bytes = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0".to_vec();
    bytes.extend((104 + data.len() as u64).to_le_bytes());
    bytes.extend([&b"wave"[..], &TAIL, b"fmt ", &TAIL, &40u64.to_le_bytes()].concat());
    bytes.extend(fmt(1, 44_100, 16, 2, &[]));
    bytes.extend([&b"data"[..], &TAIL, &(24 + claimed).to_le_bytes(), data].concat());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn caf(
    format: &[u8; 4],
    flags: u32,
    [packet, frames, bits]: [u32; 3],
    extra: &[Vec<u8>],
    data: &[u8],
) -> Vec<u8> {
    let mut desc = 22_050f64.to_be_bytes().to_vec();
    desc.extend(format);
    for word in [flags, packet, frames, 1, bits] {
        desc.extend(word.to_be_bytes());
    }
    let data = [&[0; 4], data].concat();
    [
        b"caff\0\x01\0\0".to_vec(),
        caf_chunk(b"desc", &desc),
        extra.concat(),
        caf_chunk(b"data", &data),
    ]
    .concat()
}

fn caf_chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&id[..], &(body.len() as u64).to_be_bytes(), body].concat()
}

#[test]
fn samples_in_every_container_are_those_that_went_in() {
    let x = samples(1001);
    let rifx = {
        let mut fmt = [1u16.to_be_bytes(), 1u16.to_be_bytes()].concat();
        fmt.extend([44_100u32.to_be_bytes(), 88_200u32.to_be_bytes()].concat());
        fmt.extend([2u16.to_be_bytes(), 16u16.to_be_bytes()].concat());
        let data = big(&x);
        let head = [&b"RIFX\0\0\0\0WAVEfmt "[..], &16u32.to_be_bytes(), &fmt].concat();
        [
            &head[..],
            b"data",
            &(data.len() as u32).to_be_bytes(),
            &data,
        ]
        .concat()
    };
    let files = [
        riff(&[&pcm(), &chunk(b"data", &little(&x))]),
        rifx,
        w64(&little(&x), 2002),
        aiff(b"AIFF", 16, b"", 1001, &big(&x)),
        aiff(b"AIFC", 16, b"NONE", 1001, &big(&x)),
        aiff(b"AIFC", 16, b"twos", 1001, &big(&x)),
        aiff(b"AIFC", 16, b"sowt", 1001, &little(&x)),
        au(3, 2002, &big(&x)),
        au(3, u32::MAX, &big(&x)),
        caf(b"lpcm", 0, [2, 1, 16], &[], &big(&x)),
        caf(b"lpcm", 2, [2, 1, 16], &[], &little(&x)),
    ];
    for (n, file) in files.iter().enumerate() {
        is(&sane(file), &x);
        // A limit leaves out, and tells how much there is.
        let start = decode_for(file, Some(0.01)).unwrap();
        let rate = start.clip.sample_rate();
        assert_eq!(start.clip.len_frames() as u32, (rate / 100).max(221), "{n}");
        assert_eq!((start.seconds * f64::from(rate)).round(), 1001.0, "{n}");
        assert_eq!(start.lost, [""; 0]);
    }
}

#[test]
fn other_widths_floats_and_g711_are_the_same_everywhere() {
    let x: Vec<f32> = [0.5, -0.25, 0.75, -1.0].to_vec();
    let f32s: Vec<u8> = x.iter().flat_map(|x| x.to_be_bytes()).collect();
    let f64s: Vec<u8> = x.iter().flat_map(|x| f64::from(*x).to_be_bytes()).collect();
    let ints = |x: &f32| (f64::from(*x) * 2147483648.0) as i32;
    let in32: Vec<u8> = x.iter().flat_map(|x| ints(x).to_be_bytes()).collect();
    let in24: Vec<u8> = x
        .iter()
        .flat_map(|x| ints(x).to_be_bytes()[..3].to_vec())
        .collect();
    let turned = |bytes: &[u8], n: usize| -> Vec<u8> {
        bytes
            .chunks(n)
            .flat_map(|sample| sample.iter().rev().copied())
            .collect()
    };
    let bytes: Vec<u8> = x.iter().map(|x| (x * 128.0) as i8 as u8).collect();
    let unsigned: Vec<u8> = bytes.iter().map(|b| b ^ 0x80).collect();
    for file in [
        aiff(b"AIFC", 32, b"fl32", 4, &f32s),
        aiff(b"AIFC", 32, b"FL32", 4, &f32s),
        aiff(b"AIFC", 64, b"fl64", 4, &f64s),
        aiff(b"AIFC", 24, b"in24", 4, &in24),
        aiff(b"AIFC", 32, b"in32", 4, &in32),
        aiff(b"AIFC", 24, b"42ni", 4, &turned(&in24, 3)),
        aiff(b"AIFC", 32, b"23ni", 4, &turned(&in32, 4)),
        aiff(b"AIFC", 8, b"raw ", 4, &unsigned),
        aiff(b"AIFF", 8, b"", 4, &bytes),
        aiff(b"AIFF", 24, b"", 4, &in24),
        au(2, 4, &bytes),
        au(4, 12, &in24),
        au(5, 16, &in32),
        au(6, 16, &f32s),
        au(7, 32, &f64s),
        caf(b"lpcm", 1, [4, 1, 32], &[], &f32s),
        caf(b"lpcm", 3, [4, 1, 32], &[], &turned(&f32s, 4)),
        caf(b"lpcm", 0, [3, 1, 24], &[], &in24),
    ] {
        assert_eq!(sane(&file).clip.channels(), [&x[..]]);
    }
    // G.711: the largest of mu-law and of A-law.
    for (file, top) in [
        (aiff(b"AIFC", 16, b"ulaw", 1, &[0x80]), 32124.0),
        (aiff(b"AIFC", 16, b"alaw", 1, &[0xaa]), 32256.0),
        (au(1, 1, &[0x80]), 32124.0),
        (au(27, 1, &[0xaa]), 32256.0),
        (caf(b"ulaw", 0, [1, 1, 8], &[], &[0x80]), 32124.0),
    ] {
        assert_eq!(sane(&file).clip.channels(), [[top / 32768.0]]);
    }
}

#[test]
fn a_longer_byte_count_of_w64_is_padding_not_sound() {
    // 24 bits: 5 frames are 15 bytes, which some programs call 16.
    let x = [1u8, 2, 3].repeat(5);
    let mut file = w64(&[&x[..], &[0]].concat(), 16);
    let at = file
        .windows(4)
        .position(|window| window == b"fmt ")
        .unwrap()
        + 24;
    file[at..at + 16].copy_from_slice(&fmt(1, 44_100, 24, 3, &[]));
    assert_eq!(sane(&file).clip.len_frames(), 5);
}

#[test]
fn encoded_sounds_are_as_long_and_where_they_were() {
    // The frames, the encoder's delay where the file does not tell it, and how near the sine is.
    for (name, frames, delay, db) in [
        ("aac.m4a", 4410, 0, -25.0),
        ("tone.aac", 6144, 1024, -25.0),
        ("alac.m4a", 4410, 0, -85.0),
        ("alac.caf", 4410, 0, -85.0),
        ("flac.mp4", 4410, 0, -85.0),
        ("flac.ogg", 4410, 0, -85.0),
        ("int16.mov", 4410, 0, -85.0),
        ("lame.mp3", 4410, 0, -20.0),
        ("mp3.mp4", 4410, 0, -20.0),
        ("bare.mp3", 5760, 1105, -20.0),
        ("mp3.wav", 5760, 1105, -20.0),
        ("tone.mp2", 4608, 481, -30.0),
        ("ms_adpcm.wav", 6108, 0, -25.0),
        ("ima4.caf", 4416, 0, -25.0),
    ] {
        let bytes = fixture(name);
        let read = sane(&bytes);
        let clip = &read.clip;
        let found = (clip.len_frames(), clip.sample_rate(), clip.channels().len());
        assert_eq!(found, (frames, 22_050, 1), "{name}");
        let padded = [read.clip.channels()[0].clone(), vec![0.0; 1200]].concat();
        let padded = Decoded {
            clip: audio::Clip::new(22_050, vec![padded]),
            ..read.clone()
        };
        let error = error_db(&padded, delay);
        assert!(error < db, "{name}: {error} dB");
        // A limit stops at its frame, of the same sound, and knows of the rest.
        let start = decode_for(&bytes, Some(0.1)).unwrap();
        assert_eq!(
            start.clip.channels()[0],
            clip.channels()[0][..2205],
            "{name}"
        );
        assert_eq!(start.lost, [""; 0], "{name}");
        let there = (start.seconds * 22_050.0).round() as usize;
        assert!(there.abs_diff(frames) <= 4096, "{name}: {there}");
    }
}

#[test]
fn aac_in_caf_begins_behind_its_priming() {
    // The frames of the raw stream, without their headers, and a table of their lengths.
    let raw = fixture("tone.aac");
    let (mut at, mut data, mut table) = (0, Vec::new(), Vec::new());
    while at + 7 <= raw.len() {
        let len = usize::from(raw[at + 3] & 3) << 11
            | usize::from(raw[at + 4]) << 3
            | usize::from(raw[at + 5] >> 5);
        data.extend(&raw[at + 7..at + len]);
        let size = len - 7;
        table.extend([0x80 | (size >> 7) as u8, (size & 0x7f) as u8]);
        at += len;
    }
    let packets = table.len() as i64 / 2;
    let head = [packets.to_be_bytes(), 4410i64.to_be_bytes()].concat();
    let head = [
        &head[..],
        &1024i32.to_be_bytes(),
        &(packets as i32 * 1024 - 5434).to_be_bytes(),
    ]
    .concat();
    // Descriptors within descriptors; the last says AAC-LC, 22050 Hz, one channel.
    let kuki = [
        &[3, 25, 0, 0, 0, 4, 17, 0x40, 0x15][..],
        &[0; 11],
        &[5, 2, 0x13, 0x88, 6, 1, 2],
    ]
    .concat();
    let extra = [
        caf_chunk(b"kuki", &kuki),
        caf_chunk(b"pakt", &[&head[..], &table].concat()),
    ];
    let read = sane(&caf(b"aac ", 0, [0, 1024, 0], &extra, &data));
    assert_eq!(read.clip.len_frames(), 4410);
    assert!(error_db(&read, 0) < -25.0);
}

#[test]
fn vorbis_and_mp3_within_wav_are_those_without() {
    let ogg = fixture("tone.ogg");
    let alone = sane(&ogg).clip;
    for tag in [0x674f, 0x6750, 0x6751, 0x676f, 0x6770, 0x6771] {
        let fmt = chunk(b"fmt ", &fmt(tag, 22_050, 16, 1, &[0, 0]));
        let fact = chunk(b"fact", &4410u32.to_le_bytes());
        assert_eq!(
            sane(&riff(&[&fmt, &fact, &chunk(b"data", &ogg)])).clip,
            alone
        );
    }
    let mp3 = fixture("bare.mp3");
    let alone = sane(&mp3).clip;
    let fmt = chunk(
        b"fmt ",
        &fmt(
            0x55,
            22_050,
            0,
            1,
            &[12, 0, 1, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        ),
    );
    assert_eq!(sane(&riff(&[&fmt, &chunk(b"data", &mp3)])).clip, alone);
    // Behind headers of its own, AAC can be read too.
    let aac = fixture("tone.aac");
    let alone = sane(&aac).clip;
    let fmt = chunk(b"fmt ", &self::fmt(0x1600, 22_050, 0, 1, &[0, 0]));
    assert_eq!(sane(&riff(&[&fmt, &chunk(b"data", &aac)])).clip, alone);
}

// Headers that lie.

#[test]
fn an_odd_chunk_without_padding_hides_nothing() {
    let x = samples(700);
    let data = chunk(b"data", &little(&x));
    for odd in 0..60usize {
        let text = [&b"INFOISFT"[..], &vec![b'a'; 2 * odd + 1]].concat();
        let mut list = chunk(b"LIST", &text);
        list.pop();
        is(&sane(&riff(&[&pcm(), &list, &data])), &x);
        is(&sane(&riff(&[&list, &pcm(), &data])), &x);
        let mut bext = chunk(b"bext", &vec![0; 603]);
        bext.pop();
        is(&sane(&riff(&[&bext, &pcm(), &data])), &x);
    }
}

#[test]
fn chunks_that_lie_end_where_the_next_begins() {
    let x = samples(700);
    let data = chunk(b"data", &little(&x));
    let smpl = chunk(b"smpl", &[&[0; 16][..], &[60, 0, 0, 0], &[0; 40]].concat());
    for len in [32, 44, 58, 62, 100, 1_000, 1_200, u32::MAX, 0x7fff_ffff] {
        let file = claim(riff(&[&pcm(), &smpl, &data]), b"smpl", len);
        is(&mended(&file, "\"smpl\" claims"), &x);
        let list = chunk(b"LIST", b"INFOISFT\x04\0\0\0Tool");
        let file = claim(riff(&[&pcm(), &list, &data]), b"LIST", len);
        is(&mended(&file, "\"LIST\" claims"), &x);
    }
    // A fmt chunk of 18 bytes that says 16, and the other way round.
    let long = chunk(b"fmt ", &fmt(1, 44_100, 16, 2, &[0, 0]));
    is(
        &mended(&claim(riff(&[&long, &data]), b"fmt ", 16), "fmt"),
        &x,
    );
    is(
        &mended(&claim(riff(&[&pcm(), &data]), b"fmt ", 18), "fmt"),
        &x,
    );
}

#[test]
fn what_recorders_left_unwritten_is_the_rest_of_the_file() {
    let x = samples(5000);
    let good = riff(&[&pcm(), &chunk(b"data", &little(&x))]);
    for whole in [0, 36, 2084, u32::MAX] {
        for (len, what) in [
            (0, "holds nothing"),
            (u32::MAX, "does not know"),
            (0x7fff_ffff, "does not know"),
            (0x7fff_f000, "does not know"),
            (2048, "goes on"),
            (9_998, "goes on"),
        ] {
            // The end of the last is nearer than a chunk is long.
            if len == 9_998 {
                continue;
            }
            let file = claim(claim(good.clone(), b"RIFF", whole), b"data", len);
            is(&mended(&file, what), &x);
        }
    }
    // Without samples there is nothing to mend.
    let none = riff(&[&pcm(), &chunk(b"data", &[]), &chunk(b"LIST", b"INFO")]);
    assert!(complaint(&none).contains("at least one frame"));
    // What follows the samples is none of them, however early these are said to end.
    let list = chunk(b"LIST", b"INFOISFT\x04\0\0\0Tool");
    let id3 = chunk(b"id3 ", &[1; 30]);
    let file = claim(
        riff(&[&pcm(), &chunk(b"data", &little(&x)), &list, &id3]),
        b"data",
        2048,
    );
    is(&mended(&file, "goes on"), &x);
    let file = claim(
        riff(&[&pcm(), &chunk(b"data", &little(&x)), &list, &id3]),
        b"data",
        0,
    );
    is(&mended(&file, "holds nothing"), &x);
    // Nor are tags, zeros and lines of text.
    let plain = riff(&[&pcm(), &chunk(b"data", &little(&x))]);
    for behind in [
        &b"TAG tag tag tag"[..],
        &[0; 300],
        b"a line of text, at least\r\n",
        b"ID3\x04\xff\xff\xff\xff\xff\xff",
    ] {
        is(&sane(&[&plain[..], behind].concat()), &x);
    }
    // In the other containers too.
    is(&mended(&w64(&little(&x), 0), "holds nothing"), &x);
    is(&mended(&w64(&little(&x), 2048), "goes on"), &x);
    is(&mended(&au(3, 2048, &big(&x)), "goes on"), &x);
    is(&mended(&au(3, 0, &big(&x)), "goes on"), &x);
    let aiff = aiff(b"AIFF", 16, b"", 5000, &big(&x));
    let claim_be = |len: u32| {
        let mut file = aiff.clone();
        let at = file
            .windows(4)
            .position(|window| window == b"SSND")
            .unwrap();
        file[at + 4..at + 8].copy_from_slice(&len.to_be_bytes());
        file
    };
    is(&mended(&claim_be(0), "holds nothing"), &x);
    is(&mended(&claim_be(2056), "goes on"), &x);
    let mut caf = caf(b"lpcm", 2, [2, 1, 16], &[], &little(&x));
    let at = caf.windows(4).position(|window| window == b"data").unwrap();
    caf[at + 4..at + 12].fill(0xff);
    is(&mended(&caf, "does not know"), &x);
}

/// A file of more than 4 GiB, of which almost nothing takes room on the disk.
#[cfg(target_os = "linux")]
#[test]
fn lengths_beyond_four_gib_begin_anew_and_are_read() {
    use std::io::{Seek, SeekFrom, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.wav");
    let len = (1u64 << 32) + 4000;
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&claim(riff(&[&pcm(), &chunk(b"data", &[])]), b"data", 4000))
        .unwrap();
    // The samples where the length claims the end are such as no chunk begins with.
    file.write_all(&[0x81; 8192]).unwrap();
    file.seek(SeekFrom::Start(44 + len)).unwrap();
    file.write_all(&chunk(b"LIST", b"INFOISFT\x04\0\0\0Tool"))
        .unwrap();
    drop(file);
    let read = audio::decode(&path, Some(0.5)).unwrap();
    assert_eq!((read.clip.len_frames(), read.lost.len()), (22_050, 0));
    assert!(
        read.mended[0].contains(&format!("all {len} are read")),
        "{:?}",
        read.mended
    );
    assert_eq!((read.seconds * 44_100.0).round() as u64, len / 2);
}

#[test]
fn several_data_chunks_are_one_sound_and_a_second_file_is_told() {
    let x = samples(900);
    let [a, b] = [&x[..500], &x[500..]].map(|part| chunk(b"data", &little(part)));
    let list = chunk(b"LIST", b"INFO");
    is(
        &mended(&riff(&[&pcm(), &a, &list, &b]), "2 data chunks"),
        &x,
    );
    let mp3 = chunk(b"data", &fixture("bare.mp3"));
    let fmt = chunk(b"fmt ", &fmt(0x55, 22_050, 0, 1, &[0, 0]));
    assert!(complaint(&riff(&[&fmt, &mp3, &mp3])).contains("one data chunk"));
    let file = riff(&[&pcm(), &a]);
    let read = decode(&[&file[..], &file].concat()).unwrap();
    is(&read, &x[..500]);
    assert!(
        read.lost[0].contains("another sound file"),
        "{:?}",
        read.lost
    );
}

#[test]
fn what_is_missing_is_counted() {
    let x = samples(1000);
    let good = riff(&[&pcm(), &chunk(b"data", &little(&x))]);
    let read = decode(&good[..good.len() - 1000]).unwrap();
    is(&read, &x[..500]);
    assert_eq!((read.seconds * 44_100.0).round(), 1000.0);
    assert!(
        read.lost[0].contains("0.011 s of 0.023 s"),
        "{:?}",
        read.lost
    );
    // Of an MP4 whose end is missing the index may be there, or not.
    let m4a = fixture("alac.m4a");
    let read = decode(&m4a[..m4a.len() - 700]);
    assert!(read.is_err() || !read.unwrap().lost.is_empty());
    assert!(complaint(&m4a[..40]).contains("moov"));
}

// MPEG and what stands in front of it.

#[test]
fn mpeg_is_found_behind_whatever_stands_in_front() {
    for name in ["bare.mp3", "lame.mp3", "tone.mp2"] {
        let bytes = fixture(name);
        let whole = sane(&bytes).clip;
        let id3 =
            |size: [u8; 4], body: usize| [&b"ID3\x03\0\0"[..], &size, &vec![0; body]].concat();
        let ape = |claimed: u32, body: usize| {
            let head = [
                &b"APETAGEX\xd0\x07\0\0"[..],
                &claimed.to_le_bytes(),
                &[0; 16],
            ]
            .concat();
            [&head[..], &vec![7; body]].concat()
        };
        for front in [
            vec![0; 7],
            vec![0; 5000],
            id3([0, 0, 1, 0x48], 200),
            // 8 bits a byte, where 7 are the rule.
            id3([0, 0, 0, 200], 200),
            // Too long and too short.
            id3([0, 0, 3, 0], 200),
            id3([0, 0, 0, 9], 200),
            [id3([0, 0, 1, 0x48], 200), id3([0, 0, 0, 9], 9)].concat(),
            ape(100, 100),
            ape(100, 0),
            [ape(50, 50), id3([0, 0, 0, 9], 9)].concat(),
        ] {
            let read = decode(&[&front[..], &bytes].concat()).unwrap();
            assert_eq!(
                read.clip,
                whole,
                "{name} behind {:?}",
                &front[..front.len().min(16)]
            );
        }
        // Rubbish is passed over, and told.
        let mut noise = Noise::new(3);
        let junk: Vec<u8> = (0..3000).map(|_| noise.bits() as u8).collect();
        let read = decode(&[&junk[..], &bytes].concat()).unwrap();
        assert_eq!(read.clip, whole, "{name}");
        assert!(read.lost[0].contains("no whole frame"), "{:?}", read.lost);
        // So are tags behind it, which are no sound.
        for behind in [
            &[&b"TAG"[..], &[32; 125]].concat()[..],
            b"APETAGEX\xd0\x07\0\0\x20\0\0\0\0\0\0\0",
        ] {
            assert_eq!(sane(&[&bytes[..], behind].concat()).clip, whole, "{name}");
        }
    }
}

#[test]
fn mpeg_that_is_cut_says_so_at_either_end_and_within() {
    let bytes = fixture("bare.mp3");
    let whole = sane(&bytes).clip.len_frames();
    let end = decode(&bytes[..bytes.len() - 50]).unwrap();
    assert_eq!(end.clip.len_frames(), whole - 576);
    assert!(
        end.lost
            .iter()
            .any(|lost| lost.contains("cut within its last frame")),
        "{:?}",
        end.lost
    );
    let start = decode(&bytes[50..]).unwrap();
    assert!(start.clip.len_frames() <= whole - 576);
    assert!(start.lost[0].contains("no whole frame"), "{:?}", start.lost);
    let hole = [&bytes[..400], &[0x11; 100], &bytes[520..]].concat();
    assert!(!decode(&hole).unwrap().lost.is_empty());
}

// What is not read.

#[test]
fn what_is_not_read_is_named_with_what_converts_it() {
    for (name, codec) in [
        ("tone.opus", "Opus"),
        ("tone.wma", "Windows Media"),
        ("tone.wv", "WavPack"),
        ("fragments.m4a", "fragments"),
    ] {
        let text = complaint(&fixture(name));
        assert!(text.contains(codec) && text.contains("ffmpeg -i"), "{text}");
    }
    for (tag, codec) in [
        (0xff, "AAC"),
        (0x161, "Windows Media (WMA)"),
        (0xa109, "Speex"),
        (0x20, "Yamaha ADPCM"),
        (0x31, "GSM"),
        (0x6750, "Ogg Vorbis"),
        (0x1234, "codec 0x1234"),
    ] {
        let fmt = chunk(b"fmt ", &fmt(tag, 22_050, 4, 1, &[0, 0]));
        let text = complaint(&riff(&[&fmt, &chunk(b"data", &[7; 500])]));
        assert!(text.contains(codec) && text.contains("ffmpeg -i"), "{text}");
    }
    let text = complaint(&aiff(b"AIFC", 16, b"MAC6", 1, &[0; 8]));
    assert!(text.contains("MACE in AIFF-C"), "{text}");
    for (magic, name) in [
        (&b"MAC \x96\x0f\0\0\0\0\0\0"[..], "Monkey's Audio"),
        (b"#!AMR\n\x3c\0\0\0\0\0", "AMR"),
        (b"MThd\0\0\0\x06\0\0\0\x01", "MIDI"),
        (b"FORM\0\0\0\x088SVXVHDR", "8SVX"),
        (b"\x1a\x45\xdf\xa3\0\0\0\0\0\0\0\0", "WebM"),
    ] {
        assert!(complaint(magic).contains(name), "{name}");
    }
    let known = audio::extensions();
    assert!(
        audio::foreign_extensions()
            .iter()
            .all(|extension| !known.contains(extension))
    );
    for extension in ["wma", "wv", "opus", "ape", "mpc", "amr"] {
        assert!(audio::foreign_extensions().contains(&extension));
    }
}
