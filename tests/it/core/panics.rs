//! The refresher falls and gets up: what is cached is served meanwhile, readiness says so, nobody waits for ever.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cupbearer::error::Kind;

use super::{CALL, LIMITS, SDK, World};

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_loop_costs_one_key_and_less_than_a_second() {
    let world = World::new(LIMITS).await;
    let (alice, bob, carol) = (world.token("alice", 7_200), world.token("bob", 7_200), world.token("carol", 7_200));
    world.ask(&alice, None, SDK).await.unwrap();
    assert!(world.broker.waiting_for().is_empty());

    // An exchange that is under way lands when the loop is up again.
    *world.script.delay.lock().unwrap() = Duration::from_millis(200);
    let carols = world.timed(&carol, CALL);
    let bobs = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.script.trips_the_loop.store(true, Ordering::Relaxed);
        let (took, done) = world.timed(&bob, CALL).await;
        assert_eq!((took, done.unwrap_err().kind()), (Duration::ZERO, Kind::UpstreamUnavailable), "told to ask again");
        assert_eq!(world.broker.waiting_for(), ["refresher"]);
        assert_eq!(world.metrics.panics.get(), 1);
        let (took, done) = world.timed(&alice, SDK).await;
        assert!(done.is_ok() && took == Duration::ZERO, "what is cached is served");
        let (took, done) = world.timed(&bob, CALL).await;
        assert!(done.is_ok() && took < Duration::from_secs(1), "asked again he waits until it is up: {took:?}");
    };
    let ((took, done), ()) = tokio::join!(carols, bobs);
    assert!(done.is_ok() && took < Duration::from_secs(1), "{took:?}");
    assert!(world.broker.waiting_for().is_empty());
    assert_eq!((world.script.calls(), world.metrics.entries.get()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn what_falls_with_a_refresh_is_one_entry_that_is_had_again() {
    let world = World::new(LIMITS).await;
    let tokens: Vec<_> = (0..20).map(|user| world.token(&format!("user-{user}"), 86_400)).collect();
    for token in tokens.iter().chain(&tokens) {
        world.ask(token, None, SDK).await.unwrap();
    }
    world.script.trips_the_loop.store(true, Ordering::Relaxed);
    while world.metrics.panics.get() == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.metrics.entries.get(), 19);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut misses = 0;
    for token in &tokens {
        let (took, done) = world.timed(token, SDK).await;
        assert!(done.is_ok());
        misses += usize::from(took > Duration::ZERO);
    }
    assert_eq!(misses, 1);
    // And everybody is refreshed as before.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(600)).await;
        for token in &tokens {
            let (took, done) = world.timed(token, SDK).await;
            assert!(done.is_ok() && took == Duration::ZERO);
        }
    }
    assert_eq!(world.metrics.panics.get(), 1);
}
