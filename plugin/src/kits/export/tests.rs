//! What is written is read by other readers: our own decoder, strict parsers of XML and SFZ, and unpackers.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use nice_plug::prelude::{FloatParam, FloatRange};
use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use super::*;
use crate::kits::KitInfo;
use crate::store::Store;
use crate::stored::SoundRecipe;
use crate::stored::tests::recipe;

const RATE: u32 = 44_100;

/// A dying tone of `hz`.
fn tone(hz: f32, seconds: f32) -> Clip {
    let at = |i: usize| {
        let t = i as f32 / RATE as f32;
        0.5 * (-6.0 * t / seconds).exp() * (std::f32::consts::TAU * hz * t).cos()
    };
    Clip::new(
        RATE,
        vec![(0..(seconds * RATE as f32) as usize).map(at).collect()],
    )
}

fn sound(seed: u64, hz: f32) -> Arc<StoredSound> {
    Arc::new(StoredSound::new(recipe(seed), &tone(hz, 0.2)))
}

fn set(value: f32, min: f32, max: f32) -> FloatParam {
    FloatParam::new("x", value, FloatRange::Linear { min, max })
}

/// A kit in which each pad has something to say.
fn kit() -> (Project, PluginParams) {
    let mut params = PluginParams::new(&Store::new().0);
    let mut project = Project {
        kit: Some(KitInfo {
            name: "A & B <\"kit\">".into(),
            author: "Me".into(),
            ..KitInfo::default()
        }),
        ..Project::default()
    };
    for pad in 0..6 {
        project.set_sound(pad, Some(sound(pad as u64, 100.0 * (pad + 1) as f32)));
    }
    // 0 as it is; 1 louder, to the left, lower; 2 in turns; 3 by velocity; 4 as long as its key; 5 over and over.
    params.pads[1].gain = set(0.5, 0.0, 2.0);
    params.pads[1].pan = set(-0.5, -1.0, 1.0);
    params.pads[1].pitch = set(-3.25, -24.0, 24.0);
    project.settings[1].playing.choke = 3;
    project.settings[1].playing.velocity = 0.5;
    project.takes[2] = vec![sound(21, 310.0), sound(22, 320.0)];
    project.settings[2].playing.take = Takes::RoundRobin;
    // The own is the brighter one.
    project.takes[3] = vec![sound(31, 200.0)];
    project.settings[3].playing.take = Takes::Velocity;
    project.settings[3].playing.voices = Polyphony::Mono;
    project.settings[4].playing.mode = Mode::Gate;
    project.settings[4].playing.hold = 20.0;
    params.pads[4].attack = set(10.0, 0.0, 2000.0);
    params.pads[4].decay = set(300.0, 0.0, 2000.0);
    params.pads[4].sustain = set(0.25, 0.0, 1.0);
    params.pads[4].release = set(150.0, 0.0, 2000.0);
    project.settings[5].playing.mode = Mode::Loop;
    params.pads[5].start = set(0.5, 0.0, 1.0);
    project.set_sound(6, Some(sound(6, 700.0)));
    project.settings[6].playing.reverse = true;
    project.settings[6].playing.velocity_cutoff = 2.0;
    (project, params)
}

/// A folder with the kit in a format.
fn exported(format: Format) -> (tempfile::TempDir, Exported) {
    let (project, params) = kit();
    let folder = tempfile::tempdir().unwrap();
    let exported = export(
        format,
        &project,
        &params,
        &first_keys(),
        None,
        folder.path(),
    )
    .unwrap();
    (folder, exported)
}

fn decode(path: &Path) -> Clip {
    audio::decode(path, None).unwrap().clip
}

