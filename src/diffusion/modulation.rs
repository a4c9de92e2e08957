//! Preconditioning by the modulation spectrum of the frames, so that a network sees what is fine in them beside what is
//! strong.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};

use audiodiff_kernels::{Engine, Parameter, Program};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{noise_level, values};
use crate::error::{Error, Result};
use crate::network::{Conditioning, Network};

/// Least power, against that of unit noise: what a training set holds nowhere is not amplified without bounds.
const LEAST_POWER: f64 = 1e-7;

/// See [`ModulationSpectrum`].
const KAPPA: f64 = 0.015;

/// The step from one kept frequency to the next: a third of an octave.
const STEP: f64 = 1.259_921_049_894_873_2;

/// Most rows that are transformed together, 12 seconds at 44.1 kHz: a matrix holds their square.
const MOST_ROWS: usize = 2048;

/// Lengths of clips that are kept ready: as many as a model learns.
const MOST_LENGTHS: usize = 8;

/// Most frequencies of one spectrum: more than that many rows need.
const MOST_FREQUENCIES: usize = 100;

/// Modulation power spectrum of whitened log-mel frames [Singh & Theunissen 2003]: mean squares of their cosine
/// transform over bands and rows, and the denoiser made of it.
///
/// Sounds are smooth over both. Between the loudness of a whole sound and the grain of a single cell lie some eight
/// orders of magnitude of power; a network over frames as they are hears the strong and never learns the fine. So EDM's
/// preconditioning [EDM, Eq. 7] is applied to each coefficient of the cosine transform instead of all values alike:
/// with `y` the transform of a noisy clip `x` over bands, `Y` that over rows too, and `lambda` the power,
///
/// ```text
/// D      = g · inverse(c_skip · Y) + inverse(c_out · F(c_in · y, c_noise))
/// c_skip = kappa·lambda / (kappa·lambda + sigma²)
/// c_out² = mean over rows of (1 - c_skip)²·lambda + c_skip²·sigma²
/// c_in   = 1 / √(mean over rows of lambda + sigma²)
/// ```
///
/// For `kappa` 1 `c_skip` is the Wiener filter, the best linear denoiser [Wiener 1949], and `c_out` what it leaves. But
/// a network that may rely on the noisy clip also relies on its own earlier errors in it: with a small `kappa` it has
/// to tell most of each sound by what it learnt. `g`, one for each row and band, is the network's too: it closes the
/// skip where there is silence.
///
/// The powers are kept at few frequencies, in cycles a row, so that they hold for clips of any length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModulationSpectrum {
    /// Columns that are transformed together; a row holds one or more such blocks.
    bands: usize,
    /// How much of each power the skip may count on, 0 to 1.
    kappa: f64,
    /// Cycles a row: 0 and more, rising.
    frequencies: Vec<f64>,
    /// Natural logarithms of the powers: a row for each frequency, of a value for each column.
    log_powers: Vec<Vec<f32>>,
}

