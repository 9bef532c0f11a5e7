//! How many calls of each API are sent, and in whose favour.
//!
//! A new exchange begins when there is a place for its first call, and when no more exchanges are on their way to each
//! of its later ones than will find a place there ([`Budget::book`]): so it waits half-way for a moment at most, with its
//! own time running and a place among the flights taken. Later calls, and what could not be foreseen, such as a second
//! try or an IdentityId that has become void, wait in a queue ([`Budget::send`]) and go before whatever is new. A place
//! for a later call is not booked ahead: an API that is slow would take the next one's places from those who need no more
//! than that.
//!
//! AWS counts by account and region, and so does this: what is used in one region is left in another.
//!
//! The rate limiters at hand (those of `tower` and `governor`) refill a bucket: after a quiet second they let through
//! nearly twice their rate within one, which AWS throttles. Hence the list of send times in [`gate`].

mod gate;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::upstream::lane::{Demand, Lane, Rank, Route};
use crate::upstream::{Class, Failure};

use gate::{Caller, Gate};

/// `[upstream]`: the most calls of each API in any second, in each region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// GetId.
    pub get_id: u32,
    /// GetCredentialsForIdentity.
    pub get_credentials_for_identity: u32,
    /// GetOpenIdToken.
    pub get_open_id_token: u32,
    /// AssumeRole and AssumeRoleWithWebIdentity together.
    pub assume_role: u32,
    /// GetTokensFromRefreshToken.
    pub refresh_token: u32,
}

/// What has a limit of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// GetId.
    GetId,
    /// GetCredentialsForIdentity.
    GetCredentialsForIdentity,
    /// GetOpenIdToken.
    GetOpenIdToken,
    /// AssumeRole and AssumeRoleWithWebIdentity: one number in the file, and so one limit for both.
    AssumeRole,
    /// GetTokensFromRefreshToken.
    RefreshToken,
}

/// What AWS counts by itself: an API in a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    pub(super) quota: Quota,
    pub(super) region: Arc<str>,
}

/// What is left of the rates, now. One for the whole process: the quotas are the account's, in each region.
pub struct Budget {
    counters: Mutex<Counters>,
    clock: Clock,
    chance: Chance,
}

/// Made for a region when it is first asked for.
struct Counters {
    rates: Rates,
    /// In each region by [`Quota`].
    by_region: HashMap<Arc<str>, [Counter; QUOTAS]>,
}

/// What is known of an endpoint.
struct Counter {
    gate: Gate,
    /// Those under way that wait for a place, each in its turn.
    turns: Arc<tokio::sync::Mutex<()>>,
}

/// What one exchange has of the budget: a place for its first call, and a promise for each later one. What it has not
/// used goes back when it ends.
pub(super) struct Places {
    budget: Arc<Budget>,
    lane: Option<Lane>,
    /// A bit for each [`Quota`].
    held: AtomicU8,
}

/// A call that has a place. One that is dropped half-way, because its time is up, counts as unanswered.
#[must_use]
pub(super) struct Sent {
    ticket: Arc<Ticket>,
    ended: Option<(Option<Class>, Option<Duration>)>,
}

/// Its place.
pub(super) struct Ticket {
    budget: Arc<Budget>,
    endpoint: Endpoint,
    /// When it was sent.
    departed: OnceLock<Duration>,
}

/// One who waits in a queue.
struct Queued<'a>(&'a Budget, &'a Endpoint);

/// What an exchange has at an endpoint.
#[derive(PartialEq, Eq)]
enum Held {
    Place,
    Promise,
    Nothing,
}

/// The pause before a call is sent again, in milliseconds: five of them fit into the hold of a cold answer.
const PAUSE_MS: RangeInclusive<f64> = 10.0..=50.0;

const QUOTAS: usize = 5;

/// Who is under way and would have to wait for longer than for a full second to be over gives up: its own time runs, and
/// callers wait.
const LONGEST_WAIT: Duration = Duration::from_millis(1_100);

