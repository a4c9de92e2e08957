//! Dance Diffusion checkpoints: every form that people own reads as the same network, which says what the original
//! says. `tests/reference/dance.py` made the files and the answers.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use audiodiff::audio::{Clip, Level};
use audiodiff::checkpoint::{Checkpoint, StorageType};
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::{NoiseSchedule, Schedule};
use audiodiff::diffusion::{Preconditioned, Target};
use audiodiff::import::{Import, ImportSettings, load};
use audiodiff::network::{Conditioning, Network, Parameters};
use audiodiff::noise::Noise;
use audiodiff::render::{Init, RenderSettings, Renderer};
use candle_core::{Device, Result, Tensor};

mod corpus;
#[path = "reference/forms.rs"]
mod forms;

use forms::FORMS;

const CPU: Device = Device::Cpu;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/dance")
}

fn import(form: &str, sample_rate: Option<u32>) -> Import {
    let settings = ImportSettings {
        sample_rate,
        length: Some(24),
        name: Some("fixture".into()),
    };
    Import::open(&fixtures().join(form), &settings).expect(form)
}

fn answers() -> BTreeMap<String, Tensor> {
    let path = fixtures().join("answers.safetensors");
    let read = candle_core::safetensors::load(path, &CPU).expect("the answers");
    read.into_iter().collect()
}

/// Left and right `[B, 2, T]` to what our network sees, mid and side `[B, T, 2]`; the same the other way round.
fn turned(x: &Tensor) -> Result<Tensor> {
    let turn = Tensor::new(&[[1f32, 1.0], [1.0, -1.0]], &CPU)?;
    let turn = (turn * std::f64::consts::FRAC_1_SQRT_2)?;
    x.transpose(1, 2)?.contiguous()?.broadcast_matmul(&turn)
}

fn error(found: &Tensor, expected: &Tensor) -> Result<f32> {
    let largest = |x: &Tensor| x.abs()?.max_all()?.to_scalar::<f32>();
    Ok(largest(&(found - expected)?)? / largest(expected)?)
}

fn network(checkpoint: &Checkpoint) -> Preconditioned<Box<dyn Network>> {
    let config = &checkpoint.config;
    let mut weights = checkpoint.weights.clone();
    config.denoiser(&mut weights).expect("its weights")
}

#[test]
fn every_form_is_the_same_network_and_says_what_it_is() {
    let first = import(FORMS[0].0, FORMS[0].1)
        .checkpoint()
        .expect("a model");
    assert_eq!(first.config.target, Target::V);
    for (form, rate) in FORMS {
        let import = import(form, rate);
        let model = import.checkpoint().expect(form);
        assert_eq!(model.config.network, first.config.network, "{form}");
        assert_eq!(model.config.format.sample_rate, 44_100, "{form}");
        for (name, weight) in &first.weights {
            let difference = error(&model.weights[name], weight).expect("shapes agree");
            assert_eq!(difference, 0.0, "{form}: {name}");
        }
        let found: BTreeMap<_, _> = import.found.iter().cloned().collect();
        assert!(
            found["network"].contains("3 levels of 8 to 32 channels"),
            "{found:?}"
        );
    }
    let rate = import("trimmed.ckpt", Some(48_000));
    assert_eq!(rate.config().format.sample_rate, 48_000);
    // Times are spread evenly where the trainer did so.
    let schedule = |form| {
        import(form, None)
            .config()
            .rendering
            .as_ref()
            .map(|r| r.schedule)
    };
    assert_eq!(
        schedule("unwrapped/tools.safetensors"),
        Some(Schedule::Linear)
    );
    assert_eq!(schedule("folder"), Some(Schedule::Crash));
}

