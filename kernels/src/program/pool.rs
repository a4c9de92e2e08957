//! The pool of sessions that an engine keeps between runs.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use candle_core::Result;

use super::plan::Kind;
use crate::team::lock;

/// Sessions an engine keeps for later: one or two sizes of training batch, validation, guidance.
pub(super) const KEPT: usize = 4;

/// The program and the kind of run that a session serves.
pub(super) type Key = ((usize, usize), Kind);

/// Sessions kept between runs.
pub(super) struct Pool<S> {
    /// Sessions that wait for their next run, the one used last at the end.
    pub sessions: Mutex<Vec<(Key, S)>>,
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
        }
    }
}

impl<S> Pool<S> {
    /// The session that was used last with this key, or a new one.
    pub fn take(
        self: &Arc<Self>,
        key: Key,
        make: impl FnOnce(&Kind) -> Result<S>,
    ) -> Result<PooledSession<S>> {
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
pub(super) struct PooledSession<S> {
    pub key: Key,
    /// Always there, until the drop.
    session: Option<S>,
    pool: Arc<Pool<S>>,
}

impl<S> Deref for PooledSession<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.session.as_ref().expect("there until the drop")
    }
}

impl<S> DerefMut for PooledSession<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.session.as_mut().expect("there until the drop")
    }
}

impl<S> Drop for PooledSession<S> {
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
