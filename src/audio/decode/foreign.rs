//! Names of what is not read, so that whoever has it knows what to do.

use super::{Failure, sound};

/// Extensions of sounds of which nothing is read.
pub(super) const EXTENSIONS: &[&str] = &[
    "wma", "asf", "opus", "spx", "wv", "ape", "mac", "mpc", "mpp", "mp+", "amr", "awb", "3gp",
    "3ga", "ac3", "eac3", "dts", "tta", "tak", "shn", "ofr", "ofs", "la", "dsf", "dff", "ra",
    "ram", "rm", "voc", "8svx", "svx", "iff", "gsm", "vox", "sds", "sph", "nist", "mka", "weba",
    "webm", "rx2", "rex", "qcp", "oma", "aa3", "adx", "xi",
];

/// The refusal of a codec or a format by its name.
pub(super) fn refuse<T>(name: &str) -> Result<T, Failure> {
    sound(format!(
        "{name} is not read; other programs convert it, such as `ffmpeg -i old x.wav`"
    ))
}

/// The name of a format by the first bytes of a file.
pub(super) fn by_content(head: &[u8]) -> Option<&'static str> {
    let magic: &[(usize, &[u8], &str)] = &[
        (0, b"wvpk", "WavPack"),
        (
            0,
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
            "Windows Media (WMA)",
        ),
        (0, b"MAC ", "Monkey's Audio"),
        (0, b"MPCK", "Musepack"),
        (0, b"MP+", "Musepack"),
        (0, b"#!AMR", "AMR"),
        (0, b"TTA1", "True Audio"),
        (0, b"tBaK", "TAK"),
        (0, b"ajkg", "Shorten"),
        (0, b"OFR ", "OptimFROG"),
        (0, b"DSD ", "DSD"),
        (0, b"FRM8", "DSD"),
        (0, b".ra\xfd", "RealAudio"),
        (0, b".RMF", "RealAudio"),
        (0, b"Creative Voice File", "Creative Voice"),
        (8, b"8SVX", "8SVX"),
        (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
        (0, b"\x0b\x77", "AC-3"),
        (0, b"\x7f\xfe\x80\x01", "DTS"),
        (0, b"NIST_1A", "NIST SPHERE"),
        (0, b"CAT ", "REX"),
        (0, b"Extended Instrument: ", "an instrument (XI)"),
        (8, b"sfbk", "a SoundFont"),
        (0, b"MThd", "MIDI, which is notes and no sound,"),
        (8, b"QLCM", "QCELP or EVRC"),
        (8, b"AVI ", "a film (AVI)"),
    ];
    let found = magic
        .iter()
        .find(|(at, bytes, _)| head.get(*at..).is_some_and(|head| head.starts_with(bytes)));
    found.map(|&(_, _, name)| name)
}

/// The name of a codec by the tag of a WAV file.
pub(super) fn of_wav(tag: u16) -> String {
    let name = match tag {
        0x08 => "DTS",
        0x0a => "Windows Media Voice",
        0x10 => "OKI ADPCM",
        0x14 => "G.723 ADPCM",
        0x15 => "Digital ADPCM",
        0x16 => "G.723 ADPCM",
        0x20 => "Yamaha ADPCM",
        0x22 => "TrueSpeech",
        0x31 | 0x32 => "GSM 6.10",
        0x40 => "G.721 ADPCM",
        0x41 => "G.728",
        0x42 => "G.723.1",
        0x45 | 0x64 => "G.726 ADPCM",
        0x50 => "MPEG layer II",
        0x55 => "MP3",
        0x62 => "Voxware",
        0x75 => "Voxware MetaSound",
        0x83 => "G.729",
        0x92 | 0x2000 => "AC-3",
        0xff | 0x180 | 0x1600 | 0x1602 | 0x1610 | 0x706d | 0xa106 => "AAC",
        0x130 => "ACELP.net",
        0x160..=0x163 => "Windows Media (WMA)",
        0x200 => "Creative ADPCM",
        0x270 => "ATRAC3",
        0x401 => "Indeo Audio",
        0x2001 => "DTS",
        0x2048 => "Sonic",
        0x5346 => "Adobe Flash ADPCM",
        0x6771 | 0x674f | 0x6750 | 0x6751 | 0x676f | 0x6770 => "Ogg Vorbis without its headers",
        0x704f => "Opus",
        0xa109 => "Speex",
        0xf1ac => "FLAC",
        0x5756 => "WavPack",
        0xa10c => "G.726 ADPCM",
        _ => return format!("codec {tag:#06x}"),
    };
    name.to_owned()
}

/// The name of a codec by the four letters of AIFF-C, CAF and MP4.
pub(super) fn of_apple(letters: &[u8]) -> String {
    let name = match letters {
        b"MAC3" | b"MAC6" => "MACE",
        b"QDMC" | b"QDM2" => "QDesign Music",
        b"Qclp" => "QCELP",
        b"G722" => "G.722",
        b"G726" => "G.726 ADPCM",
        b"GSM " | b"agsm" => "GSM 6.10",
        b"ACE2" | b"ACE8" => "ACE",
        b"DWVW" => "Delta with variable word width",
        b"ADP4" => "ADPCM",
        b"Opus" | b"opus" => "Opus",
        b"ac-3" => "AC-3",
        b"ec-3" => "Enhanced AC-3",
        b"samr" => "AMR",
        b"sawb" => "AMR wide band",
        b"aach" => "HE-AAC",
        b"aacp" => "HE-AAC version 2",
        b"aacl" | b"aace" => "AAC of low delay",
        b".mp3" => "MP3",
        b".mp1" | b".mp2" => "MPEG layer I or II",
        b"enca" | b"drms" => "protected sound",
        other => return format!("codec {:?}", String::from_utf8_lossy(other)),
    };
    name.to_owned()
}
