//! What people download: an archive for each system, a Debian package, a Python wheel.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::read::pe::PeFile64;
use object::{FileKind, LittleEndian};
use sha2::{Digest, Sha256};

use super::bundle::{self, System};
use super::{
    APPLE, Build, INSTRUMENT, Metadata, UNIVERSAL, bundles, cargo, compile, entry, macho, metadata,
    sign, target, without_builder,
};
use super::{book, notices, page};

/// The package of the command line.
const COMMAND: &str = "audiodiff-cli";

/// The package of the page.
const PAGE: &str = "audiodiff-web";

/// The newest glibc that packages for Linux may need: that of Debian 12 and Ubuntu 22.04. What is built on a newer
/// system may need a newer one.
pub const GLIBC: (u32, u32) = (2, 35);

/// The file that names the hash of each package.
pub const CHECKSUMS: &str = "SHA256SUMS";

/// The environment variable that names a program to run on what is to be packed, with the folder after it, once all in it
/// is signed: on macOS, to have Apple notarize it.
const NOTARIZE_VARIABLE: &str = "AUDIODIFF_NOTARIZE";

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An archive that is unpacked anywhere: .tar.gz, for Windows .zip
    Archive,
    /// A Debian package, by cargo-deb
    Deb,
    /// A Python wheel that carries the command line, by maturin
    Wheel,
    /// A page for browsers, one file with the built-in model in it
    Page,
}

/// Makes a package in `target/packages` and returns its path.
pub fn package(kind: Kind, build: &Build) -> Result<PathBuf> {
    let metadata = metadata()?;
    let folder = metadata.target_directory.join("packages");
    fs::create_dir_all(&folder)?;
    let made = match kind {
        Kind::Archive => archive(&metadata, build, &folder)?,
        Kind::Deb => deb(&metadata, build, &folder)?,
        Kind::Wheel => wheel(&metadata, build, &folder)?,
        Kind::Page => page(&metadata, build, &folder)?,
    };
    write_checksums(&folder)?;
    Ok(made)
}