impl Rates {
    /// In the order of [`Quota`].
    fn each(&self) -> [u32; 5] {
        [self.get_id, self.get_credentials_for_identity, self.get_open_id_token, self.assume_role, self.refresh_token]
    }
}

impl Budget {
    /// A budget of which nothing is used yet. `chance` is for the pauses before calls that are sent again.
    pub fn new(rates: Rates, clock: Clock, chance: Chance) -> Self {
        let counters = Counters { rates, by_region: HashMap::new() };
        Self { counters: Mutex::new(counters), clock, chance }
    }

    /// Puts other rates in force, for the calls to come: those of the last second count.
    pub fn change(&self, rates: Rates) {
        let counters = &mut *self.counters();
        counters.rates = rates;
        for own in counters.by_region.values_mut() {
            own.iter_mut().zip(rates.each()).for_each(|(counter, limit)| counter.gate.limit_to(limit));
        }
    }

    /// Books a place for the first call of an exchange on `lane`, and promises one for each later call: when it comes to
    /// that, it goes before whatever is new.
    ///
    /// # Errors
    /// With the boot time before which there is no room for all of them.
    pub(super) fn book(self: &Arc<Self>, lane: Lane, rank: Rank) -> Result<Places, Duration> {
        let first = match rank {
            Rank::Foreground => Caller::Foreground,
            Rank::Background => Caller::Background,
        };
        let now = self.clock.now().boot;
        let counters = &mut *self.counters();
        let callers = || [first].into_iter().chain(std::iter::repeat(Caller::Expected));
        let calls = || lane.endpoints().zip(callers());
        let earliest = calls().map(|(endpoint, caller)| counters.gate(&endpoint).earliest(caller, now)).max();
        if let Some(later) = earliest.filter(|at| *at > now) {
            return Err(later);
        }
        let mut held = 0;
        for (endpoint, caller) in calls() {
            let gate = counters.gate(&endpoint);
            if caller == Caller::Expected {
                gate.expect()
            } else {
                gate.book(caller, now)
            }
            held |= bit(endpoint.quota);
        }
        Ok(Places { budget: Arc::clone(self), lane: Some(lane), held: AtomicU8::new(held) })
    }

