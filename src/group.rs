//! Ranks: processes, or threads of one, that work on one task together.
//!
//! A [`Group`] is one rank's view of them. Its sums are taken in the order of the ranks, whatever the network between
//! them, so that the same ranks come to the same bits on every run. A group of one costs nothing.

use std::fmt;
use std::ops::Range;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

#[cfg(feature = "mpi")]
mod mpi;

#[cfg(feature = "mpi")]
pub use mpi::World;

use crate::error::{Error, Result};

/// Most bytes of a broadcast that are under way at once.
const PIECE: usize = 1 << 26;

/// One rank among those that work together.
///
/// All ranks must make the same calls in the same order: each call returns when every rank has made it. A rank that
/// fails drops its group; the calls of the others then fail too.
///
/// ```
/// use audiodiff::group::Group;
///
/// let ranks = Group::threads(3).into_iter().map(|group| {
///     std::thread::spawn(move || {
///         // 10 clips are shared out as 3, 3 and 4.
///         let own = group.share(10);
///         let sum = group.sum(vec![own.len() as f32])?;
///         Ok::<_, audiodiff::Error>((own, sum))
///     })
/// });
/// let ranks: Vec<_> = ranks.collect();
/// let found: Vec<_> = ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<Result<_, _>>()?;
/// assert_eq!(found, [(0..3, vec![10.0]), (3..6, vec![10.0]), (6..10, vec![10.0])]);
/// # Ok::<(), audiodiff::Error>(())
/// ```
pub struct Group {
    rank: usize,
    size: usize,
    on_machine: usize,
    /// Of a group of one there is none.
    worker: Option<Worker>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

impl Group {
    /// A group of one.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            on_machine: 1,
            worker: None,
        }
    }

    /// A group of `size` ranks, to be handed to as many threads of this process.
    ///
    /// # Panics
    /// When `size` is 0.
    #[must_use]
    pub fn threads(size: usize) -> Vec<Self> {
        assert!(size > 0, "a group has at least one rank");
        if size == 1 {
            return vec![Self::alone()];
        }
        let mut to: Vec<Vec<Sender<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
        let mut from: Vec<Vec<Receiver<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
        for sender in &mut to {
            for receiver in &mut from {
                let (send, receive) = unbounded();
                sender.push(send);
                receiver.push(receive);
            }
        }
        let ends = to.into_iter().zip(from).enumerate();
        ends.map(|(rank, (to, from))| {
            Self::over((rank, size), size, move || Channels { rank, to, from })
        })
        .collect()
    }

    /// The group of a rank that reaches the others by what `connect` returns, on a thread of its own.
    fn over<T: Transport>(
        (rank, size): (usize, usize),
        on_machine: usize,
        connect: impl FnOnce() -> T + Send + 'static,
    ) -> Self {
        Self {
            rank,
            size,
            on_machine,
            worker: Some(Worker::start((rank, size), connect)),
        }
    }

    /// The number of this rank, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many ranks there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many of them, this one included, share this machine's memory.
    #[must_use]
    pub fn on_machine(&self) -> usize {
        self.on_machine
    }

    /// Whether this is rank 0, which decides, writes and speaks for all.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// This rank's part of `n` things: the parts of all ranks follow each other, and differ in size by one at most.
    #[must_use]
    pub fn share(&self, n: usize) -> Range<usize> {
        share(n, self.rank, self.size)
    }

    /// Adds up equally many values of every rank: `((v₀ + v₁) + v₂) + …`, place by place.
    ///
    /// # Errors
    /// [`Error::Rank`] when another rank has ended.
    pub fn sum(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        self.begin_sum(values).wait()
    }

    /// [`Group::sum`] that is not waited for: sums are made in the order in which they were begun, while this thread
    /// does something else.
    pub(crate) fn begin_sum(&self, values: Vec<f32>) -> Pending<Vec<f32>> {
        match &self.worker {
            None => Pending::Done(values),
            Some(worker) => worker.give(|reply| Job::Sum(values, reply)),
        }
    }

    /// The bytes of every rank, in their order.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        match &self.worker {
            None => Ok(vec![own]),
            Some(worker) => worker.give(|reply| Job::Gather(own, reply)).wait(),
        }
    }

    /// Rank 0's bytes; what the others give is not looked at.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn broadcast(&self, own: Vec<u8>) -> Result<Vec<u8>> {
        match &self.worker {
            None => Ok(own),
            Some(worker) => worker.give(|reply| Job::Broadcast(own, reply)).wait(),
        }
    }

    /// Whether it is true for any rank.
    ///
    /// # Errors
    /// As [`Group::sum`].
    pub fn any(&self, own: bool) -> Result<bool> {
        let flags = self.gather(vec![u8::from(own)])?;
        Ok(flags.iter().any(|flag| *flag == [1]))
    }
}

/// The part of `rank` of `n` things that are shared out among `size` ranks.
fn share(n: usize, rank: usize, size: usize) -> Range<usize> {
    n * rank / size..n * (rank + 1) / size
}

