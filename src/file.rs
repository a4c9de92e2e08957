//! Files that appear whole or not at all, and folders that one at a time works in.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `bytes` to a temporary file beside `path`, then renames it over `path`: a reader, a crash or
/// a full disk never meets half a file.
///
/// A link stays a link, and what it points to is replaced; a device or a pipe is written to directly.
///
/// # Errors
/// When the folder is not there or cannot be written to, with `path`'s name.
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
    let bare = |e: std::io::Error| {
        e.raw_os_error()
            .map_or(e, std::io::Error::from_raw_os_error)
    };
    let mut file = builder
        .tempfile_in(folder)
        .map_err(|e| Error::io(path)(bare(e)))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(&place)
        .map_err(|e| Error::io(path)(bare(e.error)))?;
    Ok(())
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
