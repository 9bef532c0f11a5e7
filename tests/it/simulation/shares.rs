//! What a success costs, and who goes first: attempts per success, one exchange for a herd, cohorts that spread, fair
//! shares.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::broker::Limits;
use cupbearer::metrics::Operation::{self, GetCredentialsForIdentity, GetId};
use cupbearer::upstream::Rates;
use futures::future::join_all;

use super::judge::Question;
use super::people::CALL;
use super::weather::{Fault, Trouble, Weather};
use super::world::{LIMITS, RATES, Setup, World};
use super::{percentile, play, tokens};

const MINUTE: Duration = Duration::from_secs(60);

/// Asks every so often, and half a minute after a refusal.
async fn keep_asking(world: Arc<World>, user: usize, gap: Duration) {
    let token = tokens::for_a_day(user);
    tokio::time::sleep(Duration::from_millis(user as u64 * 37)).await;
    loop {
        let done = world.ask(Question::of(&token), "default", CALL).await;
        tokio::time::sleep(if done.is_ok() { gap } else { MINUTE / 2 }).await;
    }
}

/// Calls per call that went well, of all APIs.
fn attempts_per_success(world: &World, times: std::ops::Range<Duration>) -> f64 {
    let books = world.judge.books();
    let counts = [GetId, GetCredentialsForIdentity].map(|operation| books.ledger.count(operation, times.clone()));
    let (sent, well) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    assert!(well > 100, "{well} calls went well");
    sent as f64 / well as f64
}

#[test]
fn a_success_costs_one_call_in_fair_weather() {
    play(async {
        let (world, mut tasks) = World::new(Setup::fair(0)).await;
        (0..200).for_each(|user| drop(tasks.spawn(keep_asking(Arc::clone(&world), user, MINUTE * 5))));
        tokio::time::sleep(MINUTE * 180).await;
        let found = attempts_per_success(&world, Duration::ZERO..MINUTE * 180);
        let (ids, _) = world.judge.books().ledger.count(GetId, Duration::ZERO..MINUTE * 180);
        println!("figure: calls per success, steady: {found:.3}; {ids} GetId for 200 users in 3 h");
        assert_eq!((found, ids), (1.0, 200));
        world.judge.close();
    });
}

/// AWS bears half of the configured rate, and users want more than all of it.
async fn half_capacity() -> f64 {
    let fault = Fault {
        from: MINUTE,
        until: MINUTE * 11,
        only: Some(GetCredentialsForIdentity),
        trouble: Trouble::Capacity(2),
    };
    let rates = Rates { get_id: 8, get_credentials_for_identity: 4, ..RATES };
    let weather = Weather { faults: vec![fault], ..Weather::default() };
    // Users want more than there is, so that some are refused for a while.
    let setup = Setup { weather, rates, served_from: Duration::MAX, ..Setup::fair(0) };
    let (world, mut tasks) = World::new(setup).await;
    (0..2_500).for_each(|user| drop(tasks.spawn(keep_asking(Arc::clone(&world), user, MINUTE * 20))));
    tokio::time::sleep(MINUTE * 11).await;
    world.judge.close();
    let books = world.judge.books();
    let (sent, well) = books.ledger.count(GetCredentialsForIdentity, MINUTE..MINUTE * 11);
    assert!(well >= 600, "half of what AWS bears is used at least: {well}");
    sent as f64 / well as f64
}

#[test]
fn at_half_the_quota_a_success_costs_a_tenth_more_at_most() {
    tokens::sign_ahead((0..2_500).map(tokens::terms_for_a_day).collect());
    let found = play(half_capacity());
    println!("figure: calls per success, AWS at 50 % of the rate for 10 min: {found:.3}");
    assert!(found <= 1.10, "{found:.3}");
}