    /// Waits until a call may be sent: from one of `places`, or in its turn.
    ///
    /// # Errors
    /// With the time to wait, when that is longer than an exchange under way should.
    pub(super) async fn send(self: &Arc<Self>, endpoint: Endpoint, places: Option<&Places>) -> Result<Sent, Duration> {
        match places.map_or(Held::Nothing, |places| places.take(&endpoint)) {
            Held::Place => return self.send_from_place(endpoint),
            Held::Promise => self.counters().gate(&endpoint).expect_no_more(),
            Held::Nothing => {}
        }
        let turns = {
            let mut counters = self.counters();
            let counter = counters.counter(&endpoint);
            counter.gate.queue();
            Arc::clone(&counter.turns)
        };
        let queued = Queued(self, &endpoint);
        let _turn = turns.lock().await;
        loop {
            let now = self.clock.now().boot;
            let wait = {
                let mut counters = self.counters();
                let gate = counters.gate(&endpoint);
                let wait = gate.earliest(Caller::UnderWay, now).saturating_sub(now);
                if wait.is_zero() {
                    gate.book(Caller::UnderWay, now);
                }
                wait
            };
            if wait.is_zero() {
                drop(queued);
                return Ok(Sent::new(self, endpoint));
            }
            if wait > LONGEST_WAIT {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A place does not outweigh a pause that AWS has asked for since.
    fn send_from_place(self: &Arc<Self>, endpoint: Endpoint) -> Result<Sent, Duration> {
        let now = self.clock.now().boot;
        let mut counters = self.counters();
        let gate = counters.gate(&endpoint);
        let pause = gate.pause(now);
        if !pause.is_zero() {
            gate.give_back();
            return Err(pause);
        }
        drop(counters);
        Ok(Sent::new(self, endpoint))
    }

    /// Whether a call whose connection broke may be sent again at once, after a short pause; each success allows for half
    /// a one.
    pub(super) fn take_retry(&self, endpoint: &Endpoint) -> Option<Duration> {
        let now = self.clock.now().boot;
        let may = self.counters().gate(endpoint).take_retry(now);
        may.then(|| Duration::from_secs_f64(self.chance.within(PAUSE_MS) / 1e3))
    }

    /// The part of a lifetime that the budget takes to refresh all that use the endpoints of `route`.
    pub(super) fn crowding(&self, route: &Route, demand: &Demand) -> f64 {
        let mut counters = self.counters();
        let endpoints = route.quotas().iter().map(|quota| route.endpoint(*quota));
        endpoints.map(|endpoint| demand.per_second(&endpoint) / counters.gate(&endpoint).rate()).fold(0.0, f64::max)
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn gate(&mut self, endpoint: &Endpoint) -> &mut Gate {
        &mut self.counter(endpoint).gate
    }

    fn counter(&mut self, endpoint: &Endpoint) -> &mut Counter {
        let new = || self.rates.each().map(|limit| Counter { gate: Gate::new(limit), turns: Arc::default() });
        let own = self.by_region.entry(Arc::clone(&endpoint.region)).or_insert_with(new);
        &mut own[endpoint.quota as usize]
    }
}

impl Places {
    /// None at all: every call waits in its turn.
    pub(super) fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), lane: None, held: AtomicU8::new(0) }
    }

    fn take(&self, endpoint: &Endpoint) -> Held {
        let bit = bit(endpoint.quota);
        if self.held.fetch_and(!bit, Ordering::Relaxed) & bit == 0 { Held::Nothing } else { self.kind(endpoint) }
    }

    /// What an exchange on this lane is given at `endpoint`.
    fn kind(&self, endpoint: &Endpoint) -> Held {
        let first = self.lane.as_ref().and_then(|lane| lane.endpoints().next());
        if first.as_ref() == Some(endpoint) { Held::Place } else { Held::Promise }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        let Some(lane) = self.lane.as_ref().filter(|_| held != 0) else { return };
        let mut counters = self.budget.counters();
        for endpoint in lane.endpoints().filter(|endpoint| held & bit(endpoint.quota) != 0) {
            let gate = counters.gate(&endpoint);
            if self.kind(&endpoint) == Held::Place { gate.give_back() } else { gate.expect_no_more() }
        }
    }
}

impl Sent {
    fn new(budget: &Arc<Budget>, endpoint: Endpoint) -> Self {
        let ticket = Ticket { budget: Arc::clone(budget), endpoint, departed: OnceLock::new() };
        Self { ticket: Arc::new(ticket), ended: None }
    }

    /// What is to be told when the call goes onto the wire.
    pub(super) fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// The call has ended like this.
    pub(super) fn ended(mut self, failure: Option<&Failure>) {
        self.ended = Some((failure.map(|failure| failure.class), failure.and_then(|failure| failure.retry_after)));
    }
}

impl Ticket {
    /// The call goes onto the wire now, if it has not before.
    pub(super) fn departs(&self) {
        self.departure(&mut self.budget.counters());
    }

    /// When it did; now, if it has not.
    fn departure(&self, counters: &mut Counters) -> Duration {
        *self.departed.get_or_init(|| {
            let now = self.budget.clock.now().boot;
            counters.gate(&self.endpoint).send(now);
            now
        })
    }
}

impl Drop for Sent {
    /// One that ends without having been sent counts all the same, from now on: somebody may have got a connection from us.
    fn drop(&mut self) {
        let (class, retry_after) = self.ended.unwrap_or((Some(Class::Unavailable), None));
        let ticket = &self.ticket;
        let counters = &mut *ticket.budget.counters();
        let departed = ticket.departure(counters);
        let now = ticket.budget.clock.now().boot;
        counters.gate(&ticket.endpoint).learn(departed, class, retry_after, now);
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.counters().gate(self.1).unqueue();
    }
}

fn bit(quota: Quota) -> u8 {
    1 << quota as u8
}