/// Puts all that a package holds into `folder`: programs, plugins, manual pages, completions, documents and licences.
fn stage(metadata: &Metadata, build: &Build, folder: &Path) -> Result<()> {
    bundle::remove(folder)?;
    fs::create_dir_all(folder)?;
    let target = target(build)?;
    let entry = entry(&metadata.workspace_root, &build.package)?;
    let programs = [
        (COMMAND, "audiodiff", None),
        (INSTRUMENT, "audiodiff-standalone", Some("standalone")),
    ];
    for (package, name, features) in programs {
        let build = Build {
            package: package.to_owned(),
            features: features.map(str::to_owned),
            ..build.clone()
        };
        let built = compile(&build, Some(name))?;
        let place = folder.join(built.file_name().context("a program has a name")?);
        without_builder(&built, &metadata.workspace_root, &place)?;
        match target.system {
            System::Linux => check_glibc(&place)?,
            System::Macos => {
                macho::check(&place, macho::Kind::Program, &target.archs())?;
                // Its linker's signature broke with its builder's paths, and Apple's processors run nothing unsigned.
                sign(entry.sign.as_deref(), &place)?;
            }
            System::Windows => {}
        }
    }
    for (_, bundle) in bundles(build)? {
        bundle::install(&bundle, folder)?;
    }
    if target.system == System::Windows {
        for file in bundle::files(folder)? {
            check_imports(&folder.join(file))?;
        }
    }
    if let Some(command) = std::env::var_os(NOTARIZE_VARIABLE).filter(|it| !it.is_empty()) {
        run(Command::new(command).arg(folder))?;
    }
    documents(&metadata.workspace_root, folder)?;
    let notices = notices_of(metadata, &[COMMAND, INSTRUMENT], &target.triple)?;
    fs::write(folder.join(notices::NAME), notices)?;
    // The program of another machine tells nothing here; this one's is the same.
    let command = Build {
        package: COMMAND.to_owned(),
        target: None,
        features: None,
        ..build.clone()
    };
    let program = compile(&command, Some("audiodiff"))?;
    if target.system != System::Windows {
        let man = folder.join("man");
        run(Command::new(&program).arg("man").arg("--out").arg(&man))?;
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for (shell, file) in [
        ("bash", "audiodiff.bash"),
        ("zsh", "_audiodiff"),
        ("fish", "audiodiff.fish"),
        ("powershell", "audiodiff.ps1"),
    ] {
        let output = Command::new(&program)
            .args(["completions", shell])
            .output()?;
        if !output.status.success() {
            bail!("audiodiff completions {shell}: {}", output.status);
        }
        fs::write(completions.join(file), output.stdout)?;
    }
    Ok(())
}

/// The notices of what is made of these packages for a target.
fn notices_of(metadata: &Metadata, roots: &[&str], triple: &str) -> Result<String> {
    let triples = match triple {
        UNIVERSAL => &APPLE[..],
        one => &[one],
    };
    notices::collect(&metadata.workspace_root, roots, triples)
}

/// Puts what people read into `folder`: how to begin, and the book, which holds the model card and its pictures.
fn documents(workspace: &Path, folder: &Path) -> Result<()> {
    for (from, to) in [
        ("plugin/xtask/INSTALL.md", "README.md"),
        ("CHANGELOG.md", "CHANGELOG.md"),
        ("LICENSE-APACHE", "LICENSE-APACHE"),
        ("LICENSE-MIT", "LICENSE-MIT"),
    ] {
        bundle::copy(&workspace.join(from), &folder.join(to))?;
    }
    book::build(workspace, &folder.join("book"))?;
    Ok(())
}

fn page(metadata: &Metadata, build: &Build, folder: &Path) -> Result<PathBuf> {
    if let Some(other) = &build.target {
        bail!("package page: every system runs the same one; expected no --target, found {other}");
    }
    let program = compile(
        &Build {
            package: PAGE.to_owned(),
            target: Some(page::TARGET.to_owned()),
            ..build.clone()
        },
        None,
    )?;
    let copy = metadata.target_directory.join("package").join("page");
    bundle::remove(&copy)?;
    let whole = copy.join("audiodiff.wasm");
    without_builder(&program, &metadata.workspace_root, &whole)?;
    let web = metadata.workspace_root.join("web");
    let notices = notices_of(metadata, &[PAGE], page::TARGET)?;
    let page = page::build(&web, &whole, &notices, &copy)?;
    let path = folder.join(format!("audiodiff-{}.html", metadata.version(PAGE)?));
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn archive(metadata: &Metadata, build: &Build, folder: &Path) -> Result<PathBuf> {
    let target = target(build)?;
    let name = format!("audiodiff-{}-{}", metadata.version(COMMAND)?, target.triple);
    let staged = metadata.target_directory.join("package").join(&name);
    stage(metadata, build, &staged)?;
    match target.system {
        System::Windows => zip(&staged, &name, &folder.join(format!("{name}.zip"))),
        System::Linux | System::Macos => {
            tar(&staged, &name, &folder.join(format!("{name}.tar.gz")))
        }
    }
}

/// Whether a file is a program: the others are read.
fn is_program(path: &Path) -> bool {
    let ending = path.extension().and_then(std::ffi::OsStr::to_str);
    match ending {
        None => path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("audiodiff")
        }),
        Some(ending) => ["so", "clap", "exe", "vst3"].contains(&ending),
    }
}

/// Time stands still in archives: 2000-01-01.
const TIME: u64 = 946_684_800;

fn tar(folder: &Path, name: &str, place: &Path) -> Result<PathBuf> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut archive = tar::Builder::new(packed);
    for file in bundle::files(folder)? {
        let bytes = fs::read(folder.join(&file))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(if is_program(&file) { 0o755 } else { 0o644 });
        header.set_mtime(TIME);
        archive.append_data(&mut header, Path::new(name).join(&file), &bytes[..])?;
    }
    fs::write(place, archive.into_inner()?.finish()?)?;
    Ok(place.to_owned())
}

/// Windows opens no other archive everywhere. Its own tar writes them; elsewhere `zip` does.
fn zip(folder: &Path, name: &str, place: &Path) -> Result<PathBuf> {
    let parent = folder
        .parent()
        .context("a package has a folder around it")?;
    bundle::remove(place)?;
    let mut command = match cfg!(windows) {
        true => Command::new("tar"),
        false => Command::new("zip"),
    };
    match cfg!(windows) {
        true => command.args(["-a", "-c", "-f"]),
        false => command.args(["-q", "-X", "-r"]),
    };
    run(command.arg(place).arg(name).current_dir(parent))?;
    Ok(place.to_owned())
}

