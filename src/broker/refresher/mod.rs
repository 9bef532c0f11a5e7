//! The only writer: one task that owns every exchange. A miss is a refresh that is due now.
//!
//! Since all changes pass through this one loop, an entry has at most one exchange in flight, whoever asks and
//! whoever hangs up, and no two events of one entry can race. Readers meet it at two places only, both lock-free: the
//! map of slots and the slots' cells. How an exchange begins is in [`launch`], what comes of it in [`land`], what
//! another configuration does to it in [`reload`].

mod land;
mod launch;
mod reload;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::Future;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use crate::broker::cache::Cache;
use crate::broker::entries::{Entries, Full, Stage};
use crate::broker::floods::{Allowances, Floods};
use crate::broker::key::{Key, Subject};
use crate::broker::queue::Queue;
use crate::broker::rulebook::InForce;
use crate::broker::schedule::{Policy, Step};
use crate::broker::survey::Survey;
use crate::broker::wishes::{Miss, Selector, Wish};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::metrics::Metrics;
use crate::supervise::{LongLived, supervise};
use crate::upstream::{Demand, Exchange, Load, Route};

use land::Landing;

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
    /// What is too often.
    pub floods: Floods,
}

/// Runs until the last reader is gone.
pub struct Refresher {
    wishes: mpsc::Receiver<Wish>,
    cache: Arc<Cache>,
    rulebook: InForce,
    entries: Entries,
    /// Exchanges that each user's misses may begin.
    misses: Allowances,
    /// What a reload left to be decided again.
    doubted: VecDeque<Key>,
    queue: Queue,
    /// When a queued exchange may begin, if there is one that has to wait for the budget.
    next_launch: Option<Duration>,
    /// What the entries that hold credentials ask of the budget.
    demand: Demand,
    /// Counts purges: what was launched before one may not put back what the purge dropped.
    purges: u64,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Landing> + Send>>>,
    /// The key that is looked at, for the case that this ends in a panic.
    handling: Option<Key>,
    alive: Arc<AtomicBool>,
    policy: Policy,
    limits: Limits,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// The longest sleep: a suspended machine does not wake tokio's timers, so that the clock is read now and then.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

impl Refresher {
    pub(super) fn new(
        wishes: mpsc::Receiver<Wish>,
        cache: Arc<Cache>,
        rulebook: InForce,
        (policy, limits): (Policy, Limits),
        (clock, chance): (Clock, Chance),
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            wishes,
            cache,
            rulebook,
            entries: Entries::new(limits.entries, limits.entries_per_subject, chance),
            misses: Allowances::new(limits.floods.misses_per_subject),
            doubted: VecDeque::new(),
            queue: Queue::default(),
            next_launch: None,
            demand: Demand::default(),
            purges: 0,
            flights: FuturesUnordered::new(),
            handling: None,
            alive: Arc::new(AtomicBool::new(true)),
            policy,
            limits,
            clock,
            metrics,
        }
    }

