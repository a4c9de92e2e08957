//! Files that appear whole or not at all, and folders that one at a time works in.

use std::fs;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Writes `bytes` to a temporary file beside `path`, then renames it over `path`: a reader, a crash or
/// a full disk never meets half a file.
///
/// A link stays a link, and what it points to is replaced; a device or a pipe is written to directly.
///
/// # Errors
/// When the folder is not there or cannot be written to, or the file that is there may only be read, with `path`'s name.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole_by(path, |file| file.write_all(bytes).map_err(Error::io(path)))
}

/// [`write_whole`] for what is made while it is written, a little at a time: nothing changes at `path` unless `write`
/// succeeds.
///
/// # Errors
/// As [`write_whole`], and those of `write`; an [`Error::Io`] of it that names no file is of this one.
pub fn write_whole_by(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let place = follow(path);
    let write = |file: &mut fs::File| {
        let mut out = BufWriter::new(file);
        let written = write(&mut out).and_then(|()| out.flush().map_err(Error::io(path)));
        written.map_err(|error| match error {
            Error::Io { path: none, cause } if none.as_os_str().is_empty() => {
                Error::io(path)(cause)
            }
            other => other,
        })
    };
    if let Ok(kind) = fs::metadata(&place).map(|m| m.file_type())
        && !kind.is_file()
        && !kind.is_dir()
    {
        let device = fs::OpenOptions::new().write(true).open(&place);
        return write(&mut device.map_err(Error::io(path))?);
    }
    refuse_to_replace(path)?;
    let folder = place
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Not the extension of a sound or a model: if we are killed, nobody takes the rest for one.
    builder.prefix(".audiodiff-").suffix(".part");
    #[cfg(unix)]
    {
        // Temporary files are private by default; the finished one shall follow the umask.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // The name of a file that the user never sees is left out of the error.
    let bare = |e: std::io::Error| match e.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => e.kind().into(),
    };
    let mut file = builder
        .tempfile_in(folder)
        .map_err(|e| Error::io(path)(bare(e)))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    replace(file, &place).map_err(|e| Error::io(path)(bare(e)))
}

/// Makes the folder of a file that is to be written later, so that long work does not end in an error.
///
/// # Errors
/// When the folder cannot be made, or [`write_whole`] would refuse what stands at `path`.
pub fn make_room(path: &Path) -> Result<()> {
    refuse_to_replace(path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => make_folder(folder),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it, where they are not there.
///
/// # Errors
/// When one cannot be made, or a file has its name.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| {
        let is_file = |it: &&Path| fs::metadata(it).is_ok_and(|there| !there.is_dir());
        match folder.ancestors().find(is_file) {
            Some(file) => {
                let found = "expected a folder, found a file";
                Error::io(file)(std::io::Error::new(ErrorKind::NotADirectory, found))
            }
            None => Error::io(folder)(error),
        }
    })
}

/// An error where a folder stands at `path`, or a file that may only be read: a file of a new name could take its place all
/// the same, against its owner's wish.
fn refuse_to_replace(path: &Path) -> Result<()> {
    let (kind, why) = match fs::metadata(path) {
        Ok(there) if there.is_dir() => (ErrorKind::IsADirectory, "expected a file, found a folder"),
        Ok(there) if there.is_file() && there.permissions().readonly() => (
            ErrorKind::PermissionDenied,
            "expected a file that can be written, found one that may only be read",
        ),
        _ => return Ok(()),
    };
    Err(Error::io(path)(std::io::Error::new(kind, why)))
}

