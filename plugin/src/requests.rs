//! Requests for sounds, from whoever asks to the thread that makes them.
//!
//! Hosts ask by parameters, on any thread and the audio thread too, so that asking is one atomic operation on a board.
//! When the next block begins, the audio thread writes down beside each request what the parameters say: automation may
//! have moved on by the time the sound is made. The queue, under a lock, has the requests of each pad in their order.
//! They come to what they had come to if each had been answered at once, whenever that is done: so a rendering that waits
//! only for what it plays always sounds the same.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use serde::{Deserialize, Serialize};

use crate::pad::PADS;
use crate::project::Pending;

/// How long a request may wait for an audio thread to date it. Without one, it is answered with the parameters of later.
const UNDATED: Duration = Duration::from_millis(20);

/// Requests of one pad that wait at most. One more takes the place of the last.
const MOST: usize = 8;

/// Requests that were dated and not looked at yet. Those beyond stay undated.
const DATED: usize = 1024;

/// The kind of sound that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The sound that the pad's parameters describe, from nothing.
    Generate,
    /// A variation of the pad's sound.
    Vary,
    /// A sound between the pad's and another pad's.
    Morph,
    /// Small variations of the pad's sound, as further takes of it.
    Takes,
    /// [`Task::Generate`], unless the pad's sound, which may be varied or a file's, came to it while its parameters were
    /// these.
    Follow,
}

impl Task {
    /// Whether the sound is made from nothing, so that what the pad had is gone.
    fn is_anew(self) -> bool {
        matches!(self, Self::Generate | Self::Follow)
    }
}

/// Bits of a ticket that hold its task.
const TASK_BITS: u32 = 3;

/// The highest number of a task that fits.
const LAST_TASK: u64 = (1 << TASK_BITS) - 1;

/// The ticket of a request: the later one is the larger.
fn ticket(gesture: u64, task: u64) -> u64 {
    gesture << TASK_BITS | task
}

/// One request, among all of an instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// The pad whose sound is to be replaced.
    pub pad: usize,
    /// The kind of sound to replace it with.
    pub task: Task,
    /// The seed to make it with; none for the one that the pad's parameter has by then.
    pub seed: Option<i32>,
    /// How far a morph goes, `0..=1`; none for as far as the pad's parameter says by then.
    pub amount: Option<f32>,
    ticket: u64,
}

impl Request {
    /// A request that nobody dated.
    fn undated(pad: usize, ticket: u64) -> Self {
        let task = match ticket & LAST_TASK {
            1 => Task::Vary,
            2 => Task::Morph,
            3 => Task::Takes,
            4 => Task::Follow,
            _ => Task::Generate,
        };
        Self {
            pad,
            task,
            seed: None,
            amount: None,
            ticket,
        }
    }

    /// The gesture that it is a part of.
    pub(crate) fn gesture(&self) -> u64 {
        self.ticket >> TASK_BITS
    }
}

/// Where requests are asked for and settled, without a lock.
#[derive(Debug)]
pub(crate) struct Board {
    /// By pad, the ticket of its newest request.
    asked: [AtomicU64; PADS],
    /// By pad, the newest ticket that was answered or called off.
    settled: [AtomicU64; PADS],
    gestures: AtomicU64,
    dated: ArrayQueue<Request>,
    /// One more than the pad that a rendering waits for; 0 for none.
    wanted: AtomicUsize,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            asked: Default::default(),
            settled: Default::default(),
            gestures: AtomicU64::new(0),
            dated: ArrayQueue::new(DATED),
            wanted: AtomicUsize::new(0),
        }
    }
}