/// How ranks reach each other.
trait Transport {
    /// Sends `sent[r]` to each other rank `r`, and fills `received[r]` with what that one sends; both know its length.
    fn exchange(&mut self, sent: &[&[u8]], received: &mut [Vec<u8>]) -> Result<()>;
}

/// Ranks that are threads of one process.
struct Channels {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Transport for Channels {
    fn exchange(&mut self, sent: &[&[u8]], received: &mut [Vec<u8>]) -> Result<()> {
        let ended = |rank: usize| Error::Rank {
            rank,
            reason: "it ended before the others".to_owned(),
        };
        let others = |rank: &usize| *rank != self.rank;
        for rank in (0..sent.len()).filter(others) {
            let message = sent[rank].to_vec();
            self.to[rank].send(message).map_err(|_| ended(rank))?;
        }
        for rank in (0..received.len()).filter(others) {
            received[rank] = self.from[rank].recv().map_err(|_| ended(rank))?;
        }
        Ok(())
    }
}

type Reply<T> = Sender<Result<T>>;

enum Job {
    Sum(Vec<f32>, Reply<Vec<f32>>),
    Gather(Vec<u8>, Reply<Vec<Vec<u8>>>),
    Broadcast(Vec<u8>, Reply<Vec<u8>>),
}

/// The result of a call that may still be under way.
pub(crate) enum Pending<T> {
    Done(T),
    Waiting(Receiver<Result<T>>),
}

impl<T> Pending<T> {
    pub fn wait(self) -> Result<T> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Waiting(reply) => reply.recv().expect("the worker answers every job"),
        }
    }
}

/// The thread that makes all calls to other ranks, one after the other.
struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start<T: Transport>(
        (rank, size): (usize, usize),
        connect: impl FnOnce() -> T + Send + 'static,
    ) -> Self {
        let (jobs, inbox) = unbounded::<Job>();
        let work = move || {
            let mut ranks = Ranks {
                rank,
                size,
                transport: connect(),
            };
            // Whoever no longer waits for an answer does not miss it.
            for job in inbox {
                match job {
                    Job::Sum(values, reply) => drop(reply.send(ranks.sum(values))),
                    Job::Gather(own, reply) => drop(reply.send(ranks.gather(own))),
                    Job::Broadcast(own, reply) => drop(reply.send(ranks.broadcast(own))),
                }
            }
        };
        Self {
            jobs: Some(jobs),
            thread: Some(std::thread::spawn(work)),
        }
    }

    fn give<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Pending<T> {
        let (reply, answer) = bounded(1);
        let jobs = self.jobs.as_ref().expect("it is taken only when dropped");
        jobs.send(job(reply))
            .expect("the worker listens until it is dropped");
        Pending::Waiting(answer)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was shown where it happened.
            let _ = thread.join();
        }
    }
}

/// The ranks as a worker reaches them.
struct Ranks<T> {
    rank: usize,
    size: usize,
    transport: T,
}

impl<T: Transport> Ranks<T> {
    /// Every rank adds up one part, in the order of the ranks, and hands it to all: each value travels twice.
    fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>> {
        let (rank, size) = (self.rank, self.size);
        let part = |rank: usize| share(values.len(), rank, size);
        let own = part(rank);
        let parts: Vec<Vec<u8>> = (0..size)
            .map(|to| match to == rank {
                true => Vec::new(),
                false => bytes_of(&values[part(to)]),
            })
            .collect();
        let mut received = vec![vec![0; 4 * own.len()]; size];
        let sent: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        self.transport.exchange(&sent, &mut received)?;
        let of = |from: usize| match from == rank {
            true => values[own.clone()].to_vec(),
            false => values_of(&received[from]),
        };
        let mut total = of(0);
        for from in 1..size {
            for (total, value) in total.iter_mut().zip(of(from)) {
                *total += value;
            }
        }
        let total = bytes_of(&total);
        let mut received: Vec<Vec<u8>> = (0..size)
            .map(|from| vec![0; 4 * part(from).len()])
            .collect();
        self.transport
            .exchange(&vec![&*total; size], &mut received)?;
        received[rank] = total;
        let mut sums = values;
        let all = received.iter().flat_map(|part| part.as_chunks::<4>().0);
        for (sum, &bytes) in sums.iter_mut().zip(all) {
            *sum = f32::from_le_bytes(bytes);
        }
        Ok(sums)
    }

    fn gather(&mut self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let length = (own.len() as u64).to_le_bytes();
        let mut lengths = vec![vec![0; length.len()]; self.size];
        self.transport
            .exchange(&vec![&length[..]; self.size], &mut lengths)?;
        let mut received: Vec<Vec<u8>> = lengths
            .iter()
            .map(|length| vec![0; length_of(length)])
            .collect();
        self.transport
            .exchange(&vec![&*own; self.size], &mut received)?;
        received[self.rank] = own;
        Ok(received)
    }