/// The largest difference of two sounds of one length.
fn difference(a: &Clip, b: &Clip) -> f32 {
    assert_eq!(
        (a.len_frames(), a.channels().len()),
        (b.len_frames(), b.channels().len())
    );
    let samples = a
        .channels()
        .iter()
        .flatten()
        .zip(b.channels().iter().flatten());
    samples.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An element of a document.
#[derive(Debug, Default, PartialEq)]
struct Node {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    nodes: Vec<Node>,
}

impl Node {
    /// Reads a document of one element; anything that XML does not allow is a failure.
    fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.check_end_names = true;
        config.check_comments = true;
        config.allow_unmatched_ends = false;
        config.allow_dangling_amp = false;
        let mut open = vec![Self::default()];
        let begun = |start: &BytesStart| Self {
            name: start.name().0.to_owned(),
            attributes: start
                .attributes()
                .with_checks(true)
                .map(|it| it.unwrap())
                .map(|it| {
                    (
                        it.key.0.to_owned(),
                        unescape(&it.value).unwrap().into_owned(),
                    )
                })
                .collect(),
            ..Self::default()
        };
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => open.push(begun(&start)),
                Event::Empty(start) => {
                    let node = begun(&start);
                    open.last_mut().unwrap().nodes.push(node);
                }
                Event::End(_) => {
                    let node = open.pop().unwrap();
                    open.last_mut().unwrap().nodes.push(node);
                }
                Event::Text(text) => open.last_mut().unwrap().text += &text.xml10_content(),
                Event::GeneralRef(it) => {
                    let text = format!("&{};", it.xml10_content());
                    open.last_mut().unwrap().text += &unescape(&text).unwrap();
                }
                Event::Decl(it) => assert_eq!(it.version().unwrap(), "1.0"),
                Event::Eof => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(open.len(), 1);
        let mut document = open.remove(0);
        assert_eq!((document.nodes.len(), document.text.trim()), (1, ""));
        document.nodes.remove(0)
    }

    /// The only element of this path.
    fn at(&self, path: &str) -> &Self {
        path.split('/').fold(self, |node, name| {
            let mut found = node.nodes.iter().filter(|it| it.name == name);
            let first = found
                .next()
                .unwrap_or_else(|| panic!("{}: no {name} of {path}", node.name));
            assert!(found.next().is_none(), "{}: two of {name}", node.name);
            first
        })
    }

    fn text(&self, path: &str) -> &str {
        &self.at(path).text
    }

    fn number(&self, path: &str) -> f64 {
        self.text(path).parse().unwrap()
    }

    fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.get(name);
        found.unwrap_or_else(|| panic!("{}: no {name}", self.name))
    }

    /// The value of an element of Live's.
    fn value(&self, path: &str) -> &str {
        self.at(path).attribute("Value")
    }

    fn manual(&self, path: &str) -> f64 {
        self.value(&format!("{path}/Manual")).parse().unwrap()
    }
}

#[test]
fn wavs_are_what_a_note_plays() {
    let (_folder, Exported { path, remarks }) = exported(Format::Wav);
    let (project, _) = kit();
    let mut names: Vec<String> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 10);
    assert_eq!(
        names[..4],
        [
            "01 kick 0.wav",
            "02 kick 1.wav",
            "03 kick 2.wav",
            "03 kick 21 take 2.wav"
        ]
    );
    let own = |pad: usize| project.sound(pad).unwrap().clip();
    // 24 bits of what was stored.
    assert!(difference(&decode(&path.join(&names[0])), &own(0)) < 1e-6);
    // Lower by 3.25 semitones, quieter, to the left.
    let turned = decode(&path.join(&names[1]));
    let longer = turned.len_frames() as f64 / own(1).len_frames() as f64;
    assert!((longer - 2f64.powf(3.25 / 12.0)).abs() < 0.01, "{longer}");
    let peak = |channel: &[f32]| channel.iter().fold(0f32, |peak, x| peak.max(x.abs()));
    let [left, right] = [0, 1].map(|i| peak(&turned.channels()[i]));
    assert!(
        (left - 0.25).abs() < 0.02 && (right - 0.125).abs() < 0.02,
        "{left} {right}"
    );
    let backwards = decode(&path.join("07 kick 6.wav"));
    let mut expected = own(6).channels().to_vec();
    expected[0].reverse();
    // Until the last frames, where the sound is cut where it was silent.
    let frames = backwards.len_frames();
    assert!(expected[0].len() - frames < 64, "{frames}");
    assert!(difference(&backwards, &Clip::new(RATE, expected).slice(0, frames)) < 1e-4);
    assert_eq!(remarks[0], "pad 6: the loop is played once");
    assert_eq!(remarks[1], "pad 7: the filter is as at full velocity");
    assert_eq!(remarks[2], "pad 8: there is no sound yet");
}

