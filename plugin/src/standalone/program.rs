//! The program: its options, and the wrapper around the instrument for as long as other devices are chosen.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use audiodiff::error::printable;
use audiodiff::{Error, Result};
use nice_plug::prelude::{nice_export_standalone_with_args, nice_log, nice_warn};

use super::devices::{Available, Backend, Choice, Plan, SYSTEM, jack_runs, plans};
use super::project_file::ProjectFile;
use super::{Process, default_project, process};
use crate::AudiodiffWithWheels;

/// The wrapper's options that say what is played on, long and short.
const DEVICES: [(&str, Option<&str>); 8] = [
    ("--backend", Some("-b")),
    ("--sample-rate", Some("-r")),
    ("--period-size", Some("-p")),
    ("--output-device", None),
    ("--midi-input", None),
    ("--connect-jack-midi-input", None),
    ("--input-device", None),
    ("--midi-output", None),
];

/// How long a device may take to stop after the window has closed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Our options, and those of the wrapper that do something here: it has no audio input, one layout and no MIDI output.
fn help() -> String {
    format!(
        "\
Plays the instrument in a window of its own.

Usage: audiodiff-standalone [OPTIONS]

Options:
      --project <FILE>
          The project to open, and to keep saved. A file that is not there is made.
          [default: the one that was open last]
  -b, --backend <BACKEND>
          What plays. Where this or a device is not said, it is what was chosen in the window.
          [possible values: auto, jack, {SYSTEM}, dummy]
      --output-device <NAME>
          The device to play on; an empty name lists them. Not for JACK
      --midi-input <NAME>
          The device that MIDI comes from; an empty name lists them. Not for JACK
      --connect-jack-midi-input <PORT>
          The port of JACK that MIDI comes from
  -r, --sample-rate <HZ>
          Samples in a second; JACK has its own [default: 48000]
  -p, --period-size <FRAMES>
          Frames of a block; JACK has its own [default: 512]
      --midi-capacity <EVENTS>
          MIDI events that may wait for a block [default: 2048]
      --dpi-scale <FACTOR>
          The screen's scale; macOS has its own [default: 1]
      --tempo <BPM>
          Beats in a minute [default: 120]
      --timesig-num <BEATS>
          Beats in a bar [default: 4]
      --timesig-denom <NOTE>
          The note that is a beat: 4 for quarters [default: 4]
  -h, --help
          Prints this
  -V, --version
          Prints the version
"
    )
}

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    project: Option<PathBuf>,
    /// For the wrapper.
    rest: Vec<String>,
    /// Whether they say what is played on.
    by_hand: bool,
    /// What is to be told instead of playing.
    tells: Option<String>,
}

impl Options {
    /// The first argument is the program.
    fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let mut options = Self {
            project: None,
            rest: Vec::new(),
            by_hand: false,
            tells: None,
        };
        let mut arguments = arguments.into_iter();
        let program = arguments.next().unwrap_or_default();
        options.rest.push(program.to_string_lossy().into_owned());
        let missing = || Error::setting("--project: expected a file, found nothing");
        while let Some(argument) = arguments.next() {
            let argument = argument.into_string().map_err(|found| {
                Error::setting(format!(
                    "expected an option in UTF-8, found {}; `--project` takes a file of any name",
                    printable(&found.to_string_lossy())
                ))
            })?;
            if argument == "--project" {
                let path = arguments.next().ok_or_else(missing)?;
                options.project = Some(path.into());
            } else if let Some(path) = argument.strip_prefix("--project=") {
                options.project = Some(path.into());
            } else if argument == "--help" || argument == "-h" {
                options.tells = Some(help());
            } else if argument == "--version" || argument == "-V" {
                let version = env!("CARGO_PKG_VERSION");
                options.tells = Some(format!("audiodiff-standalone {version}\n"));
            } else {
                options.by_hand |= Devices::of(&argument) != Devices::No;
                options.rest.push(argument);
            }
        }
        match &options.project {
            Some(path) if path.as_os_str().is_empty() => Err(missing()),
            _ => Ok(options),
        }
    }

    /// Takes the project's file; with a sentence for the user if it is not the one that was open last.
    fn take_project(&self) -> Result<(ProjectFile, Option<String>)> {
        if let Some(path) = &self.project {
            return Ok((ProjectFile::take(path)?, None));
        }
        let path = default_project().ok_or_else(|| {
            Error::setting("there is no folder for the user's data: name a file by --project")
        })?;
        let file = ProjectFile::take_free(&path).map_err(|error| {
            Error::setting(format!(
                "{error}; the project is kept there: --project FILE names another place"
            ))
        })?;
        let remark = (file.path() != path).then(|| {
            let name = file.path().file_name().unwrap_or_default();
            format!(
                "{} is open in another window: this is {} beside it",
                path.display(),
                name.display()
            )
        });
        Ok((file, remark))
    }
}