/// A Debian package. Its contents are named in cli/Cargo.toml.
fn deb(metadata: &Metadata, build: &Build, folder: &Path) -> Result<PathBuf> {
    if target(build)?.system != System::Linux || build.target.is_some() {
        bail!("deb: expected this machine to be its target, and a Linux");
    }
    // cargo-deb looks for what is named target/release there, wherever that is.
    let staged = metadata.target_directory.join("release").join("package");
    stage(metadata, build, &staged)?;
    // Debian packs manual pages, and cargo-deb only those that nothing has built.
    compress(&staged.join("man"))?;
    let mut command = cargo();
    command.args(["deb", "--no-build", "--package", COMMAND, "--output"]);
    let output = command.arg(folder).output()?;
    std::io::stderr().write_all(&output.stderr)?;
    if !output.status.success() {
        bail!("cargo deb failed; `cargo install cargo-deb --locked` brings it");
    }
    let told = String::from_utf8(output.stdout)?;
    let last = told.lines().last().unwrap_or_default().trim();
    match Path::new(last) {
        place if place.is_file() => Ok(place.to_owned()),
        _ => bail!("cargo deb: expected the path of a package, found {last:?}"),
    }
}

/// Bytes in gzip, without a time in it.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

/// Puts each file of a folder in [`gzip`].
fn compress(folder: &Path) -> Result<()> {
    for file in bundle::files(folder)? {
        let file = folder.join(file);
        let packed = gzip(&fs::read(&file)?)?;
        let mut place = file.clone().into_os_string();
        place.push(".gz");
        fs::write(place, packed)?;
        fs::remove_file(file)?;
    }
    Ok(())
}

/// A Python wheel. `play` needs a library that not every Linux has, so a wheel does without.
fn wheel(metadata: &Metadata, build: &Build, folder: &Path) -> Result<PathBuf> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.args([
        "-m",
        "maturin",
        "build",
        "--release",
        "--strip",
        "--manifest-path",
    ]);
    command.arg(metadata.workspace_root.join("cli/Cargo.toml"));
    if build.locked {
        command.arg("--locked");
    }
    if let Some(triple) = &build.target {
        // As maturin calls both of Apple's.
        let triple = match triple.as_str() {
            UNIVERSAL => "universal2-apple-darwin",
            triple => triple,
        };
        command.args(["--target", triple]);
    }
    // Only what lies beside its manifest goes into a wheel.
    let licences = metadata.workspace_root.join("cli").join(notices::WHEEL);
    bundle::remove(&licences)?;
    fs::create_dir(&licences)?;
    let notices = notices_of(metadata, &[COMMAND], &target(build)?.triple)?;
    fs::write(licences.join(notices::NAME), notices)?;
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        bundle::copy(&metadata.workspace_root.join(name), &licences.join(name))?;
    }
    let fresh = metadata.target_directory.join("package").join("wheel");
    bundle::remove(&fresh)?;
    let status = command.arg("--out").arg(&fresh).status();
    bundle::remove(&licences)?;
    let status = status?;
    if !status.success() {
        bail!("maturin: {status}; `pip install maturin` brings it");
    }
    let made = bundle::files(&fresh)?;
    let [wheel] = &made[..] else {
        bail!("maturin: expected one wheel, found {}", made.len());
    };
    let place = folder.join(wheel);
    bundle::copy(&fresh.join(wheel), &place)?;
    Ok(place)
}

/// Holds a program to [`GLIBC`].
fn check_glibc(program: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    fs::File::open(program)?.read_to_end(&mut bytes)?;
    let newest = newest_glibc(&bytes);
    match newest {
        Some(newest) if newest > GLIBC => bail!(
            "{}: expected glibc {}.{} at most, found {}.{}: build on an older system",
            program.display(),
            GLIBC.0,
            GLIBC.1,
            newest.0,
            newest.1
        ),
        _ => Ok(()),
    }
}

/// The newest version of glibc whose symbols a program names, as `GLIBC_2.35`.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    let mark = b"GLIBC_";
    let starts = program
        .windows(mark.len())
        .enumerate()
        .filter(|(_, part)| part == mark);
    let versions = starts.filter_map(|(at, _)| {
        let rest = &program[at + mark.len()..];
        let end = rest.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&rest[..end.min(8)]).ok()?;
        let (major, minor) = text.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    versions.max()
}

