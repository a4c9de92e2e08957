//! The `audiodiff` binary: parse, run, print errors once, exit code.

fn main() {}
