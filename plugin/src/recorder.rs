//! Recordings of what the instrument plays.
//!
//! The audio thread hands its frames on in blocks, through a queue that is made once and waits for nobody. A thread that
//! lives as long as the recording writes them to a WAV file, whose head says each second how long it is: after a crash,
//! all but the last second can be read.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audiodiff::{Error, Result};
use crossbeam::queue::ArrayQueue;
use hound::{SampleFormat, WavSpec, WavWriter};

/// Frames that go through the queue at once.
const BLOCK: usize = 64;

/// Blocks that the file may be behind: 11 s at 48 kHz. They take 4 MB, from the first recording on.
const BLOCKS: usize = 8192;

/// The time between two looks into the queue.
const LOOK: Duration = Duration::from_millis(20);

/// The time between two heads.
const HEAD: Duration = Duration::from_secs(1);

const CHANNELS: u16 = 2;
const BITS: u16 = 24;
const BYTES_PER_FRAME: u64 = (CHANNELS * BITS / 8) as u64;

/// Frames that a WAV file can hold, beside its head.
const MOST_FRAMES: u64 = (u32::MAX as u64 - (1 << 16)) / BYTES_PER_FRAME;

/// Frames on their way to the file.
#[derive(Clone, Copy)]
struct Block {
    /// The recording that they belong to.
    take: u32,
    /// Frames before them that there was no room for.
    lost: u64,
    len: usize,
    frames: [[f32; 2]; BLOCK],
}

/// What the audio thread and the file's share.
#[derive(Debug, Default)]
struct Line {
    blocks: OnceLock<ArrayQueue<Block>>,
    /// The number of the recording; 0 while there is none.
    take: AtomicU32,
    /// Hz.
    sample_rate: AtomicU32,
    /// Frames that there was no room for since the last block. The audio thread's.
    lost: AtomicU64,
}

impl Line {
    fn push(&self, left: &[f32], right: &[f32]) {
        let take = self.take.load(Ordering::Acquire);
        let Some(blocks) = self.blocks.get().filter(|_| take != 0) else {
            return;
        };
        for (left, right) in left.chunks(BLOCK).zip(right.chunks(BLOCK)) {
            let mut block = Block {
                take,
                lost: self.lost.load(Ordering::Relaxed),
                len: left.len().min(right.len()),
                frames: [[0.0; 2]; BLOCK],
            };
            for (frame, (left, right)) in block.frames.iter_mut().zip(left.iter().zip(right)) {
                *frame = [*left, *right];
            }
            let lost = match blocks.push(block) {
                Ok(()) => 0,
                Err(block) => block.lost + block.len as u64,
            };
            self.lost.store(lost, Ordering::Relaxed);
        }
    }
}

/// A recording that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Its file.
    pub path: PathBuf,
    /// Frames a second.
    pub sample_rate: u32,
    /// Frames of it.
    pub frames: u64,
    /// How many of them are silence because the disk did not keep up.
    pub lost: u64,
    /// Why it ended by itself, if it did: a sentence.
    pub ended: Option<String>,
}

impl Recording {
    /// Its length.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.sample_rate)
    }
}

/// A recording that is being written.
#[derive(Debug)]
struct Writing {
    path: PathBuf,
    sample_rate: u32,
    /// Set when it is to end.
    end: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    thread: JoinHandle<Result<Recording>>,
}

/// Records the main output.
#[derive(Debug, Default)]
pub struct Recorder {
    line: Arc<Line>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    takes: u32,
    writing: Option<Writing>,
}

