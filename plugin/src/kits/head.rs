//! The beginning of a kit's file: what a list shows, without the sounds.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use audiodiff::{Error, Result};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{KitInfo, stem};

/// Reads what a kit says of itself, and no more of its file. A project that is no kit has the name of its file.
///
/// # Errors
/// When the file cannot be read, or does not begin as a kit does.
pub(super) fn read(path: &Path) -> Result<KitInfo> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut info = None;
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(file));
    // The visitor stops before the end, which counts as an error.
    let stopped = json.deserialize_map(Head(&mut info));
    match (info, stopped) {
        (Some(info), _) => Ok(with_name(info, path)),
        (None, Ok(())) => Err(Error::setting(format!(
            "{}: expected a kit of audiodiff, found no pads",
            path.display()
        ))),
        (None, Err(error)) => Err(Error::setting(format!(
            "{}: expected a kit of audiodiff, found {error}",
            path.display()
        ))),
    }
}

fn with_name(mut info: KitInfo, path: &Path) -> KitInfo {
    if info.name.trim().is_empty() {
        info.name = stem(path);
    }
    info
}

/// Looks for the kit's part among the first fields.
struct Head<'a>(&'a mut Option<KitInfo>);

impl<'de> Visitor<'de> for Head<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a project")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kit" => {
                    // Damaged, it is a kit all the same.
                    *self.0 = Some(map.next_value::<KitInfo>().unwrap_or_default());
                    return Ok(());
                }
                "pads" | "sound" => {
                    *self.0 = Some(KitInfo::default());
                    return Ok(());
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.audiodiff-kit");
        let head = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map(|info| info.name).ok()
        };
        let name = |text: &str| head(text).unwrap_or_default();
        // What follows may be anything.
        assert_eq!(
            name("{\"format\":1,\"kit\":{\"name\":\"A\",\"later\":[1]},\"pads\":[nonsense"),
            "A"
        );
        assert_eq!(
            name("{\"later\":{\"x\":[1,2]},\"kit\":{\"name\":\"B\"}"),
            "B"
        );
        assert_eq!(name("{\"kit\":{\"tags\":[]},\"pads\":[]}"), "file");
        assert_eq!(name("{\"format\":1,\"pads\":[null,nonsense"), "file");
        assert_eq!(name("{\"kit\":7,\"pads\":[]}"), "file");
        for nonsense in ["", "[]", "{}", "{\"format\":1}", "RIFF....WAVE"] {
            assert_eq!(head(nonsense), None, "{nonsense}");
        }
    }
}