#[test]
fn a_herd_of_ten_thousand_makes_one_exchange() {
    play(async {
        let (world, _tasks) = World::new(Setup::fair(0)).await;
        let token = tokens::for_a_day(0);
        let ask = async |number: usize| {
            let asking = world.ask(Question::of(&token), "default", CALL);
            // The first one, and one in ten of the others, hangs up at once.
            let patience = if number.is_multiple_of(10) { Duration::from_millis(1) } else { CALL.hold };
            tokio::time::timeout(patience, asking).await.ok()
        };
        let answers = join_all((0..10_000).map(ask)).await;
        let keys: Vec<_> =
            answers.into_iter().flatten().map(|done| done.unwrap().credentials.access_key_id.clone()).collect();
        assert!(keys.len() == 9_000 && keys.iter().all(|key| *key == keys[0]), "{} answers", keys.len());
        world.judge.close();
        let calls: Vec<_> = world.judge.books().ledger.sent.iter().map(|sent| sent.operation).collect();
        println!("figure: a herd of 10000 on one cold key: {} calls, {} served alike", calls.len(), keys.len());
        assert_eq!(calls, [GetId, GetCredentialsForIdentity]);
    });
}

#[test]
fn a_cohort_of_one_second_spreads() {
    const COHORT: usize = 1_000;
    tokens::sign_ahead((0..COHORT).map(tokens::terms_for_a_day).collect());
    play(async {
        let rates = Rates { get_id: 5_000, get_credentials_for_identity: 5_000, ..RATES };
        let limits = Limits { concurrency: COHORT, ..LIMITS };
        let (world, mut tasks) = World::new(Setup { rates, limits, ..Setup::fair(0) }).await;
        for user in 0..COHORT {
            let world = Arc::clone(&world);
            tasks.spawn(async move {
                let token = tokens::for_a_day(user);
                loop {
                    world.ask(Question::of(&token), "default", CALL).await.ok();
                    tokio::time::sleep(MINUTE * 5).await;
                }
            });
        }
        tokio::time::sleep(MINUTE * 50).await;
        world.judge.close();
        let mut times = vec![Vec::new(); COHORT];
        world.judge.books().ledger.issued.iter().for_each(|issued| times[issued.owner].push(issued.at));
        let seconds: Vec<_> = times.iter().map(|times| times[1]).collect();
        let spread = (*seconds.iter().max().unwrap() - *seconds.iter().min().unwrap()).as_secs_f64() / 3_600.0;
        println!(
            "figure: refreshes of {COHORT} users served in one second spread over {:.1} % of the lifetime",
            spread * 100.0
        );
        assert!(spread >= 0.2, "{spread:.3}");
    });
}

/// Users with as many entries as one may have all want all of them at once; others want one.
async fn crowd() -> Vec<Duration> {
    let (world, _tasks) = World::new(Setup { served_from: Duration::MAX, ..Setup::fair(0) }).await;
    let ask = async |user: usize, policy: Option<String>, after: u64| {
        tokio::time::sleep(Duration::from_millis(after)).await;
        let token = tokens::for_a_day(user);
        let question = Question { policy: policy.as_deref(), ..Question::of(&token) };
        let asked = world.truth.elapsed();
        while world.ask(question, "assume", CALL).await.is_err() {}
        world.truth.elapsed() - asked
    };
    let statement = |number| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"s3:Get{number}","Resource":"*"}}]}}"#
        )
    };
    let greedy = (0..20).flat_map(|user| (0..32).map(move |number| (user, number)));
    let greedy = join_all(greedy.map(|(user, number)| ask(user, Some(statement(number)), 0)));
    let modest = join_all((20..40).map(|user| ask(user, None, 100)));
    let (_, waits) = tokio::join!(greedy, modest);
    world.judge.close();
    let (sent, well) = world.judge.books().ledger.count(Operation::AssumeRole, Duration::ZERO..Duration::MAX);
    assert_eq!((sent, well), (20 * 32 + 20, 20 * 32 + 20));
    waits
}

#[test]
fn one_who_wants_little_does_not_wait_behind_those_who_want_much() {
    let mut waits = play(crowd());
    let longest = percentile(&mut waits, 1.0);
    // Forty users share twenty calls a second: each one's turn comes every two.
    println!("figure: the modest wait {:.1} s at most, where a fair share is 2 s", longest.as_secs_f64());
    assert!(longest <= Duration::from_secs(4), "{longest:?}");
}