impl ModulationSpectrum {
    /// That of some clips' frames `[T, C]`, of at most so many `rows`, which are blocks of `bands` columns.
    ///
    /// # Errors
    /// When there are no clips, one is longer, widths differ, or rows are no blocks; and whatever the iterator gives.
    pub fn measure(
        clips: &mut dyn Iterator<Item = Result<Tensor>>,
        rows: usize,
        bands: usize,
    ) -> Result<Self> {
        let longest = rows / parts(rows);
        let places = kept_places(longest);
        // For each kept frequency the share of all clips' coefficients in it, and of each column's powers.
        let mut sums: Vec<(f64, Vec<f64>)> = vec![(0.0, Vec::new()); places.len()];
        let mut transforms: BTreeMap<usize, Transforms> = BTreeMap::new();
        let mut width = 0;
        for frames in clips {
            let frames = frames?;
            let (own, c) = frames.dims2()?;
            if width == 0 {
                check_blocks(c, bands)?;
                width = c;
                sums.iter_mut()
                    .for_each(|(_, powers)| powers.resize(c, 0.0));
            }
            if own == 0 || own > rows || c != width {
                return Err(Error::Shape {
                    what: "frames",
                    expected: format!("1 to {rows} rows of {width}"),
                    found: format!("{own} of {c}"),
                });
            }
            let parts = parts(own);
            let own = own / parts;
            let transforms = match transforms.entry(own) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Transforms::new(own, bands, &Device::Cpu)?),
            };
            let coefficients = transforms.over_bands(&frames.reshape((parts, own, c))?)?;
            let coefficients = transforms.over_rows(&coefficients)?.transpose(1, 2)?;
            let coefficients = coefficients.flatten(0, 1)?.to_vec2::<f32>()?;
            for (row, coefficients) in coefficients.iter().enumerate() {
                // The cosine of the same frequency among those of the longest clips.
                let place = (row % own * longest) as f64 / own as f64;
                for (at, share) in shares(&places, place) {
                    let (weight, powers) = &mut sums[at];
                    *weight += share;
                    for (power, y) in powers.iter_mut().zip(coefficients) {
                        *power += share * f64::from(y * y);
                    }
                }
            }
        }
        if width == 0 {
            return Err(Error::setting(
                "the modulation spectrum cannot be measured: the training set has no clips",
            ));
        }
        let log = |(place, (weight, powers)): (f64, (f64, Vec<f64>))| {
            let log = |power: f64| (power / weight).max(LEAST_POWER).ln() as f32;
            let frequency = place / (2 * longest) as f64;
            // Where all clips are shorter than the longest may be, its lowest frequencies may never be met.
            (weight > 0.0).then(|| (frequency, powers.into_iter().map(log).collect()))
        };
        let kept = places.into_iter().zip(sums).filter_map(log);
        let (frequencies, log_powers) = kept.unzip();
        Ok(Self {
            bands,
            kappa: KAPPA,
            frequencies,
            log_powers,
        })
    }

    /// Fails unless it is one of rows of `width` values, and all its numbers can be reckoned with.
    pub(crate) fn check(&self, width: usize) -> Result<()> {
        let fail = |expected: &str, found: &dyn std::fmt::Display| {
            Err(Error::setting(format!(
                "modulation spectrum: expected {expected}, found {found}"
            )))
        };
        check_blocks(width, self.bands)?;
        if !(0.0..=1.0).contains(&self.kappa) {
            return fail("a kappa of 0 to 1", &self.kappa);
        }
        let (count, kept) = (self.frequencies.len(), self.log_powers.len());
        if !(1..=MOST_FREQUENCIES).contains(&count) || count != kept {
            let found = format!("{count} and {kept}");
            return fail("1 to 100 frequencies and a row for each", &found);
        }
        let rise = self.frequencies.windows(2).all(|pair| pair[0] < pair[1]);
        if self.frequencies[0] != 0.0 || !rise || self.frequencies[count - 1] >= 0.5 {
            return fail("frequencies that rise from 0 to less than 0.5", &"others");
        }
        for row in &self.log_powers {
            if row.len() != width {
                return fail(&format!("rows of {width} values"), &row.len());
            }
            // Their squares are far from the ends of f32.
            if let Some(power) = row.iter().find(|power| !(-40.0..=40.0).contains(*power)) {
                return fail("logarithms of -40 to 40", power);
            }
        }
        Ok(())
    }

    /// `ln lambda` at a frequency in cycles a row, a value for each column.
    fn log_powers_at(&self, frequency: f64) -> Vec<f32> {
        // In units of the first cosine of the clips that were measured, where the kept frequencies lie closest.
        let unit = self.frequencies.get(1).copied().unwrap_or(1.0);
        let places: Vec<f64> = self.frequencies.iter().map(|f| f / unit).collect();
        let mut powers = vec![0.0; self.log_powers[0].len()];
        for (at, share) in shares(&places, frequency / unit) {
            for (power, kept) in powers.iter_mut().zip(&self.log_powers[at]) {
                *power += share as f32 * kept;
            }
        }
        powers
    }

    /// The first `known` columns, and those after them of `new`.
    pub(crate) fn with_columns(&self, known: usize, new: Option<&Self>) -> Self {
        let row = |(&frequency, own): (&f64, &Vec<f32>)| {
            let new = new.map(|new| new.log_powers_at(frequency));
            let new = new.into_iter().flatten().skip(known);
            own.iter().take(known).copied().chain(new).collect()
        };
        let rows = self.frequencies.iter().zip(&self.log_powers);
        Self {
            log_powers: rows.map(row).collect(),
            ..self.clone()
        }
    }
}

/// Fails unless rows of `width` values are whole blocks of `bands`.
fn check_blocks(width: usize, bands: usize) -> Result<()> {
    if bands > 0 && width > 0 && width.is_multiple_of(bands) {
        return Ok(());
    }
    Err(Error::setting(format!(
        "modulation spectrum: expected rows of whole blocks of {bands} bands, found {width} values"
    )))
}

