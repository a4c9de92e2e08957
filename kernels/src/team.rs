//! Parallel loops on the threads of the current rayon pool, for a machine that has other work too.
//!
//! A run of a network is hundreds of short loops, each of which ends when its last task does. Threads that wait must
//! not keep those from the cores that they wait for: rayon's own call `sched_yield` over and over, which on a busy core
//! takes turns with the thread that has the work, and gives up the time of one that is about to get some. Here the
//! threads of a run form a team. They take tasks one by one, so that a thread that is not running holds one at most,
//! and a thread that finds none spins for a moment, then sleeps. Where other programs leave two of them one core, they
//! do not take turns on it either: one works, the other naps.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::disjoint::DisjointSlice;

/// The time for which a thread without a task spins: longer than most of what runs between two loops, shorter than most
/// loops.
const SPIN: Duration = Duration::from_micros(30);

/// The time after which a thread that found the leader on its core looks for another one. A system moves threads that
/// wait for a core to one that falls idle, but does not see those that sleep.
const NAP: Duration = Duration::from_millis(1);

thread_local! {
    /// The team that this thread leads, unless it is within a task.
    static LED: Cell<Option<*const Team>> = const { Cell::new(None) };
}

/// Runs `f` on a thread of the current rayon pool, whose other threads help with the loops in it.
pub(crate) fn lead<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| {
        let others = rayon::current_num_threads() - 1;
        if others == 0 || LED.get().is_some() {
            return f();
        }
        let team = Arc::new(Team::new());
        for _ in 0..others {
            let team = Arc::clone(&team);
            rayon::spawn(move || team.help());
        }
        let _led = Led::new(Some(Arc::as_ptr(&team)));
        let _closing = Closing(&team);
        f()
    })
}

/// Calls `task` once for each of `0..n`, on all threads of the team that this one leads.
///
/// Where it leads none, it leads one for this loop; within a task, loops run on the task's thread.
pub(crate) fn for_each(n: usize, task: impl Fn(usize) + Sync) {
    let (task, led): (&(dyn Fn(usize) + Sync), _) = (&task, LED.get());
    if n > 1 && led.is_none() {
        lead(|| for_each_led(n, task));
    } else {
        for_each_led(n, task);
    }
}

/// [`for_each`] by the team that this thread leads, or by this thread.
fn for_each_led(n: usize, task: &(dyn Fn(usize) + Sync)) {
    match LED.get() {
        // SAFETY: `lead` holds on to the team for as long as this thread leads it.
        Some(team) if n > 1 && !team.is_null() => unsafe { &*team }.for_each(n, task),
        _ => (0..n).for_each(task),
    }
}

/// Calls `task` for each piece of `size` values, the last one perhaps shorter, with the index of the piece.
pub(crate) fn for_each_chunk<T: Send>(
    values: &mut [T],
    size: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let (n, values) = (values.len(), DisjointSlice::new(values));
    for_each(n.div_ceil(size), |i| {
        // SAFETY: each index is another range, and comes once.
        task(i, unsafe { values.part(i * size..n.min((i + 1) * size)) });
    });
}

/// What this thread leads, until it is dropped.
struct Led(Option<*const Team>);

impl Led {
    fn new(team: Option<*const Team>) -> Self {
        Self(LED.replace(team))
    }

    /// Nothing, but within a task: loops run here.
    fn none() -> Self {
        Self::new(Some(std::ptr::null()))
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        LED.set(self.0);
    }
}

/// Sends the helpers away when dropped.
struct Closing<'a>(&'a Team);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.wake_all();
    }
}

/// The task of a loop, its lifetime forgotten.
type Task = *const (dyn Fn(usize) + Sync);

/// The threads of one run: a leader, which starts loops, and helpers.
struct Team {
    leader: Thread,
    /// The number of the present loop, and below it, in 32 bits, how many of its tasks nobody took yet.
    tickets: AtomicU64,
    /// The present loop's task, and how many there are. Written by the leader between two loops; read by who took a
    /// ticket.
    task: UnsafeCell<Option<(Task, usize)>>,
    /// The tasks of the present loop that are not done.
    pending: AtomicUsize,
    closed: AtomicBool,
    /// The core that the leader was on when it took its last task, negative where the system does not tell.
    core: AtomicI32,
    /// What a task panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    woken: Condvar,
}

// SAFETY: `task` alone is not for all threads at once. The leader writes it while `pending` is zero and no ticket is
// left, so that nobody reads it; who took a ticket reads it before that task is counted as done. What it points to
// is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; what `task` points to is only used while the loop that it belongs to goes on.
unsafe impl Send for Team {}

impl Team {
    /// Led by this thread.
    fn new() -> Self {
        Self {
            leader: thread::current(),
            tickets: AtomicU64::new(0),
            task: UnsafeCell::new(None),
            pending: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            core: AtomicI32::new(core()),
            panic: Mutex::default(),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::default(),
            woken: Condvar::new(),
        }
    }