#[test]
fn an_export_takes_nothings_place_and_leaves_nothing_half_done() {
    let (project, params) = kit();
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let write = || {
            export(
                format,
                &project,
                &params,
                &first_keys(),
                None,
                folder.path(),
            )
            .unwrap()
            .path
        };
        let paths = [write(), write()];
        assert_ne!(paths[0], paths[1]);
        assert!(paths.iter().all(|path| path.exists()));
    }
    let mut keys = first_keys();
    keys[0] = None;
    let exported = export(Format::Sfz, &project, &params, &keys, None, folder.path()).unwrap();
    assert!(
        exported
            .remarks
            .contains(&"pad 1: no key plays it".to_owned())
    );
    let none = export(
        Format::Sfz,
        &Project::default(),
        &params,
        &keys,
        None,
        folder.path(),
    );
    assert!(none.unwrap_err().to_string().contains("no sound"));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for format in Format::ALL {
        let error = export(format, &project, &params, &keys, None, &file).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}

#[test]
fn a_sound_that_is_played_as_it_is_stays_so_and_others_are_played_by_a_voice() {
    let plain = PadControls {
        velocity: 0.0,
        ..PadControls::PLAIN
    };
    let clip = tone(440.0, 0.3);
    assert_eq!(played(&clip, &plain), (clip.clone(), None));
    // What a voice plays of it is the same, to within rounding.
    let nearly = PadControls {
        gain: 0.999_999,
        ..plain
    };
    let (found, _) = played(&clip, &nearly);
    assert!(difference(&found, &clip.slice(0, found.len_frames())) < 1e-5);
    assert!(clip.len_frames() - found.len_frames() < 64);
    // An envelope that dies makes it shorter.
    let short = PadControls {
        sustain: 0.0,
        decay_ms: 50.0,
        ..plain
    };
    let (found, _) = played(&clip, &short);
    assert!(
        found.seconds() < 0.2 && found.seconds() > 0.05,
        "{}",
        found.seconds()
    );
    // A loop is as long as what is looped, and its end leads on to where it begins again.
    let looped = PadControls {
        mode: Mode::Loop,
        start: 0.25,
        ..plain
    };
    let (found, ends) = played(&clip, &looped);
    let [start, end] = ends.unwrap();
    assert_eq!((start, end), (441, found.len_frames() - 1));
    assert_eq!(
        found.len_frames(),
        clip.len_frames() - clip.len_frames() / 4
    );
    let channel = &found.channels()[0];
    let step = (channel[start] - channel[end]).abs();
    assert!(step < 0.04, "{step}");
}

/// Opcodes and their values.
type Opcodes = BTreeMap<String, String>;

/// Reads an SFZ file as its grammar has it: headers, and opcodes that are known, each with its value.
fn read_sfz(text: &str) -> Vec<(String, Opcodes)> {
    const OPCODES: [&str; 31] = [
        "default_path",
        "hint_ram_based",
        "group_label",
        "key",
        "pitch_keycenter",
        "volume",
        "pan",
        "transpose",
        "tune",
        "amp_veltrack",
        "group",
        "off_by",
        "off_mode",
        "note_polyphony",
        "loop_mode",
        "loop_start",
        "loop_end",
        "ampeg_attack",
        "ampeg_hold",
        "ampeg_decay",
        "ampeg_sustain",
        "ampeg_release",
        "seq_length",
        "seq_position",
        "lovel",
        "hivel",
        "sample",
        "amp_velcurve_1",
        "amp_velcurve_16",
        "amp_velcurve_64",
        "amp_velcurve_127",
    ];
    let mut headers: Vec<(String, Opcodes)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("//")) {
        let mut rest = line.trim();
        while !rest.is_empty() {
            if let Some(header) = rest.strip_prefix('<') {
                let (name, after) = header.split_once('>').unwrap();
                assert!(["control", "group", "region"].contains(&name), "{name}");
                headers.push((name.to_owned(), BTreeMap::new()));
                rest = after.trim_start();
                continue;
            }
            let (name, after) = rest.split_once('=').unwrap();
            let is_curve = name.starts_with("amp_velcurve_");
            assert!(is_curve || OPCODES.contains(&name), "{name}");
            // A value may have spaces; it ends before the next opcode.
            let next = after.find('=').map(|at| after[..at].rfind(' ').unwrap());
            let (value, after) = after.split_at(next.unwrap_or(after.len()));
            let opcodes = &mut headers.last_mut().unwrap().1;
            let before = opcodes.insert(name.to_owned(), value.trim().to_owned());
            assert_eq!(before, None, "{name}");
            rest = after.trim_start();
        }
    }
    headers
}

