//! Reloads under the core: what a shared entry cannot tell, and what a limit drops.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::auth::FetchKeys;
use cupbearer::broker::{Config, Limits, Opened, SessionLimits, Watch};
use cupbearer::dev;
use cupbearer::error::Kind;
use cupbearer::model::{Ask, RoleArn};
use cupbearer::roles::{Mapping, MatchType, Rule};
use cupbearer::secret::CupToken;
use cupbearer::upstream::{Exchange, Flow, Target};
use futures::FutureExt;
use secrecy::ExposeSecret;

use super::{CALL, EMULATOR, Keys, LIMITS, SDK, World, auth_config, broker_config};

/// The flow in which AWS never sees a token: users with different claims share an entry if their role is the same.
fn by_levels(levels: &[&str]) -> Config {
    let mut config = broker_config(LIMITS);
    let profile = config.profiles.get_mut("default").unwrap();
    let rule = |level: &&str| Rule {
        claim: "custom:level".to_owned(),
        match_type: MatchType::Equals,
        value: (*level).to_owned(),
        role: RoleArn::new(dev::EDITOR_ROLE_ARN),
    };
    profile.rules.mapping = Mapping::Rules(levels.iter().map(rule).collect());
    profile.target =
        Arc::new(Target { flow: Flow::AssumeRole, identity_pool_id: "".into(), ..(*profile.target).clone() });
    profile.allow_unauthenticated = false;
    config
}

async fn reload(world: &World, config: Config) {
    let fetcher: Arc<dyn FetchKeys> = Arc::new(Keys);
    let start = |keepers: Vec<_>| assert!(keepers.is_empty(), "the user pool's keys are kept");
    world.broker.reload(auth_config(), config, &fetcher, None, start).await;
}

fn token(world: &World, level: &str, seconds: u64) -> String {
    let now = world.clock.now().wall;
    let mut claims = EMULATOR.id_claims("alice", now).unwrap();
    claims["custom:level"] = level.into();
    claims["exp"] = (cupbearer::clock::epoch_seconds(now) + seconds).into();
    EMULATOR.sign(&claims).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_decided_again_though_its_entry_stays_for_another_token() {
    let world = World::new(LIMITS).await;
    reload(&world, by_levels(&["junior", "senior"])).await;
    let ask = Ask { profile: "default".to_owned(), ..Ask::default() };
    let junior = CupToken::new(&token(&world, "junior", 3_600));
    let mut watch = Watch::open(&world.broker, junior, ask, Duration::from_secs(5)).await.unwrap();
    watch.next().await.unwrap();
    let senior = token(&world, "senior", 7_200);
    world.ask(&senior, None, SDK).await.unwrap();
    assert_eq!(world.script.calls(), 1, "one entry for both");

    let reloading = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reload(&world, by_levels(&["senior"])).await;
        tokio::time::Instant::now()
    };
    let (ended, reloaded) = tokio::join!(watch.next(), reloading);
    assert_eq!(ended.unwrap_err().kind(), Kind::RoleNotAllowed);
    assert!(reloaded.elapsed() < Duration::from_secs(1), "{:?} after the reload", reloaded.elapsed());
    world.ask(&senior, None, CALL).await.unwrap();
    assert_eq!(world.script.calls(), 1, "the other one's is still there");
}