#[test]
fn a_folder_is_read_as_the_one_checkpoint_in_it() {
    for (folder, file) in [
        ("wrapped", "tools.ckpt"),
        ("unwrapped", "tools.safetensors"),
    ] {
        let settings = ImportSettings::default();
        let of_folder = Import::open(&fixtures().join(folder), &settings).expect(folder);
        let of_file = Import::open(&fixtures().join(folder).join(file), &settings).expect(file);
        assert_eq!(of_folder.config().name, folder);
        assert_eq!(of_folder.config().rendering, of_file.config().rendering);
        assert_eq!(of_folder.config().format, of_file.config().format);
        assert_eq!(of_folder.config().network, of_file.config().network);
        let loaded = audiodiff::import::load(&fixtures().join(folder)).expect(folder);
        assert_eq!(loaded.config.network, of_file.config().network);
    }
    // Several are named; of the usual two one is taken; none is said.
    let made = tempfile::tempdir().expect("a folder");
    let refusal = || {
        let refused = Import::open(made.path(), &ImportSettings::default());
        refused.expect_err("no model").to_string()
    };
    assert!(
        refusal().contains("with a checkpoint (.ckpt, .safetensors, .pt)"),
        "{}",
        refusal()
    );
    for name in ["a.ckpt", "b.ckpt"] {
        std::fs::copy(
            fixtures().join("wrapped/tools.ckpt"),
            made.path().join(name),
        )
        .expect(name);
    }
    assert!(
        refusal().contains("found 2, such as a.ckpt, b.ckpt"),
        "{}",
        refusal()
    );
    let (config, usual) = ("model_config.json", "model.ckpt");
    std::fs::copy(
        fixtures().join("wrapped").join(config),
        made.path().join(config),
    )
    .expect(config);
    std::fs::copy(
        fixtures().join("wrapped/tools.ckpt"),
        made.path().join(usual),
    )
    .expect(usual);
    Import::open(made.path(), &ImportSettings::default()).expect("the usual one");
}

#[test]
fn what_is_written_is_what_was_read_and_half_as_long_in_16_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let import = import("lightning.ckpt", None);
    let model = import.checkpoint().expect("a model");
    for precision in [StorageType::F32, StorageType::F16] {
        let path = folder.path().join("model.safetensors");
        let mut told = Vec::new();
        let saved = import.save(&path, precision, &mut |done, all| told.push((done, all)));
        saved.expect("written");
        let all = model.weights.len();
        assert_eq!(told, (1..=all).map(|i| (i, all)).collect::<Vec<_>>());
        assert_eq!(
            fs::read(&path).expect("the file"),
            model.to_bytes(precision).expect("bytes")
        );
        let read = Checkpoint::load(&path).expect("one of ours");
        assert_eq!(read.config, model.config);
    }
}

#[test]
fn forward_passes_and_gradients_are_the_originals() -> Result<()> {
    let (answers, model) = (
        answers(),
        import("folder", None).checkpoint().expect("a model"),
    );
    let parameters = Parameters::from_weights(&model.weights, &CPU).expect("weights");
    let config = &model.config;
    let network = config.network.build(config.dims(), &mut &parameters);
    let network = network.expect("a network");
    // c_noise is ln(sigma)/4, sigma = tan(π t / 2).
    let t = answers["t"].to_vec1::<f32>()?;
    let c_noise = |t: &f32| ((f64::from(*t) * std::f64::consts::FRAC_PI_2).tan().ln() / 4.0) as f32;
    let c_noise: Vec<f32> = t.iter().map(c_noise).collect();
    let cond = Conditioning::new(&[None; 2], &[], &CPU).expect("nothing");
    let x = turned(&answers["x"])?;
    let v = network
        .forward(&x, &Tensor::new(c_noise, &CPU)?, &cond)
        .expect("frames");
    let expected = turned(&answers["v"])?;
    assert!(error(&v, &expected)? < 1e-4, "{}", error(&v, &expected)?);

    let gradients = (v * turned(&answers["probe"])?)?.sum_all()?.backward()?;
    let of = |name: &str| {
        let (_, var) = parameters
            .iter()
            .find(|(own, _)| *own == name)
            .expect("a parameter");
        gradients.get(var).expect("tracked").clone()
    };
    let answer = |name: &str| answers[&format!("gradient.{name}")].clone();
    let close = |what: &str, found: Tensor, expected: Tensor| -> Result<()> {
        let error = error(&found, &expected)?;
        assert!(error < 1e-3, "the gradient of {what} is {error} off");
        Ok(())
    };
    // [Co, Ci, K] to [K·Ci, Co].
    let matrix = |x: &Tensor| -> Result<Tensor> {
        let (co, ci, k) = x.dims3()?;
        x.permute((2, 1, 0))?.contiguous()?.reshape((k * ci, co))
    };
    let first = answer("net.0.main.0.weight");
    let sides = first.narrow(1, 0, 2)?.transpose(1, 2)?.contiguous()?;
    let turn = Tensor::new(&[[1f32, 1.0], [1.0, -1.0]], &CPU)?;
    let sides = sides.broadcast_matmul(&(turn * std::f64::consts::FRAC_1_SQRT_2)?)?;
    let first = Tensor::cat(&[&sides.transpose(1, 2)?, &first.narrow(1, 2, 16)?], 1)?;
    close(
        "the first",
        of("down.0.0.block.conv1.weight"),
        matrix(&first)?,
    )?;
    let joined = answer("net.3.main.8.main.0.weight");
    let half = joined.dims()[1] / 2;
    for (i, name) in ["deep", "across"].into_iter().enumerate() {
        let part = joined.narrow(1, i * half, half)?;
        let name = format!("up.1.0.block.conv1.{name}");
        close(&name, of(&name), matrix(&part)?)?;
    }
    let qkv = answer("net.3.main.7.main.2.qkv_proj.weight");
    close(
        "attention",
        of("down.2.0.attention.qkv.weight"),
        matrix(&qkv)?,
    )?;
    let gain = of("up.2.2.attention.norm.affine").get(0)?;
    close("a norm", gain, answer("net.3.main.7.main.13.norm.weight"))
}

