//! `cargo xtask bundle` builds the plugin and wraps it as a CLAP and a VST3; `cargo xtask install` also
//! copies them to where hosts look for a user's plugins. `cargo xtask package` makes what people download, and
//! `cargo xtask book` makes pages of `docs/`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde::Deserialize;

mod book;
mod bundle;
mod macho;
mod notices;
mod package;
mod page;

use bundle::{Class, Format, Product, System, Target};
use package::Kind;

/// The package of the instrument, as a plugin and as a program.
const INSTRUMENT: &str = "audiodiff-plugin";

/// The target whose files run on both of Apple's processors, and those.
const UNIVERSAL: &str = "universal-apple-darwin";
const APPLE: [&str; 2] = ["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// The environment variable whose command signs bundles for macOS instead of the one in `bundler.toml`.
const SIGN_VARIABLE: &str = "AUDIODIFF_SIGN";

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Bundles, installs and packages; makes the book"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the plugin and puts its bundles into target/bundled
    Bundle(Build),
    /// Bundles, then copies to the folders where hosts look for this user's plugins
    Install(Build),
    /// Makes what people download, in target/packages, with SHA256SUMS
    Package {
        /// What to make
        kind: Kind,
        /// For another machine, e.g. x86_64-pc-windows-gnu
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
    },
    /// Builds the book of docs/ into target/book, and follows its links
    Book,
}

#[derive(Args, Clone)]
struct Build {
    /// The package that is the plugin
    #[arg(default_value = INSTRUMENT)]
    package: String,
    /// Optimised; without it, the build that aborts when the audio thread allocates
    #[arg(long)]
    release: bool,
    /// For another machine, e.g. x86_64-pc-windows-msvc; universal-apple-darwin is both of Apple's
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Features of the package, with commas between
    #[arg(long)]
    features: Option<String>,
    /// Without the features it has by default
    #[arg(long)]
    no_default_features: bool,
    /// Only with what Cargo.lock names
    #[arg(long)]
    locked: bool,
}

/// A package in `bundler.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    id: String,
    sign: Option<String>,
    vendor: String,
    vst3: Vec<Class>,
}

impl Entry {
    fn product(&self, version: &str) -> Product {
        Product {
            name: self.name.clone(),
            id: self.id.clone(),
            version: version.to_owned(),
            vendor: self.vendor.clone(),
            classes: self.vst3.clone(),
        }
    }
}

/// A package's entry in the `bundler.toml` of a workspace.
fn entry(workspace: &Path, package: &str) -> Result<Entry> {
    let manifest = workspace.join("bundler.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    let mut entries: BTreeMap<String, Entry> =
        toml::from_str(&text).with_context(|| manifest.display().to_string())?;
    let entry = entries.remove(package);
    entry.with_context(|| format!("{}: no entry for {package}", manifest.display()))
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Bundle(build) => {
            bundles(&build)?;
        }
        Task::Install(build) => {
            let target = target(&build)?;
            if build.target.is_some() {
                bail!("install: expected this machine's own target, found --target");
            }
            for (format, bundle) in bundles(&build)? {
                let folder = format
                    .user_folder(target.system)
                    .context("this user has no home folder")?;
                println!("{}", bundle::install(&bundle, &folder)?.display());
            }
        }
        Task::Package { kind, target } => {
            let build = Build {
                package: INSTRUMENT.to_owned(),
                release: true,
                target,
                features: None,
                no_default_features: false,
                locked: true,
            };
            println!("{}", package::package(kind, &build)?.display());
        }
        Task::Book => {
            let metadata = metadata()?;
            let out = metadata.target_directory.join("book");
            let pages = book::build(&metadata.workspace_root, &out)?;
            println!("{}: {pages} pages", out.join("index.html").display());
        }
    }
    Ok(())
}

/// Builds and bundles.
fn bundles(build: &Build) -> Result<Vec<(Format, PathBuf)>> {
    let metadata = metadata()?;
    let entry = entry(&metadata.workspace_root, &build.package)?;
    let product = entry.product(metadata.version(&build.package)?);
    let target = target(build)?;
    let folder = metadata.target_directory.join("bundled");
    let built = compile(build, None)?;
    let copy = folder.join("library");
    let binary = if build.release {
        without_builder(&built, &metadata.workspace_root, &copy)?;
        &copy
    } else {
        &built
    };
    let mut made = Vec::new();
    for format in Format::ALL {
        let place = bundle::bundle(&product, &target, format, binary, &folder)?;
        if target.system == System::Macos {
            sign(entry.sign.as_deref(), &place)?;
        }
        println!("{}", place.display());
        made.push((format, place));
    }
    if build.release {
        std::fs::remove_file(&copy)?;
    }
    Ok(made)
}

/// Copies a library without the places where its builder keeps sources: panics name files by their whole paths.
fn without_builder(binary: &Path, workspace: &Path, copy: &Path) -> Result<()> {
    let mut bytes = std::fs::read(binary)?;
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = own.or_else(|| Some(dirs::home_dir()?.join(".cargo")));
    for place in cargo.iter().map(PathBuf::as_path).chain([workspace]) {
        bundle::forget(&mut bytes, place.as_os_str().as_encoded_bytes());
    }
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(binary, copy)?;
    std::fs::write(copy, bytes)?;
    Ok(())
}

/// Where the bundles are to run: what was asked for, or else this machine.
fn target(build: &Build) -> Result<Target> {
    if let Some(triple) = &build.target {
        return Target::parse(triple);
    }
    Target::parse(&host()?)
}

/// This machine, as a target.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV: expected a line that begins with host:")?;
    Ok(host.to_owned())
}

