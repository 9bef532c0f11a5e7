//! Sessions that carry a refresh token: signed in for as long as it lasts, and told why when it does not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cupbearer::broker::{ConfiguredSession, Grant, Opened, Selector};
use cupbearer::dev;
use cupbearer::error::{Error, Kind};
use cupbearer::model::Ask;
use cupbearer::secret::CupToken;
use cupbearer::secret_file::SecretFile;
use cupbearer::upstream::{AppClient, Class};
use futures::future::join_all;
use secrecy::ExposeSecret;

use super::pools::Mood;
use super::{LIMITS, SDK, SESSIONS, World};

const HOUR: Duration = Duration::from_secs(3_600);

fn default_ask() -> Ask {
    Ask { profile: "default".to_owned(), ..Ask::default() }
}

/// A session of alice's whose first token lives for so long.
async fn open(world: &World, seconds: u64) -> Opened {
    let token = CupToken::new(&world.token("alice", seconds));
    world.broker.open_session(token, default_ask(), Some("refresh-0".into())).await.unwrap()
}

async fn ask(world: &World, session: &Opened) -> Result<Grant, Error> {
    enter(world, &session.id, session.authorization.expose_secret()).await
}

async fn enter(world: &World, id: &str, own: &str) -> Result<Grant, Error> {
    let entered = world.broker.enter_session(id, &CupToken::new(own))?;
    world.broker.session_credentials(&entered, SDK).await
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_its_tokens() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 300).await;
    for _ in 0..48 {
        let grant = ask(&world, &session).await.unwrap();
        assert!(grant.credentials.expires.remaining(world.clock.now()) > Duration::from_secs(1_200), "kept fresh");
        tokio::time::sleep(HOUR / 2).await;
    }
    let trades = world.pools.trades();
    assert!((40..=62).contains(&trades), "about once in half a token's life, for a day: {trades}");
}

#[tokio::test(start_paused = true)]
async fn without_rotation_one_refresh_token_does() {
    let world = World::new(LIMITS).await;
    world.pools.rotates.store(false, Ordering::Relaxed);
    let session = open(&world, 3_600).await;
    for _ in 0..10 {
        ask(&world, &session).await.unwrap();
        tokio::time::sleep(HOUR / 2).await;
    }
    assert!(world.pools.trades() >= 8);
}

