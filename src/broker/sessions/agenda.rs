//! What the renewer is to do; filled by whoever finds something, and never waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::broker::sessions::session::Session;
use crate::error::Error;

/// The list.
#[derive(Default)]
pub(super) struct Agenda {
    errands: Mutex<Vec<Errand>>,
    filled: Notify,
    stopping: AtomicBool,
    stopped: Notify,
}

/// One item.
pub(super) enum Errand {
    /// Look whether this session needs a newer login.
    Renew(Arc<Session>),
    /// The same, and somebody waits for it.
    Await(Arc<Session>),
    /// This one is closed.
    Forget(Arc<str>),
    /// End the refresh token of this one, which is closed.
    Revoke(Revocation),
}

/// The end of a closed session's refresh token, and who waits for it.
pub(super) struct Revocation {
    pub(super) session: Arc<Session>,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

impl Agenda {
    pub(super) fn add(&self, errand: Errand) {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner).push(errand);
        // A permit stays if the renewer is not waiting just now, so that no errand is left lying.
        self.filled.notify_one();
    }

    pub(super) fn revoke(&self, session: Arc<Session>) -> oneshot::Receiver<Result<(), Error>> {
        let (done, revoked) = oneshot::channel();
        self.add(Errand::Revoke(Revocation { session, done }));
        revoked
    }

    /// The items since the last time; waits for one.
    pub(super) async fn next(&self) -> Vec<Errand> {
        self.filled.notified().await;
        std::mem::take(&mut self.errands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the renewer to begin nothing more, and waits until it has ended what it has begun.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.filled.notify_one();
        self.stopped.notified().await;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// For the renewer: it has ended.
    pub(super) fn stopped(&self) {
        self.stopped.notify_one();
    }
}