/// Builds the package's shared library, or its program of this name, and says where it is. For [`UNIVERSAL`] that is one
/// file with both of Apple's processors in it.
fn compile(build: &Build, program: Option<&str>) -> Result<PathBuf> {
    if build.target.as_deref() != Some(UNIVERSAL) {
        return compile_one(build, program);
    }
    let parts = APPLE.map(|triple| {
        let build = Build {
            target: Some(triple.to_owned()),
            ..build.clone()
        };
        compile_one(&build, program)
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    let folder = metadata()?.target_directory.join(UNIVERSAL);
    std::fs::create_dir_all(&folder)?;
    let name = parts[0].file_name().context("a built file has a name")?;
    let whole = folder.join(name);
    let mut command = Command::new("lipo");
    command
        .args(["-create", "-output"])
        .arg(&whole)
        .args(&parts);
    let status = command.status();
    match status.context("cannot run lipo, which comes with Xcode")? {
        status if status.success() => Ok(whole),
        status => bail!("lipo: {status}"),
    }
}

/// Builds for one processor.
fn compile_one(build: &Build, program: Option<&str>) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<Made>,
        #[serde(default)]
        filenames: Vec<PathBuf>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Made {
        crate_types: Vec<String>,
        name: String,
    }
    let mut command = cargo();
    command.args(["build", "--message-format=json-render-diagnostics"]);
    command.args(["--package", &build.package]);
    match program {
        Some(name) => command.args(["--bin", name]),
        None => command.arg("--lib"),
    };
    if build.release {
        command.arg("--release");
    }
    if build.target.as_deref() == Some(page::TARGET) {
        // What wasm-bindgen has to know of the program stands among what is stripped.
        command.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    }
    for (flag, on) in [
        ("--no-default-features", build.no_default_features),
        ("--locked", build.locked),
    ] {
        if on {
            command.arg(flag);
        }
    }
    for (flag, value) in [("--target", &build.target), ("--features", &build.features)] {
        if let Some(value) = value {
            command.args([flag, value]);
        }
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("cargo's output is ours")?;
    let crate_name = build.package.replace('-', "_");
    let mut found = None;
    for line in BufReader::new(output).lines() {
        let Ok(message) = serde_json::from_str::<Message>(&line?) else {
            continue;
        };
        let kind = if program.is_some() { "bin" } else { "cdylib" };
        let name = program.unwrap_or(&crate_name);
        let ours = |made: &Made| made.name == name && made.crate_types.iter().any(|it| it == kind);
        if message.reason == "compiler-artifact" && message.target.as_ref().is_some_and(ours) {
            if program.is_some() {
                found = message.executable;
                continue;
            }
            let shared = ["so", "dylib", "dll", "wasm"];
            found = message.filenames.into_iter().find(|path| {
                path.extension()
                    .is_some_and(|extension| shared.iter().any(|s| *s == extension))
            });
        }
    }
    if !child.wait()?.success() {
        bail!("cargo build failed");
    }
    let what = program.unwrap_or("a shared library");
    found.with_context(|| format!("{}: expected {what}, found none", build.package))
}

/// Has a program or a bundle signed. A command's words are apart and in quotes as a shell's are.
fn sign(command: Option<&str>, bundle: &Path) -> Result<()> {
    let own = std::env::var(SIGN_VARIABLE).ok();
    sign_by(own.as_deref(), command, bundle)
}

/// [`sign`] where the environment asks for the command `own`.
fn sign_by(own: Option<&str>, command: Option<&str>, bundle: &Path) -> Result<()> {
    let Some(command) = own.or(command) else {
        return Ok(());
    };
    let words = shlex::split(command)
        .with_context(|| format!("expected quotes in pairs, found {command}"))?;
    let Some((program, words)) = words.split_first() else {
        return Ok(());
    };
    match Command::new(program).args(words).arg(bundle).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("{command} {}: {status}", bundle.display()),
        // Bundled elsewhere than on a Mac, it is signed there.
        Err(error) if own.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!(
                "{} is not signed: there is no {program} here",
                bundle.display()
            );
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("cannot run {program}")),
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

impl Metadata {
    /// The version of a package.
    fn version(&self, package: &str) -> Result<&str> {
        let found = self.packages.iter().find(|it| it.name == package);
        let found = found.with_context(|| format!("no package is called {package}"))?;
        Ok(&found.version)
    }
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

fn metadata() -> Result<Metadata> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("cargo metadata failed");
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn an_identity_with_spaces_is_one_word_of_the_command_that_signs() {
        let folder = tempfile::tempdir().unwrap();
        let heard = folder.path().join("heard");
        let bundle = folder.path().join("a b.clap");
        let name = "Developer ID Application: M. O'Name (ABCDE12345)";
        // A shell that writes down its arguments.
        let command = format!(
            r#"sh -c 'printf "%s\n" "$@" > "{}"' sh --options runtime --sign "{name}""#,
            heard.display()
        );
        sign_by(Some(&command), Some("no-such-program"), &bundle).unwrap();
        let heard = std::fs::read_to_string(heard).unwrap();
        let expected = ["--options", "runtime", "--sign", name];
        let expected = expected.into_iter().chain(bundle.to_str());
        assert_eq!(
            heard.lines().collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_command_that_cannot_sign_is_told_unless_there_is_none_here() {
        let bundle = Path::new("it.clap");
        let missing = Some("no-such-program --sign -");
        let error = sign_by(Some("codesign --sign 'half"), None, bundle).unwrap_err();
        assert!(error.to_string().contains("quotes in pairs"), "{error}");
        #[cfg(unix)]
        assert!(sign_by(None, Some("sh -c 'exit 3'"), bundle).is_err());
        // A bundle made elsewhere than on a Mac is signed there; but who asks for a signature gets it or hears why not.
        sign_by(None, missing, bundle).unwrap();
        sign_by(missing, None, bundle).unwrap_err();
    }
}
