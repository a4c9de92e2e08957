//! Checkpoints that lie: an error each time, never a panic, never memory out of proportion to the file.

use std::collections::BTreeMap;
use std::path::Path;

use audiodiff::Error;
use audiodiff::attributes::{AttributeKnots, Attributes};
use audiodiff::checkpoint::{
    Checkpoint, FORMAT_VERSION, ModelConfig, StorageType, TrainingRecord, load_tensors,
    save_tensors,
};
use audiodiff::diffusion::Target;
use audiodiff::import::{Import, ImportSettings};
use audiodiff::network::{NetworkConfig, Resolution, UNetConfig};
use audiodiff::noise::Noise;
use audiodiff::representation::{Format, MdctConfig, RepresentationConfig, Statistics};
use candle_core::{Device, Tensor};

mod corpus;

fn model() -> Checkpoint {
    let level = |width| Resolution { width, blocks: 1 };
    let network = UNetConfig {
        levels: vec![level(8), level(8)],
        embedding: 8,
        groups: 2,
        head_width: 4,
        film_skips: true,
    };
    let config = ModelConfig {
        format_version: FORMAT_VERSION,
        name: "victim".into(),
        format: Format {
            sample_rate: 8000,
            channels: 1,
            len_frames: 64,
        },
        crop: None,
        representation: RepresentationConfig::Mdct(MdctConfig {
            bins: 8,
            companding: 0.5,
            emphasis: 0.0,
        }),
        statistics: Statistics {
            mean: vec![0.0; 8],
            scale: vec![1.0; 8],
        },
        labels: vec!["kick".into(), "snare".into()],
        descriptors: vec!["tilt".into()],
        attribute_knots: AttributeKnots::default(),
        attributes: vec![(
            Some(0),
            Attributes([Some(0.01), Some(0.2), Some(900.0), Some(220.0), None]),
        )],
        rendering: None,
        modulation: None,
        ends: Vec::new(),
        sigma_data: 1.0,
        sigma_max: 20.0,
        target: Target::X,
        network: NetworkConfig::UNet(network),
        training: TrainingRecord::default(),
    };
    let parameters = config
        .network
        .init(config.dims(), &mut Noise::new(1), &Device::Cpu)
        .unwrap();
    Checkpoint {
        config,
        weights: parameters.snapshot().unwrap(),
    }
}

fn load(bytes: &[u8]) -> Result<Checkpoint, Error> {
    Checkpoint::from_bytes(bytes, Path::new("victim.safetensors"))
}

/// The error's sentence, which always names the file.
fn refusal(bytes: &[u8]) -> String {
    let sentence = load(bytes).expect_err("a hostile file").to_string();
    assert!(sentence.starts_with("victim.safetensors: "), "{sentence}");
    sentence
}

/// A file with this header and these data.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        data,
    ]
    .concat()
}

/// The valid file's header and data, the former to be tampered with.
fn taken_apart() -> (String, Vec<u8>) {
    let bytes = model().to_bytes(StorageType::F32).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (
        String::from_utf8(bytes[8..8 + n].to_vec()).unwrap(),
        bytes[8 + n..].to_vec(),
    )
}

#[test]
fn the_untouched_file_loads() {
    let (header, data) = taken_apart();
    assert!(load(&with_header(&header, &data)).is_ok());
}

#[test]
fn every_truncation_is_refused() {
    let bytes = model().to_bytes(StorageType::F32).unwrap();
    let mut noise = Noise::new(1);
    let lengths = (0..64)
        .chain((0..200).map(|_| noise.below(bytes.len())))
        .chain([bytes.len() - 1]);
    for length in lengths {
        refusal(&bytes[..length]);
    }
}

#[test]
fn damaged_files_give_a_whole_model_or_an_error_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("victim.safetensors");
    corpus::try_all("safetensors", 400, |which, bytes, whole| {
        match load(bytes) {
            // A model that passes is whole: every tensor is finite and where it belongs.
            Ok(model) => {
                let again = load(&model.to_bytes(StorageType::F32).unwrap());
                assert_eq!(again.unwrap().config, model.config, "{which}");
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.starts_with("victim.safetensors: "), "{which}: {said}");
                assert!(!(whole && which.starts_with("model")), "{said}");
            }
        }
        // The same file as a run's state, and as a model of another program.
        std::fs::write(&path, bytes).unwrap();
        let state = load_tensors(&path).err();
        assert!(!(whole && state.is_some()), "{which}: {state:?}");
        let import = Import::open(&path, &ImportSettings::default());
        let import = import.and_then(|import| import.checkpoint()).err();
        for error in [state, import].into_iter().flatten() {
            let said = error.to_string();
            assert!(said.contains("victim.safetensors"), "{which}: {said}");
        }
    });
}

