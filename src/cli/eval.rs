//! `eval`: made sounds against real ones.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::ScanOptions;
use audiodiff::diffusion::sampler::Sampler;
use audiodiff::diffusion::schedule::Schedule;
use audiodiff::eval::{self, Estimate, Judgement, Part, Reference, SCORES, Sounds};
use audiodiff::picture::{ClassRow, class_sheet};
use audiodiff::render::{RenderSettings, Renderer};
use audiodiff::representation::Format;
use clap::Args;
use serde::Serialize;

use super::{Bar, DeviceChoice, Global, PrecisionChoice, catch_interrupts, interrupted, usage};

#[derive(Args)]
#[command(
    after_help = "Distances are taken to --reference; beside each stands what real sounds get against other real
sounds. With --held-out they are taken to the sounds that training with that --validation held back, and
copies are sought among the others.

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
    /// How to walk the steps [default: the model's, else dpmpp-2m]
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
enum Source {
    Model(Box<Checkpoint>),
    Folder(PathBuf),
}

#[derive(Serialize)]
struct Summary<'a> {
    reference: &'a str,
    reference_sounds: usize,
    floor: &'a eval::Scores,
    results: &'a [Judgement],
}

impl EvalArgs {
    fn open(&self, path: Option<&PathBuf>) -> anyhow::Result<Source> {
        Ok(match path {
            Some(path) if path.is_dir() => Source::Folder(path.clone()),
            path => Source::Model(Box::new(super::load_model(path)?)),
        })
    }

    fn options(&self) -> ScanOptions {
        super::scan_options(&self.labels, &self.include)
    }

    fn sounds(
        &self,
        folder: &Path,
        part: Part,
        format: Format,
        global: &Global,
    ) -> anyhow::Result<Sounds> {
        let bar = Bar::new("reading sounds", global);
        let options = ScanOptions {
            validation: self.held_out.unwrap_or(0.0),
            ..self.options()
        };
        let sounds = Sounds::of_folder(folder, &options, part, format, &mut |done, all| {
            bar.set(done, all)
        })?;
        bar.finish();
        Ok(sounds)
    }

    /// The rounds of sounds of one source.
    fn rounds(
        &self,
        source: &Source,
        reference: &Sounds,
        format: Format,
        global: &Global,
    ) -> anyhow::Result<Vec<Sounds>> {
        let model = match source {
            Source::Folder(folder) => {
                return Ok(vec![self.sounds(folder, Part::All, format, global)?]);
            }
            Source::Model(model) => model,
        };
        let mut renderer = Renderer::new(model, &self.device.open()?)?;
        renderer.engine().use_precision(self.precision.into());
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
                foreign.join(", ")
            );
        }
        let bar = Bar::new("rendering", global);
        let each: usize = wanted.values().sum();
        let rounds = (0..self.rounds).map(|round| {
            let first = self.seed + (round * each) as u64;
            Sounds::rendered(&renderer, &settings, &wanted, first, &mut |done, _| {
                bar.set(round * each + done, self.rounds * each);
                if interrupted() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        });
        let rounds = rounds.collect::<audiodiff::Result<Vec<_>>>()?;
        bar.finish();
        Ok(rounds)
    }

    fn format(&self, sources: &[Source]) -> anyhow::Result<Format> {
        let mut format: Option<Format> = None;
        for source in sources {
            let Source::Model(model) = source else {
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
    let format = args.format(&sources)?;
    catch_interrupts()?;
    let (part, learnt) = match (&args.learnt, args.held_out) {
        (Some(folder), _) => (
            Part::All,
            Some(args.sounds(folder, Part::All, format, global)?),
        ),
        (None, Some(_)) => (
            Part::HeldBack,
            Some(args.sounds(&args.reference, Part::Learnt, format, global)?),
        ),
        (None, None) => (Part::All, None),
    };
    let real = args.sounds(&args.reference, part, format, global)?;
    let reference = Reference::new(real, learnt, args.seed)?;
    let (mut judged, mut first) = (Vec::new(), Vec::new());
    for source in &sources {
        let mut rounds = args.rounds(source, reference.sounds(), format, global)?;
        judged.push(reference.judge(&rounds)?);
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
            floor: reference.floor(),
            results: &judged,
        });
    }
    print(&reference, &judged)
}

/// Draws `made` beside `real`, class by class.
fn sheet(path: &Path, real: &Sounds, made: &Sounds) -> anyhow::Result<()> {
    let labels = real.labels();
    let rows = labels.keys().map(|label| ClassRow {
        label: label.clone().unwrap_or_else(|| "sounds".to_owned()),
        sounds: [made, real].map(|all| {
            let own = all.sounds.iter().filter(|sound| sound.label == *label);
            own.map(|sound| &*sound.clip).collect()
        }),
    });
    let rows: Vec<ClassRow<'_>> = rows.collect();
    // A picture is shown to others: of a folder, its own name is enough.
    let [made, real] = [made, real].map(|all| Path::new(&all.name).file_name().unwrap_or_default());
    let headings = [made.to_string_lossy(), real.to_string_lossy()];
    Ok(class_sheet([&headings[0], &headings[1]], &rows, path)?)
}

fn print(reference: &Reference, judged: &[Judgement]) -> anyhow::Result<()> {
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
        real.name
    )?;
    for (place, judgement) in judged.iter().enumerate() {
        writeln!(
            out,
            "{}: {} sounds of {}, {} unusable",
            ["judged", "against"][place],
            judgement.sounds,
            judgement.name,
            judgement.unusable
        )?;
    }
    write!(out, "\n{:28}", "")?;
    for place in 0..judged.len() {
        write!(out, "{:>18}", ["judged", "against"][place])?;
    }
    writeln!(out, "{:>18}  better", "floor")?;
    for (name, get, percent, better) in SCORES {
        write!(out, "{name:28}")?;
        for judgement in judged {
            write!(out, "{:>18}", shown(get(&judgement.scores), percent))?;
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
                judgement.name,
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
                class.label,
                class.made,
                class.real,
                100.0 * class.consistency,
                100.0 * class.real_consistency,
                class.taken_for.as_deref().unwrap_or("–"),
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
                three(row.made),
                three(row.real)
            )?;
        }
        if let Some(pair) = judgement.nearest.first() {
            writeln!(
                out,
                "\nnearest to a learnt sound: {} to {} ({:.2} of the distance to the second)",
                pair.made, pair.learnt, pair.ratio
            )?;
        }
    }
    Ok(())
}