#[test]
fn an_sfz_says_what_the_pads_do() {
    let (_folder, Exported { path, remarks }) = exported(Format::Sfz);
    assert!(
        path.ends_with("A & B __kit__/A & B __kit__.sfz"),
        "{}",
        path.display()
    );
    let headers = read_sfz(&std::fs::read_to_string(&path).unwrap());
    let base = path.parent().unwrap().join(&headers[0].1["default_path"]);
    let mut group = &headers[0].1;
    // By key: opcodes of the group, and of its regions.
    let mut pads: BTreeMap<u8, (&Opcodes, Vec<&Opcodes>)> = BTreeMap::new();
    for (name, opcodes) in &headers[1..] {
        if name == "group" {
            group = opcodes;
            pads.insert(group["key"].parse().unwrap(), (group, Vec::new()));
        } else {
            let clip = decode(&base.join(&opcodes["sample"]));
            assert!(clip.peak() > 0.01);
            pads.get_mut(&group["key"].parse().unwrap())
                .unwrap()
                .1
                .push(opcodes);
        }
    }
    assert_eq!(
        pads.keys().copied().collect::<Vec<u8>>(),
        (36..43).collect::<Vec<u8>>()
    );
    let number = |key: u8, name: &str| -> f32 { pads[&key].0[name].parse().unwrap() };
    assert_eq!(
        (number(36, "volume"), number(36, "pan"), number(36, "tune")),
        (0.0, 0.0, 0.0)
    );
    assert_eq!(
        (
            number(36, "amp_veltrack"),
            pads[&36].0["loop_mode"].as_str()
        ),
        (100.0, "one_shot")
    );
    assert!((number(36, "amp_velcurve_64") - 64.0 / 127.0).abs() < 1e-5);
    // A player that keeps the power has the left at half the level, and the right at half of that.
    let angle = (number(37, "pan") / 100.0 + 1.0) * std::f32::consts::FRAC_PI_4;
    let gain = 10f32.powf(number(37, "volume") / 20.0) * std::f32::consts::SQRT_2;
    let levels = [angle.cos() * gain, angle.sin() * gain];
    assert!(
        (levels[0] - 0.5).abs() < 1e-3 && (levels[1] - 0.25).abs() < 1e-3,
        "{levels:?}"
    );
    assert_eq!([number(37, "transpose"), number(37, "tune")], [-3.0, -25.0]);
    assert_eq!(
        (number(37, "amp_veltrack"), number(37, "pitch_keycenter")),
        (50.0, 37.0)
    );
    assert_eq!([number(37, "group"), number(37, "off_by")], [3.0, 3.0]);
    let regions = |key: u8, name: &str| -> Vec<&str> {
        let regions = pads[&key].1.iter();
        regions
            .map(|region| region.get(name).map_or("", String::as_str))
            .collect()
    };
    assert_eq!(
        (number(38, "seq_length"), regions(38, "seq_position")),
        (3.0, vec!["1", "2", "3"])
    );
    // The darker take is the softer one.
    assert_eq!(
        (regions(39, "lovel"), regions(39, "hivel")),
        (vec!["64", "1"], vec!["127", "63"])
    );
    assert_eq!(number(39, "note_polyphony"), 1.0);
    assert_eq!(pads[&40].0["loop_mode"], "no_loop");
    let envelope = ["attack", "hold", "decay", "sustain", "release"];
    let envelope = envelope.map(|name| number(40, &format!("ampeg_{name}")));
    assert_eq!(envelope, [0.01, 0.02, 0.3, 25.0, 0.15]);
    assert_eq!(
        (pads[&41].0["loop_mode"].as_str(), number(41, "loop_start")),
        ("loop_continuous", 441.0)
    );
    let clip = decode(&base.join(regions(41, "sample")[0]));
    assert_eq!(number(41, "loop_end") as usize, clip.len_frames() - 1);
    assert_eq!(clip.len_frames(), 4410, "its half");
    assert_eq!(remarks[0], "pad 7: the filter is as at full velocity");
}

