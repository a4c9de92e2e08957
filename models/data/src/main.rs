//! Gathers and synthesizes the sounds audiodiff's shipped model learns from.

mod card;
mod collect;
mod dsp;
mod procedural;
mod repository;
mod soundfont;
mod wav;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::collect::Places;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Gather every sound the shipped model learns: recorded ones from unpacked packages, and our own
    Collect {
        /// Folder the packages and repositories were unpacked into; models/build-data.sh makes it
        #[arg(long)]
        unpacked: PathBuf,
        /// New folder to write LABEL/FILE, manifest.csv, CARD.md and LICENSES/ into
        #[arg(long)]
        out: PathBuf,
        /// New folder for the same of the sources that no training sees
        #[arg(long)]
        held_out: PathBuf,
        /// Name what is missing and make the rest, instead of making nothing
        #[arg(long)]
        partial: bool,
        /// Also gather families the shipped model does not learn, such as strings, winds and loops
        #[arg(long)]
        every_family: bool,
    },
    /// Synthesize one-shots of our own into folders by label
    Procedural {
        /// Folder to write LABEL/procedural__STYLE_NNN.wav into
        #[arg(long)]
        out: PathBuf,
        /// Another seed makes other sounds
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Sounds per label [default: balanced against the recorded sounds]
        #[arg(long)]
        per_class: Option<usize>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Collect {
            unpacked,
            out,
            held_out,
            partial,
            every_family,
        } => {
            let places = Places {
                unpacked: &unpacked,
                out: &out,
                held_out: &held_out,
            };
            let counts = collect::collect(&places, every_family, partial)?;
            println!("{} sounds in {}", counts.learnt, out.display());
            println!("{} sounds in {}", counts.held_out, held_out.display());
        }
        Command::Procedural {
            out,
            seed,
            per_class,
        } => {
            let written = procedural::write(&out, seed, per_class)?;
            println!("{} sounds in {}", written.len(), out.display());
        }
    }
    Ok(())
}
