//! Which processors a file for macOS has code for, what kind of code, and for which macOS [Mach-O Programming Topics].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::read::macho::{FatArch, LoadCommandVariant, MachHeader, MachOFatFile32};
use object::{Endianness, FileKind, macho};

/// What a file is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Program,
    Library,
}

/// A version of macOS: `11.0` is `(11, 0)`.
pub type Version = (u16, u8);

/// The code for one processor.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// As Rust names it.
    arch: String,
    kind: Option<Kind>,
    /// The oldest macOS that runs it, if it says so.
    oldest: Option<Version>,
}

/// Holds a file to be code of this kind for these processors and no others, and returns the oldest macOS that runs it
/// on one of them.
pub fn check(file: &Path, kind: Kind, archs: &[&str]) -> Result<Option<Version>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parts = parts(&bytes).with_context(|| file.display().to_string())?;
    let mut found: Vec<&str> = parts.iter().map(|part| part.arch.as_str()).collect();
    let mut expected = archs.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    if found != expected {
        bail!(
            "{}: expected code for {}, found it for {}",
            file.display(),
            expected.join(" and "),
            found.join(" and ")
        );
    }
    if let Some(part) = parts.iter().find(|part| part.kind != Some(kind)) {
        let what = match kind {
            Kind::Program => "program",
            Kind::Library => "shared library",
        };
        bail!(
            "{}: expected a {what}, found something else for {}",
            file.display(),
            part.arch
        );
    }
    Ok(parts.iter().filter_map(|part| part.oldest).min())
}

/// Every processor's part of a file.
fn parts(bytes: &[u8]) -> Result<Vec<Part>> {
    match FileKind::parse(bytes) {
        Ok(FileKind::MachO64) => Ok(vec![part(bytes)?]),
        Ok(FileKind::MachOFat32) => {
            let whole = MachOFatFile32::parse(bytes)?;
            let parts = whole.arches().iter();
            parts.map(|it| part(it.data(bytes)?)).collect()
        }
        _ => bail!("expected 64-bit code for macOS (Mach-O), found none"),
    }
}

fn part(bytes: &[u8]) -> Result<Part> {
    let header = macho::MachHeader64::<Endianness>::parse(bytes, 0)?;
    let endian = header.endian()?;
    let arch = match header.cputype(endian) {
        macho::CPU_TYPE_ARM64 => "aarch64".to_owned(),
        macho::CPU_TYPE_X86_64 => "x86_64".to_owned(),
        other => format!("processor {:#x}", other.0),
    };
    let kind = match header.filetype(endian) {
        macho::MH_EXECUTE => Some(Kind::Program),
        macho::MH_DYLIB | macho::MH_BUNDLE => Some(Kind::Library),
        _ => None,
    };
    let mut oldest = None;
    for command in header.load_commands(endian, bytes, 0)? {
        let version = match command?.variant()? {
            LoadCommandVariant::BuildVersion(it, _) => it.minos.get(endian),
            LoadCommandVariant::VersionMin(it) => it.version.get(endian),
            _ => continue,
        };
        oldest = Some((version.major(), version.minor()));
    }
    Ok(Part { arch, kind, oldest })
}

/// Files with the headers of code and no code.
#[cfg(test)]
pub mod sample {
    pub const LIBRARY: u32 = 6;
    pub const PROGRAM: u32 = 2;

    /// For one processor, `aarch64` from macOS 11.0 on or `x86_64` from 10.12 on.
    pub fn thin(arch: &str, kind: u32) -> Vec<u8> {
        let (processor, oldest) = processor(arch);
        let header = [0xfeed_facf, processor, 0, kind, 1, 24, 0, 0];
        // LC_BUILD_VERSION, its size, macOS, oldest system, SDK, no tools.
        let version = [0x32, 24, 1, oldest, oldest, 0];
        let words = header.iter().chain(&version);
        words.flat_map(|word: &u32| word.to_le_bytes()).collect()
    }

    /// For both of Apple's, as `lipo` makes it: a table of them, then each.
    pub fn universal(kind: u32) -> Vec<u8> {
        let archs = ["aarch64", "x86_64"];
        let parts = archs.map(|arch| thin(arch, kind));
        let mut words = vec![0xcafe_babe, 2];
        for (at, arch) in archs.iter().enumerate() {
            let size = u32::try_from(parts[at].len()).unwrap();
            let before = u32::try_from(at).unwrap() * size;
            words.extend([processor(arch).0, 0, 48 + before, size, 2]);
        }
        let table = words.iter().flat_map(|word: &u32| word.to_be_bytes());
        table.chain(parts.concat()).collect()
    }

    fn processor(arch: &str) -> (u32, u32) {
        match arch {
            "aarch64" => (0x0100_000c, 11 << 16),
            _ => (0x0100_0007, 10 << 16 | 12 << 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`check`] says of a file with these bytes.
    fn checked(bytes: &[u8], kind: Kind, archs: &[&str]) -> Result<Option<Version>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it");
        fs::write(&file, bytes).unwrap();
        check(&file, kind, archs).map_err(|error| format!("{error:#}"))
    }

    const BOTH: [&str; 2] = ["x86_64", "aarch64"];

    #[test]
    fn a_universal_file_has_code_for_both_processors_and_runs_where_the_older_one_does() {
        let universal = sample::universal(sample::LIBRARY);
        let oldest = checked(&universal, Kind::Library, &BOTH);
        assert_eq!(oldest, Ok(Some((10, 12))));
        let thin = sample::thin("aarch64", sample::LIBRARY);
        let oldest = checked(&thin, Kind::Library, &["aarch64"]);
        assert_eq!(oldest, Ok(Some((11, 0))));
    }

    #[test]
    fn a_file_that_lacks_a_processor_or_has_another_is_refused() {
        let thin = sample::thin("x86_64", sample::LIBRARY);
        let error = checked(&thin, Kind::Library, &BOTH).unwrap_err();
        let expected = "expected code for aarch64 and x86_64, found it for x86_64";
        assert!(error.contains(expected), "{error}");
        assert!(checked(&thin, Kind::Library, &["aarch64"]).is_err());
        let universal = sample::universal(sample::LIBRARY);
        assert!(checked(&universal, Kind::Library, &["aarch64"]).is_err());
    }

    #[test]
    fn a_program_is_no_library() {
        let program = sample::universal(sample::PROGRAM);
        assert!(checked(&program, Kind::Program, &BOTH).is_ok());
        let error = checked(&program, Kind::Library, &BOTH).unwrap_err();
        assert!(error.contains("expected a shared library"), "{error}");
    }

    #[test]
    fn damaged_code_is_refused() {
        for whole in [
            sample::universal(sample::LIBRARY),
            sample::thin("x86_64", sample::LIBRARY),
        ] {
            for end in 0..whole.len() {
                assert!(
                    checked(&whole[..end], Kind::Library, &BOTH).is_err(),
                    "{end}"
                );
            }
        }
        let linux = b"\x7fELF\x02\x01\x01";
        let error = checked(linux, Kind::Library, &BOTH).unwrap_err();
        assert!(error.contains("Mach-O"), "{error}");
    }
}
