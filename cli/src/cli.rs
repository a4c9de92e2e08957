//! The verbs and their flags.

mod distill;
mod eval;
mod flags;
mod model;
#[cfg(feature = "play")]
mod play;
mod progress;
mod ranks;
mod render;
mod sound;
mod train;
mod training;
mod version;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use audiodiff::Error;
use audiodiff::checkpoint::Checkpoint;
use audiodiff::dataset::{self, Action, ScanOptions};
use audiodiff::error::printable;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::Value;

use flags::{CropChoice, LabelArgs};
use progress::Bar;
use ranks::Ranks;

/// An audio diffusion synthesizer: learns a folder of sounds and makes new ones.
#[derive(Parser)]
#[command(
    name = "audiodiff",
    version,
    about,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "Examples:
  audiodiff render -o kick.wav --class kick      a new kick from the built-in model
  audiodiff train ./wavs --minutes 30            learn a folder of sounds
  audiodiff render -o out.wav --model run/model.safetensors -n 16")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    global: Global,
    /// With --version: also how it was built, what this processor has, and the built-in model
    #[arg(long)]
    verbose: bool,
}

/// Flags of every verb.
#[derive(Args)]
struct Global {
    /// Say nothing but errors and what was asked for
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    /// Threads to compute with, up to 1024 [default: all cores]
    #[arg(
        long, global = true, value_name = "N", help_heading = "Global options",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Verb {
    /// Learn a folder of sounds
    Train(Box<train::TrainArgs>),
    /// Teach a model to make its sounds in few steps
    #[command(alias = "tune")]
    Distill(Box<distill::DistillArgs>),
    /// Make new sounds
    Render(Box<render::RenderArgs>),
    /// Play a sound file, or render a sound and play it
    #[cfg(feature = "play")]
    Play(Box<play::PlayArgs>),
    /// Play nothing, in this build
    #[cfg(not(feature = "play"))]
    #[command(hide = true)]
    Play {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Evaluate generated sounds by their distance to real ones
    Eval(Box<eval::EvalArgs>),
    /// Tell what a model is
    Info(model::InfoArgs),
    /// Report what a folder of sounds holds, and what training would do with each odd file
    Check(CheckArgs),
    /// Write a model anew: smaller, renamed, with a licence
    Pack(model::PackArgs),
    /// Read a Dance Diffusion checkpoint as a model
    Import(model::ImportArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for every verb into a folder
    Man {
        /// Folder to write to
        #[arg(long, short, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Args)]
struct CheckArgs {
    /// Folder of sounds; its folders name the classes (--labels)
    #[arg(value_name = "SOUNDS")]
    folder: PathBuf,
    #[command(flatten)]
    labels: LabelArgs,
    /// Where clips would begin, and where long recordings are cut
    #[arg(long, default_value = "onset")]
    crop: CropChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses, runs, and prints what went wrong: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Err(told) if told.kind() == ErrorKind::DisplayVersion && is_verbose() => {
            version::tell(&mut std::io::stdout())
        }
        Err(error) => error.exit(),
        Ok(Cli { verbose: true, .. }) => Err(usage(
            "--verbose: expected --version beside it, found a verb",
        )),
        Ok(Cli { verb, global, .. }) => run(verb, &global),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&error, None)),
    }
}

/// Whether the version is asked for with all that there is to say of it: clap reads nothing beyond `--version`.
fn is_verbose() -> bool {
    std::env::args_os().any(|word| word == "--verbose")
}

/// Says what went wrong, and who met it; returns the exit code.
fn report(error: &anyhow::Error, who: Option<String>) -> u8 {
    // A reader that has seen enough closed the pipe.
    if error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    {
        return 0;
    }
    let who = who.map_or(String::new(), |who| format!("{who}: "));
    for line in format!("{who}error: {error:#}").lines() {
        eprintln!("{}", printable(line));
    }
    let usage = matches!(error.downcast_ref::<Error>(), Some(Error::Setting(_)));
    if usage { 2 } else { 1 }
}

fn run(verb: Verb, global: &Global) -> anyhow::Result<()> {
    let ranks = match &verb {
        Verb::Train(_) => Ranks::meet("train", true)?,
        Verb::Render(args) if args.is_shard() => Ranks::alone(),
        Verb::Render(_) => Ranks::meet("render", true)?,
        Verb::Distill(_) => Ranks::meet("distill", false)?,
        Verb::Eval(_) => Ranks::meet("eval", false)?,
        _ => Ranks::alone(),
    };
    let done = run_as(verb, &ranks, &ranks.voice(global));
    if let (Err(error), Some(who)) = (&done, ranks.name()) {
        // The others wait for this rank, and must not wait for ever.
        ranks.wait_to_speak();
        ranks.end(report(error, Some(who)));
    }
    done
}

fn run_as(verb: Verb, ranks: &Ranks, global: &Global) -> anyhow::Result<()> {
    if let Some(threads) = global.threads.map(usize::from).or(ranks.threads()) {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .with_context(|| format!("--threads {threads}: they cannot be begun"))?;
    }
    match verb {
        Verb::Train(args) => train::train(&args, ranks, global),
        Verb::Distill(args) => distill::distill(&args, global),
        Verb::Render(args) => render::render(&args, ranks, global),
        #[cfg(feature = "play")]
        Verb::Play(args) => play::play(&args, global),
        #[cfg(not(feature = "play"))]
        Verb::Play { .. } => Err(usage(
            "this build lacks the `play` feature: `audiodiff render -o FILE` writes a sound to a file",
        )),
        Verb::Eval(args) => eval::eval(&args, global),
        Verb::Info(args) => model::info(&args),
        Verb::Check(args) => check(&args, global),
        Verb::Pack(args) => model::pack(&args, global),
        Verb::Import(args) => model::import(&args, global),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "audiodiff", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
        Verb::Man { out: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            let page = manual(&String::from_utf8(page)?);
            Ok(std::io::stdout().write_all(page.as_bytes())?)
        }
        Verb::Man { out: Some(folder) } => {
            audiodiff::file::make_folder(&folder)?;
            clap_mangen::generate_to(Cli::command(), &folder)
                .with_context(|| folder.display().to_string())?;
            for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
                let path = entry.map_err(Error::io(&folder))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if !name.starts_with("audiodiff") || !name.ends_with(".1") {
                    continue;
                }
                let page = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
                audiodiff::file::write_whole(&path, manual(&page).as_bytes())?;
            }
            Ok(())
        }
    }
}

/// A page of the manual as it is generated, with what is behind the options called so, and examples a line each.
fn manual(page: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = String::new();
    let mut is_example = false;
    for line in page.lines() {
        if line.starts_with("  ") != is_example {
            is_example = !is_example;
            text += if is_example { ".nf\n" } else { ".fi\n" };
        }
        match line {
            ".SH EXTRA" => text += ".SH NOTES",
            // Each verb has the program's version.
            line if line.starts_with(".TH ") => {
                let (before, _) = line.split_once(" \"").unwrap_or((line, ""));
                text += &format!("{before} \"audiodiff {version}\"");
            }
            line => text += line,
        }
        text.push('\n');
    }
    text
}

fn check(args: &CheckArgs, global: &Global) -> anyhow::Result<()> {
    let bar = Bar::new("reading sounds", global);
    let options = ScanOptions {
        crop: args.crop.into(),
        ..args.labels.scan_options()
    };
    let report = dataset::check(&args.folder, &options, &mut |done, all| bar.set(done, all))?;
    bar.finish();
    if args.json {
        print_json(&report)?;
    } else {
        write!(std::io::stdout(), "{report}")?;
    }
    let mut issues = report.issues.iter();
    match issues.find(|issue| issue.action == Action::Refused) {
        Some(issue) => anyhow::bail!(
            "{}: training refuses the class name {:?}: {}",
            args.folder.display(),
            issue.path.display().to_string(),
            issue.detail
        ),
        None => Ok(()),
    }
}

/// An error of usage: exit code 2.
fn usage(reason: impl Into<String>) -> anyhow::Error {
    Error::setting(reason).into()
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// One line of JSON.
fn print_json_line(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Repeats every value whose key was `renamed`, (now, in 0.1.0), under its older key: programs may read that until 0.3.
fn with_older_keys(value: &mut Value, renamed: &[(&str, &str)]) {
    match value {
        Value::Array(values) => {
            for value in values {
                with_older_keys(value, renamed);
            }
        }
        Value::Object(map) => {
            for value in map.values_mut() {
                with_older_keys(value, renamed);
            }
            for (now, older) in renamed {
                if let Some(value) = map.get(*now).cloned() {
                    map.entry(*older).or_insert(value);
                }
            }
        }
        _ => {}
    }
}

/// The model in a file, or the built-in one.
fn load_model(path: Option<&PathBuf>) -> anyhow::Result<Checkpoint> {
    match path {
        Some(path) => Ok(audiodiff::import::load(path)?),
        #[cfg(feature = "embedded-model")]
        None => Ok(Checkpoint::embedded()?),
        #[cfg(not(feature = "embedded-model"))]
        None => Err(usage(
            "--model: this build has no built-in model, so expected a file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Verbs and flags by their old and their present names, and with what they make a command.
    const RENAMED: [(&str, &str, &str); 13] = [
        ("tune", "distill", "FILE --data DIR"),
        (
            "render --to",
            "render --morph-to",
            "b.wav -o OUT --init a.wav",
        ),
        ("render --reference", "render --dance-diffusion", "-o OUT"),
        ("play --to", "play --morph-to", "b.wav --init a.wav"),
        ("play --reference", "play --dance-diffusion", ""),
        (
            "eval --held-out",
            "eval --validation",
            "0.1 --reference DIR",
        ),
        ("eval --against", "eval --baseline", "DIR --reference DIR"),
        (
            "eval --learnt",
            "eval --training-set",
            "DIR --reference DIR",
        ),
        (
            "eval --sheet",
            "eval --contact-sheet",
            "x.png --reference DIR",
        ),
        ("train --sigma-mean", "train --p-mean", "-1 DIR"),
        ("train --sigma-deviation", "train --p-std", "2 DIR"),
        ("train --weight-clip", "train --min-snr-gamma", "5 DIR"),
        ("train --no-portraits", "train --no-attributes", "DIR"),
    ];

    #[test]
    fn old_names_are_aliases_that_the_help_does_not_show() {
        for (old, new, rest) in RENAMED {
            if old.starts_with("play") && cfg!(not(feature = "play")) {
                continue;
            }
            let parsed = |name: &str| {
                let command = format!("audiodiff {name} {rest}");
                let found = Cli::command().try_get_matches_from(words(&command));
                let found = found.unwrap_or_else(|error| panic!("{error}"));
                Cli::from_arg_matches(&found).unwrap_or_else(|error| panic!("{error}"));
                found
            };
            assert_eq!(parsed(old), parsed(new), "{old}");
            let shown = |name: &str| {
                let mut cli = Cli::command();
                let Some((verb, flag)) = name.split_once(' ') else {
                    return cli.render_long_help().to_string().contains(name);
                };
                let verb = cli.find_subcommand_mut(verb).expect(verb);
                let help = verb.render_long_help().to_string();
                help.split_whitespace().any(|word| word == flag)
            };
            assert!(shown(new) && !shown(old), "{old}, {new}");
        }
    }

    /// The words of a command as a shell takes them apart; a comment ends it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quote) = (vec![String::new()], None);
        for c in line.chars() {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), _) if c == open => quote = None,
                (None, ' ') => words.push(String::new()),
                (None, '#' | '|' | '>' | '&' | ';') if words[words.len() - 1].is_empty() => break,
                _ => words.last_mut().expect("a word").push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    /// The commands that a document gives after `audiodiff`: whole ones in blocks of code, parts of them between
    /// backticks.
    fn commands(text: &str) -> Vec<(String, bool)> {
        let mut commands = Vec::new();
        let mut in_code = false;
        for line in text.lines() {
            let line = line.trim_start();
            if line.starts_with("```") {
                in_code = !in_code;
            } else if in_code {
                let ours = line.strip_prefix("audiodiff ");
                let ours = ours.or_else(|| Some(line.split_once("cargo run --release -- ")?.1));
                commands.extend(ours.map(|command| (command.to_owned(), true)));
            } else {
                let quoted = line.split('`').skip(1).step_by(2);
                let ours = quoted.filter_map(|code| code.strip_prefix("audiodiff "));
                commands.extend(ours.map(|command| (command.to_owned(), false)));
            }
        }
        commands
    }

    #[test]
    fn every_command_in_the_documents_and_the_help_is_one() {
        use clap::error::ErrorKind;
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut said = Vec::new();
        for document in [
            "README.md",
            "CONTRIBUTING.md",
            "ARCHITECTURE.md",
            "models/README.md",
        ] {
            let text = std::fs::read_to_string(root.join(document)).expect(document);
            let found = commands(&text).into_iter();
            said.extend(found.map(|(command, whole)| (document.to_owned(), command, whole)));
        }
        for entry in std::fs::read_dir(root.join("docs")).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a document");
            let found = commands(&text).into_iter();
            said.extend(found.map(|(command, whole)| (path.display().to_string(), command, whole)));
        }
        let mut cli = Cli::command();
        cli.build();
        for verb in std::iter::once(&cli).chain(cli.get_subcommands()) {
            let examples = verb
                .get_after_help()
                .into_iter()
                .chain(verb.get_after_long_help());
            for line in examples
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
                .lines()
            {
                let Some(command) = line.trim_start().strip_prefix("audiodiff ") else {
                    continue;
                };
                // Its explanation stands to the right.
                let command = command.split("   ").next().unwrap_or(command);
                said.push((
                    format!("help of {}", verb.get_name()),
                    command.to_owned(),
                    true,
                ));
            }
        }
        assert!(said.len() > 40, "{}", said.len());
        let wrong: Vec<String> = said
            .into_iter()
            .filter_map(|(place, command, whole)| {
                let is_old = |old: &str| {
                    let (verb, flag) = old.split_once(' ').unwrap_or((old, old));
                    let words = words(&command);
                    words.first().is_some_and(|word| word == verb)
                        && words.iter().any(|word| word == flag)
                };
                if let Some((old, new, _)) = RENAMED.iter().find(|(old, ..)| is_old(old)) {
                    return Some(format!("{place}: {command}: {old} is {new} now"));
                }
                let words = std::iter::once("audiodiff".to_owned()).chain(words(&command));
                let error = Cli::try_parse_from(words).err()?;
                let partial = matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelp
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                );
                (whole || !partial).then(|| format!("{place}: {command}: {error}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
