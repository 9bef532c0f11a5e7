//! One exchange per question, whoever asks, hangs up or fails.

use std::time::Duration;

use cupbearer::broker::{Limits, Visit};
use cupbearer::error::Kind;
use cupbearer::upstream::Class;
use futures::future::join_all;

use super::{CALL, LIMITS, Mood, SDK, World};

#[tokio::test(start_paused = true)]
async fn a_hundred_misses_make_one_exchange() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", 3_600);
    let answers = join_all((0..100).map(|_| world.ask(&token, None, SDK))).await;
    let keys: Vec<_> = answers.iter().map(|done| done.as_ref().unwrap().credentials.access_key_id.clone()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(world.script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_misses_share_one_failure() {
    for (class, kind) in [
        (Class::Denied, Kind::UpstreamDenied),
        (Class::Throttled, Kind::UpstreamUnavailable),
        (Class::Unavailable, Kind::UpstreamUnavailable),
        (Class::Invalid, Kind::UpstreamUnavailable),
    ] {
        let world = World::new(LIMITS).await;
        world.script.set(Mood::Fails(class));
        let token = world.token("alice", 3_600);
        let answers = join_all((0..100).map(|_| world.kind(&token, CALL))).await;
        assert!(answers.iter().all(|found| *found == Some(kind)), "{class:?}");
        assert_eq!(world.kind(&token, CALL).await, Some(kind), "the failure is remembered for a moment");
        assert_eq!(world.script.calls(), 1, "{class:?}");
        world.script.set(Mood::Well);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.kind(&token, CALL).await, None, "and forgotten after ten seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_outlives_its_caller() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", 3_600);
    let gone = tokio::time::timeout(Duration::from_millis(30), world.ask(&token, None, SDK)).await;
    assert!(gone.is_err(), "the caller hung up");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (took, done) = world.timed(&token, SDK).await;
    assert!(done.is_ok());
    assert_eq!(took, Duration::ZERO, "a hit");
    assert_eq!(world.script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_sdk_is_held_for_900_ms_and_its_retry_hits() {
    let world = World::new(LIMITS).await;
    *world.script.delay.lock().unwrap() = Duration::from_secs(3);
    let token = world.token("alice", 3_600);
    let (took, done) = world.timed(&token, SDK).await;
    assert_eq!(done.unwrap_err().kind(), Kind::UpstreamUnavailable);
    assert_eq!(took.as_millis(), 900);
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert_eq!(world.kind(&token, SDK).await, None);
    assert_eq!(world.script.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_instant_failure_is_held_for_sdks_only() {
    let world = World::new(LIMITS).await;
    *world.script.delay.lock().unwrap() = Duration::ZERO;
    world.script.set(Mood::Fails(Class::Unavailable));
    let token = world.token("alice", 3_600);
    let (took, done) = world.timed(&token, SDK).await;
    assert_eq!((took.as_millis(), done.unwrap_err().kind()), (900, Kind::UpstreamUnavailable));
    let (took, done) = world.timed(&token, CALL).await;
    assert_eq!((took.as_millis(), done.unwrap_err().kind()), (0, Kind::UpstreamUnavailable));

    world.script.set(Mood::Fails(Class::Denied));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (took, done) = world.timed(&token, SDK).await;
    assert_eq!((took.as_millis(), done.unwrap_err().kind()), (0, Kind::UpstreamDenied), "a refusal is final");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_hangs_ends_after_its_time() {
    let world = World::new(LIMITS).await;
    *world.script.delay.lock().unwrap() = Duration::from_secs(3_600);
    let token = world.token("alice", 3_600);
    let (took, done) = world.timed(&token, CALL).await;
    assert_eq!(done.unwrap_err().kind(), Kind::UpstreamUnavailable);
    assert_eq!(took.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_failure_and_no_end() {
    let world = World::new(LIMITS).await;
    world.script.set(Mood::Panics);
    let token = world.token("alice", 3_600);
    assert_eq!(world.kind(&token, CALL).await, Some(Kind::UpstreamUnavailable));
    assert_eq!(world.metrics.panics.get(), 1);
    world.script.set(Mood::Well);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.kind(&token, CALL).await, None);
    assert!(world.broker.waiting_for().is_empty(), "the refresher lives");
}

#[tokio::test(start_paused = true)]
async fn who_hung_up_drives_out_nothing_that_is_held() {
    let world = World::new(Limits { concurrency: 1, entries_per_subject: 2, ..LIMITS }).await;
    let alice = world.token("alice", 7_200);
    assert_eq!(world.kind(&alice, SDK).await, None);
    *world.script.delay.lock().unwrap() = Duration::from_secs(4);
    let bob = world.token("bob", 7_200);
    assert_eq!(world.kind(&bob, SDK).await, Some(Kind::UpstreamUnavailable), "his exchange takes a while");
    for role in ["admin", "editor", "admin"] {
        let visit = Visit { hold: Duration::from_millis(100), ..SDK };
        let held = world.ask(&alice, Some(role), visit).await;
        assert_eq!(held.unwrap_err().kind(), Kind::UpstreamUnavailable, "there is no room beside it");
    }
    let (took, done) = world.timed(&alice, SDK).await;
    assert!(done.is_ok() && took == Duration::ZERO, "what she holds is served");
}

#[tokio::test(start_paused = true)]
async fn exchanges_at_once_are_bounded() {
    let world = World::new(Limits { concurrency: 4, ..LIMITS }).await;
    let tokens: Vec<_> = (0..40).map(|number| world.token(&format!("user-{number}"), 3_600)).collect();
    let answers = join_all(tokens.iter().map(|token| world.kind(token, CALL))).await;
    assert!(answers.iter().all(Option::is_none));
    assert_eq!((world.script.calls(), world.script.most_at_once()), (40, 4));
}
