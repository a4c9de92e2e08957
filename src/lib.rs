//! audiodiff turns a folder of sounds into a small generative model, and the model into new sounds.
//!
//! In one breath: *noise at level sigma hides a clip; a network learns to guess the clip; lowering
//! sigma from high to zero, guess by guess, makes a clip nobody recorded.*
//!
//! ```
//! # #[cfg(feature = "embedded-model")] {
//! use audiodiff::audio::{BitDepth, write_wav};
//! use audiodiff::checkpoint::Checkpoint;
//! use audiodiff::render::{RenderSettings, Renderer};
//!
//! // Or one of your own: Checkpoint::load("run/model.safetensors".as_ref())?
//! let model = Checkpoint::embedded()?;
//! let renderer = Renderer::new(&model, &candle_core::Device::Cpu)?;
//! let settings = RenderSettings { class: Some("kick".into()), ..renderer.settings() };
//! let kick = renderer.render(&settings, 7)?;
//! assert_eq!(kick.class.as_deref(), Some("kick"));
//! # let folder = tempfile::tempdir().expect("a folder");
//! # std::env::set_current_dir(folder.path()).expect("a folder");
//! write_wav("kick.wav".as_ref(), &kick.clip, BitDepth::Int24)?;
//! # }
//! # Ok::<(), audiodiff::Error>(())
//! ```
//!
//! # Map
//!
//! Each module uses only those above it; [`noise`], [`file`](mod@file), [`names`] and [`error`] are for all.
//!
//! | Module | What it does |
//! |---|---|
//! | [`group`] | ranks that work on one task together |
//! | [`audio`] | [`audio::Clip`], read and written, resampled, finished |
//! | [`attributes`] | what a sound is like, as models are conditioned on it |
//! | [`representation`] | clips to whitened frames and back: `mdct`, `wave`, `mel` |
//! | [`dataset`] | a folder: report, split, augmentation, batches |
//! | [`network`] | the raw network `F`, a U-Net over frames |
//! | [`diffusion`] | the denoiser `D`, its objective, schedules, samplers, guidance |
//! | [`checkpoint`] | one file is one model |
//! | [`import`] | models of other programs, read as ours |
//! | [`picture`] | waveforms, spectrograms and loss curves as PNG |
//! | [`render`] | settings and a seed to a sound |
//! | [`optim`], [`train`] | Adam, averaged weights, the resumable loop |
//! | [`eval`] | distances of made sounds to real ones, class consistency, copies, signal health |
//! | [`distill`] | how many steps a distilled model is best rendered with |
//!
//! # Notation
//!
//! | Symbol | Meaning |
//! |---|---|
//! | `B`, `T`, `C` | batch, frames, values a frame; tensors are `[B, T, C]` |
//! | `sigma` | noise level: standard deviation of the noise added to whitened frames |
//! | `sigma_data` | standard deviation of the clean frames, about 1 |
//! | `F`, `D` | raw network; denoiser, `D = c_skip·x + c_out·F(c_in·x, c_noise)` |
//!
//! # Papers
//!
//! | Short name | Reference |
//! |---|---|
//! | EDM | Karras, Aittala, Aila, Laine: Elucidating the Design Space of Diffusion-Based Generative Models, 2022 |
//! | EDM2 | Karras et al.: Analyzing and Improving the Training Dynamics of Diffusion Models, 2024 |
//! | DPM-Solver | Lu et al.: DPM-Solver, 2022; DPM-Solver++, 2022 |
//! | Zhang & Chen 2023 | Fast Sampling of Diffusion Models with Exponential Integrator |
//! | Geng et al. 2024 | Consistency Models Made Easy |
//! | Song et al. 2023 | Consistency Models |
//! | Song et al. 2021 | Score-Based Generative Modeling through Stochastic Differential Equations |
//! | Lugmayr et al. 2022 | RePaint: Inpainting using Denoising Diffusion Probabilistic Models |
//! | Shoemake 1985 | Animating Rotation with Quaternion Curves |
//! | Meng et al. 2023 | On Distillation of Guided Diffusion Models |
//! | DDIM | Song, Meng, Ermon: Denoising Diffusion Implicit Models, 2021 |
//! | DDPM | Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, 2020 |
//! | PNDM | Liu et al.: Pseudo Numerical Methods for Diffusion Models on Manifolds, 2022 |
//! | Salimans & Ho 2022 | Progressive Distillation for Fast Sampling of Diffusion Models |
//! | Evans 2022 | Dance Diffusion, the programs `sample-generator` and `v-diffusion` |
//! | CRASH | Rouard, Hadjeres: CRASH: Raw Audio Score-Based Generative Modeling for Controllable High-Resolution Drum Sound Synthesis, 2021 |
//! | Singh & Theunissen 2003 | Modulation spectra of natural sounds and ethological theories of auditory processing |
//! | Ahmed, Natarajan & Rao 1974 | Discrete Cosine Transform |
//! | Wiener 1949 | Extrapolation, Interpolation, and Smoothing of Stationary Time Series |
//! | Perez et al. 2018 | FiLM: Visual Reasoning with a General Conditioning Layer |
//! | Hang et al. 2023 | Efficient Diffusion Training via Min-SNR Weighting Strategy |
//! | Ho & Salimans 2022 | Classifier-Free Diffusion Guidance |
//! | Kynkäänniemi et al. 2024 | Applying Guidance in a Limited Interval Improves Sample and Distribution Quality |
//! | Esser et al. 2024 | Scaling Rectified Flow Transformers for High-Resolution Image Synthesis |
//! | Ronneberger et al. 2015 | U-Net: Convolutional Networks for Biomedical Image Segmentation |
//! | He et al. 2016 | Identity Mappings in Deep Residual Networks |
//! | Dhariwal & Nichol 2021 | Diffusion Models Beat GANs on Image Synthesis |
//! | Loshchilov & Hutter 2019 | Decoupled Weight Decay Regularization |
//! | Princen, Johnson & Bradley 1987 | Subband/Transform Coding Using Filter Bank Designs Based on Time Domain Aliasing Cancellation |
//! | Malvar 1992 | Signal Processing with Lapped Transforms |
//! | Griffin & Lim 1984 | Signal Estimation from Modified Short-Time Fourier Transform |
//! | Průša, Balazs & Søndergaard 2017 | A Noniterative Method for Reconstruction of Phase from STFT Magnitude |
//! | Lee & Seung 2001 | Algorithms for Non-negative Matrix Factorization |
//! | Richardson 1972 | Bayesian-Based Iterative Method of Image Restoration |
//! | Lucy 1974 | An iterative technique for the rectification of observed distributions |
//! | Slaney 1998 | Auditory Toolbox |
//! | Acklam 2003 | An algorithm for computing the inverse normal cumulative distribution function |
//! | Dowson & Landau 1982 | The Fréchet Distance Between Multivariate Normal Distributions |
//! | Chong & Forsyth 2020 | Effectively Unbiased FID and Inception Score and Where to Find Them |
//! | Gretton et al. 2012 | A Kernel Two-Sample Test |
//! | Naeem et al. 2020 | Reliable Fidelity and Diversity Metrics for Generative Models |
//! | Kynkäänniemi et al. 2019 | Improved Precision and Recall Metric for Assessing Generative Models |
//! | Durstenfeld 1964 | Algorithm 235: Random permutation |
//! | McKean & Schrader 1984 | A Comparison of Methods for Studentizing the Sample Median |
//! | McLeod & Wyvill 2005 | A Smarter Way to Find Pitch |
//! | Rice 1945 | Mathematical Analysis of Random Noise |
//! | Kaiser 1974 | Nonrecursive Digital Filter Design Using the I0-Sinh Window Function |
//! | BS.1770 | ITU-R BS.1770-5: Algorithms to measure audio programme loudness |
//! | De Man 2018 | Evaluation of Implementations of the EBU R128 Loudness Measurement |
//! | Cheung & Lim 1992 | Combined multiresolution (wide-band/narrow-band) spectrogram |
//! | Ottosson 2020 | A perceptual color space for image processing |

pub mod attributes;
pub mod audio;
pub mod checkpoint;
pub mod dataset;
pub mod diffusion;
pub mod distill;
pub mod error;
pub mod eval;
pub mod file;
pub mod group;
pub mod import;
pub mod names;
pub mod network;
pub mod noise;
pub mod optim;
pub mod picture;
pub mod render;
pub mod representation;
pub mod train;

#[cfg(feature = "cuda")]
pub use audiodiff_kernels::cuda;
pub use candle_core::Device;
pub use checkpoint::Checkpoint;
pub use dataset::{Dataset, ScanOptions};
pub use error::{Error, Result};
pub use render::{RenderSettings, Renderer};
pub use train::{TrainConfig, Trainer};
