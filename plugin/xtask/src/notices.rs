//! What a package owes to others: who recorded the sounds of the built-in model and who wrote the crates that are compiled
//! in, on which terms. Licences ask that their text goes along with programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use super::{INSTRUMENT, bundle, cargo};

/// The file in a package.
pub const NAME: &str = "THIRD-PARTY.txt";

/// How a file begins that holds terms.
const TERMS: [&str; 8] = [
    "license",
    "licence",
    "copying",
    "copyright",
    "notice",
    "unlicense",
    "ofl",
    "ufl",
];

/// The folder of a package that lies there while a wheel is made of it.
pub const WHEEL: &str = "licenses";

/// The part of the model card that names who recorded its sounds.
const CREDITS: &str = "\n## Credits\n";

/// What `cargo metadata` tells of all packages and of which is built with which.
#[derive(Deserialize)]
struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

/// `None` for what is compiled in, else `build` or `dev`.
#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<PathBuf>,
    repository: Option<String>,
    authors: Vec<String>,
    manifest_path: PathBuf,
    /// `None` for the workspace's own.
    source: Option<String>,
}

/// The work of somebody else, and the texts that go along with it.
struct Work {
    /// Name, version, terms, people and place, in a line.
    title: String,
    texts: BTreeSet<String>,
}

/// The notices of a program that is made of the packages `roots` and of what is compiled into them on `triples`.
///
/// # Errors
/// When a crate tells no terms, or its files cannot be read.
pub fn collect(workspace: &Path, roots: &[&str], triples: &[&str]) -> Result<String> {
    let mut works = vec![std_library()?];
    let mut crates = BTreeMap::new();
    for package in dependencies(roots, triples)? {
        if package.source.is_some() {
            crates.insert((package.name.clone(), package.version.clone()), package);
        } else {
            works.extend(within(workspace, &package)?);
        }
    }
    for package in crates.values() {
        works.push(work(package)?);
    }
    let card = workspace.join("models/README.md");
    let card = fs::read_to_string(&card).with_context(|| card.display().to_string())?;
    let mut licences = Vec::new();
    let folder = workspace.join("models/LICENSES");
    for file in bundle::files(&folder)? {
        let text = fs::read_to_string(folder.join(&file))?;
        licences.push((format!("LICENSES/{}", file.display()), text));
    }
    Ok(written(credits(&card)?, &licences, &works))
}

/// The packages `roots` and every crate that is compiled into them.
fn dependencies(roots: &[&str], triples: &[&str]) -> Result<Vec<Package>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--locked"]);
    if roots.contains(&INSTRUMENT) {
        command.args(["--features", &format!("{INSTRUMENT}/standalone")]);
    }
    for triple in triples {
        command.args(["--filter-platform", triple]);
    }
    let output = command.output()?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let graph: Graph = serde_json::from_slice(&output.stdout)?;
    compiled(graph, roots)
}

/// The packages `roots` and what is compiled into them.
fn compiled(graph: Graph, roots: &[&str]) -> Result<Vec<Package>> {
    let nodes: BTreeMap<&str, &Node> = (graph.resolve.nodes.iter())
        .map(|node| (&*node.id, node))
        .collect();
    let mut open = Vec::new();
    for root in roots {
        let own = |it: &&Package| it.name == *root && it.source.is_none();
        let package = graph.packages.iter().find(own);
        open.push(
            &*package
                .with_context(|| format!("no package is called {root}"))?
                .id,
        );
    }
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id.to_owned()) {
            let node = nodes
                .get(id)
                .with_context(|| format!("cargo metadata: {id}: expected its dependencies"))?;
            let compiled = |it: &&Dependency| it.dep_kinds.iter().any(|of| of.kind.is_none());
            open.extend(node.deps.iter().filter(compiled).map(|it| &*it.pkg));
        }
    }
    let all = graph.packages.into_iter();
    Ok(all.filter(|it| found.contains(&it.id)).collect())
}

