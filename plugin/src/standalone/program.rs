//! The program: its options, and the wrapper around the instrument for as long as other devices are chosen.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use audiodiff::{Error, Result};
use nice_plug::prelude::{nice_export_standalone_with_args, nice_log, nice_warn};

use super::devices::{Available, Choice, Plan, plans};
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

const HELP: &str = "\
      --project <FILE>
          The project to open, and to save; without it, the one that was open last.
";

/// What the command line says.
#[derive(Debug, PartialEq)]
struct Options {
    project: Option<PathBuf>,
    /// For the wrapper.
    rest: Vec<String>,
    /// Whether they say what is played on.
    by_hand: bool,
    help: bool,
}

impl Options {
    fn of(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            project: None,
            rest: Vec::new(),
            by_hand: false,
            help: false,
        };
        let mut arguments = arguments.into_iter();
        options.rest.extend(arguments.next());
        let missing = || Error::setting("--project: expected a file, found nothing");
        while let Some(argument) = arguments.next() {
            if argument == "--project" {
                let path = arguments.next().ok_or_else(missing)?;
                options.project = Some(path.into());
            } else if let Some(path) = argument.strip_prefix("--project=") {
                options.project = Some(path.into());
            } else {
                options.by_hand |= Devices::of(&argument) != Devices::No;
                options.help |= argument == "--help" || argument == "-h";
                options.rest.push(argument);
            }
        }
        match &options.project {
            Some(path) if path.as_os_str().is_empty() => Err(missing()),
            _ => Ok(options),
        }
    }

    fn take_project(&self) -> Result<ProjectFile> {
        match (&self.project, default_project()) {
            (Some(path), _) => ProjectFile::take(path),
            (None, Some(path)) => ProjectFile::take_free(&path),
            (None, None) => Err(Error::setting(
                "there is no folder for the user's data: name a file by --project",
            )),
        }
    }
}

/// Runs the instrument as a program of its own, with these arguments, until its window is closed.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let begun = Options::of(arguments).and_then(|options| {
        if options.help {
            println!("{HELP}");
        }
        let project = Arc::new(options.take_project()?);
        Ok((options, project))
    });
    let (options, project) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut by_hand = options.by_hand;
    loop {
        let available = Available::now();
        let plans = match by_hand {
            true => vec![Plan::by_hand()],
            false => plans(&Choice::load(), &available),
        };
        let mut is_well = false;
        for plan in plans {
            let mut arguments = options.rest.clone();
            if !by_hand {
                arguments = without_devices(arguments);
                arguments.extend(plan.arguments());
            }
            nice_log!("plays by {:?}", &arguments[1..]);
            *process() = Some(Process {
                project: project.clone(),
                available: available.clone(),
                news: plan.remarks.clone(),
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
            if let Ok(program) = std::env::current_exe() {
                let arguments = without_devices(std::env::args().skip(1).collect());
                let error = std::process::Command::new(program).args(arguments).exec();
                nice_warn!("{error}");
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
        Options::of(all.map(str::to_owned))
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
        let all = "a -b dummy --tempo 90 --sample-rate=44100 -p64 --midi-input x -l 1";
        let kept = without_devices(all.split(' ').map(str::to_owned).collect());
        assert_eq!(kept.join(" "), "a --tempo 90 -l 1");
    }
}