/// Into how many equal parts a clip of so many rows is cut for the transform over rows, whose matrix is no larger than
/// [`MOST_ROWS`] then.
fn parts(rows: usize) -> usize {
    let fits = |&parts: &usize| rows.is_multiple_of(parts) && rows / parts <= MOST_ROWS;
    (1..=rows).find(fits).unwrap_or(1)
}

/// Which cosines of so many rows are kept, as numbers of half cycles: the first few, then [`STEP`] apart, and the last.
fn kept_places(rows: usize) -> Vec<f64> {
    let last = rows.saturating_sub(1) as f64;
    let mut places = vec![0.0];
    let mut place = 0.0;
    while place < last {
        place = f64::min(f64::max(place + 1.0, place * STEP), last);
        places.push(place);
    }
    places
}

/// Which of the rising `places` lie around a place, each with its share in it: linear in `ln(1 + place)`.
fn shares(places: &[f64], place: f64) -> impl Iterator<Item = (usize, f64)> {
    let above = places
        .partition_point(|&known| known <= place)
        .min(places.len() - 1);
    let below = above.saturating_sub(1);
    let [low, at, high] = [places[below], place, places[above]].map(f64::ln_1p);
    let share = match high > low {
        true => ((at - low) / (high - low)).clamp(0.0, 1.0),
        false => 1.0,
    };
    [(below, 1.0 - share), (above, share)]
        .into_iter()
        .filter(|&(_, share)| share > 0.0)
}

/// A [`ModulationSpectrum`] at work.
#[derive(Debug)]
pub struct Modulation {
    spectrum: ModulationSpectrum,
    /// For the lengths of clips that were met last, the latest at the end.
    known: Mutex<Vec<Arc<Scale>>>,
}

impl Modulation {
    /// By a spectrum that was measured.
    #[must_use]
    pub fn new(spectrum: ModulationSpectrum) -> Self {
        Self {
            spectrum,
            known: Mutex::default(),
        }
    }

    /// What is reckoned with for clips of so many rows.
    fn scale(&self, rows: usize, device: &Device) -> Result<Arc<Scale>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let scale = match known.iter().position(|scale| scale.fits(rows, device)) {
            Some(place) => known.remove(place),
            None => Arc::new(Scale::new(&self.spectrum, rows, device)?),
        };
        if known.len() == MOST_LENGTHS {
            known.remove(0);
        }
        known.push(Arc::clone(&scale));
        Ok(scale)
    }

    /// `D` of `network`, which gives `[B, T, 2·C]`: `F`, then `g - 1`. As
    /// [`Denoiser::denoise`](super::Denoiser::denoise).
    pub(super) fn denoise(
        &self,
        network: &impl Network,
        x: &Tensor,
        sigma: &Tensor,
        cond: &Conditioning,
    ) -> Result<Tensor> {
        let (batch, rows, width) = x.dims3()?;
        let parts = parts(rows);
        let own = rows / parts;
        let scale = self.scale(own, x.device())?;
        let sigmas = sigma.to_vec1::<f32>()?;
        let [c_skip, c_out, c_in] = scale.scalings(&sigmas)?;
        let y = scale.transforms.over_bands(x)?;
        let c_noise = sigmas.iter().map(|&s| noise_level(f64::from(s)) as f32);
        let c_noise = Tensor::from_vec(c_noise.collect::<Vec<_>>(), batch, x.device())?;
        let told = network.forward(&values::product(&y, &c_in)?, &c_noise, cond)?;
        let f = values::product(&told.narrow(2, 0, width)?, &c_out)?;
        let gate = (told.narrow(2, width, width)? + 1.0)?;
        // The parts of a long clip are filtered as clips of their own.
        let c_skip = c_skip.unsqueeze(1)?.expand((batch, parts, width, own))?;
        let c_skip = c_skip.reshape((batch * parts, width, own))?;
        let y = y.reshape((batch * parts, own, width))?;
        let kept = values::product(&scale.transforms.over_rows(&y)?, &c_skip)?;
        let kept = scale
            .transforms
            .rows_back(&kept)?
            .reshape((batch, rows, width))?;
        let kept = scale.transforms.bands_back(&kept)?;
        values::sum(
            &scale.transforms.bands_back(&f)?,
            &values::product(&kept, &gate)?,
        )
    }
}