#[tokio::test(start_paused = true)]
async fn those_who_come_after_the_login_ended_wait_for_one_trade() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 600).await;
    ask(&world, &session).await.unwrap();
    world.pools.set(Mood::Says(Class::Unavailable, "ServiceUnavailable", "down"));
    tokio::time::sleep(Duration::from_secs(700)).await;
    let started = tokio::time::Instant::now();
    let late = ask(&world, &session).await;
    assert_eq!(late.unwrap_err().kind(), Kind::UpstreamUnavailable, "credentials are there, but nobody is signed in");
    assert_eq!(started.elapsed().as_millis(), 900, "held as any SDK is");
    world.pools.set(Mood::Well);
    // The longest pause is a minute, and a quarter for the spread.
    tokio::time::sleep(Duration::from_secs(80)).await;
    let trades = world.pools.trades();
    assert_eq!(trades, 1, "tried again by itself");
    let answers = join_all((0..50).map(|_| ask(&world, &session))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(world.pools.trades(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_ends_the_session_with_a_reason() {
    for (code, message, kind) in [
        ("RefreshTokenReuseException", "Refresh token reuse detected", Kind::SessionTokenReused),
        ("NotAuthorizedException", "Refresh Token has been revoked", Kind::SessionTokenRevoked),
        ("NotAuthorizedException", "Invalid Refresh Token.", Kind::SessionTokenRevoked),
        ("NotAuthorizedException", "Refresh Token has expired", Kind::SessionTokenExpired),
        ("UserNotFoundException", "User does not exist.", Kind::SessionTokenRevoked),
    ] {
        let world = World::new(LIMITS).await;
        let session = open(&world, 600).await;
        ask(&world, &session).await.unwrap();
        world.pools.set(Mood::Says(Class::Denied, code, message));
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert_eq!(ask(&world, &session).await.unwrap_err().kind(), kind, "{message}");
        let stranger = enter(&world, &session.id, "another token").await;
        assert_eq!(stranger.unwrap_err().kind(), Kind::Unauthorized, "nobody else is told");
        let token = CupToken::new(&world.token("alice", 600));
        assert_eq!(world.broker.close_session(&token, &session.id, false).await.unwrap_err().kind(), kind);
        assert_eq!(ask(&world, &session).await.unwrap_err().kind(), Kind::NotFound, "closed, and forgotten");
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_was_signed_out_everywhere_can_begin_anew() {
    let world = World::new(LIMITS).await;
    let own = SESSIONS.per_subject;
    let first = open(&world, 600).await;
    for _ in 1..own {
        open(&world, 600).await;
    }
    let refused = world.broker.open_session(CupToken::new(&world.token("alice", 600)), default_ask(), None).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::TooManyRequests);
    world.pools.set(Mood::Says(Class::Denied, "NotAuthorizedException", "Refresh Token has been revoked"));
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(ask(&world, &first).await.unwrap_err().kind(), Kind::SessionTokenRevoked);
    world.pools.set(Mood::Well);
    let anew = open(&world, 600).await;
    ask(&world, &anew).await.unwrap();
    assert_eq!(ask(&world, &first).await.unwrap_err().kind(), Kind::NotFound, "it has made room");
}

#[tokio::test(start_paused = true)]
async fn another_clock_costs_no_refresh_token() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 600).await;
    // A token from so far in the future is refused for two minutes, and good then.
    world.pools.ahead.store(420, Ordering::Relaxed);
    until("traded", async || world.pools.trades() == 1).await;
    until("signed in", async || {
        ask(&world, &session)
            .await
            .is_ok_and(|grant| grant.present_token_by.is_some_and(|by| by.remaining(world.clock.now()) > HOUR / 2))
    })
    .await;
    assert_eq!(world.pools.trades(), 1, "the token was kept");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_session_that_is_closed_meanwhile() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 600).await;
    world.pools.set(Mood::Says(Class::Unavailable, "ServiceUnavailable", "down"));
    tokio::time::sleep(Duration::from_secs(700)).await;
    let own = CupToken::new(&world.token("alice", 600));
    let close = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.broker.close_session(&own, &session.id, false).await.unwrap();
    };
    let (waited, ()) = tokio::join!(ask(&world, &session), close);
    assert_eq!(waited.unwrap_err().kind(), Kind::NotFound);
    world.pools.set(Mood::Well);
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.pools.trades(), 0, "nor does the broker renew it");
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_can_mend_ends_no_session() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 600).await;
    let message = "Client 1 is configured for secret but secret was not received";
    world.pools.set(Mood::Says(Class::Denied, "NotAuthorizedException", message));
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(ask(&world, &session).await.unwrap_err().kind(), Kind::UpstreamUnavailable);
    world.pools.set(Mood::Well);
    tokio::time::sleep(Duration::from_secs(80)).await;
    ask(&world, &session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_users_tokens_are_not_taken() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 600).await;
    *world.pools.subject.lock().unwrap() = "mallory".to_owned();
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(ask(&world, &session).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(world.script.calls(), 0, "nothing was asked in mallory's name");
}

#[tokio::test(start_paused = true)]
async fn the_credentials_of_one_who_comes_back_late_are_refreshed_with_the_newer_login() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 1_500).await;
    ask(&world, &session).await.unwrap();
    tokio::time::sleep(Duration::from_secs(45 * 60)).await;
    let calls = world.script.calls();
    assert_eq!(calls, 2, "once refreshed meanwhile, though the first login ended after 25 minutes");
    let grant = ask(&world, &session).await.unwrap();
    assert!(grant.decision.hit);
    assert!(grant.credentials.expires.remaining(world.clock.now()) > Duration::from_secs(2_260));
}

