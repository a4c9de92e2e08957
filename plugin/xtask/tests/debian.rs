//! What `cli/Cargo.toml` says of the Debian package, held to the files beside it.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

fn cli() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cli")
}

/// The table `package.metadata.deb`.
fn deb() -> Table {
    let manifest: Table = fs::read_to_string(cli().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let deb = manifest["package"]["metadata"]["deb"].as_table();
    deb.unwrap().clone()
}

/// Where each file comes from and goes to.
fn assets() -> Vec<(String, String)> {
    let assets = deb()["assets"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assets
        .iter()
        .map(|it| (text(&it[0]), text(&it[1])))
        .collect()
}

fn names(list: &str) -> Vec<String> {
    let all = deb()[list].as_str().unwrap().to_owned();
    all.split(", ").map(str::to_owned).collect()
}

#[test]
fn files_that_are_not_built_are_there() {
    let own = assets().into_iter().map(|(from, _)| from);
    let own: Vec<_> = own.filter(|it| !it.starts_with("target/")).collect();
    assert!(!own.is_empty());
    for file in own {
        assert!(cli().join(&file).is_file(), "{file}");
    }
}

#[test]
fn the_menu_entry_starts_what_is_installed_with_an_icon_that_is() {
    let entry = fs::read_to_string(cli().join("audiodiff-standalone.desktop")).unwrap();
    let value = |key: &str| {
        let mut lines = entry
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines
            .next()
            .unwrap_or_else(|| panic!("{key} in {entry}"))
            .to_owned()
    };
    let goes = |file: &str, folder: &str| {
        let mut assets = assets().into_iter();
        assets.any(|(from, to)| from.rsplit('/').next() == Some(file) && to == folder)
    };
    assert!(goes(&value("Exec"), "usr/bin/"));
    let icon = format!("{}.svg", value("Icon"));
    assert!(
        goes(&icon, "usr/share/icons/hicolor/scalable/apps/"),
        "{icon}"
    );
    let drawing = fs::read_to_string(cli().join(icon)).unwrap();
    assert!(drawing.starts_with("<svg ") && drawing.trim_end().ends_with("</svg>"));
    assert!(goes("audiodiff-standalone.1", "usr/share/man/man1/"));
}

#[test]
fn the_package_needs_what_the_window_cannot_open_without() {
    let depends = names("depends");
    for library in ["libgl1", "libx11-6", "libx11-xcb1"] {
        assert!(
            depends.iter().any(|it| it == library),
            "{library}: {depends:?}"
        );
    }
    let both = names("recommends")
        .into_iter()
        .find(|it| depends.contains(it));
    assert_eq!(both, None);
}

#[test]
fn the_packages_changes_begin_with_its_version() {
    let file = deb()["changelog"].as_str().unwrap().to_owned();
    let changes = fs::read_to_string(cli().join(file)).unwrap();
    let begin = format!("audiodiff ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(changes.starts_with(&begin), "{begin}: {changes}");
}
