//! The layouts in which hosts look for a plugin, on each system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::macho::{self, Version};

/// A package's entries in `bundler.toml`, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// The name of the bundles.
    pub name: String,
    /// Reverse domain name.
    pub id: String,
    /// The package's version.
    pub version: String,
    /// Who makes it.
    pub vendor: String,
    /// Its VST3 classes.
    pub classes: Vec<Class>,
}

/// A VST3 class in the library.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Sixteen bytes.
    pub id: String,
    /// What hosts show.
    pub name: String,
    /// What kind of plugin it is.
    pub categories: Vec<String>,
}

/// An operating system that bundles are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Linux,
    Macos,
    Windows,
}

/// A system and a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub system: System,
    /// As Rust names it.
    pub triple: String,
    /// The processor's name in Rust's triples.
    arch: String,
}

impl Target {
    /// The target of a triple such as `x86_64-unknown-linux-gnu`.
    pub fn parse(triple: &str) -> Result<Self> {
        let arch = triple.split('-').next().unwrap_or_default().to_owned();
        let systems = [
            ("-linux", System::Linux),
            ("-apple-darwin", System::Macos),
            ("-windows", System::Windows),
        ];
        let found = systems.iter().find(|(part, _)| triple.contains(part));
        match found {
            Some(&(_, system)) => Ok(Self {
                system,
                triple: triple.to_owned(),
                arch,
            }),
            None => bail!("target: expected one for Linux, macOS or Windows, found {triple}"),
        }
    }

    /// The processors that its files run on, as Rust names them.
    pub fn archs(&self) -> Vec<&str> {
        match self.arch.as_str() {
            "universal" => vec!["aarch64", "x86_64"],
            arch => vec![arch],
        }
    }

    /// The folder of a VST3's binary [VST 3 Plug-in Format Structure].
    fn vst3_folder(&self) -> String {
        match (self.system, self.arch.as_str()) {
            (System::Macos, _) => "MacOS".to_owned(),
            (System::Linux, arch) => format!("{arch}-linux"),
            (System::Windows, "aarch64") => "arm64-win".to_owned(),
            (System::Windows, "i686") => "x86-win".to_owned(),
            (System::Windows, arch) => format!("{arch}-win"),
        }
    }
}

/// A kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Clap,
    Vst3,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::Clap, Self::Vst3];

    fn extension(self) -> &'static str {
        match self {
            Self::Clap => "clap",
            Self::Vst3 => "vst3",
        }
    }

    /// The folder of a user's own plugins of this kind.
    pub fn user_folder(self, system: System) -> Option<PathBuf> {
        Some(match system {
            System::Linux => dirs::home_dir()?.join(format!(".{}", self.extension())),
            System::Macos => {
                let plugins = dirs::home_dir()?.join("Library/Audio/Plug-Ins");
                plugins.join(self.extension().to_uppercase())
            }
            System::Windows => {
                let common = dirs::data_local_dir()?.join("Programs/Common");
                common.join(self.extension().to_uppercase())
            }
        })
    }
}

/// The keys of `Info.plist` that hosts and macOS read [Information Property List].
#[derive(Debug, Serialize)]
struct Info {
    #[serde(rename = "CFBundleName")]
    name: String,
    #[serde(rename = "CFBundleExecutable")]
    executable: String,
    #[serde(rename = "CFBundleIdentifier")]
    identifier: String,
    #[serde(rename = "CFBundlePackageType")]
    package_type: String,
    #[serde(rename = "CFBundleSignature")]
    signature: String,
    #[serde(rename = "CFBundleInfoDictionaryVersion")]
    dictionary_version: String,
    #[serde(rename = "CFBundleShortVersionString")]
    short_version: String,
    #[serde(rename = "CFBundleVersion")]
    version: String,
    /// On one of its processors: on the others, macOS itself may be newer.
    #[serde(
        rename = "LSMinimumSystemVersion",
        skip_serializing_if = "Option::is_none"
    )]
    oldest: Option<String>,
    #[serde(rename = "NSHighResolutionCapable")]
    high_resolution: bool,
}

impl Info {
    fn new(product: &Product, format: Format, oldest: Option<Version>) -> Result<Self> {
        let version = numbers(&product.version);
        Ok(Self {
            name: product.name.clone(),
            executable: product.name.clone(),
            identifier: format!("{}.{}", identifier(&product.id)?, format.extension()),
            package_type: "BNDL".into(),
            signature: "????".into(),
            dictionary_version: "6.0".into(),
            short_version: version.to_owned(),
            version: version.to_owned(),
            oldest: oldest.map(|(major, minor)| format!("{major}.{minor}")),
            high_resolution: true,
        })
    }
}

/// The three numbers of a version: Apple's have nothing such as `-rc.1` after them.
fn numbers(version: &str) -> &str {
    version.split(['-', '+']).next().unwrap_or(version)
}

