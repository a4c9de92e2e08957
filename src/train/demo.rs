//! Demonstrations of a training: sounds that its model makes, and the curve of its loss.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;

use super::read_stats;
use crate::audio::{BitDepth, Clip, write_wav};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::file::name_for;
use crate::picture::{self, Series};
use crate::render::{RenderSettings, Renderer};

/// At most this many demo sounds.
const DEMOS: usize = 16;

/// No further demo sound is begun after this long.
pub const DEMO_TIME: Duration = Duration::from_secs(30);

/// Of a training's time, demo sounds take at most one part in this many, its end apart.
const DEMO_FRACTION: u32 = 10;

/// A sound that a model shows itself by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// Its name.
    pub title: String,
    /// Its class; none for any.
    pub class: Option<String>,
    /// Its seed.
    pub seed: u64,
}

/// The demo sounds of a model with these classes, some of all over the list: always the same.
#[must_use]
pub fn demos(labels: &[String]) -> Vec<Demo> {
    let shown = labels.len().min(DEMOS);
    let of_class = (0..shown).map(|i| &labels[i * labels.len() / shown]);
    let of_class = of_class.map(|label| Demo {
        title: label.clone(),
        class: Some(label.clone()),
        seed: 0,
    });
    let any = (0..(DEMOS - shown) as u64).map(|seed| Demo {
        title: format!("any-{seed}"),
        class: None,
        seed,
    });
    of_class.chain(any).collect()
}

/// When a training is to make demo sounds: seldom enough that they take a tenth of its time.
#[derive(Debug)]
pub struct DemoPace {
    next: Instant,
}

impl Default for DemoPace {
    /// The first are due at once.
    fn default() -> Self {
        Self {
            next: Instant::now(),
        }
    }
}

impl DemoPace {
    /// Whether it is time for some.
    #[must_use]
    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Some were made from `begun` to now.
    pub fn made(&mut self, begun: Instant) {
        self.next = Instant::now() + begun.elapsed() * (DEMO_FRACTION - 1);
    }
}

/// Writes sounds of classes from all over the list of `run`'s model to `run/demos`, with a picture of them, and the
/// curve of the loss to `run/loss.png`: 16 sounds, or as many as are made in half a minute, always from the same seeds.
///
/// `on_sound` is asked before each sound and may stop it; then nothing more is written.
///
/// # Errors
/// When `run` holds no model, or a file cannot be written.
pub fn illustrate(
    run: &Path,
    device: &Device,
    on_sound: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<()> {
    let model = Checkpoint::load(&run.join("model.safetensors"))?;
    let renderer = Renderer::new(&model, device)?;
    let demos = run.join("demos");
    crate::file::make_folder(&demos)?;
    let begun = Instant::now();
    let mut names = HashSet::new();
    let mut clips: Vec<(String, Clip)> = Vec::new();
    for Demo { title, class, seed } in self::demos(&model.config.labels) {
        if on_sound().is_break() {
            return Ok(());
        }
        if begun.elapsed() > DEMO_TIME {
            break;
        }
        let settings = RenderSettings {
            class,
            ..renderer.settings()
        };
        let clip = renderer.render(&settings, seed)?.clip;
        let mut name = name_for(&title);
        // Some systems take `Kick` and `kick` for one name.
        while name.is_empty() || !names.insert(name.to_lowercase()) {
            name.push('_');
        }
        write_wav(&demos.join(format!("{name}.wav")), &clip, BitDepth::Int24)?;
        clips.push((title, clip));
    }
    let cells: Vec<(String, &Clip)> = clips
        .iter()
        .map(|(title, clip)| (title.clone(), clip))
        .collect();
    picture::sound_sheet(&cells, &demos.join("demos.png"))?;
    draw_loss(run)
}

fn draw_loss(run: &Path) -> Result<()> {
    let stats = read_stats(&run.join("stats.jsonl"))?;
    let training = stats.iter().map(|r| (r.step as f64, f64::from(r.loss)));
    let validation = stats
        .iter()
        .filter_map(|r| Some((r.step as f64, f64::from(r.validation?))));
    let series = [
        Series {
            name: "training".to_owned(),
            points: training.collect(),
        },
        Series {
            name: "validation".to_owned(),
            points: validation.collect(),
        },
    ];
    picture::curve(
        &run.join("loss.png"),
        "loss",
        &series,
        "step",
        "weighted loss",
        true,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_sounds_are_of_classes_from_all_over_the_list() {
        let labels = |n: usize| -> Vec<String> { (0..n).map(|i| format!("{i:02}")).collect() };
        let titles = |n: usize| -> Vec<String> {
            demos(&labels(n))
                .into_iter()
                .map(|demo| demo.title)
                .collect()
        };
        assert_eq!(
            titles(0),
            (0..16).map(|i| format!("any-{i}")).collect::<Vec<_>>()
        );
        assert_eq!(titles(3)[..4], ["00", "01", "02", "any-0"]);
        assert_eq!((titles(3).len(), titles(32).len()), (16, 16));
        assert_eq!(titles(32)[15], "30");
    }
}