impl Recorder {
    /// Takes the frames of the main output as the host gets them.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn push(&self, left: &[f32], right: &[f32]) {
        self.line.push(left, right);
    }

    /// Takes the rate of the frames to come, Hz. A recording at another rate ends.
    pub fn set_sample_rate(&self, sample_rate: u32) {
        let before = self.line.sample_rate.swap(sample_rate, Ordering::AcqRel);
        if before != sample_rate {
            self.line.take.store(0, Ordering::Release);
        }
    }

    /// Begins a recording: a new WAV file of 24 bits, in a folder that is made if need be.
    ///
    /// # Errors
    /// [`Error::Io`] when there is a file of this name already, or none can be made; [`Error::Setting`] while another
    /// recording is under way, or the host has not said its sample rate.
    pub fn start(&self, path: &Path) -> Result<()> {
        let mut held = self.lock();
        if let Some(writing) = &held.writing {
            let now = writing.path.display();
            return Err(Error::setting(format!("{now} is being recorded")));
        }
        let sample_rate = self.line.sample_rate.load(Ordering::Acquire);
        if sample_rate == 0 {
            return Err(Error::setting(
                "the host plays nothing that could be recorded",
            ));
        }
        if let Some(folder) = path.parent() {
            audiodiff::file::make_folder(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = BufWriter::new(file.map_err(Error::io(path))?);
        let out = Out::begin(file, path, sample_rate)?;
        let blocks = self.line.blocks.get_or_init(|| ArrayQueue::new(BLOCKS));
        // Of a recording before, at most the audio thread's last.
        while blocks.pop().is_some() {}
        held.takes = held.takes.wrapping_add(1).max(1);
        let take = held.takes;
        let end = Arc::new(AtomicBool::new(false));
        let line = self.line.clone();
        let frames = out.frames.clone();
        let thread = {
            let end = end.clone();
            std::thread::Builder::new()
                .name("audiodiff recorder".into())
                .spawn(move || out.write_all(&line, take, &end))
                .map_err(Error::io(path))?
        };
        self.line.lost.store(0, Ordering::Relaxed);
        self.line.take.store(take, Ordering::Release);
        held.writing = Some(Writing {
            path: path.to_owned(),
            sample_rate,
            end,
            frames,
            thread,
        });
        Ok(())
    }

    /// Ends the recording that is under way, which takes up to 50 ms; none if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when it could not be written. What could be is in the file.
    pub fn stop(&self) -> Result<Option<Recording>> {
        let mut held = self.lock();
        held.writing.take().map(|it| self.end(it)).transpose()
    }

    /// A recording that has ended by itself since the last call: its sample rate changed, or its file can hold no more.
    ///
    /// # Errors
    /// [`Error::Io`] when it ended because it could not be written any more. What could be is in the file.
    pub fn ended(&self) -> Result<Option<Recording>> {
        let mut held = self.lock();
        let ended = held.writing.take_if(|it| it.thread.is_finished());
        ended.map(|it| self.end(it)).transpose()
    }

    /// Seconds of the recording that are in its file; none if none is under way.
    pub fn seconds(&self) -> Option<f64> {
        let held = self.lock();
        let writing = held.writing.as_ref()?;
        let frames = writing.frames.load(Ordering::Relaxed);
        Some(frames as f64 / f64::from(writing.sample_rate))
    }

    /// The first name for a recording in this folder that no file has: `audiodiff 1.wav`, and so on.
    #[must_use]
    pub fn new_name(folder: &Path) -> PathBuf {
        let names = (1u32..).map(|number| folder.join(format!("audiodiff {number}.wav")));
        let mut free = names.filter(|path| fs::symlink_metadata(path).is_err());
        free.next().expect("no folder has so many files")
    }

    fn end(&self, writing: Writing) -> Result<Recording> {
        self.line.take.store(0, Ordering::Release);
        writing.end.store(true, Ordering::Release);
        writing.thread.join().unwrap_or_else(|_| {
            let cause = std::io::Error::other("the thread that writes it has panicked");
            Err(Error::io(&writing.path)(cause))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Every field is replaced whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            nice_plug::nice_warn!("{error}");
        }
    }
}

/// The file's end of the line.
struct Out<W: Write + Seek> {
    file: WavWriter<W>,
    path: PathBuf,
    sample_rate: u32,
    frames: Arc<AtomicU64>,
    lost: u64,
}

impl<W: Write + Seek> Out<W> {
    fn begin(file: W, path: &Path, sample_rate: u32) -> Result<Self> {
        let spec = WavSpec {
            channels: CHANNELS,
            sample_rate,
            bits_per_sample: BITS,
            sample_format: SampleFormat::Int,
        };
        Ok(Self {
            file: WavWriter::new(file, spec).map_err(failed(path))?,
            path: path.to_owned(),
            sample_rate,
            frames: Arc::default(),
            lost: 0,
        })
    }

    /// Writes the frames of this take until it is to `end`.
    fn write_all(mut self, line: &Line, take: u32, end: &AtomicBool) -> Result<Recording> {
        let blocks = line.blocks.get().expect("it was made before");
        let mut head = Instant::now();
        let ended = loop {
            let is_over = end.load(Ordering::Acquire);
            // After the end, the audio thread may still hand on the block that it is at.
            std::thread::sleep(LOOK);
            while let Some(block) = blocks.pop() {
                if block.take == take {
                    self.write(&block)?;
                }
            }
            if is_over {
                break None;
            }
            if head.elapsed() >= HEAD {
                head = Instant::now();
                self.file.flush().map_err(failed(&self.path))?;
            }
            if self.frames.load(Ordering::Relaxed) >= MOST_FRAMES {
                break Some("a WAV file can be no longer".to_owned());
            }
            let now = line.sample_rate.load(Ordering::Acquire);
            if now != self.sample_rate {
                break Some(format!(
                    "the sample rate has changed from {} to {now} Hz",
                    self.sample_rate
                ));
            }
        };
        self.file.finalize().map_err(failed(&self.path))?;
        Ok(Recording {
            path: self.path,
            sample_rate: self.sample_rate,
            frames: self.frames.load(Ordering::Relaxed),
            lost: self.lost,
            ended,
        })
    }

    /// Writes a block, after silence for what is missing before it; as many frames as there is room for.
    fn write(&mut self, block: &Block) -> Result<()> {
        let before = self.frames.load(Ordering::Relaxed);
        let lost = block.lost.min(MOST_FRAMES - before);
        let silence = std::iter::repeat_n([0.0; 2], lost as usize);
        let room = MOST_FRAMES - before - lost;
        let frames = block.frames[..block.len].iter().copied();
        let frames = frames.take(usize::try_from(room).unwrap_or(usize::MAX));
        let mut written = before;
        for frame in silence.chain(frames) {
            for x in frame {
                self.file
                    .write_sample(to_int(x))
                    .map_err(failed(&self.path))?;
            }
            written += 1;
        }
        self.lost += lost;
        self.frames.store(written, Ordering::Relaxed);
        Ok(())
    }
}

fn failed(path: &Path) -> impl Fn(hound::Error) -> Error + '_ {
    move |error| {
        Error::io(path)(match error {
            hound::Error::IoError(cause) => cause,
            other => std::io::Error::other(other),
        })
    }
}

/// Full scale ±1 to 24 bits, as [`audiodiff::audio::write`] does.
fn to_int(x: f32) -> i32 {
    let scale = f64::from(1 << (BITS - 1));
    (f64::from(x) * scale).round().clamp(-scale, scale - 1.0) as i32
}

#[cfg(test)]
mod tests {
    use audiodiff::audio::{self, Clip};
    use audiodiff::noise::Noise;

    use super::*;

    /// A recorder, and a folder of its own for its files.
    fn recorder() -> (Recorder, tempfile::TempDir) {
        let recorder = Recorder::default();
        recorder.set_sample_rate(48_000);
        (recorder, tempfile::tempdir().unwrap())
    }

    fn noise(frames: usize, seed: u64) -> [Vec<f32>; 2] {
        let mut noise = Noise::new(seed);
        [(); 2].map(|()| noise.normals(frames).iter().map(|x| 0.4 * x).collect())
    }

    /// What 24 bits make of these frames.
    fn rounded(channels: &[Vec<f32>; 2]) -> Vec<Vec<f32>> {
        let bytes = audio::wav_bytes(
            &Clip::new(48_000, channels.to_vec()),
            audio::BitDepth::Int24,
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes.unwrap()).unwrap();
        audio::read(file.path()).unwrap().channels().to_vec()
    }

    #[test]
    fn the_file_has_the_frames_that_were_played_bit_by_bit() {
        let (recorder, folder) = recorder();
        let path = folder.path().join("new").join("take.wav");
        assert_eq!(recorder.seconds(), None);
        recorder.push(&[0.5; 10], &[0.5; 10]);
        recorder.start(&path).unwrap();
        let [left, right] = noise(30_000, 3);
        let mut at = 0;
        for len in [1, 64, 65, 512, 0, 63, 8000, 2048].into_iter().cycle() {
            let end = (at + len).min(left.len());
            recorder.push(&left[at..end], &right[at..end]);
            at = end;
            if at == left.len() {
                break;
            }
        }
        let recording = recorder.stop().unwrap().unwrap();
        recorder.push(&[0.5; 10], &[0.5; 10]);
        assert_eq!(
            recording,
            Recording {
                path: path.clone(),
                sample_rate: 48_000,
                frames: 30_000,
                lost: 0,
                ended: None
            }
        );
        assert_eq!(recording.seconds(), 0.625);
        let clip = audio::read(&path).unwrap();
        assert_eq!(clip.sample_rate(), 48_000);
        assert_eq!(clip.channels(), rounded(&[left, right]));
        assert_eq!(recorder.stop().unwrap(), None);
        // The next has its own frames, and no file is written over.
        assert!(
            recorder
                .start(&path)
                .unwrap_err()
                .to_string()
                .contains("take.wav")
        );
        let next = Recorder::new_name(folder.path());
        assert_eq!(next, folder.path().join("audiodiff 1.wav"));
        recorder.start(&next).unwrap();
        assert!(
            recorder
                .start(&path)
                .unwrap_err()
                .to_string()
                .contains("is being recorded")
        );
        assert_eq!(
            Recorder::new_name(folder.path()),
            folder.path().join("audiodiff 2.wav")
        );
        recorder.push(&[0.25; 3], &[-0.25; 3]);
        drop(recorder);
        let clip = audio::read(&next).unwrap();
        assert_eq!(clip.channels(), [[0.25; 3], [-0.25; 3]]);
    }

    #[test]
    fn a_crash_loses_a_second_at_most() {
        let (recorder, folder) = recorder();
        let path = folder.path().join("take.wav");
        recorder.start(&path).unwrap();
        let channels = noise(48_000, 5);
        let [left, right] = &channels;
        recorder.push(left, right);
        std::thread::sleep(HEAD + Duration::from_millis(500));
        assert_eq!(recorder.seconds(), Some(1.0));
        recorder.push(&left[..100], &right[..100]);
        // As the disk has it now.
        let crashed = folder.path().join("crashed.wav");
        fs::copy(&path, &crashed).unwrap();
        assert_eq!(
            audio::read(&crashed).unwrap().channels(),
            rounded(&channels)
        );
        assert_eq!(recorder.stop().unwrap().unwrap().frames, 48_100);
    }

    #[test]
    fn a_disk_that_does_not_keep_up_leaves_silence_and_is_told() {
        let line = Line::default();
        line.blocks.set(ArrayQueue::new(2)).unwrap();
        line.take.store(7, Ordering::Release);
        let ones = [1.0; 500];
        line.push(&ones[..300], &ones[..300]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let to = BufWriter::new(file.reopen().unwrap());
        let mut out = Out::begin(to, Path::new("x.wav"), 48_000).unwrap();
        let take = || line.blocks.get().unwrap().pop();
        while let Some(block) = take() {
            out.write(&block).unwrap();
        }
        line.push(&ones[..10], &ones[..10]);
        out.write(&take().unwrap()).unwrap();
        assert_eq!(
            (out.frames.load(Ordering::Relaxed), out.lost),
            (310, 300 - 128)
        );
        out.file.finalize().unwrap();
        let clip = audio::read(file.path()).unwrap();
        let left = clip.channels()[0].iter().enumerate();
        assert!(
            left.clone()
                .all(|(n, &x)| (x == 0.0) == (128..300).contains(&n))
        );
    }

    #[test]
    fn another_rate_ends_it_and_says_so() {
        let (recorder, folder) = recorder();
        recorder.start(&folder.path().join("take.wav")).unwrap();
        recorder.push(&[0.5; 100], &[0.5; 100]);
        assert_eq!(recorder.ended().unwrap(), None);
        std::thread::sleep(Duration::from_millis(200));
        recorder.set_sample_rate(44_100);
        let since = Instant::now();
        let ended = loop {
            if let Some(ended) = recorder.ended().unwrap() {
                break ended;
            }
            assert!(since.elapsed() < Duration::from_secs(5));
            std::thread::sleep(LOOK);
        };
        assert_eq!(ended.frames, 100);
        assert!(ended.ended.unwrap().contains("from 48000 to 44100 Hz"));
        assert_eq!(recorder.seconds(), None);
        let unready = Recorder::default().start(&folder.path().join("b.wav"));
        assert!(unready.is_err() && !folder.path().join("b.wav").exists());
    }

    #[test]
    fn a_disk_that_refuses_is_told() {
        /// Takes a while, then no more.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| {
                    std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left")
                })?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        impl Seek for Full {
            fn seek(&mut self, _: std::io::SeekFrom) -> std::io::Result<u64> {
                Ok(0)
            }
        }
        let line = Line::default();
        line.blocks.set(ArrayQueue::new(100)).unwrap();
        line.take.store(1, Ordering::Release);
        line.sample_rate.store(48_000, Ordering::Release);
        line.push(&[0.5; 5000], &[0.5; 5000]);
        let out = Out::begin(Full(10_000), Path::new("/x/take.wav"), 48_000).unwrap();
        let error = out
            .write_all(&line, 1, &AtomicBool::new(false))
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/x/take.wav") && text.contains("no space left"),
            "{text}"
        );
    }
}
