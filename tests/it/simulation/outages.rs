//! AWS is gone for a while: how long nobody notices, how seldom it is asked meanwhile, how soon all is well again.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::metrics::Operation::GetCredentialsForIdentity;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::judge::Question;
use super::people::CALL;
use super::tokens;
use super::weather::Weather;
use super::world::{Setup, World};
use super::{percentile, play, play_all};

const MINUTE: Duration = Duration::from_secs(60);

/// Asks all the time, and at the very end of what it got, from `first` on; returns how long after `from` it was refused
/// for the first time, if it was before `until`.
async fn first_refusal(world: &World, user: usize, gap: Duration, from: Duration, until: Duration) -> Option<Duration> {
    let token = tokens::for_a_day(user);
    while world.truth.elapsed() < until {
        let now = world.truth.elapsed();
        let pause = match world.ask(Question::of(&token), "default", CALL).await {
            Ok(grant) => {
                let left = grant.credentials.expires.remaining(world.truth.clock.now());
                gap.min(left + Duration::from_millis(1))
            }
            Err(_) if now >= from => return Some(now - from),
            Err(_) => gap,
        };
        tokio::time::sleep(pause).await;
    }
    None
}

/// An outage of two hours over forty users, at a time that the seed chooses.
async fn ride(seed: u64) -> Vec<Duration> {
    let mut rng = StdRng::seed_from_u64(seed);
    let from = MINUTE * 90 + MINUTE.mul_f64(rng.random_range(0.0..60.0));
    let until = from + MINUTE * 120;
    let (world, _tasks) = World::new(Setup { weather: Weather::outage(from, until), ..Setup::fair(seed) }).await;
    let asking = (0..40).map(|user| {
        let gap = MINUTE.mul_f64(rng.random_range(1.0..5.0));
        first_refusal(&world, user, gap, from, until)
    });
    let rides = join_all(asking).await.into_iter().map(|ride| ride.unwrap_or(until - from)).collect();
    world.judge.close();
    rides
}

#[test]
fn nobody_notices_an_outage_for_36_minutes() {
    let rides = play_all(200, |seed| play(ride(seed)));
    let mut worst: Vec<_> = rides.iter().map(|rides| *rides.iter().min().unwrap()).collect();
    let mut all: Vec<_> = rides.into_iter().flatten().collect();
    let minutes = |time: Duration| time.as_secs_f64() / 60.0;
    let least = *worst.iter().min().unwrap();
    println!(
        "figure: outage ride-through with 1-h credentials, {} seeds: worst {:.1} min, median of the seeds' worst {:.1}, \
         median of all users {:.1}",
        worst.len(),
        minutes(least),
        minutes(percentile(&mut worst, 0.5)),
        minutes(percentile(&mut all, 0.5)),
    );
    assert!(least >= MINUTE * 36, "somebody was refused after {:.1} min", minutes(least));
}

/// Asks every five minutes, from its own first time on.
async fn keep_asking(world: Arc<World>, user: usize, until: Duration) {
    let token = tokens::for_a_day(user);
    // GetId is the narrowest: nobody has to queue for it.
    tokio::time::sleep(Duration::from_millis(user as u64 * 225)).await;
    while world.truth.elapsed() < until {
        world.ask(Question::of(&token), "default", CALL).await.ok();
        tokio::time::sleep(MINUTE * 5).await;
    }
}

/// New users, one every second, while everybody else's refreshes are due: how long each waits until AWS is asked.
async fn newcomers(world: &World, first: usize, count: usize) -> Vec<Duration> {
    let ask = async |number: usize| {
        tokio::time::sleep(Duration::from_secs(number as u64)).await;
        let user = first + number;
        let asked = world.truth.elapsed();
        let token = tokens::for_a_day(user);
        world.ask(Question::of(&token), "default", CALL).await.ok();
        let books = world.judge.books();
        let sent = books.ledger.sent.iter().rev().filter(|sent| sent.user == user).map(|sent| sent.at).min();
        sent.map_or(CALL.hold, |sent| sent - asked)
    };
    join_all((0..count).map(ask)).await
}

const MANY: usize = 10_000;
const NEW: usize = 100;

async fn recover() {
    // Long enough for everybody's refresh to be due, and for nobody's credentials to end.
    let (from, until) = (MINUTE * 80, MINUTE * 110);
    let (world, _tasks) = World::new(Setup { weather: Weather::outage(from, until), ..Setup::fair(0) }).await;
    let mut people = tokio::task::JoinSet::new();
    (0..MANY).for_each(|user| drop(people.spawn(keep_asking(Arc::clone(&world), user, until + MINUTE * 20))));
    tokio::time::sleep(until).await;
    let mut waits = newcomers(&world, MANY, NEW).await;
    tokio::time::sleep((until + MINUTE * 20).saturating_sub(world.truth.elapsed())).await;
    world.judge.close();
    let books = world.judge.books();
    assert_eq!(books.errors.values().sum::<u64>(), 0, "{:?}", books.errors);

    let probes = books.ledger.sent.iter().filter(|sent| (from..until).contains(&sent.at)).count();
    let seconds = (until - from).as_secs_f64();
    println!("figure: calls in an outage with {MANY} users: {:.2} a second", probes as f64 / seconds);
    let bound = seconds + MANY as f64 * seconds / 60.0;
    assert!((probes as f64) <= bound && probes as f64 / seconds <= 1.1, "{probes} calls in {seconds} s");

    let mut after = vec![None; MANY + NEW];
    for issued in books.ledger.issued.iter().filter(|issued| issued.at >= until) {
        after[issued.owner].get_or_insert(issued.at - until);
    }
    let mut refreshed: Vec<_> = after[..MANY].iter().map(|at| at.unwrap_or(Duration::MAX)).collect();
    let recovery = percentile(&mut refreshed, 0.95);
    let rate = f64::from(super::world::RATES.get_credentials_for_identity);
    let target = Duration::from_secs_f64((MANY as f64 / rate).max(120.0));
    println!(
        "figure: 95 % of {MANY} users refreshed {:.0} s after an outage (at most {:.0})",
        recovery.as_secs_f64(),
        target.as_secs_f64()
    );
    assert!(recovery <= target, "it took {recovery:?}");
    let p99 = percentile(&mut waits, 0.99);
    println!("figure: a new user's wait behind {MANY} refreshes: p99 {} ms", p99.as_millis());
    assert!(p99 <= Duration::from_secs(1), "p99 {p99:?}");
    let (sent, _) = books.ledger.count(GetCredentialsForIdentity, until..until + recovery);
    assert!(sent >= MANY * 95 / 100);
}

#[test]
fn ten_thousand_users_recover_at_the_rate_and_newcomers_go_first() {
    tokens::sign_ahead((0..MANY + NEW).map(tokens::terms_for_a_day).collect());
    play(recover());
}