#[test]
fn a_drumkit_of_hydrogen_is_one_by_its_schema() {
    let (folder, Exported { path, remarks }) = exported(Format::Hydrogen);
    let packed = std::fs::read(&path).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(&packed[..]));
    archive.unpack(folder.path()).unwrap();
    let unpacked = folder.path().join(path.file_stem().unwrap());
    let kit = Node::read(&std::fs::read(unpacked.join("drumkit.xml")).unwrap());
    assert_eq!(
        (kit.name.as_str(), kit.attribute("xmlns")),
        ("drumkit_info", "http://www.hydrogen-music.org/drumkit")
    );
    assert_eq!(
        (kit.text("name"), kit.text("author")),
        ("A & B <\"kit\">", "Me")
    );
    assert_eq!(kit.text("componentList/drumkitComponent/id"), "0");
    let instruments = &kit.at("instrumentList").nodes;
    assert_eq!(instruments.len(), 7);
    // In the order of the schema.
    let order = "id name volume isMuted isSoloed pan pitchOffset randomPitchFactor gain applyVelocity filterActive \
                 filterCutoff filterResonance Attack Decay Sustain Release muteGroup midiOutChannel midiOutNote \
                 isStopNote sampleSelectionAlgo isHihat lower_cc higher_cc FX1Level FX2Level FX3Level FX4Level \
                 instrumentComponent";
    for (i, instrument) in instruments.iter().enumerate() {
        let names: Vec<&str> = instrument.nodes.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.join(" "), order);
        assert_eq!(
            (instrument.number("id"), instrument.number("midiOutNote")),
            (i as f64, 36.0 + i as f64)
        );
        let component = instrument.at("instrumentComponent");
        assert_eq!(component.nodes[0].name, "component_id");
        for layer in &component.nodes[2..] {
            let names: Vec<&str> = layer.nodes.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(names, ["filename", "min", "max", "gain", "pitch"]);
            assert!(decode(&unpacked.join(layer.text("filename"))).peak() > 0.01);
        }
    }
    let [plain, turned, turns, layers, gate, ..] = &instruments[..] else {
        panic!("{}", instruments.len());
    };
    let numbers = |node: &Node, names: &[&str]| -> Vec<f64> {
        names.iter().map(|name| node.number(name)).collect()
    };
    let level = ["volume", "pan", "pitchOffset", "muteGroup"];
    assert_eq!(numbers(plain, &level), [1.0, 0.0, 0.0, -1.0]);
    assert_eq!(numbers(turned, &level), [0.5, -0.5, -3.25, 2.0]);
    assert_eq!(
        (plain.text("isStopNote"), gate.text("isStopNote")),
        ("false", "true")
    );
    assert_eq!(
        numbers(gate, &["Attack", "Decay", "Sustain", "Release"]),
        [441.0, 7585.0, 0.25, 3352.0]
    );
    assert_eq!(turns.text("sampleSelectionAlgo"), "ROUND_ROBIN");
    assert_eq!(turns.at("instrumentComponent").nodes.len(), 2 + 3);
    let ranges: Vec<Vec<f64>> = layers.at("instrumentComponent").nodes[2..]
        .iter()
        .map(|layer| numbers(layer, &["min", "max"]))
        .collect();
    assert_eq!(
        (ranges[0][1], ranges[1][0], ranges[0][0]),
        (1.0, 0.0, ranges[1][1])
    );
    for what in [
        "pad 6: Hydrogen plays the loop once",
        "pad 4: in Hydrogen its notes overlap",
    ] {
        assert!(remarks.iter().any(|it| it == what), "{remarks:?}");
    }
    // Where its order would not play the keys, that is told.
    let (project, params) = self::kit();
    let mut keys = first_keys();
    keys.swap(0, 1);
    let swapped = export(
        Format::Hydrogen,
        &project,
        &params,
        &keys,
        None,
        folder.path(),
    )
    .unwrap();
    assert!(
        swapped.remarks.iter().any(|it| it.contains("output notes")),
        "{:?}",
        swapped.remarks
    );
}

