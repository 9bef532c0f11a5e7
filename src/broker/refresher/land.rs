//! What comes of an exchange: credentials for everybody who waits, or a failure that leaves alone what is held.

use std::sync::Arc;

use tracing::{debug, warn};

use super::Refresher;
use crate::broker::cache::Held;
use crate::broker::entries::{Entry, Stage};
use crate::broker::key::Key;
use crate::broker::schedule::{Crowd, points, retry_pause};
use crate::error::{Error, Kind};
use crate::metrics::{Operation, Result as Outcome};
use crate::model::Credentials;
use crate::upstream::{Class, Exchange, Failure, Load, Route};

/// How an exchange ended.
pub(super) struct Landing {
    pub(super) key: Key,
    /// The count of purges when it was launched.
    pub(super) launched: u64,
    pub(super) done: Result<Credentials, Failure>,
}

impl Refresher {
    pub(super) fn land(&mut self, landing: Landing) {
        let Landing { key, launched, done } = landing;
        self.handling = Some(key);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.stage = Stage::Idle;
        if launched < entry.valid_from {
            self.launch_again(key);
            return;
        }
        let rulebook = self.rulebook.load_full();
        if !self.is_confirmed(&key, &rulebook) {
            return;
        }
        match done {
            Ok(credentials) => {
                self.metrics.refreshed(Outcome::Ok);
                self.store(key, credentials, &*rulebook.exchange);
            }
            Err(failure) => {
                self.metrics.refreshed(failure.class.into());
                self.put_off(key, &failure);
            }
        }
        self.consider(key, self.clock.now().boot);
    }

    /// Forgets an exchange that a purge overtook; those who wait get another one.
    fn launch_again(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.is_awaited() {
            self.queue_foreground(key);
        } else {
            self.bury(&key);
        }
    }

    fn store(&mut self, key: Key, credentials: Credentials, exchange: &dyn Exchange) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.failures > 0 {
            debug!(failures = entry.failures, "an exchange succeeded again");
        }
        entry.failures = 0;
        entry.refused = None;
        let (route, born) = (Route::to(&entry.wanted.target), entry.slot.held().is_none());
        let load = Load::of(credentials.expires.remaining(credentials.received));
        self.demand.change(&route, entry.load, load);
        entry.load = load;
        let crowd = Crowd { first: born, crowding: exchange.crowding(&route, &self.demand) };
        let points = points(&self.policy, credentials.received, &credentials.expires, entry.spread, crowd);
        entry.slot.swap(Held { credentials: Arc::new(credentials), points });
        if born {
            self.cache.insert(key, Arc::clone(&entry.slot));
            self.metrics.entries.inc();
        }
        let now = self.clock.now();
        for (waiter, holder) in std::mem::take(&mut entry.waiters) {
            // Each waiter leaves its trace in the slot, as any reader does.
            waiter.send(entry.slot.take_first(holder, now).ok_or_else(born_dead)).ok();
        }
    }

    /// Notes a failure. What is held stays until its real expiry, unless AWS now refuses this user.
    fn put_off(&mut self, key: Key, failure: &Failure) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.failures = entry.failures.saturating_add(1);
        let error = Error::new(kind(failure.class), failure.to_string());
        let error = error.by_request(failure.request_id.as_deref());
        let now = self.clock.now();
        let held = entry.slot.held().is_some();
        let ending = entry.slot.login().is_some_and(|login| login.life.is_ending(now));
        if held && ending && failure.is_terminal() {
            // By AWS's clock the login may be over; that says nothing of the user, whose next one will tell.
            entry.slot.wipe_login();
        }
        let evicted = held && !ending && failure.is_terminal();
        let pause = retry_pause(failure.class, entry.failures, held && !evicted, entry.spread);
        // Failures that somebody hears of are told at the door. Of the others the first of a row is, and each doubling.
        if evicted || (!entry.is_awaited() && entry.failures.is_power_of_two()) {
            let (failures, retry_in_seconds) = (entry.failures, pause.as_secs());
            warn!(%failure, failures, retry_in_seconds, evicted, "a refresh failed");
        }
        entry.refused = Some(Box::new((now.boot + pause, error.clone())));
        answer(entry, &Err(error));
        if evicted {
            let (wanted, refused, failures) = (entry.wanted.clone(), entry.refused.take(), entry.failures);
            self.bury(&key);
            let entry = self.entries.insert(key, wanted);
            (entry.refused, entry.failures) = (refused, failures);
        }
    }
}

pub(super) fn answer(entry: &mut Entry, done: &Result<Arc<Credentials>, Error>) {
    for (waiter, _) in entry.waiters.drain(..) {
        waiter.send(done.clone()).ok();
    }
}

fn kind(class: Class) -> Kind {
    match class {
        Class::Denied => Kind::UpstreamDenied,
        Class::Throttled | Class::Unavailable | Class::Invalid => Kind::UpstreamUnavailable,
    }
}

pub(super) fn ours(operation: Operation, code: &str, message: &str) -> Failure {
    Failure::ours(Class::Unavailable, operation, code, message)
}

fn born_dead() -> Error {
    Error::new(Kind::UpstreamUnavailable, "the credentials expired as they arrived")
}