#[tokio::test(start_paused = true)]
async fn a_closed_sessions_refresh_token_is_revoked_when_asked_for() {
    let world = World::new(LIMITS).await;
    let token = || CupToken::new(&world.token("alice", 3_600));
    let (session, other) = (open(&world, 3_600).await, open(&world, 3_600).await);
    assert!(world.broker.close_session(&token(), &other.id, false).await.unwrap().is_none());
    assert!(world.pools.revoked.lock().unwrap().is_empty());
    world.pools.set(Mood::Says(Class::Unavailable, "ServiceUnavailable", "down"));
    let revoking = world.broker.close_session(&token(), &session.id, true).await.unwrap().unwrap();
    assert_eq!(ask(&world, &session).await.unwrap_err().kind(), Kind::NotFound, "closed at once");
    let mend = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        world.pools.set(Mood::Well);
    };
    tokio::join!(revoking.ended(), mend).0.unwrap();
    assert_eq!(*world.pools.revoked.lock().unwrap(), ["refresh-0"]);
    assert_eq!(ask(&world, &session).await.unwrap_err().kind(), Kind::NotFound);
    let plain = world.broker.open_session(token(), default_ask(), None).await.unwrap();
    let refused = world.broker.close_session(&token(), &plain.id, true).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::InvalidRequest, "it has none");
    ask(&world, &plain).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_newer_refresh_token_takes_over() {
    let world = World::new(LIMITS).await;
    let session = open(&world, 600).await;
    *world.pools.current.lock().unwrap() = "refresh-x".to_owned();
    let token = CupToken::new(&world.token("alice", 900));
    world.broker.update_session(token, &session.id, Some("refresh-x".into())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1_000)).await;
    ask(&world, &session).await.unwrap();
    world.broker.purge(Selector::All).await.unwrap();
    assert_eq!(ask(&world, &session).await.unwrap_err().kind(), Kind::NotFound);
}

fn configured(file: &std::path::Path) -> ConfiguredSession {
    ConfiguredSession {
        name: "batch".to_owned(),
        authorization: "0123456789abcdef".into(),
        ask: default_ask(),
        client: AppClient { user_pool: dev::USER_POOL_ID.into(), id: dev::CLIENT_ID.into() },
        refresh_token: SecretFile::new(file),
    }
}

/// Paused time stands still while a file is read or written.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_configured_session_signs_in_by_itself_and_writes_back_what_is_rotated() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("refresh");
    std::fs::write(&file, "refresh-0\n").unwrap();
    let world = World::with(LIMITS, vec![configured(&file)]).await;
    let served = async || enter(&world, "batch", "0123456789abcdef").await.is_ok();
    until("signed in", served).await;
    let read = || std::fs::read_to_string(&file).unwrap();
    assert_eq!(read(), "refresh-1");
    assert_eq!(enter(&world, "batch", "0123456789abcdeF").await.unwrap_err().kind(), Kind::Unauthorized);
    until("signed in again", async || read() == "refresh-2").await;
    until("served", served).await;

    world.pools.set(Mood::Says(Class::Denied, "NotAuthorizedException", "Refresh Token has been revoked"));
    let ended = async || {
        enter(&world, "batch", "0123456789abcdef").await.is_err_and(|error| error.kind() == Kind::SessionTokenRevoked)
    };
    until("ended", ended).await;
    world.pools.set(Mood::Well);
    *world.pools.current.lock().unwrap() = "refresh-new".to_owned();
    std::fs::write(&file, "refresh-new").unwrap();
    until("signed in with the new one", served).await;

    // One that somebody puts there goes before one that is good for longer.
    *world.pools.current.lock().unwrap() = "refresh-newer".to_owned();
    std::fs::write(&file, "refresh-newer").unwrap();
    let trades = world.pools.trades();
    until("traded", async || world.pools.trades() == trades + 1).await;
    until("served", served).await;
    world.broker.purge(Selector::All).await.unwrap();
    until("signed in after a purge", served).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_back_is_not_used() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("refresh");
    std::fs::write(&file, "refresh-0").unwrap();
    let world = World::with(LIMITS, vec![configured(&file)]).await;
    let served = async || enter(&world, "batch", "0123456789abcdef").await.is_ok();
    until("signed in", served).await;
    // What may keep a file from being written: here a directory where the new one is prepared.
    let in_the_way = place.path().join(".refresh.new");
    std::fs::create_dir_all(in_the_way.join("full")).unwrap();
    until("traded", async || world.pools.trades() == 2).await;
    tokio::time::sleep(HOUR).await;
    until("not used", async || !served().await).await;
    assert_eq!(world.pools.trades(), 2, "and not traded again");
    std::fs::remove_dir_all(&in_the_way).unwrap();
    until("used once it is written", served).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), *world.pools.current.lock().unwrap());

    // One that could never be written back is not even traded.
    std::fs::create_dir_all(in_the_way.join("full")).unwrap();
    let other = World::with(LIMITS, vec![configured(&file)]).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(other.pools.trades(), 0);
}
