//! A CLAP and VST3 host of our own, for Linux and Windows: plays a plugin, saves its project, opens it again, and
//! demands the same sounds; or compares what two systems played.
//!
//! It is the only place besides the kernels that has `unsafe`, and it is not shipped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};

mod clap_plugin;
mod recording;
mod vst3_plugin;
mod window;

use recording::Recording;

/// Frames in a second, as every instance here has it.
const RATE: f64 = 48_000.0;
/// The longest block that an instance is given, unless its blocks are what is tested.
const BLOCK: usize = 512;
/// How many pads there are, on the keys from this one up.
const PADS: usize = 16;
const FIRST_KEY: i16 = 36;

#[derive(Parser)]
#[command(
    name = "audiodiff-host",
    about = "Holds the audiodiff plugin to what hosts rely on"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Plays every pad, saves, opens again, and demands the same sounds
    Play {
        /// A bundle (.clap, .vst3) or the shared library in it
        plugin: PathBuf,
        /// Takes the library for a plugin of this kind, where its name does not tell it
        #[arg(long, value_parser = ["clap", "vst3"])]
        format: Option<String>,
        /// Writes what the first of its instruments plays
        #[arg(long, value_name = "FILE")]
        wav: Option<PathBuf>,
        /// Opens this project of the first instrument before it plays
        #[arg(long, value_name = "FILE")]
        open: Option<PathBuf>,
        /// Saves the first instrument's project
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        /// Shows the window for so long (Windows)
        #[arg(long, value_name = "SECONDS")]
        window: Option<f64>,
    },
    /// Tells how far two WAV files are from each other, and fails where that is farther than allowed
    Compare {
        a: PathBuf,
        b: PathBuf,
        /// The greatest difference of two samples, of full scale
        #[arg(long, default_value_t = 0.0)]
        within: f32,
    },
}

/// A note that begins so many frames after the block does.
#[derive(Debug, Clone, Copy)]
struct Note {
    frame: usize,
    key: i16,
}

/// What a library has.
#[derive(Debug, Clone)]
struct Description {
    id: String,
    name: String,
}

/// A library that is loaded.
trait Library {
    fn descriptions(&self) -> Result<Vec<Description>>;
    /// A new instance, which renders offline: it waits for sounds that are being made.
    fn instance(&self, place: usize) -> Result<Box<dyn Instance + '_>>;
}

/// An instance of a plugin as its host has it.
trait Instance {
    fn activate(&mut self, most_frames: usize) -> Result<()>;
    fn deactivate(&mut self) -> Result<()>;
    /// Ends all that sounds.
    fn reset(&mut self) -> Result<()>;
    /// A block of the main output, left and right.
    fn process(&mut self, frames: usize, notes: &[Note]) -> Result<[Vec<f32>; 2]>;
    fn save(&mut self) -> Result<Vec<u8>>;
    fn load(&mut self, project: &[u8]) -> Result<()>;
    /// Shows its window and answers the system for so long. Returns its size in pixels.
    fn show(&mut self, time: Duration) -> Result<(u32, u32)>;
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Play {
            plugin,
            format,
            wav,
            open,
            save,
            window,
        } => {
            let format = match &format {
                Some(format) => format.as_str(),
                None => plugin
                    .extension()
                    .and_then(|ending| ending.to_str())
                    .context("expected --format, or a name that ends in .clap or .vst3")?,
            };
            let files = Files { wav, open, save };
            check(&plugin, format, &files, window).with_context(|| format!("{}", plugin.display()))
        }
        Task::Compare { a, b, within } => {
            let (a, b) = (Recording::read(&a)?, Recording::read(&b)?);
            let (farthest, loudest) = (a.farthest(&b)?, a.peak()?);
            println!("differ by {farthest:e} at most, of a peak of {loudest}");
            ensure!(
                farthest <= within,
                "farther from each other than {within:e}"
            );
            Ok(())
        }
    }
}

struct Files {
    wav: Option<PathBuf>,
    open: Option<PathBuf>,
    save: Option<PathBuf>,
}

fn load(plugin: &Path, format: &str) -> Result<Box<dyn Library>> {
    Ok(match format {
        "clap" => Box::new(clap_plugin::Bundle::load(plugin)?),
        "vst3" => Box::new(vst3_plugin::Bundle::load(plugin)?),
        other => bail!("expected a plugin of kind clap or vst3, found {other}"),
    })
}

