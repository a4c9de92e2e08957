//! `eval`: made sounds against real ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::ScanOptions;
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::error::printable;
use audiodiff::eval::{self, Ear, Estimate, Evaluation, Part, Reference, SCORES, Signal, Sounds};
use audiodiff::picture::{ClassRow, class_sheet};
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff::representation::Format;
use clap::Args;
use serde::Serialize;

use super::{Bar, DeviceChoice, Global, PrecisionChoice, catch_interrupts, keep_going, usage};

#[derive(Args)]
#[command(
    after_help = "Distances are taken to --reference; beside each stands what unseen real sounds get. With --held-out
they are taken to the sounds that training with that --validation held back, whole sources of them where there
are some, and copies are sought among the others. Then follow measures of how noise, attacks and silence are
made; what is off by more than chance is said in a sentence, last.

Examples:
  audiodiff eval --reference ./wavs
  audiodiff eval run/model.safetensors --reference ./wavs --held-out 0.1 --report report.html
  audiodiff eval ./made-by-a --against ./made-by-b --reference ./wavs"
)]
pub struct EvalArgs {
    /// A model file, or a folder of sounds [default: the built-in model]
    #[arg(value_name = "MODEL")]
    made: Option<PathBuf>,
    /// Folder of real sounds; its first level of folders names the classes
    #[arg(long, value_name = "DIR")]
    reference: PathBuf,
    /// Another model or folder of sounds, to stand beside the first
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    /// Compare to the part of the reference that training held back with this --validation
    #[arg(long, value_name = "0..0.5")]
    held_out: Option<f32>,
    /// Folder of the sounds that were learnt, to seek copies in [default: the reference]
    #[arg(long, value_name = "DIR", conflicts_with = "held_out")]
    learnt: Option<PathBuf>,
    /// Where classes come from: `folders`, `none`, or a CSV file with the columns path and label
    #[arg(long, default_value = "folders", value_name = "SOURCE")]
    labels: String,
    /// Use only these classes
    #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
    include: Vec<String>,
    /// Sounds that a model makes in each round, spread over the classes as in the reference [default: as many as
    /// the reference has]
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<usize>,
    /// Rounds of sounds that a model makes, with seeds of their own
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Seed of the first sound
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps from noise to sound [default: the model's, else 16]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// The sampler [default: the model's, else dpmpp-2m]
    #[arg(long)]
    sampler: Option<Sampler>,
    /// How the steps are spread [default: the model's, else logsnr]
    #[arg(long)]
    schedule: Option<Schedule>,
    /// How strongly to insist on the class [default: the model's, else 1.5]
    #[arg(long, value_name = "W")]
    guidance: Option<f64>,
    /// Seconds of each sound that are compared [default: the model's length, or 1.11]
    #[arg(long, value_name = "T")]
    seconds: Option<f64>,
    /// Where to compute
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the products
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the numbers, pictures of the sounds, and the sounds
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write a picture with sixteen sounds of each class beside sixteen real ones, as PNG
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

/// Where sounds come from.
enum SoundsFrom {
    Model(Box<Checkpoint>),
    Folder(PathBuf),
}

#[derive(Serialize)]
struct Summary<'a> {
    reference: &'a str,
    reference_sounds: usize,
    /// What was held back, in words.
    held_back: Option<&'a str>,
    notes: &'a [String],
    floor: &'a eval::Scores,
    #[serde(rename = "training_set")]
    learnt: Option<&'a eval::Scores>,
    results: &'a [Evaluation],
}

impl EvalArgs {
    fn open(&self, path: Option<&PathBuf>) -> anyhow::Result<SoundsFrom> {
        Ok(match path {
            Some(path) if path.is_dir() => SoundsFrom::Folder(path.clone()),
            path => SoundsFrom::Model(Box::new(super::load_model(path)?)),
        })
    }

    fn options(&self) -> ScanOptions {
        super::scan_options(&self.labels, &self.include)
    }

    fn sounds(&self, folder: &Path, ear: &Ear, global: &Global) -> anyhow::Result<Sounds> {
        let bar = Bar::new("reading sounds", global);
        let options = ScanOptions {
            validation: 0.0,
            ..self.options()
        };
        let sounds = Sounds::of_folder(folder, &options, Part::All, ear, &mut |done, all| {
            bar.set(done, all)
        })?;
        bar.finish();
        Ok(sounds)
    }