    /// The leader's loop.
    fn for_each(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        let few = u32::try_from(n).expect("fewer tasks than 32 bits can count");
        // SAFETY: only the lifetime changes. The pointer is used until all tasks are done, which this function awaits.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task) };
        // SAFETY: all tasks of the loop before are done and no ticket is left: nobody reads this.
        unsafe { *self.task.get() = Some((task, n)) };
        self.pending.store(n, Ordering::Relaxed);
        let number = (self.tickets.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        self.tickets
            .store(number << 32 | u64::from(few), Ordering::SeqCst);
        self.wake();
        while self.work() {
            self.core.store(core(), Ordering::Relaxed);
        }
        let is_done = || self.pending.load(Ordering::Acquire) == 0;
        spin(is_done);
        while !is_done() {
            thread::park();
        }
        if let Some(panic) = lock(&self.panic).take() {
            resume_unwind(panic);
        }
    }

    /// Takes a task and does it, if there is one.
    fn work(&self) -> bool {
        let take = |tickets: u64| (tickets as u32 > 0).then(|| tickets - 1);
        let (acquire, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
        let Ok(tickets) = self.tickets.fetch_update(acquire, relaxed, take) else {
            return false;
        };
        // SAFETY: this thread took a ticket of the loop, which goes on until `pending` counts its task as done.
        let (task, n) = unsafe { *self.task.get() }.expect("set before there are tickets");
        // SAFETY: as above: the leader holds on to the task while the loop goes on.
        let task = unsafe { &*task };
        let led = Led::none();
        let done = catch_unwind(AssertUnwindSafe(|| task(n - tickets as u32 as usize)));
        drop(led);
        if let Err(panic) = done {
            *lock(&self.panic) = Some(panic);
        }
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.leader.unpark();
        }
        true
    }

    fn has_work(&self) -> bool {
        self.tickets.load(Ordering::SeqCst) as u32 > 0
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Works until the team is closed.
    fn help(&self) {
        let is_called = || self.has_work() || self.is_closed();
        while !self.is_closed() {
            if self.is_crowded() {
                self.nap();
                continue;
            }
            if self.work() {
                continue;
            }
            spin(is_called);
            // What else the pool has to do is as good as sleep.
            if is_called() || rayon::yield_now() == Some(rayon::Yield::Executed) {
                continue;
            }
            let mut bed = lock(&self.bed);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            while !is_called() {
                bed = self.woken.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether this thread is on the leader's core: what it does there the leader would do as fast.
    fn is_crowded(&self) -> bool {
        let core = core();
        core >= 0 && core == self.core.load(Ordering::Relaxed)
    }

    /// Sleeps for a while, whatever there is to do, unless the team is closed.
    fn nap(&self) {
        let bed = lock(&self.bed);
        if !self.is_closed() {
            drop(self.woken.wait_timeout(bed, NAP));
        }
    }

    /// Wakes the helpers that sleep, after what they look for has changed.
    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        drop(lock(&self.bed));
        self.woken.notify_all();
    }
}

/// The core that this thread is on, negative where the system does not tell.
fn core() -> i32 {
    #[cfg(all(target_os = "linux", not(miri)))]
    // SAFETY: it takes nothing and returns a number.
    return unsafe { libc::sched_getcpu() };
    #[cfg(not(all(target_os = "linux", not(miri))))]
    return -1;
}

/// Waits for a moment, or until `is_over`.
fn spin(is_over: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_over() && start.elapsed() < SPIN {
        for _ in 0..16 {
            std::hint::spin_loop();
        }
    }
}

/// The lock, even if a thread panicked while it held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn in_pool<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads can be had").install(f)
    }

    /// Counts of `n` tasks over many loops of one run.
    fn counts(n: usize, task: impl Fn(usize) + Sync) -> Vec<u32> {
        let counts: Vec<_> = (0..n).map(|_| AtomicU32::new(0)).collect();
        lead(|| {
            for _ in 0..20 {
                for_each(n, |i| {
                    task(i);
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        counts.into_iter().map(AtomicU32::into_inner).collect()
    }

    #[test]
    fn each_task_is_done_once_before_the_loop_ends() {
        for threads in [1, 2, 3, 8] {
            for n in [0, 1, 2, 7, 100] {
                assert_eq!(in_pool(threads, || counts(n, |_| ())), vec![20; n]);
            }
        }
    }

    /// As if another program had taken the core of each thread that takes the first task, and as if a thread never came.
    #[test]
    fn a_thread_that_stalls_is_waited_for_and_one_that_never_comes_is_not() {
        let stall = |i: usize| {
            if i == 0 {
                thread::sleep(Duration::from_millis(5));
            }
        };
        for threads in [2, 3] {
            assert_eq!(in_pool(threads, || counts(7, stall)), vec![20; 7]);
        }
        let (done, counted) = in_pool(2, || {
            let (gate, done) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
            let held = lock(&gate);
            let (behind, after) = (Arc::clone(&gate), Arc::clone(&done));
            rayon::spawn(move || {
                drop(lock(&behind));
                after.store(true, Ordering::SeqCst);
            });
            thread::sleep(Duration::from_millis(20)); // the other thread takes it, and hangs
            let counted = counts(7, |_| ());
            let done = done.load(Ordering::SeqCst);
            drop(held);
            (done, counted)
        });
        assert_eq!((done, counted), (false, vec![20; 7]));
    }

    #[test]
    fn loops_within_tasks_run_on_their_threads() {
        let own = in_pool(3, || {
            let own = Mutex::new(Vec::new());
            for_each(5, |_| {
                let threads = Mutex::new(HashSet::from([thread::current().id()]));
                for_each(9, |_| {
                    lock(&threads).insert(thread::current().id());
                });
                lock(&own).push(lock(&threads).len());
            });
            own.into_inner().unwrap_or_else(PoisonError::into_inner)
        });
        assert_eq!(own, [1; 5]);
    }

    #[test]
    fn a_panic_reaches_the_leader_after_all_other_tasks() {
        for threads in [1, 3] {
            in_pool(threads, || {
                lead(|| {
                    let done = AtomicU32::new(0);
                    let run = || {
                        for_each(6, |i| {
                            assert!(i != 5, "the last");
                            done.fetch_add(1, Ordering::Relaxed);
                        });
                    };
                    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
                    assert_eq!(done.load(Ordering::Relaxed), 5);
                    assert_eq!(counts(4, |_| ()), [20; 4]);
                });
            });
        }
    }
}
