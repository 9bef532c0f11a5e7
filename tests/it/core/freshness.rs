//! Renewed before it runs out, kept when AWS is down, never served when it is dead, let go when nobody needs it.

use std::time::Duration;

use cupbearer::error::Kind;
use cupbearer::upstream::Class;

use super::{CALL, LIMITS, Mood, SDK, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;

#[tokio::test(start_paused = true)]
async fn no_reader_waits_through_an_outage_in_a_day() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", 2 * DAY);
    assert_eq!(world.kind(&token, SDK).await, None);
    let mut least = Duration::MAX;
    for minute in 0..24 * 60 {
        tokio::time::sleep(MINUTE).await;
        let down = (600..610).contains(&minute);
        world.script.set(if down { Mood::Fails(Class::Unavailable) } else { Mood::Well });
        let (took, done) = world.timed(&token, SDK).await;
        assert_eq!(took, Duration::ZERO, "a reader waited in minute {minute}");
        least = least.min(done.unwrap().credentials.expires.remaining(world.clock.now()));
    }
    assert!(least >= Duration::from_secs(1_200), "a reply had only {least:?} left");
    let calls = world.script.calls();
    // Every 18 to 22 minutes, and up to 18 tries in the outage.
    assert!((64..=100).contains(&calls), "{calls} exchanges in a day");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_bridged_to_the_real_expiry_and_not_a_second_longer() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", DAY);
    world.ask(&token, None, SDK).await.unwrap();
    let born = tokio::time::Instant::now();
    world.script.set(Mood::Fails(Class::Unavailable));
    let mut served = 0;
    while world.kind(&token, CALL).await.is_none() {
        served += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(born.elapsed().as_secs(), 3_600);
    assert_eq!(served, 3_600);
    let calls = world.script.calls();
    assert!((30..90).contains(&calls), "{calls} tries in 40 minutes: a backoff with an end");
    world.script.set(Mood::Well);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(world.kind(&token, CALL).await, None);
}

#[tokio::test(start_paused = true)]
async fn either_clock_ends_credentials() {
    for what in ["the wall clock jumps", "the machine sleeps"] {
        let world = World::new(LIMITS).await;
        let token = world.token("alice", DAY);
        world.ask(&token, None, SDK).await.unwrap();
        world.script.set(Mood::Fails(Class::Unavailable));
        match what {
            "the wall clock jumps" => world.clock.step_wall_ms(3_600_000),
            _ => world.clock.suspend_ms(3_600_000),
        }
        assert_eq!(world.kind(&token, SDK).await, Some(Kind::UpstreamUnavailable), "{what}");
    }
    let world = World::new(LIMITS).await;
    let token = world.token("alice", DAY);
    world.ask(&token, None, SDK).await.unwrap();
    world.script.set(Mood::Fails(Class::Unavailable));
    world.clock.step_wall_ms(-3 * 3_600_000);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(world.kind(&token, SDK).await.is_some(), "a clock that was set back extends nothing");
}

#[tokio::test(start_paused = true)]
async fn short_lived_credentials_are_renewed_in_time_too() {
    let world = World::new(LIMITS).await;
    *world.script.lifetime.lock().unwrap() = Duration::from_secs(90);
    let token = world.token("alice", DAY);
    world.ask(&token, None, SDK).await.unwrap();
    for second in 0..1_000 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (took, done) = world.timed(&token, SDK).await;
        assert_eq!(took, Duration::ZERO, "second {second}");
        let grant = done.unwrap();
        assert!(grant.near_expiry, "under min_remaining, and told so");
        assert!(grant.credentials.expires.remaining(world.clock.now()) > Duration::from_secs(50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_call_costs_one_exchange_and_a_lone_sdk_two_an_hour() {
    let world = World::new(LIMITS).await;
    world.ask(&world.token("once", DAY), None, CALL).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6 * 3_600)).await;
    assert_eq!(world.script.calls(), 1);
    assert_eq!(world.metrics.entries.get(), 0, "let go and wiped");

    // It comes back when its credentials have 15 minutes left, as botocore does.
    let token = world.token("sdk", DAY);
    let mut grant = world.ask(&token, None, SDK).await.unwrap();
    let before = world.script.calls();
    for _ in 0..12 {
        let left = grant.credentials.expires.remaining(world.clock.now());
        tokio::time::sleep(left - 15 * MINUTE).await;
        let (took, done) = world.timed(&token, SDK).await;
        grant = done.unwrap();
        assert_eq!(took, Duration::ZERO);
        assert!(grant.credentials.expires.remaining(world.clock.now()) >= 20 * MINUTE);
    }
    let per_return = (world.script.calls() - before) as f64 / 12.0;
    assert!(per_return <= 2.0, "{per_return} exchanges for each time it came back");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_evicts_and_a_failure_does_not() {
    for (class, kind) in [(Class::Denied, Some(Kind::UpstreamDenied)), (Class::Throttled, None), (Class::Invalid, None)]
    {
        let world = World::new(LIMITS).await;
        let token = world.token("alice", DAY);
        world.ask(&token, None, SDK).await.unwrap();
        world.ask(&token, None, SDK).await.unwrap();
        world.script.set(Mood::Fails(class));
        while world.script.calls() < 2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.kind(&token, SDK).await, kind, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_login_is_used_and_the_last_refresh_is_late() {
    let world = World::new(LIMITS).await;
    let first = world.token("alice", 3_600);
    world.ask(&first, None, SDK).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    let second = world.token("alice", 3_600);
    world.ask(&second, None, SDK).await.unwrap();
    world.ask(&first, None, SDK).await.unwrap();
    tokio::time::sleep(15 * MINUTE).await;
    assert_eq!(*world.script.tokens.lock().unwrap(), [first.clone(), second.clone()], "the longer one was kept");

    // It goes on asking until its login ends.
    while world.kind(&second, SDK).await.is_none() {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(
        world.kind(&second, SDK).await,
        Some(Kind::Unauthorized),
        "an expired token gets nothing, cached or not"
    );
    let tokens = world.script.tokens.lock().unwrap().clone();
    assert!(tokens[1..].iter().all(|token| *token == second));
    let calls = world.script.calls();
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    assert_eq!(world.script.calls(), calls, "no exchange without a login");
    assert_eq!(world.metrics.entries.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_login_wakes_an_entry_whose_old_one_has_ended() {
    let world = World::new(LIMITS).await;
    let first = world.token("alice", 600);
    world.ask(&first, None, SDK).await.unwrap();
    // Nothing works until the login is over, and the entry is left without one.
    world.script.set(Mood::Fails(Class::Unavailable));
    tokio::time::sleep(Duration::from_secs(601)).await;
    world.script.set(Mood::Well);
    let second = world.token("alice", DAY);
    assert_eq!(world.kind(&second, SDK).await, None);
    let mut calls = world.script.calls();
    for _ in 0..6 {
        tokio::time::sleep(20 * MINUTE).await;
        let (took, done) = world.timed(&second, SDK).await;
        assert_eq!(took, Duration::ZERO);
        assert!(done.unwrap().credentials.expires.remaining(world.clock.now()) >= 20 * MINUTE);
        assert!(world.script.calls() >= calls);
        calls = world.script.calls();
    }
    assert!(calls >= 4, "it is refreshed again: {calls} exchanges");
}

#[tokio::test(start_paused = true)]
async fn who_fails_again_waits_for_longer() {
    let world = World::new(LIMITS).await;
    world.script.set(Mood::Fails(Class::Throttled));
    let token = world.token("alice", 3_600);
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(120) {
        world.kind(&token, CALL).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let calls = world.script.calls();
    assert!((12..=24).contains(&calls), "2, 4 and then 8 seconds apart: {calls} calls in two minutes");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_a_logins_last_minutes_evicts_nobody() {
    let world = World::new(LIMITS).await;
    let first = world.token("alice", 1_000);
    world.ask(&first, None, SDK).await.unwrap();
    world.ask(&first, None, SDK).await.unwrap();
    tokio::time::sleep(Duration::from_secs(699)).await;
    world.script.set(Mood::Fails(Class::Denied));
    while world.script.calls() < 2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.script.set(Mood::Well);
    let (took, done) = world.timed(&world.token("alice", 3_600), SDK).await;
    assert!(done.is_ok() && took == Duration::ZERO, "what is held is still good");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_lands_in_the_last_five_minutes_of_a_login() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", 3_600);
    let mut grant = world.ask(&token, None, SDK).await.unwrap();
    while let Ok(next) = world.ask(&token, None, SDK).await {
        grant = next;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let left = grant.credentials.expires.remaining(world.clock.now());
    assert!(left >= 54 * MINUTE, "the runway is as long as it can be: {left:?}");
    let calls = world.script.calls();
    assert!((4..=5).contains(&calls), "at 0, about 20, about 40, perhaps 54, and about 57 minutes: {calls}");
}

/// After a long outage the refresh comes late, and the one whom it is for a little later than the end of what it holds.
#[tokio::test(start_paused = true)]
async fn what_was_refreshed_a_minute_ago_waits_for_an_sdk_that_comes_back_late() {
    let world = World::new(LIMITS).await;
    let token = world.token("sdk", DAY);
    world.ask(&token, None, SDK).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    world.script.set(Mood::Fails(Class::Unavailable));
    tokio::time::sleep(46 * MINUTE).await;
    world.script.set(Mood::Well);
    let tries = world.script.calls();
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(world.script.calls(), tries + 1, "refreshed four minutes before the end");
    let (took, done) = world.timed(&token, SDK).await;
    let left = done.unwrap().credentials.expires.remaining(world.clock.now());
    assert!(took == Duration::ZERO && left >= 50 * MINUTE, "{took:?}, {left:?}");

    // Nobody comes any more: what was asked for is refreshed once, what came of that is kept for a while, and never more.
    tokio::time::sleep(3 * 60 * MINUTE).await;
    assert_eq!((world.script.calls(), world.metrics.entries.get()), (tries + 2, 0));
}
