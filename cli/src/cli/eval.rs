//! `eval`: generated sounds against real ones.

mod source;
mod table;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use audiodiff::dataset::ScanOptions;
use audiodiff::error::printable;
use audiodiff::eval::{self, Ear, Evaluation, Part, Reference, Sounds};
use audiodiff::file::make_room;
use audiodiff::picture::{ClassRow, class_sheet};
use audiodiff::render::RenderSettings;
use clap::Args;
use serde::Serialize;

use super::Global;
use super::flags::{ComputeArgs, LabelArgs, SamplingArgs, within};
use super::progress::{Bar, catch_interrupts, keep_going};
use source::{SoundsFrom, ear};

#[derive(Args)]
#[command(
    after_help = "Distances are taken to --reference; beside each stands what unseen real sounds get. With \
--validation they are taken to the sounds that training with that --validation held back, whole sources of them where \
there are some, and copies are sought among the others. Then follow measures of how noise, attacks and silence are \
made; what is off by more than chance is said in a sentence, last.

Examples:
  audiodiff eval --reference ./wavs
  audiodiff eval run/model.safetensors --reference ./wavs --validation 0.1 --report report.html
  audiodiff eval ./made-by-a --baseline ./made-by-b --reference ./wavs"
)]
pub struct EvalArgs {
    /// A model file, or a folder of sounds [default: the built-in model]
    #[arg(value_name = "MODEL")]
    evaluated: Option<PathBuf>,
    /// Folder of real sounds; its first level of folders names the classes
    #[arg(long, value_name = "DIR")]
    reference: PathBuf,
    /// Another model or folder of sounds, to stand beside the first
    #[arg(long, alias = "against", value_name = "MODEL")]
    baseline: Option<PathBuf>,
    /// Compare to the part of the reference that training held back with this --validation
    #[arg(long, alias = "held-out", value_name = "0..0.5")]
    validation: Option<f32>,
    /// Folder of the training set, to seek copies in [default: the reference]
    #[arg(
        long,
        alias = "learnt",
        value_name = "DIR",
        conflicts_with = "validation"
    )]
    training_set: Option<PathBuf>,
    #[command(flatten)]
    labels: LabelArgs,
    /// Sounds that a model generates in each round, spread over the classes as in the reference [default: as many as
    /// the reference has]
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<usize>,
    /// Rounds of sounds that a model generates, with seeds of their own
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = within::<usize>(1..=100))]
    rounds: usize,
    /// Seed of the first sound
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Seconds of each sound that are compared [default: the model's length, or 1.11]
    #[arg(long, value_name = "T", value_parser = within::<f64>(0.05..=60.0))]
    seconds: Option<f64>,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the numbers, pictures of the sounds, and the sounds
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write a picture with sixteen sounds of each class beside sixteen real ones, as PNG
    #[arg(long, alias = "sheet", value_name = "FILE")]
    contact_sheet: Option<PathBuf>,
}

#[derive(Serialize)]
struct Summary<'a> {
    reference: &'a str,
    reference_sounds: usize,
    /// Which sounds were held back, in words.
    held_back: Option<&'a str>,
    notes: &'a [String],
    floor: &'a eval::Scores,
    /// Of the training set.
    training_set: Option<&'a eval::Scores>,
    results: &'a [Evaluation],
}

/// Keys of the JSON that version 0.1.0 called otherwise.
const RENAMED: [(&str, &str); 3] = [
    ("generated", "made"),
    ("training_set", "learnt"),
    ("training", "learnt"),
];

impl EvalArgs {
    fn sounds(&self, folder: &Path, ear: &Ear, global: &Global) -> anyhow::Result<Sounds> {
        let bar = Bar::new("reading sounds", global);
        let options = ScanOptions {
            validation: 0.0,
            ..self.labels.scan_options()
        };
        let sounds = Sounds::of_folder(folder, &options, Part::All, ear, &mut |done, all| {
            bar.set(done, all);
        })?;
        bar.finish();
        Ok(sounds)
    }

    /// The reference, and the training set where it is known.
    fn real(&self, ear: &Ear, global: &Global) -> anyhow::Result<(Sounds, Option<Sounds>)> {
        let Some(validation) = self.validation else {
            let training = self.training_set.as_ref();
            let training = training.map(|folder| self.sounds(folder, ear, global));
            return Ok((
                self.sounds(&self.reference, ear, global)?,
                training.transpose()?,
            ));
        };
        let bar = Bar::new("reading sounds", global);
        let options = ScanOptions {
            validation,
            ..self.labels.scan_options()
        };
        let (held, training) = Sounds::parted(&self.reference, &options, ear, &mut |done, all| {
            bar.set(done, all);
        })?;
        bar.finish();
        Ok((held, Some(training)))
    }

