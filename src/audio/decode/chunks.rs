//! Containers made of chunks, whose lengths lie more often than any other part of a file.

use std::io;

use super::part::Part;

/// More chunks than any sound file has; a bound on time for files made of empty ones.
const MAX_CHUNKS: usize = 4096;

/// Bytes that are searched for the next chunk, where the last one lies.
const SEARCHED: u64 = 16 << 20;

/// Lengths of the samples that stand for none: of recorders that died or write to a pipe. Beside the largest numbers of
/// 31 and 32 bits there are those that leave room for a header.
const UNWRITTEN: [u64; 10] = [
    0,
    0x7fff_ffff,
    0x7fff_f000,
    0x7fff_ffdb,
    0x7fff_ffd3,
    0x8000_0000,
    0xffff_ffff,
    0xffff_f000,
    0xffff_ffdb,
    0xffff_ffd3,
];

/// A part of a container.
#[derive(Debug)]
pub(super) struct Chunk {
    pub id: [u8; 4],
    /// The bytes that the file has of it.
    pub body: Part,
    /// The bytes that it promises beyond the end of the file.
    pub missing: u64,
}

/// The kinds of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Riff,
    /// RIFF in the other byte order.
    Rifx,
    /// AIFF.
    Form,
    /// W64: lengths of 64 bits, names of 128 of which the first 32 are RIFF's.
    Wave64,
    Caf,
}

/// What follows the first four letters in the names of W64's chunks.
const GUID: [u8; 12] = [
    0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0x00, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a,
];

const WAV_IDS: &[&[u8; 4]] = &[
    b"fmt ", b"data", b"LIST", b"list", b"fact", b"smpl", b"cue ", b"bext", b"inst", b"JUNK",
    b"junk", b"Junk", b"ds64", b"PEAK", b"iXML", b"ID3 ", b"id3 ", b"acid", b"strc", b"DISP",
    b"_PMX", b"cart", b"afsp", b"LGWV", b"minf", b"elm1", b"elmo", b"regn", b"umid", b"plst",
    b"PAD ", b"FLLR", b"levl", b"chna", b"axml", b"wavl", b"slnt", b"qlty", b"mext", b"aXML",
    b"ResU", b"cue2", b"tlst", b"SAUR", b"clm ", b"wvtb", b"atem", b"note", b"LIS2",
];
const AIFF_IDS: &[&[u8; 4]] = &[
    b"COMM", b"SSND", b"FVER", b"MARK", b"INST", b"APPL", b"NAME", b"AUTH", b"(c) ", b"ANNO",
    b"COMT", b"AESD", b"MIDI", b"ID3 ", b"CHAN", b"basc", b"trns", b"cate", b"PEAK", b"SAXL",
    b"LGWV", b"FLLR",
];
const CAF_IDS: &[&[u8; 4]] = &[
    b"desc", b"data", b"pakt", b"kuki", b"chan", b"free", b"info", b"mark", b"regn", b"inst",
    b"MIDI", b"ovvw", b"peak", b"edct", b"strg", b"umid", b"uuid",
];

impl Dialect {
    /// Where the first chunk begins.
    fn start(self) -> u64 {
        match self {
            Dialect::Wave64 => 40,
            Dialect::Caf => 8,
            _ => 12,
        }
    }

    fn head_len(self) -> u64 {
        match self {
            Dialect::Wave64 => 24,
            Dialect::Caf => 12,
            _ => 8,
        }
    }

    /// What chunks' ends are padded to.
    fn align(self) -> u64 {
        match self {
            Dialect::Wave64 => 8,
            Dialect::Caf => 1,
            _ => 2,
        }
    }

    /// The chunk that holds the samples.
    fn samples(self) -> &'static [u8; 4] {
        match self {
            Dialect::Form => b"SSND",
            _ => b"data",
        }
    }

    fn ids(self) -> &'static [&'static [u8; 4]] {
        match self {
            Dialect::Form => AIFF_IDS,
            Dialect::Caf => CAF_IDS,
            _ => WAV_IDS,
        }
    }

    /// Name and length of the chunk that `bytes` begin with.
    fn head(self, bytes: &[u8]) -> Option<([u8; 4], u64)> {
        let bytes = bytes.get(..self.head_len() as usize)?;
        let id = [bytes[0], bytes[1], bytes[2], bytes[3]];
        let long = |at: usize| -> [u8; 8] { std::array::from_fn(|i| bytes[at + i]) };
        let short: [u8; 4] = std::array::from_fn(|i| bytes[4 + i]);
        let len = match self {
            Dialect::Riff => u64::from(u32::from_le_bytes(short)),
            Dialect::Rifx | Dialect::Form => u64::from(u32::from_be_bytes(short)),
            Dialect::Caf => u64::from_be_bytes(long(4)),
            Dialect::Wave64 => u64::from_le_bytes(long(16)).saturating_sub(24),
        };
        Some((id, len))
    }

    fn is_known(self, bytes: &[u8]) -> bool {
        let is_guid = self != Dialect::Wave64 || bytes.get(4..16) == Some(&GUID);
        is_guid && self.ids().iter().any(|id| bytes.starts_with(*id))
    }
}