/// A [`ModulationSpectrum`] for clips of one length.
#[derive(Debug)]
struct Scale {
    kappa: f64,
    rows: usize,
    /// `lambda`, `C × T`: rows of one column each.
    powers: Vec<f32>,
    /// Mean power of each column.
    means: Vec<f64>,
    device: Device,
    /// Both on a GPU: `powers: [1, C, T]` and `means: [1, 1, C]`.
    on_gpu: Option<[Tensor; 2]>,
    transforms: Transforms,
}

impl Scale {
    fn new(spectrum: &ModulationSpectrum, rows: usize, device: &Device) -> Result<Self> {
        let at = |k: usize| spectrum.log_powers_at(k as f64 / (2 * rows) as f64);
        let log_powers: Vec<Vec<f32>> = (0..rows).map(at).collect();
        let columns = 0..spectrum.log_powers[0].len();
        let powers = columns.flat_map(|c| log_powers.iter().map(move |row| row[c].exp()));
        let powers: Vec<f32> = powers.collect();
        let mean = |own: &[f32]| own.iter().copied().map(f64::from).sum::<f64>() / rows as f64;
        let means: Vec<f64> = powers.chunks_exact(rows).map(mean).collect();
        let on_gpu = match device {
            Device::Cpu => None,
            gpu => Some(tensors(&powers, &means, gpu)?),
        };
        Ok(Self {
            kappa: spectrum.kappa,
            rows,
            means,
            powers,
            device: device.clone(),
            on_gpu,
            transforms: Transforms::new(rows, spectrum.bands, device)?,
        })
    }

    fn fits(&self, rows: usize, device: &Device) -> bool {
        self.rows == rows && self.device.same_device(device)
    }

    /// `c_skip: [B, C, T]`, `c_out: [B, 1, C]` and `c_in: [B, 1, C]` at the noise levels of a batch.
    fn scalings(&self, sigmas: &[f32]) -> Result<[Tensor; 3]> {
        if let Some(on_gpu) = &self.on_gpu {
            return scalings_by_tensors(self.kappa, on_gpu, sigmas);
        }
        let (mut c_skip, mut c_out, mut c_in) = (Vec::new(), Vec::new(), Vec::new());
        for &sigma in sigmas {
            let noise = sigma * sigma;
            for (powers, mean) in self.powers.chunks_exact(self.rows).zip(&self.means) {
                let mut left = 0.0;
                for &power in powers {
                    let sure = self.kappa as f32 * power;
                    let skip = sure / (sure + noise);
                    left += f64::from((1.0 - skip).powi(2) * power + skip * skip * noise);
                    c_skip.push(skip);
                }
                c_out.push((left / self.rows as f64).sqrt() as f32);
                c_in.push((1.0 / (mean + f64::from(noise)).sqrt()) as f32);
            }
        }
        let (b, c, device) = (sigmas.len(), self.means.len(), &self.device);
        Ok([
            Tensor::from_vec(c_skip, (b, c, self.rows), device)?,
            Tensor::from_vec(c_out, (b, 1, c), device)?,
            Tensor::from_vec(c_in, (b, 1, c), device)?,
        ])
    }
}

/// `powers: [1, C, T]` and `means: [1, 1, C]` of a [`Scale`].
fn tensors(powers: &[f32], means: &[f64], device: &Device) -> Result<[Tensor; 2]> {
    let c = means.len();
    let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
    Ok([
        Tensor::from_slice(powers, (1, c, powers.len() / c), device)?,
        Tensor::from_vec(means, (1, 1, c), device)?,
    ])
}

/// [`Scale::scalings`] on the device of `tensors`, so that only the noise levels travel to it.
fn scalings_by_tensors(
    kappa: f64,
    [powers, means]: &[Tensor; 2],
    sigmas: &[f32],
) -> Result<[Tensor; 3]> {
    let noise: Vec<f32> = sigmas.iter().map(|sigma| sigma * sigma).collect();
    let noise = Tensor::from_vec(noise, (sigmas.len(), 1, 1), powers.device())?;
    let sure = (powers * kappa)?;
    let c_skip = sure.broadcast_div(&sure.broadcast_add(&noise)?)?; // [B, C, T]
    let missed = (1.0 - &c_skip)?.sqr()?.broadcast_mul(powers)?;
    let left = (missed + c_skip.sqr()?.broadcast_mul(&noise)?)?.mean_keepdim(2)?;
    let c_out = left.sqrt()?.transpose(1, 2)?.contiguous()?; // [B, 1, C]
    let c_in = means.broadcast_add(&noise)?.sqrt()?.recip()?;
    Ok([c_skip, c_out, c_in])
}