/// Holds an id to the letters that Apple allows.
fn identifier(id: &str) -> Result<&str> {
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !part.is_empty() && part.chars().all(allowed)
    };
    match id.contains('.') && id.split('.').all(is_part) {
        true => Ok(id),
        false => bail!("id: expected names of A-Z, a-z, 0-9 and - with . between, found {id:?}"),
    }
}

/// What hosts read about a VST3 without running it [VST 3 Plug-in Format Structure, moduleinfo.json]. The numbers are
/// those of the library's factory: nice-plug tells of simple mode, and of any number of instances.
fn module_info(product: &Product) -> serde_json::Value {
    let class = |class: &Class| {
        let id: String = class.id.bytes().map(|byte| format!("{byte:02X}")).collect();
        json!({
            "CID": id,
            "Category": "Audio Module Class",
            "Name": class.name,
            "Vendor": product.vendor,
            "Version": product.version,
            "SDKVersion": "VST 3.6.14",
            "Sub Categories": class.categories,
            "Class Flags": 2,
            "Cardinality": i32::MAX,
            "Snapshots": [],
        })
    };
    json!({
        "Name": product.name,
        "Version": product.version,
        "Factory Info": {
            "Vendor": product.vendor,
            "URL": "",
            "E-Mail": "",
            "Flags": {
                "Unicode": true,
                "Classes Discardable": false,
                "Component Non Discardable": false,
            },
        },
        "Classes": product.classes.iter().map(class).collect::<Vec<_>>(),
    })
}

/// Puts the shared library `binary` into `folder` as a plugin for `target`, and returns its path. A bundle
/// that was there is replaced when the new one is whole.
pub fn bundle(
    product: &Product,
    target: &Target,
    format: Format,
    binary: &Path,
    folder: &Path,
) -> Result<PathBuf> {
    let name = &product.name;
    let place = folder.join(format!("{name}.{}", format.extension()));
    let info = match target.system {
        System::Macos => {
            let oldest = macho::check(binary, macho::Kind::Library, &target.archs())?;
            Some(Info::new(product, format, oldest)?)
        }
        System::Linux | System::Windows => None,
    };
    replace(&place, |fresh| {
        let inside = match (format, target.system) {
            (Format::Clap, System::Linux | System::Windows) => {
                return copy_file(binary, fresh);
            }
            (_, System::Macos) => name.clone(),
            (Format::Vst3, System::Linux) => format!("{name}.so"),
            (Format::Vst3, System::Windows) => format!("{name}.vst3"),
        };
        let contents = fresh.join("Contents");
        copy_file(binary, &contents.join(target.vst3_folder()).join(inside))?;
        if format == Format::Vst3 {
            let resources = contents.join("Resources");
            fs::create_dir_all(&resources)?;
            let info = serde_json::to_string_pretty(&module_info(product))?;
            fs::write(resources.join("moduleinfo.json"), info)?;
        }
        if let Some(info) = &info {
            plist::to_file_xml(contents.join("Info.plist"), info)?;
            let kind = format!("{}{}", info.package_type, info.signature);
            fs::write(contents.join("PkgInfo"), kind)?;
        }
        Ok(())
    })?;
    Ok(place)
}

/// Writes over a folder's path, wherever a file below it is named: nothing moves.
pub fn forget(bytes: &mut [u8], folder: &[u8]) {
    let named = [folder, b"/"].concat();
    let mut at = 0;
    while let Some(found) = bytes[at..]
        .windows(named.len())
        .position(|part| part == named)
    {
        let end = at + found + folder.len();
        bytes[at + found + 1..end].fill(b'_');
        at = end;
    }
}

/// Copies a bundle, a file or a folder, into `folder`, and says where it is then.
pub fn install(bundle: &Path, folder: &Path) -> Result<PathBuf> {
    let name = bundle.file_name().context("a bundle has a name")?;
    let place = folder.join(name);
    replace(&place, |fresh| copy(bundle, fresh))?;
    Ok(place)
}

/// Makes something beside `place`, then puts it there. A host that has the old one open keeps it.
fn replace(place: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let beside = |ending: &str| {
        let mut name = place.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (fresh, old) = (beside(".new"), beside(".old"));
    remove(&fresh)?;
    remove(&old)?;
    make(&fresh)?;
    let failed = || format!("cannot replace {}", place.display());
    if fs::symlink_metadata(place).is_ok() {
        fs::rename(place, &old).with_context(failed)?;
    }
    fs::rename(&fresh, place).with_context(failed)?;
    remove(&old)
}

/// Removes a file or a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let failed = || format!("cannot remove {}", path.display());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).with_context(failed),
        Ok(_) => fs::remove_file(path).with_context(failed),
        Err(_) => Ok(()),
    }
}

