//! Sessions are bounded in all and per user, and end when nobody asks; under paused time.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::broker::Opened;
use cupbearer::error::{Error, Kind};
use cupbearer::model::Ask;
use cupbearer::secret::CupToken;
use tokio::task::JoinSet;

use super::{CALL, LIMITS, SESSIONS, World};

async fn open(world: &World, subject: &str) -> Result<Opened, Error> {
    let ask = Ask { profile: "default".to_owned(), ..Ask::default() };
    // Longer than the longest idleness.
    let token = CupToken::new(&world.token(subject, 80_000));
    world.broker.open_session(token, ask, None).await
}

fn kind(opened: Result<Opened, Error>) -> Option<Kind> {
    opened.err().map(|error| error.kind())
}

/// Whether the session still answers; asking keeps it.
async fn lives(world: &World, session: &Opened) -> bool {
    let own = CupToken::new(secrecy::ExposeSecret::expose_secret(&session.authorization));
    match world.broker.enter_session(&session.id, &own) {
        Ok(entered) => world.broker.session_credentials(&entered, CALL).await.is_ok(),
        Err(error) => {
            assert_eq!(error.kind(), Kind::NotFound);
            false
        }
    }
}

fn count(world: &World) -> i64 {
    world.broker.observe();
    world.metrics.sessions.get()
}

#[tokio::test(start_paused = true)]
async fn there_are_only_so_many_in_all() {
    let world = World::new(LIMITS).await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS.all {
        // As many as one user may have, and then another one's.
        let subject = format!("user-{}", number / SESSIONS.per_subject);
        sessions.push((open(&world, &subject).await.unwrap(), subject));
    }
    assert_eq!(kind(open(&world, "user-0").await), Some(Kind::TooManyRequests), "one user's");
    assert_eq!(kind(open(&world, "newcomer").await), Some(Kind::TooManyRequests), "everybody's");
    assert_eq!(count(&world), SESSIONS.all as i64);
    assert!(lives(&world, &sessions[0].0).await, "those that there are go on");

    let (closed, subject) = sessions.swap_remove(0);
    let token = CupToken::new(&world.token(&subject, 600));
    world.broker.close_session(&token, &closed.id, false).await.unwrap();
    let newcomer = open(&world, "newcomer").await.unwrap();
    assert!(lives(&world, &newcomer).await, "a closed one makes room");
    assert_eq!(kind(open(&world, "another").await), Some(Kind::TooManyRequests));

    // Those whom nobody asks make room when it is needed, with no sweep.
    tokio::time::sleep(SESSIONS.idle - Duration::from_secs(1)).await;
    assert!(lives(&world, &newcomer).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    open(&world, "another").await.unwrap();
    assert_eq!(count(&world), 2, "the newcomer and another");
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_asks_ends_and_one_that_is_asked_lives_on() {
    let world = World::new(LIMITS).await;
    let broker = Arc::clone(&world.broker);
    let mut sweeping = JoinSet::new();
    sweeping.spawn(async move { broker.sweep_sessions().await });
    let (asked, idle) = (open(&world, "alice").await.unwrap(), open(&world, "alice").await.unwrap());
    let until_just_before = SESSIONS.idle - Duration::from_secs(1);
    tokio::time::sleep(until_just_before).await;
    assert!(lives(&world, &asked).await);
    assert_eq!(count(&world), 2, "neither has been idle for so long");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!lives(&world, &idle).await, "to the second");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&world), 1, "swept");
    for _ in 0..5 {
        assert!(lives(&world, &asked).await, "kept by being asked");
        tokio::time::sleep(until_just_before).await;
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(count(&world), 0);
    assert!(!lives(&world, &asked).await);
}