    /// Whether it works: false while it has fallen.
    pub(super) fn alive(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.alive)
    }

    /// Runs, and goes on after a panic within a second: without the key that it looked at, with everything else.
    pub async fn run(self) {
        supervise(self).await;
    }

    /// The way to AWS that is in force.
    fn exchange(&self) -> Arc<dyn Exchange> {
        Arc::clone(&self.rulebook.load().exchange)
    }

    fn time_to_sleep(&self) -> Duration {
        if self.is_behind() {
            return Duration::ZERO;
        }
        let now = self.clock.now().boot;
        let next = self.entries.next_due().into_iter().chain(self.next_launch).min();
        next.map_or(LONGEST_SLEEP, |due| due.saturating_sub(now).min(LONGEST_SLEEP))
    }

    fn take(&mut self, wish: Wish) {
        match wish {
            Wish::Miss(miss) => self.take_miss(*miss),
            Wish::Reload(reload) => self.reload(*reload),
            Wish::Nudge(key) => self.consider(key, self.clock.now().boot),
            // One who asked and hung up needs no number.
            Wish::Purge(selector, done) => drop(done.send(self.purge(&selector))),
            Wish::Survey(done) => drop(done.send(Survey::of(&self.entries, self.clock.now()))),
        }
    }

    fn take_miss(&mut self, mut miss: Miss) {
        self.handling = Some(miss.key);
        let now = self.clock.now();
        if let Err(error) = self.confirm_miss(&mut miss) {
            // A caller that hung up needs no answer, here and below.
            miss.waiter.send(Err(error)).ok();
            return;
        }
        let (is_new, payer) = (self.entries.get_mut(&miss.key).is_none(), payer(&miss));
        if is_new {
            if !self.misses.take(payer, now.boot) {
                miss.waiter.send(Err(too_often())).ok();
                return;
            }
            if let Err(full) = self.make_room(&miss) {
                miss.waiter.send(Err(full.into())).ok();
                return;
            }
            self.entries.insert(miss.key, miss.wanted.clone());
        }
        let Some(entry) = self.entries.get_mut(&miss.key) else { return };
        // Who comes by the newest rulebook shows that the entry is right by it.
        (entry.wanted.planned, entry.wanted.ask) = (miss.wanted.planned, Arc::clone(&miss.wanted.ask));
        entry.slot.offer_login(|| miss.token.take(), miss.token_expires, now);
        // The miss may have raced a landing.
        if let Some(credentials) = entry.slot.take_first(miss.holder, now) {
            miss.waiter.send(Ok(credentials)).ok();
            return;
        }
        if let Some(refused) = entry.refused.as_ref().filter(|refused| refused.0 > now.boot) {
            miss.waiter.send(Err(refused.1.clone())).ok();
            return;
        }
        if !is_new && entry.can_move_up() && !self.misses.take(payer, now.boot) {
            miss.waiter.send(Err(too_often())).ok();
            return;
        }
        entry.wait(miss.waiter, miss.holder, now);
        entry.cause = std::mem::take(&mut entry.cause).or(miss.cause);
        // An entry that is queued in the background moves up; its old place in the queue is void by its stage then.
        if entry.can_move_up() {
            self.queue_foreground(miss.key);
        }
    }

    fn make_room(&mut self, miss: &Miss) -> Result<(), Full> {
        let cold = self.entries.to_evict(&miss.wanted.subject)?;
        cold.iter().for_each(|key| self.bury(key));
        Ok(())
    }

    /// Looks at one entry as the schedule says; it was due for that at `due`.
    fn consider(&mut self, key: Key, due: Duration) {
        self.handling = Some(key);
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.slot.login().is_some_and(|login| login.life.expires.passed(now)) {
            entry.slot.wipe_login();
        }
        match entry.stage {
            Stage::InFlight => return,
            Stage::Queued(rank) if entry.is_worth_waiting(rank, now) => {
                let again = entry.look_again(rank, now);
                return self.entries.look_at(key, again);
            }
            Stage::Queued(_) => entry.leave_queue(),
            Stage::Idle => {}
        }
        match entry.step(now) {
            Step::Refresh => self.queue_background(key, due, now),
            Step::Sleep(until) => self.entries.look_at(key, until),
            Step::Bury => self.bury(&key),
        }
    }

    fn consider_due(&mut self) {
        let now = self.clock.now();
        while let Some((key, due)) = self.entries.pop_due(now) {
            self.consider(key, due);
        }
    }

    /// Drops what is held for `selector`. An entry whose exchange is under way stays, without what it held, so that the
    /// landing finds that it is void.
    fn purge(&mut self, selector: &Selector) -> usize {
        self.purges += 1;
        let keys = self.entries.matching(selector);
        keys.iter().for_each(|key| self.drop_held(key));
        keys.len()
    }

    fn drop_held(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.stage == Stage::InFlight) else {
            return self.bury(key);
        };
        entry.valid_from = self.purges;
        let old = entry.renew_slot();
        self.demand.change(&Route::to(&entry.wanted.target), std::mem::take(&mut entry.load), Load::default());
        if self.cache.remove(key) {
            self.metrics.entries.dec();
        }
        old.dismiss();
    }

    fn bury(&mut self, key: &Key) {
        if self.cache.remove(key) {
            self.metrics.entries.dec();
        }
        let Some(entry) = self.entries.remove(key) else { return };
        self.demand.change(&Route::to(&entry.wanted.target), entry.load, Load::default());
        // Dismissed after it has left the map, so that who looks again does not find it there.
        entry.slot.dismiss();
        // A purge may take one that is queued: nobody would answer those who wait any more.
        let gone = Error::new(Kind::UpstreamUnavailable, "the entry was dropped; ask again");
        entry.waiters.into_iter().for_each(|(waiter, _)| drop(waiter.send(Err(gone.clone()))));
    }
}

impl LongLived for Refresher {
    const NAME: &'static str = "refresher";

    /// The loop: something happens, its handler runs to the end, then whatever may start is started.
    async fn work(&mut self) {
        loop {
            let sleep = self.time_to_sleep();
            tokio::select! {
                // In this order: landings are bounded, and make room; what is due is looked at after each event anyway.
                biased;
                Some(landing) = self.flights.next() => self.land(landing),
                wish = self.wishes.recv() => match wish {
                    Some(wish) => self.take(wish),
                    None => return,
                },
                () = tokio::time::sleep(sleep) => {}
            }
            self.catch_up();
            self.consider_due();
            self.launch();
            self.handling = None;
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The key that was looked at is dropped, and those who wait for it are told to ask again; what else is cached
    /// goes on being served. An exchange of that key that is under way is void when it lands, as after a purge.
    fn fallen(&mut self) {
        self.alive.store(false, Ordering::Relaxed);
        if let Some(key) = self.handling.take() {
            self.purges += 1;
            self.drop_held(&key);
        }
    }

    fn risen(&mut self) {
        self.alive.store(true, Ordering::Relaxed);
    }
}

/// Whose allowance an exchange uses up that this miss begins; those who join one that is under way, or hear of its failure,
/// are free. Nobody knows who a guest is, so that all of a profile's are one.
fn payer(miss: &Miss) -> Subject {
    if miss.token.is_some() { miss.wanted.subject } else { Subject::guest(&miss.wanted.ask.profile, "") }
}

fn too_often() -> Error {
    let cause = "this user asks for new credentials too often (limits.misses_per_subject_per_second)";
    Error::new(Kind::TooManyRequests, cause)
}