/// Copies a file or a folder.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return copy_file(from, to);
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {} to {}", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    fs::copy(from, to).with_context(failed)?;
    Ok(())
}

/// Every file below a folder, by its path from there, in a fixed order: the same files make the same archive.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(folder)?.to_owned()),
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNIVERSAL;
    use crate::macho::sample;

    fn product() -> Product {
        Product {
            name: "sine".into(),
            id: "org.example.sine".into(),
            version: "1.2.3".into(),
            vendor: "us".into(),
            classes: vec![Class {
                id: "sineSynth0000001".into(),
                name: "sine".into(),
                categories: vec!["Instrument".into()],
            }],
        }
    }

    /// Every file below `folder`, as text with one kind of slash.
    fn named(folder: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.to_str().unwrap().replace('\\', "/");
        files(folder).unwrap().into_iter().map(name).collect()
    }

    /// What cargo builds for a target: on macOS only with the headers of its code.
    fn library(target: &Target, binary: &Path) {
        let bytes = match (target.system, &target.archs()[..]) {
            (System::Macos, [arch]) => sample::thin(arch, sample::LIBRARY),
            (System::Macos, _) => sample::universal(sample::LIBRARY),
            _ => b"code".to_vec(),
        };
        fs::write(binary, bytes).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(binary, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn layout(triple: &str) -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("lib");
        let target = Target::parse(triple).unwrap();
        library(&target, &binary);
        let out = folder.path().join("out");
        for format in Format::ALL {
            // Twice: the second takes the place of the first.
            for _ in 0..2 {
                bundle(&product(), &target, format, &binary, &out).unwrap();
            }
        }
        let found = named(&out);
        (folder, found)
    }

    #[test]
    fn a_builders_folders_are_forgotten_where_they_stand() {
        let mut bytes =
            b"\0/home/me/.cargo/a.rs\0/home/me/.cargo/b\0/home/me/.cargot\0/home/me".to_vec();
        forget(&mut bytes, b"/home/me/.cargo");
        assert_eq!(
            bytes,
            b"\0/______________/a.rs\0/______________/b\0/home/me/.cargot\0/home/me"
        );
    }

    #[test]
    fn each_system_has_its_layout() {
        let (folder, found) = layout("x86_64-unknown-linux-gnu");
        assert_eq!(
            found,
            [
                "sine.clap",
                "sine.vst3/Contents/Resources/moduleinfo.json",
                "sine.vst3/Contents/x86_64-linux/sine.so"
            ]
        );
        let info = folder
            .path()
            .join("out/sine.vst3/Contents/Resources/moduleinfo.json");
        let info: serde_json::Value = serde_json::from_slice(&fs::read(info).unwrap()).unwrap();
        assert_eq!(
            info["Classes"][0]["CID"],
            "73696E6553796E746830303030303031"
        );
        assert_eq!(info["Classes"][0]["Vendor"], "us");
        let (_, found) = layout("aarch64-pc-windows-msvc");
        assert_eq!(
            found,
            [
                "sine.clap",
                "sine.vst3/Contents/Resources/moduleinfo.json",
                "sine.vst3/Contents/arm64-win/sine.vst3"
            ]
        );
        let (_, found) = layout("x86_64-pc-windows-msvc");
        assert_eq!(found[2], "sine.vst3/Contents/x86_64-win/sine.vst3");
        assert!(Target::parse("wasm32-unknown-unknown").is_err());
    }

    /// Holds a bundle to what Apple and Steinberg write of one [Bundle Programming Guide; Information Property List;
    /// VST 3 Plug-in Format Structure], and returns its property list.
    fn check_macos(bundle: &Path, has_resources: bool) -> plist::Dictionary {
        // A file that a link names may stay behind, and links out of a bundle break its seal.
        let mut open = vec![bundle.to_owned()];
        while let Some(path) = open.pop() {
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            assert!(kind.is_dir() || kind.is_file(), "{}", path.display());
            if kind.is_dir() {
                let entries = fs::read_dir(&path).unwrap();
                open.extend(entries.map(|entry| entry.unwrap().path()));
            }
        }

        let info = plist::Value::from_file(bundle.join("Contents/Info.plist")).unwrap();
        let info = info.into_dictionary().unwrap();
        let text = |key: &str| match info.get(key) {
            Some(plist::Value::String(text)) => text.as_str(),
            other => panic!("{key}: {other:?}"),
        };
        let executable = text("CFBundleExecutable");
        let mut expected = vec![
            "Contents/Info.plist".to_owned(),
            format!("Contents/MacOS/{executable}"),
            "Contents/PkgInfo".to_owned(),
        ];
        if has_resources {
            expected.push("Contents/Resources/moduleinfo.json".to_owned());
        }
        assert_eq!(named(bundle), expected);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let program = bundle.join("Contents/MacOS").join(executable);
            let mode = fs::metadata(program).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111);
        }

        let id = text("CFBundleIdentifier");
        let is_part = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        assert!(id.split('.').count() > 2 && id.split('.').all(is_part));
        assert_eq!(text("CFBundlePackageType"), "BNDL");
        assert_eq!(text("CFBundleSignature").len(), 4);
        let pkg_info = fs::read_to_string(bundle.join("Contents/PkgInfo")).unwrap();
        assert_eq!(
            pkg_info,
            text("CFBundlePackageType").to_owned() + text("CFBundleSignature")
        );
        assert_eq!(text("CFBundleInfoDictionaryVersion"), "6.0");
        let name = text("CFBundleName");
        assert!((1..16).contains(&name.len()), "{name}");
        for (key, fewest) in [
            ("CFBundleShortVersionString", 3),
            ("CFBundleVersion", 1),
            ("LSMinimumSystemVersion", 2),
        ] {
            let numbers: Vec<&str> = text(key).split('.').collect();
            let is_number = |it: &&str| !it.is_empty() && it.chars().all(|c| c.is_ascii_digit());
            let fits = (fewest..=3).contains(&numbers.len()) && numbers.iter().all(is_number);
            assert!(fits, "{key}: {numbers:?}");
        }
        let sharp = info.get("NSHighResolutionCapable");
        assert_eq!(sharp, Some(&plist::Value::Boolean(true)));
        assert_eq!(info.len(), 10);
        info
    }

    #[test]
    fn a_bundle_for_macos_is_as_apple_and_steinberg_write() {
        for (triple, oldest) in [
            ("aarch64-apple-darwin", "11.0"),
            ("x86_64-apple-darwin", "10.12"),
            (UNIVERSAL, "10.12"),
        ] {
            let (folder, _) = layout(triple);
            for (name, has_resources) in [("sine.clap", false), ("sine.vst3", true)] {
                let info = check_macos(&folder.path().join("out").join(name), has_resources);
                let expected = [
                    ("CFBundleIdentifier", format!("org.example.{name}")),
                    ("CFBundleExecutable", "sine".to_owned()),
                    ("CFBundleShortVersionString", "1.2.3".to_owned()),
                    ("LSMinimumSystemVersion", oldest.to_owned()),
                ];
                for (key, value) in expected {
                    assert_eq!(info.get(key), Some(&value.into()), "{triple}: {key}");
                }
            }
        }
    }

    #[test]
    fn the_shipped_bundles_for_macos_are_as_apple_and_steinberg_write() {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let entry = crate::entry(&root, crate::INSTRUMENT).unwrap();
        let target = Target::parse(UNIVERSAL).unwrap();
        let binary = folder.path().join("lib");
        library(&target, &binary);
        // What comes before a release is named by the release's numbers.
        let product = entry.product("0.3.0-rc.1+linux");
        for format in Format::ALL {
            let place = bundle(&product, &target, format, &binary, folder.path()).unwrap();
            let info = check_macos(&place, format == Format::Vst3);
            assert_eq!(info.get("CFBundleVersion"), Some(&"0.3.0".into()));
        }
    }

    #[test]
    fn what_apple_would_refuse_becomes_no_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("lib");
        let target = Target::parse(UNIVERSAL).unwrap();
        let made = |product: &Product| {
            let made = bundle(product, &target, Format::Clap, &binary, folder.path());
            made.map_err(|error| format!("{error:#}"))
        };
        for id in ["sine", "org.example.my_sine", "org..sine", "org.sine.", ""] {
            library(&target, &binary);
            let product = Product {
                id: id.into(),
                ..product()
            };
            let error = made(&product).unwrap_err();
            assert!(error.contains(&format!("found {id:?}")), "{error}");
        }
        fs::write(&binary, sample::thin("aarch64", sample::LIBRARY)).unwrap();
        let error = made(&product()).unwrap_err();
        let expected = "expected code for aarch64 and x86_64, found it for aarch64";
        assert!(error.contains(expected), "{error}");
        fs::write(&binary, sample::universal(sample::PROGRAM)).unwrap();
        assert!(made(&product()).is_err());
        assert_eq!(named(folder.path()), ["lib"]);
    }

    #[test]
    fn an_installed_bundle_replaces_the_one_before_whole() {
        let (folder, _) = layout("x86_64-unknown-linux-gnu");
        let user = folder.path().join("user");
        let stale = user.join("sine.vst3/Contents/x86_64-linux/stale.so");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(&stale, "old").unwrap();
        for name in ["sine.clap", "sine.vst3"] {
            install(&folder.path().join("out").join(name), &user).unwrap();
        }
        assert_eq!(named(&user), named(&folder.path().join("out")));
        assert!(install(&folder.path().join("nothing"), &user).is_err());
        assert_eq!(named(&user), named(&folder.path().join("out")));
    }
}