#[test]
fn samplings_end_where_the_originals_do() -> Result<()> {
    let answers = answers();
    let model = import("folder", None).checkpoint().expect("a model");
    let denoiser = network(&model);
    let schedule = NoiseSchedule {
        kind: Schedule::Crash,
        sigma_min: 0.01,
        sigma_max: 100.0,
    };
    let times = answers["times"].to_vec1::<f32>()?;
    let steps = times.len() - 1;
    let sigmas = schedule.sigmas(steps).expect("noise levels");
    for (sigma, time) in sigmas.iter().zip(&times) {
        let own = sigma.atan() * std::f64::consts::FRAC_2_PI;
        assert!((own - f64::from(*time)).abs() < 1e-6, "{own} {time}");
    }
    let cond = Conditioning::new(&[None; 2], &[], &CPU).expect("nothing");
    let sample = |sampler: &str| {
        let x = (turned(&answers["x"])? * sigmas[0])?;
        let sampler: Sampler = sampler.parse().expect("its name");
        let end = sampler.run(&denoiser, &cond, x, &sigmas, &mut [], &mut |_| {
            ControlFlow::Continue(())
        });
        Result::Ok(end.expect("a sampling"))
    };
    for (sampler, answer) in [("v-ddim", "ddim"), ("iplms-reference", "ipndm")] {
        let error = error(&sample(sampler)?, &turned(&answers[answer])?)?;
        assert!(error < 1e-3, "{sampler}: {error}");
    }
    // Done right, the first step knows what pure noise hides.
    assert!(error(&sample("iplms")?, &turned(&answers["ipndm"])?)? > 1e-2);
    Ok(())
}

#[test]
fn an_imported_model_renders_at_any_length() {
    let model = load(&fixtures().join("folder")).expect("a model");
    let renderer = Renderer::new(&model, &CPU).expect("a renderer");
    let settings = RenderSettings {
        steps: 3,
        seconds: Some(0.01),
        ..RenderSettings::of(&model.config)
    };
    let clip = renderer.render(&settings, 1).expect("a sound").clip;
    assert_eq!((clip.channels().len(), clip.len_frames()), (2, 441));
    assert!(clip.is_finite() && clip.peak() > 0.0);
}

#[test]
fn sounds_are_varied_joined_and_completed_by_an_imported_model() {
    let model = load(&fixtures().join("folder")).expect("a model");
    let renderer = Renderer::new(&model, &CPU).expect("a renderer");
    let settings = |init| RenderSettings {
        steps: 20,
        init,
        level: Level::Raw,
        ..RenderSettings::of(&model.config)
    };
    let mut noise = Noise::new(4);
    let mut sound = || {
        let channels = (0..2).map(|_| noise.normals(24).iter().map(|x| 0.2 * x).collect());
        let mut clip = Clip::new(44_100, channels.collect());
        clip.scale(0.95 / clip.peak());
        clip
    };
    let (first, second) = (sound(), sound());
    let distance = |a: &Clip, b: &Clip, frames: std::ops::Range<usize>| {
        let pairs = a.channels().iter().zip(b.channels());
        let each = pairs.flat_map(|(a, b)| a[frames.clone()].iter().zip(&b[frames.clone()]));
        each.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
    };
    let made = |init, seed| {
        renderer
            .render(&settings(Some(init)), seed)
            .expect("a sound")
            .clip
    };
    // A variation is near when it is slight, and far when it is not.
    let [near, far] = [0.0, 1.0].map(|strength| {
        let clip = first.clone();
        distance(&made(Init::Vary { clip, strength }, 1), &first, 0..24)
    });
    assert!(near < 0.1 && far > 0.3, "{near} {far}");
    // The ends of a morph are its sounds.
    let morph = |fraction| {
        let clips = [first.clone(), second.clone()];
        made(Init::Morph { clips, fraction }, 1)
    };
    let ends = [
        distance(&morph(0.0), &first, 0..24),
        distance(&morph(1.0), &second, 0..24),
        distance(&morph(0.0), &second, 0..24),
    ];
    assert!(ends[0] < 0.2 && ends[1] < 0.2 && ends[2] > 0.5, "{ends:?}");
    // The kept part stays as it was but for rounding, the rest is each seed's own.
    let kept = |seed| {
        let (clip, kept) = (first.clone(), vec![(0.0, 12.0 / 44_100.0)]);
        let strength = 1.0;
        made(
            Init::Inpaint {
                clip,
                kept,
                strength,
            },
            seed,
        )
    };
    let (one, other) = (kept(1), kept(2));
    assert!(distance(&one, &first, 0..12) < 1e-5);
    assert!(distance(&other, &first, 0..12) < 1e-5);
    assert!(distance(&one, &other, 12..24) > 0.05);
}

