//! The instrument as a program of its own; `--help` lists its options.

use audiodiff_plugin::Audiodiff;
use nice_plug::prelude::nice_export_standalone;

fn main() {
    nice_export_standalone::<Audiodiff>();
}
