//! The book: `docs/` as pages, the other files that it leads to beside them, and no link that leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use mdbook_driver::MDBook;
use mdbook_driver::book::{BookItem, Chapter};
use mdbook_driver::config::Config;

/// Makes the pages in `out` anew, and returns how many there are. Chapters are the documents of `docs/` that
/// `SUMMARY.md` names, then those of other folders that they lead to.
pub fn build(repository: &Path, out: &Path) -> Result<usize> {
    let docs = repository.join("docs");
    let mut config = Config::from_disk(docs.join("book.toml"))?;
    config.build.build_dir = out.to_owned();
    let mut book = MDBook::load_with_config(&docs, config)?;

    let mut beside = Beside::default();
    let mut unreadable = None;
    book.book.for_each_chapter_mut(|chapter| {
        let Some(path) = &chapter.source_path else {
            return;
        };
        match beside.links(&chapter.content, repository, &Path::new("docs").join(path)) {
            Ok(content) => chapter.content = content,
            Err(error) => unreadable = Some(error),
        }
    });
    if let Some(error) = unreadable {
        return Err(error);
    }
    // Documents lead to further ones.
    let mut chapters = Vec::new();
    while let Some((path, page)) = beside.unread.pop_first() {
        let text = read(&repository.join(&path))?;
        let title = text.lines().find_map(|line| line.strip_prefix("# "));
        let title = title.unwrap_or(&page).to_owned();
        let content = beside.links(&text, repository, &path)?;
        chapters.push(Chapter::new(&title, content, &page, Vec::new()));
    }
    chapters.sort_by(|a, b| a.path.cmp(&b.path));
    book.book.items.push(BookItem::Separator);
    let chapters = chapters.into_iter().map(BookItem::Chapter);
    book.book.items.extend(chapters);

    book.build()?;
    for (path, name) in &beside.known {
        if !is_document(path) {
            let from = repository.join(path);
            fs::copy(&from, out.join(name))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    let pages = pages(out)?;
    let wrong = dead_links(out, &pages);
    if !wrong.is_empty() {
        bail!("links that lead nowhere:\n{}", wrong.join("\n"));
    }
    Ok(pages.len())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// `a/b/../c` as `a/c`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Files outside of `docs/` that pages lead to. All pages lie in one folder, so these have names without folders there.
#[derive(Default)]
struct Beside {
    /// By their path in the repository: what they are called beside the pages.
    known: BTreeMap<PathBuf, String>,
    /// Those of them that are documents, and become pages themselves.
    unread: BTreeMap<PathBuf, String>,
}

impl Beside {
    /// The text of the document at `path` in the repository, with links as they are among the pages.
    fn links(&mut self, text: &str, repository: &Path, path: &Path) -> Result<String> {
        let mut parts = text.split("](");
        let mut linked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find([')', ' ', '#']).unwrap_or(part.len());
            let (target, rest) = part.split_at(end);
            let folder = path.parent().unwrap_or(Path::new(""));
            let found = plain(&folder.join(target));
            let is_local = !target.is_empty() && !target.contains("://");
            // Of a folder there is no page: its name stays, without a link.
            if let (true, Some(at)) = (
                is_local && repository.join(&found).is_dir(),
                linked.rfind('['),
            ) {
                linked.remove(at);
                linked.push_str(rest.strip_prefix(')').unwrap_or(rest));
                continue;
            }
            linked.push_str("](");
            if !is_local || !repository.join(&found).is_file() {
                linked.push_str(part);
                continue;
            }
            linked.push_str(&match found.strip_prefix("docs") {
                Ok(own) if own == Path::new("SUMMARY.md") => "index.html".to_owned(),
                Ok(own) => own.to_string_lossy().into_owned(),
                Err(_) => self.name(&found),
            });
            linked.push_str(rest);
        }
        Ok(linked)
    }

    /// What a file is called beside the pages.
    fn name(&mut self, path: &Path) -> String {
        let name = path.to_string_lossy().to_lowercase();
        let name = format!("file-{}", name.replace(['/', '\\'], "-"));
        if self.known.insert(path.to_owned(), name.clone()).is_none() && is_document(path) {
            self.unread.insert(path.to_owned(), name.clone());
        }
        name
    }
}

/// The pages in `out` by name.
fn pages(out: &Path) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            let name = path.file_name().unwrap_or_default();
            pages.insert(name.to_string_lossy().into_owned(), read(&path)?);
        }
    }
    Ok(pages)
}