impl Board {
    /// The number of a new gesture.
    pub fn gesture(&self) -> u64 {
        self.gestures.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Asks, as a part of `gesture`.
    ///
    /// Real-time safe: an atomic operation.
    pub fn ask(&self, gesture: u64, pad: usize, task: Task) -> u64 {
        let ticket = ticket(gesture, task as u64);
        self.asked[pad].fetch_max(ticket, Ordering::AcqRel);
        ticket
    }

    /// The ticket of the newest request of a pad, if it waits for an answer.
    ///
    /// Real-time safe.
    pub fn waiting(&self, pad: usize) -> Option<u64> {
        let settled = self.settled[pad].load(Ordering::Acquire);
        let asked = self.asked[pad].load(Ordering::Acquire);
        (asked > settled).then_some(asked)
    }

    /// Writes down for each new request the seed and the amount of a morph that `now` gives for its pad. `seen` are the
    /// tickets that were dated before, by pad.
    ///
    /// Real-time safe: no allocation, no lock, no wait, no free.
    pub fn date(&self, seen: &mut [u64; PADS], now: impl Fn(usize) -> (i32, f32)) {
        for (pad, seen) in seen.iter_mut().enumerate() {
            let Some(newest) = self.waiting(pad).filter(|&it| it > *seen) else {
                continue;
            };
            let (seed, amount) = now(pad);
            let request = Request {
                seed: Some(seed),
                amount: Some(amount),
                ..Request::undated(pad, newest)
            };
            if self.dated.push(request).is_ok() {
                *seen = newest;
            }
        }
    }

    /// Has the requests of a pad answered before others, or of none.
    pub fn want(&self, pad: Option<usize>) {
        let wanted = pad.map_or(0, |pad| pad + 1);
        self.wanted.store(wanted, Ordering::Release);
    }

    fn settle(&self, pad: usize, ticket: u64) {
        self.settled[pad].fetch_max(ticket, Ordering::AcqRel);
    }
}

/// The requests that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By pad, the first to be answered first.
    of_pads: [VecDeque<Request>; PADS],
    /// By pad, the newest ticket that was ever in it.
    newest: [u64; PADS],
    /// By pad, a ticket that was not dated when it was last looked at, and since when.
    undated: [Option<(u64, Instant)>; PADS],
}

impl Queue {
    /// Takes in what was asked for meanwhile. `other` is the other pad of each pad's morphs.
    pub fn gather(&mut self, board: &Board, other: impl Fn(usize) -> usize) {
        self.gather_after(UNDATED, board, other);
    }

    fn gather_after(&mut self, undated: Duration, board: &Board, other: impl Fn(usize) -> usize) {
        while let Some(request) = board.dated.pop() {
            self.push(request, board, &other);
        }
        for pad in 0..PADS {
            let newest = board.waiting(pad).filter(|&it| it > self.newest[pad]);
            let known = self.undated[pad].filter(|&(ticket, _)| Some(ticket) == newest);
            let since = known.map_or_else(Instant::now, |(_, since)| since);
            self.undated[pad] = newest.map(|ticket| (ticket, since));
            if let Some(ticket) = newest
                && since.elapsed() >= undated
            {
                self.push(Request::undated(pad, ticket), board, &other);
            }
        }
    }

    /// Takes in what somebody asks as a part of `gesture` who can wait for the lock.
    pub fn ask(
        &mut self,
        gesture: u64,
        pending: Pending,
        board: &Board,
        other: impl Fn(usize) -> usize,
    ) {
        self.gather_after(Duration::ZERO, board, &other);
        let Pending {
            pad,
            task,
            seed,
            amount,
        } = pending;
        let request = Request {
            pad,
            task,
            seed,
            amount,
            ticket: board.ask(gesture, pad, task),
        };
        self.push(request, board, &other);
    }

    /// Puts a request behind those of its pad. One that makes a sound from nothing leaves out those before it, unless a
    /// morph of another pad needs what they come to.
    fn push(&mut self, mut request: Request, board: &Board, other: &impl Fn(usize) -> usize) {
        let pad = request.pad;
        let settled = board.settled[pad].load(Ordering::Acquire);
        if request.ticket <= settled.max(self.newest[pad]) {
            return;
        }
        self.newest[pad] = request.ticket;
        let is_needed = (0..PADS).any(|at| at != pad && self.morphs_with(at, pad, other));
        let queue = &mut self.of_pads[pad];
        if let Some(last) = queue.back() {
            let same_seed = last.seed == request.seed;
            // After the last one, it has nothing to do.
            let is_idle = same_seed && (request.task == Task::Follow || last.task.is_anew());
            let is_alone = last.task != Task::Takes && !is_idle && !is_needed;
            if request.task.is_anew() && is_alone {
                // The pad's sound would have come of another seed.
                request.task = Task::Generate;
                queue.clear();
            } else if queue.len() >= MOST {
                queue.pop_back();
            }
        }
        queue.push_back(request);
    }

    /// Whether a morph of the pad `at` waits that begins with the sound of `pad`.
    fn morphs_with(&self, at: usize, pad: usize, other: &impl Fn(usize) -> usize) -> bool {
        let mut requests = self.of_pads[at].iter();
        other(at) == pad && requests.any(|it| it.task == Task::Morph)
    }

