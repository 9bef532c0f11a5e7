//! One API's budget. Pure: the time and what happened in, "now" or "not before" out.
//!
//! The limit holds in every window of a second, and not on average only, since that is how AWS counts: the times of
//! the last calls are kept, and a call has to wait until there are fewer of them than the limit in the last second.

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
pub(super) const WINDOW: Duration = Duration::from_millis(1_001);

/// So many failures in a row mean that the API is down. With three calls in ten failing at random that happens once in
/// 170,000 calls.
const DOWN_AFTER: u32 = 10;

/// While an API is down it is called so often, by all together, to see whether it is up again.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// By so much a late timer may be made up for.
const SLACK: Duration = Duration::from_millis(20);

/// When to ask again if nothing says when a place becomes free.
const MOMENT: Duration = Duration::from_millis(20);

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

    /// A place is not needed after all.
    pub(super) fn give_back(&mut self) {
        self.booked = self.booked.saturating_sub(1);
    }

    /// A call is sent from its place. The window holds at any such time: calls and places together were fewer than the
    /// limit when the place was given, and have only become fewer since.
    pub(super) fn send(&mut self, now: Duration) {
        self.give_back();
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

    /// Calls a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Refreshes leave gaps, so that a caller never waits for more than one of them; and below the limit all do, since a
    /// burst would be throttled.
    fn keeps_distance(&self, caller: Caller) -> bool {
        caller == Caller::Background || self.rate < f64::from(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Asks, and calls at once if it may.
    fn call(gate: &mut Gate, caller: Caller, now: Duration) -> Result<(), Duration> {
        let at = gate.earliest(caller, now);
        if at > now {
            return Err(at);
        }
        gate.book(caller, now);
        gate.send(now);
        Ok(())
    }

    /// How many calls go through in `seconds`, when there is always one that wants to, each answered by `answer`.
    fn calls(
        gate: &mut Gate,
        from: Duration,
        seconds: u64,
        mut answer: impl FnMut(Duration) -> Option<Class>,
    ) -> usize {
        let (mut now, end, mut count) = (from, from + ms(seconds * 1_000), 0);
        while now < end {
            match call(gate, Caller::Background, now) {
                Ok(()) => {
                    count += 1;
                    let class = answer(now);
                    gate.learn(now, class, None, now);
                }
                Err(at) => now = at,
            }
        }
        count
    }

    #[test]
    fn a_caller_takes_the_whole_second_at_once_and_a_refresh_leaves_gaps() {
        let mut gate = Gate::new(5);
        for _ in 0..5 {
            assert_eq!(call(&mut gate, Caller::Foreground, ms(10_000)), Ok(()));
        }
        assert_eq!(call(&mut gate, Caller::Foreground, ms(10_000)), Err(ms(11_001)));
        assert_eq!(call(&mut gate, Caller::Foreground, ms(11_001)), Ok(()));

        let mut gate = Gate::new(5);
        assert_eq!(call(&mut gate, Caller::Background, ms(10_000)), Ok(()));
        assert_eq!(call(&mut gate, Caller::Background, ms(10_000)), Err(ms(10_180)));
        assert_eq!(call(&mut gate, Caller::Foreground, ms(10_000)), Ok(()));
    }

    #[test]
    fn a_place_counts_until_it_is_used_or_given_back() {
        let mut gate = Gate::new(1);
        gate.book(Caller::Foreground, ms(1_000));
        assert_eq!(gate.earliest(Caller::Foreground, ms(9_000)), ms(9_000) + MOMENT);
        gate.send(ms(9_000));
        assert_eq!(gate.earliest(Caller::Foreground, ms(9_000)), ms(10_001));
        gate.book(Caller::Foreground, ms(10_001));
        gate.give_back();
        assert_eq!(gate.earliest(Caller::Foreground, ms(10_001)), ms(10_001));
    }

    #[test]
    fn what_is_under_way_goes_before_what_is_new() {
        let mut gate = Gate::new(5);
        gate.queue();
        for caller in [Caller::Foreground, Caller::Background] {
            assert_eq!(gate.earliest(caller, ms(5_000)), ms(5_000) + MOMENT, "{caller:?}");
        }
        assert_eq!(gate.earliest(Caller::UnderWay, ms(5_000)), ms(5_000));
        gate.unqueue();
        assert_eq!(gate.earliest(Caller::Foreground, ms(5_000)), ms(5_000));
    }

    #[test]
    fn throttling_halves_once_for_all_that_were_sent_before() {
        let mut gate = Gate::new(20);
        for _ in 0..3 {
            gate.learn(ms(1_000), Some(Class::Throttled), None, ms(1_100));
        }
        assert_eq!(gate.rate(), 10.0);
        gate.learn(ms(1_100), Some(Class::Throttled), None, ms(1_300));
        assert_eq!(gate.rate(), 5.0);
        for _ in 0..9 {
            gate.learn(ms(9_000), Some(Class::Throttled), None, ms(9_000));
        }
        assert_eq!(gate.rate(), 1.0, "the floor");
        let mut small = Gate::new(1);
        for _ in 0..9 {
            small.learn(ms(9_000), Some(Class::Throttled), None, ms(9_000));
        }
        assert_eq!(small.rate(), 0.1, "the floor of a small limit");
    }

    #[test]
    fn successes_bring_the_rate_back_and_never_over_the_limit() {
        let mut gate = Gate::new(20);
        gate.learn(ms(1_000), Some(Class::Throttled), None, ms(1_000));
        let sent = calls(&mut gate, ms(1_000), 20, |_| None);
        assert!((220..=320).contains(&sent) && gate.rate() < 20.0, "{sent} at {}", gate.rate());
        calls(&mut gate, ms(21_000), 60, |_| None);
        assert_eq!(gate.rate(), 20.0);
    }

    /// AWS bears half of the limit: it counts calls by the second.
    #[test]
    fn a_halved_quota_is_found_with_one_refused_call_in_ten_at_most() {
        for limit in [2, 5, 20, 100] {
            let mut gate = Gate::new(limit);
            let (mut taken, mut refused) = (VecDeque::new(), 0);
            let sent = calls(&mut gate, ms(1_000), 600, |now| {
                taken.retain(|at: &Duration| *at + ms(1_000) > now);
                if taken.len() * 2 < limit as usize {
                    taken.push_back(now);
                    return None;
                }
                refused += 1;
                Some(Class::Throttled)
            });
            let per_success = sent as f64 / (sent - refused) as f64;
            assert!(per_success <= 1.10, "limit {limit}: {sent} calls, {refused} refused, {per_success:.3}");
            assert!(sent - refused >= 600 * limit as usize / 4, "limit {limit}: and at least half of it is used");
        }
    }

    #[test]
    fn a_pause_that_aws_asks_for_is_kept() {
        let mut gate = Gate::new(20);
        gate.learn(ms(1_000), Some(Class::Throttled), Some(ms(7_000)), ms(1_000));
        gate.learn(ms(1_000), None, Some(ms(2_000)), ms(1_000));
        for caller in [Caller::UnderWay, Caller::Foreground, Caller::Background] {
            assert_eq!(call(&mut gate, caller, ms(7_999)), Err(ms(8_000)), "{caller:?}");
        }
        assert_eq!(call(&mut gate, Caller::Background, ms(8_000)), Ok(()));
        assert!(!Gate { not_before: ms(9_000), ..Gate::new(1) }.take_retry(ms(8_000)));
    }

    #[test]
    fn an_api_that_is_down_is_probed_once_a_second_and_is_back_with_one_success() {
        let mut gate = Gate::new(20);
        let sent = calls(&mut gate, ms(1_000), 600, |_| Some(Class::Unavailable));
        assert!((600..=612).contains(&sent), "{sent}");
        assert!(!gate.take_retry(ms(700_000)));
        assert_eq!(calls(&mut gate, ms(700_000), 10, |_| None), 200, "at once at its limit again");
    }

    #[test]
    fn retries_run_out_and_successes_refill_them() {
        let mut gate = Gate::new(20);
        let taken = (0..100).filter(|_| gate.take_retry(ms(0))).count();
        assert_eq!(taken, 20);
        gate.learn(ms(0), None, None, ms(0));
        assert!(!gate.take_retry(ms(0)));
        gate.learn(ms(0), None, None, ms(0));
        assert!(gate.take_retry(ms(0)) && !gate.take_retry(ms(0)));
    }

    fn caller() -> impl Strategy<Value = Caller> {
        prop::sample::select(vec![Caller::UnderWay, Caller::Foreground, Caller::Background])
    }

    fn class() -> impl Strategy<Value = Option<Class>> {
        let classes = vec![Class::Denied, Class::Throttled, Class::Unavailable, Class::Invalid];
        prop::option::of(prop::sample::select(classes))
    }

    proptest! {
        /// Whoever asks, whatever is answered and however long a place is kept: no second has more calls than the limit.
        #[test]
        fn the_limit_holds_in_every_second(
            limit in 1_u32..12,
            steps in prop::collection::vec((0_u64..400, caller(), class(), 0_u64..3, any::<bool>()), 1..300),
        ) {
            let mut gate = Gate::new(limit);
            let (mut now, mut sent, mut kept) = (ms(1_000), Vec::new(), 0);
            for (wait, caller, class, most, used) in steps {
                now += ms(wait);
                for _ in 0..=most {
                    if gate.earliest(caller, now) <= now {
                        gate.book(caller, now);
                        kept += 1;
                    }
                }
                // Places are used at once or much later, and some never.
                if kept > 0 && wait % 3 != 0 {
                    kept -= 1;
                    if used {
                        gate.send(now);
                        sent.push(now);
                        gate.learn(now, class, None, now);
                    } else {
                        gate.give_back();
                    }
                }
            }
            for (number, first) in sent.iter().enumerate() {
                let within = sent[number..].iter().filter(|at| **at <= *first + ms(1_000)).count();
                prop_assert!(within <= limit as usize, "{within} calls in a second");
            }
        }

        /// A time that it names is a time at which there is room, if nothing happens meanwhile.
        #[test]
        fn what_it_promises_it_keeps(limit in 1_u32..12, waits in prop::collection::vec((0_u64..300, caller(), class()), 1..100)) {
            let mut gate = Gate::new(limit);
            let mut now = ms(1_000);
            for (wait, caller, class) in waits {
                now += ms(wait);
                if let Err(at) = call(&mut gate, caller, now) {
                    prop_assert!(at > now);
                    now = at;
                    prop_assert_eq!(call(&mut gate, caller, now), Ok(()));
                }
                gate.learn(now, class, None, now);
            }
        }
    }
}
