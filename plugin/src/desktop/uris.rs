//! Lists of files as text: `text/uri-list` (RFC 2483) of `file` URIs (RFC 8089).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Bytes of a list: what the server takes in one request.
const MOST_BYTES: usize = 128 << 10;
/// Files that are read from one list.
pub(super) const MOST_FILES: usize = 4096;

/// All but the characters that a path of a URI may hold as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The URI of a file.
fn uri(path: &Path) -> String {
    format!(
        "file://{}",
        percent_encode(path.as_os_str().as_bytes(), ESCAPED)
    )
}

/// The list of these files.
///
/// # Errors
/// A sentence, when there is none, one is not absolute, or the list is longer than a request may be.
pub(super) fn list(paths: &[PathBuf]) -> Result<Vec<u8>, String> {
    if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
        return Err(format!("{}: expected an absolute path", path.display()));
    }
    let list: String = paths.iter().map(|path| uri(path) + "\r\n").collect();
    match list.len() {
        0 => Err("expected a file, found none".to_owned()),
        1..=MOST_BYTES => Ok(list.into_bytes()),
        found => Err(format!(
            "expected at most {MOST_BYTES} bytes of files' names, found {found}"
        )),
    }
}

/// The same for file managers' clipboards: what is to be done, and then a URI a line.
pub(super) fn copied_files(paths: &[PathBuf]) -> Vec<u8> {
    let lines: Vec<String> = paths.iter().map(|path| uri(path)).collect();
    format!("copy\n{}", lines.join("\n")).into_bytes()
}

/// The same as text: a path a line.
pub(super) fn as_text(paths: &[PathBuf]) -> Vec<u8> {
    let lines: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    lines.join("\n").into_bytes()
}

/// The files of a list that are on this machine, called `machine`; comments, other URIs and what is damaged are passed
/// over.
pub(super) fn files(list: &[u8], machine: &[u8]) -> Vec<PathBuf> {
    let lines = list.split(|&byte| byte == b'\n' || byte == b'\r' || byte == 0);
    let files = lines.filter_map(|line| file(line.trim_ascii(), machine));
    files.take(MOST_FILES).collect()
}

fn file(uri: &[u8], machine: &[u8]) -> Option<PathBuf> {
    let (scheme, rest) = uri.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"file:") {
        return None;
    }
    let path = match rest.strip_prefix(b"//") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b'/')?;
            let (host, path) = rest.split_at(end);
            let here = [b"".as_slice(), b"localhost", machine];
            if !here.iter().any(|here| here.eq_ignore_ascii_case(host)) {
                return None;
            }
            path
        }
        // The short form, which RFC 8089 allows.
        None => rest,
    };
    let path: Vec<u8> = percent_decode(path).collect();
    let is_whole = path.first() == Some(&b'/') && !path.contains(&0);
    is_whole.then(|| OsString::from_vec(path).into())
}

/// The name of this machine; empty where the system does not tell.
pub(super) fn machine() -> Vec<u8> {
    let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_ascii().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_comes_back() {
        let odd = OsString::from_vec((1..=255).filter(|&byte| byte != b'/').collect());
        let paths = [
            PathBuf::from("/x/door slam #2 100%.wav"),
            PathBuf::from("/é/鼓.wav"),
            Path::new("/").join(odd),
        ];
        let list = list(&paths).unwrap();
        assert!(list.is_ascii() && list.ends_with(b"\r\n"));
        assert_eq!(files(&list, b"here"), paths);
        assert_eq!(
            list.split(|&byte| byte == b'\r').next().unwrap(),
            b"file:///x/door%20slam%20%232%20100%25.wav"
        );
        assert_eq!(
            copied_files(&paths[..1]),
            b"copy\nfile:///x/door%20slam%20%232%20100%25.wav"
        );
        assert_eq!(
            as_text(&paths[..2]),
            "/x/door slam #2 100%.wav\n/é/鼓.wav".as_bytes()
        );
    }

    #[test]
    fn what_programs_send_is_read_and_the_rest_passed_over() {
        let read = |list: &str| {
            let files = files(list.as_bytes(), b"studio");
            let names = files.iter().map(|path| path.to_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(
            read("# of GTK\r\nfile:///a%20b\r\nfile://studio/c\r\nfile://localhost/d\r\n\0"),
            ["/a b", "/c", "/d"]
        );
        assert_eq!(read("FILE:/short\nfile:///last"), ["/short", "/last"]);
        for none in [
            "",
            "http://a/b.wav",
            "file://elsewhere/x",
            "file://",
            "file:",
            "file:x",
            "/a",
            "file:///a%00b",
            "fil",
        ] {
            assert_eq!(read(none), [""; 0], "{none}");
        }
        let many = "file:///x\r\n".repeat(MOST_FILES + 1);
        assert_eq!(read(&many).len(), MOST_FILES);
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        assert!(list(&[]).unwrap_err().contains("found none"));
        let relative = list(&["/a".into(), "b/c".into()]).unwrap_err();
        assert_eq!(relative, "b/c: expected an absolute path");
        let long = vec![PathBuf::from("/a/long/name"); 10_000];
        assert!(
            list(&long)
                .unwrap_err()
                .contains("expected at most 131072 bytes")
        );
    }
}
