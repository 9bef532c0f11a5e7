//! The only writer: one task that owns every exchange. A miss is a refresh that is due now.
//!
//! Since all changes pass through this one loop, an entry has at most one exchange in flight, whoever asks and
//! whoever hangs up, and no two events of one entry can race. Readers meet it at two places only, both lock-free: the
//! map of slots and the slots' cells.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use futures::{Future, FutureExt};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::broker::cache::{Cache, Held};
use crate::broker::entries::{Entries, Entry, Full, Stage};
use crate::broker::key::Key;
use crate::broker::schedule::{Policy, Step, points, retry_pause};
use crate::broker::wishes::{Miss, Selector, Wish};
use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::metrics::{Metrics, Operation, Result as Outcome};
use crate::model::Credentials;
use crate::upstream::{Class, Exchange, Failure, Flow};

/// The refresher's bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most entries in all.
    pub entries: usize,
    /// Most entries of one user.
    pub entries_per_subject: usize,
    /// Most exchanges at once.
    pub concurrency: usize,
    /// Longest time for one exchange.
    pub exchange_timeout: Duration,
}

/// Runs until the last reader is gone.
pub struct Refresher {
    wishes: mpsc::Receiver<Wish>,
    cache: Arc<Cache>,
    exchange: Arc<dyn Exchange>,
    entries: Entries,
    /// Callers wait for these.
    urgent: VecDeque<(Key, Duration)>,
    /// Nobody waits for these.
    background: VecDeque<(Key, Duration)>,
    /// Counts purges: what was launched before one may not put back what the purge dropped.
    purges: u64,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Landing> + Send>>>,
    policy: Policy,
    limits: Limits,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// How an exchange ended.
struct Landing {
    key: Key,
    /// The count of purges when it was launched.
    launched: u64,
    done: Result<Credentials, Failure>,
}

/// The longest sleep: a suspended machine does not wake tokio's timers, so that the clock is read now and then.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

impl Refresher {
    pub(super) fn new(
        wishes: mpsc::Receiver<Wish>,
        cache: Arc<Cache>,
        exchange: Arc<dyn Exchange>,
        policy: Policy,
        limits: Limits,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            wishes,
            cache,
            exchange,
            entries: Entries::new(limits.entries, limits.entries_per_subject),
            urgent: VecDeque::new(),
            background: VecDeque::new(),
            purges: 0,
            flights: FuturesUnordered::new(),
            policy,
            limits,
            clock,
            metrics,
        }
    }

    /// The loop: something happens, its handler runs to the end, then whatever may start is started.
    pub async fn run(mut self) {
        loop {
            let sleep = self.time_to_sleep();
            tokio::select! {
                Some(landing) = self.flights.next() => self.land(landing),
                wish = self.wishes.recv() => match wish {
                    Some(Wish::Miss(miss)) => self.take_miss(*miss),
                    Some(Wish::Nudge(key)) => self.consider(key),
                    // One who asked and hung up needs no number.
                    Some(Wish::Purge(selector, done)) => drop(done.send(self.purge(&selector))),
                    None => return,
                },
                () = tokio::time::sleep(sleep) => {}
            }
            self.queue_due();
            self.launch();
        }
    }

    fn time_to_sleep(&self) -> Duration {
        let now = self.clock.now().boot;
        self.entries.next_due().map_or(LONGEST_SLEEP, |due| due.saturating_sub(now).min(LONGEST_SLEEP))
    }

    fn take_miss(&mut self, miss: Miss) {
        let now = self.clock.now();
        if self.entries.get_mut(&miss.key).is_none() {
            if let Err(full) = self.make_room(&miss) {
                // A caller that hung up needs no answer, here and below.
                miss.waiter.send(Err(full.into())).ok();
                return;
            }
            self.entries.insert(miss.key, miss.wanted);
        }
        let Some(entry) = self.entries.get_mut(&miss.key) else { return };
        entry.slot.offer_login(miss.token.as_ref(), miss.token_expires, now);
        // The miss may have raced a landing.
        if let Some(credentials) = entry.slot.take_first(miss.holder, now) {
            miss.waiter.send(Ok(credentials)).ok();
            return;
        }
        if let Some((_, error)) = entry.refused.as_ref().filter(|(until, _)| *until > now.boot) {
            miss.waiter.send(Err(error.clone())).ok();
            return;
        }
        let first = entry.waiters.is_empty();
        entry.wait(miss.waiter, miss.holder);
        // An entry that is queued in the background moves up; its old place in the queue is void by its stage then.
        if first && entry.stage != Stage::InFlight {
            entry.stage = Stage::Queued;
            self.urgent.push_back((miss.key, now.boot));
        }
    }

    fn make_room(&mut self, miss: &Miss) -> Result<(), Full> {
        if let Some(cold) = self.entries.to_evict(&miss.wanted.subject)? {
            self.bury(&cold);
        }
        Ok(())
    }