    /// The request to answer next: of the pad that is waited for, or else the one that waits longest; before it, what it
    /// depends on.
    pub fn next(&self, board: &Board, other: impl Fn(usize) -> usize) -> Option<Request> {
        let wanted = board.wanted.load(Ordering::Acquire).checked_sub(1);
        let oldest = || {
            let firsts = self.of_pads.iter().filter_map(VecDeque::front);
            firsts.min_by_key(|it| it.gesture())
        };
        let mut next = wanted
            .and_then(|pad| self.of_pads[pad].front())
            .or_else(oldest)?;
        // Each is older than the one before.
        while let Some(needed) = self.needed(next, &other) {
            next = needed;
        }
        Some(*next)
    }

    /// A request to answer before `request`: an older one of the other pad, where this is a morph, or of a pad whose older
    /// morph begins with the sound that this one replaces.
    fn needed(&self, request: &Request, other: &impl Fn(usize) -> usize) -> Option<&Request> {
        (0..PADS).filter(|&at| at != request.pad).find_map(|at| {
            let is_other = request.task == Task::Morph && other(request.pad) == at;
            let mut morphs = self.of_pads[at].iter().filter(|it| it.task == Task::Morph);
            let is_older = |it: &Request| it.gesture() < request.gesture();
            let is_begun = other(at) == request.pad && morphs.any(is_older);
            let first = self.of_pads[at].front().filter(|it| is_older(it));
            first.filter(|_| is_other || is_begun)
        })
    }

    /// The first request of a pad, dated or not.
    pub fn first(&self, pad: usize, board: &Board) -> Option<Request> {
        let undated = || {
            let ticket = board.waiting(pad)?;
            Some(Request::undated(pad, ticket))
        };
        self.of_pads[pad].front().copied().or_else(undated)
    }

    /// Whether `request` is the first one of its pad.
    pub fn is_first(&self, request: &Request, board: &Board) -> bool {
        let first = self.first(request.pad, board);
        first.is_some_and(|it| it.ticket == request.ticket)
    }

    /// All that wait, dated or not, in the order in which they were asked for.
    pub fn all(&self, board: &Board) -> Vec<Request> {
        let mut all: Vec<Request> = self.of_pads.iter().flatten().copied().collect();
        all.extend((0..PADS).filter_map(|pad| {
            let newest = board.waiting(pad).filter(|&it| it > self.newest[pad])?;
            Some(Request::undated(pad, newest))
        }));
        all.sort_by_key(Request::gesture);
        all
    }

    /// Marks a request as answered.
    pub fn settle(&mut self, request: &Request, board: &Board) {
        let queue = &mut self.of_pads[request.pad];
        if queue.front().is_some_and(|it| it.ticket == request.ticket) {
            queue.pop_front();
        }
        self.newest[request.pad] = self.newest[request.pad].max(request.ticket);
        board.settle(request.pad, request.ticket);
    }

    /// Gives up all requests of a pad.
    pub fn call_off(&mut self, pad: usize, board: &Board) {
        self.of_pads[pad].clear();
        board.settle(pad, ticket(board.gesture(), LAST_TASK));
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use audiodiff::noise::Noise;

    use super::*;

    /// A sound, as far as requests are concerned: what it came of, and the seed that was asked for.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Sound {
        of: u64,
        asked: i32,
    }

    impl Sound {
        fn new(of: impl Hash, asked: i32) -> Self {
            let mut hasher = DefaultHasher::new();
            of.hash(&mut hasher);
            Self {
                of: hasher.finish(),
                asked,
            }
        }

        fn plain(seed: i32) -> Self {
            Self::new(seed, seed)
        }
    }

    fn other(pad: usize) -> usize {
        // Two that morph with each other, chains of them, and one with itself.
        [1, 0, 3, 4, 2, 0, 6][pad % 7]
    }

    fn answer(sounds: &mut [Sound; PADS], request: &Request) {
        let (pad, seed) = (request.pad, request.seed.unwrap());
        let own = sounds[pad];
        let plain = Sound::plain(seed);
        sounds[pad] = match request.task {
            Task::Generate if own.of == plain.of => own,
            Task::Follow if own.of == plain.of || own.asked == seed => own,
            Task::Generate | Task::Follow => plain,
            Task::Vary => Sound::new((own.of, seed), seed),
            Task::Morph => {
                let amount = request.amount.unwrap().to_bits();
                Sound::new((own.of, sounds[other(pad)].of, seed, amount), seed)
            }
            Task::Takes => own,
        };
    }