    /// The rounds of sounds of one source.
    fn rounds(
        &self,
        source: &SoundsFrom,
        reference: &Sounds,
        ear: &Ear,
        global: &Global,
    ) -> anyhow::Result<Vec<Sounds>> {
        let model = match source {
            SoundsFrom::Folder(folder) => {
                return Ok(vec![self.sounds(folder, ear, global)?]);
            }
            SoundsFrom::Model(model) => model,
        };
        let renderer = self.compute.renderer(model, 0)?;
        let mut settings = RenderSettings::of(&model.config);
        self.sampling.apply(&mut settings);
        let mut wanted = reference.labels();
        if let Some(count) = self.count {
            share(&mut wanted, count);
        }
        let foreign: Vec<&str> = wanted
            .keys()
            .flatten()
            .filter(|label| !model.config.labels.contains(label))
            .map(String::as_str)
            .collect();
        if !foreign.is_empty() && !global.quiet {
            eprintln!(
                "`{}` does not know the classes {}: it is asked for any sound in their place",
                model.config.name,
                printable(&foreign.join(", "))
            );
        }
        let bar = Bar::new("rendering", global);
        let each: usize = wanted.values().sum();
        let rounds = (0..self.rounds).map(|round| {
            let first = self.seed.wrapping_add((round * each) as u64);
            Sounds::rendered(&renderer, &settings, &wanted, first, ear, &mut |done, _| {
                bar.set(round * each + done, self.rounds * each);
                keep_going()
            })
        });
        let rounds = rounds.collect::<audiodiff::Result<Vec<_>>>()?;
        bar.finish();
        Ok(rounds)
    }
}

/// Brings counts to a sum of `count`, in the proportions that they have: the largest remainders are rounded up.
fn share<K: Ord>(counts: &mut BTreeMap<K, usize>, count: usize) {
    let all = counts.values().sum::<usize>().max(1) as u128;
    let mut remainders = Vec::new();
    let mut left = count;
    for own in counts.values_mut() {
        let wanted = *own as u128 * count as u128;
        *own = (wanted / all) as usize;
        left -= *own;
        remainders.push((wanted % all, own));
    }
    // Of equal ones the first.
    remainders.sort_by_key(|(remainder, _)| Reverse(*remainder));
    for (_, own) in remainders.into_iter().take(left) {
        *own += 1;
    }
}

pub fn eval(args: &EvalArgs, global: &Global) -> anyhow::Result<()> {
    for path in args.report.iter().chain(&args.contact_sheet) {
        make_room(path)?;
    }
    let mut sources = vec![SoundsFrom::open(args.evaluated.as_ref())?];
    if args.baseline.is_some() {
        sources.push(SoundsFrom::open(args.baseline.as_ref())?);
    }
    let ear = ear(&sources, args.seconds, global)?;
    catch_interrupts()?;
    let (real, training) = args.real(&ear, global)?;
    let reference = Reference::new(real, training, args.seed)?;
    let (mut judged, mut first) = (Vec::new(), Vec::new());
    for source in &sources {
        let mut rounds = args.rounds(source, reference.sounds(), &ear, global)?;
        judged.push(reference.evaluate(&rounds)?);
        first.push(rounds.swap_remove(0));
    }
    print(args, &reference, &judged)?;
    if let Some(path) = &args.report {
        let generated: Vec<&Sounds> = first.iter().collect();
        eval::report(path, &reference, &judged, &generated)?;
    }
    if let Some(path) = &args.contact_sheet {
        sheet(path, reference.sounds(), &first[0])?;
    }
    Ok(())
}

/// Prints what was found, as tables or as JSON.
fn print(args: &EvalArgs, reference: &Reference, judged: &[Evaluation]) -> anyhow::Result<()> {
    if args.json {
        let summary = Summary {
            reference: &reference.sounds().name,
            reference_sounds: reference.sounds().sounds.len(),
            held_back: reference.sounds().chosen.as_deref(),
            notes: reference.notes(),
            training_set: reference.training_scores(),
            floor: reference.floor(),
            results: judged,
        };
        // Through text, in which a number of 32 bits keeps its few digits.
        let mut value = serde_json::from_str(&serde_json::to_string(&summary)?)?;
        super::with_older_keys(&mut value, &RENAMED);
        return super::print_json(&value);
    }
    let out = &mut std::io::stdout().lock();
    Ok(table::print(out, reference, judged)?)
}

/// Draws `generated` sounds beside `real` ones, class by class.
fn sheet(path: &Path, real: &Sounds, generated: &Sounds) -> anyhow::Result<()> {
    let labels = real.labels();
    let clips = labels.keys().map(|label| {
        let [generated, real] = [generated, real].map(|all| all.clips(label, usize::MAX));
        Ok((label, [generated?, real?]))
    });
    let clips = clips.collect::<audiodiff::Result<Vec<_>>>()?;
    let rows = clips.iter().map(|(label, sounds)| ClassRow {
        label: label.as_deref().unwrap_or("sounds").to_owned(),
        sounds: [&sounds[0], &sounds[1]].map(|own| own.iter().map(|(_, clip)| &**clip).collect()),
    });
    let rows: Vec<ClassRow<'_>> = rows.collect();
    // A picture is shown to others: of a folder, its own name is enough.
    let headings = [generated, real].map(|all| {
        let name = Path::new(&all.name).file_name().unwrap_or_default();
        name.to_string_lossy()
    });
    Ok(class_sheet([&headings[0], &headings[1]], &rows, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_are_shared_out_in_proportion_and_none_is_lost() {
        let shared = |own: [usize; 3], count| {
            let mut counts: BTreeMap<_, _> = ["a", "b", "c"].into_iter().zip(own).collect();
            share(&mut counts, count);
            counts.into_values().collect::<Vec<_>>()
        };
        assert_eq!(shared([3, 3, 3], 4), [2, 1, 1]);
        assert_eq!(shared([10, 5, 1], 8), [5, 3, 0]);
        assert_eq!(shared([10, 5, 1], 16), [10, 5, 1]);
        assert_eq!(shared([1, 1, 98], 1000), [10, 10, 980]);
        for count in 0..50 {
            assert_eq!(shared([7, 11, 2], count).iter().sum::<usize>(), count);
        }
    }
}