fn check(plugin: &Path, format: &str, files: &Files, window: Option<f64>) -> Result<()> {
    let library = load(plugin, format)?;
    let descriptions = library.descriptions()?;
    ensure!(!descriptions.is_empty(), "expected a plugin, found none");
    let mut first = None;
    for (place, Description { id, name }) in descriptions.iter().enumerate() {
        let open = match (&files.open, place) {
            (Some(path), 0) => Some(read(path)?),
            _ => None,
        };
        let (heard, project) = check_sounds(&*library, place, open.as_deref())
            .with_context(|| format!("{name} ({id})"))?;
        println!(
            "{name} ({id}): peak {:.4}, {} bytes of project",
            heard.peak()?,
            project.len()
        );
        if let Some(seconds) = window {
            let mut instance = library.instance(place)?;
            instance.load(&project)?;
            for _ in 0..2 {
                let (width, height) = instance.show(Duration::from_secs_f64(seconds))?;
                println!("{name}: a window of {width} × {height}");
            }
        }
        first.get_or_insert((heard, project));
    }
    let (heard, project) = first.context("a plugin")?;
    // As in another session of the host.
    drop(library);
    let library = load(plugin, format)?;
    let mut instance = library.instance(0)?;
    instance.load(&project)?;
    instance.activate(BLOCK)?;
    let again = all_pads(&mut *instance)?;
    ensure!(
        again == heard,
        "the library loaded anew opens the project as other sounds"
    );
    if let Some(path) = &files.wav {
        heard.write(path)?;
    }
    if let Some(path) = &files.save {
        std::fs::write(path, &project).with_context(|| format!("{}", path.display()))?;
    }
    println!("good");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}", path.display()))
}

/// What an instrument plays, and its project: the same from another instance that opens it, in blocks of any length.
fn check_sounds(
    library: &dyn Library,
    place: usize,
    open: Option<&[u8]>,
) -> Result<(Recording, Vec<u8>)> {
    let mut instance = library.instance(place)?;
    if let Some(project) = open {
        instance.load(project)?;
    }
    instance.activate(BLOCK)?;
    let heard = all_pads(&mut *instance)?;
    let project = instance.save()?;
    instance.deactivate()?;
    drop(instance);

    // One that runs while it opens, and one that begins then.
    let mut running = library.instance(place)?;
    running.activate(BLOCK)?;
    running.process(BLOCK, &[])?;
    running.load(&project)?;
    ensure!(
        all_pads(&mut *running)? == heard,
        "opened while it runs, the project sounds different"
    );
    running.deactivate()?;
    let mut fresh = library.instance(place)?;
    fresh.load(&project)?;
    fresh.activate(BLOCK)?;
    ensure!(
        all_pads(&mut *fresh)? == heard,
        "opened before it runs, the project sounds different"
    );
    fresh.deactivate()?;

    let mut whole = None;
    for block in [17, 480, 4096] {
        let mut instance = library.instance(place)?;
        instance.load(&project)?;
        instance.activate(block)?;
        let notes = [(5, 36), (700, 46), (900, 42)].map(|(frame, key)| Note { frame, key });
        let played = play(&mut *instance, 4800, &notes, block)?;
        ensure!(
            *whole.get_or_insert_with(|| played.clone()) == played,
            "blocks of {block} frames sound different"
        );
        instance.deactivate()?;
    }
    Ok((heard, project))
}

/// Each pad alone, 0.2 s of it, one after the other.
fn all_pads(instance: &mut dyn Instance) -> Result<Recording> {
    let mut heard = Recording::default();
    for pad in 0..PADS {
        instance.reset()?;
        let note = Note {
            frame: 100,
            key: FIRST_KEY + pad as i16,
        };
        let one = play(instance, 9600, &[note], BLOCK)?;
        let peak = one.peak()?;
        ensure!(peak > 0.01, "pad {} is silent: its peak is {peak}", pad + 1);
        heard.append(&one);
    }
    Ok(heard)
}

/// What is heard in so many frames of `notes`, in blocks.
fn play(
    instance: &mut dyn Instance,
    frames: usize,
    notes: &[Note],
    block: usize,
) -> Result<Recording> {
    let mut heard = Recording::default();
    for start in (0..frames).step_by(block) {
        let now = block.min(frames - start);
        let inside = notes
            .iter()
            .filter(|note| (start..start + now).contains(&note.frame));
        let notes: Vec<_> = inside
            .map(|note| Note {
                frame: note.frame - start,
                ..*note
            })
            .collect();
        let [left, right] = instance.process(now, &notes)?;
        heard.append(&Recording { left, right });
    }
    Ok(heard)
}

/// The shared library of a bundle for this system, or the library that was named itself.
fn library_in(bundle: &Path) -> Result<PathBuf> {
    if !bundle.is_dir() {
        return Ok(bundle.to_owned());
    }
    let (folder, ending) = if cfg!(windows) {
        (format!("{}-win", std::env::consts::ARCH), "vst3")
    } else {
        (format!("{}-linux", std::env::consts::ARCH), "so")
    };
    let stem = bundle
        .file_stem()
        .context("expected a bundle with a name")?;
    let inside = bundle.join("Contents").join(folder).join(stem);
    let mut inside = inside.into_os_string();
    inside.push(".");
    inside.push(ending);
    Ok(inside.into())
}