fn work(package: &Package) -> Result<Work> {
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest has a folder")?;
    let files = terms_in(folder, package.license_file.as_deref())?;
    let mut texts: BTreeSet<String> = files.into_values().collect();
    let terms = match &package.license {
        Some(terms) => terms.clone(),
        None if !texts.is_empty() => "its own terms".to_owned(),
        None => bail!(
            "{} {}: expected a licence, found none",
            package.name,
            package.version
        ),
    };
    if texts.is_empty() {
        texts =
            standard(&terms).with_context(|| format!("{} {}", package.name, package.version))?;
    }
    let mut title = format!("{} {}, {terms}", package.name, package.version);
    // Without the addresses behind names.
    let people = package
        .authors
        .iter()
        .map(|it| it.split('<').next().unwrap_or(it).trim());
    let people: Vec<&str> = people.filter(|it| !it.is_empty()).collect();
    if !people.is_empty() {
        title += &format!(", by {}", people.join(", "));
    }
    if let Some(place) = &package.repository {
        title += &format!(", {place}");
    }
    Ok(Work { title, texts })
}

/// What lies in a folder of its own in one of the workspace's packages, with its terms beside it, such as a font.
fn within(workspace: &Path, package: &Package) -> Result<Vec<Work>> {
    let folder = (package.manifest_path.parent()).context("a manifest has a folder")?;
    // The library's is that of all packages.
    if folder == workspace {
        return Ok(Vec::new());
    }
    let mut works = Vec::new();
    for (file, text) in terms_in(folder, None)? {
        let beside = file.parent().unwrap_or(Path::new(""));
        // Our own terms, and copies of all this that a wheel is made of.
        if beside == Path::new("") || beside == Path::new(WHEEL) {
            continue;
        }
        let place = folder.join(beside);
        works.push(Work {
            title: format!("{} of audiodiff", place.strip_prefix(workspace)?.display()),
            texts: [text].into(),
        });
    }
    Ok(works)
}

/// Rust's own library is no crate.
fn std_library() -> Result<Work> {
    let terms = "MIT OR Apache-2.0";
    Ok(Work {
        title: format!(
            "std, {terms}, by The Rust Project Contributors, https://github.com/rust-lang/rust"
        ),
        texts: standard(terms)?,
    })
}

/// The texts of terms in a folder by their files: those that are called so, and `named`.
fn terms_in(folder: &Path, named: Option<&Path>) -> Result<BTreeMap<PathBuf, String>> {
    let files = bundle::files(folder)?;
    let begins = |file: &Path, begin: &str| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.to_lowercase().starts_with(begin)
    };
    let is_code = |file: &Path| {
        let ending = file.extension().and_then(std::ffi::OsStr::to_str);
        ending.is_some_and(|it| ["rs", "py", "toml", "json", "yml", "html"].contains(&it))
    };
    let mut texts = BTreeMap::new();
    for file in &files {
        // Beside a licence, it holds another one that may be chosen instead, or tells of the choice.
        let instead = begins(file, "copying")
            && (files.iter()).any(|it| it.parent() == file.parent() && begins(it, "licen"));
        let called = TERMS.iter().any(|begin| begins(file, begin));
        if named == Some(file) || called && !is_code(file) && !instead {
            let bytes = fs::read(folder.join(file))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            let text = lines.join("\n").trim_matches('\n').to_owned();
            texts.insert(file.clone(), text);
        }
    }
    texts.retain(|_, text| !text.is_empty());
    Ok(texts)
}

/// The texts that terms have in general, for what brings none.
fn standard(terms: &str) -> Result<BTreeSet<String>> {
    let expression = Expression::parse_mode(terms, ParseMode::LAX)?;
    let known = expression.requirements().map(|it| {
        let id = it.req.license.id();
        let id = id.with_context(|| format!("{terms}: no text is known of {}", it.req.license))?;
        Ok(id.text().trim_matches('\n').to_owned())
    });
    known.collect()
}

