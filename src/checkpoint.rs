//! One safetensors file is one model: weights, and everything needed to render with them.
//!
//! The file's metadata holds a single key, `audiodiff`, with the [`ModelConfig`] as JSON. Reading
//! trusts nothing: every length is checked against the bytes at hand before memory is taken for it,
//! every tensor against the shape that the configuration implies, every number for being one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::file::write_whole_by;

mod config;
mod safetensors;

pub(crate) use config::FEW_STEPS;
pub use config::{
    Excess, FORMAT_VERSION, MAX_ATTRIBUTES, ModelConfig, Rendering, TrainingRecord, TrainingTotals,
};
pub(crate) use safetensors::{
    Header, KEY, decode_floats, float_width, foreign_content, header_len, tensor_bytes, tensors_of,
    write_tensors,
};
pub use safetensors::{StorageType, load_tensors, save_tensors};

use config::{Version, check_version};
use safetensors::{parse, read, write_all_tensors};

/// A model: its configuration and its weights, in f32 on the CPU.
///
/// ```
/// # #[cfg(feature = "embedded-model")] {
/// use audiodiff::Checkpoint;
/// use audiodiff::checkpoint::StorageType;
///
/// let model = Checkpoint::embedded()?;
/// let folder = tempfile::tempdir().expect("a temporary folder");
/// let path = folder.path().join("drums.safetensors");
/// model.save(&path, StorageType::F16)?;
/// let loaded = Checkpoint::load(&path)?;
/// assert_eq!(loaded.config, model.config);
/// assert_eq!(loaded.config.format.sample_rate, 44_100);
/// # }
/// # Ok::<(), audiodiff::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Everything but the weights.
    pub config: ModelConfig,
    /// Weights by name.
    pub weights: BTreeMap<String, Tensor>,
}

/// Names in a configuration's JSON, and what the first edition wrote. Inside a string a quote is escaped, so that no
/// text of a person's is taken for a name.
const FIRST_NAMES: [(&str, &str); 4] = [
    ("\"attributes\":", "\"portraits\":"),
    ("\"clips\":", "\"windows\":"),
    ("\"fine_tuned_from\":", "\"tuned_from\":"),
    ("\"schedule\":\"consistency\"", "\"schedule\":\"few\""),
];

