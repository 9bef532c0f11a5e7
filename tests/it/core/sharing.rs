//! Whose credentials: two users never share, one user's entries are bounded, all entries are bounded.

use std::time::Duration;

use cupbearer::broker::{Limits, Selector};
use cupbearer::dev::{ADMIN_ROLE_ARN, EDITOR_ROLE_ARN, ISSUER};
use cupbearer::error::Kind;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{CALL, LIMITS, SDK, START, World, owner, token};

/// One thing that happens in a random life.
#[derive(Clone, Debug)]
enum Event {
    Ask { user: usize, role: usize, sdk: bool },
    Wait { seconds: u64 },
    Stumble { seconds: u64 },
}

const ROLES: [Option<&str>; 3] = [None, Some("admin"), Some("editor")];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..5_usize, 0..3_usize, any::<bool>()).prop_map(|(user, role, sdk)| Event::Ask { user, role, sdk }),
        2 => (0..2_000_u64).prop_map(|seconds| Event::Wait { seconds }),
        1 => (0..60_u64).prop_map(|seconds| Event::Stumble { seconds }),
    ]
}

/// Plays one life and checks, with every answer, whose it is and that it lives (in `World::ask`); the scripted AWS
/// checks that no key has two exchanges at once.
async fn live(events: Vec<Event>, tokens: &[String]) {
    let world = World::new(Limits { entries: 8, entries_per_subject: 2, ..LIMITS }).await;
    for event in events {
        match event {
            Event::Ask { user, role, sdk } => {
                let visit = if sdk { SDK } else { CALL };
                let wanted = ["-", ADMIN_ROLE_ARN, EDITOR_ROLE_ARN][role];
                match world.ask(&tokens[user], ROLES[role], visit).await {
                    Ok(grant) => assert_eq!(owner(&grant), format!("user-{user}|{wanted}")),
                    // Both of the user's entries may be under way to be refreshed, so that none can make room.
                    Err(error) => assert_eq!(error.kind(), Kind::TooManyRequests),
                }
            }
            Event::Wait { seconds } => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Event::Stumble { seconds } => {
                world.script.set(super::Mood::Fails(cupbearer::upstream::Class::Unavailable));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                world.script.set(super::Mood::Well);
                // What was refused meanwhile is forgotten by then.
                tokio::time::sleep(Duration::from_secs(61)).await;
            }
        }
        assert!(world.metrics.entries.get() <= 8);
    }
}

#[test]
fn two_users_never_share() {
    let tokens: Vec<_> = (0..5).map(|user| token(&format!("user-{user}"), START, 10_000_000)).collect();
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let lives = prop::collection::vec(event(), 1..60);
    runner
        .run(&lives, |events| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(live(events, &tokens));
            Ok(())
        })
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn claims_that_change_make_another_entry() {
    let world = World::new(LIMITS).await;
    let (old, new) = (world.token("alice", 3_600), world.token("alice", 3_601));
    world.ask(&old, None, SDK).await.unwrap();
    world.ask(&new, None, SDK).await.unwrap();
    assert_eq!(world.script.calls(), 1, "a newer token of the same rights shares the entry");
    let mut claims = super::EMULATOR.id_claims("alice", world.clock.now().wall).unwrap();
    claims["sub"] = "alice".into();
    claims["cognito:groups"] = serde_json::json!(["admin"]);
    let lesser = super::EMULATOR.sign(&claims).unwrap();
    world.ask(&lesser, None, SDK).await.unwrap();
    assert_eq!(world.script.calls(), 2, "a user who lost a group does not");
}

#[tokio::test(start_paused = true)]
async fn asking_for_ones_own_role_is_another_question() {
    let world = World::new(LIMITS).await;
    let token = world.token("alice", 3_600);
    let by_rule = world.ask(&token, None, SDK).await.unwrap();
    let by_name = world.ask(&token, Some("admin"), SDK).await.unwrap();
    assert_eq!((by_rule.credentials.role_arn.as_ref(), world.script.calls()), (None, 2), "a role is told, not guessed");
    assert_eq!(by_name.credentials.role_arn.as_ref().unwrap().as_str(), ADMIN_ROLE_ARN);
}

#[tokio::test(start_paused = true)]
async fn the_cold_go_first() {
    let world = World::new(Limits { entries: 20, ..LIMITS }).await;
    let tokens: Vec<_> = (0..100).map(|user| world.token(&format!("user-{user}"), 86_400)).collect();
    for token in &tokens {
        world.ask(token, None, CALL).await.unwrap();
        // User 0 is asked for all the time, and so never the coldest of a sample.
        world.ask(&tokens[0], None, CALL).await.unwrap();
    }
    assert_eq!(world.metrics.entries.get(), 20);
    assert_eq!(world.script.calls(), 100, "nobody hot was evicted");
}

#[tokio::test(start_paused = true)]
async fn one_user_cannot_fill_the_cache() {
    let world = World::new(Limits { entries_per_subject: 2, ..LIMITS }).await;
    let token = world.token("alice", 3_600);
    for role in ROLES {
        world.ask(&token, role, CALL).await.unwrap();
    }
    assert_eq!(world.metrics.entries.get(), 2);
    *world.script.delay.lock().unwrap() = Duration::from_secs(4);
    let bob = world.token("bob", 3_600);
    let asked = ROLES.map(|role| world.ask(&bob, role, CALL));
    let kinds = futures::future::join_all(asked).await.into_iter().map(|done| done.err().map(|error| error.kind()));
    assert_eq!(kinds.collect::<Vec<_>>(), [None, None, Some(Kind::TooManyRequests)]);
}

#[tokio::test(start_paused = true)]
async fn a_purge_drops_and_nothing_in_flight_puts_it_back() {
    let world = World::new(LIMITS).await;
    let (alice, bob) = (world.token("alice", 3_600), world.token("bob", 3_600));
    world.ask(&alice, None, SDK).await.unwrap();
    world.ask(&bob, None, SDK).await.unwrap();
    let subject = || Selector::Subject { issuer: ISSUER.to_owned(), subject: "alice".to_owned() };
    assert_eq!(world.broker.purge(subject()).await.unwrap(), 1);
    assert_eq!(world.metrics.entries.get(), 1, "bob's is left alone");
    assert_eq!(world.broker.purge(Selector::Client("another".to_owned())).await.unwrap(), 0);

    *world.script.delay.lock().unwrap() = Duration::from_millis(400);
    let asking = world.ask(&alice, None, SDK);
    let purging = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.broker.purge(subject()).await.unwrap()
    };
    let (asked, purged) = tokio::join!(asking, purging);
    assert_eq!(purged, 1);
    let calls = world.script.calls();
    assert_eq!(calls, 4, "the exchange that the purge overtook is void, and one who waits gets another");
    assert!(asked.unwrap().credentials.access_key_id.ends_with("|4"));

    assert_eq!(world.broker.purge(Selector::All).await.unwrap(), 2);
    assert_eq!(world.metrics.entries.get(), 0);
    world.ask(&bob, None, SDK).await.unwrap();
    assert_eq!(world.script.calls(), 5);
}
