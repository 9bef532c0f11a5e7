//! What one API's budget gives, to whom and when; no future and no clock.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::gate::{Caller, Gate, MOMENT};
use crate::upstream::Class;

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
fn calls(gate: &mut Gate, from: Duration, seconds: u64, mut answer: impl FnMut(Duration) -> Option<Class>) -> usize {
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

/// Those on their way here take no place, however long they are, and no more of them begin than will find one.
#[test]
fn who_is_expected_holds_up_those_behind_and_nobody_else() {
    let (mut gate, now) = (Gate::new(3), ms(5_000));
    for _ in 0..3 {
        assert_eq!(gate.earliest(Caller::Expected, now), now);
        gate.expect();
    }
    assert_eq!(gate.earliest(Caller::Expected, now), now + MOMENT);
    for _ in 0..3 {
        assert_eq!(call(&mut gate, Caller::Foreground, now), Ok(()));
    }
    assert_eq!(call(&mut gate, Caller::UnderWay, ms(5_900)), Err(ms(6_001)));
    gate.expect_no_more();
    assert_eq!(call(&mut gate, Caller::UnderWay, ms(6_001)), Ok(()), "one has come");
    assert_eq!(gate.earliest(Caller::Expected, ms(6_001)), ms(6_001));
}

/// While an API is down, one that only may come to it is no probe, and one that gave its place back was none.
#[test]
fn what_was_not_sent_was_no_probe() {
    let mut gate = Gate::new(20);
    for _ in 0..10 {
        gate.learn(ms(1_000), Some(Class::Unavailable), None, ms(1_000));
    }
    gate.expect();
    assert_eq!(gate.earliest(Caller::Expected, ms(1_500)), ms(1_500) + MOMENT);
    assert_eq!(gate.earliest(Caller::Background, ms(1_500)), ms(1_500));
    gate.book(Caller::Foreground, ms(1_500));
    assert_eq!(gate.earliest(Caller::Foreground, ms(1_600)), ms(2_500));
    gate.give_back();
    assert_eq!(gate.earliest(Caller::Foreground, ms(1_600)), ms(1_600));
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
    let mut paused = Gate::new(20);
    paused.learn(ms(1_000), Some(Class::Unavailable), Some(ms(7_000)), ms(1_000));
    assert!(!paused.take_retry(ms(7_999)) && paused.take_retry(ms(8_000)));
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

/// Most calls in any second, both of its ends included.
fn most_in_a_second(sent: &[Duration]) -> usize {
    let within = |number: usize| sent[number..].iter().filter(|at| **at <= sent[number] + ms(1_000)).count();
    (0..sent.len()).map(within).max().unwrap_or(0)
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
        prop_assert!(most_in_a_second(&sent) <= limit as usize);
    }

    /// A time that it names is a time at which there is room, if nothing happens meanwhile.
    #[test]
    fn what_it_promises_it_keeps(limit in 1_u32..12, waits in prop::collection::vec((0_u64..300, caller(), class()), 1..100)) {
        let mut gate = Gate::new(limit);
        let (mut now, mut sent) = (ms(1_000), Vec::new());
        for (wait, caller, class) in waits {
            now += ms(wait);
            if let Err(at) = call(&mut gate, caller, now) {
                prop_assert!(at > now);
                now = at;
                prop_assert_eq!(call(&mut gate, caller, now), Ok(()));
            }
            sent.push(now);
            gate.learn(now, class, None, now);
        }
        prop_assert!(most_in_a_second(&sent) <= limit as usize);
    }
}

#[test]
fn another_limit_counts_the_calls_of_the_last_second() {
    let mut gate = Gate::new(3);
    let (sent, now) = (Duration::from_secs(10), Duration::from_millis(10_500));
    for _ in 0..2 {
        gate.book(Caller::Foreground, sent);
        gate.send(sent);
    }
    assert_eq!(gate.earliest(Caller::Foreground, now), now);
    gate.limit_to(2);
    assert!(gate.earliest(Caller::Foreground, now) >= Duration::from_secs(11));
    assert_eq!(gate.rate(), 2.0);
    gate.limit_to(4);
    assert_eq!((gate.earliest(Caller::Foreground, now), gate.rate()), (now, 4.0));
}