/// Runs the instrument as a program of its own, with these arguments, until its window is closed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let refuse = |error: Error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    };
    let options = match Options::of(arguments) {
        Ok(options) => options,
        Err(error) => return refuse(error),
    };
    if let Some(text) = &options.tells {
        // Whoever reads it may have seen enough.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return ExitCode::SUCCESS;
    }
    let (project, mut remark) = match options.take_project() {
        Ok(taken) => taken,
        Err(error) => return refuse(error),
    };
    let project = Arc::new(project);
    if let Some(remark) = &remark {
        eprintln!("{remark}");
    }
    let mut by_hand = options.by_hand;
    loop {
        let available = Available::now();
        let plans = match by_hand {
            true => vec![Plan::by_hand()],
            false => plans(&Choice::load(), &available),
        };
        let mut is_well = false;
        for plan in plans {
            // The wrapper would call it an error that it is not there.
            if plan.backend == Some(Backend::Jack) && !jack_runs() {
                continue;
            }
            let mut arguments = options.rest.clone();
            if !by_hand {
                arguments = without_devices(arguments);
                arguments.extend(plan.arguments());
            }
            nice_log!("plays by {:?}", &arguments[1..]);
            *process() = Some(Process {
                project: project.clone(),
                available: available.clone(),
                news: remark.iter().chain(&plan.remarks).cloned().collect(),
                plan,
                opened: false,
                closes: false,
                keeper: None,
                again: false,
            });
            is_well = nice_export_standalone_with_args::<AudiodiffWithWheels, _>(arguments);
            // Where no window has opened, there was no such device.
            if is_well || process().as_ref().is_some_and(|it| it.opened) {
                break;
            }
        }
        let again = process().take().is_some_and(|it| it.again);
        if !again {
            return if is_well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        // What was chosen in the window comes before what was said at the start.
        by_hand = false;
        remark = None;
    }
}

/// Arguments without those that say what is played on.
fn without_devices(arguments: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match Devices::of(&argument) {
            Devices::No => kept.push(argument),
            Devices::Whole => {}
            // Its value comes next.
            Devices::Begun => drop(arguments.next()),
        }
    }
    kept
}

/// Whether an argument says what is played on.
#[derive(PartialEq)]
enum Devices {
    No,
    /// With its value.
    Whole,
    /// Its value is the next argument.
    Begun,
}

impl Devices {
    fn of(argument: &str) -> Self {
        for (long, short) in DEVICES {
            let is_short = |it: &str| argument.len() > it.len() && argument.starts_with(it);
            if argument == long || Some(argument) == short {
                return Self::Begun;
            }
            let value = argument.strip_prefix(long);
            if value.is_some_and(|it| it.starts_with('=')) || short.is_some_and(is_short) {
                return Self::Whole;
            }
        }
        Self::No
    }
}

/// Once the window closes: goes on without the device if that does not stop. Some drivers never return.
pub(super) fn expect_end() {
    let waits = std::thread::Builder::new().spawn(|| {
        std::thread::sleep(PATIENCE);
        let Some(process) = process().take_if(|it| it.keeper.is_some() && it.closes) else {
            return;
        };
        nice_warn!("the audio device does not stop");
        // Saves.
        drop(process.keeper);
        #[cfg(unix)]
        if process.again {
            use std::os::unix::process::CommandExt;
            if let Ok(program) = std::env::current_exe()
                && let Ok(options) = Options::of(std::env::args_os())
            {
                let mut command = std::process::Command::new(program);
                command.args(without_devices(options.rest).drain(1..));
                if let Some(path) = options.project {
                    command.arg("--project").arg(path);
                }
                nice_warn!("{}", command.exec());
            }
        }
        std::process::exit(0);
    });
    // Else it ends when the driver does.
    drop(waits);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options> {
        let all = std::iter::once("audiodiff").chain(text.split_whitespace());
        Options::of(all.map(OsString::from))
    }

    #[test]
    fn our_option_is_taken_out_and_devices_are_found() {
        for (text, project, by_hand, rest) in [
            ("", None, false, ""),
            (
                "--project a.json --tempo 90",
                Some("a.json"),
                false,
                "--tempo 90",
            ),
            (
                "--backend dummy --project=b",
                Some("b"),
                true,
                "--backend dummy",
            ),
            ("-bjack", None, true, "-bjack"),
            ("--dpi-scale=2", None, false, "--dpi-scale=2"),
            ("--backends x -l 1", None, false, "--backends x -l 1"),
        ] {
            let options = options(text).unwrap();
            assert_eq!(options.project, project.map(PathBuf::from), "{text}");
            assert_eq!(
                (options.by_hand, options.rest[1..].join(" ")),
                (by_hand, rest.into())
            );
        }
        for missing in ["--project", "--project="] {
            assert!(
                options(missing)
                    .unwrap_err()
                    .to_string()
                    .contains("found nothing")
            );
        }
        for told in ["-h", "--help", "--tempo 90 -h", "--version --help"] {
            let text = options(told).unwrap().tells.unwrap();
            assert!(text.contains("\nUsage: audiodiff-standalone"), "{text}");
        }
        let version = options("-V").unwrap().tells;
        let expected = concat!("audiodiff-standalone ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(version.as_deref(), Some(expected));
        let all = "a -b dummy --tempo 90 --sample-rate=44100 -p64 --midi-input x -l 1";
        let kept = without_devices(all.split(' ').map(str::to_owned).collect());
        assert_eq!(kept.join(" "), "a --tempo 90 -l 1");
    }
}