    fn broadcast(&mut self, own: Vec<u8>) -> Result<Vec<u8>> {
        let is_first = self.rank == 0;
        let length = match is_first {
            true => (own.len() as u64).to_le_bytes().to_vec(),
            false => Vec::new(),
        };
        let length = length_of(&self.of_first(&length, 8)?);
        if is_first {
            for piece in own.chunks(PIECE) {
                self.of_first(piece, piece.len())?;
            }
            return Ok(own);
        }
        let mut all = Vec::with_capacity(length);
        while all.len() < length {
            let piece = self.of_first(&[], PIECE.min(length - all.len()))?;
            all.extend(piece);
        }
        Ok(all)
    }

    /// So many bytes of rank 0.
    fn of_first(&mut self, own: &[u8], length: usize) -> Result<Vec<u8>> {
        let is_first = self.rank == 0;
        let mut received = vec![Vec::new(); self.size];
        if !is_first {
            received[0] = vec![0; length];
        }
        let sent = if is_first { own } else { &[] };
        self.transport
            .exchange(&vec![sent; self.size], &mut received)?;
        Ok(match is_first {
            true => own.to_vec(),
            false => received.swap_remove(0),
        })
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    // By whole numbers: byte by byte it takes longer than all else of a sum.
    let mut bytes = vec![0; 4 * values.len()];
    for (bytes, x) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *bytes = x.to_le_bytes();
    }
    bytes
}

fn values_of(bytes: &[u8]) -> Vec<f32> {
    let chunks = bytes.as_chunks::<4>().0;
    chunks.iter().map(|&x| f32::from_le_bytes(x)).collect()
}

fn length_of(bytes: &[u8]) -> usize {
    let bytes = bytes.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    /// What each of `size` ranks finds.
    fn each<R: Send>(size: usize, f: impl Fn(Group) -> R + Sync) -> Vec<R> {
        let f = &f;
        std::thread::scope(|scope| {
            let ranks = Group::threads(size).into_iter();
            let ranks: Vec<_> = ranks.map(|group| scope.spawn(move || f(group))).collect();
            let found = ranks.into_iter().map(|rank| rank.join());
            found.map(|found| found.expect("no panic")).collect()
        })
    }

    #[test]
    fn parts_cover_all_and_differ_by_one_at_most() {
        for (n, size) in [(10, 3), (7, 7), (3, 5), (0, 2), (64, 1)] {
            let parts: Vec<_> = (0..size).map(|rank| share(n, rank, size)).collect();
            assert!(parts.iter().cloned().flatten().eq(0..n), "{n} {size}");
            let lengths: Vec<usize> = parts.iter().map(Range::len).collect();
            let (least, most) = (lengths.iter().min(), lengths.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{lengths:?}");
        }
    }

    #[test]
    fn a_sum_is_taken_in_the_order_of_the_ranks_to_the_bit() {
        // Fewer values than ranks, and numbers of values that no number of ranks divides.
        for (size, len) in [(1, 5), (2, 1001), (3, 1), (5, 4), (4, 997)] {
            let values = |rank: usize| Noise::at(7, &[rank as u64]).normals(len);
            let mut expected = values(0);
            for rank in 1..size {
                expected
                    .iter_mut()
                    .zip(values(rank))
                    .for_each(|(sum, x)| *sum += x);
            }
            let found = each(size, |group| group.sum(values(group.rank())).unwrap());
            assert_eq!(found, vec![expected; size]);
        }
    }

    #[test]
    fn sums_that_are_begun_together_come_in_their_order() {
        let found = each(3, |group| {
            let begun: Vec<_> = (0..20)
                .map(|i| group.begin_sum(vec![i as f32; i]))
                .collect();
            let sums = begun.into_iter().map(|sum| sum.wait().unwrap());
            sums.collect::<Vec<_>>()
        });
        for sums in found {
            assert!(
                sums.iter()
                    .enumerate()
                    .all(|(i, sum)| *sum == vec![3.0 * i as f32; i])
            );
        }
    }

    #[test]
    fn bytes_reach_every_rank_whole() {
        let own = |rank: usize| vec![rank as u8; 3 * rank];
        let expected: Vec<_> = (0..4).map(own).collect();
        let found = each(4, |group| group.gather(own(group.rank())).unwrap());
        assert_eq!(found, vec![expected; 4]);
        let long: Vec<u8> = (0..PIECE + 3).map(|i| (i % 251) as u8).collect();
        let found = each(2, |group| {
            let own = if group.is_first() {
                long.clone()
            } else {
                vec![9]
            };
            group.broadcast(own).unwrap() == long
        });
        assert_eq!(found, [true; 2]);
        let found = each(3, |group| group.any(group.rank() == 2).unwrap());
        assert_eq!(found, [true; 3]);
        assert_eq!(each(3, |group| group.any(false).unwrap()), [false; 3]);
    }

    #[test]
    fn a_rank_that_ends_ends_the_calls_of_the_others_with_its_number() {
        let found = each(3, |group| match group.rank() {
            1 => String::new(),
            _ => group
                .sum(vec![0.0; 9])
                .expect_err("rank 1 is gone")
                .to_string(),
        });
        // Whom the others miss first may be one that missed it.
        assert!(found[0].starts_with("rank 1: it ended"), "{}", found[0]);
        assert!(
            found[2].contains("it ended before the others"),
            "{}",
            found[2]
        );
    }
}
