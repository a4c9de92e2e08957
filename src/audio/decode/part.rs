//! A stretch of a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};

/// A stretch of a file, read as if it were a file of its own: what lies in front of a sound, or around it, is then
/// nobody's concern.
///
/// Parts of one file share its cursor and set it before they read, so only one thread may read them.
#[derive(Debug, Clone)]
pub(super) struct Part {
    file: Arc<File>,
    start: u64,
    len: u64,
    at: u64,
}

impl Part {
    pub fn whole(file: File) -> io::Result<Self> {
        Ok(Self {
            len: file.metadata()?.len(),
            file: Arc::new(file),
            start: 0,
            at: 0,
        })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Up to `len` bytes from `start`, as far as this part has them.
    pub fn sub(&self, start: u64, len: u64) -> Part {
        let start = start.min(self.len);
        Part {
            file: self.file.clone(),
            start: self.start + start,
            len: len.min(self.len - start),
            at: 0,
        }
    }

    /// What follows the first `start` bytes.
    pub fn from(&self, start: u64) -> Part {
        self.sub(start, u64::MAX)
    }

    /// The first `limit` bytes, or all there are: memory grows with what is read, not with what is asked for.
    pub fn head(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.from(0).take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// For a decoder that may look anywhere.
    pub fn stream(self) -> MediaSourceStream<'static> {
        MediaSourceStream::new(Box::new(self), Default::default())
    }

    /// For a decoder that is to read on and nothing else: some would guess a length from the end.
    pub fn stream_forward(self) -> MediaSourceStream<'static> {
        MediaSourceStream::new(Box::new(ReadOnlySource::new(self)), Default::default())
    }
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        if count == 0 {
            return Ok(0);
        }
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.start + self.at))?;
        let read = file.read(&mut into[..count])?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl MediaSource for Part {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}
