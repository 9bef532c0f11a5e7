//! One API's budget. Pure: the time and what happened in, "now" or "not before" out.
//!
//! The limit holds in every window of a second, and not on average only, since that is how AWS counts: the times of
//! the last calls are kept, and a call has to wait until there are fewer of them than the limit in the last second.
//! A call counts from when it has a place until a second after it was sent, whenever that is.

use std::collections::VecDeque;
use std::time::Duration;

use crate::upstream::Class;

/// Who wants to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// An exchange that is under way already.
    UnderWay,
    /// A new exchange that somebody waits for.
    Foreground,
    /// A new exchange that nobody waits for.
    Background,
    /// A new exchange that comes to this API later, after a call of another one.
    Expected,
}

/// The state of one API's budget.
#[derive(Debug)]
pub(super) struct Gate {
    limit: u32,
    /// Calls a second that AWS seems to bear: the limit, until it says otherwise.
    rate: f64,
    /// When the calls of the last second were sent.
    sent: VecDeque<Duration>,
    /// Calls that have a place and are not sent yet.
    booked: u32,
    /// Exchanges under way that have not come to this API yet. They have no place: how long they take to come is another
    /// API's matter. No more of them begin than there would be places.
    expected: u32,
    /// Exchanges under way that wait for a place.
    waiting: u32,
    /// When the next call that has to keep its distance may be sent.
    paced: Duration,
    /// When the last place was given.
    last: Option<Duration>,
    /// AWS wants no call before this.
    not_before: Duration,
    /// When the rate was last lowered.
    lowered: Duration,
    /// Failures in a row.
    failures: u32,
    /// How many calls may still be sent again at once.
    retries: f64,
}

/// A second, and what timers round off.
const WINDOW: Duration = Duration::from_millis(1_001);

/// So many failures in a row mean that the API is down. With three calls in ten failing at random that happens once in
/// 170,000 calls.
const DOWN_AFTER: u32 = 10;

/// While an API is down it is called so often, by all together, to see whether it is up again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// By so much a late timer may be made up for.
const SLACK: Duration = Duration::from_millis(20);

/// When to ask again if nothing says when a place becomes free.
pub(super) const MOMENT: Duration = Duration::from_millis(20);

/// From half the limit to all of it in so many seconds of calls, if all are answered.
const GROWTH_SECONDS: f64 = 30.0;

/// Calls that may be sent again at once, at most, and what part of one a success gives back: as long as fewer than
/// about four calls in ten break, the store does not run out; when all do, it is soon empty.
const RETRIES: f64 = 20.0;
const RETRY_REFILL: f64 = 0.75;