/// The part of the model card that names people.
fn credits(card: &str) -> Result<&str> {
    let (_, rest) = card
        .split_once(CREDITS)
        .context("models/README.md: expected a part `Credits`")?;
    Ok(rest.split("\n## ").next().unwrap_or(rest).trim())
}

fn written(credits: &str, licences: &[(String, String)], works: &[Work]) -> String {
    let rule = "=".repeat(80);
    let mut text = format!(
        "What audiodiff holds of others, and on which terms. audiodiff itself: MIT OR Apache-2.0.\n\n{rule}\n\
         The sounds that the built-in model has learnt\n\n{credits}\n"
    );
    for (name, licence) in licences {
        text += &format!("\n{rule}\n{name}\n\n{}\n", licence.trim());
    }
    // A text that many share stands once.
    let mut shared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for work in works {
        for terms in &work.texts {
            shared.entry(terms).or_default().push(&work.title);
        }
    }
    let mut parts: Vec<(Vec<&str>, &str)> =
        shared.into_iter().map(|(text, of)| (of, text)).collect();
    parts.sort();
    for (titles, terms) in parts {
        text += &format!("\n{rule}\n{}\n\n{terms}\n", titles.join("\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &Path, license: Option<&str>) -> Package {
        Package {
            id: "it 1.0".into(),
            name: "it".into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
            license_file: None,
            repository: Some("https://example.org/it".into()),
            authors: vec!["Ann <ann@example.org>".into(), "Bo".into()],
            manifest_path: folder.join("Cargo.toml"),
            source: Some("registry".into()),
        }
    }

    #[test]
    fn the_terms_of_a_crate_are_the_files_that_are_called_so_or_else_what_its_manifest_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |license| work(&package(folder.path(), license)).err().unwrap();
        let reason = format!("{:#}", error(None));
        assert!(reason.contains("it 1.0.0: expected a licence"), "{reason}");
        let reason = format!("{:#}", error(Some("LicenseRef-own")));
        assert!(
            reason.contains("it 1.0.0") && reason.contains("LicenseRef-own"),
            "{reason}"
        );
        // Without a file, the texts that everybody has.
        let found = work(&package(folder.path(), Some("MIT OR Apache-2.0"))).unwrap();
        assert_eq!(
            found.title,
            "it 1.0.0, MIT OR Apache-2.0, by Ann, Bo, https://example.org/it"
        );
        let texts: Vec<&String> = found.texts.iter().collect();
        assert!(texts.len() == 2 && texts.iter().any(|it| it.contains("MERCHANTABILITY")));
        // With files, theirs alone, and those of what is within; a choice that is not taken is left out.
        fs::create_dir_all(path("c/lib")).unwrap();
        for (name, text) in [
            ("LICENSE-MIT", "\r\nfree  \r\nof all\r\n"),
            ("src.rs", "no terms"),
            ("license.rs", "no terms"),
            ("c/lib/LICENSE", "free too"),
            ("c/lib/COPYING", "or else"),
            ("TERMS", "named"),
        ] {
            fs::write(path(name), text).unwrap();
        }
        let mut package = package(folder.path(), Some("MIT"));
        package.license_file = Some("TERMS".into());
        let found = work(&package).unwrap().texts;
        assert_eq!(
            found,
            ["free\nof all", "free too", "named"]
                .map(str::to_owned)
                .into()
        );
    }

    #[test]
    fn what_is_compiled_in_is_followed_and_what_only_builds_or_tests_is_not() {
        let graph = r#"{"packages": [
            {"id": "own", "name": "own", "version": "1", "authors": [], "manifest_path": "/a", "source": null},
            {"id": "part", "name": "part", "version": "1", "authors": [], "manifest_path": "/b", "source": null},
            {"id": "a", "name": "a", "version": "1", "authors": [], "manifest_path": "/c", "source": "registry"},
            {"id": "b", "name": "b", "version": "1", "authors": [], "manifest_path": "/d", "source": "registry"},
            {"id": "c", "name": "c", "version": "1", "authors": [], "manifest_path": "/e", "source": "registry"}
        ], "resolve": {"nodes": [
            {"id": "own", "deps": [{"pkg": "part", "dep_kinds": [{"kind": null}]},
                                   {"pkg": "c", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]}]},
            {"id": "part", "deps": [{"pkg": "a", "dep_kinds": [{"kind": "dev"}, {"kind": null}]}]},
            {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}]}]},
            {"id": "b", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}]},
            {"id": "c", "deps": []}
        ]}}"#;
        let graph = || serde_json::from_str(graph).unwrap();
        let names = |found: Vec<Package>| found.into_iter().map(|it| it.name).collect::<Vec<_>>();
        let found = names(compiled(graph(), &["own"]).unwrap());
        assert_eq!(found, ["own", "part", "a", "b"]);
        // A root is the workspace's own.
        let error = compiled(graph(), &["a"]).err().unwrap().to_string();
        assert!(error.contains("no package is called a"), "{error}");
    }

    #[test]
    fn a_text_that_many_share_stands_once_under_all_their_names() {
        let work = |title: &str, texts: &[&str]| Work {
            title: title.to_owned(),
            texts: texts.iter().map(|&it| it.to_owned()).collect(),
        };
        let works = [work("b 1", &["one"]), work("a 1", &["one", "two"])];
        let licence = ("LICENSES/It.txt".to_owned(), "be kind\n".to_owned());
        let text = written("- **It** by Ann", &[licence], &works);
        for (part, times) in [
            ("one", 1),
            ("two", 1),
            ("b 1\na 1\n\none", 1),
            ("be kind", 1),
            ("by Ann", 1),
        ] {
            assert_eq!(text.matches(part).count(), times, "{part}: {text}");
        }
    }

    #[test]
    fn what_lies_in_our_packages_with_terms_of_its_own_is_named_by_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("plugin");
        for (name, text) in [
            ("LICENSE-MIT", "ours"),
            ("licenses/LICENSE-MIT", "ours"),
            ("src/font/OFL.txt", "theirs"),
        ] {
            let path = own.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let works = within(folder.path(), &package(&own, Some("MIT"))).unwrap();
        let found: Vec<(&str, &BTreeSet<String>)> =
            works.iter().map(|it| (&*it.title, &it.texts)).collect();
        let place: PathBuf = ["plugin", "src", "font"].iter().collect();
        let title = format!("{} of audiodiff", place.display());
        assert_eq!(found, [(&*title, &["theirs".to_owned()].into())]);
        let all = within(&own, &package(&own, Some("MIT"))).unwrap();
        assert!(all.is_empty());
    }

    /// The model card names everybody, and each of its licences is there.
    #[test]
    fn the_notices_of_the_page_name_the_sounds_and_the_crates() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .unwrap();
        // This machine has all that it needs of it.
        let host = crate::host().unwrap();
        let text = collect(workspace, &["audiodiff-web"], &[&host]).unwrap();
        for part in [
            "FluidR3",
            "Frank Wen",
            "Redistribution and use",
            "\ncandle-core ",
            "\nstd, MIT",
        ] {
            assert!(text.contains(part), "{part}");
        }
        // What only makes the page, and what only the instrument needs, is not in it.
        for part in ["\nwasm-bindgen-cli-support ", "\negui "] {
            assert!(!text.contains(part), "{part}");
        }
        let instrument = package(&workspace.join("plugin"), Some("MIT"));
        let works = within(workspace, &instrument).unwrap();
        let [font] = &works[..] else {
            panic!("expected one font, found {}", works.len());
        };
        assert_eq!(font.title, "plugin/src/window/font of audiodiff");
        let terms = font.texts.first().unwrap();
        assert!(terms.contains("Manrope") && terms.contains("SIL OPEN FONT LICENSE"));
    }
}