impl Checkpoint {
    /// Reads and checks a model.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, else [`Error::Checkpoint`] that tells what the file
    /// is or what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_bytes(&read(path)?, path)
    }

    /// [`Checkpoint::load`] from memory; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn from_bytes(bytes: &[u8], name: &Path) -> Result<Self> {
        let named = |error: Error| match error {
            Error::Setting(_) | Error::Shape { .. } => Error::checkpoint(name, error.to_string()),
            other => other,
        };
        let (weights, config) = parse(bytes, name)?;
        let obscure = |e: serde_json::Error| {
            Error::checkpoint(name, format!("its configuration cannot be understood: {e}"))
        };
        // The version first: a newer file may say things for which this build has no words.
        let version: Version = serde_json::from_str(&config).map_err(obscure)?;
        check_version(version.format_version).map_err(named)?;
        let config: ModelConfig = serde_json::from_str(&config).map_err(obscure)?;
        config.validate().map_err(named)?;
        let expected = config
            .network
            .parameter_shapes(config.dims())
            .map_err(named)?;
        for (parameter, shape) in &expected {
            let Some(tensor) = weights.get(parameter) else {
                return Err(Error::checkpoint(
                    name,
                    format!("expected a tensor `{parameter}`, found none"),
                ));
            };
            if tensor.dims() != shape {
                let found = tensor.dims();
                let reason =
                    format!("tensor `{parameter}`: expected shape {shape:?}, found {found:?}");
                return Err(Error::checkpoint(name, reason));
            }
        }
        if let Some(extra) = weights.keys().find(|key| !expected.contains_key(*key)) {
            let reason = format!("expected only the network's tensors, found `{extra}` too");
            return Err(Error::checkpoint(name, reason));
        }
        Ok(Self { config, weights })
    }

    /// The model that ships inside the library: drums, percussion, bass and effects.
    ///
    /// # Errors
    /// None for the bytes that a release was built with; a build around other bytes reports what is wrong with them.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Self> {
        Self::from_bytes(audiodiff_drums::BYTES, Path::new("built-in model"))
    }

    /// [`Checkpoint::embedded`], where this build has it.
    ///
    /// # Errors
    /// As there.
    pub fn built_in() -> Result<Option<Self>> {
        #[cfg(feature = "embedded-model")]
        return Self::embedded().map(Some);
        #[cfg(not(feature = "embedded-model"))]
        Ok(None)
    }

    /// Writes the model; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Setting`] for a configuration or weights that could not be read back:
    /// not finite, or beyond 65504 in half precision.
    pub fn save(&self, path: &Path, precision: StorageType) -> Result<()> {
        write_whole_by(path, |out| self.write_to(out, precision))
    }

    /// Stands for the model, its name and training record included: a hash in hexadecimal digits.
    ///
    /// Run folders name the model that they began from by it, so it does not follow the names of fields: those of the
    /// first edition are hashed.
    ///
    /// # Errors
    /// As [`Checkpoint::save`].
    pub fn fingerprint(&self) -> Result<String> {
        let mut config = self.config_text()?;
        for (name, first) in FIRST_NAMES {
            config = config.replace(name, first);
        }
        let mut hasher = blake3::Hasher::new();
        write_all_tensors(&mut hasher, &self.weights, &config, StorageType::F32)?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// The model's file as bytes; the same model gives the same bytes.
    ///
    /// # Errors
    /// As [`Checkpoint::save`], files apart.
    pub fn to_bytes(&self, precision: StorageType) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, precision)?;
        Ok(bytes)
    }

    fn write_to(&self, out: &mut dyn Write, precision: StorageType) -> Result<()> {
        write_all_tensors(out, &self.weights, &self.config_text()?, precision)
    }

    fn config_text(&self) -> Result<String> {
        self.config.validate()?;
        Ok(serde_json::to_string(&self.config).expect("the configuration is plain data"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attributes::AttributeKnots;
    use crate::diffusion::Target;
    use crate::network::{NetworkConfig, Resolution, UNetConfig};
    use crate::noise::Noise;
    use crate::representation::{Crop, Format, MdctConfig, RepresentationConfig, Statistics};
    use candle_core::Device;

    /// A complete, very small model.
    pub(crate) fn small() -> Checkpoint {
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
            name: "small".into(),
            format: Format {
                sample_rate: 8000,
                channels: 1,
                len_frames: 64,
            },
            crop: Some(Crop::Onset),
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
            attributes: Vec::new(),
            attribute_knots: AttributeKnots::default(),
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
            .init(config.dims(), &mut Noise::new(1), &Device::Cpu);
        let weights = parameters
            .and_then(|p| p.snapshot())
            .expect("a valid network");
        Checkpoint { config, weights }
    }

    fn values(checkpoint: &Checkpoint) -> Vec<u32> {
        let flat = |t: &Tensor| {
            t.flatten_all()
                .and_then(|t| t.to_vec1::<f32>())
                .expect("f32 weights")
        };
        checkpoint
            .weights
            .values()
            .flat_map(flat)
            .map(f32::to_bits)
            .collect()
    }

    #[test]
    fn saved_and_loaded_models_agree_to_the_bit() -> Result<()> {
        let model = small();
        let folder = tempfile::tempdir().map_err(Error::io("tmp"))?;
        let path = folder.path().join("model.safetensors");
        model.save(&path, StorageType::F32)?;
        let loaded = Checkpoint::load(&path)?;
        assert_eq!(loaded.config, model.config);
        assert_eq!(values(&loaded), values(&model));
        assert_eq!(
            loaded.to_bytes(StorageType::F32)?,
            model.to_bytes(StorageType::F32)?
        );
        Ok(())
    }

    #[test]
    fn half_precision_rounds_to_nearest() -> Result<()> {
        let model = small();
        let loaded = Checkpoint::from_bytes(&model.to_bytes(StorageType::F16)?, Path::new("half"))?;
        for (a, b) in values(&model).into_iter().zip(values(&loaded)) {
            let (a, b) = (f32::from_bits(a), f32::from_bits(b));
            assert!((a - b).abs() <= a.abs() / 2048.0 + 3e-8, "{a} became {b}");
        }
        Ok(())
    }

    #[test]
    fn a_file_with_the_names_of_the_first_edition_is_the_same_model_with_the_same_fingerprint()
    -> Result<()> {
        let mut model = small();
        model.config.attributes = vec![(Some(1), Default::default())];
        model.config.training.clips = 7;
        model.config.training.fine_tuned_from = Some("\"clips\":".into());
        let mut config = serde_json::to_string(&model.config).expect("plain data");
        let fingerprint = model.fingerprint()?;
        for (name, first) in &FIRST_NAMES[..3] {
            assert_eq!(config.matches(name).count(), 1, "{name}");
            config = config.replace(name, first);
        }
        let read: ModelConfig =
            serde_json::from_str(&config).expect("names that were written once");
        assert_eq!(read, model.config);
        let mut first = Vec::new();
        write_all_tensors(&mut first, &model.weights, &config, StorageType::F32)?;
        assert_eq!(
            blake3::hash(&first).to_hex().as_str(),
            fingerprint,
            "that of the file as it was written"
        );
        Ok(())
    }

    #[test]
    fn weights_that_could_not_be_read_back_leave_the_old_file_alone() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("tmp"))?;
        let path = folder.path().join("model.safetensors");
        let mut model = small();
        model.save(&path, StorageType::F16)?;
        let old = std::fs::read(&path).map_err(Error::io(&path))?;
        for (value, precision) in [
            (1e5, StorageType::F16),
            (f32::NAN, StorageType::F16),
            (f32::INFINITY, StorageType::F32),
        ] {
            let bias = Tensor::full(value, 8, &Device::Cpu)?;
            model.weights.insert("out.bias".into(), bias);
            let sentence = model
                .save(&path, precision)
                .expect_err("bad weights")
                .to_string();
            assert!(sentence.contains("`out.bias`"), "{sentence}");
            assert_eq!(std::fs::read(&path).map_err(Error::io(&path))?, old);
        }
        Ok(())
    }

    #[test]
    fn the_file_is_what_the_safetensors_crate_reads() -> Result<()> {
        let model = small();
        let bytes = model.to_bytes(StorageType::F32)?;
        let file = ::safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
        assert_eq!(file.len(), model.weights.len());
        for (name, tensor) in &model.weights {
            assert_eq!(file.tensor(name).expect("a tensor").shape(), tensor.dims());
        }
        Ok(())
    }

    #[test]
    fn an_unknown_class_lists_the_known_ones() {
        let config = small().config;
        assert_eq!(config.class("snare").expect("a class"), 1);
        assert!(
            config
                .class("gong")
                .expect_err("no such class")
                .to_string()
                .contains("kick, snare")
        );
    }
}