    /// The reference, and the sounds that were learnt as far as they are told.
    fn real(&self, ear: &Ear, global: &Global) -> anyhow::Result<(Sounds, Option<Sounds>)> {
        let Some(validation) = self.held_out else {
            let learnt = self.learnt.as_ref();
            let learnt = learnt.map(|folder| self.sounds(folder, ear, global));
            return Ok((
                self.sounds(&self.reference, ear, global)?,
                learnt.transpose()?,
            ));
        };
        let bar = Bar::new("reading sounds", global);
        let options = ScanOptions {
            validation,
            ..self.options()
        };
        let (held, learnt) = Sounds::parted(&self.reference, &options, ear, &mut |done, all| {
            bar.set(done, all)
        })?;
        bar.finish();
        Ok((held, Some(learnt)))
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
        let mut renderer = Renderer::new(model, &self.device.open()?)?;
        renderer.engine().set_compute_type(self.precision.into());
        let own = RenderSettings::of(&model.config);
        let settings = RenderSettings {
            steps: self.steps.unwrap_or(own.steps),
            sampler: self.sampler.unwrap_or(own.sampler),
            schedule: self.schedule.unwrap_or(own.schedule),
            guidance: self.guidance.unwrap_or(own.guidance),
            ..own
        };
        let mut wanted = reference.labels();
        if let Some(count) = self.count {
            let all = reference.sounds.len() as f64;
            for own in wanted.values_mut() {
                *own = (*own as f64 * count as f64 / all).round() as usize;
            }
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

    /// How all sounds are heard: in the models' format, with lines sought at their hop; those of folders alone at that
    /// of the built-in model.
    fn ear(&self, sources: &[SoundsFrom], global: &Global) -> anyhow::Result<Ear> {
        let format = self.format(sources)?;
        let mut hops = sources.iter().filter_map(|source| match source {
            SoundsFrom::Model(model) => Some(model.config.representation.hop()),
            SoundsFrom::Folder(_) => None,
        });
        let usual = (256.0 * f64::from(format.sample_rate) / 44_100.0).round() as usize;
        let hop = hops.next().unwrap_or(usual);
        if let Some(other) = hops.find(|other| *other != hop)
            && !global.quiet
        {
            eprintln!(
                "lines in the envelope are sought at a hop of {hop}; those of the other model's, {other}, are not"
            );
        }
        Ok(Ear::new(format, hop)?)
    }

    fn format(&self, sources: &[SoundsFrom]) -> anyhow::Result<Format> {
        let mut format: Option<Format> = None;
        for source in sources {
            let SoundsFrom::Model(model) = source else {
                continue;
            };
            let own = Format {
                channels: 1,
                ..model.config.format
            };
            if format.is_some_and(|other| other != own) {
                return Err(usage(
                    "--against: expected a model of the same rate and length; render both to folders to compare them",
                ));
            }
            format = Some(own);
        }
        let rate = format.map_or(44_100, |f| f.sample_rate);
        let own = format.map_or(49_152, |f| f.len_frames);
        let len_frames = match self.seconds {
            None => own,
            Some(seconds) if format.is_none() && (0.05..=60.0).contains(&seconds) => {
                (seconds * f64::from(rate)).round() as usize
            }
            Some(_) if format.is_some() => {
                return Err(usage(
                    "--seconds: expected only with folders; a model has its own length",
                ));
            }
            Some(seconds) => {
                return Err(usage(format!(
                    "--seconds: expected 0.05 to 60, found {seconds}"
                )));
            }
        };
        Ok(Format {
            sample_rate: rate,
            channels: 1,
            len_frames,
        })
    }
}

pub fn eval(args: &EvalArgs, global: &Global) -> anyhow::Result<()> {
    if args.rounds == 0 || args.rounds > 100 {
        return Err(usage(format!(
            "--rounds: expected 1 to 100, found {}",
            args.rounds
        )));
    }
    let mut sources = vec![args.open(args.made.as_ref())?];
    if args.against.is_some() {
        sources.push(args.open(args.against.as_ref())?);
    }
    let ear = args.ear(&sources, global)?;
    catch_interrupts()?;
    let (real, learnt) = args.real(&ear, global)?;
    let reference = Reference::new(real, learnt, args.seed)?;
    let (mut judged, mut first) = (Vec::new(), Vec::new());
    for source in &sources {
        let mut rounds = args.rounds(source, reference.sounds(), &ear, global)?;
        judged.push(reference.evaluate(&rounds)?);
        first.push(rounds.swap_remove(0));
    }
    if let Some(path) = &args.report {
        let made: Vec<&Sounds> = first.iter().collect();
        eval::report(path, &reference, &judged, &made)?;
    }
    if let Some(path) = &args.sheet {
        sheet(path, reference.sounds(), &first[0])?;
    }
    if args.json {
        return super::print_json(&Summary {
            reference: &reference.sounds().name,
            reference_sounds: reference.sounds().sounds.len(),
            held_back: reference.sounds().chosen.as_deref(),
            notes: reference.notes(),
            learnt: reference.training_scores(),
            floor: reference.floor(),
            results: &judged,
        });
    }
    print(&reference, &judged)
}

/// Draws `made` beside `real`, class by class.
fn sheet(path: &Path, real: &Sounds, made: &Sounds) -> anyhow::Result<()> {
    let labels = real.labels();
    let clips = labels.keys().map(|label| {
        let [made, real] = [made, real].map(|all| all.clips(label, usize::MAX));
        Ok((label, [made?, real?]))
    });
    let clips = clips.collect::<audiodiff::Result<Vec<_>>>()?;
    let rows = clips.iter().map(|(label, sounds)| ClassRow {
        label: label.as_deref().unwrap_or("sounds").to_owned(),
        sounds: [&sounds[0], &sounds[1]].map(|own| own.iter().map(|(_, clip)| &**clip).collect()),
    });
    let rows: Vec<ClassRow<'_>> = rows.collect();
    // A picture is shown to others: of a folder, its own name is enough.
    let [made, real] = [made, real].map(|all| Path::new(&all.name).file_name().unwrap_or_default());
    let headings = [made.to_string_lossy(), real.to_string_lossy()];
    Ok(class_sheet([&headings[0], &headings[1]], &rows, path)?)
}

fn print(reference: &Reference, judged: &[Evaluation]) -> anyhow::Result<()> {
    let shown = |estimate: Option<Estimate>, percent: bool| match estimate {
        None => "–".to_owned(),
        Some(Estimate { value, error }) if percent => {
            format!("{:.1}% ± {:.1}", 100.0 * value, 100.0 * error)
        }
        Some(Estimate { value, error }) if value.abs() >= 100.0 => {
            format!("{value:.0} ± {error:.0}")
        }
        Some(Estimate { value, error }) => format!("{value:.3} ± {error:.3}"),
    };
    let mut out = std::io::stdout().lock();
    let real = reference.sounds();
    writeln!(
        out,
        "reference: {} sounds of {}",
        real.sounds.len(),
        printable(&real.name)
    )?;
    if let Some(chosen) = &real.chosen {
        writeln!(out, "held back: {}", printable(chosen))?;
    }
    for note in reference.notes() {
        writeln!(out, "{}", printable(note))?;
    }
    for (place, judgement) in judged.iter().enumerate() {
        writeln!(
            out,
            "{}: {} sounds of {}, {} unusable",
            ["judged", "against"][place],
            judgement.sounds,
            printable(&judgement.name),
            judgement.unusable
        )?;
        for note in &judgement.notes {
            writeln!(out, "{}", printable(note))?;
        }
    }
    write!(out, "\n{:28}", "")?;
    for place in 0..judged.len() {
        write!(out, "{:>18}", ["judged", "against"][place])?;
    }
    if reference.training_scores().is_some() {
        write!(out, "{:>18}", "what was learnt")?;
    }
    writeln!(out, "{:>18}  better", "floor")?;
    for (name, get, percent, better) in SCORES {
        write!(out, "{name:28}")?;
        for judgement in judged {
            write!(out, "{:>18}", shown(get(&judgement.scores), percent))?;
        }
        if let Some(learnt) = reference.training_scores() {
            write!(out, "{:>18}", shown(get(learnt), percent))?;
        }
        writeln!(
            out,
            "{:>18}  {better}",
            shown(get(reference.floor()), percent)
        )?;
    }
    for judgement in judged {
        if !judgement.classes.is_empty() {
            writeln!(
                out,
                "\n{}\n{:16}{:>6}{:>6}{:>12}{:>8}  {:14}{:>16}",
                printable(&judgement.name),
                "class",
                "made",
                "real",
                "recognized",
                "(real)",
                "else taken for",
                "warble (real)"
            )?;
        }
        for class in &judgement.classes {
            let [made, real] = class.medians["warble, cents"];
            let cents = |x: Option<f32>| x.map_or("–".to_owned(), |x| format!("{x:.1}"));
            writeln!(
                out,
                "{:16}{:>6}{:>6}{:>11.0}%{:>7.0}%  {:14}{:>16}",
                printable(&class.label),
                class.generated,
                class.real,
                100.0 * class.consistency,
                100.0 * class.real_consistency,
                printable(class.taken_for.as_deref().unwrap_or("–")),
                format!("{} ({})", cents(made), cents(real))
            )?;
        }
        writeln!(
            out,
            "\n{:16}{:>32}{:>32}",
            "signal", "made: 10, 50, 90%", "real"
        )?;
        for row in &judgement.health {
            let three = |values: Option<[f32; 3]>| match values {
                Some(values) => values.map(|x| format!("{x:.3}")).join(" "),
                None => "–".to_owned(),
            };
            writeln!(
                out,
                "{:16}{:>32}{:>32}",
                row.measure,
                three(row.generated),
                three(row.real)
            )?;
        }
        signals(&mut out, &judgement.signals)?;
        if let Some(pair) = judgement.nearest.first() {
            let ratio = pair.ratio.map_or(String::new(), |ratio| {
                format!(", {ratio:.2} of the distance to the second")
            });
            writeln!(
                out,
                "\nnearest to a learnt sound: {} to {} ({:.2} dB{ratio}){}",
                printable(&pair.generated),
                printable(&pair.training),
                pair.distance,
                if pair.copy { ", a copy" } else { "" }
            )?;
        }
    }
    for judgement in judged {
        if judgement.verdicts.is_empty() {
            writeln!(
                out,
                "\n{}: nothing is off by more than chance",
                printable(&judgement.name)
            )?;
            continue;
        }
        writeln!(
            out,
            "\n{}: off by more than chance",
            printable(&judgement.name)
        )?;
        for verdict in &judgement.verdicts {
            writeln!(out, "  {}", printable(verdict))?;
        }
    }
    Ok(())
}

/// How noise, attacks and silence are made: all measures, and most of them by class.
fn signals(out: &mut impl Write, signals: &[Signal]) -> anyhow::Result<()> {
    let number = |value: f64| match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    let shown = |estimate: Option<Estimate>| match estimate {
        None => "–".to_owned(),
        Some(Estimate { value, error }) => format!("{value:.3} ± {error:.3}"),
    };
    writeln!(out, "\n{:28}{:>20}{:>20}", "median", "made", "real")?;
    for row in signals {
        let off = if row.off { "  off" } else { "" };
        writeln!(
            out,
            "{:28}{:>20}{:>20}{off}",
            row.measure,
            shown(row.generated),
            shown(row.real)
        )?;
    }
    const COLUMNS: [(usize, &str); 7] = [
        (0, "kurtosis"),
        (1, "hop line"),
        (2, "half"),
        (3, "quarter"),
        (5, "roughness"),
        (7, "first ms"),
        (8, "level"),
    ];
    let mut labels: Vec<&str> = (signals.iter())
        .flat_map(|row| row.classes.iter().map(|class| class.label.as_str()))
        .filter(|label| !label.is_empty())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    if labels.is_empty() {
        return Ok(());
    }
    write!(out, "\n{:16}", "made (real)")?;
    for (_, heading) in COLUMNS {
        write!(out, "{heading:>17}")?;
    }
    writeln!(out, "   * off")?;
    for label in labels {
        write!(out, "{:16}", printable(label))?;
        for (place, _) in COLUMNS {
            let class = signals
                .get(place)
                .and_then(|row| row.classes.iter().find(|class| class.label == label));
            let text = class.map_or("–".to_owned(), |class| {
                let off = if class.off { "*" } else { "" };
                format!(
                    "{off}{} ({})",
                    number(class.generated.value),
                    number(class.real.value)
                )
            });
            write!(out, "{text:>17}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