#[test]
fn a_preset_of_decent_sampler_says_what_the_pads_do() {
    let (_folder, Exported { path, .. }) = exported(Format::DecentSampler);
    let preset = Node::read(&std::fs::read(&path).unwrap());
    assert_eq!(preset.name, "DecentSampler");
    let groups = &preset.at("groups").nodes;
    assert_eq!(groups.len(), 7);
    for (i, group) in groups.iter().enumerate() {
        for sample in &group.nodes {
            let key = (36 + i).to_string();
            assert_eq!(
                ["rootNote", "loNote", "hiNote"].map(|name| sample.attribute(name)),
                [key.as_str(); 3]
            );
            let clip = decode(&path.parent().unwrap().join(sample.attribute("path")));
            assert!(clip.peak() > 0.01);
        }
    }
    let [plain, turned, turns, layers, gate, looped, _] = &groups[..] else {
        panic!("{}", groups.len());
    };
    assert_eq!(
        (
            plain.attribute("ampEnvEnabled"),
            plain.attribute("ampVelTrack")
        ),
        ("false", "1")
    );
    assert_eq!(
        (turned.attribute("volume"), turned.attribute("pan")),
        ("-6.021dB", "-50")
    );
    assert_eq!(
        (
            turned.attribute("ampVelTrack"),
            turned.nodes[0].attribute("tuning")
        ),
        ("0.5", "-3.25")
    );
    assert_eq!(
        (turned.attribute("tags"), turned.attribute("silencedByTags")),
        ("key37,choke3", "choke3")
    );
    assert_eq!(
        (turns.attribute("seqMode"), turns.attribute("seqLength")),
        ("round_robin", "3")
    );
    let positions: Vec<&str> = turns
        .nodes
        .iter()
        .map(|it| it.attribute("seqPosition"))
        .collect();
    assert_eq!(positions, ["1", "2", "3"]);
    let ranges: Vec<[&str; 2]> = layers
        .nodes
        .iter()
        .map(|it| ["loVel", "hiVel"].map(|name| it.attribute(name)))
        .collect();
    assert_eq!(ranges, [["64", "127"], ["1", "63"]]);
    let envelope = ["attack", "decay", "sustain", "release"].map(|name| gate.attribute(name));
    assert_eq!(envelope, ["0.01", "0.3", "0.25", "0.15"]);
    let ends = ["loopEnabled", "loopStart", "loopEnd"].map(|name| looped.nodes[0].attribute(name));
    assert_eq!(ends, ["true", "441", "4409"]);
    let tag = preset.at("tags/tag");
    assert_eq!(
        (tag.attribute("name"), tag.attribute("polyphony")),
        ("key39", "1")
    );
}

