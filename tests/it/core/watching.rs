//! Watches: each renewal once, also when the entry is dropped under them, and an end with the token.

use std::collections::HashSet;
use std::time::Duration;

use cupbearer::broker::{Selector, Watch};
use cupbearer::error::Kind;
use cupbearer::model::Ask;
use cupbearer::secret::CupToken;

use super::{LIMITS, World};

const HOLD: Duration = Duration::from_secs(5);

async fn open(world: &World, token: &str) -> Watch {
    let ask = Ask { profile: "default".to_owned(), ..Ask::default() };
    Watch::open(&world.broker, CupToken::new(token), ask, HOLD).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_gives_each_renewal_once_until_the_token_ends() {
    let world = World::new(LIMITS).await;
    let mut watch = open(&world, &world.token("alice", 6 * 3_600)).await;
    let started = tokio::time::Instant::now();
    let mut seen = HashSet::new();
    let end = loop {
        match watch.next().await {
            Ok(grant) => assert!(seen.insert(grant.credentials.access_key_id.clone()), "twice"),
            Err(error) => break error,
        }
    };
    assert_eq!((end.kind(), started.elapsed().as_secs_f64().round() as u64), (Kind::Unauthorized, 6 * 3_600));
    assert_eq!(seen.len(), world.script.calls(), "none was missed");
    assert!((8..=14).contains(&seen.len()), "about every 36 minutes: {}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn a_watch_notices_that_its_entry_was_dropped() {
    let world = World::new(LIMITS).await;
    let mut watch = open(&world, &world.token("alice", 6 * 3_600)).await;
    let first = watch.next().await.unwrap();
    let purge = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.broker.purge(Selector::All).await.unwrap();
    };
    let started = tokio::time::Instant::now();
    let (next, ()) = tokio::join!(watch.next(), purge);
    assert_ne!(next.unwrap().credentials.access_key_id, first.credentials.access_key_id);
    assert!(started.elapsed() < Duration::from_secs(62), "at once, not when the old ones end");

    // A machine that slept: tokio's timers did not count, the credentials' clocks did.
    world.clock.suspend_ms(2 * 3_600_000);
    let started = tokio::time::Instant::now();
    watch.next().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn one_user_may_have_so_many_watches() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", 3_600);
    let mut watches = Vec::new();
    for _ in 0..32 {
        watches.push(open(&world, &token).await);
    }
    let ask = Ask { profile: "default".to_owned(), ..Ask::default() };
    let refused = Watch::open(&world.broker, CupToken::new(&token), ask, HOLD).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some(Kind::TooManyRequests));
    open(&world, &world.token("bob", 3_600)).await;
    watches.pop();
    open(&world, &token).await;
}
