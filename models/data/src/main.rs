//! Gathers and synthesizes the sounds audiodiff's shipped model learns from.

mod collect;
mod dsp;
mod procedural;
mod soundfont;
mod wav;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
        /// Folder the packages were unpacked into; models/build-data.sh makes it
        #[arg(long)]
        unpacked: PathBuf,
        /// New folder to write LABEL/FILE, manifest.csv and LICENSES/ into
        #[arg(long)]
        out: PathBuf,
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
            every_family,
        } => {
            let count = collect::collect(&unpacked, &out, every_family)?;
            println!("{count} sounds in {}", out.display());
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