#[tokio::test(start_paused = true)]
async fn what_is_warm_stays_though_its_login_has_ended_and_the_next_one_decides() {
    let world = World::new(LIMITS).await;
    reload(&world, by_levels(&["junior", "senior"])).await;
    world.ask(&token(&world, "senior", 60), None, SDK).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    reload(&world, by_levels(&["senior"])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.metrics.entries.get(), 1, "nobody can tell any more whose rule it was");
    let junior = token(&world, "junior", 7_200);
    assert_eq!(world.kind(&junior, CALL).await, Some(Kind::RoleNotAllowed));
    let senior = token(&world, "senior", 7_200);
    assert!(world.ask(&senior, None, SDK).await.unwrap().decision.hit, "still warm");
    tokio::time::sleep(Duration::from_secs(1_800)).await;
    world.ask(&senior, None, SDK).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.script.tokens.lock().unwrap().last(), Some(&senior), "and refreshed with the newer login");

    let mut config = by_levels(&["senior"]);
    config.profiles.get_mut("default").unwrap().user_pools.clear();
    reload(&world, config).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.metrics.entries.get(), 0, "what needs no login to be seen is seen at once");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_is_no_longer_accepted_is_not_kept() {
    let world = World::new(LIMITS).await;
    let ask = Ask { profile: "default".to_owned(), ..Ask::default() };
    let open = async |user: &str, refresh_token: Option<&str>| {
        let token = CupToken::new(&world.token(user, 3_600));
        world.broker.open_session(token, ask.clone(), refresh_token.map(Into::into)).await.unwrap()
    };
    let (plain, renewed) = (open("plain", None).await, open("renewed", Some("a-refresh-token")).await);
    let enter = |session: &Opened| {
        let own = CupToken::new(session.authorization.expose_secret());
        world.broker.enter_session(&session.id, &own).err().map(|error| error.kind())
    };
    assert_eq!((enter(&plain), enter(&renewed)), (None, None));
    let config = broker_config(LIMITS);
    let sessions = SessionLimits { accept_refresh_tokens: false, ..config.sessions };
    reload(&world, Config { sessions, ..config }).await;
    assert_eq!((enter(&plain), enter(&renewed)), (None, Some(Kind::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn more_entries_than_a_new_limit_allows_are_dropped_the_coldest_first() {
    let world = World::new(LIMITS).await;
    for number in 0..300 {
        world.ask(&world.token(&format!("user-{number}"), 3_600), None, CALL).await.unwrap();
    }
    let last = world.token("last", 3_600);
    world.ask(&last, None, CALL).await.unwrap();
    reload(&world, broker_config(Limits { entries: 20, ..LIMITS })).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.metrics.entries.get(), 20);
    let calls = world.script.calls();
    world.ask(&last, None, CALL).await.unwrap();
    assert_eq!(world.script.calls(), calls, "the last one asked for was not among the coldest");
    world.ask(&world.token("next", 3_600), None, CALL).await.unwrap();
    assert_eq!(world.metrics.entries.get(), 20, "and the limit holds");
}

/// Between the swap of the rulebook and the refresher's hearing of it, a question may come that only the new clients can
/// answer.
#[tokio::test(start_paused = true)]
async fn what_the_new_rulebook_allows_is_had_by_the_new_way_to_aws() {
    let world = World::new(LIMITS).await;
    let other = World::new(LIMITS).await;
    let mut config = broker_config(LIMITS);
    let profile = config.profiles.get_mut("default").unwrap();
    let pool = "eu-west-1:11111111-2222-3333-4444-555555555555".into();
    profile.target = Arc::new(Target { identity_pool_id: pool, ..(*profile.target).clone() });
    let token = world.token("alice", 3_600);
    assert_eq!(world.kind(&token, CALL).await, None);

    let mut asking = Box::pin(world.ask(&token, None, CALL));
    let fetcher: Arc<dyn FetchKeys> = Arc::new(Keys);
    let way: Arc<dyn Exchange> = Arc::clone(&other.script) as _;
    let meanwhile = |_: Vec<_>| assert!(asking.as_mut().now_or_never().is_none(), "it is not cached");
    world.broker.reload(auth_config(), config, &fetcher, Some(way), meanwhile).await;
    asking.await.unwrap();
    assert_eq!((world.script.calls(), other.script.calls()), (1, 1));
}

/// A bound that is lowered while more exchanges are under way than it allows holds as soon as they have ended, for
/// each user; and nobody gets one more meanwhile.
#[tokio::test(start_paused = true)]
async fn a_lower_bound_for_each_user_holds_at_once_and_from_then_on() {
    let world = World::new(LIMITS).await;
    let tokens: Vec<_> = (0..50).map(|user| world.token(&format!("user-{user}"), 86_400)).collect();
    let roles = [None, Some("admin"), Some("editor")];
    for token in &tokens[..40] {
        for role in roles {
            world.ask(token, role, SDK).await.unwrap();
        }
    }
    *world.script.delay.lock().unwrap() = Duration::from_secs(2);
    let late = tokens[40..].iter().flat_map(|token| roles.map(|role| world.ask(token, role, CALL)));
    let reloading = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        reload(&world, broker_config(Limits { entries_per_subject: 1, ..LIMITS })).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.metrics.entries.get(), 40, "one is left to each of those who had three");
        let mut claims = EMULATOR.id_claims("alice", world.clock.now().wall).unwrap();
        (claims["sub"], claims["custom:level"]) = ("user-40".into(), "new".into());
        let more = world.kind(&EMULATOR.sign(&claims).unwrap(), CALL).await;
        assert_eq!(more, Some(Kind::TooManyRequests), "three of theirs are under way");
    };
    let (done, ()) = tokio::join!(futures::future::join_all(late), reloading);
    assert!(done.iter().all(Result::is_ok), "who waits is answered");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.metrics.entries.get(), 50, "and one to each of those whose exchanges were under way");
}