impl Gate {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            rate: f64::from(limit),
            sent: VecDeque::new(),
            booked: 0,
            expected: 0,
            waiting: 0,
            paced: Duration::ZERO,
            last: None,
            not_before: Duration::ZERO,
            lowered: Duration::ZERO,
            failures: 0,
            retries: RETRIES,
        }
    }

    /// When `caller` may have a place: now, or the time at which it is worth asking again.
    pub(super) fn earliest(&mut self, caller: Caller, now: Duration) -> Duration {
        while self.sent.front().is_some_and(|sent| *sent + WINDOW <= now) {
            self.sent.pop_front();
        }
        let mut at = now.max(self.not_before);
        if self.keeps_distance(caller) {
            at = at.max(self.paced);
        }
        if let Some(last) = self.last.filter(|_| self.is_down()) {
            at = at.max(last + PROBE_PAUSE);
        }
        if caller == Caller::Expected && self.expected >= self.most_expected() {
            at = at.max(now + MOMENT);
        }
        if self.sent.len() + self.booked as usize >= self.limit as usize {
            at = at.max(self.sent.front().map_or(now + MOMENT, |oldest| *oldest + WINDOW));
        }
        if self.waiting > 0 && caller != Caller::UnderWay {
            at = at.max(now + MOMENT);
        }
        at
    }

    /// Gives `caller` a place, which [`Gate::earliest`] has said is free.
    pub(super) fn book(&mut self, caller: Caller, now: Duration) {
        self.booked += 1;
        self.last = Some(now);
        if self.keeps_distance(caller) {
            self.paced = self.paced.max(now.saturating_sub(SLACK)) + Duration::from_secs_f64(1.0 / self.rate);
        }
    }

    /// A place is not needed after all; nor was it a probe, should the API be down.
    pub(super) fn give_back(&mut self) {
        self.booked = self.booked.saturating_sub(1);
        self.last = None;
    }

    /// An exchange begins that will come here.
    pub(super) fn expect(&mut self) {
        self.expected += 1;
    }

    /// It has come, to ask for a place, or will not come any more.
    pub(super) fn expect_no_more(&mut self) {
        self.expected = self.expected.saturating_sub(1);
    }

    /// A call is sent from its place. The window holds at any such time: calls and places together were fewer than the
    /// limit when the place was given, and have only become fewer since.
    pub(super) fn send(&mut self, now: Duration) {
        self.booked = self.booked.saturating_sub(1);
        self.sent.push_back(now);
    }

    /// How long AWS wants no call.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        self.not_before.saturating_sub(now)
    }

    /// An exchange under way begins to wait for a place: no new one begins until it has it.
    pub(super) fn queue(&mut self) {
        self.waiting += 1;
    }

    /// It has it, or has given up.
    pub(super) fn unqueue(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// What came of a call that was sent at `sent`; no class means success.
    pub(super) fn learn(&mut self, sent: Duration, class: Option<Class>, retry_after: Option<Duration>, now: Duration) {
        if let Some(pause) = retry_after {
            self.not_before = self.not_before.max(now + pause);
        }
        match class {
            None | Some(Class::Denied) => {
                self.failures = 0;
                self.retries = (self.retries + RETRY_REFILL).min(RETRIES);
                let limit = f64::from(self.limit);
                self.rate = (self.rate + limit / (2.0 * GROWTH_SECONDS * self.rate)).min(limit);
            }
            Some(Class::Throttled) => {
                self.failures = 0;
                self.slow_down(sent, now);
            }
            Some(Class::Unavailable | Class::Invalid) => self.failures = self.failures.saturating_add(1),
        }
    }

    /// Halves the rate, once for all calls that were sent at the old one.
    fn slow_down(&mut self, sent: Duration, now: Duration) {
        if sent < self.lowered {
            return;
        }
        self.lowered = now;
        self.rate = (self.rate / 2.0).max(f64::from(self.limit).min(10.0) / 10.0);
        self.paced = now + Duration::from_secs_f64(1.0 / self.rate);
    }

    /// Takes one of the calls that may be sent again at once, if there is one.
    pub(super) fn take_retry(&mut self, now: Duration) -> bool {
        let may = self.retries >= 1.0 && !self.is_down() && self.not_before <= now;
        if may {
            self.retries -= 1.0;
        }
        may
    }

    pub(super) fn is_down(&self) -> bool {
        self.failures >= DOWN_AFTER
    }

    /// Another limit. A rate that AWS has lowered stays, as far as the limit allows it.
    pub(super) fn limit_to(&mut self, limit: u32) {
        let free = self.rate >= f64::from(self.limit);
        self.rate = if free { f64::from(limit) } else { self.rate.min(f64::from(limit)) };
        self.limit = limit;
    }

    /// Calls a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// As many as will find a place within a second of their coming.
    fn most_expected(&self) -> u32 {
        if self.is_down() { 1 } else { self.rate.ceil() as u32 }
    }

    /// Refreshes leave gaps, so that a caller never waits for more than one of them; and below the limit all do, since a
    /// burst would be throttled.
    fn keeps_distance(&self, caller: Caller) -> bool {
        caller == Caller::Background || self.rate < f64::from(self.limit)
    }
}