/// Orthonormal cosine transforms of frames `[B, T, C]` over the bands of each block, and over rows.
#[derive(Debug)]
struct Transforms {
    bands: usize,
    over_bands: Engine,
    bands_back: Engine,
    over_rows: Engine,
    rows_back: Engine,
}

impl Transforms {
    fn new(rows: usize, bands: usize, device: &Device) -> Result<Self> {
        let engine = |matrix: &[f32], n: usize| -> Result<Engine> {
            let mut engine = Engine::new(vec![Tensor::from_slice(matrix, (n, n), device)?]);
            engine.freeze();
            Ok(engine)
        };
        let pair = |n: usize| -> Result<(Engine, Engine)> {
            let back = cosines(n);
            Ok((engine(&transposed(&back, n), n)?, engine(&back, n)?))
        };
        let ((over_bands, bands_back), (over_rows, rows_back)) = (pair(bands)?, pair(rows)?);
        Ok(Self {
            bands,
            over_bands,
            bands_back,
            over_rows,
            rows_back,
        })
    }

    /// `[B, T, C]` → `[B, T, C]`.
    fn over_bands(&self, x: &Tensor) -> Result<Tensor> {
        self.blocks(&self.over_bands, x)
    }

    /// Undoes [`Transforms::over_bands`].
    fn bands_back(&self, y: &Tensor) -> Result<Tensor> {
        self.blocks(&self.bands_back, y)
    }

    fn blocks(&self, engine: &Engine, x: &Tensor) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let blocks = x
            .contiguous()?
            .reshape((b, t * c / self.bands, self.bands))?;
        Ok(product(engine, &blocks)?.reshape((b, t, c))?)
    }

    /// `[B, T, C]` → `[B, C, T]`.
    fn over_rows(&self, x: &Tensor) -> Result<Tensor> {
        product(&self.over_rows, &x.transpose(1, 2)?.contiguous()?)
    }

    /// Undoes [`Transforms::over_rows`].
    fn rows_back(&self, y: &Tensor) -> Result<Tensor> {
        Ok(product(&self.rows_back, y)?.transpose(1, 2)?.contiguous()?)
    }
}

/// Rows of `x: [B, R, N]` times the engine's only matrix, `[N, N]`.
fn product(engine: &Engine, x: &Tensor) -> Result<Tensor> {
    let (b, rows, n) = x.dims3()?;
    let describe = |p: &mut Program| {
        let x = p.input(b, rows, n);
        p.conv(x, None, Parameter(0), None, None)
    };
    Ok(engine.run((b, rows), describe, std::slice::from_ref(x), &[])?)
}

/// DCT-II of `n` values [Ahmed, Natarajan & Rao 1974], scaled to be orthonormal: its transpose is its inverse.
///
/// Row-major, a row for each cosine: row `k` is `√(2/n)·cos(π·k·(t + ½)/n)` over `t`, and `√(1/n)` for `k = 0`.
fn cosines(n: usize) -> Vec<f32> {
    let value = |at: usize| {
        let (k, t) = (at / n, at % n);
        let scale = if k == 0 { 1.0 } else { 2.0 } / n as f64;
        (scale.sqrt() * (PI * k as f64 * (t as f64 + 0.5) / n as f64).cos()) as f32
    };
    (0..n * n).map(value).collect()
}

