//! Ranks that `mpirun` starts, over the system's MPI.

use std::fmt;
use std::time::Duration;

use ::mpi::Threading;
use ::mpi::environment::{Universe, initialize_with_threading, processor_name};
use ::mpi::request::{Request, scope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, Destination, Source};

use super::{Group, Transport};
use crate::error::{Error, Result};

/// Most bytes of one message: MPI counts them in 32 bits.
const MOST: usize = 1 << 30;

/// How often messages are asked for before the thread sleeps in between, and how long it then sleeps, at first and at
/// most: MPI itself would wait at full speed, on a core that computes meanwhile.
const EAGER: u32 = 50;
const SLEEP: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));

/// The processes that `mpirun` started together with this one, from [`World::start`] until it is dropped. It must
/// outlive its groups.
pub struct World {
    rank: usize,
    size: usize,
    rank_on_machine: usize,
    on_machine: usize,
    on_cores: usize,
    _universe: Universe,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

impl World {
    /// Begins to talk to the others; once in a process.
    ///
    /// # Errors
    /// When MPI was begun before, or cannot be called from several threads.
    pub fn start() -> Result<Self> {
        let begun = initialize_with_threading(Threading::Serialized)
            .filter(|(_, threading)| *threading >= Threading::Serialized);
        let Some((universe, _)) = begun else {
            return Err(Error::setting(
                "MPI: expected one that is begun once and serves one thread at a time, found none",
            ));
        };
        let world = universe.world();
        let mut found = Self {
            rank: world.rank() as usize,
            size: world.size() as usize,
            rank_on_machine: 0,
            on_machine: 1,
            on_cores: 1,
            _universe: universe,
        };
        let machine = processor_name().unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cores = status
            .lines()
            .find(|line| line.starts_with("Cpus_allowed:"));
        let own = format!("{machine}\n{}", cores.unwrap_or_default());
        let all = found.group().gather(own.clone().into_bytes())?;
        let on_machine =
            |own: &Vec<u8>| own.split(|&b| b == b'\n').next() == Some(machine.as_bytes());
        found.on_machine = all.iter().filter(|rank| on_machine(rank)).count();
        found.rank_on_machine = all[..found.rank]
            .iter()
            .filter(|rank| on_machine(rank))
            .count();
        found.on_cores = all.iter().filter(|rank| **rank == own.as_bytes()).count();
        Ok(found)
    }

    /// This process among all.
    #[must_use]
    pub fn group(&self) -> Group {
        if self.size == 1 {
            return Group::alone();
        }
        let rank = self.rank;
        let connect = move || Messages {
            rank,
            world: SimpleCommunicator::world(),
        };
        Group::over((rank, self.size), self.on_machine, connect)
    }

    /// The number of this process, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many processes there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The number of this process among those on its machine, from 0: which GPU is its own.
    #[must_use]
    pub fn rank_on_machine(&self) -> usize {
        self.rank_on_machine
    }

    /// How many processes, this one included, run on the same cores of the same machine.
    #[must_use]
    pub fn on_cores(&self) -> usize {
        self.on_cores
    }

    /// Ends all processes at once with this exit code.
    pub fn abort(code: u8) -> ! {
        SimpleCommunicator::world().abort(code.into())
    }
}

/// Ranks reached by MPI's messages.
struct Messages {
    rank: usize,
    world: SimpleCommunicator,
}

impl Transport for Messages {
    fn exchange(&mut self, sent: &[&[u8]], received: &mut [Vec<u8>]) -> Result<()> {
        scope(|scope| {
            let mut pending: Vec<Request<'_, [u8], _>> = Vec::with_capacity(2 * sent.len());
            let ranks = sent.iter().zip(received).enumerate();
            for (rank, (sent, received)) in ranks.filter(|(rank, _)| *rank != self.rank) {
                let other = self.world.process_at_rank(rank as i32);
                for part in received.chunks_mut(MOST) {
                    pending.push(other.immediate_receive_into(scope, part));
                }
                for part in sent.chunks(MOST) {
                    pending.push(other.immediate_send(scope, part));
                }
            }
            let (mut asked, mut sleep) = (0, SLEEP.0);
            while !pending.is_empty() {
                let still = pending
                    .into_iter()
                    .filter_map(|request| request.test().err());
                pending = still.collect();
                asked += 1;
                if asked <= EAGER {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(sleep);
                    sleep = (sleep + sleep / 8).min(SLEEP.1);
                }
            }
        });
        Ok(())
    }
}