/// Gives a temporary file its name, in the place of one that has it.
fn replace(mut file: tempfile::NamedTempFile, place: &Path) -> std::io::Result<()> {
    // Windows refuses while another program has the old file open: one that looks for viruses or makes an index does
    // so for a moment.
    let patience = Duration::from_secs(if cfg!(windows) { 2 } else { 0 });
    let begun = Instant::now();
    loop {
        let error = match file.persist(place) {
            Ok(_) => return Ok(()),
            Err(refused) => {
                file = refused.file;
                refused.error
            }
        };
        // The number is that of a sharing violation.
        let may_end = error.kind() == ErrorKind::PermissionDenied
            || cfg!(windows) && error.raw_os_error() == Some(32);
        if !may_end || begun.elapsed() >= patience {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `title` as a file or folder may be called on every system, without an ending: letters, digits and `-_ .()+&'` stay,
/// 100 of them at most and 200 bytes; others become `_`. Empty where nothing but dots and spaces is left. A name under
/// which Windows knows a device, such as `aux`, gets a `_` behind it.
#[must_use]
pub fn name_for(title: &str) -> String {
    const MOST: usize = 100;
    const MOST_BYTES: usize = 200;
    let is_plain = |c: char| c.is_alphanumeric() || "-_ .()+&'".contains(c);
    let mut name = String::new();
    for c in title.chars().take(MOST) {
        let c = if is_plain(c) { c } else { '_' };
        if name.len() + c.len_utf8() > MOST_BYTES {
            break;
        }
        name.push(c);
    }
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    // It is the device whatever ending follows.
    let (first, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
    if is_device(first.trim_end()) {
        format!("{first}_{rest}")
    } else {
        name.to_owned()
    }
}

/// Whether Windows takes a file of this name, with or without an ending, for a device.
fn is_device(name: &str) -> bool {
    let name = name.to_lowercase();
    let numbered = ["com", "lpt"]
        .iter()
        .find_map(|kind| name.strip_prefix(kind));
    match numbered {
        Some(number) => {
            matches!(number, "¹" | "²" | "³") || number.parse().is_ok_and(|n: u8| n < 10)
        }
        None => ["con", "prn", "aux", "nul", "conin$", "conout$"].contains(&&*name),
    }
}

/// A claim on a folder, which ends with this value and with its process, however that ends.
#[derive(Debug)]
pub struct FolderLock {
    /// The system's lock is on this handle.
    _file: fs::File,
}

impl FolderLock {
    /// The name of the empty file that is locked. It stays: were it removed, two could hold two files of that name.
    const NAME: &str = ".lock";

    /// Claims `folder`; none where another claim holds it. Where the file system knows no locks, every claim is granted.
    ///
    /// # Errors
    /// When the folder is not there or cannot be written to.
    pub fn take(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(Self::NAME);
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::io(&path))?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Some(Self { _file: file })),
        }
    }
}

/// Where `path` leads in the end, whether or not something is there yet.
fn follow(path: &Path) -> PathBuf {
    const MOST_LINKS: usize = 40;
    let mut place = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&place) else {
            break;
        };
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let missing = folder.path().join("missing").join("file");
        assert!(matches!(write_whole(&missing, b"x"), Err(Error::Io { .. })));
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).expect("a folder");
        assert!(write_whole(&taken, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }

    #[test]
    fn a_title_can_be_anything_and_a_name_is_one_on_every_system() {
        for (title, name) in [
            ("Deep 1", "Deep 1"),
            ("../a:b\\c", "_a_b_c"),
            ("Süß (2)", "Süß (2)"),
            ("太鼓", "太鼓"),
            (" ..", ""),
            (" .x. ", "x"),
            ("aux", "aux_"),
            ("Aux Perc", "Aux Perc"),
            ("NUL.wav", "NUL_.wav"),
            ("nul .tar.gz", "nul _.tar.gz"),
            ("com1", "com1_"),
            ("LPT²", "LPT²_"),
            ("com10", "com10"),
            ("console", "console"),
        ] {
            assert_eq!(name_for(title), name, "{title:?}");
        }
        assert_eq!(name_for(&"x".repeat(999)).len(), 100);
        // Of three bytes each: names have 255 at most.
        assert_eq!(name_for(&"鼓".repeat(999)), "鼓".repeat(66));
    }

    #[test]
    fn what_is_open_elsewhere_is_replaced_or_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        fs::write(&path, b"old").expect("a file");
        // Such as a player that has it open for longer than we wait, or a virus scanner that has it for a moment.
        let reader = fs::File::open(&path).expect("the file");
        let soon = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(reader);
        });
        write_whole(&path, b"new").expect("written");
        soon.join().expect("the reader");
        assert_eq!(fs::read(&path).expect("the file"), b"new");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }

    #[cfg(windows)]
    #[test]
    fn a_file_that_is_locked_is_whole_and_a_refusal_names_it() {
        use std::os::windows::fs::OpenOptionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let locked = folder.path().join("locked");
        fs::write(&locked, b"old").expect("a file");
        // Others may read it meanwhile, no more.
        let reader = fs::OpenOptions::new()
            .read(true)
            .share_mode(1)
            .open(&locked);
        let error = write_whole(&locked, b"new").expect_err("it is locked");
        assert!(error.to_string().contains("locked"), "{error}");
        assert_eq!(fs::read(&locked).expect("the file"), b"old");
        drop(reader);
        write_whole(&locked, b"new").expect("it is free");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }

    #[test]
    fn what_may_only_be_read_and_what_is_a_folder_stay_and_room_is_made_for_all_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("kept"), b"old").expect("a file");
        let mut permissions = fs::metadata(path("kept")).expect("it").permissions();
        let free = permissions.clone();
        permissions.set_readonly(true);
        fs::set_permissions(path("kept"), permissions).expect("set");
        for (name, found) in [("kept", "one that may only be read"), ("", "a folder")] {
            let path = path(name);
            for refused in [write_whole(&path, b"new"), make_room(&path)] {
                let error = refused.expect_err("it stays").to_string();
                assert!(error.contains(&path.display().to_string()), "{error}");
                assert!(error.ends_with(found), "{error}");
            }
        }
        assert_eq!(fs::read(path("kept")).expect("the file"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
        fs::set_permissions(path("kept"), free).expect("set");
        write_whole(&path("kept"), b"new").expect("it is free");
        make_room(&path("a/b/new")).expect("room");
        write_whole(&path("a/b/new"), b"new").expect("written");
        for within in [path("kept"), path("kept/within")] {
            let error = make_folder(&within).expect_err("a file").to_string();
            let expected = format!(
                "{}: expected a folder, found a file",
                path("kept").display()
            );
            assert_eq!(error, expected);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_follows_the_umask_and_replaces_what_a_link_points_to() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, b"old").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write_whole(&link, b"new").expect("written");
        assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
        assert_eq!(fs::read(&file).expect("the file"), b"new");
        let (dangling, target) = (folder.path().join("dangling"), folder.path().join("target"));
        std::os::unix::fs::symlink("target", &dangling).expect("a link");
        write_whole(&dangling, b"there").expect("written");
        assert_eq!(fs::read(&target).expect("the target"), b"there");
        assert!(
            fs::symlink_metadata(&dangling)
                .expect("the link")
                .is_symlink()
        );
        let mode = fs::metadata(&file).expect("the file").permissions().mode();
        let fresh = folder.path().join("fresh");
        fs::write(&fresh, b"").expect("a file");
        assert_eq!(
            mode,
            fs::metadata(&fresh).expect("a file").permissions().mode()
        );
    }
}
