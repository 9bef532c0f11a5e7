//! How many calls of each API are sent, and in whose favour.
//!
//! A new exchange books a place for every call that it will take before it begins ([`Budget::book`]), so that it need
//! not wait half-way, with its own time running and a place among the flights taken. What could not be foreseen, such
//! as a second try or an IdentityId that has become void, waits in a queue ([`Budget::send`]) and goes before whatever
//! is new.
//!
//! The rate limiters at hand (those of `tower` and `governor`) refill a bucket: after a quiet second they let through
//! nearly twice their rate within one, which AWS throttles. Hence the list of send times in [`gate`].

mod gate;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::upstream::lane::{Demand, Lane, Rank};
use crate::upstream::{Class, Failure, Flow};

use gate::{Caller, Gate};

/// `[upstream]`: the most calls of each API in any second.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What is left of the rates, now. One for the whole process: the quotas are the account's.
pub struct Budget {
    /// By [`Quota`].
    gates: Mutex<[Gate; QUOTAS]>,
    /// Those under way that wait for a place, each in its turn.
    queues: [tokio::sync::Mutex<()>; QUOTAS],
    clock: Clock,
}

/// The places of one exchange; those that it has not used go back when it ends.
pub(super) struct Places {
    budget: Arc<Budget>,
    /// A bit for each [`Quota`].
    held: AtomicU8,
}

/// A call that counts as sent. One that is dropped half-way, because its time is up, counts as unanswered.
#[must_use]
pub(super) struct Sent<'a> {
    budget: &'a Budget,
    quota: Quota,
    at: Duration,
    ended: Option<(Option<Class>, Option<Duration>)>,
}

/// One who waits in a queue.
struct Queued<'a>(&'a Budget, Quota);

const QUOTAS: usize = 5;

/// Who is under way and would have to wait for longer gives up: its own time runs, and callers wait.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Rates {
    /// In the order of [`Quota`].
    fn each(&self) -> [u32; 5] {
        [self.get_id, self.get_credentials_for_identity, self.get_open_id_token, self.assume_role, self.refresh_token]
    }
}

impl Budget {
    /// A budget of which nothing is used yet.
    pub fn new(rates: Rates, clock: Clock) -> Self {
        Self { gates: Mutex::new(rates.each().map(Gate::new)), queues: Default::default(), clock }
    }

    /// Puts other rates in force, for the calls to come: those of the last second count.
    pub fn change(&self, rates: Rates) {
        self.gates().iter_mut().zip(rates.each()).for_each(|(gate, limit)| gate.limit_to(limit));
    }

    /// Books a place for each call of an exchange on `lane`.
    ///
    /// # Errors
    /// With the boot time before which there is no room for all of them.
    pub(super) fn book(self: &Arc<Self>, lane: Lane, rank: Rank) -> Result<Places, Duration> {
        let caller = match rank {
            Rank::Foreground => Caller::Foreground,
            Rank::Background => Caller::Background,
        };
        let now = self.clock.now().boot;
        let mut gates = self.gates();
        let earliest = lane.quotas().iter().map(|quota| gates[*quota as usize].earliest(caller, now)).max();
        if let Some(later) = earliest.filter(|at| *at > now) {
            return Err(later);
        }
        let book = |held, quota: &Quota| {
            gates[*quota as usize].book(caller, now);
            held | bit(*quota)
        };
        let held = lane.quotas().iter().fold(0, book);
        Ok(Places { budget: Arc::clone(self), held: AtomicU8::new(held) })
    }

    /// Waits until a call may be sent, and counts it as sent: from one of `places`, or in its turn.
    ///
    /// # Errors
    /// With the time to wait, when that is longer than an exchange under way should.
    pub(super) async fn send(&self, quota: Quota, places: Option<&Places>) -> Result<Sent<'_>, Duration> {
        if places.is_some_and(|places| places.take(quota)) {
            return self.send_from_place(quota);
        }
        self.gates()[quota as usize].queue();
        let queued = Queued(self, quota);
        let _turn = self.queues[quota as usize].lock().await;
        loop {
            let now = self.clock.now().boot;
            let wait = {
                let mut gates = self.gates();
                let gate = &mut gates[quota as usize];
                let wait = gate.earliest(Caller::UnderWay, now).saturating_sub(now);
                if wait.is_zero() {
                    gate.book(Caller::UnderWay, now);
                    gate.send(now);
                }
                wait
            };
            if wait.is_zero() {
                drop(queued);
                return Ok(Sent { budget: self, quota, at: now, ended: None });
            }
            if wait > LONGEST_WAIT {
                return Err(wait);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A place does not outweigh a pause that AWS has asked for since.
    fn send_from_place(&self, quota: Quota) -> Result<Sent<'_>, Duration> {
        let now = self.clock.now().boot;
        let mut gates = self.gates();
        let gate = &mut gates[quota as usize];
        let pause = gate.pause(now);
        if !pause.is_zero() {
            gate.give_back();
            return Err(pause);
        }
        gate.send(now);
        drop(gates);
        Ok(Sent { budget: self, quota, at: now, ended: None })
    }

    /// Whether a call whose connection broke may be sent again at once; each success allows for half a one.
    pub(super) fn take_retry(&self, quota: Quota) -> bool {
        let now = self.clock.now().boot;
        self.gates()[quota as usize].take_retry(now)
    }

    /// The part of a lifetime that the budget takes to refresh all that use the APIs of `flow`.
    pub(super) fn crowding(&self, flow: Flow, demand: &Demand) -> f64 {
        let gates = self.gates();
        let of_quota = |quota: &Quota| {
            let users = Flow::ALL.iter().filter(|other| Lane::warm(**other).quotas().contains(quota));
            users.map(|other| demand.per_second(*other)).sum::<f64>() / gates[*quota as usize].rate()
        };
        Lane::warm(flow).quotas().iter().map(of_quota).fold(0.0, f64::max)
    }

    fn gates(&self) -> MutexGuard<'_, [Gate; QUOTAS]> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// None at all: every call waits in its turn.
    pub(super) fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), held: AtomicU8::new(0) }
    }

    fn take(&self, quota: Quota) -> bool {
        self.held.fetch_and(!bit(quota), Ordering::Relaxed) & bit(quota) != 0
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        if held == 0 {
            return;
        }
        let mut gates = self.budget.gates();
        let unused = gates.iter_mut().enumerate().filter(|(number, _)| held & (1 << number) != 0);
        unused.for_each(|(_, gate)| gate.give_back());
    }
}

impl Sent<'_> {
    /// The call has ended like this.
    pub(super) fn ended(mut self, failure: Option<&Failure>) {
        self.ended = Some((failure.map(|failure| failure.class), failure.and_then(|failure| failure.retry_after)));
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let (class, retry_after) = self.ended.unwrap_or((Some(Class::Unavailable), None));
        let now = self.budget.clock.now().boot;
        self.budget.gates()[self.quota as usize].learn(self.at, class, retry_after, now);
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.gates()[self.1 as usize].unqueue();
    }
}

fn bit(quota: Quota) -> u8 {
    1 << quota as u8
}
