//! The `audiodiff` binary: parse, run, print errors once, exit code.

mod cli;

use std::process::ExitCode;

// A network frees and maps large blocks all the time; this allocator keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