#[test]
fn a_drum_rack_has_a_simpler_on_each_key() {
    let (_folder, Exported { path, remarks }) = exported(Format::DrumRack);
    let mut text = Vec::new();
    GzDecoder::new(&std::fs::read(&path).unwrap()[..])
        .read_to_end(&mut text)
        .unwrap();
    let rack = Node::read(&text);
    assert_eq!(
        (rack.name.as_str(), rack.attribute("MajorVersion")),
        ("Ableton", "5")
    );
    let preset = rack.at("GroupDevicePreset");
    assert_eq!(
        preset.value("Device/DrumGroupDevice/UserName"),
        "A & B <\"kit\">"
    );
    let branches = &preset.at("BranchPresets").nodes;
    assert_eq!(branches.len(), 7);
    let simpler =
        |i: usize| branches[i].at("DevicePresets/AbletonDevicePreset/Device/OriginalSimpler");
    let mixer =
        |i: usize| branches[i].at("MixerPreset/AbletonDevicePreset/Device/AudioBranchMixerDevice");
    let part = |i: usize| simpler(i).at("Player/MultiSampleMap/SampleParts/MultiSamplePart");
    for (i, branch) in branches.iter().enumerate() {
        assert_eq!(branch.name, "DrumBranchPreset");
        assert_eq!(
            branch.value("ZoneSettings/ReceivingNote"),
            (128 - 36 - i).to_string()
        );
        assert_eq!(
            (
                branch.value("ZoneSettings/SendingNote"),
                part(i).value("RootKey")
            ),
            ("60", "60")
        );
        let file = part(i).at("SampleRef/FileRef");
        let clip = decode(Path::new(file.value("Path")));
        let relative = decode(&path.parent().unwrap().join(file.value("RelativePath")));
        assert_eq!(clip, relative);
        assert_eq!(part(i).value("SampleEnd"), clip.len_frames().to_string());
        assert_eq!(part(i).value("SampleRef/DefaultSampleRate"), "44100");
    }
    assert_eq!(
        (mixer(0).manual("Volume"), mixer(0).manual("Panorama")),
        (1.0, 0.0)
    );
    assert_eq!(
        (mixer(1).manual("Volume"), mixer(1).manual("Panorama")),
        (0.5, -0.5)
    );
    let pitch = ["Pitch/TransposeKey", "Pitch/TransposeFine"].map(|path| simpler(1).manual(path));
    assert_eq!(pitch, [-3.0, -25.0]);
    assert_eq!(branches[1].value("ZoneSettings/ChokeGroup"), "3");
    assert_eq!(simpler(1).manual("VolumeAndPan/VolumeVelScale"), 0.5);
    let modes: Vec<&str> = (0..7)
        .map(|i| simpler(i).value("Globals/PlaybackMode"))
        .collect();
    assert_eq!(modes, ["1", "1", "1", "1", "0", "0", "1"]);
    let envelope = ["AttackTime", "DecayTime", "SustainLevel", "ReleaseTime"];
    let envelope = envelope.map(|name| simpler(4).manual(&format!("VolumeAndPan/Envelope/{name}")));
    assert_eq!(envelope, [10.0, 300.0, 0.25, 150.0]);
    assert_eq!(
        simpler(5).value("Player/LoopModulators/LoopOn/Manual"),
        "true"
    );
    assert_eq!(
        ["Start", "End", "Mode"].map(|name| part(5).value(&format!("SustainLoop/{name}"))),
        ["441", "4409", "1"]
    );
    assert_eq!(simpler(3).value("Globals/NumVoices"), "0");
    let takes = remarks
        .iter()
        .filter(|it| it.contains("the first take"))
        .count();
    assert_eq!(takes, 2);
}

#[test]
fn names_of_files_are_what_is_on_the_pads() {
    let of_file = StoredSound::new(
        SoundRecipe::of_file(Path::new("/x/door slam.flac")),
        &tone(100.0, 0.1),
    );
    assert_eq!(class_name(&of_file), "door slam");
    let mut recipe = recipe(1);
    recipe.class = Some("hat_closed".into());
    assert_eq!(
        class_name(&StoredSound::new(recipe, &tone(100.0, 0.1))),
        "hat closed"
    );
}

/// Writes the kit of these tests in every format into the folder that `EXPORTS` names: `tests/hosts/exports.sh` opens them.
#[test]
#[ignore = "writes files for other programs"]
fn a_kit_is_written_for_other_programs() {
    let folder = std::env::var_os("EXPORTS").expect("EXPORTS names a folder");
    let (mut project, params) = kit();
    project.kit.as_mut().unwrap().name = "Exported".into();
    for format in Format::ALL {
        let into = Path::new(&folder).join(format.name());
        let exported = export(format, &project, &params, &first_keys(), None, &into).unwrap();
        println!("{}", exported.path.display());
        exported
            .remarks
            .iter()
            .for_each(|remark| println!("  {remark}"));
    }
}
