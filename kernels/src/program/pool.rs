//! The pool of sessions that an engine keeps between runs.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Result;

use super::plan::Kind;
use super::session::Session;
use super::weights::PackedWeights;
use crate::real::Real;

/// Sessions an engine keeps for later: one or two sizes of training batch, validation, guidance.
pub(super) const KEPT: usize = 4;

/// The program and the kind of run that a session serves.
pub(super) type Key = ((usize, usize), Kind);

/// Sessions and packed weights kept between runs.
pub(super) struct Pool<T> {
    /// Sessions that wait for their next run, the one used last at the end.
    pub sessions: Mutex<Vec<(Key, Session<T>)>>,
    /// Frozen weights, once for all of them.
    pub packs: Arc<PackedWeights<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            packs: Arc::default(),
        }
    }
}

impl<T: Real> Pool<T> {
    /// The session that was used last with this key, or a new one.
    pub fn take(
        self: &Arc<Self>,
        key: Key,
        make: impl FnOnce(&Kind) -> Result<Session<T>>,
    ) -> Result<PooledSession<T>> {
        let waiting = {
            let mut sessions = lock(&self.sessions);
            let at = sessions.iter().rposition(|(found, _)| *found == key);
            at.map(|at| sessions.remove(at).1)
        };
        let session = match waiting {
            Some(session) => session,
            None => make(&key.1)?,
        };
        Ok(PooledSession {
            key,
            session: Some(session),
            pool: Arc::clone(self),
        })
    }
}

/// A session in use, which goes back to its pool when dropped.
pub(super) struct PooledSession<T: Real> {
    pub key: Key,
    /// Always there, until the drop.
    session: Option<Session<T>>,
    pool: Arc<Pool<T>>,
}

impl<T: Real> Deref for PooledSession<T> {
    type Target = Session<T>;

    fn deref(&self) -> &Session<T> {
        self.session.as_ref().expect("there until the drop")
    }
}

impl<T: Real> DerefMut for PooledSession<T> {
    fn deref_mut(&mut self) -> &mut Session<T> {
        self.session.as_mut().expect("there until the drop")
    }
}

impl<T: Real> Drop for PooledSession<T> {
    fn drop(&mut self) {
        // A panic may have come while a slot was taken out.
        if std::thread::panicking() {
            return;
        }
        let mut sessions = lock(&self.pool.sessions);
        let session = self.session.take().expect("there until the drop");
        sessions.push((self.key.clone(), session));
        if sessions.len() > KEPT {
            sessions.remove(0);
        }
    }
}

/// The lock, even if a thread panicked while it held it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