    #[test]
    fn whenever_they_are_answered_requests_come_to_what_they_had_come_to_at_once() {
        let mut random = Noise::new(3);
        for _ in 0..2000 {
            let (board, mut queue) = (Board::default(), Queue::default());
            let mut seen = [0; PADS];
            let mut sounds = [Sound::plain(0); PADS];
            // These are answered at once.
            let mut wanted = sounds;
            let pads = 1 + random.below(7);
            for _ in 0..random.below(60) {
                let pad = random.below(pads);
                queue.gather(&board, other);
                if random.below(3) > 0 && queue.of_pads[pad].len() < MOST {
                    let task = [
                        Task::Generate,
                        Task::Vary,
                        Task::Morph,
                        Task::Takes,
                        Task::Follow,
                    ][random.below(5)];
                    let (seed, amount) = (random.below(3) as i32, random.below(2) as f32);
                    let ticket = board.ask(board.gesture(), pad, task);
                    // A new block begins.
                    board.date(&mut seen, |_| (seed, amount));
                    let request = Request {
                        pad,
                        task,
                        seed: Some(seed),
                        amount: Some(amount),
                        ticket,
                    };
                    answer(&mut wanted, &request);
                } else {
                    // A note may wait for a pad meanwhile.
                    let note = random.below(2 * PADS);
                    board.want((note < PADS).then_some(note));
                    if let Some(next) = queue.next(&board, other) {
                        answer(&mut sounds, &next);
                        queue.settle(&next, &board);
                    }
                }
            }
            // A note of one pad waits for that alone.
            let note = random.below(pads);
            board.want(Some(note));
            queue.gather(&board, other);
            while board.waiting(note).is_some() {
                let next = queue.next(&board, other).unwrap();
                answer(&mut sounds, &next);
                queue.settle(&next, &board);
            }
            assert_eq!(sounds[note].of, wanted[note].of);
            board.want(None);
            while let Some(next) = queue.next(&board, other) {
                answer(&mut sounds, &next);
                queue.settle(&next, &board);
            }
            assert!((0..PADS).all(|pad| board.waiting(pad).is_none()));
            assert_eq!(sounds, wanted);
        }
    }

    #[test]
    fn a_sound_that_nobody_heard_is_not_made_before_the_next() {
        let (board, mut queue) = (Board::default(), Queue::default());
        let mut seen = [0; PADS];
        let mut ask = |pad: usize, task: Task, seed: i32| {
            board.ask(board.gesture(), pad, task);
            board.date(&mut seen, |_| (seed, 0.5));
        };
        (1..100).for_each(|seed| ask(3, Task::Follow, seed));
        (0..20).for_each(|_| ask(4, Task::Vary, 1));
        queue.gather(&board, other);
        let seeds = |queue: &Queue, pad: usize| -> Vec<i32> {
            let seeds = queue.of_pads[pad].iter().map(|it| it.seed.unwrap());
            seeds.collect()
        };
        assert_eq!(seeds(&queue, 3), [99]);
        assert_eq!(seeds(&queue, 4), [1; MOST]);
        // What is called off is not answered, nor are requests that were on their way.
        board.ask(board.gesture(), 3, Task::Vary);
        board.date(&mut seen, |_| (5, 0.5));
        queue.call_off(3, &board);
        queue.gather(&board, other);
        assert_eq!((seeds(&queue, 3), board.waiting(3)), (vec![], None));
        assert_eq!(queue.next(&board, other).map(|it| it.pad), Some(4));
    }

    #[test]
    fn without_an_audio_thread_requests_are_answered_after_a_while() {
        let (board, mut queue) = (Board::default(), Queue::default());
        board.ask(board.gesture(), 5, Task::Vary);
        let undated = queue.first(5, &board).unwrap();
        assert_eq!((undated.task, undated.seed), (Task::Vary, None));
        queue.gather(&board, other);
        assert_eq!(queue.next(&board, other), None);
        std::thread::sleep(2 * UNDATED);
        queue.gather(&board, other);
        assert_eq!(queue.next(&board, other), Some(undated));
        // One that comes to be dated after all is the same.
        board.date(&mut [0; PADS], |_| (7, 0.5));
        queue.gather(&board, other);
        assert_eq!(queue.all(&board), [undated]);
        queue.settle(&undated, &board);
        assert_eq!((queue.all(&board), board.waiting(5)), (vec![], None));
    }
}