/// The transpose of a square row-major matrix.
fn transposed(matrix: &[f32], n: usize) -> Vec<f32> {
    (0..n * n).map(|at| matrix[at % n * n + at / n]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    const BANDS: usize = 8;
    const ROWS: usize = 24;
    const WIDTH: usize = 2 * BANDS;

    /// The power of each coefficient of the clips below, `[T][C]`.
    fn power(k: usize, c: usize) -> f64 {
        30.0 / (1.0 + k as f64).powi(2) / (1.0 + (c % BANDS) as f64)
            * if c < BANDS { 1.0 } else { 0.01 }
    }

    /// Gaussian clips `[B, T, C]` of those powers.
    fn clips(count: usize, seed: u64) -> Result<Tensor> {
        let transforms = Transforms::new(ROWS, BANDS, &Device::Cpu)?;
        let scales: Vec<f32> = (0..WIDTH * ROWS)
            .map(|at| power(at % ROWS, at / ROWS).sqrt() as f32)
            .collect();
        let scales = Tensor::from_vec(scales, (1, WIDTH, ROWS), &Device::Cpu)?;
        let unit = Noise::new(seed).normal_tensor((count, WIDTH, ROWS), &Device::Cpu)?;
        transforms.bands_back(&transforms.rows_back(&unit.broadcast_mul(&scales)?)?)
    }

    fn measured(count: usize) -> Result<ModulationSpectrum> {
        let clips = clips(count, 5)?;
        let mut frames = (0..count).map(|i| Ok(clips.get(i)?));
        ModulationSpectrum::measure(&mut frames, ROWS, BANDS)
    }

    #[test]
    fn the_transpose_of_the_cosines_undoes_them() {
        for n in [1, 2, 5, 128] {
            let forward = cosines(n);
            let back = transposed(&forward, n);
            for (i, j) in (0..n * n).map(|at| (at / n, at % n)) {
                let product = |k| f64::from(back[i * n + k]) * f64::from(forward[k * n + j]);
                let found: f64 = (0..n).map(product).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((found - expected).abs() < 1e-6, "{n}: {i}, {j}: {found}");
            }
        }
    }

    #[test]
    fn a_cosine_is_one_coefficient_and_a_constant_the_first() {
        let n = 16;
        let coefficients = |value: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let values: Vec<f64> = (0..n).map(|t| value(t as f64 + 0.5)).collect();
            let rows = cosines(n);
            let dot = |row: &[f32]| {
                row.iter()
                    .zip(&values)
                    .map(|(&a, b)| f64::from(a) * b)
                    .sum()
            };
            rows.chunks(n).map(dot).collect()
        };
        let cosine = coefficients(&|t| (PI * 3.0 * t / 16.0).cos());
        let constant = coefficients(&|_| 1.0);
        for k in 0..n {
            let at = |place: usize, value: f64| if k == place { value } else { 0.0 };
            assert!((cosine[k] - at(3, 8f64.sqrt())).abs() < 1e-6);
            assert!((constant[k] - at(0, 4.0)).abs() < 1e-6);
        }
    }

    #[test]
    fn transforms_are_undone_and_keep_energy() -> Result<()> {
        let transforms = Transforms::new(ROWS, BANDS, &Device::Cpu)?;
        let x = Noise::new(1).normal_tensor((3, ROWS, WIDTH), &Device::Cpu)?;
        let both = transforms.over_rows(&transforms.over_bands(&x)?)?;
        let back = transforms.bands_back(&transforms.rows_back(&both)?)?;
        let largest = (&back - &x)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(largest < 1e-5, "{largest}");
        let energy = |x: &Tensor| -> Result<f32> { Ok(x.sqr()?.sum_all()?.to_scalar()?) };
        assert!((energy(&both)? / energy(&x)? - 1.0).abs() < 1e-5);
        // A constant block is its first coefficient alone, in both ways.
        let ones = Tensor::ones((1, ROWS, WIDTH), candle_core::DType::F32, &Device::Cpu)?;
        let both = transforms.over_rows(&transforms.over_bands(&ones)?)?;
        let first = both.get(0)?.get(BANDS)?.get(0)?.to_scalar::<f32>()?;
        assert!((first - ((ROWS * BANDS) as f32).sqrt()).abs() < 1e-4);
        Ok(())
    }

    #[test]
    fn the_powers_of_clips_are_found_for_any_length() -> Result<()> {
        let spectrum = measured(400)?;
        spectrum.check(WIDTH)?;
        assert!(spectrum.frequencies.len() < ROWS);
        for rows in [ROWS, 2 * ROWS] {
            let scale = Scale::new(&spectrum, rows, &Device::Cpu)?;
            for (c, powers) in scale.powers.chunks_exact(rows).enumerate() {
                // The same frequencies of clips of twice the length are cosines of twice the number.
                for (k, found) in powers.iter().step_by(rows / ROWS).enumerate() {
                    let ratio = f64::from(*found) / power(k, c);
                    assert!((0.7..1.4).contains(&ratio), "{rows}, {k}, {c}: {ratio}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_gpu_would_scale_as_the_cpu_does() -> Result<()> {
        let scale = Scale::new(&measured(400)?, ROWS, &Device::Cpu)?;
        let sigmas = [0.002, 0.3, 1.0, 80.0];
        let tensors = tensors(&scale.powers, &scale.means, &Device::Cpu)?;
        let found = scalings_by_tensors(scale.kappa, &tensors, &sigmas)?;
        for (found, expected) in found.iter().zip(scale.scalings(&sigmas)?) {
            assert_eq!(found.dims(), expected.dims());
            let error = (found / &expected)?.affine(1.0, -1.0)?.abs()?.max_all()?;
            let error = error.to_scalar::<f32>()?;
            assert!(error < 1e-4, "{error}");
        }
        Ok(())
    }

    /// Gives what it is made of, whatever it is asked.
    struct Fixed(Tensor, Engine);

    impl Network for Fixed {
        fn forward(&self, _: &Tensor, _: &Tensor, _: &Conditioning) -> Result<Tensor> {
            Ok(self.0.clone())
        }

        fn engine(&mut self) -> &mut Engine {
            &mut self.1
        }
    }

    /// Says what it is asked, with open gates.
    struct Asked(std::sync::Mutex<Option<Tensor>>, Engine);

    impl Network for Asked {
        fn forward(&self, x: &Tensor, _: &Tensor, _: &Conditioning) -> Result<Tensor> {
            *self.0.lock().expect("one thread") = Some(x.clone());
            Ok(x.pad_with_zeros(2, 0, x.dims3()?.2)?)
        }

        fn engine(&mut self) -> &mut Engine {
            &mut self.1
        }
    }

    fn no_engine() -> Engine {
        Engine::new(Vec::new())
    }

    fn mean_square(x: &Tensor) -> Result<f64> {
        Ok(f64::from(x.sqr()?.mean_all()?.to_scalar::<f32>()?))
    }

    /// With kappa 1 and a silent network it is the best denoiser of Gaussian clips, whose mean squared error is the
    /// mean of `lambda·sigma²/(lambda + sigma²)`; and with any kappa what the network has to tell has unit variance.
    #[test]
    fn gaussian_clips_are_denoised_by_the_wiener_filter() -> Result<()> {
        let (count, clean) = (300, clips(300, 6)?);
        let unit = Noise::new(7).normal_tensor(clean.shape(), &Device::Cpu)?;
        let cond = Conditioning::new(&vec![None; count], &[], &Device::Cpu)?;
        let spectrum = measured(2000)?;
        let silent = Tensor::zeros(
            (count, ROWS, 2 * WIDTH),
            candle_core::DType::F32,
            &Device::Cpu,
        )?;
        for sigma in [0.05f32, 0.5, 3.0] {
            let sigmas = Tensor::full(sigma, count, &Device::Cpu)?;
            let noisy = (&clean + (&unit * f64::from(sigma))?)?;
            for kappa in [1.0, 0.1] {
                let modulation = Modulation::new(ModulationSpectrum {
                    kappa,
                    ..spectrum.clone()
                });
                let scale = modulation.scale(ROWS, &Device::Cpu)?;
                let network = Fixed(silent.clone(), no_engine());
                let guess = modulation.denoise(&network, &noisy, &sigmas, &cond)?;
                let error = (&clean - guess)?;
                if kappa == 1.0 {
                    let noise = f64::from(sigma).powi(2);
                    let left = (0..ROWS * WIDTH).map(|at| {
                        let power = power(at / WIDTH, at % WIDTH);
                        power * noise / (power + noise)
                    });
                    let best = left.sum::<f64>() / (ROWS * WIDTH) as f64;
                    let ratio = mean_square(&error)? / best;
                    assert!((ratio - 1.0).abs() < 0.04, "{sigma}: {ratio}");
                }
                // What F should have said: the error's coefficients over c_out.
                let [_, c_out, _] = scale.scalings(&[sigma])?;
                let target = scale.transforms.over_bands(&error)?.broadcast_div(&c_out)?;
                for c in 0..WIDTH {
                    let variance = mean_square(&target.narrow(2, c, 1)?)?;
                    assert!(
                        (0.8..1.25).contains(&variance),
                        "{sigma}, {kappa}, {c}: {variance}"
                    );
                }
                // And what it is given has unit variance too.
                let network = Asked(std::sync::Mutex::new(None), no_engine());
                modulation.denoise(&network, &noisy, &sigmas, &cond)?;
                let asked = network
                    .0
                    .into_inner()
                    .expect("one thread")
                    .expect("it was asked");
                for c in 0..WIDTH {
                    let variance = mean_square(&asked.narrow(2, c, 1)?)?;
                    assert!(
                        (0.8..1.25).contains(&variance),
                        "{sigma}, {kappa}, {c}: {variance}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn long_clips_are_filtered_in_parts() -> Result<()> {
        assert_eq!([1, 2048, 2049, 4096, 10_336].map(parts), [1, 1, 3, 2, 8]);
        let spectrum = measured(50)?;
        let modulation = Modulation::new(spectrum.clone());
        // Two parts of 1032 rows each, and of them alone.
        let rows = 2 * 1032;
        let x = Noise::new(3).normal_tensor((2, rows, WIDTH), &Device::Cpu)?;
        let denoise = |x: &Tensor| {
            let (batch, rows, _) = x.dims3()?;
            let silent = Tensor::zeros((batch, rows, 2 * WIDTH), x.dtype(), x.device())?;
            let cond = Conditioning::new(&vec![None; batch], &[], x.device())?;
            let sigmas = Tensor::full(0.3f32, batch, x.device())?;
            modulation.denoise(&Fixed(silent, no_engine()), x, &sigmas, &cond)
        };
        let whole = denoise(&x)?;
        let halves = denoise(&x.reshape((4, 1032, WIDTH))?)?;
        assert_eq!(
            whole.flatten_all()?.to_vec1::<f32>()?,
            halves.flatten_all()?.to_vec1::<f32>()?
        );
        // So they are measured.
        let mut clips = (0..2).map(|i| Ok(x.get(i)?));
        let long = ModulationSpectrum::measure(&mut clips, rows, BANDS)?;
        let parted = x.reshape((4, 1032, WIDTH))?;
        let mut clips = (0..4).map(|i| Ok(parted.get(i)?));
        assert_eq!(long, ModulationSpectrum::measure(&mut clips, 1032, BANDS)?);
        Ok(())
    }

    #[test]
    fn closed_gates_leave_what_the_network_says() -> Result<()> {
        let clean = clips(2, 8)?;
        let cond = Conditioning::new(&[None; 2], &[], &Device::Cpu)?;
        let sigmas = Tensor::full(0.1f32, 2, &Device::Cpu)?;
        let modulation = Modulation::new(measured(50)?);
        let scale = modulation.scale(ROWS, &Device::Cpu)?;
        let said = Noise::new(9).normal_tensor((2, ROWS, WIDTH), &Device::Cpu)?;
        let closed = Tensor::full(-1f32, (2, ROWS, WIDTH), &Device::Cpu)?;
        let network = Fixed(Tensor::cat(&[&said, &closed], 2)?, no_engine());
        let guess = modulation.denoise(&network, &clean, &sigmas, &cond)?;
        let [_, c_out, _] = scale.scalings(&[0.1, 0.1])?;
        let back = scale.transforms.bands_back(&said.broadcast_mul(&c_out)?)?;
        let largest = (guess - back)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(largest < 1e-5, "{largest}");
        Ok(())
    }

    #[test]
    fn other_columns_keep_the_known_ones() -> Result<()> {
        let spectrum = measured(50)?;
        let narrow = spectrum.with_columns(BANDS, None);
        narrow.check(BANDS)?;
        let wide = narrow.with_columns(BANDS, Some(&spectrum));
        for (found, expected) in wide.log_powers.iter().zip(&spectrum.log_powers) {
            let pairs = found.iter().zip(expected);
            assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn spectra_that_cannot_be_reckoned_with_are_refused() -> Result<()> {
        let good = measured(3)?;
        type Change = fn(&mut ModulationSpectrum);
        let bad: [(Change, &str); 9] = [
            (|s| s.bands = 0, "whole blocks of 0"),
            (|s| s.bands = 5, "whole blocks of 5"),
            (|s| s.kappa = f64::NAN, "kappa"),
            (|s| s.kappa = 1.5, "kappa"),
            (|s| s.frequencies.clear(), "1 to 100 frequencies"),
            (|s| s.frequencies[1] = f64::NAN, "rise"),
            (|s| s.frequencies[0] = 0.001, "rise"),
            (|s| s.log_powers[2].truncate(3), "rows of 16 values"),
            (|s| s.log_powers[2][3] = f32::INFINITY, "-40 to 40"),
        ];
        for (change, part) in bad {
            let mut spectrum = good.clone();
            change(&mut spectrum);
            let error = spectrum.check(WIDTH).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(ModulationSpectrum::measure(&mut std::iter::empty(), ROWS, BANDS).is_err());
        Ok(())
    }
}
