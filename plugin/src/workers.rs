//! Threads of our own to work on, which come after the host's.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use audiodiff::{Error, Result};
use nice_plug::prelude::nice_warn;
use rayon::{ThreadPool, ThreadPoolBuilder};
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};

/// What threads are for: the more a person waits for it, the sooner they get a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// Making sounds that somebody wants to hear.
    Maker,
    /// Learning, which takes minutes anyway.
    Learner,
    /// Measuring sounds for a map, which nobody waits for.
    Surveyor,
}

impl Rank {
    fn priority(self) -> ThreadPriority {
        // Nice 10 and 17 where there is such a thing. With the lowest, a busy machine makes no sound.
        let value: u8 = match self {
            Self::Maker => 25,
            Self::Learner => 5,
            Self::Surveyor => return ThreadPriority::Min,
        };
        ThreadPriorityValue::try_from(value)
            .map_or(ThreadPriority::Min, ThreadPriority::Crossplatform)
    }

    fn thread_name(self, index: usize) -> String {
        match self {
            Self::Maker => format!("audiodiff-{index}"),
            Self::Learner => format!("audiodiff-learn-{index}"),
            Self::Surveyor => format!("audiodiff-map-{index}"),
        }
    }
}

/// A thread pool of low priority. Dropping it waits for its threads, for a host may unload the plugin and its code
/// right after.
pub(crate) struct Workers {
    count: usize,
    /// Taken only when dropped.
    pool: Option<ThreadPool>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Workers {
    pub fn new(count: usize, rank: Rank) -> Result<Self> {
        let threads = Arc::new(Mutex::new(Vec::new()));
        let kept = threads.clone();
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .spawn_handler(move |worker| {
                let (name, priority) = (rank.thread_name(worker.index()), rank.priority());
                let handle = std::thread::Builder::new().name(name).spawn(move || {
                    // A host's own threads come first. Where the system refuses, cores that we do not
                    // use remain theirs all the same.
                    if let Err(error) = set_current_thread_priority(priority) {
                        nice_warn!("threads keep their priority: {error:?}");
                    }
                    worker.run();
                })?;
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(handle);
                Ok(())
            })
            .build()
            .map_err(|error| Error::setting(format!("no threads to work on: {error}")))?;
        Ok(Self {
            count,
            pool: Some(pool),
            threads,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Does `work` on these threads, with all of its parallel loops.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool
            .as_ref()
            .expect("the pool is taken only when dropped")
            .install(work)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        drop(self.pool.take());
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A thread that panicked is gone, too.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_our_own_and_its_threads_end_with_it() {
        for (rank, name) in [
            (Rank::Maker, "audiodiff-"),
            (Rank::Learner, "audiodiff-learn-"),
            (Rank::Surveyor, "audiodiff-map-"),
        ] {
            let workers = Workers::new(2, rank).unwrap();
            let found = workers.run(|| std::thread::current().name().map(str::to_owned));
            assert!(found.unwrap().starts_with(name));
            let threads = Arc::downgrade(&workers.threads);
            drop(workers);
            assert!(threads.upgrade().is_none());
        }
    }
}
