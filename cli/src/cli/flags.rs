//! Flags that several verbs share, and how their values are read.

use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::panic::UnwindSafe;
use std::str::FromStr;

use anyhow::Context;
use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{Crop, Labels, ScanOptions};
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::network::ComputeType;
use audiodiff::render::{RenderSettings, Renderer};
use candle_core::Device;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::usage;

/// How the sounds of a folder are labelled, and which of them are used.
#[derive(Args)]
pub struct LabelArgs {
    /// Where classes come from: `folders`, the first level of them; `innermost`, the folder that a file lies in;
    /// `kinds`, what the innermost folder or else the file's name tells in common words (Kicks, BD and Bombo are kick);
    /// `names`, those of files without their numbers; `none`; a CSV file with the columns path and label; or `auto`,
    /// which takes the first level of folders unless that has the names of packs or there is none, and the names below
    /// tell kinds
    #[arg(
        long, default_value = "auto", value_name = "SOURCE",
        value_parser = OsStringValueParser::new().map(labels)
    )]
    labels: Labels,
    /// Use only these classes; may be given again, also for a class with a comma in its name
    #[arg(
        long, value_name = "CLASS,…",
        value_parser = OsStringValueParser::new().map(|class| class.to_string_lossy().into_owned())
    )]
    include: Vec<String>,
}

impl LabelArgs {
    /// A scan of these sounds.
    pub fn scan_options(&self) -> ScanOptions {
        ScanOptions {
            labels: self.labels.clone(),
            include: self.include.clone(),
            ..ScanOptions::default()
        }
    }
}

fn labels(source: OsString) -> Labels {
    let named = [
        Labels::Auto,
        Labels::Folders,
        Labels::Innermost,
        Labels::Kinds,
        Labels::Names,
        Labels::None,
    ];
    let known = named.into_iter().find(|known| source == known.name());
    known.unwrap_or_else(|| Labels::Manifest(source.into()))
}

/// Where a clip begins in its sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CropChoice {
    /// One-shots: at the onset; a recording of more than 30 s is cut at its onsets
    Onset,
    /// Loops and textures
    Anywhere,
}

impl From<CropChoice> for Crop {
    fn from(choice: CropChoice) -> Self {
        match choice {
            CropChoice::Onset => Self::Onset,
            CropChoice::Anywhere => Self::Anywhere,
        }
    }
}

/// How noise becomes a sound.
#[derive(Args)]
pub struct SamplingArgs {
    /// Steps from noise to sound, slower in proportion; a distilled model needs 4, a morph takes 10 at least
    /// [default: the model's, else 16]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// The sampler: euler, heun, ddim, ancestral, dpmpp-2m, dpmpp-2m-sde, ipndm, iplms-reference or consistency; also
    /// v-ddim, v-ddpm and iplms, as Dance Diffusion calls three of them [default: the model's, else dpmpp-2m]
    #[arg(long)]
    sampler: Option<Sampler>,
    /// The noise schedule, how the steps are spread: karras, karras:RHO, logsnr, consistency, crash or linear
    /// [default: the model's, else logsnr]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// Guidance scale, how strongly to insist on the class: 1 does not, 2 is strict [default: the model's, else 1.5]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
}

impl SamplingArgs {
    /// Changes what a flag says.
    pub fn apply(&self, settings: &mut RenderSettings) {
        settings.steps = self.steps.unwrap_or(settings.steps);
        settings.sampler = self.sampler.unwrap_or(settings.sampler);
        settings.schedule = self.schedule.unwrap_or(settings.schedule);
        settings.guidance = self.guidance.unwrap_or(settings.guidance);
    }
}

/// Where to compute, and with how many digits.
#[derive(Args)]
pub struct ComputeArgs {
    /// Where to compute
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// Precision of the products
    #[arg(long, default_value = "auto")]
    pub precision: PrecisionChoice,
}

