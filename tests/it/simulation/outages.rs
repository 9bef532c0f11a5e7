//! AWS is gone for a while: how long nobody notices, how seldom it is asked meanwhile, how soon all is well again.

use std::sync::Arc;
use std::time::Duration;

use cupbearer::error::Kind;
use cupbearer::metrics::Operation::GetCredentialsForIdentity;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use super::judge::Question;
use super::people::CALL;
use super::tokens;
use super::weather::Weather;
use super::world::{Setup, World};
use super::{percentile, play, play_all};

const MINUTE: Duration = Duration::from_secs(60);

/// Asks all the time, and at the very end of what it got; returns how long after the outage's beginning it was refused for
/// the first time, if it was before its end.
async fn first_refusal(
    world: &World,
    profile: &str,
    user: usize,
    gap: Duration,
    (from, until): (Duration, Duration),
) -> Option<Duration> {
    let token = tokens::for_a_day(user);
    while world.truth.elapsed() < until {
        let now = world.truth.elapsed();
        let pause = match world.ask(Question::of(&token), profile, CALL).await {
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

/// An outage of so many minutes over forty users of `profile`, at a time that the seed chooses; the sessions of STS live for
/// two hours. When each was refused for the first time, if any was.
async fn ride(seed: u64, profile: &str, minutes: u32) -> Vec<Option<Duration>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let from = MINUTE * 90 + MINUTE.mul_f64(rng.random_range(0.0..60.0));
    let until = from + MINUTE * minutes;
    let setup = Setup { weather: Weather::outage(from, until), sessions: MINUTE * 120, ..Setup::fair(seed) };
    let (world, _tasks) = World::new(setup).await;
    let asking = (0..40).map(|user| {
        let gap = MINUTE.mul_f64(rng.random_range(1.0..5.0));
        first_refusal(&world, profile, user, gap, (from, until))
    });
    let rides = join_all(asking).await;
    world.judge.close();
    rides
}

#[test]
fn nobody_notices_an_outage_for_36_minutes() {
    let rides = play_all(200, |seed| {
        let rides = play(ride(seed, "default", 120));
        (seed, rides.into_iter().map(|ride| ride.unwrap_or(MINUTE * 120)).collect::<Vec<_>>())
    });
    let (least, seed) = rides.iter().map(|(seed, rides)| (*rides.iter().min().unwrap(), *seed)).min().unwrap();
    let mut worst: Vec<_> = rides.iter().map(|(_, rides)| *rides.iter().min().unwrap()).collect();
    let mut all: Vec<_> = rides.into_iter().flat_map(|(_, rides)| rides).collect();
    let minutes = |time: Duration| time.as_secs_f64() / 60.0;
    println!(
        "figure: outage ride-through with 1-h credentials, {} seeds: worst {:.1} min, median of the seeds' worst {:.1}, \
         median of all users {:.1}",
        worst.len(),
        minutes(least),
        minutes(percentile(&mut worst, 0.5)),
        minutes(percentile(&mut all, 0.5)),
    );
    assert!(least >= MINUTE * 36, "seed {seed}: somebody was refused after {:.1} min", minutes(least));
}

/// What fixed credentials of an hour cannot, longer sessions can.
#[test]
fn sessions_of_two_hours_ride_through_an_outage_of_one() {
    for profile in ["basic", "assume"] {
        let rides = play_all(50, |seed| (seed, play(ride(seed, profile, 60))));
        let refused = rides.iter().find_map(|(seed, rides)| Some((*seed, *rides.iter().flatten().min()?)));
        assert_eq!(refused, None, "{profile}: a seed, and when somebody was refused");
        println!("figure: an outage of 1 h with 2-h sessions ({profile}), {} seeds of 40 users: 0 errors", rides.len());
    }
}

/// Asks every five minutes, from its own first time on, and soon again when it was refused.
async fn keep_asking(world: Arc<World>, user: usize, until: Duration) {
    let token = tokens::for_a_day(user);
    // GetId is the narrowest: nobody has to queue for it.
    tokio::time::sleep(Duration::from_millis(user as u64 * 225)).await;
    while world.truth.elapsed() < until {
        let done = world.ask(Question::of(&token), "default", CALL).await;
        tokio::time::sleep(if done.is_ok() { MINUTE * 5 } else { AGAIN }).await;
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

/// How soon somebody asks again who was refused.
const AGAIN: Duration = Duration::from_secs(8);

/// Everybody's outage.
struct Outage {
    world: Arc<World>,
    from: Duration,
    until: Duration,
    /// How long newcomers waited after its end.
    waits: Vec<Duration>,
    _tasks: JoinSet<()>,
}

impl Outage {
    /// Has been lived through by ten thousand users, and for twenty minutes more.
    async fn of(minutes: u32, new: usize) -> Self {
        let (from, until) = (MINUTE * 80, MINUTE * (80 + minutes));
        // Whom it finds with nothing is served when the rate has served all, at the latest.
        let served_from = until + MINUTE * 10;
        let setup = Setup { weather: Weather::outage(from, until), served_from, ..Setup::fair(0) };
        let (world, tasks) = World::new(setup).await;
        let mut people = JoinSet::new();
        (0..MANY).for_each(|user| drop(people.spawn(keep_asking(Arc::clone(&world), user, until + MINUTE * 20))));
        tokio::time::sleep(until).await;
        let waits = newcomers(&world, MANY, new).await;
        tokio::time::sleep((until + MINUTE * 20).saturating_sub(world.truth.elapsed())).await;
        world.judge.close();
        Self { world, from, until, waits, _tasks: tasks }
    }

    /// Calls a second while it lasted, bounded by one probe a second and one try of each user a minute.
    fn probes(&self) {
        let books = self.world.judge.books();
        let probes = books.ledger.sent.iter().filter(|sent| (self.from..self.until).contains(&sent.at)).count();
        let seconds = (self.until - self.from).as_secs_f64();
        println!(
            "figure: calls in an outage of {:.0} min with {MANY} users: {:.2} a second",
            seconds / 60.0,
            probes as f64 / seconds
        );
        let bound = seconds + MANY as f64 * seconds / 60.0;
        assert!((probes as f64) <= bound && probes as f64 / seconds <= 1.1, "{probes} calls in {seconds} s");
    }

    /// Until 95 % had new credentials, which must be within what the rate allows.
    fn recovery(&self) -> Duration {
        let books = self.world.judge.books();
        let mut after = vec![None; MANY + NEW];
        for issued in books.ledger.issued.iter().filter(|issued| issued.at >= self.until) {
            after[issued.owner].get_or_insert(issued.at - self.until);
        }
        let mut refreshed: Vec<_> = after[..MANY].iter().map(|at| at.unwrap_or(Duration::MAX)).collect();
        let recovery = percentile(&mut refreshed, 0.95);
        let rate = f64::from(super::world::RATES.get_credentials_for_identity);
        let target = Duration::from_secs_f64((MANY as f64 / rate).max(120.0));
        println!(
            "figure: 95 % of {MANY} users have new credentials {:.0} s after an outage of {:.0} min (at most {:.0})",
            recovery.as_secs_f64(),
            (self.until - self.from).as_secs_f64() / 60.0,
            target.as_secs_f64()
        );
        assert!(recovery <= target, "it took {recovery:?}");
        let (sent, _) = books.ledger.count(GetCredentialsForIdentity, self.until..self.until + recovery);
        assert!(sent >= MANY * 95 / 100);
        recovery
    }
}

/// Long enough for everybody's refresh to be due, and for nobody's credentials to end.
async fn recover() {
    let mut outage = Outage::of(30, NEW).await;
    assert_eq!(outage.world.judge.books().errors.values().sum::<u64>(), 0);
    outage.probes();
    outage.recovery();
    let p99 = percentile(&mut outage.waits, 0.99);
    println!("figure: a new user's wait behind {MANY} refreshes: p99 {} ms", p99.as_millis());
    assert!(p99 <= Duration::from_secs(1), "p99 {p99:?}");
}

#[test]
fn ten_thousand_users_recover_at_the_rate_and_newcomers_go_first() {
    tokens::sign_ahead((0..MANY + NEW).map(tokens::terms_for_a_day).collect());
    play(recover());
}

/// A little over an hour: at its end nobody holds anything, and all have been told to come again.
async fn begin_anew() {
    let outage = Outage::of(61, 0).await;
    outage.probes();
    outage.recovery();
    let books = outage.world.judge.books();
    let refused: Vec<_> = books.errors.keys().collect();
    println!("figure: an outage of 61 min: {} replies, {} refusals", books.replies, books.errors.values().sum::<u64>());
    assert_eq!(refused, [&Kind::UpstreamUnavailable], "whom AWS does not answer is told to come again, no more");
    assert!(books.errors[&Kind::UpstreamUnavailable] > MANY as u64, "nobody held anything");
}

#[test]
fn ten_thousand_users_with_nothing_left_recover_at_the_rate() {
    tokens::sign_ahead((0..MANY).map(tokens::terms_for_a_day).collect());
    play(begin_anew());
}