/// Holds a file for Windows to libraries that every Windows has.
fn check_imports(file: &Path) -> Result<()> {
    let bytes = fs::read(file)?;
    match of_compilers(&bytes).with_context(|| file.display().to_string())? {
        found if found.is_empty() => Ok(()),
        found => bail!(
            "{}: expected to need no library that comes with a compiler, found {}",
            file.display(),
            found.join(", ")
        ),
    }
}

/// The libraries that a file for Windows needs and that compilers bring: MinGW's begin with `lib`, Microsoft's are those
/// of Visual C++, which its own installer brings. None for what is no code.
fn of_compilers(file: &[u8]) -> Result<Vec<String>> {
    if FileKind::parse(file) != Ok(FileKind::Pe64) {
        return Ok(Vec::new());
    }
    let mut found = BTreeSet::new();
    if let Some(table) = PeFile64::parse(file)?.import_table()? {
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            let name = table.name(descriptor.name.get(LittleEndian))?;
            found.insert(String::from_utf8_lossy(name).to_lowercase());
        }
    }
    let brought = ["lib", "vcruntime", "msvcp", "concrt"];
    found.retain(|name| brought.iter().any(|begin| name.starts_with(begin)));
    Ok(found.into_iter().collect())
}

/// Writes the SHA-256 of every package in a folder, as `sha256sum -c` reads it.
pub fn write_checksums(folder: &Path) -> Result<()> {
    let mut text = String::new();
    for file in bundle::files(folder)? {
        if file.as_os_str() != CHECKSUMS {
            let hash = Sha256::digest(fs::read(folder.join(&file))?);
            let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("{digits}  {}\n", file.display());
        }
    }
    fs::write(folder.join(CHECKSUMS), text)?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{command:?}: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as a package has them.
    fn staged(folder: &Path) {
        for (name, text) in [
            ("audiodiff", "a program"),
            ("README.md", "read me"),
            (
                "audiodiff.vst3/Contents/x86_64-linux/audiodiff.so",
                "a library",
            ),
            // A bundle of macOS, signed and stapled.
            ("audiodiff.clap/Contents/CodeResources", "an answer"),
            ("audiodiff.clap/Contents/Info.plist", "a list"),
            ("audiodiff.clap/Contents/MacOS/audiodiff", "code"),
            ("audiodiff.clap/Contents/PkgInfo", "BNDL????"),
            (
                "audiodiff.clap/Contents/_CodeSignature/CodeResources",
                "a seal",
            ),
        ] {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn an_archive_holds_every_file_and_the_same_files_make_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, out) = (folder.path().join("from"), folder.path().join("out"));
        fs::create_dir(&out).unwrap();
        staged(&from);
        let made = tar(&from, "it-1.0", &out.join("it.tar.gz")).unwrap();
        let first = fs::read(&made).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&first[..]));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let path = entry.path().unwrap().display().to_string();
            found.push((path, entry.header().mode().unwrap(), text));
        }
        let expected = [
            ("it-1.0/README.md", 0o644, "read me"),
            ("it-1.0/audiodiff", 0o755, "a program"),
            (
                "it-1.0/audiodiff.clap/Contents/CodeResources",
                0o644,
                "an answer",
            ),
            ("it-1.0/audiodiff.clap/Contents/Info.plist", 0o644, "a list"),
            (
                "it-1.0/audiodiff.clap/Contents/MacOS/audiodiff",
                0o755,
                "code",
            ),
            ("it-1.0/audiodiff.clap/Contents/PkgInfo", 0o644, "BNDL????"),
            (
                "it-1.0/audiodiff.clap/Contents/_CodeSignature/CodeResources",
                0o644,
                "a seal",
            ),
            (
                "it-1.0/audiodiff.vst3/Contents/x86_64-linux/audiodiff.so",
                0o755,
                "a library",
            ),
        ];
        let expected = expected.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()));
        assert_eq!(found, expected);
        tar(&from, "it-1.0", &made).unwrap();
        assert_eq!(fs::read(&made).unwrap(), first);
    }

    #[test]
    fn what_is_compressed_is_the_same_within_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("it.1"), ".TH it").unwrap();
        compress(folder.path()).unwrap();
        assert_eq!(
            bundle::files(folder.path()).unwrap(),
            [Path::new("it.1.gz")]
        );
        let packed = fs::read(path("it.1.gz")).unwrap();
        assert_eq!(packed[4..8], [0; 4], "a time");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, ".TH it");
    }

    #[test]
    fn checksums_are_those_that_sha256sum_reads() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.deb"), "abc").unwrap();
        fs::write(folder.path().join("a.zip"), "").unwrap();
        // Twice: it is no package itself.
        write_checksums(folder.path()).unwrap();
        write_checksums(folder.path()).unwrap();
        // The hashes of nothing and of `abc` are in FIPS 180-4's examples.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            fs::read_to_string(folder.path().join(CHECKSUMS)).unwrap(),
            format!("{empty}  a.zip\n{abc}  b.deb\n")
        );
    }

    #[test]
    fn the_newest_glibc_is_found_among_the_names_of_symbols() {
        let text = b"\0GLIBC_2.2.5\0GLIBC_2.35\0GLIBC_2.4\0GLIBC_PRIVATE\0GLIBC_";
        assert_eq!(newest_glibc(text), Some((2, 35)));
        assert_eq!(newest_glibc(b"static"), None);
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("it");
        fs::write(&program, b"\0GLIBC_2.38\0").unwrap();
        let error = check_glibc(&program).unwrap_err().to_string();
        assert!(
            error.contains("expected glibc 2.35 at most, found 2.38"),
            "{error}"
        );
    }

    /// A file for Windows that needs these libraries and is else empty [PE Format].
    fn needing(libraries: &[&str]) -> Vec<u8> {
        const SECTION: u32 = 0x1000;
        let table = 20 * (libraries.len() + 1);
        let (mut descriptors, mut names) = (Vec::new(), Vec::new());
        for library in libraries {
            let name = SECTION + (table + names.len()) as u32;
            // The list of functions, a date, forwarders, the library's name, the functions' places.
            for word in [SECTION, 0, 0, name, SECTION] {
                descriptors.extend(word.to_le_bytes());
            }
            names.extend(library.bytes().chain([0]));
        }
        descriptors.resize(table, 0);
        let section = [descriptors, names].concat();

        let mut file = b"MZ".to_vec();
        file.resize(0x3c, 0);
        file.extend(0x40_u32.to_le_bytes());
        file.extend(b"PE\0\0");
        file.extend([0x64, 0x86, 1, 0]); // x86-64, one section
        file.extend([0; 12]);
        file.extend([240, 0, 0x22, 0]); // the next header's length; a program with large addresses
        let optional = file.len();
        file.extend(0x20b_u16.to_le_bytes());
        file.resize(optional + 108, 0);
        file.extend(16_u32.to_le_bytes());
        file.extend([0; 8]);
        for word in [SECTION, table as u32] {
            file.extend(word.to_le_bytes());
        }
        file.resize(optional + 240, 0);
        file.extend(b".idata\0\0");
        for word in [section.len() as u32, SECTION, section.len() as u32, 0x200] {
            file.extend(word.to_le_bytes());
        }
        file.resize(0x200, 0);
        [file, section].concat()
    }

    #[test]
    fn a_fresh_windows_lacks_nothing() {
        let own = [
            "KERNEL32.dll",
            "api-ms-win-crt-heap-l1-1-0.dll",
            "msvcrt.dll",
        ];
        assert!(of_compilers(&needing(&own)).unwrap().is_empty());
        let brought = [
            "VCRUNTIME140.dll",
            "user32.dll",
            "libwinpthread-1.dll",
            "MSVCP140.dll",
        ];
        assert_eq!(
            of_compilers(&needing(&brought)).unwrap(),
            ["libwinpthread-1.dll", "msvcp140.dll", "vcruntime140.dll"]
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audiodiff.exe");
        fs::write(&file, needing(&brought)).unwrap();
        let reason = format!("{:#}", check_imports(&file).unwrap_err());
        assert!(
            reason.contains("audiodiff.exe") && reason.contains("msvcp140.dll"),
            "{reason}"
        );
        // Documents are no code, and half a file is an error.
        assert!(of_compilers(b"# audiodiff").unwrap().is_empty());
        let whole = needing(&brought);
        assert!(of_compilers(&whole[..0x220]).is_err());
    }
}