/// Writes `tests/corpus/safetensors` anew.
#[test]
#[ignore = "writes files into the source tree"]
fn corpus_is_written() {
    let folder = corpus::folder("safetensors");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write(
        "model.safetensors",
        &model().to_bytes(StorageType::F16).unwrap(),
    );
    let state = BTreeMap::from([
        (
            "m.out.bias".to_owned(),
            Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap(),
        ),
        (
            "v.out.bias".to_owned(),
            Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap(),
        ),
    ]);
    save_tensors(&folder.join("state.safetensors"), &state, "{\"step\":7}").unwrap();
}

#[test]
fn lying_lengths_and_huge_claims_are_refused() {
    let (header, data) = taken_apart();
    for claim in [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 40, (16 << 20) + 1] {
        let mut bytes = with_header(&header, &data);
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        refusal(&bytes);
    }
    let huge = r#"{"__metadata__":{"audiodiff":"{}"},"w":{"dtype":"F32","shape":[1099511627776,1048576],"data_offsets":[0,4]}}"#;
    refusal(&with_header(huge, &[0; 4]));
    let overflowing = r#"{"__metadata__":{"audiodiff":"{}"},"w":{"dtype":"F32","shape":[18446744073709551615,3],"data_offsets":[0,4]}}"#;
    refusal(&with_header(overflowing, &[0; 4]));
    let overlapping = r#"{"__metadata__":{"audiodiff":"{}"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    refusal(&with_header(overlapping, &[0; 4]));
}