    /// Looks at one entry as the schedule says.
    fn consider(&mut self, key: Key) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.stage != Stage::Idle {
            return;
        }
        if entry.slot.login().is_some_and(|login| login.life.expires.passed(now)) {
            entry.slot.wipe_login();
        }
        match entry.step(now) {
            Step::Refresh => {
                entry.stage = Stage::Queued;
                self.background.push_back((key, now.boot));
            }
            Step::Sleep(until) => self.entries.look_at(key, until),
            Step::Bury => self.bury(&key),
        }
    }

    fn queue_due(&mut self) {
        let now = self.clock.now();
        while let Some((key, due)) = self.entries.pop_due(now) {
            let before = self.background.len();
            self.consider(key);
            // A refresh counts as due since its time, not since we came to look.
            if self.background.len() > before {
                self.background.pop_back();
                self.background.push_back((key, due));
            }
        }
    }

    fn launch(&mut self) {
        while self.flights.len() < self.limits.concurrency {
            let Some((key, due)) = self.urgent.pop_front().or_else(|| self.background.pop_front()) else {
                return;
            };
            let now = self.clock.now();
            let entry = self.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Queued);
            let Some(entry) = entry else { continue };
            let Some(order) = entry.order(now) else {
                let error = Error::new(Kind::Unauthorized, "the token expired before it could be exchanged");
                answer(entry, &Err(error));
                entry.stage = Stage::Idle;
                self.consider(key);
                continue;
            };
            entry.stage = Stage::InFlight;
            self.metrics.lagged(now.boot.saturating_sub(due));
            let exchange = Arc::clone(&self.exchange);
            let timeout = self.limits.exchange_timeout;
            let metrics = Arc::clone(&self.metrics);
            let launched = self.purges;
            let last_call = last_call(order.target.flow);
            self.flights.push(Box::pin(async move {
                let flight = AssertUnwindSafe(exchange.exchange(&order)).catch_unwind();
                let done = match tokio::time::timeout(timeout, flight).await {
                    Ok(Ok(done)) => done,
                    Ok(Err(_panic)) => {
                        metrics.panics.inc();
                        Err(ours(last_call, "Panic", "the exchange panicked: this is a bug"))
                    }
                    Err(_elapsed) => Err(ours(last_call, "Timeout", "no answer within limits.exchange_timeout_ms")),
                };
                Landing { key, launched, done }
            }));
        }
    }

    fn land(&mut self, landing: Landing) {
        let Landing { key, launched, done } = landing;
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.stage = Stage::Idle;
        if launched < entry.valid_from {
            self.launch_again(key);
            return;
        }
        match done {
            Ok(credentials) => {
                self.metrics.refreshed(Outcome::Ok);
                self.store(key, credentials);
            }
            Err(failure) => {
                self.metrics.refreshed(failure.class.into());
                self.put_off(key, &failure);
            }
        }
        self.consider(key);
    }

    /// Forgets an exchange that a purge overtook; those who wait get another one.
    fn launch_again(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.is_awaited() {
            entry.stage = Stage::Queued;
            self.urgent.push_back((key, self.clock.now().boot));
        } else {
            self.bury(&key);
        }
    }

    /// Drops what is held for `selector`. An entry whose exchange is under way stays, without what it held, so that the
    /// landing finds that it is void.
    fn purge(&mut self, selector: &Selector) -> usize {
        self.purges += 1;
        let keys = self.entries.matching(selector);
        for key in &keys {
            let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.stage == Stage::InFlight) else {
                self.bury(key);
                continue;
            };
            entry.valid_from = self.purges;
            let old = entry.renew_slot();
            if self.cache.remove(key) {
                self.metrics.entries.dec();
            }
            old.dismiss();
        }
        keys.len()
    }

    fn store(&mut self, key: Key, credentials: Credentials) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.failures > 0 {
            debug!(failures = entry.failures, "an exchange succeeded again");
        }
        entry.failures = 0;
        entry.refused = None;
        let points = points(&self.policy, credentials.received, &credentials.expires, entry.spread);
        let born = entry.slot.held().is_none();
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
        entry.refused = Some((now.boot + pause, error.clone()));
        answer(entry, &Err(error));
        if evicted {
            let (wanted, refused, failures) = (entry.wanted.clone(), entry.refused.take(), entry.failures);
            self.bury(&key);
            let entry = self.entries.insert(key, wanted);
            (entry.refused, entry.failures) = (refused, failures);
        }
    }

    fn bury(&mut self, key: &Key) {
        if self.cache.remove(key) {
            self.metrics.entries.dec();
        }
        let Some(entry) = self.entries.remove(key) else { return };
        // Dismissed after it has left the map, so that who looks again does not find it there.
        entry.slot.dismiss();
        // A purge may take one that is queued: nobody would answer those who wait any more.
        let gone = Error::new(Kind::UpstreamUnavailable, "the entry was dropped; ask again");
        entry.waiters.into_iter().for_each(|(waiter, _)| drop(waiter.send(Err(gone.clone()))));
    }
}

fn answer(entry: &mut Entry, done: &Result<Arc<Credentials>, Error>) {
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

/// The call that gives the credentials: what an exchange is named by that ended without a failure of its own.
fn last_call(flow: Flow) -> Operation {
    match flow {
        Flow::Enhanced => Operation::GetCredentialsForIdentity,
        Flow::Basic => Operation::AssumeRoleWithWebIdentity,
        Flow::AssumeRole => Operation::AssumeRole,
    }
}

fn ours(operation: Operation, code: &str, message: &str) -> Failure {
    Failure::ours(Class::Unavailable, operation, code, message)
}

fn born_dead() -> Error {
    Error::new(Kind::UpstreamUnavailable, "the credentials expired as they arrived")
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        match full {
            Full::Subject => {
                Self::new(Kind::TooManyRequests, "this user has limits.entries_per_subject exchanges under way")
            }
            Full::All => Self::new(Kind::UpstreamUnavailable, "limits.entries exchanges are under way: raise it"),
        }
    }
}
