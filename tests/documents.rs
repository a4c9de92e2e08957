//! Claims of the documents that a machine can check: links, places, papers, commands, and who may use whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file below `folder` with this ending, but for what is built or hidden.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let built = name == "target" || name.starts_with("run") || name.starts_with('.');
        if path.is_dir() && (!built || name == ".github") {
            files(&path, ending, found);
        } else if path.is_file() && name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
}

/// A document without what stands in blocks of code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let kept = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// The anchors of a document's headings, as the hosting sites make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let mut documents = Vec::new();
    files(root(), ".md", &mut documents);
    assert!(documents.len() >= 5, "{documents:?}");
    let mut wrong = Vec::new();
    for document in &documents {
        let text = prose(&read(document));
        for link in text.split("](").skip(1) {
            let link = link.split([')', ' ']).next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = match link.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (link, None),
            };
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let leads = target.exists()
                && anchor.is_none_or(|anchor| anchors(&prose(&read(&target))).contains(anchor));
            if !leads {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
}

#[test]
fn the_book_has_every_document_of_its_folder_and_shows_every_picture() {
    let docs = root().join("docs");
    let summary = read(&docs.join("SUMMARY.md"));
    let chapters: Vec<PathBuf> = summary
        .split("](")
        .skip(1)
        .map(|rest| docs.join(rest.split(')').next().unwrap_or_default()))
        .collect();
    let (mut documents, mut pictures, mut others) = (Vec::new(), Vec::new(), Vec::new());
    files(&docs, ".md", &mut documents);
    files(&docs, ".png", &mut pictures);
    files(&docs, "", &mut others);
    let mut wrong = Vec::new();
    for document in documents
        .iter()
        .filter(|path| !path.ends_with("SUMMARY.md"))
    {
        match chapters
            .iter()
            .filter(|chapter| *chapter == document)
            .count()
        {
            1 => {}
            times => wrong.push(format!(
                "{}: {times} times in SUMMARY.md",
                document.display()
            )),
        }
    }
    let missing = chapters
        .iter()
        .filter(|chapter| !documents.contains(chapter));
    wrong.extend(missing.map(|chapter| format!("SUMMARY.md: no {}", chapter.display())));
    let text: String = chapters
        .iter()
        .map(|chapter| prose(&read(chapter)))
        .collect();
    for picture in &pictures {
        let name = picture.strip_prefix(&docs).unwrap().to_string_lossy();
        if !text.contains(&format!("]({name})")) {
            wrong.push(format!("{name}: no chapter shows it"));
        }
    }
    if text.contains("![](") {
        wrong.push("a picture without a word about it".to_owned());
    }
    let known = |path: &&PathBuf| {
        path.extension()
            .is_some_and(|ending| ["md", "png", "toml"].iter().any(|known| ending == *known))
    };
    wrong.extend(
        others
            .iter()
            .filter(|path| !known(path))
            .map(|path| format!("{}: nothing of a book", path.display())),
    );
    let size: u64 = pictures
        .iter()
        .map(|picture| fs::metadata(picture).unwrap().len())
        .sum();
    assert!(size < 400_000, "pictures of the book: {size} bytes");
    assert!(wrong.is_empty(), "docs/: {wrong:#?}");
}

/// A source file without its comments and without the tests at its foot.
fn code(path: &Path) -> String {
    let text = read(path);
    let tests = text.match_indices("#[cfg(test)]\n").find(|&(at, found)| {
        let next = text[at + found.len()..].trim_start_matches("pub(crate) ");
        next.starts_with("mod tests {")
    });
    let text = &text[..tests.map_or(text.len(), |(at, _)| at)];
    let lines = text.lines().map(str::trim_start);
    lines
        .filter(|line| !line.starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names after each `prefix::` in `code`, in braces or not.
fn names_below(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for (at, found) in code.match_indices(&format!("{prefix}::")) {
        if code[..at].ends_with(|c: char| is_name(c) || c == ':') {
            continue;
        }
        let rest = &code[at + found.len()..];
        let Some(inside) = rest.strip_prefix('{') else {
            names.extend(rest.split(|c| !is_name(c)).next().map(str::to_owned));
            continue;
        };
        // Names at the first level of `{a::{b, c}, d}`.
        let (mut depth, mut name) = (0, String::new());
        for c in inside.chars() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && c == ',' {
                names.insert(std::mem::take(&mut name));
            } else {
                name.push(c);
            }
        }
        names.insert(name);
    }
    let first = |name: String| {
        let name = name.trim();
        name.split(|c| !is_name(c)).next().unwrap_or("").to_owned()
    };
    names.into_iter().map(first).collect()
}

/// The modules that every module of `src/` uses, kernels included; then the plugin.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut paths = Vec::new();
    files(&root().join("src"), ".rs", &mut paths);
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in &paths {
        let below = path.strip_prefix(root().join("src")).unwrap();
        let first = below.iter().next().unwrap().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let code = code(path);
        let used = uses.entry(module).or_default();
        used.extend(names_below(&code, "crate"));
        used.extend(names_below(&code, "audiodiff"));
        if code.contains("audiodiff_kernels::") {
            used.insert("kernels".into());
        }
    }
    for (name, folder) in [("cli", "cli/src"), ("plugin", "plugin/src")] {
        let mut paths = Vec::new();
        files(&root().join(folder), ".rs", &mut paths);
        let used = paths
            .iter()
            .flat_map(|path| names_below(&code(path), "audiodiff"));
        uses.insert(name.into(), used.collect());
    }
    uses.insert("kernels".into(), BTreeSet::new());
    // Types at the top of the library are not modules, and everything may fail.
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    uses.remove("error");
    for (module, used) in &mut uses {
        used.retain(|name| modules.contains(name) && name != module && name != "error");
    }
    uses
}

/// Names between backticks.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The cells of the table's rows that begin with this header.
fn table(text: &str, header: &str) -> Vec<Vec<String>> {
    let (_, below) = text
        .split_once(header)
        .unwrap_or_else(|| panic!("no table `{header}`"));
    let rows = below
        .lines()
        .skip(1)
        .skip_while(|row| row.starts_with("|--"));
    let rows = rows.take_while(|row| row.starts_with('|'));
    rows.map(|row| row.split('|').skip(1).map(str::to_owned).collect())
        .collect()
}

#[test]
fn modules_use_what_the_table_of_directions_says_and_only_rows_above() {
    let rows = table(
        &read(&root().join("ARCHITECTURE.md")),
        "| Module | Uses | Must not know |",
    );
    let uses = uses();
    let (mut wrong, mut above) = (Vec::new(), BTreeSet::new());
    for row in &rows {
        let module = quoted(&row[0]).next().unwrap_or_default();
        let Some(found) = uses.get(&module) else {
            wrong.push(format!(
                "`{module}`: there is no such module, remove its row"
            ));
            continue;
        };
        let said: BTreeSet<String> = quoted(&row[1]).collect();
        if said != *found {
            let listed: Vec<_> = found.iter().map(|name| format!("`{name}`")).collect();
            wrong.push(format!(
                "`{module}`: its row says {said:?}, its code uses {found:?}: either the code goes the wrong way, or \
                 the row becomes | `{module}` | {} |",
                listed.join(", ")
            ));
        }
        for name in found.difference(&above) {
            wrong.push(format!(
                "`{module}` uses `{name}`, whose row stands below: an arrow up, or a row in the wrong place"
            ));
        }
        above.insert(module);
    }
    for missing in uses.keys().filter(|name| !above.contains(*name)) {
        wrong.push(format!("`{missing}`: no row, add one"));
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md, directions: {wrong:#?}");
}

#[test]
fn the_map_of_the_library_names_every_module_in_the_order_of_use() {
    let lib = read(&root().join("src/lib.rs"));
    let rows = table(&lib.replace("//! ", ""), "| Module | What it does |");
    let modules: Vec<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    let public: BTreeSet<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let for_all = ["kernels", "noise", "file", "names"];
    let mut above: BTreeSet<String> = for_all.map(str::to_owned).into();
    let uses = uses();
    let mut wrong = Vec::new();
    for module in &modules {
        let up = uses[module].difference(&above);
        wrong.extend(up.map(|name| format!("`{module}` uses `{name}`, which stands below it")));
        above.insert(module.clone());
    }
    above.remove("kernels");
    above.insert("error".into());
    let public: BTreeSet<String> = public.into_iter().map(str::to_owned).collect();
    assert_eq!(above, public, "src/lib.rs, map: names of modules");
    assert!(wrong.is_empty(), "src/lib.rs, map: {wrong:#?}");
}

/// The names below the headings of a manifest that end in `dependencies]`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut is_below = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_below = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_below) {
            names.insert(name.trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_its_dependency() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let rows = table(&text, "| Crate | Why |");
    let reasons: BTreeSet<String> = (rows.iter())
        .flat_map(|row| row[0].split(',').map(|name| name.trim().to_owned()))
        .collect();
    let mut manifests = Vec::new();
    files(root(), "Cargo.toml", &mut manifests);
    // The fuzzers are a workspace of their own.
    manifests.retain(|path| !path.starts_with(root().join("fuzz")));
    assert!(manifests.len() > 5);
    let found = manifests.iter().flat_map(|path| dependencies(&read(path)));
    let found: BTreeSet<String> = found
        .filter(|name| !name.starts_with("audiodiff"))
        .collect();
    assert_eq!(found, reasons);
}

#[test]
fn what_is_written_as_a_command_of_cargo_is_there_to_be_run() {
    let mut documents = Vec::new();
    files(root(), ".md", &mut documents);
    let manifests = [
        "Cargo.toml",
        "kernels/Cargo.toml",
        "plugin/Cargo.toml",
        "models/data/Cargo.toml",
    ];
    let manifests: String = manifests.map(|name| read(&root().join(name))).concat();
    let mut wrong = Vec::new();
    for document in &documents {
        for line in read(document).lines() {
            for (flag, section) in [("--bench ", "[[bench]]"), ("--test ", "")] {
                for (at, _) in line.match_indices(flag) {
                    let name: String = line[at + flag.len()..]
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || "_-".contains(*c))
                        .collect();
                    let there = match section {
                        "" => ["", "cli/", "plugin/"].iter().any(|package| {
                            let path = format!("{package}tests/{name}.rs");
                            root().join(path).is_file()
                        }),
                        _ => manifests.contains(&format!("{section}\nname = \"{name}\"")),
                    };
                    if !there {
                        wrong.push(format!("{}: {flag}{name}", document.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn alternatives(path: &str) -> Vec<String> {
    let braces = path
        .split_once('{')
        .and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    match braces {
        Some((head, (names, tail))) => names
            .split(',')
            .map(|name| format!("{head}{name}{tail}"))
            .collect(),
        None => vec![path.to_owned()],
    }
}

#[test]
fn the_map_names_places_that_are_there_and_every_module_of_the_library() {
    let rows = table(&read(&root().join("ARCHITECTURE.md")), "| Where | What |");
    let named: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| quoted(&row[0]).collect::<Vec<_>>())
        .flat_map(|path| alternatives(&path))
        .collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md: {missing:?}");
    let known = |module: &String| {
        named.contains(&format!("src/{module}")) || named.contains(&format!("src/{module}.rs"))
    };
    let apart = ["cli", "plugin", "kernels"];
    let unnamed: Vec<_> = uses()
        .into_keys()
        .filter(|module| !known(module) && !apart.contains(&&**module))
        .collect();
    assert!(unnamed.is_empty(), "ARCHITECTURE.md: {unnamed:?}");
}

/// The words between brackets in a file's comments, over the ends of lines; links apart.
fn bracketed(text: &str) -> Vec<String> {
    let comments = text.lines().map(|line| match line.split_once("//") {
        Some((_, comment)) => comment.trim_start_matches(['/', '!']).trim(),
        None => "]",
    });
    let comments = comments.collect::<Vec<_>>().join(" ");
    let inside = comments.split('[').skip(1).filter_map(|rest| {
        let (inside, after) = rest.split_once(']')?;
        (!after.starts_with('(')).then(|| inside.to_owned())
    });
    inside.collect()
}

/// Each part of `text` that ends with a year.
fn up_to_years(text: &str) -> Vec<&str> {
    let is_year = |word: &str| {
        word.len() == 4
            && (word.starts_with("19") || word.starts_with("20"))
            && word.chars().all(|c| c.is_ascii_digit())
    };
    let ends = (4..=text.len()).filter(|&end| {
        text.is_char_boundary(end)
            && text.get(end - 4..end).is_some_and(is_year)
            && !text[..end - 4].ends_with(|c: char| c.is_alphanumeric())
            && !text[end..].starts_with(|c: char| c.is_alphanumeric())
    });
    ends.map(|end| &text[..end]).collect()
}

#[test]
fn every_paper_that_is_cited_stands_in_the_table_of_its_package_in_one_spelling() {
    let mut wrong = Vec::new();
    for package in ["", "kernels/", "plugin/"] {
        let folder = root().join(format!("{package}src"));
        let lib = read(&folder.join("lib.rs")).replace("//! ", "");
        let known: Vec<String> = table(&lib, "| Short name | Reference |")
            .iter()
            .map(|row| row[0].trim().to_owned())
            .collect();
        assert!(!known.is_empty(), "{package}src/lib.rs");
        let mut paths = Vec::new();
        files(&folder, ".rs", &mut paths);
        files(&folder, ".cu", &mut paths);
        let mut cited = BTreeSet::new();
        for path in paths {
            for inside in bracketed(&read(&path)) {
                for citation in up_to_years(&inside) {
                    match known.iter().find(|name| citation.ends_with(name.as_str())) {
                        Some(name) => drop(cited.insert(name.clone())),
                        None => wrong.push(format!("{}: [{citation}]", path.display())),
                    }
                }
                // Those with a name in place of a year.
                let named = known.iter().filter(|name| inside.contains(name.as_str()));
                cited.extend(named.cloned());
            }
        }
        let unused = known.iter().filter(|name| !cited.contains(*name));
        wrong.extend(unused.map(|name| format!("{package}src/lib.rs: nothing cites {name}")));
    }
    assert!(wrong.is_empty(), "papers: {wrong:#?}");
}