#[test]
fn parts_to_keep_that_make_no_sense_are_refused() {
    let model = load(&fixtures().join("folder")).expect("a model");
    let renderer = Renderer::new(&model, &CPU).expect("a renderer");
    let clip = Clip::new(44_100, vec![vec![0.5; 24]; 2]);
    for kept in [
        vec![(0.1, 0.1)],
        vec![(-1.0, 1e-4)],
        vec![(0.0, 1.0)],
        vec![(0.0, 1e-6)],
        vec![(9.0, 10.0)],
    ] {
        let init = Init::Inpaint {
            clip: clip.clone(),
            kept,
            strength: 1.0,
        };
        let settings = RenderSettings {
            steps: 2,
            init: Some(init),
            ..RenderSettings::of(&model.config)
        };
        let error = renderer.render(&settings, 1);
        let error = error.expect_err("no such part").to_string();
        assert!(error.contains("what to keep"), "{error}");
    }
}

/// The error of `load` for a file with these bytes.
fn complaint(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    let settings = ImportSettings {
        sample_rate: Some(44_100),
        length: Some(24),
        ..ImportSettings::default()
    };
    let import = Import::open(&path, &settings).and_then(|import| import.checkpoint());
    import.expect_err(name).to_string()
}

#[test]
fn wrong_files_are_told_what_they_are() {
    let good = fs::read(fixtures().join("trimmed.ckpt")).expect("a fixture");
    // Cut anywhere, a file is an error and nothing worse.
    for fraction in [1, 10, 50, 90, 99] {
        let error = complaint("cut.ckpt", &good[..good.len() * fraction / 100]);
        assert!(error.contains("cut.ckpt"), "{error}");
    }
    assert!(complaint("cut.ckpt", &good[..good.len() / 2]).contains("not complete"));
    assert!(complaint("old.ckpt", b"\x80\x02}q\x00.").contains("PyTorch 1.6"));
    let safetensors = |header: &str, data: &[u8]| {
        let len = (header.len() as u64).to_le_bytes();
        [&len, header.as_bytes(), data].concat()
    };
    let tensor = |name: &str| {
        let header =
            format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}");
        safetensors(&header, &[0; 4])
    };
    let image = complaint(
        "sd.safetensors",
        &tensor("model.diffusion_model.out.weight"),
    );
    assert!(image.contains("Stable Diffusion"), "{image}");
    let missing = complaint(
        "part.safetensors",
        &tensor("diffusion_ema.net.0.main.0.weight"),
    );
    assert!(missing.contains("expected"), "{missing}");
    // A pickle that remembers one value again with each byte: memory would be many times its size.
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive
        .start_file("bomb/data.pkl", options)
        .expect("an entry");
    let bomb = [&b"\x80\x04N"[..], &[0x94; 2 << 20], b"."].concat();
    std::io::Write::write_all(&mut archive, &bomb).expect("written");
    let bomb = archive.finish().expect("an archive").into_inner();
    let bomb = complaint("bomb.ckpt", &bomb);
    assert!(bomb.contains("at most 1048576 remembered"), "{bomb}");
    // The right names in another shape: a layer that another layer's place does not fit.
    let flat = fs::read(fixtures().join("unwrapped/tools.safetensors")).expect("a fixture");
    let end = 8 + u64::from_le_bytes(flat[..8].try_into().expect("eight")) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&flat[8..end]).expect("a header");
    let name = "model.net.3.main.1.main.3.weight";
    let [to, from, kernel] = [0, 1, 2].map(|i| header[name]["shape"][i].clone());
    header[name]["shape"] = vec![to.clone(), kernel.clone(), from.clone()].into();
    let with = |header: serde_json::Value| {
        let bytes = safetensors(&header.to_string(), &flat[end..]);
        complaint("turned.safetensors", &bytes)
    };
    let turned = with(header.clone());
    let expected = format!(
        "expected a tensor `{name}` of shape [{to}, {from}, {kernel}], found one of [{to}, {kernel}, {from}]"
    );
    assert!(turned.contains(&expected), "{turned}");
    // Another network than it seems: stable-audio-tools can train one with other activations.
    header[name]["shape"] = vec![to, from, kernel].into();
    let snake = "model.net.3.main.1.main.2.alpha";
    header[snake] = serde_json::json!({"dtype": "F16", "shape": [8], "data_offsets": [0, 16]});
    let variant = with(header);
    assert!(
        variant.contains(&format!("no tensor `{snake}`")),
        "{variant}"
    );
}

