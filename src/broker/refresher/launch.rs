//! How an exchange begins: when there is room among the flights and in the budget, for callers first.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::Refresher;
use super::land::{Landing, answer, ours};
use crate::broker::entries::Stage;
use crate::broker::key::Key;
use crate::broker::queue::Place;
use crate::clock::Moment;
use crate::error::{Error, Kind};
use crate::metrics::{Operation, Result as Outcome};
use crate::model::Credentials;
use crate::trace;
use crate::upstream::{Failure, Flight, Flow, Lane, Rank};

/// What became of an attempt to begin an exchange.
enum Start {
    /// It began, or its place in the queue is void.
    Settled,
    /// There is no room before this.
    NotBefore(Duration),
}

impl Refresher {
    /// Puts an entry, for which somebody waits, into the queue.
    pub(super) fn queue_foreground(&mut self, key: Key) {
        let now = self.clock.now();
        let exchange = self.exchange();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(order) = entry.order(now) else { return self.refuse_without_login(key) };
        entry.stage = Stage::Queued(Rank::Foreground);
        let (subject, again) = (entry.wanted.subject, entry.look_again(Rank::Foreground, now));
        let lane = exchange.lane(&order);
        self.queue.push_foreground(lane, subject, Place { due: now.boot, key });
        self.entries.look_at(key, again);
    }

    /// Puts an entry, for which a refresh is due since `due` by what was seen at `now`, into the queue.
    pub(super) fn queue_background(&mut self, key: Key, due: Duration, now: Moment) {
        let exchange = self.exchange();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let end = entry.end(now);
        // The schedule has looked at the login, at the same time: there is one. Should there be none, the end comes.
        let Some(order) = entry.order(now) else { return self.entries.look_at(key, end) };
        entry.stage = Stage::Queued(Rank::Background);
        let lane = exchange.lane(&order);
        self.queue.push_background(lane, end, Place { due, key });
        self.entries.look_at(key, end);
    }

    /// Begins whatever there is room for.
    pub(super) fn launch(&mut self) {
        self.next_launch = None;
        self.drop_void_places();
        for rank in [Rank::Foreground, Rank::Background] {
            let mut closed = Vec::new();
            while self.flights.len() < self.most_flights(rank)
                && let Some((line, place)) = self.queue.next(rank, &closed)
            {
                match self.start(rank, &line, place) {
                    Start::Settled => {}
                    Start::NotBefore(at) => {
                        closed.push(line);
                        self.next_launch = Some(self.next_launch.map_or(at, |other| other.min(at)));
                    }
                }
            }
        }
    }

    /// While the budget has no room nothing is taken out of the queue, and who was given up or moved up leaves a place that
    /// is void: in a long outage more and more of them.
    fn drop_void_places(&mut self) {
        if self.queue.len() > self.entries.most_items() {
            self.queue.retain(|rank, key| self.entries.is_queued(key, rank));
        }
    }

    /// Refreshes leave a quarter of the flights to callers: they must not have to wait for an API that hangs.
    fn most_flights(&self, rank: Rank) -> usize {
        let all = self.limits.concurrency;
        match rank {
            Rank::Foreground => all,
            Rank::Background => all - all / 4,
        }
    }

    fn start(&mut self, rank: Rank, line: &Lane, place: Place) -> Start {
        let Place { key, due } = place;
        self.handling = Some(key);
        let now = self.clock.now();
        // The clients are those of the rulebook that confirms it: another one may need others.
        let rulebook = self.rulebook.load_full();
        // One that is not has left the entries, and has no place in the queue any more.
        self.is_confirmed(&key, &rulebook);
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Queued(rank)) else {
            self.queue.pop(rank, line);
            return Start::Settled;
        };
        let Some(order) = entry.order(now) else {
            self.queue.pop(rank, line);
            self.refuse_without_login(key);
            return Start::Settled;
        };
        let (lane, flow) = (rulebook.exchange.lane(&order), order.target.flow);
        if lane != *line {
            // Another exchange of the same user has found the IdentityId meanwhile, or found that it is void.
            self.queue.pop(rank, line);
            match rank {
                Rank::Foreground => self.queue.push_foreground(lane, entry.wanted.subject, place),
                Rank::Background => self.queue.push_background(lane, entry.end(now), place),
            }
            return Start::Settled;
        }
        match Arc::clone(&rulebook.exchange).begin(order, rank) {
            Err(at) => return Start::NotBefore(at),
            Ok(flight) => {
                let cause = std::mem::take(&mut entry.cause);
                let name = if cause.is_none() { "refresh" } else { "exchange" };
                let flight = trace::caused(cause, name, flow.as_str(), flight, outcome);
                // In flight once it is among the flights, not before: a panic in between would leave an entry that waits
                // for a landing for ever. Until then it is queued, and goes with the panic; its place is void then.
                self.fly(key, flow, flight);
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.stage = Stage::InFlight;
                }
                self.queue.pop(rank, line);
                self.metrics.lagged(now.boot.saturating_sub(due));
            }
        }
        Start::Settled
    }

    fn fly(&self, key: Key, flow: Flow, flight: Flight) {
        let timeout = self.limits.exchange_timeout;
        let metrics = Arc::clone(&self.metrics);
        let launched = self.purges;
        let last_call = last_call(flow);
        self.flights.push(Box::pin(async move {
            let flight = AssertUnwindSafe(flight).catch_unwind();
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

    fn refuse_without_login(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let error = Error::new(Kind::Unauthorized, "the token expired before it could be exchanged");
        answer(entry, &Err(error));
        entry.stage = Stage::Idle;
        self.consider(key, self.clock.now().boot);
    }
}

/// How an exchange went, for its trace.
fn outcome(done: &Result<Credentials, Failure>) -> (&'static str, bool) {
    match done {
        Ok(_) => ("ok", false),
        Err(failure) => (Outcome::from(failure.class).as_str(), true),
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