/// The values of an attribute in a page.
fn values<'a>(page: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let parts: Vec<&str> = page.split(&format!(" {attribute}=\"")).skip(1).collect();
    parts.into_iter().filter_map(|part| part.split('"').next())
}

/// Links and pictures of pages whose file or heading is not there.
fn dead_links(out: &Path, pages: &BTreeMap<String, String>) -> Vec<String> {
    let ids: BTreeMap<&str, BTreeSet<&str>> = pages
        .iter()
        .map(|(name, page)| (name.as_str(), values(page, "id").collect()))
        .collect();
    let mut dead = Vec::new();
    for (name, page) in pages {
        for link in values(page, "href").chain(values(page, "src")) {
            if link.contains(':') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { name } else { file };
            let has_heading = || ids.get(file).is_some_and(|ids| ids.contains(heading));
            if !out.join(file).exists() || !(heading.is_empty() || has_heading()) {
                dead.push(format!("{name}: {link}"));
            }
        }
    }
    dead
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const SETTINGS: &str = include_str!("../../../docs/book.toml");

    #[test]
    fn a_chapter_leads_to_documents_and_pictures_of_other_folders() {
        let chapter =
            "# One\n\n[the map](../MAP.md#a-place) ![window](../models/window.png) [two](two.md)\n";
        let folder = repository(&[
            ("docs/book.toml", SETTINGS),
            (
                "docs/SUMMARY.md",
                "# Summary\n\n- [One](one.md)\n- [Two](two.md)\n",
            ),
            ("docs/one.md", chapter),
            ("docs/two.md", "# Two\n\n[out](https://example.org/)\n"),
            (
                "MAP.md",
                "# The map\n\n## A place\n\n[back](docs/two.md), [all](docs/SUMMARY.md), [card](models/README.md)\n",
            ),
            (
                "models/README.md",
                "# Card\n\n[heard](kick.flac), [all of it](../models)\n",
            ),
            ("models/kick.flac", "a sound"),
            ("models/window.png", "a picture"),
        ]);
        let out = folder.path().join("book");
        build(folder.path(), &out).unwrap();
        let page = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        let one = page("one.html");
        for link in [
            "file-map.html#a-place",
            "file-models-window.png",
            "two.html",
        ] {
            assert!(one.contains(&format!("\"{link}\"")), "{link}: {one}");
        }
        assert!(page("file-map.html").contains("\"file-models-readme.html\""));
        assert!(out.join("file-models-kick.flac").is_file());
        assert!(page("file-models-readme.html").contains("</a>, all of it</p>"));
    }

    #[test]
    fn the_book_of_this_repository_is_whole() {
        let out = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let pages = build(&repository, out.path()).unwrap();
        assert!(pages > 12, "{pages}");
    }

    #[test]
    fn a_link_without_a_target_is_told() {
        let folder = repository(&[
            ("docs/book.toml", SETTINGS),
            ("docs/SUMMARY.md", "# Summary\n\n- [One](one.md)\n"),
            (
                "docs/one.md",
                "# One\n\n[a](gone.md) [b](#gone) ![c](gone.png)\n",
            ),
        ]);
        let error = build(folder.path(), &folder.path().join("book")).unwrap_err();
        let error = error.to_string();
        for link in ["gone.html", "#gone", "gone.png"] {
            assert!(error.contains(&format!("one.html: {link}")), "{error}");
        }
    }
}
