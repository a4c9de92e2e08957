//! The instrument as a program of its own; `--help` lists its options.

use std::process::ExitCode;

fn main() -> ExitCode {
    audiodiff_plugin::standalone::run(std::env::args_os())
}