/// A container's chunks, and what was wrong with them.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: Vec<Chunk>,
    pub lost: Vec<String>,
    pub mended: Vec<String>,
}

impl Chunks {
    /// Finds the chunks of `part`. `samples_len` is the true length of the samples where the format keeps it elsewhere,
    /// as RF64 does, of which the body of the first chunk is asked.
    pub fn of(
        part: &Part,
        dialect: Dialect,
        samples_len: impl Fn(&[u8; 4], &Part) -> Option<u64>,
    ) -> io::Result<Self> {
        let walk = Walk { part, dialect };
        let mut found = Self {
            chunks: Vec::new(),
            lost: Vec::new(),
            mended: Vec::new(),
        };
        let mut elsewhere = None;
        let mut at = dialect.start();
        while found.chunks.len() < MAX_CHUNKS {
            let head = part.from(at).head(dialect.head_len())?;
            let Some((id, claimed)) = dialect.head(&head) else {
                break;
            };
            let start = at + dialect.head_len();
            let (len, missing);
            if &id == dialect.samples() {
                let claimed = elsewhere
                    .take()
                    .filter(|_| UNWRITTEN.contains(&claimed))
                    .unwrap_or(claimed);
                (len, missing) = walk.samples_len(start, claimed, &mut found.mended)?;
                at = walk.next(start.saturating_add(len))?.unwrap_or(part.len());
            } else {
                let end = start.saturating_add(claimed);
                let is_all = found.find(dialect.samples()).is_some();
                // Before the samples are found, a chunk that ends with the file may have swallowed them.
                let next = match walk.next(end)? {
                    None if is_all => Some(part.len()),
                    Some(next) if !is_all && next >= part.len() => None,
                    next => next,
                };
                (len, at) = match next {
                    Some(next) => (claimed, next),
                    None => match walk.search(start)? {
                        Some(next) => {
                            let len = claimed.min(next - start);
                            found.mended.push(format!(
                                "its chunk {:?} claims {claimed} bytes and has {}",
                                String::from_utf8_lossy(&id),
                                next - start
                            ));
                            (len, next)
                        }
                        None => (claimed, part.len()),
                    },
                };
                missing = 0;
            }
            let body = part.sub(start, len);
            elsewhere = elsewhere.or_else(|| samples_len(&id, &body));
            if matches!(&id, b"RIFF" | b"FORM") {
                found
                    .lost
                    .push("another sound file follows within it, which is not read".to_owned());
                break;
            }
            found.chunks.push(Chunk { id, body, missing });
        }
        Ok(found)
    }

    /// The first chunk called `id`.
    pub fn find(&self, id: &[u8; 4]) -> Option<&Chunk> {
        self.all(id).next()
    }

    /// All chunks called `id`.
    pub fn all(&self, id: &[u8; 4]) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().filter(move |chunk| &chunk.id == id)
    }
}

#[derive(Debug)]
struct Walk<'a> {
    part: &'a Part,
    dialect: Dialect,
}