/// A file such as PyTorch writes: this pickle, and 64 bytes of numbers.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 64])] {
        archive.start_file(name, stored).expect("an entry");
        std::io::Write::write_all(&mut archive, bytes).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

#[test]
fn damaged_files_give_a_model_or_an_error_that_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.ckpt");
    let settings = ImportSettings {
        sample_rate: Some(44_100),
        length: Some(24),
        ..ImportSettings::default()
    };
    let read = |which: &str, bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        let import = Import::open(&path, &settings).and_then(|import| import.checkpoint());
        let said = import.err().map(|error| error.to_string());
        if let Some(said) = &said {
            assert!(said.contains("damaged.ckpt"), "{which}: {said}");
        }
        said
    };
    corpus::try_all("pickle", 300, |which, pickle, whole| {
        let said = read(which, &archive(pickle)).unwrap_or_default();
        let read_whole = !said.contains("pickle");
        assert!(read_whole || !whole, "{which}: {said}");
    });
    let good = fs::read(fixtures().join("trimmed.ckpt")).expect("a fixture");
    for round in 0..100 {
        let mut noise = Noise::at(3, &[round]);
        let mut bytes = good.clone();
        // The archive's directory is its end.
        let end = bytes.split_off(good.len() - if round % 2 == 0 { 2000 } else { good.len() });
        bytes.extend(corpus::damaged(&end, &end, &mut noise));
        read(&format!("trimmed.ckpt, round {round}"), &bytes);
    }
}

/// Writes `tests/corpus/pickle` anew.
#[test]
#[ignore = "writes files into the source tree"]
fn corpus_is_written() {
    let text = |text: &str| {
        let len = (text.len() as u32).to_le_bytes();
        [b"X", &len[..], text.as_bytes()].concat()
    };
    // A tensor of 2 × 3 numbers, six of those in the storage 0.
    let tensor = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x10tQK\x04K\x02K\x03\x86K\x03K\x01\x86\x89}tR".to_vec(),
    ]
    .concat();
    let state = [
        b"\x80\x02}(".to_vec(),
        text("state_dict"),
        b"}(".to_vec(),
        text("diffusion_ema.net.0.main.0.weight"),
        tensor,
        b"u".to_vec(),
        text("hyper_parameters"),
        b"}(".to_vec(),
        text("sample_rate"),
        b"J\x44\xac\0\0".to_vec(),
        text("rate"),
        b"G\x40\x04\0\0\0\0\0\0uu.".to_vec(),
    ]
    .concat();
    let files = [
        ("state.pkl", &state[..]),
        (
            "protocol0.pkl",
            b"(dp0\nVa\np1\nVb\np2\nsVn\np3\n(lp4\nI1\naF2.5\naL7L\nag1\nas.",
        ),
        (
            "protocol4.pkl",
            b"\x80\x04\x95\x1e\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94\x8c\x01b\x94\x8c\x01n\x94]\x94(\x8a\x01\x01G\x40\x04\0\0\0\0\0\0eu.",
        ),
        (
            "objects.pkl",
            b"\x80\x02cmine\nAttributeDict\n)\x81}(U\x01aU\x01bub(U\x01kU\x01vu.",
        ),
        ("refers_to_itself.pkl", b"\x80\x02]q\0(h\0h\0h\0e."),
    ];
    fs::create_dir_all(corpus::folder("pickle")).expect("a folder");
    for (name, bytes) in files {
        fs::write(corpus::folder("pickle").join(name), bytes).expect("a file");
    }
}