#[test]
fn tensors_must_cover_the_data_once_and_have_one_name_each() {
    let file = |entries: &str, data: &[u8]| {
        let header = format!(r#"{{"__metadata__":{{"audiodiff":"{{}}"}},{entries}}}"#);
        refusal(&with_header(&header, data))
    };
    let entry = |name: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{from},{to}]}}"#)
    };
    let both = |a: String, b: String| format!("{a},{b}");
    let damaged = "a damaged safetensors file";
    for (entries, data) in [
        (both(entry("a", 0, 4), entry("b", 8, 12)), 12), // a gap
        (entry("a", 4, 8), 8),                           // a gap at the start
        (entry("a", 0, 4), 8),                           // bytes left over
        (entry("a", 0, 8), 8),                           // more bytes than the shape has
        (entry("a", 4, 0), 4),                           // backwards
        (entry("a", u64::MAX - 3, u64::MAX), 4),
        (both(entry("a", 0, 4), entry("a", 4, 8)), 8),
        (entry(&"a".repeat(300), 0, 4), 4),
        (
            r#""a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#.into(),
            4,
        ),
        (r#""a":[[]]"#.into(), 0),
    ] {
        let sentence = file(&entries, &vec![0; data]);
        assert!(sentence.contains(damaged), "{entries}: {sentence}");
    }
    let ones = "1,".repeat(100_000);
    let deep = format!(r#""a":{{"dtype":"F32","shape":[{ones}1],"data_offsets":[0,4]}}"#);
    assert!(file(&deep, &[0; 4]).contains("at most 8 dimensions, found 100001"));
}

#[test]
fn a_newer_format_is_recognised_by_its_version_alone() {
    let header = r#"{"__metadata__":{"audiodiff":"{\"format_version\":2,\"network\":\"new\"}"}}"#;
    assert!(refusal(&with_header(header, &[])).contains("newer audiodiff"));
}

#[cfg(unix)]
#[test]
fn a_file_of_another_kind_is_not_read_to_its_end() {
    // This one has none.
    let sentence = Checkpoint::load(Path::new("/dev/zero"))
        .expect_err("no model")
        .to_string();
    assert!(
        sentence.contains("expected an audiodiff model"),
        "{sentence}"
    );
}

#[test]
fn a_configuration_that_asks_for_too_much_is_refused() {
    let (header, data) = taken_apart();
    // The configuration is JSON inside JSON, so its quotes are escaped.
    let tamper = |from: &str, to: &str| {
        let (from, to) = (from.replace('"', "\\\""), to.replace('"', "\\\""));
        assert!(header.contains(&from), "{from} stands in {header}");
        refusal(&with_header(&header.replacen(&from, &to, 1), &data))
    };
    assert!(tamper("\"format_version\":1", "\"format_version\":9").contains("newer audiodiff"));
    assert!(
        tamper("\"len_frames\":64", "\"len_frames\":4611686018427387904").contains("too large")
    );
    assert!(tamper("\"len_frames\":64", "\"len_frames\":72").contains("multiple of 2"));
    // Within what a recording may last, but not within what attention over it would take.
    assert!(tamper("\"len_frames\":64", "\"len_frames\":1048576").contains("attention scores"));
    assert!(
        tamper("\"name\":\"victim\"", "\"name\":\"\\\\u001b[2J\"").contains("control characters")
    );
    assert!(tamper("\"scale\":[1.0", "\"scale\":[1e38").contains("1e12"));
    assert!(tamper("\"sample_rate\":8000", "\"sample_rate\":0").contains("found 0"));
    assert!(tamper("\"bins\":8", "\"bins\":1000000000").contains("found"));
    assert!(tamper("\"width\":8", "\"width\":4000000000").contains("found 4000000000"));
    assert!(
        tamper("\"embedding\":8", "\"embedding\":1099511627776").contains("found 1099511627776")
    );
    assert!(tamper("\"sigma_data\":1.0", "\"sigma_data\":0.0").contains("sigma_data"));
    // Attributes that no sound has would be played a million times as fast, or ask for endless memory.
    for pitch in ["1e-30", "-220.0", "0.0", "1e30"] {
        assert!(
            tamper("220.0", pitch).contains("measures of a sound"),
            "{pitch}"
        );
    }
    assert!(tamper("[0,[0.01", "[2,[0.01").contains("2 labels"));
    assert!(tamper("\"blocks\":1", "\"blocks\":2").contains("expected a tensor"));
    let beside = |field: &str| tamper("\"sigma_data\"", &format!("{field},\"sigma_data\""));
    assert!(beside("\"ends\":[0.5,0.5]").contains("one for each of 1 sounds, found 2"));
    assert!(beside("\"ends\":[-1.0]").contains("seconds, found -1"));
    let spectrum = |bands: &str, frequencies: &str, powers: &str| {
        beside(&format!(
            "\"modulation\":{{\"bands\":{bands},\"kappa\":0.1,\"frequencies\":{frequencies},\"log_powers\":{powers}}}"
        ))
    };
    let row = "[0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0]";
    assert!(spectrum("0", "[0.0]", &format!("[{row}]")).contains("blocks of 0 bands"));
    assert!(spectrum("3", "[0.0]", &format!("[{row}]")).contains("blocks of 3 bands"));
    assert!(spectrum("8", "[]", "[]").contains("1 to 100 frequencies"));
    assert!(spectrum("8", "[0.0]", "[[]]").contains("rows of 8 values, found 0"));
    assert!(spectrum("8", "[0.0]", &format!("[{row},{row}]")).contains("found 1 and 2"));
    assert!(spectrum("8", "[0.0,0.7]", &format!("[{row},{row}]")).contains("less than 0.5"));
    let loud = row.replacen("0.0", "1e30", 1);
    assert!(spectrum("8", "[0.0]", &format!("[{loud}]")).contains("logarithms of -40 to 40"));
    // A good one, for which the file has too few weights.
    let few = spectrum("8", "[0.0]", &format!("[{row}]"));
    assert!(few.contains("`out.bias`: expected shape [16]"), "{few}");
    assert!(tamper("\"labels\":[\"kick\",\"snare\"]", "\"labels\":[\"kick\"]").contains("classes"));
    assert!(tamper("\"target\":\"x\"", "\"target\":\"eps\"").contains("configuration"));
}

#[test]
fn wrong_tensors_are_named() {
    let tamper = |change: &dyn Fn(&mut Checkpoint)| {
        let mut model = model();
        change(&mut model);
        refusal(&model.to_bytes(StorageType::F32).unwrap())
    };
    let zeros =
        |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let missing = tamper(&|m| drop(m.weights.remove("out.bias")));
    assert!(missing.contains("`out.bias`"), "{missing}");
    let extra = tamper(&|m| drop(m.weights.insert("spare".into(), zeros(&[2]))));
    assert!(extra.contains("`spare`"), "{extra}");
    let shape = tamper(&|m| drop(m.weights.insert("out.bias".into(), zeros(&[3]))));
    assert!(
        shape.contains("`out.bias`") && shape.contains("[8]") && shape.contains("[3]"),
        "{shape}"
    );
    // No number like this is written, so it is smuggled in.
    let mut marked = model();
    let mark = Tensor::full(1234.5f32, 8, &Device::Cpu).unwrap();
    marked.weights.insert("out.bias".into(), mark);
    let mut bytes = marked.to_bytes(StorageType::F32).unwrap();
    let mark = bytes
        .windows(4)
        .position(|w| w == 1234.5f32.to_le_bytes())
        .unwrap();
    bytes[mark..mark + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let nan = refusal(&bytes);
    assert!(nan.contains("`out.bias`") && nan.contains("NaN"), "{nan}");
}

#[test]
fn other_kinds_of_files_are_called_by_their_names() {
    assert!(refusal(b"").contains("an empty file"));
    assert!(refusal(b"PK\x03\x04rest of an archive").contains("zip archive"));
    assert!(refusal(b"\x80\x02}q\x00.").contains("pickle"));
    assert!(refusal(b"RIFF\x24\x00\x00\x00WAVEfmt ").contains("a WAV file"));
    assert!(refusal(b"just some words, long enough to be a file").contains("text"));
    let foreign = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(refusal(&with_header(foreign, &[0; 4])).contains("another program"));
    let wrong_type = r#"{"__metadata__":{"audiodiff":"{}"},"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    assert!(refusal(&with_header(wrong_type, &[0; 8])).contains("I64"));
}