impl Walk<'_> {
    fn rest(&self, from: u64) -> u64 {
        self.part.len().saturating_sub(from)
    }

    /// Where the chunk after one that ends at `end` begins, padding skipped or not; none if nothing there looks like one.
    fn next(&self, end: u64) -> io::Result<Option<u64>> {
        let padded = end.saturating_add((end.wrapping_neg()) % self.dialect.align());
        if self.rest(end) < self.dialect.head_len() {
            return Ok(Some(self.part.len()));
        }
        // Known names first: a name that is read a byte too late can look like one as well.
        for known in [true, false] {
            for at in [padded, end] {
                if self.is_chunk(at, known)? {
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }

    /// Whether a chunk begins at `at`: of a name that is `known`, or of four letters and a length that the file has.
    fn is_chunk(&self, at: u64, known: bool) -> io::Result<bool> {
        let bytes = self.part.from(at).head(self.dialect.head_len())?;
        if known {
            return Ok(self.dialect.is_known(&bytes));
        }
        Ok(self.dialect.head(&bytes).is_some_and(|(id, len)| {
            let is_name = id.iter().all(|b| matches!(b, b' '..=b'~')) && id[0] != b' ';
            is_name && len <= self.rest(at + self.dialect.head_len())
        }))
    }

    /// The next chunk of a known name from `start` on whose length can be true.
    fn search(&self, start: u64) -> io::Result<Option<u64>> {
        let bytes = self.part.from(start).head(SEARCHED)?;
        Ok((0..bytes.len())
            .find(|&at| {
                self.dialect.is_known(&bytes[at..])
                    && self.dialect.head(&bytes[at..]).is_some_and(|(id, len)| {
                        let is_unwritten =
                            &id == self.dialect.samples() && UNWRITTEN.contains(&len);
                        is_unwritten
                            || len <= self.rest(start + at as u64 + self.dialect.head_len())
                    })
            })
            .map(|at| start + at as u64))
    }

    /// The bytes of samples from `start` on that the file has, and how many more it promises.
    fn samples_len(
        &self,
        start: u64,
        claimed: u64,
        mended: &mut Vec<String>,
    ) -> io::Result<(u64, u64)> {
        let rest = self.rest(start);
        let is_unwritten = UNWRITTEN.contains(&claimed) || claimed >= 1 << 62;
        let is_empty = claimed == 0
            && (rest == 0 || rest >= self.dialect.head_len() && self.ends_at(start)?);
        if is_unwritten && !is_empty {
            if claimed <= rest && claimed > 0 && self.ends_at(start + claimed)? {
                return Ok((claimed, 0));
            }
            let len = self.tail(start)? - start;
            mended.push(match claimed {
                0 => format!(
                    "its header says that it holds nothing; all {len} bytes that follow are read"
                ),
                _ => format!(
                    "its header does not know how long it is; all {len} bytes that follow are read"
                ),
            });
            return Ok((len, 0));
        }
        if claimed > rest {
            return Ok((rest, claimed - rest));
        }
        if self.ends_at(start + claimed)? {
            return Ok((claimed, 0));
        }
        // Lengths of 32 bits begin anew after 4 GiB.
        let wrapped = (1..)
            .map(|n| claimed + (n << 32))
            .take_while(|&len| len <= rest);
        for len in wrapped {
            if self.ends_at(start + len)? {
                mended.push(format!(
                    "it is longer than the {claimed} bytes that its header can say; all {len} are read"
                ));
                return Ok((len, 0));
            }
        }
        let len = self.tail(start + claimed)? - start;
        mended.push(format!(
            "its header says {claimed} bytes of sound, but it goes on; all {len} bytes are read"
        ));
        Ok((len, 0))
    }

    /// Whether samples can end at `end`: with the file, before another chunk, or before what is no sound.
    fn ends_at(&self, end: u64) -> io::Result<bool> {
        if self.rest(end) < self.dialect.head_len() || self.next(end)?.is_some() {
            return Ok(true);
        }
        let bytes = self.part.from(end).head(1 << 20)?;
        let is_whole = bytes.len() as u64 == self.rest(end);
        let is_tag = [
            &b"TAG"[..],
            b"ID3",
            b"APETAGEX",
            b"LYRICSBEGIN",
            b"RIFF",
            b"FORM",
        ]
        .iter()
        .any(|tag| bytes.starts_with(tag));
        let is_text = || {
            bytes
                .iter()
                .all(|b| matches!(b, b'\t'..=b'\r' | b' '..=b'~' | 0))
        };
        Ok(is_tag || is_whole && is_text())
    }

    /// Where what follows the samples begins, which may go on for long after `from`: known chunks that end with the file.
    fn tail(&self, from: u64) -> io::Result<u64> {
        let len = self.part.len();
        let from = from.max(len.saturating_sub(1 << 20));
        let bytes = self.part.from(from).head(1 << 20)?;
        for at in 0..bytes.len() {
            if !self.dialect.is_known(&bytes[at..]) {
                continue;
            }
            // A chain of chunks up to the end, not one of them a lie.
            let mut next = Some(from + at as u64);
            for _ in 0..64 {
                let Some(at) = next.filter(|&at| self.rest(at) >= self.dialect.head_len()) else {
                    break;
                };
                let head = self.part.from(at).head(self.dialect.head_len())?;
                let end = self
                    .dialect
                    .head(&head)
                    .map(|(_, len)| (at + self.dialect.head_len()).saturating_add(len));
                next = match end.filter(|&end| end <= len + 1) {
                    Some(end) => self.next(end)?,
                    None => None,
                };
            }
            if next.is_some_and(|at| self.rest(at) < self.dialect.head_len()) {
                return Ok(from + at as u64);
            }
        }
        Ok(len)
    }
}