impl ComputeArgs {
    /// The model's renderer, where and as precise as the flags say, on the `nth` of several GPUs.
    pub fn renderer(&self, model: &Checkpoint, nth: usize) -> anyhow::Result<Renderer> {
        let device = self.device.open(nth)?;
        let mut renderer = Renderer::new(model, &device)?;
        renderer
            .engine()
            .set_compute_type(self.precision.on(&device));
        Ok(renderer)
    }
}

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A GPU if this build supports one and there is one, else the CPU
    Auto,
    /// The CPU
    Cpu,
    /// An NVIDIA GPU (needs a build with the `cuda` feature)
    Cuda,
    /// An Apple GPU (needs a build with the `metal` feature)
    Metal,
}

impl DeviceChoice {
    /// The `nth` of several GPUs, counted on from the first again where there are fewer.
    pub fn open(self, nth: usize) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => gpu("cuda", cfg!(feature = "cuda"), || cuda(nth)),
            Self::Metal => gpu("metal", cfg!(feature = "metal"), || Device::new_metal(0)),
            Self::Auto => {
                let found = [Self::Cuda, Self::Metal]
                    .into_iter()
                    .find_map(|choice| choice.open(nth).ok());
                Ok(found.unwrap_or(Device::Cpu))
            }
        }
    }
}

/// The `nth` of NVIDIA's GPUs.
#[cfg(feature = "cuda")]
fn cuda(nth: usize) -> candle_core::Result<Device> {
    audiodiff::cuda::device(nth % audiodiff::cuda::count())
}

#[cfg(not(feature = "cuda"))]
fn cuda(nth: usize) -> candle_core::Result<Device> {
    Device::new_cuda(nth)
}

/// Opens a GPU. A driver library that is missing makes candle panic: that too becomes an error here.
fn gpu(
    name: &str,
    built: bool,
    open: impl FnOnce() -> candle_core::Result<Device> + UnwindSafe,
) -> anyhow::Result<Device> {
    if !built {
        return Err(usage(format!(
            "--device {name}: this build lacks the `{name}` feature"
        )));
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(open);
    std::panic::set_hook(hook);
    match opened {
        Ok(device) => device.with_context(|| format!("--device {name}")),
        Err(_) => anyhow::bail!("--device {name}: its driver library cannot be loaded"),
    }
}

/// The digits that products are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// bf16 on an NVIDIA GPU, and where the processor has instructions for it (AVX512-BF16), else f32
    Auto,
    /// 24 binary digits
    F32,
    /// 8 binary digits in products, 24 in sums and weights
    Bf16,
}

impl PrecisionChoice {
    /// What it means there.
    pub fn on(self, device: &Device) -> ComputeType {
        match self {
            Self::Auto => ComputeType::fastest(device),
            Self::F32 => ComputeType::F32,
            Self::Bf16 => ComputeType::Bf16,
        }
    }
}

/// Reads a number that must lie in `range`; clap says which flag it was and what was found.
pub fn within<T: FromStr + PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone
where
    RangeInclusive<T>: Clone,
{
    move |text| {
        let (low, high) = (range.start(), range.end());
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.ok_or_else(|| format!("expected {low} to {high}"))
    }
}

/// Reads a number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|&value| value > 0.0);
    value.ok_or_else(|| "expected more than 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_within_their_range_ends_included() {
        let level = within(-96.0f32..=0.0);
        assert_eq!(level("-96"), Ok(-96.0));
        assert_eq!(level("0"), Ok(0.0));
        for out in ["0.1", "-97", "nan", "inf", "loud"] {
            assert_eq!(level(out), Err("expected -96 to 0".into()), "{out}");
        }
        assert_eq!(positive("inf"), Ok(f64::INFINITY));
        assert!(positive("0").is_err() && positive("nan").is_err());
    }

    #[test]
    fn labels_are_one_of_six_words_or_a_file() {
        assert_eq!(labels("auto".into()), Labels::Auto);
        assert_eq!(labels("folders".into()), Labels::Folders);
        assert_eq!(labels("innermost".into()), Labels::Innermost);
        assert_eq!(labels("kinds".into()), Labels::Kinds);
        assert_eq!(labels("names".into()), Labels::Names);
        assert_eq!(labels("none".into()), Labels::None);
        let file = Labels::Manifest("none.csv".into());
        assert_eq!(labels("none.csv".into()), file);
    }

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    fn without_a_gpu_built_in_auto_is_the_processor() {
        assert!(DeviceChoice::Auto.open(0).unwrap().is_cpu());
    }
}
