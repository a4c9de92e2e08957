//! The plugin in a CLAP host of our own, `hosts/clap.py`, which needs nothing but Python: this build aborts
//! when `process` allocates.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_plugin_keeps_its_word_to_a_clap_host() {
    // Cargo puts the shared library beside the tests that are built with it.
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libaudiodiff_plugin.so");
    assert!(library.is_file(), "{} is missing", library.display());
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts/clap.py");
    let output = Command::new("python3")
        .args([&host, &library])
        .output()
        .unwrap_or_else(|error| panic!("python3: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = log.lines().rev().take(20).collect();
    assert!(output.status.success(), "{said}{last:#?}");
}
